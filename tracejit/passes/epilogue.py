"""Matrix products take over what follows them on each element, where a GPU's library does that.

    h = relu(dot_general(x, w) + b)         ->  h = fused_matmul(x, w, b, epilogue="bias_relu")
    h = gelu(z), z = dot_general(x, w) + b  ->  h, z = fused_matmul(x, w, b, "bias_gelu_aux")
    dz = gelu'(z) * dot_general(dy, w),     ->  dz, db = fused_matmul(dy, w, z, "dgelu_bgrad")
        db = sum of dz's rows

Comes in: an optimised graph, after differentiation and batching, for a GPU, and ``takes(node)``,
which says whether the target's library has a ``fused_matmul``. Goes out: an equal graph; each
element of a product is written once, finished, instead of written, read and written again.

A product is left alone where something else reads what would no longer be stored. Sums, biases and
functions are then computed before the result is rounded: of 16-bit floats the fused graph is the
more precise one, and not equal to the last bit. ``relu`` of nan may be 0 in a library.

gelu, in its tanh form, and its gradient are written in many ways. They are known by their values: a
sum of products of analytic functions that agrees with gelu in many points is gelu. The form with
erf is another function, and stays.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from tracejit.ir.graph import Graph, Literal, Node, Value
from tracejit.ir.types import DTYPES, TensorType, kind, short
from tracejit.ops.broadcast import broadcast_in_dim, reduce_sum
from tracejit.ops.dot import as_matmul, dot_general, free_axes
from tracejit.ops.fused import (
    UNITS,
    aux_type,
    fused_matmul,
    gelu,
    gelu_slope,
)
from tracejit.ops.layout import reshape, transpose
from tracejit.ops.parts import convert
from tracejit.passes.dead import drop_dead
from tracejit.passes.subgraphs import has_effect, map_subgraphs
from tracejit.record import dataclass

Takes = Callable[[Node], bool]
Samples = dict[Value, np.ndarray]

#: operations that are analytic: what is built of them and agrees in many points is one function
ANALYTIC = frozenset(
    ("add", "sub", "mul", "div", "neg", "square", "integer_pow", "tanh", "logistic", "exp")
)
#: comparisons with 0 that have the same answer before and after ``relu``
SIGNS = frozenset(("le", "gt"))
#: how far values may be from those of gelu: constants are rounded to the dtype of the graph
NEAR = {"f32": 1e-6, "f16": 1e-3, "bf16": 2e-3}
#: where functions are compared; beside 0, where many agree
POINTS = np.concatenate([np.linspace(-8, 8, 64) + 0.013, (-40.0, 40.0)])
#: without one of these, nothing is gelu
CURVED = frozenset(("tanh", "logistic", "exp"))
#: inside a loop smaller products are left alone, which may become part of one kernel with all else
LEAST = 32**3
#: factors of the derivative at these points
FACTORS = 1.5 + np.cos(1.7 * np.arange(POINTS.size))


# ---- 16-bit floats stay what they are ------------------------------------------------------------


def narrow_products(graph: Graph) -> Graph:
    """Products of converted 16-bit floats as products of those floats, at any depth.

    BLAS on a CPU has no 16-bit floats, so ``contract.py`` converts for it. A GPU's library
    multiplies them, adds up in float32 and rounds once: the same value.
    """
    nodes: list[Node] = []
    rounded: set[Node] = set()
    outputs = set(graph.outputs)
    changed = False
    for node in graph.nodes:
        if node in rounded:
            continue
        inner = map_subgraphs(node, narrow_products)
        changed |= inner is not node
        operands = _narrow_operands(node, graph, nodes)
        if operands is None:
            nodes.append(inner)
            continue
        [out] = node.outputs
        users = graph.users.get(out, [])
        preferred: np.dtype | None = DTYPES["f32"]
        if len(users) == 1 and out not in outputs and users[0].prim is convert:
            if users[0].outputs[0].type.dtype == operands[0].type.dtype:
                rounded.add(users[0])
                [out] = users[0].outputs
                preferred = None
        params = {**node.params, "preferred_element_type": preferred}
        nodes.append(Node(dot_general, operands, params, (out,), node.at))
        changed = True
    return drop_dead(replace(graph, nodes=tuple(nodes))) if changed else graph


def _narrow_operands(node: Node, graph: Graph, nodes: list[Node]) -> tuple[Value, ...] | None:
    """What both operands of a float32 product were converted from, if that has 16 bits; ``nodes``
    gets what orders their axes.
    """
    if node.prim is not dot_general or node.outputs[0].type.dtype != DTYPES["f32"]:
        return None
    new: list[Node] = []
    found = [_narrow(x, graph, new) for x in node.inputs]
    values = tuple(x for x in found if x is not None)
    if len(values) < 2 or values[0].type.dtype != values[1].type.dtype:
        return None
    nodes += new
    return values


def _narrow(x: Any, graph: Graph, new: list[Node]) -> Value | None:
    """``x`` before it was converted, its axes and elements in the order they have in ``x``."""
    made = graph.producer.get(x) if isinstance(x, Value) else None
    if made is None or not made.inputs or not isinstance(made.inputs[0], Value):
        return None
    if made.prim is convert:
        return made.inputs[0] if short(made.inputs[0].type.dtype) in ("f16", "bf16") else None
    if made.prim not in (transpose, reshape):
        return None
    source = _narrow(made.inputs[0], graph, new)
    if source is None:
        return None
    out = Value(made.outputs[0].type.with_dtype(source.type.dtype))
    new.append(Node(made.prim, (source,), made.params, (out,), made.at))
    return out


# ---- what there is -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Site:
    """A product, ``z`` with its bias, and the function ``h`` of that, "relu" or "gelu", if any.

    ``at``: the node that makes z. ``known``: what else is a function of z, by its values at
    ``POINTS``.
    """

    product: Node
    bias: Value | None
    at: Node
    z: Value
    name: str = ""
    h: Value | None = None
    known: Samples | None = None


def _is_product(node: Node, least: int) -> bool:
    """Whether a product has the form that epilogues are for, and ``least`` multiplications."""
    if node.prim is not dot_general or not all(isinstance(x, Value) for x in node.inputs):
        return False
    (_, contract), (_, batch) = node.params["dimension_numbers"]
    rhs, out = node.inputs[1].type, node.outputs[0].type
    one_axis = len(free_axes(rhs.ndim, contract, batch)) == 1
    if not one_axis or short(out.dtype) not in NEAR or out.size == 0:
        return False
    return as_matmul(node.inputs[0].type, rhs, node.params["dimension_numbers"]).flops >= 2 * least


def _is_zero(x: Any) -> bool:
    return isinstance(x, Literal) and kind(x.type.dtype) == "f" and bool(x.value == 0)


class _Sites:
    """Finds products and what follows them in a graph."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.place = {node: k for k, node in enumerate(graph.nodes)}
        self.outputs = set(graph.outputs)
        self.curved = any(node.prim.name in CURVED for node in graph.nodes)

    def readers(self, x: Value) -> list[Node]:
        return self.graph.users.get(x, [])

    def found(self, least: int) -> list[Site]:
        return [self.site(node) for node in self.graph.nodes if _is_product(node, least)]

    def site(self, product: Node) -> Site:
        at, z, bias = product, product.outputs[0], None
        readers = self.readers(z)
        if len(readers) == 1 and z not in self.outputs and readers[0].prim.name == "add":
            other = [x for x in readers[0].inputs if x is not z]
            vector = self.vector(other[0]) if len(other) == 1 else None
            if vector is not None:
                at, z, bias = readers[0], readers[0].outputs[0], vector
        h = self.relu(z)
        if h is not None:
            return Site(product, bias, at, z, "relu", h)
        known = self.functions({z: POINTS}, {}) if self.curved else {}
        h = _like(known, gelu(POINTS), z.type)
        if h is None:
            return Site(product, bias, at, z)
        return Site(product, bias, at, z, "gelu", h, known)

    def vector(self, x: Any) -> Value | None:
        """What is added to every row alike: the vector along the last axis that ``x`` repeats."""
        made = self.graph.producer.get(x) if isinstance(x, Value) else None
        if made is None or made.prim is not broadcast_in_dim:
            return None
        [source], dims = made.inputs, made.params["dims"]
        if not isinstance(source, Value) or not dims or dims[-1] != x.type.ndim - 1:
            return None
        whole = source.type.size == source.type.shape[-1] == x.type.shape[-1]
        return source if whole else None

    def relu(self, z: Value) -> Value | None:
        """The value that is max(z, 0): as ``nn.relu`` writes it, or as ``maximum``."""
        for node in self.readers(z):
            if node.prim.name == "max" and any(map(_is_zero, node.inputs)):
                return node.outputs[0]
            if node.prim.name == "select" and node.inputs[2] is z and _is_zero(node.inputs[1]):
                if self.is_sign(node.inputs[0], "le", z):
                    return node.outputs[0]
        return None

    def is_sign(self, x: Any, name: str, z: Value) -> bool:
        """Whether ``x`` says that ``z`` is on one side of 0."""
        made = self.graph.producer.get(x) if isinstance(x, Value) else None
        return (
            made is not None
            and made.prim.name == name
            and made.inputs[0] is z
            and _is_zero(made.inputs[1])
        )

    def functions(self, start: Samples, also: Samples) -> Samples:
        """All that is computed, element by element, from the values of ``start``, those of ``also``
        and constants; by its values.
        """
        known = dict(start)
        model = next(iter(start)).type
        waiting = [self.place[node] for x in start for node in self.readers(x)]
        heapq.heapify(waiting)
        last = -1
        while waiting:
            place = heapq.heappop(waiting)
            node = self.graph.nodes[place]
            if place == last or node.prim.name not in ANALYTIC or node.outputs[0].type != model:
                continue
            last = place
            if all(isinstance(x, Literal) or x in known or x in also for x in node.inputs):
                known[node.outputs[0]] = _sampled(node, {**also, **known})
                for reader in self.readers(node.outputs[0]):
                    heapq.heappush(waiting, self.place[reader])
        return known


