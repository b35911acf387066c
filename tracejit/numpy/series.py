"""Sequences: differences, interpolation, convolution, integration, polynomials.

>>> diff(jnp.array([1, 4, 9]))
Array([3, 5])
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tracejit.errors import ArgumentError, DTypeError, ShapeError
from tracejit.frontend import array as core
from tracejit.frontend import creation, indexing, ordering, promotion, reductions, shaping
from tracejit.frontend import elementwise as ew
from tracejit.frontend.array import as_array
from tracejit.frontend.axes import axes_list, axes_tuple, axis_number, integer
from tracejit.frontend.promotion import convert, reshaped, to_inexact
from tracejit.frontend.shaping import cut
from tracejit.ir.types import DTYPES, kind
from tracejit.linalg.decompositions import eigvals
from tracejit.ops import conv
from tracejit.source import here

# ---- differences and integrals -------------------------------------------------------------------


def diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Any:
    """Differences of neighbours along ``axis``, n times.

    >>> jnp.diff(jnp.array([1, 4, 9, 16]))
    Array([3, 5, 7])
    """
    a = as_array(a)
    n = integer(n, "diff: n")
    if n < 0 or a.ndim == 0:
        raise ArgumentError(f"diff: order {n} of an array of {a.ndim} axes", at=here())
    number = axis_number("diff", axis, a.ndim)
    parts = [a]
    for before, given in ((True, prepend), (False, append)):
        if given is not None:
            part = as_array(given)
            if part.ndim == 0:
                part = shaping.broadcast_to(
                    part, tuple(1 if k == number else m for k, m in enumerate(a.shape))
                )
            parts = [part, *parts] if before else [*parts, part]
    if len(parts) > 1:
        a = shaping.concatenate(parts, number)
    step = ew.not_equal if a.dtype == np.bool_ else ew.subtract
    for _ in range(min(n, a.shape[number])):
        m = a.shape[number]
        a = step(cut(a, number, min(1, m), m), cut(a, number, 0, max(m - 1, 0)))
    return a


def ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Any:
    """Differences of neighbours in the flattened array, with numbers put before and after."""
    found = diff(shaping.ravel(ary))
    parts = [] if to_begin is None else [convert(shaping.ravel(to_begin), found.dtype)]
    parts.append(found)
    parts += [] if to_end is None else [convert(shaping.ravel(to_end), found.dtype)]
    return shaping.concatenate(parts)


def gradient(f: Any, *varargs: Any, axis: Any = None, edge_order: int | None = None) -> Any:
    """Central differences inside, one-sided ones at the ends (first order); ``varargs``: spacings
    or coordinates.

    >>> jnp.gradient(jnp.array([1.0, 4.0, 9.0]))
    Array([3., 4., 5.], dtype=float32)
    """
    if edge_order not in (None, 1, 2):
        raise ArgumentError(f"gradient: edge_order is 1 or 2, not {edge_order}", at=here())
    f = to_inexact(f)
    axes = tuple(range(f.ndim)) if axis is None else axes_list("gradient", axis, f.ndim)
    if len(varargs) not in (0, 1, len(axes)):
        raise ArgumentError(f"gradient: {len(varargs)} spacings for {len(axes)} axes", at=here())
    spacings = varargs * len(axes) if len(varargs) == 1 else varargs or (1.0,) * len(axes)
    found = [_gradient(f, h, k, edge_order or 1) for k, h in zip(axes, spacings, strict=True)]
    return found[0] if len(found) == 1 else tuple(found)


def _gradient(f: Any, h: Any, axis: int, edge_order: int) -> Any:
    n = f.shape[axis]
    if n < edge_order + 1:
        raise ShapeError(
            f"gradient: axis {axis} has {n} elements, {edge_order + 1} are needed", at=here()
        )
    h = as_array(h)
    # steps between neighbours, along the axis
    if h.ndim == 1:
        steps = reshaped(
            diff(convert(h, f.dtype)), tuple(n - 1 if k == axis else 1 for k in range(f.ndim))
        )
    else:
        steps = promotion.filled(
            1, f.type.with_shape(tuple(n - 1 if k == axis else 1 for k in range(f.ndim)))
        )
        steps = ew.multiply(steps, convert(h, f.dtype))
    slopes = ew.divide(ew.subtract(cut(f, axis, 1, n), cut(f, axis, 0, n - 1)), steps)
    m = n - 1
    first, last = cut(slopes, axis, 0, 1), cut(slopes, axis, m - 1, m)
    parts = [first]
    if n > 2:
        before, after = cut(slopes, axis, 0, m - 1), cut(slopes, axis, 1, m)
        h1, h2 = cut(steps, axis, 0, m - 1), cut(steps, axis, 1, m)
        inner = ew.divide(ew.add(ew.multiply(h2, before), ew.multiply(h1, after)), ew.add(h1, h2))
        parts.append(inner)
        if edge_order == 2:
            k = inner.shape[axis]
            parts[0] = (
                ew.subtract(ew.multiply(2, first), cut(inner, axis, 0, 1))
                if h.ndim == 0
                else _edge(first, cut(after, axis, 0, 1), cut(h1, axis, 0, 1), cut(h2, axis, 0, 1))
            )
            last = (
                ew.subtract(ew.multiply(2, last), cut(inner, axis, k - 1, k))
                if h.ndim == 0
                else _edge(
                    last,
                    cut(before, axis, k - 1, k),
                    cut(h2, axis, k - 1, k),
                    cut(h1, axis, k - 1, k),
                )
            )
    return shaping.concatenate([*parts, last], axis)


def _edge(near: Any, far: Any, h_near: Any, h_far: Any) -> Any:
    """The slope at the end of the parabola through three points, from the slopes of its chords."""
    bend = ew.divide(ew.subtract(near, far), ew.add(h_near, h_far))
    return ew.add(near, ew.multiply(bend, h_near))


def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    """The integral along ``axis`` by the trapezoidal rule, over points ``x`` or ``dx`` apart.

    >>> jnp.trapezoid(jnp.array([1.0, 2.0, 3.0]))
    Array(4., dtype=float32)
    """
    y = to_inexact(y)
    number = axis_number("trapezoid", axis, y.ndim)
    n = y.shape[number]
    if x is None:
        width: Any = dx
    else:
        x = as_array(x)
        width = diff(x, axis=number if x.ndim == y.ndim else -1)
        if x.ndim == 1:
            width = reshaped(width, tuple(n - 1 if k == number else 1 for k in range(y.ndim)))
    pairs = ew.add(cut(y, number, 1, n), cut(y, number, 0, max(n - 1, 0)))
    return reductions.sum(ew.multiply(ew.multiply(pairs, width), 0.5), number)


def interp(
    x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None
) -> Any:
    """The piecewise linear function through the points (xp, fp), ``xp`` ascending, at ``x``.

    Raises ShapeError where ``xp`` and ``fp`` are not vectors of one length.

    >>> jnp.interp(1.5, jnp.array([1.0, 2.0]), jnp.array([10.0, 20.0]))
    Array(15., dtype=float32)
    """
    x, xp = _floats(x, xp)
    fp = to_inexact(fp)
    if kind(x.dtype) == "c":
        raise DTypeError(f"interp: x and xp are real, not {x.type}", at=here())
    if isinstance(period, int | float) and period == 0:
        raise ArgumentError("interp: the period is 0", at=here())
    if xp.ndim != 1 or xp.shape != fp.shape or not xp.size:
        raise ShapeError(
            f"interp: xp and fp are vectors of one length, not {xp.type} and {fp.type}", at=here()
        )
    if period is not None:
        x, xp = ew.remainder(x, period), ew.remainder(xp, period)
        order = ordering.argsort(xp)
        xp, fp = (indexing.take(v, order, mode="promise_in_bounds") for v in (xp, fp))
        xp = shaping.concatenate([ew.subtract(xp[-1:], period), xp, ew.add(xp[:1], period)])
        fp = shaping.concatenate([fp[-1:], fp, fp[:1]])
    n = xp.size
    if n == 1:
        found = ew.add(ew.multiply(x, 0), fp[0])
    else:
        right_of = ew.clip(ordering.searchsorted(xp, x, "right"), 1, n - 1)
        x1, f1 = (indexing.take(v, right_of, mode="promise_in_bounds") for v in (xp, fp))
        x0, f0 = (
            indexing.take(v, ew.subtract(right_of, 1), mode="promise_in_bounds") for v in (xp, fp)
        )
        gap = ew.subtract(x1, x0)
        empty = ew.equal(gap, 0)
        t = ew.divide(ew.subtract(x, x0), ew.select(empty, 1, gap))
        found = ew.select(empty, f0, ew.add(f0, ew.multiply(t, ew.subtract(f1, f0))))
    if period is None:
        found = ew.select(ew.less(x, xp[0]), fp[0] if left is None else left, found)
        found = ew.select(ew.greater(x, xp[-1]), fp[-1] if right is None else right, found)
    return found


def _floats(x: Any, xp: Any) -> list[Any]:
    """Both in one floating dtype, shapes as they are."""
    xs = [as_array(x), as_array(xp)]
    dtype = promotion.inexact(promotion.dtype_of(xs)[0])
    return [convert(a, dtype) for a in xs]


# ---- convolution ---------------------------------------------------------------------------------


def convolve(
    a: Any, v: Any, mode: str = "full", *, precision: Any = None, preferred_element_type: Any = None
) -> Any:
    """The discrete convolution of two vectors: "full", "same" or "valid".

    >>> jnp.convolve(jnp.array([1.0, 2.0, 3.0]), jnp.array([1.0, 1.0]))
    Array([1., 3., 5., 3.], dtype=float32)
    """
    a, v = promotion.promoted("convolve", a, v)
    if a.size < v.size:
        a, v = v, a
    return _slide("convolve", a, shaping.flip(v), mode, preferred_element_type)


def correlate(
    a: Any,
    v: Any,
    mode: str = "valid",
    *,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> Any:
    """Sums of products of ``a`` with ``v`` (conjugated) moved along it: "valid", "same" or
    "full".
    """
    a, v = promotion.promoted("correlate", a, ew.conjugate(v))
    if a.size < v.size:  # as if the longer one stood still, read backwards
        found = _slide("correlate", v, a, mode, preferred_element_type)
        return shaping.flip(found)
    return _slide("correlate", a, v, mode, preferred_element_type)


def _slide(name: str, a: Any, v: Any, mode: str, preferred: Any) -> Any:
    """Sums of products of ``v`` with the windows of the longer vector ``a``."""
    if a.ndim != 1 or v.ndim != 1 or not a.size or not v.size:
        raise ShapeError(
            f"{name}: takes two non-empty vectors, not {a.type} and {v.type}", at=here()
        )
    n, m = a.size, v.size
    widths = {"full": (m - 1, m - 1), "same": (m // 2, m - 1 - m // 2), "valid": (0, 0)}
    if mode not in widths:
        raise ArgumentError(f"{name}: mode is full, same or valid, not {mode!r}", at=here())
    if kind(a.dtype) == "b":
        a, v = convert(a, DTYPES["i64"]), convert(v, DTYPES["i64"])
    if kind(a.dtype) == "c":
        return _complex_slide(name, a, v, mode, preferred)
    found = core.apply(
        conv.conv_general_dilated,
        reshaped(a, (1, 1, n)),
        reshaped(v, (1, 1, m)),
        window_strides=(1,),
        padding=(widths[mode],),
        lhs_dilation=(1,),
        rhs_dilation=(1,),
        dimension_numbers=((0, 1, 2), (0, 1, 2), (0, 1, 2)),
        feature_group_count=1,
        batch_group_count=1,
        preferred_element_type=None if preferred is None else promotion.canonical(preferred),
    )
    return shaping.ravel(found)


def _complex_slide(name: str, a: Any, v: Any, mode: str, preferred: Any) -> Any:
    def part(f: Any, g: Any) -> Any:
        return _slide(name, f(a), g(v), mode, None)

    re = ew.subtract(part(ew.real, ew.real), part(ew.imag, ew.imag))
    im = ew.add(part(ew.real, ew.imag), part(ew.imag, ew.real))
    found = ew.complex_of(re, im)
    return found if preferred is None else convert(found, promotion.canonical(preferred))


# ---- polynomials: coefficients from the highest power down ---------------------------------------


def polyval(p: Any, x: Any, *, unroll: int = 16) -> Any:
    """The polynomial with coefficients ``p`` at ``x``, by Horner's rule.

    >>> jnp.polyval(jnp.array([1.0, 0.0, 2.0]), 3.0)
    Array(11., dtype=float32)
    """
    p, x = promotion.promoted("polyval", p, x)
    found = promotion.filled(0, x.type)
    for k in range(p.shape[0]):
        found = ew.add(ew.multiply(found, x), p[k]) if k else promotion.broadcast_to(p[0], x.shape)
    return found


def _same_length(name: str, a1: Any, a2: Any) -> list[Any]:
    xs = promotion.promoted(name, a1, a2)
    n = max(x.size for x in xs)
    return [shaping.padded(shaping.ravel(x), [(n - x.size, 0, 0)]) for x in xs]


def polyadd(a1: Any, a2: Any) -> Any:
    """The sum of two polynomials."""
    return ew.add(*_same_length("polyadd", a1, a2))


def polysub(a1: Any, a2: Any) -> Any:
    """The difference of two polynomials."""
    return ew.subtract(*_same_length("polysub", a1, a2))


def polymul(a1: Any, a2: Any, *, trim_leading_zeros: bool = False) -> Any:
    """The product of two polynomials."""
    return convolve(shaping.ravel(a1), shaping.ravel(a2))


def _order(name: str, m: Any) -> int:
    found = integer(m, f"{name}: m")
    if found < 0:
        raise ArgumentError(f"{name}: the order is {found}", at=here())
    return found


def polyder(p: Any, m: int = 1) -> Any:
    """The m-th derivative of a polynomial."""
    p = as_array(p)
    for _ in range(_order("polyder", m)):
        n = p.size
        p = ew.multiply(
            p[:-1], np.arange(n - 1, 0, -1).astype(p.dtype if kind(p.dtype) in "fc" else np.int64)
        )
    return p


def polyint(p: Any, m: int = 1, k: Any = None) -> Any:
    """The m-th antiderivative of a polynomial, with constants ``k``."""
    p = to_inexact(p)
    m = _order("polyint", m)
    given = shaping.ravel(promotion.typed(0 if k is None else k, p.dtype))
    if 1 != given.size < m:
        raise ShapeError(f"polyint: {given.size} constants for {m} integrations", at=here())
    constants = promotion.broadcast_to(given, (m,)) if given.size == 1 else given
    for step in range(m):
        powers = np.arange(p.size, 0, -1).astype(p.dtype)
        p = shaping.concatenate([ew.divide(p, powers), reshaped(constants[step], (1,))])
    return p


def polydiv(u: Any, v: Any, *, trim_leading_zeros: bool = False) -> tuple[Any, Any]:
    """Quotient and remainder of two polynomials; the leading coefficient of ``v`` must not be 0."""
    u, v = (shaping.ravel(x) for x in _floats(u, v))
    count = u.size - v.size + 1
    if count < 1:
        return promotion.filled(0, u.type.with_shape((1,))), u
    quotient = []
    rest = u
    for k in range(count):
        factor = ew.divide(rest[k], v[0])
        quotient.append(factor)
        rest = indexing.updated(
            rest, slice(k, k + v.size), ew.negative(ew.multiply(factor, v)), "add"
        )
    return shaping.stack(quotient), rest[count:] if v.size > 1 else promotion.filled(
        0, u.type.with_shape((1,))
    )


def poly(seq_of_zeros: Any) -> Any:
    """The coefficients of the polynomial with these zeros, or of the characteristic polynomial of
    a square matrix.
    """
    zeros = to_inexact(seq_of_zeros)
    if zeros.ndim == 2 and zeros.shape[0] == zeros.shape[1] and zeros.size:
        zeros = eigvals(zeros)  # the characteristic polynomial of a matrix
        found = _of_zeros(zeros)
        return ew.real(found) if kind(as_array(seq_of_zeros).dtype) != "c" else found
    if zeros.ndim != 1:
        raise ShapeError(f"poly: takes a vector of zeros, not {zeros.type}", at=here())
    return _of_zeros(zeros)


def _of_zeros(zeros: Any) -> Any:
    found = creation.ones((1,), zeros.dtype)
    for k in range(zeros.size):
        longer = shaping.padded(found, [(0, 1, 0)])
        found = ew.subtract(longer, ew.multiply(shaping.padded(found, [(1, 0, 0)]), zeros[k]))
    return found


def trim_zeros(filt: Any, trim: str = "fb", axis: Any = None) -> Any:
    """An array without the zeros at the ends ("f" front, "b" back) of every axis, or of ``axis``;
    its values must be known.

    >>> trim_zeros(jnp.array([0, 3, 0, 1, 0]))
    Array([3, 0, 1])
    """
    a = as_array(filt)
    if not set(trim.lower()) <= set("fb"):
        raise ArgumentError(f"trim_zeros: trim is made of 'f' and 'b', not {trim!r}", at=here())
    there = np.nonzero(a.concrete("trim_zeros()"))
    axes = axes_tuple("trim_zeros", axis, a.ndim)
    found: list[slice] = [slice(None)] * a.ndim
    for k in axes:
        none = there[k].size == 0
        low = 0 if none or "f" not in trim.lower() else int(there[k].min())
        high = a.shape[k] if "b" not in trim.lower() else int(there[k].max()) + 1 if not none else 0
        if none and "b" not in trim.lower():
            low = high
        found[k] = slice(low, high)
    return a[tuple(found)]
