"""Groups that lower alike: twelve equal layers of a network are lowered once.

    alike(group, graph)        a key, equal for groups that become the same kernel

Comes in: a fused group and the graph it is in. Goes out: what a kernel depends on, with values as
numbers, and without the user's lines.
"""

from __future__ import annotations

from typing import Any

from tracejit.ir.graph import Graph, Value, atom_key, params_key
from tracejit.passes.groups import Group


def alike(group: Group, graph: Graph) -> Any:
    """All that the kernel of a fused group depends on."""
    number = {v: k for k, v in enumerate(group.inputs)}
    rows: list[Any] = []
    stack = list(reversed(group.roots))
    while stack:
        value = stack[-1]
        if value in number:
            stack.pop()
            continue
        node = graph.producer[value]
        waiting = [x for x in node.inputs if isinstance(x, Value) and x not in number]
        if waiting:
            stack += waiting
            continue
        operands = tuple(atom_key(x, number) for x in node.inputs)
        rows.append((node.prim, operands, params_key(node.params)))
        for out in node.outputs:
            number[out] = len(number)
    return (
        tuple(v.type for v in group.inputs),
        tuple(rows),
        tuple(number[v] for v in (*group.roots, *group.outputs)),
        len(group.roots),
        group.space,
        group.reduced,
        tuple(node.prim.name for node in group.nodes),
    )
