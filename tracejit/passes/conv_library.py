"""Convolutions that a library takes, as the library has them.

    conv_general_dilated(dy, rev(w), lhs_dilation=(2, 2), ...)
                               ->  transpose(fused_conv(dy', w', direction="data", ...))

Comes in: any graph, and ``takes(node)``, which says of a ``fused_conv`` whether the target has a
library for it. Goes out: the graph with those in place of the convolutions. Operands and results
lie with features first or last, as engines of libraries read them; the nodes that bring other
orders there become part of the kernels around them (``conv_layout.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tracejit.ir.graph import Atom, Graph, Node, Value
from tracejit.ir.types import TensorType
from tracejit.ops import layout
from tracejit.ops.conv import conv_general_dilated
from tracejit.ops.dot import permuted
from tracejit.ops.fused_conv import OPERANDS, fused_conv
from tracejit.ops.layout import inverse, rev, transpose
from tracejit.passes.conv_roles import Roles, roles
from tracejit.passes.dead import drop_dead
from tracejit.passes.merge import merge_equal
from tracejit.passes.subgraphs import replaced
from tracejit.record import dataclass

Ints = tuple[int, ...]
Takes = Callable[[Node], bool]
#: whether images of a dtype lie with their features last; None: as they are
Last = Callable[[np.dtype], bool | None]


def library_convolutions(graph: Graph, takes: Takes, features_last: Last) -> Graph:
    """``graph`` with a ``fused_conv`` in place of each convolution for which ``takes`` says so."""

    def inner(sub: Graph) -> Graph:
        return library_convolutions(sub, takes, features_last)

    def rule(node: Node, inputs: tuple[Atom, ...], env: dict[Value, Atom]) -> Any:
        return _library_conv(node, graph, env, takes, features_last)

    found = replaced(graph, inner, rule)
    # an image that a convolution and its gradient read is brought to their order once
    return graph if found is graph else drop_dead(merge_equal(found))


# ---- one convolution -----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Source:
    """What an operand is a view of: its axis of role ``k`` is axis ``spec[k]`` of ``value``, read
    backwards for the roles in ``flipped``.
    """

    value: Value
    spec: Ints
    flipped: frozenset[int] = frozenset()


def _library_conv(
    node: Node, graph: Graph, env: dict[Value, Atom], takes: Takes, features_last: Last
) -> Any:
    """What stands for ``node``; None where it stays."""
    lhs, rhs = node.inputs if node.prim is conv_general_dilated else (None, None)
    if not (isinstance(lhs, Value) and isinstance(rhs, Value)):
        return None
    found, kernel = _recognised(node, lhs, rhs, graph)
    if found is None:
        return None
    names = OPERANDS[found.direction]
    specs = dict(zip("xwy", found.specs, strict=True))
    image = _source(lhs, specs[names[0]], graph, reversals=False)
    last = features_last(lhs.type.dtype)
    if last is None:
        last = image.spec != tuple(range(len(image.spec)))
    order = features_order(len(image.spec), last=last)
    params = _params(found, order)
    if not takes(_node(found, params, order, lhs.type)):
        return None
    left = _laid(image, env, order)
    ungroup = found.direction == "data" and found.groups > 1
    right = _ungrouped(kernel, found.groups, env, order) if ungroup else _laid(kernel, env, order)
    out = fused_conv(left, right, **params)
    return permuted(out, tuple(order.index(role) for role in inverse(specs[names[2]])))


def _recognised(node: Node, lhs: Value, rhs: Value, graph: Graph) -> tuple[Roles | None, _Source]:
    """The roles of a convolution, and what its right operand is a view of, in the roles' order."""
    params, types = dict(node.params), (lhs.type, rhs.type, node.outputs[0].type)
    spec = tuple(params["dimension_numbers"][1])
    long = frozenset(k for k, axis in enumerate(spec) if k > 1 and rhs.type.shape[axis] > 1)
    source = _source(rhs, (spec[1], spec[0], *spec[2:]), graph, reversals=True)
    # a gradient with respect to the image reads the kernel backwards
    if max(params["lhs_dilation"], default=1) > 1 or (source.flipped and source.flipped == long):
        found = roles(*types, params, backwards=True)
        if found is not None:
            return found, replace(source, flipped=source.flipped ^ long)
    found = roles(*types, params)
    side = 2 if found is not None and found.direction == "weights" else 1
    own = spec if found is None else found.specs[side]
    return found, _source(rhs, own, graph, reversals=False)


