"""The negative binomial distribution.

logpmf: -betaln(n, k + 1) - log(n + k) + n log(p) + k log1p(-p)

>>> from tracejit.scipy import stats
>>> stats.nbinom.pmf(jnp.array([0, 1]), 1, 0.5).round(4)
Array([0.5 , 0.25]...)
"""

from typing import Any as _Any

from tracejit import errors as _errors
from tracejit.frontend import eager as _eager
from tracejit.frontend import elementwise as _ew
from tracejit.scipy import special as _special
from tracejit.scipy.stats.families import Discrete as _Discrete
from tracejit.scipy.stats.families import least as _least


def _is_probability(p: _Any) -> _Any:
    return abs(p - 0.5) <= 0.5


def _logpmf(k: _Any, n: _Any, p: _Any) -> _Any:
    ways = -_special.betaln(n, k + 1) - _ew.log(n + k)
    return ways + _special.xlogy(n, p) + _special.xlog1py(k, -p)


def _cdf(k: _Any, n: _Any, p: _Any) -> _Any:
    return _special.betainc(n, k + 1, p)


_family = _Discrete(
    "nbinom",
    ("n", "p"),
    valid=(lambda n: n > 0, _is_probability),
    logpmf=_logpmf,
    cdf=_cdf,
    sf=lambda k, n, p: _special.betaincc(n, k + 1, p),
    ppf=lambda q, n, p: _least(_cdf, q, (n, p), n),
    doc="Of the number of failures before ``n`` successes of probability ``p``.",
)

cdf = _family.cdf
logcdf = _family.logcdf
logpmf = _family.logpmf
logsf = _family.logsf
pmf = _family.pmf
ppf = _family.ppf
sf = _family.sf

__all__ = ["cdf", "logcdf", "logpmf", "logsf", "pmf", "ppf", "sf"]

_errors.user_functions(globals(), _eager.remembering())
