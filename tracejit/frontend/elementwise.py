"""Functions of single elements, with NumPy's names: promotion and broadcasting around the scalar
primitives.

>>> maximum(jnp.array([1.0, 4.0]), 2)
Array([2., 4.], dtype=float32)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tracejit import source
from tracejit.errors import ArgumentError, DTypeError
from tracejit.frontend import array as core
from tracejit.frontend import placement, promotion
from tracejit.frontend.promotion import BOOL, convert, filled, prepared, to_inexact
from tracejit.ir.prim import Primitive
from tracejit.ir.types import DTYPES, kind, real_dtype
from tracejit.ops import arith, bits, logic, math, parts, powers

Function = Callable[..., Any]


def run(prim: Primitive, *arrays: Any, **params: Any) -> Any:
    """``prim`` on prepared operands; the result is weak where all of them are."""
    found = core.apply(prim, *arrays, **params)
    found._weak = all(a._weak for a in arrays) and found.dtype != BOOL
    return found


def named(function: Function, name: str, doc: str) -> Function:
    """``function`` under a public name."""
    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


def unary(name: str, prim: Primitive, doc: str) -> Function:
    """A function of one array that keeps its dtype."""
    return named(lambda x, /: run(prim, core.as_array(x)), name, doc)


def unary_float(name: str, prim: Primitive, doc: str) -> Function:
    """A function of one array that computes in a floating (or complex) dtype."""
    return named(lambda x, /: run(prim, to_inexact(x)), name, doc)


def unary_real(name: str, prim: Primitive, doc: str) -> Function:
    """Rounding: integers and booleans are as they are."""

    def function(x: Any, /) -> Any:
        x = core.as_array(x)
        return placement.twin(x) if kind(x.dtype) in "biu" else run(prim, x)

    return named(function, name, doc)


def binary(name: str, prim: Primitive, doc: str) -> Function:
    """A function of two arrays in their promoted dtype."""
    return named(lambda x1, x2, /: run(prim, *prepared(name, x1, x2)), name, doc)


def float_operands(name: str, *xs: Any) -> list[Any]:
    """Operands in their promoted dtype, in the default float where that is no floating one."""
    dtype, weak = promotion.dtype_of([promotion.operand(x) for x in xs])
    return prepared(name, *xs, to=promotion.inexact(dtype), weak=weak)


def binary_float(name: str, prim: Primitive, doc: str) -> Function:
    """A function of two arrays that computes in a floating dtype."""
    return named(lambda x1, x2, /: run(prim, *float_operands(name, x1, x2)), name, doc)


# ---- arithmetic ----------------------------------------------------------------------------------

add = binary("add", arith.add, "x1 + x2, element by element; booleans are or-ed.")
subtract = binary("subtract", arith.sub, "x1 - x2, element by element.")
multiply = binary("multiply", arith.mul, "x1 * x2, element by element; booleans are and-ed.")
divide = binary_float("divide", arith.div, "x1 / x2 as floating numbers.")
negative = unary("negative", arith.neg, "-x.")


def extreme(name: str, prim: Primitive, before: Primitive, doc: str) -> Function:
    """The larger or smaller of two arrays; complex numbers are ordered as in ``lexical``."""

    def function(x1: Any, x2: Any, /) -> Any:
        x1, x2 = prepared(name, x1, x2)
        if kind(x1.dtype) != "c":
            return run(prim, x1, x2)
        first = run(logic.or_, lexical(before, x1, x2), run(logic.is_nan, x1))
        return run(logic.select, first, x1, x2)

    return named(function, name, doc)


def lexical(prim: Primitive, x1: Any, x2: Any) -> Any:
    """A comparison of complex numbers in NumPy's order: by real parts, where these are equal by
    imaginary parts.
    """
    one, two = run(parts.real, x1), run(parts.real, x2)
    strict = logic.lt if prim in (logic.lt, logic.le) else logic.gt
    behind = run(prim, run(parts.imag, x1), run(parts.imag, x2))
    tied = run(logic.and_, run(logic.eq, one, two), behind)
    known = run(logic.not_, run(logic.or_, run(logic.is_nan, x1), run(logic.is_nan, x2)))
    return run(logic.and_, known, run(logic.or_, run(strict, one, two), tied))


maximum = extreme("maximum", arith.max_, logic.ge, "The larger of x1 and x2; nan where either is.")
minimum = extreme("minimum", arith.min_, logic.le, "The smaller of x1 and x2; nan where either is.")


def positive(x: Any, /) -> Any:
    """+x: a copy of x."""
    return placement.own(core.as_array(x), x)


def absolute(x: Any, /) -> Any:
    """|x|; the modulus of complex numbers."""
    x = core.as_array(x)
    return placement.twin(x) if kind(x.dtype) in "bu" else run(arith.abs_, x)


def sign(x: Any, /) -> Any:
    """-1, 0 or 1; x / |x| for complex numbers."""
    return run(arith.sign, core.as_array(x))


def _floors(x1: Any, x2: Any) -> tuple[Any, Any]:
    """The truncated remainder, and where flooring moves the quotient one down."""
    rest = run(arith.rem, x1, x2)
    if kind(x1.dtype) == "u":
        return rest, filled(False, x1.type.with_dtype(BOOL))
    zero = filled(0, x1.type)
    signs = run(logic.xor, run(logic.lt, rest, zero), run(logic.lt, x2, zero))
    return rest, run(logic.and_, run(logic.ne, rest, zero), signs)


def _numeric(name: str, x1: Any, x2: Any) -> list[Any]:
    """Prepared operands, booleans as int8: NumPy's choice where there is no boolean operation."""
    xs = prepared(name, x1, x2)
    return [convert(x, DTYPES["i8"]) for x in xs] if xs[0].dtype == BOOL else xs


