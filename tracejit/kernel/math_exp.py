"""Expansions of the exponential, logarithmic, power and hyperbolic functions.

Each function takes a ``Builder`` and argument expressions and returns an expression of basic
operations.

exp: n and r with x = n log 2 + r by Cody and Waite's two-part constant, a minimax polynomial in
r, scaling by powers of two made from bits. log: x = 2^k m with m in [sqrt 1/2, sqrt 2), a
polynomial in m - 1.
pow: log x as a double word through 2 atanh(f / (2 + f)), times y, then exp (Muller, "Elementary
Functions", ch. 11).
"""

from __future__ import annotations

import math
from fractions import Fraction

from tracejit.ir.expr import Expr
from tracejit.kernel.math_builder import Builder, Value, parts

LN2 = "0.693147180559945309417232121458176568075500134360255254120680"
TWO_LN2 = "1.386294361119890618834464242916353136151000268720510508241360"
LOG10_2 = "0.301029995663981195213738894724493026768189881462108541310427"
LOG2_E = "1.442695040888963407359924681001892137426645954152985934135449"
LOG10_E = "0.434294481903251827651128918916605082294397005803666566114453"
TWELFTH = "0.083333333333333333333333333333333333333333333333333333333333"
UNDERFLOW = {"f32": -104.0, "f64": -746.0}  # exp of these is 0
OVERFLOW = {"f32": 89.0, "f64": 710.0}  # and of these inf


# ---- exponentials -------------------------------------------------------------------------------


def exp(b: Builder, x: Expr) -> Expr:
    """e^x. The scale 2^n is the square of 2^(n/2), n even, so every result, subnormal too, rounds
    once."""
    form = b.format
    high, low = parts(TWO_LN2, b.dtype)
    x = b.at_least(b.at_most(x, OVERFLOW[b.dtype]), UNDERFLOW[b.dtype])
    magic = form.round_magic + form.bias
    shifted = b.fma(x, 0.5 * float(LOG2_E), magic)
    n = b.sub(shifted, magic)
    r = b.fma(n, -low, b.fma(n, -high, x))
    scale = b.float(b.shift_left(b.bits(shifted), form.mantissa))
    power = b.horner(r, (1.0, 1.0, *b.coefficients("exp")))
    return b.mul(b.mul(power, scale), scale)


def exp2(b: Builder, x: Expr) -> Expr:
    """2^x, exact where x is an integer."""
    form = b.format
    x = b.at_least(b.at_most(x, form.bias + 2.0), -form.bias - form.precision - 2.0)
    magic = form.round_magic + 2 * form.bias
    shifted = b.add(x, magic)
    r = b.sub(x, b.sub(shifted, magic))
    return scale_by_shifted(b, b.horner(r, (1.0, *b.coefficients("exp2"))), shifted)


def scale_by_shifted(b: Builder, x: Expr, shifted: Expr) -> Expr:
    """x 2^n in two steps, where the low bits of ``shifted`` hold n + 2 bias."""
    bits = b.bits(shifted)
    half = b.shift_right(bits, 1)
    first = b.float(b.shift_left(half, b.format.mantissa))
    second = b.float(b.shift_left(b.int_sub(bits, half), b.format.mantissa))
    return b.mul(b.mul(x, first), second)


def reduce_ln2(b: Builder, x: Expr, offset: float) -> tuple[Expr, Expr, Expr]:
    """n, r and the number whose low bits hold n + offset: x = n log 2 + r, |r| <= log(2) / 2."""
    high, low = parts(LN2, b.dtype)
    magic = b.format.round_magic + offset
    shifted = b.fma(x, float(LOG2_E), magic)
    n = b.sub(shifted, magic)
    return n, b.fma(n, -low, b.fma(n, -high, x)), shifted


def exp_sum(b: Builder, high: Expr, low: Expr | None = None, factor: Value = 1.0) -> Expr:
    """factor e^(high + low), |low| tiny, for a ``high`` within the limits of exp; hardly an error
    of its own."""
    _, r, shifted = reduce_ln2(b, high, 2.0 * b.format.bias)
    growth = b.fma(b.mul(r, r), b.horner(r, b.coefficients("expm1")), r)
    if low is not None:
        growth = b.add(growth, b.fma(low, growth, low))
    return scale_by_shifted(b, b.fma(factor, growth, factor), shifted)


