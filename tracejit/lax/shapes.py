"""Making and moving elements under JAX's ``lax`` names: fills, ranges, reshaping, static and
dynamic slices.

>>> slice_in_dim(iota("int32", 6), 2, 4)
Array([2, 3], dtype=int32)
"""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

import numpy as np

from tracejit.errors import ArgumentError, DTypeError, ShapeError
from tracejit.frontend import creation, elementwise, promotion, shaping
from tracejit.frontend.array import Array, apply, as_array
from tracejit.frontend.axes import axes_list, axis_number, integer, shape_tuple
from tracejit.frontend.promotion import constant_of, convert, reshaped, spread
from tracejit.ir.types import DTYPES, kind
from tracejit.lax.operands import ints, same_dtypes
from tracejit.ops import broadcast as broadcast_ops
from tracejit.ops import dynamic, layout
from tracejit.source import here

# ---- from nothing --------------------------------------------------------------------------------


def full(shape: Any, fill_value: Any, dtype: Any = None, *, sharding: Any = None) -> Array:
    """An array of ``shape`` filled with a scalar."""
    value = as_array(fill_value)
    if value.shape != ():
        raise ShapeError(f"full: the fill value is a scalar, not {value.type}", at=here())
    return creation.full(shape, value, dtype)


def full_like(
    x: Any, fill_value: Any, dtype: Any = None, shape: Any = None, sharding: Any = None
) -> Array:
    """An array in the shape and dtype of ``x`` filled with a scalar."""
    return creation.full_like(x, fill_value, dtype, shape)


def empty(shape: Any, dtype: Any) -> Array:
    """An array of ``shape`` of no particular content: zeros."""
    return creation.zeros(shape, dtype)


def iota(dtype: Any, size: int) -> Array:
    """0, 1, 2 ... in ``dtype``."""
    return broadcasted_iota(dtype, (size,), 0)


def broadcasted_iota(dtype: Any, shape: Any, dimension: int, *, out_sharding: Any = None) -> Array:
    """The index along one axis, for each element of ``shape``."""
    sizes = shape_tuple(shape)
    axis = axis_number("broadcasted_iota", dimension, len(sizes))
    return apply(layout.iota, dtype=promotion.canonical(dtype), shape=sizes, dimension=axis)


def shape_as_value(shape: Any) -> Array:
    """A shape as a one-dimensional array of integers."""
    return creation.asarray(list(shape_tuple(shape)), dtype=int)


# ---- broadcasting --------------------------------------------------------------------------------


def broadcast_shapes(*shapes: Sequence[int]) -> tuple[int, ...]:
    """The common shape of several by NumPy's rules."""
    try:
        return np.broadcast_shapes(*(tuple(s) for s in shapes))
    except ValueError:
        shown = " and ".join(str(tuple(s)) for s in shapes)
        raise ShapeError(f"broadcast_shapes: shapes do not broadcast: {shown}", at=here()) from None


def broadcast(operand: Any, sizes: Sequence[int], *, out_sharding: Any = None) -> Array:
    """``operand`` repeated along new leading axes of ``sizes``."""
    x = as_array(operand)
    return promotion.broadcast_to(x, (*shape_tuple(sizes), *x.shape))


def broadcast_in_dim(
    operand: Any, shape: Any, broadcast_dimensions: Sequence[int], *, out_sharding: Any = None
) -> Array:
    """``operand`` stretched to ``shape``: its axis k is axis ``broadcast_dimensions[k]`` of the
    result.

    >>> lax.broadcast_in_dim(jnp.arange(2), (2, 3), (0,))
    Array([[0, 0, 0],
           [1, 1, 1]])
    """
    x, sizes = as_array(operand), shape_tuple(shape)
    if constant_of(x) is not None and x.ndim == 0 and not tuple(broadcast_dimensions):
        return spread(constant_of(x), x.type.with_shape(sizes))
    return apply(broadcast_ops.broadcast_in_dim, x, shape=sizes, dims=ints(broadcast_dimensions))


