"""Fourier transforms: tracejit under jit, JAX under jit and torch, each in a process of its own.

    python perf/fft.py --save                   all rows, into perf/results/cpu-fft.json
    python perf/fft.py --only rfft --threads 1

The processes take turns (``turns.py``). "error" is that of tracejit's result in the Euclidean norm,
"pocketfft" that of SciPy's: against SciPy's in extended precision, relative.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import turns

FRAMEWORKS = ("tracejit", "jax", "torch")
ROWS = (
    ("fft", (64,), "complex64"),
    ("fft", (1024,), "complex64"),
    ("fft", (1 << 20,), "complex64"),
    ("fft", (1000, 64), "complex64"),
    ("fft", (1000, 1000), "complex64"),
    ("fft", (1000, 1024), "complex64"),
    ("fft", (1000, 1024), "complex128"),
    ("fft", (1000, 1009), "complex64"),
    ("rfft", (1 << 20,), "float32"),
    ("rfft", (10000, 30), "float32"),
    ("rfft", (1000, 1024), "float32"),
    ("rfft", (1000, 1125), "float32"),
    ("rfft", (1000, 1024), "float64"),
    ("irfft", (1000, 513), "complex64"),
    ("fft2", (1024, 1024), "complex64"),
    ("rfft2", (1024, 1024), "float32"),
    ("fftn", (128, 128, 128), "complex64"),
)
RESULTS = Path(__file__).parent / "results" / "cpu-fft.json"
#: seconds of a turn, at least three calls, and turns
TURN, TURNS = 0.1, 5
#: and before each: the threads of the process before may spin on for a while
PAUSE = 0.05

Row = tuple[str, tuple[int, ...], str]


def operand(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape)
    if dtype.startswith("complex"):
        x = x + 1j * rng.standard_normal(shape)
    return x.astype(dtype)


def prepared(framework: str, kind: str, x: np.ndarray) -> Callable[[], Any]:
    """A call of the transform that returns when its result is there."""
    if framework == "tracejit":
        import tracejit
        import tracejit.numpy

        run = tracejit.jit(getattr(tracejit.numpy.fft, kind))
        own = tracejit.numpy.asarray(x)
        return lambda: run(own)
    if framework == "jax":
        import jax

        jax.config.update("jax_enable_x64", True)
        compiled, there = jax.jit(getattr(jax.numpy.fft, kind)), jax.numpy.asarray(x)
        return lambda: compiled(there).block_until_ready()
    import torch

    torch.set_num_threads(int(os.environ["TRACEJIT_THREADS"]))
    tensor, function = torch.from_numpy(x), getattr(torch.fft, kind)
    return lambda: function(tensor)


def worker(framework: str) -> None:
    def call_of(row: Any) -> Callable[[], Any]:
        kind, shape, dtype = row
        return prepared(framework, kind, operand(tuple(shape), dtype))

    turns.serve(call_of, TURN, PAUSE, least=3)


def errors(row: Row) -> dict[str, float]:
    """Relative errors of tracejit and of pocketfft."""
    import scipy.fft

    kind, shape, dtype = row
    x = operand(shape, dtype)
    exact = getattr(scipy.fft, kind)(x.astype(np.result_type(x, np.longdouble)))
    size = np.linalg.norm(exact.ravel())
    found = {
        "error": np.asarray(prepared("tracejit", kind, x)()),
        "pocketfft": getattr(scipy.fft, kind)(x),
    }
    return {k: float(np.linalg.norm((y - exact).ravel()) / size) for k, y in found.items()}


def started(name: str, threads: int) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, "--worker", name]
    if threads < (os.cpu_count() or 1):  # JAX has no setting: it counts the CPUs it may use
        command = ["taskset", "-c", ",".join(map(str, range(threads))), *command]
    return turns.started(command, {"TRACEJIT_THREADS": str(threads)})


def measured(rows: list[Row], names: list[str], threads: int) -> list[Any]:
    found = []
    processes = {name: started(name, threads) for name in names}
    for row, times in turns.take_turns(rows, processes, TURNS):
        kind, shape, dtype = row
        entry = {"kind": kind, "shape": shape, "dtype": dtype, "threads": threads}
        found.append({**entry, **times, **errors(row)})
        print(line_of(found[-1]), flush=True)
    return found


def line_of(row: dict[str, Any]) -> str:
    shape = "x".join(map(str, row["shape"]))
    precision = f"error {row['error']:.1e}, pocketfft {row['pocketfft']:.1e}"
    return f"{row['kind']:<6}{shape:<13}{row['dtype']:<11}{turns.cells(row['best'])}  {precision}"


def key_of(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["kind"], tuple(row["shape"]), row["dtype"], row["threads"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worker")
    parser.add_argument("--only", nargs="*", help="kinds")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--frameworks", nargs="*", default=list(FRAMEWORKS))
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    if options.worker:
        worker(options.worker)
        return
    rows = [row for row in ROWS if not options.only or row[0] in options.only]
    found = measured(rows, options.frameworks, options.threads)
    if options.save:
        turns.save(RESULTS, found, key_of)


if __name__ == "__main__":
    main()
