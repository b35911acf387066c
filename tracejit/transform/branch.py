"""``call`` (a nested jit) and ``cond`` (branches chosen by an index): operations that hold graphs.

%3 = call(%0, graph={...})
%3 = cond(%index, %0, %1, branches=({...}, {...}))      the index is clamped
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tracejit.errors import DTypeError, ShapeError, TreeError
from tracejit.ir import build, interp
from tracejit.ir.build import full_like
from tracejit.ir.graph import Atom, Graph, Value
from tracejit.ir.prim import Partly, Primitive, is_linear
from tracejit.ir.types import TensorType
from tracejit.ops.broadcast import broadcast_in_dim
from tracejit.ops.logic import eq, le, select
from tracejit.transform.backward import transpose_graph
from tracejit.transform.batch import batch_graph
from tracejit.transform.forward import jvp_graph, linearize_graph, push_forward


def check_operands(name: str, graph: Graph, types: Sequence[TensorType]) -> None:
    """Raise ShapeError unless ``types`` are the graph's input types."""
    if graph.input_types != tuple(types):
        raise ShapeError(f"{name}: the graph takes {graph.input_types}, got {tuple(types)}")


def scatter_tangents(mask: Sequence[bool], outs: Sequence[Atom]) -> tuple[Atom | None, ...]:
    """``outs`` put at the places where ``mask`` is true, None elsewhere."""
    rest = iter(outs)
    return tuple(next(rest) if m else None for m in mask)


def given(dxs: Sequence[Atom | None]) -> tuple[Atom, ...]:
    """The tangents that exist."""
    return tuple(dx for dx in dxs if dx is not None)


def present(xs: Sequence[Any]) -> tuple[bool, ...]:
    """Which entries are not None."""
    return tuple(x is not None for x in xs)


def out_tangents(graph: Graph, mask: Sequence[bool], mode: str) -> tuple[bool, ...]:
    """Which outputs of ``graph`` have a tangent when the inputs at ``mask`` have one."""
    with build.building() as builder:
        xs = [builder.input(v.type) for v in graph.inputs]
        dxs = [builder.input(v.type) if m else None for v, m in zip(xs, mask, strict=True)]
        return present(push_forward(graph, xs, dxs, mode)[1])


# ---- call ----------------------------------------------------------------------------------------


def _infer_call(*types: TensorType, graph: Graph) -> tuple[TensorType, ...]:
    check_operands("call", graph, types)
    return graph.output_types


def _push_call(mode: str, xs: Any, dxs: Any, *, graph: Graph) -> Any:
    mask = present(dxs)
    if mode == "jvp":
        both, out_mask = jvp_graph(graph, mask)
        outs = call(*xs, *given(dxs), graph=both)
        n = len(graph.outputs)
        return outs[:n], scatter_tangents(out_mask, outs[n:])
    split = linearize_graph(graph, mask)
    outs = call(*xs, graph=split.forward)
    n = len(graph.outputs)
    tangents = call(*outs[n:], *given(dxs), graph=split.linear)
    return outs[:n], scatter_tangents(split.out_mask, tangents)


def _transpose_call(cts: Any, xs: Any, *, graph: Graph) -> Any:
    linear = tuple(is_linear(x) for x in xs)
    pulled, nonzero = transpose_graph(graph, linear, present(cts))
    outs = call(*(x for x in xs if not is_linear(x)), *given(cts), graph=pulled)
    parts = iter(zip(outs, nonzero, strict=True))
    return tuple(_nonzero(*next(parts)) if lin else None for lin in linear)


def _nonzero(ct: Atom, nonzero: bool) -> Atom | None:
    return ct if nonzero else None


def _batch_call(size: int, mask: Any, xs: Any, *, graph: Graph) -> Any:
    batched, out_mask = batch_graph(graph, size, mask)
    return Partly(call(*xs, graph=batched), out_mask)


call = Primitive(
    "call",
    params=("graph",),
    infer=_infer_call,
    numpy=lambda *arrays, graph: tuple(interp.run(graph, arrays)),
    push=_push_call,
    transpose=_transpose_call,
    batch=_batch_call,
    doc="Apply a graph: a nested jit.",
)


# ---- cond ----------------------------------------------------------------------------------------


def _infer_cond(
    index: TensorType, *types: TensorType, branches: tuple[Graph, ...]
) -> tuple[TensorType, ...]:
    if index.shape != () or index.dtype != np.int32:
        raise DTypeError(f"cond: the index must be a scalar i32, not {index}")
    for branch in branches:
        check_operands("cond", branch, types)
        if branch.output_types != branches[0].output_types:
            raise TreeError(
                f"cond: branches return different types: {branches[0].output_types} and "
                f"{branch.output_types}"
            )
    return branches[0].output_types


def _numpy_cond(index: Any, *arrays: Any, branches: tuple[Graph, ...]) -> Any:
    chosen = branches[int(np.clip(index, 0, len(branches) - 1))]
    return tuple(interp.run(chosen, arrays))


