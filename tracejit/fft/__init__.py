"""Fourier transforms: the functions of ``numpy.fft``, also found as ``tracejit.numpy.fft``.

>>> from tracejit import fft
>>> fft.rfft(jnp.array([1.0, 2.0, 3.0, 4.0]))
Array([10.+0.j, -2.+2.j, -2.+0.j], dtype=complex64)
"""

from __future__ import annotations

from tracejit import errors as _errors
from tracejit.fft.frequencies import fftfreq, fftshift, ifftshift, rfftfreq
from tracejit.fft.transforms import (
    fft,
    fft2,
    fftn,
    hfft,
    ifft,
    ifft2,
    ifftn,
    ihfft,
    irfft,
    irfft2,
    irfftn,
    rfft,
    rfft2,
    rfftn,
)
from tracejit.frontend import eager as _eager

# fmt: off
__all__ = [
    "fft", "fft2", "fftfreq", "fftn", "fftshift", "hfft", "ifft", "ifft2", "ifftn", "ifftshift",
    "ihfft", "irfft", "irfft2", "irfftn", "rfft", "rfft2", "rfftfreq", "rfftn",
]
# fmt: on

_errors.user_functions(globals(), _eager.remembering())
