"""Products of integers, booleans and 16-bit floats, and of operands that are no matrices in memory.

Comes in: the types and params of a ``dot_general`` node. Goes out: a Kernel over ``lhs``, ``rhs``
and ``out``. With 16 columns to a vector:

    par task in ...                                  # product b, rows m .. m + 8
      vec j in n:
        s0 = ... = s7 = 0.0
        seq c in k:
          w = rhs[b, c, j]
          s0 = fma(lhs[b, m, c], w, s0); ...
        out[b, m, j] = s0; ...

Where the rows of both operands are what is contracted (``x @ w.T``), lanes run along these rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tracejit.ir.expr import Expr, Var, iadd, imul
from tracejit.ir.types import DTYPES, TensorType, short
from tracejit.kernel.build import KernelBuilder, Operand, Output, operand, output
from tracejit.kernel.conv_parts import balanced, decoded, for_block, multiply_add, vector_lanes
from tracejit.kernel.nodes import Kernel, Param
from tracejit.ops.dot import Matmul, accumulator, as_matmul
from tracejit.ops.layout import split_index
from tracejit.record import dataclass

#: bytes of a copied panel: part of a second-level cache, and little on the stack of a thread
PANEL_BYTES = 1 << 18
#: bytes of a right operand that is read where it lies
DIRECT_BYTES = 1 << 20
#: at least so many tasks, where each has that many rows
TASKS, CHUNK = 16, 64


@dataclass(frozen=True)
class Product:
    """A matrix product being written; elements are read in the accumulators' dtype."""

    k: KernelBuilder
    plan: Matmul
    lhs: Operand
    rhs: Operand
    out: Output
    width: int
    dtype: str

    @property
    def tile(self) -> int:
        """Accumulators that fit the registers, with room for operands."""
        return 24 if self.width * DTYPES[self.dtype].itemsize != 32 else 12

    def left(self, b: Expr, m: Expr, c: Expr) -> Expr:
        return self._element(self.lhs, self.plan.lhs_axes, (b, m, c), free_last=False)

    def right(self, b: Expr, c: Expr, n: Expr) -> Expr:
        return self._element(self.rhs, self.plan.rhs_axes, (b, c, n), free_last=True)

    def write(self, b: Expr, m: Expr, n: Expr, value: Expr) -> None:
        """Store an element of the result, which lies as ``[B, M, N]``."""
        flat = iadd(imul(iadd(imul(b, self.plan.m), m), self.plan.n), n)
        shape = self.out.type.shape
        index = split_index(flat, shape) if len(shape) != 1 else (flat,)
        rank = len(self.plan.batch_shape)
        rows = len(self.plan.lhs_axes) - rank - self._contracted
        if rows <= 1 and len(shape) - rank - rows <= 1:
            # one axis each: no division is needed
            index = (*split_index(b, self.plan.batch_shape), *(m,) * rows)
            index = (*index, *(n,) * (len(shape) - len(index)))
        self.k.store(self.out, index, self.k.op("convert", value, dtype=self.out.dtype))

    @property
    def _contracted(self) -> int:
        total = len(self.plan.lhs_axes) + len(self.plan.rhs_axes) - len(self.out.type.shape)
        return (total - len(self.plan.batch_shape)) // 2

    def _element(
        self, x: Operand, axes: tuple[int, ...], at: tuple[Expr, Expr, Expr], *, free_last: bool
    ) -> Expr:
        batch = len(self.plan.batch_shape)
        last = len(axes) - (batch + self._contracted if free_last else self._contracted)
        cut = batch + self._contracted if free_last else last
        index: dict[int, Expr] = {}
        for part, position in zip((axes[:batch], axes[batch:cut], axes[cut:]), at, strict=True):
            shape = tuple(x.type.shape[a] for a in part)
            index.update(zip(part, split_index(position, shape), strict=True))
        element = x(tuple(index[a] for a in range(len(axes))))
        return self.k.op("convert", element, dtype=self.dtype)


