"""Folds over sliding windows (pooling) and what their derivatives need.

    reduce_window_max(x: f32[1,28,28], window_dimensions=(1, 2, 2), window_strides=(1, 2, 2),
                      padding=((0, 0),) * 3, base_dilation=(1, 1, 1), window_dilation=(1, 1, 1))
        -> f32[1,14,14]

The sum is linear. The tangent of the extrema is ``select_and_gather_add`` (the tangent at the place
of the extremum), whose adjoint is ``select_and_scatter_add``; of tied elements the first counts.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import prod
from typing import Any

import numpy as np

from tracejit.errors import MissingRule, ShapeError
from tracejit.ir.build import full_like
from tracejit.ir.expr import Const, Expr, Op, const, iadd, idiv, imod, imul, isub
from tracejit.ir.prim import Primitive, is_linear
from tracejit.ir.types import DTYPES, TensorType, kind, short
from tracejit.ops import layout
from tracejit.ops.broadcast import with_batch_axis
from tracejit.ops.family import same_dtype
from tracejit.ops.layout import both, compare, padded_size, read_where
from tracejit.ops.lower_window import (
    beats,
    fill_of,
    lower_dilated_sum,
    lower_select_scatter,
    lowers_dilated_sum,
    lowers_select_scatter,
)
from tracejit.ops.reduce import highest, lowest

WINDOW_PARAMS = (
    "window_dimensions",
    "window_strides",
    "padding",
    "base_dilation",
    "window_dilation",
)
#: the longest chain of operations an element rule writes out; beyond it the NumPy rule runs
LONGEST = 144


def covered(p: dict[str, Any]) -> tuple[int, ...]:
    """How far a window reaches along each axis, its dilation counted."""
    pairs = zip(p["window_dimensions"], p["window_dilation"], strict=True)
    return tuple((w - 1) * d + 1 for w, d in pairs)


def pad_config(p: dict[str, Any]) -> tuple[tuple[int, int, int], ...]:
    """The padding and base dilation in the form of ``layout.pad``."""
    pairs = zip(p["padding"], p["base_dilation"], strict=True)
    return tuple((low, high, d - 1) for (low, high), d in pairs)


def window_params(
    window_dimensions: Any,
    window_strides: Any = None,
    padding: Any = None,
    base_dilation: Any = None,
    window_dilation: Any = None,
) -> dict[str, Any]:
    """The params of the window operations with their usual values filled in."""
    ones = (1,) * len(window_dimensions)
    return {
        "window_dimensions": tuple(window_dimensions),
        "window_strides": tuple(window_strides or ones),
        "padding": tuple(tuple(pair) for pair in padding) if padding else ((0, 0),) * len(ones),
        "base_dilation": tuple(base_dilation or ones),
        "window_dilation": tuple(window_dilation or ones),
    }


def result_shape(name: str, x: TensorType, p: dict[str, Any]) -> tuple[int, ...]:
    """One entry per window position; raises ShapeError on params that do not fit ``x``."""
    layout.check_rank(name, x, **{param: p[param] for param in WINDOW_PARAMS})
    for param in ("window_dimensions", "window_strides", "base_dilation", "window_dilation"):
        if any(n < 1 for n in p[param]):
            raise ShapeError(f"{name}: {param} {p[param]} must be positive")
    shape = []
    for n, config, reach, stride in zip(
        x.shape, pad_config(p), covered(p), p["window_strides"], strict=True
    ):
        size = padded_size(n, *config)
        if size < 0:
            raise ShapeError(f"{name}: padding {p['padding']} cuts off more than {x} has")
        shape.append((size - reach) // stride + 1 if size >= reach else 0)
    return tuple(shape)


def batched(p: dict[str, Any]) -> dict[str, Any]:
    """The params with a window of one along a batch axis in front."""
    p = {name: (1, *given) if name in WINDOW_PARAMS else given for name, given in p.items()}
    return dict(p, padding=((0, 0), *p["padding"][1:]))


def sliding(x: Any, fill: Any, p: dict[str, Any]) -> Any:
    """A view of the padded ``x`` with axes (window positions ..., window elements ...)."""
    shape = result_shape("reduce_window", TensorType(x.dtype, x.shape), p)
    if 0 in shape or not shape:
        return np.broadcast_to(
            x if not shape else x.dtype.type(0), (*shape, *p["window_dimensions"])
        )
    padded = layout.pad.rule("numpy")(x, np.asarray(fill, x.dtype), config=pad_config(p))
    view = np.lib.stride_tricks.sliding_window_view(padded, covered(p))
    steps = (*p["window_strides"], *p["window_dilation"])
    return view[tuple(slice(None, None, step) for step in steps)]


def reads(x: Any, index: Any, fill: Expr, p: dict[str, Any]) -> list[Expr]:
    """The elements of the window at ``index``, row-major; ``fill`` where it covers padding."""
    config, shape = pad_config(p), x.type.shape
    found: list[Expr] = []
    for offsets in product(*(range(w) for w in p["window_dimensions"])):
        where: list[Expr] = []
        guard: Expr | None = None
        for axis, k in enumerate(offsets):
            at = iadd(imul(index[axis], p["window_strides"][axis]), k * p["window_dilation"][axis])
            at, condition = layout.unpadded(at, shape[axis], config[axis])
            guard = both(guard, condition)
            where.append(at)
        found.append(read_where(x, tuple(where), guard, fill))
    return found


def check_length(name: str, count: int) -> None:
    """Raise MissingRule where an element would be too long an expression."""
    if count > LONGEST:
        raise MissingRule(f"`{name}` has no element rule for a window as large as this one")


# ---- sum, max, min -------------------------------------------------------------------------------


def _window_fold(
    name: str,
    fn: str,
    numpy_fold: Callable[..., Any],
    identity: Callable[[np.dtype], Any],
    *,
    jvp: Callable[..., Any],
    transpose: Callable[..., Any] | None = None,
    lower: Callable[..., None] | None = None,
    lowers: Callable[..., bool] | None = None,
    kinds: str = "biuf",
    doc: str,
) -> Primitive:
    def infer(x: TensorType, **p: Any) -> TensorType:
        same_dtype(name, (x,), kinds)
        return x.with_shape(result_shape(name, x, p))

    def numpy(x: Any, **p: Any) -> Any:
        half = kind(x.dtype) == "f" and x.dtype.itemsize == 2
        wide = x.astype(np.float32) if half else x
        start = wide.dtype.type(identity(wide.dtype))
        axes = tuple(range(x.ndim, 2 * x.ndim))
        with np.errstate(all="ignore"):
            found = numpy_fold(sliding(wide, start, p), axis=axes, initial=start)
        return np.asarray(found).astype(x.dtype, copy=False)

    def element(xs: Any, index: Any, **p: Any) -> Expr:
        x = xs[0]
        check_length(name, prod(p["window_dimensions"]))
        dtype = short(x.type.dtype)
        wide = "f32" if dtype in ("f16", "bf16") else dtype
        total: Expr | None = None
        for value in reads(x, index, Const(identity(x.type.dtype), dtype), p):
            value = value if wide == dtype else Op("convert", (value,), wide)
            total = value if total is None else Op(fn, (total, value), wide)
        assert total is not None
        return total if wide == dtype else Op("convert", (total,), dtype)

    record = Primitive(
        name,
        params=WINDOW_PARAMS,
        infer=infer,
        numpy=numpy,
        jvp=jvp,
        transpose=transpose,
        batch=lambda size, mask, xs, **p: record(xs[0], **batched(p)),
        element=element,
        lower=lower,
        lowers=lowers,
        kinds=kinds,
        cases=lambda: [((TensorType(DTYPES["f32"], shape),), p) for shape, p in window_cases()],
        doc=doc,
    )
    return record


def window_cases() -> list[Any]:
    """Shapes and params that exercise every param."""
    return [
        ((6,), window_params((3,))),
        ((4, 6), window_params((2, 2), (2, 2))),
        ((5, 7), window_params((3, 3), (2, 1), ((1, 1), (0, 2)))),
        ((7,), window_params((2,), (2,), ((2, 1),), (3,), (2,))),
        ((1, 5), window_params((1, 2), (1, 3), ((0, 0), (-1, 1)))),
        ((2,), window_params((4,))),
        ((0,), window_params((2,), None, ((2, 2),))),
        ((), window_params(())),
    ]


def _transpose_window_sum(cts: Any, xs: Any, **p: Any) -> Any:
    """Windows of the cotangent, strides and base dilation in each other's place."""
    ct, x = cts[0], xs[0]
    if 0 in ct.type.shape or 0 in x.type.shape:
        return (full_like(x.type, 0),)
    padding = []
    for n, m, (low, _), reach, stride, dilation in zip(
        x.type.shape,
        ct.type.shape,
        p["padding"],
        covered(p),
        p["window_strides"],
        p["base_dilation"],
        strict=True,
    ):
        before = reach - 1 - low
        length = (n - 1) * dilation + reach  # so that exactly n windows fit
        padding.append((before, length - before - ((m - 1) * stride + 1)))
    turned = dict(
        p,
        window_strides=p["base_dilation"],
        base_dilation=p["window_strides"],
        padding=tuple(padding),
    )
    return (reduce_window_sum(ct, **turned),)


