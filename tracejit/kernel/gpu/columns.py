"""Reductions over leading axes on a GPU: threads lie along what is kept, so that neighbours read
neighbours.

    block b in mul(n1, 8):                        y0[c] = sum over r of x0[r, c], f32[n0,1024]
      sums0: f32[8,4,32] scratch
      thread t in 256:                            32 vectors of columns, 8 rows at a time
        tx: i64 = irem(t, 32)
        ty: i64 = idiv(t, 32)
        acc0: f32[4] scratch                      this thread's four columns
        ...                                       rows ty, ty + 8, ... of the chunk
        sums0[ty, j, tx] = acc0[j]                folded over ty as a tree, in shared memory
        ...

Where there are few columns, blocks take chunks of the rows, as in ``chunks.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

from tracejit.ir.expr import Const, Expr, Load, Op, Var, const, iadd, idiv, imod, imul, isub, known
from tracejit.kernel.gpu.chunks import AHEAD, CHUNK, ROWS, Chunks, chunks
from tracejit.kernel.gpu.target import WARP
from tracejit.kernel.gpu.writer import THREAD, THREADS, Shape, below, power, repeat
from tracejit.kernel.lower import HALF, Block, as_python
from tracejit.kernel.nest import Item
from tracejit.kernel.nodes import Barrier, If, Local, Loop, Scratch, Stmt, Store

#: bytes of shared memory that partial sums of a block take, at most
SHARED = 32 << 10

#: how many tiles there are, where that follows from the outermost extent
COUNT = Var("n1", "i64")
TX, TY, J = Var("tx", "i64"), Var("ty", "i64"), Var("j", "i64")


class Columns(Chunks):
    """Reductions whose last axis is kept."""

    def choose(self) -> tuple[int, int]:
        self.columns = self.nest.kept
        self.width = self.lanes(self.columns[-1], self.found, exact=True)
        total = prod(a.extent for a in self.nest.inner)
        # as many threads along the columns as a warp, more where few rows are to be shared
        most = min(power(prod(a.extent for a in self.columns) // self.width), THREADS)
        along = min(most, WARP)
        while along < most and THREADS // along * AHEAD > total:
            along *= 2
        self.along, self.down = along, THREADS // along
        while self.width > 1 and self.shared_bytes() > SHARED:
            self.width //= 2
        self.vectors = self.points(self.columns, self.width)
        self.tiles = idiv(iadd(self.vectors, along - 1), along)
        groups = -(-prod(a.extent for a in self.columns) // (self.width * along))
        least = max(CHUNK // (along * self.width), self.down * AHEAD)
        parts, length = chunks(groups, total, least)
        if parts > 1 and not isinstance(self.tiles, Const):
            self.tiles, self.sizes[COUNT.name] = COUNT, groups
        return parts, length

    def shared_bytes(self) -> int:
        return sum(8 * THREADS * self.width for _ in self.found) if self.down > 1 else 0

    def part_shape(self, parts: int | str, kept: Shape) -> Shape:
        return (parts, *kept)

    def ticket_shape(self, kept: Shape) -> Shape:
        return (COUNT.name if self.tiles == COUNT else known(self.tiles) or 0,)

    # ---- statements ----

    def threads_body(self) -> tuple[Stmt, ...]:
        top = Block(None, 1, self.columns[:-1])
        tile, part = self.place(self.tiles, top.statements)
        start = self.column(top, tile)
        total = self.points(self.nest.inner)
        self.arrays(top)
        at = TY if self.down > 1 else const(0)

        def body(number: Expr, stop: Expr | None) -> list[Stmt]:
            return self.row(top, number, stop, start)

        self.reset(top)
        top.statements += self.steps(part, total, self.down, at, body)
        self.fold_down(top)
        if not self.cut:
            top.statements += self.results(top, start)
            return tuple(top.statements)
        top.statements += self.hand_parts(top, part, start)
        inside = Block(top, 2, ())
        self.reset(inside)
        inside.statements += self.fold_parts(top, start)
        self.fold_down(inside)
        inside.statements += self.results(top, start)
        top.statements += self.ticket((tile,), inside.statements)
        return tuple(top.statements)

    def column(self, top: Block, tile: Expr) -> Expr:
        """The thread's first column; threads without columns take the first ones, and store
        nothing.
        """
        if self.down > 1:
            top.statements += [
                Local("tx", "i64", imod(THREAD, self.along)),
                Local("ty", "i64", idiv(THREAD, self.along)),
            ]
        number = iadd(imul(tile, self.along), self.tx)
        #: whether the thread has columns, and whether it stores: None if all do
        self.there: Expr | None = None
        self.storing: Expr | None = None
        if self.down > 1:
            self.storing = Op("eq", (TY, const(0)), "bool")
        if (known(self.vectors) or 1) % self.along:
            number = self.named("column", number, top.statements)
            self.there = below(number, self.vectors)
            number = Op("select", (self.there, number, const(0)), "i64")
            both = Op("and", (self.there, self.storing or self.there), "bool")
            self.storing = self.there if self.storing is None else both
        number = self.named("vector", number, top.statements)
        places = self.decode(self.columns, number, self.width)
        top.statements += [Local(axis.var, "i64", at) for axis, at in places[:-1]]
        return self.named("start", places[-1][1], top.statements)

    @property
    def tx(self) -> Expr:
        return TX if self.down > 1 else THREAD

    # ---- accumulators: an array for each reduction, an element for each column ----

    def dtype(self, item: Item) -> str:
        return "f32" if item.dtype in HALF else item.dtype

    def arrays(self, top: Block) -> None:
        for k, item in enumerate(self.found):
            top.statements.append(Scratch(f"acc{k}", self.dtype(item), (self.width,)))
            if self.down > 1:
                shape = (self.down, self.width, self.along)
                self.shared.append(Scratch(f"sums{k}", self.dtype(item), shape))

    def each(self, write: Callable[[int, Item], Stmt]) -> list[Stmt]:
        """``write`` for every reduction, at column ``J`` of the thread's."""
        return repeat("j", self.width, [write(k, item) for k, item in enumerate(self.found)])

    def acc(self, k: int, item: Item, at: Expr = J) -> Load:
        return Load(f"acc{k}", (at,), self.dtype(item))

    def add(self, k: int, item: Item, value: Expr, at: Expr = J) -> Store:
        dtype = self.dtype(item)
        if value.dtype != dtype:
            value = Op("convert", (value,), dtype)
        return Store(f"acc{k}", (at,), Op(item.fn, (self.acc(k, item, at), value), dtype))

    def reset(self, block: Block) -> None:
        def write(k: int, item: Item) -> Stmt:
            dtype = self.dtype(item)
            return Store(f"acc{k}", (J,), Const(as_python(item.identity, dtype), dtype))

        block.statements += self.each(write)

    def fold_down(self, block: Block) -> None:
        """Accumulators of the threads with the same columns, folded into those of the first."""
        if self.down == 1:
            return

        def own(k: int, item: Item) -> Stmt:
            return Store(f"sums{k}", (TY, J, TX), self.acc(k, item))

        block.statements += [*self.each(own), Barrier()]
        half = self.down // 2
        while half:
            other = iadd(TY, half)

            def add(k: int, item: Item, other: Expr = other) -> Stmt:
                value = Load(f"sums{k}", (other, J, TX), self.dtype(item))
                return self.add(k, item, value)

            step = self.each(add)
            if half > 1:
                step += self.each(own)
            block.statements += [If(below(TY, const(half)), tuple(step)), Barrier()]
            half //= 2

    # ---- reading and storing ----

    def row(self, top: Block, number: Expr, stop: Expr | None, start: Expr) -> list[Stmt]:
        """One row, added to the accumulators, if it lies before ``stop``."""
        inner, last = self.nest.inner, self.columns[-1]
        before: list[Stmt] = []
        number = self.named("row", number, before)
        block = Block(top, 2, inner)
        self.point(inner, number, block.statements)
        lane = Block(block, 3, (last,))
        self.bind_shared(lane, [item.expr for item in self.found])
        for k, item in enumerate(self.found):
            value = self.bind(lane, item.expr)
            lane.statements.append(self.add(k, item, value, self.lane_of(start)))
        body = (*block.statements, *self.vector(last, start, lane))
        if stop is None:
            return [*before, *body]
        return [*before, If(below(number, stop), body)]

    def lane_of(self, start: Expr) -> Expr:
        """Which of the thread's columns a lane is."""
        return isub(Var(self.columns[-1].var, "i64"), start) if self.width > 1 else const(0)

    def hand_parts(self, top: Block, part: Expr, start: Expr) -> list[Stmt]:
        lane = Block(top, 3, self.columns[-1:])
        index = (part, *(Var(a.var, "i64") for a in self.nest.kept))
        for k, item in enumerate(self.found):
            value = self.acc(k, item, self.lane_of(start))
            lane.statements.append(Store(self.part_name(k), index, value))
        return self.stored(self.vector(self.columns[-1], start, lane))

    def fold_parts(self, top: Block, start: Expr) -> list[Stmt]:
        """The parts of all blocks, added in their order. Threads without columns read none: those
        of the first columns may still be written, by blocks that hold them.
        """
        lane = Block(top, 3, self.columns[-1:])
        index = (Var("p", "i64"), *(Var(a.var, "i64") for a in self.nest.kept))
        for k, item in enumerate(self.found):
            value = Load(self.part_name(k), index, self.dtype(item))
            lane.statements.append(self.add(k, item, value, self.lane_of(start)))
        trip = self.vector(self.columns[-1], start, lane)
        stride = self.down * AHEAD
        at = iadd(imul(Var("g", "i64"), stride), imul(Var("k", "i64"), self.down))
        inside = If(below(Var("p", "i64"), self.parts), tuple(trip))
        place = Local("p", "i64", iadd(at, TY if self.down > 1 else const(0)))
        count = idiv(iadd(self.parts, stride - 1), stride)
        trips = tuple(repeat("k", AHEAD, [place, inside]))
        found: list[Stmt] = [Loop("seq", "g", const(0), count, trips)]
        return found if self.there is None else [If(self.there, tuple(found))]

    def results(self, top: Block, start: Expr) -> list[Stmt]:
        """Results and what is made of them, by the first threads."""
        block = Block(top, 2, ())
        lane = Block(block, 3, self.columns[-1:])
        for k, item in enumerate(self.found):
            result: Expr = self.acc(k, item, self.lane_of(start))
            if result.dtype != item.dtype:
                result = Op("convert", (result,), item.dtype)
            lane.bound[item.read] = self.name(lane, result)
            if item.out is not None:
                index = self.bind_index(lane, item.index)
                lane.statements.append(Store(item.out, index, lane.bound[item.read]))
        n = len(top.statements)
        self.write_rows(lane, ROWS)
        hoisted = top.statements[n:]
        del top.statements[n:]
        found = [*block.statements, *self.vector(self.columns[-1], start, lane)]
        return self.stored([*hoisted, *found])

    def stored(self, body: Sequence[Stmt]) -> list[Stmt]:
        return [If(self.storing, tuple(body))] if self.storing is not None else list(body)
