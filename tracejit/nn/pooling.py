"""Pooling over windows of the spatial axes.

>>> images = jnp.ones((2, 8, 8, 3))
>>> max_pool(images, (2, 2)).shape  # NHWC: axes 1 and 2, stride as the window
(2, 4, 4, 3)
>>> avg_pool(images.transpose(0, 3, 1, 2), (3, 3), (2, 2), "SAME", axes=(2, 3)).shape  # NCHW
(2, 3, 4, 4)
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from tracejit.errors import ArgumentError, ShapeError
from tracejit.frontend import elementwise as ew
from tracejit.frontend import promotion
from tracejit.frontend.array import Array, apply, as_array
from tracejit.frontend.axes import axes_list
from tracejit.frontend.promotion import to_inexact
from tracejit.lax.operands import ints
from tracejit.lax.reductions import window_parameters
from tracejit.ops import window as window_ops
from tracejit.source import here

Sizes = int | Sequence[int]


def _parameters(
    name: str, x: Array, window: Sizes, strides: Any, padding: Any, axes: Any
) -> dict[str, Any]:
    """The window over all axes: 1 along those that are not pooled."""
    if axes is None:
        axes = tuple(range(1, x.ndim - 1))
        if not axes:
            raise ShapeError(
                f"{name}: {x.type} has no axes between its batch and its features", at=here()
            )
    count = len(axes)
    size = (window,) * count if isinstance(window, int) else ints(window)
    steps = (
        size
        if strides is None
        else (strides,) * count
        if isinstance(strides, int)
        else ints(strides)
    )
    if len(size) != count or len(steps) != count:
        raise ArgumentError(
            f"{name}: window {size} and strides {steps} need one entry for each of the axes {axes}",
            at=here(),
        )
    numbers = axes_list(name, tuple(axes), x.ndim)
    dims, moves = [1] * x.ndim, [1] * x.ndim
    for axis, n, s in zip(numbers, size, steps, strict=True):
        dims[axis], moves[axis] = n, s
    if not isinstance(padding, str):
        pads = [(0, 0)] * x.ndim
        for axis, pair in zip(numbers, padding, strict=True):
            low, high = (pair, pair) if isinstance(pair, int) else ints(pair)
            pads[axis] = (low, high)
        padding = pads
    return window_parameters(x.shape, dims, moves, padding, None, None)


def max_pool(
    x: Any,
    window: Sizes,
    strides: Sizes | None = None,
    padding: Any = "VALID",
    axes: Sequence[int] | None = None,
) -> Array:
    """The largest element in each window; padding never wins.

    ``window`` and ``strides`` (the window by default) have an entry for each of ``axes``, or are
    one int; ``axes`` are those between batch and features by default, the first and the last.
    ``padding`` is "VALID", "SAME" or (low, high) pairs.

    >>> nn.max_pool(jnp.arange(16.0).reshape(1, 4, 4, 1), 2).ravel()
    Array([ 5.,  7., 13., 15.], dtype=float32)
    """
    x = as_array(x)
    return apply(
        window_ops.reduce_window_max,
        x,
        **_parameters("max_pool", x, window, strides, padding, axes),
    )


def min_pool(
    x: Any,
    window: Sizes,
    strides: Sizes | None = None,
    padding: Any = "VALID",
    axes: Sequence[int] | None = None,
) -> Array:
    """The smallest element in each window; padding never wins.

    ``window`` and ``strides`` (the window by default) have an entry for each of ``axes``, or are
    one int; ``axes`` are those between batch and features by default, the first and the last.
    ``padding`` is "VALID", "SAME" or (low, high) pairs.

    >>> nn.min_pool(jnp.arange(16.0).reshape(1, 4, 4, 1), 2).ravel()
    Array([ 0.,  2.,  8., 10.], dtype=float32)
    """
    x = as_array(x)
    return apply(
        window_ops.reduce_window_min,
        x,
        **_parameters("min_pool", x, window, strides, padding, axes),
    )


def avg_pool(
    x: Any,
    window: Sizes,
    strides: Sizes | None = None,
    padding: Any = "VALID",
    axes: Sequence[int] | None = None,
    count_include_pad: bool = False,
) -> Array:
    """The mean of each window; padding counts as zeros only with ``count_include_pad``.

    Other arguments are those of ``max_pool``.

    >>> nn.avg_pool(jnp.arange(16.0).reshape(1, 4, 4, 1), 2).ravel()
    Array([ 2.5,  4.5, 10.5, 12.5], dtype=float32)
    """
    x = to_inexact(x)
    params = _parameters("avg_pool", x, window, strides, padding, axes)
    total = apply(window_ops.reduce_window_sum, x, **params)
    if count_include_pad or not any(any(pair) for pair in params["padding"]):
        return ew.divide(total, float(prod(params["window_dimensions"])))
    pooled = tuple(
        n if w > 1 or any(p) else 1
        for n, w, p in zip(x.shape, params["window_dimensions"], params["padding"], strict=True)
    )
    flat = dict(
        params,
        window_strides=tuple(
            s if n > 1 else 1 for s, n in zip(params["window_strides"], pooled, strict=True)
        ),
    )
    counts = window_ops.reduce_window_sum.rule("numpy")(np.ones(pooled, x.dtype), **flat)
    return ew.divide(total, promotion.broadcast_to(as_array(counts), _stretched(counts, total)))


def _stretched(counts: np.ndarray, total: Array) -> tuple[int, ...]:
    """The shape to which the counts, known while tracing, broadcast."""
    return tuple(m if n == 1 else n for n, m in zip(counts.shape, total.shape, strict=True))
