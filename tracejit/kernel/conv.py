"""Direct convolution as a Kernel, its register tiles written out.

Comes in: the types and params of a ``conv_general_dilated`` node as ``passes/contract.py`` leaves
it: padded only where the plan is ``features``. Goes out: a Kernel over ``lhs``, ``rhs``, ``out``.

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
from typing import Any

from tracejit.errors import InternalError
from tracejit.ir.expr import Expr, iadd, idiv, imod, imul, isub
from tracejit.ir.types import DTYPES, TensorType, short
from tracejit.kernel.build import Extent, KernelBuilder, operand, output
from tracejit.kernel.conv_features import features
from tracejit.kernel.conv_grad import window
from tracejit.kernel.conv_parts import (
    SCRATCH_BYTES,
    TASKS,
    Conv,
    balanced,
    decoded,
    for_block,
    sources,
    unrolled,
    vector_lanes,
)
from tracejit.kernel.nodes import Kernel, Param
from tracejit.ops.dot import accumulator
from tracejit.passes.conv_plan import choose_plan, geometry, row_vectors
from tracejit.record import dataclass


def conv_kernel(
    lhs: TensorType,
    rhs: TensorType,
    out: TensorType,
    params: dict[str, Any],
    width: int,
    name: str = "conv",
    plan: str | None = None,
) -> Kernel:
    """The kernel of a convolution; ``width`` lanes of the accumulators' dtype.

    Each plan computes every convolution without padding, ``features`` also padded ones; without a
    plan given, the cheapest is taken. Sums of 16-bit
    floats are held in float32. The one ``par`` loop runs from 0 to a constant.
    """
    g = geometry(lhs, rhs, params)
    if g.padded and (g.depthwise or plan not in (None, "features")):
        raise InternalError("a convolution is padded by a node of its own before it gets a kernel")
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


def _separate_rows(conv: Conv, tile: PixelTile, at: _Rows, outs: int) -> None:
    """One row after the other."""
    k, columns = conv.k, conv.g.out[2]
    lanes = vector_lanes(columns, conv.width)
    with k.loop("seq", at.rows, name="r") as r:
        y = iadd(at.row, r)
        with k.loop("vec", columns, width=lanes, unroll=tile.unroll, name="x") as x:
            totals = conv.zeros(outs)
            with conv.taps(unrolled(conv.g)) as (c, tap):
                place = sources(conv, (at.depth, y, x), tap)
                value = k.local(conv.dtype, conv.left(at.n, at.group, c, place), "v")
                for o, total in enumerate(totals):
                    conv.multiply_add(total, value, conv.right(iadd(at.first, o), c, tap))
            for o, total in enumerate(totals):
                conv.write(at.n, iadd(at.first, o), (at.depth, y, x), total)


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
