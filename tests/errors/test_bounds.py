"""Indices known only at run time: an error at the user's line on every back end, and opting out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tracejit.numpy as jnp
from tracejit import grad, jit, lax, vmap
from tracejit.errors import OutOfBoundsError

BACKENDS = ("llvm", "numba", "numpy")
#: Numba takes seconds for each program: these have one kernel of each kind
ON_NUMBA = ("rows", "put", "loop")
x = np.arange(4, dtype=np.float32)


def rows(table: Any, which: Any) -> Any:
    return jnp.exp(table)[which] * 2


def cell(table: Any, i: Any, j: Any) -> Any:
    return table[i, j]


def put(table: Any, k: Any) -> Any:
    return table.at[k].set(9.0) + 1


def add_to(table: Any, which: Any) -> Any:
    return table.at[which].add(1.0)


def looped(table: Any, which: Any) -> Any:
    return lax.scan(lambda total, k: (total + table[k], k), 0.0, which)[0]


def batched(table: Any, which: Any) -> Any:
    return vmap(lambda k: table[k])(which)


def gradient(table: Any, which: Any) -> Any:
    return grad(lambda t: (t[which] ** 2).sum())(table)


def repeated(value: Any, which: Any) -> Any:
    """What is read does not depend on the index."""
    return jnp.broadcast_to(value, (4, 3))[which, 1] + value


def filled(value: Any, which: Any) -> Any:
    return jnp.full((4,), 2.0)[which] * value


CASES: dict[str, tuple[Any, tuple[Any, ...], tuple[Any, ...]]] = {
    "rows": (rows, (x, np.array([0, 3])), (x, np.array([0, 4]))),
    "below": (rows, (x, np.array([-4, 3])), (x, np.array([0, -5]))),
    "cell": (cell, (x.reshape(2, 2), 1, -2), (x.reshape(2, 2), 1, 2)),
    "put": (put, (x, 3), (x, 4)),
    "add": (add_to, (x, np.array([1, 1])), (x, np.array([1, 9]))),
    "loop": (looped, (x, np.array([1, 2])), (x, np.array([1, 7]))),
    "batch": (batched, (x, np.array([1, 2])), (x, np.array([1, 7]))),
    "gradient": (gradient, (x, np.array([1, 2])), (x, np.array([1, 7]))),
    "repeated": (repeated, (np.float32(2), np.array([1, 3])), (np.float32(2), np.array([1, 4]))),
    "filled": (filled, (np.float32(2), np.array([1, 3])), (np.float32(2), np.array([4, 3]))),
    "empty": (cell, (np.ones((1, 1), np.float32), 0, 0), (np.ones((0, 1), np.float32), 0, 0)),
}


def raises(function: Any, arguments: Any) -> None:
    with pytest.raises(OutOfBoundsError) as caught:
        function(*arguments)
    assert caught.value.at is not None and caught.value.at.file == __file__
    assert caught.value.hint


@pytest.mark.parametrize(
    ("name", "backend"),
    [(n, b) for n in CASES for b in BACKENDS if b != "numba" or n in ON_NUMBA],
)
def test_the_error_and_the_call_after_it(name: str, backend: str) -> None:
    function, inside, outside = CASES[name]
    compiled = jit(function, backend=backend)
    expected = np.asarray(function(*map(jnp.asarray, inside)))
    np.testing.assert_allclose(np.asarray(compiled(*inside)), expected, rtol=1e-6)
    raises(compiled, outside)
    if name != "empty":
        np.testing.assert_allclose(np.asarray(compiled(*inside)), expected, rtol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_without_jit(name: str) -> None:
    function, _, outside = CASES[name]
    raises(function, tuple(map(jnp.asarray, outside)))


@pytest.mark.parametrize("backend", BACKENDS)
def test_modes_that_opt_out(backend: str) -> None:
    def read(x: Any, k: Any, mode: str) -> Any:
        return x.at[k].get(mode=mode)

    def write(x: Any, k: Any, mode: str) -> Any:
        return x.at[k].set(9.0, mode=mode)

    k = np.array([1, 6])
    get = jit(read, static_argnames="mode", backend=backend)
    assert np.array_equal(get(x, k, mode="clip"), [1, 3])
    assert np.array_equal(get(x, k, mode="fill"), [1, np.nan], equal_nan=True)
    assert np.array_equal(get(x, k, mode="wrap"), [1, 2])
    set_ = jit(write, static_argnames="mode", backend=backend)
    assert np.array_equal(set_(x, k, mode="drop"), [0, 9, 2, 3])
    assert np.array_equal(set_(x, k, mode="clip"), [0, 9, 2, 9])
    assert np.array_equal(set_(x, k, mode="wrap"), [0, 9, 9, 3])
