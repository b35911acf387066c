"""Writing LLVM text: names, blocks, constants, common subexpressions, loop-invariant code.

A value is text: ``%12``, or a constant (``3``, ``splat (float 0x...)``). ``Emitter.emit`` takes the
right-hand side of an instruction and gives the name of its result. An instruction whose operands
were all made outside of a loop is written into that loop's preheader (loops are rotated, so a
preheader runs only if the body will), and one that was written before, and dominates, is not
written again.

    e = Emitter()
    x = e.emit("add i64 %n, 1", "%n")
"""

from __future__ import annotations

import ctypes
import struct
from dataclasses import field

import numpy as np

from tracejit.ir.types import DTYPES
from tracejit.record import dataclass

#: names of the types in registers; in memory a bool is an i8 and a bfloat an i16 (LLVM 22 aborts on
#: some masked loads, shuffles and selects of bfloat vectors)
REGISTER = {
    "bool": "i1",
    "f16": "half",
    "bf16": "bfloat",
    "f32": "float",
    "f64": "double",
    **{f"{sign}{bits}": f"i{bits}" for sign in "iu" for bits in (8, 16, 32, 64)},
}
#: how types are named in the suffix of an intrinsic
SUFFIX = {name: text if text[0] == "i" else name for name, text in REGISTER.items()}


def bits_of(dtype: str) -> int:
    """Bits in a register: 1 for bool."""
    return 1 if dtype == "bool" else DTYPES[dtype].itemsize * 8


def kind_of(dtype: str) -> str:
    """``f``, ``i``, ``u`` or ``b``."""
    return "f" if dtype == "bf16" else dtype[0]


def memory(dtype: str) -> str:
    """The type of one element in memory."""
    return {"bool": "i8", "bf16": "i16"}.get(dtype, REGISTER[dtype])


def reg(dtype: str, width: int = 0) -> str:
    """The type of a register: a scalar for width 0."""
    return f"<{width} x {REGISTER[dtype]}>" if width else REGISTER[dtype]


def suffix(dtype: str, width: int = 0) -> str:
    """``f32`` or ``v16f32``: what follows the name of an intrinsic."""
    return f"v{width}{SUFFIX[dtype]}" if width else SUFFIX[dtype]


def literal(value: bool | int | float, dtype: str) -> str:
    """A scalar constant as text; floats as bits, so nothing is rounded twice."""
    kind = kind_of(dtype)
    if kind == "b":
        return "true" if value else "false"
    if kind in "iu":
        return str(int(value))
    if dtype in ("f16", "bf16"):
        with np.errstate(over="ignore"):
            half = np.array(value, np.float64).astype(DTYPES[dtype]).view(np.uint16)
        return f"0x{'H' if dtype == 'f16' else 'R'}{int(half):04X}"
    rounded = ctypes.c_float(value).value if dtype == "f32" else float(value)
    return "0x" + struct.pack(">d", rounded).hex().upper()


def is_constant(text: str) -> bool:
    """A scalar literal or a splat of one: neither a name nor a vector of different lanes."""
    return text[0] not in "%<"


def wrapped(number: int) -> str:
    """The literal of an i64 that an operation of two literals gives."""
    return str((number + (1 << 63)) % (1 << 64) - (1 << 63))


def constant_bits(text: str) -> str:
    """The scalar literal inside a constant, with or without ``splat``."""
    return text.rstrip(")").rsplit(" ", 1)[-1]


def splat_constant(text: str, dtype: str) -> str:
    return f"splat ({REGISTER[dtype]} {text})"


@dataclass
class Level:
    """One nesting level of the text being written.

    ``pre``: the lines of the preheader, None for a branch. ``certain``: the body runs whenever the
    preheader does, so a load may move there. ``stored``: buffers written inside.
    """

    pre: list[str] | None
    certain: bool
    stored: frozenset[str]
    pre_known: dict[object, str] = field(default_factory=dict)
    known: dict[object, str] = field(default_factory=dict)


