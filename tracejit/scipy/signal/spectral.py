"""Spectra of signals by segments: welch, csd, stft and its inverse.

    f, p = welch(x, fs=100.0, nperseg=64)      power per frequency, averaged over segments
    f, t, z = stft(x, nperseg=64)              the spectrum of each segment
    t, x = istft(z, nperseg=64)

``fs`` is the sampling frequency, ``window`` a name, a tuple as for ``scipy.signal.get_window`` or
an array; segments of ``nperseg`` samples overlap by ``noverlap`` and are filled to ``nfft``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import tracejit.numpy as jnp
from tracejit.errors import ArgumentError, ShapeError
from tracejit.fft import transforms
from tracejit.fft.frequencies import fftfreq, rfftfreq
from tracejit.frontend import elementwise as ew
from tracejit.frontend import promotion, reductions, shaping
from tracejit.frontend.array import as_array
from tracejit.frontend.axes import axis_number, integer
from tracejit.frontend.promotion import convert, reshaped
from tracejit.ir.types import complex_dtype, kind, real_dtype
from tracejit.scipy.signal.convolution import one_of
from tracejit.scipy.signal.windows import (
    detrend as without_trend,
)
from tracejit.scipy.signal.windows import (
    extended,
    overlap_add,
    segments,
    window_array,
)
from tracejit.source import here

BOUNDARIES = ("even", "odd", "constant", "zeros", None)
#: samples of a segment unless the caller says otherwise
DEFAULT_SEGMENT = 256


class Plan(NamedTuple):
    """Sizes of segments and their window."""

    window: Any
    size: int
    overlap: int
    points: int

    @property
    def step(self) -> int:
        return self.size - self.overlap


def _plan(
    name: str, window: Any, nperseg: Any, noverlap: Any, nfft: Any, n: int, dtype: np.dtype
) -> Plan:
    """Sizes from a caller's arguments, checked against a signal of ``n`` samples."""
    size = None if nperseg is None else integer(nperseg, f"{name}: nperseg")
    if size is not None and size < 1:
        raise ArgumentError(f"{name}: nperseg is positive, not {size}", at=here())
    if isinstance(window, str | tuple):
        size = DEFAULT_SEGMENT if size is None else size
        if size > n:
            if nperseg is not None:
                warnings.warn(
                    f"{name}: nperseg = {size} is more than the {n} samples: {n} are taken",
                    stacklevel=2,
                )
            size = n
        win = window_array(name, window, size, dtype)
    else:
        win = window_array(name, window, 0, dtype)
        if win.size > n:
            raise ShapeError(
                f"{name}: a window of {win.size} for a signal of {n} samples", at=here()
            )
        if size is not None and size != win.size:
            raise ShapeError(
                f"{name}: nperseg = {size} and a window of {win.size} samples", at=here()
            )
        size = win.size
    return _finish(name, win, size, noverlap, nfft)


def _finish(name: str, win: Any, size: int, noverlap: Any, nfft: Any) -> Plan:
    overlap = size // 2 if noverlap is None else integer(noverlap, f"{name}: noverlap")
    points = size if nfft is None else integer(nfft, f"{name}: nfft")
    if points < size:
        raise ArgumentError(f"{name}: nfft = {points} is less than {size} samples", at=here())
    if not 0 <= overlap < size:
        raise ArgumentError(
            f"{name}: noverlap = {overlap} is not below the {size} samples of a segment", at=here()
        )
    return Plan(win, size, overlap, points)


def _spectra(x: Any, plan: Plan, trend: Callable[[Any], Any], one_sided: bool) -> Any:
    """The spectrum of each segment of the last axis: (..., segments, frequencies)."""
    parts = ew.multiply(trend(segments(x, plan.size, plan.step)), plan.window)
    transform = transforms.rfft if one_sided else transforms.fft
    return transform(parts, plan.points)


