"""The tasks of a factorisation in phases, and triangular equations by blocks, as LLVM text.

    factorisation(text, phases, buffers, space, routines).task(phase, unit, tasks)

``text`` is where the calls go; ``buffers``, ``space`` and ``routines`` are names of addresses.
Matrices are LAPACK's, column after column; ``kernel/lapack_phases.py`` says what the phases are.
"""

from __future__ import annotations

from collections.abc import Callable

from tracejit.codegen.lapack_text import Number, Place, Text
from tracejit.kernel.lapack_phases import Blocks, Phases

#: bytes of numbers that are tested for being finite at once
TESTED = 64
#: nan and the bits of an exponent that says "not finite", by bytes of a real number
NAN = {4: 0x7FC00000, 8: 0x7FF8000000000000}
EXPONENT = {4: 0x7F800000, 8: 0x7FF0000000000000}


def fill_nan(t: Text, base: str, count: Number) -> None:
    """Nan in ``count`` real numbers."""
    type = f"i{8 * t.real}"
    with t.loop(0, count) as k:
        t.emit(f"store {type} {NAN[t.real]}, ptr {t.at(base, k, type)}")


def some_not_finite(t: Text, base: str, low: Number, high: Number) -> str:
    """Whether there are numbers that are not finite among the real ones from ``low`` to ``high``.

    One more in an exponent that is all ones becomes a sign. Many are tested at once: nobody
    rewrites this code, whose compiler is the quick one, for vectors.
    """
    bits, mask = 8 * t.real, EXPONENT[t.real]
    lanes = TESTED // t.real
    some = t.value(f"sdiv i64 {t.sub(high, low)}, {lanes}")
    stop = t.add(low, t.mul(some, lanes))
    found = [
        _signs(t, base, (low, stop), f"<{lanes} x i{bits}>", lanes, mask),
        _signs(t, base, (stop, high), f"i{bits}", 1, mask),
    ]
    return t.value(f"or i1 {found[0]}, {found[1]}")


def _signs(
    t: Text, base: str, bounds: tuple[Number, Number], type: str, lanes: int, mask: int
) -> str:
    """Whether there is such a sign, testing ``lanes`` numbers at once."""
    bits = 8 * t.real

    def constant(number: int) -> str:
        each = ", ".join([f"i{bits} {number}"] * lanes)
        return f"<{each}>" if lanes > 1 else str(number)

    head, body, done = map(t.fresh, ("head", "body", "done"))
    before = t.block
    t.emit(f"br label %{head}")
    t.label(head)
    k, signs = f"%{head}_k", f"%{head}_s"
    zero = "zeroinitializer" if lanes > 1 else "0"
    t.emit(f"{k} = phi i64 [ {bounds[0]}, %{before} ], [ {k}n, %{body} ]")
    t.emit(f"{signs} = phi {type} [ {zero}, %{before} ], [ {signs}n, %{body} ]")
    t.emit(f"br i1 {t.test('slt', k, bounds[1])}, label %{body}, label %{done}")
    t.label(body)
    place = t.at(base, k, f"i{bits}")
    given = t.value(f"load {type}, ptr {place}, align {t.real}")
    exponent = t.value(f"and {type} {given}, {constant(mask)}")
    lowest = mask & -mask
    sign = t.value(f"add {type} {exponent}, {constant(lowest)}")
    t.emit(f"{signs}n = or {type} {signs}, {sign}")
    t.emit(f"{k}n = add i64 {k}, {lanes}")
    t.emit(f"br label %{head}")
    t.label(done)
    whole = f"i{bits * lanes}"
    joined = t.value(f"bitcast {type} {signs} to {whole}") if lanes > 1 else signs
    signs_of_all = sum(1 << (bits * (lane + 1) - 1) for lane in range(lanes))
    return t.value(f"icmp ne {whole} {t.value(f'and {whole} {joined}, {signs_of_all}')}, 0")


