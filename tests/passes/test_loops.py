"""Loops turned inside out: which ones are, why others are not, and that results stay the same."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

import tracejit as tj
import tracejit.numpy as jnp
from tests.fuzz.checks import check_graph, run_guarded, run_in_python
from tests.fuzz.graphs import random_arrays
from tests.passes.loop_graphs import random_loop
from tracejit import lax
from tracejit.ir import interp
from tracejit.ir.graph import Graph
from tracejit.passes.groups import Group
from tracejit.runtime.executable import compile_graph

RANDOMS = strategies.randoms(use_true_random=False, note_method_calls=False)


def same(found: list[np.ndarray], wanted: list[np.ndarray]) -> None:
    for got, want in zip(found, wanted, strict=True):
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(np.asarray(got, "f8"), np.asarray(want, "f8"))


def interpreted(graph: Graph, arrays: list[np.ndarray]) -> list[np.ndarray]:
    with np.errstate(all="ignore"):
        return interp.run(graph, arrays)


@hypothesis.settings(max_examples=40, deadline=None)
@hypothesis.given(RANDOMS)
def test_random_loops(rng: random.Random) -> None:
    graph = random_loop(rng)
    arrays = random_arrays(graph, rng.randrange(100))
    made = check_graph(graph, arrays, threads=1 + rng.randrange(2))
    groups = made.stages.groups
    assert not any(g.kind == "control" for g in groups.groups), str(groups)
    same(run_guarded(made, arrays), interpreted(graph, arrays))


@hypothesis.settings(max_examples=6, deadline=None)
@hypothesis.given(RANDOMS)
def test_random_loops_interpreted(rng: random.Random) -> None:
    graph = random_loop(rng)
    arrays = random_arrays(graph, 0)
    made = check_graph(graph, arrays)
    with np.errstate(all="ignore"):
        same(run_in_python(made, arrays), interpreted(graph, arrays))


@pytest.mark.parametrize("seed", (7, 17, 12))
def test_random_loops_under_numba(seed: int) -> None:
    graph = random_loop(random.Random(seed))
    arrays = random_arrays(graph, 0)
    made = compile_graph(graph, backend="numba", mode="default", threads=1)
    same(made.run(arrays), interpreted(graph, arrays))


# ---- what is recognised --------------------------------------------------------------------------


def run(f: Callable[..., Any], *args: Any) -> tuple[list[Group], list[np.ndarray]]:
    """The groups of ``f`` and its results, which are those of the interpreter."""
    jitted = tj.jit(f)
    stages = jitted.stages(*args)
    made = check_graph(stages.graph, [np.asarray(a) for a in args])
    return list(stages.groups.groups), run_guarded(made, [np.asarray(a) for a in args])


def kinds(f: Callable[..., Any], *args: Any) -> list[str]:
    return [group.kind for group in run(f, *args)[0]]


X = np.linspace(0.1, 2.0, 130, dtype=np.float32)


def test_a_point_of_several_values() -> None:
    """The last axis of the state is taken apart: its elements depend on each other."""

    def rotate(s: Any) -> Any:
        def step(_: Any, s: Any) -> Any:
            x, y = s[:, 0], s[:, 1]
            return jnp.stack([x - 0.1 * y, y + 0.1 * x], -1)

        return lax.fori_loop(0, 40, step, s)

    groups, _ = run(rotate, X.reshape(65, 2))
    assert [g.kind for g in groups] == ["loop"] and groups[0].space == (65,)
    assert run(rotate, X[:2].reshape(1, 2))[0][0].space == ()


def test_a_step_with_a_small_matrix() -> None:
    turn = np.array([[0.9, 0.1], [-0.1, 0.9]], np.float32)
    f = lambda x: lax.fori_loop(0, 40, lambda _, x: x @ turn, x)  # noqa: E731
    assert kinds(f, X.reshape(65, 2)) == ["loop"]


def test_branches_become_selects() -> None:
    def f(x: Any) -> Any:
        branches = [lambda s: s * 1.5, lambda s: s - 0.25, lambda s: -s]
        return lax.fori_loop(0, 40, lambda i, s: lax.switch(i % 3, branches, s), x)

    assert kinds(f, X) == ["loop"]
    assert kinds(f, X[3]) == ["loop"]


def test_loops_inside_a_step() -> None:
    def f(x: Any) -> Any:
        inner = lambda i, s: lax.fori_loop(0, i, lambda j, s: s * 0.5 + 0.25 * j, s)  # noqa: E731
        return lax.fori_loop(0, 9, inner, x)

    assert kinds(f, X) == ["loop"]
    assert kinds(f, X[3]) == ["loop"]


def test_a_while_of_each_point_inside_a_scan() -> None:
    def f(x: Any) -> Any:
        def step(c: Any, _: Any) -> Any:
            c = lax.while_loop(lambda c: c < 1.0, lambda c: 1.5 * c, c)
            return 0.25 * c, c

        return lax.scan(step, x, None, length=20)

    assert kinds(tj.vmap(f), X)[0] == "loop"


def test_points_stop_at_different_times() -> None:
    """Two nested vmaps: the condition is a reduction of a reduction."""

    def collatz(n: Any) -> Any:
        odd = lambda s: jnp.where(s[0] % 2 == 0, s[0] // 2, 3 * s[0] + 1)  # noqa: E731
        return lax.while_loop(lambda s: s[0] != 1, lambda s: (odd(s), s[1] + 1), (n, 0))[1]

    n = np.arange(1, 61)
    assert kinds(tj.vmap(collatz), n) == ["loop"]
    groups, (steps,) = run(tj.vmap(tj.vmap(collatz)), n.reshape(5, 12))
    assert [g.kind for g in groups] == ["loop"]
    assert steps.reshape(-1)[26] == 111


def test_nothing_moves_any_more() -> None:
    """A loop whose points come to rest looks at whether any still moves; one with an output for
    each step does not.
    """

    def f(x: Any) -> Any:
        grow = lambda _, x: jnp.where(x < 100, x * 2, x)  # noqa: E731
        return lax.fori_loop(0, 100, grow, x)

    (group,), (y,) = run(f, X)
    assert group.form is not None and group.form.moving is not None
    assert (y >= 100).all() and (y < 200).all()
    counting = lambda x: lax.fori_loop(0, 100, lambda i, x: jnp.where(x < i, x * 2, x), x)  # noqa: E731
    assert run(counting, X)[0][0].form.moving is None


def test_what_is_read_once_needs_no_buffer() -> None:
    """The first state and the slices are computed where they are read, also in a reversed scan."""

    def f(x: Any) -> Any:
        def step(c: Any, x: Any) -> Any:
            c = 0.5 * c + x
            return c, c * c

        return lax.scan(step, x[0] + 1, -x, reverse=True)[1]

    assert kinds(f, np.tile(X, (40, 1))) == ["loop"]


@pytest.mark.parametrize("shape", ((40, 16384), (7, 100_000)))
def test_long_rows(shape: tuple[int, int]) -> None:
    """Time outside, neighbours inside: what is moved exceeds what is computed."""

    def f(x: Any) -> Any:
        return lax.scan(lambda c, x: (0.5 * c + x, c), x[0], x, reverse=True)

    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    stages = tj.jit(f).stages(x)
    assert "scratch" in str(stages.kernels[0]) and len(stages.kernels) == 1
    c = x[0]
    carry, ys = tj.jit(f)(x)
    for k in reversed(range(shape[0])):
        np.testing.assert_array_equal(np.asarray(ys[k]), c)
        c = np.float32(0.5) * c + x[k]
    np.testing.assert_array_equal(np.asarray(carry), c)


def test_a_loop_that_carries_nothing_runs_all_steps_at_once() -> None:
    """``lax.map``: its steps are an axis of the space, also with a while in each."""

    def root(a: Any) -> Any:
        return lax.while_loop(lambda x: abs(x * x - a) > 1e-5 * a, lambda x: (x + a / x) / 2, a)

    groups, _ = run(lambda x: lax.map(root, x), X)
    assert [g.kind for g in groups] == ["loop"] and groups[0].space == (130,)
    groups, _ = run(lambda x: lax.map(lambda row: 2 * row + row[::-1], x), X.reshape(10, 13))
    assert [g.kind for g in groups] == ["loop"] and groups[0].space == (10, 13)


def test_another_length_has_the_same_kernel() -> None:
    def f(n: int) -> Any:
        return lambda x: lax.scan(lambda c, _: (c * 0.5 + 1, c), x, None, length=n)

    first, second = (tj.jit(f(n)).stages(X).program.kernels for n in (40, 70))
    assert first == second


@pytest.mark.parametrize("wrt", (0, (0, 1)))
def test_gradients_are_loops(wrt: Any) -> None:
    """What all points share gets a sum: it is taken after the loop."""

    def loss(p: Any, x: Any) -> Any:
        def step(c: Any, _: Any) -> Any:
            position, speed = c
            speed = speed - 0.01 * (p[0] * position + p[1] * speed)
            return (position + 0.01 * speed, speed), position

        return (lax.scan(step, (x, x * 0), None, length=50)[1] ** 2).sum()

    grad = tj.grad(loss, argnums=wrt)
    found = kinds(grad, np.array([1.0, 0.1], np.float32), X)
    assert found.count("loop") == 2 and "control" not in found


# ---- why others are not --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "f,reason",
    (
        (lambda _, x: x + jnp.roll(x, 1), "carry 0 is read elsewhere"),
        (lambda _, x: x / x.sum(), "`reduce_sum` mixes the elements of a step"),
        (lambda _, x: jnp.sort(x), "mixes the elements of a step"),
        (lambda _, x: jnp.ones((130, 130), "float32") @ x, "mixes the elements of a step"),
    ),
)
def test_reasons(f: Any, reason: str) -> None:
    stages = tj.jit(lambda x: lax.fori_loop(0, 40, f, x)).stages(X)
    (group,) = (g for g in stages.groups.groups if g.kind == "control")
    assert reason in group.reason
    assert f"not one kernel: {group.reason}" in str(stages.groups)


def test_points_that_go_on_changing() -> None:
    """Such a while is no loop of each point: those that are done change with the others."""
    f = lambda x: lax.while_loop(lambda x: (x < 100).any(), lambda x: 2 * x, x)  # noqa: E731
    groups, (y,) = run(f, X)
    assert "goes on changing" in next(g.reason for g in groups if g.kind == "control")
    np.testing.assert_array_equal(y, X * 1024)


def test_an_index_out_of_bounds_is_found() -> None:
    table = np.arange(5.0, dtype=np.float32)

    def f(x: Any, start: Any) -> Any:
        return lax.fori_loop(0, 4, lambda i, x: x + jnp.asarray(table)[i + start], x)

    jitted = tj.jit(f)
    assert [g.kind for g in jitted.stages(X, 1).groups.groups] == ["loop"]
    np.testing.assert_array_equal(np.asarray(jitted(X, 1)), X + 1 + 2 + 3 + 4)
    with pytest.raises(IndexError):
        np.asarray(jitted(X, 2))


def test_a_step_that_grows_under_guards_is_left_alone() -> None:
    """Each roll doubles what is read: read to the end, twelve of them would take minutes."""

    def step(c: Any, _: Any) -> Any:
        for _ in range(12):
            c = (jnp.roll(c, 1, 0) + jnp.roll(c, -1, 1)) * 0.5
        return c, None

    groups = str(
        tj.jit(lambda x: lax.scan(step, x, None, length=3)[0]).stages(np.ones((20, 20))).groups
    )
    assert "a step is too large for one kernel" in groups or "not one kernel" in groups
