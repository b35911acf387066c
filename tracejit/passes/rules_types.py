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


def _conversion_cases() -> tuple[Case, ...]:
    """Every chain of three dtypes to which the rule applies."""
    found = []
    for first in DTYPES:
        for middle in DTYPES:
            for last in DTYPES:
                probe = full_like_type(first)
                if middle not in (first, last) and converts_directly(
                    probe, DTYPES[middle], DTYPES[last]
                ):
                    found.append(chain(first, middle, last))
    return tuple(found)


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
    ),
)
