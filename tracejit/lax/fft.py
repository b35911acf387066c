"""The Fourier transform of ``lax``: over the last axes, of data that has the right shape.

>>> lax.fft(jnp.ones(4), "rfft", (4,))
Array([4.+0.j, 0.+0.j, 0.+0.j], dtype=complex64)
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any

from tracejit.errors import ArgumentError, ShapeError
from tracejit.fft.transforms import real_signal, to_complex
from tracejit.frontend.array import apply
from tracejit.frontend.axes import shape_tuple
from tracejit.hints import name as name_hint
from tracejit.ops import fft as records
from tracejit.source import here


class FftType(enum.IntEnum):
    """Which transform ``lax.fft`` computes."""

    FFT = 0
    IFFT = 1
    RFFT = 2
    IRFFT = 3


def fft(x: Any, fft_type: FftType | str, fft_lengths: Sequence[int]) -> Any:
    """The Fourier transform over the last ``len(fft_lengths)`` axes, which have those sizes.

    ``fft_type``: an ``FftType`` or its name. FFT and IFFT take and give complex numbers, RFFT gives
    the first ``n // 2 + 1`` terms of the last axis for real ones, IRFFT turns them into ``n`` real
    numbers again. IFFT and IRFFT divide by the number of points. ShapeError where the sizes differ,
    ArgumentError for another type, DTypeError for complex numbers under RFFT.

    >>> lax.fft(jnp.ones((2, 4)), lax.FftType.FFT, (4,)).shape
    (2, 4)
    """
    kind = _kind(fft_type)
    x = real_signal("lax.fft", x) if kind == "rfft" else to_complex(x)
    lengths = shape_tuple(fft_lengths, "fft_lengths")
    if not lengths:
        return x
    first = x.ndim - len(lengths)
    if first < 0:
        raise ShapeError(f"lax.fft: {len(lengths)} lengths for the axes of {x.type}", at=here())
    axes = tuple(range(first, x.ndim))
    return apply(records.fft, x, kind=kind, axes=axes, lengths=lengths, norm="backward")


def _kind(fft_type: Any) -> str:
    """The name of a transform, as the primitive has it."""
    if isinstance(fft_type, FftType):
        return fft_type.name.lower()
    if isinstance(fft_type, str) and fft_type in (*records.KINDS, *FftType.__members__):
        return fft_type.lower()
    raise ArgumentError(
        f"lax.fft: {fft_type!r} is no type of transform",
        at=here(),
        hint=name_hint(str(fft_type), list(records.KINDS)),
    )
