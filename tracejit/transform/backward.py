"""Transposition of linear graphs: from a map of tangents to the map of cotangents.

    transpose_graph(linear: residuals, dx -> dy)  ->  Graph residuals, ct_dy -> ct_dx

Cotangents that come out of a ``select`` are exact zeros where the branch was not taken. They are
kept zero through products and quotients with residuals, which may be inf or nan there: the gradient
of ``where(x < 1, x, sqrt(x))`` at 0 is 1. What says where a cotangent is zero is the select's own
condition, not the cotangent: one that merely happens to be zero has derivatives.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np

from tracejit.errors import TracejitError
from tracejit.ir import build
from tracejit.ir.build import full_like
from tracejit.ir.graph import Atom, Graph, Literal, Node, Value
from tracejit.ir.prim import Linear
from tracejit.ops.arith import add
from tracejit.ops.broadcast import broadcast_in_dim
from tracejit.ops.logic import and_, ne, not_, or_, select
from tracejit.ops.parts import convert
from tracejit.ops.reduce import reduce_or
from tracejit.transform.forward import emit_again, split_by_dependency

#: linear operations on single elements: what is zero stays zero at its place
_ELEMENTWISE = frozenset(
    "neg mul div fma convert real imag complex conj add sub copy reduce_precision".split()
)
#: of these, the ones that multiply by a residual
_SCALES = frozenset(("mul", "div", "fma"))
#: linear operations that move elements or add them up, with no residual but indices
_MOVES = frozenset(
    "broadcast_in_dim reduce_sum reshape transpose rev slice pad concatenate gather scatter "
    "dynamic_slice dynamic_update_slice cumsum reduce_window_sum".split()
)
#: operations that hold graphs or a user's rule: zero as a whole where all their cotangents are;
#: their rules find in ``Builder.live`` what is known of each
_HOLDS = frozenset(
    "cond scan custom_vjp_tangent checkpoint checkpoint_tangent linear_call "
    "custom_linear_solve".split()
)


class Live:
    """Where a cotangent may differ from zero: a bool tensor, added to the graph when asked for."""

    #: deeper chains are added at once, so that asking does not recurse without bound
    DEPTH = 40

    def __init__(self, make: Callable[[], Atom], *parts: Live) -> None:
        self._make = make
        self._found: Atom | None = None
        self._depth = 1 + max((p._depth for p in parts), default=0)
        if self._depth > Live.DEPTH:
            self.get()

    def get(self) -> Atom:
        if self._found is None:
            self._found = self._make()
            self._depth = 0
        return self._found


class Cotangents:
    """Cotangents by value, summed as they arrive, and where those with known zeros are not zero."""

    def __init__(self) -> None:
        self.sums: dict[Value, Atom] = {}
        self.live: dict[Value, Live] = {}

    def add(self, v: Value, ct: Atom, live: Live | None) -> None:
        old = self.sums.get(v)
        if old is None:
            self.sums[v] = ct
            if live is not None:
                self.live[v] = live
            return
        self.sums[v] = add(old, ct)
        before = self.live.pop(v, None)
        if before is not None and live is not None:
            self.live[v] = before if before is live else _either(before, live)

    def get(self, v: Value) -> Atom | None:
        return self.sums.get(v)


def pull_back(
    graph: Graph, xs: Sequence[Atom | Linear], cts: Sequence[Atom | None]
) -> tuple[Atom | None, ...]:
    """Add the transpose of ``graph`` to the current builder: cotangents of the ``Linear`` inputs.

    Nodes that do not depend on a Linear input are added first, as they are; None is a zero.
    What the builder knows of zeros in ``cts`` is used, and what is found of the results is noted.
    """
    known = build.current().live
    lives = [None if ct is None else known.get(ct) for ct in cts]
    sums = _pull_graph(graph, xs, cts, lives)
    for v, x in zip(graph.inputs, xs, strict=True):
        if isinstance(x, Linear) and v in sums.live:
            known[sums.sums[v]] = sums.live[v]  # a Value: what has known zeros is computed
    return tuple(
        sums.get(v) if isinstance(x, Linear) else None
        for v, x in zip(graph.inputs, xs, strict=True)
    )


def _pull_graph(
    graph: Graph,
    xs: Sequence[Atom | Linear],
    cts: Sequence[Atom | None],
    lives: Sequence[Live | None],
) -> Cotangents:
    """Cotangents of the graph's values; ``lives`` are those of ``cts``, None where unknown."""
    builder = build.current()
    roots = [v for v, x in zip(graph.inputs, xs, strict=True) if isinstance(x, Linear)]
    known, linear = split_by_dependency(graph.nodes, roots)
    env: dict[Value, Atom] = {
        v: x for v, x in zip(graph.inputs, xs, strict=True) if not isinstance(x, Linear)
    }
    for node in known:
        env.update(zip(node.outputs, emit_again(node, build.subst(node.inputs, env)), strict=True))

    sums = Cotangents()
    for y, ct, live in zip(graph.outputs, cts, lives, strict=True):
        if isinstance(y, Value) and ct is not None and y not in env:
            sums.add(y, ct, live)
    for node in reversed(linear):
        builder.at = node.at
        try:
            _pull_node(node, env, sums)
        except TracejitError as error:
            error.at = error.at or node.at
            raise
    return sums


