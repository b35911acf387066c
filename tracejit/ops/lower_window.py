"""Kernels that add up what windows give to the elements they cover: the adjoints of pooling.

    lower_select_scatter(k, (source, operand), (out,), select="ge", **window_params((2, 2), (2, 2)))
    lower_dilated_sum(k, (x,), (out,), **params)        # a window sum with a dilated base

Windows are visited in order, one row of them after the other. Lanes run along the trailing axes
that no window slides over (channels last), or else along the windows of a row, whose winners and
sources are laid out in scratch as far apart as the windows are, so that the elements of a row
find those of all windows over them side by side:

    par plane in 512:
      seq y in 28:
        vec x in 28: win[2 * x] = place of the extremum; give[2 * x] = source[y, x]
        vec w in 56: out[2 * y, w] += (win[w] == 0 ? give[w] : 0) + (win[w - 1] == 1 ? ... )
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from itertools import product
from math import prod
from typing import Any

from tracejit.ir.expr import Const, Expr, Op, Var, const, iadd, imul
from tracejit.ir.types import TensorType, kind, short
from tracejit.ops.layout import both, compare, linear_index, read_where
from tracejit.ops.lower_parts import PARTS, lane_width, spread, unflatten
from tracejit.ops.reduce import highest, lowest
from tracejit.record import dataclass

Index = tuple[Expr, ...]

#: elements of the largest window: each is written out
LARGEST = 64
#: fewest trailing elements that lanes run along
FEWEST = 8
#: the longest row whose winners are held in scratch
LONGEST_ROW = 4096


@dataclass(frozen=True)
class Axis:
    """An axis of the result, ``count`` windows of ``taps`` elements sliding along it."""

    size: int
    count: int
    taps: int
    stride: int
    dilation: int
    low: int

    @property
    def plain(self) -> bool:
        """Every element is a window of its own."""
        return (self.taps, self.stride, self.low, self.size) == (1, 1, 0, self.count)

    @property
    def reach(self) -> int:
        return (self.taps - 1) * self.dilation + 1

    @property
    def covered(self) -> bool:
        """Every element is in exactly one window, and windows hold nothing else."""
        side_by_side = self.dilation == 1 and self.taps == self.stride
        return side_by_side and self.low == 0 and self.size == self.count * self.stride

    @property
    def offset(self) -> int:
        """What is added to a dilated place, so that the first element's last tap is not below 0."""
        return max(0, self.reach - 1 - self.low)

    @property
    def row(self) -> int:
        """Elements of a row of dilated places."""
        return self.offset + max(self.size + self.low, (self.count - 1) * self.stride + 1)

    def place(self, window: Expr, tap: int) -> tuple[Expr, Expr | None]:
        """The element that tap of a window is, and the condition under which there is one."""
        at = iadd(imul(window, self.stride), tap * self.dilation - self.low)
        first = tap * self.dilation - self.low
        last = (self.count - 1) * self.stride + first
        above = compare("ge", at, 0) if first < 0 else None
        return at, both(above, compare("lt", at, self.size) if last >= self.size else None)


def _axes(source: TensorType, size: Sequence[int], p: dict[str, Any]) -> tuple[Axis, ...]:
    """The axes of ``select_and_scatter_add``."""
    return tuple(
        Axis(n, count, taps, stride, dilation, low)
        for n, count, taps, stride, dilation, (low, _) in zip(
            size,
            source.shape,
            p["window_dimensions"],
            p["window_strides"],
            p["window_dilation"],
            p["padding"],
            strict=True,
        )
    )


def _dilated_axes(x: TensorType, size: Sequence[int], p: dict[str, Any]) -> tuple[Axis, ...]:
    """The axes of a window sum over a dilated base, its elements being windows over the result."""
    return tuple(
        Axis(n, count, taps, base, dilation, (taps - 1) * dilation - low)
        for n, count, taps, base, dilation, (low, _) in zip(
            size,
            x.shape,
            p["window_dimensions"],
            p["base_dilation"],
            p["window_dilation"],
            p["padding"],
            strict=True,
        )
    )


