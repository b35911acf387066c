"""Debug mode: every pass is verified and replayed on the real inputs.

    replay_passes(graph, arrays)

raises InternalError naming the first pass whose graph gives other results.
"""

from __future__ import annotations

from collections.abc import Sequence

import ml_dtypes
import numpy as np

from tracejit.errors import InternalError
from tracejit.ir import interp
from tracejit.ir.graph import Graph, Node, Value, walk_nodes
from tracejit.ir.text import show
from tracejit.ir.types import is_inexact, real_dtype
from tracejit.ir.verify import verify
from tracejit.passes.pipeline import OPTIMISE, run_passes


def replay_passes(graph: Graph, arrays: Sequence[np.ndarray]) -> None:
    """Run OPTIMISE pass by pass, checking each graph and its results against those of the one
    before.

    Raises InternalError naming the pass and the first operation of the new graph whose value the
    old one does not have.
    """
    verify(graph)
    expected = interp.run(graph, arrays)
    before = [graph]
    eps = coarsest(graph)

    def after(name: str, found: Graph) -> None:
        verify(found)
        results = interp.run(found, arrays)
        for k, (want, got) in enumerate(zip(expected, results, strict=True)):
            if not same(want, got, eps):
                raise InternalError(
                    f"pass `{name}` changes result {k} of `{graph.name}`",
                    notes=(
                        first_new_value(before[0], found, arrays),
                        "the graph before it:",
                        *show(before[0]).splitlines(),
                    ),
                )
        before[0] = found

    run_passes(graph, OPTIMISE, after=after)


def coarsest(graph: Graph) -> float:
    """The rounding of the least precise float that ``graph`` computes with: a result of float64 may
    come from float32.
    """
    dtypes = {real_dtype(v.type.dtype) for n in walk_nodes(graph) for v in n.outputs if _float(v)}
    return max((float(ml_dtypes.finfo(dtype).eps) for dtype in dtypes), default=0.0)


def _float(value: Value) -> bool:
    return is_inexact(value.type.dtype)


def same(a: np.ndarray, b: np.ndarray, eps: float) -> bool:
    """Equal, nan equal to nan; contractions rewritten by passes may differ in rounding, which is
    relative to the largest number: what cancels is as uncertain as what it came from.
    """
    if is_inexact(a.dtype):
        a, b = (x.astype("c16" if x.dtype.kind == "c" else "f8") for x in (a, b))
        large = np.abs(a[np.isfinite(a)]).max(initial=1.0)
        return bool(np.allclose(a, b, rtol=64 * eps, atol=64 * eps * large, equal_nan=True))
    return bool(np.array_equal(a, b))


def first_new_value(old: Graph, new: Graph, arrays: Sequence[np.ndarray]) -> str:
    """The first operation of ``new`` with a value that no operation of ``old`` computes."""
    known: set[bytes] = set()
    interp.run(old, arrays, watch=lambda node, outs: known.update(o.tobytes() for o in outs))
    found: list[str] = []

    def watch(node: Node, outs: tuple[np.ndarray, ...]) -> None:
        if any(o.tobytes() not in known for o in outs):
            line = f", {node.at.short()}" if node.at is not None else ""
            found.append(f"first operation with a new value: {node.prim.name}{line}")

    interp.run(new, arrays, watch=watch)
    return found[0] if found else "no operation has a new value: the outputs are wired differently"
