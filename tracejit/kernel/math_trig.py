"""Expansions of the trigonometric functions and their inverses.

Arguments are reduced by multiples of pi/2: below ``FAST_LIMIT`` by Cody and Waite's constants in
three parts, above by Payne and Hanek's method in floating point: the digits of 2/pi that matter
for the
argument are chosen, multiplied exactly (fma gives the error of each product) and summed modulo 4.
A vector takes that
path only when one of its lanes needs it.
"""

from __future__ import annotations

import math

from tracejit.ir.expr import Expr
from tracejit.kernel.math_builder import Builder, parts

HALF_PI = "1.570796326794896619231321691639751442098584699687552910487472"
PI = "3.141592653589793238462643383279502884197169399375105820974944"
FAST_LIMIT = {"f32": 2.0**17, "f64": 2.0**30}
CHUNK = {"f32": 24, "f64": 50}  # digits of 2/pi in one constant of the slow path
CHUNKS_USED = 5


def two_over_pi_chunks(bits: int, count: int) -> tuple[float, ...]:
    """The binary digits of 2/pi, ``bits`` at a time, each chunk scaled to [0, 1)."""
    digits = bits * count + 32
    fraction = two_over_pi_digits(digits) >> 32
    mask = (1 << bits) - 1
    return tuple((fraction >> (bits * (count - 1 - k)) & mask) / 2.0**bits for k in range(count))


def two_over_pi_digits(digits: int) -> int:
    """floor(2^digits 2/pi), pi by Machin's formula in integers."""
    unit = 1 << (digits + 64)

    def inverse_atan(n: int) -> int:
        term, total, k = unit // n, unit // n, 1
        while term:
            term //= n * n
            total += (-term if k % 2 else term) // (2 * k + 1)
            k += 1
        return total

    pi = 4 * (4 * inverse_atan(5) - inverse_atan(239))
    return (unit << (digits + 1)) // pi


def reduce_half_pi(b: Builder, a: Expr, words: int = 1) -> tuple[Expr, ...]:
    """q and r with a = n pi/2 + r, |r| <= pi/4, for a >= 0; the low two bits of q are those of n.

    With two ``words`` r comes as a double word.
    """
    key = ("reduce_half_pi", a, words)
    if key not in b.recorder.memo:
        form = b.format
        c1, c2, c3 = parts(HALF_PI, b.dtype, 3)
        shifted = b.fma(a, 2 / math.pi, form.round_magic)
        n = b.sub(shifted, form.round_magic)
        first = b.fma(n, -c1, a)  # exact
        usual = [b.bits(shifted), b.fma(n, -c3, b.fma(n, -c2, first))]
        if words == 2:
            product, product_low = b.two_product(n, -c2)
            second, second_low = b.two_sum(first, product)
            rest = b.fma(n, -c3, b.add(second_low, product_low))
            usual[1:] = b.fast_two_sum(second, rest)
        large = b.gt(a, FAST_LIMIT[b.dtype])
        b.recorder.memo[key] = b.recorder.guarded(
            large, usual, lambda: reduce_huge(b, a)[: words + 1]
        )
    return b.recorder.memo[key]


