"""Reductions over the last axes on a GPU, with maps of the whole space: softmax, norms, gradients.

    block b in n0:                                  y0 = softmax(x0) over f32[n0,4096]
      thread t in 256:
        keep0: f32[4,4] scratch
        seq(unroll 4) k in 4:
          vec(4x1) i1 in ...:  keep0[k, sub(i1, start)] = x0[b, i1]
        s0: f32 = -inf
        seq(unroll 4) k in 4:  ...  s0 max= keep0[k, sub(i1, start)]
        combine(256) max s0
        ...

Threads of a row lie next to each other: a part of a warp, a warp, or the block. What later stages
need of earlier ones stays in registers (``keep``): device memory is read once. Registers of a
multiprocessor hold 256 KB, a block's static shared memory 48: rows that do not fit into the
registers of 1024 threads are read again for each stage instead, from a cache as a rule.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod

from tracejit.ir.expr import (
    Expr,
    Load,
    Op,
    Var,
    children,
    const,
    iadd,
    idiv,
    imod,
    imul,
    isub,
    walk,
)
from tracejit.ir.types import DTYPES
from tracejit.kernel.gpu.target import WARP, GpuTarget
from tracejit.kernel.gpu.writer import BLOCK, SLOW, THREAD, THREADS, GpuWriter, below, power, repeat
from tracejit.kernel.lower import LONG, Block
from tracejit.kernel.nest import Item, Nest
from tracejit.kernel.nodes import Combine, If, Local, Loop, Scratch, Stmt, Store

#: registers that hold elements of a row, in each thread: few where other warps are to hide waiting,
#: more where a row is one warp's (no barriers) or would not fit otherwise
FEW, MANY = 16, 32
#: threads of a row of which nothing is kept, at most
LONGEST = 512
#: vectors that a thread reads before it needs the first, of long rows
AHEAD = 4
#: instructions that are written out for the elements of a thread, about
CODE = 3000
#: an expression is kept rather than computed again from here on (operations)
WORTH = 5


class Rows(GpuWriter):
    """A nest whose reduced axes are the last ones."""

    def __init__(self, nest: Nest, target: GpuTarget) -> None:
        super().__init__(nest, target)
        inner = [i for i in nest.items if i.level != "row"]
        self.width = self.lanes(nest.inner[-1], inner, exact=True)
        self.length = prod(a.extent for a in nest.inner)
        self.rows = prod(a.extent for a in nest.kept)
        #: the stage that needs a kept expression last
        self.last: dict[Expr, int] = {}
        self.keeps = self.to_keep()
        self.team = self.threads_of_row()
        #: one block for several rows, where a row is a warp's or a part's
        self.several = 1
        if self.team <= WARP:
            most = max(self.rows // (2 * target.multiprocessors), 1)
            self.several = max(min(THREADS // self.team, power(most)), WARP // self.team)
        self.threads = self.team * self.several
        self.first: Expr = const(True, "bool")
        self.valid: Expr | None = None
        self.lane: Expr = const(0)

    # ---- decisions ----

    def to_keep(self) -> dict[Expr, int]:
        """Expressions of several stages that wait in registers, and the stage that makes them."""
        inner = {Var(a.var, "i64") for a in self.nest.inner}
        stage_of: dict[Expr, int] = {}
        varies: dict[Expr, bool] = {}
        roots: list[list[Expr]] = []
        for stage in range(self.nest.stages):
            items = (*self.of_stage(stage, "fold"), *self.of_stage(stage, "full"))
            roots.append([item.expr for item in items])
            for expr in roots[-1]:
                for node in walk(expr):
                    stage_of.setdefault(node, stage)
                    varies[node] = node in inner or any(varies[kid] for kid in children(node))
        found: dict[Expr, int] = {}
        for stage, exprs in enumerate(roots):
            stack = list(exprs)
            seen: set[Expr] = set()
            while stack:
                node = stack.pop()
                if node in seen or not varies[node]:
                    continue
                seen.add(node)
                if stage_of[node] < stage and worth(node, varies):
                    found[node] = stage_of[node]
                    self.last[node] = stage
                else:
                    stack += children(node)
        return found

    def registers(self, team: int) -> int:
        """Registers that a thread keeps from one stage to the next, if ``team`` share a row."""
        rounds = -(-self.length // (team * self.width))
        size = {n: -(-self.width * DTYPES[n.dtype].itemsize // 4) for n in self.keeps}
        return rounds * max(
            sum(size[n] for n, made in self.keeps.items() if made <= stage < self.last[n])
            for stage in range(self.nest.stages)
        )

    def threads_of_row(self) -> int:
        vectors = -(-self.length // self.width)
        if vectors <= WARP:
            return power(vectors)
        if self.keeps:
            each = self.width * self.effort(self.nest.items)
            for team in (32, 64, 128, 256, 512, 1024):
                limit, rounds = MANY if team in (32, 1024) else FEW, -(-vectors // team)
                short = rounds <= MANY and (rounds * each <= CODE or team == 1024)
                if short and self.registers(team) <= limit:
                    return team
            self.keeps = {}
            return 1024
        if self.length <= 1024 and vectors <= MANY * WARP:
            return WARP
        return min(max(power(vectors // AHEAD), 64), LONGEST)

    # ---- statements ----

    def threads_body(self) -> tuple[Stmt, ...]:
        kept = self.nest.kept
        row = Block(None, 1, kept)
        self.place(row)
        arrays = {
            node: Scratch(f"keep{k}", node.dtype, self.shape) for k, node in enumerate(self.keeps)
        }
        row.statements += arrays.values()
        self.read_ahead(row, arrays)
        for stage in range(self.nest.stages + 1):
            self.write_rows(row, stage)
            self.write_stage(row, stage, arrays)
        return tuple(row.statements)

    def place(self, row: Block) -> None:
        """Which row and which part of it are the thread's. Threads without a row compute the first
        one too, so that all threads of their warp meet, but store nothing.
        """
        kept = self.nest.kept
        number: Expr = BLOCK
        lane: Expr = THREAD
        total = self.points(kept)
        if self.several > 1:
            number = iadd(imul(BLOCK, self.several), idiv(THREAD, self.team))
            lane = imod(THREAD, self.team)
            number = self.named("number", number, row.statements)
            row.statements.append(Local("valid", "bool", below(number, total)))
            self.valid = Var("valid", "bool")
            number = Op("select", (self.valid, number, const(0)), "i64")
            number = self.named("row", number, row.statements)
        self.grid = idiv(iadd(total, self.several - 1), self.several)
        self.lane = self.named("lane", lane, row.statements)
        self.point(kept, number, row.statements)
        self.first = Op("eq", (self.lane, const(0)), "bool")
        if self.valid is not None:
            both = Op("and", (self.valid, self.first), "bool")
            self.first = both if self.team > 1 else self.valid

    @property
    def rounds(self) -> tuple[int, int]:
        """Vectors that each thread of a row has, and how many more some have: 0 or 1."""
        per_round = self.team * self.width
        return self.length // per_round, int(self.length % per_round > 0)

    @property
    def shape(self) -> tuple[int, ...]:
        """That of an array of registers."""
        n = sum(self.rounds)
        return (n, self.width) if self.width > 1 else (n,)

    def read_ahead(self, row: Block, arrays: dict[Expr, Scratch]) -> None:
        """All loads that are kept, before the first is used."""
        loads = {n: s for n, s in arrays.items() if isinstance(n, Load) and self.at_once(n)}
        if not loads:
            return

        def write(lane: Block, place: tuple[Expr, ...]) -> None:
            for node, array in loads.items():
                lane.statements.append(Store(array.name, place, self.bind(lane, node)))

        row.statements += self.over_row(row, {}, write)
        for node in loads:
            self.keeps[node] = -1

    def at_once(self, load: Load) -> bool:
        """Whether a load needs nothing that is computed from the row."""
        return not any(isinstance(n, Load) and n.buffer in self.folds for n in walk(load))

    def write_stage(self, row: Block, stage: int, arrays: dict[Expr, Scratch]) -> None:
        folds, fulls = self.of_stage(stage, "fold"), self.of_stage(stage, "full")
        if not folds and not fulls:
            return
        self.declare(row, folds)
        made = [node for node, at in self.keeps.items() if at == stage]
        known = {node: arrays[node] for node, at in self.keeps.items() if at < stage}

        def write(lane: Block, place: tuple[Expr, ...]) -> None:
            self.bind_shared(lane, [*(i.expr for i in (*folds, *fulls)), *made])
            for node in made:
                value = self.bind(lane, node, named=True)
                lane.statements.append(Store(arrays[node].name, place, value))
            self.write_items(lane, folds, fulls, stage)

        body = self.over_row(row, known, write)
        if fulls and self.valid is not None:
            body = [If(self.valid, tuple(body))]
        row.statements += body
        self.combine(row, folds)
        self.finish(row, folds)

    def combine(self, row: Block, folds: Sequence[Item]) -> None:
        for item in folds:
            if self.team > 1:
                name = self.accumulators[item.read].name
                row.statements.append(Combine(name, item.fn, self.team))

    def finish(self, block: Block, folds: Sequence[Item]) -> None:
        self.by_the_first(block, lambda: super(Rows, self).finish(block, folds))

    def write_rows(self, block: Block, stage: int) -> None:
        self.by_the_first(block, lambda: super(Rows, self).write_rows(block, stage))

    def by_the_first(self, block: Block, write: Callable[[], None]) -> None:
        """What ``write`` stores, stored by one thread of each row."""
        n = len(block.statements)
        write()
        block.statements[n:] = [
            replace(s, guard=self.first) if isinstance(s, Store) else s
            for s in block.statements[n:]
        ]

    # ---- loops along a row ----

    def over_row(
        self,
        row: Block,
        known: dict[Expr, Scratch],
        write: Callable[[Block, tuple[Expr, ...]], None],
    ) -> list[Stmt]:
        """Loops over the thread's vectors; ``write(lane, place)`` says what is done with one,
        ``place`` being where its elements lie in arrays of registers.
        """
        full, more = self.rounds
        k = Var("k", "i64")
        found: list[Stmt] = []
        trips = full
        if full + more > MANY or (full > 2 * AHEAD and not self.keeps):
            many = full // AHEAD
            part = self.vector_of_row(row, iadd(imul(Var("g", "i64"), AHEAD), k), known, write)
            inside = repeat("k", AHEAD, part)
            found.append(Loop("seq", "g", const(0), const(many), tuple(inside)))
            trips = full % AHEAD
        if trips:
            at = iadd(k, full - trips)
            found += repeat("k", trips, self.vector_of_row(row, at, known, write))
        if more:
            rest = self.vector_of_row(row, const(full), known, write)
            first = imul(self.number_of(const(full)), self.width)
            found.append(If(below(first, const(self.length)), tuple(rest)))
        return found

    def number_of(self, k: Expr) -> Expr:
        """Which vector of the row a thread's ``k``-th is."""
        return iadd(imul(k, self.team), self.lane)

    def vector_of_row(
        self,
        row: Block,
        k: Expr,
        known: dict[Expr, Scratch],
        write: Callable[[Block, tuple[Expr, ...]], None],
    ) -> list[Stmt]:
        *front, last = self.nest.inner
        block = Block(row, 2, front)
        places = self.decode(self.nest.inner, self.number_of(k), self.width)
        if front:
            number = self.named("vector", self.number_of(k), block.statements)
            places = self.decode(self.nest.inner, number, self.width)
            block.statements += [Local(axis.var, "i64", at) for axis, at in places[:-1]]
        start = places[-1][1]
        place: tuple[Expr, ...] = (k,)
        if self.width > 1:
            start = self.named("start", start, block.statements)
            place = (k, isub(Var(last.var, "i64"), start))
        lane = Block(block, 3, (last,))
        for node, array in known.items():
            lane.bound[node] = Load(array.name, place, node.dtype)
        write(lane, place)
        return [*block.statements, *self.vector(last, start, lane)]


def worth(node: Expr, varies: dict[Expr, bool]) -> bool:
    """Whether an expression is kept in registers rather than computed again."""
    if isinstance(node, Load):
        return True
    ops = [n for n in walk(node) if isinstance(n, Op) and varies[n]]
    loads = sum(isinstance(n, Load) and varies[n] for n in walk(node))
    cost = sum(WORTH if n.fn in LONG or n.fn in SLOW else 1 for n in ops)
    return loads > 1 or cost >= WORTH
