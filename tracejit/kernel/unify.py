"""Two kernels that differ by one size only, as one kernel with that size as a parameter.

    unify(kernel for a batch of 8, kernel for a batch of 9, 8, 9, "batch")

A schedule is written for the sizes at hand; what it made of a size need not be found out by reading
it: the same schedule is written for one more, and where the two differ, they differ by a multiple
of the size. For the first kernel's size the result is the first kernel; for others it is theirs
where their text is the same.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

from tracejit.ir.expr import Const, Expr, Load, Op, Var, iadd, imul
from tracejit.kernel.nodes import Kernel


class _Apart(Exception):
    """The kernels differ by more than a size."""


def unify(a: Kernel, b: Kernel, na: int, nb: int, name: str) -> Kernel | None:
    """The kernel that is ``a`` where the size ``name`` is ``na``, and ``b`` where it is ``nb``;
    None where there is none.
    """
    if a == b or name in a.sizes:
        return a
    both = _Both(na, nb, name)
    try:
        params = tuple(
            replace(p, shape=tuple(map(both.extent, p.shape, q.shape)))
            for p, q in zip(a.params, b.params, strict=True)
        )
        return replace(a, sizes=(*a.sizes, name), params=params, body=both.of(a.body, b.body))
    except (_Apart, ValueError):
        return None


class _Both:
    def __init__(self, na: int, nb: int, name: str) -> None:
        self.na, self.nb, self.name = na, nb, name
        self.done: dict[tuple[Expr, Expr], Expr] = {}

    def extent(self, a: int | str, b: int | str) -> int | str:
        if a == b:
            return a
        if (a, b) == (self.na, self.nb):
            return self.name
        raise _Apart

    def of(self, a: Any, b: Any) -> Any:
        """What ``a`` and ``b`` have in common: statements, expressions, tuples or plain values."""
        if isinstance(a, Expr):
            return self.expression(a, b)
        if isinstance(a, tuple) and isinstance(b, tuple):
            return tuple(self.of(x, y) for x, y in zip(a, b, strict=True))
        if is_dataclass(a) and type(a) is type(b):
            changed = {f.name: self.of(getattr(a, f.name), getattr(b, f.name)) for f in fields(a)}
            return replace(a, **changed)  # type: ignore[type-var]
        if a != b:
            raise _Apart
        return a

    def expression(self, a: Expr, b: object) -> Expr:
        if not isinstance(b, Expr):
            raise _Apart
        if a is b:
            return a
        if (a, b) not in self.done:
            self.done[a, b] = self.joined(a, b)
        return self.done[a, b]

    def joined(self, a: Expr, b: Expr) -> Expr:
        match a, b:
            case Const(value=int(x)), Const(value=int(y)) if a.dtype == b.dtype == "i64":
                factor, rest = divmod(y - x, self.nb - self.na)
                if rest:
                    raise _Apart
                return iadd(imul(Var(self.name, "i64"), factor), x - factor * self.na)
            case Op(), Op() if (a.fn, a.dtype) == (b.fn, b.dtype):
                args: tuple[Expr, ...] = self.of(a.args, b.args)
                return Op(a.fn, args, a.dtype)
            case Load(), Load() if (a.buffer, a.dtype) == (b.buffer, b.dtype):
                index: tuple[Expr, ...] = self.of(a.index, b.index)
                return Load(a.buffer, index, a.dtype, self.of(a.guard, b.guard))
        raise _Apart
