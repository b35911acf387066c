"""Eigenvalues, singular values, and the forms of Schur and Hessenberg, by LAPACK.

    svd(a: f64[4,3], full_matrices=False, compute_uv=True)    -> f64[3], f64[4,3], f64[3,3]
    eigh(a: f64[3,3], lower=True, vectors=True)               -> f64[3], f64[3,3]
    eig(a: f64[3,3], left=False, right=True)                  -> c128[3], c128[3,3]

Operands are stacks of matrices; where LAPACK does not converge, or a matrix is not finite, the
results are nan. The jvp rules follow Giles, "Collected matrix derivative results" (2008), for svd
Townsend, "Differentiating the singular value decomposition" (2016). Values that coincide have no
vectors of their own: the rules take 0 for 1 / (their difference), so that no nan comes of them.
Sums of such values and projectors onto their whole space then have their derivatives; what tells
the values apart has none.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tracejit.ir.build import full_like
from tracejit.ir.types import DTYPES, TensorType, complex_dtype, kind, real_dtype
from tracejit.ops import arith, indexing, layout, parts, powers, reduce
from tracejit.ops import linalg_parts as m
from tracejit.ops.broadcast import reduce_sum
from tracejit.ops.family import ADD
from tracejit.ops.linalg import solve


def gaps(left: Any, right: Any) -> Any:
    """Element [i, j]: 1 / (right[j] - left[i]), 0 where they are equal."""
    n = left.type.shape[-1]
    return m.safe_reciprocal(arith.sub(m.as_rows(right, n), m.as_columns(left, n)))


# ---- singular values -----------------------------------------------------------------------------


def _infer_svd(a: TensorType, *, full_matrices: bool, compute_uv: bool) -> tuple[TensorType, ...]:
    m.check_matrix("svd", a)
    stack, (rows, columns) = a.shape[:-2], a.shape[-2:]
    k = min(rows, columns)
    values = TensorType(real_dtype(a.dtype), (*stack, k))
    if not compute_uv:
        return (values,)
    left = rows if full_matrices else k
    right = columns if full_matrices else k
    return values, a.with_shape((*stack, rows, left)), a.with_shape((*stack, right, columns))


def _numpy_svd(a: Any, *, full_matrices: bool, compute_uv: bool) -> Any:
    outs = _infer_svd(
        TensorType(a.dtype, a.shape), full_matrices=full_matrices, compute_uv=compute_uv
    )

    def run(x: Any) -> Any:
        if not compute_uv:
            return (np.linalg.svd(x, compute_uv=False),)
        u, s, vh = np.linalg.svd(x, full_matrices)
        return s, u, vh

    return m.all_or_each(run, a, outs)


def _jvp_svd(dxs: Any, ys: Any, xs: Any, *, full_matrices: bool, compute_uv: bool) -> Any:
    """With M = U^H dA V and F[i, j] = 1 / (s[j]^2 - s[i]^2): ds = Re diag M,

    dU = U (F (M S + S M^H) + i Im diag(M) / 2 S) + (I - U U^H) dA V / S, and V likewise.
    """
    (da,), (a,) = dxs, xs
    if not compute_uv:
        s, u, vh = svd(a, full_matrices=False, compute_uv=True)
        inner = m.matmul(m.matmul(m.adjoint(u), da), m.adjoint(vh))
        return (m.real(m.diagonal(inner)),)
    s = ys[0]
    k = s.type.shape[-1]
    u, v = m.first_columns(ys[1], k), m.adjoint(m.first_rows(ys[2], k))
    du, dv, ds = _thin_svd(da, s, u, v)
    rows, columns = a.type.shape[-2:]
    inverse = m.safe_reciprocal(s)
    du = ADD(du, _outside(u, m.matmul(da, v), inverse)) if rows > k else du
    back = m.adjoint(da)
    dv = ADD(dv, _outside(v, m.matmul(back, u), inverse)) if columns > k else dv
    if full_matrices and rows > k:
        du = m.joined(du, _rest(u, m.last_columns(ys[1], k), m.matmul(da, v), inverse))
    if full_matrices and columns > k:
        others = m.last_columns(m.adjoint(ys[2]), k)
        dv = m.joined(dv, _rest(v, others, m.matmul(back, u), inverse))
    return ds, du, m.adjoint(dv)


def _thin_svd(da: Any, s: Any, u: Any, v: Any) -> tuple[Any, Any, Any]:
    """The tangents of U and V within their own columns, and that of s."""
    inner = m.matmul(m.matmul(m.adjoint(u), da), v)
    n = s.type.shape[-1]
    plus = ADD(m.as_rows(s, n), m.as_columns(s, n))
    apart = gaps(s, s)
    f = m.like(arith.mul(apart, m.safe_reciprocal(plus)), inner)
    scaled = m.times_columns(inner, s)
    turned_u = arith.mul(f, ADD(scaled, m.adjoint(scaled)))
    scaled = m.times_rows(s, inner)
    turned_v = arith.mul(f, ADD(scaled, m.adjoint(scaled)))
    if kind(inner.type.dtype) == "c":
        # only the sum of the phases of a pair of vectors is determined: U's takes all of it
        phase = arith.mul(parts.imag(m.diagonal(inner)), m.safe_reciprocal(s))
        turned_u = ADD(turned_u, m.on_diagonal(parts.complex_(full_like(phase, 0), phase)))
    return m.matmul(u, turned_u), m.matmul(v, turned_v), m.real(m.diagonal(inner))


def _outside(u: Any, image: Any, inverse: Any) -> Any:
    """(I - U U^H) image / s: the part of the tangent outside of the space of U."""
    rest = arith.sub(image, m.matmul(u, m.matmul(m.adjoint(u), image)))
    return m.times_columns(rest, inverse)


def _rest(u: Any, others: Any, image: Any, inverse: Any) -> Any:
    """The tangent of the other columns of a full U: any basis of the rest, turning least."""
    across = m.times_columns(m.matmul(m.adjoint(others), image), inverse)
    return arith.neg(m.matmul(u, m.adjoint(across)))


def _cases_svd() -> list[Any]:
    def case(name: str, shape: Any, full: bool, uv: bool) -> Any:
        return (m.typed(name, *shape),), {"full_matrices": full, "compute_uv": uv}

    return [
        *(case("f64", s, False, True) for s in ((3, 3), (4, 2), (2, 4), (2, 3, 2), (1, 1), (0, 2))),
        *(case("f64", s, True, True) for s in ((3, 3), (0, 2, 2))),
        *(case("c128", s, False, False) for s in ((3, 3), (4, 2), (2, 3))),
        *(case("f32", s, False, False) for s in ((5, 3), (0, 0), (2, 0, 3))),
    ]


svd = m.of_matrices(
    "svd",
    params=("full_matrices", "compute_uv"),
    infer=_infer_svd,
    numpy=_numpy_svd,
    jvp=_jvp_svd,
    cases=_cases_svd,
    doc="Singular values s, largest first, with U and V^H of a = U diag(s) V^H where asked for.",
)


# ---- Hermitian eigenvalues -----------------------------------------------------------------------


def _infer_eigh(a: TensorType, *, lower: bool, vectors: bool) -> tuple[TensorType, ...]:
    m.check_matrix("eigh", a, square=True)
    values = TensorType(real_dtype(a.dtype), a.shape[:-1])
    return (values, a) if vectors else (values,)


def _numpy_eigh(a: Any, *, lower: bool, vectors: bool) -> Any:
    outs = _infer_eigh(TensorType(a.dtype, a.shape), lower=lower, vectors=vectors)
    side = "L" if lower else "U"

    def run(x: Any) -> Any:
        return tuple(np.linalg.eigh(x, side)) if vectors else (np.linalg.eigvalsh(x, side),)

    return m.all_or_each(run, a, outs, np.tril if lower else np.triu)


def _jvp_eigh(dxs: Any, ys: Any, xs: Any, *, lower: bool, vectors: bool) -> Any:
    """With M = V^H dA V: dw = Re diag M, dV = V (M[i, j] / (w[j] - w[i]))."""
    (da,), (a,) = dxs, xs
    w, v = ys if vectors else eigh(a, lower=lower, vectors=True)
    inner = m.matmul(m.adjoint(v), m.matmul(m.hermitian_of(da, lower=lower), v))
    dw = m.real(m.diagonal(inner))
    if not vectors:
        return (dw,)
    return dw, m.matmul(v, arith.mul(m.like(gaps(w, w), inner), m.off_diagonal(inner)))


eigh = m.of_matrices(
    "eigh",
    params=("lower", "vectors"),
    infer=_infer_eigh,
    numpy=_numpy_eigh,
    jvp=_jvp_eigh,
    cases=lambda: [
        *(
            ((m.typed("f64", *s),), {"lower": low, "vectors": True})
            for s in ((3, 3), (1, 1), (2, 3, 3), (0, 0), (0, 2, 2))
            for low in (True, False)
        ),
        ((m.typed("c128", 3, 3),), {"lower": True, "vectors": False}),
        ((m.typed("c128", 2, 3, 3),), {"lower": False, "vectors": False}),
        ((m.typed("f32", 4, 4),), {"lower": True, "vectors": False}),
    ],
    doc="Eigenvalues of the Hermitian matrix that one triangle of a stands for, in ascending "
    "order, and the unitary matrix of eigenvectors.",
)


# ---- eigenvalues ---------------------------------------------------------------------------------


def _infer_eig(a: TensorType, *, left: bool, right: bool) -> tuple[TensorType, ...]:
    m.check_matrix("eig", a, square=True)
    wide = a.with_dtype(complex_dtype(a.dtype))
    return (wide.with_shape(a.shape[:-1]), *(wide for wanted in (left, right) if wanted))


def _numpy_eig(a: Any, *, left: bool, right: bool) -> Any:
    outs = _infer_eig(TensorType(a.dtype, a.shape), left=left, right=right)

    def run(x: Any) -> Any:
        return tuple(np.linalg.eig(x)) if right else (np.linalg.eigvals(x),)

    def both(x: Any) -> Any:
        if x.size == 0:
            return tuple(
                np.zeros(t.shape[t.ndim - n :], t.dtype)
                for t, n in zip(outs, (1, 2, 2), strict=False)
            )
        if not np.isfinite(x).all():
            return None
        *values, vl, vr, info = geev(x)
        w = values[0] if len(values) == 1 else values[0] + 1j * values[1]
        if info:
            return None
        if len(values) == 2:
            vl, vr = (_of_pairs(v, values[1]) for v in (vl, vr))
        return (w, vl, vr) if right else (w, vl)

    if not left:
        return m.all_or_each(run, a, outs)
    geev = m.lapack("geev", a.dtype)
    return m.stacked(both, (a,), (2,), outs)


def _of_pairs(v: Any, imaginary: Any) -> Any:
    """LAPACK's real columns as complex eigenvectors: pairs hold real and imaginary part."""
    found = v.astype(complex_dtype(v.dtype))
    for k in np.flatnonzero(imaginary > 0):
        found[:, k] = v[:, k] + 1j * v[:, k + 1]
        found[:, k + 1] = found[:, k].conj()
    return found


