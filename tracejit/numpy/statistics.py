"""Averages, order statistics, nan-ignoring reductions, covariances.

>>> quantile(jnp.arange(5.0), 0.25)
Array(1., dtype=float32)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tracejit.errors import ArgumentError, ShapeError
from tracejit.frontend import elementwise as ew
from tracejit.frontend import indexing, linear, ordering, promotion, reductions, shaping
from tracejit.frontend.array import as_array
from tracejit.frontend.axes import axes_tuple, axis_number
from tracejit.frontend.promotion import convert, reshaped, to_inexact
from tracejit.ir.types import DTYPES, is_inexact, kind
from tracejit.source import here

I64 = DTYPES["i64"]


def average(
    a: Any, axis: Any = None, weights: Any = None, returned: bool = False, keepdims: bool = False
) -> Any:
    """The mean over ``axis``, weighted by ``weights`` (of the shape of ``a``, or one per position
    of the axis).

    >>> jnp.average(jnp.array([1.0, 2.0, 4.0]), weights=jnp.array([2.0, 1.0, 1.0]))
    Array(2., dtype=float32)
    """
    a = to_inexact(a)
    if weights is None:
        found = reductions.mean(a, axis, keepdims=keepdims)
        total = promotion.filled(a.size / max(found.size, 1), found.type)
    else:
        a, w = ew.float_operands("average", a, _aligned(as_array(weights), a, axis))
        total = reductions.sum(w, axis, keepdims=keepdims)
        found = ew.divide(reductions.sum(ew.multiply(a, w), axis, keepdims=keepdims), total)
    return (found, total) if returned else found


def _aligned(w: Any, a: Any, axis: Any) -> Any:
    if w.shape == a.shape:
        return w
    if axis is None or w.ndim != 1 or not isinstance(axis, int):
        raise ShapeError(
            f"average: weights {w.type} do not fit {a.type} over axis {axis}", at=here()
        )
    number = axis_number("average", axis, a.ndim)
    if w.size != a.shape[number]:
        raise ShapeError(f"average: {w.size} weights for an axis of {a.shape[number]}", at=here())
    return reshaped(w, tuple(w.size if k == number else 1 for k in range(a.ndim)))


# ---- order statistics ----------------------------------------------------------------------------

METHODS: dict[str, Callable[[Any, float], Any]] = {
    # the virtual position of quantile q among n sorted elements, counted from 0
    "linear": lambda q, n: ew.multiply(q, n - 1),
    "lower": lambda q, n: ew.floor(ew.multiply(q, n - 1)),
    "higher": lambda q, n: ew.ceil(ew.multiply(q, n - 1)),
    "nearest": lambda q, n: ew.rint(ew.multiply(q, n - 1)),
    "midpoint": lambda q, n: ew.multiply(
        ew.add(ew.floor(ew.multiply(q, n - 1)), ew.ceil(ew.multiply(q, n - 1))), 0.5
    ),
    "weibull": lambda q, n: ew.subtract(ew.multiply(q, n + 1), 1),
    "hazen": lambda q, n: ew.subtract(ew.multiply(q, n), 0.5),
    "median_unbiased": lambda q, n: ew.subtract(ew.multiply(q, n + 1 / 3), 2 / 3),
    "normal_unbiased": lambda q, n: ew.subtract(ew.multiply(q, n + 0.25), 0.625),
    "interpolated_inverted_cdf": lambda q, n: ew.subtract(ew.multiply(q, n), 1),
}


def _last(a: Any, axis: Any, name: str) -> tuple[Any, tuple[int, ...]]:
    """``a`` with the axes merged into one last axis, and its shape with them kept as size 1."""
    axes = axes_tuple(name, axis, a.ndim)
    kept = tuple(1 if k in axes else n for k, n in enumerate(a.shape))
    rest = [k for k in range(a.ndim) if k not in axes]
    moved = shaping.transpose(a, (*rest, *axes))
    count = int(np.prod([a.shape[k] for k in axes], dtype=np.int64))
    return reshaped(moved, (*(a.shape[k] for k in rest), count)), kept


def quantile(
    a: Any,
    q: Any,
    axis: Any = None,
    out: None = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
    *,
    interpolation: str | None = None,
) -> Any:
    """The q-th quantiles (q in [0, 1]) over ``axis``; nan where there is a nan.

    ``method`` "linear" interpolates between elements; the others are NumPy's, "lower", "nearest"
    ... (Hyndman and Fan, "Sample quantiles in statistical packages", 1996); one that is not there
    raises ArgumentError. The axes of ``q`` come first in the result.

    >>> jnp.quantile(jnp.array([1.0, 2.0, 3.0, 4.0]), jnp.array([0.0, 0.5, 1.0]))
    Array([1. , 2.5, 4. ], dtype=float32)
    """
    ew.no_out("quantile", out)
    return _quantile("quantile", a, q, axis, interpolation or method, keepdims, False)


def percentile(
    a: Any,
    q: Any,
    axis: Any = None,
    out: None = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
    *,
    interpolation: str | None = None,
) -> Any:
    """The q-th percentiles (q in [0, 100]) over ``axis``: ``quantile`` at q / 100.

    >>> jnp.percentile(jnp.array([1.0, 2.0, 3.0]), 50)
    Array(2., dtype=float32)
    """
    return quantile(
        a, _hundredth(q), axis, out, overwrite_input, method, keepdims, interpolation=interpolation
    )


def nanquantile(
    a: Any,
    q: Any,
    axis: Any = None,
    out: None = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
    *,
    interpolation: str | None = None,
) -> Any:
    """The q-th quantiles of the elements that are not nan."""
    ew.no_out("nanquantile", out)
    return _quantile("nanquantile", a, q, axis, interpolation or method, keepdims, True)


def nanpercentile(
    a: Any,
    q: Any,
    axis: Any = None,
    out: None = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
    *,
    interpolation: str | None = None,
) -> Any:
    """The q-th percentiles of the elements that are not nan."""
    return nanquantile(
        a, _hundredth(q), axis, out, overwrite_input, method, keepdims, interpolation=interpolation
    )


def _hundredth(q: Any) -> Any:
    return q / 100 if isinstance(q, int | float) else ew.divide(to_inexact(q), 100)


def _quantile(
    name: str, a: Any, q: Any, axis: Any, method: str, keepdims: bool, skip_nan: bool
) -> Any:
    if method not in METHODS:
        raise ArgumentError(
            f"{name}: there is no method {method!r}",
            at=here(),
            hint=f"there are: {', '.join(METHODS)}",
        )
    a = to_inexact(a)
    if _wide(q):  # an array's dtype takes part
        q = to_inexact(q)
        a = convert(a, promotion.promote_types(a.dtype, q.dtype))
    if kind(a.dtype) == "c":
        raise ArgumentError(f"{name}: complex numbers have no order", at=here())
    flat, kept = _last(a, axis, name)
    q = promotion.typed(q, flat.dtype)
    if q.ndim > 1:
        raise ShapeError(f"{name}: q is a number or a vector, not {q.type}", at=here())
    ordered = ordering.sort(flat)
    n = flat.shape[-1]
    if n == 0:
        raise ShapeError(f"{name}: the axes of {a.type} are empty", at=here())
    lead = q.shape
    q = reshaped(q, (*lead, *(1,) * (flat.ndim - 1)))
    bad = ew.isnan(flat)
    if skip_nan:
        count = convert(reductions.sum(ew.logical_not(bad), -1), flat.dtype)
    else:
        count = float(n)
    at = METHODS[method](q, count) if not skip_nan else _virtual(method, q, count)
    at = ew.clip(at, 0, ew.maximum(ew.subtract(count, 1), 0))
    low = ew.floor(at)
    part = ew.subtract(at, low)
    below = convert(low, I64)
    above = convert(ew.ceil(at), I64)
    at_below, at_above = (_pick(ordered, k, len(lead)) for k in (below, above))
    found = ew.add(at_below, ew.multiply(part, ew.subtract(at_above, at_below)))
    # an infinity next to a whole position must not turn into nan
    found = ew.select(ew.equal(part, 0), at_below, found)
    none_left = ew.equal(count, 0) if skip_nan else reductions.any(bad, -1)
    found = ew.select(none_left, np.nan, found)
    return reshaped(found, (*lead, *kept)) if keepdims else found


def _wide(q: Any) -> bool:
    """Whether ``q`` is an array, whose dtype takes part in promotion."""
    return not isinstance(q, int | float | list | tuple)


def _virtual(method: str, q: Any, count: Any) -> Any:
    """The virtual position with a traced number of elements."""
    if method in (
        "weibull",
        "hazen",
        "median_unbiased",
        "normal_unbiased",
        "interpolated_inverted_cdf",
    ):
        slope = {
            "weibull": 1.0,
            "hazen": 0.0,
            "median_unbiased": 1 / 3,
            "normal_unbiased": 0.25,
        }.get(method, 0.0)
        shift = {
            "weibull": 1.0,
            "hazen": 0.5,
            "median_unbiased": 2 / 3,
            "normal_unbiased": 0.625,
        }.get(method, 1.0)
        return ew.subtract(ew.multiply(q, ew.add(count, slope)), shift)
    at = ew.multiply(q, ew.subtract(count, 1))
    if method == "midpoint":
        return ew.multiply(ew.add(ew.floor(at), ew.ceil(at)), 0.5)
    rounded = {"lower": ew.floor, "higher": ew.ceil, "nearest": ew.rint}
    return rounded[method](at) if method in rounded else at


def _pick(ordered: Any, places: Any, lead: int) -> Any:
    """Elements of sorted rows; ``places`` has ``lead`` axes of quantiles in front of those of the
    rows.
    """
    rows = ordered.shape[:-1]
    places = promotion.broadcast_to(places, (*places.shape[:lead], *rows))
    wide = promotion.broadcast_to(
        reshaped(ordered, (*(1,) * lead, *ordered.shape)), (*places.shape, ordered.shape[-1])
    )
    if lead == 0:
        found = indexing.take_along_axis(
            ordered, reshaped(places, (*places.shape, 1)), -1, "promise_in_bounds"
        )
    else:
        found = indexing.take_along_axis(
            wide, reshaped(places, (*places.shape, 1)), -1, "promise_in_bounds"
        )
    return reshaped(found, places.shape)


def median(
    a: Any,
    axis: Any = None,
    out: None = None,
    overwrite_input: bool = False,
    keepdims: bool = False,
) -> Any:
    """The middle element over ``axis``, or the mean of the two middle ones; nan where there is a
    nan.

    >>> jnp.median(jnp.array([1.0, 9.0, 2.0, 4.0]))
    Array(3., dtype=float32)
    """
    return quantile(a, 0.5, axis, out, keepdims=keepdims)


def nanmedian(
    a: Any,
    axis: Any = None,
    out: None = None,
    overwrite_input: bool = False,
    keepdims: bool = False,
) -> Any:
    """The median of the elements that are not nan."""
    return nanquantile(a, 0.5, axis, out, keepdims=keepdims)


# ---- without nan ---------------------------------------------------------------------------------


def _numbers(a: Any, neutral: Any, where: Any = None) -> tuple[Any, Any]:
    """``a`` with ``neutral`` in place of nan, and where there is a number."""
    a = as_array(a)
    there = ew.logical_not(ew.isnan(a))
    if where is not None:
        there = ew.logical_and(there, where)
    return ew.select(there, a, promotion.filled(neutral, a.type)), there


def nansum(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: None = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = None,
) -> Any:
    """The sum of the elements that are not nan."""
    return reductions.sum(_numbers(a, 0)[0], axis, dtype, out, keepdims, initial, where)


def nanprod(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: None = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = None,
) -> Any:
    """The product of the elements that are not nan."""
    return reductions.prod(_numbers(a, 1)[0], axis, dtype, out, keepdims, initial, where)


def nancumsum(a: Any, axis: Any = None, dtype: Any = None, out: None = None) -> Any:
    """Running sums in which nan counts as 0."""
    return reductions.cumsum(_numbers(a, 0)[0], axis, dtype, out)


def nancumprod(a: Any, axis: Any = None, dtype: Any = None, out: None = None) -> Any:
    """Running products in which nan counts as 1."""
    return reductions.cumprod(_numbers(a, 1)[0], axis, dtype, out)


def _nan_extremum(
    reduce: Any, neutral: float, a: Any, axis: Any, keepdims: bool, initial: Any, where: Any
) -> Any:
    a = as_array(a)
    if not is_inexact(a.dtype):
        return reduce(a, axis, None, keepdims, initial, where)
    filled, there = _numbers(a, neutral, where)
    found = reduce(filled, axis, None, keepdims, initial)
    if initial is not None:
        return found
    return ew.select(reductions.any(there, axis, keepdims=keepdims), found, np.nan)


def nanmax(
    a: Any,
    axis: Any = None,
    out: None = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = None,
) -> Any:
    """The largest element that is not nan; nan where all are."""
    ew.no_out("nanmax", out)
    return _nan_extremum(reductions.max, -np.inf, a, axis, keepdims, initial, where)


def nanmin(
    a: Any,
    axis: Any = None,
    out: None = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = None,
) -> Any:
    """The smallest element that is not nan; nan where all are."""
    ew.no_out("nanmin", out)
    return _nan_extremum(reductions.min, np.inf, a, axis, keepdims, initial, where)


def _nan_arg(arg: Any, neutral: float, a: Any, axis: Any, keepdims: bool) -> Any:
    a = as_array(a)
    if not is_inexact(a.dtype):
        return arg(a, axis, None, keepdims)
    filled, there = _numbers(a, neutral)
    found = arg(filled, axis, None, keepdims)
    return ew.select(reductions.any(there, axis, keepdims=keepdims), found, -1)


def nanargmax(a: Any, axis: Any = None, out: None = None, keepdims: bool = False) -> Any:
    """Where the largest element that is not nan is; -1 where all are nan."""
    ew.no_out("nanargmax", out)
    return _nan_arg(reductions.argmax, -np.inf, a, axis, keepdims)


def nanargmin(a: Any, axis: Any = None, out: None = None, keepdims: bool = False) -> Any:
    """Where the smallest element that is not nan is; -1 where all are nan."""
    ew.no_out("nanargmin", out)
    return _nan_arg(reductions.argmin, np.inf, a, axis, keepdims)


def nanmean(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: None = None,
    keepdims: bool = False,
    where: Any = None,
) -> Any:
    """The mean of the elements that are not nan.

    >>> jnp.nanmean(jnp.array([1.0, jnp.nan, 3.0]))
    Array(2., dtype=float32)
    """
    ew.no_out("nanmean", out)
    there = _numbers(a, 0, where)[1]
    return reductions.mean(a, axis, dtype, None, keepdims, where=there)


def nanvar(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: None = None,
    ddof: float = 0,
    keepdims: bool = False,
    where: Any = None,
) -> Any:
    """The variance of the elements that are not nan."""
    there = _numbers(a, 0, where)[1]
    return reductions.var(_numbers(a, 0)[0], axis, dtype, out, ddof, keepdims, where=there)


def nanstd(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: None = None,
    ddof: float = 0,
    keepdims: bool = False,
    where: Any = None,
) -> Any:
    """The standard deviation of the elements that are not nan."""
    return ew.sqrt(nanvar(a, axis, dtype, out, ddof, keepdims, where))


def cumulative(
    name: str, fold: Any, neutral: int, x: Any, axis: int | None, dtype: Any, initial: bool
) -> Any:
    """A running fold of the array API standard: one axis need not be named, the start can be
    included.
    """
    x = as_array(x)
    if axis is None:
        if x.ndim != 1:
            raise ArgumentError(f"{name}: an array of {x.ndim} axes needs an axis", at=here())
        axis = 0
    found = fold(x, axis, dtype)
    if not initial:
        return found
    number = axis_number(name, axis, x.ndim)
    first = promotion.filled(
        neutral,
        found.type.with_shape(tuple(1 if k == number else n for k, n in enumerate(found.shape))),
    )
    return shaping.concatenate([first, found], number)


def cumulative_sum(
    x: Any, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> Any:
    """Running sums along ``axis``, with a 0 in front when ``include_initial``."""
    return cumulative("cumulative_sum", reductions.cumsum, 0, x, axis, dtype, include_initial)


def cumulative_prod(
    x: Any, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> Any:
    """Running products along ``axis``, with a 1 in front when ``include_initial``."""
    return cumulative("cumulative_prod", reductions.cumprod, 1, x, axis, dtype, include_initial)


# ---- covariances ---------------------------------------------------------------------------------


def cov(
    m: Any,
    y: Any = None,
    rowvar: bool = True,
    bias: bool = False,
    ddof: int | None = None,
    fweights: Any = None,
    aweights: Any = None,
) -> Any:
    """The covariance matrix of the rows (variables) of ``m``, or of its columns.

    Sums of products of deviations over n - 1, or n with ``bias``, or n - ``ddof``.

    >>> jnp.cov(jnp.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]))
    Array([[ 1., -1.],
           [-1.,  1.]], dtype=float32)
    """
    m = to_inexact(m)
    if m.ndim > 2:
        raise ShapeError(f"cov: takes at most two axes, not {m.type}", at=here())
    x = _rows(m, rowvar)
    if y is not None:
        x = shaping.concatenate([x, _rows(to_inexact(y), rowvar)], 0)
    less = (0 if bias else 1) if ddof is None else ddof
    n = x.shape[1]
    w: Any = None
    for given in (fweights, aweights):
        if given is not None:
            w = to_inexact(given) if w is None else ew.multiply(w, given)
    if w is None:
        centred = ew.subtract(x, reductions.mean(x, 1, keepdims=True))
        found = linear.dot(centred, ew.conjugate(shaping.transpose(centred)))
        return shaping.squeeze(ew.divide(found, float(n - less)))
    total = reductions.sum(w)
    centred = ew.subtract(x, average(x, 1, w, keepdims=True))
    rest = total
    if less and aweights is None:
        rest = ew.subtract(total, float(less))
    elif less:
        share = ew.divide(reductions.sum(ew.multiply(w, aweights)), total)
        rest = ew.subtract(total, ew.multiply(float(less), share))
    found = linear.dot(ew.multiply(centred, w), ew.conjugate(shaping.transpose(centred)))
    return shaping.squeeze(ew.divide(found, rest))


def _rows(m: Any, rowvar: bool) -> Any:
    m = reshaped(m, (1, m.size)) if m.ndim < 2 else m
    return m if rowvar or m.shape[0] == 1 else shaping.transpose(m)


def corrcoef(x: Any, y: Any = None, rowvar: bool = True) -> Any:
    """The matrix of correlation coefficients of the rows of ``x``: cov[i, j] / sqrt(cov[i, i]
    cov[j, j]).

    >>> jnp.corrcoef(jnp.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]])).round(3)
    Array([[ 1., -1.],
           [-1.,  1.]], dtype=float32)
    """
    c = cov(x, y, rowvar)
    if c.ndim == 0:
        return ew.divide(c, c)
    sigma = ew.sqrt(ew.real(shaping.diagonal(c)))
    scaled = ew.divide(ew.divide(c, reshaped(sigma, (sigma.size, 1))), sigma)
    if kind(scaled.dtype) == "c":
        return ew.complex_of(ew.clip(ew.real(scaled), -1, 1), ew.clip(ew.imag(scaled), -1, 1))
    return ew.clip(scaled, -1, 1)
