"""Which convolution a ``conv_general_dilated`` is: a forward one, or a gradient of one.

    roles(lhs.type, rhs.type, out.type, params)          -> Roles("weights", ...), or None

Libraries name their convolutions by the forward one: image x, kernel w, result y. A gradient with
respect to w is a convolution whose batch and features have changed roles, and whose strides and
kernel dilation have changed places; one with respect to x has gaps in its left operand where the
forward one has strides, and the kernel reversed. ``ops/conv.py: _transpose`` writes both.
"""

from __future__ import annotations

import math
from typing import Any

from tracejit.ir.types import TensorType, kind
from tracejit.ops.conv import dilated, sizes
from tracejit.record import dataclass

Ints = tuple[int, ...]


@dataclass(frozen=True)
class Roles:
    """A convolution by its forward one. ``specs``: where the axes of x (N, C, ...), w (K, C, ...)
    and y (N, K, ...) stand in the operands; ``shapes``: x, w and y in that order of axes.

    Padding is never negative, and the same on both sides where that makes no difference. The
    kernel of a "data" convolution with groups stands as the forward one's does not: [C, K / groups]
    in place of [K, C / groups], with the groups outermost in C; the spec of w is that of this.
    """

    direction: str
    specs: tuple[Ints, Ints, Ints]
    shapes: tuple[Ints, Ints, Ints]
    strides: Ints
    padding: tuple[tuple[int, int], ...]
    dilation: Ints
    groups: int


def roles(
    lhs: TensorType,
    rhs: TensorType,
    out: TensorType,
    params: dict[str, Any],
    *,
    backwards: bool = False,
) -> Roles | None:
    """What a convolution is; None where no forward one has it. ``backwards``: it reads ``rhs`` as
    if that were reversed along its spatial axes.
    """
    if kind(lhs.dtype) != "f" or not lhs.dtype == rhs.dtype == out.dtype:
        return None
    if 0 in (*lhs.shape, *rhs.shape, *out.shape) or not params["padding"]:
        return None
    if backwards:
        return _data(lhs, rhs, out, params)
    if any(step != 1 for step in params["lhs_dilation"]):
        return None
    size = sizes(lhs, rhs, params)
    # both may do: libraries expect kernels to be small
    ways = [_forward] if params["batch_group_count"] == 1 else []
    if params["feature_group_count"] == 1:
        wide = math.prod(size.kernel) > math.prod(size.out_spatial)
        ways.insert(0 if wide else len(ways), _weights)
    tried = (way(lhs, rhs, out, params) for way in ways)
    return next((found for found in tried if found is not None), None)


def _forward(
    lhs: TensorType, rhs: TensorType, out: TensorType, params: dict[str, Any]
) -> Roles | None:
    specs = params["dimension_numbers"]
    return _checked(
        "forward",
        specs,
        tuple(map(_shape, (lhs, rhs, out), specs)),
        params["window_strides"],
        [low for low, _ in params["padding"]],
        params["rhs_dilation"],
        params["feature_group_count"],
    )


def _weights(
    lhs: TensorType, rhs: TensorType, out: TensorType, params: dict[str, Any]
) -> Roles | None:
    """The left operand is x with batch and features exchanged, the right one y, the result w."""
    x, y, w = map(_exchanged, params["dimension_numbers"])
    return _checked(
        "weights",
        (x, w, y),
        (_shape(lhs, x), _shape(out, w), _shape(rhs, y)),
        params["rhs_dilation"],
        [low for low, _ in params["padding"]],
        params["window_strides"],
        params["batch_group_count"],
    )


def _data(
    lhs: TensorType, rhs: TensorType, out: TensorType, params: dict[str, Any]
) -> Roles | None:
    """The left operand is y, the right one w with K and C exchanged, the result x."""
    if any(step != 1 for step in params["window_strides"]) or params["batch_group_count"] > 1:
        return None
    y, w, x = params["dimension_numbers"]
    w, groups, dilation = _exchanged(w), params["feature_group_count"], params["rhs_dilation"]
    k, c, *kernel = _shape(rhs, w)
    before = [
        dilated(extent, gap) - 1 - low
        for extent, gap, (low, _) in zip(kernel, dilation, params["padding"], strict=True)
    ]
    return _checked(
        "data",
        (x, w, y),
        (_shape(out, x), (k * groups, c // groups, *kernel), _shape(lhs, y)),
        params["lhs_dilation"],
        before,
        dilation,
        groups,
    )


def _checked(
    direction: str,
    specs: Any,
    shapes: Any,
    strides: Any,
    before: list[int],
    dilation: Any,
    groups: int,
) -> Roles | None:
    """The roles, where the forward convolution has them: with what padding behind."""
    x, w, y = shapes
    if x[0] != y[0] or x[1] != w[1] * groups or y[1] != w[0]:
        return None
    padding = []
    one, two, three = (tuple(spec) for spec in specs)
    for n, k, o, low, step, gap in zip(x[2:], w[2:], y[2:], before, strides, dilation, strict=True):
        high = _padding_behind(n, dilated(k, gap), o, low, step)
        if low < 0 or high is None:
            return None
        padding.append((low, high))
    return Roles(direction, (one, two, three), shapes, strides, tuple(padding), dilation, groups)


def _padding_behind(size: int, reach: int, out: int, before: int, step: int) -> int | None:
    """Padding for which a forward convolution has ``out`` results: as much as before if may be."""
    least = (out - 1) * step + reach - size - before
    most = least + step - 1
    if most < 0:
        return None
    return before if least <= before <= most else max(least, 0)


def _shape(type: TensorType, spec: Ints) -> Ints:
    return tuple(type.shape[axis] for axis in spec)


def _exchanged(spec: Ints) -> Ints:
    return (spec[1], spec[0], *spec[2:])
