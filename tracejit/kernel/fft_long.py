"""Kernels of long Fourier transforms, whose work threads share.

long_columns(1 << 20, "fft", "f32", 16, 1.0, 1024)      columns of each row as a matrix
long_rows(1 << 20, "fft", "f32", 8, 1024)               its rows
long_ends(1 << 21, "rfft", "f32", 16)                   from pairs of a real signal to its bins
"""

from __future__ import annotations

import numpy as np

from tracejit.ir.expr import Expr, iadd, imul
from tracejit.kernel.fft_kernels import turn_round
from tracejit.kernel.fft_lanes import LaneFFT, Number
from tracejit.kernel.fft_tables import pass_table, roots
from tracejit.kernel.fft_writer import Made, Planes, Writer, parts, splits
from tracejit.kernel.nodes import Store


def long_columns(n: int, kind: str, dtype: str, width: int, factor: float, columns: int) -> Made:
    """The first half of ``within`` for rows that threads share: from ``x`` to a matrix for each
    row, ``y[row, p, column]``, imaginary parts of its rows behind the real ones. A root is the
    product of two, one of them for the first lane.
    """
    w = Writer("fft_columns", n, kind, dtype, width, factor)
    k, f, n1, n2 = w.k, w.math, n // columns, columns
    first = LaneFFT(f, n1, "w")
    blocks = -(-n2 // width)
    starts = np.minimum(np.arange(blocks) * width, n2 - width)
    w.table("w", pass_table(n1, first.factors))
    w.table("t", roots(n, np.outer(starts, np.arange(n1))) * factor)
    u = w.turns("u", roots(n, np.outer(np.arange(n1), np.arange(width))))
    with w.shared(blocks) as (row, block):
        start = k.local("i64", k.op("min", imul(block, width), n2 - width), "first")
        buffers = w.scratches(n1)
        with w.all_lanes() as lane:
            column = k.local("i64", iadd(start, lane), "column")

            def get(p: Expr) -> Number:
                return w.swapped(f.held(parts("x", (row, iadd(imul(p, n2), column)), dtype)))

            def put(p: Expr, value: Number) -> None:
                turn = f.held(parts("t", (block, p), dtype))
                value = f.times(value, f.times(w.read(u, p, lane), turn))
                for i, part in enumerate(value):
                    k.emit(Store("y", (row, p, iadd(column, i * n2)), part))

            first.write(get, put, w.between(buffers, lane))
    return w.finish(("rows",), ("rows", n, 2), ("rows", n1, 2 * n2))


def long_rows(n: int, kind: str, dtype: str, width: int, columns: int) -> Made:
    """The second half: from the parts of matrices to ``y``."""
    w = Writer("fft_rows", n, kind, dtype, width, 1.0)
    k, n1, n2 = w.k, n // columns, columns
    second = LaneFFT(w.math, n2, "w")
    w.table("w", pass_table(n2, second.factors))
    with w.shared(-(-n1 // width)) as (row, block):
        start = k.local("i64", k.op("min", imul(block, width), n1 - width), "first")
        tile = w.planes(n2, width, "c")
        buffers = w.scratches(n2)
        turn_round(w, tile, Planes("x", n2), start, n2, row)
        with w.all_lanes() as lane:
            column = k.local("i64", iadd(start, lane), "column")

            def put(p: Expr, value: Number) -> None:
                w.store("y", (row, iadd(imul(p, n1), column)), w.swapped(value))

            second.write(lambda p: w.read(tile, p, lane), put, w.between(buffers, lane))
    return w.finish(("rows",), ("rows", n1, 2 * n2), ("rows", n, 2))


def long_ends(n: int, kind: str, dtype: str, width: int) -> Made:
    """Between a long transform of pairs and half a spectrum: before it ("irfft") or after it."""
    w = Writer("fft_ends", n, kind, dtype, width, 1.0)
    k, f, m = w.k, w.math, w.m
    last = m // 2 + 1 - width
    blocks = -(-(m // 2) // width)
    starts = np.minimum(1 + np.arange(blocks) * width, last)
    w.table("t", splits(n, kind)[starts])
    u = w.turns("u", roots(n, np.arange(width))[None] * [1, 1 if kind == "rfft" else -1])

    def x(i: Expr) -> Number:
        return f.held(parts("x", (row, i), dtype))

    def y(i: Expr, value: Number) -> None:
        w.store("y", (row, i), value)

    with w.shared(blocks) as (row, block):
        with k.when(k.op("eq", block, 0)):
            w.both_ends(x, y, 1.0)
        start = k.local("i64", k.op("min", iadd(imul(block, width), 1), last), "first")
        with w.all_lanes() as lane:
            i = k.local("i64", iadd(start, lane), "i")
            turn = f.times(w.read(u, 0, lane), f.held(parts("t", (block,), dtype)))
            w.both_bins(x, y, i, turn, 1.0)
    ends_of = {"rfft": (m, m + 1), "irfft": (m + 1, m)}[kind]
    return w.finish(("rows",), *(("rows", extent, 2) for extent in ends_of))
