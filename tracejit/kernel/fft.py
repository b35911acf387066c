"""Fourier transforms as kernels of our own, for programs on CPUs.

    has_kernels(node, vector_bytes=64)      whether every length of a transform is of small factors
    fft_steps(node, vector_bytes=64, threads=2)     its kernels, one after the other

Comes in: a node ``fft``. Goes out: steps over buffers 0 (the operand), 1 (the result) and the ones
that lie between, as data. Transforms of two places, along an axis that others follow:

    kernel fft_fft_2[outer,inner](in x: f32[outer,2,inner,2], out y: f32[outer,2,inner,2], ...)
      par task in mul(outer, idiv(add(inner, 7), 8)):
        o: i64 = idiv(task, idiv(add(inner, 7), 8))
        b: i64 = min(mul(irem(task, idiv(add(inner, 7), 8)), 8), add(inner, -8))
        vec(8x1) l in 8:
          place: i64 = add(b, l)
          t0: f32 = x[o, 0, place, 0]
          t1: f32 = x[o, 0, place, 1]
          t2: f32 = x[o, 1, place, 0]
          t3: f32 = x[o, 1, place, 1]
          t4: f32 = add(t0, t2)
          ...
          y[o, 0, place, 0] = t4

and along the last axis, sixteen places as a matrix of 4 columns:

    kernel fft_fft_16[rows](in x: f32[rows,16,2], out y: f32[rows,16,2], ..., in t: f32[4,8])
      par row in rows:
        vec(4x1) l in 4:                          # columns, transformed in lanes
          ...
          m[0, column] = t28                      # times roots of unity, which are in t
        transpose(4) c[0, 0] = m[0, 0] in 4, 4    # real parts; the imaginary ones
        transpose(4) c[0, 4] = m[0, 4] in 4, 4
        vec(4x1) l1 in 4:                         # rows, in lanes again
          ...

Which axis lanes run along depends on what lies in memory beside the transformed one: places of a
later axis, several rows, or columns of a row that is read as a matrix (D. H. Bailey, "FFTs in
external or hierarchical memory", 1990). The transform of a long row is two kernels, whose work
threads share. Real signals of even length are complex ones of half the length. Lengths with larger
prime factors than 13 are left to the host.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from tracejit.ir.graph import Node, Value
from tracejit.ir.types import DTYPES, TensorType, real_dtype, short
from tracejit.kernel.fft_kernels import across, row_lengths, rows, within
from tracejit.kernel.fft_long import long_columns, long_ends, long_rows
from tracejit.kernel.fft_tables import divisors, radices, smooth
from tracejit.kernel.fft_writer import Made
from tracejit.kernel.nodes import Kernel
from tracejit.record import dataclass

#: lanes of a vector over rows, or over columns of one row: more need memory that a first-level
#: cache has not. Over what lies side by side in memory, whole lines count for more
LANES = 8
#: and at least, where some of them are off
LEAST = 4
#: time of twice as many lanes for the same numbers
WIDER = 0.9
#: time of reading a row in several turns, for what one takes
APART = 1.1
#: lengths from which rows are transformed one by one rather than several in lanes
ALONE = 128
#: bytes of a thread's stack for one transform, and for a block of transforms in lanes: threads may
#: have no more than 2 MB of it
WITHIN_BYTES, LANES_BYTES = 1 << 19, 1 << 20
#: bytes that a first-level cache holds, and those of one of its lines
NEAR_BYTES, LINE = 1 << 15, 64
#: numbers of one transform from which threads share it, and which it has at most
LONG, LONGEST = 1 << 14, 1 << 22
#: nanoseconds of work from which threads share a step
PARALLEL_TIME = 20_000


@dataclass(frozen=True)
class Step:
    """One kernel on buffers ``x`` and ``y``: 0 is the operand, 1 the result, those from 2 on lie
    between. ``tasks``: the extent of its ``par`` loop.
    """

    kernel: Kernel
    x: int
    y: int
    tables: tuple[np.ndarray[Any, Any], ...]
    sizes: tuple[int, ...]
    tasks: int
    split: bool


@dataclass(frozen=True)
class Steps:
    """``between``: types of the buffers from number 2 on."""

    steps: tuple[Step, ...]
    between: tuple[TensorType, ...]


@dataclass(frozen=True)
class Axis:
    """A transform along one axis of an array ``[outer, n, inner]``."""

    kind: str
    dtype: str
    outer: int
    n: int
    inner: int
    factor: float

    @property
    def points(self) -> int:
        """Length of the complex transform."""
        return self.n // 2 if self.real and self.n % 2 == 0 else self.n

    @property
    def real(self) -> bool:
        return self.kind in ("rfft", "irfft")

    @property
    def time(self) -> float:
        """Nanoseconds, roughly."""
        return self.outer * self.inner * self.points * (1 + math.log2(self.points + 1)) / 4


def axes_of(node: Node) -> list[Axis]:
    """The transforms along one axis that make up a node, in their order."""
    params = node.params
    shape = list(node.inputs[0].type.shape)
    dtype = short(real_dtype(node.inputs[0].type.dtype))
    kind, axes, norm = params["kind"], params["axes"], params["norm"]
    length = dict(zip(axes, params["lengths"], strict=True))
    points = math.prod(params["lengths"])
    forward = kind in ("fft", "rfft")
    factor = 1 / math.sqrt(points) if norm == "ortho" else 1.0
    if norm != "ortho" and forward == (norm == "forward"):
        factor = 1 / points
    others = sorted(axes[:-1] if kind in ("rfft", "irfft") else axes, reverse=True)
    order = [(axis, "fft" if forward else "ifft") for axis in others]
    if kind in ("rfft", "irfft"):
        order.insert(0 if forward else len(order), (axes[-1], kind))
    found = []
    for axis, way in order:
        outer, inner = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
        found.append(Axis(way, dtype, outer, length[axis], inner, factor))
        factor = 1.0
        shape[axis] = length[axis] // 2 + 1 if way == "rfft" else length[axis]
    return found


def has_kernels(node: Node, vector_bytes: int) -> bool:
    """Whether all axes of a transform have kernels: their lengths have small factors only, and
    vectors fit.
    """
    x, size = node.inputs[0], node.outputs[0].type.size
    if not isinstance(x, Value) or 0 in (x.type.size, size):
        return False
    return all(_way(axis, 1, vector_bytes) is not None for axis in axes_of(node))


# ---- which kernel ------------------------------------------------------------------------------


def _way(axis: Axis, threads: int, vector_bytes: int) -> str | None:
    """Which kernel computes it; None where none does."""
    points, item = axis.points, DTYPES[axis.dtype].itemsize
    if not smooth(points):
        return None
    full = vector_bytes // item
    width = min(full, LANES)
    if axis.inner > 1:
        return "across" if _across_width(axis, full) else None
    large = 4 * points * item > WITHIN_BYTES
    even = not axis.real or axis.n % 2 == 0
    if even and LONG <= points <= LONGEST and columns(points, full, item):
        if axis.outer < 2 * threads or large:
            return "long"
    if not large and columns(points, width, item):
        if points >= ALONE or axis.outer < 2 * width:
            return "within"
    return "rows" if 10 * points * width * item <= LANES_BYTES else None


def _across_width(axis: Axis, full: int) -> int:
    """Lanes for a transform along an axis that others follow: as many as fit, and have work; 0
    where less than a line of the cache fits.
    """
    item = DTYPES[axis.dtype].itemsize
    width = full
    while 6 * axis.points * width * item > LANES_BYTES:
        width //= 2
    if width < full and 2 * width * item < LINE:
        return 0
    return min(width, max(1 << (axis.inner - 1).bit_length(), LEAST))


@lru_cache(maxsize=1024)
def _matrix(points: int, width: int, item: int) -> tuple[float, int]:
    """How wide the matrix is as which a row is read, and what that costs: nothing for where one
    side would be less than a vector, or more than fits.
    """
    best = math.inf, 0
    for wide in divisors(points):
        high = points // wide
        if min(wide, high) < width:
            continue
        cost, apart = 0.0, 1.0 if wide < 2 * width else APART
        for n, other in ((high, wide), (wide, high)):
            room = 4 * n * width * item
            slow = 1.0 if room <= NEAR_BYTES else 1.5 if room <= LANES_BYTES // 2 else math.inf
            blocks = -(-other // width) * width
            cost += apart * slow * blocks / other * sum(2 + r / 8 for r in radices(n))
        best = min(best, (cost, wide))
    return best


def columns(points: int, width: int, item: int) -> int:
    """How wide the matrix is as which a row is read; 0 where it can not be."""
    return _matrix(points, width, item)[1]


def _row_width(points: int, full: int, item: int) -> int:
    """Lanes for a row that is read as a matrix: whole vectors where little is left over."""
    width = min(full, LANES)
    wider = _matrix(points, full, item)[0] * WIDER
    return full if wider < _matrix(points, width, item)[0] else width


def fft_steps(node: Node, vector_bytes: int, threads: int) -> Steps:
    """The kernels of a transform that has some. What is complex is transformed in place where it is
    not the operand.
    """
    axes = axes_of(node)
    complex_ = (node.outputs if node.params["kind"] == "rfft" else node.inputs)[0].type
    inside = [k > 0 and _works_in_place(axis, vector_bytes, threads) for k, axis in enumerate(axes)]
    steps: list[Step] = []
    between: list[TensorType] = []
    at = 0
    for number, axis in enumerate(axes):
        made = _kernels(axis, vector_bytes, threads, inside[number])
        for part, (kernel, sizes, tasks) in enumerate(made):
            if part < len(made) - 1 or not (inside[number] or all(inside[number + 1 :])):
                to = len(between) + 2
                between.append(complex_)
            else:
                to = at if inside[number] else 1
            split = threads > 1 and tasks > 1 and axis.time >= PARALLEL_TIME
            steps.append(Step(kernel.kernel, at, to, kernel.tables, sizes, tasks, split))
            at = to
    return Steps(tuple(steps), tuple(between))


def _works_in_place(axis: Axis, vector_bytes: int, threads: int) -> bool:
    way = _way(axis, threads, vector_bytes)
    return axis.kind in ("fft", "ifft") and way in ("across", "within")


def _kernels(
    axis: Axis, vector_bytes: int, threads: int, inside: bool
) -> Sequence[tuple[Made, tuple[int, ...], int]]:
    """Kernels, their sizes and their numbers of tasks; ``inside``: they work in place."""
    item = DTYPES[axis.dtype].itemsize
    full = vector_bytes // item
    width = min(full, LANES)
    way = _way(axis, threads, vector_bytes)
    like = (axis.n, axis.kind, axis.dtype)
    if way == "across":
        width = _across_width(axis, full)
        last = "part" if inside and axis.inner % width else "again"
        last = "few" if axis.inner < width else last
        tasks = axis.outer * -(-axis.inner // width)
        made = _made(across, *like, width, axis.factor, last)
        return [(made, (axis.outer, axis.inner), tasks)]
    if way == "rows":
        few = axis.outer < width or min(row_lengths(axis.n, axis.kind)) < width
        made = _made(rows, *like, width, axis.factor, few)
        return [(made, (axis.outer,), -(-axis.outer // width))]
    if way == "within":
        width = _row_width(axis.points, full, item)
        made = _made(within, *like, width, axis.factor, columns(axis.points, width, item))
        return [(made, (axis.outer,), axis.outer)]
    assert way == "long"
    return _long_kernels(axis, full, width)


def _long_kernels(axis: Axis, full: int, width: int) -> Sequence[tuple[Made, tuple[int, ...], int]]:
    wide = columns(axis.points, full, DTYPES[axis.dtype].itemsize)
    kind, scale = ("fft" if axis.kind == "rfft" else "ifft"), axis.factor
    if axis.points == axis.n:
        kind = axis.kind
    elif axis.kind == "rfft":
        scale /= 2
    like = (axis.points, kind, axis.dtype)
    first = _made(long_columns, *like, full, scale, wide)
    second = _made(long_rows, *like, width, wide)
    counts = -(-wide // full), -(-(axis.points // wide) // width)
    found = [
        (first, (axis.outer,), axis.outer * counts[0]),
        (second, (axis.outer,), axis.outer * counts[1]),
    ]
    if axis.points != axis.n:
        made = _made(long_ends, axis.n, axis.kind, axis.dtype, full)
        step = (made, (axis.outer,), axis.outer * -(-(axis.points // 2) // full))
        found.insert(2 if axis.kind == "rfft" else 0, step)
    return found


@lru_cache(maxsize=256)
def _made(write: Callable[..., Made], *given: Any) -> Made:
    """A kernel, written once."""
    return write(*given)
