"""The program's ``main`` as LLVM text: calls of kernels and of BLAS, loops and branches, no Python
in between.

    void main(ptr args, ptr results, ptr arena, ptr env)

``args``, ``results``: tables of data pointers. ``env``: a table with the pool's loop, the BLAS
entry points, the host callback, the failure flags, the bytes of LAPACK's integers, then kernels,
routines of LAPACK and constants (``Env``). For a kernel it holds where the kernel's address is:
better code takes its place while programs run. Nothing in the text is an address, so its object
code can be kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tracejit.codegen.gemm import print_gemm
from tracejit.codegen.lapack import print_lapack
from tracejit.codegen.target import Target
from tracejit.kernel.nodes import Kernel
from tracejit.kernel.program import Call, GemmCall, HostCall, KernelCall, LapackCall, Program
from tracejit.kernel.verify import has_check
from tracejit.passes.place import Branch, Copy, Run, ScanLoop, Step, WhileLoop
from tracejit.record import dataclass

PARALLEL_FOR, SGEMM, DGEMM, BLAS_SET, BLAS_THREADS, HOST, FLAGS, INTEGERS, FIRST = range(9)

#: pieces of a kernel per thread: a thread that is late leaves them to the others
CHUNKS = 4

#: copies of so many bytes are shared among threads
PARALLEL_COPY = 1 << 20
COPY_UNIT = 4096

_PARALLEL_TYPE = "void (ptr, ptr, ptr, ptr, ptr, i64, i64, i32)"

#: units from cells 0 and 1: target and source
_COPY_UNITS = f"""define internal void @copy_units(ptr %args, ptr %dims, ptr %steps, ptr %cells) {{
  %count = load i64, ptr %dims
  br label %head
head:
  %k = phi i64 [ 0, %0 ], [ %next, %body ]
  %more = icmp slt i64 %k, %count
  br i1 %more, label %body, label %done
body:
  %range = load ptr, ptr %args
  %place = mul i64 %k, 16
  %pair = getelementptr i8, ptr %range, i64 %place
  %lo = load i64, ptr %pair
  %second = getelementptr i64, ptr %pair, i64 1
  %hi = load i64, ptr %second
  %offset = mul i64 %lo, {COPY_UNIT}
  %units = sub i64 %hi, %lo
  %bytes = mul i64 %units, {COPY_UNIT}
  %target = load ptr, ptr %cells
  %source_cell = getelementptr i64, ptr %cells, i64 1
  %source = load ptr, ptr %source_cell
  %a = getelementptr i8, ptr %target, i64 %offset
  %b = getelementptr i8, ptr %source, i64 %offset
  call void @llvm.memcpy.p0.p0.i64(ptr %a, ptr %b, i64 %bytes, i1 false)
  %next = add i64 %k, 1
  br label %head
done:
  ret void
}}"""


@dataclass(frozen=True)
class Env:
    """Places in the ``env`` table: kernels, routines, then constants; ``flags``: the call that each
    failure flag belongs to. One more flag, the last, is that of host calls.
    """

    kernels: dict[Kernel, int]
    routines: dict[str, int]
    constants: int
    flags: tuple[KernelCall, ...]
    size: int


def make_env(program: Program) -> Env:
    kernels = {kernel: FIRST + k for k, kernel in enumerate(program.kernels)}
    first = FIRST + len(kernels)
    routines = {name: first + k for k, name in enumerate(program.routines)}
    first += len(routines)
    flags = tuple(c for c in program.kernel_calls if has_check(c.kernel))
    return Env(kernels, routines, first, flags, first + len(program.plan.constants))


def print_main(program: Program, target: Target, threads: int) -> str:
    """LLVM text of the program's ``main``; kernels worth it are shared among ``threads``."""
    return _Printer(program, threads).module(target)


