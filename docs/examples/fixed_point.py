"""Implicit differentiation: a layer that is a fixed point, z = tanh(W z + U x + b).

``lax.custom_root`` differentiates the equation, not the iteration that solves it: the gradient is
one linear equation at the solution, whatever the solver did. See Bai et al., Deep Equilibrium
Models (2019).
"""

import math

import numpy as np

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax, nn, optim, random


def update(params, x, z):
    """A step of the iteration. The rows of W are kept short, so it contracts: there is one fixed
    point.
    """
    rows = jnp.sum(jnp.abs(params["W"]), axis=1, keepdims=True)
    w = 0.9 * params["W"] / jnp.maximum(rows, 0.9)
    return jnp.tanh(w @ z + params["U"] @ x + params["b"])


def iterate(step, start, tolerance=1e-12):
    """z = step(z) until it stays."""

    def going(state):
        k, z, before = state
        return (k < 1000) & (jnp.max(jnp.abs(z - before)) > tolerance)

    first = (1, step(start), start)
    return lax.while_loop(going, lambda s: (s[0] + 1, step(s[1]), s[1]), first)[1]


def equilibrium(params, x):
    """The fixed point for one input, with the derivative of the equation z - step(z) = 0."""

    def equation(z):
        return z - update(params, x, z)

    def solve(equation, start):
        return iterate(lambda z: z - equation(z), start)

    def tangent_solve(linear, y):  # linear(v) = A v; a matrix is small enough to be written down
        return jnp.linalg.solve(tj.jacfwd(linear)(y), y)

    return lax.custom_root(equation, jnp.zeros_like(params["b"]), solve, tangent_solve)


def unrolled(params, x, steps=200):
    """The same by plain differentiation through each step: a tape of all of them."""
    return lax.scan(
        lambda z, _: (update(params, x, z), None), jnp.zeros_like(params["b"]), None, length=steps
    )[0]


def init(key, inputs, hidden, dtype):
    keys = random.split(key, 4)

    def draw(key, *shape):
        return random.normal(key, shape, dtype)

    return {
        "W": draw(keys[0], hidden, hidden) / math.sqrt(hidden),
        "U": 2 * draw(keys[1], hidden, inputs),
        "b": draw(keys[3], hidden),
        "out": draw(keys[2], hidden) / math.sqrt(hidden),
    }


def spirals(count, rng):
    """Points of two spirals, and which one each is of."""
    label = rng.integers(0, 2, count)
    turn = np.sqrt(rng.uniform(0.05, 1, count)) * 3 * np.pi
    angle = turn + np.pi * label
    points = np.stack([turn * np.cos(angle), turn * np.sin(angle)], 1) / 4
    return points + 0.03 * rng.standard_normal((count, 2)), label


def loss(params, points, labels, layer):
    logits = tj.vmap(layer, in_axes=(None, 0))(params, points) @ params["out"]
    return jnp.mean(nn.softplus(logits) - labels * logits), jnp.mean((logits > 0) == labels)


def main(small=False):
    hidden, steps = (12, 60) if small else (40, 400)
    rng = np.random.default_rng(0)
    points, labels = spirals(400, rng)
    params = init(random.key(0), 2, hidden, points.dtype)

    gradient = tj.jit(tj.grad(loss, has_aux=True), static_argnums=3)
    implicit, _ = gradient(params, points, labels, equilibrium)
    through, _ = gradient(params, points, labels, unrolled)
    difference = max(float(jnp.max(jnp.abs(implicit[k] - through[k]))) for k in params)
    print(f"largest difference to the unrolled gradient: {difference:.1e}")

    optimizer = optim.adam(2e-2)

    @tj.jit
    def step(params, state):
        found = tj.value_and_grad(loss, has_aux=True)(params, points, labels, equilibrium)
        updates, state = optimizer.update(found[1], state)
        return optim.apply_updates(params, updates), state, found[0]

    state = optimizer.init(params)
    for k in range(steps):
        params, state, (value, right) = step(params, state)
        if k % 100 == 0:
            print(f"step {k}: loss {float(value):.3f}, {float(right):.2f} right")
    held = spirals(400, rng)
    right = float(loss(params, *held, equilibrium)[1])
    print(f"on new points {right:.3f} right")
    return {"difference": difference, "loss": float(value), "right": right}


if __name__ == "__main__":
    main()
