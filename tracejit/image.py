"""Images resized and resampled, with the methods of ``jax.image``.

>>> from tracejit import image
>>> image.resize(jnp.array([[0.0, 1.0]]), (1, 4), "linear")
Array([[0.  , 0.25, 0.75, 1.  ]], dtype=float32)

Pixels have their centres at half-integers. Along each axis the result is a product with a matrix of
weights, the method's kernel at the distances of centres; where an image shrinks, ``antialias``
widens the kernel by the same factor.
"""

from __future__ import annotations

import enum as _enum
from collections.abc import Callable as _Callable
from collections.abc import Sequence as _Sequence
from typing import Any

import numpy as _np

import tracejit.numpy as _jnp
from tracejit import errors as _errors
from tracejit.errors import ArgumentError as _ArgumentError
from tracejit.errors import ShapeError as _ShapeError
from tracejit.frontend import creation as _creation
from tracejit.frontend import eager as _eager
from tracejit.frontend import indexing as _indexing
from tracejit.frontend import promotion as _promotion
from tracejit.frontend.array import as_array as _as_array
from tracejit.frontend.axes import axis_number as _axis_number
from tracejit.frontend.axes import shape_tuple as _shape_tuple
from tracejit.hints import name as _name_hint
from tracejit.lax.operands import check_precision as _check_precision
from tracejit.lax.products import Precision as _Precision
from tracejit.source import here as _here

#: sums of weights below this are taken for zero, as in JAX
_TINY = 1000.0 * float(_np.finfo(_np.float32).eps)


class ResizeMethod(_enum.Enum):
    """How an image is read between its pixels."""

    NEAREST = 0
    LINEAR = 1
    LANCZOS3 = 2
    LANCZOS5 = 3
    CUBIC = 4
    CUBIC_PYTORCH = 5
    AREA = 6

    @staticmethod
    def from_string(s: str) -> ResizeMethod:
        """The method of a name: "nearest", "linear" (also "bilinear", "trilinear", "triangle"),
        "cubic" (also "bicubic", "tricubic"), "lanczos3", "lanczos5", "cubic-pytorch", "area".
        """
        found = _NAMES.get(s)
        if found is None:
            raise _ArgumentError(
                f"there is no resize method {s!r}",
                at=_here(),
                hint=_name_hint(str(s), list(_NAMES)),
            )
        return found


_NAMES = {
    "nearest": ResizeMethod.NEAREST,
    **dict.fromkeys(("linear", "bilinear", "trilinear", "triangle"), ResizeMethod.LINEAR),
    "lanczos3": ResizeMethod.LANCZOS3,
    "lanczos5": ResizeMethod.LANCZOS5,
    **dict.fromkeys(("cubic", "bicubic", "tricubic"), ResizeMethod.CUBIC),
    **dict.fromkeys(("cubic-pytorch", "bicubic-pytorch"), ResizeMethod.CUBIC_PYTORCH),
    "area": ResizeMethod.AREA,
}

# Kernels at distances x >= 0; xp is NumPy where scale and translation are known, else
# tracejit.numpy.


def _triangle(xp: Any, x: Any) -> Any:
    return xp.maximum(0, 1 - x)


def _lanczos(radius: int) -> _Callable[[Any, Any], Any]:
    def kernel(xp: Any, x: Any) -> Any:
        far = x > 1e-3
        safe = xp.where(far, x, 1.0)
        wave = radius * xp.sin(_np.pi * safe) * xp.sin(_np.pi * safe / radius)
        inner = xp.where(far, wave / (_np.pi**2 * safe**2), 1.0)
        return xp.where(x > radius, 0.0, inner)

    return kernel


def _cubic(a: float) -> _Callable[[Any, Any], Any]:
    """R. Keys, Cubic convolution interpolation for digital image processing, 1981: a = -0.5 is the
    one of third order; PyTorch and OpenCV take -0.75 where they do not filter.
    """

    def kernel(xp: Any, x: Any) -> Any:
        near = ((a + 2) * x - (a + 3)) * x * x + 1
        far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
        return xp.where(x >= 2, 0.0, xp.where(x >= 1, far, near))

    return kernel


