"""Moving elements: reshaping, permuting, joining, repeating. Shapes and axes are static.

>>> concatenate([jnp.ones(2), jnp.zeros(1)]).reshape(3, 1).shape
(3, 1)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tracejit import hints
from tracejit.errors import ArgumentError, DTypeError, ShapeError
from tracejit.frontend import array as core
from tracejit.frontend import placement, promotion
from tracejit.frontend.axes import axes_list, axis_number, by_numpy, integer, shape_tuple
from tracejit.frontend.promotion import constant_of, reshaped, spread
from tracejit.ops import layout
from tracejit.source import here


def reshape(a: Any, shape: Any, order: str = "C", *, copy: bool | None = None) -> Any:
    """The elements of ``a`` under another shape; one size may be -1. ``order`` "F" runs the first
    axis fastest.

    Raises ShapeError where the number of elements differs.

    >>> jnp.reshape(jnp.arange(6), (2, -1))
    Array([[0, 1, 2],
           [3, 4, 5]])
    """
    a = core.as_array(a)
    if isinstance(shape, np.ndarray | core.Array):
        shape = np.asarray(shape).tolist()
    given = tuple(shape) if isinstance(shape, tuple | list) else (shape,)
    sizes = _resolved(a, tuple(integer(n, "reshape: a size") for n in given))
    if order == "F":
        return transpose(reshape(transpose(a), sizes[::-1]))
    if order not in ("C", "A"):
        raise ArgumentError(f"reshape: order is 'C' or 'F', not {order!r}", at=here())
    return reshaped(a, sizes)


def _resolved(a: Any, sizes: tuple[int, ...]) -> tuple[int, ...]:
    """``sizes`` with -1 replaced by what is left."""
    unknown = [k for k, n in enumerate(sizes) if n == -1]
    rest = math.prod(n for n in sizes if n != -1)
    fits = a.size % rest == 0 if unknown and rest else a.size == rest
    if len(unknown) > 1 or any(n < -1 for n in sizes) or not fits or (unknown and not rest):
        raise ShapeError(
            f"reshape: {a.type} with {a.size} elements does not fit shape {sizes}",
            at=here(),
            hint=hints.reshape(a.shape, sizes),
        )
    return tuple(a.size // rest if n == -1 else n for n in sizes)


def ravel(a: Any, order: str = "C") -> Any:
    """All elements along one axis, in the order of ``order``: "C" the last axis fastest, "F" the
    first; "K", that of the memory, is "C".

    >>> jnp.ravel(jnp.ones((2, 3))).shape
    (6,)
    """
    order = "C" if order == "K" else order
    return reshape(a, (-1,) if core.as_array(a).size else (0,), order)


def transpose(a: Any, axes: Any = None) -> Any:
    """``a`` with its axes permuted: axis k of the result is ``axes[k]`` of ``a``; reversed by
    default.

    >>> jnp.transpose(jnp.ones((2, 3, 4)), (2, 0, 1)).shape
    (4, 2, 3)
    """
    a = core.as_array(a)
    order = tuple(range(a.ndim))[::-1] if axes is None else axes_list("transpose", axes, a.ndim)
    if len(order) != a.ndim:
        raise ShapeError(
            f"transpose: axes {axes} are not a permutation of those of {a.type}", at=here()
        )
    value = constant_of(a)
    if order == tuple(range(a.ndim)):
        return a
    if value is not None:
        return spread(value, a.type.with_shape(tuple(a.shape[k] for k in order)))
    return core.apply(layout.transpose, a, permutation=order)


def matrix_transpose(x: Any, /) -> Any:
    """``x`` with its last two axes exchanged."""
    x = core.as_array(x)
    if x.ndim < 2:
        raise ShapeError(
            f"matrix_transpose: takes a matrix or a stack of them, not {x.type}", at=here()
        )
    return swapaxes(x, -1, -2)


def swapaxes(a: Any, axis1: int, axis2: int) -> Any:
    """``a`` with two axes exchanged."""
    a = core.as_array(a)
    order = list(range(a.ndim))
    i, j = (axis_number("swapaxes", axis, a.ndim) for axis in (axis1, axis2))
    order[i], order[j] = j, i
    return transpose(a, order)


def moveaxis(a: Any, source: Any, destination: Any) -> Any:
    """``a`` with axes ``source`` at positions ``destination``; the others keep their order.

    >>> jnp.moveaxis(jnp.ones((2, 3, 4)), 0, -1).shape
    (3, 4, 2)
    """
    a = core.as_array(a)
    begin = axes_list("moveaxis", source, a.ndim)
    end = axes_list("moveaxis", destination, a.ndim)
    if len(begin) != len(end):
        raise ArgumentError(
            f"moveaxis: {len(begin)} source axes, {len(end)} destinations", at=here()
        )
    order = [k for k in range(a.ndim) if k not in begin]
    for to, axis in sorted(zip(end, begin, strict=True)):
        order.insert(to, axis)
    return transpose(a, order)


def expand_dims(a: Any, axis: Any) -> Any:
    """``a`` with new axes of size 1 at the positions ``axis`` of the result.

    >>> jnp.expand_dims(jnp.ones(3), (0, 2)).shape
    (1, 3, 1)
    """
    a = core.as_array(a)
    count = len(axis) if isinstance(axis, Sequence) else 1
    at = axes_list("expand_dims", axis, a.ndim + count)
    rest = iter(a.shape)
    return reshaped(a, tuple(1 if k in at else next(rest) for k in range(a.ndim + count)))


def squeeze(a: Any, axis: Any = None) -> Any:
    """``a`` without its axes of size 1, or without those of ``axis``, which must have size 1.

    Raises ShapeError where they have another size.

    >>> jnp.squeeze(jnp.ones((1, 3, 1)), axis=0).shape
    (3, 1)
    """
    a = core.as_array(a)
    if axis is None:
        gone = tuple(k for k, n in enumerate(a.shape) if n == 1)
    else:
        gone = axes_list("squeeze", axis, a.ndim)
    for k in gone:
        if a.shape[k] != 1:
            raise ShapeError(
                f"squeeze: axis {k} of {a.type} has size {a.shape[k]}, not 1", at=here()
            )
    return reshaped(a, tuple(n for k, n in enumerate(a.shape) if k not in gone))


def broadcast_to(array: Any, shape: Any) -> Any:
    """``array`` repeated along new leading axes and along axes of size 1.

    Raises ShapeError where that does not give ``shape``.

    >>> jnp.broadcast_to(jnp.arange(2), (2, 2))
    Array([[0, 1],
           [0, 1]])
    """
    a = core.as_array(array)
    sizes = shape_tuple(shape)
    lead = len(sizes) - a.ndim
    if lead < 0 or any(n not in (1, m) for n, m in zip(a.shape, sizes[lead:], strict=True)):
        raise ShapeError(f"broadcast_to: {a.type} does not broadcast to {sizes}", at=here())
    found = promotion.broadcast_to(a, sizes)
    return promotion.relabelled(found, False) if found._weak else found


def flip(m: Any, axis: Any = None) -> Any:
    """``m`` with the order of elements along ``axis`` (all by default) reversed.

    >>> jnp.flip(jnp.arange(3))
    Array([2, 1, 0])
    """
    a = core.as_array(m)
    dimensions = tuple(range(a.ndim)) if axis is None else axes_list("flip", axis, a.ndim)
    if constant_of(a) is not None or all(a.shape[d] <= 1 for d in dimensions):
        return a
    return core.apply(layout.rev, a, dimensions=dimensions)


def cut(a: Any, axis: int, start: int, stop: int, step: int = 1) -> Any:
    """``a[..., start:stop:step, ...]`` along one axis, bounds within it."""
    if (start, stop, step) == (0, a.shape[axis], 1):
        return a
    begin, end, strides = [0] * a.ndim, list(a.shape), [1] * a.ndim
    begin[axis], end[axis], strides[axis] = start, stop, step
    return core.apply(
        layout.slice_, a, start=tuple(begin), limit=tuple(end), strides=tuple(strides)
    )


def padded(a: Any, config: Sequence[tuple[int, int, int]], value: Any = 0) -> Any:
    """``a`` with ``(low, high, interior)`` copies of a scalar around and between elements, per
    axis.
    """
    fill = promotion.typed(value, a.dtype)
    return core.apply(layout.pad, a, fill, config=tuple(config))


def concatenate(
    arrays: Any, axis: int | None = 0, dtype: Any = None, *, casting: str = "same_kind"
) -> Any:
    """Arrays one after the other along ``axis``; None flattens them first. ``casting``, here and in
    ``stack``, is NumPy's rule for what may become ``dtype``: else DTypeError.

    Raises ShapeError where the other axes differ, ArgumentError without arrays.

    >>> jnp.concatenate([jnp.zeros((1, 2)), jnp.ones((2, 2))]).shape
    (3, 2)
    """
    items = sequence("concatenate", arrays)
    to = None if dtype is None else promotion.canonical(dtype)
    xs = promotion.promoted("concatenate", *items, to=to)
    if casting != "same_kind":
        check_casting("concatenate", items, xs[0].dtype, casting)
    if axis is None:
        xs, axis = [ravel(x) for x in xs], 0
    if any(x.ndim == 0 for x in xs):
        raise ShapeError(
            "concatenate: arrays without axes cannot be joined", at=here(), hint="use stack"
        )
    number = axis_number("concatenate", axis, xs[0].ndim)
    if len(xs) == 1:
        return placement.twin(xs[0])
    return core.apply(layout.concatenate, *xs, dimension=number)


def check_casting(name: str, items: list[Any], to: Any, casting: str) -> None:
    """DTypeError where NumPy's rule ``casting`` forbids that an item becomes ``to``."""
    for x in items:
        dtype = core.as_array(x).dtype
        if not by_numpy(name, np.can_cast, dtype, to, casting):
            raise DTypeError(f"{name}: {dtype} to {to} is not {casting!r}", at=here())


