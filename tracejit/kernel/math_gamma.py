"""Expansions of the regularised incomplete gamma functions P(a, x), Q(a, x), and of dP/da.

One of P and Q is computed, the smaller one but for x < 1, and the other is one minus that:

    a >= 12, 0.4 a <= x <= 2 a   Temme's uniform expansion (DLMF 8.12.7, 8.12.12)
    x <= 1.1, x not far below a  Q from P's power series (DLMF 8.7.1) without its leading 1
    x > a + 1.5 (2.5 a if a < 1) Q by a continued fraction, the even part of DLMF 8.9.2
    elsewhere                    P by a series of positive terms (DLMF 8.7.1)

A kernel computes those regions that some element needs. f32 goes through f64: a power of x loses
too many digits otherwise.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache

from tracejit.ir.expr import Expr, Op
from tracejit.kernel.math_builder import Builder
from tracejit.kernel.math_numbers import (
    Number,
    Numbers,
    choose,
    erfcx,
    exp,
    expm1,
    lgamma,
    log,
    log1p,
    polynomial,
    sqrt,
)
from tracejit.kernel.math_special import digamma_positive

#: Temme's expansion serves from this shape on, for x / a within these limits; |eta| < 0.8 there
LARGE, NEAREST, FARTHEST = 12.0, 0.4, 2.0
FARTHEST_ETA = 0.8
#: e to less than this is zero
UNDERFLOW = -746.0
ROOT_TWO_PI = math.sqrt(2 * math.pi)
#: terms of the power series for x <= 1.1
SMALL_TERMS = 20


def igamma(b: Builder, a: Expr, x: Expr) -> Expr:
    """P(a, x), the lower function."""
    return incomplete(b, a, x, lower=True)


def igammac(b: Builder, a: Expr, x: Expr) -> Expr:
    """Q(a, x), the upper function."""
    return incomplete(b, a, x, lower=False)


def incomplete(b: Builder, a: Expr, x: Expr, lower: bool) -> Expr:
    wide, (a, x) = in_double(b, a, x)
    tail, is_lower = tails(Numbers(wide), a, x, 1e-9 if b.dtype == "f32" else 2.0**-55)
    # a tail near 1 may exceed it by a rounding error
    other = wide.at_least(wide.sub(1.0, tail.value), 0.0)
    usual = wide.select(is_lower, *((tail.value, other) if lower else (other, tail.value)))
    # what is left: nothing, everything, or no number
    everything = wide.both(wide.gt(x, 0.0), wide.either(wide.eq(a, 0.0), wide.eq(x, math.inf)))
    nothing = wide.both(wide.ge(a, 0.0), wide.both(wide.eq(x, 0.0), wide.gt(a, 0.0)))
    endless = wide.both(wide.eq(a, math.inf), wide.both(wide.ge(x, 0.0), wide.lt(x, math.inf)))
    everything = wide.both(everything, wide.both(wide.ge(a, 0.0), wide.lt(a, math.inf)))
    edge = wide.select(everything, 1.0 if lower else 0.0, math.nan)
    edge = wide.select(wide.either(nothing, endless), 0.0 if lower else 1.0, edge)
    return narrowed(b, wide.select(is_ordinary(wide, a, x), usual, edge))


def igamma_grad_a(b: Builder, a: Expr, x: Expr) -> Expr:
    """dP(a, x)/da."""
    wide, (a, x) = in_double(b, a, x)
    numbers = Numbers(wide, differentiates=True)
    tail, is_lower = tails(numbers, a, x, 1e-9 if b.dtype == "f32" else 2.0**-55)
    assert tail.slope is not None
    usual = wide.select(is_lower, tail.slope, wide.neg(tail.slope))
    inside = wide.both(wide.both(wide.gt(a, 0.0), wide.lt(a, math.inf)), wide.ge(x, 0.0))
    edge = wide.select(inside, 0.0, math.nan)
    return narrowed(b, wide.select(is_ordinary(wide, a, x), usual, edge))


def in_double(b: Builder, *operands: Expr) -> tuple[Builder, tuple[Expr, ...]]:
    """A builder of f64 and the operands in it."""
    if b.dtype == "f64":
        return b, operands
    wide = Builder(b.recorder, "f64")
    return wide, tuple(b.recorder.record(Op("convert", (x,), "f64")) for x in operands)


def narrowed(b: Builder, x: Expr) -> Expr:
    """A result of f64 in the builder's format."""
    return x if b.dtype == "f64" else b.recorder.record(Op("convert", (x,), b.dtype))


