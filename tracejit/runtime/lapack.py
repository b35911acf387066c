"""Where LAPACK is in memory: addresses of its routines, and how wide its integers are.

    lapack().routines["dpotrf"]       an address; lapack() is None where there is none

NumPy's own OpenBLAS has LAPACK inside and comes first; else SciPy publishes pointers for Cython.
"""

from __future__ import annotations

import ctypes
import sys
from functools import lru_cache
from typing import Any

import numpy as np

from tracejit.record import dataclass
from tracejit.runtime.blas import bundled, capsules, forms

#: routines without their letter; the complex ones have other names in part
_NAMES = (
    "potrf getrf geqrf orgqr geqp3 gesdd syevd geev gees gehrd sytrd gtsv "
    "laswp geqrt3 larft larfb trsm trsv gemm"
).split()
_BLAS = ("trsm", "trsv", "gemm")
_COMPLEX = {"orgqr": "ungqr", "syevd": "heevd", "sytrd": "hetrd"}
ROUTINES = (
    *(letter + name for letter in "sd" for name in _NAMES),
    *(letter + _COMPLEX.get(name, name) for letter in "cz" for name in _NAMES),
)


@dataclass(frozen=True)
class Lapack:
    """``routines``: addresses; ``integers``: bytes of an integer; ``origin``: for people."""

    routines: dict[str, int]
    integers: int
    origin: str


@lru_cache(maxsize=1)
def lapack() -> Lapack | None:
    """The LAPACK that compiled programs call; None where neither NumPy nor SciPy brings one."""
    return _numpys() or _scipys()


def _numpys() -> Lapack | None:
    for file, library in bundled(np.__path__[0]):
        for form, _ in forms():
            found: list[Any] = [getattr(library, form.format(n), None) for n in ROUTINES]
            if all(f is not None for f in found):
                addresses = [ctypes.cast(f, ctypes.c_void_p).value or 0 for f in found]
                integers = 8 if form.endswith("64_") else 4
                return Lapack(dict(zip(ROUTINES, addresses, strict=True)), integers, file)
    return None


def _scipys() -> Lapack | None:
    if sys.byteorder != "little":  # integers have 64 bits in memory, of which it reads the first
        return None
    try:
        found = {
            **capsules("linalg/cython_lapack", [n for n in ROUTINES if n[1:] not in _BLAS]),
            **capsules("linalg/cython_blas", [n for n in ROUTINES if n[1:] in _BLAS]),
        }
    except (ImportError, KeyError):
        return None
    return Lapack(found, 4, "scipy.linalg.cython_lapack")
