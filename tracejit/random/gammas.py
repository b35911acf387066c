"""Gamma numbers and the samplers made of them: beta, dirichlet, chi-square, Student's t, F.

    >>> gamma(key(0), jnp.array([0.5, 2.0])).shape  # one number per shape parameter
    (2,)

Each element runs the rejection loop of Marsaglia and Tsang, "A simple method for generating gamma
variables" (2000), on its own key, as in JAX; so numbers agree with JAX's within rounding (about
1e-5 relative in float32; a number close to an acceptance limit may differ). Derivatives with
respect to the parameter are those of the implicit function: the sample moves so that its
cumulative probability stays.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from tracejit import source
from tracejit.errors import ShapeError
from tracejit.frontend import elementwise as ew
from tracejit.frontend import promotion, reductions
from tracejit.frontend.array import Array
from tracejit.frontend.axes import integer, shape_tuple
from tracejit.frontend.custom import custom_jvp
from tracejit.frontend.promotion import reshaped
from tracejit.frontend.vectorize import vmap
from tracejit.lax.loops import while_loop
from tracejit.random.arguments import (
    constant,
    digamma,
    float_dtype,
    float_info,
    igamma_grad_a,
    lgamma,
    parameters,
    result_shape,
    softmax,
)
from tracejit.random.continuous import exponential_of, normal_of, signs
from tracejit.random.draws import uniform_of
from tracejit.random.keys import single, split_into, split_words

Shape = tuple[int, ...]
SQUEEZE = 0.0331  # the constant of the paper's quick acceptance test


# ---- one number ----------------------------------------------------------------------------------


def _accepted_cube(words: Array, d: Array, c: Array) -> Array:
    """V = (1 + c x)**3 of the first normal number x that is accepted."""
    dtype = d.dtype
    zero, one = constant(0, dtype), constant(1, dtype)

    def rejected(state: Any) -> Array:
        _, x_squared, cube, u = state
        quick = u >= one - constant(SQUEEZE, dtype) * (x_squared * x_squared)
        bound = x_squared * constant(0.5, dtype) + d * ((one - cube) + ew.log(cube))
        return ew.logical_and(quick, ew.log(u) >= bound)

    def draw(state: Any) -> Any:
        words, x_words, u_words = split_into(state[0], 3)
        x, v = _positive_base(x_words, c)
        return words, x * x, (v * v) * v, uniform_of(u_words, (), dtype)

    # the first state is rejected whatever d is
    return while_loop(rejected, draw, (words, zero, one, constant(2, dtype)))[2]  # type: ignore[no-any-return]


def _positive_base(words: Array, c: Array) -> tuple[Array, Array]:
    """A normal number x with v = 1 + c x > 0, and v."""
    dtype = c.dtype

    def draw(state: Any) -> Any:
        words, sub = split_into(state[0])
        x = normal_of(sub, (), dtype)
        return words, x, constant(1, dtype) + x * c

    first = (words, constant(0, dtype), constant(-1, dtype))
    _, x, v = while_loop(lambda state: state[2] <= constant(0, dtype), draw, first)
    return x, v


def _gamma_one(words: Array, alpha: Array, log_space: bool) -> Array:
    """One gamma number or its logarithm. For alpha < 1: one for alpha + 1, times u**(1 / alpha)."""
    dtype = alpha.dtype
    one, third = constant(1, dtype), constant(1 / 3, dtype)
    large = alpha >= one
    d = ew.select(large, alpha, alpha + one) - third
    c = third / ew.sqrt(d)
    words, boost_words = split_into(words)
    cube = _accepted_cube(words, d, c)
    if log_space:
        logs = -exponential_of(boost_words, (), dtype)
        none = ew.logical_or(large, logs == 0)
        boost = ew.select(none, constant(0, dtype), logs * (one / alpha))
        return (ew.log(d) + ew.log(cube)) + boost
    u = 1 - uniform_of(boost_words, (), dtype)
    return (d * cube) * ew.select(large, one, ew.power(u, one / alpha))


# ---- many, and their derivative ------------------------------------------------------------------


def _slope(alpha: Array, sample: Array, log_space: bool) -> Array:
    """d sample / d alpha = -(dP/da) / density, in logarithms where the sample is one."""
    dtype = alpha.dtype
    log_x = sample if log_space else ew.log(sample)
    x = ew.exp(log_x) if log_space else sample
    slope_of_p = igamma_grad_a(alpha, ew.maximum(x, constant(float_info(dtype).tiny, dtype)))
    # of log x: the density of log x is x**alpha exp(-x) / gamma(alpha)
    exact = -slope_of_p * ew.exp(x + lgamma(alpha) - alpha * log_x)
    # for small x, P is x**alpha / gamma(alpha + 1) within rounding
    limit = (digamma(alpha + 1) - log_x) / alpha
    small = log_x < math.log(float(float_info(dtype).eps))
    relative = ew.select(small, limit, exact)
    return relative if log_space else relative * x


@partial(custom_jvp, nondiff_argnums=(2,))
def _drawn(words: Array, alphas: Array, log_space: bool) -> Array:
    """One number for each of ``alphas``, a vector, with a key of its own."""
    keys = split_words(words, alphas.shape)
    return vmap(lambda k, a: _gamma_one(k, a, log_space))(keys, alphas)  # type: ignore[no-any-return]


@_drawn.defjvp
def _drawn_jvp(log_space: bool, primals: Any, tangents: Any) -> tuple[Array, Array]:
    found = _drawn.fun(*primals, log_space)
    return found, _slope(primals[1], found, log_space) * tangents[1]


def gamma_of(words: Array, a: Array, shape: Shape, log_space: bool = False) -> Array:
    """Gamma numbers (or their logarithms) of the shape; ``a`` broadcasts to it."""
    alphas = reshaped(promotion.broadcast_to(a, shape), (math.prod(shape),))
    return reshaped(_drawn(words, alphas, log_space), shape)


def gamma(key: Any, a: Any, shape: Any = None, dtype: Any = None) -> Array:
    """Gamma numbers with shape parameter ``a`` and scale 1; differentiable in ``a``.

    ``shape`` is that of ``a`` by default.

    >>> random.gamma(random.key(0), jnp.array([0.5, 2.0, 50.0])).shape
    (3,)
    """
    words = single("gamma", key)
    sizes, (a,) = parameters("gamma", shape, float_dtype("gamma", dtype), a)
    return gamma_of(words, a, sizes)


def loggamma(key: Any, a: Any, shape: Any = None, dtype: Any = None) -> Array:
    """Logarithms of gamma numbers: precise for small ``a``, whose numbers would be 0."""
    words = single("loggamma", key)
    sizes, (a,) = parameters("loggamma", shape, float_dtype("loggamma", dtype), a)
    return gamma_of(words, a, sizes, log_space=True)


# ---- made of gamma numbers -----------------------------------------------------------------------


def beta(key: Any, a: Any, b: Any, shape: Any = None, dtype: Any = None) -> Array:
    """Beta numbers: gamma_a / (gamma_a + gamma_b), in the common shape of ``a`` and ``b`` by
    default.

    >>> random.beta(random.key(0), 2.0, 3.0, (5,)).shape
    (5,)
    """
    words = single("beta", key)
    sizes, (a, b) = parameters("beta", shape, float_dtype("beta", dtype), a, b)
    key_a, key_b = split_into(words)
    log_a = gamma_of(key_a, a, sizes, log_space=True)
    log_b = gamma_of(key_b, b, sizes, log_space=True)
    largest = ew.maximum(log_a, log_b)
    scaled_a, scaled_b = ew.exp(log_a - largest), ew.exp(log_b - largest)
    return scaled_a / (scaled_a + scaled_b)


def dirichlet(key: Any, alpha: Any, shape: Any = None, dtype: Any = None) -> Array:
    """Probability vectors: the last axis of ``alpha`` holds the parameters of one.

    >>> x = random.dirichlet(random.key(0), jnp.array([1.0, 2.0, 3.0]), (4,))
    >>> print(x.shape, jnp.allclose(x.sum(-1), 1))
    (4, 3) True
    """
    words = single("dirichlet", key)
    found = float_dtype("dirichlet", dtype)
    _, (alpha,) = parameters("dirichlet", None, found, alpha)
    if alpha.ndim == 0:
        raise ShapeError("dirichlet: alpha is a vector, not a scalar", at=source.here())
    stand_in = promotion.spread(0, alpha.type.with_shape(alpha.shape[:-1]))
    sizes = result_shape("dirichlet", shape, stand_in)
    return softmax(gamma_of(words, alpha, (*sizes, alpha.shape[-1]), log_space=True))


def _chisquare(words: Array, df: Array, shape: Shape) -> Array:
    return ew.exp(gamma_of(words, df / 2, shape, log_space=True)) * 2


def chisquare(key: Any, df: Any, shape: Any = None, dtype: Any = None) -> Array:
    """Chi-square numbers with ``df`` degrees of freedom."""
    words = single("chisquare", key)
    sizes, (df,) = parameters("chisquare", shape, float_dtype("chisquare", dtype), df)
    return _chisquare(words, df, sizes)


def f(key: Any, dfnum: Any, dfden: Any, shape: Any = None, dtype: Any = None) -> Array:
    """F numbers: the ratio of two chi-square numbers over their degrees of freedom."""
    words = single("f", key)
    found = float_dtype("f", dtype)
    sizes, (dfnum, dfden) = parameters("f", shape, found, dfnum, dfden)
    key_den, key_num = split_into(words)
    num = _chisquare(key_num, dfnum, sizes) / dfnum
    return num / (_chisquare(key_den, dfden, sizes) / dfden)


def t(key: Any, df: Any, shape: Any = None, dtype: Any = None) -> Array:
    """Student's t numbers with ``df`` degrees of freedom."""
    words = single("t", key)
    found = float_dtype("t", dtype)
    sizes, (df,) = parameters("t", shape, found, df)
    key_n, key_g = split_into(words)
    half = df / 2
    return normal_of(key_n, sizes, found) * ew.sqrt(half / gamma_of(key_g, half, sizes))


