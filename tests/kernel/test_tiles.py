"""Maps that read across rows: tiles, transposed in registers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tests.fuzz.checks import check_graph
from tests.fuzz.graphs import random_arrays
from tests.kernel.test_split import kernel_of
from tests.passes.pass_checks import graph_of
from tracejit import lax
from tracejit.errors import OutOfBoundsError
from tracejit.kernel.nodes import Transpose
from tracejit.kernel.visit import statements
from tracejit.runtime.executable import compile_graph
from tracejit.transform import PRIMS as P


def transposes(kernel: Any) -> list[Transpose]:
    return [s for s in statements(kernel.body) if isinstance(s, Transpose)]


def plus_transposed(x: Any, y: Any) -> Any:
    return P["add"](x, P["transpose"](y, permutation=(1, 0)))


@pytest.mark.parametrize("dtype", ("f32", "f64", "i8", "bf16", "f16", "u16", "i64"))
@pytest.mark.parametrize("n, m", ((8, 9), (16, 64), (33, 70), (100, 131)))
def test_an_operand_read_across_its_rows(dtype: str, n: int, m: int) -> None:
    graph = graph_of(f"{dtype}[{n},{m}]", f"{dtype}[{m},{n}]", plus_transposed)
    assert len(transposes(kernel_of(graph))) == 1
    check_graph(graph, random_arrays(graph, 1))


@pytest.mark.parametrize("order", ((3, 2, 1, 0), (0, 3, 2, 1), (2, 3, 1, 0), (1, 0, 3, 2)))
def test_any_order_of_axes(order: tuple[int, ...]) -> None:
    def build(x: Any) -> Any:
        return P["exp"](P["transpose"](x, permutation=order))

    graph = graph_of("f32[9,10,11,40]", build)
    assert len(transposes(kernel_of(graph))) == 1
    check_graph(graph, random_arrays(graph, 1))


def test_rows_that_stay_rows_are_not_transposed() -> None:
    def build(x: Any) -> Any:
        return P["exp"](P["transpose"](x, permutation=(0, 2, 1, 3)))

    assert not transposes(kernel_of(graph_of("f32[4,60,12,64]", build)))


def test_a_slice_is_transposed_where_it_lies() -> None:
    def build(x: Any, y: Any) -> Any:
        part = P["slice"](x, start=(1, 2), limit=(41, 72), strides=(1, 1))
        return plus_transposed(y, part)

    graph = graph_of("f32[43,80]", "f32[70,40]", build)
    assert len(transposes(kernel_of(graph))) == 1
    check_graph(graph, random_arrays(graph, 1))


def test_short_axes_and_guarded_reads_are_left_alone() -> None:
    assert not transposes(kernel_of(graph_of("f32[3,90]", "f32[90,3]", plus_transposed)))


@pytest.mark.parametrize("dtype", ("f32", "bf16", "bool"))
def test_another_back_end_runs_the_same_kernels(dtype: str) -> None:
    def build(x: Any, y: Any) -> Any:
        return P["select"](P["ne"](x, x), x, P["transpose"](y, permutation=(1, 0)))

    graph = graph_of(f"{dtype}[40,9]", f"{dtype}[9,40]", build)
    arrays = random_arrays(graph, 1)
    made = compile_graph(graph, backend="numba", mode="default", threads=2)
    wanted = compile_graph(graph, backend="numpy", mode="default", threads=2).run(arrays)
    np.testing.assert_array_equal(made.run(arrays)[0], wanted[0])


@pytest.mark.parametrize("mode", (None, "clip", "wrap", "fill"))
@pytest.mark.parametrize("order", ((1, 2, 0), (2, 0, 1)))
def test_rows_that_are_chosen_by_an_array_are_gathered(mode: Any, order: Any) -> None:
    """Their places are clipped or checked at each element, which a tile has none of."""

    def pick(x: Any, i: Any) -> Any:
        found = jnp.transpose(x, order)
        return found[i] if mode is None else found.at[i].get(mode=mode)

    def part(x: Any, i: Any) -> Any:
        return jnp.transpose(lax.dynamic_slice(x, (i[0], 0, i[1]), (9, 16, 20)), order)

    x, i = np.arange(16 * 16 * 40, dtype=np.float32).reshape(16, 16, 40), np.array([3, 0, 9])
    for f in (pick, part):
        np.testing.assert_array_equal(tj.jit(f)(x, i), f(jnp.asarray(x), jnp.asarray(i)))
    if mode is None:
        with pytest.raises(OutOfBoundsError):
            tj.jit(pick)(x, i + 40)
