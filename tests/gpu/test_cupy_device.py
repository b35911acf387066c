"""The device over CuPy, on a CuPy that plays its part: what is asked of it, and what becomes of its
errors. With CuPy installed, that the names are there; with a GPU, ``test_on_gpu.py``.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tests.gpu.fake_cupy import Cuda, fake_cuda
from tests.gpu.host_kernels import needs_compiler
from tracejit import lax, nn
from tracejit.errors import BackendError, DeviceError, OutOfBoundsError, OutOfMemoryError
from tracejit.runtime.gpu import cupy_device, nvrtc, registry, shared, streams
from tracejit.runtime.gpu.cupy_device import CupyDevice
from tracejit.runtime.gpu.device import CudaSource

pytestmark = needs_compiler

f32 = np.float32


@pytest.fixture
def cuda() -> Iterator[Cuda]:
    with fake_cuda() as found:
        yield found


@pytest.fixture
def device(cuda: Cuda) -> Iterator[CupyDevice]:
    found = CupyDevice(0)
    with registry.emulated(found):
        yield found


def data(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(f32)


def there(array: Any) -> Any:
    return tj.device_put(array, "gpu")


def read(device: CupyDevice, address: int, count: int) -> list[int]:
    found = np.empty(count, np.uint8)
    device.to_host(found, address)
    return found.tolist()


def kernel(name: str, parameters: str, body: str, **options: Any) -> CudaSource:
    text = f'extern "C" __global__ void {name}({parameters}) {{ {body} }}\n'
    return CudaSource(name, text, header=False, **options)


# ---- programs ------------------------------------------------------------------------------------


def deep(x: Any) -> Any:
    return nn.softmax(nn.softmax(x @ x) @ x, axis=0)


PROGRAMS: dict[str, Callable[[Any], Any]] = {
    "chain": deep,
    "grad": tj.grad(lambda x: (nn.softmax(x @ x) ** 2).sum()),
    "scan": lambda x: lax.scan(lambda c, row: (nn.softmax(c @ x) + row, c[0]), x, x),
    "while": lambda x: lax.while_loop(lambda y: y.sum() < 30, lambda y: y + jnp.abs(y @ x) + 1, x),
    "index": lambda x: x[jnp.array([1, 0])] * 2,
    "nothing": lambda x: (x[:0] * 2, jnp.zeros((0, 3))),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(device: CupyDevice, cuda: Cuda, name: str) -> None:
    jitted, here = tj.jit(PROGRAMS[name]), tj.jit(PROGRAMS[name])
    for seed in range(4):
        x = data(5, 5, seed=seed)
        found, expected = jitted(there(x)), here(x)
        for a, b in zip(tj.tree.leaves(found), tj.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    assert device.stream.non_blocking


def test_nothing_waits_before_it_must(device: CupyDevice, cuda: Cuda) -> None:
    x = there(data(5, 5))
    for _ in range(4):
        y = tj.jit(deep)(x)
    assert cuda.calls["streamSynchronize"] == 0 and device.stream.queue
    np.testing.assert_allclose(y, tj.jit(deep)(data(5, 5)), rtol=1e-5)
    assert cuda.calls["streamSynchronize"] == 1


def test_arguments_are_eight_bytes_each(device: CupyDevice, cuda: Cuda) -> None:
    tj.jit(PROGRAMS["scan"])(there(data(5, 5)))
    assert cuda.boxes and {box for _, boxes in cuda.boxes for box in boxes} <= {"<i8", "<u8"}


def test_arguments_of_users_kernels_keep_their_sizes(device: CupyDevice, cuda: Cuda) -> None:
    source = kernel(
        "mine",
        "float* y, float a, int n, unsigned char b, double c, long long d",
        "if (threadIdx.x < n) y[threadIdx.x] = a * threadIdx.x + b + (float) c + d;",
    )
    function = device.load([source])["mine"]
    y = device.alloc(16)
    args = (y.address, f32(2), np.int32(4), np.uint8(3), np.float64(0.5), -7)
    device.launch(function, 1, 32, args)
    device.launch(function, (1,), (32, 1), args)
    device.launch(function, 0, 32, args)
    found = np.empty(4, f32)
    device.to_host(found, y.address)
    assert found.tolist() == [-3.5, -1.5, 0.5, 2.5]
    assert [boxes[1:] for _, boxes in cuda.boxes] == [["<f4", "<i4", "|u1", "<f8", "<i8"]] * 2


def test_a_grid_that_is_too_large(device: CupyDevice) -> None:
    function = device.load([kernel("one", "long long n", "")])["one"]
    with pytest.raises(DeviceError, match="2147483648 blocks"):
        device.launch(function, 1 << 31, 32, (1,))


def test_images_are_loaded_once(device: CupyDevice, cuda: Cuda) -> None:
    sources = [kernel(f"k{k}", "long long n", "") for k in range(3)]
    found = device.load(sources)
    assert set(found) == {"k0", "k1", "k2"}
    assert cuda.calls["compile"] == cuda.calls["moduleLoadData"] == 1


def test_large_shared_memory_is_asked_for(device: CupyDevice, cuda: Cuda) -> None:
    body = "extern __shared__ float s[]; s[threadIdx.x] = 1; y[0] = s[threadIdx.x];"
    large, usual = (kernel(f"s{n}", "float* y", body, shared=n) for n in (100 << 10, 4096))
    found, y = device.load([large, usual]), device.alloc(4)
    for source in (large, usual):
        device.launch(found[source.name], 1, 32, [y.address], source.shared)
    device.synchronize()
    assert list(cuda.allowed.values()) == [100 << 10]


def test_what_has_no_bytes_is_not_asked_for(device: CupyDevice, cuda: Cuda) -> None:
    memory = device.alloc(0)
    device.fill(memory.address, 0, 0)
    device.copy(memory.address, memory.address, 0)
    device.to_device(memory.address, np.empty(0, f32))
    device.to_host(np.empty(0, f32), memory.address)
    assert not cuda.calls["memcpyAsync"] and not cuda.calls["memsetAsync"]


def test_arrays_may_change_once_they_are_given(device: CupyDevice, cuda: Cuda) -> None:
    """CUDA reads pinned memory when it gets to it, and on some machines all of the host's."""
    memory = device.alloc(8)
    for kind in ("pageable", "pinned", "shared page tables"):
        array = np.ones(8, np.uint8)
        before = cuda.calls["streamSynchronize"]
        if kind == "pinned":
            cuda.pinned.add(array.ctypes.data)
        if kind == "shared page tables":
            cuda.more_properties = {"pageableMemoryAccessUsesHostPageTables": 1}
            device = CupyDevice(0)
            memory = device.alloc(8)
        device.to_device(memory.address, array)
        assert cuda.calls["streamSynchronize"] == before + (kind != "pageable")
        array[:] = 9
        assert read(device, memory.address, 8) == [1] * 8, kind
        cuda.pinned.clear()


