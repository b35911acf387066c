"""Reverse mode through loops whose length is known only when they run."""

from __future__ import annotations

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax
from tracejit.ir import interp
from tracejit.ir.text import parse, show
from tracejit.ir.verify import verify
from tracejit.passes.rewind import rewind_loops
from tracejit.testing import check_grads
from tracejit.transform import PRIMS, rewind


def grow(x, factor):
    """x times factor until its sum passes 100; returns it and the number of steps."""
    return lax.while_loop(
        lambda c: jnp.sum(c[0]) < 100.0, lambda c: (c[0] * factor, c[1] + 1), (x, 0)
    )


def unrolled(x, factor):
    while float(jnp.sum(x)) < 100.0:
        x = x * factor
    return x


X = np.array([1.0, 2.0, 0.5])


def test_gradients_are_those_of_the_unrolled_loop() -> None:
    loop = tj.grad(lambda x, f: jnp.sum(grow(x, f)[0] ** 2), argnums=(0, 1))
    plain = tj.grad(lambda x, f: jnp.sum(unrolled(x, f) ** 2), argnums=(0, 1))
    for f in (loop, tj.jit(loop), tj.jit(loop, backend="numba")):
        for got, want in zip(f(X, 1.3), plain(X, 1.3), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-10)


def test_against_differences_and_forward_mode() -> None:
    check_grads(lambda x: jnp.sum(jnp.sin(grow(x, 1.5)[0])), (X,), modes=("fwd", "rev"))


def test_a_loop_that_does_not_run_is_the_identity() -> None:
    np.testing.assert_allclose(tj.grad(lambda x: jnp.sum(grow(x, 2.0)[0] * 3))(X + 100), [3.0] * 3)


def test_newton_iteration_and_fori_loop_with_traced_bounds() -> None:
    def root(a):
        return lax.while_loop(
            lambda c: jnp.abs(c * c - a) > 1e-12 * a, lambda c: 0.5 * (c + a / c), a
        )

    slope = tj.jit(tj.grad(root))(np.float64(2.0))
    np.testing.assert_allclose(slope, 0.5 / np.sqrt(2.0), rtol=1e-6)

    def power_slope(x, n):
        return tj.grad(lambda x: lax.fori_loop(0, n, lambda i, c: c * x, 1.0 * x))(x)

    power = tj.jit(power_slope)
    np.testing.assert_allclose(power(np.float64(1.5), 4), 5 * 1.5**4)


def test_examples_of_a_batch_stop_at_their_own_time() -> None:
    rows = np.random.default_rng(0).uniform(0.5, 9.0, (5, 3))
    gradient = tj.grad(lambda x, f: jnp.sum(grow(x, f)[0] ** 2), argnums=(0, 1))
    together = tj.jit(tj.vmap(gradient, in_axes=(0, None)))(rows, 1.7)
    for k, row in enumerate(rows):
        for got, want in zip(together, gradient(row, 1.7), strict=True):
            np.testing.assert_allclose(got[k], want, rtol=1e-10)


def test_with_cond_and_scan_inside() -> None:
    def loop(x, fold):
        def body(c):
            value, n = c
            value = lax.cond(value > 3, lambda v: 0.5 * v * x, lambda v: v * x + 1, value)
            return fold(value), n + 1

        return lax.while_loop(lambda c: (c[0] < 4) & (c[1] < 9), body, (x, 0))[0]

    def scanned(value):
        return lax.scan(lambda c, k: (c + 0.1 * jnp.sin(c * k), c), value, jnp.arange(1.0, 3.0))[0]

    for fold in (lambda v: v, scanned):
        slope = tj.jit(tj.grad(lambda x, fold=fold: loop(x, fold)))(np.float64(1.3))
        forward = tj.jacfwd(lambda x, fold=fold: loop(x, fold))(np.float64(1.3))
        np.testing.assert_allclose(slope, forward, rtol=1e-12)


def test_inside_scan_and_cond() -> None:
    def f(x):
        total, _ = lax.scan(lambda c, v: (c + jnp.sum(grow(v, 1.4)[0]), None), 0.0, x)
        return lax.cond(total > 0, lambda t: t * 2, lambda t: t, total)

    rows = np.stack([X, X * 2])
    eps = 1e-6
    found = tj.jit(tj.grad(f))(rows)
    for k in np.ndindex(rows.shape):
        step = np.zeros_like(rows)
        step[k] = eps
        want = (float(f(rows + step)) - float(f(rows - step))) / (2 * eps)
        np.testing.assert_allclose(found[k], want, rtol=1e-5)


def test_text_and_types() -> None:
    graph = tj.make_graph(tj.grad(lambda x: jnp.sum(grow(x, 1.5)[0])), X)
    verify(graph)
    assert parse(show(graph, full=True), PRIMS) == graph


def test_second_derivatives() -> None:
    loss = lambda x: jnp.sum(grow(x, 1.5)[0] ** 3)  # noqa: E731
    plain = lambda x: jnp.sum(unrolled(x, 1.5) ** 3)  # noqa: E731
    want = tj.jacrev(tj.grad(plain))(X)
    np.testing.assert_allclose(tj.hessian(loss)(X), want, rtol=1e-10)
    np.testing.assert_allclose(tj.jit(tj.jacrev(tj.grad(loss)))(X), want, rtol=1e-10)
    third = tj.grad(lambda x: jnp.sum(tj.grad(lambda x: jnp.sum(tj.grad(loss)(x)))(x)))(X)
    plain_third = tj.grad(lambda x: jnp.sum(tj.grad(lambda x: jnp.sum(tj.grad(plain)(x)))(x)))(X)
    np.testing.assert_allclose(third, plain_third, rtol=1e-9)


@pytest.mark.parametrize("steps", (0, 1, 2, 3, 4, 17, 64, 65, 200))
def test_walks_back_over_blocks(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of two steps and four levels: checkpoints are dropped and found again."""
    monkeypatch.setattr(rewind, "MOST_STEPS", 2)
    monkeypatch.setattr(rewind, "FEWEST_STEPS", 2)
    monkeypatch.setattr(rewind, "LEVELS", 4)

    def loss(x, w):
        def body(c):
            return c[0] + 1, jnp.sin(c[1] * w) + 0.1 * x

        return jnp.sum(lax.while_loop(lambda c: c[0] < steps, body, (0, x))[1])

    w = np.array([0.9, 1.1, 1.3])
    graph = tj.make_graph(tj.grad(loss, argnums=(0, 1)), X, w)
    want = interp.run(graph, [X, w])  # with a tape
    for found in (
        interp.run(rewind_loops(graph), [X, w]),
        tj.jit(tj.grad(loss, argnums=(0, 1)))(X, w),
    ):
        for got, expected in zip(found, want, strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-10)


def test_memory_does_not_grow_with_the_loop() -> None:
    """10,000 steps over 1,000 numbers: 80 MB of tape."""

    def loss(x, n):
        body = lambda i, c: jnp.sin(c)  # noqa: E731
        return jnp.sum(lax.fori_loop(0, n, body, x))

    x = np.linspace(0.1, 1, 1000)
    program = tj.jit(tj.grad(loss))
    assert program.stages(x, 10_000).plan.arena < 8 << 20
    want = tj.grad(lambda x: loss(x, 700))(x)  # known while tracing: a scan
    np.testing.assert_allclose(program(x, 700), want, rtol=1e-10)
