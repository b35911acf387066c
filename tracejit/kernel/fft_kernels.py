"""Kernels of Fourier transforms along one axis.

within(1024, "rfft", "f32", 8, 1.0, 32)     lanes along each row, which is a matrix
across(1024, "fft", "f32", 8, 1.0, "few")   lanes along a later axis
rows(30, "fft", "f32", 8, 1.0, False)       lanes over rows, turned round on the way in and out
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tracejit.errors import InternalError
from tracejit.ir.expr import Expr, Load, Var, iadd, idiv, imod, imul, isub
from tracejit.kernel.fft_lanes import Get, LaneFFT, Number, Put
from tracejit.kernel.fft_tables import pass_table, roots
from tracejit.kernel.fft_writer import Made, Planes, Writer, least, parts, splits
from tracejit.kernel.nodes import Store


def within(n: int, kind: str, dtype: str, width: int, factor: float, columns: int) -> Made:
    """Transforms along rows that lie in memory. Each is a matrix, ``columns`` wide: its columns are
    transformed in lanes, multiplied by roots, transposed, and transformed in lanes again.
    """
    w = Writer("fft", n, kind, dtype, width, factor)
    k, f, m = w.k, w.math, w.m
    n1, n2 = m // columns, columns
    if n1 * n2 != m or min(n1, n2) < width:
        raise InternalError(f"{m} places are no matrix of {columns} columns for {width} lanes")
    first, second = LaneFFT(f, n1, "w"), LaneFFT(f, n2, "w")
    tables = [pass_table(n1, first.factors), pass_table(n2, second.factors)]
    second.offset = len(tables[0])
    w.table("w", np.concatenate(tables))
    turns = roots(m, np.outer(np.arange(n1), np.arange(n2)))
    t = w.turns("t", turns * (0.5 * factor if w.pairs and w.forward else factor))
    with k.loop("par", Var("rows", "i64"), name="row") as row:
        work = w.planes(n1, n2, "m")
        tile = w.planes(n2, width, "c")
        buffers = w.scratches(n1, n2)
        source, target, after = _ends(w, row)
        with w.blocks(n2) as start, w.all_lanes() as lane:
            column = k.local("i64", iadd(start, lane), "column")

            def put(p: Expr, value: Number) -> None:
                w.put(work, f.times(value, w.read(t, p, column)), p, column)

            def get(p: Expr) -> Number:
                return source(iadd(imul(p, n2), column))

            first.write(get, put, w.between(buffers, lane))
        with w.blocks(n1) as start:
            turn_round(w, tile, work, start, n2)
            with w.all_lanes() as lane:
                column = k.local("i64", iadd(start, lane), "column")

                def last(p: Expr, value: Number) -> None:
                    target(iadd(column, imul(p, n1)), value)

                second.write(lambda p: w.read(tile, p, lane), last, w.between(buffers, lane))
        after()
    half = n // 2 + 1
    ins, outs = {"rfft": (m, half), "irfft": (half, m)}.get(kind, (n, n))
    signal = () if w.real and not w.pairs else (2,)
    x = ("rows", ins, *(signal if kind == "rfft" else (2,)))
    return w.finish(("rows",), x, ("rows", outs, *(signal if kind == "irfft" else (2,))))


def _ends(w: Writer, row: Expr) -> tuple[Get, Put, Callable[[], None]]:
    """Where the complex transform of a row reads and writes, and what is to be written after it;
    what comes before is.
    """
    f, m = w.math, w.m

    def x(p: Expr) -> Number:
        return f.held(parts("x", (row, p), w.dtype))

    def y(p: Expr, value: Number) -> None:
        w.store("y", (row, p), value)

    def source(p: Expr) -> Number:
        return w.swapped(x(p))

    def target(p: Expr, value: Number) -> None:
        y(p, w.swapped(value))

    if not w.real:
        return source, target, lambda: None
    if not w.pairs:
        return (*_odd_ends(w, row, x, y), lambda: None)
    z = w.planes(1, m, "z")
    u = w.turns("u", splits(w.n, w.kind)[None])

    def whole(p: Expr) -> Number:
        return w.read(z, 0, p)

    def hold(p: Expr, value: Number) -> None:
        w.put(z, value, 0, p)

    def turn(p: Expr) -> Number:
        return w.read(u, 0, p)

    if w.kind == "irfft":
        w.half_spectrum(x, hold, turn, 1.0, "vec")
        return lambda p: w.swapped(whole(p)), target, lambda: None
    return source, hold, lambda: w.half_spectrum(whole, y, turn, 1.0, "vec")


def _odd_ends(w: Writer, row: Expr, x: Get, y: Put) -> tuple[Get, Put]:
    """The same for a real signal of odd length."""
    k, f = w.k, w.math
    if w.kind == "rfft":

        def source(p: Expr) -> Number:
            return f.named(Load("x", (row, p), w.dtype)), f.const(0.0)

        def target(p: Expr, value: Number) -> None:
            if least(p) <= w.n // 2:
                w.store("y", (row, p), value, k.op("le", p, w.n // 2))

        return source, target
    z = w.planes(1, w.n, "z")
    w.mirror(x, lambda p, value: w.put(z, value, 0, p), "vec")

    def signal(p: Expr, value: Number) -> None:
        k.emit(Store("y", (row, p), w.swapped(value)[0]))

    return lambda p: w.swapped(w.read(z, 0, p)), signal


def turn_round(
    w: Writer, tile: Planes, work: Planes, row: Expr, columns: int, *before: Expr
) -> None:
    """As many rows of a matrix as lanes, from ``row`` on, as the lanes of a tile."""
    width = w.width
    with w.blocks(columns) as across:
        for i in (0, 1):
            place = *before, row, iadd(across, i * columns)
            to = across, i * width
            w.k.transpose(tile.name, to, work.name, place, width, width, width)


def across(n: int, kind: str, dtype: str, width: int, factor: float, last: str) -> Made:
    """Transforms along an axis that others follow: lanes are places of those. Where there are
    ``few``, less than a vector, some lanes are off. The ``last`` vector is then the only one
    ("few"); else it begins earlier ("again"), or where it works in place has lanes off ("part").
    """
    w = Writer("fft", n, kind, dtype, width, factor)
    k = w.k
    outer, inner = Var("outer", "i64"), Var("inner", "i64")
    blocks = idiv(iadd(inner, width - 1), width)
    with k.loop("par", imul(outer, blocks), name="task") as task:
        o = k.local("i64", idiv(task, blocks), "o")
        b: Expr = imul(imod(task, blocks), width)
        b = k.local("i64", k.op("min", b, isub(inner, width)) if last == "again" else b, "b")
        ways = w.lane_scratch()
        loop = w.all_lanes()
        if last != "again":
            loop = w.some_lanes(isub(inner, b), whole=last == "part")
        with loop as lane:
            place = k.local("i64", iadd(b, lane), "place")

            def x(p: Expr) -> Number:
                return parts("x", (o, p, place), dtype)

            def y(p: Expr, value: Number) -> None:
                w.store("y", (o, p, place), value)

            def x_real(p: Expr) -> Expr:
                return Load("x", (o, p, place), dtype)

            def y_real(p: Expr, value: Expr) -> None:
                k.emit(Store("y", (o, p, place), value))

            w.lanes(x_real if kind == "rfft" else x, y_real if kind == "irfft" else y, *ways(lane))
    before, after = w.extents()
    ins, outs = ("outer", before, "inner", 2), ("outer", after, "inner", 2)
    if kind == "rfft":
        return w.finish(("outer", "inner"), ins[:3], outs)
    return w.finish(("outer", "inner"), ins, outs[:3] if kind == "irfft" else outs)


def rows(n: int, kind: str, dtype: str, width: int, factor: float, few: bool) -> Made:
    """Transforms along rows that lie in memory, lanes over the rows. They are turned round on the
    way in and out; where there are ``few``, elements are collected one by one.
    """
    w = Writer("fft", n, kind, dtype, width, factor)
    k = w.k
    count = Var("rows", "i64")
    ins, outs = row_lengths(n, kind)
    turned = not few
    with k.loop("par", idiv(iadd(count, width - 1), width), name="task") as task:
        first = imul(task, width)
        if turned:
            first = k.op("min", first, isub(count, width))
        first = k.local("i64", first, "first")
        ways = w.lane_scratch()
        if turned:
            xs, ys = k.scratch(dtype, (ins, width), "xs"), k.scratch(dtype, (outs, width), "ys")
            with w.blocks(ins) as at:
                k.transpose(xs, (at, 0), "x", (first, at), width, width, width)
        else:
            xs, ys = "x", "y"
        with w.all_lanes() if turned else w.some_lanes(isub(count, first)) as lane:
            row = k.local("i64", iadd(first, lane), "row")

            def place(p: Expr) -> tuple[Expr, ...]:
                return (p, lane) if turned else (row, p)

            def x_real(p: Expr) -> Expr:
                return Load(xs, place(p), dtype)

            def y_real(p: Expr, value: Expr) -> None:
                k.emit(Store(ys, place(p), value))

            def x(p: Expr) -> Number:
                return x_real(imul(p, 2)), x_real(iadd(imul(p, 2), 1))

            def y(p: Expr, value: Number) -> None:
                for i, part in enumerate(value):
                    y_real(iadd(imul(p, 2), i), part)

            w.lanes(x_real if kind == "rfft" else x, y_real if kind == "irfft" else y, *ways(lane))
        if turned:
            with w.blocks(outs) as at:
                k.transpose("y", (first, at), ys, (at, 0), width, width, width)
    return w.finish(("rows",), ("rows", ins), ("rows", outs))


def row_lengths(n: int, kind: str) -> tuple[int, int]:
    """Real numbers of a row before and after a transform."""
    half = 2 * (n // 2 + 1)
    return {"rfft": (n, half), "irfft": (half, n)}.get(kind, (2 * n, 2 * n))
