"""Calls outside of jit on small arrays: tracejit's beside those of JAX, torch and NumPy.

    python perf/eager.py                 microseconds of each call, worst by JAX's first
    python perf/eager.py --turns 10      the least of ten turns

Each framework runs in a process of its own on one thread; they take turns, and the least time
counts. JAX's results are waited for.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy

FRAMEWORKS = ("tracejit", "jax", "torch", "numpy")

#: name, what NumPy's namespace calls it, what torch does; None where a framework has nothing
CALLS: tuple[tuple[str, str, str | None], ...] = (
    ("sum", "np.sum(x)", "torch.sum(x)"),
    ("sum, axis", "np.sum(m, axis=0)", "torch.sum(m, dim=0)"),
    ("mean", "np.mean(x)", "torch.mean(x)"),
    ("max", "np.max(x)", "torch.max(x)"),
    ("min, axis", "np.min(m, axis=0)", "torch.amin(m, dim=0)"),
    ("var", "np.var(x)", "torch.var(x)"),
    ("std, axis", "np.std(m, axis=0)", "torch.std(m, dim=0)"),
    ("argmax", "np.argmax(x)", "torch.argmax(x)"),
    ("any", "np.any(b)", "torch.any(b)"),
    ("cumsum", "np.cumsum(x)", "torch.cumsum(x, 0)"),
    ("exp", "np.exp(x)", "torch.exp(x)"),
    ("tanh", "np.tanh(x)", "torch.tanh(x)"),
    ("abs", "np.abs(x)", "torch.abs(x)"),
    ("add", "np.add(x, x)", "torch.add(x, x)"),
    ("multiply, number", "np.multiply(x, 2.0)", "torch.multiply(x, 2.0)"),
    ("maximum", "np.maximum(x, x)", "torch.maximum(x, x)"),
    ("where", "np.where(b, x, 0.0)", "torch.where(b, x, 0.0)"),
    ("clip", "np.clip(x, 0.5, 1.5)", "torch.clip(x, 0.5, 1.5)"),
    ("reshape", "np.reshape(x, (10, 10))", "torch.reshape(x, (10, 10))"),
    ("transpose", "np.transpose(m)", "torch.transpose(m, 0, 1)"),
    ("concatenate", "np.concatenate([x, x])", "torch.concatenate([x, x])"),
    ("stack", "np.stack([x, x])", "torch.stack([x, x])"),
    ("take", "np.take(x, i)", "torch.index_select(x, 0, i)"),
    ("roll", "np.roll(x, 1)", "torch.roll(x, 1)"),
    ("sort", "np.sort(x)", "torch.sort(x)"),
    ("dot", "np.dot(x, x)", "torch.dot(x, x)"),
    ("matmul", "np.matmul(m, m)", "torch.matmul(m, m)"),
    ("einsum", "np.einsum('ij,jk->ik', m, m)", "torch.einsum('ij,jk->ik', m, m)"),
    ("outer", "np.outer(x, x)", "torch.outer(x, x)"),
    ("zeros", "np.zeros(100)", "torch.zeros(100)"),
    ("arange", "np.arange(100)", "torch.arange(100)"),
    ("linspace", "np.linspace(0, 1, 50)", "torch.linspace(0, 1, 50)"),
    ("norm", "np.linalg.norm(x)", "torch.linalg.norm(x)"),
    ("cholesky", "np.linalg.cholesky(s)", "torch.linalg.cholesky(s)"),
    ("solve", "np.linalg.solve(s, s)", "torch.linalg.solve(s, s)"),
    ("x.mean()", "x.mean()", "x.mean()"),
    ("-x", "-x", "-x"),
    ("x[i]", "x[i]", "x[i]"),
    ("x.at[3].set", "x.at[3].set(1.0)", None),
    ("relu", "nn.relu(x)", "torch.nn.functional.relu(x)"),
    ("softmax", "nn.softmax(m)", "torch.nn.functional.softmax(m, dim=-1)"),
    ("gelu", "nn.gelu(x)", "torch.nn.functional.gelu(x)"),
    ("lax.add", "lax.add(x, x)", "torch.add(x, x)"),
    ("random.split", "random.split(key)", None),
    ("random.normal", "random.normal(key, (100,))", "torch.randn(100)"),
    ("random.randint", "random.randint(key, (100,), 0, 10)", "torch.randint(0, 10, (100,))"),
)


def arrays() -> dict[str, numpy.ndarray]:
    rng = numpy.random.default_rng(0)
    a = rng.normal(size=(8, 8))
    return {
        "x": rng.uniform(0.1, 2, 100).astype("f4"),
        "m": rng.normal(size=(32, 32)).astype("f4"),
        "s": (a @ a.T + 8 * numpy.eye(8)).astype("f4"),
        "b": rng.integers(0, 2, 100).astype(bool),
        "i": numpy.array([1, 5, 7, 2]),
    }


def names_of(framework: str) -> dict[str, Any]:
    """What the calls of a framework refer to."""
    if framework == "torch":
        import torch

        torch.set_num_threads(1)
        return {"torch": torch, **{k: torch.from_numpy(v.copy()) for k, v in arrays().items()}}
    if framework == "numpy":
        return {"np": numpy, **arrays()}
    if framework == "jax":
        import jax as api
        import jax.numpy as np
        from jax import lax, nn, random
    else:
        import tracejit as api
        import tracejit.numpy as np
        from tracejit import lax, nn, random
    spaces = {"api": api, "np": np, "lax": lax, "nn": nn, "random": random}
    return {**spaces, "key": random.key(0), **{k: np.array(v) for k, v in arrays().items()}}


def calls_of(framework: str) -> Iterator[tuple[str, Callable[[], Any]]]:
    names = names_of(framework)
    wait = "wait({})" if framework == "jax" else "{}"
    if framework == "jax":
        names["wait"] = names["api"].block_until_ready
    for name, plain, torch in CALLS:
        text = torch if framework == "torch" else plain
        if text is None or (
            framework == "numpy" and any(s in text for s in ("nn.", "lax.", ".at"))
        ):
            continue
        if framework == "numpy" and "random." in text:
            continue
        yield name, eval(f"lambda: {wait.format(text)}", names)


def least(call: Callable[[], Any], before: float) -> float:
    """Seconds of a call: the least of three samples of about half a millisecond, and ``before``."""
    start = time.perf_counter()
    call()
    count = max(3, min(100, int(5e-4 / max(time.perf_counter() - start, 1e-7))))
    for _ in range(3):
        start = time.perf_counter()
        for _ in range(count):
            call()
        before = min(before, (time.perf_counter() - start) / count)
    return before


def work(framework: str) -> None:
    """A turn for every line of the input: seconds of each call so far."""
    calls = dict(calls_of(framework))
    found = dict.fromkeys(calls, float("inf"))
    for call in calls.values():
        for _ in range(30):  # compiled, and remembered
            call()
    for _ in sys.stdin:
        found = {name: least(call, found[name]) for name, call in calls.items()}
        print(json.dumps(found), flush=True)


def measure(turns: int, frameworks: tuple[str, ...] = FRAMEWORKS) -> dict[str, dict[str, float]]:
    """Seconds of each call by framework; those that are not installed are left out."""
    env = dict(os.environ, JAX_PLATFORMS="cpu", OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    workers = {
        name: subprocess.Popen(
            [sys.executable, __file__, "--worker", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=env,
        )
        for name in frameworks
    }
    found: dict[str, dict[str, float]] = {}
    for _ in range(turns):
        for name, worker in list(workers.items()):
            assert worker.stdin is not None and worker.stdout is not None
            try:
                worker.stdin.write("turn\n")
                worker.stdin.flush()
                found[name] = json.loads(worker.stdout.readline())
            except (OSError, ValueError):
                del workers[name]
    for worker in workers.values():
        assert worker.stdin is not None
        worker.stdin.close()
        worker.wait()
    return found


def lines(found: dict[str, dict[str, float]]) -> Iterator[str]:
    own, jax = found["tracejit"], found.get("jax", {})
    yield f"{'microseconds outside of jit':<30}" + "".join(f"{name:>10}" for name in FRAMEWORKS)
    for name in sorted(own, key=lambda name: own[name] / jax.get(name, 1.0), reverse=True):
        times = [found.get(framework, {}).get(name) for framework in FRAMEWORKS]
        yield f"{name:<30}" + "".join(
            f"{'-' if t is None else f'{t * 1e6:.2f}':>10}" for t in times
        )
    if jax:
        slower = sum(own[name] > jax[name] for name in own)
        twice = sum(own[name] > 2 * jax[name] for name in own)
        yield f"{len(own)} calls: {slower} slower than JAX's, {twice} twice as slow or more"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--worker", default="")
    options = parser.parse_args()
    if options.worker:
        work(options.worker)
    else:
        print("\n".join(lines(measure(options.turns))))


if __name__ == "__main__":
    main()
