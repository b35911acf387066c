"""Functions of single elements under JAX's ``lax`` names: strict in dtype and shape.

>>> add(jnp.ones(3), 2.0)
Array([3., 3., 3.], dtype=float32)
"""

from __future__ import annotations

import enum
from typing import Any, NamedTuple

import numpy as np

from tracejit.errors import ArgumentError, DTypeError, ShapeError
from tracejit.frontend import elementwise as np_like
from tracejit.frontend import promotion
from tracejit.frontend.array import Array, apply, as_array
from tracejit.frontend.promotion import convert, filled, reshaped
from tracejit.ir.prim import Primitive
from tracejit.ir.types import DTYPES, kind
from tracejit.lax.operands import BOOL, Function, fill_out, operands, run, same_dtypes
from tracejit.ops import arith, bits, layout, logic, math, parts, powers, reduce, special
from tracejit.ops import special_beta as beta_records
from tracejit.source import here


class Tolerance(NamedTuple):
    """An error bound for ``accuracy=``, accepted for compatibility: one version is compiled."""

    atol: float = 0.0
    rtol: float = 0.0
    ulps: int = 0


def unary(name: str, prim: Primitive) -> Function:
    """A function of one array; the primitive checks its dtype."""

    def function(x: Any, *, accuracy: Any = None) -> Array:
        return run(prim, as_array(x))

    return np_like.named(function, name, prim.doc)


def binary(name: str, prim: Primitive) -> Function:
    """A function of two arrays of one type."""

    def function(x: Any, y: Any) -> Array:
        return run(prim, *operands(name, x, y))

    return np_like.named(function, name, prim.doc)


def _incomplete(name: str, prim: Primitive) -> Function:
    """An incomplete gamma function of ``a`` at ``x``."""

    def function(a: Any, x: Any) -> Array:
        return run(prim, *operands(name, a, x))

    return np_like.named(function, name, prim.doc)


# ---- one operand ---------------------------------------------------------------------------------

abs = unary("abs", arith.abs_)
acos = unary("acos", math.acos)
acosh = unary("acosh", math.acosh)
asin = unary("asin", math.asin)
asinh = unary("asinh", math.asinh)
atan = unary("atan", math.atan)
atanh = unary("atanh", math.atanh)
bessel_i0e = unary("bessel_i0e", special.bessel_i0e)
bessel_i1e = unary("bessel_i1e", special.bessel_i1e)
bitwise_not = unary("bitwise_not", logic.not_)
cbrt = unary("cbrt", powers.cbrt)
ceil = unary("ceil", arith.ceil)
clz = unary("clz", bits.clz)
cos = unary("cos", math.cos)
cosh = unary("cosh", math.cosh)
digamma = unary("digamma", special.digamma)
erf = unary("erf", special.erf)
erf_inv = unary("erf_inv", special.erf_inv)
erfc = unary("erfc", special.erfc)
exp = unary("exp", math.exp)
exp2 = unary("exp2", math.exp2)
expm1 = unary("expm1", math.expm1)
floor = unary("floor", arith.floor)
imag = unary("imag", parts.imag)
is_finite = unary("is_finite", logic.is_finite)
lgamma = unary("lgamma", special.lgamma)
log = unary("log", math.log)
log1p = unary("log1p", math.log1p)
logistic = unary("logistic", math.logistic)
neg = unary("neg", arith.neg)
population_count = unary("population_count", bits.population_count)
real = unary("real", parts.real)
reciprocal = unary("reciprocal", powers.reciprocal)
rsqrt = unary("rsqrt", powers.rsqrt)
sign = unary("sign", arith.sign)
sin = unary("sin", math.sin)
sinh = unary("sinh", math.sinh)
sqrt = unary("sqrt", powers.sqrt)
square = unary("square", powers.square)
tan = unary("tan", math.tan)
tanh = unary("tanh", math.tanh)

# ---- two operands --------------------------------------------------------------------------------

