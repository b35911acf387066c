"""The CPU a kernel is printed for: plain data, made by ``runtime/native.py: host_target()``.

>>> Target("znver4", "+avx512f", 64, "x86_64-unknown-linux-gnu", "e-m:e").lanes("f32")
16
"""

from __future__ import annotations

from tracejit.ir.types import DTYPES
from tracejit.record import dataclass


@dataclass(frozen=True)
class Target:
    """``vector_bytes`` is 64 (AVX-512), 32 (AVX2) or 16 (SSE, NEON); ``layout`` is LLVM's."""

    cpu: str
    features: str
    vector_bytes: int
    triple: str
    layout: str

    def lanes(self, dtype: str) -> int:
        """How many elements of ``dtype`` one vector register holds."""
        return self.vector_bytes // DTYPES[dtype].itemsize

    @property
    def cheap_masks(self) -> bool:
        """Masked loads and stores cost what plain ones cost."""
        return self.vector_bytes == 64
