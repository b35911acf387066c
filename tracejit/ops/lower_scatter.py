"""The kernel of a scatter: the result holds the operand already; windows take up their updates.

    lower_scatter(k, (x, indices, updates), (y,), windows, dims, "add")

Updates may meet in one place, so threads share columns that every window covers, or batches: there
no two threads write the same element, and each place sees its updates in order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from tracejit.ir.expr import Expr, iadd, imul
from tracejit.ops.index_windows import Windows
from tracejit.ops.lower_parts import lane_width
from tracejit.record import dataclass

#: columns that a thread takes at least, and how many parts there are at most
COLUMNS = 32
PARTS = 4


@dataclass(frozen=True)
class Scatter:
    """A scatter being written. ``dims``: axes of the updates that are axes of the window."""

    k: Any
    x: Any
    indices: Any
    updates: Any
    y: Any
    windows: Windows
    dims: tuple[int, ...]
    kind: str

    @property
    def width(self) -> int:
        return lane_width(self.k, self.x.type)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.windows.shape

    def by_columns(self) -> bool:
        """Whether columns are shared out: all windows cover them."""
        last = len(self.shape) - 1
        return last in self.windows.whole and self.shape[last] >= 2 * COLUMNS

    def write(self) -> None:
        """All of it."""
        if self.windows.batching:
            axis, where = self.windows.batching[0]
            with self.k.loop("par", self.shape[axis], name="b") as b:
                self.update({where: b}, None)
        elif self.by_columns():
            count = self.shape[-1]
            part = max(COLUMNS, -(-count // PARTS // COLUMNS) * COLUMNS)
            with self.k.loop("par", -(-count // part), name="part") as number:
                start = imul(number, part)
                columns = start, self.k.op("min", iadd(start, part), count)
                self.update({}, columns)
        else:
            self.update({}, None)

    def update(self, fixed: dict[int, Expr], columns: tuple[Expr, Expr] | None) -> None:
        """The updates in order."""
        with loops(self.k, self.indices.type.shape[:-1], fixed) as lead:
            starts, valid = self.starts(lead)
            if valid is None:
                self.window(lead, starts, columns)
            else:
                with self.k.when(valid):
                    self.window(lead, starts, columns)

    def starts(self, lead: tuple[Expr, ...]) -> tuple[dict[int, Expr], Expr | None]:
        """Where the window of an index vector begins, moved inside; whether it lay there."""
        k, w = self.k, self.windows
        found: dict[int, Expr] = {axis: lead[where] for axis, where in w.batching}
        valid: Expr | None = None
        for number, axis in enumerate(w.start_map):
            given = k.op("convert", self.indices((*lead, number)), dtype="i64")
            start, last = k.local("i64", given, "at"), w.last_start(axis)
            inside = k.op("and", k.op("ge", start, 0), k.op("le", start, last))
            if w.mode == "error":
                k.check(inside, 1)
            elif w.mode in ("fill", "drop"):
                valid = inside if valid is None else k.op("and", valid, inside)
            found[axis] = k.local("i64", k.op("clamp", k.const(0), start, k.const(last)), "first")
        return found, valid

    def window(
        self, lead: tuple[Expr, ...], starts: dict[int, Expr], columns: tuple[Expr, Expr] | None
    ) -> None:
        """Combine one window: its last axis is a vector."""
        k, sizes = self.k, [self.windows.sizes[axis] for axis in self.windows.visible]
        wide = bool(sizes) and sizes[-1] > 1
        with loops(k, sizes[:-1] if wide else sizes, {}) as offsets:
            if not wide:
                self.element(lead, starts, offsets)
                return
            start, stop = columns or (0, sizes[-1])
            with k.loop("vec", stop, start, width=self.width, unroll=2) as lane:
                self.element(lead, starts, (*offsets, lane))

    def element(
        self, lead: tuple[Expr, ...], starts: dict[int, Expr], offsets: tuple[Expr, ...]
    ) -> None:
        place = self.windows.element_at(starts, offsets)
        inner, outer = iter(offsets), iter(lead)
        rank = len(lead) + len(offsets)
        value = self.updates(tuple(next(inner if d in self.dims else outer) for d in range(rank)))
        if self.kind != "set":
            value = self.k.op(self.kind, self.k.load(self.y, place), value)
        self.k.store(self.y, place, value)


@contextmanager
def loops(k: Any, extents: Sequence[int], fixed: dict[int, Expr]) -> Iterator[tuple[Expr, ...]]:
    """Loops in order over every index of ``extents``, axes in ``fixed`` standing still."""
    with ExitStack() as stack:
        index: list[Expr] = []
        for axis, extent in enumerate(extents):
            if axis in fixed:
                index.append(fixed[axis])
            else:
                index.append(stack.enter_context(k.loop("seq", extent)))
        yield tuple(index)
