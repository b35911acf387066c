"""The normal distribution.

logpdf: -z**2 / 2 - log(2 pi) / 2 - log(scale), z = (x - loc) / scale

>>> from tracejit.scipy import stats
>>> stats.norm.cdf(jnp.array([-jnp.inf, 0.0, jnp.inf]))
Array([0. , 0.5, 1. ], dtype=float32)
"""

from tracejit import errors as _errors
from tracejit.frontend import eager as _eager
from tracejit.scipy import special as _special
from tracejit.scipy.stats.families import LOG_TWO_PI as _LOG_TWO_PI
from tracejit.scipy.stats.families import Continuous as _Continuous

_family = _Continuous(
    "norm",
    logpdf=lambda z: (z * z + _LOG_TWO_PI) * -0.5,
    cdf=_special.ndtr,
    sf=lambda z: _special.ndtr(-z),
    logcdf=_special.log_ndtr,
    logsf=lambda z: _special.log_ndtr(-z),
    ppf=_special.ndtri,
    isf=lambda q: -_special.ndtri(q),
    doc="Of the normal distribution with mean ``loc`` and standard deviation ``scale``.",
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
