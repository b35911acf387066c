"""Branches: values, derivatives, batches and errors."""

from __future__ import annotations

import numpy as np
import pytest

from tracejit import grad, jit, jvp, lax, vmap
from tracejit import numpy as jnp
from tracejit.errors import ArgumentError, DTypeError, ShapeError, TreeError


def close(found, wanted):
    np.testing.assert_allclose(np.asarray(found), np.asarray(wanted), 1e-5, 1e-6)


def leaky(x):
    return lax.cond(x > 0, lambda x: x * x, lambda x: 0.1 * x, x)


def test_cond_values_and_derivatives():
    for wrap in (lambda f: f, jit):
        close(wrap(leaky)(3.0), 9)
        close(wrap(leaky)(-3.0), -0.3)
        close(wrap(grad(leaky))(3.0), 6)
        close(wrap(grad(leaky))(-3.0), 0.1)
        close(wrap(lambda x: jvp(leaky, (x,), (2.0,))[1])(3.0), 12)
        close(wrap(grad(grad(leaky)))(3.0), 2)


def test_cond_with_batched_and_unbatched_predicate():
    xs = np.array([-2.0, 1.0, 3.0], np.float32)
    close(vmap(leaky)(xs), [-0.2, 1, 9])
    close(vmap(grad(leaky))(xs), [0.1, 2, 6])
    close(grad(lambda xs: vmap(leaky)(xs).sum())(xs), [0.1, 2, 6])
    shared = vmap(lambda p, x: lax.cond(p, jnp.sin, jnp.cos, x), (None, 0))(True, xs)
    close(shared, np.sin(xs))


def test_only_the_chosen_branch_counts():
    """The branch not taken does not turn the gradient into nan."""

    def f(x):
        return lax.cond(x > 0, jnp.sqrt, lambda x: 0 * x, x)

    assert float(grad(f)(0.0)) == 0
    assert vmap(grad(f))(np.array([0.0, 4.0], np.float32)).tolist() == [0, 0.25]


def test_captured_values_are_operands():
    w = np.arange(100.0, dtype=np.float32)

    def f(p, x, c):
        return lax.cond(p, lambda: (x * w).sum() * c, lambda: (w * w * x).sum())

    for p, wanted in ((True, w.sum() * 2), (False, (w * w).sum())):
        close(f(p, 1.0, 2.0), wanted)
        close(jit(f)(p, 1.0, 2.0), wanted)
        close(grad(f, 1)(p, 3.0, 2.0), wanted)


def test_pytrees_in_and_out():
    found = lax.cond(
        False,
        lambda d: {"a": d["y"] * 2, "b": (1.0, None)},
        lambda d: {"a": d["y"], "b": (d["x"], None)},
        {"y": np.full(2, 5.0), "x": np.float64(2)},
    )
    assert found["a"].tolist() == [5, 5] and float(found["b"][0]) == 2


def test_weak_results_give_way():
    assert lax.cond(True, lambda: 1, lambda: np.float32(2)).dtype == np.float32
    assert lax.cond(True, lambda: 1, lambda: 2.5).dtype == np.float32
    assert lax.cond(2, lambda: 3, lambda: 4).dtype == np.int64  # a number as predicate


def test_switch():
    branches = [lambda x: x, lambda x: x * x, lambda x: -x]
    for index, wanted in ((0, 3), (1, 9), (2, -3), (7, -3), (-4, 3)):
        close(lax.switch(index, branches, 3.0), wanted)
        close(jit(lambda i, x: lax.switch(i, branches, x))(index, 3.0), wanted)
    close(vmap(lambda i: lax.switch(i, branches, 3.0))(np.array([0, 1, 2, 9])), [3, 9, -3, -3])
    close(vmap(lambda i: lax.switch(i, branches, 3.0))(np.array([0, 1, 2], np.uint8)), [3, 9, -3])
    close(grad(lambda x: lax.switch(1, branches, x))(3.0), 6)
    close(lax.switch(5, [jnp.sin], 1.0), np.sin(1))
    assert float(lax.switch(2**40, branches, 3.0)) == -3


def test_nested_branches():
    def f(x, y):
        return lax.cond(
            x > 0, lambda: lax.cond(y > 0, lambda: x * y, lambda: x - y), lambda: leaky(y) * x
        )

    for x, y, wanted in ((1.0, 2.0, 2), (1.0, -2.0, 3), (-2.0, 3.0, -18)):
        close(f(x, y), wanted)
        close(jit(f)(x, y), wanted)
    xs, ys = np.array([1, 1, -2], np.float32), np.array([2, -2, 3], np.float32)
    close(vmap(f)(xs, ys), [2, 3, -18])
    close(vmap(grad(f, 1))(xs, ys), [1, -1, -12])


def test_wrong_branches():
    f32, f64 = np.float32(1), np.float64(1)
    with pytest.raises(TreeError, match=r"different types at \['a'\]"):
        lax.cond(True, lambda: {"a": jnp.array(f32)}, lambda: {"a": jnp.array(f64)})
    with pytest.raises(TreeError, match="different structures"):
        lax.cond(True, lambda: (1, 2), lambda: 1)
    with pytest.raises(TreeError, match="different types"):
        lax.cond(True, lambda: np.ones(2), lambda: np.ones(3))
    with pytest.raises(ShapeError, match="predicate is a scalar"):
        lax.cond(np.ones(2), lambda: 1, lambda: 1)
    with pytest.raises(ArgumentError, match="true_fun is a int"):
        lax.cond(True, 1, lambda: 1)
    with pytest.raises(DTypeError, match="index is an integer"):
        lax.switch(1.5, [lambda: 1, lambda: 2])
    with pytest.raises(ArgumentError, match="at least one branch"):
        lax.switch(0, [])


def test_operand_keyword():
    close(lax.cond(True, lambda x: x + 1, lambda x: x, operand=1.0), 2)
    assert lax.cond(True, lambda _: 1.0, lambda _: 2.0, operand=None).tolist() == 1
    with pytest.raises(ArgumentError, match="not both"):
        lax.cond(True, lambda x: x, lambda x: x, 1.0, operand=1.0)


def test_platform_dependent():
    assert lax.platform_dependent(2.0, cpu=lambda x: x + 1, default=lambda x: x) == 3
    with pytest.raises(ArgumentError, match="no default"):
        lax.platform_dependent(2.0, cuda=lambda x: x)
