"""What programs for NumPy use besides arrays' own functions: loops over indices, text files, the
settings of floating point errors, and functions that write into an array they are given.

>>> a = jnp.zeros(3)
>>> jnp.copyto(a, 2.0, where=jnp.array([True, False, True]))
>>> a
Array([2., 0., 2.], dtype=float32)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy import errstate, geterr, ndindex, seterr

from tracejit import source
from tracejit.errors import ArgumentError
from tracejit.frontend.array import Array, as_array


def ndenumerate(arr: Any) -> Iterator[tuple[tuple[int, ...], Any]]:
    """Pairs of an index and the element there.

    >>> list(jnp.ndenumerate(jnp.array([5, 6])))
    [((0,), np.int64(5)), ((1,), np.int64(6))]
    """
    return iter(np.ndenumerate(as_array(arr).concrete("ndenumerate()")))


def loadtxt(fname: Any, dtype: Any = None, **options: Any) -> Any:
    """NumPy's ``loadtxt``, as an Array; ``dtype`` is the default float."""
    return as_array(np.loadtxt(fname, dtype=np.float64 if dtype is None else dtype, **options))


def genfromtxt(fname: Any, dtype: Any = float, **options: Any) -> Any:
    """NumPy's ``genfromtxt``; an Array where it finds numbers."""
    found = np.genfromtxt(fname, dtype=dtype, **options)
    return as_array(found) if found.dtype.kind in "biufc" else found


def savetxt(fname: Any, X: Any, fmt: Any = "%.18e", **options: Any) -> None:
    """NumPy's ``savetxt``."""
    np.savetxt(fname, np.asarray(X), fmt, **options)


def write(name: str, target: Any, value: Any) -> None:
    """``target[...] = value`` for what writes into an argument."""
    if not isinstance(target, Array | np.ndarray):
        raise ArgumentError(
            f"{name}: writes into an array, not {type(target).__name__}", at=source.here()
        )
    target[...] = value


def copyto(dst: Any, src: Any, casting: str = "same_kind", where: Any = True) -> None:
    """Write ``src`` into ``dst``, where ``where`` holds."""
    if where is True:
        write("copyto", dst, src)
        return
    mask, found = np.broadcast_to(np.asarray(where), np.shape(dst)), np.asarray(dst)
    write("copyto", dst, np.where(mask, np.asarray(src), found).astype(found.dtype))


def putmask(a: Any, mask: Any, values: Any) -> None:
    """Write ``values`` into ``a`` where ``mask`` holds; they are repeated to its size.

    >>> a = jnp.array([1.0, -2.0, 3.0])
    >>> jnp.putmask(a, a < 0, 0.0)
    >>> a
    Array([1., 0., 3.], dtype=float32)
    """
    data = np.array(a)
    values = np.asarray(values, data.dtype) if np.ndim(values) == 0 else np.asarray(values)
    np.putmask(data, np.asarray(mask), values)
    write("putmask", a, data)


__all__ = [
    "copyto",
    "errstate",
    "genfromtxt",
    "geterr",
    "loadtxt",
    "ndenumerate",
    "ndindex",
    "putmask",
    "savetxt",
    "seterr",
]
