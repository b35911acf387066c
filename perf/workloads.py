"""All workloads, in the order of the table.

find("softmax").make_inputs()
select(["softmax", "conv*"])
"""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

import workloads_arrays
import workloads_loops
import workloads_nets
from workload import Workload

WARM_UP = workloads_arrays.WARM_UP
FOUR_ARGUMENTS = workloads_arrays.FOUR_ARGUMENTS
TWELVE_BLOCKS_STEP = workloads_nets.TWELVE_BLOCKS_STEP
WORKLOADS: tuple[Workload, ...] = (
    *workloads_arrays.FIRST_FIVE,
    *workloads_arrays.REDUCTIONS,
    *workloads_arrays.LAYOUT,
    *workloads_arrays.PRODUCTS,
    *workloads_nets.WORKLOADS,
    *workloads_loops.WORKLOADS,
    *workloads_arrays.DISPATCH,
    *workloads_arrays.FLOAT64,
)


def find(name: str) -> Workload:
    """The workload of that name; ValueError where there is none."""
    for workload in (*WORKLOADS, WARM_UP, FOUR_ARGUMENTS, TWELVE_BLOCKS_STEP):
        if workload.name == name:
            return workload
    raise ValueError(f"no workload {name!r}; there are: {', '.join(w.name for w in WORKLOADS)}")


def select(patterns: Sequence[str]) -> tuple[Workload, ...]:
    """Workloads whose names match one of the patterns; ``issue2`` and ``issue3`` name their rows,
    ``all`` the whole table, and so do no patterns.
    ValueError for a pattern that matches nothing.
    """
    found = [w for w in WORKLOADS if not patterns or any(_matches(w, p) for p in patterns)]
    for pattern in patterns:  # rows beside the table go by their whole names
        if not any(_matches(workload, pattern) for workload in WORKLOADS):
            found.append(find(pattern))
    return tuple(found)


def _matches(workload: Workload, pattern: str) -> bool:
    return pattern in ("all", f"issue{workload.issue}") or fnmatch.fnmatchcase(
        workload.name, pattern
    )
