"""Gamma and its quotients, exponential and Fresnel integrals, hypergeometric and Bessel functions.

    gamma(x), poch(z, m)              expi(x), exp1(x), expn(n, x), sine_integral(x) ...
    hyp1f1(a, b, x), hyp2f1(...)      bessel_j(n, x), spherical_legendre(n, m, theta)
    wofz(z: c128[3]), loggamma(z)     of complex numbers

SciPy gives the meaning; derivatives are those of the Digital Library of Mathematical Functions.
"""

from __future__ import annotations

import importlib
import math as scalar_math
from typing import Any

import numpy as np

from tracejit.ir.build import full_like
from tracejit.ir.types import DTYPES, TensorType
from tracejit.ops import powers, special_slopes
from tracejit.ops.arith import abs_, add, div, mul, neg, sub
from tracejit.ops.family import elementwise, scipy_special
from tracejit.ops.logic import eq, lt, select
from tracejit.ops.math import cos, exp, log, sin
from tracejit.ops.special import digamma, erf
from tracejit.ops.special_family import ROOT_PI, from_scipy, unknown

ROOT_HALF = scalar_math.sqrt(0.5)

# ---- gamma ---------------------------------------------------------------------------------------

gamma = from_scipy(
    "gamma",
    "gamma",
    lambda dx, y, x: mul(dx, mul(y, digamma(x))),
    domain=(0.3, 4.0),
    doc="The gamma function.",
)


def _poch_dz(dz: Any, y: Any, z: Any, m: Any) -> Any:
    return mul(dz, mul(y, sub(digamma(add(z, m)), digamma(z))))


poch = from_scipy(
    "poch",
    "poch",
    (_poch_dz, lambda dm, y, z, m: mul(dm, mul(y, digamma(add(z, m))))),
    arity=2,
    domain=((0.5, 3.0), (0.5, 3.0)),
    doc="gamma(z + m) / gamma(z).",
)


def _complex(name: str, scipy: str, jvp: Any, doc: str) -> Any:
    def meaning(z: Any) -> Any:
        return getattr(importlib.import_module("scipy.special"), scipy)(z)

    return elementwise(name, meaning, kinds="c", heavy=True, jvp=jvp, domain=(0.4, 2.5), doc=doc)


loggamma = _complex(
    "loggamma",
    "loggamma",
    lambda dz, y, z: mul(dz, complex_digamma(z)),
    "The logarithm of gamma, of complex numbers, with its branch cut on the negative axis.",
)
complex_digamma = _complex(
    "complex_digamma",
    "psi",
    (unknown("complex_digamma", "z"),),
    "The derivative of loggamma.",
)
wofz = _complex(
    "wofz",
    "wofz",
    lambda dz, y, z: mul(dz, sub(full_like(z, 2j / ROOT_PI), mul(mul(z, y), 2))),  # DLMF 7.10.2
    "The Faddeeva function exp(-z^2) erfc(-i z).",
)

# ---- zeta ----------------------------------------------------------------------------------------

riemann_zeta = from_scipy(
    "riemann_zeta",
    "zeta",
    lambda dx, y, x: mul(dx, special_slopes.riemann_zeta_slope(x)),
    domain=(1.5, 4.0),
    doc="Riemann's zeta function.",
)

# ---- exponential and trigonometric integrals -----------------------------------------------------

expi = from_scipy(
    "expi",
    "expi",
    lambda dx, y, x: mul(dx, div(exp(x), x)),
    domain=(0.3, 3.0),
    doc="The principal value of the integral of exp(t) / t from -inf to x.",
)
exp1 = from_scipy(
    "exp1",
    "exp1",
    lambda dx, y, x: neg(mul(dx, div(exp(neg(x)), x))),
    domain=(0.3, 3.0),
    doc="The integral of exp(-t) / t from x to inf.",
)


def _numpy_expn(n: Any, x: Any) -> Any:
    """Also for n <= 0: E_{-m}(x) = m! Q(m + 1, x) / x^(m + 1) (DLMF 8.19.1)."""
    whole = n == np.floor(n)
    usual = scipy_special("expn")(np.where(whole, n, 0).astype(x.dtype), x)
    m = np.where(n <= 0, -n, 0)
    other = scipy_special("gamma")(m + 1) * scipy_special("gammaincc")(m + 1, x) / x ** (m + 1)
    found = np.where(n <= 0, np.where(x == 0, np.inf, other), usual)
    return np.where(whole, found, np.nan)


