"""A compiled graph: every stage of it, and ``run``.

executable = compile_graph(graph, backend="llvm", threads=2)
executable.run([x, y])          NumPy arrays in and out
executable.stages               graph, optimised, groups, plan, kernels, sources: all print
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from tracejit.codegen.main import (
    BLAS_SET,
    BLAS_THREADS,
    DGEMM,
    FIRST,
    FLAGS,
    HOST,
    PARALLEL_FOR,
    SGEMM,
)
from tracejit.config import Settings, config
from tracejit.errors import BackendError, OutOfBoundsError
from tracejit.ir import interp
from tracejit.ir.graph import Graph, walk_nodes
from tracejit.ir.text import show as show_graph
from tracejit.kernel.program import GemmCall, HostCall, KernelCall, Program, lower_program
from tracejit.kernel.text import show as show_kernel
from tracejit.lazy import lazy
from tracejit.passes.group import partition
from tracejit.passes.groups import Partition
from tracejit.passes.outputs import own_outputs
from tracejit.passes.pipeline import OPTIMISE, check_names, run_passes
from tracejit.passes.place import Plan, place_buffers
from tracejit.runtime import cpu, driver, report
from tracejit.runtime.buffers import ALIGN, empty, pointer, ready
from tracejit.runtime.native import host_target, thread_pool

# the printers of Python load when they are asked for
_module = lazy("tracejit.codegen.module")
_numba = lazy("tracejit.codegen.numba")


@dataclass(frozen=True)
class Stages:
    """What a function became on its way to machine code; each part has a readable text."""

    graph: Graph
    optimised: Graph
    partition: Partition
    program: Program
    seconds: dict[str, float]
    threads: int

    @property
    def groups(self) -> Partition:
        return self.partition

    @property
    def plan(self) -> Plan:
        return self.program.plan

    @cached_property
    def kernels(self) -> tuple[str, ...]:
        """The text of each distinct kernel."""
        return tuple(show_kernel(k) for k in self.program.kernels)

    @cached_property
    def sources(self) -> Sources:
        """The printed program: ``sources.llvm`` and ``sources.numba``."""
        return Sources(self)

    def __repr__(self) -> str:
        return f"<Stages of {self.graph!r}, {len(self.program.kernels)} kernels>"

    def __str__(self) -> str:
        """All but the sources."""
        texts = {
            "graph": show_graph(self.graph),
            "optimised": show_graph(self.optimised),
            "groups": str(self.groups),
            "plan": str(self.plan),
            "kernels": "\n".join(self.kernels),
        }
        return "\n".join(f"--- {name}\n{text.rstrip()}" for name, text in texts.items())


class Sources:
    """A program as text, printed when asked for."""

    def __init__(self, stages: Stages) -> None:
        self._stages = stages

    @cached_property
    def llvm(self) -> str:
        """LLVM text of the kernels and of ``main``."""
        return cpu.sources(self._stages.program, self._stages.threads)

    @cached_property
    def numba(self) -> str:
        """One Python module that needs only NumPy and Numba."""
        graph = self._stages.graph
        names = [v.name.strip() or f"argument_{k}" for k, v in enumerate(graph.inputs)]
        return _module.print_source(  # type: ignore[no-any-return]
            self._stages.program, graph.name, names
        )

    def __str__(self) -> str:
        return self.llvm


class Interpreted:
    """A graph run op by op by NumPy: mode "fast_compile" and back end "numpy"."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def run(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        return interp.run(self.graph, arrays)


@dataclass(frozen=True, slots=True)
class Workspace:
    """What one run at a time may use: the arena, and for native code its table ``env`` with the
    kernels' flags.

    Runs in several threads, or a run within a host call of another, have one each.
    """

    arena: np.ndarray
    address: int
    flags: np.ndarray
    env: np.ndarray
    env_address: int


