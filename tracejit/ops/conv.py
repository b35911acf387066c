"""Convolutions of up to three spatial axes, with strides, dilation of both operands and groups.

    conv_general_dilated(x: f32[8,3,32,32], w: f32[16,3,3,3], window_strides=(1, 1),
                         padding=((1, 1), (1, 1)), lhs_dilation=(1, 1), rhs_dilation=(1, 1),
                         dimension_numbers=((0, 1, 2, 3),) * 3, ...)         -> f32[8,16,32,32]

``dimension_numbers`` are three tuples of axes: where the batch, feature and spatial axes of the
left operand stand; the output-feature, input-feature and spatial axes of the right; the batch,
feature and spatial axes of the result. The kernel is not flipped. Both adjoints are convolutions.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tracejit.errors import ArgumentError, ShapeError
from tracejit.ir.build import full_like
from tracejit.ir.prim import Primitive, is_linear
from tracejit.ir.types import DTYPES, TensorType
from tracejit.ops import layout
from tracejit.ops.dot import accumulator, narrowed, permuted, result_dtype, wide_pair
from tracejit.ops.family import ADD, same_dtype
from tracejit.record import dataclass

Ints = tuple[int, ...]

PARAMS = (
    "window_strides",
    "padding",
    "lhs_dilation",
    "rhs_dilation",
    "dimension_numbers",
    "feature_group_count",
    "batch_group_count",
    "preferred_element_type",
)


# ---- shapes --------------------------------------------------------------------------------------


def dilated(size: int, dilation: int) -> int:
    """The extent of ``size`` elements with ``dilation - 1`` gaps between neighbours."""
    return 0 if size == 0 else (size - 1) * dilation + 1


@dataclass(frozen=True)
class Sizes:
    """The extents of a convolution by their role; the spatial ones in the order of the specs."""

    batch: int
    in_features: int
    spatial: Ints
    out_features: int
    kernel_features: int
    kernel: Ints
    out_batch: int
    out_spatial: Ints


def sizes(lhs: TensorType, rhs: TensorType, params: dict[str, Any]) -> Sizes:
    """The extents by role, for operands that ``infer`` accepts."""
    lhs_spec, rhs_spec, _ = params["dimension_numbers"]
    batch, in_features, *spatial = (lhs.shape[a] for a in lhs_spec)
    out_features, kernel_features, *kernel = (rhs.shape[a] for a in rhs_spec)
    out_spatial = []
    for n, k, (low, high), stride, lhs_dilation, rhs_dilation in zip(
        spatial,
        kernel,
        params["padding"],
        params["window_strides"],
        params["lhs_dilation"],
        params["rhs_dilation"],
        strict=True,
    ):
        room = max(dilated(n, lhs_dilation) + low + high, 0) - dilated(k, rhs_dilation)
        out_spatial.append(room // stride + 1 if room >= 0 else 0)
    return Sizes(
        batch,
        in_features,
        tuple(spatial),
        out_features,
        kernel_features,
        tuple(kernel),
        batch // params["batch_group_count"],
        tuple(out_spatial),
    )


def _check_params(lhs: TensorType, rhs: TensorType, params: dict[str, Any]) -> None:
    name = "conv_general_dilated"
    if lhs.ndim != rhs.ndim or not 2 <= lhs.ndim <= 5:
        raise ShapeError(f"{name}: takes operands of equal rank from 2 to 5, not {lhs} and {rhs}")
    numbers = params["dimension_numbers"]
    if len(numbers) != 3 or any(sorted(spec) != list(range(lhs.ndim)) for spec in numbers):
        raise ArgumentError(
            f"{name}: dimension_numbers {numbers} are not three permutations of {lhs.ndim} axes"
        )
    spatial = lhs.ndim - 2
    for param in ("window_strides", "padding", "lhs_dilation", "rhs_dilation"):
        if len(params[param]) != spatial:
            raise ArgumentError(
                f"{name}: {param} {params[param]} needs an entry per spatial axis ({spatial})"
            )
    for param in ("window_strides", "lhs_dilation", "rhs_dilation"):
        if any(step < 1 for step in params[param]):
            raise ArgumentError(f"{name}: {param} {params[param]} must be positive")
    for param in ("feature_group_count", "batch_group_count"):
        if params[param] < 1:
            raise ArgumentError(f"{name}: {param} {params[param]} must be positive")
    if params["feature_group_count"] > 1 and params["batch_group_count"] > 1:
        raise ArgumentError(f"{name}: groups features or the batch, not both")


def _infer(lhs: TensorType, rhs: TensorType, **params: Any) -> TensorType:
    name = "conv_general_dilated"
    dtype = same_dtype(name, (lhs, rhs), "biufc")
    _check_params(lhs, rhs, params)
    lhs_spec, rhs_spec, out_spec = params["dimension_numbers"]
    feature_groups, batch_groups = params["feature_group_count"], params["batch_group_count"]
    size = sizes(lhs, rhs, params)
    if size.in_features != size.kernel_features * feature_groups:
        raise ShapeError(
            f"{name}: axis {lhs_spec[1]} of {lhs} has {size.in_features} features, but "
            f"axis {rhs_spec[1]} of {rhs} takes {size.kernel_features} * {feature_groups} groups"
        )
    for what, groups in (("feature", feature_groups), ("batch", batch_groups)):
        if size.out_features % groups:
            raise ShapeError(
                f"{name}: axis {rhs_spec[0]} of {rhs} has {size.out_features} output features, "
                f"which {groups} {what} groups do not divide"
            )
    if size.batch % batch_groups:
        raise ShapeError(
            f"{name}: axis {lhs_spec[0]} of {lhs} has {size.batch} batch entries, "
            f"which {batch_groups} groups do not divide"
        )
    by_role = (size.out_batch, size.out_features, *size.out_spatial)
    shape = tuple(by_role[out_spec.index(axis)] for axis in range(lhs.ndim))
    return TensorType(result_dtype(name, dtype, params["preferred_element_type"]), shape)


# ---- meaning -------------------------------------------------------------------------------------


def spread(x: Any, padding: tuple[tuple[int, int], ...], dilation: Ints) -> Any:
    """An array whose trailing axes are dilated and padded with zeros; negative padding crops."""
    first = x.ndim - len(padding)
    wide = [
        max(dilated(n, d) + low + high, 0)
        for n, d, (low, high) in zip(x.shape[first:], dilation, padding, strict=True)
    ]
    out = np.zeros((*x.shape[:first], *wide), x.dtype)
    into: list[slice] = []
    from_: list[slice] = []
    for n, size, d, (low, _) in zip(x.shape[first:], wide, dilation, padding, strict=True):
        # element j lands on low + j * d: keep those within the result
        start = max(0, -(low // d))
        stop = max(start, min(n, -((low - size) // d)))
        into.append(slice(low + start * d, low + stop * d, d) if stop > start else slice(0, 0))
        from_.append(slice(start, stop))
    out[(..., *into)] = x[(..., *from_)]
    return out


def _numpy(lhs: Any, rhs: Any, **params: Any) -> Any:
    """All windows as rows of a matrix, times the kernel as a matrix, for each group."""
    types = (TensorType(lhs.dtype, lhs.shape), TensorType(rhs.dtype, rhs.shape))
    out_type, size = _infer(*types, **params), sizes(*types, params)
    if out_type.size == 0 or rhs.size == 0 or lhs.size == 0:
        return np.zeros(out_type.shape, out_type.dtype)
    lhs_spec, rhs_spec, out_spec = params["dimension_numbers"]
    dtype = accumulator(out_type.dtype)
    left = np.transpose(lhs, lhs_spec).astype(dtype, copy=False)
    right = np.transpose(rhs, rhs_spec).astype(dtype, copy=False)
    left = spread(left, params["padding"], params["lhs_dilation"])
    # groups first: they split the features of the left operand, or its batch
    groups = params["feature_group_count"] * params["batch_group_count"]
    rest = left.shape[2:]
    if params["batch_group_count"] > 1:
        left = left.reshape(groups, size.out_batch, size.in_features, *rest)
    else:
        left = left.reshape(size.batch, groups, size.kernel_features, *rest).swapaxes(0, 1)
    windows = _windows(left, size, params["window_strides"], params["rhs_dilation"])
    rows = size.out_batch * math.prod(size.out_spatial)
    columns = size.kernel_features * math.prod(size.kernel)
    # [groups, batch, features, *out, *kernel] -> [groups, batch * out, features * kernel]
    n = len(size.kernel)
    order = (0, 1, *range(3, 3 + n), 2, *range(3 + n, 3 + 2 * n))
    matrix = windows.transpose(order).reshape(groups, rows, columns)
    kernel = right.reshape(groups, size.out_features // groups, columns).swapaxes(1, 2)
    with np.errstate(all="ignore"):
        product = np.matmul(matrix, kernel)
    product = product.reshape(groups, size.out_batch, *size.out_spatial, -1)
    # [groups, batch, *out, features] -> [batch, groups * features, *out]
    product = product.transpose(1, 0, 2 + n, *range(2, 2 + n))
    product = product.reshape(size.out_batch, size.out_features, *size.out_spatial)
    return product.transpose(layout.inverse(out_spec)).astype(out_type.dtype, copy=False)


def _windows(x: Any, size: Sizes, strides: Ints, dilation: Ints) -> Any:
    """Views ``[..., *out_spatial, *kernel]`` of ``[groups, batch, features, *spatial]``."""
    n = len(size.kernel)
    if n == 0:
        return x
    extents = tuple(dilated(k, d) for k, d in zip(size.kernel, dilation, strict=True))
    windows = sliding_window_view(x, extents, axis=tuple(range(3, 3 + n)))
    steps = (*(slice(None, None, s) for s in strides), *(slice(None, None, d) for d in dilation))
    return windows[(..., *steps)]


# ---- axes ----------------------------------------------------------------------------------------


def merged(x: Any, source: int, target: int) -> Any:
    """Axis ``source`` moved before axis ``target`` (counted without it) and made one with it."""
    order = [axis for axis in range(x.type.ndim) if axis != source]
    order.insert(target, source)
    x = permuted(x, tuple(order))
    shape = x.type.shape
    joined = (*shape[:target], shape[target] * shape[target + 1], *shape[target + 2 :])
    return layout.reshape(x, new_sizes=joined)


def divided(x: Any, axis: int, groups: int) -> Any:
    """Axis ``axis`` split in two: ``groups``, then the rest of it."""
    shape = x.type.shape
    split = (*shape[:axis], groups, shape[axis] // groups, *shape[axis + 1 :])
    return layout.reshape(x, new_sizes=split)


def in_front(x: Any, axis: int) -> Any:
    """Axis ``axis`` moved to the front."""
    return permuted(x, (axis, *(k for k in range(x.type.ndim) if k != axis)))


# ---- derivatives ---------------------------------------------------------------------------------


def _jvp(dxs: Any, ys: Any, xs: Any, **params: Any) -> Any:
    (dx, dy), (x, y) = dxs, xs
    if dx is None:
        return (conv_general_dilated(x, dy, **params),)
    if dy is None:
        return (conv_general_dilated(dx, y, **params),)
    left, right = conv_general_dilated(dx, y, **params), conv_general_dilated(x, dy, **params)
    return (ADD(left, right),)


def _transpose(cts: Any, xs: Any, **params: Any) -> Any:
    ct, (lhs, rhs) = cts[0], xs
    if ct is None:
        return None, None
    x = lhs if is_linear(lhs) else rhs
    if 0 in (ct.type.size, lhs.type.size, rhs.type.size):
        found = full_like(x.type, 0)
    elif is_linear(lhs):
        found = narrowed(_transpose_lhs(ct, lhs.type, rhs, params), x.type.dtype)
    else:
        found = narrowed(_transpose_rhs(ct, lhs, rhs.type, params), x.type.dtype)
    return (found, None) if is_linear(lhs) else (None, found)


def _exchanged(spec: Ints) -> Ints:
    """A spec with its first two roles exchanged."""
    return (spec[1], spec[0], *spec[2:])


def _spans(lhs: TensorType, rhs: TensorType, out: TensorType, params: dict[str, Any]) -> Any:
    """For each spatial axis the dilated extents of lhs, rhs and result, and the low padding."""
    size = sizes(lhs, rhs, params)
    out_spatial = [out.shape[a] for a in params["dimension_numbers"][2][2:]]
    return [
        (dilated(n, ld), dilated(k, rd), dilated(o, stride), low)
        for n, k, o, ld, rd, stride, (low, _) in zip(
            size.spatial,
            size.kernel,
            out_spatial,
            params["lhs_dilation"],
            params["rhs_dilation"],
            params["window_strides"],
            params["padding"],
            strict=True,
        )
    ]


def _transpose_lhs(ct: Any, lhs: TensorType, rhs: Any, params: dict[str, Any]) -> Any:
    """The cotangent dilated by the strides, convolved with the flipped kernel."""
    lhs_spec, rhs_spec, out_spec = params["dimension_numbers"]
    padding = tuple(
        (k - low - 1, n + low - o) for n, k, o, low in _spans(lhs, rhs.type, ct.type, params)
    )
    ct, rhs = wide_pair(ct, rhs)
    groups = params["feature_group_count"] * params["batch_group_count"]
    if groups > 1:
        # the groups belong to the features that are the output's now: those of the input
        rhs = divided(rhs, rhs_spec[0], groups)
        rhs = merged(rhs, rhs_spec[0], rhs_spec[1])
    out = conv_general_dilated(
        ct,
        layout.rev(rhs, dimensions=rhs_spec[2:]) if rhs_spec[2:] else rhs,
        window_strides=params["lhs_dilation"],
        padding=padding,
        lhs_dilation=params["window_strides"],
        rhs_dilation=params["rhs_dilation"],
        dimension_numbers=(out_spec, _exchanged(rhs_spec), lhs_spec),
        feature_group_count=groups,
        batch_group_count=1,
        preferred_element_type=None,
    )
    if params["batch_group_count"] > 1:
        out = divided(out, lhs_spec[1], groups)
        out = merged(out, lhs_spec[1], lhs_spec[0])
    return out


def _transpose_rhs(ct: Any, lhs: Any, rhs: TensorType, params: dict[str, Any]) -> Any:
    """The left operand convolved with the cotangent: strides and kernel dilation change places."""
    lhs_spec, rhs_spec, out_spec = params["dimension_numbers"]
    padding = tuple(
        (low, o + k - n - low - 1) for n, k, o, low in _spans(lhs.type, rhs, ct.type, params)
    )
    ct, lhs = wide_pair(ct, lhs)
    return conv_general_dilated(
        lhs,
        ct,
        window_strides=params["rhs_dilation"],
        padding=padding,
        lhs_dilation=params["lhs_dilation"],
        rhs_dilation=params["window_strides"],
        dimension_numbers=tuple(map(_exchanged, (lhs_spec, out_spec, rhs_spec))),
        feature_group_count=params["batch_group_count"],
        batch_group_count=params["feature_group_count"],
        preferred_element_type=None,
    )


# ---- batching ------------------------------------------------------------------------------------


def _batch(size: int, mask: Any, xs: Any, **params: Any) -> Any:
    """The batch axis becomes part of the batch or of the features, as groups where both have it."""
    x, y = xs
    if size == 0:
        types = (
            z.type.with_shape(z.type.shape[1:]) if m else z.type
            for z, m in zip(xs, mask, strict=True)
        )
        one = _infer(*types, **params)
        return full_like(one.with_shape((0, *one.shape)), 0)
    lhs_spec, rhs_spec, out_spec = params["dimension_numbers"]
    if all(mask):
        role, groups = (0, "batch") if params["batch_group_count"] > 1 else (1, "feature")
        given = {**params, f"{groups}_group_count": params[f"{groups}_group_count"] * size}
        out = conv_general_dilated(merged(x, 0, lhs_spec[role]), merged(y, 0, rhs_spec[0]), **given)
        return in_front(divided(out, out_spec[1], size), out_spec[1])
    # one side: the batch axis goes inside the groups, which have to stay outermost
    if mask[0]:
        x = _merged_inside(x, lhs_spec[0], params["batch_group_count"])
        out = conv_general_dilated(x, y, **params)
        return in_front(divided(out, out_spec[0], size), out_spec[0])
    groups = params["feature_group_count"] * params["batch_group_count"]
    y = _merged_inside(y, rhs_spec[0], groups)
    out = conv_general_dilated(x, y, **params)
    at = out_spec[1]
    if groups == 1:
        return in_front(divided(out, at, size), at)
    out = in_front(divided(divided(out, at, groups), at + 1, size), at + 1)
    return merged(out, at + 1, at + 1)


def _merged_inside(x: Any, axis: int, groups: int) -> Any:
    """The leading axis merged into ``axis`` (counted without it), inside its ``groups``."""
    if groups == 1:
        return merged(x, 0, axis)
    x = divided(x, axis + 1, groups)
    # the batch axis between the groups and the rest, then all three as one
    x = merged(x, 0, axis + 1)
    return merged(x, axis, axis)


def _cases() -> list[Any]:
    def case(
        a: Any,
        b: Any,
        strides: Any = None,
        padding: Any = None,
        ld: Any = None,
        rd: Any = None,
        specs: Any = None,
        features: int = 1,
        batches: int = 1,
        dtype: str = "f32",
        preferred: str | None = None,
    ) -> Any:
        n = len(a) - 2
        types = (TensorType(DTYPES[dtype], a), TensorType(DTYPES[dtype], b))
        values = (
            strides or (1,) * n,
            padding or ((0, 0),) * n,
            ld or (1,) * n,
            rd or (1,) * n,
            specs or (tuple(range(n + 2)),) * 3,
            features,
            batches,
            None if preferred is None else DTYPES[preferred],
        )
        return types, dict(zip(PARAMS, values, strict=True))

    channels_last = ((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))
    mixed = ((2, 0, 3, 1), (1, 3, 2, 0), (3, 1, 0, 2))
    return [
        case((2, 3, 5, 6), (4, 3, 3, 2), padding=((1, 1), (0, 1))),
        case((2, 3, 7, 8), (4, 3, 3, 3), (2, 3), ((1, 2), (0, 1))),
        case((1, 2, 4, 5), (3, 2, 2, 3), (2, 1), ((2, 1), (3, 0)), (2, 3), (1, 2), dtype="f64"),
        case((2, 5, 6, 3), (3, 3, 3, 4), padding=((1, 1), (1, 1)), specs=channels_last),
        case((3, 5, 2, 6), (2, 4, 3, 3), (2, 1), specs=mixed),
        case((2, 4, 6), (6, 2, 3), (2,), ((1, 1),), features=2),
        case((2, 4, 6), (8, 1, 3), padding=((2, 0),), rd=(2,), features=4),
        case((4, 3, 5), (6, 3, 2), batches=2),
        case((2, 3, 9), (4, 3, 3), padding=((-1, -2),), dtype="c64"),
        case((1, 2, 3, 4, 5), (3, 2, 2, 2, 3), (1, 2, 1), ((1, 0), (0, 1), (1, 1))),
        case((3, 4), (5, 4)),
        case((2, 3, 2), (4, 3, 3)),
        case((0, 3, 5), (4, 3, 3)),
        case((2, 0, 5), (4, 0, 3)),
        case((1, 1, 1), (1, 1, 1)),
        case((2, 3, 6), (4, 3, 3), dtype="i32"),
        case((2, 3, 6), (4, 3, 3), dtype="f16", preferred="f32"),
        case((2, 3, 6), (4, 3, 3), dtype="bf16"),
    ]


conv_general_dilated = Primitive(
    "conv_general_dilated",
    params=PARAMS,
    infer=_infer,
    numpy=_numpy,
    jvp=_jvp,
    transpose=_transpose,
    batch=_batch,
    library="conv",
    domain=(-1.0, 1.0),
    cases=_cases,
    doc="Convolution (the kernel is not flipped) over up to three spatial axes; zeros stand in the "
    "padding and in the gaps of dilation; 16-bit floats accumulate in float32.",
)
