"""Whether kernels of a printer can compute a node: its element rule is tried on stand-ins.

computable(node, KNOWN)       KNOWN: the scalar operations that the printer's kernels may hold
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from tracejit.ir.expr import Op, Var, const, walk
from tracejit.ir.graph import Node
from tracejit.ir.prim import Primitive
from tracejit.ir.types import short
from tracejit.record import dataclass


def computable(node: Node, known: frozenset[str]) -> bool:
    """Whether kernels can compute a node: no complex numbers, and scalar operations all known."""
    types = (*(x.type for x in node.inputs), *(out.type for out in node.outputs))
    if any(t.dtype.kind == "c" for t in types):
        return False
    prim = node.prim
    if prim.lowers is not None and prim.lowers(*types[: len(node.inputs)], **node.params):
        inside = (inner for graph in node.subgraphs for inner in graph.nodes)
        return all(computable(inner, known) for inner in inside)
    if prim.element is None:
        return prim.lowers is None
    return _element_known(prim, types[: len(node.inputs)], _Params(node.params), known)


class _Params:
    """Params as a key for a cache."""

    def __init__(self, params: Any) -> None:
        self.params = params
        self.key = tuple(params.items())

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Params) and self.key == other.key


@dataclass(frozen=True)
class _Stub:
    """Stands for an operand while an element rule is tried out."""

    type: Any

    def __call__(self, index: Any, guard: Any = None) -> Any:
        return Op("probe", tuple(index), self.dtype)

    @property
    def dtype(self) -> str:
        return short(self.type.dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.type.shape  # type: ignore[no-any-return]


@lru_cache(maxsize=8192)
def _element_known(
    prim: Primitive, types: tuple[Any, ...], params: _Params, known: frozenset[str]
) -> bool:
    assert prim.element is not None
    out = prim.infer(*types, **params.params)
    shape = (out[0] if isinstance(out, tuple) else out).shape
    index = tuple(Var(f"i{k}", "i64") if n != 1 else const(0) for k, n in enumerate(shape))
    try:
        found = prim.element([_Stub(t) for t in types], index, **params.params)
    except NotImplementedError:
        return False
    exprs = found if isinstance(found, tuple) else (found,)
    return all(n.fn in known for e in exprs for n in walk(e) if isinstance(n, Op))
