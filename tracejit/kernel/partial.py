"""Reductions to few results, in two stages: chunks shared among threads leave partial results, a
second kernel combines them.

    lower_parts(group, partition, vector_bytes=64)     # Lowered(..., then=Lowered(...)), or None

How many chunks there are follows from the extents, never from the threads, and partial results are
combined in their order: a sum has the same bits every time. A reduction that needs the result of
another (a variance, that of a mean) follows as two more kernels.

    par part in idiv(add(n0, 16383), 16384):           s0: f32 = 0.0
      s0: f32 = 0.0                                    vec(16x4) part in n1:
      vec(16x4) i0 in mul(part, 16384)..min(...):        s0 add= part0[part]
        s0 add= x0[i0]                                 y0[] = s0
      part0[part] = s0
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

from tracejit.ir.expr import Expr, Load, Op, Var, const, iadd, imul, walk
from tracejit.ir.types import DTYPES, TensorType
from tracejit.kernel.lower import (
    ENOUGH,
    HALF,
    Block,
    Lowered,
    Writer,
    checked_lines,
    comment_of,
    kernel_name,
    loops,
)
from tracejit.kernel.nest import Axis, Item, Nest, collapse, make_nest
from tracejit.kernel.nodes import Kernel, Local, Loop, Param, Stmt, Store
from tracejit.kernel.sizes import SMALL, generalise
from tracejit.kernel.split import split
from tracejit.passes.groups import Group, Partition

#: elements of a chunk, at least; and the most chunks: fewer where each leaves a row of results
CHUNK, PARTS, ROWS = 1 << 14, 64, 32
#: columns that one trip of a vector loop takes, about
COLUMNS = 64
#: stands for an extent while a kernel is written: larger than any
MANY = 1 << 50
#: elements that do not stay near the core from one reduction to the next
FAR = 1 << 21
#: steps of the chunked axis in a chunk, at least: partial results are few beside what is read
LEAST = 16
#: rows that are read together where results are many
SLAB = 8


def lower_parts(group: Group, partition: Partition, vector_bytes: int) -> Lowered | None:
    """The kernels of a large reduction to few results; None where one kernel does as well."""
    if not group.reduced:
        return None
    nest = collapse(make_nest(group, partition))
    levels = {item.level for item in nest.items}
    if "fold" not in levels or "full" in levels:
        return None
    if prod(a.extent for a in nest.axes) < 4 * CHUNK or shared(nest) >= ENOUGH:
        return None
    parts, axis, length = max(
        ((-(-a.extent // n), a, n) for a in nest.inner for n in (chunk_of(nest, a),)),
        key=lambda choice: choice[0],
    )
    return _Chain(group, nest, vector_bytes, axis, length, parts).lowered() if parts > 1 else None


def chunk_of(nest: Nest, axis: Axis) -> int:
    """How many steps of an axis a chunk is, if that axis is cut: a power of two."""
    total = prod(a.extent for a in nest.axes)
    most = PARTS if axis is nest.axes[-1] or not nest.kept else ROWS
    steps = max(CHUNK, -(-total // most)) * axis.extent // max(total, 1)
    if axis is nest.axes[-1]:  # the vectors lie along it
        least = 32 * LEAST
    else:
        least = max(1, LEAST * axis.extent // prod(a.extent for a in nest.inner))
    return 1 << (max(steps, least) - 1).bit_length()


def shared(nest: Nest) -> int:
    """About how many pieces the one kernel of this nest has for threads; 1 where another order of
    reading is better anyway.
    """
    kept = nest.kept
    if not kept:
        return 1
    far = prod(a.extent for a in nest.axes) >= FAR
    again = any(item.level == "fold" and item.stage for item in nest.items)
    # one result, or one block of columns, after the other takes pieces from all over the operand
    if len(kept) > 1 or nest.axes[-1] is not kept[-1]:
        return 1 if far and nest.axes[0].reduced and not again else kept[0].extent
    return -(-kept[0].extent // COLUMNS) if len(nest.axes) > 2 or (again and not far) else 1


class _Chain:
    """Writes the kernels of a nest, two for each stage."""

    def __init__(
        self,
        group: Group,
        nest: Nest,
        vector_bytes: int,
        axis: Axis,
        length: int,
        parts: int,
    ) -> None:
        self.group = group
        self.nest = nest
        self.vector_bytes = vector_bytes
        self.axis = axis
        self.length = length
        self.parts = parts
        # another number of chunks is the same kernel: few of them too are a size, not a constant
        self.extent = parts if parts >= SMALL else MANY + parts
        self.columns = bool(nest.kept) and nest.axes[-1] is nest.kept[-1]
        self.scratch: dict[str, TensorType] = {}
        self.shapes = dict(nest.shapes)
        self.dtypes = dict(nest.dtypes)
        # a reduction that is a result of the group is read from there
        self.at = {i.fold: i.out for i in nest.items if i.level == "fold" and i.out is not None}

    def lowered(self) -> Lowered:
        kernels: list[Kernel] = []
        last = max(item.stage for item in self.nest.items if item.level == "fold")
        for stage in range(last + 1):
            folds = [i for i in self.nest.items if i.level == "fold" and i.stage == stage]
            if folds:
                kernels.append(self.partial(folds))
                rows = [i for i in self.nest.items if i.level == "row"] if stage == last else []
                kernels.append(self.combined(folds, rows))
        chain: Lowered | None = None
        for kernel in reversed(kernels):
            general, sizes = generalise(split(kernel))
            sizes = tuple(self.parts if n == self.extent else n for n in sizes)
            chain = Lowered(
                general,
                self.group.inputs,
                self.group.outputs,
                sizes,
                checked_lines(self.group),
                tuple(self.scratch.values()),
                tuple(self.place(p.name) for p in kernel.params),
                chain,
            )
        assert chain is not None
        return chain

    def place(self, name: str) -> int:
        """Which of the group's inputs, outputs and partial results a parameter is."""
        names = (*self.nest.inputs, *self.nest.outputs, *self.scratch)
        return names.index(self.at.get(name, name))

    def buffer(self, name: str, dtype: str, shape: tuple[int, ...]) -> None:
        """Memory between the kernels."""
        self.shapes[name], self.dtypes[name] = shape, dtype
        real = tuple(self.parts if n == self.extent else n for n in shape)
        self.scratch[name] = TensorType(DTYPES[dtype], real)

    def part_index(self, kept: Sequence[Expr]) -> tuple[Expr, ...]:
        """Where a partial result lies: side by side for the lanes that combine them."""
        part = Var("part", "i64")
        return (part, *kept) if self.columns else (*kept, part)

    def partial(self, folds: Sequence[Item]) -> Kernel:
        """Each chunk folded on its own."""
        kept = tuple(a.extent for a in self.nest.kept)
        shape = (self.extent, *kept) if self.columns else (*kept, self.extent)
        for item in folds:
            dtype = "f32" if item.dtype in HALF else item.dtype
            self.buffer(f"part_{item.fold}", dtype, shape)
        nest = replace(self.nest, items=tuple(replace(i, stage=0) for i in folds))
        body = _Partial(nest, self.vector_bytes, self).write()
        return self.kernel("parts", folds, [f"part_{i.fold}" for i in folds], body)

    def combined(self, folds: Sequence[Item], rows: Sequence[Item]) -> Kernel:
        """Partial results folded in their order; what is made of the results."""
        kept = self.nest.kept
        index = self.part_index([Var(a.var, "i64") for a in kept])
        items: list[Item] = []
        for item in folds:
            name = f"part_{item.fold}"
            if item.out is None:
                self.buffer(item.fold, item.dtype, tuple(a.extent for a in kept))
            expr = Load(name, index, self.dtypes[name])
            items.append(replace(item, stage=0, expr=expr, out=item.out or item.fold))
        outs = [item.out for item in (*items, *rows) if item.out is not None]
        items += [replace(item, stage=1) for item in rows]
        part = Axis("part", self.extent, True)
        axes = (part, *kept) if self.columns else (*kept, part)
        nest = Nest(axes, tuple(items), self.shapes, self.dtypes, (), ())
        body = Writer(nest, self.vector_bytes).write()
        return self.kernel("whole", items, outs, body, {item.fold for item in folds})

    def kernel(
        self,
        stem: str,
        items: Sequence[Item],
        outs: Sequence[str],
        body: tuple[Stmt, ...],
        own: set[str] | frozenset[str] = frozenset(),
    ) -> Kernel:
        reads = dict.fromkeys(
            n.buffer for item in items for n in walk(item.expr) if isinstance(n, Load)
        )
        params = [(n, "in") for n in reads if n not in own] + [(n, "out") for n in outs]
        return Kernel(
            f"{kernel_name(self.group)}_{stem}",
            (),
            tuple(Param(n, self.dtypes[n], self.shapes[n], role) for n, role in params),
            body,
            comment_of(self.group),
        )


