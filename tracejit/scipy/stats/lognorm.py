"""The log-normal distribution.

logpdf: -(log(z) / s)**2 / 2 - log(s z) - log(2 pi) / 2 - log(scale), z = (x - loc) / scale > 0

>>> from tracejit.scipy import stats
>>> stats.lognorm.cdf(jnp.array([-1.0, 1.0]), 1.0)
Array([0. , 0.5], dtype=float32)
"""

from typing import Any as _Any

from tracejit import errors as _errors
from tracejit.frontend import eager as _eager
from tracejit.frontend import elementwise as _ew
from tracejit.scipy import special as _special
from tracejit.scipy.stats.families import LOG_TWO_PI as _LOG_TWO_PI
from tracejit.scipy.stats.families import Continuous as _Continuous


def _logpdf(z: _Any, s: _Any) -> _Any:
    logarithm = _ew.log(z)
    return _ew.square(logarithm / s) * -0.5 - logarithm - _ew.log(s) - 0.5 * _LOG_TWO_PI


_family = _Continuous(
    "lognorm",
    ("s",),
    support=lambda s: (0, float("inf")),
    open_ends=True,
    logpdf=_logpdf,
    cdf=lambda z, s: _special.ndtr(_ew.log(z) / s),
    sf=lambda z, s: _special.ndtr(-_ew.log(z) / s),
    logcdf=lambda z, s: _special.log_ndtr(_ew.log(z) / s),
    logsf=lambda z, s: _special.log_ndtr(-_ew.log(z) / s),
    ppf=lambda q, s: _ew.exp(s * _special.ndtri(q)),
    isf=lambda q, s: _ew.exp(-s * _special.ndtri(q)),
    doc="Of exp(s X) for a standard normal X, times ``scale``, plus ``loc``.",
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
