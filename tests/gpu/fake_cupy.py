"""CuPy as far as tracejit uses it, over hosts that play GPUs: its names, argument order and errors.

    with fake_cuda(devices=2) as cuda:
        device = CupyDevice(0)              tracejit's own class, which thinks it has two GPUs
    cuda.fail("launchKernel", 700)          the next call of that name fails
    cuda.calls["graphLaunch"]               how often CuPy was asked for something

Work happens when its stream is waited for and no earlier. What is refused is what CuPy and CUDA
refuse: arguments of the wrong type, copies from the host in a recording, waiting for a stream that
records, kernels of one device on another's stream. Signatures are those of CuPy 14.2
(cupy/cuda/*.pyx, cupy_backends/cuda/api/*.pyx).
"""

from __future__ import annotations

import ctypes
import itertools
import threading
import weakref
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from operator import index
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.gpu.fake_solver import Fake, fake_libraries
from tracejit.errors import DeviceError
from tracejit.errors import OutOfMemoryError as HostOutOfMemory
from tracejit.frontend import on_device
from tracejit.kernel.gpu.source import CudaSource
from tracejit.runtime.gpu import cupy_device, nvrtc, shared, streams
from tracejit.runtime.gpu.device import LibraryPlan
from tracejit.runtime.gpu.host_device import HostDevice
from tracejit.runtime.gpu.host_library import host_plan

#: errors after which every call fails with the same one
STICKY = {700, 715, 716, 719}
NAMES = {
    1: "InvalidValue: invalid argument",
    2: "MemoryAllocation: out of memory",
    35: "InsufficientDriver: CUDA driver version is insufficient for CUDA runtime version",
    209: "NoKernelImageForDevice: no kernel image is available for execution on the device",
    222: "UnsupportedPtxVersion: the provided PTX was compiled with an unsupported toolchain.",
    400: "InvalidResourceHandle: invalid resource handle",
    700: "IllegalAddress: an illegal memory access was encountered",
    719: "LaunchFailure: unspecified launch failure",
    900: "StreamCaptureUnsupported: operation not permitted when stream is capturing",
    901: "StreamCaptureInvalidated: operation failed due to a previous error during capture",
}


class CUDARuntimeError(RuntimeError):
    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(f"cudaError{NAMES.get(status, status)}")


class CUDADriverError(RuntimeError):
    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(f"CUDA_ERROR_{NAMES.get(status, status)}")


class OutOfMemoryError(MemoryError):
    def __init__(self, size: int, total: int, limit: int = 0) -> None:
        super().__init__(f"Out of memory allocating {size:,} bytes")


class Stream:
    def __init__(
        self, null: bool = False, non_blocking: bool = False, ptds: bool = False, priority: Any = 0
    ) -> None:
        cuda = CUDA[-1]
        self.cuda = cuda
        self.device_id = cuda.getDevice()
        self.ptr = next(cuda.pointers)
        self.non_blocking = non_blocking
        self.queue: list[Callable[[], None]] = []
        self.capturing: list[Callable[[], None]] | None = None
        self.lock = threading.RLock()
        #: memory of the pool
        self.free: list[Any] = []
        cuda.streams[self.ptr] = self
        cuda.calls["Stream"] += 1

    def __enter__(self) -> Stream:
        if self.device_id != self.cuda.getDevice():
            raise RuntimeError("The device that the stream is created on does not match")
        self.cuda.here.streams[self.device_id].append(self)
        return self

    def __exit__(self, *args: Any) -> None:
        self.cuda.here.streams[self.device_id].pop()

    @classmethod
    def from_external(cls, obj: Any) -> Stream:
        version, address = obj.__cuda_stream__()
        assert version == 0
        return CUDA[-1].streams[address]

    def put(self, work: Callable[[], None]) -> None:
        with self.lock:
            (self.queue if self.capturing is None else self.capturing).append(work)

    def synchronize(self) -> None:
        self.cuda.called("streamSynchronize")
        with self.lock:
            if self.capturing is not None:
                self.capturing = None
                raise CUDARuntimeError(900)
            self.flush()

    def flush(self) -> None:
        with self.lock:
            work, self.queue = self.queue, []
            for step in work:
                step()
            self.cuda.raise_late()

    def begin_capture(self, mode: Any = None) -> None:
        self.cuda.called("streamBeginCapture")
        assert self.non_blocking and self.capturing is None
        self.capturing = []

    def end_capture(self) -> Graph:
        self.cuda.called("streamEndCapture")
        if self.capturing is None:
            raise CUDARuntimeError(901)
        work, self.capturing = self.capturing, None
        return Graph(self.cuda, work)

    def record(self, event: Any = None) -> Any:
        if self.device_id != self.cuda.getDevice():
            raise CUDARuntimeError(400)
        return self

    def wait_event(self, event: Any) -> None:
        self.put(event.flush)


