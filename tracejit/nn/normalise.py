"""Functions of rows: softmax and its logarithm, log-sum-exp, standardisation; one-hot codes and
dropout.

    >>> softmax(jnp.array([0.0, 0.0]))
    Array([0.5, 0.5], dtype=float32)

Each is a chain of map and reduce over the same rows, which the compiler puts in one kernel. The
maximum that keeps exponentials from overflowing is a constant of differentiation: the result does
not depend on it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tracejit.config import config
from tracejit.errors import ArgumentError, DTypeError
from tracejit.frontend import elementwise as ew
from tracejit.frontend import promotion, reductions, shaping
from tracejit.frontend.array import Array, apply, as_array
from tracejit.frontend.axes import axes_tuple, axis_number
from tracejit.frontend.custom import custom_jvp, stop_gradient
from tracejit.frontend.promotion import convert, reshaped, to_inexact
from tracejit.ir.types import DTYPES, TensorType, kind
from tracejit.ops import layout
from tracejit.random import bernoulli
from tracejit.source import here

# ---- softmax and relatives -----------------------------------------------------------------------


def _top(x: Array, axes: tuple[int, ...], where: Any) -> Array:
    """The maximum over ``axes``, kept, as a constant."""
    if where is None and x.size:
        return stop_gradient(reductions.max(x, axes, keepdims=True))  # type: ignore[no-any-return]
    top = reductions.max(x, axes, keepdims=True, initial=-np.inf, where=where)
    return stop_gradient(top)  # type: ignore[no-any-return]


def softmax(x: Any, axis: Any = -1, where: Any = None) -> Array:
    """exp(x) normalised to sum 1 over ``axis``; elements where ``where`` is false count for nothing
    and give 0.

    The result has the shape of ``x`` and its floating dtype. Computed as exp(x - max(x)), which
    does not overflow. Raises ShapeError for an axis that is not there.

    >>> nn.softmax(jnp.array([[0.0, 0.0], [0.0, 1000.0]]))
    Array([[0.5, 0.5],
           [0. , 1. ]], dtype=float32)
    """
    x = to_inexact(x)
    axes = axes_tuple("softmax", axis, x.ndim)
    if where is None and x.size:
        return _softmax(x, axes)  # type: ignore[no-any-return]
    e = ew.exp(ew.subtract(x, _top(x, axes, where)))
    found = ew.divide(e, reductions.sum(e, axes, keepdims=True, where=where))
    return found if where is None else ew.select(where, found, 0)


def _softmax_of(x: Array, axes: tuple[int, ...]) -> Array:
    e = ew.exp(ew.subtract(x, reductions.max(x, axes, keepdims=True)))
    return ew.divide(e, reductions.sum(e, axes, keepdims=True))


_softmax = custom_jvp(_softmax_of, nondiff_argnums=(1,))


@_softmax.defjvp
def _softmax_jvp(axes: tuple[int, ...], primals: Any, tangents: Any) -> Any:
    """Of the intermediate values only the result itself is needed."""
    y, dx = _softmax(primals[0], axes), tangents[0]
    mean = reductions.sum(ew.multiply(y, dx), axes, keepdims=True)
    return y, ew.multiply(y, ew.subtract(dx, mean))


def log_softmax(x: Any, axis: Any = -1, where: Any = None) -> Array:
    """log(softmax(x)), precise where that is tiny; -inf where ``where`` is false.

    Computed as x - max(x) - log(sum(exp(x - max(x)))), in the shape of ``x``.

    >>> nn.log_softmax(jnp.array([0.0, 1000.0]))
    Array([-1000.,     0.], dtype=float32)
    """
    x = to_inexact(x)
    axes = axes_tuple("log_softmax", axis, x.ndim)
    shifted = ew.subtract(x, _top(x, axes, where))
    total = reductions.sum(ew.exp(shifted), axes, keepdims=True, where=where)
    found = ew.subtract(shifted, ew.log(total))
    return found if where is None else ew.select(where, found, -np.inf)


def logsumexp(
    a: Any,
    axis: Any = None,
    b: Any = None,
    keepdims: bool = False,
    return_sign: bool = False,
    where: Any = None,
) -> Any:
    """log(sum(b * exp(a))) over ``axis`` without overflow; with ``return_sign`` of the absolute
    value, and the sign.

    >>> nn.logsumexp(jnp.array([1000.0, 1000.0])) - 1000
    Array(0.69..., dtype=float32)
    """
    x = to_inexact(a)
    if b is not None:
        x, weights = promotion.prepared("logsumexp", x, b)
        x = ew.select(ew.equal(weights, 0), -np.inf, x)
    axes = axes_tuple("logsumexp", axis, x.ndim)
    top = _top(x, axes, where)
    top = ew.select(ew.isfinite(top), top, 0)
    terms = ew.exp(ew.subtract(x, top))
    if b is not None:
        terms = ew.multiply(terms, weights)
    total = reductions.sum(terms, axes, keepdims=True, where=where)
    sign = ew.sign(total)
    if return_sign:
        total = ew.absolute(total)
    found = ew.add(ew.log(total), top)
    if not keepdims:
        kept = tuple(n for k, n in enumerate(x.shape) if k not in axes)
        found, sign = reshaped(found, kept), reshaped(sign, kept)
    return (found, stop_gradient(sign)) if return_sign else found


def logmeanexp(x: Any, axis: Any = None, where: Any = None, keepdims: bool = False) -> Array:
    """log(mean(exp(x))) over ``axis`` without overflow."""
    x = to_inexact(x)
    total = logsumexp(x, axis, keepdims=keepdims, where=where)
    mask = True if where is None else where
    count = reductions.sum(
        shaping.broadcast_to(mask, x.shape), axis, dtype=x.dtype, keepdims=keepdims
    )
    return ew.subtract(total, ew.log(count))  # type: ignore[no-any-return]


def standardize(
    x: Any,
    axis: Any = -1,
    mean: Any = None,
    variance: Any = None,
    epsilon: Any = 1e-5,
    where: Any = None,
    *,
    algorithm: str = "fast",
) -> Array:
    """(x - mean) / sqrt(variance + epsilon), both over ``axis`` where they are not given.

    The variance is the mean of (x - mean)**2. ``algorithm`` is accepted for compatibility.

    >>> nn.standardize(jnp.array([1.0, 3.0]), epsilon=0.0)
    Array([-1.,  1.], dtype=float32)
    """
    x = to_inexact(x)
    if mean is None:
        mean = reductions.mean(x, axis, keepdims=True, where=where)
    centred = ew.subtract(x, mean)
    if variance is None:
        variance = reductions.mean(ew.square(centred), axis, keepdims=True, where=where)
    return ew.divide(centred, ew.sqrt(ew.add(variance, epsilon)))  # type: ignore[no-any-return]


# ---- codes and noise -----------------------------------------------------------------------------


def one_hot(x: Any, num_classes: int, *, dtype: Any = None, axis: int = -1) -> Array:
    """Ones at the indices ``x`` along a new axis of ``num_classes``, zeros elsewhere; all zeros for
    one outside.

    The result has the shape of ``x`` with ``num_classes`` at ``axis``, in ``config.default_float``
    unless ``dtype`` says otherwise. Raises DTypeError for indices that are not whole
    numbers, as far as that is known.

    >>> nn.one_hot(jnp.array([0, 2, 7]), 3)
    Array([[1., 0., 0.],
           [0., 0., 1.],
           [0., 0., 0.]], dtype=float32)
    """
    index = as_array(x)
    if kind(index.dtype) == "c":
        raise DTypeError(f"one_hot: indices are integers, not {index.type}", at=here())
    held = index._data if kind(index.dtype) == "f" and index._trace is None else None
    if isinstance(held, np.ndarray) and (held != np.floor(held)).any():
        raise DTypeError(
            f"one_hot: indices are whole numbers, not those of {index.type}: {held.ravel()[:3]}",
            at=here(),
        )
    index = convert(index, index.dtype)
    number = axis_number("one_hot", axis, index.ndim + 1)
    shape = (*index.shape[:number], int(num_classes), *index.shape[number:])
    classes = apply(layout.iota, dtype=DTYPES["i64"], shape=shape, dimension=number)
    hits = ew.equal(shaping.expand_dims(index, number), classes)
    found = config.default_float if dtype is None else promotion.canonical(dtype)
    return convert(hits, found)  # type: ignore[no-any-return]


def dropout(key: Any, x: Any, rate: float, deterministic: bool = False) -> Array:
    """``x`` with each element zero with probability ``rate``, the others divided by 1 - rate.

    The random bits are computed where they are used, forward and backward: no mask is stored.

    ``deterministic`` gives ``x`` as it is. Raises ArgumentError for a rate outside [0, 1].

    >>> nn.dropout(random.key(0), jnp.ones(5), 0.5)
    Array([0., 0., 2., 2., 0.], dtype=float32)
    """
    x = to_inexact(x)
    if isinstance(rate, int | float) and not 0 <= rate <= 1:
        raise ArgumentError(f"dropout: rate is between 0 and 1, not {rate}", at=here())
    if deterministic or (isinstance(rate, int | float) and rate == 0):
        return x  # type: ignore[no-any-return]
    if isinstance(rate, int | float) and rate == 1:
        return promotion.filled(0, TensorType(x.dtype, x.shape))  # type: ignore[no-any-return]
    kept = bernoulli(key, ew.subtract(1.0, rate), x.shape)
    return ew.select(kept, ew.divide(x, ew.subtract(1.0, rate)), 0)
