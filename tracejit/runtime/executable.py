"""A compiled graph: every stage of it, and ``run``.

executable = compile_graph(graph, backend="llvm", threads=2)
executable.run([x, y])          NumPy arrays in and out
executable.stages               graph, optimised, groups, plan, kernels, sources: all print
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Generator, Sequence
from typing import Any

import numpy as np

from tracejit.codegen.main import (
    BLAS_SET,
    BLAS_THREADS,
    DGEMM,
    FLAGS,
    HOST,
    INTEGERS,
    PARALLEL_FOR,
    SGEMM,
)
from tracejit.config import Settings, config
from tracejit.errors import OutOfBoundsError
from tracejit.ir import interp
from tracejit.ir.graph import Graph, walk_nodes
from tracejit.ir.types import DTYPES, TensorType
from tracejit.kernel.program import (
    GemmCall,
    HostCall,
    KernelCall,
    LapackCall,
    Program,
    lower_program,
    work,
)
from tracejit.lazy import lazy
from tracejit.passes.donate import reused
from tracejit.passes.lapack import call_lapack
from tracejit.passes.pipeline import OPTIMISE
from tracejit.passes.place import Run
from tracejit.record import dataclass
from tracejit.runtime import cpu, driver, report
from tracejit.runtime.buffers import Place, empty, fresh, place_of, pointer, ready
from tracejit.runtime.lapack import lapack
from tracejit.runtime.library import prefetch_products
from tracejit.runtime.native import host_target, thread_pool
from tracejit.runtime.stages import Stages, staged
from tracejit.runtime.trampoline import caller, trampoline

# the Numba back end loads when it is asked for
_numba = lazy("tracejit.codegen.numba")
_gpu = lazy("tracejit.runtime.gpu.executable")


class Interpreted:
    """A graph run op by op by NumPy: mode "fast_compile" and back end "numpy"."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def run(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        return interp.run(self.graph, arrays)


@dataclass(frozen=True, slots=True)
class Workspace:
    """What one run at a time may use: the arena, and for native code its table ``env`` with the
    kernels' flags, what host calls go through, and what these raised.

    Runs in several threads, or a run within a host call of another, have one each.
    """

    arena: Place
    flags: np.ndarray
    env: Place
    callback: Any
    failures: list[BaseException]


