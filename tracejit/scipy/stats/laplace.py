"""The Laplace distribution.

logpdf: -|z| - log(2 scale), z = (x - loc) / scale

>>> from tracejit.scipy import stats
>>> stats.laplace.pdf(0.0)
Array(0.5, dtype=float32)
"""

import math as _math
from typing import Any as _Any

from tracejit import errors as _errors
from tracejit.frontend import eager as _eager
from tracejit.frontend import elementwise as _ew
from tracejit.scipy.stats.families import Continuous as _Continuous

_LOG_TWO = _math.log(2)


def _cdf(z: _Any) -> _Any:
    tail = _ew.exp(-_ew.absolute(z)) * 0.5
    return _ew.select(z < 0, tail, 1 - tail)


def _logcdf(z: _Any) -> _Any:
    return _ew.select(z < 0, z - _LOG_TWO, _ew.log1p(_ew.exp(-_ew.absolute(z)) * -0.5))


def _ppf(q: _Any) -> _Any:
    return _ew.select(q < 0.5, _ew.log(2 * q), -_ew.log(2 * (1 - q)))


_family = _Continuous(
    "laplace",
    logpdf=lambda z: -_ew.absolute(z) - _LOG_TWO,
    cdf=_cdf,
    sf=lambda z: _cdf(-z),
    logcdf=_logcdf,
    logsf=lambda z: _logcdf(-z),
    ppf=_ppf,
    isf=lambda q: -_ppf(q),
    doc="Of the Laplace distribution with median ``loc``.",
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
