"""Kernels of sort and top_k.

A row is sorted in scratch by a bitonic network, whose steps compare whole vectors. What is sorted
are whole numbers: every key becomes an i64 that orders as the key does, and its place in the row
comes last, so no two entries are equal and the order is stable. A key of up to 32 bits and the
place share one number.

Scratch holds LANES columns of R entries; entry i of the row stands in column i // R, so that steps
over a distance below R compare rows of the scratch, and only the last few merges cross columns
(K. Batcher, "Sorting networks and their applications", 1968). Of many rows each takes a column.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from tracejit.ir.expr import Expr, Var, iadd, idiv, imod, imul, isub
from tracejit.ir.types import TensorType, kind
from tracejit.ops.lower_parts import lane_width, spread, unflatten
from tracejit.record import dataclass

#: columns of the scratch; a power of two
LANES = 8
#: the scratch of a row must fit the stack of a thread
SCRATCH_BYTES = 1 << 18
#: that of rows sorted side by side, the cache next to a core
SIDE_BY_SIDE_BYTES = 1 << 17
#: top_k looks for the largest one after the other up to so many, and sorts for more
FEW = 16

TOP = (1 << 63) - 1

Index = tuple[Expr, ...]


def power_of_two(n: int) -> int:
    """The least power of two that is not below ``n``."""
    return 1 << max(n - 1, 0).bit_length()


def padded(n: int) -> int:
    """Entries of the scratch for a row of ``n``."""
    return max(2 * LANES, power_of_two(n))


def packs(types: Sequence[TensorType]) -> bool:
    """Whether one number holds the key and its place."""
    return len(types) == 1 and types[0].dtype.itemsize <= 4


def columns(types: Sequence[TensorType]) -> int:
    """Numbers per entry of a row with keys of ``types``."""
    return 1 if packs(types) else len(types) + 1


def lowers_sort(*types: TensorType, dimension: int, num_keys: int, is_stable: bool) -> bool:
    """Whether a row fits the scratch."""
    bytes = 8 * padded(types[0].shape[dimension]) * columns(types[:num_keys])
    return bytes <= SCRATCH_BYTES


def lowers_top_k(x: TensorType, *, k: int) -> bool:
    """Whether a row fits the scratch, or none is needed."""
    return k <= FEW or 8 * padded(x.shape[-1]) * columns((x,)) <= SCRATCH_BYTES


def lower_sort(
    k: Any, xs: Any, outs: Any, *, dimension: int, num_keys: int, is_stable: bool
) -> None:
    """The rule of sort."""
    shape = xs[0].type.shape
    if not xs[0].type.size:
        return

    def place(other: Index, i: Expr) -> Index:
        return (*other[:dimension], i, *other[dimension:])

    def keys(other: Index, i: Expr) -> list[Expr]:
        return [ordered(k, x(place(other, i)), x.type) for x in xs[:num_keys]]

    def found(other: Index, i: Expr, source: Expr) -> None:
        for x, y in zip(xs, outs, strict=True):
            k.store(y, place(other, i), x(place(other, source)))

    others = (*shape[:dimension], *shape[dimension + 1 :])
    types = [x.type for x in xs[:num_keys]]
    sort_rows(k, others, shape[dimension], types, keys, shape[dimension], found)


def lower_top_k(b: Any, xs: Any, outs: Any, *, k: int) -> None:
    """The rule of top_k; ``b`` is the builder."""
    (x,), (values, places) = xs, outs
    n, others = x.type.shape[-1], x.type.shape[:-1]
    if not values.type.size:
        return

    def key(row: Index, i: Expr) -> Expr:
        return b.op("not", ordered(b, x((*row, i)), x.type))  # type: ignore[no-any-return]

    def found(row: Index, i: Expr, source: Expr) -> None:
        b.store(values, (*row, i), x((*row, source)))
        b.store(places, (*row, i), b.op("convert", source, dtype="i32"))

    if k > FEW:
        sort_rows(b, others, n, [x.type], lambda row, i: [key(row, i)], k, found)
        return
    with spread(b, others) as row:
        select_few(
            b,
            n,
            k,
            lambda i: key(row, i),
            lane_width(b, x.type),
            packs((x.type,)),
            lambda i, source: found(row, i, source),
        )


def sort_rows(
    k: Any,
    others: Sequence[int],
    n: int,
    types: Sequence[TensorType],
    keys: Callable[[Index, Expr], list[Expr]],
    count: int,
    found: Callable[[Index, Expr, Expr], None],
) -> None:
    """Sort every row of ``n``; ``found(row, i, source)`` writes the first ``count`` entries.

    Where there are enough rows of a moderate length, each lane sorts one: no columns are crossed.
    """
    rows, bytes = prod(others), 8 * LANES * power_of_two(n) * columns(types)
    if rows < LANES or bytes > SIDE_BY_SIDE_BYTES:
        with spread(k, others) as row:
            entries = Row(k, n, types, padded(n) // LANES)
            entries.fill(lambda c, i: keys(row, i))
            entries.sort()
            with k.loop("vec", count, width=LANES, unroll=1, name="i") as i:
                found(row, i, k.local("i64", entries.place_of(i), "source"))
        return
    with k.loop("par", -(-rows // LANES), name="block") as block:
        # the last rows may be sorted by two blocks, to the same results
        first = k.local("i64", k.op("min", imul(block, LANES), rows - LANES), "first")
        index = row_index(k, first, others)
        entries = Row(k, n, types, max(2, power_of_two(n)), side_by_side=True)
        entries.fill(lambda c, i: keys(index(c), i))
        entries.sort()
        with k.loop("seq", count, name="i") as i, entries.lanes() as c:
            found(index(c), i, k.local("i64", entries.place_of(i, c), "source"))


def row_index(k: Any, first: Expr, others: Sequence[int]) -> Callable[[Expr], Index]:
    """The index of row ``first + c``, computed once where it takes divisions."""
    if len(others) < 2:
        return lambda c: (iadd(first, c),)
    tables = [k.scratch("i64", (LANES,), "index") for _ in others]
    with k.loop("vec", LANES, width=LANES, unroll=1, name="c") as lane:
        number = k.local("i64", iadd(first, lane), "number")
        for table, value in zip(tables, unflatten(number, others), strict=True):
            k.store_to(table, (lane,), value)
    return lambda c: tuple(k.load_from(table, (c,)) for table in tables)


def select_few(
    b: Any,
    n: int,
    count: int,
    key: Callable[[Any], Expr],
    width: int,
    packed: bool,
    found: Callable[[Any, Expr], None],
) -> None:
    """The ``count`` smallest keys: each time the smallest after the one before.

    ``last`` is the key before, or the least that packed ones may be.
    """
    last = b.local("i64", -TOP - 1, "last")
    at = b.local("i64", -1, "at")
    with b.loop("seq", count, name="i") as i:
        best = b.local("i64", TOP, "best")
        place = b.local("i64", n, "place")
        if packed:
            with b.loop("vec", n, width=width, unroll=2, name="j") as j:
                entry = together(b, key(j), j)
                b.accumulate(best, "min", b.op("select", b.op("ge", entry, last), entry, TOP))
            b.set(place, b.op("and", best, (1 << 32) - 1))
            b.set(last, b.op("add", best, 1))
        else:

            def later(j: Expr) -> Expr:
                tie = b.op("and", b.op("eq", key(j), last), b.op("gt", j, at))
                return b.op("or", b.op("gt", key(j), last), tie)  # type: ignore[no-any-return]

            with b.loop("vec", n, width=width, unroll=2, name="j") as j:
                b.accumulate(best, "min", b.op("select", later(j), key(j), TOP))
            with b.loop("vec", n, width=width, unroll=2, name="j") as j:
                here = b.op("and", later(j), b.op("eq", key(j), best))
                b.accumulate(place, "min", b.op("select", here, j, n))
            b.set(last, best)
            b.set(at, place)
        found(i, b.op("min", place, n - 1))


# ---- keys ----------------------------------------------------------------------------------------


def ordered(k: Any, x: Expr, type: TensorType) -> Expr:
    """An i64 that orders as ``x`` does: zeros are equal, and nan comes last.

    It lies within 32 bits where ``x`` does.
    """
    if kind(type.dtype) in "bi":
        return k.op("convert", x, dtype="i64")  # type: ignore[no-any-return]
    if kind(type.dtype) == "u":
        # the middle of the range becomes zero
        bits = type.dtype.itemsize * 8
        if bits == 64:
            return k.op("xor", k.op("bitcast", x, dtype="i64"), -TOP - 1)  # type: ignore[no-any-return]
        return k.op("sub", k.op("convert", x, dtype="i64"), 1 << bits - 1)  # type: ignore[no-any-return]
    wide, whole = ("f64", "i64") if type.dtype.itemsize == 8 else ("f32", "i32")
    top = TOP if whole == "i64" else (1 << 31) - 1
    value = k.op("convert", x, dtype=wide)
    bits = k.op("bitcast", k.op("add", value, 0.0), dtype=whole)  # -0.0 + 0.0 is 0.0
    # below zero more bits are a smaller number
    flipped = k.op("select", k.op("lt", bits, 0), k.op("xor", bits, top), bits)
    number = k.op("select", k.op("ne", value, value), k.const(top, whole), flipped)
    return k.op("convert", number, dtype="i64")  # type: ignore[no-any-return]


def together(k: Any, key: Expr, place: Expr) -> Expr:
    """A key of 32 bits and its place as one number."""
    return k.op("or", k.op("shift_left", key, 32), place)  # type: ignore[no-any-return]


# ---- the network ---------------------------------------------------------------------------------


@dataclass
class Row:
    """A row of ``n`` entries with keys of ``types``, in scratch of ``depth`` rows.

    ``side_by_side``: the columns are rows of their own to sort, not parts of one.
    """

    k: Any
    n: int
    types: Sequence[TensorType]
    depth: int
    side_by_side: bool = False

    def __post_init__(self) -> None:
        self.packed = packs(self.types)
        count = columns(self.types)
        self.numbers = [self.k.scratch("i64", (self.depth, LANES), "row") for _ in range(count)]
        #: one row of the scratch, or two, while columns are crossed
        self.across: list[str] = []
        if not self.side_by_side:
            self.across = [self.k.scratch("i64", (2, LANES), "across") for _ in range(count)]

    def lanes(self) -> Any:
        """A loop over the columns: one vector."""
        return self.k.loop("vec", LANES, width=LANES, unroll=1, name="c")

    def fill(self, keys: Callable[[Expr, Expr], list[Expr]]) -> None:
        """Every entry: ``keys(column, i)`` and the place; places beyond the row come last."""
        k = self.k
        with k.loop("seq", self.depth, name="r") as r, self.lanes() as c:
            here = r if self.side_by_side else iadd(imul(c, self.depth), r)
            i = k.local("i64", here, "i")
            inside, at = k.op("lt", i, self.n), k.op("min", i, self.n - 1)
            limit = (1 << 31) - 1 if self.packed else TOP
            found = [k.op("select", inside, key, limit) for key in keys(c, at)]
            entry = [together(k, found[0], i)] if self.packed else [*found, i]
            for number, value in zip(self.numbers, entry, strict=True):
                k.store_to(number, (r, c), value)

    def place_of(self, i: Expr, c: Expr | None = None) -> Expr:
        """The place in the row (of column ``c``) that entry ``i`` of the sorted row came from."""
        k = self.k
        at = (imod(i, self.depth), idiv(i, self.depth)) if c is None else (i, c)
        last = k.load_from(self.numbers[-1], at)
        return k.op("and", last, (1 << 32) - 1) if self.packed else last  # type: ignore[no-any-return]

    def sort(self) -> None:
        """Merge sorted runs of 1, 2, 4 ... entries."""
        k = self.k
        half = k.local("i64", 1, "half")
        with k.repeat(k.op("lt", half, self.depth)):
            self.rows(half, flip=True)
            self.finer(half)
            k.set(half, k.op("mul", half, 2))
        group = LANES + 1 if self.side_by_side else 2
        while group <= LANES:
            self.mirrored(group)
            apart = group // 4
            while apart:
                self.crossed(apart)
                apart //= 2
            distance = k.local("i64", self.depth, "distance")
            self.finer(distance)
            group *= 2

    def finer(self, distance: Var) -> None:
        """Compare over half of ``distance``, a quarter, and so on down to 1."""
        k = self.k
        step = k.local("i64", k.op("shift_right_logical", distance, 1), "step")
        with k.repeat(k.op("gt", step, 0)):
            self.rows(step, flip=False)
            k.set(step, k.op("shift_right_logical", step, 1))

    def rows(self, step: Var, *, flip: bool) -> None:
        """Compare rows over a distance: r and r + step, or first and last of 2 * step rows."""
        k = self.k
        with k.loop("seq", self.depth // 2, name="t") as t:
            inner = k.op("and", t, k.op("sub", step, 1))
            start = k.op("mul", k.op("sub", t, inner), 2)
            low = k.local("i64", k.op("add", start, inner), "low")
            far = k.op("add", start, k.op("sub", k.op("mul", step, 2), 1))
            other = k.op("sub", far, inner) if flip else k.op("add", low, step)
            high = k.local("i64", other, "high")
            with self.lanes() as c:
                a = self.entry(self.numbers, (low, c))
                b = self.entry(self.numbers, (high, c))
                swap = self.before(b, a)
                for number, x, y in zip(self.numbers, a, b, strict=True):
                    k.store_to(number, (low, c), self.chosen(swap, y, x, "min"))
                    k.store_to(number, (high, c), self.chosen(swap, x, y, "max"))

    def mirrored(self, group: int) -> None:
        """Compare entry i with the i-th from behind, in groups of columns."""
        k = self.k
        with k.loop("seq", self.depth // 2, name="t") as t:
            pair = (t, isub(self.depth - 1, t))
            self.keep_aside(pair)
            with self.lanes() as c:
                first = k.op("eq", k.op("and", c, group // 2), 0)
                for side, r in enumerate(pair):
                    self.meet((r, c), (1 - side, k.op("xor", c, group - 1)), first)

    def crossed(self, apart: int) -> None:
        """Compare columns over a distance."""
        k = self.k
        with k.loop("seq", self.depth, name="t") as t:
            self.keep_aside((t,))
            with self.lanes() as c:
                first = k.op("eq", k.op("and", c, apart), 0)
                self.meet((t, c), (0, k.op("xor", c, apart)), first)

    def keep_aside(self, rows: Sequence[Expr]) -> None:
        """Copies of rows, so that lanes read what was there before any of them wrote."""
        k = self.k
        with self.lanes() as c:
            for side, r in enumerate(rows):
                for number, copy in zip(self.numbers, self.across, strict=True):
                    k.store_to(copy, (side, c), k.load_from(number, (r, c)))

    def meet(self, here: Any, there: Any, first: Expr) -> None:
        """Of an entry and the copy of another, keep the lesser if ``first``, else the greater."""
        k = self.k
        a, b = self.entry(self.numbers, here), self.entry(self.across, there)
        if len(a) == 1:
            low, high = k.op("min", a[0], b[0]), k.op("max", a[0], b[0])
            k.store_to(self.numbers[0], here, k.op("select", first, low, high))
            return
        mine = k.local("bool", k.op("eq", self.before(a, b), first), "mine")
        for number, x, y in zip(self.numbers, a, b, strict=True):
            k.store_to(number, here, k.op("select", mine, x, y))

    def entry(self, numbers: Sequence[str], index: Any) -> list[Var]:
        k = self.k
        return [k.local("i64", k.load_from(number, index), "e") for number in numbers]

    def before(self, a: Sequence[Expr], b: Sequence[Expr]) -> Expr:
        """Whether an entry comes before another: by the first number in which they differ."""
        k = self.k
        found = k.op("lt", a[-1], b[-1])
        for x, y in zip(a[-2::-1], b[-2::-1], strict=True):
            found = k.op("or", k.op("lt", x, y), k.op("and", k.op("eq", x, y), found))
        return found  # type: ignore[no-any-return]

    def chosen(self, swap: Expr, yes: Expr, no: Expr, extreme: str) -> Expr:
        """One number of the lesser or greater entry."""
        if len(self.numbers) == 1:
            return self.k.op(extreme, yes, no)  # type: ignore[no-any-return]
        return self.k.op("select", swap, yes, no)  # type: ignore[no-any-return]
