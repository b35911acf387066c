"""A graph compiled for a GPU.

    executable = GpuExecutable(make_gpu_stages(graph, device, settings), device)
    executable.launch(operands, results)       addresses on the device; does not wait
    executable.run([x, y])                     NumPy arrays in and out

One arena holds all that lives between the steps, workspaces of libraries included. Operands and
results that come at other addresses every time are copied to places of their own, if that costs
less than launching one by one what a recording launches at once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from tracejit.config import Settings, config
from tracejit.errors import OutOfBoundsError, OutOfMemoryError
from tracejit.ir.graph import Graph
from tracejit.kernel.gpu.conv import features_last
from tracejit.kernel.gpu.program import ALIGN, lower_gpu_program
from tracejit.kernel.gpu.specs import takes
from tracejit.kernel.gpu.target import GpuTarget
from tracejit.kernel.program import LibraryCall
from tracejit.kernel.verify import has_check
from tracejit.passes.donate import reused
from tracejit.passes.libraries import for_libraries
from tracejit.passes.place import Plan
from tracejit.runtime import report
from tracejit.runtime.gpu import pending
from tracejit.runtime.gpu.ability import can_fuse
from tracejit.runtime.gpu.code import load_kernels
from tracejit.runtime.gpu.device import ROOM, Device, Memory
from tracejit.runtime.gpu.driver import Driver, Segment, operand_slots
from tracejit.runtime.stages import Stages, staged
from tracejit.source import here

#: addresses of one operand after which it counts as one that comes somewhere else every time
WANDERS = 6
#: bytes that are copied in the time of a launch
COPY = 4 << 20
#: buffers that an error for lack of memory names
NAMED = 5


def target_of(device: Device, settings: Settings) -> GpuTarget:
    """What schedules know of a device."""

    def workspace(spec: Any) -> int | None:
        plan = device.library(spec)
        return None if plan is None else plan.workspace

    p = device.properties
    return GpuTarget(
        p.arch,
        p.multiprocessors,
        settings.precision,
        workspace,
        deterministic=settings.deterministic,
    )


def make_gpu_stages(
    graph: Graph,
    target: GpuTarget,
    settings: Settings,
    donated: frozenset[int] = frozenset(),
) -> Stages:
    """Every stage of ``graph`` up to kernels for a GPU."""
    return staged(
        graph,
        "cuda",
        settings,
        passes=for_libraries(takes(target), features_last(target.compute)),
        can_fuse=can_fuse,
        lower=lambda plan: lower_gpu_program(plan, target, reused(plan, donated)),
        align=ALIGN,
    )


class GpuExecutable:
    """A program on a device."""

    native = True
    backend = "cuda"

    def __init__(
        self, stages: Stages, device: Device, donated: frozenset[int] = frozenset()
    ) -> None:
        self.stages = stages
        self.device = device
        self.program = stages.program
        plan = self.program.plan
        self.output_types = stages.graph.output_types
        self.operand_types = tuple(v.type for v in stages.graph.inputs)
        self.reused = reused(plan, donated)
        functions = load_kernels(device, self.program.kernels)
        specs = {c.spec for c in self.program.calls if isinstance(c, LibraryCall)}
        libraries = {spec: device.library(spec) for spec in specs}
        self.memory = _Memory(plan, device)
        self.driver = Driver(
            self.program,
            device,
            functions,
            {spec: found for spec, found in libraries.items() if found is not None},
            self.memory.flags(self.program),
        )
        self.staging = _Staging(self)
        self.lock = threading.RLock()
        #: the thread that is launching
        self.runner = 0
        self.inner: GpuExecutable | None = None

    @property
    def graph(self) -> Graph:
        return self.stages.graph

    def launch(self, operands: Sequence[int], results: Sequence[int]) -> None:
        """Put a run on the stream. Failed checks of indices raise where somebody waits for it."""
        with self.lock:
            if self.runner == threading.get_ident():
                self.within().launch(operands, results)
                return
            self.runner = threading.get_ident()
            try:
                inputs, outputs = self.staging.places(operands, results)
                self.driver.run(self.memory.table(inputs, outputs))
                self.staging.finish(results)
            finally:
                self.runner = 0
                if self.driver.checked:
                    pending.add(self.device, self.check)

    def within(self) -> GpuExecutable:
        """The same program in memory of its own, for calls that its own host calls make."""
        if self.inner is None:
            self.inner = GpuExecutable(self.stages, self.device)
        return self.inner

    def alloc(self, nbytes: int) -> Memory:
        """Memory for a result."""
        return self.memory.alloc(nbytes)

    def run(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The results on ``arrays``, which must have the graph's input types; waits."""
        device = self.device
        operands = [device.alloc(max(a.nbytes, 1)) for a in arrays]
        results = [self.alloc(max(t.nbytes, 1)) for t in self.output_types]
        for memory, array in zip(operands, arrays, strict=True):
            if array.nbytes:
                device.to_device(memory.address, np.ascontiguousarray(array))
        self.launch([m.address for m in operands], [m.address for m in results])
        found = []
        for memory, type in zip(results, self.output_types, strict=True):
            array = np.empty(type.shape, type.dtype)
            if array.nbytes:
                device.to_host(array, memory.address)
            found.append(array)
        device.synchronize()
        pending.drain(device)
        return found

    def check(self) -> None:
        """Raise for a kernel that reported an index outside its axis; waits."""
        checked = self.driver.checked
        flags = np.zeros(len(checked), np.int64)
        self.device.to_host(flags, self.memory.flag_cells)
        for k in np.flatnonzero(flags).tolist():
            self.device.fill(self.memory.flag_cells + 8 * k, 0, 8)
        for call, code in zip(checked, flags.tolist(), strict=True):
            if code:
                at = call.checks[min(code, len(call.checks)) - 1] if call.checks else None
                raise OutOfBoundsError(
                    "an index lies outside its axis",
                    at=at,
                    notes=(f"found when the GPU had run `{self.graph.name}`",),
                    hint='pass mode="clip", "fill", "drop" or "wrap" where that is meant',
                )

    def raise_failure(self, failure: object, arrays: Sequence[np.ndarray]) -> None:
        """Runs report failures where somebody waits for them; none comes back from ``launch``."""


