"""Kernels of reductions that are no plain folds: argmax, argmin, and folds of a scalar graph.

    lower_arg_extremum("max")(k, (x,), (y,), axes=(1,), index_dtype=int64)

Along a row: the extremum of every block, then the place of the first such element in the best
block. Along another axis: lanes side by side, each with its best so far.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from math import prod
from typing import Any

from tracejit.ir.expr import Const, Expr, Op, Var, iadd, imul, walk
from tracejit.ir.graph import Atom, Graph, Literal, Value
from tracejit.ir.types import TensorType, kind, short
from tracejit.ops.lower_parts import (
    arithmetic_dtype,
    lane_axes,
    lane_width,
    rows_and_lanes,
    spread,
)
from tracejit.record import dataclass

#: elements whose extremum is taken before looking where it is
BLOCK = 256
#: results that are worth a vector
FULL = 8


def lower_arg_extremum(which: str, identity: Callable[..., Any]) -> Callable[..., None]:
    """The rule of argmax ("max") or argmin ("min"); ``identity(dtype)`` is that of the fold."""

    def lower(k: Any, xs: Any, outs: Any, *, axes: tuple[int, ...], index_dtype: Any) -> None:
        (x,), (y,), (axis,) = xs, outs, axes
        shape = x.type.shape
        if prod(shape[axis + 1 :]) > 1:
            _by_lanes(k, x, y, axis, which)
        else:
            _by_rows(k, x, y, axis, which, identity(x.type.dtype))

    return lower


def _better(k: Any, which: str, type: TensorType, a: Expr, b: Expr) -> Expr:
    """Whether ``a`` beats ``b``: a nan beats every number, and nothing beats it."""
    beats = k.op("gt" if which == "max" else "lt", a, b)
    if kind(type.dtype) != "f":
        return beats  # type: ignore[no-any-return]
    return k.op("or", beats, k.op("and", k.op("ne", a, a), k.op("eq", b, b)))  # type: ignore[no-any-return]


def _computed(k: Any, x: Any) -> tuple[str, Callable[[Any], Expr]]:
    """The dtype extrema of ``x`` are taken in, and its elements in it."""
    dtype = "u8" if x.dtype == "bool" else arithmetic_dtype(x.type)
    return dtype, lambda index: k.op("convert", x(index), dtype=dtype)


def _by_rows(k: Any, x: Any, y: Any, axis: int, which: str, identity: Any) -> None:
    n, dtype, read = x.type.shape[axis], *_computed(k, x)
    width = lane_width(k, x.type)
    ones = (0,) * (x.type.ndim - axis - 1)
    with spread(k, x.type.shape[:axis]) as row:
        best = k.local(dtype, int(identity) if dtype == "u8" else identity, "best")
        place = k.local("i64", 0, "place")
        with k.loop("seq", -(-n // BLOCK), name="b") as b:
            start = k.local("i64", imul(b, BLOCK), "start")
            stop = k.op("min", iadd(start, BLOCK), x.shape[axis])
            top = k.local(dtype, int(identity) if dtype == "u8" else identity, "top")
            with k.loop("vec", stop, start, width=width, unroll=4) as j:
                k.accumulate(top, which, read((*row, j, *ones)))
            with k.when(_better(k, which, x.type, top, best)):
                k.set(best, top)
                k.set(place, start)
        first = k.local("i64", n, "first")
        stop = k.op("min", iadd(place, BLOCK), x.shape[axis])
        with k.loop("vec", stop, place, width=width, unroll=2) as j:
            value = read((*row, j, *ones))
            found = k.op("eq", value, best)
            if kind(x.type.dtype) == "f":
                both = k.op("and", k.op("ne", value, value), k.op("ne", best, best))
                found = k.op("or", found, both)
            k.accumulate(first, "min", k.op("select", found, j, n))
        k.store(y, (*row, *ones), k.op("convert", first, dtype=y.dtype))


def _by_lanes(k: Any, x: Any, y: Any, axis: int, which: str) -> None:
    shape, (_, read) = x.type.shape, _computed(k, x)
    at = lane_axes(shape, axis + 1)
    outer = (*shape[:axis], *shape[axis + 1 : at])
    width = lane_width(k, x.type)
    with rows_and_lanes(k, outer, shape[at:], width, 4) as (row, lane):
        before, after = row[:axis], (*row[axis:], *lane)
        best = k.local(_computed(k, x)[0], read((*before, 0, *after)), "best")
        place = k.local("i64", 0, "place")
        with k.loop("seq", x.shape[axis], start=1, name="i") as i:
            value = k.local(best.dtype, read((*before, i, *after)), "value")
            better = k.local("bool", _better(k, which, x.type, value, best), "better")
            k.set(best, k.op("select", better, value, best))
            k.set(place, k.op("select", better, i, place))
        k.store(y, (*before, *after), k.op("convert", place, dtype=y.dtype))


# ---- folds of a scalar graph ---------------------------------------------------------------------


@dataclass(frozen=True)
class Known:
    """An operand of an element rule whose one element is an expression."""

    type: TensorType
    expr: Expr

    @property
    def dtype(self) -> str:
        return short(self.type.dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        return ()

    def __call__(self, index: Sequence[Expr | int], guard: Expr | None = None) -> Expr:
        return self.expr


def scalar_results(graph: Graph, args: Sequence[Expr]) -> tuple[Expr, ...] | None:
    """The results of a graph of scalars as expressions, or None.

    None: some operation has no such form, or may fail, which a fold does not report.
    """
    env: dict[Value, Expr] = dict(zip(graph.inputs, args, strict=True))

    def read(x: Atom) -> Expr:
        return env[x] if isinstance(x, Value) else constant(x)

    for node in graph.nodes:
        types = [*(x.type for x in node.inputs), *(y.type for y in node.outputs)]
        if node.prim.name == "constant" and not types[-1].shape:
            value = node.params["value"].array[()]
            env[node.outputs[0]] = constant(Literal(value, types[-1]))
            continue
        if node.prim.element is None or any(t.shape or kind(t.dtype) == "c" for t in types):
            return None
        found = node.prim.element([Known(x.type, read(x)) for x in node.inputs], (), **node.params)
        env.update(zip(node.outputs, found if isinstance(found, tuple) else (found,), strict=True))
    outs = tuple(read(x) for x in graph.outputs)
    checks = any(isinstance(e, Op) and e.fn == "check_index" for out in outs for e in walk(out))
    return None if checks else outs


def constant(x: Literal) -> Expr:
    """The scalar of a Literal."""
    return Const(x.value.item(), short(x.type.dtype))


def lowers_fold(*types: TensorType, computation: Graph, axes: tuple[int, ...]) -> bool:
    """Whether the computation is a few scalar operations."""
    if any(kind(t.dtype) == "c" for t in types):
        return False
    args = [Var(f"a{k}", short(v.type.dtype)) for k, v in enumerate(computation.inputs)]
    return scalar_results(computation, args) is not None


def lower_fold(k: Any, xs: Any, outs: Any, *, computation: Graph, axes: tuple[int, ...]) -> None:
    """The rule of the general reduce: results side by side in lanes, each folded in order."""
    operands, inits = xs[: len(outs)], xs[len(outs) :]
    shape = operands[0].type.shape
    kept = [axis for axis in range(len(shape)) if axis not in axes]
    extents = [shape[axis] for axis in kept]

    def fold(index: tuple[Expr, ...]) -> None:
        place: dict[int, Expr] = dict(zip(kept, index, strict=True))
        states = [k.local(init.dtype, init(()), "state") for init in inits]
        with ExitStack() as stack:
            for axis in sorted(axes):
                place[axis] = stack.enter_context(k.loop("seq", shape[axis]))
            at = tuple(place[axis] for axis in range(len(shape)))
            values = [k.local(x.dtype, x(at), "value") for x in operands]
            found = scalar_results(computation, [*states, *values]) or ()
            news = [k.local(e.dtype, e, "new") for e in found]
            for state, new in zip(states, news, strict=True):
                k.set(state, new)
        for y, state in zip(outs, states, strict=True):
            k.store(y, index, state)

    if prod(extents) < FULL:
        with spread(k, extents) as index:
            fold(index)
        return
    split = len(extents) - 1 if extents[-1] >= FULL else 0
    width = lane_width(k, *(x.type for x in operands))
    with rows_and_lanes(k, extents[:split], extents[split:], width, 2) as (outer, lane):
        fold((*outer, *lane))
