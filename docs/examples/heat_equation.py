"""The heat equation on a plate, forwards and backwards.

Forwards: a five-point stencil in a loop. Backwards: from temperatures measured later, gradient
descent through the whole simulation finds where the heat came from.
"""

import numpy as np

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax, nn, optim


def step(u, rate):
    """One explicit step of du/dt = laplacian(u); the edge stays at zero. Stable to rate 1/4."""
    inner = u[1:-1, 1:-1]
    around = u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:]
    return u.at[1:-1, 1:-1].set(inner + rate * (around - 4 * inner))


@tj.jit(static_argnames="steps")
def simulate(u, steps, rate=0.2):
    return lax.fori_loop(0, steps, lambda _, u: step(u, rate), u)


def check_mode(n, steps):
    """The slowest mode decays as the theory of the scheme says: the relative difference."""
    side = np.sin(np.pi * np.arange(n) / (n - 1))
    mode = np.outer(side, side)
    decay = 1 - 0.2 * 8 * np.sin(np.pi / (2 * (n - 1))) ** 2
    return float(np.max(np.abs(simulate(mode, steps) - mode * decay**steps)) / decay**steps)


def sources(n):
    """Two hot discs on a cold plate."""
    y, x = np.mgrid[:n, :n] / (n - 1)

    def disc(cx, cy, radius):
        return (x - cx) ** 2 + (y - cy) ** 2 < radius**2

    return (disc(0.35, 0.4, 0.12) | disc(0.7, 0.65, 0.08)).astype(np.float32)


def recover(measured, steps, iterations):
    """The beginning, between 0 and 1, from the end: what a penalised fit says."""
    optimizer = optim.adam(0.3)

    def loss(hidden):
        start = nn.sigmoid(hidden)
        fit = jnp.sum((simulate(start, steps) - measured) ** 2)
        edges = jnp.sum(jnp.abs(jnp.diff(start, axis=0))) + jnp.sum(jnp.abs(jnp.diff(start)))
        return fit + 2e-4 * edges  # discs have short edges

    @tj.jit
    def update(state, _):
        hidden, moments = state
        value, slope = tj.value_and_grad(loss)(hidden)
        updates, moments = optimizer.update(slope, moments)
        return (optim.apply_updates(hidden, updates), moments), value

    hidden = jnp.full(measured.shape, -3.0)
    run = tj.jit(lambda state: lax.scan(update, state, None, length=iterations))
    (hidden, _), losses = run((hidden, optimizer.init(hidden)))
    return nn.sigmoid(hidden), losses


def main(small=False):
    n, steps, iterations = (33, 30, 150) if small else (97, 150, 800)
    mode = check_mode(n, 1000)
    print(f"a mode decays as it should, to {mode:.1e}")

    start = sources(n)
    noise = np.random.default_rng(0).standard_normal((n, n))
    measured = simulate(start, steps) + (0.005 * noise).astype(np.float32)
    found, losses = recover(measured, steps, iterations)
    wrong = float(jnp.mean((found > 0.5) != (start > 0.5)))
    print(f"loss {float(losses[0]):.3f} to {float(losses[-1]):.3f}; {wrong:.2%} of pixels wrong")
    if not small:
        draw(start, np.asarray(measured), np.asarray(found))
    return {"mode": mode, "wrong": wrong}


def draw(start, measured, found):
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 3, figsize=(9, 3.1), layout="constrained")
    titles = ("the beginning", "later, as measured", "the beginning, recovered")
    for panel, title, u in zip(panels, titles, (start, measured, found), strict=True):
        panel.imshow(u, cmap="inferno", vmin=0, vmax=1)
        panel.set_title(title)
        panel.set_axis_off()
    figure.savefig("heat_equation.png", dpi=80)


if __name__ == "__main__":
    main()
