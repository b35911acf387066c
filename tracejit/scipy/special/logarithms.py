"""Logarithms, entropies, log-odds and sums of exponentials.

    >>> xlogy(jnp.array([0.0, 2.0]), jnp.array([0.0, 1.0]))
    Array([0., 0.], dtype=float32)

Operands broadcast; integers compute in the default float. Complex operands are a DTypeError unless
said otherwise, shapes that do not broadcast a ShapeError.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tracejit.frontend import elementwise as ew
from tracejit.frontend import promotion, reductions
from tracejit.frontend.array import Array
from tracejit.frontend.axes import axes_tuple
from tracejit.frontend.custom import stop_gradient
from tracejit.frontend.promotion import reshaped, to_inexact
from tracejit.ir.types import kind
from tracejit.nn import normalise
from tracejit.ops import math, special_logs
from tracejit.scipy.special.operands import reals, special


def xlogy(x: Any, y: Any) -> Array:
    """x log(y), and 0 where x is 0 and y not nan.

    The derivative in x is log(y), in y it is x / y, 0 where x is 0.

    >>> xlogy(jnp.array([0.0, 1.0]), jnp.array([0.0, 1.0]))
    Array([0., 0.], dtype=float32)
    """
    return special(special_logs.xlogy, "xlogy", x, y)


def xlog1py(x: Any, y: Any) -> Array:
    """x log(1 + y), precise for small y, and 0 where x is 0 and y not nan.

    >>> xlog1py(jnp.array([0.0, 2.0]), jnp.array([-1.0, 0.0]))
    Array([0., 0.], dtype=float32)
    """
    return special(special_logs.xlog1py, "xlog1py", x, y)


def entr(x: Any) -> Array:
    """-x log(x): 0 at 0, -inf below. The derivative at 0 is inf.

    >>> entr(jnp.array([-1.0, 0.0, 1.0])) + 0
    Array([-inf,   0.,   0.], dtype=float32)
    """
    return special(special_logs.entr, "entr", x)


def rel_entr(p: Any, q: Any) -> Array:
    """p log(p / q): 0 where p is 0 and q >= 0, inf where either is negative or only q is 0.

    >>> rel_entr(jnp.array([0.0, 1.0, 1.0]), jnp.array([1.0, 1.0, 0.0]))
    Array([ 0.,  0., inf], dtype=float32)
    """
    return special(special_logs.rel_entr, "rel_entr", p, q)


def kl_div(p: Any, q: Any) -> Array:
    """p log(p / q) - p + q: 0 where p and q agree, inf where ``rel_entr`` is.

    >>> kl_div(jnp.array([0.0, 2.0]), jnp.array([1.0, 2.0]))
    Array([1., 0.], dtype=float32)
    """
    p, q = reals("kl_div", p, q)
    found = ew.run(special_logs.rel_entr, p, q)
    endless = ew.isposinf(found)  # q, and with it the sum, may be infinite as well
    return ew.select(endless, found, ew.add(ew.subtract(found, p), q))  # type: ignore[no-any-return]


def logit(x: Any) -> Array:
    """log(x / (1 - x)), the inverse of ``expit``: nan outside [0, 1].

    >>> logit(jnp.array([0.0, 0.5, 1.0]))
    Array([-inf,   0.,  inf], dtype=float32)
    """
    return special(special_logs.logit, "logit", x)


def expit(x: Any) -> Array:
    """1 / (1 + exp(-x)), without overflow.

    >>> expit(jnp.array([-1000.0, 0.0, 1000.0]))
    Array([0. , 0.5, 1. ], dtype=float32)
    """
    return ew.run(math.logistic, to_inexact(x))  # type: ignore[no-any-return]


def log_expit(x: Any) -> Array:
    """log(expit(x)), precise in both tails.

    >>> log_expit(jnp.array([-1000.0, 1000.0]))
    Array([-1000.,     0.], dtype=float32)
    """
    (x,) = reals("log_expit", x)
    tail = ew.log1p(ew.exp(ew.negative(ew.absolute(x))))
    return ew.subtract(ew.minimum(x, 0), tail)  # type: ignore[no-any-return]


#: coefficients of expm1(t) / t; below these sizes of t it is taken from them
_EXPREL = (1.0, 1 / 2, 1 / 6, 1 / 24, 1 / 120, 1 / 720)
_SMALL = {8: 3e-3, 4: 3e-2}


def _power_minus_one(logarithm: Array, lmbda: Array) -> Array:
    """(exp(lmbda logarithm) - 1) / lmbda, smooth in lmbda at 0."""
    t = ew.multiply(lmbda, logarithm)
    near = ew.less(ew.absolute(t), _SMALL.get(t.dtype.itemsize, 3e-2))
    near = ew.logical_or(near, ew.equal(lmbda, 0))
    far = ew.divide(ew.expm1(t), lmbda)
    # an infinite logarithm is there too where lmbda is 0
    small = ew.multiply(lmbda, ew.select(ew.isinf(logarithm), 0, logarithm))
    close = ew.multiply(logarithm, _horner(small))
    return ew.select(near, close, far)  # type: ignore[no-any-return]


def _horner(t: Array) -> Array:
    total: Any = _EXPREL[-1]
    for coefficient in reversed(_EXPREL[:-1]):
        total = ew.add(ew.multiply(total, t), coefficient)
    return total  # type: ignore[no-any-return]


def boxcox(x: Any, lmbda: Any) -> Array:
    """(x**lmbda - 1) / lmbda, log(x) where lmbda is 0; nan for negative x.

    >>> boxcox(jnp.array([1.0, 3.0]), 2.0)
    Array([0., 4.], dtype=float32)
    """
    x, lmbda = reals("boxcox", x, lmbda)
    return _power_minus_one(ew.log(x), lmbda)


def boxcox1p(x: Any, lmbda: Any) -> Array:
    """((1 + x)**lmbda - 1) / lmbda, precise for small x; log1p(x) where lmbda is 0.

    >>> boxcox1p(jnp.array([0.0, 2.0]), 2.0)
    Array([0., 4.], dtype=float32)
    """
    x, lmbda = reals("boxcox1p", x, lmbda)
    return _power_minus_one(ew.log1p(x), lmbda)


# ---- rows ----------------------------------------------------------------------------------------


def softmax(x: Any, /, *, axis: Any = None) -> Array:
    """exp(x) divided by its sum over ``axis``: an int, several, or None for all.

    Raises ShapeError for an axis that is not there.

    >>> softmax(jnp.array([0.0, 0.0]))
    Array([0.5, 0.5], dtype=float32)
    """
    return normalise.softmax(x, axis)


def log_softmax(x: Any, /, *, axis: Any = None) -> Array:
    """log(softmax(x)), precise where that is tiny.

    >>> log_softmax(jnp.array([0.0, 1000.0]))
    Array([-1000.,     0.], dtype=float32)
    """
    return normalise.log_softmax(x, axis)


def logsumexp(
    a: Any,
    axis: Any = None,
    b: Any = None,
    keepdims: bool = False,
    return_sign: bool = False,
    where: Any = None,
) -> Any:
    """log(sum(b * exp(a))) over ``axis`` without overflow; nan where the sum is negative.

    With ``return_sign`` the logarithm of the sum's absolute value, and its sign (of complex sums
    the phase). Elements where ``where`` is false count for nothing. Complex ``a`` and ``b`` are
    taken. Raises ShapeError for an axis that is not there.

    >>> logsumexp(jnp.array([1000.0, 1000.0])) - 1000
    Array(0.69..., dtype=float32)
    """
    operands = [a] if b is None else [a, b]
    dtype, _ = promotion.dtype_of([promotion.operand(x) for x in operands])
    if kind(dtype) != "c":
        return normalise.logsumexp(a, axis, b, keepdims, return_sign, where)
    return _complex_logsumexp(a, axis, b, keepdims, return_sign, where)


def _complex_logsumexp(
    a: Any, axis: Any, b: Any, keepdims: bool, return_sign: bool, where: Any
) -> Any:
    x, weights = ew.float_operands("logsumexp", a, 1 if b is None else b)
    size = ew.select(ew.equal(weights, 0), -np.inf, ew.real(x))
    axes = axes_tuple("logsumexp", axis, x.ndim)
    top = reductions.max(size, axes, keepdims=True, initial=-np.inf, where=where)
    top = stop_gradient(ew.select(ew.isfinite(top), top, 0))
    terms = ew.multiply(weights, ew.exp(ew.subtract(x, top)))
    terms = ew.select(ew.equal(weights, 0), 0, terms)
    total = reductions.sum(terms, axes, keepdims=True, where=where)
    if return_sign:
        length = ew.absolute(total)
        sign = ew.divide(total, ew.select(ew.equal(length, 0), 1, length))
        results = [ew.add(ew.log(length), top), sign]
    else:
        results = [ew.add(ew.log(total), top)]
    if not keepdims:
        kept = tuple(n for k, n in enumerate(x.shape) if k not in axes)
        results = [reshaped(r, kept) for r in results]
    return tuple(results) if return_sign else results[0]
