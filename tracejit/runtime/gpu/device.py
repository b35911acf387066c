"""What programs need of a GPU, so that a real one and the host, which plays one, are alike.

    device = current()                              CupyDevice, or HostDevice inside cuda_on_cpu()
    memory = device.alloc(4096)                     memory.address
    functions = device.load([CudaSource(...)])
    device.launch(functions["softmax_3f"], grid, block, (x, y, 1000))
    device.synchronize()

All work goes, in order, onto one stream of the device; only ``synchronize``, ``to_host`` and what
says so waits for it. Addresses are integers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tracejit.kernel.gpu.library import Spec
from tracejit.kernel.gpu.source import CudaSource
from tracejit.record import dataclass

__all__ = ["CudaSource", "Device", "LibraryPlan", "Memory", "Properties", "Recording", "ROOM"]


#: the hint of an error for lack of memory
ROOM = "del arrays that are no longer needed, donate arguments, or take smaller batches"


@dataclass(frozen=True)
class Properties:
    """Facts of a device that schedules depend on. ``arch``: 90 for compute capability 9.0;
    ``memory``: bytes in all; ``shared``: bytes of shared memory that a block may ask for.
    """

    name: str
    arch: int
    multiprocessors: int
    memory: int
    shared: int = 48 << 10


class Memory:
    """A piece of device memory: ``address`` is valid while this object lives."""

    __slots__ = ("address", "nbytes", "owner", "__weakref__")

    def __init__(self, address: int, nbytes: int, owner: Any) -> None:
        self.address = address
        self.nbytes = nbytes
        self.owner = owner


class LibraryPlan(ABC):
    """A library call made ready. ``workspace``: bytes it needs while it runs. ``recorded``: whether
    it can be part of a recording.
    """

    workspace: int = 0
    recorded: bool = True

    @abstractmethod
    def run(self, addresses: Sequence[int], workspace: int) -> None:
        """Put the call on the device's stream; ``addresses`` in the order of ``spec.operands``."""


class Recording(ABC):
    """Work that was recorded once and can be put on the stream again as a whole."""

    @abstractmethod
    def launch(self) -> None: ...


class Device(ABC):
    """A GPU. ``kind`` is "cuda"; two of one kind differ in ``id``."""

    kind = "cuda"
    id: int
    properties: Properties
    #: whether programs shall give each of their buffers memory of its own, to find wild accesses
    apart = False

    # ---- memory ----

    @abstractmethod
    def alloc(self, nbytes: int) -> Memory:
        """Memory aligned to 256 bytes, contents arbitrary; free again when the object is gone and
        the work put on the stream before is done. Raises OutOfMemoryError.
        """

    @abstractmethod
    def to_device(self, address: int, array: np.ndarray) -> None:
        """Copy a contiguous array there. The array may be changed as soon as this returns."""

    @abstractmethod
    def to_host(self, array: np.ndarray, address: int) -> None:
        """Copy into a contiguous array; waits."""

    @abstractmethod
    def copy(self, target: int, source: int, nbytes: int) -> None:
        """Copy within the device."""

    @abstractmethod
    def fill(self, address: int, byte: int, nbytes: int) -> None:
        """Set every byte."""

    # ---- code ----

    @abstractmethod
    def load(self, sources: Sequence[CudaSource]) -> dict[str, Any]:
        """Compile and load kernels (each once per process; from the disk cache where they are
        there); what ``launch`` takes, by name. Raises BackendError with the compiler's message.
        """

    @abstractmethod
    def launch(
        self,
        function: Any,
        grid: int | tuple[int, ...],
        block: int | tuple[int, ...],
        args: Sequence[Any],
        shared: int = 0,
    ) -> None:
        """Run a kernel on ``grid`` blocks of ``block`` threads, each an int or up to three.
        ``args``: an int for each 8-byte parameter, a NumPy scalar for others. A grid of 0 blocks
        does nothing.
        """

    @abstractmethod
    def library(self, spec: Spec) -> LibraryPlan | None:
        """A library's plan for ``spec``, kept by the device; None where no library has it: then a
        generated kernel serves, which is said once.
        """

    # ---- order ----

    @abstractmethod
    def synchronize(self) -> None:
        """Wait for all work. Raises DeviceError for what failed in it."""

    @abstractmethod
    def record(self, work: Callable[[], None]) -> Recording:
        """``work()`` with everything it puts on the stream recorded instead of run: launches,
        copies within the device, fills, library calls. Nothing else may be asked for meanwhile.
        """
