"""``check_keys`` across functions that are traced: a key that comes out of one may be used up, and
what is only traced uses nothing.
"""

from __future__ import annotations

import functools
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


KEY = type(random.key(0))


def draws_and_returns(key: Any) -> Any:
    return random.normal(key), key


def splits_and_returns(key: Any) -> Any:
    """The second key is used up, the third is not."""
    key, used = random.split(key)
    return random.normal(used), used, key


def clones(key: Any) -> Any:
    return random.normal(key), random.clone(key)


def scanned(key: Any, keep: int) -> Any:
    def step(key: Any, _: Any) -> Any:
        parts = random.split(key)
        return parts[0], (random.normal(parts[1]), parts[keep])

    return lax.scan(step, key, None, length=3)


def branch(key: Any, x: Any) -> Any:
    return lax.cond(x > 0, splits_and_returns, lambda k: (0.0, *random.split(k)), key)


TRANSFORMS: dict[str, Callable[..., Any]] = {
    "jit": tj.jit,
    "jit of jit": lambda f: tj.jit(tj.jit(f)),
    "vmap": lambda f: lambda key: tj.tree.map(lambda y: y[0], tj.vmap(f)(random.split(key))),
    "checkpoint": tj.checkpoint,
    "jit of checkpoint": lambda f: tj.jit(tj.checkpoint(f)),
    "grad": lambda f: (
        lambda key: tj.grad(lambda x: (x * f(key)[0], f_keys(f, key)), has_aux=True)(1.0)
    ),
    "custom_jvp": lambda f: with_rule(f),
    "jit of custom_jvp": lambda f: tj.jit(with_rule(f)),
}


def f_keys(f: Any, key: Any) -> Any:
    return f(random.clone(key))[1:]


def with_rule(f: Any) -> Any:
    @tj.custom_jvp
    def ruled(x: Any, key: Any) -> Any:
        return x * f(key)[0], f(random.clone(key))[1:]

    @ruled.defjvp
    def rule(primals: Any, tangents: Any) -> Any:
        x, key = primals
        y, keys = f(key)[0], f(random.clone(key))[1:]
        return (x * y, keys), (
            tangents[0] * y,
            tj.tree.map(lambda k: np.zeros(k.shape, tj.dtypes.float0), keys),
        )

    return lambda key: tj.tree.leaves(ruled(1.0, key), is_leaf=is_key)


def is_key(x: Any) -> bool:
    return isinstance(x, KEY)


NAMES = [n for n in TRANSFORMS if n not in ("grad",) and "custom" not in n]


def reused(program: Callable[[Any], Any], seed: int) -> None:
    with pytest.raises(KeyReuseError, match="is used") as caught:
        program(random.key(seed))
    assert caught.value.at is not None and caught.value.at.file == __file__
    with tj.settings(check_keys=False):
        program(random.key(seed + 1))


@pytest.mark.parametrize("outer", [lambda f: f, tj.jit], ids=["plain", "traced"])
@pytest.mark.parametrize("name", NAMES)
def test_a_key_that_was_used_inside_comes_out(name: str, outer: Any) -> None:
    around = TRANSFORMS[name]
    for f in (draws_and_returns, splits_and_returns):
        reused(outer(lambda key, f=f: random.normal(around(f)(key)[1])), 10 + len(name))


@pytest.mark.parametrize("outer", [lambda f: f, tj.jit], ids=["plain", "traced"])
@pytest.mark.parametrize("name", NAMES)
def test_other_keys_that_come_out_are_good(name: str, outer: Any) -> None:
    around = TRANSFORMS[name]
    for _ in range(2):
        outer(lambda key: random.normal(around(splits_and_returns)(key)[2]))(random.key(3))
        outer(lambda key: random.normal(around(clones)(key)[1]))(random.key(4))


LOOPS: dict[str, Callable[[Any], Any]] = {
    "what steps gave": lambda k: tj.vmap(random.normal)(scanned(k, 1)[1][1]),
    "one of what steps gave": lambda k: random.normal(scanned(k, 1)[1][1][2]),
    "a branch": lambda k: random.normal(branch(k, 1.0)[1]),
    "a key that moves in the carry": lambda k: lax.scan(
        lambda c, _: ((c[1], c[0]), random.normal(c[0])), tuple(random.split(k)), None, length=3
    ),
    "a key that a step has used": lambda k: lax.scan(
        lambda c, _: splits_and_returns(c)[1::-1], k, None, length=3
    ),
    "a while loop's test": lambda k: lax.while_loop(
        lambda c: random.uniform(c[0]) + c[1] < 2, lambda c: (c[0], c[1] + 1), (k, 0.0)
    ),
    "in a vmap in a loop": lambda k: lax.scan(
        lambda c, _: (c, tj.vmap(lambda x: x * random.normal(k))(np.ones(2))), 0.0, None, length=2
    ),
    "after a branch that reads it": lambda k: (
        lax.cond(True, lambda: random.normal(k), lambda: 0.0),
        random.normal(k),
    ),
}  # fmt: skip


