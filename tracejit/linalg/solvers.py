"""Linear equations with matrices that are triangular, tridiagonal or factored already.

>>> from tracejit import linalg
>>> print(linalg.triangular_solve(jnp.array([[2.0, 0.0], [1.0, 1.0]]), jnp.array([[2.0], [3.0]]),
...                               left_side=True, lower=True).ravel())
[1. 2.]
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tracejit.errors import ArgumentError, DTypeError, ShapeError
from tracejit.frontend import recording, shaping
from tracejit.frontend.array import apply, as_array
from tracejit.frontend.custom import stop_gradient
from tracejit.frontend.indexing import take_along_axis
from tracejit.frontend.ordering import argsort
from tracejit.frontend.promotion import broadcast_to, operand_notes, reshaped
from tracejit.linalg import failures
from tracejit.ops import linalg as factor_records
from tracejit.ops import linalg_solve as records
from tracejit.source import here


def triangular_solve(
    a: Any,
    b: Any,
    *,
    left_side: bool = False,
    lower: bool = False,
    transpose_a: bool = False,
    conjugate_a: bool = False,
    unit_diagonal: bool = False,
) -> Any:
    """X of op(a) X = b with ``left_side``, of X op(a) = b without.

    ``a[..., m, m]``: only the triangle named by ``lower`` is read, its diagonal counts as ones with
    ``unit_diagonal``; op transposes and conjugates as said. ``b[..., m, n]``, ``[..., n, m]``
    without ``left_side``, or a vector ``[m]`` for a single matrix. A zero on the diagonal gives inf
    and nan.

    Raises ShapeError and DTypeError where a and b do not fit.

    >>> from tracejit import linalg
    >>> a = jnp.array([[2.0, 1.0], [0.0, 1.0]])
    >>> print(linalg.triangular_solve(a, jnp.array([[3.0], [1.0]]), left_side=True).ravel())
    [1. 1.]
    """
    a, b = as_array(a), as_array(b)
    if a.ndim == 2 and b.ndim == 1:
        column = reshaped(b, (b.shape[0], 1) if left_side else (1, b.shape[0]))
        return reshaped(_triangular(a, column, **_flags(locals())), b.shape)
    return _triangular(a, b, **_flags(locals()))


def _flags(given: dict[str, Any]) -> dict[str, bool]:
    names = ("left_side", "lower", "transpose_a", "conjugate_a", "unit_diagonal")
    return {name: bool(given[name]) for name in names}


def _triangular(a: Any, b: Any, **flags: bool) -> Any:
    if a.dtype.kind != "c":
        flags["conjugate_a"] = False
    return apply(records.triangular_solve, a, b, **flags)


def lu_solve(lu: Any, permutation: Any, b: Any, trans: int = 0) -> Any:
    """X of A X = b (A^T X = b for trans 1, A^H X = b for 2) from what ``linalg.lu(A)`` gave.

    Derivatives go through the factors.

    ``b[..., n, m]``, or one vector ``[..., n]`` for each matrix.

    Raises ShapeError where they do not fit, ArgumentError for another ``trans``.

    >>> from tracejit import linalg
    >>> factors, _, permutation = linalg.lu(jnp.array([[1.0, 2.0], [4.0, 4.0]]))
    >>> print(linalg.lu_solve(factors, permutation, jnp.array([3.0, 8.0])))
    [1. 1.]
    """
    lu, permutation, b = as_array(lu), as_array(permutation), as_array(b)
    if trans not in (0, 1, 2):
        raise ArgumentError(f"lu_solve: trans is 0, 1 or 2, not {trans!r}", at=here())
    if lu.ndim < 2 or lu.shape[-1] != lu.shape[-2] or permutation.shape != lu.shape[:-1]:
        raise ShapeError(
            f"lu_solve: the factors {lu.type} and the permutation {permutation.type} do not fit",
            at=here(),
        )
    vector = b.ndim == lu.ndim - 1
    x = shaping.expand_dims(b, -1) if vector else b
    if x.ndim != lu.ndim or x.shape[-2] != lu.shape[-1]:
        raise ShapeError(f"lu_solve: the factors {lu.type} and {b.type} do not fit", at=here())
    low = {"left_side": True, "lower": True, "unit_diagonal": True}
    up = {"left_side": True, "lower": False}
    if trans == 0:
        x = triangular_solve(lu, rows_at(x, permutation), **low)
        x = triangular_solve(lu, x, **up)
    else:
        more = {"transpose_a": True, "conjugate_a": trans == 2}
        x = triangular_solve(lu, x, **up, **more)
        x = triangular_solve(lu, x, **low, **more)
        x = rows_at(x, argsort(permutation))
    return shaping.squeeze(x, -1) if vector else x


def _is_finite(data: np.ndarray) -> bool:
    return bool(np.isfinite(data).all())


def rows_at(x: Any, order: Any) -> Any:
    """Row i of each matrix is row order[i] of ``x``."""
    wide = broadcast_to(shaping.expand_dims(order, -1), x.shape)
    return take_along_axis(x, wide, -2)


def tridiagonal_solve(dl: Any, d: Any, du: Any, b: Any, *, perturb_singular: bool = False) -> Any:
    """X of T X = b for the tridiagonal T with ``d`` on its diagonal, ``dl[1:]`` below and
    ``du[:-1]`` above it.

    The diagonals are [..., m], b is [..., m, n]. A singular T gives LinAlgError, nan inside jit;
    ``perturb_singular`` is not provided.

    Raises ShapeError and DTypeError where the operands do not fit.

    >>> from tracejit import linalg
    >>> d, side = jnp.array([2.0, 2.0]), jnp.array([0.0, 1.0])
    >>> print(linalg.tridiagonal_solve(side, d, side[::-1], jnp.array([[3.0], [3.0]])).ravel())
    [1. 1.]
    """
    if perturb_singular:
        raise ArgumentError(
            "tridiagonal_solve: perturb_singular is not provided", at=here(), hint="add to d"
        )
    operands = [as_array(x) for x in (dl, d, du, b)]
    found = apply(records.tridiagonal_solve, *operands)
    if all(x._has_value and recording.holds(_is_finite, x) for x in operands):
        failures.raise_where(
            "tridiagonal_solve",
            lambda x: np.isnan(x).all(axis=(-2, -1)) & (math.prod(x.shape[-2:]) > 0),
            found,
            failures.SINGULAR,
        )
    return found


def solve(name: str, a: Any, b: Any) -> Any:
    """X of a X = b for stacks of one shape, b [..., n, m]: one factorisation serves the solution
    and its derivatives. LinAlgError, in the name of ``name``, for singular matrices.
    """
    factors, _, order = apply(factor_records.lu, stop_gradient(a))
    failures.raise_where(
        name, failures.zero_pivot, factors, failures.SINGULAR, failures.HINT_SINGULAR
    )
    return apply(records.factored_solve, a, factors, order, b, transposed=False)


def checked_pair(name: str, a: Any, b: Any) -> None:
    """Raise unless a is square, and of b's dtype."""
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise ShapeError(
            f"{name}: takes square matrices, not {a.type}",
            at=here(),
            notes=operand_notes((a, b)),
            hint="lstsq solves equations with other matrices",
        )
    if a.dtype != b.dtype:
        raise DTypeError(f"{name}: dtypes differ", at=here(), notes=operand_notes((a, b)))
