"""Worker processes as the parent sees them, and how their turns go.

    with Workers(workload, ("tracejit", "jax"), threads=2) as workers:
        first = workers.first()                        # {framework: seconds of the first call}
        samples = workers.turns(rounds=7, seconds=0.2)    # {framework: [[seconds, ...], ...]}

In: a workload and names of frameworks. Out: seconds. One process for each framework lives through
all rounds; only one of them works at a time, and the order rotates from round to round, so that
what else happens on the machine meets all of them alike.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import frameworks
import numpy as np
from workload import Workload

FOLDER = Path(__file__).resolve().parent
#: after a turn: thread pools spin for a moment before they sleep, and would disturb the next turn
PAUSE_SECONDS = 0.02


class WorkerError(Exception):
    """A worker could not do what it was asked; ``missing`` when its framework is not installed."""

    def __init__(self, message: str, missing: bool = False) -> None:
        super().__init__(message)
        self.missing = missing


class Worker:
    """The process of one framework."""

    def __init__(
        self,
        name: str,
        workload: str,
        threads: int,
        folder: str,
        *,
        fresh: bool = False,
        disk_cache: str | None = None,
    ) -> None:
        self.name = name
        self.log = Path(folder) / f"{name}.log"
        variables = {**os.environ, **frameworks.environment(threads, folder, disk_cache)}
        # an installed package has its bytecode, and a checkout shall have it too
        variables.pop("PYTHONDONTWRITEBYTECODE", None)
        root = str(FOLDER.parent)  # a checkout that is not installed works too
        variables["PYTHONPATH"] = os.pathsep.join(
            filter(None, (root, os.environ.get("PYTHONPATH", "")))
        )
        command = [sys.executable, str(FOLDER / "worker.py"), name, workload]
        with open(self.log, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                [*command, "--threads", str(threads), *(["--fresh"] if fresh else [])],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=variables,
            )
        try:
            self.about = self.read()
        except WorkerError:
            self.close()
            raise

    def read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise WorkerError(f"{self.name}: the process ended\n{self.tail()}")
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            missing = reply.get("missing", False)
            text = "" if missing else f"\n{self.tail()}"
            raise WorkerError(f"{self.name}: {reply['error']}{text}", missing)
        return reply

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:  # it died since its last answer
            raise WorkerError(f"{self.name}: the process ended\n{self.tail()}") from None
        return self.read()

    def tail(self) -> str:
        """The last lines the process has printed."""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-12:])

    def close(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


def asked(
    name: str,
    workload: Workload,
    threads: int,
    do: str,
    *,
    fresh: bool = False,
    disk_cache: str | None = None,
    **arguments: Any,
) -> dict[str, Any]:
    """One question to a new process. Raises WorkerError."""
    with tempfile.TemporaryDirectory(prefix="perf_") as folder:
        worker = Worker(name, workload.name, threads, folder, fresh=fresh, disk_cache=disk_cache)
        try:
            return worker.ask(do, **arguments)
        finally:
            worker.close()


class Workers:
    """The processes of one workload. ``failed``: why a framework takes no further part.

    ``more``: ``fresh`` and ``disk_cache`` of the Workers.
    """

    def __init__(
        self,
        workload: Workload,
        names: Sequence[str],
        *,
        threads: int,
        cache_folder: str | None = None,
        **more: Any,
    ) -> None:
        self.more = more
        self.workload = workload
        self.names = tuple(names)
        self.threads = threads
        self.workers: dict[str, Worker] = {}
        self.failed: dict[str, WorkerError] = {}
        self.open = ExitStack()
        self.folder = self.open.enter_context(tempfile.TemporaryDirectory(prefix="perf_"))
        if cache_folder is not None:  # compilers' own set-up is shared between workloads
            os.symlink(cache_folder, Path(self.folder) / "inductor")

    def __enter__(self) -> Workers:
        for name in self.names:
            try:
                worker = Worker(name, self.workload.name, self.threads, self.folder, **self.more)
            except WorkerError as error:
                self.failed[name] = error
                continue
            self.workers[name] = worker
            self.open.callback(worker.close)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.open.close()

    def ask(self, name: str, do: str, **arguments: Any) -> dict[str, Any] | None:
        """A worker's answer; None, and no more questions to it, after an error."""
        time.sleep(PAUSE_SECONDS)
        try:
            return self.workers[name].ask(do, **arguments)
        except WorkerError as error:
            self.failed[name] = error
            del self.workers[name]
            return None

    def first(self) -> dict[str, float]:
        """Seconds of each framework's first call. Its results are kept for ``compare``."""
        found = {}
        for name in tuple(self.workers):
            if name == frameworks.MACHINE:
                continue
            reply = self.ask(name, "first", save=str(self.results(name)))
            if reply is not None:
                found[name] = reply["seconds"]
        return found

    def results(self, name: str) -> Path:
        return Path(self.folder) / f"{name}.npz"

    def compare(self) -> list[str]:
        """What differs between the results of a peer and the others', a line for each of these."""
        present = [name for name in self.workers if name != frameworks.MACHINE]
        if not present:
            return []
        # a peer is the reference where there is one
        order = sorted(present, key=lambda name: name == "tracejit")
        reference = read_arrays(self.results(order[0]))
        found = []
        for name in order[1:]:
            why = difference(read_arrays(self.results(name)), reference, self.workload)
            if why:
                found.append(f"{self.workload.name}: {name} and {order[0]} differ: {why}")
        return found

    def turns(self, rounds: int, seconds: float) -> dict[str, list[list[float]]]:
        """``rounds`` batches of samples, in seconds per call, of each framework."""
        samples: dict[str, list[list[float]]] = {name: [] for name in self.workers}
        for number in range(rounds):
            present = tuple(self.workers)
            for k in range(len(present)):
                name = present[(k + number) % len(present)]
                reply = self.ask(name, "time", seconds=seconds)
                if reply is not None:
                    samples[name].append(reply["samples"])
        return {name: found for name, found in samples.items() if name in self.workers}


def read_arrays(path: Path) -> list[np.ndarray]:
    with np.load(path) as stored:
        return [stored[name] for name in stored.files]


def difference(
    found: Sequence[np.ndarray], expected: Sequence[np.ndarray], workload: Workload
) -> str:
    """Why two lists of results do not agree; empty where they do."""
    if len(found) != len(expected):
        return f"{len(found)} arrays, not {len(expected)}"
    for k, (a, b) in enumerate(zip(found, expected, strict=True)):
        if a.shape != b.shape:
            return f"result {k} has shape {a.shape}, not {b.shape}"
        if a.dtype != b.dtype:
            return f"result {k} has dtype {a.dtype}, not {b.dtype}"
        if not a.size:
            continue
        scale = float(np.max(np.abs(b)))
        off = ~np.isclose(a, b, rtol=workload.rtol, atol=workload.rtol * scale)
        if off.mean() > workload.differing:
            worst = np.nanmax(np.abs(a.astype(np.float64) - b.astype(np.float64)))
            return (
                f"result {k}: {off.sum()} of {a.size} elements, by up to {worst:.3g} of {scale:.3g}"
            )
    return ""
