"""The record of a workload for GPUs, and how its arguments are drawn.

    chain = scaled(arrays.find("chain"), "log1p(exp(tanh(x))), 10M", drawn((10_000_000,)),
                   drawn((3, 37)))
    chain.arguments(quick=False)

A GPU's workload is one of the CPU's with arguments that fill a GPU, or one of its own; ``tiny``
draws arguments that take a CPU, or one that plays a GPU, no time.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from workload import Arguments, Workload

#: numbers that are drawn at most: longer arrays repeat them. A prime, so that rows differ
MOST_DRAWN = 4_194_301
#: relative to the largest element, by dtype of the arguments
TOLERANCE = {"f64": 1e-11, "f32": 1e-5, "f16": 1e-2, "bf16": 4e-2}


@dataclass(frozen=True)
class GpuWorkload(Workload):
    """``tiny``: draws small arguments. ``dtype``: of floating arguments on the device, drawn as
    float32 numbers which it can hold. ``precision``: of products of float32 matrices: "f32", "tf32"
    or "any" (what the framework does by default). ``group``: rows that torch.compile compiles in
    one process. ``cupy(xp, erf, fuse)``: the function for CuPy. ``library``: what "% of library"
    compares with: "matmul", the rate of cuBLAS for the dtype; "torch", torch's row, which calls
    the library. ``heavy``: the float64 reference runs on the device too. ``short``: launches
    are what takes time: torch with CUDA graphs has a column here.
    """

    tiny: Callable[[np.random.Generator], Arguments] | None = None
    dtype: str = "f32"
    precision: str = "f32"
    group: str = "arrays"
    cupy: Callable[[Any, Any, Any], Callable[..., Any]] | None = None
    library: str = ""
    heavy: bool = False
    short: bool = False

    def arguments(self, quick: bool) -> Arguments:
        """The arguments, floating ones as float32 or float64: the same numbers in every process."""
        draw = self.tiny if quick and self.tiny is not None else self.inputs
        return mapped_floats(lambda x: held_exactly(x, self.dtype), draw(generator()))


def generator() -> np.random.Generator:
    return np.random.default_rng(20240607)


def scaled(
    workload: Workload,
    title: str,
    inputs: Callable[[np.random.Generator], Arguments],
    tiny: Callable[[np.random.Generator], Arguments],
    **more: Any,
) -> GpuWorkload:
    """A workload of the CPU with other arguments."""
    given = {field.name: getattr(workload, field.name) for field in fields(Workload)}
    dtype = more.get("dtype", "f32")
    if dtype != "f32":
        given["rtol"] = TOLERANCE[dtype]
    given |= {"title": title, "inputs": inputs, "tiny": tiny, "issue": 4, **more}
    given["x64"] = dtype == "f64"
    return GpuWorkload(**given)


def drawn(
    *shapes: tuple[int, ...], scale: float = 1.0
) -> Callable[[np.random.Generator], Arguments]:
    """float32 numbers from the normal distribution; long arrays repeat the first four million."""

    def inputs(rng: np.random.Generator) -> Arguments:
        return tuple(numbers(rng, shape, scale) for shape in shapes)

    return inputs


def numbers(rng: np.random.Generator, shape: tuple[int, ...], scale: float = 1.0) -> np.ndarray:
    size = int(np.prod(shape))
    block = rng.standard_normal(min(size, MOST_DRAWN), dtype=np.float32) * np.float32(scale)
    return np.resize(block, size).reshape(shape)


def weights(rng: np.random.Generator, rows: int, *columns: int) -> np.ndarray:
    """A matrix that keeps the size of what is multiplied with it; ``rows`` are summed over."""
    return numbers(rng, (rows, *columns), rows**-0.5)


def held_exactly(x: np.ndarray, dtype: str) -> np.ndarray:
    """The nearest float32 numbers that ``dtype`` can hold, to even where two are; float64 numbers
    for f64. Large arrays are rounded by several threads.
    """
    if x.size <= MOST_DRAWN or dtype in ("f32", "f64"):
        return _held(x, dtype)
    parts = np.array_split(x.reshape(-1), 16)
    with ThreadPoolExecutor() as pool:
        return np.concatenate(list(pool.map(lambda part: _held(part, dtype), parts))).reshape(
            x.shape
        )


def _held(x: np.ndarray, dtype: str) -> np.ndarray:
    if dtype == "f64":
        return x.astype(np.float64)
    if dtype == "f16":
        return x.astype(np.float16).astype(np.float32)
    if dtype == "bf16":
        bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
        odd = (bits >> np.uint32(16)) & np.uint32(1)
        return ((bits + np.uint32(0x7FFF) + odd) & np.uint32(0xFFFF0000)).view(np.float32)
    return x


def mapped_floats(function: Callable[[np.ndarray], np.ndarray], tree: Any) -> Any:
    """The same nest with ``function`` applied to every array of floating numbers."""
    if isinstance(tree, dict):
        return {key: mapped_floats(function, value) for key, value in tree.items()}
    if isinstance(tree, tuple | list):
        return type(tree)(mapped_floats(function, part) for part in tree)
    return function(tree) if np.asarray(tree).dtype.kind == "f" else tree
