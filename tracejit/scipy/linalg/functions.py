"""Functions of matrices: expm, sqrtm, funm and what belongs to them.

>>> print(expm(jnp.zeros((2, 2))))
[[1. 0.]
 [0. 1.]]
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

import tracejit.numpy as jnp
from tracejit import lax, linalg
from tracejit.errors import ArgumentError, ShapeError
from tracejit.frontend.array import Array
from tracejit.frontend.custom import custom_jvp, stop_gradient
from tracejit.frontend.derivatives import jvp
from tracejit.frontend.vectorize import vmap
from tracejit.ir.types import kind, real_dtype
from tracejit.linalg import failures
from tracejit.linalg import solvers as base
from tracejit.scipy.linalg.arguments import adjoint, alike, on_one_stack, one_of, square
from tracejit.scipy.linalg.equations import sylvester
from tracejit.scipy.linalg.factors import as_complex
from tracejit.source import here

# ---- the exponential -----------------------------------------------------------------------------

#: coefficients of the numerator of the Pade approximant [13/13] of exp, the first one 1
_PADE = tuple(math.comb(13, k) * math.factorial(26 - k) / math.factorial(26) for k in range(14))
#: up to this norm the approximant is as good as the rounding of float64 (Higham 2005)
_THETA = 5.371920351148152
#: the first coefficient of its backward error, as a power series of norms
_ERROR = 1 / (math.comb(26, 13) * float(math.factorial(27)))


def _norm1(a: Array) -> Array:
    return jnp.max(jnp.sum(jnp.abs(a), axis=-2), axis=-1, initial=0)  # type: ignore[no-any-return]


def _squarings(a: Array, powers: list[Array], most: int) -> Array:
    """How often each matrix is to be halved: equations 3.6 and 4.8 of Al-Mohy and Higham (2009).

    Their estimate is by the norms of powers: a matrix far from normal is not halved too often.
    """
    a4, a6 = powers[1], powers[2]
    d6, d8, d10 = (_norm1(x) ** (1 / k) for x, k in ((a6, 6), (a4 @ a4, 8), (a4 @ a6, 10)))
    size = jnp.minimum(jnp.maximum(d6, d8), jnp.maximum(d8, d10))
    positive = jnp.where(size > 0, size, 1)
    count = jnp.maximum(jnp.ceil(jnp.log2(positive / _THETA)), 0)
    # the backward error of what is left, by |a|^27: a product of vectors
    small = jnp.abs(a) * 2.0 ** -count[..., None, None]
    row = jnp.ones((*a.shape[:-2], 1, a.shape[-1]), small.dtype)
    for _ in range(27):
        row = row @ small
    norm = _norm1(small)
    rounding = float(jnp.finfo(a.dtype).eps) / 2
    share = _ERROR * jnp.max(row, axis=(-2, -1), initial=0) / jnp.where(norm > 0, norm, 1)
    share = jnp.where(share > 0, share / rounding, 1)
    more = jnp.maximum(jnp.ceil(jnp.log2(share) / 26), 0)
    found = jnp.where(jnp.isfinite(count + more), count + more, most + 1)
    return found.astype("int32")  # type: ignore[no-any-return]


def expm(A: Any, *, upper_triangular: bool = False, max_squarings: int = 16) -> Array:
    """The exponential of each square matrix (..., n, n).

    The scaling and squaring method of Al-Mohy and Higham, "A new scaling and squaring algorithm for
    the matrix exponential" (2009), with the Pade approximant of degree 13. ``upper_triangular``
    tells that A is. A matrix that needs more than ``max_squarings`` squarings gives nan. Raises
    ShapeError for matrices that are not square.

    >>> print(jnp.round(expm(jnp.array([[0.0, 1.0], [-1.0, 0.0]])), 4))
    [[ 0.5403  0.8415]
     [-0.8415  0.5403]]
    """
    a = square("expm", A)
    if a.shape[-1] == 0:
        return a
    a2 = a @ a
    a4 = a2 @ a2
    powers = [a2, a4, a4 @ a2]
    fixed = stop_gradient((a, powers))
    count = _squarings(*fixed, max_squarings)
    scale = (2.0 ** -count.astype(real_dtype(a.dtype)))[..., None, None]
    a = a * scale
    a2, a4, a6 = (x * scale**k for x, k in zip(powers, (2, 4, 6), strict=True))
    one = jnp.broadcast_to(jnp.eye(a.shape[-1], dtype=a.dtype), a.shape)
    b = _PADE
    high = a6 @ (b[13] * a6 + b[11] * a4 + b[9] * a2)
    odd = a @ (high + b[7] * a6 + b[5] * a4 + b[3] * a2 + b[1] * one)
    high = a6 @ (b[12] * a6 + b[10] * a4 + b[8] * a2)
    even = high + b[6] * a6 + b[4] * a4 + b[2] * a2 + b[0] * one
    if upper_triangular:
        found = linalg.triangular_solve(even - odd, even + odd, left_side=True)
    else:
        found = base.solve("expm", even - odd, even + odd)

    most = jnp.max(count, initial=0)

    def body(k: Any, x: Array) -> Array:
        # a bounded loop, which has derivatives of every order; rounds beyond the last cost nothing
        def squared(x: Array) -> Array:
            return jnp.where((k < count)[..., None, None], x @ x, x)  # type: ignore[no-any-return]

        return lax.cond(k < most, squared, lambda x: x, x)  # type: ignore[no-any-return]

    found = lax.fori_loop(0, max_squarings, body, found)
    return jnp.where((count > max_squarings)[..., None, None], jnp.nan, found)  # type: ignore[no-any-return]


def expm_frechet(A: Any, E: Any, *, method: str | None = None, compute_expm: bool = True) -> Any:
    """``(expm(A), L)`` with the derivative L of the exponential at ``A`` along ``E``; L alone
    without ``compute_expm``.

    Both methods, "SPS" and "blockEnlarge", are the derivative of the scaling and squaring method
    (Al-Mohy and Higham 2009). Raises ShapeError, ArgumentError for another method.

    >>> print(expm_frechet(jnp.zeros((1, 1)), jnp.ones((1, 1)), compute_expm=False))
    [[1.]]
    """
    one_of("expm_frechet", "method", method, None, "SPS", "blockEnlarge")
    a, e = alike("expm_frechet", A, E)
    a, e = on_one_stack("expm_frechet", square("expm_frechet", a), square("expm_frechet", e))
    if a.shape != e.shape:
        raise ShapeError(f"expm_frechet: {a.type} and {e.type} differ in shape", at=here())
    a._weak = e._weak = False
    found, slope = jvp(expm, (a,), (e,))
    return (found, slope) if compute_expm else slope


# ---- the square root -----------------------------------------------------------------------------


def _each(function: Callable[..., Any], *stacks: Array) -> Any:
    """``function`` of single matrices on stacks of one shape."""
    for _ in range(stacks[0].ndim - 2):
        function = vmap(function)
    return function(*stacks)


def _columns_above(t: Array, column: Callable[[Any, Array, Array], Array], start: Array) -> Array:
    """An upper triangular matrix, made from its diagonal ``start`` column by column: ``column(j,
    above, found)`` gives column j from a mask of the rows above the diagonal.
    """
    n = t.shape[-1]
    rows = jnp.arange(n)

    def body(j: Any, found: Array) -> Array:
        above = rows < j
        new = jnp.where(above, column(j, above, found), found[:, j])
        return found.at[:, j].set(new)

    return lax.fori_loop(1, n, body, start)  # type: ignore[no-any-return]


def _above_solve(matrix: Array, shift: Any, above: Array, right: Array) -> tuple[Array, Array]:
    """x of (matrix + shift) x = right in the rows ``above``; where a pivot was 0 (taken as 1)."""
    both = above[:, None] & above[None, :]
    eye = jnp.eye(matrix.shape[0], dtype=matrix.dtype)
    system = jnp.where(both, matrix + shift * eye, eye)
    pivots = jnp.diagonal(system)
    zero = pivots == 0
    system = system + jnp.where(zero, 1, 0).astype(system.dtype) * eye
    right = jnp.where(above, right, 0)
    x = linalg.triangular_solve(system, right[:, None], left_side=True)
    return x[:, 0], zero


def _triangular_root(t: Array) -> Array:
    """The R with R R = t, both upper triangular: (R + r_jj) r_j = t_j above the diagonal."""
    rounding = t.shape[0] * jnp.finfo(t.dtype).eps * _norm1(t)

    def column(j: Any, above: Array, root: Array) -> Array:
        x, zero = _above_solve(root, root[j, j], above, t[:, j])
        # a zero pivot allows 0 only: a matrix without a root gives inf
        return jnp.where(zero, jnp.where(jnp.abs(x) <= rounding, 0, jnp.inf), x)  # type: ignore[no-any-return]

    return _columns_above(t, column, jnp.diag(jnp.sqrt(jnp.diagonal(t))))


def _triangular_form(a: Array) -> tuple[Array, Array]:
    """The complex Schur form; real eigenvalues of a real matrix stay exactly real, so that roots
    and logarithms of negative ones are taken on the upper side of the cut.
    """
    t, z = linalg.schur(a)
    return (t, z) if kind(a.dtype) == "c" else _each(_unblocked, as_complex(t), as_complex(z))  # type: ignore[no-any-return]


@custom_jvp
def _root(a: Array) -> Array:
    t, z = _triangular_form(a)
    return z @ _each(_triangular_root, t) @ adjoint(z)  # type: ignore[no-any-return]


@_root.defjvp
def _root_jvp(primals: Any, tangents: Any) -> Any:
    """X dX + dX X = dA."""
    x = _root(*primals)
    return x, sylvester(x, x, as_complex(tangents[0]), 0.0)


def sqrtm(A: Any, blocksize: int = 1) -> Array:
    """The principal square root X of each square matrix: X X = A, complex as in JAX.

    By the Schur form (Bjorck and Hammarling, "A Schur method for the square root of a matrix",
    1983), its derivative by the Sylvester equation. ``blocksize`` changes nothing. A singular
    matrix without a square root gives LinAlgError (inf or nan inside jit). Raises ShapeError for
    matrices that are not square.

    >>> print(sqrtm(jnp.array([[4.0, 0.0], [0.0, 9.0]])).real)
    [[2. 0.]
     [0. 3.]]
    """
    a = square("sqrtm", A)
    a._weak = False
    if a.shape[-1] == 0:
        return as_complex(a)
    found = _root(a)
    failures.raise_where(
        "sqrtm",
        lambda x: ~np.isfinite(x).all(axis=(-2, -1)),
        found,
        "has no square root, or is not finite",
    )
    return found


# ---- any function --------------------------------------------------------------------------------


def _parlett(t: Array, values: Array) -> tuple[Array, Array]:
    """f(t) above the diagonal ``values``, of an upper triangular t: f(t) t = t f(t). Also the least
    gap between eigenvalues.
    """

    def column(j: Any, above: Array, found: Array) -> Array:
        right = found @ jnp.where(above, t[:, j], 0) - t[:, j] * found[j, j]
        return -_above_solve(-t, t[j, j], above, right)[0]

    n = t.shape[0]
    gaps = jnp.abs(jnp.diagonal(t)[:, None] - jnp.diagonal(t)[None, :])
    least = jnp.min(jnp.where(np.eye(n, dtype=bool), jnp.inf, gaps), initial=jnp.inf)
    return _columns_above(t, column, jnp.diag(values)), least


def funm(A: Any, func: Callable[[Array], Array], disp: bool = True) -> Any:
    """``func`` of a square matrix (n, n): a function of complex numbers that takes vectors.

    By the Schur form and Parlett's recurrence, as SciPy does (Golub and Van Loan, "Matrix
    Computations", algorithm 11.1.1); inexact where eigenvalues nearly agree. The result is complex,
    as in JAX; without ``disp`` an estimate of the relative error comes second. The derivative is
    the formula of Daleckii and Krein, for matrices with distinct eigenvalues. Raises ShapeError for
    another shape, ArgumentError where ``func`` is no function.

    >>> print(funm(jnp.array([[1.0, 0.0], [0.0, 4.0]]), jnp.sqrt).real)
    [[1. 0.]
     [0. 2.]]
    """
    if not callable(func):
        raise ArgumentError(f"funm: func is a function, not {type(func).__name__}", at=here())
    a = square("funm", A)
    if a.ndim != 2:
        raise ShapeError(f"funm: takes one matrix, not {a.type}", at=here())
    a._weak = False
    found, least, wide = _funm(func)(a)
    if disp:
        return found
    eps = float(jnp.finfo(a.dtype).eps)
    tol = jnp.where(least == 0, 1, eps * wide / jnp.where(least == 0, 1, least))
    error = jnp.minimum(1, jnp.maximum(eps, tol))
    return found, jnp.where(jnp.all(jnp.isfinite(found)), error, jnp.inf)


def _funm(func: Callable[[Array], Array]) -> Callable[[Array], Any]:
    """a -> func(a), the least gap of its eigenvalues, the norm of its Schur form off the
    diagonal.
    """

    @custom_jvp
    def apply_func(a: Array) -> Any:
        t, z = _triangular_form(a)
        values = jnp.asarray(func(jnp.diagonal(t))).astype(t.dtype)
        found, least = _parlett(t, values)
        return z @ found @ adjoint(z), least, _norm1(jnp.triu(t, 1))

    @apply_func.defjvp
    def _(primals: Any, tangents: Any) -> Any:
        (a,), (da,) = primals, tangents
        outs, da = apply_func(a), as_complex(da)
        w, v = linalg.eig(a, compute_left_eigenvectors=False)
        f, slope = jvp(lambda x: jnp.asarray(func(x)).astype(x.dtype), (w,), (jnp.ones_like(w),))
        apart = w[:, None] - w[None, :]
        same = apart == 0
        divided = (f[:, None] - f[None, :]) / jnp.where(same, 1, apart)
        divided = jnp.where(same, slope[:, None], divided)
        inner = divided * base.solve("funm", v, da @ v)
        # X v = v inner, solved from the right by transposing
        turned = base.solve("funm", jnp.matrix_transpose(v), jnp.matrix_transpose(v @ inner))
        return outs, (jnp.matrix_transpose(turned), *(jnp.zeros_like(x) for x in outs[1:]))

    return apply_func  # type: ignore[no-any-return]


# ---- from a real Schur form to a complex one -----------------------------------------------------


def rsf2csf(T: Any, Z: Any, check_finite: bool = True) -> tuple[Array, Array]:
    """The complex Schur form ``(t, z)`` of the real one: ``Z T Z^T == z t z^H``, t triangular.

    Rotations make each block of 2 by 2 triangular, from the last one up. Raises ShapeError where T
    and Z are not square of one size.

    >>> t, z = rsf2csf(jnp.array([[0.0, 1.0], [-1.0, 0.0]]), jnp.eye(2))
    >>> print(jnp.abs(jnp.round(t[1, 0], 4)))
    0.0
    """
    t, z = alike("rsf2csf", T, Z)
    t, z = on_one_stack("rsf2csf", square("rsf2csf", t), square("rsf2csf", z))
    if t.shape != z.shape:
        raise ShapeError(f"rsf2csf: {t.type} and {z.type} differ in shape", at=here())
    return _each(_unblocked, as_complex(t), as_complex(z))  # type: ignore[no-any-return]


def _unblocked(t: Array, z: Array) -> tuple[Array, Array]:
    n = t.shape[0]
    eps = float(jnp.finfo(t.dtype).eps)

    def body(step: Any, state: Any) -> Any:
        t, z = state
        m = n - 1 - step
        at = jnp.stack([jnp.asarray(m) - 1, jnp.asarray(m)])
        block = t[at][:, at]
        below, corner = block[1, 0], block[1, 1]
        half = (block[0, 0] - corner) / 2
        # an eigenvalue of the block less its corner; of a pair the one in the upper half plane
        shift = half + jnp.sqrt(half * half + block[0, 1] * below)
        small = jnp.abs(below) <= eps * (jnp.abs(block[0, 0]) + jnp.abs(corner))
        long = jnp.sqrt(jnp.abs(shift) ** 2 + jnp.abs(below) ** 2)
        long = jnp.where(small | (long == 0), 1, long)
        c, s = jnp.where(small, 1, shift / long), jnp.where(small, 0, below / long)
        turn = jnp.stack([jnp.stack([jnp.conj(c), s]), jnp.stack([-s, c])])
        t = t.at[at].set(turn @ t[at])
        t = t.at[:, at].set(t[:, at] @ adjoint(turn))
        z = z.at[:, at].set(z[:, at] @ adjoint(turn))
        return t.at[m, m - 1].set(0), z

    return lax.fori_loop(0, max(n - 1, 0), body, (t, z))  # type: ignore[no-any-return]
