"""Random numbers as functions of keys, with JAX's names and the same bits for the same key.

    >>> from tracejit import random
    >>> key = random.key(0)
    >>> first, second = random.split(key)
    >>> random.normal(first, (3, 4)).shape
    (3, 4)

A key gives the same numbers each time it is used: split it, or fold a counter into it, for fresh
ones. Float results have ``config.default_float``, integer ones ``config.default_int``, unless a
dtype is given; the numbers are those of JAX (threefry2x32, partitionable) for that dtype. bits,
uniform, randint, permutation, bernoulli, split and fold_in agree in every bit; functions of log,
exp and erf_inv agree within their rounding.
"""

from tracejit import errors as _errors
from tracejit.frontend import eager as _eager
from tracejit.random.continuous import (
    cauchy,
    double_sided_maxwell,
    exponential,
    gumbel,
    laplace,
    logistic,
    lognormal,
    maxwell,
    normal,
    pareto,
    rayleigh,
    triangular,
    truncated_normal,
    wald,
    weibull_min,
)
from tracejit.random.counts import (
    bernoulli,
    binomial,
    geometric,
    multinomial,
    poisson,
    rademacher,
)
from tracejit.random.draws import bits, randint, uniform
from tracejit.random.gammas import (
    ball,
    beta,
    chisquare,
    dirichlet,
    f,
    gamma,
    generalized_normal,
    loggamma,
    t,
)
from tracejit.random.keys import (
    PRNGKey,
    PRNGKeyArray,
    clone,
    fold_in,
    key,
    key_data,
    key_dtype,
    key_impl,
    split,
    wrap_key_data,
)
from tracejit.random.matrices import multivariate_normal, orthogonal
from tracejit.random.selection import categorical, choice, permutation

__all__ = [
    "PRNGKey",
    "PRNGKeyArray",
    "ball",
    "bernoulli",
    "beta",
    "binomial",
    "bits",
    "categorical",
    "cauchy",
    "chisquare",
    "choice",
    "clone",
    "dirichlet",
    "double_sided_maxwell",
    "exponential",
    "f",
    "fold_in",
    "gamma",
    "generalized_normal",
    "geometric",
    "gumbel",
    "key",
    "key_data",
    "key_dtype",
    "key_impl",
    "laplace",
    "loggamma",
    "logistic",
    "lognormal",
    "maxwell",
    "multinomial",
    "multivariate_normal",
    "normal",
    "orthogonal",
    "pareto",
    "permutation",
    "poisson",
    "rademacher",
    "randint",
    "rayleigh",
    "split",
    "t",
    "triangular",
    "truncated_normal",
    "uniform",
    "wald",
    "weibull_min",
    "wrap_key_data",
]

_errors.user_functions(globals(), _eager.remembering())
