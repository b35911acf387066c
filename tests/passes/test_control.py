"""Rules for loops and branches, and the inlining of calls."""

from __future__ import annotations

from typing import Any

import pytest

from tests.passes.pass_checks import assert_same_meaning, graph_of, names
from tracejit.ir.build import full_like
from tracejit.ir.graph import Graph, literal
from tracejit.ir.types import DTYPES, TensorType
from tracejit.ops.arith import add, mul, neg
from tracejit.ops.broadcast import broadcast_in_dim
from tracejit.ops.logic import lt
from tracejit.ops.math import exp
from tracejit.ops.parts import convert, stop_gradient
from tracejit.passes.inline import inline_calls
from tracejit.passes.simplify import simplify
from tracejit.transform.branch import call, cond
from tracejit.transform.custom import checkpoint, custom_jvp_call
from tracejit.transform.forward import jvp_graph
from tracejit.transform.loops import Scan, while_

I32 = TensorType(DTYPES["i32"], ())


def check(rule: str, graph: Graph) -> Graph:
    """The simplified graph; ``rule`` was used, nothing more can be done, the meaning is kept."""
    counts: dict[str, int] = {}
    after = simplify(graph, counts=counts)
    assert rule in counts
    assert_same_meaning(graph, after)
    assert simplify(after) is after
    return after


def scan(n_consts: int, n_carry: int, length: int, *types_and_body: Any) -> Any:
    return Scan(graph_of(*types_and_body), n_consts, n_carry, length, False)


def test_a_scan_of_no_steps_is_its_start() -> None:
    s = scan(0, 1, 0, "f32[]", "f32[2]", lambda c, x: (add(c, 1), exp(x)))
    assert not check("scan_no_steps", graph_of("f32[]", "f32[0,2]", lambda c, x: s(c, x))).nodes


def test_a_scan_of_one_step_is_its_body() -> None:
    s = scan(0, 1, 1, "f32[2]", "f32[2]", lambda c, x: (add(c, x), mul(c, x)))
    after = check("scan_one_step", graph_of("f32[2]", "f32[1,2]", lambda c, x: s(c, x)))
    assert names(after) == ["reshape", "add", "mul", "reshape"]


def test_literals_move_into_a_scan_and_fold_there() -> None:
    s = scan(1, 1, 4, "f32[]", "f32[]", "f32[]", lambda a, c, x: (mul(c, neg(a)), mul(x, c)))
    graph = graph_of("f32[]", "f32[4]", lambda c, x: s(full_like(c, 0.5), c, full_like(x, 2)))
    (node,) = check("scan_known_operands", graph).nodes
    assert len(node.inputs) == 1
    assert names(node.params["body"]) == ["mul", "mul"]


def test_operands_given_twice_are_given_once() -> None:
    s = scan(2, 1, 4, *["f32[]"] * 5, lambda a, b, c, x, y: (add(mul(c, a), b), mul(x, y)))
    graph = graph_of("f32[]", "f32[]", "f32[4]", lambda a, c, x: s(a, a, c, x, x))
    (node,) = check("scan_known_operands", graph).nodes
    assert len(node.inputs) == 3


def test_a_carry_that_no_step_changes_is_a_const() -> None:
    s = scan(0, 2, 4, "f32[]", "f32[]", lambda p, q: (p, mul(p, q)))
    (node,) = check("scan_unchanged_carry", graph_of("f32[]", "f32[]", lambda p, q: s(p, q))).nodes
    assert (node.params["n_consts"], node.params["n_carry"]) == (1, 1)


def test_stacked_results_that_are_known_are_not_computed() -> None:
    s = scan(
        *(1, 1, 4),
        *["f32[]"] * 3,
        lambda a, c, x: (add(c, 1), a, x, full_like(x, 3), y := mul(c, x), y),
    )
    graph = graph_of("f32[]", "f32[]", "f32[4]", lambda a, c, x: s(a, c, x))
    after = check("scan_known_results", graph)
    assert names(after) == ["broadcast_in_dim", "scan"]
    assert len(after.nodes[1].outputs) == 2


def test_stacked_results_that_no_step_changes_are_computed_once() -> None:
    s = scan(
        *(1, 1, 4),
        *["f32[2]"] * 3,
        lambda a, c, x: (add(c, b := exp(neg(a))), mul(b, 2), mul(c, x)),
    )
    after = check(
        "scan_same_results", graph_of("f32[2]", "f32[2]", "f32[4,2]", lambda a, c, x: s(a, c, x))
    )
    (loop,) = (node for node in after.nodes if node.prim.name == "scan")
    assert len(loop.outputs) == 2 and "broadcast_in_dim" in names(after)


def test_operands_that_repeat_are_consts() -> None:
    s = scan(1, 1, 4, *["f32[2]"] * 4, lambda a, c, x, y: (add(c, mul(a, x)), mul(x, y)))

    def build(a: Any, c: Any, x: Any, y: Any) -> Any:
        return s(a, c, broadcast_in_dim(x, shape=(4, 2), dims=(1,)), y)

    graph = graph_of("f32[2]", "f32[2]", "f32[1]", "f32[4,2]", build)
    (node,) = check("scan_repeated_operands", graph).nodes
    assert node.params["n_consts"] == 2


