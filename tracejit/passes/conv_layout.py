"""What lies between convolutions is computed in the order in which they leave and take it.

    transpose(add(transpose(fused_conv(...)), broadcast(b)))  ->  add(fused_conv(...), broadcast(b))

Comes in: a graph whose convolutions are ``fused_conv`` nodes with transposes around them
(``conv_library.py``). Goes out: an equal one in which transposes of their results have moved behind
the elementwise operations, reductions, pooling and padding that follow, until they meet another
transpose or something that has to have its operand as it was. Other operands of such operations
(a skip connection, say) are transposed the other way: inside a kernel that is another order of
reading.

On a CPU convolutions take their orders from what surrounds them instead (``layouts.py``): any order
serves there, while a GPU's libraries know two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from tracejit.ir.build import Builder, building
from tracejit.ir.graph import Atom, Graph, Literal, Node, Value
from tracejit.ops.broadcast import broadcast_in_dim
from tracejit.ops.dot import permuted
from tracejit.ops.fused_conv import fused_conv
from tracejit.ops.layout import inverse, transpose
from tracejit.ops.window import WINDOW_PARAMS
from tracejit.passes.dead import drop_dead
from tracejit.passes.fold import ELEMENTWISE
from tracejit.passes.merge import merge_equal
from tracejit.passes.subgraphs import map_subgraphs
from tracejit.record import dataclass

Ints = tuple[int, ...]
Params = Mapping[str, Any]


def keep_features_order(graph: Graph) -> Graph:
    """``graph`` with transposes of ``fused_conv`` results moved towards those who read them."""
    nodes = [map_subgraphs(node, keep_features_order) for node in graph.nodes]
    inner = any(a is not b for a, b in zip(nodes, graph.nodes, strict=True))
    found = replace(graph, nodes=tuple(nodes)) if inner else graph
    if not any(node.prim is fused_conv for node in nodes):
        return found
    made = _Mover(found).run()
    return found if made is None else drop_dead(merge_equal(made))


@dataclass(frozen=True)
class _Moved:
    """A value that is ``transpose(base, order)``."""

    base: Any
    order: Ints


class _Mover:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        #: values of the graph -> what they are now
        self.env: dict[Value, Atom] = {}
        self.moved: dict[Value, _Moved] = {}
        #: results of convolutions, and what was computed from them in their order
        self.own: set[Value] = set()
        self.changed = False

    def run(self) -> Graph | None:
        """The new graph; None where nothing moved."""
        builder = Builder()
        with building(builder):
            for node in self.graph.nodes:
                builder.at = node.at
                if not self.moves(node):
                    inputs = tuple(self.read(x) for x in node.inputs)
                    builder.nodes.append(replace(node, inputs=inputs))
                    if node.prim is fused_conv:
                        self.own.update(node.outputs)
            outputs = tuple(self.read(x) for x in self.graph.outputs)
        if not self.changed:
            return None
        return replace(self.graph, nodes=tuple(builder.nodes), outputs=outputs)

    # ---- values ----

    def read(self, x: Atom) -> Atom:
        """``x`` as it was, transposed back if it has moved."""
        if not isinstance(x, Value):
            return x
        if x not in self.env and x in self.moved:
            found = self.moved[x]
            self.env[x] = permuted(found.base, found.order)
        return self.env.get(x, x)

    def ordered(self, x: Atom, order: Ints) -> Atom:
        """What, transposed by ``order``, is ``x``."""
        back = inverse(order)
        shape = tuple(x.type.shape[axis] for axis in back)
        if isinstance(x, Literal):
            return Literal(x.value, x.type.with_shape(shape))
        made = self.graph.producer.get(x)
        if made is not None and made.prim is broadcast_in_dim:
            return self.spread(made, shape, order)
        found = self.moved.get(x) or _Moved(self.read(x), tuple(range(len(order))))
        y: Atom = permuted(found.base, tuple(found.order[axis] for axis in back))
        return y

    def spread(self, made: Node, shape: Ints, order: Ints) -> Atom:
        """A broadcast to ``shape``: axes of its operand in the order of those they become."""
        places = [order[axis] for axis in made.params["dims"]]
        way = tuple(sorted(range(len(places)), key=places.__getitem__))
        x: Any = self.read(made.inputs[0])
        if isinstance(x, Literal):
            return Literal(x.value, x.type.with_shape(shape))
        y: Atom = broadcast_in_dim(permuted(x, way), shape=shape, dims=tuple(sorted(places)))
        return y

    def put(self, node: Node, base: Any, order: Ints) -> None:
        """``base``, transposed by ``order``, is the result of ``node``."""
        out = node.outputs[0]
        self.changed = True
        if not base.name:
            base.name = out.name
        if order == tuple(range(len(order))):
            self.env[out] = base
        else:
            self.moved[out] = _Moved(base, order)
        self.own.add(base)

    # ---- nodes ----

    def moves(self, node: Node) -> bool:
        """Whether ``node`` was written in the order of what it reads."""
        if node.prim is transpose:
            return self.meets(node)
        found = [self.moved[x] for x in node.inputs if isinstance(x, Value) and x in self.moved]
        if not found or len(node.outputs) != 1:
            return False
        order, name = found[0].order, node.prim.name
        if node.prim.reduce is not None:
            return self.folds(node, order)
        if name in ELEMENTWISE:
            params: Params | None = node.params
        else:
            params = _CHANGES[name](node, order) if name in _CHANGES else None
        if params is None:
            return False
        operands = [
            self.ordered(x, order) if x.type.ndim == len(order) else self.read(x)
            for x in node.inputs
        ]
        self.put(node, node.prim(*operands, **params), order)
        return True

    def meets(self, node: Node) -> bool:
        """A transpose of a convolution's result, of what has moved, or of a broadcast."""
        [x], order = node.inputs, node.params["permutation"]
        if not isinstance(x, Value):
            return False
        made = self.graph.producer.get(x)
        if made is not None and made.prim is broadcast_in_dim:
            spread = self.spread(made, node.outputs[0].type.shape, inverse(order))
            self.env[node.outputs[0]], self.changed = spread, True
            return True
        found = self.moved.get(x)
        if found is None:
            base = self.env.get(x, x)
            if not isinstance(base, Value) or base not in self.own:
                return False
            found = _Moved(base, tuple(range(len(order))))
        now = tuple(found.order[axis] for axis in order)
        out = node.outputs[0]
        if now == tuple(range(len(now))):
            self.env[out], self.changed = found.base, True
        else:
            self.moved[out] = _Moved(found.base, now)
        return True

    def folds(self, node: Node, order: Ints) -> bool:
        """A reduction: its axes are others, and so is the order of those that are left."""
        axes = node.params["axes"]
        gone = tuple(sorted(order[axis] for axis in axes))
        kept = [axis for axis in range(len(order)) if axis not in gone]
        left = tuple(kept.index(order[axis]) for axis in range(len(order)) if axis not in axes)
        base = self.ordered(node.inputs[0], order)
        self.put(node, node.prim(base, **{**node.params, "axes": gone}), left)
        return True


