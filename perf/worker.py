"""A process that runs one workload in one framework, a turn at a time, as the parent asks.

    python perf/worker.py jax softmax --threads 2 < requests > replies

In: one request a line, as JSON: ``{"do": "first"}``, ``{"do": "time", "seconds": 0.2}`` and the
other methods of Session. Out: one reply a line. A request that fails is answered with
``{"error": ...}``. Whatever a framework itself prints goes to the error stream.

With ``--fresh`` nothing is called before the first request, not even an unrelated function.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

# before anything with threads is imported: a framework takes as many as the process has CPUs
_ARGUMENTS = argparse.ArgumentParser(description=__doc__.splitlines()[0])
_ARGUMENTS.add_argument("framework")
_ARGUMENTS.add_argument("workload")
_ARGUMENTS.add_argument("--threads", type=int, default=2)
_ARGUMENTS.add_argument("--fresh", action="store_true")


def limit_cpus(count: int) -> None:
    """Let this process run on ``count`` CPUs only, which every framework then sees."""
    if hasattr(os, "sched_setaffinity"):
        usable = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, usable[:count])


def resident_bytes(field: str) -> int:
    """``VmRSS`` (now) or ``VmHWM`` (the most since a reset) of this process; 0 where unknown."""
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith(field))
    except (OSError, StopIteration):
        return 0


def reset_peak() -> None:
    """Let ``VmHWM`` begin again at the present size."""
    with open("/proc/self/clear_refs", "w", encoding="ascii") as control:
        control.write("5")


class Session:
    """One workload in one framework, imported and with its arguments in place; ``fresh``: only
    imported.
    """

    def __init__(self, name: str, workload_name: str, threads: int, fresh: bool = False) -> None:
        # imported here: after the CPUs are limited
        import frameworks
        import numpy as np
        import workloads

        self.np = np
        self.workload = workloads.find(workload_name)
        given = self.workload.make_inputs()
        start = time.perf_counter()
        self.framework = frameworks.load(name, threads=threads, x64=self.workload.x64)
        self.import_seconds = time.perf_counter() - start
        self.threads = threads
        self.calls = 0
        self.load_seconds = 0.0
        if fresh:
            self.given = given
            return
        self.load_seconds = self.warm_up(workloads.WARM_UP)
        self.arguments = [self.framework.resident(argument) for argument in given]
        self.run = self.framework.prepare(self.workload)

    def warm_up(self, trivial: Any) -> float:
        """Seconds of the first call of all, which loads what a framework needs to compile."""
        run = self.framework.prepare(trivial)
        arguments = [self.framework.resident(argument) for argument in trivial.make_inputs()]
        start = time.perf_counter()
        self.framework.wait(run(*arguments))
        return time.perf_counter() - start

    def about(self) -> dict[str, Any]:
        return {
            "version": self.framework.version,
            "import_seconds": self.import_seconds,
            "load_seconds": self.load_seconds,
            "limit": getattr(getattr(self, "run", None), "limit", None),
        }

    def fresh(self) -> dict[str, Any]:
        """Seconds from after the import to the first result: arguments, ``jit``, the call."""
        start = time.perf_counter()
        self.arguments = [self.framework.resident(argument) for argument in self.given]
        self.run = self.framework.prepare(self.workload)
        self.framework.wait(self.run(*self.arguments))
        return {"seconds": time.perf_counter() - start}

    def first(self, save: str | None = None) -> dict[str, Any]:
        """Time the workload's first call, in which it is traced and compiled; store its results."""
        start = time.perf_counter()
        result = self.run(*self.arguments)
        self.framework.wait(result)
        seconds = time.perf_counter() - start
        if save is not None:
            arrays = self.framework.to_numpy(result)
            self.np.savez(save, **{f"{k:04d}": array for k, array in enumerate(arrays)})
        return {"seconds": seconds}

    def one(self) -> float:
        run, wait, arguments = self.run, self.framework.wait, self.arguments
        start = time.perf_counter()
        wait(run(*arguments))
        return time.perf_counter() - start

    def many(self, count: int) -> float:
        """Seconds of one call, from a loop: for calls that reading the clock would distort."""
        run, wait, arguments = self.run, self.framework.wait, self.arguments
        start = time.perf_counter()
        for _ in range(count):
            wait(run(*arguments))
        return (time.perf_counter() - start) / count

    def time(self, seconds: float) -> dict[str, Any]:
        """Samples of seconds per call: ``seconds`` of them, 3 at least, after an untimed call."""
        if not self.calls:
            self.one()  # the second call of all may still specialise
            self.calls = max(1, int(500e-6 / max(self.one(), 1e-7)))
        self.many(self.calls)
        samples: list[float] = []
        spent = 0.0
        while spent < seconds or len(samples) < 3:
            sample = self.one() if self.calls == 1 else self.many(self.calls)
            samples.append(sample)
            spent += sample * self.calls
        return {"samples": samples}

    def memory(self) -> dict[str, Any]:
        """Bytes the process's resident size grows by in calls; asked instead of ``first``.

        ``idle``: with the arguments in place and nothing compiled. ``first_call``: peak above idle
        with compilation. ``calls``: peak above idle of later calls, results released.
        """
        idle = resident_bytes("VmRSS")
        reset_peak()
        self.one()
        first = resident_bytes("VmHWM")
        self.one()
        reset_peak()
        for _ in range(3):
            self.one()
        return {
            "idle": idle,
            "first_call": first - idle,
            "calls": resident_bytes("VmHWM") - idle,
        }

    # ---- tracejit's own ----

    def stages(self) -> dict[str, Any]:
        """Seconds of each stage of the first call, which is not made."""
        from profiling import stage_seconds

        return stage_seconds(self.run, self.arguments, self.threads)

    def kernels(self, seconds: float) -> dict[str, Any]:
        """Time, bytes and flops of each kernel the program calls, and the machine's peaks."""
        from profiling import kernel_figures

        return kernel_figures(self.run, self.arguments, self.threads, seconds)

    def plan(self) -> dict[str, Any]:
        """Bytes of the arena and the most bytes alive at once."""
        plan = self.run.stages(*self.arguments).plan
        return {"planned": plan.arena, "alive": plan.live}

    def peaks(self, seconds: float) -> dict[str, Any]:
        """What the machine can do, on one thread and on all."""
        from machine import Machine

        return Machine().peaks(sorted({1, self.threads}), seconds)


def serve(session_of: Callable[[], Session], replies: Any) -> None:
    """Answer requests until the input ends."""
    session: Session | None = None

    def reply(make: Callable[[], dict[str, Any]]) -> None:
        try:
            found = make()
        except ImportError as error:
            found = {"error": str(error), "missing": session is None}
        except Exception as error:  # the parent reports it and goes on with the others
            traceback.print_exc()
            found = {"error": f"{type(error).__name__}: {error}"}
        replies.write(json.dumps(found) + "\n")
        replies.flush()

    def start() -> dict[str, Any]:
        nonlocal session
        session = session_of()
        return session.about()

    reply(start)
    if session is None:
        return
    for line in sys.stdin:
        request = json.loads(line)
        method = getattr(session, request.pop("do"))
        reply(lambda method=method, request=request: method(**request))


def main() -> None:
    options = _ARGUMENTS.parse_args()
    # replies keep the real output; what libraries print joins the error stream
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    limit_cpus(options.threads)
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    given = (options.framework, options.workload, options.threads, options.fresh)
    serve(lambda: Session(*given), replies)


if __name__ == "__main__":
    main()
