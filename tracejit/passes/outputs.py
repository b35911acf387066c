"""Give every result and every operand of a call a buffer: the last step before grouping.

    own_outputs(graph returning (x, x, 0.0))   ->  graph returning (copy(x), copy(x), full(0.0))

Afterwards each output of a graph is computed by one of its nodes, in memory of its own, and nodes
that are no part of a kernel have Values for operands.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tracejit.ir import build
from tracejit.ir.graph import Atom, ConstArray, Graph, Literal, Node, Value
from tracejit.ops.fill import copy, full
from tracejit.passes.group import VIEWS, classify
from tracejit.passes.lift import lift_constants
from tracejit.passes.spread import spread_sums
from tracejit.passes.stencils import tile_stencils


def own_outputs(
    graph: Graph, can_fuse: Callable[[Node], bool], carry: tuple[Value, ...] = ()
) -> Graph:
    """``graph`` with copies and fills where needed.

    ``carry``: inputs of a loop's body that its first outputs take the place of; one handed on as it
    is stays.
    """
    graph = tile_stencils(spread_sums(lift_constants(graph), can_fuse), can_fuse)
    with build.building() as builder:
        env: dict[Value, Atom] = {v: v for v in graph.inputs}
        for node in graph.nodes:
            builder.at = node.at
            kind = classify(node, can_fuse)
            opaque = kind not in ("constant", "view", "map", "reduce", "lower", "loop")
            ins = tuple(
                fill(x) if isinstance(x, Literal) and (opaque or is_updated(node, kind, k)) else x
                for k, x in enumerate(build.subst(node.inputs, env))
            )
            calls = node.subgraphs and kind not in (
                "loop",
                "stencil",
            )  # a loop inside a kernel has no buffers
            params = own_subgraphs(node, can_fuse) if calls else node.params
            builder.nodes.append(replace(node, inputs=ins, params=params))
            env.update((out, out) for out in node.outputs)
        outs = build.subst(graph.outputs, env)
        taken: set[Value] = set(graph.inputs)
        taken.update(
            out for node in builder.nodes if node.prim.name == "constant" for out in node.outputs
        )
        bases = view_bases(builder.nodes)
        final: list[Atom] = []
        for k, y in enumerate(outs):
            if k < len(carry) and y is carry[k]:
                final.append(y)
                continue
            y = fill(y) if isinstance(y, Literal) else y
            base = bases.get(y, y)
            if base in taken:
                y = base = copy(y)
            taken.add(base)
            final.append(y)
    return Graph(graph.inputs, tuple(builder.nodes), tuple(final), graph.name)


def is_updated(node: Node, kind: str, k: int) -> bool:
    """Whether operand ``k`` is changed in its place."""
    return kind == "lower" and node.prim.updates and k == 0


def fill(x: Literal) -> Value:
    """A Literal as a value with a buffer."""
    return full(value=ConstArray(x.value), shape=x.type.shape)  # type: ignore[no-any-return]


def view_bases(nodes: list[Node]) -> dict[Value, Value]:
    """For views and constants, the value whose memory they are (constants: themselves, never to be
    written).
    """
    found: dict[Value, Value] = {}
    for node in nodes:
        source = node.inputs[0] if node.inputs else None
        if node.prim.name in VIEWS and isinstance(source, Value):
            found[node.outputs[0]] = found.get(source, source)
    return found


def own_subgraphs(node: Node, can_fuse: Callable[[Node], bool]) -> dict[str, Any]:
    """The params of a structured node with the same done to its graphs."""
    params = dict(node.params)
    for name, value in params.items():
        if isinstance(value, Graph):
            params[name] = own_outputs(value, can_fuse, carry_of(node, name))
        elif isinstance(value, tuple) and value and isinstance(value[0], Graph):
            params[name] = tuple(own_outputs(sub, can_fuse) for sub in value)
    return params


def carry_of(node: Node, name: str) -> tuple[Value, ...]:
    """The carried inputs of a loop's body."""
    if name != "body" or node.prim.name not in ("scan", "while"):
        return ()
    body, first = node.params["body"], node.params["n_consts"]
    return tuple(body.inputs[first : first + node.params.get("n_carry", len(body.inputs))])
