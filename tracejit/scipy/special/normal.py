"""Error functions and the normal distribution's functions.

    >>> ndtr(jnp.array([-jnp.inf, 0.0, jnp.inf]))
    Array([0. , 0.5, 1. ], dtype=float32)

Operands are real (else DTypeError); integers compute in the default float.
"""

from __future__ import annotations

import math
from typing import Any

from tracejit.frontend import elementwise as ew
from tracejit.frontend.array import Array
from tracejit.frontend.promotion import convert, to_inexact
from tracejit.ir.types import complex_dtype, kind
from tracejit.ops import special as records
from tracejit.ops import special_logs, special_more
from tracejit.scipy.special.operands import reals, special, whole

_ROOT_HALF = math.sqrt(0.5)


def erf(x: Any) -> Array:
    """The error function: 2 / sqrt(pi) times the integral of exp(-t**2) from 0 to x (DLMF 7.2.1).

    >>> erf(jnp.array([-jnp.inf, 0.0, jnp.inf]))
    Array([-1.,  0.,  1.], dtype=float32)
    """
    return special(records.erf, "erf", x)


def erfc(x: Any) -> Array:
    """1 - erf(x), precise for large x.

    >>> erfc(jnp.array([0.0, jnp.inf]))
    Array([1., 0.], dtype=float32)
    """
    return special(records.erfc, "erfc", x)


def erfcx(x: Any) -> Array:
    """exp(x**2) erfc(x), which falls as 1 / x where erfc underflows (DLMF 7.2.3).

    >>> erfcx(jnp.array([0.0, jnp.inf]))
    Array([1., 0.], dtype=float32)
    """
    return special(special_logs.erfcx, "erfcx", x)


def erfinv(x: Any) -> Array:
    """The inverse of ``erf``; nan outside [-1, 1].

    >>> erfinv(jnp.array([-1.0, 0.0, 1.0]))
    Array([-inf,   0.,  inf], dtype=float32)
    """
    return special(records.erf_inv, "erfinv", x)


def erfcinv(x: Any) -> Array:
    """The inverse of ``erfc``, precise near 0; nan outside [0, 2].

    >>> erfcinv(jnp.array([0.0, 1.0, 2.0]))
    Array([ inf,  -0., -inf], dtype=float32)
    """
    (x,) = reals("erfcinv", x)
    half = ew.run(special_logs.ndtri, ew.multiply(x, 0.5))
    return ew.multiply(half, -_ROOT_HALF)  # type: ignore[no-any-return]


def dawsn(x: Any) -> Array:
    """Dawson's integral: exp(-x**2) times that of exp(t**2) from 0 to x (DLMF 7.2.5).

    >>> dawsn(jnp.array([0.0, jnp.inf]))
    Array([0., 0.], dtype=float32)
    """
    return special(special_logs.dawsn, "dawsn", x)


def wofz(z: Any) -> Array:
    """The Faddeeva function exp(-z**2) erfc(-i z), complex (DLMF 7.2.3).

    >>> wofz(0.0)
    Array(1.+0.j, dtype=complex64)
    """
    z = to_inexact(z)
    if kind(z.dtype) != "c":
        z = convert(z, complex_dtype(z.dtype), weak=z._weak)
    return ew.run(special_more.wofz, z)  # type: ignore[no-any-return]


def ndtr(x: Any) -> Array:
    """The normal distribution function, erfc(-x / sqrt(2)) / 2.

    >>> ndtr(jnp.array([-jnp.inf, 0.0, jnp.inf]))
    Array([0. , 0.5, 1. ], dtype=float32)
    """
    (x,) = reals("ndtr", x)
    return ew.multiply(ew.run(records.erfc, ew.multiply(x, -_ROOT_HALF)), 0.5)  # type: ignore[no-any-return]


def ndtri(p: Any) -> Array:
    """The inverse of ``ndtr``; nan outside [0, 1].

    >>> ndtri(jnp.array([0.0, 0.5, 1.0]))
    Array([-inf,   0.,  inf], dtype=float32)
    """
    return special(special_logs.ndtri, "ndtri", p)


def log_ndtr(x: Any, series_order: int = 3) -> Array:
    """log(ndtr(x)), precise in both tails.

    ``series_order``, a positive int as in JAX, changes nothing: no series is cut here.

    >>> log_ndtr(jnp.array([-1e10, 0.0, 100.0])).round(2)
    Array([-5.0e+19, -6.9e-01, -0.0e+00], dtype=float32)
    """
    whole("log_ndtr", "series_order", series_order)
    return special(special_logs.log_ndtr, "log_ndtr", x)


def owens_t(h: Any, a: Any) -> Array:
    """Owen's T: the chance that X > h and 0 < Y < a X, X and Y standard normal (Owen, 1956).

    >>> owens_t(0.0, 1.0)
    Array(0.125, dtype=float32)
    """
    return special(special_more.owens_t, "owens_t", h, a)
