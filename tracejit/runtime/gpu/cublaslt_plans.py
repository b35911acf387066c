"""cuBLASLt on one stream of a device: plans for products, those in uneven batches too.

products = CublasLt(lambda: stream.ptr, device.fill)
plan = products.plan(spec)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from tracejit.ir.types import DTYPES
from tracejit.kernel.gpu.library import GemmSpec, Spec
from tracejit.ops.dot import MatrixView
from tracejit.runtime.gpu import shared
from tracejit.runtime.gpu.cublaslt import Context, GemmPlan, create, one_stride
from tracejit.runtime.gpu.device import LibraryPlan

#: products of one batch axis that are called one after the other, at most
REPEATS = 64


class CublasLt:
    """The library for the device that is current when it is asked for its first plan."""

    def __init__(self, stream: Callable[[], int], fill: Callable[[int, int, int], None]) -> None:
        self._stream = stream
        self._fill = fill
        self._context: Context | None = None

    def plan(self, spec: Spec) -> LibraryPlan | None:
        """A plan for a product; None where the library has none, or is missing."""
        if not isinstance(spec, GemmSpec) or shared.why_missing("cublasLt"):
            return None
        if self._context is None:
            self._context = Context(create(), self._stream, self._fill)
        context = self._context
        parts = split_batch(spec)
        if parts is None:
            return GemmPlan.make(spec, context)
        inner, steps = parts
        made = GemmPlan.make(inner, context)
        return None if made is None else Repeated(made, spec.matmul.batch_shape[0], steps)


class Repeated(LibraryPlan):
    """A plan that runs ``count`` times, its operands ``steps`` bytes further each time."""

    def __init__(self, plan: LibraryPlan, count: int, steps: tuple[int, ...]) -> None:
        self.workspace = plan.workspace
        self._plan = plan
        self._count = count
        self._steps = steps

    def run(self, addresses: Sequence[int], workspace: int) -> None:
        for k in range(self._count):
            places = [a + k * step for a, step in zip(addresses, self._steps, strict=True)]
            self._plan.run(places, workspace)


def split_batch(spec: GemmSpec) -> tuple[GemmSpec, tuple[int, ...]] | None:
    """The product of one element of the first batch axis, and the bytes from one to the next of
    each operand: for batches that no single stride walks through (heads inside of attention).
    None for others, which are one call.

    >>> from tracejit.ops.dot import as_matmul
    >>> from tracejit.ir.types import parse_type
    >>> q, k = parse_type("f16[2,6,4,8]"), parse_type("f16[2,8,4,8]")
    >>> matmul = as_matmul(q, k, (((3,), (3,)), ((0, 2), (0, 2))))
    >>> inner, steps = split_batch(GemmSpec("f16", "f16", "f32", matmul))
    >>> inner.matmul.batch_shape, steps
    ((4,), (384, 512, 384))
    """
    m = spec.matmul
    assert m.lhs_view is not None and m.rhs_view is not None
    views = (m.lhs_view, m.rhs_view)
    even = all(one_stride(m.batch_shape, v.batch_strides) is not None for v in views)
    if even or spec.epilogue or not 1 < m.batch_shape[0] <= REPEATS:
        return None

    def rest(view: MatrixView) -> MatrixView:
        return replace(view, batch_strides=view.batch_strides[1:])

    lhs, rhs = map(rest, views)
    inner = replace(m, batch_shape=m.batch_shape[1:], lhs_view=lhs, rhs_view=rhs)
    if any(one_stride(inner.batch_shape, v.batch_strides) is None for v in (lhs, rhs)):
        return None
    steps = [v.batch_strides[0] * DTYPES[spec.dtype].itemsize for v in views]
    out = inner.b * m.m * m.n * DTYPES[spec.out].itemsize
    if any(step % 16 for step in (*steps, out)):  # where calls may begin
        return None
    return replace(spec, matmul=inner), (*steps, out)
