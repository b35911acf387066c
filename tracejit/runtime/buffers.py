"""Memory for results: aligned to 64 bytes and used again when the last array over it is gone.

    place = shelf(4000).take()              the address of 4000 bytes that nobody uses
    place.array((1000,), np.dtype("f4"))    a NumPy array there

Fresh pages from the operating system cost more than a fused kernel takes to fill them, so memory is
kept. It is free when nothing but its shelf refers to it: an Array holds the Place, a NumPy array
and every view of it hold the memory.
"""

from __future__ import annotations

import ctypes
import sys
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from sys import getrefcount

import numpy as np

from tracejit.ir.types import TensorType

ALIGN = 64
#: bytes that the shelves hold on to, at most
KEEP = 1 << 30
#: as many places of a shelf are looked at before a new one is made
LOOKS = range(8)


class Place(int):
    """An address that keeps its memory: as long as somebody holds the Place, what is there stays.

    It is an integer so that native code takes it as it is, at no cost.
    """

    memory: np.ndarray
    #: whether it is on a shelf
    shelved = False

    def array(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """A NumPy array over the memory; it, too, keeps it."""
        return np.ndarray(shape, dtype, self.memory, self - pointer(self.memory))


def place_of(array: np.ndarray) -> Place:
    """The Place of a contiguous, aligned NumPy array."""
    place = Place(pointer(array))
    place.memory = array
    return place


def fresh(nbytes: int) -> Place:
    """New memory, aligned."""
    memory: np.ndarray = np.empty(nbytes + ALIGN, np.uint8)
    start = pointer(memory)
    place = Place(start + -start % ALIGN)
    place.memory = memory
    return place


class Shelf:
    """Places of one size, each with its memory.

    Whoever looks at a Place holds it, so that no two threads find it free. ``take`` counts
    references to it and to its memory: an Array holds the one, NumPy arrays the other.
    """

    __slots__ = ("places", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.places: deque[tuple[Place, np.ndarray]] = deque()

    def take(self) -> Place:
        """A Place that nobody else holds: the one used last if it is free, else one that was not
        looked at for long, else a new one.
        """
        places = self.places
        for _ in LOOKS:
            try:
                place, memory = places[0]
            except IndexError:
                break
            if getrefcount(place) == _OWN and getrefcount(memory) == _OWN_MEMORY:
                return place
            places.rotate(-1)
        return self.grow()

    def grow(self) -> Place:
        _pool.account(self.size)
        place = fresh(self.size)
        place.shelved = True
        self.places.appendleft((place, place.memory))
        return place


class Pool:
    """The shelves by size."""

    def __init__(self) -> None:
        self.shelves: dict[int, Shelf] = {}
        self.nbytes = 0

    def account(self, nbytes: int) -> None:
        """Account for new memory; past KEEP let go of all: what is in use goes with its arrays."""
        if self.nbytes > KEEP:
            for held in list(self.shelves.values()):
                while held.places:
                    held.places.pop()[0].shelved = False
            self.nbytes = 0
        self.nbytes += nbytes


_pool = Pool()


@lru_cache(maxsize=4096)
def rounded(nbytes: int) -> int:
    """``nbytes`` rounded up to a multiple of an eighth of the next smaller power of two, at least
    64.

    Similar sizes share places that way.
    """
    step = max(1 << max(nbytes.bit_length() - 4, 0), ALIGN)
    return max(-(-nbytes // step) * step, ALIGN)


def shelf(nbytes: int) -> Shelf:
    """The shelf of places of at least ``nbytes``."""
    size = rounded(nbytes)
    return _pool.shelves.get(size) or _pool.shelves.setdefault(size, Shelf(size))


def regain(places: list[int], k: int) -> Place | None:
    """The Place ``places[k]`` if nobody else holds it, and an integer in its stead; else None.

    Whoever calls holds no other reference.
    """
    place, places[k] = places[k], int(places[k])
    if isinstance(place, Place) and place.shelved:
        memory = place.memory
        if getrefcount(place) == _OWN and getrefcount(memory) == _OWN_MEMORY:
            return place
    places[k] = place
    return None


def empty(type: TensorType) -> np.ndarray:
    """An uninitialised array of ``type``."""
    return shelf(type.nbytes).take().array(type.shape, type.dtype)


def _slow_pointer(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


def _fast_pointer(array: np.ndarray) -> int:
    """Read from the object: NumPy's C interface has ``char *data`` right after Python's header."""
    if not isinstance(array, np.ndarray):
        return _slow_pointer(array)
    return ctypes.c_size_t.from_address(id(array) + _HEADER).value


_HEADER = object.__basicsize__


def _pick_pointer() -> Callable[[np.ndarray], int]:
    """The fast way where Python's objects are what it takes them for."""
    if sys.implementation.name != "cpython":
        return _slow_pointer
    probes = [np.zeros(3, np.int8), np.zeros((2, 5))[1:]]
    right = all(_fast_pointer(probe) == _slow_pointer(probe) for probe in probes)
    return _fast_pointer if right else _slow_pointer


#: the address of an array's first element
pointer = _pick_pointer()


def ready(array: np.ndarray) -> np.ndarray:
    """``array`` itself when it is contiguous and aligned, else a copy that is."""
    flags = array.flags
    if flags.c_contiguous and flags.aligned and isinstance(array, np.ndarray):
        return array
    return np.array(array, order="C", copy=True)


def _references() -> tuple[int, int]:
    """What ``take`` counts of a Place, and of its memory, that nobody else holds."""
    held = fresh(0)
    entry = held, held.memory
    del held
    place, memory = entry
    return getrefcount(place), getrefcount(memory)


_OWN, _OWN_MEMORY = _references()
