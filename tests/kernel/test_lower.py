"""From groups to kernels: the loops that come out, and what once went wrong in them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fuzz.checks import check_graph
from tests.fuzz.graphs import random_arrays
from tests.passes.pass_checks import graph_of
from tests.passes.test_group import groups, rows, softmax
from tracejit.ir.build import full_like
from tracejit.ir.graph import Graph
from tracejit.ir.types import DTYPES
from tracejit.kernel.lower import lower_group
from tracejit.kernel.nodes import Kernel, Loop
from tracejit.kernel.text import parse, show
from tracejit.transform import PRIMS as P

I64 = DTYPES["i64"]


def kernels(graph: Graph) -> list[Kernel]:
    parts = groups(graph)
    return [lower_group(g, parts, 64).kernel for g in parts.groups if g.kind == "fused"]


def check(graph: Graph) -> None:
    check_graph(graph, random_arrays(graph, 1))


def test_an_elementwise_kernel_is_one_loop_over_all_axes() -> None:
    (kernel,) = kernels(graph_of("f32[64,3,7]", lambda x: P["mul"](x, x)))
    assert show(kernel).splitlines()[1:] == [
        "  vec(16x4) i0 in n0:",
        "    t1: f32 = x0[i0]",
        "    y0[i0] = mul(t1, t1)",
    ]


def times(type: str, count: int, build: Any) -> int:
    """Vectors per trip of the only vec loop."""
    (kernel,) = kernels(graph_of(*[type] * count, build))
    (par,) = kernel.body
    assert isinstance(par, Loop)
    (vec,) = (s for s in par.body if isinstance(s, Loop))
    assert vec.how == "vec"
    return vec.unroll


def test_long_bodies_are_written_fewer_times() -> None:
    def total(*xs: Any) -> Any:
        found = xs[0]
        for x in xs[1:]:
            found = P["add"](found, x)
        return found

    assert times("f32[9000]", 1, lambda x: P["exp"](x)) == 4
    assert times("f32[9000]", 1, lambda x: P["sin"](x)) == 2
    assert times("f32[9000]", 7, total) == 4
    assert times("f32[9000]", 8, total) == 2


def test_softmax_is_three_loops_over_each_row() -> None:
    (kernel,) = kernels(graph_of("f32[64,100]", softmax))
    (loop,) = kernel.body
    assert isinstance(loop, Loop) and loop.how == "par"
    assert [s.how for s in loop.body if isinstance(s, Loop)] == ["vec"] * 3


@pytest.mark.parametrize(
    "shape", ("f32[64,100]", "f32[5000]", "f32[40,3000]", "f32[3,0]", "f32[1,1]")
)
def test_texts_read_back(shape: str) -> None:
    def build(x: Any) -> Any:
        y = P["reduce_max"](P["tanh"](x), axes=(x.type.ndim - 1,))
        return y, P["reduce_sum"](x, axes=(0,)), P["exp"](x)

    for kernel in kernels(graph_of(shape, build)):
        assert parse(show(kernel)) == kernel


def test_a_new_batch_size_has_the_same_kernel() -> None:
    assert kernels(graph_of("f32[64,100]", softmax)) == kernels(graph_of("f32[77,100]", softmax))
    assert kernels(graph_of("f32[64,100]", softmax)) == kernels(graph_of("f32[64,101]", softmax))
    assert kernels(graph_of("f32[64,4]", softmax)) != kernels(graph_of("f32[64,5]", softmax))


def test_axes_whose_number_is_a_value_are_not_joined() -> None:
    def build(x: Any) -> Any:
        y = P["iota"](dtype=I64, shape=(4, 50), dimension=0)
        return y, P["iota"](dtype=I64, shape=(4, 50), dimension=1), P["neg"](x)

    check(graph_of("i64[4,50]", build))


def test_a_reduction_read_behind_a_guard() -> None:
    def build(x: Any) -> Any:
        total = P["broadcast_in_dim"](P["reduce_sum"](x, axes=(0,)), shape=(2,), dims=())
        return P["tanh"](P["concatenate"](x, P["neg"](total), dimension=0)), total

    check(graph_of("f32[3]", build))


def test_values_kept_in_a_result_are_read_before_it_is_stored() -> None:
    def build(x: Any) -> Any:
        e = P["exp"](x)
        wide = rows(x, P["reduce_sum"](e, axes=(1,)))
        return P["div"](e, wide), P["sub"](e, wide), P["mul"](P["tanh"](e), wide)

    check(graph_of("f32[9,40]", build))


@pytest.mark.parametrize("shape", ("f32[1,1]", "f32[1,9]", "f32[9,1]", "f32[1,40,1]"))
@pytest.mark.parametrize("axes", ((0,), (1,), (0, 1)))
def test_axes_of_one_element(shape: str, axes: tuple[int, ...]) -> None:
    def build(x: Any) -> Any:
        y = P["tanh"](x)
        total = P["reduce_sum"](y, axes=axes)
        kept = tuple(a for a in range(x.type.ndim) if a not in axes)
        wide = P["broadcast_in_dim"](total, shape=x.type.shape, dims=kept)
        return total, P["mul"](y, wide), P["reduce_max"](P["sub"](x, full_like(x, 0.5)), axes=axes)

    check(graph_of(shape, build))
