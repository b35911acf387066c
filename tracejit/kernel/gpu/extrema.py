"""Places of extrema on a GPU: argmax and argmin.

    arg_extremum("max", lowest)(kernels, axes=(1,), index_dtype=int64)

Each thread keeps the best of its elements and where the first such is; the threads of a row then
fold the best of all, and the lowest place among those that have it. Rows are a warp's or a block's;
along another axis than the last a thread takes a column. Where these are too few, each takes a
chunk, and the results of the chunks meet in the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from tracejit.ir.expr import Expr, Var, iadd, idiv, imod, imul
from tracejit.ir.types import kind
from tracejit.kernel.build import Output
from tracejit.kernel.gpu.kernels import GpuBuilder, Kernels, blocks, indices, threads_for
from tracejit.kernel.gpu.scans import BUSY, COLUMNS
from tracejit.ops.lower_parts import arithmetic_dtype
from tracejit.record import dataclass

#: rows of up to so many elements are a warp's
WARP_ROW = 512
#: elements of a chunk: of a row, and of a column at least
CHUNK, STEPS = 1 << 14, 64

Index = tuple[Expr, ...]
#: the value at a step of a row or column, and its place
Read = Callable[[GpuBuilder, Expr, Expr], tuple[Expr, Expr]]
#: what becomes of the best of a row or column, and of its place
Store = Callable[[GpuBuilder, Expr, Expr, Expr], None]


def arg_extremum(which: str, identity: Callable[[Any], Any]) -> Callable[..., None]:
    """The rule of argmax ("max") or argmin ("min"); ``identity(dtype)`` is that of the fold."""

    def rule(kernels: Kernels, *, axes: tuple[int, ...], index_dtype: Any) -> None:
        x = kernels.xs[0]
        dtype, start = arithmetic_dtype(x.type), identity(x.type.dtype)
        if kind(x.type.dtype) in "biu" and x.type.dtype.itemsize < 4:
            dtype, start = "i32", int(start)
        it = _Extremum(kernels, axes[0], which, dtype, start)
        if not kernels.ys[0].type.size:
            kernels.nothing()
        elif prod(it.inner) > 1:
            it.columns()
        else:
            it.rows()

    return rule


@dataclass(frozen=True)
class _Extremum:
    """An argmax or argmin being written; values are compared in ``dtype``."""

    kernels: Kernels
    axis: int
    which: str
    dtype: str
    start: Any

    @property
    def shape(self) -> tuple[int, ...]:
        return self.kernels.xs[0].type.shape

    @property
    def n(self) -> int:
        return self.shape[self.axis]

    @property
    def inner(self) -> tuple[int, ...]:
        return self.shape[self.axis + 1 :]

    @property
    def others(self) -> tuple[int, ...]:
        return (*self.shape[: self.axis], *self.inner)

    def value(self, k: GpuBuilder, other: Index, i: Expr) -> Expr:
        at = (*other[: self.axis], i, *other[self.axis :])
        return k.op("convert", self.kernels.xs[0](at), dtype=self.dtype)

    def store(self, k: GpuBuilder, other: Index, place: Expr, guard: Expr | None = None) -> None:
        y = self.kernels.ys[0]
        k.store(y, other, k.op("convert", place, dtype=y.dtype), guard)

    # ---- one thread

    def take(self, k: GpuBuilder, best: Var, place: Var, value: Expr, at: Expr) -> None:
        """Keep a value that beats the best so far, or is the first."""
        value = k.local(self.dtype, value, "value")
        beats = k.op("gt" if self.which == "max" else "lt", value, best)
        beats = k.op("or", beats, k.op("eq", place, self.n))
        if self.dtype[0] == "f":  # a nan beats every number, and nothing beats it
            enters = k.op("and", k.op("ne", value, value), k.op("eq", best, best))
            beats = k.op("or", beats, enters)
        with k.when(beats):
            k.set(best, value)
            k.set(place, at)

    def states(self, k: GpuBuilder) -> tuple[Var, Var]:
        return k.local(self.dtype, self.start, "best"), k.local("i64", self.n, "place")

    def folded(self, k: GpuBuilder, best: Var, place: Var, width: int) -> tuple[Var, Var]:
        """The best of ``width`` threads, and its first place."""
        top = k.local(self.dtype, best, "top")
        k.combine(top, self.which, width)
        same = k.op("eq", best, top)
        if self.dtype[0] == "f":
            same = k.op("or", same, k.op("and", k.op("ne", best, best), k.op("ne", top, top)))
        first = k.local("i64", k.op("select", same, place, self.n), "first")
        k.combine(first, "min", width)
        return top, first

    # ---- along rows

    def rows(self) -> None:
        """A warp or a block for each row, or for each chunk of one."""
        rows = prod(self.others)
        chunks = -(-self.n // CHUNK) if rows < BUSY and self.n > 2 * CHUNK else 1

        def read(k: GpuBuilder, row: Expr, i: Expr) -> tuple[Expr, Expr]:
            return self.value(k, indices(row, self.others), i), i

        def store(k: GpuBuilder, row: Expr, top: Expr, first: Expr) -> None:
            self.store(k, indices(row, self.others), first)

        if chunks == 1:
            self.by_threads("", rows, (self.n, 1), read, store)
            return
        bests, places = self.between((rows, chunks))
        self.by_threads(
            "chunks",
            rows * chunks,
            (CHUNK, chunks),
            lambda k, row, i: read(k, idiv(row, chunks), i),
            self.into(bests, places, (rows, chunks)),
        )
        self.by_threads("", rows, (chunks, 1), _from(bests, places), store, chunks)

    def between(self, shape: tuple[int, ...]) -> tuple[Output, Output]:
        """Memory for what chunks come to: values and places."""
        bests = self.kernels.memory(self.dtype, shape, "bests")
        return bests, self.kernels.memory("i64", shape, "places")

    def into(self, bests: Output, places: Output, shape: tuple[int, ...]) -> Store:
        """What stores the result of a chunk."""

        def store(k: GpuBuilder, number: Expr, top: Expr, first: Expr) -> None:
            k.store(bests, indices(number, shape), top)
            k.store(places, indices(number, shape), first)

        return store

    def by_threads(
        self,
        stem: str,
        rows: int,
        of: tuple[int, int],
        read: Read,
        store: Store,
        extent: int | None = None,
    ) -> None:
        """A kernel with several threads for each row. ``of``: the elements of a row of chunks, and
        how many of these follow each other.
        """
        count, chunks = of
        extent = self.n if extent is None else extent
        width = 32 if count <= WARP_ROW else threads_for(count)
        # several warps to a block have a row each; more threads than a warp are all of a block
        threads = width if width > 32 else threads_for(width * rows)
        side = threads // width
        with self.kernels.kernel(stem, blocks(rows, side)) as (k, block):
            with k.loop("thread", threads, name="t") as t:
                number = iadd(imul(block, side), idiv(t, width) if side > 1 else 0)
                number = k.local("i64", number, "row")
                row = k.local("i64", k.op("min", number, rows - 1), "safe")
                lane = k.local("i64", imod(t, width), "lane") if side > 1 else t
                best, place = self.states(k)
                start = imul(imod(row, chunks), count) if chunks > 1 else k.const(0)
                start = k.local("i64", start, "start")
                stop = k.local("i64", k.op("min", iadd(start, count), extent), "stop")
                with k.loop("seq", -(-count // width), name="v") as v:
                    i = k.local("i64", iadd(iadd(start, imul(v, width)), lane), "i")
                    with k.when(k.op("lt", i, stop)):
                        self.take(k, best, place, *read(k, row, i))
                top, first = self.folded(k, best, place, width)
                alone = k.op("and", k.op("eq", lane, 0), k.op("lt", number, rows))
                with k.when(alone):
                    store(k, row, top, first)

    # ---- along columns

    def columns(self) -> None:
        """A thread for each column, or for each chunk of one."""
        count = prod(self.others)
        length = max(STEPS, -(-self.n * count // COLUMNS))
        chunks = 1 if count >= COLUMNS // 4 else -(-self.n // length)
        length = self.n if chunks == 1 else length
        outer, inner = prod(self.shape[: self.axis]), prod(self.inner)
        shape = (outer, chunks, inner)

        def read(k: GpuBuilder, number: Expr, i: Expr) -> tuple[Expr, Expr]:
            first, _, last = indices(number, shape)
            column = iadd(imul(first, inner), last)
            return self.value(k, indices(column, self.others), i), i

        def store(k: GpuBuilder, number: Expr, top: Expr, first: Expr) -> None:
            self.store(k, indices(number, self.others), first)

        if chunks == 1:
            self.alone("", count, length, read, store)
            return
        bests, places = self.between(shape)
        self.alone("chunks", prod(shape), length, read, self.into(bests, places, shape), chunks)

        def again(k: GpuBuilder, number: Expr, i: Expr) -> tuple[Expr, Expr]:
            first, last = indices(number, (outer, inner))
            return k.load(bests, (first, i, last)), k.load(places, (first, i, last))

        self.alone("", count, chunks, again, store, extent=chunks)

    def alone(
        self,
        stem: str,
        count: int,
        length: int,
        read: Read,
        store: Store,
        chunks: int = 1,
        extent: int | None = None,
    ) -> None:
        """A kernel with one thread for each of ``count`` columns, or chunks of columns."""
        with self.kernels.each(stem, count) as (k, number):
            best, place = self.states(k)
            start = k.local("i64", imul(self.chunk_of(number, chunks), length), "start")
            stop = k.op("min", iadd(start, length), self.n if extent is None else extent)
            with k.loop("seq", stop, start, name="i") as i:
                self.take(k, best, place, *read(k, number, i))
            store(k, number, best, place)

    def chunk_of(self, number: Expr, chunks: int) -> Expr:
        """Which chunk of its column a thread has."""
        return imod(idiv(number, prod(self.inner)), chunks)


def _from(bests: Output, places: Output) -> Read:
    """Reads what chunks of a row came to."""

    def read(k: GpuBuilder, row: Expr, i: Expr) -> tuple[Expr, Expr]:
        return k.load(bests, (row, i)), k.load(places, (row, i))

    return read
