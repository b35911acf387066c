"""The safetensors format: named tensors behind a header of JSON, read and written here.

In: a binary file. Out: for each name its dtype, shape and place; arrays of the bytes.

    8 bytes   the length of the header, little end first
    header    {"__metadata__": {...}, "w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
    data      the tensors one after the other, row by row, little end first

The format is that of https://github.com/huggingface/safetensors; reading it takes no package, and
bfloat16 and memory maps work for all dtypes. Of tracejit's dtypes it lacks complex128.
"""

from __future__ import annotations

import json
import math
import mmap
import sys
from io import BufferedIOBase
from typing import IO, Any, NamedTuple

import numpy as np

from tracejit.errors import DTypeError, FileError
from tracejit.io.files import title, unreadable
from tracejit.ir.types import DTYPES
from tracejit.source import here

#: the format's names of dtypes
NAMES = {
    DTYPES[short]: name
    for short, name in {
        **{"bool": "BOOL", "i8": "I8", "i16": "I16", "i32": "I32", "i64": "I64", "u8": "U8"},
        **{"u16": "U16", "u32": "U32", "u64": "U64", "f16": "F16", "bf16": "BF16"},
        **{"f32": "F32", "f64": "F64", "c64": "C64"},
    }.items()
}
_DTYPES = {name: dtype for dtype, name in NAMES.items()}
#: what the format's own library reads at most
_LONGEST_HEADER = 100_000_000


class Place(NamedTuple):
    """A tensor of a file: ``start`` counts from the start of the file. ``dtype`` None: a dtype that
    tracejit has not, called ``called``.
    """

    dtype: np.dtype | None
    shape: tuple[int, ...]
    start: int
    stop: int
    called: str


class Header(NamedTuple):
    """What a file holds."""

    tensors: dict[str, Place]
    metadata: dict[str, str]


def write(file: IO[bytes], arrays: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    """Write arrays, largest items first, so that each one lies at a multiple of its item's size."""
    order = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    end = 0
    for name in order:
        array = arrays[name]
        start, end = end, end + array.nbytes
        kind = NAMES[array.dtype]
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little"))
    file.write(text)
    for name in order:
        array = np.ascontiguousarray(arrays[name])
        if sys.byteorder == "big":
            array = array.byteswap()
        file.write(array.tobytes() if array.nbytes < 65536 else memoryview(_bytes(array)))


def _bytes(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1).view(np.uint8)


def read_header(file: IO[bytes], path: Any, what: str) -> Header:
    """What the file holds, checked: places lie within the file, one behind the other."""
    start = file.tell()
    size = file.seek(0, 2) - start
    file.seek(start)
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > min(size - 8, _LONGEST_HEADER):
        raise _broken(what, path, "it is truncated, or no safetensors file")
    raw = file.read(length)
    try:
        listed = json.loads(raw.decode())
        if not isinstance(listed, dict):
            raise ValueError("the header is no object")
        metadata = listed.pop("__metadata__", None) or {}
        found = {name: _place(entry, start + 8 + length) for name, entry in listed.items()}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _broken(what, path, f"its header is broken: {error}") from None
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise _broken(what, path, "its header is broken: metadata are texts")
    end = start + 8 + length
    for name, place in sorted(found.items(), key=lambda item: item[1][2:4]):
        if place.start != end:
            raise _broken(what, path, f"tensor {name!r} does not lie where the one before ends")
        end = place.stop
    if end != start + size:
        said = "is truncated" if end > start + size else "has more than its header says"
        raise _broken(what, path, f"it {said}: {size} bytes, {end - start} by the header")
    return Header(found, metadata)


def _broken(what: str, path: Any, why: str) -> FileError:
    return unreadable(what, path, ValueError(why))


def _place(entry: Any, data: int) -> Place:
    shape, (start, stop) = tuple(entry["shape"]), entry["data_offsets"]
    if not all(type(n) is int and n >= 0 for n in (*shape, start, stop)):
        raise ValueError("shapes and offsets are whole numbers")
    if not isinstance(entry["dtype"], str):
        raise ValueError("dtypes are names")
    dtype = _DTYPES.get(entry["dtype"])
    if stop < start:
        raise ValueError("a tensor ends before it starts")
    if dtype is not None and math.prod(shape) * dtype.itemsize != stop - start:
        raise ValueError(f"{stop - start} bytes for shape {list(shape)} of {entry['dtype']}")
    return Place(dtype, shape, data + start, data + stop, str(entry["dtype"]))


def read(file: IO[bytes], path: Any, what: str, name: str, place: Place) -> np.ndarray:
    """One tensor, copied into memory."""
    empty = _empty(what, path, name, place)
    file.seek(place.start)
    if empty.size:
        target = memoryview(_bytes(empty))
        if isinstance(file, BufferedIOBase):
            count = file.readinto(target)
        else:
            raw = file.read(len(target))
            count = len(raw)
            target[:count] = raw
        if count != len(target):
            raise _broken(what, path, f"tensor {name!r} is truncated")
    return empty.byteswap() if sys.byteorder == "big" else empty


def _empty(what: str, path: Any, name: str, place: Place) -> np.ndarray:
    if place.dtype is None:
        raise DTypeError(
            f"{what}: {name!r} of {title(path)} has dtype {place.called}, which is not supported",
            at=here(),
        )
    return np.empty(place.shape, place.dtype)


def mapped(buffer: mmap.mmap, path: Any, what: str, name: str, place: Place) -> np.ndarray:
    """One tensor over a memory map, or a copy where its bytes do not lie at multiples of the item
    size.
    """
    if place.dtype is None or place.start == place.stop:
        return _empty(what, path, name, place)
    count = math.prod(place.shape)
    flat = np.frombuffer(buffer, place.dtype, count, place.start).reshape(place.shape)
    if sys.byteorder == "big":
        return flat.byteswap()
    return flat if flat.flags.aligned else flat.copy()


def memory_map(file: IO[bytes]) -> mmap.mmap:
    """The bytes of an open file. Pages that somebody writes to are copied, the file never changes.

    The map stays as long as arrays over it do.
    """
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
