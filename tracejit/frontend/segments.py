"""Reductions of segments: rows of ``data`` with equal ids are combined. Public as ``tracejit.ops``.

>>> segment_sum(jnp.array([1.0, 2.0, 4.0]), jnp.array([0, 1, 0]))
Array([5., 2.], dtype=float32)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tracejit import source
from tracejit.errors import ArgumentError, DTypeError, ShapeError
from tracejit.frontend import elementwise, indexing, reductions, shaping
from tracejit.frontend.array import Array, as_array
from tracejit.frontend.axes import integer
from tracejit.frontend.promotion import convert, filled
from tracejit.ir.types import DTYPES, TensorType, kind
from tracejit.ops.reduce import highest, lowest


def _segments(
    name: str,
    how: str,
    data: Any,
    segment_ids: Any,
    num_segments: Any,
    options: tuple[bool, bool, int | None, Any],
) -> Array:
    data, ids = as_array(data), as_array(segment_ids)
    if data.ndim == 0:
        data = shaping.broadcast_to(data, ids.shape)
    if kind(ids.dtype) not in "iu":
        raise DTypeError(f"{name}: segment_ids are integers, not {ids.type}", at=source.here())
    if ids.ndim > data.ndim or data.shape[: ids.ndim] != ids.shape:
        raise ShapeError(
            f"{name}: one id for each leading entry of data: {ids.type} for {data.type}",
            at=source.here(),
        )
    is_sorted, unique, buckets, mode = options
    count = _count(name, ids, num_segments)
    if buckets is not None and integer(buckets, f"{name}: bucket_size") < 1:
        raise ArgumentError(f"{name}: bucket_size is positive", at=source.here())
    type = TensorType(data.dtype, (count, *data.shape[ids.ndim :]))
    start = {"add": 0, "multiply": 1, "min": highest, "max": lowest}[how]
    empty = filled(start(data.dtype) if callable(start) else start, type)
    mode = "drop" if mode is None else mode
    if count == 0 or ids.size == 0:
        return empty
    if kind(ids.dtype) == "i":  # a negative id names no segment: it does not count from the end
        ids = convert(ids, DTYPES["i64"])
        outside = 0 if mode == "clip" else count
        ids = elementwise.select(elementwise.less(ids, 0), outside, ids)
    update = getattr(indexing.At(empty)[ids], how)
    return update(
        data,
        indices_are_sorted=is_sorted,
        unique_indices=unique,
        mode=mode,
    )


def _count(name: str, ids: Array, given: Any) -> int:
    """How many segments there are: ``given``, or one more than the largest id."""
    if given is not None:
        count = integer(given, f"{name}: num_segments")
        if count < 0:
            raise ArgumentError(f"{name}: num_segments is {count}", at=source.here())
        return count
    if not ids._has_value:
        raise ArgumentError(
            f"{name}: num_segments must be given where segment_ids are traced",
            at=source.here(),
            hint="shapes of compiled functions do not depend on values",
        )
    return max(int(np.asarray(reductions.max(ids))) + 1, 0) if ids.size else 0


def segment_sum(
    data: Any,
    segment_ids: Any,
    num_segments: int | None = None,
    indices_are_sorted: bool = False,
    unique_indices: bool = False,
    bucket_size: int | None = None,
    mode: Any = None,
) -> Array:
    """The sums of the rows of ``data`` that have one id: ``result[k]`` of those with id k.

    ``segment_ids``: integers, for the leading axes of ``data``; ids outside of ``[0,
    num_segments)`` are left out unless ``mode`` says otherwise. ``num_segments``: by default the
    largest id and one, which must be known while tracing. ``indices_are_sorted`` and
    ``unique_indices`` are promises; ``bucket_size`` is accepted and changes nothing.

    Raises ShapeError for ids of another shape, DTypeError for ids that are no integers.

    >>> tj.ops.segment_sum(jnp.arange(5), jnp.array([0, 0, 1, 1, 2]), num_segments=4)
    Array([1, 5, 4, 0])
    """
    options = (indices_are_sorted, unique_indices, bucket_size, mode)
    return _segments("segment_sum", "add", data, segment_ids, num_segments, options)


def segment_prod(
    data: Any,
    segment_ids: Any,
    num_segments: int | None = None,
    indices_are_sorted: bool = False,
    unique_indices: bool = False,
    bucket_size: int | None = None,
    mode: Any = None,
) -> Array:
    """The products of the rows of ``data`` that have one id; 1 for an id that does not occur.
    Arguments are those of ``segment_sum``.

    >>> tj.ops.segment_prod(jnp.array([2.0, 3.0, 4.0]), jnp.array([1, 1, 2]))
    Array([1., 6., 4.], dtype=float32)
    """
    options = (indices_are_sorted, unique_indices, bucket_size, mode)
    return _segments("segment_prod", "multiply", data, segment_ids, num_segments, options)


def segment_max(
    data: Any,
    segment_ids: Any,
    num_segments: int | None = None,
    indices_are_sorted: bool = False,
    unique_indices: bool = False,
    bucket_size: int | None = None,
    mode: Any = None,
) -> Array:
    """The largest of the rows of ``data`` that have one id, elementwise; -inf, or the lowest
    integer, for an id that does not occur. Arguments are those of ``segment_sum``.

    >>> tj.ops.segment_max(jnp.array([2.0, 3.0, 4.0]), jnp.array([1, 1, 2]))
    Array([-inf,   3.,   4.], dtype=float32)
    """
    options = (indices_are_sorted, unique_indices, bucket_size, mode)
    return _segments("segment_max", "max", data, segment_ids, num_segments, options)


def segment_min(
    data: Any,
    segment_ids: Any,
    num_segments: int | None = None,
    indices_are_sorted: bool = False,
    unique_indices: bool = False,
    bucket_size: int | None = None,
    mode: Any = None,
) -> Array:
    """The smallest of the rows of ``data`` that have one id, elementwise; inf, or the highest
    integer, for an id that does not occur. Arguments are those of ``segment_sum``.

    >>> tj.ops.segment_min(jnp.array([2.0, 3.0, 4.0]), jnp.array([1, 1, 2]))
    Array([inf,  2.,  4.], dtype=float32)
    """
    options = (indices_are_sorted, unique_indices, bucket_size, mode)
    return _segments("segment_min", "min", data, segment_ids, num_segments, options)
