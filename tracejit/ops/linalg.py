"""Factorisations of matrices by LAPACK: cholesky, lu, qr, and the parts they are made of.

    cholesky(a: f64[3,3])                                  -> f64[3,3]
    lu(a: f64[3,3])                                        -> f64[3,3], i32[3], i32[3]
    qr(a: f64[4,3], full_matrices=False, pivoting=False)   -> f64[4,3], f64[3,3]

Operands are stacks of matrices. Where LAPACK fails, a result is nan. The jvp rules follow Giles,
"Collected matrix derivative results for forward and reverse mode algorithmic differentiation"
(2008), and Walter and Lehmann, "Algorithmic differentiation of linear algebra functions" (2018).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tracejit.errors import DTypeError, OutOfBoundsError, ShapeError
from tracejit.ir.build import full_like
from tracejit.ir.prim import Primitive
from tracejit.ir.types import DTYPES, TensorType, kind, short
from tracejit.ops import arith, indexing, layout, parts
from tracejit.ops import linalg_parts as m
from tracejit.ops import linalg_small as small
from tracejit.ops.broadcast import broadcast_in_dim
from tracejit.ops.family import ADD, lift
from tracejit.ops.linalg_solve import factored_solve, triangular_solve

I32 = DTYPES["i32"]


# ---- cholesky ------------------------------------------------------------------------------------


def _infer_cholesky(a: TensorType) -> TensorType:
    m.check_matrix("cholesky", a, square=True)
    return a


def _numpy_cholesky(a: Any) -> Any:
    try:
        return np.linalg.cholesky(a)
    except np.linalg.LinAlgError:
        type = TensorType(a.dtype, a.shape)
        return m.stacked(lambda one: (np.linalg.cholesky(one),), (a,), (2,), (type,))[0]


def _jvp_cholesky(dxs: Any, ys: Any, xs: Any) -> Any:
    """dL = L phi(L^-1 dA L^-H): phi is the lower triangle with half of the diagonal."""
    (da,), (low,) = dxs, ys
    left = triangular_solve(low, m.hermitian_of(da), **_lower(left=True))
    both = triangular_solve(low, left, **_lower(left=False, adjoint=True))
    half = arith.mul(m.on_diagonal(m.diagonal(both)), 0.5)
    return (m.matmul(low, ADD(m.triangle(both, lower=True, k=-1), half)),)


def _lower(*, left: bool, adjoint: bool = False, unit: bool = False) -> dict[str, bool]:
    return _side(left=left, lower=True, adjoint=adjoint, unit=unit)


def _side(*, left: bool, lower: bool, adjoint: bool = False, unit: bool = False) -> dict[str, bool]:
    """The params of triangular_solve."""
    return {
        "left_side": left,
        "lower": lower,
        "transpose_a": adjoint,
        "conjugate_a": adjoint,
        "unit_diagonal": unit,
    }


def _positive_definite(dtype: Any, n: int) -> Any:
    b = np.arange(n * n).reshape(n, n) % 7 / 4.0 - 0.5
    if kind(dtype) == "c":
        b = b + 0.25j * b.T
    return (b @ b.conj().T + 2 * np.eye(n)).astype(dtype)


def _cases_cholesky() -> list[Any]:
    single = [
        ((m.typed(name, n, n),), {}, (_positive_definite(DTYPES[name], n),))
        for name in ("f32", "f64", "c64", "c128")
        for n in (1, 3, 5)
    ]
    stack = np.stack([_positive_definite(DTYPES["f64"], 3) + k * np.eye(3) for k in range(2)])
    empty = [((m.typed("f64", *s),), {}) for s in ((0, 0), (0, 2, 2), (2, 0, 0))]
    return [*single, ((m.typed("f64", 2, 3, 3),), {}, (stack,)), *empty]


cholesky = m.of_matrices(
    "cholesky",
    infer=_infer_cholesky,
    numpy=_numpy_cholesky,
    jvp=_jvp_cholesky,
    cases=_cases_cholesky,
    doc="The lower triangular L with a = L L^H; reads the lower triangle of a. nan where a is not "
    "positive definite.",
)


# ---- lu ------------------------------------------------------------------------------------------


def _infer_lu(a: TensorType) -> tuple[TensorType, ...]:
    m.check_matrix("lu", a)
    stack, (rows, columns) = a.shape[:-2], a.shape[-2:]
    return (
        a,
        TensorType(I32, (*stack, min(rows, columns))),
        TensorType(I32, (*stack, rows)),
    )


def permutation_of(pivots: Any, size: int) -> Any:
    """Row exchanges, one after the other, as the order of the rows they lead to."""
    count = pivots.shape[-1]
    if pivots.ndim == 1:
        rows = list(range(size))
        for k, other in enumerate(pivots.tolist()):
            rows[k], rows[other] = rows[other], rows[k]
        return np.asarray(rows, np.int32)
    flat = pivots.reshape(int(np.prod(pivots.shape[:-1])), count)
    order = np.tile(np.arange(size, dtype=np.int32), (len(flat), 1))
    lines = np.arange(len(flat))
    for k in range(count):
        other = flat[:, k]
        order[lines, k], order[lines, other] = order[lines, other], order[lines, k].copy()
    return order.reshape(*pivots.shape[:-1], size)


def _numpy_lu(a: Any) -> Any:
    outs = _infer_lu(TensorType(a.dtype, a.shape))

    def one(matrix: Any) -> Any:
        found, pivots, _ = getrf(np.array(matrix, order="F"), overwrite_a=1)
        return found, pivots

    if a.size == 0:
        return np.empty(a.shape, a.dtype), np.empty(outs[1].shape, I32), _counted(outs[2].shape)
    if small.are_many(a):
        found, pivots = small.lu_of_many(a.reshape(-1, *a.shape[-2:]))
        found, pivots = found.reshape(a.shape), pivots.reshape(outs[1].shape)
        return found, pivots, permutation_of(pivots, a.shape[-2])
    getrf = m.lapack("getrf", a.dtype)
    found, pivots = m.stacked(one, (a,), (2,), outs[:2])
    # among nan there is no largest element: whatever LAPACK took for one stays a row
    pivots = np.clip(pivots, 0, a.shape[-2] - 1)
    return found, pivots, permutation_of(pivots, a.shape[-2])


def _counted(shape: tuple[int, ...]) -> Any:
    return np.broadcast_to(np.arange(shape[-1], dtype=np.int32), shape).copy()


def rows_at(x: Any, order: Any) -> Any:
    """The rows of each matrix in another order: row i is row order[i]."""
    n = x.type.ndim
    wide = broadcast_in_dim(order, shape=x.type.shape, dims=tuple(range(n - 1)))
    return indexing.take_along(x, wide, n - 2)


def columns_at(x: Any, order: Any) -> Any:
    """The columns of each matrix in another order."""
    return m.swapped(rows_at(m.swapped(x), order))


def _jvp_lu(dxs: Any, ys: Any, xs: Any) -> Any:
    """With P A = L U and C = L^-1 P dA U^-1: dL = L low(C), dU = up(C) U.

    L and U are completed to square matrices by an identity where A is not square.
    """
    (da,), (both, _, order) = dxs, ys
    rows, columns = both.type.shape[-2:]
    k = min(rows, columns)
    low = _squared(m.first_columns(both, k), rows)
    up = _squared(m.first_rows(both, k), columns)
    found = triangular_solve(low, rows_at(da, order), **_lower(left=True, unit=True))
    found = triangular_solve(up, found, **_side(left=False, lower=False))
    below = m.triangle(found, lower=True, k=-1)
    above = m.triangle(found, lower=False)
    unit = ADD(m.triangle(low, lower=True, k=-1), m.identity(low.type))
    change = m.matmul(unit, below)
    return ADD(change, m.matmul(above, m.triangle(up, lower=False))), None, None


def _padded(x: Any, rows: int, columns: int) -> Any:
    if rows == columns == 0:
        return x
    config = ((0, 0, 0),) * (x.type.ndim - 2) + ((0, rows, 0), (0, columns, 0))
    return layout.pad(x, layout.scalar(0, x.type.dtype), config=config)


def _squared(x: Any, n: int) -> Any:
    """Completed to ``n`` rows and columns by an identity."""
    rows, columns = x.type.shape[-2:]
    if rows == columns == n:
        return x
    type = x.type.with_shape((*x.type.shape[:-2], n, n))
    kept = _padded(full_like(x, 1), n - rows, n - columns)
    return ADD(
        _padded(x, n - rows, n - columns),
        arith.mul(m.identity(type), arith.sub(full_like(type, 1), kept)),
    )


lu = m.of_matrices(
    "lu",
    infer=_infer_lu,
    numpy=_numpy_lu,
    jvp=_jvp_lu,
    cases=lambda: [
        ((m.typed(name, *shape),), {})
        for name, shape in (
            *(("f64", s) for s in ((1, 1), (3, 3), (4, 2), (2, 5), (2, 3, 3), (0, 2, 2), (0, 3))),
            *(("c128", s) for s in ((3, 3), (2, 3))),
            ("f32", (5, 5)),
            ("c64", (2, 2)),
        )
    ],
    doc="L (unit diagonal, below) and U (above) in one matrix with a[permutation] = L U, the row "
    "exchanges one after the other, and the permutation they make.",
)


def solve(a: Any, b: Any) -> Any:
    """a^-1 b, on Values; derivatives go through the equation, not through the factors."""
    factors, _, order = lu(parts.stop_gradient(a))
    return factored_solve(a, factors, order, b, transposed=False)


def _infer_pivots(pivots: TensorType, *, permutation_size: int) -> TensorType:
    if pivots.dtype != I32:
        raise DTypeError(f"lu_pivots_to_permutation: takes int32 pivots, not {short(pivots.dtype)}")
    if pivots.ndim < 1 or pivots.shape[-1] > permutation_size:
        raise ShapeError(
            f"lu_pivots_to_permutation: {pivots} does not fit permutations of {permutation_size}"
        )
    return pivots.with_shape((*pivots.shape[:-1], permutation_size))


def _numpy_pivots(pivots: Any, *, permutation_size: int) -> Any:
    wrong = pivots[(pivots < 0) | (pivots >= permutation_size)]
    if wrong.size:
        raise OutOfBoundsError(
            f"lu_pivots_to_permutation: there is no row {wrong[0]} of {permutation_size}"
        )
    return permutation_of(pivots, permutation_size)


lu_pivots_to_permutation = Primitive(
    "lu_pivots_to_permutation",
    params=("permutation_size",),
    infer=_infer_pivots,
    numpy=_numpy_pivots,
    jvp=lambda dxs, ys, xs, **params: (None,),
    batch=lift(lambda: lu_pivots_to_permutation),
    domain=(0, 4),
    cases=lambda: [
        ((m.typed("i32", 3),), {"permutation_size": 5}),
        ((m.typed("i32", 2, 4),), {"permutation_size": 5}),
        ((m.typed("i32", 0),), {"permutation_size": 3}),
    ],
    kinds="i",
    doc="The order of the rows after exchanging row k with row pivots[k], for each k in turn.",
)


# ---- qr ------------------------------------------------------------------------------------------


def _infer_qr(a: TensorType, *, full_matrices: bool, pivoting: bool) -> tuple[TensorType, ...]:
    m.check_matrix("qr", a)
    stack, (rows, columns) = a.shape[:-2], a.shape[-2:]
    inner = rows if full_matrices else min(rows, columns)
    outs = (a.with_shape((*stack, rows, inner)), a.with_shape((*stack, inner, columns)))
    return (*outs, TensorType(I32, (*stack, columns))) if pivoting else outs


def _numpy_qr(a: Any, *, full_matrices: bool, pivoting: bool) -> Any:
    outs = _infer_qr(TensorType(a.dtype, a.shape), full_matrices=full_matrices, pivoting=pivoting)
    if not pivoting:
        mode = "complete" if full_matrices else "reduced"
        return m.all_or_each(lambda x: tuple(np.linalg.qr(x, mode)), a, outs)

    def one(matrix: Any) -> Any:
        q, _ = np.linalg.qr(matrix, "complete" if full_matrices else "reduced")
        if matrix.size == 0:
            return q, np.zeros(outs[1].shape[-2:], a.dtype), np.arange(matrix.shape[1])
        if not np.isfinite(matrix).all():
            return None
        found, order, tau, *_ = m.lapack("geqp3", a.dtype)(matrix)
        return _q_of(found, tau, outs[0].shape[-1]), np.triu(found)[: q.shape[1]], order - 1

    return m.stacked(one, (a,), (2,), outs)


def _q_of(found: Any, tau: Any, columns: int) -> Any:
    """The unitary matrix that LAPACK's reflectors stand for."""
    wide = np.zeros((len(found), columns), found.dtype, order="F")
    kept = min(columns, found.shape[1])
    wide[:, :kept] = found[:, :kept]
    return m.lapack("orgqr", found.dtype)(wide, tau, overwrite_a=1)[0]


