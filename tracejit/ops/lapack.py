"""LAPACK's own routines as compiled programs for CPUs call them, without Python in between.

    lapack_potrf(a: f64[3,3])                       -> f64[3,3]
    lapack_getrf(x: f64[3,4])                       -> f64[3,4], i32[3], i32[4]     x: a^T
    lapack_syevd(x: f64[3,3], lower=True)           -> f64[3,3], f64[3]             x: a^T

LAPACK's matrices lie column after column, which is the transpose for everyone else: operands that
are called ``x`` here, and the results beside vectors, are the transposes of the matrices that are
meant. ``passes/lapack.py`` writes these records after differentiation and batching, and what makes
them the public ones (``ops/linalg*.py``), whose NumPy meaning they share: they need no other rules.
The first result of most is its operand, changed in place.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tracejit.ir.prim import Primitive
from tracejit.ir.types import DTYPES, TensorType, kind
from tracejit.ops import linalg, linalg_solve, linalg_spectral
from tracejit.ops import linalg_parts as m

I32 = DTYPES["i32"]


def _turned_type(x: TensorType) -> TensorType:
    return x.with_shape((*x.shape[:-2], x.shape[-1], x.shape[-2]))


def _of(record: Primitive) -> dict[str, Any]:
    """What a record says of a matrix, for its transpose: the matrices among its results, those with
    as many axes, are transposed too.
    """

    def infer(x: TensorType, **params: Any) -> tuple[TensorType, ...]:
        found = record.infer(_turned_type(x), **params)
        return tuple(_turned_type(t) if t.ndim == x.ndim else t for t in found)

    def numpy(x: Any, **params: Any) -> Any:
        found = record.rule("numpy")(m.turned(x), **params)
        return tuple(m.turned(r) if r.ndim == x.ndim else r for r in found)

    return {"params": record.params, "infer": infer, "numpy": numpy}


def _routine(name: str, **fields: Any) -> Primitive:
    return m.routine(f"lapack_{name}", library="lapack", **fields)


# ---- factorisations ------------------------------------------------------------------------------

lapack_potrf = _routine(
    "potrf",
    infer=linalg.cholesky.infer,
    numpy=linalg.cholesky.numpy,
    cases=linalg.cholesky.cases,
    doc="The lower triangular L with a = L L^H: LAPACK takes the lower triangle of a for the upper "
    "one of its transpose, and so gives L. nan where a is not positive definite.",
)


lapack_getrf = _routine(
    "getrf",
    **_of(linalg.lu),
    cases=lambda: m.routine_cases((3, 3), (2, 4), (2, 4, 2)),
    doc="LU factors with partial pivoting, the row exchanges (from 0), and their permutation.",
)


def _numpy_geqrf(x: Any, *, checked: bool) -> Any:
    factors, taus = linalg.geqrf.rule("numpy")(m.turned(x))
    factors, taus = np.array(m.turned(factors)), np.array(taus)
    if checked:
        bad = ~np.isfinite(x).all(axis=(-2, -1))
        factors[bad] = taus[bad] = m.nothing(x.dtype)
    return factors, taus


lapack_geqrf = _routine(
    "geqrf",
    params=("checked",),
    infer=lambda x, *, checked: linalg.geqrf.infer(x),
    numpy=_numpy_geqrf,
    cases=lambda: m.routine_cases((3, 3), (2, 4), (2, 4, 2), checked=True),
    doc="R on and above the diagonal, reflectors below it, and the factors of these; if "
    "``checked``, nan where the matrix is not finite.",
)


def _infer_orgqr(x: TensorType, taus: TensorType) -> TensorType:
    m.check_matrix("lapack_orgqr", x)
    m.check_stacks("lapack_orgqr", (x, 2), (taus, 1))
    return x


def _numpy_orgqr(x: Any, taus: Any) -> Any:
    run = m.lapack("orgqr", x.dtype)

    def one(matrix: Any, factors: Any) -> Any:
        return (run(np.array(matrix.T, order="F"), factors, overwrite_a=1)[0].T,)

    if x.size == 0:
        return np.zeros(x.shape, x.dtype)
    return m.stacked(one, (x, taus), (2, 1), (TensorType(x.dtype, x.shape),))[0]


def _cases_orgqr() -> list[Any]:
    def case(name: str, count: int, *shape: int) -> Any:
        x = TensorType(DTYPES[name], shape)
        return (x, x.with_shape((*shape[:-2], count))), {}

    return [
        case(name, count, *shape)
        for name in ("f32", "f64", "c64", "c128")
        for count, shape in ((3, (3, 3)), (2, (2, 4)), (2, (2, 2, 4)))
    ]


lapack_orgqr = _routine(
    "orgqr",
    infer=_infer_orgqr,
    numpy=_numpy_orgqr,
    cases=_cases_orgqr,
    doc="The first columns of the product of the reflectors that geqrf left (ungqr, if complex).",
)


def _infer_geqp3(x: TensorType) -> tuple[TensorType, ...]:
    m.check_matrix("lapack_geqp3", x)
    stack = x.shape[:-2]
    taus = x.with_shape((*stack, min(x.shape[-2:])))
    return x, taus, TensorType(I32, (*stack, x.shape[-2]))


def _numpy_geqp3(x: Any) -> Any:
    def one(matrix: Any) -> Any:
        if not np.isfinite(matrix).all():
            return None
        found, order, taus, *_ = m.lapack("geqp3", x.dtype)(np.array(matrix.T, order="F"))
        return found.T, taus, order - 1

    return m.stacked(one, (x,), (2,), _infer_geqp3(TensorType(x.dtype, x.shape)))


lapack_geqp3 = _routine(
    "geqp3",
    infer=_infer_geqp3,
    numpy=_numpy_geqp3,
    cases=lambda: m.routine_cases((3, 3), (2, 4), (2, 4, 2)),
    doc="geqrf of the columns in the order, the third result, that makes R's diagonal fall.",
)


# ---- equations ------------------------------------------------------------------------


def _trsm_cases() -> list[Any]:
    found = []
    for (a, b), params, (matrix, _) in linalg_solve.triangular_solve.rule("cases")():
        if params["transpose_a"] or not params["conjugate_a"]:
            found.append(((b, a), params, (None, matrix)))
    return found


lapack_trsm = _routine(
    "trsm",
    params=linalg_solve.triangular_solve.params,
    infer=lambda b, a, **params: linalg_solve.triangular_solve.infer(a, b, **params),
    numpy=lambda b, a, **params: linalg_solve.triangular_solve.rule("numpy")(a, b, **params),
    cases=_trsm_cases,
    doc="triangular_solve(a, b), in the memory of b; ``conjugate_a`` only with ``transpose_a``.",
)


def _numpy_gtsv(x: Any, dl: Any, d: Any, du: Any) -> Any:
    return m.turned(linalg_solve.tridiagonal_solve.rule("numpy")(dl, d, du, m.turned(x)))


def _cases_gtsv() -> list[Any]:
    found = []
    for types, params, arrays in linalg_solve.tridiagonal_solve.rule("cases")():
        if types[3].shape[-2] > 1:
            found.append(((_turned_type(types[3]), *types[:3]), params, (None, *arrays[:3])))
    return found


lapack_gtsv = _routine(
    "gtsv",
    infer=lambda x, dl, d, du: x,
    numpy=_numpy_gtsv,
    cases=_cases_gtsv,
    doc="tridiagonal_solve(dl, d, du, b) for more than one equation; nan where there is no result.",
)


# ---- values and vectors --------------------------------------------------------------------------


lapack_gesdd = _routine(
    "gesdd",
    **_of(linalg_spectral.svd),
    updates=False,
    cases=lambda: [
        *m.routine_cases((3, 3), (2, 4), (2, 4, 2), full_matrices=False, compute_uv=True),
        *m.routine_cases((3, 3), (2, 4), full_matrices=True, compute_uv=True),
        *m.routine_cases((2, 4), full_matrices=False, compute_uv=False),
    ],
    doc="Singular values with U and V^H, each transposed; nan where the matrix is not finite.",
)


def _numpy_syevd(x: Any, *, lower: bool) -> Any:
    values, vectors = linalg_spectral.eigh.rule("numpy")(m.turned(x), lower=lower, vectors=True)
    return m.turned(vectors), values


lapack_syevd = _routine(
    "syevd",
    params=("lower",),
    infer=lambda x, *, lower: linalg_spectral.eigh.infer(x, lower=lower, vectors=True)[::-1],
    numpy=_numpy_syevd,
    cases=lambda: m.routine_cases((3, 3), (2, 4, 4), lower=(True, False)),
    doc="Eigenvectors of a Hermitian matrix, transposed, and its eigenvalues; nan where the "
    "triangle that counts is not finite.",
)


lapack_syevd_values = _routine(
    "syevd_values",
    params=("lower",),
    infer=lambda x, *, lower: linalg_spectral.eigh.infer(x, lower=lower, vectors=False),
    numpy=lambda x, *, lower: linalg_spectral.eigh.rule("numpy")(
        m.turned(x), lower=lower, vectors=False
    ),
    updates=False,
    cases=lambda: m.routine_cases((3, 3), (2, 4, 4), lower=True),
    doc="Eigenvalues of a Hermitian matrix.",
)


def _infer_geev(x: TensorType, *, left: bool, right: bool) -> tuple[TensorType, ...]:
    m.check_matrix("lapack_geev", x, square=True)
    values = x.with_shape(x.shape[:-1])
    count = 1 if kind(x.dtype) == "c" else 2
    return (*(values,) * count, *(x,) * (left + right))


def _numpy_geev(x: Any, *, left: bool, right: bool) -> Any:
    w, *vectors = linalg_spectral.eig.rule("numpy")(m.turned(x), left=left, right=right)
    if kind(x.dtype) == "c":
        return w, *map(m.turned, vectors)
    # of a pair of vectors, LAPACK keeps the real part and then the imaginary part
    second = (w.imag < 0)[..., None, :]
    kept = (np.where(second, -v.imag, v.real).astype(x.dtype) for v in vectors)
    return w.real.astype(x.dtype), w.imag.astype(x.dtype), *map(m.turned, kept)


lapack_geev = _routine(
    "geev",
    params=("left", "right"),
    infer=_infer_geev,
    numpy=_numpy_geev,
    updates=False,
    cases=lambda: [
        case
        for left, right in ((False, True), (True, True), (False, False))
        for case in m.routine_cases((3, 3), (2, 4, 4), left=left, right=right)
    ],
    doc="Eigenvalues (of a real matrix: real parts, imaginary parts) and eigenvectors, transposed, "
    "of a real matrix in LAPACK's form for pairs; nan where the matrix is not finite.",
)


lapack_gees = _routine(
    "gees",
    **_of(linalg_spectral.schur),
    cases=lambda: m.routine_cases((3, 3), (2, 4, 4), vectors=(True, False)),
    doc="T and Z of Schur's form, transposed; nan where the matrix is not finite.",
)

lapack_gehrd = _routine(
    "gehrd",
    **_of(linalg_spectral.hessenberg),
    cases=lambda: m.routine_cases((3, 3), (2, 4, 4)),
    doc="Hessenberg's form with its reflectors, transposed, and their factors.",
)

lapack_sytrd = _routine(
    "sytrd",
    **_of(linalg_spectral.tridiagonal),
    cases=lambda: m.routine_cases((3, 3), (2, 4, 4), lower=(True, False)),
    doc="The reflectors of a tridiagonal form, transposed, its two diagonals, the factors.",
)


# ---- permutations --------------------------------------------------------------------------------


def _lower_inverse(k: Any, xs: Any, outs: Any) -> None:
    (order,), (out,) = xs, outs
    *stack, n = order.shape
    with k.nest(stack) as place, k.loop("seq", n) as i:
        row = k.op("convert", order((*place, i)), dtype="i64")
        inside = k.op("and", k.op("ge", row, 0), k.op("lt", row, n))
        with k.when(inside):
            k.store(out, (*place, row), k.op("convert", i, dtype="i32"))


def _numpy_inverse(order: Any) -> Any:
    found = np.empty_like(order)
    steps = np.broadcast_to(np.arange(order.shape[-1], dtype=order.dtype), order.shape)
    np.put_along_axis(found, order, steps, -1)
    return found


lapack_inverse_order = Primitive(
    "lapack_inverse_order",
    infer=lambda order: order,
    numpy=_numpy_inverse,
    lower=_lower_inverse,
    kinds="i",
    cases=lambda: [
        ((TensorType(I32, (4,)),), {}, (np.array([2, 0, 3, 1]),)),
        ((TensorType(I32, (2, 3)),), {}, (np.array([[2, 0, 1], [0, 2, 1]]),)),
    ],
    doc="The permutations that take others back.",
)


def _lower_pivots(k: Any, xs: Any, outs: Any, *, permutation_size: int) -> None:
    (pivots,), (out,) = xs, outs
    *stack, count = pivots.shape
    with k.nest(stack) as place:
        with k.loop("seq", permutation_size) as i:
            k.store(out, (*place, i), k.op("convert", i, dtype="i32"))
        with k.loop("seq", count) as i:
            row = k.op("convert", pivots((*place, i)), dtype="i64")
            inside = k.op("and", k.op("ge", row, 0), k.op("lt", row, permutation_size))
            k.check(inside, 1)
            row = k.op("min", k.op("max", row, 0), permutation_size - 1)
            row = k.local("i64", row, "row")
            here = k.local("i32", k.load(out, (*place, i)), "here")
            k.store(out, (*place, i), k.load(out, (*place, row)))
            k.store(out, (*place, row), here)


lapack_pivots = Primitive(
    "lapack_pivots",
    params=("permutation_size",),
    infer=linalg.lu_pivots_to_permutation.infer,
    numpy=linalg.lu_pivots_to_permutation.numpy,
    lower=_lower_pivots,
    domain=(0, 4),
    kinds="i",
    cases=lambda: linalg.lu_pivots_to_permutation.rule("cases")()[:2],
    doc="The permutations that row exchanges make.",
)
