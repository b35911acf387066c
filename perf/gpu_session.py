"""Worker processes of the GPU's measurements as the parent sees them, and the time that is left.

    deadline = Deadline(480)
    worker = Worker("jax", folder, Options(device="cuda"))
    worker.ask("first", name="softmax", save="x.npz", timeout=deadline.share(0.1))

A worker that does not answer in time is ended: it may be compiling for minutes, or wait for a
device that is lost.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gpu_frameworks
import numpy as np

FOLDER = Path(__file__).resolve().parent


class WorkerError(Exception):
    """A worker could not do what it was asked. ``missing``: its framework is not there; ``ended``:
    the process is gone and what it had compiled with it.
    """

    def __init__(self, message: str, *, missing: bool = False, ended: bool = False) -> None:
        super().__init__(message)
        self.missing = missing
        self.ended = ended


class Deadline:
    """A span of seconds from now on.

    >>> now = [0.0]
    >>> deadline = Deadline(100, clock=lambda: now[0])
    >>> deadline.share(0.2), deadline.until(0.5)
    (20.0, 50.0)
    >>> now[0] = 90.0
    >>> deadline.left, deadline.share(0.2), deadline.until(0.5), deadline.over
    (10.0, 10.0, 0.0, False)
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = float(seconds)
        self.clock = clock
        self.start = clock()

    @property
    def left(self) -> float:
        return max(0.0, self.seconds - (self.clock() - self.start))

    @property
    def over(self) -> bool:
        return self.left <= 0

    def share(self, part: float) -> float:
        """Seconds of a part of the whole, or what is left."""
        return min(part * self.seconds, self.left)

    def until(self, part: float) -> float:
        """Seconds until so much of the whole is over; 0 where it is."""
        return max(0.0, self.left - (1 - part) * self.seconds)


@dataclass(frozen=True)
class Options:
    """What all workers are started with. ``cpus``: those of a worker, all where it is empty."""

    device: str = "cuda"
    quick: bool = False
    cpus: tuple[int, ...] = ()


def command(script: str, options: Options, *arguments: str) -> list[str]:
    found = [sys.executable, str(FOLDER / script), *arguments, "--device", options.device]
    found += ["--quick"] if options.quick else []
    return found + (["--cpus", ",".join(map(str, options.cpus))] if options.cpus else [])


