"""Parameters seen as matrices: which axes are rows, which are columns, and which are batches.

rows, columns, batches = axes_of(x, MuonDimensionNumbers(0, 1))
m, back = as_matrices(x, rows, columns, batches)     m: (batch, rows, columns)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tracejit.errors import ArgumentError, ShapeError
from tracejit.frontend import shaping
from tracejit.frontend.array import Array, as_array
from tracejit.frontend.promotion import reshaped
from tracejit.source import here

Axes = tuple[int, ...]


class MuonDimensionNumbers(NamedTuple):
    """The axes that a layer sums over, and those of its results; one or several. Others are
    batches.
    """

    reduction_axis: Sequence[int] | int = 0
    output_axis: Sequence[int] | int = 1


class GaLoreDimensionNumbers(NamedTuple):
    """The axes that a layer sums over, and those of its results; one or several: all axes."""

    reduction_axis: Sequence[int] | int = 0
    output_axis: Sequence[int] | int = 1


def axes_of(name: str, x: Array, numbers: Any) -> tuple[Axes, Axes, Axes]:
    """Rows, columns and batches, not negative."""
    if x.ndim < 2:
        raise ShapeError(f"{name}: a parameter of {x.type} is no matrix", at=here())

    def normal(axes: Any) -> Axes:
        return tuple(a % x.ndim for a in ((axes,) if isinstance(axes, int) else axes))

    rows, columns = normal(numbers.reduction_axis), normal(numbers.output_axis)
    if set(rows) & set(columns):
        raise ArgumentError(
            f"{name}: {numbers} names an axis of {x.type} twice",
            at=here(),
            hint="reduction and output axes are disjoint",
        )
    batches = tuple(a for a in range(x.ndim) if a not in rows and a not in columns)
    return rows, columns, batches


def sizes_of(x: Array, *groups: Axes) -> tuple[int, ...]:
    """How many elements there are along each group of axes."""
    return tuple(math.prod(x.shape[a] for a in axes) for axes in groups)


def as_matrices(
    x: Any, rows: Axes, columns: Axes, batches: Axes
) -> tuple[Array, Callable[[Array], Array]]:
    """A stack of matrices, and the function that puts such a stack back."""
    x = as_array(x)
    order = (*batches, *rows, *columns)
    moved = shaping.transpose(x, order)
    back = tuple(order.index(a) for a in range(x.ndim))
    stack = reshaped(moved, sizes_of(x, batches, rows, columns))
    return stack, lambda y: shaping.transpose(reshaped(y, moved.shape), back)
