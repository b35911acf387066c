"""The von Mises distribution, on the circle.

logpdf: kappa (cos(z) - 1) - log(2 pi i0e(kappa)) - log(scale), z = (x - loc) / scale

>>> from tracejit.scipy import stats
>>> stats.vonmises.pdf(0.0, 0.0).round(4)
Array(0.1592, dtype=float32)
"""

from typing import Any as _Any

from tracejit import errors as _errors
from tracejit.frontend import eager as _eager
from tracejit.frontend import elementwise as _ew
from tracejit.scipy import special as _special
from tracejit.scipy.stats.families import LOG_TWO_PI as _LOG_TWO_PI
from tracejit.scipy.stats.families import Continuous as _Continuous


def _logpdf(z: _Any, kappa: _Any) -> _Any:
    """cos(z) - 1 as -2 sin(z / 2)**2: nothing cancels for large kappa."""
    fall = _ew.square(_ew.sin(z * 0.5)) * -2
    return kappa * fall - _LOG_TWO_PI - _ew.log(_special.i0e(kappa))


_family = _Continuous(
    "vonmises",
    ("kappa",),
    valid=(lambda kappa: kappa >= 0,),
    logpdf=_logpdf,
    doc="Of the von Mises distribution with concentration ``kappa``, at any angle.",
)

logpdf = _family.logpdf
pdf = _family.pdf

__all__ = ["logpdf", "pdf"]

_errors.user_functions(globals(), _eager.remembering())
