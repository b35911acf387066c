"""Expansions of the error functions and of the logarithmic derivatives of gamma.

erf: a polynomial below 1, 1 - exp(polynomial) above. erfc: e^(-a^2) erfcx(a), erfcx in the variable
(a - 2) / (a + 2). erf_inv: polynomials in log(1 - x^2) and its square root (Giles, "Approximating
the erfinv function", 2010). lgamma, digamma: shift to a central interval or to Stirling's series,
reflect
negative arguments.
"""

from __future__ import annotations

import math

from tracejit.ir.expr import Expr
from tracejit.kernel.math_builder import Builder, parts
from tracejit.kernel.math_exp import (
    exp_bounded,
    exp_sum,
    log,
    log_positive,
    log_words,
    reduce_ln2,
    scale_by_shifted,
)
from tracejit.kernel.math_trig import PI, sin_cos, tan_sum

HALF_LOG_TWO_PI = "0.918938533204672741780329736405617639861397473637783412817151"
LOG_PI = "1.144729885849400174143427351353058711647294812915311571513623"
ERFCX_CENTRE = "1.276978381552528719325442904542713816512996526276210327239744"
HALF_ROOT_PI = "0.886226925452758013649083741670572591398774728061193564106903"
DIGAMMA_ROOT = "1.461632144968362341262659542325721328468196204006446351295988"


def erf(b: Builder, x: Expr) -> Expr:
    """x + x p(x^2) for |x| <= 1, else 1 - e^(p(|x| - 1)), the exponent fitted to log erfc."""
    a, near = b.abs(x), erf_near(b, x)
    beyond = b.sub(b.at_most(a, 3.92 if b.dtype == "f32" else 5.93), 1.0)
    tail = b.sub(1.0, exp_bounded(b, b.horner(beyond, b.coefficients("log_erfc"))))
    return b.select(b.gt(a, 1.0), b.copysign(tail, x), near)


def erf_near(b: Builder, x: Expr) -> Expr:
    """erf x for |x| <= 1."""
    return b.fma(x, b.horner(b.mul(x, x), b.coefficients("erf")), x)


def erfc(b: Builder, x: Expr) -> Expr:
    """e^(-a^2) ((1 + 2 a) erfcx(a)) / (1 + 2 a), a = |x|; 2 minus that for negative x.

    Near zero 1 - erf x is closer, as nothing cancels there.
    """
    a = b.at_most(b.abs(x), erfcx_limit(b))
    quotient, rest, inverse = erfcx_parts(b, a)
    square, square_low = b.two_product(a, a)
    _, r, shifted = reduce_ln2(b, b.neg(square), 2.0 * b.format.bias)
    growth = b.fma(b.mul(r, r), b.horner(r, b.coefficients("expm1")), r)
    low = b.fma(b.neg(square_low), b.fma(quotient, growth, quotient), b.mul(rest, inverse))
    small = b.fma(quotient, growth, low)
    result = scale_by_shifted(b, b.add(quotient, small), shifted)
    result = b.select(b.lt(x, 0.0), b.sub(2.0, result), result)
    return b.select(b.lt(b.abs(x), 0.59), b.sub(1.0, erf_near(b, x)), result)


def erfcx_limit(b: Builder) -> float:
    """How far the polynomial for erfcx goes: erfc underflows there."""
    return 10.1 if b.dtype == "f32" else 27.3


def erfcx_parts(b: Builder, a: Expr) -> tuple[Expr, Expr, Expr]:
    """q, s and i with erfcx(a) = q + s i up to rounding, 0 <= a <= the limit."""
    t = b.div(b.sub(a, 2.0), b.add(a, 2.0))
    centre, centre_low = parts(ERFCX_CENTRE, b.dtype)
    slope = b.horner(t, b.coefficients("erfcx"))
    scaled = b.fma(t, slope, centre)
    scaled_low = b.add(b.fma(t, slope, b.sub(centre, scaled)), centre_low)
    below, below_low = b.two_sum(b.add(a, a), 1.0)
    inverse = b.div(1.0, below)
    quotient = b.mul(scaled, inverse)
    # what the two roundings of the quotient and that of the polynomial left
    rest = b.fma(
        b.neg(quotient), below_low, b.add(b.fma(b.neg(quotient), below, scaled), scaled_low)
    )
    return quotient, rest, inverse


