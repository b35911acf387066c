"""The multivariate normal distribution.

logpdf: -((x - mean) cov**-1 (x - mean) + log det(2 pi cov)) / 2

>>> from tracejit.scipy import stats
>>> stats.multivariate_normal.logpdf(jnp.zeros(2), jnp.zeros(2), jnp.eye(2)).round(3)
Array(-1.838, dtype=float32)
"""

import math as _math
from typing import Any

from tracejit import errors as _errors
from tracejit.errors import ArgumentError, ShapeError
from tracejit.frontend import eager as _eager
from tracejit.frontend import elementwise as _ew
from tracejit.frontend import reductions as _reductions
from tracejit.frontend import shaping as _shaping
from tracejit.frontend.array import Array
from tracejit.frontend.promotion import broadcast_to as _broadcast_to
from tracejit.linalg import cholesky as _cholesky
from tracejit.linalg import triangular_solve as _triangular_solve
from tracejit.scipy.special.operands import promoted as _promoted
from tracejit.source import here as _here

_LOG_TWO_PI = _math.log(2 * _math.pi)


def logpdf(x: Any, mean: Any, cov: Any, allow_singular: None = None) -> Array:
    """The logarithm of the density at x (..., n) with mean (..., n) and covariance (..., n, n).

    Leading axes broadcast; the result has them. No ``mean`` (None) is 0, as in SciPy. A scalar
    ``cov`` is a variance: of one variable
    where x and mean are scalars, of each of independent ones otherwise. Of ``cov`` the lower
    triangle counts, by Cholesky's factorisation: where it is not positive definite the result is
    nan, or LinAlgError outside of jit. Raises ShapeError for other shapes, ArgumentError for
    ``allow_singular``.

    >>> logpdf(jnp.ones(2), 1.0, 1.0).round(3)
    Array(-1.838, dtype=float32)
    """
    if allow_singular is not None:
        raise ArgumentError(
            "multivariate_normal.logpdf: there is no `allow_singular`",
            at=_here(),
            hint="add a small multiple of the identity to the covariance",
        )
    mean = 0.0 if mean is None else mean
    x, mean, cov = _promoted("multivariate_normal.logpdf", x, mean, cov)
    if mean.shape == () and cov.shape == ():
        n = x.shape[-1] if x.ndim else 1
        squares = _ew.square(x - mean) / cov
        total = _reductions.sum(squares, -1) if x.ndim else squares
        return -0.5 * (total + n * (_LOG_TWO_PI + _ew.log(cov)))  # type: ignore[no-any-return]
    n = _size(x, mean, cov)
    centred = x - mean
    if centred.ndim and centred.shape[-1] != n:
        centred = _broadcast_to(centred, (*centred.shape[:-1], n))
    if cov.ndim < 2:
        total = _reductions.sum(_ew.square(centred) / cov, -1)
        return -0.5 * (total + n * (_LOG_TWO_PI + _ew.log(cov)))  # type: ignore[no-any-return]
    lower = _cholesky(cov)
    whitened = _solved(lower, centred)
    total = _reductions.sum(_ew.square(whitened), -1)
    log_det = _reductions.sum(_ew.log(_shaping.diagonal(lower, 0, -2, -1)), -1)
    return -0.5 * (total + n * _LOG_TWO_PI) - log_det  # type: ignore[no-any-return]


def _size(x: Array, mean: Array, cov: Array) -> int:
    """How many variables there are; ShapeError where the operands disagree."""
    sizes = {a.shape[-1] for a in (x, mean, cov) if a.ndim}
    square = cov.ndim != 1 and (cov.ndim < 2 or cov.shape[-1] == cov.shape[-2])
    if len(sizes - {1}) > 1 or not square or (cov.ndim and x.ndim == 0):
        raise ShapeError(
            f"multivariate_normal.logpdf: x {x.type}, mean {mean.type} and cov {cov.type} do not "
            "agree: (..., n), (..., n) and (..., n, n)",
            at=_here(),
        )
    return max(sizes)


def _solved(lower: Array, centred: Array) -> Array:
    """L^-1 (x - mean), leading axes broadcast: one solve where there is only one matrix."""
    if lower.ndim == 2:
        flat = _shaping.reshape(centred, (-1, centred.shape[-1]))
        found = _triangular_solve(
            lower, _shaping.matrix_transpose(flat), left_side=True, lower=True
        )
        return _shaping.reshape(_shaping.matrix_transpose(found), centred.shape)  # type: ignore[no-any-return]
    lead = _common(lower.shape[:-2], centred.shape[:-1])
    lower = _shaping.broadcast_to(lower, (*lead, *lower.shape[-2:]))
    centred = _shaping.broadcast_to(centred, (*lead, centred.shape[-1]))
    found = _triangular_solve(lower, centred[..., None], left_side=True, lower=True)
    return found[..., 0]  # type: ignore[no-any-return]


def _common(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    rank = max(map(len, shapes))
    wide = [(1,) * (rank - len(s)) + tuple(s) for s in shapes]
    found = []
    for sizes in zip(*wide, strict=True):
        different = set(sizes) - {1}
        if len(different) > 1:
            raise ShapeError(
                f"multivariate_normal.logpdf: leading axes {' and '.join(map(str, shapes))} do not "
                "broadcast",
                at=_here(),
            )
        found.append(different.pop() if different else 1)
    return tuple(found)


def pdf(x: Any, mean: Any, cov: Any) -> Array:
    """The density at x with mean and covariance ``cov``: exp(logpdf(x, mean, cov)).

    >>> pdf(jnp.zeros(2), jnp.zeros(2), jnp.eye(2)).round(4)
    Array(0.1592, dtype=float32)
    """
    return _ew.exp(logpdf(x, mean, cov))  # type: ignore[no-any-return]


__all__ = ["logpdf", "pdf"]

_errors.user_functions(globals(), _eager.remembering())
