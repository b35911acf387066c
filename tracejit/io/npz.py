"""The npz format: a zip archive of .npy files, without pickle.

In: a binary file. Out: arrays by name. bfloat16, which .npy has not, is stored as uint16; what
that and the structure of the tree are says a member of its own, JSON as bytes.
"""

from __future__ import annotations

import json
import struct
import zipfile
import zlib
from typing import IO, Any

import numpy as np

from tracejit.errors import FileError
from tracejit.io.files import title, unreadable
from tracejit.ir.types import DTYPES, bfloat16
from tracejit.source import here

#: the member with structure, dtypes and metadata
RESERVED = "__tracejit__"


def write(
    file: IO[bytes], arrays: dict[str, np.ndarray], extra: dict[str, Any], compressed: bool
) -> None:
    """Write arrays and ``extra``, which JSON holds."""
    stored = {name: _plain(array) for name, array in arrays.items()}
    halves = [name for name, array in arrays.items() if array.dtype == bfloat16]
    note = json.dumps({**extra, "bfloat16": halves}).encode()
    stored[RESERVED] = np.frombuffer(note, np.uint8)
    method = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(file, "w", method, allowZip64=True) as archive:
        for name, array in stored.items():
            # a date of its own would make two files of one tree differ
            member = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            member.compress_type = method
            with archive.open(member, "w", force_zip64=True) as out:
                np.lib.format.write_array(out, np.asarray(array, order="C"), allow_pickle=False)


def _plain(array: np.ndarray) -> np.ndarray:
    return array.view(np.uint16) if array.dtype == bfloat16 else array


def read(file: IO[bytes], path: Any, what: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays and what ``extra`` was; an empty dict for a file that NumPy wrote."""
    arrays: dict[str, np.ndarray] = {}
    try:
        with zipfile.ZipFile(file) as archive:
            for member in archive.namelist():
                if not member.endswith(".npy"):
                    raise ValueError(f"member {member!r} is no array")
                with archive.open(member) as inner:
                    array = np.lib.format.read_array(inner, allow_pickle=False)
                    inner.read()  # what comes to the end is checked against the archive's sum
                arrays[member.removesuffix(".npy")] = array
        extra = json.loads(arrays.pop(RESERVED).tobytes()) if RESERVED in arrays else {}
        for name in extra.get("bfloat16", ()):
            arrays[name] = arrays[name].view(bfloat16)
    except _BROKEN as error:
        raise unreadable(what, path, error) from None
    return {name: _supported(what, path, name, array) for name, array in arrays.items()}, extra


_BROKEN = (
    *(zipfile.BadZipFile, zlib.error, struct.error, ValueError, KeyError, TypeError),
    *(EOFError, OSError, NotImplementedError, AttributeError, RuntimeError),
)


def _supported(what: str, path: Any, name: str, array: np.ndarray) -> np.ndarray:
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if array.dtype not in DTYPES.values():
        raise FileError(
            f"{what}: {name!r} of {title(path)} has dtype {array.dtype}, which is not supported",
            at=here(),
        )
    return np.ascontiguousarray(array) if array.ndim else array
