"""Carries and results updated in place: what shares memory, and that values stay right."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import tracejit as tj
import tracejit.lax as lax
import tracejit.numpy as jnp
from tests.fuzz.simulate import check_values
from tracejit.passes.donate import reused
from tracejit.passes.place import Copy, Plan, ScanLoop, Step, WhileLoop

F32 = np.float32


def all_steps(steps: tuple[Step, ...]) -> list[Step]:
    found: list[Step] = []
    for step in steps:
        found.append(step)
        if isinstance(step, ScanLoop):
            found += all_steps(step.body)
        if isinstance(step, WhileLoop):
            found += all_steps((*step.cond, *step.body))
    return found


def copied(plan: Plan) -> int:
    """Bytes of the plan's copies that are not of scalars."""
    return sum(s.nbytes for s in all_steps(plan.steps) if isinstance(s, Copy) and s.nbytes > 64)


def check(fun: Callable[..., Any], *args: Any, copies: int | None = None) -> None:
    """The compiled function agrees with the one run op by op; bytes copied are as said."""
    before = [np.array(a) for a in args]
    found, expected = tj.jit(fun)(*args), fun(*map(jnp.asarray, args))
    for a, b in zip(tj.tree.leaves(found), tj.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-5, atol=1e-5)
    for a, b in zip(args, before, strict=True):
        np.testing.assert_array_equal(a, b)
    if copies is not None:
        assert copied(tj.jit(fun).stages(*args).plan) == copies


X = np.arange(60, dtype=F32).reshape(6, 10)


def test_rows_are_set_in_place() -> None:
    def fill(x: Any) -> Any:
        return lax.fori_loop(0, 6, lambda i, x: x.at[i].set(x[i - 1] + 1), x)

    check(fill, X, copies=X.nbytes)  # the argument, which is not ours, once


def test_a_row_read_after_the_update_needs_the_old_value_elsewhere() -> None:
    def shift(x: Any) -> Any:
        def step(i: Any, state: Any) -> Any:
            x, total = state
            new = x.at[i].set(0.0)
            return new, total + x[i].sum() * new[i - 1].sum() + x.sum()

        return lax.fori_loop(0, 6, step, (x, jnp.float32(0)))

    check(shift, X)


def test_two_updates_in_a_row_share_memory() -> None:
    def twice(x: Any) -> Any:
        return lax.fori_loop(0, 5, lambda i, x: x.at[i].add(1.0).at[i + 1].mul(2.0), x * 2)

    check(twice, X, copies=0)  # x * 2 is made where the result will be


def test_the_old_and_the_new_carry_are_both_wanted() -> None:
    def both(x: Any) -> Any:
        return lax.fori_loop(0, 3, lambda i, s: (s[0].at[i].set(7.0), s[0]), (x, x))

    check(both, X)


def test_carries_change_places() -> None:
    def swap(x: Any) -> Any:
        return lax.fori_loop(0, 3, lambda i, s: (s[1].at[i].set(7.0), s[0].at[i].set(8.0)), (x, -x))

    check(swap, X)


def test_an_update_reads_its_operand() -> None:
    check(lambda x: lax.fori_loop(0, 3, lambda i, x: x.at[i].set(x.sum(0)), x), X)
    check(lambda x: lax.fori_loop(0, 3, lambda i, x: x.at[::2].set(x[1::2] + i), x), X)
    check(lambda x: lax.fori_loop(0, 3, lambda i, x: x.at[x[:, 0].astype(int) % 6].set(x), x), X)


def test_loops_in_loops_update_one_matrix() -> None:
    def run(x: Any) -> Any:
        def inner(j: Any, state: Any) -> Any:
            i, x = state
            return i, x.at[i, j].set(x[j % 6, i] + 1.0)

        return lax.fori_loop(0, 6, lambda i, x: lax.fori_loop(0, 10, inner, (i, x))[1], x)

    check(run, X)


def test_slices_are_updated_in_place() -> None:
    def run(cache: Any, rows: Any) -> Any:
        def step(cache: Any, given: Any) -> Any:
            i, row = given
            cache = lax.dynamic_update_slice(cache, row[None], (i, 0))
            return cache, cache.sum()

        return lax.scan(step, cache, (jnp.arange(6), rows))

    check(run, np.zeros((6, 10), F32), X, copies=X.nbytes)


