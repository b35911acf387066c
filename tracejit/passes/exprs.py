"""Index arithmetic and conditions folded where their operands are constants.

    >>> from tracejit.ir.expr import Const, Load, Op, const
    >>> first = Op("lt", (const(0), const(1)), "bool")
    >>> print(fold(Op("select", (first, Load("x", (const(0),), "f32"), Const(0.0, "f32")), "f32")))
    x[0]

Element rules build these for an index that may be anything; at a known index little remains.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tracejit.ir.expr import Const, Expr, Load, Op, children, rebuild, walk

_COMPARE: dict[str, Callable[[int, int], bool]] = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
}
_INDEX: dict[str, Callable[[int, int], int]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "min": min,
    "max": max,
    "idiv": lambda a, b: a // b,
    "irem": lambda a, b: a % b,
}
_INTS = frozenset(("i32", "i64"))


def fold(expr: Expr) -> Expr:
    """``expr`` with constant indices, comparisons of indices and choices between them computed."""
    done: dict[Expr, Expr] = {}
    for node in walk(expr):
        done[node] = _folded(rebuild(node, tuple(done[kid] for kid in children(node))))
    return done[expr]


def substituted(expr: Expr, put: Mapping[Expr, Expr]) -> Expr:
    """``expr`` with some of its parts, variables mostly, replaced."""
    done: dict[Expr, Expr] = {}
    for node in walk(expr):
        found = put.get(node)
        done[node] = found or rebuild(node, tuple(done[kid] for kid in children(node)))
    return done[expr]


def _folded(node: Expr) -> Expr:
    if isinstance(node, Load):
        match node.guard:
            case Const(True):
                return Load(node.buffer, node.index, node.dtype)
            case Const(False):
                return Const(False if node.dtype == "bool" else 0, node.dtype)
        return node
    match node:
        case Op("select", (Const(bool(chosen)), a, b), _):
            return a if chosen else b
        case Op("not", (Const(bool(value)),), "bool"):
            return Const(not value, "bool")
        case Op("and" | "or" as fn, (a, b), "bool"):
            return _logical(fn, a, b, node)
        case Op("check_index", (Const(int(i)), Const(int(n))), _) if 0 <= i < n:
            return node.args[0]
        case Op("convert", (Const(int(value), source),), "i64") if source in _INTS:
            return Const(int(value), "i64")
        case Op("clamp", (Const(int(low)), Const(int(x), "i64"), Const(int(high))), "i64"):
            return Const(min(max(x, low), high), "i64")
        case Op(fn, (Const(int(a), source), Const(int(b))), dtype) if source in _INTS:
            if fn in _COMPARE:
                return Const(_COMPARE[fn](a, b), "bool")
            if dtype == "i64" and fn in _INDEX and -(2**63) <= (c := _INDEX[fn](a, b)) < 2**63:
                return Const(c, "i64")
    return node


def _logical(fn: str, a: Expr, b: Expr, node: Expr) -> Expr:
    for one, other in ((a, b), (b, a)):
        if isinstance(one, Const):
            neutral = one.value is (fn == "and")
            return other if neutral else one
    return node
