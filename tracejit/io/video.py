"""Video frames: files to arrays (frames, height, width, channels), whole or a few at a time.

    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "clip.gif")
    >>> write_video(path, jnp.linspace(0, 1, 5 * 16).reshape(5, 4, 4), fps=10)
    >>> read_video(path, start=1, stop=4).shape
    (3, 4, 4, 3)

GIF, PNG and WebP animations go through Pillow; other files through imageio, with PyAV or the
ffmpeg of imageio-ffmpeg.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from tracejit.errors import ArgumentError, FileError, ShapeError
from tracejit.frontend.array import Array, from_numpy
from tracejit.io.files import (
    Stream,
    held,
    is_path,
    last_words,
    missing_file,
    not_installed,
    replacing,
    suffix,
    title,
    unreadable,
    whole,
)
from tracejit.io.images import animation_frames, as_pixels, to_uint8_frame, write_animation
from tracejit.source import here

_ANIMATIONS = (".gif", ".png", ".apng", ".webp")


class VideoInfo(NamedTuple):
    """What ``video_info`` knows of a file: ``frames`` is None where the file does not say."""

    frames: int | None
    height: int
    width: int
    fps: float


def _imageio(what: str) -> tuple[Any, str]:
    """imageio and the plugin of it that decodes video here."""
    try:
        import imageio.v3
    except ImportError:
        raise not_installed(what, "imageio", '"imageio[pyav]"') from None
    try:
        import av  # noqa: F401
    except ImportError:
        pass
    else:
        return imageio.v3, "pyav"
    try:
        import imageio_ffmpeg  # noqa: F401
    except ImportError:
        raise not_installed(what, "ffmpeg (PyAV or imageio-ffmpeg)", '"imageio[pyav]"') from None
    return imageio.v3, "FFMPEG"


def _check(what: str, path: Any) -> None:
    if not is_path(path):
        raise ArgumentError(
            f"{what}: video is read and written by path, not {type(path).__name__}", at=here()
        )


def _existing(what: str, path: Any) -> str:
    _check(what, path)
    try:
        with open(path, "rb"):
            pass
    except FileNotFoundError:
        missing_file(what, path)
    except IsADirectoryError:
        raise FileError(f"{what}: {title(path)} is a folder", at=here()) from None
    return str(path)


def _range(what: str, start: int, stop: int | None, step: int) -> tuple[int, int | None, int]:
    first = whole(what, "start", start, 0)
    last = None if stop is None else whole(what, "stop", stop, 0)
    return first, last, whole(what, "step", step, 1)


def video_info(path: Any) -> VideoInfo:
    """Number of frames (None if unknown), height, width and frames a second of a video.

    Raises MissingFileError, FileError, MissingPackageError.
    """
    what = "io.video_info"
    name = _existing(what, path)
    if suffix(path) in _ANIMATIONS:
        count, total = 0, 0.0
        for count, (frame, seconds) in enumerate(animation_frames(what, name, "RGB"), 1):  # noqa: B007
            total += seconds
        # durations are whole milliseconds: their sum is off in the last digits
        return VideoInfo(count, *frame.shape[:2], round(count / total, 6) if total else 0.0)
    imageio, plugin = _imageio(what)
    try:
        with imageio.imopen(name, "r", plugin=plugin) as file:
            meta = file.metadata(exclude_applied=False) if plugin == "pyav" else file.metadata()
            first = next(iter(file.iter()))
    except (OSError, ValueError, RuntimeError, StopIteration, SyntaxError) as error:
        raise unreadable(what, path, error) from None
    fps, seconds = float(meta.get("fps") or 0), float(meta.get("duration") or 0)
    known = fps > 0 and math.isfinite(seconds) and seconds > 0
    return VideoInfo(round(fps * seconds) if known else None, *first.shape[:2], fps)


def read_video(
    path: Any, start: int = 0, stop: int | None = None, step: int = 1, dtype: Any = None
) -> Array:
    """Frames ``start:stop:step`` of a video as (T, H, W, 3).

    ``dtype``: None for uint8, or as in ``read_image``. Frames after ``stop`` are not decoded.
    Raises MissingFileError, FileError for a file that is no video or has no frame in this range,
    ArgumentError, MissingPackageError.

    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "clip.gif")
    >>> write_video(path, jnp.linspace(0, 1, 5 * 16).reshape(5, 4, 4), fps=10)
    >>> read_video(path, step=2, dtype="float32").shape
    (3, 4, 4, 3)
    """
    what = "io.read_video"
    name, window = _existing(what, path), _range(what, start, stop, step)
    frames = list(_decoded(what, name, window))
    if not frames:
        raise FileError(f"{what}: {title(path)} has no frames in this range", at=here())
    return as_pixels(what, from_numpy(np.stack(frames)), dtype)


def iterate_video(
    path: Any,
    start: int = 0,
    stop: int | None = None,
    step: int = 1,
    dtype: Any = None,
    *,
    batch: int | None = None,
) -> Stream:
    """The frames of ``read_video`` one after the other, each (H, W, 3); with ``batch`` in arrays
    (batch, H, W, 3), of which the last may be shorter.

    Memory is that of one item. Raises as ``read_video`` where it is called, FileError later for a
    file that breaks off.

    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "clip.gif")
    >>> write_video(path, jnp.linspace(0, 1, 5 * 16).reshape(5, 4, 4), fps=10)
    >>> [frames.shape for frames in iterate_video(path, batch=3)]
    [(3, 4, 4, 3), (2, 4, 4, 3)]
    """
    what = "io.iterate_video"
    name, window = _existing(what, path), _range(what, start, stop, step)
    size = None if batch is None else whole(what, "batch", batch, 1)
    if suffix(path) not in _ANIMATIONS:
        _imageio(what)

    def items() -> Iterator[Array]:
        frames = _decoded(what, name, window)
        if size is None:
            yield from (as_pixels(what, from_numpy(frame), dtype) for frame in frames)
            return
        while group := list(itertools.islice(frames, size)):
            yield as_pixels(what, from_numpy(np.stack(group)), dtype)

    return Stream(items)


def _decoded(what: str, name: str, window: tuple[int, int | None, int]) -> Iterator[np.ndarray]:
    """Frames of a video as uint8 (H, W, 3)."""
    if suffix(name) in _ANIMATIONS:
        frames = (frame for frame, _ in animation_frames(what, name, "RGB"))
        yield from itertools.islice(frames, *window)
        return
    imageio, plugin = _imageio(what)
    frames = imageio.imiter(name, plugin=plugin)
    try:
        # no yield within the try: an exception of the caller's loop is not the file's
        wanted = itertools.islice(frames, *window)
        while True:
            try:
                frame = next(wanted, None)
            except (OSError, ValueError, RuntimeError, SyntaxError, IndexError) as error:
                raise unreadable(what, name, error) from None
            if frame is None:
                return
            yield np.asarray(frame)
    finally:
        frames.close()


def write_video(
    path: Any, frames: Any, fps: float = 30, codec: str | None = None, **options: Any
) -> None:
    """Write frames (T, H, W, C) or (T, H, W), C 1 or 3, as a video.

    ``frames``: an array or an iterable of images, which is taken one image at a time (for video,
    not for animations). uint8, or floats from 0 to 1. The suffix says what is written: ``.gif``
    ``.png`` ``.webp`` animations by Pillow, ``.mp4`` and what else ffmpeg knows through imageio,
    where H and W must be even. ``codec``: ffmpeg's name, "libx264" by default for .mp4. Further
    options go to Pillow or imageio. The file is written as a whole or not at all.

    Raises ShapeError, ArgumentError, MissingPackageError.
    """
    what = "io.write_video"
    _check(what, path)
    rate = float(fps)
    if not rate > 0 or not math.isfinite(rate):
        raise ArgumentError(f"{what}: fps is positive, not {fps}", at=here())
    if suffix(path) in _ANIMATIONS:
        write_animation(path, frames, fps=rate, **options)
        return
    imageio, plugin = _imageio(what)
    images = _images(what, frames)
    first = next(images, None)
    if first is None:
        raise ShapeError(f"{what}: no frames", at=here())
    failed: list[Exception] = []
    taken = _noting(itertools.chain([first], images), failed)
    with replacing(path, what) as temporary:
        try:
            if plugin == "FFMPEG":
                _by_ffmpeg(imageio, temporary, taken, rate, codec, options)
            else:
                _by_pyav(imageio, temporary, taken, rate, codec, options)
            if not failed and not os.path.exists(temporary):
                raise OSError("ffmpeg wrote nothing")
        except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
            if failed:
                raise failed[0] from None
            raise ArgumentError(
                f"{what}: ffmpeg cannot write {title(path)}", at=here(), notes=(last_words(error),)
            ) from None
        if failed:
            raise failed[0]


def _noting(frames: Iterator[np.ndarray], failed: list[Exception]) -> Iterator[np.ndarray]:
    """The frames; what goes wrong in making them is noted, for it is no fault of ffmpeg."""
    try:
        yield from frames
    except Exception as error:
        # the stream ends here: imageio would leave its ffmpeg running after an exception
        failed.append(error)


def _by_ffmpeg(
    imageio: Any, name: str, frames: Any, fps: float, codec: str | None, options: dict[str, Any]
) -> None:
    # blocks of 16 pixels, the default, would resize the frames
    chosen = {"fps": fps, "macro_block_size": 1, **({"codec": codec} if codec else {}), **options}
    with imageio.imopen(name, "w", plugin="FFMPEG", legacy_mode=False) as file:
        file.write(frames, is_batch=True, **chosen)


def _by_pyav(
    imageio: Any, name: str, frames: Any, fps: float, codec: str | None, options: dict[str, Any]
) -> None:
    with imageio.imopen(name, "w", plugin="pyav") as file:
        file.init_video_stream(codec or "libx264", fps=fps, **options)
        for frame in frames:
            file.write_frame(frame)


def _images(what: str, frames: Any) -> Iterator[np.ndarray]:
    """Each frame as uint8 (H, W, 3)."""
    shape = None
    for number, item in enumerate(held(what, frames) if hasattr(frames, "shape") else frames):
        frame = held(what, item)
        frame = frame[..., None] if frame.ndim == 2 else frame
        if frame.ndim != 3 or frame.shape[-1] not in (1, 3):
            raise ShapeError(
                f"{what}: frame {number} has shape {np.shape(item)}, not (H, W), (H, W, 1) or "
                "(H, W, 3)",
                at=here(),
            )
        shape = shape or frame.shape
        if frame.shape != shape:
            raise ShapeError(
                f"{what}: frame {number} has shape {frame.shape}, the first {shape}", at=here()
            )
        if frame.shape[0] % 2 or frame.shape[1] % 2 or 0 in frame.shape:
            raise ShapeError(
                f"{what}: height and width of a video are even, not {frame.shape[:2]}",
                at=here(),
                hint="jnp.pad(frames, ...) or frames[:, :-1, :-1], or write a .gif",
            )
        frame = to_uint8_frame(frame)
        yield np.ascontiguousarray(np.broadcast_to(frame, (*frame.shape[:2], 3)))
