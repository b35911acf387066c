"""Interpolation on a regular grid.

>>> f = RegularGridInterpolator((jnp.arange(3.0), jnp.arange(2.0)), jnp.ones((3, 2)))
>>> f(jnp.array([[0.5, 0.5]]))
Array([1.], dtype=float32)
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from tracejit import tree_util
from tracejit.errors import ArgumentError, DTypeError, ShapeError, user_methods
from tracejit.frontend import creation, indexing, ordering, promotion, shaping
from tracejit.frontend import elementwise as ew
from tracejit.frontend.array import as_array
from tracejit.frontend.promotion import reshaped
from tracejit.hints import name as name_hint
from tracejit.ir.types import kind
from tracejit.source import here

METHODS = ("linear", "nearest")


def _check_method(method: str) -> str:
    if method not in METHODS:
        raise ArgumentError(
            f"RegularGridInterpolator: method is 'linear' or 'nearest', not {method!r}",
            at=here(),
            hint=name_hint(str(method), METHODS),
        )
    return method


@user_methods()
class RegularGridInterpolator:
    """Values on a grid, read between its points; a pytree of its arrays.

    ``points``: the coordinates along each axis, strictly ascending (descending ones are turned
    round where their values are known); ``values`` has their lengths first, axes after those are
    interpolated alike. ``method``: "linear" or "nearest". Outside of the grid the result is
    ``fill_value``, or extrapolated where that is None. ``bounds_error`` is not provided, as in JAX:
    a traced coordinate cannot raise. ShapeError and ArgumentError where the grid does not fit.

    >>> from tracejit.scipy.interpolate import RegularGridInterpolator
    >>> grid = (jnp.array([1, 2, 3]), jnp.array([4, 5, 6]))
    >>> f = RegularGridInterpolator(grid, jnp.array([[10.0, 20, 30], [40, 50, 60], [70, 80, 90]]))
    >>> f(jnp.array([[1.5, 4.5], [2.25, 5.5]]))
    Array([30. , 62.5], dtype=float32)
    """

    def __init__(
        self,
        points: Sequence[Any],
        values: Any,
        method: str = "linear",
        bounds_error: bool = False,
        fill_value: Any = np.nan,
    ) -> None:
        self.method = _check_method(method)
        self.bounds_error = bounds_error
        if bounds_error:
            raise ArgumentError(
                "RegularGridInterpolator: bounds_error is not provided: a traced coordinate cannot "
                "raise",
                at=here(),
                hint="look for fill_value in the result",
            )
        self.values = promotion.to_inexact(values)
        if len(points) > self.values.ndim:
            raise ShapeError(
                f"RegularGridInterpolator: {len(points)} axes of points for values of "
                f"{self.values.ndim} axes",
                at=here(),
            )
        self.grid = tuple(self._axis(k, p) for k, p in enumerate(points))
        self.fill_value = fill_value if fill_value is None else as_array(fill_value)
        if fill_value is not None and not _same_kind(self.fill_value, self.values):
            raise DTypeError(
                f"RegularGridInterpolator: fill_value is {self.fill_value.dtype}, "
                f"values are {self.values.dtype}",
                at=here(),
            )

    def _axis(self, axis: int, points: Any) -> Any:
        """One axis of the grid, ascending."""
        p = promotion.to_inexact(points)
        if p.ndim != 1 or p.shape[0] != self.values.shape[axis]:
            raise ShapeError(
                f"RegularGridInterpolator: points {p.type} for axis {axis} of values "
                f"{self.values.type}",
                at=here(),
            )
        if p.shape[0] < 2:
            raise ShapeError(
                f"RegularGridInterpolator: axis {axis} has fewer than two points", at=here()
            )
        if not p._has_value:
            return p
        steps = np.diff(np.asarray(p))
        if (steps < 0).all():
            self.values = shaping.flip(self.values, axis)
            return shaping.flip(p)
        if not (steps > 0).all():
            raise ArgumentError(
                f"RegularGridInterpolator: the points of axis {axis} are not strictly ascending",
                at=here(),
            )
        return p

    def __call__(self, xi: Any, method: str | None = None) -> Any:
        """The interpolated values at ``xi``, whose last axis holds the coordinates of a point (or a
        tuple of one array per axis).
        """
        method = self.method if method is None else _check_method(method)
        count = len(self.grid)
        xi = _coordinates(xi, count)
        if xi.shape[-1] != count:
            raise ShapeError(
                f"RegularGridInterpolator: points of {xi.shape[-1]} coordinates in a grid of "
                f"{count} axes",
                at=here(),
            )
        shape = xi.shape[:-1]
        flat = reshaped(xi, (int(np.prod(shape)), count))
        columns = [flat[:, k] for k in range(count)]
        cells = [_cell(g, x) for g, x in zip(self.grid, columns, strict=True)]
        found = self._linear(cells) if method == "linear" else self._nearest(cells)
        if self.fill_value is not None:
            outside = None
            for x, g in zip(columns, self.grid, strict=True):
                beyond = ew.logical_or(ew.less(x, g[0]), ew.greater(x, g[-1]))
                outside = beyond if outside is None else ew.logical_or(outside, beyond)
            fill = promotion.typed(self.fill_value, found.dtype)
            found = ew.select(self._over_rest(outside), fill, found)
        return reshaped(found, (*shape, *self.values.shape[count:]))

    def _over_rest(self, x: Any) -> Any:
        """One number per point, to be used with all values of a grid point."""
        rest = self.values.ndim - len(self.grid)
        return reshaped(x, (*x.shape, *(1,) * rest))

    def _linear(self, cells: list[Any]) -> Any:
        total = None
        for corner in itertools.product((0, 1), repeat=len(cells)):
            weight = None
            for side, (_, share) in zip(corner, cells, strict=True):
                w = share if side else ew.subtract(1, share)
                weight = w if weight is None else ew.multiply(weight, w)
            index = tuple(ew.add(i, side) for side, (i, _) in zip(corner, cells, strict=True))
            value = indexing.getitem(self.values, index, "promise_in_bounds")
            part = value if weight is None else ew.multiply(value, self._over_rest(weight))
            total = part if total is None else ew.add(total, part)
        return total

    def _nearest(self, cells: list[Any]) -> Any:
        index = tuple(ew.select(ew.less_equal(s, 0.5), i, ew.add(i, 1)) for i, s in cells)
        return indexing.getitem(self.values, index, "promise_in_bounds")


def _same_kind(a: Any, b: Any) -> bool:
    """Whether ``a`` may become ``b``'s dtype: complex numbers do not become real."""
    return not (kind(a.dtype) == "c" and kind(b.dtype) != "c")


