"""Routines of linear algebra as the libraries of GPUs have them.

    raw_potrf(x: f64[2,3,3])                      -> f64[2,3,3], i32[2]
    raw_getrf(x: f64[2,3,4], batched=False)       -> f64[2,3,4], i64[2,3], i32[2]
    raw_trsm(b: f64[3,2], a: f64[3,3], ...)       -> f64[3,2]

Matrices of libraries lie column after column: operands called ``x``, and the results beside
vectors, are the transposes of the matrices that are meant. The last result of most says for each
matrix whether the routine failed (not 0), and what the others are then is open. The first result is
the first operand, changed in place. ``passes/solver.py`` writes these in place of the records of
``ops/lapack.py``, with operations around them: they need no other rules.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tracejit.ir.prim import Primitive
from tracejit.ir.types import DTYPES, TensorType, kind, real_dtype
from tracejit.ops import lapack, linalg
from tracejit.ops import linalg_parts as m

I32, I64 = DTYPES["i32"], DTYPES["i64"]


def _info(x: TensorType) -> TensorType:
    return TensorType(I32, x.shape[:-2])


def _none(x: Any, failed: Any = None) -> Any:
    """The failures of a stack: where ``failed`` says so."""
    if failed is None:
        return np.zeros(x.shape[:-2], np.int32)
    return np.asarray(failed, np.int32)


def _not_finite(*arrays: Any) -> Any:
    """The matrices of a stack whose first array has something that is not finite."""
    x = arrays[0]
    return ~np.isfinite(x).all(axis=(-2, -1))


def _square(name: str, x: TensorType) -> TensorType:
    m.check_matrix(name, x, square=True)
    return x


def _routine(name: str, **fields: Any) -> Primitive:
    return m.routine(f"raw_{name}", library="solver", **fields)


# ---- factorisations ------------------------------------------------------------------------------


def _numpy_potrf(x: Any) -> Any:
    """LAPACK reads the upper triangle of the transpose, and leaves what is below."""
    low = linalg.cholesky.rule("numpy")(x)
    failed = _not_finite(low)
    kept = np.where(failed[..., None, None], x, np.tril(low) + np.triu(x, 1))
    return kept.astype(x.dtype), _none(x, failed)


raw_potrf = _routine(
    "potrf",
    infer=lambda x: (_square("raw_potrf", x), _info(x)),
    numpy=_numpy_potrf,
    cases=lambda: linalg.cholesky.rule("cases")()[:12],
    doc="Below and on the diagonal L of a = L L^H, for Hermitian a; above it what was there.",
)


def _infer_getrf(x: TensorType, *, batched: bool) -> tuple[TensorType, ...]:
    m.check_matrix("raw_getrf", x)
    pivots = TensorType(I32 if batched else I64, (*x.shape[:-2], min(x.shape[-2:])))
    return x, pivots, _info(x)


def _numpy_getrf(x: Any, *, batched: bool) -> Any:
    factors, pivots, _ = lapack.lapack_getrf.rule("numpy")(x)
    return factors, (pivots + 1).astype(np.int32 if batched else np.int64), _none(x)


raw_getrf = _routine(
    "getrf",
    params=("batched",),
    infer=_infer_getrf,
    numpy=_numpy_getrf,
    cases=lambda: [
        *m.routine_cases((3, 3), (2, 4), (2, 4, 2), batched=False),
        *m.routine_cases((2, 3, 3), batched=True),
    ],
    doc="LU factors with partial pivoting, and the row exchanges, from 1.",
)


def _infer_geqrf(x: TensorType) -> tuple[TensorType, ...]:
    m.check_matrix("raw_geqrf", x)
    return x, x.with_shape((*x.shape[:-2], min(x.shape[-2:]))), _info(x)


def _numpy_geqrf(x: Any) -> Any:
    return (*lapack.lapack_geqrf.rule("numpy")(x, checked=False), _none(x))


raw_geqrf = _routine(
    "geqrf",
    infer=_infer_geqrf,
    numpy=_numpy_geqrf,
    cases=lambda: m.routine_cases((3, 3), (2, 4), (2, 4, 2)),
    doc="R, the reflectors of Q, and the factors of these.",
)

raw_orgqr = _routine(
    "orgqr",
    infer=lambda x, taus: (lapack.lapack_orgqr.infer(x, taus), _info(x)),
    numpy=lambda x, taus: (lapack.lapack_orgqr.rule("numpy")(x, taus), _none(x)),
    cases=lambda: lapack.lapack_orgqr.rule("cases")(),
    doc="The first columns of the product of reflectors.",
)

raw_trsm = _routine(
    "trsm",
    params=lapack.lapack_trsm.params,
    infer=lambda b, a, **params: lapack.lapack_trsm.infer(b, a, **params),
    numpy=lambda b, a, **params: lapack.lapack_trsm.rule("numpy")(b, a, **params),
    cases=lambda: lapack.lapack_trsm.rule("cases")(),
    doc="triangular_solve(a, b), in the memory of b.",
)


# ---- values and vectors --------------------------------------------------------------------------


def _infer_syevd(x: TensorType, *, lower: bool, vectors: bool) -> tuple[TensorType, ...]:
    _square("raw_syevd", x)
    return x, TensorType(real_dtype(x.dtype), x.shape[:-1]), _info(x)


def _numpy_syevd(x: Any, *, lower: bool, vectors: bool) -> Any:
    found, values = lapack.lapack_syevd.rule("numpy")(x, lower=lower)
    return found, values, _none(x, np.isnan(values).any(axis=-1))


raw_syevd = _routine(
    "syevd",
    params=("lower", "vectors"),
    infer=_infer_syevd,
    numpy=_numpy_syevd,
    cases=lambda: m.routine_cases((3, 3), (2, 4, 4), lower=(True, False), vectors=True),
    doc="Eigenvectors of a Hermitian matrix (anything, without ``vectors``) and its eigenvalues.",
)


def _infer_gesvd(x: TensorType, *, job: str) -> tuple[TensorType, ...]:
    m.check_matrix("raw_gesvd", x)
    columns, rows = x.shape[-2:]
    stack, k = x.shape[:-2], min(rows, columns)
    values = TensorType(real_dtype(x.dtype), (*stack, k))
    if job == "N":
        return x, values, _info(x)
    left = rows if job == "A" else k
    u = x.with_shape((*stack, left, rows))
    return x, values, u, x.with_shape((*stack, columns, columns)), _info(x)


def _numpy_gesvd(x: Any, *, job: str) -> Any:
    params = {"full_matrices": job == "A", "compute_uv": job != "N"}
    values, *vectors = lapack.lapack_gesdd.rule("numpy")(x, **params)
    return x, values, *vectors, _none(x, np.isnan(values).any(axis=-1))


raw_gesvd = _routine(
    "gesvd",
    params=("job",),
    infer=_infer_gesvd,
    numpy=_numpy_gesvd,
    cases=lambda: m.routine_cases((3, 3), (2, 2, 4), job=("A", "S", "N")),
    doc="Singular values, U and V^H of matrices with no fewer rows than columns; the first result "
    "is nothing.",
)


def _numpy_gesvdj(x: Any, *, job: str) -> Any:
    values, *vectors = lapack.lapack_gesdd.rule("numpy")(
        x, full_matrices=True, compute_uv=job != "N"
    )
    if vectors:  # of V^H, transposed, to V, transposed
        vectors[1] = m.turned(vectors[1].conj() if kind(x.dtype) == "c" else vectors[1])
    return x, values, *vectors, _none(x, np.isnan(values).any(axis=-1))


raw_gesvdj = _routine(
    "gesvdj",
    params=("job",),
    infer=_infer_gesvd,
    numpy=_numpy_gesvdj,
    cases=lambda: m.routine_cases((2, 3, 3), (2, 4, 2), job=("A", "N")),
    doc="Singular values, U and V of small matrices, all of them; the first result is nothing.",
)
