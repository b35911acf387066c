"""Sums over the elements of a step that are taken after the loop, and constants in front of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.fuzz.checks import check_graph
from tests.fuzz.graphs import random_arrays
from tests.passes.pass_checks import graph_of, names
from tracejit.ir import interp
from tracejit.ir.build import full_like
from tracejit.ir.graph import ConstArray, Graph
from tracejit.ir.types import DTYPES, TensorType
from tracejit.ir.verify import verify
from tracejit.ops.arith import add, mul, sub
from tracejit.ops.broadcast import broadcast_in_dim, reduce_sum
from tracejit.ops.layout import constant, pad, reshape
from tracejit.ops.logic import lt
from tracejit.ops.reduce import reduce_and
from tracejit.passes.lift import lift_constants
from tracejit.passes.spread import spread_sums
from tracejit.runtime.cpu import can_fuse
from tracejit.transform.loops import Scan, while_

TYPES = ("f32[]", "f32[50]", "f32[6,50]")


def spread(graph: Graph) -> Graph:
    found = spread_sums(graph, can_fuse)
    verify(found)
    arrays = random_arrays(graph, 0)
    for got, want in zip(interp.run(found, arrays), interp.run(graph, arrays), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5)
    return found


def summing(body: Any, total: str = "f32[]") -> Graph:
    """Carries are a total and a state of 50 elements; slices too."""
    s = Scan(graph_of(total, *TYPES[1:2], "f32[50]", body), 0, 2, 6, False)
    return graph_of(total, *TYPES[1:], lambda t, c, x: s(t, c, x))


def step_sum(x: Any) -> Any:
    return reduce_sum(x, axes=(0,))


def test_a_sum_of_all_steps_is_taken_afterwards() -> None:
    graph = summing(lambda t, c, x: (add(t, step_sum(mul(c, x))), add(c, x)))
    found = spread(graph)
    assert names(found) == ["scan", "reduce_sum", "add"]
    groups = check_graph(graph, random_arrays(graph, 1)).stages.groups.groups
    assert [g.kind for g in groups if g.kind != "fused"] == ["loop"]


def test_sums_placed_in_a_vector() -> None:
    """As the gradient of p[0] * x + p[1] * y makes them, scaled and of either sign."""

    def body(t: Any, c: Any, x: Any) -> Any:
        zero = full_like(TensorType(DTYPES["f32"], ()), 0)
        parts = [reshape(step_sum(v), new_sizes=(1,)) for v in (mul(c, x), c)]
        first = pad(parts[0], zero, config=((0, 1, 0),))
        second = pad(parts[1], zero, config=((1, 0, 0),))
        return add(sub(first, mul(second, 0.5)), t), mul(x, 0.5)

    found = spread(summing(body, "f32[2]"))
    assert names(found)[0] == "scan" and names(found).count("reduce_sum") == 2
    assert names(found.nodes[0].params["body"]).count("reduce_sum") == 0


def everywhere(t: Any) -> Any:
    return broadcast_in_dim(t, shape=(50,), dims=())


@pytest.mark.parametrize(
    "body",
    (
        # the total is read, or scaled; a step adds something that is not linear in its sums
        lambda t, c, x: (add(t, step_sum(c)), mul(x, everywhere(t))),
        lambda t, c, x: (add(mul(t, 0.5), step_sum(c)), x),
        lambda t, c, x: (add(t, mul(s := step_sum(c), s)), x),
        lambda t, c, x: (add(t, add(step_sum(c), 1.0)), x),
        lambda t, c, x: (add(t, step_sum(c)), mul(x, everywhere(step_sum(x)))),
    ),
)
def test_other_totals_stay(body: Any) -> None:
    graph = summing(body)
    assert spread(graph) == graph


def test_constants_of_a_body_are_operands() -> None:
    table = ConstArray(np.arange(50, dtype=np.float32))

    def step(c: Any) -> Any:
        return add(mul(c, 0.5), constant(value=table))

    scanned = Scan(graph_of("f32[50]", step), 0, 1, 5, False)
    graph = graph_of("f32[50]", lambda c: scanned(c)[0])
    found = lift_constants(graph)
    verify(found)
    assert names(found) == ["constant", "scan"] and found.nodes[1].params["n_consts"] == 1
    made = check_graph(graph, random_arrays(graph, 0))
    assert [g.kind for g in made.stages.groups.groups] == ["loop"]


def test_constants_of_a_condition_are_operands() -> None:
    limits = ConstArray(np.arange(3, dtype=np.float32) + 20)
    cond = graph_of("f32[3]", lambda c: reduce_and(lt(c, constant(value=limits)), axes=(0,)))
    body = graph_of("f32[3]", lambda c: add(c, constant(value=limits)))
    graph = graph_of("f32[3]", lambda c: while_(c, cond=cond, body=body, n_consts=0))
    found = lift_constants(graph)
    verify(found)
    assert found.nodes[-1].params["n_consts"] == 2
    check_graph(graph, random_arrays(graph, 0))