def floor_divide(x1: Any, x2: Any, /) -> Any:
    """The largest integer not above x1 / x2; integers divided by 0 give 0.

    Where an operand is infinite, and where x2 is 0, it is floor(x1 / x2), which is what the array
    API standard prefers: inf // 2 is inf and -1 // inf is -0, while Python and NumPy have nan, -1.
    """
    x1, x2 = _numeric("floor_divide", x1, x2)
    found = _paired_quotient(x1, x2)
    if kind(x1.dtype) in "iu":
        return found
    finite = run(logic.and_, run(logic.is_finite, x1), run(logic.is_finite, x2))
    return run(logic.select, finite, found, run(arith.floor, run(arith.div, x1, x2)))


def _paired_quotient(x1: Any, x2: Any) -> Any:
    """The quotient q of two prepared operands for which x1 = q * x2 + remainder(x1, x2)."""
    rest, lower = _floors(x1, x2)
    one = filled(1, x1.type)
    if kind(x1.dtype) in "iu":
        quotient = run(arith.div, x1, x2)
        return run(logic.select, lower, run(arith.sub, quotient, one), quotient)
    whole = run(arith.round_, run(arith.div, run(arith.sub, x1, rest), x2))
    found = run(logic.select, lower, run(arith.sub, whole, one), whole)
    quotient = run(arith.div, x1, x2)
    by_zero = run(logic.eq, x2, filled(0, x2.type))
    # a zero has the sign of the quotient
    return run(logic.select, by_zero, quotient, run(arith.copysign, found, quotient))


def remainder(x1: Any, x2: Any, /) -> Any:
    """x1 modulo x2, with the sign of x2, also of a remainder of 0."""
    x1, x2 = _numeric("remainder", x1, x2)
    rest, lower = _floors(x1, x2)
    kept = rest
    if kind(x1.dtype) == "f":
        # adding -0 keeps every value, and carries the derivative that copysign lacks at 0
        fixed = run(parts.stop_gradient, rest)
        nothing = run(arith.neg, run(arith.sub, fixed, rest))
        kept = run(arith.add, run(arith.copysign, fixed, x2), nothing)
    return run(logic.select, lower, run(arith.add, rest, x2), kept)


