"""The steps of a plan put onto a device's stream, recorded where they come again.

    driver = Driver(program, device, functions, libraries, flags)
    driver.run(table)                  table[slot]: the address of each slot

Steps that need no answer from the device, and that it can record, are a *segment*. A segment that
runs a second time on the same addresses is recorded (a CUDA graph) and replayed from then on, its
loops unrolled. Between segments the host reads what decides: the condition of a loop, the index of
a branch.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tracejit.errors import DeviceError
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
from tracejit.passes.place import (
    Branch,
    Copy,
    Plan,
    Run,
    ScanLoop,
    Step,
    Storage,
    WhileLoop,
)
from tracejit.runtime.driver import run_host
from tracejit.runtime.gpu.code import Function, load_sources
from tracejit.runtime.gpu.device import Device, LibraryPlan, Recording

#: fewer launches than this cost no more one by one than as a recording
FEW = 2
#: more launches than this are not recorded: a loop of many steps runs its body step by step
MOST = 8192
#: addresses of a segment that are remembered, to know them when they come again
REMEMBERED = 64
#: launches in all recordings of a segment together, at most
HELD = 8 * MOST

Table = list[int]
#: addresses of a segment's slots
Places = tuple[int, ...]
#: what puts a call on the stream
Launch = Callable[[Table], None]


class Segment:
    """Steps whose launches are known beforehand. ``slots``: those of theirs whose addresses are not
    always the same. ``known``: the addresses that they began on, the latest last, with their
    recording and the addresses that they ended on, or None where they ran once.
    """

    def __init__(self, steps: Sequence[Step], slots: Sequence[int], launches: int) -> None:
        self.steps = tuple(steps)
        self.slots = tuple(slots)
        self.launches = launches
        #: whether it pays to record them, and can be done
        self.recorded = launches >= FEW
        #: how many recordings are kept
        self.kept = max(1, min(REMEMBERED, HELD // max(launches, 1)))
        self.known: OrderedDict[Places, tuple[Recording, Places] | None] = OrderedDict()

    @property
    def recordings(self) -> list[Recording]:
        return [found[0] for found in self.known.values() if found is not None]

    def places(self, table: Table) -> Places:
        return tuple([table[slot] for slot in self.slots])

    def remember(self, places: Places, found: tuple[Recording, Places] | None) -> None:
        """Keep what is known of addresses, and forget the oldest: of recordings first."""
        self.known[places] = found
        self.known.move_to_end(places)
        while len(self.recordings) > self.kept:
            del self.known[next(p for p, old in self.known.items() if old is not None)]
        if len(self.known) > REMEMBERED:
            self.known.popitem(last=False)


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
        self.checked = tuple(c for c in program.kernel_calls if has_check(c.kernel))
        self.flag_of = {id(c): flags + 8 * k for k, c in enumerate(self.checked)}
        self.call_of: dict[int, Call] = dict(zip(map(id, program.runs), program.calls, strict=True))
        self.launches_of = {number: self.prepared(call) for number, call in self.call_of.items()}
        #: slots that do not always begin at the same address
        self.varying = {k for k, _ in operand_slots(program.plan)} | set(moved(program.plan.steps))
        self.bodies: dict[int, tuple[Segment | Step, ...]] = {}
        self.parts = tuple(self.cut(program.plan.steps))

    def run(self, table: Table) -> None:
        """Put everything on the stream, or run it, from the slots' first addresses on."""
        self.block(self.parts, table)

    # ---- segments ----

    def cut(self, steps: Sequence[Step]) -> Iterator[Segment | Step]:
        """``steps`` as segments, and steps between them that wait for the device."""
        open_: list[Step] = []
        total = 0
        for step in steps:
            count = self.count(step)
            if open_ and total + count > MOST:
                yield self.segment(open_, total)
                open_, total = [], 0
            if count > MOST:
                yield step
            else:
                open_.append(step)
                total += count
        if open_:
            yield self.segment(open_, total)

    def segment(self, steps: Sequence[Step], launches: int) -> Segment:
        return Segment(steps, sorted(self.slots(steps) & self.varying), launches)

    def count(self, step: Step) -> int:
        """How many launches a step is; more than MOST where the host has a part in it."""
        match step:
            case Run():
                call = self.call_of[id(step)]
                if isinstance(call, HostCall):
                    return MOST + 1
                if isinstance(call, LibraryCall) and not self.libraries[call.spec].recorded:
                    return MOST + 1
                if isinstance(call, MergedCall):
                    return 0
                if isinstance(call, KernelCall):
                    return len(call.chain)
                return 1 + (len(call.starts) if isinstance(call, CudaCall) else 0)
            case Copy():
                return 1
            case ScanLoop():
                return min(step.length * sum(map(self.count, step.body)), MOST + 1)
            case _:
                return MOST + 1

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
                        found.update(s for copy in (*call.before, *call.after) for s in copy[:2])
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
        if not segment.recorded:
            self.steps(segment.steps, table)
            return
        places = segment.places(table)
        found = segment.known.get(places)
        if found is None:
            found = self.record(segment, table) if places in segment.known else None
            segment.remember(places, found)
            if found is None:
                self.steps(segment.steps, table)
                return
        segment.known.move_to_end(places)
        recording, ends = found
        recording.launch()
        for slot, address in zip(segment.slots, ends, strict=True):
            table[slot] = address

    def record(self, segment: Segment, table: Table) -> tuple[Recording, Places] | None:
        """A recording of a segment and the addresses that it ends on. None where something in it
        cannot be recorded: it runs launch by launch from then on, which is said.
        """
        moved = list(table)
        try:
            recording = self.device.record(lambda: self.steps(segment.steps, moved))
        except DeviceError as error:
            segment.recorded = False
            warnings.warn(
                f"a program runs launch by launch, as it cannot be recorded: {error.what}",
                RuntimeWarning,
                stacklevel=2,
            )
            return None
        return recording, segment.places(moved)

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
                self.launches_of[id(step)](table)
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

    # ---- launches ----

    def steps(self, steps: Sequence[Step], table: Table) -> None:
        for step in steps:
            match step:
                case Run():
                    self.launches_of[id(step)](table)
                case Copy():
                    target, source = table[step.target], table[step.source]
                    if target != source and step.nbytes:
                        self.device.copy(target, source, step.nbytes)
                case ScanLoop():
                    for _ in trips(step, table):
                        self.steps(step.body, table)

    def prepared(self, call: Call) -> Launch:
        """A function that puts a call on the stream, with all that is known beforehand looked up:
        a launch takes a few microseconds.
        """
        match call:
            case KernelCall():
                return self.kernels(call)
            case LibraryCall():
                return self.library(call)
            case CudaCall():
                return self.own_kernel(call)
            case HostCall():
                device = self.device
                return lambda table: on_host(call, device, table)
        assert isinstance(call, MergedCall)
        return lambda table: None

    def kernels(self, call: KernelCall) -> Launch:
        launch = self.device.launch
        parts = []
        for part in call.chain:
            function, flag = self.functions[part.kernel], self.flag_of.get(id(part))
            last = part.sizes if flag is None else (*part.sizes, flag)
            if part.rows:
                parts.append((function, part.rows, part.slots, last))

        def run(table: Table) -> None:
            for function, blocks, slots, last in parts:
                args = [*[table[slot] for slot in slots], *last]
                launch(function.handle, blocks, function.threads, args, function.shared)

        return run

    def library(self, call: LibraryCall) -> Launch:
        plan, slots, workspace = self.libraries[call.spec], call.slots, call.workspace

        def run(table: Table) -> None:
            plan.run([table[slot] for slot in slots], 0 if workspace is None else table[workspace])

        def between_copies(table: Table) -> None:
            for target, source, nbytes in call.before:
                self.device.copy(table[target], table[source], nbytes)
            run(table)
            for target, source, nbytes in call.after:
                self.device.copy(table[target], table[source], nbytes)

        return between_copies if call.before or call.after else run

    def own_kernel(self, call: CudaCall) -> Launch:
        handle, device = self.own[call.source], self.device

        def run(table: Table) -> None:
            for target, source, nbytes in call.starts:
                if source is None:
                    device.fill(table[target], 0, nbytes)
                else:
                    device.copy(table[target], table[source], nbytes)
            given = [*(table[slot] for slot in call.slots), *call.scalars]
            args = [given[k] for k in call.order]
            device.launch(handle, call.grid, call.block, args, call.source.shared)

        return run


