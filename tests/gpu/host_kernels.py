"""Kernels as text, compiled and run by a HostDevice: what the tests of it share.

    x, y = launch(device, TEXT, 4, 64, x, np.zeros(64, np.float32), 3)

runs the text's first kernel and gives back each array as the kernel left it.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from tracejit.errors import BackendError
from tracejit.runtime.gpu import host_compile
from tracejit.runtime.gpu.device import CudaSource
from tracejit.runtime.gpu.host_device import HostDevice


def missing() -> str:
    """Why kernels cannot be compiled here, or the empty text."""
    try:
        host_compile.compiler()
    except BackendError as error:
        return str(error)
    return ""


needs_compiler = pytest.mark.skipif(bool(missing()), reason=missing())


def kernel(parameters: str, body: str, name: str = "kernel") -> str:
    """The text of a kernel. Its body's first line is line 2."""
    return f'extern "C" __global__ void {name}({parameters}) {{\n{body.strip()}\n}}\n'


def source(text: str, **options: Any) -> CudaSource:
    name = re.findall(r"__global__ void (?:__launch_bounds__\([^)]*\) )?(\w+)", text)[-1]
    return CudaSource(name, text, header=False, **options)


def load(device: HostDevice, text: str, **options: Any) -> Any:
    one = source(text, **options)
    return device.load([one])[one.name]


def launch(
    device: HostDevice, text: str, grid: Any, block: Any, *args: Any, shared: int = 0
) -> list[np.ndarray]:
    """Arrays go to the device and back; ints and NumPy scalars are passed as they are."""
    function = load(device, text, shared=shared)
    memories = {}
    for k, arg in enumerate(args):
        if isinstance(arg, np.ndarray):
            memories[k] = device.alloc(arg.nbytes)
            device.to_device(memories[k].address, np.ascontiguousarray(arg))
    passed = [memories[k].address if k in memories else arg for k, arg in enumerate(args)]
    device.launch(function, grid, block, passed, shared)
    device.synchronize()
    results = []
    for k, memory in memories.items():
        results.append(np.empty_like(args[k]))
        device.to_host(results[-1], memory.address)
    return results
