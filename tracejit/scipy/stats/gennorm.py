"""The generalised normal distribution.

logpdf: log(beta / 2) - gammaln(1 / beta) - |z|**beta - log(scale), z = (x - loc) / scale

>>> from tracejit.scipy import stats
>>> stats.gennorm.pdf(0.0, 1.0)
Array(0.5, dtype=float32)
"""

import math as _math
from typing import Any as _Any

from tracejit import errors as _errors
from tracejit.frontend import eager as _eager
from tracejit.frontend import elementwise as _ew
from tracejit.scipy import special as _special
from tracejit.scipy.stats.families import Continuous as _Continuous


def _logpdf(z: _Any, beta: _Any) -> _Any:
    height = _ew.log(beta * 0.5) - _special.gammaln(1 / beta)
    return height - _ew.power(_ew.absolute(z), beta)


def _cdf(z: _Any, beta: _Any) -> _Any:
    """At 0 the tangent: there the incomplete gamma function has none of its own."""
    centre = z == 0
    size = _ew.absolute(_ew.select(centre, 1, z))
    tail = _special.gammaincc(1 / beta, _ew.power(size, beta)) * 0.5
    found = _ew.select(z > 0, 1 - tail, tail)
    tangent = 0.5 + z * _ew.exp(_ew.log(beta * 0.5) - _special.gammaln(1 / beta))
    return _ew.select(centre, tangent, found)


def _ppf(q: _Any, beta: _Any) -> _Any:
    """The median by way of the tangent, likewise."""
    centre = q == 0.5
    tail = 2 * _ew.minimum(q, 1 - q)
    size = _special.gammainccinv(1 / beta, _ew.select(centre, 0.5, tail))
    size = _ew.power(size, 1 / beta)
    found = _ew.select(q < 0.5, -size, size)
    slope = _ew.exp(_special.gammaln(1 / beta) - _ew.log(beta) + _math.log(2))
    return _ew.select(centre, (q - 0.5) * slope, found)


_family = _Continuous(
    "gennorm",
    ("beta",),
    logpdf=_logpdf,
    cdf=_cdf,
    sf=lambda z, beta: _cdf(-z, beta),
    ppf=_ppf,
    isf=lambda q, beta: -_ppf(q, beta),
    doc="Of the generalised normal distribution: normal for ``beta`` 2, Laplace's for 1.",
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
