"""Kernels of running folds: cumsum, cumprod, cummax, cummin, cumlogsumexp.

    lower_running("add", identity)(k, (x,), (y,), axis=0, reverse=False)

Along the last axis several rows go side by side, as each one waits for its own last result; along
another axis the lanes of a vector do.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log, prod
from typing import Any

from tracejit.ir.expr import Expr, iadd, imul, isub
from tracejit.ops.lower_parts import (
    arithmetic_dtype,
    lane_axes,
    lane_width,
    rows_and_lanes,
    unflatten,
)

#: rows that are folded at the same time
TOGETHER = 4
#: rows that are worth a vector
FULL = 8

Combine = Callable[[Any, Expr, Expr], Expr]


def scalar_fold(fn: str) -> Combine:
    """The fold that applies one scalar operation."""
    return lambda k, total, value: k.op(fn, total, value)


def log_add_exp(k: Any, a: Expr, b: Expr) -> Expr:
    """log(exp a + exp b) without overflow; equal infinities stay what they are."""
    away = k.op("exp", k.op("neg", k.op("abs", k.op("sub", a, b))))
    total = k.op("add", k.op("max", a, b), k.op("log1p", away))
    return k.op("select", k.op("eq", a, b), k.op("add", a, log(2.0)), total)  # type: ignore[no-any-return]


def lower_running(
    combine: Combine, identity: Callable[[Any], Any], *, heavy: bool = False
) -> Callable[..., None]:
    """The rule of a running fold that begins with ``identity(dtype)``.

    ``heavy``: the fold takes long, so that rows go into lanes though their elements lie apart.
    """

    def lower(k: Any, xs: Any, outs: Any, *, axis: int, reverse: bool) -> None:
        (x,), (y,) = xs, outs
        shape, n = x.type.shape, x.type.shape[axis]
        dtype, start = arithmetic_dtype(x.type), identity(x.type.dtype)

        def place(i: Expr) -> Expr:
            return isub(n - 1, i) if reverse else i

        def step(total: Any, index: tuple[Any, ...]) -> None:
            value = k.op("convert", x(index), dtype=dtype)
            k.set(total, combine(k, total, value))
            k.store(y, index, k.op("convert", total, dtype=y.dtype))

        if prod(shape[axis + 1 :]) > 1:
            at = lane_axes(shape, axis + 1)
            outer, width = (*shape[:axis], *shape[axis + 1 : at]), lane_width(k, x.type)
            with rows_and_lanes(k, outer, shape[at:], width, 4) as (row, lane):
                total = k.local(dtype, start, "total")
                with k.loop("seq", n, name="i") as i:
                    step(total, (*row[:axis], place(i), *row[axis:], *lane))
            return
        rows, ones = prod(shape[:axis]), (0,) * (len(shape) - axis - 1)
        if heavy and rows >= FULL:
            with rows_and_lanes(k, (), (rows,), lane_width(k, x.type), 2) as (_, (number,)):
                total = k.local(dtype, start, "total")
                with k.loop("seq", n, name="i") as i:
                    step(total, (*unflatten(number, shape[:axis]), place(i), *ones))
            return
        together = min(TOGETHER, max(rows, 1))
        with k.loop("par", -(-rows // together)) as block:
            # in the last block its last row may stand several times: each writes the same
            first = [iadd(imul(block, together), which) for which in range(together)]
            numbers = [k.local("i64", k.op("min", i, rows - 1), "row") for i in first]
            totals = [k.local(dtype, start, "total") for _ in numbers]
            with k.loop("seq", n, name="i") as i:
                for number, total in zip(numbers, totals, strict=True):
                    step(total, (*unflatten(number, shape[:axis]), place(i), *ones))

    return lower
