"""Reductions other than the sum: product, extrema, logic, arg-extrema, and folds of a user's graph.

    reduce_max(x: f32[2,3], axes=(1,))                             -> f32[2]
    argmax(x: f32[2,3], axes=(1,), index_dtype=int64)              -> i64[2]
    reduce(x: f32[2,3], init: f32[], computation=graph, axes=(0,)) -> f32[3]

An empty axis gives the identity of the operation (lowest value for the maximum), as in JAX.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import ml_dtypes
import numpy as np

from tracejit.errors import MissingRule, ShapeError
from tracejit.ir import interp
from tracejit.ir.build import building, full_like, subst
from tracejit.ir.graph import Atom, Graph, Value
from tracejit.ir.prim import Partly, Primitive, Reduce
from tracejit.ir.types import DTYPES, TensorType, kind
from tracejit.ops import arith, layout, logic, parts
from tracejit.ops.broadcast import (
    broadcast_in_dim,
    check_axes,
    dropped,
    infer_reduced,
    reduce_sum,
    reduction_cases,
    shifted,
    with_batch_axis,
)
from tracejit.ops.family import quiet, same_dtype, same_shape
from tracejit.ops.lower_reduce import lower_arg_extremum, lower_fold, lowers_fold


def lowest(dtype: np.dtype) -> bool | int | float:
    """The identity of max: -inf, the lowest integer, or False."""
    if kind(dtype) == "f":
        return float("-inf")
    return False if kind(dtype) == "b" else int(np.iinfo(dtype).min)


def highest(dtype: np.dtype) -> bool | int | float:
    """The identity of min: inf, the highest integer, or True."""
    if kind(dtype) == "f":
        return float("inf")
    return True if kind(dtype) == "b" else int(np.iinfo(dtype).max)


def all_bits(dtype: np.dtype) -> bool | int:
    """The identity of and: every bit set."""
    if kind(dtype) == "b":
        return True
    return -1 if kind(dtype) == "i" else int(np.iinfo(dtype).max)


def back_to(x: Any, axes: tuple[int, ...], shape: tuple[int, ...]) -> Any:
    """A reduced tensor repeated along the ``axes`` that were reduced."""
    kept = tuple(a for a in range(len(shape)) if a not in axes)
    return broadcast_in_dim(x, shape=shape, dims=kept)


def infer_kinds(name: str, kinds: str) -> Callable[..., TensorType]:
    """The infer rule of a reduction that takes dtypes of ``kinds`` only."""

    def infer(x: TensorType, *, axes: tuple[int, ...]) -> TensorType:
        same_dtype(name, (x,), kinds)
        return infer_reduced(name)(x, axes=axes)  # type: ignore[no-any-return]

    return infer


def folding(
    name: str,
    numpy: Callable[..., Any],
    fold: Reduce,
    *,
    jvp: Callable[..., Any] | None = None,
    kinds: str = "biuf",
    dtypes: tuple[str, ...] = ("f32",),
    doc: str,
) -> Primitive:
    """A record for a reduction over ``axes`` that keeps the dtype and folds a scalar operation."""

    def cases() -> list[Any]:
        shapes = [(types[0].shape, params) for types, params in reduction_cases()]
        shapes.append(((0, 3), {"axes": (0,)}))
        return [
            ((TensorType(DTYPES[d], shape),), params) for d in dtypes for shape, params in shapes
        ]

    def batch(size: int, mask: Any, xs: Any, *, axes: tuple[int, ...]) -> Any:
        return record(xs[0], axes=shifted(axes))

    record = Primitive(
        name,
        params=("axes",),
        infer=infer_kinds(name, kinds),
        numpy=numpy,
        jvp=jvp or (lambda dxs, ys, xs, **params: (None,)),
        batch=batch,
        reduce=fold,
        kinds=kinds,
        cases=cases,
        doc=doc,
    )
    return record


# ---- product -------------------------------------------------------------------------------------


@quiet
def _numpy_prod(x: Any, *, axes: tuple[int, ...]) -> Any:
    if x.dtype == np.bool_:
        return np.all(x, axis=axes)
    half = kind(x.dtype) == "f" and x.dtype.itemsize == 2
    return np.multiply.reduce(x, axis=axes, dtype=np.float32 if half else x.dtype).astype(x.dtype)


def axes_first(x: Any, axes: tuple[int, ...]) -> Any:
    """``x`` with ``axes`` merged into one axis in front of the others."""
    kept = tuple(a for a in range(x.type.ndim) if a not in axes)
    moved = layout.transpose(x, permutation=(*axes, *kept))
    count = int(np.prod([x.type.shape[a] for a in axes], dtype=np.int64))
    return layout.reshape(moved, new_sizes=(count, *(x.type.shape[a] for a in kept)))


def _jvp_prod(dxs: Any, ys: Any, xs: Any, *, axes: tuple[int, ...]) -> Any:
    """Products of pairs, then pairs of those: no division, so zeros do no harm at any order."""
    x, dx = axes_first(xs[0], axes), axes_first(dxs[0], axes)
    rest = x.type.shape[1:]
    if x.type.shape[0] == 0:
        return (None,)
    while (n := x.type.shape[0]) > 1:
        half = n // 2
        tail = (0,) * len(rest)

        def part(t: Any, begin: int, end: int, zeros: tuple[int, ...] = tail) -> Any:
            strides = (1,) * (len(zeros) + 1)
            limit = (end, *t.type.shape[1:])
            return layout.slice_(t, start=(begin, *zeros), limit=limit, strides=strides)

        x1, x2 = part(x, 0, half), part(x, half, 2 * half)
        d1, d2 = part(dx, 0, half), part(dx, half, 2 * half)
        product = arith.mul(x1, x2)
        tangent = arith.add(arith.mul(d1, x2), arith.mul(d2, x1))
        if n % 2:
            product = layout.concatenate(product, part(x, n - 1, n), dimension=0)
            tangent = layout.concatenate(tangent, part(dx, n - 1, n), dimension=0)
        x, dx = product, tangent
    return (layout.reshape(dx, new_sizes=rest),)


reduce_prod = folding(
    "reduce_prod",
    _numpy_prod,
    Reduce("mul", lambda dtype: 1),
    jvp=_jvp_prod,
    kinds="biufc",
    dtypes=("f32", "i32", "c64"),
    doc="Product over axes; float16 and bfloat16 are multiplied in float32, integers wrap.",
)


# ---- extrema -------------------------------------------------------------------------------------


def _extreme(function: Any, identity: Callable[[np.dtype], Any]) -> Callable[..., Any]:
    def numpy(x: Any, *, axes: tuple[int, ...]) -> Any:
        found = function.reduce(x, axis=axes, initial=x.dtype.type(identity(x.dtype)))
        return np.asarray(found).astype(x.dtype, copy=False)

    return quiet(numpy)


def _jvp_extreme(dxs: Any, ys: Any, xs: Any, *, axes: tuple[int, ...]) -> Any:
    """The mean of the tangents at the places that attain the extremum."""
    x, dx, y = xs[0], dxs[0], ys[0]
    if x.type.size == 0:
        return (None,)
    at = logic.eq(x, back_to(y, axes, x.type.shape))
    chosen = logic.select(at, dx, full_like(dx, 0))
    count = reduce_sum(parts.convert(at, dtype=x.type.dtype), axes=axes)
    return (arith.div(reduce_sum(chosen, axes=axes), count),)


reduce_max = folding(
    "reduce_max",
    _extreme(np.maximum, lowest),
    Reduce("max", lowest),
    jvp=_jvp_extreme,
    dtypes=("f32", "i32", "bool"),
    doc="The largest element over axes; nan where there is one; tied elements share the tangent.",
)
reduce_min = folding(
    "reduce_min",
    _extreme(np.minimum, highest),
    Reduce("min", highest),
    jvp=_jvp_extreme,
    dtypes=("f32", "u8"),
    doc="The smallest element over axes; nan where there is one; tied elements share the tangent.",
)


# ---- logic ---------------------------------------------------------------------------------------


def _bitwise(function: Any, identity: Callable[[np.dtype], Any]) -> Callable[..., Any]:
    def numpy(x: Any, *, axes: tuple[int, ...]) -> Any:
        start = x.dtype.type(identity(x.dtype))
        return np.asarray(function.reduce(x, axis=axes, initial=start)).astype(x.dtype, copy=False)

    return numpy


reduce_and = folding(
    "reduce_and",
    _bitwise(np.bitwise_and, all_bits),
    Reduce("and", all_bits),
    kinds="biu",
    dtypes=("bool", "i32", "u8"),
    doc="Bitwise and over axes; for bool: whether all are true.",
)
reduce_or = folding(
    "reduce_or",
    _bitwise(np.bitwise_or, lambda dtype: 0),
    Reduce("or", lambda dtype: 0),
    kinds="biu",
    dtypes=("bool", "i32"),
    doc="Bitwise or over axes; for bool: whether any is true.",
)
reduce_xor = folding(
    "reduce_xor",
    _bitwise(np.bitwise_xor, lambda dtype: 0),
    Reduce("xor", lambda dtype: 0),
    kinds="biu",
    dtypes=("bool", "u8"),
    doc="Bitwise exclusive or over axes; for bool: whether an odd number is true.",
)


# ---- arg-extrema ---------------------------------------------------------------------------------


def _arg_extremum(
    name: str, function: Callable[..., Any], which: str, lower: Callable[..., None]
) -> Primitive:
    def infer(x: TensorType, *, axes: tuple[int, ...], index_dtype: np.dtype) -> TensorType:
        same_dtype(name, (x,), "biuf")
        check_axes(name, x, axes)
        if len(axes) != 1:
            raise ShapeError(f"{name}: takes one axis, not {axes}")
        if x.shape[axes[0]] == 0:
            raise ShapeError(f"{name}: axis {axes[0]} of {x} is empty")
        return TensorType(index_dtype, dropped(x.shape, axes))

    def numpy(x: Any, *, axes: tuple[int, ...], index_dtype: np.dtype) -> Any:
        x = x.astype(np.float32) if x.dtype == ml_dtypes.bfloat16 else x
        return np.asarray(function(x, axis=axes[0])).astype(index_dtype)

    def batch(size: int, mask: Any, xs: Any, *, axes: tuple[int, ...], index_dtype: Any) -> Any:
        return record(xs[0], axes=shifted(axes), index_dtype=index_dtype)

    def cases() -> list[Any]:
        i64, i32 = DTYPES["i64"], DTYPES["i32"]
        return [
            ((TensorType(DTYPES["f32"], (3, 5)),), {"axes": (1,), "index_dtype": i64}),
            ((TensorType(DTYPES["i32"], (17, 2)),), {"axes": (0,), "index_dtype": i32}),
            ((TensorType(DTYPES["bool"], (7,)),), {"axes": (0,), "index_dtype": i64}),
            ((TensorType(DTYPES["f64"], (0, 1)),), {"axes": (1,), "index_dtype": i64}),
        ]

    record = Primitive(
        name,
        params=("axes", "index_dtype"),
        infer=infer,
        numpy=numpy,
        jvp=lambda dxs, ys, xs, **params: (None,),
        batch=batch,
        lower=lower,
        kinds="biuf",
        cases=cases,
        doc=f"Where the first {which} element along an axis is; the first nan if there is one.",
    )
    return record


argmax = _arg_extremum("argmax", np.argmax, "largest", lower_arg_extremum("max", lowest))
argmin = _arg_extremum("argmin", np.argmin, "smallest", lower_arg_extremum("min", highest))


# ---- folds of a graph ----------------------------------------------------------------------------


@lru_cache(maxsize=256)
def widened(graph: Graph, size: int) -> Graph:
    """``graph`` (of scalars) on ``size`` elements at a time: every value gets an axis in front."""
    with building() as b:
        env: dict[Value, Atom] = {
            v: b.input(v.type.with_shape((size, *v.type.shape)), v.name) for v in graph.inputs
        }
        wide: set[Value] = set(graph.inputs)
        for node in graph.nodes:
            mask = tuple(isinstance(x, Value) and x in wide for x in node.inputs)
            xs = subst(node.inputs, env)
            if any(mask):
                found = node.prim.rule("batch")(size, mask, xs, **node.params)
            else:
                found = Partly(tuple_of(node.prim(*xs, **node.params)), ())
            outs = tuple_of(found.outs if isinstance(found, Partly) else found)
            batched = found.mask if isinstance(found, Partly) else (True,) * len(outs)
            env.update(zip(node.outputs, outs, strict=True))
            wide.update(v for v, m in zip(node.outputs, batched, strict=False) if m)
        outs = subst(graph.outputs, env)
        flags = [isinstance(x, Value) and x in wide for x in graph.outputs]
        wides = [with_batch_axis(x, size, flag) for x, flag in zip(outs, flags, strict=True)]
        return b.graph(wides)


def tuple_of(x: Any) -> tuple[Any, ...]:
    """What a primitive or rule returned, as a tuple."""
    return x if isinstance(x, tuple) else (x,)


def _infer_reduce(*types: TensorType, computation: Graph, axes: tuple[int, ...]) -> Any:
    if not types or len(types) % 2:
        raise ShapeError(
            f"reduce: takes as many initial values as operands, not {len(types)} in all"
        )
    count = len(types) // 2
    operands, inits = types[:count], types[count:]
    same_shape("reduce", operands)
    check_axes("reduce", operands[0], axes)
    scalars = tuple(x.with_shape(()) for x in operands)
    if tuple(inits) != scalars:
        raise ShapeError(f"reduce: the initial values must be {scalars}, not {tuple(inits)}")
    if computation.input_types != scalars * 2 or computation.output_types != scalars:
        raise ShapeError(
            f"reduce: the computation must take {scalars * 2} and give {scalars}, "
            f"not take {computation.input_types} and give {computation.output_types}"
        )
    outs = tuple(x.with_shape(dropped(x.shape, axes)) for x in operands)
    return outs if count > 1 else outs[0]


def _numpy_reduce(*arrays: Any, computation: Graph, axes: tuple[int, ...]) -> Any:
    """Neighbours are combined in pairs until one is left, all kept positions at a time."""
    count = len(arrays) // 2
    shape = arrays[0].shape
    kept = [a for a in range(len(shape)) if a not in axes]
    rest = tuple(shape[a] for a in kept)
    size = int(np.prod(rest, dtype=np.int64))
    folded = int(np.prod([shape[a] for a in axes], dtype=np.int64))
    states = [np.transpose(x, (*axes, *kept)).reshape(folded, size) for x in arrays[:count]]

    def combine(left: list[Any], right: list[Any]) -> list[Any]:
        shape = left[0].shape
        flat = [np.reshape(x, -1) for x in (*left, *right)]
        outs = interp.run(widened(computation, flat[0].size), flat)
        return [x.reshape(shape) for x in outs]

    while len(states[0]) > 1:
        even = len(states[0]) // 2 * 2
        paired = combine([x[:even:2] for x in states], [x[1:even:2] for x in states])
        states = [np.concatenate([p, x[even:]]) for p, x in zip(paired, states, strict=True)]
    start = [np.broadcast_to(init, (1, size)) for init in arrays[count:]]
    states = combine(start, states) if folded else start
    outs = tuple(np.reshape(x, rest) for x in states)
    return outs if count > 1 else outs[0]


def _batch_reduce(size: int, mask: Any, xs: Any, *, computation: Graph, axes: Any) -> Any:
    count = len(xs) // 2
    if any(mask[count:]):
        raise MissingRule("`reduce` has no batch rule for batched initial values")
    operands = [with_batch_axis(x, size, m) for x, m in zip(xs[:count], mask[:count], strict=True)]
    return reduce(*operands, *xs[count:], computation=computation, axes=shifted(axes))


def _cases_reduce() -> list[Any]:
    f32, i32 = DTYPES["f32"], DTYPES["i32"]

    def folds(*dtypes: np.dtype) -> Graph:
        with building() as b:
            left = [b.input(TensorType(d, ())) for d in dtypes]
            right = [b.input(TensorType(d, ())) for d in dtypes]
            sums = [arith.add(x, y) for x, y in zip(left, right, strict=True)]
            return b.graph(sums)

    scalar = TensorType(f32, ())
    matrix = TensorType(f32, (3, 5))
    return [
        ((matrix, scalar), {"computation": folds(f32), "axes": (0,)}),
        ((matrix, scalar), {"computation": folds(f32), "axes": (0, 1)}),
        ((TensorType(f32, (0, 2)), scalar), {"computation": folds(f32), "axes": (0,)}),
        (
            (TensorType(f32, (7,)), TensorType(i32, (7,)), scalar, TensorType(i32, ())),
            {"computation": folds(f32, i32), "axes": (0,)},
        ),
    ]


reduce = Primitive(
    "reduce",
    params=("computation", "axes"),
    infer=_infer_reduce,
    numpy=_numpy_reduce,
    batch=_batch_reduce,
    lower=lower_fold,
    lowers=lowers_fold,
    cases=_cases_reduce,
    doc="Fold an associative scalar graph over axes, for one or several operands together; "
    "each initial value must be neutral.",
)
