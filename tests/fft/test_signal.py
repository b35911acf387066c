"""Signals and vectors of codes: bad input, warnings, round trips."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.signal

import tracejit as tj
import tracejit.numpy as jnp
from tracejit.errors import ArgumentError, ShapeError
from tracejit.scipy import cluster, signal
from tracejit.scipy.signal.convolution import fast_length
from tracejit.scipy.signal.windows import overlap_add, segments

RNG = np.random.default_rng(0)
X = RNG.normal(size=40)
M = np.ones((3, 3))

BAD: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: signal.convolve(X, M), ShapeError, "1 and 2 axes"),
    (lambda: signal.convolve(X, X, "ful"), ArgumentError, "did you mean 'full'"),
    (lambda: signal.convolve(X, X, method="fast"), ArgumentError, "method is one of"),
    (lambda: signal.convolve(X, np.ones(0)), ShapeError, "empty"),
    (lambda: signal.fftconvolve(X, np.ones(0)), ShapeError, "empty"),
    (lambda: signal.convolve(np.ones((2, 5)), np.ones((3, 4)), "valid"), ShapeError, "at least as"),
    (lambda: signal.fftconvolve(np.ones((2, 5)), np.ones((3, 5)), axes=1), ShapeError, "broadcast"),
    (lambda: signal.fftconvolve(M, M, axes=(0, 0)), ShapeError, "twice"),
    (lambda: signal.convolve2d(X, X), ShapeError, "two axes"),
    (lambda: signal.correlate2d(M, M, boundary="circular"), ArgumentError, "boundary is one of"),
    (lambda: signal.detrend(X, type="quadratic"), ArgumentError, "'constant' or 'linear'"),
    (lambda: signal.detrend(X, bp=[50]), ArgumentError, "break points"),
    (lambda: signal.detrend(X, overwrite_data=True), ArgumentError, "immutable"),
    (lambda: signal.stft(X, nperseg=0), ArgumentError, "positive"),
    (lambda: signal.stft(X, nperseg=8, noverlap=8), ArgumentError, "noverlap = 8"),
    (lambda: signal.stft(X, nperseg=8, nfft=6), ArgumentError, "nfft = 6"),
    (lambda: signal.stft(X, nperseg=8, boundary="zero"), ArgumentError, "boundary is one of"),
    (lambda: signal.stft(X, window="hanna", nperseg=8), ArgumentError, "is no window"),
    (lambda: signal.stft(X, window=M, nperseg=3), ShapeError, "one axis"),
    (lambda: signal.stft(X, window=np.ones(9), nperseg=8), ShapeError, "nperseg = 8"),
    (lambda: signal.welch(X, window=np.ones(50)), ShapeError, "a window of 50"),
    (lambda: signal.welch(X, scaling="power", nperseg=8), ArgumentError, "scaling is one of"),
    (lambda: signal.welch(X, average="mode", nperseg=8), ArgumentError, "average is one of"),
    (lambda: signal.welch(X, detrend=3, nperseg=8), ArgumentError, "detrend is"),
    (lambda: signal.csd(X, M, nperseg=8), ShapeError, "differ in rank"),
    (lambda: signal.istft(X), ShapeError, "at least two axes"),
    (lambda: signal.istft(M, time_axis=0, freq_axis=0), ArgumentError, "the same"),
    (lambda: signal.istft(M, nperseg=8), ArgumentError, "nfft = 4"),
    (lambda: cluster.vq.vq(X, M), ShapeError, "two matrices or two vectors"),
    (lambda: cluster.vq.vq(M, np.ones((2, 2))), ShapeError, "rows of 3"),
    (lambda: cluster.vq.vq(M, np.ones((0, 3))), ShapeError, "empty"),
]


@pytest.mark.parametrize(("call", "error", "text"), BAD)
def test_bad_input_names_the_users_line(
    call: Callable[[], Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=re.escape(text)) as caught:
        call()
    assert "test_signal.py" in str(caught.value)


def test_a_segment_longer_than_the_signal_is_cut_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="nperseg = 64 is more than the 40 samples"):
        found = signal.welch(X, nperseg=64)[1]
    np.testing.assert_allclose(found, scipy.signal.welch(X, nperseg=40)[1])


def test_complex_signals_have_two_sides() -> None:
    with pytest.warns(UserWarning, match="return_onesided=False"):
        f, _, z = signal.stft(X + 1j, nperseg=8)
    assert f.shape == (8,) and z.shape[0] == 8


def test_a_trend_removed_by_a_function_of_ones_own() -> None:
    x = RNG.normal(size=(30, 2))
    found = signal.welch(x, nperseg=8, axis=0, detrend=lambda d: d - d.mean(0, keepdims=True))
    want = scipy.signal.welch(x, nperseg=8, axis=0, detrend=lambda d: d - d.mean(0, keepdims=True))
    # SciPy's function sees segments with time last where the axis was moved to the end
    assert found[1].shape == want[1].shape


def test_stft_and_back_under_jit_with_gradients() -> None:
    back = tj.jit(lambda x: signal.istft(signal.stft(x, nperseg=8)[2], nperseg=8)[1])
    np.testing.assert_allclose(back(X), X, atol=1e-12)
    slope = tj.grad(lambda x: jnp.sum(back(x) ** 2))(X)
    np.testing.assert_allclose(slope, 2 * X, atol=1e-12)


def test_times_of_several_signals() -> None:
    t, x = signal.istft(signal.stft(np.stack([X, X]), nperseg=8)[2], fs=2.0)
    np.testing.assert_allclose(t, np.arange(x.shape[-1]) / 2)


@pytest.mark.parametrize(("size", "step"), [(4, 4), (4, 2), (5, 2), (6, 1), (9, 1), (3, 5), (1, 1)])
def test_segments_and_their_sum(size: int, step: int) -> None:
    x = RNG.normal(size=(2, 23))
    count = (23 - size) // step + 1
    want = np.stack([x[:, k * step : k * step + size] for k in range(count)], 1)
    np.testing.assert_array_equal(segments(jnp.asarray(x), size, step), want)
    total = np.zeros((2, (count - 1) * step + size))
    for k in range(count):
        total[:, k * step : k * step + size] += want[:, k]
    np.testing.assert_allclose(overlap_add(jnp.asarray(want), step), total)


def test_fast_lengths_have_small_factors() -> None:
    def is_fast(n: int) -> bool:
        for p in (2, 3, 5):
            while n % p == 0:
                n //= p
        return n == 1

    for n in range(1, 300):
        assert fast_length(n) == next(m for m in range(n, 2 * n + 1) if is_fast(m))


def test_the_nearest_code_is_found_under_jit() -> None:
    code, apart = tj.jit(cluster.vq.vq)(np.array([0.2, 2.0]), np.array([0.0, 1.9]))
    assert code.tolist() == [0, 1] and code.dtype == "int32"
    np.testing.assert_allclose(apart, [0.2, 0.1])
