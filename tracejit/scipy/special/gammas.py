"""The gamma function and its relatives: beta, incomplete gamma and beta functions, zeta, binomials.

    >>> gamma(jnp.array([1.0, 4.0]))
    Array([1., 6.], dtype=float32)

Operands broadcast, are real unless said otherwise (else DTypeError), and compute in the default
float where they are integers.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from math import comb as binomial
from math import log, pi
from typing import Any

import numpy as np

from tracejit.config import config
from tracejit.errors import ArgumentError
from tracejit.frontend import elementwise as ew
from tracejit.frontend.array import Array, as_array
from tracejit.frontend.custom import stop_gradient
from tracejit.frontend.promotion import to_inexact
from tracejit.ir.types import kind
from tracejit.ops import special as records
from tracejit.ops import special_beta, special_logs, special_more
from tracejit.scipy.special.operands import reals, special, whole
from tracejit.source import here

# ---- gamma ---------------------------------------------------------------------------------------


def gamma(x: Any) -> Array:
    """The gamma function (DLMF 5.2.1): nan at negative integers, inf at 0.

    >>> gamma(jnp.array([0.0, 1.0, 4.0]))
    Array([inf,  1.,  6.], dtype=float32)
    """
    return special(special_more.gamma, "gamma", x)


def gammaln(x: Any) -> Array:
    """log |gamma(x)|.

    >>> gammaln(jnp.array([0.0, 1.0, 2.0]))
    Array([inf,  0.,  0.], dtype=float32)
    """
    return special(records.lgamma, "gammaln", x)


def gammasgn(x: Any) -> Array:
    """The sign of gamma(x): nan at negative integers, that of the zero at 0 and -0.

    >>> gammasgn(jnp.array([-1.5, -0.5, 2.0]))
    Array([ 1., -1.,  1.], dtype=float32)
    """
    (x,) = reals("gammasgn", x)
    below = ew.floor(x)
    odd = ew.not_equal(ew.multiply(ew.floor(ew.multiply(below, 0.5)), 2), below)
    negative = ew.select(ew.equal(below, x), np.nan, ew.select(odd, -1.0, 1.0))
    found = ew.select(ew.less(x, 0), negative, ew.select(ew.equal(x, 0), ew.copysign(1.0, x), 1.0))
    return ew.select(ew.isnan(x), x, found)  # type: ignore[no-any-return]


def loggamma(x: Any) -> Array:
    """The logarithm of gamma: of complex numbers the branch with a cut along the negative axis.

    Real negative numbers give nan.

    >>> loggamma(jnp.array([1.0, 2.0, -0.5]))
    Array([ 0.,  0., nan], dtype=float32)
    """
    x = to_inexact(x)
    if kind(x.dtype) == "c":
        return ew.run(special_more.loggamma, x)  # type: ignore[no-any-return]
    return ew.select(ew.less(x, 0), np.nan, ew.run(records.lgamma, x))  # type: ignore[no-any-return]


def multigammaln(a: Any, d: Any) -> Array:
    """The logarithm of the multivariate gamma function of dimension d, static (DLMF 35.3.4).

    d (d - 1) log(pi) / 4 plus the sum of gammaln(a - j / 2) for j < d. Raises ArgumentError unless
    d is a positive whole number; nan where a <= (d - 1) / 2.

    >>> multigammaln(jnp.array([1.0, 2.0]), 1)
    Array([0., 0.], dtype=float32)
    """
    (a,), d = reals("multigammaln", a), whole("multigammaln", "d", d, 1)
    found = ew.run(records.lgamma, a)
    for j in range(1, d):
        found = ew.add(found, ew.run(records.lgamma, ew.subtract(a, j / 2)))
    found = ew.add(found, d * (d - 1) / 4 * log(pi))
    return ew.select(ew.less_equal(a, (d - 1) / 2), np.nan, found)  # type: ignore[no-any-return]


def digamma(x: Any) -> Array:
    """The derivative of ``gammaln`` (DLMF 5.2.2).

    >>> digamma(jnp.array([1.0])).round(4)
    Array([-0.5772], dtype=float32)
    """
    return special(records.digamma, "digamma", x)


psi = digamma


def polygamma(n: Any, x: Any) -> Array:
    """The n-th derivative of ``digamma`` (DLMF 5.15). None in n: MissingRule.

    >>> polygamma(1, jnp.array([1.0])).round(4)
    Array([1.6449], dtype=float32)
    """
    return special(records.polygamma, "polygamma", n, x)


def poch(z: Any, m: Any) -> Array:
    """gamma(z + m) / gamma(z) (DLMF 5.2.5).

    >>> poch(jnp.array([1.0, 2.0]), 3)
    Array([ 6., 24.], dtype=float32)
    """
    return special(special_more.poch, "poch", z, m)


# ---- binomials -----------------------------------------------------------------------------------


def factorial(n: Any, exact: bool = False) -> Array:
    """gamma(n + 1), 0 for negative n. ``exact=True``, of Python integers only, is an ArgumentError.

    >>> factorial(jnp.array([0.0, 4.0, -1.0]))
    Array([ 1., 24.,  0.], dtype=float32)
    """
    if exact:
        raise ArgumentError(
            "factorial: results are floats; exact=True has none",
            at=here(),
            hint="math.factorial gives Python integers",
        )
    (n,) = reals("factorial", n)
    found = ew.run(special_more.gamma, ew.add(n, 1))
    return ew.select(ew.less(n, 0), 0.0, found)  # type: ignore[no-any-return]


def _to_whole(found: Array, *xs: Array) -> Array:
    """``found`` rounded where all ``xs`` are whole and it is small; the derivative stays."""
    limit = 2.0**50 if found.dtype.itemsize == 8 else 2.0**21
    exact = ew.less(ew.absolute(found), limit)
    for x in xs:
        exact = ew.logical_and(exact, ew.equal(ew.floor(x), x))
    change = ew.select(exact, ew.subtract(ew.rint(found), found), 0)
    return ew.add(found, stop_gradient(change))  # type: ignore[no-any-return]


def comb(N: Any, k: Any, *, repetition: bool = False) -> Array:
    """How many ways there are to choose k of N things; with ``repetition`` each any number of
    times.

    1 / ((N + 1) B(N - k + 1, k + 1)) (DLMF 1.2.6 and 5.12.1); 0 where k is negative or above N.

    >>> comb(jnp.array([4.0, 5.0]), 2)
    Array([ 6., 10.], dtype=float32)
    """
    N, k = reals("comb", N, k)
    if repetition:
        alone = ew.logical_and(ew.equal(k, 0), ew.greater_equal(N, 0))
        return ew.select(alone, 1.0, comb(ew.subtract(ew.add(N, k), 1), k))  # type: ignore[no-any-return]
    outside = ew.logical_or(ew.less(k, 0), ew.logical_or(ew.greater(k, N), ew.less(N, 0)))
    n, j = ew.select(outside, 1.0, N), ew.select(outside, 0.0, k)
    logarithm = ew.run(special_logs.lbeta, ew.add(ew.subtract(n, j), 1), ew.add(j, 1))
    found = ew.divide(ew.exp(ew.negative(logarithm)), ew.add(n, 1))
    return ew.select(outside, 0.0, _to_whole(found, n, j))  # type: ignore[no-any-return]


@lru_cache
def _bernoulli_numbers(n: int) -> tuple[Fraction, ...]:
    """B_0 to B_n from sum of binomial(m + 1, k) B_k over k <= m being 0 (DLMF 24.5.3)."""
    numbers: list[Fraction] = []
    for m in range(n + 1):
        if m > 1 and m % 2:
            numbers.append(Fraction(0))
            continue
        total = sum((binomial(m + 1, k) * b for k, b in enumerate(numbers)), Fraction(0))
        numbers.append(Fraction(1) if m == 0 else -total / (m + 1))
    return tuple(numbers)


def bernoulli(n: int) -> Array:
    """The Bernoulli numbers B_0 to B_n, with B_1 = -1/2, as n + 1 floats of the default dtype.

    Raises ArgumentError unless n is a whole number that is not negative.

    >>> bernoulli(2).round(4)
    Array([ 1.    , -0.5   ,  0.1667], dtype=float32)
    """
    numbers = _bernoulli_numbers(whole("bernoulli", "n", n))
    with np.errstate(over="ignore"):
        found = np.array([_as_float(b) for b in numbers]).astype(config.default_float)
    return as_array(found)


def _as_float(b: Fraction) -> float:
    try:
        return float(b)
    except OverflowError:
        return float("inf") if b > 0 else float("-inf")


# ---- beta ----------------------------------------------------------------------------------------


def betaln(a: Any, b: Any) -> Array:
    """log |B(a, b)|, without cancellation where a or b is large.

    >>> betaln(jnp.array([1.0, 2.0]), 1.0).round(4)
    Array([ 0.    , -0.6931], dtype=float32)
    """
    return special(special_logs.lbeta, "betaln", a, b)


def beta(a: Any, b: Any) -> Array:
    """gamma(a) gamma(b) / gamma(a + b) (DLMF 5.12.1).

    >>> beta(jnp.array([1.0, 2.0]), 1.0)
    Array([1. , 0.5], dtype=float32)
    """
    a, b = reals("beta", a, b)
    signs = [gammasgn(x) for x in (a, b, ew.add(a, b))]
    sign = ew.multiply(ew.multiply(signs[0], signs[1]), signs[2])
    return ew.multiply(stop_gradient(sign), ew.exp(ew.run(special_logs.lbeta, a, b)))  # type: ignore[no-any-return]


def betainc(a: Any, b: Any, x: Any) -> Array:
    """The regularised incomplete beta function I_x(a, b) (DLMF 8.17.2).

    Differentiable in all three; in a and b by the series of DLMF 8.17.8.

    >>> betainc(1.0, 1.0, jnp.array([0.0, 0.25, 1.0]))
    Array([0.  , 0.25, 1.  ], dtype=float32)
    """
    return special(special_beta.betainc, "betainc", a, b, x)


def betaincc(a: Any, b: Any, x: Any) -> Array:
    """1 - betainc(a, b, x), precise where that is small.

    >>> betaincc(1.0, 1.0, jnp.array([0.0, 0.25, 1.0]))
    Array([1.  , 0.75, 0.  ], dtype=float32)
    """
    return special(special_beta.betaincc, "betaincc", a, b, x)


def betaincinv(a: Any, b: Any, y: Any) -> Array:
    """The x with betainc(a, b, x) = y: the quantile of the beta distribution.

    >>> betaincinv(1.0, 1.0, jnp.array([0.25]))
    Array([0.25], dtype=float32)
    """
    return special(special_beta.betainc_inv, "betaincinv", a, b, y)


def betainccinv(a: Any, b: Any, y: Any) -> Array:
    """The x with betaincc(a, b, x) = y.

    >>> betainccinv(1.0, 1.0, jnp.array([0.25]))
    Array([0.75], dtype=float32)
    """
    return special(special_beta.betaincc_inv, "betainccinv", a, b, y)


# ---- incomplete gamma ----------------------------------------------------------------------------


def gammainc(a: Any, x: Any) -> Array:
    """The regularised lower incomplete gamma function P(a, x) (DLMF 8.2.4), differentiable in
    both.

    >>> gammainc(1.0, jnp.array([0.0, jnp.inf]))
    Array([0., 1.], dtype=float32)
    """
    return special(records.igamma, "gammainc", a, x)


def gammaincc(a: Any, x: Any) -> Array:
    """1 - gammainc(a, x), precise where that is small.

    >>> gammaincc(1.0, jnp.array([0.0, jnp.inf]))
    Array([1., 0.], dtype=float32)
    """
    return special(records.igammac, "gammaincc", a, x)


def gammaincinv(a: Any, y: Any) -> Array:
    """The x with gammainc(a, x) = y: the quantile of the gamma distribution.

    >>> gammaincinv(1.0, jnp.array([0.0, 1.0]))
    Array([ 0., inf], dtype=float32)
    """
    return special(special_beta.igamma_inv, "gammaincinv", a, y)


def gammainccinv(a: Any, y: Any) -> Array:
    """The x with gammaincc(a, x) = y.

    >>> gammainccinv(1.0, jnp.array([0.0, 1.0]))
    Array([inf,  0.], dtype=float32)
    """
    return special(special_beta.igammac_inv, "gammainccinv", a, y)


# ---- zeta ----------------------------------------------------------------------------------------


def zeta(x: Any, q: Any = None) -> Array:
    """Hurwitz's zeta function, the sum of (k + q) ** -x over k >= 0; Riemann's without ``q``.

    The derivative in x is a difference quotient, good to about ten digits (DLMF 25.11).

    >>> zeta(jnp.array([2.0]), 1.0).round(4)
    Array([1.6449], dtype=float32)
    """
    if q is None:
        return special(special_more.riemann_zeta, "zeta", x)
    return special(records.zeta, "zeta", x, q)
