"""The logistic distribution.

logpdf: -|z| - 2 log1p(exp(-|z|)) - log(scale), z = (x - loc) / scale

>>> from tracejit.scipy import stats
>>> stats.logistic.pdf(0.0)
Array(0.25, dtype=float32)
"""

from typing import Any as _Any

from tracejit import errors as _errors
from tracejit.frontend import eager as _eager
from tracejit.frontend import elementwise as _ew
from tracejit.scipy import special as _special
from tracejit.scipy.stats.families import Continuous as _Continuous


def _logpdf(z: _Any) -> _Any:
    size = _ew.absolute(z)
    return -size - 2 * _ew.log1p(_ew.exp(-size))


_family = _Continuous(
    "logistic",
    logpdf=_logpdf,
    cdf=_special.expit,
    sf=lambda z: _special.expit(-z),
    logcdf=_special.log_expit,
    logsf=lambda z: _special.log_expit(-z),
    ppf=_special.logit,
    isf=lambda q: -_special.logit(q),
    arguments={"ppf": "x", "isf": "x"},
    doc="Of the logistic distribution with mean ``loc``.",
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