# ---- params in another order of axes -------------------------------------------------------------


def _by_axis(*names: str) -> Callable[[Node, Ints], Params | None]:
    """Params that have an entry for each axis."""

    def change(node: Node, order: Ints) -> Params | None:
        back = inverse(order)
        given = {name: tuple(node.params[name][axis] for axis in back) for name in names}
        return {**node.params, **given}

    return change


def _window(node: Node, order: Ints) -> Params | None:
    """Those of pooling; of equal elements the first counts, so windows keep their order."""
    places = [order[axis] for axis, n in enumerate(node.params["window_dimensions"]) if n > 1]
    if places != sorted(places):
        return None
    return _by_axis(*WINDOW_PARAMS)(node, order)


def _joined(node: Node, order: Ints) -> Params | None:
    return {**node.params, "dimension": order[node.params["dimension"]]}


#: name of a primitive -> its params where its operands have been transposed by the inverse of an
#: order; operands of another rank are scalars, and stay
_CHANGES: dict[str, Callable[[Node, Ints], Params | None]] = {
    "pad": _by_axis("config"),
    "slice": _by_axis("start", "limit", "strides"),
    "concatenate": _joined,
    "reduce_window_sum": _window,
    "reduce_window_max": _window,
    "reduce_window_min": _window,
    "select_and_gather_add": _window,
    "select_and_scatter_add": _window,
}
