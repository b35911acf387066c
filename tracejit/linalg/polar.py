"""The polar decomposition x = U H by Halley's iteration with dynamic weights.

>>> from tracejit import linalg
>>> u, h, steps, converged = linalg.qdwh(jnp.array([[0.0, 2.0], [-3.0, 0.0]]))
>>> print(jnp.round(jnp.abs(u), 4), bool(converged))
[[0. 1.]
 [1. 0.]] True
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tracejit.errors import ArgumentError, ShapeError
from tracejit.frontend import elementwise, linear, reductions, shaping
from tracejit.frontend.array import as_array
from tracejit.frontend.axes import integer
from tracejit.frontend.creation import asarray, eye
from tracejit.frontend.promotion import broadcast_to
from tracejit.linalg.factors import adjoint, qr, symmetrized
from tracejit.source import here


def qdwh(
    x: Any,
    *,
    is_hermitian: bool = False,
    max_iterations: int | None = None,
    eps: float | None = None,
    dynamic_shape: tuple[int, int] | None = None,
) -> tuple[Any, Any, Any, Any]:
    """``(u, h, iterations, converged)`` with x = u h for a matrix x[m, n] of full rank, m >= n: u
    has orthonormal columns and h is Hermitian positive semi-definite.

    The QR-based dynamically weighted Halley iteration (Nakatsukasa, Bai, Gygi, "Optimizing Halley's
    iteration for computing the matrix polar decomposition", 2010) goes on until a step changes the
    norm by less than (4 eps)^(1/3) of it, ``max_iterations`` (10) times at most.

    Raises ShapeError unless m >= n, ArgumentError for ``dynamic_shape``, which is not provided.
    """
    if dynamic_shape is not None:
        raise ArgumentError("qdwh: dynamic_shape is not provided", at=here())
    x = as_array(x)
    if x.ndim != 2 or x.shape[0] < x.shape[1]:
        raise ShapeError(
            f"qdwh: takes a matrix with at least as many rows as columns, not {x.type}", at=here()
        )
    most = 10 if max_iterations is None else integer(max_iterations, "qdwh: max_iterations")
    small = float(np.finfo(x.dtype).eps) if eps is None else float(eps)
    size = elementwise.absolute(x)
    # the root of the product of these norms is at least the largest singular value
    rows, columns = (reductions.max(reductions.sum(size, k)) for k in (0, 1))
    u = elementwise.divide(x, elementwise.sqrt(elementwise.multiply(rows, columns)))
    bound = small
    steps, done = asarray(0, dtype="int32"), asarray(False)
    for _ in range(most):
        a, b, c, bound = _weights(bound)
        new = _halley(u, a, b, c)
        far = _norm(elementwise.subtract(new, u))
        near = elementwise.less_equal(far, elementwise.multiply(_norm(new), (4 * small) ** (1 / 3)))
        u = elementwise.select(broadcast_to(done, u.shape), u, new)
        steps = elementwise.add(steps, elementwise.select(done, 0, 1).astype("int32"))
        if abs(1 - bound) < 10 * small:
            done = elementwise.logical_or(done, near)
    h = symmetrized(linear.matmul(adjoint(u), x))
    return u, h, steps, done


def _weights(bound: float) -> tuple[float, float, float, float]:
    """Halley's weights for singular values in [bound, 1], and the bound after the step."""
    square = bound * bound
    d = (4 * (1 / square - 1) / square) ** (1 / 3) if bound < 1 else 0.0
    root = math.sqrt(1 + d)
    inner = max(8 - 4 * d + 8 * (2 - square) / (square * root), 0.0)
    a = root + 0.5 * math.sqrt(inner)
    b = (a - 1) ** 2 / 4
    c = a + b - 1
    return a, b, c, min(bound * (a + b * square) / (1 + c * square), 1.0)


def _halley(u: Any, a: float, b: float, c: float) -> Any:
    """u (a + b u^H u) / (1 + c u^H u), from the QR factors of [sqrt(c) u; I]."""
    m, n = u.shape
    wide = shaping.concatenate([elementwise.multiply(u, math.sqrt(c)), eye(n, dtype=u.dtype)], 0)
    q, _ = qr(wide, full_matrices=False)
    upper, lower = shaping.cut(q, 0, 0, m), shaping.cut(q, 0, m, m + n)
    turned = linear.matmul(upper, adjoint(lower))
    scaled = elementwise.multiply(turned, (a - b / c) / math.sqrt(c))
    return elementwise.add(elementwise.multiply(u, b / c), scaled)


def _norm(x: Any) -> Any:
    return elementwise.sqrt(reductions.sum(elementwise.square(elementwise.absolute(x))))
