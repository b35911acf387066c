"""The extents of a convolution by role, and which loop nest computes it.

Comes in: the types and params of a ``conv_general_dilated`` node without padding and without
dilation of its left operand (``contract.py`` makes them so). Goes out: a Geometry, and a plan:

    pixels    lanes are output pixels that lie side by side; the tile is output features
    features  lanes are output features; the tile is output pixels
    window    lanes are kernel pixels, summed up at the end: gradients with respect to weights

    choose_plan(geometry(x.type, w.type, params))  ->  "pixels"
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from tracejit.errors import InternalError
from tracejit.ir.types import TensorType
from tracejit.ops.conv import sizes

Ints = tuple[int, ...]
Triple = tuple[int, int, int]

PLANS = ("pixels", "features", "window")


@dataclass(frozen=True)
class Geometry:
    """Extents by role. Spatial ones are (depth, height, width): axes not there have extent 1.

    ``groups`` split the features of the left operand, or its batch where ``batch_grouped``;
    ``batch``, ``features`` and ``outs`` are those of one group. ``rank`` counts the spatial axes.
    """

    batch: int
    groups: int
    batch_grouped: bool
    features: int
    outs: int
    spatial: Triple
    kernel: Triple
    out: Triple
    strides: Triple
    dilation: Triple
    rank: int
    lhs_spec: Ints
    rhs_spec: Ints
    out_spec: Ints

    @property
    def depthwise(self) -> bool:
        """One output feature in every group: lanes over features run over groups."""
        return self.groups > 1 and self.outs == 1

    @property
    def flops(self) -> int:
        """Multiplications and additions."""
        pixels = self.batch * math.prod(self.out)
        return 2 * pixels * self.groups * self.outs * self.features * math.prod(self.kernel)


def geometry(lhs: TensorType, rhs: TensorType, params: dict[str, Any]) -> Geometry:
    """The extents of a convolution by role. Raises InternalError where padding is left."""
    if any(pair != (0, 0) for pair in params["padding"]) or any(
        step != 1 for step in params["lhs_dilation"]
    ):
        raise InternalError("a convolution is padded by a node of its own before it gets a kernel")
    size = sizes(lhs, rhs, params)
    lhs_spec, rhs_spec, out_spec = params["dimension_numbers"]
    groups = params["feature_group_count"] * params["batch_group_count"]
    return Geometry(
        batch=size.out_batch,
        groups=groups,
        batch_grouped=params["batch_group_count"] > 1,
        features=size.kernel_features,
        outs=size.out_features // groups,
        spatial=_triple(size.spatial),
        kernel=_triple(size.kernel),
        out=_triple(size.out_spatial),
        strides=_triple(params["window_strides"]),
        dilation=_triple(params["rhs_dilation"]),
        rank=len(size.spatial),
        lhs_spec=tuple(lhs_spec),
        rhs_spec=tuple(rhs_spec),
        out_spec=tuple(out_spec),
    )


def _triple(values: Ints) -> Triple:
    one, two, three = (1,) * (3 - len(values)) + tuple(values)
    return one, two, three


def choose_plan(g: Geometry) -> str:
    """The plan that keeps most lanes of a vector busy with loads of adjacent elements.

    Loads that jump cost about as much as 16 multiplications, so whatever avoids them wins.
    """
    width_last = g.rank > 0 and g.lhs_spec[-1] == g.rank + 1
    channels_last = max(g.lhs_spec[:2]) == g.rank + 1
    kernel_width_last = g.rank > 0 and g.rhs_spec[-1] == g.rank + 1
    large_kernel = math.prod(g.kernel) > math.prod(g.out)
    if width_last and kernel_width_last and g.dilation[2] == 1 and large_kernel:
        if g.kernel[2] >= 8:
            return "window"
    if channels_last or large_kernel:
        return "features"
    if not width_last or g.strides[2] > 1:
        # a tile of one feature reads each pixel for one multiplication: lanes may as well jump
        return "pixels" if g.depthwise else "features"
    if g.outs >= 16 and g.kernel[2] > 1 and g.out[2] < 10:
        return "features"
    return "pixels"


def wants_packed(g: Geometry) -> bool:
    """Whether the plan wants output features side by side in the right operand in vain."""
    return choose_plan(g) == "features" and g.rhs_spec[0] != g.rank + 1 and g.groups * g.outs > 1
