"""CUDA C to machine code, by NVRTC: no GPU and no driver are needed for that.

    images = compile_cubin([CudaSource(...), ...], arch=90)      {"softmax_3f": b"\\x7fELF...", ...}
    inspect(images["softmax_3f"])["softmax_3f"]                  Resources(registers=32, ...)
    sass(images["softmax_3f"])                                   its instructions, as text

Several kernels go into one program, and as many programs side by side as there are processors: a
program takes 30 ms before its first kernel. 50 kernels on two processors: 2.4 s one by one, 1.0 s
as one program, 0.5 s as two. Kernels of one program have one and the same image (the same object).
The disk cache knows an image by the texts of all its kernels, and each kernel by a note of that.
For a GPU newer than NVRTC an image is PTX, which the driver finishes when it is loaded.
"""

from __future__ import annotations

import ctypes
import glob
import os
import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, NamedTuple

from tracejit import kernels
from tracejit.errors import BackendError, DeviceError
from tracejit.kernel.gpu.source import CudaSource
from tracejit.record import dataclass
from tracejit.runtime.cache import key_of, object_cache
from tracejit.runtime.gpu import shared

HEADER = "tracejit.cuh"
#: what a program is called in messages
_FILE = "kernel.cu"
#: unused variables are common in generated code
_OPTIONS = ("-std=c++17", "-diag-suppress=177")
_PLACE = re.compile(rf"{re.escape(_FILE)}\((\d+)\): (?:catastrophic )?(error|warning)[^:]*: (.*)")


@dataclass(frozen=True)
class Resources:
    """What a kernel takes: registers of a thread; bytes of shared memory of a block, besides what
    the launch asks for (from 9.0 on with the kilobyte that the system takes beside it); bytes of
    local memory of a thread (arrays and values that did not fit into registers: slow).
    """

    registers: int
    shared: int
    local: int


@dataclass(frozen=True)
class _Program:
    """Kernels to compile together: they agree in ``contract``, and users' kernels stay alone."""

    sources: tuple[CudaSource, ...]

    def text(self) -> str:
        """The whole text; the first line of each kernel's is ``starts()``."""
        return self._head() + "\n".join(source.text for source in self.sources)

    def _head(self) -> str:
        return kernels.read(HEADER) + "\n" if self.sources[0].header else ""

    def starts(self) -> list[int]:
        """The number of lines in front of each kernel."""
        line, found = self._head().count("\n"), []
        for source in self.sources:
            found.append(line)
            line += source.text.count("\n") + 1
        return found

    def options(self, arch: int) -> tuple[str, ...]:
        fused = "true" if self.sources[0].contract else "false"
        found = [f"-arch={form(arch)}", *_OPTIONS, f"-fmad={fused}"]
        if any("tj_complex" in source.text for source in self.sources):
            found.append("-DTJ_COMPLEX")
        if self.sources[0].arguments is not None:
            found += [f"-I{folder}" for folder in shared.include_folders()]
        return tuple(found)


def compile_cubin(sources: Sequence[CudaSource], arch: int) -> dict[str, bytes]:
    """Machine code for compute capability ``arch`` (90 is 9.0), or PTX, by kernel name.

    Raises BackendError with the compiler's message and the line it means, or where there is no
    NVRTC; DeviceError where NVRTC no longer knows ``arch``.
    """
    images: dict[str, bytes] = {}
    known: dict[bytes, bytes] = {}  # those found, by their notes
    missing = [source for source in sources if not _find(source, arch, images, known)]
    programs = _programs(missing, os.cpu_count() or 1)
    if not programs:
        return images
    library = _library()
    with ThreadPoolExecutor(len(programs)) as pool:
        made = list(pool.map(lambda program: _compile(library, program, arch), programs))
    for program, image in zip(programs, made, strict=True):
        _keep(program, arch, image)
        images |= dict.fromkeys((source.name for source in program.sources), image)
    return images


def _programs(sources: Sequence[CudaSource], count: int) -> list[_Program]:
    """About ``count`` programs of like lengths."""
    alone = [_Program((source,)) for source in sources if source.arguments is not None]
    kinds: dict[tuple[bool, bool], list[CudaSource]] = {}
    for source in sources:
        if source.arguments is None:
            kinds.setdefault((source.contract, source.header), []).append(source)
    for same in kinds.values():
        bundles: list[list[CudaSource]] = [[] for _ in range(min(count, len(same)))]
        lengths = [0] * len(bundles)
        for source in sorted(same, key=lambda source: -len(source.text)):
            shortest = lengths.index(min(lengths))
            bundles[shortest].append(source)
            lengths[shortest] += len(source.text)
        alone += [_Program(tuple(bundle)) for bundle in bundles]
    return alone


