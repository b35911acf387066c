"""Contractions: sums of products over paired axes of two operands.

    dot_general(a: f32[2,3,4], b: f32[2,4,5], dimension_numbers=(((2,), (1,)), ((0,), (0,))),
                preferred_element_type=None)                                  -> f32[2,3,5]

The axes of the result are the batch axes, the free axes of the left operand, those of the right.
``as_matmul`` says how a contraction maps onto calls of a matrix product.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from tracejit.errors import DTypeError, ShapeError
from tracejit.ir.prim import Primitive, is_linear
from tracejit.ir.types import DTYPES, TensorType, kind, short
from tracejit.ops import layout, parts
from tracejit.ops.broadcast import shifted
from tracejit.ops.family import ADD, quiet, same_dtype
from tracejit.record import dataclass

Axes = tuple[int, ...]
#: ((left contracted, right contracted), (left batch, right batch))
DimensionNumbers = tuple[tuple[Axes, Axes], tuple[Axes, Axes]]


# ---- shapes and dtypes ---------------------------------------------------------------------------


def free_axes(ndim: int, *taken: Axes) -> Axes:
    """The axes of an operand that are neither contracted nor batch axes, in order."""
    gone = {axis for axes in taken for axis in axes}
    return tuple(axis for axis in range(ndim) if axis not in gone)


def result_dtype(name: str, operands: np.dtype, preferred: np.dtype | None) -> np.dtype:
    """The dtype of a contraction: ``preferred``, which must not be narrower than the operands."""
    if preferred is None or preferred == operands:
        return operands
    given, wanted = kind(operands), kind(preferred)
    if given == wanted:
        fits = preferred.itemsize >= operands.itemsize
    else:
        fits = given in "biu" and wanted in "iuf"
    if not fits:
        raise DTypeError(
            f"{name}: operands of {short(operands)} do not accumulate in {short(preferred)}",
            hint="convert the operands or the result with .astype",
        )
    return preferred


def accumulator(dtype: np.dtype) -> np.dtype:
    """The dtype sums are held in: float32 for 16-bit floats."""
    return DTYPES["f32"] if kind(dtype) == "f" and dtype.itemsize == 2 else dtype


def _check_axes(side: str, x: TensorType, contract: Axes, batch: Axes) -> None:
    axes = (*contract, *batch)
    if any(not 0 <= axis < x.ndim for axis in axes):
        raise ShapeError(f"dot_general: axes {axes} of the {side} operand do not all exist in {x}")
    if len(set(axes)) != len(axes):
        raise ShapeError(
            f"dot_general: the {side} operand contracts axes {contract} and batches axes {batch}: "
            "an axis is named twice"
        )


def _infer(
    lhs: TensorType,
    rhs: TensorType,
    *,
    dimension_numbers: DimensionNumbers,
    preferred_element_type: np.dtype | None,
) -> TensorType:
    (lhs_contract, rhs_contract), (lhs_batch, rhs_batch) = dimension_numbers
    _check_axes("left", lhs, lhs_contract, lhs_batch)
    _check_axes("right", rhs, rhs_contract, rhs_batch)
    for what, left, right in (
        ("contracts", lhs_contract, rhs_contract),
        ("batches", lhs_batch, rhs_batch),
    ):
        if len(left) != len(right):
            raise ShapeError(
                f"dot_general: {what} {len(left)} axes on the left, {len(right)} on the right"
            )
        for a, b in zip(left, right, strict=True):
            if lhs.shape[a] != rhs.shape[b]:
                raise ShapeError(
                    f"dot_general: {what} axis {a} of {lhs} ({lhs.shape[a]}) "
                    f"with axis {b} of {rhs} ({rhs.shape[b]})"
                )
    dtype = same_dtype("dot_general", (lhs, rhs), "biufc")
    lhs_free = free_axes(lhs.ndim, lhs_contract, lhs_batch)
    rhs_free = free_axes(rhs.ndim, rhs_contract, rhs_batch)
    shape = (
        *(lhs.shape[a] for a in (*lhs_batch, *lhs_free)),
        *(rhs.shape[a] for a in rhs_free),
    )
    return TensorType(result_dtype("dot_general", dtype, preferred_element_type), shape)


# ---- as a matrix product -------------------------------------------------------------------------


@dataclass(frozen=True)
class MatrixView:
    """One operand as matrices in the memory it already has, in elements.

    Rows are contiguous and lie ``leading`` elements apart; with ``transposed`` that holds for the
    transposed matrix. ``batch_strides`` has a step for each batch axis.
    """

    transposed: bool
    leading: int
    batch_strides: tuple[int, ...]


@dataclass(frozen=True)
class Matmul:
    """A contraction as ``[B, M, K] @ [B, K, N] -> [B, M, N]``.

    ``lhs_axes`` and ``rhs_axes`` are the permutations that bring the operands to that order of
    axes; a view is None where an operand has to be copied in that order before BLAS can read it.
    The result is always row-major ``[*batch_shape, M, N]``.
    """

    lhs_axes: Axes
    rhs_axes: Axes
    batch_shape: tuple[int, ...]
    m: int
    n: int
    k: int
    lhs_view: MatrixView | None
    rhs_view: MatrixView | None

    @property
    def b(self) -> int:
        """How many matrix products there are."""
        return math.prod(self.batch_shape)

    @property
    def flops(self) -> int:
        """Multiplications and additions."""
        return 2 * self.b * self.m * self.n * self.k


@lru_cache(maxsize=1024)
def as_matmul(lhs: TensorType, rhs: TensorType, dimension_numbers: DimensionNumbers) -> Matmul:
    """How ``dot_general`` on contiguous operands of these types maps onto matrix products.

    Contracted axes may go in any order: the one that leaves more operands uncopied is taken.
    """
    (lhs_contract, rhs_contract), (lhs_batch, rhs_batch) = dimension_numbers
    lhs_free = free_axes(lhs.ndim, lhs_contract, lhs_batch)
    rhs_free = free_axes(rhs.ndim, rhs_contract, rhs_batch)
    pairs = list(zip(lhs_contract, rhs_contract, strict=True))
    found: list[Matmul] = []
    for order in (sorted(pairs), sorted(pairs, key=lambda pair: pair[1])):
        left, right = tuple(a for a, _ in order), tuple(b for _, b in order)
        plan = Matmul(
            lhs_axes=(*lhs_batch, *lhs_free, *left),
            rhs_axes=(*rhs_batch, *right, *rhs_free),
            batch_shape=tuple(lhs.shape[a] for a in lhs_batch),
            m=math.prod(lhs.shape[a] for a in lhs_free),
            n=math.prod(rhs.shape[a] for a in rhs_free),
            k=math.prod(lhs.shape[a] for a in left),
            lhs_view=matrix_view(lhs.shape, lhs_batch, lhs_free, left),
            rhs_view=matrix_view(rhs.shape, rhs_batch, right, rhs_free),
        )
        found.append(plan)
    return max(found, key=lambda plan: (plan.lhs_view is not None) + (plan.rhs_view is not None))


def matrix_view(
    shape: tuple[int, ...], batch: Axes, rows: Axes, columns: Axes
) -> MatrixView | None:
    """An array of ``shape`` as matrices of ``rows`` by ``columns``; None where it takes a copy."""
    strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    row = _merged(shape, strides, rows)
    column = _merged(shape, strides, columns)
    if row is None or column is None:
        return None
    m, n = (math.prod(shape[a] for a in axes) for axes in (rows, columns))
    steps = tuple(strides[axis] for axis in batch)
    # an extent of 1 has no stride of its own: BLAS still wants a leading dimension as long as a row
    if column == 1 or n <= 1:
        return MatrixView(False, max(row if m > 1 else n, 1), steps)
    if row == 1 or m <= 1:
        return MatrixView(True, max(column, 1), steps)
    return None


def _merged(shape: tuple[int, ...], strides: list[int], axes: Axes) -> int | None:
    """The one stride that steps through ``axes`` taken together, or None where there is none."""
    axes = tuple(axis for axis in axes if shape[axis] != 1)
    for outer, inner in zip(axes, axes[1:], strict=False):
        if strides[outer] != strides[inner] * shape[inner]:
            return None
    return strides[axes[-1]] if axes else 1


# ---- meaning -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Plan:
    """How NumPy computes a product: stacks of matrices of ``dtype``."""

    out: TensorType
    dtype: np.dtype
    left_axes: tuple[int, ...]
    left: tuple[int, int, int]
    right_axes: tuple[int, ...]
    right: tuple[int, int, int]


@lru_cache(maxsize=4096)
def _plan(
    lhs_dtype: np.dtype,
    lhs_shape: tuple[int, ...],
    rhs_dtype: np.dtype,
    rhs_shape: tuple[int, ...],
    dimension_numbers: DimensionNumbers,
    preferred_element_type: np.dtype | None,
) -> _Plan:
    out = _infer(
        TensorType(lhs_dtype, lhs_shape),
        TensorType(rhs_dtype, rhs_shape),
        dimension_numbers=dimension_numbers,
        preferred_element_type=preferred_element_type,
    )
    (lhs_contract, rhs_contract), (lhs_batch, rhs_batch) = dimension_numbers
    lhs_free = free_axes(len(lhs_shape), lhs_contract, lhs_batch)
    rhs_free = free_axes(len(rhs_shape), rhs_contract, rhs_batch)
    b, m, k = (
        math.prod(lhs_shape[a] for a in axes) for axes in (lhs_batch, lhs_free, lhs_contract)
    )
    n = math.prod(rhs_shape[a] for a in rhs_free)
    return _Plan(
        out,
        accumulator(out.dtype),
        (*lhs_batch, *lhs_free, *lhs_contract),
        (b, m, k),
        (*rhs_batch, *rhs_contract, *rhs_free),
        (b, k, n),
    )


@quiet
def _numpy(
    lhs: Any,
    rhs: Any,
    *,
    dimension_numbers: DimensionNumbers,
    preferred_element_type: np.dtype | None,
) -> Any:
    plan = _plan(
        *(lhs.dtype, lhs.shape, rhs.dtype, rhs.shape), dimension_numbers, preferred_element_type
    )
    left = lhs.astype(plan.dtype, copy=False).transpose(plan.left_axes).reshape(plan.left)
    right = rhs.astype(plan.dtype, copy=False).transpose(plan.right_axes).reshape(plan.right)
    product = np.matmul(left, right)
    return product.reshape(plan.out.shape).astype(plan.out.dtype, copy=False)


# ---- derivatives ---------------------------------------------------------------------------------


def _jvp(dxs: Any, ys: Any, xs: Any, **params: Any) -> Any:
    (dx, dy), (x, y) = dxs, xs
    if dx is None:
        return (dot_general(x, dy, **params),)
    if dy is None:
        return (dot_general(dx, y, **params),)
    return (ADD(dot_general(dx, y, **params), dot_general(x, dy, **params)),)


def wide_pair(ct: Any, other: Any) -> tuple[Any, Any]:
    """Cotangent and other operand in the wider of their dtypes (preferred ones differ)."""
    if ct.type.dtype == other.type.dtype:
        return ct, other
    if ct.type.dtype.itemsize >= other.type.dtype.itemsize:
        return ct, parts.convert(other, dtype=ct.type.dtype)
    return parts.convert(ct, dtype=other.type.dtype), other


def narrowed(x: Any, dtype: np.dtype) -> Any:
    """``x`` in ``dtype``, with no node where it has that already."""
    return x if x.type.dtype == dtype else parts.convert(x, dtype=dtype)


def _transpose(cts: Any, xs: Any, *, dimension_numbers: Any, preferred_element_type: Any) -> Any:
    ct, (lhs, rhs) = cts[0], xs
    if ct is None:
        return None, None
    swapped = tuple(pair[::-1] for pair in dimension_numbers)
    if is_linear(lhs):
        return _transpose_of(ct, lhs, rhs, dimension_numbers, ct_first=True), None
    return None, _transpose_of(ct, rhs, lhs, swapped, ct_first=False)


def _transpose_of(ct: Any, x: Any, y: Any, numbers: DimensionNumbers, *, ct_first: bool) -> Any:
    """The cotangent of ``x``: ct contracted with ``y`` over the free axes of y.

    ``numbers`` names the axes of x first; ``ct_first`` says that x's free axes come first in ct.
    """
    (x_contract, y_contract), (x_batch, y_batch) = numbers
    x_free = free_axes(x.type.ndim, x_contract, x_batch)
    y_free = free_axes(y.type.ndim, y_contract, y_batch)
    n = len(x_batch)
    start = n + len(x_free) if ct_first else n
    y_in_ct = tuple(range(start, start + len(y_free)))
    operands = wide_pair(ct, y)
    contract, batch = (y_in_ct, y_free), (tuple(range(n)), y_batch)
    # what is left of y are its contracted axes, in order: each belongs to its partner in x
    partner = dict(zip(y_contract, x_contract, strict=True))
    partners = tuple(partner[axis] for axis in sorted(y_contract))
    made = (*x_batch, *x_free, *partners)
    other = (*x_batch, *partners, *x_free)
    if other == tuple(range(x.type.ndim)):
        # y first gives the axes in the order of x: no transpose behind the product
        operands, contract, batch, made = operands[::-1], contract[::-1], batch[::-1], other
    found = dot_general(*operands, dimension_numbers=(contract, batch), preferred_element_type=None)
    return narrowed(permuted(found, layout.inverse(made)), x.type.dtype)


def permuted(x: Any, permutation: Axes) -> Any:
    """``x`` with its axes in another order, with no node where the order stays."""
    if permutation == tuple(range(len(permutation))):
        return x
    return layout.transpose(x, permutation=permutation)


# ---- batching ------------------------------------------------------------------------------------


def _batch(
    size: int, mask: Any, xs: Any, *, dimension_numbers: Any, preferred_element_type: Any
) -> Any:
    """Both batched: a batch axis. One of them: a free axis of that one; the other is not copied."""
    (contract, batch), (x, y) = dimension_numbers, xs
    contract = tuple(shifted(a) if m else a for m, a in zip(mask, contract, strict=True))
    batch = tuple(shifted(a) if m else a for m, a in zip(mask, batch, strict=True))
    at = len(batch[0])
    if all(mask):
        batch, at = tuple((0, *a) for a in batch), 0
    elif mask[1]:
        own = free_axes(y.type.ndim, contract[1], batch[1])
        # with no other free axis on the right, exchanging the operands puts the new axis in front
        if len(own) == 1:
            x, y, contract, batch = y, x, contract[::-1], batch[::-1]
        else:
            at += len(free_axes(x.type.ndim, contract[0], batch[0]))
    out = dot_general(
        x,
        y,
        dimension_numbers=(contract, batch),
        preferred_element_type=preferred_element_type,
    )
    rest = tuple(axis for axis in range(out.type.ndim) if axis != at)
    return permuted(out, (at, *rest))


def _cases() -> list[Any]:
    def case(a: Any, b: Any, numbers: Any, dtype: str = "f32", preferred: str | None = None) -> Any:
        types = (TensorType(DTYPES[dtype], a), TensorType(DTYPES[dtype], b))
        element = None if preferred is None else DTYPES[preferred]
        return types, {"dimension_numbers": numbers, "preferred_element_type": element}

    none: Any = ((), ())
    return [
        case((3, 4), (4, 5), (((1,), (0,)), none)),
        case((3, 4), (5, 4), (((1,), (1,)), none), "f64"),
        case((4, 3), (4, 1), (((0,), (0,)), none), "c64"),
        case((4,), (4,), (((0,), (0,)), none)),
        case((3,), (5,), (none, none)),
        case((), (), (none, none)),
        case((2, 3, 4), (2, 4, 5), (((2,), (1,)), ((0,), (0,)))),
        case((3, 2, 5, 4), (4, 5, 7, 2), (((3, 2), (0, 1)), ((1,), (3,)))),
        case((2, 5, 3, 4), (2, 6, 3, 4), (((3,), (3,)), ((0, 2), (0, 2)))),
        case((2, 3), (2, 3), (none, ((0, 1), (0, 1)))),
        case((3, 0), (0, 5), (((1,), (0,)), none)),
        case((0, 4), (4, 5), (((1,), (0,)), none)),
        case((17, 33), (33, 1), (((1,), (0,)), none)),
        case((3, 4), (4, 5), (((1,), (0,)), none), "i32"),
        case((3, 4), (4, 5), (((1,), (0,)), none), "u8", "u32"),
        case((3, 4), (4, 5), (((1,), (0,)), none), "bool"),
        case((3, 4), (4, 5), (((1,), (0,)), none), "f16", "f32"),
        case((3, 4), (4, 5), (((1,), (0,)), none), "bf16"),
    ]


dot_general = Primitive(
    "dot_general",
    params=("dimension_numbers", "preferred_element_type"),
    infer=_infer,
    numpy=_numpy,
    jvp=_jvp,
    transpose=_transpose,
    batch=_batch,
    library="gemm",
    domain=(-1.0, 1.0),
    cases=_cases,
    doc="Sum of products over paired axes: batch axes, free axes of the left, those of the right; "
    "16-bit floats accumulate in float32, integers wrap, booleans are any of and.",
)