class _Tasks:
    """The tasks of one kind of factorisation, of the ``matrix`` in buffer 0.

    ``width``: bytes of the library's integers. ``checked``: a matrix that is not finite gives nan.
    ``results``: writes the pivots as results.
    """

    width = "8"
    checked = False
    results: Callable[[], None] = staticmethod(lambda: None)

    def __init__(
        self,
        text: Text,
        phases: Phases,
        buffers: list[Place],
        space: Place,
        routines: dict[str, str],
    ) -> None:
        self.t, self.phases, self.buffers = text, phases, buffers
        self.matrix, self.routines = buffers[0], routines
        self.rows, self.columns, self.block = phases.rows, phases.columns, phases.block
        self.spaces = [text.at(space, place) for place in phases.places]
        self.adjoint = "C" if text.parts == 2 else "T"

    def element(self, row: Number, column: Number) -> Place:
        return self.t.element(self.matrix, row, column, self.rows)

    def range(self, panel: Number) -> tuple[Number, Number, Number]:
        """Where a panel begins and ends, and how wide it is; nothing before the first one."""
        t = self.t
        start = t.most(t.mul(panel, self.block), 0)
        stop = t.least(t.mul(t.add(panel, 1), self.block), self.phases.count)
        return start, stop, t.sub(stop, start)

    def part(
        self, start: Number, stop: Number, unit: Number, units: Number
    ) -> tuple[Number, Number]:
        """The part ``unit`` of ``units`` of columns."""
        t = self.t
        size = t.sub(stop, start)
        bounds = [
            t.add(start, t.value(f"udiv i64 {t.mul(size, k)}, {t.most(units, 1)}"))
            for k in (unit, t.add(unit, 1))
        ]
        return bounds[0], bounds[1]

    def call(self, name: str, letters: str, *given: Number) -> None:
        self.t.call(self.routines[name], letters, *given)

    def task(self, phase: str, unit: str, tasks: str) -> None:
        raise NotImplementedError

    def ahead(self, phase: str, unit: str, tasks: str, taken: int) -> tuple[str, Number, Number]:
        """Whether the unit is the panel's; and the columns of a strip: of all that lie behind
        ``taken`` panels from this phase's on.
        """
        t = self.t
        start = t.least(t.mul(t.add(phase, taken), self.block), self.phases.count)
        own = t.test("eq", unit, 0)
        low, high = self.part(start, self.columns, t.sub(unit, 1), t.sub(tasks, 1))
        return own, low, high

    def advance(self, phase: str, unit: str, tasks: str) -> None:
        """A phase of those that have a panel: the strips, and with the first unit the next panel,
        get what the panel before them changes; then that panel's factors.
        """
        t = self.t
        with t.where(t.test("slt", phase, self.phases.panels)):
            own, low, high = self.ahead(phase, unit, tasks, 1)
            start, stop, _ = self.range(phase)
            low, high = t.select(own, start, low), t.select(own, stop, high)
            with t.where(t.test("sgt", phase, 0)):
                self.update(t.sub(phase, 1), low, high)
            with t.where(own):
                self.panel(phase)

    def update(self, panel: Number, low: Number, high: Number) -> None:
        """What the factors of a panel change in columns behind it."""
        raise NotImplementedError

    def panel(self, panel: str) -> None:
        """The factors of a panel."""
        raise NotImplementedError


