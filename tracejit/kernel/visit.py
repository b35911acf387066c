"""What a body of statements holds, those inside loops and branches included.

statements(kernel.body)     every statement
expressions(stmt)           what a statement itself evaluates
nodes_of(kernel.body)       every expression, and every part of one
map_statements(body, f)     the body with every statement rewritten
map_expressions(stmt, f)    a statement with its own expressions rewritten
transpose_loops(stmt, ...)  the loops that a Transpose stands for
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from tracejit.ir.expr import Const, Expr, Load, Op, Var, children, iadd
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


def map_statements(statements: Sequence[Stmt], rewrite: Callable[[Stmt], Stmt]) -> tuple[Stmt, ...]:
    """``rewrite`` applied to every statement, outer ones first."""
    found: list[Stmt] = []
    for statement in map(rewrite, statements):
        match statement:
            case Loop(body=body) | While(body=body):
                statement = replace(statement, body=map_statements(body, rewrite))
            case If(then=then, orelse=orelse):
                then, orelse = map_statements(then, rewrite), map_statements(orelse, rewrite)
                statement = replace(statement, then=then, orelse=orelse)
        found.append(statement)
    return tuple(found)


def map_expressions(statement: Stmt, change: Callable[[Expr], Expr]) -> Stmt:
    """``statement`` with its own expressions changed; nested statements are left alone."""
    match statement:
        case Loop():
            return replace(statement, start=change(statement.start), stop=change(statement.stop))
        case If() | While():
            return replace(statement, cond=change(statement.cond))
        case Local() | Set() | Accumulate():
            return replace(statement, value=change(statement.value))
        case Store() | Atomic():
            guard = None if statement.guard is None else change(statement.guard)
            index = tuple(map(change, statement.index))
            return replace(statement, index=index, value=change(statement.value), guard=guard)
        case Check():
            return Check(change(statement.ok), statement.code)
        case Transpose():
            to, at = tuple(map(change, statement.to)), tuple(map(change, statement.at))
            rows, columns = change(statement.rows), change(statement.columns)
            return replace(statement, to=to, at=at, rows=rows, columns=columns)
    return statement


def transpose_loops(
    stmt: Transpose, dtype: str, names: tuple[str, str] = ("row_", "column_")
) -> Loop:
    """A transpose as the loops that it stands for; ``names`` are those of their variables."""
    row, column = (Var(name, "i64") for name in names)
    side = Const(stmt.side, "i64")
    inside = Op(
        "and",
        (Op("lt", (row, stmt.rows), "bool"), Op("lt", (column, stmt.columns), "bool")),
        "bool",
    )
    to = (*stmt.to[:-2], iadd(stmt.to[-2], column), iadd(stmt.to[-1], row))
    at = [*stmt.at[:-1], iadd(stmt.at[-1], column)]
    at[stmt.axis] = iadd(at[stmt.axis], row)
    value = Load(stmt.source, tuple(at), dtype, inside)
    inner = Loop("seq", row.name, Const(0, "i64"), side, (Store(stmt.target, to, value),))
    return Loop("seq", column.name, Const(0, "i64"), side, (inner,))