# ---- recordings ----------------------------------------------------------------------------------


def test_programs_are_graphs_from_the_third_call_on(device: CupyDevice, cuda: Cuda) -> None:
    jitted, x = tj.jit(deep, donate_argnums=0), there(data(5, 5))
    expected = data(5, 5)
    for _ in range(8):
        x, expected = jitted(x), tj.jit(deep)(expected)
    np.testing.assert_allclose(x, expected, rtol=1e-4)
    assert cuda.calls["graphLaunch"] >= 4
    assert cuda.calls["streamBeginCapture"] == cuda.calls["streamEndCapture"] <= 3


def test_other_threads_go_on_while_one_records(device: CupyDevice) -> None:
    a, b = device.alloc(4), device.alloc(4)
    device.fill(b.address, 1, 4)

    def other() -> None:
        device.fill(b.address, 2, 4)
        assert read(device, b.address, 4) == [2] * 4  # waits, while the other thread records
        device.alloc(4)

    def work() -> None:
        device.fill(a.address, 3, 4)
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        device.copy(a.address + 2, b.address, 2)

    recording = device.record(work)
    device.fill(b.address, 4, 4)
    recording.launch()
    assert read(device, a.address, 4) == [3, 3, 4, 4]
    assert read(device, b.address, 4) == [4] * 4


