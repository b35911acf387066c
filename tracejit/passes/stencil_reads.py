"""How many rows away a step of a stencil reads.

distance(z0[add(i0, -1), i1], 512)               (-1, False)
distance(z0[511, i1 if lt(i0, 1)], 512)          (-1, True)      the row before the first
"""

from __future__ import annotations

import operator
from collections.abc import Callable

from tracejit.ir.expr import Const, Expr, Load, Op, Var, known
from tracejit.passes.loop_form import space_var
from tracejit.passes.loops import NotInside

#: rows at either end that a read at a fixed row may be for
ENDS = 4
COMPARE: dict[str, Callable[[int, int], bool]] = {
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
}


def distance(load: Load, axis: int, rows: int) -> tuple[int, bool]:
    """How many rows from the one at hand the read is, along an axis of so many; whether the first
    row follows the last."""
    at, row = load.index[axis], space_var(axis)
    fixed, far = known(at), offset(at, row)
    if fixed is not None:
        far = fixed - only_row(load, row, rows)
    elif far is None:
        raise NotInside(f"a carry is read at row {at}")
    if 2 * abs(far) > rows:
        return (far - rows if far > 0 else far + rows), True
    return far, False


def offset(expr: Expr, row: Var) -> int | None:
    """``c`` where an index is ``row + c``."""
    match expr:
        case Op("add", (a, Const(value=int(c))), "i64"):
            inner = offset(a, row)
            return None if inner is None else inner + int(c)
        case Op("sub", (a, Const(value=int(c))), "i64"):
            inner = offset(a, row)
            return None if inner is None else inner - int(c)
    return 0 if expr == row else None


def only_row(load: Load, row: Var, rows: int) -> int:
    """The one row that reads what is at a fixed row."""
    ends = min(ENDS, rows // 2)
    spans = [(k, k) for k in (*range(ends), *range(rows - ends, rows))]
    if rows > 2 * ends:
        spans.append((ends, rows - ends - 1))
    found = [span for span in spans if load.guard is None or may_hold(load.guard, row, *span)]
    if len(found) != 1 or found[0][0] != found[0][1]:
        raise NotInside("a carry is read at a fixed row")
    first: int = found[0][0]
    return first


def may_hold(cond: Expr, row: Var, low: int, high: int) -> bool:
    """Whether a condition may hold in one of the rows ``low`` to ``high``."""
    match cond:
        case Const():
            return bool(cond.value)
        case Op("and", (a, b), "bool"):
            return may_hold(a, row, low, high) and may_hold(b, row, low, high)
        case Op("or", (a, b), "bool"):
            return may_hold(a, row, low, high) or may_hold(b, row, low, high)
        case Op(fn, (a, Const(value=int(c)))) if fn in COMPARE or fn == "eq":
            far = offset(a, row)
            if far is not None:
                first, last = low + far, high + far
                if fn == "eq":
                    return first <= int(c) <= last
                return COMPARE[fn](first, int(c)) or COMPARE[fn](last, int(c))
    return True
