"""Products with logarithms that are 0 at 0, log-odds, and the normal distribution's functions.

    xlogy(x: f32[3], y: f32[3])   -> x log y, 0 where x is 0
    entr(x), rel_entr(x, y)       -> -x log x, x log(x / y)
    logit(x)                      -> log(x / (1 - x))
    erfcx, ndtri, log_ndtr        -> exp(x^2) erfc(x); the normal quantile; the log of its cdf

Their derivatives are limits that differentiating the formulas would miss, hence records. All run
inside kernels.
"""

from __future__ import annotations

import math as scalar_math
from typing import Any

import numpy as np

from tracejit.ir.build import full_like
from tracejit.ir.expr import Const, Expr, Op
from tracejit.ir.prim import is_linear
from tracejit.ops import special
from tracejit.ops.arith import add, div, mul, neg, sub
from tracejit.ops.family import elementwise, scipy_special
from tracejit.ops.logic import eq, gt, select
from tracejit.ops.math import exp, log, log1p
from tracejit.ops.special_family import ROOT_PI, from_scipy

ROOT_HALF = scalar_math.sqrt(0.5)


def op(fn: str, *xs: Any) -> Expr:
    """A scalar operation; numbers among ``xs`` take the dtype of the expressions."""
    dtype = next(x.dtype for x in xs if isinstance(x, Expr))
    return Op(fn, tuple(x if isinstance(x, Expr) else Const(float(x), dtype) for x in xs), dtype)


def holds(fn: str, *xs: Any) -> Expr:
    """A comparison or a combination of some: a bool."""
    dtype = next(x.dtype for x in xs if isinstance(x, Expr))
    return Op(fn, tuple(x if isinstance(x, Expr) else Const(float(x), dtype) for x in xs), "bool")


def choose(cond: Expr, on_true: Any, on_false: Any) -> Expr:
    """A scalar select; numbers take the dtype of the other choice."""
    dtype = next(x.dtype for x in (on_true, on_false) if isinstance(x, Expr))
    choices = (x if isinstance(x, Expr) else Const(x, dtype) for x in (on_true, on_false))
    return Op("select", (cond, *choices), dtype)


# ---- x log y -------------------------------------------------------------------------------------


def _product(log_of: str) -> Any:
    def scalar(x: Expr, y: Expr) -> Expr:
        nothing = holds("and", holds("eq", x, 0.0), holds("not", holds("is_nan", y)))
        return choose(nothing, 0.0, op("mul", x, op(log_of, y)))

    return scalar


def _ratio(dy: Any, x: Any, y: Any) -> Any:
    """dy x / y: 0 where x is 0, whatever y."""
    nothing = eq(x, full_like(x, 0))
    return mul(dy, select(nothing, full_like(x, 0), div(x, y)))


def _from_product(function: Any) -> Any:
    """Transpose: x log y is linear in x."""
    return lambda cts, xs: (mul(cts[0], function(xs[1])) if is_linear(xs[0]) else None, None)


xlogy = elementwise(
    "xlogy",
    scipy_special("xlogy"),
    arity=2,
    kinds="f",
    heavy=True,
    jvp=(
        lambda dx, z, x, y: mul(dx, log(y)),
        lambda dy, z, x, y: _ratio(dy, x, y),
    ),
    transpose=_from_product(log),
    scalar=_product("log"),
    domain=((-2.0, 2.0), (0.3, 3.0)),
    doc="x log(y), 0 where x is 0 and y not nan.",
)
xlog1py = elementwise(
    "xlog1py",
    scipy_special("xlog1py"),
    arity=2,
    kinds="f",
    heavy=True,
    jvp=(
        lambda dx, z, x, y: mul(dx, log1p(y)),
        lambda dy, z, x, y: _ratio(dy, x, add(y, 1)),
    ),
    transpose=_from_product(log1p),
    scalar=_product("log1p"),
    domain=((-2.0, 2.0), (-0.7, 2.0)),
    doc="x log(1 + y), 0 where x is 0 and y not nan.",
)


def _scalar_entr(x: Expr) -> Expr:
    inside = op("neg", op("mul", x, op("log", x)))
    edge = choose(holds("eq", x, 0.0), 0.0, inside)
    return choose(holds("lt", x, 0.0), -scalar_math.inf, edge)


def _entr_dx(dx: Any, y: Any, x: Any) -> Any:
    """-(1 + log x), 0 below 0 where the value is -inf throughout."""
    zero = full_like(x, 0)
    return mul(dx, select(gt(zero, x), zero, neg(add(log(x), 1))))


entr = elementwise(
    "entr",
    scipy_special("entr"),
    kinds="f",
    heavy=True,
    jvp=_entr_dx,
    scalar=_scalar_entr,
    domain=(0.1, 3.0),
    doc="-x log(x); 0 at 0, -inf below.",
)


