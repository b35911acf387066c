"""Functions that become sub-graphs of a node: bodies of loops, branches, derivative rules.

    traced = trace_body(f, leaves, treedef, "scan")     Traced: captured values, then the leaves
    captured, graphs = share_captured([t1, t2])         captured values of all, in front of each

What a body reads from outside (arrays, values of outer traces) is captured: the structured node
takes it as operands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tracejit.frontend.array import Array, carrying
from tracejit.frontend.call import (
    FlatCall,
    OutTree,
    call_user,
    flatten_result,
    function_name,
    leaf_names,
)
from tracejit.frontend.trace import Trace, Traced, run_trace
from tracejit.ir import build
from tracejit.ir.graph import Atom, Graph, Literal, Value, literal
from tracejit.ir.types import TensorType
from tracejit.ops import parts
from tracejit.tree_util import tree_unflatten


def trace_body(
    fun: Callable[..., Any],
    leaves: Sequence[Array],
    treedef: Any,
    what: str,
    *,
    types: Sequence[TensorType] | None = None,
    names: Sequence[str] | None = None,
    eager: bool = False,
    finish: Callable[[Any], Any] | None = None,
) -> Traced:
    """Trace ``fun(*args)`` for the tuple of arguments that ``treedef`` builds of ``leaves``.

    ``types`` differ from those of the leaves where the body sees parts of them. ``finish`` changes
    the result while the trace is open. With ``eager`` the values carry the data of the leaves.
    ``outputs`` is an OutTree.
    """
    name = function_name(fun)
    trace = Trace(what, eager=eager, function=name)

    def run(values: list[Value]) -> tuple[Sequence[Array], OutTree]:
        arrays = [
            carrying(leaf if eager else None, value, trace, leaf._weak)
            for leaf, value in zip(leaves, values, strict=True)
        ]
        result = call_user(fun, tree_unflatten(treedef, arrays), {})
        return flatten_result(result if finish is None else finish(result), name)

    given = [leaf.type for leaf in leaves] if types is None else types
    shown = names or leaf_names(fun, tree_unflatten(treedef, leaves), {})
    return run_trace(trace, given, shown, run, name=name)


def flat(
    fun: Callable[..., Any], args: tuple[Any, ...]
) -> tuple[tuple[Array, ...], Any, tuple[str, ...]]:
    """Leaves of ``args`` as Arrays, the treedef of the tuple, and the leaves' names."""
    call = FlatCall.of(fun, args, {})
    return call.leaves, call.treedef.children()[0], call.names


def share_captured(bodies: Sequence[Traced]) -> tuple[tuple[Array, ...], tuple[Graph, ...]]:
    """All values the bodies capture, and the graphs with inputs for all of them in front."""
    arrays = {id(a): a for body in bodies for a in body.captured}
    graphs = []
    for body in bodies:
        n = len(body.captured)
        own = {id(a): v for a, v in zip(body.captured, body.graph.inputs, strict=False)}
        lead = tuple(own[k] if k in own else Value(a.type) for k, a in arrays.items())
        inputs = (*lead, *body.graph.inputs[n:])
        graphs.append(Graph(inputs, body.graph.nodes, body.graph.outputs, body.graph.name))
    return tuple(arrays.values()), tuple(graphs)


def converted(graph: Graph, dtypes: Sequence[np.dtype]) -> Graph:
    """``graph`` with its outputs in ``dtypes``."""
    if all(y.type.dtype == d for y, d in zip(graph.outputs, dtypes, strict=True)):
        return graph
    with build.building() as builder:
        xs = [builder.input(v.type, v.name) for v in graph.inputs]
        outs = builder.inline(graph, xs)
        found = [_convert(y, d) for y, d in zip(outs, dtypes, strict=True)]
    return builder.graph(found, graph.name)


def _convert(y: Atom, dtype: np.dtype) -> Atom:
    if y.type.dtype == dtype:
        return y
    if isinstance(y, Literal):
        value = parts.convert.rule("numpy")(np.asarray(y.value), dtype=dtype)
        return literal(value, y.type.with_dtype(dtype))
    return parts.convert(y, dtype=dtype)  # type: ignore[no-any-return]
