"""What to ask of a library for a node.

spec_of(node, "f32")     -> (GemmSpec("f16", ...), (0, 1, 2)), or None
takes(target)(node)      whether the target's library has it
"""

from __future__ import annotations

from collections.abc import Callable

from tracejit.ir.graph import Node
from tracejit.ir.types import short
from tracejit.kernel.gpu.conv import conv_call
from tracejit.kernel.gpu.library import AttentionSpec, GemmSpec, Spec
from tracejit.kernel.gpu.target import GpuTarget
from tracejit.ops.dot import as_matmul
from tracejit.ops.fused_attention import fused_attention_grad, logical

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
