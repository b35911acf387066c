"""The Poisson distribution.

logpmf: k log(mu) - mu - gammaln(k + 1)

>>> from tracejit.scipy import stats
>>> stats.poisson.pmf(jnp.array([-1, 0]), 0.0)
Array([0., 1.]...)
"""

from typing import Any as _Any

from tracejit import errors as _errors
from tracejit.frontend import creation as _creation
from tracejit.frontend import eager as _eager
from tracejit.frontend import elementwise as _ew
from tracejit.frontend import reductions as _reductions
from tracejit.scipy import special as _special
from tracejit.scipy.special.operands import apart as _apart
from tracejit.scipy.stats.families import LOG_TWO_PI as _LOG_TWO_PI
from tracejit.scipy.stats.families import Discrete as _Discrete
from tracejit.scipy.stats.families import least as _least


def _logpmf(k: _Any, mu: _Any) -> _Any:
    return _special.xlogy(k, mu) - mu - _special.gammaln(k + 1)


def _cdf(k: _Any, mu: _Any) -> _Any:
    return _special.gammaincc(k + 1, mu)


_family = _Discrete(
    "poisson",
    ("mu",),
    valid=(lambda mu: mu >= 0,),
    logpmf=_logpmf,
    cdf=_cdf,
    sf=lambda k, mu: _special.gammainc(k + 1, mu),
    ppf=lambda q, mu: _least(_cdf, q, (mu,), mu),
    doc="Of the Poisson distribution with mean ``mu``.",
)
#: up to this mean the entropy is summed over so many outcomes
_SUMMED, _OUTCOMES = 200.0, 420
#: log(2 pi e) / 2
_HALF = 0.5 * (_LOG_TWO_PI + 1)


def entropy(mu: _Any, loc: _Any = 0) -> _Any:
    """The entropy in nats; ``loc`` moves nothing. nan for negative ``mu``.

    A sum over outcomes, for large means the asymptotic series log(2 pi e mu) / 2 - 1 / (12 mu) - 1
    / (24 mu**2) - 19 / (360 mu**3) (Evans, Boersma, Blachman and Jagers, SIAM Review 30, 1988).

    >>> entropy(jnp.array([0.0, 1.0])).round(4)
    Array([0.    , 1.3048], dtype=float32)
    """
    mu, loc = _apart("poisson.entropy", mu, loc)
    mu = _ew.select(mu >= 0, mu, float("nan")) + loc * 0
    small = _ew.minimum(mu, _SUMMED)
    k = _creation.arange(_OUTCOMES, dtype=mu.dtype)
    logs = _logpmf(k, small[..., None])
    # p log p and its derivative are 0 where p underflows
    likely = logs > -700.0
    summed = _reductions.sum(_ew.select(likely, _ew.exp(logs) * -logs, 0), -1)
    large = _ew.maximum(mu, _SUMMED)
    part = 1 / large
    series = part * (-1 / 12 + part * (-1 / 24 - part * (19 / 360)))
    return _ew.select(mu > _SUMMED, 0.5 * _ew.log(large) + _HALF + series, summed)


cdf = _family.cdf
logcdf = _family.logcdf
logpmf = _family.logpmf
logsf = _family.logsf
pmf = _family.pmf
ppf = _family.ppf
sf = _family.sf

__all__ = ["cdf", "entropy", "logcdf", "logpmf", "logsf", "pmf", "ppf", "sf"]

_errors.user_functions(globals(), _eager.remembering())
