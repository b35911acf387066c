"""Linear equations: triangular, tridiagonal, and with a matrix that has been factored.

    triangular_solve(a: f64[3,3], b: f64[3,2], left_side=True, lower=True, ...)     -> f64[3,2]
    factored_solve(a: f64[3,3], lu: f64[3,3], order: i32[3], b: f64[3,2], ...)      -> f64[3,2]
    tridiagonal_solve(dl: f64[3], d: f64[3], du: f64[3], b: f64[3,2])               -> f64[3,2]

All are linear in b. Singular matrices give inf and nan, as BLAS does.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tracejit.errors import DTypeError, MissingRule, ShapeError
from tracejit.ir.prim import is_linear
from tracejit.ir.types import DTYPES, TensorType, kind
from tracejit.ops import arith, layout
from tracejit.ops import linalg_parts as m
from tracejit.ops import linalg_small as small
from tracejit.ops.broadcast import with_batch_axis

I32 = DTYPES["i32"]


def _less(db: Any, change: Any) -> Any:
    """``db - change``, where ``db`` may be None."""
    return arith.neg(change) if db is None else arith.sub(db, change)


def _check_known(name: str, *matrices: Any) -> None:
    """Raise MissingRule where a transpose is asked for in the matrix: only b is linear."""
    if any(is_linear(x) for x in matrices):
        raise MissingRule(f"`{name}` is not linear in the matrix")


# ---- triangular ----------------------------------------------------------------------------------


def _infer_triangular(a: TensorType, b: TensorType, *, left_side: bool, **_: Any) -> TensorType:
    m.check_matrix("triangular_solve", a, square=True)
    m.check_stacks("triangular_solve", (a, 2), (b, 2))
    if b.shape[-2 if left_side else -1] != a.shape[-1]:
        raise ShapeError(f"triangular_solve: {a} and the right hand side {b} do not fit")
    return b


def run_triangular(a: Any, b: Any, **params: bool) -> Any:
    """One triangular system by BLAS, which takes row-major matrices as their transposes."""
    trans = params["transpose_a"] + (params["transpose_a"] and params["conjugate_a"])
    if params["conjugate_a"] and not params["transpose_a"]:
        a = a.conj()
    found = m.blas("trsm", b.dtype)(
        1,
        a.T,
        b.T,
        side=int(params["left_side"]),
        lower=int(not params["lower"]),
        trans_a=trans,
        diag=int(params["unit_diagonal"]),
    )
    return found.T


def _numpy_triangular(a: Any, b: Any, **params: bool) -> Any:
    if b.size == 0:
        return np.zeros(b.shape, b.dtype)
    if small.are_many(a):
        flat = [x.reshape(-1, *x.shape[-2:]) for x in (a, b)]
        return np.ascontiguousarray(_many_triangular(*flat, **params)).reshape(b.shape)
    out = TensorType(b.dtype, b.shape)
    return m.stacked(lambda x, y: (run_triangular(x, y, **params),), (a, b), (2, 2), (out,))[0]


def _many_triangular(a: Any, b: Any, **params: bool) -> Any:
    turned = params["transpose_a"] != (not params["left_side"])  # of the right: the transposes
    a = np.swapaxes(a, 1, 2) if turned else a
    a = a.conj() if params["conjugate_a"] else a
    lower = params["lower"] != turned
    if params["left_side"]:
        return small.solve_of_many(a, b, lower=lower, unit=params["unit_diagonal"])
    x = small.solve_of_many(a, np.swapaxes(b, 1, 2), lower=lower, unit=params["unit_diagonal"])
    return np.swapaxes(x, 1, 2)


def _jvp_triangular(dxs: Any, ys: Any, xs: Any, **params: bool) -> Any:
    """op(A) X = B gives op(A) dX = dB - op(dA) X."""
    (da, db), (x,), (a, _) = dxs, ys, xs
    if da is not None:
        k = 1 if params["unit_diagonal"] else 0
        da = m.triangle(da, lower=params["lower"], k=-k if params["lower"] else k)
        if params["transpose_a"]:
            da = m.swapped(da)
        if params["conjugate_a"]:
            da = m.conj(da)
        db = _less(db, m.matmul(da, x) if params["left_side"] else m.matmul(x, da))
    return (triangular_solve(a, db, **params),)


def _transpose_triangular(cts: Any, xs: Any, *, transpose_a: bool, **params: bool) -> Any:
    _check_known("triangular_solve", xs[0])
    return None, triangular_solve(xs[0], cts[0], transpose_a=not transpose_a, **params)


def _batch_triangular(size: int, mask: Any, xs: Any, *, left_side: bool, **params: bool) -> Any:
    """A matrix that all of the batch share takes the batch as more right hand sides."""
    a, b = xs
    if mask[0]:
        b = with_batch_axis(b, size, mask[1])
        return triangular_solve(a, b, left_side=left_side, **params)
    wide, back = beside(b, columns=left_side)
    return back(triangular_solve(a, wide, left_side=left_side, **params))


def beside(b: Any, *, columns: bool) -> tuple[Any, Any]:
    """A batch of matrices side by side (one below the other) as one matrix, and the way back."""
    n, shape = b.type.ndim, b.type.shape
    order = (*range(1, n - 1), 0, n - 1) if columns else (*range(1, n - 2), 0, n - 2, n - 1)
    merged = n - 2 if columns else n - 3
    moved = layout.transpose(b, permutation=order)
    sizes = moved.type.shape
    joint = (*sizes[:merged], sizes[merged] * sizes[merged + 1], *sizes[merged + 2 :])
    wide = layout.reshape(moved, new_sizes=joint)

    def back(x: Any) -> Any:
        found = layout.reshape(x, new_sizes=sizes)
        found = layout.transpose(found, permutation=layout.inverse(order))
        assert found.type.shape == shape
        return found

    return wide, back


def _well(dtype: Any, *shape: int) -> Any:
    """Matrices with a diagonal that keeps triangular systems well conditioned."""
    n = shape[-1]
    drawn = np.cos(np.arange(int(np.prod(shape)))).reshape(shape)
    if kind(dtype) == "c":
        drawn = drawn + 0.5j * np.sin(np.arange(drawn.size)).reshape(shape)
    return (drawn + 3 * np.eye(n)).astype(dtype)


def _cases_triangular() -> list[Any]:
    names = ("left_side", "lower", "transpose_a", "conjugate_a", "unit_diagonal")

    def case(dtype: str, a: Any, b: Any, *flags: int) -> Any:
        types = (m.typed(dtype, *a), m.typed(dtype, *b))
        given = (_well(DTYPES[dtype], *a), None)
        return types, {n: bool(f) for n, f in zip(names, flags, strict=True)}, given

    return [
        case("f64", (3, 3), (3, 2), 1, 1, 0, 0, 0),
        case("f64", (3, 3), (3, 2), 1, 0, 1, 0, 0),
        case("f64", (3, 3), (2, 3), 0, 1, 1, 0, 1),
        case("f32", (3, 3), (2, 3), 0, 0, 0, 0, 0),
        case("c128", (3, 3), (3, 2), 1, 1, 1, 1, 0),
        case("c128", (3, 3), (2, 3), 0, 0, 1, 0, 1),
        case("c64", (2, 2), (2, 3), 1, 0, 0, 1, 0),
        case("f64", (2, 3, 3), (2, 3, 1), 1, 1, 0, 0, 0),
        case("f64", (2, 3, 3), (2, 4, 3), 0, 0, 1, 0, 0),
        case("f64", (1, 1), (1, 1), 1, 1, 0, 0, 0),
        case("f64", (0, 0), (0, 2), 1, 1, 0, 0, 0),
        case("f64", (2, 2), (2, 0), 1, 1, 0, 0, 0),
        case("f64", (0, 2, 2), (0, 2, 3), 1, 0, 0, 0, 0),
    ]


triangular_solve = m.of_matrices(
    "triangular_solve",
    params=("left_side", "lower", "transpose_a", "conjugate_a", "unit_diagonal"),
    infer=_infer_triangular,
    numpy=_numpy_triangular,
    jvp=_jvp_triangular,
    transpose=_transpose_triangular,
    batch=_batch_triangular,
    cases=_cases_triangular,
    doc="X of op(a) X = b (X op(a) = b unless left_side), where op(a) is one triangle of a, "
    "transposed and conjugated as said; with unit_diagonal its diagonal counts as ones.",
)


# ---- with factors --------------------------------------------------------------------------------


def _infer_factored(
    a: TensorType, lu: TensorType, order: TensorType, b: TensorType, *, transposed: bool
) -> TensorType:
    m.check_matrix("factored_solve", a, square=True)
    m.check_stacks("factored_solve", (a, 2), (lu, 2), (b, 2))
    if order.dtype != I32:
        raise DTypeError(f"factored_solve: takes an int32 permutation, not {order}")
    if lu.shape != a.shape or order.shape != a.shape[:-1] or b.shape[-2] != a.shape[-1]:
        raise ShapeError(f"factored_solve: {a}, its factors {lu}, {order} and {b} do not fit")
    return b


def _numpy_factored(a: Any, lu: Any, order: Any, b: Any, *, transposed: bool) -> Any:
    if b.size == 0:
        return np.zeros(b.shape, b.dtype)
    rest = {"left_side": True, "conjugate_a": False, "transpose_a": transposed}
    low = dict(rest, lower=True, unit_diagonal=True)
    up = dict(rest, lower=False, unit_diagonal=False)

    if small.are_many(lu):
        return _many_factored(lu, order, b, transposed).reshape(b.shape)

    def one(factors: Any, rows: Any, y: Any) -> Any:
        if not transposed:
            return (run_triangular(factors, run_triangular(factors, y[rows], **low), **up),)
        found = np.empty(y.shape, y.dtype)
        found[rows] = run_triangular(factors, run_triangular(factors, y, **up), **low)
        return (found,)

    return m.stacked(one, (lu, order, b), (2, 1, 2), (TensorType(b.dtype, b.shape),))[0]


def _many_factored(lu: Any, order: Any, b: Any, transposed: bool) -> Any:
    n = lu.shape[-1]
    lu, b, order = lu.reshape(-1, n, n), b.reshape(-1, *b.shape[-2:]), order.reshape(-1, n, 1)
    if not transposed:
        x = np.take_along_axis(b, order, 1)
        x = small.solve_of_many(lu, x, lower=True, unit=True)
        return small.solve_of_many(lu, x, lower=False, unit=False)
    back = np.swapaxes(lu, 1, 2)
    x = small.solve_of_many(back, b, lower=True, unit=False)
    x = small.solve_of_many(back, x, lower=False, unit=True)
    found = np.empty_like(x)
    np.put_along_axis(found, order, x, 1)
    return found


def _jvp_factored(dxs: Any, ys: Any, xs: Any, *, transposed: bool) -> Any:
    """op(A) dX = dB - op(dA) X, with the factors of A as they are."""
    (da, dlu, _, db), (x,), (a, lu, order, _) = dxs, ys, xs
    if dlu is not None:
        raise MissingRule("`factored_solve` is differentiated in the matrix, not in its factors")
    if da is not None:
        db = _less(db, m.matmul(m.swapped(da) if transposed else da, x))
    return (factored_solve(a, lu, order, db, transposed=transposed),)


def _transpose_factored(cts: Any, xs: Any, *, transposed: bool) -> Any:
    a, lu, order, _ = xs
    _check_known("factored_solve", a, lu)
    return None, None, None, factored_solve(a, lu, order, cts[0], transposed=not transposed)


def _batch_factored(size: int, mask: Any, xs: Any, *, transposed: bool) -> Any:
    if any(mask[:3]):
        wide = [with_batch_axis(x, size, k) for x, k in zip(xs, mask, strict=True)]
        return factored_solve(*wide, transposed=transposed)
    wide_b, back = beside(xs[3], columns=True)
    return back(factored_solve(*xs[:3], wide_b, transposed=transposed))


def _cases_factored() -> list[Any]:
    def case(dtype: str, a: Any, b: Any, transposed: bool = False) -> Any:
        t = m.typed(dtype, *a)
        order = np.broadcast_to(np.arange(a[-1])[::-1], a[:-1])
        types = (t, t, TensorType(I32, a[:-1]), m.typed(dtype, *b))
        matrix = _well(DTYPES[dtype], *a)
        low = np.tril(matrix, -1) + np.eye(a[-1], dtype=matrix.dtype)
        full = np.empty_like(matrix)
        full[..., np.arange(a[-1])[::-1], :] = low @ np.triu(matrix)
        return types, {"transposed": transposed}, (full, matrix, order, None)

    return [
        case("f64", (3, 3), (3, 2)),
        case("f64", (3, 3), (3, 2), True),
        case("c128", (2, 3, 3), (2, 3, 1)),
        case("c64", (3, 3), (3, 2), True),
        case("f32", (1, 1), (1, 1)),
        case("f64", (0, 0), (0, 2)),
        case("f64", (0, 2, 2), (0, 2, 2)),
    ]


factored_solve = m.of_matrices(
    "factored_solve",
    params=("transposed",),
    infer=_infer_factored,
    numpy=_numpy_factored,
    jvp=_jvp_factored,
    transpose=_transpose_factored,
    batch=_batch_factored,
    cases=_cases_factored,
    doc="X of a X = b (a^T X = b when transposed), a given with its lu factors and permutation; "
    "the tangent is that of the solution as a function of a and b.",
)


# ---- tridiagonal ---------------------------------------------------------------------------------


def _infer_tridiagonal(dl: TensorType, d: TensorType, du: TensorType, b: TensorType) -> TensorType:
    m.check_dtype("tridiagonal_solve", d)
    if not dl.shape == d.shape == du.shape or d.ndim < 1:
        raise ShapeError(f"tridiagonal_solve: the diagonals differ: {dl}, {d} and {du}")
    m.check_stacks("tridiagonal_solve", (d, 1), (dl, 1), (du, 1), (b, 2))
    if b.shape[-2] != d.shape[-1]:
        raise ShapeError(f"tridiagonal_solve: diagonals {d} and right hand side {b} do not fit")
    return b


def _numpy_tridiagonal(dl: Any, d: Any, du: Any, b: Any) -> Any:
    if b.size == 0:
        return np.zeros(b.shape, b.dtype)
    gtsv = m.lapack("gtsv", d.dtype)

    def one(below: Any, middle: Any, above: Any, y: Any) -> Any:
        if len(middle) == 1:
            with np.errstate(all="ignore"):
                return (y / middle[:, None],)
        *_, found, info = gtsv(below[1:], middle, above[:-1], y)
        return None if info else (found,)

    out = TensorType(b.dtype, b.shape)
    return m.stacked(one, (dl, d, du, b), (1, 1, 1, 2), (out,))[0]


def _shifted(x: Any, by: int, axis: int) -> Any:
    """Elements moved along an axis by one place, a zero where none comes from."""
    config = [(0, 0, 0)] * x.type.ndim
    config[axis] = (by, -by, 0)
    return layout.pad(x, layout.scalar(0, x.type.dtype), config=tuple(config))


def _jvp_tridiagonal(dxs: Any, ys: Any, xs: Any) -> Any:
    """T dX = dB - dT X."""
    (ddl, dd, ddu, db), (x,) = dxs, ys
    axis = x.type.ndim - 2
    for band, by in ((ddl, 1), (dd, 0), (ddu, -1)):
        if band is not None:
            near = x if by == 0 else _shifted(x, by, axis)
            db = _less(db, m.times_rows(band, near))
    return (tridiagonal_solve(*xs[:3], db),)


def _transpose_tridiagonal(cts: Any, xs: Any) -> Any:
    dl, d, du, _ = xs
    _check_known("tridiagonal_solve", dl, d, du)
    axis = d.type.ndim - 1
    turned = tridiagonal_solve(_shifted(du, 1, axis), d, _shifted(dl, -1, axis), cts[0])
    return None, None, None, turned


def _cases_tridiagonal() -> list[Any]:
    def case(dtype: str, d: Any, b: Any) -> Any:
        t = m.typed(dtype, *d)
        middle = np.cos(np.arange(int(np.prod(d)))).reshape(d) / 4 + 4
        return (t, t, t, m.typed(dtype, *b)), {}, (None, middle, None, None)

    return [
        case("f64", (4,), (4, 2)),
        case("f64", (1,), (1, 2)),
        case("f64", (2,), (2, 1)),
        case("f64", (2, 3), (2, 3, 2)),
        case("f32", (5,), (5, 1)),
        case("c128", (3,), (3, 2)),
        case("c64", (3,), (3, 2)),
        case("f64", (0,), (0, 2)),
        case("f64", (0, 3), (0, 3, 2)),
    ]


tridiagonal_solve = m.of_matrices(
    "tridiagonal_solve",
    infer=_infer_tridiagonal,
    numpy=_numpy_tridiagonal,
    jvp=_jvp_tridiagonal,
    transpose=_transpose_tridiagonal,
    domain=(-1.0, 1.0),
    cases=_cases_tridiagonal,
    doc="X of T X = b, where T has d on its diagonal, dl[1:] below and du[:-1] above it.",
)
