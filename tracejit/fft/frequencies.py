"""Where the terms of a transform lie: frequencies, and the shift that puts zero in the middle.

fftfreq(4, 0.5)       -> [0, 0.5, -1, -0.5]
fftshift([0, 1, 2])   -> [2, 0, 1]
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tracejit.errors import ArgumentError
from tracejit.frontend import creation, shaping
from tracejit.frontend import elementwise as ew
from tracejit.frontend.array import as_array
from tracejit.frontend.axes import axis_number, integer
from tracejit.frontend.promotion import canonical, convert, inexact, is_python
from tracejit.ir.types import DTYPES, kind
from tracejit.source import here


def _frequencies(name: str, counts: np.ndarray, n: int, d: Any, dtype: Any, device: Any) -> Any:
    """``counts / (n d)``, rounded once where ``d`` is a number."""
    wanted = None if dtype is None else canonical(dtype)
    if wanted is not None and kind(wanted) not in "fc":
        raise ArgumentError(f"{name}: dtype is a floating one, not {wanted}", at=here())
    if is_python(d):
        if d == 0:
            raise ArgumentError(f"{name}: d = 0: samples at one point have no frequency", at=here())
        return creation.asarray(counts / (n * d), wanted or inexact(DTYPES["i64"]), device=device)
    spacing = as_array(d)
    if spacing.ndim:
        raise ArgumentError(f"{name}: d is a number, not {spacing.type}", at=here())
    wanted = wanted or inexact(spacing.dtype)
    places = creation.asarray(counts, wanted, device=device)
    return ew.divide(places, ew.multiply(convert(spacing, wanted), n))


def _count(name: str, n: Any) -> int:
    count = integer(n, f"{name}: n")
    if count < 1:
        raise ArgumentError(f"{name}: n is a positive integer, not {count}", at=here())
    return count


def fftfreq(n: int, d: Any = 1.0, *, dtype: Any = None, device: Any = None) -> Any:
    """The frequencies of the terms of ``fft`` of ``n`` samples ``d`` apart: 0, 1, ..., then the
    negative ones, over ``n d``. ArgumentError where ``n`` is not a positive integer.

    >>> jnp.fft.fftfreq(4, 0.5)
    Array([ 0. ,  0.5, -1. , -0.5], dtype=float32)
    """
    n = _count("fftfreq", n)
    counts = np.concatenate([np.arange((n + 1) // 2), np.arange(-(n // 2), 0)])
    return _frequencies("fftfreq", counts, n, d, dtype, device)


def rfftfreq(n: int, d: Any = 1.0, *, dtype: Any = None, device: Any = None) -> Any:
    """The frequencies of the terms of ``rfft`` of ``n`` samples ``d`` apart.

    >>> jnp.fft.rfftfreq(4, 0.5)
    Array([0. , 0.5, 1. ], dtype=float32)
    """
    n = _count("rfftfreq", n)
    return _frequencies("rfftfreq", np.arange(n // 2 + 1), n, d, dtype, device)


def _rolled(name: str, x: Any, axes: Any, sign: int) -> Any:
    """``x`` rolled by half of each of ``axes``, forth or back."""
    x = as_array(x)
    given = range(x.ndim) if axes is None else axes
    for axis in given if isinstance(given, tuple | list | range) else (given,):
        number = axis_number(name, axis, x.ndim)
        n = x.shape[number]
        split = n - n // 2 if sign > 0 else n // 2  # what comes first
        if 0 < split < n:
            head = shaping.cut(x, number, split, n)
            x = shaping.concatenate([head, shaping.cut(x, number, 0, split)], number)
    return x


def fftshift(x: Any, axes: Any = None) -> Any:
    """The term of frequency zero moved from the front to the middle, of ``axes`` or all.

    >>> jnp.fft.fftshift(jnp.array([0, 1, 2, -2, -1]))
    Array([-2, -1,  0,  1,  2])
    """
    return _rolled("fftshift", x, axes, 1)


def ifftshift(x: Any, axes: Any = None) -> Any:
    """The inverse of ``fftshift``.

    >>> jnp.fft.ifftshift(jnp.array([-2, -1, 0, 1, 2]))
    Array([ 0,  1,  2, -2, -1])
    """
    return _rolled("ifftshift", x, axes, -1)
