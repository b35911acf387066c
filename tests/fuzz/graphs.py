"""Random well-typed graphs, of everything that fusion and the memory plan have to get right.

    graph = random_graph(pick, size=30)         pick(n) chooses one of range(n)
    arrays = random_arrays(graph, seed=0)

Floats are multiples of 1/4, and *exact* values (what layout operations, signs and extrema make of
them) are known as such: only they go where a last-bit difference would show, into comparisons and
conversions to integers.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tests.fuzz.maker import LIMIT, Maker, Pick, of_kind
from tracejit.ir.build import building, full_like
from tracejit.ir.graph import ConstArray, Graph, Value, literal
from tracejit.ir.types import DTYPES, TensorType, kind
from tracejit.transform import PRIMS

DIMS = (1, 2, 3, 4, 5, 16, 17, 33, 0)
#: kernels over so much are split over threads
LARGE = (64, 100, 257, 1000, 2, 1, 3)
FLOATS = ("f32", "f32", "f32", "f64", "f16", "bf16")
INTS = ("i32", "i64", "i32", "u8", "u32", "i8")


def step(m: Maker) -> None:
    """One more operation."""
    m.one_of(STEPS if m.depth else STEPS[:-4])(m)


# ---- single elements -----------------------------------------------------------------------------


def unary_float(m: Maker) -> None:
    x = m.any(of_kind("f"))
    if x is None:
        return
    fn = m.one_of(
        ("tanh", "neg", "abs", "sin", "logistic", "exp", "sqrt", "log1p", "cos", "square", "erf")
    )
    if fn in ("sqrt", "log1p"):
        x = PRIMS["abs"](x)
    if fn == "exp":
        x = PRIMS["min"](x, full_like(x, 1.0))
    y = PRIMS[fn](x)
    m.keep(y, x) if fn in ("neg", "abs") else m.keep(y)


def unary_exact(m: Maker) -> None:
    x = m.any(lambda v: v in m.exact and kind(v.type.dtype) != "b")
    if x is None:
        return
    names = {
        "f": ("floor", "sign", "round", "trunc", "is_finite"),
        "i": ("neg", "abs", "not", "sign", "population_count"),
    }
    fn = m.one_of(names.get(kind(x.type.dtype), ("not", "population_count", "clz")))
    m.keep(PRIMS[fn](x), x)


def binary(m: Maker) -> None:
    x = m.any()
    if x is None:
        return
    y = m.like(x)
    names = {
        "f": ("add", "mul", "sub", "max", "min", "div", "add", "mul"),
        "i": ("add", "mul", "sub", "max", "min", "div", "rem", "and", "xor"),
        "u": ("add", "mul", "sub", "max", "min", "div", "rem", "or"),
        "b": ("and", "or", "xor"),
    }
    fn = m.one_of(names[kind(x.type.dtype)])
    if fn == "div" and kind(x.type.dtype) == "f":
        y = (
            PRIMS["add"](PRIMS["abs"](y), full_like(x, 1.0))
            if isinstance(y, Value)
            else full_like(x, 3.0)
        )
    a, b = (x, y) if m.pick(2) else (y, x)
    if fn == "div" and kind(x.type.dtype) == "f":
        a, b = x, y
    z = PRIMS[fn](a, b)
    m.keep(z, a, b) if fn in ("max", "min") else m.keep(z)


def shift(m: Maker) -> None:
    x = m.any(of_kind("iu"))
    if x is not None:
        by = PRIMS["and"](m.like(x), full_like(x, 7))
        m.keep(
            PRIMS[m.one_of(("shift_left", "shift_right_logical", "shift_right_arithmetic"))](x, by)
        )


def compare(m: Maker) -> None:
    x = m.any(lambda v: v in m.exact)
    if x is None:
        return
    y = m.like(x, exact=True)
    fns = ("eq", "ne") if kind(x.type.dtype) == "b" else ("lt", "le", "gt", "ge", "eq", "ne")
    m.keep(PRIMS[m.one_of(fns)](x, y))


def choose(m: Maker) -> None:
    c = m.any(of_kind("b"))
    if c is None:
        return compare(m)
    x = m.any(lambda v: v.type.shape == c.type.shape)
    assert x is not None
    y = m.like(x)
    m.keep(PRIMS["select"](c, x, y), x, y)


def three(m: Maker) -> None:
    x = m.any(of_kind("f"))
    if x is None:
        return
    if m.pick(2):
        m.keep(PRIMS["fma"](x, m.like(x), m.like(x)))
    else:
        m.keep(PRIMS["clamp"](full_like(x, -0.5), x, full_like(x, 0.75)), x)


def convert(m: Maker) -> None:
    x = m.any()
    if x is None:
        return
    letter = kind(x.type.dtype)
    to = DTYPES[m.one_of((*FLOATS, *INTS, "bool"))]
    if kind(to) not in "f" and letter == "f" and x not in m.exact:
        return
    y = PRIMS["convert"](x, dtype=to)
    small = letter == "b" or x.type.dtype.itemsize == 1
    m.keep(y, x) if letter == "f" or (small and to.itemsize > 2) else m.keep(y)


# ---- reductions ----------------------------------------------------------------------------------


def reduction(m: Maker) -> None:
    x = m.any(lambda v: v.type.ndim > 0)
    if x is None:
        return
    names = {
        "f": ("reduce_sum", "reduce_max", "reduce_min", "reduce_sum"),
        "i": ("reduce_sum", "reduce_max", "reduce_min", "reduce_xor", "reduce_prod"),
        "u": ("reduce_sum", "reduce_max", "reduce_or", "reduce_and"),
        "b": ("reduce_and", "reduce_or", "reduce_xor", "reduce_sum"),
    }
    fn = m.one_of(names[kind(x.type.dtype)])
    y = PRIMS[fn](x, axes=m.axes(x.type.ndim))
    m.keep(y) if fn == "reduce_sum" else m.keep(y, x)


def reduce_and_return(m: Maker) -> None:
    """A reduction broadcast back and combined with its operand: rows, columns, chains of both."""
    x = m.any(of_kind("f", lambda v: v.type.ndim > 0))
    if x is None:
        return
    n, axes = x.type.ndim, m.axes(x.type.ndim)
    if m.pick(3):
        axes = (n - 1,)
    fn = m.one_of(("reduce_sum", "reduce_max"))
    total = PRIMS[fn](x, axes=axes)
    kept = tuple(a for a in range(n) if a not in axes)
    if m.pick(2):
        total = PRIMS["tanh"](total)
    if m.pick(2):
        ones = tuple(1 if a in axes else x.type.shape[a] for a in range(n))
        wide = PRIMS["broadcast_in_dim"](
            PRIMS["reshape"](total, new_sizes=ones), shape=x.type.shape, dims=tuple(range(n))
        )
    else:
        wide = PRIMS["broadcast_in_dim"](total, shape=x.type.shape, dims=kept)
    source = m.like(x)
    y = PRIMS[m.one_of(("sub", "mul", "max"))](source if m.pick(2) else x, wide)
    m.keep(total)
    m.keep(PRIMS["tanh"](y) if m.pick(2) else y)


def arg_reduction(m: Maker) -> None:
    x = m.any(lambda v: v in m.exact and v.type.ndim > 0 and 0 not in v.type.shape)
    if x is not None:
        axes = (m.pick(x.type.ndim),)
        m.keep(PRIMS[m.one_of(("argmax", "argmin"))](x, axes=axes, index_dtype=DTYPES["i64"]))


def product(m: Maker) -> None:
    x = m.any(of_kind("f", lambda v: 0 < v.type.ndim < 3))
    if x is None:
        return
    y = m.any(lambda v: v.type.dtype == x.type.dtype and 0 < v.type.ndim < 3)
    assert y is not None
    pairs = [
        (a, b)
        for a, b in itertools.product(range(x.type.ndim), range(y.type.ndim))
        if x.type.shape[a] == y.type.shape[b]
    ]
    if not pairs:
        return
    a, b = m.one_of(pairs)
    size = x.type.size * y.type.size // max(x.type.shape[a] ** 2, 1)
    if size > m.limit:
        return
    dims: Any = (((a,), (b,)), ((), ()))
    if (
        x.type.ndim == 2
        and y.type.ndim == 2
        and x.type.shape[1 - a] == y.type.shape[1 - b]
        and m.pick(2)
    ):
        dims = (((a,), (b,)), ((1 - a,), (1 - b,)))
    z = PRIMS["dot_general"](x, y, dimension_numbers=dims, preferred_element_type=None)
    m.keep(PRIMS["mul"](z, full_like(z, 0.125)))


# ---- layout --------------------------------------------------------------------------------------


def layout(m: Maker) -> None:
    x = m.any()
    if x is None:
        return
    shape, n = x.type.shape, x.type.ndim
    match m.pick(6):
        case 0:
            order = list(range(n))
            for k in range(n):
                j = k + m.pick(n - k)
                order[k], order[j] = order[j], order[k]
            y = PRIMS["transpose"](x, permutation=tuple(order))
        case 1:
            y = PRIMS["reshape"](x, new_sizes=m.one_of(other_shapes(shape)))
        case 2:
            y = PRIMS["rev"](x, dimensions=m.axes(n))
        case 3:
            extent = m.one_of((2, 3, 1, 17))
            where = m.pick(n + 1)
            if extent * x.type.size > m.limit or n > 3:
                return
            wide = (*shape[:where], extent, *shape[where:])
            y = PRIMS["broadcast_in_dim"](
                x, shape=wide, dims=tuple(a for a in range(n + 1) if a != where)
            )
        case 4:
            starts = tuple(m.pick(max(k, 1)) for k in shape)
            limits = tuple(
                k - m.pick(k - s + 1) if k else 0 for k, s in zip(shape, starts, strict=True)
            )
            y = PRIMS["slice"](
                x, start=starts, limit=limits, strides=tuple(1 + m.pick(3) // 2 for _ in shape)
            )
        case _:
            config = tuple((m.pick(3) - 1 if k else 0, m.pick(3), m.pick(4) // 3) for k in shape)
            if (
                np.prod([a + b + k * (1 + c) for k, (a, b, c) in zip(shape, config, strict=True)])
                > m.limit
            ):
                return
            y = PRIMS["pad"](
                x, literal(m.number(x.type.dtype), TensorType(x.type.dtype, ())), config=config
            )
    m.keep(y, x)


def other_shapes(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Shapes of as many elements."""
    size = int(np.prod(shape, dtype=np.int64))
    found = [
        (size,),
        (1, *shape),
        (*shape, 1),
        tuple(n for n in shape if n != 1) if size else shape,
    ]
    if len(shape) > 1:
        found += [
            (shape[0] * shape[1], *shape[2:]),
            (*shape[:-2], shape[-2] * shape[-1]),
            shape[::-1],
        ]
    found += [(size // d, d) for d in (2, 3, 5) if size and size % d == 0]
    return found


def concatenate(m: Maker) -> None:
    x = m.any(lambda v: v.type.ndim > 0)
    if x is None:
        return
    axis = m.pick(x.type.ndim)

    def fits(v: Value) -> bool:
        a, b = v.type.shape, x.type.shape
        return (
            v.type.dtype == x.type.dtype
            and len(a) == len(b)
            and all(p == q or k == axis for k, (p, q) in enumerate(zip(a, b, strict=True)))
        )

    parts = [x, *[m.any(fits) for _ in range(1 + m.pick(2))]]
    if sum(v.type.size for v in parts if v is not None) <= m.limit:
        m.keep(PRIMS["concatenate"](*parts, dimension=axis), *parts)


def combine_shapes(m: Maker) -> None:
    """Two values of one dtype, one broadcast to the other's shape from fewer axes."""
    x = m.any(of_kind("fi", lambda v: v.type.ndim > 0))
    if x is None:
        return
    for k in range(x.type.ndim):
        small = m.any(lambda v, k=k: v.type == x.type.with_shape((x.type.shape[k],)))
        if small is not None and small is not x:
            wide = PRIMS["broadcast_in_dim"](small, shape=x.type.shape, dims=(k,))
            m.keep(PRIMS[m.one_of(("add", "mul"))](x, wide))
            return


def made(m: Maker) -> None:
    shape = tuple(m.one_of(DIMS[:-1]) for _ in range(m.pick(3)))
    dtype = DTYPES[m.one_of(("i32", "f32", "i64"))]
    if m.pick(2) and shape:
        m.keep(PRIMS["iota"](dtype=dtype, shape=shape, dimension=m.pick(len(shape))), True)
        return
    array = (np.arange(int(np.prod(shape, dtype=np.int64))).reshape(shape) % 7 - 3).astype(dtype)
    m.keep(PRIMS["constant"](value=ConstArray(array)), True)


# ---- index operations and host calls ------------------------------------------------------------


def take(m: Maker) -> None:
    """Rows by number, the numbers wrapped into range or not."""
    x = m.any(lambda v: v.type.ndim > 0 and v.type.shape[0] > 0)
    rows = m.any(lambda v: v.type.dtype in (DTYPES["i32"], DTYPES["i64"]) and v.type.ndim <= 1)
    if x is None or rows is None or rows.type.size * x.type.size // x.type.shape[0] > m.limit:
        return
    n = x.type.shape[0]
    mode = m.one_of(("clip", "fill", "error"))
    if mode == "error":
        rows = PRIMS["clamp"](full_like(rows, 0), rows, full_like(rows, n - 1))
    index = PRIMS["reshape"](rows, new_sizes=(*rows.type.shape, 1))
    lead = rows.type.ndim
    y = PRIMS["gather"](
        x,
        index,
        offset_dims=tuple(range(lead, lead + x.type.ndim - 1)),
        collapsed_slice_dims=(0,),
        start_index_map=(0,),
        operand_batching_dims=(),
        start_indices_batching_dims=(),
        slice_sizes=(1, *x.type.shape[1:]),
        mode=mode,
        fill_value=0 if mode == "fill" else None,
    )
    m.keep(y, x)


def dynamic(m: Maker) -> None:
    x = m.any(lambda v: 0 < v.type.ndim < 3 and 0 not in v.type.shape)
    start = m.any(lambda v: v.type == TensorType(DTYPES["i32"], ()))
    if x is None or start is None:
        return
    starts = [start if m.pick(2) else literal(1, start.type) for _ in x.type.shape]
    sizes = tuple(1 + m.pick(n) for n in x.type.shape)
    y = PRIMS["dynamic_slice"](x, *starts, sizes=sizes)
    m.keep(y, x)
    if m.pick(2):
        m.keep(PRIMS["dynamic_update_slice"](x, PRIMS["rev"](y, dimensions=(0,)), *starts), x)


def along(m: Maker) -> None:
    x = m.any(
        lambda v: v.type.ndim > 0 and kind(v.type.dtype) in "fiu" and v.type.dtype.itemsize >= 4
    )
    if x is None:
        return
    axis = m.pick(x.type.ndim)
    fn = m.one_of(("cumsum", "cummax", "sort"))
    if fn == "sort" and x in m.exact:
        m.keep(PRIMS["sort"](x, dimension=axis, num_keys=1, is_stable=True), x)
    elif fn != "sort":
        y = PRIMS[fn](x, axis=axis, reverse=bool(m.pick(2)))
        m.keep(y, x) if fn == "cummax" else m.keep(y)


def random_bits(m: Maker) -> None:
    key = m.any(lambda v: v.type == TensorType(DTYPES["u32"], (2,)))
    if key is not None:
        m.keep(PRIMS["random_bits"](key, shape=(m.one_of(DIMS[:-1]), 3), bit_width=32))


# ---- control flow --------------------------------------------------------------------------------


def body(
    m: Maker, types: Sequence[TensorType], outs: Sequence[TensorType], extra: bool = False
) -> Graph:
    """A graph from ``types`` to ``outs``; with ``extra`` it returns one or two more values."""
    with building() as b:
        inner = Maker(m.pick, [b.input(t) for t in types], False, m.depth - 1, m.limit)
        for _ in range(1 + m.pick(6)):
            step(inner)
        found: list[Any] = []
        for t in outs:
            y = inner.any(lambda v, t=t: v.type == t)
            if y is None or (kind(t.dtype) == "f" and m.pick(4)):
                y = PRIMS["tanh"](y) if y is not None and kind(t.dtype) == "f" else y
            found.append(literal(1, t) if y is None else y)
        if extra:
            found += [inner.any() for _ in range(m.pick(3)) if inner.values]
    return b.graph(found, "body")


def some(m: Maker, most: int) -> list[Value]:
    return [v for v in (m.any() for _ in range(m.pick(most + 1))) if v is not None]


def scan(m: Maker) -> None:
    consts, carry = some(m, 2), some(m, 2)
    length = m.one_of((3, 1, 5, 0))
    xs = [
        v
        for v in (m.any(lambda v: v.type.ndim > 0 and v.type.shape[0] == length) for _ in range(2))
        if v is not None
    ]
    types = [
        *(v.type for v in (*consts, *carry)),
        *(v.type.with_shape(v.type.shape[1:]) for v in xs),
    ]
    inside = body(m, types, [v.type for v in carry], extra=True)
    if (
        length * max((t.size for t in inside.output_types), default=0) > m.limit
        or not inside.outputs
    ):
        return
    outs = PRIMS["scan"](
        *consts,
        *carry,
        *xs,
        body=inside,
        n_consts=len(consts),
        n_carry=len(carry),
        length=length,
        reverse=bool(m.pick(2)),
    )
    for y in outs if isinstance(outs, tuple) else (outs,):
        m.keep(y)


def while_(m: Maker) -> None:
    consts, carry = some(m, 1), some(m, 2)
    count = TensorType(DTYPES["i32"], ())
    types = [*(v.type for v in consts), count, *(v.type for v in carry)]
    inside = body(m, types, [count, *(v.type for v in carry)])
    with building() as b:
        inputs = [b.input(t) for t in types]
        step = PRIMS["add"](inputs[len(consts)], literal(1, count))
        found = b.inline(inside, inputs)
    inside = b.graph((step, *found[1:]), "body")
    with building() as b:
        inputs = [b.input(t) for t in types]
        test = PRIMS["lt"](inputs[len(consts)], literal(m.pick(4), count))
    cond = b.graph((test,), "cond")
    outs = PRIMS["while"](
        *consts, literal(0, count), *carry, cond=cond, body=inside, n_consts=len(consts)
    )
    for y in outs if isinstance(outs, tuple) else (outs,):
        m.keep(y)


def cond(m: Maker) -> None:
    index = m.any(lambda v: v.type == TensorType(DTYPES["i32"], ()))
    operands = some(m, 3)
    if index is None or not operands:
        return
    types = [v.type for v in operands]
    outs_types = types[: 1 + m.pick(2)]
    branches = tuple(body(m, types, outs_types) for _ in range(1 + m.pick(3)))
    outs = PRIMS["cond"](index, *operands, branches=branches)
    for y in outs if isinstance(outs, tuple) else (outs,):
        m.keep(y)


#: control flow last
STEPS: tuple[Callable[[Maker], None], ...] = (
    unary_float,
    unary_float,
    binary,
    binary,
    binary,
    layout,
    layout,
    layout,
    reduction,
    reduction,
    reduce_and_return,
    reduce_and_return,
    combine_shapes,
    concatenate,
    choose,
    compare,
    three,
    convert,
    unary_exact,
    shift,
    arg_reduction,
    product,
    made,
    take,
    dynamic,
    along,
    random_bits,
    scan,
    while_,
    cond,
    scan,
)


def random_graph(pick: Pick, size: int, depth: int = 2, large: bool = False) -> Graph:
    """A graph of about ``size`` random operations."""
    some_dims, limit = (LARGE, 200_000) if large else (DIMS[:-1], LIMIT)
    dims = [some_dims[pick(len(some_dims))] for _ in range(3)]
    if not pick(12) and not large:
        dims[pick(3)] = 0
    with building() as b:
        inputs = [b.input(TensorType(DTYPES["i32"], ())), b.input(TensorType(DTYPES["u32"], (2,)))]
        for k in range(2 + pick(3)):
            shape = tuple(dims[pick(3)] for _ in range(pick(4)))
            names = FLOATS if k < 2 else (*FLOATS, *INTS, "bool")
            name = names[pick(len(names))]
            if np.prod(shape, dtype=np.int64) <= limit:
                inputs.append(b.input(TensorType(DTYPES[name], shape)))
        maker = Maker(pick, inputs, True, depth, limit)
        for _ in range(size):
            step(maker)
        outs: list[Any] = [maker.any() for _ in range(1 + pick(5))]
        used = {x for node in b.nodes for x in node.inputs}
        outs += [v for v in maker.values if v not in used][-pick(8) :]
        if not pick(8):
            outs.append(literal(2, TensorType(DTYPES["f32"], (2, 3))))
    return b.graph(outs)


def random_arrays(graph: Graph, seed: int) -> list[np.ndarray]:
    """Operands: floats are multiples of 1/4 between -2 and 2, integers small."""
    rng = np.random.default_rng(seed)
    found = []
    for t in graph.input_types:
        letter = kind(t.dtype)
        drawn = rng.integers(0 if letter in "bu" else -8, 2 if letter == "b" else 9, t.shape)
        found.append(np.asarray(drawn / 4 if letter == "f" else drawn).astype(t.dtype))
    return found
