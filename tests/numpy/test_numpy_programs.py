"""What programs for NumPy do with arrays: write into them, copy them, draw, count, and loop."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit.errors import ArgumentError, OutOfBoundsError

COPIES: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "deepcopy of a tree": lambda x: copy.deepcopy({"w": [x]})["w"][0],
    "method": lambda x: x.copy(),
    "astype": lambda x: x.astype(x.dtype),
    "flatten": lambda x: x.flatten(),
    "plus": lambda x: +x,
    "clip": lambda x: jnp.clip(x),
    "round": lambda x: jnp.round(x.astype(int)),
    "floor": lambda x: jnp.floor(x.astype(int)),
    "abs": lambda x: abs(x > 0),
    "conj": lambda x: jnp.conj(x),
    "concatenate": lambda x: jnp.concatenate([x]),
    "repeat": lambda x: jnp.repeat(x, 1),
    "tile": lambda x: jnp.tile(x, 1),
    "roll": lambda x: jnp.roll(x, 0),
    "sum": lambda x: jnp.sum(x, axis=()),
    "meshgrid": lambda x: jnp.meshgrid(x)[0],
    "nan_to_num": lambda x: jnp.nan_to_num(x.astype(int)),
}


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_does_not_change_with_what_it_was_made_of(name: str) -> None:
    x = jnp.arange(3.0)
    given = x.astype(int) if name in ("round", "floor", "nan_to_num") else x
    found = COPIES[name](given)
    found[0] = 1
    assert x.tolist() == given.tolist() == [0, 1, 2]


def test_writes_show_in_one_array_only() -> None:
    x = jnp.zeros(4)
    x[0] = 1
    alias, kept = x, [x.copy(), x.reshape(2, 2), np.asarray(x), x[:2], x * 1, jnp.array(x)]
    before = [np.array(a) for a in kept]
    x[1], x[2:], x[..., 3] = 2, 5.0, 7
    assert x.tolist() == alias.tolist() == [1, 2, 5, 7]
    for a, b in zip(kept, before, strict=True):
        assert np.array_equal(a, b)
    given = np.zeros(3)
    y = jnp.asarray(given)
    y[0] = 1
    assert (given == 0).all() and y[0] == 1


def test_writes_into_results_of_programs_and_into_what_they_captured() -> None:
    double = tj.jit(lambda a: a * 2)
    b = double(jnp.ones(3))
    b[0] = 9
    c = double(b)
    b[1] = 7
    assert (b.tolist(), c.tolist()) == ([9, 7, 2], [18, 4, 4])
    plus = tj.jit(lambda a: a + b)
    first = plus(0.0)
    b[0] = 0
    assert first.tolist() == plus(0.0).tolist() == [9, 7, 2]


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64", "uint32"])
@pytest.mark.parametrize("idx", [0, -1, slice(1, None), slice(None, None, -2), ..., None, (0,)])
def test_reading_and_writing_is_numpys(dtype: str, idx: Any) -> None:
    x, a = jnp.arange(5, dtype=dtype), np.arange(5, dtype=dtype)
    assert np.array_equal(x[idx], a[idx]) and x[idx].dtype == a.dtype
    for value in (3, jnp.array(2, dtype), np.array(1, dtype), True):
        x[idx], a[idx] = value, value
        assert np.array_equal(x, a) and x.dtype == a.dtype


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64", "bool"])
def test_operators_at_once_and_in_programs_agree(dtype: str) -> None:
    a, b = jnp.array([3, 1, 2]).astype(dtype), jnp.array([1, 1, 3]).astype(dtype)
    for y in (b, 2, 0.5, b[:1], b[0], np.float64(2), True):
        for f in (
            *(lambda u, v: u + v, lambda u, v: v * u, lambda u, v: u < v, lambda u, v: u == v),
            *(lambda u, v: u / v, lambda u, v: v >= u, lambda u, v: 1 * v + u),
        ):
            now, later = f(a, y), tj.jit(f)(a, y)
            assert now.dtype == later.dtype and np.allclose(now, later)


def test_an_index_outside_is_an_error_at_the_users_line() -> None:
    x = jnp.zeros(2)
    with pytest.raises(OutOfBoundsError, match="index 2 is out of bounds"):
        x[2]
    with pytest.raises(OutOfBoundsError, match="index -3 is out of bounds"):
        x[-3] = 1
    assert x.tolist() == [0, 0]


def test_functions_that_write_into_an_argument() -> None:
    for module, make in ((jnp, jnp.array), (np, np.array)):
        a = make([[1.0, -2.0], [3.0, 4.0]])
        module.fill_diagonal(a, 9)
        module.put(a, [1], 5)
        module.place(a, a == 3, [8])
        module.putmask(a, a == 9, 0)
        module.put_along_axis(a, make([[0], [0]]), make([[6.0], [7.0]]), 1)
        v = make([0.0, 0.0, 0.0])
        module.add.at(v, [0, 0, 2], 1)
        module.copyto(v, make([4.0, 4.0, 4.0]), where=make([False, True, False]))
        v2 = make([1.0, 2.0])
        v2.fill(3)
        assert np.array_equal(a, [[6, 5], [7, 0]]) and v.tolist() == [2, 4, 1]
        assert v2.tolist() == [3, 3]
    given = np.zeros((2, 2))
    jnp.fill_diagonal(given, 1)
    assert (given == np.eye(2)).all()
    with pytest.raises(ArgumentError, match="writes into an array, not list"):
        jnp.put([1, 2], 0, 1)


def test_numpys_random_numbers() -> None:
    jnp.random.seed(3)
    np_state = np.random.RandomState(3)
    assert np.array_equal(jnp.random.rand(2, 3), np_state.rand(2, 3))
    mine, numpys = jnp.random.default_rng(1), np.random.default_rng(1)
    assert isinstance(mine, np.random.Generator)
    assert isinstance(mine.normal(size=3), tj.Array)
    numpys.normal(size=3)
    assert np.array_equal(mine.choice(jnp.arange(9), 4), numpys.choice(9, 4))
    x, y = jnp.arange(6), np.arange(6)
    mine.shuffle(x)
    numpys.shuffle(y)
    assert np.array_equal(x, y)
    jnp.random.shuffle(x)
    assert sorted(x.tolist()) == list(range(6))
    assert isinstance(jnp.random.RandomState(0).randn(), float)
    with pytest.raises(ArgumentError, match="would draw once"):
        tj.jit(lambda a: a + jnp.random.rand(2))(1.0)


def test_numbers_of_arrays_are_keys_of_dictionaries() -> None:
    x = jnp.array([1, 2, 2])
    assert set(x) == {1, 2} and {int(x[0]): "a"}[x[0]] == "a" and x[1] in {2}
    with pytest.raises(ArgumentError, match="not hashable"):
        hash(x)


def test_loops_and_files(tmp_path: Any) -> None:
    assert list(jnp.ndindex(2, 1)) == [(0, 0), (1, 0)]
    assert dict(jnp.ndenumerate(jnp.array([[5]]))) == {(0, 0): 5}
    jnp.savetxt(tmp_path / "a.txt", jnp.ones((2, 2)))
    assert jnp.loadtxt(tmp_path / "a.txt").tolist() == [[1, 1], [1, 1]]
    assert jnp.genfromtxt(tmp_path / "a.txt").shape == (2, 2)
    with jnp.errstate(divide="ignore"):
        jnp.testing.assert_allclose(jnp.ones(2) / jnp.ones(2), 1)


class Holder:
    def __init__(self, x: Any) -> None:
        self.x = x


@pytest.mark.parametrize("traced", (False, True))
def test_writes_that_would_be_lost_are_errors(traced: bool) -> None:
    def lost(a: Any, how: int) -> Any:
        a = a + 0
        if how == 0:
            a[0][1] = 5.0
        elif how == 1:
            a.T[0, 1] = 5.0
        elif how == 2:
            (a * 2)[0] = 5.0
        elif how == 3:
            a[0][0:1] += 1.0
        return a

    def kept(a: Any) -> Any:
        a = a + 0
        a[0, 1] = 5.0
        row = a[1]
        row[0] = 7.0
        rows = [a[0], row]
        rows[0][0] = 8.0
        held = Holder(a[2])
        held.x[0] = 9.0
        (b := a[2])[1] = 10.0
        a[0] += 1.0
        return a, rows[0], held.x, b

    run = tj.jit if traced else lambda f, **_: f
    x = np.zeros((3, 3))
    for how in range(4):
        with pytest.raises(ArgumentError, match="nothing refers to") as caught:
            run(lost, static_argnums=1)(jnp.asarray(x), how)
        assert caught.value.at is not None and caught.value.at.file == __file__
    a, first, third, b = run(kept)(jnp.asarray(x))
    assert a.tolist()[0] == [1.0, 6.0, 1.0] and first.tolist() == [8.0, 5.0, 0.0]
    assert third.tolist() == [9.0, 0.0, 0.0] and b.tolist() == [0.0, 10.0, 0.0]


INDICES: dict[str, Any] = {
    "integer of NumPy": np.int64(1),
    "list": [0, 2],
    "integers": np.array([1, 1, 3]),
    "single integer": np.array(2),
    "mask of rows": np.array([True, False, True, False]),
    "mask": np.arange(20).reshape(4, 5) % 3 == 1,
    "columns": (slice(None), np.array([0, 2])),
    "columns of a matrix": (slice(None), np.array([[0, 1], [2, 3]])),
    "points": (np.array([0, 1]), np.array([2, 3])),
    "points in lists": ([0, 1], [1, 2]),
    "mask and column": (np.array([True, False, True, False]), 1),
    "ends of NumPy": slice(np.int64(1), np.array(3)),
    "nothing": [],
}


def _ours(idx: Any) -> Any:
    if isinstance(idx, tuple):
        return tuple(map(_ours, idx))
    return jnp.asarray(idx) if isinstance(idx, np.ndarray) else idx


@pytest.mark.parametrize("name", INDICES)
def test_arrays_as_indices_read_and_write_as_numpys(name: str) -> None:
    draws = np.random.default_rng(0)
    for idx, used in ((INDICES[name], INDICES[name]), (INDICES[name], _ours(INDICES[name]))):
        a = draws.random((4, 5))
        x = jnp.array(a)
        found, wanted = x[used], a[idx]
        assert np.array_equal(found, wanted) and found.shape == wanted.shape
        kept, before = x[...], a.copy()
        a[idx] = x[used] = 7.0
        assert np.array_equal(x, a)
        values = draws.random(wanted.shape)
        for given in (jnp.asarray(values), values):
            a[idx], x[used] = values, given
            assert np.array_equal(x, a)
        a[idx] += 1.0
        x[used] += 1.0
        assert np.array_equal(x, a) and np.array_equal(kept, before)


@pytest.mark.parametrize("bad", [7, [9], np.array([9]), np.array([True]), (0, 0, 0), 1.5])
def test_wrong_indices_change_nothing(bad: Any) -> None:
    x = jnp.ones((4, 5))
    for used in (bad, _ours(bad)):
        with pytest.raises(tj.errors.TracejitError):
            x[used]
        with pytest.raises(tj.errors.TracejitError):
            x[used] = 2.0
    assert (x == 1).all()


def test_of_places_named_twice_the_last_value_stays() -> None:
    x = jnp.zeros(3, int)
    x[jnp.array([0, 0, 1])] = jnp.array([1, 2, 3])
    assert x.tolist() == [2, 3, 0]
