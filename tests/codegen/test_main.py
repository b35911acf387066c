"""The native ``main``: loops, branches, products and copies between kernels."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.fuzz.checks import check_graph
from tests.fuzz.graphs import random_arrays
from tests.passes.pass_checks import graph_of
from tests.passes.test_group import product
from tracejit.codegen.main import print_main, split_rows
from tracejit.ir.build import building
from tracejit.ir.graph import Graph, literal
from tracejit.ir.types import DTYPES, TensorType
from tracejit.runtime.executable import compile_graph, make_stages
from tracejit.runtime.native import host_target
from tracejit.transform import PRIMS as P

COUNT = TensorType(DTYPES["i32"], ())


def main_of(graph: Graph, threads: int = 2) -> str:
    stages = make_stages(graph, threads=threads)
    return print_main(stages.program, host_target(), threads)


def nested_scan(steps: int) -> Graph:
    """``steps`` times two small products in a scan of their own."""

    def build(x: Any) -> Any:
        with building() as b:
            inner = b.input(x.type)
            pair = b.graph((P["tanh"](P["add"](product(inner, inner), inner)),))
        with building() as b:
            outer = b.input(x.type)
            (inside,) = P["scan"](outer, body=pair, n_consts=0, n_carry=1, length=2, reverse=False)
            body = b.graph((inside,))
        return P["scan"](x, body=body, n_consts=0, n_carry=1, length=steps, reverse=False)

    return graph_of("f32[5,5]", build)


def test_counters_of_loops_are_allotted_once() -> None:
    text = main_of(nested_scan(3))
    entry, _, rest = text.partition("br label")
    assert entry.count("alloca i64\n") == 2 and "alloca" not in rest


def test_a_million_steps_do_not_use_up_the_stack() -> None:
    graph = nested_scan(500_000)
    (found,) = compile_graph(graph, backend="llvm", mode="default", threads=1).run(
        [np.eye(5, dtype="f4")]
    )
    assert np.isfinite(found).all()


def test_batched_products() -> None:
    def build(x: Any, y: Any) -> Any:
        dims = (((3,), (2,)), ((0, 1), (0, 1)))
        return P["dot_general"](x, y, dimension_numbers=dims, preferred_element_type=None)

    graph = graph_of("f32[2,3,40,50]", "f32[2,3,50,60]", build)
    check_graph(graph, random_arrays(graph, 0))


def test_branches_are_clamped() -> None:
    def build(k: Any, x: Any) -> Any:
        branches = []
        for fn in ("neg", "abs", "tanh"):
            with building() as b:
                v = b.input(x.type)
                branches.append(b.graph((P[fn](v),)))
        return P["cond"](k, x, branches=tuple(branches))

    graph = graph_of("i32[]", "f32[5]", build)
    x = np.linspace(-1, 1, 5, dtype="f4")
    for k in (-4, 0, 1, 2, 7):
        check_graph(graph, [np.int32(k), x])


def test_a_loop_whose_condition_fails_at_once() -> None:
    def build(x: Any) -> Any:
        with building() as b:
            count = b.input(COUNT)
            b.input(x.type)
            cond = b.graph((P["lt"](count, literal(0, COUNT)),))
        with building() as b:
            count, y = b.input(COUNT), b.input(x.type)
            body = b.graph((P["add"](count, literal(1, COUNT)), P["tanh"](y)))
        return P["while"](literal(0, COUNT), x, cond=cond, body=body, n_consts=0)

    graph = graph_of("f32[5]", build)
    check_graph(graph, random_arrays(graph, 0))


def test_rows_are_shared_evenly() -> None:
    assert split_rows(10, 4) == [(0, 2), (2, 5), (5, 7), (7, 10)]
    assert split_rows(2, 4) == [(0, 1), (1, 2)]
