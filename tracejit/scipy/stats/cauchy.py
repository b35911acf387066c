"""The Cauchy distribution.

logpdf: -log(pi) - log1p(z**2) - log(scale), z = (x - loc) / scale

>>> from tracejit.scipy import stats
>>> stats.cauchy.cdf(jnp.array([-1.0, 0.0, 1.0])).round(4)
Array([0.25, 0.5 , 0.75], dtype=float32)
"""

import math as _math
from typing import Any as _Any

from tracejit import errors as _errors
from tracejit.frontend import eager as _eager
from tracejit.frontend import elementwise as _ew
from tracejit.scipy.stats.families import Continuous as _Continuous

_PI = _math.pi


def _cdf(z: _Any) -> _Any:
    return _ew.arctan2(1.0, -z) / _PI


def _logcdf(z: _Any) -> _Any:
    return _ew.select(z > 0, _ew.log1p(-_cdf(-z)), _ew.log(_cdf(z)))


def _ppf(q: _Any) -> _Any:
    """Near 0 and 1 from the distance to them."""
    middle = _ew.tan(_PI * (q - 0.5))
    outer = _ew.select(q < 0.25, -1 / _ew.tan(_PI * q), 1 / _ew.tan(_PI * (1 - q)))
    return _ew.select(_ew.absolute(q - 0.5) < 0.25, middle, outer)


_family = _Continuous(
    "cauchy",
    logpdf=lambda z: -_math.log(_PI) - _ew.log1p(z * z),
    cdf=_cdf,
    sf=lambda z: _cdf(-z),
    logcdf=_logcdf,
    logsf=lambda z: _logcdf(-z),
    ppf=_ppf,
    isf=lambda q: -_ppf(q),
    doc="Of the Cauchy distribution with median ``loc`` and half width ``scale``.",
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
