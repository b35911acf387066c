"""Passes work on the graphs inside a node (loop bodies, branches) as on the outer one.

map_subgraphs(node, drop_dead)  ->  the node with drop_dead applied to all its graphs
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tracejit.ir.graph import Graph, Node, walk_nodes


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


def has_effect(node: Node) -> bool:
    """Whether a node, or one in a graph inside it, must run whether or not its results are read."""
    if node.prim.effect or not node.params:
        return node.prim.effect
    return any(inner.prim.effect for sub in node.subgraphs for inner in walk_nodes(sub))