add = binary("add", arith.add)
atan2 = binary("atan2", math.atan2)
bitwise_and = binary("bitwise_and", logic.and_)
bitwise_or = binary("bitwise_or", logic.or_)
bitwise_xor = binary("bitwise_xor", logic.xor)
div = binary("div", arith.div)
eq = binary("eq", logic.eq)
ge = binary("ge", logic.ge)
gt = binary("gt", logic.gt)
igamma = _incomplete("igamma", special.igamma)
igamma_grad_a = _incomplete("igamma_grad_a", special.igamma_grad_a)
igammac = _incomplete("igammac", special.igammac)
le = binary("le", logic.le)
lt = binary("lt", logic.lt)
max = binary("max", arith.max_)
min = binary("min", arith.min_)
ne = binary("ne", logic.ne)
rem = binary("rem", arith.rem)
shift_left = binary("shift_left", bits.shift_left)
shift_right_arithmetic = binary("shift_right_arithmetic", bits.shift_right_arithmetic)
shift_right_logical = binary("shift_right_logical", bits.shift_right_logical)
sub = binary("sub", arith.sub)


def mul(x: Any, y: Any, *, out_dtype: Any = None) -> Array:
    """x * y, element by element; in ``out_dtype`` where one is given."""
    x, y = operands("mul", x, y)
    if out_dtype is not None:
        x, y = (promotion.convert(z, promotion.canonical(out_dtype)) for z in (x, y))
    return run(arith.mul, x, y)


def nextafter(x1: Any, x2: Any) -> Array:
    """The representable number after x1 in the direction of x2."""
    return run(arith.nextafter, *operands("nextafter", x1, x2))


def polygamma(m: Any, x: Any) -> Array:
    """The m-th derivative of digamma at x; ``m`` is floating."""
    return run(special.polygamma, *operands("polygamma", m, x))


def zeta(x: Any, q: Any) -> Array:
    """Hurwitz's zeta function: the sum of 1 / (k + q)**x over k = 0, 1, ..."""
    return run(special.zeta, *operands("zeta", x, q))


def betainc(a: Any, b: Any, x: Any) -> Array:
    """The regularised incomplete beta function I_x(a, b) of arrays of one type.

    >>> betainc(1.0, 1.0, jnp.array([0.25]))
    Array([0.25], dtype=float32)
    """
    return run(beta_records.betainc, *operands("betainc", a, b, x))


# ---- powers and rounding -------------------------------------------------------------------------


def integer_pow(x: Any, y: int) -> Array:
    """x to the power y, a static int, by repeated multiplication."""
    return run(powers.integer_pow, as_array(x), y=int(y))


def pow(x: Any, y: Any) -> Array:
    """x to the power y; y may be of an integer dtype."""
    base = as_array(x)
    exponent = as_array(y)
    if isinstance(y, int) and not isinstance(y, bool):
        return integer_pow(base, y)
    if kind(exponent.dtype) in "iu" and kind(base.dtype) in "fc":
        exponent = convert(exponent, base.dtype, weak=exponent._weak)
    return run(powers.pow_, *operands("pow", base, exponent))


class RoundingMethod(enum.IntEnum):
    """Where ``round`` takes halves."""

    AWAY_FROM_ZERO = 0
    TO_NEAREST_EVEN = 1


def round(x: Any, rounding_method: RoundingMethod = RoundingMethod.AWAY_FROM_ZERO) -> Array:
    """The nearest integer; halves go away from zero, or to the even one."""
    x = as_array(x)
    if RoundingMethod(rounding_method) is RoundingMethod.TO_NEAREST_EVEN:
        return run(arith.round_, x)
    whole = run(arith.trunc, x)
    away = ge(abs(sub(x, whole)), 0.5)
    return select(away, add(whole, sign(x)), whole)


def reduce_precision(operand: Any, exponent_bits: int, mantissa_bits: int) -> Array:
    """Floats rounded to a format of fewer bits, in their own dtype; too large is inf, subnormal is
    0.
    """
    x = as_array(operand)
    widths = {"f16": (5, 10), "bf16": (8, 7), "f32": (8, 23), "f64": (11, 52)}
    name = next((n for n in widths if DTYPES[n] == x.dtype), None)
    if name is None:
        raise DTypeError(f"reduce_precision: takes floats, not {x.type}", at=here())
    if exponent_bits < 1 or mantissa_bits < 0:
        raise ArgumentError(
            "reduce_precision: needs at least one exponent bit and no fewer than 0 mantissa bits",
            at=here(),
        )
    exponent, mantissa = widths[name]
    if mantissa_bits < mantissa:
        x = _rounded_mantissa(x, mantissa - mantissa_bits)
    if exponent_bits < exponent:
        bias = 2 ** (exponent_bits - 1) - 1
        kept = 2.0 - 2.0 ** -float(np.minimum(mantissa_bits, mantissa))
        largest, smallest = kept * 2.0**bias, 2.0 ** (1 - bias)
        size = abs(x)
        signed = np_like.copysign
        x = select(gt(size, largest), signed(filled(np.inf, x.type), x), x)
        x = select(lt(size, smallest), signed(filled(0, x.type), x), x)
    return x


