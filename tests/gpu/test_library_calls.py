"""Calls of libraries inside of programs: operands at odd places."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tests.fuzz.checks import compare
from tracejit import lax
from tracejit.ir import interp
from tracejit.kernel.program import HostCall, LibraryCall
from tracejit.runtime.gpu.executable import compile_gpu
from tracejit.runtime.gpu.host_compile import compiler
from tracejit.runtime.gpu.host_device import HostDevice

RANDOM = np.random.default_rng(2)


def drawn(*shape: int) -> np.ndarray:
    return RANDOM.normal(0, 1, shape).astype(np.float32)


def steps(xs: Any, w: Any) -> Any:
    """Images of 3 * 9 * 9 floats: each but the first begins at no multiple of 16 bytes."""

    def body(total: Any, x: Any) -> Any:
        y = lax.conv_general_dilated(x, w, (1, 1), "SAME")
        return total + y.sum(), y

    return lax.scan(body, 0.0, xs)


def loss(xs: Any, w: Any) -> Any:
    total, ys = steps(xs, w)
    return total + jnp.sum(ys**2)


@pytest.mark.parametrize("function", [steps, tj.grad(loss, argnums=(0, 1))])
def test_convolutions_in_a_loop_over_odd_places(function: Any) -> None:
    try:
        compiler()
    except tj.errors.BackendError as why:
        pytest.skip(str(why))
    arrays = [drawn(5, 1, 3, 9, 9), drawn(3, 3, 3, 3)]
    graph = tj.make_graph(function, *arrays)
    made = compile_gpu(graph, HostDevice())
    calls = made.program.calls
    assert any(isinstance(c, LibraryCall) and (c.before or c.after) for c in calls)
    assert not any(isinstance(c, HostCall) for c in calls)
    wanted = interp.run(graph, arrays)
    for _ in range(3):
        compare(made.run(arrays), wanted, wanted)
