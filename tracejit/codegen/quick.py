"""A kernel as it is compiled first, when compiling takes longer than running: shorter text, the
same bits.

    quick(kernel, masks=True)      vec(16x4) j in n: ...   ->   vec(16x0) j in n: ...

A ``vec`` loop that folds nothing gets one copy of its body, under a mask, where masks cost little,
and one vector a trip elsewhere. A loop that folds keeps its order, and so its form. Blocks are
transposed element by element.
"""

from __future__ import annotations

from dataclasses import replace

from tracejit.ir.expr import Const, Load, Op, Var, iadd
from tracejit.kernel.nodes import (
    Accumulate,
    If,
    Kernel,
    Local,
    Loop,
    Scratch,
    Stmt,
    Store,
    Transpose,
    While,
)

ROW, COLUMN = Var("quick_row", "i64"), Var("quick_column", "i64")


def quick(kernel: Kernel, masks: bool) -> Kernel:
    """The kernel in a form that takes little time to compile. ``masks``: whether loads and stores
    under a mask cost about as much as whole ones.
    """
    dtypes = {p.name: p.dtype for p in kernel.params}
    return replace(kernel, body=_Quick(masks, dtypes).body(kernel.body))


class _Quick:
    def __init__(self, masks: bool, dtypes: dict[str, str]) -> None:
        self.masks, self.dtypes = masks, dtypes

    def body(self, stmts: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
        return tuple(self.statement(s) for s in stmts)

    def statement(self, s: Stmt) -> Stmt:
        match s:
            case Scratch():
                self.dtypes[s.name] = s.dtype
            case Loop():
                unroll = self.vectors(s) if s.how == "vec" else s.unroll
                return replace(s, body=self.body(s.body), unroll=unroll)
            case While():
                return replace(s, body=self.body(s.body))
            case If():
                return replace(s, then=self.body(s.then), orelse=self.body(s.orelse))
            case Transpose():
                return self.elements(s)
        return s

    def vectors(self, s: Loop) -> int:
        """How many vectors at a time: 0 where each goes under a mask."""
        if _folds(s.body):
            return s.unroll
        if isinstance(s.start, Const) and isinstance(s.stop, Const):
            return 1  # it is known what is left, and mostly nothing
        return 0 if self.masks else 1

    def elements(self, s: Transpose) -> Stmt:
        """A block transposed by two loops."""
        *place, i, j = s.to
        to = (*place, iadd(i, COLUMN), iadd(j, ROW))
        at = [*s.at[:-1], iadd(s.at[-1], COLUMN)]
        at[s.axis] = iadd(at[s.axis], ROW)
        guard = None
        if not all(isinstance(n, Const) and n.value >= s.side for n in (s.rows, s.columns)):  # type: ignore[operator]
            inside = (Op("lt", (ROW, s.rows), "bool"), Op("lt", (COLUMN, s.columns), "bool"))
            guard = Op("and", inside, "bool")
        dtype = self.dtypes[s.source]
        copy = Store(s.target, to, Load(s.source, tuple(at), dtype, guard))
        zero, side = Const(0, "i64"), Const(s.side, "i64")
        across = Loop("seq", COLUMN.name, zero, side, (copy,))
        return Loop("seq", ROW.name, zero, side, (across,))


def _folds(body: tuple[Stmt, ...], inside: frozenset[str] = frozenset()) -> bool:
    """Whether a loop's body accumulates into a local of outside."""
    for s in body:
        match s:
            case Local():
                inside |= {s.name}
            case Accumulate() if s.name not in inside:
                return True
            case Loop() | While():
                if _folds(s.body, inside):
                    return True
            case If():
                if _folds(s.then, inside) or _folds(s.orelse, inside):
                    return True
    return False