def _whole_orders() -> list[Any]:
    orders = np.array([-1.0, 0.0, 1.0, 2.0, 5.0])
    types = [TensorType(DTYPES[name], (5,)) for name in ("f32", "f64")]
    empty = TensorType(DTYPES["f32"], (0,))
    return [*(((t, t), {}, (orders, None)) for t in types), ((empty, empty), {})]


expn = elementwise(
    "expn",
    _numpy_expn,
    arity=2,
    kinds="f",
    heavy=True,
    jvp=(
        unknown("expn", "n"),
        lambda dx, y, n, x: neg(mul(dx, expn(sub(n, 1), x))),  # DLMF 8.19.13
    ),
    domain=((1.0, 3.0), (0.3, 3.0)),
    cases=_whole_orders,
    doc="The integral of exp(-x t) / t^n from 1 to inf, for whole n.",
)


def _part(name: str, k: int) -> Any:
    """One of the two results of a function of scipy.special."""
    return lambda x: scipy_special(name)(x)[k] if x.dtype.itemsize > 2 else _narrow(name, k, x)


def _narrow(name: str, k: int, x: Any) -> Any:
    return scipy_special(name)(x.astype(np.float32))[k]


def _integral(name: str, scipy: str, k: int, jvp: Any, doc: str, domain: Any) -> Any:
    return elementwise(
        name, _part(scipy, k), kinds="f", heavy=True, jvp=jvp, domain=domain, doc=doc
    )


def _over_x(dx: Any, top: Any, x: Any, limit: float) -> Any:
    """dx top / x, with its limit at 0."""
    zero = eq(x, full_like(x, 0))
    return mul(dx, select(zero, full_like(x, limit), div(top, x)))


def _angle(x: Any) -> Any:
    return mul(mul(x, x), scalar_math.pi / 2)


sine_integral = _integral(
    "sine_integral",
    "sici",
    0,
    lambda dx, y, x: _over_x(dx, sin(x), x, 1.0),
    "The integral of sin(t) / t from 0 to x.",
    (-3.0, 3.0),
)
cosine_integral = _integral(
    "cosine_integral",
    "sici",
    1,
    lambda dx, y, x: _over_x(dx, cos(x), x, scalar_math.inf),
    "Euler's constant + log x + the integral of (cos(t) - 1) / t from 0 to x.",
    (0.3, 3.0),
)
fresnel_sine = _integral(
    "fresnel_sine",
    "fresnel",
    0,
    lambda dx, y, x: mul(dx, sin(_angle(x))),
    "The integral of sin(pi t^2 / 2) from 0 to x.",
    (-3.0, 3.0),
)
fresnel_cosine = _integral(
    "fresnel_cosine",
    "fresnel",
    1,
    lambda dx, y, x: mul(dx, cos(_angle(x))),
    "The integral of cos(pi t^2 / 2) from 0 to x.",
    (-3.0, 3.0),
)


def _spence_dx(dx: Any, y: Any, x: Any) -> Any:
    """log(x) / (1 - x) (DLMF 25.12.2), -1 + (x - 1) / 2 near 1."""
    gap = sub(x, 1)
    near = lt(abs_(gap), full_like(x, 1e-6))
    safe = select(near, full_like(x, 2), x)
    slope = neg(div(log(safe), sub(safe, 1)))
    return mul(dx, select(near, sub(mul(gap, 0.5), 1), slope))


spence = from_scipy(
    "spence",
    "spence",
    _spence_dx,
    domain=(0.2, 3.0),
    doc="The dilogarithm of 1 - x: the integral of log(t) / (1 - t) from 1 to x.",
)


def _owens_dh(dh: Any, y: Any, h: Any, a: Any) -> Any:
    density = mul(exp(mul(mul(h, h), -0.5)), -0.5 / scalar_math.sqrt(2 * scalar_math.pi))
    return mul(dh, mul(density, erf(mul(mul(a, h), ROOT_HALF))))


def _owens_da(da: Any, y: Any, h: Any, a: Any) -> Any:
    width = add(mul(a, a), 1)
    top = exp(mul(mul(mul(h, h), width), -0.5))
    return mul(da, div(top, mul(width, 2 * scalar_math.pi)))


owens_t = from_scipy(
    "owens_t",
    "owens_t",
    (_owens_dh, _owens_da),  # Owen, "A table of normal integrals" (1980), 10,010.1
    arity=2,
    doc="Owen's T: the integral of exp(-h^2 (1 + t^2) / 2) / (1 + t^2) / (2 pi) from 0 to a.",
)

# ---- hypergeometric functions --------------------------------------------------------------------

