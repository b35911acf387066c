"""Gather and scatter: every mode at the edges, duplicates, derivatives where places repeat."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tracejit.errors import ArgumentError, DTypeError, OutOfBoundsError, ShapeError
from tracejit.ir import interp
from tracejit.ir.build import building
from tracejit.ir.prim import Linear
from tracejit.ir.types import DTYPES, TensorType, type_of
from tracejit.ops import indexing

F32, I64 = DTYPES["f32"], DTYPES["i64"]
TABLE = np.arange(12.0).reshape(4, 3)


def rows(indices: Any, mode: str = "error", **more: Any) -> Any:
    """Whole rows of TABLE."""
    params = indexing.gather_params((1,), (0,), (0,), (1, 3), mode=mode, **more)
    return indexing.gather.numpy(TABLE, np.asarray(indices, np.int64)[:, None], **params)


def put(kind: str, x: Any, indices: Any, updates: Any, mode: str = "error") -> Any:
    """Elements of a vector."""
    params = indexing.scatter_params(kind, (), (0,), (0,), mode=mode)
    vectors = np.asarray(indices, np.int64)[:, None]
    return indexing.scatter.numpy(np.asarray(x), vectors, np.asarray(updates), **params)


# ---- gather --------------------------------------------------------------------------------------


def test_gather_takes_rows() -> None:
    np.testing.assert_array_equal(rows([2, 0, 2]), TABLE[[2, 0, 2]])
    assert rows([]).shape == (0, 3)


@pytest.mark.parametrize("index", [-1, 4, np.iinfo(np.int64).max])
def test_error_mode_names_the_index(index: int) -> None:
    with pytest.raises(
        OutOfBoundsError, match=f"index {index} is out of bounds for axis 0 with size 4"
    ):
        rows([0, index])
    with pytest.raises(IndexError, match="scatter"):
        put("add", np.zeros(4), [index], [1.0])


def test_a_window_must_lie_inside_as_a_whole() -> None:
    params = indexing.gather_params((1,), (), (0,), (3,))
    x = np.arange(5)
    found = indexing.gather.numpy(x, np.array([[0], [2]]), **params)
    np.testing.assert_array_equal(found, [[0, 1, 2], [2, 3, 4]])
    with pytest.raises(OutOfBoundsError, match=r"index 3 \(window of 3\) is out of bounds"):
        indexing.gather.numpy(x, np.array([[3]]), **params)
    found = indexing.gather.numpy(x, np.array([[3], [-9]]), **dict(params, mode="clip"))
    np.testing.assert_array_equal(found, [[2, 3, 4], [0, 1, 2]])


def test_fill_mode() -> None:
    found = rows([-1, 1, 9], "fill")
    np.testing.assert_array_equal(found, [[np.nan] * 3, TABLE[1], [np.nan] * 3])
    np.testing.assert_array_equal(rows([7], "fill", fill_value=5), [[5.0] * 3])
    params = indexing.gather_params((), (0,), (0,), (1,), mode="fill")
    outside = np.array([[9]])
    for dtype, fill in (("int8", -128), ("uint8", 255), ("bool", True)):
        assert indexing.gather.numpy(np.zeros(2, dtype), outside, **params).tolist() == [fill]


def test_clip_mode_and_narrow_indices() -> None:
    np.testing.assert_array_equal(rows([-5, 99], "clip"), TABLE[[0, 3]])
    params = indexing.gather_params((1,), (0,), (0,), (1, 3))
    found = indexing.gather.numpy(TABLE, np.array([[3]], np.uint8), **params)
    np.testing.assert_array_equal(found, TABLE[[3]])


def test_take_along_reads_as_numpy_does() -> None:
    rng = np.random.default_rng(0)
    x, places = rng.normal(size=(3, 5, 2)), rng.integers(0, 5, (3, 4, 2))
    with building() as b:
        values = b.input(type_of(x)), b.input(type_of(places))
        graph = b.graph([indexing.take_along(*values, 1)])
    np.testing.assert_array_equal(
        interp.run(graph, [x, places])[0], np.take_along_axis(x, places, 1)
    )


# ---- scatter -------------------------------------------------------------------------------------


def test_scatter_combines_duplicates() -> None:
    x, at, u = np.ones(3), [0, 2, 0], [2.0, 3.0, 5.0]
    for kind, wanted in (
        ("add", [8, 1, 4]),
        ("mul", [10, 1, 3]),
        ("min", [1, 1, 1]),
        ("max", [5, 1, 3]),
        ("set", [5, 1, 3]),
    ):
        np.testing.assert_array_equal(put(kind, x, at, u), wanted)
    np.testing.assert_array_equal(x, np.ones(3))


def test_scatter_leaves_out_or_moves_what_lies_outside() -> None:
    np.testing.assert_array_equal(put("add", np.zeros(2), [-1, 1, 2], [1.0, 2, 4], "drop"), [0, 2])
    np.testing.assert_array_equal(put("add", np.zeros(2), [-1, 1, 2], [1.0, 2, 4], "clip"), [1, 6])


def test_integers_wrap_and_booleans_or() -> None:
    assert put("add", np.array([250], np.uint8), [0], np.array([10], np.uint8)).tolist() == [4]
    assert put("add", np.array([False]), [0, 0], np.array([True, True])).tolist() == [True]


# ---- derivatives ---------------------------------------------------------------------------------


def cotangents(kind: str, indices: list[int], size: int) -> list[Any]:
    """Those of operand and updates, for cotangents 1, 2, 3 ... of the result."""
    vectors = np.asarray(indices)[:, None]
    params = indexing.scatter_params(kind, (), (0,), (0,))
    x, u = TensorType(DTYPES["f64"], (size,)), TensorType(DTYPES["f64"], (len(indices),))
    with building() as b:
        ct, places = b.input(x), b.input(type_of(vectors))
        to_x, _, to_u = indexing.scatter.transpose((ct,), (Linear(x), places, Linear(u)), **params)
        graph = b.graph([to_x, to_u])
    return interp.run(graph, [np.arange(1.0, size + 1), vectors])


def test_only_the_last_update_of_a_place_gets_the_cotangent() -> None:
    to_x, to_u = cotangents("set", [1, 0, 1], 3)
    np.testing.assert_array_equal(to_x, [0, 0, 3])
    np.testing.assert_array_equal(to_u, [0, 1, 2])
    to_x, to_u = cotangents("add", [1, 0, 1], 3)
    np.testing.assert_array_equal(to_x, [1, 2, 3])
    np.testing.assert_array_equal(to_u, [2, 1, 2])


def tangent(kind: str, x: Any, indices: list[int], u: Any, du: Any) -> Any:
    arrays = [np.asarray(x, float), np.asarray(indices)[:, None], np.asarray(u, float)]
    params = indexing.scatter_params(kind, (), (0,), (0,))
    with building() as b:
        xs = tuple(b.input(type_of(a)) for a in arrays)
        du_value = b.input(xs[2].type)
        y = indexing.scatter(*xs, **params)
        (dy,) = indexing.scatter.jvp((None, None, du_value), (y,), xs, **params)
        graph = b.graph([dy])
    return interp.run(graph, [*arrays, np.asarray(du, float)])[0]


def test_tangents_of_products_with_zeros() -> None:
    # the product at place 0 is 2 * 3 * 0: only the zero's tangent counts
    np.testing.assert_array_equal(tangent("mul", [2], [0, 0], [3, 0], [5, 7]), [42])
    np.testing.assert_array_equal(tangent("mul", [2], [0, 0], [0, 0], [5, 7]), [0])
    np.testing.assert_array_equal(tangent("mul", [0], [0, 0], [3, 4], [5, 7]), [0])


def test_tied_extrema_share_the_tangent() -> None:
    np.testing.assert_array_equal(tangent("max", [1, 4], [0, 0, 1], [2, 2, 4], [6, 2, 8]), [4, 4])


# ---- errors --------------------------------------------------------------------------------------


def infer(x: Any, indices: Any, dtype: Any = I64, **params: Any) -> Any:
    given = dict(indexing.gather_params((1,), (0,), (0,), (1, 3)), **params)
    return indexing.gather.infer(TensorType(F32, x), TensorType(dtype, indices), **given)


def test_infer_says_what_is_wrong() -> None:
    assert infer((4, 3), (2, 1)).shape == (2, 3)
    with pytest.raises(DTypeError, match="gather: indices are integers, not f32"):
        infer((4, 3), (2, 1), F32)
    with pytest.raises(ShapeError, match="components of one index, 1 of them"):
        infer((4, 3), (2,))
    with pytest.raises(ShapeError, match="a window of 3 does not fit axis 1 of size 2"):
        infer((4, 2), (2, 1))
    with pytest.raises(ShapeError, match="must increase"):
        infer((4, 3), (2, 1), offset_dims=(5,))
    with pytest.raises(ShapeError, match="axis 1 is dropped"):
        infer((4, 3), (2, 1), collapsed_slice_dims=(1,))
    with pytest.raises(ArgumentError, match="mode is one of error, clip"):
        infer((4, 3), (2, 1), mode="wrong")
    x, at = TensorType(F32, (4,)), TensorType(I64, (2, 1))
    with pytest.raises(ShapeError, match=r"have shape \(3,\), the indices \(2,\)"):
        params = indexing.scatter_params("add", (), (0,), (0,))
        indexing.scatter.infer(x, at, TensorType(F32, (3,)), **params)
    with pytest.raises(ArgumentError, match="kind is set, add"):
        params = indexing.scatter_params("sub", (), (0,), (0,))
        indexing.scatter.infer(x, at, TensorType(F32, (2,)), **params)
