"""Scalar expressions: what one element of a tensor is, in terms of elements of others.

The ``element`` rule of a primitive returns one of these; fusion substitutes them into each other;
the Kernel IR (``kernel/nodes.py``) puts loops around them. Dtypes are short names ("f32", "i64").

    >>> i = Var("i", "i64")
    >>> print(Op("add", (Load("x", (i,), "f32"), Const(1.0, "f32")), "f32"))
    add(x[i], 1.0)
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Container, Iterator
from typing import Any, ClassVar, NoReturn
from weakref import ref

Key = tuple[Any, ...]
#: taken to enter a node into a table or to remove it: two threads must not make the same one
_lock = threading.RLock()
if hasattr(os, "register_at_fork"):  # a child must not find it taken by a thread that is not there
    os.register_at_fork(
        before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release
    )
_put = object.__setattr__


class _Entry(ref):  # type: ignore[type-arg]
    """A node in the table of its class, for as long as something else holds it."""

    __slots__ = ("key", "table")
    key: Key
    table: Table


Table = dict[Key, _Entry]


def _forget(entry: _Entry, lock: Any = _lock) -> None:
    """The node of ``entry`` is gone; another like it may have been made since."""
    with lock:
        if entry.table.get(entry.key) is entry:
            del entry.table[entry.key]


class Expr:
    """Base of the four expression nodes. Immutable, and each made once: equal nodes are one object,
    so comparing and hashing cost the same however deep an expression is.
    """

    __slots__ = ("dtype", "__weakref__")
    __match_args__: ClassVar[tuple[str, ...]] = ()
    _table: ClassVar[Table] = {}
    dtype: str

    @classmethod
    def _make(cls, key: Key, *values: Any) -> Any:
        """The node with this key, made unless another thread was faster."""
        with _lock:
            entry = cls._table.get(key)
            node = None if entry is None else entry()
            if node is None:
                node = object.__new__(cls)
                for name, value in zip(cls.__match_args__, values, strict=True):
                    _put(node, name, value)
                entry = _Entry(node, _forget)
                entry.key, entry.table = key, cls._table
                cls._table[key] = entry
        return node

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"an expression cannot be changed: {name}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"an expression cannot be changed: {name}")

    def __reduce__(self) -> Any:
        return type(self), tuple(getattr(self, name) for name in self.__match_args__)

    def __repr__(self) -> str:
        values = (f"{name}={getattr(self, name)!r}" for name in self.__match_args__)
        return f"{type(self).__name__}({', '.join(values)})"


class Const(Expr):
    """A scalar constant. ``value`` is a Python bool, int, float or complex.

    nan is equal to itself here, and 0.0 differs from -0.0: constants are compared as text is.
    """

    __slots__ = ("value",)
    __match_args__ = ("value", "dtype")
    _table: ClassVar[Table] = {}
    value: bool | int | float | complex

    def __new__(cls, value: bool | int | float | complex, dtype: str) -> Const:
        key = (value if type(value) is int else repr(value), dtype)
        entry = cls._table.get(key)
        return (entry and entry()) or cls._make(key, value, dtype)  # type: ignore[no-any-return]

    def __str__(self) -> str:
        return show_scalar(self.value)


class Var(Expr):
    """A loop variable or size (always "i64"), or a local."""

    __slots__ = ("name",)
    __match_args__ = ("name", "dtype")
    _table: ClassVar[Table] = {}
    name: str

    def __new__(cls, name: str, dtype: str) -> Var:
        key = (name, dtype)
        entry = cls._table.get(key)
        return (entry and entry()) or cls._make(key, name, dtype)  # type: ignore[no-any-return]

    def __str__(self) -> str:
        return self.name


class Op(Expr):
    """A scalar primitive applied: ``fn`` is the primitive's name, ``dtype`` that of the result."""

    __slots__ = ("fn", "args")
    __match_args__ = ("fn", "args", "dtype")
    _table: ClassVar[Table] = {}
    fn: str
    args: tuple[Expr, ...]

    def __new__(cls, fn: str, args: tuple[Expr, ...], dtype: str) -> Op:
        key = (fn, args, dtype)
        entry = cls._table.get(key)
        return (entry and entry()) or cls._make(key, *key)  # type: ignore[no-any-return]

    def __str__(self) -> str:
        args = ", ".join(map(str, self.args))
        # the result dtype of these does not follow from their arguments
        return (
            f"{self.fn}[{self.dtype}]({args})"
            if self.fn in ("convert", "bitcast")
            else f"{self.fn}({args})"
        )


class Load(Expr):
    """Element of a buffer at an index, one i64 expression per axis (row-major, contiguous).

    Where ``guard`` is false nothing is read and the value is zero: padding never reads outside.
    """

    __slots__ = ("buffer", "index", "guard")
    __match_args__ = ("buffer", "index", "dtype", "guard")
    _table: ClassVar[Table] = {}
    buffer: str
    index: tuple[Expr, ...]
    guard: Expr | None

    def __new__(
        cls, buffer: str, index: tuple[Expr, ...], dtype: str, guard: Expr | None = None
    ) -> Load:
        key = (buffer, index, dtype, guard)
        entry = cls._table.get(key)
        return (entry and entry()) or cls._make(key, *key)  # type: ignore[no-any-return]

    def __str__(self) -> str:
        where = f" if {self.guard}" if self.guard is not None else ""
        return f"{self.buffer}[{', '.join(map(str, self.index))}{where}]"


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
    stack: list[Expr] = [expr]
    while stack:
        node = stack[-1]
        if node not in seen:
            waiting = [kid for kid in children(node) if kid not in seen]
            if waiting:
                stack += waiting
                continue
            seen.add(node)
            yield node
        stack.pop()


def walk_new(expr: Expr, done: Container[Expr]) -> Iterator[Expr]:
    """The nodes below and with ``expr`` that are not in ``done``, arguments first. The caller puts
    each into ``done`` when it gets it, and so walks parts that several expressions share once.
    """
    stack: list[Expr] = [expr]
    while stack:
        node = stack[-1]
        if node not in done:
            waiting = [kid for kid in children(node) if kid not in done]
            if waiting:
                stack += waiting
                continue
            yield node
        stack.pop()


def children(node: Expr) -> tuple[Expr, ...]:
    """The direct sub-expressions of a node."""
    if isinstance(node, Op):
        return node.args
    if isinstance(node, Load):
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