class Emitter:
    """The text of one function under construction."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.levels: list[Level] = [Level(None, True, frozenset())]
        self.level_of: dict[str, int] = {}
        self.version: dict[str, int] = {}
        self.counter = 0
        self.label = "entry"

    def fresh(self, level: int | None = None, stem: str = "v") -> str:
        """A new name, made at the current level unless told."""
        self.counter += 1
        name = f"%{stem}{self.counter}"
        self.level_of[name] = len(self.levels) - 1 if level is None else level
        return name

    def labels(self, *stems: str) -> tuple[str, ...]:
        self.counter += 1
        return tuple(f"{stem}{self.counter}" for stem in stems)

    def start(self, label: str) -> None:
        """Begin a block."""
        self.lines.append(f"{label}:")
        self.label = label

    def line(self, text: str) -> None:
        """An instruction without a result, at this place."""
        self.lines.append("  " + text)

    def emit(self, text: str, *operands: str, buffer: str = "", uncertain: bool = False) -> str:
        """The name that holds ``text``, written now, hoisted, or found.

        ``buffer``: it reads memory of that buffer. ``uncertain``: it may fault where the program
        would not run it.
        """
        level_of, levels = self.level_of, self.levels
        current = len(levels) - 1
        level = 0
        for x in operands:
            made = level_of.get(x, 0)
            if made > level:
                level = made
        key: object = (text, self.version.get(buffer, 0)) if buffer else text
        if level < current:
            for inner in range(level + 1, current + 1):
                if (found := levels[inner].pre_known.get(key)) is not None:
                    return found
        first = level + 1
        if buffer or uncertain:
            for inner in range(current, level, -1):
                if buffer in levels[inner].stored or (uncertain and not levels[inner].certain):
                    first = inner + 1
                    break
        for inner in range(first, current + 1):
            pre = levels[inner].pre
            if pre is not None:
                name = levels[inner].pre_known[key] = self.fresh(inner - 1)
                pre.append(f"  {name} = {text}")
                return name
        return self.emit_here(text, key)

    def emit_here(self, text: str, key: object) -> str:
        inner = len(self.levels) - 1
        while inner >= 0:
            if (found := self.levels[inner].known.get(key)) is not None:
                return found
            if self.levels[inner].pre is not None:
                break
            inner -= 1
        name = self.levels[-1].known[key] = self.fresh()
        self.lines.append(f"  {name} = {text}")
        return name

    def splat(self, text: str, dtype: str, width: int) -> str:
        """A scalar in all lanes."""
        if is_constant(text):
            return splat_constant(text, dtype)
        vector = reg(dtype, width)
        one = self.emit(f"insertelement {vector} poison, {REGISTER[dtype]} {text}, i64 0", text)
        return self.emit(
            f"shufflevector {vector} {one}, {vector} poison, <{width} x i32> zeroinitializer", one
        )

    def stored(self, buffer: str) -> None:
        """Forget what was loaded from ``buffer``."""
        self.version[buffer] = self.version.get(buffer, 0) + 1

    # ---- i64 arithmetic on scalars, folded -------------------------------------------------------

    def iadd(self, a: str, b: str) -> str:
        if is_constant(a) and is_constant(b):
            return wrapped(int(a) + int(b))
        if b == "0":
            return a
        if a == "0":
            return b
        return self.emit(f"add i64 {a}, {b}", a, b)

    def isub(self, a: str, b: str) -> str:
        if is_constant(a) and is_constant(b):
            return wrapped(int(a) - int(b))
        return a if b == "0" else self.emit(f"sub i64 {a}, {b}", a, b)

    def imul(self, a: str, b: str) -> str:
        if is_constant(a) and is_constant(b):
            return wrapped(int(a) * int(b))
        if is_constant(a):
            a, b = b, a
        if b in ("0", "1"):
            return a if b == "1" else b
        return self.emit(f"mul i64 {a}, {b}", a, b)
