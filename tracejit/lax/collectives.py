"""Collectives: what the examples of a ``vmap`` with a named axis compute together.

    >>> def centred(x):
    ...     return x - lax.pmean(x, "batch")
    >>> vmap(centred, axis_name="batch")(jnp.array([1.0, 2.0, 6.0]))
    Array([-2., -1.,  3.], dtype=float32)

``axis_name`` is the name of one vmap around, or a tuple of such names. ``axis_index_groups``: lists
of example numbers, of equal length, that cover all of them; each group has its own collective. An
unknown name raises ArgumentError. All but ``pmax`` and ``pmin`` of integers are differentiable as
the sums and permutations they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tracejit.errors import ArgumentError, ShapeError
from tracejit.frontend import indexing, reductions, shaping
from tracejit.frontend.array import Array, apply, as_array
from tracejit.frontend.axes import axis_number
from tracejit.frontend.named_axes import size_of
from tracejit.frontend.promotion import convert, reshaped
from tracejit.ops import collective
from tracejit.source import here
from tracejit.tree_util import tree_map

Groups = Sequence[Sequence[int]] | None


def axis_size(axis_name: Any) -> int:
    """How many examples the named axis has: a Python int. Of a tuple of names the product.

    >>> vmap(lambda x: x * lax.axis_size("i"), axis_name="i")(jnp.ones(4))
    Array([4., 4., 4., 4.], dtype=float32)
    """
    return math.prod(size_of(name) for name in _names(axis_name))


def axis_index(axis_name: Any) -> Array:
    """The number of this example along the named axis, an int64 scalar that takes part in
    promotion as a Python int does; of a tuple of names the row-major position.

    >>> vmap(lambda x: x + lax.axis_index("i"), axis_name="i")(jnp.zeros(3))
    Array([0., 1., 2.], dtype=float32)
    """
    index: Any = 0
    for name in _names(axis_name):
        size = size_of(name)
        number = apply(collective.axis_index, axis_name=name, axis_size=size)
        number._weak = True
        index = index * size + number
    return index


def all_gather(
    x: Any,
    axis_name: Any,
    *,
    axis_index_groups: Groups = None,
    axis: int = 0,
    tiled: bool = False,
) -> Any:
    """``x`` of every example, stacked along a new ``axis``; with ``tiled`` concatenated along it.

    >>> f = vmap(lambda x: lax.all_gather(x, "i").sum(), axis_name="i")
    >>> f(jnp.array([1.0, 2.0]))
    Array([3., 3.], dtype=float32)
    """

    def one(leaf: Any) -> Array:
        leaf = as_array(leaf)
        rows = _members(leaf, axis_name, axis_index_groups)
        place = axis_number("all_gather", axis, leaf.ndim + (not tiled))
        stacked = shaping.moveaxis(rows, 0, place)
        if not tiled:
            return stacked
        shape = list(leaf.shape)
        shape[place] *= rows.shape[0]
        return reshaped(stacked, tuple(shape))

    return tree_map(one, x)


def psum(x: Any, axis_name: Any, *, axis_index_groups: Groups = None) -> Any:
    """The sum of ``x`` over the examples. A Python number gives a Python number: ``psum(1, name)``
    is the size of the axis.

    >>> vmap(lambda x: lax.psum(x, "i"), axis_name="i")(jnp.array([1.0, 2.0]))
    Array([3., 3.], dtype=float32)
    """

    def one(leaf: Any) -> Any:
        if isinstance(leaf, int | float | complex) and not isinstance(leaf, bool):
            return leaf * _count(axis_name, axis_index_groups)
        return _folded(leaf, axis_name, axis_index_groups, reductions.sum)

    return tree_map(one, x)


def pmean(x: Any, axis_name: Any, *, axis_index_groups: Groups = None) -> Any:
    """The mean of ``x`` over the examples.

    >>> vmap(lambda x: lax.pmean(x, "i"), axis_name="i")(jnp.array([1.0, 2.0]))
    Array([1.5, 1.5], dtype=float32)
    """
    count = _count(axis_name, axis_index_groups)
    total = psum(x, axis_name, axis_index_groups=axis_index_groups)
    return tree_map(lambda leaf: leaf / count, total)


def pmax(x: Any, axis_name: Any, *, axis_index_groups: Groups = None) -> Any:
    """The largest ``x`` of the examples, elementwise.

    >>> vmap(lambda x: x == lax.pmax(x, "i"), axis_name="i")(jnp.array([1.0, 2.0]))
    Array([False,  True])
    """
    return tree_map(lambda v: _folded(v, axis_name, axis_index_groups, reductions.max), x)


def pmin(x: Any, axis_name: Any, *, axis_index_groups: Groups = None) -> Any:
    """The smallest ``x`` of the examples, elementwise.

    >>> vmap(lambda x: x - lax.pmin(x, "i"), axis_name="i")(jnp.array([1.0, 3.0]))
    Array([0., 2.], dtype=float32)
    """
    return tree_map(lambda v: _folded(v, axis_name, axis_index_groups, reductions.min), x)


def ppermute(x: Any, axis_name: Any, perm: Sequence[tuple[int, int]]) -> Any:
    """What the example ``source`` of a pair (source, destination) of ``perm`` has; zeros where this
    example is no destination.

    >>> ring = [(0, 1), (1, 2), (2, 0)]
    >>> vmap(lambda x: lax.ppermute(x, "i", ring), axis_name="i")(jnp.array([1.0, 2.0, 3.0]))
    Array([3., 1., 2.], dtype=float32)
    """
    size = axis_size(axis_name)
    sources = np.full(size, size)
    for pair in perm:
        source, destination = pair
        if not (0 <= source < size and 0 <= destination < size):
            raise ArgumentError(f"ppermute: {tuple(pair)} is outside of {size} examples", at=here())
        if sources[destination] != size:
            raise ArgumentError(f"ppermute: {destination} is a destination twice", at=here())
        sources[destination] = source
    if len({source for source, _ in perm}) != len(perm):
        raise ArgumentError("ppermute: a source is named twice", at=here())

    def one(leaf: Any) -> Array:
        rows = _members(as_array(leaf), axis_name, None)
        source = indexing.take(sources, axis_index(axis_name))
        return indexing.take(rows, source, axis=0, mode="fill", fill_value=0)

    return tree_map(one, x)


def pshuffle(x: Any, axis_name: Any, perm: Sequence[int]) -> Any:
    """What example ``perm[k]`` has, on example k.

    >>> vmap(lambda x: lax.pshuffle(x, "i", [1, 2, 0]), axis_name="i")(jnp.array([1.0, 2.0, 3.0]))
    Array([2., 3., 1.], dtype=float32)
    """
    size = axis_size(axis_name)
    if sorted(perm) != list(range(size)):
        raise ArgumentError(f"pshuffle: {perm} is no permutation of {size} examples", at=here())
    return ppermute(x, axis_name, [(source, k) for k, source in enumerate(perm)])


def all_to_all(
    x: Any,
    axis_name: Any,
    split_axis: int,
    concat_axis: int,
    *,
    axis_index_groups: Groups = None,
    tiled: bool = False,
) -> Any:
    """``x`` cut along ``split_axis`` into a piece for each example, and this example's pieces put
    together along ``concat_axis``.

    Without ``tiled``, ``split_axis`` is as long as there are examples and goes, and ``concat_axis``
    is a new axis of that length; with it, the pieces are concatenated. ShapeError where the axis
    does not divide.

    >>> square = jnp.arange(4.0).reshape(2, 2)
    >>> vmap(lambda row: lax.all_to_all(row, "i", 0, 0), axis_name="i")(square)
    Array([[0., 2.],
           [1., 3.]], dtype=float32)
    """
    count = _count(axis_name, axis_index_groups)

    def one(leaf: Any) -> Array:
        leaf = as_array(leaf)
        split = axis_number("all_to_all", split_axis, leaf.ndim)
        concat = axis_number("all_to_all", concat_axis, leaf.ndim)
        pieces = _pieces("all_to_all", leaf, split, count, tiled)
        rows = _members(pieces, axis_name, axis_index_groups)  # [member, piece, ...]
        mine = indexing.take(rows, _rank(axis_name, axis_index_groups), axis=1)
        stacked = shaping.moveaxis(mine, 0, concat)
        if not tiled:
            return stacked
        shape = list(pieces.shape[1:])
        shape[concat] *= count
        return reshaped(stacked, tuple(shape))

    return tree_map(one, x)


def pswapaxes(x: Any, axis_name: Any, axis: int, *, axis_index_groups: Groups = None) -> Any:
    """``x`` with its ``axis`` and the named axis swapped.

    >>> square = jnp.arange(4.0).reshape(2, 2)
    >>> vmap(lambda row: lax.pswapaxes(row, "i", 0), axis_name="i")(square)
    Array([[0., 2.],
           [1., 3.]], dtype=float32)
    """
    return all_to_all(x, axis_name, axis, axis, axis_index_groups=axis_index_groups)


def psum_scatter(
    x: Any,
    axis_name: Any,
    *,
    scatter_dimension: int = 0,
    axis_index_groups: Groups = None,
    tiled: bool = False,
) -> Any:
    """This example's piece along ``scatter_dimension`` of the sum over the examples.

    >>> f = vmap(lambda x: lax.psum_scatter(x, "i"), axis_name="i")
    >>> f(jnp.arange(4.0).reshape(2, 2))
    Array([2., 4.], dtype=float32)
    """
    count = _count(axis_name, axis_index_groups)

    def one(leaf: Any) -> Array:
        total = psum(as_array(leaf), axis_name, axis_index_groups=axis_index_groups)
        split = axis_number("psum_scatter", scatter_dimension, total.ndim)
        pieces = _pieces("psum_scatter", total, split, count, tiled)
        return indexing.take(pieces, _rank(axis_name, axis_index_groups), axis=0)

    return tree_map(one, x)


# ---- parts ---------------------------------------------------------------------------------------


def _names(axis_name: Any) -> tuple[Any, ...]:
    return tuple(axis_name) if isinstance(axis_name, tuple | list) else (axis_name,)


def _gathered(x: Array, axis_name: Any) -> Array:
    """``x`` of every example in front; of several axes row-major."""
    names = _names(axis_name)
    for name in reversed(names):
        x = apply(collective.all_gather, x, axis_name=name, axis_size=size_of(name))
    if len(names) == 1:
        return x
    return reshaped(x, (axis_size(axis_name), *x.shape[len(names) :]))


def _table(groups: Groups, size: int) -> np.ndarray:
    """The groups as rows."""
    lengths = {len(group) for group in groups or ()}
    flat = sorted(k for group in groups or () for k in group)
    if len(lengths) != 1 or flat != list(range(size)):
        raise ArgumentError(
            f"axis_index_groups are lists of equal length that cover {size} examples, not {groups}",
            at=here(),
        )
    return np.array(groups)


def _count(axis_name: Any, groups: Groups) -> int:
    """How many examples take part."""
    size = axis_size(axis_name)
    return size if groups is None else int(_table(groups, size).shape[1])


def _rank(axis_name: Any, groups: Groups) -> Array:
    """The place of this example among those that take part."""
    index = axis_index(axis_name)
    if groups is None:
        return index
    table = _table(groups, axis_size(axis_name))
    rank = np.empty(table.size, np.int64)
    rank[table] = np.arange(table.shape[1])
    return indexing.take(rank, index)


def _members(x: Array, axis_name: Any, groups: Groups) -> Array:
    """``x`` of every example that takes part, in front."""
    rows = _gathered(x, axis_name)
    if groups is None:
        return rows
    table = _table(groups, axis_size(axis_name))
    group_of = np.empty(table.size, np.int64)
    group_of[table] = np.arange(table.shape[0])[:, None]
    mine = indexing.take(table, indexing.take(group_of, axis_index(axis_name)), axis=0)
    return indexing.take(rows, mine, axis=0)


def _folded(x: Any, axis_name: Any, groups: Groups, fold: Callable[..., Any]) -> Array:
    rows = _members(as_array(x), axis_name, groups)
    if fold is reductions.sum:
        return convert(fold(rows, axis=0), rows.dtype)
    return fold(rows, axis=0)


def _pieces(what: str, x: Array, axis: int, count: int, tiled: bool) -> Array:
    """``x`` cut along ``axis`` into ``count`` pieces, which are in front; without ``tiled`` a piece
    lacks the axis.
    """
    size = x.shape[axis]
    if size % count or (not tiled and size != count):
        wanted = f"a multiple of {count}" if tiled else f"{count}"
        raise ShapeError(
            f"{what}: axis {axis} of {x.type} is {size} long, not {wanted}: one piece an example",
            at=here(),
        )
    front = shaping.moveaxis(x, axis, 0)
    if not tiled:
        return front
    blocks = reshaped(front, (count, size // count, *front.shape[1:]))
    return shaping.moveaxis(blocks, 1, axis + 1)
