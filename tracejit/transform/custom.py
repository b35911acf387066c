"""Derivatives given by the user (custom_jvp, custom_vjp) and recomputation (checkpoint), as
operations that hold graphs.

The user's rules are traced when the function is called, so they print, parse and batch like
everything else.
"""

from __future__ import annotations

from typing import Any

from tracejit.errors import GradError
from tracejit.ir import build, interp
from tracejit.ir.build import full_like
from tracejit.ir.graph import Graph
from tracejit.ir.prim import Linear, Partly, Primitive
from tracejit.ir.types import TensorType, is_inexact
from tracejit.ops.broadcast import reduce_sum
from tracejit.ops.parts import barrier
from tracejit.transform.backward import pull_back
from tracejit.transform.batch import batch_graph
from tracejit.transform.branch import (
    call,
    check_operands,
    given,
    out_tangents,
    present,
    scatter_tangents,
)
from tracejit.transform.forward import jvp_graph, linearize_graph


def _infer_body(*types: TensorType, body: Graph, **_: Any) -> tuple[TensorType, ...]:
    check_operands("custom", body, types)
    return body.output_types


def _numpy_body(*arrays: Any, body: Graph, **_: Any) -> tuple[Any, ...]:
    return tuple(interp.run(body, arrays))


# ---- custom_jvp: rule is a graph (xs, dxs of inexact xs) -> (ys, dys of inexact ys) --------------
# the first n_consts operands are values that the function closes over


def refuse_captured(kind: str, body: Graph, dxs: Any, n_consts: int) -> None:
    """Raise GradError when a value the function closes over has a tangent: its rule has none."""
    if any(dx is not None for dx in dxs[:n_consts]):
        raise GradError(
            f"the {kind} function `{body.name}` closes over a value that is being differentiated; "
            "its rule says nothing of that derivative",
            hint="pass the value as an argument",
        )


def too_deep(kind: str, body: Graph) -> GradError:
    """The error for a derivative of a call that is nested too often in the function's own rules."""
    return GradError(
        f"the rules of the {kind} function `{body.name}` call it again; no derivative of so "
        "high an order is traced",
        hint="write the rules without calling the function itself",
    )


def _push_custom_jvp(
    mode: str, xs: Any, dxs: Any, *, body: Graph, rule: Graph | None, n_consts: int
) -> Any:
    refuse_captured("custom_jvp", body, dxs, n_consts)
    if rule is None:
        raise too_deep("custom_jvp", body)
    tangents = [
        full_like(x, 0) if dx is None else dx
        for x, dx in zip(xs, dxs, strict=True)
        if is_inexact(x.type.dtype)
    ]
    outs = build.current().inline(rule, (*xs, *tangents))
    n = len(body.outputs)
    mask = tuple(is_inexact(y.type.dtype) for y in body.outputs)
    return outs[:n], scatter_tangents(mask, outs[n:])


def _batch_custom_jvp(
    size: int, mask: Any, xs: Any, *, body: Graph, rule: Graph | None, n_consts: int
) -> Any:
    floats = tuple(m for m, v in zip(mask, body.inputs, strict=True) if is_inexact(v.type.dtype))
    every = (True,) * len(body.outputs)
    new_body, _ = batch_graph(body, size, mask, every)
    new_rule = None
    if rule is not None:
        new_rule, _ = batch_graph(rule, size, (*mask, *floats), (True,) * len(rule.outputs))
    return custom_jvp_call(*xs, body=new_body, rule=new_rule, n_consts=n_consts)


custom_jvp_call = Primitive(
    "custom_jvp_call",
    params=("body", "rule", "n_consts"),
    infer=_infer_body,
    numpy=_numpy_body,
    push=_push_custom_jvp,
    batch=_batch_custom_jvp,
    doc="A function with a user's forward derivative.",
)


# ---- custom_vjp: fwd is a graph xs -> (ys, residuals) --------------------------------------------
# bwd is a graph (residuals, cts of the inexact ys) -> cts of the inexact xs


