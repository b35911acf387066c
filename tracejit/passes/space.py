"""Spaces of groups: the indices at which a group's values are computed and read.

index = space_index((60, 10))                        (i0, i1)
index_for((60,), index, (60, 10), reduced=(1,))      (i0,)
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

from tracejit.ir.expr import Expr, Load, Var, walk
from tracejit.ir.graph import Graph, Value
from tracejit.passes.groups import Group, Partition
from tracejit.passes.pull import ZERO, Puller


def reads_in_place(group: Group, partition: Partition, value: Value, out: Value) -> bool:
    """Whether ``out`` may take the memory of ``value``: a map reads it only at the element it
    writes, and before that.
    """
    if group.kind != "fused" or group.reduced or value.type.shape != group.space:
        return False
    base = partition.base(value)
    if any(v is not value and partition.base(v) is base for v in group.inputs):
        return False  # the same memory is read in another shape too
    index, name = space_index(group.space), _name(group, value)
    # a kernel reads once what several roots read: what is first read by a root after ``out`` is
    # read too late
    read = written = False
    for root, loads in zip(group.roots, root_reads(group, partition.graph), strict=True):
        reads = [load for load in loads if load.buffer == name]
        if any(load.index != index or load.guard is not None for load in reads):
            return False
        if reads and written and not read:
            return False
        read, written = read or bool(reads), written or root is out
    return True


def _name(group: Group, value: Value) -> str:
    return f"x{group.inputs.index(value)}"


#: what ``root_reads`` found: it is asked for every operand and result of a group
_reads: WeakKeyDictionary[Group, tuple[tuple[Load, ...], ...]] = WeakKeyDictionary()


def root_reads(group: Group, graph: Graph) -> tuple[tuple[Load, ...], ...]:
    """For each root of a map, what it reads of the group's inputs (``x0``, ``x1`` ...) and of roots
    before it.
    """
    found = _reads.get(group)
    if found is None:
        names = {v: f"root{k}" for k, v in enumerate(group.roots)}
        names.update((v, f"x{k}") for k, v in enumerate(group.inputs))
        puller = Puller(graph.producer, names.__contains__, names.__getitem__)
        index = space_index(group.space)
        exprs = [pull_root(puller, graph, root, index, group.space, ()) for root in group.roots]
        found = tuple(tuple(n for n in walk(e) if isinstance(n, Load)) for e in exprs)
        _reads[group] = found
    return found


def is_trailing(space: tuple[int, ...], axes: tuple[int, ...]) -> bool:
    """Whether ``axes`` are the last axes of ``space`` (axes of one element do not count)."""
    kept = [a for a, n in enumerate(space) if a not in axes and n != 1]
    return (
        not kept
        or not axes
        or max(kept) < min((a for a in axes if space[a] != 1), default=len(space))
    )


def space_index(space: tuple[int, ...]) -> tuple[Expr, ...]:
    """One variable per axis; axes of one element have the index 0."""
    return tuple(ZERO if n == 1 else Var(f"i{axis}", "i64") for axis, n in enumerate(space))


def index_for(
    shape: tuple[int, ...],
    index: tuple[Expr, ...],
    space: tuple[int, ...],
    reduced: tuple[int, ...],
) -> tuple[Expr, ...]:
    """The index into a value of the group at a point of the space: all of it, or without the
    reduced axes.
    """
    if shape == space:
        return index
    if len(shape) == len(space):
        return tuple(ZERO if axis in reduced else i for axis, i in enumerate(index))
    return tuple(i for axis, i in enumerate(index) if axis not in reduced)


def pull_root(
    puller: Puller,
    graph: Graph,
    root: Value,
    index: tuple[Expr, ...],
    space: tuple[int, ...],
    reduced: tuple[int, ...],
) -> Expr:
    """The element of a root at a point of the space; of its operand, for a reduction."""
    node = graph.producer[root]
    if node.prim.reduce is not None:
        return puller.read(node.inputs[0], index)
    return puller.element(root, index_for(root.type.shape, index, space, reduced))