def _jvp_eig(dxs: Any, ys: Any, xs: Any, *, left: bool, right: bool) -> Any:
    """With M = V^-1 dA V: dw = diag M, dV = V (M[i, j] / (w[j] - w[i])), and for the vectors of the
    left the same with A^H.
    """
    (da,), (a,), w = dxs, xs, ys[0]
    wide = da if da.type.dtype == w.type.dtype else parts.convert(da, dtype=w.type.dtype)
    v = ys[-1] if right else eig(a, left=False, right=True)[1]
    inner = solve(v, m.matmul(wide, v))
    found = [m.diagonal(inner)]
    if left:
        found.append(_turned(ys[1], m.adjoint(wide), m.conj(w)))
    if right:
        found.append(_normalised(v, _step(v, inner, w)))
    return tuple(found)


def _turned(u: Any, da: Any, w: Any) -> Any:
    return _normalised(u, _step(u, solve(u, m.matmul(da, u)), w))


def _step(v: Any, inner: Any, w: Any) -> Any:
    return m.matmul(v, arith.mul(gaps(w, w), m.off_diagonal(inner)))


def _normalised(v: Any, dv: Any) -> Any:
    """``dv`` within LAPACK's choice: columns of length 1 whose largest component is real."""
    rows = v.type.ndim - 2
    n = v.type.shape[-1]
    if n == 0:
        return dv
    along = reduce_sum(parts.real(arith.mul(m.conj(v), dv)), axes=(rows,))
    size = powers.square(parts.real(v))
    size = ADD(size, powers.square(parts.imag(v)))
    place = reduce.argmax(size, axes=(rows,), index_dtype=DTYPES["i32"])
    place = layout.reshape(place, new_sizes=(*place.type.shape[:-1], 1, n))
    top, turn = (indexing.take_along(x, place, rows) for x in (v, dv))
    # a vector that is real takes no turn; others have a largest component that is real
    angle = parts.imag(arith.mul(turn, m.conj(top)))
    angle = arith.div(angle, parts.real(arith.mul(top, m.conj(top))))
    angle = layout.reshape(angle, new_sizes=along.type.shape)
    change = m.as_rows(parts.complex_(along, angle), n)
    return arith.sub(dv, arith.mul(v, change))