def variables(folder: str) -> dict[str, str]:
    """The environment of a worker. A checkout that is not installed works too."""
    found = {**os.environ, **gpu_frameworks.environment(folder)}
    found.pop("PYTHONDONTWRITEBYTECODE", None)
    paths = (str(FOLDER.parent), os.environ.get("PYTHONPATH", ""))
    found["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    return found


class Worker:
    """The process of one framework. ``about`` is there after ``started``."""

    def __init__(self, name: str, folder: str, options: Options, label: str = "") -> None:
        self.name = name
        self.about: dict[str, Any] = {}
        own = Path(folder, f"{name}{label}-{time.monotonic_ns()}")
        own.mkdir(parents=True)
        self.log = own / "log"
        with open(self.log, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                command("gpu_worker.py", options, name),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=variables(str(own)),
                start_new_session=True,  # with the processes in which torch compiles
            )
        self.replies: queue.Queue[str] = queue.Queue()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self.replies.put(line)
        self.replies.put("")

    def started(self, timeout: float) -> None:
        """Wait until the framework is there. Raises WorkerError."""
        self.about = self.answer(timeout)

    def answer(self, timeout: float) -> dict[str, Any]:
        try:
            line = self.replies.get(timeout=max(timeout, 0.01))
        except queue.Empty:
            self.close(wait=0.0)
            raise WorkerError(f"no answer within {timeout:.0f} s", ended=True) from None
        if not line:
            self.close(wait=0.0)
            raise WorkerError(f"the process ended: {self.tail()}", ended=True)
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise WorkerError(
                reply["error"],
                missing=reply.get("missing", False),
                ended=reply.get("ended", False),
            )
        return reply

    def ask(self, do: str, *, timeout: float, **arguments: Any) -> dict[str, Any]:
        """A question and its answer. Raises WorkerError."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self.process.stdin.flush()
        except (BrokenPipeError, ValueError):
            raise WorkerError(f"the process ended: {self.tail()}", ended=True) from None
        return self.answer(timeout)

    def tail(self) -> str:
        """The last line the process has printed."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1][:500] if lines else ""

    def close(self, wait: float = 5.0) -> None:
        """End the process, at once or after it had time to end by itself."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError, ValueError):
            self.process.stdin.close()
        try:
            self.process.wait(timeout=wait)
        except subprocess.TimeoutExpired:
            self.kill()
            self.process.wait()
        self.reader.join(timeout=5)

    def kill(self) -> None:
        """End the process and those it started, without waiting."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


class Team:
    """Workers by framework and group, started when they are first needed, again after one was
    ended, and given up where a framework is missing or its process ended ``MOST`` times in a row.
    """

    MOST = 3

    def __init__(self, folder: str, options: Callable[[str], Options]) -> None:
        self.folder = folder
        self.options = options
        self.workers: dict[tuple[str, str], Worker] = {}
        self.endings: dict[tuple[str, str], int] = {}
        self.missing: dict[str, str] = {}
        self.versions: dict[str, dict[str, Any]] = {}
        self.lock = threading.RLock()
        self.closed = False

    @staticmethod
    def key(name: str, group: str) -> tuple[str, str]:
        return (name, group if name in gpu_frameworks.COMPILED else "")

    def begin(self, name: str, group: str = "") -> None:
        """Start a process without waiting for it."""
        key = self.key(name, group)
        with self.lock:
            if self.closed:
                raise WorkerError("the run is over")
            if key not in self.workers:
                self.workers[key] = Worker(name, self.folder, self.options(name), key[1])

    def settle(self, timeout: float) -> None:
        """Wait until every process that was begun has its framework, or has failed to."""
        end = time.monotonic() + timeout
        waiting = list(self.workers.values())
        while time.monotonic() < end and any(w.replies.empty() for w in waiting):
            time.sleep(0.05)
        for (name, group), worker in list(self.workers.items()):
            if not worker.replies.empty():
                with suppress(WorkerError):  # ``missing`` has it, or its rows will tell
                    self.ask(name, group, "forget", name="", timeout=10)

    def ask(
        self, name: str, group: str, do: str, /, *, timeout: float, **arguments: Any
    ) -> dict[str, Any]:
        """A question to the framework's process. Raises WorkerError."""
        key = self.key(name, group)
        if name in self.missing:
            raise WorkerError(self.missing[name], missing=True)
        if self.endings.get(key, 0) >= self.MOST:
            raise WorkerError(f"its process ended {self.MOST} times in a row")
        self.begin(name, group)
        worker = self.workers[key]
        try:
            if not worker.about:
                worker.started(max(timeout, 60))
                self.versions[name] = worker.about
            found = worker.ask(do, timeout=timeout, **arguments)
            self.endings[key] = 0
            return found
        except WorkerError as error:
            if error.missing:
                self.missing[name] = str(error)
            if error.ended or error.missing:
                self.endings[key] = self.endings.get(key, 0) + 1
                self.workers.pop(key, None)
                worker.close(wait=0.0)
            raise

    def close(self) -> None:
        with self.lock:
            self.closed = True
            found = list(self.workers.values())
            self.workers.clear()
        for worker in found:
            worker.kill()
        for worker in found:
            worker.close(wait=5.0)


# ---- results of a row ----------------------------------------------------------------------------


def difference(found: str | Path, expected: str | Path, rtol: float, differing: float) -> Any:
    """Why stored results are not the reference's, or "", and by how much they differ: the norm of
    the difference by the norm of the reference, the largest over the arrays.
    """
    with np.load(found) as ours, np.load(expected) as exact:
        if ours["shapes"] != exact["shapes"]:
            return f"shapes {ours['shapes']}, not {exact['shapes']}", None
        if exact["finite"] and not ours["finite"]:
            return "not all numbers are finite", None
        worst = 0.0
        for name in sorted(set(exact.files) - {"shapes", "finite"}):
            a, b = ours[name].astype(np.float64), exact[name].astype(np.float64)
            if not b.size:
                continue
            scale = float(np.max(np.abs(b)))
            norm = float(np.linalg.norm(b))
            error = float(np.linalg.norm(a - b)) / norm if norm else float(np.abs(a).max())
            worst = max(worst, error)
            off = ~np.isclose(a, b, rtol=rtol, atol=rtol * scale)
            if off.mean() > differing:
                most = float(np.nanmax(np.abs(a - b)))
                text = f"{off.sum()} of {a.size} compared elements, by up to {most:.3g}"
                return f"result {int(name)}: {text} of {scale:.3g}", worst
        return "", worst


def split_cpus(cpus: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """CPUs of what is measured, and of what compiles meanwhile; empty where there are too few.

    >>> split_cpus(range(8)), split_cpus(range(2))
    (((0, 1, 2, 3), (4, 5, 6, 7)), ((), ()))
    """
    if len(cpus) < 6:
        return (), ()
    half = len(cpus) // 2
    return tuple(cpus[:half]), tuple(cpus[half:])
