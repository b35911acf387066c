"""Compiled programs on a device that plays a GPU: late failures, lack of memory, shared memory."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tests.gpu.host_kernels import needs_compiler
from tests.gpu.places import Counting, Places, f32
from tests.gpu.test_interop import WithDlpack, WithInterface
from tracejit import debug, lax, nn
from tracejit.errors import DeviceError, OutOfBoundsError, OutOfMemoryError
from tracejit.runtime.gpu import pending, registry
from tracejit.runtime.gpu.device import CudaSource
from tracejit.runtime.gpu.host_device import HostDevice

pytestmark = needs_compiler


@pytest.fixture
def device() -> Iterator[Counting]:
    with registry.emulated(found := Counting()):
        yield found
    pending.drain(found)


def data(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(f32)


def there(array: Any) -> Any:
    return tj.device_put(array, "gpu")


def wait() -> None:
    tj.devices("gpu")[0].synchronize()


# ---- indices -------------------------------------------------------------------------------------


@tj.jit
def picked(x: Any, i: Any, k: Any) -> Any:
    y = nn.softmax(x @ x)
    a = y[i]
    return a, nn.softmax(x @ y)[:, k]


def test_an_index_is_reported_at_its_line_and_once(device: Counting) -> None:
    x, good, bad = there(data(4, 4)), np.array([1, 2]), np.array([1, 7])
    expected = picked(np.asarray(x), good, good)
    lines = {"i": "a = y[i]", "k": "nn.softmax(x @ y)[:, k]"}
    for _ in range(4):  # eagerly, while it is recorded, and replayed
        for name, given in {"i": (bad, good), "k": (good, bad)}.items():
            found = picked(x, *given)
            with pytest.raises(OutOfBoundsError) as caught:
                wait()
            assert lines[name] in str(caught.value) and "test_executable.py" in str(caught.value)
            wait()
            del found
        for a, b in zip(picked(x, good, good), expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5)
    assert device.replays >= 1


def test_a_failure_in_a_replay(device: Counting) -> None:
    def f(x: Any, i: Any) -> Any:
        return nn.softmax(nn.softmax(x @ x)[i] @ x)

    places = Places(device, f, data(4, 4), np.array([0, 1]))
    for _ in range(3):
        places.check(data(4, 4), [0, 1])
    replays = device.replays
    for _ in range(2):
        places.launch(data(4, 4), np.array([0, 9]))
        assert pending.count(device) == 1
        with pytest.raises(OutOfBoundsError):
            pending.drain(device)
        places.check(data(4, 4), [3, 1])
        pending.drain(device)
    assert device.replays == replays + 4


def test_a_failure_in_a_loop(device: Counting) -> None:
    def f(x: Any, steps: Any) -> Any:
        def step(c: Any, i: Any) -> Any:
            return nn.softmax(c @ x), x[i]

        return lax.scan(step, x, steps)

    jitted = tj.jit(f)
    x, good, bad = there(data(5, 5)), jnp.array([0, 4, 2]), jnp.array([0, 5, 2])
    for _ in range(3):
        jitted(x, bad)
        with pytest.raises(OutOfBoundsError, match=re.escape("x[i]")):
            wait()
        _, rows = jitted(x, good)
        np.testing.assert_array_equal(rows, np.asarray(x)[[0, 4, 2]])


def test_failures_of_two_programs_are_one_error(device: Counting) -> None:
    one = tj.jit(lambda x, i: x[i] + 1)
    two = tj.jit(lambda x, i: x[i] + 2)
    x, bad = there(data(4, 4)), jnp.array([9])
    one(x, bad)
    two(x, bad)
    one(x, bad)
    with pytest.raises(OutOfBoundsError) as caught:
        wait()
    assert str(caught.value).count("also: an index lies outside its axis") == 1
    wait()


# ---- failed launches -----------------------------------------------------------------------------


def test_a_failed_launch_poisons_nothing() -> None:
    with debug.cuda_on_cpu(orders=(0,)) as place:
        device = place.runtime
        text = 'extern "C" __global__ void wild(float* x) { x[1 << 20] = 1; }\n'
        wild = device.load([CudaSource("wild", text, header=False)])["wild"]
        memory = device.alloc(64)
        f = tj.jit(lambda x: nn.softmax(x @ x))
        x = tj.device_put(data(4, 4), place)
        expected = np.asarray(f(x))
        device.launch(wild, 1, 1, [memory.address])
        f(x)
        with pytest.raises(DeviceError, match="kernel wild"):
            place.synchronize()
        place.synchronize()
        np.testing.assert_array_equal(f(x), expected)


# ---- memory --------------------------------------------------------------------------------------


def needy(x: Any) -> Any:
    y = nn.softmax(x @ x.T)
    z = jnp.exp(y) @ y
    return (z @ x).sum(axis=0)


def test_an_error_for_lack_of_memory_lists_what_is_large() -> None:
    device = HostDevice(memory=1 << 20)
    with registry.emulated(device):
        f = tj.jit(needy)
        x = there(data(400, 8))  # products of 400 x 400: 0.6 MiB each
        with pytest.raises(OutOfMemoryError) as caught:
            f(x)
        said = str(caught.value)
        assert "MiB left" in said and "the program takes" in said
        largest = [line for line in said.splitlines() if "# test_executable.py:" in line]
        assert largest and "0.6 MiB" in largest[0] and "f32[400,400]" in largest[0]
        assert len(largest) <= 5
        with pytest.raises(OutOfMemoryError):
            f(x)
        small = there(data(40, 8))
        np.testing.assert_allclose(f(small), tj.jit(needy)(np.asarray(small)), rtol=1e-4)
        del x, small


def test_results_and_constants_without_memory() -> None:
    with registry.emulated(HostDevice(memory=1 << 20)):
        x = there(np.ones(1000, f32))
        with pytest.raises(OutOfMemoryError, match="result f32"):
            tj.jit(lambda x: jnp.broadcast_to(x, (1000, 1000)) * 2)(x)
        table = np.ones((600, 600), f32)
        with pytest.raises(OutOfMemoryError):
            tj.jit(lambda x: x[:600] @ jnp.asarray(table))(x)
        np.testing.assert_array_equal(tj.jit(lambda x: x * 2)(x), np.full(1000, 2))
        with pytest.raises(OutOfMemoryError, match="has no 4.0 MiB left"):
            there(np.ones((1024, 1024), f32))


def test_memory_is_free_after_an_error() -> None:
    device = HostDevice(memory=1 << 20)
    with registry.emulated(device):
        x = there(data(200, 8))
        before = device.used
        with pytest.raises(OutOfMemoryError):
            tj.jit(needy)(there(data(500, 8)))
        tj.clear_caches()
        assert device.used <= before + 500 * 8 * 4
        assert np.isfinite(tj.jit(needy)(x)).all()


# ---- donated arguments, results that are arguments -----------------------------------------------


def test_donated_arguments_lend_their_memory(device: Counting) -> None:
    def update(w: Any, m: Any, x: Any) -> Any:
        g = nn.softmax(x @ w)
        m = 0.9 * m + g.sum(axis=0)[:, None]
        return w - 0.1 * m, m, g

    jitted = tj.jit(update, donate_argnums=(0, 1))
    w, m, x = data(4, 4), np.zeros((4, 4), f32), data(7, 4, seed=2)
    a, b, c = there(w), there(m), there(x)
    for _ in range(10):
        before = a._place.memories[a.device].address
        a, b, g = jitted(a, b, c)
        assert a._place.memories[a.device].address == before
        w, m, wanted = tj.jit(update)(w, m, x)
        np.testing.assert_allclose(g, wanted, rtol=1e-4)
    np.testing.assert_allclose(a, w, rtol=1e-4)


def test_results_that_are_arguments(device: Counting) -> None:
    swap = tj.jit(lambda x, y: (y, x, x))
    x, y = there(data(3)), there(data(3, seed=1))
    for _ in range(3):
        a, b, c = swap(x, y)
        np.testing.assert_array_equal(a, y)
        np.testing.assert_array_equal(b, x)
        np.testing.assert_array_equal(c, x)
        x, y = a, b


# ---- tensors of others ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [WithInterface, WithDlpack])
def test_tensors_that_are_not_aligned_are_copied(kind: Any) -> None:
    """A slice of another library's tensor may begin anywhere; kernels read 16 bytes at a time."""
    with registry.emulated(device := HostDevice(checks=True)):
        whole = kind(device, data(65))

        class Slice(kind):  # type: ignore[misc]
            def __init__(self) -> None:
                self.data = whole.data[1:]
                self.memory = device.alloc(0)
                self.memory.address = whole.memory.address + 4
                self.kept = whole.memory

        x = jnp.asarray(Slice())
        np.testing.assert_array_equal(x, whole.data[1:])
        np.testing.assert_allclose(tj.jit(jnp.exp)(x), np.exp(whole.data[1:]), rtol=1e-6)
        wait()
        aligned = jnp.asarray(whole)
        assert aligned._place.memories[aligned.device].address == whole.memory.address