def matmul_kernel(
    lhs: TensorType,
    rhs: TensorType,
    out: TensorType,
    params: dict[str, Any],
    width: int,
    name: str = "matmul",
) -> Kernel:
    """The kernel of a contraction; ``width`` lanes of the accumulators' dtype.

    Sums of 16-bit floats are held in float32; sums of booleans are "or".
    """
    plan = as_matmul(lhs, rhs, params["dimension_numbers"])
    buffers = tuple(
        Param(label, short(type.dtype), type.shape, role)
        for label, type, role in (("lhs", lhs, "in"), ("rhs", rhs, "in"), ("out", out, "out"))
    )
    k = KernelBuilder([name, *(p.name for p in buffers)], width=width)
    left, right, result = (
        operand(buffers[0], lhs),
        operand(buffers[1], rhs),
        output(buffers[2], out),
    )
    product = Product(k, plan, left, right, result, width, short(accumulator(out.dtype)))
    if out.size:
        {"rows": _along_rows, "columns": _along_columns, "panels": _by_panels}[choose(product)](
            product
        )
    return Kernel(name, (), buffers, k.finish())


def choose(p: Product) -> str:
    """The loop nest that reads memory in order.

    rows      lanes along the contracted axis, which is the last of both operands
    columns   lanes along the columns of the right operand, read where it lies
    panels    the same from a copy of some columns, where these lie apart or in too large a matrix
    """
    plan = p.plan
    left, right = plan.lhs_view, plan.rhs_view
    apart = right is None or (right.transposed and plan.n > 1)
    if apart and left is not None and (not left.transposed or plan.m == 1) and plan.m < 8:
        return "rows" if plan.k >= 4 else "columns"
    size = DTYPES[p.dtype].itemsize
    fits = plan.k > 0 and plan.k * min(plan.n, p.width * 3) * size <= PANEL_BYTES
    large = plan.n * plan.k * size > DIRECT_BYTES
    if fits and plan.m >= 8 and (apart or large):
        return "panels"
    return "columns"


