"""Programs under settings that look at what runs: debug_nans, debug_infs, check_keys, disable_jit,
no_execution, log_compiles.

    program = watched(program, settings, ...)      the program itself where no such setting is on

A nan is looked for in the results; where there is one the graph runs again, operation by operation,
and the first that computes one is named with the user's line.
"""

from __future__ import annotations

import gc
import logging
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import optree

from tracejit import source
from tracejit.config import Settings, config
from tracejit.errors import BackendError, NonFiniteError
from tracejit.frontend import key_uses, trace
from tracejit.frontend.array import Array, as_array
from tracejit.frontend.call import FlatCall, call_user, flatten
from tracejit.frontend.trace import Traced
from tracejit.ir import interp

LOGGER = logging.getLogger("tracejit")


def wanted(settings: Settings) -> bool:
    """Whether ``watched`` would change a program."""
    return (
        settings.debug_nans
        or settings.debug_infs
        or settings.check_keys
        or settings.disable_jit
        or settings.no_execution
        or settings.log_compiles
    )


def op_by_op(call: FlatCall) -> Callable[[Sequence[Any]], Any]:
    """In place of a program: the user's function as it stands."""

    def run(leaves: Sequence[Any]) -> Any:
        args, kwargs = optree.tree_unflatten(call.treedef, [as_array(leaf) for leaf in leaves])
        return call_user(call.fun, args, kwargs)

    return run


def log(call: FlatCall) -> None:
    """A warning that ``call`` is being compiled."""
    types = ", ".join(f"{n}: {t}" for n, t in zip(call.names, call.types, strict=True))
    at = source.here()
    LOGGER.warning(
        "compiling %s(%s)%s", call.name, types, f", called at {at.short()}" if at else ""
    )


@contextmanager
def no_leaks() -> Iterator[None]:
    """A block after which, under the setting check_leaks, no value that was traced in it may be
    alive: LeakedTracerError names one.
    """
    if not config.current().check_leaks:
        yield
        return
    traces: weakref.WeakSet[trace.Trace] = weakref.WeakSet()
    with trace.noting(traces.add):
        yield
    gc.collect()
    for ended in traces:
        found = trace.alive_value(ended)
        if found is not None:
            raise trace.leaked(found, "is still alive after the trace has ended")


class Watched:
    """A program whose operands and results are looked at."""

    def __init__(
        self, program: Callable[[Sequence[Any]], Any], traced: Traced, settings: Settings
    ) -> None:
        self.program = program
        self.traced = traced
        self.settings = settings

    def __call__(self, leaves: Sequence[Any]) -> Any:
        if self.settings.no_execution:
            raise BackendError(
                f"`{self.traced.graph.name}` was called where programs do not run",
                at=source.here(),
                hint="the setting no_execution is on",
            )
        key_uses.consume_all(leaves, self.traced)
        result = self.program(leaves)
        key_uses.note_results(flatten(result)[0], self.traced)
        if self.settings.debug_nans or self.settings.debug_infs:
            self._look(leaves, result)
        return result

    def _look(self, leaves: Sequence[Any], result: Any) -> None:
        found = [interp.non_finite(y) for y in flatten(result)[0] if isinstance(y, Array)]
        if not any(found):
            return
        graph = self.traced.graph
        arrays = [np.asarray(as_array(a)) for a in (*self.traced.captured, *leaves)]
        interp.run(graph, arrays)  # raises, where an operation computes it
        raise NonFiniteError(
            f"`{graph.name}` returns {next(filter(None, found))}, which none of its operations "
            "computes when they run one by one",
            at=source.here(),
            hint="rounding of the compiled program differs there",
        )
