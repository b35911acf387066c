"""A library's Fourier transform, as programs for GPUs call it.

    raw_fft(x: f32[3,8], kind=rfft, count=1, first=False, length=8)     -> c64[3,5]

It is over the last ``count`` axes, or the first ones where ``first``, and scales by nothing: "ifft"
is the sum. ``length``: of the signal along the last of these axes. Of a spectrum of real signals
("irfft", one axis), the imaginary parts of the first bin and of the last of an even length must be
0. ``passes/spectra.py`` writes these after differentiation and batching: they need no other rules.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tracejit.errors import ShapeError
from tracejit.ir.prim import Primitive
from tracejit.ir.types import DTYPES, TensorType
from tracejit.ops import fft

#: axes that a library takes at once
MOST_AXES = 3


def axes_of(x: TensorType, count: int, first: bool) -> tuple[int, ...]:
    """The axes that are transformed."""
    return tuple(range(count)) if first else tuple(range(x.ndim - count, x.ndim))


def _params(x: TensorType, kind: str, count: int, first: bool, length: int) -> dict[str, Any]:
    """Those of the transform that people know."""
    if not 1 <= count <= min(MOST_AXES, x.ndim) or (kind == "irfft" and count > 1):
        raise ShapeError(f"raw_fft: {kind} over {count} axes of {x}")
    axes = axes_of(x, count, first)
    lengths = (*(x.shape[axis] for axis in axes[:-1]), length)
    norm = "backward" if kind in ("fft", "rfft") else "forward"
    return {"kind": kind, "axes": axes, "lengths": lengths, "norm": norm}


def _infer(x: TensorType, *, kind: str, count: int, first: bool, length: int) -> Any:
    return fft.fft.infer(x, **_params(x, kind, count, first, length))


def _numpy(x: Any, *, kind: str, count: int, first: bool, length: int) -> Any:
    type = TensorType(x.dtype, np.shape(x))
    return fft.fft.rule("numpy")(x, **_params(type, kind, count, first, length))


def _cases() -> list[Any]:
    def case(kind: str, dtype: str, shape: Any, count: int, first: bool, length: int) -> Any:
        params = {"kind": kind, "count": count, "first": first, "length": length}
        return (TensorType(DTYPES[dtype], shape),), params

    return [
        case("fft", "c64", (3, 4), 1, False, 4),
        case("fft", "c128", (3, 4), 1, True, 3),
        case("ifft", "c64", (2, 3, 4, 2), 3, False, 2),
        case("ifft", "c128", (2, 3, 4), 2, True, 3),
        case("rfft", "f32", (3, 5), 1, False, 5),
        case("rfft", "f64", (4, 6, 2), 2, True, 6),
        case("irfft", "c64", (3, 4), 1, False, 7),
        case("irfft", "c128", (4, 3), 1, True, 6),
    ]


raw_fft = Primitive(
    "raw_fft",
    params=("kind", "count", "first", "length"),
    infer=_infer,
    numpy=_numpy,
    library="fft",
    kinds="fc",
    heavy=True,
    cases=_cases,
    doc="A Fourier transform without its factor, over the last or the first axes.",
)