def _remover(name: str, how: Any, axis: int) -> Callable[[Any], Any]:
    """What takes the trend out of segments, whose samples lie along the last axis."""
    if isinstance(how, str):
        return lambda d: without_trend(d, type=how)
    if callable(how):
        # a user's function sees the samples where the signal has them
        return lambda d: shaping.moveaxis(how(shaping.moveaxis(d, -1, axis)), axis, -1)
    if how is None or how is False:
        return lambda d: d
    raise ArgumentError(
        f"{name}: detrend is 'constant', 'linear', False or a function, not {how!r}", at=here()
    )


def _scale(name: str, scaling: str, fs: Any, window: Any) -> Any:
    one_of(name, "scaling", scaling, ("density", "spectrum"))
    if scaling == "density":
        return ew.divide(1.0, ew.multiply(fs, reductions.sum(ew.multiply(window, window))))
    return ew.divide(1.0, ew.square(reductions.sum(window)))


def _one_sided(wanted: bool, arrays: list[Any]) -> bool:
    """Half of the spectrum says all where the signals are real."""
    is_complex = any(kind(a.dtype) == "c" for a in arrays)
    if wanted and is_complex:
        warnings.warn("Input data is complex, switching to return_onesided=False", stacklevel=2)
    return wanted and not is_complex


def _frequencies(plan: Plan, fs: Any, dtype: np.dtype, one_sided: bool) -> Any:
    spacing = 1.0 / fs if promotion.is_python(fs) else ew.divide(1.0, fs)
    return (rfftfreq if one_sided else fftfreq)(plan.points, spacing, dtype=dtype)


def _times(plan: Plan, n: int, fs: Any, dtype: np.dtype, extended_by: float) -> Any:
    """The middles of the segments, from the first sample of the signal as it was given."""
    middles = np.arange(plan.size / 2, n - plan.size / 2 + 1, plan.step) - extended_by
    return ew.divide(convert(as_array(middles), dtype), promotion.typed(fs, dtype))


# ---- the short-time transform --------------------------------------------------------------------


def stft(
    x: Any,
    fs: Any = 1.0,
    window: Any = "hann",
    nperseg: int = 256,
    noverlap: int | None = None,
    nfft: int | None = None,
    detrend: Any = False,
    return_onesided: bool = True,
    boundary: str | None = "zeros",
    padded: bool = True,
    axis: int = -1,
) -> tuple[Any, Any, Any]:
    """The spectra of segments of a signal: ``(frequencies, times, values)``; in ``values`` the
    frequencies take the place of ``axis`` and the segments come last.

    ``boundary`` says how the signal is continued by half a segment at both ends: "zeros", "even",
    "odd", "constant" or None, not at all; ``padded``: with zeros to a whole number of segments.
    ArgumentError and ShapeError where sizes do not fit.

    >>> f, t, z = tj.scipy.signal.stft(jnp.ones(16), nperseg=8)
    >>> f.shape, t.shape, z.shape
    ((5,), (5,), (5, 5))
    """
    if boundary not in BOUNDARIES:
        raise ArgumentError(
            f"stft: boundary is one of {', '.join(map(repr, BOUNDARIES))}, not {boundary!r}",
            at=here(),
        )
    x = transforms.to_float(x)
    number = axis_number("stft", axis, x.ndim)
    dtype = real_dtype(x.dtype)
    if x.size == 0:
        empty = promotion.filled(0, x.type.with_dtype(dtype))
        return empty, empty, convert(empty, complex_dtype(dtype))
    plan = _plan("stft", window, nperseg, noverlap, nfft, x.shape[number], dtype)
    x = extended("stft", shaping.moveaxis(x, number, -1), _reach(plan, boundary), boundary)
    if padded:
        more = (-(x.shape[-1] - plan.size) % plan.step) % plan.size
        x = shaping.padded(x, [(0, more if k == x.ndim - 1 else 0, 0) for k in range(x.ndim)])
    one_sided = _one_sided(return_onesided, [x])
    found = _spectra(x, plan, _remover("stft", detrend, number), one_sided)
    found = ew.multiply(found, ew.sqrt(_scale("stft", "spectrum", fs, plan.window)))
    found = convert(found, complex_dtype(dtype))
    times = _times(plan, x.shape[-1], fs, dtype, 0 if boundary is None else plan.size / 2)
    return (
        _frequencies(plan, fs, dtype, one_sided),
        times,
        shaping.moveaxis(found, -1, number),
    )


