"""The right-skewed Gumbel distribution: of largest values.

logpdf: -z - exp(-z) - log(scale), z = (x - loc) / scale

>>> from tracejit.scipy import stats
>>> stats.gumbel_r.cdf(jnp.array([-jnp.inf, jnp.inf]))
Array([0., 1.], dtype=float32)
"""

from tracejit import errors as _errors
from tracejit.frontend import eager as _eager
from tracejit.frontend import elementwise as _ew
from tracejit.scipy.stats.families import Continuous as _Continuous
from tracejit.scipy.stats.families import log1mexp as _log1mexp

_family = _Continuous(
    "gumbel_r",
    logpdf=lambda z: -z - _ew.exp(-z),
    cdf=lambda z: _ew.exp(-_ew.exp(-z)),
    sf=lambda z: -_ew.expm1(-_ew.exp(-z)),
    logcdf=lambda z: -_ew.exp(-z),
    logsf=lambda z: _log1mexp(_ew.exp(-z)),
    ppf=lambda q: -_ew.log(-_ew.log(q)),
    isf=lambda q: -_ew.log(-_ew.log1p(-q)),
    arguments={"ppf": "p", "isf": "p"},
    doc="Of the right-skewed Gumbel distribution with mode ``loc``.",
)

cdf = _family.cdf
isf = _family.isf
logcdf = _family.logcdf
logpdf = _family.logpdf
logsf = _family.logsf
pdf = _family.pdf
ppf = _family.ppf
sf = _family.sf

__all__ = ["cdf", "isf", "logcdf", "logpdf", "logsf", "pdf", "ppf", "sf"]

_errors.user_functions(globals(), _eager.remembering())
