"""What kernels for a GPU can compute: the test that fusion asks of a back end."""

from __future__ import annotations

from tracejit.codegen import cuda
from tracejit.ir.graph import Node
from tracejit.kernel.gpu.custom import has_rule
from tracejit.ops.fused import fused_matmul
from tracejit.ops.fused_attention import fused_attention, fused_attention_grad
from tracejit.ops.fused_conv import fused_conv

#: what passes write only where a library has it
FUSED = frozenset((fused_matmul, fused_conv, fused_attention, fused_attention_grad))
#: the same, for all records of a library
CALLS = ("fft", "solver")
#: those of CPUs, which the host calls
OTHERS = ("lapack", "lanes")


class _Ability:
    """Called with a node. ``stencils``: loops over stencils run one step after the other, each as
    wide as the device, rather than several to a tile.
    """

    stencils = False

    def __call__(self, node: Node) -> bool:
        library = node.prim.library
        if library in OTHERS:
            return False
        named = node.prim in FUSED or library in CALLS
        return named or has_rule(node) or cuda.can_fuse(node)

    def lowers(self, node: Node) -> bool:
        """Whether a node gets kernels of its own though it has an element rule."""
        return has_rule(node)


can_fuse = _Ability()
