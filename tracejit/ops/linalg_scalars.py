"""Determinants and the pseudo-inverse: functions of a matrix whose derivatives need no factors.

det(a: f64[3,3])                     -> f64[]
slogdet(a: f64[3,3])                 -> f64[], f64[]
pinv(a: f64[4,3], rtol: f64[])       -> f64[3,4]
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tracejit.errors import ShapeError
from tracejit.ir.build import full_like
from tracejit.ir.types import TensorType, kind, real_dtype
from tracejit.ops import arith, parts
from tracejit.ops import linalg_parts as m
from tracejit.ops.broadcast import broadcast_in_dim, reduce_sum
from tracejit.ops.family import ADD
from tracejit.ops.linalg import solve


def _quiet(function: Any, a: Any) -> Any:
    with np.errstate(all="ignore"):
        return function(a)


# ---- determinants --------------------------------------------------------------------------------


def _infer_det(a: TensorType) -> TensorType:
    m.check_matrix("det", a, square=True)
    return a.with_shape(a.shape[:-2])


def _inner(x: Any, y: Any) -> Any:
    """The sum of the products of the elements of each matrix."""
    n = x.type.ndim
    return reduce_sum(arith.mul(x, y), axes=(n - 2, n - 1))


det = m.of_matrices(
    "det",
    infer=_infer_det,
    numpy=lambda a: np.asarray(_quiet(np.linalg.det, a)),
    jvp=lambda dxs, ys, xs: (_inner(cofactor(xs[0]), dxs[0]),),
    cases=lambda: [((t,), {}) for t in m.square("f64", "c128", "f32", "c64")],
    doc="The determinant; its derivative is the matrix of cofactors, for singular a too.",
)


def _infer_cofactor(a: TensorType) -> TensorType:
    m.check_matrix("cofactor", a, square=True)
    return a


def _numpy_cofactor(a: Any) -> Any:
    """det(U) det(V^H) conj(U) diag(p) conj(V^H) from the singular values, where p[k] is the product
    of all but the k-th: no division, so that singular matrices have cofactors too.
    """

    def run(x: Any) -> Any:
        u, s, vh = np.linalg.svd(x)
        ones = np.ones_like(s[..., :1])
        below = np.cumprod(np.concatenate([ones, s[..., :-1]], -1), -1)
        above = np.cumprod(np.concatenate([ones, s[..., :0:-1]], -1), -1)[..., ::-1]
        turn = np.linalg.det(u) * np.linalg.det(vh)
        scale = turn[..., None] * (below * above)
        return ((u.conj() * scale[..., None, :]) @ vh.conj(),)

    if a.size == 0:
        return np.zeros(a.shape, a.dtype)
    return m.all_or_each(run, a, (TensorType(a.dtype, a.shape),))[0]


def _jvp_cofactor(dxs: Any, ys: Any, xs: Any) -> Any:
    """dC = tr(A^-1 dA) C - C (A^-1 dA)^T: finite where A can be inverted."""
    (da,), (c,), (a,) = dxs, ys, xs
    moved = solve(a, da)
    trace = reduce_sum(m.diagonal(moved), axes=(moved.type.ndim - 2,))
    n = a.type.ndim
    wide = broadcast_in_dim(trace, shape=a.type.shape, dims=tuple(range(n - 2)))
    return (arith.sub(arith.mul(wide, c), m.matmul(c, m.swapped(moved))),)


cofactor = m.of_matrices(
    "cofactor",
    infer=_infer_cofactor,
    numpy=_numpy_cofactor,
    jvp=_jvp_cofactor,
    cases=lambda: [((t,), {}) for t in m.square("f64", "c128", "f32")],
    doc="The matrix of cofactors, det(a) a^-T where a can be inverted: the derivative of det(a).",
)


def _infer_slogdet(a: TensorType) -> tuple[TensorType, TensorType]:
    m.check_matrix("slogdet", a, square=True)
    sign = a.with_shape(a.shape[:-2])
    return sign, sign.with_dtype(real_dtype(a.dtype))


def _jvp_slogdet(dxs: Any, ys: Any, xs: Any) -> Any:
    """d log det = tr(A^-1 dA): its real part moves the logarithm, its imaginary part the sign."""
    (da,), (sign, _), (a,) = dxs, ys, xs
    moved = solve(a, da)
    trace = reduce_sum(m.diagonal(moved), axes=(moved.type.ndim - 2,))
    if kind(a.type.dtype) != "c":
        return None, trace
    angle = parts.imag(trace)
    turn = parts.complex_(full_like(angle, 0), angle)
    return arith.mul(sign, turn), parts.real(trace)


slogdet = m.of_matrices(
    "slogdet",
    infer=_infer_slogdet,
    numpy=lambda a: tuple(np.asarray(x) for x in _quiet(np.linalg.slogdet, a)),
    jvp=_jvp_slogdet,
    cases=lambda: [((t,), {}) for t in m.square("f64", "c128", "f32", "c64")],
    doc="The sign (of modulus 1, or 0) and the logarithm of the modulus of the determinant.",
)


# ---- pseudo-inverse ------------------------------------------------------------------------------


def _infer_pinv(a: TensorType, rtol: TensorType, *, hermitian: bool) -> TensorType:
    m.check_matrix("pinv", a, square=hermitian)
    stack, (rows, columns) = a.shape[:-2], a.shape[-2:]
    if rtol.dtype != real_dtype(a.dtype) or rtol.shape != stack:
        raise ShapeError(f"pinv: the tolerance {rtol} does not fit {a}")
    return a.with_shape((*stack, columns, rows))


def _numpy_pinv(a: Any, rtol: Any, *, hermitian: bool) -> Any:
    types = TensorType(a.dtype, a.shape), TensorType(rtol.dtype, rtol.shape)
    out = _infer_pinv(*types, hermitian=hermitian)

    def one(x: Any, tolerance: Any) -> Any:
        if not np.isfinite(x).all():
            return None
        return (np.linalg.pinv(x, rtol=tolerance, hermitian=hermitian),)

    if a.size and np.isfinite(a).all():
        try:
            found = np.linalg.pinv(a, rtol=rtol, hermitian=hermitian)
        except np.linalg.LinAlgError:
            pass
        else:
            return found.astype(a.dtype, copy=False)
    return m.stacked(one, (a, rtol), (2, 0), (out,))[0]


def _jvp_pinv(dxs: Any, ys: Any, xs: Any, *, hermitian: bool) -> Any:
    """Golub and Pereyra (1973), for matrices that keep their rank, with P the pseudo-inverse:
    dP = -P dA P + P P^H dA^H (I - A P) + (I - P A) dA^H P^H P.
    """
    (da, _), (p,), (a, _) = dxs, ys, xs
    if da is None:
        return (None,)
    if hermitian:
        a, da = m.hermitian_of(a), m.hermitian_of(da)
    back, turned = m.adjoint(da), m.adjoint(p)
    first = m.matmul(p, m.matmul(da, p))
    second = m.matmul(p, m.matmul(turned, back))
    second = arith.sub(second, m.matmul(m.matmul(second, a), p))
    third = m.matmul(m.matmul(back, turned), p)
    third = arith.sub(third, m.matmul(p, m.matmul(a, third)))
    return (ADD(arith.sub(second, first), third),)


def _cases_pinv() -> list[Any]:
    def case(name: str, shape: Any, hermitian: bool = False) -> Any:
        a = m.typed(name, *shape)
        rtol = TensorType(real_dtype(a.dtype), shape[:-2])
        given = np.full(shape[:-2], 1e-6)
        return (a, rtol), {"hermitian": hermitian}, (None, given)

    return [
        *(case("f64", s) for s in ((3, 3), (4, 2), (2, 4), (2, 3, 2), (0, 3), (0, 2, 2))),
        *(case("c128", s) for s in ((3, 2), (2, 3))),
        case("f64", (3, 3), hermitian=True),
        case("c128", (3, 3), hermitian=True),
        case("f32", (4, 3)),
    ]


pinv = m.of_matrices(
    "pinv",
    params=("hermitian",),
    infer=_infer_pinv,
    numpy=_numpy_pinv,
    jvp=_jvp_pinv,
    cases=_cases_pinv,
    doc="The pseudo-inverse of Moore and Penrose; singular values up to rtol times the largest "
    "count as 0.",
)
