"""Images and animations: what Pillow reads and writes, values, layouts and errors."""

from __future__ import annotations

import io as python_io
import sys
from pathlib import Path

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest

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
    TracedValueError,
)

Image = pytest.importorskip("PIL.Image")

PIXELS = hnp.arrays(
    np.uint8,
    st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4)),
)


def picture(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


# ---- files ----


@hypothesis.given(PIXELS)
def test_png_comes_back(pixels: np.ndarray) -> None:
    file = python_io.BytesIO()
    io.write_image(file, pixels, format="png")
    back = io.read_image(file)
    assert isinstance(back, tj.Array) and back.dtype == np.uint8
    np.testing.assert_array_equal(back, pixels)
    with Image.open(file) as image:
        np.testing.assert_array_equal(np.asarray(image).reshape(pixels.shape), pixels)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "ppm", "webp", "jpg", "gif"])
def test_formats_by_suffix(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    smooth = np.linspace(0, 255, 16 * 24 * 3).reshape(16, 24, 3).astype(np.uint8)
    options = {"lossless": True} if suffix == "webp" else {}
    io.write_image(path, smooth, **options)
    back = np.asarray(io.read_image(path, mode="RGB"))
    with Image.open(path) as image:
        np.testing.assert_array_equal(back, np.asarray(image.convert("RGB")))
    assert np.abs(back.astype(int) - smooth).max() <= {"jpg": 12, "gif": 6}.get(suffix, 0)


@pytest.mark.parametrize(
    ("mode", "channels", "dtype"),
    [
        *[("1", 1, "uint8"), ("L", 1, "uint8"), ("LA", 2, "uint8"), ("RGB", 3, "uint8")],
        *[("RGBA", 4, "uint8"), ("P", 3, "uint8"), ("I;16", 1, "uint16"), ("CMYK", 3, "uint8")],
        *[("I", 1, "int32"), ("F", 1, "float32")],
    ],
)
def test_modes_of_files(mode: str, channels: int, dtype: str) -> None:
    deep = np.arange(20, dtype=np.uint16).reshape(4, 5) * 3000
    source = Image.fromarray(picture(4, 5, 3))
    image = Image.fromarray(deep) if mode == "I;16" else source.convert(mode)
    file = python_io.BytesIO()
    image.save(file, format="tiff")
    back = io.read_image(file)
    assert back.shape == (4, 5, channels) and back.dtype == dtype
    plain = {"1": "L", "P": "RGB", "CMYK": "RGB"}.get(mode)
    expected = np.asarray(image.convert(plain) if plain else image)
    np.testing.assert_array_equal(back, expected.reshape(back.shape))


def test_palettes_with_transparency_become_rgba() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putpixel((1, 0), 1)
    file = python_io.BytesIO()
    image.save(file, format="png", transparency=0)
    assert io.read_image(file)[0].tolist() == [[255, 0, 0, 0], [0, 255, 0, 255]]


def test_deep_gray_images() -> None:
    deep = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)
    file = python_io.BytesIO()
    io.write_image(file, deep, format="png")
    np.testing.assert_array_equal(io.read_image(file)[..., 0], deep)
    np.testing.assert_allclose(io.read_image(file, dtype="float64")[..., 0], deep / 65535)
    as_bytes = np.arange(256).reshape(16, 16)
    np.testing.assert_array_equal(io.read_image(file, mode="L")[..., 0], as_bytes)
    np.testing.assert_array_equal(io.read_image(file, mode="RGB")[..., 2], as_bytes)
    np.testing.assert_array_equal(io.read_image(file, dtype="uint8")[..., 0], as_bytes)


def test_orientation_notes() -> None:
    file, pixels = python_io.BytesIO(), picture(4, 6, 3)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(file, format="png", exif=exif)
    assert io.read_image(file).shape == (4, 6, 3)
    np.testing.assert_array_equal(io.read_image(file, upright=True), np.rot90(pixels, -1))


def test_many_files(tmp_path: Path) -> None:
    pictures = picture(3, 6, 8, 3)
    paths = [tmp_path / f"{n}.png" for n in range(3)]
    for path, one in zip(paths, pictures, strict=True):
        io.write_image(path, one)
    np.testing.assert_array_equal(io.read_images(paths), pictures)
    small = io.read_images(iter(paths), size=(3, 4), mode="L", dtype="float32")
    assert small.shape == (3, 3, 4, 1) and small.dtype == np.float32
    expected = Image.fromarray(pictures[0]).convert("L").resize((4, 3), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(small[0, ..., 0], np.asarray(expected) / 255, rtol=1e-6)
    io.write_image(paths[1], pictures[0, :2])
    with pytest.raises(ShapeError, match="differ in shape") as caught:
        io.read_images(paths)
    assert "1.png" in str(caught.value) and "size=(height, width)" in str(caught.value)
    with pytest.raises(ArgumentError, match="no files"):
        io.read_images([])
    with pytest.raises(ArgumentError, match="a list of files"):
        io.read_images(paths[0])
    with pytest.raises(ArgumentError, match="size is"):
        io.read_images(paths, size=3)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="height is at least 1"):
        io.read_images(paths, size=(0, 3))


