"""Convolutions and their gradients as libraries of GPUs compute them, with operands where they lie.

    fused_conv(x: f16[8,28,28,64], w: f16[32,3,3,64], direction="forward", shape=(8, 32, 28, 28),
               orders=((0, 2, 3, 1),) * 3, window_strides=(1, 1), padding=((1, 1), (1, 1)),
               rhs_dilation=(1, 1), feature_group_count=1, epilogue="")      -> f16[8,28,28,32]

Logical shapes are x [N, C, *spatial], w [K, C / groups, *kernel], y [N, K, *out]; ``orders`` say in
which order, major to minor, the axes of x, w and y lie in memory. "forward" takes (x, w) and a bias
of K elements where ``epilogue`` has one; "data" (y, w), the gradient with respect to x; "weights"
(x, y), that with respect to w. ``shape``: the logical shape of the result; the other params are
those of the forward convolution in every direction.

``passes/conv_library.py`` writes these, after differentiation and batching: the record has no rules
for either.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tracejit.errors import ArgumentError, ShapeError
from tracejit.ir.prim import Primitive
from tracejit.ir.types import DTYPES, TensorType
from tracejit.ops.conv import conv_general_dilated, dilated
from tracejit.ops.dot import accumulator
from tracejit.ops.family import same_dtype
from tracejit.ops.layout import inverse
from tracejit.record import dataclass

Ints = tuple[int, ...]

PARAMS = (
    "direction",
    "shape",
    "orders",
    "window_strides",
    "padding",
    "rhs_dilation",
    "feature_group_count",
    "epilogue",
)
EPILOGUES = ("", "bias", "relu", "bias_relu")
#: direction -> its two operands and its result
OPERANDS = {
    "forward": ("x", "w", "y"),
    "data": ("y", "w", "x"),
    "weights": ("x", "y", "w"),
}


@dataclass(frozen=True)
class Shapes:
    """Logical shapes of image, kernel and result."""

    x: Ints
    w: Ints
    y: Ints


def logical(shape: Ints, order: Ints) -> Ints:
    """The logical shape of what lies in memory as ``shape``.

    >>> logical((8, 28, 30, 64), (0, 2, 3, 1))
    (8, 64, 28, 30)
    """
    return tuple(shape[place] for place in inverse(order))


def shapes(lhs: TensorType, rhs: TensorType, params: dict[str, Any]) -> Shapes:
    """The logical shapes of operands that ``infer`` accepts, and of the result."""
    first, second, result = OPERANDS[params["direction"]]
    orders = dict(zip("xwy", params["orders"], strict=True))
    return Shapes(
        **{
            first: logical(lhs.shape, orders[first]),
            second: logical(rhs.shape, orders[second]),
            result: tuple(params["shape"]),
        }
    )


def _infer(lhs: TensorType, rhs: TensorType, *bias: TensorType, **params: Any) -> TensorType:
    name = "fused_conv"
    dtype = same_dtype(name, (lhs, rhs, *bias), "f")
    direction, epilogue, orders = params["direction"], params["epilogue"], params["orders"]
    if direction not in OPERANDS:
        raise ArgumentError(f"{name}: no direction `{direction}`: there are {list(OPERANDS)}")
    if epilogue not in EPILOGUES or (epilogue and direction != "forward"):
        raise ArgumentError(f"{name}: no epilogue `{epilogue}` of {direction}: {list(EPILOGUES)}")
    rank = len(params["shape"])
    if any(sorted(order) != list(range(rank)) for order in orders):
        raise ArgumentError(f"{name}: orders {orders} are not three permutations of {rank} axes")
    if (lhs.ndim, rhs.ndim) != (rank, rank):
        raise ShapeError(f"{name}: operands {lhs} and {rhs} do not have {rank} axes")
    size = shapes(lhs, rhs, params)
    wanted = size.w[:1] if "bias" in epilogue else None
    if [one.shape for one in bias] != [wanted] * (wanted is not None):
        raise ShapeError(f"{name}: epilogue `{epilogue}` does not take {bias} for a bias")
    if forward_shape(size, params) != size.y:
        raise ShapeError(f"{name}: {size} do not belong together")
    order = orders["xwy".index(OPERANDS[direction][2])]
    return TensorType(dtype, tuple(params["shape"][axis] for axis in order))


def forward_shape(size: Shapes, params: dict[str, Any]) -> Ints:
    """The logical shape of the forward convolution's result. Raises ShapeError."""
    types = (TensorType(DTYPES["f32"], size.x), TensorType(DTYPES["f32"], size.w))
    found: Ints = conv_general_dilated.infer(*types, **_general(params, "forward", size)).shape
    return found


