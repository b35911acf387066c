"""Special functions: error functions, gamma and its relatives, scaled Bessel functions.

    erf(x: f32[3])          -> f32[3]
    digamma(x)              -> the derivative of lgamma(x)
    igamma(a, x)            -> the regularised lower incomplete gamma function

SciPy, imported at the first call, gives the meaning.
"""

from __future__ import annotations

import math as scalar_math
from typing import Any

import numpy as np

from tracejit.ir.build import full_like
from tracejit.ir.prim import Spell
from tracejit.ir.types import DTYPES, TensorType
from tracejit.ops import special_logs, special_slopes
from tracejit.ops.arith import abs_, add, div, mul, neg, sign, sub
from tracejit.ops.family import elementwise, in_float32, scipy_special
from tracejit.ops.logic import lt, select
from tracejit.ops.math import exp, log
from tracejit.ops.special_family import ROOT_PI, from_scipy, unknown

# ---- error functions -----------------------------------------------------------------------------

erf = from_scipy(
    "erf",
    "erf",
    lambda dx, y, x: mul(dx, mul(exp(neg(mul(x, x))), 2 / ROOT_PI)),
    spell=Spell(c="erf({0})", numba="math.erf({0})"),
    doc="The error function.",
)
erfc = from_scipy(
    "erfc",
    "erfc",
    lambda dx, y, x: mul(dx, mul(exp(neg(mul(x, x))), -2 / ROOT_PI)),
    spell=Spell(c="erfc({0})", numba="math.erfc({0})"),
    doc="1 - erf(x), precise for large x.",
)
erf_inv = from_scipy(
    "erf_inv",
    "erfinv",
    lambda dx, y, x: mul(dx, mul(exp(mul(y, y)), ROOT_PI / 2)),
    spell=Spell(c="erfinv({0})"),
    domain=(-0.95, 0.95),
    doc="The inverse of erf.",
)

# ---- gamma and its relatives ---------------------------------------------------------------------


def _numpy_lgamma(x: Any) -> Any:
    # C's value at -inf; SciPy says -inf
    return np.where(np.isneginf(x), np.asarray(np.inf, x.dtype), scipy_special("gammaln")(x))


lgamma = elementwise(
    "lgamma",
    in_float32(_numpy_lgamma),
    kinds="f",
    heavy=True,
    jvp=lambda dx, y, x: mul(dx, digamma(x)),
    spell=Spell(c="lgamma({0})", numba="math.lgamma({0})"),
    domain=(0.2, 4.0),
    doc="The logarithm of |gamma(x)|.",
)
digamma = from_scipy(
    "digamma",
    "psi",
    lambda dx, y, x: mul(dx, polygamma(full_like(x, 1), x)),
    domain=(0.2, 4.0),
    doc="The derivative of lgamma.",
)


def _numpy_polygamma(m: Any, x: Any) -> Any:
    psi, zeta_of, gamma = (scipy_special(name) for name in ("psi", "zeta", "gamma"))
    sign_of = np.where(np.mod(m, 2) == 0, -1.0, 1.0).astype(x.dtype)
    higher = sign_of * gamma(m + 1) * zeta_of(m + 1, x)
    return np.where(m == 0, psi(x), higher)


def _cases_polygamma() -> list[Any]:
    orders = np.array([0.0, 1.0, 2.0, 3.0, 4.0])
    types = [TensorType(DTYPES[name], (5,)) for name in ("f32", "f64")]
    empty = TensorType(DTYPES["f32"], (0,))
    return [*(((t, t), {}, (orders, None)) for t in types), ((empty, empty), {})]


polygamma = elementwise(
    "polygamma",
    _numpy_polygamma,
    arity=2,
    kinds="f",
    jvp=(unknown("polygamma", "m"), lambda dx, y, m, x: mul(dx, polygamma(add(m, 1), x))),
    domain=((1.0, 3.0), (0.4, 4.0)),
    heavy=True,
    cases=_cases_polygamma,
    doc="The m-th derivative of digamma at x.",
)
zeta = from_scipy(
    "zeta",
    "zeta",
    (
        lambda dx, y, x, q: mul(dx, special_slopes.zeta_slope(x, q)),
        lambda dq, y, x, q: mul(dq, mul(neg(x), zeta(add(x, 1), q))),
    ),
    arity=2,
    domain=((1.5, 4.0), (0.4, 4.0)),
    doc="The Hurwitz zeta function: the sum of (q + k) ** -x.",
)


