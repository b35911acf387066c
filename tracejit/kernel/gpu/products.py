"""Products and convolutions that no library takes: integers, booleans, odd layouts, groups.

    matmul_gpu(lhs, rhs, out, params, target)       types and params of a ``dot_general``
    conv_gpu(lhs, rhs, out, params, target)         those of a ``conv_general_dilated``

A block of a product has a tile of 64 by 64 results, a thread 4 by 4 of them: tiles of the operands
come to shared memory 16 steps of the sum at a time. Where rows or columns are few, a warp sums each
result if neighbours in memory are neighbours in the sum, or else a thread does. A thread of a
convolution has one pixel of several output features. Sums of 16-bit floats are held in float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from tracejit.ir.expr import Expr, Op, const, iadd, idiv, imod, imul
from tracejit.ir.types import TensorType, short
from tracejit.kernel.build import guarded
from tracejit.kernel.conv_parts import multiply_add
from tracejit.kernel.gpu.kernels import GpuBuilder, Kernels, Made, blocks, indices, lowered_for
from tracejit.kernel.gpu.target import GpuTarget
from tracejit.kernel.lower import Lowered
from tracejit.kernel.matmul import Product
from tracejit.ops.conv import Sizes, conv_general_dilated, sizes
from tracejit.ops.dot import Matmul, accumulator, as_matmul, dot_general
from tracejit.record import dataclass

#: results of a tile along each side, steps of the sum that are in shared memory
TILE, STEPS = 64, 16
#: threads along each side of a tile
SIDE = 16
#: products with fewer rows or columns than this are no tiles
THIN = 12
#: sums of so many steps are a warp's, where they lie in order; warps of a block
LONG, WARPS = 64, 8
#: output features of a thread, at most
FEATURES = 8

Index = tuple[Expr, ...]


def matmul_gpu(
    lhs: TensorType, rhs: TensorType, out: TensorType, params: dict[str, Any], target: GpuTarget
) -> Lowered:
    """The kernel of a contraction, of any dtype and any order of axes."""

    def make(types: Sequence[TensorType]) -> Made:
        result = dot_general.infer(*types, **params)
        kernels = Kernels("matmul", types, [result])
        plan = _plan(types, params)
        if not result.size:
            kernels.nothing()
            return Made.of(kernels)
        write = _tiles
        if min(plan.m, plan.n) < THIN:
            # warps exchange registers of 8 bytes, at most
            long = plan.k >= LONG and accumulator(result.dtype).itemsize <= 8
            write = _warps if long and _rows_in_order(types, params) else _threads
        write(kernels, types, params)
        return Made.of(kernels)

    (contracted, _), (batch, other) = params["dimension_numbers"]
    if not lhs.shape or 0 in contracted:
        return lowered_for(make, (lhs, rhs), 0)
    both = [(lhs, 0)] + ([(rhs, other[batch.index(0)])] if 0 in batch else [(rhs, None)])
    return lowered_for(make, (lhs, rhs), lhs.shape[0], more=[_longer(*x) for x in both])


def _longer(type: TensorType, axis: int | None) -> TensorType:
    return type.with_shape(tuple(n + (k == axis) for k, n in enumerate(type.shape)))


def _plan(types: Sequence[TensorType], params: dict[str, Any]) -> Matmul:
    left, right = types
    return as_matmul(left, right, params["dimension_numbers"])


def _product(k: GpuBuilder, kernels: Kernels, params: dict[str, Any]) -> Product:
    """The product that a kernel's builder writes."""
    (left, right), (out,) = kernels.xs, kernels.ys
    plan = as_matmul(left.type, right.type, params["dimension_numbers"])
    return Product(k, plan, left, right, out, 1, short(accumulator(out.type.dtype)))


def _rows_in_order(types: Sequence[TensorType], params: dict[str, Any]) -> bool:
    """Whether the larger operand's neighbours in memory are neighbours in the sum."""
    (left, right), _ = params["dimension_numbers"]
    lhs, rhs = types
    larger, axes = (lhs, left) if lhs.size >= rhs.size else (rhs, right)
    return larger.ndim - 1 in axes


def _steps_run_fastest(types: Sequence[TensorType], params: dict[str, Any]) -> tuple[bool, bool]:
    """Whether neighbours in memory are neighbours in the sum, for each operand."""
    contracted, _ = params["dimension_numbers"]
    left, right = (t.ndim - 1 in axes for t, axes in zip(types, contracted, strict=True))
    return left, right


def _zero(dtype: str) -> bool | int:
    return False if dtype == "bool" else 0


def _threads(kernels: Kernels, types: Sequence[TensorType], params: dict[str, Any]) -> None:
    """A thread for each result."""
    plan = _plan(types, params)
    with kernels.each("", plan.b * plan.m * plan.n) as (k, number):
        p = _product(k, kernels, params)
        b, m, n = indices(number, (plan.b, plan.m, plan.n))
        total = k.local(p.dtype, _zero(p.dtype), "s")
        with k.loop("seq", plan.k, name="c") as c:
            k.set(total, multiply_add(k, p.left(b, m, c), p.right(b, c, n), total))
        p.write(b, m, n, total)


