"""Exponential, trigonometric and Fresnel integrals, Bessel and hypergeometric functions, spherical
harmonics.

    >>> i0(jnp.array([0.0]))
    Array([1.], dtype=float32)

Operands broadcast, are real (else DTypeError) and compute in the default float where they are
integers.
"""

from __future__ import annotations

from typing import Any

from tracejit.errors import ArgumentError, DTypeError
from tracejit.frontend import elementwise as ew
from tracejit.frontend import promotion, shaping
from tracejit.frontend.array import Array, as_array
from tracejit.ir.types import kind
from tracejit.ops import special as records
from tracejit.ops import special_more
from tracejit.scipy.special.operands import reals, special, whole
from tracejit.source import here

# ---- integrals -----------------------------------------------------------------------------------


def expi(x: Any) -> Array:
    """The exponential integral Ei: the principal value of that of exp(t) / t from -inf to x
    (DLMF 6.2.5).

    >>> expi(jnp.array([0.0, 1.0])).round(4)
    Array([  -inf, 1.8951], dtype=float32)
    """
    return special(special_more.expi, "expi", x)


def exp1(x: Any) -> Array:
    """The exponential integral E1: that of exp(-t) / t from x to inf (DLMF 6.2.1).

    >>> exp1(jnp.array([0.0, 1.0])).round(4)
    Array([   inf, 0.2194], dtype=float32)
    """
    return special(special_more.exp1, "exp1", x)


def expn(n: Any, x: Any) -> Array:
    """The integral of exp(-x t) / t**n from 1 to inf, for whole n (DLMF 8.19.3).

    nan where n is not whole; no derivative in n (MissingRule).

    >>> expn(2, jnp.array([0.0, 1.0])).round(4)
    Array([1.    , 0.1485], dtype=float32)
    """
    return special(special_more.expn, "expn", n, x)


def sici(x: Any) -> tuple[Array, Array]:
    """The sine and the cosine integral, Si(x) and Ci(x) (DLMF 6.2.9 and 6.2.11).

    Ci of a negative number is that of its absolute value.

    >>> sine, cosine = sici(jnp.array([0.0]))
    >>> sine, cosine
    (Array([0.], dtype=float32), Array([-inf], dtype=float32))
    """
    (x,) = reals("sici", x)
    return ew.run(special_more.sine_integral, x), ew.run(special_more.cosine_integral, x)


def fresnel(x: Any) -> tuple[Array, Array]:
    """The integrals of sin(pi t**2 / 2) and of cos(pi t**2 / 2) from 0 to x (DLMF 7.2.7, 7.2.8).

    >>> fresnel(jnp.array([jnp.inf]))
    (Array([0.5], dtype=float32), Array([0.5], dtype=float32))
    """
    (x,) = reals("fresnel", x)
    return ew.run(special_more.fresnel_sine, x), ew.run(special_more.fresnel_cosine, x)


def spence(x: Any) -> Array:
    """Spence's function: the integral of log(t) / (1 - t) from 1 to x, nan for negative x.

    It is the dilogarithm of 1 - x (DLMF 25.12.2).

    >>> spence(jnp.array([1.0]))
    Array([0.], dtype=float32)
    """
    return special(special_more.spence, "spence", x)


# ---- Bessel functions ----------------------------------------------------------------------------


def i0e(x: Any) -> Array:
    """exp(-|x|) i0(x), which does not overflow.

    >>> i0e(jnp.array([0.0, jnp.inf]))
    Array([1., 0.], dtype=float32)
    """
    return special(records.bessel_i0e, "i0e", x)


def i1e(x: Any) -> Array:
    """exp(-|x|) i1(x), which does not overflow.

    >>> i1e(jnp.array([0.0, jnp.inf]))
    Array([0., 0.], dtype=float32)
    """
    return special(records.bessel_i1e, "i1e", x)


def _unscaled(scaled: Array, x: Array) -> Array:
    """exp(|x|) times a scaled value, inf where |x| is."""
    grown = ew.multiply(ew.exp(ew.absolute(x)), scaled)
    return ew.select(ew.isinf(x), x, grown)  # type: ignore[no-any-return]