def fmod(x1: Any, x2: Any, /) -> Any:
    """The remainder of x1 / x2 with the sign of x1, as C's fmod."""
    return run(arith.rem, *_numeric("fmod", x1, x2))


def divmod(x1: Any, x2: Any, /) -> tuple[Any, Any]:
    """``(x1 // x2, x1 % x2)`` with a quotient that fits the remainder, as Python's."""
    x1, x2 = _numeric("divmod", x1, x2)
    return _paired_quotient(x1, x2), remainder(x1, x2)


def power(x1: Any, x2: Any, /) -> Any:
    """x1 to the power x2. A Python int as x2 is repeated multiplication; 0.5 is the square root.

    >>> jnp.power(jnp.array([1.0, 2.0, 3.0]), 2)
    Array([1., 4., 9.], dtype=float32)
    """
    exponent = x2 if isinstance(x2, int | float) and not isinstance(x2, bool | np.generic) else None
    base = core.as_array(x1)
    if isinstance(exponent, int) and kind(base.dtype) in "iufc" and abs(exponent) <= 64:
        if exponent < 0 and kind(base.dtype) in "iu":
            _negative_power()
        return run(powers.integer_pow, base, y=exponent)
    if exponent == 0.5 and kind(base.dtype) in "fc":
        return run(powers.sqrt, base)
    base, raised = _numeric("power", x1, x2)
    data = raised._data if kind(raised.dtype) == "i" else None
    if data is not None and (data < 0).any():
        _negative_power()
    return run(powers.pow_, base, raised)


def _negative_power() -> None:
    raise DTypeError(
        "integers to negative integer powers are not integers",
        at=source.here(),
        hint="convert the base to float, or use float_power",
    )


def float_power(x1: Any, x2: Any, /) -> Any:
    """x1 to the power x2 as floating numbers."""
    return run(powers.pow_, *float_operands("float_power", x1, x2))


def square(x: Any, /) -> Any:
    """x * x."""
    x = core.as_array(x)
    return placement.twin(x) if x.dtype == BOOL else run(powers.square, x)


def reciprocal(x: Any, /) -> Any:
    """1 / x; integers as in NumPy are divided as integers."""
    x = core.as_array(x)
    if kind(x.dtype) in "iu":
        return run(arith.div, filled(1, x.type), x)
    return run(powers.reciprocal, x)


sqrt = unary_float("sqrt", powers.sqrt, "The non-negative square root; nan for negative numbers.")
cbrt = unary_float("cbrt", powers.cbrt, "The real cube root.")


# ---- exponentials and trigonometry ---------------------------------------------------------------

exp = unary_float("exp", math.exp, "e to the power x.")
exp2 = unary_float("exp2", math.exp2, "2 to the power x.")
expm1 = unary_float("expm1", math.expm1, "exp(x) - 1, precise near 0.")
log = unary_float("log", math.log, "The natural logarithm.")
log2 = unary_float("log2", math.log2, "The logarithm to base 2.")
log10 = unary_float("log10", math.log10, "The logarithm to base 10.")
log1p = unary_float("log1p", math.log1p, "log(1 + x), precise near 0.")
sin = unary_float("sin", math.sin, "The sine of x in radians.")
cos = unary_float("cos", math.cos, "The cosine of x in radians.")
tan = unary_float("tan", math.tan, "The tangent of x in radians.")
arcsin = unary_float("arcsin", math.asin, "The inverse sine, in radians.")
arccos = unary_float("arccos", math.acos, "The inverse cosine, in radians.")
arctan = unary_float("arctan", math.atan, "The inverse tangent, in radians.")
arctan2 = binary_float("arctan2", math.atan2, "The angle of the point (x2, x1), in (-pi, pi].")
sinh = unary_float("sinh", math.sinh, "The hyperbolic sine.")
cosh = unary_float("cosh", math.cosh, "The hyperbolic cosine.")
tanh = unary_float("tanh", math.tanh, "The hyperbolic tangent.")
arcsinh = unary_float("arcsinh", math.asinh, "The inverse hyperbolic sine.")
arccosh = unary_float("arccosh", math.acosh, "The inverse hyperbolic cosine.")
arctanh = unary_float("arctanh", math.atanh, "The inverse hyperbolic tangent.")


