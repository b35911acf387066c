"""Reductions to few results, in chunks that threads share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.fuzz.checks import check_graph
from tests.fuzz.graphs import random_arrays
from tests.passes.pass_checks import graph_of
from tests.passes.test_group import groups
from tracejit.ir.graph import Graph
from tracejit.kernel.nodes import Loop
from tracejit.kernel.partial import lower_parts
from tracejit.runtime.executable import compile_graph
from tracejit.transform import PRIMS as P


def chain(graph: Graph) -> list[Any]:
    """The kernels of the graph's first group, or none."""
    parts = groups(graph)
    lowered = lower_parts(parts.groups[0], parts, 64)
    found = []
    while lowered is not None:
        found.append(lowered.kernel)
        lowered = lowered.then
    return found


def check(graph: Graph) -> None:
    check_graph(graph, random_arrays(graph, 1))


@pytest.mark.parametrize("shape", ("f32[70001]", "f64[300,301]", "i32[66000]", "f16[90000]"))
@pytest.mark.parametrize("reduction", ("reduce_sum", "reduce_max"))
def test_everything_to_one_number(shape: str, reduction: str) -> None:
    def build(x: Any) -> Any:
        return P[reduction](x, axes=tuple(range(x.type.ndim)))

    graph = graph_of(shape, build)
    kernels = chain(graph)
    assert len(kernels) == 2
    (loop,) = kernels[0].body
    assert isinstance(loop, Loop) and loop.how == "par"
    check(graph)


@pytest.mark.parametrize(
    "shape, axes",
    (
        ("f32[9001,8]", (0,)),
        ("f32[3,40001]", (1,)),
        ("f32[50,5,401]", (0, 2)),
        ("f32[60,70,20]", (0, 1)),
        ("f32[2,20011,3]", (1,)),
        ("f32[301,250]", (0,)),
        ("f16[150,501]", (0,)),
    ),
)
def test_few_results_are_kept(shape: str, axes: tuple[int, ...]) -> None:
    def build(x: Any) -> Any:
        total = P["reduce_sum"](x, axes=axes)
        return total, P["reduce_min"](x, axes=axes), P["exp"](total)

    graph = graph_of(shape, build)
    assert len(chain(graph)) == 2
    check(graph)


def test_a_reduction_of_a_reduction() -> None:
    def build(x: Any) -> Any:
        top = P["reduce_max"](x, axes=(0,))
        away = P["sub"](x, P["broadcast_in_dim"](top, shape=x.type.shape, dims=()))
        return P["add"](P["log"](P["reduce_sum"](P["exp"](away), axes=(0,))), top)

    graph = graph_of("f32[80000]", build)
    assert len(chain(graph)) == 4
    check(graph)


def test_small_ones_and_those_of_many_rows_are_one_kernel() -> None:
    assert not chain(graph_of("f32[5000]", lambda x: P["reduce_sum"](x, axes=(0,))))
    assert not chain(graph_of("f32[300,301]", lambda x: P["reduce_sum"](x, axes=(1,))))


def test_threads_do_not_change_a_sum() -> None:
    graph = graph_of("f32[400,401]", lambda x: P["reduce_sum"](x, axes=(0, 1)))
    arrays = [np.random.default_rng(0).standard_normal((400, 401)).astype(np.float32)]
    found = {
        compile_graph(graph, backend="llvm", mode="default", threads=k).run(arrays)[0].tobytes()
        for k in (1, 2, 2, 3)
    }
    assert len(found) == 1


def test_another_back_end_runs_the_same_kernels() -> None:
    graph = graph_of("f32[9001,8]", lambda x: P["reduce_sum"](x, axes=(0,)))
    arrays = random_arrays(graph, 1)
    made = compile_graph(graph, backend="numba", mode="default", threads=2)
    np.testing.assert_allclose(made.run(arrays)[0], arrays[0].sum(0), rtol=1e-4, atol=1e-2)


def test_columns_are_read_row_by_row() -> None:
    graph = graph_of("f32[300,400]", lambda x: P["reduce_sum"](x, axes=(0,)))
    parts, whole = chain(graph)
    (loop,) = parts.body
    assert isinstance(loop, Loop)
    first, slabs = loop.body
    assert isinstance(slabs, Loop) and slabs.var == "slab"
    assert whole.params[0].name == "part_fold0"
    # the rows of a new batch size: the same kernels
    other = chain(graph_of("f32[333,400]", lambda x: P["reduce_sum"](x, axes=(0,))))
    assert [parts, whole] == other
