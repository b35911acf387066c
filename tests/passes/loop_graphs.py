"""Random loops whose bodies work element by element, with results that are exact to the bit.

graph = random_loop(random.Random(3))      one scan or while, with consts, carries, slices
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from tracejit.ir.build import Builder, building, full_like
from tracejit.ir.graph import Graph, literal
from tracejit.ir.types import DTYPES, TensorType, kind
from tracejit.transform import PRIMS as P

SPACES = ((), (1,), (5,), (40,), (130,), (3, 7), (4, 1, 9), (70, 2), (3, 40), (600,))
DTYPES_DRAWN = ("f32", "f32", "f32", "f64", "i32", "i64", "bool", "u8", "f16")
LENGTHS = (2, 3, 9, 33, 40)


class Body:
    """Builds one body: ``values`` are of the shape of the space, ``scalars`` without axes."""

    def __init__(self, rng: random.Random, space: tuple[int, ...], short: bool) -> None:
        self.rng, self.space, self.short = rng, space, short
        self.values: list[Any] = []
        self.scalars: list[Any] = []

    def keep(self, x: Any) -> None:
        if x.type.shape == self.space:
            self.values.append(x)
        elif x.type.shape == ():
            self.scalars.append(x)
        elif x.type.shape == (*self.space, 2):
            self.values += [self.part(x, k) for k in range(2)]

    def part(self, x: Any, k: int) -> Any:
        """Element k of the last axis."""
        rank = len(self.space)
        cut = P["slice"](
            x,
            start=(*(0,) * rank, k),
            limit=(*self.space, k + 1),
            strides=(1,) * (rank + 1),
        )
        return P["reshape"](cut, new_sizes=self.space)

    def any(self, dtype: np.dtype, shape: tuple[int, ...]) -> Any:
        """A value of this dtype and shape, converted or spread where there is none."""
        rng = self.rng
        pool = self.values if shape == self.space and rng.random() < 0.85 else self.scalars
        pool = pool or self.scalars
        if shape == () and self.space != ():
            pool = self.scalars
        if not pool or rng.random() < 0.15:
            value = rng.choice((0, 1, 2, 3, -1, 0.5, 0.25))
            like = TensorType(dtype, shape)
            if kind(dtype) == "b":
                return full_like(like, value > 0)
            return full_like(like, abs(int(value)) if kind(dtype) in "iu" else value)
        x = rng.choice(pool)
        if x.type.dtype != dtype:
            if kind(x.type.dtype) == "f" and kind(dtype) in "iu":
                x = P["gt"](x, full_like(x, 0))
            x = P["convert"](x, dtype=dtype)
        if x.type.shape != shape:
            x = P["broadcast_in_dim"](x, shape=shape, dims=())
        return x

    def new(self, dtype: np.dtype, shape: tuple[int, ...]) -> Any:
        """The result of one operation."""
        rng, letter = self.rng, kind(dtype)
        names = {"f": "add sub mul max neg abs", "b": "and or xor not lt eq"}.get(
            letter, "add sub mul max min and xor"
        )
        name = rng.choice([*names.split(), "select"])
        if name in ("neg", "abs", "not"):
            return P[name](self.any(dtype, shape))
        if name in ("lt", "eq"):
            other = DTYPES[rng.choice(("f32", "i32"))]
            return P[name](self.any(other, shape), self.any(other, shape))
        if name == "select":
            test = self.any(DTYPES["bool"], shape)
            return P[name](test, self.any(dtype, shape), self.any(dtype, shape))
        return P[name](self.any(dtype, shape), self.any(dtype, shape))

    def result(self, type: TensorType) -> Any:
        """A value of a carry's type, after a few operations."""
        if type.shape == (*self.space, 2):
            halves = [self.result(type.with_shape(self.space)) for _ in range(2)]
            wide = [P["reshape"](h, new_sizes=(*self.space, 1)) for h in halves]
            return P["concatenate"](*wide, dimension=len(self.space))
        for _ in range(self.rng.randrange(1, 3 if self.short else 6)):
            self.keep(self.new(type.dtype, type.shape))
        return self.new(type.dtype, type.shape)


def draw_type(rng: random.Random, space: tuple[int, ...]) -> TensorType:
    dtype = DTYPES[rng.choice(DTYPES_DRAWN)]
    shape: tuple[int, ...] = rng.choice((space, space, space, space, (), (*space, 2)))
    return TensorType(dtype, shape)


def elsewhere(rng: random.Random, x: Any) -> Any:
    """A const at another index: reversed, or a longer one shifted."""
    if x.type.ndim and rng.random() < 0.5:
        return P["rev"](x, dimensions=tuple(range(x.type.ndim)))
    return x


def random_loop(rng: random.Random) -> Graph:
    """A graph of one loop; its operands are the graph's inputs, or Literals."""
    space = rng.choice(SPACES)
    consts = [TensorType(DTYPES["f32"], rng.choice((space, space, ()))) for _ in range(2)]
    carries = [draw_type(rng, space) for _ in range(rng.randrange(1, 4))]
    make = rng.choice((scan, scan, counted_while, while_any))
    with building() as b:
        ins = [b.input(t) for t in (*consts, *carries)]
        for k in range(2, len(ins)):
            if rng.random() < 0.2:
                ins[k] = full_like(ins[k], 1)
        outs = make(rng, b, space, ins[:2], ins[2:])
        chosen = [y for y in outs if rng.random() < 0.8] or list(outs[:1])
    return b.graph(chosen, "loop")


