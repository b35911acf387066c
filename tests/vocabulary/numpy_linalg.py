"""Cases of ``tracejit.numpy.linalg``."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.vocabulary.linalg import (
    LAPACK,
    LOOSE,
    PHASES,
    adjoint,
    conditioned,
    hermitian,
    numpy,
    of_svd,
    positive_definite,
    projector,
)
from tests.vocabulary.spec import case, of, real

NAME = "tracejit.numpy.linalg."
ALL = ("int32", *LAPACK)
RANK = "the rank is of the default integer, NumPy's of LAPACK's"
COMPLEX = "complex for every operand, where NumPy looks at the values"


def of_eigh(wv: Any) -> Any:
    w, v = numpy(wv)
    return w, (v * w[..., None, :]) @ adjoint(v)


def of_eig(wv: Any) -> Any:
    w, v = numpy(wv)
    w, v = w.reshape(-1, w.shape[-1]), v.reshape(-1, *v.shape[-2:])
    order = np.argsort(np.round(w.real, 4) + 1e-2 * w.imag, -1)
    found = np.take_along_axis(v, order[:, None, :], -1)
    return np.take_along_axis(w, order, -1), np.einsum("bik,bjk->bkij", found, found.conj())


def values(w: Any) -> Any:
    w = np.asarray(w)
    return np.take_along_axis(w, np.argsort(np.round(w.real, 4) + 1e-2 * w.imag, -1), -1)


def of_qr(qr: Any) -> Any:
    """Q up to the choice of its further columns."""
    q, r = numpy(qr)
    k = min(q.shape[-2], r.shape[-1])
    return projector(q[..., :, k:]), q[..., :, :k], r


def ours_rank(a: Any, rtol: Any = None, **given: Any) -> Any:
    return np.linalg.matrix_rank(a, rtol=rtol, **given)


def ours_pinv(a: Any, rtol: Any = None, **given: Any) -> Any:
    return np.linalg.pinv(a, rtol=rtol, **given)


NORMS: list[Any] = [
    *(case(NAME + "norm", real(3, 4), ord=o, axis=1, dtypes=ALL) for o in (None, 1, np.inf)),
    *(case(NAME + "norm", real(3, 4), o, keepdims=True) for o in ("fro", "nuc", 1, -np.inf)),
    *(case(NAME + "norm", real(2, 3, 4), o, (2, 0)) for o in (2, -2, -1, np.inf)),
    case(NAME + "norm", real(2, 3, 4), axis=(0, 1), keepdims=True, dtypes=ALL),
    case(NAME + "norm", real(2, 3, 4)),
    case(NAME + "norm", real(2, 3), keepdims=True),
    case(NAME + "norm", real(), label="0-d"),
    case(NAME + "norm", real(0, 3), 1, grad="empty"),
    case(NAME + "norm", real(0, 3), np.inf, grad="empty"),
    case(NAME + "norm", real(5), 0, grad="not smooth", dtypes=ALL),
    case(NAME + "norm", real(5), 3, dtypes=("float32", "float64", "complex128")),
    case(NAME + "norm", real(5), 0.5, **LOOSE),
    case(NAME + "norm", real(5), -np.inf),
    case(NAME + "norm", real(5), -1, **LOOSE),
    *(
        case(NAME + "vector_norm", real(2, 3, 4, low=0.5), ord=o, axis=(0, 2))
        for o in (1, 2, 3, np.inf)
    ),
    case(NAME + "vector_norm", real(2, 3), keepdims=True, dtypes=ALL),
    case(NAME + "vector_norm", real(2, 3), axis=-1, ord=-np.inf),
    case(NAME + "vector_norm", real(0), grad="empty"),
    *(case(NAME + "matrix_norm", real(2, 3, 4), ord=o) for o in ("fro", "nuc", 1, 2, -2)),
    case(NAME + "matrix_norm", real(3, 4), keepdims=True, dtypes=ALL),
    *(case(NAME + "cond", conditioned(2, 3, 3), p, tol32=2e-3) for p in (None, 2, -2)),
    *(case(NAME + "cond", conditioned(3, 3), p, dtypes=LAPACK, tol32=2e-3) for p in (1, np.inf)),
    case(NAME + "cond", conditioned(3, 3), "fro", tol32=2e-3),
    case(NAME + "cond", real(4, 2), tol32=2e-3),
    case(NAME + "cond", of(lambda a: a * 0, real(2, 2)), 1, grad="infinite", label="singular"),
]

DECOMPOSITIONS: list[Any] = [
    case(NAME + "cholesky", positive_definite(2, 3, 3), dtypes=LAPACK, **LOOSE),
    case(NAME + "cholesky", positive_definite(3, 3), upper=True, dtypes=LAPACK, **LOOSE),
    case(NAME + "cholesky", positive_definite(0, 0), grad="empty"),
    *(
        case(NAME + "qr", conditioned(*shape), "reduced", dtypes=LAPACK, **LOOSE)
        for shape in ((3, 3), (2, 4, 2), (2, 3))
    ),
    case(NAME + "qr", real(4, 2), "r", **LOOSE),
    case(NAME + "qr", real(4, 2), "complete", after=of_qr, grad="any basis of the rest", **LOOSE),
    case(NAME + "qr", real(2, 4, 3), "raw", grad="LAPACK's own form", **LOOSE),
    case(NAME + "qr", real(0, 3), grad="empty"),
    case(NAME + "svd", real(3, 3), compute_uv=False, dtypes=ALL, **LOOSE),
    case(NAME + "svd", real(2, 4, 3), full_matrices=False, after=of_svd, **LOOSE),
    case(NAME + "svd", real(2, 4), after=of_svd, grad=PHASES, dtypes=LAPACK, **LOOSE),
    case(NAME + "svd", hermitian(3, 3), hermitian=True, after=of_svd, dtypes=LAPACK, **LOOSE),
    case(NAME + "svd", hermitian(3, 3), compute_uv=False, hermitian=True, **LOOSE),
    case(NAME + "svd", real(0, 3), full_matrices=False, after=of_svd, grad="empty"),
    case(NAME + "svdvals", real(2, 4, 3), dtypes=LAPACK, **LOOSE),
    case(NAME + "eigh", hermitian(3, 3), after=of_eigh, **LOOSE),
    case(NAME + "eigh", hermitian(2, 3, 3), "U", after=of_eigh, **LOOSE),
    case(
        NAME + "eigh",
        hermitian(3, 3),
        after=of_eigh,
        dtypes=("complex64", "complex128"),
        grad=PHASES,
        **LOOSE,
    ),
    case(NAME + "eigvalsh", hermitian(2, 3, 3), dtypes=LAPACK, **LOOSE),
    case(NAME + "eigvalsh", hermitian(3, 3), "U", **LOOSE),
    case(NAME + "eigvalsh", hermitian(0, 0), grad="empty"),
    case(NAME + "eig", real(2, 3, 3), after=of_eig, check_dtype=COMPLEX, dtypes=LAPACK, tol32=2e-3),
    case(
        NAME + "eigvals",
        real(2, 3, 3),
        after=values,
        check_dtype=COMPLEX,
        dtypes=LAPACK,
        tol32=2e-3,
    ),
]

EQUATIONS: list[Any] = [
    case(NAME + "solve", conditioned(3, 3), real(3, 2), dtypes=ALL, **LOOSE),
    case(NAME + "solve", conditioned(2, 3, 3), real(3), **LOOSE),
    case(NAME + "solve", conditioned(3, 3), real(2, 3, 2), label="one matrix", **LOOSE),
    case(NAME + "solve", conditioned(2, 1, 3, 3), real(2, 3, 1), label="broadcast", **LOOSE),
    case(NAME + "solve", conditioned(3, 3), real(3), vmap=(1,), label="shared", **LOOSE),
    case(NAME + "solve", real(0, 0), real(0, 2), grad="empty"),
    case(NAME + "inv", conditioned(2, 3, 3), dtypes=LAPACK, **LOOSE),
    case(NAME + "inv", conditioned(1, 1)),
    case(NAME + "inv", real(0, 0), grad="empty"),
    case(NAME + "det", real(2, 3, 3), dtypes=ALL, tol32=2e-4),
    case(NAME + "det", of(lambda a: a[:, :1] * a[:1], real(3, 3)), tol=1e-7, label="rank 1"),
    case(NAME + "det", of(np.outer, real(2), real(2)), tol=1e-7, label="rank n - 1"),
    case(NAME + "det", real(0, 0), grad="empty"),
    case(NAME + "slogdet", conditioned(2, 3, 3), dtypes=LAPACK, **LOOSE),
    case(NAME + "pinv", real(4, 2), dtypes=LAPACK, reference=ours_pinv, tol32=2e-3),
    case(NAME + "pinv", real(2, 2, 3), 1e-3, reference=ours_pinv, tol32=2e-3),
    case(NAME + "pinv", hermitian(3, 3), hermitian=True, reference=ours_pinv, tol32=2e-3),
    case(NAME + "pinv", real(0, 3), reference=ours_pinv, grad="empty"),
    case(
        NAME + "lstsq",
        real(4, 2),
        real(4, 3),
        numpy_resid=True,
        reference=lambda a, b, **_: np.linalg.lstsq(a, b),
        jit="the rank is not known",
        vmap="the rank is not known",
        grad="the rank is not known",
        **LOOSE,
    ),
    case(NAME + "lstsq", real(4, 2), real(4), check_dtype=RANK, dtypes=LAPACK, tol32=2e-3),
    case(NAME + "lstsq", real(2, 3), real(2, 2), after=lambda r: numpy(r[0]), tol32=2e-3),
    case(
        NAME + "lstsq",
        of(lambda a: a[:, :1] * a[:1], real(3, 2)),
        real(3),
        1e-3,
        numpy_resid=True,
        reference=lambda a, b, rcond, **_: np.linalg.lstsq(a, b, rcond),
        jit="the rank is not known",
        vmap="the rank is not known",
        grad="the rank changes",
        label="rank 1",
        **LOOSE,
    ),
    *(case(NAME + "matrix_power", conditioned(2, 3, 3), n, tol=1e-8, **LOOSE) for n in (0, 1, 5)),
    case(NAME + "matrix_power", conditioned(3, 3), -3, dtypes=LAPACK, **LOOSE),
    case(NAME + "matrix_power", real(2, 2), 3, dtypes=("int32", "complex128")),
    case(NAME + "matrix_rank", real(2, 3, 4), grad="no float result", dtypes=ALL),
    case(NAME + "matrix_rank", real(3, 3), 0.5, reference=ours_rank, grad="no float result"),
    case(NAME + "matrix_rank", real(3, 3), tol=1.0, grad="no float result"),
    case(NAME + "matrix_rank", hermitian(3, 3), hermitian=True, grad="no float result"),
    case(NAME + "matrix_rank", real(4), grad="no float result"),
    case(NAME + "tensorinv", real(4, 6, 8, 3), tol32=5e-2),
    case(NAME + "tensorinv", real(6, 2, 3), ind=1, tol32=2e-3),
    case(NAME + "tensorsolve", real(2, 3, 6), real(2, 3), tol32=2e-3),
    case(NAME + "tensorsolve", real(2, 6, 3), real(6), axes=(0, 2), tol32=2e-3),
]

PRODUCTS: list[Any] = [
    case(NAME + "multi_dot", [real(4), real(4, 5), real(5, 2)], dtypes=ALL, **LOOSE),
    case(NAME + "multi_dot", [real(2, 6), real(6, 3), real(3, 5), real(5)], **LOOSE),
    case(NAME + "cross", real(2, 3), real(2, 3), dtypes=ALL),
    case(NAME + "cross", real(3, 4), real(3, 4), axis=0),
    case(NAME + "diagonal", real(2, 3, 4), dtypes=ALL),
    case(NAME + "diagonal", real(3, 4), offset=1),
    case(NAME + "diagonal", real(3, 4), offset=-1),
    case(NAME + "trace", real(2, 3, 3), dtypes=ALL, check_dtype="int32 sums as int64 by NumPy"),
    case(NAME + "trace", real(3, 4), offset=-1, dtype=np.float64),
    case(NAME + "outer", real(3), real(4), dtypes=ALL),
    case(NAME + "matmul", real(2, 3, 4), real(4, 5), dtypes=ALL),
    case(NAME + "matrix_transpose", real(2, 3, 4), dtypes=ALL),
    case(NAME + "tensordot", real(2, 3, 4), real(4, 3), axes=((1, 2), (1, 0)), **LOOSE),
    case(NAME + "vecdot", real(2, 3), real(3), dtypes=ALL),
    case(NAME + "vecdot", real(3, 2), real(3, 2), axis=0, dtypes=("complex128",)),
]

CASES = [*NORMS, *DECOMPOSITIONS, *EQUATIONS, *PRODUCTS]
