"""CUDA C compiled for this machine's processor, by g++.

    entries = compile_kernels([CudaSource("scale", text, header=False)], checks=False)
    entries["scale"].record                     a CudaOnCpuKernel of kernels/cuda_on_cpu_runtime.h

The text stays as it is: ``kernels/cuda_on_cpu.h`` is included in front of it, in a precompiled form
together with ``kernels/tracejit.cuh``, and the result is linked with the runtime, which is compiled
once (kernels/cuda_on_cpu.cpp). Many kernels go into one file, each in a namespace of its own, as
starting a compiler takes longer than compiling a small kernel. What is edited of a text, keeping
its lines: ``extern "C"`` goes, and ``extern __shared__ T s[]`` becomes a pointer.

Object code goes through the disk cache: for each kernel the key of the file that it is part of,
and that file. The runtime and the precompiled headers are in a folder of their own beside it, or in
the system's folder for temporary files where the cache is off.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from tracejit import kernels
from tracejit.config import config
from tracejit.errors import BackendError
from tracejit.record import dataclass
from tracejit.runtime.cache import key_of, object_cache, others_can_write
from tracejit.runtime.gpu.device import CudaSource
from tracejit.runtime.gpu.shared import include_folders

_HEADERS = ("cuda_on_cpu.h", "cuda_on_cpu_math.h", "cuda_on_cpu_runtime.h")
_RUNTIME = ("cuda_on_cpu.cpp", "cuda_on_cpu_checks.cpp")
#: functions for generated kernels
DEVICE_HEADER = "tracejit.cuh"

_FLAGS = (
    *("-std=c++20", "-w", "-fPIC", "-fno-exceptions", "-fno-asynchronous-unwind-tables"),
    # texts read floats as vectors, count on integers that wrap, and say where products fuse
    *("-fno-strict-aliasing", "-fwrapv", "-ffp-contract=off", "-fno-math-errno"),
    # a stack that is too small ends in a guard page, and nowhere else
    *("-fno-threadsafe-statics", "-fvisibility=hidden", "-fstack-clash-protection"),
)
_PLAIN = ("-O1",)
_CHECKED = (
    *("-O1", "-g1", "-fsanitize=thread,alignment,bounds", "-fno-sanitize-recover=all"),
    *("--param", "tsan-instrument-func-entry-exit=0"),
)
#: a file with more than this is split, so that several processors have work
_KERNELS_PER_FILE = 48
_MIN_KERNELS_PER_FILE = 6
_WEEK = 7 * 24 * 3600.0
#: __half is about; its headers take long, so they are for texts that need them
_NEEDS_HALF = re.compile(r"\b(?:__)?(?:half2?|half_raw|nv_bfloat162?)\b|\bcuda_(?:fp16|bf16)\.h\b")
_DIRECTIVE = re.compile(r"^[ \t]*#[ \t]*(?!pragma|line|error)[a-z]", re.MULTILINE)
_INCLUDE = re.compile(r"^[ \t]*#[ \t]*include[ \t]*([<\"][^>\"\n]+[>\"])[^\n]*", re.MULTILINE)
#: what cuda_on_cpu.h stands for
_INCLUDED = re.compile(r"cuda_runtime|cuda_fp16|cuda_bf16|device_launch_parameters|tracejit\.cuh")
_DYNAMIC = re.compile(r"\bextern\s+__shared__\s+(?P<type>[^;\[\]]*?)(?P<name>\w+)\s*\[\s*\]\s*;")
_EXTERN_C = re.compile(r'\bextern[ \t]+"C"([ \t]*\{)?')
_ERROR = re.compile(r"^(?P<file>[^:\n]+):(?P<line>\d+):\d+: (?:fatal )?error: (?P<what>.*)$", re.M)


class KernelRecord(ctypes.Structure):
    """CudaOnCpuKernel of kernels/cuda_on_cpu_runtime.h."""

    _fields_ = [
        ("call", ctypes.c_void_p),
        ("count", ctypes.c_int),
        ("kinds", ctypes.c_char_p),
        ("sizes", ctypes.POINTER(ctypes.c_int)),
        ("shared", ctypes.c_void_p * 2),
        ("common", ctypes.c_void_p * 2),
        ("image", ctypes.c_void_p * 2),
    ]


@dataclass(frozen=True)
class Entry:
    """A kernel in memory: what the runtime calls, and the file that its code is in."""

    record: KernelRecord
    path: str


# ---- the compiler and its folder -----------------------------------------------------------------


@lru_cache(maxsize=1)
def compiler() -> tuple[str, str]:
    """The path of g++, and what tells it from others. Raises BackendError where there is none."""
    path = shutil.which("g++")
    if not sys.platform.startswith("linux"):
        raise BackendError(
            f"kernels for a GPU run on the CPU under Linux only; this is {sys.platform}"
        )
    if path is None:
        raise BackendError(
            "running kernels for a GPU on the CPU takes the compiler g++, which is not there",
            hint="install g++ (Debian, Ubuntu: apt install g++)",
        )
    command = [path, "-dumpfullversion", "-dumpmachine"]
    done = subprocess.run(command, capture_output=True, text=True)
    version = done.stdout.split()
    if done.returncode or not version or int(version[0].split(".")[0]) < 11:
        raise BackendError(
            f"running kernels for a GPU on the CPU takes g++ 11 or later; {path} is "
            f"{' '.join(version) or 'none'}"
        )
    return path, f"{path} {done.stdout} {os.stat(path).st_mtime_ns}"


def _text(name: str) -> str:
    """The text of a kernel source; of one that is not there, none."""
    return kernels.read(name) if name in kernels.names() else ""


@lru_cache(maxsize=1)
def identity() -> bytes:
    """Key of all that object code depends on besides the kernel's text and the checks."""
    texts = (_text(name) for name in (*_HEADERS, *_RUNTIME, DEVICE_HEADER))
    return key_of(compiler()[1], repr((_FLAGS, _PLAIN, _CHECKED)), repr(include_folders()), *texts)


