"""Convolution with lanes over output features: a tile of pixels by a few vectors of features.

Comes in: a ``Conv``. Goes out: its loops.

    par task in ...                                      # image, row, block of features
      vec l in 32:                                       # two vectors
        seq t in 2:                                      # tiles of 14 columns without padding
          a0 = ... = a13 = 0.0
          seq kh in first..end: seq kw in 3: seq c in 64:
            w = rhs[kh, kw, c, o + l]
            a0 = fma(lhs[n, y + kh - 1, 14 + x + kw - 1, c], w, a0); ...

Where kernel pixels meet padding nothing is multiplied: kernel rows run from the first to the last
inside, and tiles at the left and right border are written out, each kernel column with the pixels
that have an element there; in a wide row they are few, and zeros are read at its ends instead.

A right operand too large for the caches (the gradient of a result, when weights are what is
computed) is walked through once for all pixels: their sums are held in scratch (``_streamed``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from tracejit.ir.expr import Expr, Var, const, iadd, imul
from tracejit.ir.types import DTYPES
from tracejit.kernel.build import Extent, KernelBuilder
from tracejit.kernel.conv_parts import (
    SCRATCH_BYTES,
    TASKS,
    Conv,
    Position,
    balanced,
    decoded,
    for_block,
    sources,
    unrolled,
    vector_lanes,
)
from tracejit.passes.conv_plan import Geometry, features_inside
from tracejit.record import dataclass

#: kernel columns from the first number to below the second, and the pixels that meet them
Run = tuple[Extent, Extent, range]

#: columns of a result from which on padding is read as zeros at the borders of a row
WIDE = 32
#: bytes of the right operand beyond which it is walked through once, the left one many times
STREAMED_BYTES = 1 << 19
#: bytes of the right operand beyond which sums of all pixels are held while it is read, where so
#: many products at least are added to each at a time
ONCE_BYTES, LONG = 1 << 20, 128


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
    count = _count(g)
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
    if images == g.batch or g.lhs_spec[0] != g.rank + 1:
        columns = balanced(g.out[2], room // unroll // images)
    if columns == g.out[2] and g.padding[1] == (0, 0):
        rows = balanced(g.out[1], room // unroll // (columns * images))
    unroll = max(unroll, min(vectors, room // (images * rows * columns), 4))
    unroll = balanced(vectors, unroll)
    strip = _strip(conv, images * rows * lanes * unroll, columns)
    return FeatureTile(images, rows, columns, strip, lanes, unroll)


def _count(g: Geometry) -> int:
    """Features that lanes run over."""
    return g.groups if g.depthwise else g.outs


def _strip(conv: Conv, per_column: int, columns: int) -> int:
    """Columns for one task, whole tiles, whose results fit scratch."""
    if conv.g.padding[2] != (0, 0):
        return conv.g.out[2]  # the borders of a row are known where it is one strip
    fit = SCRATCH_BYTES // (per_column * columns * DTYPES[conv.dtype].itemsize)
    tiles = -(-conv.g.out[2] // columns)
    return columns * balanced(tiles, min(max(fit, 1), TASKS))


@dataclass(frozen=True)
class _Block:
    """What one task computes: from image ``n``, ``row``, ``column`` and feature ``first`` on.

    By way of ``buffer``, where the result does not have features side by side. ``c``: the one
    feature of the left operand that is added to the sums in ``buffer``, None for all of them.
    """

    n: Expr
    group: Expr
    first: Expr
    depth: Expr
    row: Expr
    column: Expr
    buffer: str = ""
    c: Expr | None = None


def features(conv: Conv) -> None:
    """``par`` over images, rows of pixel tiles and blocks of features; ``vec`` over features."""
    tile = feature_tile(conv)
    if _sums_fit(conv, tile):
        _streamed(conv, tile)
    else:
        _separate(conv, tile)


def _separate(conv: Conv, tile: FeatureTile) -> None:
    """One task after the other goes through all features of the left operand."""
    k, g = conv.k, conv.g
    groups = 1 if g.depthwise else g.groups
    block = tile.lanes * tile.unroll
    extents = {"n": -(-g.batch // tile.images), "g": groups, "d": g.out[0]}
    extents |= {"part": -(-g.out[1] // tile.rows), "strip": -(-g.out[2] // tile.strip)}
    extents["block"] = -(-_count(g) // block)
    streamed = conv.rhs.type.nbytes > STREAMED_BYTES
    order = "g block n d part strip" if streamed else "n g d part strip block"
    with k.loop("par", math.prod(extents.values()), name="task") as task:
        found = decoded(k, task, [extents[name] for name in order.split()], order)
        at = dict(zip(order.split(), found, strict=True))
        buffer = ""
        if g.out_spec[1] != g.rank + 1:
            buffer = k.scratch(conv.dtype, (tile.images, tile.rows, tile.strip, block))
        where = _Block(
            imul(at["n"], tile.images),
            at["g"],
            k.local("i64", imul(at["block"], block), "o"),
            at["d"],
            k.local("i64", imul(at["part"], tile.rows), "row"),
            k.local("i64", imul(at["strip"], tile.strip), "column"),
            buffer,
        )
        axes = (
            (at["n"], g.batch, tile.images),
            (at["part"], g.out[1], tile.rows),
            (at["strip"], g.out[2], tile.strip),
            (at["block"], _count(g), block),
        )

        def write(sizes: tuple[int, ...]) -> None:
            pixels = sizes[0], sizes[1], sizes[2]
            _feature_block(conv, tile, where, pixels, sizes[3])
            if buffer:
                _written(conv, where, pixels, sizes[3])

        _each_size(conv, axes, write)


def _each_size(
    conv: Conv,
    axes: tuple[tuple[Expr, int, int], ...],
    body: Callable[[tuple[int, ...]], None],
    sizes: tuple[int, ...] = (),
) -> None:
    """``body`` for the sizes of a block along ``axes`` (number, total, size): the last is less."""
    if len(sizes) == len(axes):
        body(sizes)
        return
    axis = axes[len(sizes)]
    for_block(conv.k, *axis, lambda size: _each_size(conv, axes, body, (*sizes, size)))


# ---- the right operand walked through once -------------------------------------------------------


def _sums_fit(conv: Conv, tile: FeatureTile) -> bool:
    """Whether the right operand is large, each feature of the left one brings many products for
    every pixel, and scratch takes a sum for each pixel of a few images.
    """
    g = conv.g
    if g.depthwise or g.features == 1 or conv.rhs.type.nbytes <= ONCE_BYTES:
        return False
    pixels = g.out[1] * g.out[2]
    if math.prod(g.kernel) < LONG or pixels == tile.rows * tile.columns:
        return False
    sums = tile.images * pixels * tile.lanes * tile.unroll
    return sums * DTYPES[conv.dtype].itemsize <= SCRATCH_BYTES


def _streamed(conv: Conv, tile: FeatureTile) -> None:
    """One feature of the left operand after the other is added to the sums of all pixels."""
    k, g = conv.k, conv.g
    block = tile.lanes * tile.unroll
    extents = (g.groups, -(-g.outs // block), -(-g.batch // tile.images), g.out[0])
    parts = -(-g.out[1] // tile.rows), -(-g.out[2] // tile.strip)
    with k.loop("par", math.prod(extents), name="task") as task:
        group, number, n, depth = decoded(k, task, extents, "g block n d")
        buffer = k.scratch(conv.dtype, (tile.images, *g.out[1:], block))
        first = k.local("i64", imul(number, block), "o")
        image = k.local("i64", imul(n, tile.images), "image")
        whole = _Block(image, group, first, depth, const(0), const(0), buffer)

        def every_feature(sizes: tuple[int, ...]) -> None:
            images, count = sizes
            with k.nest((images, *g.out[1:]), "seq") as place:
                with k.loop("vec", count, width=tile.lanes, name="l") as lane:
                    k.store_to(buffer, (*place, lane), 0)
            with k.loop("seq", g.features, name="c") as c, k.nest(parts, "seq") as (row, strip):
                at = replace(
                    whole,
                    row=k.local("i64", imul(row, tile.rows), "row"),
                    column=k.local("i64", imul(strip, tile.strip), "column"),
                    c=c,
                )
                axes = ((row, g.out[1], tile.rows), (strip, g.out[2], tile.strip))
                _each_size(
                    conv,
                    axes,
                    lambda pixels: _feature_block(
                        conv, tile, at, (images, pixels[0], pixels[1]), count
                    ),
                )
            _written(conv, whole, (images, *g.out[1:]), count)

        _each_size(conv, ((n, g.batch, tile.images), (number, g.outs, block)), every_feature)


# ---- blocks and tiles ----------------------------------------------------------------------------


def _feature_block(
    conv: Conv, tile: FeatureTile, at: _Block, size: tuple[int, int, int], count: int
) -> None:
    """Tiles that cover ``size`` images, rows and columns, for ``count`` features."""
    k = conv.k
    images, rows, width = size
    unroll = min(tile.unroll, -(-count // tile.lanes))
    with k.loop("vec", count, width=tile.lanes, unroll=unroll, name="l") as lane:

        def one(columns: int, x: Expr | int, number: int = 1) -> None:
            guards = _guards(conv.g, columns, x if isinstance(x, int) else 0, number)
            _feature_tile(conv, at, (images, rows, columns), x, lane, guards)

        full, rest = divmod(width, tile.columns)
        first, end = _plain_tiles(conv.g, tile.columns, full)
        for t in range(first):
            one(tile.columns, t * tile.columns)
        if end - first > 1:
            with k.loop("seq", end, start=first, name="t") as number:
                one(tile.columns, imul(number, tile.columns), full)
        elif end > first:
            one(tile.columns, first * tile.columns)
        for t in range(end, full):
            one(tile.columns, t * tile.columns)
        if rest:
            one(rest, full * tile.columns)


def _plain_tiles(g: Geometry, columns: int, count: int) -> tuple[int, int]:
    """Of ``count`` tiles in a row, those that are the same code: they meet no padding."""
    if g.padding[2] == (0, 0) or columns == 1 or _wide(g):
        return 0, count
    plain = [
        t
        for t in range(count)
        if all(_meets(g, t * columns + x, tap) for x in (0, columns - 1) for tap in _ends(g))
    ]
    return (plain[0], plain[-1] + 1) if plain else (count, count)


def _wide(g: Geometry) -> bool:
    """Whether padding is so little of a row that reading zeros there is better than more code."""
    return g.out[2] >= WIDE


def _guards(g: Geometry, columns: int, start: int, number: int) -> list[tuple[bool, bool]]:
    """For each column of a tile, whether it may meet padding on the left and on the right, in one
    of ``number`` tiles from column ``start`` on.
    """
    if g.padding[2] == (0, 0) or columns == 1 or not _wide(g):
        return [(False, False)] * columns
    low, reach = g.padding[2][0], (g.kernel[2] - 1) * g.dilation[2]
    last = start + (number - 1) * columns
    return [
        (
            (start + column) * g.strides[2] < low,
            (last + column) * g.strides[2] + reach - low >= g.spatial[2],
        )
        for column in range(columns)
    ]


def _ends(g: Geometry) -> tuple[int, int]:
    return 0, g.kernel[2] - 1


def _meets(g: Geometry, x: int, tap: int) -> bool:
    """Whether kernel column ``tap`` has an element, not padding, at output column ``x``."""
    return 0 <= x * g.strides[2] + tap * g.dilation[2] - g.padding[2][0] < g.spatial[2]


def _written(conv: Conv, at: _Block, size: tuple[int, int, int], count: int) -> None:
    """Results from scratch to where they belong, lanes along columns where those lie together."""
    k = conv.k
    images, rows, width = size
    if conv.g.out_spec[1] == conv.g.rank + 1:
        lanes = vector_lanes(count, conv.width)
        with k.nest((images, rows, width), "seq") as (i, r, x):
            with k.loop("vec", count, width=lanes, name="l") as lane:
                _write_feature(conv, at, (i, r, x), lane)
        return
    lanes = vector_lanes(width, conv.width)
    with k.loop("seq", count, name="l") as feature, k.nest((images, rows), "seq") as (i, r):
        with k.loop("vec", width, width=lanes, name="x") as x:
            _write_feature(conv, at, (i, r, x), feature)


def _write_feature(conv: Conv, at: _Block, place: Position, lane: Expr) -> None:
    value = conv.k.load_from(at.buffer, (*place, lane))
    _write(conv, at, place, lane, value)


def _write(conv: Conv, at: _Block, place: Position, lane: Expr, value: Expr) -> None:
    """The result of one pixel, ``place`` counted from where the block begins."""
    feature = iadd(at.first, lane)
    if not conv.g.depthwise:
        feature = iadd(imul(at.group, conv.g.outs), feature)
    pixel = (at.depth, iadd(at.row, place[1]), iadd(at.column, place[2]))
    conv.write(iadd(at.n, place[0]), feature, pixel, value)


def _feature_tile(
    conv: Conv,
    at: _Block,
    tile: tuple[int, int, int],
    x: Expr | int,
    lane: Var,
    guards: list[tuple[bool, bool]],
) -> None:
    """One register tile, from column ``x`` of the task's on."""
    k, g = conv.k, conv.g
    spots = [(i, r, c) for i in range(tile[0]) for r in range(tile[1]) for c in range(tile[2])]
    # where sums of all pixels are held they are counted from the first one
    top, left = (at.row, at.column) if at.c is not None else (const(0), const(0))

    def cell(spot: tuple[int, int, int]) -> tuple[Expr | int, ...]:
        i, r, c = spot
        return i, iadd(top, r), iadd(left, iadd(x, c)), lane

    if at.c is not None:
        totals = [k.local(conv.dtype, k.load_from(at.buffer, cell(spot)), "s") for spot in spots]
    else:
        totals = conv.zeros(len(spots))
    group: Expr = iadd(at.first, lane) if g.depthwise else at.group
    feature = group if g.depthwise else iadd(imul(group, g.outs), iadd(at.first, lane))
    for c, tap, columns in _taps(conv, at, tile, x):
        weight = k.local(conv.dtype, conv.right(feature, c, tap), "w")
        for (i, r, column), total in zip(spots, totals, strict=True):
            if column in columns:
                pixel = (at.depth, iadd(at.row, r), iadd(at.column, iadd(x, column)))
                place = sources(conv, pixel, tap)
                guard = _guard(conv, place[2], *guards[column])
                value = conv.left(iadd(at.n, i), group, c, place, guard)
                conv.multiply_add(total, value, weight)
    for spot, total in zip(spots, totals, strict=True):
        if at.buffer:
            k.store_to(at.buffer, cell(spot), total)
        else:
            _write(conv, at, (spot[0], spot[1], iadd(x, spot[2])), lane, total)


