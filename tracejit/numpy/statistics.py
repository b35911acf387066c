"""Averages, nan-ignoring reductions, covariances.

>>> average(jnp.array([1.0, 3.0]), weights=jnp.array([3.0, 1.0]))
Array(1.5, dtype=float32)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tracejit.errors import ArgumentError, DTypeError, ShapeError
from tracejit.frontend import elementwise as ew
from tracejit.frontend import linear, promotion, reductions, shaping
from tracejit.frontend.array import as_array
from tracejit.frontend.axes import axes_list, axis_number, integer
from tracejit.frontend.promotion import canonical, convert, reshaped, to_inexact
from tracejit.ir.types import is_inexact, kind
from tracejit.source import here


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
    return (found, promotion.broadcast_to(total, found.shape)) if returned else found


def _aligned(w: Any, a: Any, axis: Any) -> Any:
    """Weights with the axes of ``a``: those that they lack, of size 1."""
    if w.shape == a.shape:
        return w
    if axis is None:
        raise ShapeError(
            f"average: weights {w.type} differ from {a.type} in shape",
            at=here(),
            hint="say with axis= which axes the weights belong to",
        )
    axes = axes_list("average", axis, a.ndim)
    if w.shape != tuple(a.shape[k] for k in axes):
        raise ShapeError(
            f"average: weights {w.type} do not fit {a.type} over axis {axis}", at=here()
        )
    ordered = shaping.transpose(w, tuple(int(k) for k in np.argsort(axes)))
    return reshaped(ordered, tuple(n if k in axes else 1 for k, n in enumerate(a.shape)))


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


def nanargmax(a: Any, axis: Any = None, out: None = None, keepdims: bool | None = None) -> Any:
    """Where the largest element that is not nan is; -1 where all are nan."""
    ew.no_out("nanargmax", out)
    return _nan_arg(reductions.argmax, -np.inf, a, axis, bool(keepdims))


def nanargmin(a: Any, axis: Any = None, out: None = None, keepdims: bool | None = None) -> Any:
    """Where the smallest element that is not nan is; -1 where all are nan."""
    ew.no_out("nanargmin", out)
    return _nan_arg(reductions.argmin, np.inf, a, axis, bool(keepdims))


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
    mean: Any = None,
    correction: float | None = None,
) -> Any:
    """The variance of the elements that are not nan, about ``mean`` where it is given."""
    there = _numbers(a, 0, where)[1]
    filled = _numbers(a, 0)[0]
    ddof = ddof if correction is None else correction
    return reductions.var(filled, axis, dtype, out, ddof, keepdims, where=there, mean=mean)


def nanstd(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: None = None,
    ddof: float = 0,
    keepdims: bool = False,
    where: Any = None,
    mean: Any = None,
    correction: float | None = None,
) -> Any:
    """The standard deviation of the elements that are not nan."""
    return ew.sqrt(nanvar(a, axis, dtype, out, ddof, keepdims, where, mean, correction))


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
    dtype: Any = None,
) -> Any:
    """The covariance matrix of the rows (variables) of ``m``, or of its columns.

    Sums of products of deviations over n - 1, or n with ``bias``, or n - ``ddof``; computed in
    ``dtype``, by default that of ``m``.

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
    if dtype is not None:
        x = convert(x, canonical(dtype))
    less = (0 if bias else 1) if ddof is None else integer(ddof, "cov: ddof")
    _check_weights(x.shape[1], fweights, aweights)
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


def _check_weights(count: int, fweights: Any, aweights: Any) -> None:
    """Weights are vectors, one number for each observation; known ones are not negative, and
    frequencies are whole.
    """
    for name, given in (("fweights", fweights), ("aweights", aweights)):
        if given is None:
            continue
        w = as_array(given)
        if w.shape != (count,):
            raise ShapeError(f"cov: {name} {w.type} for {count} observations", at=here())
        if w._data is not None and np.any(w._data < 0):
            raise ArgumentError(f"cov: {name} are not negative", at=here())
        if name == "fweights" and w._data is not None and np.any(w._data != np.floor(w._data)):
            raise DTypeError("cov: fweights are whole numbers", at=here())


def _rows(m: Any, rowvar: bool) -> Any:
    m = reshaped(m, (1, m.size)) if m.ndim < 2 else m
    return m if rowvar or m.shape[0] == 1 else shaping.transpose(m)


def corrcoef(x: Any, y: Any = None, rowvar: bool = True, dtype: Any = None) -> Any:
    """The matrix of correlation coefficients of the rows of ``x``: cov[i, j] / sqrt(cov[i, i]
    cov[j, j]).

    >>> jnp.corrcoef(jnp.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]])).round(3)
    Array([[ 1., -1.],
           [-1.,  1.]], dtype=float32)
    """
    c = cov(x, y, rowvar, dtype=dtype)
    if c.ndim == 0:
        return ew.divide(c, c)
    sigma = ew.sqrt(ew.real(shaping.diagonal(c)))
    scaled = ew.divide(ew.divide(c, reshaped(sigma, (sigma.size, 1))), sigma)
    if kind(scaled.dtype) == "c":
        return ew.complex_of(ew.clip(ew.real(scaled), -1, 1), ew.clip(ew.imag(scaled), -1, 1))
    return ew.clip(scaled, -1, 1)
