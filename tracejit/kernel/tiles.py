"""Maps that read an operand across its rows, such as ``x + y.T``: tile by tile.

    tiles = find_tiles(nest, vector_bytes)      # None where every operand is read along its rows

Along the vectors such an operand is a column: a gather for every vector, a cache line for every
element. Instead a tile of it is read row by row, transposed in registers, kept in a small array,
and read from there. Loops over tiles stand around the loops over elements:

    par tile in idiv(add(n0, 31), 32):
      seq tile1 in idiv(add(n1, 63), 64):
        across0: f32[32,64] scratch
        seq down in 2:
          seq right in 4:
            transpose(16) across0[mul(down, 16), mul(right, 16)] = y[...] in ..., ...
        seq i0 in mul(tile, 32)..min(n0, add(mul(tile, 32), 32)):
          vec(16x4) i1 in mul(tile1, 64)..min(n1, add(mul(tile1, 64), 64)):
            z[i0, i1] = add(x[i0, i1], across0[sub(i0, mul(tile, 32)), sub(i1, mul(tile1, 64))])
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tracejit.ir.expr import Expr, Load, Op, Var, const, iadd, imul, isub, walk
from tracejit.ir.types import DTYPES
from tracejit.kernel.nest import Axis, Nest
from tracejit.kernel.nodes import Loop, Scratch, Stmt, Transpose
from tracejit.passes.exprs import substituted
from tracejit.record import dataclass

#: bytes of a source's row in a tile: two cache lines
ROW_BYTES = 128
#: rows of the source in a tile
ROWS = 64
#: tiles of at most so many operands
MOST = 4
#: what the place of a tile in its source may be computed with
PLAIN = frozenset("add sub mul idiv irem min max".split())
#: shorter axes are left to gathers
SHORTEST = 8


@dataclass(frozen=True)
class Read:
    """An operand read across its rows: ``load`` with its vector variable on axis ``axis``."""

    load: Load
    axis: int
    name: str


@dataclass(frozen=True)
class Tiles:
    """``across``: the axis along the sources' rows; ``along``: that of the vectors."""

    nest: Nest
    across: Axis
    along: Axis
    reads: tuple[Read, ...]
    side: int
    height: int
    width: int

    def start(self, axis: Axis) -> Expr:
        """Where the tile at hand begins on one of the two axes."""
        if axis == self.across:
            return imul(Var("tile", "i64"), self.height)
        return imul(Var("tile1", "i64"), self.width)

    def loops(self, kept: Sequence[Axis], row: Sequence[Stmt]) -> tuple[Stmt, ...]:
        """All loops: ``row`` is what stands inside those over all axes but the last."""
        body: tuple[Stmt, ...] = (*self.transposed(), self.cut(self.across, row))
        body = (Loop("seq", "tile1", const(0), _count(self.along, self.width), body),)
        for axis in reversed(kept[:-1]):
            tiled = axis == self.across
            stop = _count(axis, self.height) if tiled else const(axis.extent)
            body = (Loop("seq", "tile" if tiled else axis.var, const(0), stop, body),)
        return body

    def cut(self, axis: Axis, body: Sequence[Stmt]) -> Loop:
        """The part of a loop over ``axis`` that lies in the tile."""
        start = self.start(axis)
        size = self.height if axis == self.across else self.width
        stop = Op("min", (const(axis.extent), iadd(start, size)), "i64")
        return Loop("seq", axis.var, start, stop, tuple(body))

    def transposed(self) -> tuple[Stmt, ...]:
        """The tiles of all sources, filled."""
        side, arrays, blocks = self.side, [], []
        p, q = (imul(Var(name, "i64"), side) for name in ("down", "right"))
        y, x = iadd(self.start(self.along), q), iadd(self.start(self.across), p)
        rows = Op("sub", (const(self.along.extent), y), "i64")
        columns = Op("sub", (const(self.across.extent), x), "i64")
        values: dict[Expr, Expr] = {
            Var(self.along.var, "i64"): y,
            Var(self.across.var, "i64"): x,
        }
        for read in self.reads:
            load = read.load
            arrays.append(Scratch(read.name, load.dtype, (self.height, self.width)))
            at = tuple(substituted(i, values) for i in load.index)
            axis = read.axis - len(load.index)
            blocks.append(Transpose(read.name, (p, q), load.buffer, at, side, rows, columns, axis))
        inner = Loop("seq", "right", const(0), const(self.width // side), tuple(blocks))
        outer = Loop("seq", "down", const(0), const(self.height // side), (inner,))
        return (*arrays, outer)


def _count(axis: Axis, size: int) -> Expr:
    """How many tiles an axis is cut into."""
    more = Op("add", (const(axis.extent), const(size - 1)), "i64")
    return Op("idiv", (more, const(size)), "i64")


def find_tiles(nest: Nest, vector_bytes: int) -> Tiles | None:
    """The tiles of a map; None where there is nothing to transpose."""
    if nest.inner or len(nest.kept) < 2:
        return None
    along = nest.kept[-1]
    found: dict[Axis, dict[Load, int]] = {}
    for item in nest.items:
        for node in walk(item.expr):
            if isinstance(node, Load) and node.buffer in nest.inputs:
                for across in nest.kept[:-1]:
                    axis = crossing(node, across, along)
                    if axis is not None:
                        found.setdefault(across, {})[node] = axis
    if not found:
        return None
    across = max(found, key=lambda axis: len(found[axis]))
    loads = found[across]
    if len(loads) > MOST or min(across.extent, along.extent) < SHORTEST:
        return None
    size = max(DTYPES[load.dtype].itemsize for load in loads)
    side = min(16, vector_bytes // size)
    height = min(max(side, ROW_BYTES // size), -(-across.extent // side) * side)
    width = min(ROWS, -(-along.extent // side) * side)
    reads = tuple(Read(load, axis, f"across{k}") for k, (load, axis) in enumerate(loads.items()))
    tiles = Tiles(nest, across, along, reads, side, height, width)
    index = tuple(isub(Var(a.var, "i64"), tiles.start(a)) for a in (across, along))
    values: dict[Expr, Expr] = {r.load: Load(r.name, index, r.load.dtype) for r in reads}
    items = tuple(replace(i, expr=substituted(i.expr, values)) for i in nest.items)
    return replace(tiles, nest=replace(nest, items=items))


def crossing(load: Load, across: Axis, along: Axis) -> int | None:
    """The axis of the operand that the vectors walk, if ``across`` walks its rows."""
    if load.guard is not None or len(load.index) < 2 or not all(map(is_plain, load.index)):
        return None
    row, lane = Var(across.var, "i64"), Var(along.var, "i64")
    *front, last = load.index
    if steps(last, row) != 1 or lane in walk_all(last) or any(row in walk_all(i) for i in front):
        return None
    axes = [k for k, i in enumerate(front) if lane in walk_all(i)]
    if len(axes) != 1 or steps(front[axes[0]], lane) != 1:
        return None
    return axes[0]


def steps(index: Expr, var: Expr) -> int:
    """1 where the index is the variable, or that and a number; 0 elsewhere."""
    if index == var:
        return 1
    if isinstance(index, Op) and index.fn in ("add", "sub") and index.args[0] == var:
        return 0 if var in walk_all(index.args[1]) else 1
    return 0


def is_plain(index: Expr) -> bool:
    """Whether an index is made of loop variables by arithmetic: none that is read from memory,
    clipped or checked at each element.
    """
    return all(
        node.fn in PLAIN if isinstance(node, Op) else not isinstance(node, Load)
        for node in walk(index)
    )


def walk_all(expr: Expr) -> set[Expr]:
    return set(walk(expr))