_KERNELS: dict[ResizeMethod, tuple[int, _Callable[[Any, Any], Any] | None]] = {
    ResizeMethod.LINEAR: (1, _triangle),
    ResizeMethod.LANCZOS3: (3, _lanczos(3)),
    ResizeMethod.LANCZOS5: (5, _lanczos(5)),
    ResizeMethod.CUBIC: (2, _cubic(-0.5)),
    ResizeMethod.CUBIC_PYTORCH: (2, _cubic(-0.75)),
    ResizeMethod.AREA: (1, None),
}


def _weights(
    n: int, m: int, scale: Any, translation: Any, method: ResizeMethod, antialias: bool
) -> Any:
    """The (n, m) matrix from ``n`` pixels to ``m``: NumPy's where scale and translation are numbers
    that are known.
    """
    static = not isinstance(scale, _jnp.Array) and not isinstance(translation, _jnp.Array)
    xp: Any = _np if static else _jnp
    if method == ResizeMethod.CUBIC_PYTORCH and antialias:
        method = ResizeMethod.CUBIC
    radius, kernel = _KERNELS[method]
    edges = radius if method == ResizeMethod.CUBIC_PYTORCH else 0
    inverse = 1.0 / scale
    # of each new pixel: its centre in the coordinates of the old ones
    centres = (_np.arange(m) + 0.5) * inverse - translation * inverse - 0.5
    pixels = _np.arange(-edges, n + edges)[:, None]
    if kernel is None:
        left = _np.arange(m) * inverse - translation * inverse
        overlap = xp.minimum(left + inverse, pixels + 1.0) - xp.maximum(left, pixels)
        weights = xp.maximum(0.0, overlap)
    else:
        width = xp.maximum(inverse, 1.0) if antialias else 1.0
        weights = kernel(xp, xp.abs(centres - pixels) / width)
    if edges:  # what lies outside counts for the pixel at the edge
        first = weights[: edges + 1].sum(0, keepdims=True)
        last = weights[n + edges - 1 :].sum(0, keepdims=True)
        if n == 1:
            weights = first + last - weights[edges : edges + 1]
        else:
            weights = xp.concatenate([first, weights[edges + 1 : n + edges - 1], last])
    total = weights.sum(0, keepdims=True)
    enough = abs(total) > _TINY
    weights = xp.where(enough, weights / xp.where(enough, total, 1.0), 0.0)
    if edges:
        return weights
    return xp.where((centres >= -0.5) & (centres <= n - 0.5), weights, 0.0)


def _resampled(
    image: Any,
    shape: tuple[int, ...],
    axes: _Sequence[int],
    scales: _Sequence[Any],
    translations: _Sequence[Any],
    method: ResizeMethod,
    antialias: bool,
) -> Any:
    """``image`` times a matrix of weights along each axis, those that shrink most first."""
    steps = sorted(
        zip(axes, scales, translations, strict=True),
        key=lambda step: shape[step[0]] / max(image.shape[step[0]], 1),
    )
    letters = "abcdefghijklmnopqrstuvwxyz"[: image.ndim]
    for axis, scale, translation in steps:
        n, m = image.shape[axis], shape[axis]
        weights = _weights(n, m, scale, translation, method, antialias)
        weights = _creation.asarray(weights, image.dtype)
        new = letters.replace(letters[axis], "Z")
        image = _jnp.einsum(f"{letters},{letters[axis]}Z->{new}", image, weights)
    return image


def _method(method: str | ResizeMethod) -> ResizeMethod:
    if isinstance(method, ResizeMethod):
        return method
    if isinstance(method, str):
        return ResizeMethod.from_string(method)
    raise _ArgumentError(f"method is a ResizeMethod or its name, not {method!r}", at=_here())


