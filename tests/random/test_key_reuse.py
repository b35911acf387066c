"""``check_keys``: a random key that is used twice is an error, wherever the second use is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import tracejit as tj
from tracejit import lax, random
from tracejit.errors import KeyReuseError


@pytest.fixture(autouse=True)
def checked() -> Iterator[None]:
    with tj.settings(check_keys=True):
        yield


def two(key: Any) -> Any:
    return random.normal(key) + random.uniform(key)


def step(key: Any, _: Any) -> Any:
    key, now = random.split(key)
    return key, random.normal(now)


def in_every_step(key: Any) -> Any:
    return lax.scan(lambda c, _: (c + random.normal(key), None), 0.0, None, length=3)


def calls_twice(key: Any) -> Any:
    inner = tj.jit(random.normal)
    return inner(key) + inner(key)


REUSES: dict[str, Callable[[Any], Any]] = {
    "two draws": two,
    "a draw after a split": lambda k: (random.split(k), random.normal(k)),
    "jit": tj.jit(two),
    "grad": lambda k: tj.grad(lambda x: x * two(k))(1.0),
    "grad of a key": lambda k: tj.grad(lambda x, k: x * two(k))(1.0, k),
    "vmap": lambda k: tj.vmap(two)(random.split(k, 3)),
    "one of several": lambda k: [random.normal(random.split(k)[0]) for _ in range(2)],
    "one of several, traced": tj.jit(
        lambda k: (lambda keys: random.normal(keys[0]) + random.normal(keys[0]))(random.split(k))
    ),
    "every step of a loop": in_every_step,
    "every step of a loop, traced": tj.jit(in_every_step),
    "a carry that stays": lambda k: lax.scan(
        lambda c, _: ((c[0], c[1] + random.normal(c[0])), None), (k, 0.0), None, length=3
    ),
    "a carry that stays, of while": lambda k: lax.while_loop(
        lambda c: c[1] < 1e3, lambda c: (c[0], c[1] + 1 + random.uniform(c[0])), (k, 0.0)
    ),
    "after a loop": lambda k: (lax.scan(step, k, None, length=3), random.normal(k)),
    "two calls": calls_twice,
    "two calls, traced": tj.jit(calls_twice),
    "after a branch": lambda k: (
        lax.cond(True, random.normal, random.uniform, k),
        random.normal(k),
    ),
}

USES: dict[str, Callable[[Any], Any]] = {
    "a split": lambda k: [random.normal(one) for one in random.split(k, 3)],
    "a split, traced": tj.jit(lambda k: [random.normal(one) for one in random.split(k, 3)]),
    "the carry of a loop": lambda k: lax.scan(step, k, None, length=3),
    "both branches": lambda k: lax.cond(True, random.normal, random.uniform, k),
    "clone": lambda k: (random.normal(random.clone(k)), random.normal(k)),
    "clone, traced": tj.jit(lambda k: (random.normal(random.clone(k)), random.normal(k))),
    "fold_in": lambda k: [random.normal(random.fold_in(k, step)) for step in range(3)],
    "vmap of one key": lambda k: tj.vmap(lambda x: x + random.normal(k))(np.ones(3)),
}


@pytest.mark.parametrize("name", REUSES)
def test_is_found(name: str) -> None:
    with pytest.raises(KeyReuseError, match="is used") as caught:
        REUSES[name](random.key(len(name)))
    assert caught.value.at is not None and caught.value.at.file == __file__
    with tj.settings(check_keys=False):
        REUSES[name](random.key(1))


@pytest.mark.parametrize("name", USES)
def test_is_fine(name: str) -> None:
    USES[name](random.key(len(name)))
    USES[name](random.key(len(name)))  # made anew


def test_a_compiled_function_uses_its_key_at_every_call() -> None:
    draw = tj.jit(random.normal)
    key = random.key(0)
    draw.stages(key)  # draws nothing
    draw(key)
    with pytest.raises(KeyReuseError, match=r"the key \[0, 0\] is used again") as caught:
        draw(key)
    assert "first used at" in str(caught.value)
    draw(random.key(1))


def test_raw_keys_count() -> None:
    key = random.PRNGKey(5)
    random.normal(key)
    with pytest.raises(KeyReuseError):
        random.normal(key)


SAMPLERS: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys("bernoulli cauchy exponential gumbel laplace logistic maxwell normal".split()),
    **dict.fromkeys("rademacher uniform bits lognormal".split()),
    "ball": (3,),
    "beta": (1.0, 2.0),
    "binomial": (5, 0.5),
    "categorical": (np.ones(3),),
    "chisquare": (2.0,),
    "choice": (5,),
    "dirichlet": (np.ones(3),),
    "double_sided_maxwell": (0.0, 1.0),
    "f": (2.0, 3.0),
    "gamma": (2.0,),
    "generalized_normal": (2.0,),
    "geometric": (0.5,),
    "loggamma": (2.0,),
    "multinomial": (5, np.ones(3) / 3),
    "pareto": (2.0,),
    "permutation": (5,),
    "poisson": (3.0,),
    "randint": ((2,), 0, 5),
    "rayleigh": (1.0,),
    "t": (3.0,),
    "triangular": (0.0, 0.5, 1.0),
    "truncated_normal": (0.0, 1.0),
    "wald": (1.0,),
    "weibull_min": (1.0, 2.0),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_uses_its_key_once(name: str) -> None:
    args = SAMPLERS[name] or ()
    key = random.key(0)
    getattr(random, name)(key, *args)
    with pytest.raises(KeyReuseError):
        getattr(random, name)(key, *args)


def test_a_second_run_with_the_same_seed() -> None:
    """Keys that come out of compiled functions, loops and batches are known by their values, which
    are those of the first run.
    """

    @tj.jit
    def step(key, x):
        key, used = random.split(key)
        return key, x + random.normal(used, ())

    def body(carry, _):
        return step(*carry), None

    def train():
        key, x = random.key(0), np.float32(0)
        for _ in range(3):
            key, x = step(key, x)
        (key, x), _ = lax.scan(body, (key, x), None, length=3)
        keys = tj.vmap(lambda k: random.split(k)[0])(random.split(key, 2))
        tj.vmap(lambda k: random.normal(k, ()))(keys)
        return keys

    with tj.settings(check_keys=True):
        train()
        keys = train()
        with pytest.raises(KeyReuseError):
            random.normal(keys[0], ())
