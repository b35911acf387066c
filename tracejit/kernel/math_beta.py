"""Expansions of the regularised incomplete beta function I_x(a, b), of what one minus it is, of
Student's t distribution, and of dI/da and dI/db.

With a, b, x exchanged for b, a, 1 - x where x > a / (a + b), what is computed is the tail, on the
side of the mean that x is on:

    a (1 - x) <= 1.5, x >= 0.7   one minus the power series in 1 - x (DLMF 8.17.7)
    elsewhere                    the continued fraction of DiDonato and Morris (ACM TOMS 18 (1992)
                                 708, equation 9)

The fraction takes some sqrt(min(a, b)) steps where x is near the mean. From ENORMOUS on, Temme's
uniform expansion (DLMF 8.18.9) has no terms but the first left. f32 goes through f64.
"""

from __future__ import annotations

import math

from tracejit.ir.expr import Expr
from tracejit.kernel.math_builder import Builder
from tracejit.kernel.math_gamma import (
    ROOT_TWO_PI,
    UNDERFLOW,
    in_double,
    lgamma_of_next,
    matters,
    narrowed,
    stirling,
    unsettled,
)
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
from tracejit.record import dataclass

#: where Stirling's series replaces log gamma
LARGE = 10.0
#: where both parameters are so large that one term of the uniform expansion is all there is
ENORMOUS = 1e9
#: more degrees of freedom than this are as good as infinitely many; t beyond has no finite square
MOST_DEGREES, FARTHEST = 1e300, 1e154


def betainc(b: Builder, p: Expr, q: Expr, x: Expr) -> Expr:
    return incomplete(b, p, q, x, lower=True)


def betaincc(b: Builder, p: Expr, q: Expr, x: Expr) -> Expr:
    return incomplete(b, p, q, x, lower=False)


def betainc_grad_a(b: Builder, p: Expr, q: Expr, x: Expr) -> Expr:
    return slope(b, p, q, x, 0)


def betainc_grad_b(b: Builder, p: Expr, q: Expr, x: Expr) -> Expr:
    return slope(b, p, q, x, 1)


def incomplete(b: Builder, p: Expr, q: Expr, x: Expr, lower: bool) -> Expr:
    wide, (p, q, x) = in_double(b, p, q, x)
    n = Numbers(wide)
    ordinary = is_ordinary(wide, p, q, x)
    tail, swapped = tails(n, ordinary, n.constant(p), n.constant(q), x, wide.sub(1.0, x), b.dtype)
    # a tail near 1 may exceed it by a rounding error
    other = wide.at_least(wide.sub(1.0, tail.value), 0.0)
    usual = wide.select(swapped, *((other, tail.value) if lower else (tail.value, other)))
    return narrowed(b, wide.select(ordinary, usual, edge(wide, p, q, x, lower)))


def slope(b: Builder, p: Expr, q: Expr, x: Expr, operand: int) -> Expr:
    wide, (p, q, x) = in_double(b, p, q, x)
    n = Numbers(wide, differentiates=True)
    ordinary = is_ordinary(wide, p, q, x)
    first, second = (n.variable(v) if k == operand else n.constant(v) for k, v in enumerate((p, q)))
    tail, swapped = tails(n, ordinary, first, second, x, wide.sub(1.0, x), b.dtype)
    assert tail.slope is not None
    usual = wide.select(swapped, wide.neg(tail.slope), tail.slope)
    inside = wide.both(wide.ge(x, 0.0), wide.le(x, 1.0))
    edge = wide.select(wide.both(positive(wide, p, q), inside), 0.0, math.nan)
    return narrowed(b, wide.select(ordinary, usual, edge))


