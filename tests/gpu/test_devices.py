"""Devices: names, arrays that are put there, where calls run, copies made and kept."""

from __future__ import annotations

import copy
import pickle
import threading
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tests.gpu.fake_device import FakeDevice, fake_gpu, put
from tracejit import config
from tracejit.config import read_environment
from tracejit.errors import ArgumentError, DeviceError
from tracejit.runtime.gpu import registry

jit = tj.jit


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch, gpu: FakeDevice) -> list[FakeDevice]:
    found = [gpu, FakeDevice(1)]
    monkeypatch.setattr(registry, "gpus", lambda: tuple(found))
    return found


# ---- devices and their names ---------------------------------------------------------------------


def test_the_cpu() -> None:
    (cpu,) = tj.devices("cpu")
    assert (cpu.platform, cpu.id, repr(cpu), cpu.name) == ("cpu", 0, "CpuDevice(id=0)", "cpu")
    assert cpu.device_kind
    assert tj.devices() == tj.local_devices() == [cpu]
    assert tj.default_backend() == "cpu"
    assert tj.device_count() == 1
    assert jnp.ones(2).device is cpu
    assert jnp.ones(2).devices() == {cpu}
    assert pickle.loads(pickle.dumps(cpu)) is cpu


def test_a_gpu(gpu: FakeDevice) -> None:
    (device,) = tj.devices("gpu")
    assert isinstance(device, tj.Device)
    assert tj.devices("cuda") == [device]
    assert (device.platform, device.id, repr(device)) == ("gpu", 0, "CudaDevice(id=0)")
    assert device.device_kind == "a device that plays a GPU"
    assert len({device, *tj.devices("cuda"), *tj.devices("cpu")}) == 2
    for name in ("gpu", "cuda", "cuda:0", "gpu:0", device):
        assert put(2, device=name).device is device


def test_without_a_gpu_the_error_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "gpus", lambda: ())
    monkeypatch.setattr(registry, "problem", lambda: "no driver is found")
    uses = {
        "devices": lambda: tj.devices("gpu"),
        "device_put": lambda: tj.device_put(np.ones(2), "cuda"),
        "jit": lambda: jit(lambda x: x, device="gpu")(1.0),
        "backend": lambda: jit(lambda x: x, backend="cuda")(1.0),
        "default_device": lambda: tj.default_device("gpu"),
        "zeros": lambda: jnp.zeros(2, device="gpu"),
        "to_device": lambda: jnp.ones(2).to_device("cuda"),
    }
    for name, use in uses.items():
        with pytest.raises(DeviceError, match="there is no GPU: no driver is found") as caught:
            use()
        assert "test_devices.py" in str(caught.value), name


def test_why_there_is_none() -> None:
    count, why = registry.driver()
    assert bool(count) != bool(why)
    if why:
        assert why in registry.problem()


def test_a_number_too_high(gpu: FakeDevice) -> None:
    with pytest.raises(DeviceError, match="no device cuda:3") as caught:
        put(2, device="cuda:3")
    assert "this machine has 1" in str(caught.value)


@pytest.mark.parametrize("name", ["tpu", "cuda:x", 7, "cpu:0:0", ""])
def test_what_names_no_device(name: Any) -> None:
    for use in (lambda: tj.device_put(1.0, name), lambda: jit(lambda x: x, device=name)):
        with pytest.raises(ArgumentError, match="names no device"):
            use()
    with pytest.raises(ArgumentError, match="there is no platform"):
        tj.devices("tpu")


@pytest.mark.parametrize(
    ("given", "name"), [("gpu", "cuda:0"), ("cuda:3", "cuda:3"), ("cpu", "cpu"), ("", "cpu")]
)
def test_the_environment(given: str, name: str) -> None:
    assert read_environment({"TRACEJIT_DEVICE": given}).default_device == name
    with pytest.raises(ArgumentError, match="TRACEJIT_DEVICE='tpu'"):
        read_environment({"TRACEJIT_DEVICE": "tpu"})


# ---- putting arrays somewhere --------------------------------------------------------------------


@pytest.mark.parametrize(
    "dtype", [np.float32, np.float64, np.int8, np.bool_, np.complex64, ml_dtypes.bfloat16]
)
@pytest.mark.parametrize("shape", [(), (3,), (0, 2), (2, 3, 1)])
def test_there_and_back(gpu: FakeDevice, dtype: Any, shape: tuple[int, ...]) -> None:
    data = (np.arange(np.prod(shape)).reshape(shape) % 2).astype(dtype)
    x = tj.device_put(data, "gpu")
    assert (x.shape, x.dtype, x.device.platform) == (shape, data.dtype, "gpu")
    np.testing.assert_array_equal(tj.device_get(x), data)
    y = x.to_device("cpu")
    assert y.device.platform == "cpu"
    np.testing.assert_array_equal(y, data)


def test_what_is_not_contiguous(gpu: FakeDevice) -> None:
    data = np.arange(12.0).reshape(3, 4)[::2, ::-1].T
    np.testing.assert_array_equal(tj.device_put(data, "gpu"), data)


