"""One launch of a compiled kernel on the CPU, and what is said when it fails.

    run(function, (4, 1, 1), (256, 1, 1), slots, shared=0, order=0, seconds=300, checks=True)

returns whether the result may depend on the order by rounding, or raises DeviceError, with the
kernel's lines: of barriers and warp operations the text's own, of accesses by ``addr2line``.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tracejit import kernels
from tracejit.errors import DeviceError
from tracejit.record import dataclass
from tracejit.runtime.gpu import host_compile
from tracejit.runtime.gpu.device import CudaSource

Dim = tuple[int, int, int]

#: limits of compute capability 9.0: CUDA C++ Programming Guide, "Compute capabilities"
MOST_THREADS = 1024
MOST_BLOCK: Dim = (1024, 1024, 64)
MOST_GRID: Dim = (2**31 - 1, 65535, 65535)
MOST_SHARED = 227 << 10
#: what a kernel may have of it in declarations, and at a launch without asking for more
USUAL_SHARED = 48 << 10


class _Place(ctypes.Structure):
    _fields_ = [
        ("file", ctypes.c_char_p),
        ("line", ctypes.c_int32),
        ("known", ctypes.c_int32),
        ("pc", ctypes.c_void_p),
        ("thread", ctypes.c_uint32 * 3),
        ("block", ctypes.c_uint32 * 3),
    ]


class _Failure(ctypes.Structure):
    _fields_ = [
        ("what", ctypes.c_char * 240),
        ("other_what", ctypes.c_char * 80),
        ("here", _Place),
        ("other", _Place),
        ("address", ctypes.c_uint64),
        ("size", ctypes.c_uint64),
    ]


class _Launch(ctypes.Structure):
    """CudaOnCpuLaunch of kernels/cuda_on_cpu_runtime.h."""

    _fields_ = [
        ("kernel", ctypes.POINTER(host_compile.KernelRecord)),
        ("arguments", ctypes.c_void_p),
        ("grid", ctypes.c_uint32 * 3),
        ("block", ctypes.c_uint32 * 3),
        ("shared", ctypes.c_uint64),
        ("order", ctypes.c_uint64),
        ("checks", ctypes.c_int32),
        ("seconds", ctypes.c_int32),
        ("rounds", ctypes.c_int32),
        ("unused", ctypes.c_int32),
        ("failure", _Failure),
    ]


@dataclass(frozen=True)
class HostFunction:
    """A kernel that a HostDevice launches. ``kinds`` and ``sizes``: of each parameter, p pointer, i
    u f b numbers, s else; and its bytes. ``static``: bytes of declared shared memory.
    """

    source: CudaSource
    entry: host_compile.Entry
    kinds: str
    sizes: tuple[int, ...]
    static: int

    def __repr__(self) -> str:
        return f"<kernel {self.source.name} on the CPU>"


def host_function(source: CudaSource, entry: host_compile.Entry) -> HostFunction:
    """What a launch needs to know of a compiled kernel. Raises DeviceError for too much shared
    memory.
    """
    record = entry.record
    static = sum(
        ends[1] - ends[0] for ends in (record.shared, record.common) if ends[0] and ends[1]
    )
    if static > USUAL_SHARED:
        raise DeviceError(
            f"kernel {source.name} declares {static} bytes of shared memory; declarations may take "
            f"{USUAL_SHARED}",
            hint="more than that is had by extern __shared__ and the launch",
        )
    return HostFunction(
        source, entry, record.kinds.decode(), tuple(record.sizes[: record.count]), static
    )


# ---- arguments -----------------------------------------------------------------------------------


def pack(function: HostFunction, args: Sequence[Any]) -> np.ndarray:
    """The arguments, each in 16 bytes or more, as slots that the kernel's parameters are read from.

    Raises DeviceError when their number or a kind differs from the kernel's parameters.
    """
    name, sizes = function.source.name, function.sizes
    if len(args) != len(sizes):
        raise DeviceError(f"kernel {name} has {len(sizes)} parameters; {len(args)} were given")
    width = max((16, *sizes))
    slots = np.zeros((len(args), -(-width // 16) * 16), np.uint8)
    declared = function.source.arguments or (None,) * len(args)
    for k, (arg, kind, size) in enumerate(zip(args, function.kinds, sizes, strict=True)):
        data = _bytes_of(arg)
        if data is None or len(data) != size or not _fits(arg, kind, size):
            given = "an int, which is 8 bytes" if isinstance(arg, int) else _said(arg)
            raise DeviceError(
                f"kernel {name}: parameter {k + 1} is {_PARAMETERS[kind]} of {size} bytes; it was "
                f"given {given}",
                hint="numbers of other sizes are NumPy scalars, as np.int32(3)" * (size != 8),
            )
        if declared[k] is not None and (declared[k] == "p") != (kind == "p"):
            raise DeviceError(
                f"kernel {name}: parameter {k + 1} is {_PARAMETERS[kind]}, and is declared as "
                f"{declared[k]!r}"
            )
        slots[k, :size] = np.frombuffer(data, np.uint8)
    return slots


_PARAMETERS = {
    "p": "a pointer",
    "i": "an integer",
    "u": "an unsigned integer",
    "f": "a floating-point number",
    "b": "a bool",
    "s": "a structure",
}
_LEGAL = {"p": "iu", "i": "iu", "u": "iu", "f": "f", "b": "b", "s": "ifuVbc"}


def _bytes_of(arg: Any) -> bytes | None:
    if isinstance(arg, int) and not isinstance(arg, bool):
        return (arg & (2**64 - 1)).to_bytes(8, "little")
    if isinstance(arg, np.generic) or (isinstance(arg, np.ndarray) and arg.size == 1):
        return arg.tobytes()
    return None


def _fits(arg: Any, kind: str, size: int) -> bool:
    if isinstance(arg, int):
        return kind in "piu"
    return arg.dtype.kind in _LEGAL[kind] or (kind in "su" and size == 2)  # bfloat16, as its bits


def _said(arg: Any) -> str:
    return f"{type(arg).__name__}" + (f" ({arg.dtype})" if hasattr(arg, "dtype") else "")


def check_limits(function: HostFunction, grid: Dim, block: Dim, shared: int) -> None:
    """Raises DeviceError for what no GPU of this kind would launch."""
    name, threads = function.source.name, block[0] * block[1] * block[2]
    if min(block) < 1 or threads > MOST_THREADS or any(map(int.__gt__, block, MOST_BLOCK)):
        raise DeviceError(f"kernel {name}: a block of {block} threads; the limit is {MOST_THREADS}")
    if min(grid) < 0 or any(map(int.__gt__, grid, MOST_GRID)):
        raise DeviceError(f"kernel {name}: a grid of {grid} blocks; the limits are {MOST_GRID}")
    most = MOST_SHARED if function.source.shared > USUAL_SHARED else USUAL_SHARED
    if shared < 0 or shared + function.static > most:
        raise DeviceError(
            f"kernel {name}: {shared} + {function.static} bytes of shared memory; the limit is "
            f"{most}",
            hint="more than 48 KiB is asked for by CudaSource.shared" if most < MOST_SHARED else "",
        )


# ---- running -------------------------------------------------------------------------------------

#: the runtime has one launch at a time in a process
RUNNING = threading.RLock()


def run(
    function: HostFunction,
    grid: Dim,
    block: Dim,
    slots: np.ndarray,
    *,
    shared: int,
    order: int,
    seconds: int,
    checks: bool,
    describe: Callable[[int, int], str],
) -> bool:
    """Run a kernel to its end. ``describe(address, size)`` says what memory an address is near."""
    pointers = slots.ctypes.data + slots.shape[1] * np.arange(len(slots), dtype=np.uint64)
    launch = _Launch(
        kernel=ctypes.pointer(function.entry.record),
        arguments=pointers.ctypes.data,
        grid=grid,
        block=block,
        shared=shared,
        order=order,
        checks=checks,
        seconds=seconds,
    )
    with RUNNING:
        failed = host_compile.runtime().cuda_on_cpu_run(ctypes.byref(launch))
    if failed:
        raise _explained(function, launch, describe)
    return bool(launch.rounds)


def track(address: int, nbytes: int, live: bool) -> None:
    """Kernels with checks may use this memory, or no longer."""
    with RUNNING:
        tracker = host_compile.runtime().cuda_on_cpu_track
        tracker(ctypes.c_uint64(address), ctypes.c_uint64(nbytes), ctypes.c_int(live))


# ---- messages ------------------------------------------------------------------------------------


def _explained(
    function: HostFunction, launch: _Launch, describe: Callable[[int, int], str]
) -> DeviceError:
    failure = launch.failure
    what = failure.what.decode(errors="replace")
    notes = _lines_of(function, failure.here)
    if failure.other.known:
        notes += [failure.other_what.decode(), *_lines_of(function, failure.other)]
    if failure.address:
        shared = function.static + launch.shared
        near = f"the block has {shared} bytes of it" if "shared" in what else ""
        notes.append(near or describe(failure.address, failure.size))
    unknown = failure.here.file is None and not launch.checks
    return DeviceError(
        f"kernel {function.source.name}: {what}",
        notes=tuple(filter(None, notes)),
        hint="debug.cuda_on_cpu(checks=True) names the line" if unknown else "",
    )


def _lines_of(function: HostFunction, place: _Place) -> list[str]:
    """The line of a place, its text, and who was there."""
    file, line = (place.file.decode() if place.file else ""), place.line
    if not file and place.pc:
        file, line = _line_of_code(function, place.pc)
    thread, block = (_index(place.thread), _index(place.block))
    who = f"thread {thread} of block {block}"
    if not file:
        return [who]
    if file in kernels.names():
        where, text = file, kernels.read(file)
    else:
        where, text = _origin(function.source, line), function.source.text
    lines = text.splitlines()
    shown = f"    {lines[line - 1].strip()}" if 0 < line <= len(lines) else ""
    return [f"{where}: {who}", *filter(None, [shown])]


def _origin(source: CudaSource, line: int) -> str:
    if source.origin is None:
        return f"{source.name}, line {line}"
    file, first = source.origin
    return f"{file}:{first + line - 1}"


def _index(index: Any) -> str:
    x, y, z = index
    return str(x) if not y and not z else str((x, y, z))


def _line_of_code(function: HostFunction, pc: int) -> tuple[str, int]:
    """The file and line of the call before a return address, where the code has lines."""
    begin, end = function.entry.record.image
    tool = shutil.which("addr2line")
    if tool is None or not begin <= pc < end:
        return "", 0
    command = [tool, "-i", "-e", function.entry.path, hex(pc - begin - 1)]
    done = subprocess.run(command, capture_output=True, text=True)
    for found in done.stdout.split("\n"):  # of inlined functions the innermost comes first
        path, _, number = found.partition(" ")[0].rpartition(":")
        name = os.path.basename(path)
        if number.isdigit() and not name.startswith("cuda_on_cpu"):
            return name, int(number)
    return "", 0
