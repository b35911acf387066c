"""Operations that move elements without computing on them: index maps, which fuse away.

    reshape(x: f32[6], new_sizes=(2, 3))                          -> f32[2,3]
    pad(x: f32[3], value: f32[], config=((1, 0, 1),))             -> f32[6]
    concatenate(x: f32[2], y: f32[3], dimension=0)                -> f32[5]

Each is linear and so has a transpose: slice and pad are each other's, the rest invert themselves.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from tracejit.errors import DTypeError, ShapeError
from tracejit.ir.build import full_like
from tracejit.ir.expr import Const, Expr, Op, const, iadd, idiv, imod, imul, isub
from tracejit.ir.graph import ConstArray, Literal, literal
from tracejit.ir.prim import Primitive, is_linear
from tracejit.ir.types import DTYPES, TensorType, short, type_of
from tracejit.ops import logic
from tracejit.ops.broadcast import broadcast_in_dim, reduce_sum, with_batch_axis
from tracejit.ops.family import linear_jvp, same_dtype

F32 = DTYPES["f32"]


# ---- helpers for rules of this and the other index-mapping files ---------------------------------


def scalar(value: Any, dtype: np.dtype) -> Literal:
    """A 0-d Literal, as ``pad`` and ``reduce`` take for their fill and initial values."""
    return literal(value, TensorType(dtype, ()))


def compare(fn: str, a: Expr, b: Expr | int) -> Expr:
    """An index comparison (``lt le gt ge eq ne``), folded where both sides are constants."""
    b = const(b) if isinstance(b, int) else b
    if isinstance(a, Const) and isinstance(b, Const):
        return Const(bool(getattr(operator, fn)(a.value, b.value)), "bool")
    return Op(fn, (a, b), "bool")


def both(*conditions: Expr | None) -> Expr | None:
    """The conjunction of conditions; None stands for one that always holds."""
    total: Expr | None = None
    for condition in conditions:
        if condition is None or condition == Const(True, "bool"):
            continue
        total = condition if total is None else Op("and", (total, condition), "bool")
    return total


def read_where(x: Any, index: tuple[Expr, ...], guard: Expr | None, otherwise: Expr) -> Expr:
    """``x[index]`` where ``guard`` holds, ``otherwise`` elsewhere; nothing is read there."""
    if guard is None:
        return x(index)
    return Op("select", (guard, x(index, guard=guard), otherwise), otherwise.dtype)


def linear_index(index: tuple[Expr, ...], shape: tuple[int, ...]) -> Expr:
    """The row-major position of ``index`` in a tensor of ``shape``."""
    flat: Expr = const(0)
    for i, n in zip(index, shape, strict=True):
        if n != 1:
            flat = iadd(imul(flat, n), i)
    return flat


def split_index(flat: Expr, shape: tuple[int, ...]) -> tuple[Expr, ...]:
    """The index of row-major position ``flat``; the inverse of ``linear_index``."""
    found: list[Expr] = [const(0)] * len(shape)
    axes = [k for k, n in enumerate(shape) if n != 1]
    for k in reversed(axes[1:]):
        found[k] = imod(flat, shape[k])
        flat = idiv(flat, shape[k])
    if axes:
        found[axes[0]] = flat
    return tuple(found)


def check_rank(name: str, x: TensorType, **params: tuple[Any, ...]) -> None:
    """Raise ShapeError unless every param has one entry per axis of ``x``."""
    for param, given in params.items():
        if len(given) != x.ndim:
            raise ShapeError(f"{name}: {param} {given} needs one entry per axis of {x}")


# ---- constant, iota ------------------------------------------------------------------------------

constant = Primitive(
    "constant",
    params=("value",),
    infer=lambda *, value: type_of(value.array),
    numpy=lambda *, value: value.array,
    jvp=lambda dxs, ys, xs, **params: (None,),
    cases=lambda: [
        ((), {"value": ConstArray(np.arange(6, dtype=np.float32).reshape(2, 3))}),
        ((), {"value": ConstArray(np.zeros((0,), np.int64))}),
    ],
    doc="An array known while compiling, held as a param (a Literal does for one repeated scalar).",
)


def _infer_iota(*, dtype: np.dtype, shape: tuple[int, ...], dimension: int) -> TensorType:
    if not 0 <= dimension < len(shape):
        raise ShapeError(f"iota: dimension {dimension} is not an axis of shape {shape}")
    if dtype == DTYPES["bool"]:
        raise DTypeError("iota: takes a numeric dtype, not bool")
    return TensorType(dtype, shape)


def _numpy_iota(*, dtype: np.dtype, shape: tuple[int, ...], dimension: int) -> Any:
    wide = [1] * len(shape)
    wide[dimension] = shape[dimension]
    counts = np.arange(shape[dimension]).astype(dtype)
    return np.broadcast_to(counts.reshape(wide), shape)


def _element_iota(xs: Any, index: Any, *, dtype: np.dtype, shape: Any, dimension: int) -> Expr:
    i = index[dimension]
    return i if short(dtype) == "i64" else Op("convert", (i,), short(dtype))


iota = Primitive(
    "iota",
    params=("dtype", "shape", "dimension"),
    infer=_infer_iota,
    numpy=_numpy_iota,
    jvp=lambda dxs, ys, xs, **params: (None,),
    element=_element_iota,
    kinds="iufc",
    cases=lambda: [
        ((), {"dtype": DTYPES["i64"], "shape": (5,), "dimension": 0}),
        ((), {"dtype": F32, "shape": (2, 3), "dimension": 1}),
        ((), {"dtype": DTYPES["u8"], "shape": (300, 1), "dimension": 0}),
        ((), {"dtype": DTYPES["i32"], "shape": (0, 3), "dimension": 0}),
    ],
    doc="The index along one axis: iota(i64, (2, 3), 1) is [[0, 1, 2], [0, 1, 2]].",
)


# ---- reshape -------------------------------------------------------------------------------------


def _infer_reshape(x: TensorType, *, new_sizes: tuple[int, ...]) -> TensorType:
    out = x.with_shape(new_sizes)
    if out.size != x.size or any(n < 0 for n in new_sizes):
        raise ShapeError(
            f"reshape: {x} has {x.size} elements, shape {tuple(new_sizes)} has {out.size}"
        )
    return out


def matching_groups(
    a: tuple[int, ...], b: tuple[int, ...]
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Axes of both in the shortest runs of equal size: (2,3,4) and (6,4) give 01|0, 2|1."""
    groups: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    i = j = 0
    while i < len(a) or j < len(b):
        left, right = [], []
        size_a = size_b = 1
        while True:
            if (size_a <= size_b and i < len(a)) or j == len(b):
                size_a *= a[i]
                left.append(i)
                i += 1
            else:
                size_b *= b[j]
                right.append(j)
                j += 1
            done = i == len(a) and j == len(b)
            if done or (size_a == size_b and left and right):
                break
        groups.append((tuple(left), tuple(right)))
    return groups


