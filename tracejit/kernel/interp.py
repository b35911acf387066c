"""Run a Kernel in plain Python, one scalar at a time: the oracle for each printer.

Comes in: a kernel, its buffers as NumPy arrays (written in place) and its sizes. Goes out: 0, or
the code of the first Check that failed.

    >>> from tracejit.kernel.text import parse
    >>> kernel = parse('''kernel double[n](in x: f32[n], out y: f32[n])
    ...   seq i in n:
    ...     y[i] = mul(2.0, x[i])
    ... ''')
    >>> x, y = np.float32([1, 2, 3, 4]), np.empty(4, np.float32)
    >>> run(kernel, {"x": x, "y": y}, {"n": 4})
    0
    >>> y
    array([2., 4., 6., 8.], dtype=float32)

Scalar operations mean what their primitive's NumPy body says. Every load and store is checked
against the shape; scratch starts as garbage. Threads of a block take turns from barrier to barrier.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from typing import Any, NamedTuple

import numpy as np

from tracejit import ops
from tracejit.errors import InternalError
from tracejit.ir.expr import children, walk
from tracejit.ir.types import DTYPES, short
from tracejit.kernel.nodes import (
    Accumulate,
    Atomic,
    Barrier,
    Check,
    Combine,
    Const,
    Expr,
    Fence,
    If,
    Kernel,
    Load,
    Local,
    Loop,
    Op,
    Param,
    Scratch,
    Set,
    Stmt,
    Store,
    Transpose,
    Var,
    While,
)
from tracejit.kernel.text import show_statement
from tracejit.record import dataclass


class _Bad(Exception):
    """What a statement did wrong."""


def run(kernel: Kernel, buffers: Mapping[str, np.ndarray], sizes: Mapping[str, int]) -> int:
    """Run ``kernel`` on ``buffers``; returns its flag: 0, or the code of the first failed Check.

    Raises InternalError for buffers that do not fit and for accesses outside a buffer.
    """
    missing = [name for name in kernel.sizes if name not in sizes]
    if missing:
        raise InternalError(f"kernel {kernel.name}: no value for size {', '.join(missing)}")
    scope = _Scope()
    for name in kernel.sizes:
        scope.cells[name] = [np.int64(sizes[name])]
    for param in kernel.params:
        if param.name not in buffers:
            raise InternalError(f"kernel {kernel.name}: no buffer for `{param.name}`")
        _check_buffer(kernel, param, buffers[param.name], sizes)
        scope.buffers[param.name] = buffers[param.name]
    machine = _Machine(kernel.name)
    with np.errstate(all="ignore"):
        for _ in machine.block(kernel.body, scope):
            pass
    return machine.flag


def _check_buffer(
    kernel: Kernel, param: Param, array: np.ndarray, sizes: Mapping[str, int]
) -> None:
    shape = param.extents(sizes)
    if array.shape != shape or array.dtype != DTYPES[param.dtype]:
        raise InternalError(
            f"kernel {kernel.name}: `{param.name}` is {param.dtype}{list(shape)}, "
            f"got {array.dtype}{list(array.shape)}"
        )


@dataclass
class _Scope:
    """Variables (each in a cell of its own, so that scopes can share it) and buffers by name."""

    cells: dict[str, list[Any]] = field(default_factory=dict)
    buffers: dict[str, np.ndarray] = field(default_factory=dict)

    def inner(self) -> _Scope:
        return _Scope(dict(self.cells), dict(self.buffers))


#: the nodes of an expression, arguments first, each with the places of its arguments in this list
_Steps = list[tuple[Expr, tuple[int, ...]]]


class _Meeting(NamedTuple):
    """A thread at a Barrier, or at a Combine with the cell of its local."""

    stmt: Barrier | Combine
    cell: list[Any] | None


class _Machine:
    """Executes statements. A method that may meet a barrier is a generator, which yields there."""

    def __init__(self, kernel: str) -> None:
        self.kernel = kernel
        self.flag = 0
        self.steps: dict[Expr, _Steps] = {}

    def block(self, body: tuple[Stmt, ...], scope: _Scope) -> Iterator[_Meeting]:
        scope = scope.inner()
        for stmt in body:
            try:
                yield from self.statement(stmt, scope)
            except _Bad as bad:
                message = f"kernel {self.kernel}: `{show_statement(stmt)}`: {bad}"
                raise InternalError(message) from None

    def statement(self, stmt: Stmt, scope: _Scope) -> Iterator[_Meeting]:
        match stmt:
            case Loop():
                yield from self.loop(stmt, scope)
            case If():
                yield from self.block(
                    stmt.then if self.value(stmt.cond, scope) else stmt.orelse, scope
                )
            case While():
                while self.value(stmt.cond, scope):
                    yield from self.block(stmt.body, scope)
            case Barrier():
                yield _Meeting(stmt, None)
            case Combine():
                yield _Meeting(stmt, _cell(stmt.name, scope))
            case _:
                self.simple(stmt, scope)

    def simple(self, stmt: Stmt, scope: _Scope) -> None:
        """A statement without a body."""
        match stmt:
            case Local():
                scope.cells[stmt.name] = [self.value(stmt.value, scope)]
            case Scratch():
                scope.buffers[stmt.name] = _garbage(stmt)
            case Set():
                _cell(stmt.name, scope)[0] = self.value(stmt.value, scope)
            case Accumulate():
                cell = _cell(stmt.name, scope)
                value = self.value(stmt.value, scope)
                cell[0] = _apply(stmt.fn, [cell[0], value], short(value.dtype))
            case Store():
                self.store(stmt, scope)
            case Transpose():
                self.transpose(stmt, scope)
            case Check():
                if not self.value(stmt.ok, scope) and not self.flag:
                    self.flag = stmt.code
            case Atomic():
                self.atomic(stmt, scope)
            case Fence():
                pass
            case _:
                raise _Bad("not a statement of the Kernel IR")

    def store(self, stmt: Store, scope: _Scope) -> None:
        value = self.value(stmt.value, scope)
        index = [self.value(entry, scope) for entry in stmt.index]
        if stmt.guard is None or self.value(stmt.guard, scope):
            array, place = _place(stmt.buffer, index, scope)
            array[place] = value

    def atomic(self, stmt: Atomic, scope: _Scope) -> None:
        """Threads take turns here: a step is one anyway."""
        value, dtype = self.value(stmt.value, scope), stmt.value.dtype
        before = np.zeros((), DTYPES[dtype])[()]
        index = [self.value(entry, scope) for entry in stmt.index]
        if stmt.guard is None or self.value(stmt.guard, scope):
            array, place = _place(stmt.buffer, index, scope)
            before = array[place]
            array[place] = (
                value if stmt.fn == "exchange" else _apply(stmt.fn, [before, value], dtype)
            )
        if stmt.old is not None:
            scope.cells[stmt.old] = [before]

    def transpose(self, stmt: Transpose, scope: _Scope) -> None:
        to, at = ([self.value(x, scope) for x in index] for index in (stmt.to, stmt.at))
        rows, columns = self.value(stmt.rows, scope), self.value(stmt.columns, scope)
        for r in range(stmt.side):
            for c in range(stmt.side):
                target, place = _place(stmt.target, [*to[:-2], to[-2] + c, to[-1] + r], scope)
                target[place] = 0
                if r < rows and c < columns:
                    place_of = [*at[:-1], at[-1] + c]
                    place_of[stmt.axis] += r
                    source, spot = _place(stmt.source, place_of, scope)
                    target[place] = source[spot]

    def loop(self, loop: Loop, scope: _Scope) -> Iterator[_Meeting]:
        trips = range(int(self.value(loop.start, scope)), int(self.value(loop.stop, scope)))
        if loop.how == "thread":
            yield from self.threads(loop, trips, scope)
            return
        for number in trips:
            yield from self.block(loop.body, _with(scope, loop.var, number))

    def threads(self, loop: Loop, trips: range, scope: _Scope) -> Iterator[_Meeting]:
        """The threads of a loop in turn, each up to where it meets others."""
        alive = [self.block(loop.body, _with(scope, loop.var, number)) for number in trips]
        at: list[_Meeting | None] = [next(thread, None) for thread in alive]
        while any(meeting is not None for meeting in at):
            met = False
            for stmt, group in list(_groups(at)):
                if _meet(stmt, [at[k] for k in group]):
                    met = True
                    for k in group:
                        at[k] = next(alive[k], None)
            if not met:
                raise _Bad("some threads wait for others that do not come")
        return
        yield

    def value(self, expr: Expr, scope: _Scope) -> Any:
        """The value of an expression, a NumPy scalar of its dtype."""
        steps = self.steps.get(expr)
        if steps is None:
            steps = self.steps[expr] = _steps_of(expr)
        values: list[Any] = []
        for node, places in steps:
            values.append(_evaluate(node, [values[p] for p in places], scope))
        return values[-1]


def _groups(at: Sequence[_Meeting | None]) -> Iterator[tuple[Stmt, range]]:
    """Which threads are to meet where: all of the block, or those of each group of a Combine."""
    for stmt in dict.fromkeys(meeting.stmt for meeting in at if meeting is not None):
        width = stmt.width if isinstance(stmt, Combine) else len(at)
        yield from ((stmt, range(k, min(k + width, len(at)))) for k in range(0, len(at), width))


def _meet(stmt: Stmt, meetings: Sequence[_Meeting | None]) -> bool:
    """Let a group go on if all of it is at ``stmt``; its locals are folded then."""
    cells = [m.cell for m in meetings if m is not None and m.stmt is stmt]
    if len(cells) < len(meetings) or (isinstance(stmt, Combine) and len(cells) < stmt.width):
        return False
    if isinstance(stmt, Combine):
        held = [cell for cell in cells if cell is not None]
        for cell, value in zip(held, _folded(stmt, [c[0] for c in held]), strict=True):
            cell[0] = value
    return True


def _folded(stmt: Combine, values: list[Any]) -> list[Any]:
    """What each thread of a group holds after a Combine: first within warps, then among them."""
    dtype = short(np.asarray(values[0]).dtype)

    def fold(a: Any, b: Any) -> Any:
        return _apply(stmt.fn, [a, b], dtype)

    def steps(held: list[Any], among: int) -> list[Any]:
        distances = [1 << k for k in range(among.bit_length() - 1)]
        for d in distances if stmt.prefix else reversed(distances):
            if stmt.prefix:
                held = [fold(held[k - d], v) if k % among >= d else v for k, v in enumerate(held)]
            else:
                held = [fold(v, held[k ^ d]) for k, v in enumerate(held)]
        return held

    warp = min(len(values), 32)
    held = steps(values, warp)
    if len(values) > warp:
        totals = steps(held[warp - 1 :: warp], len(values) // warp)
        for k in range(len(values)):
            w = k // warp
            if not stmt.prefix:
                held[k] = totals[w]
            elif w:
                held[k] = fold(totals[w - 1], held[k])
    return held


def _with(scope: _Scope, name: str, number: int) -> _Scope:
    inner = scope.inner()
    inner.cells[name] = [np.int64(number)]
    return inner


def _steps_of(expr: Expr) -> _Steps:
    place: dict[Expr, int] = {}
    steps: _Steps = []
    for node in walk(expr):
        place[node] = len(steps)
        steps.append((node, tuple(place[kid] for kid in children(node))))
    return steps


def _evaluate(node: Expr, args: list[Any], scope: _Scope) -> Any:
    """One node of an expression, its arguments being known."""
    match node:
        case Const():
            return np.asarray(node.value, DTYPES[node.dtype])[()]
        case Var():
            return _cell(node.name, scope)[0]
        case Load():
            if node.guard is not None and not args.pop():
                return np.zeros((), DTYPES[node.dtype])[()]
            array, place = _place(node.buffer, args, scope)
            return array[place]
        case Op():
            return _apply(node.fn, args, node.dtype)
    raise _Bad(f"not an expression: {node!r}")


def _apply(fn: str, args: list[Any], dtype: str) -> Any:
    """A scalar operation by its primitive's NumPy body; the result must have the declared dtype."""
    if fn in ("idiv", "irem"):
        return _index_division(fn, int(args[0]), int(args[1]))
    if fn == "any_lane":  # one lane at a time runs here
        return args[0]
    params = {"dtype": DTYPES[dtype]} if fn in ("convert", "bitcast") else {}
    if fn not in ops.PRIMS:
        raise _Bad(f"`{fn}` is not a scalar operation")
    found = np.asarray(ops.PRIMS[fn].rule("numpy")(*map(np.asarray, args), **params))
    if found.dtype != DTYPES[dtype] or found.shape != ():
        raise _Bad(f"`{fn}` gives {found.dtype}{list(found.shape)}, not a {dtype}")
    return found[()]