def _push_custom_vjp(
    mode: str,
    xs: Any,
    dxs: Any,
    *,
    body: Graph,
    fwd: Graph | None,
    bwd: Graph | None,
    n_consts: int,
) -> Any:
    refuse_captured("custom_vjp", body, dxs, n_consts)
    if fwd is None or bwd is None:
        raise too_deep("custom_vjp", body)
    if mode == "jvp":
        raise GradError(
            f"forward-mode derivative of `{body.name}`, which has only a custom_vjp",
            hint="define a custom_jvp, or take the derivative with grad or vjp",
        )
    outs = build.current().inline(fwd, xs)
    n = len(body.outputs)
    tangents = [
        full_like(x, 0) if dx is None else dx
        for x, dx in zip(xs, dxs, strict=True)
        if is_inexact(x.type.dtype)
    ]
    dys = custom_vjp_tangent(*outs[n:], *tangents, bwd=bwd, n_residuals=len(outs) - n)
    mask = tuple(is_inexact(y.type.dtype) for y in body.outputs)
    return outs[:n], scatter_tangents(mask, dys)


def _batch_custom_vjp(
    size: int,
    mask: Any,
    xs: Any,
    *,
    body: Graph,
    fwd: Graph | None,
    bwd: Graph | None,
    n_consts: int,
) -> Any:
    n = len(body.outputs)
    new_body, _ = batch_graph(body, size, mask, (True,) * n)
    if fwd is None or bwd is None:
        return custom_vjp_call(*xs, body=new_body, fwd=None, bwd=None, n_consts=n_consts)
    new_fwd, found = batch_graph(fwd, size, mask, (True,) * n + (False,) * (len(fwd.outputs) - n))
    residual_mask = found[n:]
    floats = tuple(m for m, v in zip(mask, body.inputs, strict=True) if is_inexact(v.type.dtype))
    new_bwd = _batched_bwd(bwd, size, residual_mask, floats)
    return custom_vjp_call(*xs, body=new_body, fwd=new_fwd, bwd=new_bwd, n_consts=n_consts)


def _batched_bwd(
    bwd: Graph, size: int, residuals: tuple[bool, ...], wanted: tuple[bool, ...]
) -> Graph:
    """The batched bwd; cotangents of operands without a batch axis are summed over the batch."""
    cts = (True,) * (len(bwd.inputs) - len(residuals))
    every, _ = batch_graph(bwd, size, (*residuals, *cts), (True,) * len(bwd.outputs))
    with build.building() as b:
        xs = [b.input(v.type, v.name) for v in every.inputs]
        outs = b.inline(every, xs)
        kept = [y if m else reduce_sum(y, axes=(0,)) for y, m in zip(outs, wanted, strict=True)]
    return b.graph(kept, bwd.name)


custom_vjp_call = Primitive(
    "custom_vjp_call",
    params=("body", "fwd", "bwd", "n_consts"),
    infer=_infer_body,
    numpy=_numpy_body,
    push=_push_custom_vjp,
    batch=_batch_custom_vjp,
    doc="A function with a user's backward derivative.",
)


def _infer_tangent(*types: TensorType, bwd: Graph, n_residuals: int) -> tuple[TensorType, ...]:
    return bwd.input_types[n_residuals:]


def _numpy_tangent(*arrays: Any, **_: Any) -> Any:
    raise GradError("a function with custom_vjp has no forward derivative to evaluate")


def _transpose_tangent(cts: Any, xs: Any, *, bwd: Graph, n_residuals: int) -> Any:
    full = [
        full_like(v.type, 0) if ct is None else ct
        for v, ct in zip(bwd.inputs[n_residuals:], cts, strict=True)
    ]
    outs = build.current().inline(bwd, (*xs[:n_residuals], *full))
    return (*(None for _ in range(n_residuals)), *outs)


def _batch_tangent(size: int, mask: Any, xs: Any, *, bwd: Graph, n_residuals: int) -> Any:
    wanted = tuple(mask[n_residuals:])
    new = _batched_bwd(bwd, size, tuple(mask[:n_residuals]), wanted)
    return custom_vjp_tangent(*xs, bwd=new, n_residuals=n_residuals)


