"""Gather and scatter in XLA's general form: each is the other's adjoint.

    gather(table: f32[5,4], indices: i64[3,1], offset_dims=(1,), collapsed_slice_dims=(0,),
           start_index_map=(0,), slice_sizes=(1, 4), mode="error", ...)       -> f32[3,4]

The last axis of the indices is the index vector. Modes: "error" raises OutOfBoundsError, "clip"
moves a window inside, "fill" (gather) and "drop" (scatter) leave out a window that is not wholly
inside, "promise" trusts the caller.
Negative indices and "wrap" are normalised by the callers.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from tracejit.errors import ArgumentError, MissingRule, ShapeError
from tracejit.ir.build import full_like
from tracejit.ir.expr import Const, Expr
from tracejit.ir.graph import literal
from tracejit.ir.prim import Primitive, is_linear
from tracejit.ir.types import DTYPES, TensorType, is_inexact, kind, short
from tracejit.ops import arith, layout, logic, parts
from tracejit.ops.broadcast import with_batch_axis
from tracejit.ops.family import same_dtype
from tracejit.ops.index_windows import Windows, check_windows
from tracejit.ops.lower_scatter import Scatter
from tracejit.ops.reduce import highest, lowest

GATHER_PARAMS = (
    "offset_dims",
    "collapsed_slice_dims",
    "start_index_map",
    "operand_batching_dims",
    "start_indices_batching_dims",
    "slice_sizes",
    "mode",
    "fill_value",
)
SCATTER_PARAMS = (
    "kind",
    "update_window_dims",
    "inserted_window_dims",
    "scatter_dims_to_operand_dims",
    "operand_batching_dims",
    "scatter_indices_batching_dims",
    "mode",
    "unique_indices",
    "indices_are_sorted",
)


def up(dims: tuple[int, ...]) -> tuple[int, ...]:
    """Axis numbers after a batch axis has been put in front."""
    return tuple(d + 1 for d in dims)


# ---- gather --------------------------------------------------------------------------------------


def gather_windows(x: TensorType, p: dict[str, Any]) -> Windows:
    """The windows that a gather with params ``p`` reads from ``x``."""
    return _windows(
        "gather",
        x.shape,
        p["slice_sizes"],
        p["start_index_map"],
        (*p["collapsed_slice_dims"], *p["operand_batching_dims"]),
        tuple(zip(p["operand_batching_dims"], p["start_indices_batching_dims"], strict=True)),
        p["mode"],
    )


@lru_cache(maxsize=1024)
def _windows(*fields: Any) -> Windows:
    return Windows(*fields)


def _infer_gather(x: TensorType, indices: TensorType, **p: Any) -> TensorType:
    windows = gather_windows(x, p)
    check_windows(windows, indices)
    offset_dims, visible = p["offset_dims"], windows.visible
    rank = indices.ndim - 1 + len(visible)
    ordered = all(a < b for a, b in zip(offset_dims, offset_dims[1:], strict=False))
    if (
        len(offset_dims) != len(visible)
        or not ordered
        or any(not 0 <= d < rank for d in offset_dims)
    ):
        raise ShapeError(
            f"gather: offset_dims {offset_dims} must increase and be axes of a result of rank "
            f"{rank}, one for each of the {len(visible)} window axes"
        )
    window = dict(zip(offset_dims, (windows.sizes[k] for k in visible), strict=True))
    lead = iter(indices.shape[:-1])
    return x.with_shape(tuple(window[d] if d in window else next(lead) for d in range(rank)))


def fill_of(dtype: np.dtype, fill_value: Any) -> Any:
    """What mode "fill" puts outside: nan, the lowest signed, the highest unsigned integer, True."""
    if fill_value is not None:
        return fill_value
    if is_inexact(dtype):
        return float("nan")
    return lowest(dtype) if kind(dtype) == "i" else highest(dtype)


def _numpy_gather(x: Any, indices: Any, **p: Any) -> Any:
    windows = gather_windows(TensorType(x.dtype, x.shape), p)
    found, valid = windows.read(x, indices)
    lead = indices.shape[:-1]
    if valid is not None:
        outside = ~valid.reshape((*lead, *(1,) * (found.ndim - len(lead))))
        found = np.where(outside, np.asarray(fill_of(x.dtype, p["fill_value"]), x.dtype), found)
    if not windows.shown:
        return found.reshape(lead)
    found = found.reshape((*lead, *(windows.sizes[k] for k in windows.shown)))
    return found.transpose(windows.result_order(len(lead), p["offset_dims"]))


def _transpose_gather(cts: Any, xs: Any, **p: Any) -> Any:
    x, indices = xs
    zeros = full_like(x.type, 0)
    total = scatter(
        zeros,
        indices,
        cts[0],
        kind="add",
        update_window_dims=p["offset_dims"],
        inserted_window_dims=p["collapsed_slice_dims"],
        scatter_dims_to_operand_dims=p["start_index_map"],
        operand_batching_dims=p["operand_batching_dims"],
        scatter_indices_batching_dims=p["start_indices_batching_dims"],
        mode=p["mode"],
        unique_indices=False,
        indices_are_sorted=False,
    )
    return (total, None)


def _batch_gather(size: int, mask: Any, xs: Any, **p: Any) -> Any:
    x, indices = xs
    p = dict(p, offset_dims=up(p["offset_dims"]))
    if mask[0]:
        for name in ("collapsed_slice_dims", "start_index_map", "operand_batching_dims"):
            p[name] = up(p[name])
        if not mask[1]:  # the batch axis of x is one more window axis, whole
            p["offset_dims"] = (0, *p["offset_dims"])
            p["slice_sizes"] = (size, *p["slice_sizes"])
            return gather(x, indices, **p)
        p["operand_batching_dims"] = (0, *p["operand_batching_dims"])
        p["slice_sizes"] = (1, *p["slice_sizes"])
    together = (0,) if mask[0] else ()
    p["start_indices_batching_dims"] = (*together, *up(p["start_indices_batching_dims"]))
    return gather(x, indices, **p)


def _element_gather(xs: Any, index: Any, **p: Any) -> Expr:
    x, indices = xs
    windows = gather_windows(x.type, p)
    lead = tuple(i for d, i in enumerate(index) if d not in p["offset_dims"])
    starts, valid = windows.start_exprs(indices, lead)
    where = windows.element_at(starts, [index[d] for d in p["offset_dims"]])
    name = short(x.type.dtype)
    value = np.asarray(fill_of(x.type.dtype, p["fill_value"]), x.type.dtype).item()
    return layout.read_where(x, where, valid, Const(value, name))


def gather_params(
    offset_dims: Any,
    collapsed_slice_dims: Any,
    start_index_map: Any,
    slice_sizes: Any,
    *,
    operand_batching_dims: Any = (),
    start_indices_batching_dims: Any = (),
    mode: str = "error",
    fill_value: Any = None,
) -> dict[str, Any]:
    """The params of ``gather`` with their usual values filled in."""
    return {
        "offset_dims": tuple(offset_dims),
        "collapsed_slice_dims": tuple(collapsed_slice_dims),
        "start_index_map": tuple(start_index_map),
        "operand_batching_dims": tuple(operand_batching_dims),
        "start_indices_batching_dims": tuple(start_indices_batching_dims),
        "slice_sizes": tuple(slice_sizes),
        "mode": mode,
        "fill_value": fill_value,
    }


def _cases_gather() -> list[Any]:
    f32, i64, i32 = DTYPES["f32"], DTYPES["i64"], DTYPES["i32"]

    def case(x: Any, indices: Any, *dims: Any, dtype: Any = i64, **more: Any) -> Any:
        return (TensorType(f32, x), TensorType(dtype, indices)), gather_params(*dims, **more)

    batching = {"operand_batching_dims": (0,), "start_indices_batching_dims": (0,)}
    return [
        case((5, 4), (3, 1), (1,), (0,), (0,), (1, 4)),
        case((5, 4), (1,), (0,), (0,), (0,), (1, 4), dtype=i32),
        case((4, 5), (2, 3, 1), (0,), (1,), (1,), (4, 1), mode="promise"),
        case((6, 5), (7, 2), (), (0, 1), (1, 0), (1, 1)),
        case((6, 5), (3, 2), (0, 2), (), (0, 1), (2, 3), mode="clip"),
        case((2, 3, 1), (5, 2), (1,), (0, 2), (0, 1), (1, 2, 1), mode="fill"),
        case((2,), (5, 1), (), (0,), (0,), (1,), mode="fill", fill_value=7.0),
        case((3, 5), (3, 4, 1), (), (1,), (1,), (1, 1), **batching),
        case((4,), (0, 1), (), (0,), (0,), (1,)),
        case((3, 2), (4, 0), (1, 2), (), (), (2, 2)),
    ]


gather = Primitive(
    "gather",
    params=GATHER_PARAMS,
    infer=_infer_gather,
    numpy=_numpy_gather,
    jvp=lambda dxs, ys, xs, **p: (gather(dxs[0], xs[1], **dict(p, fill_value=0)),),
    transpose=_transpose_gather,
    batch=_batch_gather,
    element=_element_gather,
    domain=((-3.0, 3.0), (0, 2)),
    cases=_cases_gather,
    doc="Read windows of x at indices; the windows' axes become offset_dims of the result.",
)


def take_along(x: Any, positions: Any, axis: int, mode: str = "promise") -> Any:
    """``x`` at ``positions`` along ``axis``; the other axes of both run together."""
    others = tuple(k for k in range(x.type.ndim) if k != axis)
    vectors = layout.reshape(positions, new_sizes=(*positions.type.shape, 1))
    params = gather_params(
        (),
        (axis,),
        (axis,),
        (1,) * x.type.ndim,
        operand_batching_dims=others,
        start_indices_batching_dims=others,
        mode=mode,
    )
    return gather(x, vectors, **params)


# ---- scatter -------------------------------------------------------------------------------------

COMBINE = {"add": np.add, "mul": np.multiply, "min": np.minimum, "max": np.maximum}


def scatter_windows(x: TensorType, updates: TensorType, p: dict[str, Any]) -> Windows:
    """The windows that a scatter with params ``p`` writes into ``x``."""
    hidden = (*p["inserted_window_dims"], *p["operand_batching_dims"])
    dims = p["update_window_dims"]
    ordered = all(a < b for a, b in zip(dims, dims[1:], strict=False))
    if len(dims) != x.ndim - len(set(hidden)) or not ordered:
        raise ShapeError(
            f"scatter: update_window_dims {dims} must increase, one for each operand axis that is "
            f"neither inserted nor batching"
        )
    if any(not 0 <= d < updates.ndim for d in dims):
        raise ShapeError(
            f"scatter: update_window_dims {dims} are not axes of the updates {updates}"
        )
    extents = iter(updates.shape[d] for d in dims)
    return Windows(
        "scatter",
        x.shape,
        tuple(1 if k in hidden else next(extents) for k in range(x.ndim)),
        p["scatter_dims_to_operand_dims"],
        hidden,
        tuple(zip(p["operand_batching_dims"], p["scatter_indices_batching_dims"], strict=True)),
        p["mode"],
    )


def _infer_scatter(x: TensorType, indices: TensorType, updates: TensorType, **p: Any) -> TensorType:
    if p["kind"] not in ("set", *COMBINE):
        raise ArgumentError(f"scatter: kind is set, add, mul, min or max, not {p['kind']!r}")
    same_dtype("scatter", (x, updates), "biuf" if p["kind"] in ("min", "max") else "biufc")
    check_windows(scatter_windows(x, updates, p), indices)
    dims = p["update_window_dims"]
    lead = tuple(n for d, n in enumerate(updates.shape) if d not in dims)
    if lead != indices.shape[:-1]:
        raise ShapeError(
            f"scatter: the updates {updates} outside their window have shape {lead}, "
            f"the indices {indices.shape[:-1]}"
        )
    return x


def _numpy_scatter(x: Any, indices: Any, updates: Any, **p: Any) -> Any:
    x_type, updates_type = TensorType(x.dtype, x.shape), TensorType(updates.dtype, updates.shape)
    windows = scatter_windows(x_type, updates_type, p)
    rows, valid = windows.rows(indices)
    lead = indices.ndim - 1
    order = windows.result_order(lead, p["update_window_dims"])
    matrix = np.array(windows.as_rows(x), order="C", copy=True)
    values = np.transpose(updates, np.argsort(order)).reshape(rows.size, matrix.shape[1])
    flat = rows.reshape(-1)
    if valid is not None:
        inside = valid.reshape((*valid.shape, *(1,) * (rows.ndim - lead)))
        kept = np.broadcast_to(inside, rows.shape).reshape(-1)
        flat, values = flat[kept], values[kept]
    if matrix.shape[1] == 1:  # NumPy's fast path is for one axis
        matrix, values = matrix.reshape(-1), values.reshape(-1)
    with np.errstate(all="ignore"):
        if p["kind"] == "set":
            matrix[flat] = values
        else:
            COMBINE[p["kind"]].at(matrix, flat, values)
    return windows.from_rows(matrix)


def _lower_scatter(k: Any, xs: Any, outs: Any, **p: Any) -> None:
    x, indices, updates = xs
    windows = scatter_windows(x.type, updates.type, p)
    Scatter(k, x, indices, updates, outs[0], windows, p["update_window_dims"], p["kind"]).write()


def gather_of(updates: TensorType, x: Any, indices: Any, fill_value: Any, **p: Any) -> Any:
    """Read from ``x`` what a scatter with params ``p`` would write there."""
    params = gather_params(
        p["update_window_dims"],
        p["inserted_window_dims"],
        p["scatter_dims_to_operand_dims"],
        scatter_windows(x.type, updates, p).sizes,
        operand_batching_dims=p["operand_batching_dims"],
        start_indices_batching_dims=p["scatter_indices_batching_dims"],
        mode=p["mode"],
        fill_value=fill_value,
    )
    return gather(x, indices, **params)


def _zeros_for(d: Any, x: Any) -> Any:
    return full_like(x, 0) if d is None else d


def _jvp_scatter(dxs: Any, ys: Any, xs: Any, **p: Any) -> Any:
    x, indices, updates = xs
    dx, _, du = dxs
    if p["kind"] in ("set", "add"):
        return (scatter(_zeros_for(dx, x), indices, _zeros_for(du, updates), **p),)
    rule = _jvp_scatter_mul if p["kind"] == "mul" else _jvp_scatter_extreme
    return (rule(dx, du, ys[0], x, indices, updates, p),)


def _jvp_scatter_mul(dx: Any, du: Any, y: Any, x: Any, indices: Any, updates: Any, p: Any) -> Any:
    """Each factor's tangent times the product of the other factors, without dividing by zero."""
    total = None
    if dx is not None:
        total = arith.mul(dx, scatter(full_like(x, 1), indices, updates, **p))
    if du is not None:
        zero, one = full_like(updates, 0), full_like(updates, 1)
        is_zero = logic.eq(updates, zero)
        safe = logic.select(is_zero, one, updates)
        flags = parts.convert(is_zero, dtype=updates.type.dtype)
        count = scatter(full_like(x, 0), indices, flags, **dict(p, kind="add"))
        zeros_here = gather_of(updates.type, count, indices, 0, **p)
        nonzero = scatter(x, indices, safe, **p)
        others = arith.div(gather_of(updates.type, nonzero, indices, 0, **p), safe)
        alone = logic.eq(zeros_here, flags)  # no zero among the other updates
        weight = logic.select(alone, others, zero)
        moved = arith.mul(du, weight)
        part = scatter(full_like(x, 0), indices, moved, **dict(p, kind="add"))
        total = part if total is None else arith.add(total, part)
    return total


