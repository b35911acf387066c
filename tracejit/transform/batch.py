"""Vectorisation: a graph over single examples becomes a graph over batches (batch axis 0 inside).

batch_graph(g: f32[3] -> f32[], size=8, mask=(True,))  ->  Graph f32[8,3] -> f32[8]
"""

from __future__ import annotations

from collections.abc import Sequence

from tracejit.errors import TracejitError
from tracejit.ir import build
from tracejit.ir.graph import Atom, Graph, Node, Value
from tracejit.ir.prim import Partly
from tracejit.ops import collective
from tracejit.ops.broadcast import with_batch_axis
from tracejit.transform.forward import emit_again

Mask = Sequence[bool]


def push_batch(
    graph: Graph, xs: Sequence[Atom], mask: Mask, size: int
) -> tuple[tuple[Atom, ...], tuple[bool, ...]]:
    """Add ``graph`` applied to ``xs`` to the current builder; masked ones carry a batch axis of
    ``size`` in front.
    """
    builder = build.current()
    env: dict[Value, Atom] = dict(zip(graph.inputs, xs, strict=True))
    batched = {v for v, m in zip(graph.inputs, mask, strict=True) if m}
    for node in graph.nodes:
        builder.at = node.at
        ins = build.subst(node.inputs, env)
        flags = tuple(isinstance(x, Value) and x in batched for x in node.inputs)
        outs, out_flags = _batch_node(node, ins, flags, size)
        env.update(zip(node.outputs, outs, strict=True))
        batched.update(out for out, flag in zip(node.outputs, out_flags, strict=True) if flag)
    outs = build.subst(graph.outputs, env)
    return outs, tuple(isinstance(y, Value) and y in batched for y in graph.outputs)


def _batch_node(
    node: Node, ins: tuple[Atom, ...], flags: tuple[bool, ...], size: int
) -> tuple[tuple[Atom, ...], tuple[bool, ...]]:
    if not any(flags) and not collective.concerns(node):
        return emit_again(node, ins), (False,) * len(node.outputs)
    try:
        result = node.prim.rule("batch")(size, flags, ins, **node.params)
    except TracejitError as error:
        error.at = error.at or node.at
        raise
    if isinstance(result, Partly):
        return result.outs, result.mask
    outs = result if isinstance(result, tuple) else (result,)
    return outs, (True,) * len(outs)


def batch_graph(
    graph: Graph, size: int, mask: Mask, out_mask: Mask | None = None
) -> tuple[Graph, tuple[bool, ...]]:
    """The batched graph and which outputs carry the batch axis.

    Outputs at ``out_mask`` are given one even when they do not depend on a batched input.
    """
    with build.building() as builder:
        xs = [
            builder.input(v.type.with_shape((size, *v.type.shape)) if m else v.type, v.name)
            for v, m in zip(graph.inputs, mask, strict=True)
        ]
        outs, found = push_batch(graph, xs, mask, size)
        wanted = (
            found
            if out_mask is None
            else tuple(a or b for a, b in zip(found, out_mask, strict=True))
        )
        outs = tuple(
            with_batch_axis(y, size, have) if want else y
            for y, have, want in zip(outs, found, wanted, strict=True)
        )
    return builder.graph(outs, graph.name), wanted