def _index_division(fn: str, a: int, b: int) -> Any:
    """Quotient or remainder of indices. A false guard may hide a negative ``a``: as in C."""
    if b <= 0:
        raise _Bad(f"`{fn}` by {b}")
    quotient = abs(a) // b * (1 if a >= 0 else -1)
    return np.int64(quotient if fn == "idiv" else a - quotient * b)


def _cell(name: str, scope: _Scope) -> list[Any]:
    if name not in scope.cells:
        raise _Bad(f"`{name}` is not declared here")
    return scope.cells[name]


def _place(name: str, index: list[Any], scope: _Scope) -> tuple[np.ndarray, tuple[int, ...]]:
    """A buffer and an index into it, checked."""
    array = scope.buffers.get(name)
    if array is None:
        raise _Bad(f"buffer `{name}` is not declared here")
    place = tuple(int(i) for i in index)
    if len(place) != array.ndim or any(
        not 0 <= i < n for i, n in zip(place, array.shape, strict=True)
    ):
        raise _Bad(f"index {list(place)} lies outside `{name}` of shape {list(array.shape)}")
    return array, place


def _garbage(stmt: Scratch) -> np.ndarray:
    """Scratch as it comes: nan where the dtype has one, a bit pattern elsewhere."""
    dtype = DTYPES[stmt.dtype]
    if stmt.dtype[0] in "bfc" and stmt.dtype != "bool":
        return np.full(stmt.shape, np.nan, dtype)
    pattern = np.full((*stmt.shape, dtype.itemsize), 1 if stmt.dtype == "bool" else 0xA5, np.uint8)
    return pattern.view(dtype)[..., 0]