def test_threads_share_a_device(device: CupyDevice, cuda: Cuda) -> None:
    jitted, other = tj.jit(deep), tj.jit(PROGRAMS["scan"])
    expected = {seed: tj.jit(deep)(data(5, 5, seed=seed)) for seed in range(4)}
    failures: list[BaseException] = []

    def run(seed: int) -> None:
        try:
            with registry.emulated(device):
                for _ in range(5):
                    found = jitted(there(data(5, 5, seed=seed)))
                    other(there(data(5, 5, seed=seed)))
                    np.testing.assert_allclose(found, expected[seed], rtol=1e-4)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_a_recording_that_fails_is_not_needed(device: CupyDevice, cuda: Cuda) -> None:
    jitted, x = tj.jit(deep, donate_argnums=0), there(data(5, 5))
    expected = data(5, 5)
    cuda.fail("streamEndCapture", 901)
    with pytest.warns(RuntimeWarning, match="launch by launch.*StreamCaptureInvalidated"):
        for _ in range(8):
            x, expected = jitted(x), tj.jit(deep)(expected)
    np.testing.assert_allclose(x, expected, rtol=1e-4)
    assert cuda.calls["graphLaunch"] == 0
    memory = device.alloc(4)
    device.record(lambda: device.fill(memory.address, 5, 4)).launch()  # the next one is well
    assert read(device, memory.address, 4) == [5] * 4


def test_an_exception_ends_a_recording(device: CupyDevice, cuda: Cuda) -> None:
    def work() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        device.record(work)
    assert cuda.calls["streamEndCapture"] == 1 and device.current is device.stream


# ---- errors --------------------------------------------------------------------------------------


def test_an_error_of_a_call_harms_no_other(device: CupyDevice, cuda: Cuda) -> None:
    jitted, x = tj.jit(deep), there(data(5, 5))
    cuda.fail("launchKernel", 1)
    with pytest.raises(DeviceError, match="launching a kernel: CUDA_ERROR_InvalidValue") as caught:
        jitted(x)
    assert "not affected" in caught.value.hint and not device.lost
    np.testing.assert_allclose(jitted(x), tj.jit(deep)(data(5, 5)), rtol=1e-4)


def test_a_lost_context_is_said_from_then_on(device: CupyDevice, cuda: Cuda) -> None:
    wild = device.load([kernel("wild", "float* x", "x[1 << 24] = 1;")])["wild"]
    x = there(data(5, 5))
    device.launch(wild, 1, 1, [device.alloc(4).address])
    with pytest.raises(DeviceError, match="or work before it: cudaErrorIllegalAddress") as caught:
        np.asarray(x + 1)
    assert "the context of cuda:0 is lost" in caught.value.hint and not caught.value.notes
    for use in (lambda: tj.jit(deep)(x), device.synchronize, lambda: device.alloc(1)):
        with pytest.raises(DeviceError) as caught:
            use()
        assert "is lost" in caught.value.hint and "lost before: a copy" in caught.value.notes[0]


def test_out_of_memory() -> None:
    with fake_cuda(memory=1 << 20) as cuda, registry.emulated(CupyDevice(0)):
        x = there(data(400, 8))

        def f(x: Any) -> Any:
            return (nn.softmax(x @ x.T) @ x).sum(axis=0)

        with pytest.raises(OutOfMemoryError, match="(?s)has no .* MiB left.*f32\\[400,400\\]"):
            tj.jit(f)(x)
        small = there(data(40, 8))
        np.testing.assert_allclose(tj.jit(f)(small), tj.jit(f)(data(40, 8)), rtol=1e-4)
        cuda.fail("launchKernel", 2)
        with pytest.raises(OutOfMemoryError, match="launching a kernel: CUDA_ERROR_MemoryAlloc"):
            tj.jit(f)(small)
        del x