def _source(x: Value, spec: Ints, graph: Graph, *, reversals: bool) -> _Source:
    """What ``x`` is a view of, seen through transposes and, if asked for, reversals of spatial
    axes.
    """
    flipped: frozenset[int] = frozenset()
    while (made := graph.producer.get(x)) is not None:
        if not (made.inputs and isinstance(made.inputs[0], Value)):  # a constant has no operands
            break
        if made.prim is transpose:
            spec = tuple(made.params["permutation"][axis] for axis in spec)
        elif made.prim is rev and reversals:
            roles_ = frozenset(
                k for k, axis in enumerate(spec) if axis in made.params["dimensions"]
            )
            if roles_ & {0, 1}:
                break
            flipped ^= roles_
        else:
            break
        x = made.inputs[0]
    return _Source(x, spec, flipped)


def features_order(rank: int, *, last: bool) -> Ints:
    """Axes by role, major to minor: batch (or K) first; features last, or before the spatial ones.

    >>> features_order(4, last=True)
    (0, 2, 3, 1)
    """
    return (0, *range(2, rank), 1) if last else tuple(range(rank))


def _params(found: Roles, order: Ints) -> dict[str, Any]:
    return {
        "direction": found.direction,
        "shape": found.shapes["xwy".index(OPERANDS[found.direction][2])],
        "orders": (order,) * 3,
        "window_strides": found.strides,
        "padding": found.padding,
        "rhs_dilation": found.dilation,
        "feature_group_count": found.groups,
        "epilogue": "",
    }


def _node(found: Roles, params: dict[str, Any], order: Ints, like: TensorType) -> Node:
    """A node that is in no graph, to ask of."""
    shapes = dict(zip("xwy", found.shapes, strict=True))
    lhs, rhs, out = (
        Value(like.with_shape(tuple(shapes[name][role] for role in order)))
        for name in OPERANDS[found.direction]
    )
    return Node(fused_conv, (lhs, rhs), params, (out,))


def _laid(source: _Source, env: dict[Value, Atom], order: Ints) -> Any:
    """The operand with its roles in ``order``."""
    return permuted(_backwards(source, env), tuple(source.spec[role] for role in order))


def _backwards(source: _Source, env: dict[Value, Atom]) -> Any:
    """The value of a source, reversed where that is to be read backwards."""
    x: Any = env.get(source.value, source.value)
    if source.flipped:
        x = layout.rev(x, dimensions=tuple(sorted(source.spec[k] for k in source.flipped)))
    return x


def _ungrouped(source: _Source, groups: int, env: dict[Value, Atom], order: Ints) -> Any:
    """The forward kernel [K, C / groups, ...], its roles in ``order``, of one [K / groups, C, ...]
    whose groups are outermost in C.
    """
    x: Any = _backwards(source, env)
    at = source.spec[1]
    shape = x.type.shape
    x = layout.reshape(x, new_sizes=(*shape[:at], groups, shape[at] // groups, *shape[at + 1 :]))
    # where the axes stand now; the groups, then K, then the others in their order
    places = [axis + (axis >= at) for axis in source.spec]
    x = permuted(x, (at, *(places[role] for role in order)))
    first, second, *rest = x.type.shape
    return layout.reshape(x, new_sizes=(first * second, *rest))