def _warps(kernels: Kernels, types: Sequence[TensorType], params: dict[str, Any]) -> None:
    """A warp for each result."""
    plan = _plan(types, params)
    count = plan.b * plan.m * plan.n
    with kernels.kernel("", blocks(count, WARPS)) as (k, block):
        p = _product(k, kernels, params)
        with k.loop("thread", 32 * WARPS, name="t") as t:
            number = k.local("i64", iadd(imul(block, WARPS), idiv(t, 32)), "number")
            lane = k.local("i64", imod(t, 32), "lane")
            result = k.local("i64", k.op("min", number, count - 1), "result")
            b, m, n = indices(result, (plan.b, plan.m, plan.n))
            total = k.local(p.dtype, _zero(p.dtype), "s")
            with k.loop("seq", -(-plan.k // 32), name="v") as v:
                c = k.local("i64", iadd(imul(v, 32), lane), "c")
                with k.when(k.op("lt", c, plan.k)):
                    k.set(total, multiply_add(k, p.left(b, m, c), p.right(b, c, n), total))
            k.combine(total, "or" if p.dtype == "bool" else "add", 32)
            mine = k.op("and", k.op("eq", lane, 0), k.op("lt", number, count))
            with k.when(mine):
                p.write(b, m, n, total)


def _tiles(kernels: Kernels, types: Sequence[TensorType], params: dict[str, Any]) -> None:
    """A block for each tile of results."""
    plan = _plan(types, params)
    rows, columns = -(-plan.m // TILE), -(-plan.n // TILE)
    in_order = _steps_run_fastest(types, params)
    each = range(TILE // SIDE)
    grid = Op("mul", (blocks(plan.m, TILE), const(plan.b * columns)), "i64")
    with kernels.kernel("", grid) as (k, block):
        p = _product(k, kernels, params)
        # a column more than needed: rows of a tile begin in different banks of the memory
        left, right = (k.scratch(p.dtype, (STEPS, TILE + 1), name) for name in ("left", "right"))
        with k.loop("thread", SIDE * SIDE, name="t") as t:
            i, b, j = (k.local("i64", x, "b") for x in indices(block, (rows, plan.b, columns)))
            row, column = (k.local("i64", imul(part, TILE), "row") for part in (i, j))
            y, x = k.local("i64", idiv(t, SIDE), "y"), k.local("i64", imod(t, SIDE), "x")
            spots = [(r, c) for r in each for c in each]
            totals = [k.local(p.dtype, _zero(p.dtype), "s") for _ in spots]
            with k.loop("seq", -(-plan.k // STEPS), name="q") as q:
                first = k.local("i64", imul(q, STEPS), "first")
                a = _Tile(k, left, plan.m, plan.k, in_order[0], lambda m, c: p.left(b, m, c))
                w = _Tile(k, right, plan.n, plan.k, in_order[1], lambda n, c: p.right(b, c, n))
                a.fill(t, row, first)
                w.fill(t, column, first)
                k.barrier()
                with k.loop("seq", STEPS, unroll=STEPS, name="c") as c:
                    ls = [k.local(p.dtype, a.at(iadd(y, SIDE * r), c), "v") for r in each]
                    rs = [k.local(p.dtype, w.at(iadd(x, SIDE * r), c), "w") for r in each]
                    for (r, s), total in zip(spots, totals, strict=True):
                        k.set(total, multiply_add(k, ls[r], rs[s], total))
                k.barrier()
            for (r, s), total in zip(spots, totals, strict=True):
                m, n = iadd(iadd(row, y), SIDE * r), iadd(iadd(column, x), SIDE * s)
                with k.when(k.op("and", k.op("lt", m, plan.m), k.op("lt", n, plan.n))):
                    p.write(b, m, n, total)


@dataclass(frozen=True)
class _Tile:
    """A tile of an operand in shared memory: ``extent`` rows or columns, sums of ``steps``;
    ``in_order``: steps of the sum lie side by side.
    """

    k: GpuBuilder
    buffer: str
    extent: int
    steps: int
    in_order: bool
    read: Callable[[Expr, Expr], Expr]

    def fill(self, t: Expr, line: Expr, first: Expr) -> None:
        """The lines from ``line`` on, steps from ``first`` on; zero beyond the operand."""
        k, threads = self.k, SIDE * SIDE
        with k.loop("seq", TILE * STEPS // threads, unroll=4, name="v") as v:
            e = k.local("i64", iadd(imul(v, threads), t), "e")
            if self.in_order:
                i, c = idiv(e, STEPS), imod(e, STEPS)
            else:
                i, c = imod(e, TILE), idiv(e, TILE)
            i, c = k.local("i64", i, "i"), k.local("i64", c, "c")
            row, step = k.local("i64", iadd(line, i), "at"), k.local("i64", iadd(first, c), "step")
            inside = k.op("and", k.op("lt", row, self.extent), k.op("lt", step, self.steps))
            inside = k.local("bool", inside, "inside")
            k.store_to(self.buffer, (c, i), guarded(self.read(row, step), inside))

    def at(self, i: Expr, c: Expr) -> Expr:
        return self.k.load_from(self.buffer, (c, i))


# ---- convolutions --------------------------------------------------------------------------------


def conv_gpu(
    lhs: TensorType, rhs: TensorType, out: TensorType, params: dict[str, Any], target: GpuTarget
) -> Lowered:
    """The kernel of a convolution: any strides, padding, dilation of both operands, groups."""

    def make(types: Sequence[TensorType]) -> Made:
        result = conv_general_dilated.infer(*types, **params)
        kernels = Kernels("conv", types, [result])
        if result.size:
            left, right = types
            _Conv(kernels, params, sizes(left, right, params)).write()
        else:
            kernels.nothing()
        return Made.of(kernels)

    (batch, *_), _, _ = params["dimension_numbers"]
    alone = batch == 0 and params["batch_group_count"] == 1
    return lowered_for(make, (lhs, rhs), lhs.shape[0] if alone else 0, more=[_longer(lhs, 0), rhs])


@dataclass(frozen=True)
class _Conv:
    """A convolution being written."""

    kernels: Kernels
    params: dict[str, Any]
    size: Sizes

    @property
    def groups(self) -> int:
        return int(self.params["feature_group_count"] * self.params["batch_group_count"])

    def write(self) -> None:
        """A thread for each pixel of so many output features."""
        (_, feature, *_), out = self.params["dimension_numbers"][2], self.kernels.ys[0]
        of_group = self.size.out_features // self.groups
        count = next(n for n in (FEATURES, 4, 2, 1) if of_group % n == 0)
        strips = of_group // count
        extents = list(out.type.shape)
        extents[feature] = self.groups * strips
        dtype = short(accumulator(out.type.dtype))
        with self.kernels.each("", math.prod(extents)) as (k, number):
            index = list(indices(number, extents))
            group, strip = idiv(index[feature], strips), imod(index[feature], strips)
            group = k.local("i64", group, "group")
            # threads side by side have features side by side
            first = k.local("i64", iadd(imul(group, of_group), strip), "first")
            features = [iadd(first, strips * j) for j in range(count)]
            totals = [k.local(dtype, _zero(dtype), "s") for _ in features]
            self.taps(k, tuple(index), group, features, totals)
            for o, total in zip(features, totals, strict=True):
                index[feature] = o
                k.store(out, index, k.op("convert", total, dtype=out.dtype))

    def taps(
        self, k: GpuBuilder, index: Index, group: Expr, features: Sequence[Expr], totals: Any
    ) -> None:
        """The sum over the window of a pixel, and over the features of a group."""
        p, size, (x, w) = self.params, self.size, self.kernels.xs
        lhs_spec, rhs_spec, (batch, _, *spatial) = p["dimension_numbers"]
        dtype = totals[0].dtype
        with ExitStack() as stack:
            tap: list[Expr] = []
            place: list[Expr] = []
            for axis, extent in enumerate(size.kernel):
                tap.append(stack.enter_context(k.loop("seq", extent, name="w")))
                at, inside = self.source(k, axis, index[spatial[axis]], tap[-1])
                stack.enter_context(k.when(inside))
                place.append(at)
            c = stack.enter_context(k.loop("seq", size.kernel_features, name="c"))
            n, feature = index[batch], iadd(c, 0)
            if p["batch_group_count"] > 1:
                n = iadd(n, imul(group, size.out_batch))
            else:
                feature = iadd(c, imul(group, size.kernel_features))
            left = x(_ordered(lhs_spec, n, feature, place))
            value = k.local(dtype, k.op("convert", left, dtype=dtype), "v")
            for o, total in zip(features, totals, strict=True):
                weight = k.op("convert", w(_ordered(rhs_spec, o, c, tap)), dtype=dtype)
                k.set(total, multiply_add(k, value, weight, total))

    def source(self, k: GpuBuilder, axis: int, pixel: Expr, tap: Expr) -> tuple[Expr, Expr]:
        """Where an output pixel meets a tap in the left operand, and whether it does."""
        p = self.params
        low, gap = p["padding"][axis][0], p["lhs_dilation"][axis]
        at = iadd(imul(pixel, p["window_strides"][axis]), imul(tap, p["rhs_dilation"][axis]))
        at = k.local("i64", iadd(at, -low), "at")
        end = (self.size.spatial[axis] - 1) * gap + 1
        inside = k.op("and", k.op("ge", at, 0), k.op("lt", at, end))
        if gap > 1:
            here = k.op("max", at, 0)
            inside = k.op("and", inside, k.op("eq", k.op("irem", here, gap), 0))
            return k.local("i64", idiv(here, gap), "place"), inside
        return at, inside


def _ordered(spec: Sequence[int], first: Expr, second: Expr, rest: Sequence[Expr]) -> Index:
    """An index from roles: batch or output feature, feature, spatial ones."""
    index: list[Expr] = [const(0)] * len(spec)
    for axis, role in zip(spec, (first, second, *rest), strict=True):
        index[axis] = role
    return tuple(index)
