"""cholesky, qr, svd, eigh and eig as in ``numpy.linalg``, with its named results.

>>> print(jnp.linalg.eigh(jnp.array([[2.0, 0.0], [0.0, 1.0]])).eigenvalues)
[1. 2.]
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tracejit.errors import ArgumentError
from tracejit.frontend import elementwise, shaping
from tracejit.frontend.indexing import take_along_axis
from tracejit.frontend.ordering import argsort
from tracejit.frontend.promotion import broadcast_to, convert
from tracejit.linalg import factors, spectral
from tracejit.linalg.arguments import matrices, one_of, square
from tracejit.source import here


class EigResult(NamedTuple):
    """What ``eig`` returns."""

    eigenvalues: Any
    eigenvectors: Any


class EighResult(NamedTuple):
    """What ``eigh`` returns."""

    eigenvalues: Any
    eigenvectors: Any


class QRResult(NamedTuple):
    """What ``qr`` returns."""

    Q: Any
    R: Any


class SVDResult(NamedTuple):
    """What ``svd`` returns."""

    U: Any
    S: Any
    Vh: Any


def cholesky(a: Any, *, upper: bool = False, symmetrize_input: bool = True) -> Any:
    """The lower triangular L with a = L L^H for positive definite a[..., n, n]; L^H with ``upper``.

    With ``symmetrize_input`` the Hermitian part of a is factored, otherwise what its lower (upper)
    triangle stands for.

    Raises ShapeError, DTypeError, LinAlgError where a matrix is not positive definite (nan inside
    jit).

    >>> print(jnp.linalg.cholesky(jnp.array([[4.0, 2.0], [2.0, 5.0]])))
    [[2. 0.]
     [1. 2.]]
    """
    a = square("cholesky", a)
    if upper and not symmetrize_input:
        a = factors.adjoint(a)
    found = factors.cholesky(a, symmetrize_input=symmetrize_input)
    return factors.adjoint(found) if upper else found


def qr(a: Any, mode: str = "reduced") -> Any:
    """The QR factors of a[..., m, n] with k = min(m, n), by ``mode``:

    "reduced"   Q[..., m, k] and R[..., k, n]
    "complete"  Q[..., m, m] and R[..., m, n]
    "r"         R[..., k, n] alone
    "raw"       LAPACK's form, transposed [..., n, m], and its factors [..., k]

    Raises ShapeError, DTypeError, ArgumentError for another mode.

    >>> q, r = jnp.linalg.qr(jnp.ones((3, 2)))
    >>> q.shape, r.shape
    ((3, 2), (2, 2))
    """
    one_of("qr", "mode", mode, ("reduced", "complete", "r", "raw"))
    a = matrices("qr", a)
    if mode == "raw":
        found, taus = factors.geqrf(a)
        return shaping.matrix_transpose(found), taus
    q, r = factors.qr(a, full_matrices=mode == "complete")
    return r if mode == "r" else QRResult(q, r)


def svd(
    a: Any,
    full_matrices: bool = True,
    compute_uv: bool = True,
    hermitian: bool = False,
    subset_by_index: tuple[int, int] | None = None,
) -> Any:
    """``(U, S, Vh)`` with a = U diag(S) Vh for a[..., m, n]; S alone without ``compute_uv``.

    The singular values fall. U and Vh have min(m, n) columns and rows, all with ``full_matrices``.
    With ``hermitian`` they come from ``eigh``, which is faster. ``subset_by_index=(start, stop)``
    keeps those values and vectors.

    Raises ShapeError, DTypeError, LinAlgError without convergence (nan inside jit).

    >>> print(jnp.linalg.svd(jnp.array([[3.0, 0.0], [0.0, -4.0]])).S)
    [4. 3.]
    """
    if not hermitian:
        found = spectral.svd(
            matrices("svd", a),
            full_matrices=full_matrices,
            compute_uv=compute_uv,
            subset_by_index=subset_by_index,
        )
        return SVDResult(*found) if compute_uv else found
    if subset_by_index is not None:
        raise ArgumentError("svd: a hermitian svd has no subset", at=here(), hint="use eigh")
    v, w = spectral.eigh(square("svd", a))
    sign, s = elementwise.sign(w), elementwise.absolute(w)
    sign = elementwise.select(elementwise.equal(sign, 0), 1, sign)
    order = shaping.flip(argsort(s, -1), -1)
    s, sign = (take_along_axis(x, order, -1) for x in (s, sign))
    if not compute_uv:
        return s
    u = take_along_axis(v, broadcast_to(shaping.expand_dims(order, -2), v.shape), -1)
    turned = elementwise.multiply(u, convert(shaping.expand_dims(sign, -2), u.dtype))
    return SVDResult(u, s, factors.adjoint(turned))


def svdvals(x: Any, /, *, hermitian: bool = False) -> Any:
    """The singular values of x[..., m, n], the largest first."""
    return svd(x, compute_uv=False, hermitian=hermitian)


def _lower(name: str, UPLO: Any) -> bool:
    one_of(name, "UPLO", UPLO, (None, "L", "U", "l", "u"))
    return UPLO not in ("U", "u")


def eigh(a: Any, UPLO: str | None = None, symmetrize_input: bool = True) -> EighResult:
    """Eigenvalues, ascending, and orthonormal eigenvectors (columns) of Hermitian a[..., n, n].

    With ``symmetrize_input`` of (a + a^H) / 2, otherwise of what the triangle ``UPLO`` ("L" or "U")
    of a stands for. Derivatives are those of ``lax.linalg.eigh``.

    Raises ShapeError, DTypeError, ArgumentError, LinAlgError without convergence (nan inside jit).

    >>> w, v = jnp.linalg.eigh(jnp.array([[2.0, 1.0], [1.0, 2.0]]))
    >>> print(jnp.round(w, 4))
    [1. 3.]
    """
    lower = _lower("eigh", UPLO)
    v, w = spectral.eigh(square("eigh", a), lower=lower, symmetrize_input=symmetrize_input)
    return EighResult(w, v)


def eigvalsh(a: Any, UPLO: str | None = "L", *, symmetrize_input: bool = True) -> Any:
    """The eigenvalues of Hermitian a[..., n, n], ascending; arguments as for ``eigh``.

    >>> print(jnp.linalg.eigvalsh(jnp.array([[3.0, 0.0], [0.0, 1.0]])))
    [1. 3.]
    """
    lower = _lower("eigvalsh", UPLO)
    return spectral.eigvalsh(square("eigvalsh", a), lower=lower, symmetrize_input=symmetrize_input)


def eig(a: Any) -> EigResult:
    """Eigenvalues and eigenvectors (columns of length 1) of a[..., n, n]: always complex.

    Derivatives hold where the eigenvalues are distinct. Raises ShapeError, DTypeError, LinAlgError
    without convergence (nan inside jit).

    >>> print(jnp.linalg.eig(jnp.array([[0.0, 1.0], [-1.0, 0.0]])).eigenvalues)
    [0.+1.j 0.-1.j]
    """
    w, v = spectral.eig(square("eig", a), compute_left_eigenvectors=False)
    return EigResult(w, v)


def eigvals(a: Any) -> Any:
    """The eigenvalues of a[..., n, n]: always complex.

    >>> print(jnp.linalg.eigvals(jnp.array([[1.0, 5.0], [0.0, 2.0]])))
    [1.+0.j 2.+0.j]
    """
    found = spectral.eig(
        square("eigvals", a), compute_left_eigenvectors=False, compute_right_eigenvectors=False
    )
    return found[0]