def test_indices_that_fail(device: CupyDevice) -> None:
    f, x = tj.jit(lambda x, i: nn.softmax(x @ x)[i]), there(data(5, 5))
    for _ in range(4):
        y = f(x, jnp.array([7]))
        with pytest.raises(OutOfBoundsError, match=r"\[i\]"):
            y.block_until_ready()
        f(x, jnp.array([1])).block_until_ready()


@pytest.mark.parametrize("status", [209, 222])
def test_an_image_that_the_driver_does_not_take(
    device: CupyDevice, cuda: Cuda, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(nvrtc, "version", lambda: "13.0")
    cuda.fail("moduleLoadData", status)
    with pytest.raises(DeviceError, match="loading the kernel") as caught:
        tj.jit(deep)(there(data(5, 5)))
    for part in ("driver knows CUDA 12.4", "built for CUDA 13.0", "NVRTC is of CUDA 13.0"):
        assert part in str(caught.value)
    assert "install a driver" in caught.value.hint
    tj.jit(deep)(there(data(5, 5))).block_until_ready()


def test_a_driver_that_is_too_old(cuda: Cuda, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvrtc, "version", lambda: "13.0")
    cuda.fail("getDeviceProperties", 35)
    with pytest.raises(DeviceError, match="(?s)opening cuda:0: .*insufficient.*CUDA 12.4"):
        CupyDevice(0)


def test_a_forked_process_is_told(
    device: CupyDevice, cuda: Cuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = device.alloc(4)
    monkeypatch.setattr(os, "getpid", lambda: device.process + 1)
    cuda.fail("memsetAsync", 3)
    with pytest.raises(DeviceError) as caught:
        device.fill(memory.address, 0, 4)
    assert "'spawn'" in caught.value.hint


# ---- libraries -----------------------------------------------------------------------------------


def test_libraries_run_in_graphs_too(device: CupyDevice, cuda: Cuda) -> None:
    jitted, x = tj.jit(deep, donate_argnums=0), there(data(40, 40))
    for _ in range(4):  # two places take turns
        x = jitted(x)
    plans = cuda.calls["library"]
    assert plans >= 4
    expected = np.asarray(x)
    for _ in range(4):
        x, expected = jitted(x), tj.jit(deep)(expected)
    assert cuda.calls["library"] == plans and cuda.calls["graphLaunch"] >= 4
    np.testing.assert_allclose(x, expected, rtol=1e-4)


def test_missing_libraries_are_said_once() -> None:
    with fake_cuda(libraries=False) as cuda, registry.emulated(CupyDevice(0)):
        x, w = data(2, 6, 6, 3), data(3, 3, 3, 4)

        def f(x: Any, w: Any) -> Any:
            y = lax.conv_general_dilated(
                x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
            return y.reshape(2, -1) @ y.reshape(2, -1).T

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(3):
                found = tj.jit(f)(there(x), there(w))
        said = [str(w.message) for w in caught if w.category is RuntimeWarning]
        assert sorted(said) == [
            f"{name} was not found: pip install it; generated kernels run in its place"
            for name in ("cublasLt", "cudnn")
        ]
        np.testing.assert_allclose(found, tj.jit(f)(x, w), rtol=1e-3, atol=1e-4)
        assert not cuda.calls["library"]


def test_a_library_that_fails_is_said_and_replaced(device: CupyDevice, cuda: Cuda) -> None:
    cuda.fail("createHandle", 1)
    with pytest.warns(RuntimeWarning, match="cublasLt fails: no handle: status 1; generated"):
        found = tj.jit(lambda x: x @ x + 1)(there(data(40, 40)))
    np.testing.assert_allclose(found, data(40, 40) @ data(40, 40) + 1, rtol=1e-3, atol=1e-4)


# ---- several devices -----------------------------------------------------------------------------


def test_the_current_device_is_that_of_the_caller() -> None:
    with fake_cuda(2) as cuda, pytest.MonkeyPatch.context() as patch:
        first, second = CupyDevice(0), CupyDevice(1)
        assert cuda.calls["Stream"] == 0  # nothing is made on a GPU that nobody uses
        patch.setattr(registry, "gpus", lambda: (first, second))
        x = data(5, 5)
        expected = tj.jit(deep)(x)
        for place in ("cuda:1", "cuda:0", "cuda:1"):
            jitted, y = tj.jit(deep, donate_argnums=0), tj.device_put(x, place)
            z = jitted(y)
            np.testing.assert_allclose(z, expected, rtol=1e-4)
            for _ in range(3):
                z = jitted(z)
            z.block_until_ready()
            assert cuda.getDevice() == 0
        assert cuda.hosts[0].used and cuda.hosts[1].used
        cuda.here.device = 1  # a user's own choice
        tj.jit(deep)(tj.device_put(x, "cuda:0")).block_until_ready()
        assert cuda.getDevice() == 1
        with pytest.raises(DeviceError, match="launching"):
            cuda.fail("launchKernel", 1)
            tj.jit(lambda x: x + 3)(tj.device_put(x, "cuda:0"))
        assert cuda.getDevice() == 1
        assert cuda.calls["Stream"] <= 4


def test_the_order_of_streams() -> None:
    with fake_cuda(2) as cuda:
        device = CupyDevice(1)
        cuda.here.device = 1
        other = cupy_device.cupy.cuda.Stream(non_blocking=True)
        cuda.here.device = 0
        memory, source = device.alloc(4), device.alloc(4)
        cuda.streams[other.ptr].put(lambda: cuda.hosts[1].fill(source.address, 7, 4))
        streams.wait_for(device, other.ptr)
        device.copy(memory.address, source.address, 4)
        assert read(device, memory.address, 4) == [7] * 4
        device.fill(source.address, 8, 4)
        streams.let_wait(device, other.ptr)
        other.put(lambda: cuda.hosts[1].copy(memory.address, source.address, 4))
        other.synchronize()
        assert read(device, memory.address, 4) == [8] * 4
        assert cuda.getDevice() == 0
        assert streams.device_of(memory.address) == 1


# ---- what a machine may lack ---------------------------------------------------------------------


class Driver:
    """libcuda.so.1."""

    def __init__(self, version: int = 13000, status: int = 0, count: int = 1) -> None:
        self.version, self.status, self.count = version, status, count

    def cuInit(self, flags: int) -> int:
        return self.status

    def cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = self.count
        return 0

    def cuDriverGetVersion(self, version: Any) -> int:
        version._obj.value = self.version
        return 0

    def cuGetErrorName(self, status: int, name: Any) -> int:
        name._obj.value = b"CUDA_ERROR_NO_DEVICE"
        return 0


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """Why there is no GPU on a machine that has these."""
    known = (registry.problem, registry.driver, registry._opened)

    def problem(driver: Driver | None, cupy: int | None) -> str:
        for one in known:
            one.cache_clear()
        monkeypatch.setattr(registry, "_library", lambda: driver)
        monkeypatch.setattr(registry._shared, "built_for", lambda: cupy)
        real = importlib.util.find_spec
        found = SimpleNamespace() if cupy else None
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name: found if name == "cupy" else real(name)
        )
        return registry.problem()

    yield problem
    monkeypatch.undo()
    for one in known:
        one.cache_clear()


def test_why_there_is_no_gpu(machine: Callable[..., str]) -> None:
    assert machine(Driver(), 13) == ""
    assert machine(Driver(12080), 12) == ""
    assert "no NVIDIA driver" in machine(None, 13)
    assert "does not start (CUDA_ERROR_NO_DEVICE, 100)" in machine(Driver(status=100), 13)
    assert "sees no device" in machine(Driver(count=0), 13)
    both = machine(None, None)
    assert "no NVIDIA driver" in both and "CuPy is not installed" in both
    assert "CuPy is not installed (pip install" in machine(Driver(), None)
    old = machine(Driver(12040), 13)
    assert "knows CUDA up to 12.4" in old and "is for CUDA 13" in old


def test_a_gpu_that_cannot_be_used_is_an_error_at_the_users_line(
    machine: Callable[..., str],
) -> None:
    machine(Driver(12040), 13)
    with pytest.raises(DeviceError, match="there is no GPU: the NVIDIA driver knows CUDA up to 12"):
        tj.device_put(1.0, "gpu")
    assert tj.devices() == tj.devices("cpu")


def test_a_cupy_that_does_not_load(machine: Callable[..., str]) -> None:
    machine(Driver(), 13)

    class Broken:
        def __getattr__(self, name: str) -> Any:
            raise ImportError("\nCuPy is not correctly installed.\nMore.")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cupy_device, "cupy", Broken())
        with pytest.raises(DeviceError, match="CuPy does not load: CuPy is not correctly inst"):
            tj.device_put(1.0, "gpu")


def test_what_gpus_code_is_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvrtc, "architectures", lambda: (75, 80, 86, 90, 100))
    monkeypatch.setattr(nvrtc, "version", lambda: "13.0")
    assert [nvrtc.form(arch) for arch in (75, 90, 89, 103, 120)] == [
        *("sm_75", "sm_90", "compute_86", "compute_100", "compute_100")
    ]
    with pytest.raises(DeviceError, match="capability 7.0 is older than 7.5, the oldest that NVRT"):
        nvrtc.form(70)


