"""Attention, and its gradient, found in a graph and given to a library that has it.

    s = dot_general(q, k); p = softmax(0.125 * s); o = dot_general(p, v)
                        ->  o, stats = fused_attention(q, k, v, scale=0.125)
    dv, dp, dz, dq, dk  ->  dq, dk, dv = fused_attention_grad(q, k, v, o, stats, do, scale=0.125)

Comes in: an optimised graph, after differentiation and batching, for a GPU, and ``takes(node)``,
which says whether the target's library has it. Goes out: a graph in which no matrix of weights is
stored.

softmax, scaling, masks and their gradients are written in many ways. They are known by their
values: what lies between two products is computed on a few random rows, in float64; if that is a
softmax (a gradient of one), it is one. Masks that do not depend on data are computed as a whole.
Between the products 16-bit graphs round, the library does not: the fused graph is the more precise
one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field, replace
from typing import Any

import numpy as np

from tracejit.ir import interp
from tracejit.ir.build import Builder, building
from tracejit.ir.graph import Atom, Graph, Literal, Node, Value
from tracejit.ir.types import TensorType, kind, short
from tracejit.ops.dot import dot_general, free_axes, narrowed
from tracejit.ops.fused_attention import fused_attention, fused_attention_grad
from tracejit.ops.layout import inverse, reshape, transpose
from tracejit.ops.logic import select
from tracejit.ops.parts import convert
from tracejit.passes.dead import drop_dead
from tracejit.passes.subgraphs import map_subgraphs
from tracejit.record import dataclass

Ints = tuple[int, ...]
Takes = Callable[[Node], bool]

#: what is computed element by element between the products
POINTWISE = frozenset(
    (
        *("add", "sub", "mul", "div", "neg", "exp", "exp2", "log", "max", "min", "reciprocal"),
        *("square", "select", "convert", "integer_pow", "stop_gradient", "barrier"),
        *("eq", "ne", "lt", "le", "gt", "ge", "and", "or", "not"),
    )
)
FOLDS = frozenset(("reduce_sum", "reduce_max"))
#: rows, and keys, that functions are compared on
ROWS, KEYS = 6, 5
#: what stands for minus infinity in a mask, at most
MASKED = -1e9
NEAR = 1e-5


@dataclass(frozen=True)
class Narrow:
    """A 16-bit value, and the layout operations that make an operand of it. ``root`` and ``path``
    are the same for operands that are the same.
    """

    value: Value
    layout: tuple[Node, ...]
    root: Value
    path: tuple[Any, ...]

    def same(self, other: Narrow | None) -> bool:
        return other is not None and (self.root, self.path) == (other.root, other.path)

    @property
    def shape(self) -> Ints:
        return (self.layout[-1].outputs[0] if self.layout else self.value).type.shape


@dataclass(frozen=True)
class Operand:
    """An operand of a product: ``order`` are its axes of role B, H, S (or T) and D; B and H may be
    missing.
    """

    narrow: Narrow
    order: Ints


@dataclass(eq=False)
class Site:
    """A product of queries and keys, ``s``, and what is computed of it row by row.

    ``cone``: nodes between the products; ``leaves``: full matrices and masks read there; ``dots``:
    the products that read the cone by role, found by what they read.
    """

    product: Node
    q: Operand
    k: Operand
    s: Value
    cone: list[Node] = field(default_factory=list)
    made: set[Value] = field(default_factory=set)
    leaves: list[Value] = field(default_factory=list)
    dots: dict[str, Node] = field(default_factory=dict)


@dataclass(frozen=True)
class Mask:
    """``kind`` as in ``fused_attention``; ``value``: what is added, or the choice of what stays
    where it is of bools (``keep``: of True, else of False).
    """

    kind: str
    value: Value | None = None
    keep: bool = True


def fuse_attention(graph: Graph, takes: Takes) -> Graph:
    """``graph``, and graphs inside it, with ``fused_attention`` where ``takes`` agrees."""
    nodes = tuple(map_subgraphs(n, lambda inner: fuse_attention(inner, takes)) for n in graph.nodes)
    if any(a is not b for a, b in zip(nodes, graph.nodes, strict=True)):
        graph = replace(graph, nodes=nodes)
    finder = _Finder(graph)
    for node in graph.nodes:
        found = finder.site(node)
        if found is not None:
            made = _Rewriter(finder, *found).graph(takes)
            if made is not None:
                return fuse_attention(made, takes)
    return graph


# ---- finding -------------------------------------------------------------------------------------


class _Finder:
    def __init__(self, graph: Graph) -> None:
        self.source = graph
        self.results = set(graph.outputs)
        self.place = {node: k for k, node in enumerate(graph.nodes)}

    def narrow(self, x: Any) -> Narrow | None:
        """What ``x`` is made of by operations of layout, and converted from, if that has 16
        bits.
        """
        value: Value | None = None
        layout: list[Node] = []
        path: list[Any] = []
        while isinstance(x, Value):
            if value is None and short(x.type.dtype) in ("f16", "bf16"):
                value = x
            made = self.source.producer.get(x)
            if made is None or made.prim not in (convert, transpose, reshape):
                break
            source = made.inputs[0]
            if made.prim is not convert:
                path.append((made.prim, tuple(made.params.items())))
                if value is None:
                    layout.append(made)
            elif not isinstance(source, Value) or source.type.dtype.itemsize != 2:
                break
            x = source
        if value is None:
            return None
        return Narrow(value, tuple(reversed(layout)), x, tuple(reversed(path)))

    def site(self, product: Node) -> tuple[Site, float, Mask] | None:
        """The attention that begins with a product of queries and keys."""
        pair = self.operands(product)
        if pair is None:
            return None
        site = Site(product, *pair, product.outputs[0])
        if not self.grow(site):
            return None
        known = self.verified(site, self.readers(site))
        return None if known is None else (site, *known)

    def operands(self, node: Node) -> tuple[Operand, Operand] | None:
        """Queries and keys of a product [batch axes, S, T] that sums over one axis."""
        if node.prim is not dot_general:
            return None
        contract, batch = node.params["dimension_numbers"]
        if len(contract[0]) != 1 or len(batch[0]) > 2:
            return None
        found = []
        for k, x in enumerate(node.inputs):
            narrow = self.narrow(x)
            if narrow is None:
                return None
            free = free_axes(x.type.ndim, contract[k], batch[k])
            if len(free) != 1:
                return None
            found.append(Operand(narrow, (*batch[k], *free, *contract[k])))
        if found[0].narrow.value.type.dtype != found[1].narrow.value.type.dtype:
            return None
        return found[0], found[1]

    def grow(self, site: Site) -> bool:
        """Collect what is computed row by row; False where that leaves the cone by anything but a
        product.
        """
        site.made.add(site.s)
        for node in self.source.nodes[self.place[site.product] + 1 :]:
            if any(isinstance(x, Value) and x in site.made for x in node.inputs):
                if node.prim is dot_general:
                    continue
                if not self.rowwise(node, site):
                    return False
                site.cone.append(node)
                site.made.update(node.outputs)
        return not site.made & self.results and bool(site.cone)

    def rowwise(self, node: Node, site: Site) -> bool:
        """Whether a node computes rows of rows; notes the other matrices that it reads."""
        shape, out = site.s.type.shape, node.outputs[0].type.shape
        name = node.prim.name
        if name in FOLDS:
            return node.inputs[0].type.shape == shape and node.params["axes"] == (len(shape) - 1,)
        if name == "broadcast_in_dim":
            rank = node.inputs[0].type.ndim
            return out == shape and node.params["dims"] == tuple(range(rank))
        if name == "reshape":
            return out == (*shape[:-1], 1) and node.inputs[0].type.shape == shape[:-1]
        if name not in POINTWISE:
            return False
        for x in node.inputs:
            if isinstance(x, Value) and x not in site.made:
                if x.type.shape != shape or out != shape:
                    return False
                if x not in site.leaves:
                    site.leaves.append(x)
        return True

    def readers(self, site: Site) -> list[tuple[Node, Value, bool]]:
        """The products that read the cone, what each reads of it, and whether they sum over keys;
        none where one of them is no product of that kind.
        """
        rank = site.s.type.ndim
        found = []
        for value in site.made:
            for node in self.source.users.get(value, ()):
                if node.prim is not dot_general:
                    continue
                inside = [x in site.made for x in node.inputs]
                mine = inside.index(True)
                contract, batch = node.params["dimension_numbers"]
                other = self.narrow(node.inputs[1 - mine])
                if inside.count(True) != 1 or other is None or len(contract[0]) != 1:
                    return []
                if batch[mine] != tuple(range(rank - 2)):
                    return []
                found.append((node, value, contract[mine][0] == rank - 1))
        return found

    # ---- by values ----

    def verified(
        self, site: Site, readers: list[tuple[Node, Value, bool]]
    ) -> tuple[float, Mask] | None:
        """The scale and mask that give each product a role (``site.dots``), or None."""
        dp = [x for x in site.leaves if self.is_dp(x, site)]
        rest = [x for x in site.leaves if x not in dp]
        if len(dp) > 1 or len(rest) > 1 or not readers:
            return None
        mask = self.mask(rest[0]) if rest else Mask("")
        if mask is None:
            return None
        sample = _Sample(site, dp[0] if dp else None, rest[0] if rest else None)
        for keep in (True, False) if mask.value is not None or mask.kind == "causal" else (True,):
            found = sample.check(keep, [value for _, value, _ in readers])
            if found is None or (mask.kind == "causal" and mask.keep is not keep):
                continue
            scale, weights, slopes = found
            if self.named(site, readers, weights, slopes):
                return scale, replace(mask, keep=keep)
        return None

    def named(
        self,
        site: Site,
        readers: list[tuple[Node, Value, bool]],
        weights: set[Value],
        slopes: set[Value],
    ) -> bool:
        """Give every product its role: out and dv read weights, dq and dk their gradient."""
        site.dots.clear()
        for node, value, keys in readers:
            if value in weights:
                role = "out" if keys else "dv"
            elif value in slopes:
                role = "dq" if keys else "dk"
                mine = next(k for k, x in enumerate(node.inputs) if x is value)
                other = self.narrow(node.inputs[1 - mine])
                wanted = site.k if keys else site.q
                if not wanted.narrow.same(other):
                    return False
            else:
                return False
            if role in site.dots:
                return False
            site.dots[role] = node
        return "out" in site.dots or self.dp(site) is not None

    def dp(self, site: Site) -> Node | None:
        """The product of the result's gradient and the values: that with respect to weights."""
        for x in site.leaves:
            made = self.source.producer.get(x)
            if made is not None and made.prim.name == "convert":
                made = self.source.producer.get(made.inputs[0])  # type: ignore[arg-type]
            if made is not None and self.operands(made) is not None:
                return made
        return None

    def is_dp(self, x: Value, site: Site) -> bool:
        """Whether a matrix beside the cone is that product, or converted from it."""
        node, made = self.dp(site), self.source.producer.get(x)
        if made is not None and made is not node and made.prim.name == "convert":
            made = self.source.producer.get(made.inputs[0])  # type: ignore[arg-type]
        return node is not None and made is node

    def mask(self, x: Value) -> Mask | None:
        """What a matrix that is read beside the products does to weights."""
        array = self.constant(x)
        if array is None:
            return Mask("bias", x) if kind(x.type.dtype) in "bf" else None
        rows = array.reshape(-1, *array.shape[-2:])
        lower = np.tri(*rows.shape[1:]) > 0
        if rows.shape[1] != rows.shape[2]:
            return Mask("bias", x)
        if rows.dtype != bool:
            hidden = np.where(lower, rows == 0, rows <= MASKED).all()
            return Mask("causal") if hidden else Mask("bias", x)
        if (rows == lower).all():
            return Mask("causal")
        return Mask("causal", keep=False) if (rows == ~lower).all() else Mask("bias", x)

    def constant(self, x: Value) -> np.ndarray | None:
        """The value of what depends on no input."""
        needed: list[Node] = []
        wanted = {x}
        for node in reversed(self.source.nodes):
            if wanted.intersection(node.outputs):
                if node.subgraphs or node.prim.effect:
                    return None
                needed.append(node)
                wanted.update(y for y in node.inputs if isinstance(y, Value))
        if wanted & set(self.source.inputs):
            return None
        [found] = interp.run(Graph((), tuple(reversed(needed)), (x,), "mask"), [])
        return np.asarray(found)


