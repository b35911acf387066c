"""``x.flat``: the elements of an array in row-major order, to read, to write, and one by one.

    x.flat[3]       x.flat[[1, 2]] = 0       x.flat = [1, 2]       for v in x.flat: ...

Writing makes the Array object ``x`` stand for the updated array, as ``x[i] = v`` does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tracejit.errors import DTypeError, user_methods
from tracejit.frontend import elementwise, indexing, promotion, shaping
from tracejit.frontend.promotion import reshaped
from tracejit.ir.types import kind
from tracejit.source import here


@user_methods()
class Flat:
    """NumPy's ``flatiter`` of an Array: ``base`` is the array."""

    __slots__ = ("base", "_place")

    def __init__(self, base: Any) -> None:
        self.base, self._place = base, 0

    def __getitem__(self, idx: Any) -> Any:
        return indexing.getitem(shaping.ravel(self.base), idx)

    def __setitem__(self, idx: Any, value: Any) -> None:
        values = shaping.ravel(value)
        flat = shaping.ravel(self.base)
        wanted = indexing.getitem(flat, idx).size
        if values.size > wanted or 1 < values.size < wanted:
            values = cycled(values, wanted)  # NumPy repeats them, and leaves out what is too many
        if values.size:
            written = indexing.updated(flat, idx, values if values.size > 1 else values[0], "set")
            indexing.setitem(self.base, ..., reshaped(written, self.base.shape))

    def __len__(self) -> int:
        return int(self.base.size)

    def __iter__(self) -> Iterator[Any]:
        return indexing.iterate(shaping.ravel(self.base))

    def __next__(self) -> Any:
        if self._place >= self.base.size:
            raise StopIteration
        self._place += 1
        return self[self._place - 1]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return shaping.ravel(self.base).__array__(dtype, copy)

    @property
    def index(self) -> int:
        """The number of the element that ``next`` gives."""
        return self._place

    @property
    def coords(self) -> tuple[int, ...]:
        """The index of the element that ``next`` gives."""
        found, rest = [], self._place
        for n in reversed(self.base.shape):
            found.append(rest % n)
            rest //= n
        return tuple(reversed(found))

    def copy(self) -> Any:
        """The elements as an array of one axis."""
        return shaping.ravel(self.base)


def cycled(values: Any, count: int) -> Any:
    """A vector repeated until there are ``count`` elements."""
    times = -(-count // values.size) if values.size else 0
    wide = shaping.tile(values, times) if times > 1 else values
    return shaping.cut(wide, 0, 0, min(count, wide.size))


def fill(x: Any, values: Any) -> None:
    """``x.flat = values``."""
    found = shaping.ravel(values)
    wide = cycled(found, x.size) if found.size != 1 else found[0]
    if x.size:
        indexing.setitem(x, ..., reshaped(wide, x.shape) if found.size != 1 else wide)


def put(x: Any, indices: Any, values: Any, mode: str = "raise") -> None:
    """``x.put``: elements of the flattened array replaced; ``values`` are repeated as needed."""
    places = shaping.ravel(indices)
    if not places.size:
        return
    if mode == "clip":  # of negative places too: they do not count from the end
        places = elementwise.clip(places, 0, x.size - 1)
    how = "error" if mode in ("raise", "clip") else mode
    wide = cycled(shaping.ravel(values), places.size)
    written = indexing.updated(shaping.ravel(x), places, wide, "set", how)
    indexing.setitem(x, ..., reshaped(written, x.shape))


def set_part(x: Any, value: Any, name: str) -> None:
    """``x.real = value`` and ``x.imag = value``."""
    if kind(x.dtype) != "c":
        if name == "imag":
            raise DTypeError(f"x.imag = v: {x.type} has no imaginary part", at=here())
        indexing.setitem(x, ..., value)
        return
    parts = {"real": elementwise.real(x), "imag": elementwise.imag(x)}
    parts[name] = promotion.broadcast_to(promotion.typed(value, parts[name].dtype), x.shape)
    indexing.setitem(x, ..., elementwise.complex_of(parts["real"], parts["imag"]))


def strides_of(x: Any) -> tuple[int, ...]:
    """``x.strides``: in bytes, of the elements in row-major order."""
    found, step = [], int(x.dtype.itemsize)
    for n in reversed(x.shape):
        found.append(step)
        step *= max(n, 1)
    return tuple(reversed(found))


def asarray_flags(x: Any) -> Any:
    """``x.flags``."""
    data = x.concrete("flags").view()
    data.flags.writeable = False
    return data.flags
