"""Kernels that do not depend on sizes: extents become run-time parameters, so that a new batch size
compiles nothing.

    generalise(kernel over f32[1000,10])  ->  kernel over f32[n0,10], (1000,)

Small extents stay constants: loops over them unroll and a vector may cover them whole.
"""

from __future__ import annotations

from dataclasses import replace

from tracejit.ir.expr import Const, Expr, Op, Var
from tracejit.kernel.constants import of_sizes
from tracejit.kernel.nodes import If, Kernel, Local, Loop, Stmt, Transpose, While

#: extents from here on are parameters
SMALL = 32


def generalise(kernel: Kernel) -> tuple[Kernel, tuple[int, ...]]:
    """``kernel`` with every extent of at least SMALL as a size parameter, and the values of the
    sizes.

    The same extent is the same parameter, and so are floats that follow from it. Constants
    elsewhere (in index arithmetic) stay: a kernel that has some is simply shared less.
    """
    names: dict[int, str] = {}

    def size(extent: int | str) -> int | str:
        if isinstance(extent, str) or extent < SMALL:
            return extent
        return names.setdefault(extent, f"n{len(names)}")

    params = tuple(replace(p, shape=tuple(size(n) for n in p.shape)) for p in kernel.params)

    def bound(expr: Expr) -> Expr:
        """The stop of a loop: an extent, or an extent cut into chunks; other constants stay."""
        match expr:
            case Const(value=int(extent)):
                name = size(extent)
                return Var(name, "i64") if isinstance(name, str) else expr
            case Op(fn="min", args=(extent, end)):
                return Op("min", (bound(extent), end), "i64")
            case Op(fn="idiv", args=(Op(fn="add", args=(extent, rest)), length)):
                return Op("idiv", (Op("add", (bound(extent), rest), "i64"), length), "i64")
            case Op(fn="sub", args=(extent, at)):
                return Op("sub", (bound(extent), at), "i64")
        return expr

    def statement(stmt: Stmt) -> Stmt:
        match stmt:
            case Loop():
                body = tuple(statement(s) for s in stmt.body)
                # a part of a loop has its place in it
                part = isinstance(stmt.start, Const) and stmt.start.value != 0
                return replace(stmt, stop=stmt.stop if part else bound(stmt.stop), body=body)
            case If():
                return replace(
                    stmt,
                    then=tuple(statement(s) for s in stmt.then),
                    orelse=tuple(statement(s) for s in stmt.orelse),
                )
            case Transpose():
                return replace(stmt, rows=bound(stmt.rows), columns=bound(stmt.columns))
            case Local(value=Op(fn="idiv" | "irem" as fn, args=(Var() as number, extent))):
                return replace(stmt, value=Op(fn, (number, bound(extent)), "i64"))
            case While():
                return replace(stmt, body=tuple(statement(s) for s in stmt.body))
        return stmt

    body = tuple(statement(s) for s in kernel.body)
    sizes = tuple(names)
    general = Kernel(kernel.name, tuple(names.values()), params, body, kernel.comment)
    return of_sizes(general, names), sizes