def _general(params: dict[str, Any], direction: str, size: Shapes) -> dict[str, Any]:
    """Params of the general convolution that a direction is; see ``ops/conv.py: _transpose``."""
    rank = len(size.x)
    plain, swapped = tuple(range(rank)), (1, 0, *range(2, rank))
    strides, padding = params["window_strides"], params["padding"]
    dilation, groups = params["rhs_dilation"], params["feature_group_count"]
    ones = (1,) * (rank - 2)
    found = {
        "window_strides": strides,
        "padding": padding,
        "lhs_dilation": ones,
        "rhs_dilation": dilation,
        "dimension_numbers": (plain,) * 3,
        "feature_group_count": groups,
        "batch_group_count": 1,
        "preferred_element_type": None,
    }
    spans = [
        (n, dilated(k, d), dilated(o, s), low)
        for n, k, d, o, s, (low, _) in zip(
            size.x[2:], size.w[2:], dilation, size.y[2:], strides, padding, strict=True
        )
    ]
    if direction == "data":
        edges = tuple((k - low - 1, n + low - o) for n, k, o, low in spans)
        found |= {"window_strides": ones, "padding": edges, "lhs_dilation": strides}
    elif direction == "weights":
        edges = tuple((low, o + k - n - low - 1) for n, k, o, low in spans)
        found |= {"window_strides": dilation, "padding": edges, "rhs_dilation": strides}
        found |= {"dimension_numbers": (swapped,) * 3}
        found |= {"feature_group_count": 1, "batch_group_count": groups}
    return found


def _numpy(lhs: Any, rhs: Any, *bias: Any, **params: Any) -> Any:
    types = [TensorType(one.dtype, one.shape) for one in (lhs, rhs)]
    size, direction = shapes(types[0], types[1], params), params["direction"]
    orders = dict(zip("xwy", params["orders"], strict=True))
    names = OPERANDS[direction]
    dtype, wide = lhs.dtype, accumulator(lhs.dtype)
    first, second = (
        np.transpose(one, inverse(orders[name])).astype(wide, copy=False)
        for one, name in zip((lhs, rhs), names, strict=False)
    )
    if direction == "data":
        second = _turned(second, params["feature_group_count"])
    given = _general(params, direction, size)
    out = conv_general_dilated.rule("numpy")(first, second, **given)
    for one in bias:
        out = out + one.astype(wide).reshape(-1, *(1,) * (out.ndim - 2))
    if "relu" in params["epilogue"]:
        out = np.maximum(out, 0)
    return np.transpose(out, orders[names[2]]).astype(dtype, copy=False)


def _turned(w: Any, groups: int) -> Any:
    """The kernel [K, C / groups, ...] reversed, as that of a convolution from K to C features."""
    k, c, *kernel = w.shape
    w = w.reshape(groups, k // groups, c, *kernel).swapaxes(0, 1)
    w = w.reshape(k // groups, groups * c, *kernel).swapaxes(0, 1)
    return np.flip(w, tuple(range(2, w.ndim)))


def _cases() -> list[Any]:
    def case(direction: str, dtype: str = "f32", epilogue: str = "", groups: int = 1) -> Any:
        # 2 images of 4 features, 7 by 8, to 6 features by kernels of 3 by 2
        logical_shapes = {"x": (2, 4, 7, 8), "w": (6, 4 // groups, 3, 2), "y": (2, 6, 4, 4)}
        orders = ((0, 2, 3, 1), (0, 1, 2, 3), (0, 2, 3, 1))
        of = dict(zip("xwy", orders, strict=True))
        first, second, result = OPERANDS[direction]
        types = [
            TensorType(DTYPES[dtype], tuple(logical_shapes[name][axis] for axis in of[name]))
            for name in (first, second)
        ]
        types += [TensorType(DTYPES[dtype], (6,))] * ("bias" in epilogue)
        values = (
            direction,
            logical_shapes[result],
            orders,
            (2, 2),
            ((1, 1), (0, 1)),
            (1, 2),
            groups,
            epilogue,
        )
        return tuple(types), dict(zip(PARAMS, values, strict=True))

    return [
        case("forward"),
        case("forward", "f16", "bias_relu"),
        case("forward", "f64", "relu", 2),
        case("forward", "bf16", "bias", 2),
        case("data"),
        case("data", "f64", groups=2),
        case("weights"),
        case("weights", "f16", groups=2),
    ]


fused_conv = Primitive(
    "fused_conv",
    params=PARAMS,
    infer=_infer,
    numpy=_numpy,
    library="conv",
    kinds="f",
    domain=(-1.0, 1.0),
    cases=_cases,
    doc="A convolution, or its gradient for the image or the kernel, with operands in any order of "
    "axes, a bias and a relu; written by passes of the GPU back end only, so without derivative "
    "and batch.",
)
