"""The uniform distribution on [loc, loc + scale].

logpdf: -log(scale)

>>> from tracejit.scipy import stats
>>> stats.uniform.pdf(jnp.array([-1.0, 0.5]))
Array([0., 1.], dtype=float32)
"""

from tracejit import errors as _errors
from tracejit.frontend import eager as _eager
from tracejit.scipy.stats.families import Continuous as _Continuous

_family = _Continuous(
    "uniform",
    support=lambda: (0, 1),
    logpdf=lambda z: z * 0,
    cdf=lambda z: z,
    sf=lambda z: 1 - z,
    ppf=lambda q: q,
    isf=lambda q: 1 - q,
    doc="Of the uniform distribution on [loc, loc + scale].",
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
