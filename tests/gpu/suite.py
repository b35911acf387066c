"""Every kernel that the tests' graphs become on a GPU: compiled, inspected, run, compared.

    COLLECT_GRAPHS=folder python -m pytest tests        keeps the graphs (collect.py)
    python -m tests.gpu.suite folder                    0 if all is well; prints a table

Each kernel is compiled by NVRTC for sm_80 and sm_90: no registers are spilled (but around calls),
arrays lie in them, and accesses of 16 bytes that the source asks for are there. Then g++ compiles
the kernels, many at a time into a disk cache of this run, and each graph runs on the device that
plays a GPU, its kernels with barriers in three orders of threads, and is compared with the
interpreter; a share of the graphs with every access checked. What is not there, NVRTC, cuobjdump or
g++, is said, and its part left out.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzz.checks import compare
from tests.gpu.collect import collected
from tests.ops.op_checks import wide_graph
from tracejit.config import config
from tracejit.errors import BackendError, MissingRule, TracejitError
from tracejit.ir import interp
from tracejit.ir.graph import Graph, walk_nodes
from tracejit.ir.text import parse
from tracejit.ir.types import TensorType, kind
from tracejit.kernel.gpu.library import AttentionSpec, ConvSpec, Spec
from tracejit.kernel.gpu.source import CudaSource
from tracejit.kernel.gpu.target import GpuTarget
from tracejit.kernel.nodes import Barrier, Combine, Kernel
from tracejit.kernel.program import LibraryCall
from tracejit.kernel.verify import verify
from tracejit.kernel.visit import statements
from tracejit.runtime.gpu import cudnn_check, host_compile, nvrtc
from tracejit.runtime.gpu.code import source_of
from tracejit.runtime.gpu.executable import compile_gpu, make_gpu_stages, target_of
from tracejit.runtime.gpu.host_device import HostDevice
from tracejit.transform import PRIMS

ARCHITECTURES = (80, 90)
#: orders of threads in which kernels run whose threads wait for each other
ORDERS = (0, 1, 5)
#: elements of one array, and of all values of a graph; graphs with more are compiled and not run
MOST_ELEMENTS, MOST_VALUES = 600_000, 6_000_000
#: of every so many graphs, one runs with its accesses checked too
CHECKED_SHARE = 3
#: failures that are printed
SHOWN = 40
#: operations of which several results are right: vectors have any sign, equal values any order
SEVERAL = frozenset(("svd", "eigh", "eig", "qr", "geqrf", "schur", "hessenberg", "tridiagonal"))
#: a loop in a graph of so many operations is a search, which rounding may end a step earlier
SEARCH = 150
#: why a graph is not even lowered: it holds a user's function
UNREAD = "the text does not say all of it"
#: how cuDNN's reasons begin for what it does not have
NO_PLAN = ("cuDNN knows no engine", "cuDNN's tensors have their features")
#: kernels of one compilation by NVRTC
BATCH = 64
#: seconds that the interpreter gets for a graph: loops may not end on these numbers
ENDS = 2
#: seconds after which the run of a graph is a failure
SLOW = 180
PROCESSES = min(len(os.sched_getaffinity(0)), 2)
#: bytes of C's types
_SIZES = {
    **{"bool": 1, "signed char": 1, "unsigned char": 1, "short": 2, "unsigned short": 2},
    **{"int": 4, "unsigned": 4, "float": 4, "double": 8, "long long": 8, "unsigned long long": 8},
    **{"__half": 2, "__nv_bfloat16": 2, "tj_complex<float>": 8, "tj_complex<double>": 16},
}
#: CUDA's own reduction of large arguments takes an array of up to 40 bytes; complex exp has it too.
#: What lives across calls of its subroutines lies there as well: lgamma, pow, and of doubles / and
#: sqrt; where floats are divided it is a few values
_CALLS = re.compile(r"\b(?:sin|cos|tan|sincos)f?\(|\btj_(?:exp|sin|cos|tan|pow)|\b(?:lgamma|pow)\(")
_OF_DOUBLES = re.compile(r" / |\bsqrt\(")
_MOST_LOCAL, _ASIDE = 40, 12


# ---- lowering ------------------------------------------------------------------------------------


@dataclass
class Lowered:
    """A graph, why it does not run (or nothing), its kernels' names and what it asks of cuDNN; what
    is wrong with it.
    """

    text: str
    why_not: str = ""
    kernels: tuple[str, ...] = ()
    specs: frozenset[Spec] = frozenset()
    wrong: str = ""


def target() -> GpuTarget:
    """An H200 whose libraries have everything."""
    return target_of(HostDevice(), config.current())


def lowered(texts: list[str]) -> tuple[list[Lowered], dict[str, CudaSource]]:
    """What graphs become."""
    sources: dict[str, CudaSource] = {}
    found = []
    nominal = target()
    for text in texts:
        try:
            graph = parse(text, PRIMS)
        except (TracejitError, KeyError):
            found.append(Lowered(text, UNREAD))
            continue
        try:
            stages = make_gpu_stages(graph, nominal, config.current())
            kernels = []
            for kernel in stages.program.kernels:
                verify(kernel)
                source = source_of(kernel)
                kernels.append(source.name)
                sources[source.name] = source
            asked = {c.spec for c in stages.program.calls if isinstance(c, LibraryCall)}
            specs = frozenset(spec for spec in asked if isinstance(spec, ConvSpec | AttentionSpec))
            found.append(Lowered(text, why_not(graph), tuple(kernels), specs))
        except Exception as error:
            found.append(Lowered(text, wrong=f"lowering: {type(error).__name__}: {error}"))
    return found, sources


def why_not(graph: Graph) -> str:
    """Why a graph is not run."""
    types = [*(v.type for v in graph.inputs), *graph.output_types]
    values = [v.type.size for node in walk_nodes(graph) for v in node.outputs]
    if max((t.size for t in types), default=0) > MOST_ELEMENTS or sum(values) > MOST_VALUES:
        return "too large"
    if any(node.prim.effect for node in walk_nodes(graph)):
        return "has effects"
    if any(n.prim.name == "factored_solve" and n.inputs[2] in graph.inputs for n in graph.nodes):
        return "takes a permutation, and none is drawn"
    return ""


# ---- machine code --------------------------------------------------------------------------------


def compiled(sources: list[CudaSource], arch: int) -> tuple[list[str], Counter[str]]:
    """What is wrong with the machine code of kernels; and counts of what was looked at."""
    try:
        images = nvrtc.compile_cubin(sources, arch)
    except BackendError as error:
        if len(sources) == 1:
            return [f"{sources[0].name}, sm_{arch}: {error}"], Counter()
        found = [compiled([source], arch) for source in sources]
        return sum((w for w, _ in found), []), sum((c for _, c in found), Counter())
    wrong, counts = [], Counter[str]()
    for image in {id(i): i for i in images.values()}.values():
        inside = [source for source in sources if images[source.name] is image]
        resources = nvrtc.inspect(image)
        looked_at = nvrtc.tool("cuobjdump") and any(promises(s.text) for s in inside)
        wide = wide_accesses(nvrtc.sass(image)) if looked_at else None
        for source in inside:
            about = f"{source.name}, sm_{arch}"
            counts["kernels compiled"] += 1
            local = resources[source.name].local
            if local > aside(source.text):
                wrong.append(f"{about}: {local} bytes of local memory\n{source.text}")
            promised = Counter(how for how, _ in promises(source.text))
            counts["promise accesses of 16 bytes"] += wide is not None and bool(promised)
            for how, count in promised.items() if wide is not None else ():
                # where nothing narrower is left, its value did not matter
                if (there := wide[source.name, how]) < count and wide[source.name, how, "narrow"]:
                    what = f"{there} accesses ({how}) of 16 bytes to {count} buffers"
                    wrong.append(f"{about}: {what}\n{source.text}")
    return wrong, counts


def aside(text: str) -> int:
    """Bytes of local memory that a kernel may have without a spilled register or array."""
    calls = _CALLS.search(text) or ("double" in text and _OF_DOUBLES.search(text))
    return _MOST_LOCAL if calls else _ASIDE


def promises(text: str) -> dict[tuple[str, str], str]:
    """What CUDA C reads or writes 16 bytes at a time: "LD" or "ST" and the buffer, with the vector.
    A compiler may read less than 16 bytes of whole numbers whose upper halves are not used, and of
    complex numbers of which one part is.
    """
    found = {}
    vectors = re.findall(r"tj_vec<(.+), (\d+)> (\w+)(?: = (?!\{)|;)", text)
    bits = {name: _SIZES[kind] * int(count) for kind, count, name in vectors}
    narrowed = set(
        re.findall(r"\((?:unsigned |signed )?(?:char|short|int|unsigned)\)\(?(\w+)", text)
    )
    for name, buffer in re.findall(r"(\w+) = tj_load<\d+>\(&(\w+)\[", text):
        parts_used = set(re.findall(rf"\b{name}\[lane\](\.re|\.im)?", text))
        if (
            bits.get(name, 0) >= 16
            and name not in narrowed
            and parts_used not in ({".re"}, {".im"})
        ):
            found["LD", buffer] = name
    for buffer, name in re.findall(r"tj_store\(&(\w+)\[.*, (\w+)\);", text):
        if bits.get(name, 0) >= 16:
            found["ST", buffer] = name
    return found


def wide_accesses(text: str) -> Counter[tuple[str, ...]]:
    """Instructions that load ("LD") and store ("ST") 16 bytes of memory, by function; and those of
    less, as "narrow".
    """
    found: Counter[tuple[str, ...]] = Counter()
    name = ""
    for line in text.splitlines():
        if "Function :" in line:
            name = line.partition(":")[2].strip()
        elif access := re.search(r"\b(LD|ST)G?\.(\S*)", line):
            found[(name, access[1], *(() if "128" in access[2] else ("narrow",)))] += 1
    return found


def host_code(sources: list[CudaSource], checks: bool) -> list[str]:
    """Compiles kernels for the host into the disk cache; what does not compile."""
    try:
        HostDevice(checks=checks).load(sources)
    except TracejitError as error:
        if len(sources) == 1:
            return [f"{sources[0].name}: {error}\n{sources[0].text}"]
        half = len(sources) // 2
        return host_code(sources[:half], checks) + host_code(sources[half:], checks)
    return []


# ---- running -------------------------------------------------------------------------------------


@dataclass
class Ran:
    """How runs went."""

    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    slowest: tuple[float, str] = (0.0, "")


def ran(texts: list[str], checks: bool, note: str) -> Ran:
    """Runs graphs. ``note``: the folder where the graph is named that this process is at."""
    found = Ran()
    for text in texts:
        at = Path(note, str(os.getpid()))
        at.write_text(text)
        start = time.perf_counter()
        graph = parse(text, PRIMS)
        try:
            found.counts[run(graph, checks)] += 1
        except Exception as error:
            other = undetermined(graph) if isinstance(error, AssertionError) else ""
            what = f"running{' with checks' * checks}: {type(error).__name__}: {str(error)[:2000]}"
            if other:
                found.counts[other] += 1
            else:
                found.wrong.append(f"{what}\n{text[:3000]}")
        found.slowest = max(found.slowest, (time.perf_counter() - start, text))
        at.unlink()
    return found


def undetermined(graph: Graph) -> str:
    """What a right result may be that is not the interpreter's; empty where there is none. The
    factors themselves are checked in test_cusolver.py.
    """
    nodes = list(walk_nodes(graph))
    names = {node.prim.name for node in nodes}
    if names & SEVERAL or any(name.startswith(("raw_", "lapack_")) for name in names):
        return "to other signs of vectors"
    if "while" in names and len(nodes) > SEARCH:
        return "to another number of steps"
    return ""


def run(graph: Graph, checks: bool) -> str:
    """Runs a graph, twice on one memory; in what way."""
    for signs in ((-1, 1, 1), (1,)):  # loops may wait for numbers that grow
        arrays = list(inputs(graph, signs))
        try:
            with at_most(ENDS):
                wanted, wide = expected(graph, arrays)
        except TimeoutError:
            continue
        with at_most(SLOW):
            return run_on(graph, arrays, wanted, wide, checks)
    return "not at all: the interpreter takes too long"


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Raises TimeoutError after so many seconds."""

    def stop(*_: Any) -> None:
        raise TimeoutError(f"{seconds} s were not enough")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def run_on(graph: Graph, arrays: list[np.ndarray], wanted: Any, wide: Any, checks: bool) -> str:
    """Runs a graph on a device and compares."""
    device = HostDevice(checks=checks)
    executable = compile_gpu(graph, device)
    if any(waits(kernel) for kernel in executable.program.kernels):
        device.orders = ORDERS
    try:
        for _ in range(2):  # the second time on an arena and counters that have been used
            found = executable.run(arrays)
    except IndexError:
        if isinstance(wanted, IndexError):
            return "raised as they should"
        raise
    if isinstance(wanted, IndexError):
        raise AssertionError("an index outside of its axis went unseen")
    found, wanted, wide = ([parts(a) for a in arrays] for arrays in (found, wanted, wide))
    compare(found, wanted, wide)
    for k, (got, want, true) in enumerate(zip(found, wanted, wide, strict=True)):
        if kind(want.dtype) == "f":  # what is no number in any precision
            lost = np.isnan(want) & np.isnan(true) & ~np.isnan(got)
            assert not lost.any(), f"result {k}: {got} instead of {want}"
    return "in three orders" if len(device.orders) > 1 else "in one order"


