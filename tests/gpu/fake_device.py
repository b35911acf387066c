"""A device in host memory that does its work late, and programs for it that NumPy interprets.

with fake_gpu() as device:          tracejit's only GPU inside; jit compiles for it
    tj.device_put(x, "gpu")
device.uploads, device.downloads, device.launched       what was asked of it

For tests of where things run and who waits when; what kernels compute is tested elsewhere.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import tracejit as tj
from tracejit.errors import OutOfBoundsError
from tracejit.frontend import on_device
from tracejit.ir import interp
from tracejit.ir.graph import Graph
from tracejit.ir.types import TensorType
from tracejit.runtime.gpu import pending, registry
from tracejit.runtime.gpu.device import Device, Memory, Properties, Recording


def bytes_at(address: int, nbytes: int) -> np.ndarray:
    raw = (ctypes.c_uint8 * nbytes).from_address(address) if nbytes else b""
    return np.frombuffer(raw, np.uint8)


def read(address: int, type: TensorType) -> np.ndarray:
    return bytes_at(address, type.nbytes).view(type.dtype).reshape(type.shape).copy()


def write(address: int, array: np.ndarray) -> None:
    data = np.ascontiguousarray(array)
    if not data.nbytes:
        return
    bytes_at(address, data.nbytes)[...] = np.frombuffer(data.tobytes(), np.uint8)


class FakeDevice(Device):
    """What is put on its stream happens when somebody waits."""

    def __init__(self, id: int = 0) -> None:
        self.id = id
        self.properties = Properties("a device that plays a GPU", 90, 2, 1 << 30)
        self.stream_of_work: list[Callable[[], None]] = []
        self.kept: list[np.ndarray] = []
        self.uploads = self.downloads = self.launched = self.waits = 0
        self.allocated: list[int] = []

    def alloc(self, nbytes: int) -> Memory:
        assert nbytes > 0
        array = np.full(nbytes + 256, 0xCD, np.uint8)
        address = array.ctypes.data
        address += -address % 256
        self.kept.append(array)
        self.allocated.append(nbytes)
        return Memory(address, nbytes, array)

    def to_device(self, address: int, array: np.ndarray) -> None:
        assert array.flags.c_contiguous
        self.uploads += 1
        copy = array.copy()
        self.stream_of_work.append(lambda: write(address, copy))

    def to_host(self, array: np.ndarray, address: int) -> None:
        self.downloads += 1
        self.flush()
        array.reshape(-1).view(np.uint8)[...] = bytes_at(address, array.nbytes)

    def copy(self, target: int, source: int, nbytes: int) -> None:
        self.stream_of_work.append(lambda: write(target, bytes_at(source, nbytes).copy()))

    def fill(self, address: int, byte: int, nbytes: int) -> None:
        self.stream_of_work.append(lambda: write(address, np.full(nbytes, byte, np.uint8)))

    def flush(self) -> None:
        work, self.stream_of_work, kept, self.kept = self.stream_of_work, [], self.kept, []
        for step in work:
            step()
        del kept

    def synchronize(self) -> None:
        self.waits += 1
        self.flush()

    def load(self, sources: Any) -> dict[str, Any]:
        raise NotImplementedError

    def launch(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError

    def library(self, spec: Any) -> None:
        return None

    def record(self, work: Callable[[], None]) -> Recording:
        raise NotImplementedError


class FakeExecutable:
    """A graph that NumPy interprets, on addresses, when its device gets round to it."""

    native = True

    def __init__(self, graph: Graph, device: FakeDevice, donated: frozenset[int]) -> None:
        self.graph = graph
        self.device = device
        self.output_types = graph.output_types
        self.failed: OutOfBoundsError | None = None
        inputs = {k: graph.inputs[k].type.nbytes for k in sorted(donated)}
        self.reused = tuple(
            (j, k)
            for j, y in enumerate(graph.outputs)
            for k in [next((k for k, n in inputs.items() if n == y.type.nbytes), None)]
            if k is not None and inputs.pop(k)
        )

    def launch(self, operands: Sequence[int], results: Sequence[int]) -> None:
        self.device.launched += 1
        places = list(operands), list(results)
        self.device.stream_of_work.append(lambda: self.run(*places))
        if any("error" in node.params.values() for node in self.graph.nodes):
            pending.add(self.device, self.check)

    def run(self, operands: list[int], results: list[int]) -> None:
        inputs = [read(a, v.type) for a, v in zip(operands, self.graph.inputs, strict=True)]
        try:
            found = interp.run(self.graph, inputs)
        except OutOfBoundsError as error:
            self.failed = error
            return
        for address, array in zip(results, found, strict=True):
            write(address, array)

    def check(self) -> None:
        failed, self.failed = self.failed, None
        if failed is not None:
            raise failed


def fake_compile(real: Any) -> Callable[..., Any]:
    """``compile_graph`` with FakeExecutables for FakeDevices."""

    def compile_graph(graph: Graph, *, backend: str, device: Any = None, **options: Any) -> Any:
        if isinstance(device, FakeDevice) and backend == "cuda":
            return FakeExecutable(graph, device, options.get("donated", frozenset()))
        return real(graph, backend=backend, device=device, **options)

    return compile_graph


@contextmanager
def fake_gpu(device: FakeDevice | None = None) -> Iterator[FakeDevice]:
    device = device or FakeDevice()
    with pytest.MonkeyPatch.context() as patch:
        real = on_device._executable.compile_graph
        patch.setattr(on_device._executable, "compile_graph", fake_compile(real))
        with registry.emulated(device):
            yield device
    on_device.clear_programs()


def put(*shape: int, value: float = 1.0, device: Any = "gpu") -> Any:
    return tj.device_put(np.full(shape, value, np.float32), device)
