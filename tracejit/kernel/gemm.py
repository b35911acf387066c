"""Matrix products of floats as loops over register tiles; sizes are run-time parameters, so that a
new batch size compiles nothing.

Comes in: a contraction as matrix products (``Matmul``) whose operands lie as matrices in memory.
Goes out: a kernel over ``lhs``, ``rhs`` and ``out``, the values of its sizes, its number of tasks.

    gemm = gemm_kernel(as_matmul(x.type, w.type, numbers), 2 ** 20, 2 ** 16, "f32", lanes=16)

Tiles, panels and packing are those of Goto and van de Geijn, "Anatomy of high-performance matrix
multiplication" (2008), with vectors along the rows of the right operand:

    par task in ...                                 # product b, chunk of rows, chunk of columns
      seq p in panels: seq d in depths:             # 48 columns by up to 512 rows of rhs, copied
        seq r in tiles:                             # 8 rows of lhs, read where they lie
          vec j in 48:
            s0 = ... = s7 = 0.0
            seq c in depth:
              w = panel[c, j]
              s0 = fma(lhs[m, c], w, s0); ...
            out[m, j] = s0; ...

A right operand that a second-level cache holds is read where it lies, without panels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import lru_cache
from typing import Any

from tracejit.ir.expr import Const, Expr, Var, iadd, idiv, imod, imul, isub
from tracejit.ir.types import DTYPES
from tracejit.kernel.build import KernelBuilder
from tracejit.kernel.conv_parts import balanced, vector_lanes
from tracejit.kernel.nodes import Kernel, Load, Param, Store, Transpose
from tracejit.kernel.sizes import SMALL
from tracejit.ops.dot import Matmul
from tracejit.record import dataclass

#: rows of a panel: 1024 by 48 float32 are 192 KB, which a second-level cache holds
DEPTH = 1024
#: bytes of a right operand that is read where it lies
DIRECT_BYTES = 1 << 19
#: bytes of a transposed left operand, whose rows lie apart and evict each other, that is read where
#: it lies; of larger ones so many rows by so many columns are copied, for panels of so many bytes
BLOCKED_BYTES, BLOCK_ROWS, BLOCK_DEPTH, PANELS_BYTES = 1 << 21, 32, 512, 1 << 18
#: bytes of both operands from where on BLAS, which copies the left one too, is up to a tenth faster
BLAS_BYTES = 1 << 22
#: rows and columns of blocks that are transposed at a time: the compiler takes three times as long
#: for 16
SIDE = 8
#: threads get equal shares of multiples of so many tasks; a copy of a panel serves that many rows,
#: twice as many where more than a row at a time is copied
TASKS, CHUNK = 8, 64
#: vectors by rows that hide the latency of a multiplication
CHAINS = 8


#: scratch, and which panel of it
Panel = tuple[Any, ...]


@dataclass(frozen=True)
class Gemm:
    """A kernel, the values of its sizes in their order, and the extent of its ``par`` loop."""

    kernel: Kernel
    sizes: tuple[int, ...]
    tasks: int


@dataclass(frozen=True)
class Tile:
    """The part of the result that registers hold: ``rows`` by ``columns``, in vectors of ``lanes``.

    ``way``: "direct", the right operand is read where it lies; "panels", it is copied; "blocks",
    the left one is copied too; "dots", the right one is read along its columns, which are rows in
    memory, and vectors run along these. ``whole``: tiles cover just the columns there are.
    """

    way: str
    rows: int
    columns: int
    lanes: int
    whole: bool


def prefers_blas(plan: Matmul, item: int) -> bool:
    """Whether BLAS is faster than the loops here."""
    return plan.b == 1 and plan.k * item * min(plan.m, plan.n) > BLAS_BYTES


def choose_tile(plan: Matmul, item: int, lanes: int) -> Tile:
    """The register tile for a product; what depends on extents from SMALL on is kept coarse, since
    each choice is a kernel of its own.
    """
    assert plan.lhs_view is not None and plan.rhs_view is not None
    # eight rows of three vectors fill 32 registers, four of three 16 registers
    most = 8 if lanes * item != 32 else 4
    apart = plan.rhs_view.transposed and plan.n > 1 and plan.k > 1
    if apart and plan.m <= most // 2 and plan.k >= lanes:
        columns = min(plan.n, most // plan.m)
        return Tile("dots", plan.m, columns, lanes, plan.n % columns == 0)
    lanes = vector_lanes(plan.n, lanes)
    vectors = -(-plan.n // lanes)
    rows = most if plan.m >= SMALL else balanced(plan.m, most)
    widths = range(max(3, CHAINS // rows), 1, -1)
    across = next((n for n in widths if vectors % n == 0), min(vectors, 3))
    large = plan.m >= CHUNK and plan.n * plan.k * item > DIRECT_BYTES
    way = "panels" if apart or large else "direct"
    if plan.lhs_view.transposed and plan.m >= CHUNK and plan.m * plan.k * item > BLOCKED_BYTES:
        way = "blocks"
    return Tile(way, rows, across * lanes, lanes, plan.n % (across * lanes) == 0)


def oriented(plan: Matmul) -> tuple[Matmul, bool]:
    """The product with its operands exchanged where the right one is a vector, so that only the
    left one ever is; whether they are. The result lies in memory the same way.
    """
    if plan.n > 1 or plan.m == 1:
        return plan, False
    assert plan.lhs_view is not None and plan.rhs_view is not None
    lhs, rhs = (
        replace(view, transposed=not view.transposed) for view in (plan.rhs_view, plan.lhs_view)
    )
    exchanged = replace(plan, m=plan.n, n=plan.m, lhs_view=lhs, rhs_view=rhs)
    return exchanged, True


@lru_cache(maxsize=256)
def gemm_kernel(plan: Matmul, lhs_size: int, rhs_size: int, dtype: str, lanes: int) -> Gemm:
    """The kernel of a contraction of float32 or float64 operands of so many elements; ``lanes`` of
    a full vector.
    """
    exchanged, swapped = oriented(plan)
    tile = choose_tile(exchanged, DTYPES[dtype].itemsize, lanes)
    operands = [("lhs", lhs_size), ("rhs", rhs_size)]
    return _Writer(exchanged, tile, dtype, operands[::-1] if swapped else operands).write()


def merged_batch(plan: Matmul) -> list[tuple[int, int, int]]:
    """Extent, left and right step of each batch axis, those joined that are walked as one."""
    assert plan.lhs_view is not None and plan.rhs_view is not None
    found: list[tuple[int, int, int]] = []
    steps = (plan.lhs_view.batch_strides, plan.rhs_view.batch_strides)
    for extent, left, right in zip(plan.batch_shape, *steps, strict=True):
        if extent == 1:
            continue
        if found and found[-1][1:] == (left * extent, right * extent):
            found[-1] = (found[-1][0] * extent, left, right)
        else:
            found.append((extent, left, right))
    return found


class _Writer:
    """A product being written. An operand is a matrix of ``leading`` columns; the one for a product
    of the batch begins some rows and columns into it.
    """

    def __init__(
        self, plan: Matmul, tile: Tile, dtype: str, operands: Sequence[tuple[str, int]]
    ) -> None:
        assert plan.lhs_view is not None and plan.rhs_view is not None
        self.plan, self.tile, self.dtype = plan, tile, dtype
        self.lhs, self.rhs = plan.lhs_view, plan.rhs_view
        #: whether sums are kept in the result from stretch to stretch
        self.long = tile.way == "blocks" or tile.way == "panels" and plan.k > DEPTH
        self.values: dict[str, int] = {}
        letters = "".join("nt"[view.transposed] for view in (self.lhs, self.rhs))
        self.name = f"gemm_{letters}_{tile.rows}x{tile.columns}"
        self.m, self.n, self.k = (self.size(x, getattr(plan, x)) for x in "mnk")
        self.batch = merged_batch(plan)
        self.names = [name for name, _ in operands]
        shapes: dict[str, tuple[Expr, Expr]] = {}
        for (name, count), view in zip(operands, (self.lhs, self.rhs), strict=True):
            rows = self.size(f"{name}_rows", count // view.leading)
            shapes[name] = rows, self.size(f"{name}_step", view.leading)
        shapes["out"] = self.size("out_rows", plan.b * plan.m), self.n
        self.params = tuple(
            Param(name, dtype, tuple(_extent(n) for n in shapes[name]), role)
            for name, role in (("lhs", "in"), ("rhs", "in"), ("out", "out"))
        )
        self.b = KernelBuilder([self.name, "lhs", "rhs", "out", *"mnk"], width=tile.lanes)

    def size(self, name: str, value: int) -> Expr:
        """An extent: a parameter from SMALL on."""
        return self.parameter(name, value) if value >= SMALL else Const(value, "i64")

    def parameter(self, name: str, value: int) -> Expr:
        self.values[name] = value
        return Var(name, "i64")

    # ---- tasks -----------------------------------------------------------------------------------

    def chunks(self) -> tuple[int, int]:
        """Rows and columns of one task: whole tiles, enough tasks for all threads."""
        plan, tile = self.plan, self.tile
        tiles, panels = -(-plan.m // tile.rows), -(-plan.n // tile.columns)
        if tile.way in ("panels", "blocks"):
            # panels are copied for each chunk of rows
            across = balanced(panels, self.group)
            tasks = plan.b * -(-panels // across)
            double = self.rhs.transposed or tile.way == "blocks"
            most = max(plan.m // (CHUNK * (1 + double)), 1)
            parts = next((n for n in range(1, most) if _shared_evenly(tasks * n)), most)
            return -(-tiles // parts) * tile.rows, across * tile.columns
        strips = min(-(-TASKS // (plan.b * tiles)), panels)
        return tile.rows, -(-panels // strips) * tile.columns

    def part(self, number: Expr, count: Expr, length: Expr, whole: Expr) -> tuple[Var, Var]:
        """Where a part of an extent begins and ends; the last one has what is left too, so that no
        tile reaches into the part before.
        """
        b = self.b
        low = b.local("i64", imul(number, length), "low")
        more = b.op("lt", iadd(number, 1), count)
        return low, b.local("i64", b.op("select", more, iadd(low, length), whole), "high")

    def write(self) -> Gemm:
        b, plan = self.b, self.plan
        rows, columns = self.chunks()
        least = self.tile.columns if self.tile.way == "dots" else 1
        counts = _parts(plan.m, rows, self.tile.rows), _parts(plan.n, columns, least)
        parts, strips = self.parameter("parts", counts[0]), self.parameter("strips", counts[1])
        height, width = self.parameter("height", rows), self.parameter("width", columns)
        tasks = plan.b * counts[0] * counts[1]
        with b.loop("par", self.parameter("tasks", tasks), name="task") as task:
            strip = b.local("i64", imod(task, strips), "strip")
            rest = b.local("i64", idiv(task, strips), "rest")
            rows_of = self.part(imod(rest, parts), parts, height, self.m)
            columns_of = self.part(strip, strips, width, self.n)
            self.origins(idiv(rest, parts))
            getattr(self, self.tile.way)(*rows_of, *columns_of)
        body = b.finish()
        kernel = Kernel(self.name, tuple(self.values), self.params, body)
        return Gemm(kernel, tuple(self.values.values()), tasks)

    def origins(self, product: Expr) -> None:
        """Where the matrices of a product begin: rows and columns."""
        b = self.b
        self.out_row = b.local("i64", imul(product, self.m), "o") if self.batch else Const(0, "i64")
        found: list[list[Expr]] = [[Const(0, "i64")] * 2 for _ in range(2)]
        for axis in reversed(range(len(self.batch))):
            extent, *steps = self.batch[axis]
            at = product
            if axis:
                count = self.size(f"batch{axis}", extent)
                at, product = imod(product, count), idiv(product, count)
            at = b.local("i64", at, "b")
            for side, (view, step) in enumerate(zip((self.lhs, self.rhs), steps, strict=True)):
                for place, amount in enumerate(divmod(step, view.leading)):
                    moved = imul(at, self.size(f"{self.names[side]}{axis}_{place}", amount))
                    found[side][place] = iadd(found[side][place], moved)
        self.corners = [[b.local("i64", x, "t") for x in pair] for pair in found]

    def element(self, side: int, row: Expr, column: Expr, guard: Expr | None = None) -> Load:
        """Of the left operand (0) or the right one (1)."""
        view = (self.lhs, self.rhs)[side]
        pair = (column, row) if view.transposed else (row, column)
        index = tuple(iadd(x, at) for x, at in zip(pair, self.corners[side], strict=True))
        return Load(self.names[side], index, self.dtype, guard)

    # ---- tiles -----------------------------------------------------------------------------------

    def direct(self, low: Expr, high: Expr, left: Expr, right: Expr) -> None:
        """Tiles that read the right operand where it lies."""
        b, tile = self.b, self.tile

        def columns(first: Expr, top: Expr, n: Expr) -> None:
            sums = self.zeros()
            with b.loop("seq", self.k, name="c") as c:
                left = [self.element(0, iadd(top, i), c) for i in range(tile.rows)]
                self.multiply(sums, left, self.element(1, c, n))
            self.store(sums, (first, top), n)

        with self.tiles(low, high) as (first, top):
            if tile.whole:
                with self.across(left, right) as (_, column), self.vectors() as j:
                    columns(first, top, iadd(column, j))
                return
            # loads under masks would take the place of multiplications: only what is left has them
            with b.loop("vec", right, start=left, unroll=tile.columns // tile.lanes, name="j") as j:
                columns(first, top, j)

    @contextmanager
    def tiles(self, low: Expr, high: Expr) -> Iterator[tuple[Var, Var]]:
        """A loop over tiles of rows: the first one of each, and where it begins, which is higher
        for the last tile of the matrix, so that all are whole.
        """
        b, rows = self.b, self.tile.rows
        with b.loop("seq", idiv(iadd(isub(high, low), rows - 1), rows), name="r") as r:
            first = b.local("i64", iadd(low, imul(r, rows)), "first")
            yield first, b.local("i64", b.op("min", first, isub(self.m, rows)), "top")

    @contextmanager
    def across(self, left: Expr, right: Expr) -> Iterator[tuple[Var, Var]]:
        """A loop over tiles of columns: the number of each, and its first column."""
        b, columns = self.b, self.tile.columns
        with b.loop("seq", idiv(iadd(isub(right, left), columns - 1), columns), name="p") as p:
            yield p, b.local("i64", iadd(left, imul(p, columns)), "column")

    def vectors(self) -> AbstractContextManager[Var]:
        """A loop over the columns of one tile."""
        tile = self.tile
        return self.b.loop("vec", tile.columns, unroll=tile.columns // tile.lanes, name="j")

    def inside(self, column: Expr) -> Expr | None:
        """Whether there is such a column; None where tiles cover just the columns there are."""
        return None if self.tile.whole else self.b.op("lt", column, self.n)

    def zeros(self) -> list[Var]:
        return [self.b.local(self.dtype, 0, "s") for _ in range(self.tile.rows)]

    def multiply(self, sums: list[Var], left: Sequence[Expr], right: Expr) -> None:
        """Add the products of a column of the left operand and a row of the right one."""
        b = self.b
        w = b.local(self.dtype, right, "w")
        for total, value in zip(sums, left, strict=True):
            b.set(total, b.op("fma", value, w, total))

    def store(
        self, sums: list[Var], rows: tuple[Expr, Expr], column: Expr, inside: Expr | None = None
    ) -> None:
        """Store a tile. Rows above the first one are those of the tile before: they come out the
        same, unless they are added to.
        """
        b, (first, top) = self.b, rows
        for i, total in enumerate(sums):
            index = (iadd(self.out_row, iadd(top, i)), column)
            guard = inside
            if self.long:
                own = b.op("ge", iadd(top, i), first)
                guard = own if inside is None else b.op("and", own, inside)
            b.emit(Store("out", index, total, guard))

    # ---- panels ----------------------------------------------------------------------------------

    def panels(self, low: Expr, high: Expr, left: Expr, right: Expr) -> None:
        """Tiles of copied panels, one stretch of ``DEPTH`` products at a time."""
        b, tile, deep = self.b, self.tile, DEPTH
        if self.plan.k < SMALL:
            deep = -(-self.plan.k // SIDE) * SIDE
        panel = b.scratch(self.dtype, (deep, tile.columns), "panel")
        with self.across(left, right) as (_, column):
            if not self.long:
                self.panel_tiles(panel, (low, high), column, Const(0, "i64"), self.k)
                return
            with b.loop("seq", idiv(iadd(self.k, deep - 1), deep), name="d") as d:
                start = b.local("i64", imul(d, deep), "start")
                depth = b.local("i64", b.op("min", isub(self.k, start), deep), "depth")
                self.panel_tiles(panel, (low, high), column, start, depth)

    def panel_tiles(
        self, panel: str, rows: tuple[Expr, Expr], column: Expr, start: Expr, depth: Expr
    ) -> None:
        """The products from ``start`` on of some rows and one panel, which is copied first."""
        self.copy_panel((panel,), column, start, depth)
        with self.tiles(*rows) as tile:
            self.panel_tile(
                tile,
                (panel,),
                lambda row, c: self.element(0, row, iadd(start, c)),
                column,
                (start, depth),
            )

    def panel_tile(
        self,
        rows: tuple[Expr, Expr],
        panel: Panel,
        left: Callable[[Expr, Expr], Expr],
        column: Expr,
        stretch: tuple[Expr, Expr],
    ) -> None:
        """One tile; ``left(row, c)`` is the left operand, ``c`` products from the start on."""
        b, (first, top), (start, depth), (name, *place) = self.b, rows, stretch, panel
        with self.vectors() as j:
            n, sums = iadd(column, j), self.zeros()
            if self.long:
                with b.when(b.op("gt", start, 0)):
                    for i, total in enumerate(sums):
                        index = (iadd(self.out_row, iadd(top, i)), n)
                        b.set(total, Load("out", index, self.dtype, self.inside(n)))
            with b.loop("seq", depth, name="c") as c:
                values = [left(iadd(top, i), c) for i in range(self.tile.rows)]
                self.multiply(sums, values, b.load_from(name, (*place, c, j)))
            self.store(sums, (first, top), n, self.inside(n))

    @property
    def group(self) -> int:
        """How many panels a task copies before it reads them."""
        if self.tile.way == "panels":
            return 1
        return PANELS_BYTES // (BLOCK_DEPTH * self.tile.columns * DTYPES[self.dtype].itemsize)

    def blocks(self, low: Expr, high: Expr, left: Expr, right: Expr) -> None:
        """Tiles of copied panels and copied blocks of the left operand, whose columns lie side by
        side.
        """
        b, tile, deep = self.b, self.tile, BLOCK_DEPTH
        panels = b.scratch(self.dtype, (self.group, deep, tile.columns), "panels")
        block = b.scratch(self.dtype, (deep, BLOCK_ROWS), "block")
        with b.loop("seq", idiv(iadd(self.k, deep - 1), deep), name="d") as d:
            start = b.local("i64", imul(d, deep), "start")
            depth = b.local("i64", b.op("min", isub(self.k, start), deep), "depth")
            with self.across(left, right) as (p, column):
                self.copy_panel((panels, p), column, start, depth)
            count = idiv(iadd(isub(high, low), BLOCK_ROWS - 1), BLOCK_ROWS)
            with b.loop("seq", count, name="y") as y:
                first = b.local("i64", iadd(low, imul(y, BLOCK_ROWS)), "begin")
                last = b.local("i64", b.op("min", iadd(first, BLOCK_ROWS), high), "end")
                base = b.local("i64", b.op("min", first, isub(self.m, tile.rows)), "base")
                with b.loop("seq", depth, name="c") as c:
                    with b.loop("vec", isub(last, base), name="x") as x:
                        value = self.element(0, iadd(base, x), iadd(start, c))
                        b.store_to(block, (c, x), value)

                def left_of(row: Expr, c: Expr, base: Expr = base) -> Expr:
                    return b.load_from(block, (c, isub(row, base)))

                with self.across(left, right) as (p, column), self.tiles(first, last) as rows:
                    self.panel_tile(rows, (panels, p), left_of, column, (start, depth))

    def copy_panel(self, panel: Panel, column: Expr, start: Expr, depth: Expr) -> None:
        """Copy ``depth`` rows of the right operand from ``start`` on; zeros beyond its columns."""
        b, tile, (name, *place) = self.b, self.tile, panel
        if not self.rhs.transposed:
            with b.loop("seq", depth, name="c") as c, self.vectors() as j:
                n = iadd(column, j)
                value = self.element(1, iadd(start, c), n, self.inside(n))
                b.store_to(name, (*place, c, j), value)
            return
        side = min(tile.lanes, SIDE)
        with b.loop("seq", idiv(iadd(depth, side - 1), side), name="c") as c:
            with b.loop("seq", tile.columns // side, name="v") as v:
                to, at = imul(v, side), imul(c, side)
                source = self.element(1, iadd(start, at), iadd(column, to)).index
                # blocks that are known to be whole are less to compile
                all_of_it: Expr = Const(side, "i64")
                rows = all_of_it if tile.whole else isub(self.n, iadd(column, to))
                columns = all_of_it if self.plan.k % side == 0 else isub(depth, at)
                b.emit(
                    Transpose(name, (*place, at, to), self.names[1], source, side, rows, columns)
                )

    # ---- inner products --------------------------------------------------------------------------

    def dots(self, low: Expr, high: Expr, left: Expr, right: Expr) -> None:
        """All rows by some columns, both walked along what is contracted; a task has all rows."""
        b, tile = self.b, self.tile
        rows = [iadd(low, i) for i in range(tile.rows)]
        spots = [(i, t) for i in range(tile.rows) for t in range(tile.columns)]
        with self.across(left, right) as (_, column):
            base = b.local("i64", b.op("min", column, isub(self.n, tile.columns)), "base")
            columns = [iadd(base, t) for t in range(tile.columns)]
            totals = [b.local(self.dtype, 0, "s") for _ in spots]
            full = b.local("i64", idiv(self.k, tile.lanes), "full")

            def factors(c: Expr) -> list[tuple[Var, Var]]:
                lefts = [b.local(self.dtype, self.element(0, i, c), "v") for i in rows]
                rights = [b.local(self.dtype, self.element(1, c, n), "w") for n in columns]
                return [(lefts[i], rights[t]) for i, t in spots]

            with b.loop("vec", tile.lanes, name="l") as lane:
                sums = [b.local(self.dtype, 0, "t") for _ in spots]
                with b.loop("seq", full, name="q") as q:
                    pairs = factors(iadd(imul(q, tile.lanes), lane))
                    for total, (v, w) in zip(sums, pairs, strict=True):
                        b.set(total, b.op("fma", v, w, total))
                for total, part in zip(totals, sums, strict=True):
                    b.accumulate(total, "add", part)
            with b.loop("vec", self.k, start=imul(full, tile.lanes), name="l") as c:
                for total, (v, w) in zip(totals, factors(c), strict=True):
                    b.accumulate(total, "add", b.op("mul", v, w))
            for (i, t), total in zip(spots, totals, strict=True):
                index = (iadd(self.out_row, rows[i]), columns[t])
                b.emit(Store("out", index, total))


def _shared_evenly(tasks: int) -> bool:
    """Whether no thread waits long for others, however many there are."""
    return tasks % TASKS == 0 or tasks >= 5 * TASKS


def _parts(extent: int, length: int, least: int) -> int:
    """In how many parts of a length an extent is cut, the last one having ``least`` at least."""
    count = -(-extent // length)
    return count - 1 if count > 1 and extent - (count - 1) * length < least else count


def _extent(n: Expr) -> int | str:
    return n.name if isinstance(n, Var) else int(n.value)  # type: ignore[attr-defined]