# ---- values and layouts ----


@hypothesis.given(hnp.arrays(np.float32, (7,), elements=st.floats(-2, 2, width=32)))
def test_floats_to_uint8(x: np.ndarray) -> None:
    expected = np.floor(np.clip(x, 0, 1) * np.float32(255) + np.float32(0.5))
    np.testing.assert_array_equal(io.to_uint8(x), expected)
    np.testing.assert_array_equal(tj.jit(io.to_uint8)(x), expected)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_uint8_to_floats_and_back(dtype: str) -> None:
    x = np.arange(256, dtype=np.uint8)
    floats = io.to_float(x, dtype)
    assert floats.dtype == dtype
    np.testing.assert_array_equal(
        np.asarray(floats, np.float64),
        (x / (255.0 if dtype == "float64" else np.float32(255)))
        .astype(floats.dtype)
        .astype(np.float64),
    )
    if dtype != "bfloat16":  # which has 8 bits only
        np.testing.assert_array_equal(io.to_uint8(floats), x)


def test_values_of_other_dtypes() -> None:
    assert io.to_uint8(np.array([True, False])).tolist() == [255, 0]
    assert io.to_uint8(np.array([0, 128, 129, 65535], np.uint16)).tolist() == [0, 0, 1, 255]
    assert io.to_uint8(np.array([np.inf, -np.inf, np.nan])).tolist() == [255, 0, 0]
    assert io.to_float(np.array([0, 65535], np.uint16)).tolist() == [0, 1]
    assert io.to_float(np.array([2.5])).dtype == np.float32
    with pytest.raises(DTypeError, match="pixels are uint8, uint16, bool or floating, not int32"):
        io.to_uint8(np.array([1], np.int32))
    with pytest.raises(DTypeError, match="the result is floating"):
        io.to_float(np.zeros(2), "uint8")
    with pytest.raises(DTypeError, match="no dtype"):
        io.to_float(np.zeros(2), "floaty")


def test_layouts() -> None:
    x = picture(2, 4, 5, 3)
    np.testing.assert_array_equal(io.to_chw(x), np.moveaxis(x, -1, -3))
    np.testing.assert_array_equal(io.to_hwc(io.to_chw(x)), x)
    np.testing.assert_array_equal(tj.vmap(io.to_chw)(x), np.moveaxis(x, -1, -3))
    for function in (io.to_chw, io.to_hwc):
        with pytest.raises(ShapeError, match="three axes at least"):
            function(x[0, 0])


def test_grid() -> None:
    x = picture(5, 2, 3, 3)
    grid = np.asarray(io.image_grid(x, columns=3, padding=1, fill=7))
    assert grid.shape == (5, 11, 3) and grid.dtype == np.uint8
    for n in range(5):
        row, column = divmod(n, 3)
        np.testing.assert_array_equal(grid[3 * row :, 4 * column :][:2, :3], x[n])
    assert (grid[2] == 7).all() and (grid[:, 3] == 7).all() and (grid[3:, 8:] == 7).all()
    np.testing.assert_array_equal(tj.jit(io.image_grid)(x), io.image_grid(x))
    assert io.image_grid(x[..., 0]).shape == (6, 13)
    assert io.image_grid(x, columns=9, padding=0).shape == (2, 15, 3)
    with pytest.raises(ShapeError, match="N > 0"):
        io.image_grid(x[:0])
    with pytest.raises(ShapeError, match="images have shape"):
        io.image_grid(x[0, 0])
    with pytest.raises(ArgumentError, match="columns is at least 1"):
        io.image_grid(x, columns=0)


# ---- animations ----


@pytest.mark.parametrize("format", ["gif", "png", "webp"])
def test_animations(format: str) -> None:
    frames = np.stack([np.full((4, 6, 3), 40 * n, np.uint8) for n in range(5)])
    frames[:, 0, 0] = 255
    file = python_io.BytesIO()
    options = {"lossless": True} if format == "webp" else {}
    seconds = [0.1, 0.2, 0.3, 0.4, 0.5]
    io.write_animation(file, frames, durations=seconds, format=format, **options)
    back = io.read_animation(file)
    np.testing.assert_array_equal(back.frames, frames)
    np.testing.assert_allclose(back.durations, seconds, rtol=1e-6)
    assert io.read_animation(file, mode="L", dtype="float32").frames.shape == (5, 4, 6, 1)
    np.testing.assert_array_equal(io.read_image(file, mode="RGB"), frames[0])


def test_frames_that_are_equal_become_one() -> None:
    file = python_io.BytesIO()
    frames = np.stack([np.full((2, 2), v, np.uint8) for v in (0, 0, 9)])
    io.write_animation(file, iter(frames), fps=10, format="gif")
    back = io.read_animation(file, mode="L")
    assert back.frames.shape == (2, 2, 2, 1)
    np.testing.assert_allclose(back.durations, [0.2, 0.1], rtol=1e-6)


