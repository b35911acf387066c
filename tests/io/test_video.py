"""Video frames: animations by Pillow, mp4 where there is an ffmpeg, errors."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import tracejit.numpy as jnp
from tracejit import io
from tracejit.errors import (
    ArgumentError,
    FileError,
    MissingFileError,
    MissingPackageError,
    ShapeError,
)

pytest.importorskip("PIL.Image")


def moving(count: int = 9) -> np.ndarray:
    y, x = np.mgrid[:32, :48]
    frames = [np.stack([4 * x + 8 * t, 7 * y, 0 * x + 20 * t], -1) % 256 for t in range(count)]
    return np.stack(frames).astype(np.uint8)


def gray(count: int = 5) -> np.ndarray:
    return np.stack([np.full((4, 6), 50 * n, np.uint8) for n in range(count)])


@pytest.fixture(params=["av", "imageio_ffmpeg"])
def ffmpeg(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each of the packages that decode video, the other one hidden."""
    pytest.importorskip("imageio")
    pytest.importorskip(request.param)
    other = {"av": "imageio_ffmpeg", "imageio_ffmpeg": "av"}[request.param]
    monkeypatch.setitem(sys.modules, other, None)
    return str(request.param)


# imageio leaves the pipes of its ffmpeg to the garbage collector
pipes = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


def test_animations(tmp_path: Path) -> None:
    path = tmp_path / "a.gif"
    io.write_video(path, gray(), fps=20)
    expected = np.repeat(gray()[..., None], 3, -1)
    np.testing.assert_array_equal(io.read_video(path), expected)
    np.testing.assert_array_equal(io.read_video(path, 1, 4, 2), expected[1:4:2])
    assert io.read_video(path, dtype="float32").dtype == np.float32
    assert io.video_info(path) == (5, 4, 6, pytest.approx(20))
    frames = list(io.iterate_video(path, start=1))
    np.testing.assert_array_equal(np.stack(frames), expected[1:])
    batches = io.iterate_video(path, batch=2)
    assert [b.shape[0] for b in batches] == [b.shape[0] for b in batches] == [2, 2, 1]
    with pytest.raises(ArgumentError, match="not known in advance"):
        len(batches)


@pipes
def test_mp4(tmp_path: Path, ffmpeg: str) -> None:
    path, frames = tmp_path / "a.mp4", moving()
    io.write_video(path, frames, fps=12)
    assert io.video_info(path) == (9, 32, 48, 12.0)
    back = np.asarray(io.read_video(path))
    assert back.shape == frames.shape and back.dtype == np.uint8
    assert np.abs(back.astype(int) - frames).mean() < 6  # the codec loses some
    np.testing.assert_array_equal(io.read_video(path, 2, 8, 3), back[2:8:3])
    batches = list(io.iterate_video(path, 1, batch=3, dtype="float32"))
    assert [b.shape[0] for b in batches] == [3, 3, 2] and batches[0].dtype == np.float32
    np.testing.assert_allclose(np.concatenate(batches), back[1:] / 255, rtol=1e-6)
    some = io.iterate_video(path)
    np.testing.assert_array_equal(next(some), back[0])
    del some
    # gray frames, floats, from a generator
    io.write_video(path, (jnp.asarray(f[..., 0] / 255) for f in frames), fps=29.97)
    assert io.read_video(path).shape == (9, 32, 48, 3)
    assert list(tmp_path.iterdir()) == [path]


@pipes
def test_errors_of_mp4(tmp_path: Path, ffmpeg: str) -> None:
    path, frames = tmp_path / "a.mp4", moving(4)
    with pytest.raises(ShapeError, match="are even"):
        io.write_video(path, frames[:, :-1])
    with pytest.raises(ShapeError, match="no frames"):
        io.write_video(path, frames[:0])
    with pytest.raises(ShapeError, match="frame 1 has shape"):
        io.write_video(path, [frames[0], frames[1, :16]])
    with pytest.raises(ShapeError, match="frame 0 has shape"):
        io.write_video(path, np.zeros((2, 4, 4, 4)))
    with pytest.raises(ArgumentError, match="ffmpeg cannot write"):
        io.write_video(path, frames, codec="none_such")
    with pytest.raises(ArgumentError, match="ffmpeg cannot write"):
        io.write_video(tmp_path / "a.zzz", frames)

    def breaks() -> Iterator[np.ndarray]:
        yield frames[0]
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        io.write_video(path, breaks())
    assert not list(tmp_path.iterdir())
    io.write_video(path, frames)
    whole = path.read_bytes()
    for raw in (b"", b"no video", whole[: len(whole) // 2]):
        path.write_bytes(raw)
        with pytest.raises(FileError, match="cannot read .*a.mp4"):
            io.read_video(path)
        with pytest.raises(FileError, match="cannot read .*a.mp4"):
            io.video_info(path)


def test_errors(tmp_path: Path) -> None:
    path = tmp_path / "a.gif"
    io.write_video(path, gray())
    with pytest.raises(FileError, match="no frames in this range"):
        io.read_video(path, start=9)
    with pytest.raises(ArgumentError, match="start is at least 0"):
        io.read_video(path, start=-1)
    with pytest.raises(ArgumentError, match="step is at least 1"):
        io.iterate_video(path, step=0)
    with pytest.raises(ArgumentError, match="batch is at least 1"):
        io.iterate_video(path, batch=0)
    with pytest.raises(ArgumentError, match="fps is positive"):
        io.write_video(path, gray(), fps=0)
    for call in (io.read_video, io.iterate_video, io.video_info):
        with pytest.raises(MissingFileError, match="none.mp4"):
            call(tmp_path / "none.mp4")
        with pytest.raises(ArgumentError, match="by path"):
            call(3)
        with pytest.raises(FileError, match="is a folder"):
            call(tmp_path)


def test_packages_that_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"some")
    for name in ("av", "imageio_ffmpeg"):
        monkeypatch.setitem(sys.modules, name, None)
    calls = (io.read_video, io.iterate_video, io.video_info)
    if "imageio" in sys.modules or __import__("importlib.util").util.find_spec("imageio"):
        for call in calls:
            with pytest.raises(MissingPackageError, match="needs ffmpeg"):
                call(path)
    monkeypatch.setitem(sys.modules, "imageio", None)
    monkeypatch.setitem(sys.modules, "imageio.v3", None)
    for call in (*calls, lambda p: io.write_video(p, moving(2))):
        with pytest.raises(MissingPackageError, match="needs imageio") as caught:
            call(path)
        assert 'pip install "imageio[pyav]"' in str(caught.value)