def _push_cond(mode: str, xs: Any, dxs: Any, *, branches: tuple[Graph, ...]) -> Any:
    mask = present(dxs[1:])
    n = len(branches[0].outputs)
    masks = [out_tangents(branch, mask, mode) for branch in branches]
    out_mask = tuple(any(column) for column in zip(*masks, strict=True))
    if mode == "jvp":
        both = tuple(jvp_graph(branch, mask, out_mask)[0] for branch in branches)
        outs = cond(*xs, *given(dxs), branches=both)
        return outs[:n], scatter_tangents(out_mask, outs[n:])
    splits = [linearize_graph(branch, mask, out_mask) for branch in branches]
    slots, places = share_slots([g.linear.input_types[: g.residuals] for g in splits])
    forward = tuple(
        _with_slots(g.forward, n, slots, place) for g, place in zip(splits, places, strict=True)
    )
    linear = tuple(
        _from_slots(g.linear, g.residuals, slots, place)
        for g, place in zip(splits, places, strict=True)
    )
    outs = cond(*xs, branches=forward)
    tangents = cond(xs[0], *outs[n:], *given(dxs), branches=linear)
    return outs[:n], scatter_tangents(out_mask, tangents)


def share_slots(
    groups: Sequence[Sequence[TensorType]],
) -> tuple[list[TensorType], list[list[int]]]:
    """Slots that hold the residuals of any one branch: the same slot for the same type."""
    slots: list[TensorType] = []
    places: list[list[int]] = []
    for types in groups:
        free = list(range(len(slots)))
        place: list[int] = []
        for type in types:
            slot = next((k for k in free if slots[k] == type), None)
            if slot is None:
                slot = len(slots)
                slots.append(type)
            else:
                free.remove(slot)
            place.append(slot)
        places.append(place)
    return slots, places


def _with_slots(forward: Graph, n: int, slots: list[TensorType], place: list[int]) -> Graph:
    """``forward`` with its residuals in their slots, zeros in the slots of other branches."""
    residual = dict(zip(place, forward.outputs[n:], strict=True))
    extra = tuple(residual.get(k, full_like(type, 0)) for k, type in enumerate(slots))
    return Graph(forward.inputs, forward.nodes, (*forward.outputs[:n], *extra), forward.name)


def _from_slots(linear: Graph, residuals: int, slots: list[TensorType], place: list[int]) -> Graph:
    """``linear`` reading its residuals from the slots."""
    source = dict(zip(place, linear.inputs[:residuals], strict=True))
    ins = tuple(source.get(k) or Value(type) for k, type in enumerate(slots))
    return Graph((*ins, *linear.inputs[residuals:]), linear.nodes, linear.outputs, linear.name)


def _transpose_cond(cts: Any, xs: Any, *, branches: tuple[Graph, ...]) -> Any:
    linear = tuple(is_linear(x) for x in xs[1:])
    lives = [build.current().live.get(ct) for ct in cts]
    pulled = tuple(
        transpose_graph(branch, linear, present(cts), present(lives))[0] for branch in branches
    )
    known = (x for x in xs[1:] if not is_linear(x))
    flags = (live.get() for live in lives if live is not None)
    outs = iter(cond(xs[0], *known, *given(cts), *flags, branches=pulled))
    return (None, *(next(outs) if lin else None for lin in linear))


def _batch_cond(size: int, mask: Any, xs: Any, *, branches: tuple[Graph, ...]) -> Any:
    if not mask[0]:
        masks = [batch_graph(branch, size, mask[1:])[1] for branch in branches]
        out_mask = tuple(any(column) for column in zip(*masks, strict=True))
        batched = tuple(batch_graph(branch, size, mask[1:], out_mask)[0] for branch in branches)
        return Partly(cond(*xs, branches=batched), out_mask)
    # every example may take another branch: compute all, choose per example
    results = []
    for branch in branches:
        every = (True,) * len(branch.outputs)
        graph, _ = batch_graph(branch, size, mask[1:], every)
        results.append(build.current().inline(graph, xs[1:]))
    return tuple(_choose(size, xs[0], column) for column in zip(*results, strict=True))


def _choose(size: int, index: Atom, values: Sequence[Atom]) -> Atom:
    """Per example, the entry of ``values`` that ``index`` (i32[size]) names, clamped."""
    chosen = values[-1]
    for k in range(len(values) - 2, -1, -1):
        here = eq(index, k) if k else le(index, 0)
        chosen = select(per_example(here, chosen), values[k], chosen)
    return chosen


def per_example(flag: Atom, like: Atom) -> Atom:
    """A bool[size] broadcast along the other axes of ``like``."""
    return broadcast_in_dim(flag, shape=like.type.shape, dims=(0,)) if like.type.ndim > 1 else flag


cond = Primitive(
    "cond",
    params=("branches",),
    infer=_infer_cond,
    numpy=_numpy_cond,
    push=_push_cond,
    transpose=_transpose_cond,
    batch=_batch_cond,
    doc="Apply the branch that an i32 index names.",
)
