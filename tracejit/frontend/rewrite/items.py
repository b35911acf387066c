"""What a ``for`` goes over where something of it is traced: ranges, rows of arrays, zips of these.

items = traced_items(x)         Rows, Steps or Zipped; None for what Python goes over itself
items.length                    an int, or a traced integer
items.at(k)                     the item of a traced number
items.arrays(), items.item(xs)  for a scan: the operands, and the item of their slices
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from tracejit import source
from tracejit.errors import ArgumentError, DTypeError
from tracejit.frontend import elementwise, methods, promotion, shaping
from tracejit.frontend.array import Array, as_array
from tracejit.frontend.indexing import At
from tracejit.frontend.rewrite.state import is_traced, same
from tracejit.frontend.trace import current_trace
from tracejit.ir.types import kind


class Rows:
    """The rows of an array."""

    def __init__(self, array: Array) -> None:
        self.array = array
        self.length: Any = array.shape[0]

    def at(self, k: Array) -> Any:
        return At(self.array)[k].get(mode="promise_in_bounds")

    def arrays(self) -> list[Array]:
        return [self.array]

    def item(self, slices: Iterator[Array]) -> Any:
        return next(slices)

    def backwards(self) -> Any:
        return Rows(shaping.flip(self.array, 0))

    def __iter__(self) -> Iterator[Any]:
        return iter(self.array)


class Steps:
    """A range; ``start``, ``step`` and ``length`` may be traced."""

    def __init__(self, start: Any, step: Any, length: Any) -> None:
        self.start, self.step, self.length = start, step, length

    def at(self, k: Array) -> Any:
        found = k if same(self.step, 1) else methods.multiply(k, self.step)
        found = found if same(self.start, 0) else methods.add(self.start, found)
        return promotion.relabelled(found, True)  # as an int among floats

    def arrays(self) -> list[Array]:
        return [as_array(np.arange(self.length))]

    def item(self, slices: Iterator[Array]) -> Any:
        return self.at(next(slices))

    def backwards(self) -> Any:
        last = methods.add(
            self.start, methods.multiply(methods.subtract(self.length, 1), self.step)
        )
        return Steps(last, methods.negative(as_array(self.step)), self.length)

    def __iter__(self) -> Iterator[Any]:
        if is_traced(self.length):
            raise self.length.traced_error("range()", "the length of this loop must be known here")
        return (self.at(as_array(k)) for k in range(self.length))


class Zipped:
    """Several of these side by side, as far as the shortest goes."""

    def __init__(self, parts: Sequence[Items]) -> None:
        self.parts = tuple(parts)
        known = [p.length for p in parts if not is_traced(p.length)]
        self.length: Any = min(known) if known else None
        for part in parts:
            if is_traced(part.length):
                shorter = part.length
                self.length = (
                    shorter if self.length is None else elementwise.minimum(self.length, shorter)
                )

    def at(self, k: Array) -> Any:
        return tuple(part.at(k) for part in self.parts)

    def arrays(self) -> list[Array]:
        n = self.length
        found = [array for part in self.parts for array in part.arrays()]
        return [a if a.shape[0] == n else shaping.cut(a, 0, 0, n) for a in found]

    def item(self, slices: Iterator[Array]) -> Any:
        return tuple(part.item(slices) for part in self.parts)

    def backwards(self) -> Any:
        raise ArgumentError("reversed() does not take a zip", at=source.here())

    def __iter__(self) -> Iterator[Any]:
        return zip(*self.parts, strict=False)


Items = Rows | Steps | Zipped


def traced_items(x: Any) -> Items | None:
    """``x`` as something that a traced loop can go over; None where Python does."""
    if isinstance(x, Rows | Steps | Zipped):
        return x
    if isinstance(x, Array) and x.ndim and (is_traced(x) or _tracing()):
        return Rows(x)
    return None


def _tracing() -> bool:
    trace = current_trace()
    return trace is not None and not trace.eager


def _part(x: Any) -> Items | None:
    """``x`` beside something that is traced."""
    if isinstance(x, range):
        return Steps(x.start, x.step, len(x))
    if isinstance(x, np.ndarray) and x.ndim and x.dtype.kind in "biufc":
        return Rows(as_array(x))
    if isinstance(x, list | tuple) and x and all(type(v) in (int, float) for v in x):
        if len({type(v) for v in x}) == 1:
            return Rows(promotion.relabelled(as_array(np.asarray(x, _dtype(x[0]))), True))
    return traced_items(x)


def _dtype(value: Any) -> Any:
    return as_array(value).dtype


# ---- range, zip, enumerate, reversed -------------------------------------------------------------


def range_(*args: Any) -> Any:
    """``range`` with bounds that may be traced."""
    if not args or not any(map(is_traced, args)) or len(args) > 3:
        return range(*args)
    for bound in args:
        if is_traced(bound) and (bound.shape != () or kind(bound.dtype) not in "iu"):
            raise DTypeError(
                f"range: a bound is {bound.type}, not an integer scalar",
                at=source.here(),
                hint="convert it with .astype(int)",
            )
    start, stop, step = {1: (0, args[0], 1), 2: (*args, 1)}.get(len(args), args)
    towards = elementwise.sign(step) if is_traced(step) else (step > 0) - (step < 0)
    if not is_traced(step) and step == 0:
        raise ArgumentError("range: the step must not be zero", at=source.here())
    reach = methods.subtract(methods.add(methods.subtract(stop, start), step), towards)
    length = elementwise.maximum(methods.floor_divide(reach, step), 0)
    return Steps(start, step, promotion.relabelled(length, True))


def zip_(*args: Any, strict: bool = False) -> Any:
    """``zip``, of traced ranges and arrays too."""
    if not any(traced_items(x) is not None for x in args):
        return zip(*args, strict=strict)
    parts = [_part(x) for x in args]
    found = [part for part in parts if part is not None]
    if len(found) < len(parts):
        return zip(*args, strict=strict)
    if strict and len({p.length for p in found if not is_traced(p.length)}) > 1:
        raise ArgumentError("zip: the arguments differ in length", at=source.here())
    return Zipped(found)


def enumerate_(items: Any, start: Any = 0) -> Any:
    """``enumerate``, of a traced range or array too."""
    found = traced_items(items)
    if found is None:
        return enumerate(items, start)
    return Zipped([Steps(start, 1, found.length), found])


def reversed_(items: Any) -> Any:
    """``reversed``, of a traced range or array too."""
    found = traced_items(items)
    return reversed(items) if found is None else found.backwards()


ITERATORS: dict[Any, Callable[..., Any]] = {
    range: range_,
    zip: zip_,
    enumerate: enumerate_,
    reversed: reversed_,
}


def iterator(function: Any) -> Any:
    """What stands for ``range``, ``zip`` ... in a ``for``."""
    try:
        return ITERATORS.get(function, function)
    except TypeError:  # not hashable: nothing of ours
        return function
