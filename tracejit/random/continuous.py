"""Samplers that transform uniform or normal numbers: one formula each.

    >>> normal(key(0), (2,))
    Array([1.6226..., 2.0252...], dtype=float32)

The numbers are those of JAX for the same key up to its approximations of erf_inv, log, exp and tan:
normal numbers within a relative 1e-6 in float32 and 1e-14 in float64, others within 1e-4 and 1e-12
where their formula cancels.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tracejit.frontend import elementwise as ew
from tracejit.frontend import reductions
from tracejit.frontend.array import Array
from tracejit.frontend.axes import shape_tuple
from tracejit.frontend.promotion import convert
from tracejit.ir.types import DTYPES, kind, real_dtype
from tracejit.ops import bits as bit_ops
from tracejit.random.arguments import (
    constant,
    erf,
    erf_inv,
    float_dtype,
    float_info,
    one_of,
    parameters,
)
from tracejit.random.draws import bits_of, uniform_of
from tracejit.random.keys import single, split_into

Shape = tuple[int, ...]
F32 = DTYPES["f32"]

# ---- normal --------------------------------------------------------------------------------------


def normal_of(words: Array, shape: Shape, dtype: np.dtype) -> Array:
    """Standard normal numbers: sqrt(2) erf_inv(u), u uniform in (-1, 1)."""
    low = np.nextafter(np.asarray(-1, dtype), np.asarray(0, dtype), dtype=dtype)
    u = uniform_of(words, shape, dtype, constant(low, dtype), constant(1, dtype))
    return ew.multiply(erf_inv(u), constant(np.sqrt(2), dtype))


def normal(key: Any, shape: Any = (), dtype: Any = None) -> Array:
    """Standard normal numbers: sqrt(2) erf_inv(u), u uniform in (-1, 1).

    Complex ones have variance 1, half of it in each part. Raises DTypeError for an integer dtype.

    >>> random.normal(random.key(0), (2, 3)).shape
    (2, 3)
    """
    words = single("normal", key)
    found = float_dtype("normal", dtype, "fc")
    sizes = shape_tuple(shape)
    if kind(found) == "f":
        return normal_of(words, sizes, found)
    part = real_dtype(found)
    re, im = (normal_of(k, sizes, part) for k in split_into(words))
    root = constant(np.sqrt(2), part)
    return ew.complex_of(ew.divide(re, root), ew.divide(im, root))


def lognormal(key: Any, sigma: Any = 1.0, shape: Any = None, dtype: Any = None) -> Array:
    """exp of normal numbers with standard deviation ``sigma``."""
    words = single("lognormal", key)
    found = float_dtype("lognormal", dtype)
    sizes, (scale,) = parameters("lognormal", shape, found, sigma)
    return ew.exp(normal_of(words, sizes, found) * scale)


def truncated_normal(
    key: Any, lower: Any, upper: Any, shape: Any = None, dtype: Any = None
) -> Array:
    """Standard normal numbers within the open interval (lower, upper), by inversion.

    ``shape`` is that of the bounds by default.

    >>> x = random.truncated_normal(random.key(0), -1.0, 1.0, (1000,))
    >>> print(jnp.all((x > -1) & (x < 1)))
    True
    """
    words = single("truncated_normal", key)
    found = float_dtype("truncated_normal", dtype)
    sizes, (low, high) = parameters("truncated_normal", shape, found, lower, upper)
    root = constant(np.sqrt(2), found)
    u = uniform_of(words, sizes, found, erf(low / root), erf(high / root))
    inside_low = ew.nextafter(low, constant(np.inf, found))
    inside_high = ew.nextafter(high, constant(-np.inf, found))
    return ew.clip(ew.multiply(erf_inv(u), root), inside_low, inside_high)


def maxwell(key: Any, shape: Any = (), dtype: Any = None) -> Array:
    """The length of three normal numbers."""
    words = single("maxwell", key)
    return _maxwell(words, shape_tuple(shape), float_dtype("maxwell", dtype))


def _maxwell(words: Array, shape: Shape, dtype: np.dtype) -> Array:
    x = normal_of(words, (*shape, 3), dtype)
    return ew.sqrt(reductions.sum(ew.multiply(x, x), axis=-1))


def signs(words: Array, shape: Shape, dtype: np.dtype) -> Array:
    """-1 or 1 with equal probability."""
    u = uniform_of(words, shape, F32)
    return ew.select(u < 0.5, constant(1, dtype), constant(-1, dtype))


def double_sided_maxwell(
    key: Any, loc: Any, scale: Any, shape: Any = (), dtype: Any = None
) -> Array:
    """Maxwell numbers of either sign, scaled and moved; the parameters' shape follows ``shape``."""
    words = single("double_sided_maxwell", key)
    found = float_dtype("double_sided_maxwell", dtype)
    common, (loc, scale) = parameters("double_sided_maxwell", None, found, loc, scale)
    sizes = (*(shape_tuple(shape) or common), *common)
    first, second = split_into(words)
    return signs(second, sizes, found) * _maxwell(first, sizes, found) * scale + loc