def _along_columns(p: Product) -> None:
    """``par`` over products and blocks of rows; ``vec`` over columns."""
    k, plan = p.k, p.plan
    lanes = vector_lanes(plan.n, p.width)
    unroll = min(-(-plan.n // lanes), 3 if plan.m > 1 else 6)
    rows = balanced(plan.m, p.tile // unroll)
    blocks = -(-plan.m // rows)
    with k.loop("par", plan.b * blocks, name="task") as task:
        b, block = decoded(k, task, (plan.b, blocks), "b block")
        first = k.local("i64", imul(block, rows), "m")

        def tile(count: int) -> None:
            with k.loop("vec", plan.n, width=lanes, unroll=unroll, name="n") as n:
                _column_tile(p, (b, first, n), count, lambda c: p.right(b, c, n))

        for_block(k, block, plan.m, rows, tile)


def _column_tile(
    p: Product, at: tuple[Expr, Expr, Expr], rows: int, right: Callable[[Expr], Expr]
) -> None:
    """``rows`` rows of one vector of columns; ``right(c)`` is the right operand there."""
    k, (b, m, n) = p.k, at
    totals = [k.local(p.dtype, _zero(p.dtype), "s") for _ in range(rows)]
    with k.loop("seq", p.plan.k, name="c") as c:
        value = k.local(p.dtype, right(c), "w")
        for i, total in enumerate(totals):
            k.set(total, multiply_add(k, p.left(b, iadd(m, i), c), value, total))
    for i, total in enumerate(totals):
        p.write(b, iadd(m, i), n, total)


def _by_panels(p: Product) -> None:
    """``par`` over products, panels of columns and chunks of rows; each task copies its panel."""
    k, plan = p.k, p.plan
    lanes = vector_lanes(plan.n, p.width)
    unroll = min(-(-plan.n // lanes), 3)
    across = lanes * unroll
    rows = balanced(plan.m, p.tile // unroll)
    panels = -(-plan.n // across)
    # copies pay from some rows on; smaller chunks only keep threads busy
    chunks = max(1, min(-(-TASKS // (plan.b * panels)), plan.m // CHUNK))
    chunk = -(-plan.m // (chunks * rows)) * rows
    chunks = -(-plan.m // chunk)
    with k.loop("par", plan.b * chunks * panels, name="task") as task:
        b, part, panel = decoded(k, task, (plan.b, chunks, panels), "b part panel")
        m = k.local("i64", imul(part, chunk), "m")
        n = k.local("i64", imul(panel, across), "n")
        buffer = k.scratch(p.dtype, (plan.k, across))
        for_block(
            k,
            panel,
            plan.n,
            across,
            lambda columns: for_block(
                k,
                part,
                plan.m,
                chunk,
                lambda height: _panel(p, buffer, (b, m, n), (height, rows), (columns, lanes)),
            ),
        )


def _panel(
    p: Product,
    buffer: str,
    at: tuple[Expr, Expr, Expr],
    rows: tuple[int, int],
    columns: tuple[int, int],
) -> None:
    """``rows`` (all, and those of a tile) by ``columns`` (all, and lanes)."""
    k, (b, m, n) = p.k, at
    (height, tile), (across, lanes) = rows, columns
    unroll = -(-across // lanes)
    with k.loop("seq", p.plan.k, name="c") as c:
        with k.loop("vec", across, width=lanes, unroll=unroll, name="j") as j:
            k.store_to(buffer, (c, j), p.right(b, c, iadd(n, j)))

    def strip(first: Expr, count: int) -> None:
        with k.loop("vec", across, width=lanes, unroll=unroll, name="j") as j:
            _column_tile(p, (b, first, iadd(n, j)), count, lambda c: k.load_from(buffer, (c, j)))

    if height >= tile:
        with k.loop("seq", height // tile, name="r") as r:
            strip(iadd(m, imul(r, tile)), tile)
    if height % tile:
        strip(iadd(m, height - height % tile), height % tile)


def _zero(dtype: str) -> bool | int:
    return False if dtype == "bool" else 0


def _along_rows(p: Product) -> None:
    """``par`` over products and tiles of the result; ``vec`` along what is contracted."""
    k, plan = p.k, p.plan
    side = 4 if p.tile >= 24 else 3
    rows, columns = balanced(plan.m, side), balanced(plan.n, p.tile // min(plan.m, side))
    columns = min(columns, 8)
    blocks, strips = -(-plan.m // rows), -(-plan.n // columns)
    with k.loop("par", plan.b * blocks, name="task") as task:
        b, block = decoded(k, task, (plan.b, blocks), "b block")
        m = k.local("i64", imul(block, rows), "m")
        with k.loop("seq", strips, name="t") as strip:
            n = k.local("i64", imul(strip, columns), "n")
            for_block(
                k,
                block,
                plan.m,
                rows,
                lambda height: for_block(
                    k,
                    strip,
                    plan.n,
                    columns,
                    lambda across: _inner_tile(p, (b, m, n), height, across),
                ),
            )


def _inner_tile(p: Product, at: tuple[Var, Var, Var], rows: int, columns: int) -> None:
    """``rows`` by ``columns`` inner products, their lanes added once at the end."""
    k, (b, m, n), extent = p.k, at, p.plan.k
    spots = [(i, j) for i in range(rows) for j in range(columns)]
    totals = [k.local(p.dtype, _zero(p.dtype), "s") for _ in spots]
    full, rest = divmod(extent, p.width)
    parts = [(0, p.width, p.width, full)] if full else []
    if rest:
        parts.append((full * p.width, extent, vector_lanes(rest, p.width), 1))
    for start, stop, lanes, vectors in parts:
        with k.loop("vec", stop, start=start, width=lanes, name="l") as lane:
            sums = [k.local(p.dtype, _zero(p.dtype), "t") for _ in spots]
            with k.loop("seq", vectors, name="q") as q:
                c = iadd(imul(q, p.width), lane)
                left = [k.local(p.dtype, p.left(b, iadd(m, i), c), "v") for i in range(rows)]
                right = [k.local(p.dtype, p.right(b, c, iadd(n, j)), "w") for j in range(columns)]
                for (i, j), total in zip(spots, sums, strict=True):
                    k.set(total, multiply_add(k, left[i], right[j], total))
            for total, part in zip(totals, sums, strict=True):
                k.accumulate(total, "or" if p.dtype == "bool" else "add", part)
    for (i, j), total in zip(spots, totals, strict=True):
        p.write(b, iadd(m, i), iadd(n, j), total)
