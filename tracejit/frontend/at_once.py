"""Indexing and arithmetic that NumPy does at once: on concrete Arrays on the CPU, without a trace.

Programs written for NumPy read and write elements one by one; the general way, which also serves
traces and devices, takes a hundred times as long as the work. What is not plain here, errors too,
goes that way: these functions then return None or False.

>>> x = jnp.zeros(3)
>>> x[1] = 2.0
>>> x[1:] * 3
Array([6., 0.], dtype=float32)
"""

from __future__ import annotations

from collections.abc import Callable
from sys import getrefcount
from types import EllipsisType, NoneType
from typing import Any

import numpy as np

from tracejit.config import config
from tracejit.frontend import array as core
from tracejit.frontend import placement, recording
from tracejit.frontend import trace as tracing
from tracejit.frontend.recording import quiet

_ENDS = (int, NoneType)
#: the kinds of dtypes that Python's numbers are written into as they are
_TAKES = {int: "fiu", float: "f", bool: "b"}
#: lists of more items are read in the general way
_MOST_ITEMS = 64


def _applies() -> bool:
    """Whether operations run at once, on the CPU, and nothing looks at their results."""
    settings = config.current()
    return (
        tracing.current_trace() is None
        and settings.default_device == "cpu"
        and not (settings.debug_nans or settings.debug_infs)
    )


def _held(x: Any) -> np.ndarray | None:
    """The data of an Array that nothing else is to be known of: concrete, on the CPU, bound to no
    device, not weak.
    """
    if x._trace is not None or x._value is not None or x._is_weak:
        return None
    kind = x._kind
    if (kind is not None and kind.device is not None) or type(x._place) in (
        placement.Held,
        core.Donated,
        recording.Watched,
    ):
        return None
    return x._data  # type: ignore[no-any-return]


def _is_basic(part: Any) -> bool:
    kind = type(part)
    if kind is slice:
        return type(part.start) in _ENDS and type(part.stop) in _ENDS and type(part.step) in _ENDS
    return kind is int or kind is NoneType or kind is EllipsisType


class _NotPlain(Exception):
    """An index has a part that NumPy does not read as it is."""


def _plain(idx: Any) -> Any:
    """An index for NumPy: of integers, slices, masks and arrays or lists of integers, all known.
    Raises _NotPlain for another one.
    """
    if type(idx) is tuple:
        return idx if all(map(_is_basic, idx)) else tuple(map(_plain_part, idx))
    return idx if _is_basic(idx) else _plain_part(idx)


def _plain_part(part: Any) -> Any:
    if _is_basic(part):
        return part
    kind = type(part)
    if kind is slice:
        return slice(*map(_plain_end, (part.start, part.stop, part.step)))
    data: Any = _held(part) if kind is core.Array else part
    if isinstance(data, np.ndarray | np.generic):
        letter = data.dtype.kind
        if letter in "iu":
            return data if data.ndim else int(data)
        if letter == "b" and data.ndim:
            return data
    elif kind is list and len(part) <= _MOST_ITEMS and all(type(k) is int for k in part):
        return part
    raise _NotPlain


def _plain_end(end: Any) -> Any:
    found = end if type(end) in _ENDS else _plain_part(end)
    if type(found) in _ENDS:
        return found
    raise _NotPlain


def getitem(x: Any, idx: Any) -> Any:
    """``x[idx]``, or None."""
    if not _applies():
        return None
    data = _held(x)
    if data is None:
        return None
    try:
        return core.Array(np.array(data[_plain(idx)]))
    except (IndexError, ValueError, _NotPlain):
        return None


class _Holder:
    """Something that holds an array as an Array does."""

    __slots__ = ("_array",)

    def __init__(self) -> None:
        self._array = np.zeros(1)


def _references(holder: Any) -> int:
    """How often the array of a holder is referred to, seen from here."""
    data = holder._array
    return getrefcount(data)


#: the references to an array that only its holder has
_OWN = _references(_Holder())


def _writable(x: Any, data: np.ndarray) -> bool:
    """Whether ``data``, of ``x``, is memory that nobody else sees."""
    return x._place is None and data.base is None and data.flags.writeable


def setitem(x: Any, idx: Any, value: Any) -> bool:
    """``x[idx] = value``, and whether it is done. Where others may see the memory, ``x`` gets new
    one.
    """
    if not _applies():
        return False
    data = _held(x)
    if data is None:
        return False
    try:
        idx = _plain(idx)
    except _NotPlain:
        return False
    if type(value) is core.Array:
        value = _held(value)
    if value is None:
        return False
    if isinstance(value, np.ndarray | np.generic):
        if value.dtype != data.dtype:
            return False
    elif data.dtype.kind not in _TAKES.get(type(value), ""):
        return False
    is_own = _writable(x, data)
    del data
    if not is_own or _references(x) != _OWN:
        x._array = np.array(x._data)
        x._place = None
    try:
        x._array[idx] = value
    except (IndexError, ValueError, OverflowError):
        return False
    return True


#: the operators of NumPy that mean the same on two arrays of one of these dtypes
_UFUNCS: dict[str, tuple[Callable[..., Any], str]] = {
    "add": (np.add, "fdlqiI"),
    "subtract": (np.subtract, "fdlqiI"),
    "multiply": (np.multiply, "fdlqiI"),
    "divide": (np.true_divide, "fd"),
    "less": (np.less, "fdlqiI"),
    "less_equal": (np.less_equal, "fdlqiI"),
    "greater": (np.greater, "fdlqiI"),
    "greater_equal": (np.greater_equal, "fdlqiI"),
    "equal": (np.equal, "fdlqiI"),
    "not_equal": (np.not_equal, "fdlqiI"),
}


def operator(name: str, reflected: bool = False) -> Callable[[Any, Any], Any]:
    """The function that does operator ``name`` of an Array and an Array or number at once, or
    returns None. ``reflected``: the Array is on the right.
    """
    if name not in _UFUNCS:
        return lambda x, y: None
    ufunc, codes = _UFUNCS[name]

    def run(x: Any, y: Any) -> Any:
        if not _applies():
            return None
        a = _held(x)
        if a is None or a.dtype.char not in codes:
            return None
        b: Any = y
        if type(y) is core.Array:
            b = _held(y)
            if b is None or b.dtype != a.dtype:
                return None
        elif type(y) is not int and not (type(y) is float and a.dtype.kind == "f"):
            return None
        try:
            operands = (b, a) if reflected else (a, b)
            return core.Array(np.asarray(quiet.context.run(ufunc, *operands)))
        except (ValueError, OverflowError, RuntimeError):
            return None

    return run
