"""custom_linear_solve and linear_call: nodes whose derivatives are nodes of the same kind."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax
from tracejit.errors import ArgumentError, DTypeError, GradError, TreeError
from tracejit.frontend.linear_call import linear_call
from tracejit.ir.text import parse
from tracejit.test_util import check_grads
from tracejit.transform import PRIMS

RNG = np.random.default_rng(3)
A = RNG.uniform(-0.5, 0.5, (3, 3)) + 4 * np.eye(3)
B = RNG.uniform(-1, 1, 3)
STACK_A = RNG.uniform(-0.5, 0.5, (4, 3, 3)) + 4 * np.eye(3)
STACK_B = RNG.uniform(-1, 1, (4, 3))


def richardson(matvec: Any, b: Any) -> Any:
    """A loop of unknown length, which has no derivative of its own worth having."""
    return lax.while_loop(
        lambda x: jnp.sum((b - matvec(x)) ** 2) > 1e-26,
        lambda x: x + (b - matvec(x)) / 5.0,
        jnp.zeros_like(b),
    )


def solved(a: Any, b: Any) -> Any:
    return lax.custom_linear_solve(lambda x: a @ x, b, richardson, richardson)


def test_solves_with_and_without_jit() -> None:
    want = np.linalg.solve(A, B)
    np.testing.assert_allclose(solved(A, B), want, rtol=1e-10)
    np.testing.assert_allclose(tj.jit(solved)(A, B), want, rtol=1e-10)


@pytest.mark.parametrize("wrap", (lambda f: f, tj.jit), ids=("eager", "jit"))
def test_has_derivatives_of_second_order_by_operator_and_right_side(wrap: Any) -> None:
    check_grads(wrap(solved), (A, B), order=2)


@pytest.mark.parametrize("axes", ((0, 0), (None, 0), (0, None)))
def test_vmap_solves_a_stack(axes: Any) -> None:
    a, b = (STACK_A if axes[0] == 0 else A), (STACK_B if axes[1] == 0 else B)
    mapped = tj.vmap(solved, in_axes=axes)
    each = [
        np.linalg.solve(a[k] if axes[0] == 0 else a, b[k] if axes[1] == 0 else b) for k in range(4)
    ]
    np.testing.assert_allclose(mapped(a, b), np.stack(each), rtol=1e-9)
    check_grads(mapped, (a, b), order=1)


def test_vmap_of_grad_is_a_stack_of_gradients() -> None:
    slope = tj.grad(lambda a, b: jnp.sum(jnp.sin(solved(a, b))))
    found = tj.vmap(slope, in_axes=(None, 0))(A, STACK_B)
    np.testing.assert_allclose(found, np.stack([slope(A, b) for b in STACK_B]), rtol=1e-9)


def test_pytrees_and_aux() -> None:
    def system(a: Any, c: Any) -> Any:
        def matvec(v: Any) -> Any:
            return {"x": a @ v["x"] + v["y"], "y": v["y"] * 2.0}

        def solve(_: Any, b: Any) -> Any:
            y = b["y"] / 2.0
            return {"x": richardson(lambda x: a @ x, b["x"] - y), "y": y}, jnp.sum(b["x"])

        def solve_transposed(_: Any, b: Any) -> Any:
            x = richardson(lambda x: a.T @ x, b["x"])
            return {"x": x, "y": (b["y"] - jnp.sum(x)) / 2.0}, None

        b = {"x": c, "y": 3 * c[:1]}
        return lax.custom_linear_solve(matvec, b, solve, solve_transposed, has_aux=True)

    x, aux = tj.jit(system)(A, B)
    np.testing.assert_allclose(A @ x["x"] + x["y"], B, rtol=1e-9)
    np.testing.assert_allclose(aux, B.sum())
    check_grads(lambda a, c: system(a, c)[0], (A, B), order=2)
    assert tj.grad(lambda c: system(A, c)[1])(B).tolist() == [0, 0, 0]  # aux is a constant


def test_a_symmetric_operator_needs_no_transposed_solver() -> None:
    def symmetric(a: Any, b: Any) -> Any:
        s = (a + a.T) / 2
        return lax.custom_linear_solve(lambda x: s @ x, b, richardson, symmetric=True)

    check_grads(symmetric, (A, B), order=2)


def test_the_transposed_solver_gets_the_transposed_product() -> None:
    seen = []

    def back(vecmat: Any, ct: Any) -> Any:
        seen.append(vecmat(ct))
        return richardson(vecmat, ct)

    def f(b: Any) -> Any:
        found = lax.custom_linear_solve(lambda x: jnp.asarray(A) @ x, b, richardson, back)
        return jnp.sum(found * jnp.array([1.0, 2.0, 3.0]))

    np.testing.assert_allclose(tj.grad(f)(B), np.linalg.solve(A.T, [1.0, 2.0, 3.0]), rtol=1e-9)
    assert seen


def test_without_a_transposed_solver_there_is_forward_mode_only() -> None:
    def f(a: Any) -> Any:
        return jnp.sum(lax.custom_linear_solve(lambda x: a @ x, B, richardson))

    _, slope = tj.jvp(f, (A,), (A,))
    np.testing.assert_allclose(slope, -np.linalg.solve(A, B).sum(), rtol=1e-9)
    with pytest.raises(GradError, match="without transpose_solve"):
        tj.grad(f)(A)


@pytest.mark.parametrize(
    ("solve", "options", "error"),
    (
        (lambda matvec, b: b[:2], {}, GradError),
        (lambda matvec, b: (b, b), {}, TreeError),
        (lambda matvec, b: b, {"has_aux": True}, ArgumentError),
    ),
    ids=("another shape", "another structure", "no pair"),
)
def test_solutions_are_checked(solve: Any, options: Any, error: Any) -> None:
    with pytest.raises(error, match="custom_linear_solve"):
        tj.jit(lambda a: lax.custom_linear_solve(lambda x: a @ x, B, solve, **options))(A)


def test_a_singular_equation_in_a_branch_not_taken_leaves_no_nan() -> None:
    def loss(a: Any, b: Any, t: Any) -> Any:
        x = lax.custom_linear_solve(
            lambda x: a @ x,
            b,
            lambda _, c: b / 0.0 * c,
            lambda _, c: jnp.full_like(c, jnp.nan),
        )
        return jnp.where(t > 0, jnp.sum(x), 0.0)

    assert tj.grad(loss, argnums=1)(0 * A, B, -1.0).tolist() == [0, 0, 0]


def test_the_text_of_a_node_reads_back() -> None:
    def both(a: Any, b: Any) -> Any:
        return scaled(b, lax.custom_linear_solve(lambda x: a @ x, b, lambda _, b: b / 4))

    text = _without_lines(str(tj.make_graph(both, A, B)))
    assert "vecmat=none" in text
    assert _without_lines(str(parse(text, PRIMS))) == text


def _without_lines(text: str) -> str:
    return re.sub(r" *#.*", "", text)


# ---- linear_call ---------------------------------------------------------------------------------


def scaled(w: Any, x: Any) -> Any:
    return linear_call(lambda w, x: jnp.sin(w) * x, lambda w, ct: jnp.sin(w) * ct, w, x)


def test_linear_call_has_derivatives_by_all_arguments() -> None:
    np.testing.assert_allclose(tj.jit(scaled)(B, B + 1), np.sin(B) * (B + 1))
    check_grads(scaled, (B, B + 1), order=2)
    check_grads(tj.vmap(scaled, in_axes=(0, None)), (STACK_B, B), order=2)


def test_linear_call_takes_the_transpose_that_is_given() -> None:
    def f(x: Any) -> Any:
        return jnp.sum(linear_call(lambda _, x: 2.0 * x, lambda _, ct: 5.0 * ct, (), x))

    assert tj.grad(f)(jnp.ones(2)).tolist() == [5.0, 5.0]


def test_linear_call_of_pytrees() -> None:
    def f(r: Any, x: Any) -> Any:
        return linear_call(
            lambda r, x: [r["a"] * x[0] + x[1]],
            lambda r, ct: (r["a"] * ct[0], ct[0]),
            {"a": r},
            (x, 2 * x),
        )

    check_grads(f, (B, B + 1), order=2)


def test_linear_call_wants_floating_arguments() -> None:
    with pytest.raises(DTypeError, match="linear"):
        tj.jit(lambda x: linear_call(lambda _, x: x, lambda _, x: x, (), x))(jnp.arange(3))
