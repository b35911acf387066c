"""Transforms nested to depth 3, through every structured operation, in and out of jit."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tests.transform.programs import (
    CHAIN,
    FORWARD,
    FORWARD_PAIRS,
    PAIRS,
    REVERSE,
    REVERSE_PAIRS,
    Function,
    X,
    compose,
)


def same(chain: Sequence[str], program: Function, twin: Function) -> None:
    found, expected = compose(chain, program)(X), compose(chain, twin)(X)
    assert found.shape == expected.shape
    np.testing.assert_allclose(
        found, expected, rtol=1e-8, atol=1e-9, err_msg=" of ".join(reversed(chain))
    )


def directional_difference(f: Function, x: np.ndarray, dx: np.ndarray) -> float:
    h = 1e-5
    return (float(f(x + h * dx)) - float(f(x - h * dx))) / (2 * h)


ALL = {**PAIRS, **FORWARD_PAIRS, **REVERSE_PAIRS}


@pytest.mark.parametrize("name", ALL)
def test_twins_agree(name: str) -> None:
    program, twin = ALL[name]
    np.testing.assert_allclose(program(X), twin(X), rtol=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_first_derivative_is_that_of_differences(name: str) -> None:
    twin = ALL[name][1]
    dx = np.array([0.3, -1.0, 0.7])
    found = tj.jvp(twin, (X,), (dx,))[1]
    np.testing.assert_allclose(found, directional_difference(twin, X, dx), rtol=1e-6)
    np.testing.assert_allclose(np.dot(tj.grad(twin)(X), dx), found, rtol=1e-9)


@pytest.mark.parametrize("transform", CHAIN)
@pytest.mark.parametrize("name", PAIRS)
def test_one_transform(name: str, transform: str) -> None:
    same((transform,), *PAIRS[name])


def sample(
    transforms: Sequence[str], depth: int, how_many: int, seed: str
) -> list[tuple[str, ...]]:
    """Chains drawn at random, but the same ones at every run."""
    every = list(itertools.product(transforms, repeat=depth))
    return random.Random(seed).sample(every, min(how_many, len(every)))


@pytest.mark.parametrize("name", PAIRS)
def test_two_transforms(name: str) -> None:
    for chain in sample(tuple(CHAIN), 2, 8, name):
        same(chain, *PAIRS[name])


@pytest.mark.parametrize("name", PAIRS)
def test_three_transforms(name: str) -> None:
    light = tuple(t for t in CHAIN if t != "hessian")
    for chain in sample(light, 3, 3, name):
        same(chain, *PAIRS[name])


@pytest.mark.parametrize("name", FORWARD_PAIRS)
def test_forward_mode_alone(name: str) -> None:
    for chain in (*itertools.product(FORWARD, repeat=1), *sample(FORWARD, 2, 6, name)):
        same(chain, *FORWARD_PAIRS[name])


@pytest.mark.parametrize("name", REVERSE_PAIRS)
def test_reverse_mode_alone(name: str) -> None:
    for chain in (*itertools.product(REVERSE, repeat=1), *sample(REVERSE, 2, 6, name)):
        same(chain, *REVERSE_PAIRS[name])


def test_transforms_inside_transforms() -> None:
    def f(x: jnp.ndarray) -> jnp.ndarray:
        inner = tj.grad(lambda z: jnp.sum(z**3 * x))(jnp.sin(x))
        jacobian = tj.jacfwd(lambda z: jnp.sin(z) * x.sum())(x) * tj.jacrev(lambda z: z * z * x[0])(
            x
        )
        return inner.sum() + jacobian.sum()

    def twin(x: jnp.ndarray) -> jnp.ndarray:
        return jnp.sum(3 * jnp.sin(x) ** 2 * x) + jnp.sum(jnp.cos(x) * x.sum() * 2 * x * x[0])

    for chain in ((), ("grad",), ("jit", "grad"), ("grad", "jit"), ("vmap", "grad"), ("hessian",)):
        same(chain, f, twin)
