"""Maps on a GPU: one element of the space after the other, 16 bytes for each thread at a time; and
the schedule that is always right, a thread for each result.

    block b in idiv(add(n0, 1023), 1024):          y0 = tanh(x0) over f32[n0]
      thread t in 256:
        start: i64 = add(mul(b, 1024), mul(t, 4))
        if le(add(start, 4), n0):
          vec(4x1) i0 in start..add(start, 4):
            y0[i0] = tanh(x0[i0])
        else:
          seq(unroll 3) j in 3:
            i0: i64 = add(start, j)
            if lt(i0, n0):
              y0[i0] = tanh(x0[i0])

What keeps memory busy, by the data sheet of an H200 (4.8 TB/s, 132 multiprocessors): each of them
takes 36 bytes a nanosecond. If an answer takes some 800 ns, 29 KB must be under way; 2048 threads
with one access of 16 bytes each ask for 32 KB, and nothing is left over for those that compute. So
maps that read one or two operands get four or two vectors per thread (``AHEAD``), as long as there
are twice as many threads as run at a time. Each block takes its piece and ends; a grid of a few
waves that loops over pieces would save little, as indices cost little, and makes another kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

from tracejit.ir.expr import Expr, Load, Op, Var, const, iadd, idiv, imul, isub, walk
from tracejit.kernel.gpu.writer import (
    BLOCK,
    RESIDENT,
    THREAD,
    GpuWriter,
    below,
    repeat,
)
from tracejit.kernel.lower import Block, loops
from tracejit.kernel.nest import Axis, Item
from tracejit.kernel.nodes import If, Local, Loop, Scratch, Stmt, Store

#: accesses of 16 bytes that a thread has under way before it needs the first
AHEAD = 4
#: elements that take more instructions than this keep a multiprocessor busy by themselves: it does
#: some 6 on a float for each byte that it can read
HEAVY = 40


class Maps(GpuWriter):
    """A nest of ``full`` items without reductions."""

    def threads_body(self) -> tuple[Stmt, ...]:
        kept, items = self.nest.axes, self.nest.items
        top = Block(None, 1, ())
        if not kept:
            self.threads = 32
            block = Block(top, 2, ())
            self.write_items(block, (), items, 0)
            # what it reads too: the result may have the operand's memory
            alone = (*top.statements, *block.statements)
            return (If(Op("eq", (THREAD, const(0)), "bool"), alone),)
        self.width = self.lanes(kept[-1], items, exact=len(kept) > 1)
        units = self.points(kept, self.width)
        times = self.times(items)
        size = self.threads * times
        self.grid = idiv(iadd(units, size - 1), size)
        first = iadd(imul(BLOCK, size), THREAD)
        if times == 1:
            body = self.bounded(top, first)
            return (*top.statements, *body)
        number = iadd(first, imul(Var("u", "i64"), self.threads))
        whole = self.ahead(top, number, times)
        rest = [Loop("seq", "u", const(0), const(times), tuple(self.bounded(top, number)))]
        end = imul(iadd(BLOCK, 1), size)
        if len(kept) == 1:
            end, units = imul(end, self.width), self.extent(kept[0])
        inside = Op("le", (end, units), "bool")
        return (*top.statements, If(inside, tuple(whole), tuple(rest)))

    def times(self, items: Sequence[Item]) -> int:
        """Vectors per thread: so many that enough of what is read is under way."""
        loads = sum(not a.store for a in self.accesses(items))
        units = prod(a.extent for a in self.nest.axes) // self.width
        times = 1
        while (
            2 * times * max(loads, 1) <= AHEAD
            and self.effort(items) < HEAVY
            and units >= 2 * times * 2 * RESIDENT * self.target.multiprocessors
        ):
            times *= 2
        return times

    def unit(
        self,
        top: Block,
        number: Expr,
        write: Callable[[Block, tuple[Expr, ...]], None] | None = None,
    ) -> list[Stmt]:
        """Vector ``number``, all of which is there."""
        front = self.nest.axes[:-1]
        block = Block(top, 2, front)
        number = self.named("number", number, block.statements)
        places = self.decode(self.nest.axes, number, self.width)
        block.statements += [Local(axis.var, "i64", at) for axis, at in places[:-1]]
        start = places[-1][1]
        if self.width > 1:
            start = self.named("start", start, block.statements)
        return [*block.statements, *self.lane(block, start, self.width, write)]

    def ahead(self, top: Block, number: Expr, times: int) -> list[Stmt]:
        """Vectors ``number``, one for each ``u``: all of what they read, then what is made of it. A
        result may have the memory of an operand, so that no compiler moves loads up by itself.
        """
        var = Var(self.nest.axes[-1].var, "i64")
        loads = {
            node
            for item in self.nest.items
            for node in walk(item.expr)
            if isinstance(node, Load) and node.guard is None and var in node.index
        }
        shape = (times, self.width) if self.width > 1 else (times,)
        arrays = {
            load: Scratch(f"keep{k}", load.dtype, shape)
            for k, load in enumerate(sorted(loads, key=str))
        }

        def keep(lane: Block, place: tuple[Expr, ...]) -> None:
            for load, array in arrays.items():
                lane.statements.append(Store(array.name, place, self.bind(lane, load)))

        def use(lane: Block, place: tuple[Expr, ...]) -> None:
            for load, array in arrays.items():
                lane.bound[load] = Load(array.name, place, load.dtype)
            self.write_items(lane, (), self.nest.items, 0)

        body = repeat("u", times, self.unit(top, number, use))
        if not arrays:
            return body
        return [*arrays.values(), *repeat("u", times, self.unit(top, number, keep)), *body]

    def lane(
        self,
        block: Block,
        start: Expr,
        width: int,
        write: Callable[[Block, tuple[Expr, ...]], None] | None = None,
    ) -> list[Stmt]:
        """All items for the vector from ``start`` on; what does not change in it comes before."""
        axis = self.nest.axes[-1]
        lane = Block(block, 3, (axis,))
        n = len(block.statements)
        if write is None:
            self.write_items(lane, (), self.nest.items, 0)
        else:
            u, at = Var("u", "i64"), isub(Var(axis.var, "i64"), start)
            write(lane, (u, at) if width > 1 else (u,))
        before = block.statements[n:]
        del block.statements[n:]
        return [*before, *self.vector(axis, start, lane, width)]

    def bounded(self, top: Block, number: Expr) -> list[Stmt]:
        """Vector ``number`` if it is there, or the part of it that is."""
        axes = self.nest.axes
        if len(axes) > 1 or self.width == 1:
            before: list[Stmt] = []
            number = self.named("number", number, before)
            inside = below(number, self.points(axes, self.width))
            return [*before, If(inside, tuple(self.unit(top, number)))]
        axis, block = axes[0], Block(top, 2, ())
        start = self.named("start", imul(number, self.width), block.statements)
        whole = self.lane(block, start, self.width)
        rest = self.rest(block, axis, start, self.extent(axis), self.nest.items)
        inside = Op("le", (iadd(start, self.width), self.extent(axis)), "bool")
        return [*block.statements, If(inside, tuple(whole), tuple(rest))]


class General(GpuWriter):
    """Any nest: a thread for each kept index, which goes over the reduced ones in order."""

    def threads_body(self) -> tuple[Stmt, ...]:
        kept, inner = self.nest.kept, self.nest.inner
        row = Block(None, 1, kept)
        number = iadd(imul(BLOCK, self.threads), THREAD)
        before: list[Stmt] = []
        number = self.named("number", number, before)
        if kept:
            self.point(kept, number, row.statements)
        for stage in range(self.nest.stages + 1):
            folds, fulls = self.of_stage(stage, "fold"), self.of_stage(stage, "full")
            self.write_rows(row, stage)
            if folds or fulls:
                self.declare(row, folds)
                block = Block(row, 2, inner)
                self.write_items(block, folds, fulls, stage)
                row.statements += self.around(inner, block.statements)
                self.finish(row, folds)
        total = self.points(kept)
        self.grid = idiv(iadd(total, self.threads - 1), self.threads)
        return (*before, If(below(number, total), tuple(row.statements)))

    def around(self, axes: Sequence[Axis], body: list[Stmt]) -> list[Stmt]:
        """Loops over the reduced axes; the outermost axis runs to its size."""
        found = loops(axes, body)
        if axes and axes[0] == self.nest.axes[0] and isinstance(found[0], Loop):
            found = [Loop("seq", axes[0].var, const(0), self.extent(axes[0]), found[0].body)]
        return found
