"""The geometric distribution: the number of trials until the first success.

logpmf: log(p) + (k - 1) log1p(-p), k >= 1

>>> from tracejit.scipy import stats
>>> stats.geom.pmf(jnp.array([0, 1, 2]), 0.5).round(4)
Array([0.  , 0.5 , 0.25]...)
"""

from typing import Any as _Any

from tracejit import errors as _errors
from tracejit.frontend import eager as _eager
from tracejit.frontend import elementwise as _ew
from tracejit.scipy import special as _special
from tracejit.scipy.stats.families import Discrete as _Discrete
from tracejit.scipy.stats.families import log1mexp as _log1mexp


def _ppf(q: _Any, p: _Any) -> _Any:
    """The least k with cdf(k) >= q; the quotient may be one off by rounding."""
    k = _ew.ceil(_ew.log1p(-q) / _ew.log1p(-p))
    before = -_ew.expm1((k - 1) * _ew.log1p(-p))
    return _ew.select(_ew.logical_and(before >= q, k > 1), k - 1, k)


_family = _Discrete(
    "geom",
    ("p",),
    support=lambda p: (1, float("inf")),
    valid=(lambda p: 1 - abs(p - 0.5) * 2 >= 0,),
    domain=lambda p: p > 0,
    logpmf=lambda k, p: _ew.log(p) + _special.xlog1py(k - 1, -p),
    cdf=lambda k, p: -_ew.expm1(k * _ew.log1p(-p)),
    sf=lambda k, p: _ew.exp(k * _ew.log1p(-p)),
    logcdf=lambda k, p: _log1mexp(-k * _ew.log1p(-p)),
    logsf=lambda k, p: k * _ew.log1p(-p),
    ppf=_ppf,
    doc="Of the number of trials of probability ``p`` until the first success.",
)

cdf = _family.cdf
logcdf = _family.logcdf
logpmf = _family.logpmf
logsf = _family.logsf
pmf = _family.pmf
sf = _family.sf
ppf = _family.ppf

__all__ = ["cdf", "logcdf", "logpmf", "logsf", "pmf", "sf", "ppf"]

_errors.user_functions(globals(), _eager.remembering())
