"""Small measurements of tracejit: dispatch, compile time by stage, and kernels against the machine.

    python perf/micro.py                        all of them
    python perf/micro.py dispatch               a call with 1 argument and with 30, and JAX's
    python perf/micro.py stages --only mlp*     milliseconds of each stage of a first call
    python perf/micro.py kernels                GB/s by a copy's, GFLOP/s by those of a loop of fma

What the machine can do is measured by generated kernels too: a copy of as many bytes as the row
reads and writes, and independent chains of fused multiply-adds in registers.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import frameworks
import run
import workloads
from worker import limit_cpus
from workload import Workload

CHAINS = 12  # multiply-adds in flight: more than latency times ports of any CPU so far

COPY = """\
kernel copy_peak[n0,n1,repeats](in x: f32[n0,n1], out y: f32[n0,n1])
  par i in n0:
    seq r in repeats:
      vec({width}x4) j in n1:
        y[i, j] = x[i, j]
"""


def fma_text(width: int) -> str:
    """A kernel that multiplies and adds ``repeats`` times on CHAINS vectors in registers."""
    chains = range(CHAINS)
    names = [f"a{k}" for k in chains]
    total = names[0]
    for name in names[1:]:
        total = f"add({total}, {name})"
    return "\n".join(
        [
            f"kernel fma_peak[n0,repeats](in x: f32[n0,{width}], out y: f32[n0,{width}])",
            "  par i in n0:",
            f"    vec({width}x1) j in {width}:",
            "      b: f32 = x[i, j]",
            *[f"      {name}: f32 = add(b, {float(k)})" for k, name in enumerate(names)],
            "      seq r in repeats:",
            *[f"        {name} = fma({name}, b, b)" for name in names],
            f"      y[i, j] = {total}",
            "",
        ]
    )


def best(action: Callable[[], Any], seconds: float = 0.3) -> float:
    """The least time of a call, over ``seconds`` of calls."""
    action()
    least, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        action()
        least = min(least, time.perf_counter() - start)
    return least


class Machine:
    """Peaks of this machine with ``threads`` threads, each measured once."""

    def __init__(self, threads: int) -> None:
        from tracejit.runtime.native import host_target

        self.threads = threads
        self.width = host_target().vector_bytes // 4
        self.copies: dict[int, float] = {}

    def call(self, text: str, arrays: Sequence[Any], sizes: Sequence[int]) -> float:
        """Least seconds of a kernel given as text, its outermost loop split over the threads."""
        from tracejit.codegen.llvm import print_llvm
        from tracejit.kernel.text import parse
        from tracejit.runtime import native

        kernel = parse(text)
        code = native.compile_llvm(print_llvm(kernel, native.host_target()), [kernel.name])
        address = code.addresses[kernel.name]
        return best(
            lambda: native.call_kernel(address, arrays, sizes, 0, self.threads, self.threads),
            seconds=1.0,
        )

    def copy_rate(self, nbytes: int) -> float:
        """Bytes read and written per second by a copy that touches ``nbytes`` in all."""
        import numpy as np

        columns = max(nbytes // (8 * self.threads), 64)
        if columns not in self.copies:
            x = np.ones((self.threads, columns), np.float32)
            y = np.zeros_like(x)
            repeats = max(1, 2**26 // (2 * x.nbytes))  # so that the call itself does not count
            sizes = (self.threads, columns, repeats)
            seconds = self.call(COPY.format(width=self.width), [x, y], sizes)
            self.copies[columns] = 2 * x.nbytes * repeats / seconds
        return self.copies[columns]

    def fma_rate(self) -> float:
        """Additions and multiplications per second, f32."""
        import numpy as np

        x = np.full((self.threads, self.width), 0.5, np.float32)
        repeats = 200_000
        sizes = (self.threads, repeats)
        seconds = self.call(fma_text(self.width), [x, np.zeros_like(x)], sizes)
        return 2.0 * x.size * CHAINS * repeats / seconds


# ---- the three tables ----------------------------------------------------------------------------


def show_dispatch(threads: int) -> None:
    print(f"{'microseconds of a call':<36}{'tracejit':>12}{'jax':>12}")
    for name in ("dispatch", "dispatch_tree"):
        row = run.measure(
            workloads.find(name), ("tracejit", "jax"), threads=threads, rounds=5, seconds=0.2
        )
        cells = [
            f"{row['frameworks'][name]['run_seconds'] * 1e6:>12.2f}"
            if name in row["frameworks"]
            else f"{'-':>12}"
            for name in ("tracejit", "jax")
        ]
        print(f"{row['title']:<36}{''.join(cells)}")


def stage_seconds(workload: Workload, threads: int) -> dict[str, float]:
    """Seconds of each stage of a first call."""
    import tracejit
    from tracejit.codegen.llvm import print_module
    from tracejit.codegen.main import print_main
    from tracejit.runtime import cpu, native

    framework = frameworks.load("tracejit", threads=threads, x64=workload.x64)
    arguments = [framework.resident(argument) for argument in workload.make_inputs()]
    function = tracejit.jit(workload.array(tracejit))
    start = time.perf_counter()
    stages = function.stages(*arguments)
    found = {"trace": time.perf_counter() - start - sum(stages.seconds.values())}
    found.update(stages.seconds)
    target = native.host_target()
    start = time.perf_counter()
    kernels = [cpu.prepared(kernel) for kernel in stages.program.kernels]
    text = print_module(kernels, target) if kernels else ""
    main_text = print_main(stages.program, target, threads)
    found["print"] = time.perf_counter() - start
    found["llvm"] = native.compile_llvm(main_text, ["main"]).seconds
    if kernels:
        found["llvm"] += native.compile_llvm(text, [kernel.name for kernel in kernels]).seconds
    return {**found, "number of kernels": len(kernels)}


def show_stages(chosen: Sequence[Workload], threads: int) -> None:
    stage_seconds(workloads.WARM_UP, threads)
    heading = ""
    for workload in chosen:
        try:
            found = stage_seconds(workload, threads)
        except Exception as error:  # the other rows are still of use
            print(f"{workload.title:<36}  {type(error).__name__}: {error}")
            continue
        count = found.pop("number of kernels")
        if not heading:
            heading = "".join(f"{name:>9}" for name in (*found, "sum", "kernels"))
            print(f"{'milliseconds':<36}{heading}")
        cells = "".join(f"{v * 1e3:>9.2f}" for v in (*found.values(), sum(found.values())))
        print(f"{workload.title:<36}{cells}{count:>9.0f}")


def show_kernels(chosen: Sequence[Workload], threads: int) -> None:
    machine = Machine(threads)
    peak = machine.fma_rate()
    print(f"{threads} threads, vectors of {machine.width} f32: fma {peak / 1e9:.0f} GFLOP/s")
    print(f"{'':<36}{'ms':>9}{'achieved':>16}{'machine':>16}{'share':>8}")
    for workload in chosen:
        try:
            seconds, nbytes = call_seconds(workload, threads)
        except Exception as error:  # the other rows are still of use
            print(f"{workload.title:<36}  {type(error).__name__}: {error}")
            continue
        if workload.flops:
            rate, limit, unit = workload.flops / seconds, peak, "GFLOP/s"
        else:
            rate, limit, unit = nbytes / seconds, machine.copy_rate(nbytes), "GB/s"
        print(
            f"{workload.title:<36}{seconds * 1e3:>9.3f}{rate / 1e9:>8.1f} {unit:<7}"
            f"{limit / 1e9:>8.1f} {unit:<7}{rate / limit:>8.0%}"
        )


def call_seconds(workload: Workload, threads: int) -> tuple[float, int]:
    """(least seconds of a call, bytes it cannot avoid: arguments read and results written once)."""
    import tracejit

    framework = frameworks.load("tracejit", threads=threads, x64=workload.x64)
    arguments = [framework.resident(argument) for argument in workload.make_inputs()]
    function = tracejit.jit(workload.array(tracejit))
    result = function(*arguments)
    nbytes = sum(leaf.nbytes for leaf in frameworks.leaves((arguments, result)))
    return best(lambda: function(*arguments)), nbytes


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="*", help="dispatch, stages, kernels; all by default")
    parser.add_argument("--only", default="", help="names or patterns of workloads")
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args(arguments)
    what = chosen.what or ["dispatch", "stages", "kernels"]
    if set(what) - {"dispatch", "stages", "kernels"}:
        parser.error("what is measured: dispatch, stages, kernels")
    try:
        selected = workloads.select([name for name in chosen.only.split(",") if name])
    except ValueError as error:
        parser.error(str(error))
    if "dispatch" in what:
        show_dispatch(chosen.threads)
    # this process measures tracejit itself: the same threads and CPUs as a worker
    limit_cpus(chosen.threads)
    os.environ.update(frameworks.environment(chosen.threads, ""))
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    if "stages" in what:
        show_stages(selected, chosen.threads)
    if "kernels" in what:
        show_kernels([w for w in selected if w.memory_bound or w.flops], chosen.threads)
    return 0


if __name__ == "__main__":
    sys.exit(main())