@pytest.mark.parametrize("outer", [lambda f: f, tj.jit], ids=["plain", "traced"])
@pytest.mark.parametrize("name", LOOPS)
def test_loops_and_branches(name: str, outer: Any) -> None:
    reused(outer(LOOPS[name]), 100 + len(name))


def test_loops_whose_keys_are_used_once() -> None:
    def swap(carry: Any, _: Any) -> Any:
        return (carry[1], carry[0]), random.normal(carry[0])

    for run in (lambda f: f, tj.jit):
        run(lambda k: lax.scan(swap, tuple(random.split(k)), None, length=2))(random.key(1))
        run(lambda k: lax.scan(lambda c, _: (c, random.normal(c)), k, None, length=1))(
            random.key(2)
        )
        run(
            lambda k: lax.cond(True, lambda: random.normal(k), lambda: random.uniform(k))
        )(random.key(3))  # fmt: skip
        run(lambda k: random.normal(scanned(k, 1)[0]))(random.key(4))


def test_statements_under_jit() -> None:
    jit = functools.partial(tj.jit, control_flow=True)

    @jit
    def either(key: Any, x: Any) -> Any:
        if x > 0:
            y = random.normal(key)
        else:
            y = random.uniform(key)
        return y, key

    _, key = either(random.key(1), 1.0)
    with pytest.raises(KeyReuseError):
        random.normal(key)

    @jit
    def over(key: Any, x: Any) -> Any:
        while x < 3:
            x = x + 1 + random.uniform(key)
        return x

    with pytest.raises(KeyReuseError, match="every step of a loop"):
        over(random.key(2), 0.0)

    @jit
    def good(key: Any, x: Any) -> Any:
        while x < 3:
            key, now = random.split(key)
            x = x + 1 + random.uniform(now)
        return x, key

    random.normal(good(random.key(3), 0.0)[1])


def test_parts_of_arrays_of_keys() -> None:
    @tj.jit
    def first(keys: Any) -> Any:
        return random.normal(keys[0]), keys

    _, keys = first(random.split(random.key(1), 3))
    random.normal(keys[1])
    with pytest.raises(KeyReuseError):
        random.normal(keys[0])

    @tj.jit
    def whole(key: Any) -> Any:
        keys = random.split(key, 3)
        return tj.vmap(random.normal)(keys), random.normal(keys[2])

    with pytest.raises(KeyReuseError):
        whole(random.key(2))

    @tj.jit
    def at(key: Any, i: Any) -> Any:
        keys = random.split(key, 3)
        return random.normal(keys[i]) + random.normal(keys[i])

    with pytest.raises(KeyReuseError):
        at(random.key(3), 1)

    @tj.jit
    def through(key: Any) -> Any:
        keys = random.split(key, 3)
        value, same = first(keys)
        return value + random.normal(same[0])

    with pytest.raises(KeyReuseError):
        through(random.key(4))


def test_what_is_only_traced_uses_nothing() -> None:
    outside = random.key(17)

    @tj.jit
    def f(key: Any) -> Any:
        return random.normal(key) + random.normal(outside)

    for seen in (f.lower, f.trace, f.eval_shape, f.stages, tj.make_jaxpr(f)):
        key = random.key(5)
        seen(key)
        random.normal(random.clone(outside))
    compiled = f.lower(key).compile()
    random.normal(random.clone(key))
    compiled(key)
    for used in (key, outside):
        with pytest.raises(KeyReuseError, match="is used again"):
            random.normal(used)


def test_a_key_from_outside_is_used_at_every_call() -> None:
    key = random.key(6)
    f = tj.jit(lambda x: x + random.normal(key))
    f(1.0)
    with pytest.raises(KeyReuseError, match=r"the key \[0, 6\] is used again"):
        f(2.0)
    again = tj.jit(lambda x: x + random.normal(random.clone(key)))
    assert float(again(1.0)) == float(again(1.0))


def test_rules_of_a_function_are_not_its_calls() -> None:
    """A custom rule is traced beside the function and draws the same numbers."""
    for name in ("custom_jvp", "jit of custom_jvp"):
        program = TRANSFORMS[name](splits_and_returns)
        value, used, good = program(random.key(8))
        random.normal(good)
        with pytest.raises(KeyReuseError):
            random.normal(used)


def test_derivatives_hand_keys_on() -> None:
    for run in (lambda f: f, tj.jit):
        _, (used, good) = run(TRANSFORMS["grad"](splits_and_returns))(random.key(9))
        random.normal(good)
        with pytest.raises(KeyReuseError):
            random.normal(used)
        good = run(lambda k: tj.jacfwd(lambda x: x * random.normal(k))(1.0))
        key = random.key(10)
        good(key)
        with pytest.raises(KeyReuseError):
            good(key)
