"""What a loop is that fits into one kernel: cells that change from step to step, and expressions.

Every element of the state depends on its own past alone. The axes of the state are the *space*; a
few elements more along another axis (the x, y, z of a point) are a *cell* each, a local of the
kernel. Cells without space axes are *uniform*: the same at every point (a counter, a time).

    scan(0.0:f32[64], %x, body=...)  ->  z0[i0] = add(mul(0.9, z0), mul(0.1, b1[step, i0]))

Expressions read operand n of the loop as the buffer ``b<n>``, cells and the number of the step as
variables.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import replace

from tracejit.ir.expr import Expr, Var, const
from tracejit.passes.pull import ZERO, Index
from tracejit.record import dataclass

#: so many elements at most along axes that are no part of the space, in one carry
MOST_PARTS = 16

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Cell:
    """One element per point of the space of carry (or result) ``number``.

    ``index``: its place in it; ``first``: its value before the first step; ``value``: after a step;
    ``uniform``: it has no axis of the space.
    """

    name: str
    number: int
    index: Index
    first: Expr
    value: Expr
    uniform: bool

    @property
    def dtype(self) -> str:
        return self.value.dtype

    @property
    def var(self) -> Var:
        return Var(self.name, self.dtype)


@dataclass(frozen=True)
class LoopForm:
    """A loop turned inside out.

    ``inner``: loops that run at the start of each step, whose cells hold their results afterwards.
    ``cond``: of a while, tested before each step; with ``lanes`` each point has its own, and stops
    by itself. ``moving``: where it is false at a point, no later step changes anything there.
    ``names``: the operations of a step.
    """

    space: Shape
    step: Var
    carries: tuple[Cell, ...]
    stacked: tuple[Cell, ...]
    inner: tuple[LoopForm, ...]
    length: int
    reverse: bool
    cond: Expr | None
    lanes: bool
    moving: Expr | None
    names: tuple[str, ...]

    def exprs(self) -> Iterator[Expr]:
        """Every expression of the loop and of those inside it."""
        for cell in (*self.carries, *self.stacked):
            yield from (cell.first, cell.value)
        yield from (e for e in (self.cond, self.moving) if e is not None)
        for loop in self.inner:
            yield from loop.exprs()

    def mapped(self, change: Callable[[Expr], Expr]) -> LoopForm:
        """The same with every expression changed."""

        def again(cells: tuple[Cell, ...]) -> tuple[Cell, ...]:
            return tuple(replace(c, first=change(c.first), value=change(c.value)) for c in cells)

        return replace(
            self,
            carries=again(self.carries),
            stacked=again(self.stacked),
            inner=tuple(loop.mapped(change) for loop in self.inner),
            cond=None if self.cond is None else change(self.cond),
            moving=None if self.moving is None else change(self.moving),
        )


# ---- spaces and the cells of a value -------------------------------------------------------------


def squeezed(shape: Shape) -> Shape:
    return tuple(n for n in shape if n != 1)


def spaces(shapes: set[Shape]) -> Iterator[Shape]:
    """Spaces to try for a state of these shapes: the largest of them; the same without a short
    first or last axis; none at all."""
    ordered = sorted(map(squeezed, shapes), key=lambda s: (math.prod(s), len(s)), reverse=True)
    tried: set[Shape] = set()
    for shape in (*ordered[:1], ()):
        for space in (shape, shape[:-1], shape[1:]):
            if space not in tried:
                tried.add(space)
                if all(layout(y, space) is not None for y in ordered):
                    yield space


def layout(shape: Shape, space: Shape) -> tuple[int, int] | None:
    """Which axes of ``shape``, apart from those of one element, are the space: from, to. Equal ones
    where it has none of them.

    None where the space is no run of its axes, or it has too many elements besides.
    """
    axes = squeezed(shape)
    n = len(space)
    for first in range(len(axes) - n + 1):
        if n and axes[first : first + n] == space:
            if math.prod((*axes[:first], *axes[first + n :])) <= MOST_PARTS:
                return first, first + n
    return (0, 0) if math.prod(axes) <= MOST_PARTS else None


def cell_indices(shape: Shape, space: Shape) -> tuple[list[Index], bool]:
    """The index of each cell of a value that has a layout, and whether they are uniform."""
    found = layout(shape, space)
    assert found is not None
    choices: list[list[Expr]] = []
    place = 0
    for n in shape:
        if n == 1:
            choices.append([ZERO])
            continue
        inside = found[0] <= place < found[1]
        choices.append([space_var(place - found[0])] if inside else [const(k) for k in range(n)])
        place += 1
    return list(itertools.product(*choices)), bool(space) and found[0] == found[1]


def space_var(axis: int) -> Var:
    return Var(f"i{axis}", "i64")
