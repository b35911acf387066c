"""How scalar operations and constants are written in Numba's Python, so that dtypes stay what they
are.

In: an operation, the texts of its arguments. Out: an expression whose Numba type is the operation's
dtype.

    >>> from tracejit.ir.expr import Var
    >>> total = Op("add", (Var("x", "i32"), Var("y", "i32")), "i32")
    >>> spell(total, (whole("x", 32), whole("y", 32)), {}).typed
    'np.int32(x + y)'

Numba computes integers in 64 bits: ``typed`` is cast back, ``bare`` is not yet (operations that
only look at the low bits take it, so ``a + b + c`` is cast once). Overflow of its signed 64-bit
sums and products is undefined, so those are taken modulo 2**64 unless they are sums of loop
variables and sizes. A Python float would widen float32 to float64, so every constant of another
dtype than i64 and f64 is a module constant (``F32_0_5 = np.float32(0.5)``). f16 and bf16 values are
float32 numbers that the narrow type holds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tracejit.codegen.numba_helpers import HELPERS
from tracejit.errors import MissingRule
from tracejit.ir.expr import Const, Expr, Op
from tracejit.ir.types import DTYPES
from tracejit.ops import PRIMS
from tracejit.record import dataclass

NARROW = ("f16", "bf16")

#: dtype -> the NumPy scalar type its values have inside kernels
SCALAR = {name: f"np.{'bool_' if name == 'bool' else dtype.name}" for name, dtype in DTYPES.items()}
SCALAR |= dict.fromkeys(NARROW, "np.float32")

_BITS = {name: dtype.itemsize * 8 for name, dtype in DTYPES.items()}
_WIDE = ("i64", "u64")

#: operations of which the low bits depend on nothing but the low bits of the arguments
_MODULAR = frozenset("add sub mul neg and or xor not".split())
_OVERFLOW = frozenset("add sub mul".split())
_INDEX = frozenset("add sub mul idiv irem min max".split())
#: operations whose result is one of their arguments, or exact: nothing to cast or to round
_KEEPS = frozenset(
    (
        "max min select clamp abs neg floor ceil round trunc sign copysign nextafter real imag conj"
    ).split()
)


def letter(dtype: str) -> str:
    """The kind of a short dtype name: one of ``b i u f c``."""
    return "f" if dtype == "bf16" else dtype[0]


@dataclass(frozen=True)
class Text:
    """An expression: ``bare`` is right in its low bits, ``typed`` has the dtype; the same unless
    integers widen.
    """

    bare: str
    typed: str
    #: the bits that the number ``bare`` takes at most
    bits: int = 64
    #: made of loop variables, sizes and small constants only: never overflows
    index: bool = False


class Constant(NamedTuple):
    """A module constant: ``F32_0_5``, ``np.float32(0.5)``."""

    name: str
    definition: str


# ---- templates -----------------------------------------------------------------------------------
# {0} {1} {2} arguments, {T} the scalar type of the result, {U} {S} the unsigned and signed type of
# the first argument's width, {w} its bits, {zero} {one} {two} constants of the first argument's
# dtype; an empty one leaves the operation to the record's ``scalar``. These come first: integers
# wrap, booleans stay booleans and nan is kept only with care.

_EXACT: dict[str, dict[str, str]] = {
    "add": {"iufc": "({0} + {1})", "b": "({0} or {1})"},
    "sub": {"iufc": "({0} - {1})"},
    "mul": {"iufc": "({0} * {1})", "b": "({0} and {1})"},
    "neg": {"ifc": "(-{0})", "u": "({zero} - {0})"},
    "div": {
        "f": "({0} / {1})",
        "i": "int_div({0}, {1})",
        "u": "uint_div({0}, {1})",
        "c": "complex_div({0}, {1})",
    },
    "rem": {"f": "np.fmod({0}, {1})", "i": "int_rem({0}, {1})", "u": "uint_rem({0}, {1})"},
    "idiv": {"i": "({0} // {1})"},
    "irem": {"i": "({0} % {1})"},
    "check_index": {"i": "check_index({0}, {1}, flag)"},
    "abs": {"i": "{T}(abs({0}))", "bu": "{0}", "fc": "abs({0})"},
    # np.sign keeps -0.0 in Numba, where it is 0 in NumPy
    "sign": {
        "f": "(np.sign({0}) + {zero})",
        "i": "np.sign({0})",
        "u": "{T}({0} != 0)",
        "c": "complex_sign({0})",
    },
    "max": {"b": "({0} or {1})", "iu": "max({0}, {1})", "f": "maximum({0}, {1})"},
    "min": {"b": "({0} and {1})", "iu": "min({0}, {1})", "f": "minimum({0}, {1})"},
    "clamp": {
        "b": "(({1} or {0}) and {2})",
        "iu": "min(max({1}, {0}), {2})",
        "f": "minimum(maximum({1}, {0}), {2})",
    },
    "select": {"biufc": "({1} if {0} else {2})"},
    "and": {"b": "({0} and {1})", "iu": "({0} & {1})"},
    "or": {"b": "({0} or {1})", "iu": "({0} | {1})"},
    "xor": {"b": "({0} != {1})", "iu": "({0} ^ {1})"},
    "not": {"b": "(not {0})", "iu": "(~{0})"},
    "eq": {"biufc": "({0} == {1})"},
    "ne": {"biufc": "({0} != {1})"},
    "lt": {"biuf": "({0} < {1})"},
    "le": {"biuf": "({0} <= {1})"},
    "gt": {"biuf": "({0} > {1})"},
    "ge": {"biuf": "({0} >= {1})"},
    "shift_left": {"iu": "shift_left({0}, {1})"},
    "shift_right_logical": {
        "i": "{T}(shift_right({U}({0}), {U}({1})))",
        "u": "shift_right({0}, {1})",
    },
    "shift_right_arithmetic": {
        "i": "shift_right({0}, {1})",
        "u": "{T}(shift_right({S}({0}), {S}({1})))",
    },
    "population_count": {"iu": "{T}(count_ones(np.uint64({U}({0}))))"},
    "clz": {"iu": "{T}(count_leading_zeros(np.uint64({U}({0})), {w}))"},
    "real": {"c": "{0}.real", "iuf": "{0}"},
    "imag": {"c": "{0}.imag"},
    "conj": {"c": "np.conj({0})", "iuf": "{0}"},
    "complex": {"f": "complex({0}, {1})"},
    "square": {"iu": "", "fc": "square({0})"},
    "fma": {"f": "fma({0}, {1}, {2})"},
    "reciprocal": {"f": "({one} / {0})", "c": "complex_div({one}, {0})"},
    "rsqrt": {"f": "({one} / math.sqrt({0}))", "c": "complex_div({one}, np.sqrt({0}))"},
    "logistic": {
        "f": "({one} / ({one} + math.exp(-{0})))",
        "c": "complex_div({one}, {one} + np.exp(-{0}))",
    },
    "pow": {"fc": "({0} ** {1})", "iu": "{T}(int_pow({0}, {1}))"},
    # Numba's np.exp2 and np.log2 cannot be used for float32 and float64 in one function
    "exp2": {"f": "({two} ** {0})", "c": "({two} ** {0})"},
    "log2": {"f": "math.log2({0})"},
    "lgamma": {"f": "log_gamma({0})"},
    "floor": {"f": "np.floor({0})", "iu": "{0}"},
    "ceil": {"f": "np.ceil({0})", "iu": "{0}"},
    "trunc": {"f": "np.trunc({0})", "iu": "{0}"},
    "round": {"f": "np.rint({0})", "iu": "{0}"},
}

#: float functions of the ``math`` module that Numba keeps in float32; complex ones are NumPy's of
#: the second name
_MATH = {
    "exp": "exp", "expm1": "", "log": "log", "log10": "log10", "log1p": "", "sin": "sin",
    "cos": "cos", "tan": "tan", "asin": "arcsin", "acos": "arccos", "atan": "arctan",
    "sinh": "sinh", "cosh": "cosh", "tanh": "tanh", "asinh": "arcsinh", "acosh": "arccosh",
    "atanh": "arctanh", "sqrt": "sqrt", "erf": "", "erfc": "",
}  # fmt: skip

#: taken where the record spells nothing
_USUAL: dict[str, dict[str, str]] = {
    **{
        name: {"f": f"math.{name}({{0}})"} | ({"c": f"np.{np_}({{0}})"} if np_ else {})
        for name, np_ in _MATH.items()
    },
    "exp2": {"f": "np.exp2({0})"},
    "cbrt": {"f": "np.cbrt({0})"},
    "atan2": {"f": "math.atan2({0}, {1})"},
    "copysign": {"f": "math.copysign({0}, {1})"},
    "nextafter": {"f": "np.nextafter({0}, {1})"},
    "is_finite": {"f": "math.isfinite({0})", "c": "np.isfinite({0})"},
    "is_nan": {"f": "math.isnan({0})", "c": "np.isnan({0})"},
}

_CODED = frozenset(("convert", "bitcast", "any_lane"))


def _pick(table: dict[str, dict[str, str]], fn: str, kind: str) -> str | None:
    return next((text for kinds, text in table.get(fn, {}).items() if kind in kinds), None)


def template(fn: str, dtype: str) -> str | None:
    """The template of ``fn`` for a first argument of ``dtype``; None when there is none."""
    kind = letter(dtype)
    found = _pick(_EXACT, fn, kind)
    if found is None and fn in PRIMS and PRIMS[fn].spell is not None:
        found = PRIMS[fn].spell.get("numba", kind)
    return found if found is not None else _pick(_USUAL, fn, kind)


def spelled(op: Op) -> bool:
    """Whether ``spell`` can write the operation itself; its record's ``scalar`` definition stands
    for it otherwise.
    """
    return op.fn in _CODED or bool(template(op.fn, _subject(op)))


def lacking(op: Op) -> bool:
    """Whether an operation has neither a spelling nor a definition: ``kernel/math.py`` may expand
    it.
    """
    return not spelled(op) and (op.fn not in PRIMS or PRIMS[op.fn].scalar is None)


def _subject(op: Op) -> str:
    """The dtype that decides how an operation is written."""
    first = op.args[1] if op.fn == "select" else op.args[0]
    return first.dtype


def define(op: Op) -> Expr:
    """The operation by its record's ``scalar`` definition; MissingRule where it has none."""
    if lacking(op):
        raise MissingRule(
            f"`{op.fn}` of {_subject(op)} has neither a Numba spelling nor a scalar definition"
        )
    return PRIMS[op.fn].rule("scalar")(*op.args)  # type: ignore[no-any-return]