class _Sample:
    """Random rows of a site's matrices, and what its cone makes of them."""

    def __init__(self, site: Site, dp: Value | None, other: Value | None) -> None:
        random = np.random.default_rng(0)
        self.site, self.dp, self.other = site, dp, other
        self.s = random.normal(0, 2, (ROWS, KEYS))
        self.d = random.normal(0, 1, (ROWS, KEYS))
        self.bias = random.normal(0, 1, (ROWS, KEYS))
        self.chosen = random.random((ROWS, KEYS)) < 0.6
        self.chosen[:, 0], self.chosen[:, 1] = True, False

    def values(self, other: np.ndarray | None) -> dict[Value, np.ndarray]:
        """Every value of the cone, in float64; rows' results have one column."""
        known: dict[Value, np.ndarray] = {self.site.s: self.s}
        if self.dp is not None:
            known[self.dp] = self.d
        if self.other is not None and other is not None:
            known[self.other] = other
        with np.errstate(all="ignore"):
            for node in self.site.cone:
                known[node.outputs[0]] = _on_rows(node, known)
        return known

    def weights(self, known: dict[Value, np.ndarray]) -> np.ndarray | None:
        """The softmax among the values: the one whose rows sum to 1."""
        for value, found in known.items():
            if value in (self.dp, self.other) or found.shape != self.s.shape:
                continue
            if (found > 0).all() and np.allclose(found.sum(axis=1), 1, NEAR, NEAR):
                return found
        return None

    def check(self, keep: bool, reads: list[Value]) -> tuple[float, set[Value], set[Value]] | None:
        """The scale, and which of the values read by products are a softmax and which its gradient.
        ``keep``: of a choice, which places keep their weights.
        """
        boolean = self.other is not None and self.other.type.dtype == np.dtype(bool)
        free: np.ndarray | None = None
        if self.other is not None:
            free = np.full((ROWS, KEYS), keep) if boolean else np.zeros((ROWS, KEYS))
        plain = self.weights(self.values(free))
        if plain is None:
            return None
        scale = float((np.diff(np.log(plain), axis=1) / np.diff(self.s, axis=1))[0, 0])
        z = scale * self.s
        other: np.ndarray | None = None
        if boolean:
            other = self.chosen
            z = np.where(self.chosen == keep, z, -np.inf)
        elif self.other is not None:
            other = self.bias
            z = z + self.bias
        known = self.values(other)
        e = np.exp(z - z.max(axis=1, keepdims=True))
        p = e / e.sum(axis=1, keepdims=True)
        dz = scale * p * (self.d - (self.d * p).sum(axis=1, keepdims=True))

        def like(wanted: np.ndarray) -> set[Value]:
            same = (v for v in reads if known[v].shape == wanted.shape)
            return {v for v in same if np.allclose(known[v], wanted, NEAR, NEAR)}

        return scale, like(p), like(dz) if self.dp is not None else set()