def wald(key: Any, mean: Any, shape: Any = None, dtype: Any = None) -> Array:
    """Inverse Gaussian numbers of scale 1, by the method of Michael, Schucany and Haas (1976)."""
    words = single("wald", key)
    found = float_dtype("wald", dtype)
    sizes, (mean,) = parameters("wald", shape, found, mean)
    first, second = split_into(words)
    v = normal_of(first, sizes, found)
    z = uniform_of(second, sizes, found)
    y, mean_squared = v * v, mean * mean
    root = ew.sqrt(4 * mean * y + mean_squared * (y * y))
    x = mean + mean_squared * y / 2 - mean / 2 * root
    return ew.select(z <= mean / (mean + x), x, mean_squared / x)


# ---- logarithms of uniform numbers ---------------------------------------------------------------


def exponential_of(words: Array, shape: Shape, dtype: np.dtype) -> Array:
    """-log(1 - u)."""
    return -ew.log1p(-uniform_of(words, shape, dtype))


def exponential(key: Any, shape: Any = (), dtype: Any = None) -> Array:
    """Exponential numbers of mean 1: -log(1 - u).

    >>> random.exponential(random.key(0), (2, 3)).shape
    (2, 3)
    """
    words = single("exponential", key)
    return exponential_of(words, shape_tuple(shape), float_dtype("exponential", dtype))


def pareto(key: Any, b: Any, shape: Any = None, dtype: Any = None) -> Array:
    """Pareto numbers of at least 1 with shape parameter ``b``."""
    words = single("pareto", key)
    found = float_dtype("pareto", dtype)
    sizes, (b,) = parameters("pareto", shape, found, b)
    return ew.exp(exponential_of(words, sizes, found) / b)


def laplace(key: Any, shape: Any = (), dtype: Any = None) -> Array:
    """Laplace numbers of scale 1."""
    words = single("laplace", key)
    found = float_dtype("laplace", dtype)
    low = constant(-1 + float(float_info(found).epsneg), found)
    u = uniform_of(words, shape_tuple(shape), found, low, constant(1, found))
    return ew.sign(u) * ew.log1p(-ew.absolute(u))


def _positive_uniform(words: Array, shape: Shape, dtype: np.dtype) -> Array:
    """Uniform numbers in (0, 1)."""
    return uniform_of(
        words, shape, dtype, constant(float_info(dtype).tiny, dtype), constant(1, dtype)
    )


def logistic(key: Any, shape: Any = (), dtype: Any = None) -> Array:
    """Logistic numbers of scale 1."""
    words = single("logistic", key)
    u = _positive_uniform(words, shape_tuple(shape), float_dtype("logistic", dtype))
    return ew.log(u) - ew.log1p(-u)


def rayleigh(key: Any, scale: Any, shape: Any = None, dtype: Any = None) -> Array:
    """Rayleigh numbers of the given scale."""
    words = single("rayleigh", key)
    found = float_dtype("rayleigh", dtype)
    sizes, (scale,) = parameters("rayleigh", shape, found, scale)
    return scale * ew.sqrt(ew.log(uniform_of(words, sizes, found)) * -2)


