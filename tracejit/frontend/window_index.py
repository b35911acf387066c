"""``ds(start, size)`` in an index: a slice of known size at a run-time start.

>>> x = jnp.arange(10)
>>> jit(lambda x, i: x[tj.ds(i, 2)])(x, 4)
Array([4, 5])
>>> x.at[tj.ds(8, 5)].set(0)  # moved inside, as lax.dynamic_slice does
Array([0, 1, 2, 3, 4, 0, 0, 0, 0, 0])
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tracejit import source
from tracejit.errors import ArgumentError, ShapeError
from tracejit.frontend import array as core
from tracejit.frontend.axes import integer
from tracejit.ir.types import kind
from tracejit.ops import dynamic
from tracejit.record import dataclass


@dataclass(frozen=True, eq=False)
class Slice:
    """``size`` entries of an axis from ``start`` on, ``stride`` apart."""

    start: Any
    size: int
    stride: int = 1

    @property
    def reach(self) -> int:
        """How many entries lie from the first to the last."""
        return (self.size - 1) * self.stride + 1 if self.size else 0


def ds(start: Any, size: Any = None, stride: int | None = None) -> slice | Slice:
    """An index for ``size`` entries from ``start`` on, which may be a traced integer, ``stride``
    apart. ``ds(n)`` is the first n entries, ``ds(None)`` all.

    A window that reaches out of its axis is moved inside. Raises ArgumentError for sizes and
    strides that are no positive integers.

    >>> jnp.arange(10)[tj.ds(1, 3, 2)]
    Array([1, 3, 5])
    """
    if start is None and size is None:
        return slice(None, None, stride)
    if size is None:
        start, size = 0, start
    count = integer(size, "ds: size")
    step = 1 if stride is None else integer(stride, "ds: stride")
    if count < 0 or step < 1:
        raise ArgumentError(f"ds: a window of {count} entries, {step} apart", at=source.here())
    return Slice(0 if start is None else start, count, step)


def present(idx: Any) -> bool:
    """Whether an index has a Slice in it."""
    if type(idx) is tuple:
        return any(type(part) is Slice for part in idx)
    return type(idx) is Slice


def read(x: Any, idx: Any, getitem: Callable[[Any, Any], Any]) -> Any:
    """``x[idx]``, by way of the window that the Slices leave of ``x``."""
    starts, sizes, rest = _window(x, idx)
    return getitem(core.apply(dynamic.dynamic_slice, x, *starts, sizes=sizes), rest)


def write(x: Any, idx: Any, updated: Callable[[Any, Any], Any]) -> Any:
    """A copy of ``x`` with that window replaced by ``updated(window, rest of the index)``."""
    starts, sizes, rest = _window(x, idx)
    part = updated(core.apply(dynamic.dynamic_slice, x, *starts, sizes=sizes), rest)
    return core.apply(dynamic.dynamic_update_slice, x, part, *starts)


def _window(x: Any, idx: Any) -> tuple[list[Any], tuple[int, ...], tuple[Any, ...]]:
    """Starts and sizes of the window along every axis, and the index into it."""
    parts = idx if type(idx) is tuple else (idx,)
    taken = sum(map(_axes_taken, parts))
    starts = [core.as_array(np.int64(0))] * x.ndim
    sizes, rest, axis = list(x.shape), [], 0
    for part in parts:
        if type(part) is Slice:
            if axis >= x.ndim or part.reach > x.shape[axis]:
                raise ShapeError(
                    f"a window of {part.reach} entries along axis {axis} of {x.type}",
                    at=source.here(),
                )
            starts[axis] = _start(part, x.shape[axis])
            sizes[axis] = part.reach
            part, axis = slice(None, None, part.stride), axis + 1
        elif part is Ellipsis:
            axis += x.ndim - taken
        else:
            axis += _axes_taken(part)
        rest.append(part)
    return starts, tuple(sizes), tuple(rest)


def _axes_taken(part: Any) -> int:
    """How many axes an entry of an index speaks of."""
    if part is None or part is Ellipsis:
        return 0
    if isinstance(part, bool | np.bool_):
        return 0
    dtype = getattr(part, "dtype", None)
    return part.ndim if dtype is not None and dtype == np.bool_ else 1


def _start(part: Slice, size: int) -> Any:
    start = core.as_array(part.start)
    if start.ndim or kind(start.dtype) not in "iu":
        raise ArgumentError(f"ds: the start is an integer, not {start.type}", at=source.here())
    return start