# ---- rounding ------------------------------------------------------------------------------------

floor = unary_real("floor", arith.floor, "The largest integer not above x.")
ceil = unary_real("ceil", arith.ceil, "The smallest integer not below x.")


def trunc(x: Any) -> Any:
    """x without its fraction."""
    x = core.as_array(x)
    return placement.twin(x) if kind(x.dtype) in "biu" else run(arith.trunc, x)


def by_parts(function: Function, x: Any) -> Any:
    """A function of real numbers on both parts of complex ones."""
    return run(parts.complex_, function(run(parts.real, x)), function(run(parts.imag, x)))


def rint(x: Any, /) -> Any:
    """The nearest integer as a floating number; halves go to the even one."""
    x = to_inexact(x)
    return by_parts(rint, x) if kind(x.dtype) == "c" else run(arith.round_, x)


def round(a: Any, decimals: int = 0, out: None = None) -> Any:
    """``a`` rounded to ``decimals`` places, halves to even; negative ``decimals`` round to tens,
    hundreds ...

    >>> jnp.round(jnp.array([0.5, 1.5, 2.345]), 0)
    Array([0., 2., 2.], dtype=float32)
    """
    no_out("round", out)
    a = core.as_array(a)
    if kind(a.dtype) == "c":
        return by_parts(lambda part: round(part, decimals), a)
    if kind(a.dtype) in "biu":
        if decimals >= 0 or a.dtype == BOOL:
            return placement.twin(a)
        scaled = round(convert(a, DTYPES["f64"]), decimals)
        return convert(scaled, a.dtype)
    if decimals == 0:
        return run(arith.round_, a)
    if decimals > 0:
        factor = 10.0**decimals
        return divide(run(arith.round_, multiply(a, factor)), factor)
    factor = 10.0**-decimals
    return multiply(run(arith.round_, divide(a, factor)), factor)


def no_out(name: str, out: Any) -> None:
    """Refuse NumPy's ``out`` argument where only functions of ``tracejit.numpy`` take it."""
    if out is not None:
        raise ArgumentError(
            f"{name}: there is no `out` argument here",
            at=source.here(),
            hint=f"write the result: out[...] = {name}(...); tracejit.numpy's functions take out=",
        )


# ---- comparison and logic ------------------------------------------------------------------------


def _beyond(prim: Primitive, x1: Any, x2: Any) -> Any:
    """An array compared with a Python int that its dtype cannot hold, which lies above or below all
    of its elements; None for other operands.
    """
    second = promotion.is_python(x2)
    number, other = (x2, x1) if second else (x1, x2)
    if not isinstance(number, int) or promotion.is_python(other):
        return None
    above = number > 0
    if prim in (logic.eq, logic.ne):
        answer = prim is logic.ne
    else:
        answer = (prim in (logic.lt, logic.le)) == (above == second)
    return _no_such(core.as_array(other), answer)


def comparison(name: str, prim: Primitive, doc: str) -> Function:
    """A comparison; a Python int beyond the other operand's dtype compares as a number, as in
    NumPy.
    """

    def function(x1: Any, x2: Any, /) -> Any:
        try:
            xs = prepared(name, x1, x2)
        except DTypeError:
            found = _beyond(prim, x1, x2)
            if found is None:
                raise
            return found
        if kind(xs[0].dtype) == "c" and prim not in (logic.eq, logic.ne):
            return lexical(prim, *xs)
        return run(prim, *xs)

    return named(function, name, doc)


