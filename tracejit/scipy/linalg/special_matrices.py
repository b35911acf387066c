"""Matrices with a name: built of a vector (toeplitz, companion ...) or of a size (hilbert ...).

>>> toeplitz(jnp.array([1, 2, 3]))
Array([[1, 2, 3],
       [2, 1, 2],
       [3, 2, 1]])

Those built of vectors take stacks of them in leading axes, and have derivatives. Those built of a
size are constants, in the default dtypes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import tracejit.numpy as jnp
from tracejit.config import config
from tracejit.errors import ArgumentError, ShapeError
from tracejit.frontend import promotion
from tracejit.frontend.array import Array, as_array
from tracejit.frontend.axes import integer
from tracejit.frontend.promotion import canonical, default_complex, to_inexact
from tracejit.ir.types import kind
from tracejit.scipy.linalg.arguments import one_of
from tracejit.source import here

# ---- of vectors ----------------------------------------------------------------------------------


def _vector(name: str, x: Any, least: int = 0) -> Array:
    """``x`` as an Array with a last axis of at least ``least`` elements; a scalar is a vector of
    one.
    """
    found = as_array(x)
    if found.ndim == 0:
        found = promotion.reshaped(found, (1,))
    if found.shape[-1] < least:
        raise ShapeError(
            f"{name}: the last axis needs at least {least} elements, not {found.type}", at=here()
        )
    return found


def _on_one_stack(name: str, *xs: Array) -> list[Array]:
    """Vectors of one dtype, their leading axes broadcast."""
    xs = tuple(promotion.promoted(name, *xs))
    try:
        lead = np.broadcast_shapes(*(x.shape[:-1] for x in xs))
    except ValueError:
        shown = " and ".join(str(x.type) for x in xs)
        raise ShapeError(f"{name}: stacks do not broadcast: {shown}", at=here()) from None
    return [jnp.broadcast_to(x, (*lead, x.shape[-1])) for x in xs]


def toeplitz(c: Any, r: Any = None) -> Array:
    """The matrices (..., m, n) with ``c[i - j]`` below the diagonal and ``r[j - i]`` above it.

    ``r`` is ``conj(c)`` by default; its first element is not read. Leading axes broadcast, else
    ShapeError.

    >>> toeplitz(jnp.array([1, 2]), jnp.array([0, 5, 6]))
    Array([[1, 5, 6],
           [2, 1, 5]])
    """
    c = _vector("toeplitz", c)
    r = jnp.conjugate(c) if r is None else _vector("toeplitz", r)
    c, r = _on_one_stack("toeplitz", c, r)
    m, n = c.shape[-1], r.shape[-1]
    if not m or not n:
        return jnp.zeros((*c.shape[:-1], m, n), c.dtype)
    values = jnp.concatenate([jnp.flip(c, -1), r[..., 1:]], -1)
    return _picked(values, m - 1 - np.arange(m)[:, None] + np.arange(n)[None, :])


def _picked(values: Array, places: np.ndarray) -> Array:
    """``values[..., places]`` for constant places that are in bounds."""
    return jnp.take(values, places, axis=-1, mode="promise_in_bounds")


def circulant(c: Any) -> Array:
    """The matrices (..., n, n) whose columns are ``c`` turned: element (i, j) is c[i - j].

    >>> circulant(jnp.array([1, 2, 3]))
    Array([[1, 3, 2],
           [2, 1, 3],
           [3, 2, 1]])
    """
    c = _vector("circulant", c)
    n = c.shape[-1]
    if not n:
        return jnp.zeros((*c.shape[:-1], 0, 0), c.dtype)
    return _picked(c, (np.arange(n)[:, None] - np.arange(n)[None, :]) % n)


def hankel(c: Any, r: Any = None) -> Array:
    """The matrices (..., m, n) that are constant along anti-diagonals: first column ``c``, last row
    ``r``.

    ``r`` is zero by default; its first element is not read. Raises ShapeError for scalars.

    >>> hankel(jnp.array([1, 2, 3]))
    Array([[1, 2, 3],
           [2, 3, 0],
           [3, 0, 0]])
    """
    for x in (c, r):
        if x is not None and as_array(x).ndim == 0:
            raise ShapeError("hankel: takes vectors, not a scalar", at=here())
    c = as_array(c)
    r = jnp.zeros_like(c) if r is None else as_array(r)
    c, r = _on_one_stack("hankel", c, r)
    m, n = c.shape[-1], r.shape[-1]
    if not m or not n:
        return jnp.zeros((*c.shape[:-1], m, n), c.dtype)
    values = jnp.concatenate([c, r[..., 1:]], -1)
    return _picked(values, np.arange(m)[:, None] + np.arange(n)[None, :])


def _below_first_row(row: Array, sub: Array) -> Array:
    """(..., n, n): ``row`` on top, ``sub`` on the diagonal below the main one."""
    n = row.shape[-1]
    if n == 1:
        return row[..., None, :]
    body = jnp.eye(n - 1, dtype=sub.dtype) * sub[..., :, None]
    body = jnp.concatenate([body, jnp.zeros_like(body[..., :1])], -1)
    lead = np.broadcast_shapes(row.shape[:-1], body.shape[:-2])
    parts = [row[..., None, :], body]
    return jnp.concatenate([jnp.broadcast_to(p, (*lead, *p.shape[-2:])) for p in parts], -2)


def companion(a: Any) -> Array:
    """The companion matrices (..., n - 1, n - 1) of polynomials (..., n), highest power first.

    Their eigenvalues are the zeros. Raises ShapeError for fewer than two coefficients, and
    ArgumentError where a leading one is known to be 0.

    >>> companion(jnp.array([1.0, -3.0, 2.0]))
    Array([[ 3., -2.],
           [ 1.,  0.]], dtype=float32)
    """
    a = to_inexact(_vector("companion", a, 2))
    if a._has_value and not a._on_gpu and not np.all(np.asarray(a.concrete("companion()"))[..., 0]):
        raise ArgumentError("companion: the leading coefficient is 0", at=here())
    row = -a[..., 1:] / a[..., :1]
    return _below_first_row(row, jnp.ones(a.shape[-1] - 2, a.dtype))


def leslie(f: Any, s: Any) -> Array:
    """The Leslie matrices (..., n, n) of fecundities ``f`` (..., n) and survivals ``s``
    (..., n - 1).

    Raises ShapeError where the lengths do not fit.

    >>> leslie(jnp.array([0.1, 2.0]), jnp.array([0.5]))
    Array([[0.1, 2. ],
           [0.5, 0. ]], dtype=float32)
    """
    f, s = _vector("leslie", f), _vector("leslie", s)
    if f.shape[-1] != s.shape[-1] + 1 or not s.shape[-1]:
        raise ShapeError(
            f"leslie: s has one element less than f, and not none: {f.type} and {s.type}", at=here()
        )
    return _below_first_row(*_on_one_stack("leslie", f, s))


def fiedler(a: Any) -> Array:
    """The matrices (..., n, n) of the distances |a[i] - a[j]|.

    >>> fiedler(jnp.array([1, 4]))
    Array([[0, 3],
           [3, 0]])
    """
    a = _vector("fiedler", a)
    return jnp.abs(a[..., :, None] - a[..., None, :])


def fiedler_companion(a: Any) -> Array:
    """The pentadiagonal companion matrices (..., n - 1, n - 1) of polynomials (..., n).

    Fiedler, "A note on companion matrices" (2003). One coefficient gives an empty matrix, none is a
    ShapeError; a leading 0 is an ArgumentError where it is known.

    >>> fiedler_companion(jnp.array([1.0, -3.0, 2.0]))
    Array([[ 3., -2.],
           [ 1.,  0.]], dtype=float32)
    """
    a = to_inexact(_vector("fiedler_companion", a, 1))
    if a._has_value and not a._on_gpu and not np.all(np.asarray(a.concrete("()"))[..., 0]):
        raise ArgumentError("fiedler_companion: the leading coefficient is 0", at=here())
    n = a.shape[-1] - 1
    if n < 2:
        return (
            (-a[..., 1:] / a[..., :1])[..., None, :]
            if n
            else jnp.zeros((*a.shape[:-1], 0, 0), a.dtype)
        )
    coefficients = -a[..., 1:] / a[..., :1]
    lead = (*coefficients.shape[:-1], 1)
    fixed = [jnp.zeros(lead, a.dtype), jnp.ones(lead, a.dtype)]
    return _picked(jnp.concatenate([*fixed, coefficients], -1), _fiedler_places(n))


def _fiedler_places(n: int) -> np.ndarray:
    """Which of (0, 1, c[0] ... c[n - 1]) each entry of Fiedler's matrix is."""
    found = np.zeros((n, n), np.int64)
    found[0, :2] = 2, 3
    found[1, 0] = 1
    found[0, 2:3] = 1
    for k in range(2, n):
        if k % 2:
            found[k, k - 2] = 1
        else:
            found[k, k - 1] = k + 2
            found[k, k + 1 : k + 2] = k + 3
            found[k, k + 2 : k + 3] = 1
    return found


