"""Threefry's bits as JAX drew them before it made them partitionable: with
``config.threefry_partitionable = False``, or JAX's ``jax_threefry_partitionable``.

The cipher runs on the numbers 0 ... n - 1 with the first half of them as high and the second as low
words, so each number depends on how many are drawn.

>>> with tj.settings(threefry_partitionable=False):
...     random.bits(random.key(0), (3,))
Array([4146024105, 1351547692, 2718843009], dtype=uint32)
"""

from __future__ import annotations

import math

from tracejit.frontend import creation, promotion, shaping
from tracejit.frontend import elementwise as ew
from tracejit.frontend.array import Array, apply
from tracejit.frontend.promotion import convert, reshaped
from tracejit.ir.types import DTYPES
from tracejit.ops.random_bits import WIDTHS, threefry2x32

U32 = DTYPES["u32"]


def words_of(key: Array, count: int) -> Array:
    """``count`` words of 32 bits; where that is odd the missing counter is 0."""
    half = -(-count // 2)
    if half == 0:
        return creation.zeros((0,), U32)
    high = creation.iota(U32, (half,), 0)
    low = ew.add(high, creation.asarray(half, U32))
    if count % 2:
        low = ew.select(ew.equal(high, half - 1), creation.asarray(0, U32), low)
    k0, k1 = (promotion.broadcast_to(key[k], (half,)) for k in (0, 1))
    return shaping.cut(shaping.concatenate(apply(threefry2x32, k0, k1, high, low)), 0, 0, count)


def bits(key: Array, shape: tuple[int, ...], width: int) -> Array:
    """Random bits as unsigned integers of ``width`` bits."""
    size = math.prod(shape)
    words = words_of(key, -(-size * width // 32))
    dtype = WIDTHS[width]
    if width == 64:
        first, second = (convert(shaping.cut(words, 0, at, at + size), dtype) for at in (0, size))
        words = ew.bitwise_or(ew.left_shift(first, creation.asarray(32, dtype)), second)
    elif width < 32:
        shifts = ew.multiply(creation.iota(U32, (1, 32 // width), 1), width)
        parts = ew.right_shift(reshaped(words, (words.size, 1)), shifts)
        parts = ew.bitwise_and(parts, creation.asarray(2**width - 1, U32))
        words = shaping.cut(convert(reshaped(parts, (parts.size,)), dtype), 0, 0, size)
    return reshaped(words, shape)


def split(key: Array, shape: tuple[int, ...]) -> Array:
    """Words of shape (*shape, 2): new keys."""
    return reshaped(words_of(key, 2 * math.prod(shape)), (*shape, 2))
