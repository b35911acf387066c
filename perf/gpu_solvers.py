"""Workloads of Fourier transforms and linear algebra on a GPU: what cuFFT and cuSOLVER do.

ROWS        records of GpuWorkload, for gpu_workloads.py

Results are those that have no sign or phase to choose.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gpu_nets import own
from gpu_workload import drawn, numbers
from workload import Arguments

Draw = Callable[[np.random.Generator], Arguments]


def matrices(*shape: int, positive: bool, right: int = 0) -> Draw:
    """Well conditioned matrices, positive definite ones or any, and right hand sides."""

    def inputs(rng: np.random.Generator) -> Arguments:
        n = shape[-1]
        a = numbers(rng, shape, n**-0.5)
        if positive:
            a = (a + np.swapaxes(a, -1, -2)) / 2
        a = a + 3 * np.eye(n, dtype=np.float32)
        more = (numbers(rng, (*shape[:-1], right)),) if right else ()
        return (a, *more)

    return inputs


def row(name: str, title: str, inputs: Draw, tiny: Draw, function: Any, **more: Any) -> Any:
    """``function(xp)``: of a namespace with ``fft`` and ``linalg``, which NumPy, CuPy, JAX, torch
    and tracejit have.
    """
    more.setdefault("rtol", 2e-4)
    return own(
        name,
        title,
        inputs,
        tiny,
        lambda api: function(api.numpy),
        lambda torch, wrap: wrap(function(torch)),
        cupy=lambda xp, erf, fuse: function(xp),
        group="arrays",
        heavy=True,
        **more,
    )


def filtered(xp: Any) -> Callable[..., Any]:
    return lambda x, w: xp.fft.irfft(xp.fft.rfft(x) * w)


def filtered_pictures(xp: Any) -> Callable[..., Any]:
    return lambda x, w: xp.fft.irfft2(xp.fft.rfft2(x) * w)


def of(name: str) -> Callable[[Any], Callable[..., Any]]:
    """A function of ``linalg``."""
    return lambda xp: lambda *args: getattr(xp.linalg, name)(*args)


ROWS = (
    row(
        "fft_filter",
        "irfft(rfft(x) * w), 4096x8192",
        drawn((4096, 8192), (4097,)),
        drawn((3, 16), (9,)),
        filtered,
    ),
    row(
        "fft2_filter",
        "irfft2(rfft2(x) * w), 64x512x512",
        drawn((64, 512, 512), (512, 257)),
        drawn((2, 6, 8), (6, 5)),
        filtered_pictures,
    ),
    row(
        "cholesky_4096",
        "cholesky 4096 by the library",
        matrices(4096, 4096, positive=True),
        matrices(12, 12, positive=True),
        of("cholesky"),
    ),
    row(
        "cholesky_many",
        "cholesky 10000x16x16",
        matrices(10_000, 16, 16, positive=True),
        matrices(3, 5, 5, positive=True),
        of("cholesky"),
    ),
    row(
        "solve_4096",
        "solve 4096, 64 right hand sides",
        matrices(4096, 4096, positive=False, right=64),
        matrices(12, 12, positive=False, right=2),
        of("solve"),
    ),
    row(
        "solve_many",
        "solve 10000x16x16, 4 right hand sides",
        matrices(10_000, 16, 16, positive=False, right=4),
        matrices(3, 5, 5, positive=False, right=2),
        of("solve"),
    ),
    row(
        "eigvalsh_2048",
        "eigenvalues of a symmetric matrix, 2048",
        matrices(2048, 2048, positive=True),
        matrices(8, 8, positive=True),
        of("eigvalsh"),
    ),
    row(
        "inv_2048",
        "inverse of a matrix, 2048",
        matrices(2048, 2048, positive=False),
        matrices(8, 8, positive=False),
        of("inv"),
    ),
)
