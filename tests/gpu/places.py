"""Programs launched on addresses that a test chooses, on a device that counts what it is asked for.

places = Places(Counting(), softmaxes, *two())
places.check(*two(1), place=places.more())      other memory; compared with the interpreter
places.device.taken()                           (launches, recordings, replays)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tracejit import nn
from tracejit.errors import DeviceError
from tracejit.frontend.call import FlatCall, trace_call
from tracejit.ir import interp
from tracejit.ir.graph import Graph
from tracejit.runtime.gpu.device import Memory, Recording
from tracejit.runtime.gpu.driver import Segment
from tracejit.runtime.gpu.executable import GpuExecutable, compile_gpu
from tracejit.runtime.gpu.host_device import HostDevice

f32 = np.float32


class Counting(HostDevice):
    """Counts what it is asked for. Work of recordings is counted when it is recorded."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.launches = self.recorded = self.replays = self.loaded = self.copies = 0
        self.refuses: str = ""

    def launch(self, *args: Any, **kwargs: Any) -> None:
        self.launches += 1
        super().launch(*args, **kwargs)

    def copy(self, target: int, source: int, nbytes: int) -> None:
        self.copies += 1
        super().copy(target, source, nbytes)

    def load(self, sources: Sequence[Any]) -> dict[str, Any]:
        self.loaded += len(sources)
        return super().load(sources)

    def record(self, work: Callable[[], None]) -> Recording:
        self.recorded += 1
        if self.refuses:
            raise DeviceError(self.refuses)
        real, counting = super().record(work), self

        class Counted(Recording):
            def launch(self) -> None:
                counting.replays += 1
                real.launch()

        return Counted()

    def taken(self) -> tuple[int, int, int]:
        """Launches, recordings and replays since the last time."""
        found = self.launches, self.recorded, self.replays
        self.launches = self.recorded = self.replays = 0
        return found


def graph_of(fun: Callable[..., Any], *args: Any) -> Graph:
    return trace_call(FlatCall.of(fun, args, {}), "jit").graph


class Places:
    """An executable with memory for its operands and results that the test chooses."""

    def __init__(self, device: HostDevice, fun: Callable[..., Any], *args: Any) -> None:
        self.device = device
        self.graph = graph_of(fun, *args)
        self.executable: GpuExecutable = compile_gpu(self.graph, device)
        self.types = [v.type for v in self.graph.inputs]
        self.sets: list[tuple[list[Memory], list[Memory]]] = []
        self.more()

    def more(self) -> int:
        """Another set of places; its number."""
        operands = [self.device.alloc(t.nbytes or 1) for t in self.types]
        results = [self.device.alloc(t.nbytes or 1) for t in self.executable.output_types]
        self.sets.append((operands, results))
        return len(self.sets) - 1

    def launch(self, *arrays: Any, place: int = 0) -> None:
        operands, results = self.sets[place]
        for memory, array in zip(operands, arrays, strict=True):
            if np.asarray(array).nbytes:
                self.device.to_device(memory.address, np.ascontiguousarray(array))
        self.executable.launch([m.address for m in operands], [m.address for m in results])

    def results(self, place: int = 0) -> list[np.ndarray]:
        found = []
        for memory, type in zip(self.sets[place][1], self.executable.output_types, strict=True):
            array = np.empty(type.shape, type.dtype)
            self.device.to_host(array, memory.address)
            found.append(array)
        return found

    def check(self, *arrays: Any, place: int = 0) -> None:
        """Run, and compare with the interpreter."""
        arrays = tuple(np.asarray(a, t.dtype) for a, t in zip(arrays, self.types, strict=True))
        self.launch(*arrays, place=place)
        wanted = interp.run(self.graph, arrays)
        for found, expected in zip(self.results(place), wanted, strict=True):
            np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-6)

    @property
    def segments(self) -> list[Segment]:
        return [part for part in self.executable.driver.parts if isinstance(part, Segment)]


def softmaxes(x: Any, y: Any) -> Any:
    """Two kernels or more."""
    first = nn.softmax(x, axis=0)
    return nn.softmax(first @ y, axis=1), first.sum(axis=1)


def two(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.normal(size=(5, 6)).astype(f32), random.normal(size=(6, 4)).astype(f32)
