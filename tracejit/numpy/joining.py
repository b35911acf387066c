"""Joining, splitting, padding and rearranging arrays.

>>> vstack([jnp.zeros(2), jnp.ones(2)])
Array([[0., 0.],
       [1., 1.]], dtype=float32)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tracejit.errors import ArgumentError, OutOfBoundsError, ShapeError
from tracejit.frontend import creation, indexing, placement, promotion, reductions, shaping
from tracejit.frontend import elementwise as ew
from tracejit.frontend import ordering as order_of
from tracejit.frontend.array import Array, as_array
from tracejit.frontend.axes import axes_list, axis_number, by_numpy, integer, shape_tuple
from tracejit.frontend.promotion import reshaped
from tracejit.frontend.shaping import concatenate, cut, moveaxis
from tracejit.numpy.host import write
from tracejit.source import here

# ---- ranks ---------------------------------------------------------------------------------------


def _at_least(rank: int, arys: tuple[Any, ...], widen: Callable[[Any], tuple[int, ...]]) -> Any:
    found = []
    for x in arys:
        a = as_array(x)
        found.append(a if a.ndim >= rank else reshaped(a, widen(a)))
    return found[0] if len(found) == 1 else found


def atleast_1d(*arys: Any) -> Any:
    """Scalars as arrays with one axis."""
    return _at_least(1, arys, lambda a: (1,))


def atleast_2d(*arys: Any) -> Any:
    """Scalars and vectors as matrices of one row."""
    return _at_least(2, arys, lambda a: (1,) * (2 - a.ndim) + a.shape)


def atleast_3d(*arys: Any) -> Any:
    """Arrays with at least three axes: a vector becomes (1, n, 1), a matrix (m, n, 1)."""
    return _at_least(3, arys, lambda a: (1, a.size, 1) if a.ndim < 2 else (*a.shape, 1))


def broadcast_arrays(*args: Any) -> tuple[Any, ...]:
    """Arrays repeated to their common shape, in a tuple. Raises ShapeError where there is none.

    >>> jnp.broadcast_arrays(jnp.arange(2), 1)
    (Array([0, 1]), Array([1, 1]))
    """
    arrays = [as_array(a) for a in args]
    shape = promotion.broadcast_shapes("broadcast_arrays", arrays) if arrays else ()
    return tuple(shaping.broadcast_to(a, shape) for a in arrays)


def broadcast_shapes(*shapes: Any) -> tuple[int, ...]:
    """The shape that arrays of these shapes broadcast to."""
    stand_ins = [Array(np.broadcast_to(np.False_, shape_tuple(s))) for s in shapes]
    return promotion.broadcast_shapes("broadcast_shapes", stand_ins) if stand_ins else ()


def rollaxis(a: Any, axis: int, start: int = 0) -> Any:
    """``axis`` moved to before ``start`` (moveaxis says it more plainly)."""
    a = as_array(a)
    number = axis_number("rollaxis", axis, a.ndim)
    start = start + a.ndim if start < 0 else start
    if not 0 <= start <= a.ndim:
        raise ShapeError(f"rollaxis: start {start} is outside an array of {a.ndim} axes", at=here())
    return moveaxis(a, number, start - (number < start))


# ---- joining -------------------------------------------------------------------------------------


def _items(name: str, tup: Any, rank: Callable[[Any], Any], dtype: Any) -> list[Any]:
    return [rank(x) for x in shaping.sequence(name, tup)]


def vstack(tup: Any, dtype: Any = None, *, casting: str = "same_kind") -> Any:
    """Rows one below the other: vectors are rows.

    >>> jnp.vstack([jnp.arange(2), jnp.ones((2, 2))]).shape
    (3, 2)
    """
    return concatenate(_items("vstack", tup, atleast_2d, dtype), 0, dtype, casting=casting)


def hstack(tup: Any, dtype: Any = None, *, casting: str = "same_kind") -> Any:
    """Arrays side by side: along axis 1, or 0 for vectors.

    >>> jnp.hstack([jnp.ones((2, 1)), jnp.ones((2, 3))]).shape
    (2, 4)
    """
    items = _items("hstack", tup, atleast_1d, dtype)
    return concatenate(items, 0 if items[0].ndim == 1 else 1, dtype, casting=casting)


def dstack(tup: Any, dtype: Any = None) -> Any:
    """Arrays behind each other, along axis 2."""
    return concatenate(_items("dstack", tup, atleast_3d, dtype), 2, dtype)


def column_stack(tup: Any) -> Any:
    """Vectors as the columns of a matrix."""
    items = [as_array(x) for x in shaping.sequence("column_stack", tup)]
    return concatenate([reshaped(a, (a.size, 1)) if a.ndim < 2 else a for a in items], 1)


def append(arr: Any, values: Any, axis: int | None = None) -> Any:
    """``values`` after ``arr``; both flattened when there is no axis."""
    return concatenate([arr, values], axis)


def block(arrays: Any) -> Any:
    """One array from nested lists of blocks: the innermost lists join along the last axis."""

    def depth(x: Any) -> int:
        return 1 + depth(x[0]) if isinstance(x, list) else 0

    levels = depth(arrays)

    def rank(x: Any) -> int:
        return max(map(rank, x)) if isinstance(x, list) else as_array(x).ndim

    ndim = max(rank(arrays), levels)

    def join(x: Any, level: int) -> Any:
        if not isinstance(x, list):
            a = as_array(x)
            return reshaped(a, (1,) * (ndim - a.ndim) + a.shape)
        return concatenate([join(part, level + 1) for part in x], ndim - levels + level)

    found = join(arrays, 0)
    return placement.own(found, arrays) if levels == 0 else found


def insert(arr: Any, obj: Any, values: Any, axis: int | None = None) -> Any:
    """``values`` put in before the positions ``obj`` (static) along ``axis``."""
    a = as_array(arr)
    if axis is None:
        a, axis = shaping.ravel(a), 0
    number = axis_number("insert", axis, a.ndim)
    n = a.shape[number]
    places = np.arange(n)[obj] if isinstance(obj, slice) else np.asarray(obj)
    if places.size and not (-n <= places.min() and places.max() <= n):
        raise OutOfBoundsError(
            f"insert: a position is outside of axis {number} of size {n}", at=here()
        )
    places = np.where(places < 0, places + n, places)
    rows = promotion.typed(values, a.dtype)
    if places.size == 1:
        rows = reshaped(rows, (1,) * (a.ndim - rows.ndim) + rows.shape)
        rows = moveaxis(rows, 0, number) if places.ndim == 0 else rows  # as NumPy does for one int
        places = np.repeat(places.reshape(-1), rows.shape[number])
    count = places.size
    shape = tuple(count if k == number else m for k, m in enumerate(a.shape))
    rows = shaping.broadcast_to(rows, shape)
    stable = np.argsort(places, kind="stable")
    targets = np.empty(count, np.int64)
    targets[stable] = places[stable] + np.arange(count)
    source = np.empty(n + count, np.int64)
    is_new = np.zeros(n + count, bool)
    is_new[targets] = True
    source[targets] = n + np.arange(count)
    source[~is_new] = np.arange(n)
    return indexing.take(concatenate([a, rows], number), source, number)


def delete(arr: Any, obj: Any, axis: int | None = None) -> Any:
    """``arr`` without the positions ``obj`` (static: ints, a slice or a mask) along ``axis``."""
    a = as_array(arr)
    if axis is None:
        a, axis = shaping.ravel(a), 0
    number = axis_number("delete", axis, a.ndim)
    given = obj if isinstance(obj, slice) else np.asarray(obj)
    kept = by_numpy("delete", np.delete, np.arange(a.shape[number]), given)
    return indexing.take(a, kept, number)


def resize(a: Any, new_shape: Any) -> Any:
    """The elements of ``a`` repeated in order until ``new_shape`` is full."""
    a, sizes = shaping.ravel(a), shape_tuple(new_shape)
    count = int(np.prod(sizes, dtype=np.int64))
    if a.size == 0:
        return creation.zeros(sizes, a.dtype)
    wide = shaping.tile(a, -(-count // a.size)) if count > a.size else a
    return reshaped(cut(wide, 0, 0, count), sizes)


# ---- splitting -----------------------------------------------------------------------------------


def array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    """Parts along ``axis``: a number of nearly equal ones, or cut at the positions given."""
    a = as_array(ary)
    number = axis_number("array_split", axis, a.ndim)
    n = a.shape[number]
    if isinstance(indices_or_sections, Sequence | np.ndarray | Array) and np.ndim(
        indices_or_sections
    ):
        inner = [slice(None, int(k)).indices(n)[1] for k in np.asarray(indices_or_sections)]
        begins, ends = [0, *inner], [*inner, n]
    else:
        count = integer(indices_or_sections, "array_split: sections")
        if count < 1:
            raise ArgumentError(f"array_split: {count} sections", at=here())
        sizes = [n // count + (k < n % count) for k in range(count)]
        ends = np.cumsum(sizes).tolist()
        begins = [0, *ends[:-1]]
    return [cut(a, number, b, max(e, b)) for b, e in zip(begins, ends, strict=True)]


def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    """Parts along ``axis``: equal ones, else ShapeError, or cut at the positions given.

    >>> [part.shape for part in jnp.split(jnp.ones(6), [1, 3])]
    [(1,), (2,), (3,)]
    """
    a = as_array(ary)
    if np.ndim(indices_or_sections) == 0:
        n = a.shape[axis_number("split", axis, a.ndim)]
        if n % integer(indices_or_sections, "split: sections"):
            raise ShapeError(
                f"split: an axis of {n} does not divide into {indices_or_sections} equal parts",
                at=here(),
                hint="use array_split for parts that differ by one",
            )
    return array_split(a, indices_or_sections, axis)


def hsplit(ary: Any, indices_or_sections: Any) -> list[Any]:
    """Parts along axis 1 (0 for vectors)."""
    return split(ary, indices_or_sections, 0 if as_array(ary).ndim == 1 else 1)


def vsplit(ary: Any, indices_or_sections: Any) -> list[Any]:
    """Parts along axis 0, of arrays of two axes or more."""
    if as_array(ary).ndim < 2:
        raise ShapeError(f"vsplit: takes at least two axes, not {as_array(ary).type}", at=here())
    return split(ary, indices_or_sections, 0)


def dsplit(ary: Any, indices_or_sections: Any) -> list[Any]:
    """Parts along axis 2."""
    return split(ary, indices_or_sections, 2)


def unstack(x: Any, /, *, axis: int = 0) -> tuple[Any, ...]:
    """The slices along ``axis`` as a tuple."""
    return tuple(moveaxis(x, axis, 0))


# ---- turning -------------------------------------------------------------------------------------


def fliplr(m: Any) -> Any:
    """Columns in reverse order."""
    return shaping.flip(m, 1)


def flipud(m: Any) -> Any:
    """Rows in reverse order."""
    return shaping.flip(m, 0)


def rot90(m: Any, k: int = 1, axes: tuple[int, int] = (0, 1)) -> Any:
    """``m`` turned k times by 90 degrees in the plane of two axes."""
    a = as_array(m)
    i, j = axes_list("rot90", axes, a.ndim)
    turns = k % 4
    if turns == 0:
        return a
    if turns == 2:
        return shaping.flip(a, (i, j))
    if turns == 1:
        return shaping.swapaxes(shaping.flip(a, j), i, j)
    return shaping.flip(shaping.swapaxes(a, i, j), j)


def roll(a: Any, shift: Any, axis: Any = None) -> Any:
    """Elements moved by ``shift`` along ``axis``; those that leave come in again at the other
    end.

    >>> jnp.roll(jnp.arange(4), 1)
    Array([3, 0, 1, 2])
    """
    a = given = as_array(a)
    if axis is None:
        return reshaped(roll(shaping.ravel(a), shift, 0), a.shape)
    # an axis may be named more than once, each time with a shift of its own
    named = axis if isinstance(axis, tuple | list) else (axis,)
    axes = tuple(axis_number("roll", k, a.ndim) for k in named)
    shift = tuple(shift) if isinstance(shift, tuple | list) else shift
    if isinstance(shift, Array) and (shift._data is None or shift._trace is not None):
        return _roll_traced(a, shift, axes)
    numbers = [integer(s, "roll: a shift") for s in np.atleast_1d(np.asarray(shift)).tolist()]
    if len(numbers) != len(axes) and 1 not in (len(numbers), len(axes)):
        raise ShapeError(f"roll: {len(numbers)} shifts for {len(axes)} axes", at=here())
    count = max(len(numbers), len(axes))
    axes, numbers = axes * (count // len(axes) or 1), numbers * (count // len(numbers) or 1)
    for number, s in zip(axes, numbers, strict=True):
        n = a.shape[number]
        if n and s % n:
            s %= n
            a = concatenate([cut(a, number, n - s, n), cut(a, number, 0, n - s)], number)
    return placement.own(a, given)


def _roll_traced(a: Any, shift: Any, axes: tuple[int, ...]) -> Any:
    shifts = [shift] * len(axes) if shift.ndim == 0 else list(shift)
    for number, s in zip(axes, shifts, strict=True):
        n = a.shape[number]
        if n:
            places = ew.remainder(ew.subtract(creation.arange(n), s), n)
            a = indexing.take(a, places, number, mode="promise_in_bounds")
    return a


# ---- padding -------------------------------------------------------------------------------------


def _widths(pad_width: Any, ndim: int) -> list[tuple[int, int]]:
    if isinstance(pad_width, dict):
        found = [(0, 0)] * ndim
        for axis, width in pad_width.items():
            found[axis] = tuple(np.broadcast_to(width, (2,)).tolist())
        return found
    widths = np.asarray(pad_width)
    if widths.dtype.kind not in "iu" or (widths < 0).any():
        raise ArgumentError(
            f"pad: pad_width {pad_width!r} must hold non-negative integers", at=here()
        )
    try:
        return [tuple(w) for w in np.broadcast_to(widths, (ndim, 2)).tolist()]
    except ValueError:
        raise ShapeError(
            f"pad: pad_width {pad_width!r} does not fit {ndim} axes", at=here()
        ) from None


def _pair(values: Any, ndim: int) -> list[tuple[Any, Any]]:
    """Padding values as (before, after) per axis; they may be traced."""
    flat = as_array(values)
    wide = (
        promotion.broadcast_to(flat, (ndim, 2)) if flat.ndim < 2 or flat.shape[0] != ndim else flat
    )
    return [(wide[k, 0], wide[k, 1]) for k in range(ndim)]


def pad(
    array: Any,
    pad_width: Any,
    mode: Any = "constant",
    *,
    constant_values: Any = 0,
    stat_length: Any = None,
    end_values: Any = 0,
    reflect_type: str = "even",
    **options: Any,
) -> Any:
    """``array`` with borders of ``pad_width`` = ((before, after), ...), filled as ``mode`` says.

    ``mode`` is one of NumPy's, or a function that fills the borders of one NumPy vector after the
    other, which gets ``options`` too; another raises ArgumentError.

    >>> jnp.pad(jnp.array([1, 2, 3]), (1, 2), mode="edge")
    Array([1, 1, 2, 3, 3, 3])
    """
    a = as_array(array)
    widths = _widths(pad_width, a.ndim)
    if callable(mode):
        known = a.concrete("pad() with a function as mode")
        return as_array(by_numpy("pad", np.pad, known, widths, mode, **options))
    if options:
        raise ArgumentError(f"pad: there is no argument {next(iter(options))!r}", at=here())
    if mode in ("constant", "empty"):
        return _pad_constant(a, widths, constant_values if mode == "constant" else 0)
    if mode in ("edge", "reflect", "symmetric", "wrap"):
        for axis, (low, high) in enumerate(widths):
            a = _pad_from_inside(a, axis, low, high, mode, reflect_type)
        return a
    if mode == "linear_ramp":
        for axis, ((low, high), ends) in enumerate(
            zip(widths, _pair(end_values, a.ndim), strict=True)
        ):
            a = _pad_ramp(a, axis, low, high, ends)
        return a
    statistics = {
        "maximum": reductions.max,
        "minimum": reductions.min,
        "mean": reductions.mean,
        "median": _median,
    }
    if mode not in statistics:
        raise ArgumentError(f"pad: there is no mode {mode!r}", at=here())
    lengths = (
        [(None, None)] * a.ndim
        if stat_length is None
        else np.broadcast_to(stat_length, (a.ndim, 2)).tolist()
    )
    for axis, ((low, high), (first, last)) in enumerate(zip(widths, lengths, strict=True)):
        a = _pad_statistic(a, axis, (low, high), (first, last), statistics[mode])
    return a


def _pad_constant(a: Any, widths: list[tuple[int, int]], values: Any) -> Any:
    if np.ndim(values) == 0 or as_array(values).size == 1:
        value = values if np.ndim(values) == 0 else reshaped(as_array(values), ())
        return shaping.padded(a, [(low, high, 0) for low, high in widths], value)
    for axis, ((low, high), (before, after)) in enumerate(
        zip(widths, _pair(values, a.ndim), strict=True)
    ):
        a = shaping.padded(a, [(low if k == axis else 0, 0, 0) for k in range(a.ndim)], before)
        a = shaping.padded(a, [(0, high if k == axis else 0, 0) for k in range(a.ndim)], after)
    return a


def _pad_from_inside(a: Any, axis: int, low: int, high: int, mode: str, reflect_type: str) -> Any:
    """Borders that repeat elements: their positions along the axis are static."""
    n = a.shape[axis]
    if low == high == 0:
        return a
    if n == 0:
        raise ShapeError(
            f"pad: axis {axis} of {a.type} is empty, mode {mode!r} has nothing to repeat", at=here()
        )
    if mode == "edge":
        parts = [cut(a, axis, 0, 1)] * bool(low) + [cut(a, axis, n - 1, n)] * bool(high)
        wide = [
            shaping.broadcast_to(p, _resized(a, axis, w))
            for p, w in zip(parts, filter(None, (low, high)), strict=True)
        ]
        before, after = ([wide[0]] if low else []), ([wide[-1]] if high else [])
        return concatenate([*before, a, *after], axis)
    if reflect_type == "odd" and mode != "wrap" and (n > 1 or mode == "symmetric"):
        return _pad_odd(a, axis, low, high, mode)
    return indexing.take(a, np.pad(np.arange(n), (low, high), mode=mode), axis)


def _pad_odd(a: Any, axis: int, low: int, high: int, mode: str) -> Any:
    """Borders mirrored at the end points themselves: 2 x[0] - x[k] stands opposite of x[k]. Two
    reflections are a step of one period, by which all values rise by 2 (x[-1] - x[0]).
    """
    n = a.shape[axis]
    period = 2 * n if mode == "symmetric" else 2 * (n - 1)
    turns, places = np.divmod(np.arange(-low, n + high), period)
    back = places >= n
    places = np.where(back, period - places - (mode == "symmetric"), places)
    line = [-1 if k == axis else 1 for k in range(a.ndim)]
    first, last = cut(a, axis, 0, 1), cut(a, axis, n - 1, n)
    found = indexing.take(a, places, axis)
    found = ew.add(
        ew.multiply(found, np.where(back, -1, 1).reshape(line).astype(a.dtype)),
        ew.multiply(last, (2 * back).reshape(line).astype(a.dtype)),
    )
    rise = ew.multiply(ew.subtract(last, first), (2 * turns).reshape(line).astype(a.dtype))
    return ew.add(found, rise)


def _resized(a: Any, axis: int, size: int) -> tuple[int, ...]:
    return tuple(size if k == axis else n for k, n in enumerate(a.shape))


def _pad_ramp(a: Any, axis: int, low: int, high: int, ends: tuple[Any, Any]) -> Any:
    parts = []
    for width, end, edge, forward in (
        (low, ends[0], 0, True),
        (high, ends[1], a.shape[axis] - 1, False),
    ):
        steps = np.arange(width) if forward else np.arange(width - 1, -1, -1)
        t = (steps / max(width, 1)).reshape([-1 if k == axis else 1 for k in range(a.ndim)])
        last = promotion.to_inexact(cut(a, axis, edge, edge + 1))
        ramp = ew.add(end, ew.multiply(ew.subtract(last, end), promotion.typed(t, last.dtype)))
        ramp = ew.floor(ramp) if a.dtype.kind in "iu" else ramp
        parts.append(promotion.convert(ramp, a.dtype))
    return concatenate([parts[0], a, parts[1]], axis)


def _median(a: Any, axis: int, keepdims: bool) -> Any:
    n = a.shape[axis]
    ordered = order_of.sort(a, axis)
    return reductions.mean(cut(ordered, axis, (n - 1) // 2, n // 2 + 1), axis, keepdims=keepdims)


def _pad_statistic(
    a: Any, axis: int, widths: Any, lengths: Any, statistic: Callable[..., Any]
) -> Any:
    n = a.shape[axis]
    first = cut(a, axis, 0, n if lengths[0] is None else min(lengths[0], n))
    last = cut(a, axis, 0 if lengths[1] is None else max(n - lengths[1], 0), n)
    parts = []
    for part, width in ((first, widths[0]), (last, widths[1])):
        value = statistic(part, axis=axis, keepdims=True)
        value = ew.round(value) if a.dtype.kind in "iu" else value
        parts.append(
            shaping.broadcast_to(promotion.convert(value, a.dtype), _resized(a, axis, width))
        )
    return concatenate([parts[0], a, parts[1]], axis)


# ---- diagonals -----------------------------------------------------------------------------------


def diag(v: Any, k: int = 0) -> Any:
    """A vector as the k-th diagonal of a matrix of zeros; the k-th diagonal of a matrix.

    >>> jnp.diag(jnp.array([1, 2]))
    Array([[1, 0],
           [0, 2]])
    """
    a = as_array(v)
    if a.ndim == 2:
        return shaping.diagonal(a, k)
    if a.ndim != 1:
        raise ShapeError(f"diag: takes a vector or a matrix, not {a.type}", at=here())
    n = a.size + abs(k)
    if a.size == 0:
        return creation.zeros((n, n), a.dtype)
    # n + 1 elements apart in the flat matrix: zeros between, before and after
    low = k if k >= 0 else -k * n
    flat = shaping.padded(a, [(low, n * n - low - ((a.size - 1) * (n + 1) + 1), n)])
    return reshaped(flat, (n, n))


def diagflat(v: Any, k: int = 0) -> Any:
    """The flattened array as the k-th diagonal of a matrix of zeros."""
    return diag(shaping.ravel(v), k)


def fill_diagonal(a: Any, val: Any, wrap: bool = False, *, inplace: bool = True) -> Any:
    """``val`` on the main diagonal of ``a`` itself, or with inplace=False of a copy.

    >>> a = jnp.zeros((2, 2))
    >>> jnp.fill_diagonal(a, 1.0)
    >>> a
    Array([[1., 0.],
           [0., 1.]], dtype=float32)
    """
    if inplace:
        return write("fill_diagonal", a, fill_diagonal(a, val, wrap, inplace=False))
    a = as_array(a)
    if a.ndim < 2:
        raise ShapeError(f"fill_diagonal: takes at least two axes, not {a.type}", at=here())
    if a.ndim > 2 and len(set(a.shape)) != 1:
        raise ShapeError(f"fill_diagonal: the axes of {a.type} differ in length", at=here())
    value = as_array(val)
    if a.ndim == 2 and wrap and a.shape[1]:
        # the diagonal goes on below, a row of space between its parts
        steps = np.arange(0, a.size, a.shape[1] + 1)
        flat, where = reshaped(a, (a.size,)), (steps,)
    else:
        steps = np.arange(min(a.shape))
        flat, where = a, (steps,) * a.ndim
    if value.ndim:
        value = resize(value, (steps.size,))
    return reshaped(indexing.updated(flat, where, value, "set"), a.shape)