def _element_reshape(xs: Any, index: Any, *, new_sizes: tuple[int, ...]) -> Expr:
    shape = xs[0].type.shape
    where: list[Expr] = [const(0)] * len(shape)
    if 0 in shape:
        return xs[0](tuple(where))
    for ours, theirs in matching_groups(shape, new_sizes):
        flat = linear_index(tuple(index[k] for k in theirs), tuple(new_sizes[k] for k in theirs))
        parts = split_index(flat, tuple(shape[k] for k in ours))
        for axis, part in zip(ours, parts, strict=True):
            where[axis] = part
    return xs[0](tuple(where))


def _cases_reshape() -> list[Any]:
    pairs = [
        ((6,), (2, 3)),
        ((2, 3, 4), (6, 4)),
        ((2, 3, 4), (4, 6)),
        ((3, 1, 5), (1, 15, 1)),
        ((), (1, 1)),
        ((1,), ()),
        ((0, 3), (5, 0)),
    ]
    return [((TensorType(F32, a),), {"new_sizes": b}) for a, b in pairs]


reshape = Primitive(
    "reshape",
    params=("new_sizes",),
    infer=_infer_reshape,
    numpy=lambda x, *, new_sizes: x.reshape(new_sizes),
    jvp=lambda dxs, ys, xs, **params: (reshape(dxs[0], **params),),
    transpose=lambda cts, xs, *, new_sizes: (reshape(cts[0], new_sizes=xs[0].type.shape),),
    batch=lambda size, mask, xs, *, new_sizes: reshape(xs[0], new_sizes=(size, *new_sizes)),
    element=_element_reshape,
    cases=_cases_reshape,
    doc="The same elements, in row-major order, under another shape.",
)


