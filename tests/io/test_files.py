"""Files and streams: new contents, pipes, what happens at the second loop, whole files or none."""

from __future__ import annotations

import io as python_io
import os
from pathlib import Path

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import io
from tracejit.errors import ArgumentError, FileError, MissingFileError, MissingPackageError


def test_file_objects_get_new_contents() -> None:
    file = python_io.BytesIO(b"old " * 1000)
    file.seek(7)
    io.save(file, {"w": jnp.ones(2)}, format="safetensors")
    assert file.tell() == 0 and not file.closed
    assert set(io.load(file)) == {"w"} and set(io.load(file)) == {"w"}


def test_a_failed_encoder_leaves_a_file_object_alone() -> None:
    pytest.importorskip("PIL.Image")
    file = python_io.BytesIO(b"old")
    with pytest.raises(ArgumentError):
        io.write_image(file, np.zeros((2, 2, 4)), format="jpeg")
    assert file.getvalue() == b"old"


def test_pipes() -> None:
    read, write = os.pipe()
    with open(write, "wb") as out, open(read, "rb") as source:
        io.write_audio(out, np.arange(4, dtype=np.int16), 8000)
        out.close()
        assert io.read_audio(source, scale=False).samples.ravel().tolist() == [0, 1, 2, 3]


def test_names_of_file_objects_say_their_format(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with open(path, "w+b") as file:
        io.save(file, [jnp.ones(2)])
        file.seek(0)
        assert io.load(file)[0].shape == (2,)
    path.write_bytes(b"broken")
    with open(path, "rb") as file, pytest.raises(FileError, match="a.npz"):
        io.load(file)


def test_streams_are_iterators_and_start_again_when_ended() -> None:
    made = io.batches(np.arange(6), 2)
    assert next(made).tolist() == [0, 1]
    assert [batch.tolist() for batch in made] == [[2, 3], [4, 5]]
    with pytest.raises(StopIteration):
        next(made)
    assert [batch.tolist() for batch in made] == [[0, 1], [2, 3], [4, 5]]
    assert len(made) == 3


def test_errors_that_are_pythons_too(tmp_path: Path) -> None:
    assert issubclass(MissingFileError, FileNotFoundError)
    assert issubclass(FileError, ValueError) and issubclass(MissingPackageError, ImportError)
    with pytest.raises(FileNotFoundError) as caught:
        io.load(tmp_path / "none.npz")
    assert isinstance(caught.value, tj.TracejitError) and caught.value.at is not None
    assert "^" in str(caught.value)
    frames = [entry.path.name for entry in caught.traceback]
    assert frames == ["test_files.py"]


def test_truncated_animations(tmp_path: Path) -> None:
    pytest.importorskip("PIL.Image")
    path = tmp_path / "a.gif"
    frames = np.random.default_rng(0).integers(0, 256, (4, 32, 32), np.uint8)
    io.write_animation(path, frames)
    whole = path.read_bytes()
    for size in (5, 100, len(whole) // 2):
        path.write_bytes(whole[:size])
        with pytest.raises(FileError, match="a.gif"):
            io.read_animation(path)
