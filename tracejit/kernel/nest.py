"""The material of a fused kernel before its loops are written: axes, roots with their expressions,
buffers.

    nest = collapse(make_nest(group, partition))

``collapse`` drops axes of one element and joins neighbouring axes that every access walks through
together, so that an elementwise kernel over (64, 3, 7) is one loop over 1344 elements.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import field, replace

from tracejit.ir.expr import Expr, Load, Op, Var, children, rebuild, walk
from tracejit.ir.graph import Graph, Value
from tracejit.ir.types import short
from tracejit.passes.groups import Group, Partition
from tracejit.passes.pull import Puller, has_check
from tracejit.passes.space import index_for, pull_root, space_index
from tracejit.record import dataclass

Index = tuple[Expr, ...]


@dataclass(frozen=True)
class Axis:
    """A loop to be: its variable, extent, and whether reductions run over it."""

    var: str
    extent: int
    reduced: bool


@dataclass(frozen=True)
class Item:
    """A root: ``expr`` is its element (its operand's, for a fold) at a point of the space.

    ``level``: "full" is stored for each point of the space, "row" for each kept index, "fold" is a
    reduction; ``index`` is where it is stored; ``fold`` the name later stages read a reduction by,
    ``out`` its output buffer.
    """

    root: Value
    level: str
    stage: int
    expr: Expr
    index: Index
    out: str | None
    fold: str = ""
    fn: str = ""
    identity: bool | int | float = 0

    @property
    def dtype(self) -> str:
        return short(self.root.type.dtype)

    @property
    def read(self) -> Load:
        """How later stages read the result of a fold."""
        return Load(self.fold, self.index, self.dtype)


@dataclass(frozen=True)
class Nest:
    """``shapes`` and ``dtypes`` of buffers and of folds (by name); ``order``: names of the
    parameters, inputs first.
    """

    axes: tuple[Axis, ...]
    items: tuple[Item, ...]
    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, str]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...] = field(default=())

    @property
    def kept(self) -> tuple[Axis, ...]:
        return tuple(axis for axis in self.axes if not axis.reduced)

    @property
    def inner(self) -> tuple[Axis, ...]:
        return tuple(axis for axis in self.axes if axis.reduced)

    @property
    def stages(self) -> int:
        return 1 + max((item.stage for item in self.items), default=0)


def make_nest(group: Group, partition: Partition) -> Nest:
    """Pull the expression of every root of ``group``."""
    graph = partition.graph
    inputs = {v: f"x{k}" for k, v in enumerate(group.inputs)}
    outputs = {v: f"y{k}" for k, v in enumerate(group.outputs)}
    folds = {r: f"fold{k}" for k, r in enumerate(group.roots) if graph.producer[r].prim.reduce}
    index = space_index(group.space)
    named = [(name, v.type) for table in (inputs, outputs, folds) for v, name in table.items()]
    return Nest(
        tuple(
            Axis(f"i{axis}", n, axis in group.reduced)
            for axis, n in enumerate(group.space)
            if n != 1
        ),
        tuple(_items(group, graph, {**inputs, **folds}, folds, outputs, index)),
        {name: type.shape for name, type in named},
        {name: short(type.dtype) for name, type in named},
        tuple(inputs.values()),
        tuple(outputs.values()),
    )


def _items(
    group: Group,
    graph: Graph,
    known: dict[Value, str],
    folds: dict[Value, str],
    outputs: dict[Value, str],
    index: Index,
) -> Iterator[Item]:
    own = {root: folds.get(root, f"root{k}") for k, root in enumerate(group.roots)}
    names = {**known, **own}
    puller = Puller(graph.producer, stop=lambda v: v in names, name=lambda v: names[v])
    elements: dict[str, Expr] = {}
    stage_of: dict[str, int] = {}
    for root in group.roots:
        expr = pull_root(puller, graph, root, index, group.space, group.reduced)
        expr = joined(expr, elements, stage_of)
        read = [n.buffer for n in walk(expr) if isinstance(n, Load) and n.buffer in stage_of]
        stage = max((stage_of[name] + 1 for name in read), default=0)
        where = index_for(root.type.shape, index, group.space, group.reduced)
        if root in folds:
            stage_of[folds[root]] = stage
            reduce = graph.producer[root].prim.reduce
            assert reduce is not None
            fn = "or" if reduce.fn == "add" and root.type.dtype == bool else reduce.fn
            start = reduce.identity(root.type.dtype)
            item = Item(root, "fold", stage, expr, where, outputs.get(root), folds[root], fn, start)
            yield item
            continue
        elements[own[root]] = expr
        if root in outputs:
            full = not group.reduced or root.type.shape == group.space
            yield Item(root, "full" if full else "row", stage, expr, where, outputs[root])


def joined(expr: Expr, elements: Mapping[str, Expr], folds: Container[str]) -> Expr:
    """``expr`` with the group's own values in it: maps as their elements, results of reductions
    without guards.

    Both are there at every point of the space, and are read only at the point at hand.
    """
    done: dict[Expr, Expr] = {}
    for node in walk(expr):
        kids = tuple(done[kid] for kid in children(node))
        if isinstance(node, Load) and node.buffer in elements:
            done[node] = elements[node.buffer]
        elif isinstance(node, Load) and node.buffer in folds:
            done[node] = Load(node.buffer, kids[: len(node.index)], node.dtype)
        else:
            done[node] = rebuild(node, kids)
    return done[expr]


# ---- axes ----------------------------------------------------------------------------------------


def collapse(nest: Nest) -> Nest:
    """``nest`` without axes of one element in its buffers, and with neighbouring axes joined where
    possible.
    """
    nest = _squeeze(nest)
    position = len(nest.axes) - 2
    while position >= 0:
        a, b = nest.axes[position], nest.axes[position + 1]
        if a.reduced == b.reduced:
            places = _together(nest, a, b)
            if places is not None:
                nest = _join(nest, position, places)
        position -= 1
    return nest


def _squeeze(nest: Nest) -> Nest:
    """Drop the axes of one element from shapes and indices, if no index there is checked."""
    checked = {
        (name, k)
        for name, index in accesses(nest)
        for k, n in enumerate(nest.shapes.get(name, ()))
        if n == 1 and has_check(index[k])
    }
    keep = {
        name: tuple(k for k, n in enumerate(shape) if n != 1 or (name, k) in checked)
        for name, shape in nest.shapes.items()
    }

    def short_index(name: str, index: Index) -> Index:
        return tuple(index[k] for k in keep[name])

    shapes = {name: tuple(shape[k] for k in keep[name]) for name, shape in nest.shapes.items()}
    return _rewrite(replace(nest, shapes=shapes), short_index)


def _rewrite(nest: Nest, change: object) -> Nest:
    """Every index changed by ``change(buffer, index)``."""
    done: dict[Expr, Expr] = {}

    def convert(expr: Expr) -> Expr:
        for node in walk(expr):
            if node in done:
                continue
            kids = tuple(done[kid] for kid in children(node))
            if isinstance(node, Load):
                n = len(node.index)
                index = change(node.buffer, kids[:n])  # type: ignore[operator]
                guard = kids[n] if len(kids) > n else None
                done[node] = Load(node.buffer, index, node.dtype, guard)
            else:
                done[node] = rebuild(node, kids)
        return done[expr]

    items = tuple(
        replace(
            item,
            expr=convert(item.expr),
            index=change(item.out or item.fold, item.index),  # type: ignore[operator]
        )
        for item in nest.items
    )
    return replace(nest, items=items)


def accesses(nest: Nest) -> Iterator[tuple[str, Index]]:
    for item in nest.items:
        yield item.out or item.fold, item.index
        for node in walk(item.expr):
            if isinstance(node, Load):
                yield node.buffer, node.index


def _together(nest: Nest, a: Axis, b: Axis) -> dict[str, int] | None:
    """Where each buffer is walked by ``a`` then ``b``; None when some access keeps them apart."""
    va, vb = Var(a.var, "i64"), Var(b.var, "i64")
    for item in nest.items:
        if item.expr in (va, vb):
            return None
        for node in walk(item.expr):
            if isinstance(node, Op) and (va in node.args or vb in node.args):
                return None
    places: dict[str, int] = {}
    for name, index in accesses(nest):
        place = -1
        if va in index or vb in index:
            if index.count(va) != 1 or index.count(vb) != 1:
                return None
            place = index.index(va)
            shape = nest.shapes[name]
            if index.index(vb) != place + 1 or shape[place : place + 2] != (a.extent, b.extent):
                return None
        if places.setdefault(name, place) != place:
            return None
    return places


def _join(nest: Nest, position: int, places: dict[str, int]) -> Nest:
    """Axes ``position`` and the next as one."""
    a, b = nest.axes[position], nest.axes[position + 1]
    axes = (
        *nest.axes[:position],
        Axis(a.var, a.extent * b.extent, a.reduced),
        *nest.axes[position + 2 :],
    )
    shapes = dict(nest.shapes)
    for name, place in places.items():
        if place >= 0:
            shape = shapes[name]
            shapes[name] = (*shape[:place], shape[place] * shape[place + 1], *shape[place + 2 :])

    def join(name: str, index: Index) -> Index:
        place = places.get(name, -1)
        return index if place < 0 else (*index[: place + 1], *index[place + 2 :])

    return _rewrite(replace(nest, axes=axes, shapes=shapes), join)
