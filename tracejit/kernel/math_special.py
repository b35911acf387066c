"""Expansions of the error functions and of the logarithmic derivatives of gamma.

erf: a polynomial below 1, 1 - exp(polynomial) above. erfc: e^(-a^2) erfcx(a), erfcx in the variable
(a - 2) / (a + 2). erf_inv: polynomials in log(1 - x^2) and its square root (Giles, "Approximating the erfinv
function", 2010). lgamma, digamma: shift to a central interval or to Stirling's series, reflect negative arguments.
"""

from __future__ import annotations

import math

from tracejit.kernel.math_builder import Builder, Expr, parts
from tracejit.kernel.math_exp import exp_bounded, log, log_positive, reduce_ln2, scale_by_shifted
from tracejit.kernel.math_trig import HALF_PI, PI, sin_cos

HALF_LOG_TWO_PI = "0.918938533204672741780329736405617639861397473637783412817151540482765695927260397694743298635954197"
LOG_PI = "1.144729885849400174143427351353058711647294812915311571513623071472137769884826079783623270275489708"
DIGAMMA_ROOT = "1.461632144968362341262659542325721328468196204006446351295988408598786440353801810243074992733725592"


def erf(b: Builder, x: Expr) -> Expr:
    """x + x p(x^2) for |x| <= 1, else 1 - e^(p(|x| - 1)), the exponent fitted to log erfc."""
    a = b.abs(x)
    square = b.mul(x, x)
    near = b.fma(x, b.horner(square, b.coefficients("erf")), x)
    beyond = b.sub(b.at_most(a, 3.92 if b.dtype == "f32" else 5.93), 1.0)
    tail = b.sub(1.0, exp_bounded(b, b.horner(beyond, b.coefficients("log_erfc"))))
    return b.select(b.gt(a, 1.0), b.copysign(tail, x), near)


def erfc(b: Builder, x: Expr) -> Expr:
    """e^(-a^2) ((1 + 2 a) erfcx(a)) / (1 + 2 a), a = |x|; 2 minus that for negative x."""
    a = b.at_most(b.abs(x), 10.1 if b.dtype == "f32" else 27.3)
    t = b.div(b.sub(a, 2.0), b.add(a, 2.0))
    scaled = b.horner(t, b.coefficients("erfcx"))
    inverse = b.div(1.0, b.fma(a, 2.0, 1.0))
    quotient = b.mul(scaled, inverse)
    rest = b.fma(quotient, b.mul(a, -2.0), b.sub(scaled, quotient))
    square, square_low = b.two_product(a, a)
    _, r, shifted = reduce_ln2(b, b.neg(square), 2.0 * b.format.bias)
    growth = b.fma(b.mul(r, r), b.horner(r, b.coefficients("expm1")), r)
    growth = b.sub(growth, b.fma(square_low, growth, square_low))
    small = b.fma(rest, inverse, b.mul(quotient, growth))
    result = scale_by_shifted(b, b.add(quotient, small), shifted)
    return b.select(b.lt(x, 0.0), b.sub(2.0, result), result)


def erf_inv(b: Builder, x: Expr) -> Expr:
    """x p(w) with w = -log(1 - x^2), x q(sqrt w) for w > 5."""
    rest = b.fma(b.neg(x), x, 1.0)
    w = b.neg(log_positive(b, rest))
    near = b.horner(b.sub(w, 2.5), b.coefficients("erf_inv"))
    root = b.sqrt(w)
    tail = b.horner(b.sub(root, 3.0), b.coefficients("erf_inv_tail"))
    if b.dtype == "f64":  # no f32 has a root above 4
        far = b.horner(b.sub(root, 5.0), b.coefficients("erf_inv_far"))
        tail = b.select(b.gt(root, 4.0), far, tail)
    result = b.mul(x, b.select(b.gt(w, 5.0), tail, near))
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
    tiny = b.lt(a, 2.0 ** -(b.format.precision))
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
    """Below 7: log of the factors that lead to 2 + f, |f| <= 1/2, plus f p(f). Above: Stirling's series."""
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
    logarithm = log_positive(b, factor)
    small = b.add(central, b.select(below, b.neg(logarithm), logarithm))
    inverse = b.div(1.0, b.select(large, a, STIRLING_FROM))
    series = b.mul(inverse, b.horner(b.mul(inverse, inverse), b.coefficients("stirling")))
    constant = parts(HALF_LOG_TWO_PI, b.dtype, 1)[0]
    # (a - 1/2) (log a - 1) - 1/2 + log(2 pi) / 2 + series
    stirling = b.fma(b.sub(a, 0.5), b.sub(logarithm, 1.0), b.add(constant - 0.5, series))
    return b.select(large, stirling, small)


def digamma(b: Builder, x: Expr) -> Expr:
    """d lgamma / dx: shifted up to 7 or more, where log x - 1/(2 x) - p(1/x^2)/x^2 holds."""
    negative = b.lt(x, 0.0)
    positive = b.select(negative, b.sub(1.0, x), x)
    # sum of 1/(y + k) as one fraction
    above, below = b.const(0.0), b.const(1.0)
    shifted = positive
    for _ in range(7):
        short = b.lt(shifted, STIRLING_FROM)
        above = b.select(short, b.fma(above, shifted, below), above)
        below = b.select(short, b.mul(below, shifted), below)
        shifted = b.select(short, b.add(shifted, 1.0), shifted)
    inverse = b.div(1.0, shifted)
    square = b.mul(inverse, inverse)
    tail = b.fma(inverse, 0.5, b.mul(square, b.horner(square, b.coefficients("digamma"))))
    result = b.sub(b.sub(log(b, shifted), tail), b.div(above, below))
    # digamma(x) = digamma(1 - x) - pi / tan(pi x)
    fraction = b.sub(x, b.round(x))
    high = parts(PI, b.dtype, 1)[0]
    steep = b.gt(b.abs(fraction), 0.25)
    inner = b.select(steep, b.sub(b.copysign(0.5, fraction), fraction), fraction)
    sine, cosine = sin_cos(b, b.mul(inner, high))
    cotangent = b.div(b.select(steep, sine, cosine), b.select(steep, cosine, sine))
    reflected = b.fma(cotangent, -high, result)
    reflected = b.select(b.eq(fraction, 0.0), math.nan, reflected)
    result = b.select(negative, reflected, result)
    # near zero -1/x is all there is; at the poles NumPy's relatives give -inf for +0 and inf for -0
    return b.select(b.lt(b.abs(x), b.format.tiny), b.div(-1.0, x), result)