def convolution_matrix(a: Any, n: int, mode: str = "full") -> Array:
    """The matrices M with ``M @ v == convolve(a, v, mode)`` for vectors v of ``n`` elements.

    ``mode``: "full", "same" or "valid". Raises ArgumentError for another mode and for n < 1,
    ShapeError for an empty ``a``.

    >>> convolution_matrix(jnp.array([1, 2]), 2)
    Array([[1, 0],
           [2, 1],
           [0, 2]])
    """
    n = _size("convolution_matrix", n, 1)
    one_of("convolution_matrix", "mode", mode, "full", "same", "valid")
    a = _vector("convolution_matrix", a, 1)
    m = a.shape[-1]
    shift = np.arange(m + n - 1)[:, None] - np.arange(n)[None, :]
    places = np.where((shift >= 0) & (shift < m), shift, m)
    longer = jnp.concatenate([a, jnp.zeros_like(a[..., :1])], -1)
    if mode != "full":
        count = max(m, n) if mode == "same" else max(m, n) - min(m, n) + 1
        start = (m + n - 1 - count) // 2 if mode == "same" else min(m, n) - 1
        places = places[start : start + count]
    return _picked(longer, places)


def block_diag(*arrs: Any) -> Array:
    """The arrays as blocks along the diagonal, zeros elsewhere; vectors are rows.

    Stacks of matrices broadcast their leading axes, else ShapeError. Without arguments: shape
    (1, 0).

    >>> block_diag(jnp.array([[1, 2]]), jnp.array(3))
    Array([[1, 2, 0],
           [0, 0, 3]])
    """
    if not arrs:
        return jnp.zeros((1, 0))
    blocks = promotion.promoted("block_diag", *arrs)
    blocks = [b if b.ndim > 1 else jnp.atleast_2d(b) for b in blocks]
    try:
        lead = np.broadcast_shapes(*(b.shape[:-2] for b in blocks))
    except ValueError:
        shown = " and ".join(str(b.type) for b in blocks)
        raise ShapeError(f"block_diag: stacks do not broadcast: {shown}", at=here()) from None
    width = sum(b.shape[-1] for b in blocks)
    rows, start = [], 0
    for block in blocks:
        block = jnp.broadcast_to(block, (*lead, *block.shape[-2:]))
        after = width - start - block.shape[-1]
        rows.append(jnp.pad(block, [(0, 0)] * (block.ndim - 1) + [(start, after)]))
        start += block.shape[-1]
    return jnp.concatenate(rows, -2)


