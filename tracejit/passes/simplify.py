"""All exact rules, in the order in which they are tried, and the pass that applies them.

simplify(graph)                                  every rule
simplify(graph, off=frozenset(("neg_neg",)))     all but that one
"""

from __future__ import annotations

from functools import lru_cache

from tracejit.ir.graph import Graph
from tracejit.passes import (
    rules_arith,
    rules_control,
    rules_elementwise,
    rules_layout,
    rules_logic,
    rules_reduce,
    rules_slices,
    rules_types,
)
from tracejit.passes.dead import drop_dead
from tracejit.passes.fold import LIMIT, folding
from tracejit.passes.rule import Rule, RuleSet, rewrite

RULES: tuple[Rule, ...] = (
    *rules_types.RULES,
    *rules_layout.RULES,
    *rules_slices.RULES,
    *rules_reduce.RULES,
    *rules_arith.RULES,
    *rules_logic.RULES,
    *rules_elementwise.RULES,
    *rules_control.RULES,
)


@lru_cache(maxsize=16)
def rule_set(off: frozenset[str], fast: bool) -> RuleSet:
    """The rules, indexed; ``fast`` adds those that are not exact."""
    return RuleSet((*RULES, *rules_arith.FAST) if fast else RULES, off)


def simplify(
    graph: Graph,
    *,
    off: frozenset[str] = frozenset(),
    fast: bool = False,
    limit: int = LIMIT,
    counts: dict[str, int] | None = None,
) -> Graph:
    """Apply all rules until none applies, folding on the way; ``counts``: which rules fired."""
    shortcut = None if "fold_constants" in off else folding(limit)
    new = rewrite(graph, rule_set(off, fast), shortcut=shortcut, counts=counts)
    return graph if new is graph else drop_dead(new)
