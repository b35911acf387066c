"""Reductions, running folds, windows and sorting: nan, ties, empty axes, low precision, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tracejit.errors import ArgumentError, DTypeError, MissingRule, ShapeError
from tracejit.ir import interp
from tracejit.ir.build import building
from tracejit.ir.expr import Load, Var
from tracejit.ir.types import DTYPES, TensorType, type_of
from tracejit.ops import PRIMS, arith, logic, reduce, window

F32, F64, I32, I64 = (DTYPES[name] for name in ("f32", "f64", "i32", "i64"))
NAN, INF = np.nan, np.inf


def run(name: str, *arrays: Any, **params: Any) -> Any:
    return PRIMS[name].numpy(*(np.asarray(a) for a in arrays), **params)


def tangent(name: str, x: Any, dx: Any, **params: Any) -> list[Any]:
    """The tangents of the inexact outputs."""
    x, dx = np.asarray(x, float), np.asarray(dx, float)
    with building() as b:
        value, d = b.input(type_of(x)), b.input(type_of(dx))
        ys = PRIMS[name](value, **params)
        ys = ys if isinstance(ys, tuple) else (ys,)
        dys = PRIMS[name].jvp((d,), ys, (value,), **params)
        graph = b.graph([dy for dy in dys if dy is not None])
    return interp.run(graph, [x, dx])


# ---- reductions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["f16", "bf16", "f32", "f64"])
def test_nan_wins_every_extremum(dtype: str) -> None:
    x = np.array([1, NAN, 3, NAN], float).astype(DTYPES[dtype])
    for name in ("reduce_max", "reduce_min"):
        assert np.isnan(run(name, x, axes=(0,)))
    for name in ("argmax", "argmin"):
        assert run(name, x, axes=(0,), index_dtype=I64) == 1


def test_arg_extrema_take_the_first_of_equals() -> None:
    x = np.array([[2, 5, 5], [7, 1, 1]])
    assert run("argmax", x, axes=(1,), index_dtype=I32).tolist() == [1, 0]
    assert run("argmin", x, axes=(1,), index_dtype=I32).tolist() == [0, 1]
    assert run("argmax", -0.0 * np.ones(2), axes=(0,), index_dtype=I32) == 0


def test_empty_axes_give_the_identity() -> None:
    empty = np.zeros((0,), np.float32)
    assert run("reduce_max", empty, axes=(0,)) == -INF
    assert run("reduce_min", empty, axes=(0,)) == INF
    assert run("reduce_prod", empty, axes=(0,)) == 1
    assert run("reduce_max", np.zeros((0,), np.int8), axes=(0,)) == -128
    assert run("reduce_min", np.zeros((0,), np.bool_), axes=(0,)) == np.True_
    assert run("reduce_and", np.zeros((0,), np.uint8), axes=(0,)) == 255
    with pytest.raises(ShapeError, match="argmax: axis 0 of .* is empty"):
        PRIMS["argmax"].infer(TensorType(F32, (0,)), axes=(0,), index_dtype=I64)


def test_half_precision_products_do_not_lose_their_way() -> None:
    x = np.array([300.0, 300.0, 1e-4], np.float16)  # 90000 is beyond float16
    exact = np.prod(x.astype(float))
    assert run("reduce_prod", x, axes=(0,)) == np.float16(exact)


def test_tied_extrema_share_the_tangent() -> None:
    assert tangent("reduce_max", [3, 1, 3], [2, 8, 4], axes=(0,))[0] == 3
    assert tangent("reduce_min", [1, 1, 1, 1], [1, 2, 3, 6], axes=(0,))[0] == 3


@pytest.mark.parametrize(
    ("x", "wanted"), [([2, 0, 5], 10 * 7), ([0, 0, 5], 0), ([2, 3, 5], 15 + 10 * 7 + 6)]
)
def test_products_with_zeros(x: list[float], wanted: float) -> None:
    assert tangent("reduce_prod", x, [1, 7, 1], axes=(0,))[0] == wanted
    running = tangent("cumprod", x, [1, 7, 1], axis=0, reverse=False)[0]
    np.testing.assert_array_equal(running, [1, x[1] + 7 * x[0], wanted])


def test_dtype_errors() -> None:
    with pytest.raises(DTypeError, match="reduce_max: .* not c64"):
        PRIMS["reduce_max"].infer(TensorType(DTYPES["c64"], (2,)), axes=(0,))
    with pytest.raises(DTypeError, match="reduce_and: takes bool, signed integer, unsigned"):
        PRIMS["reduce_and"].infer(TensorType(F32, (2,)), axes=(0,))
    with pytest.raises(ShapeError, match="argmin: takes one axis"):
        PRIMS["argmin"].infer(TensorType(F32, (2, 2)), axes=(0, 1), index_dtype=I64)


# ---- folds of a graph ----------------------------------------------------------------------------


def arg_fold() -> Any:
    """(value, place) pairs: the larger value, with its place."""
    with building() as b:
        x, i, y, j = (b.input(TensorType(d, ())) for d in (F32, I64, F32, I64))
        first = logic.ge(x, y)
        return b.graph([logic.select(first, x, y), logic.select(first, i, j)])


def test_a_graph_folds_several_operands_together() -> None:
    x = np.random.default_rng(0).normal(size=(3, 7, 2)).astype(np.float32)
    places = np.broadcast_to(np.arange(7)[None, :, None], x.shape)
    inits = np.float32(-INF), np.int64(-1)
    values, at = run("reduce", x, places, *inits, computation=arg_fold(), axes=(1,))
    np.testing.assert_array_equal(values, x.max(1))
    np.testing.assert_array_equal(at, x.argmax(1))


def test_an_order_that_matters_is_kept() -> None:
    # 2x2 matrix products as four operands: associative, not commutative
    with building() as b:
        v = [b.input(TensorType(F64, ())) for _ in range(8)]
        (a, c, d, e), (f, g, h, k) = v[:4], v[4:]
        mul, add = arith.mul, arith.add
        first = [add(mul(a, f), mul(c, h)), add(mul(a, g), mul(c, k))]
        second = [add(mul(d, f), mul(e, h)), add(mul(d, g), mul(e, k))]
        product = b.graph([*first, *second])
    matrices = np.random.default_rng(1).normal(size=(5, 2, 2))
    entries = [matrices[:, i, j] for i in (0, 1) for j in (0, 1)]
    found = run("reduce", *entries, 1.0, 0.0, 0.0, 1.0, computation=product, axes=(0,))
    np.testing.assert_allclose(np.reshape(found, (2, 2)), np.linalg.multi_dot(matrices), rtol=1e-12)


def test_reduce_checks_its_graph() -> None:
    x, init = TensorType(F64, (3,)), TensorType(F64, ())
    with pytest.raises(ShapeError, match="reduce: the computation must take"):
        PRIMS["reduce"].infer(x, init, computation=arg_fold(), axes=(0,))
    with pytest.raises(ShapeError, match="as many initial values"):
        PRIMS["reduce"].infer(x, computation=arg_fold(), axes=(0,))


def test_identities() -> None:
    assert reduce.lowest(DTYPES["bf16"]) == -INF and reduce.highest(DTYPES["u16"]) == 65535
    assert reduce.all_bits(DTYPES["i32"]) == -1 and reduce.all_bits(DTYPES["bool"]) is True


# ---- running folds -------------------------------------------------------------------------------


def test_running_folds_from_either_end() -> None:
    x = np.array([3.0, 1.0, NAN, 5.0])
    keep = {"axis": 0, "reverse": False}
    np.testing.assert_array_equal(run("cummax", x, **keep), [3, 3, NAN, NAN])
    np.testing.assert_array_equal(run("cummin", x, axis=0, reverse=True), [NAN, NAN, NAN, 5])
    assert run("cumsum", np.array([200, 100], np.uint8), **keep).tolist() == [200, 44]
    lse = run("cumlogsumexp", np.array([-INF, 1000.0, 1000.0]), **keep)
    np.testing.assert_allclose(lse, [-INF, 1000, 1000 + np.log(2)])


def test_the_first_to_attain_a_running_extremum_has_the_tangent() -> None:
    dx = [1, 2, 3, 4]
    found = tangent("cummax", [1, 5, 5, 2], dx, axis=0, reverse=False)[0]
    np.testing.assert_array_equal(found, [1, 2, 2, 2])
    found = tangent("cummin", [1, 5, 5, 2], dx, axis=0, reverse=True)[0]
    np.testing.assert_array_equal(found, [1, 4, 4, 4])


def test_cumlogsumexp_has_a_tangent_where_nothing_has_come_yet() -> None:
    found = tangent("cumlogsumexp", [-INF, 0, 0], [1, 2, 4], axis=0, reverse=False)[0]
    np.testing.assert_allclose(found, [0, 2, 3])


# ---- windows -------------------------------------------------------------------------------------


def test_padding_never_wins() -> None:
    params = window.window_params((2,), None, ((1, 1),))
    np.testing.assert_array_equal(run("reduce_window_max", [-3.0, -5.0], **params), [-3, -3, -5])
    np.testing.assert_array_equal(run("reduce_window_sum", [1, 2], **params), [1, 3, 2])
    low = run(
        "reduce_window_max", np.array([-3], np.int8), **window.window_params((1,), (1,), ((1, 0),))
    )
    assert low.tolist() == [-128, -3]


def test_the_first_of_tied_elements_gets_the_gradient() -> None:
    params = window.window_params((2,), (2,))
    source, x = np.array([7.0, 9.0]), np.array([4.0, 4.0, 1.0, NAN])
    found = run("select_and_scatter_add", source, x, select="ge", **params)
    np.testing.assert_array_equal(found, [7, 0, 0, 9])
    np.testing.assert_array_equal(
        run("select_and_gather_add", x, x, select="le", **params), [4, NAN]
    )


def test_windows_that_do_not_fit() -> None:
    x = TensorType(F32, (3,))
    with pytest.raises(ShapeError, match="window_strides .* must be positive"):
        PRIMS["reduce_window_sum"].infer(x, **window.window_params((2,), (0,)))
    with pytest.raises(ShapeError, match="one entry per axis"):
        PRIMS["reduce_window_sum"].infer(x, **window.window_params((2, 2)))
    with pytest.raises(ShapeError, match="one element per window"):
        PRIMS["select_and_scatter_add"].infer(x, x, select="ge", **window.window_params((2,)))


def test_large_windows_are_not_written_out() -> None:
    class Operand:
        type = TensorType(F32, (500,))

        def __call__(self, index: Any, guard: Any = None) -> Load:
            return Load("x", index, "f32", guard)

    index = (Var("i", "i64"),)
    element = PRIMS["reduce_window_sum"].element
    assert (
        str(element([Operand()], index, **window.window_params((2,)))) == "add(x[i], x[add(i, 1)])"
    )
    with pytest.raises(MissingRule, match="window as large"):
        element([Operand()], index, **window.window_params((400,)))


# ---- sorting -------------------------------------------------------------------------------------


def test_sort_puts_nan_last_and_is_stable() -> None:
    params = {"dimension": 0, "num_keys": 1, "is_stable": True}
    keys = np.array([2.0, NAN, 0.0, -0.0, -INF, NAN])
    found, places = run("sort", keys, np.arange(6), **params)
    np.testing.assert_array_equal(found, [-INF, 0, -0.0, 2, NAN, NAN])
    assert places.tolist() == [4, 2, 3, 0, 1, 5]
    alone = run("sort", keys, **params)
    np.testing.assert_array_equal(np.signbit(alone[1:3]), [False, True])
    half = run("sort", keys.astype(DTYPES["bf16"]), **params)
    np.testing.assert_array_equal(half.astype(float), found)


def test_sort_by_two_keys() -> None:
    params = {"dimension": 0, "num_keys": 2, "is_stable": True}
    a, b = np.array([1, 0, 1, 0]), np.array([5.0, 2.0, 4.0, 3.0])
    first, second = run("sort", a, b, **params)
    assert first.tolist() == [0, 0, 1, 1] and second.tolist() == [2, 3, 4, 5]
    with pytest.raises(ArgumentError, match="num_keys is between 1 and 1, not 2"):
        PRIMS["sort"].infer(TensorType(F32, (2,)), **params)


def test_the_derivative_sorts_once() -> None:
    x = np.array([3.0, 1.0, 2.0])
    for mode in ("jvp", "linearize"):
        with building() as b:
            value, d = b.input(type_of(x)), b.input(type_of(x))
            params = {"dimension": 0, "num_keys": 1, "is_stable": True}
            graph = b.graph([*sum(PRIMS["sort"].push(mode, (value,), (d,), **params), ())])
        assert [n.prim.name for n in graph.nodes].count("sort") == 1
        y, dy = interp.run(graph, [x, np.array([30.0, 10.0, 20.0])])
        assert y.tolist() == [1, 2, 3] and dy.tolist() == [10, 20, 30]


def test_top_k() -> None:
    values, places = run("top_k", [1.0, 3.0, NAN, 3.0], k=3)
    np.testing.assert_array_equal(values, [NAN, 3, 3])
    assert places.tolist() == [2, 1, 3] and places.dtype == np.int32
    values, _ = run("top_k", np.array([0, 255], np.uint8), k=1)
    assert values.tolist() == [255]
    np.testing.assert_array_equal(tangent("top_k", [1, 3, 2], [7, 8, 9], k=2)[0], [8, 9])
    with pytest.raises(ShapeError, match="k = 4 is not within"):
        PRIMS["top_k"].infer(TensorType(F32, (3,)), k=4)
