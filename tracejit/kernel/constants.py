"""Constants of a kernel that follow from its sizes: means and their gradients hold 1 / n.

    of_sizes(kernel with mul(s, 0.0078125), {128: "n0"})
        ->  c0: f32 = div(1.0, convert[f32](n0)), and mul(s, c0)

A kernel for a batch of 128 is the kernel for one of 96 then. The value is the same to the bit for
the sizes at hand; where another size gives another value, that kernel is simply another one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import frexp, isfinite

from tracejit.ir.expr import Const, Expr, Load, Op, Var, children, imul, rebuild, walk
from tracejit.ir.types import DTYPES
from tracejit.kernel.nodes import (
    Accumulate,
    Check,
    If,
    Kernel,
    Local,
    Loop,
    Set,
    Stmt,
    Store,
    While,
)

#: factors beside sizes, at most
SMALL = 64


def of_sizes(kernel: Kernel, names: Mapping[int, str]) -> Kernel:
    """``kernel`` with constants that are n, -n, 1 / n or -1 / n, n a size, a product of two or one
    of these times a small number, computed from it.
    """
    writer = _Writer(names)
    body = writer.statements(kernel.body, False)
    if not writer.used:
        return kernel
    locals_ = tuple(Local(v.name, v.dtype, value) for value, v in writer.used.values())
    first = body[0]
    if len(body) == 1 and isinstance(first, Loop) and first.how in ("par", "block"):
        body = (replace(first, body=(*locals_, *first.body)),)
    else:
        body = (*locals_, *body)
    # the name says which operations a kernel holds
    name = kernel.name.replace("_mul", "_div") if writer.quotients else kernel.name
    return replace(kernel, name=name, body=body)


def meaning(constant: Const, names: Mapping[int, str]) -> Expr | None:
    """How a constant follows from the sizes, None where it does not."""
    value, dtype = constant.value, constant.dtype
    if dtype not in ("f32", "f64") or not isinstance(value, float) or not isfinite(value):
        return None
    number = DTYPES[dtype].type
    magnitude = abs(value)
    whole = round(magnitude if magnitude >= 1.0 else 1.0 / magnitude) if magnitude > 0.0 else 0
    count = _product(whole, names)
    if count is None:
        return None
    size: Expr = Op("convert", (count,), dtype)
    if magnitude >= 1.0:
        exact = float(number(whole)) == magnitude
        return None if not exact else size if value > 0 else Op("neg", (size,), dtype)
    exact = float(number(1) / number(whole)) == magnitude
    return Op("div", (Const(1.0 if value > 0 else -1.0, dtype), size), dtype) if exact else None


def _product(whole: int, names: Mapping[int, str]) -> Expr | None:
    """``whole`` as a product of a size, or of two, and a small factor."""
    products = [(a * b, (a, b)) for a in names for b in names] + [(a, (a,)) for a in names]
    for product, extents in sorted(products, reverse=True):
        if whole % product == 0 and 0 < whole // product <= SMALL:
            found: Expr = Var(names[extents[0]], "i64")
            for extent in extents[1:]:
                found = imul(found, Var(names[extent], "i64"))
            return imul(found, whole // product)
    return None


class _Writer:
    """Writes statements with such constants as locals, which ``used`` collects."""

    def __init__(self, names: Mapping[int, str]) -> None:
        self.names = names
        self.used: dict[Const, tuple[Expr, Var]] = {}
        self.others: set[Const] = set()
        self.quotients = False

    def local(self, constant: Const) -> Var | None:
        """The local that holds what ``constant`` means."""
        if constant in self.others:
            return None
        if constant not in self.used:
            value = meaning(constant, self.names)
            if value is None:
                self.others.add(constant)
                return None
            self.used[constant] = value, Var(f"c{len(self.used)}", constant.dtype)
        return self.used[constant][1]

    def value(self, expr: Expr, in_vector: bool) -> Expr:
        done: dict[Expr, Expr] = {}

        def named(node: Expr) -> Expr:
            return (isinstance(node, Const) and self.local(node)) or done[node]

        for node in walk(expr):
            done[node] = node
            if isinstance(node, Op | Load):
                quotient = None if in_vector else self.quotient(node)
                if quotient is not None:
                    self.quotients = True
                    done[node] = Op("div", (named(quotient[0]), quotient[1]), node.dtype)
                else:
                    done[node] = rebuild(node, tuple(map(named, children(node))))
        return named(expr)

    def quotient(self, node: Expr) -> tuple[Expr, Var] | None:
        """A product with 1 / n, n a power of two, as the quotient it was before it was simplified:
        for other n it still is one. Their bits are the same.
        """
        if isinstance(node, Op) and node.fn == "mul":
            for x, c in (node.args, node.args[::-1]):
                if isinstance(c, Const) and _is_half_power(c.value):
                    size = self.local(Const(1.0 / c.value, c.dtype))
                    if size is not None:
                        return x, size
        return None

    def statements(self, stmts: Sequence[Stmt], in_vector: bool) -> tuple[Stmt, ...]:
        def inner(body: Sequence[Stmt]) -> tuple[Stmt, ...]:
            return self.statements(body, in_vector)

        found: list[Stmt] = []
        for stmt in stmts:
            match stmt:
                case Local() | Set() | Accumulate() | Store():
                    stmt = replace(stmt, value=self.value(stmt.value, in_vector))
                case Check():
                    stmt = replace(stmt, ok=self.value(stmt.ok, in_vector))
                case Loop():
                    body = self.statements(stmt.body, in_vector or stmt.how == "vec")
                    stmt = replace(stmt, body=body)
                case While():
                    cond = self.value(stmt.cond, in_vector)
                    stmt = replace(stmt, cond=cond, body=inner(stmt.body))
                case If():
                    cond = self.value(stmt.cond, in_vector)
                    stmt = replace(
                        stmt, cond=cond, then=inner(stmt.then), orelse=inner(stmt.orelse)
                    )
            found.append(stmt)
        return tuple(found)


def _is_half_power(value: object) -> bool:
    """Whether ``value`` is 1 / n or -1 / n for a power of two n > 1."""
    return isinstance(value, float) and abs(value) < 1.0 and abs(frexp(value)[0]) == 0.5