def _jvp_scatter_extreme(
    dx: Any, du: Any, y: Any, x: Any, indices: Any, updates: Any, p: Any
) -> Any:
    """The mean of the tangents of the operand and updates that attain the result."""
    adding, dtype = dict(p, kind="add"), x.type.dtype
    x_wins = logic.eq(x, y)
    u_wins = logic.eq(updates, gather_of(updates.type, y, indices, 0, **p))
    count = scatter(
        parts.convert(x_wins, dtype=dtype), indices, parts.convert(u_wins, dtype=dtype), **adding
    )
    dx, du = _zeros_for(dx, x), _zeros_for(du, updates)
    mine = logic.select(x_wins, dx, full_like(x, 0))
    theirs = logic.select(u_wins, du, full_like(updates, 0))
    return arith.div(scatter(mine, indices, theirs, **adding), count)


def last_written(x: Any, indices: Any, updates: TensorType, p: dict[str, Any]) -> Any:
    """Which updates a scatter of kind "set" leaves in place: the last of several at one place."""
    i64 = DTYPES["i64"]
    counter = layout.iota(dtype=i64, shape=(max(updates.size, 1),), dimension=0)
    numbers = layout.reshape(counter, new_sizes=updates.shape)
    board = literal(-1, TensorType(i64, x.type.shape))
    written = scatter(board, indices, numbers, **p)
    return logic.eq(gather_of(updates, written, indices, -1, **p), numbers)


