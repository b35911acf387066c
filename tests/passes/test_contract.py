"""``canonicalise`` keeps the meaning, and leaves only contractions that can be computed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.kernel.test_conv import LAST, close, params
from tracejit.ir import interp
from tracejit.ir.build import building
from tracejit.ir.graph import Graph, literal, walk_nodes
from tracejit.ir.types import DTYPES, TensorType, kind, short
from tracejit.ir.verify import verify
from tracejit.ops.conv import conv_general_dilated
from tracejit.ops.dot import as_matmul, dot_general
from tracejit.passes.contract import canonicalise
from tracejit.passes.conv_plan import geometry, wants_packed

NONE: Any = ((), ())


def graph_of(prim: Any, types: Any, p: dict[str, Any]) -> Graph:
    with building() as b:
        out = prim(*(b.input(t) for t in types), **p)
    return b.graph((out,))


def check_forms(graph: Graph) -> None:
    """Every contraction has the form that back ends compute."""
    for node in walk_nodes(graph):
        types = [x.type for x in node.inputs]
        if node.prim is dot_general:
            plan = as_matmul(*types, node.params["dimension_numbers"])
            assert plan.lhs_view is not None and plan.rhs_view is not None
            assert node.outputs[0].type.dtype == types[0].dtype
        if node.prim is conv_general_dilated:
            assert not wants_packed(geometry(*types, dict(node.params)))


def names(graph: Graph) -> list[str]:
    return [node.prim.name for node in graph.nodes]


def same_meaning(graph: Graph, made: Graph) -> None:
    random = np.random.default_rng(5)
    inputs = []
    for t in graph.input_types:
        if kind(t.dtype) in "biu":
            inputs.append(
                random.integers(0, 2 if kind(t.dtype) == "b" else 5, t.shape).astype(t.dtype)
            )
        elif kind(t.dtype) == "c":
            inputs.append((random.standard_normal(t.shape) + 1j).astype(t.dtype))
        else:
            inputs.append(random.standard_normal(t.shape).astype(t.dtype))
    (wanted,), (got,) = interp.run(graph, inputs), interp.run(made, inputs)
    if kind(wanted.dtype) == "c":
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)
    elif wanted.size:
        close(np.asarray(got), wanted, short(wanted.dtype))


@pytest.mark.parametrize("prim", [dot_general, conv_general_dilated], ids=str)
def test_cases_of_the_record(prim: Any) -> None:
    for types, p in prim.cases():
        graph = graph_of(prim, types, p)
        made = canonicalise(graph)
        verify(made)
        check_forms(made)
        same_meaning(graph, made)
        assert canonicalise(made) is made


F32 = DTYPES["f32"]


def f32(*shape: int) -> TensorType:
    return TensorType(F32, shape)


DOTS = [
    ((40, 50), (50, 60), (((1,), (0,)), NONE), ["dot_general"]),
    # the contracted axis lies between free ones
    ((40, 30, 50), (30, 60), (((1,), (0,)), NONE), ["transpose", "dot_general"]),
    ((40, 30, 5), (60, 5, 30), (((1, 2), (2, 1)), NONE), ["transpose", "dot_general"]),
    ((30, 7, 40, 5), (7, 40, 9, 30), (((0,), (3,)), ((2,), (1,))), None),
    ((6, 7), (7,), (((1,), (0,)), NONE), ["broadcast_in_dim", "mul", "reduce_sum"]),
    ((6, 1), (1, 8), (((1,), (0,)), NONE), None),
    ((300, 1000), (1000,), (((1,), (0,)), NONE), ["dot_general"]),
    ((5, 0), (0, 6), (((1,), (0,)), NONE), []),
]


@pytest.mark.parametrize("a,b,numbers,expected", DOTS, ids=range(len(DOTS)))
def test_dot(a: Any, b: Any, numbers: Any, expected: list[str] | None) -> None:
    p = {"dimension_numbers": numbers, "preferred_element_type": None}
    graph = graph_of(dot_general, (f32(*a), f32(*b)), p)
    made = canonicalise(graph)
    check_forms(made)
    same_meaning(graph, made)
    if expected is not None:
        assert names(made) == expected


def test_large_products_of_16_bits_go_to_blas() -> None:
    p = {"dimension_numbers": (((1,), (0,)), NONE), "preferred_element_type": None}
    types = [TensorType(DTYPES["bf16"], shape) for shape in ((100, 90), (90, 80))]
    made = canonicalise(graph_of(dot_general, types, p))
    assert names(made) == ["convert", "convert", "dot_general", "convert"]
    same_meaning(graph_of(dot_general, types, p), made)


CONVS = [
    (
        (2, 3, 8, 8),
        (4, 3, 3, 3),
        params(2, padding=((1, 1), (1, 1))),
        ["pad", "conv_general_dilated"],
    ),
    ((2, 3, 8, 8), (4, 3, 3, 3), params(2), ["conv_general_dilated"]),
    ((1, 20, 8, 8), (30, 20, 1, 1), params(2), ["reshape", "dot_general", "reshape"]),
    ((2, 8, 8, 20), (1, 1, 20, 30), params(2, dimension_numbers=LAST), ["reshape", "dot_general"]),
    (
        (2, 8, 8, 20),
        (1, 1, 20, 30),
        params(2, dimension_numbers=LAST, window_strides=(2, 2)),
        ["slice", "reshape", "dot_general"],
    ),
    ((9, 20, 8, 8), (30, 20, 8, 8), params(2), ["dot_general", "reshape"]),
    ((2, 20, 8, 8), (30, 20, 1, 1), params(2), ["conv_general_dilated"]),
    ((2, 20, 8, 8), (30, 20, 1, 1), params(2, window_strides=(2, 3)), None),
    ((2, 20, 9, 9), (30, 20, 4, 5), params(2, rhs_dilation=(2, 2), window_strides=(3, 1)), None),
    # the gradient of that with respect to the kernel: a product for each image, then their sum
    (
        (2, 20, 8, 8),
        (2, 30, 8, 8),
        params(2, dimension_numbers=((1, 0, 2, 3),) * 3),
        ["dot_general", "reduce_sum", "reshape"],
    ),
    (
        (2, 3, 7, 6),
        (4, 3, 3, 3),
        params(2, lhs_dilation=(2, 2), padding=((1, 2), (1, 1))),
        None,
    ),
    (
        (2, 4, 7),
        (4, 2, 4),
        params(1, lhs_dilation=(3,), padding=((3, 2),), feature_group_count=2),
        None,
    ),
    ((2, 4, 7), (4, 4, 1), params(1, lhs_dilation=(3,), padding=((0, 2),)), None),
    (
        (2, 3, 20, 20),
        (8, 3, 3, 3),
        params(2, window_strides=(2, 2), padding=((1, 1), (1, 1))),
        ["transpose", "conv_general_dilated"],
    ),
    (
        (2, 20, 20, 8),
        (3, 3, 8, 16),
        params(2, padding=((1, 1), (1, 1)), dimension_numbers=LAST),
        ["conv_general_dilated"],
    ),
    # lanes over columns: padding is copied
    (
        (2, 8, 9, 64),
        (4, 8, 3, 3),
        params(2, padding=((1, 1), (1, 1))),
        ["pad", "conv_general_dilated"],
    ),
    (
        (2, 16, 9, 9),
        (16, 1, 3, 3),
        params(2, padding=((1, 1), (1, 1)), feature_group_count=16),
        ["pad", "conv_general_dilated"],
    ),
    ((2, 3, 9), (4, 3, 3), params(1, padding=((-1, 2),), lhs_dilation=(2,)), None),
]


@pytest.mark.parametrize("a,b,p,expected", CONVS, ids=range(len(CONVS)))
def test_conv(a: Any, b: Any, p: Any, expected: list[str] | None) -> None:
    graph = graph_of(conv_general_dilated, (f32(*a), f32(*b)), p)
    made = canonicalise(graph)
    check_forms(made)
    same_meaning(graph, made)
    if expected is not None:
        assert names(made) == expected


def test_gradient_of_strides_meets_no_zeros() -> None:
    p = params(2, lhs_dilation=(2, 2), padding=((2, 1), (2, 1)))
    graph = graph_of(conv_general_dilated, (f32(2, 8, 14, 14), f32(6, 8, 3, 3)), p)
    made = canonicalise(graph)
    assert names(made).count("conv_general_dilated") + names(made).count("dot_general") == 4
    for node in made.nodes:
        if node.prim is conv_general_dilated:
            assert max(node.inputs[0].type.shape[2:]) <= 16
    same_meaning(graph, made)


def test_literals_get_a_buffer() -> None:
    with building() as b:
        x = b.input(f32(40, 50))
        out = dot_general(
            x,
            literal(2.0, f32(50, 60)),
            dimension_numbers=(((1,), (0,)), NONE),
            preferred_element_type=None,
        )
    graph = b.graph((out,))
    made = canonicalise(graph)
    assert names(made) == ["full", "dot_general"]
    same_meaning(graph, made)
