"""Where the windows of a gather or scatter lie: what both share, for NumPy arrays and for Exprs.

A gather reads a window of the operand for every index vector; a scatter writes one:

    Windows("gather", shape=(5, 4), sizes=(1, 4), start_map=(0,), hidden=(0,), mode="error")

reads rows of a 5x4 matrix: axis 0 starts at the index and is not in the result, axis 1 is whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from tracejit.errors import ArgumentError, DTypeError, OutOfBoundsError, ShapeError
from tracejit.ir.expr import Expr, Op, const, iadd
from tracejit.ir.types import TensorType, kind, short
from tracejit.ops.layout import both, compare
from tracejit.record import dataclass

MODES = ("error", "clip", "fill", "drop", "promise")


@dataclass(frozen=True)
class Windows:
    """The windows of an operand of ``shape``.

    ``sizes``: the window's extent per operand axis. ``start_map[k]``: the operand axis along which
    component k of an index vector is the start. ``hidden``: operand axes (of window extent 1) that
    windows do not show. ``batching``: pairs (operand axis, indices axis) that run together.
    ``mode``: what happens outside.
    """

    name: str
    shape: tuple[int, ...]
    sizes: tuple[int, ...]
    start_map: tuple[int, ...]
    hidden: tuple[int, ...]
    batching: tuple[tuple[int, int], ...] = ()
    mode: str = "error"

    @cached_property
    def visible(self) -> tuple[int, ...]:
        """Operand axes that are axes of a window, in order."""
        return tuple(k for k in range(len(self.shape)) if k not in self.hidden)

    @cached_property
    def whole(self) -> tuple[int, ...]:
        """Operand axes that every window covers from end to end."""
        moved = {*self.start_map, *(axis for axis, _ in self.batching)}
        return tuple(k for k, n in enumerate(self.shape) if k not in moved and self.sizes[k] == n)

    @cached_property
    def partial(self) -> tuple[int, ...]:
        """The other operand axes."""
        return tuple(k for k in range(len(self.shape)) if k not in self.whole)

    @cached_property
    def shown(self) -> tuple[int, ...]:
        """The axes of a window in the order (partial, whole), without the hidden ones."""
        return tuple(k for k in (*self.partial, *self.whole) if k not in self.hidden)

    @cached_property
    def is_rows(self) -> bool:
        """Whether each window is one row of the operand, along one axis."""
        alone = len(self.partial) == 1 and not self.batching
        return alone and self.start_map == self.partial and self.sizes[self.partial[0]] == 1

    def last_start(self, axis: int) -> int:
        """The highest start at which the window still lies inside."""
        return self.shape[axis] - self.sizes[axis]

    # ---- NumPy ----

    def starts(self, indices: np.ndarray) -> tuple[dict[int, np.ndarray], np.ndarray | None]:
        """Per operand axis the start of every window, and which windows lie inside (None: all)."""
        found: dict[int, np.ndarray] = {}
        valid: np.ndarray | None = None
        lead = indices.shape[:-1]
        for k, axis in enumerate(self.start_map):
            start = indices[..., k].astype(np.int64)
            last = self.last_start(axis)
            # read as unsigned, negative ones lie beyond the end too
            outside = start.view(np.uint64) > last if last >= 0 else np.ones(start.shape, bool)
            if outside.any():
                if self.mode == "error":
                    self.complain(int(start[outside].flat[0]), axis)
                if self.mode in ("fill", "drop"):
                    valid = ~outside if valid is None else valid & ~outside
                start = np.clip(start, 0, self.last_start(axis))
            found[axis] = start
        for axis, where in self.batching:
            wide = [1] * len(lead)
            wide[where] = lead[where]
            found[axis] = np.arange(lead[where]).reshape(wide)
        return found, valid

    def complain(self, index: int, axis: int) -> None:
        n, size = self.shape[axis], self.sizes[axis]
        window = f" (window of {size})" if size != 1 else ""
        raise OutOfBoundsError(
            f"{self.name}: index {index}{window} is out of bounds for axis {axis} with size {n}",
            hint='mode="clip", "fill" or "drop" says what to do with such indices',
        )

    def positions(self, indices: np.ndarray) -> tuple[tuple[np.ndarray, ...], np.ndarray | None]:
        """Per partial axis the places of every window element; which windows are inside.

        The arrays broadcast to ``window_shape``: the shape of the index vectors followed by the
        window's extents along ``partial``.
        """
        found, valid = self.starts(indices)
        lead, rank = indices.ndim - 1, len(self.partial)
        places = []
        for position, axis in enumerate(self.partial):
            start = found.get(axis, np.zeros((1,) * lead, np.int64))
            offset = np.arange(self.sizes[axis])
            offset = offset.reshape([-1 if p == position else 1 for p in range(rank)])
            places.append(start.reshape((*start.shape, *(1,) * rank)) + offset)
        return tuple(places), valid

    def window_shape(self, indices: np.ndarray) -> tuple[int, ...]:
        """The shape that ``positions`` broadcast to."""
        return (*indices.shape[:-1], *(self.sizes[k] for k in self.partial))

    def read(
        self, operand: np.ndarray, indices: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """All windows, of shape ``window_shape`` and the whole axes; which are inside."""
        moved = operand.transpose((*self.partial, *self.whole))
        shape = self.window_shape(indices)
        if self.is_rows:
            starts, valid = self.starts(indices)
            return moved[starts[self.partial[0]]].reshape((*shape, *moved.shape[1:])), valid
        places, valid = self.positions(indices)
        # without partial axes every window is the whole operand
        found = moved[places] if places else moved
        return np.broadcast_to(found, (*shape, *moved.shape[len(places) :])), valid

    def rows(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Row numbers, in ``as_rows`` of the operand, of every window element."""
        places, valid = self.positions(indices)
        total = np.zeros((), np.int64)
        for place, axis in zip(places, self.partial, strict=True):
            total = total * self.shape[axis] + place
        return np.broadcast_to(total, self.window_shape(indices)), valid

    def as_rows(self, operand: np.ndarray) -> np.ndarray:
        """The operand as a matrix: partial axes by whole axes."""
        split = (prod(self.shape[k] for k in self.partial), prod(self.shape[k] for k in self.whole))
        return np.transpose(operand, (*self.partial, *self.whole)).reshape(split)

    def from_rows(self, matrix: np.ndarray) -> np.ndarray:
        """The inverse of ``as_rows``."""
        order = (*self.partial, *self.whole)
        return np.transpose(matrix.reshape([self.shape[k] for k in order]), np.argsort(order))

    def result_order(self, lead: int, window_dims: Sequence[int]) -> tuple[int, ...]:
        """The permutation from (index axes, partial axes, whole axes; visible ones) to result axes.

        ``window_dims`` are the axes of the result that hold the window, ordered as ``visible``.
        """
        order = self.shown
        source = {
            dim: lead + order.index(k) for dim, k in zip(window_dims, self.visible, strict=True)
        }
        rest = iter(range(lead))
        return tuple(source[d] if d in source else next(rest) for d in range(lead + len(order)))

    # ---- expressions ----

    def start_exprs(
        self, indices: Any, lead: tuple[Expr, ...]
    ) -> tuple[dict[int, Expr], Expr | None]:
        """As ``starts``, for the one index vector at ``lead``."""
        found: dict[int, Expr] = {axis: lead[where] for axis, where in self.batching}
        valid: Expr | None = None
        for k, axis in enumerate(self.start_map):
            start = indices((*lead, const(k)))
            start = start if start.dtype == "i64" else Op("convert", (start,), "i64")
            last = self.last_start(axis)
            if self.mode == "error":
                start = Op("check_index", (start, const(last + 1)), "i64")
            elif self.mode == "clip":
                start = Op("clamp", (const(0), start, const(last)), "i64")
            elif self.mode in ("fill", "drop"):
                valid = both(valid, compare("ge", start, 0), compare("le", start, last))
            found[axis] = start
        return found, valid

    def element_at(self, starts: dict[int, Expr], offsets: Sequence[Expr]) -> tuple[Expr, ...]:
        """The operand's index at ``offsets`` (along visible axes) in the window at ``starts``."""
        offset = dict(zip(self.visible, offsets, strict=True))
        return tuple(
            iadd(starts.get(k, const(0)), offset.get(k, const(0))) for k in range(len(self.shape))
        )


