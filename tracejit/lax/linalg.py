"""``jax.lax.linalg``: the functions of ``tracejit.linalg`` under JAX's name.

>>> from tracejit import lax
>>> print(lax.linalg.cholesky(jnp.array([[9.0]])))
[[3.]]
"""

from __future__ import annotations

from tracejit.linalg import (
    EighImplementation,
    EigImplementation,
    SvdAlgorithm,
    cholesky,
    cholesky_update,
    eig,
    eigh,
    hessenberg,
    householder_product,
    lu,
    lu_pivots_to_permutation,
    ormqr,
    qdwh,
    qr,
    schur,
    svd,
    symmetric_product,
    triangular_solve,
    tridiagonal,
    tridiagonal_solve,
)

__all__ = [
    "EigImplementation",
    "EighImplementation",
    "SvdAlgorithm",
    "cholesky",
    "cholesky_update",
    "eig",
    "eigh",
    "hessenberg",
    "householder_product",
    "lu",
    "lu_pivots_to_permutation",
    "ormqr",
    "qdwh",
    "qr",
    "schur",
    "svd",
    "symmetric_product",
    "triangular_solve",
    "tridiagonal",
    "tridiagonal_solve",
]
