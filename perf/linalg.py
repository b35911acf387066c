"""Linear algebra under jit: tracejit, NumPy, JAX and torch, each in a process of its own.

    python perf/linalg.py --save                all rows, into perf/results/cpu-linalg.json
    python perf/linalg.py --only solve --sizes 4 32

A row is an operation on one matrix or a stack of them, compiled, with its arguments in place. The
processes take turns, a fraction of a second each, since the machine may have other users. A row's
"seconds" are the median over turns of each turn's best call, "best" the best call of all turns:
where others keep a CPU busy, threads that wait for each other make the former many times as long.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

FRAMEWORKS = ("tracejit", "numpy", "jax", "torch")
OPERATIONS = ("cholesky", "solve", "solve_vector", "eigh", "svd", "qr", "inv", "det", "eig")
SHAPES = ((4, 4), (32, 32), (256, 256), (1000, 1000), (100, 8, 8), (400, 40, 40))
DTYPES = ("float32", "float64")
RESULTS = Path(__file__).parent / "results" / "cpu-linalg.json"
#: seconds of a turn, at least two calls, and turns
TURN, TURNS = 0.1, 3
#: and before each: the threads of the process before may spin on for a while
PAUSE = 0.1


def operand(operation: str, shape: tuple[int, ...], dtype: str) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    a = rng.standard_normal(shape)
    n = shape[-1]
    if operation in ("cholesky", "eigh"):
        a = a @ np.swapaxes(a, -1, -2) + n * np.eye(n)
    more = {"solve": [(*shape[:-1], n)], "solve_vector": [(*shape[:-1], 1)]}.get(operation, [])
    return [x.astype(dtype) for x in (a, *(rng.standard_normal(s) for s in more))]


def function(api: Any, operation: str) -> Callable[..., Any]:
    """The operation on arrays of a NumPy-like namespace."""
    la = api.linalg
    if operation in ("solve", "solve_vector"):
        return lambda a, b: la.solve(a, b)
    if operation == "svd":
        return lambda a: tuple(la.svd(a, full_matrices=False))
    if operation in ("eigh", "qr", "eig"):
        return lambda a: tuple(getattr(la, operation)(a))
    return lambda a: getattr(la, operation)(a)


def prepared(framework: str, operation: str, given: list[np.ndarray]) -> Callable[[], Any]:
    """A call of the compiled operation that returns when its results are there."""
    if framework == "numpy":
        call = function(np, operation)
        return lambda: call(*given)
    if framework == "tracejit":
        import tracejit
        import tracejit.numpy

        run = tracejit.jit(function(tracejit.numpy, operation))
        own = [tracejit.numpy.asarray(x) for x in given]
        return lambda: run(*own)
    if framework == "jax":
        import jax

        jax.config.update("jax_enable_x64", True)
        compiled = jax.jit(function(jax.numpy, operation))
        there = [jax.numpy.asarray(x) for x in given]
        return lambda: jax.block_until_ready(compiled(*there))
    import torch

    if operation == "svd":
        eager: Any = lambda a: torch.linalg.svd(a, full_matrices=False)  # noqa: E731
    else:
        eager = function(torch, operation)
    tensors = [torch.from_numpy(x) for x in given]
    return lambda: eager(*tensors)


def worker(framework: str) -> None:
    """Rows come in as JSON, one a line; out goes the best time of each turn, in seconds."""
    calls: dict[str, Callable[[], Any]] = {}
    for line in sys.stdin:
        operation, shape, dtype = json.loads(line)
        try:
            if line not in calls:
                calls.clear()
                given = operand(operation, tuple(shape), dtype)
                calls[line] = prepared(framework, operation, given)
                calls[line]()
                time.sleep(0.2)  # better code may come in the background
                calls[line]()
            time.sleep(PAUSE)
            best, end, count = float("inf"), time.perf_counter() + TURN, 0
            while count < 2 or time.perf_counter() < end:
                start = time.perf_counter()
                calls[line]()
                best = min(best, time.perf_counter() - start)
                count += 1
            answer: Any = best
        except Exception as error:
            answer = f"{type(error).__name__}: {error}"[:200]
        print(json.dumps(answer), flush=True)


def measured(rows: list[tuple[str, tuple[int, ...], str]], names: list[str]) -> list[Any]:
    environment = dict(os.environ, JAX_PLATFORMS="cpu", TRACEJIT_CACHE="off")
    processes = {
        name: subprocess.Popen(
            [sys.executable, __file__, "--worker", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        for name in names
    }
    found = []
    for row in rows:
        times: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(TURNS):
            for name, process in processes.items():
                assert process.stdin is not None and process.stdout is not None
                process.stdin.write(json.dumps(row) + "\n")
                process.stdin.flush()
                answer = json.loads(process.stdout.readline())
                if isinstance(answer, float):
                    times[name].append(answer)
        operation, shape, dtype = row
        entry: dict[str, Any] = {"operation": operation, "shape": shape, "dtype": dtype}
        for key, choose in (("seconds", statistics.median), ("best", min)):
            entry[key] = {name: choose(t) if t else None for name, t in times.items()}
        found.append(entry)
        print(line_of(found[-1]), flush=True)
    for process in processes.values():
        process.terminate()
    return found


def line_of(row: dict[str, Any]) -> str:
    """Microseconds of the best calls, and how much longer others take than tracejit."""
    seconds = row["best"]
    own = seconds.get("tracejit")
    cells = []
    for name, value in seconds.items():
        text = "-" if value is None else f"{value * 1e6:.1f}"
        ratio = f" ({value / own:.2f})" if own and value and name != "tracejit" else ""
        cells.append(f"{name} {text}{ratio}")
    shape = "x".join(map(str, row["shape"]))
    return f"{row['operation']:<13}{shape:<12}{row['dtype']:<9}" + "  ".join(cells)


def save(found: list[Any]) -> None:
    """Put the rows in the place of those of earlier runs."""
    rows = json.loads(RESULTS.read_text())["rows"] if RESULTS.exists() else []
    known = {(r["operation"], tuple(r["shape"]), r["dtype"]): r for r in (*rows, *found)}
    text = {"cpus": os.cpu_count(), "unit": "seconds", "rows": list(known.values())}
    RESULTS.write_text(json.dumps(text, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worker")
    parser.add_argument("--only", nargs="*", default=list(OPERATIONS))
    parser.add_argument("--sizes", nargs="*", type=int, help="the last axis")
    parser.add_argument("--dtypes", nargs="*", default=list(DTYPES))
    parser.add_argument("--frameworks", nargs="*", default=list(FRAMEWORKS))
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    if options.worker:
        worker(options.worker)
        return
    shapes = [s for s in SHAPES if not options.sizes or s[-1] in options.sizes]
    rows = [(o, s, d) for o in options.only for s in shapes for d in options.dtypes]
    found = measured(rows, options.frameworks)
    if options.save:
        save(found)


if __name__ == "__main__":
    main()
