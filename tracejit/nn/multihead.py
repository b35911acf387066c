"""Multi-head attention with its projections, rotary positions, and steps with a cache.

    params = nn.multi_head_attention_init(key, 512, 8)
    y = nn.multi_head_attention(params, x, is_causal=True)      x (batch, time, 512)

Parameters are named as in Flax: "query", "key", "value" with a kernel (features, heads, H) and
"out" with one (heads, H, features), so the numbers of heads are theirs. Masks are boolean and
broadcast to (batch, heads, time, keys); what is added to the logits is ``bias``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tracejit import random
from tracejit.errors import ArgumentError, DTypeError, ShapeError
from tracejit.frontend import creation, promotion, shaping
from tracejit.frontend import elementwise as ew
from tracejit.frontend import linear as products
from tracejit.frontend.array import Array, apply, as_array
from tracejit.frontend.promotion import convert, reshaped, to_inexact
from tracejit.ir.types import DTYPES
from tracejit.lax.shapes import dynamic_update_slice
from tracejit.nn import initializers
from tracejit.nn.attention import dot_product_attention
from tracejit.nn.layers import Params, parameter, shifted, size
from tracejit.ops import layout
from tracejit.source import here

_NAME = "multi_head_attention"
_KERNEL = initializers.glorot_uniform()


def multi_head_attention_init(
    key: Any,
    features: int,
    heads: int,
    *,
    key_heads: int | None = None,
    head_features: int | None = None,
    key_features: int | None = None,
    value_features: int | None = None,
    out_features: int | None = None,
    bias: bool = True,
    kernel_init: Any = _KERNEL,
    dtype: Any = None,
) -> Params:
    """Parameters of ``multi_head_attention``: a dict for each of "query", "key", "value", "out".

    ``key_heads``: of keys and values, fewer than ``heads`` where queries share them (Ainslie et
    al., 2023). ``head_features``: features / heads by default. ``key_features``,
    ``value_features``, ``out_features``: sizes of the inputs and of the result, ``features`` by
    default. Raises ArgumentError where sizes are not divisible.

    >>> params = nn.multi_head_attention_init(random.key(0), 16, 4)
    >>> params["query"]["kernel"].shape, params["out"]["kernel"].shape
    ((16, 4, 4), (4, 4, 16))
    """
    wide, n = size(_NAME, "features", features), size(_NAME, "heads", heads)
    shared = n if key_heads is None else size(_NAME, "key_heads", key_heads)
    if head_features is None and wide % n:
        raise ArgumentError(f"{_NAME}: features {wide} are not divisible by heads {n}", at=here())
    if n % shared:
        raise ArgumentError(
            f"{_NAME}: heads {n} are not divisible by key_heads {shared}", at=here()
        )
    each = wide // n if head_features is None else size(_NAME, "head_features", head_features)
    sources = {
        "query": (wide, n),
        "key": (key_features or wide, shared),
        "value": (value_features or key_features or wide, shared),
    }
    keys = random.split(key, 4)
    params: Params = {}
    for k, (name, (source, count)) in enumerate(sources.items()):
        flat = kernel_init(keys[k], (source, count * each), dtype)
        params[name] = {"kernel": reshaped(flat, (source, count, each))}
        if bias:
            params[name]["bias"] = creation.zeros((count, each), dtype)
    out = out_features or wide
    params["out"] = {
        "kernel": reshaped(kernel_init(keys[3], (n * each, out), dtype), (n, each, out))
    }
    if bias:
        params["out"]["bias"] = creation.zeros(out, dtype)
    return params


def _split(params: Params, name: str, x: Any) -> Array:
    """(..., time, features) through one kernel: (..., time, heads, H)."""
    own = params[name]
    kernel = parameter(_NAME, own, "kernel")
    if x.ndim not in (2, 3) or x.shape[-1] != kernel.shape[0]:
        raise ShapeError(
            f"{_NAME}: the {name} kernel {kernel.type} takes (batch, time, {kernel.shape[0]}), not "
            f"{x.type}",
            at=here(),
        )
    flat = reshaped(kernel, (kernel.shape[0], kernel.shape[1] * kernel.shape[2]))
    y = reshaped(products.matmul(x, flat), (*x.shape[:-1], *kernel.shape[1:]))
    return shifted(own, y)  # type: ignore[no-any-return]


def _joined(params: Params, x: Array) -> Array:
    kernel = parameter(_NAME, params["out"], "kernel")
    flat = reshaped(kernel, (kernel.shape[0] * kernel.shape[1], kernel.shape[2]))
    y = products.matmul(reshaped(x, (*x.shape[:-2], flat.shape[0])), flat)
    return shifted(params["out"], y)  # type: ignore[no-any-return]


def _check_params(params: Any) -> None:
    missing = {"query", "key", "value", "out"} - set(params if isinstance(params, dict) else ())
    if missing:
        raise ArgumentError(
            f"{_NAME}: the parameters lack {', '.join(sorted(map(repr, missing)))}",
            at=here(),
            hint="make them with nn.multi_head_attention_init",
        )


def check_mask(mask: Any, shape: tuple[int, ...]) -> Any:
    """A mask that is boolean and broadcasts to (batch, heads, time, keys)."""
    if mask is None:
        return None
    mask = as_array(mask)
    if mask.dtype != np.bool_:
        raise DTypeError(
            f"{_NAME}: the mask is boolean, not {mask.type}",
            at=here(),
            hint="what is added to the logits is bias=",
        )
    padded = (1,) * (4 - mask.ndim) + mask.shape
    if mask.ndim > 4 or any(n not in (1, m) for n, m in zip(padded, shape, strict=True)):
        raise ShapeError(
            f"{_NAME}: the mask {mask.type} does not broadcast to (batch, heads, time, keys) = "
            f"{shape}",
            at=here(),
            hint="a mask of keys (batch, keys) is mask[:, None, None, :]",
        )
    return mask


def multi_head_attention(
    params: Params,
    x: Any,
    keys: Any = None,
    values: Any = None,
    *,
    mask: Any = None,
    bias: Any = None,
    is_causal: bool = False,
    key_value_seq_lengths: Any = None,
    rotary: bool | float = False,
    scale: Any = None,
) -> Array:
    """Attention of ``x`` (batch, time, features) to ``keys``, and ``values`` if they differ; to
    itself by default (Vaswani et al., 2017). The batch axis may be missing.

    ``mask``: boolean, true where a query sees a key, broadcast to (batch, heads, time, keys);
    ``bias`` is added to the logits. ``is_causal``: step t sees keys up to t.
    ``key_value_seq_lengths`` (batch,): keys beyond are padding. ``rotary``: turn queries and keys
    by their positions, True or the base. Raises ShapeError and DTypeError where operands do not
    fit.

    >>> params = nn.multi_head_attention_init(random.key(0), 16, 4)
    >>> nn.multi_head_attention(params, jnp.ones((2, 5, 16)), is_causal=True).shape
    (2, 5, 16)
    """
    _check_params(params)
    x = to_inexact(x)
    source = x if keys is None else to_inexact(keys)
    content = source if values is None else to_inexact(values)
    q, k = _split(params, "query", x), _split(params, "key", source)
    v = _split(params, "value", content)
    if rotary:
        base = 10000.0 if rotary is True else rotary
        q, k = rotary_embedding(q, base=base), rotary_embedding(k, base=base)
    lead = q.shape[0] if q.ndim == 4 else 1
    mask = check_mask(mask, (lead, q.shape[-2], q.shape[-3], k.shape[-3]))
    y = dot_product_attention(
        q,
        k,
        v,
        bias,
        mask,
        scale=scale,
        is_causal=is_causal,
        key_value_seq_lengths=key_value_seq_lengths,
    )
    return _joined(params, y)


# ---- positions -----------------------------------------------------------------------------------


def rotary_embedding(
    x: Any, positions: Any = None, *, base: Any = 10000.0, interleaved: bool = True
) -> Array:
    """Pairs of features turned by angles that grow with the position: position * base**(-2 i / H)
    for pair i ("RoFormer", Su et al., 2021).

    ``x`` (..., time, heads, H) with H even; ``positions`` (time,) or (..., time), 0, 1, 2 ... by
    default. Pairs are neighbours, or i and i + H / 2 without ``interleaved``, as in GPT-NeoX and
    Llama. Raises ShapeError for an odd H.

    >>> x = jnp.ones((1, 2, 1, 2))
    >>> nn.rotary_embedding(x)[0, :, 0].round(2)
    Array([[ 1.  ,  1.  ],
           [-0.3 ,  1.38]], dtype=float32)
    """
    x = to_inexact(x)
    if x.ndim < 3 or x.shape[-1] % 2:
        raise ShapeError(
            f"rotary_embedding: takes (..., time, heads, features) with an even number of "
            f"features, not {x.type}",
            at=here(),
        )
    time, half = x.shape[-3], x.shape[-1] // 2
    wide = DTYPES["f64"] if x.dtype.itemsize == 8 else DTYPES["f32"]
    places = as_array(np.arange(time)) if positions is None else as_array(positions)
    if places.shape[-1:] != (time,):
        raise ShapeError(
            f"rotary_embedding: positions {places.type} are not those of {time} steps of {x.type}",
            at=here(),
        )
    rates = as_array(np.asarray(float(base) ** (-np.arange(half) / half), wide))
    angles = ew.multiply(shaping.expand_dims(convert(places, wide), (-2, -1)), rates)
    sin, cos = ew.sin(angles), ew.cos(angles)  # (..., time, 1, half)
    wide_x = convert(x, wide)
    if interleaved:
        pairs = reshaped(wide_x, (*x.shape[:-1], half, 2))
        a, b = (reshaped(shaping.cut(pairs, x.ndim, k, k + 1), pairs.shape[:-1]) for k in (0, 1))
    else:
        a, b = (shaping.cut(wide_x, x.ndim - 1, k * half, (k + 1) * half) for k in (0, 1))
    turned = [
        ew.subtract(ew.multiply(a, cos), ew.multiply(b, sin)),
        ew.add(ew.multiply(a, sin), ew.multiply(b, cos)),
    ]
    if interleaved:
        found = reshaped(shaping.stack(turned, -1), x.shape)
    else:
        found = shaping.concatenate(turned, -1)
    return convert(found, x.dtype)  # type: ignore[no-any-return]


# ---- one step after the other --------------------------------------------------------------------


def multi_head_attention_cache(
    params: Params, batch: int, length: int, dtype: Any = None
) -> dict[str, Any]:
    """An empty cache for ``multi_head_attention_step``: "key" and "value" (batch, length, heads, H)
    and "index", the number of steps in it.
    """
    _check_params(params)
    found = {}
    for name in ("key", "value"):
        kernel = parameter(_NAME, params[name], "kernel")
        shape = (size(_NAME, "batch", batch), size(_NAME, "length", length), *kernel.shape[1:])
        found[name] = creation.zeros(shape, kernel.dtype if dtype is None else dtype)
    return {**found, "index": creation.zeros((), DTYPES["i32"])}


def multi_head_attention_step(
    params: Params,
    cache: dict[str, Any],
    x: Any,
    *,
    rotary: bool | float = False,
    scale: Any = None,
) -> tuple[dict[str, Any], Array]:
    """Causal attention of the next step or steps ``x`` (batch, n, features) to all before; gives
    the next cache and the result. Steps beyond the length of the cache are not told: the last
    places are written again.

    >>> params = nn.multi_head_attention_init(random.key(0), 16, 4)
    >>> cache = nn.multi_head_attention_cache(params, 2, 10)
    >>> cache, y = nn.multi_head_attention_step(params, cache, jnp.ones((2, 1, 16)))
    >>> y.shape, int(cache["index"])
    ((2, 1, 16), 1)
    """
    _check_params(params)
    x = to_inexact(x)
    if x.ndim != 3:
        raise ShapeError(f"{_NAME}: a step is (batch, n, features), not {x.type}", at=here())
    steps, length = x.shape[1], cache["key"].shape[1]
    if steps > length or x.shape[0] != cache["key"].shape[0]:
        raise ShapeError(
            f"{_NAME}: {x.type} does not fit a cache of {cache['key'].type}", at=here()
        )
    start = as_array(cache["index"])
    q, k, v = (_split(params, name, x) for name in ("query", "key", "value"))
    row = apply(layout.iota, dtype=DTYPES["i32"], shape=(steps,), dimension=0)
    places = ew.add(row, start)
    if rotary:
        base = 10000.0 if rotary is True else rotary
        q = rotary_embedding(q, places, base=base)
        k = rotary_embedding(k, places, base=base)
    held = {
        name: dynamic_update_slice(cache[name], convert(new, cache[name].dtype), (0, start, 0, 0))
        for name, new in (("key", k), ("value", v))
    }
    column = apply(layout.iota, dtype=DTYPES["i32"], shape=(1, length), dimension=1)
    seen = reshaped(ew.less_equal(column, shaping.expand_dims(places, 1)), (1, 1, steps, length))
    stored = (promotion.convert(held[name], q.dtype) for name in ("key", "value"))
    y = dot_product_attention(q, *stored, mask=seen, scale=scale)
    return {**held, "index": ew.add(start, steps)}, _joined(params, y)