def reduce_huge(b: Builder, a: Expr) -> tuple[Expr, Expr, Expr]:
    """The same for any a > FAST_LIMIT; nan for infinity."""
    form, bits = b.format, CHUNK[b.dtype]
    # chunks whose product with a is a multiple of 4 are dropped; a is scaled down in step
    levels = [1 << k for k in range((form.bias // bits).bit_length())][::-1]
    window = list(two_over_pi_chunks(bits, CHUNKS_USED + form.bias // bits))
    words: list[Expr] = [b.const(w) for w in window]
    for place, level in enumerate(levels):
        skip = b.ge(a, 2.0 ** (level * bits + form.precision + 1))
        a = b.select(skip, b.mul(a, 2.0 ** (-level * bits)), a)
        left = CHUNKS_USED + sum(levels[place + 1 :])
        words = [
            b.select(skip, words[k + level], words[k]) if k + level < len(words) else words[k]
            for k in range(min(left, len(words)))
        ]
    terms: list[Expr] = []
    for k in range(CHUNKS_USED):
        product, error = b.two_product(b.mul(a, 2.0 ** (-bits * k)), words[k])
        terms += [product, error]
    terms = [modulo_four(b, term) for term in terms[:3]] + terms[3:-1]
    for _ in range(2):
        terms = sum_with_errors(b, terms)
    n = b.round(terms[0])
    high, error = b.two_sum(b.sub(terms[0], n), terms[1])
    low = b.add(error, b.add(terms[2], terms[3]))
    c, c_low = parts(HALF_PI, b.dtype)
    product, error = b.two_product(high, c)
    r, r_low = b.fast_two_sum(product, b.fma(high, c_low, b.fma(low, c, error)))
    return b.bits(b.add(n, form.round_magic)), r, r_low


def modulo_four(b: Builder, x: Expr) -> Expr:
    return b.fma(b.round(b.mul(x, 0.25)), -4.0, x)


def sum_with_errors(b: Builder, terms: list[Expr]) -> list[Expr]:
    """The same sum with nearly all of it in the first term (Ogita, Rump and Oishi's VecSum,
    largest first)."""
    total, errors = terms[-1], []
    for term in reversed(terms[:-1]):
        total, error = b.two_sum(term, total)
        errors.append(error)
    return [total, *reversed(errors)]


def sin_cos(b: Builder, r: Expr) -> tuple[Expr, Expr]:
    """sin r and cos r for |r| <= pi/4."""
    square = b.mul(r, r)
    sine = b.fma(b.mul(square, r), b.horner(square, b.coefficients("sin")), r)
    cosine = b.horner(square, (1.0, -0.5, *b.coefficients("cos")))
    return sine, cosine


def sin(b: Builder, x: Expr) -> Expr:
    q, r = reduce_half_pi(b, b.abs(x))
    sine, cosine = sin_cos(b, r)
    value = b.select(b.bit_test(q, 1), cosine, sine)
    turn = b.shift_left(q, b.format.width - 2)
    return b.flip_sign(value, b.int_xor(turn, b.bits(x)))


def cos(b: Builder, x: Expr) -> Expr:
    q, r = reduce_half_pi(b, b.abs(x))
    sine, cosine = sin_cos(b, r)
    value = b.select(b.bit_test(q, 1), sine, cosine)
    return b.flip_sign(value, b.shift_left(b.int_add(q, 1), b.format.width - 2))


def tan_sum(b: Builder, r: Expr, low: Expr) -> Expr:
    """tan(r + low), |r| <= pi/4."""
    square = b.mul(r, r)
    low = b.fma(square, low, low)
    return b.add(r, b.fma(b.mul(square, r), b.horner(square, b.coefficients("tan")), low))


def tan(b: Builder, x: Expr) -> Expr:
    """t = tan r, or -1/t in odd quadrants."""
    q, r, low = reduce_half_pi(b, b.abs(x), words=2)
    t = tan_sum(b, r, low)
    odd = b.bit_test(q, 1)
    value = b.div(b.select(odd, -1.0, t), b.select(odd, t, 1.0))
    return b.flip_sign(value, b.bits(x))


# ---- inverses -----------------------------------------------------------------------------------


def asin_parts(b: Builder, x: Expr) -> tuple[Expr, Expr, Expr]:
    """Whether |x| > 1/2; asin of |x| if not, of sqrt((1 - |x|) / 2) if so, as s and the little
    that adds to it."""
    a = b.abs(x)
    large = b.gt(a, 0.5)
    square = b.select(large, b.fma(a, -0.5, 0.5), b.mul(a, a))
    s = b.select(large, b.sqrt(square), a)
    return large, s, b.mul(b.mul(s, square), b.horner(square, b.coefficients("asin")))


def asin(b: Builder, x: Expr) -> Expr:
    """asin a = pi/2 - 2 asin sqrt((1 - a) / 2) for a > 1/2."""
    large, s, rest = asin_parts(b, x)
    high, low = parts(HALF_PI, b.dtype)
    near_one = b.fma(s, -2.0, b.add(high, b.fma(rest, -2.0, low)))
    return b.copysign(b.select(large, near_one, b.add(s, rest)), x)


def acos(b: Builder, x: Expr) -> Expr:
    """pi/2 - asin x; 2 asin sqrt((1 - a) / 2) near 1, pi minus that near -1."""
    large, s, rest = asin_parts(b, x)
    negative = b.lt(x, 0.0)
    high, low = parts(HALF_PI, b.dtype)
    # small: pi/2 -+ asin; near 1: 0 + 2 asin; near -1: pi - 2 asin
    factor = b.select(large, 2.0, 1.0)
    factor = b.select(b.differ(negative, large), factor, b.neg(factor))
    turns = b.select(large, b.select(negative, 2.0, 0.0), 1.0)
    base, base_low = b.mul(turns, high), b.mul(turns, low)
    return b.add(b.fma(factor, s, base), b.fma(factor, rest, base_low))


def atan_quotient(b: Builder, numerator: Expr, denominator: Expr) -> tuple[Expr, Expr]:
    """atan(n / d), 0 <= n <= d, as a number and the little that adds to it."""
    q = b.div(numerator, denominator)
    square = b.mul(q, q)
    return q, b.mul(b.mul(square, q), b.horner(square, b.coefficients("atan")))


def atan(b: Builder, x: Expr) -> Expr:
    a = b.abs(x)
    large = b.gt(a, 1.0)
    q, rest = atan_quotient(b, b.select(large, 1.0, a), b.select(large, a, 1.0))
    high, low = parts(HALF_PI, b.dtype)
    near = b.add(q, rest)
    far = b.sub(high, b.sub(q, b.sub(low, rest)))
    return b.copysign(b.select(large, far, near), x)


def atan2(b: Builder, y: Expr, x: Expr) -> Expr:
    """atan of the smaller magnitude over the larger one, in its octant."""
    ax, ay = b.abs(x), b.abs(y)
    steep = b.gt(ay, ax)
    numerator, denominator = b.select(steep, ax, ay), b.select(steep, ay, ax)
    diagonal = b.both(b.eq(ax, math.inf), b.eq(ay, math.inf))
    numerator = b.select(diagonal, 1.0, numerator)
    denominator = b.select(diagonal, 1.0, b.select(b.eq(denominator, 0.0), 1.0, denominator))
    q, rest = atan_quotient(b, numerator, denominator)
    left = b.lt(b.copysign(1.0, x), 0.0)
    # right: 0 + a, or pi/2 - a where steep; left: pi - a, or pi/2 + a where steep
    high, low = parts(HALF_PI, b.dtype)
    turns = b.select(steep, 1.0, b.select(left, 2.0, 0.0))
    sign = b.select(b.differ(left, steep), -1.0, 1.0)
    angle = b.add(b.fma(sign, q, b.mul(turns, high)), b.fma(sign, rest, b.mul(turns, low)))
    angle = b.select(b.either(b.ne(x, x), b.ne(y, y)), math.nan, angle)
    return b.copysign(angle, y)