def _sampled(node: Node, known: Samples) -> np.ndarray:
    """The values of an operation on those of its operands, in float64."""
    arrays = [
        np.full(POINTS.shape, float(x.value)) if isinstance(x, Literal) else known[x]
        for x in node.inputs
    ]
    with np.errstate(all="ignore"):
        return np.asarray(node.prim.rule("numpy")(*arrays, **node.params))


def _like(known: Samples, wanted: np.ndarray, type: TensorType) -> Value | None:
    """The value that agrees with ``wanted``, as far as constants of a dtype allow."""
    near = NEAR[short(type.dtype)]
    for value, samples in known.items():
        if np.allclose(samples, wanted, rtol=near, atol=near):
            return value
    return None


# ---- what becomes of it --------------------------------------------------------------------------


def fuse_epilogues(graph: Graph, takes: Takes, least: int = 0) -> Graph:
    """``graph`` with epilogues in its products, as far as ``takes`` goes, and in inner graphs;
    products of fewer multiplications than ``least`` stay.
    """

    def within(inner: Graph) -> Graph:
        return fuse_epilogues(inner, takes, LEAST)

    nodes = tuple(map_subgraphs(node, within) for node in graph.nodes)
    if any(a is not b for a, b in zip(nodes, graph.nodes, strict=True)):
        graph = replace(graph, nodes=nodes)
    fuser = _Fuser(graph, takes, least)
    # gradients first: they say which masks and operands the products before them have to leave
    for site in fuser.sites:
        if site.bias is None and site.h is None:
            fuser.gradient(site)
    for site in fuser.sites:
        fuser.forward(site)
    return drop_dead(replace(graph, nodes=tuple(fuser.nodes))) if fuser.changed else graph


