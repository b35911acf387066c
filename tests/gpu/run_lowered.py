"""Runs what a group was lowered to in the kernels' interpreter.

outs = run(lowered, arrays)      ``arrays``: one for each of ``lowered.reads``
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tracejit.ir.graph import Value
from tracejit.ir.types import TensorType
from tracejit.kernel import interp, text
from tracejit.kernel.gpu.program import grid_of
from tracejit.kernel.lower import Lowered
from tracejit.kernel.verify import has_check, verify
from tracejit.runtime.gpu.code import load_kernels
from tracejit.runtime.gpu.device import Device


def garbage(type: TensorType) -> np.ndarray:
    """Memory as it comes: nan where the dtype has one."""
    if type.dtype.kind == "b":
        return np.ones(type.shape, np.bool_)
    return np.full((*type.shape, type.dtype.itemsize), 0xFF, np.uint8).view(type.dtype)[..., 0]


def run(
    lowered: Lowered,
    values: Mapping[Value, np.ndarray],
    updated: np.ndarray | None = None,
    device: Device | None = None,
) -> tuple[list[np.ndarray], int]:
    """The results and the flag. ``updated``: what the memory of the first result holds before.
    ``device``: what runs the kernels in the interpreter's place.
    """
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
    flag = run_chain(lowered, memory) if device is None else run_on(device, lowered, memory)
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


def run_on(device: Device, lowered: Lowered, memory: Sequence[np.ndarray]) -> int:
    """The same on a device; ``memory`` is as the kernels leave it."""
    links, link = [], lowered
    while link is not None:
        links.append(link)
        link = link.then
    functions = load_kernels(device, [link.kernel for link in links])
    cells = [device.alloc(max(a.nbytes, 1)) for a in memory]
    for cell, array in zip(cells, memory, strict=True):
        device.to_device(cell.address, np.ascontiguousarray(array))
    flag, failed = np.zeros(1, np.int64), device.alloc(8)
    device.to_device(failed.address, flag)
    for link in links:
        kernel, function = link.kernel, functions[link.kernel]
        places = link.places if link.places is not None else range(len(kernel.params))
        arguments = [cells[place].address for place in places] + list(link.sizes)
        arguments += [failed.address] if has_check(kernel) else []
        grid = grid_of(kernel, link.sizes)
        device.launch(function.handle, grid, function.threads, arguments, function.shared)
    device.synchronize()
    for cell, array in zip(cells, memory, strict=True):
        found = np.empty_like(np.ascontiguousarray(array))
        device.to_host(found, cell.address)
        array[...] = found
    device.to_host(flag, failed.address)
    return int(flag[0])
