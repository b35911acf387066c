"""Kernels of running folds: cumsum, cumprod, cummax, cummin, cumlogsumexp.

    lower_running("add", identity)(k, (x,), (y,), axis=0, reverse=False)

Along another axis than the last the lanes of a vector go side by side. Along the last one rows do,
as each one waits for its own last result: in the lanes of a vector too, by tiles that are
transposed on their way in and out; where rows are few or short, a few at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log, prod
from typing import Any

from tracejit.ir.expr import Expr, Load, iadd, idiv, imul, isub
from tracejit.ops.lower_parts import (
    arithmetic_dtype,
    lane_axes,
    lane_width,
    rows_and_lanes,
    spread,
    unflatten,
)
from tracejit.record import dataclass

#: rows that are folded at the same time
TOGETHER = 4
#: rows that are worth a vector
FULL = 8
#: columns of a tile
TILE = 64

Combine = Callable[[Any, Expr, Expr], Expr]


def scalar_fold(fn: str) -> Combine:
    """The fold that applies one scalar operation."""
    return lambda k, total, value: k.op(fn, total, value)


def log_add_exp(k: Any, a: Expr, b: Expr) -> Expr:
    """log(exp a + exp b) without overflow; equal infinities stay what they are."""
    away = k.op("exp", k.op("neg", k.op("abs", k.op("sub", a, b))))
    total = k.op("add", k.op("max", a, b), k.op("log1p", away))
    return k.op("select", k.op("eq", a, b), k.op("add", a, log(2.0)), total)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Fold:
    """What is done along a row: from its end to its beginning if ``reverse``."""

    combine: Combine
    dtype: str
    start: Any
    reverse: bool

    def over(self, k: Any, count: Any, carry: str, lane: Expr, access: Callable[..., Any]) -> None:
        """``count`` steps in one lane, from and to its place in ``carry``; ``access(c)`` reads
        column ``c``, ``access(c, value)`` writes it.
        """
        total = k.local(self.dtype, k.load_from(carry, (lane,)), "total")
        with k.loop("seq", count, name="c") as step:
            c = isub(isub(count, 1), step) if self.reverse else step
            value = k.local(self.dtype, k.op("convert", access(c), dtype=self.dtype), "value")
            k.set(total, self.combine(k, total, value))
            access(c, total)
        k.store_to(carry, (lane,), total)


def by_tiles(k: Any, x: Any, y: Any, axis: int, fold: Fold) -> bool:
    """Rows in the lanes of a vector, where there are as many; whether it was done."""
    *lead, rows, n = x.type.shape
    side = lane_width(k, x.type)
    first_load = x((*[0] * axis, 0))
    if rows < side or n < TILE or side < 4 or not isinstance(first_load, Load):
        return False
    source, narrow, rest = first_load.buffer, x.dtype, n % side
    whole = n - rest

    with spread(k, (*lead, -(-rows // side))) as (*outer, block):
        # the last block may hold rows of the one before: each writes the same
        row = k.local("i64", k.op("min", imul(block, side), rows - side), "row")
        carry, tile = (
            k.scratch(fold.dtype, (side,), "carry"),
            k.scratch(narrow, (TILE, side), "tile"),
        )
        with k.loop("vec", side, width=side) as lane:
            k.store_to(carry, (lane,), k.const(fold.start, fold.dtype))

        def inside(lane: Expr) -> Callable[..., Any]:
            def access(c: Expr, value: Any = None) -> Any:
                if value is None:
                    return k.load_from(tile, (c, lane))
                return k.store_to(tile, (c, lane), k.op("convert", value, dtype=narrow))

            return access

        def direct(lane: Expr) -> Callable[..., Any]:
            def access(c: Expr, value: Any = None) -> Any:
                index = (*outer, iadd(row, lane), c if fold.reverse else iadd(c, n - rest))
                if value is None:
                    return x(index)
                return k.store(y, index, k.op("convert", value, dtype=narrow))

            return access

        # one loop for all tiles, the last of which may be narrower: half as much to compile
        with k.loop("seq", -(-whole // TILE), name="t") as t:
            before = imul(t, TILE)
            width: Any = TILE
            if whole % TILE:
                width = k.local("i64", k.op("min", isub(whole, before), TILE), "width")
            begin = isub(isub(n, before), width) if fold.reverse else before
            with k.loop("seq", idiv(width, side), name="q") as number:
                at = (*outer, row, iadd(begin, imul(number, side)))
                k.transpose(tile, (imul(number, side), 0), source, at, side, side, side)
            with k.loop("vec", side, width=side) as lane:
                fold.over(k, width, carry, lane, inside(lane))
            with k.loop("seq", idiv(width, side), name="q") as number:
                to = (*outer, row, iadd(begin, imul(number, side)))
                k.transpose(y.buffer, to, tile, (imul(number, side), 0), side, side, side)
        if rest:
            with k.loop("vec", side, width=side) as lane:
                fold.over(k, rest, carry, lane, direct(lane))
    return True


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
        ones = (0,) * (len(shape) - axis - 1)
        if not ones and axis > 0 and by_tiles(k, x, y, axis, Fold(combine, dtype, start, reverse)):
            return
        rows = prod(shape[:axis])
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