def _reach(plan: Plan, boundary: str | None) -> int:
    return 0 if boundary is None else plan.size // 2


def istft(
    Zxx: Any,
    fs: Any = 1.0,
    window: Any = "hann",
    nperseg: int | None = None,
    noverlap: int | None = None,
    nfft: int | None = None,
    input_onesided: bool = True,
    boundary: bool = True,
    time_axis: int = -1,
    freq_axis: int = -2,
) -> tuple[Any, Any]:
    """The signal whose short-time transform is ``Zxx``: ``(times, signal)``, by weighted
    overlapping segments; window, sizes and overlap are those ``stft`` was called with.

    >>> x = jnp.arange(16.0)
    >>> t, y = tj.scipy.signal.istft(tj.scipy.signal.stft(x, nperseg=8)[2])
    >>> jnp.allclose(y, x, atol=1e-5)
    Array(True)
    """
    z = transforms.to_complex(Zxx)
    if z.ndim < 2:
        raise ShapeError(f"istft: takes at least two axes, not {z.type}", at=here())
    when, which = (axis_number("istft", a, z.ndim) for a in (time_axis, freq_axis))
    if when == which:
        raise ArgumentError("istft: time_axis and freq_axis are the same", at=here())
    count = z.shape[which]
    default = 2 * (count - 1) if input_onesided else count
    size = default if nperseg is None else integer(nperseg, "istft: nperseg")
    if size < 1:
        raise ArgumentError(f"istft: nperseg is positive, not {size}", at=here())
    if nfft is None:  # an odd segment that was not filled
        nfft = default + 1 if input_onesided and size == default + 1 else default
    real = real_dtype(z.dtype)
    win = window_array("istft", window, size, real)
    if win.size != size:
        raise ShapeError(f"istft: a window of {win.size} for segments of {size}", at=here())
    plan = _finish("istft", win, size, noverlap, nfft)
    z = shaping.moveaxis(z, (when, which), (-2, -1))
    inverse = transforms.irfft if input_onesided else transforms.ifft
    parts = inverse(z, plan.points)
    parts = shaping.cut(parts, parts.ndim - 1, 0, size)
    # the window's sum undoes the scale of the transform
    x = overlap_add(ew.multiply(parts, ew.multiply(win, reductions.sum(win))), plan.step)
    squares = promotion.broadcast_to(ew.square(win), (z.shape[-2], size))
    norm = overlap_add(squares, plan.step)
    if boundary and size > 1:
        half = size // 2
        x = shaping.cut(x, x.ndim - 1, half, x.shape[-1] - half)
        norm = shaping.cut(norm, 0, half, norm.shape[0] - half)
    x = ew.divide(x, ew.select(ew.greater(norm, 1e-10), norm, 1.0))
    times = ew.divide(jnp.arange(x.shape[-1], dtype=real), promotion.typed(fs, real))
    return times, shaping.moveaxis(x, -1, when - (which < when)) if x.ndim > 1 else x


# ---- averaged spectra ----------------------------------------------------------------------------


