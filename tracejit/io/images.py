"""Images and animations: files to arrays (height, width, channels) and back, through Pillow.

    >>> import io
    >>> file = io.BytesIO()
    >>> write_image(file, np.zeros((4, 6, 3), np.uint8), format="png")
    >>> read_image(file).shape
    (4, 6, 3)

Integers are 0 to 255 (uint8) or 0 to 65535 (uint16), floats are 0 to 1. Resizing and cropping of
arrays is ``tracejit.image``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from tracejit import numpy as jnp
from tracejit.errors import ArgumentError, DTypeError, ShapeError
from tracejit.frontend.array import Array, from_numpy
from tracejit.hints import name as name_hint
from tracejit.io.files import (
    array_like,
    dtype_of,
    held,
    is_path,
    not_installed,
    reading,
    suffix,
    title,
    unreadable,
    whole,
    writing,
)
from tracejit.ir.types import kind
from tracejit.source import here

#: Pillow's modes that are arrays as they stand
_PLAIN = {"L", "LA", "RGB", "RGBA", "F", "I"}
_CHANNELS = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_LARGEST = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535, np.dtype(np.bool_): 1}


class Animation(NamedTuple):
    """``frames`` (T, H, W, C) and ``durations`` (T,), float32 seconds."""

    frames: Array
    durations: Array


def _pillow(what: str) -> Any:
    try:
        import PIL.Image
        import PIL.ImageOps
        import PIL.ImageSequence
    except ImportError:
        raise not_installed(what, "Pillow", "pillow") from None
    return PIL


# ---- values ----


def to_float(x: Any, dtype: Any = "float32") -> Array:
    """Pixels as floats from 0 to 1: uint8 / 255, uint16 / 65535, bool 0 or 1, floats as they are.

    ``x``: any shape. Works under jit. Raises DTypeError for other dtypes.

    >>> to_float(np.array([0, 51, 255], np.uint8))
    Array([0. , 0.2, 1. ], dtype=float32)
    """
    wanted = dtype_of("io.to_float", dtype)
    if kind(wanted) != "f":
        raise DTypeError(f"io.to_float: the result is floating, not {wanted}", at=here())
    array = array_like("io.to_float", x)
    if kind(array.dtype) == "f":
        return array.astype(wanted)
    # 1/255 is not exact: divided in a precision that holds all of uint16
    wide = array.astype("float64" if wanted.itemsize == 8 else "float32")
    return (wide / _largest("io.to_float", array.dtype)).astype(wanted)


def to_uint8(x: Any) -> Array:
    """Pixels as uint8: floats from 0 to 1 times 255, rounded, those outside clipped, nan is 0;
    uint16 scaled down, bool to 0 and 255.

    ``x``: any shape. Works under jit. Raises DTypeError for other dtypes.

    >>> to_uint8(np.array([-1.0, 0.5, 1.0, np.nan]))
    Array([  0, 128, 255,   0], dtype=uint8)
    """
    return _to_integers("io.to_uint8", array_like("io.to_uint8", x), np.dtype(np.uint8))


def _to_integers(what: str, array: Array, wanted: np.dtype) -> Array:
    if array.dtype == wanted:
        return array
    top = _LARGEST[wanted]
    if kind(array.dtype) == "f":
        wide = array if array.dtype.itemsize >= 4 else array.astype("float32")
        clipped = jnp.clip(jnp.where(jnp.isnan(wide), 0, wide), 0, 1)
        return jnp.floor(clipped * top + 0.5).astype(wanted)
    largest = _largest(what, array.dtype)
    wide = array.astype("int32")
    return ((wide * top + largest // 2) // largest).astype(wanted)


def _largest(what: str, dtype: np.dtype) -> int:
    found = _LARGEST.get(dtype)
    if found is None:
        raise DTypeError(
            f"{what}: pixels are uint8, uint16, bool or floating, not {dtype}",
            at=here(),
            hint="divide by the largest value, so that they lie between 0 and 1",
        )
    return found


def as_pixels(what: str, array: Array, dtype: Any) -> Array:
    """Pixels in ``dtype``: uint8, uint16 or floating; None leaves them."""
    if dtype is None:
        return array
    wanted = dtype_of(what, dtype)
    if kind(wanted) == "f":
        return to_float(array, wanted)
    if wanted in (np.uint8, np.uint16):
        return _to_integers(what, array, wanted)
    raise DTypeError(f"{what}: dtype is uint8, uint16 or floating, not {wanted}", at=here())


# ---- layout ----


def to_chw(x: Any) -> Array:
    """Channels before height and width: (..., H, W, C) to (..., C, H, W), as PyTorch has it.

    Raises ShapeError for fewer than three axes.

    >>> to_chw(np.zeros((8, 32, 48, 3))).shape
    (8, 3, 32, 48)
    """
    return jnp.moveaxis(_image_axes("io.to_chw", x), -1, -3)


def to_hwc(x: Any) -> Array:
    """Channels last: (..., C, H, W) to (..., H, W, C). Raises ShapeError below three axes.

    >>> to_hwc(np.zeros((3, 32, 48))).shape
    (32, 48, 3)
    """
    return jnp.moveaxis(_image_axes("io.to_hwc", x), -3, -1)


def _image_axes(what: str, x: Any) -> Array:
    array = array_like(what, x)
    if array.ndim < 3:
        raise ShapeError(f"{what}: three axes at least, not shape {array.shape}", at=here())
    return array


def image_grid(images: Any, columns: int | None = None, padding: int = 2, fill: float = 0) -> Array:
    """Images (N, H, W, C) or (N, H, W) side by side in rows, as one image to look at.

    ``columns``: by default about the square root of N; ``padding`` pixels of the value ``fill`` lie
    between images. Returns (rows * (H + padding) - padding, ..., C) of the same dtype. Works under
    jit. Raises ShapeError for other ranks and for no images.

    >>> image_grid(np.ones((5, 4, 4, 3)), columns=3, padding=1).shape
    (9, 14, 3)
    """
    array = array_like("io.image_grid", images)
    if array.ndim not in (3, 4) or array.shape[0] == 0:
        raise ShapeError(
            f"io.image_grid: images have shape (N, H, W, C) or (N, H, W), N > 0, not {array.shape}",
            at=here(),
        )
    count, height, width = array.shape[:3]
    rest = array.shape[3:]
    across = math.ceil(math.sqrt(count)) if columns is None else columns
    across = min(whole("io.image_grid", "columns", across, 1), count)
    gap = whole("io.image_grid", "padding", padding, 0)
    down = -(-count // across)
    edges = [(0, down * across - count), (0, gap), (0, gap), *[(0, 0)] * len(rest)]
    padded = jnp.pad(array, edges, constant_values=fill)
    if down * across > count:  # places without an image have the colour of the gaps
        taken = jnp.arange(down * across) < count
        taken = taken.reshape(-1, *[1] * (array.ndim - 1))
        padded = jnp.where(taken, padded, jnp.asarray(fill, array.dtype))
    tiles = padded.reshape(down, across, height + gap, width + gap, *rest)
    tiles = jnp.swapaxes(tiles, 1, 2).reshape(down * (height + gap), across * (width + gap), *rest)
    return tiles[: down * (height + gap) - gap, : across * (width + gap) - gap]


# ---- single images ----


def read_image(
    path: Any, mode: str | None = None, dtype: Any = None, *, upright: bool = False
) -> Array:
    """An image file as (H, W, C).

    ``path``: a path or a binary file object, of any format that Pillow reads. ``mode``: one of
    Pillow's, for instance "L" (gray, C = 1), "RGB", "RGBA"; None keeps the file's, with palettes
    and colour spaces for print turned into RGB or RGBA. ``dtype``: None for the file's own (uint8;
    uint16 or int32 for deeper gray images, float32 for floating ones), "uint8", "uint16", or a
    floating dtype for values from 0 to 1. ``upright``: turn as the camera's note in the file says.

    Raises MissingFileError, FileError for a file that is truncated or no image, ArgumentError for
    an unknown mode, MissingPackageError without Pillow.

    >>> import io
    >>> file = io.BytesIO()
    >>> write_image(file, np.full((2, 2, 3), 51, np.uint8), format="png")
    >>> read_image(file, mode="L", dtype="float32").ravel()
    Array([0.2, 0.2, 0.2, 0.2], dtype=float32)
    """
    what = "io.read_image"
    return as_pixels(what, from_numpy(_decoded(what, path, mode, upright, None)), dtype)


def read_images(
    paths: Iterable[Any],
    size: tuple[int, int] | None = None,
    mode: str = "RGB",
    dtype: Any = None,
    *,
    upright: bool = False,
) -> Array:
    """Image files as one array (N, H, W, C).

    ``size``: (H, W), to which each image is resized by Pillow's bilinear filter, which averages
    where it shrinks; None if all have one size. The other arguments are those of ``read_image``.
    Raises ShapeError where sizes differ and none is given, and as ``read_image``.

    >>> import io
    >>> files = [io.BytesIO(), io.BytesIO()]
    >>> for n, file in enumerate(files, 2):
    ...     write_image(file, np.zeros((n, 3 * n, 3), np.uint8), format="png")
    >>> read_images(files, size=(2, 4), mode="L").shape
    (2, 2, 4, 1)
    """
    what = "io.read_images"
    if is_path(paths) or hasattr(paths, "read"):
        raise ArgumentError(f"{what}: a list of files is needed, not one", at=here())
    shape = None if size is None else _size(what, size)
    read: list[np.ndarray] = []
    names: list[str] = []
    for path in paths:
        image = _decoded(what, path, mode, upright, shape)
        names.append(title(path))
        if read and image.shape != read[0].shape:
            raise ShapeError(
                f"{what}: images differ in shape",
                at=here(),
                notes=(f"{read[0].shape}: {names[0]}", f"{image.shape}: {names[-1]}"),
                hint="size=(height, width) makes them equal",
            )
        read.append(image)
    if not read:
        raise ArgumentError(f"{what}: no files", at=here())
    return as_pixels(what, from_numpy(np.stack(read)), dtype)


def _size(what: str, size: Any) -> tuple[int, int]:
    if not isinstance(size, tuple | list) or len(size) != 2:
        raise ArgumentError(f"{what}: size is (height, width), not {size!r}", at=here())
    return whole(what, "height", size[0], 1), whole(what, "width", size[1], 1)


def _decoded(
    what: str, path: Any, mode: str | None, upright: bool, size: tuple[int, int] | None
) -> np.ndarray:
    pil = _pillow(what)
    _check_mode(what, pil, mode)
    with reading(path, what) as file:
        try:
            with pil.Image.open(file) as image:
                image.load()
                if upright:
                    image = pil.ImageOps.exif_transpose(image)
                image = _converted(pil, image, mode)
        except (OSError, ValueError, SyntaxError, EOFError, pil.Image.DecompressionBombError) as e:
            raise unreadable(what, path, e) from None
    if size is not None:
        image = image.resize(size[::-1], pil.Image.Resampling.BILINEAR)
    return _pixels(image)


def _check_mode(what: str, pil: Any, mode: str | None) -> None:
    known = ("L", "LA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "F", "I", "I;16")
    if mode is not None and mode not in known:
        raise ArgumentError(
            f"{what}: there is no mode {mode!r}", at=here(), hint=name_hint(str(mode), known)
        )


def _converted(pil: Any, image: Any, mode: str | None) -> Any:
    """The image in a mode whose pixels are numbers."""
    if image.mode.startswith("I;16") and mode != "I;16":
        if mode is None:
            return image
        if mode not in ("I", "F"):  # Pillow would clip what is above 255
            deep = np.asarray(image).astype(np.uint32)
            image = pil.Image.fromarray(((deep * 255 + 32767) // 65535).astype(np.uint8))
    if mode is not None:
        return image if image.mode == mode else image.convert(mode)
    if image.mode in _PLAIN:
        return image
    if image.mode == "1":
        return image.convert("L")
    alpha = image.mode in ("PA", "La", "RGBa") or "transparency" in image.info
    return image.convert("RGBA" if alpha else "RGB")


def _pixels(image: Any) -> np.ndarray:
    array = np.array(image)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    return array if array.ndim == 3 else array[..., None]


def write_image(path: Any, array: Any, format: str | None = None, **options: Any) -> None:
    """Write an image (H, W, C) or (H, W) with 1, 2, 3 or 4 channels: gray, gray and alpha, RGB,
    RGBA.

    uint8 and bool as they are; floats from 0 to 1 as ``to_uint8`` has it; uint16 with one channel
    keeps its depth (PNG, TIFF). ``format``: Pillow's name; by default that of the path's suffix.
    Further options are Pillow's, such as ``quality=90`` of JPEG. A path is written as a whole or
    not at all.

    Raises ShapeError, DTypeError, ArgumentError for an unknown format or one that cannot hold such
    an image, MissingPackageError.

    >>> import io
    >>> file = io.BytesIO()
    >>> write_image(file, np.linspace(0, 1, 12).reshape(3, 4), format="png")
    >>> read_image(file)[-1, -1]
    Array([255], dtype=uint8)
    """
    what = "io.write_image"
    pil = _pillow(what)
    image = _as_image(what, pil, held(what, array))
    chosen = _format(what, pil, path, format)
    _save(what, path, image, chosen, options)


def _save(what: str, path: Any, image: Any, chosen: str, options: dict[str, Any]) -> None:
    with writing(path, what) as file:
        try:
            image.save(file, format=chosen, **options)
        except (OSError, ValueError, TypeError, KeyError) as error:
            # a full disk is not the user's mistake: its number says so
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise ArgumentError(
                f"{what}: {chosen} cannot hold this image",
                at=here(),
                notes=(" ".join(str(error).split()),),
            ) from None


def _as_image(what: str, pil: Any, array: np.ndarray) -> Any:
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3:
        raise ShapeError(
            f"{what}: an image has shape (H, W, C) or (H, W), not {array.shape}",
            at=here(),
            hint="io.image_grid makes one image of many" if array.ndim == 4 else "",
        )
    if 0 in array.shape:
        raise ShapeError(f"{what}: an image of shape {array.shape} has no pixels", at=here())
    channels = array.shape[-1]
    if channels not in _CHANNELS:
        looks_first = array.shape[0] in _CHANNELS
        raise ShapeError(
            f"{what}: 1 to 4 channels, not {channels}",
            at=here(),
            notes=(f"shape {array.shape} is read as height, width, channels",),
            hint="io.to_hwc puts channels last" if looks_first else "",
        )
    if array.dtype == np.uint16 and channels == 1:
        return pil.Image.fromarray(np.ascontiguousarray(array[..., 0]))
    pixels = np.asarray(_to_integers(what, from_numpy(array), np.dtype(np.uint8)))
    flat = pixels[..., 0] if channels == 1 else pixels
    return pil.Image.fromarray(np.ascontiguousarray(flat))


def _format(what: str, pil: Any, path: Any, format: str | None) -> str:
    known = pil.Image.registered_extensions()
    pil.Image.init()
    if format is not None:
        chosen = {"JPG": "JPEG", "TIF": "TIFF"}.get(str(format).upper(), str(format).upper())
        if chosen in pil.Image.SAVE:
            return chosen
        hint = name_hint(chosen, sorted(pil.Image.SAVE))
        raise ArgumentError(f"{what}: there is no format {format!r}", at=here(), hint=hint)
    chosen = known.get(suffix(path))
    if chosen in pil.Image.SAVE:
        return str(chosen)
    raise ArgumentError(
        f"{what}: the name of {title(path)} does not say what format it has",
        at=here(),
        hint='give it a suffix such as .png, or format="png"',
    )


# ---- animations ----


def read_animation(path: Any, mode: str = "RGB", dtype: Any = None) -> Animation:
    """All frames of an animated GIF, PNG or WebP, each as it is seen.

    Returns ``frames`` (T, H, W, C) of ``dtype``, as in ``read_image``, and ``durations`` (T,) in
    seconds (0 where the file has none). A still image has one frame. Raises as ``read_image``.

    >>> import io
    >>> file = io.BytesIO()
    >>> frames = np.stack([np.full((4, 4, 3), v, np.uint8) for v in (0, 100, 200)])
    >>> write_animation(file, frames, fps=10, format="gif")
    >>> read_animation(file).durations
    Array([0.1, 0.1, 0.1], dtype=float32)
    """
    what = "io.read_animation"
    frames, seconds = zip(*animation_frames(what, path, mode), strict=True)
    stacked = as_pixels(what, from_numpy(np.stack(frames)), dtype)
    return Animation(stacked, from_numpy(np.array(seconds, np.float32)))


def animation_frames(what: str, path: Any, mode: str) -> Iterator[tuple[np.ndarray, float]]:
    """The frames of an animation, each as it is seen, and how many seconds it stays."""
    pil = _pillow(what)
    _check_mode(what, pil, mode)
    broken = (OSError, ValueError, SyntaxError, EOFError, pil.Image.DecompressionBombError)
    with reading(path, what) as file:
        try:
            image = pil.Image.open(file)
        except broken as error:
            raise unreadable(what, path, error) from None
        with image:
            for number in itertools.count():
                try:
                    image.seek(number)
                except EOFError:
                    return
                except broken as error:
                    raise unreadable(what, path, error) from None
                try:
                    pixels = _pixels(_converted(pil, image, mode))
                except broken as error:
                    raise unreadable(what, path, error) from None
                yield pixels, float(image.info.get("duration", 0)) / 1000


def write_animation(
    path: Any,
    frames: Any,
    fps: float | None = None,
    durations: Any = None,
    loop: int = 0,
    format: str | None = None,
    **options: Any,
) -> None:
    """Write frames (T, H, W, C) or (T, H, W) as an animated GIF, PNG or WebP.

    ``frames``: an array or an iterable of images, with the values of ``write_image``. ``fps``:
    frames a second (10 by default), or ``durations``: (T,) seconds. GIF counts in hundredths of a
    second. ``loop``: how often it is shown, 0 for ever. GIF has 256 colours a frame. Pillow makes
    frames that are equal to the one before a longer stay of that one.

    Raises ShapeError for no frames or frames that differ in shape, ArgumentError, DTypeError.

    >>> import io
    >>> file = io.BytesIO()
    >>> write_animation(file, np.linspace(0, 1, 48).reshape(3, 4, 4), format="gif", fps=20)
    >>> read_animation(file, mode="L").frames.shape
    (3, 4, 4, 1)
    """
    what = "io.write_animation"
    pil = _pillow(what)
    images = _frames(what, pil, frames)
    chosen = _format(what, pil, path, format)
    if chosen not in pil.Image.SAVE_ALL:
        known = [k for k in ("GIF", "PNG", "WEBP") if k in pil.Image.SAVE_ALL]
        raise ArgumentError(
            f"{what}: {chosen} holds no animation", at=here(), hint=f"use {', '.join(known)}"
        )
    each = _durations(what, len(images), fps, durations)
    first, *others = images
    settings = {"save_all": True, "append_images": others, "duration": each, "loop": loop}
    if chosen == "GIF":
        settings["optimize"] = False
    _save(what, path, first, chosen, {**settings, **options})


def _frames(what: str, pil: Any, frames: Any) -> list[Any]:
    if isinstance(frames, Iterable) and not hasattr(frames, "shape"):
        arrays: Sequence[np.ndarray] = [held(what, frame) for frame in frames]
    else:
        array = held(what, frames)
        if array.ndim not in (3, 4):
            raise ShapeError(
                f"{what}: frames have shape (T, H, W, C) or (T, H, W), not {array.shape}",
                at=here(),
            )
        arrays = list(array)
    if not arrays:
        raise ShapeError(f"{what}: no frames", at=here())
    for number, frame in enumerate(arrays):
        if frame.shape != arrays[0].shape:
            raise ShapeError(
                f"{what}: frame {number} has shape {frame.shape}, the first {arrays[0].shape}",
                at=here(),
            )
    return [_as_image(what, pil, to_uint8_frame(frame)) for frame in arrays]


def to_uint8_frame(frame: np.ndarray) -> np.ndarray:
    """A frame as uint8, by the rules of ``to_uint8``."""
    return frame if frame.dtype == np.uint8 else np.asarray(to_uint8(frame))


def _durations(what: str, count: int, fps: float | None, durations: Any) -> list[int]:
    """Milliseconds of each frame."""
    if fps is not None and durations is not None:
        raise ArgumentError(f"{what}: give fps or durations, not both", at=here())
    if durations is None:
        rate = 10.0 if fps is None else float(fps)
        if not rate > 0:
            raise ArgumentError(f"{what}: fps is positive, not {fps}", at=here())
        return [round(1000 / rate)] * count
    seconds = held(what, durations)
    if seconds.shape != (count,):
        raise ShapeError(
            f"{what}: durations of shape {seconds.shape} for {count} frames", at=here()
        )
    if not (seconds >= 0).all():
        raise ArgumentError(f"{what}: durations are not negative", at=here())
    return [round(1000 * float(s)) for s in seconds]
