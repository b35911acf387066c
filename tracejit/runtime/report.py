"""What the settings ask to see of a compilation: ``show``, ``dump``, ``time``, ``check``.

watcher = Watcher(config.current(), "loss")       given to the passes as ``after``
finish(stages, config.current())                  prints and writes the later stages
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from tracejit.config import Settings
from tracejit.errors import MissingRule
from tracejit.ir.graph import Graph
from tracejit.ir.text import show
from tracejit.ir.verify import verify
from tracejit.kernel.verify import verify as verify_kernel

if TYPE_CHECKING:
    from tracejit.runtime.stages import Stages


def wanted(settings: Settings) -> bool:
    """Whether anybody looks at the graph between passes."""
    return bool(settings.check or settings.dump or settings.show)


def write(folder: str, name: str, text: str) -> None:
    """One dumped file."""
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
        file.write(text + "\n")


class Watcher:
    """Sees the graph after each pass: verifies it with ``check``, dumps it with ``dump``, prints it
    with ``show=passes``.
    """

    def __init__(self, settings: Settings, graph: Graph) -> None:
        self.settings = settings
        self.count = 0
        self("trace", graph)

    def __call__(self, name: str, graph: Graph) -> None:
        settings = self.settings
        if settings.check:
            verify(graph)
        if settings.dump:
            write(settings.dump, f"{graph.name}-{self.count:02}-{name}.ir", show(graph, full=True))
        wanted = "graph" if self.count == 0 else "passes"
        if wanted in settings.show:
            print(f"--- {graph.name} after {name}\n{show(graph)}", file=sys.stderr)
        self.count += 1


def finish(stages: Stages, settings: Settings) -> None:
    """Print and dump what comes after the passes."""
    name = stages.graph.name
    if settings.check:
        for kernel in stages.program.kernels:
            verify_kernel(kernel)
    if settings.show or settings.dump:
        texts = {
            "groups": str(stages.groups),
            "plan": str(stages.plan),
            "kernel": "\n".join(stages.kernels),
        }
        for stage, text in texts.items():
            if stage in settings.show:
                print(f"--- {name}: {stage}\n{text}", file=sys.stderr)
            if settings.dump:
                write(settings.dump, f"{name}-{stage}.txt", text)
        if "source" in settings.show:
            print(f"--- {name}: source\n{stages.sources}", file=sys.stderr)
        if settings.dump and stages.backend == "cuda":
            write(settings.dump, f"{name}.cu", stages.sources.cuda)
        elif settings.dump:
            write(settings.dump, f"{name}.ll", stages.sources.llvm)
            try:
                write(settings.dump, f"{name}_numba.py", stages.sources.numba)
            except MissingRule as error:
                write(settings.dump, f"{name}_numba.py", f"# {error.what}")
    if settings.time:
        parts = ", ".join(
            f"{stage} {seconds * 1e3:.1f} ms" for stage, seconds in stages.seconds.items()
        )
        print(f"--- {name}: {parts}", file=sys.stderr)