def test_a_dying_value_is_updated_in_place() -> None:
    check(lambda x: (x * 2).at[jnp.array([1, 3])].set(5.0), X, copies=0)
    check(lambda x: jnp.sin((x * 2).at[jnp.array([1, 3])].set(5.0)), X, copies=0)
    check(lambda x: (x.at[jnp.array([1])].set(5.0), x + 1), X, copies=X.nbytes)


@pytest.mark.parametrize("length", [3, 4])
def test_results_hold_the_last_carry(length: int) -> None:
    def run(x: Any) -> Any:
        return lax.fori_loop(0, length, lambda i, x: x[::-1] + x[:, ::-1], x)

    check(run, X, copies=X.nbytes * 2)


def test_while_loops() -> None:
    def run(x: Any) -> Any:
        def step(state: Any) -> Any:
            i, x = state
            return i + 1, x.at[i].set(x[(i + 1) % 6] * 2)

        return lax.while_loop(lambda s: (s[0] < 5) & (s[1][0, 0] < 1e6), step, (0, x))

    check(run, X)


def test_loops_that_share_a_body_do_not_share_memory() -> None:
    @tj.jit
    def once(x: Any) -> Any:
        return lax.fori_loop(0, 3, lambda i, x: x.at[i].add(1.0).at[i + 1].mul(2.0), x)

    def run(a: Any, b: Any) -> Any:
        y, z = once(a), once(b)
        return y, z, once(y + z) + y

    check(run, X, X[::-1] + 5)


ACTIONS = ("set", "add", "map", "read", "shift", "swap", "slice", "loop", "branch")


def step_of(actions: list[str], i: Any, state: Any, depth: int) -> Any:
    """A random step on two matrices and a sum."""
    a, b, total = state
    for k, action in enumerate(actions):
        if action == "set":
            a = a.at[(i + k) % 4].set(b[k % 4] * 0.5)
        elif action == "add":
            b = b.at[:, k % 3].add(a[:, (i + k) % 3])
        elif action == "map":
            a = a * 0.5 + 1
        elif action == "read":
            total = total + a[i % 4].sum() - b[0, k % 3]
        elif action == "shift":
            a = 0.5 * (a[::-1] + b)
        elif action == "swap":
            a, b = b, a
        elif action == "slice":
            b = lax.dynamic_update_slice(b, a[1:2, :2], (i % 4, 1))
        elif action == "loop" and depth:
            inner = [x for x in actions if x != "loop"]
            a, b, total = lax.fori_loop(
                0, 2 + k % 2, lambda j, s, inner=inner: step_of(inner, j + i, s, 0), (a, b, total)
            )
        elif action == "branch":
            a = lax.cond(total > 1, lambda a, b: a.at[1].set(b[2]), lambda a, b: a, a, b)
    return a, b, total


@settings(max_examples=60, deadline=None)
@example(["set", "loop", "shift"], 2)
@given(st.lists(st.sampled_from(ACTIONS), min_size=1, max_size=6), st.integers(0, 4))
def test_random_loops(actions: list[str], length: int) -> None:
    def run(a: Any, b: Any) -> Any:
        start = (a, b, jnp.float32(0))
        once = tj.jit(
            lambda *start: lax.fori_loop(0, length, lambda i, s: step_of(actions, i, s, 1), start)
        )
        first = once(*start)
        return first, once(b, a, first[2]), a.sum() + b.sum()

    rng = np.random.default_rng(len(actions))
    arrays = rng.standard_normal((2, 4, 3)).astype(F32)
    check(run, *arrays)
    stages = tj.jit(run).stages(*arrays)
    for donated in ((), (0, 1)):
        pairs = reused(stages.plan, frozenset(donated))
        check_values(stages.partition, stages.program, pairs, Random(length).randrange)


def test_large_copies_are_shared_among_threads() -> None:
    x = np.arange(3 * 400_001, dtype=F32).reshape(3, -1)
    check(lambda x: x.at[jnp.array([1])].set(5.0), x, copies=x.nbytes)
