"""Convolution and correlation of arrays of equal rank.

    convolve([1, 2, 3], [1, 1])                 -> [1, 3, 5, 3]
    fftconvolve(x, kernel, mode="same")         through the Fourier transform

``mode``: "full", the middle of it in the size of the first operand ("same"), or what does not
depend on the edges ("valid"). Dtypes promote; integers stay integers where no transform is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tracejit.numpy as jnp
from tracejit.errors import ArgumentError, ShapeError
from tracejit.fft import transforms
from tracejit.frontend import elementwise as ew
from tracejit.frontend import promotion, shaping
from tracejit.frontend.array import apply, as_array
from tracejit.frontend.axes import axes_list
from tracejit.frontend.promotion import convert, reshaped
from tracejit.hints import name as name_hint
from tracejit.ir.types import DTYPES, kind
from tracejit.lax.operands import check_precision
from tracejit.ops import conv
from tracejit.source import here

MODES = ("full", "same", "valid")
METHODS = ("auto", "direct", "fft")
#: how an operand continues beyond its edges: the names of ``numpy.pad``
BOUNDARIES = {"fill": "constant", "wrap": "wrap", "symm": "symmetric"}
#: axes that the convolution primitive takes
DIRECT_AXES = 3


def one_of(name: str, what: str, given: Any, known: Sequence[str]) -> None:
    """ArgumentError unless ``given`` is among the known strings."""
    if given not in known:
        raise ArgumentError(
            f"{name}: {what} is one of {', '.join(map(repr, known))}, not {given!r}",
            at=here(),
            hint=name_hint(str(given), [str(k) for k in known]),
        )


def _operands(name: str, in1: Any, in2: Any, mode: str) -> list[Any]:
    """Two arrays of one dtype and rank."""
    one_of(name, "mode", mode, MODES)
    a, b = promotion.promoted(name, in1, in2)
    if a.ndim != b.ndim:
        raise ShapeError(
            f"{name}: the arrays have {a.ndim} and {b.ndim} axes", at=here(), hint="reshape one"
        )
    return [a, b]


def _check_valid(name: str, a: Any, b: Any, axes: Sequence[int]) -> bool:
    """Whether ``b`` is the longer one; ShapeError where neither is along all axes."""
    if all(a.shape[k] >= b.shape[k] for k in axes):
        return False
    if all(a.shape[k] <= b.shape[k] for k in axes):
        return True
    raise ShapeError(
        f"{name}: mode 'valid' needs one array at least as long as the other along every axis, "
        f"not {a.shape} and {b.shape}",
        at=here(),
    )


def _middle(x: Any, sizes: Sequence[int], starts: Sequence[int]) -> Any:
    for axis, (size, start) in enumerate(zip(sizes, starts, strict=True)):
        x = shaping.cut(x, axis, start, start + size)
    return x


# ---- direct --------------------------------------------------------------------------------------


def _slid(a: Any, b: Any, padding: tuple[tuple[int, int], ...]) -> Any:
    """Sums of products of ``b``, reversed, with the windows of ``a``."""
    if kind(a.dtype) == "c":
        (ar, ai), (br, bi) = (ew.real(a), ew.imag(a)), (ew.real(b), ew.imag(b))
        re = ew.subtract(_slid(ar, br, padding), _slid(ai, bi, padding))
        return ew.complex_of(re, ew.add(_slid(ar, bi, padding), _slid(ai, br, padding)))
    n = a.ndim
    places = tuple(range(n + 2))
    found = apply(
        conv.conv_general_dilated,
        reshaped(a, (1, 1, *a.shape)),
        reshaped(shaping.flip(b), (1, 1, *b.shape)),
        window_strides=(1,) * n,
        padding=padding,
        lhs_dilation=(1,) * n,
        rhs_dilation=(1,) * n,
        dimension_numbers=(places, places, places),
        feature_group_count=1,
        batch_group_count=1,
        preferred_element_type=None,
    )
    return reshaped(found, found.shape[2:])


def _direct(name: str, a: Any, b: Any, mode: str) -> Any:
    if a.ndim == 0:
        return ew.multiply(a, b)
    if not a.size or not b.size:
        raise ShapeError(f"{name}: empty arrays {a.shape} and {b.shape}", at=here())
    if a.ndim > DIRECT_AXES:
        return _through_fft(name, a, b, mode, tuple(range(a.ndim)))
    if kind(a.dtype) == "b":
        a, b = convert(a, DTYPES["i64"]), convert(b, DTYPES["i64"])
    if mode == "valid":
        if _check_valid(name, a, b, range(a.ndim)):
            a, b = b, a
        return _slid(a, b, ((0, 0),) * a.ndim)
    shape = a.shape
    if mode == "same" and not _longer(b, a):
        # the middle of the full result starts at (m - 1) // 2 of each axis
        return _slid(a, b, tuple((m - 1 - (m - 1) // 2, (m - 1) // 2) for m in b.shape))
    starts = [(m - 1) // 2 for m in b.shape]
    if _longer(b, a):  # the shorter one slides
        a, b = b, a
    full = _slid(a, b, tuple((m - 1, m - 1) for m in b.shape))
    return full if mode == "full" else _middle(full, shape, starts)


def _longer(a: Any, b: Any) -> bool:
    return a.shape != b.shape and all(n >= m for n, m in zip(a.shape, b.shape, strict=True))


def convolve(
    in1: Any, in2: Any, mode: str = "full", method: str = "auto", precision: Any = None
) -> Any:
    """The convolution of two arrays of equal rank: ``sum_k in1[k] in2[n - k]``.

    ``method``: "direct" (also "auto", up to three axes) or "fft". ShapeError where ranks differ or
    an array is empty, ArgumentError for another mode or method.

    >>> tj.scipy.signal.convolve(jnp.array([1.0, 2.0, 3.0]), jnp.array([1.0, 1.0]))
    Array([1., 3., 5., 3.], dtype=float32)
    """
    check_precision("convolve", precision)
    one_of("convolve", "method", method, METHODS)
    if method == "fft":
        return fftconvolve(in1, in2, mode)
    return _direct("convolve", *_operands("convolve", in1, in2, mode), mode)


def correlate(
    in1: Any, in2: Any, mode: str = "full", method: str = "auto", precision: Any = None
) -> Any:
    """The correlation of two arrays: the convolution of ``in1`` with ``in2`` reversed and
    conjugated. Options and errors as of ``convolve``.

    >>> tj.scipy.signal.correlate(jnp.array([1.0, 2.0, 3.0]), jnp.array([1.0, 0.0]))
    Array([0., 1., 2., 3.], dtype=float32)
    """
    return convolve(in1, _reversed(in2), mode, method, precision)


def _reversed(x: Any) -> Any:
    return ew.conjugate(shaping.flip(as_array(x)))


# ---- two axes, with edges ------------------------------------------------------------------------


def _in_two(
    name: str, in1: Any, in2: Any, mode: str, boundary: str, fillvalue: Any, late: bool
) -> Any:
    """``late``: which of the two middles of an even kernel "same" takes."""
    one_of(name, "boundary", boundary, list(BOUNDARIES))
    a, b = _operands(name, in1, in2, mode)
    if a.ndim != 2:
        raise ShapeError(f"{name}: takes arrays of two axes, not {a.type} and {b.type}", at=here())
    plain = boundary == "fill" and promotion.is_python(fillvalue) and fillvalue == 0
    if mode == "valid" or (plain and mode == "full"):
        return _direct(name, a, b, mode)
    if not a.size or not b.size:
        raise ShapeError(f"{name}: empty arrays {a.shape} and {b.shape}", at=here())
    starts = [m // 2 if late else (m - 1) // 2 for m in b.shape]
    widths = [(m - 1, m - 1) for m in b.shape]
    if mode == "same":
        widths = [(m - 1 - k, k) for k, m in zip(starts, b.shape, strict=True)]
    if plain:
        return _slid(*(_as_numbers(x) for x in (a, b)), tuple(widths))
    fill = {"constant_values": fillvalue} if boundary == "fill" else {}
    wide = jnp.pad(_as_numbers(a), widths, mode=BOUNDARIES[boundary], **fill)
    return _slid(wide, _as_numbers(b), ((0, 0), (0, 0)))


def _as_numbers(x: Any) -> Any:
    return convert(x, DTYPES["i64"]) if kind(x.dtype) == "b" else x


def convolve2d(
    in1: Any,
    in2: Any,
    mode: str = "full",
    boundary: str = "fill",
    fillvalue: Any = 0,
    precision: Any = None,
) -> Any:
    """The convolution of two matrices. Beyond its edges ``in1`` holds ``fillvalue`` ("fill"),
    begins again ("wrap") or is mirrored ("symm").

    >>> tj.scipy.signal.convolve2d(jnp.eye(2), jnp.ones((1, 2)))
    Array([[1., 1., 0.],
           [0., 1., 1.]], dtype=float32)
    """
    check_precision("convolve2d", precision)
    return _in_two("convolve2d", in1, in2, mode, boundary, fillvalue, False)


def correlate2d(
    in1: Any,
    in2: Any,
    mode: str = "full",
    boundary: str = "fill",
    fillvalue: Any = 0,
    precision: Any = None,
) -> Any:
    """The correlation of two matrices; edges as in ``convolve2d``.

    >>> tj.scipy.signal.correlate2d(jnp.eye(2), jnp.array([[1.0, 0.0]]))
    Array([[0., 1., 0.],
           [0., 0., 1.]], dtype=float32)
    """
    check_precision("correlate2d", precision)
    found = _in_two("correlate2d", in1, _reversed(in2), mode, boundary, fillvalue, True)
    # SciPy's result: of a longer second operand the first one is what is conjugated
    other_way = mode == "valid" and _longer(as_array(in2), as_array(in1))
    return ew.conjugate(found) if other_way else found


# ---- through the Fourier transform ---------------------------------------------------------------


def fast_length(n: int) -> int:
    """The smallest number from ``n`` on that has only the factors 2, 3 and 5."""
    best = 1 << max(n - 1, 0).bit_length()
    fives = 1
    while fives < best:
        odd = fives
        while odd < best:
            rest = -(-n // odd)
            best = min(best, odd << max(rest - 1, 0).bit_length())
            odd *= 3
        fives *= 5
    return best


def fftconvolve(in1: Any, in2: Any, mode: str = "full", axes: Any = None) -> Any:
    """The convolution of two arrays along ``axes``, by default all, through the Fourier transform:
    for long operands. Along other axes they broadcast. Integers become the default float.

    >>> tj.scipy.signal.fftconvolve(jnp.array([1.0, 2.0, 3.0]), jnp.array([0.0, 1.0]), "same")
    Array([0., 1., 2.], dtype=float32)
    """
    a, b = _operands("fftconvolve", in1, in2, mode)
    numbers = tuple(range(a.ndim)) if axes is None else axes_list("fftconvolve", axes, a.ndim)
    return _through_fft("fftconvolve", a, b, mode, numbers)


def _through_fft(name: str, a: Any, b: Any, mode: str, axes: tuple[int, ...]) -> Any:
    a, b = transforms.to_float(a), transforms.to_float(b)
    others = [k for k in range(a.ndim) if k not in axes]
    if any(a.shape[k] != b.shape[k] and 1 not in (a.shape[k], b.shape[k]) for k in others):
        raise ShapeError(
            f"{name}: shapes {a.shape} and {b.shape} do not broadcast along axes {others}",
            at=here(),
        )
    if mode == "valid" and _check_valid(name, a, b, axes):
        a, b = b, a
    along = [k for k in axes if a.shape[k] != 1 and b.shape[k] != 1]
    full = [
        n + m - 1 if k in axes else max(n, m)
        for k, (n, m) in enumerate(zip(a.shape, b.shape, strict=True))
    ]
    if 0 in a.shape or 0 in b.shape:
        raise ShapeError(f"{name}: empty arrays {a.shape} and {b.shape}", at=here())
    if along:
        sizes = tuple(fast_length(full[k]) for k in along)
        is_complex = kind(a.dtype) == "c"
        there, back = (
            (transforms.fftn, transforms.ifftn)
            if is_complex
            else (transforms.rfftn, transforms.irfftn)
        )
        spectrum = ew.multiply(there(a, sizes, along), there(b, sizes, along))
        product = back(spectrum, sizes, along)
    else:
        product = ew.multiply(a, b)
    wanted = {
        "full": full,
        "same": [a.shape[k] if k in axes else n for k, n in enumerate(full)],
        "valid": [a.shape[k] - b.shape[k] + 1 if k in axes else n for k, n in enumerate(full)],
    }[mode]
    return _middle(product, wanted, [(n - m) // 2 for n, m in zip(full, wanted, strict=True)])


def correlation_lags(in1_len: int, in2_len: int, mode: str = "full") -> Any:
    """How far the second signal is moved for each element of ``correlate``'s result, for signals of
    these lengths.

    >>> from tracejit.scipy import signal
    >>> signal.correlation_lags(3, 2)
    Array([-1,  0,  1,  2])
    """
    if mode not in ("full", "same", "valid"):
        raise ArgumentError(
            f"correlation_lags: mode is full, same or valid, not {mode!r}", at=here()
        )
    low, high = 1 - in2_len, in1_len
    if mode == "same":
        low = (in1_len + in2_len - 1) // 2 - in1_len // 2 + low
        high = low + in1_len
    elif mode == "valid":
        low, high = min(in1_len - in2_len, 0), max(in1_len - in2_len, 0) + 1
    return jnp.arange(low, high)
