"""cg, bicgstab, gmres: pytrees, restarts, stopping, errors; values are cases of the vocabulary."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit.errors import ArgumentError, ShapeError, TreeError
from tracejit.scipy.sparse.linalg import bicgstab, cg, gmres
from tracejit.test_util import check_grads

RNG = np.random.default_rng(2)
A = RNG.uniform(-1, 1, (6, 6)) + 4 * np.eye(6)
SPD = A @ A.T
B = RNG.uniform(-1, 1, 6)
SOLVERS = ((cg, SPD), (bicgstab, A), (gmres, A))


@pytest.mark.parametrize(("solver", "a"), SOLVERS)
def test_pytrees(solver: Any, a: Any) -> None:
    def product(v: Any) -> Any:
        return {"x": 2 * v["x"], "y": 3 * v["y"]}

    b = {"x": np.ones(3), "y": np.ones((2, 2))}
    x, info = tj.jit(lambda b: solver(product, b, tol=1e-10))(b)
    assert info is None
    np.testing.assert_allclose(x["x"], 0.5)
    np.testing.assert_allclose(x["y"], 1 / 3)


@pytest.mark.parametrize(("solver", "a"), SOLVERS)
def test_derivatives_of_second_order(solver: Any, a: Any) -> None:
    def solved(a: Any, b: Any) -> Any:
        matrix = (a + a.T) / 2 if solver is cg else a
        return solver(lambda v: matrix @ v, b, tol=1e-13)[0]

    check_grads(solved, (a, B), order=2, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("solver", "a"), SOLVERS)
def test_a_zero_right_hand_side_is_solved_by_zero(solver: Any, a: Any) -> None:
    x, _ = solver(a, np.zeros(6), x0=np.ones(6))
    assert np.asarray(x).tolist() == [0.0] * 6


def test_restarts() -> None:
    x, _ = gmres(A, B, tol=1e-10, restart=2, maxiter=200)
    np.testing.assert_allclose(A @ x, B, atol=1e-8)


def test_maxiter_bounds_the_work() -> None:
    x, _ = cg(SPD, B, tol=1e-12, maxiter=1)
    assert np.abs(SPD @ x - B).max() > 1e-3


def test_a_preconditioner_takes_fewer_rounds() -> None:
    d = np.arange(1.0, 7.0) ** 4
    with_it, _ = cg(np.diag(d), B, tol=1e-10, maxiter=1, M=np.diag(1 / d))
    np.testing.assert_allclose(with_it, B / d)


def test_a_large_atol_ends_at_once() -> None:
    x, _ = cg(SPD, B, x0=np.ones(6), atol=1e9)
    assert np.asarray(x).tolist() == [1.0] * 6


@pytest.mark.parametrize(
    ("call", "error"),
    (
        (lambda: cg(np.ones((2, 3)), B), ShapeError),
        (lambda: cg(SPD, B, x0=np.ones(3)), ShapeError),
        (lambda: cg(SPD, B, x0={"a": B}), TreeError),
        (lambda: gmres(A, B, solve_method="both"), ArgumentError),
        (lambda: bicgstab(A, B, maxiter=2.5), ArgumentError),
        (lambda: cg(lambda x: x, []), ArgumentError),
    ),
    ids=("not square", "x0 shape", "x0 tree", "method", "maxiter", "empty"),
)
def test_wrong_arguments(call: Any, error: Any) -> None:
    with pytest.raises(error):
        call()


def test_the_product_keeps_the_shape() -> None:
    with pytest.raises((ShapeError, tj.errors.GradError)):
        tj.jit(lambda b: cg(lambda x: x[:2], b)[0])(jnp.asarray(B))
