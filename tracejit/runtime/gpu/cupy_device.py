"""A real GPU. CuPy owns its memory, stream, modules and graphs; it compiles nothing.

    device = CupyDevice(0)

Machine code comes from NVRTC (``nvrtc.py``), products from cuBLASLt, convolutions and attention
from cuDNN, each bound by ctypes. All work goes onto one non-blocking stream, which recordings
capture as CUDA graphs.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np

from tracejit.errors import DeviceError, OutOfMemoryError
from tracejit.kernel.gpu.library import GemmSpec, Spec
from tracejit.lazy import lazy
from tracejit.runtime.gpu import shared
from tracejit.runtime.gpu.cublaslt_plans import CublasLt
from tracejit.runtime.gpu.cudnn_plan import Cudnn
from tracejit.runtime.gpu.device import (
    CudaSource,
    Device,
    LibraryPlan,
    Memory,
    Properties,
    Recording,
)
from tracejit.runtime.gpu.nvrtc import compile_cubin

cupy = lazy("cupy")

#: cudaMemcpyKind
_TO_DEVICE, _TO_HOST, _WITHIN = 1, 2, 3
#: CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
_MOST_SHARED = 8
#: shared memory that a kernel has without asking
_SHARED = 48 << 10


class _Graph(Recording):
    def __init__(self, device: CupyDevice, graph: Any) -> None:
        self.device = device
        self.graph = graph

    def launch(self) -> None:
        with self.device.failures("a recorded program"):
            self.graph.launch(self.device.stream)


class CupyDevice(Device):
    """GPU number ``id`` of this machine. Raises DeviceError where CuPy cannot open it."""

    def __init__(self, id: int) -> None:
        self.id = id
        self.runtime = cupy.cuda.runtime
        with self.failures("opening the device"), cupy.cuda.Device(id):
            found = self.runtime.getDeviceProperties(id)
            self.stream = cupy.cuda.Stream(non_blocking=True)
        self.properties = Properties(
            found["name"].decode(),
            10 * found["major"] + found["minor"],
            found["multiProcessorCount"],
            found["totalGlobalMem"],
            found.get("sharedMemPerBlockOptin", _SHARED),
        )
        self.plans: dict[Spec, LibraryPlan | None] = {}
        self.products = CublasLt(lambda: self.stream.ptr, self.fill)
        self.convolutions = Cudnn(lambda: self.stream.ptr)
        self.lock = threading.RLock()

    def __repr__(self) -> str:
        return f"<{self.properties.name}, cuda:{self.id}>"

    def enter(self) -> None:
        """Make this the thread's device, if another is."""
        if self.runtime.getDevice() != self.id:
            self.runtime.setDevice(self.id)

    @contextmanager
    def failures(self, what: str) -> Any:
        """CuPy's errors as ours."""
        try:
            yield
        except cupy.cuda.memory.OutOfMemoryError as error:
            raise OutOfMemoryError(f"{what}: {error}") from error
        except (
            self.runtime.CUDARuntimeError,
            cupy.cuda.driver.CUDADriverError,
        ) as error:
            lost = any(word in str(error).lower() for word in _STICKY)
            raise DeviceError(
                f"{what}: {error}",
                hint="the context of the GPU is lost: nothing more can run in this process"
                if lost
                else "later work is not affected",
            ) from error

    # ---- memory ----

    def alloc(self, nbytes: int) -> Memory:
        self.enter()
        try:
            with self.stream:
                pointer = cupy.cuda.alloc(max(nbytes, 1))
        except cupy.cuda.memory.OutOfMemoryError as error:
            free, total = self.runtime.memGetInfo()
            raise OutOfMemoryError(
                f"{self!r} has no {nbytes / 2**20:.1f} MiB left: {free / 2**20:.0f} of "
                f"{total / 2**20:.0f} MiB are free"
            ) from error
        return Memory(pointer.ptr, nbytes, pointer)

    def to_device(self, address: int, array: np.ndarray) -> None:
        self.enter()
        with self.failures("a copy to the device"):
            self.runtime.memcpyAsync(
                address, array.ctypes.data, array.nbytes, _TO_DEVICE, self.stream.ptr
            )

    def to_host(self, array: np.ndarray, address: int) -> None:
        self.enter()
        with self.failures("a copy to the host, or work before it"):
            self.runtime.memcpyAsync(
                array.ctypes.data, address, array.nbytes, _TO_HOST, self.stream.ptr
            )
            self.stream.synchronize()

    def copy(self, target: int, source: int, nbytes: int) -> None:
        self.enter()
        with self.failures("a copy within the device"):
            self.runtime.memcpyAsync(target, source, nbytes, _WITHIN, self.stream.ptr)

    def fill(self, address: int, byte: int, nbytes: int) -> None:
        self.enter()
        with self.failures("a fill"):
            self.runtime.memsetAsync(address, byte, nbytes, self.stream.ptr)

    # ---- code ----

    def load(self, sources: Sequence[CudaSource]) -> dict[str, Any]:
        self.enter()
        images = compile_cubin(sources, self.properties.arch)
        modules: dict[bytes, Any] = {}
        found = {}
        for source in sources:
            image = images[source.name]
            with self.failures(f"loading the kernel {source.name}"):
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
        if 0 not in blocks:
            self.enter()
            with self.failures("launching a kernel"):
                function(blocks, threads, args, shared, self.stream)

    def library(self, spec: Spec) -> LibraryPlan | None:
        with self.lock:
            if spec not in self.plans:
                self.enter()
                library = self.products if isinstance(spec, GemmSpec) else self.convolutions
                self.plans[spec] = library.plan(spec)
                if self.plans[spec] is None:
                    _say_missing("cublasLt" if isinstance(spec, GemmSpec) else "cudnn")
            return self.plans[spec]

    # ---- order ----

    def synchronize(self) -> None:
        self.enter()
        with self.failures("work on the device"):
            self.stream.synchronize()

    def record(self, work: Callable[[], None]) -> Recording:
        self.enter()
        with self.failures("recording a program"):
            self.stream.begin_capture()
            try:
                work()
            finally:
                graph = self.stream.end_capture()
        return _Graph(self, graph)


@cache
def _say_missing(name: str) -> None:
    """Say once that a library is missing, where it is."""
    if reason := shared.why_missing(name):
        warnings.warn(f"{reason}; generated kernels run in its place", RuntimeWarning, stacklevel=2)


#: words in messages of errors after which a context takes no more work
_STICKY = ("illegal", "misaligned", "assert", "hardware stack", "launch failure", "unspecified")
