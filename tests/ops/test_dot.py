"""Contractions: errors, accumulation, what batching makes of them, how BLAS sees the operands."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tracejit.errors import DTypeError, ShapeError
from tracejit.ir import interp
from tracejit.ir.build import building
from tracejit.ir.graph import Graph
from tracejit.ir.prim import Linear
from tracejit.ir.types import DTYPES, TensorType, parse_type, type_of
from tracejit.ir.verify import verify
from tracejit.ops.dot import MatrixView, as_matmul, dot_general, free_axes

MATMUL = (((1,), (0,)), ((), ()))


def dot(a: Any, b: Any, numbers: Any = MATMUL, preferred: str | None = None) -> Any:
    element = None if preferred is None else DTYPES[preferred]
    return dot_general.numpy(a, b, dimension_numbers=numbers, preferred_element_type=element)


def batched(size: int, mask: Any, types: Any, numbers: Any) -> Graph:
    with building() as b:
        xs = [b.input(parse_type(t)) for t in types]
        out = dot_general.batch(
            size, mask, xs, dimension_numbers=numbers, preferred_element_type=None
        )
    graph = b.graph((out,))
    verify(graph)
    return graph


def naive(a: Any, b: Any, numbers: Any) -> Any:
    """Element by element, with Python loops over the axes by their role."""
    (lc, rc), (lb, rb) = numbers
    lf, rf = free_axes(a.ndim, lc, lb), free_axes(b.ndim, rc, rb)
    shape = [a.shape[k] for k in (*lb, *lf)] + [b.shape[k] for k in rf]
    out = np.zeros(shape, a.dtype)
    for where in np.ndindex(*shape):
        for k in np.ndindex(*(a.shape[axis] for axis in lc)):
            left, right = [0] * a.ndim, [0] * b.ndim
            batch, rest = where[: len(lb)], where[len(lb) :]
            for axes, values, index in (
                (lb, batch, left),
                (rb, batch, right),
                (lf, rest, left),
                (rf, rest[len(lf) :], right),
                (lc, k, left),
                (rc, k, right),
            ):
                for axis, value in zip(axes, values, strict=False):
                    index[axis] = value
            out[where] += a[tuple(left)] * b[tuple(right)]
    return out


@pytest.mark.parametrize(
    "numbers, a, b",
    [
        (MATMUL, (3, 4), (4, 2)),
        ((((0, 2), (1, 0)), ((1,), (2,))), (2, 3, 4), (4, 2, 3)),
        ((((1,), (2,)), ((0, 3), (3, 1))), (2, 5, 2, 3), (4, 3, 5, 2)),
        ((((), ()), ((), ())), (2, 3), (2,)),
    ],
)
def test_agrees_with_loops(numbers: Any, a: Any, b: Any) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(-9, 9, a), rng.integers(-9, 9, b)
    np.testing.assert_array_equal(dot(x, y, numbers), naive(x, y, numbers))


def test_integers_wrap_and_are_exact() -> None:
    big = np.full((1, 2), 2**62 + 1, np.int64)
    assert dot(big, np.ones((2, 1), np.int64))[0, 0] == -(2**63) + 2
    bytes_ = np.full((1, 3), 200, np.uint8)
    assert dot(bytes_, bytes_.T)[0, 0] == (3 * 200 * 200) % 256
    assert dot(bytes_, bytes_.T, preferred="i32")[0, 0] == 3 * 200 * 200


def test_booleans_are_any_of_and() -> None:
    a = np.array([[True, False], [False, False]])
    found = dot(a, np.array([[True], [True]]))
    assert found.dtype == np.bool_ and found.tolist() == [[True], [False]]
    assert dot(np.ones((1, 3), bool), np.ones((3, 1), bool), preferred="i32")[0, 0] == 3


@pytest.mark.parametrize("name", ["f16", "bf16"])
def test_narrow_floats_accumulate_in_float32(name: str) -> None:
    # in 16 bits the sum would stop growing at 2048 (f16) or 256 (bf16)
    ones = np.ones((1, 4096), DTYPES[name])
    found = dot(ones, ones.T)
    assert found.dtype == DTYPES[name] and float(found[0, 0]) == 4096.0


def test_empty_contraction_is_zero() -> None:
    assert np.array_equal(dot(np.ones((2, 0)), np.ones((0, 3))), np.zeros((2, 3)))


@pytest.mark.parametrize(
    "a, b, numbers, words",
    [
        ("f32[2,3]", "f32[4,5]", MATMUL, ["contracts axis 1", "axis 0", "(3)", "(4)"]),
        ("f32[2,3]", "f32[3,5]", (((2,), (0,)), ((), ())), ["axes (2,) of the left"]),
        ("f32[2,3]", "f32[3,5]", (((1, 1), (0, 0)), ((), ())), ["left", "twice"]),
        ("f32[2,3]", "f32[3,5]", (((1,), (0, 1)), ((), ())), ["1 axes on the left, 2"]),
        ("f32[2,3]", "f32[4,3]", (((1,), (1,)), ((0,), (0,))), ["batches axis 0", "(2)", "(4)"]),
    ],
)
def test_shape_errors_name_the_axes(a: str, b: str, numbers: Any, words: list[str]) -> None:
    with pytest.raises(ShapeError) as caught:
        dot_general.infer(
            parse_type(a), parse_type(b), dimension_numbers=numbers, preferred_element_type=None
        )
    assert all(word in caught.value.what for word in words), caught.value.what


def test_dtype_errors() -> None:
    def infer(a: str, b: str, preferred: str | None) -> None:
        element = None if preferred is None else DTYPES[preferred]
        types = TensorType(DTYPES[a], (2, 2)), TensorType(DTYPES[b], (2, 2))
        dot_general.infer(*types, dimension_numbers=MATMUL, preferred_element_type=element)

    with pytest.raises(DTypeError, match="dtypes differ"):
        infer("f32", "f64", None)
    for wanted in ("f16", "i32"):
        with pytest.raises(DTypeError, match="accumulate"):
            infer("f32", "f32", wanted)


# ---- adjoints ------------------------------------------------------------------------------------


@pytest.mark.parametrize("b", [((3, 4), MATMUL), ((4, 3), (((1,), (1,)), ((), ())))])
@pytest.mark.parametrize("linear", [0, 1])
def test_adjoint_of_a_matrix_product_is_one_matrix_product(b: Any, linear: int) -> None:
    (shape, numbers), f32 = b, DTYPES["f32"]
    types = (TensorType(f32, (2, 3)), TensorType(f32, shape))
    with building() as builder:
        ct = builder.input(TensorType(f32, (2, 4)))
        xs: list[Any] = [builder.input(t) for t in types]
        xs[linear] = Linear(types[linear])
        out = dot_general.transpose(
            (ct,), xs, dimension_numbers=numbers, preferred_element_type=None
        )
    assert out[linear].type == types[linear] and out[1 - linear] is None
    assert [node.prim.name for node in builder.nodes] == ["dot_general"]


# ---- batching ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "mask, types, nodes",
    [
        ((True, True), ("f32[7,2,3]", "f32[7,3,4]"), ["dot_general"]),
        ((True, False), ("f32[7,2,3]", "f32[3,4]"), ["dot_general"]),
        ((False, True), ("f32[2,3]", "f32[7,3,4]"), ["dot_general", "transpose"]),
    ],
)
def test_unbatched_operands_are_not_repeated(mask: Any, types: Any, nodes: list[str]) -> None:
    graph = batched(7, mask, types, MATMUL)
    assert [node.prim.name for node in graph.nodes] == nodes
    assert graph.output_types == (parse_type("f32[7,2,4]"),)


def test_weights_times_batched_vectors_is_one_product() -> None:
    graph = batched(7, (False, True), ("f32[2,3]", "f32[7,3]"), MATMUL)
    (node,) = graph.nodes
    assert node.inputs == graph.inputs[::-1]
    rng = np.random.default_rng(0)
    w, v = rng.standard_normal((2, 3), np.float32), rng.standard_normal((7, 3), np.float32)
    np.testing.assert_allclose(interp.run(graph, [w, v])[0], v @ w.T, rtol=1e-6)


# ---- as a matrix product -------------------------------------------------------------------------


def read(array: Any, view: MatrixView, batch: Any, rows: int, columns: int) -> Any:
    """What BLAS sees of an operand through ``view``."""
    steps = (1, view.leading) if view.transposed else (view.leading, 1)
    assert view.leading >= max(1, rows if view.transposed else columns)
    strides = [step * array.itemsize for step in (*view.batch_strides, *steps)]
    return np.lib.stride_tricks.as_strided(array, (*batch, rows, columns), strides)


@pytest.mark.parametrize(
    "a, b, numbers, plain",
    [
        ((3, 4), (4, 5), MATMUL, (False, False)),
        ((3, 4), (5, 4), (((1,), (1,)), ((), ())), (False, True)),
        ((4, 3), (4, 5), (((0,), (0,)), ((), ())), (True, False)),
        ((2, 3, 4), (2, 4, 5), (((2,), (1,)), ((0,), (0,))), (False, False)),
        # attention with the heads behind the positions: strided, but no copy
        ((2, 5, 3, 4), (2, 6, 3, 4), (((3,), (3,)), ((0, 2), (0, 2))), (False, True)),
        # two contracted axes that lie side by side, named in the other order
        ((3, 4, 5), (4, 5, 2), (((2, 1), (1, 0)), ((), ())), (False, False)),
        ((3, 4), (4,), (((1,), (0,)), ((), ())), (False, False)),
        ((3, 1), (1, 5), MATMUL, (False, False)),
        ((1, 4), (4, 5), MATMUL, (False, False)),
        # free axes on both sides of the contracted one have no common stride
        ((3, 4, 5), (4, 2), (((1,), (0,)), ((), ())), (None, False)),
    ],
)
def test_as_matmul(a: Any, b: Any, numbers: Any, plain: Any) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal(a), rng.standard_normal(b)
    found = as_matmul(type_of(x), type_of(y), numbers)
    views = (found.lhs_view, found.rhs_view)
    assert tuple(None if v is None else v.transposed for v in views) == plain
    left = np.transpose(x, found.lhs_axes).reshape(*found.batch_shape, found.m, found.k)
    right = np.transpose(y, found.rhs_axes).reshape(*found.batch_shape, found.k, found.n)
    if found.lhs_view is not None:
        seen = read(x, found.lhs_view, found.batch_shape, found.m, found.k)
        np.testing.assert_array_equal(seen, left)
    if found.rhs_view is not None:
        seen = read(y, found.rhs_view, found.batch_shape, found.k, found.n)
        np.testing.assert_array_equal(seen, right)
    wanted = dot(x, y, numbers)
    np.testing.assert_allclose((left @ right).reshape(wanted.shape), wanted, rtol=1e-12)


def test_as_matmul_of_empty_operands() -> None:
    found = as_matmul(parse_type("f32[3,0]"), parse_type("f32[0,5]"), MATMUL)
    assert (found.b, found.m, found.n, found.k) == (1, 3, 5, 0)
