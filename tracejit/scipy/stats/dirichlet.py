"""The Dirichlet distribution, on the simplex.

logpdf: sum((alpha - 1) log(x)) - sum(gammaln(alpha)) + gammaln(sum(alpha))

>>> from tracejit.scipy import stats
>>> stats.dirichlet.pdf(jnp.array([0.5, 0.5]), jnp.array([1.0, 1.0]))
Array(1., dtype=float32)
"""

from typing import Any

from tracejit import errors as _errors
from tracejit.errors import ShapeError
from tracejit.frontend import eager as _eager
from tracejit.frontend import elementwise as _ew
from tracejit.frontend import reductions as _reductions
from tracejit.frontend import shaping as _shaping
from tracejit.frontend.array import Array
from tracejit.frontend.promotion import reshaped as _reshaped
from tracejit.scipy import special as _special
from tracejit.scipy.special.operands import promoted as _promoted
from tracejit.source import here as _here

#: how far the sum of a point of the simplex may be off
_TOLERANCE = 1e-6


def logpdf(x: Any, alpha: Any) -> Array:
    """The logarithm of the density at x with concentrations alpha (k,).

    x is (k, ...), its first axis over the components, or (k - 1, ...): the last component then is
    what is missing to 1. The result has the other axes. -inf where x is not on the simplex; nan
    where a concentration is not positive. Raises ShapeError for other shapes.

    >>> logpdf(jnp.array([0.5, 0.7]), jnp.array([1.0, 1.0]))
    Array(-inf, dtype=float32)
    """
    x, alpha = _promoted("dirichlet.logpdf", x, alpha)
    if alpha.ndim != 1:
        raise ShapeError(f"dirichlet.logpdf: `alpha` has one axis, not {alpha.type}", at=_here())
    if x.ndim == 0 or x.shape[0] not in (alpha.size - 1, alpha.size):
        raise ShapeError(
            f"dirichlet.logpdf: `x` has {alpha.size} or {alpha.size - 1} components along its "
            f"first axis, not {x.type}",
            at=_here(),
        )
    if x.shape[0] != alpha.size:
        rest = 1 - _reductions.sum(x, 0, keepdims=True)
        x = _shaping.concatenate([x, rest], 0)
    sums = _reductions.sum(x, 0)
    outside = _ew.logical_or(
        _reductions.any(x < 0, 0), _ew.absolute(sums - 1) > _tolerance(x, alpha.size)
    )
    alpha = _ew.select(alpha > 0, alpha, float("nan"))
    powers = _reshaped(alpha - 1, (alpha.size, *(1,) * (x.ndim - 1)))
    found = _reductions.sum(_special.xlogy(powers, x), 0)
    constant = _special.gammaln(_reductions.sum(alpha)) - _reductions.sum(_special.gammaln(alpha))
    return _ew.select(outside, -float("inf"), found + constant)  # type: ignore[no-any-return]


def _tolerance(x: Array, count: int) -> float:
    """Wider where the rounding of many components makes it necessary."""
    return _TOLERANCE if x.dtype.itemsize >= 8 else max(_TOLERANCE, count * 1.2e-7)


def pdf(x: Any, alpha: Any) -> Array:
    """The density at x with concentrations alpha: exp(logpdf(x, alpha)).

    >>> pdf(jnp.array([0.5]), jnp.array([2.0, 1.0]))
    Array(1., dtype=float32)
    """
    return _ew.exp(logpdf(x, alpha))  # type: ignore[no-any-return]


__all__ = ["logpdf", "pdf"]

_errors.user_functions(globals(), _eager.remembering())
