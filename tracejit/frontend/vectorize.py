"""vmap: a function of single examples becomes a function of batches.

>>> from tracejit import vmap
>>> import tracejit.numpy as jnp
>>> vmap(jnp.dot, in_axes=(0, None))(jnp.ones((4, 3)), jnp.ones(3)).shape
(4,)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ParamSpec, TypeVar

import optree

from tracejit import hints, source
from tracejit.errors import ArgumentError, ShapeError, TreeError, user_traceback
from tracejit.frontend import key_uses, methods, named_axes, promotion, shaping
from tracejit.frontend.array import Array, apply
from tracejit.frontend.call import FlatCall, check_function, function_name, run_graph, trace_call
from tracejit.frontend.statics import Bound
from tracejit.frontend.wrapping import wraps
from tracejit.ir.graph import Graph
from tracejit.ops import collective
from tracejit.record import dataclass
from tracejit.transform.batch import batch_graph
from tracejit.transform.loops import scan
from tracejit.tree_util import NAMESPACE, tree_leaves

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, eq=False)
class _Spec:
    """The options of a ``vmap``."""

    in_axes: Any
    out_axes: Any
    axis_name: Any
    axis_size: int | None
    chunk: int | None


@user_traceback
def vmap(
    fun: Callable[P, R],
    in_axes: Any = 0,
    out_axes: Any = 0,
    axis_name: Any = None,
    axis_size: int | None = None,
    chunk: int | None = None,
    spmd_axis_name: Any = None,
) -> Callable[P, R]:
    """Map ``fun`` over an axis of its arguments, in one vectorised computation.

    ``in_axes``: an int or None for all positional arguments, or a tuple of such or of pytrees of
    them, one per argument; None does not map, and what is no array (a function, a Python number)
    stays what it is. Keyword arguments are mapped over axis 0.
    ``out_axes`` likewise for results. ``axis_name``: what collectives inside (``lax.psum`` ...)
    call the mapped axis. ``chunk``: how many examples are computed together, one chunk after the
    other in a loop, which bounds the memory that a large batch takes.
    ``spmd_axis_name`` is accepted for compatibility: there is one device.

    Raises ShapeError when mapped sizes differ and ArgumentError when nothing is mapped and no
    ``axis_size`` is given.

    >>> vmap(lambda row, b: jnp.sum(row) + b, in_axes=(0, None))(jnp.ones((2, 3)), 10.0)
    Array([13., 13.], dtype=float32)
    >>> vmap(lambda x: x / lax.psum(x, "batch"), axis_name="batch")(jnp.array([1.0, 3.0]))
    Array([0.25, 0.75], dtype=float32)
    >>> pairs = vmap(lambda x: jnp.sum((x - jnp.arange(100)) ** 2), chunk=16)
    >>> pairs(jnp.arange(100)).shape
    (100,)
    """

    check_function("vmap", fun)
    _check_chunk(chunk, axis_name)
    spec = _Spec(in_axes, out_axes, axis_name, axis_size, chunk)

    @user_traceback
    @wraps(fun)
    def vmap_of(*args: Any, **kwargs: Any) -> Any:
        return _mapped(fun, spec, args, kwargs)

    return vmap_of


def _mapped(fun: Callable[..., Any], spec: _Spec, args: tuple[Any, ...], kwargs: Any) -> Any:
    """One call of ``fun`` mapped as ``spec`` says."""
    if plain := _plain(spec.in_axes, args):
        kept = [k for k in range(len(args)) if k not in plain]
        if spec.in_axes is not None:
            spec = replace(spec, in_axes=tuple(spec.in_axes[k] for k in kept))
        fun, args = Bound(fun, args, plain, {}), tuple(args[k] for k in kept)
    call = FlatCall.of(fun, args, kwargs)
    axes = _leaf_axes(spec.in_axes, args, kwargs, call)
    size = _batch_size(call, axes, spec.axis_size)
    xs = [
        x if axis is None else methods.moveaxis(x, axis, 0)
        for x, axis in zip(call.leaves, axes, strict=True)
    ]
    mask = tuple(axis is not None for axis in axes)
    types = [x.type.with_shape(x.shape[1:]) if m else x.type for x, m in zip(xs, mask, strict=True)]
    with named_axes.bound(spec.axis_name, size):
        traced = trace_call(call, "vmap", types=types)
    key_uses.consume_all(xs, traced)
    full = (*(False for _ in traced.captured), *mask)
    out_wanted = _out_axes(spec.out_axes, traced.outputs.treedef, function_name(fun))
    stacked = tuple(axis is not None for axis in out_wanted)
    arrays = [*traced.captured, *xs]
    found: tuple[bool, ...]
    if spec.chunk is not None and size > spec.chunk:
        outs, found = _in_chunks(traced.graph, arrays, full, size, spec.chunk)
        outs = [y if m or s else y[0] for y, m, s in zip(outs, found, stacked, strict=True)]
        found = tuple(m or s for m, s in zip(found, stacked, strict=True))
    else:
        with collective.batching(spec.axis_name):
            graph, found = batch_graph(traced.graph, size, full, stacked)
        outs = run_graph(graph, arrays)
    key_uses.note_results(outs, traced)
    placed = [
        _place(y, m, axis, function_name(fun))
        for y, m, axis in zip(outs, found, out_wanted, strict=True)
    ]
    return traced.outputs.build(placed)


def _plain(in_axes: Any, args: tuple[Any, ...]) -> tuple[int, ...]:
    """Arguments that are not mapped and not arrays: functions, sizes, names. They stay what they
    are.
    """
    each = (None,) * len(args) if in_axes is None else in_axes
    if not isinstance(each, tuple | list) or len(each) != len(args):
        return ()
    return tuple(
        k
        for k, (axis, arg) in enumerate(zip(each, args, strict=True))
        if axis is None and any(not hasattr(leaf, "dtype") for leaf in tree_leaves(arg))
    )


def _check_chunk(chunk: int | None, axis_name: Any) -> None:
    if chunk is None:
        return
    if not isinstance(chunk, int) or chunk < 1:
        raise ArgumentError(f"vmap: chunk is a positive integer, not {chunk!r}", at=source.here())
    if axis_name is not None:
        raise ArgumentError(
            "vmap: collectives over a named axis need all examples at once, not chunks of them",
            at=source.here(),
            hint="give one of `axis_name` and `chunk`",
        )


def _in_chunks(
    graph: Graph, arrays: Sequence[Array], mask: Sequence[bool], size: int, chunk: int
) -> tuple[list[Array], tuple[bool, ...]]:
    """``graph`` over batches of ``chunk`` examples in a scan, and over the rest: all results
    stacked, and which of them depend on the example.
    """
    every = (True,) * len(graph.outputs)
    whole = size // chunk * chunk
    consts = [x for x, m in zip(arrays, mask, strict=True) if not m]
    mapped = [x for x, m in zip(arrays, mask, strict=True) if m]

    def batched(count: int) -> Graph:
        """Consts first, as a scan's body has them."""
        found, _ = batch_graph(graph, count, mask, every)
        pairs = list(zip(found.inputs, mask, strict=True))
        inputs = (*(v for v, m in pairs if not m), *(v for v, m in pairs if m))
        return replace(found, inputs=inputs)

    blocks = [
        promotion.reshaped(shaping.cut(x, 0, 0, whole), (whole // chunk, chunk, *x.shape[1:]))
        for x in mapped
    ]
    outs = apply(
        scan,
        *consts,
        *blocks,
        body=batched(chunk),
        n_consts=len(consts),
        n_carry=0,
        length=whole // chunk,
        reverse=False,
    )
    outs = [promotion.reshaped(y, (whole, *y.shape[2:])) for y in outs]
    depends = batch_graph(graph, chunk, mask)[1]
    if whole == size:
        return outs, depends
    rest = [shaping.cut(x, 0, whole, size) for x in mapped]
    last = run_graph(batched(size - whole), [*consts, *rest])
    return [shaping.concatenate([y, r]) for y, r in zip(outs, last, strict=True)], depends


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
