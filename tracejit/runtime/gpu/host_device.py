"""A device that plays a GPU on the CPU: it compiles and runs the very same CUDA C.

    device = HostDevice()                               one pass, fast
    device = HostDevice(orders=(0, 1, 7))               each launch in three orders of threads
    device = HostDevice(checks=True)                    every access is checked

For machines without a GPU, and to find what a GPU would not say. A launch whose orders disagree has
a race. Checks name the line, thread and block of: an access outside of the device's allocations or
of shared memory, one that is not aligned, two threads or blocks that touch one place with nothing
between to order them, and a read of shared memory that nobody wrote. Barriers and warp operations
that threads do not reach together are named in any case.

How: ``host_compile`` makes the text a function by g++, whose threads are fibers
(kernels/cuda_on_cpu.cpp); ``host_launch`` runs one launch; ``host_library`` does what cuBLASLt and
cuDNN do. Work runs when it is put on the stream; what fails in it is kept and raised by the next
``synchronize`` or ``to_host``, as a GPU would.
"""

from __future__ import annotations

import bisect
import ctypes
import itertools
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tracejit.errors import DeviceError, OutOfMemoryError
from tracejit.ir.types import DTYPES
from tracejit.kernel.gpu.library import Spec
from tracejit.runtime.gpu import host_compile, host_launch
from tracejit.runtime.gpu.device import (
    CudaSource,
    Device,
    LibraryPlan,
    Memory,
    Properties,
    Recording,
)
from tracejit.runtime.gpu.host_launch import Dim, HostFunction
from tracejit.runtime.gpu.host_library import host_plan

_ALIGNMENT = 256
#: between allocations, so that running over the end of one does not reach the next
_GAP = 256
#: what is further from an allocation than this has nothing to do with it
_NEAR = 1 << 20
#: how results of one launch in two orders may differ where atomic operations round
_ROUNDING = {"f16": 1e-2, "bf16": 6e-2, "f32": 1e-4, "f64": 1e-12}