# ---- the disk cache ------------------------------------------------------------------------------


def _kernel_key(source: CudaSource, arch: int) -> bytes:
    """Known by everything but comments in front, which name the user's lines."""
    lines = source.text.split("\n")
    first = next((k for k, line in enumerate(lines) if not line.startswith("//")), 0)
    parts = ("cuda", source.name, "\n".join(lines[first:]), version())
    return key_of(*parts, " ".join(_Program((source,)).options(arch)), _header(source.header))


def _header(wanted: bool) -> str:
    return kernels.read(HEADER) if wanted else ""


def _find(
    source: CudaSource, arch: int, images: dict[str, bytes], known: dict[bytes, bytes]
) -> bool:
    """Put the image of a kernel into ``images`` if the disk has it."""
    cache = object_cache()
    note = cache.get(_kernel_key(source, arch)) if cache is not None else None
    if cache is None or note is None:
        return False
    image = known.get(note) or cache.get(note)
    if image is None:
        return False
    images[source.name] = known[note] = image
    return True


def _keep(program: _Program, arch: int, image: bytes) -> None:
    cache = object_cache()
    if cache is not None:
        note = key_of(image)
        cache.put(note, image)
        for source in program.sources:
            cache.put(_kernel_key(source, arch), note)


# ---- NVRTC ---------------------------------------------------------------------------------------


def _library() -> Any:
    found = shared.find("nvrtc")
    if found is None:
        raise BackendError(f"CUDA C cannot be compiled: {shared.why_missing('nvrtc')}")
    return found


@lru_cache(maxsize=1)
def architectures() -> tuple[int, ...]:
    """What NVRTC compiles for, 90 for compute capability 9.0."""
    library, count = _library(), ctypes.c_int()
    library.nvrtcGetNumSupportedArchs(ctypes.byref(count))
    found = (ctypes.c_int * count.value)()
    library.nvrtcGetSupportedArchs(found)
    return tuple(sorted(found))


def form(arch: int) -> str:
    """What code for a GPU is compiled to: its machine code, or the PTX of the newest older GPU that
    NVRTC knows. Raises DeviceError for one older than those.

    >>> form(90), form(91)  # doctest: +SKIP
    ('sm_90', 'compute_90')
    """
    known = architectures()
    if arch in known:
        return f"sm_{arch}"
    if arch < known[0]:
        raise DeviceError(
            f"the GPU's compute capability {arch // 10}.{arch % 10} is older than "
            f"{known[0] // 10}.{known[0] % 10}, the oldest that NVRTC {version()} compiles for",
            hint="libraries of an older CUDA know it: pip install 'tracejit[cuda12]'",
        )
    return f"compute_{max(one for one in known if one < arch)}"


@lru_cache(maxsize=1)
def version() -> str:
    """Of NVRTC."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    _library().nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    return f"{major.value}.{minor.value}"


def _compile(library: Any, program: _Program, arch: int) -> bytes:
    handle = ctypes.c_void_p()
    text = program.text()
    status = library.nvrtcCreateProgram(
        ctypes.byref(handle), text.encode(), _FILE.encode(), 0, None, None
    )
    if status:
        raise BackendError(f"NVRTC: a program cannot be made (status {status})")
    try:
        options = [option.encode() for option in program.options(arch)]
        array = (ctypes.c_char_p * len(options))(*options)
        status = library.nvrtcCompileProgram(handle, len(options), array)
        if status:
            log = _result(library, "ProgramLog", handle).rstrip(b"\0").decode(errors="replace")
            raise _failure(program, text, log, status)
        return _result(library, "PTX" if form(arch).startswith("compute") else "CUBIN", handle)
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(handle))


def _result(library: Any, what: str, handle: ctypes.c_void_p) -> bytes:
    size = ctypes.c_size_t()
    getattr(library, f"nvrtcGet{what}Size")(handle, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    getattr(library, f"nvrtcGet{what}")(handle, buffer)
    return buffer.raw


def _failure(program: _Program, text: str, log: str, status: int) -> BackendError:
    """What the compiler said, by the kernel's own lines."""
    errors = [m for m in _PLACE.finditer(log) if m[2] == "error"]
    if not errors:
        names = ", ".join(source.name for source in program.sources)
        return BackendError(f"NVRTC (status {status}) cannot compile {names}:\n{log.strip()}")
    lines, starts, said = text.split("\n"), program.starts(), []
    named = ""
    for error in errors[:5]:
        number = int(error[1])
        k = max((k for k, start in enumerate(starts) if start < number), default=0)
        source, own = program.sources[k], number - starts[k]
        place = f"line {own}" if source.origin is None else f"line {own} ({_origin(source, own)})"
        named = named or source.name
        where = lines[number - 1].strip()
        said.append(f"  {source.name}, {place}: {error[3]}\n    {where}")
    return BackendError(f"NVRTC cannot compile kernel {named}:\n" + "\n".join(said))


