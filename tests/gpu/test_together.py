"""Small kernels in one launch: which ones are, that the result is the same, what stays apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tests.fuzz.checks import compare
from tracejit.config import config
from tracejit.ir import interp
from tracejit.ir.graph import Graph
from tracejit.kernel.gpu.target import GpuTarget
from tracejit.kernel.program import KernelCall, MergedCall, Program
from tracejit.kernel.text import parse, show
from tracejit.kernel.verify import verify
from tracejit.runtime.gpu.executable import compile_gpu, make_gpu_stages
from tracejit.runtime.gpu.host_compile import compiler
from tracejit.runtime.gpu.host_device import HostDevice

RANDOM = np.random.default_rng(5)
TARGET = GpuTarget(90, 132, "f32", lambda spec: 0)


def program(graph: Graph, donated: frozenset[int] = frozenset()) -> Program:
    found = make_gpu_stages(graph, TARGET, config.current(), donated).program
    for kernel in found.kernels:
        verify(kernel)
        assert parse(show(kernel)) == kernel
    return found


def launches(found: Program) -> int:
    return sum(isinstance(call, KernelCall) for call in found.calls)


def merged(found: Program) -> int:
    return sum(isinstance(call, MergedCall) for call in found.calls)


def agrees(graph: Graph, *arrays: np.ndarray) -> None:
    """Run twice: the second time from a recording."""
    try:
        compiler()
    except tj.errors.BackendError as why:
        pytest.skip(str(why))
    made = compile_gpu(graph, HostDevice((0, 1), checks=True))
    wanted = interp.run(graph, list(arrays))
    for _ in range(3):
        compare(made.run(list(arrays)), wanted, wanted)


def drawn(*shape: int) -> np.ndarray:
    return RANDOM.normal(0, 1, shape).astype(np.float32)


def updates(parameters: Any, gradients: Any) -> Any:
    return [p - 0.1 * g for p, g in zip(parameters, gradients, strict=True)]


def test_updates_of_parameters_are_one_launch() -> None:
    sizes = [(30, 50), (50,), (50, 7), (7,), (300,)]
    ps, gs = ([drawn(*s) for s in sizes] for _ in range(2))
    graph = tj.make_graph(updates, ps, gs)
    found = program(graph)
    assert (launches(found), merged(found)) == (1, 4)
    agrees(graph, *ps, *gs)


def test_rows_with_barriers_go_together() -> None:
    def both(x: Any, y: Any) -> Any:
        return tj.nn.softmax(x), tj.nn.softmax(y)

    x, y = drawn(5, 700), drawn(3, 700)
    graph = tj.make_graph(both, x, y)
    assert launches(program(graph)) == 1
    agrees(graph, x, y)


def test_what_depends_on_another_stays_behind_it() -> None:
    def chain(x: Any) -> Any:
        a = jnp.cumsum(x)
        b = jnp.cumsum(a * 2)
        return a, b, x + 1

    x = drawn(64)
    graph = tj.make_graph(chain, x)
    assert launches(program(graph)) >= 2
    agrees(graph, x)


def test_large_kernels_stay_alone() -> None:
    def both(x: Any, y: Any) -> Any:
        return x + 1, y * 2

    x = jnp.zeros((1 << 23,)), jnp.zeros((1 << 23) + 4)
    assert launches(program(tj.make_graph(both, *x))) == 2


def test_memory_that_a_result_takes_from_an_argument_counts() -> None:
    """With x donated, x + 1 lies where x does: x * 2, which reads all of x, must not run beside."""

    def both(x: Any, y: Any) -> Any:
        return x + y, jnp.flip(x) * 2

    graph = tj.make_graph(both, drawn(500), drawn(500))
    free = program(graph)
    donated = program(graph, frozenset((0,)))
    assert launches(free) == 1
    made = make_gpu_stages(graph, TARGET, config.current(), frozenset((0,)))
    assert launches(donated) == launches(made.program)


def test_inside_of_loops() -> None:
    def steps(x: Any, y: Any) -> Any:
        def body(carry: Any, _: Any) -> Any:
            a, b = carry
            return (jnp.cumsum(a) * 0.1, jnp.cumsum(b, axis=1) * 0.1), None

        return tj.lax.scan(body, (x, y), None, length=4)[0]

    x, y = drawn(40), drawn(4, 30)
    agrees(tj.make_graph(steps, x, y), x, y)


@pytest.mark.parametrize("seed", range(6))
def test_random_mixtures(seed: int) -> None:
    """Kernels of several kinds that read each other's results, in a random order."""
    random = np.random.default_rng(seed)
    kinds: list[Callable[[Any], Any]] = [
        lambda x: x * 2 + 1,
        lambda x: tj.nn.softmax(x),
        lambda x: jnp.cumsum(x, axis=-1),
        lambda x: x.T.reshape(x.shape),
        lambda x: jnp.broadcast_to(x.sum(0), x.shape),
        lambda x: x.at[1].set(0.5),
        lambda x: jnp.sort(x, axis=-1),
    ]
    picks = [(int(random.integers(4)), int(random.integers(len(kinds)))) for _ in range(14)]

    def mixture(*xs: Any) -> Any:
        values = list(xs)
        for at, kind in picks:
            values.append(kinds[kind](values[-1 - at]))
        return values[-6:]

    xs = [drawn(5, 33) for _ in range(4)]
    agrees(tj.make_graph(mixture, *xs), *xs)
