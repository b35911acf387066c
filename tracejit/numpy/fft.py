"""Fourier transforms, where NumPy has them: the functions of ``tracejit.fft``.

>>> jnp.fft.irfft(jnp.fft.rfft(jnp.array([1.0, 2.0])))
Array([1., 2.], dtype=float32)
"""

from __future__ import annotations

from tracejit import errors as _errors
from tracejit.fft import (
    fft,
    fft2,
    fftfreq,
    fftn,
    fftshift,
    hfft,
    ifft,
    ifft2,
    ifftn,
    ifftshift,
    ihfft,
    irfft,
    irfft2,
    irfftn,
    rfft,
    rfft2,
    rfftfreq,
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
