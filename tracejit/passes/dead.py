"""What nobody reads is dropped: nodes, and operands and results of loops, branches and calls.

    scan whose second stacked result is not read   ->   a scan that does not compute it
    while with a carry that only feeds itself      ->   a while without it

Values keep their identity, so dropping changes nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from tracejit.ir.graph import Graph, Node, Value
from tracejit.passes.subgraphs import has_effect, map_subgraphs


def drop_dead(graph: Graph) -> Graph:
    """Remove nodes that reach neither output nor effect; the same object when all do."""
    return _Sweeper().sweep(graph)


class _Sweeper:
    """Remembers graphs that are clean already."""

    def __init__(self) -> None:
        self.clean: dict[int, Graph] = {}

    def sweep(self, graph: Graph) -> Graph:
        if id(graph) in self.clean:
            return graph
        live = {x for x in graph.outputs if isinstance(x, Value)}
        kept: list[Node] = []
        changed = False
        for node in reversed(graph.nodes):
            if live.isdisjoint(node.outputs) and not has_effect(node):
                changed = True
                continue
            if node.params:
                trimmed = self.trim(node, live)
                changed = changed or trimmed is not node
                node = trimmed
            live.update(x for x in node.inputs if isinstance(x, Value))
            kept.append(node)
        if changed:
            graph = Graph(graph.inputs, tuple(reversed(kept)), graph.outputs, graph.name)
        self.clean[id(graph)] = graph
        return graph

    def trim(self, node: Node, live: set[Value]) -> Node:
        """``node`` with its graphs swept, without operands and results that nobody reads."""
        cut = _TRIM.get(node.prim.name)
        while True:
            # what is dropped inside may be the last reader of an operand, and the other way round
            swept = map_subgraphs(node, self.sweep)
            after = swept if cut is None else cut(swept, [out in live for out in swept.outputs])
            if after is swept:
                return swept
            node = after


# ---- which operands a graph reads ----------------------------------------------------------------


def readers(graph: Graph) -> tuple[list[int], int]:
    """For every output, and for all effects together: the inputs they depend on, as bits."""
    bits: dict[Value, int] = {v: 1 << k for k, v in enumerate(graph.inputs)}
    effects = 0
    for node in graph.nodes:
        mask = 0
        for x in node.inputs:
            if isinstance(x, Value):
                mask |= bits[x]
        bits.update(dict.fromkeys(node.outputs, mask))
        if has_effect(node):
            effects |= mask
    return [bits[x] if isinstance(x, Value) else 0 for x in graph.outputs], effects


def chosen(items: Sequence[Any], keep: Sequence[bool]) -> tuple[Any, ...]:
    return tuple(item for item, k in zip(items, keep, strict=True) if k)


def narrowed(graph: Graph, ins: Sequence[bool], outs: Sequence[bool] | None = None) -> Graph:
    """``graph`` without some outputs, and without inputs that the others do not need."""
    outputs = graph.outputs if outs is None else chosen(graph.outputs, outs)
    return _Sweeper().sweep(Graph(chosen(graph.inputs, ins), graph.nodes, outputs, graph.name))


def closure(wanted: set[int], masks: Sequence[int], needed: int, carry: range) -> int:
    """The inputs that ``wanted`` outputs need, step after step.

    Output k < len(carry) is the next value of input carry[k]; ``wanted`` grows by the carries
    that are needed.
    """
    while True:
        for k in wanted:
            needed |= masks[k]
        more = {k for k, at in enumerate(carry) if needed >> at & 1} - wanted
        if not more:
            return needed
        wanted |= more


def bits_of(mask: int, count: Iterable[int]) -> list[bool]:
    return [bool(mask >> k & 1) for k in count]


# ---- structured operations -----------------------------------------------------------------------


def _trim_scan(node: Node, live: Sequence[bool]) -> Node:
    body, c, k = node.params["body"], node.params["n_consts"], node.params["n_carry"]
    masks, effects = readers(body)
    wanted = {j for j, flag in enumerate(live) if flag}
    needed = closure(wanted, masks, effects, range(c, c + k))
    outs = [j in wanted for j in range(len(live))]
    consts, xs = bits_of(needed, range(c)), bits_of(needed, range(c + k, len(body.inputs)))
    ins = [*consts, *outs[:k], *xs]
    if all(ins) and all(outs):
        return node
    params = {
        **node.params,
        "body": narrowed(body, ins, outs),
        "n_consts": sum(consts),
        "n_carry": sum(outs[:k]),
    }
    return replace(
        node, inputs=chosen(node.inputs, ins), params=params, outputs=chosen(node.outputs, outs)
    )


def _trim_while(node: Node, live: Sequence[bool]) -> Node:
    cond, body, c = node.params["cond"], node.params["body"], node.params["n_consts"]
    (test,), test_effects = readers(cond)
    masks, effects = readers(body)
    wanted = {j for j, flag in enumerate(live) if flag}
    start = test | test_effects | effects
    needed = closure(wanted, masks, start, range(c, c + len(live)))
    outs = [j in wanted for j in range(len(live))]
    ins = [*bits_of(needed, range(c)), *outs]
    if all(ins):
        return node
    params = {
        "cond": narrowed(cond, ins),
        "body": narrowed(body, ins, outs),
        "n_consts": sum(ins[:c]),
    }
    return replace(
        node, inputs=chosen(node.inputs, ins), params=params, outputs=chosen(node.outputs, outs)
    )


def _trim_branches(node: Node, live: Sequence[bool]) -> Node:
    """cond, whose first operand, the index, stays; call is like one branch without index."""
    is_call = node.prim.name == "call"
    branches = (node.params["graph"],) if is_call else node.params["branches"]
    needed = 0
    for branch in branches:
        masks, effects = readers(branch)
        needed |= closure({j for j, flag in enumerate(live) if flag}, masks, effects, range(0))
    ins = bits_of(needed, range(len(branches[0].inputs)))
    if all(ins) and all(live):
        return node
    new = tuple(narrowed(branch, ins, live) for branch in branches)
    head, operands = ((), node.inputs) if is_call else (node.inputs[:1], node.inputs[1:])
    return replace(
        node,
        inputs=(*head, *chosen(operands, ins)),
        params={"graph": new[0]} if is_call else {"branches": new},
        outputs=chosen(node.outputs, live),
    )


_TRIM = {"scan": _trim_scan, "while": _trim_while, "cond": _trim_branches, "call": _trim_branches}
