"""A stack of LAPACK calls as a function that threads share, called as kernels are.

    void lapack_0(ptr args, ptr dims, ptr steps, ptr data)

``data``: the buffers, the memory to work in, how many bytes the library's integers have, and the
routines. A unit of its range is a piece of the stack, with memory of its own to work in; or a task
of a phase, whose number and number of tasks stand behind the routines.
"""

from __future__ import annotations

from tracejit.codegen.lapack_phases import factorisation, fill_nan, solve_blocks, some_not_finite
from tracejit.codegen.lapack_text import Number, Place, Text
from tracejit.ir.types import kind
from tracejit.kernel.lapack import (
    Argument,
    Buffer,
    Char,
    Finite,
    Info,
    Int,
    LapackPlan,
    One,
    Pivots,
    Work,
)


def print_lapack(plan: LapackPlan, name: str) -> list[str]:
    """LLVM text of the function ``name``, and of the constants it uses."""
    return _Printer(plan, name).function()


class _Printer(Text):
    def __init__(self, plan: LapackPlan, name: str) -> None:
        super().__init__(name, plan.dtype)
        self.plan = plan
        self.routines: dict[str, str] = {}

    # ---- the function ----

    def function(self) -> list[str]:
        plan, buffers = self.plan, len(self.plan.strides)
        pairs = self.value("load ptr, ptr %args")
        last = self.value(f"add i64 {self.value('load i64, ptr %dims')}, -1")
        low = self.load("i64", pairs, 0)
        high = self.load("i64", pairs, self.add(self.mul(last, 2), 1))
        bases = [Place(self.load("ptr", "%data", k)) for k in range(buffers)]
        work = Place(self.load("ptr", "%data", buffers))
        width = self.load("i64", "%data", buffers + 1)
        end = buffers + 2
        for name in plan.routines:
            self.routines[name[1:]] = self.load("ptr", "%data", end)
            end += 1
        with self.loop(low, high) as unit:
            if plan.phases is not None:
                phase, tasks = (self.load("i64", "%data", end + k) for k in range(2))
                self.task(bases, work, width, (phase, unit, tasks))
            else:
                self.piece(bases, work, width, unit)
        return [
            *self.definitions(),
            f"define internal void @{self.name}(ptr %args, ptr %dims, ptr %steps, ptr %data) {{",
            "entry:",
            "  %info = alloca i64, align 16",
            *self.allocations(),
            *self.lines,
            "  ret void",
            "}",
        ]

    def task(self, bases: list[Place], work: Place, width: str, place: tuple[str, ...]) -> None:
        phases, pivots = self.plan.phases, self.plan.pivots
        assert phases is not None
        tasks = factorisation(self, phases, bases, work, self.routines)
        tasks.width = width
        tasks.checked = self.plan.finite is not None
        if pivots is not None:
            tasks.results = lambda: self.permutation(pivots, bases, tasks.spaces[0], width)
        tasks.task(*place)

    def piece(self, bases: list[Place], work: Place, width: str, piece: str) -> None:
        plan = self.plan
        space = self.at(work, self.mul(piece, plan.work))
        units = plan.batch if plan.shared is None else plan.shared.count
        start, stop = (
            self.value(f"udiv i64 {self.mul(k, units)}, {plan.pieces}")
            for k in (piece, self.add(piece, 1))
        )
        if plan.shared is not None:
            place = self.mul(start, plan.shared.stride)
            own = [self.at(bases[0], place), *bases[1:]]
            self.step(own, space, width, self.sub(stop, start))
            return
        with self.loop(start, stop) as step:
            own = [
                self.at(base, self.mul(step, stride))
                for base, stride in zip(bases, plan.strides, strict=True)
            ]
            self.step(own, space, width)

    def step(self, own: list[Place], space: Place, width: str, part: Number | None = None) -> None:
        """One matrix of the stack, or ``part`` of what is shared of a single one."""
        plan = self.plan
        failed, done = self.fresh("failed"), self.fresh("ready")
        if plan.finite is not None:
            self.check_finite(plan.finite, own[plan.finite.buffer], failed)
        for offset, buffer, nbytes in plan.saved:
            self.copy(self.at(space, offset), own[buffer], nbytes)
        if plan.pivots is not None and plan.pivots.order is None:
            self.zero(self.at(space, plan.pivots.work), 8 * plan.pivots.count)
        if plan.blocks is None:
            self.routine(own, space, part)
        else:
            other = plan.blocks.other if part is None else part
            solve_blocks(self, plan.blocks, own[1], own[0], other, self.routines)
        if plan.pivots is not None:
            self.permutation(plan.pivots, own, self.at(space, plan.pivots.work), width)
        elif any(isinstance(a, Info) for a in plan.arguments):
            info = self.value("load i32, ptr %info")
            self.branch(self.value(f"icmp ne i32 {info}, 0"), failed)
        if plan.clear:
            self.clear(own[0], plan.clear)
        self.emit(f"br label %{done}")
        self.label(failed)
        for place, type in enumerate(plan.results):
            if kind(type.dtype) == "i":
                self.zero(own[place], type.nbytes)
            else:
                fill_nan(self, own[place], type.size * (2 if kind(type.dtype) == "c" else 1))
        self.emit(f"br label %{done}")
        self.label(done)

    def routine(self, own: list[Place], space: Place, part: Number | None) -> None:
        plan = self.plan
        self.emit("store i64 0, ptr %info")
        given = [self.argument(a, own, space) for a in plan.arguments]
        if plan.shared is not None and part is not None:
            given[plan.shared.place] = self.number(part)
        strings = sum(isinstance(a, Char) for a in plan.arguments)
        self.invoke(self.routines[plan.routine[1:]], given, strings)

    def argument(self, argument: Argument, own: list[Place], space: Place) -> Place:
        match argument:
            case Char(letter):
                return self.constant(f"i8 {ord(letter)}")
            case Int(value):
                return self.number(value)
            case One():
                return self.one()
            case Buffer(place):
                return own[place]
            case Work(offset):
                return self.at(space, offset)
            case Info():
                return Place("%info")

    # ---- before and after ----

    def check_finite(self, finite: Finite, base: str, failed: str) -> None:
        """Go to ``failed`` where a number is not finite: LAPACK's iterations need not end then."""
        rows, columns = finite.rows, finite.columns * self.parts
        if finite.part == "all":
            rows, columns = 1, rows * columns
        with self.loop(0, rows) as row:
            low: Number = 0
            high: Number = columns
            if finite.part == "after":
                low = self.mul(row, self.parts)
            elif finite.part == "before":
                high = self.mul(self.add(row, 1), self.parts)
            line = self.at(base, self.mul(row, columns * self.real))
            self.branch(some_not_finite(self, line, low, high), failed)

    def permutation(self, pivots: Pivots, own: list[Place], found: str, width: str) -> None:
        """The exchanges from 0, and what order of rows they lead to. Among nan there is no largest
        element: whatever LAPACK took for one stays a row.
        """
        out, order = own[pivots.out], ""
        if pivots.order is not None:
            order = own[pivots.order]
            with self.loop(0, pivots.rows) as k:
                place = self.at(order, k, "i32")
                self.emit(f"store i32 {self.value(f'trunc i64 {k} to i32')}, ptr {place}")
        with self.loop(0, pivots.count) as k:
            given = self.load("i32", self.at(found, self.value(f"mul i64 {k}, {width}")), 0)
            row = self.value(f"add i32 {given}, -1")
            for limit, test in ((0, "slt"), (pivots.rows - 1, "sgt")):
                outside = self.value(f"icmp {test} i32 {row}, {limit}")
                row = self.value(f"select i1 {outside}, i32 {limit}, i32 {row}")
            self.emit(f"store i32 {row}, ptr {self.at(out, k, 'i32')}")
            if order:
                a = self.at(order, k, "i32")
                b = self.at(order, self.value(f"sext i32 {row} to i64"), "i32")
                first, second = (self.value(f"load i32, ptr {place}") for place in (a, b))
                self.emit(f"store i32 {second}, ptr {a}")
                self.emit(f"store i32 {first}, ptr {b}")

    def clear(self, base: str, n: int) -> None:
        """Zeros behind the diagonal of each row."""
        with self.loop(0, n) as row:
            place = self.element(base, self.add(row, 1), row, n)
            self.zero(place, self.mul(self.sub(n - 1, row), self.item))