def _checked_shape(name: str, image: Any, shape: Any) -> tuple[int, ...]:
    sizes = _shape_tuple(shape)
    if len(sizes) != image.ndim:
        raise _ShapeError(
            f"{name}: shape {sizes} needs one size per axis of the image {image.type}",
            at=_here(),
            hint="keep the sizes of batch and channels as they are",
        )
    return sizes


def scale_and_translate(
    image: Any,
    shape: Any,
    spatial_dims: _Sequence[int],
    scale: Any,
    translation: Any,
    method: str | ResizeMethod,
    antialias: bool = True,
    precision: Any = _Precision.HIGHEST,
) -> Any:
    """An image of ``shape`` in which what was at ``x`` is at ``x * scale + translation``, along
    each of ``spatial_dims``; zero where that lies outside of the given one.

    ``scale`` and ``translation`` hold one number per axis of ``spatial_dims``; they may be traced
    and differentiated. Methods as of ``resize`` but "nearest". Integer images become the default
    float.

    >>> x = jnp.array([1.0, 2.0, 3.0])
    >>> tj.image.scale_and_translate(x, (3,), (0,), jnp.ones(1), jnp.ones(1), "linear")
    Array([0., 1., 2.], dtype=float32)
    """
    _check_precision("scale_and_translate", precision)
    image = _promotion.to_inexact(_as_array(image))
    sizes = _checked_shape("scale_and_translate", image, shape)
    found = _method(method)
    if found == ResizeMethod.NEAREST:
        raise _ArgumentError(
            "scale_and_translate: method 'nearest' is not provided, as in JAX", at=_here()
        )
    axes = [_axis_number("scale_and_translate", a, image.ndim) for a in spatial_dims]
    parts = []
    for given in (scale, translation):
        numbers = _as_array(given)
        if numbers.shape != (len(axes),):
            raise _ShapeError(
                f"scale_and_translate: {numbers.type} for {len(axes)} axes: one number for each",
                at=_here(),
            )
        known = numbers._trace is None
        parts.append(
            [float(v) for v in _np.asarray(numbers)]
            if known
            else [_promotion.to_inexact(numbers[k]) for k in range(len(axes))]
        )
    return _resampled(image, sizes, axes, parts[0], parts[1], found, antialias)


def resize(
    image: Any,
    shape: Any,
    method: str | ResizeMethod,
    antialias: bool = True,
    precision: Any = _Precision.HIGHEST,
) -> Any:
    """``image`` with the sizes of ``shape``, one per axis, batch and channels too.

    ``method``: "nearest", "linear", "cubic" (Keys), "lanczos3", "lanczos5", "cubic-pytorch"
    (PyTorch's where ``antialias`` is False, else "cubic") or "area" (the mean over each new
    pixel). ``antialias`` filters an image that shrinks. "nearest" keeps the dtype; otherwise
    integers become the default float. ShapeError where ``shape`` has another rank, ArgumentError
    for another method.

    >>> tj.image.resize(jnp.arange(4.0), (2,), "area")
    Array([0.5, 2.5], dtype=float32)
    """
    _check_precision("resize", precision)
    image = _as_array(image)
    sizes = _checked_shape("resize", image, shape)
    found = _method(method)
    axes = [k for k in range(image.ndim) if image.shape[k] != sizes[k]]
    if any(image.shape[k] == 0 for k in axes):
        raise _ShapeError(f"resize: an empty image {image.type} has no pixels to read", at=_here())
    if found == ResizeMethod.NEAREST:
        for k in axes:
            n, m = image.shape[k], sizes[k]
            places = (2 * _np.arange(m) + 1) * n // (2 * m)
            image = _indexing.take(image, _as_array(places), axis=k, mode="promise_in_bounds")
        return image
    image = _promotion.to_inexact(image)
    scales = [sizes[k] / image.shape[k] if sizes[k] else 1.0 for k in axes]
    return _resampled(image, sizes, axes, scales, [0.0] * len(axes), found, antialias)


__all__ = ["ResizeMethod", "resize", "scale_and_translate"]

_errors.user_functions(globals(), _eager.remembering())