def test_a_still_image_has_one_frame() -> None:
    file = python_io.BytesIO()
    io.write_image(file, picture(2, 3, 3), format="png")
    frames, durations = io.read_animation(file)
    assert frames.shape == (1, 2, 3, 3) and durations.tolist() == [0]


def test_errors_of_animations(tmp_path: Path) -> None:
    frames = picture(3, 4, 4, 3)
    path = tmp_path / "a.gif"
    wrong = [
        (dict(fps=1, durations=[1, 1, 1]), ArgumentError, "not both"),
        (dict(fps=0), ArgumentError, "fps is positive"),
        (dict(durations=[1.0]), ShapeError, r"durations of shape \(1,\) for 3 frames"),
        (dict(durations=[-1.0, 1, 1]), ArgumentError, "not negative"),
        (dict(format="bmp"), ArgumentError, "BMP holds no animation"),
    ]
    for options, kind, message in wrong:
        with pytest.raises(kind, match=message):
            io.write_animation(path, frames, **options)
    with pytest.raises(ShapeError, match="no frames"):
        io.write_animation(path, frames[:0])
    with pytest.raises(ShapeError, match="frame 1 has shape"):
        io.write_animation(path, [frames[0], frames[1, :2]])
    with pytest.raises(ShapeError, match="frames have shape"):
        io.write_animation(path, frames[0, 0])
    assert not path.exists()


# ---- errors ----


def test_shapes_and_dtypes_that_are_no_image(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    wrong = [
        (np.zeros(3), ShapeError, "an image has shape"),
        (np.zeros((2, 4, 4, 3)), ShapeError, "io.image_grid"),
        (np.zeros((4, 4, 5)), ShapeError, "1 to 4 channels, not 5"),
        (np.zeros((3, 32, 48)), ShapeError, "io.to_hwc puts channels last"),
        (np.zeros((0, 4, 3)), ShapeError, "has no pixels"),
        (np.zeros((4, 4, 3), np.int64), DTypeError, "not int64"),
        (np.zeros((4, 4, 3), complex), DTypeError, "not complex128"),
        ("a.png", Exception, "."),
    ]
    for array, kind, message in wrong:
        with pytest.raises(kind, match=message):
            io.write_image(path, array)
    with pytest.raises(TracedValueError, match="io.write_image"):
        tj.jit(lambda x: io.write_image(path, x))(jnp.zeros((2, 2)))
    assert not list(tmp_path.iterdir())


def test_names_that_say_no_format(tmp_path: Path) -> None:
    x = picture(2, 2, 3)
    for path in (tmp_path / "a", tmp_path / "a.zzz", python_io.BytesIO()):
        with pytest.raises(ArgumentError, match="does not say what format"):
            io.write_image(path, x)
    with pytest.raises(ArgumentError, match="there is no format 'pmg'"):
        io.write_image(tmp_path / "a", x, format="pmg")
    with pytest.raises(ArgumentError, match="JPEG cannot hold this image"):
        io.write_image(tmp_path / "a.jpg", picture(2, 2, 4))
    assert not list(tmp_path.iterdir())


def test_files_that_are_no_image(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError) as caught:
        io.read_image(tmp_path / "none.png")
    assert "test_images.py" in str(caught.value) and isinstance(caught.value, FileNotFoundError)
    path = tmp_path / "a.png"
    path.write_bytes(b"no image")
    for reader in (io.read_image, io.read_animation, lambda p: io.read_images([p])):
        with pytest.raises(FileError, match="cannot read .*a.png"):
            reader(path)
    io.write_image(path, picture(64, 64, 3))
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(FileError, match="truncated"):
        io.read_image(path)
    with pytest.raises(FileError, match="is a folder"):
        io.read_image(tmp_path)
    with pytest.raises(ArgumentError, match="there is no mode 'RGBX'"):
        io.read_image(path, mode="RGBX")
    with pytest.raises(ArgumentError, match="a path or a binary file object"):
        io.read_image(None)


def test_dtypes_that_pixels_have_not() -> None:
    file = python_io.BytesIO()
    io.write_image(file, picture(2, 2, 3), format="png")
    with pytest.raises(DTypeError, match="uint8, uint16 or floating, not int8"):
        io.read_image(file, dtype="int8")
    assert io.read_image(file, dtype="uint16").dtype == np.uint16


def test_pillow_that_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "PIL"] + ["PIL"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingPackageError, match="io.read_image needs Pillow") as caught:
        io.read_image(tmp_path / "a.png")
    assert "pip install pillow" in str(caught.value) and isinstance(caught.value, ImportError)
    with pytest.raises(MissingPackageError, match="io.write_animation needs Pillow"):
        io.write_animation(tmp_path / "a.gif", picture(2, 2, 2))
