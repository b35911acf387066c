"""Constants fold: nodes whose operands are all known are computed while compiling.

    add(Literal 2, Literal 3)                 ->  Literal 5, whatever the shape
    mul(constant [1 2 3], Literal 2)          ->  constant [2 4 6], up to a size limit
    constant [7 7 7]                          ->  Literal 7

The meaning is that of the NumPy rules. What repeats or counts (broadcast, iota) stays an
operation: it costs no memory. Effects, barriers and operations that hold graphs are never folded,
nor is an index that is out of bounds: it fails when the program runs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tracejit import ops
from tracejit.errors import TracejitError
from tracejit.ir import interp
from tracejit.ir.graph import ConstArray, Graph, Literal, Node, Value, literal
from tracejit.ir.types import type_of
from tracejit.ops import arith, bits, family, logic, math, parts, powers, special
from tracejit.passes.dead import drop_dead
from tracejit.passes.rule import Known, RuleSet, Shortcut, rewrite

#: operations that are there for a reason other than their value
OPAQUE = frozenset(("barrier", "copy", "full"))
#: operations on single elements: on Literals they give Literals
ELEMENTWISE = frozenset(
    ops.collect((family, arith, logic, parts, powers, math, special, bits))
) - frozenset(("broadcast_in_dim", "reduce_sum", *OPAQUE))
#: bytes that the operands, or the results, of a folded node may have together
LIMIT = 1 << 16


def fold_constants(graph: Graph, *, limit: int = LIMIT) -> Graph:
    """Compute what is known; ``limit`` is the number of bytes a folded node may read or make."""
    new = rewrite(graph, RuleSet(()), shortcut=folding(limit))
    return graph if new is graph else drop_dead(new)


def folding(limit: int = LIMIT) -> Shortcut:
    """What ``rewrite`` asks before it tries the rules."""

    def shortcut(node: Node, producers: dict[Value, Node]) -> Known | None:
        operands: list[Literal | np.ndarray] = []
        for x in node.inputs:
            if isinstance(x, Literal):
                operands.append(x)
                continue
            made = producers.get(x)
            if made is None or made.prim.name != "constant":
                return empty(node)
            operands.append(made.params["value"].array)
        return computed(node, operands, limit) or empty(node)

    return shortcut


def is_foldable(node: Node) -> bool:
    prim = node.prim
    if prim.cuda is not None:  # a user's kernel says what its results are, not the CPU
        return False
    return not (
        prim.effect or prim.numpy is None or prim.name in OPAQUE or prim.push is not None
    ) and not (node.params and node.subgraphs)


def empty(node: Node) -> Known | None:
    """Tensors without elements are all alike."""
    if any(out.type.size for out in node.outputs) or not is_foldable(node):
        return None
    return tuple(literal(0, out.type) for out in node.outputs)


def computed(node: Node, operands: Sequence[Literal | np.ndarray], limit: int) -> Known | None:
    if not operands:
        return uniform_constant(node)
    if not is_foldable(node):
        return None
    if node.prim.name in ELEMENTWISE and all(isinstance(x, Literal) for x in operands):
        return on_scalars(node, operands)
    read = sum(x.type.nbytes if isinstance(x, Literal) else x.nbytes for x in operands)
    made = sum(out.type.nbytes for out in node.outputs)
    if max(read, made) > limit:
        return None
    arrays = [
        np.broadcast_to(x.value, x.type.shape) if isinstance(x, Literal) else x for x in operands
    ]
    try:
        with np.errstate(all="ignore"):
            return tuple(as_known(array) for array in interp.apply(node, arrays))
    except TracejitError:
        return None


def on_scalars(node: Node, operands: Sequence[Literal | np.ndarray]) -> Known | None:
    """An elementwise operation on Literals, computed on one element."""
    ones = [np.asarray(x.value)[None] for x in operands if isinstance(x, Literal)]
    with np.errstate(all="ignore"):
        found = node.prim.rule("numpy")(*ones, **node.params)
    results = found if isinstance(found, tuple) else (found,)
    pairs = zip(results, node.outputs, strict=True)
    return tuple(Literal(np.asarray(a, out.type.dtype)[0], out.type) for a, out in pairs)


def uniform_constant(node: Node) -> Known | None:
    """A ``constant`` node whose elements are all the same is a Literal."""
    if node.prim.name != "constant":
        return None
    known = as_known(node.params["value"].array)
    return (known,) if isinstance(known, Literal) else None


def as_known(array: np.ndarray) -> Literal | ConstArray:
    """A Literal where all elements have the same bits, else the array."""
    array = np.ascontiguousarray(array).reshape(array.shape)
    if array.size == 0:
        return literal(0, type_of(array))
    rows = array.reshape(-1)
    # most arrays differ at the ends: no need to look at all of it
    same = rows[0].tobytes() == rows[-1].tobytes()
    if same and (rows.view(np.uint8).reshape(rows.size, -1) == rows[:1].view(np.uint8)).all():
        return Literal(rows[0], type_of(array))
    return ConstArray(array)
