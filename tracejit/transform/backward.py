"""Transposition of linear graphs: from a map of tangents to the map of cotangents.

    transpose_graph(linear: residuals, dx -> dy)  ->  Graph residuals, ct_dy -> ct_dx

Cotangents that come out of a ``select`` are exact zeros where the branch was not taken. They are kept zero through
products and quotients with residuals, which may be inf or nan there: the gradient of ``where(x < 1, x, sqrt(x))`` at 0 is 1.
"""

from __future__ import annotations

from collections.abc import Sequence

from tracejit.errors import TracejitError
from tracejit.ir import build
from tracejit.ir.build import full_like
from tracejit.ir.graph import Atom, Graph, Node, Value
from tracejit.ir.prim import Linear
from tracejit.ir.types import kind
from tracejit.ops.arith import abs_, add
from tracejit.ops.logic import and_, eq, gt, is_finite, not_, select
from tracejit.transform.forward import emit_again, split_by_dependency

#: linear operations on single elements or positions: an exact zero stays at its place
_KEEPS_ZEROS = frozenset(
    "neg mul div convert reshape transpose rev real imag complex conj select add sub copy".split()
)
#: of these, the ones that multiply by a residual
_SCALES = frozenset(("mul", "div"))


def pull_back(
    graph: Graph, xs: Sequence[Atom | Linear], cts: Sequence[Atom | None]
) -> tuple[Atom | None, ...]:
    """Add the transpose of ``graph`` to the current builder: cotangents of the inputs marked ``Linear``.

    Nodes that do not depend on a Linear input are added first, as they are. None is a zero cotangent.
    """
    builder = build.current()
    roots = [v for v, x in zip(graph.inputs, xs, strict=True) if isinstance(x, Linear)]
    known, linear = split_by_dependency(graph.nodes, roots)
    env: dict[Value, Atom] = {
        v: x for v, x in zip(graph.inputs, xs, strict=True) if not isinstance(x, Linear)
    }
    for node in known:
        env.update(zip(node.outputs, emit_again(node, build.subst(node.inputs, env)), strict=True))

    sums = Cotangents()
    for y, ct in zip(graph.outputs, cts, strict=True):
        if isinstance(y, Value) and ct is not None and y not in env:
            sums.add(y, ct, masked=False)
    for node in reversed(linear):
        builder.at = node.at
        _pull_node(node, env, sums)
    return tuple(
        sums.get(v) if isinstance(x, Linear) else None for v, x in zip(graph.inputs, xs, strict=True)
    )


class Cotangents:
    """Cotangents by value, summed as they arrive; ``masked`` while all parts are exact zeros off some mask."""

    def __init__(self) -> None:
        self.sums: dict[Value, Atom] = {}
        self.masked: set[Value] = set()

    def add(self, v: Value, ct: Atom, masked: bool) -> None:
        old = self.sums.get(v)
        if old is None:
            self.sums[v] = ct
            if masked:
                self.masked.add(v)
            return
        self.sums[v] = add(old, ct)
        if not masked:
            self.masked.discard(v)

    def get(self, v: Value) -> Atom | None:
        return self.sums.get(v)


def _pull_node(node: Node, env: dict[Value, Atom], sums: Cotangents) -> None:
    cts = tuple(sums.get(out) for out in node.outputs)
    if all(ct is None for ct in cts):
        return
    xs = tuple(
        Linear(x.type) if isinstance(x, Value) and x not in env else build.subst((x,), env)[0]
        for x in node.inputs
    )
    masked = all(out in sums.masked for out, ct in zip(node.outputs, cts, strict=True) if ct is not None)
    if masked and node.prim.name in _SCALES and cts[0] is not None:
        xs = tuple(_harmless(cts[0], x, node.prim.name) for x in xs)
    try:
        parts = node.prim.rule("transpose")(cts, xs, **node.params)
    except TracejitError as error:
        error.at = error.at or node.at
        raise
    name = node.prim.name
    stays = name == "select" or (masked and name in _KEEPS_ZEROS)
    for x, given, part in zip(node.inputs, xs, parts, strict=True):
        if part is None or not isinstance(given, Linear) or not isinstance(x, Value):
            continue
        sums.add(x, part, stays)


def _harmless(ct: Atom, x: Atom | Linear, name: str) -> Atom | Linear:
    """A residual that cannot turn an exact zero of ``ct`` into nan: replaced where ``ct`` is zero and it would.

    The residual is changed, not the product, so that derivatives of the product with respect to ``ct`` stay.
    """
    if isinstance(x, Linear) or kind(x.type.dtype) == "c":
        return x
    if name == "mul":
        wrong, instead = not_(is_finite(x)), full_like(x, 0)
    else:
        wrong, instead = not_(gt(abs_(x), full_like(x, 0))), full_like(x, 1)
    return select(and_(eq(ct, full_like(ct, 0)), wrong), instead, x)  # type: ignore[no-any-return]


def transpose_graph(
    graph: Graph, linear: Sequence[bool], ct_mask: Sequence[bool]
) -> tuple[Graph, tuple[bool, ...]]:
    """A graph of (non-linear inputs, cotangents at ``ct_mask``) -> cotangents of the linear inputs, zeros included."""
    with build.building() as builder:
        xs: list[Atom | Linear] = [
            Linear(v.type) if is_lin else builder.input(v.type, v.name)
            for v, is_lin in zip(graph.inputs, linear, strict=True)
        ]
        cts = [builder.input(y.type) if m else None for y, m in zip(graph.outputs, ct_mask, strict=True)]
        found = pull_back(graph, xs, cts)
    outs = tuple(
        full_like(v.type, 0) if ct is None else ct
        for v, ct, is_lin in zip(graph.inputs, found, linear, strict=True)
        if is_lin
    )
    nonzero = tuple(ct is not None for ct, is_lin in zip(found, linear, strict=True) if is_lin)
    return builder.graph(outs, graph.name), nonzero