class Executable:
    """A graph compiled for the CPU."""

    def __init__(self, stages: Stages, backend: str) -> None:
        self.stages = stages
        self.backend = backend
        self.program = stages.program
        self.spaces: list[Workspace] = []
        #: what a host call raised, by the thread it ran in
        self.failures: dict[int, BaseException] = {}
        plan = self.program.plan
        self.output_types = self.stages.graph.output_types
        self.args_table = ctypes.c_void_p * max(len(stages.graph.inputs), 1)
        self.outs_table = ctypes.c_void_p * max(len(self.output_types), 1)
        self.constants = [node.params["value"].array for node in plan.constants]
        if backend == "numba":
            self.numba = {k: _numba.compile_numba(k) for k in self.program.kernels}
        else:
            self._prepare_native(stages.threads)

    @property
    def graph(self) -> Graph:
        return self.stages.graph

    def run(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The results on ``arrays``, which must have the graph's input types."""
        inputs = [ready(a) for a in arrays]
        return [array for array, _ in self.launch(inputs, [pointer(a) for a in inputs])]

    def launch(
        self, arrays: Sequence[np.ndarray], pointers: Sequence[int]
    ) -> list[tuple[np.ndarray, int]]:
        """Run on contiguous arrays at known addresses; results come with theirs."""
        results = [empty(t) for t in self.output_types]
        try:
            space = self.spaces.pop()
        except IndexError:
            space = self._new_space()
        if self.backend == "numba":
            outs = [array for array, _ in results]
            failed = driver.run_plan(
                self.program, arrays, outs, space.arena, self.constants, self.numba
            )
            self._check_flags(failed, arrays)
        else:
            args = self.args_table(*pointers)
            outs_table = self.outs_table(*[address for _, address in results])
            self.main.call(args, outs_table, space.address, space.env_address)
            if self.failures or self.main.env.flags:
                self._raise_failures(space, arrays)
        self.spaces.append(space)
        return results

    def _new_space(self) -> Workspace:
        raw = np.empty(self.program.plan.arena + ALIGN, np.uint8)
        start = -pointer(raw) % ALIGN
        flags = np.zeros(len(self.main.env.flags) + 1 if self.backend != "numba" else 1, np.int64)
        env = self.env_table.copy() if self.backend != "numba" else np.zeros(FIRST, np.uint64)
        env[FLAGS] = pointer(flags)
        return Workspace(raw[start:], pointer(raw) + start, flags, env, pointer(env))

    # ---- native ----

    def _prepare_native(self, threads: int) -> None:
        self.main = cpu.compile_main(self.program, threads)
        env = self.main.env
        table = np.zeros(env.size, np.uint64)
        table[PARALLEL_FOR] = self.main.pool
        if any(isinstance(call, GemmCall) for call in self.program.calls):
            table[SGEMM], table[DGEMM] = cpu.blas()["sgemm"], cpu.blas()["dgemm"]
            table[BLAS_SET], table[BLAS_THREADS] = cpu.blas_threads()
        self.callback = _HOST(self._host)
        table[HOST] = ctypes.cast(self.callback, ctypes.c_void_p).value or 0
        for kernel, place in env.kernels.items():
            table[place] = self.main.addresses[kernel]
        for k, constant in enumerate(self.constants):
            table[env.constants + k] = pointer(constant)
        self.env_table = table

    def _raise_failures(self, space: Workspace, arrays: Sequence[np.ndarray]) -> None:
        """Raise what a host call raised, or what a kernel's flag says."""
        failure = self.failures.pop(threading.get_ident(), None)
        if failure is not None:
            raise failure
        if space.flags.any():
            flags = zip(self.main.env.flags, space.flags.tolist(), strict=False)
            self._check_flags(list(flags), arrays)

    def _check_flags(
        self, failed: Sequence[tuple[KernelCall, int]], arrays: Sequence[np.ndarray]
    ) -> None:
        """Raise for a kernel that reports a failure. The interpreter, run again, says which index
        it was.
        """
        for call, code in failed:
            if code:
                if not any(node.prim.effect for node in walk_nodes(self.graph)):
                    interp.run(self.graph, arrays)
                at = call.checks[min(code, len(call.checks)) - 1] if call.checks else None
                raise OutOfBoundsError(
                    "an index lies outside its axis",
                    at=at,
                    hint='pass mode="clip", "fill", "drop" or "wrap" where that is meant',
                )

    def _host(self, number: int, table: int) -> int:
        """Called by ``main``: run a node by its NumPy meaning."""
        call = self.program.calls[number]
        assert isinstance(call, HostCall)
        try:
            slots = (ctypes.c_void_p * len(self.program.plan.slots)).from_address(table)
            driver.run_host(call, lambda slot, type: view_at(slots[slot] or 0, type))
        except BaseException as error:  # it must not cross native code: raised again by run()
            self.failures[threading.get_ident()] = error
            return 1
        return 0


_HOST = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)


def view_at(address: int, type: Any) -> np.ndarray:
    """An array over memory at ``address``."""
    if type.nbytes == 0:
        return np.empty(type.shape, type.dtype)
    raw = (ctypes.c_char * type.nbytes).from_address(address)
    return np.frombuffer(raw, type.dtype).reshape(type.shape)


def warm_up() -> None:
    """Load what the first compilation needs: LLVM and the threads."""
    host_target()
    if config.current().threads > 1:
        thread_pool()


def compile_graph(
    graph: Graph, *, backend: str, mode: str, threads: int, settings: Settings | None = None
) -> Executable | Interpreted:
    """Compile ``graph``. ``backend``: llvm, numba or numpy; ``mode``: default, fast_compile or
    debug.
    """
    if backend == "numpy" or mode == "fast_compile":
        return Interpreted(graph)
    if backend == "cuda":
        raise BackendError("the cuda back end is not available in this version")
    settings = settings or config.current()
    stages = make_stages(graph, threads=threads, settings=settings)
    start = time.perf_counter()
    executable = Executable(stages, backend)
    stages.seconds["machine code"] = time.perf_counter() - start
    report.finish(stages, settings)
    return executable


def make_stages(graph: Graph, *, threads: int, settings: Settings | None = None) -> Stages:
    """Every stage of ``graph`` up to kernels."""
    settings = settings or config.current()
    seconds: dict[str, float] = {}

    def timed(name: str, make: Any) -> Any:
        start = time.perf_counter()
        found = make()
        seconds[name] = time.perf_counter() - start
        return found

    watcher = report.Watcher(settings, graph) if report.wanted(settings) else None
    off = frozenset(settings.off)
    check_names(off)
    optimised = timed("passes", lambda: run_passes(graph, OPTIMISE, after=watcher, off=off))
    owned = timed("outputs", lambda: own_outputs(optimised, cpu.can_fuse))
    parts = timed("groups", lambda: partition(owned, cpu.can_fuse))
    plan = timed("plan", lambda: place_buffers(parts))
    program = timed("kernels", lambda: lower_program(plan, host_target().vector_bytes))
    return Stages(graph, optimised, parts, program, seconds, threads)