custom_vjp_tangent = Primitive(
    "custom_vjp_tangent",
    params=("bwd", "n_residuals"),
    infer=_infer_tangent,
    numpy=_numpy_tangent,
    transpose=_transpose_tangent,
    batch=_batch_tangent,
    doc="The linear map whose transpose is a user's bwd; it exists only to be transposed.",
)


# ---- checkpoint: the backward pass computes the function again -----------------------------------


def _push_checkpoint(mode: str, xs: Any, dxs: Any, *, body: Graph) -> Any:
    mask = present(dxs)
    if mode == "jvp":
        both, out_mask = jvp_graph(body, mask)
        n = len(body.outputs)
        outs = call(*xs, *given(dxs), graph=both)
        return outs[:n], scatter_tangents(out_mask, outs[n:])
    out_mask = out_tangents(body, mask, mode)
    dys = checkpoint_tangent(*xs, *given(dxs), body=body, mask=mask, out_mask=out_mask)
    return checkpoint(*xs, body=body), scatter_tangents(out_mask, dys)


def _batch_body(size: int, mask: Any, xs: Any, *, body: Graph) -> Any:
    new, out_mask = batch_graph(body, size, mask)
    return Partly(checkpoint(*xs, body=new), out_mask)


checkpoint = Primitive(
    "checkpoint",
    params=("body",),
    infer=_infer_body,
    numpy=_numpy_body,
    push=_push_checkpoint,
    transpose=lambda cts, xs, *, body: call.transpose(cts, xs, graph=body),  # type: ignore[misc]
    batch=_batch_body,
    doc="Apply a graph whose intermediate values are computed again in the backward pass.",
)


def tangent_graph(body: Graph, mask: tuple[bool, ...], out_mask: tuple[bool, ...]) -> Graph:
    """(xs, dxs) -> dys."""
    both, _ = jvp_graph(body, mask, out_mask)
    return Graph(both.inputs, both.nodes, both.outputs[len(body.outputs) :], body.name)


def _infer_checkpoint_tangent(
    *types: TensorType, body: Graph, mask: Any, out_mask: Any
) -> tuple[TensorType, ...]:
    return tuple(y.type for y, m in zip(body.outputs, out_mask, strict=True) if m)


def _transpose_checkpoint_tangent(
    cts: Any, xs: Any, *, body: Graph, mask: Any, out_mask: Any
) -> Any:
    n = len(body.inputs)
    b = build.current()
    # the barrier keeps the recomputation from being merged with the forward pass
    known = [barrier(x) if not hasattr(x, "value") else x for x in xs[:n]]
    split = linearize_graph(body, mask, out_mask)
    outs = b.inline(split.forward, known)
    residuals = outs[len(body.outputs) :]
    ins = (*residuals, *(Linear(x.type) for x in xs[n:]))
    found = pull_back(split.linear, ins, cts)
    return (*(None for _ in range(n)), *found[len(residuals) :])


def _push_checkpoint_tangent(
    mode: str, xs: Any, dxs: Any, *, body: Graph, mask: Any, out_mask: Any
) -> Any:
    graph = tangent_graph(body, mask, out_mask)
    return call.push(mode, xs, dxs, graph=graph)  # type: ignore[misc]


def _batch_checkpoint_tangent(
    size: int, flags: Any, xs: Any, *, body: Graph, mask: Any, out_mask: Any
) -> Any:
    new, found = batch_graph(tangent_graph(body, mask, out_mask), size, flags)
    return Partly(call(*xs, graph=new), found)


checkpoint_tangent = Primitive(
    "checkpoint_tangent",
    params=("body", "mask", "out_mask"),
    infer=_infer_checkpoint_tangent,
    numpy=lambda *arrays, body, mask, out_mask: tuple(
        interp.run(tangent_graph(body, mask, out_mask), arrays)
    ),
    push=_push_checkpoint_tangent,
    transpose=_transpose_checkpoint_tangent,
    batch=_batch_checkpoint_tangent,
    doc="The derivative of a checkpoint; transposed, it computes the function again.",
)
