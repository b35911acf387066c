"""Random bits, and the uniform numbers made of them: the same bits as JAX for the same key.

In: a key, a shape, a dtype, bounds. Out: Arrays. Everything else in ``random`` is built on these.

    >>> uniform(key(0), (3,))
    Array([0.947667  , 0.9785799 , 0.33229148], dtype=float32)

The functions of words (``bits_of``, ``unit_interval``, ``uniform_of``) take keys as u32[2] Arrays;
the public ones take typed and raw keys.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tracejit import source
from tracejit.config import config
from tracejit.errors import ArgumentError, DTypeError
from tracejit.frontend import elementwise, promotion
from tracejit.frontend.array import Array, apply, as_array
from tracejit.frontend.axes import shape_tuple
from tracejit.frontend.promotion import canonical, constant_of, convert
from tracejit.ir.types import DTYPES, kind
from tracejit.ops import arith, logic, parts, powers
from tracejit.ops import bits as bit_ops
from tracejit.ops.random_bits import random_bits
from tracejit.random import unpartitioned
from tracejit.random.arguments import (
    constant,
    float_dtype,
    float_info,
    int_dtype,
    real_array,
    result_shape,
)
from tracejit.random.keys import single, split_into

I32 = DTYPES["i32"]
UNSIGNED = {8: DTYPES["u8"], 16: DTYPES["u16"], 32: DTYPES["u32"], 64: DTYPES["u64"]}


# ---- bits ----------------------------------------------------------------------------------------


def bits_of(words: Array, shape: tuple[int, ...], width: int) -> Array:
    """Random bits as unsigned integers of ``width`` bits."""
    if not config.threefry_partitionable:
        return unpartitioned.bits(words, shape, width)
    return apply(random_bits, words, shape=shape, bit_width=width)


def bits(key: Any, shape: Any = (), dtype: Any = None) -> Array:
    """Uniform random bits as unsigned integers, uint32 unless another ``dtype`` is given.

    Raises DTypeError for another kind of dtype.

    >>> random.bits(random.key(0), (2,), np.uint8)
    Array([167, 146], dtype=uint8)
    """
    words = single("bits", key)
    found = UNSIGNED[32] if dtype is None else canonical(dtype)
    if kind(found) != "u":
        raise DTypeError(f"bits: takes an unsigned integer dtype, not {found}", at=source.here())
    return bits_of(words, shape_tuple(shape), found.itemsize * 8)


# ---- uniform -------------------------------------------------------------------------------------


def unit_interval(words: Array, shape: tuple[int, ...], dtype: np.dtype) -> Array:
    """Uniform numbers in [0, 1): random mantissa bits make a number in [1, 2), less 1."""
    info = float_info(dtype)
    # a mantissa of fewer than 8 bits takes random bytes
    width = 8 if info.nmant < 8 else info.bits
    unsigned = UNSIGNED[info.bits]
    raw = convert(bits_of(words, shape, width), unsigned)
    mantissa = _both(bit_ops.shift_right_logical, raw, width - info.nmant)
    one = int(np.asarray(1, dtype).view(unsigned))
    number = elementwise.run(parts.bitcast, _both(logic.or_, mantissa, one), dtype=dtype)
    return _both(arith.sub, number, 1)


def _both(prim: Any, x: Array, scalar: Any) -> Array:
    """``prim`` of an Array and a scalar in its dtype."""
    return elementwise.run(prim, x, promotion.spread(scalar, x.type))


def uniform_of(
    words: Array, shape: tuple[int, ...], dtype: np.dtype, low: Any = 0, high: Any = 1
) -> Array:
    """Uniform numbers in [low, high): scalars or Arrays that broadcast to ``shape``."""
    low, high = (convert(as_array(x), dtype) for x in (low, high))
    u = unit_interval(words, shape, dtype)
    values = constant_of(low), constant_of(high)
    if values[0] is not None and values[1] is not None:
        if (values[0], values[1]) == (0, 1):
            return u
        span = constant(values[1] - values[0], dtype)
    else:
        span = elementwise.subtract(high, low)
    low = promotion.broadcast_to(low, shape)
    return elementwise.maximum(low, _scaled(u, promotion.broadcast_to(span, shape), low))


def _scaled(u: Array, span: Array, low: Array) -> Array:
    """u * span + low, rounded once in 32 and 64 bits: the compiled code of JAX contracts too."""
    if u.dtype.itemsize < 4:
        return elementwise.add(elementwise.multiply(u, span), low)
    return elementwise.run(powers.fma, u, span, low)


def uniform(
    key: Any, shape: Any = (), dtype: Any = None, minval: Any = 0.0, maxval: Any = 1.0
) -> Array:
    """Uniform numbers in [minval, maxval), bit for bit those of JAX; the bounds broadcast to
    ``shape``.

    Random mantissa bits make a number in [1, 2), less 1: multiples of 2**-23 in float32. Raises
    DTypeError for a dtype that is not floating.

    >>> random.uniform(random.key(0), (3,))
    Array([0.947667  , 0.9785799 , 0.33229148], dtype=float32)
    """
    words = single("uniform", key)
    found = float_dtype("uniform", dtype)
    low, high = real_array("uniform", minval), real_array("uniform", maxval)
    sizes = result_shape("uniform", shape_tuple(shape), low, high)
    return uniform_of(words, sizes, found, low, high)


# ---- integers ------------------------------------------------------------------------------------


def randint(key: Any, shape: Any, minval: Any, maxval: Any, dtype: Any = None) -> Array:
    """Uniform integers in [minval, maxval), ``minval`` where that is empty.

    The result is that of JAX for the same ``dtype`` (whose default is int32 there).

    Raises DTypeError for a dtype that is no integer, ArgumentError for a bound that is a tuple: the
    shape comes first.

    >>> random.randint(random.key(0), (5,), 0, 10)
    Array([5, 1, 5, 7, 3])
    """
    for what, bound in (("minval", minval), ("maxval", maxval)):
        if isinstance(bound, tuple):
            raise ArgumentError(
                f"randint: {what}={bound} is a tuple, not an integer or an array",
                at=source.here(),
                hint="the order is randint(key, shape, minval, maxval)",
            )
    words = single("randint", key)
    found = int_dtype("randint", dtype)
    bounds = [_bound(x) for x in (minval, maxval)]
    sizes = result_shape("randint", shape_tuple(shape), *bounds)
    if found.itemsize >= 4:
        return randint_of(words, sizes, *bounds, found)
    # narrow integers are drawn in 32 bits: the remainder of few bits would be visibly biased
    info = np.iinfo(found)
    low = elementwise.clip(_saturated(bounds[0], I32), info.min, info.max)
    high = elementwise.clip(_saturated(bounds[1], I32), info.min, info.max + 1)
    return convert(randint_of(words, sizes, low, high, I32), found)


def _bound(x: Any) -> Array:
    """A bound as an Array of integers; it keeps no weak dtype."""
    array = real_array("randint", x)
    if kind(array.dtype) not in "iu":
        array = convert(array, DTYPES["i64"])
    return promotion.relabelled(array, False)


def _saturated(x: Array, dtype: np.dtype) -> Array:
    """``x`` in another integer dtype, values beyond its range at the ends of it."""
    to, own = np.iinfo(dtype), np.iinfo(x.dtype)
    return convert(elementwise.clip(x, max(to.min, own.min), min(to.max, own.max)), dtype)


def randint_of(
    words: Array, shape: tuple[int, ...], low: Array, high: Array, dtype: np.dtype
) -> Array:
    """Integers of 32 or 64 bits: the remainder of twice as many random bits."""
    width = dtype.itemsize * 8
    unsigned = UNSIGNED[width]
    largest = min(np.iinfo(dtype).max, np.iinfo(high.dtype).max)
    beyond = elementwise.greater(high, constant(largest, high.dtype))
    low, high = _saturated(low, dtype), _saturated(high, dtype)
    upper, lower = (bits_of(k, shape, width) for k in split_into(words))
    one = constant(1, unsigned)
    empty = elementwise.less_equal(high, low)
    span = elementwise.select(empty, one, convert(elementwise.subtract(high, low), unsigned))
    # with the dtype's maximum included the span may wrap to 0: then all bits are the number
    full = elementwise.logical_and(beyond, elementwise.logical_not(empty))
    span = elementwise.select(full, elementwise.add(span, one), span)
    # upper * 2**width modulo span, where 2**width does not fit: (2**(width / 2))**2 modulo span
    half = _rest(constant(2 ** (width // 2), unsigned), span)
    factor = _rest(elementwise.multiply(half, half), span)
    offset = _rest(upper, span) * factor + _rest(lower, span)
    return elementwise.add(low, convert(_rest(offset, span), dtype))


def _rest(x: Array, span: Array) -> Array:
    """x modulo span; x itself where span is 0."""
    found = elementwise.fmod(x, span)
    return elementwise.select(elementwise.equal(span, constant(0, span.dtype)), x, found)
