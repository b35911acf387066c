"""Inverses, determinants, powers and solutions of equations, as in ``numpy.linalg``.

>>> print(jnp.linalg.solve(jnp.array([[2.0, 0.0], [0.0, 4.0]]), jnp.array([2.0, 8.0])))
[1. 2.]
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from tracejit.errors import ArgumentError, ShapeError
from tracejit.frontend import elementwise, linear, reductions, shaping
from tracejit.frontend.array import apply, as_array
from tracejit.frontend.axes import axis_number, integer
from tracejit.frontend.creation import asarray, eye, zeros
from tracejit.frontend.promotion import (
    broadcast_shapes,
    broadcast_to,
    convert,
    filled,
    operand_notes,
    reshaped,
)
from tracejit.ir.types import real_dtype
from tracejit.linalg import failures, solvers
from tracejit.linalg.arguments import floats, matrices, one_of, square
from tracejit.linalg.decompositions import svdvals
from tracejit.ops import linalg_scalars as records
from tracejit.source import here


class SlogdetResult(NamedTuple):
    """What ``slogdet`` returns."""

    sign: Any
    logabsdet: Any


def solve(a: Any, b: Any) -> Any:
    """x of a x = b for a[..., n, n]: b is one vector [n], or matrices [..., n, k].

    Stacks broadcast; one matrix is factored once for a whole stack of right hand sides. The result
    has the promoted floating dtype. Derivatives go through the equation: dx = a^-1 (db - da x).

    Raises ShapeError, DTypeError, LinAlgError for a singular matrix (inf and nan inside jit).

    >>> a, b = jnp.array([[2.0, 1.0], [1.0, 3.0]]), jnp.array([3.0, 4.0])
    >>> print(jnp.linalg.solve(a, b))
    [1. 1.]
    """
    a, b = floats("solve", a, b)
    solvers.checked_pair("solve", a, b)
    n, vector = a.shape[-1], b.ndim == 1
    if b.ndim == 0 or b.shape[0 if vector else -2] != n:
        raise ShapeError(
            f"solve: {a.type} and the right hand side {b.type} do not fit",
            at=here(),
            notes=operand_notes((a, b)),
        )
    if vector:
        found = _columns("solve", a, reshaped(b, (n, 1)))
        return reshaped(found, found.shape[:-1])
    return _columns("solve", a, b)


def _columns(name: str, a: Any, b: Any) -> Any:
    """Solutions for matrices b, with stacks broadcast."""
    if a.ndim == 2 and b.ndim > 2:
        # one matrix: the whole stack is its right hand sides
        lead = b.shape[:-2]
        order = (b.ndim - 2, *range(b.ndim - 2), b.ndim - 1)
        moved = shaping.transpose(b, order)
        flat = reshaped(moved, (b.shape[-2], math.prod(lead) * b.shape[-1]))
        found = reshaped(solvers.solve(name, a, flat), moved.shape)
        return shaping.moveaxis(found, 0, -2)
    lead_a, lead_b = (filled(0, x.type.with_shape(x.shape[:-2])) for x in (a, b))
    lead = broadcast_shapes(name, (lead_a, lead_b))
    a, b = (broadcast_to(x, (*lead, *x.shape[-2:])) for x in (a, b))
    return solvers.solve(name, a, b)


def inv(a: Any) -> Any:
    """The inverse of a[..., n, n].

    Raises ShapeError, DTypeError, LinAlgError for a singular matrix (inf and nan inside jit).

    >>> print(jnp.linalg.inv(jnp.array([[2.0, 0.0], [0.0, 4.0]])))
    [[0.5  0.  ]
     [0.   0.25]]
    """
    a = square("inv", a)
    return solvers.solve("inv", a, broadcast_to(eye(a.shape[-1], dtype=a.dtype), a.shape))


def det(a: Any) -> Any:
    """The determinant of a[..., n, n]. Its gradient is the matrix of cofactors, which singular
    matrices have too; second derivatives need an inverse.

    Raises ShapeError, DTypeError.

    >>> print(jnp.linalg.det(jnp.array([[2.0, 1.0], [1.0, 3.0]])))
    5.0
    """
    return apply(records.det, square("det", a))


def slogdet(a: Any, *, method: str | None = None) -> SlogdetResult:
    """The sign of the determinant of a[..., n, n] (of modulus 1 for complex a, 0 for singular a)
    and the logarithm of its modulus.

    ``method`` may be "lu" or "qr"; the result is that of the LU factors.

    Raises ShapeError, DTypeError, ArgumentError.

    >>> sign, logarithm = jnp.linalg.slogdet(jnp.array([[0.0, 2.0], [2.0, 0.0]]))
    >>> print(sign, jnp.round(logarithm, 4))
    -1.0 1.3863
    """
    one_of("slogdet", "method", method, (None, "lu", "qr"))
    sign, logabsdet = apply(records.slogdet, square("slogdet", a))
    return SlogdetResult(sign, logabsdet)


def _tolerance(name: str, a: Any, rtol: Any, other: Any, otherwise: str) -> Any:
    """One relative tolerance for each matrix of ``a``."""
    if rtol is not None and other is not None:
        raise ArgumentError(f"{name}: rtol and {otherwise} are two words for one thing", at=here())
    given = other if rtol is None else rtol
    real = real_dtype(a.dtype)
    if given is None:
        given = float(np.finfo(real).eps) * max(*a.shape[-2:], 1)
    found = convert(as_array(given), real)
    return broadcast_to(found, a.shape[:-2])


def pinv(a: Any, rtol: Any = None, hermitian: bool = False, *, rcond: Any = None) -> Any:
    """The pseudo-inverse of Moore and Penrose of a[..., m, n], [..., n, m].

    Singular values up to ``rtol`` (by default eps max(m, n); one value, or one for each matrix)
    times the largest count as 0; ``rcond`` is its old name. With ``hermitian`` only the lower
    triangle is read. The derivative (Golub and Pereyra, 1973) holds where the rank stays.

    Raises ShapeError, DTypeError, ArgumentError for two tolerances, LinAlgError where the
    iteration for the singular values does not converge (nan inside jit).

    >>> print(jnp.linalg.pinv(jnp.array([[2.0, 0.0], [0.0, 0.0]])))
    [[0.5 0. ]
     [0.  0. ]]
    """
    a = square("pinv", a) if hermitian else matrices("pinv", a)
    tolerance = _tolerance("pinv", a, rtol, rcond, "rcond")
    found = apply(records.pinv, a, tolerance, hermitian=bool(hermitian))
    if a.size:
        failures.not_converged("pinv", found[..., 0], a)
    return found


def lstsq(
    a: Any, b: Any, rcond: float | None = None, *, numpy_resid: bool = False
) -> tuple[Any, Any, Any, Any]:
    """The x of least norm that minimises |b - a x|, for a[m, n] and b[m] or b[m, k].

    Returns ``(x, residuals, rank, s)``: the sum of squares that is left for each column of b, the
    rank of a (singular values above ``rcond``, by default eps max(m, n), times the largest) and the
    singular values. With ``numpy_resid``, not inside jit, there are no residuals unless a has full
    rank and m > n. Derivatives hold where the rank stays.

    Raises ShapeError, DTypeError, LinAlgError without convergence.

    >>> a = jnp.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]])
    >>> x, residuals, rank, s = jnp.linalg.lstsq(a, jnp.array([1.0, 3.0, 5.0]))
    >>> print(jnp.round(x, 4), rank)
    [1. 2.] 2
    """
    a, b = floats("lstsq", a, b)
    if a.ndim != 2 or b.ndim not in (1, 2) or a.shape[0] != b.shape[0]:
        raise ShapeError(
            f"lstsq: {a.type} and the right hand side {b.type} do not fit",
            at=here(),
            notes=operand_notes((a, b)),
        )
    m, n = a.shape
    y = reshaped(b, (m, 1)) if b.ndim == 1 else b
    eps = float(np.finfo(a.dtype).eps)
    rtol = as_array(eps * max(m, n) if rcond is None else rcond)
    rtol = convert(rtol, real_dtype(a.dtype))
    rtol = elementwise.select(elementwise.less(rtol, 0), eps, rtol)
    s = svdvals(a)
    if a.size == 0:
        rank, x = asarray(0), zeros((n, y.shape[1]), a.dtype)
    else:
        above = elementwise.greater(s, elementwise.multiply(s[0], rtol))
        rank = reductions.count_nonzero(above)
        x = linear.matmul(apply(records.pinv, a, rtol, hermitian=False), y)
    if numpy_resid and (m <= n or int(rank) < n):
        left = zeros((0,), real_dtype(a.dtype))
    else:
        rest = elementwise.absolute(elementwise.subtract(y, linear.matmul(a, x)))
        left = reductions.sum(elementwise.square(rest), 0)
    return (reshaped(x, (n,)) if b.ndim == 1 else x), left, rank, s


def matrix_power(a: Any, n: int) -> Any:
    """The n-th power of a[..., m, m] by repeated squaring, of the inverse for negative n. Integers
    stay integers for n >= 0.

    Raises ShapeError, ArgumentError for an n that is no integer, LinAlgError for a singular matrix
    and n < 0.

    >>> print(jnp.linalg.matrix_power(jnp.array([[1, 1], [1, 0]]), 10))
    [[89 55]
     [55 34]]
    """
    n = integer(n, "matrix_power: n")
    a = as_array(a)
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise ShapeError(
            f"matrix_power: takes square matrices, not {a.type}",
            at=here(),
            notes=operand_notes([a]),
        )
    if n < 0:
        a, n = inv(a), -n
    if n == 0:
        return broadcast_to(eye(a.shape[-1], dtype=a.dtype), a.shape)
    found = None
    while True:
        if n % 2:
            found = a if found is None else linear.matmul(found, a)
        n //= 2
        if n == 0:
            return found
        a = linear.matmul(a, a)


def matrix_rank(M: Any, rtol: Any = None, *, hermitian: bool = False, tol: Any = None) -> Any:
    """How many singular values of M[..., m, n] lie above a tolerance.

    That is ``tol`` itself, or ``rtol`` (by default eps max(m, n)) times the largest of them; either
    may have one value for each matrix. With ``hermitian`` the values are those of ``eigh``. A
    vector has rank 1 unless all of it is 0.

    Raises DTypeError, ArgumentError for two tolerances.

    >>> print(jnp.linalg.matrix_rank(jnp.ones((3, 3))))
    1
    """
    (a,) = floats("matrix_rank", M)
    if a.ndim < 2:
        return reductions.any(elementwise.not_equal(a, 0)).astype(asarray(0).dtype)
    s = svdvals(a, hermitian=hermitian) if hermitian else svdvals(a)
    if tol is not None:
        if rtol is not None:
            raise ArgumentError("matrix_rank: tol and rtol cannot both be given", at=here())
        limit = broadcast_to(convert(as_array(tol), s.dtype), a.shape[:-2])
    else:
        top = reductions.max(s, -1, initial=0)
        limit = elementwise.multiply(top, _tolerance("matrix_rank", a, rtol, None, "tol"))
    return reductions.count_nonzero(elementwise.greater(s, shaping.expand_dims(limit, -1)), -1)


def tensorinv(a: Any, ind: int = 2) -> Any:
    """The inverse of ``tensordot(a, x, x.ndim)`` as a map of x: the first ``ind`` axes of a belong
    to its result, the others to x.

    Raises ShapeError where these do not have the same size, ArgumentError unless ind > 0,
    LinAlgError for a singular map.

    >>> jnp.linalg.tensorinv(jnp.eye(6).reshape(2, 3, 6), ind=2).shape
    (6, 2, 3)
    """
    (a,) = floats("tensorinv", a)
    ind = integer(ind, "tensorinv: ind")
    if ind <= 0:
        raise ArgumentError(f"tensorinv: ind is positive, not {ind}", at=here())
    rows, columns = a.shape[:ind], a.shape[ind:]
    if math.prod(rows) != math.prod(columns):
        raise ShapeError(
            f"tensorinv: the first {ind} axes of {a.type} have size {math.prod(rows)}, the others "
            f"{math.prod(columns)}",
            at=here(),
        )
    flat = reshaped(a, (math.prod(rows), math.prod(columns)))
    flat_inverse = solvers.solve("tensorinv", flat, eye(flat.shape[0], dtype=a.dtype))
    return reshaped(flat_inverse, (*columns, *rows))


def tensorsolve(a: Any, b: Any, axes: tuple[int, ...] | None = None) -> Any:
    """x of ``tensordot(a, x, x.ndim) == b``. ``axes`` of a move to its end first.

    Raises ShapeError where the sizes do not fit, LinAlgError for a singular map.

    >>> a = jnp.eye(6).reshape(2, 3, 6)
    >>> jnp.linalg.tensorsolve(a, jnp.ones((2, 3))).shape
    (6,)
    """
    a, b = floats("tensorsolve", a, b)
    if axes is not None:
        moved = [axis_number("tensorsolve", k, a.ndim) for k in axes]
        kept = [k for k in range(a.ndim) if k not in moved]
        a = shaping.transpose(a, (*kept, *moved))
    shape = a.shape[b.ndim :]
    if a.shape[: b.ndim] != b.shape or math.prod(shape) != b.size:
        raise ShapeError(
            f"tensorsolve: {a.type} and the right hand side {b.type} do not fit",
            at=here(),
            notes=operand_notes((a, b)),
        )
    flat = reshaped(a, (b.size, b.size))
    return reshaped(solvers.solve("tensorsolve", flat, reshaped(b, (b.size, 1))), shape)


def multi_dot(arrays: Any, *, precision: Any = None) -> Any:
    """The product of two or more matrices in the order that takes the fewest multiplications; the
    first and the last may be vectors.

    Raises ArgumentError for fewer than two, ShapeError where they do not fit.

    >>> a, b, c = jnp.ones((10, 100)), jnp.ones((100, 5)), jnp.ones((5, 50))
    >>> jnp.linalg.multi_dot([a, b, c]).shape
    (10, 50)
    """
    xs = [as_array(x) for x in arrays]
    if len(xs) < 2:
        raise ArgumentError(f"multi_dot: takes at least two arrays, not {len(xs)}", at=here())
    for k, x in enumerate(xs):
        ends = k in (0, len(xs) - 1)
        if x.ndim != 2 and not (ends and x.ndim == 1):
            raise ShapeError(
                f"multi_dot: operand {k + 1} is {x.type}; only the first and the last may be "
                "vectors, the others are matrices",
                at=here(),
            )
    for k, (x, y) in enumerate(zip(xs, xs[1:], strict=False), 1):
        if x.shape[-1] != y.shape[0]:
            raise ShapeError(
                f"multi_dot: operands {k} and {k + 1} do not fit: {x.type} and {y.type}",
                at=here(),
                notes=operand_notes(xs),
            )
    return linear.multi_dot(xs, precision=precision)