def _pull_node(node: Node, env: dict[Value, Atom], sums: Cotangents) -> None:
    cts = tuple(sums.get(out) for out in node.outputs)
    if all(ct is None for ct in cts):
        return
    xs = tuple(
        Linear(x.type) if isinstance(x, Value) and x not in env else build.subst((x,), env)[0]
        for x in node.inputs
    )
    lives = tuple(sums.live.get(out) for out in node.outputs)
    all_live = all(live is not None for live, ct in zip(lives, cts, strict=True) if ct is not None)
    if node.prim.name == "call":
        _pull_call(node, xs, cts, lives, sums)
        return
    if node.prim.name in _HOLDS:
        noted = build.current().live
        noted.update((ct, live) for ct, live in zip(cts, lives, strict=True) if ct and live)
    parts = node.prim.rule("transpose")(cts, xs, **node.params)
    if all_live:
        parts, found = _keep_zeros(node, xs, parts, [live for live in lives if live is not None])
    elif node.prim.name == "select":
        found = _chosen(xs[0])
    else:
        noted = build.current().live
        found = [None if part is None else noted.get(part) for part in parts]
    for x, given, part, live in zip(node.inputs, xs, parts, found, strict=True):
        if part is not None and isinstance(given, Linear) and isinstance(x, Value):
            sums.add(x, part, live)


def _pull_call(
    node: Node,
    xs: tuple[Atom | Linear, ...],
    cts: tuple[Atom | None, ...],
    lives: tuple[Live | None, ...],
    sums: Cotangents,
) -> None:
    """Transpose the graph of a ``call`` in place, so that zeros are known within and behind it."""
    inner = node.params["graph"]
    pulled = _pull_graph(inner, xs, cts, lives)
    for x, given, v in zip(node.inputs, xs, inner.inputs, strict=True):
        part = pulled.get(v)
        if part is not None and isinstance(given, Linear) and isinstance(x, Value):
            sums.add(x, part, pulled.live.get(v))


# ---- where cotangents are zero -------------------------------------------------------------------


def _keep_zeros(
    node: Node, xs: tuple[Atom | Linear, ...], parts: Sequence[Atom | None], lives: list[Live]
) -> tuple[Sequence[Atom | None], Sequence[Live | None]]:
    """The node's parts with the zeros of its cotangents kept, and where each may not be zero."""
    name, live = node.prim.name, lives[0]
    if name == "select":
        return parts, [None if chosen is None else _both(chosen, live) for chosen in _chosen(xs[0])]
    if name in _ELEMENTWISE:
        if name in _SCALES and not all(isinstance(x, Linear) or _is_finite(x) for x in xs):
            parts = [None if part is None else _masked(live, part) for part in parts]
        return parts, [live] * len(parts)
    if name in _MOVES and node.params.get("kind") != "mul":
        return parts, [
            None if part is None else Live(functools.partial(_moved, node, xs, live, k), live)
            for k, part in enumerate(parts)
        ]
    if name in _HOLDS:
        some, noted = Live(functools.partial(_some, lives), *lives), build.current().live
        flags = [
            None if part is None else Live(functools.partial(_spread, some, part), some)
            for part in parts
        ]
        kept = [
            part if part is None or flag is None else _masked(flag, part)
            for part, flag in zip(parts, flags, strict=True)
        ]
        found = [
            None if part is None else noted.get(part, flag)
            for part, flag in zip(parts, flags, strict=True)
        ]
        return kept, found
    return parts, [None] * len(parts)


