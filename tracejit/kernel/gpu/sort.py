"""sort and top_k on a GPU.

What is sorted are whole numbers, as on a CPU (``ops/lower_sort.py``): each key as an i64 that
orders as the key does, and the place in the row behind it, so that no two entries are equal and
every order is stable. A key of up to 32 bits and the place share one number.

- Rows of up to ``tile(...)`` entries are sorted in shared memory by a bitonic network (K. Batcher,
  "Sorting networks and their applications", 1968), several short rows by one block.
- Longer rows are sorted in tiles of that length, whose runs are then merged in pairs: each entry
  finds by bisection how many of the other run come before it, and so its place (N. Satish, M.
  Harris, M. Garland, "Designing efficient sorting algorithms for manycore GPUs", 2009).
- top_k keeps the first k of each tile, and begins again with these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import prod

from tracejit.ir.expr import Expr, Op, Var, const, iadd, idiv, imod, imul
from tracejit.ir.types import DTYPES, TensorType, kind
from tracejit.kernel.build import Output
from tracejit.kernel.gpu.kernels import GpuBuilder, Kernels, blocks, indices
from tracejit.ops.lower_sort import TOP, ordered, packs, power_of_two, together
from tracejit.record import dataclass

#: shared memory of a block that sorts
SHARED_BYTES = 32 << 10
#: threads of a block that sorts, at most
THREADS = 512
#: rows sorted by one block have so many entries together, at least
TOGETHER = 256

Index = tuple[Expr, ...]
#: the keys of entry ``i`` of a row
Keys = Callable[[GpuBuilder, Index, Expr], list[Expr]]
#: what becomes of sorted entry ``i`` of a row, which came from place ``source``
Found = Callable[[GpuBuilder, Index, Expr, Expr], None]


def sort(kernels: Kernels, *, dimension: int, num_keys: int, is_stable: bool) -> None:
    """The rule of ``sort``."""
    xs, shape = kernels.xs, kernels.xs[0].type.shape
    others = (*shape[:dimension], *shape[dimension + 1 :])

    def place(row: Index, i: Expr) -> Index:
        return (*row[:dimension], i, *row[dimension:])

    def keys(k: GpuBuilder, row: Index, i: Expr) -> list[Expr]:
        at = place(row, i)
        return [number for x in xs[:num_keys] for number in numbers(k, x(at), x.type)]

    def found(k: GpuBuilder, row: Index, i: Expr, source: Expr) -> None:
        for x, y in zip(xs, kernels.ys, strict=True):
            k.store(y, place(row, i), x(place(row, source)))

    types = [x.type for x in xs[:num_keys]]
    rows = _Rows(kernels, others, shape[dimension], _columns(types), packs(types))
    rows.sort(keys, shape[dimension], found)


def top_k(kernels: Kernels, *, k: int) -> None:
    """The rule of ``top_k``."""
    (x,), (values, places) = kernels.xs, kernels.ys
    n, others = x.type.shape[-1], x.type.shape[:-1]

    def keys(b: GpuBuilder, row: Index, i: Expr) -> list[Expr]:
        return [b.op("not", ordered(b, x((*row, i)), x.type))]

    def found(b: GpuBuilder, row: Index, i: Expr, source: Expr) -> None:
        b.store(values, (*row, i), x((*row, source)))
        b.store(places, (*row, i), b.op("convert", source, dtype="i32"))

    _Rows(kernels, others, n, 1, packs([x.type])).sort(keys, k, found)


def numbers(k: GpuBuilder, x: Expr, type: TensorType) -> list[Expr]:
    """Whole numbers that order as ``x`` does. Complex ones go by real, then by imaginary part, in
    NumPy's order of nan: none, in the imaginary part, in the real one, in both.
    """
    if kind(type.dtype) != "c":
        return [ordered(k, x, type)]
    real, imag = k.op("real", x), k.op("imag", x)
    part = TensorType(type.dtype.type(0).real.dtype, ())
    flags = [
        k.op("select", k.op("ne", p, p), k.const(weight), k.const(0))
        for p, weight in ((real, 2), (imag, 1))
    ]
    return [k.op("add", *flags), ordered(k, real, part), ordered(k, imag, part)]


def _columns(types: Sequence[TensorType]) -> int:
    """Numbers that the keys of an entry are."""
    return sum(3 if kind(t.dtype) == "c" else 1 for t in types)


def tile(columns: int) -> int:
    """Entries of so many numbers that a block sorts."""
    return power_of_two(SHARED_BYTES // (8 * columns) + 1) // 2


@dataclass(frozen=True)
class Entries:
    """Sorted rows in memory."""

    buffers: tuple[Output, ...]
    packed: bool

    def key(self, k: GpuBuilder, row: Index, i: Expr) -> Expr:
        """The (first) key of entry ``i``."""
        first = k.load(self.buffers[0], (*row, i))
        return k.op("shift_right_arithmetic", first, 32) if self.packed else first

    def place(self, k: GpuBuilder, row: Index, i: Expr) -> Expr:
        """Where entry ``i`` came from."""
        last = k.load(self.buffers[-1], (*row, i))
        return k.op("and", last, (1 << 32) - 1) if self.packed else last


def sort_entries(kernels: Kernels, n: int, keys: Keys, *, narrow: bool) -> Entries:
    """One row of ``n`` entries, sorted in memory by one key; ``narrow``: it fits 32 bits."""
    return _Rows(kernels, (), n, 1, narrow).in_memory(keys)


@dataclass
class _Rows:
    """Rows of ``n`` entries being sorted, one for each index into ``others``; ``keys``: numbers of
    a key, ``packed``: it shares its number with the place.
    """

    kernels: Kernels
    others: tuple[int, ...]
    n: int
    keys: int
    packed: bool

    @property
    def numbers(self) -> int:
        """Numbers of an entry."""
        return 1 if self.packed else self.keys + 1

    @property
    def rows(self) -> int:
        return prod(self.others)

    def sort(self, keys: Keys, count: int, found: Found) -> None:
        """``found`` for the first ``count`` entries of each sorted row."""
        longest = tile(self.numbers)
        if not self.rows * count:
            self.kernels.nothing()
        elif self.n <= longest:
            self.tiles("", _From(keys=keys), self.n, count, found)
        elif 2 * count <= longest:
            self.tournament(keys, count, found)
        else:
            entries = self.in_memory(keys)
            with self.kernels.each("take", self.rows * count) as (k, number):
                *row, i = indices(number, (*self.others, count))
                at = (*row,)
                found(k, at, i, k.local("i64", entries.place(k, at, i), "source"))

    def tournament(self, keys: Keys, count: int, found: Found) -> None:
        """The best of each tile meet again."""
        source, n, turn = _From(keys=keys), self.n, 0
        while n > tile(self.numbers):
            pieces = -(-n // tile(self.numbers))
            best = self.memory(f"best{turn}_", pieces * count)
            self.tiles(f"best{turn}", source, n, count, into=best)
            source, n, turn = _From(entries=best), pieces * count, turn + 1
        self.tiles("last", source, n, count, found)

    def memory(self, name: str, n: int) -> Entries:
        """Memory for rows of ``n`` entries."""
        shape = (*self.others, n)
        made = [self.kernels.memory("i64", shape, f"{name}{c}") for c in range(self.numbers)]
        return Entries(tuple(made), self.packed)

    def in_memory(self, keys: Keys) -> Entries:
        """All entries sorted, in memory."""
        run = min(tile(self.numbers), power_of_two(self.n))
        here = self.memory("here", self.n)
        self.tiles("tiles", _From(keys=keys), self.n, run, into=here)
        there = self.memory("there", self.n) if run < self.n else here
        while run < self.n:
            self.merge(here, there, run)
            here, there, run = there, here, 2 * run
        return here

    # ---- one tile in a block

    def tiles(
        self,
        stem: str,
        source: _From,
        n: int,
        count: int,
        found: Found | None = None,
        into: Entries | None = None,
    ) -> None:
        """A kernel that sorts rows of ``n`` in tiles; ``found`` gets the first ``count`` entries of
        the only tile, or ``into`` those of each.
        """
        length = min(tile(self.numbers), max(2, power_of_two(n)))
        pieces = -(-n // length)
        side = 1 if pieces > 1 else max(1, min(TOGETHER // length, power_of_two(self.rows)))
        threads = max(32, min(THREADS, side * length // 2))
        with self.kernels.kernel(stem, blocks(self.rows * pieces, side)) as (k, block):
            network = _Network(k, self, side, length, threads)
            with k.loop("thread", threads, name="t") as t:
                network.fill(
                    t, lambda e: self.entry(k, source, block, e, (n, pieces, side, length))
                )
                network.sort(t)
                with network.each(t, side * length) as e:
                    row, piece, i = self.where(k, block, e, (pieces, side, length))
                    last = const(count) if found is not None else self.kept(piece, n, count, length)
                    inside = k.op("and", k.op("lt", row, self.rows), k.op("lt", i, last))
                    with k.when(inside):
                        at = indices(row, self.others)
                        if found is not None:
                            entry = Entries(network.outputs, self.packed)
                            found(k, at, i, k.local("i64", entry.place(k, (), e), "source"))
                        else:
                            assert into is not None
                            place = iadd(imul(piece, count), i)
                            for out, number in zip(into.buffers, network.numbers, strict=True):
                                k.store(out, (*at, place), k.load_from(number, (e,)))

    def kept(self, piece: Expr, n: int, count: int, length: int) -> Expr:
        """Entries of a tile that are kept: of whole tiles, as many as there are."""
        if count < length or n % length == 0:
            return const(count)
        left = Op("sub", (const(n), imul(piece, length)), "i64")
        return Op("min", (const(count), left), "i64")

    def where(
        self, k: GpuBuilder, block: Expr, e: Expr, of: tuple[int, int, int]
    ) -> tuple[Expr, Expr, Expr]:
        """Row, tile and place there of element ``e`` of a block."""
        pieces, side, length = of
        if pieces > 1:
            return idiv(block, pieces), imod(block, pieces), e
        row = k.local("i64", iadd(imul(block, side), idiv(e, length) if side > 1 else 0), "row")
        return row, const(0), imod(e, length) if side > 1 else e

    def entry(
        self, k: GpuBuilder, source: _From, block: Expr, e: Expr, of: tuple[int, int, int, int]
    ) -> list[Expr]:
        """The numbers of element ``e`` of a block; of what is beyond a row, such as come last."""
        n, pieces, side, length = of
        row, piece, i = self.where(k, block, e, (pieces, side, length))
        i = k.local("i64", iadd(imul(piece, length), i), "i")
        inside = k.op("lt", i, n)
        at, place = k.op("min", i, n - 1), k.op("min", row, self.rows - 1)
        index = indices(k.local("i64", place, "safe"), self.others)
        if source.entries is not None:
            read = [k.load(out, (*index, at)) for out in source.entries.buffers]
            return [k.op("select", inside, number, TOP) for number in read]
        assert source.keys is not None
        limit = (1 << 31) - 1 if self.packed else TOP
        found = [k.op("select", inside, x, limit) for x in source.keys(k, index, at)]
        return [together(k, found[0], i)] if self.packed else [*found, i]

    # ---- merges

    def merge(self, here: Entries, there: Entries, run: int) -> None:
        """Runs of ``run`` entries merged in pairs, from ``here`` to ``there``."""
        count, step = self.rows * self.n, Var("run", "i64")
        with self.kernels.each("merge", count, {"run": run}) as (k, number):
            *row, i = indices(number, (*self.others, self.n))
            i = k.local("i64", i, "i")
            pair = k.local("i64", imul(step, 2), "pair")
            start = k.local("i64", imul(idiv(i, pair), pair), "start")
            middle = k.local("i64", k.op("min", iadd(start, step), self.n), "middle")
            end = k.op("min", iadd(start, pair), self.n)
            mine = [k.local("i64", k.load(out, (*row, i)), "e") for out in here.buffers]
            left = k.local("bool", k.op("lt", i, middle), "left")
            low = k.local("i64", k.op("select", left, middle, start), "low")
            high = k.local("i64", k.op("select", left, end, middle), "high")
            with k.repeat(k.op("lt", low, high)):
                half = k.local("i64", idiv(iadd(low, high), 2), "half")
                other = [k.local("i64", k.load(out, (*row, half)), "o") for out in here.buffers]
                less = k.local("bool", before(k, other, mine), "less")
                k.set(low, k.op("select", less, iadd(half, 1), low))
                k.set(high, k.op("select", less, high, half))
            place = k.op("sub", iadd(i, low), middle)
            for out, value in zip(there.buffers, mine, strict=True):
                k.store(out, (*row, place), value)


@dataclass(frozen=True)
class _From:
    """Where entries come from: computed, or from memory."""

    keys: Keys | None = None
    entries: Entries | None = None


def before(k: GpuBuilder, a: Sequence[Expr], b: Sequence[Expr]) -> Expr:
    """Whether an entry comes before another: by the first number in which they differ."""
    found = k.op("lt", a[-1], b[-1])
    for x, y in zip(a[-2::-1], b[-2::-1], strict=True):
        found = k.op("or", k.op("lt", x, y), k.op("and", k.op("eq", x, y), found))
    return found


class _Network:
    """``side`` rows of ``length`` entries in shared memory, and the steps that sort them."""

    def __init__(self, k: GpuBuilder, rows: _Rows, side: int, length: int, threads: int) -> None:
        self.k = k
        self.length, self.size, self.threads = length, side * length, threads
        self.numbers = [k.scratch("i64", (self.size,), "row") for _ in range(rows.numbers)]
        type = TensorType(DTYPES["i64"], (self.size,))
        self.outputs = tuple(Output(name, type, type.shape) for name in self.numbers)

    @contextmanager
    def each(self, t: Var, count: int) -> Iterator[Expr]:
        """A thread's share of the numbers below ``count``."""
        k = self.k
        if count > self.threads:
            with k.loop("seq", count // self.threads, name="v") as v:
                yield k.local("i64", iadd(imul(v, self.threads), t), "e")
        elif count == self.threads:
            yield t
        else:
            with k.when(k.op("lt", t, count)):
                yield t

    def fill(self, t: Var, entry: Callable[[Expr], list[Expr]]) -> None:
        """Every entry of the block."""
        with self.each(t, self.size) as e:
            for number, value in zip(self.numbers, entry(e), strict=True):
                self.k.store_to(number, (e,), value)

    def sort(self, t: Var) -> None:
        """Merge sorted runs of 1, 2, 4 ... entries. Distances are 32 bits: so is what is made of
        them.
        """
        k = self.k
        with k.loop("seq", self.length.bit_length() - 1, name="s") as s:
            k.barrier()
            shift = k.op("convert", s, dtype="i32")
            half = k.local("i32", k.op("shift_left", k.const(1, "i32"), shift), "half")
            self.compare(t, half, flip=True)
            with k.loop("seq", s, name="q") as q:
                k.barrier()
                shift = k.op("convert", iadd(q, 1), dtype="i32")
                step = k.local("i32", k.op("shift_right_logical", half, shift), "step")
                self.compare(t, step, flip=False)
        k.barrier()

    def compare(self, t: Var, step: Var, *, flip: bool) -> None:
        """Put pairs in order: entries ``step`` apart, or first and last of 2 * step entries."""
        k = self.k
        with self.each(t, self.size // 2) as e:
            pair = k.local("i32", k.op("convert", e, dtype="i32"), "pair")
            inner = k.local("i32", k.op("and", pair, k.op("sub", step, 1)), "inner")
            start = k.op("mul", k.op("sub", pair, inner), 2)
            near = k.local("i32", k.op("add", start, inner), "near")
            far = k.op("sub", k.op("add", start, k.op("mul", step, 2)), 1)
            far = k.op("sub", far, inner) if flip else k.op("add", near, step)
            low, high = (
                k.local("i64", k.op("convert", x, dtype="i64"), name)
                for x, name in ((near, "low"), (far, "high"))
            )
            a = [k.local("i64", k.load_from(number, (low,)), "x") for number in self.numbers]
            b = [k.local("i64", k.load_from(number, (high,)), "y") for number in self.numbers]
            with k.when(before(k, b, a)):
                for number, x, y in zip(self.numbers, a, b, strict=True):
                    k.store_to(number, (low,), y)
                    k.store_to(number, (high,), x)
