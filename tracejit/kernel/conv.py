"""Direct convolution as a Kernel, its register tiles written out.

Comes in: the types and params of a ``conv_general_dilated`` node without padding
(``passes/contract.py``). Goes out: a Kernel over ``lhs``, ``rhs`` and ``out``.

    kernel = conv_kernel(x.type, w.type, out.type, params, width=16)

Which axis the lanes of a vector run along is the plan (``passes/conv_plan.py``). With ``pixels``:

    par task in ...                                      # image, 8 output features, block of rows
      vec p in 3246:                                     # pixels of all rows, gaps between rows too
        a0 = a1 = ... = a7 = 0.0
        seq c in 64: seq kh in 3: seq kw in 3:
          v = lhs[n, c, p // 58 + kh, p % 58 + kw]       # adjacent in memory
          a0 = fma(v, rhs[o, c, kh, kw], a0); ...
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from tracejit.ir.expr import Expr, Var, iadd, idiv, imod, imul, isub
from tracejit.ir.types import DTYPES, TensorType, short
from tracejit.kernel.build import Extent, KernelBuilder, operand, output
from tracejit.kernel.conv_grad import window
from tracejit.kernel.conv_parts import (
    Conv,
    Position,
    balanced,
    decoded,
    for_block,
    vector_lanes,
)
from tracejit.kernel.nodes import Kernel, Param
from tracejit.ops.dot import accumulator
from tracejit.passes.conv_plan import (
    Geometry,
    choose_plan,
    features_inside,
    geometry,
    row_vectors,
)

#: bytes of scratch a task may use: it should stay in the first-level cache
SCRATCH_BYTES = 40 << 10
#: at least so many tasks where there are that many rows
TASKS = 16
#: bytes of the right operand beyond which it is walked through once, the left one many times
STREAMED_BYTES = 1 << 19


def conv_kernel(
    lhs: TensorType,
    rhs: TensorType,
    out: TensorType,
    params: dict[str, Any],
    width: int,
    name: str = "conv",
    plan: str | None = None,
) -> Kernel:
    """The kernel of a convolution without padding; ``width`` lanes of the accumulators' dtype.

    Each plan computes every convolution; without one given, the cheapest is taken. Sums of 16-bit
    floats are held in float32. The one ``par`` loop runs from 0 to a constant.
    """
    g = geometry(lhs, rhs, params)
    buffers = tuple(
        Param(label, short(type.dtype), type.shape, role)
        for label, type, role in (("lhs", lhs, "in"), ("rhs", rhs, "in"), ("out", out, "out"))
    )
    k = KernelBuilder([name, *(p.name for p in buffers)], width=width)
    left, right, result = (
        operand(buffers[0], lhs),
        operand(buffers[1], rhs),
        output(buffers[2], out),
    )
    conv = Conv(k, g, left, right, result, width, short(accumulator(out.dtype)))
    if out.size:
        {"pixels": pixels, "features": features, "window": window}[plan or choose_plan(g)](conv)
    return Kernel(name, (), buffers, k.finish())


# ---- lanes over pixels ---------------------------------------------------------------------------


@dataclass(frozen=True)
class PixelTile:
    """``outs`` features by ``unroll`` vectors; ``rows`` of pixels for one task.

    ``flat``: rows are read as one, with the columns of the left operand that lie between them.
    """

    outs: int
    unroll: int
    rows: int
    flat: bool


def pixel_tile(conv: Conv) -> PixelTile:
    """The tile that leaves the fewest lanes idle."""
    g, width = conv.g, conv.width
    _, height, columns = g.out
    row_bytes = min(g.outs, conv.tile // 3) * g.spatial[2] * DTYPES[conv.dtype].itemsize
    flat = row_vectors(g, width)[1] and row_bytes <= SCRATCH_BYTES
    span = (height - 1) * g.spatial[2] + columns
    vectors = -(-(span if flat else columns) // width)
    outs = min(g.outs, conv.tile // 3)
    unroll = min(vectors, conv.tile // outs, 6)
    if unroll < 3:
        outs = min(g.outs, conv.tile // unroll)
    outs = balanced(g.outs, outs)
    tasks = g.batch * g.groups * -(-g.outs // outs) * g.out[0]
    rows = balanced(height, -(-height * tasks // TASKS))
    if flat and g.spatial[2] != columns:
        row_bytes = outs * g.spatial[2] * DTYPES[conv.dtype].itemsize
        rows = balanced(height, min(rows, SCRATCH_BYTES // row_bytes))
    return PixelTile(outs, unroll, rows, flat)


def pixels(conv: Conv) -> None:
    """``par`` over images, blocks of output features and of rows; ``vec`` over pixels."""
    k, g, tile = conv.k, conv.g, pixel_tile(conv)
    blocks, parts = -(-g.outs // tile.outs), -(-g.out[1] // tile.rows)
    extents = (g.batch, g.groups, g.out[0], parts, blocks)
    with k.loop("par", math.prod(extents), name="task") as task:
        n, group, depth, part, block = decoded(k, task, extents, "n g d part block")
        row = k.local("i64", imul(part, tile.rows), "row")
        rows: Extent = tile.rows
        if g.out[1] % tile.rows:
            rows = k.local("i64", k.op("min", isub(g.out[1], row), tile.rows), "rows")
        first = iadd(imul(group, g.outs), imul(block, tile.outs))
        first = k.local("i64", first, "o")
        where = _Rows(n, group, first, depth, row, rows)
        write = _flat_rows if tile.flat else _separate_rows
        for_block(k, block, g.outs, tile.outs, lambda outs: write(conv, tile, where, outs))


@dataclass(frozen=True)
class _Rows:
    """What one task computes: ``rows`` rows from ``row`` on, output features from ``first`` on."""

    n: Expr
    group: Expr
    first: Expr
    depth: Expr
    row: Expr
    rows: Extent


def unrolled(g: Geometry) -> int:
    """How many kernel pixels are worth writing out: more where each is one multiplication."""
    return 9 if g.depthwise else 3


def _separate_rows(conv: Conv, tile: PixelTile, at: _Rows, outs: int) -> None:
    """One row after the other."""
    k, columns = conv.k, conv.g.out[2]
    lanes = vector_lanes(columns, conv.width)
    with k.loop("seq", at.rows, name="r") as r:
        y = iadd(at.row, r)
        with k.loop("vec", columns, width=lanes, unroll=tile.unroll, name="x") as x:
            totals = conv.zeros(outs)
            with conv.taps(unrolled(conv.g)) as (c, tap):
                place = _sources(conv, (at.depth, y, x), tap)
                value = k.local(conv.dtype, conv.left(at.n, at.group, c, place), "v")
                for o, total in enumerate(totals):
                    conv.multiply_add(total, value, conv.right(iadd(at.first, o), c, tap))
            for o, total in enumerate(totals):
                conv.write(at.n, iadd(at.first, o), (at.depth, y, x), total)


def _sources(conv: Conv, at: Position, tap: Position) -> Position:
    """Where an output pixel meets a kernel pixel in the left operand."""
    d, y, x = (conv.source(axis, at[axis], tap[axis]) for axis in range(3))
    return d, y, x


def _flat_rows(conv: Conv, tile: PixelTile, at: _Rows, outs: int) -> None:
    """All rows as one, by way of scratch where there are gaps between them."""
    k, g = conv.k, conv.g
    pitch, columns = g.spatial[2], g.out[2]
    gaps = pitch != columns
    span = iadd(imul(isub(at.rows, 1), pitch), columns)
    buffer = ""
    if gaps:
        buffer = k.scratch(conv.dtype, (outs, (tile.rows - 1) * pitch + columns))
    with k.loop("vec", span, width=conv.width, unroll=tile.unroll, name="p") as p:
        totals = conv.zeros(outs)
        with conv.taps(unrolled(conv.g)) as (c, tap):
            y = iadd(at.row, imul(tap[1], g.dilation[1]))
            flat = iadd(iadd(p, imul(y, pitch)), imul(tap[2], g.dilation[2]))
            place = (conv.source(0, at.depth, tap[0]), idiv(flat, pitch), imod(flat, pitch))
            value = k.local(conv.dtype, conv.left(at.n, at.group, c, place), "v")
            for o, total in enumerate(totals):
                conv.multiply_add(total, value, conv.right(iadd(at.first, o), c, tap))
        for o, total in enumerate(totals):
            if gaps:
                k.store_to(buffer, (o, p), total)
            else:
                flat = iadd(p, imul(at.row, pitch))
                place = (at.depth, idiv(flat, pitch), imod(flat, pitch))
                conv.write(at.n, iadd(at.first, o), place, total)
    if not gaps:
        return
    with k.loop("seq", outs, name="b") as out, k.loop("seq", at.rows, name="r") as r:
        lanes = vector_lanes(columns, conv.width)
        with k.loop("vec", columns, width=lanes, name="x") as x:
            result = k.load_from(buffer, (out, iadd(imul(r, pitch), x)))
            conv.write(at.n, iadd(at.first, out), (at.depth, iadd(at.row, r), x), result)


# ---- lanes over output features ------------------------------------------------------------------


@dataclass(frozen=True)
class FeatureTile:
    """``images`` by ``rows`` by ``columns`` output pixels, and ``unroll`` vectors of features.

    ``strip``: columns that one task computes, tile after tile.
    """

    images: int
    rows: int
    columns: int
    strip: int
    lanes: int
    unroll: int


def feature_tile(conv: Conv) -> FeatureTile:
    """As many pixels as accumulators allow; more vectors of features where pixels are few."""
    g = conv.g
    count = g.groups if g.depthwise else g.outs
    lanes = vector_lanes(count, conv.width)
    vectors = -(-count // lanes)
    # one load of features and one of a pixel at a time are left besides the accumulators
    room = conv.tile + conv.tile // 6
    if g.depthwise:
        # pixels are vectors too, and taps share them
        columns, rows = balanced(g.out[2], 4), balanced(g.out[1], 4)
        return FeatureTile(1, rows, columns, _strip(conv, rows * lanes, columns), lanes, 1)
    unroll = min(2, vectors)
    images = rows = columns = 1
    if g.lhs_spec[0] == g.rank + 1:
        images = balanced(g.batch, room // unroll)
    else:
        columns = balanced(g.out[2], room // unroll)
    if columns == g.out[2]:
        rows = balanced(g.out[1], room // unroll // (columns * images))
    unroll = max(unroll, min(vectors, room // (images * rows * columns), 4))
    unroll = balanced(vectors, unroll)
    strip = _strip(conv, images * rows * lanes * unroll, columns)
    return FeatureTile(images, rows, columns, strip, lanes, unroll)


def _strip(conv: Conv, per_column: int, columns: int) -> int:
    """Columns for one task, whole tiles, whose results fit scratch."""
    fit = SCRATCH_BYTES // (per_column * columns * DTYPES[conv.dtype].itemsize)
    tiles = -(-conv.g.out[2] // columns)
    return columns * balanced(tiles, min(max(fit, 1), TASKS))


@dataclass(frozen=True)
class _Block:
    """What one task computes: from image ``n``, ``row``, ``column`` and feature ``first`` on."""

    n: Expr
    group: Expr
    first: Expr
    depth: Expr
    row: Expr
    column: Expr


def features(conv: Conv) -> None:
    """``par`` over images, rows of pixel tiles and blocks of features; ``vec`` over features."""
    k, g, tile = conv.k, conv.g, feature_tile(conv)
    count = g.groups if g.depthwise else g.outs
    groups = 1 if g.depthwise else g.groups
    block = tile.lanes * tile.unroll
    images, parts = -(-g.batch // tile.images), -(-g.out[1] // tile.rows)
    blocks = -(-count // block)
    strips = -(-g.out[2] // tile.strip)
    extents = {"n": images, "g": groups, "d": g.out[0], "part": parts, "strip": strips}
    extents["block"] = blocks
    streamed = conv.rhs.type.nbytes > STREAMED_BYTES
    order = "g block n d part strip" if streamed else "n g d part strip block"
    with k.loop("par", math.prod(extents.values()), name="task") as task:
        found = decoded(k, task, [extents[name] for name in order.split()], order)
        at = dict(zip(order.split(), found, strict=True))
        where = _Block(
            imul(at["n"], tile.images),
            at["g"],
            k.local("i64", imul(at["block"], block), "o"),
            at["d"],
            k.local("i64", imul(at["part"], tile.rows), "row"),
            k.local("i64", imul(at["strip"], tile.strip), "column"),
        )
        buffer = ""
        if g.out_spec[1] != g.rank + 1:
            buffer = k.scratch(conv.dtype, (tile.images, tile.rows, tile.strip, block))
        axes = (
            (at["n"], g.batch, tile.images),
            (at["part"], g.out[1], tile.rows),
            (at["strip"], g.out[2], tile.strip),
            (at["block"], count, block),
        )

        def choose(sizes: tuple[int, ...]) -> None:
            if len(sizes) == len(axes):
                _feature_block(conv, tile, where, (sizes[0], sizes[1], sizes[2]), sizes[3], buffer)
            else:
                for_block(k, *axes[len(sizes)], lambda size: choose((*sizes, size)))

        choose(())


def _feature_block(
    conv: Conv,
    tile: FeatureTile,
    at: _Block,
    size: tuple[int, int, int],
    count: int,
    buffer: str,
) -> None:
    """Tiles that cover ``size`` images, rows and columns, for ``count`` features.

    By way of ``buffer``, where the result does not have features side by side.
    """
    k = conv.k
    images, rows, width = size
    full, rest = divmod(width, tile.columns)
    unroll = min(tile.unroll, -(-count // tile.lanes))
    with k.loop("vec", count, width=tile.lanes, unroll=unroll, name="l") as lane:

        def one(columns: int, x: Expr | int) -> None:
            _feature_tile(conv, at, (images, rows, columns), x, lane, buffer)

        if full > 1:
            with k.loop("seq", full, name="t") as t:
                one(tile.columns, imul(t, tile.columns))
        elif full:
            one(tile.columns, 0)
        if rest:
            one(rest, full * tile.columns)
    if not buffer:
        return
    lanes = vector_lanes(width, conv.width)
    with k.loop("seq", count, name="l") as feature, k.nest((images, rows), "seq") as (i, r):
        with k.loop("vec", width, width=lanes, name="x") as x:
            _write_feature(conv, at, i, r, x, feature, k.load_from(buffer, (i, r, x, feature)))


def _write_feature(
    conv: Conv,
    at: _Block,
    image: Expr | int,
    row: Expr | int,
    x: Expr | int,
    lane: Expr,
    value: Expr,
) -> None:
    feature = iadd(at.first, lane)
    if not conv.g.depthwise:
        feature = iadd(imul(at.group, conv.g.outs), feature)
    place = (at.depth, iadd(at.row, row), iadd(at.column, x))
    conv.write(iadd(at.n, image), feature, place, value)


def _feature_tile(
    conv: Conv,
    at: _Block,
    tile: tuple[int, int, int],
    x: Expr | int,
    lane: Var,
    buffer: str,
) -> None:
    """One register tile, from column ``x`` of the task's on."""
    k, g = conv.k, conv.g
    spots = [(i, r, c) for i in range(tile[0]) for r in range(tile[1]) for c in range(tile[2])]
    totals = conv.zeros(len(spots))
    group: Expr = iadd(at.first, lane) if g.depthwise else at.group
    feature = group if g.depthwise else iadd(imul(group, g.outs), iadd(at.first, lane))
    # taps written out would share pixels, for which no registers are left
    written = unrolled(g) if g.depthwise else 1
    with conv.taps(written, features_inside=features_inside(g)) as (c, tap):
        weight = k.local(conv.dtype, conv.right(feature, c, tap), "w")
        for (i, r, column), total in zip(spots, totals, strict=True):
            spot = (at.depth, iadd(at.row, r), iadd(at.column, iadd(x, column)))
            place = _sources(conv, spot, tap)
            conv.multiply_add(total, conv.left(iadd(at.n, i), group, c, place), weight)
    for (i, r, column), total in zip(spots, totals, strict=True):
        if buffer:
            k.store_to(buffer, (i, r, iadd(x, column), lane), total)
        else:
            _write_feature(conv, at, i, r, iadd(x, column), lane, total)
