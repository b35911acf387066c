"""The Fourier transforms of ``numpy.fft``: lengths, axes and norms of a user's call, made fit for
the primitive.

    fft(jnp.ones(4))                    one axis, complex to complex
    irfftn(rfftn(x), s=x.shape)         several axes, real signal

Integers become the default float, 16-bit floats float32, as results are in single or double
precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tracejit.errors import ArgumentError, DTypeError, ShapeError
from tracejit.frontend import elementwise as ew
from tracejit.frontend import shaping
from tracejit.frontend.array import apply
from tracejit.frontend.axes import axis_number, integer
from tracejit.frontend.promotion import convert, to_inexact
from tracejit.hints import name as name_hint
from tracejit.ir.types import DTYPES, complex_dtype
from tracejit.ops import fft as records
from tracejit.source import here

Norm = str | None


def checked_norm(name: str, norm: Norm) -> str:
    """``norm`` with None for "backward"; ArgumentError where it is none."""
    if norm is None:
        return "backward"
    if norm not in records.NORMS:
        raise ArgumentError(
            f'{name}: norm is "backward", "ortho" or "forward", not {norm!r}',
            at=here(),
            hint=name_hint(str(norm), list(records.NORMS)),
        )
    return norm


def to_float(x: Any) -> Any:
    """An Array in float32 or float64, complex numbers as they are."""
    x = to_inexact(x)
    return convert(x, DTYPES["f32"] if x.dtype.itemsize == 2 else x.dtype)


def to_complex(x: Any) -> Any:
    """An Array in complex64 or complex128."""
    x = to_float(x)
    return convert(x, complex_dtype(x.dtype))


def real_signal(name: str, x: Any) -> Any:
    """An Array in a real float dtype; DTypeError for a complex one."""
    x = to_float(x)
    if x.dtype.kind == "c":
        raise DTypeError(
            f"{name}: takes real numbers, not {x.dtype}",
            at=here(),
            hint="use the transform of complex numbers, or take .real first",
        )
    return x


def resized(x: Any, axis: int, n: int) -> Any:
    """``x`` cut, or filled with zeros, to ``n`` elements along an axis."""
    m = x.shape[axis]
    if m > n:
        return shaping.cut(x, axis, 0, n)
    if m < n:
        return shaping.padded(x, [(0, n - m if k == axis else 0, 0) for k in range(x.ndim)])
    return x


def _length(name: str, n: Any, otherwise: int) -> int:
    """The number of points; ShapeError for less than one."""
    count = otherwise if n is None else integer(n, f"{name}: n")
    if count < 1:
        raise ShapeError(f"{name}: {count} points cannot be transformed", at=here())
    return count


def _transform(
    x: Any, kind_: str, axes: tuple[int, ...], lengths: tuple[int, ...], norm: str
) -> Any:
    """The primitive, on data of the right shape."""
    return apply(records.fft, x, kind=kind_, axes=axes, lengths=lengths, norm=norm)


def _single(name: str, kind_: str, x: Any, n: Any, axis: Any, norm: str) -> Any:
    """A transform along one axis of ``x``, brought to ``n`` points first."""
    number = axis_number(name, axis, x.ndim)
    default = 2 * (x.shape[number] - 1) if kind_ == "irfft" else x.shape[number]
    n = _length(name, n, default)
    x = resized(x, number, n // 2 + 1 if kind_ == "irfft" else n)
    return _transform(x, kind_, (number,), (n,), norm)


# ---- one axis ------------------------------------------------------------------------------------


def fft(a: Any, n: int | None = None, axis: int = -1, norm: Norm = None) -> Any:
    """The discrete Fourier transform along an axis: ``sum_j a[j] exp(-2 pi i j k / n)``.

    ``a`` is cut or filled with zeros to ``n`` points. ``norm``: "backward" (as above), "ortho"
    (divided by the root of n) or "forward" (divided by n). Complex128 for float64 and complex128,
    else complex64 (integers: as the default float). ShapeError where there is no such axis or no
    point, ArgumentError for another norm.

    >>> jnp.fft.fft(jnp.array([1.0, 0.0, 0.0, 0.0]))
    Array([1.+0.j, 1.+0.j, 1.+0.j, 1.+0.j], dtype=complex64)
    """
    return _single("fft", "fft", to_complex(a), n, axis, checked_norm("fft", norm))


def ifft(a: Any, n: int | None = None, axis: int = -1, norm: Norm = None) -> Any:
    """The inverse of ``fft``: ``sum_k a[k] exp(2 pi i j k / n) / n`` under norm "backward".

    >>> jnp.fft.ifft(jnp.array([4.0, 0.0, 0.0, 0.0]))
    Array([1.+0.j, 1.+0.j, 1.+0.j, 1.+0.j], dtype=complex64)
    """
    return _single("ifft", "ifft", to_complex(a), n, axis, checked_norm("ifft", norm))


def rfft(a: Any, n: int | None = None, axis: int = -1, norm: Norm = None) -> Any:
    """The first ``n // 2 + 1`` terms of ``fft`` of real numbers; the others are their conjugates.

    DTypeError where ``a`` is complex.

    >>> jnp.fft.rfft(jnp.array([1.0, 2.0, 3.0, 4.0]))
    Array([10.+0.j, -2.+2.j, -2.+0.j], dtype=complex64)
    """
    norm = checked_norm("rfft", norm)
    return _single("rfft", "rfft", real_signal("rfft", a), n, axis, norm)


def irfft(a: Any, n: int | None = None, axis: int = -1, norm: Norm = None) -> Any:
    """The inverse of ``rfft``: ``n`` real numbers, by default ``2 * (a.shape[axis] - 1)``.

    >>> jnp.fft.irfft(jnp.array([10.0, -2.0 + 2.0j, -2.0]))
    Array([1., 2., 3., 4.], dtype=float32)
    """
    return _single("irfft", "irfft", to_complex(a), n, axis, checked_norm("irfft", norm))


def hfft(a: Any, n: int | None = None, axis: int = -1, norm: Norm = None) -> Any:
    """The transform of a signal that is its own conjugate reversed, of which ``a`` is the first
    half: ``n`` real numbers.

    >>> jnp.fft.hfft(jnp.array([1.0, 2.0, 3.0]))
    Array([ 8., -2.,  0., -2.], dtype=float32)
    """
    swapped = records.SWAPPED[checked_norm("hfft", norm)]
    return _single("hfft", "irfft", ew.conjugate(to_complex(a)), n, axis, swapped)


def ihfft(a: Any, n: int | None = None, axis: int = -1, norm: Norm = None) -> Any:
    """The inverse of ``hfft``: the first half of the signal whose spectrum is the real ``a``.

    >>> jnp.fft.ihfft(jnp.array([8.0, -2.0, 0.0, -2.0]))
    Array([1.-0.j, 2.-0.j, 3.-0.j], dtype=complex64)
    """
    swapped = records.SWAPPED[checked_norm("ihfft", norm)]
    return ew.conjugate(_single("ihfft", "rfft", real_signal("ihfft", a), n, axis, swapped))


# ---- several axes --------------------------------------------------------------------------------


def shape_and_axes(
    name: str, x: Any, s: Any, axes: Any, inverse_real: bool = False
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Lengths and axes of a transform over several axes: NumPy's rules.

    Axes default to the last ``len(s)``, or all; -1 in ``s`` is the size there is.
    """
    given = None if s is None else tuple(integer(n, f"{name}: s") for n in _items(s))
    if axes is None:
        if given is not None and len(given) > x.ndim:
            raise ShapeError(f"{name}: {len(given)} lengths for {x.ndim} axes", at=here())
        found = tuple(range(x.ndim - (x.ndim if given is None else len(given)), x.ndim))
    else:
        found = tuple(axis_number(name, a, x.ndim) for a in _items(axes))
    if given is None:
        lengths = [x.shape[a] for a in found]
        if inverse_real and found:
            lengths[-1] = 2 * (x.shape[found[-1]] - 1)
    else:
        if len(given) != len(found):
            raise ShapeError(f"{name}: {len(given)} lengths in s for {len(found)} axes", at=here())
        lengths = [x.shape[a] if n == -1 else n for n, a in zip(given, found, strict=True)]
    return tuple(_length(name, n, 0) for n in lengths), found


