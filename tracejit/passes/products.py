"""Products computed in the order in which they are read.

    transpose(dot_general(a, b))   ->  dot_general(b, a), where only the transpose reads the product

Gradients of weights inside loops are written transposed: without this, each step moves a matrix.
"""

from __future__ import annotations

from dataclasses import replace

from tracejit.ir.graph import Atom, Graph, Node, Value
from tracejit.ops.dot import dot_general
from tracejit.ops.layout import transpose
from tracejit.passes.subgraphs import map_subgraphs


def swap_transposed(graph: Graph) -> Graph:
    """``graph`` with operands of products exchanged where the result is only read transposed."""
    nodes: list[Node] = []
    gone: set[Node] = set()
    outputs = set(graph.outputs)
    for node in graph.nodes:
        found = _product_of(node, graph, outputs)
        if found is None:
            nodes.append(map_subgraphs(node, swap_transposed))
            continue
        gone.add(found)
        (contract, batch) = found.params["dimension_numbers"]
        swapped = (contract[::-1], batch[::-1])
        params = {**found.params, "dimension_numbers": swapped}
        nodes.append(Node(dot_general, found.inputs[::-1], params, node.outputs, found.at))
    kept = tuple(node for node in nodes if node not in gone)
    unchanged = len(kept) == len(graph.nodes) and all(
        a is b for a, b in zip(kept, graph.nodes, strict=True)
    )
    return graph if unchanged else replace(graph, nodes=kept)


def _product_of(node: Node, graph: Graph, outputs: set[Atom]) -> Node | None:
    """The product that ``node`` transposes whole, when nothing else reads it."""
    x = node.inputs[0] if node.prim is transpose else None
    made = graph.producer.get(x) if isinstance(x, Value) else None
    if made is None or made.prim is not dot_general:
        return None
    if len(graph.users[made.outputs[0]]) != 1 or made.outputs[0] in outputs:
        return None
    (left, right), (batch, _) = made.params["dimension_numbers"]
    n = len(batch)
    rows = made.inputs[0].type.ndim - len(left) - n
    columns = made.inputs[1].type.ndim - len(right) - n
    whole = (*range(n), *range(n + rows, n + rows + columns), *range(n, n + rows))
    return made if tuple(node.params["permutation"]) == whole else None
