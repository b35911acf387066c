"""Norms and condition numbers, as in ``numpy.linalg``.

>>> print(jnp.linalg.norm(jnp.array([3.0, 4.0])))
5.0
"""

from __future__ import annotations

import math
from typing import Any

from tracejit.errors import ArgumentError, LinAlgError, ShapeError
from tracejit.frontend import elementwise, reductions, shaping
from tracejit.frontend.array import apply, as_array
from tracejit.frontend.axes import axes_list
from tracejit.frontend.creation import eye
from tracejit.frontend.custom import stop_gradient
from tracejit.frontend.promotion import broadcast_to, reshaped
from tracejit.linalg.arguments import matrices, square
from tracejit.linalg.decompositions import svdvals
from tracejit.ops import linalg as factor_records
from tracejit.ops import linalg_solve as solve_records
from tracejit.source import here

INF = math.inf


def _invalid(name: str, what: str, ord: Any) -> ArgumentError:
    return ArgumentError(f"{name}: there is no norm of {what} of the order {ord!r}", at=here())


def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """The norm of vectors (``axis`` an int) or matrices (``axis`` a pair); of the whole array
    without ``axis``, which then has one or two axes unless ``ord`` is None.

    Vectors: None or 2, 1, any number p (sum |x|^p)^(1/p), inf (largest), -inf (smallest), 0 (count
    of those that are not 0). Matrices: None or "fro", "nuc" (sum of singular values), 2 and -2
    (largest and smallest of them), 1, -1, inf, -inf (largest and smallest sum of a column, row).

    Raises ShapeError for a wrong axis, ArgumentError for an order that does not exist.

    >>> print(jnp.linalg.norm(jnp.array([[1.0, -2.0], [3.0, 4.0]]), ord=jnp.inf))
    7.0
    """
    (x,) = elementwise.float_operands("norm", x)
    if axis is None:
        if ord is None:
            return _length(x, tuple(range(x.ndim)), keepdims)
        axis = tuple(range(x.ndim))
    axes = axes_list("norm", axis, x.ndim)
    if len(axes) == 1:
        return _vectors("norm", x, axes, ord, keepdims)
    if len(axes) == 2:
        return _matrices("norm", x, axes, ord, keepdims)
    raise ShapeError(
        f"norm: a norm is one of vectors or matrices, over one or two axes, not {len(axes)}",
        at=here(),
    )


