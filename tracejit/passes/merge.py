"""Equal nodes merge: the same operation on the same operands is computed once.

    a = exp(x); b = exp(x); add(a, b)   ->   a = exp(x); add(a, a)

Effects and barriers do not merge; a barrier is what keeps the recomputation of a checkpoint apart
from the first one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tracejit.ir.graph import Atom, Graph, Literal, Node, Value, params_key
from tracejit.passes.fold import OPAQUE
from tracejit.passes.rule import COMMUTATIVE
from tracejit.passes.subgraphs import has_effect, map_subgraphs


def merge_equal(graph: Graph) -> Graph:
    """Keep the first of equal nodes, at any depth; the same object when all differ."""
    seen: dict[Any, tuple[Value, ...]] = {}
    env: dict[Value, Value] = {}
    nodes: list[Node] = []
    changed = False
    for node in graph.nodes:
        if env and any(x in env for x in node.inputs if isinstance(x, Value)):
            node = node.reading(renamed(node.inputs, env))
        deeper = map_subgraphs(node, merge_equal) if node.params else node
        changed = changed or deeper is not node
        node = deeper
        if node.prim.name in OPAQUE or has_effect(node):
            nodes.append(node)
            continue
        first = seen.setdefault(node_key(node), node.outputs)
        if first is node.outputs:
            nodes.append(node)
        else:
            env.update(zip(node.outputs, first, strict=True))
    if not env and not changed:
        return graph
    return Graph(graph.inputs, tuple(nodes), renamed(graph.outputs, env), graph.name)


def renamed(atoms: tuple[Atom, ...], env: Mapping[Value, Value]) -> tuple[Atom, ...]:
    return tuple(env.get(x, x) if isinstance(x, Value) else x for x in atoms)


def node_key(node: Node) -> Any:
    """Equal for nodes that compute the same. A Value is itself, a Literal its bits."""
    inputs: Any = node.inputs
    if len(inputs) == 2 and node.prim.name in COMMUTATIVE:
        a, b = inputs
        # Literals behind Values, Values by identity: any order will do that is always the same
        if isinstance(a, Literal) or (isinstance(b, Value) and id(b) < id(a)):
            inputs = (b, a)
    return (node.prim.name, inputs, params_key(node.params) if node.params else ())
