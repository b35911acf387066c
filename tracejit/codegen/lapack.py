"""A stack of LAPACK calls as a function that threads share, called as kernels are.

    void lapack_0(ptr args, ptr dims, ptr steps, ptr data)

``data``: the buffers, the memory to work in, the routine, and how many bytes the library's integers
have. A unit of its range is a piece of the stack, with memory of its own to work in.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

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
from tracejit.record import dataclass

#: nan and the bits of an exponent that says "not finite", by bytes of a real number
_NAN = {4: 0x7FC00000, 8: 0x7FF8000000000000}
_EXPONENT = {4: 0x7F800000, 8: 0x7FF0000000000000}


def print_lapack(plan: LapackPlan, name: str) -> list[str]:
    """LLVM text of the function ``name``, and of the constants it uses."""
    return _Printer(plan, name).function()


@dataclass
class _Printer:
    plan: LapackPlan
    name: str

    def __post_init__(self) -> None:
        self.lines: list[str] = []
        self.constants: dict[str, str] = {}
        self.count = 0
        #: the block that is being written
        self.block = "entry"

    # ---- text ----

    def value(self, text: str) -> str:
        self.count += 1
        self.lines.append(f"  %v{self.count} = {text}")
        return f"%v{self.count}"

    def emit(self, text: str) -> None:
        self.lines.append("  " + text)

    def fresh(self, stem: str) -> str:
        self.count += 1
        return f"{stem}{self.count}"

    def label(self, name: str) -> None:
        self.lines.append(f"{name}:")
        self.block = name

    def at(self, base: str, place: int | str, type: str = "i8") -> str:
        return self.value(f"getelementptr {type}, ptr {base}, i64 {place}")

    def load(self, type: str, base: str, place: int | str) -> str:
        return self.value(f"load {type}, ptr {self.at(base, place, type)}")

    def constant(self, text: str) -> str:
        """The place of a number or letter: LAPACK takes all by address. ``runtime/blas.py`` says
        why integers have 64 bits.
        """
        return self.constants.setdefault(text, f"@{self.name}_{len(self.constants)}")

    @contextmanager
    def loop(self, start: int | str, stop: int | str) -> Iterator[str]:
        head, body, again, done = map(self.fresh, ("head", "body", "again", "done"))
        before = self.block
        self.emit(f"br label %{head}")
        self.label(head)
        k = f"%{head}_k"
        self.emit(f"{k} = phi i64 [ {start}, %{before} ], [ {k}n, %{again} ]")
        more = self.value(f"icmp slt i64 {k}, {stop}")
        self.emit(f"br i1 {more}, label %{body}, label %{done}")
        self.label(body)
        yield k
        self.emit(f"br label %{again}")
        self.label(again)
        self.emit(f"{k}n = add i64 {k}, 1")
        self.emit(f"br label %{head}")
        self.label(done)

    def branch(self, condition: str, target: str) -> None:
        """Go to ``target`` where the condition holds."""
        on = self.fresh("on")
        self.emit(f"br i1 {condition}, label %{target}, label %{on}")
        self.label(on)

    # ---- the function ----

    def function(self) -> list[str]:
        plan, buffers = self.plan, len(self.plan.strides)
        pairs = self.value("load ptr, ptr %args")
        last = self.value(f"add i64 {self.value('load i64, ptr %dims')}, -1")
        low = self.load("i64", pairs, 0)
        high = self.load("i64", pairs, self.value(f"add i64 {self.value(f'mul i64 {last}, 2')}, 1"))
        bases = [self.load("ptr", "%data", k) for k in range(buffers)]
        work, routine = (self.load("ptr", "%data", buffers + k) for k in range(2))
        width = self.load("i64", "%data", buffers + 2)
        with self.loop(low, high) as piece:
            space = self.at(work, self.value(f"mul i64 {piece}, {plan.work}"))
            units = plan.batch if plan.shared is None else plan.shared.count
            start, stop = (
                self.value(f"udiv i64 {self.value(f'mul i64 {k}, {units}')}, {plan.pieces}")
                for k in (piece, self.value(f"add i64 {piece}, 1"))
            )
            if plan.shared is not None:
                self.emit(f"store i64 {self.value(f'sub i64 {stop}, {start}')}, ptr %part")
                place = self.value(f"mul i64 {start}, {plan.shared.stride}")
                self.step([self.at(bases[0], place), *bases[1:]], space, routine, width)
            else:
                with self.loop(start, stop) as step:
                    own = [
                        self.at(base, self.value(f"mul i64 {step}, {stride}"))
                        for base, stride in zip(bases, plan.strides, strict=True)
                    ]
                    self.step(own, space, routine, width)
        return [
            *(f"{name} = private constant {text}" for text, name in self.constants.items()),
            f"define internal void @{self.name}(ptr %args, ptr %dims, ptr %steps, ptr %data) {{",
            "entry:",
            "  %info = alloca i64, align 16",
            "  %part = alloca i64, align 16",
            *self.lines,
            "  ret void",
            "}",
        ]

    def step(self, own: list[str], space: str, routine: str, width: str) -> None:
        """One matrix of the stack."""
        plan = self.plan
        failed, done = self.fresh("failed"), self.fresh("ready")
        if plan.finite is not None:
            self.check_finite(plan.finite, own[plan.finite.buffer], failed)
        for offset, buffer, nbytes in plan.saved:
            self.emit(
                f"call void @llvm.memcpy.p0.p0.i64(ptr {self.at(space, offset)}, "
                f"ptr {own[buffer]}, i64 {nbytes}, i1 false)"
            )
        if plan.pivots is not None and plan.pivots.order is None:
            places = self.at(space, plan.pivots.work)
            self.zero(places, str(8 * plan.pivots.count))
        self.call(own, space, routine)
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
                self.zero(own[place], str(type.nbytes))
            else:
                self.fill(own[place], type.size * (2 if kind(type.dtype) == "c" else 1))
        self.emit(f"br label %{done}")
        self.label(done)

    def call(self, own: list[str], space: str, routine: str) -> None:
        """Fortran's compilers hand on the length of each string behind all other arguments."""
        self.emit("store i64 0, ptr %info")
        given = [f"ptr {self.argument(a, own, space)}" for a in self.plan.arguments]
        if self.plan.shared is not None:
            given[self.plan.shared.place] = "ptr %part"
        given += ["i64 1" for a in self.plan.arguments if isinstance(a, Char)]
        types = ", ".join(text.partition(" ")[0] for text in given)
        self.emit(f"call void ({types}) {routine}({', '.join(given)})")

    def argument(self, argument: Argument, own: list[str], space: str) -> str:
        match argument:
            case Char(letter):
                return self.constant(f"i8 {ord(letter)}")
            case Int(value):
                return self.constant(f"i64 {value}")
            case One():
                return self.constant(
                    {
                        "f32": "float 1.0",
                        "f64": "double 1.0",
                        "c64": "[2 x float] [float 1.0, float 0.0]",
                        "c128": "[2 x double] [double 1.0, double 0.0]",
                    }[self.plan.dtype]
                )
            case Buffer(place):
                return own[place]
            case Work(offset):
                return self.at(space, offset)
            case Info():
                return "%info"

    # ---- before and after ----

    @property
    def real(self) -> int:
        """Bytes of a real number."""
        return 4 if self.plan.dtype in ("f32", "c64") else 8

    @property
    def parts(self) -> int:
        """Real numbers in an element."""
        return 2 if self.plan.dtype in ("c64", "c128") else 1

    def check_finite(self, finite: Finite, base: str, failed: str) -> None:
        """Go to ``failed`` where a number is not finite: LAPACK's iterations need not end then."""
        type, mask = f"i{8 * self.real}", _EXPONENT[self.real]
        rows, columns = finite.rows, finite.columns * self.parts
        if finite.part == "all":
            rows, columns = 1, rows * columns
        with self.loop(0, rows) as row:
            low, high = "0", str(columns)
            if finite.part == "after":
                low = self.value(f"mul i64 {row}, {self.parts}")
            elif finite.part == "before":
                high = self.value(f"mul i64 {self.value(f'add i64 {row}, 1')}, {self.parts}")
            line = self.at(base, self.value(f"mul i64 {row}, {columns * self.real}"))
            with self.loop(low, high) as k:
                bits = self.value(f"and {type} {self.load(type, line, k)}, {mask}")
                self.branch(self.value(f"icmp eq {type} {bits}, {mask}"), failed)

    def permutation(self, pivots: Pivots, own: list[str], found: str, width: str) -> None:
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
        item = self.real * self.parts
        with self.loop(0, n) as row:
            place = self.value(f"mul i64 {self.value(f'mul i64 {row}, {n + 1}')}, {item}")
            count = self.value(f"sub i64 {n - 1}, {row}")
            target = self.at(self.at(base, place), item)
            self.zero(target, self.value(f"mul i64 {count}, {item}"))

    def zero(self, base: str, nbytes: str) -> None:
        self.emit(f"call void @llvm.memset.p0.i64(ptr {base}, i8 0, i64 {nbytes}, i1 false)")

    def fill(self, base: str, count: int) -> None:
        """Nan in ``count`` real numbers."""
        type = f"i{8 * self.real}"
        with self.loop(0, count) as k:
            self.emit(f"store {type} {_NAN[self.real]}, ptr {self.at(base, k, type)}")
