"""How scalar operations, constants and types are written in CUDA C.

In: an operation and the texts of its arguments. Out: a ``Text``, whose value has the operation's
dtype bit for bit: integers wrap, x / 0 = 0, nan goes through max and min.

    >>> from tracejit.ir.expr import Var
    >>> x, y = (Text(name, ATOM) for name in "xy")
    >>> print(spell(Op("add", (Var("x", "f32"), Var("y", "f32")), "f32"), (x, y), True))
    x + y
    >>> print(spell(Op("add", (Var("x", "i32"), Var("y", "i32")), "i32"), (x, y), True))
    (int)((unsigned)x + y)

Indices (``Text.index``: made of loop variables, sizes and small constants) never overflow, so they
are added as they stand, in ``int`` where the kernel is narrow. Values of f16 and bf16 are their
bits; arithmetic on them has become f32 before (``kernel/math_half.py``). Helpers called ``tj_`` are
in ``kernels/tracejit.cuh``.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence

import numpy as np

from tracejit.errors import MissingRule
from tracejit.ir.expr import Const, Expr, Op, children, rebuild, walk
from tracejit.ir.types import DTYPES
from tracejit.kernel.lower import LOOPED
from tracejit.ops import PRIMS
from tracejit.record import dataclass

#: dtype -> C type of a value, in registers and in memory
CTYPE = {
    "bool": "bool",
    "i8": "signed char",
    "i16": "short",
    "i32": "int",
    "i64": "long long",
    "u8": "unsigned char",
    "u16": "unsigned short",
    "u32": "unsigned",
    "u64": "unsigned long long",
    "f16": "unsigned short",
    "bf16": "unsigned short",
    "f32": "float",
    "f64": "double",
    "c64": "tj_complex<float>",
    "c128": "tj_complex<double>",
}
HALF = ("f16", "bf16")
SIZE = {name: dtype.itemsize for name, dtype in DTYPES.items()}

# how tightly the operators of C bind
ATOM, CALL, UNARY, MUL, ADD, SHIFT, LESS, EQUAL, BITS, AND, OR, CHOICE = range(120, 0, -10)


def letter(dtype: str) -> str:
    """The kind of a short dtype name: one of ``b i u f c``."""
    return "f" if dtype == "bf16" else dtype[0]


@dataclass(frozen=True)
class Text:
    """An expression in C and how tightly its outermost operator binds. ``index``: an i64 that never
    overflows, as ``int`` in a narrow kernel. ``low``: an unsigned expression that is right in its
    low bits, where the text is a cast of that.
    """

    text: str
    binds: int
    index: bool = False
    low: Text | None = None

    def __str__(self) -> str:
        return self.text

    @property
    def number(self) -> int | None:
        """The value of an index that is a literal."""
        return int(self.text) if self.index and self.text.lstrip("-").isdigit() else None

    def at(self, least: int) -> str:
        """The text, in parentheses unless it binds as tightly as ``least``."""
        return self.text if self.binds >= least else f"({self.text})"


def infix(sign: str, binds: int, *args: Text, index: bool = False) -> Text:
    a, b = args
    return Text(f"{a.at(binds)} {sign} {b.at(binds + 1)}", binds, index)


def call(name: str, *args: Text) -> Text:
    return Text(f"{name}({', '.join(a.text for a in args)})", CALL)


def cast(ctype: str, x: Text) -> Text:
    return Text(f"({ctype}){x.at(UNARY)}", UNARY)


def choose(cond: Text, a: Text, b: Text, index: bool = False) -> Text:
    return Text(f"{cond.at(CHOICE + 1)} ? {a.at(CHOICE + 1)} : {b.at(CHOICE)}", CHOICE, index)


def minus(x: Text, index: bool = False) -> Text:
    text = x.at(UNARY)
    return Text(f"-({text})" if text.startswith("-") else f"-{text}", UNARY, index)


def typed(x: Text, narrow: bool) -> Text:
    """An index as the ``long long`` it stands for; others as they are."""
    if not x.index:
        return x
    if x.number is not None:
        return Text(x.text + "ll", x.binds)
    return cast("long long", x) if narrow else Text(x.text, x.binds)


# ---- constants -----------------------------------------------------------------------------------


def constant(node: Const) -> Text:
    """A constant; a small i64 is an index."""
    value, dtype = node.value, node.dtype
    kind = letter(dtype)
    if kind == "b":
        return Text("true" if value else "false", ATOM)
    if kind in "iu":
        assert isinstance(value, int)
        return _integer(value, dtype)
    if kind == "c":
        number, part = complex(value), "f32" if dtype == "c64" else "f64"
        parts = [_real(x, part) for x in (number.real, number.imag)]
        return Text(f"{CTYPE[dtype]}{{{parts[0]}, {parts[1]}}}", ATOM)
    if dtype in HALF:
        with np.errstate(over="ignore"):
            bits = int(np.asarray(value).astype(DTYPES[dtype]).view(np.uint16))
        return Text(f"0x{bits:04x}", ATOM)
    assert not isinstance(value, complex)
    return _real(float(value), dtype)


def _integer(value: int, dtype: str) -> Text:
    index = dtype == "i64" and abs(value) < 2**31
    end = (
        ""
        if index or SIZE[dtype] < 4
        else {"i32": "", "u32": "u", "i64": "ll", "u64": "ull"}[dtype]
    )
    if value == -(2**63) or (value == -(2**31) and dtype == "i32"):
        return Text(f"{value + 1}{end} - 1", ADD)  # C has no literal for these
    return Text(f"{value}{end}", ATOM if value >= 0 else UNARY, index)


def _real(value: float, dtype: str) -> Text:
    if dtype == "f32":
        with np.errstate(over="ignore"):
            value = np.float32(value)  # type: ignore[assignment]
    if not math.isfinite(value):
        name = "TJ_NAN" if math.isnan(value) else "TJ_INF"
        whole = Text(name, ATOM) if dtype == "f32" else Text(f"(double){name}", UNARY)
        return minus(whole) if value < 0 else whole
    text = f"{value!s}f" if dtype == "f32" else repr(value)
    return Text(text, UNARY if text.startswith("-") else ATOM)


def zero(dtype: str) -> Const:
    kind = letter(dtype)
    return Const(False if kind == "b" else 0 if kind in "iu" else 0.0, dtype)


# ---- tables --------------------------------------------------------------------------------------

#: float functions that C has, under these names with ``f`` behind for f32
FUNCTIONS = {
    **{name: name for name in (
        "exp exp2 expm1 log log2 log10 log1p sin cos tan asin acos atan atan2 sinh cosh tanh asinh "
        "acosh atanh erf erfc lgamma sqrt rsqrt cbrt floor ceil trunc pow copysign nextafter fma"
    ).split()},
    "abs": "fabs", "round": "rint", "rem": "fmod",
}  # fmt: skip
_COMPARE = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_ARITHMETIC = {"add": ("+", ADD), "sub": ("-", ADD), "mul": ("*", MUL), "div": ("/", MUL)}
_BITWISE = {"and": "&", "or": "|", "xor": "^"}
_LOGICAL = {
    **dict.fromkeys(("and", "mul", "min"), ("&&", AND)),
    **dict.fromkeys(("or", "add", "max"), ("||", OR)),
    "xor": ("!=", EQUAL),
}
_SHIFTS = ("shift_left", "shift_right_logical", "shift_right_arithmetic")
_WRAP = ("add", "sub", "mul", "neg", "square")
_INTEGER = ("div", "rem", "max", "min", "abs", "sign", "pow", "mulhi")
#: operations on indices whose literals are put together here, so that the rest have one type
_FOLDED: dict[str, Callable[..., int]] = {
    **{"add": operator.add, "sub": operator.sub, "mul": operator.mul, "neg": operator.neg},
    **{"max": max, "min": min, "and": operator.and_, "or": operator.or_, "xor": operator.xor},
}
_ROUNDING = ("floor", "ceil", "trunc", "round")
#: what ``kernel/math.py`` expands for this printer: CUDA's erfinv is less exact, and the random
#: numbers made with it are those of the CPU
EXPANDED = LOOPED | frozenset("bessel_i0e bessel_i1e digamma erf_inv erfcx gamma ndtri".split())

_FLOAT = {*FUNCTIONS, *_ARITHMETIC, *_COMPARE, *("neg", "max", "min", "clamp", "sign", "square"),
          *("reciprocal", "logistic", "is_finite", "is_nan")}  # fmt: skip
_WHOLE = {*_WRAP, *_INTEGER, *_BITWISE, *_SHIFTS, *_COMPARE, *_ROUNDING,
          *("not", "clamp", "population_count", "clz", "idiv", "irem")}  # fmt: skip
_BOOLEAN = {*_LOGICAL, *_COMPARE, "not", "clamp"}
_ANY = {"select", "convert", "bitcast", "any_lane"}
_COMPLEX = {*_ARITHMETIC, *("eq", "ne", "neg", "conj", "real", "imag", "abs", "square", "exp"),
            *("log", "sqrt", "reciprocal", "is_finite", "is_nan")}  # fmt: skip
#: operations by the kind of their first operand
SPELLED: dict[str, set[str]] = {
    "f": _FLOAT | {"complex"}, "i": _WHOLE, "u": _WHOLE, "b": _BOOLEAN, "c": _COMPLEX,
}  # fmt: skip
#: scalar operations that kernels may hold, on complex numbers and on others: see ``can_fuse``
KNOWN_COMPLEX = frozenset(_COMPLEX | {"select", "convert", "complex"})
KNOWN = frozenset(_FLOAT | _WHOLE | _BOOLEAN | _ANY | EXPANDED | {"check_index", "probe"})


def spelled(op: Op) -> bool:
    """Whether ``spell`` can write the operation itself."""
    return op.fn in _ANY or op.fn in SPELLED[_kind(op)] or _template(op) is not None


def _subject(op: Op) -> str:
    """The dtype that decides how an operation is written."""
    return op.args[1 if op.fn == "select" else 0].dtype


def _kind(op: Op) -> str:
    return letter(_subject(op))


def _template(op: Op) -> str | None:
    """What the record of an operation of users spells."""
    spell = PRIMS[op.fn].spell if op.fn in PRIMS else None
    return spell.get("c", _kind(op)) if spell is not None else None


def defined(expr: Expr) -> Expr:
    """``expr`` with operations that have no spelling replaced by their records' definitions.

    Raises MissingRule for one that has neither.
    """
    nodes = list(walk(expr))
    if all(spelled(node) for node in nodes if isinstance(node, Op)):
        return expr
    done: dict[Expr, Expr] = {}
    for node in nodes:
        own = rebuild(node, tuple(done[kid] for kid in children(node)))
        if isinstance(own, Op) and not spelled(own):
            record = PRIMS.get(own.fn)
            if record is None or record.scalar is None:
                raise MissingRule(
                    f"`{own.fn}` of {_subject(own)} has neither a spelling in CUDA C nor a scalar "
                    "definition"
                )
            own = defined(record.scalar(*own.args))
        done[node] = own
    return done[expr]


# ---- operations ----------------------------------------------------------------------------------


def spell(op: Op, args: Sequence[Text], narrow: bool) -> Text:
    """The text of an operation (``spelled`` says that there is one). ``narrow``: indices are
    ``int``.
    """
    fn, dtype, kind = op.fn, op.dtype, _kind(op)
    if fn == "any_lane":  # one lane at a time runs here
        return args[0]
    if fn == "convert":
        return _convert(op.args[0].dtype, dtype, args[0], narrow)
    if fn in _COMPARE:
        return infix(_COMPARE[fn], EQUAL if fn in ("eq", "ne") else LESS, *args)
    if fn == "select":
        index = all(a.index for a in args[1:])
        a, b = args[1:] if index and narrow else (typed(a, narrow) for a in args[1:])
        return choose(args[0], a, b, index)
    args = [typed(a, narrow) for a in args]
    if fn == "bitcast":
        return _bitcast(op.args[0].dtype, dtype, args[0])
    if fn not in SPELLED[kind]:
        form = _template(op)
        assert form is not None
        return Text("(" + form.format(*(a.at(CALL) for a in args)) + ")", ATOM)
    if fn == "clamp":
        low, x, high = args
        first = spell(Op("max", (op.args[1], op.args[0]), dtype), (x, low), narrow)
        return spell(Op("min", op.args[:2], dtype), (first, high), narrow)
    return {"f": _float, "i": _integral, "u": _integral, "b": _logical, "c": _complex}[kind](
        op, args
    )


def index_op(op: Op, args: Sequence[Text], nonneg: bool, narrow: bool) -> Text | None:
    """An operation on indices that gives an index; None where this is not known to be one.

    ``nonneg``: no operand is negative, so that divisions may be unsigned.
    """
    fn = op.fn
    numbers = [a.number for a in args]
    if fn in _FOLDED and None not in numbers:
        value = _FOLDED[fn](*numbers)
        return _integer(value, "i64") if abs(value) < 2**31 else None
    if fn == "add" and (last := numbers[1]) is not None and last < 0:
        return infix("-", ADD, args[0], Text(str(-last), ATOM), index=True)
    if fn in ("add", "sub", "mul"):
        return infix(*_ARITHMETIC[fn], *args, index=True)
    if fn in ("idiv", "irem"):
        sign, whole = ("/" if fn == "idiv" else "%"), "int" if narrow else "long long"
        if not nonneg:
            return infix(sign, MUL, *args, index=True)
        unsigned = "unsigned" if narrow else "unsigned long long"
        found = cast(whole, infix(sign, MUL, cast(unsigned, args[0]), args[1]))
        return Text(found.text, found.binds, True)
    if fn in ("max", "min"):
        found = call(f"tj_{fn}<{'int' if narrow else 'long long'}>", *args)
        return Text(found.text, found.binds, True)
    if fn in _BITWISE:
        return infix(_BITWISE[fn], BITS, *_apart(args), index=True)
    return minus(args[0], True) if fn == "neg" else None


def _apart(args: Sequence[Text]) -> list[Text]:
    """Operands of a bitwise operator: in parentheses where they have any other operator."""
    return [Text(a.at(UNARY), ATOM) for a in args]


def _float(op: Op, args: Sequence[Text]) -> Text:
    fn, dtype = op.fn, op.args[0].dtype
    if fn in _ARITHMETIC:
        return infix(*_ARITHMETIC[fn], *args)
    if fn in FUNCTIONS:
        return call(FUNCTIONS[fn] + ("f" if dtype == "f32" else ""), *args)
    if fn in ("max", "min", "sign", "logistic"):
        return call(f"tj_{fn}", *args)
    if fn == "neg":
        return minus(args[0])
    if fn == "square":
        return infix("*", MUL, args[0], args[0])
    if fn == "reciprocal":
        return infix("/", MUL, _real(1.0, dtype), args[0])
    if fn == "is_nan":
        return infix("!=", EQUAL, args[0], args[0])
    if fn == "is_finite":
        size = call("fabsf" if dtype == "f32" else "fabs", args[0])
        return infix("<", LESS, size, _real(math.inf, dtype))
    return Text(f"{CTYPE[op.dtype]}{{{args[0]}, {args[1]}}}", ATOM)  # complex


def _logical(op: Op, args: Sequence[Text]) -> Text:
    if op.fn == "not":
        return Text(f"!{args[0].at(UNARY)}", UNARY)
    sign, binds = _LOGICAL[op.fn]
    return infix(sign, binds, *_logical_operands(args, binds))


def _logical_operands(args: Sequence[Text], binds: int) -> list[Text]:
    """Operands of && and ||: the one inside the other stands in parentheses."""
    other = AND if binds == OR else OR
    return [Text(f"({a.text})", ATOM) if a.binds == other else a for a in args]


def _integral(op: Op, args: Sequence[Text]) -> Text:
    fn, dtype = op.fn, op.dtype
    small = SIZE[dtype] < 4
    if fn in _ROUNDING:
        return args[0]
    if fn in _WRAP:
        return _wrapped(op, args)
    if fn in _BITWISE:
        return infix(_BITWISE[fn], BITS, *_apart(args))
    if fn == "not":
        found = Text(f"~{args[0].at(UNARY)}", UNARY)
        return cast(CTYPE[dtype], found) if small else found
    if fn in ("idiv", "irem"):
        return infix("/" if fn == "idiv" else "%", MUL, *args)
    if fn in _SHIFTS:
        return _shift(op, args)
    unsigned = CTYPE["u" + dtype[1:]]
    if fn == "population_count":
        wide = "__popcll" if SIZE[dtype] == 8 else "__popc"
        found = call(wide, cast(unsigned, args[0]))
        return cast(CTYPE[dtype], found) if SIZE[dtype] > 4 or dtype == "u32" else found
    if fn == "clz":
        found = call("__clzll" if SIZE[dtype] == 8 else "__clz", cast(unsigned, args[0]))
        if small:
            return infix("-", ADD, found, Text(str(32 - 8 * SIZE[dtype]), ATOM))
        return found if dtype == "i32" else cast(CTYPE[dtype], found)
    if fn in ("abs", "sign") and dtype[0] == "u":
        positive = infix("!=", EQUAL, args[0], _integer(0, dtype))
        return args[0] if fn == "abs" else cast(CTYPE[dtype], positive)
    if fn in ("div", "rem") and isinstance(op.args[1], Const) and op.args[1].value not in (0, -1):
        return infix("/" if fn == "div" else "%", MUL, *args)
    return call(f"tj_{fn}<{CTYPE[dtype]}>" if small else f"tj_{fn}", *args)


def _wrapped(op: Op, args: Sequence[Text]) -> Text:
    """Sums and products modulo 2**n: in unsigned arithmetic, cast once at the end."""
    dtype, fn = op.dtype, op.fn
    end, unsigned = ("ull", "unsigned long long") if SIZE[dtype] == 8 else ("u", "unsigned")
    if fn == "square":
        args, fn = (args[0], args[0]), "mul"
    if fn == "neg":
        fn, first, last = "sub", Text(f"0{end}", ATOM), args[0]
    else:
        first, last = args
        native = dtype in ("u32", "u64")
        first = first.low or (first if native else cast(unsigned, first))
    low = infix(*_ARITHMETIC[fn], first, last.low or last)
    if dtype in ("u32", "u64"):
        return low
    found = cast(CTYPE[dtype], low)
    return Text(found.text, found.binds, False, low)


def _shift(op: Op, args: Sequence[Text]) -> Text:
    """Shifts by the width or more, read as unsigned, give 0, arithmetic ones the sign."""
    fn, dtype, by = op.fn, op.dtype, op.args[1]
    x, n = args
    unsigned, signed = CTYPE["u" + dtype[1:]], CTYPE["i" + dtype[1:]]
    wanted = signed if fn == "shift_right_arithmetic" else unsigned
    subject = x if wanted == CTYPE[dtype] else cast(wanted, x)
    if isinstance(by, Const):
        count, bits = int(by.value) % 2**64, 8 * SIZE[dtype]  # type: ignore[arg-type]
        if count >= bits and fn != "shift_right_arithmetic":
            return constant(Const(0, dtype))
        sign = "<<" if fn == "shift_left" else ">>"
        amount = Text(str(min(count, bits - 1)), ATOM)
        found = infix(sign, SHIFT, *_apart((subject, amount)))
        same = wanted == CTYPE[dtype] and (SIZE[dtype] >= 4 or fn != "shift_left")
        return found if same else cast(CTYPE[dtype], found)
    n = n if dtype[0] == "u" else cast(unsigned, n)
    name = {"shift_left": "tj_shl", "shift_right_logical": "tj_shr"}.get(fn, "tj_sar")
    types = f"<{wanted}, {unsigned}>" if name == "tj_sar" else f"<{unsigned}>"
    found = call(f"{name}{types if SIZE[dtype] < 4 else ''}", subject, n)
    return found if wanted == CTYPE[dtype] else cast(CTYPE[dtype], found)


def _convert(source: str, target: str, x: Text, narrow: bool) -> Text:
    """``x``, of dtype ``source``, as ``target``."""
    kind, into = letter(source), letter(target)
    if source == target:
        return x
    if into == "b":
        if source in HALF:
            return infix("!=", EQUAL, Text(f"({x.at(BITS)} & 0x7fff)", ATOM), Text("0", ATOM))
        if kind == "c":
            return infix("!=", EQUAL, x, constant(Const(0.0, source)))
        return infix("!=", EQUAL, x, constant(zero(source)))
    if kind == "c":
        if into == "c":
            return cast(CTYPE[target], x)
        x, source, kind = Text(f"{x.at(CALL)}.re", CALL), "f32" if source == "c64" else "f64", "f"
        return _convert(source, target, x, narrow)
    if source in HALF:
        return _convert("f32", target, call(f"tj_from_{source}", x), narrow)
    if into == "c":
        part = "f32" if target == "c64" else "f64"
        return Text(f"{CTYPE[target]}{{{_convert(source, part, x, narrow)}, 0}}", ATOM)
    if target in HALF:
        if source != "f32" and (source, target) != ("f64", "f16"):
            x = cast("float", x)
        return call(f"tj_to_{target}", x)
    if kind == "f" and into in "iu":
        return call(f"tj_int<{CTYPE[target]}>", x)
    if target == "i64" and kind in "biu" and source not in ("u64",):
        return cast("long long", x)
    return cast(CTYPE[target], x)


def _bitcast(source: str, target: str, x: Text) -> Text:
    """The bits of ``x``, of dtype ``source``, as ``target``."""
    ctype = CTYPE[target]
    if CTYPE[source] == ctype:
        return x
    whole = "biu"
    if (letter(source) in whole or source in HALF) and (letter(target) in whole or target in HALF):
        if target == "bool":
            return infix("!=", EQUAL, x, Text("0", ATOM))
        return cast(ctype, x)
    return call(f"tj_bits<{ctype}>", x)


def _complex(op: Op, args: Sequence[Text]) -> Text:
    fn = op.fn
    if fn in _ARITHMETIC:
        return infix(*_ARITHMETIC[fn], *args)
    if fn == "neg":
        return minus(args[0])
    if fn in ("real", "imag"):
        return Text(f"{args[0].at(CALL)}.{fn[:2]}", CALL)
    if fn == "square":
        return infix("*", MUL, args[0], args[0])
    if fn == "reciprocal":
        return infix("/", MUL, constant(Const(1.0, op.dtype)), args[0])
    if fn == "is_nan":
        return infix("!=", EQUAL, args[0], args[0])
    return call("tj_finite" if fn == "is_finite" else f"tj_{fn}", *args)
