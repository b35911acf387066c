"""Loops: ``fori_loop`` and ``while_loop`` in tracejit and JAX, Python's in torch.

Where torch.compile is tried it gets the loop's body: unrolled loops take it minutes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from workload import Arguments, Workload, normal

# ---- Mandelbrot ----------------------------------------------------------------------------------


def plane(rng: np.random.Generator) -> Arguments:
    real = np.linspace(-2.0, 0.6, 512, dtype=np.float32)
    imaginary = np.linspace(-1.3, 1.3, 512, dtype=np.float32)
    grid = np.meshgrid(real, imaginary)
    return tuple(np.ascontiguousarray(part) for part in grid)


def escape_step(where: Any, c: Any, state: Any) -> Any:
    """One iteration of z*z + c where z is still inside the circle of radius 2."""
    (c_re, c_im), (re, im, count) = c, state
    re2, im2 = re * re, im * im
    inside = re2 + im2 <= 4.0
    new = where(inside, re2 - im2 + c_re, re), where(inside, 2.0 * re * im + c_im, im)
    return *new, where(inside, count + 1, count)


def mandelbrot_array(api: Any) -> Callable[..., Any]:
    jnp = api.numpy

    def mandelbrot(*c: Any) -> Any:
        zero = jnp.zeros_like(c[0])
        start = (zero, zero, jnp.zeros(c[0].shape, jnp.int32))
        return api.lax.fori_loop(0, 100, lambda _, state: escape_step(jnp.where, c, state), start)[
            2
        ]

    return mandelbrot


def mandelbrot_torch(torch: Any, wrap: Any) -> Callable[..., Any]:
    step = wrap(lambda c, state: escape_step(torch.where, c, state))

    def mandelbrot(*c: Any) -> Any:
        zero = torch.zeros_like(c[0])
        state = (zero, zero, torch.zeros(c[0].shape, dtype=torch.int32))
        for _ in range(100):
            state = step(c, state)
        return state[2]

    return mandelbrot


# ---- n bodies ------------------------------------------------------------------------------------


def bodies(rng: np.random.Generator) -> Arguments:
    positions, velocities = rng.standard_normal((2, 512, 3)).astype(np.float32)
    return positions, 0.1 * velocities, rng.uniform(0.5, 1.5, 512).astype(np.float32) / 512


def gravity_step(sqrt: Any, masses: Any, state: Any) -> Any:
    """Positions and velocities a time step later, with softened gravity between all pairs."""
    positions, velocities = state
    apart = positions[None, :, :] - positions[:, None, :]
    squared = (apart * apart).sum(-1) + 0.01
    pull = masses[None, :] / (squared * sqrt(squared))
    velocities = velocities + 0.01 * (apart * pull[:, :, None]).sum(1)
    return positions + 0.01 * velocities, velocities


def n_body_array(api: Any) -> Callable[..., Any]:
    def n_body(positions: Any, velocities: Any, masses: Any) -> Any:
        step = lambda _, state: gravity_step(api.numpy.sqrt, masses, state)  # noqa: E731
        return api.lax.fori_loop(0, 20, step, (positions, velocities))

    return n_body


def n_body_torch(torch: Any, wrap: Any) -> Callable[..., Any]:
    step = wrap(lambda masses, state: gravity_step(torch.sqrt, masses, state))

    def n_body(positions: Any, velocities: Any, masses: Any) -> Any:
        state = (positions, velocities)
        for _ in range(20):
            state = step(masses, state)
        return state

    return n_body


# ---- stencil -------------------------------------------------------------------------------------


def neighbours(x: Any) -> Any:
    return 0.25 * (x[:-2, 1:-1] + x[2:, 1:-1] + x[1:-1, :-2] + x[1:-1, 2:])


def stencil_array(api: Any) -> Callable[..., Any]:
    def stencil(x: Any) -> Any:
        step = lambda _, x: x.at[1:-1, 1:-1].set(neighbours(x))  # noqa: E731
        return api.lax.fori_loop(0, 100, step, x)

    return stencil


def stencil_torch(torch: Any, wrap: Any) -> Callable[..., Any]:
    step = wrap(neighbours)

    def stencil(x: Any) -> Any:
        x = x.clone()
        for _ in range(100):
            x[1:-1, 1:-1] = step(x)
        return x

    return stencil


# ---- a scalar ------------------------------------------------------------------------------------


def scalar_array(api: Any) -> Callable[..., Any]:
    return lambda x: api.lax.fori_loop(0, 100_000, lambda _, x: x + 1.0 / (1.0 + x * x), x)


def scalar_torch(torch: Any, wrap: Any) -> Callable[..., Any]:
    def scalar(x: Any) -> Any:
        for _ in range(100_000):
            x = x + 1.0 / (1.0 + x * x)
        return x

    return scalar


# ---- linear algebra ------------------------------------------------------------------------------


def positive_definite(size: int, rng: np.random.Generator) -> np.ndarray:
    factor = rng.standard_normal((size, size))
    return (factor @ factor.T / size + 0.5 * np.eye(size)).astype(np.float32)


def cholesky_array(api: Any) -> Callable[..., Any]:
    """The upper factor, a row at a time: row k is a[k] less what the rows above explain, scaled."""
    jnp = api.numpy

    def cholesky(a: Any) -> Any:
        columns = jnp.arange(256)

        def row(k: Any, upper: Any) -> Any:
            rest = a[k] - upper[:, k] @ upper
            return upper.at[k].set(jnp.where(columns >= k, rest / jnp.sqrt(rest[k]), 0.0))

        return api.lax.fori_loop(0, 256, row, jnp.zeros_like(a))

    return cholesky


def cholesky_torch(torch: Any, wrap: Any) -> Callable[..., Any]:
    def cholesky(a: Any) -> Any:
        upper = torch.zeros_like(a)
        for k in range(256):
            rest = a[k, k:] - upper[:k, k] @ upper[:k, k:]
            upper[k, k:] = rest / torch.sqrt(rest[0])
        return upper

    return cholesky


def conjugate_step(a: Any, state: Any) -> Any:
    """A step of Hestenes and Stiefel's method: solution, residual, direction, squared residual."""
    x, residual, direction, squared = state
    image = a @ direction
    along = squared / (direction @ image)
    x, residual = x + along * direction, residual - along * image
    now = residual @ residual
    return x, residual, residual + (now / squared) * direction, now