def student_cdf(b: Builder, df: Expr, t: Expr) -> Expr:
    """Half of I_{n / (n + t^2)}(n / 2, 1 / 2) for t <= 0, one minus that above."""
    wide, (df, t) = in_double(b, df, t)
    size = wide.abs(t)
    allowed = wide.both(wide.gt(df, 0.0), wide.eq(t, t))
    freedom = wide.select(wide.lt(df, MOST_DEGREES), df, MOST_DEGREES)
    squared = wide.mul(size, size)
    inverse = wide.div(1.0, wide.add(freedom, squared))
    x, y = wide.mul(freedom, inverse), wide.mul(squared, inverse)
    inside = wide.both(wide.gt(x, 0.0), wide.both(wide.gt(y, 0.0), wide.lt(size, FARTHEST)))
    n = Numbers(wide)
    usual = wide.both(allowed, inside)
    half = n.constant(wide.mul(freedom, 0.5))
    tail, swapped = tails(n, usual, half, n.constant(0.5), x, y, b.dtype)
    other = wide.at_least(wide.sub(1.0, tail.value), 0.0)
    lower = wide.select(swapped, other, tail.value)
    # t too small or too large for its square
    lower = wide.select(inside, lower, wide.select(wide.lt(size, 1.0), 1.0, 0.0))
    lower = wide.mul(wide.select(allowed, lower, math.nan), 0.5)
    return narrowed(b, wide.select(wide.gt(t, 0.0), wide.sub(1.0, lower), lower))


def positive(b: Builder, p: Expr, q: Expr) -> Expr:
    """Whether both parameters are positive and finite."""
    finite = b.both(b.lt(p, math.inf), b.lt(q, math.inf))
    return b.both(b.both(b.gt(p, 0.0), b.gt(q, 0.0)), finite)


def is_ordinary(b: Builder, p: Expr, q: Expr, x: Expr) -> Expr:
    return b.both(positive(b, p, q), b.both(b.gt(x, 0.0), b.lt(x, 1.0)))


def edge(b: Builder, p: Expr, q: Expr, x: Expr, lower: bool) -> Expr:
    """The value where a parameter is 0 or infinite, or x is 0 or 1; nan outside."""
    none, whole = (0.0, 1.0) if lower else (1.0, 0.0)
    at_zero, at_one = (
        b.either(b.eq(p, 0.0), b.eq(q, math.inf)),
        b.either(b.eq(q, 0.0), b.eq(p, math.inf)),
    )
    allowed = b.both(b.both(b.ge(p, 0.0), b.ge(q, 0.0)), b.both(b.ge(x, 0.0), b.le(x, 1.0)))
    # all of the mass lies at 0, or at 1; where both hold there is no such distribution
    allowed = b.both(allowed, b.negated(b.both(at_zero, at_one)))
    inner = b.select(at_zero, whole, none)
    found = b.select(b.eq(x, 0.0), none, b.select(b.eq(x, 1.0), whole, inner))
    return b.select(allowed, found, math.nan)


# ---- the tail ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Point:
    """Where the function is wanted, x being below the mean: ``away`` is a - (a + b) x >= 0."""

    a: Number
    b: Number
    x: Number
    y: Number
    away: Number


def tails(
    n: Numbers, ordinary: Expr, p: Number, q: Number, x: Expr, y: Expr, dtype: str
) -> tuple[Number, Expr]:
    """The tail and whether it is that of 1 - I. ``y``: 1 - x; ``dtype``: how exact it is to be."""
    b, least = n.b, 1e-9 if dtype == "f32" else 2.0**-55
    p, q = choose(ordinary, p, 1.0), choose(ordinary, q, 1.0)
    x, y = b.select(ordinary, x, 0.5), b.select(ordinary, y, 0.5)
    away = distance(p, q, n.constant(x), n.constant(y))
    swapped = away < 0.0
    at = Point(
        choose(swapped, q, p),
        choose(swapped, p, q),
        n.constant(b.select(swapped, y, x)),
        n.constant(b.select(swapped, x, y)),
        abs(away),
    )
    near_one = b.both(at.a * at.y <= 1.5, at.y <= 0.3)
    enormous = b.both(p > ENORMOUS, q > ENORMOUS)
    both = b.both(at.a >= LARGE, at.b >= LARGE)
    # logarithms of x and y from the smaller one, which is exact
    low = at.x < at.y
    least_of = choose(low, at.x, at.y)
    short, long = log(least_of), log1p(-least_of)
    logs = choose(low, short, long), choose(low, long, short)
    by_series = n.where(near_one, 0.0, lambda: series_tail(n, near_one, at, logs[1], least))
    rest = b.negated(near_one)
    far = n.where(rest, 0.0, lambda: fraction_tail(n, rest, at, logs, both, enormous, least))
    return choose(near_one, by_series, far), swapped


