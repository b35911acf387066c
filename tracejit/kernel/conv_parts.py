"""What the loop nests of convolutions share: operands by role, loops over taps, blocks of a total.

Comes in: a KernelBuilder and a Geometry, as a ``Conv``. Goes out: expressions and loops.

    with conv.taps() as (c, tap):
        conv.multiply_add(total, conv.left(n, group, c, at), conv.right(o, c, tap))
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from tracejit.ir.expr import Expr, Var, iadd, idiv, imod, imul, isub
from tracejit.ir.types import DTYPES
from tracejit.kernel.build import Extent, KernelBuilder, Operand, Output
from tracejit.passes.conv_plan import Geometry
from tracejit.record import dataclass

Position = tuple[Expr | int, Expr | int, Expr | int]

#: bytes of scratch a task may use: it should stay in the first-level cache
SCRATCH_BYTES = 40 << 10
#: at least so many tasks where there are that many rows
TASKS = 16


@dataclass(frozen=True)
class Conv:
    """A convolution being written."""

    k: KernelBuilder
    g: Geometry
    lhs: Operand
    rhs: Operand
    out: Output
    width: int
    dtype: str  # of the accumulators

    @property
    def tile(self) -> int:
        """Accumulators that fit the registers, with room for operands."""
        return 24 if self.width * DTYPES[self.dtype].itemsize != 32 else 12

    def left(
        self,
        n: Expr | int,
        group: Expr | int,
        c: Expr | int,
        at: Position,
        guard: Expr | None = None,
    ) -> Expr:
        """Element of the left operand, as an accumulator holds it; zero where ``guard`` fails."""
        if self.g.batch_grouped:
            n = iadd(n, imul(group, self.g.batch))
        else:
            c = iadd(c, imul(group, self.g.features))
        return self.wide(self.lhs(placed(self.g.lhs_spec, n, c, at), guard))

    def right(self, o: Expr | int, c: Expr | int, at: Position) -> Expr:
        """Element of the right operand; ``o`` counts through all groups."""
        return self.wide(self.rhs(placed(self.g.rhs_spec, o, c, at)))

    def write(self, n: Expr | int, o: Expr | int, at: Position, value: Expr) -> None:
        self.k.store(
            self.out,
            placed(self.g.out_spec, n, o, at),
            self.k.op("convert", value, dtype=self.out.dtype),
        )

    def wide(self, x: Expr) -> Expr:
        return self.k.op("convert", x, dtype=self.dtype)

    def zeros(self, count: int, name: str = "s") -> list[Var]:
        return [self.k.local(self.dtype, 0, name) for _ in range(count)]

    def multiply_add(self, total: Var, a: Expr, b: Expr) -> None:
        self.k.set(total, multiply_add(self.k, a, b, total))

    def source(self, axis: int, at: Expr | int, tap: Expr | int) -> Expr:
        """Where output pixel ``at`` meets kernel pixel ``tap`` in the left operand."""
        place = iadd(imul(at, self.g.strides[axis]), imul(tap, self.g.dilation[axis]))
        return iadd(place, -self.g.padding[axis][0])

    def inside(self, axis: int, at: Expr | int) -> tuple[Extent, Extent]:
        """The kernel pixels of ``axis`` that meet an element, not padding, at output pixel ``at``:
        from the first number to below the second.
        """
        g, k = self.g, self.k
        if g.padding[axis] == (0, 0):
            return 0, g.kernel[axis]
        low, step = g.padding[axis][0], g.dilation[axis]
        before = k.op("max", isub(low, imul(at, g.strides[axis])), 0)
        room = k.op("max", isub(g.spatial[axis] + low, imul(at, g.strides[axis])), 0)
        first, end = (idiv(iadd(n, step - 1), step) for n in (before, room))
        return first, k.op("min", end, g.kernel[axis])

    @contextmanager
    def taps(
        self, unrolled: int = 1, *, features_inside: bool = False
    ) -> Iterator[tuple[Expr, Position]]:
        """Loops over the features and kernel pixels that are summed up: gives (c, (kd, kh, kw)).

        Up to ``unrolled`` kernel pixels are written out one after the other.
        """
        k, kernel = self.k, self.g.kernel
        with ExitStack() as stack:
            if features_inside:
                at = [stack.enter_context(k.loop("seq", n, name="k")) for n in kernel]
                yield stack.enter_context(k.loop("seq", self.g.features, name="c")), _three(at)
                return
            c = stack.enter_context(k.loop("seq", self.g.features, name="c"))
            at = []
            for axis, n in enumerate(kernel):
                small = math.prod(kernel[axis:]) <= unrolled
                at.append(stack.enter_context(k.loop("seq", n, unroll=n if small else 1, name="k")))
            yield c, _three(at)


def _three(values: Sequence[Expr]) -> Position:
    one, two, three = values
    return one, two, three


def sources(conv: Conv, at: Position, tap: Position) -> Position:
    """Where an output pixel meets a kernel pixel in the left operand."""
    d, y, x = (conv.source(axis, at[axis], tap[axis]) for axis in range(3))
    return d, y, x


def unrolled(g: Geometry) -> int:
    """How many kernel pixels are worth writing out: more where each is one multiplication."""
    return 9 if g.depthwise else 3


def placed(spec: tuple[int, ...], first: Any, second: Any, at: Position) -> tuple[Any, ...]:
    """An index from roles: batch or output feature, feature, the spatial ones that are there."""
    roles = (first, second, *at[5 - len(spec) :])
    index: list[Any] = [0] * len(spec)
    for axis, role in zip(spec, roles, strict=True):
        index[axis] = role
    return tuple(index)


def multiply_add(k: KernelBuilder, a: Expr, b: Expr, total: Expr) -> Expr:
    """``a * b + total`` as a contraction of the dtype means it."""
    if a.dtype[0] in "fb" and a.dtype != "bool":
        return k.op("fma", a, b, total)
    if a.dtype == "bool":
        return k.op("or", k.op("and", a, b), total)
    return k.op("add", k.op("mul", a, b), total)


def decoded(k: KernelBuilder, task: Expr, extents: Sequence[int], names: str) -> list[Var]:
    """The index that number ``task`` stands for, the last axis running fastest."""
    found: list[Var] = []
    for extent, name in zip(reversed(extents), reversed(names.split()), strict=True):
        found.append(k.local("i64", imod(task, extent), name))
        task = idiv(task, extent)
    return found[::-1]


def vector_lanes(count: int, width: int) -> int:
    """Lanes for ``count`` elements: no more than needed."""
    lanes = 1
    while lanes < min(count, width):
        lanes *= 2
    return lanes


def balanced(count: int, most: int) -> int:
    """The size of parts of ``count``, at most ``most``, as equal as can be."""
    most = max(1, min(count, most))
    return -(-count // -(-count // most))


def for_block(
    k: KernelBuilder, block: Expr, total: int, size: int, body: Callable[[int], None]
) -> None:
    """``body(count)`` for block number ``block`` of ``total``: the last one may be smaller."""
    full, rest = divmod(total, size)
    if not rest or not full:
        body(size if full else rest)
        return
    with k.when(k.op("lt", block, full)):
        body(size)
    with k.otherwise():
        body(rest)
