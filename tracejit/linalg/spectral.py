"""svd, eigh, eig, and the forms of Schur and Hessenberg.

>>> from tracejit import linalg
>>> vectors, values = linalg.eigh(jnp.array([[2.0, 0.0], [0.0, 1.0]]))
>>> print(values)
[1. 2.]
"""

from __future__ import annotations

import enum
from typing import Any

from tracejit.errors import ArgumentError
from tracejit.frontend import shaping
from tracejit.frontend.array import apply, as_array
from tracejit.frontend.axes import integer
from tracejit.linalg import failures
from tracejit.linalg.factors import symmetrized
from tracejit.ops import linalg_spectral as records
from tracejit.source import here


class EigImplementation(enum.Enum):
    """Libraries that ``eig`` may be asked for; LAPACK runs in any case."""

    CUSOLVER = "cusolver"
    MAGMA = "magma"
    LAPACK = "lapack"


class EighImplementation(enum.Enum):
    """Algorithms that ``eigh`` may be asked for; LAPACK's divide and conquer runs in any case."""

    QR = "qr"
    JACOBI = "jacobi"
    QDWH = "qdwh"


class SvdAlgorithm(enum.Enum):
    """Algorithms that ``svd`` may be asked for; LAPACK's divide and conquer runs in any case."""

    DEFAULT = "default"
    QR = "QR"
    JACOBI = "Jacobi"
    POLAR = "polar"
    DIVIDE_AND_CONQUER = "divide_and_conquer"


def _subset(name: str, given: Any, count: int) -> tuple[int, int] | None:
    """The range of indices asked for, checked; None for all."""
    if given is None:
        return None
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise ArgumentError(
            f"{name}: subset_by_index is a pair (start, stop), not {given!r}", at=here()
        )
    start, stop = (integer(k, f"{name}: subset_by_index") for k in given)
    if not 0 <= start <= stop <= count:
        raise ArgumentError(
            f"{name}: subset_by_index {given!r} does not lie in the {count} values", at=here()
        )
    return start, stop


def svd(
    x: Any,
    *,
    full_matrices: bool = True,
    compute_uv: bool = True,
    subset_by_index: tuple[int, int] | None = None,
    algorithm: SvdAlgorithm | None = None,
) -> Any:
    """``(U, s, V^H)`` with x = U diag(s) V^H for x[..., m, n]; s alone without ``compute_uv``.

    The singular values fall; U and V^H have orthonormal columns and rows, min(m, n) of them, or all
    with ``full_matrices``. ``subset_by_index=(start, stop)`` keeps those values and vectors;
    ``algorithm`` has no effect.

    Derivatives: of s and of functions of the vectors that their phases do not change; of a full U
    those that no rotation of its further columns changes.

    Raises ShapeError, DTypeError, ArgumentError for the subset, LinAlgError without convergence
    (nan inside jit).

    >>> from tracejit import linalg
    >>> print(linalg.svd(jnp.array([[3.0, 0.0], [0.0, -4.0]]), compute_uv=False))
    [4. 3.]
    """
    x = as_array(x)
    found = apply(records.svd, x, full_matrices=bool(full_matrices), compute_uv=bool(compute_uv))
    s = found[0]
    failures.not_converged("svd", s, x)
    kept = _subset("svd", subset_by_index, s.shape[-1])
    if kept is None:
        return (found[1], s, found[2]) if compute_uv else s
    if full_matrices and compute_uv and kept != (0, s.shape[-1]):
        raise ArgumentError(
            "svd: a subset has no full matrices", at=here(), hint="pass full_matrices=False"
        )
    s = shaping.cut(s, s.ndim - 1, *kept)
    if not compute_uv:
        return s
    u, vh = found[1:]
    return shaping.cut(u, u.ndim - 1, *kept), s, shaping.cut(vh, vh.ndim - 2, *kept)


def eigh(
    x: Any,
    *,
    lower: bool = True,
    symmetrize_input: bool = True,
    sort_eigenvalues: bool = True,
    subset_by_index: tuple[int, int] | None = None,
    implementation: EighImplementation | None = None,
) -> tuple[Any, Any]:
    """``(v, w)`` with x v = v diag(w) for Hermitian x[..., n, n]: the vectors first.

    The real eigenvalues w ascend, the columns of v are orthonormal. With ``symmetrize_input`` the
    matrix is (x + x^H) / 2, otherwise what the lower (upper) triangle of x stands for.
    ``subset_by_index=(start, stop)`` keeps those; ``sort_eigenvalues`` and ``implementation`` have
    no effect.

    Derivatives: of w and of functions of v that phases do not change. Where eigenvalues coincide
    there is none of single vectors; those of sums of such eigenvalues and of projectors onto their
    whole space hold, others are finite but not right (v diag(f(w)) v^H among them).

    Raises ShapeError, DTypeError, ArgumentError for the subset, LinAlgError without convergence
    (nan inside jit).

    >>> from tracejit import linalg
    >>> v, w = linalg.eigh(jnp.array([[2.0, 1.0], [1.0, 2.0]]))
    >>> print(jnp.round(w, 5))
    [1. 3.]
    """
    x = symmetrized(x) if symmetrize_input else as_array(x)
    w, v = apply(records.eigh, x, lower=bool(lower), vectors=True)
    failures.not_converged("eigh", w, x)
    kept = _subset("eigh", subset_by_index, w.shape[-1])
    if kept is not None:
        w, v = shaping.cut(w, w.ndim - 1, *kept), shaping.cut(v, v.ndim - 1, *kept)
    return v, w


