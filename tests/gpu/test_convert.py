"""Kernels of a CPU as kernels of a GPU: the same results, to the bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

import numpy as np
import pytest

import tracejit as tj
from tests.fuzz.graphs import random_arrays
from tests.gpu.run_lowered import garbage, run_chain
from tests.passes.loop_graphs import random_loop
from tests.passes.pass_checks import graph_of, hostile
from tests.passes.test_stencils import field, five_points, loop, periodic
from tracejit.errors import InternalError
from tracejit.ir.build import building
from tracejit.ir.graph import Graph, Value
from tracejit.ir.prim import Primitive
from tracejit.kernel import program
from tracejit.kernel.gpu.convert import converted, to_gpu
from tracejit.kernel.gpu.loops import lower_loop_gpu
from tracejit.kernel.gpu.target import GpuTarget
from tracejit.kernel.lower import Lowered, lower_group
from tracejit.kernel.lower_loop import lower_loop
from tracejit.kernel.lower_stencil import lower_stencil
from tracejit.kernel.nodes import If, Local, Loop
from tracejit.kernel.partial import lower_parts
from tracejit.kernel.text import parse, show
from tracejit.kernel.verify import verify
from tracejit.passes import stencils
from tracejit.passes.group import partition
from tracejit.passes.groups import Partition
from tracejit.transform import PRIMS

TARGET = GpuTarget(arch=90, multiprocessors=132, compute="f32", workspace=lambda spec: None)
LOWER = sorted(name for name, prim in PRIMS.items() if prim.lower is not None and prim.cases)


def lowered(graph: Graph | Partition) -> Iterator[Lowered]:
    """What a CPU runs for the groups of a graph that have kernels."""
    parts = graph if isinstance(graph, Partition) else partition(graph, lambda node: True)
    for group in parts.groups:
        match group.kind:
            case "fused":
                yield lower_parts(group, parts, 64) or lower_group(group, parts, 64)
            case "loop":
                yield lower_loop(group, parts, 64)
            case "stencil":
                yield lower_stencil(group, parts, 64)
            case "lower":
                yield program._lower_custom(group, 64)


def check(one: Lowered, given: dict[Value, np.ndarray] | None = None) -> Lowered:
    """Run a CPU's kernels and those they become on the same operands; what they write agrees."""
    return check_same(one, converted(one), given)


def check_same(
    one: Lowered, found: Lowered, given: dict[Value, np.ndarray] | None = None
) -> Lowered:
    """Both write the same."""
    drawn = hostile([v.type for v in one.reads], 0)
    reads = [(given or {}).get(v, a) for v, a in zip(one.reads, drawn, strict=True)]
    firsts = [
        np.zeros(v.type.shape, v.type.dtype) if one.reads != one.writes else garbage(v.type)
        for v in one.writes
    ]
    results = []
    for link in (one, found):
        outs = [a.copy() for a in firsts]
        scratch = [garbage(t) for t in link.scratch]
        flag = run_chain(link, [*(a.copy() for a in reads), *outs, *scratch])
        results.append((flag, *(a.tobytes() for a in outs)))
    assert results[0] == results[1]
    for kernel in kernels(found):
        (block,) = kernel.body
        assert isinstance(block, Loop) and block.how == "block"
    return found


def kernels(one: Lowered | None) -> Iterator:
    while one is not None:
        yield one.kernel
        one = one.then


def case_graph(prim: Primitive, types: tuple, params: dict) -> Graph:
    with building() as b:
        outs = prim(*[b.input(t) for t in types], **params)
        return b.graph(list(outs) if isinstance(outs, tuple) else [outs])


@pytest.mark.parametrize("name", LOWER)
def test_rules_of_primitives(name: str) -> None:
    prim = PRIMS[name]
    assert prim.cases is not None
    for types, params, *_ in prim.cases():
        for one in lowered(case_graph(prim, types, params)):
            check(one)


@pytest.mark.parametrize("shape", ("3,5", "40,3", "2,3,40", "130"))
def test_fused_groups(shape: str) -> None:
    def f(x: Value) -> object:
        P = PRIMS
        axis = (x.type.ndim - 1,)
        total = P["reduce_sum"](P["exp"](x), axes=axis)
        turned = P["transpose"](P["mul"](x, x), permutation=tuple(range(x.type.ndim))[::-1])
        return P["mul"](P["sin"](x), x), total, turned

    for one in lowered(graph_of(f"f32[{shape}]", f)):
        check(one)


