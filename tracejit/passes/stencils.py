"""Loops whose step reads neighbours: several steps become one kernel, so that the state stays in
cache between them.

    recognise(node, can_fuse)       ->  StencilForm(space, fields, ...), or why not (a string)
    tile_stencils(graph, can_fuse)      a long scan is a scan of rounds, each a scan of few steps

    scan(x, body, length=100)   ->   scan(x, body={scan(x, body, length=4)}, length=25)

A step is a map over the space of the carries in which every read of a carry is at most ``reach``
rows away. A tile of rows can then run several steps by itself, if it begins with some rows more on
each side (Krishnamoorthy et al., "Effective Automatic Parallelization of Stencil Computations",
2007); ``kernel/lower_stencil.py`` writes it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

from tracejit.errors import InternalError, MissingRule
from tracejit.ir import build
from tracejit.ir.expr import Expr, Load, Op, Var, const, walk
from tracejit.ir.graph import Atom, Graph, Node, Value, walk_nodes
from tracejit.ir.types import DTYPES, TensorType, short
from tracejit.ops.layout import reshape
from tracejit.ops.layout import slice_ as cut
from tracejit.passes import loops
from tracejit.passes.exprs import fold
from tracejit.passes.loop_form import space_var
from tracejit.passes.loops import CanFuse, NotInside
from tracejit.passes.pull import Index
from tracejit.passes.stencil_reads import distance
from tracejit.record import dataclass
from tracejit.transform.loops import Scan, scan

#: rows that a step may look away, at most
MOST_REACH = 4
#: operations of a step, at most: it is written several times
MOST_OPERATIONS = 300
#: fields smaller than this (twice the first cache of most cores) hardly leave it anyway
LEAST_BYTES = 1 << 16
#: bytes of the rows kept between the steps of a tile: in the first cache of 32 KiB if two steps
#: fit, which have to share it with the rows read and written, else in the second one of 1 MiB.
#: Milliseconds of 100 steps on one core, five points of f32[512,512], by steps of a tile (the rows
#: are 6 KiB for each but the last): 1: 2.95, 3: 2.44, 4: 2.40, 5: 2.50, 6: 2.99, 8: 3.32; of a wave
#: equation, 12 KiB each: 1: 5.7, 2: 3.97, 3: 3.98, 4: 5.0, 8: 5.4
FIRST_CACHE, SECOND_CACHE = 20 << 10, 600 << 10
#: steps of a tile: more than this hardly move less memory
MOST_STEPS = 8
#: rows of a tile for each row that its neighbour computes as well: 5 % more work at most
ROWS_EACH = 20
#: so many fields are enough for threads to share, without tiles
ENOUGH = 8
#: the same for fields of one axis: two steps of a tile are in the first cache whole, and 3 % are
#: computed twice. Shorter ones are not worth the loops around them.
LINE_BYTES, LINE_EACH, LEAST_LINE, MOST_LINE_STEPS = 16 << 10, 32, 256, 32


@dataclass(frozen=True)
class Field:
    """A carry: ``value`` is its element after a step. One of shape ``[]`` is ``uniform``."""

    number: int
    dtype: str
    value: Expr
    uniform: bool

    @property
    def name(self) -> str:
        """What its elements before the step are read from, and the variable of a uniform one."""
        return f"z{self.number}"


@dataclass(frozen=True)
class StencilForm:
    """A step in expressions: operand n of the scan is the buffer ``b<n>``, carry k the buffer
    ``z<k>`` (the variable, if uniform), its number ``step``.

    Rows lie along ``axis``, the first one on which a step reads anything but the index at hand.
    ``rows``: for each read of a carry, how many rows away it is; ``reach``: the most of them;
    ``wraps``: whether the last row is next to the first.
    """

    space: tuple[int, ...]
    axis: int
    fields: tuple[Field, ...]
    rows: tuple[tuple[Load, int], ...]
    reach: int
    wraps: bool
    length: int
    reverse: bool
    names: tuple[str, ...]

    def __str__(self) -> str:
        around = ", the last next to the first" if self.wraps else ""
        return f"{self.length} steps at once, reading {self.reach} rows away{around}"

    @property
    def step(self) -> Var:
        return Var("step", "i64")

    @property
    def row_bytes(self) -> int:
        """Bytes of a row of all fields."""
        wide = sum(DTYPES[f.dtype].itemsize for f in self.fields if not f.uniform)
        return wide * math.prod(self.space[self.axis + 1 :])

    @property
    def extent(self) -> int:
        """How many rows a field has."""
        return self.space[self.axis]

    @property
    def fields_apart(self) -> int:
        """How many fields lie one after the other and have nothing to do with each other."""
        return math.prod(self.space[: self.axis])


@dataclass(frozen=True)
class Tile:
    """``steps`` in one kernel over tiles of ``rows``."""

    steps: int
    rows: int


def recognise(node: Node, can_fuse: CanFuse) -> StencilForm | str:
    """The form of a scan whose step is a stencil, or why it is none."""
    if node.prim is not scan:
        return "no scan"
    if not getattr(can_fuse, "stencils", True):
        return "this back end runs one step after the other"
    s = Scan(**node.params)
    if s.body.outputs[s.n_carry :]:
        return "it stacks results"
    return _form(s, can_fuse)


@lru_cache(maxsize=512)
def _form(s: Scan, can_fuse: CanFuse) -> StencilForm | str:
    for node in walk_nodes(s.body):
        if node.prim.effect:
            return f"`{node.prim.name}` has an effect"
        if not can_fuse(node):
            return f"`{node.prim.name}` does not run inside a kernel"
    try:
        return _Reader(s).form()
    except NotInside as why:
        return str(why)
    except (InternalError, MissingRule, RecursionError) as why:
        return f"no element rule: {type(why).__name__}"


class _Reader:
    """Pulls the elements of a step."""

    def __init__(self, s: Scan) -> None:
        self.s = s
        self.types = [v.type for v in s.split(s.body.inputs)[1]]
        shapes = [t.shape for t in self.types]
        self.space: tuple[int, ...] = max(shapes, key=math.prod, default=())
        if not self.space:
            raise NotInside("no rows")
        if any(t.shape != self.space and t.shape for t in self.types):
            raise NotInside("carries have several shapes")

    def form(self) -> StencilForm:
        s = self.s
        step = loops._Step(s.body, self.source, None)
        point = tuple(space_var(axis) if n != 1 else const(0) for axis, n in enumerate(self.space))
        fields = []
        for k, (y, t) in enumerate(zip(s.body.outputs, self.types, strict=True)):
            value = fold(step.read(y, point if t.shape else ()))
            fields.append(Field(k, short(t.dtype), value, not t.shape))
        for field in fields:
            self.check(field)
        loads = {
            node
            for field in fields
            for node in walk(field.value)
            if isinstance(node, Load) and node.buffer[0] == "z"
        }
        axis = self.first_axis(point, loads)
        reads = {load: distance(load, axis, self.space[axis]) for load in loads}
        rows = {load: far for load, (far, _) in reads.items()}
        return StencilForm(
            self.space,
            axis,
            tuple(fields),
            tuple(rows.items()),
            max((abs(far) for far in rows.values()), default=0),
            any(around for _, around in reads.values()),
            s.length,
            s.reverse,
            tuple(dict.fromkeys(node.prim.name for node in s.body.nodes)),
        )

    def first_axis(self, point: Index, loads: set[Load]) -> int:
        """The first axis along which neighbours are read."""
        for axis, index in enumerate(point):
            if any(load.index[axis] != index for load in loads):
                return axis
        raise NotInside("a step reads no neighbours")

    def source(self, number: int, index: Index) -> Expr:
        """An element of an input of the body."""
        k = number - self.s.n_consts
        dtype = short(self.s.body.inputs[number].type.dtype)
        if 0 <= k < self.s.n_carry:
            if self.types[k].shape:
                return Load(f"z{k}", index, dtype)
            return Var(f"z{k}", dtype)
        return Load(f"b{number}", index if k < 0 else (Var("step", "i64"), *index), dtype)

    def check(self, field: Field) -> None:
        operations = 0
        points = {space_var(axis).name for axis in range(len(self.space))}
        for node in walk(field.value):
            operations += isinstance(node, Op)
            if isinstance(node, Op) and node.fn == "check_index":
                raise NotInside("a step reads at an index that is checked")
            if field.uniform and (
                isinstance(node, Load)
                and node.buffer[0] == "z"
                or isinstance(node, Var)
                and node.name in points
            ):
                raise NotInside(f"carry {field.number} depends on the fields")
        if operations > MOST_OPERATIONS:
            raise NotInside("a step is too long")


# ---- how many steps ------------------------------------------------------------------------------


def tile_of(form: StencilForm) -> Tile | str:
    """How a form is tiled, or why that is not worth it. The length does not matter."""
    n, reach, apart = form.extent, form.reach, form.fields_apart
    if not 1 <= reach <= MOST_REACH:
        return "no read of a neighbour row" if not reach else f"reads {reach} rows away"
    if apart * n * form.row_bytes < LEAST_BYTES:
        return "the state fits into the first cache"
    if is_line(form):
        return _tile_of_line(form)
    between = (2 * reach + 1) * form.row_bytes
    steps = 1 + FIRST_CACHE // between
    if steps < 2:
        steps = 1 + SECOND_CACHE // between
    steps = min(steps, MOST_STEPS)
    if steps < 2:
        return "rows are too long for the caches"
    rows = ROWS_EACH * reach * (steps - 1)
    if 2 * rows > n and apart < ENOUGH:
        return "too few rows"
    tiles = max(n // rows, 1 if apart >= ENOUGH else 2)
    return Tile(steps, -(-n // tiles))


def is_line(form: StencilForm) -> bool:
    """Whether a row is one element."""
    return math.prod(form.space[form.axis + 1 :]) == 1


def _tile_of_line(form: StencilForm) -> Tile | str:
    """Two steps of a tile in the first cache."""
    rows = LINE_BYTES // (2 * form.row_bytes)
    rows = 1 << (rows.bit_length() - 1)
    if rows < LEAST_LINE or 4 * rows > form.extent:
        return "too few elements"
    return Tile(min(1 + rows // (LINE_EACH * form.reach), MOST_LINE_STEPS), rows)


# ---- rounds --------------------------------------------------------------------------------------


def tiled(node: Node, can_fuse: CanFuse) -> StencilForm | str:
    """The form of a scan that is one kernel; why it is none."""
    form = recognise(node, can_fuse)
    if isinstance(form, str):
        return form
    tile = tile_of(form)
    if isinstance(tile, str):
        return tile
    return form if 1 <= form.length <= tile.steps else "more steps than one kernel does"


def tile_stencils(graph: Graph, can_fuse: Callable[[Node], bool]) -> Graph:
    """``graph`` with scans over stencils in rounds of as many steps as a kernel does."""
    if not any(node.prim is scan for node in graph.nodes):
        return graph
    with build.building() as b:
        env: dict[Value, Atom] = {v: v for v in graph.inputs}
        for node in graph.nodes:
            b.at = node.at
            operands = build.subst(node.inputs, env)
            steps = _steps_of_round(node, can_fuse)
            if steps:
                found = _rounds(Scan(**node.params), operands, steps)
            else:
                b.nodes.append(replace(node, inputs=operands))
                found = node.outputs
            env.update(zip(node.outputs, found, strict=True))
        outs = build.subst(graph.outputs, env)
    return Graph(graph.inputs, tuple(b.nodes), outs, graph.name)


def _steps_of_round(node: Node, can_fuse: CanFuse) -> int:
    """Steps of a round; none where the scan stays as it is."""
    if node.prim is not scan or isinstance(loops.recognise(node, can_fuse), loops.LoopForm):
        return 0
    form = recognise(node, can_fuse)
    tile = form if isinstance(form, str) else tile_of(form)
    if isinstance(form, str) or isinstance(tile, str):
        return 0
    return round_of(form.length, tile.steps) if form.length > tile.steps else 0


def round_of(length: int, most: int) -> int:
    """Steps of a round: rather a few less than a second kernel for those that are left."""
    even = (n for n in range(most, 3 * most // 4 - 1, -1) if length % n == 0)
    return next(even, most)


def _rounds(s: Scan, operands: tuple[Atom, ...], steps: int) -> tuple[Atom, ...]:
    """The scan as one of rounds, and one of the steps that are left."""
    consts, carry, xs = s.split(operands)
    count, rest = divmod(s.length, steps)
    # backward, the first steps are the last slices
    start = rest if s.reverse else 0

    def part(x: Atom, first: int, n: int) -> Atom:
        if n == s.length:
            return x
        shape = x.type.shape[1:]
        begin, end = (first, *(0 for _ in shape)), (first + n, *shape)
        return cut(x, start=begin, limit=end, strides=(1,) * len(end))  # type: ignore[no-any-return]

    def in_rounds(x: Atom) -> Atom:
        x = part(x, start, count * steps)
        return reshape(x, new_sizes=(count, steps, *x.type.shape[1:]))  # type: ignore[no-any-return]

    short_scan = replace(s, length=steps)
    with build.building() as b:
        ins = [
            *(b.input(x.type) for x in (*consts, *carry)),
            *(b.input(TensorType(x.type.dtype, (steps, *x.type.shape[1:]))) for x in xs),
        ]
        body = b.graph(short_scan(*ins), s.body.name)
    rounds = replace(s, body=body, length=count)
    carry = rounds(*consts, *carry, *map(in_rounds, xs))
    if rest:
        left = [part(x, 0 if s.reverse else count * steps, rest) for x in xs]
        carry = replace(s, length=rest)(*consts, *carry, *left)
    return tuple(carry)
