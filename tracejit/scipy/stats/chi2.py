"""The chi-squared distribution.

logpdf: (df / 2 - 1) log(z) - z / 2 - gammaln(df / 2) - df log(2) / 2 - log(scale)

>>> from tracejit.scipy import stats
>>> stats.chi2.pdf(0.0, 2)
Array(0.5, dtype=float32)
"""

import math as _math
from typing import Any as _Any

from tracejit import errors as _errors
from tracejit.frontend import eager as _eager
from tracejit.scipy import special as _special
from tracejit.scipy.stats.families import Continuous as _Continuous

_LOG_TWO = _math.log(2)


def _logpdf(z: _Any, df: _Any) -> _Any:
    half = df * 0.5
    return _special.xlogy(half - 1, z) - z * 0.5 - _special.gammaln(half) - half * _LOG_TWO


_family = _Continuous(
    "chi2",
    ("df",),
    support=lambda df: (0, float("inf")),
    logpdf=_logpdf,
    cdf=lambda z, df: _special.gammainc(df * 0.5, z * 0.5),
    sf=lambda z, df: _special.gammaincc(df * 0.5, z * 0.5),
    ppf=lambda q, df: 2 * _special.gammaincinv(df * 0.5, q),
    isf=lambda q, df: 2 * _special.gammainccinv(df * 0.5, q),
    doc="Of the chi-squared distribution with ``df`` degrees of freedom.",
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
