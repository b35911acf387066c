"""From a loop to one Kernel: parallel axes outside, time inside, the state in locals.

    lower_loop(group, partition, vector_bytes=64) -> Lowered(kernel, reads, writes, sizes)

    par chunk in idiv(add(n0, 63), 64):
      vec(16x4) i0 in mul(chunk, 64)..min(n0, add(mul(chunk, 64), 64)):
        z0: f32 = x0[i0]
        seq step in steps:
          t1: f32 = add(mul(0.9, z0), mul(0.1, x1[step, i0]))
          y0[step, i0] = t1
          z0 = t1

The vectors of a trip take turns inside the time loop, so that none waits for its own last result.
Where nothing moves any more (``LoopForm.moving``), the steps that are left are not run.
"""

from __future__ import annotations

from dataclasses import replace

from tracejit.ir.expr import Const, Expr, Load, Op, Var, children, const, rebuild, walk
from tracejit.ir.graph import Node, Value, walk_nodes
from tracejit.ir.types import DTYPES, short
from tracejit.kernel.loop_writer import LoopWriter
from tracejit.kernel.lower import Lowered, as_python
from tracejit.kernel.lower_stream import StreamWriter, is_stream
from tracejit.kernel.nest import Axis, Index, Item, Nest, accesses, collapse
from tracejit.kernel.nodes import Kernel, Param
from tracejit.kernel.sizes import SMALL, generalise
from tracejit.passes.exprs import substituted
from tracejit.passes.groups import Group, Partition
from tracejit.passes.loop_form import Cell, LoopForm, space_var
from tracejit.passes.pull import Puller, guarded
from tracejit.record import dataclass
from tracejit.source import Position


@dataclass(frozen=True)
class _Names:
    """How the operands and results of a loop are called in its kernel; ``puller`` reads them."""

    node: Node
    inputs: dict[Value, str]
    outputs: dict[Value, str]
    puller: Puller

    def output(self, cell: Cell) -> str | None:
        """The result that a cell is part of, if anybody reads it."""
        return self.outputs.get(self.node.outputs[cell.number])

    def load(self, number: int, index: Index, dtype: str, guard: Expr | None) -> Expr:
        """An element of operand ``number``, from memory or computed; zero where it is not read."""
        found = self.puller.read(self.node.inputs[number], index)
        if guard is None:
            return found
        zero = Const(as_python(0, dtype), dtype)
        return Op("select", (guard, guarded(found, guard), zero), dtype)

    def named(self, expr: Expr) -> Expr:
        """An expression of a form with parameters in place of operands."""
        done: dict[Expr, Expr] = {}
        for node in walk(expr):
            kids = tuple(done[kid] for kid in children(node))
            if isinstance(node, Load):
                n = len(node.index)
                guard = kids[n] if len(kids) > n else None
                done[node] = self.load(int(node.buffer[1:]), kids[:n], node.dtype, guard)
            else:
                done[node] = rebuild(node, kids)
        return done[expr]


def lower_loop(group: Group, partition: Partition, vector_bytes: int) -> Lowered:
    """The kernel of a loop group, for vectors of ``vector_bytes``."""
    kernel, steps = loop_kernel(group, partition, vector_bytes)
    kernel, sizes = generalise(kernel)
    if steps is not None:
        kernel = replace(kernel, sizes=("steps", *kernel.sizes))
        sizes = (steps, *sizes)
    return Lowered(kernel, group.inputs, group.outputs, sizes, checked(group.node))


