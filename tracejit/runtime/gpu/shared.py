"""NVIDIA's shared libraries and headers: where they are, loaded once, or why they are not there.

find("cublasLt")          a ctypes.CDLL, or None
why_missing("cublasLt")   "" or what was looked for, where, and what to install
include_folders()         folders of cuda_fp16.h and what it includes, for NVRTC and for g++

Looked through, in this order: pip's wheels (``nvidia/cu13/lib``, ``nvidia/cublas/lib``, ...), the
folder of the environment (conda), the dynamic linker's paths (``LD_LIBRARY_PATH`` among them), CUDA
toolkits (next to ``nvcc``, ``/usr/local/cuda*``) and last what CuPy knows (``CUDA_PATH``, its own
folder). The CUDA version that CuPy was built for comes first, since a driver that serves CuPy
serves that one. Nothing here needs a GPU or a driver.
"""

from __future__ import annotations

import ctypes
import glob
import importlib.util
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from tracejit.record import dataclass


@dataclass(frozen=True)
class Library:
    """``file``: its name, with a place for the version of CUDA, or the one before. ``install``:
    the package that has it. ``after``: libraries it opens by name while it works, which must be
    in memory before it (``required``: without them it ends the process). ``beside``: files of
    its own that it opens by name.
    """

    file: str
    install: str
    after: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    beside: str = ""


LIBRARIES = {
    "cublasLt": Library("libcublasLt.so.{cuda}", "nvidia-cublas"),
    "cublas": Library("libcublas.so.{cuda}", "nvidia-cublas", required=("cublasLt",)),
    "cufft": Library("libcufft.so.{before}", "nvidia-cufft"),
    "nvJitLink": Library("libnvJitLink.so.{cuda}", "nvidia-nvjitlink"),
    "cusparse": Library("libcusparse.so.12", "nvidia-cusparse", required=("nvJitLink",)),
    "cusolver": Library(
        "libcusolver.so.{before}", "nvidia-cusolver", required=("cublas", "cusparse")
    ),
    "nvrtc": Library(
        "libnvrtc.so.{cuda}", "nvidia-cuda-nvrtc", beside="libnvrtc-builtins.so.[0-9]*"
    ),
    "cudnn": Library(
        "libcudnn.so.9", "nvidia-cudnn-cu{cuda}", after=("nvrtc",), required=("cublasLt",)
    ),
}
#: versions of CUDA that tracejit works with, best first
CUDA = (13, 12)
#: headers that ``include_folders`` is asked for: the first is essential; g++ wants them all
HEADERS = ("cuda_fp16.h", "crt/host_defines.h", "nv/target")

_loaded: dict[str, ctypes.CDLL | str] = {}  # the library, or why there is none
_lock = threading.RLock()


def find(name: str) -> ctypes.CDLL | None:
    """The library ``name`` of ``LIBRARIES``, loaded once; None where it is missing.

    >>> library = find("cublasLt")
    >>> library is find("cublasLt"), bool(library) != bool(why_missing("cublasLt"))
    (True, True)
    """
    found = _outcome(name)
    return None if isinstance(found, str) else found


def why_missing(name: str) -> str:
    """Why ``find(name)`` gives None, in one line with what to install; empty where it is there."""
    found = _outcome(name)
    return found if isinstance(found, str) else ""


def _outcome(name: str) -> ctypes.CDLL | str:
    with _lock:
        if name not in _loaded:
            _loaded[name] = _load(name, LIBRARIES[name])
        return _loaded[name]