class Graph:
    def __init__(self, cuda: Cuda, work: list[Callable[[], None]]) -> None:
        self.cuda = cuda
        self.work = work

    def launch(self, stream: Stream | None = None) -> None:
        self.cuda.called("graphLaunch")
        assert stream is not None
        for step in self.work:
            stream.put(step)


class Module:
    def __init__(self) -> None:
        self.sources: dict[str, CudaSource] = {}
        self.device_id = -1

    def load(self, cubin: bytes) -> None:
        cuda = CUDA[-1]
        if type(cubin) is not bytes:
            raise TypeError("Argument 'cubin' has incorrect type")
        cuda.called("moduleLoadData")
        self.sources = {source.name: source for source in cuda.images[cubin]}
        self.device_id = cuda.getDevice()

    def get_function(self, name: str) -> Function:
        return Function(self, name)


class Function:
    def __init__(self, module: Module, name: str) -> None:
        self.cuda = CUDA[-1]
        self.module = module
        self.source = module.sources[name]
        host = self.cuda.hosts[module.device_id]
        self.function = host.load([self.source])[name]
        self.ptr = next(self.cuda.pointers)

    def __call__(
        self,
        grid: tuple[int, ...],
        block: tuple[int, ...],
        args: Sequence[Any],
        shared_mem: int = 0,
        stream: Stream | None = None,
        enable_cooperative_groups: bool = False,
    ) -> None:
        if type(grid) is not tuple or type(block) is not tuple:
            raise TypeError("Expected tuple")
        cuda, device = self.cuda, self.module.device_id
        boxed = [box(x) for x in args]
        cuda.called("launchKernel")
        cuda.boxes.append((self.source.name, [x.dtype.str for x in boxed]))
        assert stream is not None
        if not device == stream.device_id == cuda.getDevice():
            raise CUDADriverError(400)
        if shared_mem > cuda.allowed.get(self.ptr, 48 << 10):
            raise CUDADriverError(1)
        # a pointer's or a size's 8 bytes
        values = [int(x) if x.dtype.str in ("<i8", "<u8") else x[()] for x in boxed]
        stream.put(lambda: self.run(grid, block, values, shared_mem))

    def run(self, grid: Any, block: Any, args: Any, shared_mem: int) -> None:
        host = self.cuda.hosts[self.module.device_id]
        host.launch(self.function, grid, block, args, shared_mem)
        try:
            host.synchronize()
        except DeviceError:
            self.cuda.late = 700


def box(x: Any) -> np.ndarray:
    """What CuPy's CScalar makes of an argument."""
    if type(x) is bool:
        return np.array(x)
    if type(x) is int:
        return np.array(x, np.uint64 if x >= 1 << 63 else np.int64)
    if type(x) is float:
        return np.array(x, np.float64)
    if isinstance(x, np.generic):
        return np.array(x)
    raise TypeError(f"Unsupported type {type(x)}")


class Pointer:
    def __init__(self, memory: Any, stream: Stream) -> None:
        self.ptr = memory.address
        self.stream = stream
        # the pool gives a block to later work of the stream, and of no other
        weakref.finalize(self, stream.free.append, memory).atexit = False


class Here(threading.local):
    """What each thread has of its own."""

    def __init__(self) -> None:
        self.device = 0
        self.streams: dict[int, list[Stream]] = defaultdict(list)