class HostDevice(Device):
    """The CPU as a GPU of compute capability 9.0.

    Parameters
    ----------
    orders : of threads and blocks, in which each launch runs: 0 forward, 1 backward, others
        shuffled. With several, memory that the arguments point to is compared.
    checks : whether accesses are checked.
    memory : bytes that may be allocated.
    seconds : after which a launch is given up.
    libraries : whether there are any for products, convolutions and attention.

    >>> device = HostDevice(memory=1 << 20)
    >>> device.properties.arch
    90
    """

    _ids = itertools.count(-1, -1)

    def __init__(
        self,
        orders: Sequence[int] = (0,),
        checks: bool = False,
        *,
        memory: int = 64 << 30,
        seconds: int = 300,
        libraries: bool = True,
    ) -> None:
        self.id = next(self._ids)
        self.orders = tuple(orders) or (0,)
        self.checks = self.apart = checks
        self.seconds = seconds
        self.libraries = libraries
        self.properties = Properties(
            "CPU that plays a GPU", 90, 132, memory, host_launch.MOST_SHARED
        )
        self.used = 0
        self._starts: list[int] = []  # of live allocations, sorted
        self._sizes: dict[int, int] = {}
        self._failure: DeviceError | None = None
        #: what each thread records
        self._recordings: dict[int, list[Callable[[], None]]] = {}
        self._lock = threading.RLock()
        self._plans: dict[Spec, LibraryPlan | None] = {}

    def __repr__(self) -> str:
        return f"<{self.properties.name}, cuda:{self.id}>"

    # ---- memory ----

    def alloc(self, nbytes: int) -> Memory:
        self._not_while_recording("memory cannot be allocated")
        if self.used + nbytes > self.properties.memory:
            raise OutOfMemoryError(
                f"{self!r} has no {nbytes / 2**20:.1f} MiB left: {self.used / 2**20:.0f} of "
                f"{self.properties.memory / 2**20:.0f} MiB are used"
            )
        try:
            block = np.empty(nbytes + _ALIGNMENT + _GAP, np.uint8)
        except MemoryError as error:
            raise OutOfMemoryError(f"the host has no {nbytes / 2**20:.1f} MiB left") from error
        start = -(-block.ctypes.data // _ALIGNMENT) * _ALIGNMENT
        block.fill(0xFF)  # nan, and -1: what reads it before it is written shows
        memory = Memory(start, nbytes, block)
        with self._lock:
            self.used += nbytes
            bisect.insort(self._starts, start)
            self._sizes[start] = nbytes
        if self.checks:
            host_launch.track(start, nbytes, True)
        weakref.finalize(memory, self._freed, start, nbytes, block).atexit = False
        return memory

    def _freed(self, start: int, nbytes: int, block: np.ndarray) -> None:
        # with the block, whose memory nobody else has before this is done
        with self._lock:
            self.used -= nbytes
            del self._starts[bisect.bisect_left(self._starts, start)], self._sizes[start]
        if self.checks:
            host_launch.track(start, nbytes, False)

    def to_device(self, address: int, array: np.ndarray) -> None:
        self._not_while_recording("nothing can be copied to the device")
        self._within(address, array.nbytes, "a copy to the device")
        ctypes.memmove(address, array.ctypes.data, array.nbytes)

    def to_host(self, array: np.ndarray, address: int) -> None:
        self.synchronize()
        self._within(address, array.nbytes, "a copy to the host")
        ctypes.memmove(array.ctypes.data, address, array.nbytes)

    def copy(self, target: int, source: int, nbytes: int) -> None:
        self._within(target, nbytes, "a copy within the device")
        self._within(source, nbytes, "a copy within the device")
        self._put(lambda: ctypes.memmove(target, source, nbytes))

    def fill(self, address: int, byte: int, nbytes: int) -> None:
        self._within(address, nbytes, "a fill")
        self._put(lambda: ctypes.memset(address, byte, nbytes))

    def _allocation(self, address: int) -> tuple[int, int] | None:
        """The live allocation that begins last before an address: where, and its bytes."""
        with self._lock:
            k = bisect.bisect_right(self._starts, address) - 1
            return None if k < 0 else (self._starts[k], self._sizes[self._starts[k]])

    def _within(self, address: int, nbytes: int, what: str) -> None:
        found = self._allocation(address)
        if nbytes and (found is None or address + nbytes > sum(found)):
            where = self._describe(address, nbytes)
            raise DeviceError(
                f"{what} of {nbytes} bytes leaves the device's memory", notes=(where,)
            )

    def _describe(self, address: int, nbytes: int) -> str:
        """What memory an address is in, or near."""
        k = bisect.bisect_right(self._starts, address)
        starts = self._starts[max(k - 1, 0) : k + 1]

        def distance(start: int) -> int:
            return max(start - address, address - start - self._sizes[start] + 1, 0)

        start = min(starts, key=distance, default=None)
        if start is None or distance(start) > _NEAR:
            return f"no allocation of the device is near {address:#x}"
        of = f"an allocation of {self._sizes[start]} bytes"
        if address < start:
            return f"{start - address} bytes before {of}"
        where = f"byte {address - start} of {of}"
        return where + ", behind its end" * (distance(start) > 0)

    # ---- code ----

    def load(self, sources: Sequence[CudaSource]) -> dict[str, Any]:
        entries = host_compile.compile_kernels(sources, self.checks)
        return {s.name: host_launch.host_function(s, entries[s.name]) for s in sources}

    def launch(
        self,
        function: Any,
        grid: int | tuple[int, ...],
        block: int | tuple[int, ...],
        args: Sequence[Any],
        shared: int = 0,
    ) -> None:
        blocks, threads = _dim(grid), _dim(block)
        host_launch.check_limits(function, blocks, threads, shared)
        slots = host_launch.pack(function, args)
        if 0 not in blocks:
            self._put(lambda: self._run(function, blocks, threads, slots, shared))

    def _run(
        self, function: HostFunction, grid: Dim, block: Dim, slots: np.ndarray, shared: int
    ) -> None:
        def run(order: int) -> bool:
            return host_launch.run(
                function,
                grid,
                block,
                slots,
                shared=shared,
                order=order,
                seconds=self.seconds,
                checks=self.checks,
                describe=self._describe,
            )

        if len(self.orders) == 1:
            run(self.orders[0])
            return
        reached = self._reached(function, slots)
        before = [memory.copy() for memory in reached]
        rounds = run(self.orders[0])
        first = [memory.copy() for memory in reached]
        for order in self.orders[1:]:
            for memory, old in zip(reached, before, strict=True):
                memory[...] = old
            run(order)
            for memory, wanted in zip(reached, first, strict=True):
                _compare(function, memory, wanted, rounds)
        for memory, wanted in zip(reached, first, strict=True):
            memory[...] = wanted

    def _reached(self, function: HostFunction, slots: np.ndarray) -> list[np.ndarray]:
        """The allocations that arguments of 8 bytes point into."""
        wide = [k for k, size in enumerate(function.sizes) if size == 8]
        found = {self._allocation(int(address)) for address in slots[wide].view(np.uint64)[:, 0]}
        return [
            np.frombuffer((ctypes.c_uint8 * size).from_address(start), np.uint8)
            for start, size in sorted(filter(None, found))
        ]

    def library(self, spec: Spec) -> LibraryPlan | None:
        if spec not in self._plans:
            plan = host_plan(spec, self._put, self._within) if self.libraries else None
            self._plans[spec] = plan
        return self._plans[spec]

    # ---- order ----

    def synchronize(self) -> None:
        self._not_while_recording("the device cannot be waited for")
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def record(self, work: Callable[[], None]) -> Recording:
        self._not_while_recording("no other recording can begin")
        recording = self._recordings[threading.get_ident()] = []
        try:
            work()
            return _Replay(self, tuple(recording))
        finally:
            del self._recordings[threading.get_ident()]

    def _put(self, work: Callable[[], Any]) -> None:
        """Put work on the stream: it runs at once, unless it is recorded."""
        recording = self._recordings.get(threading.get_ident())
        if recording is not None:
            recording.append(work)
            return
        try:
            work()
        except DeviceError as error:
            if self._failure is None:  # the first one is the cause
                self._failure = error.with_traceback(None)

    def _not_while_recording(self, what: str) -> None:
        if threading.get_ident() in self._recordings:
            raise DeviceError(f"{what} while a program is being recorded")


class _Replay(Recording):
    def __init__(self, device: HostDevice, work: tuple[Callable[[], None], ...]) -> None:
        self.device = device
        self.work = work

    def launch(self) -> None:
        for one in self.work:
            self.device._put(one)


def _dim(extent: int | tuple[int, ...]) -> Dim:
    x, y, z = (*(extent if isinstance(extent, tuple) else (extent,)), 1, 1)[:3]
    return int(x), int(y), int(z)


def _compare(function: HostFunction, found: np.ndarray, wanted: np.ndarray, rounds: bool) -> None:
    """Raises DeviceError where two orders of one launch left different values."""
    if np.array_equal(found, wanted) or (rounds and _close(found, wanted)):
        return
    at = int(np.flatnonzero(found != wanted)[0])
    raise DeviceError(
        f"kernel {function.source.name}: a race: its result depends on the order of threads",
        notes=(f"byte {at} of an allocation of {found.nbytes} bytes",),
        hint="debug.cuda_on_cpu(checks=True) names the lines",
    )


def _close(found: np.ndarray, wanted: np.ndarray) -> bool:
    """Whether all that differs does so as sums of floats in another order do."""
    for name, tolerance in _ROUNDING.items():
        dtype = DTYPES[name]
        size = found.nbytes // dtype.itemsize * dtype.itemsize
        a, b = (x[:size].view(dtype) for x in (found, wanted))
        differ = np.flatnonzero(a.view(f"u{dtype.itemsize}") != b.view(f"u{dtype.itemsize}"))
        with np.errstate(all="ignore"):
            a, b = a[differ].astype(np.float64), b[differ].astype(np.float64)
            good = np.abs(a - b) <= tolerance * np.maximum(np.abs(a), np.abs(b))
        if np.array_equal(found[size:], wanted[size:]) and bool(good.all()):
            return True
    return False
