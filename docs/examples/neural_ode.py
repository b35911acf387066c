"""A neural ODE: a net for the right-hand side of an equation, fitted to a spiral.

The solver is fourth-order Runge-Kutta in a ``scan``; the gradient goes back through it. See Chen et
al., Neural Ordinary Differential Equations (2018).
"""

import math

import numpy as np

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax, nn, optim, random

TRUE = np.array([[-0.1, 2.0], [-2.0, -0.1]], np.float32)


def spiral(y):
    """The equation that the net does not know."""
    return y**3 @ TRUE


def net(params, y):
    for weight, bias in params[:-1]:
        y = nn.tanh(y @ weight + bias)
    weight, bias = params[-1]
    return y @ weight + bias


def solve(field, start, times):
    """Positions (time, ...) at ``times`` on the path of dy/dt = field(y) through ``start``."""

    def step(y, dt):
        k1 = field(y)
        k2 = field(y + 0.5 * dt * k1)
        k3 = field(y + 0.5 * dt * k2)
        k4 = field(y + dt * k3)
        y = y + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        return y, y

    _, path = lax.scan(step, start, jnp.diff(times))
    return jnp.concatenate([start[None], path])


def loss(params, paths, times):
    """Distance between the paths (time, batch, 2) and those of the net from the same starts."""
    found = solve(lambda y: net(params, y**3), paths[0], times)
    return jnp.mean(jnp.abs(found - paths))


def main(small=False):
    # Short pieces of the path first, from anywhere on it; then long ones, for the last digits.
    count, stages = (400, [(20, 32, 800)]) if small else (1000, [(30, 32, 2000), (400, 16, 2000)])
    times = jnp.linspace(0.0, 25.0, count)
    start = jnp.array([2.0, 0.0])
    path = tj.jit(solve, static_argnums=0)(spiral, start, times)

    keys = random.split(random.key(0), 2)
    shapes = zip(keys, (2, 64), (64, 2), strict=True)
    params = [(random.normal(k, (n, m)) / math.sqrt(n), jnp.zeros(m)) for k, n, m in shapes]
    rng = np.random.default_rng(0)

    for window, batch, steps in stages:
        rate = optim.cosine_decay_schedule(1e-2 if window < 100 else 1e-3, steps)
        optimizer = optim.chain(optim.clip_by_global_norm(1.0), optim.adam(rate))
        state = optimizer.init(params)

        @tj.jit
        def step(params, state, paths, optimizer=optimizer):
            value, slope = tj.value_and_grad(loss)(params, paths, times[: len(paths)])
            updates, state = optimizer.update(slope, state)
            return optim.apply_updates(params, updates), state, value

        for k in range(steps):
            starts = rng.integers(0, count - window, batch)
            paths = path[starts + np.arange(window)[:, None]]
            params, state, value = step(params, state, paths)
            if k % 500 == 0:
                print(f"pieces of {window}, step {k}: {float(value):.4f}")

    found = solve(lambda y: net(params, y**3), start, times)
    error = float(jnp.mean(jnp.abs(found - path)))
    print(f"mean distance along the whole path: {error:.4f}")
    if not small:
        draw(np.asarray(times), np.asarray(path), np.asarray(found), params)
    return {"loss": float(value), "error": error}


def draw(times, path, found, params):
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    for k, name in enumerate("xy"):
        left.plot(times, path[:, k], f"C{k}--", label=f"{name}, truth")
        left.plot(times, found[:, k], f"C{k}", label=f"{name}, net")
    left.set_xlabel("time")
    left.legend()
    grid = np.stack(np.meshgrid(np.linspace(-2, 2, 20), np.linspace(-2, 2, 20)), -1)
    field = np.asarray(net(params, grid.astype(np.float32) ** 3))
    field = field / np.linalg.norm(field, axis=-1, keepdims=True)
    right.quiver(grid[..., 0], grid[..., 1], field[..., 0], field[..., 1], color="0.7")
    right.plot(*path.T, "k--", label="truth")
    right.plot(*found.T, "C3", label="net")
    right.legend()
    figure.savefig("neural_ode.png", dpi=80)


if __name__ == "__main__":
    main()