def _own_folder(path: str) -> str:
    os.makedirs(path, mode=0o700, exist_ok=True)
    if why := others_can_write(os.stat(path)):
        raise BackendError(
            f"{path} is not used: {why}", hint="remove it, or move the setting cache"
        )
    return path


def _folder() -> str:
    """Where the runtime and the precompiled headers are; of other versions, those of a week ago
    go.
    """
    temporary = os.path.join(tempfile.gettempdir(), f"tracejit-{os.getuid()}")
    above = _own_folder(config.cache or temporary)
    name = f"cuda_on_cpu-{identity().hex()[:16]}"
    path = os.path.join(above, name)
    if not os.path.isdir(path):
        for other in Path(above).glob("cuda_on_cpu-*"):
            with suppress(OSError):
                if time.time() - other.stat().st_mtime > _WEEK:
                    shutil.rmtree(other, ignore_errors=True)
    return _own_folder(path)


@lru_cache(maxsize=1)
def _scratch() -> str:
    """A folder of this process for objects: code is loaded from files. Gone at its end."""
    path, owner = tempfile.mkdtemp(prefix="tracejit-"), os.getpid()

    def remove() -> None:
        if os.getpid() == owner:  # a child that was forked shares it
            shutil.rmtree(path, ignore_errors=True)

    atexit.register(remove)
    return path


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, errors="replace")


def _made_once(path: str, make: Callable[[str], list[str]]) -> str:
    """A file made by a command under another name, then renamed: others see all of it or none."""
    if not os.path.exists(path):
        new = f"{path}.{os.getpid()}-{threading.get_ident()}"
        done = _run(make(new))
        if done.returncode:
            raise BackendError(f"g++ does not compile {os.path.basename(path)}:\n{done.stderr}")
        os.replace(new, path)
    return path


def _runtime_file(folder: str) -> str:
    sources = [str(kernels.folder() / name) for name in _RUNTIME]
    # kernels are linked with it by this name, and find it because it is loaded
    name = f"libcuda_on_cpu-{identity().hex()[:16]}.so"
    flags = ["-std=c++20", "-O2", "-fPIC", "-shared", "-fno-exceptions", "-fvisibility=hidden"]
    return _made_once(
        os.path.join(folder, name),
        lambda new: [compiler()[0], *flags, f"-Wl,-soname,{name}", *sources, "-lm", "-o", new],
    )


@lru_cache(maxsize=1)
def runtime() -> ctypes.CDLL:
    """The runtime, loaded. A process has one, as launches share its state."""
    return _opened(_runtime_file(_folder()))


def _flags(checks: bool) -> tuple[str, ...]:
    return (*_FLAGS, *(_CHECKED if checks else _PLAIN), f"-I{kernels.folder()}")


