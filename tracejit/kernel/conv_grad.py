"""Convolution with a kernel as large as an image: the gradient with respect to weights.

Comes in: a ``Conv`` whose kernel extents are those of an output-gradient image and whose result is
a few pixels. Goes out: its loops. Lanes run along the columns of the large kernel; each holds a sum
of its own over all images and rows, and the lanes are added once, at the end:

    par task in ...                                       # 2 images by 4 features, a row of results
      vec j in 16:
        t0 = ... = t23 = 0.0                              # 2 by 4 by 3 columns of results
        seq c in 8: seq kh in 56: seq q in 3:
          t0 = fma(lhs[n, c, y + kh, q * 16 + j + x], rhs[o, c, kh, q * 16 + j], t0); ...
        s0 += t0; ...
      out[n, o, y, x] = s0; ...
"""

from __future__ import annotations

import math

from tracejit.ir.expr import Expr, Var, iadd, imul
from tracejit.kernel.conv_parts import Conv, Position, balanced, decoded, for_block, vector_lanes
from tracejit.record import dataclass


@dataclass(frozen=True)
class WindowTile:
    """``images`` by ``outs`` by ``columns`` results held at once."""

    images: int
    outs: int
    columns: int


def window_tile(conv: Conv) -> WindowTile:
    """Few loads for many products: a tile near to square."""
    g = conv.g
    columns = balanced(g.out[2], 7)
    room = conv.tile // columns
    best = (1, 1)
    for images in range(1, min(g.batch, room) + 1):
        outs = min(g.outs, room // images)
        best = max(best, (images, outs), key=lambda t: t[0] * t[1] / (t[0] * columns + t[1] + 1))
    return WindowTile(balanced(g.batch, best[0]), balanced(g.outs, best[1]), columns)


@dataclass(frozen=True)
class _At:
    """Image, group, feature, depth, row and column of a task's first result."""

    n: Expr
    group: Expr
    o: Expr
    depth: Expr
    y: Expr
    x: Expr


def window(conv: Conv) -> None:
    """``par`` over blocks of images and features and over pixels of the result."""
    k, g, tile = conv.k, conv.g, window_tile(conv)
    sizes = (tile.images, tile.outs, tile.columns)
    images, blocks, strips = (
        -(-n // size) for n, size in zip((g.batch, g.outs, g.out[2]), sizes, strict=True)
    )
    extents = (g.groups, images, blocks, g.out[0], g.out[1], strips)
    with k.loop("par", math.prod(extents), name="task") as task:
        group, n, o, depth, y, x = decoded(k, task, extents, "g n o d y x")
        first = iadd(imul(group, g.outs), imul(o, tile.outs))
        at = _At(imul(n, tile.images), group, first, depth, y, imul(x, tile.columns))
        for_block(
            k,
            n,
            g.batch,
            tile.images,
            lambda images: for_block(
                k,
                o,
                g.outs,
                tile.outs,
                lambda outs: for_block(
                    k,
                    x,
                    g.out[2],
                    tile.columns,
                    lambda columns: _window_tile(conv, at, WindowTile(images, outs, columns)),
                ),
            ),
        )


def _window_tile(conv: Conv, at: _At, tile: WindowTile) -> None:
    """Sums over full vectors of columns, then over what is left, then the results."""
    k, width, columns = conv.k, conv.width, conv.g.kernel[2]
    totals = conv.zeros(tile.images * tile.outs * tile.columns)
    full, rest = divmod(columns, width)
    if full:
        with k.loop("vec", width, width=width, name="j") as lane:
            _partial_sums(conv, at, tile, totals, lane, full)
    if rest:
        lanes = vector_lanes(rest, width)
        with k.loop("vec", columns, start=full * width, width=lanes, name="j") as lane:
            _partial_sums(conv, at, tile, totals, lane, 1)
    for (i, o, x), total in zip(_spots(tile), totals, strict=True):
        place = (at.depth, at.y, iadd(at.x, x))
        conv.write(iadd(at.n, i), iadd(at.o, o), place, total)


def _spots(tile: WindowTile) -> list[tuple[int, int, int]]:
    return [
        (i, o, x) for i in range(tile.images) for o in range(tile.outs) for x in range(tile.columns)
    ]


def _partial_sums(
    conv: Conv, at: _At, tile: WindowTile, totals: list[Var], lane: Expr, vectors: int
) -> None:
    """Add to ``totals`` what ``vectors`` lanes give: ``lane`` and those ``width`` further on."""
    k, g = conv.k, conv.g
    sums = conv.zeros(len(totals), "t")
    with (
        k.loop("seq", g.features, name="c") as c,
        k.loop("seq", g.kernel[0], name="kd") as kd,
        k.loop("seq", g.kernel[1], name="kh") as kh,
        k.loop("seq", vectors, name="q") as q,
    ):
        tap: Position = (kd, kh, iadd(imul(q, conv.width), lane))
        place = [conv.source(axis, z, tap[axis]) for axis, z in enumerate((at.depth, at.y, at.x))]
        weights = [
            k.local(conv.dtype, conv.right(iadd(at.o, o), c, tap), "w") for o in range(tile.outs)
        ]
        values: dict[tuple[int, int], Var] = {}
        for (i, o, x), total in zip(_spots(tile), sums, strict=True):
            if (i, x) not in values:
                spot = (place[0], place[1], iadd(place[2], x * g.strides[2]))
                element = conv.left(iadd(at.n, i), at.group, c, spot)
                values[i, x] = k.local(conv.dtype, element, "v")
            conv.multiply_add(total, values[i, x], weights[o])
    for total, part in zip(totals, sums, strict=True):
        k.accumulate(total, "or" if conv.dtype == "bool" else "add", part)
