"""Counting values in bins.

>>> bincount(jnp.array([0, 2, 2]))
Array([1, 0, 2])
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tracejit.errors import ArgumentError, DTypeError, ShapeError
from tracejit.frontend import creation, indexing, ordering, promotion, reductions, shaping
from tracejit.frontend import elementwise as ew
from tracejit.frontend.array import as_array
from tracejit.frontend.axes import by_numpy, integer
from tracejit.frontend.promotion import convert, reshaped, to_inexact
from tracejit.ir.types import DTYPES, kind
from tracejit.numpy.ranges import linspace
from tracejit.source import here

I64 = DTYPES["i64"]


def bincount(x: Any, weights: Any = None, minlength: int = 0, *, length: int | None = None) -> Any:
    """How often each non-negative integer occurs (or the sum of its weights); a traced call needs
    ``length``.

    >>> jnp.bincount(jnp.array([0, 2, 2]))
    Array([1, 0, 2])
    """
    x = as_array(x)
    if kind(x.dtype) not in "biu" or x.ndim != 1:
        raise ArgumentError(f"bincount: takes a vector of integers, not {x.type}", at=here())
    x = convert(x, I64)
    minlength = integer(minlength, "bincount: minlength")
    if minlength < 0:
        raise ArgumentError(f"bincount: minlength is {minlength}", at=here())
    if length is None:
        data = x.concrete("bincount() without length=")
        if data.size and data.min() < 0:
            raise ArgumentError("bincount: an element is negative", at=here())
        length = max(minlength, int(data.max()) + 1 if data.size else 0)
    size = max(integer(length, "bincount: length"), minlength)
    w = promotion.filled(1, x.type) if weights is None else as_array(weights)
    zeros = creation.zeros((size,), w.dtype)
    if size == 0:
        return zeros
    # negative numbers count for 0 under a trace, as in JAX; those beyond are left out
    return indexing.updated(zeros, ew.maximum(x, 0), w, "add", "drop")


def histogram_bin_edges(a: Any, bins: Any = 10, range: Any = None, weights: Any = None) -> Any:
    """The edges of ``bins`` equal bins over ``range`` (the extent of the data by default), or
    ``bins`` itself. ``bins`` may name one of NumPy's estimators ("auto", "fd" ...) of how many.
    """
    if isinstance(bins, str):
        data = as_array(a).concrete(f"histogram_bin_edges() with bins={bins!r}")
        known = None if weights is None else as_array(weights).concrete("histogram_bin_edges()")
        return as_array(by_numpy("histogram", np.histogram_bin_edges, data, bins, range, known))
    a = to_inexact(a)
    if kind(a.dtype) == "c":
        raise DTypeError("histogram: complex numbers have no order", at=here())
    if np.ndim(bins) == 1:
        edges = _edges(bins, a.dtype)
        if (known := ordering.known(edges)) is not None and np.any(np.diff(known) < 0):
            raise ArgumentError("histogram: the edges of the bins descend", at=here())
        return edges
    if integer(bins, "histogram: bins") < 1:
        raise ArgumentError(f"histogram: {bins} bins", at=here())
    _check_range(a, range)
    if range is not None:
        low, high = (promotion.typed(r, a.dtype) for r in range)
    elif a.size:
        low, high = reductions.min(a), reductions.max(a)
    else:
        low, high = (
            promotion.filled(0, a.type.with_shape(())),
            promotion.filled(1, a.type.with_shape(())),
        )
    flat = ew.equal(low, high)
    low, high = (
        ew.select(flat, ew.subtract(low, 0.5), low),
        ew.select(flat, ew.add(high, 0.5), high),
    )
    return linspace(low, high, integer(bins, "histogram: bins") + 1)


def _edges(bins: Any, dtype: np.dtype) -> Any:
    """Edges as they are given: a list of Python's floats in the dtype of the data."""
    edges = as_array(bins)
    given = not isinstance(bins, list | tuple) or kind(edges.dtype) in "iu"
    return edges if given else convert(edges, dtype)


def _check_range(a: Any, limits: Any) -> None:
    """ArgumentError where the range of a histogram is known and is none."""
    if limits is not None:
        ends = [ordering.known(as_array(r)) for r in limits]
    else:
        data = ordering.known(a)
        ends = [] if data is None or not data.size else [data.min(), data.max()]
    if any(end is None for end in ends) or not ends:
        return
    if not np.isfinite(ends).all() or ends[0] > ends[1]:
        raise ArgumentError(
            f"histogram: there are no bins from {ends[0]} to {ends[1]}",
            at=here(),
            hint="pass range=(low, high)",
        )