def test_without_nvrtc() -> None:
    with fake_cuda(), registry.emulated(CupyDevice(0)):
        x = there(data(3))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(nvrtc, "compile_cubin", lambda sources, arch: nvrtc._library())
            patch.setattr(shared, "find", lambda name: None)
            patch.setattr(shared, "why_missing", lambda name: f"{name} was not found: get it")
            with pytest.raises(BackendError, match="CUDA C cannot be compiled: nvrtc was not fou"):
                tj.jit(lambda x: x * 3)(x)
        np.testing.assert_allclose(tj.jit(lambda x: x * 3)(x), 3 * data(3))


@pytest.mark.skipif(bool(shared.why_missing("nvrtc")), reason="NVRTC is not installed")
def test_newer_gpus_get_ptx() -> None:
    source = kernel("k", "float* x", "x[0] = x[1];")
    known = nvrtc.architectures()
    assert 90 in known
    image = nvrtc.compile_cubin([source], 999)["k"]
    assert b".target sm_" + str(known[-1]).encode() in image and b".entry k(" in image
    assert nvrtc.compile_cubin([source], 90)["k"][:4] == b"\x7fELF"
    with pytest.raises(DeviceError, match="is older than"):
        nvrtc.compile_cubin([source], 50)


# ---- the real CuPy -------------------------------------------------------------------------------


