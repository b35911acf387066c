"""Picking and replacing elements by position, condition or order; packing bits.

>>> put_along_axis(jnp.zeros((2, 2)), jnp.array([[1], [0]]), 5.0, axis=1, inplace=False)
Array([[0., 5.],
       [5., 0.]], dtype=float32)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tracejit.errors import ArgumentError, DTypeError
from tracejit.frontend import creation, indexing, ordering, promotion, reductions, shaping
from tracejit.frontend import elementwise as ew
from tracejit.frontend.array import Array, as_array
from tracejit.frontend.axes import axis_number, integer
from tracejit.frontend.promotion import convert, reshaped
from tracejit.ir.types import DTYPES, kind
from tracejit.numpy.host import write
from tracejit.source import here

U8, I64 = DTYPES["u8"], DTYPES["i64"]


def put(a: Any, ind: Any, v: Any, mode: str | None = None, *, inplace: bool = True) -> Any:
    """Elements of the flattened array replaced, in ``a`` itself or with inplace=False in a copy;
    ``v`` is repeated as needed.

    >>> a = jnp.zeros(3)
    >>> jnp.put(a, 1, 5.0)
    >>> a
    Array([0., 5., 0.], dtype=float32)
    """
    if inplace:
        return write("put", a, put(a, ind, v, mode, inplace=False))
    a, places, values = as_array(a), shaping.ravel(ind), shaping.ravel(v)
    if places.size == 0:
        return a
    repeats = -(-places.size // max(values.size, 1))
    values = shaping.cut(shaping.tile(values, repeats), 0, 0, places.size)
    mode = "error" if mode in (None, "raise") else mode
    if mode == "clip" and a.size:  # of negative places too: they do not count from the end
        places = ew.clip(places, 0, a.size - 1)
    return reshaped(indexing.updated(shaping.ravel(a), places, values, "set", mode), a.shape)


def put_along_axis(
    arr: Any,
    indices: Any,
    values: Any,
    axis: int | None,
    inplace: bool = True,
    *,
    mode: str | None = None,
) -> Any:
    """``arr`` with ``values`` at ``indices`` along ``axis``: what take_along_axis reads, written
    into ``arr`` itself or with inplace=False into a copy.
    """
    if inplace:
        found = put_along_axis(arr, indices, values, axis, False, mode=mode)
        return write("put_along_axis", arr, found)
    arr, index = as_array(arr), as_array(indices)
    if axis is None:
        flat = shaping.ravel(arr)
        return reshaped(
            indexing.updated(flat, indexing.along(flat, index, 0), values, "set", mode), arr.shape
        )
    return indexing.updated(arr, indexing.along(arr, index, axis), values, "set", mode)


def place(arr: Any, mask: Any, vals: Any, *, inplace: bool = True) -> Any:
    """``vals`` in turn, repeated as needed, for the elements of ``arr`` where ``mask`` holds: in
    ``arr`` itself, or with inplace=False in a copy.
    """
    if inplace:
        return write("place", arr, place(arr, mask, vals, inplace=False))
    a, values = as_array(arr), shaping.ravel(vals)
    flags = shaping.ravel(ew.truth(mask))
    number = ew.subtract(reductions.cumsum(flags), 1)
    chosen = indexing.take(
        convert(values, a.dtype), ew.remainder(number, max(values.size, 1)), mode="clip"
    )
    return reshaped(ew.select(flags, chosen, shaping.ravel(a)), a.shape)


def extract(condition: Any, arr: Any, *, size: int | None = None, fill_value: Any = 0) -> Any:
    """The elements of the flattened array where ``condition`` holds; a traced call needs
    ``size``.
    """
    return ordering.compress(
        shaping.ravel(condition), shaping.ravel(arr), size=size, fill_value=fill_value
    )


def flatnonzero(a: Any, *, size: int | None = None, fill_value: Any = None) -> Any:
    """Positions of the non-zero elements of the flattened array; a traced call needs ``size``."""
    return ordering.nonzero(shaping.ravel(a), size=size, fill_value=fill_value)[0]


def argwhere(a: Any, *, size: int | None = None, fill_value: Any = None) -> Any:
    """Positions of the non-zero elements, one row each; a traced call needs ``size``."""
    a = as_array(a)
    if a.ndim == 0:
        (found,) = ordering.nonzero(reshaped(a, (1,)), size=size, fill_value=fill_value)
        return creation.zeros((found.size, 0), I64)
    return shaping.stack(ordering.nonzero(a, size=size, fill_value=fill_value), 1)


# ---- partial order -------------------------------------------------------------------------------


def partition(a: Any, kth: Any, axis: int | None = -1, kind: Any = None, order: None = None) -> Any:
    """``a`` with element ``kth`` where sorting would put it, smaller ones before it (here: all
    sorted).
    """
    _check_kth("partition", a, kth, axis)
    return ordering.sort(a, axis)


def argpartition(
    a: Any, kth: Any, axis: int | None = -1, kind: Any = None, order: None = None
) -> Any:
    """The positions that partition ``a``."""
    _check_kth("argpartition", a, kth, axis)
    return ordering.argsort(a, axis)


def _check_kth(name: str, a: Any, kth: Any, axis: int | None) -> None:
    a = as_array(a)
    n = a.size if axis is None else a.shape[axis_number(name, axis, a.ndim)]
    several = isinstance(kth, tuple | list) or np.ndim(kth) == 1
    for k in kth if several else (kth,):
        if not -n <= integer(k, f"{name}: kth") < n:
            raise ArgumentError(f"{name}: kth = {k} is outside an axis of {n}", at=here())


def sort_complex(a: Any) -> Any:
    """``a`` sorted by real, then imaginary part, as complex numbers."""
    a = as_array(a)
    wide = a if kind(a.dtype) == "c" else ew.complex_of(a, promotion.filled(0, a.type))
    return ordering.sort(wide)


# ---- bits ----------------------------------------------------------------------------------------


def packbits(a: Any, axis: int | None = None, bitorder: str = "big") -> Any:
    """Eight booleans along ``axis`` as one uint8; the last ones are filled up with zeros."""
    a = as_array(a)
    if kind(a.dtype) not in "biu":
        raise DTypeError(f"packbits: takes booleans or integers, not {a.dtype}", at=here())
    bits = convert(ew.truth(a), U8)
    if axis is None:
        bits, axis = shaping.ravel(bits), 0
    bits = shaping.moveaxis(bits, axis, -1)
    n = bits.shape[-1]
    bits = shaping.padded(bits, [(0, 0, 0)] * (bits.ndim - 1) + [(0, -n % 8, 0)])
    bits = reshaped(bits, (*bits.shape[:-1], bits.shape[-1] // 8, 8))
    weights = Array(_bit_numbers(bitorder))
    packed = reductions.sum(ew.left_shift(bits, weights), -1, dtype=U8)
    return shaping.moveaxis(packed, -1, axis)


def unpackbits(
    a: Any, axis: int | None = None, count: int | None = None, bitorder: str = "big"
) -> Any:
    """Every uint8 as its eight bits along ``axis``."""
    a = as_array(a)
    if a.dtype != U8:
        raise DTypeError(f"unpackbits: takes uint8, not {a.dtype}", at=here())
    if axis is None:
        a, axis = shaping.ravel(a), 0
    a = shaping.moveaxis(a, axis, -1)
    shifted = ew.right_shift(reshaped(a, (*a.shape, 1)), Array(_bit_numbers(bitorder)))
    bits = reshaped(ew.bitwise_and(shifted, 1), (*a.shape[:-1], a.shape[-1] * 8))
    if count is not None:
        n = bits.shape[-1]
        keep = count if count >= 0 else n + count
        bits = shaping.cut(bits, bits.ndim - 1, 0, min(keep, n))
        bits = shaping.padded(bits, [(0, 0, 0)] * (bits.ndim - 1) + [(0, max(keep - n, 0), 0)])
    return shaping.moveaxis(bits, -1, axis)


def _bit_numbers(bitorder: str) -> np.ndarray:
    if bitorder not in ("big", "little"):
        raise ArgumentError(f"bitorder is 'big' or 'little', not {bitorder!r}", at=here())
    numbers = np.arange(8, dtype=np.uint8)
    return numbers[::-1].copy() if bitorder == "big" else numbers