def parts(array: np.ndarray) -> np.ndarray:
    """Complex numbers as pairs; all else as it is."""
    if kind(array.dtype) != "c":
        return array
    return np.stack([array.real, array.imag])


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


def inputs(graph: Graph, signs: Sequence[int]) -> Iterator[np.ndarray]:
    random = np.random.default_rng(len(graph.nodes))
    short = any(is_short(v.type) for node in walk_nodes(graph) for v in node.outputs)
    for v in graph.inputs:
        array = values(v.type, random, signs)
        # where 16 bits are rounded to on the way, sums of large numbers say little
        mixed = short and kind(v.type.dtype) == "f" and not is_short(v.type)
        yield array * array.dtype.type(0.1) if mixed else array


def is_short(type: TensorType) -> bool:
    return kind(type.dtype) == "f" and type.dtype.itemsize == 2


def values(type: TensorType, random: np.random.Generator, signs: Sequence[int]) -> np.ndarray:
    """Small numbers; integers mostly within short axes."""
    letter = kind(type.dtype)
    if letter == "b":
        found: Any = random.random(type.shape) < 0.5
    elif letter in "iu":
        found = random.integers(0, 3, type.shape)
    elif letter == "c":
        found = random.normal(0, 1, type.shape) + 1j * random.normal(0, 1, type.shape)
    else:
        found = random.uniform(0.1, 1.5, type.shape) * random.choice(signs, type.shape)
    return np.asarray(found).astype(type.dtype)


