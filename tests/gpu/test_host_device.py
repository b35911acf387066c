"""The device that plays a GPU: memory, arguments, recordings, orders of threads, checks."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.gpu.host_kernels import kernel, launch, load, needs_compiler, source
from tracejit.config import settings
from tracejit.errors import DeviceError, OutOfMemoryError
from tracejit.runtime.gpu import host_compile
from tracejit.runtime.gpu.device import CudaSource
from tracejit.runtime.gpu.host_device import HostDevice

pytestmark = needs_compiler

ADD = kernel("float* x, long long n", "if (threadIdx.x < n) x[threadIdx.x] += 1;", "add")


@pytest.fixture
def device() -> HostDevice:
    return HostDevice()


@pytest.fixture(scope="module")
def checked() -> HostDevice:
    return HostDevice(checks=True)


def numbers(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.float32)


# ---- memory --------------------------------------------------------------------------------------


def test_memory_is_aligned_fresh_and_returned(device: HostDevice) -> None:
    one, two = device.alloc(100), device.alloc(0)
    assert one.address % 256 == 0 and two.address % 256 == 0 and device.used == 100
    seen = np.zeros(25, np.float32)
    device.to_host(seen, one.address)
    assert np.isnan(seen).all()
    del one
    gc.collect()
    assert device.used == 0


def test_out_of_memory() -> None:
    device = HostDevice(memory=1 << 20)
    kept = device.alloc(700 << 10)
    with pytest.raises(OutOfMemoryError, match="has no 0.4 MiB left: 1 of 1 MiB are used"):
        device.alloc(400 << 10)
    del kept
    device.alloc(400 << 10)


def test_copies_and_fills(device: HostDevice) -> None:
    a, b = device.alloc(64), device.alloc(64)
    device.to_device(a.address, numbers(16))
    device.copy(b.address + 32, a.address, 32)
    device.fill(b.address, 0, 32)
    seen = np.empty(16, np.float32)
    device.to_host(seen, b.address)
    assert seen.tolist() == [0] * 8 + list(range(8))


def test_copies_stay_within_an_allocation(device: HostDevice) -> None:
    memory = device.alloc(64)
    with pytest.raises(DeviceError, match="of 68 bytes leaves the device's memory"):
        device.to_device(memory.address, numbers(17))
    with pytest.raises(DeviceError, match="byte 60 of an allocation of 64 bytes"):
        device.fill(memory.address + 60, 0, 8)


# ---- launches ------------------------------------------------------------------------------------


def test_arguments_are_those_of_the_kernel(device: HostDevice) -> None:
    text = kernel("float* x, long long n, float f, int i, bool b, double d, short s", "x[0] = f;")
    function = load(device, text)
    memory = device.alloc(4)
    good = [memory.address, 3, np.float32(2), np.int32(1), np.True_, np.float64(1), np.int16(1)]
    device.launch(function, 1, 1, good)
    for k, wrong, said in (
        (2, 2, "parameter 3 is a floating-point number of 4 bytes; it was given an int"),
        (2, np.float64(2), "parameter 3 .* given float64"),
        (2, np.int32(2), "parameter 3 .* given int32"),
        (3, 1, "parameter 4 is an integer of 4 bytes; it was given an int, which is 8 bytes"),
        (0, numbers(4), "parameter 1 is a pointer of 8 bytes; it was given ndarray"),
        (1, 2.0, "parameter 2 is an integer of 8 bytes; it was given float"),
    ):
        with pytest.raises(DeviceError, match=said):
            device.launch(function, 1, 1, [*good[:k], wrong, *good[k + 1 :]])
    with pytest.raises(DeviceError, match="has 7 parameters; 6 were given"):
        device.launch(function, 1, 1, good[1:])
    declared = CudaSource("add", ADD, header=False, arguments=("i64", "i64"))
    with pytest.raises(DeviceError, match="parameter 1 is a pointer, and is declared as 'i64'"):
        device.launch(device.load([declared])["add"], 1, 1, (memory.address, 1))


def test_limits_of_a_launch(device: HostDevice) -> None:
    function = load(device, ADD)
    for grid, block, shared in ((1, 1056, 0), (1, 0, 0), (1 << 31, 1, 0), (1, 1, 49153)):
        with pytest.raises(DeviceError, match="the limit"):
            device.launch(function, grid, block, (0, 0), shared)
    device.launch(function, 0, 32, (0, 0))  # nothing to do
    large = load(device, ADD, shared=200_000)
    device.launch(large, 1, 32, (0, 0), 200_000)
    with pytest.raises(DeviceError, match="the limit is 232448"):
        device.launch(large, 1, 32, (0, 0), 240_000)
    with pytest.raises(DeviceError, match="declares 60000 bytes of shared memory"):
        load(
            device, kernel("float* y", "__shared__ float s[15000]; s[threadIdx.x] = 1; *y = s[0];")
        )


def test_a_failure_waits_for_whoever_waits(device: HostDevice) -> None:
    bad = load(
        device, kernel("float* x", "if (threadIdx.x) __syncthreads();\nelse __syncthreads();")
    )
    memory = device.alloc(16)
    device.launch(bad, 1, 32, (memory.address,))
    device.launch(bad, 1, 32, (memory.address,))
    with pytest.raises(DeviceError, match="divergent barrier"):
        device.to_host(numbers(4), memory.address)
    device.synchronize()


def test_recordings(device: HostDevice) -> None:
    add, memory, other = load(device, ADD), device.alloc(64), device.alloc(64)
    device.to_device(memory.address, numbers(16))

    def work() -> None:
        device.launch(add, 1, 32, (memory.address, 16))
        device.copy(other.address, memory.address, 64)
        device.fill(other.address, 0, 4)

    recording = device.record(work)
    seen = np.empty(16, np.float32)
    device.to_host(seen, memory.address)
    assert np.array_equal(seen, numbers(16))  # recorded, not run
    for _ in range(3):
        recording.launch()
    device.to_host(seen, other.address)
    assert np.array_equal(seen, np.append(0, numbers(16)[1:] + 3))


@pytest.mark.parametrize(
    "forbidden",
    [
        lambda d: d.alloc(4),
        lambda d: d.synchronize(),
        lambda d: d.to_host(numbers(1), 0),
        lambda d: d.to_device(0, numbers(1)),
        lambda d: d.record(lambda: None),
    ],
)
def test_what_a_recording_forbids(device: HostDevice, forbidden) -> None:
    with pytest.raises(DeviceError, match="while a program is being recorded"):
        device.record(lambda: forbidden(device))
    device.synchronize()


# ---- orders --------------------------------------------------------------------------------------

ROTATE = """
  __shared__ float s[64];
  s[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  x[threadIdx.x] = s[(threadIdx.x + 1) % 64];
"""


def test_orders_find_a_missing_barrier() -> None:
    device = HostDevice(orders=(0, 1, 7))
    (x,) = launch(device, kernel("float* x", ROTATE), 1, 64, numbers(64))
    assert np.array_equal(x, np.roll(numbers(64), -1))
    missing = kernel("float* x", ROTATE.replace("__syncthreads();", ""))
    with pytest.raises(DeviceError, match="its result depends on the order of threads"):
        launch(device, missing, 1, 64, numbers(64))


def test_orders_find_blocks_that_depend_on_each_other() -> None:
    text = kernel("float* x", "x[0] = x[0] * 2 + blockIdx.x;")
    with pytest.raises(DeviceError, match="depends on the order"):
        launch(HostDevice(orders=(0, 1)), text, 3, 1, numbers(1))


def test_sums_of_floats_may_round_in_each_order() -> None:
    device = HostDevice(orders=(0, 1, 3))
    x = np.random.default_rng(0).normal(size=512).astype(np.float32)
    text = kernel("const float* x, float* y", "atomicAdd(y, x[threadIdx.x]);")
    _, y = launch(device, text, 1, 512, x, np.zeros(1, np.float32))
    np.testing.assert_allclose(y, [x.sum()], rtol=1e-4)


# ---- checks: name, line and text, thread and block -----------------------------------------------

FOUND = {
    "out-of-bounds write of 4 bytes of global memory": (
        "int t = threadIdx.x;\nx[t + 60 * blockIdx.x + 4 * (t > 3)] = 0;",
        ["line 3: thread 60 of block 0", "x[t + 60 * blockIdx.x", "byte 256 of an allocation"],
    ),
    "out-of-bounds read of 4 bytes of global memory": (
        "x[threadIdx.x] = threadIdx.x == 3 ? x[-1] : 0;",
        ["line 2: thread 3 of block 0", "4 bytes before an allocation of 256 bytes"],
    ),
    "out-of-bounds read of 16 bytes of global memory": (
        "if (threadIdx.x == 0) *(float4*)x = ((float4*)x)[16];",
        ["line 2: thread 0 of block 0", "byte 256 of an allocation of 256 bytes, behind its end"],
    ),
    "out-of-bounds write of 4 bytes of shared memory": (
        "extern __shared__ float s[];\ns[threadIdx.x] = x[threadIdx.x];",
        ["line 3: thread 32 of block 0", "the block has 128 bytes of it"],
    ),
    "index 64 is outside of the array's extent": (
        "__shared__ float s[64];\ns[threadIdx.x + 7] = 1;",
        ["line 3: thread 57 of block 0"],
    ),
    "access to an address that is not a multiple of 16 bytes": (
        "if (threadIdx.x == 5) *(float4*)(x + 2) = make_float4(1, 2, 3, 4);",
        ["line 2: thread 5 of block 0", "byte 8 of an allocation"],
    ),
    "race between threads of a block: this reads shared memory": (
        "__shared__ float s[64];\ns[threadIdx.x] = 1;\nx[threadIdx.x] = s[threadIdx.x / 2];",
        ["line 4: thread 1 of block 0", "this wrote it:", "line 3: thread 0 of block 0"],
    ),
    "race between threads of a block: this writes to shared memory": (
        "__shared__ float s[64];\ns[threadIdx.x] = 1;\n__syncthreads();\n"
        "x[threadIdx.x] = s[(threadIdx.x + 1) % 64];\ns[threadIdx.x] = 2;",
        ["line 6: thread 1 of block 0", "this read it:", "line 5: thread 0 of block 0"],
    ),
    "race between threads of a block: this writes to global memory": (
        "x[threadIdx.x / 2] = threadIdx.x;",
        ["line 2: thread 1 of block 0", "this wrote to it:", "line 2: thread 0 of block 0"],
    ),
    "race between blocks: this writes to global memory": (
        "x[threadIdx.x] = blockIdx.x;",
        ["line 2: thread 0 of block 1", "this wrote to it:", "line 2: thread 0 of block 0"],
    ),
    "race between blocks: this reads global memory": (
        "if (blockIdx.x == 0) x[threadIdx.x] = 1;\nelse if (x[threadIdx.x] > 0) x[0] = 1;",
        ["line 3: thread 0 of block 1", "this wrote it:", "line 2: thread 0 of block 0"],
    ),
    "read of shared memory that nobody has written": (
        "__shared__ float s[65];\ns[threadIdx.x] = 1;\n__syncthreads();\n"
        "x[threadIdx.x] = s[threadIdx.x + 1];",
        ["line 5: thread 63 of block 0"],
    ),
}


@pytest.mark.parametrize("what", FOUND)
def test_checks_name_the_line(checked: HostDevice, what: str) -> None:
    body, places = FOUND[what]
    with pytest.raises(DeviceError) as caught:
        launch(checked, kernel("float* x", body), 2, 64, numbers(64), shared=128)
    said = str(caught.value)
    assert said.startswith(f"kernel kernel: {what}"), said
    for place in places:
        assert place in said, said


#: what checks have nothing to say about
FINE = {
    "all write one value": "x[0] = 5;",
    "barriers": ROTATE,
    "a warp": "__shared__ int s[64]; s[threadIdx.x] = 1;\n__syncwarp(); x[threadIdx.x] = "
    "s[threadIdx.x ^ 31]; __syncwarp(); s[threadIdx.x ^ 8] = 2;",
    "atomics": "atomicAdd(x + 3, 1.f); float v = x[3]; (void)v;",
    "bytes side by side": "((unsigned char*)x)[threadIdx.x] = threadIdx.x;",
    "halves side by side": "((short*)x)[threadIdx.x] += threadIdx.x;",
    "own memory": "float own[8]; for (int k = 0; k < 8; k++) own[k] = x[k];\n"
    "int t = threadIdx.x; if (blockIdx.x == 0) x[8 + t % 56 + 0 * (int)own[t % 8]] = 1;",
    "a lock": """
      __shared__ int lock; __shared__ float sum;
      if (threadIdx.x == 0) lock = 0, sum = 0;
      __syncthreads();
      while (atomicCAS(&lock, 0, 1)) {}
      sum += 1;
      __threadfence_block();
      atomicExch(&lock, 0);
      __syncthreads();
      x[0] = sum;
    """,
}


@pytest.mark.parametrize("what", FINE)
def test_checks_let_pass(checked: HostDevice, what: str) -> None:
    grid = 1 if what in ("barriers", "a warp", "bytes side by side", "halves side by side") else 2
    launch(checked, kernel("float* x", FINE[what]), grid, 64, numbers(64))


def test_freed_memory_is_out_of_bounds(checked: HostDevice) -> None:
    function = load(checked, ADD)
    memory = checked.alloc(1 << 20)
    address = memory.address
    checked.launch(function, 1, 32, (address, 32))
    checked.synchronize()
    del memory
    gc.collect()
    checked.launch(function, 1, 32, (address, 32))
    with pytest.raises(DeviceError, match="out-of-bounds|no memory"):
        checked.synchronize()


def test_a_users_file_is_named(checked: HostDevice) -> None:
    text = kernel("float* x", "\n\nx[-5] = 1;", "mine")
    function = checked.load([source(text, origin=("model.py", 10))])["mine"]
    memory = checked.alloc(4)
    checked.launch(function, 1, 1, (memory.address,))
    with pytest.raises(DeviceError, match="model.py:11: thread 0 of block 0"):
        checked.synchronize()


# ---- the disk cache, other threads ---------------------------------------------------------------


def test_kernels_come_from_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = kernel("float* x, long long n", f"*x = n; // {tmp_path}", "stored")
    other = kernel("float* x, long long n", f"*x = n; // {tmp_path}", "beside")
    with settings(cache=str(tmp_path)):
        HostDevice().load([source(text), source(other)])
        for known in ("_entries", "_files"):
            monkeypatch.setattr(host_compile, known, {})
        monkeypatch.setattr(host_compile, "_compile", None)  # nothing is compiled any more
        device = HostDevice()
        function = load(device, text)
        memory = device.alloc(4)
        device.launch(function, 1, 1, (memory.address, 7))
        seen = np.empty(1, np.float32)
        device.to_host(seen, memory.address)
        assert seen == 7


def test_interrupting_a_kernel() -> None:
    """Ctrl-C ends a kernel that does not end, and is a KeyboardInterrupt."""
    script = """
import signal, threading, os, time
import numpy as np
from tests.gpu.host_kernels import kernel, launch
from tracejit.runtime.gpu.host_device import HostDevice
threading.Timer(0.7, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
began = time.monotonic()
try:
    text = kernel("volatile int* y", "while (*y == 0) {}")
    launch(HostDevice(), text, 1, 1, np.zeros(1, np.int32))
except KeyboardInterrupt:
    print("interrupted", time.monotonic() - began < 100)
"""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True)
    assert done.stdout.split() == ["interrupted", "True"], done.stderr
