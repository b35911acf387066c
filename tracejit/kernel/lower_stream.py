"""Loops that move more than they compute: time outside, neighbours inside, the state in a block of
fast memory.

    writer = StreamWriter(form, nest, lanes, steps)     if ``is_stream(form, nest)``

    par chunk in idiv(add(n0, 8191), 8192):
      s0: f32[8192] scratch
      vec(16x4) i0 in ...: s0[sub(i0, mul(chunk, 8192))] = 0.0
      seq step in steps:
        vec(16x4) i0 in mul(chunk, 8192)..min(n0, add(mul(chunk, 8192), 8192)):
          z0: f32 = s0[sub(i0, mul(chunk, 8192))]
          t1: f32 = add(mul(0.9, z0), mul(0.1, x0[step, i0]))
          y0[step, i0] = t1
          s0[sub(i0, mul(chunk, 8192))] = t1

With the state in registers (``lower_loop.py``) a step reads and writes a few vectors of each row of
memory, far apart. Here it walks along the row; state from the nearest cache costs less than that.
"""

from __future__ import annotations

from tracejit.ir.expr import Expr, Load, Op, Var, const, iadd, imul, isub, walk
from tracejit.ir.types import DTYPES
from tracejit.kernel.loop_writer import LoopWriter
from tracejit.kernel.lower import LONG, Block, loops
from tracejit.kernel.nest import Nest, accesses
from tracejit.kernel.nodes import Local, Loop, Scratch, Set, Stmt, Store
from tracejit.passes.loop_form import Cell, LoopForm

#: elements of a block, at least: the longer a walk along a row, the better memory keeps up
LEAST = 8192
#: larger ones leave so many blocks for threads to share
BLOCKS = 16
#: bytes of the state of a block, at most
STATE_BYTES = 1 << 18
#: what is moved has to exceed the caches of a core
LARGE = 2 << 20
#: operations that a core computes while it moves one element
OPERATIONS = 4


def is_stream(form: LoopForm, nest: Nest) -> bool:
    """Whether a loop spends its time on reading and writing a row of memory at each step."""
    if len(nest.axes) != 1 or form.cond is not None or form.moving is not None or form.inner:
        return False
    cells = (*form.carries, *form.stacked)
    if not form.carries or any(cell.uniform for cell in cells):
        return False
    if LEAST * state_bytes(form) > STATE_BYTES:
        return False
    point = Var(nest.axes[0].var, "i64")
    rows = {
        (name, index)
        for name, index in accesses(nest)
        if form.step in index and point in index and name
    }
    operations = {n for e in form.exprs() for n in walk(e) if isinstance(n, Op)}
    if any(op.fn in LONG for op in operations) or len(operations) > OPERATIONS * len(rows):
        return False
    return bool(rows) and 4 * len(rows) * nest.axes[0].extent * form.length >= LARGE


def state_bytes(form: LoopForm) -> int:
    """Bytes of the state of one point."""
    return sum(DTYPES[cell.dtype].itemsize for cell in form.carries)


class StreamWriter(LoopWriter):
    """Writes such a loop."""

    def write(self) -> tuple[Stmt, ...]:
        (axis,), form = self.nest.axes, self.form
        size = self.block_size(axis.extent)
        begin = imul(Var("chunk", "i64"), size)
        end = Op("min", (const(axis.extent), iadd(begin, size)), "i64")
        self.place = isub(Var(axis.var, "i64"), begin)
        chunk = Block(None, 1, ())
        times = self.vectors(0)

        def row(block: Block) -> Loop:
            (loop,) = loops((axis,), block.statements, self.width, times)
            assert isinstance(loop, Loop)
            return Loop("vec", axis.var, begin, end, loop.body, self.width, times)

        first = Block(chunk, 2, (axis,))
        for cell in form.carries:
            first.statements.append(self.save(cell, self.bind(first, cell.first)))
        step = Block(chunk, 2, ())
        step.bound[form.step] = form.step
        point = Block(step, 3, (axis,))
        for cell in form.carries:
            point.bound[cell.var] = cell.var
            point.statements.append(Local(cell.name, cell.dtype, self.saved(cell)))
        self.step = point
        self.write_step(form, point)
        by_name = {cell.name: cell for cell in form.carries}
        point.statements = [
            self.save(by_name[s.name], s.value) if isinstance(s, Set) else s
            for s in point.statements
        ]
        step.statements.append(row(point))
        time = self.all_steps(form, step, const(0), self.steps, self.steps)
        last = Block(chunk, 2, (axis,))
        for cell, item in zip(form.carries, self.stored, strict=False):
            if item.out is not None:
                self.put(last, cell, item, self.saved(cell))
        body: list[Stmt] = [Scratch(self.name_of(c), c.dtype, (size,)) for c in form.carries]
        body += [*chunk.statements, row(first), *time, *([row(last)] if last.statements else [])]
        count = Op(
            "idiv", (Op("add", (const(axis.extent), const(size - 1)), "i64"), const(size)), "i64"
        )
        return (Loop("par", "chunk", const(0), count, tuple(body)),)

    def block_size(self, extent: int) -> int:
        """Points of a block."""
        size = LEAST
        while size * 2 * BLOCKS <= extent and size * 2 * state_bytes(self.form) <= STATE_BYTES:
            size *= 2
        return size

    def name_of(self, cell: Cell) -> str:
        return "s" + cell.name[1:]

    def saved(self, cell: Cell) -> Expr:
        """The cell's value in its block."""
        return Load(self.name_of(cell), (self.place,), cell.dtype)

    def save(self, cell: Cell, value: Expr) -> Store:
        return Store(self.name_of(cell), (self.place,), value)
