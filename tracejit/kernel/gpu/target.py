"""What schedules know of the GPU that a program is for."""

from __future__ import annotations

from collections.abc import Callable

from tracejit.kernel.gpu.library import Spec
from tracejit.record import dataclass

WARP = 32


@dataclass(frozen=True)
class GpuTarget:
    """``arch``: 90 for compute capability 9.0. ``multiprocessors``: how many blocks run side by
    side, times those that fit one. ``compute``: what f32 products are computed in, "f32" or "tf32".
    ``workspace(spec)``: the bytes that a library's plan needs, None where no library has the spec.
    ``vector_bytes``: what every buffer begins at a multiple of, and the width of a thread's widest
    access; 0 where buffers begin anywhere and elements are accessed one by one. ``deterministic``:
    sums of floats have the same bits every time, at the price of scatters that are slower.
    """

    arch: int
    multiprocessors: int
    compute: str
    workspace: Callable[[Spec], int | None]
    vector_bytes: int = 16
    deterministic: bool = False
