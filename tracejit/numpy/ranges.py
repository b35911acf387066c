"""Ranges, grids, index helpers and windows.

>>> linspace(0, 1, 5)
Array([0.  , 0.25, 0.5 , 0.75, 1.  ], dtype=float32)
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from tracejit.config import config
from tracejit.errors import (
    ArgumentError,
    CopyError,
    DTypeError,
    OutOfBoundsError,
    ShapeError,
)
from tracejit.frontend import creation, methods, placement, promotion, shaping
from tracejit.frontend import elementwise as ew
from tracejit.frontend.array import Array, as_array
from tracejit.frontend.axes import by_numpy, integer, shape_tuple
from tracejit.frontend.promotion import canonical, convert, reshaped
from tracejit.ir.types import DTYPES, kind
from tracejit.numpy.elementwise import i0
from tracejit.source import here

I64 = DTYPES["i64"]


def linspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
    axis: int = 0,
    *,
    device: Any = None,
) -> Any:
    """``num`` evenly spaced numbers from ``start`` to ``stop``, which is left out without
    ``endpoint``.

    Floating numbers, at a new axis ``axis`` for arrays; with ``retstep`` the step too. Raises
    ArgumentError for a negative ``num``.

    >>> jnp.linspace(0.0, 1.0, 5)
    Array([0.  , 0.25, 0.5 , 0.75, 1.  ], dtype=float32)
    """
    num = integer(num, "linspace: num")
    if num < 0:
        raise ArgumentError(f"linspace: num is {num}", at=here())
    a, b = ew.float_operands("linspace", start, stop)
    wanted = a.dtype if dtype is None else canonical(dtype)
    parts = num - 1 if endpoint else num
    step = ew.divide(ew.subtract(b, a), float(parts)) if parts > 0 else ew.multiply(a, np.nan)
    if (
        a._trace is None
        and b._trace is None
        and isinstance(start, int | float)
        and isinstance(stop, int | float)
    ):
        # numbers: computed in float64 and rounded once
        exact = np.linspace(start, stop, num, endpoint)
        exact = np.floor(exact) if kind(wanted) in "iu" else exact
        found = creation.asarray(exact.astype(wanted), device=device)
        return (found, step) if retstep else found
    counter = convert(creation.iota(I64, (num,), 0), a.dtype)
    counter = reshaped(counter, (num,) + (1,) * a.ndim)
    t = ew.divide(counter, float(max(parts, 1)))
    # from both ends, so that the last element is exactly stop
    found = ew.add(ew.multiply(a, ew.subtract(1, t)), ew.multiply(b, t))
    found = ew.floor(found) if kind(wanted) in "iu" else found
    found = shaping.moveaxis(convert(found, wanted), 0, axis)
    found = found if device is None else methods.device_put(found, device)
    return (found, step) if retstep else found


def logspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    base: Any = 10.0,
    dtype: Any = None,
    axis: int = 0,
) -> Any:
    """``num`` numbers from base**start to base**stop, evenly spaced in their exponents."""
    if np.ndim(base):  # the axis of the powers is in front of that of the bases
        base = as_array(base)
        start, stop = (promotion.broadcast_to(as_array(x), base.shape) for x in (start, stop))
        base = shaping.expand_dims(base, axis)
    powers = linspace(start, stop, num, endpoint, axis=axis)
    if isinstance(base, int | float):
        # exact powers for exact exponents, as pow in float64
        found = ew.power(ew.multiply(promotion.filled(1, powers.type), float(base)), powers)
    else:
        found = ew.power(base, powers)
    return found if dtype is None else convert(found, canonical(dtype))


def geomspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, dtype: Any = None, axis: int = 0
) -> Any:
    """``num`` numbers from ``start`` to ``stop`` with a constant ratio."""
    a, b = ew.float_operands("geomspace", start, stop)
    if any(end._data is not None and np.any(end._data == 0) for end in (a, b)):
        raise ArgumentError("geomspace: no constant ratio leads from or to 0", at=here())
    ratio = ew.divide(b, a)
    t = linspace(0.0, 1.0, num, endpoint, dtype=a.dtype if kind(a.dtype) == "f" else None)
    t = reshaped(t, (t.size,) + (1,) * ratio.ndim)
    found = ew.multiply(a, ew.power(ratio, t))
    found = ew.select(ew.equal(t, 1), b, found)  # the end is exactly ``stop``
    found = shaping.moveaxis(found, 0, axis)
    return found if dtype is None else convert(found, canonical(dtype))


def identity(n: int, dtype: Any = None) -> Any:
    """The n x n identity matrix."""
    return creation.eye(n, dtype=dtype)


def empty(shape: Any, dtype: Any = None, order: str = "C", *, device: Any = None) -> Any:
    """An array of zeros: there is no memory without content here."""
    return creation.zeros(shape, dtype, device=device)


def empty_like(
    prototype: Any,
    dtype: Any = None,
    shape: Any = None,
    *,
    device: Any = None,
    order: str = "K",
    subok: bool = True,
) -> Any:
    """Zeros in the shape and dtype of ``prototype``."""
    return creation.zeros_like(prototype, dtype, shape, device=device)


def fromfunction(
    function: Callable[..., Any], shape: Any, *, dtype: Any = float, **kwargs: Any
) -> Any:
    """``function`` of the index arrays of ``shape``."""
    return function(*indices(shape, dtype=dtype), **kwargs)


def fromiter(iter: Any, dtype: Any, count: int = -1) -> Any:
    """An array from an iterable of numbers."""
    return creation.asarray(by_numpy("fromiter", np.fromiter, iter, canonical(dtype), count))


def frombuffer(buffer: Any, dtype: Any = float, count: int = -1, offset: int = 0) -> Any:
    """An array over the bytes of a buffer."""
    dtype = canonical(dtype)
    return creation.array(by_numpy("frombuffer", np.frombuffer, buffer, dtype, count, offset))


def fromstring(string: str, dtype: Any = float, count: int = -1, *, sep: str) -> Any:
    """An array from numbers in text."""
    dtype = canonical(dtype)
    return creation.asarray(by_numpy("fromstring", np.fromstring, string, dtype, count, sep=sep))


def from_dlpack(x: Any, /, *, device: Any = None, copy: bool | None = None) -> Any:
    """An array over another library's tensor, without a copy where that can be. What lies on a GPU
    stays there.

    ``copy=True`` gives it memory of its own. Raises DeviceError where the tensor is on a GPU that
    is not there, and CopyError (also a BufferError) where ``copy=False`` but one is needed.

    >>> jnp.from_dlpack(np.arange(3))
    Array([0, 1, 2])
    """
    found = methods.from_dlpack(x)
    shared = not found._on_gpu or found._place.lent or isinstance(x, Array)
    if copy is False and not shared:
        raise CopyError("this tensor begins where no array can: it needs a copy", at=here())
    return creation.asarray(found, device=device, copy=copy)


# ---- grids ---------------------------------------------------------------------------------------


def meshgrid(
    *xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy"
) -> tuple[Any, ...]:
    """Coordinate matrices from coordinate vectors, in a tuple; with indexing="xy" the first two
    axes are exchanged.

    >>> rows, columns = jnp.meshgrid(jnp.arange(2), jnp.arange(3), indexing="ij")
    >>> rows.shape, columns[0]
    ((2, 3), Array([0, 1, 2]))
    """
    if indexing not in ("xy", "ij"):
        raise ArgumentError(f"meshgrid: indexing is 'xy' or 'ij', not {indexing!r}", at=here())
    xs = [shaping.ravel(x) for x in xi]
    rank = len(xs)
    swap = indexing == "xy" and rank > 1
    place = [1, 0, *range(2, rank)] if swap else list(range(rank))
    shape = [1] * rank
    for k, x in enumerate(xs):
        shape[place[k]] = x.size
    found = []
    for k, x in enumerate(xs):
        thin = reshaped(x, tuple(x.size if d == place[k] else 1 for d in range(rank)))
        wide = thin if sparse else promotion.broadcast_to(thin, tuple(shape))
        found.append(placement.own(wide, xi[k]))
    return tuple(found)


def indices(dimensions: Any, dtype: Any = int, sparse: bool = False) -> Any:
    """The index along each axis of a grid, stacked (a tuple of thin arrays when sparse)."""
    given = (
        dimensions
        if np.ndim(dimensions) == 0 and not isinstance(dimensions, Iterator)
        else tuple(dimensions)
    )
    sizes, wanted = shape_tuple(given), canonical(dtype)
    if sparse:
        return tuple(
            creation.iota(wanted, tuple(n if j == k else 1 for j in range(len(sizes))), k)
            for k, n in enumerate(sizes)
        )
    if not sizes:
        return creation.zeros((0,), wanted)
    return shaping.stack([creation.iota(wanted, sizes, k) for k in range(len(sizes))])


def _axis_range(part: slice) -> Any:
    start = 0 if part.start is None else part.start
    step = 1 if part.step is None else part.step
    if isinstance(step, complex):
        return linspace(float(start), float(part.stop), int(abs(step)))
    return creation.arange(start, part.stop, step)


class _Grid:
    """``mgrid[0:3, 0:1:5j]`` (dense, stacked) and ``ogrid`` (thin arrays)."""

    def __init__(self, sparse: bool) -> None:
        self.sparse = sparse

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            return _axis_range(key)
        found = meshgrid(*(_axis_range(part) for part in key), indexing="ij", sparse=self.sparse)
        return tuple(found) if self.sparse else shaping.stack(promotion.promoted("mgrid", *found))


class _Concatenator:
    """``r_[1:4, 0, x]`` joins along axis 0; ``c_`` makes columns."""

    def __init__(self, columns: bool) -> None:
        self.columns = columns

    def __getitem__(self, key: Any) -> Any:
        parts = key if isinstance(key, tuple) else (key,)
        if isinstance(parts[0], str):
            return _joined(parts[0], [_part(p) for p in parts[1:]])
        arrays = [_part(p) for p in parts]
        if self.columns:
            arrays = [reshaped(a, (a.size, 1)) if a.ndim < 2 else a for a in arrays]
            return shaping.concatenate(arrays, -1)
        return shaping.concatenate([reshaped(a, (1,)) if a.ndim == 0 else a for a in arrays])


def _part(p: Any) -> Any:
    return _axis_range(p) if isinstance(p, slice) else as_array(p)


def _joined(directive: str, arrays: list[Any]) -> Any:
    """Arrays joined as a text says: "axis", "axis,rank", or "axis,rank,place", where the axes of an
    array with fewer than ``rank`` begin at ``place`` (-1: they are the last ones).
    """
    if directive in ("r", "c"):
        raise ArgumentError(f"r_[{directive!r}]: there are no matrices", at=here())
    try:
        axis, rank, place = (
            (*map(int, directive.split(",")), 0, -1)[:3]
            if (directive.count(",") == 0)
            else (*map(int, directive.split(",")), -1)[:3]
        )
    except ValueError:
        raise ArgumentError(f"r_: there is no directive {directive!r}", at=here()) from None
    wide = []
    for a in arrays:
        more = max(rank - a.ndim, 0) if a.ndim else max(rank, 1)
        first = more if place == -1 else place % (rank + 1)
        shape = (1,) * min(first, more) + a.shape + (1,) * (more - min(first, more))
        wide.append(reshaped(a, shape))
    return shaping.concatenate(wide, axis)


class _Slices:
    """``s_[1:, None]``: an index as a value; ``index_exp`` gives a tuple always."""

    def __init__(self, always_tuple: bool) -> None:
        self.always_tuple = always_tuple

    def __getitem__(self, key: Any) -> Any:
        return (key,) if self.always_tuple and not isinstance(key, tuple) else key


mgrid, ogrid = _Grid(False), _Grid(True)
r_, c_ = _Concatenator(False), _Concatenator(True)
s_, index_exp = _Slices(False), _Slices(True)


# ---- index arrays --------------------------------------------------------------------------------


def ix_(*args: Any) -> tuple[Any, ...]:
    """Index vectors shaped so that together they index a grid."""
    found = []
    for k, x in enumerate(args):
        a = as_array(x)
        if a.size == 0 and not hasattr(x, "dtype"):
            a = convert(a, I64)  # an empty list: no indices
        if a.ndim != 1:
            raise ShapeError(f"ix_: takes vectors, not {a.type}", at=here())
        if kind(a.dtype) == "b":
            a = Array(np.flatnonzero(a.concrete("ix_() with a mask")))
        found.append(reshaped(a, tuple(a.size if j == k else 1 for j in range(len(args)))))
    return tuple(found)


def _positions(mask: np.ndarray) -> tuple[Any, ...]:
    return tuple(Array(k) for k in np.nonzero(mask))


def tril_indices(n: int, k: int = 0, m: int | None = None) -> tuple[Any, Any]:
    """Row and column numbers of the elements at and below the k-th diagonal."""
    return _positions(np.tri(n, m, k, dtype=bool))


def triu_indices(n: int, k: int = 0, m: int | None = None) -> tuple[Any, Any]:
    """Row and column numbers of the elements at and above the k-th diagonal."""
    return _positions(~np.tri(n, m, k - 1, dtype=bool))


def tril_indices_from(arr: Any, k: int = 0) -> tuple[Any, Any]:
    """``tril_indices`` for a matrix of the shape of ``arr``."""
    rows, columns = _matrix_shape("tril_indices_from", arr)
    return tril_indices(rows, k, columns)


def triu_indices_from(arr: Any, k: int = 0) -> tuple[Any, Any]:
    """``triu_indices`` for a matrix of the shape of ``arr``."""
    rows, columns = _matrix_shape("triu_indices_from", arr)
    return triu_indices(rows, k, columns)


def _matrix_shape(name: str, arr: Any) -> tuple[int, int]:
    shape = as_array(arr).shape
    if len(shape) != 2:
        raise ShapeError(f"{name}: takes a matrix, not an array of shape {shape}", at=here())
    return shape[0], shape[1]


def diag_indices(n: int, ndim: int = 2) -> tuple[Any, ...]:
    """The index arrays of the main diagonal."""
    return (creation.arange(n),) * ndim


def diag_indices_from(arr: Any) -> tuple[Any, ...]:
    """``diag_indices`` for an array with equal sizes."""
    a = as_array(arr)
    if a.ndim < 2 or len(set(a.shape)) != 1:
        raise ShapeError(f"diag_indices_from: all axes must have one size, not {a.type}", at=here())
    return diag_indices(a.shape[0], a.ndim)


def mask_indices(n: int, mask_func: Callable[..., Any], k: int = 0) -> tuple[Any, ...]:
    """The positions that ``mask_func`` (triu, tril ...) leaves non-zero in an n x n matrix."""
    return _positions(np.asarray(mask_func(creation.ones((n, n), int), k)) != 0)


def unravel_index(indices: Any, shape: Any, order: str = "C") -> tuple[Any, ...]:
    """Positions in the flattened array as one index per axis; with ``order`` "F" the first axis
    runs fastest.
    """
    if order == "F":
        return unravel_index(indices, shape_tuple(shape)[::-1])[::-1]
    sizes = shape_tuple(shape)
    flat = as_array(indices)
    if kind(flat.dtype) not in "iu":
        raise DTypeError(f"unravel_index: takes integers, not {flat.type}", at=here())
    data, count = flat._data, math.prod(sizes)
    if data is not None and data.size and not (0 <= data.min() and data.max() < count):
        raise OutOfBoundsError(f"unravel_index: an index is outside of {sizes}", at=here())
    found = []
    for n in reversed(sizes):
        found.append(ew.remainder(flat, n))
        flat = ew.floor_divide(flat, n)
    return tuple(reversed(found))


def ravel_multi_index(multi_index: Any, dims: Any, mode: Any = "raise", order: str = "C") -> Any:
    """One index per axis as positions in the flattened array; ``mode`` may name one way an axis."""
    sizes = shape_tuple(dims)
    parts = [as_array(x) for x in multi_index]
    if len(parts) != len(sizes):
        raise ArgumentError(
            f"ravel_multi_index: {len(parts)} indices for {len(sizes)} axes", at=here()
        )
    modes = list(mode) if isinstance(mode, tuple | list) else [mode] * len(sizes)
    if len(modes) != len(sizes) or not set(modes) <= {"raise", "wrap", "clip"}:
        raise ArgumentError(
            f"ravel_multi_index: mode is raise, wrap or clip, not {mode!r}", at=here()
        )
    found: Any = 0
    rows = list(zip(parts, sizes, modes, strict=True))
    for index, n, mode in rows if order == "C" else rows[::-1]:
        if mode == "wrap":
            index = ew.remainder(index, n)
        elif mode == "clip":
            index = ew.clip(index, 0, n - 1)
        elif mode == "raise":
            data = index.concrete("ravel_multi_index() with mode='raise'")
            if data.size and not (0 <= data.min() and data.max() < n):
                raise OutOfBoundsError(
                    f"ravel_multi_index: an index is outside an axis of size {n}", at=here()
                )
        found = ew.add(ew.multiply(found, n), index)
    return found


# ---- windows -------------------------------------------------------------------------------------


def _cosine_window(M: int, weights: Sequence[float]) -> Any:
    """Sum of cosines over M points; computed by NumPy in float64, M is static."""
    M = operator.index(M)
    if M <= 1:
        return creation.ones(max(M, 0))
    angle = 2 * np.pi * np.arange(M) / (M - 1)
    total = sum(w * np.cos(k * angle) for k, w in enumerate(weights))
    return Array(np.asarray(total).astype(config.default_float))


def hanning(M: int) -> Any:
    """The Hann window."""
    return _cosine_window(M, (0.5, -0.5))


def hamming(M: int) -> Any:
    """The Hamming window."""
    return _cosine_window(M, (0.54, -0.46))


def blackman(M: int) -> Any:
    """The Blackman window."""
    return _cosine_window(M, (0.42, -0.5, 0.08))


def bartlett(M: int) -> Any:
    """The triangular window."""
    return Array(np.bartlett(M).astype(config.default_float))


def kaiser(M: int, beta: Any) -> Any:
    """The Kaiser window of shape ``beta``."""
    if M <= 1:
        return creation.ones(max(M, 0))
    t = ew.subtract(ew.multiply(creation.arange(M, dtype=float), 2 / (M - 1)), 1)
    inside = ew.maximum(ew.subtract(1, ew.square(t)), 0)
    return ew.divide(i0(ew.multiply(beta, ew.sqrt(inside))), i0(as_array(beta)))


def vander(x: Any, N: int | None = None, increasing: bool = False) -> Any:
    """The powers of ``x`` as columns, the highest first unless ``increasing``."""
    x = as_array(x)
    if x.ndim != 1:
        raise ShapeError(f"vander: takes a vector, not {x.type}", at=here())
    n = x.size if N is None else integer(N, "vander: N")
    if n < 0:
        raise ArgumentError(f"vander: {n} columns", at=here())
    if n == 0:
        return promotion.filled(0, x.type.with_shape((x.size, 0)))
    columns = [ew.power(x, k) for k in range(n)]
    return shaping.stack(columns if increasing else columns[::-1], -1)