def _items(given: Any) -> Sequence[Any]:
    if isinstance(given, tuple | list | range):
        return given
    return np.atleast_1d(np.asarray(given)).tolist()


def _several(name: str, kind_: str, x: Any, s: Any, axes: Any, norm: Norm) -> Any:
    """A transform over several axes; one named twice is transformed twice, as in NumPy."""
    norm = checked_norm(name, norm)
    lengths, numbers = shape_and_axes(name, x, s, axes, kind_ == "irfft")
    if not numbers:
        if kind_ in ("rfft", "irfft"):
            raise ShapeError(f"{name}: needs at least one axis", at=here())
        return x
    if len(set(numbers)) == len(numbers):
        for k, (n, axis) in enumerate(zip(lengths, numbers, strict=True)):
            half = kind_ == "irfft" and k == len(numbers) - 1
            x = resized(x, axis, n // 2 + 1 if half else n)
        return _transform(x, kind_, numbers, lengths, norm)
    steps = [(kind_, k) for k in range(len(numbers))]
    if kind_ == "rfft":
        steps = [("rfft", len(numbers) - 1), *(("fft", k) for k in range(len(numbers) - 2, -1, -1))]
    elif kind_ == "irfft":
        steps = [*(("ifft", k) for k in range(len(numbers) - 1)), ("irfft", len(numbers) - 1)]
    else:
        steps.reverse()
    for step, k in steps:
        x = _single(name, step, x, lengths[k], numbers[k], norm)
    return x


def fftn(a: Any, s: Any = None, axes: Any = None, norm: Norm = None) -> Any:
    """The discrete Fourier transform over several axes, by default all; ``s``: points per axis.

    ShapeError where ``s`` and ``axes`` differ in length or name what is not there.

    >>> jnp.fft.fftn(jnp.ones((2, 2)))
    Array([[4.+0.j, 0.+0.j],
           [0.+0.j, 0.+0.j]], dtype=complex64)
    """
    return _several("fftn", "fft", to_complex(a), s, axes, norm)


def ifftn(a: Any, s: Any = None, axes: Any = None, norm: Norm = None) -> Any:
    """The inverse of ``fftn``.

    >>> jnp.fft.ifftn(jnp.array([[4.0, 0.0], [0.0, 0.0]])).real
    Array([[1., 1.],
           [1., 1.]], dtype=float32)
    """
    return _several("ifftn", "ifft", to_complex(a), s, axes, norm)


def rfftn(a: Any, s: Any = None, axes: Any = None, norm: Norm = None) -> Any:
    """``fftn`` of real numbers: the first half of the spectrum along the last of ``axes``.

    >>> jnp.fft.rfftn(jnp.ones((2, 4))).shape
    (2, 3)
    """
    return _several("rfftn", "rfft", real_signal("rfftn", a), s, axes, norm)


def irfftn(a: Any, s: Any = None, axes: Any = None, norm: Norm = None) -> Any:
    """The inverse of ``rfftn``; ``s`` is the shape of the real result along ``axes``.

    >>> x = jnp.arange(6.0).reshape(2, 3)
    >>> jnp.allclose(jnp.fft.irfftn(jnp.fft.rfftn(x), s=x.shape), x, atol=1e-6)
    Array(True)
    """
    return _several("irfftn", "irfft", to_complex(a), s, axes, norm)


def fft2(a: Any, s: Any = None, axes: Any = (-2, -1), norm: Norm = None) -> Any:
    """The discrete Fourier transform over two axes, by default the last two.

    >>> jnp.fft.fft2(jnp.ones((3, 2, 2))).shape
    (3, 2, 2)
    """
    return _several("fft2", "fft", to_complex(a), s, axes, norm)


def ifft2(a: Any, s: Any = None, axes: Any = (-2, -1), norm: Norm = None) -> Any:
    """The inverse of ``fft2``.

    >>> jnp.fft.ifft2(jnp.fft.fft2(jnp.eye(2))).real
    Array([[1., 0.],
           [0., 1.]], dtype=float32)
    """
    return _several("ifft2", "ifft", to_complex(a), s, axes, norm)


def rfft2(a: Any, s: Any = None, axes: Any = (-2, -1), norm: Norm = None) -> Any:
    """``fft2`` of real numbers: the first half of the spectrum along the last axis.

    >>> jnp.fft.rfft2(jnp.ones((4, 6))).shape
    (4, 4)
    """
    return _several("rfft2", "rfft", real_signal("rfft2", a), s, axes, norm)


def irfft2(a: Any, s: Any = None, axes: Any = (-2, -1), norm: Norm = None) -> Any:
    """The inverse of ``rfft2``.

    >>> jnp.fft.irfft2(jnp.fft.rfft2(jnp.eye(2)))
    Array([[1., 0.],
           [0., 1.]], dtype=float32)
    """
    return _several("irfft2", "irfft", to_complex(a), s, axes, norm)