def test_trees(gpu: FakeDevice) -> None:
    tree = {"w": np.ones((2, 2)), "b": [1, 2.5, None]}
    found = tj.device_put(tree, "gpu")
    assert {leaf.device.platform for leaf in tj.tree.leaves(found)} == {"gpu"}
    back = tj.device_get(found)
    assert back["b"][:2] == [1, 2.5] and back["b"][2] is None


def test_the_copy_does_not_follow_writes_to_the_numpy_array(gpu: FakeDevice) -> None:
    data = np.ones(3)
    there, here = tj.device_put(data, "gpu"), tj.device_put(data, "cpu")
    data[:] = 5
    np.testing.assert_array_equal(there, np.ones(3))
    np.testing.assert_array_equal(here, np.ones(3))


def test_creation_functions(gpu: FakeDevice) -> None:
    made = {
        "zeros": jnp.zeros(3, device="gpu"),
        "ones": jnp.ones((2, 2), device="gpu"),
        "full": jnp.full(3, 7, device="gpu"),
        "empty": jnp.empty(3, device="gpu"),
        "arange": jnp.arange(3, device="gpu"),
        "linspace": jnp.linspace(0, 1, 3, device="gpu"),
        "eye": jnp.eye(2, device="gpu"),
        "asarray": jnp.asarray([1, 2], device="gpu"),
        "array": jnp.array(np.ones(2), device="gpu"),
        "array of a list": jnp.array([1, 2.0], dtype=float, device="gpu"),
        "zeros_like": jnp.zeros_like(np.ones(3), device="gpu"),
        "ones_like": jnp.ones_like(put(3)),
        "full_like": jnp.full_like(put(3), 2),
        "astype": jnp.astype(jnp.ones(2), int, device="gpu"),
    }
    for name, x in made.items():
        assert x.device.platform == "gpu", name
    np.testing.assert_array_equal(made["full_like"], [2, 2, 2])
    assert jnp.zeros(2).device.platform == "cpu"
    with tj.default_device("gpu"):
        assert jnp.zeros(2).device.platform == "gpu"
        assert jnp.zeros(2, device="cpu").device.platform == "cpu"


def test_looking_copies_once(gpu: FakeDevice) -> None:
    x = put(3, value=2.0)
    assert gpu.downloads == 0
    assert repr(x) == "Array([2., 2., 2.], dtype=float32)"
    assert x.tolist() == [2, 2, 2] and float(x[0]) == 2 and f"{x}" == "[2. 2. 2.]"
    assert gpu.downloads == 2  # x, and the new array x[0]
    assert x.device.platform == "gpu"


def test_pickles_and_copies(gpu: FakeDevice) -> None:
    x = put(3, value=2.0)
    back = pickle.loads(pickle.dumps(x))
    assert back.device.platform == "cpu"
    np.testing.assert_array_equal(back, [2, 2, 2])
    other = copy.deepcopy(x)
    assert other.device == x.device and other is not x  # x[0] = 1 must not change it
    np.testing.assert_array_equal(other, [2, 2, 2])
    y = jnp.copy(x)
    assert y.device is x.device
    assert y._place.memories[y.device] is not x._place.memories[x.device]
    np.testing.assert_array_equal(y, x)
    assert not np.asarray(x).flags.writeable


# ---- where calls run -----------------------------------------------------------------------------


def test_where_arguments_are_put(gpu: FakeDevice) -> None:
    f = jit(lambda x, y: x * y + 1)
    for _ in range(4):
        found = f(put(3, value=2.0), np.float32(3))
        assert found.device.platform == "gpu"
        np.testing.assert_array_equal(found, [7, 7, 7])
        here = f(np.ones(3, np.float32), 2.0)
        assert here.device.platform == "cpu"
        np.testing.assert_array_equal(here, [3, 3, 3])
    assert gpu.launched == 4
    assert f.cache_size() == 2


def test_results_are_bound(gpu: FakeDevice) -> None:
    f = jit(lambda x: x + 1)
    x = put(2)
    for _ in range(5):
        x = f(x)
    assert x.device.platform == "gpu"
    assert (gpu.launched, gpu.uploads, gpu.downloads) == (5, 1, 0)
    np.testing.assert_array_equal(x, [6, 6])


def test_an_explicit_device_takes_all(gpu: FakeDevice) -> None:
    there = jit(lambda x: x + 1, device="gpu")(jnp.ones(2))
    assert there.device.platform == "gpu"
    assert jit(lambda x: x + 1, backend="cuda")(1.0).device.platform == "gpu"
    here = jit(lambda x: x * 2, device="cpu")(there)
    assert here.device.platform == "cpu"
    np.testing.assert_array_equal(here, [4, 4])
    for _ in range(3):
        np.testing.assert_array_equal(jit(lambda x: x * 3, backend="llvm")(there), [6, 6])
    with pytest.raises(DeviceError, match="cuda:0 and cpu"):
        jit(lambda x, y: x + y)(there, here)
    decorated = jit(device="gpu")(lambda x: x)
    assert decorated(jnp.ones(1)).device.platform == "gpu"


