"""Fusion: what becomes one kernel, what does not, and what a kernel may write in place."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.fuzz.checks import check_graph
from tests.fuzz.graphs import random_arrays
from tests.passes.pass_checks import graph_of
from tests.passes.random_graphs import random_graph
from tracejit.config import settings
from tracejit.ir.build import full_like
from tracejit.ir.graph import Graph
from tracejit.passes.group import _Partitioner, partition
from tracejit.passes.groups import Partition
from tracejit.passes.outputs import own_outputs
from tracejit.passes.pipeline import OPTIMISE, run_passes
from tracejit.passes.weigh import bytes_moved
from tracejit.runtime import cpu
from tracejit.transform import PRIMS as P


def groups(graph: Graph) -> Partition:
    return partition(own_outputs(graph, cpu.can_fuse), cpu.can_fuse)


def kinds(graph: Graph) -> list[str]:
    return [group.kind for group in groups(graph).groups]


def product(a: Any, b: Any) -> Any:
    dims = (((1,), (0,)), ((), ()))
    return P["dot_general"](a, b, dimension_numbers=dims, preferred_element_type=None)


def rows(x: Any, total: Any) -> Any:
    return P["broadcast_in_dim"](total, shape=x.type.shape, dims=(0,))


def softmax(x: Any) -> Any:
    e = P["exp"](P["sub"](x, rows(x, P["reduce_max"](x, axes=(1,)))))
    return P["div"](e, rows(x, P["reduce_sum"](e, axes=(1,))))


def check(graph: Graph) -> None:
    check_graph(graph, random_arrays(graph, 1))


def test_softmax_is_one_kernel() -> None:
    found = groups(graph_of("f32[64,100]", softmax))
    assert [g.kind for g in found.groups] == ["fused"]
    assert found.groups[0].reduced == (1,) and found.groups[0].rows == (64,)


def test_a_product_stands_alone_with_its_reason() -> None:
    graph = graph_of("f32[64,64]", lambda x: P["tanh"](product(P["exp"](x), x)))
    found = groups(graph)
    assert [g.kind for g in found.groups] == ["fused", "library", "fused"]
    assert any("dot_general is a library call" in reason for _, _, reason in found.kept)


def test_reductions_over_different_axes_are_two_kernels() -> None:
    graph = graph_of(
        "f32[64,64]", lambda x: (P["reduce_sum"](x, axes=(0,)), P["reduce_sum"](x, axes=(1,)))
    )
    assert kinds(graph) == ["fused", "fused"]


def test_several_results_of_one_space_are_one_kernel() -> None:
    graph = graph_of("f32[64,64]", lambda x: (P["sin"](x), P["mul"](x, x), P["neg"](x)))
    assert kinds(graph) == ["fused"]
    check(graph)


def test_a_few_long_rows_are_not_one_chain() -> None:
    # one thread would do all the work
    assert kinds(graph_of("f32[2,100000]", softmax)) != ["fused"]


def test_a_view_of_an_operand_forbids_its_memory() -> None:
    def build(x: Any, y: Any) -> Any:
        z = product(x, y)
        flat = P["rev"](P["reshape"](z, new_sizes=(256,)), dimensions=(0,))
        return product(P["add"](P["tanh"](z), P["reshape"](flat, new_sizes=(16, 16))), y)

    check(graph_of("f32[16,16]", "f32[16,16]", build))


def test_a_guarded_read_forbids_the_operand_s_memory() -> None:
    def build(x: Any, y: Any) -> Any:
        z = product(x, y)
        upper = P["slice"](z, start=(0, 0), limit=(8, 16), strides=(1, 1))
        other = P["slice"](y, start=(0, 0), limit=(8, 16), strides=(1, 1))
        both = P["concatenate"](upper, other, dimension=0)
        return product(P["add"](z, full_like(z, 1.0)), y), product(both, y)

    check(graph_of("f32[16,16]", "f32[16,16]", build))


def test_an_operand_read_by_a_later_result_only_keeps_its_memory() -> None:
    def build(x: Any, y: Any) -> Any:
        z = product(x, y)
        first, second = P["neg"](P["fma"](x, x, x)), P["mul"](x, z)
        return product(first, y), product(second, y)

    check(graph_of("f32[16,16]", "f32[16,16]", build))


@pytest.mark.parametrize("steps", (150, 500))
def test_long_chains(steps: int) -> None:
    def build(x: Any) -> Any:
        for k in range(steps):
            x = P["sub"](x, full_like(x, 0.01 * k))
            x = P["transpose"](P["sin"](x) if k % 50 == 0 else x, permutation=(1, 0))
        return x

    check(graph_of("f32[20,5]", build))


def test_a_sum_of_many_arrays_is_stored_when_that_moves_fewer_bytes() -> None:
    def build(*xs: Any) -> Any:
        total = xs[0]
        for x in xs[1:]:
            total = P["add"](total, x)
        return P["reduce_sum"](total, axes=(0,)), P["reduce_max"](P["abs"](total), axes=(1,))

    graph = graph_of(*["f32[300,200]"] * 6, build)
    found = groups(graph)
    apart = _Partitioner(own_outputs(graph, cpu.can_fuse), cpu.can_fuse).run()
    assert bytes_moved(found) < bytes_moved(apart)
    # six arrays in, their sum out and in again once or twice
    assert bytes_moved(found) <= 8 * 300 * 200 * 4 + 500 * 4
    check(graph)


def test_bytes_never_grow_by_weighing_them() -> None:
    for seed in range(30):
        graph = random_graph(random.Random(seed), 40)
        owned = own_outputs(run_passes(graph, OPTIMISE), cpu.can_fuse)
        first = _Partitioner(owned, cpu.can_fuse).run()
        assert bytes_moved(partition(owned, cpu.can_fuse)) <= bytes_moved(first)


def test_reductions_over_no_axes_are_their_operands() -> None:
    def build(x: Any) -> Any:
        same = P["reduce_sum"](x, axes=())
        return P["reduce_sum"](same, axes=(0,)), P["mul"](same, x), P["reduce_max"](x, axes=())

    graph = graph_of("f32[6,5]", build)
    for off in ((), ("simplify",)):
        with settings(off=off):
            check_graph(graph, random_arrays(graph, 0))
