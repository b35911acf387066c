"""Merging of equal nodes."""

from __future__ import annotations

import dataclasses

import numpy as np

from tests.passes.pass_checks import assert_same_meaning, graph_of, names
from tracejit.ir.graph import ConstArray
from tracejit.ops.arith import add, max_, mul, sub
from tracejit.ops.layout import constant, transpose
from tracejit.ops.math import exp
from tracejit.ops.parts import barrier
from tracejit.passes.merge import merge_equal
from tracejit.transform.branch import call


def test_equal_nodes_merge_with_all_that_depends_on_them() -> None:
    graph = graph_of("f32[3]", lambda x: (mul(exp(x), 2), mul(exp(x), 2), exp(mul(x, 2))))
    after = merge_equal(graph)
    assert_same_meaning(graph, after)
    assert names(after) == ["exp", "mul", "mul", "exp"]
    assert after.outputs[0] is after.outputs[1]
    assert merge_equal(after) is after


def test_operands_of_sums_and_products_may_change_places() -> None:
    graph = graph_of(
        "f32[3]", "f32[3]", lambda x, y: (add(x, y), add(y, x), mul(2.0, x), mul(x, 2))
    )
    assert names(merge_equal(graph)) == ["add", "mul"]


def test_order_matters_elsewhere() -> None:
    """max(0.0, -0.0) is not max(-0.0, 0.0)."""
    graph = graph_of(
        "f32[3]", "f32[3]", lambda x, y: (sub(x, y), sub(y, x), max_(x, y), max_(y, x))
    )
    assert merge_equal(graph) is graph


def test_params_and_literals_are_compared_by_bits() -> None:
    graph = graph_of(
        "f32[2,2]",
        lambda x: (
            add(x, 0.0),
            add(x, -0.0),
            mul(x, float("nan")),
            mul(x, float("nan")),
            transpose(x, permutation=(1, 0)),
            transpose(x, permutation=(0, 1)),
        ),
    )
    assert names(merge_equal(graph)) == ["add", "add", "mul", "transpose", "transpose"]


def test_equal_constants_merge() -> None:
    def held() -> object:
        return constant(value=ConstArray(np.arange(3)))

    assert names(merge_equal(graph_of(lambda: (held(), held())))) == ["constant"]


def test_barriers_and_effects_do_not_merge() -> None:
    shout = dataclasses.replace(exp, name="shout", effect=True)
    graph = graph_of("f32[3]", lambda x: (barrier(x), barrier(x), shout(x), shout(x)))
    assert merge_equal(graph) is graph
    inner = graph_of("f32[3]", lambda x: shout(x))
    graph = graph_of("f32[3]", lambda x: (*call(x, graph=inner), *call(x, graph=inner)))
    assert merge_equal(graph) is graph


def test_calls_of_equal_graphs_merge_and_their_insides_too() -> None:
    def inner() -> object:
        return graph_of("f32[3]", lambda x: add(exp(x), exp(x)))

    graph = graph_of("f32[3]", lambda x: (*call(x, graph=inner()), *call(x, graph=inner())))
    after = merge_equal(graph)
    assert names(after) == ["call"]
    assert names(after.nodes[0].params["graph"]) == ["exp", "add"]
