"""Cases of ``tracejit.lax.linalg``, whose functions are those of ``tracejit.linalg``."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.vocabulary.spec import Draw, case, ints, of, real

LAPACK = ("float32", "float64", "complex64", "complex128")
NAME = "tracejit.lax.linalg."
LOOSE = {"tol32": 2e-4}


def positive_definite(*shape: int) -> Draw:
    """Hermitian matrices whose eigenvalues are at least 1."""
    return of(lambda a: (a @ adjoint(a) + np.eye(shape[-1])).astype(a.dtype), real(*shape))


def conditioned(*shape: int) -> Draw:
    """Matrices with a large diagonal."""
    return of(lambda a: (a + 4 * np.eye(*shape[-2:])).astype(a.dtype), real(*shape))


def hermitian(*shape: int) -> Draw:
    return of(lambda a: ((a + adjoint(a)) / 2).astype(a.dtype), real(*shape))


def adjoint(a: Any) -> Any:
    return np.conj(np.swapaxes(a, -1, -2))


def projector(v: Any) -> Any:
    """What does not depend on the phases of the columns of v."""
    return v @ adjoint(np.asarray(v))


def numpy(x: Any) -> Any:
    return [np.asarray(y) for y in x] if isinstance(x, tuple | list) else np.asarray(x)


def of_eigh(vw: Any) -> Any:
    v, w = numpy(vw)
    return w, (v * w[..., None, :]) @ adjoint(v)


def of_svd(usv: Any) -> Any:
    u, s, vh = numpy(usv)
    k = s.shape[-1]
    return s, (u[..., :, :k] * s[..., None, :]) @ vh[..., :k, :], projector(u[..., :, :k])


def of_eig(result: Any) -> Any:
    """Eigenvalues in one order, and the projectors on their right vectors."""
    w, *vs = numpy(result)
    order = np.lexsort((np.round(w.imag, 4), np.round(w.real, 4)))
    parts = [v[:, order] for v in vs]
    return w[order], *(np.einsum("ik,jk->kij", v, v.conj()) for v in parts)


def of_schur(tz: Any) -> Any:
    t, z = numpy(tz)
    return z @ t @ adjoint(z), projector(z)


def of_hessenberg(result: Any) -> Any:
    h, taus = numpy(result)
    return np.abs(h), np.abs(taus)


#: the first two of the columns of U, of the values, of the rows of V^H
CUTS = ((..., slice(2)), (..., slice(2)), (..., slice(2), slice(None)))
PHASES = "vectors are known up to phases, which the tangents of LAPACK's choice do not follow"
NO_RULE = "LAPACK's own form of factors has no derivative, as in JAX"

CASES = [
    case(NAME + "cholesky", positive_definite(3, 3), dtypes=LAPACK, **LOOSE),
    case(NAME + "cholesky", positive_definite(2, 3, 3), symmetrize_input=False, dtypes=LAPACK),
    case(NAME + "cholesky", positive_definite(0, 0)),
    case(NAME + "lu", conditioned(3, 3), dtypes=LAPACK, **LOOSE),
    case(NAME + "lu", real(4, 2), label="tall"),
    case(NAME + "lu", real(2, 4), label="wide"),
    case(NAME + "lu", real(2, 3, 3), label="stack", **LOOSE),
    case(NAME + "lu_pivots_to_permutation", ints(2, 3, low=3, below=5, dtype="int32"), 5),
    case(NAME + "qr", conditioned(3, 3), dtypes=LAPACK, **LOOSE),
    case(NAME + "qr", real(4, 2), full_matrices=False, dtypes=LAPACK, **LOOSE),
    case(NAME + "qr", real(2, 3), dtypes=LAPACK, label="wide", **LOOSE),
    case(NAME + "qr", real(2, 4, 3), pivoting=True, full_matrices=False, **LOOSE),
    case(
        NAME + "qr",
        real(4, 2),
        label="complete",
        grad="the further columns of a full Q are any basis",
        **LOOSE,
    ),
    case(NAME + "svd", real(3, 3), compute_uv=False, dtypes=LAPACK, **LOOSE),
    case(NAME + "svd", real(4, 2), full_matrices=False, after=of_svd, **LOOSE),
    case(NAME + "svd", real(2, 4), after=of_svd, grad=PHASES, dtypes=LAPACK, **LOOSE),
    case(
        NAME + "svd",
        real(2, 3, 4),
        full_matrices=False,
        subset_by_index=(0, 2),
        reference=lambda x, **_: tuple(
            y[cut] for y, cut in zip(np.linalg.svd(x, full_matrices=False), CUTS, strict=True)
        ),
        after=of_svd,
        **LOOSE,
    ),
    case(NAME + "eigh", hermitian(3, 3), after=of_eigh, **LOOSE),
    case(
        NAME + "eigh",
        hermitian(2, 3, 3),
        after=of_eigh,
        dtypes=("complex64", "complex128"),
        grad=PHASES,
        **LOOSE,
    ),
    case(NAME + "eigh", real(3, 3), lower=False, symmetrize_input=False, after=of_eigh, **LOOSE),
    case(
        NAME + "eigh",
        hermitian(3, 3),
        subset_by_index=(1, 3),
        reference=lambda x, **_: (np.linalg.eigh(x)[1][:, 1:], np.linalg.eigh(x)[0][1:]),
        after=of_eigh,
        **LOOSE,
    ),
    case(NAME + "eig", real(3, 3), after=of_eig, dtypes=LAPACK, tol32=2e-3),
    case(
        NAME + "eig",
        real(3, 3),
        compute_left_eigenvectors=False,
        compute_right_eigenvectors=False,
        after=lambda r: of_eig(r),
        dtypes=LAPACK,
        tol32=2e-3,
    ),
    case(NAME + "schur", real(3, 3), after=of_schur, grad=NO_RULE, dtypes=LAPACK, **LOOSE),
    case(
        NAME + "schur",
        hermitian(3, 3),
        compute_schur_vectors=False,
        reference=lambda x, **_: np.diag(np.linalg.eigvalsh(x)),
        after=lambda t: np.sort(np.diagonal(np.asarray(t), axis1=-2, axis2=-1).real),
        grad=NO_RULE,
        **LOOSE,
    ),
    case(
        NAME + "hessenberg",
        real(2, 4, 4),
        after=of_hessenberg,
        grad=NO_RULE,
        dtypes=LAPACK,
        **LOOSE,
    ),
    case(
        NAME + "tridiagonal",
        hermitian(4, 4),
        after=lambda r: [np.abs(x) for x in numpy(r)[1:3]],
        grad=NO_RULE,
        dtypes=LAPACK,
        **LOOSE,
    ),
    *(
        case(
            NAME + "triangular_solve",
            conditioned(3, 3),
            real(3, 2) if left else real(2, 3),
            left_side=left,
            lower=lower,
            transpose_a=turned,
            conjugate_a=turned and lower,
            dtypes=LAPACK,
        )
        for left in (True, False)
        for lower in (True, False)
        for turned in (True, False)
    ),
    case(NAME + "triangular_solve", conditioned(2, 3, 3), real(2, 3, 1), left_side=True),
    case(
        NAME + "triangular_solve",
        conditioned(3, 3),
        real(3),
        left_side=True,
        unit_diagonal=True,
        label="vector",
    ),
    case(
        NAME + "triangular_solve",
        conditioned(3, 3),
        real(3, 2),
        left_side=True,
        vmap=(1,),
        label="one matrix",
    ),
    case(
        NAME + "tridiagonal_solve",
        real(4),
        real(4, low=5, high=6),
        real(4),
        real(4, 2),
        dtypes=LAPACK,
    ),
    case(NAME + "householder_product", real(4, 3), real(3, low=0.1, high=1), tol32=2e-3),
    case(NAME + "householder_product", real(2, 3, 2), real(2, 2), tol32=2e-3),
    *(
        case(
            NAME + "ormqr",
            real(4, 3),
            real(3, low=0.1, high=0.5),
            real(4, 2) if left else real(2, 4),
            left=left,
            transpose=turned,
            tol32=2e-3,
        )
        for left in (True, False)
        for turned in (True, False)
    ),
    case(
        NAME + "cholesky_update",
        of(lambda a: np.triu(a + 3 * np.eye(3)).astype(a.dtype), real(3, 3)),
        real(3),
        **LOOSE,
    ),
    case(
        NAME + "symmetric_product",
        real(3, 2),
        hermitian(3, 3),
        alpha=2.0,
        beta=0.5,
        symmetrize_output=True,
    ),
    case(
        NAME + "qdwh",
        conditioned(3, 3),
        after=lambda r: [np.asarray(x) for x in r[:2]],
        check_dtype="JAX counts its own iterations",
        **LOOSE,
    ),
]
