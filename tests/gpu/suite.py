"""Every kernel that the tests' graphs become on a GPU: compiled, inspected, run, compared.

    COLLECT_GRAPHS=folder python -m pytest tests        keeps the graphs (collect.py)
    python -m tests.gpu.suite folder                    0 if all is well; prints a table

Each kernel is compiled by NVRTC for sm_80 and sm_90: no registers are spilled, and accesses of 16
bytes that the source asks for are there. Each graph then runs on the device that plays a GPU, its
kernels with barriers in three orders of threads, and is compared with the interpreter.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np

from tests.fuzz.checks import compare
from tests.gpu.collect import collected
from tests.ops.op_checks import wide_graph
from tracejit.config import config
from tracejit.errors import MissingRule, TracejitError
from tracejit.ir import interp
from tracejit.ir.graph import Graph, walk_nodes
from tracejit.ir.text import parse
from tracejit.ir.types import TensorType, kind
from tracejit.kernel.gpu.source import CudaSource
from tracejit.kernel.gpu.target import GpuTarget
from tracejit.kernel.nodes import Barrier, Combine, Kernel, Scratch
from tracejit.kernel.verify import verify
from tracejit.kernel.visit import statements
from tracejit.runtime.gpu import nvrtc
from tracejit.runtime.gpu.code import source_of
from tracejit.runtime.gpu.executable import compile_gpu, make_gpu_stages
from tracejit.runtime.gpu.host_device import HostDevice
from tracejit.transform import PRIMS

ARCHITECTURES = (80, 90)
#: orders of threads in which kernels run whose threads wait for each other
ORDERS = (0, 1, 5)
#: graphs of more elements than this are compiled and not run
MOST_ELEMENTS = 60_000
#: kernels of one compilation
BATCH = 48
PROCESSES = os.cpu_count() or 1
_SIZES = {"float": 4, "double": 8, "int": 4, "unsigned": 4, "short": 2, "char": 1, "bool": 1}


# ---- lowering ------------------------------------------------------------------------------------


def target() -> GpuTarget:
    """An H200 whose libraries have everything."""
    device = HostDevice()

    def workspace(spec: Any) -> int | None:
        plan = device.library(spec)
        return None if plan is None else plan.workspace

    return GpuTarget(90, 132, "f32", workspace)


def lowered(texts: list[str]) -> tuple[dict[str, tuple[CudaSource, bool]], list[str], list[str]]:
    """Sources by name, each with whether it has arrays of its own in a thread; texts that do not
    read back, and what failed.
    """
    sources: dict[str, tuple[CudaSource, bool]] = {}
    unread, failed = [], []
    nominal = target()
    for text in texts:
        try:
            graph = parse(text, PRIMS)
        except (TracejitError, KeyError):
            unread.append(text)
            continue
        try:
            stages = make_gpu_stages(graph, nominal, config.current())
            for kernel in stages.program.kernels:
                verify(kernel)
                source = source_of(kernel)
                sources[source.name] = source, has_arrays(kernel)
        except Exception as error:
            failed.append(f"lowering: {type(error).__name__}: {error}\n{text}")
    return sources, unread, failed


def has_arrays(kernel: Kernel) -> bool:
    """Whether threads have arrays of their own, which need not all fit into registers."""
    [block] = kernel.body
    return any(isinstance(s, Scratch) for s in statements(block.body[-1:]))  # type: ignore[attr-defined]


# ---- machine code --------------------------------------------------------------------------------


def compiled(sources: list[tuple[CudaSource, bool]], arch: int) -> list[str]:
    """What is wrong with the machine code of kernels."""
    wrong = []
    images = nvrtc.compile_cubin([source for source, _ in sources], arch)
    for image in {id(i): i for i in images.values()}.values():
        resources = nvrtc.inspect(image)
        wide = wide_accesses(nvrtc.sass(image))
        for source, arrays in sources:
            if images[source.name] is not image:
                continue
            found = resources[source.name]
            if found.local and not arrays:
                wrong.append(f"{source.name}, sm_{arch}: {found.local} bytes are spilled")
            if promises_wide(source.text) and not wide[source.name]:
                wrong.append(f"{source.name}, sm_{arch}: no access of 16 bytes")
    return wrong


def promises_wide(text: str) -> bool:
    """Whether CUDA C reads or writes 16 bytes at a time."""
    for name, count in re.findall(r"tj_vec<(?:unsigned )?(?:long )?(\w+), (\d+)>", text):
        if _SIZES.get(name, 8) * int(count) >= 16:
            return True
    return False


def wide_accesses(text: str) -> Counter[str]:
    """Instructions that access 16 bytes of memory, by function."""
    found: Counter[str] = Counter()
    name = ""
    for line in text.splitlines():
        if "Function :" in line:
            name = line.partition(":")[2].strip()
        elif re.search(r"\b(LD|ST)G?\.\S*128", line):
            found[name] += 1
    return found


# ---- running -------------------------------------------------------------------------------------


def ran(texts: list[str]) -> tuple[Counter[str], list[str]]:
    """How many graphs ran, or why not; and what went wrong."""
    counts: Counter[str] = Counter()
    failed = []
    for text in texts:
        start = time.perf_counter()
        try:
            counts[run(parse(text, PRIMS))] += 1
        except Exception as error:
            failed.append(f"running: {type(error).__name__}: {str(error)[:2000]}\n{text[:3000]}")
        if time.perf_counter() - start > 20:
            failed.append(f"running: took {time.perf_counter() - start:.0f} s\n{text[:3000]}")
    return counts, failed


def run(graph: Graph) -> str:
    """Run a graph, twice on one memory; what came of it."""
    types = [*(v.type for v in graph.inputs), *graph.output_types]
    if sum(t.size for t in types) + sum(
        v.type.size for node in walk_nodes(graph) for v in node.outputs
    ) > 20 * MOST_ELEMENTS or any(t.size > MOST_ELEMENTS for t in types):
        return "too large to run"
    if any(node.prim.effect for node in walk_nodes(graph)):
        return "has effects"
    arrays = list(inputs(graph))
    wanted, wide = expected(graph, arrays)
    device = HostDevice()
    executable = compile_gpu(graph, device)
    if any(waits(kernel) for kernel in executable.program.kernels):
        device.orders = ORDERS
    try:
        for _ in range(2):  # the second time on an arena and counters that have been used
            found = executable.run(arrays)
    except IndexError:
        if isinstance(wanted, IndexError):
            return "ran"
        raise
    if isinstance(wanted, IndexError):
        raise AssertionError("an index outside of its axis went unseen")
    compare(found, wanted, wide)
    return "ran"


def waits(kernel: Kernel) -> bool:
    return any(isinstance(s, Barrier | Combine) for s in statements(kernel.body))


def expected(graph: Graph, arrays: list[np.ndarray]) -> Any:
    """What the interpreter gives, or the IndexError it raises; and the same in double precision."""
    with np.errstate(all="ignore"):
        try:
            wanted = interp.run(graph, arrays)
        except IndexError as error:
            return error, None
        doubled = [a.astype("f8") if kind(a.dtype) == "f" else a for a in arrays]
        try:
            return wanted, interp.run(wide_graph(graph), doubled)
        except (TracejitError, MissingRule):
            return wanted, wanted


def inputs(graph: Graph) -> Iterator[np.ndarray]:
    random = np.random.default_rng(len(graph.nodes))
    for v in graph.inputs:
        yield values(v.type, random)


def values(type: TensorType, random: np.random.Generator) -> np.ndarray:
    """Small numbers; integers mostly within short axes."""
    letter = kind(type.dtype)
    if letter == "b":
        found: Any = random.random(type.shape) < 0.5
    elif letter in "iu":
        found = random.integers(0, 3, type.shape)
    elif letter == "c":
        found = random.normal(0, 1, type.shape) + 1j * random.normal(0, 1, type.shape)
    else:
        found = random.uniform(0.1, 1.5, type.shape) * random.choice([-1, 1, 1], type.shape)
    return np.asarray(found).astype(type.dtype)


# ---- all of it -----------------------------------------------------------------------------------


def pieces(items: list[Any], size: int) -> list[list[Any]]:
    return [items[k : k + size] for k in range(0, len(items), size)]


def main(folder: str) -> int:
    texts = collected(folder)
    began = time.perf_counter()
    failed: list[str] = []

    def say(what: str) -> None:
        print(f"{time.perf_counter() - began:6.0f} s  {what}", flush=True)

    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        sources: dict[str, tuple[CudaSource, bool]] = {}
        unread: set[str] = set()
        for found, strange, wrong in pool.map(lowered, pieces(texts, 100)):
            sources.update(found)
            unread.update(strange)
            failed += wrong
        readable = [text for text in texts if text not in unread]
        say(f"{len(texts)} graphs, {len(unread)} of them not text; {len(sources)} kernels")
        batches = pieces(list(sources.values()), BATCH)
        for arch in ARCHITECTURES:
            for wrong in pool.map(compiled, batches, [arch] * len(batches)):
                failed += wrong
            say(f"compiled for sm_{arch} and inspected")
        counts: Counter[str] = Counter()
        for found_counts, wrong in pool.map(ran, pieces(readable, 25)):
            counts.update(found_counts)
            failed += wrong
        say(", ".join(f"{count} {what}" for what, count in counts.items()))
    for text in failed[:40]:
        print(f"--- {text}\n")
    print(f"{len(readable) + len(sources)} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
