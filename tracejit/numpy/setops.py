"""Sets in sorted arrays. Sizes depend on values: a traced call needs ``size=``, and the rest is
filled up.

>>> unique(jnp.array([3, 1, 3]))
Array([1, 3])
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tracejit.frontend import creation, indexing, ordering, promotion, reductions, shaping
from tracejit.frontend import elementwise as ew
from tracejit.frontend.array import Array, as_array
from tracejit.frontend.axes import axis_number, by_numpy, integer
from tracejit.frontend.promotion import convert, reshaped
from tracejit.ir.types import DTYPES, kind

I64 = DTYPES["i64"]


class UniqueAll(NamedTuple):
    values: Any
    indices: Any
    inverse_indices: Any
    counts: Any


class UniqueCounts(NamedTuple):
    values: Any
    counts: Any


class UniqueInverse(NamedTuple):
    values: Any
    inverse_indices: Any


def unique(
    ar: Any,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: int | None = None,
    *,
    equal_nan: bool = True,
    size: int | None = None,
    fill_value: Any = None,
    sorted: bool = True,
) -> Any:
    """Distinct elements, ascending; on request where they are, how they rebuild ``ar``, how many.
    ``size``, needed under jit, fixes the number: missing ones are ``fill_value``, or the smallest.

    >>> jnp.unique(jnp.array([3, 1, 3]), return_counts=True)
    (Array([1, 3]), Array([1, 2]))
    """
    a = as_array(ar)
    if size is None and a._trace is None and not a._on_gpu:
        parts = (return_index, return_inverse, return_counts)
        return _unique_of_known(a, *parts, axis=axis, equal_nan=equal_nan)
    shape = a.shape
    if axis is None:
        rows = reshaped(a, (a.size, 1))
    else:
        number = axis_number("unique", axis, a.ndim)
        moved = shaping.moveaxis(a, number, 0)
        rows = reshaped(moved, (n := moved.shape[0], moved.size // max(n, 1)))
    n = rows.shape[0]
    order, sorted_rows = _sorted_rows(rows)
    new = _starts(sorted_rows, equal_nan)
    if size is None:
        places = Array(np.flatnonzero(new.concrete("unique() without size=")))
        ends = shaping.concatenate([places[1:], creation.full((min(n, 1),), n, I64)])
    else:
        size = integer(size, "unique: size")
        (starts,) = ordering.nonzero(new, size=size + 1, fill_value=n)
        places, ends = starts[:size], starts[1:]
    found: list[Any] = [_values(sorted_rows, places, fill_value, size, n)]
    if axis is None:
        found[0] = shaping.ravel(found[0])
    else:
        rest = tuple(m for k, m in enumerate(shape) if k != number)
        found[0] = shaping.moveaxis(reshaped(found[0], (found[0].shape[0], *rest)), 0, number)
    # missing ones are where the smallest is
    known = ew.select(ew.less(places, n), places, 0)
    first = indexing.take(order, known, mode="clip") if n else places
    if return_index:
        found.append(first)
    if return_inverse:
        group = ew.subtract(reductions.cumsum(convert(new, I64)), 1)
        inverse = indexing.updated(
            creation.zeros((n,), I64), order, group, "set", "promise_in_bounds", True
        )
        found.append(reshaped(inverse, shape) if axis is None else inverse)
    if return_counts:
        found.append(ew.subtract(ends, places))
    return found[0] if len(found) == 1 else tuple(found)


def _unique_of_known(a: Any, *parts: bool, **options: Any) -> Any:
    """``unique`` by NumPy, of values that are known on the CPU."""
    data = a.concrete("unique() without size=")
    found = by_numpy("unique", np.unique, data, *parts, **options)
    return tuple(map(as_array, found)) if isinstance(found, tuple) else as_array(found)


def _sorted_rows(rows: Any) -> tuple[Any, Any]:
    """Where the rows of a matrix are in ascending order, and these."""
    columns = [rows[:, k] for k in range(rows.shape[1])]
    keys = (*columns, creation.iota(I64, (rows.shape[0],), 0))
    order = ordering.sort_together(keys, 0, max(len(columns), 1))[-1]
    return order, indexing.take(rows, order, 0, mode="promise_in_bounds")


def _starts(rows: Any, equal_nan: bool) -> Any:
    """Where sorted rows differ from the one before."""
    n = rows.shape[0]
    if n == 0:
        return creation.zeros((0,), bool)
    now, before = shaping.cut(rows, 0, 1, n), shaping.cut(rows, 0, 0, n - 1)
    differ = ew.not_equal(now, before)
    if equal_nan and kind(rows.dtype) in "fc":
        differ = ew.logical_and(
            differ, ew.logical_not(ew.logical_and(ew.isnan(now), ew.isnan(before)))
        )
    return shaping.concatenate([creation.ones((1,), bool), reductions.any(differ, 1)])


def _values(rows: Any, places: Any, fill_value: Any, size: int | None, n: int) -> Any:
    if n == 0:
        fill = 0 if fill_value is None else fill_value
        return creation.full((places.size, rows.shape[1]), fill, rows.dtype)
    values = indexing.take(rows, places, 0, mode="clip")
    if size is None:
        return values
    fill = rows[0] if fill_value is None else promotion.typed(fill_value, rows.dtype)
    missing = reshaped(ew.greater_equal(places, n), (places.size, 1))
    return ew.select(missing, fill, values)


def unique_all(x: Any, /, *, size: int | None = None, fill_value: Any = None) -> UniqueAll:
    """Distinct values, first positions, inverse and counts."""
    return UniqueAll(
        *unique(x, True, True, True, equal_nan=False, size=size, fill_value=fill_value)
    )


def unique_counts(x: Any, /, *, size: int | None = None, fill_value: Any = None) -> UniqueCounts:
    """Distinct values and counts."""
    return UniqueCounts(
        *unique(x, return_counts=True, equal_nan=False, size=size, fill_value=fill_value)
    )


def unique_inverse(x: Any, /, *, size: int | None = None, fill_value: Any = None) -> UniqueInverse:
    """Distinct values and the positions that rebuild ``x`` from them."""
    return UniqueInverse(
        *unique(x, return_inverse=True, equal_nan=False, size=size, fill_value=fill_value)
    )


def unique_values(x: Any, /, *, size: int | None = None, fill_value: Any = None) -> Any:
    """Distinct values."""
    return unique(x, equal_nan=False, size=size, fill_value=fill_value)


def isin(
    element: Any,
    test_elements: Any,
    assume_unique: bool = False,
    invert: bool = False,
    *,
    method: str = "auto",
    kind: Any = None,
) -> Any:
    """Whether each element is among ``test_elements``.

    >>> jnp.isin(jnp.array([1, 2, 3]), jnp.array([3, 1]))
    Array([ True, False,  True])
    """
    a, b = promotion.promoted("isin", element, shaping.ravel(test_elements))
    if b.size <= ordering.COMPARE_ALL:
        found = reductions.any(ew.equal(reshaped(a, (*a.shape, 1)), b), -1)
    else:
        ordered = ordering.sort(b)
        place = ordering.searchsorted(ordered, a)
        found = ew.equal(indexing.take(ordered, place, mode="clip"), a)
    return ew.logical_not(found) if invert else found


def union1d(ar1: Any, ar2: Any, *, size: int | None = None, fill_value: Any = None) -> Any:
    """The distinct elements of both."""
    both = shaping.concatenate([shaping.ravel(ar1), shaping.ravel(ar2)])
    return unique(both, size=size, fill_value=fill_value)


def _kept(a: Any, flags: Any, size: int | None, fill_value: Any) -> Any:
    """The elements of the vector ``a`` where ``flags``."""
    if size is not None and a.size == 0:
        return creation.full((integer(size, "size"),), fill_value or 0, a.dtype)
    return ordering.compress(
        flags, a, size=size, fill_value=0 if fill_value is None else fill_value
    )


def _filled(found: Any, flags: Any, size: int | None, fill_value: Any) -> Any:
    """Elements found, the missing ones ``fill_value``, or the smallest."""
    if size is None or fill_value is not None or found.size == 0:
        return found
    missing = ew.greater_equal(creation.iota(I64, found.shape, 0), reductions.count_nonzero(flags))
    return ew.select(missing, found[0], found)


def intersect1d(
    ar1: Any,
    ar2: Any,
    assume_unique: bool = False,
    return_indices: bool = False,
    *,
    size: int | None = None,
    fill_value: Any = None,
) -> Any:
    """The distinct elements that are in both, and on request where they first are."""
    a, b = promotion.promoted("intersect1d", shaping.ravel(ar1), shaping.ravel(ar2))
    if size is not None and 0 in (a.size, b.size):
        shape = (integer(size, "intersect1d: size"),)
        found = creation.full(shape, fill_value or 0, a.dtype)
        places = [creation.full(shape, x.size, I64) for x in (a, b)]
        return (found, *places) if return_indices else found
    a_values, a_first = unique(a, return_index=True, size=None if size is None else a.size)
    flags = isin(a_values, b)
    if size is not None:  # repeated fill values do not count
        number = creation.iota(I64, (a.size,), 0)
        flags = ew.logical_and(
            flags, ew.logical_or(ew.equal(number, 0), ew.not_equal(a_values, a_values[0]))
        )
    found = _filled(_kept(a_values, flags, size, fill_value), flags, size, fill_value)
    if not return_indices:
        return found
    order = ordering.argsort(b)  # which keeps the order of equal ones
    place = ordering.searchsorted(indexing.take(b, order, mode="promise_in_bounds"), found)
    at_b = indexing.take(order, place, mode="clip") if b.size else convert(found, I64)
    if size is not None:
        number = creation.iota(I64, found.shape, 0)
        at_b = ew.select(ew.less(number, reductions.count_nonzero(flags)), at_b, b.size)
    return found, _kept(a_first, flags, size, a.size), at_b


def setdiff1d(
    ar1: Any,
    ar2: Any,
    assume_unique: bool = False,
    *,
    size: int | None = None,
    fill_value: Any = None,
) -> Any:
    """The distinct elements of the first that are not in the second."""
    a = shaping.ravel(ar1)
    if size is None:
        a = a if assume_unique else unique(a)
        return _kept(a, isin(a, ar2, invert=True), None, fill_value)
    if a.size == 0:
        return _kept(a, a, size, fill_value)
    ordered = ordering.sort(a)
    flags = ew.logical_and(
        _starts(reshaped(ordered, (a.size, 1)), True), isin(ordered, ar2, invert=True)
    )
    return _kept(ordered, flags, size, fill_value)


def setxor1d(
    ar1: Any,
    ar2: Any,
    assume_unique: bool = False,
    *,
    size: int | None = None,
    fill_value: Any = None,
) -> Any:
    """The distinct elements that are in exactly one of both."""
    a, b = promotion.promoted("setxor1d", shaping.ravel(ar1), shaping.ravel(ar2))
    flags = shaping.concatenate([isin(a, b, invert=True), isin(b, a, invert=True)])
    both = shaping.concatenate([a, b])
    if size is None:
        return unique(_kept(both, flags, None, None))
    if both.size == 0:
        return _kept(both, both, size, fill_value)
    order = ordering.argsort(both)
    ordered = indexing.take(both, order, mode="promise_in_bounds")
    flags = indexing.take(flags, order, mode="promise_in_bounds")
    flags = ew.logical_and(flags, _starts(reshaped(ordered, (both.size, 1)), True))
    return _filled(_kept(ordered, flags, size, fill_value), flags, size, fill_value)
