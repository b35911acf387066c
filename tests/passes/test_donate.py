"""Results that may take an argument's memory, by what the steps of a plan read and write."""

from __future__ import annotations

from typing import Any

import pytest

from tests.passes.pass_checks import graph_of
from tracejit.ir.graph import Graph
from tracejit.passes.donate import reused
from tracejit.passes.group import partition
from tracejit.passes.outputs import own_outputs
from tracejit.passes.place import place_buffers
from tracejit.runtime import cpu
from tracejit.transform import PRIMS as P


def pairs(graph: Graph, *donated: int) -> tuple[tuple[int, int], ...]:
    plan = place_buffers(partition(own_outputs(graph, cpu.can_fuse), cpu.can_fuse))
    return reused(plan, frozenset(donated))


def product(x: Any, y: Any) -> Any:
    numbers = (((1,), (0,)), ((), ()))
    return P["dot_general"](x, y, dimension_numbers=numbers, preferred_element_type=None)


def turned(x: Any) -> Any:
    return P["transpose"](x, permutation=(1, 0))


SQUARE = ("f32[90,90]", "f32[90,90]")


@pytest.mark.parametrize("donated", ((), (0,), (1,), (0, 1)))
def test_a_map_writes_where_it_reads(donated: tuple[int, ...]) -> None:
    found = pairs(graph_of(*SQUARE, lambda x, y: P["add"](P["tanh"](x), y)), *donated)
    assert found == (() if not donated else ((0, donated[0]),))


def test_each_argument_is_taken_once() -> None:
    graph = graph_of(*SQUARE, lambda x, y: (P["add"](x, y), P["mul"](x, y)))
    assert len(pairs(graph, 0)) == 1
    found = pairs(graph, 0, 1)
    assert len({j for j, _ in found}) == len({k for _, k in found}) == len(found)


def test_what_is_read_elsewhere_is_not_taken() -> None:
    assert pairs(graph_of(SQUARE[0], lambda x: P["add"](x, turned(x))), 0) == ()
    assert pairs(graph_of(*SQUARE, lambda x, y: product(x, y)), 0, 1) == ()
    assert pairs(graph_of(SQUARE[0], lambda x: P["neg"](P["rev"](x, dimensions=(0,)))), 0) == ()


def test_what_is_read_before_is_taken() -> None:
    # the products are done when the map begins
    graph = graph_of(*SQUARE, lambda x, y: P["tanh"](product(product(x, y), y)))
    assert (0, 0) in pairs(graph, 0)


def test_what_is_read_later_is_not_taken() -> None:
    graph = graph_of(*SQUARE, lambda x, y: (P["tanh"](y), product(P["sin"](P["tanh"](y)), x)))
    assert all(k != 0 for j, k in pairs(graph, 0) if j == 1)


def test_an_argument_nobody_reads_is_not_taken() -> None:
    assert pairs(graph_of(*SQUARE, lambda x, y: P["neg"](y)), 0) == ()


@pytest.mark.parametrize("type", ("f32[90,91]", "f64[90,90]", "f16[90,90]"))
def test_sizes_must_agree(type: str) -> None:
    graph = graph_of(
        type, "f32[90,90]", lambda x, y: (P["reduce_sum"](x, axes=(0, 1)), P["neg"](y))
    )
    assert pairs(graph, 0) == ()