def _rounded_mantissa(x: Array, dropped: int) -> Array:
    """``x`` with its lowest ``dropped`` mantissa bits rounded away, halves to even."""
    unsigned = np.dtype(f"u{x.dtype.itemsize}")
    word = run(parts.bitcast, x, dtype=unsigned)
    odd = bitwise_and(shift_right_logical(word, dropped), 1)
    rounded = add(word, add(odd, (1 << (dropped - 1)) - 1))
    mask = ~((1 << dropped) - 1) & ((1 << 8 * x.dtype.itemsize) - 1)
    kept = run(parts.bitcast, bitwise_and(rounded, filled(mask, word.type)), dtype=x.dtype)
    return select(is_finite(x), kept, x)


# ---- complex numbers -----------------------------------------------------------------------------


def complex(x: Any, y: Any) -> Array:
    """A complex array from its real and imaginary parts."""
    return run(parts.complex_, *operands("complex", x, y))


def conj(x: Any) -> Array:
    """The complex conjugate; of real numbers, as complex ones."""
    x = as_array(x)
    if kind(x.dtype) == "c":
        return run(parts.conj, x)
    return run(parts.complex_, x, filled(0, x.type))


# ---- integers ------------------------------------------------------------------------------------


def mulhi(x: Any, y: Any, /) -> Array:
    """The upper half of the product of integers, which has twice their width."""
    x, y = operands("mulhi", x, y)
    if kind(x.dtype) not in "iu":
        raise DTypeError(f"mulhi: takes integers, not {x.type}", at=here())
    width = 8 * x.dtype.itemsize
    if width < 64:
        wide = np.dtype(f"{x.dtype.kind}8")
        product = mul(convert(x, wide), convert(y, wide))
        shift = shift_right_arithmetic if kind(x.dtype) == "i" else shift_right_logical
        return convert(shift(product, width), x.dtype)
    # schoolbook on halves of 32 bits; signed operands are unsigned ones plus a correction
    u64 = DTYPES["u64"]
    a, b = (run(parts.bitcast, v, dtype=u64) if kind(v.dtype) == "i" else v for v in (x, y))
    low = 0xFFFFFFFF
    a0, a1, b0, b1 = (
        bitwise_and(a, low),
        shift_right_logical(a, 32),
        bitwise_and(b, low),
        shift_right_logical(b, 32),
    )
    middle = add(mul(a1, b0), shift_right_logical(mul(a0, b0), 32))
    cross = add(bitwise_and(middle, low), mul(a0, b1))
    high = add(add(mul(a1, b1), shift_right_logical(middle, 32)), shift_right_logical(cross, 32))
    if kind(x.dtype) == "u":
        return high
    high = run(parts.bitcast, high, dtype=x.dtype)
    zero = filled(0, x.type)
    high = sub(high, select(lt(x, 0), y, zero))
    return sub(high, select(lt(y, 0), x, zero))


# ---- choice --------------------------------------------------------------------------------------


def select(pred: Any, on_true: Any, on_false: Any) -> Array:
    """``on_true`` where ``pred`` holds, ``on_false`` elsewhere; ``pred`` may be a scalar.

    >>> lax.select(jnp.array([True, False]), jnp.ones(2), jnp.zeros(2))
    Array([1., 0.], dtype=float32)
    """
    return select_n(pred, on_false, on_true)


