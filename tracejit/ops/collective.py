"""Operations that see all examples of a ``vmap`` whose axis has a name.

    axis_index(; axis_name="i", axis_size=4)        -> i64[]      which example this is
    all_gather(x: f32[3]; axis_name="i", axis_size=4)  -> f32[4,3]   x of every example

Every other collective is made of these two (``lax/collectives.py``). They have no meaning of their
own: batching over their axis replaces them, ``all_gather`` by its operand, which carries all
examples in front already, and ``axis_index`` by an iota.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tracejit.errors import ArgumentError
from tracejit.ir.graph import Graph, Node, literal
from tracejit.ir.prim import Partly, Primitive
from tracejit.ir.types import DTYPES, TensorType
from tracejit.ops import dynamic, layout, reduce
from tracejit.ops.broadcast import with_batch_axis

I64 = DTYPES["i64"]


class _State(threading.local):
    axis: Any = None


_state = _State()


@contextmanager
def batching(axis_name: Any) -> Iterator[None]:
    """While a graph is batched over the axis of this name (None: one without)."""
    before, _state.axis = _state.axis, axis_name
    try:
        yield
    finally:
        _state.axis = before


def concerns(node: Node) -> bool:
    """Whether the batching in progress replaces ``node`` or something inside of it, whatever its
    operands.
    """
    return _state.axis is not None and _names(node, _state.axis)


def _names(node: Node, axis_name: Any) -> bool:
    if node.prim in (axis_index, all_gather):
        return node.params["axis_name"] == axis_name  # type: ignore[no-any-return]
    graphs = [g for p in node.params.values() for g in (p if isinstance(p, tuple) else (p,))]
    return any(_names(n, axis_name) for g in graphs if isinstance(g, Graph) for n in g.nodes)


def _unbound(*xs: Any, axis_name: Any, **params: Any) -> Any:
    raise ArgumentError(
        f"the axis {axis_name!r} has no meaning outside of its vmap",
        hint=f"call the function under vmap(..., axis_name={axis_name!r})",
    )


def _batch_index(size: int, mask: Any, xs: Any, *, axis_name: Any, axis_size: int) -> Any:
    return layout.iota(dtype=I64, shape=(size,), dimension=0)


axis_index = Primitive(
    "axis_index",
    params=("axis_name", "axis_size"),
    infer=lambda *, axis_name, axis_size: TensorType(I64, ()),
    numpy=_unbound,
    batch=_batch_index,
    cases=lambda: [((), {"axis_name": "i", "axis_size": 3})],
    doc="The number of this example along a named axis.",
)


def _infer_gather(x: TensorType, *, axis_name: Any, axis_size: int) -> TensorType:
    return x.with_shape((axis_size, *x.shape))


def _batch_gather(size: int, mask: Any, xs: Any, *, axis_name: Any, axis_size: int) -> Any:
    (x,) = xs
    if axis_name == _state.axis:
        return Partly((with_batch_axis(x, size, mask[0]),), (False,))
    gathered = all_gather(x, axis_name=axis_name, axis_size=axis_size)
    order = (1, 0, *range(2, x.type.ndim + 1))
    return layout.transpose(gathered, permutation=order)


def _transpose_gather(cts: Any, xs: Any, *, axis_name: Any, axis_size: int) -> Any:
    """The row of this example in the sum of all examples' cotangents."""
    (ct,) = cts
    if ct is None:
        return (None,)
    params = {"axis_name": axis_name, "axis_size": axis_size}
    total = reduce.reduce_sum(all_gather(ct, **params), axes=(0,))
    starts = (
        axis_index(**params),
        *(literal(0, TensorType(I64, ())) for _ in total.type.shape[1:]),
    )
    row = dynamic.dynamic_slice(total, *starts, sizes=(1, *total.type.shape[1:]))
    return (layout.reshape(row, new_sizes=total.type.shape[1:]),)


all_gather = Primitive(
    "all_gather",
    params=("axis_name", "axis_size"),
    infer=_infer_gather,
    numpy=_unbound,
    jvp=lambda dxs, ys, xs, **params: (all_gather(dxs[0], **params),),
    transpose=_transpose_gather,
    batch=_batch_gather,
    cases=lambda: [((TensorType(np.dtype(np.float32), (2,)),), {"axis_name": "i", "axis_size": 3})],
    doc="An operand of every example along a named axis, stacked in front.",
)
