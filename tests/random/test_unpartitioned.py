"""Random bits as JAX drew them before threefry was partitionable: its numbers, written down."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tracejit as tj
from tracejit import random

DRAWS: dict[str, Any] = {
    "bits8": lambda key: random.bits(key, (7,), "uint8"),
    "bits16": lambda key: random.bits(key, (5,), "uint16"),
    "bits32": lambda key: random.bits(key, (3, 3), "uint32"),
    "bits64": lambda key: random.bits(key, (3,), "uint64"),
    "split": lambda key: random.split(key, 3),
    "fold_in": lambda key: random.fold_in(key, 7),
    "randint": lambda key: random.randint(key, (4,), 0, 100, dtype="int32"),
    "permutation": lambda key: random.permutation(key, np.arange(6)),
}
#: with the key PRNGKey(3)
EXPECTED: dict[str, Any] = {
    "bits8": [75, 52, 5, 116, 142, 14, 47],
    "bits16": [52786, 15632, 46739, 1376, 49900],
    "bits32": [
        [2464363587, 1846968114, 2877280273],
        [411445197, 434635411, 131619366],
        [1808956476, 3853214445, 635039262],
    ],
    "bits64": [3767515194893970219, 6934266243139215386, 8375732073827706173],
    "split": [[877192987, 1614509672], [1950127089, 3448417067], [2823528474, 3529024829]],
    "fold_in": [2647473427, 4234374204],
    "randint": [38, 0, 53, 1],
    "permutation": [2, 4, 1, 3, 5, 0],
}


@pytest.mark.parametrize("name", DRAWS)
def test_numbers_of_the_older_scheme(name: str) -> None:
    key = random.PRNGKey(3)
    draw = DRAWS[name]
    f = tj.jit(draw)
    partitioned = np.asarray(f(key))
    with tj.settings(threefry_partitionable=False):
        assert np.asarray(draw(key)).tolist() == EXPECTED[name]
        assert np.asarray(f(key)).tolist() == EXPECTED[name]
        batch = tj.vmap(draw)(tj.numpy.stack([key, key]))
        assert np.asarray(batch)[1].tolist() == EXPECTED[name]
    assert np.array_equal(np.asarray(f(key)), partitioned)


def test_jaxs_name_of_the_setting() -> None:
    key = random.PRNGKey(3)
    tj.config.update("jax_threefry_partitionable", False)
    try:
        assert np.asarray(random.split(key, 3)).tolist() == EXPECTED["split"]
        assert random.bits(key, (0,)).shape == (0,)
    finally:
        tj.config.update("jax_threefry_partitionable", True)
