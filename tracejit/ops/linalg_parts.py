"""What the records of linear algebra share: matrix expressions on Values, and NumPy rules that run
LAPACK over stacks of matrices without ever raising.

    matmul(a: f64[2,3,4], b: f64[2,4,5])    -> f64[2,3,5]     on Values, in jvp rules
    triangle(a, lower=True, k=-1)           -> a below its diagonal, zeros elsewhere
    stacked(function, a, b)                 -> function on each matrix, nan where LAPACK failed

A matrix is the last two axes of an array; the axes before them are a stack.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tracejit.errors import DTypeError, ShapeError
from tracejit.ir.build import full_like
from tracejit.ir.prim import Primitive
from tracejit.ir.types import DTYPES, TensorType, is_inexact, kind, real_dtype, short
from tracejit.ops import arith, dot, layout, logic, parts
from tracejit.ops.broadcast import broadcast_in_dim, reduce_sum
from tracejit.ops.family import ADD, lift

DOUBLE_KINDS = frozenset(DTYPES[name] for name in ("f32", "f64", "c64", "c128"))


# ---- checks of infer rules -----------------------------------------------------------------------


def check_matrix(name: str, x: TensorType, *, square: bool = False) -> None:
    """Raise ShapeError or DTypeError unless ``x`` is a stack of matrices that LAPACK takes."""
    if x.ndim < 2:
        raise ShapeError(f"{name}: takes matrices, the last two axes of an array, not {x}")
    if square and x.shape[-1] != x.shape[-2]:
        raise ShapeError(f"{name}: takes square matrices, not {x}")
    check_dtype(name, x)


def check_dtype(name: str, x: TensorType) -> None:
    """Raise DTypeError for dtypes that LAPACK does not compute in."""
    if x.dtype not in DOUBLE_KINDS:
        hint = "in float32" if is_inexact(x.dtype) else "to a floating dtype"
        raise DTypeError(
            f"{name}: takes float32, float64, complex64 and complex128, not {short(x.dtype)}",
            hint=f"convert it {hint} first with .astype",
        )


def check_stacks(name: str, *types: tuple[TensorType, int]) -> None:
    """Raise unless operands, each with the number of its own axes, agree in dtype and stack."""
    first, own = types[0]
    stack = first.shape[: first.ndim - own]
    for other, axes in types[1:]:
        if other.dtype != first.dtype:
            raise DTypeError(
                f"{name}: dtypes differ: {short(first.dtype)} and {short(other.dtype)}",
                hint="convert one operand with .astype",
            )
        if other.ndim < axes or other.shape[: other.ndim - axes] != stack:
            raise ShapeError(f"{name}: the stacks of {first} and {other} differ")


# ---- matrix expressions on Values ----------------------------------------------------------------


def swapped(x: Any) -> Any:
    """The transpose of each matrix."""
    n = x.type.ndim
    return layout.transpose(x, permutation=(*range(n - 2), n - 1, n - 2))


def conj(x: Any) -> Any:
    """The complex conjugate; real Values as they are."""
    return parts.conj(x) if kind(x.type.dtype) == "c" else x


def adjoint(x: Any) -> Any:
    """The conjugate transpose of each matrix."""
    return conj(swapped(x))


def matmul(a: Any, b: Any) -> Any:
    """The product of two stacks of matrices of one stack shape."""
    n = a.type.ndim
    stack = tuple(range(n - 2))
    numbers = (((n - 1,), (n - 2,)), (stack, stack))
    return dot.dot_general(a, b, dimension_numbers=numbers, preferred_element_type=None)


def like(x: Any, model: Any) -> Any:
    """A real Value in the dtype of ``model``, which may be complex."""
    if x.type.dtype == model.type.dtype:
        return x
    return parts.convert(x, dtype=model.type.dtype)


def real(x: Any) -> Any:
    """The real part; real Values as they are."""
    return parts.real(x) if kind(x.type.dtype) == "c" else x


def inside(shape: tuple[int, ...], compare: Any, k: int) -> Any:
    """A mask of ``shape``: where ``compare(column - row, k)`` holds."""
    n = len(shape)
    rows, columns = (
        layout.iota(dtype=DTYPES["i32"], shape=tuple(shape[-2:]), dimension=d) for d in (0, 1)
    )
    mask = compare(arith.sub(columns, rows), k)
    return broadcast_in_dim(mask, shape=tuple(shape), dims=(n - 2, n - 1))


def triangle(x: Any, *, lower: bool, k: int = 0) -> Any:
    """``x`` on and below (above) its ``k``-th diagonal, zeros elsewhere."""
    mask = inside(x.type.shape, logic.le if lower else logic.ge, k)
    return logic.select(mask, x, full_like(x, 0))


def off_diagonal(x: Any) -> Any:
    """``x`` with zeros on its diagonal."""
    return logic.select(inside(x.type.shape, logic.ne, 0), x, full_like(x, 0))


def diagonal(x: Any) -> Any:
    """The main diagonal of each matrix."""
    m, n = x.type.shape[-2:]
    if m > n:
        x = first_rows(x, n)
    elif n > m:
        x = first_columns(x, m)
    only = logic.select(inside(x.type.shape, logic.eq, 0), x, full_like(x, 0))
    return reduce_sum(only, axes=(x.type.ndim - 1,))


def on_diagonal(d: Any) -> Any:
    """Square matrices with ``d`` on their diagonals."""
    wide = as_columns(d, d.type.shape[-1])
    return logic.select(inside(wide.type.shape, logic.eq, 0), wide, full_like(wide, 0))


def identity(type: TensorType) -> Any:
    """The identity in each (not necessarily square) matrix of ``type``."""
    one = full_like(type, 1)
    return logic.select(inside(type.shape, logic.eq, 0), one, full_like(type, 0))


def as_columns(d: Any, count: int) -> Any:
    """Vectors repeated as ``count`` columns: element [i, j] is d[i]."""
    n = d.type.ndim
    return broadcast_in_dim(d, shape=(*d.type.shape, count), dims=tuple(range(n)))


def as_rows(d: Any, count: int) -> Any:
    """Vectors repeated as ``count`` rows: element [i, j] is d[j]."""
    n = d.type.ndim
    shape = (*d.type.shape[:-1], count, d.type.shape[-1])
    return broadcast_in_dim(d, shape=shape, dims=(*range(n - 1), n))


def times_columns(x: Any, d: Any) -> Any:
    """``x`` times the diagonal matrix of ``d``: column j scaled by d[j]."""
    return arith.mul(x, as_rows(like(d, x), x.type.shape[-2]))


def times_rows(d: Any, x: Any) -> Any:
    """The diagonal matrix of ``d`` times ``x``: row i scaled by d[i]."""
    return arith.mul(as_columns(like(d, x), x.type.shape[-1]), x)


def first_rows(x: Any, count: int) -> Any:
    """The first rows of each matrix."""
    return _cut(x, x.type.ndim - 2, 0, count)


def first_columns(x: Any, count: int) -> Any:
    """The first columns of each matrix."""
    return _cut(x, x.type.ndim - 1, 0, count)


def last_columns(x: Any, start: int) -> Any:
    """The columns of each matrix from ``start`` on."""
    return _cut(x, x.type.ndim - 1, start, x.type.shape[-1])


def _cut(x: Any, axis: int, start: int, stop: int) -> Any:
    shape = x.type.shape
    if (start, stop) == (0, shape[axis]):
        return x
    low = tuple(start if k == axis else 0 for k in range(len(shape)))
    high = tuple(stop if k == axis else n for k, n in enumerate(shape))
    return layout.slice_(x, start=low, limit=high, strides=(1,) * len(shape))


def joined(left: Any, right: Any, *, columns: bool = True) -> Any:
    """Two stacks of matrices side by side (or one above the other)."""
    axis = left.type.ndim - (1 if columns else 2)
    return layout.concatenate(left, right, dimension=axis)


def hermitian_of(x: Any, *, lower: bool = True) -> Any:
    """The Hermitian matrix that one triangle of ``x`` stands for; a diagonal's imaginary part
    counts for nothing.
    """
    side = triangle(x, lower=lower, k=-1 if lower else 1)
    middle = on_diagonal(like(real(diagonal(x)), x))
    return ADD(ADD(side, adjoint(side)), middle)


def safe_reciprocal(x: Any) -> Any:
    """1 / x, and 0 where x is 0: degenerate values have no direction of their own."""
    zero = logic.eq(x, full_like(x, 0))
    ones = logic.select(zero, full_like(x, 1), x)
    return logic.select(zero, full_like(x, 0), arith.div(full_like(x, 1), ones))


# ---- NumPy rules over stacks ---------------------------------------------------------------------


@functools.cache
def _scipy(name: str) -> Any:
    """A module of SciPy, imported at the first need of it."""
    return importlib.import_module(f"scipy.linalg.{name}")


@functools.cache
def lapack(name: str, dtype: np.dtype) -> Any:
    """The LAPACK function ``name`` without its letter ("getrf") for ``dtype``."""
    letter = {"f4": "s", "f8": "d", "c8": "c", "c16": "z"}[dtype.str[1:]]
    if letter in "cz":
        name = {"orgqr": "ungqr", "sytrd": "hetrd"}.get(name, name)
    return getattr(_scipy("lapack"), letter + name)


@functools.cache
def blas(name: str, dtype: np.dtype) -> Any:
    """The BLAS function ``name`` without its letter ("trsm") for ``dtype``."""
    letter = {"f4": "s", "f8": "d", "c8": "c", "c16": "z"}[dtype.str[1:]]
    return getattr(_scipy("blas"), letter + name)


def stacked(
    function: Callable[..., Any],
    operands: Sequence[Any],
    own: Sequence[int],
    outs: Sequence[TensorType],
) -> tuple[Any, ...]:
    """``function`` on every element of the stack, its results in arrays of the types ``outs``.

    ``own`` has the number of axes each operand has beside the stack's. Where ``function`` returns
    None, or raises NumPy's LinAlgError, the results are nan (0 in integer results, which are
    positions that others read at).
    """
    stack = operands[0].shape[: operands[0].ndim - own[0]]
    if not stack:
        return _single(function, operands, outs)
    results = [np.empty(t.shape, t.dtype) for t in outs]
    count = math.prod(stack)
    flat = [
        np.reshape(x, (count, *x.shape[x.ndim - axes :]))
        for x, axes in zip(operands, own, strict=True)
    ]
    rows = [r.reshape(count, *r.shape[len(stack) :]) for r in results]
    for index in range(count):
        try:
            found = function(*[x[index] for x in flat])
        except np.linalg.LinAlgError:
            found = None
        for k, row in enumerate(rows):
            row[index] = nothing(row.dtype) if found is None else found[k]
    return tuple(results)


def _single(function: Callable[..., Any], operands: Sequence[Any], outs: Any) -> tuple[Any, ...]:
    """One element that is no stack: its results need no copy."""
    try:
        found = function(*operands)
    except np.linalg.LinAlgError:
        found = None
    if found is None:
        return tuple(np.full(t.shape, nothing(t.dtype), t.dtype) for t in outs)
    return tuple(np.asarray(r, t.dtype, order="C") for r, t in zip(found, outs, strict=True))


def nothing(dtype: np.dtype) -> Any:
    """What stands for a result that does not exist."""
    if kind(dtype) == "c":
        return complex(np.nan, np.nan)
    return np.nan if kind(dtype) == "f" else 0


def all_or_each(
    function: Callable[..., Any],
    x: Any,
    outs: Sequence[TensorType],
    read: Callable[[Any], Any] = lambda matrix: matrix,
) -> Any:
    """NumPy's ``function`` on a whole stack; matrix by matrix where it fails on one of them, or
    where some are not finite, which LAPACK's iterations need not survive. ``read`` gives the part
    of a matrix that counts.
    """

    def each(matrix: Any) -> Any:
        return function(matrix) if np.isfinite(read(matrix)).all() else None

    with np.errstate(all="ignore"):
        if np.isfinite(x).all():
            try:
                found = function(x)
            except np.linalg.LinAlgError:
                pass
            else:
                return tuple(
                    np.asarray(r).astype(t.dtype, copy=False)
                    for r, t in zip(found, outs, strict=True)
                )
        return stacked(each, (x,), (2,), outs)


# ---- records -------------------------------------------------------------------------------------


def of_matrices(name: str, **fields: Any) -> Primitive:
    """A record of an operation on stacks of matrices: a batch is one more axis of the stack, unless
    ``fields`` say otherwise.
    """
    fields = {"batch": lift(lambda: record), **fields}
    record = Primitive(name, kinds="fc", heavy=True, **fields)
    return record


def routine(name: str, *, updates: bool = True, **fields: Any) -> Primitive:
    """A record of a library's routine, which changes its first operand into its first result.

    Passes write it after differentiation and batching: it needs no rules for these.
    """
    return Primitive(name, updates=updates, kinds="fc", heavy=True, **fields)


def turned(x: Any) -> Any:
    """The transposes of a stack of matrices, in memory of their own."""
    return np.ascontiguousarray(np.swapaxes(x, -1, -2))


# ---- generated tests -----------------------------------------------------------------------------


def typed(name: str, *shape: int) -> TensorType:
    return TensorType(DTYPES[name], shape)


def square(*names: str) -> list[TensorType]:
    """Types of single square matrices and of stacks of them, empty ones among them."""
    shapes = ((3, 3), (1, 1), (4, 4), (2, 3, 3), (0, 0), (0, 2, 2))
    return [typed(name, *shape) for name in names for shape in shapes]


def routine_cases(*shapes: Any, **params: Any) -> list[Any]:
    """Every dtype in each of ``shapes``; a tuple among ``params`` holds several values."""
    several = itertools.product(*(v if isinstance(v, tuple) else (v,) for v in params.values()))
    given = [dict(zip(params, values, strict=True)) for values in several]
    names = ("f32", "f64", "c64", "c128")
    return [((typed(n, *s),), one) for one in given for n in names for s in shapes]


__all__ = [
    "adjoint",
    "all_or_each",
    "as_columns",
    "as_rows",
    "blas",
    "check_dtype",
    "check_matrix",
    "check_stacks",
    "conj",
    "diagonal",
    "first_columns",
    "first_rows",
    "hermitian_of",
    "identity",
    "inside",
    "joined",
    "lapack",
    "last_columns",
    "like",
    "matmul",
    "nothing",
    "of_matrices",
    "off_diagonal",
    "on_diagonal",
    "real",
    "real_dtype",
    "routine",
    "routine_cases",
    "safe_reciprocal",
    "square",
    "stacked",
    "swapped",
    "times_columns",
    "times_rows",
    "triangle",
    "turned",
    "typed",
]
