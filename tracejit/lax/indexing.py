"""XLA's general gather and scatter, with JAX's classes for their dimension numbers.

    >>> rows = GatherDimensionNumbers((1,), collapsed_slice_dims=(0,), start_index_map=(0,))
    >>> table = jnp.arange(12.0).reshape(3, 4)
    >>> gather(table, jnp.array([[2], [0]]), rows, slice_sizes=(1, 4))
    Array([[ 8.,  9., 10., 11.],
           [ 0.,  1.,  2.,  3.]], dtype=float32)

The last axis of the indices is the index vector. An index out of bounds is an error unless ``mode``
says otherwise.
"""

from __future__ import annotations

import enum
from typing import Any, NamedTuple

import numpy as np

from tracejit.errors import ArgumentError
from tracejit.frontend.array import Array, apply, as_array
from tracejit.frontend.promotion import convert
from tracejit.lax.elementwise import neg
from tracejit.lax.operands import ints, same_dtypes
from tracejit.ops import indexing
from tracejit.source import here


class GatherDimensionNumbers(NamedTuple):
    """How the axes of a gather's operand, indices and result correspond (XLA's names)."""

    offset_dims: tuple[int, ...]
    collapsed_slice_dims: tuple[int, ...]
    start_index_map: tuple[int, ...]
    operand_batching_dims: tuple[int, ...] = ()
    start_indices_batching_dims: tuple[int, ...] = ()


class ScatterDimensionNumbers(NamedTuple):
    """How the axes of a scatter's operand, indices and updates correspond (XLA's names)."""

    update_window_dims: tuple[int, ...]
    inserted_window_dims: tuple[int, ...]
    scatter_dims_to_operand_dims: tuple[int, ...]
    operand_batching_dims: tuple[int, ...] = ()
    scatter_indices_batching_dims: tuple[int, ...] = ()


class GatherScatterMode(enum.Enum):
    """What happens to a window that is not wholly inside: see the members of the same name in JAX;
    ERROR raises.
    """

    CLIP = 1
    FILL_OR_DROP = 2
    PROMISE_IN_BOUNDS = 3
    ONE_HOT = 4
    ERROR = 5

    @staticmethod
    def from_any(mode: str | GatherScatterMode | None) -> GatherScatterMode:
        """A mode by member, by name ("clip", "fill", "drop", "promise_in_bounds", "error"), None
        for ERROR.
        """
        if isinstance(mode, GatherScatterMode):
            return mode
        names = {
            None: GatherScatterMode.ERROR,
            "error": GatherScatterMode.ERROR,
            "clip": GatherScatterMode.CLIP,
            "fill": GatherScatterMode.FILL_OR_DROP,
            "drop": GatherScatterMode.FILL_OR_DROP,
            "promise_in_bounds": GatherScatterMode.PROMISE_IN_BOUNDS,
            "one_hot": GatherScatterMode.ONE_HOT,
        }
        if mode not in names:
            legal = ", ".join(repr(name) for name in names if name)
            raise ArgumentError(f"mode is one of {legal}, not {mode!r}", at=here())
        return names[mode]


_MODES = {
    GatherScatterMode.CLIP: ("clip", "clip"),
    GatherScatterMode.FILL_OR_DROP: ("fill", "drop"),
    GatherScatterMode.PROMISE_IN_BOUNDS: ("promise", "promise"),
    GatherScatterMode.ONE_HOT: ("fill", "drop"),
    GatherScatterMode.ERROR: ("error", "error"),
}


def gather(
    operand: Any,
    start_indices: Any,
    dimension_numbers: GatherDimensionNumbers,
    slice_sizes: Any,
    *,
    unique_indices: bool = False,
    indices_are_sorted: bool = False,
    mode: str | GatherScatterMode | None = None,
    fill_value: Any = None,
) -> Array:
    """Windows of ``operand`` of ``slice_sizes`` at run-time starts.

    Indices out of bounds: see ``GatherScatterMode``. The module's example takes rows.
    """
    x, indices = as_array(operand), as_array(start_indices)
    how = _MODES[GatherScatterMode.from_any(mode)][0]
    d = GatherDimensionNumbers(*(ints(part) for part in dimension_numbers))
    params = indexing.gather_params(
        d.offset_dims,
        d.collapsed_slice_dims,
        d.start_index_map,
        ints(slice_sizes),
        operand_batching_dims=d.operand_batching_dims,
        start_indices_batching_dims=d.start_indices_batching_dims,
        mode=how,
        fill_value=None if fill_value is None else np.asarray(fill_value, x.dtype).item(),
    )
    return apply(indexing.gather, x, convert(indices, indices.dtype), **params)


def scatter_by(kind: str, name: str, doc: str) -> Any:
    """A scatter that combines updates in one way."""

    def function(
        operand: Any,
        scatter_indices: Any,
        updates: Any,
        dimension_numbers: ScatterDimensionNumbers,
        *,
        indices_are_sorted: bool = False,
        unique_indices: bool = False,
        mode: str | GatherScatterMode | None = None,
    ) -> Array:
        x, values = same_dtypes(name, operand, updates)
        indices = as_array(scatter_indices)
        d = ScatterDimensionNumbers(*(ints(part) for part in dimension_numbers))
        return apply(
            indexing.scatter,
            x,
            convert(indices, indices.dtype),
            values,
            kind=kind,
            update_window_dims=d.update_window_dims,
            inserted_window_dims=d.inserted_window_dims,
            scatter_dims_to_operand_dims=d.scatter_dims_to_operand_dims,
            operand_batching_dims=d.operand_batching_dims,
            scatter_indices_batching_dims=d.scatter_indices_batching_dims,
            mode=_MODES[GatherScatterMode.from_any(mode)][1],
            unique_indices=bool(unique_indices),
            indices_are_sorted=bool(indices_are_sorted),
        )

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


scatter = scatter_by(
    "set", "scatter", "``operand`` with windows at run-time starts replaced by the updates."
)
scatter_add = scatter_by(
    "add", "scatter_add", "``operand`` with the updates added to windows at run-time starts."
)
scatter_mul = scatter_by(
    "mul", "scatter_mul", "``operand`` with windows at run-time starts multiplied by the updates."
)
scatter_min = scatter_by(
    "min",
    "scatter_min",
    "The smaller of ``operand`` and the updates, in windows at run-time starts.",
)
scatter_max = scatter_by(
    "max",
    "scatter_max",
    "The larger of ``operand`` and the updates, in windows at run-time starts.",
)


def scatter_sub(
    operand: Any,
    scatter_indices: Any,
    updates: Any,
    dimension_numbers: ScatterDimensionNumbers,
    *,
    indices_are_sorted: bool = False,
    unique_indices: bool = False,
    mode: str | GatherScatterMode | None = None,
) -> Array:
    """``operand`` with the updates subtracted from windows at run-time starts."""
    flags = {"indices_are_sorted": indices_are_sorted, "unique_indices": unique_indices}
    less = neg(updates)
    return scatter_add(operand, scatter_indices, less, dimension_numbers, mode=mode, **flags)
