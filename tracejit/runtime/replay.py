"""Debug mode: every pass is verified and replayed on the real inputs.

    replay_passes(graph, arrays)     raises InternalError naming the first pass whose graph gives other results
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tracejit.errors import InternalError
from tracejit.ir import interp
from tracejit.ir.graph import Graph
from tracejit.ir.text import show
from tracejit.ir.verify import verify
from tracejit.passes.pipeline import OPTIMISE, run_passes


def replay_passes(graph: Graph, arrays: Sequence[np.ndarray]) -> None:
    """Run OPTIMISE pass by pass, checking each graph and its results against those of the one before."""
    verify(graph)
    expected = interp.run(graph, arrays)
    before = [graph]

    def after(name: str, found: Graph) -> None:
        verify(found)
        results = interp.run(found, arrays)
        for k, (want, got) in enumerate(zip(expected, results, strict=True)):
            if not np.array_equal(want, got, equal_nan=want.dtype.kind in "fc"):
                raise InternalError(
                    f"pass `{name}` changes result {k} of `{graph.name}`",
                    notes=("the graph before it:", *show(before[0]).splitlines()),
                )
        before[0] = found

    run_passes(graph, OPTIMISE, after=after)
