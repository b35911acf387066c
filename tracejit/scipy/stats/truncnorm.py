"""The normal distribution cut to [a, b], in units of the standard deviation.

logpdf: norm.logpdf(z) - log(ndtr(b) - ndtr(a)) - log(scale), z = (x - loc) / scale

>>> from tracejit.scipy import stats
>>> stats.truncnorm.cdf(jnp.array([-1.0, 0.0, 1.0]), -1.0, 1.0).round(4)
Array([0. , 0.5, 1. ], dtype=float32)
"""

from typing import Any as _Any

from tracejit import errors as _errors
from tracejit.frontend import eager as _eager
from tracejit.frontend import elementwise as _ew
from tracejit.scipy import special as _special
from tracejit.scipy.stats.families import (
    LOG_TWO_PI as _LOG_TWO_PI,
)
from tracejit.scipy.stats.families import (
    Continuous as _Continuous,
)
from tracejit.scipy.stats.families import (
    anything as _anything,
)
from tracejit.scipy.stats.families import (
    log1mexp as _log1mexp,
)


def _log_mass(a: _Any, b: _Any) -> _Any:
    """log(ndtr(b) - ndtr(a)) from the tails on the side where both lie."""
    right = a > 0
    low, high = _ew.select(right, -b, a), _ew.select(right, -a, b)
    outer, inner = _special.log_ndtr(low), _special.log_ndtr(high)
    beside = inner + _log1mexp(inner - outer)
    across = _ew.log1p(-_special.ndtr(a) - _special.ndtr(-b))
    return _ew.select(high <= 0, beside, across)


def _log_sum(x: _Any, y: _Any) -> _Any:
    top = _ew.maximum(x, y)
    gap = _ew.minimum(x, y) - top
    return top + _ew.log1p(_ew.exp(_ew.select(_ew.isnan(gap), 0, gap)))


def _ppf(q: _Any, a: _Any, b: _Any) -> _Any:
    """From the left tail, or where a is positive from the right one."""
    mass = _log_mass(a, b)
    left = _special.ndtri(_ew.exp(_log_sum(_special.log_ndtr(a), _ew.log(q) + mass)))
    right = _special.ndtri(_ew.exp(_log_sum(_special.log_ndtr(-b), _ew.log1p(-q) + mass)))
    return _ew.select(a > 0, -right, left)


_family = _Continuous(
    "truncnorm",
    ("a", "b"),
    support=lambda a, b: (a, b),
    valid=(_anything, _anything),
    domain=lambda a, b: a < b,
    logpdf=lambda z, a, b: (z * z + _LOG_TWO_PI) * -0.5 - _log_mass(a, b),
    cdf=lambda z, a, b: _ew.exp(_log_mass(a, z) - _log_mass(a, b)),
    sf=lambda z, a, b: _ew.exp(_log_mass(z, b) - _log_mass(a, b)),
    logcdf=lambda z, a, b: _log_mass(a, z) - _log_mass(a, b),
    logsf=lambda z, a, b: _log_mass(z, b) - _log_mass(a, b),
    ppf=_ppf,
    isf=lambda q, a, b: -_ppf(q, -b, -a),
    doc="Of the normal distribution given that (x - loc) / scale lies in [a, b].",
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