def _writable(axes: tuple[Axis, ...]) -> bool:
    """Whether the loops of this module take these axes."""
    if 0 in (n for axis in axes for n in (axis.size, axis.count)) or all(a.plain for a in axes):
        return False
    inner = prod(axis.size for axis in axes[_first_inner(axes) :])
    if inner < FEWEST and (axes[-1].plain or axes[-1].row > LONGEST_ROW):
        return False
    return prod(axis.taps for axis in axes) <= LARGEST


def _first_inner(axes: tuple[Axis, ...]) -> int:
    """Where the trailing axes begin that no window slides over."""
    return max(k for k, axis in enumerate(axes) if not axis.plain) + 1


def lowers_select_scatter(
    source: TensorType, operand: TensorType, *, select: str, **p: Any
) -> bool:
    """Whether there is a kernel: the base is not dilated, the window not too large."""
    if any(step > 1 for step in p["base_dilation"]):
        return False
    return _writable(_axes(source, operand.shape, p))


def lower_select_scatter(k: Any, xs: Any, outs: Any, *, select: str, **p: Any) -> None:
    """The rule of ``select_and_scatter_add``."""
    axes = _axes(xs[0].type, outs[0].type.shape, p)
    _Scatter(k, axes, xs[0], outs[0], xs[1], select).write()


def lowers_dilated_sum(x: TensorType, **p: Any) -> bool:
    """Whether a window sum is the adjoint of one with strides."""
    if kind(x.dtype) == "f" and x.dtype.itemsize == 2:
        return False  # their sums are held in float32
    if max(p["base_dilation"], default=1) == 1 or any(step > 1 for step in p["window_strides"]):
        return False
    size = [
        max(n - 1, 0) * base + 1 + low + high - (taps - 1) * dilation
        for n, base, taps, dilation, (low, high) in zip(
            x.shape,
            p["base_dilation"],
            p["window_dimensions"],
            p["window_dilation"],
            p["padding"],
            strict=True,
        )
    ]
    return min(size) > 0 and _writable(_dilated_axes(x, size, p))


def lower_dilated_sum(k: Any, xs: Any, outs: Any, **p: Any) -> None:
    """The rule of ``reduce_window_sum`` where ``lowers_dilated_sum`` holds."""
    axes = _dilated_axes(xs[0].type, outs[0].type.shape, p)
    _Scatter(k, axes, xs[0], outs[0], None, "").write()


