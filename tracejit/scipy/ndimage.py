"""Arrays read between their elements.

>>> from tracejit.scipy import ndimage
>>> ndimage.map_coordinates(jnp.array([0.0, 10.0, 20.0]), [jnp.array([0.5, 1.25])], order=1)
Array([ 5. , 12.5], dtype=float32)
"""

from __future__ import annotations

import itertools as _itertools
from collections.abc import Callable as _Callable
from collections.abc import Sequence as _Sequence
from typing import Any

import numpy as _np

from tracejit import errors as _errors
from tracejit.errors import ArgumentError as _ArgumentError
from tracejit.errors import ShapeError as _ShapeError
from tracejit.frontend import eager as _eager
from tracejit.frontend import elementwise as _ew
from tracejit.frontend import indexing as _indexing
from tracejit.frontend import promotion as _promotion
from tracejit.frontend import shaping as _shaping
from tracejit.frontend.array import as_array as _as_array
from tracejit.frontend.promotion import convert as _convert
from tracejit.hints import name as _name_hint
from tracejit.ir.types import DTYPES as _DTYPES
from tracejit.ir.types import kind as _kind
from tracejit.lax.elementwise import RoundingMethod as _RoundingMethod
from tracejit.lax.elementwise import round as _round
from tracejit.source import here as _here


def _mirrored(index: Any, size: int) -> Any:
    """Mirrored at the centres of the end elements: a triangular wave."""
    if size == 1:
        return _ew.multiply(index, 0)
    half = size - 1
    return _ew.absolute(_ew.subtract(_ew.remainder(_ew.add(index, half), 2 * half), half))


def _reflected(index: Any, size: int) -> Any:
    """Mirrored at the outer edges of the end elements."""
    doubled = _mirrored(_ew.add(_ew.multiply(2, index), 1), 2 * size + 1)
    return _ew.floor_divide(_ew.subtract(doubled, 1), 2)


#: where an index outside reads. SciPy calls two of these grid-wrap and grid-constant: its own
#: "wrap" and "constant" have other distances at the edges
_FIXERS: dict[str, _Callable[[Any, int], Any]] = {
    "constant": lambda index, size: _ew.clip(index, 0, size - 1),
    "nearest": lambda index, size: _ew.clip(index, 0, size - 1),
    "wrap": lambda index, size: _ew.remainder(index, size),
    "mirror": _mirrored,
    "reflect": _reflected,
}
_SYNONYMS = {"grid-constant": "constant", "grid-wrap": "wrap", "grid-mirror": "reflect"}


def _neighbours(coordinate: Any, order: int) -> list[tuple[Any, Any]]:
    """The indices read for a coordinate and their weights; None where the weight is one."""
    i64 = _DTYPES["i64"]
    if _kind(coordinate.dtype) in "biu":
        return [(_convert(coordinate, i64), None)]
    if order == 0:
        # halves away from zero
        return [(_convert(_round(coordinate, _RoundingMethod.AWAY_FROM_ZERO), i64), None)]
    below = _ew.floor(coordinate)
    share = _ew.subtract(coordinate, below)
    index = _convert(below, i64)
    return [(index, _ew.subtract(1, share)), (_ew.add(index, 1), share)]


def map_coordinates(
    input: Any,
    coordinates: _Sequence[Any],
    order: int,
    mode: str = "constant",
    cval: Any = 0.0,
) -> Any:
    """``input`` at fractional ``coordinates``, one array per axis: the nearest element (order 0) or
    linear between neighbours (order 1). The result has the dtype of ``input``.

    ``mode`` says what lies outside: ``cval`` ("constant"), the end element ("nearest"), the array
    again ("wrap"), or mirrored at the centres ("mirror") or edges ("reflect") of the end elements.
    Near the edges "constant" and "wrap" are what SciPy calls "grid-constant" and "grid-wrap", as in
    JAX. Splines of higher order are an ArgumentError.

    >>> x = jnp.arange(6.0).reshape(2, 3)
    >>> tj.scipy.ndimage.map_coordinates(x, [jnp.array([0.5]), jnp.array([1.5])], order=1)
    Array([3.], dtype=float32)
    """
    x = _as_array(input)
    if order not in (0, 1):
        raise _ArgumentError(
            f"map_coordinates: order {order} is not provided",
            at=_here(),
            hint="order 0 takes the nearest element, order 1 is linear; splines would need a solve",
        )
    mode = _SYNONYMS.get(mode, mode)
    if mode not in _FIXERS:
        raise _ArgumentError(
            f"map_coordinates: there is no mode {mode!r}",
            at=_here(),
            hint=_name_hint(str(mode), list(_FIXERS)),
        )
    places = [_as_array(c) for c in coordinates]
    if len(places) != x.ndim or x.ndim == 0:
        raise _ShapeError(
            f"map_coordinates: {len(places)} coordinates for an array of {x.ndim} axes", at=_here()
        )
    shape = _promotion.broadcast_shapes("map_coordinates", places)
    places = [_shaping.broadcast_to(c, shape) for c in places]
    outside = _promotion.typed(cval, x.dtype) if mode == "constant" else None
    return _weighted(x, places, order, mode, outside)


def _weighted(x: Any, places: list[Any], order: int, mode: str, outside: Any) -> Any:
    """The sum over neighbours of each place."""
    axes = []
    for coordinate, size in zip(places, x.shape, strict=True):
        read = []
        for index, weight in _neighbours(coordinate, order):
            inside = _ew.logical_and(_ew.greater_equal(index, 0), _ew.less(index, size))
            read.append((_FIXERS[mode](index, size), inside, weight))
        axes.append(read)
    total = None
    for corner in _itertools.product(*axes):
        part = _indexing.getitem(x, tuple(c[0] for c in corner), "promise_in_bounds")
        if outside is not None:
            inside = corner[0][1]
            for _, also, _ in corner[1:]:
                inside = _ew.logical_and(inside, also)
            part = _ew.select(inside, part, outside)
        for _, _, weight in corner:
            part = part if weight is None else _ew.multiply(weight, part)
        total = part if total is None else _ew.add(total, part)
    if _kind(x.dtype) in "biu" and _kind(total.dtype) == "f":
        total = _round(total, _RoundingMethod.AWAY_FROM_ZERO)
    return _convert(total, _np.dtype(x.dtype))


__all__ = ["map_coordinates"]

_errors.user_functions(globals(), _eager.remembering())
