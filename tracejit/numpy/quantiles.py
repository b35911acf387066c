"""Order statistics: quantiles by NumPy's thirteen methods, percentiles and medians.

>>> quantile(jnp.arange(5.0), 0.25)
Array(1., dtype=float32)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tracejit.errors import ArgumentError, DTypeError, ShapeError
from tracejit.frontend import elementwise as ew
from tracejit.frontend import indexing, ordering, promotion, reductions, shaping
from tracejit.frontend.array import as_array
from tracejit.frontend.axes import axes_list, axes_tuple
from tracejit.frontend.promotion import convert, reshaped, to_inexact
from tracejit.ir.types import DTYPES, kind
from tracejit.source import here

I64 = DTYPES["i64"]


def _nearest_even(q: Any, n: Any) -> Any:
    at = q * n - 1.5
    low = ew.floor(at)
    stay = ew.logical_and(ew.equal(at, low), ew.equal(ew.remainder(low, 2), 1))
    return ew.select(stay, low, low + 1)


#: the virtual position of quantile q among n sorted elements, counted from 0: Hyndman and Fan,
#: "Sample quantiles in statistical packages" (1996)
METHODS: dict[str, Callable[[Any, Any], Any]] = {
    "inverted_cdf": lambda q, n: ew.ceil(q * n - 1),
    "averaged_inverted_cdf": lambda q, n: q * n - 1,
    "closest_observation": _nearest_even,
    "interpolated_inverted_cdf": lambda q, n: q * n - 1,
    "hazen": lambda q, n: q * n - 0.5,
    "weibull": lambda q, n: q * (n + 1) - 1,
    "linear": lambda q, n: q * (n - 1),
    "median_unbiased": lambda q, n: q * (n + 1 / 3) - 2 / 3,
    "normal_unbiased": lambda q, n: q * (n + 0.25) - 0.625,
    "lower": lambda q, n: ew.floor(q * (n - 1)),
    "higher": lambda q, n: ew.ceil(q * (n - 1)),
    "nearest": lambda q, n: ew.rint(q * (n - 1)),
    "midpoint": lambda q, n: (ew.floor(q * (n - 1)) + ew.ceil(q * (n - 1))) * 0.5,
}
#: methods that give one of the elements: the dtype is theirs, whatever that of q
ELEMENTS = ("inverted_cdf", "closest_observation", "lower", "higher", "nearest")


def quantile(
    a: Any,
    q: Any,
    axis: Any = None,
    out: None = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
    *,
    weights: Any = None,
    interpolation: str | None = None,
) -> Any:
    """The q-th quantiles (q in [0, 1]) over ``axis``; nan where there is a nan.

    ``method`` "linear" interpolates between elements; the others are NumPy's, "lower", "nearest"
    ... (Hyndman and Fan, "Sample quantiles in statistical packages", 1996). ``weights``, of the
    shape of ``a`` or of its axes, go with method "inverted_cdf". The axes of ``q`` come first in
    the result. Raises ArgumentError for another method and for a known q outside of [0, 1].

    >>> jnp.quantile(jnp.array([1.0, 2.0, 3.0, 4.0]), jnp.array([0.0, 0.5, 1.0]))
    Array([1. , 2.5, 4. ], dtype=float32)
    """
    ew.no_out("quantile", out)
    _check_range("quantile", q, 1)
    return _quantile("quantile", a, q, axis, interpolation or method, keepdims, False, weights)


def percentile(
    a: Any,
    q: Any,
    axis: Any = None,
    out: None = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
    *,
    weights: Any = None,
    interpolation: str | None = None,
) -> Any:
    """The q-th percentiles (q in [0, 100]) over ``axis``: ``quantile`` at q / 100.

    >>> jnp.percentile(jnp.array([1.0, 2.0, 3.0]), 50)
    Array(2., dtype=float32)
    """
    ew.no_out("percentile", out)
    _check_range("percentile", q, 100)
    how = interpolation or method
    return _quantile("percentile", a, _hundredth(q), axis, how, keepdims, False, weights)


def nanquantile(
    a: Any,
    q: Any,
    axis: Any = None,
    out: None = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
    *,
    weights: Any = None,
    interpolation: str | None = None,
) -> Any:
    """The q-th quantiles of the elements that are not nan."""
    ew.no_out("nanquantile", out)
    _check_range("nanquantile", q, 1)
    return _quantile("nanquantile", a, q, axis, interpolation or method, keepdims, True, weights)


def nanpercentile(
    a: Any,
    q: Any,
    axis: Any = None,
    out: None = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
    *,
    weights: Any = None,
    interpolation: str | None = None,
) -> Any:
    """The q-th percentiles of the elements that are not nan."""
    ew.no_out("nanpercentile", out)
    _check_range("nanpercentile", q, 100)
    how = interpolation or method
    return _quantile("nanpercentile", a, _hundredth(q), axis, how, keepdims, True, weights)


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
    ew.no_out("median", out)
    return _quantile("median", a, 0.5, axis, "linear", keepdims, False, None)


def nanmedian(
    a: Any,
    axis: Any = None,
    out: None = None,
    overwrite_input: bool = False,
    keepdims: bool = False,
) -> Any:
    """The median of the elements that are not nan."""
    ew.no_out("nanmedian", out)
    return _quantile("nanmedian", a, 0.5, axis, "linear", keepdims, True, None)


def _check_range(name: str, q: Any, top: int) -> None:
    values = ordering.known(as_array(q))
    if values is not None and not np.all((values >= 0) & (values <= top)):
        wrong = values if values.ndim == 0 else values[~((values >= 0) & (values <= top))][0]
        raise ArgumentError(f"{name}: q lies in [0, {top}], not {wrong}", at=here())


def _hundredth(q: Any) -> Any:
    return q / 100 if isinstance(q, int | float) else ew.divide(to_inexact(q), 100)


def _last(a: Any, axis: Any, name: str) -> tuple[Any, tuple[int, ...]]:
    """``a`` with the axes merged into one last axis, and its shape with them kept as size 1."""
    axes = axes_tuple(name, axis, a.ndim)
    kept = tuple(1 if k in axes else n for k, n in enumerate(a.shape))
    rest = [k for k in range(a.ndim) if k not in axes]
    moved = shaping.transpose(a, (*rest, *axes))
    count = int(np.prod([a.shape[k] for k in axes], dtype=np.int64))
    return reshaped(moved, (*(a.shape[k] for k in rest), count)), kept


def _quantile(
    name: str,
    a: Any,
    q: Any,
    axis: Any,
    method: str,
    keepdims: bool,
    skip_nan: bool,
    weights: Any,
) -> Any:
    if method not in METHODS:
        there = f"there are: {', '.join(METHODS)}"
        raise ArgumentError(f"{name}: there is no method {method!r}", at=here(), hint=there)
    a = to_inexact(a)
    if kind(a.dtype) == "c":
        raise DTypeError(f"{name}: complex numbers have no order", at=here())
    if not isinstance(q, int | float | list | tuple):  # an array's dtype takes part
        q = to_inexact(q)
        common = promotion.promote_types(a.dtype, q.dtype)
        q = convert(q, common)
        a = a if method in ELEMENTS else convert(a, common)
    else:
        q = promotion.typed(q, a.dtype)
    flat, kept = _last(a, axis, name)
    if flat.shape[-1] == 0:
        raise ShapeError(f"{name}: the axes of {a.type} are empty", at=here())
    lead = q.shape
    q = reshaped(q, (q.size, *(1,) * (flat.ndim - 1)))
    if weights is None:
        found = _by_count(flat, q, method, skip_nan)
    else:
        found = _by_weight(name, flat, q, _weights(name, weights, a, axis), method, skip_nan)
    bad = ew.isnan(flat)
    lost = reductions.all(bad, -1) if skip_nan else reductions.any(bad, -1)
    found = ew.select(lost, np.nan, found)
    return reshaped(found, (*lead, *(kept if keepdims else flat.shape[:-1])))


def _by_count(flat: Any, q: Any, method: str, skip_nan: bool) -> Any:
    """Quantiles along the last axis of ``flat``; ``q`` has one axis of its own in front."""
    ordered = ordering.sort(flat)
    count: Any = float(flat.shape[-1])
    if skip_nan:
        count = convert(reductions.sum(ew.logical_not(ew.isnan(flat)), -1), q.dtype)
    at = METHODS[method](q, count)
    low = ew.floor(at)
    part = ew.subtract(at, low)
    if method == "averaged_inverted_cdf":
        part = ew.select(ew.equal(part, 0), 0.5, 1.0)
    last = ew.maximum(ew.subtract(count, 1), 0)
    below, above = (convert(ew.clip(k, 0, last), I64) for k in (low, ew.add(low, 1)))
    at_below = _pick(ordered, below)
    if method in ELEMENTS:
        return at_below
    at_above = _pick(ordered, above)
    found = ew.add(at_below, ew.multiply(part, ew.subtract(at_above, at_below)))
    # an infinity next to a whole position must not turn into nan
    found = ew.select(ew.equal(part, 1), at_above, found)
    return ew.select(ew.equal(part, 0), at_below, found)


def _by_weight(name: str, flat: Any, q: Any, weights: Any, method: str, skip_nan: bool) -> Any:
    """Of the sorted elements, the first up to which the share of the weights is at least q."""
    if method != "inverted_cdf":
        raise ArgumentError(
            f"{name}: weights go with method='inverted_cdf', not {method!r}", at=here()
        )
    weights = convert(weights, q.dtype)
    if skip_nan:
        weights = ew.select(ew.isnan(flat), 0, weights)
    order = ordering.argsort(flat)
    ordered = indexing.take_along_axis(flat, order, -1, "promise_in_bounds")
    share = reductions.cumsum(indexing.take_along_axis(weights, order, -1, "promise_in_bounds"), -1)
    share = ew.divide(
        share, shaping.cut(share, share.ndim - 1, share.shape[-1] - 1, share.shape[-1])
    )
    # what weighs nothing in front is not even the 0-th quantile
    share = ew.select(ew.equal(share, 0), -1, share)
    behind = ew.less(share, reshaped(q, (*q.shape, 1)))
    place = reductions.sum(convert(behind, I64), -1)
    return _pick(ordered, ew.clip(place, 0, flat.shape[-1] - 1))


def _weights(name: str, weights: Any, a: Any, axis: Any) -> Any:
    """``weights`` with the axes of ``a`` merged as in ``_last``."""
    w = to_inexact(weights)
    values = ordering.known(w)
    if values is not None and not np.all(values >= 0):
        raise ArgumentError(f"{name}: weights are not negative", at=here())
    if w.shape != a.shape:
        axes = () if axis is None else axes_list(name, axis, a.ndim)
        if not axes or w.shape != tuple(a.shape[k] for k in axes):
            raise ShapeError(
                f"{name}: weights {w.type} do not fit {a.type} over axis {axis}", at=here()
            )
        ordered = shaping.transpose(w, tuple(int(k) for k in np.argsort(axes)))
        shape = tuple(n if k in axes else 1 for k, n in enumerate(a.shape))
        w = promotion.broadcast_to(reshaped(ordered, shape), a.shape)
    return _last(w, axis, name)[0]


def _pick(ordered: Any, places: Any) -> Any:
    """Elements of sorted rows; ``places`` has the quantiles' axis in front of those of the rows."""
    rows = ordered.shape[:-1]
    count = places.shape[0]
    places = promotion.broadcast_to(places, (count, *rows))
    wide = promotion.broadcast_to(reshaped(ordered, (1, *ordered.shape)), (count, *ordered.shape))
    places = reshaped(places, (count, *rows, 1))
    found = indexing.take_along_axis(wide, places, -1, "promise_in_bounds")
    return reshaped(found, (count, *rows))
