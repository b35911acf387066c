"""A whole program: the plan's steps with what each one calls.

    program = lower_program(plan, vector_bytes=64)      Program(plan, calls)

Each ``Run`` of the plan becomes a Call: a generated kernel, a BLAS product or a host function.
Nothing is decided after this: printers spell it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property, lru_cache
from typing import Any

from tracejit.ir.expr import Const, Expr, Op, Var, walk
from tracejit.ir.graph import Literal, Node, Value, params_key
from tracejit.ir.types import DTYPES, TensorType, kind
from tracejit.kernel.alike import alike
from tracejit.kernel.build import KernelBuilder, Operand, constant, operand, output
from tracejit.kernel.conv import conv_kernel
from tracejit.kernel.fft import fft_steps
from tracejit.kernel.gemm import gemm_kernel, prefers_blas
from tracejit.kernel.gpu.library import Spec
from tracejit.kernel.gpu.source import CudaSource
from tracejit.kernel.lapack import LapackPlan, lapack_plan
from tracejit.kernel.lower import Lowered, checked_lines, kernel_name, lower_group
from tracejit.kernel.lower_loop import lower_loop
from tracejit.kernel.lower_stencil import lower_stencil
from tracejit.kernel.matmul import matmul_kernel
from tracejit.kernel.nodes import Accumulate, Kernel, Local, Loop, Param, Set, Stmt, Store, While
from tracejit.kernel.partial import lower_parts
from tracejit.kernel.scratch import Scratch
from tracejit.kernel.sizes import generalise
from tracejit.kernel.split import split
from tracejit.kernel.unify import unify
from tracejit.ops.dot import Matmul, as_matmul
from tracejit.passes.groups import Group, Partition
from tracejit.passes.place import Branch, Plan, Run, ScanLoop, Step, WhileLoop
from tracejit.record import dataclass
from tracejit.source import Position

#: a kernel is split over threads from so many scalar operations on; below, waking threads costs
#: more than it saves
PARALLEL_WORK = 60_000
#: the same for matrix products, by estimated nanoseconds
PARALLEL_TIME = 20_000
#: how often a loop is taken to run that does not say so
GUESSED_TRIPS = 16


@dataclass(frozen=True)
class KernelCall:
    """Call ``kernel`` on ``slots`` (in the order of its parameters) with ``sizes``.

    ``rows``: extent of its ``par`` loop (1 without one), ``split``: whether threads share it.
    ``then``: the call after it that finishes what it began. ``product``, ``host``: the same, what
    comes after included, as a call of a library, for back ends whose loops over register tiles are
    slow.
    """

    kernel: Kernel
    slots: tuple[int, ...]
    sizes: tuple[int, ...]
    rows: int
    split: bool
    checks: tuple[Position | None, ...] = ()
    then: KernelCall | None = None
    product: GemmCall | None = None
    host: HostCall | None = None

    @property
    def chain(self) -> tuple[KernelCall, ...]:
        """This call and those that finish it."""
        return (self, *(self.then.chain if self.then is not None else ()))


@dataclass(frozen=True)
class GemmCall:
    """``out[b] = lhs[b] @ rhs[b]`` by BLAS, the library of the back end; f32 or f64.

    ``split``: what threads share of a product that is alone, "m" (rows) or "n" (columns), ``units``
    of it; ``parallel``: whether they do.
    """

    dtype: str
    matmul: Matmul
    lhs: int
    rhs: int
    out: int
    split: str
    units: int
    parallel: bool


@dataclass(frozen=True)
class HostCall:
    """Run the node's NumPy meaning on ``reads`` and copy the results to ``writes``."""

    node: Node
    inputs: tuple[Value, ...]
    reads: tuple[int, ...]
    writes: tuple[int, ...]


@dataclass(frozen=True)
class LapackCall:
    """Call LAPACK for each matrix of a stack. ``slots``: the buffers of ``plan``, ``workspace``:
    the slot of the memory it works in, if any. ``host``: the same for back ends that call no
    pointers.
    """

    plan: LapackPlan
    slots: tuple[int, ...]
    workspace: int | None
    host: HostCall


