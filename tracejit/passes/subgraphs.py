"""Passes work on the graphs inside a node (loop bodies, branches) as on the outer one.

map_subgraphs(node, drop_dead)      the node with drop_dead applied to all its graphs
replaced(graph, function, rule)     what ``rule`` writes in place of nodes, inner graphs too
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from tracejit.ir.build import Builder, building
from tracejit.ir.graph import Atom, Graph, Node, Value, walk_nodes

#: what stands for a node's result, or a tuple for its results, given its operands and what stands
#: for values so far; None where the node stays
Rule = Callable[[Node, tuple[Atom, ...], dict[Value, Atom]], Any]


def map_subgraphs(node: Node, function: Callable[[Graph], Graph]) -> Node:
    """``node`` with ``function`` applied to its graphs; the same object when none changed."""
    if not node.subgraphs:
        return node
    changed: dict[str, Any] = {}
    for name, value in node.params.items():
        if isinstance(value, Graph):
            new: Any = function(value)
            if new is not value:
                changed[name] = new
        elif isinstance(value, tuple) and any(isinstance(item, Graph) for item in value):
            new = tuple(function(item) if isinstance(item, Graph) else item for item in value)
            if any(a is not b for a, b in zip(new, value, strict=True)):
                changed[name] = new
    return replace(node, params={**node.params, **changed}) if changed else node


def replaced(graph: Graph, function: Callable[[Graph], Graph], rule: Rule) -> Graph:
    """``graph`` with what ``rule`` writes in place of nodes, and ``function`` applied to the graphs
    inside of others; the same object when nothing changed.
    """
    builder = Builder()
    env: dict[Value, Atom] = {}
    changed = False

    def standing(xs: Sequence[Atom]) -> tuple[Atom, ...]:
        return tuple(env.get(x, x) if isinstance(x, Value) else x for x in xs)

    with building(builder):
        for node in graph.nodes:
            inner = map_subgraphs(node, function)
            inputs = standing(node.inputs)
            builder.at = node.at
            found = rule(node, inputs, env)
            changed |= inner is not node or found is not None
            if found is None:
                builder.nodes.append(replace(inner, inputs=inputs))
                continue
            results = found if isinstance(found, tuple) else (found,)
            for old, new in zip(node.outputs, results, strict=True):
                env[old] = new
                if isinstance(new, Value) and not new.name:
                    new.name = old.name
    if not changed:
        return graph
    return replace(graph, nodes=tuple(builder.nodes), outputs=standing(graph.outputs))


def has_effect(node: Node) -> bool:
    """Whether a node, or one in a graph inside it, must run whether or not its results are read."""
    if node.prim.effect or not node.params:
        return node.prim.effect
    return any(inner.prim.effect for sub in node.subgraphs for inner in walk_nodes(sub))


def without_effects(graph: Graph) -> Graph:
    """``graph`` less its effects, for a run that only asks for values; the same object when it has
    none.
    """
    nodes = tuple(map_subgraphs(n, without_effects) for n in graph.nodes if not n.prim.effect)
    same = len(nodes) == len(graph.nodes) and all(
        a is b for a, b in zip(nodes, graph.nodes, strict=True)
    )
    return graph if same else replace(graph, nodes=nodes)