def is_ordinary(b: Builder, a: Expr, x: Expr) -> Expr:
    """Whether both are positive and finite."""
    positive = b.both(b.gt(a, 0.0), b.gt(x, 0.0))
    return b.both(positive, b.both(b.lt(a, math.inf), b.lt(x, math.inf)))


def tails(n: Numbers, a_given: Expr, x_given: Expr, least: float) -> tuple[Number, Expr]:
    """One of P and Q, differentiated with respect to a, and whether it is P. ``least``: the
    smallest relative change that matters."""
    b = n.b
    ordinary = is_ordinary(b, a_given, x_given)
    a = n.variable(b.select(ordinary, a_given, 1.0))
    x = n.constant(b.select(ordinary, x_given, 1.0))
    ratio = x / a
    large = a >= LARGE
    middle = b.both(large, b.both(ratio >= NEAREST, ratio <= FARTHEST))
    logarithm = log(choose(large, ratio, x))
    # P's series is short up to some way beyond a, and Q = 1 - P is not small there yet
    beyond = b.both(x > 1.1, x > a + choose(a < 1.0, a, 1.0) * 1.5)
    # log x < 0 here; the conditions are those of DiDonato and Morris (ACM TOMS 12 (1986) 377)
    shallow = b.ge(b.mul(a.value, logarithm.value), -0.4)
    below_half = b.both(x <= 0.5, shallow)
    above_half = b.both(b.both(x > 0.5, x <= 1.1), x * 1.1 >= a)
    small = b.either(below_half, above_half)
    near = n.where(middle, 0.0, lambda: uniform(n, a, x, least))
    rest = b.negated(middle)
    far = n.where(
        rest, 0.0, lambda: far_tail(n, a, x, ratio, logarithm, (beyond, small, large), least)
    )
    upper = b.either(beyond, small)
    is_lower = b.either(b.both(middle, x < a), b.both(rest, b.negated(upper)))
    return choose(middle, near, far), is_lower


def far_tail(
    n: Numbers,
    a: Number,
    x: Number,
    ratio: Number,
    logarithm: Number,
    regions: tuple[Expr, Expr, Expr],
    least: float,
) -> Number:
    """Outside of the region of Temme's expansion. ``regions``: the continued fraction's, that of
    the series for small x, that of large a; ``logarithm``: log x, or log(x / a) for large a."""
    b, (beyond, small, large) = n.b, regions
    # x^a e^-x / gamma(a + 1), for large a by Stirling's series
    safe = choose(large, a, LARGE)
    phase = safe * (ratio - 1.0 - logarithm) + stirling(safe)
    direct = a * logarithm - x - lgamma(choose(large, n.constant(1.0), a + 1.0))
    power = choose(large, -phase, direct)
    front = exp(power) * choose(large, 1.0 / (sqrt(safe) * ROOT_TWO_PI), 1.0)
    alive = power > UNDERFLOW
    fraction = b.both(beyond, alive)
    series = b.both(alive, b.negated(b.either(beyond, small)))
    by_fraction = n.where(fraction, 0.0, lambda: continued_fraction(n, fraction, a, x, least))
    by_series = n.where(series, 0.0, lambda: positive_series(n, series, a, x, least))
    of_small = n.where(small, 0.0, lambda: small_upper(n, a, x, logarithm))
    found = front * choose(beyond, a * by_fraction, by_series)
    return choose(small, of_small, found)


