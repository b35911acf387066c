"""Memory for results: aligned to 64 bytes and used again when the last array over it is gone.

    out, address = empty(TensorType(f32, (1000, 1000)))      a NumPy array and where it lies

Fresh pages from the operating system cost more than a fused kernel takes to fill them, so blocks
are kept. A block is free when nothing but the pool refers to it: every array over it, and every
view of such an array, holds a reference.
"""

from __future__ import annotations

import sys
from collections import deque
from functools import lru_cache

import numpy as np

from tracejit.ir.types import TensorType

ALIGN = 64
#: bytes in blocks that the pool holds on to, at most
KEEP = 1 << 30
#: how many blocks of a size are looked at before a new one is made
LOOK = 8


class Block:
    """A piece of memory and the address of its first aligned byte."""

    __slots__ = ("address", "memory", "offset", "size")

    def __init__(self, size: int) -> None:
        self.memory = np.empty(size + ALIGN, np.uint8)
        start = pointer(self.memory)
        self.offset = -start % ALIGN
        self.address = start + self.offset
        self.size = size


class Pool:
    """Blocks by size. Popping and appending are atomic, so a block is never in two hands."""

    def __init__(self) -> None:
        self.blocks: dict[int, deque[Block]] = {}
        self.nbytes = 0

    def take(self, nbytes: int) -> Block:
        """A block of at least ``nbytes`` that nobody uses; the caller puts it back once an array
        refers to it.
        """
        size = rounded(nbytes)
        blocks = self.blocks.get(size)
        if blocks is None:
            blocks = self.blocks.setdefault(size, deque())
        for _ in range(min(len(blocks), LOOK)):
            try:
                block = blocks.popleft()
            except IndexError:
                break
            # the block's own reference and the argument of getrefcount
            if sys.getrefcount(block.memory) == 2:
                return block
            blocks.append(block)
        if self.nbytes > KEEP:
            self.trim()
        self.nbytes += size
        return Block(size)

    def put(self, block: Block) -> None:
        self.blocks[block.size].append(block)

    def trim(self) -> None:
        """Let go of every block: those in use go with their arrays."""
        self.blocks = {size: deque() for size in self.blocks}
        self.nbytes = 0


_pool = Pool()


@lru_cache(maxsize=4096)
def rounded(nbytes: int) -> int:
    """``nbytes`` rounded up to a multiple of an eighth of the next smaller power of two, at least
    64.

    Similar sizes share blocks that way.
    """
    step = max(1 << max(nbytes.bit_length() - 4, 0), ALIGN)
    return max(-(-nbytes // step) * step, ALIGN)


def empty(type: TensorType) -> tuple[np.ndarray, int]:
    """An uninitialised array of ``type`` and its address."""
    block = _pool.take(type.nbytes)
    array: np.ndarray = np.ndarray(type.shape, type.dtype, block.memory, block.offset)
    _pool.put(block)
    return array, block.address


def pointer(array: np.ndarray) -> int:
    """The address of an array's first element."""
    return int(array.__array_interface__["data"][0])


def ready(array: np.ndarray) -> np.ndarray:
    """``array`` itself when it is contiguous and aligned, else a copy that is."""
    flags = array.flags
    if flags.c_contiguous and flags.aligned:
        return array
    return np.array(array, order="C", copy=True)
