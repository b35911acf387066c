"""Folds under JAX's ``lax`` names: over axes, over windows, running; extrema, sorting, top_k.

>>> x = jnp.arange(16.0).reshape(4, 4)
>>> reduce(x, 0.0, lax.add, (0,))  # known computations become reduce_sum, reduce_max ...
Array([24., 28., 32., 36.], dtype=float32)
>>> reduce_window(x, -jnp.inf, lax.max, (2, 2), (2, 2), "VALID")
Array([[ 5.,  7.],
       [13., 15.]], dtype=float32)
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tracejit.errors import ArgumentError, ShapeError, TreeError
from tracejit.frontend import elementwise, promotion, shaping
from tracejit.frontend.array import Array, apply, as_array
from tracejit.frontend.axes import axes_list, axis_number
from tracejit.frontend.bodies import trace_body
from tracejit.frontend.call import flatten
from tracejit.frontend.ordering import sort_together
from tracejit.frontend.promotion import constant_of
from tracejit.ir.graph import Graph
from tracejit.ir.prim import Primitive
from tracejit.ir.types import DTYPES
from tracejit.lax.elementwise import select
from tracejit.lax.operands import ints, same_dtypes
from tracejit.lax.pads import padtype_to_pads
from tracejit.ops import broadcast, cumulative, layout, window
from tracejit.ops import reduce as folds
from tracejit.ops import sort as sorting
from tracejit.source import here
from tracejit.tree_util import tree_structure, tree_unflatten

Function = Callable[..., Any]

#: scalar operations that are folds of their own: the reduction and the windowed one
MONOIDS: dict[str, tuple[Primitive, Primitive | None]] = {
    "add": (broadcast.reduce_sum, window.reduce_window_sum),
    "max": (folds.reduce_max, window.reduce_window_max),
    "min": (folds.reduce_min, window.reduce_window_min),
    "mul": (folds.reduce_prod, None),
    "and": (folds.reduce_and, None),
    "or": (folds.reduce_or, None),
    "xor": (folds.reduce_xor, None),
}


# ---- over axes -----------------------------------------------------------------------------------


def over_axes(name: str, prim: Primitive) -> Function:
    """A reduction over a sequence of axes."""

    def function(operand: Any, axes: Sequence[int], *, out_sharding: Any = None) -> Array:
        x = as_array(operand)
        found = tuple(sorted(axes_list(name, tuple(axes), x.ndim)))
        return apply(prim, x, axes=found) if found else x

    return elementwise.named(function, name, prim.doc)


reduce_and = over_axes("reduce_and", folds.reduce_and)
reduce_max = over_axes("reduce_max", folds.reduce_max)
reduce_min = over_axes("reduce_min", folds.reduce_min)
reduce_or = over_axes("reduce_or", folds.reduce_or)
reduce_prod = over_axes("reduce_prod", folds.reduce_prod)
reduce_sum = over_axes("reduce_sum", broadcast.reduce_sum)
reduce_xor = over_axes("reduce_xor", folds.reduce_xor)


def arg_extremum(name: str, prim: Primitive) -> Function:
    """The index of an extremum along one axis."""

    def function(operand: Any, axis: int, index_dtype: Any) -> Array:
        x = as_array(operand)
        number = axis_number(name, axis, x.ndim)
        if x.shape[number] == 0:
            raise ShapeError(f"{name}: axis {number} of {x.type} is empty", at=here())
        return apply(prim, x, axes=(number,), index_dtype=promotion.canonical(index_dtype))

    return elementwise.named(function, name, prim.doc)


argmax = arg_extremum("argmax", folds.argmax)
argmin = arg_extremum("argmin", folds.argmin)


def computation_graph(
    name: str, computation: Function, operands: Sequence[Array], treedef: Any
) -> Graph:
    """``computation(accumulated, element)`` as a graph over scalars; TreeError unless it keeps
    their types.
    """
    scalars = [x.type.with_shape(()) for x in operands]
    pair = tree_structure((tree_unflatten(treedef, range(len(scalars))),) * 2)
    body = trace_body(computation, [*operands, *operands], pair, name, types=[*scalars, *scalars])
    if body.captured:
        raise ArgumentError(f"{name}: the computation uses arrays from outside", at=here())
    if body.graph.output_types != tuple(scalars):
        raise TreeError(
            f"{name}: the computation takes {tuple(scalars)} and returns {body.graph.output_types}",
            at=here(),
        )
    return body.graph


def monoid(graph: Graph) -> str | None:
    """The name of the one scalar operation that ``graph`` is, if folds of it are known."""
    if len(graph.nodes) != 1 or len(graph.inputs) != 2:
        return None
    (node,) = graph.nodes
    same = set(node.inputs) == set(graph.inputs) and graph.outputs == node.outputs
    return node.prim.name if same and node.prim.name in MONOIDS else None


def _with_init(found: Array, init: Array, prim: Primitive, graph: Graph) -> Array:
    """The initial value folded in, unless it is neutral."""
    value = constant_of(init)
    if value is not None and value == prim.reduce.identity(found.dtype):  # type: ignore[union-attr]
        return found
    return apply(graph.nodes[0].prim, promotion.broadcast_to(init, found.shape), found)


def reduce(
    operands: Any,
    init_values: Any,
    computation: Function,
    dimensions: Sequence[int],
    out_sharding: Any = None,
) -> Any:
    """Fold ``operands`` (an array or a tree of arrays of one shape) over ``dimensions``.

    ``computation(accumulated, element)`` is associative; the order of the fold is not specified.

    >>> lax.reduce(jnp.arange(6.0).reshape(2, 3), 0.0, lax.add, (1,))
    Array([ 3., 12.], dtype=float32)
    """
    leaves, treedef = flatten(operands)
    given, init_tree = flatten(init_values)
    if init_tree != treedef or not leaves:
        raise TreeError("reduce: operands and initial values differ in structure", at=here())
    pairs = [same_dtypes("reduce", x, init) for x, init in zip(leaves, given, strict=True)]
    xs, inits = [x for x, _ in pairs], [init for _, init in pairs]
    if any(init.shape != () for init in inits):
        raise ShapeError("reduce: the initial values are scalars", at=here())
    axes = tuple(sorted(axes_list("reduce", tuple(dimensions), xs[0].ndim)))
    graph = computation_graph("reduce", computation, xs, treedef)
    known = monoid(graph)
    if known is not None:
        prim = MONOIDS[known][0]
        found = apply(prim, xs[0], axes=axes) if axes else xs[0]
        return tree_unflatten(treedef, [_with_init(found, inits[0], prim, graph)])
    outs = apply(folds.reduce, *xs, *inits, computation=graph, axes=axes)
    return tree_unflatten(treedef, outs if isinstance(outs, tuple) else (outs,))


# ---- over windows --------------------------------------------------------------------------------


def reduce_window(
    operand: Any,
    init_value: Any,
    computation: Function,
    window_dimensions: Sequence[int],
    window_strides: Sequence[int] | None = None,
    padding: str | Sequence[tuple[int, int]] = "VALID",
    base_dilation: Sequence[int] | None = None,
    window_dilation: Sequence[int] | None = None,
) -> Array:
    """Fold the elements under each position of a window that slides over all axes; padding is left
    out.

    ``lax.add``, ``lax.max`` and ``lax.min`` (or functions that do the same) become one operation.

    >>> lax.reduce_window(jnp.arange(5.0), 0.0, lax.add, (2,), (1,))
    Array([1., 3., 5., 7.], dtype=float32)
    """
    x, init = same_dtypes("reduce_window", operand, init_value)
    params = window_parameters(
        x.shape, window_dimensions, window_strides, padding, base_dilation, window_dilation
    )
    graph = computation_graph("reduce_window", computation, [x], tree_structure(0))
    known = monoid(graph)
    prim = MONOIDS[known][1] if known is not None else None
    if known is not None and prim is not None:
        return _with_init(apply(prim, x, **params), init, MONOIDS[known][0], graph)
    return _window_by_slices(x, init, computation, params)


def window_parameters(
    shape: Sequence[int],
    size: Any,
    strides: Any,
    padding: Any,
    base_dilation: Any,
    window_dilation: Any,
) -> dict[str, Any]:
    """The params of the window operations, all filled in, padding as pairs."""
    dims = ints(size)
    if len(dims) != len(shape):
        raise ShapeError(
            f"reduce_window: a window of {dims} does not fit an array of shape {tuple(shape)}",
            at=here(),
        )
    base = (1,) * len(dims) if base_dilation is None else ints(base_dilation)
    inner = (1,) * len(dims) if window_dilation is None else ints(window_dilation)
    steps = (1,) * len(dims) if strides is None else ints(strides)
    if isinstance(padding, str):
        reach = [(w - 1) * d + 1 for w, d in zip(dims, inner, strict=True)]
        padding = padtype_to_pads(shape, reach, steps, padding)
    return window.window_params(dims, steps, tuple(ints(p) for p in padding), base, inner)


def _window_by_slices(
    x: Array, init: Array, computation: Function, params: dict[str, Any]
) -> Array:
    """Any fold: one strided slice for each place in the window."""
    config = window.pad_config(params)
    shape = window.result_shape("reduce_window", x.type, params)
    padded = apply(layout.pad, x, init, config=config)
    inside = shaping.padded(
        promotion.filled(True, x.type.with_dtype(DTYPES["bool"])), config, False
    )
    partial = any(any(c) for c in config)
    total = promotion.broadcast_to(init, shape)
    for place in itertools.product(*(range(w) for w in params["window_dimensions"])):
        start = tuple(k * d for k, d in zip(place, params["window_dilation"], strict=True))
        steps = params["window_strides"]
        limit = tuple(a + (n - 1) * s + 1 for a, n, s in zip(start, shape, steps, strict=True))
        cut = {"start": start, "limit": limit, "strides": steps}
        folded = computation(total, apply(layout.slice_, padded, **cut))
        total = select(apply(layout.slice_, inside, **cut), folded, total) if partial else folded
    return total


def reduce_window_shape_tuple(
    operand_shape: Sequence[int],
    window_dimensions: Sequence[int],
    window_strides: Sequence[int],
    padding: Any,
    base_dilation: Sequence[int] | None = None,
    window_dilation: Sequence[int] | None = None,
) -> tuple[int, ...]:
    """The shape that ``reduce_window`` gives."""
    params = window_parameters(
        operand_shape, window_dimensions, window_strides, padding, base_dilation, window_dilation
    )
    type = as_array(np.float32(0)).type.with_shape(tuple(operand_shape))
    return window.result_shape("reduce_window", type, params)


# ---- running folds -------------------------------------------------------------------------------


def running(name: str, prim: Primitive) -> Function:
    """A running fold along one axis, from the front or from the end."""

    def function(operand: Any, axis: int = 0, reverse: bool = False) -> Array:
        x = as_array(operand)
        return apply(prim, x, axis=axis_number(name, axis, x.ndim), reverse=bool(reverse))

    return elementwise.named(function, name, prim.doc)


cumlogsumexp = running("cumlogsumexp", cumulative.cumlogsumexp)
cummax = running("cummax", cumulative.cummax)
cummin = running("cummin", cumulative.cummin)
cumprod = running("cumprod", cumulative.cumprod)
cumsum = running("cumsum", cumulative.cumsum)


# ---- order ---------------------------------------------------------------------------------------


def sort(operand: Any, dimension: int = -1, is_stable: bool = True, num_keys: int = 1) -> Any:
    """An array in ascending order along an axis; several arrays together, by the first ``num_keys``
    of them.

    >>> lax.sort((jnp.array([3, 1, 2]), jnp.array([30.0, 10.0, 20.0])))
    (Array([1, 2, 3]), Array([10., 20., 30.], dtype=float32))
    """
    many = isinstance(operand, tuple | list)
    arrays = [as_array(x) for x in (operand if many else (operand,))]
    if not arrays:
        raise ArgumentError("sort: needs at least one operand", at=here())
    axis = axis_number("sort", dimension, arrays[0].ndim)
    found = sort_together(arrays, axis, num_keys)
    return found if many else found[0]


def sort_key_val(
    keys: Any, values: Any, dimension: int = -1, is_stable: bool = True
) -> tuple[Array, Array]:
    """Keys in ascending order along an axis, and the values in the same order."""
    return sort((keys, values), dimension, is_stable, 1)  # type: ignore[no-any-return]


def top_k(operand: Any, k: int, *, axis: int = -1) -> tuple[Array, Array]:
    """The ``k`` largest entries along an axis, in descending order, and where they are (int32).

    Raises ShapeError where the axis has fewer.

    >>> lax.top_k(jnp.array([3.0, 9.0, 5.0]), 2)
    (Array([9., 5.], dtype=float32), Array([1, 2], dtype=int32))
    """
    x = as_array(operand)
    number = axis_number("top_k", axis, x.ndim)
    values, places = apply(sorting.top_k, shaping.moveaxis(x, number, -1), k=int(k))
    return shaping.moveaxis(values, -1, number), shaping.moveaxis(places, -1, number)


def approx_max_k(
    operand: Any,
    k: int,
    reduction_dimension: int = -1,
    recall_target: float = 0.95,
    reduction_input_size_override: int = -1,
    aggregate_to_topk: bool = True,
) -> tuple[Array, Array]:
    """The ``k`` largest along an axis and where they are: exact here."""
    return top_k(operand, k, axis=reduction_dimension)


def approx_min_k(
    operand: Any,
    k: int,
    reduction_dimension: int = -1,
    recall_target: float = 0.95,
    reduction_input_size_override: int = -1,
    aggregate_to_topk: bool = True,
) -> tuple[Array, Array]:
    """The ``k`` smallest along an axis and where they are: exact here."""
    x = as_array(operand)
    number = axis_number("approx_min_k", reduction_dimension, x.ndim)
    counter = apply(layout.iota, dtype=DTYPES["i32"], shape=x.shape, dimension=number)
    values, places = sort_together([x, counter], number)
    return shaping.cut(values, number, 0, int(k)), shaping.cut(places, number, 0, int(k))
