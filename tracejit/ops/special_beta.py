"""The incomplete beta function, and the inverses of the incomplete gamma and beta functions.

    betainc(a, b, x)        -> I_x(a, b), the distribution function of the beta distribution
    igamma_inv(a, p)        -> the x for which igamma(a, x) = p
    betainc_inv(a, b, p)    -> the x for which betainc(a, b, x) = p

Derivatives of an inverse are those of the function it inverts, by the implicit function theorem.
"""

from __future__ import annotations

from typing import Any

from tracejit.ir.prim import Primitive
from tracejit.ops import special, special_slopes
from tracejit.ops.arith import add, div, mul, neg, sub
from tracejit.ops.math import exp
from tracejit.ops.special_family import from_scipy
from tracejit.ops.special_logs import lbeta, xlog1py, xlogy


def beta_density(a: Any, b: Any, x: Any) -> Any:
    """The density of the beta distribution: dI_x(a, b)/dx."""
    powers = add(xlogy(sub(a, 1), x), xlog1py(sub(b, 1), neg(x)))
    return exp(sub(powers, lbeta(a, b)))


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


def _betainc_inverse(name: str, scipy: str, sign: Any, doc: str) -> Primitive:
    return from_scipy(
        name,
        scipy,
        (
            lambda da, x, a, b, p: neg(mul(da, div(special_slopes.betainc_grad_a(a, b, x), beta_density(a, b, x)))),
            lambda db, x, a, b, p: neg(mul(db, div(special_slopes.betainc_grad_b(a, b, x), beta_density(a, b, x)))),
            lambda dp, x, a, b, p: sign(div(dp, beta_density(a, b, x))),
        ),
        arity=3,
        domain=((0.7, 3.0), (0.7, 3.0), (0.2, 0.8)),
        doc=doc,
    )


def _igamma_inverse(name: str, scipy: str, sign: Any, doc: str) -> Primitive:
    return from_scipy(
        name,
        scipy,
        (
            lambda da, x, a, p: neg(mul(da, div(special.igamma_grad_a(a, x), special.gamma_density(a, x)))),
            lambda dp, x, a, p: sign(div(dp, special.gamma_density(a, x))),
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
igammac_inv = _igamma_inverse(
    "igammac_inv", "gammainccinv", neg, "The x with igammac(a, x) = p."
)