def _cases_eig() -> list[Any]:
    def case(name: str, shape: Any, left: bool, right: bool) -> Any:
        return (m.typed(name, *shape),), {"left": left, "right": right}

    return [
        *(case("f64", s, False, True) for s in ((3, 3), (1, 1), (2, 3, 3), (0, 0), (0, 2, 2))),
        *(case("c128", s, False, True) for s in ((3, 3), (2, 2, 2))),
        case("f64", (3, 3), False, False),
        case("c128", (3, 3), True, True),
        case("f64", (4, 4), True, True),
        case("c64", (3, 3), True, False),
        case("f32", (3, 3), False, False),
    ]


eig = m.of_matrices(
    "eig",
    params=("left", "right"),
    infer=_infer_eig,
    numpy=_numpy_eig,
    jvp=_jvp_eig,
    cases=_cases_eig,
    doc="Eigenvalues, and eigenvectors u^H a = w u^H of the left, a v = v w of the right: always "
    "complex, of length 1, their largest component real.",
)


# ---- Schur, Hessenberg, tridiagonal --------------------------------------------------------------


def _infer_schur(a: TensorType, *, vectors: bool) -> tuple[TensorType, ...]:
    m.check_matrix("schur", a, square=True)
    return (a, a) if vectors else (a,)