def _coordinates(xi: Any, count: int) -> Any:
    """Points as (..., count): from a tuple of arrays that broadcast, or one array."""
    if isinstance(xi, tuple) and len(xi) == 1:
        xi = xi[0]
    if isinstance(xi, tuple):
        parts = promotion.prepared("RegularGridInterpolator", *xi)
        return promotion.to_inexact(shaping.stack(parts, -1))
    xi = promotion.to_inexact(creation.asarray(xi))
    if xi.ndim == 1:
        if xi.shape[0] % count:
            raise ShapeError(
                f"RegularGridInterpolator: {xi.shape[0]} numbers are no points of {count} "
                "coordinates",
                at=here(),
            )
        return reshaped(xi, (xi.shape[0] // count, count))
    if xi.ndim == 0:
        raise ShapeError("RegularGridInterpolator: a point needs an axis", at=here())
    return xi


def _cell(grid: Any, x: Any) -> tuple[Any, Any]:
    """The interval of the grid that ``x`` lies in, or is next to, and how far along it is."""
    below = ew.subtract(ordering.searchsorted(grid, x), 1)
    index = ew.clip(below, 0, grid.shape[0] - 2)
    low = indexing.getitem(grid, index, "promise_in_bounds")
    high = indexing.getitem(grid, ew.add(index, 1), "promise_in_bounds")
    return index, ew.divide(ew.subtract(x, low), ew.subtract(high, low))


def _flatten(f: RegularGridInterpolator) -> tuple[Any, Any]:
    return (f.grid, f.values, f.fill_value), (f.method, f.bounds_error)


def _unflatten(static: Any, parts: Any) -> RegularGridInterpolator:
    # the parts may be anything that a tree may hold: they are not checked again
    found = object.__new__(RegularGridInterpolator)
    found.grid, found.values, found.fill_value = parts
    found.method, found.bounds_error = static
    return found


tree_util.register_pytree_node(RegularGridInterpolator, _flatten, _unflatten)
