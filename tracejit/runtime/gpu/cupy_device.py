"""A real GPU. CuPy owns its memory, streams, modules and graphs; it compiles nothing.

    device = CupyDevice(0)

Machine code comes from NVRTC (``nvrtc.py``), products from cuBLASLt, convolutions and attention
from cuDNN, Fourier transforms from cuFFT, linear algebra from cuSOLVER, each bound by ctypes. All
work goes onto one non-blocking stream. Recordings are CUDA graphs, captured on a stream of their
own, so that other threads may go on meanwhile. The thread's current device is that of whoever
called, again, when a method returns.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np

from tracejit.errors import DeviceError, OutOfMemoryError, TracejitError
from tracejit.kernel.gpu.library import FftSpec, GemmSpec, SolverSpec, Spec
from tracejit.lazy import lazy
from tracejit.runtime.gpu import nvrtc, shared
from tracejit.runtime.gpu.cublaslt_plans import CublasLt
from tracejit.runtime.gpu.cudnn_plan import Cudnn
from tracejit.runtime.gpu.cufft import Cufft
from tracejit.runtime.gpu.cusolver import Cusolver
from tracejit.runtime.gpu.device import (
    CudaSource,
    Device,
    LibraryPlan,
    Memory,
    Properties,
    Recording,
)

cupy = lazy("cupy")

#: what runs where a library does not
_KERNELS = "generated kernels run in its place"
_HOST = "the host computes in its place"
#: cudaMemcpyKind
_TO_DEVICE, _TO_HOST, _WITHIN = 1, 2, 3
#: cudaMemoryTypeUnregistered: what malloc gives
_PAGEABLE = 0
#: CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
_MOST_SHARED = 8
#: shared memory that a kernel has without asking
_SHARED = 48 << 10
#: blocks of a grid's first axis: CuPy would take more modulo 2**32
_MOST_BLOCKS = 2**31 - 1

# numbers of errors are those of cuda.h, which cudart's have in common since CUDA 10.1
_NO_MEMORY = 2
_OLD_DRIVER = 35
#: images that the driver does not take
_NO_IMAGE = frozenset((200, 209, 218, 221, 222, 223))
#: after these a context takes no more work
_LOST = frozenset((214, 220, 226, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 721, 999))


class _At:
    """A block in which ``device`` is the thread's current one and CuPy's errors are ours. ``what``
    is what happens in it.
    """

    __slots__ = ("device", "what", "before")

    def __init__(self, device: CupyDevice, what: str) -> None:
        self.device = device
        self.what = what
        self.before = device.id

    def __enter__(self) -> None:
        device = self.device
        try:
            self.before = device.runtime.getDevice()
            if self.before != device.id:
                device.runtime.setDevice(device.id)
        except Exception as error:
            raise device.failure(self.what, error) from error

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        try:
            if isinstance(error, Exception):
                self.device.raise_failure(self.what, error)
        finally:
            if self.before != self.device.id:
                self.device.runtime.setDevice(self.before)


class _Graph(Recording):
    def __init__(self, device: CupyDevice, graph: Any) -> None:
        self.device = device
        self.graph = graph

    def launch(self) -> None:
        with self.device.at("a recorded program"):
            self.graph.launch(self.device.stream)


class _Call(LibraryPlan):
    """A library's plan, run where its handle is."""

    def __init__(self, device: CupyDevice, plan: LibraryPlan) -> None:
        self.device = device
        self.plan = plan
        self.workspace = plan.workspace
        self.recorded = plan.recorded

    def run(self, addresses: Sequence[int], workspace: int) -> None:
        with self.device.at("a library's call"):
            self.plan.run(addresses, workspace)


