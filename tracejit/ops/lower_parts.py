"""What ``lower`` rules share: loops over many axes as one, lanes along trailing axes, identities.

Comes in: the kernel builder ``k`` that a rule gets, and static shapes. Goes out: open loops.

    with spread(k, (2, 3)) as (i, j), lanes(k, (64,), 4) as (c,):
        k.store(y, (i, j, c), x((i, j, c)))
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any

from tracejit.ir.expr import Expr, iadd, idiv, imod, imul
from tracejit.ir.types import TensorType, short

#: extents below this stay constants in a kernel, so axes of them can be walked as one
SMALL = 32
#: a par loop gets about this many parts where an axis is split for it
PARTS = 16
#: fewest lanes in a part of a split axis
LEAST = 64


@contextmanager
def spread(k: Any, extents: Sequence[int]) -> Iterator[tuple[Expr, ...]]:
    """One par loop over every index of ``extents``; gives the index."""
    with k.loop("par", prod(extents)) as number:
        yield unflatten(number, extents)


def unflatten(number: Expr, extents: Sequence[int]) -> tuple[Expr, ...]:
    """The index that ``number`` stands for, the last axis running fastest."""
    index: list[Expr] = []
    for extent in reversed(extents[1:]):
        extent = max(extent, 1)  # a loop that never runs must not divide by zero either
        index.append(imod(number, extent))
        number = idiv(number, extent)
    return (*([number] if extents else []), *reversed(index))


def lane_axes(shape: Sequence[int], first: int = 0) -> int:
    """Where the trailing axes of ``shape``, from ``first`` on, begin that one vec loop can walk."""
    start = len(shape)
    while start > first and prod(shape[start:]) < SMALL:
        start -= 1
    # an axis of one element would stand between the others
    return start if 1 not in shape[start:] else next_single(shape, start)


def next_single(shape: Sequence[int], start: int) -> int:
    """The start of the last run of axes of ``shape[start:]`` that holds no axis of one element."""
    while 1 in shape[start:] and start < len(shape) - 1:
        start += 1
    return start


def lane_width(k: Any, *types: TensorType) -> int:
    """Lanes of one vector of the widest of ``types``."""
    widest = max(4, *(t.dtype.itemsize for t in types))
    return max(1, int(k.width) * 4 // widest)


@contextmanager
def rows_and_lanes(
    k: Any, outer: Sequence[int], inner: Sequence[int], width: int, unroll: int
) -> Iterator[tuple[tuple[Expr, ...], tuple[Expr, ...]]]:
    """A par loop over ``outer`` and vec loops over ``inner``; gives both indices.

    With few outer indices the lanes are split among threads too.
    """
    count, rows = prod(inner), prod(outer)
    part = count
    if rows < PARTS:
        part = max(LEAST, -(-count * rows // PARTS // LEAST) * LEAST)
    if part >= count:
        with spread(k, outer) as index, k.loop("vec", count, width=width, unroll=unroll) as lane:
            yield index, unflatten(lane, inner)
        return
    with spread(k, (*outer, -(-count // part))) as (*index, number):
        start = imul(number, part)
        stop = k.op("min", iadd(start, part), count)
        with k.loop("vec", stop, start, width=width, unroll=unroll) as lane:
            yield tuple(index), unflatten(lane, inner)


def arithmetic_dtype(type: TensorType) -> str:
    """The dtype to compute in: 16-bit floats in f32."""
    name = short(type.dtype)
    return "f32" if name in ("f16", "bf16") else name
