"""The beta-binomial distribution.

logpmf: -log(n + 1) - betaln(n - k + 1, k + 1) + betaln(k + a, n - k + b) - betaln(a, b)

>>> from tracejit.scipy import stats
>>> stats.betabinom.pmf(jnp.array([0, 1]), 1, 1.0, 1.0).round(4)
Array([0.5, 0.5], dtype=float...)
"""

from typing import Any as _Any

from tracejit import errors as _errors
from tracejit.frontend import eager as _eager
from tracejit.frontend import elementwise as _ew
from tracejit.scipy import special as _special
from tracejit.scipy.stats.families import Discrete as _Discrete
from tracejit.scipy.stats.families import is_positive as _is_positive


def _logpmf(k: _Any, n: _Any, a: _Any, b: _Any) -> _Any:
    ways = -_special.betaln(n - k + 1, k + 1) - _ew.log(n + 1)
    return ways + _special.betaln(k + a, n - k + b) - _special.betaln(a, b)


_family = _Discrete(
    "betabinom",
    ("n", "a", "b"),
    support=lambda n, a, b: (0, n),
    valid=(lambda n: n >= 0, _is_positive, _is_positive),
    logpmf=_logpmf,
    doc="Of the number of successes in ``n`` trials whose probability is beta distributed.",
)

logpmf = _family.logpmf
pmf = _family.pmf

__all__ = ["logpmf", "pmf"]

_errors.user_functions(globals(), _eager.remembering())
