"""Scaled dot-product attention (Vaswani et al., 2017): grouped key heads, masks, sequence lengths.

>>> x = jnp.ones((2, 5, 4, 8))  # (batch, time, heads, features)
>>> dot_product_attention(x, x, x, is_causal=True).shape
(2, 5, 4, 8)
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tracejit.errors import ArgumentError, ShapeError
from tracejit.frontend import elementwise as ew
from tracejit.frontend import linear, promotion, shaping
from tracejit.frontend.array import Array, apply, as_array
from tracejit.frontend.promotion import convert, reshaped
from tracejit.ir.types import DTYPES
from tracejit.nn.normalise import logsumexp, softmax
from tracejit.ops import layout
from tracejit.source import here


def dot_product_attention(
    query: Any,
    key: Any,
    value: Any,
    bias: Any = None,
    mask: Any = None,
    *,
    scale: float | None = None,
    is_causal: bool = False,
    query_seq_lengths: Any = None,
    key_value_seq_lengths: Any = None,
    local_window_size: int | tuple[int, int] | None = None,
    implementation: str | None = None,
    return_residual: bool = False,
) -> Any:
    """softmax(query key' * scale + bias) value, per head; ``scale`` is 1 / sqrt(H) by default.

    query is (B, T, N, H) or (T, N, H), like the result; key and value (B, S, K, H) with K dividing
    N: heads share keys in groups. bias and mask broadcast to (B, N, T, S); false entries of the
    mask take no part. ``is_causal`` lets step t see keys 0..t; ``local_window_size`` (left, right)
    keeps keys at that distance. Rows beyond ``query_seq_lengths`` give zeros, keys beyond
    ``key_value_seq_lengths`` take no part. ``return_residual`` adds the log-sum-exp of the logits,
    (B, T, N). Raises ShapeError where the shapes do not agree.
    """
    if implementation not in (None, "xla", "cudnn"):
        raise ArgumentError(
            f"dot_product_attention: implementation {implementation!r} is not known", at=here()
        )
    q, k, v = promotion.promoted("dot_product_attention", query, key, value)
    single = q.ndim == 3
    if single:
        q, k, v = (shaping.expand_dims(x, 0) for x in (q, k, v))
    _check(q, k, v)
    batch, steps, heads, _ = q.shape
    keys = k.shape[1]
    logits = _logits(q, k, scale)
    wide = logits.dtype
    if bias is not None:
        logits = convert(ew.add(logits, _four(bias)), wide)
    allowed = _allowed(
        (batch, heads, steps, keys),
        mask,
        is_causal,
        query_seq_lengths,
        key_value_seq_lengths,
        local_window_size,
    )
    if allowed is not None:
        logits = ew.select(allowed, logits, -0.7 * float(np.finfo(wide).max))
    out = _mixed(convert(softmax(logits, -1), q.dtype), v)
    if query_seq_lengths is not None:
        inside = _before((batch, steps), query_seq_lengths)
        out = ew.select(reshaped(inside, (batch, steps, 1, 1)), out, 0)
    out = reshaped(out, out.shape[1:]) if single else out
    if not return_residual:
        return out
    total = shaping.transpose(logsumexp(logits, -1), (0, 2, 1))
    return out, (reshaped(total, total.shape[1:]) if single else total)


def _logits(q: Array, k: Array, scale: float | None) -> Array:
    """query key' * scale of shape (batch, heads, T, S), in float32 where q is narrower."""
    batch, steps, heads, features = q.shape
    keys, groups = k.shape[1], k.shape[2]
    shared = heads // groups
    # (B, K, G*T, H) and (B, K, S, H): heads that share a key are rows of one product
    rows = shaping.transpose(reshaped(q, (batch, steps, groups, shared, features)), (0, 2, 3, 1, 4))
    rows = reshaped(rows, (batch, groups, shared * steps, features))
    wide = DTYPES["f32"] if q.dtype.itemsize == 2 else q.dtype
    logits = linear.dot_general(rows, k, ((3,), (3,)), ((0, 1), (0, 2)), wide)
    logits = reshaped(logits, (batch, heads, steps, keys))
    return ew.multiply(logits, 1 / math.sqrt(features) if scale is None else scale)


def _mixed(weights: Array, v: Array) -> Array:
    """The values weighted: (batch, heads, T, S) and (batch, S, K, H) give (batch, T, heads, H)."""
    batch, heads, steps, keys = weights.shape
    groups = v.shape[2]
    rows = reshaped(weights, (batch, groups, heads // groups * steps, keys))
    out = linear.dot_general(rows, v, ((3,), (1,)), ((0, 1), (0, 2)))
    return shaping.transpose(reshaped(out, (batch, heads, steps, v.shape[3])), (0, 2, 1, 3))


def _check(q: Array, k: Array, v: Array) -> None:
    if not q.ndim == k.ndim == v.ndim == 4:
        raise ShapeError(
            f"dot_product_attention: takes (batch, time, heads, features), not {q.type}, "
            f"{k.type}, {v.type}",
            at=here(),
        )
    fits = k.shape[:3] == v.shape[:3] and q.shape[0] == k.shape[0] and q.shape[3] == k.shape[3]
    if not fits or k.shape[2] == 0 or q.shape[2] % k.shape[2]:
        raise ShapeError(
            f"dot_product_attention: query {q.type}, key {k.type} and value {v.type} do not fit",
            at=here(),
            hint="batch, key length and features must agree, and the heads of key divide those "
            "of query",
        )


def _four(x: Any) -> Array:
    """``x`` with leading axes of size 1 up to four axes."""
    x = as_array(x)
    return reshaped(x, (1,) * (4 - x.ndim) + x.shape)


def _places(shape: tuple[int, ...], axis: int) -> Array:
    return apply(layout.iota, dtype=DTYPES["i32"], shape=shape, dimension=axis)


def _before(shape: tuple[int, int], lengths: Any) -> Array:
    """Whether each place of (batch, time) lies before its row's length."""
    lengths = as_array(lengths)
    return ew.less(_places(shape, 1), reshaped(lengths, (lengths.size, 1)))


def _allowed(
    shape: tuple[int, int, int, int],
    mask: Any,
    is_causal: bool,
    q_lengths: Any,
    k_lengths: Any,
    window: Any,
) -> Array | None:
    """Which keys each query may see, broadcastable to (batch, heads, T, S); None for all."""
    batch, _, steps, keys = shape
    flags: list[Array] = [] if mask is None else [_four(mask)]
    if is_causal or window is not None:
        row, column = _places((1, 1, steps, keys), 2), _places((1, 1, steps, keys), 3)
        if is_causal:
            flags.append(ew.less_equal(column, row))
        if window is not None:
            left, right = (window, window) if isinstance(window, int) else window
            flags.append(ew.greater_equal(column, ew.subtract(row, int(left))))
            flags.append(ew.less_equal(column, ew.add(row, int(right))))
    if q_lengths is not None:
        flags.append(reshaped(_before((batch, steps), q_lengths), (batch, 1, steps, 1)))
    if k_lengths is not None:
        flags.append(reshaped(_before((batch, keys), k_lengths), (batch, 1, 1, keys)))
    if not flags:
        return None
    found = flags[0]
    for flag in flags[1:]:
        found = ew.logical_and(found, flag)
    return found
