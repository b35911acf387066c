"""DLPack capsules by hand, so that what lies on a GPU changes hands without a copy and any dtype.

    capsule = export(Tensor(address, (2, 3), None, dtype, (CUDA, 0), owner), versioned=True)
    tensor = take(capsule)                      tensor.owner keeps the memory

The layout is that of dlpack.h, version 1.0 (https://dmlc.github.io/dlpack/latest/c_api.html).
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, Structure, c_int32, c_int64, c_uint8, c_uint16, c_uint32, c_uint64
from ctypes import c_void_p as pointer
from math import prod
from sys import getrefcount
from typing import Any

import numpy as np

from tracejit.ir.types import DTYPES, short
from tracejit.record import dataclass

#: DLDeviceType
CPU, CUDA, CUDA_MANAGED = 1, 2, 13
#: DLDataTypeCode by the first letter of a dtype's short name
_CODES = {"i": 0, "u": 1, "f": 2, "bf": 4, "c": 5, "bool": 6}
_NAMES = {False: b"dltensor", True: b"dltensor_versioned"}
_USED = {False: b"used_dltensor", True: b"used_dltensor_versioned"}


@dataclass(frozen=True)
class Tensor:
    """Memory and how to read it; ``strides`` in elements, None for row-major order. ``owner``
    keeps the memory.
    """

    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None
    dtype: np.dtype
    device: tuple[int, int]
    owner: Any


class _Device(Structure):
    _fields_ = (("type", c_int32), ("id", c_int32))


class _DataType(Structure):
    _fields_ = (("code", c_uint8), ("bits", c_uint8), ("lanes", c_uint16))


class _Tensor(Structure):
    _fields_ = (
        ("data", pointer),
        ("device", _Device),
        ("ndim", c_int32),
        ("dtype", _DataType),
        ("shape", POINTER(c_int64)),
        ("strides", POINTER(c_int64)),
        ("byte_offset", c_uint64),
    )


_Deleter = ctypes.CFUNCTYPE(None, pointer)


class _Managed(Structure):
    _fields_ = (("tensor", _Tensor), ("context", pointer), ("deleter", _Deleter))


class _Versioned(Structure):
    _fields_ = (
        ("major", c_uint32),
        ("minor", c_uint32),
        ("context", pointer),
        ("deleter", _Deleter),
        ("flags", c_uint64),
        ("tensor", _Tensor),
    )


_LAYOUTS: dict[bool, Any] = {False: _Managed, True: _Versioned}

_new = ctypes.PYFUNCTYPE(ctypes.py_object, pointer, ctypes.c_char_p, pointer)(
    ("PyCapsule_New", ctypes.pythonapi)
)
_is_valid = ctypes.PYFUNCTYPE(ctypes.c_int, pointer, ctypes.c_char_p)(
    ("PyCapsule_IsValid", ctypes.pythonapi)
)
_content = ctypes.PYFUNCTYPE(pointer, pointer, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)
_rename = ctypes.PYFUNCTYPE(ctypes.c_int, pointer, ctypes.c_char_p)(
    ("PyCapsule_SetName", ctypes.pythonapi)
)

#: what was exported, by the address of its record, until the other side lets go of it
_exported: dict[int, Any] = {}


@_Deleter
def _let_go(record: int | None) -> None:
    _exported.pop(record or 0, None)


#: capsules that nobody may have taken yet. They have no destructor: one written in Python loses the
#: error with which a consumer refuses a capsule
_waiting: list[Any] = []


def sweep() -> None:
    """Forget capsules that were taken, and what those hold that nobody else has any more."""
    for k in reversed(range(len(_waiting))):
        place = id(_waiting[k])
        name = next((name for name in _NAMES.values() if _is_valid(place, name)), None)
        if name is not None and getrefcount(_waiting[k]) > _ALONE:
            continue
        if name is not None:
            _exported.pop(_content(place, name), None)
        del _waiting[k]


_waiting.append(object())
_ALONE = getrefcount(_waiting[0])
_waiting.clear()


def code_of(dtype: np.dtype) -> int:
    """The DLDataTypeCode of a dtype."""
    name = short(dtype)
    return _CODES[name if name == "bool" else name.rstrip("0123456789")]


def export(tensor: Tensor, *, versioned: bool) -> Any:
    """A capsule over the memory; ``versioned`` is for those who take DLPack 1.0."""
    record = _LAYOUTS[versioned]()
    ndim = len(tensor.shape)
    steps = tensor.strides or row_major(tensor.shape)
    sizes = (c_int64 * max(2 * ndim, 1))(*tensor.shape, *steps)
    start = ctypes.addressof(sizes)
    held = record.tensor
    held.data = tensor.address or None
    held.device = _Device(*tensor.device)
    held.ndim = ndim
    held.dtype = _DataType(code_of(tensor.dtype), 8 * tensor.dtype.itemsize, 1)
    held.shape = ctypes.cast(start, POINTER(c_int64))
    held.strides = ctypes.cast(start + 8 * ndim, POINTER(c_int64))
    if versioned:
        record.major = 1
    record.deleter = _let_go
    address = ctypes.addressof(record)
    _exported[address] = (record, sizes, tensor.owner)
    sweep()
    capsule = _new(address, _NAMES[versioned], None)
    _waiting.append(capsule)
    return capsule


def row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides, in elements, of a contiguous array."""
    return tuple(prod(shape[k + 1 :]) for k in range(len(shape)))


class _Owner:
    """Tells the producer of a tensor when nobody reads it any more."""

    def __init__(self, record: Any) -> None:
        self.record = record

    def __del__(self) -> None:
        if self.record.deleter:
            self.record.deleter(ctypes.addressof(self.record))


def take(capsule: Any) -> Tensor:
    """The tensor of a capsule, which is used up. Raises BufferError for a dtype that arrays do not
    have, or a capsule of another version.
    """
    place = id(capsule)
    versioned = next((v for v, name in _NAMES.items() if _is_valid(place, name)), None)
    if versioned is None:
        raise BufferError("this is no DLPack capsule, or one that was taken before")
    record = _LAYOUTS[versioned].from_address(_content(place, _NAMES[versioned]))
    if versioned and record.major != 1:
        raise BufferError(f"DLPack {record.major}.{record.minor} is not supported")
    held = record.tensor
    width = (held.dtype.code, held.dtype.bits, held.dtype.lanes)
    dtype = next((d for d in DTYPES.values() if (code_of(d), 8 * d.itemsize, 1) == width), None)
    if dtype is None:
        raise BufferError("arrays of this dtype are not supported")
    _rename(place, _USED[versioned])
    shape = tuple(held.shape[k] for k in range(held.ndim))
    strides = tuple(held.strides[k] for k in range(held.ndim)) if held.strides else None
    address = (held.data or 0) + held.byte_offset
    return Tensor(
        address, shape, strides, dtype, (held.device.type, held.device.id), _Owner(record)
    )
