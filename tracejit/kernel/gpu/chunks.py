"""Reductions to few results on a GPU: blocks fold chunks, the last one to finish folds what they
found, all in one launch.

    block b in n1:                                       y0 = sum(x0), n1 chunks of 8192
      last: i32[1] scratch
      thread t in 256:
        ...                                              s0: the sum of chunk b, in every thread
        part_fold0[b] = s0 if eq(t, 0)
        fence
        atomic(add) tickets[0] = 1 if eq(t, 0) -> old
        last[0] = old if eq(t, 0)
        barrier
        if eq(last[0], sub(n1, 1)):                      all others have left their part
          ...                                            y0[] = the fold of part_fold0
          tickets[0] = 0 if eq(t, 0)                     for the next launch

How long chunks are follows from the extents and never from the device, and parts are folded in
their order: a sum has the same bits every time, whichever block comes last. The order of memory:
a fence between a block's part and its ticket, and one between the last ticket and the parts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod

from tracejit.ir.expr import (
    Const,
    Expr,
    Load,
    Op,
    Var,
    const,
    iadd,
    idiv,
    imod,
    imul,
    isub,
)
from tracejit.kernel.gpu.sizes import SIZE
from tracejit.kernel.gpu.target import GpuTarget
from tracejit.kernel.gpu.writer import (
    BLOCK,
    THREAD,
    GpuWriter,
    Shape,
    below,
    repeat,
)
from tracejit.kernel.lower import HALF, Block, as_python
from tracejit.kernel.nest import Item, Nest
from tracejit.kernel.nodes import (
    Accumulate,
    Atomic,
    Barrier,
    Combine,
    Fence,
    If,
    Local,
    Loop,
    Scratch,
    Stmt,
    Store,
)

#: blocks that one reduction is cut into, at most: about four for each multiprocessor of a large GPU
BLOCKS = 512
#: elements of a chunk, at least: what a block reads in the time that handing its part on takes
CHUNK = 8192
#: vectors that a thread reads before it needs the first
AHEAD = 4
PARTS = Var("n1", "i64")
#: stage of what is made of the results
ROWS = 1
FIRST = Op("eq", (THREAD, const(0)), "bool")


class Chunks(GpuWriter):
    """One reduction, or several over the same axes, cut into chunks of ``length`` steps.

    The nest's items: folds of stage 0, "row" items of stage 1 that are made of them.
    """

    def __init__(self, nest: Nest, target: GpuTarget) -> None:
        super().__init__(nest, target)
        #: whether the number of chunks follows from the outermost extent
        self.moving = nest.axes[0].reduced
        parts, self.length = self.choose()
        self.parts: Expr = const(parts)
        if parts > 1:
            if self.moving:
                self.parts, self.sizes[PARTS.name] = PARTS, parts
            self.hand_on(parts)

    def choose(self) -> tuple[int, int]:
        """How many chunks there are, and how many steps each has."""
        raise NotImplementedError

    @property
    def cut(self) -> bool:
        return self.parts != const(1)

    @property
    def found(self) -> tuple[Item, ...]:
        return self.of_stage(0, "fold")

    # ---- memory between blocks ----

    def hand_on(self, parts: int) -> None:
        """Buffers for parts, and for the tickets of each group of blocks that fold together."""
        kept = tuple(SIZE.name if a == self.nest.axes[0] else a.extent for a in self.nest.kept)
        dtypes = {"tickets": "i32"}
        self.shapes["tickets"] = self.ticket_shape(kept)
        for k, item in enumerate(self.found):
            name = self.part_name(k)
            dtypes[name] = "f32" if item.dtype in HALF else item.dtype
            self.shapes[name] = self.part_shape(PARTS.name if self.moving else parts, kept)
        values = {SIZE.name: self.nest.axes[0].extent, **self.sizes}
        shapes = {
            name: tuple(values[n] if isinstance(n, str) else n for n in shape)
            for name, shape in self.shapes.items()
        }
        self.roles |= dict.fromkeys(dtypes, "inout")
        self.nest = replace(
            self.nest, dtypes=self.nest.dtypes | dtypes, shapes=self.nest.shapes | shapes
        )

    def part_name(self, k: int) -> str:
        """The buffer with the parts of the ``k``-th reduction. A short axis that was written out
        has left several reductions of one name.
        """
        folds = [item.fold for item in self.found]
        copy = folds[:k].count(folds[k])
        return f"part_{folds[k]}" + (f"_{copy}" if copy else "")

    def part_shape(self, parts: int | str, kept: Shape) -> Shape:
        raise NotImplementedError

    def ticket_shape(self, kept: Shape) -> Shape:
        raise NotImplementedError

    # ---- statements ----

    def place(self, count: Expr, into: list[Stmt]) -> tuple[Expr, Expr]:
        """Number of the group of blocks, ``count`` of them, and of the chunk in it. Whichever of
        the two may change with the outermost extent comes from the quotient.
        """
        self.grid = imul(count, self.parts)
        if not self.cut:
            return BLOCK, const(0)
        by = count if self.moving else self.parts
        high, low = idiv(BLOCK, by), imod(BLOCK, by)
        group, part = (low, high) if self.moving else (high, low)
        return self.named("group", group, into), self.named("part", part, into)

    def ticket(self, at: tuple[Expr, ...], finish: Sequence[Stmt]) -> list[Stmt]:
        """``finish`` for the last block to come here; parts are stored before this."""
        self.shared.append(Scratch("last", "i32", (1,)))
        came = Op("convert", (Load("last", (const(0),), "i32"),), "i64")
        reset = Store("tickets", at, Const(0, "i32"), FIRST)
        return [
            Fence(),
            Barrier(),
            Atomic("tickets", at, "add", Const(1, "i32"), FIRST, "old"),
            Store("last", (const(0),), Var("old", "i32"), FIRST),
            Barrier(),
            If(
                Op("eq", (came, isub(self.parts, 1)), "bool"),
                (Fence(), *finish, reset),
            ),
        ]

    def steps(
        self,
        part: Expr,
        total: Expr,
        stride: int,
        at: Expr,
        body: Callable[[Expr, Expr | None], list[Stmt]],
    ) -> list[Stmt]:
        """A thread's steps of a chunk: ``body(number, stop)`` for ``at``, ``at + stride`` and so
        on, without a stop where all of a group of them are there.
        """
        found: list[Stmt] = []
        begin = self.named("begin", imul(part, self.length), found)
        left = total
        if self.cut:
            left = Op("min", (isub(total, begin), const(self.length)), "i64")
            left = self.named("left", left, found)
        stop = self.named("stop", iadd(begin, left), found)
        groups = self.named("groups", idiv(left, stride * AHEAD), found)
        base = iadd(imul(Var("g", "i64"), stride * AHEAD), imul(Var("k", "i64"), stride))
        inside = repeat("k", AHEAD, body(iadd(iadd(begin, at), base), None))
        found.append(Loop("seq", "g", const(0), groups, tuple(inside)))
        base = iadd(imul(groups, stride * AHEAD), imul(Var("k", "i64"), stride))
        found += repeat("k", AHEAD, body(iadd(iadd(begin, at), base), stop))
        return found


class LongRows(Chunks):
    """Reductions whose last axis is reduced: threads lie along it."""

    def choose(self) -> tuple[int, int]:
        kept, inner = self.nest.kept, self.nest.inner
        # one axis may be any number of elements long: the rest is read one by one
        self.exact = len(inner) > 1 or bool(kept)
        self.width = self.lanes(inner[-1], self.found, self.exact)
        least = max(CHUNK, self.threads * self.width * AHEAD)
        return chunks(prod(a.extent for a in kept), prod(a.extent for a in inner), least)

    def part_shape(self, parts: int | str, kept: Shape) -> Shape:
        return (*kept, parts)

    def ticket_shape(self, kept: Shape) -> Shape:
        return kept or (1,)

    def threads_body(self) -> tuple[Stmt, ...]:
        kept, folds = self.nest.kept, self.found
        row = Block(None, 1, kept)
        group, part = self.place(self.points(kept), row.statements)
        if kept:
            self.point(kept, group, row.statements)
        self.declare(row, folds)
        total = self.points(self.nest.inner)
        stride = self.threads * self.width

        def body(number: Expr, stop: Expr | None) -> list[Stmt]:
            return self.vector_at(row, number, stop)

        row.statements += self.steps(part, total, stride, imul(THREAD, self.width), body)
        self.combine(row, folds)
        if self.cut:
            index = tuple(Var(a.var, "i64") for a in kept)
            for k, item in enumerate(folds):
                total_of = self.accumulators[item.read]
                at = (*index, part)
                row.statements.append(Store(self.part_name(k), at, total_of, FIRST))
            inside = Block(row, 2, ())
            self.fold_parts(inside, index)
            self.results(inside)
            row.statements += self.ticket(index or (const(0),), inside.statements)
        else:
            self.results(row)
        return tuple(row.statements)

    def combine(self, row: Block, folds: Sequence[Item]) -> None:
        for item in folds:
            name = self.accumulators[item.read].name
            row.statements.append(Combine(name, item.fn, self.threads))

    def vector_at(self, row: Block, number: Expr, stop: Expr | None) -> list[Stmt]:
        """The vector from element ``number`` on, as far as it lies below ``stop``."""
        *front, last = self.nest.inner
        block = Block(row, 2, front)
        number = self.named("start" if not front else "number", number, block.statements)
        start = number
        if front:
            places = self.decode(self.nest.inner, idiv(number, self.width), self.width)
            block.statements += [Local(axis.var, "i64", at) for axis, at in places[:-1]]
            start = self.named("start", places[-1][1], block.statements)
        lane = Block(block, 3, (last,))
        self.write_items(lane, self.found, (), 0)
        whole = self.vector(last, start, lane)
        if stop is None:
            return [*block.statements, *whole]
        if self.width == 1 or self.exact:
            return [block.statements[0], If(below(number, stop), (*block.statements[1:], *whole))]
        rest = self.rest(block, last, start, stop, self.found)
        inside = Op("le", (iadd(start, self.width), stop), "bool")
        return [*block.statements, If(inside, tuple(whole), tuple(rest))]

    def fold_parts(self, block: Block, index: tuple[Expr, ...]) -> None:
        """The parts of all blocks, folded in their order."""
        for k, item in enumerate(self.found):
            dtype = self.accumulators[item.read].dtype
            start = Const(as_python(item.identity, dtype), dtype)
            block.statements.append(Local(f"whole{k}", dtype, start))
            self.accumulators[item.read] = Var(f"whole{k}", dtype)
        at = iadd(imul(Var("k", "i64"), self.threads), THREAD)
        adds: list[Stmt] = []
        for k, item in enumerate(self.found):
            var = self.accumulators[item.read]
            value = Load(self.part_name(k), (*index, Var("p", "i64")), var.dtype)
            adds.append(Accumulate(var.name, item.fn, value))
        inside = If(below(Var("p", "i64"), self.parts), tuple(adds))
        most = BLOCKS // prod(a.extent for a in self.nest.kept)
        block.statements += repeat("k", -(-most // self.threads), [Local("p", "i64", at), inside])
        self.combine(block, self.found)

    def results(self, block: Block) -> None:
        """Results and what is made of them, stored by one thread."""
        n = len(block.statements)
        self.finish(block, self.found)
        self.write_rows(block, ROWS)
        block.statements[n:] = [
            replace(s, guard=FIRST) if isinstance(s, Store) else s for s in block.statements[n:]
        ]


def chunks(groups: int, total: int, least: int) -> tuple[int, int]:
    """How many chunks ``total`` steps are cut into, if ``groups`` reductions run side by side, and
    how many steps each is: a power of two, so that other batches have the same kernel.
    """
    length = total
    if total >= 2 * least:
        length = max(-(-total // max(BLOCKS // max(groups, 1), 1)), least)
    length = 1 << (length - 1).bit_length()
    return max(-(-total // length), 1), length
