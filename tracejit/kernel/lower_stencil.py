"""Several steps of a stencil as one Kernel: tiles of rows in parallel, and down each tile a wave of
steps, each a few rows behind the one before it.

    lower_stencil(group, partition, vector_bytes=64) -> Lowered(kernel, reads, writes, sizes)

    par tile in idiv(add(n0, 63), 64):
      r0: f32[3, 3, 512] scratch                       what is between the steps: their latest rows
      seq front in ...:
        if ...:                                        step 0 of row ``front``
          vec(16x4) i1 in n1: r0[0, irem(add(i0, 3), 3), i1] = ... x0[add(i0, -1), i1] ...
        seq level in 1..3:
          i0: i64 = sub(front, level)                  step ``level`` of the row that is due
          if ...: vec(16x4) i1 in n1: r0[level, ...] = ... r0[add(level, -1), ...] ...
        if ...: ... y0[i0, i1] = ... r0[2, ...] ...    the last step

Only ``2 * reach + 1`` rows of each step are kept (Nguyen et al., "3.5-D Blocking Optimization for
Stencil Computations on Modern CPUs and GPUs", 2010), so that a tile may have many rows. The first
steps begin and end some rows outside of it: those are computed by both neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from tracejit.ir.expr import (
    Const,
    Expr,
    Load,
    Op,
    Var,
    children,
    const,
    iadd,
    idiv,
    imod,
    imul,
    isub,
    rebuild,
    walk,
)
from tracejit.ir.graph import Node, Value
from tracejit.ir.types import short
from tracejit.kernel.facts import Facts
from tracejit.kernel.lower import Block, Lowered, Writer, as_python, loops
from tracejit.kernel.lower_loop import comment
from tracejit.kernel.nest import Axis, Item, Nest
from tracejit.kernel.nodes import If, Kernel, Local, Loop, Param, Scratch, Stmt, Store
from tracejit.kernel.sizes import generalise
from tracejit.kernel.split import split
from tracejit.passes.groups import Group, Partition
from tracejit.passes.loop_form import space_var
from tracejit.passes.pull import Index, Puller, guarded
from tracejit.passes.stencils import Field, StencilForm, Tile, is_line, tile_of
from tracejit.record import dataclass

LEVEL, FRONT, TILE = (Var(name, "i64") for name in ("level", "front", "tile"))
NUMBER = Var("number", "i64")


def lower_stencil(group: Group, partition: Partition, vector_bytes: int) -> Lowered:
    """The kernel of a stencil group, for vectors of ``vector_bytes``."""
    form = group.form
    assert isinstance(form, StencilForm)
    tile = tile_of(form)
    assert isinstance(tile, Tile)
    inputs = {v: f"x{k}" for k, v in enumerate(group.inputs)}
    outputs = {v: f"y{k}" for k, v in enumerate(group.outputs)}
    operands = _Operands(group.node, inputs, outputs, partition)
    writer = _Line if is_line(form) else _Wave
    body = writer(form, tile, operands, vector_bytes).write()

    def param(v: Value, name: str, role: str) -> Param:
        shape = v.type.shape or ((1,) if role == "out" else ())
        return Param(name, short(v.type.dtype), shape, role)

    params = (
        *(param(v, name, "in") for v, name in inputs.items()),
        *(param(v, name, "out") for v, name in outputs.items()),
    )
    names = [n for n in form.names if n not in ("broadcast_in_dim", "reshape", "copy")]
    title = "_".join(("stencil", *names[:4])) + ("_etc" if len(names) > 4 else "")
    made = Kernel(title, (), params, body, comment(group))
    kernel, sizes = generalise(made if is_line(form) else split(made))
    return Lowered(kernel, group.inputs, group.outputs, sizes)


@dataclass(frozen=True)
class _Operands:
    """How the operands and results of a scan are called in its kernel."""

    node: Node
    inputs: dict[Value, str]
    outputs: dict[Value, str]
    partition: Partition

    def load(self, number: int, index: Index, dtype: str, guard: Expr | None) -> Expr:
        """An element of operand ``number``; zero where it is not read."""
        puller = Puller({}, self.inputs.__contains__, self.inputs.__getitem__)
        found = puller.read(self.node.inputs[number], index)
        if guard is None:
            return found
        if isinstance(found, Load):
            return guarded(found, guard)
        return Op("select", (guard, found, Const(as_python(0, dtype), dtype)), dtype)

    def output(self, field: Field) -> str:
        return self.outputs[self.node.outputs[field.number]]


class _Stencil:
    """What the two ways to write a tile have in common."""

    def __init__(
        self, form: StencilForm, tile: Tile, operands: _Operands, vector_bytes: int
    ) -> None:
        self.form, self.tile, self.operands = form, tile, operands
        self.vector_bytes = vector_bytes
        self.steps = form.length
        self.last = const(self.steps - 1)
        self.halo = (self.steps - 1) * form.reach
        self.far = dict(form.rows)
        self.at_row = space_var(form.axis)
        self.axes = tuple(
            Axis(space_var(k).name, n, False)
            for k, n in enumerate(form.space)
            if k > form.axis and n != 1
        )
        self.first_const = operands.node.params["n_consts"]
        self.begin = imul(TILE, tile.rows)
        n = const(form.extent)
        self.end: Expr = Op("min", (n, iadd(self.begin, tile.rows)), "i64")
        self.count = 0

    @property
    def fields(self) -> list[Field]:
        return [f for f in self.form.fields if not f.uniform]

    @property
    def kept_shape(self) -> tuple[int, ...]:
        """The shape of what is kept of a field between steps."""
        raise NotImplementedError

    def kept(self, level: Expr, place: Expr, far: int) -> Index:
        """Where row ``place + far`` after step ``level`` is kept."""
        raise NotImplementedError

    def tiles(self, body: Sequence[Stmt]) -> tuple[Stmt, ...]:
        """The loop over tiles."""
        n, rows = self.form.extent, self.tile.rows
        if self.form.fields_apart == 1:
            last = Op("add", (const(n), const(rows - 1)), "i64")
            count = Op("idiv", (last, const(rows)), "i64")
            return (Loop("par", TILE.name, const(0), count, tuple(body)),)
        tiles = -(-n // rows)
        head = [Local(TILE.name, "i64", imod(NUMBER, tiles))]
        rest = idiv(NUMBER, tiles)
        for k in reversed(range(self.form.axis)):
            if (extent := self.form.space[k]) != 1:
                head.append(Local(space_var(k).name, "i64", imod(rest, extent)))
                rest = idiv(rest, extent)
        stop = const(tiles * self.form.fields_apart)
        return (Loop("par", NUMBER.name, const(0), stop, (*head, *body)),)

    def levels(self, write: Callable[[str, Expr], list[Stmt]]) -> list[Stmt]:
        """The steps: the first reads the operands, the last writes the results."""
        found = write("first", const(0)) if self.steps > 1 else []
        if self.steps > 2:
            middle = tuple(write("middle", LEVEL))
            found.append(Loop("seq", LEVEL.name, const(1), self.last, middle))
        return found + write("last", self.last)

    def scratch(self) -> list[Stmt]:
        """What is kept of each field between steps, and uniform carries before each step."""
        found: list[Stmt] = []
        for field in self.form.fields:
            if field.uniform:
                found.append(Scratch(f"u{field.number}", field.dtype, (self.steps + 1,)))
            elif self.steps > 1:
                found.append(Scratch(f"r{field.number}", field.dtype, self.kept_shape))
        return found

    def uniform(self) -> list[Stmt]:
        """Uniform carries, computed for all steps before the fields are."""
        fields = [f for f in self.form.fields if f.uniform]
        if not fields:
            return []
        found: list[Stmt] = []
        for f in fields:
            first = self.operands.load(self.first_const + f.number, (), f.dtype, None)
            found.append(Store(f"u{f.number}", (const(0),), first))
        writer, block = self.writer([]), Block(None, 1, ())
        values = [self.at(f.value, "middle", LEVEL, self.at_row) for f in fields]
        writer.bind_shared(block, values)
        stores = [
            Store(f"u{f.number}", (iadd(LEVEL, 1),), writer.bind(block, value))
            for f, value in zip(fields, values, strict=True)
        ]
        self.count = writer.count
        body = (*block.statements, *stores)
        found.append(Loop("seq", LEVEL.name, const(0), const(self.steps), body))
        first_task = TILE if self.form.fields_apart == 1 else NUMBER
        guard = Op("eq", (first_task, const(0)), "bool")
        for f in fields:
            value = Load(f"u{f.number}", (const(self.steps),), f.dtype)
            found.append(Store(self.operands.output(f), (const(0),), value, guard))
        return found

    # ---- elements ----

    def margin(self) -> int | None:
        """How many rows at either end have other neighbours than the rest; None if that is not so
        simple."""
        n, reach = self.form.extent, self.form.reach
        middle = Facts().with_range(self.at_row, n // 2, n // 2 + 1)
        best = [middle.fold(f.value) for f in self.fields]
        for rows in (reach, 2 * reach, 4 * reach):
            facts = Facts().with_range(self.at_row, rows, n - rows)
            if 4 * rows < n and [facts.fold(f.value) for f in self.fields] == best:
                return rows
        return None

    def values(
        self, kind: str, level: Expr, place: Expr, span: tuple[int, int] | None
    ) -> list[Expr]:
        """The elements of the fields after a step; in rows within ``span`` if told."""
        found = [self.at(f.value, kind, level, place) for f in self.fields]
        if span is None:
            return found
        facts = Facts().with_range(self.at_row, *span)
        return [facts.fold(value) for value in found]

    def writer(self, values: Sequence[Expr], axes: tuple[Axis, ...] = ()) -> Writer:
        """A Writer of the fields' values; names go on from one to the next."""
        items = tuple(
            Item(self.operands.node.outputs[f.number], "full", 0, value, (), None)
            for f, value in zip(self.fields, values, strict=False)
        )
        writer = Writer(Nest(axes, items, {}, {}, (), ()), self.vector_bytes)
        writer.count = self.count
        return writer

    def elements(
        self, axes: tuple[Axis, ...], values: Sequence[Expr], targets: Sequence[tuple[str, Index]]
    ) -> tuple[list[Stmt], list[Stmt], Writer]:
        """Statements that store values: outside the loop over the last axis, and inside."""
        writer = self.writer(values, axes)
        outside = Block(None, 1, axes[:-1])
        lane = Block(outside, 2, axes[-1:])
        writer.bind_shared(lane, values)
        for value, (buffer, index) in zip(values, targets, strict=True):
            found = writer.bind(lane, value)
            lane.statements.append(Store(buffer, writer.bind_index(lane, index), found))
        self.count = writer.count
        return outside.statements, lane.statements, writer

    def target(self, field: Field, kind: str, level: Expr, place: Expr) -> tuple[str, Index]:
        """Where an element of a step goes."""
        point = tuple(space_var(k) if n != 1 else const(0) for k, n in enumerate(self.form.space))
        if kind == "last":
            return self.operands.output(field), point
        return f"r{field.number}", (*self.kept(level, place, 0), *point[self.form.axis + 1 :])

    def at(self, expr: Expr, kind: str, level: Expr, place: Expr) -> Expr:
        """An expression of the form at a step: its state is that of the scan's operands, or what
        the step before left."""
        done: dict[Expr, Expr] = {}
        for node in walk(expr):
            kids = tuple(done[kid] for kid in children(node))
            match node:
                case Load(buffer=buffer):
                    n = len(node.index)
                    index, guard = kids[:n], kids[n] if len(kids) > n else None
                    number = int(buffer[1:])
                    if buffer[0] == "b":
                        done[node] = self.operands.load(number, index, node.dtype, guard)
                    elif kind == "first" or self.steps == 1:
                        number += self.first_const
                        done[node] = self.operands.load(number, index, node.dtype, guard)
                    else:
                        row = self.kept(isub(level, 1), place, self.far[node])
                        done[node] = Load(
                            f"r{number}", (*row, *index[self.form.axis + 1 :]), node.dtype, guard
                        )
                case Var(name="step"):
                    done[node] = isub(self.last, level) if self.form.reverse else level
                case Var(name=name) if name[0] == "z":
                    done[node] = Load(f"u{name[1:]}", (level,), node.dtype)
                case _:
                    done[node] = rebuild(node, kids)
        return done[expr]


