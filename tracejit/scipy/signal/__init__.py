"""Signals: convolution, trends, spectra, under the names of ``scipy.signal``.

>>> from tracejit.scipy import signal
>>> signal.convolve(jnp.array([1.0, 2.0, 3.0]), jnp.array([1.0, 1.0]), mode="same")
Array([1., 3., 5.], dtype=float32)
"""

from __future__ import annotations

from tracejit import errors as _errors
from tracejit.frontend import eager as _eager
from tracejit.scipy.signal import windows as windows
from tracejit.scipy.signal.convolution import (
    convolve,
    convolve2d,
    correlate,
    correlate2d,
    correlation_lags,
    fftconvolve,
)
from tracejit.scipy.signal.spectral import csd, istft, stft, welch
from tracejit.scipy.signal.windows import detrend, get_window

# fmt: off
__all__ = [
    "convolve", "convolve2d", "correlate", "correlate2d", "correlation_lags", "csd", "detrend",
    "fftconvolve", "get_window", "istft", "stft", "welch", "windows",
]
# fmt: on

_errors.user_functions(globals(), _eager.remembering())