def conjugate_array(api: Any) -> Callable[..., Any]:
    def solve(a: Any, b: Any) -> Any:
        start = (api.numpy.zeros_like(b), b, b, b @ b)
        enough = 1e-8 * start[3]
        step = lambda state: conjugate_step(a, state)  # noqa: E731
        return api.lax.while_loop(lambda state: state[3] > enough, step, start)[0]

    return solve


def conjugate_torch(torch: Any, wrap: Any) -> Callable[..., Any]:
    step = wrap(conjugate_step)

    def solve(a: Any, b: Any) -> Any:
        state = (torch.zeros_like(b), b, b, b @ b)
        enough = 1e-8 * float(state[3])
        while float(state[3]) > enough:
            state = step(a, state)
        return state[0]

    return solve


WORKLOADS = (
    Workload(
        "mandelbrot",
        "Mandelbrot 512x512, 100 steps",
        3,
        plane,
        mandelbrot_array,
        mandelbrot_torch,
        differing=0.01,  # points at the rim escape sooner or later by rounding
    ),
    Workload("n_body", "512 bodies, 20 steps", 3, bodies, n_body_array, n_body_torch, rtol=1e-4),
    Workload(
        "stencil",
        "stencil 512x512, 100 steps",
        3,
        normal((512, 512)),
        stencil_array,
        stencil_torch,
    ),
    Workload(
        "scalar_loop",
        "scalar loop, 100,000 steps",
        3,
        lambda rng: (np.array(0.5, np.float32),),
        scalar_array,
        scalar_torch,
        compiled=False,  # 100,000 calls of a compiled body: seconds of dispatch
        rtol=1e-3,
    ),
    Workload(
        "cholesky",
        "Cholesky by rows, 256x256",
        3,
        lambda rng: (positive_definite(256, rng),),
        cholesky_array,
        cholesky_torch,
        compiled=False,  # its slices change size at every step
        rtol=1e-4,
    ),
    Workload(
        "conjugate_gradient",
        "conjugate gradient, 512 unknowns",
        3,
        lambda rng: (
            positive_definite(512, rng),
            rng.standard_normal(512).astype(np.float32),
        ),
        conjugate_array,
        conjugate_torch,
        rtol=1e-3,
    ),
)