def weibull_min(
    key: Any, scale: Any, concentration: Any, shape: Any = (), dtype: Any = None
) -> Array:
    """Weibull numbers with shape parameter ``concentration``."""
    words = single("weibull_min", key)
    found = float_dtype("weibull_min", dtype)
    sizes, (scale, power) = parameters(
        "weibull_min", shape_tuple(shape), found, scale, concentration
    )
    return ew.power(exponential_of(words, sizes, found), 1 / power) * scale


def gumbel_of(words: Array, shape: Shape, dtype: np.dtype, mode: str | None) -> Array:
    """Gumbel numbers; "high" draws twice the bits, for tails beyond 2**-23."""
    one_of("gumbel", "mode", mode, None, "low", "high", "highest")
    if mode in (None, "low"):
        return -ew.log(-ew.log(_positive_uniform(words, shape, dtype)))
    if mode == "highest" and dtype == F32:
        return _gumbel_of_64_bits(words, shape)
    info = float_info(dtype)
    pair = uniform_of(words, (2, *shape), dtype)
    fine = pair[0] + constant(2.0**-info.nmant, dtype) * pair[1] + constant(info.tiny, dtype)
    return -ew.log(-ew.log1p(-ew.select(pair[0] >= 0.5, pair[0], fine)))


def _gumbel_of_64_bits(words: Array, shape: Shape) -> Array:
    """Gumbel numbers from 64-bit fixed point numbers x in (0, 1), by the nearer of x and 1 - x."""
    pair = convert(bits_of(words, (2, *shape), 32), DTYPES["u64"])
    wide = ew.bitwise_or(ew.left_shift(pair[0], constant(32, pair.dtype)), pair[1])
    small = wide < constant(2**63, wide.dtype)
    number = ew.select(small, wide, ew.add(ew.bitwise_not(wide), constant(1, wide.dtype)))
    x = _truncated_fraction(number)
    return ew.select(small, -ew.log(-ew.log1p(-x)), -ew.log(-ew.log(x)))


def _truncated_fraction(number: Array) -> Array:
    """number / 2**64 as float32, rounded down: the 24 leading bits are kept."""
    from_top = ew.run(bit_ops.clz, number)
    cut = constant(40, number.dtype)
    top = ew.left_shift(ew.right_shift(ew.left_shift(number, from_top), cut), cut)
    return convert(ew.right_shift(top, from_top), F32) * constant(2.0**-64, F32)


def gumbel(key: Any, shape: Any = (), dtype: Any = None, mode: str | None = None) -> Array:
    """Gumbel numbers, -log(-log(u)). ``mode``: "low" (the default), or "high": better tails at
    twice the cost.

    >>> random.gumbel(random.key(0), (2, 3)).shape
    (2, 3)
    """
    words = single("gumbel", key)
    return gumbel_of(words, shape_tuple(shape), float_dtype("gumbel", dtype), mode)


# ---- others --------------------------------------------------------------------------------------


def cauchy(key: Any, shape: Any = (), dtype: Any = None) -> Array:
    """Cauchy numbers of scale 1."""
    words = single("cauchy", key)
    found = float_dtype("cauchy", dtype)
    low = constant(float_info(found).eps, found)
    u = uniform_of(words, shape_tuple(shape), found, low, constant(1, found))
    return ew.tan((u - 0.5) * constant(np.pi, found))


def triangular(
    key: Any, left: Any, mode: Any, right: Any, shape: Any = None, dtype: Any = None
) -> Array:
    """Numbers in [left, right] whose density rises linearly to ``mode`` and falls from there."""
    words = single("triangular", key)
    found = float_dtype("triangular", dtype)
    sizes, (left, mode, right) = parameters("triangular", shape, found, left, mode, right)
    width = right - left
    u = uniform_of(words, sizes, found)
    rising = left + ew.sqrt(u * width * (mode - left))
    falling = right - ew.sqrt((1 - u) * width * (right - mode))
    return ew.select(u < (mode - left) / width, rising, falling)
