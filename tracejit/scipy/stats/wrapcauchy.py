"""The wrapped Cauchy distribution, on [0, 2 pi].

pdf: (1 - c**2) / (2 pi (1 + c**2 - 2 c cos(z))) / scale, z = (x - loc) / scale

>>> from tracejit.scipy import stats
>>> stats.wrapcauchy.pdf(-1.0, 0.5)
Array(0., dtype=float32)
"""

import math as _math
from typing import Any as _Any

from tracejit import errors as _errors
from tracejit.frontend import eager as _eager
from tracejit.frontend import elementwise as _ew
from tracejit.scipy.stats.families import LOG_TWO_PI as _LOG_TWO_PI
from tracejit.scipy.stats.families import Continuous as _Continuous

_PI = _math.pi


def _logpdf(z: _Any, c: _Any) -> _Any:
    """1 + c**2 - 2 c cos(z) as (1 - c)**2 + 4 c sin(z / 2)**2, which does not cancel."""
    below = _ew.square(1 - c) + 4 * c * _ew.square(_ew.sin(z * 0.5))
    return _ew.log1p(-c * c) - _LOG_TWO_PI - _ew.log(below)


def _cdf(z: _Any, c: _Any) -> _Any:
    growth = (1 + c) / (1 - c)
    rising = _ew.arctan2(growth * _ew.sin(z * 0.5), _ew.cos(z * 0.5))
    return rising / _PI


def _ppf(q: _Any, c: _Any) -> _Any:
    growth = (1 - c) / (1 + c)
    return 2 * _ew.arctan2(growth * _ew.sin(_PI * q), _ew.cos(_PI * q))


_family = _Continuous(
    "wrapcauchy",
    ("c",),
    support=lambda c: (0, 2 * _PI),
    valid=(lambda c: abs(c - 0.5) < 0.5,),
    logpdf=_logpdf,
    cdf=_cdf,
    sf=lambda z, c: _cdf(2 * _PI - z, c),
    ppf=_ppf,
    isf=lambda q, c: _ppf(1 - q, c),
    doc="Of the wrapped Cauchy distribution with concentration ``c``, between 0 and 1.",
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
