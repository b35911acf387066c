"""What a compiled random graph is held to.

check_graph(graph, arrays)      compiles it, checks every stage, compares results
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from random import Random

import numpy as np

from tests.fuzz.simulate import check_values
from tests.ops.op_checks import wide_graph
from tracejit.ir import interp
from tracejit.ir import text as graph_text
from tracejit.ir import verify as graph_verify
from tracejit.ir.graph import Graph
from tracejit.ir.types import TensorType, kind
from tracejit.kernel import interp as kernel_interp
from tracejit.kernel import lower, program
from tracejit.kernel import text as kernel_text
from tracejit.kernel import verify as kernel_verify
from tracejit.kernel.nodes import Kernel
from tracejit.passes import group
from tracejit.passes.donate import reused
from tracejit.passes.place import Plan
from tracejit.runtime import cpu, driver, executable
from tracejit.runtime.buffers import pointer
from tracejit.runtime.executable import Executable, compile_graph
from tracejit.transform import PRIMS

EPS = {"f16": 1e-3, "bf16": 8e-3, "f32": 1.2e-7, "f64": 2.2e-16}
SMALLEST = {2: 1.0, 4: 64.0, 8: 1e6}


def check_graph(graph: Graph, arrays: Sequence[np.ndarray], threads: int = 2) -> Executable:
    """Compile, check each stage, compare results."""
    graph_verify.verify(graph)
    made = compile_graph(graph, backend="llvm", mode="default", threads=threads)
    assert isinstance(made, Executable)
    graph_verify.verify(made.stages.optimised)
    assert graph_text.parse(graph_text.show(graph, full=True), PRIMS) == graph
    for kernel in made.program.kernels:
        kernel_verify.verify(kernel)
        assert kernel_text.parse(kernel_text.show(kernel)) == kernel
    check_plan(made.program.plan)
    random = Random(len(graph.nodes))
    for donated in (0, len(graph.inputs)):
        pairs = reused(made.program.plan, frozenset(range(donated)))
        check_values(made.stages.partition, made.program, pairs, random.randrange)
    with np.errstate(all="ignore"):
        wanted = interp.run(graph, arrays)
        wide = interp.run(
            wide_graph(graph), [a.astype("f8") if kind(a.dtype) == "f" else a for a in arrays]
        )
    compare(run_guarded(made, arrays), wanted, wide)
    compare(
        run_guarded(made, arrays), wanted, wide
    )  # in an arena and in results that have been used
    return made


def run_guarded(made: Executable, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Results that lie between bytes of a pattern, which must be as they were afterwards."""
    blocks: list[tuple[np.ndarray, slice]] = []

    def empty(type: TensorType) -> np.ndarray:
        raw = np.full(type.nbytes + 3 * 64, 0xA5, np.uint8)
        start = -pointer(raw) % 64 + 64
        inside = slice(start, start + type.nbytes)
        blocks.append((raw, inside))
        return raw[inside].view(type.dtype).reshape(type.shape)

    kept = executable.empty
    executable.empty = empty
    try:
        results = made.run(arrays)
    finally:
        executable.empty = kept
    for k, (raw, inside) in enumerate(blocks):
        assert (np.delete(raw, inside) == 0xA5).all(), f"memory around result {k} has been written"
    return results


@contextmanager
def limits(pick: Callable[[int], int]) -> Iterator[None]:
    """Other limits for fusion and threads than usual: small graphs get many kernels."""
    chosen = {
        (group, "RECOMPUTE_LIMIT"): (24, 0, 3)[pick(3)],
        (group, "EXPRESSION_LIMIT"): (160, 1, 4)[pick(3)],
        (group, "DEPTH_LIMIT"): (100, 2)[pick(2)],
        (group, "BUFFER_LIMIT"): (28, 4)[pick(2)],
        (group, "SMALL_SPACE"): (1 << 15, 1)[pick(2)],
        (program, "PARALLEL_WORK"): (60_000, 1)[pick(2)],
        (lower, "DEPTH"): (12, 1)[pick(2)],
    }
    before = {key: getattr(*key) for key in chosen}
    refuses = {
        "none": (),
        "some": ("mul", "transpose", "reduce_max"),
        "more": ("add", "tanh", "pad", "reduce_sum"),
    }
    refused = refuses[tuple(refuses)[pick(3)]]
    can_fuse = cpu.can_fuse
    try:
        for (module, name), value in chosen.items():
            setattr(module, name, value)
        cpu.can_fuse = lambda node: node.prim.name not in refused and can_fuse(node)
        yield
    finally:
        cpu.can_fuse = can_fuse
        for (module, name), value in before.items():
            setattr(module, name, value)


def compare(
    found: Sequence[np.ndarray], wanted: Sequence[np.ndarray], wide: Sequence[np.ndarray]
) -> None:
    """Integers and booleans equal; floats as far off as single steps in their precision are."""
    for k, (got, want, true) in enumerate(zip(found, wanted, wide, strict=True)):
        assert got.dtype == want.dtype and got.shape == want.shape
        if kind(want.dtype) != "f":
            np.testing.assert_array_equal(got, want, err_msg=f"result {k}")
            continue
        a, b, c = (np.asarray(x, np.float64) for x in (got, want, true))
        told = np.isfinite(b) & np.isfinite(c) & (np.abs(c) < 1e4)
        if not told.any():
            continue
        assert np.isfinite(a[told]).all(), f"result {k} is not finite: {a} instead of {b}"
        eps = float(np.finfo(want.dtype).eps) if want.dtype.itemsize > 2 else EPS["bf16"]
        scale = max(np.abs(b[told]).max(), SMALLEST[want.dtype.itemsize])
        allowed = 30 * np.abs(b[told] - c[told]).max() + 60 * eps * scale
        error = np.abs(a[told] - b[told]).max()
        assert error <= allowed, (
            f"result {k} is off by {error}, not {allowed}:\n{a}\ninstead of\n{b}"
        )


def check_plan(plan: Plan) -> None:
    """Storages alive at one time do not overlap, and the arena is not larger than it must be."""
    arena = [s for s in plan.storages if s.kind == "arena"]
    for k, a in enumerate(arena):
        assert a.offset + a.nbytes <= plan.arena
        for b in arena[:k]:
            apart = a.offset + a.nbytes <= b.offset or b.offset + b.nbytes <= a.offset
            assert apart or a.last < b.first or b.last < a.first, f"{a} and {b} overlap"


def run_in_python(made: Executable, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The program with every kernel interpreted: accesses outside of a buffer are errors there."""
    results = [np.zeros(t.shape, t.dtype) for t in made.graph.output_types]
    arena = np.zeros(made.program.plan.arena, np.uint8)

    def interpreted(kernel: Kernel):  # type: ignore[no-untyped-def]
        def call(buffers: Sequence[np.ndarray], sizes: Sequence[int]) -> int:
            named = {p.name: b for p, b in zip(kernel.params, buffers, strict=True)}
            return kernel_interp.run(kernel, named, dict(zip(kernel.sizes, sizes, strict=True)))

        return call

    kernels = {k: interpreted(k) for k in made.program.kernels}
    ready = [np.ascontiguousarray(a).reshape(a.shape) for a in arrays]
    failed = driver.run_plan(made.program, ready, results, arena, made.constants, kernels)
    assert not failed
    return results
