"""Bytes as the measure of a partition: which shared values are better stored than made again.

    worth_storing(partition)      values inside several groups whose operands are more than they are

Whether a value is made again by each of its readers is first decided by operations; here by bytes:
k kernels that each read b bytes to make it move k b, a stored value of v bytes moves (k + 1) v.
"""

from __future__ import annotations

from tracejit.ir.graph import Value
from tracejit.passes.groups import Group, Partition


def bytes_moved(partition: Partition) -> int:
    """Bytes that the groups read and write, each part of a structured node counted once."""
    return sum(
        sum(map(bytes_moved, group.parts)) if group.parts else group.nbytes
        for group in partition.groups
    )


def worth_storing(partition: Partition) -> frozenset[Value]:
    """Values that several groups make for themselves though a stored copy would move fewer bytes.

    Of nested ones only the outermost: the others are inside it.
    """
    makers: dict[Value, list[Group]] = {}
    for group in partition.groups:
        if group.kind == "fused":
            for node in group.nodes:
                for out in node.outputs:
                    makers.setdefault(out, []).append(group)
    found: set[Value] = set()
    inside: set[Value] = set()
    for value in reversed(list(makers)):
        groups = makers[value]
        if len(groups) < 2 or any(value in group.roots for group in groups) or value in inside:
            continue
        reads, made = _reach(partition, value, groups[0])
        if len(groups) * sum(v.type.nbytes for v in reads) > (len(groups) + 1) * value.type.nbytes:
            found.add(value)
            inside |= made
    return frozenset(found)


def _reach(partition: Partition, value: Value, group: Group) -> tuple[set[Value], set[Value]]:
    """The buffers that ``value`` is made from in a group, and the values on the way to them."""
    inputs = set(group.inputs)
    reads: set[Value] = set()
    made: set[Value] = set()
    stack = [value]
    while stack:
        v = stack.pop()
        if v in inputs:
            reads.add(partition.base(v))
        elif v not in made:
            made.add(v)
            stack += [x for x in partition.graph.producer[v].inputs if isinstance(x, Value)]
    return reads, made
