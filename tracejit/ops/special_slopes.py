"""Derivatives of special functions in their parameters, where no closed form exists.

    zeta_slope(x, q)                  d zeta(x, q) / dx
    betainc_grad_a(a, b, x)           d I_x(a, b) / da, term by term of a series of positive terms

Where a series is of no help the slope is a sixth-order central difference in float64: seven to
eleven digits. None of these has a derivative in the parameter again.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from tracejit.ir.prim import Primitive
from tracejit.ops import special, special_beta
from tracejit.ops.arith import add, mul, sub
from tracejit.ops.family import elementwise, scipy_special
from tracejit.ops.math import log
from tracejit.ops.special_family import unknown

#: weights of the values at 1, 2 and 3 steps on either side (Fornberg, 1988)
WEIGHTS = (3 / 4, -3 / 20, 1 / 60)


def difference(function: Callable[..., Any], k: int, step: Callable[..., Any]) -> Any:
    """A NumPy function: the slope of ``function`` in operand k, by differences of ``step(*xs)``."""

    def slope(*xs: Any) -> Any:
        xs = tuple(np.asarray(x, np.float64) for x in xs)
        h = step(*xs)
        total = 0.0
        for n, weight in enumerate(WEIGHTS, 1):
            above, below = (
                function(*[x + side * n * h if j == k else x for j, x in enumerate(xs)])
                for side in (1, -1)
            )
            total = total + weight * (above - below)
        return total / h

    return slope


def small_step(*xs: Any) -> Any:
    """Near the best for functions that vary by their own size over a distance of 1."""
    return np.asarray(0.0078125)


def _slope_record(
    name: str, of: str, k: int, operands: str, domain: Any, step: Callable[..., Any] = small_step
) -> Primitive:
    names = operands.split()
    return elementwise(
        name,
        difference(scipy_special(of), k, step),
        arity=len(names),
        kinds="f",
        heavy=True,
        jvp=tuple(unknown(name, operand) for operand in names),
        domain=domain,
        doc=f"The derivative of {of}({', '.join(names)}) with respect to {names[k]}.",
    )


def _before_the_pole(x: Any, *_: Any) -> Any:
    """zeta has its pole at x = 1."""
    return np.minimum(0.005, 0.02 * np.abs(x - 1))


zeta_slope = _slope_record(
    "zeta_slope", "zeta", 0, "x q", ((1.5, 4.0), (0.4, 4.0)), _before_the_pole
)
riemann_zeta_slope = elementwise(
    "riemann_zeta_slope",
    difference(scipy_special("zeta"), 0, _before_the_pole),
    kinds="f",
    heavy=True,
    jvp=(unknown("riemann_zeta_slope", "x"),),
    domain=(1.5, 4.0),
    doc="The derivative of Riemann's zeta function.",
)
_ABX = ((0.5, 2.0), (1.0, 3.0), (-1.5, 1.5))
_ABCX = ((0.5, 2.0), (0.5, 2.0), (1.0, 3.0), (-0.6, 0.6))
hyp1f1_slope_a = _slope_record("hyp1f1_slope_a", "hyp1f1", 0, "a b x", _ABX)
hyp1f1_slope_b = _slope_record("hyp1f1_slope_b", "hyp1f1", 1, "a b x", _ABX)
hyp2f1_slope_a = _slope_record("hyp2f1_slope_a", "hyp2f1", 0, "a b c x", _ABCX)
hyp2f1_slope_b = _slope_record("hyp2f1_slope_b", "hyp2f1", 1, "a b c x", _ABCX)
hyp2f1_slope_c = _slope_record("hyp2f1_slope_c", "hyp2f1", 2, "a b c x", _ABCX)

# ---- the incomplete beta function ----------------------------------------------------------------

#: shapes whose sum is larger have slopes smooth enough for differences
LARGE_SHAPES = 2e3
MOST_TERMS = 40_000


def _numpy_betainc_grad(a: Any, b: Any, x: Any, operand: int) -> Any:
    dtype = a.dtype
    a, b, x = (np.asarray(v, np.float64) for v in (a, b, x))
    valid = (a > 0) & (b > 0) & (a < np.inf) & (b < np.inf) & (x >= 0) & (x <= 1)
    inner = valid & (x > 0) & (x < 1)
    with np.errstate(all="ignore"):
        a1, b1, x1 = np.where(inner, a, 1.0), np.where(inner, b, 1.0), np.where(inner, x, 0.5)
        # I_x(a, b) = 1 - I_{1-x}(b, a) (DLMF 8.17.4): the side where the series is short
        swap = x1 > a1 / (a1 + b1)
        y1 = 1 - x1
        first = np.where(swap, b1, a1), np.where(swap, a1, b1)
        by_series = _betainc_slopes(*first, np.where(swap, y1, x1), np.where(swap, x1, y1))
        found = np.where(swap, -by_series[1 - operand], by_series[operand])
        betainc = scipy_special("betainc")
        of = difference(betainc, operand, lambda a, b, x: 1e-3 * (a, b)[operand] ** 0.5)
        found = np.where(a1 + b1 > LARGE_SHAPES, of(a1, b1, x1), found)
    return np.where(inner, found, np.where(valid, 0.0, np.nan)).astype(dtype)


def _betainc_slopes(a: Any, b: Any, x: Any, y: Any) -> tuple[Any, Any]:
    """dI/da and dI/db from I = x^a y^b / (a B(a, b)) * sum of (a+b)_n / (a+1)_n x^n, y = 1 - x.

    DLMF 8.17.8: all terms are positive.
    """
    psi, betaln = (getattr(importlib.import_module("scipy.special"), n) for n in ("psi", "betaln"))
    term, in_a, in_b = np.ones_like(a), np.zeros_like(a), np.zeros_like(a)
    total, total_a, total_b = term, in_a, in_b
    for n in range(MOST_TERMS):
        above, below = a + b + n, a + 1 + n
        ratio = above / below * x
        in_a = ratio * (in_a + term * (1 / above - 1 / below))
        in_b = ratio * (in_b + term / above)
        term = term * ratio
        total, total_a, total_b = total + term, total_a + in_a, total_b + in_b
        left = (np.abs(in_a) + in_b + term) * ratio
        if n % 8 == 7 and not np.any(left > 1e-17 * (1 - x) * (total + np.abs(total_a) + total_b)):
            break
    front = np.exp(a * np.log(x) + b * np.log(y) - np.log(a) - betaln(a, b))
    both = psi(a + b)
    slope_a = np.log(x) - 1 / a - psi(a) + both
    slope_b = np.log(y) - psi(b) + both
    return front * (total * slope_a + total_a), front * (total * slope_b + total_b)


def _betainc_grad(name: str, operand: int) -> Primitive:
    def across(dx: Any, y: Any, a: Any, b: Any, x: Any) -> Any:
        """The density, differentiated in the same parameter."""
        logarithm = log(sub(1, x) if operand else x)
        psi = sub(special.digamma(add(a, b)), special.digamma(b if operand else a))
        return mul(dx, mul(special_beta.beta_density(a, b, x), add(logarithm, psi)))

    return elementwise(
        name,
        lambda a, b, x: _numpy_betainc_grad(a, b, x, operand),
        arity=3,
        kinds="f",
        heavy=True,
        jvp=(unknown(name, "a"), unknown(name, "b"), across),
        domain=((0.5, 3.0), (0.5, 3.0), (0.1, 0.9)),
        doc=f"The derivative of betainc(a, b, x) with respect to {'ab'[operand]}.",
    )


betainc_grad_a = _betainc_grad("betainc_grad_a", 0)
betainc_grad_b = _betainc_grad("betainc_grad_b", 1)
