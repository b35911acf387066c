"""Reductions over axes: sums, extrema, means, logic, arg-extrema, running sums. Axes and
``keepdims`` are static.

>>> mean(jnp.arange(4.0).reshape(2, 2), axis=1)
Array([0.5, 2.5], dtype=float32)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tracejit import source
from tracejit.config import config
from tracejit.errors import ArgumentError, ShapeError
from tracejit.frontend import array as core
from tracejit.frontend import elementwise, placement, promotion, shaping
from tracejit.frontend.axes import axes_tuple, axis_number
from tracejit.frontend.elementwise import no_out, truth
from tracejit.frontend.promotion import canonical, convert, filled, reshaped
from tracejit.ir.prim import Primitive
from tracejit.ir.types import DTYPES, kind, real_dtype
from tracejit.ops import broadcast, cumulative, reduce

I64 = DTYPES["i64"]


def fold(prim: Primitive, a: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    """A reduction primitive over ``axes``, which stay with size 1 when ``keepdims``."""
    found = core.apply(prim, a, axes=axes) if axes else placement.twin(a)
    if keepdims:
        return reshaped(found, tuple(1 if k in axes else n for k, n in enumerate(a.shape)))
    return found


def _masked(a: Any, where: Any, neutral: Any) -> Any:
    """``a`` with ``neutral`` where ``where`` is false."""
    return a if where is None else elementwise.select(where, a, filled(neutral, a.type))


def accumulator(dtype: np.dtype) -> np.dtype:
    """The dtype NumPy sums in: booleans and narrow integers widen to the default integer."""
    if kind(dtype) in "bi":
        return dtype if dtype.itemsize > config.default_int.itemsize else config.default_int
    if kind(dtype) == "u":
        wide = np.dtype(f"u{config.default_int.itemsize}")
        return dtype if dtype.itemsize > wide.itemsize else wide
    return dtype


def _total(
    name: str,
    prim: Primitive,
    a: Any,
    axis: Any,
    dtype: Any,
    keepdims: bool,
    initial: Any,
    where: Any,
    neutral: int,
    combine: Callable[..., Any],
) -> Any:
    a = core.as_array(a)
    a = convert(a, accumulator(a.dtype) if dtype is None else canonical(dtype))
    a = _masked(a, where, neutral)
    found = fold(prim, a, axes_tuple(name, axis, a.ndim), keepdims)
    return found if initial is None else combine(found, initial)


def sum(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: None = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = None,
    promote_integers: bool = True,
) -> Any:
    """The sum over ``axis`` (all axes by default), of elements where ``where`` holds, starting at
    ``initial``.

    ``axis`` is an int or several; ``keepdims`` leaves them with size 1. Booleans and narrow
    integers are summed in ``config.default_int``. Raises ShapeError for an axis that is not there.

    >>> jnp.sum(jnp.array([[1.0, 2.0], [3.0, 4.0]]), axis=0)
    Array([4., 6.], dtype=float32)
    """
    no_out("sum", out)
    if dtype is None and not promote_integers:
        dtype = core.as_array(a).dtype
    return _total(
        "sum", broadcast.reduce_sum, a, axis, dtype, keepdims, initial, where, 0, elementwise.add
    )


def prod(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: None = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = None,
    promote_integers: bool = True,
) -> Any:
    """The product over ``axis``, of elements where ``where`` holds.

    >>> jnp.prod(jnp.array([1, 2, 3, 4]))
    Array(24)
    """
    no_out("prod", out)
    if dtype is None and not promote_integers:
        dtype = core.as_array(a).dtype
    return _total(
        "prod",
        reduce.reduce_prod,
        a,
        axis,
        dtype,
        keepdims,
        initial,
        where,
        1,
        elementwise.multiply,
    )


# ---- extrema -------------------------------------------------------------------------------------


def _extremum(
    name: str,
    prim: Primitive,
    neutral: Callable[[np.dtype], Any],
    combine: Any,
    a: Any,
    axis: Any,
    keepdims: bool,
    initial: Any,
    where: Any,
) -> Any:
    a = core.as_array(a)
    axes = axes_tuple(name, axis, a.ndim)
    if initial is None and math.prod(a.shape[k] for k in axes) == 0:
        raise ShapeError(
            f"{name}: the axes {axes} of {a.type} are empty", at=source.here(), hint="pass initial="
        )
    if where is not None and initial is None:
        raise ArgumentError(f"{name}: with where= an initial= is needed", at=source.here())
    if where is not None:
        least = neutral(real_dtype(a.dtype))
        a = _masked(a, where, complex(least, least) if kind(a.dtype) == "c" else least)
    complex_ = kind(a.dtype) == "c"
    found = (
        _lexical(prim, neutral, a, axes, keepdims) if complex_ else fold(prim, a, axes, keepdims)
    )
    return found if initial is None else combine(found, initial)


def _lexical(
    prim: Primitive,
    neutral: Callable[[np.dtype], Any],
    a: Any,
    axes: tuple[int, ...],
    keepdims: bool,
) -> Any:
    """The extremum of complex numbers in NumPy's order: by real, then by imaginary parts."""
    re, im = elementwise.real(a), elementwise.imag(a)
    best = fold(prim, re, axes, True)
    tied = elementwise.select(elementwise.equal(re, best), im, filled(neutral(im.dtype), im.type))
    lost = any(elementwise.isnan(a), axes, keepdims=keepdims)
    kept = best if keepdims else fold(prim, re, axes, False)
    found = elementwise.complex_of(kept, fold(prim, tied, axes, keepdims))
    return elementwise.select(lost, filled(complex(np.nan, np.nan), found.type), found)


