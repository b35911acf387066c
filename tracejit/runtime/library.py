"""Matrix products that most programs with products call, compiled before anybody asks.

    prefetch_products()          returns at once; the thread of upgrades does it last

Their extents are run-time sizes, so a few kernels serve most products of large operands.
"""

from __future__ import annotations

from functools import partial

from tracejit.ir.types import DTYPES, TensorType
from tracejit.kernel.gemm import gemm_kernel
from tracejit.kernel.nodes import Kernel
from tracejit.ops.dot import as_matmul
from tracejit.runtime import cpu
from tracejit.runtime.native import host_target
from tracejit.runtime.tiers import Background, tiers_on, upgrades

#: how the operands lie, each as it is or transposed, batch, rows, columns and what is contracted.
#: Other extents call the same kernels: batches for attention, columns that tiles cover just or not
PRODUCTS: tuple[tuple[str, tuple[int, ...], int, int, int], ...] = (
    ("nn", (), 128, 512, 512),
    ("nn", (), 1000, 1000, 1000),
    ("nt", (), 128, 512, 512),
    ("nt", (4, 8), 256, 256, 64),
    ("nn", (4, 8), 256, 64, 256),
    ("nn", (), 1024, 256, 256),
    ("tn", (), 512, 128, 2048),
    ("nn", (), 1024, 768, 256),
)


def product_kernel(
    letters: str, batch: tuple[int, ...], m: int, n: int, k: int, lanes: int
) -> Kernel:
    """The kernel of a float32 product."""
    first = len(batch)
    left, right = (letter == "t" for letter in letters)
    lhs = TensorType(DTYPES["f32"], (*batch, *((k, m) if left else (m, k))))
    rhs = TensorType(DTYPES["f32"], (*batch, *((n, k) if right else (k, n))))
    contracted = ((first + (not left),), (first + right,))
    matmul = as_matmul(lhs, rhs, (contracted, (tuple(range(first)),) * 2))
    return gemm_kernel(matmul, lhs.size, rhs.size, "f32", lanes).kernel


def prefetch_products() -> None:
    """Begin to load or compile them."""
    if tiers_on():
        for product in PRODUCTS:
            upgrades.add(partial(_make, product), urgent=False)


def _make(product: tuple[str, tuple[int, ...], int, int, int], background: Background) -> None:
    kernel = product_kernel(*product, host_target().vector_bytes // 4)
    background.rest()
    cpu.compile_ahead(kernel, background)
