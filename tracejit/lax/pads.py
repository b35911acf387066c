"""Padding by name: how much "SAME", "SAME_LOWER" and "VALID" put around each spatial axis.

>>> padtype_to_pads((5,), (3,), (2,), "SAME")
[(1, 1)]
"""

from __future__ import annotations

from collections.abc import Sequence

from tracejit.errors import ArgumentError, ShapeError
from tracejit.source import here


def padtype_to_pads(
    in_shape: Sequence[int],
    window_shape: Sequence[int],
    window_strides: Sequence[int],
    padding: str,
) -> list[tuple[int, int]]:
    """(low, high) per axis. SAME gives ceil(size / stride) positions, the odd element padded at the
    end.
    """
    if len({len(in_shape), len(window_shape), len(window_strides)}) > 1:
        raise ShapeError(
            f"padding {padding!r}: sizes {tuple(in_shape)}, window {tuple(window_shape)} and "
            "strides "
            f"{tuple(window_strides)} differ in length",
            at=here(),
        )
    name = str(getattr(padding, "name", padding)).upper()
    if name == "VALID":
        return [(0, 0)] * len(in_shape)
    if name not in ("SAME", "SAME_LOWER"):
        raise ArgumentError(
            f"padding is 'SAME', 'SAME_LOWER', 'VALID' or pairs, not {padding!r}", at=here()
        )
    if any(s < 1 for s in window_strides):
        raise ArgumentError(f"strides are positive, not {tuple(window_strides)}", at=here())
    found = []
    for n, w, s in zip(in_shape, window_shape, window_strides, strict=True):
        count = -(-n // s)
        total = max((count - 1) * s + w - n, 0)
        low = total // 2 if name == "SAME" else total - total // 2
        found.append((low, total - low))
    return found
