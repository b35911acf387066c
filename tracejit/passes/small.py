"""Reductions over an axis of a few elements, written out where a larger reduction follows.

    reduce_sum(d: f32[n,n,3], axes=(2,))  ->  add(add(d[..., 0], d[..., 1]), d[..., 2])

Squared distances summed over the coordinates and then over all pairs: written out, the inner sum is
part of the outer one's expression, and no n by n matrix is stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod

from tracejit.ir import build
from tracejit.ir.graph import Atom, Graph, Node, Value
from tracejit.ir.prim import Primitive
from tracejit.ops import arith, broadcast, reduce
from tracejit.ops.layout import reshape, slice_
from tracejit.passes.subgraphs import map_subgraphs

#: an axis of more elements stays a loop
FEW = 8
#: so many elementwise operations may lie between two reductions
STEPS = 12
#: operations that make the operand anew for each reader, at most
CHEAP = 8

FOLDS: Mapping[Primitive, Primitive] = {
    broadcast.reduce_sum: arith.add,
    reduce.reduce_max: arith.max_,
    reduce.reduce_min: arith.min_,
}


def write_out_small(graph: Graph) -> Graph:
    """``graph`` with small reductions that feed others as elementwise operations."""
    with build.building() as builder:
        env: dict[Value, Atom] = {v: v for v in graph.inputs}
        changed = False
        for node in graph.nodes:
            inner = map_subgraphs(node, write_out_small)
            if _is_small(node, graph):
                builder.at = node.at
                (x,) = build.subst(node.inputs, env)
                env[node.outputs[0]] = _written_out(node, x)
                changed = True
                continue
            changed = changed or inner is not node
            builder.nodes.append(replace(inner, inputs=build.subst(inner.inputs, env)))
            env.update((out, out) for out in node.outputs)
    if not changed:
        return graph
    outputs = build.subst(graph.outputs, env)
    return Graph(graph.inputs, tuple(builder.nodes), outputs, graph.name)


def _is_small(node: Node, graph: Graph) -> bool:
    """Whether ``node`` folds the last axis of something cheap, and a larger fold reads the result
    through elementwise operations.
    """
    x = node.inputs[0] if node.prim in FOLDS else None
    if not isinstance(x, Value) or x not in graph.producer:
        return False
    last = x.type.ndim - 1
    few = node.params["axes"] == (last,) and 1 < x.type.shape[last] <= FEW
    out = node.outputs[0]
    exact = x.type.dtype.itemsize >= 4  # sums of shorter floats are kept in longer ones
    return (
        few
        and exact
        and prod(out.type.shape) > FEW
        and _cost(x, graph, CHEAP) <= CHEAP
        and feeds_fold(out, graph, STEPS)
    )


def _cost(x: Atom, graph: Graph, most: int) -> int:
    """How many operations make an element of ``x`` from arrays in memory; above ``most`` it is only
    known to be more.
    """
    node = graph.producer.get(x) if isinstance(x, Value) else None
    if node is None or node.prim.element is None:
        return 0 if node is None else most + 1
    cost = most + 1 if node.prim.heavy else 1
    for operand in node.inputs:
        if cost <= most:
            cost += _cost(operand, graph, most - cost)
    return cost


def feeds_fold(value: Value, graph: Graph, steps: int) -> bool:
    """Whether every use of ``value`` is, after elementwise operations, folded over more axes."""
    users = graph.users.get(value, ())
    if value in graph.outputs or not users or steps == 0:
        return False
    return all(
        user.prim.reduce is not None
        or (user.prim.element is not None and feeds_fold(user.outputs[0], graph, steps - 1))
        for user in users
    )


def _written_out(node: Node, x: Atom) -> Atom:
    """The fold over the last axis as operations on its slices, in order."""
    *outer, extent = x.type.shape
    steps, zeros = (1,) * x.type.ndim, (0,) * len(outer)
    total: Atom | None = None
    for k in range(extent):
        part = slice_(x, start=(*zeros, k), limit=(*outer, k + 1), strides=steps)
        term = reshape(part, new_sizes=tuple(outer))
        total = term if total is None else FOLDS[node.prim](total, term)
    assert total is not None
    return total
