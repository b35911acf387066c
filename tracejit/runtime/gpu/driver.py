"""The steps of a plan put onto a device's stream, recorded where they come again.

    driver = Driver(program, device, functions, libraries, flags)
    driver.run(table)                  table[slot]: the address of each slot

Steps that need no answer from the device are a *segment*. A segment that runs a second time on the
same addresses is recorded (a CUDA graph) and replayed from then on, its loops unrolled. Between
segments the host reads what decides: the condition of a loop, the index of a branch.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tracejit.ir.types import DTYPES, TensorType
from tracejit.kernel.gpu.library import Spec
from tracejit.kernel.nodes import Kernel
from tracejit.kernel.program import (
    Call,
    CudaCall,
    HostCall,
    KernelCall,
    LibraryCall,
    MergedCall,
    Program,
)
from tracejit.kernel.verify import has_check
from tracejit.passes.place import Branch, Copy, Run, ScanLoop, Step, WhileLoop
from tracejit.runtime.driver import run_host
from tracejit.runtime.gpu.code import Function, load_sources
from tracejit.runtime.gpu.device import Device, LibraryPlan, Recording

#: fewer launches than this cost no more one by one than as a recording
FEW = 2
#: more launches than this are not recorded: a loop of many steps runs its body step by step
MOST = 8192
#: recordings of a segment, on different addresses, that are kept
KEPT = 8
#: addresses of a segment that are remembered, to know them when they come again
REMEMBERED = 64

Table = list[int]


class Segment:
    """Steps whose launches are known beforehand, and their recordings by the addresses that they
    begin on.
    """

    def __init__(self, steps: tuple[Step, ...], slots: tuple[int, ...], launches: int) -> None:
        self.steps = steps
        self.slots = slots
        self.launches = launches
        self.seen: OrderedDict[tuple[int, ...], None] = OrderedDict()
        self.recordings: OrderedDict[tuple[int, ...], tuple[Recording, tuple[int, ...]]]
        self.recordings = OrderedDict()


class Driver:
    """``flags``: the address of one i64 for each call with checks, in the order of ``checked``."""

    def __init__(
        self,
        program: Program,
        device: Device,
        functions: Mapping[Kernel, Function],
        libraries: Mapping[Spec, LibraryPlan],
        flags: int,
    ) -> None:
        self.device = device
        self.functions = functions
        self.libraries = libraries
        #: the kernels of users
        self.own = load_sources(
            device, [call.source for call in program.calls if isinstance(call, CudaCall)]
        )
        self.call_of: dict[int, Call] = dict(zip(map(id, program.runs), program.calls, strict=True))
        self.checked = tuple(c for c in program.kernel_calls if has_check(c.kernel))
        self.flag_of = {id(c): flags + 8 * k for k, c in enumerate(self.checked)}
        self.bodies: dict[int, tuple[Segment | Step, ...]] = {}
        self.parts = tuple(self.cut(program.plan.steps))

    def run(self, table: Table) -> None:
        """Put everything on the stream, or run it, from the slots' first addresses on."""
        self.block(self.parts, table)

    # ---- segments ----

    def cut(self, steps: tuple[Step, ...]) -> Iterator[Segment | Step]:
        """``steps`` as segments, and steps between them that wait for the device."""
        open_: list[Step] = []
        for step in steps:
            if open_ and self.count((*open_, step)) > MOST:
                yield self.segment(open_)
                open_ = []
            if self.count((step,)) <= MOST:
                open_.append(step)
                continue
            if open_:
                yield self.segment(open_)
                open_ = []
            yield step
        if open_:
            yield self.segment(open_)

    def segment(self, steps: Sequence[Step]) -> Segment:
        return Segment(tuple(steps), tuple(sorted(self.slots(steps))), self.count(steps))

    def count(self, steps: Sequence[Step]) -> int:
        """How many launches steps are; more than MOST where the host has a part in them."""
        total = 0
        for step in steps:
            match step:
                case Run():
                    call = self.call_of[id(step)]
                    if isinstance(call, MergedCall):
                        continue
                    if isinstance(call, HostCall):
                        return MOST + 1
                    total += len(call.chain) if isinstance(call, KernelCall) else 1
                    total += len(call.starts) if isinstance(call, CudaCall) else 0
                case Copy():
                    total += 1
                case ScanLoop():
                    total += step.length * self.count(step.body)
                case _:
                    return MOST + 1
        return min(total, MOST + 1)

    def slots(self, steps: Sequence[Step]) -> set[int]:
        """Slots that steps read or move."""
        found: set[int] = set()
        for step in steps:
            match step:
                case Run():
                    call = self.call_of[id(step)]
                    if isinstance(call, KernelCall):
                        found.update(slot for part in call.chain for slot in part.slots)
                    elif isinstance(call, LibraryCall):
                        found.update(call.slots)
                        found.update(() if call.workspace is None else (call.workspace,))
                    elif isinstance(call, CudaCall):
                        found.update(call.slots)
                case Copy():
                    found.update((step.target, step.source))
                case ScanLoop():
                    found.update(slot for move in step.moves for slot in move[:2])
                    found.update(slot for pair in step.swaps for slot in pair)
                    found |= self.slots(step.body)
        return found

    def replay(self, segment: Segment, table: Table) -> None:
        """Run a segment: as a recording if there is one for these addresses."""
        key = tuple(table[slot] for slot in segment.slots)
        found = segment.recordings.get(key)
        if found is not None:
            recording, after = found
            segment.recordings.move_to_end(key)
            recording.launch()
            for slot, address in zip(segment.slots, after, strict=True):
                table[slot] = address
            return
        if segment.launches < FEW or key not in segment.seen:
            segment.seen[key] = None
            while len(segment.seen) > REMEMBERED:
                segment.seen.popitem(last=False)
            self.steps(segment.steps, table)
            return
        recording = self.device.record(lambda: self.steps(segment.steps, table))
        after = tuple(table[slot] for slot in segment.slots)
        segment.recordings[key] = recording, after
        if len(segment.recordings) > KEPT:
            segment.recordings.popitem(last=False)
        recording.launch()

    # ---- what waits for the device ----

    def block(self, parts: Sequence[Segment | Step], table: Table) -> None:
        for part in parts:
            if isinstance(part, Segment):
                self.replay(part, table)
            else:
                self.waiting(part, table)

    def waiting(self, step: Step, table: Table) -> None:
        match step:
            case Run():
                call = self.call_of[id(step)]
                assert isinstance(call, HostCall)
                self.host(call, table)
            case WhileLoop():
                cond, body = self.inner(step.cond), self.inner(step.body)
                self.block(cond, table)
                while self.read(table[step.flag], "bool"):
                    self.block(body, table)
                    swap(step.swaps, table)
                    self.block(cond, table)
            case ScanLoop():
                body = self.inner(step.body)
                for _ in trips(step, table):
                    self.block(body, table)
            case Branch():
                index = int(self.read(table[step.index], "i32"))
                chosen = step.branches[min(max(index, 0), len(step.branches) - 1)]
                self.block(self.inner(chosen), table)

    def inner(self, steps: tuple[Step, ...]) -> tuple[Segment | Step, ...]:
        """The parts of a body, cut once."""
        found = self.bodies.get(id(steps))
        if found is None:
            found = self.bodies[id(steps)] = tuple(self.cut(steps))
        return found

    def read(self, address: int, dtype: str) -> Any:
        """A scalar of the device; waits."""
        value = np.empty((), DTYPES[dtype])
        self.device.to_host(value, address)
        return value[()]

    def host(self, call: HostCall, table: Table) -> None:
        """Run a node by its NumPy meaning on copies of its operands."""
        arrays: dict[int, np.ndarray] = {}

        def view(slot: int, type: TensorType) -> np.ndarray:
            array = np.empty(type.shape, type.dtype)
            if slot not in call.writes and array.nbytes:
                self.device.to_host(array, table[slot])
            arrays[slot] = array
            return array

        run_host(call, view)
        for slot in call.writes:
            if arrays[slot].nbytes:
                self.device.to_device(table[slot], arrays[slot])

    # ---- launches ----

    def steps(self, steps: Sequence[Step], table: Table) -> None:
        for step in steps:
            match step:
                case Run():
                    self.call(self.call_of[id(step)], table)
                case Copy():
                    target, source = table[step.target], table[step.source]
                    if target != source:
                        self.device.copy(target, source, step.nbytes)
                case ScanLoop():
                    for _ in trips(step, table):
                        self.steps(step.body, table)

    def call(self, call: Call, table: Table) -> None:
        if isinstance(call, LibraryCall):
            workspace = 0 if call.workspace is None else table[call.workspace]
            self.libraries[call.spec].run([table[s] for s in call.slots], workspace)
            return
        if isinstance(call, MergedCall):
            return
        if isinstance(call, CudaCall):
            for target, source, nbytes in call.starts:
                if source is None:
                    self.device.fill(table[target], 0, nbytes)
                else:
                    self.device.copy(table[target], table[source], nbytes)
            given = [*(table[s] for s in call.slots), *call.scalars]
            args = [given[k] for k in call.order]
            handle, shared = self.own[call.source], call.source.shared
            self.device.launch(handle, call.grid, call.block, args, shared)
            return
        assert isinstance(call, KernelCall)
        for part in call.chain:
            if part.rows:
                function = self.functions[part.kernel]
                args = [*[table[s] for s in part.slots], *part.sizes]
                if id(part) in self.flag_of:
                    args.append(self.flag_of[id(part)])
                self.device.launch(
                    function.handle, part.rows, function.threads, args, function.shared
                )


def swap(pairs: Sequence[tuple[int, int]], table: Table) -> None:
    for a, b in pairs:
        table[a], table[b] = table[b], table[a]


def trips(loop: ScanLoop, table: Table) -> Iterator[int]:
    """The steps of a loop, its slots moved for each."""
    for count in range(loop.length):
        step = loop.length - 1 - count if loop.reverse else count
        for slot, base, stride in loop.moves:
            table[slot] = table[base] + step * stride
        yield step
        swap(loop.swaps, table)
