"""What to ask of a library for a node.

spec_of(node, "f32")     -> (GemmSpec("f16", ...), (0, 1, 2)), or None
takes(target)(node)      whether the target's library has it
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

from tracejit.ir.graph import Node
from tracejit.ir.types import real_dtype, short
from tracejit.kernel.gpu.conv import conv_call
from tracejit.kernel.gpu.library import AttentionSpec, FftSpec, GemmSpec, SolverSpec, Spec
from tracejit.kernel.gpu.target import GpuTarget
from tracejit.ops.dot import as_matmul
from tracejit.ops.fused_attention import fused_attention_grad, logical
from tracejit.ops.raw_fft import axes_of

FLOATS = frozenset(("f16", "bf16", "f32", "f64"))
#: a call, and which of the node's inputs and outputs (counted on) its operands are
Asked = tuple[Spec, tuple[int, ...]]


def spec_of(node: Node, compute: str) -> Asked | None:
    """The call of a library that a node is; None where libraries have no word for it. ``compute``:
    what f32 products are summed in.
    """
    if node.prim.library == "conv":
        return conv_call(node, compute)
    if node.prim.library == "attention":
        return _attention(node)
    if node.prim.library == "fft":
        return _fft(node)
    if node.prim.library == "solver":
        return _solver(node)
    return _gemm(node, compute)


def takes(target: GpuTarget) -> Callable[[Node], bool]:
    """The test that passes ask: whether a library has what a node is."""

    def test(node: Node) -> bool:
        found = spec_of(node, target.compute)
        return found is not None and target.workspace(found[0]) is not None

    return test


def _gemm(node: Node, compute: str) -> Asked | None:
    lhs, rhs, out = node.inputs[0].type, node.inputs[1].type, node.outputs[0].type
    names = short(lhs.dtype), short(rhs.dtype), short(out.dtype)
    matmul = as_matmul(lhs, rhs, node.params["dimension_numbers"])
    if names[0] != names[1] or not FLOATS.issuperset(names):
        return None
    if matmul.lhs_view is None or matmul.rhs_view is None:
        return None
    summed = {"f64": "f64", "f32": compute}.get(names[0], "f32")
    spec = GemmSpec(names[0], names[2], summed, matmul, node.params.get("epilogue", ""))
    return spec, tuple(range(len(spec.operands)))


def _attention(node: Node) -> Asked:
    q, k, *_ = (x.type for x in node.inputs)
    p = node.params
    b, h, s, d = logical(q, p["axes"])
    keys = logical(k, p["axes"])[2]
    bias = node.inputs[3].type.shape if p["mask"] == "bias" else ()
    direction = "backward" if node.prim is fused_attention_grad else "forward"
    scale, axes, mask = p["scale"], p["axes"], p["mask"]
    spec = AttentionSpec(
        direction, short(q.dtype), b, h, s, keys, d, scale, axes, mask, tuple(bias)
    )
    return spec, tuple(range(len(spec.operands)))


def _fft(node: Node) -> Asked:
    x, p = node.inputs[0].type, node.params
    axes = axes_of(x, p["count"], p["first"])
    lengths = (*(x.shape[axis] for axis in axes[:-1]), p["length"])
    batch = prod(n for axis, n in enumerate(x.shape) if axis not in axes)
    return FftSpec(p["kind"], short(real_dtype(x.dtype)), lengths, batch, p["first"]), (0, 1)


def _solver(node: Node) -> Asked:
    """Operands and results in the order in which nodes have them, but for what is read only."""
    x, p = node.inputs[0].type, node.params
    routine = node.prim.name.removeprefix("raw_")
    (n, m), batch = x.shape[-2:], prod(x.shape[:-2])
    if routine == "trsm":
        return SolverSpec(routine, short(x.dtype), m, n, batch, 0, _trsm_options(p)), (1, 2)
    count = 0
    options: tuple[str, ...] = ()
    order = tuple(range(1, 1 + len(node.outputs)))
    if routine == "getrf":
        options = ("batched",) if p["batched"] else ()
    elif routine == "orgqr":
        count, order = node.inputs[1].type.shape[-1], (1, 2, 3)
    elif routine == "syevd":
        options = ("V" if p["vectors"] else "N", "L" if p["lower"] else "U")
    elif routine in ("gesvd", "gesvdj"):
        options = (p["job"],)
    return SolverSpec(routine, short(x.dtype), m, n, batch, count, options), order


def _trsm_options(p: Mapping[str, Any]) -> tuple[str, ...]:
    """Row-major matrices are the transposes of BLAS's: sides and triangles change places."""
    return (
        "R" if p["left_side"] else "L",
        "U" if p["lower"] else "L",
        "N" if not p["transpose_a"] else "C" if p["conjugate_a"] else "T",
        "U" if p["unit_diagonal"] else "N",
    )
