"""Random orders and choices: permutation, choice, categorical.

>>> permutation(key(0), 5)
Array([0, 1, 4, 3, 2])
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tracejit import source
from tracejit.config import config
from tracejit.errors import ArgumentError, DTypeError, ShapeError
from tracejit.frontend import creation, indexing, ordering, promotion, reductions, shaping
from tracejit.frontend import elementwise as ew
from tracejit.frontend.array import Array, apply, as_array
from tracejit.frontend.axes import axis_number, integer, shape_tuple
from tracejit.frontend.promotion import convert, reshaped
from tracejit.ir.types import DTYPES, kind
from tracejit.ops import sort as sorting
from tracejit.random.arguments import constant, floating, one_of, real_array, result_shape
from tracejit.random.continuous import gumbel_of
from tracejit.random.draws import bits_of, randint_of, uniform_of
from tracejit.random.keys import single, split_into

I32, I64 = DTYPES["i32"], DTYPES["i64"]
#: sorting by 32-bit keys is repeated until n**3 key strings are expected to be distinct
EXPONENT = 3


def _shuffled(words: Array, x: Array, axis: int) -> Array:
    """``x`` with each vector along ``axis`` in random order: repeatedly sorted by random keys."""
    rounds = math.ceil(EXPONENT * math.log(max(1, x.size)) / math.log(2**32 - 1))
    for _ in range(rounds):
        words, sub = split_into(words)
        _, x = ordering.sort_together((bits_of(sub, x.shape, 32), x), axis)
    return x


def _count(name: str, x: Array) -> int:
    if kind(x.dtype) not in "iu":
        raise ArgumentError(
            f"{name}: takes an integer or an array with axes, not {x.type}", at=source.here()
        )
    return integer(x, f"{name}: the number of elements")


def permutation(key: Any, x: Any, axis: int = 0, independent: bool = False) -> Array:
    """``x`` with its slices along ``axis`` in random order; of an integer n, of 0 ... n - 1.

    ``independent``: each vector along ``axis`` gets an order of its own.

    >>> random.permutation(random.key(0), 5)
    Array([0, 1, 4, 3, 2])
    """
    words = single("permutation", key)
    x = promotion.relabelled(as_array(x), False)
    if x.ndim == 0:
        axis_number("permutation", axis, 1)
        return _shuffled(words, creation.arange(max(_count("permutation", x), 0)), 0)
    number = axis_number("permutation", axis, x.ndim)
    if independent or x.ndim == 1:
        return _shuffled(words, x, number)
    order = _shuffled(words, creation.arange(x.shape[number]), 0)
    return indexing.take(x, order, number, mode="clip")


# ---- choice --------------------------------------------------------------------------------------


def choice(
    key: Any,
    a: Any,
    shape: Any = (),
    replace: bool = True,
    p: Any = None,
    axis: int = 0,
    mode: str | None = None,
) -> Array:
    """Elements of ``a`` along ``axis`` (of 0 ... a - 1 for an integer), with probabilities ``p``.

    Places are drawn in 32 bits where they fit, as by JAX's default.

    The result has ``shape`` in place of the axis. Raises ArgumentError for more draws than elements
    without replacement, ShapeError where ``p`` is not one number per element.

    >>> random.choice(random.key(0), 5, (3,), p=jnp.array([0.0, 0.5, 0.0, 0.5, 0.0]))
    Array([1, 1, 3])
    """
    words = single("choice", key)
    one_of("choice", "mode", mode, None, "low", "high", "highest")
    items, sizes = promotion.relabelled(as_array(a), False), shape_tuple(shape)
    number = 0 if items.ndim == 0 else axis_number("choice", axis, items.ndim)
    n = _count("choice", items) if items.ndim == 0 else items.shape[number]
    draws = math.prod(sizes)
    if draws == 0:
        return promotion.filled(0, items.type.with_shape(_placed(items, number, sizes)))
    if n <= 0:
        raise ArgumentError("choice: there is nothing to choose from", at=source.here())
    if not replace and draws > n:
        raise ArgumentError(
            f"choice: {draws} of {n} elements without replacement", at=source.here()
        )
    if p is not None:
        places = _weighted(words, n, sizes, replace, p, mode)
    elif replace:
        dtype = I32 if n < 2**31 else I64
        places = randint_of(words, sizes, constant(0, dtype), constant(n, dtype), dtype)
    else:
        x = creation.arange(n) if items.ndim == 0 else items
        kept = shaping.cut(permutation(words, x, number), number, 0, draws)
        return reshaped(kept, _placed(items, number, sizes))
    if items.ndim == 0:
        return reshaped(convert(places, config.default_int), sizes)
    found = indexing.take(items, places, number, mode="clip")
    return reshaped(found, _placed(items, number, sizes))


def _placed(items: Array, axis: int, sizes: tuple[int, ...]) -> tuple[int, ...]:
    return (*items.shape[:axis], *sizes, *items.shape[axis + 1 :])


def _weighted(
    words: Array, n: int, shape: tuple[int, ...], replace: bool, p: Any, mode: str | None
) -> Array:
    """Places drawn with probabilities ``p``: by inversion, or the largest of log p + Gumbel."""
    (p,) = floating("choice", p)
    if p.shape != (n,):
        raise ShapeError(f"choice: p has shape {p.shape}, there are {n} elements", at=source.here())
    if replace:
        total = reductions.cumsum(p)
        r = total[-1] * (1 - uniform_of(words, shape, p.dtype))
        return ordering.searchsorted(total, r)
    scores = gumbel_of(words, (n,), p.dtype, mode) + ew.log(p)
    return apply(sorting.top_k, scores, k=math.prod(shape))[1]


# ---- categorical ---------------------------------------------------------------------------------


def categorical(
    key: Any,
    logits: Any,
    axis: int = -1,
    shape: Any = None,
    replace: bool = True,
    mode: str | None = None,
) -> Array:
    """Categories drawn with probabilities softmax(logits) along ``axis``.

    ``shape`` ends with the shape of the other axes; what goes before is how many are drawn of each,
    without repetition for ``replace=False``.

    The largest of logits + Gumbel numbers. Raises DTypeError for logits that are not floating.

    >>> random.categorical(random.key(0), jnp.log(jnp.array([0.2, 0.0, 0.8])), shape=(6,))
    Array([0, 2, 2, 2, 2, 0])
    """
    words = single("categorical", key)
    logits = promotion.relabelled(real_array("categorical", logits), False)
    if kind(logits.dtype) != "f":
        raise DTypeError(
            f"categorical: logits are floating numbers, not {logits.type}", at=source.here()
        )
    number = axis_number("categorical", axis, logits.ndim)
    batch = (*logits.shape[:number], *logits.shape[number + 1 :])
    stand_in = promotion.spread(0, logits.type.with_shape(batch))
    sizes = result_shape("categorical", shape, stand_in)
    lead = sizes[: len(sizes) - len(batch)]
    if replace:
        rest = list(sizes[len(lead) :])
        rest.insert(number, logits.shape[number])
        noise = gumbel_of(words, (*lead, *rest), logits.dtype, mode)
        return reductions.argmax(noise + logits, axis=number - logits.ndim)
    k = math.prod(lead)
    if k > logits.shape[number]:
        raise ArgumentError(
            f"categorical: {k} of {logits.shape[number]} categories without replacement",
            at=source.here(),
        )
    scores = logits + gumbel_of(words, logits.shape, logits.dtype, mode)
    _, places = apply(sorting.top_k, shaping.moveaxis(scores, number, -1), k=k)
    return convert(reshaped(shaping.moveaxis(places, -1, 0), sizes), np.dtype(config.default_int))
