"""Vectors of neighbours shuffled out of each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tracejit as tj
from tracejit.codegen.llvm_shift import order, sources


@pytest.mark.parametrize(
    "places, found",
    [
        ([0], {}),
        ([-1, 1], {-1: 0, 1: 0}),
        ([-1, 0, 1], {-1: 0, 0: 0, 1: 0}),
        ([1, 2, 3], {1: 2, 2: 2, 3: 2}),
        ([0, 8], {}),
        ([0, 8, 9], {8: 8, 9: 8}),
        ([-1, 1, 31, 33], {-1: 0, 1: 0, 31: 32, 33: 32}),
    ],
)
def test_which_reads_share_vectors(places: list[int], found: dict[int, int]) -> None:
    assert sources(places, 8) == found


def test_lanes_of_two_vectors() -> None:
    assert order(3, 4) == "i32 3, i32 4, i32 5, i32 6"


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "uint64", "int8"])
@pytest.mark.parametrize("offsets", [(0, 1), (0, 2, 4), (0, 15, 16), (3, 5, 20, 21), (0, 7, 40)])
@pytest.mark.parametrize("n", [64, 100, 333])
def test_sums_of_neighbours(dtype: str, offsets: tuple[int, ...], n: int) -> None:
    x = np.random.default_rng(n).integers(0, 60, (3, n + 40)).astype(dtype)

    def function(x: Any) -> Any:
        total = x[:, :n] * 2
        for k, offset in enumerate(offsets):
            total = total * 3 - x[:, offset : offset + n] * (k + 1)
        return total

    np.testing.assert_array_equal(np.asarray(tj.jit(function)(x)), function(x))
