"""Workloads for GPUs on plain arrays: those of the CPU, ten times as large, and some larger still.

In: the CPU's records. Out: ``ROWS``, records of ``gpu_workload.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import workloads
from gpu_workload import GpuWorkload, drawn, scaled
from workload import Arguments
from workloads_arrays import price
from workloads_loops import escape_step, positive_definite

TALL, SMALL_TALL = (10_000, 1000), (6, 70)
SQUARE, SMALL_SQUARE = (3200, 3200), (40, 40)
HUGE, LONG = 100_000_000, 10_000_000


def row(name: str, title: str, *shapes: Any, tiny: Any, **more: Any) -> GpuWorkload:
    """A workload of the CPU on normally distributed arguments of other shapes."""
    found = workloads.find(name.removesuffix("_large").removesuffix("_f64"))
    dtype = "f64" if name.endswith("_f64") else "f32"
    return scaled(found, title, drawn(*shapes), drawn(*tiny), name=name, dtype=dtype, **more)


# ---- CuPy ----------------------------------------------------------------------------------------


def chain_cupy(xp: Any, erf: Any, fuse: Any) -> Callable[..., Any]:
    return fuse(lambda x: xp.log1p(xp.exp(xp.tanh(x))))


def black_scholes_cupy(xp: Any, erf: Any, fuse: Any) -> Callable[..., Any]:
    def prices(spot: Any, strike: Any, years: Any) -> Any:
        return price(spot, strike, years, xp.log, xp.exp, xp.sqrt, erf)

    return fuse(prices)


def softmax_cupy(xp: Any, erf: Any, fuse: Any) -> Callable[..., Any]:
    raised = fuse(lambda x, most: xp.exp(x - most))
    divided = fuse(lambda e, total: e / total)

    def softmax(x: Any) -> Any:
        e = raised(x, x.max(1, keepdims=True))
        return divided(e, e.sum(1, keepdims=True))

    return softmax


def layer_norm_cupy(xp: Any, erf: Any, fuse: Any) -> Callable[..., Any]:
    centre = fuse(lambda x, mean: x - mean)
    squared = fuse(lambda x: x * x)
    scaled_back = fuse(lambda x, v, scale, bias: x / xp.sqrt(v + 1e-5) * scale + bias)

    def layer_norm(x: Any, scale: Any, bias: Any) -> Any:
        centred = centre(x, x.mean(1, keepdims=True))
        variance = squared(centred).mean(1, keepdims=True)
        return scaled_back(centred, variance, scale, bias)

    return layer_norm


def gelu_gradient_cupy(xp: Any, erf: Any, fuse: Any) -> Callable[..., Any]:
    slope = math.sqrt(2 / math.pi)

    def gradient(x: Any) -> Any:
        t = xp.tanh(slope * x * (1 + 0.044715 * x * x))
        return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * slope * (1 + 3 * 0.044715 * x * x)

    return fuse(gradient)


def transpose_add_cupy(xp: Any, erf: Any, fuse: Any) -> Callable[..., Any]:
    added = fuse(lambda x, y: x + y)
    return lambda x, y: added(x, y.T)


def summed(axis: int | None) -> Callable[..., Any]:
    return lambda xp, erf, fuse: lambda x: x.sum(axis)


# ---- loops ---------------------------------------------------------------------------------------


def options(count: int) -> Callable[[np.random.Generator], Arguments]:
    def inputs(rng: np.random.Generator) -> Arguments:
        found = rng.random((3, count), dtype=np.float32)
        return (
            50 + 100 * found[0],
            50 + 100 * found[1],
            np.float32(0.1) + np.float32(1.9) * found[2],
        )

    return inputs


def plane(size: int) -> Callable[[np.random.Generator], Arguments]:
    def inputs(rng: np.random.Generator) -> Arguments:
        real = np.linspace(-2.0, 0.6, size, dtype=np.float32)
        imaginary = np.linspace(-1.3, 1.3, size, dtype=np.float32)
        return tuple(np.ascontiguousarray(part) for part in np.meshgrid(real, imaginary))

    return inputs


def mandelbrot_torch(torch: Any, wrap: Any) -> Callable[..., Any]:
    step = wrap(lambda c, state: escape_step(torch.where, c, state))

    def mandelbrot(*c: Any) -> Any:
        zero = torch.zeros_like(c[0])
        state = (zero, zero, torch.zeros_like(c[0], dtype=torch.int32))
        for _ in range(100):
            state = step(c, state)
        return state[2]

    return mandelbrot


def bodies(count: int) -> Callable[[np.random.Generator], Arguments]:
    def inputs(rng: np.random.Generator) -> Arguments:
        positions, velocities = rng.standard_normal((2, count, 3), dtype=np.float32)
        masses = rng.uniform(0.5, 1.5, count).astype(np.float32) / np.float32(count)
        return positions, np.float32(0.1) * velocities, masses

    return inputs


def system(size: int) -> Callable[[np.random.Generator], Arguments]:
    def inputs(rng: np.random.Generator) -> Arguments:
        return positive_definite(size, rng), rng.standard_normal(size).astype(np.float32)

    return inputs


def next_scalar(x: Any) -> Any:
    return x + 1.0 / (1.0 + x * x)


def scalar_torch(torch: Any, wrap: Any) -> Callable[..., Any]:
    def scalar(x: Any) -> Any:
        for _ in range(2000):
            x = next_scalar(x)
        return x

    return scalar


def one_half(rng: np.random.Generator) -> Arguments:
    return (np.array(0.5, np.float32),)


def words(count: int, entries: int, width: int) -> Callable[[np.random.Generator], Arguments]:
    def inputs(rng: np.random.Generator) -> Arguments:
        return (*drawn((entries, width))(rng), rng.integers(0, entries, count))

    return inputs


ELEMENTWISE = (
    row("chain", "log1p(exp(tanh(x))), 10M", (LONG,), tiny=[(3, 67)], cupy=chain_cupy),
    row("chain_large", "log1p(exp(tanh(x))), 100M", (HUGE,), tiny=[(300,)], cupy=chain_cupy),
    scaled(
        workloads.find("black_scholes"),
        "Black-Scholes, 10M",
        options(LONG),
        options(300),
        cupy=black_scholes_cupy,
        memory_bound=True,
        rtol=3e-5,
    ),
    row("softmax", "softmax 10000x1000", TALL, tiny=[SMALL_TALL], cupy=softmax_cupy),
    row("softmax_large", "softmax 65536x2048", (65536, 2048), tiny=[(3, 2048)], cupy=softmax_cupy),
    row(
        "layer_norm",
        "layer norm 10000x1000",
        *(TALL, (1000,), (1000,)),
        tiny=[SMALL_TALL, (70,), (70,)],
        cupy=layer_norm_cupy,
    ),
    row(
        "gelu_gradient",
        "gradient of gelu, 10000x1000",
        TALL,
        tiny=[SMALL_TALL],
        cupy=gelu_gradient_cupy,
    ),
)

REDUCTIONS = (
    row("sum_all", "sum, 10000x1000", TALL, tiny=[SMALL_TALL], cupy=summed(None)),
    row("sum_axis0", "sum over axis 0, 10000x1000", TALL, tiny=[SMALL_TALL], cupy=summed(0)),
    row("sum_axis1", "sum over axis 1, 10000x1000", TALL, tiny=[SMALL_TALL], cupy=summed(1)),
)

LAYOUT = (
    row(
        "transpose_add",
        "x + y.T, 3200x3200",
        *(SQUARE, SQUARE),
        tiny=[SMALL_SQUARE, SMALL_SQUARE],
        cupy=transpose_add_cupy,
    ),
    row("cumsum_rows", "cumsum along rows, 10000x1000", TALL, tiny=[SMALL_TALL]),
    row("sort_rows", "sort along rows, 10000x1000", TALL, tiny=[SMALL_TALL]),
)

PRODUCTS = (
    row(
        "matmul",
        "matmul 4096",
        *((4096, 4096), (4096, 4096)),
        tiny=[SMALL_SQUARE, SMALL_SQUARE],
        flops=2.0 * 4096**3,
        library="matmul",
    ),
    row(
        "matmul_f64",
        "matmul 4096, f64",
        *((4096, 4096), (4096, 4096)),
        tiny=[SMALL_SQUARE, SMALL_SQUARE],
        flops=2.0 * 4096**3,
        library="matmul",
        heavy=True,
    ),
    row(
        "small_products",
        "8192 products 16x16, relu",
        *((8192, 16, 16), (8192, 16, 16)),
        tiny=[(5, 16, 16), (5, 16, 16)],
    ),
)

LOOPS = (
    scaled(
        workloads.find("mandelbrot"),
        "Mandelbrot 1600x1600, 100 steps",
        plane(1600),
        plane(24),
        torch=mandelbrot_torch,
        group="loops",
        differing=0.02,
    ),
    scaled(
        workloads.find("n_body"),
        "1600 bodies, 20 steps",
        bodies(1600),
        bodies(12),
        group="loops",
        rtol=1e-3,
    ),
    row("stencil", "stencil 1600x1600, 100 steps", (1600, 1600), tiny=[(20, 24)], group="loops"),
    scaled(
        workloads.find("conjugate_gradient"),
        "conjugate gradient, 1600 unknowns",
        system(1600),
        system(24),
        group="loops",
    ),
    scaled(
        workloads.find("cholesky"),
        "Cholesky by rows, 256x256",
        workloads.find("cholesky").inputs,
        workloads.find("cholesky").inputs,
        group="loops",
    ),
    scaled(
        workloads.find("scalar_loop"),
        "scalar loop, 2000 steps",
        one_half,
        one_half,
        array=lambda api: lambda x: api.lax.fori_loop(0, 2000, lambda _, x: next_scalar(x), x),
        torch=scalar_torch,
        group="loops",
    ),
)

DISPATCH = (
    row("dispatch", "x + 1, 4 elements", (4,), tiny=[(4,)], short=True),
    scaled(
        workloads.find("dispatch_tree"),
        "sum of 30 leaves of 4 elements",
        workloads.find("dispatch_tree").inputs,
        workloads.find("dispatch_tree").inputs,
        short=True,
    ),
)

FLOAT64 = (
    row("chain_f64", "log1p(exp(tanh(x))), 10M, f64", (LONG,), tiny=[(3, 67)], cupy=chain_cupy),
    row("softmax_f64", "softmax 10000x1000, f64", TALL, tiny=[SMALL_TALL], cupy=softmax_cupy),
)

EMBEDDING = (
    scaled(
        workloads.find("embedding_gradient"),
        "embedding gradient, 500,000x64",
        words(81_920, 500_000, 64),
        words(30, 17, 8),
    ),
)
