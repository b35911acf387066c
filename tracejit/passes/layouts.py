"""Convolutions read and write images in the order in which they lie.

    conv(transpose(x), w)    ->  conv(x, w) with other dimension_numbers
    transpose(conv(x, w))    ->  the same, where only the transpose reads the result

A network that brings its images to channels last in front of each convolution and back behind it
moves them twice between any two: ``dimension_numbers`` say where the axes stand, so nothing has to
move. Where a convolution computes faster in the order asked for than a copy costs
(``conv_plan.py: cycles``) the transpose stays.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tracejit.ir.graph import Atom, Graph, Node, Value
from tracejit.ir.types import TensorType
from tracejit.ops.conv import conv_general_dilated
from tracejit.ops.layout import inverse, transpose
from tracejit.passes.conv_plan import cycles, geometry
from tracejit.passes.dead import drop_dead
from tracejit.passes.subgraphs import map_subgraphs

#: cycles to move an element to its place in another order
MOVE = 1.0

Params = Mapping[str, Any]


def keep_layouts(graph: Graph) -> Graph:
    """``graph`` with transposes around convolutions told by their ``dimension_numbers``."""
    nodes = [_reading(map_subgraphs(node, keep_layouts), graph) for node in graph.nodes]
    found = _changed(graph, nodes)
    found = _writing(found)
    return graph if found is graph else drop_dead(found)


def _changed(graph: Graph, nodes: list[Node]) -> Graph:
    if all(a is b for a, b in zip(nodes, graph.nodes, strict=True)):
        return graph
    return replace(graph, nodes=tuple(nodes))


def _reading(node: Node, graph: Graph) -> Node:
    """A convolution that reads what a transpose of its operand reads."""
    if node.prim is not conv_general_dilated:
        return node
    for side in (0, 1):
        x = node.inputs[side]
        made = graph.producer.get(x) if isinstance(x, Value) else None
        if made is None or made.prim is not transpose:
            continue
        specs, order = list(node.params["dimension_numbers"]), made.params["permutation"]
        specs[side] = tuple(order[axis] for axis in specs[side])
        inputs = (made.inputs[0], node.inputs[1]) if side == 0 else (node.inputs[0], made.inputs[0])
        if _worth(node, inputs, tuple(specs), x.type.size):
            params = {**node.params, "dimension_numbers": tuple(specs)}
            node = replace(node, inputs=inputs, params=params)
    return node


def _writing(graph: Graph) -> Graph:
    """Convolutions write what a transpose, the only reader of their result, would."""
    nodes: list[Node] = []
    gone: set[Node] = set()
    outputs = set(graph.outputs)
    for node in graph.nodes:
        made = _made_by(node, graph, outputs)
        if made is None:
            nodes.append(node)
            continue
        lhs, rhs, out = made.params["dimension_numbers"]
        places = inverse(node.params["permutation"])
        specs = (lhs, rhs, tuple(places[axis] for axis in out))
        if not _worth(made, made.inputs, specs, node.outputs[0].type.size):
            nodes.append(node)
            continue
        gone.add(made)
        params = {**made.params, "dimension_numbers": specs}
        nodes.append(replace(made, params=params, outputs=node.outputs))
    if not gone:
        return graph
    return replace(graph, nodes=tuple(node for node in nodes if node not in gone))


def _made_by(node: Node, graph: Graph, outputs: set[Atom]) -> Node | None:
    """The convolution whose result only ``node``, a transpose, reads."""
    x = node.inputs[0] if node.prim is transpose else None
    made = graph.producer.get(x) if isinstance(x, Value) else None
    if made is None or made.prim is not conv_general_dilated:
        return None
    alone = len(graph.users[made.outputs[0]]) == 1 and made.outputs[0] not in outputs
    return made if alone else None


def _worth(node: Node, inputs: tuple[Atom, ...], specs: Any, moved: int) -> bool:
    """Whether other dimension numbers cost no more than the copy of ``moved`` elements."""
    before = [x.type for x in node.inputs]
    if math.prod(before[1].shape[axis] for axis in node.params["dimension_numbers"][1][2:]) == 1:
        return False  # a product of matrices, for which the order matters
    asked = _cycles(before, node.params)
    told = _cycles([x.type for x in inputs], {**node.params, "dimension_numbers": specs})
    return told <= asked + MOVE * moved


def _cycles(types: list[TensorType], params: Params) -> float:
    """Those of a convolution; gaps in the left operand are left out, whatever the order."""
    if 0 in types[0].shape or 0 in types[1].shape:
        return 0.0
    ones = (1,) * len(params["lhs_dilation"])
    return cycles(geometry(types[0], types[1], {**params, "lhs_dilation": ones}))