@pytest.mark.parametrize("start", [0, 9])
def test_while(start: int) -> None:
    """The limit is a Literal, the factor a carry that never changes."""
    test = graph_of("i32[]", "i32[]", "f32[]", "f32[]", lambda n, i, f, p: lt(i, n))
    body = graph_of(
        "i32[]", "i32[]", "f32[]", "f32[]", lambda n, i, f, p: (add(i, 1), f, mul(p, f))
    )
    graph = graph_of(
        *["f32[]"] * 2,
        lambda f, p: while_(
            literal(5, I32), literal(start, I32), f, p, cond=test, body=body, n_consts=1
        ),
    )
    check("while_known_operands", graph)
    (node,) = check("while_unchanged_carry", graph).nodes
    assert node.params["n_consts"] == 1 and len(node.inputs) == 3


def test_a_while_that_never_runs_is_its_start() -> None:
    test = graph_of("f32[]", lambda x: full_like(x, False, DTYPES["bool"]))
    body = graph_of("f32[]", exp)
    graph = graph_of("f32[]", lambda x: while_(x, cond=test, body=body, n_consts=0))
    assert not check("while_never", graph).nodes


BRANCHES = (
    graph_of("f32[3]", "f32[3]", lambda x, y: (exp(x), y, full_like(x, 1), mul(x, y))),
    graph_of("f32[3]", "f32[3]", lambda x, y: (neg(x), y, full_like(x, 1), y)),
)


@pytest.mark.parametrize("index, operation", [(-3, "exp"), (0, "exp"), (1, "neg"), (8, "neg")])
def test_a_cond_with_a_known_index_is_the_branch(index: int, operation: str) -> None:
    graph = graph_of(
        *["f32[3]"] * 2, lambda x, y: cond(literal(index, I32), x, y, branches=BRANCHES)
    )
    assert operation in names(check("cond_known", graph))


def test_a_cond_of_equal_branches_is_one_of_them() -> None:
    twice = tuple(graph_of("f32[3]", lambda x: exp(x)) for _ in range(2))
    graph = graph_of("i32[]", "f32[3]", lambda i, x: cond(i, x, branches=twice))
    assert names(check("cond_known", graph)) == ["exp"]


def test_results_on_which_branches_agree_are_known_outside() -> None:
    graph = graph_of("i32[]", "f32[3]", "f32[3]", lambda i, x, y: cond(i, x, y, branches=BRANCHES))
    after = check("cond_known_results", graph)
    assert len(after.nodes[0].outputs) == 2


def test_literals_move_into_branches() -> None:
    graph = graph_of("i32[]", "f32[3]", lambda i, x: cond(i, x, full_like(x, 1), branches=BRANCHES))
    (node,) = check("cond_known_operands", graph).nodes
    assert len(node.inputs) == 2


def test_rules_reach_into_graphs() -> None:
    inner = graph_of("f32[3]", lambda x: neg(neg(stop_gradient(exp(x)))))
    graph = graph_of("f32[3]", lambda x: call(x, graph=inner))
    assert names(simplify(graph).nodes[0].params["graph"]) == ["exp"]


# ---- calls ---------------------------------------------------------------------------------------


def test_calls_are_inlined_at_any_depth() -> None:
    one = graph_of("f32[3]", lambda x: exp(x))
    two = graph_of("f32[3]", lambda x: add(checkpoint(x, body=one)[0], 1))
    rule = graph_of("f32[3]", "f32[3]", lambda x, dx: (exp(x), dx))

    def step(c: Any) -> Any:
        return call(c, graph=two)[0], custom_jvp_call(c, body=two, rule=rule)[0]

    s = scan(0, 1, 3, "f32[3]", step)
    graph = graph_of("f32[3]", lambda x: (*call(x, graph=two), *s(x)))
    after = inline_calls(graph)
    assert_same_meaning(graph, after)
    assert names(after) == ["exp", "add", "scan"]
    assert names(after.nodes[2].params["body"]) == ["exp", "add"] * 2
    assert inline_calls(after) is after


def test_the_derivative_of_a_checkpoint_is_inlined() -> None:
    one = graph_of("f32[3]", lambda x: convert(exp(x), dtype=DTYPES["f64"]))
    graph, _ = jvp_graph(graph_of("f32[3]", lambda x: checkpoint(x, body=one)), (True,))
    after = inline_calls(graph)
    assert_same_meaning(graph, after)
    assert not {"call", "checkpoint", "checkpoint_tangent"} & set(names(after))


def test_a_graph_called_twice_gets_values_of_its_own() -> None:
    one = graph_of("f32[3]", lambda x: broadcast_in_dim(exp(x), shape=(2, 3), dims=(1,)))
    graph = graph_of("f32[3]", "f32[3]", lambda x, y: (*call(x, graph=one), *call(y, graph=one)))
    assert_same_meaning(graph, inline_calls(graph))