@dataclass(frozen=True)
class LibraryCall:
    """A call of a GPU's library on ``slots``, in the order of ``spec.operands``; ``workspace``: the
    slot of the memory it works in. ``before``, ``after``: (target, source, bytes) to copy, for
    operands that do not lie as libraries ask.
    """

    spec: Spec
    slots: tuple[int, ...]
    workspace: int | None
    at: Position | None
    before: tuple[tuple[int, int, int], ...] = ()
    after: tuple[tuple[int, int, int], ...] = ()


@dataclass(frozen=True)
class CudaCall:
    """A user's own CUDA kernel on ``grid`` blocks of ``block`` threads. Its arguments: those that
    ``order`` names of the buffers in ``slots`` and then ``scalars``.

    ``starts``: slots to fill before, with the slot that each is a copy of, or None for zeros, and
    their bytes.
    """

    source: CudaSource
    slots: tuple[int, ...]
    scalars: tuple[Any, ...]
    grid: int | tuple[int, ...]
    block: int | tuple[int, ...]
    at: Position | None
    order: tuple[int, ...]
    starts: tuple[tuple[int, int | None, int], ...] = ()


@dataclass(frozen=True)
class MergedCall:
    """Nothing: an earlier call of ``kernel`` has done it."""

    kernel: str


Call = KernelCall | GemmCall | LapackCall | LibraryCall | CudaCall | MergedCall | HostCall


@dataclass(frozen=True)
class Program:
    """``calls[k]`` belongs to the k-th Run of ``runs(plan.steps)``."""

    plan: Plan
    runs: tuple[Run, ...]
    calls: tuple[Call, ...]

    @cached_property
    def kernels(self) -> tuple[Kernel, ...]:
        """The distinct kernels, in order of first use."""
        return tuple(dict.fromkeys(c.kernel for c in self.kernel_calls))

    @cached_property
    def loops(self) -> tuple[Kernel, ...]:
        """The kernels of a back end that has libraries for matrix products and transforms."""
        calls = (c for c in self.kernel_calls if c.product is None and c.host is None)
        return tuple(dict.fromkeys(c.kernel for c in calls))

    @cached_property
    def routines(self) -> tuple[str, ...]:
        """The routines of LAPACK that it calls."""
        plans = (c.plan for c in self.calls if isinstance(c, LapackCall))
        return tuple(sorted({name for plan in plans for name in plan.routines}))

    @property
    def kernel_calls(self) -> tuple[KernelCall, ...]:
        """Every call of a kernel, in order."""
        return tuple(c for call in self.calls if isinstance(call, KernelCall) for c in call.chain)


def all_runs(steps: tuple[Step, ...]) -> Iterator[Run]:
    """Every Run of the steps, those of loop bodies and branches included."""
    for step in steps:
        match step:
            case Run():
                yield step
            case WhileLoop():
                yield from all_runs(step.cond)
                yield from all_runs(step.body)
            case ScanLoop():
                yield from all_runs(step.body)
            case Branch():
                for branch in step.branches:
                    yield from all_runs(branch)


def lower_program(plan: Plan, vector_bytes: int, threads: int = 1) -> Program:
    """Lower every group of the plan; ``threads``: how many share a call of LAPACK."""
    runs = tuple(all_runs(plan.steps))
    scratch = Scratch(plan)
    known: dict[Any, Lowered] = {}
    calls = tuple(_lower_run(run, vector_bytes, threads, scratch, known) for run in runs)
    return Program(scratch.plan, runs, calls)


