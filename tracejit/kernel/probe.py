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


def computable(
    node: Node, known: frozenset[str], complex_known: frozenset[str] = frozenset()
) -> bool:
    """Whether kernels can compute a node: scalar operations are all known. With complex numbers,
    only what has an element rule in ``complex_known``.
    """
    types = (*(x.type for x in node.inputs), *(out.type for out in node.outputs))
    prim, operands = node.prim, types[: len(node.inputs)]
    lowered = prim.lowers is not None and prim.lowers(*operands, **node.params)
    if any(t.dtype.kind == "c" for t in types):
        if prim.element is None or lowered or not complex_known:
            return False
    elif lowered:
        inside = (inner for graph in node.subgraphs for inner in graph.nodes)
        return all(computable(inner, known, complex_known) for inner in inside)
    elif prim.element is None:
        return prim.lowers is None
    return _element_known(prim, operands, _Params(node.params), known, complex_known)


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
    prim: Primitive,
    types: tuple[Any, ...],
    params: _Params,
    known: frozenset[str],
    complex_known: frozenset[str],
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
    found_ops = [n for e in exprs for n in walk(e) if isinstance(n, Op)]
    return all(n.fn in (complex_known if _is_complex(n) else known) for n in found_ops)


def _is_complex(op: Op) -> bool:
    """Whether a complex number goes into an operation or comes out of it."""
    return op.fn != "probe" and any(x.dtype in ("c64", "c128") for x in (op, *op.args))
