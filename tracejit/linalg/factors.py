"""cholesky, lu, qr, and products with the reflectors that LAPACK's forms of them hold.

>>> from tracejit import linalg
>>> q, r = linalg.qr(jnp.array([[3.0, 1.0], [4.0, 2.0]]))
>>> print(jnp.abs(jnp.round(r, 3)))
[[5.  2.2]
 [0.  0.4]]
"""

from __future__ import annotations

from typing import Any

from tracejit.errors import ShapeError
from tracejit.frontend import elementwise, linear, shaping
from tracejit.frontend.array import apply, as_array
from tracejit.frontend.axes import integer
from tracejit.frontend.creation import eye, tril, triu
from tracejit.frontend.promotion import broadcast_to
from tracejit.ir.types import is_inexact
from tracejit.linalg import failures
from tracejit.linalg.solvers import triangular_solve
from tracejit.ops import linalg as records
from tracejit.source import here


def adjoint(x: Any) -> Any:
    """The conjugate transpose of each matrix."""
    return elementwise.conjugate(shaping.matrix_transpose(x))


def symmetrized(x: Any) -> Any:
    """(x + x^H) / 2: the Hermitian part."""
    x = as_array(x)
    if x.ndim < 2 or x.shape[-1] != x.shape[-2] or not is_inexact(x.dtype):
        return x  # the record says what is wrong
    return elementwise.multiply(elementwise.add(x, adjoint(x)), 0.5)


def cholesky(x: Any, *, symmetrize_input: bool = True) -> Any:
    """The lower triangular L with x = L L^H, for Hermitian positive definite x[..., n, n].

    With ``symmetrize_input`` the Hermitian part (x + x^H) / 2 is factored; otherwise only the lower
    triangle of x is read.

    Raises ShapeError for matrices that are not square, DTypeError, LinAlgError where a matrix is
    not positive definite (nan inside ``jit``).

    >>> from tracejit import linalg
    >>> print(linalg.cholesky(jnp.array([[4.0, 2.0], [2.0, 5.0]])))
    [[2. 0.]
     [1. 2.]]
    """
    found = apply(records.cholesky, symmetrized(x) if symmetrize_input else as_array(x))
    failures.raise_where(
        "cholesky", failures.nan_matrix, found, failures.NOT_POSITIVE, failures.HINT_POSITIVE
    )
    return found


def lu(x: Any) -> tuple[Any, Any, Any]:
    """LU factors of x[..., m, n] with partial pivoting: ``(lu, pivots, permutation)``.

    ``lu`` holds U on and above its diagonal and L, whose diagonal is ones, below; the int32
    ``pivots`` are row exchanges, and ``x[permutation] = L U``. Every matrix has one: a singular one
    has a zero on the diagonal of U.

    Raises ShapeError for an operand that is no matrix, DTypeError.

    >>> from tracejit import linalg
    >>> factors, pivots, permutation = linalg.lu(jnp.array([[1.0, 2.0], [4.0, 4.0]]))
    >>> print(factors, permutation)
    [[4.   4.  ]
     [0.25 1.  ]] [1 0]
    """
    found = apply(records.lu, as_array(x))
    return found[0], found[1], found[2]


def lu_pivots_to_permutation(pivots: Any, permutation_size: int) -> Any:
    """The permutation of ``permutation_size`` rows that exchanging row k with row pivots[k], for
    each k in turn, leads to.

    >>> from tracejit import linalg
    >>> linalg.lu_pivots_to_permutation(jnp.array([2, 2], dtype="int32"), 3)
    Array([2, 0, 1], dtype=int32)
    """
    size = integer(permutation_size, "lu_pivots_to_permutation: permutation_size")
    return apply(records.lu_pivots_to_permutation, as_array(pivots), permutation_size=size)


def qr(
    x: Any, *, pivoting: bool = False, full_matrices: bool = True, use_magma: bool | None = None
) -> tuple[Any, ...]:
    """Q and R of x[..., m, n] = Q R: Q with orthonormal columns, R upper triangular.

    Q is [m, m] with ``full_matrices`` and [m, min(m, n)] otherwise. With ``pivoting`` there is a
    third result, the int32 permutation with x[:, p] = Q R that makes the diagonal of R fall.
    ``use_magma`` has no effect.

    Raises ShapeError for an operand that is no matrix, DTypeError.

    >>> from tracejit import linalg
    >>> q, r = linalg.qr(jnp.ones((4, 2)), full_matrices=False)
    >>> q.shape, r.shape
    ((4, 2), (2, 2))
    """
    found = apply(
        records.qr, as_array(x), full_matrices=bool(full_matrices), pivoting=bool(pivoting)
    )
    return tuple(found)


def geqrf(a: Any) -> tuple[Any, Any]:
    """LAPACK's form of a QR factorisation: R on and above the diagonal, reflectors below it, and
    their factors ``taus``; what ``householder_product`` and ``ormqr`` take.
    """
    found = apply(records.geqrf, as_array(a))
    return found[0], found[1]


def _reflectors(a: Any, taus: Any) -> tuple[Any, Any]:
    """V and T of Q = I - V T V^H, a product of reflectors I - tau v v^H.

    T = (I + D S)^-1 D with D = diag(taus) and S the part of V^H V above the diagonal: the UT
    transform (Joffrain, Low, Quintana-Orti, van de Geijn, Van Zee, "Accumulating Householder
    transformations, revisited", 2006), here with factors that may be 0.
    """
    k = taus.shape[-1]
    v = shaping.cut(a, a.ndim - 1, 0, k)
    v = elementwise.add(tril(v, -1), eye(a.shape[-2], k, dtype=a.dtype))
    gram = triu(linear.matmul(adjoint(v), v), 1)
    scale = elementwise.multiply(shaping.expand_dims(taus, -1), eye(k, dtype=a.dtype))
    t = triangular_solve(
        linear.matmul(scale, gram), scale, left_side=True, lower=False, unit_diagonal=True
    )
    return v, t