class _Wave(_Stencil):
    """Steps follow each other down a tile."""

    @property
    def rows_kept(self) -> int:
        return 2 * self.form.reach + 1

    @property
    def kept_shape(self) -> tuple[int, ...]:
        return (self.steps - 1, self.rows_kept, *self.form.space[self.form.axis + 1 :])

    def kept(self, level: Expr, place: Expr, far: int) -> Index:
        kept = self.rows_kept
        more = -(-(self.halo + self.form.reach) // kept) * kept
        return level, Op("irem", (iadd(place, far + more), const(kept)), "i64")

    def write(self) -> tuple[Stmt, ...]:
        start: Expr = isub(self.begin, self.halo)
        if not self.form.wraps:
            start = Op("max", (start, const(0)), "i64") if self.halo else start
        wave = self.levels(self.row)
        front = Loop("seq", FRONT.name, start, iadd(self.end, self.halo), tuple(wave))
        return self.tiles((*self.scratch(), *self.uniform(), front))

    def row(self, kind: str, level: Expr) -> list[Stmt]:
        """Step ``level`` of the row that it is the turn of."""
        reach, n = self.form.reach, self.form.extent
        number = isub(FRONT, imul(level, reach))
        first = isub(self.begin, imul(isub(self.last, level), reach))
        due: Expr = Op("ge", (number, first), "bool")
        if self.form.wraps:  # rows are counted on beyond the last
            place: Expr = Var("place", "i64")
            turns = -(-self.halo // n) * n
            row = Op("irem", (iadd(place, turns), const(n)), "i64")
            head: tuple[Stmt, ...] = (
                Local("place", "i64", number),
                Local(self.at_row.name, "i64", row),
            )
        else:
            inside = Op("lt", (number, const(n)), "bool")
            start = Op("ge", (number, const(0)), "bool")
            due = Op("and", (Op("and", (due, start), "bool"), inside), "bool")
            head, place = (Local(self.at_row.name, "i64", number),), self.at_row
        margin = self.margin()
        if margin is None:
            return [If(due, (*head, *self.elements_of_row(kind, level, place, None)))]
        span = margin, n - margin
        ends = (
            Op("ge", (self.at_row, const(span[0])), "bool"),
            Op("lt", (self.at_row, const(span[1])), "bool"),
        )
        inner = self.elements_of_row(kind, level, place, span)
        border = self.elements_of_row(kind, level, place, None)
        return [If(due, (*head, If(Op("and", ends, "bool"), tuple(inner), tuple(border))))]

    def elements_of_row(
        self, kind: str, level: Expr, place: Expr, span: tuple[int, int] | None
    ) -> list[Stmt]:
        """The loops over a row; within ``span`` no row is guarded."""
        values = self.values(kind, level, place, span)
        targets = [self.target(f, kind, level, place) for f in self.fields]
        outside, lane, writer = self.elements(self.axes, values, targets)
        times = vectors_at_once(self.axes[-1].extent // writer.width, writer)
        vec = loops(self.axes[-1:], lane, writer.width, times)
        return loops(self.axes[:-1], [*outside, *vec])


class _Line(_Stencil):
    """A field of one axis: a step of a tile is one loop, two steps are kept.

    A vector begins where one of the tile does, so that loads and stores are aligned: the first
    elements of a step may be made of what is not there, and are not used.
    """

    #: elements of a vector, at most; what is before a tile is a multiple of it
    ALIGN = 64

    @property
    def before(self) -> int:
        """Elements kept in front of the tile's own: those of the first step, and what the second
        reads."""
        return (-(-self.halo // self.ALIGN) + 1) * self.ALIGN

    @property
    def kept_shape(self) -> tuple[int, ...]:
        ones = (1,) * (len(self.form.space) - self.form.axis - 1)
        return (2, 2 * self.before + self.tile.rows, *ones)

    def kept(self, level: Expr, place: Expr, far: int) -> Index:
        return imod(level, 2), iadd(isub(place, self.begin), far + self.before)

    def write(self) -> tuple[Stmt, ...]:
        return self.tiles((*self.scratch(), *self.uniform(), *self.levels(self.step)))

    def step(self, kind: str, level: Expr) -> list[Stmt]:
        """One step of the elements that later ones need."""
        n, align = self.form.extent, self.ALIGN
        halo = imul(isub(self.last, level), self.form.reach)
        start = isub(self.begin, imul(idiv(iadd(halo, align - 1), align), align))
        stop: Expr = iadd(iadd(self.begin, self.tile.rows), halo)
        if not self.form.wraps or kind == "last":
            stop = Op("min", (const(n), stop), "i64")
        if not self.form.wraps and self.halo:
            start = Op("max", (start, const(0)), "i64")
        if kind == "last":
            start = self.begin
        low, high = self.inside()
        if low >= high:
            return [self.part(kind, level, start, stop, None)]
        ends = [start, bound("min", stop, low), bound("max", start, low)]
        ends += [bound("min", stop, high), bound("max", start, high), stop]
        return [
            self.part(kind, level, ends[0], ends[1], None),
            self.part(kind, level, ends[2], ends[3], (low, high)),
            self.part(kind, level, ends[4], ends[5], None),
        ]

    def inside(self) -> tuple[int, int]:
        """Elements whose neighbours need no guards: from, to."""
        n, margin = self.form.extent, self.margin()
        if margin is None:
            return 0, 0
        return -(-margin // self.ALIGN) * self.ALIGN, n - margin

    def part(
        self, kind: str, level: Expr, start: Expr, stop: Expr, span: tuple[int, int] | None
    ) -> Stmt:
        """A loop over some elements; within ``span`` there are no guards."""
        axis = Axis(self.at_row.name, self.form.extent, False)
        place, head = self.at_row, []
        if span is None and self.form.wraps:
            place = Var("place", "i64")
            axis = replace(axis, var="place")
            turn = const(self.form.extent)
            head = [
                Local(
                    self.at_row.name,
                    "i64",
                    Op("irem", (Op("add", (place, turn), "i64"), turn), "i64"),
                )
            ]
        values = self.values(kind, level, place, span)
        targets = [self.target(f, kind, level, place) for f in self.fields]
        outside, lane, writer = self.elements((axis,), values, targets)
        times = 1 if span is None else writer.unroll(writer.nest.items)
        body = (*head, *outside, *lane)
        return Loop("vec", axis.var, start, stop, body, writer.width, times)


def vectors_at_once(vectors: int, writer: Writer) -> int:
    """Vectors per trip along a row: a few more than else if none is left over then. The first and
    the last one are apart where they have guards.
    """
    most = writer.unroll(writer.nest.items)
    return min(range(most + 2, most - 1, -1), key=lambda times: max(vectors - 2, 1) % times)


def bound(fn: str, expr: Expr, number: int) -> Expr:
    return Op(fn, (expr, const(number)), "i64")