def erfcx(b: Builder, x: Expr) -> Expr:
    """e^(x^2) erfc(x); beyond the limit the asymptotic series (DLMF 7.12.1), on the left 2 e^(x^2)
    - erfcx(-x)."""
    a, limit = b.abs(x), erfcx_limit(b)
    quotient, rest, inverse = erfcx_parts(b, b.at_most(a, limit))
    near = b.fma(rest, inverse, quotient)
    reciprocal = b.div(1.0, b.at_least(a, limit))
    u = b.mul(b.mul(reciprocal, 0.5), reciprocal)
    series = b.horner(u, (1.0, -1.0, 3.0, -15.0, 105.0, -945.0, 10395.0))
    far = b.mul(b.mul(reciprocal, 1 / math.sqrt(math.pi)), series)
    positive = b.select(b.gt(a, limit), far, near)
    # from here on e^(a^2) is infinite
    bounded = b.at_most(a, 9.43 if b.dtype == "f32" else 26.645)
    square, low = b.two_product(bounded, bounded)
    left = b.sub(exp_sum(b, square, low, 2.0), positive)
    return b.select(b.lt(x, 0.0), left, positive)


def erf_inv(b: Builder, x: Expr) -> Expr:
    """x (sqrt(pi)/2 + w p(w)) with w = -log(1 - x^2), x q(sqrt w) for w > 5."""
    rest = b.fma(b.neg(x), x, 1.0)
    w = b.neg(log_positive(b, rest))
    slope = b.horner(b.sub(w, 2.5), b.coefficients("erf_inv"))
    start, start_low = parts(HALF_ROOT_PI, b.dtype)
    factor = b.fma(w, slope, start)
    factor_low = b.add(b.fma(w, slope, b.sub(start, factor)), start_low)
    near = b.fma(x, factor, b.mul(x, factor_low))
    root = b.sqrt(w)
    tail = b.horner(b.sub(root, 3.0), b.coefficients("erf_inv_tail"))
    if b.dtype == "f64":  # no f32 has a root above 4
        far = b.horner(b.sub(root, 5.0), b.coefficients("erf_inv_far"))
        tail = b.select(b.gt(root, 4.0), far, tail)
    result = b.copysign(b.select(b.gt(w, 5.0), b.mul(x, tail), near), x)
    edge = b.select(b.eq(rest, 0.0), b.copysign(math.inf, x), math.nan)
    return b.select(b.gt(rest, 0.0), result, edge)


# ---- gamma --------------------------------------------------------------------------------------

STIRLING_FROM = 7.0


def lgamma(b: Builder, x: Expr) -> Expr:
    """log |gamma(x)|."""
    a = b.abs(x)
    negative = b.lt(x, 0.0)
    positive = lgamma_positive(b, a)
    # lgamma(-a) = log(pi / (a |sin(pi a)|)) - lgamma(a)
    tiny = b.lt(a, 2.0**-(b.format.precision))
    sine = sin_pi(b, a)
    high = parts(LOG_PI, b.dtype, 1)[0]
    reflected = b.sub(b.sub(high, log(b, b.abs(b.mul(a, sine)))), positive)
    reflected = b.select(b.eq(sine, 0.0), math.inf, reflected)
    result = b.select(negative, reflected, positive)
    result = b.select(tiny, b.neg(log(b, a)), result)
    result = b.select(b.eq(a, math.inf), math.inf, result)
    return b.select(b.ne(x, x), x, result)


def sin_pi(b: Builder, a: Expr) -> Expr:
    """|sin(pi a)| for a >= 0, from the exact distance of a to the nearest integer."""
    fraction = b.abs(b.sub(a, b.round(a)))
    steep = b.gt(fraction, 0.25)
    high = parts(PI, b.dtype, 1)[0]
    sine, cosine = sin_cos(b, b.mul(b.select(steep, b.sub(0.5, fraction), fraction), high))
    return b.select(steep, cosine, sine)


