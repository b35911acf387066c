"""Loops inside samplers: rejection runs until all lanes have accepted.

    while_loop(lambda s: s[0] < 10, lambda s: (s[0] + 1, s[1]), (i, x))     -> the final state
    scan(lambda total, x: (total + x, total), start, xs)                    -> final carry, stacked results

State and slices are pytrees of Arrays. What the functions read from outside becomes a constant of the loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optree

from tracejit.frontend.array import apply
from tracejit.frontend.call import FlatCall, trace_call
from tracejit.frontend.trace import Traced
from tracejit.ir.graph import Graph, Value
from tracejit.ir.types import TensorType
from tracejit.transform import loops
from tracejit.tree_util import NAMESPACE


def while_loop(cond: Callable[[Any], Any], body: Callable[[Any], Any], init: Any) -> Any:
    """``body`` applied to the state while ``cond`` of it holds."""
    call = FlatCall.of(body, (init,), {})
    test = trace_call(FlatCall.of(cond, (init,), {}), "while_loop")
    step = trace_call(call, "while_loop")
    constants = (*test.captured, *step.captured)
    outs = apply(
        loops.while_,
        *constants,
        *call.leaves,
        cond=_with_constants(test, 0, len(constants)),
        body=_with_constants(step, len(test.captured), len(constants)),
        n_consts=len(constants),
        # the other function's constants are inputs that a graph does not use
        **{},
    )
    return optree.tree_unflatten(step.outputs.treedef, outs)