def _lower_run(
    run: Run, vector_bytes: int, threads: int, scratch: Scratch, known: dict[Any, Lowered]
) -> Call:
    """``known``: what groups of this program have become, by ``alike``."""
    group = run.group
    if group.kind == "fused":
        lowered = _lower_fused(group, run.partition, vector_bytes, known)
        more = scratch.slots(lowered.scratch) if lowered.scratch else ()
        return _kernel_call(lowered, (*run.reads, *run.writes, *more))
    if group.kind == "loop":
        return _kernel_call(
            lower_loop(group, run.partition, vector_bytes), (*run.reads, *run.writes)
        )
    if group.kind == "stencil":
        lowered = lower_stencil(group, run.partition, vector_bytes)
        return _kernel_call(lowered, (*run.reads, *run.writes))
    if group.kind == "library" and group.node.prim.library == "lapack":
        return _lapack_call(run, threads, scratch)
    if group.kind == "library" and group.node.prim.library == "lanes":
        return _fft_call(run, vector_bytes, threads, scratch)
    if group.kind == "library":
        return _library_call(run, vector_bytes, known)
    if group.kind == "lower":
        return _kernel_call(_lower_custom(group, vector_bytes), (*run.reads, *run.writes))
    return HostCall(group.node, group.inputs, run.reads, run.writes)


def _lower_fused(
    group: Group, partition: Partition, vector_bytes: int, known: dict[Any, Lowered]
) -> Lowered:
    key = alike(group, partition.graph)
    found = known.get(key)
    if found is None:
        found = lower_parts(group, partition, vector_bytes)
        if found is None:
            found = lower_group(group, partition, vector_bytes)
        known[key] = found
        return found
    lines = checked_lines(group)
    return found if lines == found.checks else with_checks(found, lines)


def with_checks(lowered: Lowered, lines: tuple[Position | None, ...]) -> Lowered:
    then = None if lowered.then is None else with_checks(lowered.then, lines)
    return replace(lowered, checks=lines, then=then)


def _kernel_call(lowered: Lowered, slots: tuple[int, ...]) -> KernelCall:
    """``slots`` in the order of the kernel's parameters, or of what its ``places`` count."""
    kernel, own = lowered.kernel, slots
    if lowered.places is not None:
        own = tuple(slots[place] for place in lowered.places)
    rows, split = _shares(kernel, lowered.sizes)
    then = None if lowered.then is None else _kernel_call(lowered.then, slots)
    return KernelCall(kernel, own, lowered.sizes, rows, split, lowered.checks, then)


@lru_cache(maxsize=4096)
def _shares(kernel: Kernel, sizes: tuple[int, ...]) -> tuple[int, bool]:
    """How many rows the kernel's ``par`` loop has, and whether threads share them."""
    of = dict(zip(kernel.sizes, sizes, strict=True))
    rows = par_extent(kernel, of)
    return rows, rows > 1 and work(kernel, of) >= PARALLEL_WORK


def _lapack_call(run: Run, threads: int, scratch: Scratch) -> LapackCall:
    """What is changed in place is in the first result's memory already."""
    group, node = run.group, run.group.node
    plan = lapack_plan(node, threads)
    slot = dict(zip(group.reads, run.reads, strict=True))
    if node.prim.updates:
        slot.setdefault(group.inputs[0], run.writes[0])
    operands = [slot[x] for x in node.inputs if isinstance(x, Value)]
    slots = (*run.writes, *operands[1 if node.prim.updates else 0 :])
    workspace = None
    if plan.work:
        (workspace,) = scratch.slots((TensorType(DTYPES["u8"], (plan.work * plan.pieces,)),))
    inputs = tuple(x for x in node.inputs if isinstance(x, Value))
    host = HostCall(node, inputs, tuple(operands), run.writes)
    return LapackCall(plan, slots, workspace, host)


def _fft_call(run: Run, vector_bytes: int, threads: int, scratch: Scratch) -> KernelCall:
    """The kernels of a Fourier transform, one after the other."""
    node = run.group.node
    found = fft_steps(node, vector_bytes, threads)
    inputs = tuple(x for x in node.inputs if isinstance(x, Value))
    host = HostCall(node, inputs, run.reads, run.writes)
    slots = (run.reads[0], run.writes[0], *scratch.slots(found.between))
    then: KernelCall | None = None
    for step in reversed(found.steps):
        own = (slots[step.x], slots[step.y], *scratch.constants(step.tables))
        shares = (step.tasks, step.split)
        then = KernelCall(step.kernel, own, step.sizes, *shares, then=then, host=host)
    assert then is not None
    return then


