"""Loops that fit into one kernel: parallel axes outside, time inside, the state in registers.

    recognise(node, can_fuse)   ->   LoopForm(space, carries, stacked, ...), or why not (a string)

The elements of a step are pulled out of its graph by element rules, as in any fused kernel; reading
ends at the state, which may only be read where it is written. Branches become selects, loops inside
a step loops of their own.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache

from tracejit.errors import InternalError, MissingRule
from tracejit.ir.expr import Const, Expr, Load, Op, Var, children, const, rebuild, walk
from tracejit.ir.graph import Graph, Literal, Node, Value, walk_nodes
from tracejit.ir.types import TensorType, short
from tracejit.passes.exprs import fold, substituted
from tracejit.passes.loop_form import (
    Cell,
    LoopForm,
    Shape,
    cell_indices,
    layout,
    space_var,
    spaces,
    squeezed,
)
from tracejit.passes.pull import Index, Puller
from tracejit.record import dataclass
from tracejit.transform.loops import Scan

__all__ = ["LoopForm", "recognise"]

#: so many cells at most belong to one point of the space, over all carries
MOST_CELLS = 32
#: a sum over so many elements of a step is written out
MOST_TERMS = 8
#: expressions that may be written anew under guards while a step is read
MOST_WRITTEN = 20_000
#: a product of matrices with so many: a library is faster at larger ones
MOST_FACTORS = 4
#: and so many operations are in a step
MOST_OPERATIONS = 2000
#: fewer steps than this are not worth asking whether anything still changes
LONG = 16
#: graphs of more nodes are read in their order, so that rules do not call each other too deeply
DEEP = 30

HALF = ("f16", "bf16")

CanFuse = Callable[[Node], bool]


class NotInside(Exception):
    """Why a loop does not fit into one kernel."""


@dataclass(frozen=True)
class _Parts:
    """What scan and while have in common: operands are consts, carries, then slices."""

    body: Graph
    cond: Graph | None
    n_consts: int
    n_carry: int
    length: int
    reverse: bool


def parts_of(node: Node) -> _Parts:
    if node.prim.name == "scan":
        s = Scan(**node.params)
        return _Parts(s.body, None, s.n_consts, s.n_carry, s.length, s.reverse)
    body, n = node.params["body"], node.params["n_consts"]
    return _Parts(body, node.params["cond"], n, len(body.outputs), 0, False)


def recognise(node: Node, can_fuse: CanFuse) -> LoopForm | str:
    """The form of a ``scan`` or ``while`` that fits into one kernel, or why it does not."""
    return _form(parts_of(node), can_fuse)


@lru_cache(maxsize=512)
def _form(parts: _Parts, can_fuse: CanFuse) -> LoopForm | str:
    for graph in (parts.body, parts.cond):
        for node in walk_nodes(graph) if graph is not None else ():
            if node.prim.effect:
                return f"`{node.prim.name}` has an effect"
            if not can_fuse(node):
                return f"`{node.prim.name}` does not run inside a kernel"
    types = parts.body.input_types

    def operand(number: int, index: Index) -> Expr:
        return Load(f"b{number}", index, short(types[number].dtype))

    reason = ""
    for space in spaces({y.type.shape for y in parts.body.outputs}):
        try:
            form = _Loop(_State(space), parts, operand).form()
            return form if parts.n_carry or form.cond is not None else across_steps(form)
        except NotInside as why:
            reason = reason or str(why)
        except RecursionError:
            reason = reason or "operations follow each other too deeply"
    shapes = dict.fromkeys(str(list(y.type.shape)) for y in parts.body.outputs)
    return reason or f"shapes {', '.join(shapes)} have no axes in common"


class _State:
    """The cells of a loop and of those inside it."""

    def __init__(self, space: Shape) -> None:
        self.space = space
        self.loops = 0
        self.cells: dict[str, Cell] = {}
        self.places: dict[tuple[str, Index], Cell] = {}

    def is_uniform(self, expr: Expr) -> bool:
        """Whether an expression is the same at every point of the space."""
        points = {space_var(axis).name for axis in range(len(self.space))}
        for node in walk(expr):
            if isinstance(node, Var) and self.space:
                cell = self.cells.get(node.name)
                if node.name in points or (cell is not None and not cell.uniform):
                    return False
        return True

    def resolved(self, expr: Expr) -> Expr:
        """``expr`` with cells as variables."""
        done: dict[Expr, Expr] = {}
        expr = fold(expr)
        for node in walk(expr):
            kids = tuple(done[kid] for kid in children(node))
            done[node] = rebuild(node, kids)
            if isinstance(node, Load) and node.buffer[0] != "b":
                n = len(node.index)
                cell = self.places.get((node.buffer, kids[:n]))
                if cell is None:
                    raise NotInside(f"carry {node.buffer.rpartition('z')[2]} is read elsewhere")
                done[node] = cell.var
                if len(kids) > n:
                    zero = Const(False if node.dtype == "bool" else 0, node.dtype)
                    done[node] = Op("select", (kids[n], cell.var, zero), node.dtype)
        return done[expr]


def across_steps(form: LoopForm) -> LoopForm:
    """A scan that carries nothing: its steps are an axis of the space."""
    axes = len(form.space)
    put: dict[Expr, Expr] = {space_var(axis): space_var(axis + 1) for axis in range(axes)}
    put[form.step] = space_var(0)

    def moved(expr: Expr) -> Expr:
        return substituted(expr, put)

    form = form.mapped(moved)
    stacked = tuple(
        replace(cell, index=tuple(map(moved, cell.index)), uniform=False) for cell in form.stacked
    )
    space = (form.length, *form.space)
    return replace(form, space=space, step=space_var(0), stacked=stacked, length=1)


# ---- one loop ------------------------------------------------------------------------------------


class _Loop:
    """Finds the form of one loop. ``operand`` reads an element of its operands."""

    def __init__(self, state: _State, parts: _Parts, operand: Callable[[int, Index], Expr]) -> None:
        self.state, self.parts, self.operand = state, parts, operand
        number = state.loops
        state.loops += 1
        # names of an outermost loop are plain: z0, step; those of others begin with their number
        self.prefix = f"l{number}z" if number else "z"
        self.step = Var(f"step{number}" if number else "step", "i64")
        self.cells: list[Cell] = []
        self.inner: list[LoopForm] = []

    def form(self) -> LoopForm:
        parts, body = self.parts, self.parts.body
        for k in range(parts.n_carry):
            type = body.inputs[parts.n_consts + k].type
            if not type.size:  # no cell at any point: nothing would tell the steps apart
                raise NotInside(f"carry {k} has no elements")
            self.new_cells(k, type)
        if len(self.state.cells) > MOST_CELLS:
            raise NotInside(f"a point has {len(self.state.cells)} values")
        step = _Step(body, self.source, self)
        step.read_all(self.indices)
        carries = tuple(
            replace(c, value=self.value(step, c, body.outputs[c.number])) for c in self.cells
        )
        stacked = tuple(
            cell
            for k, y in enumerate(body.outputs[parts.n_carry :], parts.n_carry)
            for cell in self.results(step, k, y)
        )
        if len(stacked) > MOST_CELLS:
            raise NotInside(f"a step stores {len(stacked)} values per point")
        form = LoopForm(
            self.state.space,
            self.step,
            carries,
            stacked,
            tuple(self.inner),
            parts.length,
            parts.reverse,
            cond=None,
            lanes=False,
            moving=None,
            names=tuple(dict.fromkeys(node.prim.name for node in body.nodes)),
        )
        if parts.cond is not None:
            form = self.with_condition(form, parts.cond)
        else:
            form = replace(form, moving=moving(form))
        if len({n for e in form.exprs() for n in walk(e) if isinstance(n, Op)}) > MOST_OPERATIONS:
            raise NotInside("a step is too long")
        return form

    def source(self, number: int, index: Index) -> Expr:
        """An element of an input of the body."""
        first, last = self.parts.n_consts, self.parts.n_consts + self.parts.n_carry
        if first <= number < last:
            dtype = short(self.parts.body.inputs[number].type.dtype)
            return Load(f"{self.prefix}{number - first}", index, dtype)
        return self.operand(number, index if number < last else (self.step, *index))

    def indices(self, type: TensorType) -> Sequence[Index]:
        if layout(type.shape, self.state.space) is None:
            return ()
        return cell_indices(type.shape, self.state.space)[0]

    def new_cells(self, number: int, type: TensorType) -> None:
        """The cells of a carry; their values are not known before all cells are."""
        if layout(type.shape, self.state.space) is None:
            raise NotInside(f"a carry of shape {list(type.shape)} is none of the others' axes")
        places, uniform = cell_indices(type.shape, self.state.space)
        for k, index in enumerate(places):
            stem = f"{self.prefix}{number}"
            first = self.operand(self.parts.n_consts + number, index)
            value = Const(0, short(type.dtype))
            name = stem if len(places) == 1 else f"{stem}_{k}"
            cell = Cell(name, number, index, self.state.resolved(first), value, uniform)
            if uniform and not self.state.is_uniform(cell.first):
                raise NotInside("an inner loop's carry has no axis of the outer ones")
            self.cells.append(cell)
            self.state.places[stem, index] = self.state.cells[name] = cell

    def value(self, step: _Step, cell: Cell, y: Value | Literal) -> Expr:
        """The element of a result of the body that a cell is."""
        expr = self.state.resolved(step.read(y, cell.index))
        if cell.uniform and not self.state.is_uniform(expr):
            what = f"carry {cell.number}" if cell.number < self.parts.n_carry else "a result"
            raise NotInside(f"{what} has no axis of the others, and depends on them")
        return expr

    def results(self, step: _Step, number: int, y: Value | Literal) -> list[Cell]:
        """What a step stores of one stacked result."""
        if layout(y.type.shape, self.state.space) is None:
            raise NotInside(f"a result of shape {list(y.type.shape)} is none of the carries' axes")
        places, uniform = cell_indices(y.type.shape, self.state.space)
        blank = Const(0, short(y.type.dtype))
        cells = (Cell("", number, index, blank, blank, uniform) for index in places)
        return [replace(cell, value=self.value(step, cell, y)) for cell in cells]

    # ---- loops inside a step ----

    def inside(self, node: Node, outer: _Step) -> str:
        """Put a loop of the step into the form; the prefix that its cells are read by."""
        parts = parts_of(node)
        if len(node.outputs) > parts.n_carry:
            raise NotInside(f"a `{node.prim.name}` inside a step stacks results")
        inner = _Loop(self.state, parts, lambda n, index: outer.read(node.inputs[n], index))
        form = replace(inner.form(), moving=None)
        if any(is_check(node) for expr in form.exprs() for node in walk(expr)):
            raise NotInside(f"a `{node.prim.name}` inside a step reads at an index that is checked")
        self.inner.append(form)
        return inner.prefix

    # ---- conditions ----

    def with_condition(self, form: LoopForm, graph: Graph) -> LoopForm:
        """The form with the condition of its while: one for all, or one for each point."""
        space = self.state.space
        step = _Step(graph, self.source, None)
        flag = graph.outputs[0]
        running = flag
        while isinstance(running, Value) and running in graph.producer:
            node = graph.producer[running]
            if node.prim.name != "reduce_or":
                break
            running = node.inputs[0]
        if running is flag or squeezed(running.type.shape) != space:
            cond = self.state.resolved(step.read(flag, ()))
            if not self.state.is_uniform(cond):
                raise NotInside("the condition depends on the points")
            lanes = False
        else:
            (index,), _ = cell_indices(running.type.shape, space)
            cond = self.state.resolved(step.read(running, index))
            form, lanes = replace(form, carries=while_running(form, cond)), True
        if any(is_check(node) for node in walk(cond)):
            raise NotInside("the condition reads at an index that is checked")
        return replace(form, cond=cond, lanes=lanes)


def while_running(form: LoopForm, cond: Expr) -> tuple[Cell, ...]:
    """The cells' values where the condition holds; elsewhere each must stay as it is."""
    for cell in form.carries:
        if assuming(cell.value, cond, False) != cell.var:
            raise NotInside(
                f"carry {cell.number} goes on changing at points whose condition is false"
            )
    return tuple(replace(cell, value=assuming(cell.value, cond, True)) for cell in form.carries)


