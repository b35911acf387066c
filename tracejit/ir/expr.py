"""Scalar expressions: what one element of a tensor is, in terms of elements of others.

The ``element`` rule of a primitive returns one of these; fusion substitutes them into each other;
the Kernel IR (``kernel/nodes.py``) puts loops around them. Dtypes are short names ("f32", "i64").

    >>> i = Var("i", "i64")
    >>> print(Op("add", (Load("x", (i,), "f32"), Const(1.0, "f32")), "f32"))
    add(x[i], 1.0)
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass


class Expr:
    """Base of the four expression nodes. Immutable; the hash is computed once, so shared trees stay
    cheap.
    """

    __slots__ = ()
    dtype: str


@dataclass(frozen=True, slots=True)
class Const(Expr):
    """A scalar constant. ``value`` is a Python bool, int, float or complex."""

    value: bool | int | float | complex
    dtype: str

    def __str__(self) -> str:
        return show_scalar(self.value)

    # nan is equal to itself here, and 0.0 differs from -0.0: expressions are compared as text is
    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Const)
            and self.dtype == other.dtype
            and repr(self.value) == repr(other.value)
        )

    def __hash__(self) -> int:
        return hash((repr(self.value), self.dtype))


@dataclass(frozen=True, slots=True)
class Var(Expr):
    """A loop variable or size (always "i64"), or a local."""

    name: str
    dtype: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True, eq=False)
class Op(Expr):
    """A scalar primitive applied: ``fn`` is the primitive's name, ``dtype`` that of the result."""

    fn: str
    args: tuple[Expr, ...]
    dtype: str
    _hash: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash((self.fn, self.args, self.dtype)))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Op) and same(self, other))

    def __str__(self) -> str:
        args = ", ".join(map(str, self.args))
        # the result dtype of these does not follow from their arguments
        return (
            f"{self.fn}[{self.dtype}]({args})"
            if self.fn in ("convert", "bitcast")
            else f"{self.fn}({args})"
        )


@dataclass(frozen=True, slots=True, eq=False)
class Load(Expr):
    """Element of a buffer at an index, one i64 expression per axis (row-major, contiguous).

    Where ``guard`` is false nothing is read and the value is zero: padding never reads outside.
    """

    buffer: str
    index: tuple[Expr, ...]
    dtype: str
    guard: Expr | None = None
    _hash: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash((self.buffer, self.index, self.dtype, self.guard)))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Load) and same(self, other))

    def __str__(self) -> str:
        where = f" if {self.guard}" if self.guard is not None else ""
        return f"{self.buffer}[{', '.join(map(str, self.index))}{where}]"


def same(a: Op | Load, b: Op | Load) -> bool:
    """Whether two expressions are equal. Each pair of nodes is compared once, however often parts
    are shared.
    """
    stack: list[tuple[Expr, Expr]] = [(a, b)]
    seen: dict[tuple[int, int], tuple[Expr, Expr]] = {}
    while stack:
        x, y = stack.pop()
        if x is y or (id(x), id(y)) in seen:
            continue
        if isinstance(x, Op) and isinstance(y, Op):
            if x._hash != y._hash or (x.fn, x.dtype) != (y.fn, y.dtype):
                return False
        elif isinstance(x, Load) and isinstance(y, Load):
            if x._hash != y._hash or (x.buffer, x.dtype) != (y.buffer, y.dtype):
                return False
            if len(x.index) != len(y.index):
                return False
        elif x != y:
            return False
        ours, theirs = children(x), children(y)
        if len(ours) != len(theirs):
            return False
        seen[id(x), id(y)] = (x, y)
        stack.extend(zip(ours, theirs, strict=True))
    for x, y in seen.values():  # from now on they are one, and the next comparison ends here
        if isinstance(x, Op) and isinstance(y, Op):
            object.__setattr__(x, "args", y.args)
    return True


def show_scalar(value: bool | int | float | complex) -> str:
    """Text of a scalar that reads back to the same bits: ``1.0``, ``-inf``, ``nan``, ``true``,
    ``(1+2j)``.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    return repr(value)


# ---- index arithmetic, folded while it is built --------------------------------------------------


def const(value: bool | int | float | complex, dtype: str = "i64") -> Const:
    return Const(value, dtype)


def index(value: Expr | int) -> Expr:
    """An index expression from an int or an expression."""
    return Const(value, "i64") if isinstance(value, int) else value


def known(expr: Expr) -> int | None:
    """The value of an index that is a constant."""
    return int(expr.value) if isinstance(expr, Const) and isinstance(expr.value, int) else None


def iadd(a: Expr | int, b: Expr | int) -> Expr:
    """Index sum; constants fold and come last, zero vanishes."""
    a, b = index(a), index(b)
    x, y = known(a), known(b)
    if x is not None and y is not None:
        return Const(x + y, "i64")
    if x is not None:
        a, b, y = b, a, x
    if y == 0:
        return a
    if y is not None and isinstance(a, Op) and a.fn == "add":
        inner = known(a.args[1])
        if inner is not None:
            return iadd(a.args[0], inner + y)
    return Op("add", (a, b), "i64")


def isub(a: Expr | int, b: Expr | int) -> Expr:
    """Index difference."""
    a, b = index(a), index(b)
    y = known(b)
    if y is not None:
        return iadd(a, -y)
    if a == b:
        return Const(0, "i64")
    return Op("sub", (a, b), "i64")


def imul(a: Expr | int, b: Expr | int) -> Expr:
    """Index product; constants fold and come last."""
    a, b = index(a), index(b)
    x, y = known(a), known(b)
    if x is not None and y is not None:
        return Const(x * y, "i64")
    if x is not None:
        a, b, y = b, a, x
    if y in (0, 1):
        return b if y == 0 else a
    return Op("mul", (a, b), "i64")


def idiv(a: Expr | int, b: Expr | int) -> Expr:
    """Index quotient, both operands non-negative (C's and Python's division agree there)."""
    a, b = index(a), index(b)
    x, y = known(a), known(b)
    if y == 1:
        return a
    if x is not None and y is not None:
        return Const(x // y, "i64")
    return Op("idiv", (a, b), "i64")


def imod(a: Expr | int, b: Expr | int) -> Expr:
    """Index remainder, both operands non-negative."""
    a, b = index(a), index(b)
    x, y = known(a), known(b)
    if y == 1:
        return Const(0, "i64")
    if x is not None and y is not None:
        return Const(x % y, "i64")
    return Op("irem", (a, b), "i64")


def walk(expr: Expr) -> Iterator[Expr]:
    """Every distinct node below and with ``expr``, arguments first."""
    seen: set[Expr] = set()
    stack: list[tuple[Expr, bool]] = [(expr, False)]
    while stack:
        node, ready = stack.pop()
        if node in seen:
            continue
        if ready:
            seen.add(node)
            yield node
            continue
        stack.append((node, True))
        stack.extend((child, False) for child in children(node))


def children(node: Expr) -> tuple[Expr, ...]:
    """The direct sub-expressions of a node."""
    match node:
        case Op():
            return node.args
        case Load():
            return node.index if node.guard is None else (*node.index, node.guard)
    return ()


def rebuild(node: Expr, kids: tuple[Expr, ...]) -> Expr:
    """``node`` with other sub-expressions, in the order of ``children``."""
    match node:
        case Op():
            return node if kids == node.args else Op(node.fn, kids, node.dtype)
        case Load():
            n = len(node.index)
            return Load(node.buffer, kids[:n], node.dtype, kids[n] if len(kids) > n else None)
    return node
