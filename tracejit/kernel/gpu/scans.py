"""Running folds on a GPU: cumsum, cumprod, cummax, cummin, cumlogsumexp.

    running("add", zero)(kernels, axis=1, reverse=False)

Along the last axis a block takes a row: each thread folds a few neighbours, a prefix over the
threads gives what comes before each, and what the row has come to is carried from one tile to the
next. Along another axis a thread takes a column, so that neighbouring threads read neighbours.

Where rows or columns are too few for a GPU, they are cut into chunks: one kernel folds each chunk,
a second runs over these results, a third begins each chunk with what came before it (G. Blelloch,
"Prefix sums and their applications", 1990). How long a chunk is follows from the extents alone: a
sum has the same bits every time.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from tracejit.ir.expr import Expr, Load, Var, const, iadd, idiv, imod, imul, isub
from tracejit.ir.types import kind
from tracejit.kernel.build import Operand, Output
from tracejit.kernel.gpu.kernels import GpuBuilder, Kernels, indices, threads_for
from tracejit.ops.lower_cumulative import log_add_exp
from tracejit.ops.lower_parts import arithmetic_dtype
from tracejit.record import dataclass

#: neighbours that a thread folds
EACH = 4
#: elements of a chunk of a row; columns are cut where they are so few
CHUNK, COLUMNS = 4096, 1 << 14
#: steps of a chunk of a column, at least, and chunks of one, at most
STEPS, CHUNKS = 64, 1024
#: rows of up to so many elements are a thread's
SHORT = 32
#: blocks, or rows, that keep a GPU busy
BUSY = 256

Index = tuple[Expr, ...]


@dataclass(frozen=True)
class Fold:
    """``fn``: a name that Combine knows, or "logaddexp"; ``start``: what changes nothing."""

    fn: str
    dtype: str
    start: Any

    def __call__(self, k: GpuBuilder, total: Expr, value: Expr) -> Expr:
        if self.fn == "logaddexp":
            return log_add_exp(k, total, value)
        return k.op(self.fn, total, value)

    @property
    def combines(self) -> bool:
        """Whether threads fold by exchanging registers."""
        return self.fn != "logaddexp" and self.dtype[0] != "c"


def running(fn: str, identity: Callable[[Any], Any]) -> Callable[..., None]:
    """The rule of a running fold that begins with ``identity(dtype)``."""

    def rule(kernels: Kernels, *, axis: int, reverse: bool) -> None:
        (x,), (y,) = kernels.xs, kernels.ys
        shape = x.type.shape
        dtype, start = arithmetic_dtype(x.type), identity(x.type.dtype)
        if kind(x.type.dtype) in "biu" and x.type.dtype.itemsize < 4:
            # narrow integers wrap around in 32 bits as they do in their own
            dtype, start = ("u32" if kind(x.type.dtype) == "u" else "i32"), int(start)
        scan = _Scan(kernels, x, y, axis, reverse, Fold(fn, dtype, start))
        if not x.type.size:
            kernels.nothing()
        elif prod(shape[axis + 1 :]) > 1 or shape[axis] <= SHORT:
            scan.columns()
        else:
            scan.rows()

    return rule


@dataclass(frozen=True)
class _Scan:
    """A running fold being written."""

    kernels: Kernels
    x: Operand
    y: Output
    axis: int
    reverse: bool
    fold: Fold

    @property
    def n(self) -> int:
        return self.x.type.shape[self.axis]

    @property
    def outer(self) -> tuple[int, ...]:
        return self.x.type.shape[: self.axis]

    @property
    def inner(self) -> tuple[int, ...]:
        return self.x.type.shape[self.axis + 1 :]

    def value(self, k: GpuBuilder, index: Index, guard: Expr | None = None) -> Expr:
        """An element as it is folded; what changes nothing where ``guard`` fails."""
        found = k.op("convert", self.x(index, guard), dtype=self.fold.dtype)
        return found if guard is None else k.op("select", guard, found, self.fold.start)

    def store(self, k: GpuBuilder, index: Index, value: Expr, guard: Expr | None = None) -> None:
        k.store(self.y, index, k.op("convert", value, dtype=self.y.dtype), guard)

    def at(self, i: Expr) -> Expr:
        """The place of the ``i``-th element to fold."""
        return isub(self.n - 1, i) if self.reverse else i

    # ---- along columns

    def columns(self) -> None:
        """A thread for each column, or for each chunk of one."""
        count, fold = prod(self.outer) * prod(self.inner), self.fold
        length = max(STEPS, -(-self.n * count // COLUMNS), -(-self.n // CHUNKS))
        chunks = -(-self.n // length)
        extents = (*self.outer, chunks, *self.inner)
        if count >= COLUMNS // 4 or chunks == 1:
            with self.kernels.each("", count) as (k, number):
                index = indices(number, (*self.outer, *self.inner))
                total = k.local(fold.dtype, fold.start, "total")
                with k.loop("seq", self.n, name="i") as i:
                    self.step(k, total, index, i)
            return
        shape = (prod(self.outer), chunks, prod(self.inner))
        totals = self.kernels.memory(fold.dtype, shape, "totals")
        with self.kernels.each("fold", prod(extents)) as (k, number):
            index, which, stop = self.chunk(k, number, extents, length)
            total = k.local(fold.dtype, fold.start, "total")
            with k.loop("seq", stop, imul(which, length), name="i") as i:
                place = self.place(index, i)
                k.set(total, fold(k, total, k.local(fold.dtype, self.value(k, place), "value")))
            k.store(totals, indices(number, shape), total)
        self.carried(totals, shape, chunks)
        with self.kernels.each("scan", prod(extents)) as (k, number):
            index, which, stop = self.chunk(k, number, extents, length)
            total = k.local(fold.dtype, k.load(totals, indices(number, shape)), "total")
            with k.loop("seq", stop, imul(which, length), name="i") as i:
                self.step(k, total, index, i)

    def carried(self, totals: Output, shape: tuple[int, ...], chunks: int) -> None:
        """The folds of chunks as what comes before each chunk: a thread for each column."""
        fold = self.fold
        with self.kernels.each("carry", shape[0] * shape[2]) as (k, number):
            first, last = indices(number, (shape[0], shape[2]))
            total = k.local(fold.dtype, fold.start, "total")
            with k.loop("seq", chunks, name="c") as c:
                value = k.local(fold.dtype, k.load(totals, (first, c, last)), "value")
                k.store(totals, (first, c, last), total)
                k.set(total, fold(k, total, value))

    def chunk(
        self, k: GpuBuilder, number: Expr, extents: tuple[int, ...], length: int
    ) -> tuple[Index, Expr, Expr]:
        """The index of a column, which chunk of it, and where that ends."""
        index = indices(number, extents)
        which = k.local("i64", index[self.axis], "chunk")
        stop = k.op("min", imul(iadd(which, 1), length), self.n)
        return (*index[: self.axis], *index[self.axis + 1 :]), which, stop

    def place(self, index: Index, i: Expr) -> Index:
        return (*index[: self.axis], self.at(i), *index[self.axis :])

    def step(self, k: GpuBuilder, total: Var, index: Index, i: Expr) -> None:
        place = self.place(index, i)
        value = k.local(self.fold.dtype, self.value(k, place), "value")
        k.set(total, self.fold(k, total, value))
        self.store(k, place, total)

    # ---- along rows

    def rows(self) -> None:
        """A block for each row, or for each chunk of one."""
        rows, fold = prod(self.outer), self.fold
        if self.n <= 2 * CHUNK or rows >= BUSY:
            with self.kernels.kernel("", rows) as (k, block):
                self.row(k, block, const(0), self.n, None)
            return
        chunks = -(-self.n // CHUNK)
        totals = self.kernels.memory(fold.dtype, (rows, chunks), "totals")
        with self.kernels.kernel("fold", rows * chunks) as (k, block):
            self.row(k, idiv(block, chunks), imod(block, chunks), CHUNK, totals, scan=False)
        carry = _Scan(self.kernels, _as_operand(totals), totals, 1, False, fold)
        with self.kernels.kernel("carry", rows) as (k, block):
            carry.row(k, block, const(0), chunks, None, exclusive=True)
        with self.kernels.kernel("scan", rows * chunks) as (k, block):
            self.row(k, idiv(block, chunks), imod(block, chunks), CHUNK, totals)

    def row(
        self,
        k: GpuBuilder,
        row: Expr,
        chunk: Expr,
        length: int,
        totals: Output | None,
        *,
        scan: bool = True,
        exclusive: bool = False,
    ) -> None:
        """``length`` elements of a row, by one block. ``totals``: what comes before each chunk, or
        what each comes to if there is no ``scan``. ``exclusive``: without the element itself.
        """
        fold = self.fold
        threads = threads_for(-(-length // EACH))
        size = threads * EACH
        held = k.scratch(fold.dtype, (threads,), "held")
        more = k.scratch(fold.dtype, (threads,), "more") if not fold.combines else held
        with k.loop("thread", threads, name="t") as t:
            index = indices(k.local("i64", row, "row"), self.outer)
            begin = k.local("i64", imul(chunk, length), "begin")
            start = fold.start
            if totals is not None and scan:
                start = k.load(totals, (row, chunk))
            carry = k.local(fold.dtype, start, "carry")
            with k.loop("seq", -(-length // size), name="tile") as tile:
                first = k.local("i64", iadd(begin, iadd(imul(tile, size), imul(t, EACH))), "first")
                places = [iadd(first, e) for e in range(EACH)]
                ones = (const(0),) * len(self.inner)
                guards = [k.local("bool", k.op("lt", i, self.n), "inside") for i in places]
                where = [(*index, self.at(i), *ones) for i in places]
                values = [
                    k.local(fold.dtype, self.value(k, at, g), "v")
                    for at, g in zip(where, guards, strict=True)
                ]
                total = k.local(fold.dtype, values[0], "total")
                for value in values[1:]:
                    k.set(total, fold(k, total, value))
                self.prefix(k, t, total, held, more, threads)
                other = k.op("max", isub(t, 1), 0)
                mine = k.op("select", k.op("eq", t, 0), fold.start, k.load_from(held, (other,)))
                so_far = k.local(fold.dtype, fold(k, carry, k.local(fold.dtype, mine, "m")), "sum")
                if scan:
                    for value, at, guard in zip(values, where, guards, strict=True):
                        if exclusive:
                            self.store(k, at, so_far, guard)
                        k.set(so_far, fold(k, so_far, value))
                        if not exclusive:
                            self.store(k, at, so_far, guard)
                whole = k.local(fold.dtype, k.load_from(held, (const(threads - 1),)), "whole")
                k.set(carry, fold(k, carry, whole))
                k.barrier()
            if totals is not None and not scan:
                with k.when(k.op("eq", t, 0)):
                    k.store(totals, (row, chunk), carry)

    def prefix(self, k: GpuBuilder, t: Var, total: Var, held: str, more: str, threads: int) -> None:
        """What the threads up to each one come to, in ``held``, for all of them to read."""
        fold = self.fold
        if fold.combines:
            k.combine(total, fold.fn, threads, prefix=True)
            k.store_to(held, (t,), total)
            k.barrier()
            return
        k.store_to(held, (t,), total)
        distance = 1
        here, there = held, more
        while distance < threads:
            k.barrier()
            other = k.load_from(here, (k.op("max", isub(t, distance), 0),))
            value = k.local(fold.dtype, other, "other")
            joined = k.local(fold.dtype, fold(k, value, total), "joined")
            k.set(total, k.op("select", k.op("ge", t, distance), joined, total))
            k.store_to(there, (t,), total)
            here, there, distance = there, here, 2 * distance
        if here != held:
            k.barrier()
            k.store_to(held, (t,), total)
        k.barrier()


def _as_operand(memory: Output) -> Operand:
    """Memory between the kernels as something to read."""
    return Operand(
        memory.type, memory.shape, lambda index: Load(memory.buffer, index, memory.dtype)
    )