def _prefix(folder: str, half: bool, header: bool, checks: bool) -> str:
    """A header with everything that stands in front of kernels, precompiled."""
    name = "kernels" + "-half" * half + "-tracejit" * header + "-checks" * checks + ".h"
    path = os.path.join(folder, name)
    lines = ["#define CUDA_ON_CPU_HALF" if half else "", '#include "cuda_on_cpu.h"']
    if header:
        lines += ["namespace {", f'#line 1 "{DEVICE_HEADER}"', _text(DEVICE_HEADER), "}"]
    if not os.path.exists(path):
        new = f"{path}.{os.getpid()}-{threading.get_ident()}"
        Path(new).write_text("\n".join(lines) + "\n", encoding="utf-8")
        os.replace(new, path)
    # a compiler that cannot use the precompiled form takes the other, as the flags may ask
    command = [compiler()[0], *_flags(checks), *_include_flags(half), "-x", "c++-header", path]
    _made_once(f"{path}.gch", lambda new: [*command, "-o", new])
    return path


def _include_flags(half: bool) -> tuple[str, ...]:
    return tuple(f"-isystem{folder}" for folder in include_folders()) if half else ()


# ---- texts ---------------------------------------------------------------------------------------


def _dynamic(match: re.Match[str]) -> str:
    """A declaration of shared memory whose size the launch says, as a pointer."""
    kind = re.sub(r"__align__\s*\([^)]*\)|alignas\s*\([^)]*\)", "", match["type"]).strip()
    new = f"static {kind}* const {match['name']} = ({kind}*)cuda_on_cpu_dynamic;"
    return new + "\n" * match[0].count("\n")


def _edited(text: str) -> str:
    text = _EXTERN_C.sub(lambda m: "namespace {" if m[1] else "", text)
    return re.sub(r"\bstatic\s+__shared__", "__shared__", _DYNAMIC.sub(_dynamic, text))


def _in_file(source: CudaSource, entry: str) -> str:
    """A kernel's text in its namespace, and what the harness needs of it."""
    text = _INCLUDE.sub("", _edited(source.text))
    space = f"of_{entry}"
    return "\n".join(
        [
            "#undef __shared__",
            f"#define __shared__ CUDA_ON_CPU_SECTION(shared_{entry})",
            f"namespace {{ namespace {space} {{",
            f'#line 1 "{source.name}"',
            text,
            "} }",
            f"CUDA_ON_CPU_KERNEL({entry}, {space}::{source.name})",
        ]
    )


def _includes(source: CudaSource) -> list[str]:
    named = _INCLUDE.findall(source.text)
    return [f"#include {name}" for name in named if not _INCLUDED.search(name)]


def needs_half(source: CudaSource) -> bool:
    """Whether a text needs NVIDIA's headers of 16-bit floats, and they are there."""
    texts = source.text + (_text(DEVICE_HEADER) if source.header else "")
    return bool(_NEEDS_HALF.search(texts)) and bool(include_folders())


# ---- compilation ---------------------------------------------------------------------------------


def _compile(
    folder: str, sources: Sequence[CudaSource], entries: Sequence[str], checks: bool
) -> bytes:
    """The shared object of several kernels that have the same prefix."""
    half = needs_half(sources[0])
    prefix = _prefix(folder, half, sources[0].header and bool(_text(DEVICE_HEADER)), checks)
    stem = os.path.join(_scratch(), f"{entries[0]}-{threading.get_ident()}")
    whole = [line for source in sources for line in _includes(source)]
    whole += [_in_file(source, e) for source, e in zip(sources, entries, strict=True)]
    Path(f"{stem}.cu").write_text("\n".join(whole) + "\n", encoding="utf-8")
    link = ["-shared", "-nostdlib", "-Wl,-z,defs,--build-id=none", "-x", "none"]
    link += [_runtime_file(folder)]
    command = [compiler()[0], *_flags(checks), *_include_flags(half), "-include", prefix]
    command += ["-x", "c++", f"{stem}.cu", *link, "-lm", "-lc", "-lgcc", "-o", f"{stem}.so"]
    done = _run(command)
    if done.returncode:
        if len(sources) > 1:  # which one it is shows when they are alone
            for source, entry in zip(sources, entries, strict=True):
                _compile(folder, [source], [entry], checks)
        raise _refused(sources[0], done.stderr)
    data = Path(f"{stem}.so").read_bytes()
    for suffix in (".cu", ".so"):
        os.unlink(stem + suffix)
    return data


