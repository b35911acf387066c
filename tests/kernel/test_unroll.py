"""Kernels over short axes: written out, with the vector along a longer axis."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tracejit as tj
import tracejit.numpy as jnp

RNG = np.random.default_rng(3)


def check(fun: Any, *args: Any, kernels: int | None = None) -> None:
    found, expected = tj.jit(fun)(*args), fun(*map(jnp.asarray, args))
    for a, b in zip(tj.tree.leaves(found), tj.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=2e-5, atol=2e-5)
    if kernels is not None:
        assert len(tj.jit(fun).stages(*args).program.calls) == kernels


def drawn(*shape: int, dtype: Any = np.float32) -> Any:
    return RNG.standard_normal(shape).astype(dtype)


def pairwise(x: Any) -> Any:
    return ((x[:, None] - x[None]) ** 2).sum(-1)


def test_distances_summed_over_pairs_are_one_kernel() -> None:
    def pull(x: Any, mass: Any) -> Any:
        apart = x[None] - x[:, None]
        squared = (apart * apart).sum(-1) + 0.01
        return (apart * (mass / (squared * jnp.sqrt(squared)))[:, :, None]).sum(1)

    check(pull, drawn(50, 3), drawn(50), kernels=1)
    stages = tj.jit(pull).stages(drawn(50, 3), drawn(50))
    assert "vec(" in stages.kernels[0] and "in 3" not in stages.kernels[0]


def test_nearest_neighbours() -> None:
    check(lambda x: jnp.sqrt(pairwise(x) + jnp.eye(40) * 1e6).min(1), drawn(40, 3), kernels=1)
    check(lambda x: pairwise(x).max(), drawn(40, 2))
    check(lambda x: pairwise(x), drawn(40, 3), kernels=1)


def test_gradients_of_energies() -> None:
    def energy(x: Any) -> Any:
        return jnp.sum(1.0 / jnp.sqrt(pairwise(x) + 0.1))

    check(tj.grad(energy), drawn(33, 3))


@pytest.mark.parametrize("shape", [(40, 3), (40, 8), (2, 20, 5), (40, 1), (17, 2, 4), (5, 3)])
def test_rows_of_few_elements(shape: tuple[int, ...]) -> None:
    x = drawn(*shape)
    check(lambda x: tj.nn.softmax(x, axis=-1), x)
    check(lambda x: tj.nn.log_softmax(x, axis=-1) * x.sum(-1, keepdims=True), x)
    check(lambda x: (x - x.mean(-1, keepdims=True)) / (x.std(-1, keepdims=True) + 0.1), x)
    check(lambda x: (x.sum(-1), x.max(-1), x / x.max(-1, keepdims=True), x.prod(-1)), x)
    check(lambda x: ((x > 0).any(-1), (x > 0).all(-1), (x > 0).sum(-1)), x)
    check(lambda x: (jnp.exp(x).sum(0), x.sum((0, -1))), x)


@pytest.mark.parametrize("dtype", ["float16", "float64", "int8"])
def test_other_dtypes(dtype: str) -> None:
    x = (drawn(40, 3) * 3).astype(dtype)
    check(lambda x: (x.sum(-1), x.max(-1), x * x.min(-1, keepdims=True)), x)
    check(lambda x: jnp.abs(x[:, None] - x[None]).sum(-1).max(1), x)


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(st.integers(1, 20), st.integers(1, 20), st.integers(1, 9)),
    st.lists(st.sampled_from(("sum0", "sum1", "sum2", "max2", "exp", "mul", "row")), max_size=5),
)
def test_random_chains(shape: tuple[int, ...], actions: list[str]) -> None:
    def chain(x: Any, y: Any) -> Any:
        total = x * 0.5
        results = []
        for action in actions:
            if action.startswith("sum"):
                total = total - total.sum(int(action[3]), keepdims=True) * 0.01
            elif action == "max2":
                total = total * 0.5 + total.max(2, keepdims=True)
            elif action == "exp":
                total = jnp.exp(-jnp.abs(total))
            elif action == "mul":
                total = total * y
            else:
                results.append((total * total).sum(2))
        return total, results

    check(chain, drawn(*shape), drawn(*shape[1:]))


@pytest.mark.parametrize("fold", [jnp.sum, jnp.prod])
def test_an_axis_without_elements(fold: Any) -> None:
    x = np.zeros((20, 0), np.float32)
    wanted = np.tanh(1.0 if fold is jnp.prod else 0.0)
    found = tj.jit(lambda x: jnp.tanh(fold(x, axis=1)))(x)
    np.testing.assert_allclose(found, np.full(20, wanted), rtol=1e-6)
