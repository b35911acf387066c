"""What kernels of Fourier transforms share: scratch, tables, transforms in lanes, and what turns
the transform of pairs of a real signal into its spectrum.

    w = Writer("fft", 1000, "rfft", "f32", 8, 1.0)
    with w.k.loop("par", Var("rows", "i64")) as row, w.all_lanes() as lane: ...
    w.finish(("rows",), ("rows", 1000), ("rows", 501, 2))       a Made: the kernel and its tables

A real signal of even length is read as complex numbers, two places each (``pairs``); with Z their
transform, bins k and n / 2 - k are sums and differences of Z[k] and the conjugate of Z[n / 2 - k],
the latter times -i exp(-2 pi i k / n). One of odd length is transformed as complex numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np

from tracejit.ir.expr import Const, Expr, Load, Op, Var, iadd, idiv, imod, imul, index, isub
from tracejit.kernel.build import KernelBuilder
from tracejit.kernel.fft_lanes import Arithmetic, Get, LaneFFT, Number, Put
from tracejit.kernel.fft_tables import pass_table, radices, roots
from tracejit.kernel.nodes import Kernel, Param, Store
from tracejit.record import dataclass

ZERO = Const(0, "i64")
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Made:
    """A kernel over ``x``, ``y`` and ``tables``, and the sizes that it asks for."""

    kernel: Kernel
    tables: tuple[Array, ...]


@dataclass(frozen=True)
class Planes:
    """A matrix of complex numbers in a buffer of real ones: the real parts of a row, then the
    imaginary ones, ``step`` places on. Parts that lie together share lines of the cache; and
    distances that are powers of two, at which stores hold up loads, are avoided.
    """

    name: str
    step: int


class Writer:
    """What the kernels have in common: ``kind`` of length ``n``, in vectors of ``width``, times
    ``factor``.
    """

    def __init__(self, name: str, n: int, kind: str, dtype: str, width: int, factor: float) -> None:
        self.n, self.kind, self.dtype, self.width, self.factor = n, kind, dtype, width, factor
        self.real = kind in ("rfft", "irfft")
        self.forward = kind in ("fft", "rfft")
        #: whether a real signal is read as complex numbers, two places each
        self.pairs = self.real and n % 2 == 0
        #: length of the complex transform
        self.m = n // 2 if self.pairs else n
        self.name = f"{name}_{kind}_{n}"
        self.k = KernelBuilder(["x", "y", *"wtu", "rows", "outer", "inner", self.name], width=width)
        self.math = Arithmetic(self.k, dtype)
        self.params: list[Param] = []
        self.tables: list[Array] = []

    def table(self, name: str, values: Array) -> str:
        """A parameter with the numbers of an array."""
        array = np.ascontiguousarray(values, np.float32 if self.dtype == "f32" else np.float64)
        if not array.size:
            array = np.zeros((1, *array.shape[1:]), array.dtype)
        self.params.append(Param(name, self.dtype, array.shape, "in"))
        self.tables.append(array)
        return name

    def finish(self, sizes: tuple[str, ...], x: tuple[Any, ...], y: tuple[Any, ...]) -> Made:
        ends = Param("x", self.dtype, x, "in"), Param("y", self.dtype, y, "out")
        kernel = Kernel(self.name, sizes, (*ends, *self.params), self.k.finish())
        return Made(kernel, tuple(self.tables))

    def planes(self, rows: int, columns: int, name: str) -> Planes:
        """Scratch for complex numbers."""
        return Planes(self.k.scratch(self.dtype, (rows, 2 * columns), name), columns)

    def turns(self, name: str, values: Array) -> Planes:
        """A table of complex numbers ``[row, column, part]``."""
        high, wide, _ = values.shape
        self.table(name, np.swapaxes(values, 1, 2).reshape(high, 2 * wide))
        return Planes(name, wide)

    def read(self, x: Planes, row: Expr | int, column: Expr) -> Number:
        """A complex number, as locals."""
        row = index(row)
        re = Load(x.name, (row, column), self.dtype)
        return self.math.held((re, Load(x.name, (row, iadd(column, x.step)), self.dtype)))

    def put(self, x: Planes, value: Number, row: Expr | int, column: Expr) -> None:
        row = index(row)
        self.k.emit(Store(x.name, (row, column), value[0]))
        self.k.emit(Store(x.name, (row, iadd(column, x.step)), value[1]))

    def between(self, buffers: list[Planes], lane: Expr) -> list[tuple[Get, Put]]:
        """Readers and writers of scratch between the passes of a transform in lanes."""

        def ends(x: Planes) -> tuple[Get, Put]:
            return (
                lambda p: self.read(x, p, lane),
                lambda p, value: self.put(x, value, p, lane),
            )

        return [ends(x) for x in buffers]

    def scratches(self, *lengths: int) -> list[Planes]:
        """Scratch for the passes of transforms of some lengths, one after the other."""
        ffts = [LaneFFT(self.math, n, "w") for n in lengths]
        found = []
        for number in range(2):
            needed = [f.n for f in ffts if f.buffers > number]
            if needed:
                found.append(self.planes(max(needed), self.width, "ab"[number]))
        return found

    def swapped(self, x: Number) -> Number:
        """An inverse transform is the forward one with the parts exchanged on both ends."""
        return x if self.forward else (x[1], x[0])

    def extents(self) -> tuple[int, int]:
        """Of the transformed axis, before and after."""
        half = self.n // 2 + 1
        return {"rfft": (self.n, half), "irfft": (half, self.n)}.get(self.kind, (self.n, self.n))

    # ---- a transform in each lane, with what real signals need ----

    def lane_scratch(self) -> Callable[[Expr], tuple[Any, Any]]:
        """Scratch for ``lanes``, and a function of the lane that gives the last operands of it."""
        buffers = self.scratches(self.m)
        held = self.pairs or self.kind == "irfft"
        z = self.planes(self.m, self.width, "z") if held else None

        def ways(lane: Expr) -> tuple[Any, Any]:
            whole = self.between([z], lane)[0] if z is not None else None
            return self.between(buffers, lane), whole

        return ways

    def lanes(self, get: Any, put: Any, between: Sequence[tuple[Get, Put]], whole: Any) -> None:
        """``get`` and ``put`` are of real numbers where the signal is."""
        f, m, kind = self.math, self.m, self.kind
        fft = LaneFFT(f, m, self.table("w", pass_table(m, radices(m))))
        if self.real and not self.pairs:
            self.odd_lanes(fft, get, put, between, whole)
            return
        if self.real:
            self.table("u", splits(self.n, kind))
        scale = self.factor

        def turn(p: Expr) -> Number:
            return f.held(parts("u", (p,), self.dtype))

        def complex_get(p: Expr) -> Number:
            return self.swapped(f.held(get(p)))

        def complex_put(p: Expr, value: Number) -> None:
            put(p, f.scaled(self.swapped(value), scale))

        if kind == "rfft":

            def pairs(p: Expr) -> Number:
                return f.held((get(imul(p, 2)), get(iadd(imul(p, 2), 1))))

            fft.write(pairs, whole[1], between)
            self.half_spectrum(whole[0], put, turn, 0.5 * scale)
        elif kind == "irfft":
            self.half_spectrum(lambda p: f.held(get(p)), whole[1], turn, 1.0)

            def signal(p: Expr, value: Number) -> None:
                im, re = f.scaled(value, scale)
                put(imul(p, 2), re)
                put(iadd(imul(p, 2), 1), im)

            def from_whole(p: Expr) -> Number:
                return self.swapped(whole[0](p))

            fft.write(from_whole, signal, between)
        else:
            fft.write(complex_get, complex_put, between)

    def odd_lanes(self, fft: LaneFFT, get: Any, put: Any, between: Any, whole: Any) -> None:
        """A real signal of odd length, as complex numbers."""
        f, k, half = self.math, self.k, self.n // 2
        if self.kind == "irfft":
            self.mirror(lambda p: f.held(get(p)), whole[1], "seq")

            def from_whole(p: Expr) -> Number:
                return self.swapped(whole[0](p))

            def signal(p: Expr, value: Number) -> None:
                put(p, f.scaled(value, self.factor)[1])

            fft.write(from_whole, signal, between)
            return

        def bin(p: Expr, value: Number) -> None:
            if least(p) <= half:
                with nullcontext() if isinstance(p, Const) else k.when(k.op("le", p, half)):
                    put(p, f.scaled(value, self.factor))

        fft.write(lambda p: (f.named(get(p)), f.const(0.0)), bin, between)

    def mirror(self, get: Get, put: Put, how: str) -> None:
        """From the bins of a real signal of odd length to its whole spectrum. The imaginary part of
        the first is not read.
        """
        f = self.math
        put(ZERO, (get(ZERO)[0], f.const(0.0)))
        with self.k.loop(how, self.n // 2 + 1, start=1, name="i") as i:
            re, im = get(i)
            put(i, (re, im))
            put(isub(self.n, i), (re, f.named(f.neg(im))))

    def half_spectrum(
        self, get: Get, put: Put, turn: Callable[[Expr], Number], scale: float, how: str = "seq"
    ) -> None:
        """Between the transform of pairs of a real signal and its bins, from both ends at once: to
        these ("rfft") or from them. The imaginary parts of the first and the last are not read.
        """
        self.both_ends(get, put, scale)
        with self.k.loop(how, self.m // 2 + 1, start=1, name="i") as i:
            self.both_bins(get, put, i, turn(i), scale)

    def both_ends(self, get: Get, put: Put, scale: float) -> None:
        """The first bin and the last one, which are real."""
        f, m = self.math, index(self.m)
        if self.kind == "irfft":
            ends = get(ZERO)[0], get(m)[0]
            put(ZERO, f.scaled((f.new("add", *ends), f.new("sub", *ends)), scale))
            return
        re, im = get(ZERO)
        for place, fn in ((ZERO, "add"), (m, "sub")):
            both = f.new(fn, re, im)
            put(place, (f.new("mul", both, f.const(2 * scale)), f.const(0.0)))

    def both_bins(self, get: Get, put: Put, i: Expr, turn: Number, scale: float) -> None:
        """A bin of the first half, and the one of the second half that is its mirror."""
        f, other = self.math, isub(self.m, i)
        a, b = get(i), get(other)
        even = f.scaled((f.new("add", a[0], b[0]), f.new("sub", a[1], b[1])), scale)
        gap = f.new("sub", a[0], b[0]), f.new("add", a[1], b[1])
        odd = f.times(gap, f.scaled(turn, scale))
        high = f.sub(even, odd)
        put(i, f.add(even, odd))
        put(other, (high[0], f.named(f.neg(high[1]))))

    def all_lanes(self) -> AbstractContextManager[Var]:
        return self.k.loop("vec", self.width, name="l")

    def some_lanes(self, count: Expr, whole: bool = False) -> AbstractContextManager[Var]:
        """The first ``count`` lanes of a vector, if there are so many. ``whole``: most often there
        are, and the code for all of them is worth its room.
        """
        stop = self.k.op("min", count, self.width)
        return self.k.loop("vec", stop, unroll=int(whole), name="l")

    def store(
        self, name: str, place: tuple[Expr, ...], value: Number, guard: Expr | None = None
    ) -> None:
        """Both parts of a complex number in turn."""
        held = tuple(v if isinstance(v, Var) else self.math.named(v) for v in value)
        for i, part in enumerate(held):
            self.k.emit(Store(name, (*place, Const(i, "i64")), part, guard))

    @contextmanager
    def shared(self, blocks: int) -> Iterator[tuple[Expr, Expr]]:
        """Tasks that are blocks of rows: the row and the number of the block."""
        k = self.k
        with k.loop("par", imul(Var("rows", "i64"), blocks), name="task") as task:
            row = k.local("i64", idiv(task, blocks), "row")
            yield row, k.local("i64", imod(task, blocks), "b")

    @contextmanager
    def blocks(self, n: int) -> Iterator[Expr]:
        """Where each vector of a row of ``n`` begins: the last one may repeat some of another."""
        k, count = self.k, -(-n // self.width)
        if count == 1:
            yield ZERO
            return
        with k.loop("seq", count, name="b") as b:
            place: Expr = imul(b, self.width)
            if n % self.width:
                place = k.op("min", place, n - self.width)
            yield k.local("i64", place, "first")


def splits(n: int, kind: str) -> Array:
    """-i exp(-2 pi i k / n) for each bin, or the conjugates."""
    w = roots(n, np.arange(n // 2 + 1))
    found = np.stack([w[:, 1], -w[:, 0]], -1)
    return found if kind == "rfft" else found * [1, -1]


def parts(name: str, place: tuple[Expr, ...], dtype: str) -> Number:
    re, im = (Load(name, (*place, Const(i, "i64")), dtype) for i in (0, 1))
    return re, im


def least(place: Expr) -> int:
    """What a place is at least, variables not being negative."""
    match place:
        case Const(value=int(value)):
            return value
        case Op(fn="add", args=(a, b)):
            return least(a) + least(b)
        case Op(fn="mul", args=(a, Const(value=int(value)))) if value >= 0:
            return least(a) * value
    return 0
