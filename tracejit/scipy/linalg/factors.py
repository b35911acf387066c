"""Factorisations with SciPy's arguments: cholesky, lu, qr, svd, eigh, schur, hessenberg, polar.

>>> q, r = qr(jnp.array([[3.0], [4.0]]), mode="economic")
>>> print(jnp.abs(r))
[[5.]]

All take stacks of matrices in the leading axes. ``overwrite_a``, ``check_finite``, ``lwork`` and
the like are accepted for compatibility and change nothing: arrays are immutable, and what is not
finite gives LinAlgError outside of jit and nan inside.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import tracejit.numpy as jnp
from tracejit import linalg
from tracejit.errors import ArgumentError, ShapeError
from tracejit.frontend.array import Array
from tracejit.frontend.custom import custom_jvp
from tracejit.frontend.promotion import convert, to_inexact
from tracejit.ir.types import complex_dtype, kind, real_dtype
from tracejit.scipy.linalg.arguments import (
    adjoint,
    alike,
    from_triangle,
    matrix,
    on_one_stack,
    one_of,
    square,
    with_columns,
)
from tracejit.source import here

# ---- Cholesky ------------------------------------------------------------------------------------


def cholesky(
    a: Any, lower: bool = False, overwrite_a: bool = False, check_finite: bool = True
) -> Array:
    """The triangular factor of a Hermitian positive definite matrix: a = L L^H with ``lower``,
    a = U^H U without. That triangle of ``a`` alone is read.

    Raises ShapeError, and LinAlgError where a matrix is not positive definite (nan inside jit).

    >>> print(cholesky(jnp.array([[4.0, 2.0], [2.0, 5.0]])))
    [[2. 1.]
     [0. 2.]]
    """
    a = square("cholesky", a)
    found = linalg.cholesky(a if lower else adjoint(a), symmetrize_input=False)
    return found if lower else adjoint(found)


def cho_factor(
    a: Any, lower: bool = False, overwrite_a: bool = False, check_finite: bool = True
) -> tuple[Array, bool]:
    """``(c, lower)`` for ``cho_solve``: the factor of ``cholesky``, zeros in its other triangle.

    >>> c, lower = cho_factor(jnp.array([[4.0]]))
    >>> print(cho_solve((c, lower), jnp.array([8.0])))
    [2.]
    """
    return cholesky(a, lower), lower


def cho_solve(
    c_and_lower: tuple[Any, bool], b: Any, overwrite_b: bool = False, check_finite: bool = True
) -> Array:
    """The x of a x = b, with what ``cho_factor(a)`` gave; b (n,) or (..., n, m).

    Raises ShapeError where they do not fit.
    """
    c, lower = c_and_lower
    c, b = alike("cho_solve", c, b)
    c = square("cho_solve", c)

    def run(c: Array, b: Array) -> Array:
        options = {"left_side": True, "lower": bool(lower)}
        back = {"transpose_a": True, "conjugate_a": True}
        first, second = ({}, back) if lower else (back, {})
        y = linalg.triangular_solve(c, b, **options, **first)
        return linalg.triangular_solve(c, y, **options, **second)  # type: ignore[no-any-return]

    return with_columns("cho_solve", c, b, run)


# ---- lu ------------------------------------------------------------------------------------------


def lu(
    a: Any, permute_l: bool = False, overwrite_a: bool = False, check_finite: bool = True
) -> tuple[Array, ...]:
    """``(p, l, u)`` with a = p l u: a permutation, a unit lower and an upper triangular matrix; or
    ``(p l, u)`` with ``permute_l``.

    >>> p, l, u = lu(jnp.array([[1.0, 2.0], [4.0, 4.0]]))
    >>> print(p @ l @ u)
    [[1. 2.]
     [4. 4.]]
    """
    a = matrix("lu", a)
    rows, columns = a.shape[-2:]
    k = min(rows, columns)
    both, _, order = linalg.lu(a)
    low = jnp.tril(both[..., :, :k], -1) + jnp.eye(rows, k, dtype=a.dtype)
    up = jnp.triu(both[..., :k, :])
    moved = jnp.arange(rows)[:, None] == order[..., None, :]
    p = moved.astype(real_dtype(a.dtype))
    return (p.astype(a.dtype) @ low, up) if permute_l else (p, low, up)


def lu_factor(a: Any, overwrite_a: bool = False, check_finite: bool = True) -> tuple[Array, Array]:
    """``(lu, piv)`` for ``lu_solve``: both factors in one matrix, and the int32 row exchanges.

    >>> print(lu_factor(jnp.array([[1.0, 2.0], [4.0, 4.0]]))[1])
    [1 1]
    """
    return linalg.lu(matrix("lu_factor", a))[:2]  # type: ignore[no-any-return]


def lu_solve(
    lu_and_piv: tuple[Any, Any],
    b: Any,
    trans: int = 0,
    overwrite_b: bool = False,
    check_finite: bool = True,
) -> Array:
    """The x of a x = b with what ``lu_factor(a)`` gave; a^T x = b for ``trans`` 1, a^H x = b for 2.

    b is (n,) or (..., n, m). Raises ShapeError where they do not fit, ArgumentError for another
    ``trans``.

    >>> print(lu_solve(lu_factor(jnp.array([[1.0, 2.0], [4.0, 4.0]])), jnp.array([3.0, 8.0])))
    [1. 1.]
    """
    factors, pivots = lu_and_piv
    factors, b = alike("lu_solve", factors, b)
    factors = square("lu_solve", factors)
    n = factors.shape[-1]
    pivots = jnp.asarray(pivots).astype("int32")
    if pivots.shape != factors.shape[:-1]:
        raise ShapeError(
            f"lu_solve: the factors {factors.type} and pivots {pivots.type} do not fit", at=here()
        )
    order = linalg.lu_pivots_to_permutation(pivots, n)

    def run(x: Array, y: Array) -> Array:
        rows = jnp.broadcast_to(order, x.shape[:-1])
        return linalg.lu_solve(x, rows, y, trans)  # type: ignore[no-any-return]

    return with_columns("lu_solve", factors, b, run)


# ---- qr and svd ----------------------------------------------------------------------------------


def qr(
    a: Any,
    overwrite_a: bool = False,
    lwork: Any = None,
    mode: str = "full",
    pivoting: bool = False,
    check_finite: bool = True,
) -> tuple[Any, ...]:
    """``(q, r)`` with a = q r, and the permutation p of ``a[:, p] = q r`` with ``pivoting``.

    ``mode``: "full", "economic", "r" for ``(r,)`` alone, or "raw" for LAPACK's ``((h, tau), r)``,
    without pivoting. Raises ArgumentError for another mode.

    >>> q, r, p = qr(jnp.array([[1.0, 2.0], [0.0, 0.0]]), pivoting=True)
    >>> print(p)
    [1 0]
    """
    one_of("qr", "mode", mode, "full", "economic", "r", "raw")
    a = matrix("qr", a)
    if mode == "raw":
        if pivoting:
            raise ArgumentError("qr: mode 'raw' has no pivoting", at=here())
        h, tau = linalg.geqrf(a)
        return (h, tau), jnp.triu(h[..., : min(a.shape[-2:]), :])
    q, r, *order = linalg.qr(a, pivoting=pivoting, full_matrices=mode != "economic")
    return (r, *order) if mode == "r" else (q, r, *order)


def qr_multiply(
    a: Any,
    c: Any,
    mode: str = "right",
    pivoting: bool = False,
    conjugate: bool = False,
    overwrite_a: bool = False,
    overwrite_c: bool = False,
) -> tuple[Array, ...]:
    """``(cq, r)`` with c q for ``mode`` "right" and q c for "left", q the factor of the economic
    ``qr``, conjugated where ``conjugate`` says so; and the permutation with ``pivoting``.

    ``c`` is a matrix or a vector. Raises ShapeError where it does not fit.

    >>> cq, r = qr_multiply(jnp.array([[3.0], [4.0]]), jnp.array([3.0, 4.0]))
    >>> print(jnp.abs(cq))
    [5.]
    """
    one_of("qr_multiply", "mode", mode, "right", "left")
    a, c = alike("qr_multiply", a, c)
    q, r, *order = qr(a, mode="economic", pivoting=pivoting)
    q = jnp.conj(q) if conjugate else q
    size = q.shape[-2] if mode == "right" else q.shape[-1]
    if c.ndim == 0 or c.shape[-1 if mode == "right" else max(c.ndim - 2, 0)] != size:
        raise ShapeError(f"qr_multiply: q {q.type} and c {c.type} do not fit", at=here())
    return (c @ q if mode == "right" else q @ c, r, *order)


def svd(
    a: Any,
    full_matrices: bool = True,
    compute_uv: bool = True,
    overwrite_a: bool = False,
    check_finite: bool = True,
    lapack_driver: str = "gesdd",
) -> Any:
    """``(u, s, vh)`` with a = u diag(s) vh, the singular values falling; ``s`` alone without
    ``compute_uv``. ``lapack_driver`` ("gesdd" or "gesvd") changes nothing.

    >>> print(svd(jnp.array([[3.0, 0.0], [0.0, 4.0]]), compute_uv=False))
    [4. 3.]
    """
    one_of("svd", "lapack_driver", lapack_driver, "gesdd", "gesvd")
    return linalg.svd(
        matrix("svd", a), full_matrices=bool(full_matrices), compute_uv=bool(compute_uv)
    )


@custom_jvp
def _nearest(a: Array) -> Array:
    """The u of a = u p with orthonormal columns, for matrices with no more columns than rows."""
    u, _, vh = linalg.svd(a, full_matrices=False)
    return u @ vh  # type: ignore[no-any-return]


@_nearest.defjvp
def _nearest_jvp(primals: Any, tangents: Any) -> Any:
    """With W = u^H du, u^H da - da^H u = W p + p W, solved where p is diagonal; what of da lies
    outside of the columns of u turns them by (I - u u^H) da p^-1.
    """
    (a,), (da,) = primals, tangents
    u = _nearest(a)
    _, s, vh = linalg.svd(a, full_matrices=False)
    v = adjoint(vh)
    inside = adjoint(u) @ da
    skew = vh @ (inside - adjoint(inside)) @ v
    skew = v @ (skew / (s[..., :, None] + s[..., None, :])) @ vh
    du = u @ skew
    if a.shape[-2] > a.shape[-1]:
        rest = da - u @ inside
        du = du + ((rest @ v) / s[..., None, :]) @ vh
    return u, du


def polar(
    a: Any,
    side: str = "right",
    *,
    method: str = "qdwh",
    eps: float | None = None,
    max_iterations: int | None = None,
) -> tuple[Array, Array]:
    """``(u, p)`` with a = u p for ``side`` "right" and a = p u for "left": u with orthonormal
    columns or rows, p Hermitian and positive semi-definite.

    Both methods, "qdwh" and "svd", are computed by the singular values; ``eps`` and
    ``max_iterations`` change nothing. Derivatives need a matrix of full rank. Raises ArgumentError
    for another side or method.

    >>> u, p = polar(jnp.array([[0.0, 2.0], [-3.0, 0.0]]))
    >>> print(jnp.round(p, 4))
    [[3. 0.]
     [0. 2.]]
    """
    one_of("polar", "side", side, "right", "left")
    one_of("polar", "method", method, "qdwh", "svd")
    a = matrix("polar", a)
    u = _nearest(a) if a.shape[-2] >= a.shape[-1] else adjoint(_nearest(adjoint(a)))
    p = adjoint(u) @ a if side == "right" else a @ adjoint(u)
    return u, (p + adjoint(p)) / 2


# ---- eigenvalues ---------------------------------------------------------------------------------


def eigh(
    a: Any,
    b: Any = None,
    lower: bool = True,
    eigvals_only: bool = False,
    overwrite_a: bool = False,
    overwrite_b: bool = False,
    turbo: bool = True,
    eigvals: None = None,
    type: int = 1,
    check_finite: bool = True,
) -> Any:
    """``(w, v)``: eigenvalues of Hermitian matrices, ascending, and eigenvectors as columns;
    ``w`` alone with ``eigvals_only``. One triangle of each matrix is read.

    With a positive definite ``b``, by ``type``: 1 for a v = w b v, 2 for a b v = w v, 3 for
    b a v = w v; the vectors then have v^H b v = 1 (types 1 and 2) or v^H b^-1 v = 1. Raises
    ArgumentError for another type and for ``eigvals``, LinAlgError where ``b`` is not positive
    definite (nan inside jit).

    >>> w, v = eigh(jnp.array([[2.0, 1.0], [1.0, 2.0]]))
    >>> print(w)
    [1. 3.]
    """
    one_of("eigh", "type", type, 1, 2, 3)
    if eigvals is not None:
        raise ArgumentError("eigh: eigvals is not provided", at=here(), hint="cut the results")
    if b is None:
        vectors, values = linalg.eigh(square("eigh", a), lower=lower, symmetrize_input=False)
        return values if eigvals_only else (values, vectors)
    a, b = alike("eigh", a, b)
    a, b = on_one_stack("eigh", square("eigh", a), square("eigh", b))
    a = from_triangle(a, lower)
    low = cholesky(b, lower)
    low = low if lower else adjoint(low)
    below: dict[str, Any] = {"left_side": True, "lower": True}
    if type == 1:
        half = linalg.triangular_solve(low, a, **below)
        inner = linalg.triangular_solve(low, adjoint(half), **below)
    else:
        inner = adjoint(low) @ a @ low
    y, values = linalg.eigh(inner)
    if eigvals_only:
        return values
    if type == 3:
        return values, low @ y
    back = {"transpose_a": True, "conjugate_a": True}
    return values, linalg.triangular_solve(low, y, **below, **back)


def eigh_tridiagonal(
    d: Any,
    e: Any,
    *,
    eigvals_only: bool = False,
    select: str = "a",
    select_range: tuple[float, float] | None = None,
    tol: float | None = None,
    key: Any = None,
) -> Any:
    """``eigh`` of the real symmetric tridiagonal matrix with ``d`` (n,) on its diagonal and ``e``
    (n - 1,) beside it (Hermitian for a complex ``e``, which stands below).

    ``select``: "a" for all, "i" for those numbered from ``select_range[0]`` to ``select_range[1]``,
    both included, "v" for those above ``select_range[0]`` and up to ``select_range[1]``: how many
    there are must be known, so not inside jit. ``tol`` and ``key`` change nothing: the matrix is
    solved as a dense one.

    Raises ShapeError where the lengths do not fit, ArgumentError for another selection.

    >>> print(eigh_tridiagonal(jnp.array([2.0, 2.0]), jnp.array([1.0]), eigvals_only=True))
    [1. 3.]
    """
    one_of("eigh_tridiagonal", "select", select, "a", "i", "v")
    d, e = to_inexact(d), to_inexact(e)
    if d.ndim != 1 or e.shape != (max(d.shape[0] - 1, 0),) or not d.shape[0]:
        raise ShapeError(
            f"eigh_tridiagonal: takes diagonals (n,) and (n - 1,), not {d.type} and {e.type}",
            at=here(),
        )
    d, e = alike("eigh_tridiagonal", d, e)
    full = jnp.diag(d) + jnp.diag(e, -1) + jnp.diag(jnp.conj(e), 1)
    vectors, values = linalg.eigh(full, symmetrize_input=False)
    if select != "a":
        if select_range is None or len(select_range) != 2:
            raise ArgumentError("eigh_tridiagonal: select_range is a pair of bounds", at=here())
        low, high = select_range
        if select == "i":
            if not 0 <= low <= high < d.shape[0]:
                raise ArgumentError(
                    f"eigh_tridiagonal: select_range {select_range} is not within the "
                    f"{d.shape[0]} eigenvalues",
                    at=here(),
                )
            kept: Any = slice(int(low), int(high) + 1)
        else:
            if not values._has_value:
                raise values.traced_error(
                    "eigh_tridiagonal() with select='v'", "number them with select='i' inside jit"
                )
            known = values.concrete("eigh_tridiagonal()")
            kept = np.flatnonzero((known > low) & (known <= high))
        values, vectors = values[kept], vectors[:, kept]
    return values if eigvals_only else (values, vectors)


# ---- similar matrices ----------------------------------------------------------------------------


def as_complex(a: Array) -> Array:
    """``a`` in the complex dtype of its precision."""
    return a if kind(a.dtype) == "c" else convert(a, complex_dtype(a.dtype))


def schur(a: Any, output: str = "real") -> tuple[Array, Array]:
    """``(t, z)`` with a = z t z^H: z unitary, t upper triangular; for a real matrix and ``output``
    "real", t has blocks of 2 by 2 on its diagonal for pairs of complex eigenvalues.

    Has no derivatives (nor in JAX): order and signs of the result jump. Raises ShapeError for
    matrices that are not square, ArgumentError for another output.

    >>> t, z = schur(jnp.array([[0.0, 1.0], [-1.0, 0.0]]), output="complex")
    >>> print(jnp.sort(jnp.diag(t).imag))
    [-1.  1.]
    """
    one_of("schur", "output", output, "real", "complex", "r", "c")
    a = square("schur", a)
    return linalg.schur(as_complex(a) if output[0] == "c" else a)  # type: ignore[no-any-return]


def hessenberg(
    a: Any, *, calc_q: bool = False, overwrite_a: bool = False, check_finite: bool = True
) -> Any:
    """The h of a = q h q^H with zeros below its second diagonal; ``(h, q)`` with ``calc_q``.

    Has no derivatives (nor in JAX). Raises ShapeError for matrices that are not square.

    >>> h, q = hessenberg(jnp.array([[1.0, 2.0], [3.0, 4.0]]), calc_q=True)
    >>> print(q @ h @ q.T)
    [[1. 2.]
     [3. 4.]]
    """
    a = square("hessenberg", a)
    n = a.shape[-1]
    found, taus = linalg.hessenberg(a)
    h = jnp.triu(found, -1)
    if not calc_q:
        return h
    q = jnp.broadcast_to(jnp.eye(n, dtype=a.dtype), a.shape)
    if n > 1:
        inner = linalg.householder_product(found[..., 1:, :-1], taus)
        q = q.at[..., 1:, 1:].set(inner)
    return h, q
