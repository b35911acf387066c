"""Many small matrices, which are worked on together, against one at a time."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from tracejit.ops import linalg, linalg_small, linalg_solve

COUNT = 40


def stack(dtype: str, *shape: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(COUNT, *shape))
    if dtype.startswith("c"):
        x = x + 1j * rng.normal(size=x.shape)
    return x.astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (5, 2), (2, 5), (12, 12)])
def test_lu(dtype: str, shape: tuple[int, int]) -> None:
    a = stack(dtype, *shape)
    a[1] = 0
    a[2, -1] = a[2, 0]
    assert linalg_small.are_many(a)
    together = linalg._numpy_lu(a)
    tol = 1e-4 if np.finfo(dtype).eps > 1e-10 else 1e-11
    for k in range(COUNT):
        alone = linalg._numpy_lu(a[k])
        if k != 2 or dtype == "float64":
            np.testing.assert_allclose(together[0][k], alone[0], rtol=tol, atol=tol)
            np.testing.assert_array_equal(together[1][k], alone[1])
            np.testing.assert_array_equal(together[2][k], alone[2])


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_triangular(dtype: str) -> None:
    a, b = stack(dtype, 3, 3) + 3 * np.eye(3), stack(dtype, 3, 2)
    names = ("left_side", "lower", "transpose_a", "conjugate_a", "unit_diagonal")
    for flags in itertools.product((False, True), repeat=5):
        params: Any = dict(zip(names, flags, strict=True))
        y = b if params["left_side"] else np.swapaxes(b, 1, 2)
        together = linalg_solve._numpy_triangular(a, y, **params)
        alone = [linalg_solve._numpy_triangular(m, r, **params) for m, r in zip(a, y, strict=True)]
        np.testing.assert_allclose(together, alone, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("transposed", [False, True])
def test_with_factors(transposed: bool) -> None:
    a, b = stack("float64", 4, 4), stack("float64", 4, 3)
    lu, _, order = linalg._numpy_lu(a)
    found = linalg_solve._numpy_factored(a, lu, order, b, transposed=transposed)
    wanted = np.linalg.solve(np.swapaxes(a, 1, 2) if transposed else a, b)
    np.testing.assert_allclose(found, wanted, rtol=1e-8, atol=1e-10)
    a[3] = 0
    lu, _, order = linalg._numpy_lu(a)
    found = linalg_solve._numpy_factored(a, lu, order, b, transposed=transposed)
    assert not np.isfinite(found[3]).any() and np.isfinite(found[4]).all()
