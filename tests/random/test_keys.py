"""Typed and raw keys: what they are, how they pass through transforms, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tracejit as tj
from tracejit import random, tree
from tracejit.errors import ArgumentError, DTypeError, ShapeError


def words(keys: Any) -> Any:
    return np.asarray(random.key_data(keys)).tolist()


def test_a_typed_key() -> None:
    key = random.key(0)
    assert (key.shape, key.ndim, key.size, key.itemsize) == ((), 0, 1, 8)
    assert repr(key) == "Array((), dtype=key<fry>) overlaying:\n[0 0]"
    assert key.dtype == random.key_dtype()
    assert random.key_impl(key) == "threefry2x32"
    assert len(tree.leaves(key)) == 1


def test_key_arrays_index_iterate_and_reshape() -> None:
    keys = random.split(random.key(1), 6)
    assert len(keys) == 6 and [k.shape for k in keys] == [()] * 6
    assert words(keys[2]) == words(keys)[2]
    assert words(keys[1:5:2]) == words(keys)[1:5:2]
    assert words(keys[-1]) == words(list(keys)[-1])
    grid = keys.reshape(2, 3)
    assert grid.shape == (2, 3) and words(grid[1, 0]) == words(keys[3])
    assert words(grid[..., 2]) == [words(keys[2]), words(keys[5])]
    assert words(grid.T[2, 1]) == words(keys[5])
    assert grid.swapaxes(0, 1).shape == (3, 2) and grid.ravel().shape == (6,)
    assert keys[None].squeeze().shape == (6,)
    assert words(keys.take(np.array([4, 0]))) == [words(keys[4]), words(keys[0])]


def test_keys_compare_one_by_one() -> None:
    keys = random.split(random.key(1), 3)
    assert np.asarray(keys == keys[1]).tolist() == [False, True, False]
    assert np.asarray(keys != keys[1]).tolist() == [True, False, True]
    assert bool(random.clone(keys[0]) == keys[0])


def test_results_have_the_kind_of_key_that_was_given() -> None:
    typed, raw = random.key(3), random.PRNGKey(3)
    for function in (random.split, lambda k: random.fold_in(k, 4), random.clone):
        a, b = function(typed), function(raw)
        assert isinstance(a, random.PRNGKeyArray) and not isinstance(b, random.PRNGKeyArray)
        assert words(a) == np.asarray(b).tolist()
    assert words(random.wrap_key_data(raw)) == words(typed)
    a, b = random.normal(typed, (3,)), random.normal(raw, (3,))
    assert np.asarray(a).tolist() == np.asarray(b).tolist()


def test_keys_pass_through_transforms() -> None:
    keys = random.split(random.key(2), 4)
    alone = np.stack([np.asarray(random.normal(k, (2,))) for k in keys])
    np.testing.assert_array_equal(tj.vmap(lambda k: random.normal(k, (2,)))(keys), alone)

    @tj.jit
    def both(key: Any) -> Any:
        first, second = random.split(key)
        return {"next": first, "x": random.uniform(second)}

    out = both(keys[0])
    assert isinstance(out["next"], random.PRNGKeyArray)
    assert words(out["next"]) == words(random.split(keys[0])[0])
    inner = tj.vmap(random.split)(keys)
    assert inner.shape == (4, 2) and words(inner[3]) == words(random.split(keys[3]))


def test_samplers_leave_derivatives_of_their_parameters() -> None:
    key = random.key(0)
    x = tj.grad(lambda s: (s * random.normal(key, (5,))).sum())(2.0)
    np.testing.assert_allclose(x, np.asarray(random.normal(key, (5,))).sum(), rtol=1e-6)
    slope = tj.grad(lambda high: random.uniform(key, minval=0.0, maxval=high))(2.0)
    np.testing.assert_allclose(slope, np.asarray(random.uniform(key)), rtol=1e-6)


def test_default_dtypes() -> None:
    key = random.key(0)
    assert random.normal(key).dtype == np.float32 and random.randint(key, (), 0, 9).dtype == "int64"
    assert random.bits(key).dtype == np.uint32 and random.bernoulli(key).dtype == bool
    with tj.settings(default_float="float64", default_int="int32"):
        assert random.uniform(key).dtype == np.float64
        assert random.poisson(key, 3.0).dtype == np.int32
        assert random.choice(key, 5).dtype == random.permutation(key, 5).dtype == np.int32


SINGLE = "single key"
REFUSED = [
    (lambda k: random.key(1.5), "seed is an integer"),
    (lambda k: random.key("a"), "seed is an integer"),
    (lambda k: random.key(None), "seed is an integer"),
    (lambda k: random.key(np.arange(2)), "seed is a scalar"),
    (lambda k: random.key(k), "key already"),
    (lambda k: random.key(2**64), "64 bits"),
    (lambda k: random.key(0, impl="rbg"), "no implementation"),
    (lambda k: random.normal(3), "is not a key"),
    (lambda k: random.normal(np.arange(3, dtype=np.uint32)), r"u32\[2\]"),
    (lambda k: random.normal(np.arange(2)), r"u32\[2\]"),
    (lambda k: random.normal(random.split(k)), SINGLE),
    (lambda k: random.split(random.split(k)), SINGLE),
    (lambda k: random.fold_in(k, -1), "32 bits"),
    (lambda k: random.fold_in(k, 1.5), "data is an integer"),
    (lambda k: random.fold_in(k, np.arange(2)), "data is a scalar"),
    (lambda k: random.wrap_key_data(k), "typed keys already"),
    (lambda k: np.asarray(k), "key_data"),
    (lambda k: bool(k), "truth value"),
    (lambda k: len(k), "single key"),
    (lambda k: list(k), "single key"),
    (lambda k: k == 1, "compares with keys"),
    (lambda k: random.bernoulli(k, 0.5, mode="medium"), "mode"),
    (lambda k: random.gumbel(k, mode="medium"), "mode"),
    (lambda k: random.choice(k, 5, (6,), replace=False), "without replacement"),
    (lambda k: random.choice(k, 0), "nothing to choose"),
    (lambda k: random.choice(k, 2.5), "integer or an array"),
    (lambda k: random.permutation(k, 2.5), "integer or an array"),
    (lambda k: random.categorical(k, np.ones(2), shape=(3,), replace=False), "without repl"),
    (lambda k: random.uniform(k, 2.5), "integer"),
]


@pytest.mark.parametrize("call, message", REFUSED)
def test_refused_arguments(call: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message) as caught:
        call(random.key(0))
    assert caught.value.at is not None
    assert caught.value.at.file == __file__


@pytest.mark.parametrize(
    "call",
    [
        lambda k: random.normal(k, (2,), int),
        lambda k: random.uniform(k, dtype="complex64"),
        lambda k: random.randint(k, (), 0, 5, "float32"),
        lambda k: random.bits(k, dtype="int32"),
        lambda k: random.bernoulli(k, 1),
        lambda k: random.categorical(k, np.arange(3)),
        lambda k: random.gamma(k, 1j),
        lambda k: random.geometric(k, 0.5, dtype=float),
    ],
)
def test_refused_dtypes(call: Any) -> None:
    with pytest.raises(DTypeError):
        call(random.key(0))


@pytest.mark.parametrize(
    "call",
    [
        lambda k: random.normal(k, (-1,)),
        lambda k: random.uniform(k, (2,), minval=np.zeros(3)),
        lambda k: random.gamma(k, np.ones(3), (2,)),
        lambda k: random.beta(k, np.ones(3), np.ones(2)),
        lambda k: random.choice(k, 4, p=np.ones(3) / 3),
        lambda k: random.dirichlet(k, 1.0),
        lambda k: random.multinomial(k, 3.0, 1.0),
        lambda k: random.permutation(k, np.ones(3), axis=1),
    ],
)
def test_refused_shapes(call: Any) -> None:
    with pytest.raises(ShapeError):
        call(random.key(0))


def test_arithmetic_on_keys_is_a_type_error() -> None:
    key = random.key(0)
    for call in (lambda: key + 1, lambda: key < key, lambda: hash(key)):
        with pytest.raises(TypeError):
            call()


def test_keys_have_a_type():
    found = tj.typeof(random.split(random.key(0), 3))
    assert (str(found), found.shape, found.dtype) == ("key<fry>[3]", (3,), random.key(0).dtype)
