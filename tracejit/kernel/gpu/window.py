"""Folds over sliding windows on a GPU, and the adjoints of pooling: a thread for each result.

    window_fold("add", zero)(kernels, window_dimensions=(1, 2, 2), ...)
    select_scatter(kernels, select="ge", ...)

A thread reads all of its window; neighbouring threads have neighbouring windows. Adjoints gather: a
thread visits the windows over its element, in their order, finds out which element of each won, and
adds what the window gives if that is its own. No two threads write the same element, so that sums
have the same bits every time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from tracejit.ir.expr import Const, Expr, Var, const, iadd, idiv, imul, isub
from tracejit.ir.types import short
from tracejit.kernel.build import Operand
from tracejit.kernel.gpu.kernels import GpuBuilder, Kernels, indices
from tracejit.ops.lower_parts import arithmetic_dtype
from tracejit.ops.lower_window import beats, fill_of
from tracejit.record import dataclass

Index = tuple[Expr, ...]


@dataclass(frozen=True)
class Axis:
    """An axis of ``size`` elements, ``base`` apart, with ``low`` of padding in front; windows of
    ``taps`` elements, ``dilation`` apart, begin every ``stride``; there are ``count`` of them.
    """

    size: int
    count: int
    taps: int
    stride: int
    low: int
    base: int
    dilation: int

    @property
    def plain(self) -> bool:
        """Every element is a window of its own."""
        ones = (self.taps, self.stride, self.base, self.low) == (1, 1, 1, 0)
        return ones and self.size == self.count

    def element(self, k: GpuBuilder, window: Expr, tap: Expr) -> tuple[Expr, Expr | None]:
        """The element at a tap of a window, and whether there is one."""
        if self.plain:
            return window, None
        at = iadd(iadd(imul(window, self.stride), imul(tap, self.dilation)), -self.low)
        at = k.local("i64", at, "at")
        inside = k.op("and", k.op("ge", at, 0), k.op("lt", at, (self.size - 1) * self.base + 1))
        place = k.op("max", at, 0)
        if self.base > 1:
            inside = k.op("and", inside, k.op("eq", k.op("irem", place, self.base), 0))
            place = idiv(place, self.base)
        return k.local("i64", k.op("min", place, max(self.size - 1, 0)), "place"), inside

    def over(self, k: GpuBuilder, element: Expr) -> tuple[Expr, Expr, Expr]:
        """Where an element lies among the padding, and the windows that may cover it: the first of
        them, and the one behind the last.
        """
        at = k.local("i64", iadd(imul(element, self.base), self.low), "at")
        reach = (self.taps - 1) * self.dilation + 1
        first = idiv(k.op("max", iadd(at, self.stride - reach), 0), self.stride)
        stop = idiv(k.op("max", iadd(at, self.stride), 0), self.stride)
        return at, first, k.op("min", stop, self.count)


def axes_of(
    kernels: Kernels, shape: tuple[int, ...], windows: tuple[int, ...], p: Any
) -> list[Axis]:
    """The axes of operands of ``shape`` with so many ``windows``."""
    return [
        Axis(*given)
        for given in zip(
            shape,
            windows,
            p["window_dimensions"],
            p["window_strides"],
            (low for low, _ in p["padding"]),
            p["base_dilation"],
            p["window_dilation"],
            strict=True,
        )
    ]


@contextmanager
def taps(
    k: GpuBuilder, axes: list[Axis], window: Index
) -> Iterator[tuple[Index, Expr | None, Index]]:
    """Loops over a window, row-major: the element, whether there is one, and the tap."""
    with ExitStack() as stack:
        place: list[Expr] = []
        tap: list[Expr] = []
        guard: Expr | None = None
        for axis, at in zip(axes, window, strict=True):
            one: Expr = const(0)
            if axis.taps > 1:
                one = stack.enter_context(k.loop("seq", axis.taps, name="w"))
            here, inside = axis.element(k, at, one)
            if inside is not None:
                guard = inside if guard is None else k.op("and", guard, inside)
            place.append(here)
            tap.append(one)
        if guard is not None:
            guard = k.local("bool", guard, "inside")
        yield tuple(place), guard, tuple(tap)


def window_fold(fn: str, identity: Callable[[Any], Any]) -> Callable[..., None]:
    """The rule of ``reduce_window_sum``, ``_max`` or ``_min``."""

    def rule(kernels: Kernels, **p: Any) -> None:
        (x,), (y,) = kernels.xs, kernels.ys
        dtype = arithmetic_dtype(x.type)
        axes = axes_of(kernels, x.type.shape, y.type.shape, p)
        start = Const(as_number(identity(x.type.dtype), dtype), dtype)
        with kernels.each("", y.type.size) as (k, number):
            window = indices(number, y.type.shape)
            total = k.local(dtype, start, "total")
            if x.type.size:
                with taps(k, axes, window) as (place, inside, _):
                    value = k.op("convert", x(place, inside), dtype=dtype)
                    if inside is not None:
                        value = k.op("select", inside, value, start)
                    k.set(total, k.op(fn, total, value))
            k.store(y, window, k.op("convert", total, dtype=y.dtype))

    return rule


def as_number(value: Any, dtype: str) -> bool | int | float | complex:
    """An identity as a constant of ``dtype`` holds it."""
    if dtype == "bool":
        return bool(value)
    if dtype[0] == "c":
        return complex(value)
    return float(value) if dtype[0] in "fb" else int(value)


def winner(
    k: GpuBuilder,
    axes: list[Axis],
    window: Index,
    operand: Operand,
    select: str,
    found: Callable[[Index, Expr | None], Expr] | None = None,
) -> tuple[Expr, Var | None]:
    """The number of the tap that wins a window, the first of equal ones; and what ``found`` gives
    there.
    """
    dtype = arithmetic_dtype(operand.type)
    fill = Const(fill_of(select, operand.type.dtype), short(operand.type.dtype))
    best = k.local(dtype, k.op("convert", fill, dtype=dtype), "best")
    count, win = k.local("i64", 0, "count"), k.local("i64", 0, "win")
    kept = None
    if found is not None:
        kept = k.local(found((const(0),) * len(axes), None).dtype, 0, "kept")
    with taps(k, axes, window) as (place, inside, _):
        value = operand(place, inside)
        if inside is not None:
            value = k.op("select", inside, value, fill)
        value = k.local(dtype, k.op("convert", value, dtype=dtype), "value")
        wins = k.op("or", k.op("eq", count, 0), beats(value, best, select))
        with k.when(wins):
            k.set(best, value)
            k.set(win, count)
            if kept is not None and found is not None:
                k.set(kept, found(place, inside))
        k.set(count, iadd(count, 1))
    return win, kept


def select_gather(kernels: Kernels, *, select: str, **p: Any) -> None:
    """The rule of ``select_and_gather_add``."""
    (tangents, operand), (y,) = kernels.xs, kernels.ys
    axes = axes_of(kernels, operand.type.shape, y.type.shape, p)
    with kernels.each("", y.type.size) as (k, number):
        window = indices(number, y.type.shape)
        value: Expr = k.const(as_number(0, y.dtype), y.dtype)
        if operand.type.size:
            _, kept = winner(k, axes, window, operand, select, tangents)
            assert kept is not None
            value = kept
        k.store(y, window, value)


def select_scatter(kernels: Kernels, *, select: str, **p: Any) -> None:
    """The rule of ``select_and_scatter_add``."""
    (source, operand), (y,) = kernels.xs, kernels.ys
    axes = axes_of(kernels, y.type.shape, source.type.shape, p)
    dtype = arithmetic_dtype(y.type)
    with kernels.each("", y.type.size) as (k, number):
        element = indices(number, y.type.shape)
        total = k.local(dtype, as_number(0, dtype), "total")
        if source.type.size:
            with covering(k, axes, element) as (window, mine, on_grid), k.when(on_grid):
                win, _ = winner(k, axes, window, operand, select)
                with k.when(k.op("eq", win, mine)):
                    given = k.op("convert", source(window), dtype=dtype)
                    k.set(total, k.op("add", total, given))
        k.store(y, element, k.op("convert", total, dtype=y.dtype))


@contextmanager
def covering(k: GpuBuilder, axes: list[Axis], element: Index) -> Iterator[tuple[Index, Expr, Expr]]:
    """Loops over the windows that may cover an element: the window, the number of the tap that the
    element is in it, and whether it is one.
    """
    with ExitStack() as stack:
        window: list[Expr] = []
        number: Expr = const(0)
        on_grid: Expr = k.const(True, "bool")
        for axis, i in zip(axes, element, strict=True):
            if axis.plain:
                window.append(i)
                continue
            at, first, stop = axis.over(k, i)
            one = stack.enter_context(k.loop("seq", stop, first, name="w"))
            offset: Expr = isub(at, imul(one, axis.stride))
            if axis.dilation > 1:
                fits = k.op("eq", k.op("irem", offset, axis.dilation), 0)
                on_grid = k.op("and", on_grid, fits)
                offset = idiv(offset, axis.dilation)
            window.append(one)
            number = iadd(imul(number, axis.taps), offset)
        yield tuple(window), number, on_grid
