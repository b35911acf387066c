"""The Pareto distribution.

logpdf: log(b) - (b + 1) log(z) - log(scale), z = (x - loc) / scale >= 1

>>> from tracejit.scipy import stats
>>> stats.pareto.pdf(jnp.array([0.5, 1.0]), 2.0)
Array([0., 2.], dtype=float32)
"""

from tracejit import errors as _errors
from tracejit.frontend import eager as _eager
from tracejit.frontend import elementwise as _ew
from tracejit.scipy.stats.families import Continuous as _Continuous
from tracejit.scipy.stats.families import log1mexp as _log1mexp

_family = _Continuous(
    "pareto",
    ("b",),
    support=lambda b: (1, float("inf")),
    logpdf=lambda z, b: _ew.log(b) - (b + 1) * _ew.log(z),
    cdf=lambda z, b: -_ew.expm1(-b * _ew.log(z)),
    sf=lambda z, b: _ew.exp(-b * _ew.log(z)),
    logcdf=lambda z, b: _log1mexp(b * _ew.log(z)),
    logsf=lambda z, b: -b * _ew.log(z),
    ppf=lambda q, b: _ew.exp(-_ew.log1p(-q) / b),
    isf=lambda q, b: _ew.exp(-_ew.log(q) / b),
    doc="Of the Pareto distribution with exponent ``b``.",
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
