"""The extents of a convolution by role, and which loop nest computes it.

Comes in: the types and params of a ``conv_general_dilated`` node without dilation of its left
operand (``contract.py`` makes them so). Goes out: a Geometry, and a plan:

    pixels    lanes are output pixels that lie side by side; the tile is output features
    features  lanes are output features; the tile is output pixels
    window    lanes are kernel pixels, summed up at the end: gradients with respect to weights

    choose_plan(geometry(x.type, w.type, params))  ->  "pixels"
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from tracejit.errors import InternalError
from tracejit.ir.types import TensorType
from tracejit.ops.conv import sizes
from tracejit.record import dataclass

Ints = tuple[int, ...]
Triple = tuple[int, int, int]

#: lanes of float32 that costs are reckoned for
LANES = 16
#: cycles for a vector of elements that lie apart
JUMP = 25
#: cycles to write a vector of results that lie apart, by way of scratch
APART = 12
#: cycles lost where a tile of so many vectors moves to another cache line
LINE, TILE = 2, 28
#: cycles to copy an element of an image that is padded
COPY = 0.7
#: images side by side from here on fill a tile
MANY = 28
#: kernel columns beyond this meet too many columns of padding to write each case out
BORDER = 12
#: cycles to move one element of the right operand to where the lanes want it
PACK = 3


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
    padding: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
    rank: int
    lhs_spec: Ints
    rhs_spec: Ints
    out_spec: Ints

    @property
    def depthwise(self) -> bool:
        """One output feature in every group: lanes over features run over groups."""
        return self.groups > 1 and self.outs == 1

    @property
    def padded(self) -> bool:
        """Whether kernel pixels meet padding: elements that are not in memory."""
        return self.padding != ((0, 0),) * 3

    @property
    def flops(self) -> int:
        """Multiplications and additions."""
        pixels = self.batch * math.prod(self.out)
        return 2 * pixels * self.groups * self.outs * self.features * math.prod(self.kernel)


def geometry(lhs: TensorType, rhs: TensorType, params: dict[str, Any]) -> Geometry:
    """The extents of a convolution by role. Raises InternalError where gaps are left."""
    if any(step != 1 for step in params["lhs_dilation"]):
        raise InternalError("a convolution has its gaps filled before it gets a kernel")
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
        padding=((0, 0),) * (3 - len(size.spatial)) + tuple(params["padding"]),
        rank=len(size.spatial),
        lhs_spec=tuple(lhs_spec),
        rhs_spec=tuple(rhs_spec),
        out_spec=tuple(out_spec),
    )


def _triple(values: Ints) -> Triple:
    one, two, three = (1,) * (3 - len(values)) + tuple(values)
    return one, two, three


# ---- cost ----------------------------------------------------------------------------------------


def choose_plan(g: Geometry) -> str:
    """The plan that takes the fewest cycles: multiplications, and what surrounds them."""
    if g.padded:
        return "features"  # no other takes padding
    costs = _costs(g)
    return min(costs, key=lambda plan: costs[plan])


def _costs(g: Geometry) -> dict[str, float]:
    return {
        "pixels": _pixel_cycles(g),
        "features": _feature_cycles(g),
        "window": _window_cycles(g),
    }


def takes_padding(g: Geometry) -> bool:
    """Whether the kernel leaves out products with padding, so that nothing is copied to pad it.

    ``g`` is padded. Only the plan ``features`` does; few columns of pixels may stand at a border,
    since those are written out.
    """
    if g.depthwise:
        return False
    inside, copied = _padded_cycles(g)
    if inside > copied:
        return False
    if g.lhs_spec[0] == g.rank + 1 and g.batch > MANY:
        return True  # a tile is images: pixels are taken one by one
    reach = (g.kernel[2] - 1) * g.dilation[2]
    return max(g.padding[2]) <= max(reach, 0) <= BORDER


def cycles(g: Geometry) -> float:
    """Roughly what a convolution costs."""
    if not g.padded:
        return min(_costs(g).values())
    inside, copied = _padded_cycles(g)
    return inside if takes_padding(g) else copied


def _padded_cycles(g: Geometry) -> tuple[float, float]:
    """With the plan ``features`` leaving padding out, and with another on a padded copy."""
    spatial = _triple(
        tuple(max(n + low + high, 1) for n, (low, high) in zip(g.spatial, g.padding, strict=True))
    )
    costs = _costs(replace(g, spatial=spatial, padding=((0, 0),) * 3))
    images = g.groups * g.batch if g.batch_grouped else g.batch
    features = g.features if g.batch_grouped else g.groups * g.features
    others = min(cost for plan, cost in costs.items() if plan != "features")
    copied = COPY * images * features * math.prod(spatial)
    return costs["features"] * _inner_share(g), others + copied


def _inner_share(g: Geometry) -> float:
    """The share of products whose element is not padding."""
    share = 1.0
    for axis in range(3):
        met = sum(
            0 <= x * g.strides[axis] + tap * g.dilation[axis] - g.padding[axis][0] < g.spatial[axis]
            for x in range(g.out[axis])
            for tap in range(g.kernel[axis])
        )
        share *= met / (g.out[axis] * g.kernel[axis])
    return share


def row_vectors(g: Geometry, lanes: int) -> tuple[int, bool]:
    """Vectors that cover the pixels of one image plane, and whether rows are read as one."""
    _, height, width = g.out
    apart = height * -(-width // lanes)
    rows_last = g.rank >= 2 and g.lhs_spec[-2:] == (g.rank, g.rank + 1)
    if rows_last and g.strides[1:] == (1, 1) and width % lanes:
        span = (height - 1) * g.spatial[2] + width
        joined = -(-span // lanes)
        if joined <= apart:
            return joined, True
    return apart, False


def wants_packed(g: Geometry) -> bool:
    """Whether the plan reads features of the right operand side by side, and they lie apart."""
    return g.rhs_spec[0] != g.rank + 1 and g.groups * g.outs > 1 and choose_plan(g) == "features"


def packed_spec(g: Geometry) -> Ints:
    """How the right operand lies best for the order in which the ``features`` plan reads it."""
    spatial = tuple(range(g.rank))
    if features_inside(g):
        return (g.rank + 1, g.rank, *spatial)
    return (g.rank + 1, 0, *(axis + 1 for axis in spatial))


def features_inside(g: Geometry) -> bool:
    """Whether the left operand has features inside pixels, so that loops should too."""
    return max(g.lhs_spec[2:], default=0) < g.lhs_spec[1]


def _taps(g: Geometry) -> int:
    return g.features * math.prod(g.kernel)


def _pixel_cycles(g: Geometry) -> float:
    vectors, _ = row_vectors(g, LANES)
    count = g.batch * g.groups * g.out[0] * vectors * _taps(g)
    adjacent = g.rank > 0 and g.lhs_spec[-1] == g.rank + 1 and g.strides[2] == 1
    loads = 0 if adjacent else JUMP / min(g.outs, 8)
    stores = 0 if g.out_spec[-1] == g.rank + 1 else 2 * JUMP / _taps(g)
    return count * g.outs * (1 + loads + stores)


def _feature_cycles(g: Geometry) -> float:
    pixels = g.batch * math.prod(g.out)
    lanes_of = g.groups if g.depthwise else g.groups * g.outs
    vectors = -(-g.groups // LANES) if g.depthwise else g.groups * -(-g.outs // LANES)
    spots = g.batch if g.lhs_spec[0] == g.rank + 1 else g.out[1] * g.out[2]
    # a sum waits some cycles for the one before it: eight at a time hide that
    waits = max(1.0, 8 / (spots * min(vectors, 4)))
    if g.depthwise and not _groups_last(g):
        waits += JUMP
    cycles = pixels * vectors * _taps(g) * waits
    if not features_inside(g):
        # each feature of a tile is in another plane of memory, each kernel row in another line
        cycles += pixels * vectors * g.features * g.kernel[0] * g.kernel[1] * LINE / TILE
    if g.out_spec[1] != g.rank + 1:
        cycles += pixels * vectors * APART
    if g.rhs_spec[0] != g.rank + 1:
        cycles += PACK * lanes_of * _taps(g)
    return cycles


def _groups_last(g: Geometry) -> bool:
    """Whether the elements that adjacent groups read lie side by side."""
    if g.batch_grouped:
        return g.lhs_spec[0] == g.rank + 1 and g.batch == 1
    return g.lhs_spec[1] == g.rank + 1 and g.features == 1


def _window_cycles(g: Geometry) -> float:
    last = g.rank + 1
    if g.rank == 0 or (g.lhs_spec[-1], g.rhs_spec[-1]) != (last, last) or g.dilation[2] != 1:
        return math.inf
    results = g.batch * g.groups * g.outs * math.prod(g.out)
    depth, height, width = g.kernel
    # what is left of a row takes half a vector where that is enough
    vectors = -(-2 * width // LANES) / 2
    return results * (g.features * depth * height * vectors + 4)
