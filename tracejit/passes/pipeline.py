"""The passes in their order; nothing else states it, but ``libraries.py`` for GPUs.

run_passes(graph, OPTIMISE)                                ->  the graph to be compiled
run_passes(graph, OPTIMISE, off=frozenset(("neg_neg",)))   ->  without one pass or rule
run_passes(graph, OPTIMISE, after=lambda name, graph: ...)    verify, dump or replay each result
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence

from tracejit.errors import ArgumentError
from tracejit.ir.graph import Graph
from tracejit.passes.contract import canonicalise
from tracejit.passes.dead import drop_dead
from tracejit.passes.fold import fold_constants
from tracejit.passes.hoist import hoist_products
from tracejit.passes.inline import inline_calls
from tracejit.passes.lapack import call_lapack
from tracejit.passes.layouts import keep_layouts
from tracejit.passes.merge import merge_equal
from tracejit.passes.products import swap_transposed
from tracejit.passes.rewind import rewind_loops
from tracejit.passes.simplify import RULES, simplify
from tracejit.passes.small import write_out_small

Pass = Callable[..., Graph]

#: what makes a graph smaller
REDUCE: tuple[Pass, ...] = (
    rewind_loops,  # first: it writes calls of loops
    inline_calls,  # the others see through calls then
    drop_dead,  # before anything is spent on what nobody reads
    fold_constants,  # fewer nodes to merge
    merge_equal,  # before the rules: x - x needs both operands to be one value
    simplify,  # folds as it goes, since what a rule builds may be constant
    merge_equal,  # rules make equal nodes of different ones,
    simplify,  # and merged operands make rules apply
    drop_dead,
)
#: what brings it to forms that are computed well
PREPARE: tuple[Pass, ...] = (
    swap_transposed,  # before products are fixed in their forms, and loops are asked for theirs
    hoist_products,  # after the rules: they would fold the transposes it takes out of loops back in
    drop_dead,  # of the loops before, and what is only read by them
    write_out_small,  # after the rules, which know reductions
    keep_layouts,  # what is left of transposes around convolutions
    canonicalise,  # last: the rules would fold the transposes it writes back into the products
)
OPTIMISE: tuple[Pass, ...] = (
    *REDUCE,
    call_lapack,  # after the rules: what it writes is their operands and results, turned round
    *PREPARE,
)

#: those of ``libraries.py``, for GPUs
FOR_LIBRARIES = (
    *("find_transforms", "find_solvers", "find_attention", "find_convolutions"),
    *("narrow_products", "find_epilogues"),
)

#: passes made of named parts that ``off`` may name one by one
HAS_PARTS = frozenset(("simplify", "call_lapack", "find_solvers"))


def check_names(off: frozenset[str]) -> None:
    """Raise ArgumentError for a name that is neither a pass nor a rule."""
    names = (*dict.fromkeys(step.__name__ for step in OPTIMISE), *FOR_LIBRARIES)
    known = {*names, *(rule.name for rule in RULES)}
    for name in sorted(off - known):
        close = difflib.get_close_matches(name, sorted(known), n=1)
        passes = ", ".join(names)
        raise ArgumentError(
            f"off: there is no pass or rule `{name}`",
            hint=f"did you mean `{close[0]}`?" if close else f"the passes are {passes}",
        )


def run_passes(
    graph: Graph,
    passes: Sequence[Pass],
    *,
    after: Callable[[str, Graph], None] | None = None,
    off: frozenset[str] = frozenset(),
) -> Graph:
    """``graph`` through ``passes`` but those in ``off``; ``after`` sees names and results."""
    for step in passes:
        if step.__name__ in off:
            continue
        graph = step(graph, off=off) if step.__name__ in HAS_PARTS else step(graph)
        if after is not None:
            after(step.__name__, graph)
    return graph
