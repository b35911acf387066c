"""Rules for reductions, contractions and reads at known positions.

reduce_max(x, axes=())                  ->  x
dot_general(transpose(x), y, ...)       ->  dot_general(x, y, ...) with other dimension numbers
gather(x, 3, ...)                       ->  slice(x, ...)
dynamic_slice(x, 2, ...)                ->  slice(x, ...)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tracejit.ir.build import full_like
from tracejit.ir.graph import Atom, ConstArray, Literal, literal
from tracejit.ir.prim import Primitive
from tracejit.ir.types import DTYPES, TensorType, kind
from tracejit.ops.arith import add, mul
from tracejit.ops.broadcast import broadcast_in_dim, dropped, reduce_sum
from tracejit.ops.dot import DimensionNumbers, dot_general, free_axes
from tracejit.ops.dynamic import dynamic_slice, dynamic_update_slice
from tracejit.ops.indexing import gather, gather_params, gather_windows
from tracejit.ops.layout import constant, reshape, scalar, slice_, transpose
from tracejit.ops.reduce import (
    reduce_and,
    reduce_max,
    reduce_min,
    reduce_or,
    reduce_prod,
    reduce_xor,
)
from tracejit.passes.rule import Case, Const, Hole, P, Rest, Rule, case
from tracejit.passes.rules_layout import repeated

x, y, n = Hole("x"), Hole("y"), Const("n")
axes, dims, shape, p = Hole("axes"), Hole("dims"), Hole("shape"), Hole("p")
numbers, element, sizes = Hole("numbers"), Hole("element"), Hole("sizes")
starts, update, array = Rest("starts"), Hole("update"), Hole("array")
Axes = tuple[int, ...]

#: reductions of equal elements that give that element
_IDEMPOTENT = (reduce_max, reduce_min, reduce_and, reduce_or)
_WHOLE_X = Hole("x", "biu")


# ---- reductions ----------------------------------------------------------------------------------


def of_ones(x: Atom, axes: Axes) -> bool:
    """Whether all axes to be reduced have one element."""
    return all(x.type.shape[a] == 1 for a in axes)


def without(x: Any, axes: Axes) -> Any:
    """``x`` without ``axes`` of extent 1."""
    return reshape(x, new_sizes=dropped(x.type.shape, axes)) if axes else x


def sum_of_ones(x: Any, axes: Axes) -> Any:
    """A sum starts from 0.0, which makes 0.0 of -0.0."""
    return without(add(x, 0.0) if kind(x.type.dtype) == "f" else x, axes)


def repeats(x: Atom, shape: Axes, dims: Axes, axes: Axes) -> int | None:
    """How often each element of ``x`` is reduced; None where own axes of it are."""
    return None if set(axes) & set(dims) else int(np.prod([shape[a] for a in axes], dtype=np.int64))


def broadcast_rest(x: Any, shape: Axes, dims: Axes, axes: Axes) -> Any:
    """The broadcast without the reduced axes."""
    kept = [d for d in range(len(shape)) if d not in axes]
    where = tuple(kept.index(d) for d in dims)
    return broadcast_in_dim(x, shape=tuple(shape[d] for d in kept), dims=where)


def reduce_broadcast(x: Any, shape: Axes, dims: Axes, axes: Axes) -> Any:
    return broadcast_rest(x, shape, dims, axes) if repeats(x, shape, dims, axes) else None


def sum_broadcast(x: Any, shape: Axes, dims: Axes, axes: Axes) -> Any:
    """Integers wrap: a sum of equal ones is a product."""
    count = repeats(x, shape, dims, axes)
    if count is None:
        return None
    rest = broadcast_rest(x, shape, dims, axes)
    wrapped = np.asarray(count, np.int64).astype(x.type.dtype)
    return mul(rest, literal(wrapped, rest.type))


def reduce_literal(n: Literal, axes: Axes) -> Literal | None:
    rest = dropped(n.type.shape, axes)
    return repeated(n, rest) if 0 not in [n.type.shape[a] for a in axes] else None


def _idempotent_rules(prim: Primitive) -> tuple[Rule, ...]:
    dtype = "i32" if "b" in prim.kinds and "f" not in prim.kinds else "f32"
    return (
        Rule(
            f"{prim.name}_literal",
            find=P(prim, n, axes=axes),
            put=reduce_literal,
            cases=(case(f"{dtype}[2,3]", lambda x: prim(full_like(x, 2), axes=(0,))),),
        ),
        Rule(
            f"{prim.name}_broadcast",
            find=P(prim, P(broadcast_in_dim, x, shape=shape, dims=dims), axes=axes),
            put=reduce_broadcast,
            cases=(
                case(
                    f"{dtype}[3]",
                    lambda x: prim(broadcast_in_dim(x, shape=(2, 3, 4), dims=(1,)), axes=(0, 2)),
                ),
                case(
                    f"{dtype}[3]",
                    lambda x: prim(broadcast_in_dim(x, shape=(2, 3, 4), dims=(1,)), axes=(0,)),
                ),
            ),
        ),
    )


def _of_ones_rule(prim: Primitive) -> Rule:
    dtype = "f32" if "f" in prim.kinds else "i32"
    return Rule(
        f"{prim.name}_of_ones",
        find=P(prim, x, axes=axes),
        put=without,
        when=of_ones,
        cases=(
            case(f"{dtype}[2,1,3]", lambda x: prim(x, axes=(1,))),
            case(f"{dtype}[2,3]", lambda x: prim(x, axes=())),
        ),
    )


REDUCTIONS = (
    *(rule for prim in _IDEMPOTENT for rule in _idempotent_rules(prim)),
    *(_of_ones_rule(prim) for prim in (*_IDEMPOTENT, reduce_prod, reduce_xor)),
    Rule(
        "reduce_sum_of_ones",
        find=P(reduce_sum, Hole("x", "biuf"), axes=axes),
        put=sum_of_ones,
        when=of_ones,
        cases=(
            case("f32[2,1,3]", lambda x: reduce_sum(x, axes=(1,))),
            case("bf16[2,1,3]", lambda x: reduce_sum(x, axes=())),
            case("i32[2,3]", lambda x: reduce_sum(x, axes=())),
        ),
    ),
    Rule(
        "reduce_sum_broadcast",
        find=P(
            reduce_sum,
            P(broadcast_in_dim, Hole("x", "iu"), shape=shape, dims=dims),
            axes=axes,
        ),
        put=sum_broadcast,
        cases=(
            case(
                "i32[3]",
                lambda x: reduce_sum(broadcast_in_dim(x, shape=(300, 3), dims=(1,)), axes=(0,)),
            ),
            case(
                "u8[3]",
                lambda x: reduce_sum(broadcast_in_dim(x, shape=(300, 3), dims=(1,)), axes=(0,)),
            ),
        ),
    ),
    Rule(
        "reduce_sum_sum_integer",
        find=P(reduce_sum, P(reduce_sum, _WHOLE_X, axes=p), axes=axes),
        put=lambda x, p, axes: reduce_sum(x, axes=joined(x, p, axes)),
        cases=(
            case("i32[2,3,4]", lambda x: reduce_sum(reduce_sum(x, axes=(1,)), axes=(1,))),
            case("bool[2,3,4]", lambda x: reduce_sum(reduce_sum(x, axes=(0,)), axes=(1,))),
        ),
    ),
)


def joined(x: Atom, first: Axes, second: Axes) -> Axes:
    """The axes of ``x`` that two reductions in turn remove."""
    kept = [a for a in range(x.type.ndim) if a not in first]
    return tuple(sorted((*first, *(kept[a] for a in second))))


# ---- contractions --------------------------------------------------------------------------------


def through_transpose(x: Atom, p: Axes, numbers: DimensionNumbers, side: int) -> Any:
    """The numbers for ``x`` without its transpose; None where its free axes change order."""
    contract, batch = numbers
    free = [p[axis] for axis in free_axes(x.type.ndim, contract[side], batch[side])]
    if free != sorted(free):
        return None
    found = []
    for pair in numbers:
        mine = tuple(p[axis] for axis in pair[side])
        found.append((mine, pair[1]) if side == 0 else (pair[0], mine))
    return tuple(found)


def dot_of_transpose(x: Any, y: Any, p: Axes, numbers: DimensionNumbers, element: Any) -> Any:
    found = through_transpose(x, p, numbers, 0)
    if found is None:
        return None
    return dot_general(x, y, dimension_numbers=found, preferred_element_type=element)


def dot_with_transpose(x: Any, y: Any, p: Axes, numbers: DimensionNumbers, element: Any) -> Any:
    found = through_transpose(y, p, numbers, 1)
    if found is None:
        return None
    return dot_general(x, y, dimension_numbers=found, preferred_element_type=element)


def product(x: Any, y: Any, contract: Any, batch: Any = ((), ())) -> Any:
    return dot_general(x, y, dimension_numbers=(contract, batch), preferred_element_type=None)


CONTRACTIONS = (
    Rule(
        "dot_left_transpose",
        find=P(
            dot_general,
            P(transpose, x, permutation=p),
            y,
            dimension_numbers=numbers,
            preferred_element_type=element,
        ),
        put=dot_of_transpose,
        cases=(
            case(
                "i32[4,3]",
                "i32[4,5]",
                lambda x, y: product(transpose(x, permutation=(1, 0)), y, ((1,), (0,))),
            ),
            case(
                "f32[4,2,3]",
                "f32[2,4,5]",
                lambda x, y: product(
                    transpose(x, permutation=(1, 2, 0)), y, ((2,), (1,)), ((0,), (0,))
                ),
            ),
        ),
    ),
    Rule(
        "dot_right_transpose",
        find=P(
            dot_general,
            x,
            P(transpose, y, permutation=p),
            dimension_numbers=numbers,
            preferred_element_type=element,
        ),
        put=dot_with_transpose,
        cases=(
            case(
                "f32[3,4]",
                "f32[5,4]",
                lambda x, y: product(x, transpose(y, permutation=(1, 0)), ((1,), (0,))),
            ),
        ),
    ),
)


# ---- reads at known positions --------------------------------------------------------------------


def clamped(x: Atom, starts: tuple[Atom, ...], sizes: Axes) -> Axes | None:
    """The starts as ``dynamic_slice`` takes them, where all are known or have no choice."""
    found = []
    for start, size, extent in zip(starts, sizes, x.type.shape, strict=True):
        if size == extent:
            found.append(0)
        elif isinstance(start, Literal):
            found.append(min(max(int(start.value), 0), extent - size))
        else:
            return None
    return tuple(found)


def static_slice(x: Any, starts: tuple[Atom, ...], sizes: Axes) -> Any:
    begin = clamped(x, starts, sizes)
    if begin is None:
        return None
    end = tuple(b + s for b, s in zip(begin, sizes, strict=True))
    return slice_(x, start=begin, limit=end, strides=(1,) * len(begin))


def update_everything(x: Atom, update: Any, starts: tuple[Atom, ...]) -> Any:
    return update if update.type == x.type else (x if update.type.size == 0 else None)


def gather_at(x: Any, indices: np.ndarray, params: dict[str, Any]) -> Any:
    """A gather of one window at a known position inside x."""
    windows = gather_windows(x.type, params)
    if indices[..., :1].size != 1 or windows.batching:
        return None
    begin = [0] * x.type.ndim
    for axis, start in zip(windows.start_map, indices.reshape(-1), strict=True):
        last = windows.last_start(axis)
        at = int(start)
        if params["mode"] == "clip":
            at = min(max(at, 0), last)
        if not 0 <= at <= last:
            return None
        begin[axis] = at
    end = tuple(b + s for b, s in zip(begin, windows.sizes, strict=True))
    window = slice_(x, start=tuple(begin), limit=end, strides=(1,) * len(begin))
    lead = indices.ndim - 1
    shape = tuple(windows.sizes[k] for k in windows.visible)
    dims = iter(shape)
    offsets = params["offset_dims"]
    wide = tuple(next(dims) if d in offsets else 1 for d in range(lead + len(shape)))
    return reshape(window, new_sizes=wide)


_GATHER = {name: Hole(name) for name in gather.params}


def gather_literal_index(x: Any, n: Literal, **params: Any) -> Any:
    if n.type.size > x.type.ndim + 1:
        return None
    return gather_at(x, np.broadcast_to(n.value, n.type.shape), params)


def gather_constant_index(x: Any, array: ConstArray, **params: Any) -> Any:
    return gather_at(x, array.array, params)


def gather_from_literal(n: Literal, y: Any, **params: Any) -> Any:
    """Every element is the same; in modes "error" and "fill" the indices still matter."""
    if params["mode"] not in ("clip", "promise"):
        return None
    out = gather.infer(n.type, y.type, **params)
    return repeated(n, out.shape)


def _row(mode: str = "error") -> dict[str, Any]:
    return gather_params((0,), (0,), (0,), (1, 4), mode=mode)


def _constant_row_case() -> Case:
    place = ConstArray(np.asarray([1, 2], np.int64))
    params = gather_params((0,), (1,), (0, 1), (2, 1), mode="error")
    return case("f32[5,4]", lambda x: gather(x, constant(value=place), **params))


_I64 = DTYPES["i64"]

READS = (
    Rule(
        "dynamic_slice_literal",
        find=P(dynamic_slice, n, starts, sizes=sizes),
        put=lambda n, starts, sizes: repeated(n, sizes),
        cases=(case("i32[]", lambda i: dynamic_slice(scalars(2, (5,)), i, sizes=(2,))),),
    ),
    Rule(
        "dynamic_slice_known",
        find=P(dynamic_slice, x, starts, sizes=sizes),
        put=static_slice,
        cases=(
            case(
                "f32[5,4]",
                "i32[]",
                lambda x, i: dynamic_slice(x, scalar(2, _I64), i, sizes=(2, 4)),
            ),
            case("f32[5]", lambda x: dynamic_slice(x, scalar(7, _I64), sizes=(3,))),
        ),
    ),
    Rule(
        "dynamic_update_everything",
        find=P(dynamic_update_slice, x, update, starts),
        put=update_everything,
        cases=(
            case("f32[4]", "f32[4]", "i32[]", lambda x, y, i: dynamic_update_slice(x, y, i)),
            case("f32[4]", "f32[0]", "i32[]", lambda x, y, i: dynamic_update_slice(x, y, i)),
        ),
    ),
    Rule(
        "gather_literal_index",
        find=P(gather, x, Const("n", "iu"), **_GATHER),
        put=gather_literal_index,
        cases=(
            case("f32[5,4]", lambda x: gather(x, scalars(3, (1,), _I64), **_row())),
            case("f32[5,4]", lambda x: gather(x, scalars(9, (1,), _I64), **_row("clip"))),
        ),
    ),
    Rule(
        "gather_constant_index",
        find=P(gather, x, P(constant, value=array), **_GATHER),
        put=gather_constant_index,
        cases=(_constant_row_case(),),
    ),
    Rule(
        "gather_from_literal",
        find=P(gather, n, y, **_GATHER),
        put=gather_from_literal,
        cases=(case("i64[1]", lambda i: gather(scalars(2, (5, 4)), i, **_row("clip"))),),
    ),
)


def scalars(value: Any, shape: Axes, dtype: np.dtype = DTYPES["f32"]) -> Literal:
    """A Literal of any shape."""
    return literal(value, TensorType(dtype, shape))


RULES = (*REDUCTIONS, *CONTRACTIONS, *READS)
