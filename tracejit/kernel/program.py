"""A whole program: the plan's steps with what each one calls.

    program = lower_program(plan, vector_bytes=64)      Program(plan, calls)

Each ``Run`` of the plan becomes a Call: a generated kernel, a BLAS product or a host function.
Nothing is decided after this: printers spell it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tracejit.ir.expr import Const, Expr, Op, Var, walk
from tracejit.ir.graph import Literal, Node, Value
from tracejit.ir.types import TensorType, kind
from tracejit.kernel.build import KernelBuilder, Operand, constant, operand, output
from tracejit.kernel.conv import conv_kernel
from tracejit.kernel.lower import Lowered, kernel_name, lower_group
from tracejit.kernel.matmul import matmul_kernel, prefers_kernel
from tracejit.kernel.nodes import Accumulate, Kernel, Local, Loop, Param, Set, Stmt, Store
from tracejit.kernel.sizes import generalise
from tracejit.ops.dot import Matmul, as_matmul
from tracejit.passes.groups import Group
from tracejit.passes.place import Branch, Plan, Run, ScanLoop, Step, WhileLoop
from tracejit.source import Position

#: a kernel is split over threads from so many scalar operations on; below, waking threads costs
#: more than it saves
PARALLEL_WORK = 60_000
#: the same for BLAS products, which do some 50 operations a nanosecond
PARALLEL_FLOPS = 4_000_000


@dataclass(frozen=True)
class KernelCall:
    """Call ``kernel`` on ``slots`` (in the order of its parameters) with ``sizes``.

    ``rows``: extent of its ``par`` loop (1 without one), ``split``: whether threads share it.
    """

    kernel: Kernel
    slots: tuple[int, ...]
    sizes: tuple[int, ...]
    rows: int
    split: bool
    checks: tuple[Position | None, ...] = ()


@dataclass(frozen=True)
class GemmCall:
    """``out[b] = lhs[b] @ rhs[b]`` by BLAS; f32 or f64.

    ``split``: what threads share, "batch", "m" (rows) or "n" (columns), ``units`` of it;
    ``parallel``: whether they do.
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


Call = KernelCall | GemmCall | HostCall


@dataclass(frozen=True)
class Program:
    """``calls[k]`` belongs to the k-th Run of ``runs(plan.steps)``."""

    plan: Plan
    runs: tuple[Run, ...]
    calls: tuple[Call, ...]

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        """The distinct kernels, in order of first use."""
        return tuple(dict.fromkeys(c.kernel for c in self.calls if isinstance(c, KernelCall)))


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


def lower_program(plan: Plan, vector_bytes: int) -> Program:
    """Lower every group of the plan."""
    runs = tuple(all_runs(plan.steps))
    return Program(plan, runs, tuple(_lower_run(run, vector_bytes) for run in runs))


def _lower_run(run: Run, vector_bytes: int) -> Call:
    group = run.group
    if group.kind == "fused":
        lowered = lower_group(group, run.partition, vector_bytes)
        return _kernel_call(lowered, (*run.reads, *run.writes))
    if group.kind == "library":
        return _library_call(run, vector_bytes)
    if group.kind == "lower":
        return _kernel_call(_lower_custom(group, vector_bytes), (*run.reads, *run.writes))
    return HostCall(group.node, group.inputs, run.reads, run.writes)


def _kernel_call(lowered: Lowered, slots: tuple[int, ...]) -> KernelCall:
    kernel = lowered.kernel
    sizes = dict(zip(kernel.sizes, lowered.sizes, strict=True))
    rows = par_extent(kernel, sizes)
    split = rows > 1 and work(kernel, sizes) >= PARALLEL_WORK
    return KernelCall(kernel, slots, lowered.sizes, rows, split, lowered.checks)


def _operand_slots(run: Run) -> dict[Value, int]:
    return dict(zip(run.group.inputs, run.reads, strict=True))


def _library_call(run: Run, vector_bytes: int) -> Call:
    node = run.group.node
    slot = _operand_slots(run)
    lhs, rhs = (x.type for x in node.inputs)
    slots = (*(slot[x] for x in node.inputs if isinstance(x, Value)), *run.writes)
    out = node.outputs[0].type
    lanes = vector_bytes // max(out.dtype.itemsize, lhs.dtype.itemsize, 4)
    if node.prim.library == "conv":
        kernel = conv_kernel(lhs, rhs, out, dict(node.params), lanes)
        return _kernel_call(_constant_sizes(kernel), slots)
    matmul = as_matmul(lhs, rhs, node.params["dimension_numbers"])
    blas = kind(lhs.dtype) == "f" and lhs.dtype.itemsize >= 4 and lhs.dtype == out.dtype
    if not blas or prefers_kernel(matmul, lhs.dtype):
        kernel = matmul_kernel(lhs, rhs, out, dict(node.params), lanes)
        return _kernel_call(_constant_sizes(kernel), slots)
    return _gemm_call("f32" if lhs.dtype.itemsize == 4 else "f64", matmul, slots)


def _gemm_call(dtype: str, matmul: Matmul, slots: tuple[int, ...]) -> GemmCall:
    """Threads share the products of a batch, or the longer side of the result."""
    choices = {"batch": matmul.b, "m": matmul.m, "n": matmul.n}
    split = "batch" if matmul.batch_shape else "m" if matmul.m >= matmul.n else "n"
    flops = 2 * matmul.b * matmul.m * matmul.n * matmul.k
    parallel = choices[split] > 1 and flops >= PARALLEL_FLOPS
    lhs, rhs, out = slots
    return GemmCall(dtype, matmul, lhs, rhs, out, split, choices[split], parallel)


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
    kernel, sizes = generalise(
        Kernel(kernel_name(group), (), (*table.values(), *outs), builder.finish(), comment)
    )
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
                trips = evaluate_size(stmt.stop, sizes) - evaluate_size(stmt.start, sizes)
                if isinstance(stmt.start, Op) or isinstance(stmt.stop, Op) and stmt.how != "par":
                    trips = 4096  # a block of a longer loop
                total += max(trips, 0) * body(stmt.body)
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
