"""From a fused group to a Kernel: loops around the expressions that its roots are.

    lower_group(group, partition, vector_bytes=64) -> Lowered(kernel, reads, writes, sizes)

Kept axes come outside, reduced ones inside, once per *stage*: a root that needs the result of a
reduction belongs to the stage after it, so softmax is three loops over each row. What does not
depend on the inner loop is computed before it. The last axis of the space is the vector.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tracejit.ir.expr import Const, Expr, Load, Op, Var, children, const, iadd, imul, rebuild, walk
from tracejit.ir.graph import Value
from tracejit.ir.types import TensorType
from tracejit.kernel.nest import Axis, Item, Nest, collapse, make_nest
from tracejit.kernel.nodes import Accumulate, Check, Kernel, Local, Loop, Param, Stmt, Store
from tracejit.kernel.sizes import generalise
from tracejit.kernel.split import split
from tracejit.kernel.tiles import find_tiles
from tracejit.kernel.unroll import unroll_short
from tracejit.passes.groups import Group, Partition
from tracejit.record import dataclass
from tracejit.source import Position

#: elements of a one-dimensional map that a thread takes at a time
BLOCK = 4096
#: a loop of so many trips has enough of them for threads to share
ENOUGH = 16
#: bodies of more operations than this are unrolled less
MANY = 40
#: bodies of more instructions than this too: about what a CPU looks ahead
WINDOW = 280
#: bodies that read and write more than so many vectors too: 4 of each are all registers
STREAMS = 8
#: operations with loops in them, which end with the last of the elements that are computed together
LOOPED = frozenset(
    "igamma igammac igamma_grad_a betainc betaincc betainc_grad_a betainc_grad_b "
    "student_cdf".split()
)
#: operations of so many instructions that they are rather stored than computed again
LONG = LOOPED | frozenset(
    "exp exp2 expm1 log log2 log10 log1p tanh sin cos tan erf erfc erf_inv pow logistic sinh cosh "
    "asin acos atan atan2 asinh acosh atanh lgamma digamma cbrt "
    "erfcx gamma ndtri bessel_i0e bessel_i1e".split()
)
#: those of them that have an argument of any size to reduce
PERIODIC = frozenset("sin cos tan".split())
#: expressions nested deeper than this are cut by a local: printers descend into them
DEPTH = 12
HALF = ("f16", "bf16")
EIGHT_BYTES = ("f64", "i64", "u64")


@dataclass(frozen=True)
class Lowered:
    """A kernel and how a group's values bind to its parameters, in order.

    ``checks[code - 1]`` is the user's position behind a Check of the kernel. ``then``: the kernel
    to run next; with it ``places`` says which of reads, writes, ``scratch`` (memory between the
    kernels) and ``zeroed`` (counters that are zero before and after) each parameter is.
    """

    kernel: Kernel
    reads: tuple[Value, ...]
    writes: tuple[Value, ...]
    sizes: tuple[int, ...]
    checks: tuple[Position | None, ...] = ()
    scratch: tuple[TensorType, ...] = ()
    places: tuple[int, ...] | None = None
    then: Lowered | None = None
    zeroed: tuple[TensorType, ...] = ()


def lower_group(group: Group, partition: Partition, vector_bytes: int) -> Lowered:
    """The kernel of a fused group, for vectors of ``vector_bytes``."""
    nest = unroll_short(collapse(make_nest(group, partition)))
    writer = Writer(nest, vector_bytes)
    body = writer.write()
    params = tuple(
        Param(name, nest.dtypes[name], nest.shapes[name], role)
        for role, names in (("in", nest.inputs), ("out", nest.outputs))
        for name in names
    )
    kernel = Kernel(kernel_name(group), (), params, body, comment_of(group))
    kernel, sizes = generalise(split(kernel))
    return Lowered(kernel, group.inputs, group.outputs, sizes, checked_lines(group))


def comment_of(group: Group) -> str:
    """The user's lines that a group comes from."""
    return ", ".join(dict.fromkeys(n.at.short() for n in group.nodes if n.at is not None))


def checked_lines(group: Group) -> tuple[Position | None, ...]:
    return tuple(n.at for n in group.nodes if n.params.get("mode") == "error")


