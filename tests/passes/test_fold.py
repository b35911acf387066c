"""Constant folding: what folds, what must not, and the size limit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.passes.pass_checks import assert_same_meaning, graph_of, names
from tracejit.ir.build import full_like
from tracejit.ir.graph import ConstArray, Graph, Literal, literal
from tracejit.ir.types import DTYPES, TensorType
from tracejit.ops.arith import add, div, mul
from tracejit.ops.broadcast import broadcast_in_dim, reduce_sum
from tracejit.ops.indexing import gather, gather_params
from tracejit.ops.layout import constant, iota, transpose
from tracejit.ops.math import exp
from tracejit.ops.parts import barrier, bitcast, convert
from tracejit.ops.random_bits import random_bits, threefry2x32
from tracejit.passes.fold import LIMIT, as_known, fold_constants
from tracejit.transform.loops import while_

F32, I64, U32 = DTYPES["f32"], DTYPES["i64"], DTYPES["u32"]


def held(*values: Any, dtype: np.dtype = F32) -> Any:
    return constant(value=ConstArray(np.asarray(values, dtype)))


def number(value: Any, shape: tuple[int, ...] = (), dtype: np.dtype = F32) -> Literal:
    return literal(value, TensorType(dtype, shape))


def folded(build: Any) -> Graph:
    """The folded graph, its meaning checked."""
    graph = graph_of(build)
    after = fold_constants(graph)
    assert_same_meaning(graph, after, seeds=1)
    assert fold_constants(after) is after
    return after


def test_literals_of_any_size_fold_to_literals() -> None:
    huge = (1 << 20, 1 << 20)
    (out,) = fold_constants(graph_of(lambda: add(number(2, huge), number(3, huge)))).outputs
    assert out == number(5, huge)


@pytest.mark.parametrize(
    "build, value",
    [
        (lambda: div(number(1), number(0)), np.inf),
        (lambda: convert(number(np.nan), dtype=DTYPES["i32"]), 0),
        (lambda: bitcast(number(1.0), dtype=U32), 0x3F800000),
        (lambda: mul(number(-1.0), number(0.0)), -0.0),
        (lambda: convert(number(3, (2,)), dtype=DTYPES["bf16"]), 3),
        (lambda: exp(number(0.0)), 1.0),
    ],
)
def test_scalars_fold_by_the_numpy_rule(build: Any, value: Any) -> None:
    (out,) = folded(build).outputs
    assert isinstance(out, Literal)
    assert out.value == value and np.signbit(float(out.value)) == np.signbit(value)


def test_arrays_fold_to_arrays() -> None:
    after = folded(lambda: transpose(mul(held([1, 2], [3, 4]), 2), permutation=(1, 0)))
    (node,) = after.nodes
    assert np.array_equal(node.params["value"].array, [[2, 6], [4, 8]])


def test_equal_elements_become_a_literal() -> None:
    assert folded(lambda: held(7, 7, 7)).outputs == (number(7, (3,)),)
    assert folded(lambda: add(held(1, 2), held(2, 1))).outputs == (number(3, (2,)),)
    assert isinstance(as_known(np.array([0.0, -0.0])), ConstArray)
    assert isinstance(as_known(np.array([np.nan, np.nan])), Literal)


def test_several_results_fold() -> None:
    words = [number(k, (2,), U32) for k in range(3)]
    after = folded(lambda: threefry2x32(*words, held(0, 1, dtype=U32)))
    assert names(after) == ["constant", "constant"]


def test_random_bits_fold_up_to_the_limit() -> None:
    small = folded(lambda: random_bits(held(0, 1, dtype=U32), shape=(4,), bit_width=32))
    assert names(small) == ["constant"]
    size = LIMIT
    large = graph_of(lambda: random_bits(held(0, 1, dtype=U32), shape=(size,), bit_width=32))
    assert fold_constants(large) is large


def test_nothing_beyond_the_limit_folds() -> None:
    graph = graph_of(lambda: mul(held(*range(100)), 2))
    assert fold_constants(graph, limit=64) is graph
    big = graph_of(lambda: broadcast_in_dim(held(1, 2), shape=(LIMIT, 2), dims=(1,)))
    assert fold_constants(big) is big


def test_what_counts_or_waits_stays() -> None:
    for build in (
        lambda: iota(dtype=F32, shape=(5,), dimension=0),
        lambda: barrier(held(1, 2)),
        lambda: barrier(number(1)),
    ):
        graph = graph_of(build)
        assert fold_constants(graph) is graph


def test_an_index_out_of_bounds_fails_when_the_program_runs() -> None:
    params = gather_params((), (0,), (0,), (1,), mode="error")
    graph = graph_of(lambda: gather(held(1, 2, 3), number(5, (1,), I64), **params))
    assert names(fold_constants(graph)) == ["constant", "gather"]


def test_loops_are_not_run() -> None:
    forever = graph_of("f32[]", lambda x: full_like(x, True, DTYPES["bool"]))
    step = graph_of("f32[]", lambda x: add(x, 1))
    graph = graph_of(lambda: while_(number(0), cond=forever, body=step, n_consts=0))
    assert names(fold_constants(graph)) == ["while"]


def test_tensors_without_elements_are_literals() -> None:
    graph = graph_of("f32[0,3]", lambda x: exp(x))
    assert not fold_constants(graph).nodes
    kept = graph_of("f32[0,3]", lambda x: reduce_sum(x, axes=(0,)))
    assert fold_constants(kept) is kept
