"""Processes of several frameworks that take turns at the rows of a benchmark, as JSON over pipes.

    serve(call_of, 0.1, 0.05, 2)        in a worker: rows come in, best times of turns go out
    take_turns(rows, processes, 5)      in front: what each framework took for each row

The machine may have other users, so a turn is a fraction of a second. "seconds" are the median over
turns of each turn's best call, "best" the best call of all turns.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

Times = dict[str, dict[str, float | None]]


def serve(
    call_of: Callable[[Any], Callable[[], Any]], turn: float, pause: float, least: int
) -> None:
    """Rows come in, one a line; out goes the best time of ``turn`` seconds and at least ``least``
    calls of ``call_of(row)``, in seconds, or the text of an error.
    """
    calls: dict[str, Callable[[], Any]] = {}
    for line in sys.stdin:
        try:
            if line not in calls:
                calls.clear()
                calls[line] = call_of(json.loads(line))
                calls[line]()
                time.sleep(0.2)  # better code may come in the background
                calls[line]()
            time.sleep(pause)
            best, end, count = float("inf"), time.perf_counter() + turn, 0
            while count < least or time.perf_counter() < end:
                start = time.perf_counter()
                calls[line]()
                best = min(best, time.perf_counter() - start)
                count += 1
            answer: Any = best
        except Exception as error:
            answer = f"{type(error).__name__}: {error}"[:200]
        print(json.dumps(answer), flush=True)


def started(command: Sequence[str], settings: dict[str, str]) -> subprocess.Popen[str]:
    """A worker: ``command`` with its pipes."""
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "TRACEJIT_CACHE": "off", **settings},
    )


def take_turns(
    rows: Sequence[Any], processes: dict[str, subprocess.Popen[str]], turns: int
) -> Iterator[tuple[Any, Times]]:
    """Each row with its "seconds" and "best" by framework, None where one has no answer."""
    for row in rows:
        times: dict[str, list[float]] = {name: [] for name in processes}
        for _ in range(turns):
            for name, process in processes.items():
                assert process.stdin is not None and process.stdout is not None
                process.stdin.write(json.dumps(row) + "\n")
                process.stdin.flush()
                answer = json.loads(process.stdout.readline())
                if isinstance(answer, float):
                    times[name].append(answer)
        kinds: Any = (("seconds", statistics.median), ("best", min))
        yield row, {k: {n: f(t) if t else None for n, t in times.items()} for k, f in kinds}
    for process in processes.values():
        process.terminate()


def cells(best: dict[str, float | None]) -> str:
    """Microseconds of the best calls, and how much longer others take than tracejit."""
    own, found = best.get("tracejit"), []
    for name, value in best.items():
        text = "-" if value is None else f"{value * 1e6:.1f}"
        ratio = f" ({value / own:.2f})" if own and value and name != "tracejit" else ""
        found.append(f"{name} {text}{ratio}")
    return "  ".join(found)


def save(results: Path, found: Sequence[Any], key: Callable[[Any], Any]) -> None:
    """Put rows in the place of those of earlier runs that have the same ``key``."""
    rows = json.loads(results.read_text())["rows"] if results.exists() else []
    known = {key(row): row for row in (*rows, *found)}
    text = {"cpus": os.cpu_count(), "unit": "seconds", "rows": list(known.values())}
    results.write_text(json.dumps(text, indent=1) + "\n")