def i0(x: Any) -> Array:
    """The modified Bessel function of the first kind, of order 0 (DLMF 10.25.2).

    >>> i0(jnp.array([0.0]))
    Array([1.], dtype=float32)
    """
    (x,) = reals("i0", x)
    return ew.absolute(_unscaled(ew.run(records.bessel_i0e, x), x))  # type: ignore[no-any-return]


def i1(x: Any) -> Array:
    """The modified Bessel function of the first kind, of order 1 (DLMF 10.25.2).

    >>> i1(jnp.array([0.0]))
    Array([0.], dtype=float32)
    """
    (x,) = reals("i1", x)
    return _unscaled(ew.run(records.bessel_i1e, x), x)


def bessel_jn(z: Any, *, v: int, n_iter: int = 50) -> Array:
    """The Bessel functions of the first kind J_0 to J_v of z, stacked: shape (v + 1, *z.shape).

    ``v`` and ``n_iter`` are static whole numbers; the latter, JAX's number of steps of a
    recurrence, changes nothing here. Raises ArgumentError otherwise, DTypeError unless z is
    floating.

    >>> bessel_jn(jnp.array([0.0]), v=1)
    Array([[1.],
           [0.]], dtype=float32)
    """
    v, _ = whole("bessel_jn", "v", v), whole("bessel_jn", "n_iter", n_iter, 1)
    (z,) = reals("bessel_jn", z)
    orders = [promotion.spread(n, z.type, weak=z._weak) for n in range(v + 1)]
    return shaping.stack([ew.run(special_more.bessel_j, n, z) for n in orders])  # type: ignore[no-any-return]


# ---- hypergeometric functions --------------------------------------------------------------------


def hyp1f1(a: Any, b: Any, x: Any) -> Array:
    """Kummer's function 1F1(a; b; x) (DLMF 13.2.2).

    Derivatives in a and b are difference quotients, good to about ten digits.

    >>> hyp1f1(1.0, 1.0, jnp.array([0.0]))
    Array([1.], dtype=float32)
    """
    return special(special_more.hyp1f1, "hyp1f1", a, b, x)


def hyp2f1(a: Any, b: Any, c: Any, x: Any) -> Array:
    """Gauss's function 2F1(a, b; c; x) (DLMF 15.2.1).

    Derivatives in a, b and c are difference quotients, good to about ten digits.

    >>> hyp2f1(1.0, 1.0, 1.0, jnp.array([0.5]))
    Array([2.], dtype=float32)
    """
    return special(special_more.hyp2f1, "hyp2f1", a, b, c, x)


# ---- spherical harmonics -------------------------------------------------------------------------


def sph_harm_y(
    n: Any, m: Any, theta: Any, phi: Any, diff_n: int | None = None, n_max: int | None = None
) -> Array:
    """The spherical harmonic of degree n and order m at polar angle theta and azimuth phi, complex
    (DLMF 14.30.1).

    n and m are integers, |m| <= n, and may be traced; all operands broadcast. Differentiable in
    both angles. Degrees above ``n_max`` count as that. Raises DTypeError for n and m that are no
    integers, ArgumentError for ``diff_n``: differentiate the function in its place.

    >>> sph_harm_y(0, 0, 0.5, 0.5).round(4)
    Array(0.2821+0.j, dtype=complex64)
    """
    if diff_n is not None:
        raise ArgumentError(
            "sph_harm_y: there is no `diff_n`", at=here(), hint="use jvp or grad of the function"
        )
    n, m = as_array(n), as_array(m)
    for what, order in (("n", n), ("m", m)):
        if kind(order.dtype) not in "iu":
            raise DTypeError(f"sph_harm_y: `{what}` is integer, not {order.dtype}", at=here())
    if n_max is not None:
        n = ew.minimum(n, whole("sph_harm_y", "n_max", n_max))
    theta, phi = reals("sph_harm_y", theta, phi)
    degree, order = (promotion.convert(x, theta.dtype, weak=True) for x in (n, m))
    degree, order, theta, phi = promotion.prepared("sph_harm_y", degree, order, theta, phi)
    length = ew.run(special_more.spherical_legendre, degree, order, theta)
    angle = ew.multiply(order, phi)
    return ew.complex_of(  # type: ignore[no-any-return]
        ew.multiply(length, ew.cos(angle)), ew.multiply(length, ew.sin(angle))
    )