def stirling(a: Number) -> Number:
    """log gamma(a) - (a - 1/2) log a + a - log(2 pi) / 2 for a >= 7."""
    inverse = 1.0 / a
    return inverse * polynomial(inverse * inverse, a.b.coefficients("stirling"))


def positive_series(n: Numbers, active: Expr, a: Number, x: Number, least: float) -> Number:
    """1 + x / (a + 1) + x^2 / ((a + 1) (a + 2)) + ..., four terms a step over one division."""
    square = x * x
    fourth = square * square

    def step(total: Number, term: Number, d: Number) -> tuple[Expr, list[Number]]:
        last = d + 3.0
        two = (d + 2.0) * last
        three = (d + 1.0) * two
        top = x * (three + x * (two + x * (last + x)))
        share = term * (1.0 / (d * three))  # no term waits for a division
        added = share * top
        total = total + added
        return n.b.both(active, matters(added, total, least)), [total, share * fourth, d + 4.0]

    start = [n.constant(1.0), n.constant(1.0), a + 1.0]
    return n.loop(active, start, step)[0]


def matters(added: Number, total: Number, least: float) -> Expr:
    """Whether a term of that size still changes the sum, or its slope."""
    b = added.b
    found = b.gt(b.abs(added.value), b.mul(b.abs(total.value), least))
    if added.slope is None or total.slope is None:
        return found
    return b.either(found, b.gt(b.abs(added.slope), b.mul(b.abs(total.slope), least)))


def unsettled(first: Number, second: Number, least: float) -> Expr:
    """Whether two convergents p1 / q1 and p0 / q0 still differ, given p1 q0 and p0 q1; or their
    slopes, which go on where a whole parameter ends the fraction itself."""
    b, change = first.b, first - second
    limit = b.mul(b.abs(first.value), least)
    found = b.gt(b.abs(change.value), limit)
    return found if change.slope is None else b.either(found, b.gt(b.abs(change.slope), limit))


def continued_fraction(n: Numbers, active: Expr, a: Number, x: Number, least: float) -> Number:
    """Q(a, x) gamma(a) / (x^a e^-x) by the recurrence of numerators and denominators, four steps
    between tests of two neighbouring convergents."""
    b = n.b
    shift, offset = a - 1.0, x + (2.0 - a)

    def step(
        p1: Number, p0: Number, q1: Number, q0: Number, c: Number
    ) -> tuple[Expr, list[Number]]:
        for _ in range(4):
            c = c + 1.0
            y, z = (shift - c) * c, c + c + offset
            p1, p0 = p1.fma(z, p0 * y), p1
            q1, q0 = q1.fma(z, q0 * y), q1
        scale = n.constant(b.select(b.gt(b.abs(q1.value), 2.0**300), 2.0**-300, 1.0))
        p1, p0, q1, q0 = (v * scale for v in (p1, p0, q1, q0))
        return b.both(active, unsettled(p1 * q0, p0 * q1, least)), [p1, p0, q1, q0, c]

    start = [x + 1.0, n.constant(1.0), offset * x, x, n.constant(0.0)]
    p, _, q, _, _ = n.loop(active, start, step, steady=(4,))
    return p / q


def small_upper(n: Numbers, a: Number, x: Number, logarithm: Number) -> Number:
    """Q = 1 - x^a / gamma(a + 1) (1 + a sum of (-x)^k / ((a + k) k!)) for a <= 1.3, x <= 1.1."""
    a = choose(a <= 1.5, a, 1.0)
    growth = expm1(a * logarithm - lgamma_of_next(a))
    y = -x
    total = n.constant(0.0)
    for k in range(SMALL_TERMS - 1, 0, -2):
        first, second = a + float(k), a + float(k + 1)
        here, after = 1 / math.factorial(k), 1 / math.factorial(k + 1)
        pair = (second * here + first * (y * after)) / (first * second)
        total = total * (y * y) + pair
    rest = a * total * y
    return -growth - (growth + 1.0) * rest


