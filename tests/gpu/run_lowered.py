"""Runs what a group was lowered to in the kernels' interpreter.

outs = run(lowered, arrays)      ``arrays``: one for each of ``lowered.reads``
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tracejit.ir.graph import Value
from tracejit.ir.types import TensorType
from tracejit.kernel import interp, text
from tracejit.kernel.lower import Lowered
from tracejit.kernel.verify import verify


def garbage(type: TensorType) -> np.ndarray:
    """Memory as it comes: nan where the dtype has one."""
    if type.dtype.kind == "b":
        return np.ones(type.shape, np.bool_)
    return np.full((*type.shape, type.dtype.itemsize), 0xFF, np.uint8).view(type.dtype)[..., 0]


def run(
    lowered: Lowered,
    values: Mapping[Value, np.ndarray],
    updated: np.ndarray | None = None,
) -> tuple[list[np.ndarray], int]:
    """The results and the flag. ``updated``: what the memory of the first result holds before."""
    outs = [garbage(v.type) for v in lowered.writes]
    if updated is not None:
        outs[0] = updated.copy()
    counters = [np.zeros(t.shape, t.dtype) for t in lowered.zeroed]
    memory = [
        *(values[v].copy() for v in lowered.reads),
        *outs,
        *map(garbage, lowered.scratch),
        *counters,
    ]
    kept = [a.copy() for a in memory[: len(lowered.reads)]]
    flag = run_chain(lowered, memory)
    for before, after in zip(kept, memory, strict=False):
        assert before.tobytes() == after.tobytes(), "an operand was changed"
    assert not any(c.any() for c in counters), "counters are zero afterwards"
    return outs, flag


def run_chain(lowered: Lowered, memory: Sequence[np.ndarray]) -> int:
    """Each kernel in turn on the buffers that it takes of ``memory``."""
    flag, link = 0, lowered
    while True:
        kernel = link.kernel
        verify(kernel)
        assert text.parse(text.show(kernel)) == kernel
        places = link.places if link.places is not None else range(len(kernel.params))
        sizes = dict(zip(kernel.sizes, link.sizes, strict=True))
        buffers = {}
        for param, place in zip(kernel.params, places, strict=True):
            array = memory[place]
            shape = param.extents(sizes)
            buffers[param.name] = array.reshape(shape) if array.shape != shape else array
        flag = interp.run(kernel, buffers, sizes) or flag
        if link.then is None:
            return flag
        link = link.then
