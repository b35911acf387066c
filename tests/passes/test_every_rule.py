"""Every rewrite rule: it fires, keeps types, and where it says ``exact`` it keeps every bit.

Rules on elementwise operations are instantiated from their patterns: each hole an input, each
constant drawn from values at which rules fail, for every dtype. The others list cases.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.passes.pass_checks import (
    ALL_DTYPES,
    assert_same_meaning,
    build_graph,
    graph_of,
    interesting,
)
from tracejit.errors import InternalError, TracejitError
from tracejit.ir.graph import Graph, literal
from tracejit.ir.types import DTYPES, TensorType, kind
from tracejit.ops.arith import add, mul, neg
from tracejit.passes.rule import Const, Hole, P, Rule, RuleSet, orders, rewrite
from tracejit.passes.rules_arith import FAST
from tracejit.passes.simplify import RULES, simplify

EVERY = (*RULES, *FAST)
SHAPE = (3, 37)


def leaves(pattern: Any) -> Iterator[Any]:
    """The holes and constants of a pattern, in order."""
    if isinstance(pattern, P):
        for arg in pattern.args:
            yield from leaves(arg)
    elif isinstance(pattern, Hole | Const):
        yield pattern


def instantiate(pattern: Any, atoms: dict[str, Any], dtype: np.dtype) -> Any:
    """The pattern as nodes of the current builder."""
    if isinstance(pattern, P):
        args = [instantiate(arg, atoms, dtype) for arg in pattern.args]
        return pattern.prim(*args, **pattern.params)
    return atoms[pattern.name] if isinstance(pattern, Hole | Const) else pattern


def drawn(rule: Rule) -> Iterator[Graph]:
    """Graphs that are instances of the pattern: one dtype for all, or bool for some."""
    assert isinstance(rule.find, P)
    for pattern in orders(rule.find):
        named = {leaf.name: leaf for leaf in leaves(pattern)}
        for dtype, flags in itertools.product(ALL_DTYPES, subsets(tuple(named))):
            types = {k: DTYPES["bool"] if k in flags else dtype for k in named}
            if any(leaf.kinds and kind(types[k]) not in leaf.kinds for k, leaf in named.items()):
                continue
            constants = [k for k, leaf in named.items() if isinstance(leaf, Const)]
            for values in some(itertools.product(*(interesting(types[k]) for k in constants))):
                graph = one(pattern, types, dict(zip(constants, values, strict=True)), dtype)
                if graph is not None:
                    yield graph


def some(combinations: Iterator[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """At most 24 of them, drawn at random but the same ones each time."""
    found = list(combinations)
    return random.Random(0).sample(found, min(len(found), 24))


def subsets(names: tuple[str, ...]) -> list[tuple[str, ...]]:
    """No name, or one of them: the conditions of a choice."""
    return [(), *((name,) for name in names)]


def one(
    pattern: P, types: dict[str, np.dtype], values: dict[str, Any], dtype: np.dtype
) -> Graph | None:
    """An instance, or None where the operations do not take these dtypes."""
    holes = [k for k in types if k not in values]

    def build(*xs: Any) -> Any:
        atoms = dict(zip(holes, xs, strict=True))
        atoms |= {k: literal(v, TensorType(types[k], SHAPE)) for k, v in values.items()}
        return instantiate(pattern, atoms, dtype)

    try:
        return build_graph([TensorType(types[k], SHAPE) for k in holes], build)
    except (TracejitError, OverflowError):
        return None


def instances(rule: Rule) -> Iterator[Graph]:
    if rule.cases:
        return (build_graph(case.types, case.build) for case in rule.cases)
    return drawn(rule)


def drawn_rules() -> list[Rule]:
    return [rule for rule in EVERY if not rule.name.startswith(("scan_", "while_", "cond_"))]


@pytest.mark.parametrize("rule", drawn_rules(), ids=lambda rule: rule.name)
def test_rule(rule: Rule) -> None:
    alone = RuleSet((rule,))
    fired = 0
    for graph in instances(rule):
        counts: dict[str, int] = {}
        after = rewrite(graph, alone, counts=counts)
        if not counts:
            assert after is graph
            assert not rule.cases, f"{rule.name} does not apply to its own case"
            continue
        fired += 1
        if rule.exact:
            assert_same_meaning(graph, after, seeds=1)
        again = rewrite(after, alone)
        assert again is after or again == after
    assert fired, f"{rule.name} never applied"


@pytest.mark.parametrize("rule", drawn_rules(), ids=lambda rule: rule.name)
def test_all_rules_together_on_the_cases_of_one(rule: Rule) -> None:
    for graph in itertools.islice(instances(rule), 12):
        after = simplify(graph)
        assert_same_meaning(graph, after, seeds=1)
        assert simplify(after) is after


def test_names_are_unique() -> None:
    names = [rule.name for rule in EVERY]
    assert len(set(names)) == len(names)


def test_inexact_rules_are_apart() -> None:
    assert all(rule.exact for rule in RULES)
    assert not any(rule.exact for rule in FAST)


def test_products_of_powers_of_two_merge() -> None:
    graph = graph_of("f32[3]", lambda t: mul(mul(mul(t, 2), 2), 2))
    expected = graph_of("f32[3]", lambda t: mul(t, 8))
    assert simplify(graph) == expected


def test_a_rule_is_left_out_by_name_and_counted() -> None:
    graph = graph_of("f32[3]", lambda x: neg(neg(x)))
    assert simplify(graph, off=frozenset(("neg_neg",))) is graph
    counts: dict[str, int] = {}
    assert not simplify(graph, counts=counts).nodes
    assert counts == {"neg_neg": 1}


def test_rules_that_loop_are_named() -> None:
    x, y = Hole("x"), Hole("y")
    there = Rule("there", find=P(add, x, y), put=P(mul, x, y))
    back = Rule("back", find=P(mul, x, y), put=P(add, x, y))
    graph = graph_of("f32[3]", "f32[3]", lambda a, b: add(a, b))
    with pytest.raises(InternalError, match="rewrite rule `(there|back)` loops"):
        rewrite(graph, RuleSet((there, back)))


def test_rules_that_multiply_are_named() -> None:
    x, y = Hole("x"), Hole("y")
    split = Rule("split", find=P(add, x, y), put=P(add, P(mul, x, y), P(mul, y, x)))
    twice = Rule("twice", find=P(mul, x, y), put=P(add, x, y))
    graph = graph_of("f32[3]", "f32[3]", lambda a, b: add(a, b))
    with pytest.raises(InternalError, match="`(split|twice)` loops"):
        rewrite(graph, RuleSet((split, twice)))


def test_a_rule_that_changes_types_is_named() -> None:
    wrong = Rule("wrong", find=P(neg, Hole("x")), put=lambda x: literal(0, x.type.with_shape(())))
    with pytest.raises(InternalError, match="`wrong`"):
        rewrite(graph_of("f32[3]", neg), RuleSet((wrong,)))


def test_zero_is_told_from_negative_zero() -> None:
    plus = graph_of("f32[3]", lambda x: add(x, 0.0))
    minus = graph_of("f32[3]", lambda x: add(x, -0.0))
    assert simplify(plus) is plus
    assert not simplify(minus).nodes
