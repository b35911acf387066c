"""Operands of a loop in one kernel that need no buffer: the kernel computes their elements itself.

    buffers(node, form, pull)      the operands that do need one

An operand is computed inside where each element is read once, neighbours in space are neighbours in
memory, and nothing is checked. ``pull`` reads an element of a value from buffers, or is None for
values that are buffers or too costly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tracejit.ir.expr import Const, Expr, Load, Op, Var, walk
from tracejit.ir.graph import Node, Value
from tracejit.passes.loop_form import LoopForm, space_var
from tracejit.passes.pull import Index

Pull = Callable[[Value, Index], Expr | None]


def buffers(node: Node, form: LoopForm, pull: Pull) -> Iterable[Value]:
    """The operands of a loop that are read from memory."""
    own = [e for c in (*form.carries, *form.stacked) for e in (c.first, c.value)]
    conditions = [e for e in (form.cond, form.moving) if e is not None]
    inner = [e for loop in form.inner for e in loop.exprs()]
    once = _accesses((*own, *conditions))
    often = _accesses(inner)
    for number, x in enumerate(node.inputs):
        if isinstance(x, Value):
            name = f"b{number}"
            indices = once.get(name, set())
            simple = name not in often and _read_once(form, indices, x)
            if not simple or not all(_fits(form, pull(x, index)) for index in indices):
                yield x


def _accesses(exprs: Iterable[Expr]) -> dict[str, set[Index]]:
    """The indices at which each operand is read."""
    found: dict[str, set[Index]] = {}
    for expr in exprs:
        for node in walk(expr):
            if isinstance(node, Load):
                found.setdefault(node.buffer, set()).add(node.index)
    return found


def _read_once(form: LoopForm, indices: set[Index], x: Value) -> bool:
    """Whether the elements at ``indices``, over all points and steps, are each another one."""
    points = {space_var(axis) for axis in range(len(form.space))}
    for index in indices:
        variables = [i for i in index if isinstance(i, Var)]
        if not all(isinstance(i, Var | Const) for i in index):
            return False
        if set(variables) - {form.step} != points or len(variables) != len(set(variables)):
            return False
    return True


def _fits(form: LoopForm, expr: Expr | None) -> bool:
    """Whether a vector of points reads whole vectors, and no index is checked."""
    if expr is None:
        return False
    last = space_var(len(form.space) - 1)
    for node in walk(expr):
        if isinstance(node, Op) and node.fn == "check_index":
            return False
        if isinstance(node, Load):
            for place, entry in enumerate(node.index):
                inside = last in walk(entry)
                if inside and (place < len(node.index) - 1 or not _shifted(entry, last)):
                    return False
    return True


def _shifted(entry: Expr, last: Var) -> bool:
    """``last``, or a constant more."""
    match entry:
        case Op("add", (first, Const()), "i64"):
            return first == last
    return entry == last