def _scalar_rel_entr(x: Expr, y: Expr) -> Expr:
    inside = op("mul", x, op("log", op("div", x, y)))
    # a quotient that underflows or overflows has a logarithm all the same
    apart = op("mul", x, op("sub", op("log", x), op("log", y)))
    quotient = op("div", x, y)
    tame = holds("and", holds("lt", quotient, 1e30), holds("gt", quotient, 1e-30))
    found = choose(tame, inside, apart)
    outside = holds("or", holds("lt", x, 0.0), holds("le", y, 0.0))
    found = choose(outside, scalar_math.inf, found)
    edge = holds("and", holds("eq", x, 0.0), holds("ge", y, 0.0))
    unknown = holds("or", holds("is_nan", x), holds("is_nan", y))
    return choose(unknown, scalar_math.nan, choose(edge, 0.0, found))


def _inside(x: Any, y: Any, value: Any) -> Any:
    """``value`` where rel_entr(x, y) is finite, else 0."""
    zero = full_like(x, 0)
    return select(gt(zero, x), zero, select(gt(zero, y), zero, value))


rel_entr = elementwise(
    "rel_entr",
    scipy_special("rel_entr"),
    arity=2,
    kinds="f",
    heavy=True,
    jvp=(
        lambda dx, z, x, y: mul(dx, _inside(x, y, add(sub(log(x), log(y)), 1))),
        lambda dy, z, x, y: neg(_ratio(_inside(x, y, dy), x, y)),
    ),
    scalar=_scalar_rel_entr,
    domain=((0.1, 2.0), (0.3, 3.0)),
    doc="x log(x / y); 0 where x is 0 and y is not negative, inf where either is negative.",
)


def _scalar_logit(x: Expr) -> Expr:
    """2 atanh(2 x - 1) near 1/2, where the quotient is 1 but for its rounding."""
    near = op("mul", op("atanh", op("sub", op("mul", x, 2.0), 1.0)), 2.0)
    far = op("log", op("div", x, op("sub", 1.0, x)))
    middle = holds("and", holds("gt", x, 0.3), holds("lt", x, 0.65))
    return choose(middle, near, far)


logit = from_scipy(
    "logit",
    "logit",
    lambda dx, y, x: div(dx, mul(x, sub(1, x))),
    scalar=_scalar_logit,
    domain=(0.05, 0.95),
    doc="log(x / (1 - x)), the inverse of logistic; nan outside [0, 1].",
)

# ---- the normal distribution ---------------------------------------------------------------------

#: from here on the derivative of erfcx comes from its asymptotic series
FAR = 20.0


def _odd_factorials(u: Any, signs: float) -> Any:
    """The sum over k >= 1 of (signs u)^k (2k - 1)!!, eight terms, by Horner's rule."""
    total = full_like(u, 1.0)
    for k in range(8, 0, -1):
        total = mul(mul(total, u), signs * (2 * k - 1))
        total = add(total, 1) if k > 1 else total
    return total


def _erfcx_dx(dx: Any, y: Any, x: Any) -> Any:
    """2 x y - 2 / sqrt(pi) (DLMF 7.10.1); where these cancel the series of DLMF 7.12.1."""
    far = gt(x, full_like(x, FAR))
    u = div(0.5, mul(x, x))
    series = mul(_odd_factorials(u, -1.0), 2 / ROOT_PI)
    return mul(dx, select(far, series, sub(mul(mul(x, y), 2), 2 / ROOT_PI)))


erfcx = from_scipy(
    "erfcx",
    "erfcx",
    _erfcx_dx,
    doc="exp(x^2) erfc(x), which does not underflow.",
)


def _dawsn_dx(dx: Any, y: Any, x: Any) -> Any:
    """1 - 2 x y (DLMF 7.10.2); for large |x| the asymptotic series (DLMF 7.12.1)."""
    square = mul(x, x)
    far = gt(square, full_like(x, FAR**2))
    series = neg(_odd_factorials(div(0.5, square), 1.0))
    return mul(dx, select(far, series, sub(1, mul(mul(x, y), 2))))


dawsn = from_scipy(
    "dawsn",
    "dawsn",
    _dawsn_dx,
    doc="Dawson's integral: exp(-x^2) times the integral of exp(t^2) from 0 to x.",
)
ndtri = from_scipy(
    "ndtri",
    "ndtri",
    lambda dp, y, p: mul(dp, mul(exp(mul(mul(y, y), 0.5)), scalar_math.sqrt(2 * scalar_math.pi))),
    domain=(0.02, 0.98),
    doc="The quantile function of the normal distribution; nan outside [0, 1].",
)


def _scalar_log_ndtr(x: Expr) -> Expr:
    """log(erfcx(-x / sqrt 2) / 2) - x^2 / 2 on the left, log1p(-erfc(x / sqrt 2) / 2) elsewhere."""
    scaled = op("mul", x, ROOT_HALF)
    square = op("mul", op("mul", x, x), 0.5)
    left = op("sub", op("log", op("mul", op("erfcx", op("neg", scaled)), 0.5)), square)
    right = op("log1p", op("mul", op("erfc", scaled), -0.5))
    return choose(holds("lt", x, -1.0), left, right)


