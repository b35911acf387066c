"""The incomplete beta function, and the inverses of the incomplete gamma and beta functions.

    betainc(a, b, x)        -> I_x(a, b), the distribution function of the beta distribution
    igamma_inv(a, p)        -> the x for which igamma(a, x) = p
    betainc_inv(a, b, p)    -> the x for which betainc(a, b, x) = p

Derivatives of an inverse are those of the function it inverts, by the implicit function theorem.
"""

from __future__ import annotations

from typing import Any

from tracejit.ir.build import full_like
from tracejit.ir.prim import Primitive
from tracejit.ops import powers, special, special_slopes
from tracejit.ops.arith import abs_, add, div, mul, neg, sign, sub
from tracejit.ops.logic import lt, select
from tracejit.ops.math import exp, log, log1p
from tracejit.ops.special_family import from_scipy
from tracejit.ops.special_logs import lbeta, xlog1py, xlogy


def beta_density(a: Any, b: Any, x: Any) -> Any:
    """The density of the beta distribution: dI_x(a, b)/dx."""
    product = add(xlogy(sub(a, 1), x), xlog1py(sub(b, 1), neg(x)))
    return exp(sub(product, lbeta(a, b)))


_SHAPES = ((0.5, 3.0), (0.5, 3.0), (0.1, 0.9))


betainc = from_scipy(
    "betainc",
    "betainc",
    (
        lambda da, y, a, b, x: mul(da, special_slopes.betainc_grad_a(a, b, x)),
        lambda db, y, a, b, x: mul(db, special_slopes.betainc_grad_b(a, b, x)),
        lambda dx, y, a, b, x: mul(dx, beta_density(a, b, x)),
    ),
    arity=3,
    domain=_SHAPES,
    doc="The regularised incomplete beta function I_x(a, b).",
)
betaincc = from_scipy(
    "betaincc",
    "betaincc",
    (
        lambda da, y, a, b, x: neg(mul(da, special_slopes.betainc_grad_a(a, b, x))),
        lambda db, y, a, b, x: neg(mul(db, special_slopes.betainc_grad_b(a, b, x))),
        lambda dx, y, a, b, x: neg(mul(dx, beta_density(a, b, x))),
    ),
    arity=3,
    domain=_SHAPES,
    doc="1 - betainc(a, b, x), precise where that is small.",
)


def _betainc_inverse(name: str, scipy: str, signed: Any, doc: str) -> Primitive:
    return from_scipy(
        name,
        scipy,
        (
            lambda da, x, a, b, p: neg(
                mul(da, div(special_slopes.betainc_grad_a(a, b, x), beta_density(a, b, x)))
            ),
            lambda db, x, a, b, p: neg(
                mul(db, div(special_slopes.betainc_grad_b(a, b, x), beta_density(a, b, x)))
            ),
            lambda dp, x, a, b, p: signed(div(dp, beta_density(a, b, x))),
        ),
        arity=3,
        domain=((0.7, 3.0), (0.7, 3.0), (0.2, 0.8)),
        doc=doc,
    )


def _igamma_inverse(name: str, scipy: str, signed: Any, doc: str) -> Primitive:
    return from_scipy(
        name,
        scipy,
        (
            lambda da, x, a, p: neg(
                mul(da, div(special.igamma_grad_a(a, x), special.gamma_density(a, x)))
            ),
            lambda dp, x, a, p: signed(div(dp, special.gamma_density(a, x))),
        ),
        arity=2,
        domain=((0.7, 4.0), (0.2, 0.8)),
        doc=doc,
    )


def _same(x: Any) -> Any:
    return x


betainc_inv = _betainc_inverse(
    "betainc_inv", "betaincinv", _same, "The x with betainc(a, b, x) = p: the beta quantile."
)
betaincc_inv = _betainc_inverse(
    "betaincc_inv", "betainccinv", neg, "The x with betaincc(a, b, x) = p."
)
igamma_inv = _igamma_inverse(
    "igamma_inv", "gammaincinv", _same, "The x with igamma(a, x) = p: the gamma quantile."
)
igammac_inv = _igamma_inverse("igammac_inv", "gammainccinv", neg, "The x with igammac(a, x) = p.")

# ---- Student's t distribution --------------------------------------------------------------------

#: more degrees of freedom than this are as good as infinitely many
MOST_DEGREES = 1e30


def student_density(df: Any, t: Any) -> Any:
    """The density of Student's t distribution."""
    n = select(lt(df, full_like(df, MOST_DEGREES)), df, full_like(df, MOST_DEGREES))
    fall = mul(mul(add(n, 1), 0.5), log1p(div(mul(t, t), n)))
    half = mul(n, 0.5)
    return exp(neg(add(add(fall, mul(log(n), 0.5)), lbeta(half, full_like(half, 0.5)))))


def _student_slope(df: Any, t: Any) -> Any:
    """dF(t)/d df from F = 1 - I_y(df / 2, 1 / 2) / 2 for t > 0, y = df / (df + t^2)."""
    square = mul(t, t)
    total, half = add(df, square), mul(df, 0.5)
    in_a = mul(special_slopes.betainc_grad_a(half, full_like(half, 0.5), div(df, total)), 0.5)
    # the density at y times dy/d df, its powers of 1 - y = t^2 / (df + t^2) put together
    logarithm = mul(sub(1, half), log1p(div(square, df)))
    front = exp(sub(logarithm, lbeta(half, full_like(half, 0.5))))
    in_y = mul(front, div(abs_(t), mul(total, powers.sqrt(total))))
    return mul(mul(sign(t), -0.5), add(in_a, in_y))


student_cdf = from_scipy(
    "student_cdf",
    "stdtr",
    (
        lambda dn, y, df, t: mul(dn, _student_slope(df, t)),
        lambda dt, y, df, t: mul(dt, student_density(df, t)),
    ),
    arity=2,
    domain=((0.7, 5.0), (-2.0, 2.0)),
    doc="The distribution function of Student's t distribution with df degrees of freedom.",
)
student_quantile = from_scipy(
    "student_quantile",
    "stdtrit",
    (
        lambda dn, t, df, p: neg(mul(dn, div(_student_slope(df, t), student_density(df, t)))),
        lambda dp, t, df, p: div(dp, student_density(df, t)),
    ),
    arity=2,
    domain=((0.7, 5.0), (0.2, 0.8)),
    doc="The inverse of student_cdf in its second operand.",
)