def _jvp_qr(dxs: Any, ys: Any, xs: Any, *, full_matrices: bool, pivoting: bool) -> Any:
    """With X = dA R^-1 and C = Q^H X: dQ = Q W + (I - Q Q^H) X and dR = (C - W) R, where W is
    skew-Hermitian with the lower triangle of C; the diagonal of R stays real.

    Columns beyond the first m of a wide matrix follow: dR2 = Q^H dA2 - W R2. Columns of a full Q
    beyond the first n are any basis of the rest: the one that turns least is taken.
    """
    (da,), (q, r) = dxs, ys[:2]
    rows, columns = xs[0].type.shape[-2:]
    k = min(rows, columns)
    if pivoting:
        da = columns_at(da, ys[2])
    q1, r1 = m.first_columns(q, k), m.first_columns(m.first_rows(r, k), k)
    x = triangular_solve(r1, m.first_columns(da, k), **_side(left=False, lower=False))
    c = m.matmul(m.adjoint(q1), x)
    below = m.triangle(c, lower=True, k=-1)
    skew = arith.sub(below, m.adjoint(below))
    if kind(c.type.dtype) == "c":
        diagonal = parts.imag(m.diagonal(c))
        turn = parts.complex_(full_like(diagonal, 0), diagonal)
        skew = ADD(skew, m.on_diagonal(turn))
    dq = ADD(arith.sub(x, m.matmul(q1, c)), m.matmul(q1, skew))
    dr = m.triangle(m.matmul(arith.sub(c, skew), r1), lower=False)
    if columns > k:
        rest = m.matmul(m.adjoint(q1), m.last_columns(da, k))
        dr = m.joined(dr, arith.sub(rest, m.matmul(skew, m.last_columns(r, k))))
    if full_matrices and rows > k:
        turned = m.adjoint(m.matmul(m.adjoint(m.last_columns(q, k)), x))
        dq = m.joined(dq, arith.neg(m.matmul(q1, turned)))
        dr = _padded(dr, rows - k, 0)
    return (dq, dr, None) if pivoting else (dq, dr)


