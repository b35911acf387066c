"""What all schedules share: indices from numbers of blocks and threads, vectors, and the kernel
around the statements of a thread.

    class Maps(GpuWriter): ...                     maps.py, rows.py, columns.py, transpose.py
    kernel, sizes = Maps(nest, target).kernel("tanh", "model.py:3")

The outermost extent of a nest is the size ``n0``, everywhere: a new batch has the same kernel. All
other extents are constants, so that an index comes from a number by multiplications.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tracejit.ir.expr import (
    Const,
    Expr,
    Load,
    Op,
    Var,
    const,
    iadd,
    idiv,
    imod,
    imul,
    walk,
)
from tracejit.ir.types import DTYPES
from tracejit.kernel.gpu.narrow import narrowed
from tracejit.kernel.gpu.sizes import SIZE, sized
from tracejit.kernel.gpu.target import GpuTarget
from tracejit.kernel.lower import LONG, LOOPED, Block, Writer
from tracejit.kernel.nest import Axis, Item, Nest
from tracejit.kernel.nodes import If, Kernel, Local, Loop, Param, Stmt
from tracejit.record import dataclass

Shape = tuple[int | str, ...]
#: number of the block, and of the thread in it
BLOCK, THREAD = Var("b", "i64"), Var("t", "i64")
#: threads of a block where nothing else decides: 8 such blocks fill a multiprocessor of 2048
#: threads, each thread with 32 of its 65536 registers
THREADS = 256
#: threads that a multiprocessor holds
RESIDENT = 2048
#: operations of several instructions: some divide, some are a call
SLOW = frozenset("div rem sqrt rsqrt reciprocal idiv irem".split())


@dataclass(frozen=True)
class Access:
    """A load or a store: the ``index`` into ``buffer``; ``plain``: it has no guard."""

    buffer: str
    index: tuple[Expr, ...]
    dtype: str
    plain: bool
    store: bool


class GpuWriter(Writer):
    """Writes the body of one block loop. ``grid`` and ``threads`` say how many there are of each;
    ``shared``: what stands in front of the thread loop.
    """

    def __init__(self, nest: Nest, target: GpuTarget) -> None:
        super().__init__(nest, 16)
        self.target = target
        self.grid: Expr = const(1)
        self.threads = THREADS
        self.shared: list[Stmt] = []
        self.width = 1
        #: parameters beside the nest's: their roles, and shapes where these hold sizes
        self.roles: dict[str, str] = {}
        self.shapes: dict[str, Shape] = {}
        #: sizes beside the outermost extent, with their values
        self.sizes: dict[str, int] = {}

    def threads_body(self) -> tuple[Stmt, ...]:
        """What one thread does; sets ``grid``, ``threads`` and ``shared``."""
        raise NotImplementedError

    def kernel(self, name: str, comment: str) -> tuple[Kernel, tuple[int, ...]]:
        """The kernel, and the values of its sizes."""
        body = self.threads_body()
        threads = Loop("thread", "t", const(0), const(self.threads), body)
        blocks = Loop("block", "b", const(0), self.grid, (*self.shared, threads))
        roles = {n: "in" for n in self.nest.inputs} | {n: "out" for n in self.nest.outputs}
        params = tuple(
            Param(n, self.nest.dtypes[n], self.shapes.get(n, self.nest.shapes[n]), role)
            for n, role in (roles | self.roles).items()
        )
        kernel = Kernel(name, tuple(self.sizes), params, (blocks,), comment)
        found, values = sized(kernel, self.nest.axes)
        values = (*values, *self.sizes.values())
        return narrowed(found, dict(zip(found.sizes, values, strict=True))), values

    # ---- extents and indices ----

    def extent(self, axis: Axis) -> Expr:
        """How long an axis is: a size for the outermost."""
        return SIZE if axis == self.nest.axes[0] else const(axis.extent)

    def points(self, axes: Sequence[Axis], width: int = 1) -> Expr:
        """Points of the axes together, vectors of ``width`` on the last."""
        total: Expr = const(1)
        for k, axis in enumerate(axes):
            n = self.extent(axis)
            if k == len(axes) - 1 and width > 1:
                n = idiv(n, width) if isinstance(n, Const) else idiv(iadd(n, width - 1), width)
            total = imul(n, total)
        return total

    def decode(self, axes: Sequence[Axis], number: Expr, width: int = 1) -> list[tuple[Axis, Expr]]:
        """The index on each axis of point ``number``; on the last axis, where its vector starts.

        The first axis takes what is left: its extent may be any.
        """
        found: list[tuple[Axis, Expr]] = []
        for k in reversed(range(len(axes))):
            last = k == len(axes) - 1
            n = axes[k].extent // (width if last else 1)
            digit = number if k == 0 else imod(number, n)
            found.append((axes[k], imul(digit, width) if last else digit))
            number = idiv(number, n) if k else number
        return found[::-1]

    def named(self, stem: str, value: Expr, into: list[Stmt]) -> Expr:
        """A local of this name for an index that is not one already."""
        if isinstance(value, Const | Var):
            return value
        into.append(Local(stem, "i64", value))
        return Var(stem, "i64")

    def point(self, axes: Sequence[Axis], number: Expr, into: list[Stmt]) -> None:
        """Locals for the index on each of the axes."""
        into += [Local(axis.var, "i64", at) for axis, at in self.decode(axes, number)]

    def vector(self, axis: Axis, start: Expr, lane: Block, width: int = 0) -> list[Stmt]:
        """What ``lane`` says for the vector, or the one element, from ``start`` on."""
        width = width or self.width
        body = tuple(lane.statements)
        if not body:
            return []
        if width == 1:
            return [Local(axis.var, "i64", start), *body]
        return [Loop("vec", axis.var, start, iadd(start, width), body, width, 1)]

    def rest(
        self, block: Block, axis: Axis, start: Expr, stop: Expr, items: Sequence[Item]
    ) -> list[Stmt]:
        """The elements of a vector that begins at ``start`` and is cut off at ``stop``."""
        lane = Block(block, 3, (axis,))
        folds = [item for item in items if item.level == "fold"]
        self.write_items(lane, folds, [item for item in items if item.level != "fold"], 0)
        at = Local(axis.var, "i64", iadd(start, Var("j", "i64")))
        inside = If(below(Var(axis.var, "i64"), stop), tuple(lane.statements))
        return repeat("j", self.width - 1, [at, inside])

    # ---- vectors ----

    def accesses(self, items: Sequence[Item]) -> Iterator[Access]:
        """Every load of a buffer that ``items`` have in them, and their stores."""
        for node in {n: None for item in items for n in walk(item.expr)}:
            if isinstance(node, Load) and node.buffer not in self.folds:
                plain = node.guard is None
                yield Access(node.buffer, node.index, node.dtype, plain, False)
        for item in items:
            if item.out is not None:
                yield Access(item.out, item.index, item.dtype, True, True)

    @property
    def folds(self) -> frozenset[str]:
        """Names that results of reductions are read by: no buffers."""
        return frozenset(item.fold for item in self.nest.items if item.fold)

    def lanes(self, axis: Axis, items: Sequence[Item], exact: bool) -> int:
        """Elements of a vector along ``axis``: 16 bytes of the widest dtype that is read or written
        along it; 1 where most accesses are none of neighbours that begin at multiples of 16 bytes,
        and where elements have loops of their own. ``exact``: the axis is vectors, and no rest.
        """
        if any(isinstance(n, Op) and n.fn in LOOPED for item in items for n in walk(item.expr)):
            return 1
        var = Var(axis.var, "i64")
        along: list[int] = []
        others = 0
        ends = [axis.extent] if exact else []
        for access in self.accesses(items):
            if not any(var in walk(i) for i in access.index):
                continue
            front, last = access.index[:-1], access.index[-1]
            if last != var or not access.plain or any(var in walk(i) for i in front):
                others += 1
                continue
            along.append(DTYPES[access.dtype].itemsize)
            if front:
                ends.append(self.nest.shapes[access.buffer][-1])
        if others > len(along) or not along:
            return 1
        width = max(self.target.vector_bytes // max(along), 1)
        while any(end % width for end in ends):
            width //= 2
        return width

    def effort(self, items: Sequence[Item]) -> int:
        """About how many instructions one element takes."""
        nodes = {n for item in items for n in walk(item.expr) if isinstance(n, Op)}
        return sum(20 if n.fn in LONG else 6 if n.fn in SLOW else 1 for n in nodes)


def repeat(var: str, times: int, body: Sequence[Stmt]) -> list[Stmt]:
    """``body`` for ``var`` from 0 to ``times``, each trip written out."""
    return [Loop("seq", var, const(0), const(times), tuple(body), unroll=max(times, 1))]


def below(a: Expr, b: Expr) -> Expr:
    return Op("lt", (a, b), "bool")


def power(n: int) -> int:
    """The smallest power of two that is at least ``n``."""
    return 1 << max(n - 1, 0).bit_length()
