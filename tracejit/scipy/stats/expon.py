"""The exponential distribution.

logpdf: -z - log(scale), z = (x - loc) / scale >= 0

>>> from tracejit.scipy import stats
>>> stats.expon.pdf(jnp.array([-1.0, 0.0]))
Array([0., 1.], dtype=float32)
"""

from tracejit import errors as _errors
from tracejit.frontend import eager as _eager
from tracejit.frontend import elementwise as _ew
from tracejit.scipy.stats.families import Continuous as _Continuous
from tracejit.scipy.stats.families import log1mexp as _log1mexp

_family = _Continuous(
    "expon",
    support=lambda: (0, float("inf")),
    logpdf=lambda z: -z,
    cdf=lambda z: -_ew.expm1(-z),
    sf=lambda z: _ew.exp(-z),
    logcdf=_log1mexp,
    logsf=lambda z: -z,
    ppf=lambda q: -_ew.log1p(-q),
    isf=lambda q: -_ew.log(q),
    doc="Of the exponential distribution from ``loc`` on, with mean ``loc + scale``.",
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
