"""Which schedule a fused group gets on a GPU.

lower_fused(group, partition, target)     Lowered(kernel with block and thread loops, ...)

maps         maps.py, or transpose.py where an operand is read across its rows
rows         rows.py: the last axes are reduced
other        maps.py, General: a thread for each result
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

from tracejit.ir.expr import Load, Var, walk
from tracejit.kernel.gpu.chain import chain
from tracejit.kernel.gpu.maps import General, Maps
from tracejit.kernel.gpu.rows import Rows
from tracejit.kernel.gpu.target import GpuTarget
from tracejit.kernel.gpu.transpose import Transposed, crossings
from tracejit.kernel.gpu.writer import GpuWriter
from tracejit.kernel.lower import Lowered, checked_lines, comment_of, kernel_name
from tracejit.kernel.nest import Axis, Nest, collapse, make_nest
from tracejit.kernel.unroll import unroll_short
from tracejit.passes.groups import Group, Partition

#: rows of so many elements are cut into chunks where they are fewer than FEW: a block that reads
#: 64 KB takes about as long as handing on parts does
LONG = 1 << 14
FEW = 128


def lower_fused(group: Group, partition: Partition, target: GpuTarget) -> Lowered:
    """The kernels of a fused group."""
    nest = unroll_short(along_rows(collapse(make_nest(group, partition))))
    if in_chunks(nest, target):
        return chain(group, nest, target)
    writer = schedule(nest, target)
    kernel, sizes = writer.kernel(kernel_name(group), comment_of(group))
    return Lowered(kernel, group.inputs, group.outputs, sizes, checked_lines(group))


def along_rows(nest: Nest) -> Nest:
    """A nest of reductions, the last axis of which is the one that most operands' rows lie along:
    where nothing is stored for each point of the space, loops may stand in any order.
    """
    if not nest.inner or any(item.level == "full" for item in nest.items):
        return nest
    loads = {n for item in nest.items for n in walk(item.expr) if isinstance(n, Load) and n.index}
    buffers = [load for load in loads if load.buffer in nest.inputs]

    def rows(axis: Axis) -> int:
        return sum(load.index[-1] == Var(axis.var, "i64") for load in buffers)

    best = max(reversed(nest.axes), key=rows)
    others = tuple(axis for axis in nest.axes if axis != best)
    return collapse(replace(nest, axes=(*others, best)))


def in_chunks(nest: Nest, target: GpuTarget) -> bool:
    """Whether a nest is reductions one after the other, each cut into chunks."""
    if not nest.inner or any(axis.extent == 0 for axis in nest.axes):
        return False
    if not any(item.level == "fold" for item in nest.items):
        return False
    maps = any(item.level == "full" for item in nest.items)
    if not nest.axes[-1].reduced:
        return not maps
    rows = prod(a.extent for a in nest.kept)
    length = prod(a.extent for a in nest.inner)
    if maps:
        return rows < FEW and length >= LONG and not Rows(nest, target).keeps
    # where the batch is reduced, it is no constant
    return nest.axes[0].reduced or (rows < FEW and length >= LONG)


def schedule(nest: Nest, target: GpuTarget) -> GpuWriter:
    """What writes the one kernel of a nest."""
    if all(item.level == "full" for item in nest.items):
        found = crossings(nest)
        return Maps(nest, target) if found is None else Transposed(nest, target, *found)
    if not nest.inner or any(axis.extent == 0 for axis in nest.axes):
        return General(nest, target)
    return Rows(nest, target) if nest.axes[-1].reduced else General(nest, target)
