"""Ranks, modes and standard errors.

    >>> rankdata(jnp.array([10.0, 30.0, 20.0, 30.0]))
    Array([1. , 3.5, 2. , 3.5], dtype=float32)

``nan_policy`` is "propagate", "omit" (nan counts for nothing) or "raise": the last looks at values,
so it does not work under jit (TracedValueError).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tracejit.errors import ArgumentError
from tracejit.frontend import creation, indexing, ordering, promotion, reductions, shaping
from tracejit.frontend import elementwise as ew
from tracejit.frontend.array import Array, apply, as_array
from tracejit.frontend.axes import axes_tuple, axis_number
from tracejit.frontend.promotion import convert, filled, to_inexact
from tracejit.ir.types import DTYPES, TensorType, kind
from tracejit.numpy import statistics
from tracejit.ops import cumulative
from tracejit.scipy.special.operands import check_real
from tracejit.source import here

I64 = DTYPES["i64"]
METHODS = ("average", "min", "max", "dense", "ordinal")


class ModeResult(NamedTuple):
    """The most frequent value, and how often it occurs."""

    mode: Array
    count: Array


def _check_policy(name: str, a: Array, nan_policy: str) -> None:
    if nan_policy not in ("propagate", "omit", "raise"):
        raise ArgumentError(
            f'{name}: `nan_policy` is "propagate", "omit" or "raise", not {nan_policy!r}',
            at=here(),
        )
    if nan_policy == "raise" and kind(a.dtype) in "fc":
        if np.isnan(a.concrete(f'{name}() with nan_policy="raise"')).any():
            raise ArgumentError(f"{name}: there is a nan", at=here())


class _Runs:
    """A sorted array along the last axis, and where runs of equal elements begin and end."""

    def __init__(self, a: Array) -> None:
        last = a.ndim - 1
        places = creation.iota(I64, a.shape, last)
        self.values, self.order = ordering.sort_together((a, places), last)
        before = shaping.cut(self.values, last, 0, a.shape[last] - 1)
        after = shaping.cut(self.values, last, 1, a.shape[last])
        changed = ew.not_equal(before, after)
        if kind(a.dtype) == "f":  # nan counts as equal to itself
            changed = ew.logical_and(changed, ew.logical_not(ew.isnan(before)))
        edge = filled(True, TensorType(DTYPES["bool"], (*a.shape[:last], 1)))
        self.starts = shaping.concatenate([edge, changed], last)
        ends = shaping.concatenate([changed, edge], last)
        self.first = apply(
            cumulative.cummax, ew.select(self.starts, places, 0), axis=last, reverse=False
        )
        self.last = apply(
            cumulative.cummin, ew.select(ends, places, a.shape[last]), axis=last, reverse=True
        )
        self.places = places

    def unsorted(self, ranks: Array) -> Array:
        """What belongs to the sorted elements, in the order the elements had."""
        return ordering.sort_together((self.order, ranks), ranks.ndim - 1)[1]  # type: ignore[no-any-return]


def rankdata(
    a: Any, method: str = "average", *, axis: int | None = None, nan_policy: str = "propagate"
) -> Array:
    """The ranks of elements along ``axis``, from 1; of the flattened array without one.

    ``method`` says what equal elements get: the "average", "min" or "max" of their ranks, the
    number of distinct values up to theirs ("dense"), or ranks in order of place ("ordinal"). A
    floating result of the shape ranked. With a nan along the axis the ranks are nan there, or with
    nan_policy="omit" only its own. Raises ArgumentError for another method or policy, ShapeError
    for an axis that is not there.

    >>> rankdata(jnp.array([1, 3, 2, 3]), "dense")
    Array([1., 3., 2., 3.], dtype=float32)
    """
    if method not in METHODS:
        raise ArgumentError(
            f"rankdata: `method` is one of {', '.join(METHODS)}, not {method!r}", at=here()
        )
    x = as_array(a)
    _check_policy("rankdata", x, nan_policy)
    if kind(x.dtype) == "c":
        check_real("rankdata", x)
    number = 0 if axis is None else axis_number("rankdata", axis, x.ndim)
    x = shaping.ravel(x) if axis is None else shaping.moveaxis(x, number, -1)
    dtype = promotion.inexact(x.dtype)
    if not x.size:
        ranks = filled(0, x.type.with_dtype(dtype))
    else:
        ranks = convert(_ranks(x, method), dtype)
    if kind(x.dtype) == "f" and x.size:
        unknown = ew.isnan(x)
        if nan_policy == "propagate":
            unknown = reductions.any(unknown, -1, keepdims=True)
        ranks = ew.select(unknown, np.nan, ranks)
    return shaping.moveaxis(ranks, -1, number) if axis is not None else ranks  # type: ignore[no-any-return]


def _ranks(x: Array, method: str) -> Array:
    runs = _Runs(x)
    if method == "ordinal":
        found = ew.add(runs.places, 1)
    elif method == "dense":
        found = reductions.cumsum(convert(runs.starts, I64), -1)
    elif method == "min":
        found = ew.add(runs.first, 1)
    elif method == "max":
        found = ew.add(runs.last, 1)
    else:
        twice = ew.add(ew.add(runs.first, runs.last), 2)
        found = ew.multiply(convert(twice, promotion.inexact(x.dtype)), 0.5)
    return runs.unsorted(found)


def mode(
    a: Any, axis: int | None = 0, nan_policy: str = "propagate", keepdims: bool = False
) -> ModeResult:
    """The most frequent value along ``axis`` (of all elements for None), the least of several, and
    how often it occurs (int64).

    nan is a value like others, unless nan_policy="omit". Of no elements the mode is nan, 0 times.
    Raises ShapeError for an axis that is not there, ArgumentError for another policy.

    >>> mode(jnp.array([3, 1, 2, 3])).mode
    Array(3)
    """
    x = as_array(a)
    _check_policy("mode", x, nan_policy)
    if kind(x.dtype) == "c":
        check_real("mode", x)
    x = shaping.reshape(x, (1,)) if x.ndim == 0 else x
    axes = tuple(range(x.ndim)) if axis is None else (axis_number("mode", axis, x.ndim),)
    kept = tuple(1 if k in axes else n for k, n in enumerate(x.shape))
    shape = kept if keepdims else tuple(n for k, n in enumerate(x.shape) if k not in axes)
    rows = shaping.ravel(x) if axis is None else shaping.moveaxis(x, axes[0], -1)
    if not rows.shape[-1]:
        nothing = TensorType(promotion.inexact(x.dtype), shape)
        return ModeResult(filled(np.nan, nothing), filled(0, nothing.with_dtype(I64)))
    runs = _Runs(rows)
    counts = ew.add(ew.subtract(runs.last, runs.first), 1)
    if nan_policy == "omit" and kind(x.dtype) == "f":
        counts = ew.select(ew.isnan(runs.values), 0, counts)
    best = reductions.argmax(counts, -1, keepdims=True)
    found = (indexing.take_along_axis(v, best, -1) for v in (runs.values, counts))
    value, count = (shaping.reshape(v, shape) for v in found)
    return ModeResult(value, count)


def sem(
    a: Any,
    axis: int | None = 0,
    ddof: int = 1,
    nan_policy: str = "propagate",
    *,
    keepdims: bool = False,
) -> Array:
    """The standard error of the mean along ``axis`` (of all elements for None): std / sqrt(n).

    ``ddof`` is taken off n for the standard deviation. nan_policy="omit" leaves nan out. Raises
    ShapeError for an axis that is not there, ArgumentError for another policy.

    >>> sem(jnp.array([1.0, 2.0, 3.0])).round(4)
    Array(0.5774, dtype=float32)
    """
    x = to_inexact(a)
    check_real("sem", x)
    _check_policy("sem", x, nan_policy)
    x = shaping.reshape(x, (1,)) if x.ndim == 0 else x
    if nan_policy == "omit":
        there = ew.logical_not(ew.isnan(x))
        count = reductions.sum(there, axis, keepdims=keepdims)
        spread = statistics.nanstd(x, axis, ddof=ddof, keepdims=keepdims)
        return ew.divide(spread, ew.sqrt(convert(count, x.dtype)))  # type: ignore[no-any-return]
    axes = axes_tuple("sem", axis, x.ndim)
    count = int(np.prod([x.shape[k] for k in axes]))
    spread = reductions.std(x, axis, ddof=ddof, keepdims=keepdims)
    return ew.divide(spread, float(count) ** 0.5)  # type: ignore[no-any-return]