# ---- of a size -----------------------------------------------------------------------------------


def _size(name: str, n: Any, least: int = 0) -> int:
    found = integer(n, f"{name}: n")
    if found < least:
        raise ArgumentError(f"{name}: n is at least {least}, not {found}", at=here())
    return found


def _floats(values: Any) -> Array:
    return jnp.asarray(np.asarray(values, np.float64).astype(config.default_float))


def dft(n: int, scale: str | None = None, *, dtype: Any = None) -> Array:
    """The (n, n) matrix of the discrete Fourier transform: ``dft(n) @ x == fft(x)``.

    ``scale``: None, "sqrtn" (then it is unitary) or "n". Raises ArgumentError for another one,
    or a dtype that is not complex.

    >>> print(dft(2).real)
    [[ 1.  1.]
     [ 1. -1.]]
    """
    n = _size("dft", n)
    one_of("dft", "scale", scale, None, "sqrtn", "n")
    wanted = default_complex() if dtype is None else canonical(dtype)
    if kind(wanted) != "c":
        raise ArgumentError(f"dft: dtype is complex, not {wanted}", at=here())
    # multiples of a turn are taken off as integers: the angles are exact to a rounding
    turns = np.outer(np.arange(n), np.arange(n)) % max(n, 1)
    found = np.exp(-2j * np.pi * turns / max(n, 1))
    factor = {None: 1.0, "sqrtn": math.sqrt(max(n, 1)), "n": max(n, 1)}[scale]
    return jnp.asarray((found / factor).astype(wanted))


