"""The pipeline: on random graphs it keeps every bit, and passes done twice are done once."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.passes.pass_checks import assert_same_meaning, graph_of, names
from tests.passes.random_graphs import random_graph
from tracejit.errors import ArgumentError
from tracejit.ir.graph import Graph
from tracejit.ops.arith import add, mul, neg, sub
from tracejit.ops.math import exp
from tracejit.passes.pipeline import OPTIMISE, check_names, run_passes
from tracejit.transform.branch import call

seeds = st.integers(0, 2**32 - 1)


@given(seeds, st.integers(1, 40))
def test_optimised_graphs_keep_every_bit(seed: int, size: int) -> None:
    graph = random_graph(random.Random(seed), size)
    assert_same_meaning(graph, run_passes(graph, OPTIMISE), seeds=2)


@given(seeds, st.integers(1, 40))
def test_each_pass_keeps_every_bit_and_is_stable(seed: int, size: int) -> None:
    graph = random_graph(random.Random(seed), size)
    for step in OPTIMISE:
        after = step(graph)
        assert_same_meaning(graph, after, seeds=1)
        again = step(after)
        assert again is after or again == after, step.__name__
        graph = after


@given(seeds)
def test_what_passes_the_pipeline_passes_it_unchanged(seed: int) -> None:
    once = run_passes(random_graph(random.Random(seed), 30), OPTIMISE)
    assert len(run_passes(once, OPTIMISE).nodes) == len(once.nodes)


def example() -> Graph:
    inner = graph_of("f32[3]", lambda x: neg(neg(exp(x))))
    return graph_of(
        "f32[3]", lambda x: (add(call(x, graph=inner)[0], exp(x)), mul(mul(x, 2), 2), sub(x, 0.0))
    )


def test_names_and_results_are_seen() -> None:
    seen: list[str] = []
    graph = run_passes(example(), OPTIMISE, after=lambda name, graph: seen.append(name))
    assert seen == [step.__name__ for step in OPTIMISE]
    assert names(graph) == ["exp", "add", "mul"]


def test_passes_and_rules_are_left_out_by_name() -> None:
    assert names(run_passes(example(), OPTIMISE, off=frozenset(("merge_equal",)))) == [
        *("exp", "exp", "add", "mul")
    ]
    assert names(run_passes(example(), OPTIMISE, off=frozenset(("mul_mul",)))) == [
        *("exp", "add", "mul", "mul")
    ]


def test_an_optimised_graph_is_the_same_object() -> None:
    graph = run_passes(example(), OPTIMISE)
    assert run_passes(graph, OPTIMISE) is graph


def test_off_takes_known_names_only() -> None:
    check_names(frozenset(("simplify", "neg_neg")))
    with pytest.raises(ArgumentError, match="`neg_ngg`"):
        check_names(frozenset(("neg_ngg",)))
