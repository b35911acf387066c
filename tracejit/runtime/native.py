"""Machine code in memory: LLVM text or object bytes in, addresses out; and the threads for it.

    code = compile_llvm(print_llvm(kernel, host_target()), [kernel.name])
    call_kernel(code.addresses[kernel.name], [x, y], [1000], 0, 1000, threads=2)

Object code comes from the disk cache where it is there; then LLVM is not even loaded.
``load_object(code.object_bytes, names)`` loads it again.
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
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import numpy as np

from tracejit.codegen.pool import print_pool
from tracejit.codegen.target import Target
from tracejit.config import config
from tracejit.record import dataclass
from tracejit.runtime.cache import SOURCES, key_of, object_cache
from tracejit.runtime.emit import BEST, Emitter, Text
from tracejit.runtime.loader import Unsupported, load_image

__all__ = [
    "Code",
    "Job",
    "Target",
    "ThreadPool",
    "call_kernel",
    "compile_llvm",
    "compile_objects",
    "find_objects",
    "host_target",
    "keep_object",
    "load_object",
    "make_objects",
    "thread_pool",
]

_lock = threading.RLock()
if hasattr(os, "register_at_fork"):  # a child must not find it taken by a thread that is not there
    os.register_at_fork(
        before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release
    )
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


def once(make: Callable[[], Any]) -> Callable[[], Any]:
    """``make`` called at the first use and in one thread only, unlike with ``lru_cache``: the
    prefetching thread and a caller may meet.
    """
    found: list[Any] = []

    @wraps(make)
    def get() -> Any:
        if not found:
            with _lock:
                if not found:
                    found.append(make())
        return found[0]

    return get


# ---- the CPU -------------------------------------------------------------------------------------


@once
def host_target() -> Target:
    """The CPU this process runs on."""
    cache, identity = object_cache(), _cpu_identity()
    key = key_of("target", identity, llvm_identity(), SOURCES.key) if identity else b""
    if cache is not None and identity:
        known = cache.get(key)
        if known is not None:
            cpu, features, width, triple, layout = known.decode().split("\n")
            return Target(cpu, features, int(width), triple, layout)
    found = _emitter().target
    if cache is not None and identity:
        fields = (found.cpu, found.features, found.vector_bytes, found.triple, found.layout)
        cache.put(key, "\n".join(map(str, fields)).encode())
    return found


#: lines of /proc/cpuinfo that say what a CPU can do
_CPU_LINES = ("vendor_id", "cpu family", "model", "stepping", "flags")


def _cpu_identity() -> str:
    """What LLVM's view of the CPU depends on; empty where that is not known without asking it."""
    try:
        with open("/proc/cpuinfo", "rb", buffering=0) as file:
            first = file.read(8192).decode("utf-8", "replace").split("\n\n")[0]
    except OSError:
        return ""
    lines = [line for line in first.splitlines() if line.startswith(_CPU_LINES)]
    if not any(line.startswith("flags") for line in lines):
        return ""
    return "\n".join([*lines, *os.uname()[2:]])


@once
def llvm_identity() -> str:
    """Which LLVM compiles: size and time of llvmlite's library, which is not loaded for it."""
    spec = importlib.util.find_spec("llvmlite")
    for place in () if spec is None else spec.submodule_search_locations or ():
        for name in ("libllvmlite.so", "libllvmlite.dylib", "llvmlite.dll"):
            path = os.path.join(place, "binding", name)
            if os.path.exists(path):
                status = os.stat(path)
                return f"{status.st_size} {status.st_mtime_ns}"
    return f"{_emitter().version}"


@once
def _emitter() -> Emitter:
    return Emitter()


# ---- object code ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """A module to compile. ``key`` stands for its content, ``text()`` is asked for where the disk
    cache has no object code, ``weight`` is about how long LLVM takes, ``level`` how much it does.
    """

    key: bytes
    text: Text
    weight: int
    level: int = BEST


def text_job(text: str, level: int = BEST) -> Job:
    """A module that is known by its text."""
    weight = len(text) if level == BEST else len(text) // 5
    return Job(key_of("text", text), lambda: text, weight, level)


def compile_objects(jobs: Sequence[Job], threads: int) -> list[bytes]:
    """Object code of each module, from the disk cache or compiled, on up to ``threads`` threads.

    Raises BackendError when LLVM rejects a text.
    """
    found = find_objects(jobs)
    missing = [k for k, data in enumerate(found) if data is None]
    missing.sort(key=lambda k: -jobs[k].weight)  # the longest first: then threads end together
    made = make_objects([jobs[k] for k in missing], threads)
    for k, data in zip(missing, made, strict=True):
        found[k] = data
        keep_object(jobs[k], data)
    return found  # type: ignore[return-value]


def find_objects(jobs: Sequence[Job]) -> list[bytes | None]:
    """Object code of those modules that are in the disk cache."""
    cache = object_cache()
    if cache is None:
        return [None] * len(jobs)
    return [cache.get(_object_key(job)) for job in jobs]


def make_objects(jobs: Sequence[Job], threads: int) -> list[bytes]:
    """Object code of modules, compiled, in their order.

    Raises BackendError when LLVM rejects a text.
    """
    wanted = ((job.text, job.level) for job in jobs)
    return _emitter().emit_all(wanted, min(threads, len(jobs))) if jobs else []


def keep_object(job: Job, data: bytes) -> None:
    """Put object code into the disk cache."""
    cache = object_cache()
    if cache is not None and SOURCES.unchanged():
        cache.put(_object_key(job), data)


def _object_key(job: Job) -> bytes:
    target = host_target()
    host = (target.triple, target.cpu, target.features, llvm_identity())
    return key_of(job.key, str(job.level), *host, SOURCES.key)


def compile_llvm(text: str, names: Sequence[str]) -> Code:
    """Compile a module and load it; ``names`` are the functions whose addresses are wanted.

    Raises BackendError when LLVM rejects the text.
    """
    start = time.perf_counter()
    [data] = compile_objects([text_job(text)], 1)
    code = load_object(data, names)
    return Code(code.addresses, data, time.perf_counter() - start, code.tracker)


def load_object(data: bytes, names: Sequence[str]) -> Code:
    """Load object code made on the same kind of CPU."""
    start = time.perf_counter()
    tracker: Any
    try:
        tracker = load_image(data, names)
        addresses = tracker.addresses
    except Unsupported:
        with _lock:
            tracker, addresses = _emitter().link(data, names, f"tracejit_{next(_count)}")
    return Code(addresses, data, time.perf_counter() - start, tracker)


def assembly(text: str) -> str:
    """The machine code of a module as text, to look at."""
    return _emitter().assembly(text)


# ---- threads -------------------------------------------------------------------------------------


@once
def thread_pool() -> ThreadPool:
    """The threads that share kernels, started: as many as the setting ``threads`` says."""
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