def _load(name: str, library: Library) -> ctypes.CDLL | str:
    if not sys.platform.startswith("linux"):
        return f"{name}: tracejit uses NVIDIA's libraries on Linux only, this is {sys.platform}"
    for other in library.required:
        if reason := why_missing(other):
            return f"{name} needs {other}: {reason}"
    for other in library.after:
        find(other)
    failures: list[str] = []
    for file in _files(library):
        try:
            if os.path.dirname(file):
                beside = os.path.join(glob.escape(os.path.dirname(file)), library.beside)
                for part in sorted(glob.glob(beside)) if library.beside else ():
                    ctypes.CDLL(part)
            return ctypes.CDLL(file)
        except OSError as error:
            failures.append(str(error))
    # the linker's own "no such file" says nothing new; a file that is there and fails does
    broken = [text for text in failures if "No such file" not in text]
    wanted = " or ".join(dict.fromkeys(_names(library)))
    package = library.install.format(cuda=cuda_versions()[0])
    said = f" ({broken[0]})" if broken else ""
    return (
        f"{wanted} {'does not load' if broken else 'was not found'}{said}: pip install {package}, "
        "or install the CUDA toolkit"
    )


def _names(library: Library) -> list[str]:
    return [library.file.format(cuda=n, before=n - 1) for n in cuda_versions()]


def _files(library: Library) -> Iterator[str]:
    """Paths to try, best first; a bare name asks the dynamic linker."""
    for name in dict.fromkeys(_names(library)):
        for place in (_wheels, _environment):
            yield from _existing(place(), name)
        yield name
        yield from _existing(_toolkits(), name)
    # importing CuPy takes half a second: only when nothing else has it
    for name in dict.fromkeys(_names(library)):
        yield from _existing(_cupy(), name)


def _existing(roots: list[str], name: str) -> Iterator[str]:
    for root in roots:
        for folder in ("lib", "lib64"):
            file = os.path.join(root, folder, name)
            if os.path.exists(file):
                yield file


@lru_cache(maxsize=1)
def built_for() -> int | None:
    """The major version of CUDA that the CuPy installed was built for, where its name says it."""
    for version in CUDA:
        try:
            metadata.version(f"cupy-cuda{version}x")
        except metadata.PackageNotFoundError:
            continue
        return version
    return None


@lru_cache(maxsize=1)
def cuda_versions() -> tuple[int, ...]:
    """Major versions of CUDA, the one that CuPy was built for first."""
    built = built_for()
    return CUDA if built is None else (built, *(other for other in CUDA if other != built))


# ---- places: folders that have lib/ and include/ -------------------------------------------------


def _package_folders(name: str) -> list[str]:
    """Where a package's files are, without importing it."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return []
    return list(spec.submodule_search_locations or ()) if spec else []


def _wheels() -> list[str]:
    """Folders of pip's wheels: one for a version of CUDA from 13 on, one a library before."""
    found = []
    for folder in _package_folders("nvidia"):
        whole = [os.path.join(folder, f"cu{version}") for version in cuda_versions()]
        single = sorted(glob.glob(os.path.join(glob.escape(folder), "*")))
        found += whole + [one for one in single if one not in whole]
    return found


def _environment() -> list[str]:
    """Folders of a conda environment."""
    targets = sorted(glob.glob(os.path.join(glob.escape(sys.prefix), "targets", "*-linux")))
    return [sys.prefix, *targets]


def _toolkits() -> list[str]:
    """CUDA toolkits: that of the ``nvcc`` on the path, then the usual places, newest first."""
    nvcc = shutil.which("nvcc")
    found = [str(Path(nvcc).resolve().parent.parent)] if nvcc else []
    found += ["/usr/local/cuda", *sorted(glob.glob("/usr/local/cuda-*"), reverse=True), "/opt/cuda"]
    return [root for root in dict.fromkeys(found) if os.path.isdir(root)]


@lru_cache(maxsize=1)
def _cupy() -> list[str]:
    """The toolkit that CuPy uses, and its own folder of libraries."""
    folders = _package_folders("cupy")
    if not folders:
        return []
    found = [os.path.join(folder, ".data") for folder in folders]
    try:
        import cupy

        toolkit = cupy.cuda.get_cuda_path()
    except Exception:  # a CuPy that does not import knows no places; what it lacks is its own news
        return found
    return [*([toolkit] if toolkit else []), *found]


