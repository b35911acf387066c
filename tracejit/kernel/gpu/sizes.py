"""Kernels that do not depend on the batch: the outermost extent is the run-time size ``n0``.

    kernel over f32[64,1000] whose block loop runs to a number made of n0
        ->  kernel over f32[n0,1000], (64,)

Inner extents stay constants: indices are divided by them, and rows are written out to their length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tracejit.ir.expr import Load, Var
from tracejit.kernel.constants import of_sizes
from tracejit.kernel.nest import Axis
from tracejit.kernel.nodes import Atomic, Kernel, Store
from tracejit.kernel.sizes import SMALL
from tracejit.kernel.visit import nodes_of, statements

#: the outermost extent of a nest
SIZE = Var("n0", "i64")


def sized(kernel: Kernel, axes: Sequence[Axis]) -> tuple[Kernel, tuple[int, ...]]:
    """``kernel``, whose loops run to ``SIZE``, with that as its first size and the shapes that go
    with it; and its value, if it is used at all.

    A buffer goes with it whose first index is always that of the outermost axis. Floats that follow
    from the size (a mean is a sum times 1 / n0) are computed from it.
    """
    if SIZE not in nodes_of(kernel.body):
        return kernel, ()
    outermost = axes[0]
    follows: dict[str, bool] = {}
    for node in nodes_of(kernel.body):
        if isinstance(node, Load):
            first = bool(node.index) and node.index[0] == Var(outermost.var, "i64")
            follows[node.buffer] = follows.get(node.buffer, True) and first
    for stmt in statements(kernel.body):
        if isinstance(stmt, Store | Atomic):
            first = bool(stmt.index) and stmt.index[0] == Var(outermost.var, "i64")
            follows[stmt.buffer] = follows.get(stmt.buffer, True) and first
    params = tuple(
        replace(p, shape=(SIZE.name, *p.shape[1:]))
        if follows.get(p.name) and p.shape[0] == outermost.extent
        else p
        for p in kernel.params
    )
    general = replace(kernel, sizes=(SIZE.name, *kernel.sizes), params=params)
    if outermost.extent >= SMALL:
        general = of_sizes(general, {outermost.extent: SIZE.name})
    return general, (outermost.extent,)