def sequence(name: str, arrays: Any) -> list[Any]:
    """A non-empty sequence of arrays, or an array's rows; ArgumentError otherwise."""
    if isinstance(arrays, core.Array | np.ndarray):
        return list(arrays)
    if not isinstance(arrays, Sequence):
        raise ArgumentError(
            f"{name}: takes a sequence of arrays, not {type(arrays).__name__}", at=here()
        )
    if not arrays:
        raise ArgumentError(f"{name}: needs at least one array", at=here())
    return list(arrays)


def stack(
    arrays: Any,
    axis: int = 0,
    out: None = None,
    dtype: Any = None,
    *,
    casting: str = "same_kind",
) -> Any:
    """Arrays of one shape, else ShapeError, along a new axis.

    >>> jnp.stack([jnp.arange(3), jnp.arange(3)], axis=1).shape
    (3, 2)
    """
    items = [core.as_array(x) for x in sequence("stack", arrays)]
    if len({x.shape for x in items}) > 1:
        shapes = ", ".join(str(x.shape) for x in items)
        raise ShapeError(f"stack: the arrays differ in shape: {shapes}", at=here())
    number = axis_number("stack", axis, items[0].ndim + 1)
    return concatenate([expand_dims(x, number) for x in items], number, dtype, casting=casting)


