"""Distributions and a few statistics, as in ``jax.scipy.stats``, with derivatives in all operands.

    >>> from tracejit.scipy import stats
    >>> stats.norm.pdf(0.0).round(4)
    Array(0.3989, dtype=float32)

Each distribution is a module; besides JAX's functions those have cdf, sf, ppf and isf wherever
there is a formula, and there is ``lognorm``. As in SciPy, ``norm(loc, scale)`` is a distribution
with its parameters, and ``norm.rvs(size=3)`` draws, on the host (``frozen.py``).
"""

from types import ModuleType as _ModuleType

from tracejit import errors as _errors
from tracejit.frontend import eager as _eager
from tracejit.scipy.stats import (
    bernoulli,
    beta,
    betabinom,
    binom,
    cauchy,
    chi2,
    dirichlet,
    expon,
    gamma,
    gennorm,
    geom,
    gumbel_l,
    gumbel_r,
    laplace,
    logistic,
    lognorm,
    multinomial,
    multivariate_normal,
    nbinom,
    norm,
    pareto,
    poisson,
    t,
    truncnorm,
    uniform,
    vonmises,
    wrapcauchy,
)
from tracejit.scipy.stats.density import gaussian_kde
from tracejit.scipy.stats.frozen import Distribution as _Distribution
from tracejit.scipy.stats.ranks import mode, rankdata, sem

# fmt: off
__all__ = [
    "bernoulli", "beta", "betabinom", "binom", "cauchy", "chi2", "dirichlet", "expon", "gamma",
    "gaussian_kde", "gennorm", "geom", "gumbel_l", "gumbel_r", "laplace", "logistic", "lognorm",
    "mode", "multinomial", "multivariate_normal", "nbinom", "norm", "pareto", "poisson",
    "rankdata", "sem", "t", "truncnorm", "uniform", "vonmises", "wrapcauchy",
]
# fmt: on

for _name in __all__:
    if isinstance(globals()[_name], _ModuleType):
        globals()[_name].__class__ = _Distribution

_errors.user_functions(globals(), _eager.remembering())
