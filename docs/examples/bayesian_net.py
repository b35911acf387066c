"""A Bayesian neural net: its posterior sampled by Hamiltonian Monte Carlo, many chains at once.

Three loops, one program: ``scan`` over samples, ``scan`` over leapfrog steps in each, ``vmap`` over
chains. See Neal, MCMC using Hamiltonian dynamics (2011).
"""

import math

import numpy as np

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax, random, tree
from tracejit.flatten_util import ravel_pytree

HIDDEN, NOISE = 16, 0.1


def net(params, x):
    hidden = jnp.tanh(x[:, None] * params["in"] + params["shift"])
    return hidden @ params["out"] / math.sqrt(HIDDEN) + params["bias"]


def log_posterior(params, x, y):
    prior = -0.5 * sum(jnp.sum((w / 4) ** 2) for w in tree.leaves(params))
    return prior - 0.5 * jnp.sum(((net(params, x) - y) / NOISE) ** 2)


def hmc_step(log_density, position, key, size, leaps):
    """One step of HMC: the new position, and whether it was accepted."""
    slope = tj.grad(log_density)

    def leap(state, _):
        position, momentum = state
        position = position + size * momentum
        return (position, momentum + size * slope(position)), None

    key_momentum, key_accept = random.split(key)
    start = random.normal(key_momentum, position.shape)
    half = start + 0.5 * size * slope(position)
    (moved, momentum), _ = lax.scan(leap, (position, half), None, length=leaps)
    momentum = momentum - 0.5 * size * slope(moved)  # the last half step, taken back

    def energy(position, momentum):
        return 0.5 * jnp.sum(momentum**2) - log_density(position)

    change = energy(moved, momentum) - energy(position, start)
    accepted = jnp.log(random.uniform(key_accept)) < -change
    return jnp.where(accepted, moved, position), accepted


def sample(log_density, start, key, samples, size=0.008, leaps=80):
    """A chain from ``start``: positions (samples, n) and the share of steps accepted."""

    def body(position, key):
        position, accepted = hmc_step(log_density, position, key, size, leaps)
        return position, (position, accepted)

    positions, accepted = lax.scan(body, start, random.split(key, samples))[1]
    return positions, jnp.mean(accepted)


def split_rhat(draws):
    """How much chains (chains, samples, ...) differ from each other: 1 where they agree."""
    count = draws.shape[1] // 2
    halves = jnp.concatenate([draws[:, :count], draws[:, count : 2 * count]])
    within = jnp.mean(jnp.var(halves, axis=1, ddof=1), axis=0)
    between = count * jnp.var(jnp.mean(halves, axis=1), axis=0, ddof=1)
    return jnp.sqrt(((count - 1) / count * within + between / count) / within)


def curve(x):
    return np.sin(2.5 * x)


def main(small=False):
    chains, samples = (4, 500) if small else (8, 1000)
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.uniform(-2, -0.7, 25), rng.uniform(0.3, 1.5, 25)]).astype(np.float32)
    y = (curve(x) + NOISE * rng.standard_normal(50)).astype(np.float32)

    zeros = {name: jnp.zeros(HIDDEN) for name in ("in", "shift", "out")}
    flat, unravel = ravel_pytree({**zeros, "bias": jnp.zeros(())})  # HMC moves one long vector

    def log_density(position):
        return log_posterior(unravel(position), x, y)

    @tj.jit
    def run(key):
        key_start, key_chains = random.split(key)
        starts = random.normal(key_start, (chains, len(flat)))
        chain = tj.vmap(sample, in_axes=(None, 0, 0, None))
        return chain(log_density, starts, random.split(key_chains, chains), samples)

    positions, accepted = run(random.key(0))
    kept = positions[:, samples // 3 :]  # the first third is on its way
    grid = jnp.linspace(-2.5, 2.5, 120)
    curves = tj.vmap(tj.vmap(lambda position: net(unravel(position), grid)))(kept)
    # Weights have no fixed meaning (hidden units may swap places); the curve at a point has.
    rhat = float(jnp.max(split_rhat(curves)[20:90]))
    seen = np.asarray((grid > -1.9) & (grid < -0.8))
    error = float(np.sqrt(np.mean((curves.mean((0, 1)) - curve(grid))[seen] ** 2)))
    print(f"accepted {float(accepted.mean()):.2f}, R-hat {rhat:.3f}, error {error:.3f}")
    if not small:
        draw(x, y, np.asarray(grid), np.asarray(curves).reshape(-1, 120))
    return {"accepted": float(accepted.mean()), "rhat": rhat, "error": error}


def draw(x, y, grid, curves):
    import matplotlib.pyplot as plt

    figure, panel = plt.subplots(figsize=(8, 4), layout="constrained")
    for share in (2, 16):
        low, high = np.percentile(curves, [share, 100 - share], axis=0)
        panel.fill_between(grid, low, high, color="C0", alpha=0.25)
    panel.plot(grid, curves.mean(0), "C0", label="mean, 68 % and 96 % of the curves")
    panel.plot(grid, curves[:: len(curves) // 5].T, "C1", linewidth=0.6)
    panel.plot(grid, curve(grid), "k--", linewidth=1, label="truth")
    panel.plot(x, y, "k.", label="observations")
    panel.legend(loc="lower right")
    panel.set_ylim(-4, 4)
    figure.savefig("bayesian_net.png", dpi=80)


if __name__ == "__main__":
    main()