#: what storages are, in messages
_KINDS = {"in": "argument ", "out": "result ", "const": "constant ", "arena": "", "zero": ""}


def mebibytes(nbytes: int) -> str:
    return f"{nbytes / 2**20:.1f} MiB"


class _Memory:
    """The device memory that a program holds: arena, constants, counters, flags."""

    def __init__(self, plan: Plan, device: Device) -> None:
        self.plan = plan
        self.device = device
        self.flag_cells = 0
        self.held: list[Memory] = []
        self.fixed_table: list[int] | None = None
        self.given = tuple(operand_slots(plan))
        self.apart: dict[int, int] = {}
        self.fixed: dict[tuple[str, int], int] = {}
        for k, node in enumerate(plan.constants):
            array = np.ascontiguousarray(node.params["value"].array)
            self.fixed["const", k] = self.take(array.nbytes)
            if array.nbytes:
                device.to_device(self.fixed["const", k], array)
        for s in plan.storages:
            if s.kind == "zero":
                self.fixed["zero", s.number] = self.take(s.nbytes)
                device.fill(self.fixed["zero", s.number], 0, s.nbytes)

    def take(self, nbytes: int) -> int:
        """The address of memory for as long as the program is there."""
        self.held.append(self.alloc(nbytes))
        return self.held[-1].address

    def alloc(self, nbytes: int) -> Memory:
        """Memory. Where there is none, the error says what the program needs most for."""
        try:
            return self.device.alloc(max(nbytes, 1))
        except OutOfMemoryError as error:
            storages = sorted(self.plan.storages, key=lambda s: -s.nbytes)[:NAMED]
            total = sum(s.nbytes for s in self.plan.storages if s.kind != "arena")
            lines = [
                f"the program takes {mebibytes(self.plan.arena + total)}, of which "
                f"{mebibytes(self.plan.arena)} between its steps; the largest buffers:"
            ]
            for s in storages:
                names = _KINDS[s.kind] + " -> ".join(s.names).removeprefix("value: ")
                where = f"  # {s.at.short()}" if s.at is not None else ""
                lines.append(f"{mebibytes(s.nbytes):>12}  {names}{where}")
            error.notes = (*error.notes, *lines)
            at = next((s.at for s in storages if s.at is not None), None)
            error.at, error.hint = error.at or at or here(), error.hint or ROOM
            raise

    def flags(self, program: Any) -> int:
        """Cells for the failures of calls with checks."""
        count = sum(has_check(c.kernel) for c in program.kernel_calls)
        if count:
            self.flag_cells = self.take(8 * count)
            self.device.fill(self.flag_cells, 0, 8 * count)
        return self.flag_cells

    def spread(self) -> None:
        """Memory of its own for every buffer, in place of the arena: an access outside of one does
        not land in another.
        """
        for k, s in enumerate(self.plan.storages):
            if s.kind == "arena":
                self.apart[k] = self.take(s.nbytes)

    def table(self, operands: Sequence[int], results: Sequence[int]) -> list[int]:
        """The first address of every slot."""
        if self.fixed_table is None:
            self.fixed_table = self.lay_out()
        table = self.fixed_table.copy()
        for k, s in self.given:
            table[k] = (operands if s.kind == "in" else results)[s.number]
        return table

    def lay_out(self) -> list[int]:
        """The first address of every slot but operands and results, which is always the same."""
        arena = self.take(self.plan.arena) if self.plan.arena else 0
        if self.device.apart:
            self.spread()
        storages, table = self.plan.storages, []
        for slot in self.plan.slots:
            s = None if slot.storage is None else storages[slot.storage]
            if s is None or s.kind in ("in", "out"):
                table.append(0)
            elif s.kind == "arena":
                table.append(self.apart.get(slot.storage, arena + s.offset))  # type: ignore[arg-type]
            else:
                table.append(self.fixed[s.kind, s.number])
        return table