equal = comparison("equal", logic.eq, "x1 == x2, element by element.")
not_equal = comparison("not_equal", logic.ne, "x1 != x2, element by element.")
less = comparison("less", logic.lt, "x1 < x2, element by element.")
less_equal = comparison("less_equal", logic.le, "x1 <= x2, element by element.")
greater = comparison("greater", logic.gt, "x1 > x2, element by element.")
greater_equal = comparison("greater_equal", logic.ge, "x1 >= x2, element by element.")


def truth(x: Any) -> Any:
    """``x != 0`` as booleans."""
    return convert(core.as_array(x), BOOL)


def logical(name: str, prim: Primitive, doc: str) -> Function:
    """A function of the truth of two arrays."""
    return named(lambda x1, x2, /: run(prim, *prepared(name, truth(x1), truth(x2))), name, doc)


logical_and = logical("logical_and", logic.and_, "Whether both are true (non-zero).")
logical_or = logical("logical_or", logic.or_, "Whether one or both are true (non-zero).")
logical_xor = logical("logical_xor", logic.xor, "Whether exactly one is true (non-zero).")


def logical_not(x: Any, /) -> Any:
    """Whether x is zero."""
    return run(logic.not_, truth(x))


bitwise_and = binary("bitwise_and", logic.and_, "x1 & x2, bit by bit.")
bitwise_or = binary("bitwise_or", logic.or_, "x1 | x2, bit by bit.")
bitwise_xor = binary("bitwise_xor", logic.xor, "x1 ^ x2, bit by bit.")
bitwise_not = unary("bitwise_not", logic.not_, "~x: every bit flipped; logical not for booleans.")


def left_shift(x1: Any, x2: Any, /) -> Any:
    """x1 * 2**x2 by moving bits."""
    return run(bits.shift_left, *_numeric("left_shift", x1, x2))


def right_shift(x1: Any, x2: Any, /) -> Any:
    """x1 // 2**x2 by moving bits; the sign stays."""
    x1, x2 = _numeric("right_shift", x1, x2)
    signed = kind(x1.dtype) == "i"
    return run(bits.shift_right_arithmetic if signed else bits.shift_right_logical, x1, x2)


def bitwise_count(x: Any, /) -> Any:
    """How many bits of |x| are one."""
    x = absolute(x)
    x = convert(x, DTYPES["u8"]) if x.dtype == BOOL else x
    return convert(run(bits.population_count, x), DTYPES["u8"])


# ---- floating-point classes ----------------------------------------------------------------------


def _no_such(x: Any, value: bool) -> Any:
    return filled(value, x.type.with_dtype(BOOL))


def isnan(x: Any, /) -> Any:
    """Whether x is nan."""
    x = core.as_array(x)
    return run(logic.is_nan, x) if kind(x.dtype) in "fc" else _no_such(x, False)


def isfinite(x: Any, /) -> Any:
    """Whether x is neither infinite nor nan."""
    x = core.as_array(x)
    return run(logic.is_finite, x) if kind(x.dtype) in "fc" else _no_such(x, True)


def isinf(x: Any, /) -> Any:
    """Whether x is plus or minus infinity (in either part of a complex number)."""
    x = core.as_array(x)
    if kind(x.dtype) == "c":
        return logical_or(isinf(real(x)), isinf(imag(x)))
    return equal(absolute(x), np.inf) if kind(x.dtype) == "f" else _no_such(x, False)


def _ordered(name: str, x: Any) -> Any:
    x = core.as_array(x)
    if kind(x.dtype) == "c":
        raise DTypeError(f"{name}: takes real numbers, not {x.type}", at=source.here())
    return x


