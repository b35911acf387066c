"""vmap: a function of single examples becomes a function of batches.

>>> from tracejit import vmap
>>> import tracejit.numpy as jnp
>>> vmap(jnp.dot, in_axes=(0, None))(jnp.ones((4, 3)), jnp.ones(3)).shape
(4,)
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import optree

from tracejit import hints, source
from tracejit.errors import ArgumentError, ShapeError, TreeError, user_traceback
from tracejit.frontend import methods
from tracejit.frontend.array import Array
from tracejit.frontend.call import FlatCall, check_function, function_name, run_graph, trace_call
from tracejit.transform.batch import batch_graph
from tracejit.tree_util import NAMESPACE


@user_traceback
def vmap(
    fun: Callable[..., Any],
    in_axes: Any = 0,
    out_axes: Any = 0,
    axis_name: Any = None,
    axis_size: int | None = None,
) -> Callable[..., Any]:
    """Map ``fun`` over an axis of its arguments, in one vectorised computation.

    ``in_axes``: an int or None for all positional arguments, or a tuple of such or of pytrees of
    them, one per argument; None does not map. Keyword arguments are mapped over axis 0.
    ``out_axes`` likewise for results. Raises ShapeError when mapped sizes differ and ArgumentError
    when nothing is mapped and no ``axis_size`` is given.

    >>> vmap(lambda row, b: jnp.sum(row) + b, in_axes=(0, None))(jnp.ones((2, 3)), 10.0)
    Array([13., 13.], dtype=float32)
    """

    check_function("vmap", fun)

    @user_traceback
    @functools.wraps(fun)
    def vmap_of(*args: Any, **kwargs: Any) -> Any:
        call = FlatCall.of(fun, args, kwargs)
        axes = _leaf_axes(in_axes, args, kwargs, call)
        size = _batch_size(call, axes, axis_size)
        xs = [
            x if axis is None else methods.moveaxis(x, axis, 0)
            for x, axis in zip(call.leaves, axes, strict=True)
        ]
        mask = tuple(axis is not None for axis in axes)
        types = [
            x.type.with_shape(x.shape[1:]) if m else x.type for x, m in zip(xs, mask, strict=True)
        ]
        traced = trace_call(call, "vmap", types=types)
        full = (*(False for _ in traced.captured), *mask)
        out_wanted = _out_axes(out_axes, traced.outputs.treedef, function_name(fun))
        graph, found = batch_graph(
            traced.graph, size, full, tuple(axis is not None for axis in out_wanted)
        )
        outs = run_graph(graph, [*traced.captured, *xs])
        placed = [
            _place(y, m, axis, function_name(fun))
            for y, m, axis in zip(outs, found, out_wanted, strict=True)
        ]
        return traced.outputs.build(placed)

    return vmap_of


def _place(y: Array, batched: bool, axis: int | None, name: str) -> Array:
    if axis is None:
        if batched:
            raise ArgumentError(
                f"vmap: out_axes is None for a result of `{name}` "
                "that depends on a mapped argument",
                at=source.here(),
                hint="give the axis at which the results are stacked",
            )
        return y
    if not isinstance(axis, int) or not -y.ndim <= axis < y.ndim:
        raise ShapeError(
            f"vmap: out_axes={axis} for a result of `{name}` that is {y.type} with its mapped axis",
            at=source.here(),
            hint=hints.axes(y.ndim),
        )
    return methods.moveaxis(y, 0, axis)


def broadcast_prefix(prefix: Any, tree: Any) -> list[Any]:
    """The leaves of ``prefix`` repeated for each leaf of ``tree`` below them; None counts as a
    leaf.
    """
    found: list[Any] = []

    def add(p: Any, sub: Any) -> None:
        found.extend([p] * len(optree.tree_leaves(sub, namespace=NAMESPACE)))

    optree.tree_map_(
        add, prefix, tree, is_leaf=lambda x: x is None, none_is_leaf=True, namespace=NAMESPACE
    )
    return found


def _leaf_axes(
    in_axes: Any, args: tuple[Any, ...], kwargs: dict[str, Any], call: FlatCall
) -> list[int | None]:
    spec = tuple(in_axes) if isinstance(in_axes, list) else in_axes
    if isinstance(spec, tuple) and len(spec) != len(args):
        raise ArgumentError(
            f"vmap: in_axes has {len(spec)} entries, `{call.name}` was called with "
            f"{len(args)} positional arguments",
            at=source.here(),
            hint="one entry per positional argument; None for one that is not mapped",
        )
    try:
        axes = broadcast_prefix(spec, args)
    except ValueError as error:
        raise TreeError(
            f"vmap: in_axes {in_axes} is not a prefix of the arguments",
            at=source.here(),
            hint="give an int or None for a whole argument, or a tree of them with its structure",
        ) from error
    axes += [0] * (len(call.leaves) - len(axes))
    for k, (leaf, axis, name) in enumerate(zip(call.leaves, axes, call.names, strict=True)):
        if axis is None:
            continue
        if not isinstance(axis, int) or not -leaf.ndim <= axis < leaf.ndim:
            raise ShapeError(
                f"vmap: argument `{name}` is {leaf.type}, which has no axis {axis}",
                at=source.here(),
                hint="pass None in in_axes for an argument that is not mapped"
                if leaf.ndim == 0
                else hints.axes(leaf.ndim),
            )
        axes[k] = axis % leaf.ndim
    return axes


def _batch_size(call: FlatCall, axes: Sequence[int | None], given: int | None) -> int:
    sizes = {
        name: leaf.shape[axis]
        for leaf, axis, name in zip(call.leaves, axes, call.names, strict=True)
        if axis is not None
    }
    distinct = set(sizes.values()) | ({given} if given is not None else set())
    if not distinct:
        raise ArgumentError(
            "vmap: no argument is mapped",
            at=source.here(),
            hint="vmap(f, in_axes=None, axis_size=n) repeats the function",
        )
    if len(distinct) > 1:
        listed = tuple(f"`{name}`: {n}" for name, n in sizes.items())
        raise ShapeError(
            f"vmap: mapped axes of `{call.name}` differ in size",
            at=source.here(),
            hint="pass None in in_axes for an argument that is not mapped",
            notes=listed,
        )
    return distinct.pop()


def _out_axes(out_axes: Any, treedef: Any, name: str) -> list[int | None]:
    tree = optree.tree_unflatten(treedef, [0] * treedef.num_leaves)
    spec = tuple(out_axes) if isinstance(out_axes, list) and isinstance(tree, tuple) else out_axes
    try:
        return broadcast_prefix(spec, tree)
    except ValueError as error:
        raise TreeError(
            f"vmap: out_axes {out_axes} is not a prefix of what `{name}` returns",
            at=source.here(),
            hint="give an int or None for all results, or a tree of them with their structure",
        ) from error
