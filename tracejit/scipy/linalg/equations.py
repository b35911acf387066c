"""Linear equations with SciPy's arguments: solve, solve_triangular, solve_sylvester, inv, det.

>>> print(solve(jnp.array([[2.0, 0.0], [1.0, 4.0]]), jnp.array([2.0, 9.0])))
[1. 2.]
"""

from __future__ import annotations

from typing import Any

import numpy as np

import tracejit.numpy as jnp
from tracejit import lax, linalg
from tracejit.errors import ShapeError
from tracejit.frontend.array import Array, apply
from tracejit.frontend.custom import stop_gradient
from tracejit.frontend.linear_call import custom_linear_solve
from tracejit.ir.types import kind
from tracejit.linalg import failures
from tracejit.linalg import solvers as base
from tracejit.ops import linalg_scalars as records
from tracejit.scipy.linalg.arguments import (
    adjoint,
    alike,
    from_triangle,
    on_one_stack,
    one_of,
    square,
    with_columns,
)
from tracejit.scipy.linalg.factors import as_complex, cho_factor, cho_solve
from tracejit.source import here

#: SciPy's names of structures, in one form
_STRUCTURES = {
    **{None: "gen", "general": "gen", "symmetric": "sym", "hermitian": "her"},
    **{"positive definite": "pos", "upper triangular": "upper", "lower triangular": "lower"},
    **{name: name for name in ("gen", "sym", "her", "pos", "diagonal", "tridiagonal")},
    **{"banded": "gen"},
}


def solve(
    a: Any,
    b: Any,
    lower: bool = False,
    overwrite_a: bool = False,
    overwrite_b: bool = False,
    debug: bool = False,
    check_finite: bool = True,
    assume_a: str = "gen",
) -> Array:
    """The x of a x = b for square ``a`` (..., n, n) and ``b`` (n,) or (..., n, m).

    ``assume_a`` says what is known of a, and so what of it is read: "gen", "sym", "her" and "pos"
    (the triangle that ``lower`` names; positive definite ones are solved by Cholesky's factors),
    "diagonal", "tridiagonal", "upper triangular", "lower triangular", "banded" (as "gen"), or
    SciPy's long names. Leading axes broadcast.

    Raises ShapeError where a and b do not fit, ArgumentError for another structure, LinAlgError for
    a singular matrix, and one that is not positive definite (inf or nan inside jit).

    >>> print(solve(jnp.array([[4.0, 0.0], [0.0, 9.0]]), jnp.array([4.0, 18.0]), assume_a="pos"))
    [1. 2.]
    """
    one_of("solve", "assume_a", assume_a, *_STRUCTURES)
    structure = _STRUCTURES[assume_a]
    a, b = alike("solve", a, b)
    a = square("solve", a)
    if structure == "pos":
        return cho_solve(cho_factor(a, lower), b)
    if structure in ("upper", "lower"):
        return solve_triangular(a, b, lower=structure == "lower")
    if structure in ("sym", "her"):
        a = from_triangle(a, lower, hermitian=structure == "her")
    run = {"diagonal": _diagonal, "tridiagonal": _tridiagonal}.get(structure, _general)
    return with_columns("solve", a, b, run)


def _general(a: Array, b: Array) -> Array:
    return base.solve("solve", a, b)  # type: ignore[no-any-return]


def _diagonal(a: Array, b: Array) -> Array:
    failures.raise_where("solve", failures.zero_pivot, a, failures.SINGULAR, failures.HINT_SINGULAR)
    return b / jnp.diagonal(a, axis1=-2, axis2=-1)[..., :, None]  # type: ignore[no-any-return]


def _tridiagonal(a: Array, b: Array) -> Array:
    def band(k: int) -> Array:
        found = jnp.diagonal(a, k, -2, -1)
        widths = [(0, 0)] * (found.ndim - 1) + [(max(-k, 0), max(k, 0))]
        return jnp.pad(found, widths)  # type: ignore[no-any-return]

    return linalg.tridiagonal_solve(band(-1), band(0), band(1), b)  # type: ignore[no-any-return]


def solve_triangular(
    a: Any,
    b: Any,
    trans: int | str = 0,
    lower: bool = False,
    unit_diagonal: bool = False,
    overwrite_b: bool = False,
    debug: Any = None,
    check_finite: bool = True,
) -> Array:
    """The x of op(a) x = b, where one triangle of ``a`` is read; b (n,) or (..., n, m).

    ``trans``: 0 or "N" for a, 1 or "T" for a^T, 2 or "C" for a^H. With ``unit_diagonal`` the
    diagonal counts as ones. Raises ShapeError, ArgumentError for another ``trans``, LinAlgError for
    a zero on the diagonal (inf and nan inside jit).

    >>> print(solve_triangular(jnp.array([[2.0, 1.0], [0.0, 4.0]]), jnp.array([4.0, 8.0])))
    [1. 2.]
    """
    one_of("solve_triangular", "trans", trans, 0, 1, 2, "N", "T", "C")
    how = "NTC".index(trans) if isinstance(trans, str) else trans
    a, b = alike("solve_triangular", a, b)
    a = square("solve_triangular", a)
    if not unit_diagonal:
        failures.raise_where(
            "solve_triangular", failures.zero_pivot, a, failures.SINGULAR, failures.HINT_SINGULAR
        )

    def run(a: Array, b: Array) -> Array:
        return linalg.triangular_solve(  # type: ignore[no-any-return]
            a,
            b,
            left_side=True,
            lower=bool(lower),
            transpose_a=how > 0,
            conjugate_a=how == 2,
            unit_diagonal=bool(unit_diagonal),
        )

    return with_columns("solve_triangular", a, b, run)


