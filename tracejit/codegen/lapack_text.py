"""LLVM text of functions that call BLAS and LAPACK: values, loops and calls.

    text = Text("lapack_0", "f64")
    text.call("%gemm", "NT", 8, "%n", text.at(base, 64))     all by address, as Fortran has it

Integers are Python's where they are known and names of values elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

Number = int | str

_ONE = {
    "f32": "float {}1.0",
    "f64": "double {}1.0",
    "c64": "[2 x float] [float {}1.0, float 0.0]",
    "c128": "[2 x double] [double {}1.0, double 0.0]",
}
_ZERO = {
    "f32": "float 0.0",
    "f64": "double 0.0",
    "c64": "[2 x float] zeroinitializer",
    "c128": "[2 x double] zeroinitializer",
}


class Place(str):
    """The name of an address, which a call takes as it is."""


class Text:
    """A function in the making, on matrices of ``dtype``."""

    def __init__(self, name: str, dtype: str) -> None:
        self.name, self.dtype = name, dtype
        self.lines: list[str] = []
        self.constants: dict[str, str] = {}
        self.cells: list[str] = []
        self.count = 0
        #: the block that is being written
        self.block = "entry"

    # ---- values ----

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

    def at(self, base: str, place: Number, type: str = "i8") -> Place:
        return Place(self.value(f"getelementptr {type}, ptr {base}, i64 {place}"))

    def load(self, type: str, base: str, place: Number) -> str:
        return self.value(f"load {type}, ptr {self.at(base, place, type)}")

    def constant(self, text: str) -> Place:
        """The place of a number or letter: LAPACK takes all by address. ``runtime/blas.py`` says
        why integers have 64 bits.
        """
        return Place(self.constants.setdefault(text, f"@{self.name}_{len(self.constants)}"))

    def add(self, a: Number, b: Number) -> Number:
        if isinstance(a, int) and isinstance(b, int):
            return a + b
        return a if b == 0 else b if a == 0 else self.value(f"add i64 {a}, {b}")

    def sub(self, a: Number, b: Number) -> Number:
        if isinstance(a, int) and isinstance(b, int):
            return a - b
        return a if b == 0 else self.value(f"sub i64 {a}, {b}")

    def mul(self, a: Number, b: Number) -> Number:
        if isinstance(a, int) and isinstance(b, int):
            return a * b
        return a if b == 1 else b if a == 1 else self.value(f"mul i64 {a}, {b}")

    def least(self, a: Number, b: Number) -> Number:
        if isinstance(a, int) and isinstance(b, int):
            return min(a, b)
        return self.select(self.test("slt", a, b), a, b)

    def most(self, a: Number, b: Number) -> Number:
        if isinstance(a, int) and isinstance(b, int):
            return max(a, b)
        return self.select(self.test("sgt", a, b), a, b)

    def test(self, relation: str, a: Number, b: Number) -> str:
        return self.value(f"icmp {relation} i64 {a}, {b}")

    def select(self, condition: str, a: Number, b: Number) -> str:
        return self.value(f"select i1 {condition}, i64 {a}, i64 {b}")

    # ---- control flow ----

    @contextmanager
    def loop(self, start: Number, stop: Number) -> Iterator[str]:
        head, body, again, done = map(self.fresh, ("head", "body", "again", "done"))
        before = self.block
        self.emit(f"br label %{head}")
        self.label(head)
        k = f"%{head}_k"
        self.emit(f"{k} = phi i64 [ {start}, %{before} ], [ {k}n, %{again} ]")
        more = self.test("slt", k, stop)
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

    @contextmanager
    def where(self, condition: str) -> Iterator[None]:
        """Do the following where the condition holds."""
        do, done = self.fresh("do"), self.fresh("past")
        self.emit(f"br i1 {condition}, label %{do}, label %{done}")
        self.label(do)
        yield
        self.emit(f"br label %{done}")
        self.label(done)

    # ---- memory ----

    @property
    def real(self) -> int:
        """Bytes of a real number."""
        return 4 if self.dtype in ("f32", "c64") else 8

    @property
    def parts(self) -> int:
        """Real numbers in an element."""
        return 2 if self.dtype in ("c64", "c128") else 1

    @property
    def item(self) -> int:
        return self.real * self.parts

    def element(self, base: str, row: Number, column: Number, leading: Number) -> Place:
        """The place of an element of a matrix of LAPACK's."""
        place = self.add(row, self.mul(column, leading))
        return self.at(base, self.mul(place, self.item))

    def zero(self, base: str, nbytes: Number) -> None:
        self.emit(f"call void @llvm.memset.p0.i64(ptr {base}, i8 0, i64 {nbytes}, i1 false)")

    def copy(self, target: str, source: str, nbytes: Number) -> None:
        self.emit(
            f"call void @llvm.memcpy.p0.p0.i64(ptr {target}, ptr {source}, i64 {nbytes}, i1 false)"
        )

    # ---- calls ----

    def one(self) -> Place:
        return self.constant(_ONE[self.dtype].format(""))

    def minus_one(self) -> Place:
        return self.constant(_ONE[self.dtype].format("-"))

    def nought(self) -> Place:
        return self.constant(_ZERO[self.dtype])

    def number(self, number: Number) -> Place:
        """A number in memory, in a cell of its own."""
        if isinstance(number, int):
            return self.constant(f"i64 {number}")
        self.cells.append(f"%n{len(self.cells)}")
        self.emit(f"store i64 {number}, ptr {self.cells[-1]}")
        return Place(self.cells[-1])

    def call(self, routine: str, letters: str, *given: Number) -> None:
        """Fortran's compilers hand on the length of each string behind all other arguments."""
        places = [self.constant(f"i8 {ord(letter)}") for letter in letters]
        places += [x if isinstance(x, Place) else self.number(x) for x in given]
        self.invoke(routine, places, len(letters))

    def invoke(self, routine: str, places: list[Place], strings: int) -> None:
        arguments = [f"ptr {place}" for place in places] + ["i64 1"] * strings
        types = ", ".join(text.partition(" ")[0] for text in arguments)
        self.emit(f"call void ({types}) {routine}({', '.join(arguments)})")

    def allocations(self) -> list[str]:
        """The cells of numbers, for the function's entry."""
        return [f"  {cell} = alloca i64, align 16" for cell in self.cells]

    def definitions(self) -> list[str]:
        return [f"{name} = private constant {text}" for text, name in self.constants.items()]