def tile(A: Any, reps: Any) -> Any:
    """``A`` repeated ``reps`` times along each axis.

    >>> jnp.tile(jnp.array([1, 2]), (2, 2))
    Array([[1, 2, 1, 2],
           [1, 2, 1, 2]])
    """
    a = core.as_array(A)
    counts = shape_tuple(reps, "tile: reps")
    rank = max(a.ndim, len(counts))
    counts = (1,) * (rank - len(counts)) + counts
    sizes = (1,) * (rank - a.ndim) + a.shape
    if all(c == 1 for c in counts):
        return placement.own(reshaped(a, sizes), a)
    pairs = [m for c, n in zip(counts, sizes, strict=True) for m in (c, n)]
    thin = reshaped(a, tuple(m for n in sizes for m in (1, n)))
    wide = promotion.broadcast_to(thin, tuple(pairs))
    return reshaped(wide, tuple(c * n for c, n in zip(counts, sizes, strict=True)))


def diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """The ``offset``-th diagonal of the matrices in two axes, as a last axis."""
    a = core.as_array(a)
    i, j = (axis_number("diagonal", axis, a.ndim) for axis in (axis1, axis2))
    if i == j:
        raise ShapeError(f"diagonal: axis1 and axis2 are both {i}", at=here())
    a = moveaxis(a, (i, j), (-2, -1))
    rows, columns = a.shape[-2:]
    count = max(min(rows, columns - offset) if offset >= 0 else min(rows + offset, columns), 0)
    a = cut(a, a.ndim - 2, *_span(max(-offset, 0), count, rows))
    a = cut(a, a.ndim - 1, *_span(max(offset, 0), count, columns))
    if count == 0:
        return reshaped(a, a.shape[:-2] + (0,))
    # in a row-major count x count matrix the diagonal is every (count + 1)-th element
    flat = reshaped(a, (*a.shape[:-2], count * count))
    return cut(flat, flat.ndim - 1, 0, count * count, count + 1)


def _span(start: int, count: int, size: int) -> tuple[int, int]:
    return (start, start + count) if count else (min(start, size), min(start, size))