def _guard(conv: Conv, column: Expr | int, left: bool, right: bool) -> Expr | None:
    """The condition under which there is an element at ``column``."""
    k = conv.k
    conds = [k.op("ge", column, 0)] if left else []
    conds += [k.op("lt", column, conv.g.spatial[2])] if right else []
    return k.op("and", *conds) if len(conds) == 2 else conds[0] if conds else None


def _taps(
    conv: Conv, at: _Block, tile: tuple[int, int, int], x: Expr | int
) -> Iterator[tuple[Expr, Position, range]]:
    """Loops over features and kernel pixels, open while each of what is given is worked on:
    feature, kernel pixel, and the columns of the tile that meet an element there.
    """
    k, g = conv.k, conv.g
    every = range(tile[2])
    if g.depthwise:
        # taps written out share pixels
        with conv.taps(unrolled(g), features_inside=features_inside(g)) as (c, tap):
            yield c, tap, every
        return
    depths = conv.inside(0, at.depth)
    rows = conv.inside(1, at.row) if tile[1] == 1 else (0, g.kernel[1])
    runs: list[Run] = [(0, g.kernel[2], every)]
    if tile[2] == 1:
        runs = [(*conv.inside(2, iadd(at.column, x)), every)]
    elif isinstance(x, int) and not _wide(g):
        runs = list(_runs(g, x, tile[2]))
    inside = features_inside(g)
    for first, end, columns in runs:
        with ExitStack() as stack:
            feature = at.c
            if feature is None and not inside:
                feature = stack.enter_context(k.loop("seq", g.features, name="c"))
            limits = (depths, rows, (first, end))
            depth, row, column = (stack.enter_context(_over(k, *pair)) for pair in limits)
            if feature is None:
                feature = stack.enter_context(k.loop("seq", g.features, name="c"))
            yield feature, (depth, row, column), columns


@contextmanager
def _over(k: KernelBuilder, first: Extent, end: Extent) -> Iterator[Expr]:
    """A loop over kernel pixels, but none over a single one."""
    if isinstance(first, int) and end == first + 1:
        yield const(first)
        return
    with k.loop("seq", end, start=first, name="k") as tap:
        yield tap


def _runs(g: Geometry, x: int, count: int) -> Iterator[Run]:
    """Kernel columns one after the other that meet elements at the same of ``count`` columns."""
    first = 0
    for tap in range(g.kernel[2]):
        columns = _meeting(g, x, count, tap)
        if tap + 1 == g.kernel[2] or _meeting(g, x, count, tap + 1) != columns:
            if columns:
                yield first, tap + 1, columns
            first = tap + 1


def _meeting(g: Geometry, x: int, count: int, tap: int) -> range:
    found = [column for column in range(count) if _meets(g, x + column, tap)]
    return range(found[0], found[-1] + 1) if found else range(0)