def max(
    a: Any,
    axis: Any = None,
    out: None = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = None,
) -> Any:
    """The largest element over ``axis``; nan where there is one.

    Raises ShapeError over empty axes unless ``initial`` is given.

    >>> jnp.max(jnp.array([[1.0, 5.0], [3.0, 2.0]]), axis=1)
    Array([5., 3.], dtype=float32)
    """
    no_out("max", out)
    return _extremum(
        "max",
        reduce.reduce_max,
        reduce.lowest,
        elementwise.maximum,
        a,
        axis,
        keepdims,
        initial,
        where,
    )


def min(
    a: Any,
    axis: Any = None,
    out: None = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = None,
) -> Any:
    """The smallest element over ``axis``; nan where there is one.

    Raises ShapeError over empty axes unless ``initial`` is given.

    >>> jnp.min(jnp.array([[1.0, 5.0], [3.0, 2.0]]), axis=1)
    Array([1., 2.], dtype=float32)
    """
    no_out("min", out)
    return _extremum(
        "min",
        reduce.reduce_min,
        reduce.highest,
        elementwise.minimum,
        a,
        axis,
        keepdims,
        initial,
        where,
    )


def ptp(a: Any, axis: Any = None, out: None = None, keepdims: bool = False) -> Any:
    """The largest element less the smallest."""
    return elementwise.subtract(max(a, axis, out, keepdims), min(a, axis, out, keepdims))


def _arg(name: str, prim: Primitive, a: Any, axis: Any, keepdims: bool) -> Any:
    a = core.as_array(a)
    ndim = a.ndim
    if axis is None:
        a, axis = shaping.ravel(a), 0
        kept: tuple[int, ...] = (1,) * ndim
    else:
        axis = axis_number(name, axis, ndim)
        kept = tuple(1 if k == axis else n for k, n in enumerate(a.shape))
    if a.shape[axis] == 0:
        raise ShapeError(f"{name}: axis {axis} of {a.type} is empty", at=source.here())
    found = core.apply(prim, a, axes=(axis,), index_dtype=I64)
    return reshaped(found, kept) if keepdims else found


def argmax(a: Any, axis: Any = None, out: None = None, keepdims: bool | None = None) -> Any:
    """Where the first largest element along ``axis`` is (in the flattened array by default).

    int64, the dtype of indices; nan counts as largest. Raises ShapeError for an empty axis.

    >>> jnp.argmax(jnp.array([[1.0, 5.0], [3.0, 2.0]]), axis=1)
    Array([1, 0])
    """
    no_out("argmax", out)
    return _arg("argmax", reduce.argmax, a, axis, bool(keepdims))


def argmin(a: Any, axis: Any = None, out: None = None, keepdims: bool | None = None) -> Any:
    """Where the first smallest element along ``axis`` is (in the flattened array by default).

    int64, the dtype of indices; nan counts as smallest. Raises ShapeError for an empty axis.

    >>> jnp.argmin(jnp.array([[1.0, 5.0], [3.0, 2.0]]), axis=1)
    Array([0, 1])
    """
    no_out("argmin", out)
    return _arg("argmin", reduce.argmin, a, axis, bool(keepdims))


# ---- logic ---------------------------------------------------------------------------------------


def any(
    a: Any, axis: Any = None, out: None = None, keepdims: bool = False, *, where: Any = None
) -> Any:
    """Whether some element over ``axis`` is true (non-zero); False of nothing.

    >>> jnp.any(jnp.array([[0, 1], [0, 0]]), axis=1)
    Array([ True, False])
    """
    no_out("any", out)
    flags = _masked(truth(a), where, False)
    return fold(reduce.reduce_or, flags, axes_tuple("any", axis, flags.ndim), keepdims)


def all(
    a: Any, axis: Any = None, out: None = None, keepdims: bool = False, *, where: Any = None
) -> Any:
    """Whether every element over ``axis`` is true (non-zero); True of nothing.

    >>> jnp.all(jnp.array([[0, 1], [2, 1]]), axis=1)
    Array([False,  True])
    """
    no_out("all", out)
    flags = _masked(truth(a), where, True)
    return fold(reduce.reduce_and, flags, axes_tuple("all", axis, flags.ndim), keepdims)


