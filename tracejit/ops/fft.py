"""Fourier and cosine transforms. Compiled programs for CPUs have kernels for Fourier transforms of
most lengths (``kernel/fft.py``); the meaning, and the rest, is pocketfft (scipy.fft) on the host.

    fft(x: f32[3,8], kind=rfft, axes=(1,), lengths=(8,), norm=backward)     -> c64[3,5]
    dct(x: f32[3,8], type=2, axes=(1,), norm=ortho)                         -> f32[3,8]

``kind``: fft, ifft (complex to complex), rfft (real to the first half of the spectrum, along the
last of ``axes``) and irfft, its inverse. ``lengths``: of the signal, per axis. ``norm`` says which
direction divides by the number of points: backward, forward, or both by its root (ortho). Every
transform is linear, and its adjoint is one of its own family with the norm of the other direction.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from tracejit.config import config
from tracejit.errors import ArgumentError, DTypeError, ShapeError
from tracejit.ir.build import full_like
from tracejit.ir.prim import Primitive
from tracejit.ir.types import DTYPES, TensorType, complex_dtype, kind, real_dtype, short
from tracejit.ops import arith, layout, logic, parts

KINDS = ("fft", "ifft", "rfft", "irfft")
NORMS = ("backward", "ortho", "forward")
#: the norm whose factor stands in the other direction
SWAPPED = {"backward": "forward", "ortho": "ortho", "forward": "backward"}
#: elements of an array from which its transforms are divided among threads
SHARED = 1 << 17

I64 = DTYPES["i64"]


def _check_axes(name: str, x: TensorType, axes: tuple[int, ...], norm: str) -> None:
    if not axes or len(set(axes)) != len(axes) or not all(0 <= a < x.ndim for a in axes):
        raise ShapeError(f"{name}: {axes} are not different axes of {x}")
    if norm not in NORMS:
        raise ArgumentError(f"{name}: norm is one of {', '.join(NORMS)}, not {norm!r}")


def _workers(size: int) -> int:
    """How many threads work on an array of ``size`` elements."""
    return config.current().threads if size >= SHARED else 1


@cache
def _scipy_fft() -> Any:
    return importlib.import_module("scipy.fft")


@cache
def _pocketfft() -> Any:
    """The module below scipy.fft, which writes results where they belong; None where a SciPy has
    it no more.
    """
    try:
        found = importlib.import_module("scipy.fft._pocketfft.pypocketfft")
    except ImportError:
        return None
    return found if all(hasattr(found, n) for n in ("c2c", "r2c", "c2r", "dct")) else None


# ---- Fourier transforms --------------------------------------------------------------------------


def _infer_fft(
    x: TensorType, *, kind: str, axes: tuple[int, ...], lengths: tuple[int, ...], norm: str
) -> TensorType:
    if kind not in KINDS:
        raise ArgumentError(f"fft: kind is one of {', '.join(KINDS)}, not {kind!r}")
    _check_axes("fft", x, axes, norm)
    wanted = ("f32", "f64") if kind == "rfft" else ("c64", "c128")
    if short(x.dtype) not in wanted:
        raise DTypeError(f"fft: {kind} takes {' or '.join(wanted)}, not {short(x.dtype)}")
    if len(lengths) != len(axes) or any(n < 1 for n in lengths):
        raise ShapeError(f"fft: lengths {lengths} need one positive number per axis of {axes}")
    before, after = list(x.shape), list(x.shape)
    for axis, n in zip(axes, lengths, strict=True):
        before[axis] = after[axis] = n
    half = axes[-1], lengths[-1] // 2 + 1
    if kind == "rfft":
        after[half[0]] = half[1]
    if kind == "irfft":
        before[half[0]] = half[1]
    if tuple(before) != x.shape:
        raise ShapeError(f"fft: {kind} of lengths {lengths} over axes {axes} does not fit {x}")
    complex_, real = complex_dtype(x.dtype), real_dtype(x.dtype)
    return TensorType(real if kind == "irfft" else complex_, tuple(after))


def _numpy_fft(
    x: Any, *, kind: str, axes: tuple[int, ...], lengths: tuple[int, ...], norm: str
) -> Any:
    type = _infer_fft(
        TensorType(x.dtype, x.shape), kind=kind, axes=axes, lengths=lengths, norm=norm
    )
    if type.size == 0:
        return np.zeros(type.shape, type.dtype)
    transform = getattr(_scipy_fft(), f"{kind}n")
    workers = _workers(max(x.size, type.size))
    return transform(x, lengths, axes, norm=norm, workers=workers)


def _into_fft(
    outs: Any, x: Any, *, kind: str, axes: tuple[int, ...], lengths: tuple[int, ...], norm: str
) -> None:
    (out,), module = outs, _pocketfft()
    if module is None or out.size == 0:
        out[...] = _numpy_fft(x, kind=kind, axes=axes, lengths=lengths, norm=norm)
        return
    forward = kind in ("fft", "rfft")
    # its third norm divides by the number of points, the second by its root
    scale = NORMS.index(norm if forward else SWAPPED[norm])
    workers = _workers(max(x.size, out.size))
    if kind == "rfft":
        module.r2c(x, axes, True, scale, out, workers)
    elif kind == "irfft":
        module.c2r(x, axes, lengths[-1], False, scale, out, workers)
    else:
        # the first pass goes from array to array: best along the axis whose elements lie together
        module.c2c(x, sorted(axes, reverse=True), forward, scale, out, workers)


def _at_ends(type: TensorType, axis: int, ends: tuple[int, ...]) -> Any:
    """True at some places along an axis."""
    places = layout.iota(dtype=I64, shape=type.shape, dimension=axis)
    found = None
    for end in sorted(set(ends)):
        here = logic.eq(places, full_like(places, end))
        found = here if found is None else logic.or_(found, here)
    return found


def _per_bin(x: Any, axis: int, length: int, factor: float) -> Any:
    """``x`` times ``factor`` where a bin of half a spectrum stands for two of the whole one."""
    single = (0, length // 2) if length % 2 == 0 else (0,)
    return logic.select(_at_ends(x.type, axis, single), x, arith.mul(x, full_like(x, factor)))


def _transpose_fft(
    cts: Any, xs: Any, *, kind: str, axes: tuple[int, ...], lengths: tuple[int, ...], norm: str
) -> Any:
    """The matrix of fft and ifft is symmetric. Of half a spectrum each bin but the first (and the
    last, of an even length) counts twice in the signal; cotangents are not conjugated.
    """
    ct, params = cts[0], {"axes": axes, "lengths": lengths}
    if kind == "rfft":
        half = _per_bin(parts.conj(ct), axes[-1], lengths[-1], 0.5)
        return (fft(half, kind="irfft", norm=SWAPPED[norm], **params),)
    if kind == "irfft":
        half = fft(ct, kind="rfft", norm=SWAPPED[norm], **params)
        return (parts.conj(_per_bin(half, axes[-1], lengths[-1], 2.0)),)
    return (fft(ct, kind=kind, norm=norm, **params),)


def _shifted(prim: Callable[[], Primitive]) -> Callable[..., Any]:
    """The batch rule: the same transform, one axis further back."""

    def batch(size: int, mask: Any, xs: Any, *, axes: tuple[int, ...], **params: Any) -> Any:
        return prim()(xs[0], axes=tuple(a + 1 for a in axes), **params)

    return batch


def _cases_fft() -> list[Any]:
    def case(name: str, dtype: str, shape: Any, axes: Any, lengths: Any, norm: str) -> Any:
        params = {"kind": name, "axes": axes, "lengths": lengths, "norm": norm}
        return (TensorType(DTYPES[dtype], shape),), params

    return [
        case("fft", "c64", (5,), (0,), (5,), "backward"),
        case("fft", "c128", (3, 4), (1, 0), (4, 3), "ortho"),
        case("fft", "c64", (0, 3), (1,), (3,), "forward"),
        case("ifft", "c64", (2, 6), (1,), (6,), "backward"),
        case("ifft", "c128", (3, 2, 2), (0,), (3,), "forward"),
        case("rfft", "f32", (8,), (0,), (8,), "backward"),
        case("rfft", "f64", (2, 7), (0, 1), (2, 7), "ortho"),
        case("rfft", "f32", (1,), (0,), (1,), "forward"),
        case("rfft", "f32", (5, 3), (0,), (5,), "backward"),
        case("irfft", "c64", (5,), (0,), (8,), "backward"),
        case("irfft", "c64", (5,), (0,), (9,), "forward"),
        case("irfft", "c128", (2, 4), (0, 1), (2, 6), "ortho"),
        case("irfft", "c64", (1,), (0,), (1,), "backward"),
        case("irfft", "c64", (3, 0), (0,), (4,), "backward"),
    ]


fft = Primitive(
    "fft",
    params=("kind", "axes", "lengths", "norm"),
    infer=_infer_fft,
    numpy=_numpy_fft,
    into=_into_fft,
    jvp=lambda dxs, ys, xs, **params: (fft(dxs[0], **params),),
    transpose=_transpose_fft,
    batch=_shifted(lambda: fft),
    library="lanes",
    kinds="fc",
    cases=_cases_fft,
    doc="The discrete Fourier transform over some axes: fft, ifft, rfft or irfft.",
)


# ---- cosine transforms ---------------------------------------------------------------------------


def _infer_dct(x: TensorType, *, type: int, axes: tuple[int, ...], norm: str) -> TensorType:
    if type not in (1, 2, 3, 4):
        raise ArgumentError(f"dct: type is 1, 2, 3 or 4, not {type!r}")
    _check_axes("dct", x, axes, norm)
    if kind(x.dtype) != "f" or x.dtype.itemsize < 4:
        raise DTypeError(f"dct: takes f32 or f64, not {short(x.dtype)}")
    if any(x.shape[a] < (2 if type == 1 else 1) for a in axes):
        raise ShapeError(f"dct: type {type} over axes {axes} needs longer axes than those of {x}")
    return x


def _numpy_dct(x: Any, *, type: int, axes: tuple[int, ...], norm: str) -> Any:
    if x.size == 0:
        return np.zeros_like(x)
    return _scipy_fft().dctn(x, type, None, axes, norm, workers=_workers(x.size))


def _into_dct(outs: Any, x: Any, *, type: int, axes: tuple[int, ...], norm: str) -> None:
    (out,), module = outs, _pocketfft()
    if module is None or out.size == 0:
        out[...] = _numpy_dct(x, type=type, axes=axes, norm=norm)
        return
    scale = NORMS.index(norm)
    module.dct(x, type, axes, scale, out, _workers(x.size), norm == "ortho")


def _weighed(x: Any, axes: tuple[int, ...], factor: float, both_ends: bool) -> Any:
    """``x`` times ``factor`` at the first place of each axis, or at both ends."""
    for axis in axes:
        ends = (0, x.type.shape[axis] - 1) if both_ends else (0,)
        x = logic.select(_at_ends(x.type, axis, ends), arith.mul(x, full_like(x, factor)), x)
    return x


def _transpose_dct(cts: Any, xs: Any, *, type: int, axes: tuple[int, ...], norm: str) -> Any:
    """Type 4 is symmetric, and so is type 1 but for the halved ends of its input; types 2 and 3 are
    each other's transposes but for the first input of type 3. Orthogonal ones need no weights.
    """
    ct = cts[0]
    if norm == "ortho":
        return (dct(ct, type={2: 3, 3: 2}.get(type, type), axes=axes, norm=norm),)
    if type == 1:
        found = dct(_weighed(ct, axes, 2.0, True), type=1, axes=axes, norm=norm)
        return (_weighed(found, axes, 0.5, True),)
    if type == 2:
        return (dct(_weighed(ct, axes, 2.0, False), type=3, axes=axes, norm=norm),)
    if type == 3:
        return (_weighed(dct(ct, type=2, axes=axes, norm=norm), axes, 0.5, False),)
    return (dct(ct, type=4, axes=axes, norm=norm),)


def _cases_dct() -> list[Any]:
    shapes = [("f32", (5,), (0,)), ("f64", (3, 4), (0, 1)), ("f32", (0, 3), (1,))]
    return [
        ((TensorType(DTYPES[dtype], shape),), {"type": number, "axes": axes, "norm": norm})
        for number in (1, 2, 3, 4)
        for norm in NORMS
        for dtype, shape, axes in shapes
    ]


dct = Primitive(
    "dct",
    params=("type", "axes", "norm"),
    infer=_infer_dct,
    numpy=_numpy_dct,
    into=_into_dct,
    jvp=lambda dxs, ys, xs, **params: (dct(dxs[0], **params),),
    transpose=_transpose_dct,
    batch=_shifted(lambda: dct),
    kinds="f",
    cases=_cases_dct,
    doc="The discrete cosine transform of type 1 to 4 over some axes; orthogonal under norm ortho.",
)


def points(type: int, shape: tuple[int, ...], axes: tuple[int, ...]) -> int:
    """What a cosine transform and its inverse together multiply by."""
    return math.prod(2 * (shape[a] - 1 if type == 1 else shape[a]) for a in axes)