def on_host(call: HostCall, device: Device, table: Table) -> None:
    """Run a node by its NumPy meaning on copies of its operands; waits."""
    arrays: dict[int, np.ndarray] = {}
    for value, slot in zip(call.inputs, call.reads, strict=True):
        arrays[slot] = np.empty(value.type.shape, value.type.dtype)
        if arrays[slot].nbytes:
            device.to_host(arrays[slot], table[slot])

    def view(slot: int, type: TensorType) -> np.ndarray:
        if slot not in arrays:
            arrays[slot] = np.empty(type.shape, type.dtype)
        return arrays[slot]

    run_host(call, view)
    for slot in call.writes:
        if arrays[slot].nbytes:
            device.to_device(table[slot], arrays[slot])


def operand_slots(plan: Plan) -> Iterator[tuple[int, Storage]]:
    """Slots that are an operand or a result of the program."""
    for k, slot in enumerate(plan.slots):
        if slot.storage is not None and plan.storages[slot.storage].kind in ("in", "out"):
            yield k, plan.storages[slot.storage]


def moved(steps: Sequence[Step]) -> Iterator[int]:
    """Slots that loops move or exchange."""
    for step in steps:
        match step:
            case WhileLoop() | ScanLoop():
                yield from (slot for pair in step.swaps for slot in pair)
                yield from moved(step.body)
                if isinstance(step, ScanLoop):
                    yield from (slot for slot, _, _ in step.moves)
                else:
                    yield from moved(step.cond)
            case Branch():
                for branch in step.branches:
                    yield from moved(branch)


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
