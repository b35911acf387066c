"""Sound: WAV files to arrays (samples, channels) and back, through ``scipy.io.wavfile``.

>>> import io
>>> file = io.BytesIO()
>>> tone = jnp.sin(2 * np.pi * 440 * jnp.arange(800) / 8000)
>>> write_audio(file, tone, 8000)
>>> samples, rate = read_audio(file)
>>> samples.shape, rate
((800, 1), 8000)
"""

from __future__ import annotations

import struct
import warnings
import wave
from typing import Any, NamedTuple

import numpy as np

from tracejit.errors import ArgumentError, DTypeError, ShapeError
from tracejit.frontend.array import Array, from_numpy
from tracejit.hints import name as name_hint
from tracejit.io.files import (
    dtype_of,
    held,
    not_installed,
    reading,
    unreadable,
    whole,
    writing,
)
from tracejit.ir.types import kind
from tracejit.source import here

_FORMATS = ("uint8", "int16", "int24", "int32", "float32", "float64")


class Audio(NamedTuple):
    """``samples`` (T, channels) and ``rate``, samples a second."""

    samples: Array
    rate: int


def _wavfile(what: str) -> Any:
    try:
        import scipy.io.wavfile
    except ImportError:
        raise not_installed(what, "SciPy", "scipy") from None
    return scipy.io.wavfile


def read_audio(path: Any, dtype: Any = "float32", *, scale: bool = True) -> Audio:
    """A WAV file as (samples, rate): samples (T, channels) of the floating ``dtype``.

    Integer formats of 8 to 32 bits are scaled to [-1, 1), floating ones stay as they are. With
    ``scale=False`` the numbers are those of the file: uint8, int16, int32 (24 bits in the upper
    ones) or floats, and ``dtype`` has no effect.

    Raises MissingFileError, FileError for a file that is truncated or no WAV, DTypeError for a
    ``dtype`` that is not floating.

    >>> import io
    >>> file = io.BytesIO()
    >>> write_audio(file, np.array([[0, -32768], [16384, 32767]], np.int16), 44100)
    >>> read_audio(file).samples
    Array([[ 0.       , -1.       ],
           [ 0.5      ,  0.9999695]], dtype=float32)
    """
    what = "io.read_audio"
    wanted = _floating(what, dtype)
    wavfile = _wavfile(what)
    with reading(path, what) as file:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            try:
                rate, data = wavfile.read(file)
            except (ValueError, EOFError, IndexError, ZeroDivisionError, struct.error) as error:
                raise unreadable(what, path, error) from None
    for warning in told:
        # other warnings are of chunks with titles and the like, which are no sound
        if "EOF" in str(warning.message):
            raise unreadable(what, path, warning.message)
    samples = data[:, None] if data.ndim == 1 else data
    return Audio(from_numpy(_scaled(samples, wanted) if scale else _native(samples)), int(rate))


def _floating(what: str, dtype: Any) -> np.dtype:
    wanted = dtype_of(what, dtype)
    if kind(wanted) != "f":
        raise DTypeError(
            f"{what}: dtype is floating, not {wanted}",
            at=here(),
            hint="scale=False gives the integers of the file",
        )
    return wanted


def _native(samples: np.ndarray) -> np.ndarray:
    return np.array(samples, samples.dtype.newbyteorder("="))


def _scaled(samples: np.ndarray, wanted: np.dtype) -> np.ndarray:
    if samples.dtype.kind == "f":
        return samples.astype(wanted)
    half = 2.0 ** (8 * samples.dtype.itemsize - 1)
    centre = half if samples.dtype.kind == "u" else 0.0
    return ((samples.astype(np.float64) - centre) / half).astype(wanted)


def write_audio(path: Any, samples: Any, rate: int, format: str | None = None) -> None:
    """Write samples (T, channels) or (T,) as a WAV file.

    ``format``: "uint8", "int16", "int24", "int32", "float32" or "float64"; by default the dtype of
    samples of one of these, int16 for floats. Floats from -1 to 1 become integers by rounding,
    those outside are clipped; integers are written as they are, in their own format only. ``rate``:
    samples a second. A path is written as a whole or not at all.

    Raises ShapeError, DTypeError, ArgumentError for an unknown format, a wrong rate or nan.

    >>> import io
    >>> file = io.BytesIO()
    >>> write_audio(file, jnp.array([0.0, 0.5, 2.0]), 8000, format="int24")
    >>> read_audio(file).samples.ravel()
    Array([0.        , 0.5       , 0.9999999], dtype=float32)
    """
    what = "io.write_audio"
    data = held(what, samples)
    if data.ndim not in (1, 2) or (data.ndim == 2 and data.shape[1] == 0):
        raise ShapeError(
            f"{what}: samples have shape (T,) or (T, channels), not {data.shape}", at=here()
        )
    if data.ndim == 2 and data.shape[1] > 65535:
        raise ShapeError(
            f"{what}: {data.shape[1]} channels",
            at=here(),
            hint="samples come first: transpose it",
        )
    number = whole(what, "rate", rate, 1)
    chosen = _chosen(what, data, format)
    stored = _stored(what, data, chosen)
    with writing(path, what) as file:
        if chosen == "int24":
            _write_24(file, stored, number)
        else:
            _wavfile(what).write(file, number, np.ascontiguousarray(stored))


def _chosen(what: str, data: np.ndarray, format: str | None) -> str:
    is_float = kind(data.dtype) == "f"
    if not is_float and data.dtype.name not in _FORMATS:
        raise DTypeError(
            f"{what}: samples are floating, uint8, int16 or int32, not {data.dtype}", at=here()
        )
    if format is None:
        return "int16" if is_float else data.dtype.name
    if format not in _FORMATS:
        hint = name_hint(str(format), _FORMATS)
        raise ArgumentError(f"{what}: there is no format {format!r}", at=here(), hint=hint)
    if not is_float and format != data.dtype.name:
        raise DTypeError(
            f"{what}: {data.dtype} samples are not written as {format}",
            at=here(),
            hint="scale them to floats from -1 to 1 first",
        )
    return format


def _stored(what: str, data: np.ndarray, chosen: str) -> np.ndarray:
    if kind(data.dtype) != "f":
        return data
    if chosen.startswith("float"):
        return data.astype(chosen)
    if np.isnan(data.astype(np.float64)).any():
        raise ArgumentError(f"{what}: samples contain nan, which {chosen} has not", at=here())
    bits = int(chosen.lstrip("uint"))
    half = 2 ** (bits - 1)
    whole_numbers = np.clip(np.rint(data.astype(np.float64) * half), -half, half - 1)
    if chosen == "uint8":
        return (whole_numbers + 128).astype(np.uint8)
    return whole_numbers.astype(np.int32 if bits > 16 else np.int16)


def _write_24(file: Any, samples: np.ndarray, rate: int) -> None:
    """24 bits: three bytes of each number, little end first, which SciPy does not write."""
    columns = samples.reshape(len(samples), -1)
    packed = np.ascontiguousarray(columns, "<i4").view(np.uint8).reshape(-1, 4)[:, :3]
    out = wave.open(file, "wb")
    out.setnchannels(columns.shape[1])
    out.setsampwidth(3)
    out.setframerate(rate)
    out.writeframes(packed.tobytes())
    out.close()