def gamma_density(a: Any, x: Any) -> Any:
    """The density of the gamma distribution with shape a: dP(a, x)/dx."""
    return exp(sub(sub(special_logs.xlogy(sub(a, 1), x), x), lgamma(a)))


def _igamma_dx(dx: Any, a: Any, x: Any) -> Any:
    return mul(dx, gamma_density(a, x))


igamma = from_scipy(
    "igamma",
    "gammainc",
    (
        lambda da, y, a, x: mul(da, igamma_grad_a(a, x)),
        lambda dx, y, a, x: _igamma_dx(dx, a, x),
    ),
    arity=2,
    domain=((0.5, 4.0), (0.2, 5.0)),
    doc="The regularised lower incomplete gamma function P(a, x).",
)
igammac = from_scipy(
    "igammac",
    "gammaincc",
    (
        lambda da, y, a, x: neg(mul(da, igamma_grad_a(a, x))),
        lambda dx, y, a, x: neg(_igamma_dx(dx, a, x)),
    ),
    arity=2,
    domain=((0.5, 4.0), (0.2, 5.0)),
    doc="1 - igamma(a, x), precise where that is small.",
)


#: from this shape on the slope in a is smooth enough for differences
LARGE_SHAPE = 1e4


def _numpy_igamma_grad_a(a: Any, x: Any) -> Any:
    """dP/da; 0 where x is so large that P(a, x) = 1 for all neighbouring a."""
    a, x = np.asarray(a, np.float64), np.asarray(x, np.float64)
    valid = (a > 0) & (x >= 0) & (a < np.inf)
    far = (x == 0) | (x > a + 30 * np.sqrt(a) + 100)
    series = valid & ~far & (a <= LARGE_SHAPE)
    by_series = _slope_by_series(np.where(series, a, 1.0), np.where(series, x, 1.0))
    step = 1e-4 * np.sqrt(a)
    gammainc = scipy_special("gammainc")
    by_difference = (gammainc(a + step, x) - gammainc(a - step, x)) / (2 * step)
    slope = np.where(far, 0.0, np.where(series, by_series, by_difference))
    return np.where(valid, slope, np.nan)


def _slope_by_series(a: Any, x: Any) -> Any:
    """dP/da from P = exp(-x) x**a / gamma(a+1) * sum x**n / ((a+1)...(a+n)), term by term.

    All terms are positive; x + 12 sqrt(x) + 60 of them reach float64's last bit.
    """
    term, slope = np.ones_like(a), np.zeros_like(a)
    total, total_slope = term, slope
    largest = float(np.max(x, initial=1.0))
    for n in range(1, int(largest + 12 * scalar_math.sqrt(largest) + 60)):
        ratio = x / (a + n)
        term, slope = term * ratio, slope * ratio - term * ratio / (a + n)
        total, total_slope = total + term, total_slope + slope
    front = np.exp(a * np.log(x) - x - scipy_special("gammaln")(a + 1))
    return front * (total_slope + total * (np.log(x) - scipy_special("psi")(a + 1)))


igamma_grad_a = elementwise(
    "igamma_grad_a",
    _numpy_igamma_grad_a,
    arity=2,
    kinds="f",
    jvp=(
        unknown("igamma_grad_a", "a"),
        lambda dx, y, a, x: mul(dx, mul(gamma_density(a, x), sub(log(x), digamma(a)))),
    ),
    domain=((0.5, 4.0), (0.2, 5.0)),
    heavy=True,
    doc="The derivative of igamma(a, x) with respect to a.",
)

# ---- Bessel functions ----------------------------------------------------------------------------

bessel_i0e = from_scipy(
    "bessel_i0e",
    "i0e",
    lambda dx, y, x: mul(dx, sub(bessel_i1e(x), mul(sign(x), y))),
    doc="exp(-|x|) times the modified Bessel function of order 0.",
)


def _i1e_dx(dx: Any, y: Any, x: Any) -> Any:
    """i0e(x) - y (sign(x) + 1 / x), which tends to 1/2 at 0."""
    near = lt(abs_(x), full_like(x, 1e-30))
    safe = select(near, full_like(x, 1), x)
    slope = sub(bessel_i0e(safe), mul(y, add(sign(safe), div(1, safe))))
    return mul(dx, select(near, full_like(x, 0.5), slope))


bessel_i1e = from_scipy(
    "bessel_i1e",
    "i1e",
    _i1e_dx,
    doc="exp(-|x|) times the modified Bessel function of order 1.",
)
