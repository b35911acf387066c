"""A Fourier transform of short length in every lane of a vector loop: the butterflies and passes.

    f = LaneFFT(k, "f32", 1000, "w", 0)
    f.write(get, put, buffers)          statements that read get(place) and write put(place, value)

Passes are those of Stockham's sorting transform: each reads places that lie as far apart as can be,
transforms ``r`` of them, turns the results and writes them where the last pass leaves all in order.
Complex numbers are pairs of real expressions, and every sum is a local of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import count

from tracejit.ir.expr import Const, Expr, Load, Op, Var, iadd, imul
from tracejit.kernel.build import KernelBuilder
from tracejit.kernel.fft_tables import PRIMES, radices, root

Number = tuple[Expr, Expr]
Get = Callable[[Expr], Number]
Put = Callable[[Expr, Number], None]


class Arithmetic:
    """Writes operations on complex numbers as locals of a kernel."""

    def __init__(self, k: KernelBuilder, dtype: str) -> None:
        self.k = k
        self.dtype = dtype
        self.numbers = count()

    # ---- real numbers ----

    def new(self, fn: str, *args: Expr) -> Var:
        return self.named(Op(fn, args, self.dtype))

    def named(self, value: Expr) -> Var:
        return self.k.local(self.dtype, value, f"t{next(self.numbers)}")

    def const(self, value: float) -> Const:
        return Const(float(value), self.dtype)

    def neg(self, a: Expr) -> Expr:
        return a.args[0] if isinstance(a, Op) and a.fn == "neg" else Op("neg", (a,), self.dtype)

    # ---- complex numbers ----

    def held(self, x: Number) -> Number:
        return self.named(x[0]), self.named(x[1])

    def add(self, x: Number, y: Number) -> Number:
        return self.new("add", x[0], y[0]), self.new("add", x[1], y[1])

    def sub(self, x: Number, y: Number) -> Number:
        return self.new("sub", x[0], y[0]), self.new("sub", x[1], y[1])

    def times(self, x: Number, y: Number) -> Number:
        """The product, two of its four multiplications together with a sum."""
        low, high = self.new("mul", x[1], y[1]), self.new("mul", x[1], y[0])
        return self.new("fma", x[0], y[0], self.neg(low)), self.new("fma", x[0], y[1], high)

    def scaled(self, x: Number, factor: float) -> Number:
        if factor == 1:
            return x
        c = self.const(factor)
        return self.new("mul", x[0], c), self.new("mul", x[1], c)

    def more(self, total: Number | None, x: Number, factor: float) -> Number:
        """``total + x * factor``"""
        if total is None:
            return self.scaled(x, factor)
        c = self.const(factor)
        return self.new("fma", x[0], c, total[0]), self.new("fma", x[1], c, total[1])

    def turned(self, x: Number, k: int, n: int) -> Number:
        """``x`` times exp(-2 pi i k / n)."""
        re, im = x
        k %= n
        if 8 * k % n:
            return self.times(x, tuple(map(self.const, root(n, k))))  # type: ignore[arg-type]
        quarter, odd = divmod(8 * k // n, 2)
        if odd:  # (1 - i) / sqrt 2
            c = self.const(math.sqrt(0.5))
            re, im = self.new("add", re, im), self.new("sub", im, re)
            re, im = self.new("mul", re, c), self.new("mul", im, c)
        for _ in range(quarter):
            re, im = im, self.neg(re)
        return re, im

    # ---- transforms that are written out ----

    def dft(self, xs: Sequence[Number]) -> list[Number]:
        """The transform of a few numbers."""
        n = len(xs)
        if n == 1:
            return list(xs)
        if n == 2:
            return [self.add(xs[0], xs[1]), self.sub(xs[0], xs[1])]
        if n in PRIMES:
            return self.odd(xs)
        a = next(p for p in (4, 3, 2) if n % p == 0)
        if n == 4:
            a = 2
        b = n // a
        if math.gcd(a, b) == 1:
            return self.coprime(xs, a, b)
        # Cooley and Tukey: a transforms of length b come last
        rows = [self.dft([xs[b * i + j] for i in range(a)]) for j in range(b)]
        found: list[Number] = [xs[0]] * n
        for i in range(a):
            column = [self.turned(rows[j][i], i * j, n) for j in range(b)]
            for j, value in enumerate(self.dft(column)):
                found[i + a * j] = value
        return found

    def coprime(self, xs: Sequence[Number], a: int, b: int) -> list[Number]:
        """Good and Thomas: factors without a common divisor need no turns."""
        n = a * b
        rows = [self.dft([xs[(b * i + a * j) % n] for i in range(a)]) for j in range(b)]
        columns = [self.dft([rows[j][i] for j in range(b)]) for i in range(a)]
        return [columns[k % a][k % b] for k in range(n)]

    def odd(self, xs: Sequence[Number]) -> list[Number]:
        """An odd prime: places that mirror each other have the same cosines."""
        n, half = len(xs), len(xs) // 2
        sums = [self.add(xs[k], xs[n - k]) for k in range(1, half + 1)]
        gaps = [self.sub(xs[k], xs[n - k]) for k in range(1, half + 1)]
        total = xs[0]
        for x in sums:
            total = self.add(total, x)
        found = [total] * n
        for j in range(1, half + 1):
            even, uneven = xs[0], None
            for k, (s, g) in enumerate(zip(sums, gaps, strict=True), 1):
                cosine, sine = root(n, j * k)
                even = self.more(even, s, cosine)
                uneven = self.more(uneven, g, -sine)
            assert uneven is not None
            found[j] = self.new("add", even[0], uneven[1]), self.new("sub", even[1], uneven[0])
            found[n - j] = self.new("sub", even[0], uneven[1]), self.new("add", even[1], uneven[0])
        return found


class LaneFFT:
    """The passes of a transform of ``n`` places, with a table of turns from ``offset`` on."""

    def __init__(self, math: Arithmetic, n: int, table: str, offset: int = 0) -> None:
        self.math = math
        self.n = n
        self.table = table
        self.offset = offset
        self.factors = radices(n)

    @property
    def buffers(self) -> int:
        """How many pairs of scratch of ``n`` places the passes need between them."""
        return min(max(len(self.factors) - 1, 0), 2)

    def write(self, get: Get, put: Put, between: Sequence[tuple[Get, Put]]) -> None:
        """``between``: readers and writers of scratch, as many as ``buffers``."""
        offset, s, m = self.offset, 1, self.n
        if not self.factors:
            put(Const(0, "i64"), get(Const(0, "i64")))
        last = len(self.factors) - 1
        for number, r in enumerate(self.factors):
            m //= r
            read = get if number == 0 else between[(number - 1) % 2][0]
            write = put if number == last else between[number % 2][1]
            self.step(r, m, s, offset, read, write)
            if m > 1:
                offset += m * (r - 1)
            s *= r

    def step(self, r: int, m: int, s: int, offset: int, get: Get, put: Put) -> None:
        """One pass: ``m`` by ``s`` transforms of length ``r``."""
        k, f = self.math.k, self.math
        with ExitStack() as stack:
            p: Expr = Const(0, "i64")
            q: Expr = Const(0, "i64")
            turns: list[Number] = []
            if m > 1:
                p = stack.enter_context(k.loop("seq", m, name="p"))
                at = iadd(imul(p, r - 1), offset)
                for i in range(r - 1):
                    place = iadd(at, i)
                    parts = (
                        Load(self.table, (place, Const(part, "i64")), f.dtype) for part in (0, 1)
                    )
                    turns.append(f.held(tuple(parts)))  # type: ignore[arg-type]
            if s > 1:
                q = stack.enter_context(k.loop("seq", s, name="q"))
            start = self.place(iadd(q, imul(p, s)), "start")
            found = f.dft([get(iadd(start, s * m * i)) for i in range(r)])
            end = self.place(iadd(q, imul(p, s * r)), "end")
            for i, value in enumerate(found):
                if i and turns:
                    value = f.times(value, turns[i - 1])
                put(iadd(end, s * i), value)

    def place(self, value: Expr, name: str) -> Expr:
        return value if isinstance(value, Const) else self.math.k.local("i64", value, name)