def kernel_name(group: Group) -> str:
    """What the kernel does, and nothing of where it came from: equal kernels have equal names."""
    quiet = ("broadcast_in_dim", "reshape", "convert", "full", "copy")
    telling = [n.prim.name for n in group.nodes if n.prim.name not in quiet]
    chosen = list(dict.fromkeys(telling or [group.nodes[0].prim.name]))
    return "_".join(chosen[:4]) + ("_etc" if len(chosen) > 4 else "")


class Block:
    """Statements being written at one depth: 1 outside the inner loops, 2 inside them."""

    def __init__(self, parent: Block | None, depth: int, opened: Sequence[Axis]) -> None:
        self.parent = parent
        self.depth = depth
        self.statements: list[Stmt] = []
        # every expression computed so far, as what stands for it
        self.bound: dict[Expr, Expr] = {Var(a.var, "i64"): Var(a.var, "i64") for a in opened}

    def find(self, expr: Expr) -> tuple[Expr, Block] | None:
        """What stands for ``expr``, and the block it was computed in."""
        block: Block | None = self
        while block is not None:
            found = block.bound.get(expr)
            if found is not None:
                return found, block
            block = block.parent
        return None


class Writer:
    """Writes the loops of a nest."""

    def __init__(self, nest: Nest, vector_bytes: int) -> None:
        self.nest = nest
        self.vector_bytes = vector_bytes
        self.count = 0
        # by what reads the result
        self.accumulators: dict[Load, Var] = {}
        self.depths: dict[Expr, int] = {}
        self.spills: dict[int, list[tuple[Expr, Item]]] = {}
        self.width = vector_bytes // (8 if wide_lanes(nest) else 4)

    def write(self) -> tuple[Stmt, ...]:
        kept, inner = self.nest.kept, self.nest.inner
        last_kept = bool(kept) and self.nest.axes[-1] == kept[-1]
        if not inner or last_kept or self.along_kept_is_better(kept, inner):
            return self.vector_along_kept(kept, inner)
        return self.vector_along_reduced(kept, inner)

    def along_kept_is_better(self, kept: Sequence[Axis], inner: Sequence[Axis]) -> bool:
        """Whether elements lie apart along the reduced axis, and need not be gathered in the inner
        loop for a vector along the kept one.
        """
        folds = all(item.level != "full" for item in self.nest.items)
        if not kept or not folds or kept[-1].extent < self.width:
            return False
        along, across = Var(inner[-1].var, "i64"), Var(kept[-1].var, "i64")
        changing = {Var(axis.var, "i64") for axis in inner}
        apart = False
        for item in self.nest.items:
            for node in walk(item.expr):
                if isinstance(node, Load) and node.index:
                    parts = set(walk(Op("add", node.index, "i64")))
                    apart = apart or (along in parts and node.index[-1] != along)
                    if across in parts and changing & parts and node.index[-1] != across:
                        return False
        return apart

    # ---- loops ----

    def vector_along_reduced(self, kept: Sequence[Axis], inner: Sequence[Axis]) -> tuple[Stmt, ...]:
        """Rows outside; inside, per stage, one loop along the row."""
        row = Block(None, 1, kept)
        self.plan_spills()
        for stage in range(self.nest.stages + 1):
            folds, fulls = self.of_stage(stage, "fold"), self.of_stage(stage, "full")
            self.write_rows(row, stage)
            if folds or fulls:
                self.declare(row, folds)
                block = Block(row, 2, inner)
                self.reload(block, stage)
                self.write_items(block, folds, fulls, stage)
                row.statements += loops(
                    inner, block.statements, self.width, self.unroll((*folds, *fulls))
                )
                self.finish(row, folds)
        return parallel(loops(kept, row.statements))

    def vector_along_kept(self, kept: Sequence[Axis], inner: Sequence[Axis]) -> tuple[Stmt, ...]:
        """The vector along the last kept axis; reductions run inside it, lane by lane."""
        tiles = find_tiles(self.nest, self.vector_bytes)
        if tiles is not None:
            self.nest = tiles.nest
        outside = Block(None, 1, kept[:-1])
        lane = Block(outside, 2, kept[-1:])
        for stage in range(self.nest.stages + 1):
            self.write_rows(lane, stage)
            if not inner:
                self.write_items(lane, (), self.of_stage(stage, "full"), stage)
            folds = self.of_stage(stage, "fold")
            if folds:
                self.declare(lane, folds)
                block = Block(lane, 3, inner)
                self.write_items(block, folds, (), stage)
                lane.statements += loops(inner, block.statements)
                self.finish(lane, folds)
        if not kept:
            return tuple(outside.statements + lane.statements)
        times = self.unroll(self.nest.items)
        if tiles is not None:
            lanes = tiles.cut(tiles.along, lane.statements)
            lanes = replace(lanes, how="vec", width=self.width, unroll=times)
            return parallel(tiles.loops(kept, (*outside.statements, lanes)))
        if len(kept) > 1:
            vec = loops(kept[-1:], lane.statements, self.width, times)
            return parallel(loops(kept[:-1], outside.statements + vec))
        length = self.width * times if inner else BLOCK
        return self.blocks(kept[0], outside.statements, lane.statements, times, length)

    def blocks(
        self, axis: Axis, before: list[Stmt], body: list[Stmt], times: int, length: int
    ) -> tuple[Stmt, ...]:
        """One loop over the only axis, cut into blocks of ``length`` for the threads when it is
        long.
        """
        if axis.extent <= length:
            return (*before, *loops((axis,), body, self.width, times))
        chunk, n = Var("chunk", "i64"), const(axis.extent)
        start = imul(chunk, length)
        stop = Op("min", (n, iadd(start, length)), "i64")
        vec = Loop("vec", axis.var, start, stop, tuple(body), self.width, times)
        count = Op("idiv", (Op("add", (n, const(length - 1)), "i64"), const(length)), "i64")
        return (Loop("par", "chunk", const(0), count, (*before, vec)),)

    def of_stage(self, stage: int, level: str) -> tuple[Item, ...]:
        return tuple(i for i in self.nest.items if i.stage == stage and i.level == level)

    def unroll(self, items: Sequence[Item]) -> int:
        """Vectors per trip: several, so that neither sums nor long chains of operations (an
        exponential takes some 20, one after the other) wait for each other. Fewer where registers
        or what the CPU looks ahead hold no more: Black-Scholes in f64, a sine and the gates of an
        LSTM take as long with 2 as with 4, and 0.6 as long to compile; Black-Scholes in f32 takes
        1.06 as long.
        """
        nodes = {n for item in items for n in walk(item.expr)}
        ops = {n for n in nodes if isinstance(n, Op)}
        streams = len(items) + sum(isinstance(n, Load) for n in nodes)
        many = len(ops) > MANY or sum(map(instructions, ops)) >= WINDOW or streams > STREAMS
        return 2 if many else 4

    # ---- statements ----

    def fresh(self) -> str:
        self.count += 1
        return f"t{self.count}"

    def declare(self, block: Block, folds: Sequence[Item]) -> None:
        """Accumulators at their identities; 16-bit floats are summed in f32."""
        for item in folds:
            dtype = "f32" if item.dtype in HALF else item.dtype
            var = self.accumulators[item.read] = Var(f"s{len(self.accumulators)}", dtype)
            block.statements.append(
                Local(var.name, dtype, Const(as_python(item.identity, dtype), dtype))
            )

    def finish(self, block: Block, folds: Sequence[Item]) -> None:
        """Results of reductions: bound for later stages, stored where they are outputs."""
        for item in folds:
            result: Expr = self.accumulators[item.read]
            if result.dtype != item.dtype:
                result = self.name(block, Op("convert", (result,), item.dtype))
            block.bound[item.read] = result
            if item.out is not None:
                block.statements.append(Store(item.out, self.bind_index(block, item.index), result))

    def write_items(
        self, block: Block, folds: Sequence[Item], stores: Sequence[Item], stage: int
    ) -> None:
        """Accumulations and stores of one stage, inside the inner loop."""
        kept = [expr for expr, _ in self.spills.get(stage, ())]
        self.bind_shared(block, [*(item.expr for item in (*folds, *stores)), *kept])
        for item in folds:
            value = self.bind(block, item.expr)
            if value.dtype in HALF:
                value = Op("convert", (value,), "f32")
            block.statements.append(Accumulate(self.accumulators[item.read].name, item.fn, value))
        for expr, into in self.spills.get(stage, ()):
            value = self.bind(block, expr, named=True)
            assert into.out is not None
            block.statements.append(Store(into.out, self.bind_index(block, into.index), value))
        for item in stores:
            assert item.out is not None
            value = self.bind(block, item.expr)
            block.statements.append(Store(item.out, self.bind_index(block, item.index), value))

    def write_rows(self, block: Block, stage: int) -> None:
        """Outputs of one element per row, as soon as what they need is there."""
        self.write_items(block, (), self.of_stage(stage, "row"), -1)

    def bind_index(self, block: Block, index: Sequence[Expr]) -> tuple[Expr, ...]:
        return tuple(self.bind(block, i) for i in index)

    # ---- long expressions needed in two stages wait in the memory of an output stored later ----

    def plan_spills(self) -> None:
        """Choose, for long expressions of several stages, an output that is free until their last
        use.
        """
        first: dict[Expr, int] = {}
        last: dict[Expr, int] = {}
        for item in self.nest.items:
            if item.level != "row":
                for node in walk(item.expr):
                    if isinstance(node, Op) and node.fn in LONG:
                        first[node] = min(first.get(node, item.stage), item.stage)
                        last[node] = max(last.get(node, item.stage), item.stage)
        inner = {Var(a.var, "i64") for a in self.nest.inner}
        free = [i for i in self.nest.items if i.level == "full"]
        for node in reversed(list(first)):  # the largest first: it contains the others
            if first[node] == last[node] or not inner.intersection(walk(node)):
                continue
            into = next((i for i in free if i.dtype == node.dtype and i.stage >= last[node]), None)
            if into is not None:
                free.remove(into)
                self.spills.setdefault(first[node], []).append((node, into))

    def reload(self, block: Block, stage: int) -> None:
        """In a later stage a spilled expression is read back."""
        for earlier, found in self.spills.items():
            if earlier < stage:
                for expr, into in found:
                    if into.stage >= stage and into.out is not None:
                        load: Expr = Load(into.out, self.bind_index(block, into.index), into.dtype)
                        # read before this stage stores the output itself
                        block.bound[expr] = self.name(block, load) if into.stage == stage else load

    # ---- expressions ----

    def bind_shared(self, block: Block, exprs: Sequence[Expr]) -> None:
        """Name what several of the expressions, or several places in one, have in common."""
        uses: dict[Expr, int] = {}
        for expr in exprs:
            uses[expr] = uses.get(expr, 0) + 1
        order = list(dict.fromkeys(node for expr in exprs for node in walk(expr)))
        for node in order:
            for kid in children(node):
                uses[kid] = uses.get(kid, 0) + 1
        for node in order:
            if isinstance(node, Op | Load) and uses[node] > 1:
                self.bind(block, node, named=True)

    def bind(self, block: Block, expr: Expr, named: bool = False) -> Expr:
        """What stands for ``expr`` in ``block``. Parts that do not change in the inner loop are
        computed outside it.
        """
        for node in unbound(block, expr):
            kids, home = [], block
            while home.parent is not None:
                home = home.parent
            for kid in children(node):
                value, where = block.find(kid) or (kid, home)
                if where is not block and not isinstance(value, Const | Var):
                    # computed outside: once there, not at each use inside
                    value = where.bound[kid] = self.name(where, value)
                kids.append(value)
                home = where if where.depth > home.depth else home
            found = self.checked(home, kids) if is_check(node) else rebuild(node, tuple(kids))
            depth = 1 + max((self.depths.get(kid, 0) for kid in kids), default=0)
            named_here = home is not block or (named and node is expr) or depth > DEPTH
            if named_here and not isinstance(found, Const | Var):
                found, depth = self.name(home, found), 0
            self.depths[found] = depth
            home.bound[node] = found
        place = block.find(expr)
        return expr if place is None else place[0]

    def name(self, block: Block, expr: Expr) -> Var:
        """A new local holding ``expr``."""
        var = Var(self.fresh(), expr.dtype)
        block.statements.append(Local(var.name, var.dtype, expr))
        return var

    def checked(self, block: Block, args: Sequence[Expr]) -> Expr:
        """An index that must lie in its axis: a Check, and the index clipped into it."""
        i, extent = args
        var = i if isinstance(i, Var | Const) else self.name(block, i)
        inside = Op(
            "and", (Op("ge", (var, const(0)), "bool"), Op("lt", (var, extent), "bool")), "bool"
        )
        block.statements.append(Check(inside, 1))
        last = Op("sub", (extent, const(1)), "i64")
        return Op("max", (Op("min", (var, last), "i64"), const(0)), "i64")


