"""A process that runs workloads in one framework on a device, as the parent asks.

    python perf/gpu_worker.py jax --device cuda < requests > replies

In: one request a line, as JSON: ``{"do": "first", "name": "softmax", "save": "x.npz"}``,
``{"do": "time", "name": "softmax", "seconds": 0.1}`` and the other methods of Session. Out: one
reply a line; ``{"error": ...}`` for a request that failed. What a framework prints goes to the
error stream. A process keeps what it compiled: it takes its turns with those of other frameworks.
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

_ARGUMENTS = argparse.ArgumentParser(description=__doc__.splitlines()[0])
_ARGUMENTS.add_argument("framework")
_ARGUMENTS.add_argument("--device", default="cuda")
_ARGUMENTS.add_argument("--quick", action="store_true")
_ARGUMENTS.add_argument("--cpus", default="", help="numbers of CPUs, separated by commas")

#: elements of a result that are compared, at most: every so many-th
KEPT = 1 << 19
#: calls in a row, at most; and those that wait on the stream behind a busy device
MOST_CALLS, MOST_QUEUED = 200, 50
#: seconds a device is kept busy, at most, while calls are put on its stream
MOST_BUSY = 0.05


def calls_in(seconds: float, one: float, most: int) -> int:
    """How many calls of ``one`` second each fill ``seconds``, at least one.

    >>> calls_in(0.1, 0.02, 200), calls_in(0.1, 3.0, 200), calls_in(0.1, 1e-6, 200)
    (5, 1, 200)
    """
    return max(1, min(most, round(seconds / max(one, 1e-7))))


def thinned(array: Any) -> Any:
    """At most about KEPT elements of an array, evenly spread at an odd distance."""
    step = max(1, array.size // KEPT) | 1
    return array if step == 1 else array.reshape(-1)[::step]


class Session:
    """A framework on a device, and the workloads that were called in it."""

    def __init__(self, name: str, device: str, quick: bool) -> None:
        import gpu_frameworks
        import gpu_workloads
        import numpy as np

        self.np, self.frameworks, self.workloads = np, gpu_frameworks, gpu_workloads
        self.quick, self.device = quick, device
        self.known: dict[str, tuple[Any, Callable[..., Any], Any]] = {}
        if name == gpu_frameworks.REFERENCE:
            self.about = {"version": np.__version__}
            return
        start = time.perf_counter()
        self.framework = gpu_frameworks.load(name, device)
        self.about = {
            "version": self.framework.version,
            "import_seconds": time.perf_counter() - start,
        }
        start = time.perf_counter()
        workload, run, arguments = self.ready("warm_up")
        self.framework.wait(run(*arguments))
        self.about["load_seconds"] = time.perf_counter() - start

    def ready(self, name: str) -> tuple[Any, Callable[..., Any], Any]:
        """A workload, its function and its arguments on the device."""
        workload = self.workloads.find(name)
        arguments = self.framework.resident(workload.arguments(self.quick), workload.dtype)
        return workload, self.framework.prepare(workload), arguments

    def first(self, name: str, save: str) -> dict[str, Any]:
        """Seconds of the first call: tracing, compiling, running. The results are stored."""
        self.known[name] = workload, run, arguments = self.ready(name)
        with self.framework.precision(workload.precision):
            start = time.perf_counter()
            result = run(*arguments)
            self.framework.wait(result)
            seconds = time.perf_counter() - start
        self.store(save, self.framework.to_numpy(result))
        return {"seconds": seconds}

    def reference(self, name: str, save: str) -> dict[str, Any]:
        """The results in float64, stored, and how many bytes a call must move."""
        workload = self.workloads.find(name)
        found, nbytes, who = self.frameworks.reference(workload, self.quick, self.device)
        self.store(save, found)
        return {"bytes": nbytes, "by": who}

    def store(self, path: str, arrays: Any) -> None:
        np = self.np
        finite = [bool(np.isfinite(x).all()) for x in arrays if x.dtype.kind == "f"]
        shapes = json.dumps([x.shape for x in arrays])
        kept = {f"{k:04d}": thinned(x) for k, x in enumerate(arrays)}
        np.savez(path, finite=all(finite), shapes=shapes, **kept)

    def forget(self, name: str) -> dict[str, Any]:
        """Release a workload's arguments and code."""
        self.known.pop(name, None)
        return {}

    def time(self, name: str, seconds: float) -> dict[str, Any]:
        """Samples of seconds per call after an untimed one. ``waited``: calls that are waited for
        one by one; ``pipelined``: calls in a row, the last waited for; ``launch``: until they are
        on their way; ``device``: by events, the device busy while calls are put on its stream.
        """
        workload, run, arguments = self.known[name]
        self.frameworks_mode(workload)
        with self.framework.precision(workload.precision):
            return self.samples(lambda: run(*arguments), seconds / 3)

    def frameworks_mode(self, workload: Any) -> None:
        """Settings of a whole process that the last workload may have changed."""
        if self.framework.name == "jax":
            sys.modules["jax"].config.update("jax_enable_x64", workload.x64)

    def samples(self, call: Callable[[], Any], share: float) -> dict[str, Any]:
        wait, timer = self.framework.wait, self.framework.timer
        clock = time.perf_counter
        wait(call())
        start = clock()
        wait(call())
        one = clock() - start
        found: dict[str, Any] = {"waited": [], "pipelined": [], "launch": [], "device": []}
        for _ in range(max(2, calls_in(share, one, 50))):
            start = clock()
            wait(call())
            found["waited"].append(clock() - start)
        count = calls_in(share / 2, one, MOST_CALLS)
        for _ in range(2):
            start = clock()
            for _ in range(count):
                result = call()
            launched = clock()
            wait(result)
            found["pipelined"].append((clock() - start) / count)
            found["launch"].append((launched - start) / count)
            del result
        if timer is not None:
            launch = min(found["launch"])
            queued = calls_in(share / 2, one, MOST_QUEUED)
            busy = min(MOST_BUSY, 1.3 * queued * launch)
            found["device"] = [timer.seconds(call, queued, busy) for _ in range(2)]
        return found

    def describe(self) -> dict[str, Any]:
        """The device, its driver and libraries."""
        import gpu_describe

        return gpu_describe.describe(self.device)

    def healthy(self) -> bool:
        """Whether the device still does what it is asked: after some errors it never does."""
        if not hasattr(self, "framework"):
            return True
        try:
            _, run, arguments = self.ready("warm_up")
            self.framework.wait(run(*arguments))
        except Exception:
            return False
        return True

    def ceilings(self, seconds: float) -> dict[str, Any]:
        """What the device and its libraries can do, as far as this framework reaches them."""
        import gpu_ceilings

        return gpu_ceilings.measure(self.framework.name, self.device, self.quick, seconds)


def serve(session_of: Callable[[], Session], replies: Any) -> None:
    """Answer requests until the input ends."""
    session: Session | None = None

    def reply(make: Callable[[], dict[str, Any]]) -> None:
        try:
            found = make()
        except Exception as error:  # the parent reports it and goes on with the others
            traceback.print_exc()
            missing = session is None and type(error).__name__ == "MissingError"
            text = str(error).strip().splitlines() or [""]
            found = {"error": f"{type(error).__name__}: {text[0]}"[:2000], "missing": missing}
            if session is not None and not session.healthy():
                found["ended"] = True
        replies.write(json.dumps(found) + "\n")
        replies.flush()
        if found.get("ended"):
            os._exit(1)  # a context that is lost may hang in any clean-up

    def start() -> dict[str, Any]:
        nonlocal session
        session = session_of()
        return session.about

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
    if options.cpus and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, [int(number) for number in options.cpus.split(",")])
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    serve(lambda: Session(options.framework, options.device, options.quick), replies)


if __name__ == "__main__":
    main()
