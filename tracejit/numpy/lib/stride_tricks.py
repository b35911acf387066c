"""Arrays whose elements stand at regular distances in another one: copies here, not views.

>>> sliding_window_view(jnp.arange(4), 2)
Array([[0, 1],
       [1, 2],
       [2, 3]])
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tracejit import errors as _errors
from tracejit.errors import ArgumentError, OutOfBoundsError, ShapeError
from tracejit.frontend import indexing, shaping
from tracejit.frontend.array import as_array
from tracejit.frontend.axes import axis_number, shape_tuple
from tracejit.frontend.promotion import reshaped
from tracejit.source import here


def sliding_window_view(
    x: Any, window_shape: Any, axis: Any = None, *, subok: bool = False, writeable: bool = False
) -> Any:
    """The windows of ``window_shape`` at every place of ``x``, along all axes or those of ``axis``
    in turn; the axes of a window come last. A copy: to write into it leaves ``x`` as it is.

    Raises ShapeError for a window that is larger than ``x``.

    >>> sliding_window_view(jnp.arange(6).reshape(2, 3), 2, axis=1).shape
    (2, 2, 2)
    """
    a = as_array(x)
    sizes = shape_tuple(window_shape, "sliding_window_view: window_shape")
    if axis is None:
        axes = tuple(range(a.ndim))
    else:
        given = axis if isinstance(axis, tuple | list) else (axis,)
        axes = tuple(axis_number("sliding_window_view", k, a.ndim) for k in given)
    if len(sizes) != len(axes):
        raise ArgumentError(
            f"sliding_window_view: {len(sizes)} window sizes for {len(axes)} axes", at=here()
        )
    for number, n in zip(axes, sizes, strict=True):
        count = a.shape[number] - n + 1
        if count < 1:
            raise ShapeError(
                f"sliding_window_view: a window of {n} does not fit axis {number} of {a.type}",
                at=here(),
            )
        places = np.arange(count)[:, None] + np.arange(n)
        found = indexing.take(a, places, number, mode="promise_in_bounds")
        a = shaping.moveaxis(found, number + 1, -1)
    return a


def as_strided(
    x: Any, shape: Any = None, strides: Any = None, subok: bool = False, writeable: bool = True
) -> Any:
    """Elements of ``x`` at distances of ``strides`` bytes: a copy of ``shape``.

    ``x`` counts as lying in row-major order, as ``x.strides`` says. Raises OutOfBoundsError where
    an element would lie outside of ``x``.

    >>> x = jnp.arange(4)
    >>> as_strided(x, (2, 3), (x.itemsize, x.itemsize))
    Array([[0, 1, 2],
           [1, 2, 3]])
    """
    a = as_array(x)
    sizes = a.shape if shape is None else shape_tuple(shape, "as_strided: shape")
    steps = a.strides if strides is None else tuple(int(s) for s in strides)
    if len(sizes) != len(steps) or any(s % a.itemsize for s in steps):
        raise ArgumentError(
            f"as_strided: strides {steps} do not fit the shape {sizes} of {a.dtype}", at=here()
        )
    places = np.zeros(sizes, np.int64)
    for k, (n, s) in enumerate(zip(sizes, steps, strict=True)):
        line = np.arange(n) * (s // a.itemsize)
        places += line.reshape([-1 if j == k else 1 for j in range(len(sizes))])
    if places.size and (places.min() < 0 or places.max() >= a.size):
        raise OutOfBoundsError(
            f"as_strided: elements of shape {sizes} at strides {steps} lie outside of {a.type}",
            at=here(),
        )
    return indexing.take(reshaped(a, (a.size,)), places, mode="promise_in_bounds")


def broadcast_to(array: Any, shape: Any, subok: bool = False) -> Any:
    """``numpy.broadcast_to``."""
    return shaping.broadcast_to(array, shape)


__all__ = ["as_strided", "broadcast_to", "sliding_window_view"]

_errors.user_functions(globals())
