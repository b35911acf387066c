"""Inside tracejit: seconds of each stage of a first call, and every kernel on its own.

    stage_seconds(function, arguments, threads=2)          {"trace": 0.004, "passes": 0.002, ...}
    kernel_figures(function, arguments, 2, seconds=0.1)    {"calls": [{"name": ..., "least": ...}]}

In: a jitted function and its arguments, in a worker's process. Out: figures as JSON can hold them.
Kernels are called natively, many times over, on arrays of their own: of normal deviates, and of
zeros where integers are wanted.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterable, Mapping
from statistics import median
from typing import Any

import numpy as np
from machine import Machine, Native, batches

#: what counts as one operation on numbers with a point; fma is two
COUNTED = frozenset("add sub mul div rem max min sqrt rsqrt fma".split())


def stage_seconds(
    function: Callable[..., Any], arguments: list[Any], threads: int
) -> dict[str, float]:
    """Seconds from the call to machine code, in the order of the stages."""
    from tracejit.runtime import cpu

    start = time.perf_counter()
    stages = function.stages(*arguments)
    found = {"trace": time.perf_counter() - start - sum(stages.seconds.values())}
    found.update(stages.seconds)
    start = time.perf_counter()
    code = cpu.compile_program(stages.program, threads, cpu.tiers_on())[0]
    seconds = time.perf_counter() - start
    found["print"] = seconds - code.seconds
    found["llvm"] = code.seconds
    return {**found, "count": float(len(stages.program.kernels))}


# ---- counting ------------------------------------------------------------------------------------


def flops(body: Iterable[Any], sizes: Mapping[str, int]) -> tuple[float, bool]:
    """(operations a kernel's statements perform, whether that is all of them).

    Loops whose length the data decide count as one turn, and a loop inside another has the length
    it has in the first turn of that.
    """
    from tracejit.kernel.nodes import If, Local, Loop, While

    total, exact = 0.0, True
    sizes = dict(sizes)
    for stmt in body:
        for expr in expressions(stmt):
            total += operations(expr)
        if isinstance(stmt, Local) and stmt.dtype == "i64":
            value = extent(stmt.value, sizes)
            sizes |= {} if value is None else {stmt.name: value}
        elif isinstance(stmt, Loop):
            start, stop = (extent(e, sizes) for e in (stmt.start, stmt.stop))
            inner, known = flops(stmt.body, {**sizes, stmt.var: start or 0})
            trips = 1 if start is None or stop is None else max(stop - start, 0)
            total += trips * inner
            exact = exact and known and start is not None and stop is not None
        elif isinstance(stmt, If):
            (a, known), (b, also) = (flops(part, sizes) for part in (stmt.then, stmt.orelse))
            total, exact = total + max(a, b), exact and known and also and a == b
        elif isinstance(stmt, While):
            total, exact = total + flops(stmt.body, sizes)[0], False
        elif hasattr(stmt, "fn"):  # an Accumulate's own operation
            total += stmt.value.dtype.startswith(("f", "bf")) and stmt.fn in COUNTED
    return total, exact


def expressions(stmt: Any) -> list[Any]:
    """What a statement itself evaluates."""
    found = [getattr(stmt, name, None) for name in ("value", "guard", "cond")]
    return [expr for expr in found if expr is not None]


def operations(expr: Any) -> int:
    """Operations of one expression; what occurs in it twice is computed once."""
    from tracejit.ir.expr import Op, walk

    return sum(
        2 if node.fn == "fma" else 1
        for node in walk(expr)
        if isinstance(node, Op) and node.fn in COUNTED and node.dtype.startswith(("f", "bf"))
    )


def extent(expr: Any, sizes: Mapping[str, int]) -> int | None:
    """A loop's bound as a number; None where the data decide."""
    from tracejit.ir.expr import Var, walk
    from tracejit.kernel.program import evaluate_size

    if any(isinstance(node, Var) and node.name not in sizes for node in walk(expr)):
        return None
    try:
        return evaluate_size(expr, dict(sizes))
    except KeyError:
        return None


# ---- kernels -------------------------------------------------------------------------------------


def sample(shape: tuple[int, ...], dtype: Any, rng: np.random.Generator) -> np.ndarray:
    if np.dtype(dtype).kind in "biu":
        return np.zeros(shape, dtype)
    return rng.standard_normal(shape).astype(dtype)


def kernel_figures(
    function: Callable[..., Any], arguments: list[Any], threads: int, seconds: float
) -> dict[str, Any]:
    """Figures of each call of the program, in order; a loop's are those of one turn."""
    from tracejit.runtime import cpu

    program = function.stages(*arguments).program
    addresses = cpu.compile_program(program, 1)[1]
    machine = Machine()
    found = []
    rates: dict[tuple[int, int], float] = {}
    for call in program.calls:
        figures = one_call(call, addresses, threads, seconds)
        used = figures["threads"]
        if "least" in figures and figures["bytes"]:
            # footprints of about the same size share a measurement
            near = 2 ** round(np.log2(figures["bytes"]))
            if (near, used) not in rates:
                rates[near, used] = machine.copy_rate(near, used)
            figures["copy_rate"] = rates[near, used]
        found.append(figures)
    kinds = {
        dtype: {str(t): machine.fma_rate(dtype, t) for t in sorted({1, threads})}
        for dtype in ("f32", "f64")
    }
    return {"calls": found, "fma_rate": kinds}


def one_call(call: Any, addresses: Any, threads: int, seconds: float) -> dict[str, Any]:
    from tracejit.kernel.program import GemmCall, KernelCall

    if isinstance(call, KernelCall):
        return timed_kernel(call, addresses[call.kernel], threads, seconds)
    if isinstance(call, GemmCall):
        return timed_product(call, threads, seconds)
    name = call.node.prim.name if hasattr(call, "node") else type(call).__name__
    return {"name": f"host {name}", "threads": 1}


def summarise(native: Native, seconds: float) -> dict[str, float]:
    samples = batches(native.run, seconds)
    return {"median": median(samples), "least": min(samples)}


def timed_kernel(call: Any, address: int, threads: int, seconds: float) -> dict[str, Any]:
    from tracejit.ir.types import DTYPES
    from tracejit.runtime.cpu import prepared

    kernel, rng = call.kernel, np.random.default_rng(0)
    sizes = dict(zip(kernel.sizes, call.sizes, strict=True))
    arrays = [sample(p.extents(sizes), DTYPES[p.dtype], rng) for p in kernel.params]
    used = min(threads, call.rows) if call.split else 1
    native = Native(address, arrays, call.sizes, rows=call.rows, threads=used)
    counted, exact = flops(prepared(kernel).body, sizes)
    return {
        "name": kernel.name,
        "shapes": " ".join(f"{p.role} {p.dtype}{list(p.extents(sizes))}" for p in kernel.params),
        "dtype": kernel.params[-1].dtype if kernel.params else "f32",
        "threads": used,
        "bytes": sum(
            a.nbytes * (2 if p.role == "inout" else 1)
            for p, a in zip(kernel.params, arrays, strict=True)
        ),
        "flops": counted,
        "exact": exact,
        **summarise(native, seconds),
    }


def timed_product(call: Any, threads: int, seconds: float) -> dict[str, Any]:
    """A product by BLAS, shared by the threads as in the program."""
    from tracejit.codegen.gemm import print_gemm
    from tracejit.runtime import cpu, native

    m, rng = call.matmul, np.random.default_rng(0)
    type = np.float32 if call.dtype == "f32" else np.float64
    shapes = [(m.b, m.m, m.k), (m.b, m.k, m.n), (m.b, m.m, m.n)]
    arrays = [sample(shape, type, rng) for shape in shapes]
    text = "\n".join(print_gemm(call, "product")).replace("define internal", "define")
    code = native.compile_llvm(text + "\n", ["product"])
    routine = cpu.blas()["sgemm" if call.dtype == "f32" else "dgemm"]
    used = min(threads, call.units) if call.parallel else 1
    setter, count = cpu.blas_threads()
    if setter:  # as in a program: our threads share the product, and each calls BLAS on its part
        ctypes.CFUNCTYPE(None, ctypes.c_int)(setter)(1)
    run = Native(code.addresses["product"], arrays, [routine], rows=call.units, threads=used)
    timed = summarise(run, seconds)
    if setter:
        ctypes.CFUNCTYPE(None, ctypes.c_int)(setter)(count)
    return {
        "name": f"BLAS {m.b} x {m.m}x{m.k}x{m.n}",
        "shapes": f"split by {call.split}" if call.parallel else "",
        "dtype": call.dtype,
        "threads": used,
        "bytes": sum(a.nbytes for a in arrays),
        "flops": 2.0 * m.b * m.m * m.n * m.k,
        "exact": True,
        **timed,
    }
