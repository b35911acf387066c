"""Convolutions take over the bias and the relu that follow them, where a GPU's library does that.

    relu(add(fused_conv(x, w), broadcast(b)))   ->   fused_conv(x, w, b, epilogue="bias_relu")

Comes in: a graph with ``fused_conv`` nodes (``conv_library.py``), what lies between them in their
order (``conv_layout.py``), and ``takes(node)``, which says whether the target has a library for
one. Goes out: an equal graph whose images are written once, finished.

A relu stays where something else reads its operand; comparisons of that with 0, as gradients make
them, read the result instead. A bias without a relu goes along only where no kernel follows that
could add it. ``relu`` of nan may be 0 in a library.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tracejit.ir.graph import Graph, Literal, Node, Value
from tracejit.ops.broadcast import broadcast_in_dim
from tracejit.ops.fused_conv import fused_conv
from tracejit.passes.dead import drop_dead
from tracejit.passes.subgraphs import map_subgraphs
from tracejit.record import dataclass

Takes = Callable[[Node], bool]
#: comparisons with 0 that have the same answer before and after ``relu``
SIGNS = frozenset(("le", "gt"))


def fuse_conv_epilogues(graph: Graph, takes: Takes) -> Graph:
    """``graph`` with biases and relus in its convolutions, as far as ``takes`` goes."""
    nodes = [
        map_subgraphs(node, lambda inner: fuse_conv_epilogues(inner, takes)) for node in graph.nodes
    ]
    if any(a is not b for a, b in zip(nodes, graph.nodes, strict=True)):
        graph = replace(graph, nodes=tuple(nodes))
    finder, changed = _Finder(graph), False
    for node in graph.nodes:
        if node.prim is fused_conv and node.params["direction"] == "forward":
            changed |= finder.fuse(node, takes)
    if not changed:
        return graph
    return drop_dead(replace(graph, nodes=tuple(finder.written(node) for node in graph.nodes)))


@dataclass(frozen=True)
class _Site:
    """A convolution, its bias, and ``z``, their sum, which node ``at`` makes."""

    bias: Value | None
    at: Node
    z: Value


class _Finder:
    """What follows convolutions. ``put``: what is written in place of a node."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.outputs = set(graph.outputs)
        self.put: dict[Node, Node] = {}

    def written(self, node: Node) -> Node:
        return self.put.get(node, node)

    def readers(self, x: Value) -> list[Node]:
        return self.graph.users.get(x, [])

    def fuse(self, conv: Node, takes: Takes) -> bool:
        """Write ``conv`` with what follows it; whether there is anything, and a library for it."""
        site = self.site(conv)
        relu = self.relu(site.z)
        if relu is not None and self.write(conv, site, "relu", relu.outputs[0], takes):
            for node in self.readers(site.z):
                if node.prim.name in SIGNS:
                    self.put[node] = node.reading((relu.outputs[0], node.inputs[1]))
            # drop_dead takes away what made the result before: it makes another value now
            self.put[relu] = replace(relu, outputs=(Value(site.z.type),))
            return True
        ready = all(node.prim is fused_conv for node in self.readers(site.z))
        return site.bias is not None and ready and self.write(conv, site, "", site.z, takes)

    def write(self, conv: Node, site: _Site, name: str, out: Value, takes: Takes) -> bool:
        bias = () if site.bias is None else (site.bias,)
        epilogue = "_".join(filter(None, ("bias" if bias else "", name)))
        params = {**conv.params, "epilogue": epilogue}
        found = Node(fused_conv, (*conv.inputs, *bias), params, (out,), conv.at)
        if not takes(found):
            return False
        # there all its operands are known, and nobody has read its result
        self.put[site.at] = found
        return True

    def site(self, conv: Node) -> _Site:
        """A convolution with the bias that is added to nothing else."""
        z = conv.outputs[0]
        readers = self.readers(z)
        if len(readers) == 1 and z not in self.outputs and readers[0].prim.name == "add":
            others = [x for x in readers[0].inputs if x is not z]
            bias = self.bias(others[0], conv) if len(others) == 1 else None
            if bias is not None:
                return _Site(bias, readers[0], readers[0].outputs[0])
        return _Site(None, conv, z)

    def bias(self, x: Any, conv: Node) -> Value | None:
        """The vector that ``x`` repeats along all axes but that of the features."""
        made = self.graph.producer.get(x) if isinstance(x, Value) else None
        if made is None or made.prim is not broadcast_in_dim:
            return None
        vector, features = made.inputs[0], conv.params["orders"][2].index(1)
        if not isinstance(vector, Value) or made.params["dims"] != (features,):
            return None
        return vector if vector.type.shape == (x.type.shape[features],) else None

    def relu(self, z: Value) -> Node | None:
        """What makes max(z, 0), as ``nn.relu`` or ``maximum``, where no other needs ``z``."""
        if z in self.outputs:
            return None
        found = [node for node in self.readers(z) if self.is_relu(node, z)]
        rest = [node for node in self.readers(z) if node not in found and not _is_sign(node, z)]
        return found[0] if len(found) == 1 and not rest else None

    def is_relu(self, node: Node, z: Value) -> bool:
        if node.prim.name == "max":
            return any(map(_is_zero, node.inputs))
        if node.prim.name != "select" or node.inputs[2] is not z or not _is_zero(node.inputs[1]):
            return False
        made = self.graph.producer.get(node.inputs[0])  # type: ignore[arg-type]
        return made is not None and made.prim.name == "le" and _is_sign(made, z)


def _is_zero(x: Any) -> bool:
    return isinstance(x, Literal) and bool(x.value == 0)


def _is_sign(node: Node, z: Value) -> bool:
    """Whether a node compares ``z`` with 0 in a way that a relu does not change."""
    return node.prim.name in SIGNS and node.inputs[0] is z and _is_zero(node.inputs[1])
