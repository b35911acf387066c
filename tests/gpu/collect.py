"""Keeps the graphs that the tests compile, for ``suite.py``.

COLLECT_GRAPHS=folder python -m pytest tests        each process writes folder/<its number>.graphs
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tracejit.ir.graph import Graph
from tracejit.ir.text import show
from tracejit.runtime import executable
from tracejit.runtime.gpu import executable as gpu_executable

#: characters; graphs with larger constants written out are left out
MOST = 200_000
#: of the many alike graphs of these tests every so many is kept
SAMPLED, EVERY = "tests/vocabulary/", 12


def start(folder: str) -> None:
    """From here on every graph that is compiled is kept, each text once."""
    path = Path(folder) / f"{os.getpid()}.graphs"
    path.parent.mkdir(parents=True, exist_ok=True)
    seen: set[str] = set()

    def collecting(make: Callable[..., Any]) -> Callable[..., Any]:
        def made(graph: Graph, *args: Any, **kwargs: Any) -> Any:
            text = show(graph, full=True)
            if text not in seen and len(text) <= MOST and _wanted(text):
                seen.add(text)
                with path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(text) + "\n")
            return make(graph, *args, **kwargs)

        return made

    executable.make_stages = collecting(executable.make_stages)
    gpu_executable.make_gpu_stages = collecting(gpu_executable.make_gpu_stages)


def _wanted(text: str) -> bool:
    sampled = SAMPLED in os.environ.get("PYTEST_CURRENT_TEST", "")
    return not sampled or zlib.crc32(text.encode()) % EVERY == 0


def collected(folder: str) -> list[str]:
    """The texts that all processes kept, each once, without the lines they come from."""
    found: dict[str, None] = {}
    for path in sorted(Path(folder).glob("*.graphs")):
        for line in path.read_text(encoding="utf-8").splitlines():
            text = json.loads(line)
            found["\n".join(part.partition("  # ")[0].rstrip() for part in text.split("\n"))] = None
    return list(found)