reduce_window_sum = _window_fold(
    "reduce_window_sum",
    "add",
    np.sum,
    lambda dtype: 0,
    jvp=lambda dxs, ys, xs, **p: (reduce_window_sum(dxs[0], **p),),
    transpose=_transpose_window_sum,
    lower=lower_dilated_sum,
    lowers=lowers_dilated_sum,
    kinds="iufc",
    doc="Sum over each position of a sliding window; padding counts as zero.",
)
reduce_window_max = _window_fold(
    "reduce_window_max",
    "max",
    np.max,
    lowest,
    jvp=lambda dxs, ys, xs, **p: (select_and_gather_add(dxs[0], xs[0], select="ge", **p),),
    doc="Maximum over each position of a sliding window; padding never wins; nan propagates.",
)
reduce_window_min = _window_fold(
    "reduce_window_min",
    "min",
    np.min,
    highest,
    jvp=lambda dxs, ys, xs, **p: (select_and_gather_add(dxs[0], xs[0], select="le", **p),),
    doc="Minimum over each position of a sliding window; padding never wins; nan propagates.",
)


# ---- the place of the extremum: gather there and scatter there -----------------------------------


def winners(x: Any, select: str, p: dict[str, Any]) -> tuple[Any, Any]:
    """Flat index into ``x`` of the extremum of every window, and whether it lies in ``x``."""
    wide = x.astype(np.float32) if kind(x.dtype) == "f" and x.dtype.itemsize == 2 else x
    view = sliding(wide, fill_of(select, wide.dtype), p)
    positions = view.shape[: x.ndim]
    inside = np.ones(positions, np.bool_)
    flat = np.zeros(positions, np.int64)
    if 0 in positions:
        return flat, inside
    places = view.reshape((*positions, -1))
    best = places.argmax(-1) if select == "ge" else places.argmin(-1)
    offsets = np.unravel_index(best, p["window_dimensions"]) if x.ndim else ()
    for axis, offset in enumerate(offsets):
        starts = np.arange(positions[axis]) * p["window_strides"][axis]
        starts = starts.reshape([-1 if k == axis else 1 for k in range(x.ndim)])
        at = starts + offset * p["window_dilation"][axis] - p["padding"][axis][0]
        at, between = np.divmod(at, p["base_dilation"][axis])
        inside &= (between == 0) & (at >= 0) & (at < x.shape[axis])
        flat = flat * x.shape[axis] + at
    return np.where(inside, flat, 0), inside


