"""Rules for elementwise operations on operands moved or repeated alike: that comes last.

mul(broadcast(x), broadcast(y))  ->  broadcast(mul(x, y))    less to compute
neg(transpose(x))                ->  transpose(neg(x))       transposes meet, or join a product
div(expand(x), 2.0)              ->  expand(div(x, 2.0))     axes of extent 1 vanish in a broadcast

Literals are alike with everything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tracejit import ops
from tracejit.ir.graph import Literal, Node, Value, params_key
from tracejit.ir.types import DTYPES, TensorType
from tracejit.ops.arith import add, div, max_, mul, neg
from tracejit.ops.broadcast import broadcast_in_dim
from tracejit.ops.layout import reshape, transpose
from tracejit.ops.logic import gt, select
from tracejit.ops.parts import convert
from tracejit.passes.fold import ELEMENTWISE
from tracejit.passes.rule import Family, Rule, case
from tracejit.passes.rules_layout import repeated

_PRIMS = tuple(ops.PRIMS[name] for name in sorted(ELEMENTWISE))
Moved = Callable[[Node, dict[Value, Node]], Any]


def moved_last(maker: str, fits: Callable[[Node], bool] = lambda made: True) -> Moved:
    """``put`` for operands made by ``maker`` from one shape with equal params, where ``fits``."""

    def put(node: Node, producers: dict[Value, Node]) -> Any:
        first: Node | None = None
        for x in node.inputs:
            if isinstance(x, Literal):
                continue
            made = producers.get(x)
            if made is None or made.prim.name != maker or isinstance(made.inputs[0], Literal):
                return None
            if first is None:
                first = made
            elif not alike(first, made):
                return None
        if first is None or not fits(first):
            return None
        shape = first.inputs[0].type.shape
        operands = [
            repeated(x, shape) if isinstance(x, Literal) else producers[x].inputs[0]
            for x in node.inputs
        ]
        return first.prim(node.prim(*operands, **node.params), **first.params)

    return put


def alike(a: Node, b: Node) -> bool:
    """Whether two nodes move tensors of one shape in the same way."""
    same = a.inputs[0].type.shape == b.inputs[0].type.shape
    return same and (a.params == b.params or params_key(a.params) == params_key(b.params))


def only_ones(made: Node) -> bool:
    """Whether a reshape only adds and removes axes of extent 1."""
    return long_axes(made.inputs[0].type) == long_axes(made.outputs[0].type)


def long_axes(type: TensorType) -> list[int]:
    return [n for n in type.shape if n != 1]


def wide(x: Any) -> Any:
    return broadcast_in_dim(x, shape=(3, 5), dims=(1,))


def turned(x: Any) -> Any:
    return transpose(x, permutation=(1, 0))


def column(x: Any) -> Any:
    return reshape(x, new_sizes=(*x.type.shape, 1))


RULES = (
    Rule(
        "broadcast_last",
        find=Family(_PRIMS, "broadcast_in_dim"),
        put=moved_last("broadcast_in_dim"),
        cases=(
            case("f32[5]", "f32[5]", lambda x, y: mul(wide(x), wide(y))),
            case("f32[5]", lambda x: max_(2.0, wide(x))),
            case("i32[5]", lambda x: select(gt(wide(x), 0), wide(x), wide(x))),
        ),
    ),
    Rule(
        "transpose_last",
        find=Family(_PRIMS, "transpose"),
        put=moved_last("transpose"),
        cases=(
            case("f32[5,3]", lambda x: neg(turned(x))),
            case("f32[5,3]", "f32[5,3]", lambda x, y: add(turned(x), turned(y))),
        ),
    ),
    Rule(
        "expand_last",
        find=Family(_PRIMS, "reshape"),
        put=moved_last("reshape", only_ones),
        cases=(
            case("f32[5]", "f32[5]", lambda x, y: div(column(x), column(y))),
            case("i32[5]", lambda x: convert(column(x), dtype=DTYPES["f32"])),
        ),
    ),
)