# ---- constants -----------------------------------------------------------------------------------


def constant(const: Const, module: dict[str, str]) -> str:
    """The text of a constant; if that is a name, ``module`` gets its definition."""
    value, dtype = const.value, const.dtype
    if dtype == "bool":
        return "True" if value else "False"
    if dtype in ("f64", "i64") and not isinstance(value, complex):
        number = _number(float(value) if dtype == "f64" else int(value))
        return f"({number})" if number.startswith("-") else number
    named = _named(value, dtype)
    module[named.name] = named.definition
    return named.name


def _number(value: int | float) -> str:
    """Python source of a number."""
    if isinstance(value, float) and not math.isfinite(value):
        return "np.nan" if math.isnan(value) else ("np.inf" if value > 0 else "-np.inf")
    if value == -(2**63) and isinstance(value, int):
        return "np.int64(-9223372036854775808)"
    return repr(value)


def _named(value: bool | int | float | complex, dtype: str) -> Constant:
    """The module constant of a value."""
    if letter(dtype) in "iu":
        text = definition = repr(int(value))  # type: ignore[arg-type]
    elif letter(dtype) == "c":
        number = complex(value)
        text = f"{number.real!r}_{number.imag!r}j"
        definition = f"complex({_number(number.real)}, {_number(number.imag)})"
    else:
        text, definition = _shortest(float(value), dtype)  # type: ignore[arg-type]
    digits = text.removesuffix(".0").replace("+", "").replace("-", "NEG_").replace(".", "_").upper()
    name = dtype.upper() if dtype not in NARROW else "F32"
    return Constant(f"{name}_{digits}", f"{SCALAR[dtype]}({definition})")


