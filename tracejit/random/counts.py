"""Samplers of booleans and counts: bernoulli, geometric, poisson, binomial, multinomial.

    >>> bernoulli(key(0), 0.5, (4,))
    Array([False, False,  True,  True])

Rejection loops run until all elements have accepted, on one key for the array, as in JAX.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tracejit import source
from tracejit.config import config
from tracejit.errors import DTypeError, ShapeError
from tracejit.frontend import elementwise as ew
from tracejit.frontend import indexing, promotion, reductions, shaping
from tracejit.frontend.array import Array
from tracejit.frontend.axes import shape_tuple
from tracejit.frontend.promotion import convert, filled
from tracejit.ir.types import DTYPES, TensorType, kind
from tracejit.lax.loops import scan, while_loop
from tracejit.random.arguments import (
    constant,
    float_dtype,
    float_info,
    floating,
    int_dtype,
    lgamma,
    one_of,
    parameters,
    real_array,
    result_shape,
)
from tracejit.random.continuous import signs
from tracejit.random.draws import uniform_of
from tracejit.random.keys import single, split_into, split_words

Shape = tuple[int, ...]
BOOL, F32, I64 = DTYPES["bool"], DTYPES["f32"], DTYPES["i64"]

# ---- single comparisons --------------------------------------------------------------------------


def bernoulli(key: Any, p: Any = 0.5, shape: Any = None, mode: str = "low") -> Array:
    """True with probability ``p``. ``mode`` "high" resolves tiny ones, at twice the work.

    ``shape`` is that of ``p`` by default. Raises DTypeError for ``p`` that is not floating.

    >>> random.bernoulli(random.key(0), 0.5, (4,))
    Array([False, False,  True,  True])
    """
    one_of("bernoulli", "mode", mode, "low", "high")
    words = single("bernoulli", key)
    p = promotion.relabelled(real_array("bernoulli", p), False)
    if kind(p.dtype) != "f":
        raise DTypeError(f"bernoulli: p is a floating number, not {p.type}", at=source.here())
    sizes = result_shape("bernoulli", shape, p)
    if mode == "low":
        return uniform_of(words, sizes, p.dtype) < p
    pair = uniform_of(words, (2, *sizes), p.dtype)
    # uniform numbers are multiples of 2**-nmant: the second one holds the bits below
    return pair[1] * constant(2.0 ** -float_info(p.dtype).nmant, p.dtype) < p - pair[0]


def rademacher(key: Any, shape: Any = (), dtype: Any = None) -> Array:
    """-1 or 1 with equal probability. Any numeric dtype; ``config.default_int`` by default."""
    words = single("rademacher", key)
    found = config.default_int if dtype is None else promotion.canonical(dtype)
    return signs(words, shape_tuple(shape), found)


def geometric(key: Any, p: Any, shape: Any = None, dtype: Any = None) -> Array:
    """The number of trials of probability ``p`` until the first success, from 1."""
    words = single("geometric", key)
    found = int_dtype("geometric", dtype)
    (p,) = floating("geometric", p)
    sizes = result_shape("geometric", shape, p)
    u = uniform_of(words, sizes, p.dtype)
    u = ew.select(u == 0, constant(1, p.dtype), u)
    return convert(ew.floor(ew.log(u) / ew.log1p(-p)) + 1, found)


# ---- loops that accept ---------------------------------------------------------------------------


def _until_accepted(
    words: Array,
    shape: Shape,
    dtype: np.dtype,
    limit: int,
    propose: Callable[[Array, Array], tuple[Array, Array]],
) -> Array:
    """The first accepted proposal per element: ``propose(u, v) -> (k, accept)``."""

    def draw(state: Any) -> Any:
        turn, found, accepted, words = state
        words, key_u, key_v = split_into(words, 3)
        u = uniform_of(key_u, shape, dtype) - 0.5
        k, accept = propose(u, uniform_of(key_v, shape, dtype))
        return turn + 1, ew.select(accept, k, found), ew.logical_or(accepted, accept), words

    def unfinished(state: Any) -> Array:
        waiting = ew.logical_not(reductions.all(state[2]))
        return ew.logical_and(waiting, state[0] < limit)

    first = (
        constant(0, I64),
        filled(-1, TensorType(dtype, shape)),
        filled(False, TensorType(BOOL, shape)),
        words,
    )
    return while_loop(unfinished, draw, first)[1]  # type: ignore[no-any-return]


def _accepted(distance: Array, v: Array, v_r: Array, outside: Array, fits: Array) -> Array:
    """Transformed rejection: accept in a quick region, else inside the range by the exact test."""
    quick = ew.logical_and(distance >= 0.07, v <= v_r)
    return ew.logical_or(quick, ew.logical_and(ew.logical_not(outside), fits))


# ---- poisson -------------------------------------------------------------------------------------


def _poisson_by_products(words: Array, lam: Array, shape: Shape, limit: int) -> Array:
    """Knuth: how many uniform numbers until their product is below exp(-lam)."""

    def draw(state: Any) -> Any:
        turn, k, words, log_product = state
        words, sub = split_into(words)
        k = ew.select(log_product > -lam, k + 1, k)
        return turn + 1, k, words, log_product + ew.log(uniform_of(sub, shape, F32))

    def unfinished(state: Any) -> Array:
        return ew.logical_and(reductions.any(state[3] > -lam), state[0] < limit)

    zero = filled(0, TensorType(I64, shape)), filled(0, TensorType(F32, shape))
    first = (constant(0, I64), zero[0], words, zero[1])
    return while_loop(unfinished, draw, first)[1] - 1  # type: ignore[no-any-return]


def _poisson_by_rejection(words: Array, lam: Array, shape: Shape, limit: int) -> Array:
    """Algorithm PTRS of W. Hörmann, "The transformed rejection method for generating Poisson
    random variables" (1993).
    """
    log_lam = ew.log(lam)
    b = 0.931 + 2.53 * ew.sqrt(lam)
    a = -0.059 + 0.02483 * b
    inverse_alpha = 1.1239 + 1.1328 / (b - 3.4)
    v_r = 0.9277 - 3.6224 / (b - 2)

    def propose(u: Array, v: Array) -> tuple[Array, Array]:
        distance = 0.5 - ew.absolute(u)
        k = ew.floor((2 * a / distance + b) * u + lam + 0.43)
        rejected = ew.logical_or(k < 0, ew.logical_and(distance < 0.013, v > distance))

        s = ew.log(v * inverse_alpha / (a / (distance * distance) + b))
        fits = s <= -lam + k * log_lam - lgamma(k + 1)
        return k, _accepted(distance, v, v_r, rejected, fits)

    return _until_accepted(words, shape, F32, limit, propose)


def poisson(key: Any, lam: Any, shape: Any = None, dtype: Any = None) -> Array:
    """Poisson counts of mean ``lam``: Knuth's method below 10, transformed rejection from there.

    The latter is Hörmann's, "The transformed rejection method for generating Poisson random
    variables" (1993). In ``config.default_int`` unless ``dtype`` says otherwise, in the shape of
    ``lam`` by default.

    >>> random.poisson(random.key(0), jnp.array([0.0, 3.0, 1000.0])).shape
    (3,)
    """
    words = single("poisson", key)
    found = int_dtype("poisson", dtype)
    sizes, (lam,) = parameters("poisson", shape, F32, lam)
    lam = promotion.broadcast_to(lam, sizes)
    limit = int(np.iinfo(found).max)
    small = ew.logical_or(ew.isnan(lam), lam < 10)
    low = ew.select(small, lam, constant(0, F32))
    high = ew.select(small, constant(1e5, F32), lam)
    few = convert(_poisson_by_products(words, low, sizes, limit), found)
    many = convert(_poisson_by_rejection(words, high, sizes, limit), found)
    return ew.select(lam == 0, constant(0, found), ew.select(small, few, many))


# ---- binomial ------------------------------------------------------------------------------------

#: log(k!) less Stirling's formula, for k from 0 to 9
STIRLING_TAIL = (
    0.0810614667953272,
    0.0413406959554092,
    0.0276779256849983,
    0.02079067210376509,
    0.0166446911898211,
    0.0138761288230707,
    0.0118967099458917,
    0.0104112652619720,
    0.00925546218271273,
    0.00833056343336287,
)


def _stirling_tail(k: Array) -> Array:
    inside = ew.clip(k, 0.0, 9.0)
    square = (inside + 1) * (inside + 1)
    series = (1 / 12 - (1 / 360 - 1 / 1260 / square) / square) / (inside + 1)
    table = constant(STIRLING_TAIL, k.dtype)
    listed = indexing.take(table, convert(ew.floor(inside), I64), mode="clip")
    return ew.select(k <= 9, listed, series)


def _binomial_by_waiting(words: Array, count: Array, p: Array, shape: Shape, limit: int) -> Array:
    """How many geometric waiting times fit into ``count`` trials."""
    log_fail = ew.log1p(-p)

    def draw(state: Any) -> Any:
        turn, number, total, words = state
        sub, words = split_into(words)
        number = ew.select(total <= count, number + 1, number)
        wait = ew.ceil(ew.log(uniform_of(sub, shape, p.dtype)) / log_fail)
        return turn + 1, number, total + wait, words

    def unfinished(state: Any) -> Array:
        return ew.logical_and(reductions.any(state[2] <= count), state[0] < limit)

    zero = filled(0, TensorType(p.dtype, shape))
    return while_loop(unfinished, draw, (constant(0, I64), zero, zero, words))[1] - 1  # type: ignore[no-any-return]


def _binomial_by_rejection(words: Array, n: Array, p: Array, shape: Shape, limit: int) -> Array:
    """W. Hörmann, "The generation of binomial random variates" (1993), algorithm BTRS."""
    deviation = ew.sqrt(n * p * (1 - p))
    b = 1.15 + 2.53 * deviation
    a = -0.0873 + 0.0248 * b + 0.01 * p
    c = n * p + 0.5
    v_r = 0.92 - 4.2 / b
    r = p / (1 - p)
    alpha = (2.83 + 5.1 / b) * deviation
    m = ew.floor((n + 1) * p)

    def propose(u: Array, v: Array) -> tuple[Array, Array]:
        distance = 0.5 - ew.absolute(u)
        k = ew.floor((2 * a / distance + b) * u + c)
        bound = (
            (m + 0.5) * ew.log((m + 1) / (r * (n - m + 1)))
            + (n + 1) * ew.log((n - m + 1) / (n - k + 1))
            + (k + 0.5) * ew.log(r * (n - k + 1) / (k + 1))
            + (_stirling_tail(m) + _stirling_tail(n - m))
            - (_stirling_tail(k) + _stirling_tail(n - k))
        )
        fits = ew.log(v * alpha / (a / (distance * distance) + b)) <= bound
        return k, _accepted(distance, v, v_r, ew.logical_or(k < 0, k > n), fits)

    return _until_accepted(words, shape, p.dtype, limit, propose)


def _binomial(words: Array, n: Array, p: Array, shape: Shape, dtype: np.dtype) -> Array:
    n, p = promotion.broadcast_to(n, shape), promotion.broadcast_to(p, shape)
    zero, one, nan = constant(0, p.dtype), constant(1, p.dtype), constant(np.nan, dtype)
    rare = p < 0.5
    q = ew.select(rare, p, one - p)
    bad_n = ew.logical_or(ew.isnan(n), n < 0)
    endless = ew.isinf(n)
    bad_q = ew.logical_or(ew.isnan(q), q < 0)
    nan_q = ew.isnan(q)
    q = ew.select(bad_q, constant(0.01, p.dtype), q)
    waiting = ew.logical_or(bad_n, n * q <= 10)
    n = ew.floor(n)
    limit = int(min(float(float_info(dtype).max), 2.0**62))
    few = _binomial_by_waiting(words, ew.select(waiting, n, zero), q, shape, limit)
    n_many = ew.select(waiting, constant(1e4, p.dtype), n)
    q_many = ew.select(waiting, constant(0.5, p.dtype), q)
    many = _binomial_by_rejection(words, n_many, q_many, shape, limit)
    found = ew.select(waiting, convert(few, dtype), convert(many, dtype))
    invalid = ew.logical_or(bad_q, bad_n)
    found = ew.select(invalid, nan, found)
    endless_result = ew.logical_and(endless, ew.logical_not(invalid))
    found = ew.select(endless_result, constant(np.inf, dtype), found)
    keep = ew.logical_or(ew.logical_or(rare, bad_n), ew.logical_or(nan_q, endless))
    return ew.select(keep, found, convert(n, dtype) - found)


def binomial(key: Any, n: Any, p: Any, shape: Any = None, dtype: Any = None) -> Array:
    """The number of successes in ``n`` trials of probability ``p``, as a floating number.

    nan where ``p`` or ``n`` is negative or nan.
    """
    words = single("binomial", key)
    found = float_dtype("binomial", dtype)
    (p,) = floating("binomial", p)
    n = convert(real_array("binomial", n), p.dtype)
    return _binomial(words, n, p, result_shape("binomial", shape, n, p), found)


def multinomial(
    key: Any,
    n: Any,
    p: Any,
    *,
    shape: Any = None,
    dtype: Any = None,
    unroll: int | bool = 1,
) -> Array:
    """How often each category of the last axis of ``p`` occurs in ``n`` trials, as floats.

    ``unroll`` is accepted for compatibility: the compiler decides.
    """
    words = single("multinomial", key)
    found = float_dtype("multinomial", dtype)
    n, p = floating("multinomial", n, p)
    if p.ndim == 0:
        raise ShapeError("multinomial: p is a vector, not a scalar", at=source.here())
    sizes = result_shape("multinomial", shape, p)
    result_shape("multinomial", sizes[:-1], n)
    n, p = promotion.broadcast_to(n, sizes[:-1]), promotion.broadcast_to(p, sizes)
    p = shaping.moveaxis(p, -1, 0)
    remaining = shaping.flip(reductions.cumsum(shaping.flip(p, 0), 0), 0)
    ratios = p / ew.select(remaining == 0, constant(1, p.dtype), remaining)

    def category(left: Array, step: Any) -> tuple[Array, Array]:
        ratio, words = step
        count = _binomial(words, left, ew.clip(ratio, 0, 1), left.shape, left.dtype)
        return left - count, count

    keys = split_words(words, (sizes[-1],))
    _, counts = scan(category, n, (ratios, keys))
    return convert(shaping.moveaxis(counts, 0, -1), found)