def broadcast_to_rank(x: Any, rank: int) -> Array:
    """``x`` with leading axes of size 1 up to ``rank``."""
    x = as_array(x)
    return reshaped(x, (1,) * (rank - x.ndim) + x.shape)


def broadcast_like(arr: Any, like_arr: Any) -> Array:
    """``arr`` broadcast to the shape of ``like_arr``."""
    return shaping.broadcast_to(arr, as_array(like_arr).shape)


def tile(operand: Any, reps: Sequence[int]) -> Array:
    """``operand`` repeated ``reps`` times along each axis."""
    x = as_array(operand)
    if len(tuple(reps)) != x.ndim:
        raise ShapeError(
            f"tile: {len(tuple(reps))} counts for the {x.ndim} axes of {x.type}", at=here()
        )
    return shaping.tile(x, tuple(reps))


# ---- reshaping and joining -----------------------------------------------------------------------


def reshape(
    operand: Any, new_sizes: Any, dimensions: Any = None, *, out_sharding: Any = None
) -> Array:
    """The elements under another shape; ``dimensions`` is the order in which axes are read."""
    x = as_array(operand)
    return shaping.reshape(
        x if dimensions is None else shaping.transpose(x, tuple(dimensions)), tuple(new_sizes)
    )


def transpose(operand: Any, permutation: Any) -> Array:
    """Axis k of the result is axis ``permutation[k]``."""
    return shaping.transpose(operand, tuple(permutation))


def collapse(operand: Any, start_dimension: int, stop_dimension: int | None = None) -> Array:
    """Axes from start to stop (exclusive) merged into one."""
    x = as_array(operand)
    start, stop, _ = builtins.slice(start_dimension, stop_dimension).indices(x.ndim)
    if stop < start:
        raise ArgumentError(
            f"collapse: {start_dimension} to {stop_dimension} is no range of the axes of {x.type}",
            at=here(),
        )
    size = int(np.prod(x.shape[start:stop], dtype=np.int64))
    return reshaped(x, (*x.shape[:start], size, *x.shape[stop:]))


def squeeze(array: Any, dimensions: Sequence[int]) -> Array:
    """``array`` without the axes ``dimensions``, which have size 1."""
    return shaping.squeeze(array, tuple(dimensions))


def expand_dims(array: Any, dimensions: Sequence[int]) -> Array:
    """``array`` with new axes of size 1 at these positions of the result."""
    return shaping.expand_dims(array, tuple(dimensions))


def rev(operand: Any, dimensions: Sequence[int]) -> Array:
    """The order of elements along ``dimensions`` reversed."""
    return shaping.flip(operand, tuple(dimensions))


def concatenate(operands: Sequence[Any], dimension: int) -> Array:
    """Arrays of one dtype one after the other along an axis."""
    arrays = same_dtypes("concatenate", *operands)
    return shaping.concatenate(arrays, dimension)


def stack(operands: Sequence[Any], axis: int = 0) -> Array:
    """Arrays of one type along a new axis."""
    return shaping.stack(same_dtypes("stack", *operands), axis)


def unstack(x: Any, axis: int = 0) -> tuple[Array, ...]:
    """The entries along an axis."""
    x = as_array(x)
    number = axis_number("unstack", axis, x.ndim)
    return tuple(index_in_dim(x, k, number, keepdims=False) for k in range(x.shape[number]))


def split(operand: Any, sizes: Sequence[int], axis: int = 0) -> list[Array]:
    """Parts of these sizes along an axis."""
    x = as_array(operand)
    number, extents = axis_number("split", axis, x.ndim), ints(sizes)
    if sum(extents) != x.shape[number]:
        raise ShapeError(
            f"split: sizes {extents} do not add up to axis {number} of {x.type}", at=here()
        )
    ends = np.cumsum((0, *extents)).tolist()
    return [shaping.cut(x, number, a, b) for a, b in zip(ends, ends[1:], strict=False)]