def _shortest(value: float, dtype: str) -> tuple[str, str]:
    """A short text that float32 reads back to the value rounded to ``dtype``, and its Python
    source.
    """
    with np.errstate(over="ignore"):
        rounded = np.float32(np.asarray(value, DTYPES[dtype]))
    text = str(rounded)
    if math.isfinite(rounded) and np.float32(float(text)) != rounded:
        text = repr(float(rounded))
    return text, text if math.isfinite(rounded) else _number(float(rounded))


# ---- operations ----------------------------------------------------------------------------------


def spell(op: Op, args: Sequence[Text], module: dict[str, str]) -> Text:
    """The text of an operation (``spelled`` says that there is one); constants it needs go into
    ``module``.
    """
    if op.fn == "any_lane":  # one lane at a time runs here
        return args[0]
    texts = [arg.typed for arg in args]
    if op.fn == "convert":
        return whole(_convert(op.args[0].dtype, op.dtype, texts[0], module))
    if op.fn == "bitcast":
        return whole(_bitcast(op.args[0].dtype, op.dtype, texts[0]))
    kind = letter(op.dtype)
    if op.fn.startswith("shift_") and isinstance(op.args[1], Const):
        return _shift(op, args, int(op.args[1].value), module)  # type: ignore[arg-type]
    if kind in "iu" and op.fn in _MODULAR:
        return _modular(op, args, module)
    if op.dtype in NARROW and op.fn == "nextafter":
        return whole(f"{op.dtype}_nextafter({', '.join(texts)})")
    form = template(op.fn, _subject(op)) or ""
    index = op.fn in _INDEX and all(arg.index for arg in args)
    return whole(_settle(op, form, _fill(op, form, texts, module)), _BITS[op.dtype], index)


