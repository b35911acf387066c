"""Sorting along an axis, several operands by the leading ones, and the k largest elements.

    sort(keys: f32[5], values: i32[5], dimension=0, num_keys=1, is_stable=True)  -> f32[5], i32[5]
    top_k(x: f32[2,5], k=3)    -> f32[2,3], i32[2,3]

nan comes after every number, -0.0 and 0.0 are equal, complex numbers go by real, then imaginary
part. argsort is a sort of (x, iota).
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from tracejit.errors import ArgumentError, ShapeError
from tracejit.ir.prim import Primitive
from tracejit.ir.types import DTYPES, TensorType
from tracejit.ops import indexing, layout
from tracejit.ops.broadcast import with_batch_axis
from tracejit.ops.family import same_dtype, same_shape
from tracejit.ops.lower_sort import lower_sort, lower_top_k, lowers_sort, lowers_top_k


def _infer_sort(*xs: TensorType, dimension: int, num_keys: int, is_stable: bool) -> Any:
    if not xs:
        raise ShapeError("sort: needs at least one operand")
    same_shape("sort", xs)
    if not 0 <= dimension < xs[0].ndim:
        raise ShapeError(f"sort: {dimension} is not an axis of {xs[0]}")
    if not 1 <= num_keys <= len(xs):
        raise ArgumentError(f"sort: num_keys is between 1 and {len(xs)}, not {num_keys}")
    return xs if len(xs) > 1 else xs[0]


def _comparable(x: Any) -> Any:
    """bfloat16 as float32, which NumPy orders with nan last."""
    return x.astype(np.float32) if x.dtype == ml_dtypes.bfloat16 else x


def order(keys: Any, axis: int) -> Any:
    """The stable permutation along ``axis`` that sorts by the first key, then by the next."""
    keys = [_comparable(key) for key in keys]
    if len(keys) == 1:
        return np.argsort(keys[0], axis=axis, kind="stable")
    return np.lexsort(keys[::-1], axis=axis)


def _numpy_sort(*xs: Any, dimension: int, num_keys: int, is_stable: bool) -> Any:
    if len(xs) == 1 and xs[0].dtype != ml_dtypes.bfloat16:
        return np.sort(xs[0], axis=dimension, kind="stable")
    places = order(xs[:num_keys], dimension)
    outs = tuple(np.take_along_axis(x, places, dimension) for x in xs)
    return outs if len(outs) > 1 else outs[0]


def _push_sort(
    mode: str, xs: Any, dxs: Any, *, dimension: int, num_keys: int, is_stable: bool
) -> Any:
    """The tangents go where the elements go: one sort takes a counter along, which says where."""
    shape = xs[0].type.shape
    counter = layout.iota(dtype=DTYPES["i64"], shape=shape, dimension=dimension)
    *ys, places = sort(*xs, counter, dimension=dimension, num_keys=num_keys, is_stable=True)
    dys = [None if dx is None else indexing.take_along(dx, places, dimension) for dx in dxs]
    return tuple(ys), tuple(dys)


def _batch_sort(size: int, mask: Any, xs: Any, *, dimension: int, **params: Any) -> Any:
    wide = [with_batch_axis(x, size, m) for x, m in zip(xs, mask, strict=True)]
    return sort(*wide, dimension=dimension + 1, **params)


def _cases_sort() -> list[Any]:
    def case(shape: Any, dimension: int, num_keys: int, *dtypes: str) -> Any:
        params = {"dimension": dimension, "num_keys": num_keys, "is_stable": True}
        return tuple(TensorType(DTYPES[d], shape) for d in dtypes), params

    return [
        case((7,), 0, 1, "f32"),
        case((3, 5), 1, 1, "f32"),
        case((17, 2), 0, 1, "i32"),
        case((5,), 0, 1, "f32", "i64"),
        case((2, 9), 1, 2, "u8", "f32", "i32"),
        case((0, 3), 0, 1, "f32"),
        case((3, 1), 1, 1, "f32", "f32"),
        case((9,), 0, 1, "bool"),
    ]


sort = Primitive(
    "sort",
    params=("dimension", "num_keys", "is_stable"),
    infer=_infer_sort,
    numpy=_numpy_sort,
    push=_push_sort,  # a jvp rule would have to sort a second time
    batch=_batch_sort,
    lower=lower_sort,
    lowers=lowers_sort,
    cases=_cases_sort,
    doc="Sort all operands along an axis in the lexicographic order of the first num_keys of them; "
    "always stable.",
)


# ---- top_k ---------------------------------------------------------------------------------------


def _infer_top_k(x: TensorType, *, k: int) -> Any:
    same_dtype("top_k", (x,), "biuf")
    if x.ndim == 0:
        raise ShapeError("top_k: takes at least one axis")
    if not 0 <= k <= x.shape[-1]:
        raise ShapeError(f"top_k: k = {k} is not within the last axis of {x}")
    values = x.with_shape((*x.shape[:-1], k))
    return values, values.with_dtype(DTYPES["i32"])


def _numpy_top_k(x: Any, *, k: int) -> Any:
    # a stable ascending sort of the reversed axis, read backwards: equal elements keep their order
    n = x.shape[-1]
    places = n - 1 - order([x[..., ::-1]], -1)[..., ::-1][..., :k]
    return np.take_along_axis(x, places, -1), places.astype(np.int32)


def _jvp_top_k(dxs: Any, ys: Any, xs: Any, *, k: int) -> Any:
    return indexing.take_along(dxs[0], ys[1], xs[0].type.ndim - 1), None


top_k = Primitive(
    "top_k",
    params=("k",),
    infer=_infer_top_k,
    numpy=_numpy_top_k,
    jvp=_jvp_top_k,
    batch=lambda size, mask, xs, *, k: top_k(xs[0], k=k),
    lower=lower_top_k,
    lowers=lowers_top_k,
    kinds="biuf",
    cases=lambda: [
        ((TensorType(DTYPES["f32"], (7,)),), {"k": 3}),
        ((TensorType(DTYPES["f32"], (3, 5)),), {"k": 5}),
        ((TensorType(DTYPES["i32"], (2, 17)),), {"k": 1}),
        ((TensorType(DTYPES["f32"], (0, 4)),), {"k": 2}),
        ((TensorType(DTYPES["f32"], (2, 3)),), {"k": 0}),
    ],
    doc="The k largest elements along the last axis in descending order and their positions (i32); "
    "nan counts as largest, equal elements keep their order.",
)