def pad(operand: Any, padding_value: Any, padding_config: Sequence[tuple[int, int, int]]) -> Array:
    """Per axis (low, high, interior): copies of a scalar around and between elements; negative ones
    cut off.

    >>> lax.pad(jnp.array([1, 2, 3]), 0, [(1, 0, 1)])
    Array([0, 1, 0, 2, 0, 3])
    """
    x, value = same_dtypes("pad", operand, padding_value)
    return apply(layout.pad, x, value, config=tuple(ints(c) for c in padding_config))


# ---- static slices -------------------------------------------------------------------------------


def slice(
    operand: Any,
    start_indices: Sequence[int],
    limit_indices: Sequence[int],
    strides: Sequence[int] | None = None,
) -> Array:
    """``operand[start:limit:stride]`` along every axis; bounds lie within it."""
    x = as_array(operand)
    steps = (1,) * x.ndim if strides is None else ints(strides)
    return apply(
        layout.slice_, x, start=ints(start_indices), limit=ints(limit_indices), strides=steps
    )


def slice_in_dim(
    operand: Any, start_index: int | None, limit_index: int | None, stride: int = 1, axis: int = 0
) -> Array:
    """``operand[start:limit:stride]`` along one axis; negative bounds count from the end."""
    x = as_array(operand)
    number = axis_number("slice_in_dim", axis, x.ndim)
    n = x.shape[number]
    start = 0 if start_index is None else int(start_index)
    stop = n if limit_index is None else int(limit_index)
    start, stop = start + n * (start < 0), stop + n * (stop < 0)
    if not 0 <= start <= stop <= n:
        raise ShapeError(
            f"slice_in_dim: {start_index}:{limit_index} is no range of axis {number} of {x.type}",
            at=here(),
        )
    return shaping.cut(x, number, start, stop, int(stride))


def index_in_dim(operand: Any, index: int, axis: int = 0, keepdims: bool = True) -> Array:
    """The entry at a static index along an axis."""
    x = as_array(operand)
    number = axis_number("index_in_dim", axis, x.ndim)
    at = integer(index, "index_in_dim: index")
    n = x.shape[number]
    if not -n <= at < n:
        raise ShapeError(
            f"index_in_dim: index {at} is outside axis {number} of {x.type}", at=here()
        )
    found = shaping.cut(x, number, at % n, at % n + 1)
    return found if keepdims else shaping.squeeze(found, number)


# ---- slices at run-time positions ----------------------------------------------------------------


def _starts(name: str, x: Array, starts: Any, negative: bool | Sequence[bool]) -> list[Array]:
    """One integer scalar per axis, negative ones counted from the end."""
    given = (
        list(starts)
        if isinstance(starts, tuple | list)
        else [as_array(starts)[k] for k in range(x.ndim)]
    )
    if len(given) != x.ndim:
        raise ShapeError(
            f"{name}: takes one start per axis of {x.type}, not {len(given)}", at=here()
        )
    wraps = [negative] * x.ndim if isinstance(negative, bool) else list(negative)
    return [_start(name, s, n, wrap) for s, n, wrap in zip(given, x.shape, wraps, strict=True)]


def _start(name: str, start: Any, n: int, wrap: bool) -> Array:
    at = as_array(start)
    if at.shape != () or kind(at.dtype) not in "iu":
        raise DTypeError(f"{name}: a start is a scalar integer, not {at.type}", at=here())
    at = convert(at, at.dtype)
    if not wrap or kind(at.dtype) == "u":
        return at
    known = constant_of(at)
    if known is not None:
        return at if known >= 0 else elementwise.add(at, n)
    return elementwise.select(elementwise.less(at, 0), elementwise.add(at, n), at)