# ---- transpose, rev ------------------------------------------------------------------------------


def inverse(permutation: tuple[int, ...]) -> tuple[int, ...]:
    """The permutation that undoes this one."""
    return tuple(permutation.index(k) for k in range(len(permutation)))


def _infer_transpose(x: TensorType, *, permutation: tuple[int, ...]) -> TensorType:
    if sorted(permutation) != list(range(x.ndim)):
        raise ShapeError(
            f"transpose: {tuple(permutation)} is not a permutation of the {x.ndim} axes of {x}"
        )
    return x.with_shape(tuple(x.shape[p] for p in permutation))


def _element_transpose(xs: Any, index: Any, *, permutation: tuple[int, ...]) -> Expr:
    return xs[0](tuple(index[k] for k in inverse(permutation)))


transpose = Primitive(
    "transpose",
    params=("permutation",),
    infer=_infer_transpose,
    numpy=lambda x, *, permutation: x.transpose(permutation),
    jvp=lambda dxs, ys, xs, **params: (transpose(dxs[0], **params),),
    transpose=lambda cts, xs, *, permutation: (
        transpose(cts[0], permutation=inverse(permutation)),
    ),
    batch=lambda size, mask, xs, *, permutation: transpose(
        xs[0], permutation=(0, *(p + 1 for p in permutation))
    ),
    element=_element_transpose,
    cases=lambda: [
        ((TensorType(F32, (2, 3)),), {"permutation": (1, 0)}),
        ((TensorType(F32, (2, 3, 4)),), {"permutation": (2, 0, 1)}),
        ((TensorType(F32, (0, 1)),), {"permutation": (1, 0)}),
        ((TensorType(F32, ()),), {"permutation": ()}),
    ],
    doc="Axis k of the result is axis permutation[k] of x.",
)


def _infer_rev(x: TensorType, *, dimensions: tuple[int, ...]) -> TensorType:
    if len(set(dimensions)) != len(dimensions) or any(not 0 <= d < x.ndim for d in dimensions):
        raise ShapeError(f"rev: dimensions {tuple(dimensions)} are not distinct axes of {x}")
    return x


def _element_rev(xs: Any, index: Any, *, dimensions: tuple[int, ...]) -> Expr:
    shape = xs[0].type.shape
    return xs[0](
        tuple(isub(shape[k] - 1, i) if k in dimensions else i for k, i in enumerate(index))
    )


rev = Primitive(
    "rev",
    params=("dimensions",),
    infer=_infer_rev,
    numpy=lambda x, *, dimensions: np.flip(x, dimensions),
    jvp=lambda dxs, ys, xs, **params: (rev(dxs[0], **params),),
    transpose=lambda cts, xs, **params: (rev(cts[0], **params),),
    batch=lambda size, mask, xs, *, dimensions: rev(
        xs[0], dimensions=tuple(d + 1 for d in dimensions)
    ),
    element=_element_rev,
    cases=lambda: [
        ((TensorType(F32, (5,)),), {"dimensions": (0,)}),
        ((TensorType(F32, (2, 3, 4)),), {"dimensions": (0, 2)}),
        ((TensorType(F32, (0, 2)),), {"dimensions": (0,)}),
        ((TensorType(F32, ()),), {"dimensions": ()}),
    ],
    doc="x with the order of elements along dimensions reversed.",
)


