"""Kernels of loops: what is written for which loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import optree

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax
from tracejit.kernel.nodes import Kernel, Loop, While
from tracejit.kernel.text import show
from tracejit.kernel.verify import verify
from tracejit.kernel.visit import statements

X = np.linspace(0.1, 2.0, 130, dtype=np.float32)


def kernel_of(f: Callable[..., Any], *args: Any) -> Kernel:
    (kernel,) = tj.jit(f).stages(*args).program.kernels
    return kernel


def body_of(f: Callable[..., Any], *args: Any) -> list[str]:
    return show(kernel_of(f, *args)).splitlines()[1:]


def test_an_average_that_follows_its_input() -> None:
    def f(x: Any) -> Any:
        return lax.scan(lambda c, x: ((c := 0.5 * c + x), c), x[0] * 0, x, reverse=True)

    assert body_of(f, np.tile(X, (40, 1))) == [
        "  par chunk in idiv(add(n0, 127), 128):",
        "    vec(16x8) i0 in mul(chunk, 128)..min(n0, add(mul(chunk, 128), 128)):",
        "      z0: f32 = mul(x0[0, i0], 0.0)",
        "      seq turn in steps:",
        "        step: i64 = sub(add(steps, -1), turn)",
        "        t1: f32 = add(mul(0.5, z0), x0[step, i0])",
        "        y1[step, i0] = t1",
        "        z0 = t1",
        "      y0[i0] = z0",
    ]


def test_a_loop_backward_inside_of_two_axes_has_names_of_its_own() -> None:
    def f(c: Any, x: Any) -> Any:
        return lax.scan(lambda c, x: (jnp.tanh(c + x[:, None]), c), c, x, reverse=True)

    kernel = kernel_of(f, np.ones((3, 4, 64), "f4"), np.ones((5, 3, 64), "f4"))
    verify(kernel)
    assert "par number in 12:" in show(kernel)


def test_a_number_needs_no_loop_around_time() -> None:
    f = lambda x: lax.fori_loop(0, 1000, lambda i, x: x + 1.0 / (1.0 + x * x), x)  # noqa: E731
    assert body_of(f, X[0]) == [
        "  t1: f32 = x0[]",
        "  z0: f32 = t1",
        "  seq step in steps:",
        "    t2: f32 = add(z0, div(1.0, add(1.0, mul(z0, z0))))",
        "    z0 = t2",
        "  y0[] = z0",
    ]


def test_each_point_stops_by_itself() -> None:
    def root(a: Any) -> Any:
        return lax.while_loop(lambda x: abs(x * x - a) > 0.001, lambda x: (x + a / x) / 2, a)

    assert body_of(tj.vmap(root), X[:64]) == [
        "  vec(16x4) i0 in n0:",
        "    z0: f32 = x0[i0]",
        "    t1: f32 = x0[i0]",
        "    while gt(abs(sub(mul(z0, z0), t1)), 0.0010000000474974513):",
        "      t2: f32 = mul(add(z0, div(t1, z0)), 0.5)",
        "      z0 = t2",
        "    y0[i0] = z0",
    ]


def test_what_all_points_share_is_counted_once() -> None:
    """A counter is tested by all points at once, and stored by the first of them."""

    def f(n: Any, x: Any) -> Any:
        step = lambda s: (s[0] + 1, 0.5 * s[1])  # noqa: E731
        return lax.while_loop(lambda s: s[0] < n, step, (0, x))

    text = "\n".join(body_of(f, 5, X))
    assert "while lt(z0, t" in text
    assert "y0[0] = z0 if eq(i0, 0)" in text


def test_a_long_condition_is_computed_at_the_end_of_a_step() -> None:
    def cond(x: Any) -> Any:
        for _ in range(6):
            x = jnp.sin(x) * x
        return x < 0.5

    f = lambda x: lax.while_loop(cond, lambda x: x + 0.25, x)  # noqa: E731
    kernel = kernel_of(tj.vmap(f), X)
    (loop,) = (s for s in statements(kernel.body) if isinstance(s, While))
    assert str(loop.cond) == "go"


def test_short_axes_are_joined_with_long_ones() -> None:
    """A row of three would leave most of a vector idle."""
    scale = np.array([0.5, 0.25, 2.0], np.float32)
    f = lambda x, scale: lax.fori_loop(0, 40, lambda i, x: jnp.sin(x * scale), x)  # noqa: E731
    kernel = kernel_of(f, X[:129].reshape(43, 3), scale)
    assert "irem(i0, 3)" in show(kernel)


def test_vectors_take_turns_as_registers_allow() -> None:
    """One carry: eight vectors at a time; ten carries: two."""

    def f(*xs: Any) -> Any:
        step = lambda _, xs: tuple(0.5 * x + y for x, y in zip(xs, xs[1:] + xs[:1], strict=True))  # noqa: E731
        return lax.fori_loop(0, 40, step, xs)

    def unroll(count: int) -> int:
        x = np.zeros(1000, np.float32)
        kernel = kernel_of(f, *[x + k for k in range(count)])
        return next(
            s.unroll for s in statements(kernel.body) if isinstance(s, Loop) and s.width > 1
        )

    assert [unroll(n) for n in (1, 3, 10)] == [8, 4, 2]


def test_what_an_inner_loop_begins_with_is_read_before_the_state_changes() -> None:
    """``tanh(b)`` is where the inner loop begins, and what a carry becomes."""

    def f(x: Any) -> Any:
        def outer(state: Any, _: Any) -> Any:
            a, b, c = state
            inner = lax.fori_loop(0, 3, lambda i, z: z * 0.5 + 0.1 * b, jnp.tanh(b))
            return (inner + 0.5 * a, jnp.sin(inner), jnp.tanh(b)), b

        return lax.scan(outer, (x, x + 1, x), None, length=20)

    assert len(tj.jit(f).stages(X).program.kernels) == 1
    for x in (X[3], X):
        for found, wanted in zip(
            optree.tree_leaves(tj.jit(f)(x)), optree.tree_leaves(f(x)), strict=True
        ):
            np.testing.assert_allclose(found, wanted, rtol=1e-4)