def loop_kernel(
    group: Group, partition: Partition, vector_bytes: int, *, alone: bool = False
) -> tuple[Kernel, int | None]:
    """The kernel with all extents as numbers but "steps", and the value of that where it counts the
    steps. ``alone``: for one element at a time, the state never in memory.
    """
    node = group.node
    assert isinstance(group.form, LoopForm)
    inputs = {v: f"x{k}" for k, v in enumerate(group.inputs)}
    outputs = {v: f"y{k}" for k, v in enumerate(group.outputs)}
    puller = Puller(partition.graph.producer, inputs.__contains__, inputs.__getitem__)
    names = _Names(node, inputs, outputs, puller)
    form = group.form.mapped(names.named)
    lanes = 1 if alone else lanes_of(form, vector_bytes)
    nest = flatten(collapse(make_nest(form, names)), 2 * lanes)
    by_size = form.cond is None and form.length >= SMALL
    steps = Var("steps", "i64") if by_size else const(form.length)
    writer = StreamWriter if not alone and is_stream(form, nest) else LoopWriter
    body = writer(form, nest, lanes, steps).write()
    stacks = stacks_of(nest, form) if by_size else set()

    def param(v: Value, name: str, role: str) -> Param:
        shape: tuple[int | str, ...] = nest.shapes[name]
        shape = ("steps", *shape[1:]) if name in stacks else shape
        if role == "out" and nest.axes:
            shape = shape or (1,)  # stored to in a parallel loop: an array, not a scalar
        return Param(name, short(v.type.dtype), shape, role)

    params = (
        *(param(v, name, "in") for v, name in inputs.items()),
        *(param(v, name, "out") for v, name in outputs.items()),
    )
    title = "_".join((node.prim.name, *form.names[:4])) + ("_etc" if len(form.names) > 4 else "")
    kernel = Kernel(title, (), params, body, comment(group))
    return kernel, form.length if by_size else None


def comment(group: Group) -> str:
    """The user's lines that a loop comes from."""
    inner = (n for graph in group.node.subgraphs for n in walk_nodes(graph))
    places = (n.at.short() for n in (*group.nodes, *inner) if n.at is not None)
    return ", ".join(dict.fromkeys(places))


def checked(node: Node) -> tuple[Position | None, ...]:
    """Where the indices come from that a step checks."""
    inner = (n for graph in node.subgraphs for n in walk_nodes(graph))
    return tuple(n.at for n in inner if n.params.get("mode") == "error")


def stacks_of(nest: Nest, form: LoopForm) -> set[str]:
    """Parameters along whose first axis time runs."""
    return {
        name
        for name, index in accesses(nest)
        if index and index[0] == form.step and nest.shapes[name][0] == form.length
    }


def lanes_of(form: LoopForm, vector_bytes: int) -> int:
    """Elements of a vector: 32 bits each, or 64 where the step computes with f64 or nothing else is
    narrower."""
    cells = (*form.carries, *form.stacked)
    dtypes = {n.dtype for expr in form.exprs() for n in walk(expr)}
    narrow = any(DTYPES[cell.dtype].itemsize <= 4 for cell in cells if not cell.uniform)
    return vector_bytes // (8 if "f64" in dtypes or not narrow else 4)


# ---- axes ----------------------------------------------------------------------------------------


def make_nest(form: LoopForm, names: _Names) -> Nest:
    """The form as a nest, so that axes collapse: first what is stored, in the order of the cells,
    then all expressions."""
    nodes = names.node.outputs
    items: list[Item] = []
    for cell in (*form.carries, *form.stacked):
        out = names.output(cell)
        index = cell.index if cell in form.carries else (form.step, *cell.index)
        blank = Const(as_python(0, cell.dtype), cell.dtype)
        items.append(Item(nodes[cell.number], "full", 0, blank, index if out else (), out))
    items += [Item(nodes[0], "full", 0, expr, (), None) for expr in form.exprs()]
    named = {**names.inputs, **names.outputs}
    return Nest(
        tuple(Axis(space_var(k).name, n, False) for k, n in enumerate(form.space)),
        tuple(items),
        {"": (), **{name: v.type.shape for v, name in named.items()}},
        {name: short(v.type.dtype) for v, name in named.items()},
        tuple(names.inputs.values()),
        tuple(names.outputs.values()),
    )


def flatten(nest: Nest, least: int) -> Nest:
    """``nest`` with a last axis of fewer than ``least`` elements joined to the one before it: its
    number is a remainder then."""
    axes = nest.axes
    while len(axes) > 1 and axes[-1].extent < least:
        a, b = axes[-2:]
        both, n = Var(a.var, "i64"), const(b.extent)
        parts: dict[Expr, Expr] = {
            both: Op("idiv", (both, n), "i64"),
            Var(b.var, "i64"): Op("irem", (both, n), "i64"),
        }
        items = tuple(
            replace(
                item,
                expr=substituted(item.expr, parts),
                index=tuple(substituted(i, parts) for i in item.index),
            )
            for item in nest.items
        )
        axes = (*axes[:-2], Axis(a.var, a.extent * b.extent, False))
        nest = replace(nest, axes=axes, items=items)
    return nest