def distance(p: Number, q: Number, x: Number, y: Number) -> Number:
    """p y - q x = p - (p + q) x, for x + y = 1, from the smaller of x and y."""
    b = p.b
    total, rest = b.two_sum(p.value, q.value)
    low = x < y
    side = b.select(low, b.neg(x.value), y.value)
    start = b.select(low, p.value, b.neg(q.value))
    value = b.fma(total, side, b.fma(rest, side, start))
    return Number(b, value, (p * y - q * x).slope)


def series_tail(n: Numbers, active: Expr, at: Point, log_y: Number, least: float) -> Number:
    """1 - I_y(b, a) = 1 - e^u (1 + b sum of (1 - a)_k y^k / (k! (b + k))), u small where b is."""
    b = n.b
    a, q, y = at.a, choose(active, at.b, 1.0), at.y
    low = q <= 1.5
    next_gamma = choose(low, lgamma_of_next(choose(low, q, 1.0)), lgamma(q + 1.0))
    growth = expm1(q * log_y + gamma_gap(a, q) - next_gamma)

    def step(total: Number, term: Number, k: Number) -> tuple[Expr, list[Number]]:
        for _ in range(2):
            k = k + 1.0
            below = q + k
            inverse = 1.0 / (k * below)
            term = term * (k - a) * (y * (inverse * below))
            added = term * (inverse * k)
            total = total + added
        # for whole a the terms end with a zero
        return b.both(active, matters(added, total, least)), [total, term, k]

    zero = n.constant(0.0)
    total = n.loop(active, [zero, n.constant(1.0), zero], step, steady=(2,))[0]
    return -growth - (growth + 1.0) * (q * total)


def gamma_gap(a: Number, d: Number) -> Number:
    """log gamma(a + d) - log gamma(a), with an error that is small next to d."""
    small = a < LARGE
    high = choose(small, a + LARGE, a)
    both = high + d
    ratio = d / high
    gap = (both - 0.5) * log1p(ratio) + d * (log(high) - 1.0) + stirling_gap(high, both, d)
    # the factors in between: product of (a + d + k) less that of (a + k), without a difference
    start = choose(small, a, 1.0)
    product, excess = start, d
    for k in range(1, int(LARGE)):
        here = start + float(k)
        excess = excess * (here + d) + product * d
        product = product * here
    return gap - choose(small, log1p(excess / product), 0.0)


def stirling_gap(low: Number, high: Number, d: Number) -> Number:
    """stirling(high) - stirling(low), high = low + d: u g(u^2) - v g(v^2) by divided differences,
    g the polynomial of Stirling's series, u = 1 / high, v = 1 / low."""
    u, v = 1.0 / high, 1.0 / low
    square_u, square_v = u * u, v * v
    coefficients = low.b.coefficients("stirling")
    value, quotient = low.lifted(coefficients[-1]), low.lifted(0.0)
    for c in reversed(coefficients[:-1]):
        quotient = quotient * square_v + value
        value = value * square_u + c
    return -(d * u * v) * (value + v * (u + v) * quotient)


def fraction_tail(
    n: Numbers,
    active: Expr,
    at: Point,
    logs: tuple[Number, Number],
    both: Expr,
    enormous: Expr,
    least: float,
) -> Number:
    """x^a y^b / B(a, b) times the continued fraction. ``both``: a and b are large."""
    b = n.b
    first = n.where(both, 0.0, lambda: near_mean(at, both, enormous))
    second = n.where(
        b.negated(both), 0.0, lambda: at.a * logs[0] + at.b * logs[1] - log_beta(n, at.a, at.b)
    )
    power = choose(both, first, second)
    alive = b.both(active, power > UNDERFLOW)
    total = at.a + at.b
    width = choose(both, at.a * (at.b / total), 1.0)
    front = exp(power) * choose(both, sqrt(width) * (1 / ROOT_TWO_PI), 1.0)
    steps = b.both(alive, b.negated(enormous))
    fraction = n.where(steps, 0.0, lambda: continued_fraction(n, steps, at, least))
    usual = front * fraction
    limit = b.both(alive, enormous)
    return choose(limit, n.where(limit, 0.0, lambda: uniform(at, power, limit)), usual)