def whole(text: str, bits: int = 64, index: bool = False) -> Text:
    """A text that has the dtype as it stands."""
    return Text(text, text, bits, index)


def _modular(op: Op, args: Sequence[Text], module: dict[str, str]) -> Text:
    """An integer operation that only looks at the low bits."""
    form = template(op.fn, op.dtype) or ""
    index = op.fn in _INDEX and all(arg.index for arg in args)
    if op.dtype == "i64":
        if op.fn in _OVERFLOW and not index:
            form = f"wrap_{op.fn}({{0}}, {{1}})"
        return whole(_fill(op, form, [arg.typed for arg in args], module), 64, index)
    sizes = [arg.bits for arg in args]
    bits = sum(sizes) if op.fn == "mul" else max(sizes) + 1
    # past 63 bits a signed sum or product would overflow: its arguments are cast first
    fits = op.dtype[0] == "u" or op.fn not in _OVERFLOW or bits < 64
    texts = [arg.bare if fits else arg.typed for arg in args]
    if not fits:
        bits = _BITS[op.dtype] * 2
    bare = _fill(op, form, texts, module)
    return Text(bare, bare if op.dtype in _WIDE else _cast(op.dtype, bare), min(bits, 64))


def _settle(op: Op, form: str, text: str) -> str:
    """The result of a template brought to the operation's dtype."""
    kind, own = letter(op.dtype), form in _EXACT.get(op.fn, {}).values()
    if op.fn in _KEEPS and own or kind == "b":
        return text
    if op.dtype in NARROW:
        return text if op.fn in _KEEPS else f"{op.dtype}_round({strip(text)})"
    if kind in "iu":
        return (
            text
            if form.startswith("{T}(") or (own and op.dtype in _WIDE)
            else _cast(op.dtype, text)
        )
    # a number in a record's template is a Python float or int, which widens
    wide = not own and re.search(r"(?<![\w{.])\d", form) is not None
    return _cast(op.dtype, text) if wide and op.dtype in ("f32", "c64") else text


