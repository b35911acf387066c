"""Student's t distribution.

logpdf: -betaln(1 / 2, df / 2) - log(df) / 2 - (df + 1) / 2 log1p(z**2 / df) - log(scale)

>>> from tracejit.scipy import stats
>>> stats.t.cdf(jnp.array([-1.0, 0.0, 1.0]), 1).round(4)
Array([0.25, 0.5 , 0.75], dtype=float32)
"""

from typing import Any as _Any

from tracejit import errors as _errors
from tracejit.frontend import eager as _eager
from tracejit.frontend import elementwise as _ew
from tracejit.ops import special_beta as _records
from tracejit.scipy import special as _special
from tracejit.scipy.special.operands import special as _run
from tracejit.scipy.stats.families import LOG_TWO_PI as _LOG_TWO_PI
from tracejit.scipy.stats.families import Continuous as _Continuous


def _logpdf(z: _Any, df: _Any) -> _Any:
    """For df that is infinite that of the normal distribution."""
    normal = (z * z + _LOG_TWO_PI) * -0.5
    finite = _ew.isfinite(df)
    n = _ew.select(finite, df, 1)
    found = -_special.betaln(n * 0.5, 0.5) - 0.5 * _ew.log(n)
    found = found - (n + 1) * 0.5 * _ew.log1p(z * z / n)
    return _ew.select(finite, found, normal)


def _cdf(z: _Any, df: _Any) -> _Any:
    return _run(_records.student_cdf, "t.cdf", df, z)


def _ppf(q: _Any, df: _Any) -> _Any:
    return _run(_records.student_quantile, "t.ppf", df, q)


_family = _Continuous(
    "t",
    ("df",),
    logpdf=_logpdf,
    cdf=lambda z, df: _cdf(z, df),
    sf=lambda z, df: _cdf(-z, df),
    ppf=_ppf,
    isf=lambda q, df: -_ppf(q, df),
    doc="Of Student's t distribution with ``df`` degrees of freedom.",
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
