"""Sets of a fixed size: what is missing, what is too much, and nothing at all."""

from __future__ import annotations

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp


def both(function, *arrays):
    """The results outside of jit, which are those under jit."""
    found = [np.asarray(x) for x in tj.tree_util.tree_leaves(function(*arrays))]
    compiled = tj.tree_util.tree_leaves(tj.jit(function)(*arrays))
    for a, b in zip(found, compiled, strict=True):
        np.testing.assert_array_equal(a, b)
    return [x.tolist() for x in found]


def test_unique_counts_up_to_the_next_value() -> None:
    x = np.array([3, 1, 1, 2, 3])
    for size, counts in ((1, [2]), (2, [2, 1]), (3, [2, 1, 2]), (4, [2, 1, 2, 0])):
        assert both(lambda x, n=size: jnp.unique(x, return_counts=True, size=n), x)[1] == counts


def test_missing_values_of_unique_are_where_the_smallest_is() -> None:
    values, index = both(
        lambda x: jnp.unique(x, return_index=True, size=5, fill_value=9), np.array([3, 1, 3])
    )
    assert values == [1, 3, 9, 9, 9] and index == [1, 0, 1, 1, 1]


def test_intersect1d() -> None:
    a, b = np.array([2, 5, 5, 3]), np.array([5, 9, 5, 2])
    found = both(lambda a, b: jnp.intersect1d(a, b, return_indices=True, size=4), a, b)
    assert found == [[2, 5, 2, 2], [0, 1, 4, 4], [3, 0, 4, 4]]
    found = both(
        lambda a, b: jnp.intersect1d(a, b, return_indices=True, size=2, fill_value=7), a[:0], b
    )
    assert found == [[7, 7], [0, 0], [4, 4]]
    indices = jnp.intersect1d(a, b, return_indices=True)
    assert [x.tolist() for x in indices] == [[2, 5], [0, 1], [3, 0]]


@pytest.mark.parametrize("fill", [None, -1])
def test_differences(fill) -> None:
    a, b = np.array([1, 7, 7]), np.array([5, 9, 1])
    least, zero = (5, 0) if fill is None else (fill, fill)

    def xor(a, b):
        return jnp.setxor1d(a, b, size=5, fill_value=fill)

    def difference(a, b):
        return jnp.setdiff1d(a, b, size=3, fill_value=fill)

    assert both(xor, a, b) == [[5, 7, 9, least, least]]
    assert both(xor, a[:0], b[:0]) == [[zero] * 5]
    assert both(difference, a, b) == [[7, zero, zero]]
    assert both(difference, a[:0], b) == [[zero] * 3]


def test_bincount_of_no_bins() -> None:
    assert both(lambda x: jnp.bincount(x, length=0), np.array([4, 0])) == [[]]
