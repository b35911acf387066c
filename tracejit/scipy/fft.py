"""Discrete cosine transforms of types 1 to 4, over one axis or several.

>>> from tracejit.scipy import fft
>>> fft.idct(fft.dct(jnp.array([1.0, 2.0, 3.0])))
Array([1., 2., 3.], dtype=float32)

float32 stays float32, integers become the default float; of complex numbers each part is
transformed. Of N points (J. Makhoul, A fast cosine transform in one and two dimensions, 1980):

    type 1    x[0] + (-1)^k x[N-1] + 2 sum_{n=1}^{N-2} x[n] cos(pi k n / (N - 1))
    type 2    2 sum_n x[n] cos(pi k (2 n + 1) / 2N)
    type 3    x[0] + 2 sum_{n>0} x[n] cos(pi (2 k + 1) n / 2N)
    type 4    2 sum_n x[n] cos(pi (2 k + 1) (2 n + 1) / 4N)

Norm "ortho" makes each an orthogonal matrix; "forward" puts the inverse's factor here.
"""

from __future__ import annotations

from typing import Any

from tracejit import errors as _errors
from tracejit.errors import ArgumentError as _ArgumentError
from tracejit.errors import ShapeError as _ShapeError
from tracejit.fft import transforms as _transforms
from tracejit.frontend import eager as _eager
from tracejit.frontend import elementwise as _ew
from tracejit.frontend.array import apply as _apply
from tracejit.ops import fft as _records
from tracejit.source import here as _here

#: the type of the inverse
_INVERSE = {1: 1, 2: 3, 3: 2, 4: 4}


def _cosine(name: str, x: Any, type: int, s: Any, axes: Any, norm: str | None, back: bool) -> Any:
    """A cosine transform or an inverse one; both parts of a complex array."""
    norm = _transforms.checked_norm(name, norm)
    if type not in _INVERSE:
        raise _ArgumentError(f"{name}: type is 1, 2, 3 or 4, not {type!r}", at=_here())
    x = _transforms.to_float(x)
    if x.dtype.kind == "c":
        parts = [_cosine(name, f(x), type, s, axes, norm, back) for f in (_ew.real, _ew.imag)]
        return _ew.complex_of(*parts)
    lengths, numbers = _transforms.shape_and_axes(name, x, s, axes)
    if len(set(numbers)) != len(numbers):
        raise _ShapeError(f"{name}: axes {numbers} name one axis twice", at=_here())
    if not numbers:
        return x
    if type == 1 and min(lengths) < 2:
        raise _ShapeError(f"{name}: type 1 needs two points or more", at=_here())
    for n, axis in zip(lengths, numbers, strict=True):
        x = _transforms.resized(x, axis, n)
    if back:
        type, norm = _INVERSE[type], _records.SWAPPED[norm]
    return _apply(_records.dct, x, type=int(type), axes=numbers, norm=norm)


def _along(n: int | None, axis: int) -> tuple[Any, Any]:
    return (None if n is None else (n,)), (axis,)


def dct(
    x: Any, type: int = 2, n: int | None = None, axis: int = -1, norm: str | None = None
) -> Any:
    """The discrete cosine transform of ``x`` along an axis, cut or filled with zeros to ``n``.

    ``norm``: None or "backward", "ortho", "forward". ArgumentError for another type or norm,
    ShapeError where there is no such axis or nothing to transform.

    >>> tj.scipy.fft.dct(jnp.array([1.0, 1.0]))
    Array([4., 0.], dtype=float32)
    """
    return _cosine("dct", x, type, *_along(n, axis), norm, False)


def idct(
    x: Any, type: int = 2, n: int | None = None, axis: int = -1, norm: str | None = None
) -> Any:
    """The inverse of ``dct`` of the same type and norm.

    >>> tj.scipy.fft.idct(jnp.array([4.0, 0.0]))
    Array([1., 1.], dtype=float32)
    """
    return _cosine("idct", x, type, *_along(n, axis), norm, True)


def dctn(x: Any, type: int = 2, s: Any = None, axes: Any = None, norm: str | None = None) -> Any:
    """The discrete cosine transform over several axes: the last ``len(s)``, or all, by default.

    >>> tj.scipy.fft.dctn(jnp.ones((2, 2)))
    Array([[16.,  0.],
           [ 0.,  0.]], dtype=float32)
    """
    return _cosine("dctn", x, type, s, axes, norm, False)


def idctn(x: Any, type: int = 2, s: Any = None, axes: Any = None, norm: str | None = None) -> Any:
    """The inverse of ``dctn`` of the same type and norm.

    >>> tj.scipy.fft.idctn(jnp.array([[16.0, 0.0], [0.0, 0.0]]))
    Array([[1., 1.],
           [1., 1.]], dtype=float32)
    """
    return _cosine("idctn", x, type, s, axes, norm, True)


__all__ = ["dct", "dctn", "idct", "idctn"]

_errors.user_functions(globals(), _eager.remembering())