def _is_finite(x: Atom) -> bool:
    """Whether ``x`` is a scalar that neither multiplies nor divides a zero into nan."""
    return isinstance(x, Literal) and bool(np.isfinite(x.value)) and bool(x.value != 0)


def _masked(live: Live, part: Atom) -> Atom:
    return select(live.get(), part, full_like(part, 0))  # type: ignore[no-any-return]


def _chosen(condition: Atom) -> tuple[Live | None, ...]:
    """For the operands of a select: where each is taken."""
    return None, Live(lambda: condition), Live(lambda: not_(condition))


def _both(a: Live, b: Live) -> Live:
    return Live(lambda: and_(a.get(), b.get()), a, b)


def _either(a: Live, b: Live) -> Live:
    return Live(lambda: or_(a.get(), b.get()), a, b)


def _moved(node: Node, xs: tuple[Atom | Linear, ...], live: Live, k: int) -> Atom:
    """Where part ``k`` of an operation that moves elements may not be zero: its transpose."""
    ones = convert(live.get(), dtype=node.outputs[0].type.dtype)
    part = node.prim.rule("transpose")((ones,), xs, **node.params)[k]
    return ne(part, full_like(part, 0))  # type: ignore[no-any-return]


def _some(lives: Sequence[Live]) -> Atom:
    """Whether any element of any of them is true."""
    flags = [live.get() for live in lives]
    return functools.reduce(
        or_, (reduce_or(x, axes=tuple(range(x.type.ndim))) if x.type.ndim else x for x in flags)
    )


def _spread(some: Live, part: Atom) -> Atom:
    flag = some.get()
    return broadcast_in_dim(flag, shape=part.type.shape, dims=()) if part.type.ndim else flag


def live_input(ct: Atom) -> Value:
    """A further input of the graph being built: where ``ct``, an input of it, may not be zero."""
    builder = build.current()
    flags = builder.input(ct.type.with_dtype(np.dtype(bool)))
    builder.live[ct] = Live(lambda: flags)
    return flags


def transpose_graph(
    graph: Graph,
    linear: Sequence[bool],
    ct_mask: Sequence[bool],
    live_mask: Sequence[bool] | None = None,
) -> tuple[Graph, tuple[bool, ...]]:
    """A graph of (non-linear inputs, cotangents at ``ct_mask``) -> cotangents of the linear inputs.

    Further inputs say where the cotangents at ``live_mask`` may differ from zero. Also: which of
    the results are not zero as a whole.
    """
    with build.building() as builder:
        xs: list[Atom | Linear] = [
            Linear(v.type) if is_lin else builder.input(v.type, v.name)
            for v, is_lin in zip(graph.inputs, linear, strict=True)
        ]
        cts = [
            builder.input(y.type) if m else None
            for y, m in zip(graph.outputs, ct_mask, strict=True)
        ]
        for ct, known in zip(cts, live_mask or (), strict=False):
            if known and ct is not None:
                live_input(ct)
        found = pull_back(graph, xs, cts)
    outs = tuple(
        full_like(v.type, 0) if ct is None else ct
        for v, ct, is_lin in zip(graph.inputs, found, linear, strict=True)
        if is_lin
    )
    nonzero = tuple(ct is not None for ct, is_lin in zip(found, linear, strict=True) if is_lin)
    return builder.graph(outs, graph.name), nonzero