def dynamic_slice(
    operand: Any,
    start_indices: Any,
    slice_sizes: Any,
    *,
    allow_negative_indices: bool | Sequence[bool] = True,
) -> Array:
    """The window of ``slice_sizes`` at run-time starts, moved inside where it would reach out.

    Raises ShapeError where the window is larger than ``operand``.

    >>> lax.dynamic_slice(jnp.arange(5), (4,), (2,))
    Array([3, 4])
    """
    x = as_array(operand)
    starts = _starts("dynamic_slice", x, start_indices, allow_negative_indices)
    return apply(dynamic.dynamic_slice, x, *starts, sizes=shape_tuple(slice_sizes))


def dynamic_update_slice(
    operand: Any,
    update: Any,
    start_indices: Any,
    *,
    allow_negative_indices: bool | Sequence[bool] = True,
) -> Array:
    """``operand`` with the window at run-time starts replaced by ``update``.

    >>> lax.dynamic_update_slice(jnp.zeros(4), jnp.ones(2), (1,))
    Array([0., 1., 1., 0.], dtype=float32)
    """
    x, values = same_dtypes("dynamic_update_slice", operand, update)
    starts = _starts("dynamic_update_slice", x, start_indices, allow_negative_indices)
    return apply(dynamic.dynamic_update_slice, x, values, *starts)


def _at_axis(x: Array, axis: int, start: Any) -> list[Any]:
    starts: list[Any] = [np.int32(0)] * x.ndim
    starts[axis] = start
    return starts


def dynamic_slice_in_dim(
    operand: Any,
    start_index: Any,
    slice_size: int,
    axis: int = 0,
    *,
    allow_negative_indices: bool = True,
) -> Array:
    """``slice_size`` entries along one axis from a run-time start."""
    x = as_array(operand)
    number = axis_number("dynamic_slice_in_dim", axis, x.ndim)
    sizes = (*x.shape[:number], int(slice_size), *x.shape[number + 1 :])
    starts = _at_axis(x, number, start_index)
    return dynamic_slice(x, starts, sizes, allow_negative_indices=allow_negative_indices)


def dynamic_index_in_dim(
    operand: Any,
    index: Any,
    axis: int = 0,
    keepdims: bool = True,
    *,
    allow_negative_indices: bool = True,
) -> Array:
    """The entry at a run-time index along an axis; the index is clamped into it."""
    x = as_array(operand)
    found = dynamic_slice_in_dim(x, index, 1, axis, allow_negative_indices=allow_negative_indices)
    return found if keepdims else shaping.squeeze(found, axis)


def dynamic_update_slice_in_dim(
    operand: Any, update: Any, start_index: Any, axis: int, *, allow_negative_indices: bool = True
) -> Array:
    """``operand`` with entries along one axis, from a run-time start, replaced."""
    x = as_array(operand)
    number = axis_number("dynamic_update_slice_in_dim", axis, x.ndim)
    starts = _at_axis(x, number, start_index)
    return dynamic_update_slice(x, update, starts, allow_negative_indices=allow_negative_indices)


def dynamic_update_index_in_dim(
    operand: Any, update: Any, index: Any, axis: int, *, allow_negative_indices: bool = True
) -> Array:
    """``operand`` with the entry at a run-time index along an axis replaced."""
    x, values = as_array(operand), as_array(update)
    number = axis_number("dynamic_update_index_in_dim", axis, x.ndim)
    if values.ndim != x.ndim:
        values = shaping.expand_dims(values, number)
    return dynamic_update_slice_in_dim(
        x, values, index, number, allow_negative_indices=allow_negative_indices
    )


def index_take(src: Any, idxs: Sequence[Any], axes: Sequence[int]) -> Array:
    """Entries of ``src`` at one-dimensional indices along ``axes``, which go; the indices' axis is
    the first.
    """
    x = as_array(src)
    numbers = axes_list("index_take", tuple(axes), x.ndim)
    moved = shaping.moveaxis(x, numbers, tuple(range(len(numbers))))
    return moved[tuple(convert(as_array(i), DTYPES["i64"]) for i in idxs)]
