"""Where BLAS is in memory: addresses of its products, and of the function that sets its threads.

blas()["sgemm"]        blas_threads() == (address of the setter, 2)

NumPy's own OpenBLAS comes first, which is loaded with NumPy; SciPy's takes 10 to 50 ms to load.
The integers given to it are 64 bits wide in memory: a BLAS with integers of 32 bits reads their low
half, which is where it looks on a little-endian machine.
"""

from __future__ import annotations

import ctypes
import glob
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from tracejit.record import dataclass
from tracejit.runtime.native import load_extension

ROUTINES = ("sgemm", "dgemm")
#: names of a routine and of the thread functions; the first have integers of 64 bits
_FORMS = (
    ("scipy_{}_64_", "scipy_openblas_{}_num_threads64_"),
    ("{}_64_", "openblas_{}_num_threads64_"),
    ("scipy_{}_", "scipy_openblas_{}_num_threads"),
    ("{}_", "openblas_{}_num_threads"),
)


@dataclass(frozen=True)
class Found:
    """A BLAS: where its routines are, its setter of threads and how many it uses now."""

    file: str
    routines: dict[str, int]
    threads: tuple[int, int]


def bundled(place: str) -> Iterator[tuple[str, Any]]:
    """OpenBLAS libraries in a package's wheel, by file."""
    for pattern in (f"{place}.libs/*openblas*", f"{place}/.dylibs/*openblas*"):
        for file in sorted(glob.glob(pattern)):
            yield file, ctypes.CDLL(file)


def _address(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def _number(function: Any) -> int:
    """What a function without arguments answers."""
    function.argtypes, function.restype = [], ctypes.c_int
    return int(function())


def forms() -> tuple[tuple[str, str], ...]:
    """How names are spelled in a library that can be called here."""
    return _FORMS if sys.byteorder == "little" else _FORMS[:2]


def capsules(module: str, names: Sequence[str]) -> dict[str, int]:
    """Addresses of functions that a module of SciPy publishes for Cython.

    Raises ImportError without SciPy, KeyError for a name that is not there.
    """
    name = ctypes.pythonapi.PyCapsule_GetName
    name.restype, name.argtypes = ctypes.c_char_p, [ctypes.py_object]
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    table = load_extension("scipy", module).__pyx_capi__
    return {f: int(get(table[f], name(table[f]))) for f in names}


@lru_cache(maxsize=1)
def _numpy_blas() -> Found | None:
    """The OpenBLAS that NumPy brought; None where it brought another."""
    for file, library in bundled(np.__path__[0]):
        for routine, thread in forms():
            names = [routine.format(name) for name in ROUTINES]
            names += [thread.format(what) for what in ("set", "get")]
            found = [getattr(library, name, None) for name in names]
            if all(f is not None for f in found):
                addresses = dict(zip(ROUTINES, map(_address, found), strict=False))
                return Found(file, addresses, (_address(found[-2]), _number(found[-1])))
    return None


@lru_cache(maxsize=1)
def blas() -> dict[str, int]:
    """Addresses of BLAS functions: NumPy's, or those whose pointers SciPy publishes for Cython."""
    own = _numpy_blas()
    if own is not None:
        return own.routines
    return capsules("linalg/cython_blas", ROUTINES)


@lru_cache(maxsize=1)
def blas_threads() -> tuple[int, int]:
    """The address of a function that sets how many threads BLAS uses, and how many it uses now.

    Zeros for a BLAS that has no such function.
    """
    own = _numpy_blas()
    if own is not None:
        return own.threads
    spec = importlib.util.find_spec("scipy")
    for place in () if spec is None else spec.submodule_search_locations or ():
        for _, library in bundled(place):
            for _, thread in _FORMS:
                setter, getter = (
                    getattr(library, thread.format(what), None) for what in ("set", "get")
                )
                if setter is not None and getter is not None:
                    return _address(setter), _number(getter)
    return 0, 0


def blas_origin() -> str:
    """Which BLAS computes products, for people."""
    own = _numpy_blas()
    return f"NumPy's {own.file}" if own is not None else "scipy.linalg.cython_blas"
