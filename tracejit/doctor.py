"""What tracejit finds on this machine, one line a fact. Never raises: a failure is a line too.

In: nothing. Out: lines of text, printed by ``python -m tracejit doctor``.

    >>> print(report())  # doctest: +SKIP
    tracejit     0.1.0, Python 3.11.7, Linux x86_64
    ...
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
from collections.abc import Callable, Iterator
from importlib import metadata
from typing import Any

from tracejit import kernels
from tracejit.config import config, usable_cpus
from tracejit.runtime.blas import blas_origin
from tracejit.runtime.cache import others_can_write
from tracejit.runtime.gpu import registry, shared

CORE = ("numpy", "scipy", "llvmlite", "numba", "optree", "ml_dtypes")
OPTIONAL = ("cupy-cuda12x", "cupy-cuda13x", "scikit-learn", "tqdm", "matplotlib", "jax", "torch")
#: features that change how kernels are printed, widest first
VECTORS = (("avx512f", 512), ("avx2", 256), ("avx", 256), ("sse2", 128), ("neon", 128))
SHOWN_FEATURES = ("avx2", "fma", "f16c", "avx512f", "avx512dq", "avx512bw", "avx512bf16", "neon")

#: libraries that programs for GPUs call, and what happens where one is not there
CALLED = {
    "cublasLt": "matrix products are generated kernels",
    "cudnn": "convolutions and attention are generated kernels",
    "cufft": "Fourier transforms are computed by the host",
    "cusolver": "linear algebra is computed by the host",
}

Rows = Iterator[tuple[str, str]]


def version(package: str) -> str:
    """The installed version of a distribution, or the empty text."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def versions() -> Rows:
    system = f"{platform.system()} {platform.machine()}"
    own = version("tracejit") or "(not installed, run from a checkout)"
    yield "tracejit", f"{own}, Python {platform.python_version()}, {system}"
    yield "packages", ", ".join(f"{name} {version(name) or 'MISSING'}" for name in CORE)
    found = [f"{name} {version(name)}" for name in OPTIONAL if version(name)]
    yield "optional", ", ".join(found) or "none"


def processor() -> Rows:
    binding: Any = importlib.import_module("llvmlite.binding")
    features = binding.get_host_cpu_features()
    bits = next((bits for name, bits in VECTORS if features.get(name)), 0)
    yield "processor", f"{binding.get_host_cpu_name()}, {bits or 'unknown'}-bit vectors"
    yield "features", ", ".join(name for name in SHOWN_FEATURES if features.get(name)) or "none"
    llvm = ".".join(map(str, binding.llvm_version_info))
    yield "LLVM", f"{llvm}, target {binding.get_default_triple()}"


def threads() -> Rows:
    total = os.cpu_count() or 1
    yield "threads", f"{config.threads} (of {usable_cpus()} usable CPUs, {total} in the machine)"
    shared = config.threads > 1
    yield "thread pool", "tracejit's own" if shared else "none: kernels run on one thread"


def first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def blas() -> Rows:
    yield "products", blas_origin()
    for label, module, routine in (("BLAS", "blas", "sgemm"), ("LAPACK", "lapack", "sgetrf")):
        where = f"scipy.linalg.cython_{module}"
        pointers = importlib.import_module(where).__pyx_capi__
        built: Any = importlib.import_module("scipy").show_config(mode="dicts")
        library = built["Build Dependencies"][module]
        text = f"{library['name']} {library['version']}, {len(pointers)} routines from {where}"
        yield label, text if routine in pointers else f"{text}, but no {routine}"


def gpu() -> tuple[str, str]:
    """A description of the first GPU, and why there is none; one of the two is empty."""
    try:
        if why := registry.problem():
            return "", why
        package = version("cupy-cuda12x") or version("cupy-cuda13x") or version("cupy")
        runtime = importlib.import_module("cupy").cuda.runtime
        known = runtime.getDeviceProperties(0)
        name = known["name"].decode()
        capability = f"compute capability {known['major']}.{known['minor']}"
        memory = f"{known['totalGlobalMem'] / 2**30:.0f} GiB"
        count = runtime.getDeviceCount()
        return f"{name}, {capability}, {memory}, {count} device(s), CuPy {package}", ""
    except Exception as error:  # a driver that does not fit fails in many ways
        return "", first_line(error)


def devices() -> Rows:
    found, why = gpu()
    yield "GPU", found or f"none: {why}"
    if found:
        yield from gpu_libraries()


def gpu_libraries() -> Rows:
    """Versions of NVIDIA's libraries, and what is not found of those that programs call."""
    known = shared.versions()
    yield "", "with " + ", ".join(f"{name} {text}" for name, text in known.items())
    for name, what in CALLED.items():
        if reason := shared.why_missing(name):
            yield "", f"no {name}, so {what}: {reason}"


def places() -> Rows:
    yield "backend", f"{config.backend}, mode {config.mode}"
    yield "cache", cache_state(config.cache)
    yield "kernels", f"{kernels.folder()} ({len(kernels.names())} files)"


def cache_state(folder: str | None) -> str:
    """The cache folder, what is in it, and whether it can be written."""
    if folder is None:
        return "off"
    if not os.path.isdir(folder):
        return f"{folder} (does not exist yet)"
    sizes = [entry.stat().st_size for entry in os.scandir(folder) if entry.is_file()]
    why = others_can_write(os.stat(folder))
    state = f", NOT USED: {why}" if why else ""
    state += "" if os.access(folder, os.W_OK) else ", NOT WRITABLE"
    return f"{folder} ({len(sizes)} files, {sum(sizes) / 2**20:.1f} MiB{state})"


SECTIONS: tuple[Callable[[], Rows], ...] = (versions, processor, threads, blas, devices, places)


def report() -> str:
    """All facts; a section that fails is one line that says why."""
    lines = []
    for section in SECTIONS:
        try:
            for label, text in section():
                lines.append(f"{label:12} {text}")
        except Exception as error:  # the doctor is run where something is broken
            lines.append(f"{section.__name__:12} cannot be found out: {first_line(error)}")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    description = "What tracejit finds on this machine."
    argparse.ArgumentParser("python -m tracejit doctor", description=description).parse_args(
        arguments
    )
    print(report())
    return 0
