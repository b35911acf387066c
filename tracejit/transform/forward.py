"""Forward-mode differentiation, and its split into a primal and a linear part.

    jvp_graph(g: x -> y, mask)          Graph (x, dx) -> (y, dy)
    linearize_graph(g: x -> y, mask)    forward: x -> (y, residuals)
                                        linear: (residuals, dx) -> dy

``mask`` says which inputs carry a tangent. Every rule's tangent is linear in the incoming tangents,
so the split is a matter of reachability: nodes that depend on a tangent are the linear part.
Operations that hold graphs (scan, cond ...) do the same one level down, in their ``push`` rule.
Algorithm: Radul et al., "You Only Linearize Once" (POPL 2023).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tracejit.errors import TracejitError
from tracejit.ir import build
from tracejit.ir.build import full_like
from tracejit.ir.graph import Atom, Graph, Literal, Node, Value
from tracejit.ir.types import is_inexact
from tracejit.record import dataclass

Tangent = Atom | None


def push_forward(
    graph: Graph, xs: Sequence[Atom], dxs: Sequence[Tangent], mode: str
) -> tuple[tuple[Atom, ...], tuple[Tangent, ...]]:
    """Add ``graph`` applied to ``xs`` to the current builder, and its tangents; None is a zero
    tangent.
    """
    builder = build.current()
    env: dict[Value, Atom] = dict(zip(graph.inputs, xs, strict=True))
    tangents: dict[Value, Atom] = {
        v: dx for v, dx in zip(graph.inputs, dxs, strict=True) if dx is not None
    }
    for node in graph.nodes:
        ins = build.subst(node.inputs, env)
        dins = tuple(tangents.get(x) if isinstance(x, Value) else None for x in node.inputs)
        builder.at = node.at
        ys, dys = push_node(node, ins, dins, mode)
        env.update(zip(node.outputs, ys, strict=True))
        for out, dy in zip(node.outputs, dys, strict=True):
            if dy is not None and is_inexact(out.type.dtype):
                tangents[out] = dy
    ys = build.subst(graph.outputs, env)
    return ys, tuple(tangents.get(y) if isinstance(y, Value) else None for y in graph.outputs)


def push_node(
    node: Node, ins: tuple[Atom, ...], dins: tuple[Tangent, ...], mode: str
) -> tuple[tuple[Atom, ...], tuple[Tangent, ...]]:
    """One node and its tangents."""
    differentiable = any(is_inexact(out.type.dtype) for out in node.outputs)
    if not differentiable or all(dx is None for dx in dins):
        return emit_again(node, ins), (None,) * len(node.outputs)
    try:
        if node.prim.push is not None:
            ys, dys = node.prim.push(mode, ins, dins, **node.params)
            return tuple(ys), tuple(dys)
        ys = emit_again(node, ins)
        return ys, tuple(node.prim.rule("jvp")(dins, ys, ins, **node.params))
    except TracejitError as error:
        error.at = error.at or node.at
        raise


def emit_again(node: Node, ins: tuple[Atom, ...]) -> tuple[Value, ...]:
    """The same operation on other operands of the same types: no shape rule needs to run."""
    outs = tuple(Value(out.type, out.name) for out in node.outputs)
    build.current().nodes.append(Node(node.prim, ins, node.params, outs, node.at))
    return outs


def jvp_graph(
    graph: Graph,
    mask: Sequence[bool],
    out_mask: Sequence[bool] | None = None,
    mode: str = "jvp",
) -> tuple[Graph, tuple[bool, ...]]:
    """A graph of (inputs, tangents of masked inputs) -> (outputs, tangents) and which outputs have
    tangents.

    With ``out_mask`` given, exactly those outputs get a tangent, zeros where there is none. In the
    mode "linearize" no node computes values and tangents together, so that it can be transposed.
    """
    with build.building() as builder:
        xs = [builder.input(v.type, v.name) for v in graph.inputs]
        dxs = [builder.input(v.type) if m else None for v, m in zip(xs, mask, strict=True)]
        ys, dys = push_forward(graph, xs, dxs, mode)
    found = tuple(dy is not None for dy in dys)
    wanted = found if out_mask is None else tuple(out_mask)
    return builder.graph((*ys, *with_zeros(ys, dys, wanted)), graph.name), wanted


def with_zeros(
    ys: Sequence[Atom], dys: Sequence[Tangent], mask: Sequence[bool]
) -> tuple[Atom, ...]:
    """The tangents at ``mask``, a Literal 0 for those that are None."""
    return tuple(
        full_like(y, 0) if dy is None else dy for y, dy, m in zip(ys, dys, mask, strict=True) if m
    )


@dataclass(frozen=True)
class Linearized:
    """``forward``: inputs -> outputs + residuals. ``linear``: residuals + tangents of inputs ->
    tangents of outputs.

    ``sources[k]`` is the index of the graph input that residual k is, or None when it is computed.
    """

    forward: Graph
    linear: Graph
    out_mask: tuple[bool, ...]
    residuals: int
    sources: tuple[int | None, ...]


def linearize_graph(
    graph: Graph, mask: Sequence[bool], out_mask: Sequence[bool] | None = None
) -> Linearized:
    """Split the derivative of ``graph`` at its inputs into what needs no tangent and what is linear
    in them.
    """
    with build.building() as builder:
        xs = [builder.input(v.type, v.name) for v in graph.inputs]
        dxs = [Value(v.type) if m else None for v, m in zip(xs, mask, strict=True)]
        ys, dys = push_forward(graph, xs, dxs, "linearize")
    wanted = tuple(dy is not None for dy in dys) if out_mask is None else tuple(out_mask)
    tangents = [dx for dx in dxs if dx is not None]
    linear_outs = with_zeros(ys, dys, wanted)
    known, linear = split_by_dependency(builder.nodes, tangents)
    linear = reachable(linear, linear_outs)
    made = {out for node in linear for out in node.outputs} | set(tangents)
    residuals = list(
        dict.fromkeys(
            x
            for x in (*(x for node in linear for x in node.inputs), *linear_outs)
            if isinstance(x, Value) and x not in made
        )
    )
    position = {v: k for k, v in enumerate(xs)}
    forward_outs = (*ys, *residuals)
    forward = Graph(tuple(xs), tuple(reachable(known, forward_outs)), forward_outs, graph.name)
    return Linearized(
        forward,
        Graph((*residuals, *tangents), tuple(linear), linear_outs, graph.name),
        wanted,
        len(residuals),
        tuple(position.get(r) for r in residuals),
    )


def split_by_dependency(
    nodes: Sequence[Node], roots: Sequence[Value]
) -> tuple[list[Node], list[Node]]:
    """Nodes that do not depend on ``roots``, and nodes that do, each in order."""
    tainted = set(roots)
    free: list[Node] = []
    bound: list[Node] = []
    for node in nodes:
        if any(isinstance(x, Value) and x in tainted for x in node.inputs):
            tainted.update(node.outputs)
            bound.append(node)
        else:
            free.append(node)
    return free, bound


def reachable(nodes: Sequence[Node], outputs: Sequence[Atom]) -> list[Node]:
    """The nodes that reach ``outputs`` or have an effect, in order."""
    live = {x for x in outputs if not isinstance(x, Literal)}
    kept: list[Node] = []
    for node in reversed(nodes):
        if node.prim.effect or not live.isdisjoint(node.outputs):
            live.update(x for x in node.inputs if isinstance(x, Value))
            kept.append(node)
    return kept[::-1]


def count(mask: Sequence[Any]) -> int:
    """How many entries are true."""
    return sum(map(bool, mask))
