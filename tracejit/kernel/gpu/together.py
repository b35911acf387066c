"""Small kernels that do not depend on each other run as one: each launch costs microseconds, and a
small grid leaves most of a GPU idle.

    calls = together(plan, runs, calls, target)     the updates of all parameters are one launch

    block b in add(g0, g1):
      thread t in 256:
        if lt(b, g0):
          ...                       the first kernel
        if and(ge(b, g0), lt(b, add(g0, g1))):
          b1: i64 = sub(b, g0)
          ...                       the second

A call moves up to an earlier one if it touches no memory that one of both, or a step in between,
writes. What is left in its place is a ``MergedCall``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from tracejit.ir.expr import Expr, Load, Op, Var, const, iadd, isub
from tracejit.kernel.gpu.scalars import changed
from tracejit.kernel.gpu.target import WARP, GpuTarget
from tracejit.kernel.nodes import (
    Accumulate,
    Atomic,
    Combine,
    If,
    Kernel,
    Local,
    Loop,
    Param,
    Scratch,
    Set,
    Stmt,
    Store,
    Transpose,
)
from tracejit.kernel.program import Call, CudaCall, HostCall, KernelCall, LibraryCall, MergedCall
from tracejit.kernel.verify import has_check
from tracejit.kernel.visit import map_expressions, map_statements, statements
from tracejit.passes.place import Branch, Copy, Plan, Run, ScanLoop, Step, WhileLoop

#: kernels of one launch, and their parameters (a launch takes 4 KB of them, 8 bytes each)
MOST, PARAMS = 24, 400
#: statements of one kernel: compiling takes time, and registers are those of the largest part
STATEMENTS = 600
#: steps that a call moves up at most
WINDOW = 48
#: waves of blocks, two for each multiprocessor, from which a kernel fills the device by itself
WAVES = 4
#: bytes of shared memory of one launch
SHARED = 32 << 10

Pairs = tuple[tuple[int, int], ...]


def together(
    plan: Plan,
    runs: Sequence[Run],
    calls: Sequence[Call],
    target: GpuTarget,
    aliases: Pairs = (),
) -> tuple[Call, ...]:
    """``calls`` with those merged that can be. ``aliases``: (result, operand) that may lie in one
    place.
    """
    merger = _Merger(plan, dict(zip(map(id, runs), calls, strict=True)), target, aliases)
    merger.visit(plan.steps)
    return tuple(merger.calls[id(run)] for run in runs)


class _Merger:
    def __init__(
        self, plan: Plan, calls: dict[int, Call], target: GpuTarget, aliases: Pairs
    ) -> None:
        self.plan = plan
        self.calls = calls
        self.most_blocks = 2 * WAVES * target.multiprocessors
        self.twin = {("out", a): ("in", b) for a, b in aliases}

    def visit(self, steps: tuple[Step, ...]) -> None:
        for step in steps:
            match step:
                case ScanLoop():
                    self.visit(step.body)
                case WhileLoop():
                    self.visit(step.cond)
                    self.visit(step.body)
                case Branch():
                    for branch in step.branches:
                        self.visit(branch)
        self.merge([list(self.touched(step)) for step in steps], steps)

    def merge(self, touched: list[list[tuple[int, bool]]], steps: tuple[Step, ...]) -> None:
        """Merge calls of one sequence of steps."""
        parts: dict[int, list[int]] = {}  # head -> the steps that run with it
        for k, step in enumerate(steps):
            if not isinstance(step, Run) or not self.small(self.calls[id(step)]):
                continue
            head = self.head(k, steps, touched, parts)
            parts.setdefault(k if head is None else head, []).append(k)
        for members in parts.values():
            if len(members) > 1:
                self.join([steps[k] for k in members])  # type: ignore[misc]

    def head(
        self,
        k: int,
        steps: tuple[Step, ...],
        touched: list[list[tuple[int, bool]]],
        parts: dict[int, list[int]],
    ) -> int | None:
        """The earlier call that call ``k`` can run together with."""
        for at in range(k - 1, max(k - WINDOW, -1), -1):
            step = steps[at]
            members = parts.get(at, ())
            free = not any(self.conflict(touched[m], touched[k]) for m in members or (at,))
            if members and free and self.fits([steps[m] for m in members], steps[k]):
                return at
            if not free or not isinstance(step, Run | Copy):
                return None
            if isinstance(step, Run) and isinstance(self.calls[id(step)], HostCall):
                return None
        return None

    def fits(self, members: Sequence[Step], step: Step) -> bool:
        """Whether a call may join those of a launch."""
        calls = [self.calls[id(s)] for s in (*members, step)]
        kernels = [c.kernel for c in calls if isinstance(c, KernelCall)]
        return (
            len(kernels) <= MOST
            and len({threads(k) for k in kernels}) == 1
            and len({k.narrow for k in kernels}) == 1
            and sum(len(k.params) + len(k.sizes) for k in kernels) <= PARAMS
            and sum(len(statements(k.body)) for k in kernels) <= STATEMENTS
            and sum(map(shared, kernels)) <= SHARED
        )

    def small(self, call: Call) -> bool:
        """Whether a call is a kernel that leaves room beside it."""
        if not isinstance(call, KernelCall) or call.then is not None or has_check(call.kernel):
            return False
        return 0 < call.rows <= self.most_blocks

    def join(self, runs: Sequence[Run]) -> None:
        calls = [c for c in (self.calls[id(run)] for run in runs) if isinstance(c, KernelCall)]
        kernel = merged([call.kernel for call in calls])
        slots = tuple(slot for call in calls for slot in call.slots)
        sizes = tuple(size for call in calls for size in call.sizes)
        rows = sum(call.rows for call in calls)
        self.calls[id(runs[0])] = KernelCall(kernel, slots, sizes, rows, True)
        for run in runs[1:]:
            self.calls[id(run)] = MergedCall(kernel.name)

    # ---- memory ----

    def touched(self, step: Step) -> Iterator[tuple[int, bool]]:
        """Slots that a step reads, and those that it writes (True)."""
        match step:
            case Copy():
                yield step.source, False
                yield step.target, True
            case Run():
                call = self.calls[id(step)]
                for slot in step.reads:
                    yield slot, False
                for slot in step.writes:
                    yield slot, True
                if isinstance(call, KernelCall):  # scratch too
                    for part in call.chain:
                        for slot, param in zip(part.slots, part.kernel.params, strict=True):
                            yield slot, param.role != "in"
                elif isinstance(call, LibraryCall) and call.workspace is not None:
                    yield call.workspace, True
                elif isinstance(call, CudaCall):
                    for slot in call.slots:
                        yield slot, True

    def conflict(self, a: Iterable[tuple[int, bool]], b: Iterable[tuple[int, bool]]) -> bool:
        """Whether one writes what the other touches."""
        return any(
            (p_writes or q_writes) and self.overlap(p, q) for p, p_writes in a for q, q_writes in b
        )

    def overlap(self, p: int, q: int) -> bool:
        """Whether two slots may hold the same memory."""
        plan = self.plan
        for i in plan.slots[p].storages:
            for j in plan.slots[q].storages:
                a, b = plan.storages[i], plan.storages[j]
                if i == j or self.twin.get((a.kind, a.number)) == (b.kind, b.number):
                    return True
                if self.twin.get((b.kind, b.number)) == (a.kind, a.number):
                    return True
                if a.kind == b.kind == "arena":
                    if a.offset < b.offset + b.nbytes and b.offset < a.offset + a.nbytes:
                        return True
        return False


# ---- kernels -------------------------------------------------------------------------------------


def block_of(kernel: Kernel) -> Loop:
    [loop] = kernel.body
    assert isinstance(loop, Loop)
    return loop


def thread_of(kernel: Kernel) -> Loop:
    loop = block_of(kernel).body[-1]
    assert isinstance(loop, Loop)
    return loop


def threads(kernel: Kernel) -> Expr:
    """How many threads a block has."""
    return thread_of(kernel).stop


def shared(kernel: Kernel) -> int:
    """About how many bytes of shared memory a block declares, and its Combines take."""
    found = 0
    for stmt in block_of(kernel).body:
        if isinstance(stmt, Scratch):
            size = 8
            for n in stmt.shape:
                size *= n
            found += size
    meets = [s for s in statements(kernel.body) if isinstance(s, Combine) and s.width > WARP]
    return found + len(meets) * WARP * 8


def merged(kernels: Sequence[Kernel]) -> Kernel:
    """One kernel whose blocks are those of ``kernels``, one kernel's after the other's."""
    first, t = Var("b", "i64"), thread_of(kernels[0])
    scratch: list[Stmt] = []
    body: list[Stmt] = []
    params: list[Param] = []
    sizes: list[str] = []
    start: Expr = const(0)
    for k, kernel in enumerate(kernels):
        renamed = _Renamed(kernel, f"_{k}")
        block, thread = block_of(kernel), thread_of(kernel)
        end = iadd(start, renamed.expr(isub(block.stop, block.start)))
        inside: Expr = Op("lt", (first, end), "bool")
        if k:
            inside = Op("and", (Op("ge", (first, start), "bool"), inside), "bool")
        number = iadd(isub(first, start), renamed.expr(block.start))
        part: list[Stmt] = [Local(renamed.name(block.var), "i64", number)]
        part.append(Local(renamed.name(thread.var), "i64", Var("t", "i64")))
        for stmt in block.body[:-1]:
            (scratch if isinstance(stmt, Scratch) else part).append(renamed.stmt(stmt))
        part += [renamed.stmt(s) for s in thread.body]
        body.append(If(inside, tuple(part)))
        params += [renamed.param(p) for p in kernel.params]
        sizes += [renamed.name(n) for n in kernel.sizes]
        start = end
    loop = replace(t, var="t", body=tuple(body))
    names = list(dict.fromkeys(kernel.name for kernel in kernels))
    title = "_with_".join(names[:2]) + ("_etc" if len(names) > 2 else "")
    comment = ", ".join(dict.fromkeys(k.comment for k in kernels if k.comment))
    whole = Loop("block", "b", const(0), start, (*scratch, loop))
    return Kernel(title, tuple(sizes), tuple(params), (whole,), comment, narrow=kernels[0].narrow)


class _Renamed:
    """A kernel's parts under names of its own."""

    def __init__(self, kernel: Kernel, suffix: str) -> None:
        self.suffix = suffix
        self.done: dict[Expr, Expr] = {}

    def name(self, name: str) -> str:
        return name + self.suffix

    def param(self, p: Param) -> Param:
        shape = tuple(self.name(n) if isinstance(n, str) else n for n in p.shape)
        return Param(self.name(p.name), p.dtype, shape, p.role)

    def expr(self, expr: Expr) -> Expr:
        return changed(expr, self.part, self.done)

    def part(self, node: Expr) -> Expr:
        match node:
            case Var():
                return Var(self.name(node.name), node.dtype)
            case Load():
                return Load(self.name(node.buffer), node.index, node.dtype, node.guard)
        return node

    def stmt(self, stmt: Stmt) -> Stmt:
        [found] = map_statements((stmt,), self.own)
        return found

    def own(self, stmt: Stmt) -> Stmt:
        """A statement under its own names; what it holds follows."""
        stmt = map_expressions(stmt, self.expr)
        match stmt:
            case Loop():
                return replace(stmt, var=self.name(stmt.var))
            case Local() | Set() | Accumulate() | Scratch() | Combine():
                return replace(stmt, name=self.name(stmt.name))
            case Store():
                return replace(stmt, buffer=self.name(stmt.buffer))
            case Atomic():
                old = None if stmt.old is None else self.name(stmt.old)
                return replace(stmt, buffer=self.name(stmt.buffer), old=old)
            case Transpose():
                return replace(stmt, target=self.name(stmt.target), source=self.name(stmt.source))
        return stmt