class _Getrf(_Tasks):
    """``spaces``: the exchanges of rows, from 1, of ``width`` bytes each."""

    def task(self, phase: str, unit: str, tasks: str) -> None:
        t, panels = self.t, self.phases.panels
        last = t.test("eq", phase, panels)
        with t.where(last):
            behind = t.test("sge", unit, panels)
            with t.where(t.test("slt", unit, panels - 1)):
                self.exchange(unit)
            with t.where(t.test("eq", unit, panels - 1)):
                self.results()
            with t.where(behind):
                low, high = self.part(
                    self.phases.count, self.columns, t.sub(unit, panels), t.sub(tasks, panels)
                )
                self.update(t.sub(phase, 1), low, high)
        self.advance(phase, unit, tasks)

    def exchanges(self, place: Number) -> Place:
        return self.t.at(self.spaces[0], self.t.mul(place, self.width))

    def panel(self, panel: str) -> None:
        """Factors of a panel. Among nan there is no largest element: whatever LAPACK took for one
        stays a row.
        """
        t = self.t
        start, _, width = self.range(panel)
        rows = t.sub(self.rows, start)
        own = self.exchanges(start)
        self.call(
            "getrf", "", rows, width, self.element(start, start), self.rows, own, Place("%info")
        )
        first, limit = (t.value(f"trunc i64 {x} to i32") for x in (start, rows))
        with t.loop(0, width) as k:
            place = t.at(own, t.mul(k, self.width))
            row = t.value(f"load i32, ptr {place}")
            for bound, relation in (("1", "slt"), (limit, "sgt")):
                outside = t.value(f"icmp {relation} i32 {row}, {bound}")
                row = t.value(f"select i1 {outside}, i32 {bound}, i32 {row}")
            t.emit(f"store i32 {t.value(f'add i32 {row}, {first}')}, ptr {place}")

    def exchange(self, panel: str) -> None:
        """The exchanges of rows that came after a panel, in it."""
        t = self.t
        start, stop, width = self.range(panel)
        bounds = t.add(stop, 1), self.phases.count
        self.call("laswp", "", width, self.element(0, start), self.rows, *bounds, self.spaces[0], 1)

    def update(self, panel: Number, low: Number, high: Number) -> None:
        """What a panel's factors mean for other columns."""
        t, ld = self.t, self.rows
        start, stop, width = self.range(panel)
        columns = t.sub(high, low)
        with t.where(t.test("sgt", columns, 0)):
            bounds = t.add(start, 1), stop
            self.call("laswp", "", columns, self.element(0, low), ld, *bounds, self.spaces[0], 1)
            above = self.element(start, low)
            one, factor = t.one(), self.element(start, start)
            self.call("trsm", "LLNU", width, columns, one, factor, ld, above, ld)
            below = t.sub(self.rows, stop)
            factor, rest = self.element(stop, start), self.element(stop, low)
            sizes = below, columns, width
            given = t.minus_one(), factor, ld, above, ld, one, rest, ld
            with t.where(t.test("sgt", below, 0)):
                self.call("gemm", "NN", *sizes, *given)


class _Potrf(_Tasks):
    """The upper triangle, row of blocks after row of blocks. ``spaces``: for each panel, whether
    the matrix is not positive definite.
    """

    def task(self, phase: str, unit: str, tasks: str) -> None:
        t, panels = self.t, self.phases.panels
        with t.where(t.test("eq", phase, panels)):
            self.result(unit, tasks)
        with t.where(t.test("slt", phase, panels)):
            own, low, high = self.ahead(phase, unit, tasks, 2)
            with t.where(own):
                start, stop, width = self.range(phase)
                after, end, _ = self.range(t.add(phase, 1))
                self.column(phase, start, width)
                self.row(phase, after, end)
                self.solve(phase, after, end)
            with t.where(t.test("ne", unit, 0)):
                self.row(phase, low, high)

    def column(self, panel: str, start: Number, width: Number) -> None:
        t, ld = self.t, self.rows
        place = self.element(start, start)
        self.product(start, width, start, width)
        self.call("potrf", "U", width, place, ld, t.at(self.spaces[0], panel, "i64"))

    def product(self, row: Number, rows: Number, column: Number, columns: Number) -> None:
        """Take from some rows what those above mean for them."""
        t, ld = self.t, self.rows
        one, left, right = t.one(), self.element(0, row), self.element(0, column)
        given = t.minus_one(), left, ld, right, ld, one, self.element(row, column), ld
        with t.where(t.test("sgt", row, 0)):
            self.call("gemm", self.adjoint + "N", rows, columns, row, *given)

    def solve(self, panel: Number, low: Number, high: Number) -> None:
        t, ld = self.t, self.rows
        start, _, width = self.range(panel)
        factor, place = self.element(start, start), self.element(start, low)
        columns = t.sub(high, low)
        with t.where(t.test("sgt", columns, 0)):
            self.call("trsm", f"LU{self.adjoint}N", width, columns, t.one(), factor, ld, place, ld)

    def row(self, panel: str, low: Number, high: Number) -> None:
        """The row of blocks before the panel's, which was waiting for its factor; and the panel's,
        all but that.
        """
        t = self.t
        with t.where(t.test("sgt", high, low)):
            with t.where(t.test("sgt", panel, 0)):
                self.solve(t.sub(panel, 1), low, high)
            start, _, width = self.range(panel)
            self.product(start, width, low, t.sub(high, low))

    def result(self, unit: str, tasks: str) -> None:
        """Zeros behind the diagonal of some of the rows of what is the transpose, or nan."""
        t, n = self.t, self.rows
        low, high = self.part(0, n, unit, tasks)
        failed = t.fresh("failed")
        done = t.fresh("cleared")
        with t.loop(0, self.phases.panels) as panel:
            info = t.value(f"load i32, ptr {t.at(self.spaces[0], panel, 'i64')}")
            t.branch(t.value(f"icmp ne i32 {info}, 0"), failed)
        with t.loop(low, high) as row:
            place = self.element(t.add(row, 1), row)
            t.zero(place, t.mul(t.sub(n - 1, row), t.item))
        t.emit(f"br label %{done}")
        t.label(failed)
        fill_nan(t, self.element(0, low), t.mul(t.sub(high, low), n * t.parts))
        t.emit(f"br label %{done}")
        t.label(done)