def _origin(source: CudaSource, line: int) -> str:
    assert source.origin is not None
    file, first = source.origin
    return f"{file}:{first + line - 1}"


# ---- what came out -------------------------------------------------------------------------------


def inspect(cubin: bytes) -> dict[str, Resources]:
    """What each kernel of an image takes, read from its ELF sections."""
    sections = _sections(cubin)
    registers, local = _attributes(sections, cubin)
    found = {}
    for name, _ in sections.items():
        if name.startswith(".text."):
            kernel = name.removeprefix(".text.")
            size = sections.get(f".nv.shared.{kernel}", _Section(0, 0)).size
            found[kernel] = Resources(registers[kernel], size, local.get(kernel, 0))
    return found


class _Section(NamedTuple):
    offset: int
    size: int


def _sections(cubin: bytes) -> dict[str, _Section]:
    """ELF sections by name."""
    (table,) = struct.unpack_from("<Q", cubin, 0x28)
    size, count, names = struct.unpack_from("<HHH", cubin, 0x3A)
    heads = [struct.unpack_from("<I20xQQ", cubin, table + k * size) for k in range(count)]
    found = {}
    for name, offset, length in heads:
        start = heads[names][1] + name
        found[cubin[start : cubin.index(b"\0", start)].decode()] = _Section(offset, length)
    return found


#: attributes in .nv.info that have a value of their own: of a stack frame's size, of registers
_FRAME, _REGISTERS, _VALUE = 0x11, 0x2F, 4


def _attributes(
    sections: dict[str, _Section], cubin: bytes
) -> tuple[dict[str, int], dict[str, int]]:
    """Registers and bytes of local memory by kernel: records of (symbol, number)."""
    symbols, strings = sections[".symtab"].offset, sections[".strtab"].offset
    at, size = sections[".nv.info"]
    end, found = at + size, dict[int, dict[str, int]]()
    while at < end:
        form, attribute, length = struct.unpack_from("<BBH", cubin, at)
        at += 4
        if form != _VALUE:  # what it says is in the place of the length
            continue
        if attribute in (_FRAME, _REGISTERS):
            symbol, number = struct.unpack_from("<II", cubin, at)
            name = strings + struct.unpack_from("<I", cubin, symbols + 24 * symbol)[0]
            text = cubin[name : cubin.index(b"\0", name)].decode()
            found.setdefault(attribute, {})[text] = number
        at += length
    return found.get(_REGISTERS, {}), found.get(_FRAME, {})


def sass(cubin: bytes) -> str:
    """The instructions of an image, by cuobjdump. Raises BackendError where that is not there."""
    program = tool("cuobjdump")
    if program is None:
        raise BackendError("cuobjdump was not found: pip install nvidia-cuda-cuobjdump")
    return _run(program, "--dump-sass", cubin)


def _run(tool: str, option: str, cubin: bytes) -> str:
    """What a program of the toolkit says of an image; it finds its helpers beside itself."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        path = os.pathsep.join([os.path.dirname(tool), os.defpath])
        command = [tool, option, file.name]
        done = subprocess.run(command, capture_output=True, text=True, env={"PATH": path})
    if done.returncode:
        raise BackendError(f"{os.path.basename(tool)}: {done.stderr.strip()}")
    return done.stdout


@lru_cache(maxsize=8)
def tool(name: str) -> str | None:
    """A program of the CUDA toolkit: next to the libraries, or on the path."""
    roots = {os.path.dirname(folder) for folder in shared.include_folders()}
    places = [found for root in sorted(roots) for found in glob.glob(f"{root}/bin/{name}")]
    return places[0] if places else shutil.which(name)