class _Partial(Writer):
    """Writes the loop over chunks: a nest whose reductions end at the chunk's end."""

    def __init__(self, nest: Nest, vector_bytes: int, chain: _Chain) -> None:
        super().__init__(nest, vector_bytes)
        self.chain = chain
        self.slabs = chain.columns and len(nest.axes) == 2 and nest.axes[-1].extent > COLUMNS

    def write(self) -> tuple[Stmt, ...]:
        kept, inner = self.nest.kept, self.nest.inner
        lanes = kept[-1:] if self.chain.columns else ()
        outside = Block(None, 1, kept[: len(kept) - len(lanes)])
        row = Block(outside, 2, lanes) if lanes else outside
        folds, times = self.of_stage(0, "fold"), self.unroll(self.nest.items)
        slabs = self.slabs
        self.declare(row, folds)
        if slabs:
            self.resume(outside, row, folds)
        block = Block(row, row.depth + 1, inner)
        self.write_items(block, folds, (), 0)
        width = 0 if lanes else self.width
        row.statements += [self.cut(s) for s in loops(inner, block.statements, width, times)]
        self.finish(row, folds)
        if slabs:
            slab = loops(lanes, row.statements, self.width, times)
            stop = const(self.chain.length // SLAB)
            outside.statements.append(Loop("seq", "slab", const(0), stop, tuple(slab)))
        elif lanes:
            outside.statements += loops(lanes, row.statements, self.width, times)
        count = Op("idiv", (self.extent(self.chain.length - 1), const(self.chain.length)), "i64")
        body = loops(kept[: len(kept) - len(lanes)], outside.statements)
        return (Loop("par", "part", const(0), count, tuple(body)),)

    def resume(self, outside: Block, row: Block, folds: Sequence[Item]) -> None:
        """Whole rows are read, a slab of a few at a time: in between, results so far lie where
        the chunk's result will.
        """
        first: list[Stmt] = []
        for k, item in enumerate(folds):
            local = row.statements[k - len(folds)]
            assert isinstance(local, Local)
            index = self.chain.part_index(self.bind_index(row, item.index))
            name = f"part_{item.fold}"
            first.append(Store(name, index, local.value))
            load = Load(name, index, local.dtype)
            row.statements[k - len(folds)] = replace(local, value=load)
        outside.statements += loops(self.nest.kept, first, self.width, 1)

    def extent(self, more: int) -> Expr:
        return Op("add", (const(self.chain.axis.extent), const(more)), "i64")

    def cut(self, stmt: Stmt) -> Stmt:
        """The loop over the chunked axis, over one chunk."""
        if not isinstance(stmt, Loop):
            return stmt
        if stmt.var != self.chain.axis.var:
            return replace(stmt, body=tuple(self.cut(s) for s in stmt.body))
        start, size = imul(Var("part", "i64"), self.chain.length), self.chain.length
        if self.slabs:
            start, size = iadd(start, imul(Var("slab", "i64"), SLAB)), SLAB
        end = Op("min", (const(self.chain.axis.extent), iadd(start, size)), "i64")
        return replace(stmt, start=start, stop=end)

    def finish(self, block: Block, folds: Sequence[Item]) -> None:
        for item in folds:
            total = self.accumulators[item.read]
            index = self.chain.part_index(self.bind_index(block, item.index))
            block.statements.append(Store(f"part_{item.fold}", index, total))
