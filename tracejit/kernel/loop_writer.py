"""The statements of a loop in one kernel: loops over the space around loops over time.

    LoopWriter(form, nest, lanes, steps).write()

``form`` has the kernel's parameters in its expressions, ``nest`` the axes that are left of its
space; ``steps`` is how often the outermost loop runs.
"""

from __future__ import annotations

from collections.abc import Sequence

from tracejit.ir.expr import Const, Expr, Op, Var, children, const, isub, walk
from tracejit.ir.types import DTYPES
from tracejit.kernel.lower import LONG, Block, Writer, loops, parallel
from tracejit.kernel.nest import Item, Nest
from tracejit.kernel.nodes import Local, Loop, Set, Stmt, Store, While
from tracejit.kernel.visit import statements
from tracejit.passes.loop_form import Cell, LoopForm

#: steps between two looks at whether anything still moves
PATIENCE = 4
#: vectors that a trip may keep in registers, besides those that a step computes
REGISTERS = 28
#: a condition of more operations than this is computed at the end of a step, not at the loop's head
SHORT_CONDITION = 24


class LoopWriter(Writer):
    """Writes the loops around a step: those over the space, then time."""

    def __init__(self, form: LoopForm, nest: Nest, lanes: int, steps: Expr) -> None:
        super().__init__(nest, lanes * 4)
        self.width, self.steps = lanes, steps
        cells = len(form.carries) + len(form.stacked)
        self.stored = nest.items[:cells]
        after = dict(zip(form.exprs(), (i.expr for i in nest.items[cells:]), strict=True))
        self.form = form.mapped(lambda expr: after[expr])
        self.step: Block

    def write(self) -> tuple[Stmt, ...]:
        axes = self.nest.axes
        outside = Block(None, 1, axes[:-1])
        lane = Block(outside, 2, axes[-1:])
        self.run(self.form, lane)
        invariants = len(kept_in_loops(lane.statements))
        cells = len(self.form.carries)
        for cell, item in zip(self.form.carries, self.stored[:cells], strict=True):
            self.put(lane, cell, item, cell.var)
        if not axes:
            return tuple(outside.statements + lane.statements)
        times = self.vectors(invariants)
        if len(axes) > 1:
            vec = loops(axes[-1:], lane.statements, self.width, times)
            return parallel(loops(axes[:-1], outside.statements + vec))
        length = self.width * times
        return self.blocks(axes[0], outside.statements, lane.statements, times, length)

    def vectors(self, invariants: int) -> int:
        """Vectors per trip: as many as registers hold, and as the last axis has."""
        narrow = 64 // self.width
        cells = [*self.form.carries, *(c for loop in self.form.inner for c in loop.carries)]
        moved = [c for c in cells if not c.uniform]
        wide = [c for c in moved if DTYPES[c.dtype].itemsize > narrow]
        operations = {n for e in self.form.exprs() for n in walk(e) if isinstance(n, Op)}
        if any(op.fn in LONG for op in operations):
            most = 2 if len(operations) < 20 else 1
        else:
            most = REGISTERS // (len(moved) + len(wide) + invariants + 1)
        times = 1
        while times * 2 <= min(most, 8) and times * 2 * self.width <= self.nest.axes[-1].extent:
            times *= 2
        return times

    # ---- time ----

    def run(self, form: LoopForm, block: Block) -> None:
        """Write a loop over steps into ``block``; its state can be read there afterwards."""
        for cell in form.carries:
            first = self.bind(block, cell.first)
            block.statements.append(Local(cell.name, cell.dtype, first))
        step = self.new_step(form, block)
        outer, self.step = getattr(self, "step", step), step
        self.write_step(form, step)
        block.statements += self.time(form, block, step)
        self.step = outer
        for cell in form.carries:
            block.bound[cell.var] = cell.var

    def new_step(self, form: LoopForm, block: Block) -> Block:
        """A block inside ``block`` in which the state changes."""
        step = Block(block, block.depth + 1, ())
        for var in (form.step, *(cell.var for cell in form.carries)):
            step.bound[var] = var
        return step

    def write_step(self, form: LoopForm, step: Block) -> None:
        """The statements of one step: loops inside it, new values, stacked ones, then the state
        takes them."""
        for loop in form.inner:
            self.run(loop, step)
        values = [cell.value for cell in (*form.carries, *form.stacked)]
        extra = [form.moving] if form.moving is not None else []
        self.bind_shared(step, [*values, *extra])
        state = [cell.var for cell in form.carries]
        new: list[Set] = []
        for cell in form.carries:
            if cell.value == cell.var:
                continue
            new.append(Set(cell.name, self.before_sets(step, cell.value, state)))
        for cell, item in zip(form.stacked, self.stored[len(form.carries) :], strict=False):
            if item.out is not None:
                self.put(step, cell, item, self.bind(step, cell.value))
        if form.moving is not None:
            new.append(Set("moving", self.before_sets(step, form.moving, state)))
        step.statements += new

    def before_sets(self, step: Block, expr: Expr, state: Sequence[Var]) -> Expr:
        """What stands for ``expr`` while the state changes: a local or a constant. A loop inside
        the step may have met the expression before, and given it no name.
        """
        value = self.bind(step, expr, named=True)
        settled = isinstance(value, Const) or isinstance(value, Var) and value not in state
        return value if settled else self.name(step, value)

    def time(self, form: LoopForm, block: Block, step: Block) -> list[Stmt]:
        """The loop around a step."""
        steps = self.steps if form is self.form else const(form.length)
        if form.cond is not None:
            return self.while_loop(form, block, step)
        if not form.carries:  # the steps are an axis of the space
            return step.statements
        if form.moving is None:
            return self.all_steps(form, step, const(0), steps, steps)
        begin, end = Var("begin", "i64"), Var("end", "i64")
        alive: Expr = Var("moving", "bool")
        if self.nest.axes:
            alive = Op("any_lane", (alive,), "bool")
        more = Op("lt", (begin, steps), "bool")
        later = Op("min", (steps, Op("add", (begin, const(PATIENCE)), "i64")), "i64")
        body = (
            Local("end", "i64", later),
            *self.all_steps(form, step, begin, end, steps),
            Set("begin", end),
        )
        return [
            Local("moving", "bool", Const(True, "bool")),
            Local("begin", "i64", const(0)),
            While(Op("and", (more, alive), "bool"), body),
        ]

    def all_steps(
        self, form: LoopForm, step: Block, begin: Expr, end: Expr, steps: Expr
    ) -> list[Stmt]:
        """A loop from step ``begin`` to ``end``; backward, they count from the last one."""
        name = form.step.name
        if not form.reverse:
            return [Loop("seq", name, begin, end, tuple(step.statements))]
        turn = Var(name.replace("step", "turn"), "i64")
        place = Local(name, "i64", isub(isub(steps, const(1)), turn))
        return [Loop("seq", turn.name, begin, end, (place, *step.statements))]

    def while_loop(self, form: LoopForm, block: Block, step: Block) -> list[Stmt]:
        """A while around a step. A long condition is a local, computed before and after the
        step."""
        assert form.cond is not None
        test = self.new_step(form, block)
        cond = self.bind(test, form.cond)
        if not test.statements and size(cond) <= SHORT_CONDITION:
            return [While(cond, tuple(step.statements))]
        before, first = self.tested(form, block)
        after, again = self.tested(form, block)
        go = Var(form.step.name.replace("step", "go"), "bool")
        body = (*step.statements, *after, Set(go.name, again))
        return [*before, Local(go.name, "bool", first), While(go, body)]

    def tested(self, form: LoopForm, block: Block) -> tuple[list[Stmt], Expr]:
        """The condition of the state at hand, and the statements it takes."""
        test = self.new_step(form, block)
        assert form.cond is not None
        self.bind_shared(test, [form.cond])
        found = self.bind(test, form.cond)
        return test.statements, found

    def name(self, block: Block, expr: Expr) -> Expr:  # type: ignore[override]
        """The parts of a joined axis have no names: printers see that they are one index."""
        if isinstance(expr, Op) and expr.fn in ("idiv", "irem") and isinstance(expr.args[0], Var):
            return expr
        return super().name(block, expr)

    # ---- results ----

    def put(self, block: Block, cell: Cell, item: Item, value: Expr) -> None:
        """Store an element; what is the same everywhere is stored by the first point."""
        if item.out is None:
            return
        guard: Expr | None = None
        for axis in self.nest.axes if cell.uniform else ():
            first = Op("eq", (Var(axis.var, "i64"), const(0)), "bool")
            guard = first if guard is None else Op("and", (guard, first), "bool")
        index = item.index or ((const(0),) if self.nest.axes else ())
        block.statements.append(Store(item.out, self.bind_index(block, index), value, guard))

    def checked(self, block: Block, args: Sequence[Expr]) -> Expr:
        """A check belongs to the step, even where it reads nothing that changes: no step, no
        failure."""
        return super().checked(self.step, args)


def kept_in_loops(body: Sequence[Stmt]) -> set[str]:
    """Locals of ``body`` that never change and are read by the loops in it."""
    inner = [s for loop in body if isinstance(loop, Loop | While) for s in statements(loop.body)]
    read: set[str] = set()
    for s in inner:
        match s:
            case Local() | Set():
                exprs: tuple[Expr, ...] = (s.value,)
            case Store():
                exprs = (s.value, *s.index)
            case _:
                exprs = ()
        read |= {n.name for e in exprs for n in walk(e) if isinstance(n, Var)}
    changed = {s.name for s in inner if isinstance(s, Set)}
    return {s.name for s in body if isinstance(s, Local)} & read - changed


def size(expr: Expr) -> int:
    """Operations of an expression written out, shared ones as often as they are read."""
    count: dict[Expr, int] = {}
    for node in walk(expr):
        count[node] = isinstance(node, Op) + sum(count[kid] for kid in children(node))
    return count[expr]
