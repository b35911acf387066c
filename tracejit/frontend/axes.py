"""Arguments that name shapes and axes, checked: what users write as static ints.

axis_number("sum", -1, 3)         -> 2
axes_tuple("sum", None, 3)        -> (0, 1, 2)
shape_tuple([2, np.int64(3)])     -> (2, 3)
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from tracejit import hints, source
from tracejit.errors import (
    ArgumentError,
    AxisError,
    OutOfBoundsError,
    ShapeError,
    TracejitError,
)
from tracejit.frontend import array as core


def integer(x: Any, what: str) -> int:
    """A static int from an int, a NumPy integer or a concrete Array; ArgumentError or
    TracedValueError otherwise.
    """
    try:
        return operator.index(x)
    except TracejitError:
        raise
    except TypeError:
        raise ArgumentError(f"{what} must be an integer, not {x!r}", at=source.here()) from None


def shape_tuple(shape: Any, what: str = "shape") -> tuple[int, ...]:
    """A shape argument as a tuple of non-negative ints; a traced one is an error that says so."""
    if isinstance(shape, np.ndarray) or isinstance(shape, core.Array):
        shape = np.asarray(shape).tolist()
    sizes = tuple(shape) if isinstance(shape, tuple | list | range) else (shape,)
    found = tuple(integer(n, f"{what} {sizes!r}") for n in sizes)
    if any(n < 0 for n in found):
        raise ShapeError(f"{what} {found} has a negative size", at=source.here())
    return found


def by_numpy(name: str, function: Any, *args: Any, **kwargs: Any) -> Any:
    """NumPy's ``function`` of static arguments; its error is one of ours that says ``name``."""
    try:
        return function(*args, **kwargs)
    except TracejitError:
        raise
    except IndexError as error:
        raise OutOfBoundsError(f"{name}: {error}", at=source.here()) from None
    except (ValueError, TypeError) as error:
        raise ArgumentError(f"{name}: {error}", at=source.here()) from None


def axis_number(name: str, axis: Any, ndim: int) -> int:
    """An axis counted from the front; AxisError when the array has no such axis."""
    number = integer(axis, f"{name}: axis")
    if not -ndim <= number < ndim:
        raise AxisError(
            f"{name}: there is no axis {number} in an array of {ndim} axes",
            at=source.here(),
            hint=hints.axes(ndim),
        )
    return number % ndim


def axes_tuple(name: str, axis: Any, ndim: int) -> tuple[int, ...]:
    """Axes counted from the front, ascending; None means all of them."""
    if axis is None:
        return tuple(range(ndim))
    return tuple(sorted(axes_list(name, axis, ndim)))


def axes_list(name: str, axis: Any, ndim: int) -> tuple[int, ...]:
    """Axes counted from the front in the order given; ShapeError when one is named twice."""
    given = tuple(axis) if isinstance(axis, Sequence) else (axis,)
    found = tuple(axis_number(name, a, ndim) for a in given)
    if len(set(found)) != len(found):
        raise ShapeError(f"{name}: axes {given} name one axis twice", at=source.here())
    return found