def _fill(op: Op, form: str, texts: Sequence[str], module: dict[str, str]) -> str:
    """A template with its arguments and the words in braces put in."""
    subject = _subject(op)
    bits = _BITS[subject]
    words = {"T": SCALAR[op.dtype], "U": f"np.uint{bits}", "S": f"np.int{bits}", "w": str(bits)}
    for value, word in enumerate(("zero", "one", "two")):
        if f"{{{word}}}" in form:
            number = value if letter(subject) in "iu" else float(value)
            words[word] = constant(Const(number, subject), module)
    # an argument that is all of a call's argument needs no parentheses of its own
    call = re.fullmatch(r"[\w.]+\((\{\d\}(, )?)+\)", form)
    return form.format(*(map(strip, texts) if call else texts), **words)


def _cast(dtype: str, text: str) -> str:
    return f"{SCALAR[dtype]}({strip(text)})"


def _shift(op: Op, args: Sequence[Text], count: int, module: dict[str, str]) -> Text:
    """A shift by a constant number of bits."""
    bits, kind = _BITS[op.dtype], letter(op.dtype)
    inside = 0 <= count < bits
    if op.fn == "shift_left":
        if not inside:
            return whole(constant(Const(0, op.dtype), module))
        bare = f"({args[0].bare} << {count})"
        typed = bare if op.dtype in _WIDE else _cast(op.dtype, bare)
        return Text(bare, typed, min(args[0].bits + count, 64))
    signed = op.fn == "shift_right_arithmetic"
    if not inside and not signed:
        return whole(constant(Const(0, op.dtype), module))
    subject = args[0].typed
    if signed != (kind == "i"):
        subject = f"np.{'int' if signed else 'uint'}{bits}({strip(subject)})"
    text = f"({subject} >> {count if inside else bits - 1})"
    same = op.dtype in _WIDE and signed == (kind == "i")
    return Text(text, text if same else _cast(op.dtype, text), bits)


def _convert(source: str, target: str, text: str, module: dict[str, str]) -> str:
    """``text``, of dtype ``source``, as ``target``."""
    if source == target:
        return text
    kind, into = letter(source), letter(target)
    if into == "b":
        zero = constant(Const(0 if kind in "iu" else 0.0, source), module)
        return f"({text} != {zero})"
    if kind == "c" and into != "c":
        text, source, kind = f"{text}.real", "f32" if source == "c64" else "f64", "f"
    if kind == "f" and into in "iu":
        return f"to_{DTYPES[target].name}({strip(text)})"
    if target == "f16" and source == "f64":
        return f"f16_round_wide({strip(text)})"
    if target in NARROW:
        narrow = text if source in ("f32", *NARROW) else _cast("f32", text)
        return f"{target}_round({strip(narrow)})"
    if source in NARROW and target == "f32" or source == target:
        return text
    if into == "c" and kind in "biu":
        text = _cast("f64", text)
    return _cast(target, text)


def _bitcast(source: str, target: str, text: str) -> str:
    """The bits of ``text``, of dtype ``source``, as ``target``."""
    if letter(source) in "iu" and letter(target) in "iu":
        return text if source == target else _cast(target, text)
    if source in NARROW:
        bits = f"{source}_encode({strip(text)})"
        return _bitcast("u16", target, bits) if target != "u16" else bits
    if target in NARROW:
        return f"{target}_decode({strip(text if source == 'u16' else _cast('u16', text))})"
    return text if source == target else f"{_cast(source, text)}.view({SCALAR[target]})"


def strip(text: str) -> str:
    """``text`` without parentheses around all of it."""
    if not (text.startswith("(") and text.endswith(")")):
        return text
    depth = 0
    for place, char in enumerate(text):
        depth += (char == "(") - (char == ")")
        if depth == 0 and place < len(text) - 1:
            return text
    return text[1:-1]


#: names that generated modules use for themselves
TAKEN = frozenset(("np", "math", "numba", "intrinsic", "flag", *HELPERS))