hyp1f1 = from_scipy(
    "hyp1f1",
    "hyp1f1",
    (
        lambda da, y, a, b, x: mul(da, special_slopes.hyp1f1_slope_a(a, b, x)),
        lambda db, y, a, b, x: mul(db, special_slopes.hyp1f1_slope_b(a, b, x)),
        # DLMF 13.3.15
        lambda dx, y, a, b, x: mul(dx, mul(div(a, b), hyp1f1(add(a, 1), add(b, 1), x))),
    ),
    arity=3,
    domain=((0.5, 2.0), (1.0, 3.0), (-1.5, 1.5)),
    doc="Kummer's confluent hypergeometric function 1F1(a; b; x).",
)


def _hyp2f1_dx(dx: Any, y: Any, a: Any, b: Any, c: Any, x: Any) -> Any:
    """a b / c times the function with each parameter one up (DLMF 15.5.1)."""
    return mul(dx, mul(div(mul(a, b), c), hyp2f1(add(a, 1), add(b, 1), add(c, 1), x)))


hyp2f1 = from_scipy(
    "hyp2f1",
    "hyp2f1",
    (
        lambda da, y, a, b, c, x: mul(da, special_slopes.hyp2f1_slope_a(a, b, c, x)),
        lambda db, y, a, b, c, x: mul(db, special_slopes.hyp2f1_slope_b(a, b, c, x)),
        lambda dc, y, a, b, c, x: mul(dc, special_slopes.hyp2f1_slope_c(a, b, c, x)),
        _hyp2f1_dx,
    ),
    arity=4,
    domain=((0.5, 2.0), (0.5, 2.0), (1.0, 3.0), (-0.6, 0.6)),
    doc="Gauss's hypergeometric function 2F1(a, b; c; x).",
)

# ---- Bessel functions and spherical harmonics ----------------------------------------------------


def _bessel_j_dx(dx: Any, y: Any, n: Any, x: Any) -> Any:
    """Half the difference of the neighbours (DLMF 10.6.1); J_{-1} is -J_1."""
    return mul(dx, mul(sub(bessel_j(sub(n, 1), x), bessel_j(add(n, 1), x)), 0.5))


bessel_j = from_scipy(
    "bessel_j",
    "jv",
    (unknown("bessel_j", "n"), _bessel_j_dx),
    arity=2,
    cases=_whole_orders,
    doc="The Bessel function of the first kind, of order n.",
)


def _numpy_spherical(n: Any, m: Any, theta: Any) -> Any:
    legendre = importlib.import_module("scipy.special").sph_legendre_p
    whole = (np.asarray(n, np.int64), np.asarray(m, np.int64))
    inside = (np.abs(whole[1]) <= whole[0]) & (whole[0] >= 0)
    degree, order = np.where(inside, whole[0], 0), np.where(inside, whole[1], 0)
    return np.where(inside, legendre(degree, order, np.asarray(theta, np.float64))[0], 0.0)


def _spherical_dtheta(dt: Any, y: Any, n: Any, m: Any, theta: Any) -> Any:
    """Half the difference of the neighbours in m: the ladder operators of angular momentum
    (Varshalovich et al., "Quantum Theory of Angular Momentum" (1988), 5.8.2).
    """
    up = powers.sqrt(mul(sub(n, m), add(add(n, m), 1)))
    down = powers.sqrt(mul(add(n, m), add(sub(n, m), 1)))
    above = mul(up, spherical_legendre(n, add(m, 1), theta))
    below = mul(down, spherical_legendre(n, sub(m, 1), theta))
    return mul(dt, mul(sub(above, below), 0.5))


def _cases_spherical() -> list[Any]:
    n, m = np.array([0.0, 1.0, 2.0, 3.0, 4.0]), np.array([0.0, -1.0, 1.0, 3.0, -2.0])
    types = [TensorType(DTYPES[name], (5,)) for name in ("f32", "f64")]
    empty = TensorType(DTYPES["f32"], (0,))
    return [*(((t, t, t), {}, (n, m, None)) for t in types), ((empty,) * 3, {})]


spherical_legendre = elementwise(
    "spherical_legendre",
    _numpy_spherical,
    arity=3,
    kinds="f",
    heavy=True,
    jvp=(
        unknown("spherical_legendre", "n"),
        unknown("spherical_legendre", "m"),
        _spherical_dtheta,
    ),
    domain=((0.0, 4.0), (0.0, 1.0), (0.3, 2.8)),
    cases=_cases_spherical,
    doc="The associated Legendre function of cos(theta), normalised for spherical harmonics.",
)
