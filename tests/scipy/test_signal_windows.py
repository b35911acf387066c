"""Windows by name and the lags of correlations, against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal

import tracejit as tj
from tracejit.errors import ArgumentError
from tracejit.scipy import signal


@pytest.mark.parametrize("name", ["hann", "hamming", "blackman", "bartlett", "boxcar", "cosine"])
def test_windows_are_scipys(name: str) -> None:
    with tj.settings(default_float="float64"):
        for sym in (True, False):
            found = getattr(signal.windows, name)(8, sym=sym)
            np.testing.assert_array_equal(found, getattr(scipy.signal.windows, name)(8, sym=sym))
        np.testing.assert_array_equal(signal.get_window(name, 7), scipy.signal.get_window(name, 7))
        found = signal.get_window(("kaiser", 4.0), 9, fftbins=False)
        np.testing.assert_array_equal(found, scipy.signal.windows.kaiser(9, 4.0))


def test_windows_that_are_none() -> None:
    with pytest.raises(ArgumentError):
        signal.get_window("nonsense", 8)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = signal.windows.nonsense
    with pytest.raises(ArgumentError, match="not 'half'"):
        signal.correlation_lags(3, 2, "half")


@pytest.mark.parametrize("mode", ["full", "same", "valid"])
@pytest.mark.parametrize(
    "lengths", [(3, 2), (2, 3), (4, 4), (5, 5), (7, 2), (6, 3), (1, 1), (2, 7)]
)
def test_lags_are_scipys(mode: str, lengths: tuple[int, int]) -> None:
    found = signal.correlation_lags(*lengths, mode=mode)
    np.testing.assert_array_equal(found, scipy.signal.correlation_lags(*lengths, mode=mode))
