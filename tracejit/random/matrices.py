"""Samplers that need a factorisation: multivariate_normal, orthogonal.

>>> orthogonal(key(0), 3).shape
(3, 3)

The numbers are those of JAX for the same key, within the rounding of the factorisation.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tracejit.errors import ShapeError
from tracejit.frontend import elementwise as ew
from tracejit.frontend import linear, shaping
from tracejit.frontend.array import Array
from tracejit.frontend.axes import integer, shape_tuple
from tracejit.frontend.promotion import convert
from tracejit.ir.types import real_dtype
from tracejit.linalg import cholesky, eigh, qr, svd
from tracejit.random.arguments import float_dtype, one_of, real_array
from tracejit.random.continuous import normal
from tracejit.source import here


def multivariate_normal(
    key: Any,
    mean: Any,
    cov: Any,
    shape: Any = None,
    dtype: Any = None,
    method: str = "cholesky",
    *,
    out_sharding: None = None,
) -> Array:
    """Normal vectors (*shape, n) with mean ``mean`` (..., n) and covariance ``cov`` (..., n, n).

    mean + F z with F F^T = cov by ``method``: "cholesky" for a positive definite cov, "eigh" or
    "svd" for semi-definite ones too. ``shape`` is that of the batch, by default that of the leading
    axes of both. Raises ShapeError where the arguments do not fit, ArgumentError for another
    method, LinAlgError where cov is not positive definite (nan inside jit).

    >>> random.multivariate_normal(random.key(0), jnp.zeros(2), jnp.eye(2), (3,)).shape
    (3, 2)
    """
    name = "multivariate_normal"
    one_of(name, "method", method, "svd", "eigh", "cholesky")
    wanted = float_dtype(name, dtype)
    mean, cov = (convert(real_array(name, x), wanted) for x in (mean, cov))
    n = mean.shape[-1] if mean.ndim else 0
    if mean.ndim < 1 or cov.ndim < 2 or cov.shape[-2:] != (n, n):
        raise ShapeError(
            f"{name}: takes mean (..., n) and cov (..., n, n), not {mean.type} and {cov.type}",
            at=here(),
        )
    lead = _lead(name, shape, mean.shape[:-1], cov.shape[:-2])
    factor = _factor(cov, method)
    z = normal(key, (*lead, n), wanted)
    product = linear.matmul(factor, shaping.expand_dims(z, -1))
    return ew.add(mean, shaping.squeeze(product, -1))  # type: ignore[no-any-return]


def _lead(name: str, shape: Any, *parts: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of the batch: ``shape``, which the parts broadcast to, or their common one."""
    try:
        common = np.broadcast_shapes(*parts)
        found = common if shape is None else shape_tuple(shape)
        if np.broadcast_shapes(found, common) != found:
            raise ValueError
    except ValueError:
        shown = " and ".join(map(str, parts))
        raise ShapeError(
            f"{name}: batches {shown} do not broadcast to shape {shape}", at=here()
        ) from None
    return found  # type: ignore[no-any-return]


def _factor(cov: Array, method: str) -> Array:
    if method == "cholesky":
        return cholesky(cov)  # type: ignore[no-any-return]
    if method == "eigh":
        vectors, sizes = eigh(cov)
    else:
        vectors, sizes, _ = svd(cov)
    return ew.multiply(vectors, shaping.expand_dims(ew.sqrt(sizes), -2))  # type: ignore[no-any-return]


def orthogonal(
    key: Any,
    n: int,
    shape: Any = (),
    dtype: Any = None,
    m: int | None = None,
    *,
    out_sharding: None = None,
) -> Array:
    """Orthogonal (for a complex dtype unitary) matrices (*shape, n, n), every one as likely as any
    other; with ``m`` (*shape, n, m) with orthonormal columns, or rows where n < m.

    The unitary factor of a matrix of normal numbers, with a positive diagonal of R: Mezzadri, "How
    to generate random matrices from the classical compact groups" (2007).

    >>> q = random.orthogonal(random.key(0), 3)
    >>> bool(jnp.allclose(q @ q.T, jnp.eye(3), atol=1e-5))
    True
    """
    wanted = float_dtype("orthogonal", dtype, "fc")
    rows = integer(n, "orthogonal: n")
    columns = rows if m is None else integer(m, "orthogonal: m")
    long, short = max(rows, columns), min(rows, columns)
    if short < 0:
        raise ShapeError(f"orthogonal: sizes {rows} and {columns}", at=here())
    z = normal(key, (*shape_tuple(shape), long, short), wanted)
    q, r = qr(z, full_matrices=False)
    d = shaping.diagonal(r, 0, -2, -1)
    size = convert(ew.absolute(d), real_dtype(wanted))
    turn = ew.divide(d, convert(size, wanted))
    found = ew.multiply(q, shaping.expand_dims(turn, -2))
    return shaping.matrix_transpose(found) if rows < columns else found  # type: ignore[no-any-return]
