"""Polynomials through points and their zeros: polyfit, roots.

>>> print(roots(jnp.array([1.0, -3.0, 2.0])))
[2.+0.j 1.+0.j]
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tracejit.errors import ArgumentError, ShapeError
from tracejit.frontend import elementwise as ew
from tracejit.frontend import linear, promotion, reductions, shaping
from tracejit.frontend.array import Array
from tracejit.frontend.axes import integer
from tracejit.frontend.creation import eye, zeros
from tracejit.frontend.promotion import convert, to_inexact
from tracejit.ir.types import complex_dtype
from tracejit.linalg.decompositions import eigvals
from tracejit.linalg.equations import inv, lstsq
from tracejit.numpy.ranges import vander
from tracejit.source import here


def polyfit(
    x: Any,
    y: Any,
    deg: int,
    rcond: float | None = None,
    full: bool = False,
    w: Any = None,
    cov: bool | str = False,
) -> Any:
    """The coefficients (deg + 1,) or (deg + 1, k), highest power first, of the polynomial that fits
    ``y`` (m,) or (m, k) at ``x`` (m,) best: with the least sum of squares, weighted by ``w**2``.

    With ``full`` also ``(residuals, rank, singular values, rcond)`` of the least squares; with
    ``cov`` also the covariance of the coefficients, unscaled for ``cov="unscaled"``. ``rcond`` is
    the share of the largest singular value below which one counts as zero (m eps). Raises
    ShapeError where the arguments do not fit, ArgumentError for a negative degree and for too few
    points to estimate the covariance.

    >>> print(jnp.round(jnp.polyfit(jnp.array([0.0, 1.0, 2.0]), jnp.array([1.0, 3.0, 5.0]), 1), 4))
    [2. 1.]
    """
    order = integer(deg, "polyfit: deg") + 1
    if order < 1:
        raise ArgumentError(f"polyfit: deg is at least 0, not {deg}", at=here())
    x, y = (to_inexact(a) for a in promotion.promoted("polyfit", x, y))
    m = x.shape[0] if x.ndim == 1 else 0
    if not m or y.ndim not in (1, 2) or y.shape[0] != m:
        raise ShapeError(
            f"polyfit: takes x (m,) and y (m,) or (m, k), not {x.type} and {y.type}", at=here()
        )
    left, right = vander(x, order), y
    if w is not None:
        left, right = _weighted(left, right, convert(to_inexact(w), x.dtype))
    scale = ew.sqrt(reductions.sum(ew.square(ew.absolute(left)), 0))
    rcond = m * float(np.finfo(x.dtype).eps) if rcond is None else rcond
    c, residuals, rank, s = lstsq(ew.divide(left, scale), right, rcond)
    c = ew.divide(c, scale if y.ndim == 1 else shaping.expand_dims(scale, -1))
    if full:
        return c, residuals, rank, s, rcond
    if not cov:
        return c
    return c, _covariance(left, scale, residuals, m, order, cov, y.ndim)


def _weighted(left: Array, right: Array, w: Array) -> tuple[Array, Array]:
    if w.shape != left.shape[:1]:
        raise ShapeError(f"polyfit: w is of x's shape {left.shape[:1]}, not {w.type}", at=here())
    column = shaping.expand_dims(w, -1)
    return ew.multiply(left, column), ew.multiply(right, w if right.ndim == 1 else column)


def _covariance(
    left: Array, scale: Array, residuals: Array, m: int, order: int, cov: Any, ndim: int
) -> Array:
    scaled = ew.divide(left, scale)
    both = inv(linear.matmul(ew.conjugate(shaping.matrix_transpose(scaled)), scaled))
    both = ew.divide(both, linear.outer(scale, scale))
    if cov == "unscaled":
        factor = ew.add(ew.multiply(residuals, 0), 1)
        factor = factor[0] if ndim == 1 else factor[:1]
    else:
        if m <= order:
            raise ArgumentError(
                f"polyfit: {m} points leave nothing to estimate the covariance of {order} "
                "coefficients by",
                at=here(),
            )
        factor = ew.divide(residuals[0] if ndim == 1 else residuals, m - order)
    wide = both if ndim == 1 else shaping.expand_dims(both, -1)
    return ew.multiply(wide, factor)  # type: ignore[no-any-return]


def roots(p: Any, *, strip_zeros: bool = True) -> Array:
    """The zeros of the polynomial with coefficients ``p``, highest power first: complex, the
    eigenvalues of the companion matrix.

    Coefficients that are 0 at the front are left out, those at the back are zeros of the
    polynomial. How many there are must be known: inside jit pass ``strip_zeros=False``, and a
    leading 0 gives nan. Raises ShapeError where ``p`` is no vector.

    >>> print(jnp.roots(jnp.array([0.0, 1.0, 0.0])))
    [0.+0.j]
    """
    p = to_inexact(p)
    if p.ndim != 1:
        raise ShapeError(f"roots: takes a vector of coefficients, not {p.type}", at=here())
    behind = 0
    if strip_zeros:
        if not p._has_value:
            raise p.traced_error("roots() that strips zeros", "pass strip_zeros=False inside jit")
        there = np.flatnonzero(p.concrete("roots()"))
        if not there.size:
            return zeros((0,), complex_dtype(p.dtype))  # type: ignore[no-any-return]
        behind = p.shape[0] - 1 - int(there[-1])
        p = p[int(there[0]) : int(there[-1]) + 1]
    n = p.shape[0] - 1
    if n < 1:
        return zeros((behind,), complex_dtype(p.dtype))  # type: ignore[no-any-return]
    row = ew.negative(ew.divide(p[1:], p[0]))
    below = eye(n - 1, n, dtype=p.dtype)
    matrix = shaping.concatenate([shaping.expand_dims(row, 0), below])
    found = eigvals(matrix)
    return shaping.concatenate([found, zeros((behind,), found.dtype)]) if behind else found  # type: ignore[no-any-return]
