"""Rules for conversions, complex numbers, rounding, and identities that only transforms need.

convert(convert(x: f32, f64), f32)  ->  x
real(complex(x, y))                 ->  x
floor(ceil(x))                      ->  ceil(x)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tracejit.ir.build import full_like
from tracejit.ir.types import DTYPES, kind, real_dtype, short
from tracejit.ops.arith import abs_, ceil, floor, neg, round_, trunc
from tracejit.ops.parts import bitcast, complex_, conj, convert, imag, real, stop_gradient
from tracejit.passes.rule import Case, Hole, P, Rule, case

x, y, p, q = Hole("x"), Hole("y"), Hole("p"), Hole("q")

#: floating and complex dtypes -> bits of a whole number they hold exactly
_MANTISSA = {"f16": 11, "bf16": 8, "f32": 24, "f64": 53, "c64": 24, "c128": 53}
#: pairs of inexact dtypes such that the second holds every value of the first
_WIDER = {
    "f16": ("f32", "f64", "c64", "c128"),
    "bf16": ("f32", "f64", "c64", "c128"),
    "f32": ("f64", "c64", "c128"),
    "f64": ("c128",),
    "c64": ("c128",),
}


def holds_all(dtype: np.dtype, wider: np.dtype) -> bool:
    """Whether every value of ``dtype`` converts to ``wider`` without loss."""
    a, b = kind(dtype), kind(wider)
    if dtype == wider or a == "b":
        return b != "b" or a == b
    if a in "fc":
        return short(wider) in _WIDER.get(short(dtype), ())
    if b in "iu":
        return (a == b or a == "u") and wider.itemsize > dtype.itemsize
    bits = 8 * dtype.itemsize - (a == "i")
    return b in "fc" and bits <= _MANTISSA[short(wider)]


def converts_directly(x: Any, p: np.dtype, q: np.dtype) -> bool:
    """Whether converting x to q through p is the same as converting x to q."""
    first, narrow = x.type.dtype, 8 * q.itemsize
    if kind(first) in "iu" and kind(p) in "iu" and kind(q) in "iu":
        # integers wrap: only the lowest bits count, which p keeps or extends by the sign
        return narrow <= 8 * p.itemsize or holds_all(first, p)
    if not holds_all(first, p):
        return False
    if kind(first) in "iu" and kind(p) in "fc" and kind(q) in "iu":
        return holds_all(first, q)  # an integer wraps where a float saturates
    # NumPy rounds twice on the way from wide integers to 16-bit floats
    return not (kind(first) in "iu" and kind(q) == "f" and q.itemsize == 2)


def chain(*names: str) -> Case:
    """x of the first dtype, converted to the others in turn."""

    def build(x: Any) -> Any:
        for name in names[1:]:
            x = convert(x, dtype=DTYPES[name])
        return x

    return case(f"{names[0]}[3,37]", build)


def recast(*names: str) -> Case:
    """x of the first dtype, its bits read as the others in turn."""

    def build(x: Any) -> Any:
        for name in names[1:]:
            x = bitcast(x, dtype=DTYPES[name])
        return x

    return case(f"{names[0]}[3,37]", build)


CONVERSIONS = (
    Rule(
        "convert_same",
        find=P(convert, x, dtype=p),
        put=x,
        when=lambda x, p: x.type.dtype == p,
        cases=tuple(chain(name, name) for name in DTYPES),
    ),
    Rule(
        "convert_convert",
        find=P(convert, P(convert, x, dtype=p), dtype=q),
        put=P(convert, x, dtype=q),
        when=converts_directly,
        cases=(
            chain("f32", "f64", "f32"),
            chain("f16", "f32", "bf16"),
            chain("bf16", "f32", "f16"),
            chain("bf16", "f64", "i8"),
            chain("f32", "f64", "bool"),
            chain("f32", "c64", "i32"),
            chain("f32", "c128", "c64"),
            chain("c64", "c128", "f16"),
            chain("bool", "f32", "bool"),
            chain("bool", "i8", "f64"),
            chain("bool", "u64", "bf16"),
            chain("i8", "f32", "i16"),
            chain("i32", "f64", "f32"),
            chain("u16", "f32", "c64"),
            chain("i32", "i64", "f32"),
            chain("i32", "i8", "u8"),
            chain("i64", "u32", "i16"),
            chain("i8", "i32", "u16"),
            chain("u8", "i64", "bool"),
            chain("u32", "i64", "u64"),
            chain("i16", "u16", "i8"),
        ),
    ),
    Rule(
        "bitcast_same",
        find=P(bitcast, x, dtype=p),
        put=x,
        when=lambda x, p: x.type.dtype == p,
        cases=(recast("f32", "f32"), recast("i64", "i64")),
    ),
    Rule(
        "bitcast_bitcast",
        find=P(bitcast, P(bitcast, x, dtype=p), dtype=q),
        put=P(bitcast, x, dtype=q),
        cases=(recast("f32", "u32", "i32"), recast("u16", "i16", "bf16")),
    ),
)

COMPLEX = (
    Rule("real_complex", find=P(real, P(complex_, x, y)), put=x),
    Rule("imag_complex", find=P(imag, P(complex_, x, y)), put=y),
    Rule("complex_parts", find=P(complex_, P(real, x), P(imag, x)), put=x),
    Rule("conj_conj", find=P(conj, P(conj, x)), put=x),
    Rule("real_conj", find=P(real, P(conj, x)), put=P(real, x)),
    Rule("imag_conj", find=P(imag, P(conj, x)), put=P(neg, P(imag, x))),
    Rule("conj_complex", find=P(conj, P(complex_, x, y)), put=P(complex_, x, P(neg, y))),
    Rule("abs_conj", find=P(abs_, P(conj, x)), put=P(abs_, x)),
    Rule(
        "real_convert",
        find=P(real, P(convert, Hole("x", "biuf"), dtype=p)),
        put=lambda x, p: convert(x, dtype=real_dtype(p)),
        cases=(
            case("f32[3,37]", lambda x: real(convert(x, dtype=DTYPES["c64"]))),
            case("i32[3,37]", lambda x: real(convert(x, dtype=DTYPES["c128"]))),
            case("bool[3,37]", lambda x: real(convert(x, dtype=DTYPES["c64"]))),
        ),
    ),
    Rule(
        "imag_convert",
        find=P(imag, P(convert, Hole("x", "biuf"), dtype=p)),
        put=lambda x, p: full_like(x, 0, real_dtype(p)),
        cases=(case("f32[3,37]", lambda x: imag(convert(x, dtype=DTYPES["c64"]))),),
    ),
)

_ROUNDINGS = (floor, ceil, round_, trunc)

ROUNDING = tuple(
    Rule(f"{outer.name}_{inner.name}", find=P(outer, P(inner, x)), put=P(inner, x))
    for outer in _ROUNDINGS
    for inner in _ROUNDINGS
)

#: passes run when all transforms are done
IDENTITIES = (Rule("stop_gradient", find=P(stop_gradient, x), put=x),)

RULES = (*IDENTITIES, *CONVERSIONS, *COMPLEX, *ROUNDING)