def vector_norm(x: Any, /, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Any:
    """The norm of order ``ord`` over ``axis``: one, several together, or all of them.

    Raises ShapeError for a wrong axis, ArgumentError for an order that is no number.

    >>> print(jnp.linalg.vector_norm(jnp.array([[1.0, -2.0], [2.0, 0.0]]), ord=1))
    5.0
    """
    (x,) = elementwise.float_operands("vector_norm", x)
    axes = tuple(range(x.ndim)) if axis is None else axes_list("vector_norm", axis, x.ndim)
    return _vectors("vector_norm", x, axes, ord, keepdims)


def matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Any:
    """The norm of order ``ord`` of the matrices x[..., m, n]; orders as for ``norm``.

    >>> print(jnp.linalg.matrix_norm(jnp.array([[3.0, 0.0], [0.0, 4.0]])))
    5.0
    """
    (x,) = elementwise.float_operands("matrix_norm", x)
    if x.ndim < 2:
        raise ShapeError(f"matrix_norm: takes matrices, not {x.type}", at=here())
    return _matrices("matrix_norm", x, (x.ndim - 2, x.ndim - 1), ord, keepdims)


def _length(x: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    if x.dtype.kind == "c":
        parts = elementwise.square(elementwise.real(x)), elementwise.square(elementwise.imag(x))
        squares = elementwise.add(*parts)
    else:
        squares = elementwise.square(x)
    return elementwise.sqrt(reductions.sum(squares, axes, keepdims=keepdims))


def _vectors(name: str, x: Any, axes: tuple[int, ...], ord: Any, keepdims: bool) -> Any:
    if ord is None or (not isinstance(ord, str) and ord == 2):
        return _length(x, axes, keepdims)
    if isinstance(ord, str):
        raise _invalid(name, "vectors", ord)
    size = elementwise.absolute(x)
    if ord == INF:
        return reductions.max(size, axes, keepdims=keepdims, initial=0)
    if ord == -INF:
        return reductions.min(size, axes, keepdims=keepdims)
    if ord == 0:
        there = elementwise.not_equal(x, 0).astype(size.dtype)
        return reductions.sum(there, axes, keepdims=keepdims)
    if ord == 1:
        return reductions.sum(size, axes, keepdims=keepdims)
    total = reductions.sum(elementwise.power(size, ord), axes, keepdims=keepdims)
    return elementwise.power(total, 1.0 / ord)


def _matrices(name: str, x: Any, axes: tuple[int, ...], ord: Any, keepdims: bool) -> Any:
    if ord is None or (isinstance(ord, str) and ord in ("fro", "f")):
        return _length(x, axes, keepdims)
    rows, columns = axes
    if isinstance(ord, str):
        if ord != "nuc":
            raise _invalid(name, "matrices", ord)
        found = reductions.sum(_values(x, axes), -1)
    elif ord == 2:
        found = reductions.max(_values(x, axes), -1, initial=0)
    elif ord == -2:
        found = reductions.min(_values(x, axes), -1)
    elif ord in (1, -1, INF, -INF):
        along, other = (rows, columns) if abs(ord) == 1 else (columns, rows)
        sums = reductions.sum(elementwise.absolute(x), along, keepdims=True)
        if ord > 0:
            found = reductions.max(sums, (along, other), initial=0)
        else:
            found = reductions.min(sums, (along, other))
    else:
        raise _invalid(name, "matrices", ord)
    if not keepdims:
        return found
    return reshaped(found, tuple(1 if k in axes else n for k, n in enumerate(x.shape)))


def _values(x: Any, axes: tuple[int, ...]) -> Any:
    return svdvals(shaping.moveaxis(x, axes, (-2, -1)))


def cond(x: Any, p: Any = None) -> Any:
    """The condition number of x[..., m, n]: the ratio of its largest and smallest singular values
    for ``p`` None and 2 (the inverse ratio for -2), the product of the ``norm`` of order p of x and
    of its inverse for others. inf for a singular matrix.

    Raises ShapeError, DTypeError, ArgumentError for an order, LinAlgError for empty matrices.

    >>> print(jnp.linalg.cond(jnp.array([[4.0, 0.0], [0.0, 2.0]])))
    2.0
    """
    x = matrices("cond", x)
    if 0 in x.shape[-2:]:
        raise LinAlgError("cond: empty matrices have no condition number", at=here())
    if p is None or (not isinstance(p, str) and p in (2, -2)):
        s = svdvals(x)
        first, last = s[..., 0], s[..., -1]
        found = elementwise.divide(*((last, first) if p == -2 else (first, last)))
    else:
        pair = (square("cond", x), _inverse(x))
        found = elementwise.multiply(
            *(_matrices("cond", y, (y.ndim - 2, y.ndim - 1), p, False) for y in pair)
        )
    fine = elementwise.logical_not(reductions.any(elementwise.isnan(x), (-2, -1)))
    lost = elementwise.logical_and(elementwise.isnan(found), fine)
    return elementwise.select(lost, INF, found)


def _inverse(x: Any) -> Any:
    """The inverse, with inf and nan for singular matrices, and no error."""
    lu, _, order = apply(factor_records.lu, stop_gradient(x))
    one = broadcast_to(eye(x.shape[-1], dtype=x.dtype), x.shape)
    return apply(solve_records.factored_solve, x, lu, order, one, transposed=False)


def outer(x1: Any, x2: Any, /) -> Any:
    """The products of the elements of two vectors, [n, m].

    Raises ShapeError for operands that are no vectors.

    >>> jnp.linalg.outer(jnp.array([1, 2]), jnp.array([3, 4]))
    Array([[3, 4],
           [6, 8]])
    """
    x1, x2 = as_array(x1), as_array(x2)
    for x in (x1, x2):
        if x.ndim != 1:
            raise ShapeError(f"outer: takes vectors, not {x.type}", at=here())
    return elementwise.multiply(shaping.expand_dims(x1, 1), shaping.expand_dims(x2, 0))