def lgamma_positive(b: Builder, a: Expr) -> Expr:
    """Below 7: log of the factors that lead to 2 + f, |f| <= 1/2, plus f p(f). Above: Stirling's
    series."""
    large = b.ge(a, STIRLING_FROM)
    y, product = b.select(large, 2.0, a), b.const(1.0)
    for _ in range(5):
        long = b.ge(y, 2.5)
        y = b.select(long, b.sub(y, 1.0), y)
        product = b.select(long, b.mul(product, y), product)
    near_zero, below = b.lt(a, 0.5), b.lt(a, 1.5)
    f = b.select(near_zero, a, b.select(below, b.sub(a, 1.0), b.sub(y, 2.0)))
    central = b.mul(f, b.horner(f, b.coefficients("lgamma")))
    factor = b.select(near_zero, b.fma(a, a, a), b.select(b.either(below, large), a, product))
    logarithm, log_low = log_words(b, factor)
    small = b.add(central, b.select(below, b.neg(logarithm), logarithm))
    inverse = b.div(1.0, b.select(large, a, STIRLING_FROM))
    series = b.mul(inverse, b.horner(b.mul(inverse, inverse), b.coefficients("stirling")))
    constant = parts(HALF_LOG_TWO_PI, b.dtype, 1)[0]
    # (a - 1/2) (log a - 1) - 1/2 + log(2 pi) / 2 + series
    rest = b.fma(b.sub(a, 0.5), log_low, b.add(constant - 0.5, series))
    stirling = b.fma(b.sub(a, 0.5), b.sub(logarithm, 1.0), rest)
    return b.select(large, stirling, small)


def digamma(b: Builder, x: Expr) -> Expr:
    """d lgamma / dx; for negative x digamma(1 - x) - pi / tan(pi x)."""
    negative = b.lt(x, 0.0)
    positive = digamma_positive(b, b.select(negative, b.sub(1.0, x), x))
    # the exact distance to the nearest integer, folded to [0, 1/4], times pi
    fraction = b.sub(x, b.round(x))
    distance = b.abs(fraction)
    steep = b.gt(distance, 0.25)
    folded = b.select(steep, b.sub(0.5, distance), distance)
    high, low = parts(PI, b.dtype)
    angle, angle_low = b.two_product(folded, high)
    t = tan_sum(b, angle, b.fma(folded, low, angle_low))
    cotangent = b.div(b.select(steep, t, 1.0), b.select(steep, 1.0, t))
    cotangent = b.copysign(cotangent, fraction)
    reflected = b.fma(cotangent, -high, b.fma(cotangent, -low, positive))
    reflected = b.select(b.eq(fraction, 0.0), math.nan, reflected)
    result = b.select(negative, reflected, positive)
    # near zero -1/x is all there is, with its sign
    return b.select(b.lt(b.abs(x), b.format.tiny), b.div(-1.0, x), result)


def digamma_positive(b: Builder, x: Expr) -> Expr:
    """(x - root) p(x) on [1, 2], one step of the recurrence from below 1 and below 3, log x - ...
    above."""
    large, small, middle = b.ge(x, 3.0), b.lt(x, 1.0), b.le(x, 2.0)
    before = b.sub(x, 1.0)
    inverse = b.div(1.0, b.select(b.either(large, small), x, before))
    square = b.mul(inverse, inverse)
    tail = b.fma(inverse, 0.5, b.mul(square, b.horner(square, b.coefficients("digamma"))))
    far = b.sub(log(b, x), tail)
    y = b.select(small, b.add(x, 1.0), b.select(middle, x, before))
    root, root_low = parts(DIGAMMA_ROOT, b.dtype)
    distance = b.sub(b.sub(y, root), root_low)
    near = b.mul(distance, b.horner(b.sub(y, 1.5), b.coefficients("digamma_root")))
    step = b.select(small, b.neg(inverse), b.select(middle, 0.0, inverse))
    return b.select(large, far, b.add(near, step))