def _refused(source: CudaSource, message: str) -> BackendError:
    found = _ERROR.search(message)
    first = message.strip()
    if found:
        place = f"line {found['line']}"
        if source.origin is not None and found["file"] == source.name:
            place += f" ({source.origin[0]}:{source.origin[1] + int(found['line']) - 1})"
        first = f"{place}: {found['what']}"
    notes = []
    if found and found["file"] == source.name:
        lines = source.text.splitlines()
        number = int(found["line"])
        notes += [f"{number:4} | {lines[number - 1].strip()}"] if number <= len(lines) else []
    elif found:
        notes += [f"in {os.path.basename(found['file'])}"]
    if "cuda_fp16.h" in message or (_NEEDS_HALF.search(source.text) and not include_folders()):
        notes += ["__half and __nv_bfloat16 need NVIDIA's headers, which were not found"]
    said = [line for line in message.splitlines() if "error: " in line][1:6]
    return BackendError(
        f"kernel {source.name} does not compile for the CPU: {first}", notes=(*notes, *said)
    )


def _batches(sources: Sequence[CudaSource]) -> list[list[CudaSource]]:
    """Sources that go into one file: those with macros and includes are alone."""
    batches: list[list[CudaSource]] = []
    groups: dict[tuple[bool, bool], list[CudaSource]] = {}
    for source in sources:
        if _DIRECTIVE.search(source.text):
            batches.append([source])
        else:
            groups.setdefault((source.header, needs_half(source)), []).append(source)
    processors = len(os.sched_getaffinity(0))
    for group in groups.values():
        size = -(-len(group) // processors)
        size = min(max(size, _MIN_KERNELS_PER_FILE), _KERNELS_PER_FILE)
        batches += [group[k : k + size] for k in range(0, len(group), size)]
    return batches


# ---- loading -------------------------------------------------------------------------------------


_lock = threading.RLock()
_files: dict[bytes, tuple[ctypes.CDLL, str]] = {}
_entries: dict[bytes, Entry] = {}


def _key(source: CudaSource, checks: bool) -> bytes:
    return key_of(identity(), source.name, source.text, repr((source.header, checks)))


def _load_file(key: bytes, data: bytes) -> None:
    runtime()
    # a new name: a file that is loaded must not be written to
    handle, path = tempfile.mkstemp(".so", dir=_scratch())
    with open(handle, "wb") as file:
        file.write(data)
    _files[key] = _opened(path), path


def _opened(path: str) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(path)
    except OSError as error:
        raise BackendError(f"code compiled for the CPU does not load: {error}") from error


def _from_disk(key: bytes) -> bytes | None:
    """The key of the file that a kernel is part of, with that file loaded."""
    cache = object_cache()
    file = cache.get(key) if cache is not None else None
    if cache is not None and file is not None and file not in _files:
        data = cache.get(file)
        if data is None:
            return None
        _load_file(file, data)
    return file


def _symbol(key: bytes) -> str:
    return f"k{key.hex()[:24]}"


def _enter(key: bytes, file: bytes) -> None:
    library, path = _files[file]
    _entries[key] = Entry(KernelRecord.in_dll(library, _symbol(key)), path)


def _compile_all(sources: dict[bytes, CudaSource], checks: bool) -> None:
    """Compile kernels, by their keys, on all processors, and load them."""
    keys = {id(source): key for key, source in sources.items()}
    batches = _batches(list(sources.values()))
    folder = _folder()  # here and not in the threads, which know no settings of this one
    cache = object_cache()

    def compile_one(batch: list[CudaSource]) -> bytes:
        return _compile(folder, batch, [_symbol(keys[id(source)]) for source in batch], checks)

    with ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0))) as pool:
        made = list(pool.map(compile_one, batches))
    for batch, data in zip(batches, made, strict=True):
        file = key_of(data)
        _load_file(file, data)
        if cache is not None:
            cache.put(file, data)
        for source in batch:
            key = keys[id(source)]
            if cache is not None:
                cache.put(key, file)
            _enter(key, file)


def compile_kernels(sources: Sequence[CudaSource], checks: bool) -> dict[str, Entry]:
    """Kernels by name, ready to run; each text is compiled once for a process, and with the disk
    cache once for a machine. ``checks``: with what finds wrong accesses of memory.

    Raises BackendError where there is no compiler, or with its message.
    """
    with _lock:
        keys = {source.name: _key(source, checks) for source in sources}
        missing: dict[str, CudaSource] = {}
        for source in sources:
            key = keys[source.name]
            if key in _entries:
                continue
            if (file := _from_disk(key)) is not None:
                _enter(key, file)
            else:
                missing[source.name] = source
        if missing:
            _compile_all({keys[name]: source for name, source in missing.items()}, checks)
        return {name: _entries[key] for name, key in keys.items()}
