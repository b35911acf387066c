"""Random graphs for property tests, loops, branches and calls among their operations.

    graph = random_graph(random.Random(3), size=20)

Only operations whose NumPy results do not depend on the memory layout of their operands occur: no
exp, no float sums.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np

from tracejit.ir.build import Builder, building, full_like
from tracejit.ir.graph import Atom, ConstArray, Graph, literal
from tracejit.ir.types import DTYPES, TensorType, kind
from tracejit.ops.arith import abs_, add, ceil, div, floor, max_, min_, mul, neg, rem, sub
from tracejit.ops.broadcast import broadcast_in_dim, reduce_sum
from tracejit.ops.dynamic import dynamic_slice, dynamic_update_slice
from tracejit.ops.layout import (
    concatenate,
    constant,
    iota,
    pad,
    reshape,
    rev,
    scalar,
    slice_,
    transpose,
)
from tracejit.ops.logic import and_, eq, ge, gt, le, lt, ne, not_, or_, select, xor
from tracejit.ops.parts import barrier, convert, stop_gradient
from tracejit.ops.powers import integer_pow, sqrt, square
from tracejit.ops.reduce import reduce_and, reduce_max, reduce_or
from tracejit.transform.branch import call, cond
from tracejit.transform.custom import checkpoint
from tracejit.transform.loops import Scan, while_

F32, I32, BOOL = DTYPES["f32"], DTYPES["i32"], DTYPES["bool"]
SHAPES = ((), (3,), (2, 3), (1, 3), (3, 1, 2))
NUMBERS = (0, 1, 2, -1, 4, 0.5, -0.0, 8, 3)


class Drawer:
    """Adds random nodes to the current builder, on values drawn from those there are."""

    def __init__(self, rng: random.Random, values: list[Any], depth: int) -> None:
        self.rng, self.values, self.depth = rng, values, depth

    def any(self, keep: Callable[[Any], bool] = lambda x: True) -> Any:
        fitting = [x for x in self.values if keep(x)]
        return self.rng.choice(fitting) if fitting else None

    def like(self, x: Any) -> Any:
        """A value of the type of ``x``, or a Literal."""
        if self.rng.random() < 0.3:
            return self.number(x.type)
        return self.any(lambda y: y.type == x.type)

    def number(self, type: TensorType) -> Atom:
        value = self.rng.choice(NUMBERS)
        return literal(value if kind(type.dtype) == "f" else abs(int(value)), type)

    def step(self) -> None:
        draw = self.rng.choice(STEPS if self.depth else STEPS[:-4])
        found = draw(self)
        for x in found if isinstance(found, tuple) else (found,):
            if x is not None:
                self.values.append(x)

    def subgraph(self, types: list[TensorType], outs: list[TensorType] | None = None) -> Graph:
        """A random graph; with ``outs`` one that returns these types."""
        with building() as b:
            inner = Drawer(self.rng, [b.input(t) for t in types], self.depth - 1)
            for _ in range(self.rng.randrange(1, 6)):
                inner.step()
            if outs is None:
                chosen = [inner.any() for _ in range(self.rng.randrange(1, 4))]
            else:
                chosen = [inner.any(lambda x, t=t: x.type == t) or literal(1, t) for t in outs]
        return b.graph(chosen)


def numeric(x: Any) -> bool:
    return x.type.dtype != BOOL


def binary(*prims: Any, keep: Callable[[Any], bool] = numeric) -> Callable[[Drawer], Any]:
    def draw(d: Drawer) -> Any:
        x = d.any(keep)
        if x is None:
            return None
        pair = [x, d.like(x)]
        d.rng.shuffle(pair)
        return d.rng.choice(prims)(*pair)

    return draw


def unary(*prims: Any, keep: Callable[[Any], bool] = numeric) -> Callable[[Drawer], Any]:
    def draw(d: Drawer) -> Any:
        x = d.any(keep)
        return None if x is None else d.rng.choice(prims)(x)

    return draw


def draw_select(d: Drawer) -> Any:
    c = d.any(lambda x: x.type.dtype == BOOL)
    x = c and d.any(lambda x: x.type.shape == c.type.shape)
    return x and select(c, x, d.like(x))


def draw_convert(d: Drawer) -> Any:
    return convert(d.any(), dtype=d.rng.choice((F32, I32, BOOL, DTYPES["f64"], DTYPES["u8"])))


def draw_layout(d: Drawer) -> Any:
    x = d.any()
    n = x.type.ndim
    match d.rng.randrange(6):
        case 0:
            return transpose(x, permutation=tuple(d.rng.sample(range(n), n)))
        case 1:
            sizes = list(x.type.shape)
            sizes.insert(d.rng.randrange(n + 1), 1)
            return reshape(x, new_sizes=d.rng.choice([tuple(sizes), (x.type.size,)]))
        case 2:
            return rev(x, dimensions=tuple(d.rng.sample(range(n), d.rng.randrange(n + 1))))
        case 3:
            return broadcast_in_dim(x, shape=(2, *x.type.shape), dims=tuple(range(1, n + 1)))
        case 4:
            spans = [sorted(d.rng.choices(range(m + 1), k=2)) for m in x.type.shape]
            return slice_(
                x,
                start=tuple(a for a, _ in spans),
                limit=tuple(b for _, b in spans),
                strides=tuple(d.rng.choice((1, 1, 2)) for _ in spans),
            )
    config = tuple((d.rng.randrange(-1, 2), d.rng.randrange(2), 0) for _ in range(n))
    if any(m + low < 0 for m, (low, _, _) in zip(x.type.shape, config, strict=True)):
        return None
    return pad(x, scalar(d.rng.randrange(2), x.type.dtype), config=config)


def draw_concatenate(d: Drawer) -> Any:
    x = d.any(lambda x: x.type.ndim > 0)
    return x and concatenate(x, d.like(x), dimension=d.rng.randrange(x.type.ndim))


def draw_reduce(d: Drawer) -> Any:
    x = d.any()
    axes = tuple(sorted(d.rng.sample(range(x.type.ndim), d.rng.randrange(x.type.ndim + 1))))
    if x.type.dtype == BOOL:
        return d.rng.choice((reduce_and, reduce_or))(x, axes=axes)
    return (reduce_sum if x.type.dtype == I32 else reduce_max)(x, axes=axes)


def draw_known(d: Drawer) -> Any:
    shape = d.rng.choice(SHAPES[1:])
    if d.rng.random() < 0.5:
        return iota(dtype=d.rng.choice((F32, I32)), shape=shape, dimension=0)
    values = [d.rng.choice(NUMBERS) for _ in range(int(np.prod(shape)))]
    return constant(value=ConstArray(np.asarray(values, F32).reshape(shape)))


def draw_window(d: Drawer) -> Any:
    x = d.any(lambda x: x.type.ndim > 0)
    if x is None:
        return None
    at = [scalar(d.rng.randrange(-1, 3), I32) for _ in x.type.shape]
    if d.rng.random() < 0.5:
        sizes = tuple(d.rng.randrange(1, m + 1) if m else 0 for m in x.type.shape)
        return dynamic_slice(x, *at, sizes=sizes)
    return dynamic_update_slice(x, d.like(x), *at)


def draw_call(d: Drawer) -> Any:
    xs = [d.any() for _ in range(d.rng.randrange(1, 4))]
    graph = d.subgraph([x.type for x in xs])
    return checkpoint(*xs, body=graph) if d.rng.random() < 0.3 else call(*xs, graph=graph)


def draw_cond(d: Drawer) -> Any:
    xs = [d.like(d.any()) for _ in range(d.rng.randrange(1, 4))]
    types = [x.type for x in xs]
    first = d.subgraph(types)
    branches = [first, d.subgraph(types, list(first.output_types))]
    flag = d.any(lambda x: x.type == TensorType(BOOL, ()))
    index = convert(flag, dtype=I32) if flag is not None else scalar(d.rng.randrange(3), I32)
    return cond(index, *xs, branches=tuple(d.rng.choices(branches, k=2)))


def draw_scan(d: Drawer) -> Any:
    consts = [d.like(d.any()) for _ in range(d.rng.randrange(3))]
    carry = [d.like(d.any()) for _ in range(d.rng.randrange(4))]
    xs = [x for x in (d.any(lambda x: x.type.shape[:1] == (3,)) for _ in range(2)) if x is not None]
    length = 3 if xs else d.rng.randrange(3)
    slices = [x.type.with_shape(x.type.shape[1:]) for x in xs]
    types = [*(x.type for x in (*consts, *carry)), *slices]
    if not types:
        return None
    body = d.subgraph(types)
    fixed = d.subgraph(types, [*(x.type for x in carry), *body.output_types])
    s = Scan(fixed, len(consts), len(carry), length, d.rng.random() < 0.5)
    return s(*consts, *carry, *xs)


def draw_while(d: Drawer) -> Any:
    """A counter runs to 3; the other carries are random."""
    consts = [d.like(d.any()) for _ in range(d.rng.randrange(3))]
    carry = [d.like(d.any()) for _ in range(d.rng.randrange(3))]
    counter = TensorType(I32, ())
    types = [*(x.type for x in (*consts, *carry))]
    step = d.subgraph([*types, counter], [x.type for x in carry])
    with building() as b:
        ins = [b.input(t) for t in (*types, counter)]
        test = b.graph([lt(ins[-1], d.rng.randrange(4))])
    with building() as b:
        ins = [b.input(t) for t in (*types, counter)]
        outs = b.inline(step, ins)
        body = b.graph([*outs, add(ins[-1], 1)])
    start = literal(0, counter)
    return while_(*consts, *carry, start, cond=test, body=body, n_consts=len(consts))


def whole(x: Any) -> bool:
    return kind(x.type.dtype) in "biu"


def floating(x: Any) -> bool:
    return x.type.dtype == F32


#: the last four hold graphs
STEPS: tuple[Callable[[Drawer], Any], ...] = (
    *[binary(add, mul)] * 3,
    binary(sub, div),
    binary(sub, max_, min_),
    binary(eq, ne, lt, le, gt, ge),
    binary(and_, or_, xor, keep=whole),
    binary(rem, keep=lambda x: x.type.dtype == I32),
    unary(neg, abs_, neg, square, keep=lambda x: kind(x.type.dtype) in "if"),
    unary(floor, ceil, sqrt, keep=floating),
    unary(not_, keep=whole),
    unary(stop_gradient, barrier, lambda x: full_like(x, 2)),
    unary(lambda x: integer_pow(x, y=2), lambda x: mul(mul(x, 2), 4), keep=floating),
    *[draw_select] * 2,
    draw_convert,
    *[draw_layout] * 4,
    draw_concatenate,
    draw_reduce,
    draw_known,
    draw_window,
    draw_call,
    draw_cond,
    draw_scan,
    draw_while,
)


def random_graph(rng: random.Random, size: int, depth: int = 2) -> Graph:
    """A graph of about ``size`` nodes, with graphs inside graphs ``depth`` deep."""
    builder = Builder()
    with building(builder) as b:
        values: list[Any] = [
            b.input(TensorType(rng.choice((F32, F32, I32, BOOL)), rng.choice(SHAPES)))
            for _ in range(4)
        ]
        drawer = Drawer(rng, values, depth)
        for _ in range(size):
            drawer.step()
        outs = [drawer.any() for _ in range(3)]
    return b.graph((*outs, drawer.values[-1]))
