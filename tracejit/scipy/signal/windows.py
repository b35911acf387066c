"""Segments of a signal: taken out of it, added up to it again, windows over them, trends in them.

segments(x: f32[9], size=4, step=2)      -> f32[3,4]
overlap_add(y: f32[3,4], step=2)         -> f32[8]
"""

from __future__ import annotations

import functools
import importlib
from typing import Any

import numpy as np

from tracejit.config import config
from tracejit.errors import ArgumentError, ShapeError
from tracejit.frontend import creation, indexing, linear, reductions, shaping
from tracejit.frontend import elementwise as ew
from tracejit.frontend.array import as_array
from tracejit.frontend.axes import axis_number, by_numpy, integer
from tracejit.frontend.promotion import broadcast_to, convert, reshaped, to_inexact
from tracejit.source import here

#: up to so many pieces a segment is joined from slices; more are looked up one element at a time
FEW = 8


def window_array(name: str, window: Any, size: int, dtype: np.dtype) -> Any:
    """A window as an Array: named ones (periodic, as ``scipy.signal.get_window`` makes them) of
    ``size`` points.
    """
    if isinstance(window, str) and window in ("hann", "hanning"):
        points = np.sin(np.pi * np.arange(size) / size) ** 2 if size > 1 else np.ones(1)
        return creation.asarray(points, dtype)
    if isinstance(window, str | tuple):
        try:
            points = importlib.import_module("scipy.signal").get_window(window, size)
        except ValueError as error:
            raise ArgumentError(f"{name}: {window!r} is no window: {error}", at=here()) from None
        return creation.asarray(points, dtype)
    found = as_array(window)
    if found.ndim != 1:
        raise ShapeError(f"{name}: a window has one axis, not {found.type}", at=here())
    return convert(found, dtype)


def __getattr__(name: str) -> Any:
    """SciPy's windows by their names: ``windows.hann(8)``."""
    if name.startswith("_"):
        raise AttributeError(name)
    theirs = getattr(importlib.import_module("scipy.signal").windows, name, None)
    if theirs is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    @functools.wraps(theirs)
    def window(*args: Any, **kwargs: Any) -> Any:
        points = by_numpy(f"windows.{name}", theirs, *args, **kwargs)
        return creation.asarray(points, config.default_float)

    return window


def get_window(window: Any, Nx: int, fftbins: bool = True) -> Any:
    """The window that a name, or a name with its parameters in a tuple, stands for, of ``Nx``
    points; periodic unless ``fftbins`` is false. By SciPy, in the default float.

    >>> from tracejit.scipy import signal
    >>> signal.get_window("hann", 4)
    Array([0. , 0.5, 1. , 0.5], dtype=float32)
    """
    theirs = importlib.import_module("scipy.signal").get_window
    return creation.asarray(
        by_numpy("get_window", theirs, window, Nx, fftbins), config.default_float
    )


# ---- segments ------------------------------------------------------------------------------------