def exp_bounded(b: Builder, x: Expr) -> Expr:
    """e^x where neither x nor the result is near a limit of the format."""
    _, r, shifted = reduce_ln2(b, x, b.format.bias)
    power = b.horner(r, (1.0, 1.0, *b.coefficients("expm1")))
    return b.mul(power, b.float(b.shift_left(b.bits(shifted), b.format.mantissa)))


def expm1(b: Builder, x: Expr) -> Expr:
    """e^x - 1 without cancellation: 2 (2^(n-1) expm1(r) + 2^(n-1) - 1/2)."""
    limited = b.at_least(b.at_most(x, OVERFLOW[b.dtype]), -0.75 * b.format.precision)
    _, r, shifted = reduce_ln2(b, limited, b.format.bias - 1.0)
    half = b.float(b.shift_left(b.bits(shifted), b.format.mantissa))  # 2^(n-1)
    tail = b.mul(b.mul(r, r), b.horner(r, b.coefficients("expm1")))
    total = b.fma(half, tail, b.fma(half, r, b.sub(half, 0.5)))
    return b.select(b.eq(x, 0.0), x, b.add(total, total))


def logistic(b: Builder, x: Expr) -> Expr:
    """1 / (1 + e^-x), through e^-|x| so that the far left keeps its digits."""
    e = exp_sum(b, b.at_least(b.neg(b.abs(x)), UNDERFLOW[b.dtype]))
    below = b.add(e, 1.0)
    below_low = b.sub(e, b.sub(below, 1.0))
    above = b.select(b.lt(x, 0.0), e, 1.0)
    inverse = b.div(1.0, below)
    quotient = b.mul(above, inverse)
    # what the roundings of 1 + e and of the division left
    rest = b.fma(b.neg(quotient), below_low, b.fma(b.neg(quotient), below, above))
    return b.fma(rest, inverse, quotient)


# ---- hyperbolic ---------------------------------------------------------------------------------


def tanh(b: Builder, x: Expr) -> Expr:
    """x + x^3 p(x^2) below 0.55, 1 - 2 / (e^(2 |x|) + 1) above."""
    form = b.format
    a = b.abs(x)
    limited = b.at_most(a, 0.4 * form.precision)
    # x = n log(2)/2 + r, and a polynomial in r for e^(2 r): its coefficients take the powers of 2
    high, low = (part / 2 for part in parts(LN2, b.dtype))
    magic = form.round_magic + form.bias
    shifted = b.fma(limited, 2 * float(LOG2_E), magic)
    n = b.sub(shifted, magic)
    r = b.fma(n, -low, b.fma(n, -high, limited))
    doubled = [c * 2.0**k for k, c in enumerate((1.0, 1.0, *b.coefficients("expm1")))]
    e = b.mul(b.horner(r, doubled), b.float(b.shift_left(b.bits(shifted), form.mantissa)))
    far = b.sub(1.0, b.div(2.0, b.add(e, 1.0)))
    square = b.mul(a, a)
    near = b.fma(b.mul(square, a), b.horner(square, b.coefficients("tanh")), a)
    return b.copysign(b.select(b.lt(a, 0.55), near, far), x)


def hyperbolic_parts(b: Builder, magnitude: Expr) -> tuple[Expr, Expr, Expr, Expr]:
    """sinh r, cosh r - 1, 2^n / 4, 2^-n / 4 for magnitude = n log 2 + r."""
    form = b.format
    x = b.at_most(magnitude, OVERFLOW[b.dtype] + 0.5)
    _, r, shifted = reduce_ln2(b, x, form.bias - 2.0)
    up = b.float(b.shift_left(b.bits(shifted), form.mantissa))  # 2^(n-2)
    # its reciprocal over 16 is 2^(-n-2); below 2^-bias it does not count any more
    bits = b.int_sub((2 * form.bias - 4) << form.mantissa, b.bits(up))
    down = b.select(b.lt(up, 2.0**60), b.float(bits), 0.0)
    square = b.mul(r, r)
    sinh_r = b.fma(b.mul(square, r), b.horner(square, b.coefficients("sinh")), r)
    cosh_r = b.mul(square, b.horner(square, b.coefficients("cosh")))
    return sinh_r, cosh_r, up, down


def sinh(b: Builder, x: Expr) -> Expr:
    """sinh(n log 2) cosh r + cosh(n log 2) sinh r: no division, no cancellation."""
    sinh_r, cosh_r, up, down = hyperbolic_parts(b, b.abs(x))
    minus, plus = b.sub(up, down), b.add(up, down)
    half = b.add(minus, b.fma(plus, sinh_r, b.mul(minus, cosh_r)))
    return b.copysign(b.select(b.eq(minus, 0.0), sinh_r, b.add(half, half)), x)