@dataclass(frozen=True)
class _Scatter:
    """The kernel being written; without ``operand`` every element of a window gets its source."""

    k: Any
    axes: tuple[Axis, ...]
    source: Any
    out: Any
    operand: Any
    select: str

    @property
    def covered(self) -> bool:
        """Whether each element is written once, so that none needs to be zero before."""
        return all(axis.plain or axis.covered for axis in self.axes)

    @property
    def taps(self) -> list[tuple[int, ...]]:
        return list(product(*(range(axis.taps) for axis in self.axes)))

    def number(self, taps: tuple[int, ...]) -> Const:
        """A tap's place in the window, row-major."""
        place = linear_index(tuple(map(const, taps)), tuple(axis.taps for axis in self.axes))
        return Const(place.value, "i32")  # type: ignore[attr-defined]

    def write(self) -> None:
        first = min(k for k, axis in enumerate(self.axes) if not axis.plain)
        inner = _first_inner(self.axes)
        if prod(axis.size for axis in self.axes[inner:]) >= FEWEST:
            self.write_lanes(first, inner)
        else:
            self.write_rows(first)

    def zero(self) -> Const:
        return Const(self.out.type.dtype.type(0).item(), self.out.dtype)

    # ---- lanes along axes that no window slides over

    def write_lanes(self, first: int, inner: int) -> None:
        k, trailing = self.k, tuple(axis.size for axis in self.axes[inner:])
        types = [x.type for x in (self.source, self.operand) if x is not None]
        count, width = prod(trailing), lane_width(k, *types)
        lead = tuple(axis.size for axis in self.axes[:first])
        part = count
        if prod(lead) < PARTS:
            part = max(width, -(-count * prod(lead) // PARTS // width) * width)
        parts = -(-count // part)
        with spread(k, (*lead, parts)) as (*outer, number):
            start = imul(number, part)
            stop = k.op("min", iadd(start, part), count) if parts > 1 else count

            def lanes(body: Any) -> None:
                with k.loop("vec", stop, start, width=width) as lane:
                    body(unflatten(lane, trailing))

            slid = self.axes[first:inner]

            def clear(rows: tuple[Expr, ...]) -> None:
                with ExitStack() as stack:
                    rest = [stack.enter_context(k.loop("seq", axis.size)) for axis in slid[1:]]
                    at = (*outer, *rows, *rest)
                    lanes(lambda lane: k.store(self.out, (*at, *lane), self.zero()))

            def windows(y: Expr) -> None:
                with ExitStack() as stack:
                    rest = [stack.enter_context(k.loop("seq", axis.count)) for axis in slid[1:]]
                    lanes(lambda lane: self.window((*outer, y, *rest, *lane)))

            self.in_order(slid[0], clear, windows)

    def in_order(self, axis: Axis, clear: Any, windows: Any) -> None:
        """``windows(y)`` for every window of ``axis``, rows cleared before the first adds to them.

        Window y covers rows up to y * stride + reach - low; those before are clear already.
        """
        k, ahead = self.k, axis.reach - axis.low

        def rows(start: Expr, stop: Expr) -> None:
            low, high = (self.clamped(x, axis.size) for x in (start, stop))
            if not self.covered and low != high:
                with k.loop("seq", high, low, name="r") as row:
                    clear((row,))

        rows(const(0), const(ahead - axis.stride))
        with k.loop("seq", axis.count, name="y") as y:
            top = imul(y, axis.stride)
            rows(iadd(top, ahead - axis.stride), iadd(top, ahead))
            windows(y)
        rows(const((axis.count - 1) * axis.stride + ahead), const(axis.size))

    def clamped(self, x: Expr, size: int) -> Expr:
        if isinstance(x, Const):
            return const(min(max(int(x.value), 0), size))
        bounded = self.k.op("min", self.k.op("max", x, 0), size)
        return self.k.local("i64", bounded)  # type: ignore[no-any-return]

    def window(self, window: Index) -> None:
        """Add the source of one window (in every lane) to the element that won."""
        k = self.k
        winner = self.winner(window)
        given = k.local(self.out.dtype, self.source(window), "give")
        # of two windows over an element the earlier one adds first
        for taps in self.taps:
            at, inside = self.place(window, taps)
            part: Expr = given
            if winner is not None:
                mine = k.op("eq", winner, self.number(taps))
                part = k.op("select", mine, given, self.zero())
            if not self.covered:
                old = k.load(self.out, at, inside)
                part = k.op("add", old, part)
            k.store(self.out, at, part, inside)

    def place(self, window: Index, taps: tuple[int, ...]) -> tuple[Index, Expr | None]:
        """The element that a tap of a window is, and whether there is one."""
        found = [a.place(i, t) for a, i, t in zip(self.axes, window, taps, strict=True)]
        return tuple(at for at, _ in found), both(*(inside for _, inside in found))

    def winner(self, window: Index) -> Var | None:
        """Which tap of a window is the extremum, the first of equal ones."""
        if self.operand is None:
            return None
        k, x = self.k, self.operand
        half = kind(x.type.dtype) == "f" and x.type.dtype.itemsize == 2
        dtype = "f32" if half else short(x.type.dtype)
        fill = Const(fill_of(self.select, x.type.dtype), short(x.type.dtype))
        best = winner = None
        for taps in self.taps:
            at, inside = self.place(window, taps)
            value = k.op("convert", read_where(x, at, inside, fill), dtype=dtype)
            if best is None or winner is None:
                best, winner = k.local(dtype, value, "best"), k.local("i32", 0, "win")
                continue
            value = k.local(dtype, value, "v")
            wins = k.local("bool", beats(value, best, self.select))
            k.set(best, Op("select", (wins, value, best), dtype))
            k.set(winner, Op("select", (wins, self.number(taps), winner), "i32"))
        return winner

    # ---- lanes along the windows of a row

    def write_rows(self, first: int) -> None:
        k, last = self.k, self.axes[-1]
        types = [x.type for x in (self.source, self.operand) if x is not None]
        width = lane_width(k, *types)
        lead = tuple(axis.size for axis in self.axes[:first])
        slid = self.axes[first:-1]
        with spread(k, lead or (1,)) as outer:
            outer = outer[: len(lead)]
            give = k.scratch(self.out.dtype, (last.row,), "give")
            win = k.scratch("i32", (last.row,), "win") if self.operand is not None else ""
            with k.loop("vec", last.row, width=width) as at:
                k.store_to(give, (at,), self.zero())
                if win:
                    k.store_to(win, (at,), -1)

            def clear(rows: tuple[Expr, ...]) -> None:
                with ExitStack() as stack:
                    rest = [stack.enter_context(k.loop("seq", axis.size)) for axis in slid[1:]]
                    with k.loop("vec", last.size, width=width) as w:
                        k.store(self.out, (*outer, *rows, *rest, w), self.zero())

            def windows(*y: Expr) -> None:
                with ExitStack() as stack:
                    rest = [stack.enter_context(k.loop("seq", axis.count)) for axis in slid[1:]]
                    self.row_of_windows((*outer, *y, *rest), give, win, width)

            if slid:
                self.in_order(slid[0], clear, windows)
            else:
                if not self.covered:
                    clear(())
                windows()

    def row_of_windows(self, lead: Index, give: str, win: str, width: int) -> None:
        """The row of windows at ``lead``: laid out in scratch, then added to rows they cover."""
        k, last = self.k, self.axes[-1]
        with k.loop("vec", last.count, width=width, name="x") as x:
            winner = self.winner((*lead, x))
            at = iadd(imul(x, last.stride), last.offset)
            k.store_to(give, (at,), self.source((*lead, x)))
            if winner is not None:
                k.store_to(win, (at,), winner)
        for taps in product(*(range(axis.taps) for axis in self.axes[:-1])):
            pairs = zip(self.axes, lead, taps, strict=False)
            found = [axis.place(i, tap) for axis, i, tap in pairs]
            row, inside = tuple(at for at, _ in found), both(*(cond for _, cond in found))
            with ExitStack() as stack:
                if inside is not None:
                    stack.enter_context(k.when(inside))
                with k.loop("vec", last.size, width=width, name="w") as w:
                    self.add_row(row, taps, w, give, win)

    def add_row(self, row: Index, taps: tuple[int, ...], w: Expr, give: str, win: str) -> None:
        """What the windows of a row give to element ``w`` of one row they cover."""
        k, last = self.k, self.axes[-1]
        total: Expr | None = None if self.covered else k.load(self.out, (*row, w))
        for tap in reversed(range(last.taps)):  # the window that comes first adds first
            at = iadd(w, last.low - tap * last.dilation + last.offset)
            part = k.load_from(give, (at,))
            if win:
                mine = k.op("eq", k.load_from(win, (at,)), self.number((*taps, tap)))
                part = k.op("select", mine, part, self.zero())
            total = part if total is None else k.op("add", total, part)
        k.store(self.out, (*row, w), total)


def beats(value: Expr, best: Expr, select: str) -> Expr:
    """Whether ``value`` takes the place of ``best``; the first nan stays."""
    wins: Expr = Op("gt" if select == "ge" else "lt", (value, best), "bool")
    if value.dtype in ("f16", "bf16", "f32", "f64"):
        enters = Op(
            "and", (Op("ne", (value, value), "bool"), Op("eq", (best, best), "bool")), "bool"
        )
        wins = Op("or", (wins, enters), "bool")
    return wins


def fill_of(select: str, dtype: Any) -> bool | int | float:
    """What stands in the padding, so that it never wins against an element."""
    return lowest(dtype) if select == "ge" else highest(dtype)
