"""Values that may carry a derivative: what functions are written with that are wanted with theirs.

    n = Numbers(builder, differentiates=True)
    a = n.variable(expression)            # its slope is 1
    y = exp(a * 2.0 + 1.0)                # y.value, y.slope: expressions

The slope of what does not depend on the variable is None, and costs nothing: the same lines write
a function, and its derivative with respect to one operand (forward differentiation).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tracejit.ir.expr import Expr
from tracejit.kernel import math_exp, math_special
from tracejit.kernel.math_builder import Builder
from tracejit.record import dataclass

TWO_OVER_ROOT_PI = 1.1283791670955126


@dataclass(frozen=True, eq=False)
class Number:
    """A value and its slope, None where that is zero everywhere."""

    b: Builder
    value: Expr
    slope: Expr | None = None

    def lifted(self, other: Number | float) -> Number:
        return other if isinstance(other, Number) else Number(self.b, self.b.const(other))

    def __add__(self, other: Number | float) -> Number:
        other = self.lifted(other)
        return Number(self.b, self.b.add(self.value, other.value), plus(self, other))

    __radd__ = __add__

    def __sub__(self, other: Number | float) -> Number:
        other = self.lifted(other)
        slope = self.slope
        if other.slope is not None:
            slope = self.b.neg(other.slope) if slope is None else self.b.sub(slope, other.slope)
        return Number(self.b, self.b.sub(self.value, other.value), slope)

    def __rsub__(self, other: float) -> Number:
        return self.lifted(other) - self

    def __mul__(self, other: Number | float) -> Number:
        other = self.lifted(other)
        b = self.b
        slope = None if self.slope is None else b.mul(self.slope, other.value)
        if other.slope is not None:
            slope = (
                b.mul(other.slope, self.value)
                if slope is None
                else b.fma(other.slope, self.value, slope)
            )
        return Number(b, b.mul(self.value, other.value), slope)

    __rmul__ = __mul__

    def fma(self, factor: Number | float, term: Number | float) -> Number:
        """self factor + term, the value with one rounding."""
        factor, term = self.lifted(factor), self.lifted(term)
        slope = plus(self * factor, term)
        return Number(self.b, self.b.fma(self.value, factor.value, term.value), slope)

    def __truediv__(self, other: Number | float) -> Number:
        other = self.lifted(other)
        b, found = self.b, self.b.div(self.value, other.value)
        if self.slope is None and other.slope is None:
            return Number(b, found)
        top = self.slope
        if other.slope is not None:
            part = b.neg(found)
            top = b.mul(part, other.slope) if top is None else b.fma(part, other.slope, top)
        assert top is not None
        return Number(b, found, b.div(top, other.value))

    def __rtruediv__(self, other: float) -> Number:
        return self.lifted(other) / self

    def __neg__(self) -> Number:
        slope = None if self.slope is None else self.b.neg(self.slope)
        return Number(self.b, self.b.neg(self.value), slope)

    def __abs__(self) -> Number:
        size = self.b.abs(self.value)
        if self.slope is None:
            return Number(self.b, size)
        turned = self.b.select(self.b.lt(self.value, 0.0), self.b.neg(self.slope), self.slope)
        return Number(self.b, size, turned)

    def __lt__(self, other: Number | float) -> Expr:
        return self.b.lt(self.value, self.lifted(other).value)

    def __le__(self, other: Number | float) -> Expr:
        return self.b.le(self.value, self.lifted(other).value)

    def __gt__(self, other: Number | float) -> Expr:
        return self.b.gt(self.value, self.lifted(other).value)

    def __ge__(self, other: Number | float) -> Expr:
        return self.b.ge(self.value, self.lifted(other).value)

    def by_rule(self, value: Expr, derivative: Callable[[], Expr]) -> Number:
        """A function of this number with that value and derivative."""
        slope = None if self.slope is None else self.b.mul(self.slope, derivative())
        return Number(self.b, value, slope)


def plus(x: Number, y: Number) -> Expr | None:
    """The slope of x + y."""
    if x.slope is None or y.slope is None:
        return x.slope if y.slope is None else y.slope
    return x.b.add(x.slope, y.slope)


# ---- functions ----------------------------------------------------------------------------------


def exp(x: Number) -> Number:
    found = math_exp.exp(x.b, x.value)
    return x.by_rule(found, lambda: found)


def expm1(x: Number) -> Number:
    found = math_exp.expm1(x.b, x.value)
    return x.by_rule(found, lambda: x.b.add(found, 1.0))


def log(x: Number) -> Number:
    """log x for x positive and finite; the slope is bounded."""
    found = math_exp.log_positive(x.b, x.value)
    return x.by_rule(found, lambda: x.b.div(1.0, x.b.at_least(x.value, 1e-300)))


def log1p(x: Number) -> Number:
    found = math_exp.log1p(x.b, x.value)
    return x.by_rule(found, lambda: x.b.div(1.0, x.b.add(x.value, 1.0)))


def sqrt(x: Number) -> Number:
    found = x.b.sqrt(x.value)
    return x.by_rule(found, lambda: x.b.div(0.5, found))


def lgamma(x: Number) -> Number:
    """log gamma(x) for x positive."""
    found = math_special.lgamma_positive(x.b, x.value)
    return x.by_rule(found, lambda: math_special.digamma_positive(x.b, x.value))


def erfcx(x: Number) -> Number:
    """e^(x^2) erfc x for 0 <= x within the limit of ``erfcx_parts``."""
    b = x.b
    limited = b.at_most(x.value, math_special.erfcx_limit(b))
    quotient, rest, inverse = math_special.erfcx_parts(b, limited)
    found = b.fma(rest, inverse, quotient)
    twice = b.add(x.value, x.value)
    return x.by_rule(found, lambda: b.fma(twice, found, -TWO_OVER_ROOT_PI))


def polynomial(x: Number, coefficients: Sequence[float]) -> Number:
    """c[0] + c[1] x + ..."""
    found = x.b.horner(x.value, coefficients)
    slopes = tuple(k * c for k, c in enumerate(coefficients))[1:]
    return x.by_rule(found, lambda: x.b.horner(x.value, slopes or (0.0,)))


def choose(cond: Expr, x: Number, y: Number | float) -> Number:
    """x where ``cond`` holds, else y."""
    y = x.lifted(y)
    slope = None
    if x.slope is not None or y.slope is not None:
        slope = x.b.select(cond, *(0.0 if v.slope is None else v.slope for v in (x, y)))
    return Number(x.b, x.b.select(cond, x.value, y.value), slope)


# ---- branches and loops --------------------------------------------------------------------------


@dataclass(frozen=True)
class Numbers:
    """Makes numbers; ``differentiates``: whether they carry slopes."""

    b: Builder
    differentiates: bool = False

    def constant(self, value: Expr | float) -> Number:
        return Number(self.b, self.b.const(value))

    def variable(self, value: Expr) -> Number:
        """What is differentiated with respect to."""
        return Number(self.b, value, self.b.const(1.0) if self.differentiates else None)

    def where(self, cond: Expr, usual: float, rare: Callable[[], Number]) -> Number:
        """``rare()``, computed where ``cond`` holds only; the constant ``usual`` elsewhere."""
        start = self.flat((self.changing(self.constant(usual)),))

        def values() -> list[Expr]:
            return self.flat((rare(),))

        return self.packed(self.b.recorder.guarded(cond, start, values), (True,))[0]

    def loop(
        self,
        first: Expr,
        start: Sequence[Number],
        step: Callable[..., tuple[Expr, Sequence[Number]]],
        steady: Sequence[int] = (),
    ) -> list[Number]:
        """The state after steps from ``start``, while ``first`` and then the first result of
        ``step(*state)`` holds. ``steady``: parts of the state that have no slope.
        """
        moving = tuple(k not in steady for k in range(len(start)))
        begin = self.flat(
            [self.changing(x) if m else x for x, m in zip(start, moving, strict=True)]
        )

        def flat_step(*state: Expr) -> tuple[Expr, list[Expr]]:
            more, found = step(*self.packed(state, moving))
            return more, self.flat(
                [self.changing(x) if m else x for x, m in zip(found, moving, strict=True)]
            )

        return self.packed(self.b.recorder.repeated(first, begin, flat_step), moving)

    def changing(self, x: Number) -> Number:
        """x with a slope, be it zero."""
        if x.slope is not None or not self.differentiates:
            return x
        return Number(self.b, x.value, self.b.const(0.0))

    def flat(self, numbers: Sequence[Number]) -> list[Expr]:
        found = []
        for x in map(self.changing, numbers) if len(numbers) == 1 else numbers:
            found.append(x.value)
            if x.slope is not None:
                found.append(x.slope)
        return found

    def packed(self, values: Sequence[Expr], moving: Sequence[bool]) -> list[Number]:
        found, rest = [], iter(values)
        for m in moving:
            value = next(rest)
            found.append(Number(self.b, value, next(rest) if m and self.differentiates else None))
        return found
