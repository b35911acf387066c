"""Scatter on a GPU: a thread for each element of the updates.

    scatter(kernels, kind="add", ...)

- Where no two updates meet (one index vector, ``unique_indices``, one scalar for all of kind
  "set"), each thread stores.
- Sums, products, minima and maxima meet in atomic steps, in any order.
- Of kind "set" the last update of several at one place stays, as in NumPy: a board as large as the
  places that windows may begin at takes the highest number of an update there (first it is cleared
  where there are updates at all), then only those updates are stored.
- Where sums of floats are to have the same bits every time, the updates are put in order of their
  places first (``sort.py``); the first thread of each run of equal places adds up the run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any, TypeVar

from tracejit.ir.expr import Expr, const, iadd, imul
from tracejit.ir.types import kind
from tracejit.kernel.build import Operand, Output
from tracejit.kernel.gpu.kernels import GpuBuilder, Kernels, indices
from tracejit.kernel.gpu.sort import Entries, sort_entries
from tracejit.ops.index_windows import Windows
from tracejit.ops.indexing import scatter_windows
from tracejit.record import dataclass

#: kinds as operations of booleans
BOOLEAN = {"add": "or", "max": "or", "mul": "and", "min": "and"}

Index = tuple[Expr, ...]
T = TypeVar("T")


def scatter(kernels: Kernels, **p: Any) -> None:
    """The rule of ``scatter``."""
    x, indices, updates = kernels.xs
    windows = scatter_windows(x.type, updates.type, p)
    it = _Scatter(
        kernels, indices, updates, kernels.ys[0], windows, p["update_window_dims"], p["kind"]
    )
    if not updates.type.size:
        kernels.nothing()
        return
    meet = it.count > 1 and not p["unique_indices"]
    if p["kind"] == "set":
        if meet and 2 not in kernels.scalars:
            it.last()
        else:
            it.stored()
    elif not meet:
        it.stored()
    elif kind(x.type.dtype) == "c" or kernels.deterministic and it.order_matters:
        it.in_order()
    else:
        it.atomic()


@dataclass(frozen=True)
class _Scatter:
    """A scatter being written. ``dims``: axes of the updates that are axes of the window."""

    kernels: Kernels
    indices: Operand
    updates: Operand
    y: Output
    windows: Windows
    dims: tuple[int, ...]
    kind: str

    @property
    def lead(self) -> tuple[int, ...]:
        """The shape of the index vectors."""
        return self.indices.type.shape[:-1]

    @property
    def count(self) -> int:
        """How many windows there are."""
        return prod(self.lead)

    @property
    def order_matters(self) -> bool:
        """Whether the result depends on the order of the updates, however slightly."""
        floating = kind(self.y.type.dtype) in "fc"
        return floating and self.kind in ("add", "mul")

    @property
    def fn(self) -> str:
        return BOOLEAN[self.kind] if self.y.dtype == "bool" else self.kind

    @property
    def columns(self) -> tuple[int, ...]:
        """Axes that every window covers from end to end."""
        return tuple(axis for axis in self.windows.whole if axis not in self.windows.hidden)

    def of_partial(self, values: Sequence[T]) -> tuple[T, ...]:
        """The entries of the other axes: where windows lie along these, updates may meet."""
        return tuple(values[axis] for axis in self.windows.partial)

    # ---- where windows lie

    def spot(self, k: GpuBuilder, number: Expr, *, check: bool) -> tuple[Expr, Index, Expr | None]:
        """For element ``number`` of all windows, without their columns: which window, the place in
        the result, and whether it counts.
        """
        sizes = self.of_partial(self.windows.sizes)
        window = k.op("idiv", number, prod(sizes))
        offsets = indices(k.op("irem", number, prod(sizes)), sizes)
        starts, valid = self.starts(k, indices(window, self.lead), check=check)
        firsts = (starts.get(axis, const(0)) for axis in self.windows.partial)
        return window, tuple(map(iadd, firsts, offsets)), valid

    def starts(
        self, k: GpuBuilder, lead: Index, *, check: bool
    ) -> tuple[dict[int, Expr], Expr | None]:
        """Where the window of an index vector begins, moved inside; whether it lay there."""
        w = self.windows
        found: dict[int, Expr] = {axis: lead[where] for axis, where in w.batching}
        valid: Expr | None = None
        for number, axis in enumerate(w.start_map):
            given = k.op("convert", self.indices((*lead, const(number))), dtype="i64")
            start, last = k.local("i64", given, "at"), w.last_start(axis)
            inside = k.op("and", k.op("ge", start, 0), k.op("le", start, last))
            if w.mode == "error" and check:
                k.check(inside, 1)
            elif w.mode in ("fill", "drop"):
                valid = inside if valid is None else k.op("and", valid, inside)
            found[axis] = k.local("i64", k.op("clamp", k.const(0), start, k.const(last)), "first")
        return found, valid

    def parts(self, index: Index) -> tuple[Index, Index]:
        """An index into the updates: which window, and where in it."""
        lead = tuple(i for d, i in enumerate(index) if d not in self.dims)
        return lead, tuple(i for d, i in enumerate(index) if d in self.dims)

    @contextmanager
    def element(
        self, stem: str, *, check: bool = True
    ) -> Iterator[tuple[GpuBuilder, Index, Index, Expr | None]]:
        """A thread for each element of the updates: its index there and in the result, and whether
        it counts.
        """
        with self.kernels.each(stem, self.updates.type.size) as (k, number):
            index = indices(number, self.updates.type.shape)
            lead, offsets = self.parts(index)
            starts, valid = self.starts(k, lead, check=check)
            yield k, index, self.windows.element_at(starts, offsets), valid

    # ---- the ways

    def stored(self) -> None:
        """No two updates meet."""
        with self.element("") as (k, index, place, valid):
            value = self.updates(index)
            if self.kind != "set":
                value = k.op(self.kind, k.load(self.y, place, valid), value)
            k.store(self.y, place, value, valid)

    def atomic(self) -> None:
        with self.element("") as (k, index, place, valid):
            k.atomic(self.y, place, self.fn, self.updates(index), valid)

    def last(self) -> None:
        """Kind "set": the update with the highest number at each place."""
        width = "i32" if self.count < 1 << 31 else "i64"
        board = self.kernels.memory(width, self.of_partial(self.windows.shape), "board")
        count = self.count * prod(self.of_partial(self.windows.sizes))
        with self.kernels.each("clear", count) as (k, number):
            _, spot, valid = self.spot(k, number, check=True)
            k.store(board, spot, -1, valid)
        with self.kernels.each("number", count) as (k, number):
            window, spot, valid = self.spot(k, number, check=False)
            k.atomic(board, spot, "max", k.op("convert", window, dtype=width), valid)
        with self.element("store", check=False) as (k, index, place, valid):
            lead, _ = self.parts(index)
            mine = k.op("convert", linear(lead, self.lead), dtype=width)
            top = k.load(board, self.of_partial(place), valid)
            wins = k.op("eq", top, mine)
            wins = wins if valid is None else k.op("and", valid, wins)
            k.store(self.y, place, self.updates(index), wins)

    def in_order(self) -> None:
        """Updates one after the other at each place, in their order."""
        w = self.windows
        shape = self.of_partial(w.shape)
        count = self.count * prod(self.of_partial(w.sizes))

        def keys(k: GpuBuilder, row: Index, number: Expr) -> list[Expr]:
            """The place of an element of a window, as a number; the last one where it is none."""
            _, spot, valid = self.spot(k, number, check=True)
            key = linear(spot, shape)
            return [key if valid is None else k.op("select", valid, key, prod(shape))]

        entries = sort_entries(self.kernels, count, keys, narrow=prod(shape) < 1 << 31)
        extents = tuple(w.shape[axis] for axis in self.columns)
        with self.kernels.each("sum", count * prod(extents)) as (k, number):
            columns = indices(k.op("irem", number, prod(extents)), extents)
            self.run(k, entries, k.op("idiv", number, prod(extents)), columns)

    def run(self, k: GpuBuilder, entries: Entries, first: Expr, columns: Index) -> None:
        """What a thread does that stands at sorted entry ``first``."""
        w = self.windows
        sizes, shape = self.of_partial(w.sizes), self.of_partial(w.shape)
        count = self.count * prod(sizes)
        first = k.local("i64", first, "first")
        key = k.local("i64", entries.key(k, (), first), "key")
        before = entries.key(k, (), k.op("max", iadd(first, -1), 0))
        head = k.op("or", k.op("eq", first, 0), k.op("ne", key, before))
        inside = k.op("lt", key, prod(shape))
        with k.when(k.op("and", head, inside)):
            along = dict(
                zip((*w.partial, *self.columns), (*indices(key, shape), *columns), strict=True)
            )
            place = tuple(along.get(axis, const(0)) for axis in range(len(w.shape)))
            total = k.local(self.y.dtype, k.load(self.y, place), "total")
            at = k.local("i64", first, "at")
            more = k.local("bool", True, "more")
            with k.repeat(more):
                number = k.local("i64", entries.place(k, (), at), "number")
                lead = indices(k.op("idiv", number, prod(sizes)), self.lead)
                inner = indices(k.op("irem", number, prod(sizes)), sizes)
                offset = dict(zip((*w.partial, *self.columns), (*inner, *columns), strict=True))
                value = self.updates(self.joined(lead, [offset[axis] for axis in w.visible]))
                k.set(total, k.op(self.kind, total, value))
                k.set(at, iadd(at, 1))
                same = k.op("eq", entries.key(k, (), k.op("min", at, count - 1)), key)
                k.set(more, k.op("and", k.op("lt", at, count), same))
            k.store(self.y, place, total)

    def joined(self, lead: Index, offsets: Sequence[Expr]) -> Index:
        """The index into the updates of a place in a window."""
        inner, outer = iter(offsets), iter(lead)
        rank = self.updates.type.ndim
        return tuple(next(inner if d in self.dims else outer) for d in range(rank))


def linear(index: Sequence[Expr], extents: Sequence[int]) -> Expr:
    """The number that an index is, the last axis running fastest."""
    total: Expr = const(0)
    for i, extent in zip(index, extents, strict=True):
        total = iadd(imul(total, extent), i)
    return total