def _numpy_gather_add(tangents: Any, operand: Any, *, select: str, **p: Any) -> Any:
    flat, inside = winners(operand, select, p)
    if tangents.size == 0:
        return np.zeros(flat.shape, tangents.dtype)
    return np.where(inside, tangents.reshape(-1)[flat], tangents.dtype.type(0))


def _numpy_scatter_add(source: Any, operand: Any, *, select: str, **p: Any) -> Any:
    flat, inside = winners(operand, select, p)
    total = np.zeros(operand.size, source.dtype)
    np.add.at(total, flat[inside], source[inside])
    return total.reshape(operand.shape)


def _choose(condition: Expr, on_true: Expr, on_false: Expr) -> Expr:
    return Op("select", (condition, on_true, on_false), on_true.dtype)


def _element_gather_add(xs: Any, index: Any, *, select: str, **p: Any) -> Expr:
    tangents, operand = xs
    check_length("select_and_gather_add", 2 * prod(p["window_dimensions"]))
    fill = Const(fill_of(select, operand.type.dtype), short(operand.type.dtype))
    values = reads(operand, index, fill, p)
    parts = reads(tangents, index, Const(_zero(tangents), short(tangents.type.dtype)), p)
    best, found = values[0], parts[0]
    for value, part in zip(values[1:], parts[1:], strict=True):
        wins = beats(value, best, select)
        best, found = _choose(wins, value, best), _choose(wins, part, found)
    return found