def assuming(expr: Expr, cond: Expr, holds: bool) -> Expr:
    """``expr`` where it is known whether ``cond`` holds."""
    done: dict[Expr, Expr] = {cond: Const(holds, "bool")}
    for node in walk(expr):
        if node not in done:
            done[node] = rebuild(node, tuple(done[kid] for kid in children(node)))
    return fold(done[expr])


def is_check(node: Expr) -> bool:
    return isinstance(node, Op) and node.fn == "check_index"


def moving(form: LoopForm) -> Expr | None:
    """A condition of a scan's step; where it is false at a point, nothing changes there from then
    on.

    It exists where each cell is kept by a select whose condition reads nothing but cells and
    consts: the cells stay the same, so the conditions stay false.
    """
    if form.stacked or form.length < LONG:
        return None
    found: dict[Expr, None] = {}
    for cell in form.carries:
        match cell.value:
            case value if value == cell.var:
                continue
            case Op("select", (p, _, old), _) if old == cell.var:
                found[p] = None
            case Op("select", (p, old, _), _) if old == cell.var:
                found[Op("not", (p,), "bool")] = None
            case _:
                return None
    state = {cell.name for cell in form.carries}
    state |= {space_var(axis).name for axis in range(len(form.space))}
    total: Expr | None = None
    for p in found:
        if any(is_check(n) or isinstance(n, Var) and n.name not in state for n in walk(p)):
            return None
        total = p if total is None else Op("or", (total, p), "bool")
    return total


