"""The beta distribution.

logpdf: (a - 1) log(z) + (b - 1) log1p(-z) - betaln(a, b) - log(scale), 0 <= z <= 1

>>> from tracejit.scipy import stats
>>> stats.beta.cdf(jnp.array([0.0, 0.5, 1.0]), 1.0, 1.0)
Array([0. , 0.5, 1. ], dtype=float32)
"""

from tracejit import errors as _errors
from tracejit.frontend import eager as _eager
from tracejit.scipy import special as _special
from tracejit.scipy.stats.families import Continuous as _Continuous

_family = _Continuous(
    "beta",
    ("a", "b"),
    support=lambda a, b: (0, 1),
    logpdf=lambda z, a, b: (
        _special.xlogy(a - 1, z) + _special.xlog1py(b - 1, -z) - _special.betaln(a, b)
    ),
    cdf=lambda z, a, b: _special.betainc(a, b, z),
    sf=lambda z, a, b: _special.betaincc(a, b, z),
    ppf=lambda q, a, b: _special.betaincinv(a, b, q),
    isf=lambda q, a, b: _special.betainccinv(a, b, q),
    doc="Of the beta distribution with shapes ``a`` and ``b``, on [loc, loc + scale].",
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
