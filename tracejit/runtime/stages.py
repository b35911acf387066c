"""What a function became on its way to machine code.

stages = staged(graph, "llvm", settings, passes=OPTIMISE, can_fuse=..., lower=...)
stages.graph, stages.optimised, stages.groups, stages.plan, stages.kernels, stages.sources
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from tracejit import source
from tracejit.config import Settings
from tracejit.errors import BackendError
from tracejit.ir.graph import Graph, Node
from tracejit.ir.text import show as show_graph
from tracejit.kernel.program import Program
from tracejit.kernel.text import show as show_kernel
from tracejit.lazy import lazy
from tracejit.passes.group import partition
from tracejit.passes.groups import Partition
from tracejit.passes.outputs import own_outputs
from tracejit.passes.pipeline import Pass, check_names, run_passes
from tracejit.passes.place import ALIGN, Plan, place_buffers
from tracejit.record import dataclass
from tracejit.runtime import cpu, report

# the printers of Python and of CUDA C load when they are asked for
_module = lazy("tracejit.codegen.module")
_cuda = lazy("tracejit.runtime.gpu.code")


@dataclass(frozen=True)
class Stages:
    """What a function became on its way to machine code; each part has a readable text."""

    graph: Graph
    optimised: Graph
    partition: Partition
    program: Program
    seconds: dict[str, float]
    threads: int
    backend: str

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
        """The printed program: ``sources.llvm``, ``sources.numba``, or ``sources.cuda``."""
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
        """LLVM text of the kernels and of ``main``. Raises BackendError for a GPU's program."""
        self._for_cpu("LLVM text")
        return cpu.sources(self._stages.program, self._stages.threads)

    @cached_property
    def numba(self) -> str:
        """One Python module that needs only NumPy and Numba. Raises BackendError for a GPU's
        program.
        """
        self._for_cpu("Numba source")
        graph = self._stages.graph
        names = [v.name.strip() or f"argument_{k}" for k, v in enumerate(graph.inputs)]
        return _module.print_source(  # type: ignore[no-any-return]
            self._stages.program, graph.name, names
        )

    @cached_property
    def cuda(self) -> str:
        """CUDA C of the kernels of a program for a GPU. Raises BackendError for one for the CPU."""
        if self._stages.backend != "cuda":
            raise BackendError(
                "these are stages of a program for the CPU, which has no CUDA C",
                at=source.here(),
                hint='jit(f, device="cuda") is for a GPU; without one, inside of '
                "tracejit.debug.cuda_on_cpu()",
            )
        return _cuda.sources(self._stages.program)  # type: ignore[no-any-return]

    def _for_cpu(self, what: str) -> None:
        if self._stages.backend == "cuda":
            raise BackendError(
                f"these are stages of a program for a GPU, which has no {what}",
                at=source.here(),
                hint="`.sources.cuda` is its source",
            )

    def __str__(self) -> str:
        return self.cuda if self._stages.backend == "cuda" else self.llvm


def staged(
    graph: Graph,
    backend: str,
    settings: Settings,
    *,
    passes: Sequence[Pass],
    can_fuse: Callable[[Node], bool],
    lower: Callable[[Plan], Program],
    align: int = ALIGN,
    threads: int = 1,
) -> Stages:
    """Every stage of ``graph`` up to kernels, for a back end that computes what ``can_fuse`` says
    inside of kernels and makes a program of a plan by ``lower``.
    """
    seconds: dict[str, float] = {}

    def timed(name: str, make: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        found = make()
        seconds[name] = time.perf_counter() - start
        return found

    watcher = report.Watcher(settings, graph) if report.wanted(settings) else None
    off = frozenset(settings.off)
    check_names(off)
    optimised = timed("passes", lambda: run_passes(graph, passes, after=watcher, off=off))
    owned = timed("outputs", lambda: own_outputs(optimised, can_fuse))
    parts = timed("groups", lambda: partition(owned, can_fuse))
    plan = timed("plan", lambda: place_buffers(parts, align))
    program = timed("kernels", lambda: lower(plan))
    return Stages(graph, optimised, parts, program, seconds, threads, backend)
