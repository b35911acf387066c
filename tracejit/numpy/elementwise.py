"""More functions of single elements, composed from those of the front end.

>>> hypot(3.0, 4.0)
Array(5., dtype=float32)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tracejit.errors import ArgumentError, DTypeError
from tracejit.frontend import creation, ordering, placement, promotion, reductions, shaping
from tracejit.frontend import elementwise as ew
from tracejit.frontend.array import as_array
from tracejit.frontend.promotion import convert, filled, to_inexact
from tracejit.ir.types import DTYPES, kind
from tracejit.ops import arith, parts, special
from tracejit.source import here

# ---- angles and exponentials ---------------------------------------------------------------------


def _real(name: str, *xs: Any) -> list[Any]:
    """Operands in their promoted floating dtype; DTypeError for complex ones."""
    arrays = ew.float_operands(name, *xs)
    if kind(arrays[0].dtype) == "c":
        raise DTypeError(f"{name}: takes real numbers, not {arrays[0].type}", at=here())
    return arrays


def deg2rad(x: Any, /) -> Any:
    """Degrees as radians."""
    return ew.multiply(*_real("deg2rad", x), np.pi / 180)


def rad2deg(x: Any, /) -> Any:
    """Radians as degrees."""
    return ew.multiply(*_real("rad2deg", x), 180 / np.pi)


def hypot(x1: Any, x2: Any, /) -> Any:
    """sqrt(x1**2 + x2**2) without overflow on the way."""
    a, b = (ew.absolute(x) for x in _real("hypot", x1, x2))
    high, low = ew.maximum(a, b), ew.minimum(a, b)
    ordinary = ew.logical_and(ew.greater(high, 0), ew.isfinite(high))
    ratio = ew.divide(ew.select(ordinary, low, 0), ew.select(ordinary, high, 1))
    found = ew.select(ordinary, ew.multiply(high, ew.sqrt(ew.add(ew.square(ratio), 1))), high)
    return ew.select(ew.logical_or(ew.isinf(a), ew.isinf(b)), np.inf, found)


def _logsum(x1: Any, x2: Any, exp: Any, log1p: Any) -> Any:
    a, b = ew.float_operands("logaddexp", x1, x2)
    if kind(a.dtype) == "c":
        return ew.log(ew.add(ew.exp(a), ew.exp(b)))
    high = ew.maximum(a, b)
    gap = ew.subtract(a, b)
    # equal infinities have a nan gap: the sum is that infinity itself
    alike = ew.isnan(gap)
    tail = log1p(exp(ew.negative(ew.absolute(ew.select(alike, 0, gap)))))
    return ew.select(alike, ew.add(a, b), ew.add(high, tail))


def logaddexp(x1: Any, x2: Any, /) -> Any:
    """log(exp(x1) + exp(x2)) without overflow."""
    return _logsum(x1, x2, ew.exp, ew.log1p)


def logaddexp2(x1: Any, x2: Any, /) -> Any:
    """log2(2**x1 + 2**x2) without overflow."""
    return _logsum(x1, x2, ew.exp2, lambda t: ew.multiply(ew.log1p(t), 1 / float(np.log(2))))


def sinc(x: Any, /) -> Any:
    """sin(pi x) / (pi x), 1 at 0."""
    scaled = ew.multiply(to_inexact(x), np.pi)
    zero = ew.equal(scaled, 0)
    safe = ew.select(zero, 1, scaled)
    # near 0 the derivative comes from the series, which the other branch lacks
    series = ew.subtract(1, ew.divide(ew.square(scaled), 6))
    return ew.select(zero, series, ew.divide(ew.sin(safe), safe))


def i0(x: Any) -> Any:
    """The modified Bessel function of the first kind, order 0."""
    x = to_inexact(x)
    return ew.multiply(ew.run(special.bessel_i0e, x), ew.exp(ew.absolute(x)))


def heaviside(x1: Any, x2: Any, /) -> Any:
    """0 below 0, ``x2`` at 0, 1 above."""
    x1, x2 = _real("heaviside", x1, x2)
    found = ew.select(ew.less(x1, 0), 0, ew.select(ew.equal(x1, 0), x2, 1))
    return ew.select(ew.isnan(x1), x1, found)


def fabs(x: Any, /) -> Any:
    """|x| as a floating number."""
    return ew.absolute(*_real("fabs", x))


def fmax(x1: Any, x2: Any) -> Any:
    """The larger of x1 and x2; where one is nan the other."""
    a, b = promotion.prepared("fmax", x1, x2)
    return ew.select(ew.logical_or(ew.greater(a, b), ew.isnan(b)), a, b)


def fmin(x1: Any, x2: Any) -> Any:
    """The smaller of x1 and x2; where one is nan the other."""
    a, b = promotion.prepared("fmin", x1, x2)
    return ew.select(ew.logical_or(ew.less(a, b), ew.isnan(b)), a, b)


def modf(x: Any, /, out: None = None) -> tuple[Any, Any]:
    """The fraction and the integer part, both with the sign of x."""
    x = to_inexact(x)
    whole = ew.trunc(x)
    rest = ew.select(ew.isinf(x), 0, ew.subtract(x, whole))
    return ew.copysign(rest, x), whole


def ldexp(x1: Any, x2: Any, /) -> Any:
    """x1 * 2**x2, in two steps so that the power of two itself does not overflow."""
    x1, x2 = to_inexact(x1), as_array(x2)
    if kind(x2.dtype) not in "biu":
        raise DTypeError(f"ldexp: the exponent is an integer, not {x2.dtype}", at=here())
    half = ew.floor_divide(x2, 2)
    for part in (half, ew.subtract(x2, half)):
        x1 = ew.multiply(x1, ew.exp2(convert(part, x1.dtype)))
    return x1


_LAYOUT = {
    "f16": ("u16", 10, 5),
    "bf16": ("u16", 7, 8),
    "f32": ("u32", 23, 8),
    "f64": ("u64", 52, 11),
}


def frexp(x: Any, /) -> tuple[Any, Any]:
    """Mantissa in [0.5, 1) and exponent (int32) with x = mantissa * 2**exponent."""
    x = to_inexact(x)
    name = next(n for n, d in DTYPES.items() if d == x.dtype)
    if name not in _LAYOUT:
        raise DTypeError(f"frexp: takes real floating numbers, not {x.dtype}", at=here())
    word, fraction, width = _LAYOUT[name]
    mask, bias = (1 << width) - 1, (1 << (width - 1)) - 1
    tiny = ew.less(
        ew.absolute(x),
        float(creation.to_numpy(np.finfo(np.float32).tiny))
        if name == "bf16"
        else float(np.finfo(x.dtype).tiny),
    )
    scaled = ew.select(tiny, ew.multiply(x, 2.0 ** (fraction + 1)), x)
    bits = ew.run(parts.bitcast, scaled, dtype=DTYPES[word])
    raw = convert(ew.bitwise_and(ew.right_shift(bits, fraction), mask), DTYPES["i32"])
    exponent = ew.subtract(raw, ew.select(tiny, bias - 1 + fraction + 1, bias - 1))
    cleared = ew.bitwise_or(
        ew.bitwise_and(bits, ~(mask << fraction) & ((1 << x.dtype.itemsize * 8) - 1)),
        (bias - 1) << fraction,
    )
    mantissa = ew.run(parts.bitcast, cleared, dtype=x.dtype)
    as_it_is = ew.logical_or(ew.equal(x, 0), ew.logical_not(ew.isfinite(x)))
    return ew.select(as_it_is, x, mantissa), convert(
        ew.select(as_it_is, 0, exponent), DTYPES["i32"]
    )


def spacing(x: Any, /) -> Any:
    """The distance to the next representable number away from 0."""
    x = to_inexact(x)
    return ew.subtract(ew.nextafter(x, ew.copysign(np.inf, x)), x)


def gcd(x1: Any, x2: Any) -> Any:
    """The greatest common divisor of integers."""
    a, b = _integers("gcd", x1, x2)
    # Euclid on w bits needs at most 1.44 w + 2 steps (worst case: Fibonacci numbers)
    for _ in range(int(1.45 * a.dtype.itemsize * 8) + 2):
        rest = ew.run(arith.rem, a, b)
        stop = ew.equal(b, 0)
        a, b = ew.select(stop, a, b), ew.select(stop, b, rest)
    return a


def lcm(x1: Any, x2: Any) -> Any:
    """The least common multiple of integers."""
    a, b = _integers("lcm", x1, x2)
    divisor = gcd(a, b)
    return ew.multiply(ew.floor_divide(a, divisor), b)


def _integers(name: str, x1: Any, x2: Any) -> list[Any]:
    found = promotion.prepared(name, x1, x2)
    if kind(found[0].dtype) not in "iu":
        raise DTypeError(f"{name}: takes integers, not {found[0].dtype}", at=here())
    return [ew.absolute(x) for x in found]


# ---- nan, parts, comparison ----------------------------------------------------------------------


def nan_to_num(
    x: Any, copy: bool = True, nan: Any = 0.0, posinf: Any = None, neginf: Any = None
) -> Any:
    """nan replaced by 0 and infinities by the largest finite numbers, or by values given.

    >>> jnp.nan_to_num(jnp.array([jnp.nan, -jnp.inf]), neginf=-1.0)
    Array([ 0., -1.], dtype=float32)
    """
    x = as_array(x)
    if kind(x.dtype) == "c":
        return ew.complex_of(
            nan_to_num(ew.real(x), copy, nan, posinf, neginf),
            nan_to_num(ew.imag(x), copy, nan, posinf, neginf),
        )
    if kind(x.dtype) in "biu":
        return placement.twin(x)
    largest = float(np.finfo(np.float32).max) if x.dtype.itemsize == 4 else None
    if largest is None:
        largest = (
            3.3895313892515355e38 if x.dtype == DTYPES["bf16"] else float(np.finfo(x.dtype).max)
        )
    x = ew.select(ew.isnan(x), nan, x)
    x = ew.select(ew.isposinf(x), largest if posinf is None else posinf, x)
    return ew.select(ew.isneginf(x), -largest if neginf is None else neginf, x)


def isreal(x: Any) -> Any:
    """Whether the imaginary part is 0."""
    return ew.equal(ew.imag(x), 0)


def iscomplex(x: Any) -> Any:
    """Whether the imaginary part is not 0."""
    return ew.not_equal(ew.imag(x), 0)


def isclose(a: Any, b: Any, rtol: Any = 1e-05, atol: Any = 1e-08, equal_nan: bool = False) -> Any:
    """Whether |a - b| <= atol + rtol * |b|, element by element; infinities of one sign are close.

    >>> jnp.isclose(jnp.array([1.0, 2.0]), jnp.array([1.0000001, 2.1]))
    Array([ True, False])
    """
    a, b = promotion.prepared("isclose", a, b)
    if kind(a.dtype) == "b":
        return ew.equal(a, b)
    if kind(a.dtype) in "iu":
        a, b = convert(a, DTYPES["f64"]), convert(b, DTYPES["f64"])
    finite = ew.logical_and(ew.isfinite(a), ew.isfinite(b))
    limit = ew.add(atol, ew.multiply(rtol, ew.absolute(b)))
    near = ew.logical_and(finite, ew.less_equal(ew.absolute(ew.subtract(a, b)), limit))
    found = ew.logical_or(near, ew.equal(a, b))
    if equal_nan:
        found = ew.logical_or(found, ew.logical_and(ew.isnan(a), ew.isnan(b)))
    return found


def allclose(a: Any, b: Any, rtol: Any = 1e-05, atol: Any = 1e-08, equal_nan: bool = False) -> Any:
    """Whether all elements are close (see isclose), as one bool.

    >>> print(jnp.allclose(jnp.ones(3), 1.0))
    True
    """
    return reductions.all(isclose(a, b, rtol, atol, equal_nan))


def array_equal(a1: Any, a2: Any, equal_nan: bool = False) -> Any:
    """Whether two arrays have one shape and equal elements."""
    a1, a2 = as_array(a1), as_array(a2)
    if a1.shape != a2.shape:
        return filled(False, a1.type.with_dtype(DTYPES["bool"]).with_shape(()))
    same = ew.equal(a1, a2)
    if equal_nan:
        same = ew.logical_or(same, ew.logical_and(ew.isnan(a1), ew.isnan(a2)))
    return reductions.all(same)


def array_equiv(a1: Any, a2: Any) -> Any:
    """Whether two arrays broadcast together to equal elements."""
    a1, a2 = as_array(a1), as_array(a2)
    try:
        promotion.broadcast_shapes("array_equiv", (a1, a2))
    except ValueError:
        return filled(False, a1.type.with_dtype(DTYPES["bool"]).with_shape(()))
    return reductions.all(ew.equal(a1, a2))


def unwrap(p: Any, discont: Any = None, axis: int = -1, period: Any = 2 * np.pi) -> Any:
    """Jumps of more than half a period along ``axis`` taken out by adding periods."""
    p = as_array(p)
    whole = kind(p.dtype) in "biu" and isinstance(period, int)
    p = p if whole else to_inexact(p)
    number = shaping.axis_number("unwrap", axis, p.ndim)
    n = p.shape[number]
    if n < 2:
        return p
    steps = ew.subtract(shaping.cut(p, number, 1, n), shaping.cut(p, number, 0, n - 1))
    half = period // 2 if whole else period / 2
    wrapped = ew.subtract(ew.remainder(ew.add(steps, half), period), half)
    if not whole or period % 2 == 0:
        at_edge = ew.logical_and(ew.equal(wrapped, -half), ew.greater(steps, 0))
        wrapped = ew.select(at_edge, half, wrapped)
    fix = ew.subtract(wrapped, steps)
    fix = ew.select(ew.less(ew.absolute(steps), half if discont is None else discont), 0, fix)
    moved = ew.add(shaping.cut(p, number, 1, n), reductions.cumsum(fix, number, fix.dtype))
    return shaping.concatenate([shaping.cut(p, number, 0, 1), moved], number)


# ---- choice --------------------------------------------------------------------------------------


def where(
    condition: Any,
    x: Any = None,
    y: Any = None,
    /,
    *,
    size: int | None = None,
    fill_value: Any = None,
) -> Any:
    """``x`` where ``condition`` holds, ``y`` elsewhere; with the condition only,
    ``nonzero(condition)``.

    Operands broadcast, else ShapeError; the result has their promoted dtype. Both sides are
    computed (``lax.cond`` computes one); derivatives of the one not taken are 0 even if it has
    none.

    >>> x = jnp.array([-1.0, 4.0])
    >>> jnp.where(x > 0, x, 0)
    Array([0., 4.], dtype=float32)
    """
    if x is None and y is None:
        return ordering.nonzero(condition, size=size, fill_value=fill_value)
    if x is None or y is None:
        raise ArgumentError("where: give both x and y, or neither", at=here())
    return ew.select(condition, x, y)


def select(condlist: Any, choicelist: Any, default: Any = 0) -> Any:
    """The choice of the first condition that holds, ``default`` where none does.

    >>> x = jnp.arange(5)
    >>> jnp.select([x < 2, x > 3], [x, 10 * x], default=-1)
    Array([ 0,  1, -1, -1, 40])
    """
    if len(condlist) != len(choicelist) or not len(condlist):
        raise ArgumentError(
            f"select: {len(condlist)} conditions, {len(choicelist)} choices", at=here()
        )
    found = default
    for condition, choice in zip(reversed(list(condlist)), reversed(list(choicelist)), strict=True):
        found = ew.select(condition, choice, found)
    return found


def piecewise(x: Any, condlist: Any, funclist: Any, *args: Any, **kw: Any) -> Any:
    """Function k (or constant) where condition k holds; one function more than conditions is the
    default.
    """
    x = as_array(x)
    conditions = list(condlist) if isinstance(condlist, list | tuple) else [condlist]
    functions = list(funclist)
    if len(functions) == len(conditions) + 1:
        default = functions.pop()
    elif len(functions) == len(conditions):
        default = 0
    else:
        raise ArgumentError(
            f"piecewise: {len(conditions)} conditions, {len(functions)} functions", at=here()
        )

    def value(f: Any) -> Any:
        return promotion.typed(f(x, *args, **kw) if callable(f) else f, x.dtype)

    found = promotion.broadcast_to(value(default), x.shape)
    # of several conditions that hold the last one counts
    for condition, function in zip(conditions, functions, strict=True):
        found = ew.select(condition, value(function), found)
    return found


def choose(a: Any, choices: Any, out: None = None, mode: str = "raise") -> Any:
    """Element by element, of the arrays ``choices`` the one whose number is in ``a``."""
    items = promotion.promoted("choose", *shaping.sequence("choose", choices))
    a = as_array(a)
    count = len(items)
    if mode == "wrap":
        a = ew.remainder(a, count)
    elif mode == "clip":
        a = ew.clip(a, 0, count - 1)
    elif mode == "raise":
        data = a.concrete("choose() with mode='raise'")
        if data.size and not (0 <= data.min() and data.max() < count):
            raise ArgumentError(f"choose: an entry is not among the {count} choices", at=here())
    else:
        raise ArgumentError(f"choose: mode is raise, wrap or clip, not {mode!r}", at=here())
    found = items[-1]
    for k in range(count - 2, -1, -1):
        found = ew.select(ew.equal(a, k), items[k], found)
    shape = promotion.broadcast_shapes("choose", [a, *items])
    return promotion.broadcast_to(found, shape)