def inv(a: Any, overwrite_a: bool = False, check_finite: bool = True) -> Array:
    """The inverse of each square matrix.

    Raises ShapeError, and LinAlgError for a singular matrix (inf or nan inside jit).

    >>> print(inv(jnp.array([[2.0, 0.0], [0.0, 4.0]])))
    [[0.5  0.  ]
     [0.   0.25]]
    """
    a = square("inv", a)
    eye = jnp.broadcast_to(jnp.eye(a.shape[-1], dtype=a.dtype), a.shape)
    return base.solve("inv", a, eye)  # type: ignore[no-any-return]


def det(a: Any, overwrite_a: bool = False, check_finite: bool = True) -> Array:
    """The determinant of each square matrix, else ShapeError.

    >>> print(det(jnp.array([[1.0, 2.0], [3.0, 5.0]])))
    -1.0
    """
    return apply(records.det, square("det", a))  # type: ignore[no-any-return]


def solve_sylvester(A: Any, B: Any, C: Any, *, method: str = "schur", tol: float = 1e-8) -> Array:
    """The X (..., m, n) of A X + X B = C for square ``A`` (m, m) and ``B`` (n, n).

    Both methods, "schur" and "eigen", use complex Schur forms (Bartels and Stewart, "Solution of
    the matrix equation AX + XB = C", 1972). Where an eigenvalue of A and one of -B differ by less
    than ``tol`` there is no one solution: LinAlgError, nan inside jit. Derivatives are those of the
    equation. Raises ShapeError where the sizes do not fit.

    >>> print(solve_sylvester(jnp.array([[1.0]]), jnp.array([[3.0]]), jnp.array([[8.0]])))
    [[2.]]
    """
    one_of("solve_sylvester", "method", method, "schur", "eigen")
    a, b, c = alike("solve_sylvester", A, B, C)
    a, b = square("solve_sylvester", a), square("solve_sylvester", b)
    if c.ndim < 2 or c.shape[-2:] != (a.shape[-1], b.shape[-1]):
        raise ShapeError(f"solve_sylvester: {a.type}, {b.type} and {c.type} do not fit", at=here())
    a, b, c = on_one_stack("solve_sylvester", a, b, c)
    x = sylvester(a, b, c, tol)
    failures.raise_where(
        "solve_sylvester",
        lambda data: np.isnan(data).any(axis=(-2, -1)),
        x,
        "X is not determined: A and -B have an eigenvalue in common",
    )
    return x


def sylvester(a: Array, b: Array, c: Array, tol: float) -> Array:
    """``solve_sylvester`` for stacks of one shape, without checks."""

    def back(_: Any, ct: Array) -> Array:
        return _by_schur(jnp.matrix_transpose(a), jnp.matrix_transpose(b), ct, tol)

    return custom_linear_solve(  # type: ignore[no-any-return]
        lambda x: a @ x + x @ b, c, lambda _, y: _by_schur(a, b, y, tol), back
    )


def _by_schur(a: Array, b: Array, c: Array, tol: float) -> Array:
    """X from a = u r u^H and b = v s v^H: r Y + Y s = u^H c v, one column after the other."""
    a, b = stop_gradient((a, b))
    r, u = linalg.schur(as_complex(a))
    s, v = linalg.schur(as_complex(b))
    right = adjoint(u) @ as_complex(c) @ v
    m, n = right.shape[-2:]
    eye = jnp.eye(m, dtype=r.dtype)
    gaps = jnp.diagonal(r, 0, -2, -1)[..., :, None] + jnp.diagonal(s, 0, -2, -1)[..., None, :]
    close = jnp.any(jnp.abs(gaps) < tol, axis=(-2, -1), keepdims=True)

    def column(k: Any, y: Array) -> Array:
        place = jnp.asarray(k)[None]
        across = jnp.take(s, place, axis=-1)
        rest = jnp.take(right, place, axis=-1) - y @ across
        corner = jnp.take(across, place, axis=-2)
        found = linalg.triangular_solve(r + corner * eye, rest, left_side=True)
        return y.at[..., k].set(found[..., 0])

    y = lax.fori_loop(0, n, column, jnp.zeros_like(right))
    x = u @ y @ adjoint(v)
    x = jnp.where(close, jnp.nan, x)
    return x if kind(c.dtype) == "c" else jnp.real(x)
