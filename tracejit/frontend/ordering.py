"""Sorting, searching and picking by condition or count.

    >>> argsort(jnp.array([3.0, 1.0, 2.0]))
    Array([1, 2, 0])

Where the size of a result depends on values (``nonzero``), a traced call needs ``size=``, as in
JAX.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tracejit.errors import ArgumentError, ShapeError
from tracejit.frontend import array as core
from tracejit.frontend import (
    creation,
    elementwise,
    indexing,
    placement,
    promotion,
    reductions,
    shaping,
)
from tracejit.frontend.axes import axis_number, by_numpy, integer
from tracejit.frontend.promotion import constant_of, convert, promoted, reshaped
from tracejit.ir.types import DTYPES, kind
from tracejit.ops import sort as sorting
from tracejit.source import here

I64 = DTYPES["i64"]
#: up to this many sorted elements every one is compared; beyond, a binary search
COMPARE_ALL = 32


def known(a: Any) -> np.ndarray | None:
    """The data of an Array whose values are at hand without an abstract trace, else None."""
    return a._data


# ---- sorting -------------------------------------------------------------------------------------


def _axis(name: str, a: Any, axis: int | None) -> tuple[Any, int]:
    if axis is None:
        return shaping.ravel(a), 0
    return a, axis_number(name, axis, a.ndim)


def sort_together(keys: Any, axis: int, num_keys: int = 1) -> tuple[Any, ...]:
    """Arrays of one shape in the stable order of the first ``num_keys``."""
    found = core.apply(sorting.sort, *keys, dimension=axis, num_keys=num_keys, is_stable=True)
    return found if isinstance(found, tuple) else (found,)


def sort(
    a: Any,
    axis: int | None = -1,
    kind: Any = None,
    order: None = None,
    *,
    stable: bool = True,
    descending: bool = False,
) -> Any:
    """``a`` in ascending order along ``axis`` (flattened for None); nan comes last.

    >>> jnp.sort(jnp.array([3.0, jnp.nan, 1.0]))
    Array([ 1.,  3., nan], dtype=float32)
    """
    a, number = _axis("sort", core.as_array(a), axis)
    (found,) = sort_together((a,), number)
    return shaping.flip(found, number) if descending else found


def argsort(
    a: Any,
    axis: int | None = -1,
    kind: Any = None,
    order: None = None,
    *,
    stable: bool = True,
    descending: bool = False,
    dtype: Any = None,
) -> Any:
    """The positions that put ``a`` in order along ``axis``; equal elements keep theirs.

    >>> jnp.argsort(jnp.array([3.0, 1.0, 2.0]))
    Array([1, 2, 0])
    """
    if dtype is not None:
        found = argsort(a, axis, kind, order, stable=stable, descending=descending)
        return convert(found, promotion.canonical(dtype))
    a, number = _axis("argsort", core.as_array(a), axis)
    if descending:
        # the ascending order of the reversed array, read backwards, keeps equal elements in place
        found = argsort(shaping.flip(a, number), number)
        return shaping.flip(elementwise.subtract(a.shape[number] - 1, found), number)
    return sort_together((a, creation.iota(I64, a.shape, number)), number)[1]


def lexsort(keys: Any, axis: int = -1) -> Any:
    """The positions that sort by the last key, ties by the one before it, and so on."""
    items = [core.as_array(k) for k in shaping.sequence("lexsort", keys)]
    shape = promotion.broadcast_shapes("lexsort", items)
    items = [promotion.broadcast_to(k, shape) for k in reversed(items)]
    number = axis_number("lexsort", axis, len(shape))
    return sort_together((*items, creation.iota(I64, shape, number)), number, len(items))[-1]


def top_k(a: Any, k: int) -> tuple[Any, Any]:
    """The ``k`` largest elements along the last axis, largest first, and their positions."""
    values, places = core.apply(sorting.top_k, core.as_array(a), k=integer(k, "top_k: k"))
    return values, places


# ---- searching -----------------------------------------------------------------------------------


def _comes_before(a: Any, v: Any, right: bool) -> Any:
    """Whether an element of the sorted array stands before ``v``; nan is after every number."""
    found = elementwise.less_equal(a, v) if right else elementwise.less(a, v)
    if kind(v.dtype) == "f":
        late = elementwise.isnan(v)
        late = (
            late
            if right
            else elementwise.logical_and(late, elementwise.logical_not(elementwise.isnan(a)))
        )
        found = elementwise.logical_or(found, late)
    return found


def searchsorted(
    a: Any, v: Any, side: str = "left", sorter: Any = None, *, method: str = "scan"
) -> Any:
    """Where elements of ``v`` would go into the sorted ``a``: before equal ones, or after for
    side="right".

    >>> jnp.searchsorted(jnp.array([1.0, 2.0, 2.0, 3.0]), 2.0, side="right")
    Array(3)
    """
    if side not in ("left", "right"):
        raise ArgumentError(f"searchsorted: side is 'left' or 'right', not {side!r}", at=here())
    a, v = promoted("searchsorted", a, v)
    if a.ndim != 1:
        raise ShapeError(f"searchsorted: the sorted array has one axis, not {a.type}", at=here())
    if sorter is not None:
        a = indexing.take(a, sorter)
    count, right = a.size, side == "right"
    if count == 0:
        return promotion.filled(0, v.type.with_dtype(I64))
    if count <= COMPARE_ALL:
        before = _comes_before(a, reshaped(v, (*v.shape, 1)), right)
        return reductions.sum(convert(before, I64), -1)
    place = promotion.filled(0, v.type.with_dtype(I64))
    step = 1 << (count.bit_length() - 1)
    while step:
        tried = elementwise.add(place, step)
        inside = elementwise.less_equal(tried, count)
        element = indexing.take(a, elementwise.subtract(tried, 1), mode="clip")
        ok = elementwise.logical_and(inside, _comes_before(element, v, right))
        place = elementwise.select(ok, tried, place)
        step >>= 1
    return place


# ---- by condition --------------------------------------------------------------------------------


def nonzero(a: Any, *, size: int | None = None, fill_value: Any = None) -> tuple[Any, ...]:
    """Positions of the non-zero elements, one array per axis; ``size`` of them, filled up with
    ``fill_value``.

    Without ``size`` the shape depends on values: TracedValueError under jit.

    >>> jnp.nonzero(jnp.array([0, 3, 0, 4]))
    (Array([1, 3]),)
    """
    flags = elementwise.truth(a)
    if flags.ndim == 0:
        raise ShapeError("nonzero: takes at least one axis", at=here(), hint="use atleast_1d(x)")
    if size is None:
        data = flags.concrete("nonzero() without size=") if known(flags) is None else known(flags)
        return tuple(core.Array(k) for k in np.nonzero(data))
    size = integer(size, "nonzero: size")
    flat = reductions.cumsum(convert(shaping.ravel(flags), I64))
    numbers = creation.iota(I64, (size,), 0)
    place = searchsorted(flat, elementwise.add(numbers, 1))
    count = flat.size
    missing = elementwise.greater_equal(place, count)
    fills = fill_value if isinstance(fill_value, tuple) else (fill_value or 0,) * flags.ndim
    found = []
    for axis, fill in enumerate(fills):
        stride = int(np.prod(flags.shape[axis + 1 :], dtype=np.int64))
        along = elementwise.remainder(
            elementwise.floor_divide(place, builtin_max(stride, 1)),
            builtin_max(flags.shape[axis], 1),
        )
        found.append(elementwise.select(missing, fill, along))
    return tuple(found)


def builtin_max(a: int, b: int) -> int:
    """The larger of two Python ints."""
    return a if a > b else b


def compress(
    condition: Any,
    a: Any,
    axis: int | None = None,
    *,
    size: int | None = None,
    fill_value: Any = 0,
    out: None = None,
) -> Any:
    """The slices of ``a`` along ``axis`` where the one-dimensional ``condition`` holds."""
    condition = core.as_array(condition)
    if condition.ndim != 1:
        raise ShapeError(f"compress: the condition has one axis, not {condition.type}", at=here())
    a, number = _axis("compress", core.as_array(a), axis)
    (places,) = nonzero(condition, size=size, fill_value=a.shape[number])
    if size is None:
        return indexing.take(a, places, number)
    return indexing.take(a, places, number, mode="fill", fill_value=fill_value)


def repeat(
    a: Any, repeats: Any, axis: int | None = None, *, total_repeat_length: int | None = None
) -> Any:
    """Each element of ``a`` along ``axis`` repeated: a number of times, or as often as an array
    says.

    With traced ``repeats`` the length of the result must be given as ``total_repeat_length``.

    >>> jnp.repeat(jnp.array([1, 2]), jnp.array([3, 1]))
    Array([1, 1, 1, 2])
    """
    a, number = _axis("repeat", core.as_array(a), axis)
    if a.ndim == 0:
        a = reshaped(a, (1,))
    counts = core.as_array(repeats)
    n = a.shape[number]
    if counts.size == 1 and known(counts) is not None and total_repeat_length is None:
        return _repeat_evenly(a, int(known(counts).reshape(())), number)
    counts = promotion.broadcast_to(reshaped(counts, counts.shape or (1,)), (n,))
    if total_repeat_length is None:
        data = counts.concrete("repeat() without total_repeat_length")
        return indexing.take(a, by_numpy("repeat", np.repeat, np.arange(n), data), number)
    ends = reductions.cumsum(counts)
    places = searchsorted(
        ends, creation.iota(I64, (integer(total_repeat_length, "repeat: length"),), 0), "right"
    )
    return indexing.take(a, places, number, mode="clip")


def _repeat_evenly(a: Any, count: int, axis: int) -> Any:
    if count < 0:
        raise ArgumentError(f"repeat: {count} repeats", at=here())
    if count == 1 or constant_of(a) is not None and a.ndim == 0:
        return placement.twin(a)
    thin = reshaped(a, (*a.shape[: axis + 1], 1, *a.shape[axis + 1 :]))
    wide = promotion.broadcast_to(thin, (*a.shape[: axis + 1], count, *a.shape[axis + 1 :]))
    return reshaped(wide, (*a.shape[:axis], a.shape[axis] * count, *a.shape[axis + 1 :]))
