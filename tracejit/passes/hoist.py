"""Matrix products taken out of scans, where all steps are one product.

    scan: y_t = f(x_t @ w, carry)            ->  z = x @ w before the loop, y_t = f(z_t, carry)
    scan: total = total + a_t.T @ b_t        ->  total + a.T @ b after the loop, a and b stacked
    scan or while: x_t @ w.T, w the same     ->  v = w.T before the loop, x_t @ v

Comes in: any graph. Goes out: an equal one, sums of steps taken in another order. A product for all
steps has more rows to share each copied panel, threads split it once, and a total that is carried
is no longer read and written at every step. A loop that reads the transpose of a matrix would copy
the matrix at every step (``kernel/gemm.py``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tracejit.ir.build import Builder, building
from tracejit.ir.graph import Atom, Graph, Literal, Node, Value
from tracejit.ops.arith import add
from tracejit.ops.broadcast import reduce_sum
from tracejit.ops.dot import dot_general, free_axes
from tracejit.ops.layout import transpose
from tracejit.passes.subgraphs import map_subgraphs
from tracejit.record import dataclass
from tracejit.transform.loops import Scan, scan, while_

#: a product before the loop is kept for all steps: at most so many times what it is made from
GROWTH = 8
#: what is stacked for a sum after the loop: at most so many times the sum, which a loop writes and
#: reads twice at every step
STACKED = 2
#: fewer rows are multiplied with a transposed matrix as it lies
FEW_ROWS = 8


def hoist_products(graph: Graph) -> Graph:
    """``graph`` with products of its loops, and those in inner graphs, before or after them."""
    builder = Builder()
    env: dict[Value, Atom] = {}
    changed = False
    with building(builder):
        for node in graph.nodes:
            inner = map_subgraphs(node, hoist_products)
            inputs = tuple(env.get(x, x) if isinstance(x, Value) else x for x in node.inputs)
            builder.at = node.at
            inner = inner.reading(inputs)
            found = _hoisted(inner, builder) if node.prim in (scan, while_) else None
            if found is None:
                changed |= inner.params is not node.params
                builder.nodes.append(inner)
                continue
            changed = True
            for old, new in zip(node.outputs, found, strict=True):
                env[old] = new
                if isinstance(new, Value) and not new.name:
                    new.name = old.name
    if not changed:
        return graph
    outputs = tuple(env.get(x, x) if isinstance(x, Value) else x for x in graph.outputs)
    return replace(graph, nodes=tuple(builder.nodes), outputs=outputs)


def _hoisted(node: Node, builder: Builder) -> tuple[Atom, ...] | None:
    """The results of a loop with less in it; None where nothing can be taken out."""
    if node.prim is while_:
        return _while(node, builder)
    loop = _Loop(Scan(**node.params), node.inputs)
    loop.before()
    loop.after()
    changed = _untransposed(loop.consts, loop.nodes, builder)
    return loop.write() if changed or loop.replaced or loop.totals else None


def _while(node: Node, builder: Builder) -> tuple[Atom, ...] | None:
    count, body = node.params["n_consts"], node.params["body"]
    consts, nodes = dict(zip(body.inputs[:count], node.inputs, strict=False)), list(body.nodes)
    if not _untransposed(consts, nodes, builder):
        return None
    carry = body.inputs[count:]
    cond = node.params["cond"]
    unread = tuple(Value(v.type, v.name) for v in tuple(consts)[count:])
    params = {
        "n_consts": len(consts),
        "body": replace(body, inputs=(*consts, *carry), nodes=tuple(nodes)),
        "cond": replace(cond, inputs=(*cond.inputs[:count], *unread, *cond.inputs[count:])),
    }
    found = while_(*consts.values(), *node.inputs[count:], **params)
    return found if isinstance(found, tuple) else (found,)


# ---- transposed matrices -------------------------------------------------------------------------


def _untransposed(consts: dict[Value, Atom], nodes: list[Node], builder: Builder) -> bool:
    """Give products of a body matrices that are transposed before the loop; whether there are any.

    ``consts``: what the body reads, by its inputs; the new matrices are added.
    """
    made: dict[Value, Value] = {}
    known = {out: node for node in builder.nodes for out in node.outputs}
    for place, node in enumerate(nodes):
        if node.prim is not dot_general or not _reads_transposed(node, consts):
            continue
        x, w = node.inputs
        assert isinstance(w, Value)
        outer = consts[w]
        if w not in made:
            assert isinstance(outer, Value)
            source = known.get(outer)
            if source is not None and source.prim is transpose:
                value = source.inputs[0]
            else:
                value = transpose(outer, permutation=(1, 0))
            made[w] = Value(value.type)
            consts[made[w]] = value
        ((left, _), batch) = node.params["dimension_numbers"]
        params = {**node.params, "dimension_numbers": ((left, (0,)), batch)}
        nodes[place] = Node(dot_general, (x, made[w]), params, node.outputs, node.at)
    return bool(made)


def _reads_transposed(node: Node, consts: dict[Value, Atom]) -> bool:
    x, w = node.inputs
    if not isinstance(w, Value) or not isinstance(consts.get(w), Value) or w.type.ndim != 2:
        return False
    ((left, right), (batch, _)) = node.params["dimension_numbers"]
    rows = math.prod(x.type.shape[axis] for axis in free_axes(x.type.ndim, left, batch))
    return right == (1,) and not batch and rows >= FEW_ROWS and w.type.shape[0] > 1


# ---- scans ---------------------------------------------------------------------------------------


@dataclass
class _Total:
    """A sum over the steps: the node ``add(carry, term)`` and the node that makes the term."""

    place: int
    term: Node


class _Loop:
    """A scan being taken apart. Inputs of the body are keys, what they are outside is the value."""

    def __init__(self, s: Scan, operands: Sequence[Atom]) -> None:
        self.s, self.body = s, s.body
        self.nodes = list(s.body.nodes)
        inputs, outer = s.split(s.body.inputs), s.split(operands)
        self.consts, self.carry, self.xs = (
            dict(zip(names, values, strict=True))
            for names, values in zip(inputs, outer, strict=True)
        )
        #: results of products that are made before the loop -> the slice of a step
        self.replaced: dict[Value, Value] = {}
        self.totals: list[_Total] = []
        #: values of the body that are stacked for a sum after the loop
        self.stacked: dict[Value, int] = {}

    def before(self) -> None:
        """Products of a slice and a matrix that is the same at all steps."""
        for node in self.body.nodes:
            if node.prim is not dot_general:
                continue
            x, w = node.inputs
            contract, batch = node.params["dimension_numbers"]
            if x not in self.xs or w not in self.consts or batch[0]:
                continue
            out = node.outputs[0]
            if not isinstance(self.xs[x], Value) or out.type.size > GROWTH * x.type.size:
                continue
            numbers = ((_shifted(contract[0]), contract[1]), batch)
            params = {**node.params, "dimension_numbers": numbers}
            every = dot_general(self.xs[x], self.consts[w], **params)
            part = self.replaced[out] = Value(out.type, out.name)
            self.xs[part] = every
            self.nodes.remove(node)
        self.nodes = [
            node.reading(tuple(self.replaced.get(x, x) for x in node.inputs))  # type: ignore[arg-type]
            for node in self.nodes
        ]

    def after(self) -> None:
        """Carries that only add up products, or sums of what these stack already."""
        found = [(k, self.term(k)) for k in range(self.s.n_carry)]
        for wanted in (dot_general, reduce_sum):
            for place, term in found:
                if term is None or term.prim is not wanted:
                    continue
                new = [x for x in dict.fromkeys(term.inputs) if not self.at_hand(x)]
                size = sum(x.type.size for x in new)
                if new and (wanted is reduce_sum or size > STACKED * term.outputs[0].type.size):
                    continue
                for x in new:
                    assert isinstance(x, Value)
                    self.stacked[x] = len(self.stacked)
                self.totals.append(_Total(place, term))
        for total in self.totals:
            sum_node = self.body.producer[self.body.outputs[total.place]]  # type: ignore[index]
            gone = (total.term.outputs[0], sum_node.outputs[0])
            self.nodes = [node for node in self.nodes if node.outputs[0] not in gone]

    def at_hand(self, x: Atom) -> bool:
        return x in self.xs or x in self.stacked

    def term(self, place: int) -> Node | None:
        """What a carry only adds up, if it does: made at each step and read by nothing else."""
        body = self.body
        carry, out = body.inputs[self.s.n_consts + place], body.outputs[place]
        users = body.users.get(carry, [])
        if len(users) != 1 or users[0].prim is not add or out is not users[0].outputs[0]:
            return None
        if body.users.get(out) or body.outputs.count(out) > 1 or carry in body.outputs:
            return None
        others = [x for x in users[0].inputs if x is not carry]
        term = body.producer.get(others[0]) if others and isinstance(others[0], Value) else None
        if term is None or len(body.users[others[0]]) > 1 or others[0] in body.outputs:  # type: ignore[index]
            return None
        inside = all(isinstance(x, Value) and x not in self.consts for x in term.inputs)
        return term if inside and not any(x in self.replaced for x in term.inputs) else None

    def write(self) -> tuple[Atom, ...]:
        """The new loop and what follows it: the results of the old one."""
        s, body = self.s, self.body
        gone = {total.place for total in self.totals}
        kept = [k for k in range(s.n_carry) if k not in gone]
        carry = list(self.carry)
        outputs = [self.replaced.get(x, x) for x in body.outputs]  # type: ignore[arg-type]
        read = {*outputs, *self.stacked, *(x for node in self.nodes for x in node.inputs)}
        consts = {x: outer for x, outer in self.consts.items() if x in read}
        xs = {x: outer for x, outer in self.xs.items() if x in read}
        inner = Graph(
            (*consts, *(carry[k] for k in kept), *xs),
            tuple(self.nodes),
            (*(outputs[k] for k in kept), *outputs[s.n_carry :], *self.stacked),
            body.name,
        )
        loop = Scan(inner, len(consts), len(kept), s.length, s.reverse)
        inits = [self.carry[carry[k]] for k in kept]
        found: Any = loop(*consts.values(), *inits, *xs.values())
        count = len(found) - len(self.stacked)
        stacks = dict(zip(self.stacked, found[count:], strict=True))
        results: list[Any] = [None] * s.n_carry
        for k, value in zip(kept, found, strict=False):
            results[k] = value
        for total in self.totals:
            init, value = self.carry[carry[total.place]], self.summed(total.term, stacks)
            from_zero = isinstance(init, Literal) and init.value == 0
            results[total.place] = value if from_zero else add(init, value)
        return (*results, *found[len(kept) : count])

    def summed(self, term: Node, stacks: dict[Value, Value]) -> Value:
        """The sum of a term over all steps."""
        xs = [stacks[x] if x in stacks else self.xs[x] for x in term.inputs]  # type: ignore[index]
        if term.prim is reduce_sum:
            return reduce_sum(xs[0], axes=(0, *_shifted(term.params["axes"])))  # type: ignore[no-any-return]
        contract, batch = term.params["dimension_numbers"]
        numbers = (
            tuple((0, *_shifted(axes)) for axes in contract),
            tuple(_shifted(axes) for axes in batch),
        )
        return dot_general(*xs, **{**term.params, "dimension_numbers": numbers})  # type: ignore[no-any-return]


def _shifted(axes: Sequence[int]) -> tuple[int, ...]:
    """Axes of a slice as those of the whole."""
    return tuple(axis + 1 for axis in axes)