# ---- slice and pad -------------------------------------------------------------------------------


def _infer_slice(x: TensorType, *, start: Any, limit: Any, strides: Any) -> TensorType:
    check_rank("slice", x, start=start, limit=limit, strides=strides)
    sizes = []
    for axis, (a, b, s, n) in enumerate(zip(start, limit, strides, x.shape, strict=True)):
        if not (0 <= a <= b <= n and s >= 1):
            raise ShapeError(f"slice: {a}:{b}:{s} is not a range of axis {axis} of {x}")
        sizes.append(-(-(b - a) // s))
    return x.with_shape(tuple(sizes))


def _numpy_slice(x: Any, *, start: Any, limit: Any, strides: Any) -> Any:
    return x[tuple(slice(a, b, s) for a, b, s in zip(start, limit, strides, strict=True))]


def _transpose_slice(cts: Any, xs: Any, *, start: Any, limit: Any, strides: Any) -> Any:
    config = []
    for a, s, n, m in zip(start, strides, xs[0].type.shape, cts[0].type.shape, strict=True):
        covered = (m - 1) * s + 1 if m else 0
        config.append((a, n - a - covered, s - 1))
    return (pad(cts[0], scalar(0, cts[0].type.dtype), config=tuple(config)),)


def _batch_slice(size: int, mask: Any, xs: Any, *, start: Any, limit: Any, strides: Any) -> Any:
    return slice_(xs[0], start=(0, *start), limit=(size, *limit), strides=(1, *strides))


def _element_slice(xs: Any, index: Any, *, start: Any, limit: Any, strides: Any) -> Expr:
    return xs[0](tuple(iadd(imul(i, s), a) for i, s, a in zip(index, strides, start, strict=True)))


slice_ = Primitive(
    "slice",
    params=("start", "limit", "strides"),
    infer=_infer_slice,
    numpy=_numpy_slice,
    jvp=lambda dxs, ys, xs, **params: (slice_(dxs[0], **params),),
    transpose=_transpose_slice,
    batch=_batch_slice,
    element=_element_slice,
    cases=lambda: [
        ((TensorType(F32, (7,)),), {"start": (1,), "limit": (6,), "strides": (2,)}),
        ((TensorType(F32, (3, 5)),), {"start": (1, 0), "limit": (3, 4), "strides": (1, 3)}),
        ((TensorType(F32, (4,)),), {"start": (2,), "limit": (2,), "strides": (1,)}),
        ((TensorType(F32, ()),), {"start": (), "limit": (), "strides": ()}),
    ],
    doc="x[start:limit:strides] along every axis; bounds are within x, strides positive.",
)


def padded_size(n: int, low: int, high: int, interior: int) -> int:
    """The extent of an axis of ``n`` after padding."""
    return low + high + n + max(n - 1, 0) * interior


def _infer_pad(x: TensorType, value: TensorType, *, config: Any) -> TensorType:
    same_dtype("pad", (x, value), "biufc")
    if value.shape != ():
        raise ShapeError(f"pad: the padding value is a scalar, not {value}")
    check_rank("pad", x, config=config)
    sizes = []
    for axis, (n, (low, high, interior)) in enumerate(zip(x.shape, config, strict=True)):
        size = padded_size(n, low, high, interior)
        if interior < 0 or size < 0:
            raise ShapeError(f"pad: {(low, high, interior)} does not fit axis {axis} of {x}")
        sizes.append(size)
    return x.with_shape(tuple(sizes))


def _numpy_pad(x: Any, value: Any, *, config: Any) -> Any:
    shape = tuple(padded_size(n, *c) for n, c in zip(x.shape, config, strict=True))
    out = np.full(shape, value, x.dtype)
    source, target = [], []
    for n, m, (low, _, interior) in zip(x.shape, shape, config, strict=True):
        step = interior + 1
        first = -(low // step) if low < 0 else 0  # the first element that low < 0 does not cut off
        last = min(n, -(-(m - low) // step))  # one past the last that high < 0 does not cut off
        count = max(last - first, 0)
        source.append(slice(first, first + count))
        begin = low + first * step
        target.append(slice(begin, begin + count * step, step) if count else slice(0, 0))
    out[tuple(target)] = x[tuple(source)]
    return out


def _transpose_pad(cts: Any, xs: Any, *, config: Any) -> Any:
    ct, (x, value) = cts[0], xs
    zero = scalar(0, ct.type.dtype)
    to_x = to_value = None
    if is_linear(x):
        # undo low and high first, then keep every (interior + 1)-th element
        trimmed = pad(ct, zero, config=tuple((-low, -high, 0) for low, high, _ in config))
        to_x = slice_(
            trimmed,
            start=(0,) * len(config),
            limit=trimmed.type.shape,
            strides=tuple(interior + 1 for _, _, interior in config),
        )
    if is_linear(value):
        flags = DTYPES["bool"]
        padding = pad(full_like(x.type, False, flags), scalar(True, flags), config=config)
        part = logic.select(padding, ct, full_like(ct, 0))
        to_value = reduce_sum(part, axes=tuple(range(len(config))))
    return to_x, to_value


def _batch_pad(size: int, mask: Any, xs: Any, *, config: Any) -> Any:
    x, value = xs
    wide = ((0, 0, 0), *config)
    x = with_batch_axis(x, size, mask[0])
    if not mask[1]:
        return pad(x, value, config=wide)
    # one padding value per example: pad with zeros, then put each value where the padding is
    flags = DTYPES["bool"]
    padding = pad(full_like(x, False, flags), scalar(True, flags), config=wide)
    padded = pad(x, scalar(0, x.type.dtype), config=wide)
    values = broadcast_in_dim(value, shape=padded.type.shape, dims=(0,))
    return logic.select(padding, values, padded)


def unpadded(i: Expr, n: int, config: tuple[int, int, int]) -> tuple[Expr, Expr | None]:
    """Where index ``i`` of a padded axis lies in the axis of ``n``, and whether it does."""
    low, high, interior = config
    step = interior + 1
    # i - low, moved up by whole steps so that the division sees no negative number
    skipped = -(-low // step) if low > 0 else 0
    moved = iadd(i, skipped * step - low)
    whole = compare("eq", imod(moved, step), 0) if interior else None
    at = iadd(idiv(moved, step), -skipped)
    above = compare("ge", at, 0) if low > 0 else None
    below = compare("lt", at, n) if high > 0 or n == 0 else None
    return at, both(whole, above, below)


def _element_pad(xs: Any, index: Any, *, config: Any) -> Expr:
    axes = [unpadded(i, n, c) for i, n, c in zip(index, xs[0].type.shape, config, strict=True)]
    guard = both(*[condition for _, condition in axes])
    return read_where(xs[0], tuple(at for at, _ in axes), guard, xs[1](()))


def _cases_pad() -> list[Any]:
    configs: list[Any] = [
        ((3,), ((1, 2, 0),)),
        ((3, 4), ((0, 1, 2), (2, 0, 1))),
        ((5,), ((-1, -2, 0),)),
        ((5,), ((-2, 1, 1),)),
        ((4,), ((3, -4, 1),)),
        ((0,), ((2, 1, 3),)),
        ((1, 3), ((0, 0, 0), (0, 0, 1))),
        ((), ()),
    ]
    return [
        ((TensorType(F32, shape), TensorType(F32, ())), {"config": config})
        for shape, config in configs
    ]


pad = Primitive(
    "pad",
    params=("config",),
    infer=_infer_pad,
    numpy=_numpy_pad,
    jvp=lambda dxs, ys, xs, **params: linear_jvp(lambda: pad)(dxs, ys, xs, **params),
    transpose=_transpose_pad,
    batch=_batch_pad,
    element=_element_pad,
    cases=_cases_pad,
    doc="Per axis (low, high, interior): copies of value before, after and between the elements; "
    "negative low and high cut off.",
)


# ---- concatenate ---------------------------------------------------------------------------------


def _infer_concatenate(*xs: TensorType, dimension: int) -> TensorType:
    if not xs:
        raise ShapeError("concatenate: needs at least one operand")
    same_dtype("concatenate", xs, "biufc")
    first = xs[0]
    if not 0 <= dimension < first.ndim:
        raise ShapeError(f"concatenate: dimension {dimension} is not an axis of {first}")
    for x in xs[1:]:
        rest = [n for k, n in enumerate(x.shape) if k != dimension]
        if x.ndim != first.ndim or rest != [n for k, n in enumerate(first.shape) if k != dimension]:
            raise ShapeError(
                f"concatenate: {first} and {x} differ in another axis than {dimension}"
            )
    total = sum(x.shape[dimension] for x in xs)
    return first.with_shape((*first.shape[:dimension], total, *first.shape[dimension + 1 :]))


def _transpose_concatenate(cts: Any, xs: Any, *, dimension: int) -> Any:
    ct = cts[0]
    found: list[Any] = []
    offset = 0
    for x in xs:
        n = x.type.shape[dimension]
        if is_linear(x):
            start, limit = [0] * ct.type.ndim, list(ct.type.shape)
            start[dimension], limit[dimension] = offset, offset + n
            strides = (1,) * ct.type.ndim
            found.append(slice_(ct, start=tuple(start), limit=tuple(limit), strides=strides))
        else:
            found.append(None)
        offset += n
    return tuple(found)


def _element_concatenate(xs: Any, index: Any, *, dimension: int) -> Expr:
    i = index[dimension]
    offset = 0
    pieces: list[tuple[Any, int, int]] = []
    for x in xs:
        n = x.type.shape[dimension]
        if n:
            pieces.append((x, offset, offset + n))
        offset += n
    if not pieces:
        return xs[0](index)
    found: Expr | None = None
    for x, begin, end in reversed(pieces):
        where = (*index[:dimension], iadd(i, -begin), *index[dimension + 1 :])
        not_before = compare("ge", i, begin) if begin else None
        not_after = compare("lt", i, end) if found is not None else None
        guard = both(not_before, not_after)
        here = x(where) if guard is None else x(where, guard=guard)
        found = here if found is None else Op("select", (not_after, here, found), found.dtype)
    assert found is not None
    return found


def _cases_concatenate() -> list[Any]:
    def operands(*shapes: tuple[int, ...]) -> Any:
        return tuple(TensorType(F32, shape) for shape in shapes)

    return [
        (operands((2,), (3,)), {"dimension": 0}),
        (operands((2, 3), (2, 1), (2, 4)), {"dimension": 1}),
        (operands((0, 2), (3, 2)), {"dimension": 0}),
        (operands((0,), (0,)), {"dimension": 0}),
        (operands((4, 1)), {"dimension": 1}),
    ]


concatenate = Primitive(
    "concatenate",
    params=("dimension",),
    infer=_infer_concatenate,
    numpy=lambda *xs, dimension: np.concatenate(xs, axis=dimension),
    jvp=lambda dxs, ys, xs, **params: linear_jvp(lambda: concatenate)(dxs, ys, xs, **params),
    transpose=_transpose_concatenate,
    batch=lambda size, mask, xs, *, dimension: concatenate(
        *[with_batch_axis(x, size, m) for x, m in zip(xs, mask, strict=True)],
        dimension=dimension + 1,
    ),
    element=_element_concatenate,
    cases=_cases_concatenate,
    doc="The operands one after the other along an axis.",
)