def _operand_slots(run: Run) -> dict[Value, int]:
    return dict(zip(run.group.inputs, run.reads, strict=True))


def _library_call(run: Run, vector_bytes: int, known: dict[Any, Lowered]) -> Call:
    node = run.group.node
    slot = _operand_slots(run)
    lhs, rhs = (x.type for x in node.inputs)
    slots = (*(slot[x] for x in node.inputs if isinstance(x, Value)), *run.writes)
    out = node.outputs[0].type
    lanes = vector_bytes // max(out.dtype.itemsize, lhs.dtype.itemsize, 4)
    key = (node.prim, lhs, rhs, out, params_key(node.params))
    if key in known:
        return _kernel_call(known[key], slots)
    if node.prim.library == "conv":
        known[key] = _lower_conv(lhs, rhs, out, dict(node.params), lanes)
        return _kernel_call(known[key], slots)
    matmul = as_matmul(lhs, rhs, node.params["dimension_numbers"])
    blas = kind(lhs.dtype) == "f" and lhs.dtype.itemsize >= 4 and lhs.dtype == out.dtype
    if not blas or matmul.lhs_view is None or matmul.rhs_view is None:
        kernel = matmul_kernel(lhs, rhs, out, dict(node.params), lanes)
        known[key] = _constant_sizes(kernel)
        return _kernel_call(known[key], slots)
    call = _gemm_call(_short(lhs), matmul, slots)
    if prefers_blas(matmul, lhs.dtype.itemsize):
        return call
    made = gemm_kernel(matmul, lhs.size, rhs.size, call.dtype, lanes)
    # nanoseconds: some 100 operations each, or 80 bytes
    time = max(matmul.flops / 100, (lhs.nbytes + rhs.nbytes + out.nbytes) / 80)
    split = made.tasks > 1 and time >= PARALLEL_TIME
    return KernelCall(made.kernel, slots, made.sizes, made.tasks, split, product=call)


def _gemm_call(dtype: str, matmul: Matmul, slots: tuple[int, ...]) -> GemmCall:
    """Threads share the longer side of the result."""
    split, units = ("m", matmul.m) if matmul.m >= matmul.n else ("n", matmul.n)
    parallel = units > 1 and matmul.flops >= 100 * PARALLEL_TIME
    lhs, rhs, out = slots
    return GemmCall(dtype, matmul, lhs, rhs, out, split, units, parallel)


def _lower_conv(
    lhs: TensorType, rhs: TensorType, out: TensorType, params: dict[str, Any], lanes: int
) -> Lowered:
    """A convolution's kernel, with the extent of the first axis of ``lhs`` as a parameter where it
    is the batch, or is summed over: the batch, in the gradient of weights.
    """
    kernel = conv_kernel(lhs, rhs, out, params, lanes)
    (batch, features, *_), (_, summed, *_), (batches, *_) = params["dimension_numbers"]
    grouped = params["feature_group_count"] * params["batch_group_count"] > 1
    extent = lhs.shape[0]
    if 0 not in (batch, features) or grouped or extent < 2:
        return _constant_sizes(kernel)
    longer = lhs.with_shape((extent + 1, *lhs.shape[1:]))
    if batch == 0:
        other = conv_kernel(longer, rhs, _one_more(out, batches), params, lanes)
    else:
        other = conv_kernel(longer, _one_more(rhs, summed), out, params, lanes)
    general = unify(kernel, other, extent, extent + 1, "batch")
    if general is None or not general.sizes:
        return _constant_sizes(kernel)
    return Lowered(general, (), (), (extent,))


def _one_more(type: TensorType, axis: int) -> TensorType:
    return type.with_shape(tuple(n + (k == axis) for k, n in enumerate(type.shape)))


def _constant_sizes(kernel: Kernel) -> Lowered:
    return Lowered(kernel, (), (), ())