def cosh(b: Builder, x: Expr) -> Expr:
    """2^(n-1) e^r + 2^(-n-1) e^-r, the two exponentials from cosh r and sinh r."""
    sinh_r, cosh_r, up, down = hyperbolic_parts(b, b.abs(x))
    falling = b.fma(down, b.sub(cosh_r, sinh_r), down)
    half = b.add(up, b.fma(up, b.add(cosh_r, sinh_r), falling))
    return b.add(half, half)


def asinh(b: Builder, x: Expr) -> Expr:
    """log1p(a + a^2 / (1 + sqrt(1 + a^2))), a = |x|; for large a log(a) + log(2)."""
    a = b.abs(x)
    large = b.gt(a, 2.0 ** (b.format.precision // 2 + 2))
    c = b.select(large, 1.0, a)
    square, square_low = b.two_product(c, c)
    radicand, radicand_low = b.two_sum(square, 1.0)
    root, root_low = sqrt_sum(b, radicand, b.add(radicand_low, square_low))
    below, below_low = b.two_sum(root, 1.0)
    part = b.div(square, below)
    rest = b.fma(part, b.neg(below), square)
    rest = b.sub(b.add(rest, square_low), b.mul(part, b.add(below_low, root_low)))
    total, low = b.two_sum(c, part)
    low = b.add(low, b.div(rest, below))
    result = log1p_sum(b, b.select(large, a, total), b.select(large, 0.0, low), large)
    return b.copysign(result, x)


def sqrt_sum(b: Builder, high: Expr, low: Expr) -> tuple[Expr, Expr]:
    """sqrt(high + low) as a double word; high > 0."""
    root = b.sqrt(high)
    residual = b.add(b.fma(b.neg(root), root, high), low)
    return root, b.div(b.mul(residual, 0.5), root)


def acosh(b: Builder, x: Expr) -> Expr:
    """log1p(t + sqrt(2 t + t^2)), t = x - 1; for large x log(x) + log(2)."""
    large = b.gt(x, 2.0 ** (b.format.precision + 2))
    t = b.sub(b.select(large, 2.0, x), 1.0)
    double = b.add(t, t)
    square, square_low = b.two_product(t, t)
    radicand, radicand_low = b.two_sum(double, square)
    root, root_low = sqrt_sum(b, radicand, b.add(radicand_low, square_low))
    total, low = b.two_sum(t, root)
    low = b.select(b.gt(radicand, 0.0), b.add(low, root_low), 0.0)
    result = log1p_sum(b, b.select(large, x, total), b.select(large, 0.0, low), large)
    return b.select(b.ge(x, 1.0), result, math.nan)


def atanh(b: Builder, x: Expr) -> Expr:
    """log1p(2 a / (1 - a)) / 2, a = |x|."""
    a = b.abs(x)
    above = b.add(a, a)
    below, below_low = b.two_sum(1.0, b.neg(a))
    quotient = b.div(above, below)
    rest = b.fma(b.neg(quotient), below, above)
    low = b.div(b.sub(rest, b.mul(quotient, below_low)), below)
    low = b.select(b.lt(a, 1.0), low, 0.0)
    result = b.mul(log1p_sum(b, quotient, low), 0.5)
    return b.copysign(b.select(b.lt(a, b.format.tiny), a, result), x)


# ---- logarithms ---------------------------------------------------------------------------------

SQRT_HALF = 0.70710678118654752440


def log_parts(b: Builder, x: Expr) -> tuple[Expr, Expr]:
    """k and f with x = 2^k (1 + f), 1 + f in [sqrt 1/2, sqrt 2), for x positive and finite."""
    form = b.format
    small = b.lt(x, form.tiny)
    scaled = b.select(small, b.mul(x, 2.0**form.precision), x)
    bits = b.int_add(b.bits(scaled), form.bits(1.0) - form.bits(SQRT_HALF))
    offset = b.select(small, float(-form.bias - form.precision), float(-form.bias))
    k = b.small_int(b.shift_right(bits, form.mantissa), offset)
    m = b.float(b.int_add(b.int_and(bits, form.fraction_mask), form.bits(SQRT_HALF)))
    return k, b.sub(m, 1.0)


def log_limits(b: Builder, x: Expr, result: Expr) -> Expr:
    """``result`` where x is positive and finite; log's limits elsewhere."""
    finite = b.select(b.lt(x, math.inf), result, x)
    return b.select(b.gt(x, 0.0), finite, b.select(b.eq(x, 0.0), -math.inf, math.nan))


def log_tail(b: Builder, f: Expr) -> Expr:
    """(log(1 + f) - f) / f^2."""
    return b.horner(f, (-0.5, *b.coefficients("log")))


def log(b: Builder, x: Expr) -> Expr:
    return log_limits(b, x, log_positive(b, x))


def log_positive(b: Builder, x: Expr) -> Expr:
    """log x for x positive and finite."""
    high, low = parts(LN2, b.dtype)
    k, f = log_parts(b, x)
    tail = b.mul(b.mul(f, f), log_tail(b, f))
    if b.dtype == "f64":  # in f32 log 2 happens to be its first part to 29 bits
        tail = b.fma(k, low, tail)
    return b.fma(k, high, b.add(f, tail))


def log_words(b: Builder, x: Expr) -> tuple[Expr, Expr]:
    """log x, for x positive and finite, as a rounded result and roughly its error."""
    high, low = parts(LN2, b.dtype)
    k, f = log_parts(b, x)
    part, rest = b.fast_two_sum(f, b.mul(b.mul(f, f), log_tail(b, f)))
    result = b.fma(k, high, part)
    return result, b.add(b.add(b.fma(k, high, b.neg(result)), part), b.fma(k, low, rest))


def log_to_base(b: Builder, x: Expr, per_k: str, per_f: str) -> Expr:
    """k per_k + log(1 + f) per_f, both constants as double words."""
    k, f = log_parts(b, x)
    k_high, k_low = parts(per_k, b.dtype)
    f_high, f_low = parts(per_f, b.dtype)
    scale = Fraction(f_high) + Fraction(f_low)
    scaled = [float(Fraction(c) * scale) for c in (-0.5, *b.coefficients("log"))]
    low = b.mul(f, f_low)
    if k_low:
        low = b.fma(k, k_low, low)
    low = b.fma(b.mul(f, f), b.horner(f, scaled), low)
    return log_limits(b, x, b.fma(k, k_high, b.fma(f, f_high, low)))


def log2(b: Builder, x: Expr) -> Expr:
    return log_to_base(b, x, "1", LOG2_E)


def log10(b: Builder, x: Expr) -> Expr:
    return log_to_base(b, x, LOG10_2, LOG10_E)


def log1p(b: Builder, x: Expr) -> Expr:
    return b.copysign(log1p_sum(b, x, None), x)


def log1p_sum(b: Builder, x: Expr, low: Expr | None, without_one: Expr | None = None) -> Expr:
    """log(1 + x + low). Where ``without_one`` holds, log(2 x) instead, as asinh and acosh want it
    for large x.

    With k from the rounded 1 + x, f = 2^-k x + (2^-k - 1) is rounded once, so no digit of x is
    lost.
    """
    form = b.format
    ln2_high, ln2_low = parts(LN2, b.dtype)
    one = 1.0 if without_one is None else b.select(without_one, 0.0, 1.0)
    near = b.add(x, one)
    bits = b.int_add(b.bits(near), form.bits(1.0) - form.bits(SQRT_HALF))
    shift = b.int_sub(b.int_and(bits, ~form.fraction_mask), form.bits(1.0))
    offset = b.const(float(-form.bias))
    if without_one is not None:
        offset = b.select(without_one, 1.0 - form.bias, offset)
    k = b.small_int(b.shift_right(bits, form.mantissa), offset)
    scaled = b.float(b.int_sub(b.bits(x), shift))
    # 4 2^-k is normal for every k, 2^-k is not
    four = b.float(b.int_sub(form.bits(4.0), shift))
    f = b.add(scaled, b.fma(four, b.mul(one, 0.25) if without_one is not None else 0.25, -1.0))
    tail = b.mul(b.mul(f, f), log_tail(b, f))
    tail = b.fma(k, ln2_low, tail)
    if low is not None:
        small = b.mul(b.mul(low, 0.25), four)
        tail = b.fma(small, b.horner(f, (1.0, -1.0, 1.0)), tail)
    return log_limits(b, near, b.fma(k, ln2_high, b.add(f, tail)))


# ---- powers and roots ---------------------------------------------------------------------------


def log_double(b: Builder, x: Expr) -> tuple[Expr, Expr]:
    """log x as a double word, for x positive and finite; relative error about 2^-(precision +
    11)."""
    k, f = log_parts(b, x)
    inverse = b.div(1.0, b.add(f, 2.0))
    r = b.mul(b.add(f, f), inverse)
    short = b.sub(f, r)  # exact
    r_low = b.mul(b.fma(b.neg(r), f, b.add(short, short)), inverse)
    s, s_low = b.two_product(r, r)
    s_low = b.fma(b.add(r, r), r_low, s_low)
    twelfth, twelfth_low = parts(TWELFTH, b.dtype)
    rest = b.mul(s, b.horner(s, b.coefficients("atanh")))
    p, p_low = b.fast_two_sum(twelfth, rest)
    p_low = b.add(p_low, twelfth_low)
    u, u_low = b.two_product(s, p)
    u_low = b.add(u_low, b.fma(s, p_low, b.mul(s_low, p)))
    v, v_low = b.two_product(r, u)
    v_low = b.add(v_low, b.fma(r, u_low, b.mul(r_low, u)))
    high, low = b.fast_two_sum(r, v)
    low = b.add(low, b.add(r_low, v_low))
    ln2, ln2_low = parts(LN2, b.dtype)
    n, n_low = b.two_product(k, ln2)
    total, total_low = b.two_sum(n, high)
    total_low = b.add(total_low, b.add(b.fma(k, ln2_low, n_low), low))
    return b.fast_two_sum(total, total_low)


def power(b: Builder, x: Expr, y: Expr) -> Expr:
    """|x|^y as e^(y log |x|), then the sign and the special cases of C99."""
    a = b.abs(x)
    h, h_low = log_double(b, a)
    product, product_low = b.two_product(y, h)
    product_low = b.fma(y, h_low, product_low)
    limited = b.at_least(b.at_most(product, OVERFLOW[b.dtype]), UNDERFLOW[b.dtype])
    result = exp_sum(b, limited, b.select(b.eq(limited, product), product_low, 0.0))
    half = b.mul(y, 0.5)
    fractional = b.ne(b.trunc(y), y)
    odd = b.both(b.eq(b.trunc(y), y), b.ne(b.trunc(half), half))
    grows = b.differ(b.gt(a, 1.0), b.lt(y, 0.0))
    infinite = b.eq(b.abs(y), math.inf)
    extreme = b.either(b.either(b.eq(a, 0.0), b.eq(a, math.inf)), infinite)
    result = b.select(extreme, b.select(grows, math.inf, 0.0), result)
    result = b.select(b.both(b.both(b.lt(x, 0.0), b.lt(a, math.inf)), fractional), math.nan, result)
    result = b.flip_sign(result, b.bits(b.select(odd, x, 1.0)))
    result = b.select(b.either(b.ne(x, x), b.ne(y, y)), math.nan, result)
    one = b.either(b.either(b.eq(x, 1.0), b.eq(y, 0.0)), b.both(b.eq(x, -1.0), infinite))
    return b.select(one, 1.0, result)


def rsqrt(b: Builder, x: Expr) -> Expr:
    return b.div(1.0, b.sqrt(x))


def cbrt(b: Builder, x: Expr) -> Expr:
    """a^(-1/3) from an exponent divided by 3 and two fourth-order steps without division; then a
    (a^(-1/3))^2."""
    form = b.format
    third = form.precision // 3
    magnitude = b.abs(x)
    small = b.lt(magnitude, form.tiny)
    a = b.select(small, b.mul(magnitude, 8.0**third), magnitude)
    drop = 10 if b.dtype == "f32" else 32
    top = b.small_int(b.shift_right(b.bits(a), drop), 0.0)
    # the constant makes the linear interpolation between powers of two err by about 3 % either way
    start = float(form.bits(1.0) >> drop) * 4 / 3 - 0.05 * 2.0 ** (form.mantissa - drop)
    guess = b.fma(top, -1 / 3, start + form.round_magic)
    y = b.float(b.shift_left(b.bits(guess), drop))
    for _ in range(2):
        error = b.fma(b.neg(b.mul(a, y)), b.mul(y, y), 1.0)
        y = b.fma(b.mul(y, error), b.horner(error, (1 / 3, 2 / 9, 14 / 81)), y)
    square = b.mul(y, y)
    root = b.mul(a, square)
    product, product_low = b.two_product(root, root)
    residual = b.fma(product_low, root, b.fma(product, root, b.neg(a)))
    root = b.fma(b.mul(residual, square), -1 / 3, root)
    root = b.select(small, b.mul(root, 2.0**-third), root)
    ordinary = b.both(b.gt(magnitude, 0.0), b.lt(magnitude, math.inf))
    return b.select(ordinary, b.copysign(root, x), x)