def histogram(
    a: Any, bins: Any = 10, range: Any = None, weights: Any = None, density: bool | None = None
) -> Any:
    """Counts (or sums of weights) in bins, and the edges of the bins.

    ``bins``: how many of one width over ``range`` (the extent of ``a`` by default), or their edges.
    ``density`` divides by the total and the widths.

    >>> counts, edges = jnp.histogram(jnp.array([0.0, 1.0, 1.5, 2.0]), bins=2)
    >>> print(counts, edges)
    [1 3] [0. 1. 2.]
    """
    a = shaping.ravel(a)
    edges = histogram_bin_edges(a, bins, range, weights if isinstance(bins, str) else None)
    counts = _binned([a], [edges], None if weights is None else shaping.ravel(weights))
    if density:
        widths = ew.subtract(
            shaping.cut(edges, 0, 1, edges.size), shaping.cut(edges, 0, 0, edges.size - 1)
        )
        counts = ew.divide(ew.divide(counts, widths), reductions.sum(counts))
    return counts, edges


def _binned(columns: Sequence[Any], edges: Sequence[Any], weights: Any) -> Any:
    """Counts of points in a grid of bins; points outside go to no bin, those on the last edge to
    the last.
    """
    shape = tuple(e.size - 1 for e in edges)
    places = []
    for x, e in zip(columns, edges, strict=True):
        found = ew.subtract(ordering.searchsorted(e, x, "right"), 1)
        found = ew.select(ew.equal(x, e[-1]), e.size - 2, found)
        outside = ew.logical_or(ew.less(x, e[0]), ew.logical_not(ew.less_equal(x, e[-1])))
        places.append(ew.select(outside, e.size - 1, found))
    w = (
        promotion.filled(1, columns[0].type.with_dtype(I64))
        if weights is None
        else as_array(weights)
    )
    return indexing.updated(creation.zeros(shape, w.dtype), tuple(places), w, "add", "drop")


def histogramdd(
    sample: Any, bins: Any = 10, range: Any = None, weights: Any = None, density: bool | None = None
) -> Any:
    """Counts of the rows of ``sample`` in a grid of bins, and the list of edges.

    As in NumPy, a list of vectors is a list of columns. ``bins``: how many along all axes, or for
    each axis how many or the edges.
    """
    rows = as_array(sample)
    if not hasattr(sample, "shape") or rows.ndim != 2:
        rows = shaping.transpose(reshaped(rows, (1, rows.size)) if rows.ndim < 2 else rows)
    sample = rows
    columns = [sample[:, k] for k in np.arange(sample.shape[1])]
    per_axis = list(bins) if np.iterable(bins) else [bins] * len(columns)
    if len(per_axis) != len(columns):
        raise ArgumentError(
            f"histogramdd: bins for {len(per_axis)} axes of {len(columns)}", at=here()
        )
    ranges = [None] * len(columns) if range is None else list(range)
    edges = [
        histogram_bin_edges(c, b, r) for c, b, r in zip(columns, per_axis, ranges, strict=True)
    ]
    counts = _binned(columns, edges, 1.0 if weights is None else weights)
    if density:
        volume: Any = counts
        for axis, e in enumerate(edges):
            widths = ew.subtract(shaping.cut(e, 0, 1, e.size), shaping.cut(e, 0, 0, e.size - 1))
            volume = ew.divide(volume, reshaped(widths, _along(widths.size, axis, counts.ndim)))
        counts = ew.divide(volume, reductions.sum(counts))
    return counts, edges


def _along(size: int, axis: int, ndim: int) -> tuple[int, ...]:
    return tuple(size if k == axis else 1 for k in np.arange(ndim))


def histogram2d(
    x: Any,
    y: Any,
    bins: Any = 10,
    range: Any = None,
    weights: Any = None,
    density: bool | None = None,
) -> Any:
    """Counts of points (x, y) in a grid of bins, and the edges along x and y."""
    if np.iterable(bins) and len(bins) not in (1, 2):
        bins = [bins, bins]
    elif np.iterable(bins) and len(bins) == 1:
        bins = [bins[0], bins[0]]
    sample = shaping.stack(promotion.promoted("histogram2d", x, y), 1)
    counts, (ex, ey) = histogramdd(sample, bins, range, weights, density)
    return counts, ex, ey


def digitize(x: Any, bins: Any, right: bool = False) -> Any:
    """The number of the bin each element falls in; ``bins`` ascend or descend."""
    bins = as_array(bins)
    if bins.ndim != 1:
        raise ShapeError(f"digitize: bins has one axis, not {bins.type}", at=here())
    x = as_array(x)
    if "c" in (kind(x.dtype), kind(bins.dtype)):
        raise DTypeError(f"digitize: complex numbers have no order: {x.type}", at=here())
    steps = None if (known := ordering.known(bins)) is None else np.diff(known)
    if steps is not None and not (np.all(steps >= 0) or np.all(steps <= 0)):
        raise ArgumentError("digitize: bins neither ascend nor descend", at=here())
    side = "left" if right else "right"
    up = ordering.searchsorted(bins, x, side)
    if bins.size < 2:
        return up
    other = "right" if right else "left"
    down = ew.subtract(bins.size, ordering.searchsorted(shaping.flip(bins), x, other))
    return ew.select(ew.less_equal(bins[0], bins[-1]), up, down)
