"""ds(start, size): windows at run-time starts as indices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit.errors import ArgumentError, ShapeError

X = np.arange(24.0).reshape(4, 6)


@pytest.mark.parametrize("i", (0, 1, 2))
def test_reads(i: int) -> None:
    calls: dict[str, tuple[Any, Any]] = {
        "rows": (lambda x, i: x[tj.ds(i, 2)], X[i : i + 2]),
        "columns": (lambda x, i: x[..., tj.ds(i, 3)], X[:, i : i + 3]),
        "both": (lambda x, i: x[tj.ds(i, 2), tj.ds(0, 1)], X[i : i + 2, :1]),
        "a new axis": (lambda x, i: x[None, :, tj.ds(i, 2)], X[None, :, i : i + 2]),
        "an integer": (lambda x, i: x[1, tj.ds(i, 2)], X[1, i : i + 2]),
        "a stride": (lambda x, i: x[:, tj.ds(i, 2, 3)], X[:, i : i + 4 : 3]),
        "an array": (lambda x, i: x[tj.ds(i, 2), np.array([0, 5])], X[i : i + 2][:, [0, 5]]),
        "a slice": (lambda x, i: x[::2, tj.ds(i, 2)], X[::2, i : i + 2]),
    }
    for fun, expected in calls.values():
        np.testing.assert_array_equal(fun(jnp.array(X), i), expected)
        np.testing.assert_array_equal(tj.jit(fun)(X, i), expected)


def test_clamps_as_dynamic_slice_does() -> None:
    np.testing.assert_array_equal(jnp.array(X)[tj.ds(3, 2)], X[2:])


def test_static_forms_are_slices() -> None:
    assert tj.ds(None) == slice(None)
    np.testing.assert_array_equal(jnp.array(X)[tj.ds(2)], X[:2])


def test_updates_and_gradients() -> None:
    @tj.jit
    def added(x: Any, i: Any) -> Any:
        return x.at[tj.ds(i, 2), 1].add(10.0)

    expected = X.copy()
    expected[1:3, 1] += 10
    np.testing.assert_array_equal(added(X, 1), expected)
    slope = tj.grad(lambda x, i: jnp.sum(x[tj.ds(i, 2)] ** 2))(X, 1)
    expected = np.zeros_like(X)
    expected[1:3] = 2 * X[1:3]
    np.testing.assert_array_equal(slope, expected)
    many = tj.vmap(lambda i: jnp.array(X)[tj.ds(i, 2), 0])(np.array([0, 2]))
    np.testing.assert_array_equal(many, [[0, 6], [12, 18]])


def test_bad_windows() -> None:
    with pytest.raises(ShapeError, match="a window of 5 entries along axis 0"):
        jnp.array(X)[tj.ds(0, 5)]
    with pytest.raises(ArgumentError, match="the start is an integer"):
        jnp.array(X)[tj.ds(1.5, 2)]
    for size, stride in ((-1, 1), (2, 0)):
        with pytest.raises(ArgumentError, match="a window of"):
            tj.ds(0, size, stride)