def wide_lanes(nest: Nest) -> bool:
    """Whether lanes hold values of eight bytes. One that is the same in all lanes is a scalar."""
    lanes = {Var(axis.var, "i64") for axis in (*nest.axes[-1:], *nest.kept[-1:])}
    differs: dict[Expr, bool] = {}
    for item in nest.items:
        if item.dtype in EIGHT_BYTES:
            return True
        for node in walk(item.expr):
            differs[node] = node in lanes or any(differs[kid] for kid in children(node))
            data = isinstance(node, Load) or node.dtype == "f64"
            if data and node.dtype in EIGHT_BYTES and differs[node]:
                return True
    return False


def instructions(op: Op) -> int:
    """About how many instructions an operation takes."""
    if op.fn in PERIODIC:
        return WINDOW
    return (40 if op.dtype != "f64" else 55) if op.fn in LONG else 1


def unbound(block: Block, expr: Expr) -> Iterator[Expr]:
    """The parts of ``expr`` that nothing stands for yet, arguments first."""
    stack: list[tuple[Expr, bool]] = [(expr, False)]
    while stack:
        node, ready = stack.pop()
        if isinstance(node, Const | Var) or block.find(node) is not None:
            continue
        if ready:
            yield node
        else:
            stack.append((node, True))
            stack.extend((kid, False) for kid in children(node))


