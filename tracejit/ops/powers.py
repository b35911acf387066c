"""Powers and roots of elements, and the fused multiply-add.

pow_(x: f32[3], y: f32[3])      -> f32[3]
integer_pow(x: f32[3], y=3)     -> x * x * x
sqrt(x)  rsqrt(x)  cbrt(x)  square(x)  reciprocal(x)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tracejit.errors import DTypeError
from tracejit.ir.build import full_like
from tracejit.ir.expr import Const, Op
from tracejit.ir.prim import Spell, is_linear
from tracejit.ir.types import DTYPES, TensorType, kind, short
from tracejit.ops import math
from tracejit.ops.arith import div, mul, neg, sub
from tracejit.ops.family import elementwise, in_float32
from tracejit.ops.logic import eq, select

square = elementwise(
    "square",
    np.square,
    kinds="iufc",
    jvp=lambda dx, y, x: mul(dx, mul(x, 2)),
    scalar=lambda x: Op("mul", (x, x), x.dtype),
    spell=Spell(c="({0} * {0})", numba="({0} * {0})"),
    doc="x * x.",
)

reciprocal = elementwise(
    "reciprocal",
    lambda x: np.divide(np.ones_like(x), x),
    kinds="fc",
    jvp=lambda dx, y, x: mul(dx, neg(mul(y, y))),
    scalar=lambda x: Op("div", (Const(1.0, x.dtype), x), x.dtype),
    domain=(0.3, 3.0),
    doc="1 / x.",
)

sqrt = elementwise(
    "sqrt",
    np.sqrt,
    kinds="fc",
    jvp=lambda dx, y, x: mul(dx, div(0.5, y)),
    spell=Spell(c="sqrt({0})", numba={"f": "math.sqrt({0})", "c": "np.sqrt({0})"}),
    domain=(0.1, 4.0),
    doc="The square root; nan below 0, the principal root of complex numbers.",
)

rsqrt = elementwise(
    "rsqrt",
    in_float32(lambda x: np.divide(np.ones_like(x), np.sqrt(x))),
    kinds="fc",
    jvp=lambda dx, y, x: mul(dx, div(mul(y, -0.5), x)),
    scalar=lambda x: Op("div", (Const(1.0, x.dtype), Op("sqrt", (x,), x.dtype)), x.dtype),
    spell=Spell(
        c={"f": "rsqrt({0})"}, numba={"f": "(1 / math.sqrt({0}))", "c": "(1 / np.sqrt({0}))"}
    ),
    domain=(0.1, 4.0),
    doc="1 / sqrt(x).",
)

cbrt = elementwise(
    "cbrt",
    np.cbrt,
    kinds="f",
    jvp=lambda dx, y, x: mul(dx, div(1 / 3, mul(y, y))),
    spell=Spell(c="cbrt({0})", numba="np.cbrt({0})"),
    domain=(0.1, 4.0),
    heavy=True,
    doc="The real cube root.",
)


# ---- powers --------------------------------------------------------------------------------------


def _power_by_squaring(x: Any, n: int, times: Callable[[Any, Any], Any]) -> Any:
    """x to the n-th, n > 0, by squaring, from the lowest bit: one fixed order of products."""
    result = None
    while True:
        if n & 1:
            result = x if result is None else times(result, x)
        n >>= 1
        if n == 0:
            return result
        x = times(x, x)


def _infer_integer_pow(x: TensorType, *, y: int) -> TensorType:
    if kind(x.dtype) == "b" or (kind(x.dtype) in "iu" and y < 0):
        raise DTypeError(
            f"integer_pow: {short(x.dtype)} cannot be raised to {y}",
            hint="convert to a float dtype",
        )
    return x


def _numpy_integer_pow(x: Any, *, y: int) -> Any:
    if y == 0:
        return np.ones_like(x)
    with np.errstate(all="ignore"):
        power = np.asarray(_power_by_squaring(x, abs(y), np.multiply))
        return power if y > 0 else np.asarray(np.divide(np.ones_like(power), power))


def _element_integer_pow(xs: Any, index: Any, *, y: int) -> Any:
    name = short(xs[0].type.dtype)
    one = Const(1 if kind(xs[0].type.dtype) in "iu" else 1.0, name)
    if y == 0:
        return one
    power = _power_by_squaring(xs[0](index), abs(y), lambda a, b: Op("mul", (a, b), name))
    return power if y > 0 else Op("div", (one, power), name)


def _integer_pow_dx(dx: Any, z: Any, x: Any, *, y: int) -> Any:
    if y == 0:
        return None
    return dx if y == 1 else mul(dx, mul(x if y == 2 else integer_pow(x, y=y - 1), y))


def _cases_integer_pow() -> list[Any]:
    found = [((TensorType(DTYPES["f32"], (3, 5)),), {"y": y}) for y in (-3, -1, 0, 1, 2, 3, 7, 10)]
    found += [((TensorType(DTYPES[n], (4,)),), {"y": 3}) for n in ("i32", "u8", "f64", "c64")]
    return found + [((TensorType(DTYPES["f32"], s),), {"y": 2}) for s in ((), (0,), (37,))]


integer_pow = elementwise(
    "integer_pow",
    _numpy_integer_pow,
    params=("y",),
    infer=_infer_integer_pow,
    element=_element_integer_pow,
    jvp=_integer_pow_dx,
    kinds="iufc",
    domain=(0.5, 2.0),
    cases=_cases_integer_pow,
    doc="x to the power y, a static int, by repeated multiplication.",
)


def _numpy_pow(x: Any, y: Any) -> Any:
    """np.power; where an integer's exponent is negative, 1 / x**-y truncated (0 for x = 0)."""
    if kind(x.dtype) != "i":
        return np.power(x, y)
    power = np.power(x, np.where(y < 0, np.zeros_like(y), y))
    odd = np.bitwise_and(y, np.ones_like(y)) != 0
    inverse = np.where(np.abs(x) == 1, np.where(odd, x, np.ones_like(x)), np.zeros_like(x))
    return np.where(y < 0, inverse, power)


