"""What this machine can do: copies and fused multiply-adds by generated code; and its description.

    machine = Machine()
    machine.copy_rate(8_000_000, threads=2)     bytes read and written per second
    machine.fma_rate("f32", threads=2)          additions and multiplications per second
    describe(threads=2)                         processor, caches, versions

Peaks are measured in a process that has imported tracejit (a worker): the loops are in the Kernel
IR, compiled by LLVM and shared by the same threads as the kernels that are compared with them.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import math
import os
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

CHAINS = 12  # multiply-adds in flight: more than latency times ports of any CPU so far
#: bytes read and written in all: in a core's own cache; an array of 1000x1000 f32 and its copy;
#: past the caches
FOOTPRINTS = (256_000, 8_000_000, 128_000_000)
#: bytes or flops of one timed call, so that the call itself does not count
LONG_COPY, LONG_SUM = 2**26, 2e8

COPY = """\
kernel copy_peak[n0,n1,repeats](in x: f32[n0,n1], out y: f32[n0,n1])
  par i in n0:
    seq r in repeats:
      vec({width}x4) j in n1:
        y[i, j] = x[i, j]
"""

#: the same with the C library's memcpy, which knows its CPU, and what calls a kernel repeatedly
LOOPS = """\
define void @memcpy_peak(ptr %args, ptr %dims, ptr %steps, ptr %data) {
entry:
  %pairs = load ptr, ptr %args
  %chunks = load i64, ptr %dims
  %last = add i64 %chunks, -1
  %place = mul i64 %last, 2
  %next = add i64 %place, 1
  %high_at = getelementptr i64, ptr %pairs, i64 %next
  %low = load i64, ptr %pairs
  %high = load i64, ptr %high_at
  %cells = getelementptr ptr, ptr %data, i64 1
  %x = load ptr, ptr %data
  %y = load ptr, ptr %cells
  %row_at = getelementptr i64, ptr %data, i64 2
  %row = load i64, ptr %row_at
  %repeats_at = getelementptr i64, ptr %data, i64 3
  %repeats = load i64, ptr %repeats_at
  %start = mul i64 %low, %row
  %rows = sub i64 %high, %low
  %bytes = mul i64 %rows, %row
  %from = getelementptr i8, ptr %x, i64 %start
  %to = getelementptr i8, ptr %y, i64 %start
  br label %loop
loop:
  %r = phi i64 [ 0, %entry ], [ %r1, %loop ]
  call ptr @memcpy(ptr %to, ptr %from, i64 %bytes)
  %r1 = add i64 %r, 1
  %more = icmp slt i64 %r1, %repeats
  br i1 %more, label %loop, label %done
done:
  ret void
}
declare ptr @memcpy(ptr, ptr, i64)
define void @repeat(ptr %fn, ptr %args, ptr %dims, ptr %steps, ptr %data, i64 %count) {
entry:
  br label %loop
loop:
  %r = phi i64 [ 0, %entry ], [ %r1, %loop ]
  call void %fn(ptr %args, ptr %dims, ptr %steps, ptr %data)
  %r1 = add i64 %r, 1
  %more = icmp slt i64 %r1, %count
  br i1 %more, label %loop, label %done
done:
  ret void
}
define void @repeat_split(ptr %pool, ptr %fn, ptr %args, ptr %dims, ptr %steps, ptr %data,
                          i32 %threads, i64 %count) {
entry:
  br label %loop
loop:
  %r = phi i64 [ 0, %entry ], [ %r1, %loop ]
  call void %pool(ptr %fn, ptr %args, ptr %dims, ptr %steps, ptr %data, i64 0, i64 1, i32 %threads)
  %r1 = add i64 %r, 1
  %more = icmp slt i64 %r1, %count
  br i1 %more, label %loop, label %done
done:
  ret void
}
"""


def fma_text(width: int, dtype: str = "f32") -> str:
    """A kernel that multiplies and adds ``repeats`` times on CHAINS vectors in registers."""
    chains = range(CHAINS)
    names = [f"a{k}" for k in chains]
    total = names[0]
    for name in names[1:]:
        total = f"add({total}, {name})"
    shape = f"{dtype}[n0,{width}]"
    return "\n".join(
        [
            f"kernel fma_peak_{dtype}[n0,repeats](in x: {shape}, out y: {shape})",
            "  par i in n0:",
            f"    vec({width}x1) j in {width}:",
            f"      b: {dtype} = x[i, j]",
            f"      a0: {dtype} = b",
            *[f"      a{k}: {dtype} = add(a{k - 1}, b)" for k in chains[1:]],
            "      seq r in repeats:",
            *[f"        {name} = fma({name}, b, b)" for name in names],
            f"      y[i, j] = {total}",
            "",
        ]
    )


class Native:
    """A compiled kernel with its arguments in place: ``run(count)`` calls it ``count`` times."""

    def __init__(
        self,
        address: int,
        arrays: Sequence[np.ndarray],
        extra: Sequence[int] = (),
        *,
        rows: int = 1,
        threads: int = 1,
    ) -> None:
        from tracejit.runtime import native

        self.flag = np.zeros(1, np.int64)
        addresses = [a.ctypes.data for a in arrays]
        self.cells = np.array([*addresses, *extra, self.flag.ctypes.data], np.uint64)
        chunks = max(1, min(threads, rows))
        bounds = np.linspace(0, rows, chunks + 1).astype(np.int64)
        self.pairs = np.ascontiguousarray(np.stack([bounds[:-1], bounds[1:]], axis=1))
        self.head = np.array([self.pairs.ctypes.data, chunks, 16], np.uint64)
        self.arrays = arrays
        places = [self.head.ctypes.data + 8 * k for k in range(3)]
        pointers = [address, *places, self.cells.ctypes.data]
        loops = _loops()
        if chunks > 1:
            split = ctypes.CFUNCTYPE(None, *(ctypes.c_void_p,) * 6, ctypes.c_int32, ctypes.c_int64)(
                loops["repeat_split"]
            )
            pool = native.thread_pool().address
            self.run: Callable[[int], None] = lambda count: split(pool, *pointers, threads, count)
        else:
            once = ctypes.CFUNCTYPE(None, *(ctypes.c_void_p,) * 5, ctypes.c_int64)(loops["repeat"])
            self.run = lambda count: once(*pointers, count)


#: machine code by its text, kept while the process lives
_CODE: dict[str, Any] = {}


def _loops() -> dict[str, int]:
    """Addresses of the functions in LOOPS, compiled once."""
    from tracejit.runtime import native

    if LOOPS not in _CODE:
        _CODE[LOOPS] = native.compile_llvm(LOOPS, ["memcpy_peak", "repeat", "repeat_split"])
    return dict(_CODE[LOOPS].addresses)


def batches(run: Callable[[int], None], seconds: float = 0.2) -> list[float]:
    """Seconds per call: samples of at least 200 us each, ``seconds`` of them in all."""
    run(1)
    start = time.perf_counter()
    run(1)
    count = max(1, math.ceil(200e-6 / max(time.perf_counter() - start, 1e-8)))
    samples: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(samples) < 3:
        start = time.perf_counter()
        run(count)
        samples.append((time.perf_counter() - start) / count)
    return samples


class Machine:
    """Peaks of this machine. ``copy`` and ``fma`` give functions to time, the rest times them."""

    def __init__(self) -> None:
        from tracejit.runtime.native import host_target

        self.vector_bytes = host_target().vector_bytes

    def address(self, text: str) -> int:
        """A kernel given as text, compiled."""
        from tracejit.codegen.llvm import print_llvm
        from tracejit.kernel.text import parse
        from tracejit.runtime import native

        if text not in _CODE:
            kernel = parse(text)
            printed = print_llvm(kernel, native.host_target())
            _CODE[text] = native.compile_llvm(printed, [kernel.name])
        (address,) = _CODE[text].addresses.values()
        return int(address)

    def copy(self, nbytes: int, threads: int, how: str = "kernel") -> tuple[Native, float]:
        """A copy that touches ``nbytes``, many times over, and the bytes it touches in all.

        ``how``: kernel, a generated loop; memcpy, the C library's.
        """
        columns = max(nbytes // (8 * threads), 64)
        x = np.ones((threads, columns), np.float32)
        y = np.zeros_like(x)
        repeats = max(1, LONG_COPY // (2 * x.nbytes))
        if how == "memcpy":
            address, extra = _loops()["memcpy_peak"], (x.nbytes // threads, repeats)
        else:
            address = self.address(COPY.format(width=self.vector_bytes // 4))
            extra = (threads, columns, repeats)
        return Native(address, [x, y], extra, rows=threads, threads=threads), 2.0 * (
            x.nbytes * repeats
        )

    def fma(self, dtype: str, threads: int) -> tuple[Native, float]:
        """A loop of multiply-adds in registers, and its additions and multiplications."""
        number = np.dtype({"f32": np.float32, "f64": np.float64}[dtype])
        width = self.vector_bytes // number.itemsize
        x = np.full((threads, width), 0.5, number)
        repeats = int(LONG_SUM / (2 * width * CHAINS))
        address = self.address(fma_text(width, dtype))
        native = Native(
            address, [x, np.zeros_like(x)], (threads, repeats), rows=threads, threads=threads
        )
        return native, 2.0 * x.size * CHAINS * repeats

    def better_copy(self, nbytes: int, threads: int) -> tuple[Native, float]:
        """The faster of the two ways to copy."""
        found = [self.copy(nbytes, threads, how) for how in ("kernel", "memcpy")]
        return max(found, key=lambda pair: pair[1] / min(batches(pair[0].run, 0.05)))

    def copy_rate(self, nbytes: int, threads: int, how: str = "", seconds: float = 0.2) -> float:
        """The most bytes per second; by the faster way unless ``how`` names one."""
        chosen = self.copy(nbytes, threads, how) if how else self.better_copy(nbytes, threads)
        return chosen[1] / min(batches(chosen[0].run, seconds))

    def fma_rate(self, dtype: str, threads: int, seconds: float = 0.2) -> float:
        """The most additions and multiplications per second."""
        native, amount = self.fma(dtype, threads)
        return amount / min(batches(native.run, seconds))

    def peaks(self, threads: Sequence[int], seconds: float = 0.2) -> dict[str, Any]:
        """All peaks: ``copy`` by footprint and number of threads, ``fma`` by dtype and threads."""
        ways = ("kernel", "memcpy")
        return {
            "vector_bytes": self.vector_bytes,
            "copy": {
                str(n): {
                    str(t): {how: self.copy_rate(n, t, how, seconds) for how in ways}
                    for t in threads
                }
                for n in FOOTPRINTS
            },
            "fma": {
                dtype: {str(t): self.fma_rate(dtype, t, seconds) for t in threads}
                for dtype in ("f32", "f64")
            },
        }


# ---- description ---------------------------------------------------------------------------------


def processor_name(cpuinfo: str) -> str:
    """The processor in the text of /proc/cpuinfo; family and model where its name says little."""
    fields = dict(
        (part.strip() for part in line.split(":", 1))
        for line in cpuinfo.splitlines()
        if ":" in line
    )
    name = fields.get("model name") or platform.processor() or platform.machine()
    if "cpu family" in fields and "model" in fields:
        name += f" (family {fields['cpu family']}, model {fields['model']})"
    return name


def describe(threads: int) -> dict[str, Any]:
    """What figures are measured on; nothing is imported for it."""
    try:
        cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        cpuinfo = ""
    versions = {}
    for package in ("numpy", "scipy", "llvmlite", "jax", "jaxlib", "torch"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "processor": processor_name(cpuinfo),
        "cpus": os.cpu_count(),
        "threads": threads,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": versions,
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "date": time.strftime("%Y-%m-%d"),
    }