# ---- headers and versions ------------------------------------------------------------------------


@lru_cache(maxsize=1)
def include_folders() -> tuple[str, ...]:
    """Folders that a compiler must search for ``cuda_fp16.h`` and what it includes, all of one
    version of CUDA; empty where no place has that header.
    """
    best: tuple[str, ...] = ()
    for folders in _header_places():
        whole = _with_bundled(folders)
        if _has(folders, HEADERS[0]) and _complete(whole) > _complete(best):
            best = whole
    return best


def _with_bundled(folders: tuple[str, ...]) -> tuple[str, ...]:
    """CuPy carries the C++ headers that NVIDIA's wheel of the runtime leaves out."""
    for folder in _package_folders("cupy"):
        bundled = os.path.join(folder, "_core", "include", "cupy", "_cccl", "libcudacxx")
        if not _has(folders, HEADERS[2]) and _has((bundled,), HEADERS[2]):
            return (*folders, bundled)
    return folders


def _header_places() -> Iterator[tuple[str, ...]]:
    """Sets of include folders that belong together, best first."""
    single: list[str] = []
    for root in _wheels():
        if os.path.basename(root).startswith("cu1"):
            yield _includes([root])
        elif os.path.basename(root).startswith("cuda_"):
            single.append(root)
    yield _includes(single)
    for root in (*_environment(), *_toolkits()):
        yield _includes([root])
    for root in _cupy():
        yield _includes([root])


def _includes(roots: list[str]) -> tuple[str, ...]:
    """``include`` of each folder, and the folder of C++ headers within it."""
    found = [os.path.join(root, "include", part) for root in roots for part in ("", "cccl")]
    return tuple(folder.rstrip("/") for folder in found if os.path.isdir(folder))


def _has(folders: tuple[str, ...], header: str) -> bool:
    return any(os.path.exists(os.path.join(folder, header)) for folder in folders)


def _complete(folders: tuple[str, ...]) -> int:
    return sum(_has(folders, header) for header in HEADERS)


def _number(value: int) -> str:
    """130100 is 13.1.0."""
    return f"{value // 10000}.{value % 10000 // 100}.{value % 100}"


def _cublaslt_version(library: Any) -> str:
    library.cublasLtGetVersion.restype = ctypes.c_size_t
    return _number(library.cublasLtGetVersion())


def _cudnn_version(library: Any) -> str:
    library.cudnnGetVersion.restype = ctypes.c_size_t
    return _number(library.cudnnGetVersion())


def _property_version(function: str) -> Callable[[Any], str]:
    """Of a library that is asked for a part of its version at a time."""

    def version(library: Any) -> str:
        parts = []
        for part in range(3):
            found = ctypes.c_int()
            getattr(library, function)(part, ctypes.byref(found))
            parts.append(str(found.value))
        return ".".join(parts)

    return version


def _nvjitlink_version(library: Any) -> str:
    major, minor = ctypes.c_uint(), ctypes.c_uint()
    library.nvJitLinkVersion(ctypes.byref(major), ctypes.byref(minor))
    return f"{major.value}.{minor.value}"


def _nvrtc_version(library: Any) -> str:
    major, minor = ctypes.c_int(), ctypes.c_int()
    library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    return f"{major.value}.{minor.value}"


_VERSIONS: dict[str, Callable[[Any], str]] = {
    "cublasLt": _cublaslt_version,
    "nvrtc": _nvrtc_version,
    "cudnn": _cudnn_version,
    "cublas": _property_version("cublasGetProperty"),
    "cufft": _property_version("cufftGetProperty"),
    "nvJitLink": _nvjitlink_version,
    "cusparse": _property_version("cusparseGetProperty"),
    "cusolver": _property_version("cusolverGetProperty"),
}


def versions() -> dict[str, str]:
    """The version of each library that is there, by name; loads them."""
    return {name: _VERSIONS[name](found) for name in LIBRARIES if (found := find(name))}
