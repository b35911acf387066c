"""Sums over the elements of a step, taken after the loop: what is left of it fits into one kernel.

    spread_sums(graph, can_fuse)

    scan(0.0:f32[], ..., body={s + reduce_sum(e), ...})
        ->  reduce_sum(scan(0.0:f32[1000], ..., body={p + e, ...}))

A carry that sums up over the steps what a step sums up over its elements is one sum over both. Such
carries are the gradients of what all elements share (a rate, a weight). They become partial sums,
one for each element, where that makes the scan a loop of elements (``loops.py``); else nothing
changes. The sum is the same, but for the order of its terms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from tracejit.ir import build
from tracejit.ir.build import full_like
from tracejit.ir.graph import Atom, Graph, Literal, Node, Value
from tracejit.ir.types import kind
from tracejit.ops.arith import add
from tracejit.ops.broadcast import reduce_sum
from tracejit.passes.loops import recognise
from tracejit.record import dataclass
from tracejit.transform.forward import reachable
from tracejit.transform.loops import Scan, scan

#: operations that are linear in operands which change from step to step
LINEAR = frozenset("add sub neg reshape transpose broadcast_in_dim pad slice concatenate".split())
#: and in their first operand, if the second is a Literal
SCALED = frozenset(("mul", "div"))


@dataclass(frozen=True)
class _Sum:
    """A carry that sums: ``terms`` are what it is made of by the linear ``nodes`` of ``step``."""

    number: int
    step: Atom
    nodes: tuple[Node, ...]
    terms: tuple[Value, ...]


def spread_sums(graph: Graph, can_fuse: Callable[[Node], bool]) -> Graph:
    """``graph`` with sums taken after the scans that become loops of elements by it."""
    if not any(node.prim is scan for node in graph.nodes):
        return graph
    with build.building() as b:
        env: dict[Value, Atom] = {v: v for v in graph.inputs}
        for node in graph.nodes:
            b.at = node.at
            found: Iterable[Atom] | None = None
            if node.prim is scan and isinstance(recognise(node, can_fuse), str):
                found = _spread(node, build.subst(node.inputs, env), can_fuse)
            if found is None:
                b.nodes.append(replace(node, inputs=build.subst(node.inputs, env)))
                found = node.outputs
            env.update(zip(node.outputs, found, strict=True))
        outs = build.subst(graph.outputs, env)
    return Graph(graph.inputs, tuple(b.nodes), outs, graph.name)


def _spread(
    node: Node, operands: tuple[Atom, ...], can_fuse: Callable[[Node], bool]
) -> tuple[Atom, ...] | None:
    """The results of the scan with its sums spread; None where it would not become a loop of
    elements."""
    s = Scan(**node.params)
    sums = [found for k in range(s.n_carry) if (found := _sum_of(s, k)) is not None]
    if not sums:
        return None
    gone = {found.number for found in sums}
    parts = [_unsummed(s.body, term) for found in sums for term in found.terms]
    consts, inits, xs = s.split(operands)
    ins = s.split(s.body.inputs)
    with build.building() as b:
        accumulators = [Value(x.type) for x in parts]
        b.nodes += s.body.nodes
        after = [add(old, x) for old, x in zip(accumulators, parts, strict=True)]
        kept = [k for k in range(s.n_carry) if k not in gone]
        b.inputs += [*ins[0], *(ins[1][k] for k in kept), *accumulators, *ins[2]]
        carried = [s.body.outputs[k] for k in kept]
        results = (*carried, *after, *s.body.outputs[s.n_carry :])
        body = Graph(tuple(b.inputs), tuple(reachable(b.nodes, results)), results, s.body.name)
    new = replace(s, body=body, n_carry=len(kept) + len(parts))
    params = {name: getattr(new, name) for name in node.params}
    if isinstance(recognise(replace(node, params=params), can_fuse), str):
        return None
    zeros = [full_like(x.type, 0) for x in parts]
    outs = new(*consts, *(inits[k] for k in kept), *zeros, *xs)
    totals = iter(outs[len(kept) : len(kept) + len(parts)])
    carry: dict[int, Atom] = dict(zip(kept, outs, strict=False))
    for found in sums:
        carry[found.number] = add(inits[found.number], _summed(s.body, found, totals))
    return (*(carry[k] for k in range(s.n_carry)), *outs[len(kept) + len(parts) :])


def _sum_of(s: Scan, k: int) -> _Sum | None:
    """Carry ``k`` as a sum: only added to, by something linear in sums over elements."""
    own, out = s.body.inputs[s.n_consts + k], s.body.outputs[k]
    made = s.body.producer.get(out) if isinstance(out, Value) else None
    if made is None or made.prim is not add or own not in made.inputs:
        return None
    if s.body.users[own] != [made] or made.inputs[0] is made.inputs[1]:
        return None
    read_elsewhere = out in s.body.users or s.body.outputs.count(out) > 1
    if read_elsewhere or own in s.body.outputs or kind(own.type.dtype) == "b":
        return None
    (step,) = (x for x in made.inputs if x is not own)
    nodes: dict[Node, None] = {}
    terms: dict[Value, None] = {}
    stack: list[Atom] = [step]
    while stack:
        x = stack.pop()
        if isinstance(x, Literal):
            if x.value != 0:
                return None
            continue
        producer = s.body.producer.get(x)
        if producer is not None and _is_linear(producer):
            nodes[producer] = None
            # the factor is no term
            scaled = producer.prim.name in SCALED
            stack.extend(producer.inputs[:1] if scaled else producer.inputs)
        else:
            terms[x] = None
    if not any(_unsummed(s.body, term) is not term for term in terms):
        return None
    ordered = tuple(node for node in s.body.nodes if node in nodes)
    return _Sum(k, step, ordered, tuple(terms))


def _is_linear(node: Node) -> bool:
    if node.prim.name in SCALED:
        return isinstance(node.inputs[1], Literal) and kind(node.inputs[1].type.dtype) == "f"
    return node.prim.name in LINEAR


def _unsummed(body: Graph, term: Value) -> Value:
    """What a term is the sum of; itself if it is no sum."""
    made = body.producer.get(term)
    if made is not None and made.prim is reduce_sum and term.type.dtype.itemsize >= 4:
        operand = made.inputs[0]
        return operand if isinstance(operand, Value) else term
    return term


def _summed(body: Graph, found: _Sum, totals: Iterable[Atom]) -> Atom:
    """The sum over all steps, made of the sums of its terms as one step is made of its terms."""
    env: dict[Value, Atom] = {}
    rest = iter(totals)
    for term in found.terms:
        total = next(rest)
        if _unsummed(body, term) is not term:
            total = reduce_sum(total, axes=body.producer[term].params["axes"])
        env[term] = total
    step = build.current().inline(
        Graph(tuple(found.terms), found.nodes, (found.step,)), [env[t] for t in found.terms]
    )
    return step[0]
