"""The frameworks that are compared, each behind the same few functions.

    framework = load("jax", threads=2, x64=False)
    run = framework.prepare(workload)
    arguments = [framework.resident(a) for a in workload.inputs(rng)]
    framework.wait(run(*arguments))

In: a framework's name and a ``Workload``. Out: a function of resident arguments, compiled the way a
user of that framework would, and how to wait for and read its results. tracejit and JAX are given
the very same source; torch has its own.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

NAMES = ("tracejit", "jax", "torch", "torch.compile")
#: stands in the place of a framework and does nothing but a copy, or multiply-adds, as fast as the
#: machine can: what limits a row is measured in turns with the row
MACHINE = "machine"


@dataclass(frozen=True)
class Framework:
    """``prepare(workload)``: the function to time; ``resident(array)``: an argument in place."""

    name: str
    version: str
    prepare: Callable[[Any], Callable[..., Any]]
    resident: Callable[[Any], Any]
    wait: Callable[[Any], None]
    to_numpy: Callable[[Any], list[np.ndarray]]


def load(name: str, *, threads: int, x64: bool) -> Framework:
    """Import a framework and set it to ``threads`` threads.

    Raises ImportError where it is missing, ValueError for a name not in NAMES.

    JAX has no such setting: its worker's CPU affinity, set before the import, governs it.
    """
    if name not in (*NAMES, MACHINE):
        raise ValueError(f"no framework {name!r}; there are: {', '.join(NAMES)}")
    if name == "tracejit":
        return _tracejit()
    if name == MACHINE:
        return _machine(threads)
    if name == "jax":
        return _jax(x64)
    return _torch(name, threads)


def environment(threads: int, cache_folder: str, disk_cache: str | None = None) -> dict[str, str]:
    """Environment variables of a worker: the CPU only, and caches that no earlier run has filled.

    ``disk_cache``: a folder in which tracejit and JAX keep what they compiled; without one a first
    call compiles. Variables of OpenMP and BLAS are left alone: the worker's CPU affinity tells
    them how many threads there are, and what they do by default is what a user gets.
    """
    found = {
        "TRACEJIT_CACHE": "off",
        "TRACEJIT_THREADS": str(threads),
        "TORCHINDUCTOR_CACHE_DIR": os.path.join(cache_folder, "inductor"),
        "TORCHINDUCTOR_FX_GRAPH_CACHE": "0",
        "TORCHINDUCTOR_AUTOGRAD_CACHE": "0",
        "JAX_PLATFORMS": "cpu",
        "JAX_ENABLE_COMPILATION_CACHE": "0",
    }
    if disk_cache is not None:
        found |= {
            "TRACEJIT_CACHE": os.path.join(disk_cache, "tracejit"),
            "JAX_ENABLE_COMPILATION_CACHE": "1",
            "JAX_COMPILATION_CACHE_DIR": os.path.join(disk_cache, "jax"),
            # by default JAX keeps only what took a second to compile
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }
    return found


def leaves(tree: Any) -> list[Any]:
    """Arrays of nested tuples, lists and dicts, in a fixed order."""
    if isinstance(tree, dict):
        return [leaf for key in sorted(tree) for leaf in leaves(tree[key])]
    if isinstance(tree, tuple | list):
        return [leaf for part in tree for leaf in leaves(part)]
    return [tree]


def mapped(function: Callable[[Any], Any], tree: Any) -> Any:
    """The same nest of tuples, lists and dicts with ``function`` applied to every array."""
    if isinstance(tree, dict):
        return {key: mapped(function, value) for key, value in tree.items()}
    if isinstance(tree, tuple | list):
        return type(tree)(mapped(function, part) for part in tree)
    return function(tree)


def _submodules(package: str) -> Any:
    module = importlib.import_module(package)
    for part in ("numpy", "lax", "nn"):
        importlib.import_module(f"{package}.{part}")
    return module


def _tracejit() -> Framework:
    api = _submodules("tracejit")
    return Framework(
        "tracejit",
        api.__version__,
        lambda workload: api.jit(workload.array(api)),
        lambda array: mapped(api.numpy.asarray, array),
        lambda result: None,  # a call on the CPU returns when its results are there
        lambda result: [np.asarray(leaf) for leaf in leaves(result)],
    )


def _jax(x64: bool) -> Framework:
    api = _submodules("jax")
    api.config.update("jax_enable_x64", x64)

    def wait(result: Any) -> None:
        # block_until_ready of the module walks a pytree, which costs as much as a small kernel
        result.block_until_ready() if isinstance(result, api.Array) else api.block_until_ready(
            result
        )

    return Framework(
        "jax",
        api.__version__,
        lambda workload: api.jit(workload.array(api)),
        lambda array: mapped(api.numpy.asarray, array),
        wait,
        lambda result: [np.asarray(leaf) for leaf in leaves(result)],
    )


def _torch(name: str, threads: int) -> Framework:
    torch = importlib.import_module("torch")
    torch.set_num_threads(threads)
    compiled = name == "torch.compile"

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        return torch.compile(function, dynamic=False) if compiled else function

    return Framework(
        name,
        torch.__version__,
        lambda workload: workload.torch(torch, wrap),
        lambda array: mapped(torch.from_numpy, array),
        lambda result: None,  # torch computes on the CPU before it returns
        lambda result: [leaf.detach().numpy() for leaf in leaves(result)],
    )


def _machine(threads: int) -> Framework:
    tracejit = importlib.import_module("tracejit")
    machine = importlib.import_module("machine").Machine()

    def prepare(workload: Any) -> Callable[..., Any]:
        arguments = workload.make_inputs()
        if workload.flops:
            native, amount = machine.fma("f64" if workload.x64 else "f32", threads)
            limit = {"kind": "fma", "work": workload.flops, "amount": amount}
        else:
            results = tracejit.jit(workload.array(tracejit)).eval_shape(*arguments)
            nbytes = sum(x.size * x.dtype.itemsize for x in leaves((arguments, results)))
            native, amount = machine.better_copy(nbytes, threads)
            limit = {"kind": "copy", "work": nbytes, "amount": amount}

        def run(*given: Any) -> None:
            native.run(1)

        run.limit = limit  # type: ignore[attr-defined]
        return run

    return Framework(
        MACHINE,
        tracejit.__version__,
        prepare,
        lambda array: array,
        lambda result: None,
        lambda _: [],
    )