# ---- all of it -----------------------------------------------------------------------------------


def pieces(items: Sequence[Any], size: int) -> list[Any]:
    return [items[k : k + size] for k in range(0, len(items), size)]


class Suite:
    """The phases, and what they found."""

    def __init__(self, folder: str, scratch: str) -> None:
        self.texts = collected(folder)
        self.scratch = scratch
        self.began = self.last = time.perf_counter()
        self.failed: list[str] = []
        self.passed = 0
        self.graphs: list[Lowered] = []
        self.sources: dict[str, CudaSource] = {}

    def say(self, what: str) -> None:
        now = time.perf_counter()
        print(f"{now - self.began:6.1f} s  {now - self.last:6.1f} s  {what}", flush=True)
        self.last = now

    def each(self, work: Callable[..., Any], *items: Sequence[Any]) -> Iterator[Any]:
        """``work`` on items, in processes; one that dies is a failure of what it was at."""
        todo = list(zip(*items, strict=True))
        while todo:
            with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
                futures = [pool.submit(work, *item) for item in todo]
                left = []
                for future, item in zip(futures, todo, strict=True):
                    try:
                        yield future.result()
                    except BrokenProcessPool:
                        left.append(item)
            died = [path.read_text() for path in Path(self.scratch, "at").iterdir()]
            if left and not died:
                raise RuntimeError(f"a process died in {work.__name__}")
            self.failed += [f"running: the process died\n{text}" for text in died]
            for path in Path(self.scratch, "at").iterdir():
                path.unlink()
            todo = [tuple(without(x, died) for x in item) for item in left]

    def lower(self) -> None:
        for graphs, sources in self.each(lowered, pieces(self.texts, 100)):
            self.graphs += graphs
            self.sources |= sources
        wrong = [f"{g.wrong}\n{g.text}" for g in self.graphs if g.wrong]
        self.failed += wrong
        read = sum(g.why_not != UNREAD for g in self.graphs)
        self.passed += read - len(wrong)
        if not read:
            self.failed.append("no graph was collected")
        self.say(f"{read} graphs lowered, {len(self.sources)} kernels")

    def plans(self) -> None:
        """cuDNN's plans for what the graphs ask of it, on an H200 that is not here."""
        specs = sorted(frozenset().union(*(g.specs for g in self.graphs)), key=repr)
        if why := cudnn_check.missing():
            return self.say(f"skipped: no plans of cuDNN: {why}")
        properties = (Path(__file__).parent.parent / "data" / "h200.json").read_text()
        found = cudnn_check.check_plans(specs, properties)
        without_plan = [c for c in found if c.error]
        strange = [c for c in without_plan if not c.error.startswith(NO_PLAN)]
        self.failed += [f"cuDNN: {c.error}\n{c.spec}" for c in strange]
        self.passed += len(found) - len(strange)
        self.say(
            f"cuDNN: {len(found) - len(without_plan)} of {len(found)} convolutions and attentions "
            f"have plans, generated kernels serve for the others"
        )
        return None

    def machine_code(self) -> None:
        if why := missing(nvrtc.version):
            return self.say(f"skipped: no machine code is made: {why}")
        if nvrtc.tool("cuobjdump") is None:
            self.say("skipped: accesses are not looked at: there is no cuobjdump")
        # those whose instructions are looked at come first: that takes as long as half of the rest
        sources = sorted(self.sources.values(), key=lambda source: not promises(source.text))
        batches = pieces(sources, BATCH)
        for arch in ARCHITECTURES:
            counts: Counter[str] = Counter()
            for wrong, found in self.each(compiled, batches, [arch] * len(batches)):
                self.failed += wrong
                counts += found
            self.passed += counts["kernels compiled"]
            self.say(f"sm_{arch}: " + ", ".join(f"{n} {what}" for what, n in counts.items()))
        return None

    def run(self) -> None:
        if why := missing(host_compile.compiler):
            return self.say(f"skipped: nothing runs: {why}")
        ready = [g for g in self.graphs if not g.wrong and not g.why_not]
        for checks in (False, True):
            self.run_some(ready[::CHECKED_SHARE] if checks else ready, checks)
        return None

    def run_some(self, graphs: list[Lowered], checks: bool) -> None:
        names = dict.fromkeys(name for g in graphs for name in g.kernels)
        sources = [self.sources[name] for name in names]
        # one process at a time: it starts compilers side by side itself
        for wrong in self.each(host_code, [sources], [checks]):
            self.failed += wrong
        self.say(f"{len(sources)} kernels compiled by g++{', with checks' * checks}")
        texts = pieces([g.text for g in graphs], 20)
        note = str(Path(self.scratch, "at"))
        counts, slowest = Counter[str](), (0.0, "")
        items = (texts, [checks] * len(texts), [note] * len(texts))
        for found in self.each(ran, *items):
            self.failed += found.wrong
            counts += found.counts
            slowest = max(slowest, found.slowest)
        self.passed += sum(counts.values())
        said = ", ".join(f"{n} {what}" for what, n in counts.items())
        self.say(f"graphs ran{' with checks' * checks}: {said}; longest {slowest[0]:.1f} s")


def without(items: Any, texts: list[str]) -> Any:
    return [x for x in items if x not in texts] if isinstance(items, list) else items


def missing(ask: Callable[[], Any]) -> str:
    """What is said where a tool is not there."""
    try:
        ask()
    except BackendError as error:
        return str(error)
    return ""


def main(folder: str) -> int:
    with tempfile.TemporaryDirectory(prefix="tracejit-suite-") as scratch:
        # processes that are started from here on keep compiled code there
        os.environ["TRACEJIT_CACHE"] = str(Path(scratch, "cache"))
        Path(scratch, "at").mkdir()
        suite = Suite(folder, scratch)
        print("  since    takes")
        suite.lower()
        left = Counter(g.why_not for g in suite.graphs if g.why_not)
        for why, count in left.items():
            print(f"          {count} graphs are not run: {why}")
        suite.plans()
        suite.machine_code()
        suite.run()
    for text in suite.failed[:SHOWN]:
        print(f"--- {text}\n")
    print(f"{suite.passed} passed, {len(suite.failed)} failed")
    return 1 if suite.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
