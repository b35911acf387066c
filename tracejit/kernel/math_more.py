"""Expansions of gamma, of the normal quantile and of scaled modified Bessel functions.

gamma: exp of the polynomials of lgamma near 2, x^(x - 1/2) e^-x and Stirling's series above 7,
reflection on the left. ndtri: the rational functions of Wichura ("Algorithm AS 241", Applied
Statistics 37, 1988). i0e, i1e: the power series times e^-x up to 8, polynomials in 1 / x above.
"""

from __future__ import annotations

import math

from tracejit.ir.expr import Expr
from tracejit.kernel.math_builder import Builder
from tracejit.kernel.math_exp import exp_bounded, log, power
from tracejit.kernel.math_special import STIRLING_FROM, sin_pi

# ---- gamma ---------------------------------------------------------------------------------------


def gamma(b: Builder, x: Expr) -> Expr:
    """-pi / (a sin(pi a) gamma(a)) for x = -a < 0; nan at negative integers."""
    a = b.abs(x)
    positive = gamma_positive(b, a)
    whole = b.trunc(a)
    half = b.mul(whole, 0.5)
    reflected = b.div(math.pi, b.mul(b.mul(a, positive), sin_pi(b, a)))
    reflected = b.select(b.eq(b.trunc(half), half), b.neg(reflected), reflected)
    reflected = b.select(b.eq(whole, a), math.nan, reflected)
    result = b.select(b.lt(x, 0.0), reflected, positive)
    # 1 / x is all there is beside 0, with its sign
    return b.select(b.lt(a, 2.0**-b.format.precision), b.div(1.0, x), result)


def gamma_positive(b: Builder, a: Expr) -> Expr:
    """Below 7: gamma(2 + f), |f| <= 1/2, times the factors that lead there. Above: Stirling."""
    large = b.ge(a, STIRLING_FROM)
    y, product = b.select(large, 2.0, a), b.const(1.0)
    for _ in range(5):
        long = b.ge(y, 2.5)
        y = b.select(long, b.sub(y, 1.0), y)
        product = b.select(long, b.mul(product, y), product)
    near_zero, below = b.lt(a, 0.5), b.lt(a, 1.5)
    f = b.select(near_zero, a, b.select(below, b.sub(a, 1.0), b.sub(y, 2.0)))
    central = exp_bounded(b, b.mul(f, b.horner(f, b.coefficients("lgamma"))))
    divisor = b.select(near_zero, b.fma(a, a, a), b.select(below, a, 1.0))
    small = b.mul(b.div(central, divisor), b.select(below, 1.0, product))
    # a^(a / 2) twice: the whole power overflows before gamma does
    top = b.at_most(b.at_least(a, STIRLING_FROM), 36.0 if b.dtype == "f32" else 173.0)
    root = power(b, top, b.mul(top, 0.5))
    inverse = b.div(1.0, top)
    series = b.mul(inverse, b.horner(b.mul(inverse, inverse), b.coefficients("stirling")))
    scale = b.div(b.mul(exp_bounded(b, series), math.sqrt(2 * math.pi)), b.sqrt(top))
    body = b.mul(root, exp_bounded(b, b.neg(top)))
    return b.select(large, b.mul(b.mul(root, scale), body), small)


# ---- the normal quantile -------------------------------------------------------------------------

#: numerator and denominator, lowest power first: for |p - 1/2| <= 0.425, in 0.425^2 - (p - 1/2)^2;
#: for sqrt(-log p) up to 5, less 1.6; for larger ones, less 5
CENTRE = (
    (
        3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3,
        1.3731693765509461125e4, 4.5921953931549871457e4, 6.7265770927008700853e4,
        3.3430575583588128105e4, 2.5090809287301226727e3,
    ),
    (
        1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3,
        2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4,
        5.2264952788528545610e3,
    ),
)  # fmt: skip
TAIL = (
    (
        1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0,
        3.64784832476320460504e0, 1.27045825245236838258e0, 2.41780725177450611770e-1,
        2.27238449892691845833e-2, 7.74545014278341407640e-4,
    ),
    (
        1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1,
        1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4,
        1.05075007164441684324e-9,
    ),
)  # fmt: skip
FAR_TAIL = (
    (
        6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0,
        2.96560571828504891230e-1, 2.65321895265761230930e-2, 1.24266094738807843860e-3,
        2.71155556874348757815e-5, 2.01033439929228813265e-7,
    ),
    (
        1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2,
        7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7,
        2.04426310338993978564e-15,
    ),
)  # fmt: skip


def ndtri(b: Builder, p: Expr) -> Expr:
    """The x with ndtr(x) = p, from the nearer of 0 and 1."""
    q = b.sub(p, 0.5)
    r = b.fma(b.neg(q), q, 0.425**2)
    near = b.mul(q, b.div(b.horner(r, CENTRE[0]), b.horner(r, CENTRE[1])))
    rest = b.select(b.lt(q, 0.0), p, b.sub(1.0, p))
    w = b.sqrt(b.neg(log(b, rest)))
    far = b.gt(w, 5.0)
    t = b.sub(w, b.select(far, 5.0, 1.6))
    above, below = (
        b.horner(t, tuple(b.select(far, two, one) for one, two in zip(mid, outer, strict=True)))
        for mid, outer in zip(TAIL, FAR_TAIL, strict=True)
    )
    tail = b.copysign(b.div(above, below), q)
    tail = b.select(b.eq(rest, 0.0), b.copysign(math.inf, q), tail)
    return b.select(b.le(b.abs(q), 0.425), near, tail)


# ---- modified Bessel functions -------------------------------------------------------------------

BESSEL_FROM = 8.0


def bessel_i0e(b: Builder, x: Expr) -> Expr:
    """e^-|x| I_0(x)."""
    return scaled_bessel(b, x, 0)


def bessel_i1e(b: Builder, x: Expr) -> Expr:
    """e^-|x| I_1(x)."""
    return b.copysign(scaled_bessel(b, x, 1), x)


def scaled_bessel(b: Builder, x: Expr, order: int) -> Expr:
    """e^-|x| I(|x|): the sum of (x / 2)^(2 k + order) / (k! (k + order)!) (DLMF 10.25.2) up to
    8."""
    a = b.abs(x)
    inner = b.at_most(a, BESSEL_FROM)
    half = b.mul(inner, 0.5)
    terms = 16 if b.dtype == "f32" else 24
    factors = (1 / (math.factorial(k) * math.factorial(k + order)) for k in range(terms))
    total = b.horner(b.mul(half, half), tuple(factors))
    total = b.mul(total, half) if order else total
    near = b.mul(total, exp_bounded(b, b.neg(inner)))
    outer = b.at_least(a, BESSEL_FROM)
    t = b.sub(b.div(16.0, outer), 1.0)
    far = b.div(b.horner(t, b.coefficients(f"bessel_i{order}e")), b.sqrt(outer))
    return b.select(b.gt(a, BESSEL_FROM), far, near)
