"""vmap: axes in and out, trees, sizes, and loops and branches whose predicates differ from example
to example.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax
from tracejit.errors import ArgumentError, ShapeError, TreeError
from tracejit.frontend.custom import custom_jvp, custom_vjp
from tracejit.frontend.remat import checkpoint

vmap = tj.vmap
A = np.arange(24.0).reshape(2, 3, 4)
B = np.linspace(-1, 2, 12).reshape(3, 4)


def close(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=1e-6, atol=1e-9)


def stack(f: Callable[..., Any], *columns: Any) -> np.ndarray:
    return np.stack([np.asarray(f(*row)) for row in zip(*columns, strict=True)])


# ---- axes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3])
def test_in_and_out_axes(axis: int) -> None:
    expected = stack(lambda a: a.sum(0) * 2, np.moveaxis(A, axis, 0))
    close(vmap(lambda a: a.sum(0) * 2, in_axes=axis)(A), expected)
    close(
        vmap(lambda a: a.sum(0) * 2, in_axes=(axis,), out_axes=-1)(A), np.moveaxis(expected, 0, -1)
    )
    close(vmap(lambda a: a * 2, in_axes=axis, out_axes=axis)(A), A * 2)


def test_axes_per_argument() -> None:
    close(vmap(lambda a, b: a @ b, in_axes=(1, 0), out_axes=1)(A, B), np.einsum("ijk,jk->ij", A, B))
    close(vmap(lambda a, b: a + b, in_axes=[0, None])(A, 1.0), A + 1)
    product, second = vmap(lambda a, b: (a * b, b), in_axes=(0, None), out_axes=(0, None))(A, 3.0)
    close(product, A * 3)
    close(second, 3)


def test_axes_as_trees_and_prefixes() -> None:
    found = vmap(
        lambda d, s: {"o": d["a"] + s, "k": d["b"]},
        in_axes=({"a": 0, "b": None}, None),
        out_axes={"o": 1, "k": None},
    )({"a": A, "b": A[0]}, 1.0)
    close(found["o"], np.moveaxis(A + 1, 0, 1))
    close(found["k"], A[0])
    close(vmap(lambda t: t[0] + t[1], in_axes=((0, 1),))((A, A.swapaxes(0, 1))), 2 * A)
    close(vmap(lambda d: d["a"] + d["b"][0])({"a": A, "b": (A,)}), 2 * A)
    close(vmap(lambda t, n: t)(A, None), A)


def test_keyword_arguments_are_mapped_over_axis_0() -> None:
    close(vmap(lambda a, b: a * b)(A, b=A), A * A)
    close(vmap(lambda a, *, b: a * b, in_axes=None)(2.0, b=A), 2 * A)


def test_sizes() -> None:
    close(vmap(lambda a: a * 2, in_axes=None, axis_size=3)(B), np.stack([B * 2] * 3))
    ones, zeros = vmap(lambda a: (1.0, a * 0))(A)
    assert ones.shape == (2,)
    close(zeros, 0 * A)
    assert vmap(lambda a: a.sum())(np.zeros((0, 3))).shape == (0,)
    assert vmap(lambda a: a)(np.zeros((1, 0))).shape == (1, 0)


def test_nested() -> None:
    close(vmap(vmap(lambda a: a.sum(), in_axes=1), in_axes=2)(A), A.sum(0).T)
    outer = vmap(lambda a: vmap(lambda b: a * b)(B[0]))(B[1])
    close(outer, np.outer(B[1], B[0]))
    inner_closure = vmap(lambda a: vmap(lambda b: jnp.dot(a, b) + a[0])(B))(B)
    close(inner_closure, B @ B.T + B[:, :1])


def test_errors() -> None:
    cases: list[tuple[type[Exception], Callable[[], Any]]] = [
        (ShapeError, lambda: vmap(lambda a, b: a)(A, B)),
        (ShapeError, lambda: vmap(lambda a: a)(1.0)),
        (ShapeError, lambda: vmap(lambda a: a, in_axes=3)(A)),
        (ShapeError, lambda: vmap(lambda a: a.sum(), out_axes=1)(A)),
        (ShapeError, lambda: vmap(lambda a: a, axis_size=5)(A)),
        (ArgumentError, lambda: vmap(lambda a: a, in_axes=None)(A)),
        (ArgumentError, lambda: vmap(lambda a: a, in_axes=(0, 0))(A)),
        (ArgumentError, lambda: vmap(lambda a: a, out_axes=None)(A)),
        (TreeError, lambda: vmap(lambda d: d["a"], in_axes=({"b": 0},))({"a": A})),
        (TreeError, lambda: vmap(lambda a: (a, a), out_axes=(0, 0, 0))(A)),
    ]
    for kind, call in cases:
        with pytest.raises(kind, match="vmap"):
            call()


# ---- loops and branches --------------------------------------------------------------------------


def test_cond_with_a_batched_predicate() -> None:
    def f(x: Any, y: Any) -> Any:
        return lax.cond(x > 0, lambda y: (y * x, y.sum()), lambda y: (jnp.sin(y), x), y)

    xs = B[:, 0]
    first, second = vmap(f)(xs, B)
    close(first, np.where(xs[:, None] > 0, B * xs[:, None], np.sin(B)))
    close(second, np.where(xs > 0, B.sum(1), xs))
    one, _ = vmap(f, in_axes=(0, None))(xs, B[0])
    close(one, np.where(xs[:, None] > 0, B[0] * xs[:, None], np.sin(B[0])))


def test_cond_with_one_predicate_and_batched_operands() -> None:
    def f(p: Any, y: Any) -> Any:
        return lax.cond(p, lambda y: (y * 2, 1.0), lambda y: (jnp.ones_like(y), 0.0), y)

    for p in (True, False):
        first, second = vmap(f, in_axes=(None, 0))(jnp.asarray(p), B)
        close(first, B * 2 if p else np.ones_like(B))
        close(second, np.full(3, float(p)))


def test_switch_clamps_each_index() -> None:
    def f(k: Any, x: Any) -> Any:
        return lax.switch(k, [lambda x: x, lambda x: x * 2, lambda x: x.sum() + 0 * x], x)

    close(vmap(f)(np.array([-1, 1, 7]), B), [B[0], B[1] * 2, np.full(4, B[2].sum())])


def test_scan() -> None:
    def f(c: Any, x: Any) -> Any:
        return lax.scan(lambda c, a: (c * 0.1 + a.sum(), (c, a * c)), c, x)

    for axes in ((None, 0), (0, None), (0, 0)):
        c = np.array([2.0, 3.0]) if axes[0] == 0 else 2.0
        x = A if axes[1] == 0 else A[0]
        carry, (first, second) = vmap(f, in_axes=axes)(c, x)
        for k in range(2):
            one = f(c[k] if axes[0] == 0 else c, A[k] if axes[1] == 0 else x)
            close(carry[k], one[0])
            close(first[k], one[1][0])
            close(second[k], one[1][1])


def test_scan_results_that_do_not_depend_on_the_batch() -> None:
    carry, steps = vmap(
        lambda x: lax.scan(lambda c, _: ((c[0] + 1, c[1] * x), c[0]), (0, 1.0), None, length=3)
    )(B[0])
    close(carry[1], B[0] ** 3)
    close(steps, np.tile(np.arange(3), (4, 1)))


def test_while_stops_per_example() -> None:
    def f(n: Any, x: Any) -> Any:
        return lax.while_loop(lambda s: s[0] < n, lambda s: (s[0] + 1, s[1] * x), (0, 1.0))

    counts, values = vmap(f)(np.array([0, 3, 5]), np.array([2.0, 2.0, 3.0]))
    close(counts, [0, 3, 5])
    close(values, [1, 8, 243])
    counts, values = vmap(f, in_axes=(None, 0))(2, np.array([0.0, 3.0]))
    close(counts, [2, 2])
    close(values, [0, 9])


def test_while_does_not_run_finished_examples_into_nan() -> None:
    def f(x: Any) -> Any:  # halves until below 1; going on would take the root of a negative number
        return lax.while_loop(lambda s: s >= 1, lambda s: jnp.sqrt(s - 1) / 2, x)

    xs = np.array([0.5, 1.5, 40.0])
    close(vmap(f)(xs), stack(f, xs))
    dxs = vmap(lambda x: tj.jvp(f, (x,), (1.0,))[1])(xs)
    close(dxs, [float(tj.jvp(f, (x,), (np.float64(1),))[1]) for x in xs])


def test_fori_with_batched_bounds() -> None:
    close(
        vmap(lambda n: lax.fori_loop(0, n, lambda k, c: c + k, 0))(np.array([0, 3, 5])), [0, 3, 10]
    )


def test_nested_loops_with_batched_predicates() -> None:
    def f(n: Any) -> Any:
        def outer(s: Any) -> Any:
            k, total = s
            inner = lax.while_loop(
                lambda t: t[0] < k, lambda t: (t[0] + 1, t[1] + t[0] * n), (0, total)
            )
            return k + 1, inner[1]

        return lax.while_loop(lambda s: s[0] < n, outer, (0, 0))[1]

    ns = np.array([0, 1, 4, 6])
    close(vmap(f)(ns), [sum(j * n for k in range(n) for j in range(k)) for n in ns])


# ---- with other transforms -----------------------------------------------------------------------


def test_jit_inside_and_outside() -> None:
    f = tj.jit(lambda x, y: jnp.tanh(x) @ y)
    expected = np.tanh(B) @ B[0]
    for g in (vmap(f, in_axes=(0, None)), tj.jit(vmap(f, in_axes=(0, None)))):
        close(g(B, B[0]), expected)


def test_closure_over_traced_values() -> None:
    def f(x: Any) -> Any:
        return jnp.sum(vmap(lambda a: a * x + jnp.dot(x, x))(x))

    def twin(x: Any) -> Any:
        return x.sum() ** 2 + x.size**2 * jnp.sum(x * x)

    x = B[0]
    for transform in (lambda f: f, tj.grad, tj.hessian, tj.jit, lambda f: tj.jit(tj.grad(f))):
        close(transform(f)(x), transform(twin)(x))


def test_per_example_gradients() -> None:
    def loss(w: Any, x: Any, y: Any) -> Any:
        return (jnp.tanh(x @ w) - y) ** 2

    w, y = np.array([0.1, 0.2, 0.3, 0.4]), np.array([1.0, 0.0, 1.0])
    found = vmap(tj.grad(loss), in_axes=(None, 0, 0))(w, B, y)
    close(found, stack(lambda x, y: tj.grad(loss)(w, x, y), B, y))
    close(found.sum(0), tj.grad(lambda w: vmap(loss, in_axes=(None, 0, 0))(w, B, y).sum())(w))


def test_custom_rules() -> None:
    @custom_jvp
    def f(x: Any, y: Any) -> Any:
        return x * y

    f.defjvp(lambda p, t: (f(*p), 10 * t[0] + 20 * t[1]))

    @custom_vjp
    def g(x: Any, y: Any) -> Any:
        return x * y

    g.defvjp(lambda x, y: (x * y, None), lambda _, ct: (10 * ct, 20 * ct))
    xs, ys = B[0], B[1]
    for h in (f, g):
        close(vmap(h)(xs, ys), xs * ys)
        for order in (
            lambda h: vmap(tj.grad(h, (0, 1))),
            lambda h: tj.grad(lambda *a: vmap(h)(*a).sum(), (0, 1)),
        ):
            dx, dy = order(h)(xs, ys)
            close(dx, np.full(4, 10))
            close(dy, np.full(4, 20))
        # an operand without a batch axis: its cotangents add up
        close(tj.grad(lambda y, h=h: vmap(h, in_axes=(0, None))(xs, y).sum())(2.0), 80)


def test_checkpoint() -> None:
    f = checkpoint(lambda x, y: jnp.sin(x * y))
    close(vmap(f, in_axes=(0, None))(B, 2.0), np.sin(2 * B))
    close(tj.grad(lambda y: vmap(f, in_axes=(0, None))(B, y).sum())(2.0), np.sum(B * np.cos(2 * B)))


def test_linear_algebra_of_derivatives() -> None:
    x = B[0]
    hvp = vmap(lambda v: tj.jvp(tj.grad(lambda x: jnp.sum(jnp.sin(x) * x[::-1])), (x,), (v,))[1])(
        np.eye(4)
    )
    close(hvp, tj.hessian(lambda x: jnp.sum(jnp.sin(x) * x[::-1]))(x))


def test_arguments_that_are_neither_mapped_nor_arrays_stay_what_they_are() -> None:
    x = np.arange(3.0)

    def sample(f: Any, x: Any, n: int, scale: float, options: dict[str, Any]) -> Any:
        assert type(n) is int and type(scale) is float
        return f(x) + jnp.zeros(n) * scale if options["add"] == "yes" else x

    mapped = tj.vmap(sample, in_axes=(None, 0, None, None, None))
    np.testing.assert_allclose(
        mapped(jnp.sin, x, 2, 0.5, {"add": "yes"}), np.stack([np.sin(x)] * 2, 1)
    )
    # 0.1 meets float64 as it is, not rounded to float32 before
    assert np.all(np.asarray(tj.vmap(lambda x, a: x * a, (0, None))(x, 0.1)) == x * 0.1)
    assert tj.vmap(lambda a: a * 2, in_axes=None, axis_size=2)(1.5).shape == (2,)
    with pytest.raises(ArgumentError, match="argument `f` of `sample` is not an array"):
        tj.vmap(sample, in_axes=(0, 0, None, None, None))(jnp.sin, x, 2, 0.5, {})