def csd(
    x: Any,
    y: Any,
    fs: Any = 1.0,
    window: Any = "hann",
    nperseg: int | None = None,
    noverlap: int | None = None,
    nfft: int | None = None,
    detrend: Any = "constant",
    return_onesided: bool = True,
    scaling: str = "density",
    axis: int = -1,
    average: str = "mean",
) -> tuple[Any, Any]:
    """The cross spectral density of two signals by Welch's method: ``(frequencies, density)``.

    Signals that differ in length are filled with zeros; ``y`` None means the spectrum of ``x``.
    ``scaling``: "density" (per frequency) or "spectrum"; ``average`` over segments: "mean" or
    "median". ShapeError where shapes do not broadcast, ArgumentError for other names.

    >>> f, p = tj.scipy.signal.csd(jnp.ones(8), jnp.arange(8.0), nperseg=4)
    >>> f.shape, p.dtype
    ((3,), dtype('complex64'))
    """
    one_of("csd", "average", average, ("mean", "median"))
    given = [transforms.to_float(x)] if y is None else _float_pair(x, y)
    if any(a.ndim != given[0].ndim for a in given):
        raise ShapeError(f"csd: {given[0].type} and {given[1].type} differ in rank", at=here())
    number = axis_number("csd", axis, given[0].ndim)
    dtype = real_dtype(given[0].dtype)
    if any(a.size == 0 for a in given):
        empty = promotion.filled(0, given[0].type.with_dtype(dtype))
        return empty, empty if y is None else convert(empty, complex_dtype(dtype))
    n = max(a.shape[number] for a in given)
    plan = _plan("csd", window, nperseg, noverlap, nfft, n, dtype)
    one_sided = _one_sided(return_onesided, given)
    trend = _remover("csd", detrend, number)
    spectra = []
    for a in given:
        long = transforms.resized(shaping.moveaxis(a, number, -1), a.ndim - 1, n)
        spectra.append(_spectra(long, plan, trend, one_sided))
    if y is None:
        power = ew.add(ew.square(ew.real(spectra[0])), ew.square(ew.imag(spectra[0])))
    else:
        promotion.broadcast_shapes("csd", spectra)
        power = ew.multiply(ew.conjugate(spectra[0]), spectra[1])
    power = ew.multiply(_averaged(power, average), _scale("csd", scaling, fs, plan.window))
    if one_sided:  # every frequency but the first, and the last of an even length, stands for two
        weights = np.full(power.shape[-1], 2.0)
        weights[0] = 1.0
        if plan.points % 2 == 0:
            weights[-1] = 1.0
        power = ew.multiply(power, convert(as_array(weights), dtype))
    power = convert(power, dtype if y is None else complex_dtype(dtype))
    return _frequencies(plan, fs, dtype, one_sided), shaping.moveaxis(power, -1, number)


def _float_pair(x: Any, y: Any) -> list[Any]:
    return promotion.promoted("csd", transforms.to_float(x), transforms.to_float(y))


def _averaged(power: Any, how: str) -> Any:
    """Over segments, the axis before the last. The median of n segments is corrected for its bias
    (B. Allen and others, FINDCHIRP, Phys. Rev. D 85, 2012, appendix B).
    """
    count = power.shape[-2]
    if count == 1:
        return reshaped(power, (*power.shape[:-2], power.shape[-1]))
    if how == "mean":
        return reductions.mean(power, -2)
    even = np.arange(2.0, count, 2)
    bias = 1 + np.sum(1.0 / (even + 1) - 1.0 / even)
    if kind(power.dtype) == "c":
        parts = [jnp.median(f(power), axis=-2) for f in (ew.real, ew.imag)]
        return ew.divide(ew.complex_of(*parts), float(bias))
    return ew.divide(jnp.median(power, axis=-2), float(bias))


def welch(
    x: Any,
    fs: Any = 1.0,
    window: Any = "hann",
    nperseg: int | None = None,
    noverlap: int | None = None,
    nfft: int | None = None,
    detrend: Any = "constant",
    return_onesided: bool = True,
    scaling: str = "density",
    axis: int = -1,
    average: str = "mean",
) -> tuple[Any, Any]:
    """The power spectral density of a signal, averaged over segments: ``(frequencies, density)``.
    Arguments as of ``csd``.

    >>> f, p = tj.scipy.signal.welch(jnp.ones(8), nperseg=4, detrend=False)
    >>> p
    Array([2.6666667, 1.3333334, 0.       ], dtype=float32)
    """
    return csd(
        x,
        None,
        fs,
        window,
        nperseg,
        noverlap,
        nfft,
        detrend,
        return_onesided,
        scaling,
        axis,
        average,
    )
