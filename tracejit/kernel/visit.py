"""What a body of statements holds, those inside loops and branches included.

statements(kernel.body)     every statement
expressions(stmt)           what a statement itself evaluates
nodes_of(kernel.body)       every expression, and every part of one
"""

from __future__ import annotations

from collections.abc import Sequence

from tracejit.ir.expr import Expr, children
from tracejit.kernel.nodes import (
    Accumulate,
    Atomic,
    Check,
    If,
    Local,
    Loop,
    Set,
    Stmt,
    Store,
    Transpose,
    While,
)


def statements(body: Sequence[Stmt]) -> list[Stmt]:
    """Every statement, those inside loops and branches too, in the order of the text."""
    found: list[Stmt] = []
    stack = list(reversed(body))
    while stack:
        s = stack.pop()
        found.append(s)
        if isinstance(s, Loop | While):
            stack += reversed(s.body)
        elif isinstance(s, If):
            stack += reversed((*s.then, *s.orelse))
    return found


def expressions(stmt: Stmt) -> tuple[Expr, ...]:
    """The expressions a statement itself evaluates."""
    match stmt:
        case Local() | Set() | Accumulate():
            return (stmt.value,)
        case Store() | Atomic():
            return (*stmt.index, stmt.value, *((stmt.guard,) if stmt.guard is not None else ()))
        case Loop():
            return (stmt.start, stmt.stop)
        case If() | While():
            return (stmt.cond,)
        case Check():
            return (stmt.ok,)
        case Transpose():
            return (*stmt.to, *stmt.at, stmt.rows, stmt.columns)
    return ()


def nodes_of(body: Sequence[Stmt]) -> set[Expr]:
    """Every expression in ``body`` and every part of one."""
    found: set[Expr] = set()
    stack = [expr for stmt in statements(body) for expr in expressions(stmt)]
    while stack:
        node = stack.pop()
        if node not in found:
            found.add(node)
            stack += children(node)
    return found
