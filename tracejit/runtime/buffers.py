"""Memory for results: aligned to 64 bytes and used again when the last array over it is gone.

    out = empty(TensorType(f32, (1000, 1000)))      a NumPy array

Fresh pages from the operating system cost more than a fused kernel takes to fill them, so freed blocks are kept.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from tracejit.ir.types import TensorType

ALIGN = 64
#: blocks kept for later use, in bytes, at most
KEEP = 1 << 30


class _Free:
    """Blocks by size."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.blocks: dict[int, list[np.ndarray]] = {}
        self.nbytes = 0

    def take(self, size: int) -> np.ndarray:
        with self.lock:
            found = self.blocks.get(size)
            if found:
                self.nbytes -= size
                return found.pop()
        return np.empty(size + ALIGN, np.uint8)

    def give(self, size: int, block: np.ndarray) -> None:
        with self.lock:
            if self.nbytes + size <= KEEP:
                self.nbytes += size
                self.blocks.setdefault(size, []).append(block)


_free = _Free()


class Block:
    """Owns a piece of memory while arrays refer to it; gives it back when they are gone."""

    __slots__ = ("memory", "size", "__array_interface__")

    def __init__(self, type: TensorType) -> None:
        # sizes in steps of an eighth of a power of two: similar sizes share blocks
        self.size = rounded(type.nbytes)
        self.memory = _free.take(self.size)
        start = self.memory.ctypes.data
        self.__array_interface__: dict[str, Any] = {
            "data": (-(-start // ALIGN) * ALIGN, False),
            "shape": (max(type.nbytes, 1),),
            "typestr": "|u1",
            "version": 3,
        }

    def __del__(self) -> None:
        _free.give(self.size, self.memory)


def rounded(nbytes: int) -> int:
    """``nbytes`` rounded up to a multiple of an eighth of the next smaller power of two, at least 64."""
    step = max(1 << max(nbytes.bit_length() - 4, 0), ALIGN)
    return max(-(-nbytes // step) * step, ALIGN)


def empty(type: TensorType) -> np.ndarray:
    """An uninitialised array of ``type``."""
    flat = np.asarray(Block(type))
    return flat[: type.nbytes].view(type.dtype).reshape(type.shape)


def pointer(array: np.ndarray) -> int:
    """The address of an array's first element."""
    return int(array.__array_interface__["data"][0])