def _cases_qr() -> list[Any]:
    def case(name: str, shape: Any, full: bool = False, pivoting: bool = False) -> Any:
        params = {"full_matrices": full, "pivoting": pivoting}
        return (m.typed(name, *shape),), params

    return [
        *(case("f64", s) for s in ((3, 3), (4, 2), (2, 4), (2, 3, 2), (1, 1), (0, 2, 2), (0, 0))),
        *(case("c128", s) for s in ((3, 3), (4, 2), (2, 3))),
        *(case("f64", s, full=True) for s in ((3, 3), (2, 4))),
        *(case("f64", s, pivoting=True) for s in ((4, 3), (2, 3, 3))),
        case("c64", (3, 2), pivoting=True),
        case("f32", (5, 3)),
    ]


qr = m.of_matrices(
    "qr",
    params=("full_matrices", "pivoting"),
    infer=_infer_qr,
    numpy=_numpy_qr,
    jvp=_jvp_qr,
    cases=_cases_qr,
    doc="a = Q R (a[:, p] = Q R with pivoting, which gives p too): Q unitary, R upper triangular.",
)


def _infer_geqrf(a: TensorType) -> tuple[TensorType, ...]:
    m.check_matrix("geqrf", a)
    return a, a.with_shape((*a.shape[:-2], min(a.shape[-2:])))


def _numpy_geqrf(a: Any) -> Any:
    outs = _infer_geqrf(TensorType(a.dtype, a.shape))
    if a.size == 0:
        return tuple(np.zeros(t.shape, t.dtype) for t in outs)
    geqrf = m.lapack("geqrf", a.dtype)
    return m.stacked(lambda one: geqrf(one)[:2], (a,), (2,), outs)


geqrf = m.of_matrices(
    "geqrf",
    infer=_infer_geqrf,
    numpy=_numpy_geqrf,
    cases=lambda: [
        ((m.typed(name, *s),), {})
        for name in ("f32", "f64", "c128")
        for s in ((3, 3), (4, 2), (2, 4), (2, 3, 3), (0, 2))
    ],
    doc="LAPACK's form of a = Q R: R above, the reflectors that make Q below, and their factors.",
)
