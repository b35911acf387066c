"""Dead code: nodes, and what loops, branches and calls carry for nobody."""

from __future__ import annotations

import dataclasses
from typing import Any

from tests.passes.pass_checks import assert_same_meaning, graph_of, names
from tracejit.ir.graph import Graph
from tracejit.ops.arith import add, mul, sub
from tracejit.ops.logic import lt
from tracejit.ops.math import exp
from tracejit.passes.dead import drop_dead
from tracejit.transform.branch import call, cond
from tracejit.transform.loops import Scan, while_

shout = dataclasses.replace(exp, name="shout", effect=True)


def swept(graph: Graph) -> Graph:
    after = drop_dead(graph)
    assert_same_meaning(graph, after)
    assert drop_dead(after) is after
    return after


def test_nodes_that_reach_nothing_go() -> None:
    def build(x: Any) -> Any:
        exp(exp(x))
        return add(x, 1)

    assert names(swept(graph_of("f32[3]", build))) == ["add"]


def test_effects_stay_with_what_they_read() -> None:
    def build(x: Any) -> Any:
        shout(mul(x, 2))
        return add(x, 1)

    graph = graph_of("f32[3]", build)
    assert drop_dead(graph) is graph
    inner = graph_of("f32[3]", lambda x: (shout(mul(x, 2)), exp(x)))

    def outer(x: Any) -> Any:
        call(x, graph=inner)
        return x

    after = drop_dead(graph_of("f32[3]", outer))
    assert names(after) == ["call"] and not after.nodes[0].outputs
    assert names(after.nodes[0].params["graph"]) == ["mul", "shout"]


def test_a_clean_graph_is_the_same_object() -> None:
    graph = graph_of("f32[3]", lambda x: add(x, 1))
    assert drop_dead(graph) is graph


def test_scan_loses_results_carries_consts_and_operands() -> None:
    """Consts a b, carries p q r, operand x; only p and the first stacked result are read."""
    body = graph_of(
        *["f32[]"] * 6,
        lambda a, b, p, q, r, x: (add(p, a), mul(q, b), add(r, q), exp(p), exp(mul(x, r))),
    )
    types = ["f32[]"] * 5

    def build(*xs: Any) -> Any:
        p, _, _, y, _ = Scan(body, 2, 3, 4, False)(*xs)
        return p, y

    (node,) = swept(graph_of(*types, "f32[4]", build)).nodes
    assert [node.params[k] for k in ("n_consts", "n_carry", "length")] == [1, 1, 4]
    assert len(node.inputs) == 2 and len(node.outputs) == 2
    assert names(node.params["body"]) == ["add", "exp"]


def test_scan_keeps_carries_that_others_need() -> None:
    body = graph_of(*["f32[]"] * 3, lambda p, q, r: (add(p, q), mul(q, r), exp(r)))
    graph = graph_of(*["f32[]"] * 3, lambda *xs: Scan(body, 0, 3, 4, False)(*xs)[0])
    (node,) = swept(graph).nodes
    assert node.params["n_carry"] == 3


def test_while_keeps_what_its_condition_reads() -> None:
    test = graph_of("i32[]", "f32[]", "f32[]", lambda i, p, q: lt(i, 5))
    body = graph_of("i32[]", "f32[]", "f32[]", lambda i, p, q: (add(i, 1), exp(p), mul(q, 2)))
    graph = graph_of(
        "f32[]", "f32[]", lambda p, q: while_(zero(), p, q, cond=test, body=body, n_consts=0)[2]
    )
    (node,) = swept(graph).nodes
    assert len(node.outputs) == 2
    assert names(node.params["body"]) == ["add", "mul"]


def zero() -> Any:
    graph = graph_of("i32[]", lambda i: sub(1, i))
    literal = graph.nodes[0].inputs[0]
    return dataclasses.replace(literal, value=literal.type.dtype.type(0))


def test_cond_loses_results_and_operands() -> None:
    first = graph_of("f32[3]", "f32[3]", lambda x, y: (exp(x), exp(y)))
    second = graph_of("f32[3]", "f32[3]", lambda x, y: (x, mul(x, y)))
    graph = graph_of(
        *["i32[]", "f32[3]", "f32[3]"], lambda i, x, y: cond(i, x, y, branches=(first, second))[0]
    )
    (node,) = swept(graph).nodes
    assert len(node.inputs) == 2 and len(node.outputs) == 1


def test_loops_in_loops_are_trimmed_in_one_go() -> None:
    """The inner loop's const is the last reader of the outer one's."""
    inner = graph_of(*["f32[]"] * 3, lambda c, p, q: (add(p, 1), mul(q, c)))

    def step(c: Any, p: Any) -> Any:
        return Scan(inner, 1, 2, 3, False)(c, p, p)[0]

    outer = graph_of("f32[]", "f32[]", step)
    graph = graph_of("f32[]", "f32[]", lambda c, p: Scan(outer, 1, 1, 3, False)(c, p)[0])
    (node,) = swept(graph).nodes
    assert node.params["n_consts"] == 0
    assert node.params["body"].nodes[0].params["n_carry"] == 1
