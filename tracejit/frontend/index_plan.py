"""What an index means: ``x[1:, None, [0, 2]]`` read into slices, positions and the layout of the
result.

    plan = parse(x, idx, mode="error")     Plan(slices, advanced, layout, ...)

Ints and slices without arrays are *basic*: static slices of x. With an array among the indices the
ints count as arrays too, and NumPy's rule places the axes of the arrays in the result: where the
first of them stands when they are next to each other, in front otherwise. Concrete indices are
checked and made non-negative here.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tracejit import hints
from tracejit.errors import (
    ArgumentError,
    DTypeError,
    NonConcreteBooleanIndexError,
    OutOfBoundsError,
    ShapeError,
    TracejitError,
)
from tracejit.frontend import array as core
from tracejit.frontend import elementwise, promotion, recording
from tracejit.frontend.promotion import operand_notes
from tracejit.ir.types import DTYPES, kind
from tracejit.record import dataclass
from tracejit.source import here

I64 = DTYPES["i64"]
MODES = {
    None: "error",
    "error": "error",
    "clip": "clip",
    "fill": "fill",
    "drop": "fill",
    "wrap": "wrap",
    "promise_in_bounds": "promise",
}
_WHERE_HINT = "use numpy.where(mask, x, 0), x.at[mask].set(value), or nonzero(mask, size=...)"


@dataclass(frozen=True)
class Cut:
    """A slice of one axis, normalised: ``count`` elements from ``start`` in steps of ``step`` > 0,
    then ``reverse``.
    """

    start: int
    count: int
    step: int = 1
    reverse: bool = False

    @property
    def limit(self) -> int:
        return self.start + (self.count - 1) * self.step + 1 if self.count else self.start


@dataclass(frozen=True)
class Plan:
    """An index of an array of ``shape``.

    ``cuts``: for every axis of x a Cut (whole for the axes that arrays index). ``dropped``: axes
    indexed by a static int in a basic index. ``arrays``: (axis, int Array) pairs, broadcast
    together, empty for a basic index; ``in_front``: whether their axes come first. ``layout``: the
    result's basic axes in order: an axis of x or None. ``before``: how many of these stand before
    the axes of the arrays.
    """

    shape: tuple[int, ...]
    cuts: tuple[Cut, ...]
    dropped: tuple[int, ...]
    arrays: tuple[tuple[int, Any], ...]
    layout: tuple[int | None, ...]
    before: int
    mode: str

    @property
    def array_shape(self) -> tuple[int, ...]:
        return self.arrays[0][1].shape if self.arrays else ()

    @property
    def result_shape(self) -> tuple[int, ...]:
        sizes = tuple(1 if k is None else self.cuts[k].count for k in self.layout)
        return (*sizes[: self.before], *self.array_shape, *sizes[self.before :])


def as_tuple(idx: Any) -> tuple[Any, ...]:
    """An index as a tuple of its parts; a list is an array of indices."""
    return idx if isinstance(idx, tuple) else (idx,)


def is_mask(part: Any) -> bool:
    """Whether one part of an index is a boolean array."""
    if isinstance(part, bool | np.bool_):
        return True
    return isinstance(part, core.Array | np.ndarray) and part.dtype == np.bool_


def _prepared(part: Any, x: Any) -> Any:
    """One part as None, Ellipsis, a slice, an int, or an integer or boolean Array."""
    if part is None or part is Ellipsis or isinstance(part, slice):
        return part
    if isinstance(part, int | np.integer):
        return int(part)
    if isinstance(part, list | tuple) and not part:
        part = np.zeros((0,), np.int64)
    try:
        found = core.as_array(part)
    except (TracejitError, TypeError, ValueError):
        raise ArgumentError(
            f"indexing: {type(part).__name__} is no index",
            at=here(),
            notes=operand_notes((x,)),
            hint="indices are integers, slices, None, ... and arrays of integers or booleans",
        ) from None
    if kind(found.dtype) not in "biu":
        raise DTypeError(
            f"indexing: indices are integers, slices or booleans, not {found.dtype}",
            at=here(),
            hint="convert them with .astype(int)",
        )
    known = found._trace is None and not recording.is_watched(found)
    if found.shape == () and known and found.dtype != np.bool_:
        return int(found._data)
    return found


def check_mask(mask: Any, covered: tuple[int, ...], x: Any) -> None:
    """OutOfBoundsError, an IndexError as NumPy's, where a mask does not fit the axes it is to
    choose from; a mask without elements, which chooses none, may have any size.
    """
    fits = zip(mask.shape, covered, strict=False)
    if mask.ndim != len(covered) or not all(m in (n, 0) for m, n in fits):
        raise OutOfBoundsError(
            f"indexing: a mask of shape {mask.shape} on axes of shape {covered}",
            at=here(),
            notes=operand_notes((x, mask)),
        )


def _is_flag(part: Any) -> bool:
    return is_mask(part) and np.ndim(part) == 0


def _covered(part: Any) -> int:
    """How many axes a part of an index covers, where that is no ellipsis."""
    if part is None or _is_flag(part):
        return 0
    if isinstance(part, list | tuple) and not promotion.holds_arrays(part):
        part = np.asarray(part)
    return int(np.ndim(part)) if is_mask(part) else 1


def with_flags(x: Any, idx: Any) -> tuple[Any, Any]:
    """``x`` with a new axis for each single truth value in an index, and the index with a mask of
    one element in place of that: ``x[True]`` is ``x[None]``, ``x[False]`` has no element.
    """
    parts = as_tuple(idx)
    if not any(_is_flag(part) for part in parts):
        return x, idx
    whole = x.ndim - sum(_covered(part) for part in parts if part is not Ellipsis)
    shape: list[int] = []
    written: list[Any] = []
    axis = 0
    for part in parts:
        if _is_flag(part):
            shape.append(1)
            flag = core.as_array(part)
            known = flag._trace is None  # then it stays known under a trace
            one = core.Array(flag._data.reshape(1)) if known else promotion.reshaped(flag, (1,))
            written.append(one)
            continue
        count = max(whole, 0) if part is Ellipsis else _covered(part)
        shape += x.shape[axis : axis + count]
        axis += count
        written.append(part)
    shape += x.shape[axis:]
    return promotion.reshaped(x, tuple(shape)), tuple(written)


def _masks_as_integers(parts: Sequence[Any], x: Any) -> list[Any]:
    """Concrete masks replaced by the positions of their true elements."""
    found: list[Any] = []
    axis = 0
    for part in parts:
        if isinstance(part, core.Array) and part.dtype == np.bool_:
            if part._data is None or (part._trace is not None and not part._trace.eager):
                raise part.traced_error(
                    "indexing with a boolean mask", _WHERE_HINT, NonConcreteBooleanIndexError
                )
            covered = x.shape[axis : axis + part.ndim] if axis is not None else part.shape
            check_mask(part, covered, x)
            found.extend(core.Array(a) for a in np.nonzero(part._data))
            axis = None if axis is None else axis + part.ndim
        else:
            found.append(part)
            if part is Ellipsis:
                axis = None
            elif part is not None and axis is not None:
                axis += 1
    return found


def _expanded(parts: list[Any], x: Any) -> list[Any]:
    """Parts with the ellipsis written out: one part other than None for every axis."""
    ellipses = [k for k, part in enumerate(parts) if part is Ellipsis]
    if len(ellipses) > 1:
        raise ArgumentError("indexing: only one ellipsis (...)", at=here())
    used = sum(part is not None and part is not Ellipsis for part in parts)
    if used > x.ndim:
        raise OutOfBoundsError(
            f"indexing: {used} indices for an array of {x.ndim} axes",
            at=here(),
            notes=operand_notes((x,)),
            hint="None adds an axis, ... stands for all axes not named",
        )
    whole = [slice(None)] * (x.ndim - used)
    at = ellipses[0] if ellipses else len(parts)
    return parts[:at] + whole + parts[at + 1 :]


def _bound(part: Any) -> Any:
    if part is None:
        return None
    if isinstance(part, core.Array) and part._data is None:
        raise part.traced_error(
            "a slice bound",
            "use lax.dynamic_slice(x, start, sizes): it takes a traced start and a fixed size",
        )
    try:
        return operator.index(part)
    except TypeError:
        raise ArgumentError(
            f"indexing: slice bounds are integers, not {part!r}", at=here()
        ) from None


def cut_of(part: slice, size: int) -> Cut:
    """A slice of an axis of ``size``."""
    step = _bound(part.step)
    if step == 0:
        raise ArgumentError("indexing: the step of a slice is 0", at=here())
    positions = range(*slice(_bound(part.start), _bound(part.stop), step).indices(size))
    count = len(positions)
    if count == 0:
        return Cut(0, 0)
    if positions.step < 0:
        return Cut(positions[-1], count, -positions.step, count > 1)
    return Cut(positions[0], count, positions.step if count > 1 else 1)


def _static_position(i: int, size: int, axis: int, mode: str, x: Any) -> int:
    """A static int within the axis, by ``mode``."""
    if -size <= i < size:
        return i % size
    if mode == "clip" and size:
        return 0 if i < 0 else size - 1
    if mode == "wrap" and size:
        return i % size
    raise OutOfBoundsError(
        f"index {i} is out of bounds for axis {axis} with size {size}",
        at=here(),
        notes=operand_notes((x,)),
        hint=hints.position(size),
    )


def _checked(part: Any, size: int, axis: int, mode: str, x: Any) -> tuple[Any, bool]:
    """An index Array, non-negative, and whether it is known to lie within the axis."""
    if part._trace is None and not recording.is_watched(part):
        data = np.asarray(part._data)
        low, high = (int(data.min()), int(data.max())) if data.size else (0, 0)
        data = data.astype(np.int64)
        inside = -size <= low and high < size or not data.size
        if mode == "error" and not inside:
            bad = low if low < -size else high
            _static_position(bad, size, axis, mode, x)
        if mode == "wrap" and size:
            return core.Array(np.mod(data, size)), True
        return core.Array(np.where(data < 0, data + size, data)), inside
    if size == 0 and mode == "error" and part.size:
        raise OutOfBoundsError(
            f"an index into axis {axis}, which is empty",
            at=here(),
            notes=operand_notes((x,)),
            hint=hints.position(0),
        )
    narrow = kind(part.dtype) == "u" or part.dtype.itemsize < 4
    index = promotion.convert(part, I64) if narrow else promotion.relabelled(part, False)
    if mode == "wrap" and size:
        return elementwise.remainder(index, size), True
    if mode == "promise" or kind(part.dtype) == "u":
        return index, mode == "promise"
    moved = elementwise.add(index, promotion.spread(size, index.type))
    return elementwise.select(elementwise.less(index, 0), moved, index), False


def parse(x: Any, idx: Any, mode: str | None = None) -> Plan:
    """The Plan of ``x[idx]``; raises OutOfBoundsError, ShapeError, ArgumentError or
    TracedValueError.
    """
    if mode not in MODES:
        raise ArgumentError(
            f"indexing: there is no mode {mode!r}",
            at=here(),
            hint=f"there are: {', '.join(m for m in MODES if m)}",
        )
    how = MODES[mode]
    written = _masks_as_integers([_prepared(part, x) for part in as_tuple(idx)], x)
    parts = _expanded(written, x)
    outside = how == "fill" and _leaves_axis(parts, x)
    advanced = outside or any(isinstance(part, core.Array) for part in parts)
    cuts: list[Cut] = []
    dropped: list[int] = []
    arrays: list[tuple[int, Any]] = []
    layout: list[int | None] = []
    before = 0  # how many basic axes stand before the first array
    known = True
    for part in parts:
        axis = len(cuts)
        if part is None:
            layout.append(None)
            continue
        size = x.shape[axis]
        cuts.append(cut_of(part, size) if isinstance(part, slice) else Cut(0, size))
        if isinstance(part, slice):
            layout.append(axis)
        elif not advanced:
            cuts[-1] = Cut(_static_position(part, size, axis, how, x), 1)
            dropped.append(axis)
        else:
            array = core.Array(np.asarray(part)) if isinstance(part, int) else part
            array, inside = _checked(array, size, axis, how, x)
            known = known and inside
            before = before if arrays else len(layout)
            arrays.append((axis, array))
    plan = Plan(
        x.shape,
        tuple(cuts),
        tuple(dropped),
        (),
        tuple(layout),
        before if _adjacent(written) else 0,
        "promise" if known else how,
    )
    return replace(plan, arrays=_together(arrays, x)) if arrays else plan


def _adjacent(written: list[Any]) -> bool:
    """Whether the arrays and ints of an index are next to each other; an ellipsis between them
    separates them even where it stands for no axis, as in NumPy.
    """
    places = [k for k, part in enumerate(written) if isinstance(part, int | core.Array)]
    return not places or places[-1] - places[0] == len(places) - 1


def _leaves_axis(parts: list[Any], x: Any) -> bool:
    """Whether a static int lies outside its axis."""
    axes = (part for part in parts if part is not None)
    return any(isinstance(i, int) and not -n <= i < n for i, n in zip(axes, x.shape, strict=True))


def _together(arrays: list[tuple[int, Any]], x: Any) -> tuple[tuple[int, Any], ...]:
    """Index arrays of one dtype and shape."""
    try:
        found = promotion.prepared("indexing: index arrays", *(a for _, a in arrays))
    except ShapeError as error:
        error.notes = error.notes or operand_notes((x,))
        raise
    return tuple((axis, a) for (axis, _), a in zip(arrays, found, strict=True))
