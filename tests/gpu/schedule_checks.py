"""What tests of schedules share: groups of a graph lowered for a GPU, run, and held to NumPy.

(lowered,) = check(graph_of("f32[64,100]", softmax))
print(texts(lowered))
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tests.fuzz.graphs import random_arrays
from tests.gpu.run_lowered import run
from tests.passes.test_group import rows
from tracejit.codegen.cuda import can_fuse
from tracejit.ir import interp
from tracejit.ir.build import full_like
from tracejit.ir.graph import Graph, Value
from tracejit.ir.types import kind
from tracejit.kernel.gpu.fused import lower_fused
from tracejit.kernel.gpu.target import GpuTarget
from tracejit.kernel.lower import Lowered
from tracejit.kernel.nodes import Kernel
from tracejit.kernel.text import show
from tracejit.passes.group import partition
from tracejit.passes.pipeline import OPTIMISE, run_passes
from tracejit.transform import PRIMS as P

TARGET = GpuTarget(arch=90, multiprocessors=132, compute="f32", workspace=lambda spec: None)
#: relative errors that the order of sums and other exponentials explain
TOLERANCE = {"f16": 1e-2, "bf16": 6e-2, "f32": 2e-5, "f64": 1e-12}


def lower_all(graph: Graph, target: GpuTarget = TARGET) -> list[Lowered]:
    """The fused groups of a graph as kernels."""
    parts = partition(run_passes(graph, OPTIMISE), can_fuse)
    return [lower_fused(g, parts, target) for g in parts.groups if g.kind == "fused"]


def chain(lowered: Lowered) -> Iterator[Lowered]:
    link: Lowered | None = lowered
    while link is not None:
        yield link
        link = link.then


def kernels(graph: Graph, target: GpuTarget = TARGET) -> list[Kernel]:
    return [link.kernel for one in lower_all(graph, target) for link in chain(one)]


def text(graph: Graph, target: GpuTarget = TARGET) -> str:
    return "\n".join(map(show, kernels(graph, target)))


def every_value(graph: Graph, arrays: Sequence[np.ndarray]) -> dict[Value, np.ndarray]:
    """What each value of a graph is, by NumPy."""
    values = [out for node in graph.nodes for out in node.outputs]
    with np.errstate(all="ignore"):
        found = interp.run(replace(graph, outputs=tuple(values)), arrays)
    return {**dict(zip(values, found, strict=True)), **dict(zip(graph.inputs, arrays, strict=True))}


def check(
    graph: Graph,
    arrays: Sequence[np.ndarray] | None = None,
    target: GpuTarget = TARGET,
    device: Any = None,
) -> list[Lowered]:
    """Run every fused group on what it reads; what it writes is what NumPy gives."""
    graph = run_passes(graph, OPTIMISE)
    known = every_value(graph, random_arrays(graph, 1) if arrays is None else arrays)
    parts = partition(graph, can_fuse)
    found = []
    for group in parts.groups:
        if group.kind == "fused":
            found.append(lower_fused(group, parts, target))
            outs, flag = run(found[-1], known, device=device)
            assert not flag
            for value, out in zip(group.outputs, outs, strict=True):
                same(out, known[value])
    return found


def same(found: np.ndarray, wanted: np.ndarray) -> None:
    if kind(wanted.dtype) != "f":
        np.testing.assert_array_equal(found, wanted)
        return
    name = {2: "f16", 4: "f32", 8: "f64"}[wanted.dtype.itemsize]
    near = TOLERANCE["bf16" if wanted.dtype.name == "bfloat16" else name]
    a, b = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    told = np.isfinite(b) & (np.abs(b) < 3e4)
    scale = max(np.abs(b[told]).max(), 1.0) if told.any() else 1.0
    np.testing.assert_allclose(a[told], b[told], rtol=near, atol=near * scale)


# ---- graphs ----


def relu(x: Any) -> Any:
    return P["max"](x, full_like(x, 0.0))


def biased(x: Any, b: Any) -> Any:
    return relu(P["add"](x, P["broadcast_in_dim"](b, shape=x.type.shape, dims=(1,))))


def layer_norm(x: Any) -> Any:
    total = P["reduce_sum"](x, axes=(1,))
    n = full_like(total, 1.0 / x.type.shape[1])
    mean = P["mul"](total, n)
    centred = P["sub"](x, rows(x, mean))
    variance = P["mul"](P["reduce_sum"](P["mul"](centred, centred), axes=(1,)), n)
    scale = P["rsqrt"](P["add"](variance, full_like(variance, 1e-3)))
    return P["mul"](centred, rows(x, scale)), mean


def softmax_gradient(y: Any, dy: Any) -> Any:
    total = P["reduce_sum"](P["mul"](y, dy), axes=(1,))
    return P["mul"](y, P["sub"](dy, rows(dy, total)))


def sums(axes: tuple[int, ...]) -> Callable[[Any], Any]:
    """Two reductions of one operand."""

    def build(x: Any) -> Any:
        return P["reduce_sum"](x, axes=axes), P["reduce_max"](P["mul"](x, x), axes=axes)

    return build


def variance(axes: tuple[int, ...]) -> Callable[[Any], Any]:
    """A reduction of what another one gives, and a map of the result."""

    def build(x: Any) -> Any:
        kept = tuple(a for a in range(x.type.ndim) if a not in axes)
        total = P["reduce_sum"](x, axes=axes)
        mean = P["mul"](total, full_like(total, 0.01))
        wide = P["broadcast_in_dim"](mean, shape=x.type.shape, dims=kept)
        apart = P["sub"](x, wide)
        return mean, P["sqrt"](P["reduce_sum"](P["mul"](apart, apart), axes=axes))

    return build


def plus_transposed(x: Any, y: Any) -> Any:
    return P["add"](x, P["transpose"](y, permutation=(1, 0)))
