"""The kernels of programs as functions of a device, each compiled once.

functions = load_kernels(device, program.kernels)
functions[kernel]                                   Function(handle, threads, shared)
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

from tracejit.codegen.cuda import cuda_source
from tracejit.kernel.gpu.program import threads_of
from tracejit.kernel.nodes import Kernel
from tracejit.kernel.program import CudaCall, Program
from tracejit.kernel.text import show
from tracejit.record import dataclass
from tracejit.runtime.cache import key_of
from tracejit.runtime.gpu.device import CudaSource, Device

_lock = threading.RLock()
_loaded: WeakKeyDictionary[Device, dict[Kernel, Function]] = WeakKeyDictionary()
_own: WeakKeyDictionary[Device, dict[CudaSource, Any]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Function:
    """A kernel on a device: what ``Device.launch`` takes."""

    handle: Any
    threads: int
    shared: int


def source_of(kernel: Kernel) -> CudaSource:
    """The CUDA C of a kernel, under a name that no other kernel has."""
    text = show(replace(kernel, comment=""))
    return cuda_source(replace(kernel, name=f"{kernel.name}_{key_of(text).hex()[:10]}"))


def sources(program: Program) -> str:
    """The CUDA C of a program's kernels, as it is compiled, those of users last."""
    own = dict.fromkeys(c.source.text for c in program.calls if isinstance(c, CudaCall))
    return "\n".join((*(source_of(k).text for k in program.kernels), *own))


def load_kernels(device: Device, kernels: Sequence[Kernel]) -> dict[Kernel, Function]:
    """Functions for ``kernels``; what is not loaded yet is compiled, all at once."""
    with _lock:
        known = _loaded.setdefault(device, {})
        new = [k for k in dict.fromkeys(kernels) if k not in known]
        if new:
            sources = [source_of(k) for k in new]
            handles = device.load(sources)
            for kernel, source in zip(new, sources, strict=True):
                handle = handles[source.name]
                known[kernel] = Function(handle, threads_of(kernel), source.shared)
        return {k: known[k] for k in kernels}


def load_sources(device: Device, sources: Sequence[CudaSource]) -> dict[CudaSource, Any]:
    """What ``Device.launch`` takes, of kernels that users wrote."""
    with _lock:
        known = _own.setdefault(device, {})
        for source in sources:
            if source not in known:
                known[source] = device.load([source])[source.name]
        return {source: known[source] for source in sources}