def eig(
    x: Any,
    *,
    compute_left_eigenvectors: bool = True,
    compute_right_eigenvectors: bool = True,
    enable_eigvec_derivs: bool = False,
    implementation: EigImplementation | None = None,
    use_magma: bool | None = None,
) -> list[Any]:
    """``[w, vl, vr]`` of x[..., n, n]: eigenvalues, left eigenvectors (vl^H x = diag(w) vl^H) and
    right ones (x vr = vr diag(w)), those that are asked for. All complex.

    The columns have length 1 and a real largest component. Derivatives, of the vectors too whatever
    ``enable_eigvec_derivs`` says, hold where the eigenvalues are distinct and no vector has two
    largest components. ``implementation`` and ``use_magma`` have no effect.

    Raises ShapeError, DTypeError, LinAlgError without convergence (nan inside jit).

    >>> from tracejit import linalg
    >>> w, vr = linalg.eig(jnp.array([[0.0, 1.0], [-1.0, 0.0]]), compute_left_eigenvectors=False)
    >>> print(w)
    [0.+1.j 0.-1.j]
    """
    x = as_array(x)
    found = apply(
        records.eig,
        x,
        left=bool(compute_left_eigenvectors),
        right=bool(compute_right_eigenvectors),
    )
    failures.not_converged("eig", found[0], x)
    return list(found)


def schur(
    x: Any,
    *,
    compute_schur_vectors: bool = True,
    sort_eig_vals: bool = False,
    select_callable: Any = None,
) -> Any:
    """``(T, Z)`` with x = Z T Z^H for x[..., n, n]; T alone without ``compute_schur_vectors``.

    Z is unitary and T upper triangular, for real x with 2 x 2 blocks for pairs of complex
    eigenvalues. Without derivatives, as in JAX; ``sort_eig_vals`` is not provided.

    Raises ShapeError, DTypeError, ArgumentError for an order, LinAlgError without convergence (nan
    inside jit).

    >>> from tracejit import linalg
    >>> t, z = linalg.schur(jnp.array([[0.0, 1.0], [1.0, 0.0]]))
    >>> print(jnp.round(jnp.abs(jnp.diagonal(t)), 5))
    [1. 1.]
    """
    if sort_eig_vals or select_callable is not None:
        raise ArgumentError("schur: an order of the eigenvalues is not provided", at=here())
    x = as_array(x)
    found = apply(records.schur, x, vectors=bool(compute_schur_vectors))
    failures.not_converged("schur", shaping.diagonal(found[0], 0, -2, -1), x)
    return (found[0], found[1]) if compute_schur_vectors else found[0]


def hessenberg(a: Any) -> tuple[Any, Any]:
    """``(h, taus)`` with a = Q H Q^H for a[..., n, n]: H on and above the first subdiagonal of h,
    the reflectors that make Q below, ``taus[..., n - 1]`` their factors.

    Without derivatives, as in JAX. Raises ShapeError, DTypeError.

    >>> from tracejit import linalg
    >>> h, taus = linalg.hessenberg(jnp.ones((3, 3)))
    >>> h.shape, taus.shape
    ((3, 3), (2,))
    """
    found = apply(records.hessenberg, as_array(a))
    return found[0], found[1]


def tridiagonal(a: Any, *, lower: bool = True) -> tuple[Any, Any, Any, Any]:
    """``(a, d, e, taus)``: a Hermitian a[..., n, n] as Q T Q^H with a real tridiagonal T.

    ``d`` is T's diagonal and ``e`` the second one; the reflectors that make Q lie in the triangle
    that is read, ``taus`` are their factors. Without derivatives, as in JAX.

    Raises ShapeError, DTypeError.

    >>> from tracejit import linalg
    >>> _, d, e, _ = linalg.tridiagonal(jnp.array([[2.0, 1.0], [1.0, 3.0]]))
    >>> print(d, e)
    [2. 3.] [1.]
    """
    found = apply(records.tridiagonal, as_array(a), lower=bool(lower))
    return found[0], found[1], found[2], found[3]


def eigvalsh(x: Any, *, lower: bool = True, symmetrize_input: bool = True) -> Any:
    """The eigenvalues alone of a Hermitian x[..., n, n], ascending; arguments as for ``eigh``."""
    x = symmetrized(x) if symmetrize_input else as_array(x)
    (w,) = apply(records.eigh, x, lower=bool(lower), vectors=False)
    failures.not_converged("eigvalsh", w, x)
    return w