def _log_ndtr_dx(dx: Any, y: Any, x: Any) -> Any:
    """The normal density over its distribution function: sqrt(2 / pi) / erfcx(-x / sqrt 2)."""
    return div(mul(dx, scalar_math.sqrt(2 / scalar_math.pi)), erfcx(mul(x, -ROOT_HALF)))


log_ndtr = from_scipy(
    "log_ndtr",
    "log_ndtr",
    _log_ndtr_dx,
    scalar=_scalar_log_ndtr,
    doc="The logarithm of the normal distribution function, precise in both tails.",
)

# ---- the logarithm of the beta function ----------------------------------------------------------

#: where Stirling's series replaces lgamma; its first seven coefficients (DLMF 5.11.1)
LARGE = 10.0
STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156)


def _numpy_lbeta(a: Any, b: Any) -> Any:
    """SciPy's where both are small, the steps of ``_scalar_lbeta`` where one is large."""
    gammaln = scipy_special("gammaln")
    kind = np.result_type(a.dtype, np.float32)
    small, large = np.minimum(a, b).astype(kind), np.maximum(a, b).astype(kind)
    far = np.clip(large, LARGE, np.finfo(kind).max)
    low, ratio = np.maximum(small, LARGE), small / far
    series = _series(far) - _series(np.maximum(small + far, LARGE))
    fall = small * (np.log(far) - 1)
    near = gammaln(small) + series - (np.maximum(small + far, LARGE) - 0.5) * np.log1p(ratio) - fall
    leading = (low - 0.5) * np.log(ratio / (ratio + 1)) - far * np.log1p(ratio)
    two = leading + 0.5 * np.log(2 * np.pi) - 0.5 * np.log(far) + _series(low) + series
    found = np.where(small >= LARGE, two, near)
    usable = (large >= LARGE) & (small > 0)
    found = np.where(usable, found, scipy_special("betaln")(a, b))
    return np.where(np.isposinf(large), -np.inf, found)


def _series(x: Any) -> Any:
    square = 1 / (x * x)
    total = np.full_like(x, STIRLING[-1])
    for coefficient in reversed(STIRLING[:-1]):
        total = total * square + coefficient
    return total / x


def _stirling(x: Expr) -> Expr:
    """lgamma(x) - (x - 1/2) log x + x - log(2 pi) / 2 for x >= 10."""
    inverse = op("div", 1.0, x)
    square = op("mul", inverse, inverse)
    total: Expr = Const(STIRLING[-1], x.dtype)
    for coefficient in reversed(STIRLING[:-1]):
        total = op("fma", total, square, coefficient)
    return op("mul", total, inverse)


def _scalar_lbeta(a: Expr, b: Expr) -> Expr:
    """log gamma(small) + log(gamma(large) / gamma(small + large)): the quotient by Stirling's
    series where lgamma's values would cancel (DiDonato and Morris, ACM TOMS 18 (1992) 708).
    """
    small, large = op("min", a, b), op("max", a, b)
    total = op("add", a, b)
    plain = op("sub", op("add", op("lgamma", a), op("lgamma", b)), op("lgamma", total))
    far = op("max", large, LARGE)  # keeps the series within bounds where it is not used
    both = op("max", op("add", small, far), LARGE)
    ratio = op("div", small, far)
    power = op("mul", op("sub", both, 0.5), op("log1p", ratio))
    rest = op("sub", _stirling(far), _stirling(both))
    quotient = op("sub", rest, op("add", power, op("mul", small, op("sub", op("log", far), 1.0))))
    near = op("add", op("lgamma", small), quotient)
    # both large: nothing but logarithms of the ratio is left of the two leading terms
    low = op("max", small, LARGE)
    share = op("div", ratio, op("add", ratio, 1.0))
    leading = op("mul", op("sub", low, 0.5), op("log", share))
    leading = op("sub", leading, op("mul", far, op("log1p", ratio)))
    constant = op("sub", 0.5 * scalar_math.log(2 * scalar_math.pi), op("mul", op("log", far), 0.5))
    series = op("sub", op("add", _stirling(low), _stirling(far)), _stirling(both))
    two = op("add", op("add", leading, constant), series)
    usual = choose(holds("ge", small, LARGE), two, near)
    usable = holds("and", holds("ge", large, LARGE), holds("gt", small, 0.0))
    found = choose(usable, usual, plain)
    endless = holds("eq", large, scalar_math.inf)
    return choose(endless, -scalar_math.inf, found)


lbeta = elementwise(
    "lbeta",
    _numpy_lbeta,
    arity=2,
    kinds="f",
    heavy=True,
    jvp=(
        lambda da, y, a, b: mul(da, _digamma_gap(a, b)),
        lambda db, y, a, b: mul(db, _digamma_gap(b, a)),
    ),
    scalar=_scalar_lbeta,
    domain=((0.3, 4.0), (0.3, 4.0)),
    doc="log |gamma(a) gamma(b) / gamma(a + b)|.",
)


def _digamma_gap(a: Any, b: Any) -> Any:
    """digamma(a) - digamma(a + b)."""
    return sub(special.digamma(a), special.digamma(add(a, b)))