def count_nonzero(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """How many elements over ``axis`` are not zero."""
    return sum(convert(truth(a), config.default_int), axis, keepdims=keepdims)


# ---- means and variances -------------------------------------------------------------------------


def _count(a: Any, axes: tuple[int, ...], keepdims: bool, where: Any, dtype: np.dtype) -> Any:
    """How many elements enter each result: a Python int without ``where``."""
    if where is None:
        return math.prod(a.shape[k] for k in axes)
    mask = shaping.broadcast_to(truth(where), a.shape)
    return fold(broadcast.reduce_sum, convert(mask, dtype), axes, keepdims)


def _computing(a: Any, dtype: Any) -> Any:
    a = core.as_array(a)
    return convert(a, promotion.inexact(a.dtype) if dtype is None else canonical(dtype))


def mean(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: None = None,
    keepdims: bool = False,
    *,
    where: Any = None,
) -> Any:
    """The arithmetic mean over ``axis``; of integers in the default float, of nothing nan.

    >>> jnp.mean(jnp.array([[1.0, 2.0], [3.0, 6.0]]), axis=1)
    Array([1.5, 4.5], dtype=float32)
    """
    no_out("mean", out)
    a = _computing(a, dtype)
    axes = axes_tuple("mean", axis, a.ndim)
    total = fold(broadcast.reduce_sum, _masked(a, where, 0), axes, keepdims)
    return elementwise.divide(
        total, _float_count(_count(a, axes, keepdims, where, real_dtype(a.dtype)))
    )


#: ``var`` has an argument ``mean``
average = mean


def _float_count(count: Any) -> Any:
    return float(count) if isinstance(count, int) else count


def var(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: None = None,
    ddof: float = 0,
    keepdims: bool = False,
    *,
    where: Any = None,
    mean: Any = None,
    correction: float | None = None,
) -> Any:
    """The variance over ``axis``, dividing by n - ddof (``correction`` is another name of
    ``ddof``).

    The mean of |x - mean|**2, in a real dtype; ``mean``, with the axes kept, saves computing it.

    >>> jnp.var(jnp.array([1.0, 3.0])), jnp.var(jnp.array([1.0, 3.0]), ddof=1)
    (Array(1., dtype=float32), Array(2., dtype=float32))
    """
    no_out("var", out)
    if correction is not None and ddof != 0:
        raise ArgumentError(
            "var: ddof and correction are two names of one argument", at=source.here()
        )
    less = ddof if correction is None else correction
    a = _computing(a, dtype)
    axes = axes_tuple("var", axis, a.ndim)
    centre = average(a, axes, keepdims=True, where=where) if mean is None else mean
    off = elementwise.subtract(a, centre)
    if kind(a.dtype) == "c":
        off2 = elementwise.add(
            elementwise.square(elementwise.real(off)), elementwise.square(elementwise.imag(off))
        )
    else:
        off2 = elementwise.square(off)
    total = fold(broadcast.reduce_sum, _masked(off2, where, 0), axes, keepdims)
    count = _count(a, axes, keepdims, where, total.dtype)
    rest = (
        float(count - less) if isinstance(count, int) else elementwise.subtract(count, float(less))
    )
    return elementwise.divide(total, builtin_max(rest, 0.0) if isinstance(rest, float) else rest)


def builtin_max(a: float, b: float) -> float:
    """The larger of two Python numbers (this module's ``max`` is NumPy's)."""
    return a if a > b else b


def std(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: None = None,
    ddof: float = 0,
    keepdims: bool = False,
    *,
    where: Any = None,
    mean: Any = None,
    correction: float | None = None,
) -> Any:
    """The standard deviation over ``axis``: the square root of ``var``.

    >>> jnp.std(jnp.array([1.0, 3.0]))
    Array(1., dtype=float32)
    """
    return elementwise.sqrt(
        var(a, axis, dtype, out, ddof, keepdims, where=where, mean=mean, correction=correction)
    )


# ---- running folds -------------------------------------------------------------------------------


def running(name: str, prim: Primitive, a: Any, axis: Any, dtype: Any) -> Any:
    """A cumulative primitive along ``axis`` (over the flattened array for None)."""
    a = core.as_array(a)
    a = convert(a, accumulator(a.dtype) if dtype is None else canonical(dtype))
    if axis is None:
        a, axis = shaping.ravel(a), 0
    return core.apply(prim, a, axis=axis_number(name, axis, a.ndim), reverse=False)


def cumsum(a: Any, axis: Any = None, dtype: Any = None, out: None = None) -> Any:
    """Running sums along ``axis``, or over the flattened array.

    >>> jnp.cumsum(jnp.array([[1, 2], [3, 4]]), axis=1)
    Array([[1, 3],
           [3, 7]])
    """
    no_out("cumsum", out)
    return running("cumsum", cumulative.cumsum, a, axis, dtype)


def cumprod(a: Any, axis: Any = None, dtype: Any = None, out: None = None) -> Any:
    """Running products along ``axis``, or over the flattened array.

    >>> jnp.cumprod(jnp.array([1.0, 2.0, 3.0]))
    Array([1., 2., 6.], dtype=float32)
    """
    no_out("cumprod", out)
    return running("cumprod", cumulative.cumprod, a, axis, dtype)
