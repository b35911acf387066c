"""Loops inside samplers: rejection runs until all lanes have accepted.

    while_loop(lambda s: s[0] < 10, lambda s: (s[0] + 1, s[1]), (i, x))     the final state
    scan(lambda total, x: (total + x, total), start, xs)                    final carry, stacked ys

State and slices are pytrees of Arrays. What the functions read from outside becomes a constant of
the loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optree

from tracejit.frontend.array import apply
from tracejit.frontend.call import FlatCall, trace_call
from tracejit.frontend.trace import Traced
from tracejit.ir.graph import Graph, Value
from tracejit.transform import loops
from tracejit.tree_util import NAMESPACE


def while_loop(cond: Callable[[Any], Any], body: Callable[[Any], Any], init: Any) -> Any:
    """``body`` applied to the state while ``cond`` of it holds."""
    call = FlatCall.of(body, (init,), {})
    test = trace_call(FlatCall.of(cond, (init,), {}), "while_loop")
    step = trace_call(call, "while_loop")
    outs = apply(
        loops.while_,
        *test.captured,
        *step.captured,
        *call.leaves,
        cond=_with_unused(test, 0, step),
        body=_with_unused(step, len(test.captured), test),
        n_consts=len(test.captured) + len(step.captured),
    )
    return optree.tree_unflatten(step.outputs.treedef, outs)


def _with_unused(own: Traced, start: int, other: Traced) -> Graph:
    """The graph with the other function's constants as inputs too, its own from ``start`` on."""
    graph, count = own.graph, len(own.captured)
    unused = tuple(Value(array.type) for array in other.captured)
    constants = list(unused)
    constants[start:start] = graph.inputs[:count]
    return Graph((*constants, *graph.inputs[count:]), graph.nodes, graph.outputs, graph.name)


def scan(body: Callable[[Any, Any], Any], init: Any, xs: Any, length: int) -> tuple[Any, Any]:
    """``body(carry, x) -> (carry, y)`` along axis 0 of ``xs``: (final carry, stacked ys)."""
    call = FlatCall.of(body, (init, xs), {})
    n_carry = len(optree.tree_leaves(init, namespace=NAMESPACE))
    types = [t if k < n_carry else t.with_shape(t.shape[1:]) for k, t in enumerate(call.types)]
    step = trace_call(call, "scan", types=types)
    outs = apply(
        loops.scan,
        *step.captured,
        *call.leaves,
        body=step.graph,
        n_consts=len(step.captured),
        n_carry=n_carry,
        length=length,
        reverse=False,
    )
    return optree.tree_unflatten(step.outputs.treedef, outs)  # type: ignore[no-any-return]