def select_n(which: Any, *cases: Any) -> Array:
    """Element by element, the case that ``which`` (bool, or integers from 0) names."""
    if not cases:
        raise ArgumentError("select_n: needs at least one case", at=here())
    index = as_array(which)
    arrays = fill_out("select", same_dtypes("select", *cases))
    if index.shape != () and index.shape != arrays[0].shape:
        raise ShapeError(
            f"select_n: `which` is {index.type}; it is a scalar or has the shape of the "
            f"cases, {arrays[0].shape}",
            at=here(),
        )
    index = promotion.broadcast_to(index, arrays[0].shape)
    if index.dtype == BOOL:
        if len(arrays) > 2:
            raise ArgumentError(
                f"select_n: a bool chooses between two cases, not {len(arrays)}", at=here()
            )
        return run(logic.select, index, arrays[-1], arrays[0])
    if kind(index.dtype) not in "iu":
        raise DTypeError(f"select_n: `which` is bool or integer, not {index.type}", at=here())
    chosen = arrays[-1]
    for k in range(len(arrays) - 2, -1, -1):
        chosen = run(logic.select, le(index, k), arrays[k], chosen)
    return chosen


def clamp(min: Any, x: Any, max: Any) -> Array:
    """``x`` limited to [min, max]; the bounds may be scalars.

    >>> lax.clamp(0.0, jnp.array([-1.0, 0.5, 2.0]), 1.0)
    Array([0. , 0.5, 1. ], dtype=float32)
    """
    low, x, high = same_dtypes("clamp", min, x, max)
    for bound in (low, high):
        if bound.shape not in ((), x.shape):
            raise ShapeError(
                f"clamp: a bound is a scalar or has the shape of x, {x.shape}; not {bound.type}",
                at=here(),
            )
    return run(
        logic.clamp, promotion.broadcast_to(low, x.shape), x, promotion.broadcast_to(high, x.shape)
    )


# ---- dtypes --------------------------------------------------------------------------------------


def convert_element_type(operand: Any, new_dtype: Any) -> Array:
    """``operand`` in another dtype: floats truncate to integers, of complex numbers the real part
    is taken.
    """
    return convert(as_array(operand), promotion.canonical(new_dtype))


def bitcast_convert_type(operand: Any, new_dtype: Any) -> Array:
    """The bits read as another dtype; a last axis appears or goes where the widths differ.

    >>> lax.bitcast_convert_type(jnp.float32(1.0), jnp.int32)
    Array(1065353216, dtype=int32)
    """
    x, dtype = as_array(operand), promotion.canonical(new_dtype)
    if x.dtype == dtype:
        return x
    if BOOL in (x.dtype, dtype) or kind(x.dtype) == "c" or kind(dtype) == "c":
        raise DTypeError(f"bitcast_convert_type: not between {x.dtype} and {dtype}", at=here())
    old, new = x.dtype.itemsize, dtype.itemsize
    if old == new:
        return run(parts.bitcast, x, dtype=dtype)
    word, piece = np.dtype(f"u{np.maximum(old, new)}"), np.dtype(f"u{np.minimum(old, new)}")
    count = word.itemsize // piece.itemsize
    if old > new:
        bits_of = x if x.dtype == word else run(parts.bitcast, x, dtype=word)
        wide = promotion.broadcast_to(reshaped(bits_of, (*x.shape, 1)), (*x.shape, count))
        pieces = shift_right_logical(wide, _shifts(wide, piece))
        mask = filled((1 << 8 * piece.itemsize) - 1, pieces.type)
        found = convert(bitwise_and(pieces, mask), piece)
    else:
        if x.ndim == 0 or x.shape[-1] != count:
            raise ShapeError(
                f"bitcast_convert_type: the last axis of {x.type} must have size {count}", at=here()
            )
        pieces = x if x.dtype == piece else run(parts.bitcast, x, dtype=piece)
        wide = convert(pieces, word)
        found = apply(reduce.reduce_or, shift_left(wide, _shifts(wide, piece)), axes=(x.ndim - 1,))
    return found if found.dtype == dtype else run(parts.bitcast, found, dtype=dtype)


def _shifts(words: Array, piece: np.dtype) -> Array:
    places = apply(layout.iota, dtype=words.dtype, shape=words.shape, dimension=words.ndim - 1)
    return mul(places, 8 * piece.itemsize)


def dtype(x: Any) -> np.dtype:
    """The dtype of an array or scalar."""
    return as_array(x).dtype
