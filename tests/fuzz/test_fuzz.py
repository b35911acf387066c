"""Random graphs, compiled: every stage well formed, results those of the interpreter."""

from __future__ import annotations

import random

import hypothesis
import numpy as np
from hypothesis import strategies

from tests.fuzz.checks import check_graph, compare, limits, run_in_python
from tests.fuzz.graphs import random_arrays, random_graph
from tracejit.ir import interp

RANDOMS = strategies.randoms(use_true_random=False, note_method_calls=False)


@hypothesis.settings(max_examples=25)
@hypothesis.given(RANDOMS)
def test_results(rng: random.Random) -> None:
    graph = random_graph(rng.randrange, 15)
    check_graph(graph, random_arrays(graph, 0), threads=1 + rng.randrange(2))


@hypothesis.settings(max_examples=25)
@hypothesis.given(RANDOMS)
def test_results_under_other_limits(rng: random.Random) -> None:
    graph = random_graph(rng.randrange, 15)
    with limits(rng.randrange):
        check_graph(graph, random_arrays(graph, 0), threads=1 + rng.randrange(2))


@hypothesis.settings(max_examples=5)
@hypothesis.given(RANDOMS)
def test_results_of_large_graphs(rng: random.Random) -> None:
    graph = random_graph(rng.randrange, 12, large=True)
    check_graph(graph, random_arrays(graph, 0))


@hypothesis.settings(max_examples=8)
@hypothesis.given(RANDOMS)
def test_no_kernel_leaves_its_buffers(rng: random.Random) -> None:
    graph = random_graph(rng.randrange, 8)
    arrays = random_arrays(graph, 0)
    with np.errstate(all="ignore"):
        found = run_in_python(check_graph(graph, arrays), arrays)
        wanted = interp.run(graph, arrays)
    compare(found, wanted, wanted)