def _transpose_scatter(cts: Any, xs: Any, **p: Any) -> Any:
    ct, (x, indices, updates) = cts[0], xs
    if p["kind"] == "mul" and not is_linear(updates):
        return arith.mul(ct, scatter(full_like(x.type, 1), indices, updates, **p)), None, None
    if p["kind"] not in ("set", "add"):
        raise MissingRule(f"`scatter` of kind {p['kind']} has no transpose rule: it is not linear")
    to_x = to_updates = None
    if is_linear(x):
        erased = full_like(updates.type, 0)
        to_x = ct if p["kind"] == "add" else scatter(ct, indices, erased, **p)
    if is_linear(updates):
        to_updates = gather_of(updates.type, ct, indices, 0, **p)
        if p["kind"] == "set" and not p["unique_indices"] and updates.type.size:
            last = last_written(x, indices, updates.type, p)
            to_updates = logic.select(last, to_updates, full_like(to_updates, 0))
    return to_x, None, to_updates


def _batch_scatter(size: int, mask: Any, xs: Any, **p: Any) -> Any:
    x, indices, updates = xs
    x = with_batch_axis(x, size, mask[0])
    updates = with_batch_axis(updates, size, mask[2])
    p = dict(p, update_window_dims=up(p["update_window_dims"]))
    for name in ("inserted_window_dims", "scatter_dims_to_operand_dims", "operand_batching_dims"):
        p[name] = up(p[name])
    if not mask[1]:  # the batch axis is one more window axis, whole
        p["update_window_dims"] = (0, *p["update_window_dims"])
        return scatter(x, indices, updates, **p)
    p["operand_batching_dims"] = (0, *p["operand_batching_dims"])
    p["scatter_indices_batching_dims"] = (0, *up(p["scatter_indices_batching_dims"]))
    return scatter(x, indices, updates, **dict(p, indices_are_sorted=False))


