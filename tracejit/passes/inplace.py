"""Which values of a partition may take each other's memory, one after the other.

    chains = Chains(partition)
    chains.of(y)        (y, x.at[i].set(v), x): each is made in the memory of the next

A group makes its result in an operand's memory where it updates that operand (``scatter``), where a
map reads it only at the element it writes, or where a loop does so with a carry. All other groups
that read the operand must run earlier.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tracejit.ir.graph import Graph, Value
from tracejit.passes.groups import Group, Partition
from tracejit.passes.space import reads_in_place


class Chains:
    """Chains of memory of one partition; a value is in at most one of them."""

    def __init__(self, partition: Partition) -> None:
        self.partition = partition
        self.made = {out: k for k, group in enumerate(partition.groups) for out in group.outputs}
        self.readers: dict[Value, list[int]] = {}
        for k, group in enumerate(partition.groups):
            for v in group.inputs:
                self.readers.setdefault(partition.base(v), []).append(k)
        graph = partition.graph
        self.results = {partition.base(y) for y in graph.outputs if isinstance(y, Value)}
        self.writable = {*self.made, *graph.inputs}
        self.taken: dict[Value, Value] = {}

    def of(self, out: Value) -> tuple[Value, ...]:
        """``out``, the value it is made from in its memory, and so on."""
        chain = [out]
        while (source := self.source(chain[-1])) is not None:
            chain.append(source)
        return tuple(chain)

    def source(self, out: Value) -> Value | None:
        """The value whose memory ``out`` may take, None where it needs its own."""
        k = self.made.get(out)
        if k is None:
            return None
        for v in operands_in_place(self.partition.groups[k], self.partition, out):
            base = self.partition.base(v)
            if (
                base in self.writable
                and base not in self.results
                and max(self.readers[base]) == k
                and self.taken.setdefault(base, out) is out
            ):
                return base
        return None


def operands_in_place(group: Group, partition: Partition, out: Value) -> Iterator[Value]:
    """Operands of a group whose memory ``out`` may take if nobody reads them later."""
    if group.kind == "fused":
        for v in group.inputs:
            same = v.type.nbytes == out.type.nbytes
            if same and v.type.dtype.itemsize == out.type.dtype.itemsize:
                if reads_in_place(group, partition, v, out):
                    yield v
        return
    k = updated_operand(group, out)
    if k is None:
        return
    bases = [partition.base(x) if isinstance(x, Value) else None for x in group.node.inputs]
    updated = group.node.inputs[k]
    if isinstance(updated, Value) and bases.count(bases[k]) == 1:
        yield updated


def updated_operand(group: Group, out: Value) -> int | None:
    """The operand that ``out`` is an update of: the first one of a scatter, a loop's carry."""
    node = group.node
    if group.updates:
        return 0 if out is node.outputs[0] else None
    if group.kind == "control" and node.prim.name in ("scan", "while"):
        body, k = group.parts[-1], node.outputs.index(out)
        if k < carried(body.graph, node.params) and carry_in_place(
            body, node.params["n_consts"], k
        ):
            return int(node.params["n_consts"]) + k
    return None


def carried(body: Graph, params: Mapping[str, Any]) -> int:
    """How many values a loop carries."""
    return int(params.get("n_carry", len(body.outputs)))


def carry_in_place(body: Partition, first: int, k: int) -> bool:
    """Whether the ``k``-th carry of a loop's body, its input ``first + k``, is updated in its own
    memory.
    """
    y = body.graph.outputs[k]
    assert isinstance(y, Value)
    return Chains(body).of(body.base(y))[-1] is body.graph.inputs[first + k]