class _Staging:
    """Fixed places for operands and results that come at other addresses every time."""

    def __init__(self, executable: GpuExecutable) -> None:
        self.device = executable.device
        self.memory = executable.memory
        self.types = (*executable.operand_types, *executable.output_types)
        self.count = len(executable.operand_types)
        parts = executable.driver.parts
        #: launches that a recording saves
        self.launches = sum(p.launches for p in parts if isinstance(p, Segment))
        self.seen: list[set[int]] = [set() for _ in self.types]
        self.own: list[int | None] = [None for _ in self.types]

    def places(
        self, operands: Sequence[int], results: Sequence[int]
    ) -> tuple[list[int], list[int]]:
        """Where the program shall read and write; what is read is copied there."""
        found: list[int] = []
        for k, address in enumerate((*operands, *results)):
            own = self.own[k]
            if own is None and self.wanders(k, address):
                own = self.own[k] = self.place(k)
            if own is not None and k < self.count:
                self.device.copy(own, address, self.types[k].nbytes)
            found.append(address if own is None else own)
        return found[: self.count], found[self.count :]

    def place(self, k: int) -> int | None:
        """A fixed place for the ``k``-th; None where there is no memory for one."""
        try:
            return self.memory.take(self.types[k].nbytes)
        except OutOfMemoryError:
            self.launches = 0
            return None

    def wanders(self, k: int, address: int) -> bool:
        """Whether to give the ``k``-th operand or result a fixed place."""
        nbytes = self.types[k].nbytes
        if self.launches < 2 or not 0 < nbytes <= COPY * self.launches:
            return False
        seen = self.seen[k]
        seen.add(address)
        return len(seen) > WANDERS

    def finish(self, results: Sequence[int]) -> None:
        """Copy results from their fixed places to where they are wanted."""
        for k, address in enumerate(results, self.count):
            own = self.own[k]
            if own is not None:
                self.device.copy(address, own, self.types[k].nbytes)


def compile_gpu(
    graph: Graph,
    device: Device,
    settings: Settings | None = None,
    donated: frozenset[int] = frozenset(),
) -> GpuExecutable:
    """Compile ``graph`` for a device."""
    settings = settings or config.current()
    stages = make_gpu_stages(graph, target_of(device, settings), settings, donated)
    start = time.perf_counter()
    executable = GpuExecutable(stages, device, donated)
    stages.seconds["machine code"] = time.perf_counter() - start
    report.finish(stages, settings)
    return executable