def _zero(x: Any) -> Any:
    return x.type.dtype.type(0).item()


def _candidates(i: Expr, n: int, axis: int, p: dict[str, Any]) -> list[tuple[Expr, Expr, Any]]:
    """Windows over element ``i`` of an axis: (window, offset of the element in it, condition)."""
    stride, dilation = p["window_strides"][axis], p["window_dilation"][axis]
    low, reach = p["padding"][axis][0], covered(p)[axis]
    lift = -(-max(-low, 0) // stride)  # whole strides that keep the division from negative numbers
    at = iadd(imul(i, p["base_dilation"][axis]), low + lift * stride)
    found: list[tuple[Expr, Expr, Any]] = []
    for back in range(-(-reach // stride)):
        window = iadd(idiv(at, stride), -back)
        offset = isub(at, imul(window, stride)) if back else imod(at, stride)
        window = iadd(window, -lift)
        condition = both(
            compare("ge", window, 0),
            compare("lt", window, n),
            compare("lt", offset, reach),
            compare("eq", imod(offset, dilation), 0) if dilation > 1 else None,
        )
        found.append((window, idiv(offset, dilation), condition))
    return found


def _element_scatter_add(xs: Any, index: Any, *, select: str, **p: Any) -> Expr:
    source, operand = xs
    axes = [
        _candidates(i, n, axis, p)
        for axis, (i, n) in enumerate(zip(index, source.type.shape, strict=True))
    ]
    sizes = p["window_dimensions"]
    check_length("select_and_scatter_add", prod(sizes) * prod(len(axis) for axis in axes))
    dtype, zero = short(source.type.dtype), Const(_zero(source), short(source.type.dtype))
    if 0 in source.type.shape:
        return zero
    fill = Const(fill_of(select, operand.type.dtype), short(operand.type.dtype))
    total: Expr = zero
    for choice in product(*axes):
        windows = tuple(window for window, _, _ in choice)
        mine = layout.linear_index(tuple(offset for _, offset, _ in choice), sizes)
        valid = both(*[condition for _, _, condition in choice])
        values = reads(Guarded(operand, valid), windows, fill, p)
        best: Expr = values[0]
        winner: Expr = const(0)
        for place, value in enumerate(values[1:], 1):
            wins = beats(value, best, select)
            best, winner = _choose(wins, value, best), _choose(wins, const(place), winner)
        hit = both(valid, compare("eq", winner, mine))
        part = read_where(source, windows, hit, zero)
        total = part if total is zero else Op("add", (total, part), dtype)
    return total


class Guarded:
    """An operand that is read only where a further condition holds."""

    def __init__(self, x: Any, condition: Expr | None) -> None:
        self.x, self.type, self.condition = x, x.type, condition

    def __call__(self, index: tuple[Expr, ...], guard: Expr | None = None) -> Any:
        guard = both(self.condition, guard)
        return self.x(index) if guard is None else self.x(index, guard=guard)


def _infer_gather_add(tangents: TensorType, operand: TensorType, *, select: str, **p: Any) -> Any:
    name = "select_and_gather_add"
    if tangents.shape != operand.shape:
        raise ShapeError(f"{name}: shapes differ: {tangents.shape} and {operand.shape}")
    return tangents.with_shape(result_shape(name, operand, p))


def _infer_scatter_add(source: TensorType, operand: TensorType, *, select: str, **p: Any) -> Any:
    name = "select_and_scatter_add"
    shape = result_shape(name, operand, p)
    if source.shape != shape:
        raise ShapeError(f"{name}: the source {source} should have one element per window, {shape}")
    return source.with_shape(operand.shape)


def _batch_select(prim: Callable[[], Primitive]) -> Callable[..., Any]:
    def batch(size: int, mask: Any, xs: Any, **p: Any) -> Any:
        wide = [with_batch_axis(x, size, m) for x, m in zip(xs, mask, strict=True)]
        return prim()(*wide, **batched(p))

    return batch


def _adjoint(prim: Callable[[], Primitive]) -> Callable[..., Any]:
    def transpose(cts: Any, xs: Any, **p: Any) -> Any:
        if is_linear(xs[1]):
            raise MissingRule("the place of an extremum is not linear in the operand")
        return (prim()(cts[0], xs[1], **p), None)

    return transpose


def _first_linear(prim: Callable[[], Primitive]) -> Callable[..., Any]:
    """The jvp of both: linear in the first operand; the place of the extremum does not move."""
    return lambda dxs, ys, xs, **p: (None if dxs[0] is None else prim()(dxs[0], xs[1], **p),)


def _select_cases(scatters: bool) -> list[Any]:
    found = []
    for shape, p in window_cases():
        operand = TensorType(DTYPES["f32"], shape)
        first = operand.with_shape(result_shape("", operand, p)) if scatters else operand
        for select in ("ge", "le"):
            found.append(((first, operand), {"select": select, **p}))
    return found


select_and_gather_add = Primitive(
    "select_and_gather_add",
    params=("select", *WINDOW_PARAMS),
    infer=_infer_gather_add,
    numpy=_numpy_gather_add,
    jvp=_first_linear(lambda: select_and_gather_add),
    transpose=_adjoint(lambda: select_and_scatter_add),
    batch=_batch_select(lambda: select_and_gather_add),
    element=_element_gather_add,
    cases=lambda: _select_cases(False),
    doc='For each window, the tangent at the place of the maximum (select="ge") or minimum ("le").',
)
select_and_scatter_add = Primitive(
    "select_and_scatter_add",
    params=("select", *WINDOW_PARAMS),
    infer=_infer_scatter_add,
    numpy=_numpy_scatter_add,
    jvp=_first_linear(lambda: select_and_scatter_add),
    transpose=_adjoint(lambda: select_and_gather_add),
    batch=_batch_select(lambda: select_and_scatter_add),
    element=_element_scatter_add,
    lower=lower_select_scatter,
    lowers=lowers_select_scatter,
    cases=lambda: _select_cases(True),
    doc="Add each element of source at the place of its window's extremum; zero elsewhere.",
)