class Cuda:
    """The driver, the run time and the machine."""

    CUDARuntimeError = CUDARuntimeError

    def __init__(self, devices: int, memory: int, arch: int) -> None:
        self.hosts = [HostDevice(memory=memory) for _ in range(devices)]
        self.arch = arch
        self.here = Here()
        self.pointers = itertools.count(1000)
        self.streams: dict[int, Stream] = {}
        self.images: dict[bytes, list[CudaSource]] = {}
        self.calls: Counter[str] = Counter()
        self.failures: dict[str, list[int]] = defaultdict(list)
        self.lost = self.late = 0
        self.boxes: list[tuple[str, list[str]]] = []
        self.allowed: dict[int, int] = {}
        self.pinned: set[int] = set()
        self.more_properties: dict[str, Any] = {}
        #: cuFFT, cuSOLVER and cuBLAS
        self.libraries: Fake | None = None

    def recording(self) -> bool:
        return any(stream.capturing is not None for stream in self.streams.values())

    # ---- failures ----

    def fail(self, name: str, *statuses: int) -> None:
        """Have the next calls of ``name`` fail."""
        self.failures[name] += statuses

    def called(self, name: str) -> None:
        self.calls[name] += 1
        error = CUDADriverError if name in ("launchKernel", "moduleLoadData") else CUDARuntimeError
        if self.lost:
            raise error(self.lost)
        if self.failures[name]:
            status = self.failures[name].pop(0)
            self.lost = status if status in STICKY else 0
            raise error(status)

    def raise_late(self) -> None:
        """Failures of work show when somebody waits for it."""
        if self.late:
            self.lost = self.late
            raise CUDARuntimeError(self.late)

    # ---- cupy.cuda.runtime ----

    def getDevice(self) -> int:
        return self.here.device

    def setDevice(self, device: int) -> None:
        self.called("setDevice")
        self.here.device = index(device)

    def getDeviceProperties(self, device: int) -> dict[str, Any]:
        self.called("getDeviceProperties")
        return {
            "name": b"GPU of a test",
            "major": self.arch // 10,
            "minor": self.arch % 10,
            "multiProcessorCount": 4,
            "totalGlobalMem": self.hosts[device].properties.memory,
            "sharedMemPerBlockOptin": 227 << 10,
            **self.more_properties,
        }

    def memGetInfo(self) -> tuple[int, int]:
        host = self.hosts[self.getDevice()]
        return host.properties.memory - host.used, host.properties.memory

    def driverGetVersion(self) -> int:
        return 12040

    def runtimeGetVersion(self) -> int:
        return 13000

    def pointerGetAttributes(self, ptr: int) -> Any:
        for number, host in enumerate(self.hosts):
            if (found := host._allocation(ptr)) is not None and ptr < sum(found):
                return SimpleNamespace(type=2, device=number)
        return SimpleNamespace(type=int(ptr in self.pinned), device=-2)

    def memcpyAsync(self, dst: int, src: int, size: int, kind: int, stream: int) -> None:
        dst, src, size, kind, stream = map(index, (dst, src, size, kind, stream))
        self.called("memcpyAsync")
        queue, host = self.streams[stream], self.host_of(stream)
        assert size > 0
        if queue.capturing is not None and kind != 3:
            raise CUDARuntimeError(900)
        if kind == 3:
            queue.put(lambda: host.copy(dst, src, size))
        elif kind == 2:
            queue.put(lambda: host.to_host(bytes_at(dst, size), src))
        else:
            data = bytes_at(src, size)
            data = data if src in self.pinned else data.copy()
            queue.put(lambda: host.to_device(dst, data))

    def memsetAsync(self, ptr: int, value: int, size: int, stream: int) -> None:
        ptr, value, size, stream = map(index, (ptr, value, size, stream))
        self.called("memsetAsync")
        host = self.host_of(stream)
        assert size > 0
        self.streams[stream].put(lambda: host.fill(ptr, value, size))

    def host_of(self, stream: int) -> HostDevice:
        return self.hosts[self.streams[stream].device_id]

    # ---- cupy.cuda ----

    def alloc(self, size: int) -> Pointer:
        self.called("alloc")
        device = self.getDevice()
        stream = self.here.streams[device][-1]
        size = -(-size // 512) * 512
        for k, memory in enumerate(stream.free):
            if memory.nbytes == size:
                return Pointer(stream.free.pop(k), stream)
        try:
            memory = self.hosts[device].alloc(size)
        except HostOutOfMemory:
            stream.flush()  # the pool gives back what nobody has, which waits
            stream.free.clear()
            try:
                memory = self.hosts[device].alloc(size)
            except HostOutOfMemory:
                raise OutOfMemoryError(size, self.hosts[device].used) from None
        return Pointer(memory, stream)

    def funcSetAttribute(self, function: int, attribute: int, value: int) -> None:
        assert attribute == 8
        self.allowed[index(function)] = index(value)

    def module(self) -> Any:
        """What ``import cupy`` gives."""
        return SimpleNamespace(
            cuda=SimpleNamespace(
                runtime=self,
                driver=SimpleNamespace(
                    CUDADriverError=CUDADriverError, funcSetAttribute=self.funcSetAttribute
                ),
                memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
                function=SimpleNamespace(Module=Module),
                Stream=Stream,
                alloc=self.alloc,
            )
        )

    # ---- NVRTC and libraries ----

    def compile(self, sources: Sequence[CudaSource], arch: int) -> dict[str, bytes]:
        """All in one image."""
        assert arch == self.arch
        image = repr([source.name for source in sources]).encode()
        self.images[image] = list(sources)
        self.calls["compile"] += 1
        return {source.name: image for source in sources}


def bytes_at(address: int, nbytes: int) -> np.ndarray:
    return np.frombuffer((ctypes.c_uint8 * nbytes).from_address(address), np.uint8)


class Library:
    """cuBLASLt or cuDNN: a handle on the device that is current when it is first asked for."""

    def __init__(self, stream: Callable[[], int], fill: Any = None) -> None:
        self.stream = stream
        self.device: int | None = None

    def plan(self, spec: Any) -> LibraryPlan | None:
        cuda = CUDA[-1]
        if cuda.failures["createHandle"]:
            raise DeviceError(f"no handle: status {cuda.failures['createHandle'].pop()}")
        self.device = cuda.getDevice() if self.device is None else self.device
        host = cuda.hosts[self.device]
        made = host_plan(spec, lambda work: work(), host._within)
        return None if made is None else Plan(self, made)


class Plan(LibraryPlan):
    def __init__(self, library: Library, made: LibraryPlan) -> None:
        self.library = library
        self.made = made
        self.workspace = made.workspace

    def run(self, addresses: Sequence[int], workspace: int) -> None:
        cuda, places = CUDA[-1], tuple(addresses)
        assert cuda.getDevice() == self.library.device
        cuda.called("library")
        cuda.streams[self.library.stream()].put(lambda: self.made.run(places, workspace))


#: the one in use
CUDA: list[Cuda] = []


@contextmanager
def fake_cuda(
    devices: int = 1, *, memory: int = 1 << 30, arch: int = 90, libraries: bool = True
) -> Iterator[Cuda]:
    """CuPy is the one of this file inside. Without ``libraries`` all are missing."""
    cuda = Cuda(devices, memory, arch)
    CUDA.append(cuda)
    with pytest.MonkeyPatch.context() as patch:
        for module in (cupy_device, streams):
            patch.setattr(module, "cupy", cuda.module())
        patch.setattr(nvrtc, "compile_cubin", cuda.compile)
        patch.setattr(cupy_device, "CublasLt", Library)
        patch.setattr(cupy_device, "Cudnn", Library)
        missing = "" if libraries else "{} was not found: pip install it"
        patch.setattr(shared, "why_missing", missing.format)
        cupy_device._say_unused.cache_clear()
        try:
            with fake_libraries(lambda stream, work: cuda.streams[stream].put(work)) as fake:
                cuda.libraries, fake.recording = fake, cuda.recording
                yield cuda
        finally:
            on_device.clear_programs()
            CUDA.pop()
