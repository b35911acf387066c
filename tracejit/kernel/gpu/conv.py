"""What to ask of a library for a convolution's node.

conv_call(node, "f32")                         -> (ConvSpec("forward", ...), (0, 1, 2)), or None
conv_spec(lhs, rhs, out, params, "f32")        -> ConvSpec of a ``conv_general_dilated``, or None
with_libraries(graph, target)                  the graph whose convolutions are such nodes
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tracejit.ir.graph import Node
from tracejit.ir.types import TensorType, short
from tracejit.kernel.gpu.library import ConvSpec
from tracejit.ops.fused_conv import fused_conv, shapes
from tracejit.ops.layout import inverse
from tracejit.passes.conv_roles import Roles, roles


def conv_call(node: Node, compute: str) -> tuple[ConvSpec, tuple[int, ...]] | None:
    """The spec of a node, and which of its inputs and outputs (counted on) its operands are; None
    where libraries have no word for it. ``compute``: what f32 products are summed in.
    """
    types = tuple(x.type for x in node.inputs)
    if node.prim is fused_conv:
        spec = fused_spec(types, dict(node.params), compute)
        return spec, tuple(range(len(spec.operands)))
    found = conv_spec(types[0], types[1], node.outputs[0].type, dict(node.params), compute)
    return None if found is None else (found, (0, 1, 2))


def conv_spec(
    lhs: TensorType, rhs: TensorType, out: TensorType, params: dict[str, Any], compute: str
) -> ConvSpec | None:
    """What a ``conv_general_dilated`` asks of a library, its operands as they lie.

    A gradient with respect to the image is none of these: its library reads the kernel backwards,
    for which ``passes/conv_library.py`` writes a ``fused_conv``.
    """
    found = roles(lhs, rhs, out, params)
    return None if found is None else role_spec(found, lhs.dtype, compute)


def role_spec(found: Roles, dtype: np.dtype, compute: str) -> ConvSpec:
    """The spec of a convolution whose operands lie as its roles say."""
    x, w, y = found.shapes
    x_axes, w_axes, y_axes = map(inverse, found.specs)
    name = short(dtype)
    return ConvSpec(
        direction=found.direction,
        dtype=name,
        compute=summed_in(name, compute),
        x=x,
        w=w,
        y=y,
        x_axes=x_axes,
        w_axes=w_axes,
        y_axes=y_axes,
        strides=found.strides,
        padding=found.padding,
        dilation=found.dilation,
        groups=found.groups,
    )


def fused_spec(types: tuple[TensorType, ...], params: dict[str, Any], compute: str) -> ConvSpec:
    """What a ``fused_conv`` asks of a library."""
    size, name = shapes(types[0], types[1], params), short(types[0].dtype)
    x_axes, w_axes, y_axes = params["orders"]
    return ConvSpec(
        direction=params["direction"],
        dtype=name,
        compute=summed_in(name, compute),
        x=size.x,
        w=size.w,
        y=size.y,
        x_axes=x_axes,
        w_axes=w_axes,
        y_axes=y_axes,
        strides=params["window_strides"],
        padding=params["padding"],
        dilation=params["rhs_dilation"],
        groups=params["feature_group_count"],
        epilogue=params["epilogue"],
    )


def summed_in(dtype: str, compute: str) -> str:
    """What products of operands of ``dtype`` are summed in, where those of f32 are in ``compute``.

    >>> summed_in("f16", "tf32"), summed_in("f32", "tf32"), summed_in("f64", "tf32")
    ('f32', 'tf32', 'f64')
    """
    return {"f64": "f64", "f32": compute}.get(dtype, "f32")


def features_last(compute: str) -> Callable[[np.dtype], bool | None]:
    """Whether images are best with their features last: tensor cores, which sum 16-bit floats and
    f32 as tf32, read them that way; for the others (None) neither order is faster.
    """

    def last(dtype: np.dtype) -> bool | None:
        return True if dtype.itemsize == 2 or summed_in(short(dtype), compute) == "tf32" else None

    return last
