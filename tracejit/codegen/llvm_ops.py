"""How each scalar operation is spelled in LLVM, for scalars (width 0) and vectors.

    apply(emitter, "add", "f32", ("f32", "f32"), ("%a", "%b"), 16)   # fadd <16 x float> %a, %b

No fast-math flags: every operation rounds as written, and fma is used only where asked for.
"""

from __future__ import annotations

from collections.abc import Callable

from tracejit.codegen.llvm_emit import (
    REGISTER,
    Emitter,
    bits_of,
    constant_bits,
    is_constant,
    kind_of,
    literal,
    reg,
    splat_constant,
    suffix,
)
from tracejit.errors import MissingRule
from tracejit.ops import PRIMS

FLOAT_BINARY = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv", "rem": "frem"}
INT_BINARY = {"add": "add", "sub": "sub", "mul": "mul", "and": "and", "or": "or", "xor": "xor"}
BOOL_BINARY = {
    "add": "or",
    "mul": "and",
    "and": "and",
    "or": "or",
    "xor": "xor",
    "max": "or",
    "min": "and",
}
FLOAT_UNARY = {
    "sqrt": "sqrt",
    "floor": "floor",
    "ceil": "ceil",
    "round": "roundeven",
    "trunc": "trunc",
    "abs": "fabs",
}
ORDER = {"lt": "lt", "le": "le", "gt": "gt", "ge": "ge"}


