"""Rules for slices, pads and concatenations.

slice(slice(x, ...), ...)            ->  one slice
slice(concatenate(x, y), ...)        ->  slice(x, ...), where only x is read
concatenate(x[0:2], x[2:5])          ->  x[0:5]
"""

from __future__ import annotations

from typing import Any

from tracejit.ir.build import full_like
from tracejit.ir.graph import Atom, Literal
from tracejit.ops.broadcast import broadcast_in_dim
from tracejit.ops.layout import concatenate, pad, padded_size, scalar, slice_
from tracejit.passes.rule import Const, Hole, P, Rest, Rule, case
from tracejit.passes.rules_layout import repeated

x, n, value, parts = Hole("x"), Const("n"), Hole("value"), Rest("parts")
a, b, s = Hole("a"), Hole("b"), Hole("s")
start, limit, strides = Hole("start"), Hole("limit"), Hole("strides")
axis, config, inner, shape, dims = (
    Hole("axis"),
    Hole("config"),
    Hole("inner"),
    Hole("shape"),
    Hole("dims"),
)
Axes = tuple[int, ...]
Config = tuple[tuple[int, int, int], ...]


def extents(start: Axes, limit: Axes, strides: Axes) -> Axes:
    """The shape of a slice."""
    return tuple(-(-(e - b) // s) for b, e, s in zip(start, limit, strides, strict=True))


def with_axis(values: Axes, axis: int, value: int) -> Axes:
    """``values`` with the entry at ``axis`` replaced."""
    return (*values[:axis], value, *values[axis + 1 :])


def contiguous(x: Any, axis: int, begin: int, end: int) -> Any:
    """``x[..., begin:end, ...]`` along ``axis``."""
    shape = x.type.shape
    return slice_(
        x,
        start=with_axis((0,) * len(shape), axis, begin),
        limit=with_axis(shape, axis, end),
        strides=(1,) * len(shape),
    )


# ---- slices --------------------------------------------------------------------------------------


def is_everything(x: Atom, start: Axes, limit: Axes, strides: Axes) -> bool:
    return extents(start, limit, strides) == x.type.shape and not any(start)


def slice_slice(x: Any, a: Axes, b: Axes, s: Axes, start: Axes, limit: Axes, strides: Axes) -> Any:
    firsts, ends, steps = [], [], []
    sizes = extents(start, limit, strides)
    for first, step, begin, stride, count in zip(a, s, start, strides, sizes, strict=True):
        firsts.append(first + begin * step)
        steps.append(step * stride)
        ends.append(firsts[-1] + (count - 1) * steps[-1] + 1 if count else firsts[-1])
    # an empty slice may begin one past the end
    firsts = [min(f, m) for f, m in zip(firsts, x.type.shape, strict=True)]
    ends = [min(e, m) for e, m in zip(ends, x.type.shape, strict=True)]
    return slice_(x, start=tuple(firsts), limit=tuple(ends), strides=tuple(steps))


def slice_broadcast(
    x: Any, shape: Axes, dims: Axes, start: Axes, limit: Axes, strides: Axes
) -> Any:
    """Axes that the broadcast repeats become shorter; those of x are sliced before it."""
    sizes = extents(start, limit, strides)
    own = [k for k, d in enumerate(dims) if x.type.shape[k] == shape[d]]
    cut = [k for k in own if sizes[dims[k]] != shape[dims[k]] or start[dims[k]]]
    if cut:
        rank = range(x.type.ndim)
        x = slice_(
            x,
            start=tuple(start[dims[k]] if k in own else 0 for k in rank),
            limit=tuple(limit[dims[k]] if k in own else 1 for k in rank),
            strides=tuple(strides[dims[k]] if k in own else 1 for k in rank),
        )
    return broadcast_in_dim(x, shape=sizes, dims=dims)


def slice_concatenate(
    parts: tuple[Atom, ...], axis: int, start: Axes, limit: Axes, strides: Axes
) -> Any:
    """A slice that lies within few of the parts is taken of those."""
    count = extents(start, limit, strides)[axis]
    if count == 0:
        return None
    begin, end = start[axis], start[axis] + (count - 1) * strides[axis] + 1
    kept: list[Atom] = []
    first = offset = 0
    for part in parts:
        size = part.type.shape[axis]
        if offset < end and offset + size > begin:
            first = first if kept else offset
            kept.append(part)
        offset += size
    if len(kept) == len(parts):
        return None
    whole = kept[0] if len(kept) == 1 else concatenate(*kept, dimension=axis)
    return slice_(
        whole,
        start=with_axis(start, axis, begin - first),
        limit=with_axis(limit, axis, end - first),
        strides=strides,
    )


def slice_pad(x: Any, value: Atom, config: Config, start: Axes, limit: Axes, strides: Axes) -> Any:
    """A slice that reads no padding is a slice of x."""
    firsts, ends = [], []
    sizes = extents(start, limit, strides)
    for size, (low, _, interior), begin, step, count in zip(
        x.type.shape, config, start, strides, sizes, strict=True
    ):
        first, last = begin - low, begin - low + (count - 1) * step
        if interior or count == 0 or first < 0 or last >= size:
            return None
        firsts.append(first)
        ends.append(last + 1)
    return slice_(x, start=tuple(firsts), limit=tuple(ends), strides=strides)


SLICES = (
    Rule(
        "slice_literal",
        find=P(slice_, n, start=start, limit=limit, strides=strides),
        put=lambda n, start, limit, strides: repeated(n, extents(start, limit, strides)),
        cases=(case("f32[5]", lambda x: contiguous(full_like(x, 2), 0, 1, 3)),),
    ),
    Rule(
        "slice_everything",
        find=P(slice_, x, start=start, limit=limit, strides=strides),
        put=x,
        when=is_everything,
        cases=(
            case("f32[2,3]", lambda x: contiguous(x, 1, 0, 3)),
            case("f32[1]", lambda x: slice_(x, start=(0,), limit=(1,), strides=(3,))),
        ),
    ),
    Rule(
        "slice_slice",
        find=P(
            slice_,
            P(slice_, x, start=a, limit=b, strides=s),
            start=start,
            limit=limit,
            strides=strides,
        ),
        put=slice_slice,
        cases=(
            case("f32[9,4]", lambda x: contiguous(contiguous(x, 0, 2, 8), 0, 1, 4)),
            case("f32[9]", lambda x: contiguous(contiguous(x, 0, 2, 8), 0, 6, 6)),
            case(
                "f32[20]",
                lambda x: slice_(
                    slice_(x, start=(1,), limit=(18,), strides=(2,)),
                    start=(2,),
                    limit=(9,),
                    strides=(3,),
                ),
            ),
        ),
    ),
    Rule(
        "slice_broadcast",
        find=P(
            slice_,
            P(broadcast_in_dim, x, shape=shape, dims=dims),
            start=start,
            limit=limit,
            strides=strides,
        ),
        put=slice_broadcast,
        cases=(
            case(
                "f32[4,1]",
                lambda x: slice_(
                    broadcast_in_dim(x, shape=(2, 4, 3), dims=(1, 2)),
                    start=(0, 1, 1),
                    limit=(1, 4, 3),
                    strides=(1, 2, 1),
                ),
            ),
            case(
                "f32[]",
                lambda x: contiguous(broadcast_in_dim(x, shape=(6,), dims=()), 0, 2, 4),
            ),
        ),
    ),
    Rule(
        "slice_concatenate",
        find=P(
            slice_,
            P(concatenate, parts, dimension=axis),
            start=start,
            limit=limit,
            strides=strides,
        ),
        put=slice_concatenate,
        cases=(
            case(
                "f32[2,3]",
                "f32[2,4]",
                lambda x, y: contiguous(concatenate(x, y, dimension=1), 1, 4, 6),
            ),
            case(
                "f32[3]",
                "f32[4]",
                "f32[2]",
                lambda x, y, z: slice_(
                    concatenate(x, y, z, dimension=0), start=(4,), limit=(9,), strides=(2,)
                ),
            ),
        ),
    ),
    Rule(
        "slice_pad",
        find=P(slice_, P(pad, x, value, config=config), start=start, limit=limit, strides=strides),
        put=slice_pad,
        cases=(
            case(
                "f32[4,5]",
                "f32[]",
                lambda x, y: slice_(
                    pad(x, y, config=((1, 2, 0), (0, 3, 0))),
                    start=(2, 0),
                    limit=(5, 4),
                    strides=(1, 2),
                ),
            ),
        ),
    ),
)


# ---- pads ----------------------------------------------------------------------------------------


def pads_nothing(x: Atom, value: Atom, config: Config) -> bool:
    return all(
        low == high == 0 and (interior == 0 or size <= 1)
        for size, (low, high, interior) in zip(x.type.shape, config, strict=True)
    )


def pad_to_slice(x: Any, value: Atom, config: Config) -> Any:
    """A pad that only cuts off is a slice."""
    ends = []
    for size, (low, high, interior) in zip(x.type.shape, config, strict=True):
        if low > 0 or high > 0 or interior or size + low + high < 0:
            return None
        ends.append(size + high)
    begins = tuple(-low for low, _, _ in config)
    return slice_(x, start=begins, limit=tuple(ends), strides=(1,) * len(ends))


def pad_pad(x: Any, value: Atom, inner: Config, config: Config) -> Any:
    """Two pads outside the elements with the same value are one."""
    if any(i or min(low, high) < 0 for low, high, i in (*inner, *config)):
        return None
    both = zip(inner, config, strict=True)
    return pad(x, value, config=tuple((a[0] + b[0], a[1] + b[1], 0) for a, b in both))


def pad_of_empty(x: Any, value: Atom, config: Config) -> Any:
    """Nothing but padding."""
    if x.type.size:
        return None
    return broadcast_in_dim(value, shape=padded_shape(x, config), dims=())


def padded_shape(x: Atom, config: Config) -> Axes:
    return tuple(padded_size(size, *c) for size, c in zip(x.type.shape, config, strict=True))


def scalar_key(n: Literal) -> Any:
    """The identity of the scalar a Literal repeats."""
    return repeated(n, ()).key


PADS = (
    Rule(
        "pad_literal",
        find=P(pad, n, value, config=config),
        put=lambda n, value, config: repeated(n, padded_shape(n, config)),
        when=lambda n, value, config: scalar_key(n) == getattr(value, "key", None),
        cases=(
            case(
                "f32[2,3]",
                lambda x: pad(
                    full_like(x, 2), scalar(2, x.type.dtype), config=((1, 0, 1), (0, 0, 0))
                ),
            ),
        ),
    ),
    Rule(
        "pad_nothing",
        find=P(pad, x, value, config=config),
        put=x,
        when=pads_nothing,
        cases=(case("f32[2,1]", "f32[]", lambda x, y: pad(x, y, config=((0, 0, 0), (0, 0, 2)))),),
    ),
    Rule(
        "pad_to_slice",
        find=P(pad, x, value, config=config),
        put=pad_to_slice,
        cases=(
            case("f32[5,3]", "f32[]", lambda x, y: pad(x, y, config=((-1, -2, 0), (0, -3, 0)))),
        ),
    ),
    Rule(
        "pad_pad",
        find=P(pad, P(pad, x, value, config=inner), value, config=config),
        put=pad_pad,
        cases=(
            case(
                "f32[2,3]",
                "f32[]",
                lambda x, y: pad(
                    pad(x, y, config=((1, 0, 0), (0, 2, 0))), y, config=((1, 1, 0), (3, 0, 0))
                ),
            ),
        ),
    ),
    Rule(
        "pad_of_empty",
        find=P(pad, x, value, config=config),
        put=pad_of_empty,
        cases=(case("f32[0,2]", "f32[]", lambda x, y: pad(x, y, config=((2, 1, 0), (0, 1, 0)))),),
    ),
)


# ---- concatenations ------------------------------------------------------------------------------


def drop_empty(parts: tuple[Any, ...], axis: int) -> Any:
    kept = [part for part in parts if part.type.shape[axis]]
    if not kept or len(kept) == len(parts):
        return None
    return concatenate(*kept, dimension=axis)


def join_literals(parts: tuple[Any, ...], axis: int) -> Any:
    """Neighbours that repeat the same scalar become one."""
    kept: list[Any] = []
    for part in parts:
        last = kept[-1] if kept else None
        if (
            isinstance(part, Literal)
            and isinstance(last, Literal)
            and scalar_key(part) == scalar_key(last)
        ):
            size = last.type.shape[axis] + part.type.shape[axis]
            kept[-1] = repeated(last, with_axis(last.type.shape, axis, size))
        else:
            kept.append(part)
    return None if len(kept) == len(parts) else concatenate(*kept, dimension=axis)


def join_slices(x: Any, a: Axes, b: Axes, start: Axes, limit: Axes, s: Axes, axis: int) -> Any:
    """Two slices of the same thing, side by side."""
    same = all(k == axis or (a[k], b[k]) == (start[k], limit[k]) for k in range(len(a)))
    if not same or s[axis] != 1 or b[axis] != start[axis]:
        return None
    return slice_(x, start=a, limit=with_axis(b, axis, limit[axis]), strides=s)


CONCATENATIONS = (
    Rule(
        "concatenate_one",
        find=P(concatenate, x),
        put=x,
        cases=(case("f32[2,3]", lambda x: concatenate(x, dimension=1)),),
    ),
    Rule(
        "concatenate_empty",
        find=P(concatenate, parts, dimension=axis),
        put=drop_empty,
        cases=(case("f32[2,3]", "f32[2,0]", lambda x, y: concatenate(x, y, dimension=1)),),
    ),
    Rule(
        "concatenate_literals",
        find=P(concatenate, parts, dimension=axis),
        put=join_literals,
        cases=(
            case("f32[2]", lambda x: concatenate(x, full_like(x, 1), full_like(x, 1), dimension=0)),
        ),
    ),
    Rule(
        "concatenate_slices",
        find=P(
            concatenate,
            P(slice_, x, start=a, limit=b, strides=s),
            P(slice_, x, start=start, limit=limit, strides=s),
            dimension=axis,
        ),
        put=join_slices,
        cases=(
            case(
                "f32[3,5]",
                lambda x: concatenate(contiguous(x, 1, 1, 2), contiguous(x, 1, 2, 5), dimension=1),
            ),
        ),
    ),
    Rule(
        "concatenate_left",
        find=P(concatenate, P(concatenate, parts, dimension=axis), x, dimension=axis),
        put=lambda parts, x, axis: concatenate(*parts, x, dimension=axis),
        cases=(
            case(
                "f32[2]",
                "f32[3]",
                "f32[4]",
                lambda x, y, z: concatenate(concatenate(x, y, dimension=0), z, dimension=0),
            ),
        ),
    ),
    Rule(
        "concatenate_right",
        find=P(concatenate, x, P(concatenate, parts, dimension=axis), dimension=axis),
        put=lambda parts, x, axis: concatenate(x, *parts, dimension=axis),
        cases=(
            case(
                "f32[2]",
                "f32[3]",
                "f32[4]",
                lambda x, y, z: concatenate(x, concatenate(y, z, dimension=0), dimension=0),
            ),
        ),
    ),
)

RULES = (*SLICES, *PADS, *CONCATENATIONS)