@pytest.mark.skipif(importlib.util.find_spec("cupy") is None, reason="CuPy is not installed")
def test_cupy_has_what_is_used() -> None:
    """Its names; what they take is Cython, and shows on a GPU only."""
    cupy = importlib.import_module("cupy")
    runtime = cupy.cuda.runtime
    for name in (
        *("getDevice", "setDevice", "getDeviceProperties", "memcpyAsync", "memsetAsync"),
        *("memGetInfo", "pointerGetAttributes", "driverGetVersion", "runtimeGetVersion"),
    ):
        assert callable(getattr(runtime, name)), name
    assert issubclass(runtime.CUDARuntimeError, RuntimeError)
    assert issubclass(cupy.cuda.driver.CUDADriverError, RuntimeError)
    assert issubclass(cupy.cuda.memory.OutOfMemoryError, MemoryError)
    assert callable(cupy.cuda.driver.funcSetAttribute) and callable(cupy.cuda.alloc)
    for name in ("begin_capture", "end_capture", "synchronize", "record", "wait_event"):
        assert callable(getattr(cupy.cuda.Stream, name)), name
    assert callable(cupy.cuda.Stream.from_external)
    module = cupy.cuda.function.Module()
    assert callable(module.load) and callable(module.get_function)
    assert callable(cupy.cuda.graph.Graph.launch)
    assert runtime.runtimeGetVersion() >= 12000
    with pytest.raises(TypeError):
        runtime.memcpyAsync(None, 0, 0, 0, 0)
    assert np.dtype(ml_dtypes.bfloat16).itemsize == ctypes.sizeof(ctypes.c_uint16)