def test_the_default_device(gpu: FakeDevice) -> None:
    f = jit(lambda x: x + 1)
    x = jnp.ones(2)
    assert f(x).device.platform == "cpu"
    with tj.default_device("gpu"):
        y = f(x)
        assert y.device.platform == tj.default_backend() == "gpu"
        assert tj.devices()[0].platform == "gpu"
        np.testing.assert_array_equal(y, [2, 2])
    # nothing binds it to the GPU
    assert f(y).device.platform == "cpu"
    np.testing.assert_array_equal(f(y), [3, 3])
    with tj.settings(backend="cuda"):
        assert f(x).device.platform == "gpu"
        assert f(tj.device_put(x, "cpu")).device.platform == "cpu"
    assert config.default_device == "cpu"


def test_a_backend_of_the_settings(gpu: FakeDevice) -> None:
    for options in ({"backend": "numpy"}, {"mode": "fast_compile"}, {"mode": "debug"}):
        with tj.settings(**options):
            y = jit(lambda x: x + 1)(put(2))
        assert y.device.platform == "gpu"
        np.testing.assert_array_equal(y, [2, 2])


def test_two_devices_in_a_call(two: list[FakeDevice]) -> None:
    def f(x: Any, params: Any) -> Any:
        return x + params["w"]

    a, b = put(2, device="cuda:0"), put(2, device="cuda:1")
    for call in (lambda: jit(f)(a, {"w": b}), lambda: f(a, {"w": b})):
        with pytest.raises(DeviceError, match="cuda:0 and cuda:1") as caught:
            call()
        assert "test_devices.py" in str(caught.value)
    with pytest.raises(DeviceError) as caught:
        jit(f)(a, {"w": b})
    assert "argument `x`, f32[2], is on cuda:0" in str(caught.value)
    assert "argument `params['w']`, f32[2], is on cuda:1" in str(caught.value)
    with pytest.raises(DeviceError, match="closes over"):
        jit(lambda x: x + a)(b)
    found = jit(f)(a, {"w": b.to_device(a.device)})
    np.testing.assert_array_equal(found, [2, 2])
    assert jit(f, device="cuda:1")(a, {"w": a}).device.id == 1


def test_closed_over_arrays_decide_too(gpu: FakeDevice) -> None:
    for n in (1, 3, 1000):
        w = put(n, value=2.0)
        f = jit(lambda x, w=None, held=w: x * held)
        for _ in range(3):
            y = f(3.0)
            assert y.device.platform == "gpu"
            np.testing.assert_array_equal(y, np.full(n, 6))


def test_an_explicit_device_takes_closed_over_arrays_too(two: list[FakeDevice]) -> None:
    held = put(100, value=2.0, device="cuda:1")
    for name in ("cpu", "cuda:0", "cuda:1"):
        y = jit(lambda x: x * held, device=name)(3.0)
        assert y.device.name == name
        np.testing.assert_array_equal(y, np.full(100, 6))


def test_host_arrays_move_once(gpu: FakeDevice) -> None:
    f = jit(lambda w, x: w * x)
    w, x = jnp.arange(4.0), put(4)
    before = gpu.uploads
    for _ in range(4):
        f(w, x)
    assert gpu.uploads == before + 1
    assert w.device.platform == "cpu"
    # and still serve the CPU
    for _ in range(3):
        np.testing.assert_array_equal(jit(lambda w: w + 1)(w), [1, 2, 3, 4])
    for _ in range(4):
        f(np.arange(4, dtype=np.float32), x)
    assert gpu.uploads == before + 5


def test_numbers_move_once(gpu: FakeDevice) -> None:
    f = jit(lambda x, rate: x * rate)
    x = put(2)
    f(x, 0.5)
    before = gpu.uploads
    for _ in range(4):
        y = f(x, 0.5)
    assert gpu.uploads == before
    np.testing.assert_array_equal(y, [0.5, 0.5])
    np.testing.assert_array_equal(jnp.signbit(f(x, -0.0)), [True, True])
    np.testing.assert_array_equal(jnp.signbit(f(x, 0.0)), [False, False])


def test_results_of_a_cpu_program_go_to_the_gpu(gpu: FakeDevice) -> None:
    y = jit(lambda x: x + 1)(jnp.arange(3.0))
    z = jit(lambda x, y: x + y)(y, put(3))
    np.testing.assert_array_equal(z, [2, 3, 4])
    np.testing.assert_array_equal(y, [1, 2, 3])


def test_threads_share_programs_and_arrays(gpu: FakeDevice) -> None:
    f = jit(lambda x: x + 1, device=tj.devices("gpu")[0])
    f(jnp.ones(2))
    found: list[Any] = []
    x = jnp.arange(2.0)
    threads = [threading.Thread(target=lambda: found.append(f(x))) for _ in range(4)]
    with fake_gpu(gpu):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for y in found:
        np.testing.assert_array_equal(y, [1, 2])


def test_devices_of_an_emulation_are_told_apart() -> None:
    f = jit(lambda x: x + 1, device="gpu")
    places = []
    for _ in range(2):
        with fake_gpu() as device:
            f(1.0)
            places.append(f(1.0).device.runtime)
            assert places[-1] is device
    assert places[0] is not places[1]
