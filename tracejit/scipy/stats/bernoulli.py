"""The Bernoulli distribution: 1 with probability p, else 0.

logpmf: k log(p) + (1 - k) log1p(-p)

>>> from tracejit.scipy import stats
>>> stats.bernoulli.pmf(jnp.array([0, 1, 2]), 0.25)
Array([0.75, 0.25, 0.  ]...)
"""

from typing import Any as _Any

from tracejit import errors as _errors
from tracejit.frontend import eager as _eager
from tracejit.frontend import elementwise as _ew
from tracejit.scipy import special as _special
from tracejit.scipy.stats.families import Discrete as _Discrete


def _is_probability(p: _Any) -> _Any:
    return abs(p - 0.5) <= 0.5


_family = _Discrete(
    "bernoulli",
    ("p",),
    support=lambda p: (0, 1),
    valid=(_is_probability,),
    logpmf=lambda k, p: _special.xlogy(k, p) + _special.xlog1py(1 - k, -p),
    cdf=lambda k, p: 1 - p + k * 0,
    sf=lambda k, p: p + k * 0,
    logcdf=lambda k, p: _ew.log1p(-p) + k * 0,
    ppf=lambda q, p: _ew.select(_ew.isnan(q), q, _ew.select(q <= 1 - p, 0.0, 1.0)),
    doc="Of a Bernoulli variable with probability ``p``.",
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
