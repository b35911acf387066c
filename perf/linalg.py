"""Linear algebra under jit: tracejit, NumPy, JAX and torch, each in a process of its own.

    python perf/linalg.py --save                all rows, into perf/results/cpu-linalg.json
    python perf/linalg.py --only solve --sizes 4 32

A row is an operation on one matrix or a stack of them, compiled, with its arguments in place. The
processes take turns (``turns.py``). Where others keep a CPU busy, threads that wait for each other
make a row's "seconds" many times as long as its "best".
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import turns

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
    def call_of(row: Any) -> Callable[[], Any]:
        operation, shape, dtype = row
        return prepared(framework, operation, operand(operation, tuple(shape), dtype))

    turns.serve(call_of, TURN, PAUSE, least=2)


def measured(rows: list[tuple[str, tuple[int, ...], str]], names: list[str]) -> list[Any]:
    found = []
    commands = {name: [sys.executable, __file__, "--worker", name] for name in names}
    processes = {name: turns.started(command, {}) for name, command in commands.items()}
    for (operation, shape, dtype), times in turns.take_turns(rows, processes, TURNS):
        found.append({"operation": operation, "shape": shape, "dtype": dtype, **times})
        print(line_of(found[-1]), flush=True)
    return found


def line_of(row: dict[str, Any]) -> str:
    shape = "x".join(map(str, row["shape"]))
    return f"{row['operation']:<13}{shape:<12}{row['dtype']:<9}{turns.cells(row['best'])}"


def key_of(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["operation"], tuple(row["shape"]), row["dtype"]


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
        turns.save(RESULTS, found, key_of)


if __name__ == "__main__":
    main()