def hadamard(n: int, dtype: Any = int) -> Array:
    """Sylvester's Hadamard matrix (n, n) of 1 and -1, for powers of two, else ArgumentError.

    >>> hadamard(2)
    Array([[ 1,  1],
           [ 1, -1]])
    """
    n = _size("hadamard", n, 1)
    if n & (n - 1):
        raise ArgumentError(f"hadamard: n is a power of two, not {n}", at=here())
    both = np.arange(n)[:, None] & np.arange(n)[None, :]
    return jnp.asarray((1 - 2 * (np.bitwise_count(both) % 2).astype(np.int64)), dtype=dtype)


def helmert(n: int, full: bool = False) -> Array:
    """The Helmert matrix (n - 1, n): orthonormal rows, each orthogonal to the constant one.

    With ``full`` the constant row stands in front: (n, n).

    >>> print(helmert(2))
    [[ 0.70710677 -0.70710677]]
    """
    n = _size("helmert", n, 1)
    rows = np.tril(np.ones((n, n)), -1) - np.diag(np.arange(n))
    rows[0] = 1
    counts = np.arange(n) * (np.arange(n) + 1.0)
    counts[0] = n
    found = rows / np.sqrt(counts)[:, None]
    return _floats(found if full else found[1:])


def hilbert(n: int) -> Array:
    """The (n, n) matrix of 1 / (i + j + 1).

    >>> print(hilbert(2))
    [[1.         0.5       ]
     [0.5        0.33333334]]
    """
    steps = np.arange(_size("hilbert", n))
    return _floats(1 / (steps[:, None] + steps[None, :] + 1.0))


def invhilbert(n: int) -> Array:
    """The inverse of ``hilbert(n)``, whose elements are integers: computed as such, then rounded.

    >>> invhilbert(2)
    Array([[ 4., -6.],
           [-6., 12.]], dtype=float32)
    """
    n = _size("invhilbert", n)
    found = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            whole = math.comb(n + i, n - j - 1) * math.comb(n + j, n - i - 1)
            whole *= (i + j + 1) * math.comb(i + j, i) ** 2
            found[i, j] = -whole if (i + j) % 2 else whole
    return _floats(found)


_TRIANGLES = ("symmetric", "lower", "upper")


def _binomials(n: int) -> np.ndarray:
    """The lower triangle of C(i, j)."""
    return np.array([[math.comb(i, j) for j in range(n)] for i in range(n)], object).reshape(n, n)


def pascal(n: int, kind: str | None = None) -> Array:
    """Pascal's matrix (n, n): "symmetric" (the default) C(i + j, i), "lower" C(i, j) or "upper".

    >>> pascal(3)
    Array([[1., 1., 1.],
           [1., 2., 3.],
           [1., 3., 6.]], dtype=float32)
    """
    n = _size("pascal", n)
    one_of("pascal", "kind", kind, None, *_TRIANGLES)
    lower = _binomials(n)
    whole = {"lower": lower, "upper": lower.T}.get(kind or "")
    return _floats(lower @ lower.T if whole is None else whole)


def invpascal(n: int, kind: str | None = None) -> Array:
    """The inverse of ``pascal(n, kind)``.

    >>> invpascal(2)
    Array([[ 2., -1.],
           [-1.,  1.]], dtype=float32)
    """
    n = _size("invpascal", n)
    one_of("invpascal", "kind", kind, None, *_TRIANGLES)
    signs = np.array([[(-1) ** (i + j) for j in range(n)] for i in range(n)], object)
    lower = _binomials(n) * signs.reshape(n, n)
    whole = {"lower": lower, "upper": lower.T}.get(kind or "")
    return _floats(lower.T @ lower if whole is None else whole)
