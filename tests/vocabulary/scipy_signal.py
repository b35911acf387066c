"""Signals, integration and clustering, against SciPy's functions."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.signal

from tests.vocabulary.spec import Case, case, real

FLOATS = ("float32", "float64")
NUMBERS = ("float32", "float64", "complex64", "complex128")
MODES = ("full", "same", "valid")


def signal(name: str, *args: Any, **options: Any) -> Case:
    return case(f"tracejit.scipy.signal.{name}", *args, **{"tol32": 1e-4, **options})


CASES: list[Case] = []
for _name in ("convolve", "correlate", "fftconvolve"):
    _options = {"dtypes": (*(("int32",) if _name != "fftconvolve" else ()), *NUMBERS)}
    for _mode in MODES:
        CASES += [
            signal(_name, real(7), real(3), _mode, **_options),
            signal(_name, real(6), real(4), mode=_mode),
            signal(_name, real(3), real(6), mode=_mode),
            signal(_name, real(4, 5), real(2, 3), mode=_mode),
        ]
    CASES += [
        signal(_name, real(2, 3, 4), real(2, 2, 2)),
        signal(_name, real(1), real(1)),
    ]
for _name in ("convolve", "correlate"):
    CASES += [signal(_name, real(6), real(3), mode, method="fft") for mode in MODES]
    CASES += [
        signal(_name, real(4, 5), real(3, 2), "full", "direct"),
        signal(_name, real(2, 2, 2, 3), real(2, 1, 2, 2)),
    ]
CASES += [
    signal("fftconvolve", real(2, 5), real(2, 3), "same", axes=1),
    signal("fftconvolve", real(2, 5), real(1, 3), "valid", axes=[1]),
    signal("fftconvolve", real(4, 2, 3), real(3, 2, 2), axes=(0, 2)),
]
for _name in ("convolve2d", "correlate2d"):
    for _mode in MODES:
        CASES += [
            signal(_name, real(5, 6), real(2, 3), _mode, dtypes=("int32", *NUMBERS)),
            signal(_name, real(2, 2), real(4, 3), mode=_mode),
            signal(_name, real(5, 4), real(2, 2), mode=_mode, boundary="wrap"),
            signal(_name, real(5, 4), real(3, 2), mode=_mode, boundary="symm"),
            signal(_name, real(4, 4), real(3, 2), mode=_mode, boundary="fill", fillvalue=1.5),
        ]
CASES += [
    signal("detrend", real(7), type="constant"),
    signal("detrend", real(2, 8)),
    signal("detrend", real(6, 2), axis=0),
    signal("detrend", real(2, 9), bp=[4]),
    signal("detrend", real(9), bp=(3, 6)),
    signal("detrend", real(8), dtypes=("complex64", "complex128")),
]


def _own_spectrum(x: Any, y: None, **options: Any) -> Any:
    """What ``csd`` of a signal and None is, as JAX has it."""
    return scipy.signal.welch(x, **options)


# SciPy gives frequencies and times in float64 always
OWN = {"check_dtype": "frequencies in the signal's precision"}
SPECTRA: list[dict[str, Any]] = [
    {"nperseg": 8},
    {"nperseg": 8, "fs": 10.0, "noverlap": 6},
    {"nperseg": 7, "window": "hamming"},
    {"nperseg": 6, "nfft": 9, "window": ("tukey", 0.4)},
    {"nperseg": 8, "return_onesided": False},
    {"nperseg": 8, "detrend": "linear"},
    {"nperseg": 16, "noverlap": 15},
]
for _given in SPECTRA:
    CASES += [
        signal("stft", real(30), **_given, **OWN),
        signal("welch", real(30), **_given, **OWN),
        signal("csd", real(30), real(30), **_given, **OWN),
    ]
CASES += [
    *(
        signal("stft", real(2, 19), nperseg=6, boundary=boundary, **OWN)
        for boundary in ("zeros", "even", "odd", "constant", None)
    ),
    signal("stft", real(20, 2), nperseg=8, axis=0, padded=False, **OWN),
    signal("stft", real(20), nperseg=8, dtypes=("complex128",), return_onesided=False, **OWN),
    signal("welch", real(2, 30), nperseg=8, average="median", **OWN),
    signal("welch", real(30, 2), nperseg=8, axis=0, scaling="spectrum", detrend=False, **OWN),
    signal("welch", real(12), window=np.hanning(8) + 0.1, **OWN),
    signal("csd", real(2, 30), real(2, 30), nperseg=8, average="median", **OWN),
    signal("csd", real(30), real(22), nperseg=8, scaling="spectrum", **OWN),
    signal("csd", real(20), None, nperseg=8, reference=_own_spectrum, **OWN),
]


def back(z: Any, **options: Any) -> Case:
    return signal("istft", z, dtypes=("complex64", "complex128"), **OWN, **options)


CASES += [
    back(real(5, 6)),
    back(real(5, 6), fs=4.0, noverlap=6),
    back(real(5, 6), nperseg=9, nfft=9, window="hamming"),
    back(real(5, 4), nperseg=6, nfft=8),
    back(real(8, 4), input_onesided=False),
    back(real(5, 6), boundary=False, window="hamming"),
]

CASES += [
    case("tracejit.scipy.integrate.trapezoid", real(5)),
    case("tracejit.scipy.integrate.trapezoid", real(3, 4), dx=0.5, axis=0),
    case("tracejit.scipy.integrate.trapezoid", real(2, 4), real(4)),
    case("tracejit.scipy.cluster.vq.vq", real(6, 3), real(4, 3)),
    case("tracejit.scipy.cluster.vq.vq", real(5), real(3)),
    case("tracejit.scipy.cluster.vq.vq", real(0, 2), real(3, 2), grad="nothing to move"),
]