def _pow_dx(dx: Any, z: Any, x: Any, y: Any) -> Any:
    # y == 0: x**-1 may be infinite, the derivative is 0
    slope = mul(y, pow_(x, sub(y, 1)))
    return mul(dx, select(eq(y, full_like(y, 0)), full_like(slope, 0), slope))


def _pow_dy(dy: Any, z: Any, x: Any, y: Any) -> Any:
    # x == 0: log(0) * 0 would be nan where the derivative is 0
    safe = select(eq(x, full_like(x, 0)), full_like(x, 1), x)
    return mul(dy, mul(math.log(safe), z))


pow_ = elementwise(
    "pow",
    _numpy_pow,
    arity=2,
    kinds="iufc",
    jvp=(_pow_dx, _pow_dy),
    spell=Spell(c={"fc": "pow({0}, {1})"}, numba={"fc": "({0} ** {1})"}),
    domain=((0.2, 3.0), (-2.0, 2.0)),
    heavy=True,
    doc="x to the power y; integers wrap, and 1 / x**n truncates for negative exponents.",
)


# ---- fused multiply-add --------------------------------------------------------------------------


def _numpy_fma(x: Any, y: Any, z: Any) -> Any:
    """x * y + z with one rounding, up to the last bit of float64."""
    if x.dtype.itemsize < 8:
        x, y, z = (np.asarray(a, np.float64) for a in (x, y, z))
        return x * y + z
    product, total = x * y, x * y + z
    rest = _product_error(x, y, product) + _sum_error(product, z, total)
    return np.where(np.isfinite(total) & np.isfinite(rest), total + rest, total)


def _product_error(x: Any, y: Any, product: Any) -> Any:
    """x * y - product, exactly: Dekker's splitting into halves of 26 bits (T. J. Dekker, 1971)."""

    def halves(a: Any) -> tuple[Any, Any]:
        scaled = a * 134217729.0  # 2**27 + 1
        high = scaled - (scaled - a)
        return high, a - high

    (x1, x2), (y1, y2) = halves(x), halves(y)
    return ((x1 * y1 - product) + x1 * y2 + x2 * y1) + x2 * y2


def _sum_error(a: Any, b: Any, total: Any) -> Any:
    """a + b - total, exactly (Knuth's two-sum)."""
    b_part = total - a
    return (a - (total - b_part)) + (b - b_part)


def _transpose_fma(cts: Any, xs: Any) -> Any:
    x, y, z = xs
    (ct,) = cts
    return (
        mul(ct, y) if is_linear(x) else None,
        mul(ct, x) if is_linear(y) else None,
        ct if is_linear(z) else None,
    )


fma = elementwise(
    "fma",
    _numpy_fma,
    arity=3,
    kinds="f",
    jvp=(
        lambda dx, out, x, y, z: mul(dx, y),
        lambda dy, out, x, y, z: mul(x, dy),
        lambda dz, out, x, y, z: dz,
    ),
    transpose=_transpose_fma,
    spell=Spell(c="fma({0}, {1}, {2})"),
    doc="x * y + z, rounded once.",
)