class Spelling:
    """The operations at one width."""

    def __init__(self, emitter: Emitter, width: int) -> None:
        self.emitter = emitter
        self.width = width

    def constant(self, value: bool | int | float, dtype: str) -> str:
        text = literal(value, dtype)
        return splat_constant(text, dtype) if self.width else text

    def binary(self, code: str, dtype: str, a: str, b: str) -> str:
        """``code`` on two operands of ``dtype``; the result is bool for icmp and fcmp."""
        return self.emitter.emit(f"{code} {reg(dtype, self.width)} {a}, {b}", a, b)

    def call(self, name: str, dtype: str, *args: str, extra: str = "") -> str:
        """An intrinsic whose operands and result are all of ``dtype``."""
        t = reg(dtype, self.width)
        listed = ", ".join(f"{t} {x}" for x in args)
        return self.emitter.emit(
            f"call {t} @llvm.{name}.{suffix(dtype, self.width)}({listed}{extra})", *args
        )

    def select(self, cond: str, a: str, b: str, dtype: str) -> str:
        if dtype == "bf16":  # as integers: see llvm_emit.REGISTER
            a, b = (self.cast("bitcast", "bf16", "u16", x) for x in (a, b))
            return self.cast("bitcast", "u16", "bf16", self.select(cond, a, b, "u16"))
        if a == b:
            return a
        t, c = reg(dtype, self.width), reg("bool", self.width)
        return self.emitter.emit(f"select {c} {cond}, {t} {a}, {t} {b}", cond, a, b)

    def cast(self, code: str, source: str, to: str, x: str) -> str:
        return self.emitter.emit(
            f"{code} {reg(source, self.width)} {x} to {reg(to, self.width)}", x
        )

    def invert(self, x: str) -> str:
        return self.binary("xor", "bool", x, self.constant(True, "bool"))

    # ---- families --------------------------------------------------------------------------------

    def compare(self, fn: str, dtype: str, a: str, b: str) -> str:
        kind = kind_of(dtype)
        if kind == "f":
            code = "fcmp " + {"eq": "oeq", "ne": "une"}.get(fn, "o" + fn)
        elif fn in ORDER:
            code = "icmp " + ("s" if kind == "i" else "u") + fn
        else:
            code = "icmp " + fn
        return self.binary(code, dtype, a, b)

    def extreme(self, fn: str, dtype: str, a: str, b: str) -> str:
        """max or min. On x86 the select is one maxps, which gives its second operand for nan."""
        kind = kind_of(dtype)
        if kind in "iu":
            return self.call(("s" if kind == "i" else "u") + fn, dtype, a, b)
        if not_nan(a):
            a, b = b, a
        first = self.select(
            self.binary("fcmp " + ("ogt" if fn == "max" else "olt"), dtype, b, a), b, a, dtype
        )
        if not_nan(b):
            return first
        return self.select(self.binary("fcmp uno", dtype, b, b), b, first, dtype)

    def divide(self, fn: str, dtype: str, a: str, b: str) -> str:
        """Integer quotient or remainder toward zero: x/0 = 0, x%0 = 0, lowest/-1 wraps."""
        bits, signed = bits_of(dtype), kind_of(dtype) == "i"
        zero, one = self.constant(0, dtype), self.constant(1, dtype)
        by_zero = None if known_nonzero(b) else self.compare("eq", dtype, b, zero)
        safe = b if by_zero is None else self.select(by_zero, one, b, dtype)
        if self.width and bits <= 32:
            quotient = self.divide_floating(dtype, a, safe)
            result = (
                quotient
                if fn == "div"
                else self.binary("sub", dtype, a, self.binary("mul", dtype, quotient, b))
            )
            if by_zero is None:
                return result
            return self.select(by_zero, zero, result, dtype)
        minus = None
        if signed and not (is_constant(b) and constant_bits(b) != "-1"):
            minus = self.compare("eq", dtype, b, self.constant(-1, dtype))
            safe = self.select(minus, one, safe, dtype)
        result = self.binary(("s" if signed else "u") + fn, dtype, a, safe)
        if fn == "rem":
            # dividing by one in place of 0 and -1 has already given 0
            return result
        if minus is not None:
            result = self.select(minus, self.binary("sub", dtype, zero, a), result, dtype)
        return result if by_zero is None else self.select(by_zero, zero, result, dtype)

    def divide_floating(self, dtype: str, a: str, b: str) -> str:
        """Quotient of narrow integers by a floating division, exact as the mantissa is wider."""
        narrow = bits_of(dtype) <= 16
        real, whole = ("f32", "i32") if narrow else ("f64", "i64")
        into = ("s" if kind_of(dtype) == "i" else "u") + "itofp"
        quotient = self.binary(
            "fdiv", real, self.cast(into, dtype, real, a), self.cast(into, dtype, real, b)
        )
        return self.cast("trunc", whole, dtype, self.cast("fptosi", real, whole, quotient))

    def index_divide(self, fn: str, a: str, b: str) -> str:
        """Quotient or remainder of indices: non-negative, below 2**53, divisor positive."""
        if (
            is_constant(b)
            and (divisor := int(constant_bits(b))) & (divisor - 1) == 0
            and divisor > 0
        ):
            if fn == "idiv":
                return self.binary("lshr", "i64", a, self.constant(divisor.bit_length() - 1, "i64"))
            return self.binary("and", "i64", a, self.constant(divisor - 1, "i64"))
        if not self.width:
            # not moved out of branches: division by zero would trap
            code = "udiv" if fn == "idiv" else "urem"
            return self.emitter.emit(f"{code} i64 {a}, {b}", a, b, uncertain=not is_constant(b))
        # there is no vector instruction for 64-bit division; doubles hold these values exactly
        quotient = self.binary(
            "fdiv",
            "f64",
            self.cast("sitofp", "i64", "f64", a),
            self.cast("sitofp", "i64", "f64", b),
        )
        whole = self.cast("fptosi", "f64", "i64", quotient)
        return (
            whole
            if fn == "idiv"
            else self.binary("sub", "i64", a, self.binary("mul", "i64", whole, b))
        )

    def shift(self, fn: str, dtype: str, a: str, b: str) -> str:
        """Shifts by the width or more give 0, arithmetic ones the sign, instead of poison."""
        code = {
            "shift_left": "shl",
            "shift_right_logical": "lshr",
            "shift_right_arithmetic": "ashr",
        }[fn]
        bits = bits_of(dtype)
        if is_constant(b) and 0 <= int(constant_bits(b)) < bits:
            return self.binary(code, dtype, a, b)
        fits = self.binary("icmp ult", dtype, b, self.constant(bits, dtype))
        shifted = self.binary(
            code, dtype, a, self.select(fits, b, self.constant(bits - 1, dtype), dtype)
        )
        return (
            shifted
            if code == "ashr"
            else self.select(fits, shifted, self.constant(0, dtype), dtype)
        )

    # ---- conversions -----------------------------------------------------------------------------

    def convert(self, source: str, to: str, x: str) -> str:
        if source == to:
            return x
        kind, kind_to = kind_of(source), kind_of(to)
        if kind_to == "b":
            return self.compare("ne", source, x, self.constant(0, source))
        if kind == "f" and kind_to == "f":
            return self.convert_floating(source, to, x)
        if kind == "f":
            x, source = self.widen(source, x)
            return self.to_integer(source, to, x)
        if kind_to == "f":
            wide = "f32" if bits_of(to) == 16 else to
            real = self.cast("sitofp" if kind == "i" else "uitofp", source, wide, x)
            return self.convert(wide, to, real)
        bits, bits_to = bits_of(source), bits_of(to)
        if bits == bits_to:
            return x
        code = "trunc" if bits > bits_to else ("sext" if kind == "i" else "zext")
        return self.cast(code, source, to, x)

    def to_integer(self, source: str, to: str, x: str) -> str:
        """Truncate and saturate, nan to 0. LLVM's own ``fptosi.sat`` goes lane by lane on x86."""
        bits, code = bits_of(to), "fptosi" if kind_of(to) == "i" else "fptoui"
        lowest, highest = (
            (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if code == "fptosi" else (0, 2**bits - 1)
        )
        number = self.binary("fcmp ord", source, x, x)
        low, high = self.constant(lowest, source), self.constant(highest, source)
        if bits <= 16 or (bits == 32 and source == "f64"):
            # the limits are numbers of the source type: clamp before
            x = self.select(self.binary("fcmp olt", source, x, high), x, high, source)
            x = self.select(self.binary("fcmp ogt", source, x, low), x, low, source)
            wide = "i32" if bits <= 16 else to
            whole = self.cast(code if wide == to else "fptosi", source, wide, x)
            whole = whole if wide == to else self.cast("trunc", wide, to, whole)
        else:
            # ``high`` has been rounded up to the first number beyond
            whole = self.cast(code, source, to, x)
            over = self.binary("fcmp oge", source, x, high)
            whole = self.select(over, self.constant(highest, to), whole, to)
            under = self.binary("fcmp olt", source, x, low)
            whole = self.select(under, self.constant(lowest, to), whole, to)
        return self.select(number, whole, self.constant(0, to), to)

    def widen(self, dtype: str, x: str) -> tuple[str, str]:
        """Half precision as f32, others as they are."""
        return (self.cast("fpext", dtype, "f32", x), "f32") if bits_of(dtype) == 16 else (x, dtype)

    def convert_floating(self, source: str, to: str, x: str) -> str:
        x, source = self.widen(source, x)
        if source == to:
            return x
        if to == "f64":
            return self.cast("fpext", source, to, x)
        if to == "f32":
            return self.cast("fptrunc", source, to, x)
        if source == "f64":
            x = self.round_to_odd(x) if to == "f16" else self.cast("fptrunc", "f64", "f32", x)
        return self.cast("fptrunc", "f32", "f16", x) if to == "f16" else self.to_bfloat(x)

    def round_to_odd(self, x: str) -> str:
        """f64 to f32 so that rounding on to f16 is as rounding once (Boldo, Melquiond 2008)."""
        near = self.cast("fptrunc", "f64", "f32", x)
        back = self.cast("fpext", "f32", "f64", near)
        bits = self.cast("bitcast", "f32", "u32", near)
        over = self.binary(
            "fcmp ogt", "f64", self.call("fabs", "f64", back), self.call("fabs", "f64", x)
        )
        off = self.binary("fcmp one", "f64", back, x)
        down = self.binary("sub", "u32", bits, self.cast("zext", "bool", "u32", over))
        odd = self.binary("or", "u32", down, self.cast("zext", "bool", "u32", off))
        return self.cast("bitcast", "u32", "f32", odd)

    def to_bfloat(self, x: str) -> str:
        """f32 to bf16, to nearest even, in integers: the x86 instruction flushes subnormals."""
        bits = self.cast("bitcast", "f32", "u32", x)
        high = self.binary("lshr", "u32", bits, self.constant(16, "u32"))
        lowest = self.binary("and", "u32", high, self.constant(1, "u32"))
        biased = self.binary(
            "add", "u32", self.binary("add", "u32", bits, self.constant(0x7FFF, "u32")), lowest
        )
        rounded = self.binary("lshr", "u32", biased, self.constant(16, "u32"))
        quiet = self.binary("or", "u32", high, self.constant(0x40, "u32"))
        chosen = self.select(self.binary("fcmp uno", "f32", x, x), quiet, rounded, "u32")
        return self.cast("bitcast", "u16", "bf16", self.cast("trunc", "u32", "u16", chosen))

    def bitcast(self, source: str, to: str, x: str) -> str:
        if REGISTER[source] == REGISTER[to]:
            return x
        if source == "bool":
            return self.cast("zext", "bool", to, x)
        if to == "bool":
            return self.compare("ne", source, x, self.constant(0, source))
        return self.cast("bitcast", source, to, x)


def not_nan(text: str) -> bool:
    """Whether ``text`` is a constant other than nan."""
    if not is_constant(text):
        return False
    bits = constant_bits(text)
    if bits[2] in "HR":
        value, exponent = int(bits[3:], 16) & 0x7FFF, 0x7C00 if bits[2] == "H" else 0x7F80
        return value <= exponent
    return int(bits, 16) & (2**63 - 1) <= 0x7FF << 52


def known_nonzero(text: str) -> bool:
    return is_constant(text) and constant_bits(text) != "0"


def apply(
    emitter: Emitter, fn: str, to: str, sources: tuple[str, ...], args: tuple[str, ...], width: int
) -> str:
    """Write operation ``fn`` on ``args`` of dtypes ``sources``; returns the result's name.

    Raises MissingRule for an operation that has no LLVM spelling.
    """
    s = Spelling(emitter, width)
    source = sources[0]
    if fn in FAMILY:
        return FAMILY[fn](s, fn, to, source, args)
    kind = kind_of(source)
    if kind == "b" and fn in BOOL_BINARY:
        return s.binary(BOOL_BINARY[fn], "bool", *args)
    if kind == "f":
        if fn in FLOAT_BINARY:
            return s.binary(FLOAT_BINARY[fn], to, *args)
        if fn in FLOAT_UNARY:
            return s.call(FLOAT_UNARY[fn], to, *args)
    elif fn in INT_BINARY:
        return s.binary(INT_BINARY[fn], to, *args)
    elif fn in ("floor", "ceil", "round", "trunc"):
        return args[0]
    if fn in NUMERIC:
        return NUMERIC[fn](s, fn, to, source, args)
    return spelled(s, fn, to, source, args)


def spelled(s: Spelling, fn: str, to: str, source: str, args: tuple[str, ...]) -> str:
    """The template of the operation's own record."""
    prim = PRIMS.get(fn)
    template = prim.spell.get("llvm", kind_of(source)) if prim is not None and prim.spell else None
    if template is None:
        raise MissingRule(f"`{fn}` of {source} has no spelling in LLVM")
    named = {"t": reg(to, s.width), "a": reg(source, s.width), "m": suffix(source, s.width)}
    return s.emitter.emit(template.format(*args, **named), *args)


def negate(s: Spelling, fn: str, to: str, source: str, args: tuple[str, ...]) -> str:
    if kind_of(to) == "f":
        return s.emitter.emit(f"fneg {reg(to, s.width)} {args[0]}", args[0])
    return s.binary("sub", to, s.constant(0, to), args[0])


def absolute(s: Spelling, fn: str, to: str, source: str, args: tuple[str, ...]) -> str:
    return s.call("abs", to, args[0], extra=", i1 false") if kind_of(source) == "i" else args[0]


def is_finite(s: Spelling, fn: str, to: str, source: str, args: tuple[str, ...]) -> str:
    return s.binary(
        "fcmp olt", source, s.call("fabs", source, args[0]), s.constant(float("inf"), source)
    )


Rule = Callable[[Spelling, str, str, str, tuple[str, ...]], str]


def _compare(s: Spelling, fn: str, to: str, source: str, args: tuple[str, ...]) -> str:
    return s.compare(fn, source, *args)


def _shift(s: Spelling, fn: str, to: str, source: str, args: tuple[str, ...]) -> str:
    return s.shift(fn, source, *args)


#: operations spelled alike for all kinds
FAMILY: dict[str, Rule] = {
    **dict.fromkeys(("eq", "ne", "lt", "le", "gt", "ge"), _compare),
    **dict.fromkeys(("shift_left", "shift_right_logical", "shift_right_arithmetic"), _shift),
    "select": lambda s, fn, to, source, args: s.select(*args, to),
    "convert": lambda s, fn, to, source, args: s.convert(source, to, *args),
    "bitcast": lambda s, fn, to, source, args: s.bitcast(source, to, *args),
    "fma": lambda s, fn, to, source, args: s.call("fma", to, *args),
    "copysign": lambda s, fn, to, source, args: s.call("copysign", to, *args),
    "population_count": lambda s, fn, to, source, args: s.call("ctpop", to, *args),
    "clz": lambda s, fn, to, source, args: s.call("ctlz", to, *args, extra=", i1 false"),
    "idiv": lambda s, fn, to, source, args: s.index_divide(fn, *args),
    "irem": lambda s, fn, to, source, args: s.index_divide(fn, *args),
    "is_nan": lambda s, fn, to, source, args: s.binary("fcmp uno", source, *args, *args),
    "is_finite": is_finite,
    "neg": negate,
}
#: operations that differ by kind and are left after the plain tables
NUMERIC: dict[str, Rule] = {
    "max": lambda s, fn, to, source, args: s.extreme(fn, to, *args),
    "min": lambda s, fn, to, source, args: s.extreme(fn, to, *args),
    "abs": absolute,
    "div": lambda s, fn, to, source, args: s.divide(fn, to, *args),
    "rem": lambda s, fn, to, source, args: s.divide(fn, to, *args),
    "not": lambda s, fn, to, source, args: s.binary(
        "xor", to, args[0], s.constant(-1 if source != "bool" else True, to)
    ),
}

#: what ``apply`` writes itself; the rest is for ``kernel/math.py`` to expand before
NATIVE: frozenset[str] = frozenset().union(
    FLOAT_BINARY, FLOAT_UNARY, INT_BINARY, BOOL_BINARY, FAMILY, NUMERIC
)