def isposinf(x: Any, /, out: None = None) -> Any:
    """Whether x is plus infinity."""
    no_out("isposinf", out)
    x = _ordered("isposinf", x)
    return equal(x, np.inf) if kind(x.dtype) == "f" else _no_such(x, False)


def isneginf(x: Any, /, out: None = None) -> Any:
    """Whether x is minus infinity."""
    no_out("isneginf", out)
    x = _ordered("isneginf", x)
    return equal(x, -np.inf) if kind(x.dtype) == "f" else _no_such(x, False)


def signbit(x: Any, /) -> Any:
    """Whether the sign bit is set: also for -0.0."""
    x = _ordered("signbit", x)
    if kind(x.dtype) in "bu":
        return _no_such(x, False)
    if kind(x.dtype) == "f":
        x = run(arith.copysign, filled(1, x.type), x)
    return less(x, 0)


def copysign(x1: Any, x2: Any, /) -> Any:
    """|x1| with the sign of x2."""
    return run(arith.copysign, *float_operands("copysign", x1, x2))


def nextafter(x1: Any, x2: Any, /) -> Any:
    """The representable number after x1 in the direction of x2."""
    return run(arith.nextafter, *float_operands("nextafter", x1, x2))


# ---- complex numbers -----------------------------------------------------------------------------


def real(val: Any, /) -> Any:
    """The real part."""
    x = core.as_array(val)
    return run(parts.real, x) if kind(x.dtype) == "c" else x


def imag(val: Any, /) -> Any:
    """The imaginary part: zeros for real numbers."""
    x = core.as_array(val)
    return run(parts.imag, x) if kind(x.dtype) == "c" else filled(0, x.type)


def conjugate(x: Any, /) -> Any:
    """The complex conjugate."""
    x = core.as_array(x)
    return run(parts.conj, x) if kind(x.dtype) == "c" else placement.twin(x)


def angle(z: Any, deg: bool = False) -> Any:
    """The argument of complex numbers, in radians or, with ``deg``, degrees.

    >>> jnp.angle(1j, deg=True)
    Array(90., dtype=float32)
    """
    z = to_inexact(z)
    found = arctan2(imag(z), real(z))
    return multiply(found, 180 / np.pi) if deg else found


def complex_of(re: Any, im: Any) -> Any:
    """A complex Array from real parts."""
    re, im = float_operands("complex", re, im)
    if real_dtype(re.dtype).itemsize == 2:
        re, im = convert(re, DTYPES["f32"]), convert(im, DTYPES["f32"])
    return run(parts.complex_, re, im)


# ---- choice --------------------------------------------------------------------------------------


def select(condition: Any, x: Any, y: Any) -> Any:
    """``x`` where ``condition`` is true, ``y`` elsewhere; all three broadcast."""
    x, y = promotion.promoted("where", x, y)
    condition = truth(condition)
    shape = promotion.broadcast_shapes("where", (condition, x, y))
    condition, x, y = (promotion.broadcast_to(a, shape) for a in (condition, x, y))
    found = core.apply(logic.select, condition, x, y)
    found._weak = x._weak and y._weak
    return found


def clip(
    arr: Any,
    /,
    min: Any = None,
    max: Any = None,
    *,
    a_min: Any = None,
    a_max: Any = None,
    out: Any = None,
) -> Any:
    """``arr`` limited to [min, max]; None on a side leaves that side open. ``max`` wins where they
    cross.

    >>> jnp.clip(jnp.array([-1.0, 0.5, 2.0]), 0.0, 1.0)
    Array([0. , 0.5, 1. ], dtype=float32)
    """
    no_out("clip", out)
    low, high = (a_min if min is None else min), (a_max if max is None else max)
    found = core.as_array(arr)
    if low is not None:
        found = maximum(found, low)
    if high is not None:
        found = minimum(found, high)
    return placement.own(found, arr)
