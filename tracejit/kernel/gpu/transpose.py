"""Maps on a GPU that read an operand across its rows, such as ``x + y.T``: tile by tile.

    block b in ...:                                 z[i0, i1] = x[i0, i1] + y[i1, i0]
      across0: f32[32,65] scratch
      thread t in 256:
        seq(unroll 8) k in 8:                       a tile of y, along its rows
          across0[down, right] = y[i1, i0]
        barrier
        seq(unroll 8) k in 8:                       the same tile along the rows of x and z
          z[i0, i1] = add(x[i0, i1], across0[right, down])

Both times a warp takes neighbouring elements. A row of the tile takes an odd number of words, so
that a column of it lies in 32 different banks of shared memory. Tiles are 8 KB: each thread has
eight accesses of 4 bytes under way, a multiprocessor 64 KB (``maps.py`` says how much it needs).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tracejit.ir.expr import Const, Expr, Load, Op, Var, const, iadd, idiv, imod, imul, walk
from tracejit.ir.types import DTYPES
from tracejit.kernel.gpu.target import WARP, GpuTarget
from tracejit.kernel.gpu.writer import BLOCK, THREAD, THREADS, GpuWriter, below, power, repeat
from tracejit.kernel.lower import Block
from tracejit.kernel.nest import Axis, Nest
from tracejit.kernel.nodes import Barrier, If, Local, Scratch, Stmt, Store
from tracejit.kernel.tiles import MOST, SHORTEST, crossing
from tracejit.passes.exprs import substituted

#: sides of a tile, for elements of at least 4 bytes and for shorter ones
SIDE, WIDE = 32, 64
#: where an element lies in the tile: its place along the vectors' axis, and across
ALONG, ACROSS = Var("right", "i64"), Var("down", "i64")


def crossings(nest: Nest) -> tuple[Axis, list[Load]] | None:
    """The axis along the rows of operands that the last axis walks across, and what is read so."""
    if nest.inner or len(nest.axes) < 2:
        return None
    along = nest.axes[-1]
    found: dict[Axis, dict[Load, None]] = {}
    for item in nest.items:
        for node in walk(item.expr):
            if isinstance(node, Load):
                for across in nest.axes[:-1]:
                    if crossing(node, across, along) is not None:
                        found.setdefault(across, {})[node] = None
    if not found:
        return None
    across = max(found, key=lambda axis: len(found[axis]))
    if len(found[across]) > MOST or min(across.extent, along.extent) < SHORTEST:
        return None
    return across, list(found[across])


class Transposed(GpuWriter):
    """A nest of ``full`` items that reads ``loads`` along the axis ``across``."""

    def __init__(self, nest: Nest, target: GpuTarget, across: Axis, loads: Sequence[Load]) -> None:
        super().__init__(nest, target)
        self.across, self.along = across, nest.axes[-1]
        size = max(DTYPES[load.dtype].itemsize for load in loads)
        self.right = min(WIDE if size < 4 else SIDE, power(self.along.extent))
        self.down = min(WIDE if size <= 4 else SIDE, power(across.extent))
        self.threads = max(min(THREADS, self.right * self.down), WARP)
        self.tiles = {load: f"across{k}" for k, load in enumerate(loads)}
        for load, name in self.tiles.items():
            width = DTYPES[load.dtype].itemsize
            row = self.down + (4 // width if width < 4 else 1)
            self.shared.append(Scratch(name, load.dtype, (self.right, row)))
        values: dict[Expr, Expr] = {
            load: Load(name, (ALONG, ACROSS), load.dtype) for load, name in self.tiles.items()
        }
        items = tuple(replace(i, expr=substituted(i.expr, values)) for i in nest.items)
        self.nest = replace(nest, items=items)

    def threads_body(self) -> tuple[Stmt, ...]:
        others = [a for a in self.nest.axes if a not in (self.across, self.along)]
        top = Block(None, 1, others)
        corner = self.corner(top)
        rounds = -(-self.right * self.down // self.threads)
        place = iadd(imul(Var("k", "i64"), self.threads), THREAD)
        inside = self.inside()
        loads: list[Stmt] = [
            *self.point_of(corner, idiv(place, self.down), imod(place, self.down)),
            *(
                Store(name, (ALONG, ACROSS), Load(load.buffer, load.index, load.dtype, inside))
                for load, name in self.tiles.items()
            ),
        ]
        axes = [Axis(v.name, 0, False) for v in (ALONG, ACROSS)]
        lane = Block(top, 2, (self.across, self.along, *axes))
        self.write_items(lane, (), self.nest.items, 0)
        body = tuple(lane.statements)
        stores: list[Stmt] = [
            *self.point_of(corner, imod(place, self.right), idiv(place, self.right)),
            *(body if inside is None else (If(inside, body),)),
        ]
        if self.right * self.down < self.threads:  # a tile smaller than a warp
            there = below(place, const(self.right * self.down))
            loads, stores = [If(there, tuple(loads))], [If(there, tuple(stores))]
        return (
            *top.statements,
            *repeat("k", rounds, loads),
            Barrier(),
            *repeat("k", rounds, stores),
        )

    def corner(self, top: Block) -> tuple[Expr, Expr]:
        """Where the tile begins on the two axes; indices on the others."""
        sides = {self.across: self.down, self.along: self.right}
        number: Expr = BLOCK
        self.grid = const(1)
        found: dict[Axis, Expr] = {}
        for k, axis in reversed(list(enumerate(self.nest.axes))):
            count = self.extent(axis)
            if axis in sides:
                count = idiv(iadd(count, sides[axis] - 1), sides[axis])
            digit = number if k == 0 else imod(number, count)
            found[axis] = imul(digit, sides.get(axis, 1))
            number = idiv(number, count) if k else number
            self.grid = imul(count, self.grid)
        top.statements += [
            Local(axis.var, "i64", at) for axis, at in found.items() if axis not in sides
        ]
        right = self.named("begin", found[self.along], top.statements)
        return right, self.named("top", found[self.across], top.statements)

    def point_of(self, corner: tuple[Expr, Expr], right: Expr, down: Expr) -> list[Stmt]:
        """Locals for an element's place in the tile and its indices."""
        return [
            Local(ALONG.name, "i64", right),
            Local(ACROSS.name, "i64", down),
            Local(self.along.var, "i64", iadd(corner[0], ALONG)),
            Local(self.across.var, "i64", iadd(corner[1], ACROSS)),
        ]

    def inside(self) -> Expr | None:
        """Whether an element of the tile is there; None where all always are."""
        found: Expr | None = None
        for axis, side in ((self.along, self.right), (self.across, self.down)):
            n = self.extent(axis)
            if isinstance(n, Const) and axis.extent % side == 0:
                continue
            here = below(Var(axis.var, "i64"), n)
            found = here if found is None else Op("and", (found, here), "bool")
        return found
