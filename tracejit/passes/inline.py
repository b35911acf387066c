"""Calls are replaced by what they call: nested jits, custom derivatives, linear solves,
checkpoints.

    %3 = call(%0, graph={%a = sin(%x); return %a})   ->   %3 = sin(%0)

Passes run when all transforms are done, so the boundaries that only transforms need may go. What
a checkpoint computes twice stays apart from the first time by its barriers.
"""

from __future__ import annotations

from collections.abc import Callable

from tracejit.ir.build import Builder
from tracejit.ir.graph import Atom, Graph, Node, Value
from tracejit.passes.subgraphs import map_subgraphs
from tracejit.transform.custom import tangent_graph

#: operation -> the param that holds what it computes
_BODY = {
    "call": "graph",
    "custom_jvp_call": "body",
    "custom_vjp_call": "body",
    "checkpoint": "body",
    "linear_call": "body",
    "custom_linear_solve": "solve",
}


def inline_calls(graph: Graph) -> Graph:
    """Put called graphs in the place of calls, at any depth; the same object without calls."""
    done: dict[int, tuple[Graph, Graph]] = {}

    def walk(graph: Graph) -> Graph:
        if id(graph) not in done:
            done[id(graph)] = (graph, inlined(graph, walk))
        return done[id(graph)][1]

    return walk(graph)


def inlined(graph: Graph, inside: Callable[[Graph], Graph]) -> Graph:
    """``graph`` without calls; ``inside`` does the same for the graphs it holds."""
    builder = Builder()
    env: dict[Value, Atom] = {}
    changed = False
    for node in graph.nodes:
        body = called(node)
        ins = tuple(env.get(x, x) if isinstance(x, Value) else x for x in node.inputs)
        if body is not None:
            changed = True
            outs = builder.inline(inside(body), ins)
            env.update(zip(node.outputs, outs, strict=True))
            continue
        if env and ins != node.inputs:
            node = node.reading(ins)
        deeper = map_subgraphs(node, inside) if node.params else node
        changed = changed or deeper is not node
        builder.nodes.append(deeper)
    if not changed:
        return graph
    outs = tuple(env.get(x, x) if isinstance(x, Value) else x for x in graph.outputs)
    return Graph(graph.inputs, tuple(builder.nodes), outs, graph.name)


def called(node: Node) -> Graph | None:
    """The graph that ``node`` is a call of, or None."""
    if node.prim.name == "checkpoint_tangent":
        return tangent_graph(**node.params)
    name = _BODY.get(node.prim.name)
    return None if name is None else node.params[name]
