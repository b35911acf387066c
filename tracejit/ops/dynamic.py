"""Slices at run-time positions: dynamic_slice and dynamic_update_slice.

    dynamic_slice(x: f32[5,4], i: i64[], j: i64[], sizes=(2, 4))   -> f32[2,4]

Starts are clamped so that the window lies inside, as in XLA; callers normalise negative ones.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tracejit.errors import DTypeError, ShapeError
from tracejit.ir.build import full_like
from tracejit.ir.expr import Expr, Op, const, iadd, isub
from tracejit.ir.prim import Primitive, is_linear
from tracejit.ir.types import DTYPES, TensorType, kind, short
from tracejit.ops import indexing, layout, parts
from tracejit.ops.broadcast import with_batch_axis
from tracejit.ops.family import same_dtype
from tracejit.ops.layout import both, compare
from tracejit.ops.lower_parts import lane_axes, lane_width, rows_and_lanes


def check_starts(name: str, x: TensorType, starts: tuple[TensorType, ...]) -> None:
    """Raise unless there is one integer scalar per axis of ``x``."""
    if len(starts) != x.ndim:
        raise ShapeError(f"{name}: takes one start per axis of {x}, not {len(starts)}")
    for start in starts:
        if kind(start.dtype) not in "iu":
            raise DTypeError(f"{name}: starts are integers, not {short(start.dtype)}")
        if start.shape != ():
            raise ShapeError(f"{name}: starts are scalars, not {start}")


def _region(shape: Any, sizes: Any, starts: Any) -> tuple[slice, ...]:
    """The clamped window as slices."""
    firsts = [
        min(max(int(s), 0), n - size) for s, n, size in zip(starts, shape, sizes, strict=True)
    ]
    return tuple(slice(a, a + size) for a, size in zip(firsts, sizes, strict=True))


def start_exprs(shape: Any, sizes: Any, starts: Any) -> list[Expr]:
    """The clamped starts as index expressions."""
    found: list[Expr] = []
    for n, size, start in zip(shape, sizes, starts, strict=True):
        if n == size:
            found.append(const(0))
            continue
        at = start(())
        at = at if at.dtype == "i64" else Op("convert", (at,), "i64")
        found.append(Op("clamp", (const(0), at, const(n - size)), "i64"))
    return found


def start_vectors(starts: Any, mask: Any, size: int) -> Any:
    """Batched starts as index vectors, one row per example."""
    wide = [with_batch_axis(s, size, m) for s, m in zip(starts, mask, strict=True)]
    if len({s.type.dtype for s in wide}) > 1:  # each start has an integer dtype of its own
        wide = [parts.convert(s, dtype=DTYPES["i64"]) for s in wide]
    columns = [layout.reshape(s, new_sizes=(size, 1)) for s in wide]
    return layout.concatenate(*columns, dimension=1)


# ---- dynamic_slice -------------------------------------------------------------------------------


def _infer_slice(x: TensorType, *starts: TensorType, sizes: tuple[int, ...]) -> TensorType:
    check_starts("dynamic_slice", x, starts)
    if len(sizes) != x.ndim or any(not 0 <= s <= n for s, n in zip(sizes, x.shape, strict=True)):
        raise ShapeError(f"dynamic_slice: a window of {tuple(sizes)} does not fit {x}")
    return x.with_shape(sizes)


def _transpose_slice(cts: Any, xs: Any, *, sizes: Any) -> Any:
    x, *starts = xs
    placed = dynamic_update_slice(full_like(x.type, 0), cts[0], *starts)
    return (placed, *(None for _ in starts))


def _batch_slice(size: int, mask: Any, xs: Any, *, sizes: Any) -> Any:
    x, *starts = xs
    rank = len(sizes)
    if not any(mask[1:]):
        zero = layout.scalar(0, starts[0].type.dtype if starts else DTYPES["i64"])
        return dynamic_slice(x, zero, *starts, sizes=(size, *sizes))
    axes = tuple(range(rank))
    if mask[0]:
        params = indexing.gather_params(
            indexing.up(axes),
            (),
            indexing.up(axes),
            (1, *sizes),
            operand_batching_dims=(0,),
            start_indices_batching_dims=(0,),
            mode="clip",
        )
    else:
        params = indexing.gather_params(indexing.up(axes), (), axes, sizes, mode="clip")
    return indexing.gather(x, start_vectors(starts, mask[1:], size), **params)


def _element_slice(xs: Any, index: Any, *, sizes: Any) -> Expr:
    firsts = start_exprs(xs[0].type.shape, sizes, xs[1:])
    return xs[0](tuple(iadd(i, a) for i, a in zip(index, firsts, strict=True)))


def _types(*shapes: tuple[int, ...], starts: int) -> tuple[TensorType, ...]:
    given = [TensorType(DTYPES["f32"], shape) for shape in shapes]
    return (*given, *[TensorType(DTYPES["i32"], ())] * starts)


dynamic_slice = Primitive(
    "dynamic_slice",
    params=("sizes",),
    infer=_infer_slice,
    numpy=lambda x, *starts, sizes: x[_region(x.shape, sizes, starts)],
    jvp=lambda dxs, ys, xs, **params: (dynamic_slice(dxs[0], *xs[1:], **params),),
    transpose=_transpose_slice,
    batch=_batch_slice,
    element=_element_slice,
    cases=lambda: [
        (_types((5,), starts=1), {"sizes": (2,)}),
        (_types((5, 4), starts=2), {"sizes": (1, 4)}),
        (_types((2, 3, 1), starts=3), {"sizes": (2, 2, 1)}),
        (_types((3,), starts=1), {"sizes": (0,)}),
        (_types((), starts=0), {"sizes": ()}),
    ],
    doc="The window of sizes of x at starts, clamped to lie inside.",
)


# ---- dynamic_update_slice ------------------------------------------------------------------------


def _infer_update(x: TensorType, update: TensorType, *starts: TensorType) -> TensorType:
    same_dtype("dynamic_update_slice", (x, update), "biufc")
    check_starts("dynamic_update_slice", x, starts)
    pairs = zip(update.shape, x.shape, strict=False)
    if update.ndim != x.ndim or any(m > n for m, n in pairs):
        raise ShapeError(f"dynamic_update_slice: {update} does not fit into {x}")
    return x


def _numpy_update(x: Any, update: Any, *starts: Any) -> Any:
    out = np.array(x, copy=True)
    out[_region(x.shape, update.shape, starts)] = update
    return out


def _jvp_update(dxs: Any, ys: Any, xs: Any) -> Any:
    dx, du = (full_like(x, 0) if d is None else d for d, x in zip(dxs[:2], xs[:2], strict=True))
    return (dynamic_update_slice(dx, du, *xs[2:]),)


def _transpose_update(cts: Any, xs: Any) -> Any:
    ct, (x, update, *starts) = cts[0], xs
    to_x = to_update = None
    if is_linear(x):
        to_x = dynamic_update_slice(ct, full_like(update.type, 0), *starts)
    if is_linear(update):
        to_update = dynamic_slice(ct, *starts, sizes=update.type.shape)
    return (to_x, to_update, *(None for _ in starts))


def _batch_update(size: int, mask: Any, xs: Any) -> Any:
    x = with_batch_axis(xs[0], size, mask[0])
    update = with_batch_axis(xs[1], size, mask[1])
    starts = xs[2:]
    if not any(mask[2:]):
        zero = layout.scalar(0, starts[0].type.dtype if starts else DTYPES["i64"])
        return dynamic_update_slice(x, update, zero, *starts)
    axes = indexing.up(tuple(range(len(starts))))
    params = indexing.scatter_params(
        "set",
        axes,
        (),
        axes,
        operand_batching_dims=(0,),
        scatter_indices_batching_dims=(0,),
        mode="clip",
        unique_indices=True,
    )
    return indexing.scatter(x, start_vectors(starts, mask[2:], size), update, **params)


def _element_update(xs: Any, index: Any) -> Expr:
    x, update, *starts = xs
    shape, sizes = x.type.shape, update.type.shape
    if 0 in sizes:
        return x(index)
    inside: Expr | None = None
    offsets: list[Expr] = []
    firsts = start_exprs(shape, sizes, starts)
    for i, first, n, size in zip(index, firsts, shape, sizes, strict=True):
        offset = isub(i, first)
        offsets.append(offset)
        if n != size:
            inside = both(inside, compare("ge", offset, 0), compare("lt", offset, size))
    if inside is None:
        return update(index)
    kept = x(index, guard=Op("not", (inside,), "bool"))
    return layout.read_where(update, tuple(offsets), inside, kept)


def _lower_update(k: Any, xs: Any, outs: Any) -> None:
    """Store the window: the rest of the result is the operand already."""
    x, update, *starts = xs
    sizes = update.type.shape
    if 0 in sizes:
        return
    at = lane_axes(sizes)
    with rows_and_lanes(k, sizes[:at], sizes[at:], lane_width(k, x.type), 4) as (outer, inner):
        offsets = (*outer, *inner)
        firsts = start_exprs(x.type.shape, sizes, starts)
        k.store(outs[0], tuple(map(iadd, offsets, firsts)), update(offsets))


def _small_update(x: TensorType, update: TensorType, *starts: TensorType) -> bool:
    """Whether a window of this size is worth more than an element rule that fuses: most of the
    operand stays.
    """
    return 4 * update.size <= x.size


dynamic_update_slice = Primitive(
    "dynamic_update_slice",
    infer=_infer_update,
    numpy=_numpy_update,
    jvp=_jvp_update,
    transpose=_transpose_update,
    batch=_batch_update,
    element=_element_update,
    lower=_lower_update,
    lowers=_small_update,
    updates=True,
    cases=lambda: [
        (_types((5,), (2,), starts=1), {}),
        (_types((5, 4), (1, 4), starts=2), {}),
        (_types((2, 3, 1), (2, 2, 1), starts=3), {}),
        (_types((3,), (0,), starts=1), {}),
        (_types((), (), starts=0), {}),
    ],
    doc="x with the window at starts, clamped to lie inside, replaced by update.",
)