def near_mean(at: Point, both: Expr, enormous: Expr) -> Number:
    """log(x^a y^b / B(a, b)) - log(a b / (2 pi (a + b))) / 2, without cancellation; of enormous
    parameters without Stirling's series, as the uniform expansion wants it."""
    a, q = choose(both, at.a, LARGE), choose(both, at.b, LARGE)
    correction = stirling(a) + stirling(q) - stirling(a + q)
    total = a + q
    in_x = curve(-at.away / a, at.x * total / a)
    in_y = curve(at.away / q, at.y * total / q)
    correction = stirling(a) + stirling(q) - stirling(total)
    return -(a * in_x + q * in_y) - choose(enormous, a.lifted(0.0), correction)


def curve(e: Number, ratio: Number) -> Number:
    """e - log(1 + e) for 1 + e = ``ratio`` > 0: near zero by log(1 + e) = 2 artanh(e / (2 + e))."""
    b = e.b
    near = b.both(e >= -0.6, e <= 1.0)
    inside = choose(near, e, 0.5)
    w = 1.0 / (inside + 2.0)
    s = inside * w
    series = polynomial(s * s, tuple(1 / (2 * k + 3) for k in range(24)))
    by_series = inside * s - 2.0 * (s * s * s) * series
    return choose(near, by_series, e - log(choose(near, e.lifted(1.0), ratio)))


def log_beta(n: Numbers, a: Number, q: Number) -> Number:
    """log B(a, b): log gamma of the smaller one, and the quotient of the other two."""
    first = a < q
    small, large = choose(first, a, q), choose(first, q, a)
    plain = large < LARGE
    far = choose(plain, large.lifted(LARGE), large)
    both = far + small
    power = (both - 0.5) * log1p(small / far)
    quotient = stirling(far) - stirling(both) - (power + small * (log(far) - 1.0))
    by_values = n.where(plain, 0.0, lambda: lgamma(large) - lgamma(large + small))
    return lgamma(small) + choose(plain, by_values, quotient)


def continued_fraction(n: Numbers, active: Expr, at: Point, least: float) -> Number:
    """I_x(a, b) B(a, b) / (x^a y^b), two steps between tests of two neighbouring convergents."""
    b = n.b
    a, q, x, away = at.a, at.b, at.x, at.away
    total, speed = a + q, at.y + 1.0

    def step(
        p1: Number, p0: Number, q1: Number, q0: Number, k: Number, inverse: Number
    ) -> tuple[Expr, list[Number]]:
        for _ in range(2):
            w = k * (q - k) * x
            before = k - 1.0
            alpha = ((a + before) * inverse) * ((total + before) * inverse) * (w * x)
            after = 1.0 / (a + k + k + 1.0)
            beta = k + w * inverse + ((a + k) * after) * (away + 1.0 + k * speed)
            p1, p0 = p1.fma(beta, p0 * alpha), p1
            q1, q0 = q1.fma(beta, q0 * alpha), q1
            inverse, k = after, k + 1.0
        scale = n.constant(b.select(b.gt(b.abs(q1.value), 2.0**300), 2.0**-300, 1.0))
        p1, p0, q1, q0 = (v * scale for v in (p1, p0, q1, q0))
        return b.both(active, unsettled(p1 * q0, p0 * q1, least)), [p1, p0, q1, q0, k, inverse]

    one, inverse = n.constant(1.0), 1.0 / (a + 1.0)
    start = [one, n.constant(0.0), a * (away + 1.0) * inverse, one, one, inverse]
    found = n.loop(active, start, step, steady=(4,))
    return found[0] / found[2]


def uniform(at: Point, power: Number, active: Expr) -> Number:
    """DLMF 8.18.9 with its first coefficient 1 / eta - sqrt(x0 (1 - x0)) / (x - x0), below the
    mean."""
    b = power.b
    a, q = choose(active, at.a, LARGE), choose(active, at.b, LARGE)
    total = a + q
    mean = a / total
    spread = sqrt(mean * (q / total))
    gap = at.away / total  # x0 - x
    half = choose(power < 0.0, -power, 0.0)
    z = sqrt(choose(half > 0.0, half, 1e-300))
    eta = z * sqrt(2.0 / total)
    apart = b.both(eta > 1e-8, gap > 0.0)
    beside = (1.0 - 2.0 * mean) / (3.0 * spread)
    first = spread / choose(apart, gap, 1.0) - 1.0 / choose(apart, eta, 1.0)
    correction = choose(apart, first, beside) / (sqrt(total) * ROOT_TWO_PI)
    return exp(power) * (erfcx(z) * 0.5 + correction)