def body_graph(
    rng: random.Random,
    space: tuple[int, ...],
    types: Sequence[TensorType],
    carries: Sequence[TensorType],
    stacked: Sequence[TensorType] = (),
) -> Graph:
    """A body: the carries come after two consts; those without axes do not depend on others."""
    with building() as b:
        ins = [b.input(t) for t in types]
        body = Body(rng, space, len(carries) > 2)
        for k, x in enumerate(ins):
            if x.type.shape == ():
                body.keep(elsewhere(rng, x) if k < 2 else x)
        outs: list[Any] = [None] * len(carries)
        for k, type in enumerate(carries):
            if type.shape == ():
                outs[k] = body.result(type)
        for k, x in enumerate(ins):
            if x.type.shape != () or space == ():
                body.keep(elsewhere(rng, x) if k < 2 else x)
        for k, type in enumerate(carries):
            if outs[k] is None:
                outs[k] = body.result(type)
        outs += [body.result(type) for type in stacked]
    return b.graph(outs, "body")


def scan(rng: random.Random, b: Builder, space: Any, consts: Any, carry: Any) -> Any:
    length = rng.choice(LENGTHS)
    types = [x.type for x in carry]
    xs = [
        b.input(TensorType(DTYPES[rng.choice(("f32", "i32"))], (length, *rng.choice((space, ())))))
        for _ in range(rng.randrange(3))
    ]
    stacked = [TensorType(DTYPES["f32"], space) for _ in range(rng.randrange(3))]
    slices = [x.type.with_shape(x.type.shape[1:]) for x in xs]
    body = body_graph(rng, space, [*(c.type for c in consts), *types, *slices], types, stacked)
    if rng.random() < 0.3:
        body = keeping(rng, body, space, len(types))
    return P["scan"](
        *consts,
        *carry,
        *xs,
        body=body,
        n_consts=2,
        n_carry=len(carry),
        length=length,
        reverse=rng.random() < 0.4,
    )


def keeping(rng: random.Random, body: Graph, space: Any, n_carry: int) -> Graph:
    """A body whose carries of the whole space stay as they are where the first of them is small."""
    with building() as b:
        ins = [b.input(t) for t in body.input_types]
        outs = list(b.inline(body, ins))
        olds = ins[2 : 2 + n_carry]
        first = next((x for x in olds if x.type.shape == space), None)
        if first is not None:
            small = P["lt"](P["convert"](first, dtype=DTYPES["f32"]), literal_like(first, 3.0))
            for k, old in enumerate(olds):
                if old.type.shape == space:
                    outs[k] = P["select"](small, outs[k], old)
    return b.graph(outs, "body")


def literal_like(x: Any, value: float) -> Any:
    return literal(value, TensorType(DTYPES["f32"], x.type.shape))


def counted_while(rng: random.Random, b: Builder, space: Any, consts: Any, carry: Any) -> Any:
    """A while that counts, for all elements together."""
    i64 = TensorType(DTYPES["i64"], ())
    types = [i64, *(x.type for x in carry)]
    inner = body_graph(rng, space, [*(c.type for c in consts), *types[1:]], types[1:])
    with building() as bb:
        ins = [bb.input(t) for t in (*(c.type for c in consts), *types)]
        outs = bb.inline(inner, [*ins[:2], *ins[3:]])
        body = bb.graph((P["add"](ins[2], full_like(i64, 1)), *outs), "body")
    with building() as bb:
        ins = [bb.input(t) for t in (*(c.type for c in consts), *types)]
        cond = bb.graph((P["lt"](ins[2], full_like(i64, rng.choice(LENGTHS))),), "cond")
    start = full_like(i64, rng.choice((0, 0, 2, 100)))
    return P["while"](*consts, start, *carry, cond=cond, body=body, n_consts=2)


def while_any(rng: random.Random, b: Builder, space: Any, consts: Any, carry: Any) -> Any:
    """What vmap makes of a while: each element counts for itself, and waits for the others."""
    space = space or (3,)
    count = TensorType(DTYPES["i32"], space)
    consts = [b.input(c.type.with_shape(space)) for c in consts]
    carry = [b.input(x.type.with_shape(space)) for x in carry]
    types = [count, *(x.type for x in carry)]
    most = rng.choice(LENGTHS)
    shapes = [*(c.type for c in consts), *types]
    inner = body_graph(rng, space, [*shapes[:2], *types[1:]], types[1:])

    def running(ins: Any) -> Any:
        small = P["lt"](ins[0], literal_like(ins[0], 0.5))
        return P["and"](P["lt"](ins[2], full_like(ins[2], most)), small)

    with building() as bb:
        ins = [bb.input(t) for t in shapes]
        news = [P["add"](ins[2], full_like(ins[2], 1)), *bb.inline(inner, [*ins[:2], *ins[3:]])]
        go = running(ins)
        outs = [P["select"](go, n, o) for n, o in zip(news, ins[2:], strict=True)]
        body = bb.graph(outs, "body")
    with building() as bb:
        ins = [bb.input(t) for t in shapes]
        go = P["reduce_or"](running(ins), axes=tuple(range(len(space))))
        cond = bb.graph((go,), "cond")
    start = b.input(count)
    return P["while"](*consts, start, *carry, cond=cond, body=body, n_consts=2)