def _numpy_schur(a: Any, *, vectors: bool) -> Any:
    outs = _infer_schur(TensorType(a.dtype, a.shape), vectors=vectors)
    if a.size == 0:
        return tuple(np.zeros(t.shape, t.dtype) for t in outs)
    gees = m.lapack("gees", a.dtype)

    def one(x: Any) -> Any:
        if not np.isfinite(x).all():
            return None
        t, *_, z, _, info = gees(lambda *_: 0, x, compute_v=int(vectors), sort_t=0)
        return None if info else (t, z)[: len(outs)]

    return m.stacked(one, (a,), (2,), outs)


schur = m.of_matrices(
    "schur",
    params=("vectors",),
    infer=_infer_schur,
    numpy=_numpy_schur,
    cases=lambda: [((t,), {"vectors": t.shape != (4, 4)}) for t in m.square("f64", "c128")],
    doc="T and Z of a = Z T Z^H: Z unitary, T upper triangular (for real a with blocks of 2 by 2 "
    "for pairs of complex eigenvalues).",
)


def _infer_hessenberg(a: TensorType) -> tuple[TensorType, ...]:
    m.check_matrix("hessenberg", a, square=True)
    return a, a.with_shape((*a.shape[:-2], max(a.shape[-1] - 1, 0)))


def _numpy_hessenberg(a: Any) -> Any:
    outs = _infer_hessenberg(TensorType(a.dtype, a.shape))
    if a.shape[-1] < 2:
        return np.array(a), np.zeros(outs[1].shape, a.dtype)
    gehrd = m.lapack("gehrd", a.dtype)
    return m.stacked(lambda x: gehrd(x)[:2], (a,), (2,), outs)


hessenberg = m.of_matrices(
    "hessenberg",
    infer=_infer_hessenberg,
    numpy=_numpy_hessenberg,
    cases=lambda: [((t,), {}) for t in m.square("f64", "c128", "f32")],
    doc="LAPACK's form of a = Q H Q^H: H above the second diagonal, the reflectors that make Q "
    "below, and their factors.",
)


def _infer_tridiagonal(a: TensorType, *, lower: bool) -> tuple[TensorType, ...]:
    m.check_matrix("tridiagonal", a, square=True)
    stack, n = a.shape[:-2], a.shape[-1]
    real = TensorType(real_dtype(a.dtype), (*stack, n))
    short = real.with_shape((*stack, max(n - 1, 0)))
    return a, real, short, short.with_dtype(a.dtype)


def _numpy_tridiagonal(a: Any, *, lower: bool) -> Any:
    outs = _infer_tridiagonal(TensorType(a.dtype, a.shape), lower=lower)
    if a.shape[-1] < 2:
        rest = [np.zeros(t.shape, t.dtype) for t in outs[2:]]
        return (np.array(a), a.real.reshape(outs[1].shape).copy(), *rest)
    sytrd = m.lapack("sytrd", a.dtype)
    return m.stacked(lambda x: sytrd(x, lower=int(lower))[:4], (a,), (2,), outs)


tridiagonal = m.of_matrices(
    "tridiagonal",
    params=("lower",),
    infer=_infer_tridiagonal,
    numpy=_numpy_tridiagonal,
    cases=lambda: [
        ((t,), {"lower": lower}) for t in m.square("f64", "c128") for lower in (True, False)
    ],
    doc="LAPACK's form of a = Q T Q^H for Hermitian a: the reflectors of Q, the two "
    "diagonals of the real T, the factors of the reflectors.",
)