def lgamma_of_next(a: Number) -> Number:
    """log gamma(1 + a) for 0 < a <= 1.5, with small relative error near 0."""
    b = a.b
    low = a <= 0.5
    f = choose(low, a, a - 1.0)
    part = b.mul(f.value, b.horner(f.value, b.coefficients("lgamma")))
    shift = log1p(choose(low, Number(b, a.value), 0.0))
    found = b.sub(part, shift.value)
    return a.by_rule(found, lambda: digamma_positive(b, b.add(a.value, 1.0)))


# ---- Temme's uniform expansion -------------------------------------------------------------------


def uniform(n: Numbers, a: Number, x: Number, least: float) -> Number:
    """e^(-a eta^2 / 2) (erfcx(|eta| sqrt(a / 2)) / 2 + sign(eta) S(eta) / sqrt(2 pi a)): Q for
    x >= a, P below."""
    b = n.b
    a = choose(a >= LARGE, a, LARGE)
    away = x - a
    m = away / a
    # a share of lanes may lie outside: their eta is to stay bounded
    m = choose(b.both(m >= NEAREST - 1.0, m <= FARTHEST - 1.0), m, 0.5)
    # eta^2 / 2 = m - log(1 + m) = m^2 (w - 2 s w^2 (1/3 + s^2/5 + ...)), w = 1 / (2 + m), s = m w
    w = 1.0 / (m + 2.0)
    s = m * w
    terms = 24 if least < 1e-12 else 13
    series = polynomial(s * s, tuple(1 / (2 * k + 3) for k in range(terms)))
    curve = w * (1.0 - 2.0 * (s * w) * series)
    eta = m * sqrt(curve + curve)
    z = abs(eta * sqrt(a * 0.5))
    inverse = 1.0 / a
    total = n.constant(0.0)
    for k, row in enumerate(reversed(uniform_rows(least))):
        part = polynomial(eta, row)
        total = total.fma(inverse, part) if k else part
    correction = total / (sqrt(a) * ROOT_TWO_PI)
    signed = choose(eta < 0.0, -correction, correction)
    return exp(-(away * (m * curve))) * (erfcx(z) * 0.5 + signed)


@lru_cache(maxsize=4)
def uniform_rows(least: float) -> tuple[tuple[float, ...], ...]:
    """c_k as polynomials in eta (DLMF 8.12.11 and 8.12.12), to where the terms of
    sum c_k(eta) a^-k fall below ``least`` for a = LARGE and the largest eta."""
    rows = uniform_coefficients(16, 26)
    found = []
    for k, row in enumerate(rows):
        sizes = [abs(c) * FARTHEST_ETA**j / LARGE**k for j, c in enumerate(row)]
        count = max((j + 1 for j, size in enumerate(sizes) if size > least), default=0)
        if not count:
            break
        found.append(tuple(float(c) for c in row[:count]))
    return tuple(found)


def uniform_coefficients(orders: int, terms: int) -> list[list[Fraction]]:
    """The first ``terms`` Taylor coefficients d_{k,j} of c_0 ... c_{orders - 1}, exactly.

    From alpha, the coefficients of x / a - 1 in powers of eta (DLMF 8.12.12).
    """
    last = terms + 2 * orders + 2
    alpha = [Fraction(0), Fraction(1)]
    for j in range(2, last + 1):
        known = sum((i * alpha[i] * alpha[j - i + 1] for i in range(2, j)), Fraction(0))
        alpha.append((alpha[j - 1] - known) / (j + 1))
    first = [Fraction(-1, 3), *((j + 2) * alpha[j + 2] for j in range(1, last - 1))]
    rows, odd = [first], 1
    for k in range(1, orders):
        odd *= 2 * k + 1
        stirling_number = (-1) ** k * odd * alpha[2 * k + 1]
        above = rows[-1]
        rows.append(
            [stirling_number * first[j] + (j + 2) * above[j + 2] for j in range(len(above) - 2)]
        )
    return [row[:terms] for row in rows]
