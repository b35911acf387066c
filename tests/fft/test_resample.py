"""Images, arrays read between their elements, grids: bad input, options, derivatives."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.interpolate

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import image
from tracejit.errors import ArgumentError, DTypeError, ShapeError
from tracejit.scipy import ndimage
from tracejit.scipy.interpolate import RegularGridInterpolator
from tracejit.test_util import check_grads

RNG = np.random.default_rng(0)
IMAGE = RNG.normal(size=(4, 5))
AXES = (np.array([-2.0, -0.5, 0.25, 2.0]), np.array([-1.0, 0.0, 3.0]))
VALUES = RNG.normal(size=(4, 3, 2))
POINTS = RNG.uniform(-2.5, 3.5, (3, 4, 2))


def grid(*args: Any, **options: Any) -> RegularGridInterpolator:
    return RegularGridInterpolator(*args, **options)


BAD: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: image.resize(IMAGE, (3,), "linear"), ShapeError, "one size per axis"),
    (lambda: image.resize(IMAGE, (3, -1), "linear"), ShapeError, "negative"),
    (lambda: image.resize(IMAGE, (3, 3), "liner"), ArgumentError, "did you mean 'linear'"),
    (lambda: image.resize(IMAGE, (3, 3), 2), ArgumentError, "ResizeMethod"),
    (lambda: image.resize(np.ones((0, 2)), (3, 2), "linear"), ShapeError, "no pixels"),
    (
        lambda: image.scale_and_translate(
            IMAGE, (4, 5), (0, 2), IMAGE[0, :2], IMAGE[0, :2], "cubic"
        ),
        ShapeError,
        "no axis 2",
    ),
    (
        lambda: image.scale_and_translate(IMAGE, (4, 5), (0,), IMAGE[0], IMAGE[0, :1], "cubic"),
        ShapeError,
        "one number for each",
    ),
    (
        lambda: image.scale_and_translate(IMAGE, (4, 5), (), [], [], "nearest"),
        ArgumentError,
        "'nearest' is not provided",
    ),
    (lambda: ndimage.map_coordinates(IMAGE, [IMAGE, IMAGE], 3), ArgumentError, "order 3"),
    (lambda: ndimage.map_coordinates(IMAGE, [IMAGE, IMAGE], 1, "edge"), ArgumentError, "mode"),
    (lambda: ndimage.map_coordinates(IMAGE, [IMAGE], 1), ShapeError, "1 coordinates"),
    (lambda: grid(AXES, VALUES, "cubic"), ArgumentError, "'linear' or 'nearest'"),
    (lambda: grid(AXES, VALUES, bounds_error=True), ArgumentError, "bounds_error"),
    (lambda: grid(AXES * 2, VALUES), ShapeError, "4 axes of points"),
    (lambda: grid((AXES[0], AXES[0]), VALUES), ShapeError, "for axis 1"),
    (lambda: grid((AXES[0][[0, 2, 1, 3]],), VALUES), ArgumentError, "strictly ascending"),
    (lambda: grid((np.ones(1),), np.ones(1)), ShapeError, "fewer than two"),
    (lambda: grid(AXES, VALUES, fill_value=1j), DTypeError, "fill_value"),
    (lambda: grid(AXES, VALUES)(np.ones((3, 3))), ShapeError, "points of 3 coordinates"),
    (lambda: grid(AXES, VALUES)(np.ones(3)), ShapeError, "no points of 2"),
    (lambda: grid(AXES, VALUES)(POINTS, "spline"), ArgumentError, "'linear' or 'nearest'"),
]


@pytest.mark.parametrize(("call", "error", "text"), BAD)
def test_bad_input_names_the_users_line(
    call: Callable[[], Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=re.escape(text)) as caught:
        call()
    assert "test_resample.py" in str(caught.value)


def test_nearest_keeps_the_dtype_and_weights_make_floats() -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert image.resize(pixels, (6, 8), image.ResizeMethod.NEAREST).dtype == "uint8"
    assert image.resize(pixels, (6, 8), "linear").dtype == "float32"
    assert image.resize(jnp.ones((2, 2), "float16"), (4, 4), "cubic").dtype == "float16"


def test_a_scale_may_be_traced_and_differentiated() -> None:
    def moved(x: Any, scale: Any, by: Any) -> Any:
        return image.scale_and_translate(x, (3, 4), (0, 1), scale, by, "cubic")

    arguments = IMAGE, np.array([0.71, 1.3]), np.array([0.37, -1.2])
    np.testing.assert_allclose(tj.jit(moved)(*arguments), moved(*arguments), atol=1e-12)
    check_grads(moved, arguments, order=1)


def test_modes_under_the_names_of_scipy() -> None:
    places = [RNG.uniform(-6, 9, 5)] * 2
    for theirs, ours in (("grid-wrap", "wrap"), ("grid-constant", "constant")):
        np.testing.assert_array_equal(
            ndimage.map_coordinates(IMAGE, places, 1, theirs),
            ndimage.map_coordinates(IMAGE, places, 1, ours),
        )


def test_whole_coordinates_read_elements() -> None:
    found = ndimage.map_coordinates(IMAGE, [np.array([0, 3]), np.array([2, 9])], order=1, cval=7)
    np.testing.assert_array_equal(found, [IMAGE[0, 2], 7])


def test_integers_are_rounded() -> None:
    x = np.array([0, 3], np.int32)
    found = ndimage.map_coordinates(x, [np.array([0.2, 0.5, 0.9])], order=1)
    assert found.tolist() == [1, 2, 3] and found.dtype == "int32"


@pytest.mark.parametrize("method", ["linear", "nearest"])
@pytest.mark.parametrize("fill", [np.nan, None, 1.5])
def test_grids_as_scipy_reads_them(method: str, fill: Any) -> None:
    options: dict[str, Any] = {"method": method, "fill_value": fill}
    theirs = scipy.interpolate.RegularGridInterpolator(AXES, VALUES, bounds_error=False, **options)
    ours = grid(AXES, VALUES, **options)
    np.testing.assert_allclose(ours(POINTS), theirs(POINTS))
    np.testing.assert_allclose(tj.jit(lambda f, x: f(x))(ours, POINTS), theirs(POINTS))
    np.testing.assert_allclose(tj.vmap(ours)(POINTS), theirs(POINTS))
    split = ours((POINTS[..., 0], POINTS[..., 1]))
    np.testing.assert_allclose(split, theirs(POINTS))


def test_a_descending_axis_is_turned_round() -> None:
    axes = (AXES[0][::-1], AXES[1])
    theirs = scipy.interpolate.RegularGridInterpolator(axes, VALUES, bounds_error=False)
    np.testing.assert_allclose(grid(axes, VALUES)(POINTS), theirs(POINTS))


def test_derivatives_of_a_grid() -> None:
    inside = RNG.uniform(-0.9, 1.9, (5, 2))

    def read(values: Any, x: Any) -> Any:
        return grid(AXES, values, fill_value=None)(x)

    check_grads(read, (VALUES, inside), order=1)
    filled = tj.grad(lambda x: jnp.sum(grid(AXES, VALUES[..., 0], fill_value=0.0)(x)))
    assert np.isfinite(np.asarray(filled(np.array([[9.0, 9.0], [0.1, 0.1]])))).all()


def test_a_grid_can_be_pickled() -> None:
    f = grid(AXES, VALUES)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(f))(POINTS), f(POINTS))
