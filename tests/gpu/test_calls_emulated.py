"""Whole calls on the CPU that plays a GPU: arguments there, generated CUDA C, results back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tests.gpu.host_kernels import needs_compiler
from tracejit import debug, lax
from tracejit.errors import OutOfBoundsError
from tracejit.frontend import on_device
from tracejit.frontend.on_device import clear_programs

pytestmark = needs_compiler


@pytest.fixture
def gpu() -> Iterator[tj.Device]:
    with debug.cuda_on_cpu(orders=(0,), checks=False) as device:
        yield device


DATA = np.arange(6, dtype=np.float32).reshape(2, 3)

CALLS: dict[str, Callable[[Any], Any]] = {
    "jit": tj.jit(lambda x: jnp.exp(x).mean(axis=1) * 2),
    "outside of jit": lambda x: jnp.asarray(x) @ jnp.asarray(x).T + 1,
    "grad": tj.grad(lambda x: (jnp.sin(x) ** 2).sum()),
    "vmap": tj.jit(tj.vmap(lambda row: jnp.tanh(row).sum())),
    "scan": lambda x: lax.scan(
        lambda c, row: (c + row, c.sum()), jnp.asarray(x)[0], jnp.asarray(x)
    ),
    "index": lambda x: (jnp.asarray(x)[1], jnp.asarray(x).at[0].set(1.0)),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_same_as_on_the_cpu(gpu: tj.Device, name: str) -> None:
    found, expected = CALLS[name](tj.device_put(DATA, gpu)), CALLS[name](DATA)
    for x, y in zip(tj.tree.leaves(found), tj.tree.leaves(expected), strict=True):
        assert x.device is gpu and y.device.platform == "cpu"
        np.testing.assert_allclose(x, y, rtol=1e-5)


def test_training_with_donated_weights(gpu: tj.Device) -> None:
    def step(w: Any, x: Any) -> Any:
        return w - 0.1 * tj.grad(lambda w: jnp.mean((x @ w - 1) ** 2))(w)

    jitted = tj.jit(step, donate_argnums=0)
    w, here = tj.device_put(np.zeros(3, np.float32), gpu), np.zeros(3, np.float32)
    for _ in range(3):
        given = w
        w, here = jitted(w, DATA), step(here, DATA)
        assert given.is_deleted()
    np.testing.assert_allclose(w, here, rtol=1e-5)


def test_an_index_out_of_bounds_shows_its_line(gpu: tj.Device) -> None:
    f = tj.jit(lambda x, i: x[i])
    x = tj.device_put(DATA, gpu)
    np.testing.assert_array_equal(f(x, jnp.array([1])), DATA[1:])
    y = f(x, jnp.array([5]))
    with pytest.raises(OutOfBoundsError) as caught:
        y.block_until_ready()
    assert "x[i]" in str(caught.value) and "test_calls_emulated.py" in str(caught.value)
    assert "had run `<lambda>`" in str(caught.value)
    np.testing.assert_array_equal(f(x, jnp.array([0])), DATA[:1])


def test_rows_outside_of_jit_are_one_program(gpu: tj.Device) -> None:
    x = tj.device_put(np.arange(60, dtype=np.float32).reshape(20, 3), gpu)
    clear_programs()
    for k in range(-20, 20):
        np.testing.assert_array_equal(x[k], np.arange(60).reshape(20, 3)[k])
    assert len(on_device._programs) == 2  # the slice, and its shape
    np.testing.assert_array_equal(x[1:9:2, 1:], np.arange(60).reshape(20, 3)[1:9:2, 1:])


def test_a_back_end_and_a_device_that_do_not_fit() -> None:
    for backend, device in (("numba", "cuda"), ("cuda", "cpu")):
        with pytest.raises(tj.errors.ArgumentError, match="does not run on"):
            tj.jit(lambda x: x, backend=backend, device=device)
    with pytest.raises(tj.errors.ArgumentError, match="names no device"):
        tj.device_put(1.0, "cpu:1")


def test_sources_of_the_other_kind_are_refused(gpu: tj.Device) -> None:
    here, there = (tj.jit(lambda x: x + 1, device=d).stages(DATA).sources for d in ("cpu", gpu))
    with pytest.raises(tj.errors.BackendError, match="for the CPU"):
        here.cuda  # noqa: B018
    with pytest.raises(tj.errors.BackendError, match="for a GPU"):
        there.llvm  # noqa: B018


def test_stages(gpu: tj.Device) -> None:
    f = tj.jit(lambda x: jnp.exp(x) + 1, device="gpu")
    assert "__global__" in str(f.stages(DATA).sources.cuda)
    assert "__global__" not in str(tj.jit(lambda x: jnp.exp(x)).stages(DATA).sources)
    assert "numba" in f.source(DATA)
