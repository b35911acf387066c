"""Devices: names, where calls run, copies made and kept, errors that come late, donation."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tests.gpu.fake_device import FakeDevice, fake_gpu
from tracejit import config, lax
from tracejit.config import read_environment
from tracejit.errors import ArgumentError, DeletedArrayError, DeviceError, OutOfBoundsError
from tracejit.frontend.placement import Held
from tracejit.runtime.gpu import registry

jit = tj.jit


@pytest.fixture
def gpu() -> Iterator[FakeDevice]:
    with fake_gpu() as device:
        yield device


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch, gpu: FakeDevice) -> list[FakeDevice]:
    found = [gpu, FakeDevice(1)]
    monkeypatch.setattr(registry, "gpus", lambda: tuple(found))
    return found


def put(*shape: int, value: float = 1.0, device: Any = "gpu") -> Any:
    return tj.device_put(np.full(shape, value, np.float32), device)


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


# ---- waiting, and failures that come late --------------------------------------------------------


def test_calls_do_not_wait(gpu: FakeDevice) -> None:
    y = jit(lambda x: x + 1)(put(3))
    assert gpu.stream_of_work and not gpu.waits
    assert y.block_until_ready() is y
    assert not gpu.stream_of_work and gpu.waits == 1
    tj.block_until_ready([y, {"x": y}])
    assert gpu.waits == 3


def taken(x: Any, i: Any) -> Any:
    return x.at[i].get(mode="error")


def test_an_index_out_of_bounds_is_reported_where_somebody_waits(gpu: FakeDevice) -> None:
    f = jit(taken)
    x = put(3)
    for wait in (
        lambda y: y.block_until_ready(),
        np.asarray,
        float,
        repr,
        lambda y: tj.block_until_ready([y]),
        lambda y: y.to_device("cpu"),
        lambda y: tj.devices("gpu")[0].synchronize(),
        lambda y: put(2).block_until_ready(),
    ):
        y = f(x, 7)
        with pytest.raises(OutOfBoundsError) as caught:
            wait(y)
        assert "test_devices.py" in str(caught.value)
        assert "x.at[i].get" in str(caught.value)
        assert float(f(x, 1)) == 1  # it is reported once


def test_several_failures_are_one_error(gpu: FakeDevice) -> None:
    f, g = jit(taken), jit(lambda x, i: taken(x * 2, i))
    x = put(3)
    y = [f(x, 7), g(x, -9)]
    with pytest.raises(OutOfBoundsError, match="also: "):
        tj.block_until_ready(y)


def test_outside_of_jit_it_is_reported_at_once(gpu: FakeDevice) -> None:
    x, i = put(3), tj.device_put(np.array([7]), "gpu")
    with pytest.raises((OutOfBoundsError, IndexError)) as caught:
        taken(x, i)
    assert "test_devices.py" in str(caught.value)


# ---- outside of jit ------------------------------------------------------------------------------


def test_operations_outside_of_jit_run_there(gpu: FakeDevice) -> None:
    x = put(2, 3, value=4.0)
    before = gpu.uploads
    found = jnp.sqrt(x) @ x.T + 1
    assert found.device is x.device
    assert gpu.downloads == 0
    np.testing.assert_array_equal(found, np.full((2, 2), 25))
    assert gpu.uploads <= before + 1  # the number
    for y in (x * 2, 2 / x, x.astype(int), x.reshape(3, 2), x[0], x.at[0].set(1.0), np.sin(x)):
        assert y.device is x.device
    np.testing.assert_array_equal(x.at[0].set(1.0), [[1, 1, 1], [4, 4, 4]])
    np.testing.assert_array_equal(jnp.where(x > 3, x, 0), np.full((2, 3), 4))
    assert bool((x == 4).all())


def test_other_numbers_compile_nothing_new(gpu: FakeDevice) -> None:
    from tracejit.frontend import on_device

    x = put(3)
    (x * 2.0).block_until_ready()
    count = len(on_device._programs)
    for k in range(5):
        np.testing.assert_array_equal(x * float(k), np.full(3, k))
    assert len(on_device._programs) == count


def test_operands_from_the_host(gpu: FakeDevice) -> None:
    x = put(3)
    for other in (np.arange(3, dtype=np.float32), jnp.arange(3.0), jnp.float32(2), 2, [0, 1, 2]):
        found = x + other if not isinstance(other, list) else x + jnp.array(other)
        assert found.device is x.device
        np.testing.assert_array_equal(found, 1 + np.asarray(other))
    bound = tj.device_put(jnp.ones(3), "cpu")
    with pytest.raises(DeviceError, match="mul: operands are on two devices") as caught:
        x * bound
    assert "operand 2, f32[3], is on cpu" in str(caught.value)
    y = bound + jnp.ones(3)
    with pytest.raises(DeviceError):
        x * y


def test_eager_operations_by_default(gpu: FakeDevice) -> None:
    with tj.default_device("gpu"):
        x = jnp.arange(4.0) + 1
        assert x.device.platform == "gpu"
        assert gpu.launched
    np.testing.assert_array_equal(x + 1, [2, 3, 4, 5])
    assert (x + 1).device.platform == "cpu"


# ---- transformations -----------------------------------------------------------------------------


def loss(w: Any, x: Any) -> Any:
    return jnp.mean(jnp.tanh(x @ w) ** 2)


@pytest.mark.parametrize("jitted", [False, True])
def test_gradients(gpu: FakeDevice, jitted: bool) -> None:
    w, x = np.linspace(-1, 1, 3, dtype=np.float32), np.ones((4, 3), np.float32)
    expected = tj.grad(loss)(w, x)
    g = jit(tj.grad(loss)) if jitted else tj.grad(loss)
    there = g(tj.device_put(w, "gpu"), x)
    assert there.device.platform == "gpu"
    np.testing.assert_allclose(there, expected, rtol=1e-6)
    value, found = tj.value_and_grad(loss)(tj.device_put(w, "gpu"), tj.device_put(x, "gpu"))
    assert value.device.platform == found.device.platform == "gpu"


def test_python_branches_under_grad(gpu: FakeDevice) -> None:
    def f(x: Any) -> Any:
        return x**2 if x > 0 else -x

    assert float(tj.grad(f)(tj.device_put(3.0, "gpu"))) == 6
    assert float(tj.grad(f)(tj.device_put(-3.0, "gpu"))) == -1


def test_other_transformations(gpu: FakeDevice) -> None:
    x = tj.device_put(np.arange(6, dtype=np.float32).reshape(2, 3), "gpu")
    here = np.asarray(x)

    def f(row: Any) -> Any:
        return jnp.sin(row).sum() * row[0]

    for g in (tj.vmap(f), jit(tj.vmap(f)), tj.vmap(jit(f)), tj.vmap(tj.grad(f))):
        found = g(x)
        assert found.device is x.device
        np.testing.assert_allclose(found, g(here), rtol=1e-5)
    row = x[1]
    y, tangent = tj.jvp(f, (row,), (row,))
    assert y.device is tangent.device is x.device
    _, pull = tj.vjp(f, row)
    assert pull(1.0)[0].device is x.device
    np.testing.assert_allclose(tj.hessian(f)(row), tj.hessian(f)(here[1]), rtol=1e-5)


def test_loops_and_branches(gpu: FakeDevice) -> None:
    x = put(3, value=2.0)

    def f(x: Any) -> Any:
        y, ys = lax.scan(lambda c, _: (c * x, c.sum()), x, None, length=3)
        return lax.cond(y[0] > 0, lambda: y, lambda: -y), ys

    for g in (f, jit(f)):
        y, ys = g(x)
        assert y.device is ys.device is x.device
        np.testing.assert_array_equal(y, [16, 16, 16])
        np.testing.assert_array_equal(ys, [6, 12, 24])
    assert lax.fori_loop(0, 3, lambda i, c: c + x, x).device is x.device


def test_device_put_inside_a_traced_function(gpu: FakeDevice) -> None:
    f = jit(lambda x: tj.device_put(x * 2, "gpu") + jnp.zeros(3, device=x.device))
    assert f(jnp.ones(3)).device.platform == "cpu"
    assert f(put(3)).device.platform == "gpu"
    assert float(tj.grad(lambda x: tj.device_put(x, "gpu") ** 2)(3.0)) == 6


def test_callbacks_outside_of_jit(gpu: FakeDevice) -> None:
    shape = tj.ShapeDtypeStruct((3,), np.float32)
    y = tj.pure_callback(lambda x: x + 1, shape, put(3))
    assert y.device.platform == "gpu"
    np.testing.assert_array_equal(y, [2, 2, 2])


# ---- donation ------------------------------------------------------------------------------------


def address(x: Any) -> int:
    return x._place.memories[x._place.home].address  # type: ignore[no-any-return]


def test_a_result_takes_the_memory_of_a_donated_argument(gpu: FakeDevice) -> None:
    f = jit(lambda x: x + 1, donate_argnums=0)
    x = put(1000)
    first = address(x)
    for _ in range(4):
        y = f(x)
        assert x.is_deleted() and address(y) == first
        x = y
    np.testing.assert_array_equal(x, np.full(1000, 5))
    with pytest.raises(DeletedArrayError):
        f(y) + np.asarray(y)


def test_memory_that_others_hold_is_left_alone(gpu: FakeDevice) -> None:
    f = jit(lambda x: x * 3, donate_argnums=0)
    x = put(4)
    alias = jnp.asarray(x)
    y = f(x)
    assert x.is_deleted() and not alias.is_deleted()
    np.testing.assert_array_equal(alias, np.ones(4))
    np.testing.assert_array_equal(y, np.full(4, 3))
    x = jnp.ones(4)
    with tj.default_device("gpu"):
        y = f(x)
    assert x.is_deleted()
    np.testing.assert_array_equal(y, np.full(4, 3))
    w = put(4)
    held = jit(lambda x: x + w)
    held(1.0)
    f(w)
    np.testing.assert_array_equal(held(1.0), np.full(4, 2))


def test_deleted_arrays(gpu: FakeDevice) -> None:
    x = put(3)
    jit(lambda x: x + 1, donate_argnums=0)(x)
    assert repr(x) == "Array<f32[3], deleted>"
    for use in (np.asarray, lambda x: x + 1, jit(lambda x: x), tj.grad(jnp.sum), jnp.asarray):
        with pytest.raises(DeletedArrayError):
            np.asarray(use(x))
    assert not isinstance(x._place, Held)


def test_operators_run_on_the_default_device(gpu: FakeDevice) -> None:
    x = jnp.asarray(np.ones((2, 2), np.float32))
    with tj.default_device("gpu"):
        for found in (x + x, x * 2.0, x < x, x[0], x[1, 1]):
            assert found.device.platform == "gpu"
    assert (x + x).device.platform == "cpu"