def is_check(node: Expr) -> bool:
    return isinstance(node, Op) and node.fn == "check_index"


def loops(axes: Sequence[Axis], body: list[Stmt], width: int = 0, times: int = 1) -> list[Stmt]:
    """Loops over ``axes`` around ``body``; with ``width`` the last one is a vector."""
    for k, axis in reversed(list(enumerate(axes))):
        loop = Loop("seq", axis.var, const(0), const(axis.extent), tuple(body))
        if width and k == len(axes) - 1:
            loop = replace(loop, how="vec", width=width, unroll=times)
        body = [loop]
    return body


def parallel(body: Sequence[Stmt]) -> tuple[Stmt, ...]:
    """The outermost loop split over threads; the two outermost as one where that one is short."""
    if len(body) != 1 or not isinstance(body[0], Loop) or body[0].how != "seq":
        return tuple(body)
    outer = body[0]
    inner = outer.body[0] if len(outer.body) == 1 else None
    if isinstance(inner, Loop) and inner.how == "seq" and counted(outer) and counted(inner):
        a, b = (int(loop.stop.value) for loop in (outer, inner))  # type: ignore[attr-defined]
        if a < ENOUGH:
            number = Var("number", "i64")
            numbers = (
                Local(outer.var, "i64", Op("idiv", (number, inner.stop), "i64")),
                Local(inner.var, "i64", Op("irem", (number, inner.stop), "i64")),
            )
            return (Loop("par", "number", const(0), const(a * b), (*numbers, *inner.body)),)
    return (replace(outer, how="par"),)


def counted(loop: Loop) -> bool:
    """Whether a loop runs over all of an axis that is not empty."""
    return loop.start == const(0) and isinstance(loop.stop, Const) and bool(loop.stop.value)


def as_python(value: Any, dtype: str) -> bool | int | float:
    """An identity as a Python scalar of the dtype's kind."""
    item = value.item() if isinstance(value, np.generic) else value
    if dtype == "bool":
        return bool(item)
    return float(item) if dtype[0] in "fb" else int(item)