def _generalized_normal(words: Array, p: Array, shape: Shape, dtype: np.dtype) -> Array:
    key_g, key_sign = split_into(words)
    size = ew.power(gamma_of(key_g, 1 / p, shape), 1 / p)
    return signs(key_sign, shape, dtype) * size


def generalized_normal(key: Any, p: Any, shape: Any = (), dtype: Any = None) -> Array:
    """Numbers with density proportional to exp(-|x|**p)."""
    words = single("generalized_normal", key)
    found = float_dtype("generalized_normal", dtype)
    sizes, (p,) = parameters("generalized_normal", shape_tuple(shape), found, p)
    return _generalized_normal(words, p, sizes, found)


def ball(key: Any, d: int, p: Any = 2, shape: Any = (), dtype: Any = None) -> Array:
    """Points in the unit ball of the p-norm in ``d`` dimensions, along the last axis.

    By Barthe, Guédon, Mendelson and Naor, "A probabilistic approach to the geometry of the
    l_p^n-ball" (2005).
    """
    words = single("ball", key)
    found = float_dtype("ball", dtype)
    sizes = shape_tuple(shape)
    _, (p,) = parameters("ball", sizes, found, p)
    first, second = split_into(words)
    g = _generalized_normal(first, p, (*sizes, integer(d, "ball: d")), found)
    e = exponential_of(second, sizes, found)
    norm = ew.power(reductions.sum(ew.power(ew.absolute(g), p), axis=-1) + e, 1 / p)
    return g / reshaped(norm, (*sizes, 1))
