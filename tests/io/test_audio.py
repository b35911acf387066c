"""Sound: what SciPy and Python's wave write is read, ours comes back, errors."""

from __future__ import annotations

import io as python_io
import sys
import wave
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.io.wavfile

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import io
from tracejit.errors import (
    ArgumentError,
    DTypeError,
    FileError,
    MissingFileError,
    MissingPackageError,
    ShapeError,
)

SHAPES = st.tuples(st.integers(0, 9), st.integers(1, 3))
FORMATS = {"uint8": 2.0**7, "int16": 2.0**15, "int24": 2.0**23, "int32": 2.0**31}


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float32", "float64"])
@hypothesis.given(data=st.data())
def test_samples_come_back(dtype: str, data: Any) -> None:
    floats = dict(elements=st.floats(-1, 1, width=32)) if dtype.startswith("f") else {}
    samples = data.draw(hnp.arrays(dtype, SHAPES, **floats))
    file = python_io.BytesIO()
    io.write_audio(file, samples, 8000, format=dtype)
    back, rate = io.read_audio(file, scale=False)
    assert rate == 8000 and back.dtype == dtype
    np.testing.assert_array_equal(back, samples)
    rate, scipys = scipy.io.wavfile.read(file)
    np.testing.assert_array_equal(scipys.reshape(samples.shape), samples)
    scaled = io.read_audio(file, "float64").samples
    centre, half = (128, 128.0) if dtype == "uint8" else (0, FORMATS.get(dtype, 1.0))
    np.testing.assert_array_equal(scaled, (samples.astype(float) - centre) / half)
    assert io.read_audio(file).samples.dtype == np.float32


@pytest.mark.parametrize("format", FORMATS)
def test_floats_to_integers(tmp_path: Path, format: str) -> None:
    path, half = tmp_path / "a.wav", FORMATS[format]
    x = np.linspace(-1.1, 1.1, 201)
    io.write_audio(path, jnp.asarray(np.stack([x, -x], 1)), 44100, format=format)
    back, rate = io.read_audio(path, dtype="float64")
    assert back.shape == (201, 2) and rate == 44100
    expected = np.clip(np.rint(x * half), -half, half - 1) / half
    np.testing.assert_array_equal(back[:, 0], expected)
    with wave.open(str(path)) as file:
        assert file.getsampwidth() * 8 == int(format.lstrip("uint"))
        assert (file.getnchannels(), file.getnframes()) == (2, 201)


def test_defaults(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    io.write_audio(path, jnp.zeros(5), 8000)
    assert io.read_audio(path, scale=False).samples.dtype == np.int16
    io.write_audio(path, jnp.zeros(5, "bfloat16"), 8000, format="float32")
    assert io.read_audio(path, "bfloat16").samples.dtype == jnp.bfloat16
    io.write_audio(path, np.zeros((0, 2), np.int16), 8000)
    assert io.read_audio(path).samples.shape[0] == 0


def test_errors(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    wrong = [
        ((np.zeros((2, 2, 2)), 8000), {}, ShapeError, "samples have shape"),
        ((np.zeros((2, 0)), 8000), {}, ShapeError, "samples have shape"),
        ((np.zeros((1, 70000)), 8000), {}, ShapeError, "70000 channels"),
        ((np.zeros(2), 0), {}, ArgumentError, "rate is at least 1"),
        ((np.zeros(2), 44100.0), {}, ArgumentError, "rate is an integer"),
        ((np.zeros(2, np.int64), 8000), {}, DTypeError, "not int64"),
        ((np.zeros(2, complex), 8000), {}, DTypeError, "not complex128"),
        ((np.zeros(2), 8000), {"format": "int12"}, ArgumentError, "no format 'int12'"),
        ((np.zeros(2, np.int16), 8000), {"format": "int32"}, DTypeError, "not written as int32"),
        ((np.array([np.nan]), 8000), {}, ArgumentError, "contain nan"),
    ]
    for arguments, options, kind, message in wrong:
        with pytest.raises(kind, match=message) as caught:
            io.write_audio(path, *arguments, **options)
        assert "test_audio.py" in str(caught.value)
    with pytest.raises(tj.TracejitError, match="io.write_audio"):
        tj.jit(lambda x: io.write_audio(path, x, 8000))(jnp.zeros(3))
    assert not list(tmp_path.iterdir())
    with pytest.raises(MissingFileError):
        io.read_audio(path)
    io.write_audio(path, np.zeros(1000), 8000)
    whole = path.read_bytes()
    for raw in (b"", b"no sound at all", whole[:20], whole[:60], whole[:-1]):
        path.write_bytes(raw)
        with pytest.raises(FileError, match="cannot read .*a.wav"):
            io.read_audio(path)
    path.write_bytes(whole)
    with pytest.raises(DTypeError, match="scale=False"):
        io.read_audio(path, dtype="int16")


def test_other_chunks_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    io.write_audio(path, np.arange(4, dtype=np.int16), 8000)
    whole = path.read_bytes() + b"id3 " + (4).to_bytes(4, "little") + b"abcd"
    path.write_bytes(whole[:4] + (len(whole) - 8).to_bytes(4, "little") + whole[8:])
    np.testing.assert_array_equal(io.read_audio(path, scale=False).samples[:, 0], np.arange(4))


def test_scipy_that_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "scipy.io.wavfile", None)
    with pytest.raises(MissingPackageError, match="io.read_audio needs SciPy"):
        io.read_audio(tmp_path / "a.wav")