def _on_rows(node: Node, known: dict[Value, np.ndarray]) -> np.ndarray:
    """A node of a cone on sampled rows."""
    xs = [float(x.value) if isinstance(x, Literal) else known[x] for x in node.inputs]
    name = node.prim.name
    if name in FOLDS:
        return np.asarray(
            (np.sum if name == "reduce_sum" else np.max)(xs[0], axis=1, keepdims=True)
        )
    if name in ("broadcast_in_dim", "reshape", "convert", "stop_gradient", "barrier"):
        return np.asarray(xs[0])
    if name == "select":
        return np.where(xs[0], xs[1], xs[2])
    return np.asarray(node.prim.rule("numpy")(*map(np.asarray, xs), **node.params))


# ---- writing -------------------------------------------------------------------------------------


class _Rewriter:
    """Writes the fused nodes in place of a site's products."""

    def __init__(self, finder: _Finder, site: Site, scale: float, mask: Mask) -> None:
        self.source = finder.source
        self.finder = finder
        self.site = site
        self.mask = mask
        self.params: dict[str, Any] = {"scale": scale, "mask": mask.kind}

    def graph(self, takes: Takes) -> Graph | None:
        """The graph with the fused nodes; None where the library does not take them."""
        dots = set(self.site.dots.values())
        grads = [n for role, n in self.site.dots.items() if role != "out"]
        first = next((n for n in self.source.nodes if n in grads), None)
        begin = self.site.dots.get("out", first)
        builder = Builder()
        env: dict[Value, Atom] = {}
        with building(builder):
            for node in self.source.nodes:
                builder.at = node.at
                if node is begin:
                    self.forward(env)
                if node is first:
                    self.backward(env)
                if node in dots:
                    continue
                builder.nodes.append(node.reading(tuple(_in(x, env) for x in node.inputs)))
        fused = (fused_attention, fused_attention_grad)
        if not all(takes(node) for node in builder.nodes if node.prim in fused):
            return None
        outputs = tuple(_in(x, env) for x in self.source.outputs)
        return drop_dead(replace(self.source, nodes=tuple(builder.nodes), outputs=outputs))

    def forward(self, env: dict[Value, Atom]) -> None:
        if "out" in self.site.dots:
            v = self.operand("out", sequence="contracted")
        else:  # only its gradient is asked for
            dp = self.finder.dp(self.site)
            assert dp is not None
            v = self.described(dp, 1, "free")
        parts = [self.site.q, self.site.k, v]
        heads_inside = sum(self.is_heads_inside(x) for x in parts)
        self.params["axes"] = (0, 2, 1, 3) if heads_inside >= 2 else (0, 1, 2, 3)
        self.operands = [self.laid(x, env) for x in parts]
        if self.mask.kind == "bias":
            self.operands.append(self.bias(env))
        self.out, self.stats = fused_attention(*self.operands, **self.params)
        if "out" in self.site.dots:
            env[self.site.dots["out"].outputs[0]] = self.result(self.out, "out")

    def backward(self, env: dict[Value, Atom]) -> None:
        dout = self.laid(self.dout(), env)
        found = fused_attention_grad(*self.operands, self.out, self.stats, dout, **self.params)
        for role, value in zip(("dq", "dk", "dv"), found, strict=True):
            if role in self.site.dots:
                env[self.site.dots[role].outputs[0]] = self.result(value, role)

    def operand(self, role: str, sequence: str) -> Operand:
        """What a product multiplies the cone with; its sequence axis is the one contracted or the
        free one.
        """
        node = self.site.dots[role]
        mine = next(k for k, x in enumerate(node.inputs) if x in self.site.made)
        return self.described(node, 1 - mine, sequence)

    def described(self, node: Node, number: int, sequence: str) -> Operand:
        contract, batch = node.params["dimension_numbers"]
        x = node.inputs[number]
        narrow = self.finder.narrow(x)
        assert narrow is not None
        free = free_axes(x.type.ndim, contract[number], batch[number])
        last = (
            (*contract[number], *free) if sequence == "contracted" else (*free, *contract[number])
        )
        return Operand(narrow, (*batch[number], *last))

    def dout(self) -> Operand:
        """The gradient of the result: beside the cone for dv, beside v for dp."""
        if "dv" in self.site.dots:
            return self.operand("dv", sequence="contracted")
        dp = self.finder.dp(self.site)
        assert dp is not None
        return self.described(dp, 0, "free")

    def is_heads_inside(self, x: Operand) -> bool:
        """Whether an operand lies as [B, S, H, D], or is a transposed view of what does."""
        order = x.order
        made = x.narrow.layout[-1] if x.narrow.layout else self.source.producer.get(x.narrow.value)
        if made is not None and made.prim is transpose:
            order = tuple(made.params["permutation"][a] for a in order)
        return order == (0, 2, 1, 3)

    def laid(self, x: Operand, env: dict[Value, Atom]) -> Any:
        """An operand with four axes in the order of the params."""
        value, order, lengths = _in(x.narrow.value, env), x.order, x.narrow.shape
        for node in x.narrow.layout:
            value = node.prim(value, **node.params)
        missing = 4 - len(order)
        if missing:
            value = _transposed(value, order)
            value = reshape(value, new_sizes=(*(1,) * missing, *(lengths[a] for a in order)))
            order = (0, 1, 2, 3)
        return _transposed(value, tuple(order[a] for a in self.params["axes"]))

    def result(self, value: Any, role: str) -> Any:
        """A result in the form of the product that it stands for."""
        node = self.site.dots[role]
        type = node.outputs[0].type
        rank = type.ndim
        found = _transposed(value, inverse(self.params["axes"]))
        if rank < 4:
            found = reshape(found, new_sizes=found.type.shape[4 - rank :])
        if node.inputs[0] not in self.site.made:  # the other operand's axis comes first
            found = _transposed(found, (*range(rank - 2), rank - 1, rank - 2))
        return narrowed(found, type.dtype)

    def bias(self, env: dict[Value, Atom]) -> Any:
        """What is added, [B, H, S, T]; of a choice, 0 or what hides a place."""
        assert self.mask.value is not None
        value: Any = _in(self.mask.value, env)
        dtype = self.site.q.narrow.value.type.dtype
        if value.type.dtype == np.dtype(bool):
            shape = value.type.shape
            zero, least = (Literal(dtype.type(c), TensorType(dtype, shape)) for c in (0, -3e4))
            value = select(value, *((zero, least) if self.mask.keep else (least, zero)))
        value = narrowed(value, dtype)
        return reshape(value, new_sizes=(*(1,) * (4 - value.type.ndim), *value.type.shape))


def _in(x: Any, env: dict[Value, Atom]) -> Any:
    return env.get(x, x) if isinstance(x, Value) else x


def _transposed(value: Any, permutation: Ints) -> Any:
    """``value`` with its axes in another order, if it is another."""
    if permutation == tuple(range(len(permutation))):
        return value
    return transpose(value, permutation=permutation)