def scatter_params(
    kind: str,
    update_window_dims: Any,
    inserted_window_dims: Any,
    scatter_dims_to_operand_dims: Any,
    *,
    operand_batching_dims: Any = (),
    scatter_indices_batching_dims: Any = (),
    mode: str = "error",
    unique_indices: bool = False,
    indices_are_sorted: bool = False,
) -> dict[str, Any]:
    """The params of ``scatter`` with their usual values filled in."""
    return {
        "kind": kind,
        "update_window_dims": tuple(update_window_dims),
        "inserted_window_dims": tuple(inserted_window_dims),
        "scatter_dims_to_operand_dims": tuple(scatter_dims_to_operand_dims),
        "operand_batching_dims": tuple(operand_batching_dims),
        "scatter_indices_batching_dims": tuple(scatter_indices_batching_dims),
        "mode": mode,
        "unique_indices": unique_indices,
        "indices_are_sorted": indices_are_sorted,
    }


def _cases_scatter() -> list[Any]:
    def case(kind: str, x: Any, indices: Any, updates: Any, *dims: Any, **more: Any) -> Any:
        f32, i64 = DTYPES["f32"], DTYPES["i64"]
        types = (TensorType(f32, x), TensorType(i64, indices), TensorType(f32, updates))
        return types, scatter_params(kind, *dims, **more)

    batching = {"operand_batching_dims": (0,), "scatter_indices_batching_dims": (0,)}
    found = []
    for how in ("set", "add", "mul", "min", "max"):
        found += [
            case(how, (5,), (4, 1), (4,), (), (0,), (0,)),
            case(how, (3, 4), (5, 1), (5, 4), (1,), (0,), (0,)),
        ]
    for how in ("set", "add"):
        found += [
            case(how, (4, 3), (2, 2, 1), (4, 2, 2), (0,), (1,), (1,)),
            case(how, (5, 5), (3, 2), (3, 2, 2), (1, 2), (), (1, 0), mode="clip"),
            case(how, (2, 2), (6, 2), (6,), (), (0, 1), (0, 1), mode="drop"),
            case(how, (3, 4), (3, 2, 1), (3, 2), (), (1,), (1,), **batching),
            case(how, (4,), (1,), (2,), (0,), (), (0,), unique_indices=True),
            case(how, (4,), (0, 1), (0,), (), (0,), (0,)),
        ]
    return found


scatter = Primitive(
    "scatter",
    params=SCATTER_PARAMS,
    infer=_infer_scatter,
    numpy=_numpy_scatter,
    jvp=_jvp_scatter,
    transpose=_transpose_scatter,
    batch=_batch_scatter,
    lower=_lower_scatter,
    updates=True,
    domain=((-3.0, 3.0), (0, 2), (-3.0, 3.0)),
    cases=_cases_scatter,
    doc="A copy of x with windows at indices set to, or combined with, the updates, in order.",
)