class _Printer:
    def __init__(self, program: Program, threads: int) -> None:
        self.program = program
        self.env = make_env(program)
        self.threads = threads
        self.call_of = dict(zip(map(id, program.runs), program.calls, strict=True))
        self.number_of = {id(call): k for k, call in enumerate(program.calls)}
        self.flag_of = {id(call): k for k, call in enumerate(self.env.flags)}
        self.lines: list[str] = []
        self.constants: list[str] = []
        self.counters: list[str] = []
        self.functions: list[str] = []
        self.gemms: dict[object, str] = {}
        self.lapacks: dict[object, str] = {}
        self.copy_units = False
        self.count = 0

    def module(self, target: Target) -> str:
        self.entry()
        self.blas_threads(restore=False)
        self.steps(self.program.plan.steps)
        self.emit("br label %end")
        self.label("end")
        self.blas_threads(restore=True)
        self.emit("ret void")
        calls = self.program.kernel_calls
        cells = max((len(c.slots) + len(c.sizes) + 1 for c in calls), default=0)
        lapack = (c for c in self.program.calls if isinstance(c, LapackCall))
        cells = max((cells, *(len(c.slots) + 4 + len(c.plan.routines) for c in lapack)))
        head = [
            f'target triple = "{target.triple}"',
            f'target datalayout = "{target.layout}"',
            *self.constants,
            "define void @main(ptr %args, ptr %results, ptr %arena, ptr %env) optnone noinline {",
            "entry:",
            f"  %table = alloca [{max(len(self.program.plan.slots), 1)} x ptr], align 64",
            f"  %cells = alloca [{max(cells, 4)} x i64], align 64",
            "  %pair = alloca [2 x i64], align 16",
            "  %gargs = alloca ptr, align 16",
            "  %gdims = alloca i64, align 16",
            "  %gsteps = alloca i64, align 16",
            *self.counters,
            "  store i64 16, ptr %gsteps",
        ]
        if self.copy_units:
            self.functions.append(_COPY_UNITS)
        tail = ["}", *self.functions, "declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)"]
        if self.lapacks:
            tail.append("declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)")
        return "\n".join([*head, *self.lines, *tail, ""])

    # ---- text ----

    def emit(self, text: str) -> None:
        self.lines.append("  " + text)

    def label(self, name: str) -> None:
        self.lines.append(f"{name}:")

    def fresh(self, stem: str = "v") -> str:
        self.count += 1
        return f"{stem}{self.count}"

    def value(self, text: str) -> str:
        name = "%" + self.fresh()
        self.emit(f"{name} = {text}")
        return name

    def at(self, base: str, place: int | str, type: str = "ptr") -> str:
        return self.value(f"getelementptr {type}, ptr {base}, i64 {place}")

    def counter(self) -> str:
        """A cell for a loop, allotted once: an alloca inside a loop takes more of the stack each
        time.
        """
        name = "%" + self.fresh("count")
        self.counters.append(f"  {name} = alloca i64")
        return name

    def slot(self, number: int) -> str:
        """The pointer in a slot."""
        return self.value(f"load ptr, ptr {self.at('%table', number)}")

    def set_slot(self, number: int, pointer: str) -> None:
        self.emit(f"store ptr {pointer}, ptr {self.at('%table', number)}")

    def from_env(self, place: int) -> str:
        return self.value(f"load ptr, ptr {self.at('%env', place)}")

    # ---- steps ----

    def entry(self) -> None:
        """Fill the table of slots."""
        plan = self.program.plan
        for slot in plan.slots:
            if slot.storage is None:
                continue
            storage = plan.storages[slot.storage]
            if storage.kind == "arena":
                pointer = self.at("%arena", storage.offset, "i8")
            elif storage.kind == "const":
                pointer = self.from_env(self.env.constants + storage.number)
            else:
                table = "%args" if storage.kind == "in" else "%results"
                pointer = self.value(f"load ptr, ptr {self.at(table, storage.number)}")
            self.set_slot(slot.number, pointer)

    def steps(self, steps: tuple[Step, ...]) -> None:
        for step in steps:
            match step:
                case Run():
                    self.run(self.call_of[id(step)])
                case Copy():
                    self.copy(step)
                case WhileLoop():
                    self.while_loop(step)
                case ScanLoop():
                    self.scan_loop(step)
                case Branch():
                    self.branch(step)

    def run(self, call: Call) -> None:
        match call:
            case KernelCall():
                for part in call.chain:
                    self.kernel_call(part)
            case GemmCall():
                self.gemm_call(call)
            case LapackCall():
                self.lapack_call(call)
            case HostCall():
                self.host_call(call)

    def copy(self, step: Copy) -> None:
        target, source = self.slot(step.target), self.slot(step.source)
        same = self.value(f"icmp eq ptr {target}, {source}")
        do, done = self.fresh("copy"), self.fresh("copied")
        self.emit(f"br i1 {same}, label %{done}, label %{do}")
        self.label(do)
        if step.nbytes >= PARALLEL_COPY:
            self.copy_units = True
            for cell, pointer in enumerate((target, source)):
                self.emit(f"store ptr {pointer}, ptr {self.at('%cells', cell, 'i64')}")
            units, rest = divmod(step.nbytes, COPY_UNIT)
            self.launch("@copy_units", units, True)
            offset = str(units * COPY_UNIT)
            target, source = self.at(target, offset, "i8"), self.at(source, offset, "i8")
        else:
            rest = step.nbytes
        self.emit(
            f"call void @llvm.memcpy.p0.p0.i64(ptr {target}, ptr {source}, i64 {rest}, i1 false)"
        )
        self.emit(f"br label %{done}")
        self.label(done)

    def kernel_call(self, call: KernelCall) -> None:
        """Fill the cells and call; through ``parallel_for`` when threads share the rows."""
        cell = 0
        for slot in call.slots:
            self.emit(f"store ptr {self.slot(slot)}, ptr {self.at('%cells', cell, 'i64')}")
            cell += 1
        for size in call.sizes:
            self.emit(f"store i64 {size}, ptr {self.at('%cells', cell, 'i64')}")
            cell += 1
        if id(call) in self.flag_of:
            flag = self.at(self.from_env(FLAGS), self.flag_of[id(call)], "i64")
            self.emit(f"store ptr {flag}, ptr {self.at('%cells', cell, 'i64')}")
        place = self.from_env(self.env.kernels[call.kernel])
        self.launch(self.value(f"load ptr, ptr {place}"), call.rows, call.split)

    def launch(self, function: str, rows: int, split: bool, pieces: int = CHUNKS) -> None:
        """Call a kernel or product on its cells, over all its rows or shared among the threads."""
        if split and self.threads > 1:
            chunks = split_rows(rows, self.threads * pieces)
            name = self.fresh("@chunks")
            flat = ", ".join(f"i64 {bound}" for pair in chunks for bound in pair)
            self.constants.append(f"{name} = private constant [{2 * len(chunks)} x i64] [{flat}]")
            self.emit(f"store ptr {name}, ptr %gargs")
            self.emit(f"store i64 {len(chunks)}, ptr %gdims")
            self.share(function)
            return
        self.emit("store i64 0, ptr %pair")
        self.emit(f"store i64 {rows}, ptr {self.at('%pair', 1, 'i64')}")
        self.emit("store ptr %pair, ptr %gargs")
        self.emit("store i64 1, ptr %gdims")
        self.emit(f"call void {function}(ptr %gargs, ptr %gdims, ptr %gsteps, ptr %cells)")

    def gemm_call(self, call: GemmCall) -> None:
        """Equal products share a function; its cells are the operands, the result and the BLAS
        routine.
        """
        key = (call.dtype, call.matmul, call.split)
        if key not in self.gemms:
            self.gemms[key] = f"gemm_{len(self.gemms)}"
            self.functions += print_gemm(call, self.gemms[key])
        for cell, slot in enumerate((call.lhs, call.rhs, call.out)):
            self.emit(f"store ptr {self.slot(slot)}, ptr {self.at('%cells', cell, 'i64')}")
        routine = self.from_env(SGEMM if call.dtype == "f32" else DGEMM)
        self.emit(f"store ptr {routine}, ptr {self.at('%cells', 3, 'i64')}")
        # one piece a thread: BLAS packs its operands anew for each
        self.launch(f"@{self.gemms[key]}", call.units, call.parallel, pieces=1)

    def lapack_call(self, call: LapackCall) -> None:
        """Equal calls share a function; its cells are the buffers, the memory to work in, the bytes
        of the library's integers, and the routines; then, if there are phases, the number of one
        and of its tasks.
        """
        plan = call.plan
        if plan not in self.lapacks:
            self.lapacks[plan] = f"lapack_{len(self.lapacks)}"
            self.functions += print_lapack(plan, self.lapacks[plan])
        if plan.whole:
            self.blas_threads(restore=True)
        cells = [self.slot(slot) for slot in call.slots]
        cells.append("null" if call.workspace is None else self.slot(call.workspace))
        cells.append(self.from_env(INTEGERS))
        cells += [self.from_env(self.env.routines[name]) for name in plan.routines]
        for cell, pointer in enumerate(cells):
            self.emit(f"store ptr {pointer}, ptr {self.at('%cells', cell, 'i64')}")
        name = f"@{self.lapacks[plan]}"
        if plan.phases is None:
            self.launch(name, plan.pieces, plan.pieces > 1)
        else:
            self.phases(name, plan.phases.tasks, len(cells))
        if plan.whole:
            self.blas_threads(restore=False)

    def phases(self, function: str, tasks: tuple[int, ...], cell: int) -> None:
        """Launch a function for each phase, a chunk for each of its tasks."""
        names = self.fresh("@tasks"), self.fresh("@chunks")
        units = [unit for k in range(max(tasks)) for unit in (k, k + 1)]
        for name, numbers in zip(names, (tasks, units), strict=True):
            text = ", ".join(f"i64 {number}" for number in numbers)
            self.constants.append(f"{name} = private constant [{len(numbers)} x i64] [{text}]")
        phase, count = (self.at("%cells", cell + k, "i64") for k in range(2))
        with self.counted(phase, len(tasks), "phase", "launch") as number:
            units_now = self.value(f"load i64, ptr {self.at(names[0], number, 'i64')}")
            self.emit(f"store i64 {units_now}, ptr {count}")
            self.emit(f"store ptr {names[1]}, ptr %gargs")
            self.emit(f"store i64 {units_now}, ptr %gdims")
            self.share(function)

    def share(self, function: str) -> None:
        """Let threads share the chunks in ``%gargs``, of which there are ``%gdims``."""
        self.emit(
            f"call {_PARALLEL_TYPE} {self.from_env(PARALLEL_FOR)}(ptr {function}, "
            f"ptr %gargs, ptr %gdims, ptr %gsteps, "
            f"ptr %cells, i64 0, i64 1, i32 {self.threads})"
        )

    def blas_threads(self, restore: bool) -> None:
        """BLAS on one thread while the program runs; afterwards as it was. Without a way to say so,
        as it is.
        """
        if not any(isinstance(call, GemmCall | LapackCall) for call in self.program.calls):
            return
        setter, do, done = self.from_env(BLAS_SET), self.fresh("blas"), self.fresh("set")
        known = self.value(f"icmp ne ptr {setter}, null")
        self.emit(f"br i1 {known}, label %{do}, label %{done}")
        self.label(do)
        count = "1"
        if restore:
            wide = self.value(f"load i64, ptr {self.at('%env', BLAS_THREADS)}")
            count = self.value(f"trunc i64 {wide} to i32")
        self.emit(f"call void {setter}(i32 {count})")
        self.emit(f"br label %{done}")
        self.label(done)

    def host_call(self, call: HostCall) -> None:
        """The callback computes it, with all threads of BLAS: what it gets is the place of the
        call's number and of the table of slots. It clears the last flag when it is done; one that
        it never reached, or that an exception ended, is still set, and ends the program.
        """
        self.blas_threads(restore=True)
        self.emit(f"store i64 {self.number_of[id(call)]}, ptr %cells")
        self.emit(f"store ptr %table, ptr {self.at('%cells', 1, 'i64')}")
        flag = self.at(self.from_env(FLAGS), len(self.env.flags), "i64")
        self.emit(f"store i64 1, ptr {flag}")
        self.emit(f"call void {self.from_env(HOST)}(ptr %cells)")
        self.blas_threads(restore=False)
        failed = self.value(f"icmp ne i64 {self.value(f'load i64, ptr {flag}')}, 0")
        go_on = self.fresh("on")
        self.emit(f"br i1 {failed}, label %end, label %{go_on}")
        self.label(go_on)

    # ---- control flow ----

    def swap(self, pairs: tuple[tuple[int, int], ...]) -> None:
        for a, b in pairs:
            pa, pb = self.slot(a), self.slot(b)
            self.set_slot(a, pb)
            self.set_slot(b, pa)

    def while_loop(self, loop: WhileLoop) -> None:
        head, body, done = self.fresh("while"), self.fresh("do"), self.fresh("done")
        self.emit(f"br label %{head}")
        self.label(head)
        self.steps(loop.cond)
        flag = self.value(f"load i8, ptr {self.slot(loop.flag)}")
        more = self.value(f"icmp ne i8 {flag}, 0")
        self.emit(f"br i1 {more}, label %{body}, label %{done}")
        self.label(body)
        self.steps(loop.body)
        self.swap(loop.swaps)
        self.emit(f"br label %{head}")
        self.label(done)

    def scan_loop(self, loop: ScanLoop) -> None:
        with self.counted(self.counter(), loop.length, "scan", "step") as count:
            step = self.value(f"sub i64 {loop.length - 1}, {count}") if loop.reverse else count
            for slot, base, stride in loop.moves:
                offset = self.value(f"mul i64 {step}, {stride}")
                self.set_slot(slot, self.at(self.slot(base), offset, "i8"))
            self.steps(loop.body)
            self.swap(loop.swaps)

    @contextmanager
    def counted(self, counter: str, length: int, before: str, inside: str) -> Iterator[str]:
        """A loop whose number lies at ``counter``; ``before`` and ``inside`` name blocks."""
        head, body, done = self.fresh(before), self.fresh(inside), self.fresh("done")
        self.emit(f"store i64 0, ptr {counter}")
        self.emit(f"br label %{head}")
        self.label(head)
        number = self.value(f"load i64, ptr {counter}")
        more = self.value(f"icmp slt i64 {number}, {length}")
        self.emit(f"br i1 {more}, label %{body}, label %{done}")
        self.label(body)
        yield number
        again = self.value(f"load i64, ptr {counter}")
        self.emit(f"store i64 {self.value(f'add i64 {again}, 1')}, ptr {counter}")
        self.emit(f"br label %{head}")
        self.label(done)

    def branch(self, step: Branch) -> None:
        done = self.fresh("done")
        names = [self.fresh("branch") for _ in step.branches]
        index = self.value(f"load i32, ptr {self.slot(step.index)}")
        low = self.value(f"icmp slt i32 {index}, 0")
        clamped = self.value(f"select i1 {low}, i32 0, i32 {index}")
        cases = " ".join(f"i32 {k}, label %{name}" for k, name in enumerate(names[:-1]))
        self.emit(f"switch i32 {clamped}, label %{names[-1]} [{cases}]")
        for name, steps in zip(names, step.branches, strict=True):
            self.label(name)
            self.steps(steps)
            self.emit(f"br label %{done}")
        self.label(done)


def split_rows(rows: int, pieces: int) -> list[tuple[int, int]]:
    """Ranges of rows, at most ``pieces`` of them, as even as can be."""
    count = min(rows, pieces)
    bounds = [rows * k // count for k in range(count + 1)]
    return list(zip(bounds, bounds[1:], strict=False))