@pytest.mark.parametrize("seed", (0, 1, 2, 3, 4, 6, 7, 8, 9, 11))
def test_loops(seed: int) -> None:
    graph = random_loop(Random(seed))
    arrays = dict(zip(graph.inputs, random_arrays(graph, seed), strict=True))
    parts = partition(graph, lambda node: True)
    for group in parts.groups:
        if group.kind == "loop":
            check_same(lower_loop(group, parts, 64), lower_loop_gpu(group, parts, TARGET), arrays)


@pytest.mark.parametrize("step, shape", ((five_points, (12, 20)), (periodic, (12, 20))))
def test_stencils(step: Callable, shape: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {"LEAST_BYTES": 256, "ROWS_EACH": 2, "MOST_STEPS": 4, "LINE_BYTES": 2048}
    for name, value in {**limits, "LEAST_LINE": 64}.items():
        monkeypatch.setattr(stencils, name, value)
    groups = tj.jit(loop(step, 3)).stages(field(*shape)).groups
    assert [group.kind for group in groups.groups] == ["stencil"]
    for one in lowered(groups):
        check(one)


def text_of(text: str) -> list[str]:
    kernel = to_gpu(parse(text))
    verify(kernel)
    return show(kernel).splitlines()[1:]


def test_threads_share_loops_that_are_independent() -> None:
    assert text_of(
        """kernel k(in x: f32[40,64], out y: f32[40,64])
  par i in 40:
    seq j in 64:
      y[i, j] = x[i, j]
"""
    ) == [
        "  block block0 in idiv(add(2560, 63), 64):",
        "    thread thread0 in 64:",
        "      number: i64 = add(mul(block0, 64), thread0)",
        "      i: i64 = idiv(number, 64)",
        "      j: i64 = irem(number, 64)",
        "      y[i, j] = x[i, j]",
    ]


@pytest.mark.parametrize(
    "statement",
    (
        "y[i, j] = add(y[i, 0], x[i, j])",
        "y[i, idiv(j, 2)] = x[i, j]",
        "y[i, x1[i, j]] = x[i, j]",
        "s = add(s, x[i, j])",
    ),
)
def test_loops_that_depend_on_their_order_stay(statement: str) -> None:
    kernel = to_gpu(
        parse(f"""kernel k(in x: f32[4,64], in x1: i64[4,64], inout y: f32[4,64])
  par i in 4:
    s: f32 = 0.0
    seq j in 64:
      {statement}
    y[i, 0] = s
""")
    )
    (block,) = kernel.body
    assert isinstance(block, Loop)
    (thread,) = block.body
    assert isinstance(thread, Loop)
    local, guarded = thread.body
    assert isinstance(local, Local) and isinstance(guarded, If)
    assert any(isinstance(s, Loop) for s in guarded.then)


def scratch_kernel(extent: int) -> str:
    return f"""kernel k(in x: f32[3,{extent}], out y: f32[3,{extent}])
  par i in 3:
    a: f32[{extent}] scratch
    vec(16x1) j in {extent}:
      a[j] = x[i, j]
    vec(16x1) j in {extent}:
      y[i, j] = a[sub({extent - 1}, j)]
"""


@pytest.mark.parametrize("extent, place", ((8, "private"), (2000, "shared"), (16000, "memory")))
def test_scratch_by_size(extent: int, place: str) -> None:
    kernel = parse(scratch_kernel(extent))
    if place == "memory":
        with pytest.raises(InternalError, match="memory"):
            to_gpu(kernel)
    found = converted(Lowered(kernel, (), (), ()))
    assert len(found.scratch) == (place == "memory")
    (block,) = found.kernel.body
    assert isinstance(block, Loop)
    assert len(block.body) == 1 + (place == "shared")
    if extent < 10:
        x = np.arange(3 * extent, dtype=np.float32).reshape(3, extent)
        memory = [x, np.empty_like(x)]
        run_chain(found, memory)
        assert np.array_equal(memory[1], x[:, ::-1])


def test_loops_side_by_side_are_kernels() -> None:
    kernel = parse("""kernel k(in x: f32[70], out y: f32[70], out z: f32[70])
  vec(16x1) i in 70:
    y[i] = x[i]
  vec(16x1) i in 70:
    z[i] = y[sub(69, i)]
""")
    found = converted(Lowered(kernel, (), (), ()))
    assert len(list(kernels(found))) == 2
    x = np.arange(70, dtype=np.float32)
    memory = [x, np.empty_like(x), np.empty_like(x)]
    run_chain(found, memory)
    assert np.array_equal(memory[2], x[::-1])
