"""The memory plan: what shares memory, what must not, how large the arena is."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fuzz.checks import check_graph, check_plan
from tests.fuzz.graphs import random_arrays
from tests.passes.pass_checks import graph_of
from tests.passes.test_group import groups, product
from tracejit.ir.build import building, full_like
from tracejit.ir.graph import Graph
from tracejit.passes.place import Plan, Storage, assign_offsets, most_alive, place_buffers
from tracejit.transform import PRIMS as P


def plan_of(graph: Graph) -> Plan:
    plan = place_buffers(groups(graph))
    check_plan(plan)
    return plan


def test_a_chain_needs_two_buffers() -> None:
    def build(x: Any) -> Any:
        y = x
        for _ in range(6):
            y = product(y, x)
        return y

    plan = plan_of(graph_of("f32[64,64]", build))
    assert plan.arena == plan.live == 2 * 64 * 64 * 4


def test_a_map_takes_the_memory_of_its_dying_operand() -> None:
    graph = graph_of("f32[64,64]", lambda x: product(P["tanh"](product(x, x)), x))
    plan = plan_of(graph)
    assert plan.arena == 64 * 64 * 4
    assert "dot_general: f32[64,64] -> tanh: f32[64,64]" in str(plan)
    check_graph(graph, random_arrays(graph, 0))


def test_a_carry_handed_on_is_not_written() -> None:
    def build(x: Any, y: Any) -> Any:
        z = product(x, y)
        with building() as b:
            kept, changed = b.input(z.type), b.input(z.type)
            body = b.graph((kept, P["tanh"](P["add"](changed, kept))))
        loop = {"body": body, "n_consts": 0, "n_carry": 2, "length": 3, "reverse": False}
        same, changed = P["scan"](z, y, **loop)
        first = product(P["add"](same, full_like(same, 1.0)), y)
        return first, product(P["mul"](z, full_like(z, 2.0)), changed)

    graph = graph_of("f32[16,16]", "f32[16,16]", build)
    plan_of(graph)
    check_graph(graph, random_arrays(graph, 0))


def test_a_carry_that_an_outer_loop_stacks_stays_in_its_slice() -> None:
    """The inner loop changes places with its carry at each step; one of both is no slice."""

    def build(v: Any, s: Any) -> Any:
        with building() as b:
            old, other = b.input(v.type), b.input(s.type)
            inner = b.graph((P["tanh"](product(other, old)), P["tanh"](product(old, other))))
        with building() as b:
            old, other = b.input(v.type), b.input(s.type)
            found = P["scan"](
                old, other, body=inner, n_consts=0, n_carry=2, length=5, reverse=False
            )
            more = P["add"](other, full_like(other, 0.1))
            body = b.graph((old, more, found[1]))
        return P["scan"](v, s, body=body, n_consts=0, n_carry=2, length=3, reverse=False)[2]

    graph = graph_of("f32[16,16]", "f32[16,16]", build)
    check_graph(graph, random_arrays(graph, 0))


def test_what_a_loop_makes_anew_each_time_shares_memory() -> None:
    def build(x: Any) -> Any:
        with building() as b:
            c = b.input(x.type)
            y = c
            for _ in range(8):
                y = P["tanh"](product(y, c))
            body = b.graph((y,))
        return P["scan"](x, body=body, n_consts=0, n_carry=1, length=3, reverse=False)

    plan = plan_of(graph_of("f32[64,64]", build))
    assert plan.arena <= 5 * 64 * 64 * 4


def storages(*rows: tuple[int, int, int]) -> list[Storage]:
    return [Storage("arena", 0, nbytes, first, last) for nbytes, first, last in rows]


@pytest.mark.parametrize(
    "rows",
    (
        [(64, 0, 1)],
        [(128, 0, 1), (64, 1, 2), (128, 2, 3)],
        [(64, 0, 5), (128, 1, 2), (192, 2, 3), (64, 3, 5), (128, 4, 6)],
    ),
)
def test_offsets(rows: list[tuple[int, int, int]]) -> None:
    found = storages(*rows)
    size = assign_offsets(found)
    check_plan(Plan((), (), tuple(found), (), size, most_alive(found)))
    assert size <= 1.05 * most_alive(found)


def test_no_storages() -> None:
    assert assign_offsets([]) == most_alive([]) == 0
