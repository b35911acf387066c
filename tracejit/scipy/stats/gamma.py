"""The gamma distribution.

logpdf: (a - 1) log(z) - z - gammaln(a) - log(scale), z = (x - loc) / scale >= 0

>>> from tracejit.scipy import stats
>>> stats.gamma.pdf(jnp.array([-1.0, 0.0]), 1.0)
Array([0., 1.], dtype=float32)
"""

from tracejit import errors as _errors
from tracejit.frontend import eager as _eager
from tracejit.scipy import special as _special
from tracejit.scipy.stats.families import Continuous as _Continuous

_family = _Continuous(
    "gamma",
    ("a",),
    support=lambda a: (0, float("inf")),
    logpdf=lambda z, a: _special.xlogy(a - 1, z) - z - _special.gammaln(a),
    cdf=lambda z, a: _special.gammainc(a, z),
    sf=lambda z, a: _special.gammaincc(a, z),
    ppf=lambda q, a: _special.gammaincinv(a, q),
    isf=lambda q, a: _special.gammainccinv(a, q),
    doc="Of the gamma distribution with shape ``a``.",
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