def _check_reflectors(name: str, a: Any, taus: Any) -> None:
    if a.ndim < 2 or taus.ndim != a.ndim - 1 or a.shape[:-2] != taus.shape[:-1]:
        raise ShapeError(
            f"{name}: the reflectors {a.type} and factors {taus.type} do not fit", at=here()
        )
    if taus.shape[-1] > min(a.shape[-2:]):
        raise ShapeError(
            f"{name}: more factors, {taus.type}, than reflectors in {a.type}", at=here()
        )


def householder_product(a: Any, taus: Any) -> Any:
    """The first n columns of the product of the reflectors I - tau v v^H that the columns of
    a[..., m, n] hold below the diagonal, for each of ``taus[..., k]``.

    Raises ShapeError where there are more factors than columns or rows.

    >>> from tracejit import linalg
    >>> h, taus = linalg.geqrf(jnp.array([[3.0], [4.0]]))
    >>> print(jnp.round(linalg.householder_product(h, taus).ravel(), 4))
    [-0.6 -0.8]
    """
    a, taus = as_array(a), as_array(taus)
    _check_reflectors("householder_product", a, taus)
    v, t = _reflectors(a, taus)
    top = shaping.cut(v, v.ndim - 2, 0, a.shape[-1])
    moved = linear.matmul(v, linear.matmul(t, adjoint(top)))
    return elementwise.subtract(eye(*a.shape[-2:], dtype=a.dtype), moved)


def ormqr(a: Any, taus: Any, c: Any, *, left: bool = True, transpose: bool = False) -> Any:
    """Q c (c Q unless ``left``; Q^H with ``transpose``) for the Q that reflectors stand for, which
    is not formed.

    ``a``, ``taus``: as ``geqrf`` gives them.

    Raises ShapeError where the sizes do not fit.

    >>> from tracejit import linalg
    >>> h, taus = linalg.geqrf(jnp.array([[3.0], [4.0]]))
    >>> r = linalg.ormqr(h, taus, jnp.array([[3.0], [4.0]]), transpose=True)
    >>> print(jnp.round(jnp.abs(r), 4).ravel())
    [5. 0.]
    """
    a, taus, c = as_array(a), as_array(taus), as_array(c)
    _check_reflectors("ormqr", a, taus)
    if c.ndim < 2 or c.shape[-2 if left else -1] != a.shape[-2]:
        raise ShapeError(f"ormqr: {a.type} and {c.type} do not fit", at=here())
    v, t = _reflectors(a, taus)
    if transpose:
        t = adjoint(t)
    if left:
        moved = linear.matmul(v, linear.matmul(t, linear.matmul(adjoint(v), c)))
    else:
        moved = linear.matmul(linear.matmul(linear.matmul(c, v), t), adjoint(v))
    return elementwise.subtract(c, moved)


def cholesky_update(r_matrix: Any, w_vector: Any) -> Any:
    """The upper triangular R' with R'^H R' = R^H R + w w^H, for an upper triangular ``r_matrix``.

    Found from the qr factors of R with the row w^H below: the sum itself, whose rounding errors are
    squares of R's, is never formed.

    >>> from tracejit import linalg
    >>> print(linalg.cholesky_update(jnp.array([[3.0]]), jnp.array([4.0])))
    [[5.]]
    """
    r, w = as_array(r_matrix), as_array(w_vector)
    if r.ndim < 2 or r.shape[-1] != r.shape[-2] or w.shape != r.shape[:-1]:
        raise ShapeError(f"cholesky_update: {r.type} and {w.type} do not fit", at=here())
    row = shaping.expand_dims(elementwise.conjugate(w), -2)
    found = qr(shaping.concatenate([triu(r), row], -2), full_matrices=False)[1]
    diagonal = elementwise.real(shaping.diagonal(found, 0, -2, -1))
    turned = elementwise.less(diagonal, 0)
    return elementwise.select(
        broadcast_to(shaping.expand_dims(turned, -1), found.shape),
        elementwise.negative(found),
        found,
    )


def symmetric_product(
    a_matrix: Any,
    c_matrix: Any,
    *,
    alpha: float = 1.0,
    beta: float = 0.0,
    symmetrize_output: bool = False,
) -> Any:
    """alpha A A^T + beta C for A[..., m, n] and symmetric C[..., m, m].

    Both triangles are computed; ``symmetrize_output`` makes the upper one the exact mirror image of
    the lower one.

    >>> from tracejit import linalg
    >>> print(linalg.symmetric_product(jnp.array([[1.0], [2.0]]), jnp.eye(2), beta=1.0))
    [[2. 2.]
     [2. 5.]]
    """
    a, c = as_array(a_matrix), as_array(c_matrix)
    if a.ndim < 2 or c.shape != (*a.shape[:-1], a.shape[-2]):
        raise ShapeError(f"symmetric_product: {a.type} and {c.type} do not fit", at=here())
    found = elementwise.multiply(linear.matmul(a, shaping.matrix_transpose(a)), alpha)
    found = elementwise.add(found, elementwise.multiply(c, beta))
    if not symmetrize_output:
        return found
    return elementwise.add(tril(found), shaping.matrix_transpose(tril(found, -1)))
