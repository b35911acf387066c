"""Convolutions against plain loops, the adjoints against pairings, batching with groups, errors."""

from __future__ import annotations

from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from tracejit.errors import ArgumentError, DTypeError, ShapeError
from tracejit.ir import interp
from tracejit.ir.build import building
from tracejit.ir.prim import Linear
from tracejit.ir.types import DTYPES, type_of
from tracejit.ir.verify import verify
from tracejit.ops.conv import PARAMS, conv_general_dilated, spread


def params_of(n: int, **given: Any) -> dict[str, Any]:
    """The params of an ordinary convolution over ``n`` spatial axes, with those of ``given``."""
    ones = (1,) * n
    specs = (tuple(range(n + 2)),) * 3
    defaults = (ones, ((0, 0),) * n, ones, ones, specs, 1, 1, None)
    return {**dict(zip(PARAMS, defaults, strict=True)), **given}


def naive(lhs: Any, rhs: Any, params: dict[str, Any]) -> Any:
    """Every product of one convolution in the plain layout, by its definition."""
    feature_groups, batch_groups = params["feature_group_count"], params["batch_group_count"]
    n_batch, _, *spatial = lhs.shape
    n_out, n_in, *kernel = rhs.shape
    out_batch, group_out = n_batch // batch_groups, n_out // (feature_groups * batch_groups)
    out_spatial = []
    for axis, (low, high) in enumerate(params["padding"]):
        wide = (spatial[axis] - 1) * params["lhs_dilation"][axis] + 1 + low + high
        room = max(wide, 0) - (kernel[axis] - 1) * params["rhs_dilation"][axis] - 1
        out_spatial.append(room // params["window_strides"][axis] + 1 if room >= 0 else 0)
    out = np.zeros((out_batch, n_out, *out_spatial), np.result_type(lhs, rhs))
    for b, o, *at in np.ndindex(*out.shape):
        group = o // group_out
        batch = b + group * out_batch if batch_groups > 1 else b
        first = group * n_in if feature_groups > 1 else 0
        for k in np.ndindex(*kernel):
            source = []
            for axis, (i, j) in enumerate(zip(at, k, strict=True)):
                place = i * params["window_strides"][axis] + j * params["rhs_dilation"][axis]
                place -= params["padding"][axis][0]
                element, gap = divmod(place, params["lhs_dilation"][axis])
                source.append(element if gap == 0 and 0 <= element < spatial[axis] else None)
            if None not in source:
                for i in range(n_in):
                    out[(b, o, *at)] += lhs[(batch, first + i, *source)] * rhs[(o, i, *k)]
    return out


@st.composite
def convolutions(draw: Any) -> tuple[Any, Any, dict[str, Any]]:
    """Operands in the plain layout and their params: everything that can be set is drawn."""
    n = draw(st.integers(1, 2))
    some = st.integers(1, 2)

    def each(low: int, high: int) -> tuple[int, ...]:
        return draw(st.tuples(*[st.integers(low, high)] * n))

    groups, which = draw(st.integers(1, 3)), draw(st.sampled_from(["feature", "batch"]))
    feature_groups, batch_groups = (groups, 1) if which == "feature" else (1, groups)
    features = draw(some)
    lhs = (draw(some) * batch_groups, features * feature_groups, *each(1, 6))
    rhs = (draw(some) * groups, features, *each(1, 3))
    params = params_of(
        n,
        window_strides=each(1, 3),
        padding=tuple(zip(each(-1, 3), each(-1, 3), strict=True)),
        lhs_dilation=each(1, 3),
        rhs_dilation=each(1, 2),
        feature_group_count=feature_groups,
        batch_group_count=batch_groups,
    )
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    return rng.integers(-4, 5, lhs).astype(float), rng.integers(-4, 5, rhs).astype(float), params


@hypothesis.given(convolutions())
def test_agrees_with_loops(drawn: Any) -> None:
    lhs, rhs, params = drawn
    found = conv_general_dilated.numpy(lhs, rhs, **params)
    assert type_of(found) == conv_general_dilated.infer(type_of(lhs), type_of(rhs), **params)
    np.testing.assert_array_equal(found, naive(lhs, rhs, params))


def adjoint(ct: Any, lhs: Any, rhs: Any, linear: int, params: dict[str, Any]) -> Any:
    """The cotangent of one operand, from the transpose rule run by the interpreter."""
    arrays = [ct, rhs if linear == 0 else lhs]
    with building() as b:
        c, other = (b.input(type_of(a)) for a in arrays)
        xs = [other, other]
        xs[linear] = Linear(type_of((lhs, rhs)[linear]))
        out = conv_general_dilated.transpose((c,), tuple(xs), **params)
    assert out[1 - linear] is None
    graph = b.graph((out[linear],))
    verify(graph)
    return interp.run(graph, arrays)[0]


@hypothesis.given(convolutions())
def test_adjoints_pair(drawn: Any) -> None:
    lhs, rhs, params = drawn
    out = conv_general_dilated.numpy(lhs, rhs, **params)
    ct = np.random.default_rng(0).integers(-4, 5, out.shape).astype(float)
    wanted = np.sum(out * ct)
    assert np.sum(adjoint(ct, lhs, rhs, 0, params) * lhs) == wanted
    assert np.sum(adjoint(ct, lhs, rhs, 1, params) * rhs) == wanted


@hypothesis.given(convolutions(), st.sampled_from([(True, True), (True, False), (False, True)]))
def test_batching_stacks(drawn: Any, mask: Any) -> None:
    lhs, rhs, params = drawn
    arrays = [
        np.stack([a, 2 * a + 1, -a]) if m else a for a, m in zip((lhs, rhs), mask, strict=True)
    ]
    with building() as b:
        out = conv_general_dilated.batch(3, mask, [b.input(type_of(a)) for a in arrays], **params)
    graph = b.graph((out,))
    verify(graph)
    assert "broadcast_in_dim" not in [node.prim.name for node in graph.nodes]
    (found,) = interp.run(graph, arrays)
    for k in range(3):
        one = (a[k] if m else a for a, m in zip(arrays, mask, strict=True))
        np.testing.assert_array_equal(found[k], conv_general_dilated.numpy(*one, **params))


@pytest.mark.parametrize("mask", [(True, True), (True, False), (False, True)])
def test_batch_of_nothing(mask: Any) -> None:
    shapes = ((0, 2, 3, 5) if mask[0] else (2, 3, 5), (0, 4, 3, 2) if mask[1] else (4, 3, 2))
    with building() as b:
        xs = [b.input(type_of(np.zeros(shape))) for shape in shapes]
        out = conv_general_dilated.batch(0, mask, xs, **params_of(1))
    assert out.type.shape == (0, 2, 4, 4)


def test_layouts_only_move_axes() -> None:
    rng = np.random.default_rng(0)
    lhs, rhs = rng.standard_normal((2, 3, 6, 5)), rng.standard_normal((4, 3, 3, 2))
    plain = conv_general_dilated.numpy(lhs, rhs, **params_of(2, window_strides=(2, 1)))
    specs = ((2, 0, 3, 1), (1, 3, 2, 0), (3, 1, 0, 2))
    moved = [
        np.transpose(a, np.argsort(spec)) for a, spec in zip((lhs, rhs, plain), specs, strict=True)
    ]
    params = params_of(2, window_strides=(2, 1), dimension_numbers=specs)
    np.testing.assert_allclose(conv_general_dilated.numpy(*moved[:2], **params), moved[2])


def test_three_and_no_spatial_axes() -> None:
    rng = np.random.default_rng(0)
    lhs, rhs = rng.standard_normal((1, 2, 3, 4, 5)), rng.standard_normal((2, 2, 2, 3, 1))
    params = params_of(3, padding=((1, 0), (0, 0), (2, 1)), window_strides=(1, 2, 3))
    found = conv_general_dilated.numpy(lhs, rhs, **params)
    np.testing.assert_allclose(found, naive(lhs, rhs, params))
    lhs, rhs = rng.standard_normal((3, 4)), rng.standard_normal((5, 4))
    np.testing.assert_allclose(conv_general_dilated.numpy(lhs, rhs, **params_of(0)), lhs @ rhs.T)


@pytest.mark.parametrize("name", ["f16", "bf16"])
def test_narrow_floats_accumulate_in_float32(name: str) -> None:
    lhs, rhs = np.ones((1, 1, 4096), DTYPES[name]), np.ones((1, 1, 4096), DTYPES[name])
    found = conv_general_dilated.numpy(lhs, rhs, **params_of(1))
    assert found.dtype == DTYPES[name] and float(found.reshape(())) == 4096.0


def test_preferred_element_type_and_its_adjoint() -> None:
    lhs, rhs = np.full((1, 1, 3), 200, np.uint8), np.full((1, 1, 3), 200, np.uint8)
    params = params_of(1, preferred_element_type=DTYPES["i32"])
    assert conv_general_dilated.numpy(lhs, rhs, **params).item() == 3 * 200 * 200
    lhs, rhs = np.ones((1, 1, 3), np.float16), np.ones((1, 1, 2), np.float16)
    params = params_of(1, preferred_element_type=DTYPES["f32"])
    found = adjoint(np.ones((1, 1, 2), np.float32), lhs, rhs, 1, params)
    assert found.dtype == np.float16 and found.tolist() == [[[2.0, 2.0]]]


def test_spread() -> None:
    x = np.array([1, 2, 3])
    assert spread(x, ((1, 2),), (2,)).tolist() == [0, 1, 0, 2, 0, 3, 0, 0]
    assert spread(x, ((-1, -2),), (2,)).tolist() == [0, 2]
    assert spread(x, ((-3, 1),), (1,)).tolist() == [0]
    assert spread(x, ((-3, -3),), (1,)).tolist() == []


@pytest.mark.parametrize(
    "lhs, rhs, given, error, words",
    [
        ((2, 3, 5), (4, 2, 3), {}, ShapeError, ["axis 1", "3 features", "2 * 1"]),
        ((2, 3, 5), (4, 3, 3, 3), {}, ShapeError, ["equal rank"]),
        ((2, 4, 5), (3, 2, 3), {"feature_group_count": 2}, ShapeError, ["3 output features"]),
        ((3, 4, 5), (2, 4, 3), {"batch_group_count": 2}, ShapeError, ["3 batch entries"]),
        ((2, 3, 5), (4, 3, 3), {"window_strides": (0,)}, ArgumentError, ["must be positive"]),
        ((2, 3, 5), (4, 3, 3), {"padding": ()}, ArgumentError, ["padding", "spatial axis (1)"]),
        ((2, 3, 5), (4, 3, 3), {"dimension_numbers": ((0, 1, 1),) * 3}, ArgumentError, ["three"]),
        (
            (2, 4, 5),
            (4, 2, 3),
            {"feature_group_count": 2, "batch_group_count": 2},
            ArgumentError,
            ["not both"],
        ),
        (
            (2, 3, 5),
            (4, 3, 3),
            {"preferred_element_type": DTYPES["i32"]},
            DTypeError,
            ["accumulate"],
        ),
    ],
)
def test_errors(lhs: Any, rhs: Any, given: Any, error: Any, words: list[str]) -> None:
    types = (type_of(np.zeros(lhs, np.float32)), type_of(np.zeros(rhs, np.float32)))
    with pytest.raises(error) as caught:
        conv_general_dilated.infer(*types, **params_of(1, **given))
    assert all(word in caught.value.what for word in words), caught.value.what
