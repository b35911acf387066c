"""Statements of a CPU's kernel one element at a time, as a thread of a GPU runs them.

    Scalars(unique).block(body, dtypes)

``vec`` loops run in order, transposed copies are loops, ``any_lane(c)`` is ``c``.

What a ``vec`` loop means it means lane by lane (``nodes.py``), so that nothing else changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from tracejit.ir.expr import Expr, Load, Op, children, rebuild, walk_new
from tracejit.kernel.nodes import (
    If,
    Loop,
    Scratch,
    Stmt,
    Store,
    Transpose,
    While,
)
from tracejit.kernel.visit import map_expressions, transpose_loops

#: what is done to a part of an expression whose own parts are done
Step = Callable[[Expr], Expr]


class Scalars:
    """Rewrites statements; ``unique(stem)`` makes names for the loops of a copy."""

    def __init__(self, unique: Callable[[str], str]) -> None:
        self.unique = unique
        self.done: dict[Expr, Expr] = {}
        self.dtypes: dict[str, str] = {}

    def expr(self, expr: Expr) -> Expr:
        """An expression of one lane."""
        return changed(expr, _one_lane, self.done)

    def block(self, body: Sequence[Stmt], dtypes: Mapping[str, str]) -> tuple[Stmt, ...]:
        """``body`` one element at a time; ``dtypes`` are those of the buffers around it."""
        known = dict(dtypes)
        found: list[Stmt] = []
        for stmt in body:
            if isinstance(stmt, Scratch):
                known[stmt.name] = stmt.dtype
            if isinstance(stmt, Transpose):
                names = self.unique("r"), self.unique("c")
                copy = map_expressions(stmt, self.expr)
                assert isinstance(copy, Transpose)
                found.append(transpose_loops(copy, known[stmt.source], names))
                continue
            stmt = map_expressions(stmt, self.expr)
            match stmt:
                case Loop():
                    how = "seq" if stmt.how in ("vec", "par") else stmt.how
                    stmt = replace(stmt, how=how, width=1, body=self.block(stmt.body, known))
                    stmt = stmt if how == "seq" and stmt.unroll > 1 else replace(stmt, unroll=1)
                case While():
                    stmt = replace(stmt, body=self.block(stmt.body, known))
                case If():
                    then, orelse = (self.block(b, known) for b in (stmt.then, stmt.orelse))
                    stmt = replace(stmt, then=then, orelse=orelse)
            found.append(stmt)
        return tuple(found)

    def apart(self, body: Sequence[Stmt]) -> tuple[Stmt, ...]:
        """``body`` with a name of its own for each scratch."""
        found: list[Stmt] = []
        names: dict[str, str] = {}
        for stmt in body:
            stmt = with_buffers(stmt, lambda name, index: (names.get(name, name), index))
            match stmt:
                case Scratch():
                    names[stmt.name] = self.unique(stmt.name)
                    stmt = replace(stmt, name=names[stmt.name])
                case Loop() | While():
                    stmt = replace(stmt, body=self.apart(stmt.body))
                case If():
                    stmt = replace(stmt, then=self.apart(stmt.then), orelse=self.apart(stmt.orelse))
            found.append(stmt)
        return tuple(found)


Index = tuple[Expr, ...]


def with_buffers(stmt: Stmt, put: Callable[[str, Index], tuple[str, Index]]) -> Stmt:
    """``stmt``, and all inside it, with ``put(buffer, index)`` for each element that is touched."""

    def step(node: Expr) -> Expr:
        if isinstance(node, Load):
            return Load(*put(node.buffer, node.index), node.dtype, node.guard)
        return node

    done: dict[Expr, Expr] = {}

    def inside(stmt: Stmt) -> Stmt:
        stmt = map_expressions(stmt, lambda expr: changed(expr, step, done))
        match stmt:
            case Store():
                name, index = put(stmt.buffer, stmt.index)
                return replace(stmt, buffer=name, index=index)
            case Loop() | While():
                return replace(stmt, body=tuple(map(inside, stmt.body)))
            case If():
                then, orelse = tuple(map(inside, stmt.then)), tuple(map(inside, stmt.orelse))
                return replace(stmt, then=then, orelse=orelse)
        return stmt

    return inside(stmt)


def changed(expr: Expr, step: Step, done: dict[Expr, Expr]) -> Expr:
    """``expr`` with ``step`` done to every part of it, arguments first; ``done`` keeps results."""
    for node in walk_new(expr, done):
        done[node] = step(rebuild(node, tuple(done[kid] for kid in children(node))))
    return done[expr]


def _one_lane(node: Expr) -> Expr:
    return node.args[0] if isinstance(node, Op) and node.fn == "any_lane" else node
