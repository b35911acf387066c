"""What the tests of passes share: hostile inputs, and equality of bits.

arrays = hostile(graph.input_types, seed=0)
assert_same_bits(interp.run(graph, arrays), interp.run(optimised, arrays))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tracejit.ir import interp
from tracejit.ir.build import building
from tracejit.ir.graph import Graph
from tracejit.ir.types import DTYPES, TensorType, kind, parse_type, short
from tracejit.ir.verify import verify

#: what rules get wrong: signed zeros, inf, nan, smallest and largest numbers, powers of two
_FLOATS = {
    "f16": (6e-8, 6.1e-5, 65504.0),
    "bf16": (9e-41, 1.18e-38, 3.3895e38),
    "f32": (1e-45, 1.1754944e-38, 3.4028235e38),
    "f64": (5e-324, 2.2250738585072014e-308, 1.7976931348623157e308),
}
_COMMON = (0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 2.0, 0.5, -3.0, 1.1, 7.3, -0.3, 255.0)


def interesting(dtype: np.dtype) -> np.ndarray:
    """Values of ``dtype`` at which rules fail."""
    letter = kind(dtype)
    if letter == "b":
        return np.array([True, False])
    if letter in "iu":
        info = np.iinfo(dtype)
        wanted = [info.min, info.min + 1, info.max, info.max - 1, 0, 1, 2, 3, 5, 8, 100]
        wanted += [-1, -2, -7, -64] if letter == "i" else [64, 128]
        return np.array([v for v in wanted if info.min <= v <= info.max], dtype)
    if letter == "c":
        part = interesting(np.dtype(f"f{dtype.itemsize // 2}"))[:12]
        return np.array([complex(a, b) for a in part for b in part], dtype)
    small = _FLOATS[short(dtype)]
    with np.errstate(all="ignore"):
        return np.array([*_COMMON, *small, *(-v for v in small)], np.float64).astype(dtype)


def hostile(types: Sequence[TensorType], seed: int) -> list[np.ndarray]:
    """Arrays of ``types``, mostly of interesting values."""
    rng = np.random.default_rng(seed)
    return [rng.choice(interesting(t.dtype), size=t.shape).astype(t.dtype) for t in types]


def bits(array: np.ndarray) -> np.ndarray:
    """The bits of an array, every nan the same: IEEE 754 fixes neither its sign nor its payload."""
    array = np.ascontiguousarray(array).reshape(array.shape)
    if kind(array.dtype) == "c":
        return np.stack([bits(array.real), bits(array.imag)])
    if kind(array.dtype) == "f":
        array = np.where(np.isnan(array), np.asarray(np.nan, array.dtype), array)
        array = np.ascontiguousarray(array)
    return array.view(f"u{array.dtype.itemsize}") if array.ndim else array.reshape(1).view(np.uint8)


def assert_same_bits(
    before: Sequence[np.ndarray], after: Sequence[np.ndarray], note: str = ""
) -> None:
    for a, b in zip(before, after, strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape, note
        assert np.array_equal(bits(a), bits(b)), f"{note}\n{a}\n{b}"


def assert_same_meaning(before: Graph, after: Graph, seeds: int = 3) -> None:
    """Both graphs are well formed, have the same types and give the same bits."""
    verify(after)
    assert before.input_types == after.input_types
    assert before.output_types == after.output_types
    for seed in range(seeds):
        arrays = hostile(before.input_types, seed)
        note = f"{before!r} became {after!r}, seed {seed}"
        assert_same_bits(interp.run(before, arrays), interp.run(after, arrays), note)


def graph_of(*types_and_build: Any) -> Graph:
    """``graph_of("f32[3]", lambda x: ...)``: the graph a function of values builds."""
    *texts, build = types_and_build
    return build_graph([parse_type(text) for text in texts], build)


def build_graph(types: Sequence[TensorType], build: Callable[..., Any]) -> Graph:
    with building() as b:
        xs = [b.input(t) for t in types]
        found = build(*xs)
    return b.graph(found if isinstance(found, tuple) else (found,))


def names(graph: Graph) -> list[str]:
    """The operations of a graph in order."""
    return [node.prim.name for node in graph.nodes]


ALL_DTYPES = tuple(DTYPES.values())
