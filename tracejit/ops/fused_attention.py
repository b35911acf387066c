"""Attention as the libraries of GPUs compute it: no matrix of weights is ever stored.

    fused_attention(q: bf16[8,512,16,64], k: ..., v: ..., scale=0.125, mask="causal",
                    axes=(0, 2, 1, 3))             -> bf16[8,512,16,64], f32[8,16,512,1]

softmax(q k^T scale + mask) v for each batch and head. Logical axes are [B, H, S, D]; ``axes`` says
in which order, major to minor, those of q, k, v and the result lie in memory. ``mask``: "" (none),
"causal" (keys up to the query's position), or "bias" (a fourth operand [B or 1, H or 1, S, T] that
is added). The second result, the logarithm of each row's sum of exponentials, is what the gradient
``fused_attention_grad`` needs besides (Dao et al., "FlashAttention", 2022).

``passes/attention.py`` writes these, after differentiation and batching: the records have no rules
for either.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tracejit.errors import ArgumentError, ShapeError
from tracejit.ir.prim import Primitive
from tracejit.ir.types import DTYPES, TensorType, kind
from tracejit.ops.layout import inverse

Ints = tuple[int, ...]

PARAMS = ("scale", "mask", "axes")
MASKS = ("", "causal", "bias")


def logical(type: TensorType, axes: Ints) -> Ints:
    """The extents [B, H, S, D] of an operand whose axes lie in the order ``axes``."""
    return tuple(type.shape[k] for k in inverse(axes))


def _check(types: tuple[TensorType, ...], mask: str, axes: Ints) -> tuple[Ints, Ints]:
    """Logical shapes of q and k. Raises ShapeError or ArgumentError."""
    if mask not in MASKS or sorted(axes) != [0, 1, 2, 3]:
        raise ArgumentError(f"fused_attention: no mask {mask!r} with axes {axes}")
    wanted = 4 if mask == "bias" else 3
    if len(types) != wanted:
        raise ShapeError(f"fused_attention: takes {wanted} operands, not {len(types)}")
    q, k, v = types[:3]
    if any(t.ndim != 4 or t.dtype != q.dtype or kind(t.dtype) != "f" for t in types):
        raise ShapeError(f"fused_attention: takes floats of one dtype with 4 axes, not {types}")
    rows, columns = logical(q, axes), logical(k, axes)
    if k.shape != v.shape or (*rows[:2], rows[3]) != (*columns[:2], columns[3]):
        raise ShapeError(f"fused_attention: {q}, {k} and {v} do not go together")
    if mask == "causal" and rows[2] != columns[2]:
        raise ShapeError(f"fused_attention: as many queries as keys are causal, not {q} and {k}")
    if mask == "bias":
        b, h, s, t = types[3].shape
        if b not in (1, rows[0]) or h not in (1, rows[1]) or (s, t) != (rows[2], columns[2]):
            raise ShapeError(f"fused_attention: the bias {types[3]} does not fit {q} and {k}")
    return rows, columns


def _infer(*types: TensorType, scale: float, mask: str, axes: Ints) -> Any:
    (b, h, s, _), _ = _check(types, mask, axes)
    return types[0], TensorType(DTYPES["f32"], (b, h, s, 1))


def _weights(
    q: np.ndarray, k: np.ndarray, bias: np.ndarray | None, scale: float, mask: str
) -> tuple[np.ndarray, np.ndarray]:
    """The weights [B, H, S, T] and the logarithms of their sums before division."""
    z = np.einsum("bhsd,bhtd->bhst", q, k) * scale
    if bias is not None:
        z = z + bias
    if mask == "causal":
        z = np.where(np.tri(z.shape[2], z.shape[3], dtype=bool), z, -np.inf)
    most = z.max(axis=-1, keepdims=True, initial=-np.inf)
    e = np.exp(z - np.where(np.isfinite(most), most, 0))
    total = e.sum(axis=-1, keepdims=True)
    return e / total, np.log(total) + most


def _wide(axes: Ints, *arrays: np.ndarray) -> list[np.ndarray]:
    return [a.transpose(inverse(axes)).astype(np.float64) for a in arrays]


def _numpy(*xs: np.ndarray, scale: float, mask: str, axes: Ints) -> Any:
    q, k, v = _wide(axes, *xs[:3])
    bias = xs[3].astype(np.float64) if mask == "bias" else None
    p, stats = _weights(q, k, bias, scale, mask)
    out = np.einsum("bhst,bhtd->bhsd", p, v).transpose(axes)
    return np.ascontiguousarray(out.astype(xs[0].dtype)), stats.astype(np.float32)


def _grad_infer(*types: TensorType, scale: float, mask: str, axes: Ints) -> Any:
    *operands, out, stats, dout = types
    wanted = _infer(*operands, scale=scale, mask=mask, axes=axes)
    if (out, stats) != wanted or dout != out:
        raise ShapeError(f"fused_attention_grad: takes results of {wanted}, not {out} and {stats}")
    return tuple(operands[:3])


def _grad_numpy(*xs: np.ndarray, scale: float, mask: str, axes: Ints) -> Any:
    q, k, v, dout = _wide(axes, *xs[:3], xs[-1])
    bias = xs[3].astype(np.float64) if mask == "bias" else None
    p, _ = _weights(q, k, bias, scale, mask)
    dp = np.einsum("bhsd,bhtd->bhst", dout, v)
    dz = p * (dp - (dp * p).sum(axis=-1, keepdims=True)) * scale
    found = (
        np.einsum("bhst,bhtd->bhsd", dz, k),
        np.einsum("bhst,bhsd->bhtd", dz, q),
        np.einsum("bhst,bhsd->bhtd", p, dout),
    )
    return tuple(np.ascontiguousarray(x.transpose(axes).astype(xs[0].dtype)) for x in found)


def _cases() -> list[Any]:
    found = []
    for dtype, mask, axes in (
        ("f32", "", (0, 1, 2, 3)),
        ("f16", "causal", (0, 2, 1, 3)),
        ("f32", "bias", (0, 1, 2, 3)),
    ):
        s, t = 5, 5 if mask == "causal" else 7
        shapes = [(2, 3, n, 4) for n in (s, t, t)]
        types = [TensorType(DTYPES[dtype], tuple(x[a] for a in axes)) for x in shapes]
        if mask == "bias":
            types.append(TensorType(DTYPES[dtype], (1, 3, s, t)))
        found.append((tuple(types), {"scale": 0.5, "mask": mask, "axes": axes}))
    return found


def _grad_cases() -> list[Any]:
    found = []
    for types, params in _cases():
        out, stats = _infer(*types, **params)
        found.append(((*types, out, stats, out), params))
    return found


def _lowers(*types: TensorType, **params: Any) -> bool:
    return False  # a library's alone


fused_attention = Primitive(
    "fused_attention",
    _infer,
    numpy=_numpy,
    params=PARAMS,
    library="attention",
    lowers=_lowers,
    kinds="f",
    cases=_cases,
    doc="softmax(q k^T scale + mask) v by a library, and each row's logarithm of its sum.",
)
fused_attention_grad = Primitive(
    "fused_attention_grad",
    _grad_infer,
    numpy=_grad_numpy,
    params=PARAMS,
    library="attention",
    lowers=_lowers,
    kinds="f",
    cases=_grad_cases,
    doc="Gradients of fused_attention for q, k and v, of its operands, results and their gradient.",
)