def _lower_custom(group: Group, vector_bytes: int) -> Lowered:
    """A kernel written by the primitive's own ``lower`` rule."""
    node = group.node
    table = {
        v: Param(f"x{k}", _short(v.type), v.type.shape, "in") for k, v in enumerate(group.reads)
    }
    outs = [
        Param(f"y{k}", _short(v.type), v.type.shape, "inout") for k, v in enumerate(node.outputs)
    ]
    builder = KernelBuilder([p.name for p in (*table.values(), *outs)], width=vector_bytes // 4)
    xs = [
        operand(outs[0] if k == 0 and group.updates else table[x], x.type)
        if isinstance(x, Value)
        else filled(x)
        for k, x in enumerate(node.inputs)
    ]
    node.prim.rule("lower")(
        builder,
        xs,
        [output(p, v.type) for p, v in zip(outs, node.outputs, strict=True)],
        **node.params,
    )
    comment = node.at.short() if node.at is not None else ""
    params = (*table.values(), *outs)
    kernel = Kernel(kernel_name(group), (), params, builder.finish(), comment)
    kernel, sizes = generalise(split(kernel))
    return Lowered(kernel, group.reads, group.outputs, sizes, (node.at,))


def filled(x: Literal) -> Operand:
    """The Operand that is one scalar everywhere."""
    value = constant(x.value.item(), _short(x.type))
    return Operand(x.type, x.type.shape, lambda index: value)


def _short(type: TensorType) -> str:
    return repr(type).partition("[")[0]


# ---- cost ----------------------------------------------------------------------------------------


def evaluate_size(expr: Expr, sizes: dict[str, int]) -> int:
    """An extent as a number."""
    done: dict[Expr, int] = {}
    for node in walk(expr):
        match node:
            case Const():
                done[node] = int(node.value)  # type: ignore[arg-type]
            case Var():
                done[node] = sizes.get(node.name, 0)
            case Op():
                a, b = (done[x] for x in node.args)
                done[node] = {
                    "add": a + b,
                    "sub": a - b,
                    "mul": a * b,
                    "idiv": a // max(b, 1),
                    "irem": a % max(b, 1),
                    "min": min(a, b),
                    "max": max(a, b),
                }[node.fn]
    return done[expr]


def par_extent(kernel: Kernel, sizes: dict[str, int]) -> int:
    """How many rows the kernel's ``par`` loop has; 1 when it has none."""
    for stmt in kernel.body:
        if isinstance(stmt, Loop) and stmt.how == "par":
            return evaluate_size(stmt.stop, sizes) - evaluate_size(stmt.start, sizes)
    return 1


def work(kernel: Kernel, sizes: dict[str, int]) -> float:
    """Roughly how many scalar operations a call performs."""

    def body(stmts: tuple[Stmt, ...]) -> float:
        total = 0.0
        for stmt in stmts:
            if isinstance(stmt, Loop):
                # a block of a longer loop counts as its first one
                trips = evaluate_size(stmt.stop, sizes) - evaluate_size(stmt.start, sizes)
                if isinstance(stmt.stop, Var) and stmt.stop.name not in sizes:
                    trips = GUESSED_TRIPS
                total += max(trips, 0) * body(stmt.body)
            elif isinstance(stmt, While):
                total += GUESSED_TRIPS * body(stmt.body)
            else:
                total += sum(_weight(e) for e in _values(stmt)) + sum(
                    body(b) for b in _bodies(stmt)
                )
        return total

    return body(kernel.body)


def _values(stmt: Stmt) -> tuple[Expr, ...]:
    return (stmt.value,) if isinstance(stmt, Local | Set | Accumulate | Store) else ()


def _bodies(stmt: Stmt) -> tuple[tuple[Stmt, ...], ...]:
    return tuple(
        b
        for b in (getattr(stmt, "then", ()), getattr(stmt, "orelse", ()), getattr(stmt, "body", ()))
        if b
    )


def _weight(expr: Expr) -> float:
    return 1 + sum(
        10 if n.fn in ("exp", "log", "tanh", "pow", "erf", "sin", "cos") else 1
        for n in walk(expr)
        if isinstance(n, Op)
    )
