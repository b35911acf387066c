"""Running folds along one axis: cumsum, cumprod, cummax, cummin, cumlogsumexp.

    cumsum(x: f32[2,3], axis=1, reverse=False)   -> f32[2,3]

``reverse`` folds from the end. cumsum's adjoint is itself the other way round.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tracejit.errors import ShapeError
from tracejit.ir.build import full_like
from tracejit.ir.prim import Primitive
from tracejit.ir.types import DTYPES, TensorType, kind
from tracejit.ops import arith, indexing, layout, logic, math
from tracejit.ops.family import same_dtype
from tracejit.ops.lower_cumulative import log_add_exp, lower_running, scalar_fold
from tracejit.ops.reduce import highest, lowest

Pair = tuple[Any, Any]


def zero(dtype: np.dtype) -> int | float:
    """What a running sum begins with: -0.0, which leaves every float as it is."""
    return -0.0 if kind(dtype) == "f" else 0


def running(
    name: str,
    accumulate: Callable[..., Any],
    kinds: str,
    doc: str,
    *,
    lower: Callable[..., None],
    jvp: Callable[..., Any],
    transpose: Callable[..., Any] | None = None,
    dtypes: tuple[str, ...] = ("f32",),
) -> Primitive:
    """A record for a running fold; ``accumulate(x, axis=...)`` is its NumPy form from the front."""

    def infer(x: TensorType, *, axis: int, reverse: bool) -> TensorType:
        same_dtype(name, (x,), kinds)
        if not 0 <= axis < x.ndim:
            raise ShapeError(f"{name}: {axis} is not an axis of {x}")
        return x

    def numpy(x: Any, *, axis: int, reverse: bool) -> Any:
        # 16-bit floats are accumulated in float32
        wide = x.astype(np.float32) if kind(x.dtype) == "f" and x.dtype.itemsize == 2 else x
        with np.errstate(all="ignore"):
            if reverse:
                found = np.flip(accumulate(np.flip(wide, axis), axis=axis), axis)
            else:
                found = accumulate(wide, axis=axis)
        return found.astype(x.dtype, copy=False)

    def batch(size: int, mask: Any, xs: Any, *, axis: int, reverse: bool) -> Any:
        return record(xs[0], axis=axis + 1, reverse=reverse)

    def cases() -> list[Any]:
        shapes = [((5,), 0, False), ((3, 4), 1, True), ((3, 4), 0, False), ((1, 2), 0, True)]
        shapes += [((0, 2), 0, False), ((2, 17), 1, False)]
        return [
            ((TensorType(DTYPES[d], shape),), {"axis": axis, "reverse": reverse})
            for d in dtypes
            for shape, axis, reverse in shapes
        ]

    record = Primitive(
        name,
        params=("axis", "reverse"),
        infer=infer,
        numpy=numpy,
        jvp=jvp,
        transpose=transpose,
        batch=batch,
        lower=lower,
        kinds=kinds,
        cases=cases,
        doc=doc,
    )
    return record


def moved(x: Any, axis: int, by: int, fill: Any) -> Any:
    """``x`` shifted by ``by`` places along an axis, to its end when positive; ``fill`` enters."""
    config = tuple((by, -by, 0) if k == axis else (0, 0, 0) for k in range(x.type.ndim))
    return layout.pad(x, layout.scalar(fill, x.type.dtype), config=config)


def doubling(
    state: Pair, neutral: Pair, combine: Callable[[Pair, Pair], Pair], axis: int, reverse: bool
) -> Pair:
    """Running fold of pairs (tangent, value) in steps of 1, 2, 4; ``combine(earlier, later)``."""
    n = state[1].type.shape[axis]
    step = 1
    while step < n:
        by = -step if reverse else step
        earlier = tuple(moved(x, axis, by, fill) for x, fill in zip(state, neutral, strict=True))
        state = combine((earlier[0], earlier[1]), state)
        step *= 2
    return state


# ---- cumsum --------------------------------------------------------------------------------------

cumsum = running(
    "cumsum",
    lambda x, axis: np.cumsum(x, axis=axis, dtype=x.dtype),
    "iufc",
    "Running sum along an axis.",
    lower=lower_running(scalar_fold("add"), zero),
    jvp=lambda dxs, ys, xs, **params: (cumsum(dxs[0], **params),),
    transpose=lambda cts, xs, *, axis, reverse: (cumsum(cts[0], axis=axis, reverse=not reverse),),
    dtypes=("f32", "i32"),
)


# ---- cumprod -------------------------------------------------------------------------------------


def _combine_product(earlier: Pair, later: Pair) -> Pair:
    (d1, x1), (d2, x2) = earlier, later
    return arith.add(arith.mul(d1, x2), arith.mul(d2, x1)), arith.mul(x1, x2)


def _jvp_cumprod(dxs: Any, ys: Any, xs: Any, *, axis: int, reverse: bool) -> Any:
    """The product rule on running products of pairs: no division, so zeros do no harm."""
    tangent, _ = doubling((dxs[0], xs[0]), (0, 1), _combine_product, axis, reverse)
    return (tangent,)


cumprod = running(
    "cumprod",
    lambda x, axis: np.cumprod(x, axis=axis, dtype=x.dtype),
    "iufc",
    "Running product along an axis.",
    lower=lower_running(scalar_fold("mul"), lambda dtype: 1),
    jvp=_jvp_cumprod,
    dtypes=("f32", "u8"),
)


# ---- cummax, cummin ------------------------------------------------------------------------------


def _jvp_running_extreme(beats: Callable[..., Any]) -> Callable[..., Any]:
    """The tangent of the element that first attained the extremum."""

    def jvp(dxs: Any, ys: Any, xs: Any, *, axis: int, reverse: bool) -> Any:
        x, y = xs[0], ys[0]
        n, i64 = x.type.shape[axis], DTYPES["i64"]
        if x.type.size == 0:
            return (None,)
        places = layout.iota(dtype=i64, shape=x.type.shape, dimension=axis)
        before = moved(y, axis, -1 if reverse else 1, 0)
        first = logic.eq(places, full_like(places, n - 1 if reverse else 0))
        # a nan beats every number, and nothing beats it
        nan_starts = logic.select(logic.ne(x, x), logic.eq(before, before), full_like(first, False))
        fresh = logic.or_(logic.or_(first, beats(x, before)), nan_starts)
        if reverse:
            at = cummin(
                logic.select(fresh, places, full_like(places, n - 1)), axis=axis, reverse=True
            )
        else:
            at = cummax(logic.select(fresh, places, full_like(places, 0)), axis=axis, reverse=False)
        return (indexing.take_along(dxs[0], at, axis),)

    return jvp


cummax = running(
    "cummax",
    lambda x, axis: np.maximum.accumulate(x, axis=axis),
    "biuf",
    "Running maximum along an axis; nan from the first nan on.",
    lower=lower_running(scalar_fold("max"), lowest),
    jvp=_jvp_running_extreme(lambda x, y: logic.gt(x, y)),
    dtypes=("f32", "i32"),
)
cummin = running(
    "cummin",
    lambda x, axis: np.minimum.accumulate(x, axis=axis),
    "biuf",
    "Running minimum along an axis; nan from the first nan on.",
    lower=lower_running(scalar_fold("min"), highest),
    jvp=_jvp_running_extreme(lambda x, y: logic.lt(x, y)),
    dtypes=("f32", "u8"),
)


# ---- cumlogsumexp --------------------------------------------------------------------------------


def _zero_unless_finite(x: Any) -> Any:
    return logic.select(logic.is_finite(x), x, full_like(x, 0))


def _combine_logsumexp(earlier: Pair, later: Pair) -> Pair:
    """log(exp x1 + exp x2), and the tangents weighted by the share of each."""
    (d1, x1), (d2, x2) = earlier, later
    top = _zero_unless_finite(arith.max_(x1, x2))
    parts_sum = arith.add(math.exp(arith.sub(x1, top)), math.exp(arith.sub(x2, top)))
    total = arith.add(math.log(parts_sum), top)
    scale = _zero_unless_finite(total)
    share1 = arith.mul(d1, math.exp(arith.sub(x1, scale)))
    share2 = arith.mul(d2, math.exp(arith.sub(x2, scale)))
    return arith.add(share1, share2), total


def _jvp_cumlogsumexp(dxs: Any, ys: Any, xs: Any, *, axis: int, reverse: bool) -> Any:
    start = (dxs[0], xs[0])
    tangent, _ = doubling(start, (0, -np.inf), _combine_logsumexp, axis, reverse)
    return (tangent,)


cumlogsumexp = running(
    "cumlogsumexp",
    np.logaddexp.accumulate,
    "f",
    "Running log(sum(exp(x))) along an axis, without overflow.",
    lower=lower_running(log_add_exp, lowest, heavy=True),
    jvp=_jvp_cumlogsumexp,
)
