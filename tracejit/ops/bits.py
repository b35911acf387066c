"""Shifts, counts of bits, high halves of products, rounding to fewer bits. Logic: logic.py.

shift_left(x: u32[3], n: u32[3])  -> u32[3]     0 where n >= 32
population_count(x)               -> ones among the bits, in the dtype of x
clz(x)                            -> zeros above the highest one
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tracejit.errors import ArgumentError, DTypeError
from tracejit.ir.expr import Const, Op
from tracejit.ir.prim import Spell
from tracejit.ir.types import DTYPES, TensorType, kind, short
from tracejit.ops import arith
from tracejit.ops.family import elementwise
from tracejit.ops.logic import and_, gt, le, or_, select


def unsigned(x: Any) -> Any:
    """The same bits as an unsigned integer of the same width."""
    return np.asarray(x).astype(np.dtype(f"u{x.dtype.itemsize}"), copy=False)


def _amount(x: Any, n: Any) -> tuple[Any, Any]:
    """Where n, read as unsigned, is less than the width; and n with 0 elsewhere."""
    n = unsigned(n)
    fits = n < 8 * x.dtype.itemsize
    return fits, np.where(fits, n, np.zeros_like(n))


def _numpy_left(x: Any, n: Any) -> Any:
    fits, amount = _amount(x, n)
    return np.where(fits, np.left_shift(unsigned(x), amount), np.zeros_like(amount))


def _numpy_logical(x: Any, n: Any) -> Any:
    fits, amount = _amount(x, n)
    return np.where(fits, np.right_shift(unsigned(x), amount), np.zeros_like(amount))


def _numpy_arithmetic(x: Any, n: Any) -> Any:
    width = 8 * x.dtype.itemsize
    signed = np.asarray(x).astype(np.dtype(f"i{x.dtype.itemsize}"), copy=False)
    fits, amount = _amount(x, n)
    return np.right_shift(signed, np.where(fits, amount, width - 1).astype(signed.dtype))


SHIFTS = ((-300.0, 300.0), (-2.0, 40.0))

shift_left = elementwise(
    "shift_left",
    _numpy_left,
    arity=2,
    kinds="iu",
    spell=Spell(c={"u": "({1} < 8 * sizeof({0}) ? {0} << {1} : 0)"}),
    domain=SHIFTS,
    doc="x * 2**n, wrapping; 0 where n, read as unsigned, is not below the width.",
)

shift_right_logical = elementwise(
    "shift_right_logical",
    _numpy_logical,
    arity=2,
    kinds="iu",
    spell=Spell(c={"u": "({1} < 8 * sizeof({0}) ? {0} >> {1} : 0)"}),
    domain=SHIFTS,
    doc="The bits of x moved down, zeros from above; 0 where n is not below the width.",
)

shift_right_arithmetic = elementwise(
    "shift_right_arithmetic",
    _numpy_arithmetic,
    arity=2,
    kinds="iu",
    domain=SHIFTS,
    doc="The bits of x moved down, copies of the top bit from above; all copies from the width on.",
)

population_count = elementwise(
    "population_count",
    lambda x: np.bitwise_count(unsigned(x)),
    kinds="iu",
    spell=Spell(c={"u": "__popcll({0})"}),
    domain=(-300.0, 300.0),
    doc="How many bits are one.",
)


def _numpy_clz(x: Any) -> Any:
    x = unsigned(x)
    width = 8 * x.dtype.itemsize
    zeros = np.full(np.shape(x), width, x.dtype)
    step = width // 2
    while step:
        high = np.right_shift(x, x.dtype.type(step))
        zeros = np.where(high != 0, zeros - x.dtype.type(step), zeros)
        x = np.where(high != 0, high, x)
        step //= 2
    return zeros - x


clz = elementwise(
    "clz",
    _numpy_clz,
    kinds="iu",
    domain=(-300.0, 300.0),
    doc="How many zero bits stand above the highest one; the width for 0.",
)


# ---- high halves of products ---------------------------------------------------------------------


def _numpy_mulhi(x: Any, y: Any) -> Any:
    width = 8 * x.dtype.itemsize
    if width < 64:
        wide = np.dtype(f"{x.dtype.kind}8")
        return np.right_shift(x.astype(wide) * y.astype(wide), wide.type(width))
    half, low = np.uint64(32), np.uint64(0xFFFFFFFF)
    a, b = unsigned(x), unsigned(y)
    middle = (a >> half) * (b & low) + (((a & low) * (b & low)) >> half)
    other = (a & low) * (b >> half) + (middle & low)
    high = (a >> half) * (b >> half) + (middle >> half) + (other >> half)
    if x.dtype.kind == "i":
        # a negative factor was read as 2**64 too much
        high = high - np.where(x < 0, b, np.zeros_like(b)) - np.where(y < 0, a, np.zeros_like(a))
    return high


mulhi = elementwise(
    "mulhi",
    _numpy_mulhi,
    arity=2,
    kinds="iu",
    domain=(-(2.0**31), 2.0**32 - 1),
    doc="The high half of the double-width product x * y.",
)

# ---- rounding to fewer bits ----------------------------------------------------------------------

#: bits of the mantissa, by width
MANTISSA = {"f16": 10, "bf16": 7, "f32": 23, "f64": 52}


def _rounded_bits(
    bits: Any, name: str, exponent_bits: int, mantissa_bits: int, number: Any, op: Any
) -> Any:
    """The bits of a float of dtype ``name``, rounded to nearest even in a narrower format.

    ``number(n)`` is an unsigned constant, ``op(primitive, *xs)`` applies an operation: to arrays
    for the numpy rule, to expressions for the element rule.
    """
    width, stored = 8 * DTYPES[name].itemsize, MANTISSA[name]
    exponent_mask = (1 << (width - 1)) - (1 << stored)
    if mantissa_bits < stored:
        drop = stored - mantissa_bits
        last = op(and_, op(shift_right_logical, bits, number(drop)), number(1))
        bits = op(arith.add, bits, op(arith.add, last, number((1 << (drop - 1)) - 1)))
        bits = op(and_, bits, number((1 << width) - (1 << drop)))
    if exponent_bits < width - 1 - stored:
        bias, narrow = (1 << (width - 2 - stored)) - 1, (1 << (exponent_bits - 1)) - 1
        sign = op(and_, bits, number(1 << (width - 1)))
        exponent = op(and_, bits, number(exponent_mask))
        over = op(gt, exponent, number((bias + narrow) << stored))
        under = op(le, exponent, number((bias - narrow) << stored))
        bits = op(select, over, op(or_, sign, number(exponent_mask)), bits)
        bits = op(select, under, sign, bits)
    return bits


def _numpy_reduce_precision(x: Any, *, exponent_bits: int, mantissa_bits: int) -> Any:
    x = np.ascontiguousarray(x).reshape(np.shape(x))
    word = np.dtype(f"u{x.dtype.itemsize}")
    rounded = _rounded_bits(
        x.view(word),
        short(x.dtype),
        exponent_bits,
        mantissa_bits,
        lambda n: np.full(x.shape, n, word),
        lambda prim, *xs: prim.numpy(*xs),
    )
    return np.where(np.isnan(x), x, rounded.view(x.dtype))


def _element_reduce_precision(
    xs: Any, index: Any, *, exponent_bits: int, mantissa_bits: int
) -> Any:
    x = xs[0](index)
    word = f"u{8 * xs[0].type.dtype.itemsize}"
    rounded = _rounded_bits(
        Op("bitcast", (x,), word),
        x.dtype,
        exponent_bits,
        mantissa_bits,
        lambda n: Const(n, word),
        lambda prim, *ys: Op(prim.name, ys, "bool" if prim in (gt, le) else word),
    )
    is_nan_ = Op("is_nan", (x,), "bool")
    return Op("select", (is_nan_, x, Op("bitcast", (rounded,), x.dtype)), x.dtype)


def _infer_reduce_precision(x: TensorType, *, exponent_bits: int, mantissa_bits: int) -> TensorType:
    if kind(x.dtype) != "f":
        raise DTypeError(f"reduce_precision: takes floating operands, not {short(x.dtype)}")
    if exponent_bits < 1 or mantissa_bits < 0:
        raise ArgumentError("reduce_precision: takes exponent_bits >= 1 and mantissa_bits >= 0")
    return x


def _cases_reduce_precision() -> list[Any]:
    formats = [("f32", 5, 10), ("f32", 8, 7), ("f64", 8, 23), ("f16", 4, 3), ("f32", 11, 52)]
    return [
        ((TensorType(DTYPES[name], shape),), {"exponent_bits": e, "mantissa_bits": m})
        for name, e, m in formats
        for shape in ((3, 5), (), (0,))
    ]


reduce_precision = elementwise(
    "reduce_precision",
    _numpy_reduce_precision,
    params=("exponent_bits", "mantissa_bits"),
    infer=_infer_reduce_precision,
    element=_element_reduce_precision,
    jvp=lambda dx, y, x, **params: reduce_precision(dx, **params),
    transpose=lambda cts, xs, **params: (reduce_precision(cts[0], **params),),
    cases=_cases_reduce_precision,
    doc="x rounded to nearest even in a format of fewer bits; tangents are rounded likewise.",
)