def check_windows(windows: Windows, indices: TensorType) -> None:
    """Raise unless ``windows`` fit their operand and ``indices``."""
    name, rank = windows.name, len(windows.shape)
    if kind(indices.dtype) not in "iu":
        raise DTypeError(f"{name}: indices are integers, not {short(indices.dtype)}")
    if windows.mode not in MODES:
        raise ArgumentError(f"{name}: mode is one of {', '.join(MODES)}, not {windows.mode!r}")
    if indices.ndim == 0 or indices.shape[-1] != len(windows.start_map):
        raise ShapeError(
            f"{name}: the last axis of the indices {indices} holds the components of one index, "
            f"{len(windows.start_map)} of them"
        )
    axes = [*windows.start_map, *(axis for axis, _ in windows.batching)]
    if len(set(axes)) != len(axes) or any(not 0 <= a < rank for a in axes):
        raise ShapeError(f"{name}: indexed and batching axes {axes} are not distinct axes")
    if len(windows.sizes) != rank:
        raise ShapeError(f"{name}: window {windows.sizes} needs one extent per operand axis")
    batching = {axis for axis, _ in windows.batching}
    for axis, (size, n) in enumerate(zip(windows.sizes, windows.shape, strict=True)):
        # where there is no index vector there is no window that could lie outside
        room = max(n, 1) if axis in batching or 0 in indices.shape[:-1] else n
        if not 0 <= size <= room:
            raise ShapeError(f"{name}: a window of {size} does not fit axis {axis} of size {n}")
        if axis in windows.hidden and size != 1:
            raise ShapeError(
                f"{name}: axis {axis} is dropped from windows, but its extent is {size}"
            )
    for axis, where in windows.batching:
        if not 0 <= where < indices.ndim - 1 or indices.shape[where] != windows.shape[axis]:
            raise ShapeError(
                f"{name}: axis {where} of the indices does not match operand axis {axis}"
            )
