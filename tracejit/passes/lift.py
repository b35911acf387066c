"""Array constants of loop bodies become operands of the loops: a body has no memory of its own.

    lift_constants(graph)

    scan(%x, body={%c = constant(...); ...}, n_consts=0)
        ->  %c = constant(...); scan(%c, %x, body={...}, n_consts=1)

This comes after all rules, which look for constants where they are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tracejit.ir import build
from tracejit.ir.graph import Atom, Graph, Node, Value
from tracejit.ops.layout import constant


def lift_constants(graph: Graph) -> Graph:
    """``graph`` with the array constants of its loops' bodies in front of the loops."""
    if not any(node.prim.name in ("scan", "while") for node in graph.nodes):
        return graph
    nodes: list[Node] = []
    for node in graph.nodes:
        if node.prim.name in ("scan", "while"):
            with build.building() as b:
                b.at = node.at
                node = lifted(node)
            nodes += b.nodes
        nodes.append(node)
    return replace(graph, nodes=tuple(nodes))


def lifted(node: Node) -> Node:
    """A loop with the array constants of its graphs as operands; they are made in the current
    builder."""
    names = [name for name in ("cond", "body") if name in node.params]
    own = {name: array_constants(node.params[name]) for name in names}
    every = [c for name in names for c in own[name]]
    if not every:
        return node
    n = node.params["n_consts"]
    given: list[Atom] = [constant(value=c.params["value"]) for c in every]
    graphs = {name: taking(node.params[name], n, own[name], every) for name in names}
    params = {**node.params, **graphs, "n_consts": n + len(every)}
    return replace(node, inputs=(*node.inputs[:n], *given, *node.inputs[n:]), params=params)


def array_constants(graph: Graph) -> list[Node]:
    """The constants of a graph that are no single numbers."""
    found = (node for node in graph.nodes if node.prim.name == "constant")
    return [node for node in found if node.outputs[0].type.size > 1]


def taking(graph: Graph, n_consts: int, own: Sequence[Node], every: Sequence[Node]) -> Graph:
    """``graph`` with its ``own`` constants as operands behind the consts, among those of other
    graphs."""
    taken = (c.outputs[0] if c in own else Value(c.outputs[0].type) for c in every)
    inputs = (*graph.inputs[:n_consts], *taken, *graph.inputs[n_consts:])
    nodes = tuple(node for node in graph.nodes if node not in own)
    return Graph(inputs, nodes, graph.outputs, graph.name)
