"""The multinomial distribution.

logpmf: gammaln(n + 1) + sum(x log(p) - gammaln(x + 1))

>>> from tracejit.scipy import stats
>>> stats.multinomial.pmf(jnp.array([1.0, 1.0]), 2, jnp.array([0.5, 0.5])).round(4)
Array(0.5, dtype=float32)
"""

from typing import Any

from tracejit import errors as _errors
from tracejit.errors import ShapeError
from tracejit.frontend import eager as _eager
from tracejit.frontend import elementwise as _ew
from tracejit.frontend import reductions as _reductions
from tracejit.frontend.array import Array
from tracejit.frontend.promotion import broadcast_shapes as _broadcast_shapes
from tracejit.scipy import special as _special
from tracejit.scipy.special.operands import promoted as _promoted
from tracejit.source import here as _here


def logpmf(x: Any, n: Any, p: Any) -> Array:
    """The log-probability of counts x (..., k) in n (...) draws with chances p (..., k).

    -inf where x are no whole numbers, are negative or do not sum to n; nan where a chance is
    negative. Raises ShapeError where x or p is a scalar.

    >>> logpmf(jnp.array([1.0, 2.0]), 2, jnp.array([0.5, 0.5]))
    Array(-inf, dtype=float32)
    """
    x, n, p = _promoted("multinomial.logpmf", x, n, p)
    if x.ndim == 0 or p.ndim == 0:
        raise ShapeError(
            f"multinomial.logpmf: counts {x.type} and chances {p.type} need an axis", at=_here()
        )
    _broadcast_shapes("multinomial.logpmf", [x, p])
    total = _reductions.sum(_special.xlogy(x, p) - _special.gammaln(x + 1), -1)
    found = _special.gammaln(n + 1) + total
    whole = _reductions.all(_ew.logical_and(x >= 0, _ew.floor(x) == x), -1)
    outcome = _ew.logical_and(whole, _reductions.sum(x, -1) == n)
    return _ew.select(outcome, found, -float("inf"))  # type: ignore[no-any-return]


def pmf(x: Any, n: Any, p: Any) -> Array:
    """The probability of counts x in n draws with chances p: exp(logpmf(x, n, p)).

    >>> pmf(jnp.array([2.0, 0.0]), 2, jnp.array([0.5, 0.5])).round(4)
    Array(0.25, dtype=float32)
    """
    return _ew.exp(logpmf(x, n, p))  # type: ignore[no-any-return]


__all__ = ["logpmf", "pmf"]

_errors.user_functions(globals(), _eager.remembering())
