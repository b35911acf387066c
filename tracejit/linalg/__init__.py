"""Factorisations and solvers by LAPACK, with the names of ``jax.lax.linalg``.

    >>> from tracejit import linalg
    >>> l = linalg.cholesky(jnp.array([[4.0, 2.0], [2.0, 5.0]]))
    >>> print(l)
    [[2. 0.]
     [1. 2.]]

A matrix is the last two axes of an array; the axes before them are a stack. All take float32,
float64, complex64 and complex128, and are strict: dtypes of operands agree. ``numpy.linalg`` and
``scipy.linalg`` are built on them. Where a factorisation does not exist, LinAlgError is raised
outside of ``jit``; inside, the result is nan.
"""

from __future__ import annotations

from tracejit import errors as _errors
from tracejit.frontend import eager as _eager
from tracejit.linalg.factors import (
    cholesky,
    cholesky_update,
    geqrf,
    householder_product,
    lu,
    lu_pivots_to_permutation,
    ormqr,
    qr,
    symmetric_product,
)
from tracejit.linalg.polar import qdwh
from tracejit.linalg.solvers import (
    lu_solve,
    triangular_solve,
    tridiagonal_solve,
)
from tracejit.linalg.spectral import (
    EighImplementation,
    EigImplementation,
    SvdAlgorithm,
    eig,
    eigh,
    hessenberg,
    schur,
    svd,
    tridiagonal,
)

__all__ = [
    "EigImplementation",
    "EighImplementation",
    "SvdAlgorithm",
    "cholesky",
    "cholesky_update",
    "eig",
    "eigh",
    "geqrf",
    "hessenberg",
    "householder_product",
    "lu",
    "lu_pivots_to_permutation",
    "lu_solve",
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

_errors.user_functions(globals(), _eager.remembering())
