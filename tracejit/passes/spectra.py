"""Fourier and cosine transforms as a library's calls with ordinary operations around them.

    y = fft(x, kind="ifft", axes=(0, 2), lengths=(4, 8), norm="backward")
      ->  raw_fft over the last axis, raw_fft over the first one, times 1 / 32

Comes in: any graph, and ``takes(node)``, which says of a ``raw_fft`` whether the target has a
library for it. Goes out: an equal graph. Axes that a library does not reach are brought to the end
by transposes, factors are multiplications: both become part of kernels around them. Spectra of real
signals are made what a library takes: imaginary parts that pocketfft does not read become 0. What
nobody takes stays what it is.

Cosine transforms are Fourier transforms of twice the length: of even extensions, or padded with
zeros and turned (Makhoul, "A fast cosine transform in one and two dimensions", 1980, section II).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from tracejit.ir.build import Builder, building, full_like
from tracejit.ir.graph import Atom, Graph, Node, Value, walk_nodes
from tracejit.ir.types import DTYPES, TensorType, kind, real_dtype
from tracejit.ops import arith, fft, layout, logic, parts
from tracejit.ops import math as functions
from tracejit.ops.family import ADD
from tracejit.ops.raw_fft import MOST_AXES, raw_fft
from tracejit.passes.dead import drop_dead
from tracejit.passes.merge import merge_equal
from tracejit.passes.subgraphs import replaced

Takes = Callable[[Node], bool]
Ints = tuple[int, ...]
FORWARD = ("fft", "rfft")


def call_transforms(graph: Graph, takes: Takes) -> Graph:
    """``graph`` with its transforms, those of inner graphs too, in calls of a library."""
    if not any(node.prim in (fft.fft, fft.dct) for node in walk_nodes(graph)):
        return graph
    found = _found(graph, takes)
    return found if found is graph else drop_dead(merge_equal(found))


def _found(graph: Graph, takes: Takes) -> Graph:
    def rule(node: Node, inputs: tuple[Atom, ...], env: dict[Value, Atom]) -> Any:
        if node.prim not in (fft.fft, fft.dct):
            return None
        x = inputs[0]
        sizes = (x.type.size, node.outputs[0].type.size)
        if 0 in sizes or not isinstance(x, Value) or not _all_taken(node, takes):
            return None
        made = graph.producer.get(node.inputs[0])  # type: ignore[arg-type]
        writer = _Writer(made is not None and made.prim.element is not None)
        if node.prim is fft.dct:
            return writer.cosine(x, **node.params)
        return writer.fourier(x, **node.params)

    return replaced(graph, lambda sub: _found(sub, takes), rule)


def _all_taken(node: Node, takes: Takes) -> bool:
    """Whether the library takes every call that would stand for a node: written apart, they are
    asked for one by one.
    """
    builder = Builder()
    x = Value(node.inputs[0].type)
    with building(builder):
        writer = _Writer(False)
        write = writer.cosine if node.prim is fft.dct else writer.fourier
        write(x, **node.params)
    return all(takes(made) for made in builder.nodes if made.prim is raw_fft)


class _Writer:
    """``before``: whether factors are best multiplied to what is transformed, rather than to what
    comes out: a kernel makes it.
    """

    def __init__(self, before: bool) -> None:
        self.before = before

    # ---- Fourier transforms ----

    def fourier(self, x: Any, *, kind: str, axes: Ints, lengths: Ints, norm: str) -> Any:
        forward = kind in FORWARD
        factor = _factor(math.prod(lengths), norm, forward)
        if kind in ("fft", "ifft"):
            if self.before:
                return self.complex(_scaled(x, factor), kind, axes)
            return _scaled(self.complex(x, kind, axes), factor)
        others, last, length = axes[:-1], axes[-1], lengths[-1]
        if kind == "rfft":
            x = _scaled(x, factor) if self.before else x
            first = self.one_call(x, axes)
            if first is not None:
                found = raw_fft(x, kind=kind, count=len(axes), first=first, length=length)
            else:
                found = self.complex(self.real(x, kind, last, length), "fft", others)
            return found if self.before else _scaled(found, factor)
        x = self.complex(x, "ifft", others)
        return self.real(_scaled(_real_ends(x, last, length), factor), kind, last, length)

    def one_call(self, x: Any, axes: Ints) -> bool | None:
        """Whether the transform of a real signal is one call, over the first axes (True) or the
        last ones (False); None where it is not.
        """
        rank, count = x.type.ndim, len(axes)
        if count > MOST_AXES or x.type.shape[axes[-1]] == 1:
            return None
        if axes[-1] == rank - 1 and set(axes) == set(range(rank - count, rank)):
            return False
        return True if axes[-1] == count - 1 and set(axes) == set(range(count)) else None

    def real(self, x: Any, kind: str, axis: int, length: int) -> Any:
        """From a real signal along one axis to half of its spectrum, or back."""
        if length == 1:
            return parts.complex_(x, full_like(x, 0)) if kind == "rfft" else parts.real(x)
        rank = x.type.ndim

        def call(x: Any, first: bool) -> Any:
            return raw_fft(x, kind=kind, count=1, first=first, length=length)

        if axis in (0, rank - 1):
            return call(x, axis != rank - 1)
        order = _to_end(rank, (axis,))
        found = call(layout.transpose(x, permutation=order), False)
        return layout.transpose(found, permutation=layout.inverse(order))

    def complex(self, x: Any, kind: str, axes: Sequence[int]) -> Any:
        """The sums over some axes, in any order."""
        rank, shape = x.type.ndim, x.type.shape
        left = sorted(axis for axis in axes if shape[axis] > 1)
        while left:
            last = _run(reversed(left), rank - 1, -1)
            first = _run(left, 0, 1)
            if last:
                x = _call(x, kind, len(last), False)
                done = set(last)
            elif first:
                x = _call(x, kind, len(first), True)
                done = set(first)
            else:
                done = set(left[-MOST_AXES:])
                order = _to_end(rank, tuple(sorted(done)))
                x = _call(layout.transpose(x, permutation=order), kind, len(done), False)
                x = layout.transpose(x, permutation=layout.inverse(order))
            left = [axis for axis in left if axis not in done]
        return x

    # ---- cosine transforms ----

    def cosine(self, x: Any, *, type: int, axes: Ints, norm: str) -> Any:
        for axis in axes:
            x = _COSINES[type](self, x, axis, norm)
        return x

    def _along(self, x: Any, kind: str, axis: int, length: int) -> Any:
        if kind in ("rfft", "irfft"):
            return self.real(x, kind, axis, length)
        return self.complex(x, kind, (axis,))

    def type_1(self, x: Any, axis: int, norm: str) -> Any:
        """The spectrum of x[0], x[1] ... x[n - 1], x[n - 2] ... x[1]."""
        n = x.type.shape[axis]
        points, ortho = 2 * (n - 1), norm == "ortho"
        if ortho:
            x = _weighed(x, axis, (0, n - 1), math.sqrt(2))
        back = layout.rev(_cut(x, axis, 1, n - 1), dimensions=(axis,))
        even = layout.concatenate(x, back, dimension=axis) if n > 2 else x
        found = parts.real(self._along(even, "rfft", axis, points))
        if ortho:
            found = _weighed(found, axis, (0, n - 1), math.sqrt(0.5))
        return _times(found, _factor(points, norm, True))

    def type_2(self, x: Any, axis: int, norm: str) -> Any:
        """2 Re(exp(-i pi k / 2 n) X[k]), X the spectrum of x with n zeros behind it."""
        n = x.type.shape[axis]
        spectrum = self._along(_padded(x, axis, n), "rfft", axis, 2 * n)
        found = _turned(_cut(spectrum, axis, 0, n), axis, math.pi / (2 * n), 0.0)
        if norm == "ortho":
            found = _weighed(found, axis, (0,), math.sqrt(0.5))
        return _times(found, 2 * _factor(2 * n, norm, True))

    def type_3(self, x: Any, axis: int, norm: str) -> Any:
        """The signal of the spectrum x[k] exp(i pi k / 2 n), of which one half is as long as x."""
        n = x.type.shape[axis]
        if norm == "ortho":
            x = _weighed(x, axis, (0,), math.sqrt(2))
        angle = _angles(x.type, axis, math.pi / (2 * n), 0.0)
        x = _times(x, _factor(2 * n, norm, True))
        half = parts.complex_(
            arith.mul(x, functions.cos(angle)), arith.mul(x, functions.sin(angle))
        )
        signal = self._along(_padded(half, axis, 1), "irfft", axis, 2 * n)
        return _cut(signal, axis, 0, n)

    def type_4(self, x: Any, axis: int, norm: str) -> Any:
        """2 Re(exp(-i pi (2 k + 1) / 4 n) Z[k]), Z that of x[k] exp(-i pi k / 2 n) and n zeros."""
        n = x.type.shape[axis]
        angle = _angles(x.type, axis, math.pi / (2 * n), 0.0)
        z = parts.complex_(
            arith.mul(x, functions.cos(angle)),
            arith.neg(arith.mul(x, functions.sin(angle))),
        )
        spectrum = self._along(_padded(z, axis, n), "fft", axis, 2 * n)
        found = _turned(_cut(spectrum, axis, 0, n), axis, math.pi / (2 * n), math.pi / (4 * n))
        return _times(found, 2 * _factor(2 * n, norm, True))


_COSINES: dict[int, Callable[..., Any]] = {
    1: _Writer.type_1,
    2: _Writer.type_2,
    3: _Writer.type_3,
    4: _Writer.type_4,
}


def _call(x: Any, kind: str, count: int, first: bool) -> Any:
    length = x.type.shape[count - 1 if first else -1]
    return raw_fft(x, kind=kind, count=count, first=first, length=length)


def _run(axes: Any, start: int, step: int) -> list[int]:
    """Of ``axes``, those that follow one another from ``start`` on, at most as many as a library
    takes.
    """
    found: list[int] = []
    for axis in axes:
        if axis != start + step * len(found) or len(found) == MOST_AXES:
            break
        found.append(axis)
    return found


def _to_end(rank: int, axes: Ints) -> Ints:
    """The permutation that brings axes behind all others."""
    return (*(axis for axis in range(rank) if axis not in axes), *axes)


def _factor(points: int, norm: str, forward: bool) -> float:
    """What a transform multiplies by."""
    if norm == "ortho":
        return 1 / math.sqrt(points)
    return 1 / points if forward == (norm == "forward") else 1.0


def _times(x: Any, factor: float) -> Any:
    """A real Value times a number."""
    return x if factor == 1 else arith.mul(x, full_like(x, factor))


def _scaled(x: Any, factor: float) -> Any:
    """A Value times a real number: of a complex one, both parts."""
    if factor == 1 or kind(x.type.dtype) != "c":
        return _times(x, factor)
    return parts.complex_(_times(parts.real(x), factor), _times(parts.imag(x), factor))


def _real_ends(x: Any, axis: int, length: int) -> Any:
    """Half a spectrum with no imaginary part where a real signal has none."""
    ends = (0, length // 2) if length % 2 == 0 else (0,)
    imaginary = parts.imag(x)
    mask = _at(imaginary.type, axis, ends)
    imaginary = logic.select(mask, full_like(imaginary, 0), imaginary)
    return parts.complex_(parts.real(x), imaginary)


def _places(type: TensorType, axis: int) -> Any:
    return layout.iota(dtype=DTYPES["i32"], shape=type.shape, dimension=axis)


def _at(type: TensorType, axis: int, ends: Ints) -> Any:
    """True at some places along an axis."""
    places, found = _places(type, axis), None
    for end in sorted(set(ends)):
        here = logic.eq(places, full_like(places, end))
        found = here if found is None else logic.or_(found, here)
    return found


def _weighed(x: Any, axis: int, ends: Ints, factor: float) -> Any:
    """A real Value times ``factor`` at some places along an axis."""
    return logic.select(_at(x.type, axis, ends), _times(x, factor), x)


def _angles(type: TensorType, axis: int, step: float, start: float) -> Any:
    """start + k * step at place k of an axis."""
    real = type.with_dtype(real_dtype(type.dtype))
    found = parts.convert(_places(real, axis), dtype=real.dtype)
    found = arith.mul(found, full_like(found, step))
    return ADD(found, full_like(found, start)) if start else found


def _turned(x: Any, axis: int, step: float, start: float) -> Any:
    """Re(exp(-i (start + k * step)) x[k])"""
    angle = _angles(x.type, axis, step, start)
    return ADD(
        arith.mul(parts.real(x), functions.cos(angle)),
        arith.mul(parts.imag(x), functions.sin(angle)),
    )


def _padded(x: Any, axis: int, count: int) -> Any:
    """Zeros behind an axis."""
    config = [(0, 0, 0)] * x.type.ndim
    config[axis] = (0, count, 0)
    return layout.pad(x, layout.scalar(0, x.type.dtype), config=tuple(config))


def _cut(x: Any, axis: int, start: int, stop: int) -> Any:
    rank, shape = x.type.ndim, x.type.shape
    return layout.slice_(
        x,
        start=tuple(start if k == axis else 0 for k in range(rank)),
        limit=tuple(stop if k == axis else n for k, n in enumerate(shape)),
        strides=(1,) * rank,
    )