class CupyDevice(Device):
    """GPU number ``id`` of this machine; its context is made when something is first done with it.

    Raises DeviceError where CuPy cannot ask for its properties.
    """

    def __init__(self, id: int) -> None:
        self.id = id
        self.runtime = cupy.cuda.runtime
        self.process = os.getpid()
        #: the failure after which the context took no more work
        self.lost = ""
        try:
            found = self.runtime.getDeviceProperties(id)
        except Exception as error:
            self.raise_failure(f"opening cuda:{id}", error)
            raise
        self.properties = Properties(
            found["name"].decode(),
            10 * found["major"] + found["minor"],
            found["multiProcessorCount"],
            found["totalGlobalMem"],
            found.get("sharedMemPerBlockOptin", _SHARED),
        )
        #: whether the GPU reads the host's memory while a copy is under way, all of it
        self._reads_host = bool(found.get("pageableMemoryAccessUsesHostPageTables"))
        self._stream: Any = None
        self._side: Any = None
        self._recorder = 0
        self.plans: dict[Spec, LibraryPlan | None] = {}
        self.products = CublasLt(lambda: self.current.ptr, self.fill)
        self.convolutions = Cudnn(lambda: self.current.ptr)
        self.transforms = Cufft(lambda: self.current.ptr, self.copy)
        self.solvers = Cusolver(lambda: self.current.ptr, self.load, self.launch)
        self.lock = threading.RLock()

    def __repr__(self) -> str:
        return f"<{self.properties.name}, cuda:{self.id}>"

    @property
    def stream(self) -> Any:
        """The stream of all work."""
        if self._stream is None:
            with self.lock:
                self._stream = self._stream or self._new_stream()
        return self._stream

    @property
    def current(self) -> Any:
        """Where this thread's work goes: onto the stream, or into what it records."""
        return self._side if self._recorder == threading.get_ident() else self.stream

    def _new_stream(self) -> Any:
        with self.at("opening the device"):
            return cupy.cuda.Stream(non_blocking=True)

    # ---- errors ----

    def at(self, what: str) -> _At:
        """A block in which the thread is on this device and CuPy's errors are ours."""
        return _At(self, what)

    def raise_failure(self, what: str, error: Exception) -> None:
        """Raise an error of CuPy as ours; others are left to whoever caught them."""
        status = getattr(error, "status", None)
        if isinstance(error, cupy.cuda.memory.OutOfMemoryError) or status == _NO_MEMORY:
            raise OutOfMemoryError(f"{what}: {error}") from error
        if isinstance(error, TracejitError) or status is None:
            return
        found = DeviceError(f"{what}: {error}", hint="work that is asked for later is not affected")
        if self.process != os.getpid():
            found.hint = "a process forked from one that used a GPU has none: start it by 'spawn'"
        elif status in _LOST:
            found.notes = (f"it was lost before: {self.lost}",) if self.lost else ()
            found.hint = (
                f"the context of cuda:{self.id} is lost: nothing more runs there in this process; "
                "debug.cuda_on_cpu() finds wrong accesses"
            )
            self.lost = self.lost or found.what
        elif status == _OLD_DRIVER or status in _NO_IMAGE:
            found.notes = (self._versions(),)
            found.hint = "install a driver that is as new as the CUDA libraries, or older libraries"
        raise found from error

    def _versions(self) -> str:
        driver, built = self.runtime.driverGetVersion(), self.runtime.runtimeGetVersion()
        known = [
            f"the driver knows CUDA {version_text(driver)}",
            f"CuPy was built for CUDA {version_text(built)}",
        ]
        if not shared.why_missing("nvrtc"):
            known.append(f"NVRTC is of CUDA {nvrtc.version()}")
        return ", ".join(known)

    # ---- memory ----

    def alloc(self, nbytes: int) -> Memory:
        with self.at("allocating memory"):
            try:
                with self.stream:  # whose work the memory may be used in, and reused after
                    pointer = cupy.cuda.alloc(max(nbytes, 1))
            except cupy.cuda.memory.OutOfMemoryError as error:
                free, total = self.runtime.memGetInfo()
                raise OutOfMemoryError(
                    f"{self!r} has no {nbytes / 2**20:.1f} MiB left: {free / 2**20:.0f} of "
                    f"{total / 2**20:.0f} MiB are free"
                ) from error
        return Memory(pointer.ptr, nbytes, pointer)

    def to_device(self, address: int, array: np.ndarray) -> None:
        if not array.nbytes:
            return
        host = array.ctypes.data
        with self.at("a copy to the device"):
            stream = self.current
            self.runtime.memcpyAsync(address, host, array.nbytes, _TO_DEVICE, stream.ptr)
            # pageable memory is read before the call returns, other memory at any time
            if self._reads_host or self.runtime.pointerGetAttributes(host).type != _PAGEABLE:
                stream.synchronize()

    def to_host(self, array: np.ndarray, address: int) -> None:
        with self.at("a copy to the host, or work before it"):
            stream = self.current
            if array.nbytes:
                self.runtime.memcpyAsync(
                    array.ctypes.data, address, array.nbytes, _TO_HOST, stream.ptr
                )
            stream.synchronize()

    def copy(self, target: int, source: int, nbytes: int) -> None:
        if nbytes:
            with self.at("a copy within the device"):
                self.runtime.memcpyAsync(target, source, nbytes, _WITHIN, self.current.ptr)

    def fill(self, address: int, byte: int, nbytes: int) -> None:
        if nbytes:
            with self.at("a fill"):
                self.runtime.memsetAsync(address, byte, nbytes, self.current.ptr)

    # ---- code ----

    def load(self, sources: Sequence[CudaSource]) -> dict[str, Any]:
        images = nvrtc.compile_cubin(sources, self.properties.arch)
        modules: dict[bytes, Any] = {}
        found = {}
        for source in sources:
            image = images[source.name]
            with self.at(f"loading the kernel {source.name}"):
                if image not in modules:
                    modules[image] = cupy.cuda.function.Module()
                    modules[image].load(image)
                function = modules[image].get_function(source.name)
                if source.shared > _SHARED:
                    cupy.cuda.driver.funcSetAttribute(function.ptr, _MOST_SHARED, source.shared)
            found[source.name] = function
        return found

    def launch(
        self,
        function: Any,
        grid: int | tuple[int, ...],
        block: int | tuple[int, ...],
        args: Sequence[Any],
        shared: int = 0,
    ) -> None:
        blocks = grid if isinstance(grid, tuple) else (grid,)
        threads = block if isinstance(block, tuple) else (block,)
        if 0 in blocks:
            return
        if blocks[0] > _MOST_BLOCKS:
            raise DeviceError(f"a kernel in {blocks[0]} blocks; the limit is {_MOST_BLOCKS}")
        with self.at("launching a kernel"):
            function(blocks, threads, args, shared, self.current)

    def library(self, spec: Spec) -> LibraryPlan | None:
        with self.lock:
            if spec not in self.plans:
                self.plans[spec] = self._library(spec)
            return self.plans[spec]

    def _library(self, spec: Spec) -> LibraryPlan | None:
        name, library, other = self._serving(spec)
        if reason := shared.why_missing(name):
            _say_unused(reason, other)
            return None
        try:
            with self.at(f"a plan of {name}"):
                plan = library.plan(spec)
        except DeviceError as error:
            if self.lost:
                raise
            _say_unused(f"{name} fails: {error.what}", other)
            return None
        return None if plan is None else _Call(self, plan)

    def _serving(self, spec: Spec) -> tuple[str, Any, str]:
        """The library that has a spec: its name, and what runs in its place where it is not."""
        match spec:
            case GemmSpec():
                return "cublasLt", self.products, _KERNELS
            case FftSpec():
                return "cufft", self.transforms, _HOST
            case SolverSpec():
                return "cusolver", self.solvers, _HOST
            case _:
                return "cudnn", self.convolutions, _KERNELS

    # ---- order ----

    def synchronize(self) -> None:
        with self.at("work on the device"):
            self.stream.synchronize()

    def record(self, work: Callable[[], None]) -> Recording:
        with self.lock, self.at("recording a program"):
            if self._side is None:
                self._side = self._new_stream()
            side = self._side
            side.begin_capture()
            self._recorder = threading.get_ident()
            try:
                work()
                return _Graph(self, side.end_capture())
            except BaseException:
                self._side = None
                with suppress(Exception):  # of a recording that is broken already
                    side.end_capture()
                raise
            finally:
                self._recorder = 0


def version_text(number: int) -> str:
    """12040 is 12.4."""
    return f"{number // 1000}.{number % 1000 // 10}"


@cache
def _say_unused(reason: str, other: str = _KERNELS) -> None:
    """Say once why a library is not used, and what is instead."""
    warnings.warn(f"{reason}; {other}", RuntimeWarning, stacklevel=2)