class _Fuser:
    """The nodes of a graph while epilogues go into products. What is no longer read stays; it is
    dropped in the end.
    """

    def __init__(self, graph: Graph, takes: Takes, least: int) -> None:
        self.graph = graph
        self.takes = takes
        self.finder = _Sites(graph)
        self.sites = self.finder.found(least)
        self.nodes = list(graph.nodes)
        self.effects = {node for node in graph.nodes if has_effect(node)}
        self.changed = False
        self.masks: dict[Value, Value] = {}  # z of a relu -> the mask that its product leaves

    def live(self, nodes: list[Node]) -> set[Value]:
        """Values that are read for a result or an effect."""
        found = {x for x in self.graph.outputs if isinstance(x, Value)}
        for node in reversed(nodes):
            if node in self.effects or not found.isdisjoint(node.outputs):
                found.update(x for x in node.inputs if isinstance(x, Value))
        return found

    # ---- gradients ----

    def gradient(self, site: Site) -> None:
        """Let a product be multiplied by the derivative of a function at another product."""
        for other in self.sites:
            if other.h is None or other.z.type != site.z.type:
                continue
            result = self.derivative(site, other)
            if result is not None and self.put_gradient(site, other, result):
                return

    def derivative(self, site: Site, other: Site) -> Value | None:
        """What is the product times the derivative at ``other.z``."""
        ct = site.z
        if other.known is not None:
            known = self.finder.functions({ct: FACTORS}, other.known)
            return _like(known, FACTORS * gelu_slope(POINTS), ct.type)
        for node in self.finder.readers(ct):
            if node.prim.name != "select":
                continue
            choice, on_true, on_false = node.inputs
            if self.finder.is_sign(choice, "le", other.z) and _is_zero(on_true) and on_false is ct:
                return node.outputs[0]
            if self.finder.is_sign(choice, "gt", other.z) and on_true is ct and _is_zero(on_false):
                return node.outputs[0]
        return None

    def put_gradient(self, site: Site, other: Site, result: Value) -> bool:
        """Write the gradient's product, and ``other`` with the mask it reads; whether it can be."""
        if result.type.shape[-1] % UNITS[other.name]:
            return False
        nodes: list[Node] | None = self.nodes
        aux = other.z
        if other.name == "relu":
            aux = self.masks.get(aux) or Value(aux_type("relu_aux", aux.type))
            if other.z not in self.masks:
                nodes = self.forward_nodes(other, ("relu_aux",), aux)
        found = self.gradient_nodes(site, other, result, aux, nodes) if nodes else None
        if found is None:
            return False
        self.nodes, self.changed = found, True
        if other.name == "relu":
            self.masks[other.z] = aux
        return True

    def gradient_nodes(
        self, site: Site, other: Site, result: Value, aux: Value, nodes: list[Node]
    ) -> list[Node] | None:
        """``nodes`` with a gradient's product in place of what made ``result``, or None."""
        made, summed = self.graph.producer[result], self.row_sum(result)
        for more in (summed, None) if summed is not None else (None,):
            results = (result,) if more is None else (result, *more.outputs)
            name = f"d{other.name}" if more is None else f"d{other.name}_bgrad"
            fused = _fused(site.product, (aux,), name, results)
            if not self.takes(fused):
                continue
            found = [fused if node is made else node for node in nodes if node is not more]
            if site.z not in self.live(found):
                return found
        return None

    def row_sum(self, x: Value) -> Node | None:
        """The sum of ``x`` over all axes but the last."""
        for node in self.finder.readers(x):
            if node.prim is reduce_sum and tuple(node.params["axes"]) == tuple(
                range(x.type.ndim - 1)
            ):
                return node
        return None

    # ---- products with what follows them ----

    def forward(self, site: Site) -> None:
        """Let a product add its bias and apply its function."""
        if site.z in self.masks:
            return  # written with the gradient that reads the mask
        names = {"gelu": ("gelu", "gelu_aux"), "relu": ("relu",)}.get(site.name, ())
        made = self.forward_nodes(site, names, site.z)
        if made is None and site.bias is not None:
            made = self.forward_nodes(site, ("",), site.z)
        if made is not None:
            self.nodes, self.changed = made, True

    def forward_nodes(self, site: Site, names: Iterable[str], aux: Value) -> list[Node] | None:
        """The nodes with the first of the epilogues that can be, or None."""
        for name in names:
            results = _results(site, name, aux)
            if results is None:
                continue
            bias = "" if site.bias is None else "bias"
            more, before = _biases(site)
            epilogue = "_".join(filter(None, (bias, name)))
            fused = _fused(site.product, more, epilogue, results)
            if not self.takes(fused):
                continue
            nodes = self.with_forward(site, fused, before)
            if site.z in results or site.z not in self.live(nodes):
                return nodes
        return None

    def with_forward(self, site: Site, fused: Node, before: tuple[Node, ...]) -> list[Node]:
        """The nodes with a fused product where its bias was added: before all that reads it."""
        made = self.graph.producer[fused.outputs[0]]
        nodes: list[Node] = []
        for node in self.nodes:
            if node is site.at:
                nodes += (*before, fused)
            elif node is not made:
                nodes.append(self.of_result(node, site, fused))
        return nodes

    def of_result(self, node: Node, site: Site, fused: Node) -> Node:
        """A comparison with 0 asks the result of ``relu`` what it asked the operand."""
        if site.name != "relu" or site.h is not fused.outputs[0] or node.prim.name not in SIGNS:
            return node
        x, y = node.inputs
        return node.reading((site.h, y)) if x is site.z and _is_zero(y) else node


def _results(site: Site, name: str, aux: Value) -> tuple[Value, ...] | None:
    """What a product with an epilogue leaves; None where the form has no room for it."""
    if not name:
        return (site.z,)
    if site.h is None or (name.endswith("_aux") and site.z.type.shape[-1] % UNITS[site.name]):
        return None
    return (site.h, aux) if name.endswith("_aux") else (site.h,)


def _biases(site: Site) -> tuple[tuple[Value, ...], tuple[Node, ...]]:
    """The bias as an operand, and the node that makes a vector of it."""
    if site.bias is None:
        return (), ()
    if site.bias.type.ndim == 1:
        return (site.bias,), ()
    shape = site.bias.type.shape[-1:]
    vector = Value(site.bias.type.with_shape(shape))
    return (vector,), (Node(reshape, (site.bias,), {"new_sizes": shape}, (vector,), site.at.at),)


def _fused(
    product: Node, more: tuple[Value, ...], epilogue: str, results: tuple[Value, ...]
) -> Node:
    params = {**product.params, "epilogue": epilogue}
    return Node(fused_matmul, (*product.inputs, *more), params, results, product.at)
