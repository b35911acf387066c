"""A program run step by step from Python: for the Numba back end, and for host calls of the native
one.

    failed = run_plan(program, args, results, arena, constants, kernels)

Slots are byte addresses into NumPy memory here, as they are pointers in the native ``main``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tracejit.ir import interp
from tracejit.ir.graph import Literal, Value
from tracejit.ir.types import DTYPES, TensorType
from tracejit.kernel.nodes import Kernel
from tracejit.kernel.program import Call, GemmCall, HostCall, KernelCall, LapackCall, Program
from tracejit.ops.dot import MatrixView
from tracejit.passes.place import Branch, Copy, Run, ScanLoop, Step, WhileLoop

View = Callable[[int, TensorType], np.ndarray]
Compiled = Mapping[Kernel, Callable[[Sequence[np.ndarray], Sequence[int]], int]]


def run_host(call: HostCall, view: View) -> None:
    """Run a host call on slots."""
    found: dict[Value, np.ndarray] = {
        v: view(slot, v.type) for v, slot in zip(call.inputs, call.reads, strict=True)
    }
    node = call.node
    operands = [
        np.broadcast_to(x.value, x.type.shape) if isinstance(x, Literal) else found[x]
        for x in node.inputs
    ]
    if node.prim.into is not None:
        places = zip(call.writes, node.outputs, strict=True)
        node.prim.into([view(slot, v.type) for slot, v in places], *operands, **node.params)
        return
    outs = interp.apply(node, operands)
    for result, slot, value in zip(outs, call.writes, node.outputs, strict=True):
        view(slot, value.type)[...] = result


class _Memory:
    """A slot: flat bytes, and where it begins."""

    __slots__ = ("raw", "offset")

    def __init__(self, raw: np.ndarray, offset: int = 0) -> None:
        self.raw = raw
        self.offset = offset


class _Driver:
    def __init__(self, program: Program, slots: list[_Memory | None], kernels: Compiled) -> None:
        self.program = program
        self.slots = slots
        self.kernels = kernels
        self.call_of = dict(zip(map(id, program.runs), program.calls, strict=True))
        self.failed: list[tuple[KernelCall, int]] = []

    def view(self, slot: int, type: TensorType) -> np.ndarray:
        memory = self.slots[slot]
        assert memory is not None
        flat = memory.raw[memory.offset : memory.offset + type.nbytes]
        return flat.view(type.dtype).reshape(type.shape)

    def steps(self, steps: tuple[Step, ...]) -> None:
        for step in steps:
            match step:
                case Run():
                    self.run(self.call_of[id(step)])
                case Copy():
                    self.copy(step)
                case WhileLoop():
                    flag = TensorType(DTYPES["bool"], ())
                    self.steps(step.cond)
                    while self.view(step.flag, flag):
                        self.steps(step.body)
                        self.swap(step.swaps)
                        self.steps(step.cond)
                case ScanLoop():
                    self.scan(step)
                case Branch():
                    index = int(self.view(step.index, TensorType(DTYPES["i32"], ())))
                    self.steps(step.branches[min(max(index, 0), len(step.branches) - 1)])

    def copy(self, step: Copy) -> None:
        a, b = self.slots[step.target], self.slots[step.source]
        assert a is not None and b is not None
        if a.raw is not b.raw or a.offset != b.offset:
            a.raw[a.offset : a.offset + step.nbytes] = b.raw[b.offset : b.offset + step.nbytes]

    def swap(self, pairs: tuple[tuple[int, int], ...]) -> None:
        for a, b in pairs:
            self.slots[a], self.slots[b] = self.slots[b], self.slots[a]

    def scan(self, loop: ScanLoop) -> None:
        for count in range(loop.length):
            step = loop.length - 1 - count if loop.reverse else count
            for slot, base, stride in loop.moves:
                memory = self.slots[base]
                assert memory is not None
                self.slots[slot] = _Memory(memory.raw, memory.offset + step * stride)
            self.steps(loop.body)
            self.swap(loop.swaps)

    def run(self, call: Call) -> None:
        match call:
            case KernelCall(product=GemmCall() as product):
                self.gemm(product)
            case KernelCall(host=HostCall() as host):
                run_host(host, self.view)
            case KernelCall():
                for part in call.chain:
                    self.kernel(part)
            case GemmCall():
                self.gemm(call)
            case LapackCall():
                run_host(call.host, self.view)
            case HostCall():
                run_host(call, self.view)

    def kernel(self, call: KernelCall) -> None:
        sizes = dict(zip(call.kernel.sizes, call.sizes, strict=True))
        buffers = []
        for slot, param in zip(call.slots, call.kernel.params, strict=True):
            shape = param.extents(sizes)
            buffers.append(self.view(slot, TensorType(DTYPES[param.dtype], shape)))
        code = self.kernels[call.kernel](buffers, call.sizes)
        if code:
            self.failed.append((call, code))

    def gemm(self, call: GemmCall) -> None:
        m, dtype = call.matmul, DTYPES[call.dtype]

        def matrices(slot: int, rows: int, columns: int, given: MatrixView) -> Any:
            strides = (given.leading, 1) if not given.transposed else (1, given.leading)
            shape = (*m.batch_shape, rows, columns)
            steps = (*given.batch_strides, *strides)
            last = sum((n - 1) * s for n, s in zip(shape, steps, strict=True)) + 1
            flat = self.view(slot, TensorType(dtype, (last,)))
            return np.lib.stride_tricks.as_strided(
                flat, shape, tuple(s * dtype.itemsize for s in steps)
            )

        assert m.lhs_view is not None and m.rhs_view is not None
        out = self.view(call.out, TensorType(dtype, (*m.batch_shape, m.m, m.n)))
        if out.size:
            np.matmul(
                matrices(call.lhs, m.m, m.k, m.lhs_view),
                matrices(call.rhs, m.k, m.n, m.rhs_view),
                out=out,
            )


def run_plan(
    program: Program,
    args: Sequence[np.ndarray],
    results: Sequence[np.ndarray],
    arena: np.ndarray,
    constants: Sequence[np.ndarray],
    kernels: Compiled,
) -> list[tuple[KernelCall, int]]:
    """Run a program; returns the calls whose kernels reported a failure, with its code."""
    tables = {"in": args, "out": results, "const": constants}
    raws = {
        (kind, k): a.reshape(-1).view(np.uint8)
        for kind, table in tables.items()
        for k, a in enumerate(table)
    }
    slots: list[_Memory | None] = []
    for slot in program.plan.slots:
        if slot.storage is None:
            slots.append(None)
            continue
        s = program.plan.storages[slot.storage]
        if s.kind == "arena":
            slots.append(_Memory(arena, s.offset))
        else:
            slots.append(_Memory(raws[s.kind, s.number]))
    driver = _Driver(program, slots, kernels)
    driver.steps(program.plan.steps)
    return driver.failed
