"""A whole program for a GPU: the plan's steps with what each one calls.

    program = lower_gpu_program(plan, target)      Program(plan, calls)

As ``kernel/program.py`` does for the CPU: each ``Run`` becomes kernels with ``block`` and
``thread`` loops, a library's call, or a call of the host.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from tracejit.ir.graph import Value, params_key
from tracejit.ir.types import DTYPES, TensorType
from tracejit.kernel.alike import alike
from tracejit.kernel.gpu.custom import lower_custom
from tracejit.kernel.gpu.fused import lower_fused
from tracejit.kernel.gpu.library import Spec
from tracejit.kernel.gpu.loops import lower_loop_gpu
from tracejit.kernel.gpu.products import conv_gpu, matmul_gpu
from tracejit.kernel.gpu.specs import spec_of
from tracejit.kernel.gpu.target import GpuTarget
from tracejit.kernel.gpu.together import Pairs, block_of, thread_of, together
from tracejit.kernel.lower import Lowered, checked_lines
from tracejit.kernel.nodes import Kernel
from tracejit.kernel.program import (
    Call,
    CudaCall,
    HostCall,
    KernelCall,
    LibraryCall,
    Program,
    all_runs,
    evaluate_size,
    with_checks,
)
from tracejit.kernel.scratch import Scratch
from tracejit.ops.conv import conv_general_dilated
from tracejit.ops.dot import dot_general
from tracejit.passes.place import Branch, Plan, Run, ScanLoop, Step, WhileLoop

#: what libraries ask of their operands, and more than any access of a kernel takes
ALIGN = 256
#: bytes of a thread's widest access
WIDEST = 16


def lower_gpu_program(plan: Plan, target: GpuTarget, aliases: Pairs = ()) -> Program:
    """Lower every group of the plan. ``aliases``: (result, operand) that may lie in one place."""
    return _Lowering(plan, target).program(aliases)


class _Lowering:
    def __init__(self, plan: Plan, target: GpuTarget) -> None:
        self.runs = tuple(all_runs(plan.steps))
        self.target = target
        self.scratch = Scratch(plan, ALIGN)
        #: slots that do not begin at multiples of 16 bytes
        self.odd = frozenset(_moved(plan.steps))
        #: what groups of this program have become
        self.known: dict[Any, Lowered] = {}

    def program(self, aliases: Pairs) -> Program:
        calls = tuple(self.call(run) for run in self.runs)
        plan = self.scratch.plan
        calls = together(plan, self.runs, calls, self.target, aliases)
        return Program(plan, self.runs, calls)

    def call(self, run: Run) -> Call:
        group, slots = run.group, (*run.reads, *run.writes)
        target = self.target
        if self.odd.intersection(slots):
            target = replace(target, vector_bytes=0)
        if group.kind == "host" and group.node.prim.cuda is not None:
            return self.own_kernel(run)
        if group.kind == "host":
            return HostCall(group.node, group.inputs, run.reads, run.writes)
        if group.kind == "library":
            return self.library(run, target)
        if group.kind == "fused":
            key = (alike(group, run.partition.graph), target.vector_bytes)
            found = self.known.get(key)
            if found is None:
                found = self.known[key] = lower_fused(group, run.partition, target)
            lines = checked_lines(group)
            found = found if lines == found.checks else with_checks(found, lines)
        elif group.kind == "loop":
            found = lower_loop_gpu(group, run.partition, target)
        else:
            found = lower_custom(group, target)
        return self.kernel_call(found, slots)

    def own_kernel(self, run: Run) -> CudaCall:
        """A kernel that a user wrote."""
        node = run.group.node
        slot = dict(zip(run.group.inputs, run.reads, strict=True))
        launch = node.prim.rule("cuda")(*(x.type for x in node.inputs), **node.params)
        operands = tuple(slot[x] for x in node.inputs if isinstance(x, Value))
        slots = (*operands, *run.writes)
        starts = tuple(
            (write, None if start < 0 else operands[start], out.type.nbytes)
            for write, start, out in zip(run.writes, launch.starts, node.outputs, strict=False)
            if start is not None and out.type.nbytes
        )
        scalars, order = launch.scalars, launch.order
        if order is None:
            order = tuple(range(len(slots) + len(scalars)))
        grid, block = launch.grid, launch.block
        return CudaCall(launch.source, slots, scalars, grid, block, node.at, order, starts)

    def kernel_call(self, lowered: Lowered, slots: tuple[int, ...]) -> KernelCall:
        """``slots`` in the order of the group's reads and writes."""
        more = (*self.scratch.slots(lowered.scratch), *self.scratch.zeroed(lowered.zeroed))
        return _calls(lowered, (*slots, *more))

    def library(self, run: Run, target: GpuTarget) -> Call:
        """A library's call, or a kernel of ours where no library has it."""
        node = run.group.node
        slot = dict(zip(run.group.reads, run.reads, strict=True))
        if run.group.updates:  # it is in the result's memory already
            slot.setdefault(run.group.inputs[0], run.writes[0])
        operands = tuple(slot[x] for x in node.inputs if isinstance(x, Value))
        slots = (*operands, *run.writes)
        found = spec_of(node, target.compute)
        workspace = None if found is None else target.workspace(found[0])
        if found is not None and workspace is not None:
            spec, order = found
            return self.library_call(spec, tuple(slots[k] for k in order), workspace, run)
        if node.prim not in (dot_general, conv_general_dilated):  # only libraries know the others
            inputs = tuple(x for x in node.inputs if isinstance(x, Value))
            return HostCall(node, inputs, operands, run.writes)
        (lhs, rhs), out = (x.type for x in node.inputs), node.outputs[0].type
        key = (node.prim, lhs, rhs, out, params_key(node.params))
        if key not in self.known:
            make = conv_gpu if node.prim is conv_general_dilated else matmul_gpu
            self.known[key] = make(lhs, rhs, out, dict(node.params), target)
        return self.kernel_call(self.known[key], slots)

    def library_call(
        self, spec: Spec, slots: tuple[int, ...], workspace: int, run: Run
    ) -> LibraryCall:
        """The call; operands at odd places by way of scratch."""
        types = {slot: self.scratch.plan.slots[slot].type for slot in slots}
        odd = [slot for slot in types if slot in self.odd]
        more = [types[slot] for slot in odd] + ([_bytes(workspace)] if workspace else [])
        own = self.scratch.slots(tuple(more)) if more else ()
        place = dict(zip(odd, own, strict=False))
        updated = run.writes[0] if run.group.updates else None
        copies = [(place[slot], slot, types[slot].nbytes) for slot in odd]
        return LibraryCall(
            spec,
            tuple(place.get(slot, slot) for slot in slots),
            own[-1] if workspace else None,
            run.group.node.at,
            tuple(copy for copy in copies if copy[1] not in run.writes or copy[1] == updated),
            tuple((slot, mine, n) for mine, slot, n in copies if slot in run.writes),
        )


