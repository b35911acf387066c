"""The numbers of jax.random, recorded: the same call gives the same numbers, eagerly and traced."""

from __future__ import annotations

import numpy as np
import pytest

import tracejit as tj
from tests.random.golden_cases import Case, cases, golden
from tracejit import random

CASES = cases("cases")
#: one per sampler is enough where the point is that it can be traced
FIRST = list({case.record["name"]: case for case in reversed(CASES)}.values())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
def test_values(case: Case) -> None:
    case.check(case.call(random))


@pytest.mark.parametrize("case", cases("checksums"), ids=lambda case: case.label)
def test_every_bit_of_larger_arrays(case: Case) -> None:
    case.check(case.call(random))


@pytest.mark.parametrize("case", FIRST, ids=lambda case: case.record["name"])
def test_values_under_vmap(case: Case) -> None:
    """A mapped key gives what each key gives alone."""
    seed = case.record["seed"]
    words = np.array([[0, seed], [5, 7]], np.uint32)
    found = tj.vmap(lambda w: case.call(random, w))(words)
    case.check(found[0])
    np.testing.assert_allclose(
        np.asarray(found[1]), np.asarray(case.call(random, words[1])), rtol=1e-6
    )


@pytest.mark.parametrize("name", ["uniform", "normal", "permutation", "gamma", "randint"])
def test_values_under_jit(name: str) -> None:
    case = next(case for case in FIRST if case.record["name"] == name)
    case.check(tj.jit(lambda key: case.call(random, key))(random.key(case.record["seed"])))


@pytest.mark.parametrize("seed, words", golden()["keys"]["seeds"])
def test_keys_of_seeds(seed: int, words: list[int]) -> None:
    assert np.asarray(random.PRNGKey(seed)).tolist() == words
    assert np.asarray(random.key_data(random.key(seed))).tolist() == words
    traced = tj.vmap(random.PRNGKey)(np.array([seed], np.int64))
    assert np.asarray(traced[0]).tolist() == words


def test_split_and_fold_in() -> None:
    keys, key = golden()["keys"], random.key(42)
    assert np.asarray(random.key_data(random.split(key))).tolist() == keys["split"]
    assert np.asarray(random.key_data(random.split(key, (2, 3)))).tolist() == keys["split_2_3"]
    for data, words in keys["fold_in"]:
        assert np.asarray(random.key_data(random.fold_in(key, data))).tolist() == words


@pytest.mark.parametrize("name", ["gamma", "loggamma", "chisquare"])
def test_gradients_by_the_parameter(name: str) -> None:
    record = golden()["gamma_gradients"]
    alpha = np.array(record["alpha"], np.float32)
    key = random.key(record["seed"])
    found = tj.grad(lambda a: getattr(random, name)(key, a).sum())(alpha)
    np.testing.assert_allclose(np.asarray(found), record[name], rtol=1e-4)