class _Reflectors(_Tasks):
    """What factorisations by reflectors have in common: I - V T V^H for each panel. ``spaces``:
    first T, then memory to work in.
    """

    def factor(self, panel: Number) -> Place:
        return self.t.at(self.spaces[0], self.t.mul(panel, self.block**2 * self.t.item))

    def apply(
        self, letter: str, panel: Number, reflectors: Place, low: Number, high: Number
    ) -> None:
        """A panel's reflectors, from the left, to columns of the matrix."""
        t, ld = self.t, self.rows
        start, _, width = self.range(panel)
        columns = t.sub(high, low)
        work = t.at(self.spaces[1], t.mul(low, self.block * t.item))
        given = reflectors, ld, self.factor(panel), self.block, self.element(start, low), ld
        sizes = t.sub(self.rows, start), columns, width
        with t.where(t.test("sgt", columns, 0)):
            self.call("larfb", f"L{letter}FC", *sizes, *given, work, columns)


class _Geqrf(_Reflectors):
    """``spaces``: the third one says whether the matrix is not finite, if that is asked for."""

    def task(self, phase: str, unit: str, tasks: str) -> None:
        t = self.t
        skip = t.fresh("skip")
        if self.checked:
            with t.where(t.test("eq", phase, 0)):
                self.check()
            bad = t.value(f"load i64, ptr {self.spaces[2]}")
            t.branch(t.test("ne", bad, 0), skip)
        panels = self.phases.panels
        with t.where(t.test("eq", phase, panels)):
            low, high = self.part(self.phases.count, self.columns, unit, tasks)
            self.update(t.sub(phase, 1), low, high)
        self.advance(phase, unit, tasks)
        t.emit(f"br label %{skip}")
        t.label(skip)

    def check(self) -> None:
        """Nan in all results where a number is not finite."""
        t = self.t
        count = self.rows * self.columns * t.parts
        bad = some_not_finite(t, self.matrix, 0, count)
        t.emit(f"store i64 {t.value(f'zext i1 {bad} to i64')}, ptr {self.spaces[2]}")
        with t.where(bad):
            fill_nan(t, self.matrix, count)
            fill_nan(t, self.buffers[1], self.phases.count * t.parts)

    def update(self, panel: Number, low: Number, high: Number) -> None:
        start, _, _ = self.range(panel)
        self.apply(self.adjoint, panel, self.element(start, start), low, high)

    def panel(self, panel: str) -> None:
        """The factors of a panel's reflectors are the diagonal of T."""
        t = self.t
        start, _, width = self.range(panel)
        own = self.factor(panel)
        rows = t.sub(self.rows, start)
        matrix = self.element(start, start)
        self.call("geqrt3", "", rows, width, matrix, self.rows, own, self.block, Place("%info"))
        with t.loop(0, width) as k:
            target = t.at(self.buffers[1], t.mul(t.add(start, k), t.item))
            t.copy(target, t.element(own, k, k, self.block), t.item)