class Executable:
    """A graph compiled for the CPU."""

    def __init__(self, stages: Stages, backend: str, donated: frozenset[int] = frozenset()) -> None:
        self.stages = stages
        self.backend = backend
        #: whether ``launch`` runs it, on addresses
        self.native = backend != "numba"
        self.program = stages.program
        self.spaces: list[Workspace] = []
        plan = self.program.plan
        self.output_types = self.stages.graph.output_types
        self.constants = [node.params["value"].array for node in plan.constants]
        if backend == "numba":
            self.numba = {k: _numba.compile_numba(k) for k in self.program.loops}
        else:
            self._prepare_native(stages.threads)
            #: results that may lie where a donated argument does; not where the interpreter, asked
            #: which index failed, reads the arguments once more
            self.reused = () if self.main.env.flags else reused(plan, donated)

    @property
    def graph(self) -> Graph:
        return self.stages.graph

    def run(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The results on ``arrays``, which must have the graph's input types."""
        inputs = [ready(a) for a in arrays]
        results = [empty(t) for t in self.output_types]
        if not self.native:
            arena = empty(TensorType(DTYPES["u8"], (self.program.plan.arena,)))
            failed = driver.run_plan(
                self.program, inputs, results, arena, self.constants, self.numba
            )
            self._check_flags(failed, inputs)
            return results
        space = self.launch([pointer(a) for a in inputs], [pointer(a) for a in results])
        if space is not None:
            self.raise_failure(space, inputs)
        return results

    def launch(self, operands: Sequence[int], results: Sequence[int]) -> Workspace | None:
        """Run on memory at known addresses. Where something fails: the workspace that says what,
        for ``raise_failure``.
        """
        space = self.shared
        if space is not None:
            self.call(space.arena, space.env, *operands, *results)
            return None
        try:
            space = self.spaces.pop()
        except IndexError:
            space = self._new_space()
        self.call(space.arena, space.env, *operands, *results)
        if self.may_fail and space.flags.any():
            return space
        self.spaces.append(space)
        return None

    def _new_space(self) -> Workspace:
        flags, failures = np.zeros(len(self.main.env.flags) + 1, np.int64), []
        env = self.env_table.copy()
        env[FLAGS] = pointer(flags)
        callback = None
        if self.hosts:
            server = self._serve(flags, failures)
            next(server)
            callback = _HOST(server.send)
            env[HOST] = ctypes.cast(callback, ctypes.c_void_p).value or 0
        arena = fresh(self.program.plan.arena)
        return Workspace(arena, flags, place_of(env), callback, failures)

    # ---- native ----

    def _prepare_native(self, threads: int) -> None:
        self.main = cpu.compile_main(self.program, threads)
        env = self.main.env
        table = np.zeros(env.size, np.uint64)
        table[PARALLEL_FOR] = self.main.pool
        if any(isinstance(call, GemmCall | LapackCall) for call in self.program.calls):
            table[SGEMM], table[DGEMM] = cpu.blas()["sgemm"], cpu.blas()["dgemm"]
            table[BLAS_SET], table[BLAS_THREADS] = cpu.blas_threads()
        if env.routines and (found := lapack()) is not None:
            table[INTEGERS] = found.integers
            for name, place in env.routines.items():
                table[place] = found.routines[name]
        for kernel, place in env.kernels.items():
            table[place] = self.main.cells[kernel]
        for k, constant in enumerate(self.constants):
            table[env.constants + k] = pointer(constant)
        self.env_table = table
        self.call = caller(
            self.main.code.addresses["main"],
            operands=len(self.graph.inputs),
            results=len(self.output_types),
            release=takes_long(self.program),
        )
        self.hosts = any(isinstance(call, HostCall) for call in self.program.calls)
        self.may_fail = self.hosts or bool(env.flags)
        stateless = not self.program.plan.arena and not self.may_fail
        #: what all runs use together, where they write to nothing of it
        self.shared = self._new_space() if stateless else None

    def raise_failure(self, space: Workspace, arrays: Sequence[np.ndarray]) -> None:
        """Raise what a host call raised, or what a kernel's flag says."""
        *flags, host = space.flags.tolist()
        if host:
            raise space.failures[0] if space.failures else KeyboardInterrupt
        self._check_flags(list(zip(self.main.env.flags, flags, strict=True)), arrays)

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

    def _serve(
        self, flags: np.ndarray, failures: list[BaseException]
    ) -> Generator[None, int, None]:
        """The host calls of a workspace, one after the other.

        What is raised must not cross native code: ``raise_failure`` raises it again. That holds for
        what a signal's handler raises, which is as soon as Python code runs after native code: a
        generator that goes on is already in its ``try`` then, a function that begins is not.
        """
        while True:
            try:
                self._host((yield))
                flags[-1] = 0
            except GeneratorExit:
                raise
            except BaseException as error:
                failures.append(error)

    def _host(self, place: int) -> None:
        """Run a node by its NumPy meaning. ``main`` left at ``place`` the number of the call and
        the address of its table of slots.
        """
        number, table = (ctypes.c_int64 * 2).from_address(place)
        call = self.program.calls[number]
        assert isinstance(call, HostCall)
        slots = (ctypes.c_void_p * len(self.program.plan.slots)).from_address(table)
        driver.run_host(call, lambda slot, type: view_at(slots[slot] or 0, type))


_HOST = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def view_at(address: int, type: Any) -> np.ndarray:
    """An array over memory at ``address``."""
    if type.nbytes == 0:
        return np.empty(type.shape, type.dtype)
    raw = (ctypes.c_char * type.nbytes).from_address(address)
    return np.frombuffer(raw, type.dtype).reshape(type.shape)


#: scalar operations, a microsecond or two of them, from which other Python threads may run beside
LONG = 10_000


def takes_long(program: Program) -> bool:
    """Whether a run takes so long that Python's lock is given up for it, or may call Python."""
    if any(not isinstance(call, KernelCall) or call.split for call in program.calls):
        return True
    if any(not isinstance(step, Run) for step in program.plan.steps):  # loops, or memory to copy
        return True
    sizes = [dict(zip(c.kernel.sizes, c.sizes, strict=True)) for c in program.kernel_calls]
    works = (work(c.kernel, n) for c, n in zip(program.kernel_calls, sizes, strict=True))
    return sum(works) > LONG


def warm_up() -> None:
    """Load what the first compilation needs: LLVM, the way into programs, and the threads."""
    host_target()
    trampoline()
    if config.current().threads > 1:
        thread_pool()
    prefetch_products()


def compile_graph(
    graph: Graph,
    *,
    backend: str,
    mode: str,
    threads: int,
    settings: Settings | None = None,
    donated: frozenset[int] = frozenset(),
    device: Any = None,
) -> Any:
    """Compile ``graph``. ``backend``: llvm, numba, numpy or cuda, which runs on ``device``;
    ``mode``: default, fast_compile or debug; ``donated``: inputs whose memory results may take.
    """
    settings = settings or config.current()
    if backend == "cuda":
        return _gpu.compile_gpu(graph, device, settings, donated)
    if backend == "numpy" or mode == "fast_compile":
        return Interpreted(graph)
    stages = make_stages(graph, threads=threads, settings=settings)
    start = time.perf_counter()
    executable = Executable(stages, backend, donated)
    stages.seconds["machine code"] = time.perf_counter() - start
    report.finish(stages, settings)
    return executable


def make_stages(graph: Graph, *, threads: int, settings: Settings | None = None) -> Stages:
    """Every stage of ``graph`` up to kernels."""
    return staged(
        graph,
        "llvm",
        settings or config.current(),
        passes=OPTIMISE if lapack() is not None else [p for p in OPTIMISE if p is not call_lapack],
        can_fuse=cpu.can_fuse,
        lower=lambda plan: lower_program(plan, host_target().vector_bytes, threads),
        threads=threads,
    )
