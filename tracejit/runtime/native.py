"""Machine code in memory: LLVM text or object bytes in, addresses out; and the threads for it.

    code = compile_llvm(print_llvm(kernel, host_target()), [kernel.name])
    call_kernel(code.addresses[kernel.name], [x, y], [1000], 0, 1000, threads=2)

``code.object_bytes`` can be kept on disk: ``load_object(object_bytes, names)`` needs no compiler.
"""

from __future__ import annotations

import ctypes
import importlib.machinery
import importlib.util
import itertools
import os
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from tracejit.codegen.pool import print_pool
from tracejit.codegen.target import Target
from tracejit.config import config
from tracejit.errors import BackendError

__all__ = [
    "Code",
    "Target",
    "ThreadPool",
    "call_kernel",
    "compile_llvm",
    "host_target",
    "load_object",
    "thread_pool",
]

_lock = threading.RLock()
_count = itertools.count()


@dataclass(frozen=True)
class Code:
    """Loaded machine code. ``addresses`` are valid while this object lives."""

    addresses: dict[str, int]
    object_bytes: bytes
    seconds: float
    tracker: Any


@dataclass(frozen=True)
class ThreadPool:
    """At ``address``: ``parallel_for`` of ``codegen/pool.py``. ``code`` keeps it in memory."""

    address: int
    threads: int
    code: Code


class _Engine:
    """LLVM's two halves: a machine that compiles and a JIT that only links."""

    def __init__(self) -> None:
        import llvmlite.binding as llvm

        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        self.llvm = llvm
        cpu, features = llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()
        # the small code model: constants are addressed relative to the code
        self.machine = llvm.Target.from_default_triple().create_target_machine(
            cpu=cpu, features=features, opt=2, reloc="pic", codemodel="small"
        )
        # the JIT takes possession of the machine it is given, so it gets one of its own
        self.linker = llvm.create_lljit_compiler(
            llvm.Target.from_default_triple().create_target_machine(
                cpu=cpu, features=features, opt=2, reloc="pic", codemodel="small", jit=True
            )
        )
        on = set(features.split(","))
        width = (
            64
            if {"+avx512f", "+avx512dq", "+avx512bw", "+avx512vl"} <= on
            else 32
            if "+avx2" in on
            else 16
        )
        self.target = Target(
            cpu, features, width, self.machine.triple, str(self.machine.target_data)
        )


@lru_cache(maxsize=1)
def _engine() -> _Engine:
    return _Engine()


def host_target() -> Target:
    """The CPU this process runs on."""
    with _lock:
        return _engine().target


def compile_llvm(text: str, names: Sequence[str]) -> Code:
    """Compile a module and load it; ``names`` are the functions whose addresses are wanted.

    Raises BackendError when LLVM rejects the text.
    """
    start = time.perf_counter()
    with _lock:
        engine = _engine()
        try:
            module = engine.llvm.parse_assembly(text)
            data = engine.machine.emit_object(module)
        except RuntimeError as error:
            raise BackendError(f"LLVM rejects a generated module: {error}") from error
        module.close()
    code = load_object(data, names)
    return Code(code.addresses, data, time.perf_counter() - start, code.tracker)


def load_object(data: bytes, names: Sequence[str]) -> Code:
    """Load what ``compile_llvm`` made before, on the same kind of CPU."""
    start = time.perf_counter()
    with _lock:
        engine = _engine()
        builder = engine.llvm.JITLibraryBuilder().add_object_img(data).add_current_process()
        for name in names:
            builder.export_symbol(name)
        try:
            tracker = builder.link(engine.linker, f"tracejit_{next(_count)}")
        except RuntimeError as error:
            raise BackendError(f"a compiled kernel cannot be loaded: {error}") from error
        addresses = {name: tracker[name] for name in names}
    return Code(addresses, data, time.perf_counter() - start, tracker)


def assembly(text: str) -> str:
    """The machine code of a module as text, to look at."""
    with _lock:
        engine = _engine()
        return str(engine.machine.emit_assembly(engine.llvm.parse_assembly(text)))


# ---- threads -------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def thread_pool() -> ThreadPool:
    """The threads that share kernels, started: as many as the setting ``threads`` says."""
    with _lock:
        threads = config.current().threads
        code = compile_llvm(print_pool(host_target()), ["parallel_for", "pool_start"])
        ctypes.CFUNCTYPE(None, ctypes.c_int64)(code.addresses["pool_start"])(threads - 1)
        return ThreadPool(code.addresses["parallel_for"], threads, code)


def load_extension(package: str, path: str) -> Any:
    """An extension module of an installed package, without importing the package around it, which
    takes far longer.

    Raises ImportError where there is no such file.
    """
    name = f"{package}.{path.replace('/', '.')}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.find_spec(package)
    places = [] if spec is None else list(spec.submodule_search_locations or ())
    for place in places:
        for suffix in importlib.machinery.EXTENSION_SUFFIXES:
            file = f"{place}/{path}{suffix}"
            if os.path.exists(file):
                loader = importlib.machinery.ExtensionFileLoader(name, file)
                found = importlib.util.spec_from_file_location(name, file, loader=loader)
                assert found is not None
                module = importlib.util.module_from_spec(found)
                loader.exec_module(module)
                return module
    raise ImportError(f"{package} has no extension module {path}")


_KERNEL = ctypes.CFUNCTYPE(None, *(ctypes.c_void_p,) * 4)
_PARALLEL_FOR = ctypes.CFUNCTYPE(
    None, *(ctypes.c_void_p,) * 5, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int
)


def call_kernel(
    address: int,
    buffers: Sequence[np.ndarray],
    sizes: Sequence[int],
    lo: int = 0,
    hi: int = 0,
    threads: int = 1,
) -> int:
    """Run a kernel over ``par`` range ``lo..hi``; returns its flag.

    For tests: programs call kernels natively.
    """
    flag = np.zeros(1, np.int64)
    cells = np.array([*(b.ctypes.data for b in buffers), *sizes, flag.ctypes.data], np.uint64)
    count = max(1, min(threads, hi - lo))
    bounds = np.linspace(lo, hi, count + 1).astype(np.int64)
    pairs = np.ascontiguousarray(np.stack([bounds[:-1], bounds[1:]], axis=1))
    args, dims, steps = (np.array([v], np.uint64) for v in (pairs.ctypes.data, count, 16))
    pointers = [a.ctypes.data for a in (args, dims, steps, cells)]
    if threads == 1:
        _KERNEL(address)(*pointers)
    else:
        pool = thread_pool()
        _PARALLEL_FOR(pool.address)(address, *pointers, 0, 1, threads)
    return int(flag[0])