class _Orgqr(_Reflectors):
    """``spaces``: the third one is for a copy of the reflectors, in whose place the result is."""

    def task(self, phase: str, unit: str, tasks: str) -> None:
        t = self.t
        with t.where(t.test("eq", phase, 0)):
            start, _, width = self.range(unit)
            source, target = self.element(0, start), self.kept(0, start)
            t.copy(target, source, t.mul(width, self.rows * t.item))
            taus = t.at(self.buffers[1], t.mul(start, t.item))
            given = self.kept(start, start), self.rows, taus, self.factor(unit), self.block
            self.call("larft", "FC", t.sub(self.rows, start), width, *given)
        with t.where(t.test("eq", phase, 1)):
            # those to the right are more work: they come first
            turned = t.sub(t.sub(tasks, 1), unit)
            self.strip(*self.part(0, self.columns, turned, tasks))

    def kept(self, row: Number, column: Number) -> Place:
        return self.t.element(self.spaces[2], row, column, self.rows)

    def strip(self, low: Number, high: Number) -> None:
        """Columns of the unit matrix, and all reflectors that change them, the last ones first."""
        t, ld = self.t, self.rows
        t.zero(self.element(0, low), t.mul(t.sub(high, low), ld * t.item))
        with t.loop(low, high) as k:
            t.copy(self.element(k, k), t.one(), t.item)
        with t.loop(0, self.phases.panels) as back:
            panel = t.sub(self.phases.panels - 1, back)
            start, _, _ = self.range(panel)
            self.apply("N", panel, self.kept(start, start), t.most(low, start), high)


_KINDS: dict[str, type[_Tasks]] = {
    "getrf": _Getrf,
    "potrf": _Potrf,
    "geqrf": _Geqrf,
    "orgqr": _Orgqr,
    "ungqr": _Orgqr,
}


def factorisation(
    text: Text, phases: Phases, buffers: list[Place], space: Place, routines: dict[str, str]
) -> _Tasks:
    return _KINDS[phases.kind](text, phases, buffers, space, routines)


def solve_blocks(
    t: Text, blocks: Blocks, matrix: Place, unknowns: Place, other: Number, routines: dict[str, str]
) -> None:
    """Triangular equations with ``other`` right hand sides: after block number i has its solution,
    what of the blocks before i + 1 counts for those behind, half a binary tree at a time.
    """
    n, size, ld, ldb = blocks.count, blocks.size, blocks.count, blocks.leading
    with t.loop(0, blocks.steps) as i:
        start, after = t.mul(i, size), t.add(i, 1)
        stop = t.least(t.mul(after, size), n)
        width = t.sub(stop, start)
        at = start if blocks.forward else t.sub(n, stop)
        one, factor = t.one(), t.element(matrix, at, at, ld)

        def row(place: Number) -> Place:
            if blocks.left:
                return t.element(unknowns, place, 0, ldb)
            return t.element(unknowns, 0, place, ldb)

        sizes = (width, other) if blocks.left else (other, width)
        t.call(routines["trsm"], blocks.letters, *sizes, one, factor, ld, row(at), ldb)
        lowest = t.value(f"and i64 {after}, {t.sub(0, after)}")
        first = t.mul(t.sub(after, lowest), size)
        end = t.least(t.add(stop, t.mul(lowest, size)), n)
        known, more = t.sub(stop, first), t.sub(end, stop)
        with t.where(t.test("sgt", more, 0)):
            if not blocks.forward:
                first, stop = t.sub(n, stop), t.sub(n, end)
            way = blocks.letters[2]
            # op(a) at what follows from what is known, if left, else the other way round
            swapped = (way == "N") != blocks.left
            corner = (first, stop) if swapped else (stop, first)
            factor = t.element(matrix, *corner, ld)
            x, y = row(first), row(stop)
            if blocks.left:
                sizes, pair, letters = (more, other), (factor, ld, x, ldb), way + "N"
            else:
                sizes, pair, letters = (other, more), (x, ldb, factor, ld), "N" + way
            given = (*sizes, known, t.minus_one(), *pair, one, y, ldb)
            t.call(routines["gemm"], letters, *given)