def segments(x: Any, size: int, step: int) -> Any:
    """The stretches of ``size`` elements of the last axis that begin every ``step`` elements."""
    n = x.shape[-1]
    count = (n - size) // step + 1
    axis = x.ndim - 1
    pieces = -(-size // step)
    if step == size:
        return reshaped(shaping.cut(x, axis, 0, count * size), (*x.shape[:-1], count, size))
    if pieces > FEW:
        places = np.arange(count)[:, None] * step + np.arange(size)
        return indexing.take(x, as_array(places), axis=axis, mode="promise_in_bounds")
    reach = (count + pieces - 1) * step
    if reach > n:
        x = shaping.padded(x, [(0, reach - n if k == axis else 0, 0) for k in range(x.ndim)])
    rows = []
    for k in range(pieces):
        part = shaping.cut(x, axis, k * step, (k + count) * step)
        rows.append(reshaped(part, (*x.shape[:-1], count, step)))
    return shaping.cut(shaping.concatenate(rows, -1), axis + 1, 0, size)


def overlap_add(y: Any, step: int) -> Any:
    """The sum of segments (..., count, size) placed ``step`` elements apart.

    Each segment is cut into pieces of ``step``; the k-th pieces of all segments make a row, which
    is read k steps later for being followed by more zeros than its length asks for.
    """
    *lead, count, size = y.shape
    pieces = -(-size // step)
    outer = [(0, 0, 0)] * len(lead)
    y = shaping.padded(y, [*outer, (0, 0, 0), (0, pieces * step - size, 0)])
    y = shaping.moveaxis(reshaped(y, (*lead, count, pieces, step)), -2, -3)
    y = shaping.padded(y, [*outer, (0, 0, 0), (0, pieces, 0), (0, 0, 0)])
    flat = reshaped(y, (*lead, pieces * (count + pieces) * step))
    length = (count + pieces - 1) * step
    flat = shaping.cut(flat, len(lead), 0, pieces * length)
    total = reductions.sum(reshaped(flat, (*lead, pieces, length)), -2)
    return shaping.cut(total, len(lead), 0, (count - 1) * step + size)


# ---- trends --------------------------------------------------------------------------------------


def detrend(
    data: Any, axis: int = -1, type: str = "linear", bp: Any = 0, overwrite_data: None = None
) -> Any:
    """``data`` without its mean ("constant"), or without the straight line of least squares
    ("linear") through each stretch between the break points ``bp``.

    Break points are static. ArgumentError for another type or break points outside of the axis.

    >>> tj.scipy.signal.detrend(jnp.array([1.0, 2.0, 6.0]), type="constant")
    Array([-2., -1.,  3.], dtype=float32)
    """
    if overwrite_data is not None:
        raise ArgumentError("detrend: arrays are immutable: overwrite_data is None", at=here())
    if type not in ("constant", "c", "linear", "l"):
        raise ArgumentError(f"detrend: type is 'constant' or 'linear', not {type!r}", at=here())
    x = to_inexact(data)
    number = axis_number("detrend", axis, x.ndim)
    if type in ("constant", "c"):
        return ew.subtract(x, reductions.mean(x, number, keepdims=True))
    n = x.shape[number]
    given = [integer(b, "detrend: bp") for b in np.atleast_1d(np.asarray(bp)).tolist()]
    ends = sorted({0, *given, n})
    if ends[0] < 0 or ends[-1] > n:
        raise ArgumentError(
            f"detrend: break points {given} are not within an axis of {n} elements", at=here()
        )
    x = shaping.moveaxis(x, number, -1)
    last = x.ndim - 1
    parts = [
        _without_line(shaping.cut(x, last, start, stop))
        for start, stop in zip(ends, ends[1:], strict=False)
    ]
    return shaping.moveaxis(shaping.concatenate(parts, -1) if parts else x, -1, number)


def _without_line(x: Any) -> Any:
    """``x`` less its projection on straight lines, of which ``basis`` is an orthonormal basis."""
    n = x.shape[-1]
    lines = np.stack([np.ones(n), np.arange(n) - (n - 1) / 2], -1)[:, : min(n, 2)]
    basis = creation.asarray(lines / np.linalg.norm(lines, axis=0), x.dtype)
    return ew.subtract(x, linear.matmul(linear.matmul(x, basis), shaping.transpose(basis)))


def extended(name: str, x: Any, count: int, how: str | None) -> Any:
    """``x`` with ``count`` more elements at both ends of its last axis: "even" and "odd" mirror it,
    "constant" repeats its ends, "zeros" adds zeros.
    """
    if how is None or count < 1:
        return x
    n, axis = x.shape[-1], x.ndim - 1
    if how == "zeros":
        return shaping.padded(
            x, [(count, count, 0) if k == axis else (0, 0, 0) for k in range(axis + 1)]
        )
    first, last = shaping.cut(x, axis, 0, 1), shaping.cut(x, axis, n - 1, n)
    shape = (*x.shape[:-1], count)
    if how == "constant":
        return shaping.concatenate([broadcast_to(first, shape), x, broadcast_to(last, shape)], -1)
    if count > n - 1:
        raise ShapeError(
            f"{name}: a signal of {n} samples cannot be mirrored by {count}",
            at=here(),
            hint='use boundary="zeros", or shorter segments',
        )
    before = shaping.flip(shaping.cut(x, axis, 1, count + 1), -1)
    after = shaping.flip(shaping.cut(x, axis, n - 1 - count, n - 1), -1)
    if how == "odd":
        before = ew.subtract(ew.multiply(2, first), before)
        after = ew.subtract(ew.multiply(2, last), after)
    return shaping.concatenate([before, x, after], -1)