# ---- elements of a step --------------------------------------------------------------------------


class _Step(Puller):
    """Reads elements of a graph inside a loop. Short sums are written out; what mixes more elements
    is refused. ``loop`` takes up the loops inside.
    """

    def __init__(
        self, graph: Graph, source: Callable[[int, Index], Expr], loop: _Loop | None
    ) -> None:
        super().__init__(graph.producer, lambda v: False, lambda v: "")
        self.graph, self.source, self.loop = graph, source, loop
        self.number = {v: k for k, v in enumerate(graph.inputs)}
        self.branches: dict[Node, list[_Step]] = {}
        self.prefixes: dict[Node, str] = {}
        self.written = 0

    def rewritten(self, count: int) -> None:
        self.written += count
        if self.written > MOST_WRITTEN:
            raise NotInside("a step is too large for one kernel")

    def element(self, x: Value, index: Index) -> Expr:
        if x in self.number:
            return self.source(self.number[x], index)
        node = self.producer[x]
        match node.prim.name:
            case "constant":
                return self.constant(node, index)
            case "cond":
                return self.branch(node, x, index)
            case "scan" | "while":
                return self.result(node, x, index)
            case "dot_general":
                return self.product(node, index)
            case "select":
                inner = self.select_inside(node)
                if inner is not None:
                    return self.read(inner, index)
        if node.prim.reduce is not None:
            return self.reduction(node, index)
        if node.prim.element is None:
            raise NotInside(f"`{node.prim.name}` mixes the elements of a step")
        return super().element(x, index)

    def read_all(self, indices: Callable[[TensorType], Sequence[Index]]) -> None:
        """Read everything in the order of a long graph."""
        for node in self.graph.nodes if len(self.graph.nodes) > DEEP else ():
            for out in node.outputs:
                for index in indices(out.type):
                    try:
                        self.read(out, index)
                    except (NotInside, InternalError, MissingRule):
                        break

    def constant(self, node: Node, index: Index) -> Expr:
        array = node.params["value"].array
        places = [i.value for i in index if isinstance(i, Const)]
        if len(places) < len(index):
            raise NotInside("a step holds a constant array")
        return Const(array[tuple(places)].item(), short(array.dtype))

    def reduction(self, node: Node, index: Index) -> Expr:
        """A reduction over a few elements, one after the other."""
        (x,), axes = node.inputs, node.params["axes"]
        shape, dtype = x.type.shape, short(x.type.dtype)
        terms = math.prod(shape[axis] for axis in axes)
        if not 0 < terms <= MOST_TERMS or dtype in HALF:
            raise NotInside(f"`{node.prim.name}` mixes the elements of a step")
        assert node.prim.reduce is not None
        fn = "or" if node.prim.reduce.fn == "add" and dtype == "bool" else node.prim.reduce.fn
        kept = iter(index)
        where = [None if axis in axes else next(kept) for axis in range(len(shape))]
        total: Expr | None = None
        for places in itertools.product(*(range(shape[axis]) for axis in sorted(axes))):
            at = iter(places)
            term = self.read(x, tuple(const(next(at)) if i is None else i for i in where))
            total = term if total is None else Op(fn, (total, term), dtype)
        assert total is not None
        return total

    def product(self, node: Node, index: Index) -> Expr:
        """A sum of a few products, one after the other."""
        (lhs, rhs), out = node.inputs, short(node.outputs[0].type.dtype)
        (left, right), (left_batch, right_batch) = node.params["dimension_numbers"]
        extents = [lhs.type.shape[axis] for axis in left]
        if not 0 < math.prod(extents) <= MOST_FACTORS or out in HALF:
            raise NotInside("`dot_general` mixes the elements of a step")
        batch = index[: len(left_batch)]
        free = len(left_batch) + lhs.type.ndim - len(left) - len(left_batch)
        total: Expr | None = None
        for places in itertools.product(*map(range, extents)):
            terms = []
            for x, axes, batch_axes, rest in (
                (lhs, left, left_batch, index[len(batch) : free]),
                (rhs, right, right_batch, index[free:]),
            ):
                at: dict[int, Expr] = dict(zip(axes, map(const, places), strict=True))
                at.update(zip(batch_axes, batch, strict=True))
                others = iter(rest)
                where = tuple(
                    at[axis] if axis in at else next(others) for axis in range(x.type.ndim)
                )
                term = self.read(x, where)
                terms.append(term if term.dtype == out else Op("convert", (term,), out))
            term = Op("mul", tuple(terms), out)
            total = term if total is None else Op("add", (total, term), out)
        assert total is not None
        return total

    def select_inside(self, node: Node) -> Value | None:
        """The inner one of select(any(p), select(p, new, old), old), which is the same."""
        cond, chosen, old = node.inputs
        if not isinstance(chosen, Value) or not isinstance(cond, Value):
            return None
        inner = self.producer.get(chosen)
        if inner is None or inner.prim.name != "select" or inner.inputs[2] is not old:
            return None
        dims = tuple(range(cond.type.ndim))
        made = self.producer.get(cond)
        if made is not None and made.prim.name == "broadcast_in_dim":
            dims, source = made.params["dims"], made.inputs[0]
            made = self.producer.get(source) if isinstance(source, Value) else None
        if made is None or made.prim.name != "reduce_or" or made.inputs[0] is not inner.inputs[0]:
            return None
        axes = made.params["axes"]
        kept = tuple(k for k in range(chosen.type.ndim) if k not in axes)
        return chosen if dims == kept else None

    def branch(self, node: Node, x: Value, index: Index) -> Expr:
        """The element in each branch, and the choice between them: all are computed."""
        if node not in self.branches:
            operands = node.inputs[1:]
            self.branches[node] = [
                _Step(graph, lambda n, at: self.read(operands[n], at), None)
                for graph in node.params["branches"]
            ]
        which = self.read(node.inputs[0], ())
        j = node.outputs.index(x)
        found: Expr | None = None
        for k, branch in reversed(list(enumerate(self.branches[node]))):
            value = branch.read(branch.graph.outputs[j], index)
            if any(is_check(n) for n in walk(value)):
                raise NotInside("a branch reads at an index that is checked")
            this = Op("le", (which, Const(k, which.dtype)), "bool")
            found = value if found is None else Op("select", (this, value, found), value.dtype)
        assert found is not None
        return found

    def result(self, node: Node, x: Value, index: Index) -> Expr:
        """The element of a loop inside, which is a cell once it has run."""
        if node not in self.prefixes:
            if self.loop is None:
                raise NotInside(f"a branch or condition holds a `{node.prim.name}`")
            self.prefixes[node] = self.loop.inside(node, self)
        dtype = short(x.type.dtype)
        return Load(f"{self.prefixes[node]}{node.outputs.index(x)}", index, dtype)