def _bytes(count: int) -> TensorType:
    return TensorType(DTYPES["u8"], (count,))


def _calls(lowered: Lowered, slots: tuple[int, ...]) -> KernelCall:
    """The chain of kernels; ``slots`` in the order that ``places`` count."""
    kernel, own = lowered.kernel, slots
    if lowered.places is not None:
        own = tuple(slots[place] for place in lowered.places)
    grid = grid_of(kernel, lowered.sizes)
    then = None if lowered.then is None else _calls(lowered.then, slots)
    own = own[: len(kernel.params)]
    return KernelCall(kernel, own, lowered.sizes, grid, grid > 1, lowered.checks, then)


def grid_of(kernel: Kernel, sizes: tuple[int, ...]) -> int:
    """How many blocks a kernel runs in."""
    of = dict(zip(kernel.sizes, sizes, strict=True))
    loop = block_of(kernel)
    return max(evaluate_size(loop.stop, of) - evaluate_size(loop.start, of), 0)


def threads_of(kernel: Kernel) -> int:
    """How many threads a block of a kernel has."""
    return evaluate_size(thread_of(kernel).stop, {})


def _moved(steps: tuple[Step, ...]) -> Iterator[int]:
    """Slots that loops move by steps which are no multiple of the widest access."""
    for step in steps:
        match step:
            case WhileLoop():
                yield from _moved(step.cond)
                yield from _moved(step.body)
            case ScanLoop():
                for slot, _, stride in step.moves:
                    if stride % WIDEST:
                        yield slot
                yield from _moved(step.body)
            case Branch():
                for branch in step.branches:
                    yield from _moved(branch)
