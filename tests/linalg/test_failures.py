"""Matrices without an inverse or factorisation: LinAlgError outside of jit, nan and inf inside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import errors, linalg

ZERO = np.zeros((2, 2))
ONE = np.eye(2)


@pytest.mark.parametrize(
    ("function", "matrix", "says"),
    [
        (jnp.linalg.inv, ZERO, "inv: the matrix is singular"),
        (lambda a: jnp.linalg.solve(a, np.ones(2)), ZERO, "solve: the matrix is singular"),
        (lambda a: jnp.linalg.matrix_power(a, -1), ZERO, "inv: the matrix is singular"),
        (jnp.linalg.tensorinv, np.zeros((2, 2, 4)), "tensorinv: the matrix is singular"),
        (lambda a: jnp.linalg.tensorsolve(a, np.ones(2)), ZERO, "tensorsolve: the matrix is"),
        (jnp.linalg.cholesky, -ONE, "cholesky: the matrix is not positive definite"),
        (linalg.cholesky, ZERO, "cholesky: the matrix is not positive definite"),
        (jnp.linalg.svd, ONE * np.nan, "svd: the matrix has no decomposition"),
        (jnp.linalg.eigh, np.full((2, 2), np.inf), "eigh: the matrix has no decomposition"),
        (jnp.linalg.eig, ONE * np.nan, "eig: the matrix has no decomposition"),
        (jnp.linalg.pinv, ONE * np.nan, "pinv: the matrix has no decomposition"),
        (linalg.schur, ONE * np.nan, "schur: the matrix has no decomposition"),
        (
            lambda a: linalg.tridiagonal_solve(a[0], a[0], a[0], np.ones((2, 1))),
            ZERO,
            "tridiagonal_solve: the matrix is singular",
        ),
    ],
)
def test_error_with_the_users_line(function: Any, matrix: Any, says: str) -> None:
    with pytest.raises(errors.LinAlgError, match=says) as caught:
        function(matrix)
    assert isinstance(caught.value, np.linalg.LinAlgError)
    assert caught.value.at is not None and caught.value.at.file == __file__


def test_error_says_which_matrix_of_the_stack() -> None:
    stack = np.stack([ONE, ZERO, ONE, ZERO])
    with pytest.raises(errors.LinAlgError, match="matrix 1 of the stack is singular") as caught:
        jnp.linalg.inv(stack)
    assert "1 more of 4 matrices" in str(caught.value)
    with pytest.raises(errors.LinAlgError, match=r"matrix \(0, 1\) of the stack"):
        jnp.linalg.cholesky(np.stack([ONE, -ONE])[None])


def test_error_inside_of_an_eager_gradient() -> None:
    with pytest.raises(errors.LinAlgError, match="inv: the matrix is singular"):
        tj.grad(lambda a: jnp.sum(jnp.linalg.inv(a)))(ZERO)


DECOMPOSITIONS: list[Callable[..., Any]] = [
    jnp.linalg.cholesky,
    jnp.linalg.inv,
    jnp.linalg.det,
    jnp.linalg.slogdet,
    jnp.linalg.qr,
    jnp.linalg.svd,
    jnp.linalg.svdvals,
    jnp.linalg.eigh,
    jnp.linalg.eigvalsh,
    jnp.linalg.eig,
    jnp.linalg.eigvals,
    jnp.linalg.pinv,
    linalg.lu,
    linalg.schur,
    linalg.hessenberg,
    linalg.tridiagonal,
    lambda a: linalg.qr(a, pivoting=True),
    lambda a: linalg.eig(a),
    linalg.geqrf,
]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("function", DECOMPOSITIONS)
def test_nan_and_inf_inside_of_jit(function: Any, bad: float) -> None:
    """Such a matrix gives no finite result, does not crash, and leaves the others of a stack."""
    stack = np.stack([np.full((3, 3), bad), np.diag([1.0, 2.0, 3.0])])
    found = [np.asarray(leaf) for leaf in tj.tree.leaves(tj.jit(function)(stack))]
    alone = [np.asarray(leaf) for leaf in tj.tree.leaves(tj.jit(function)(stack[1]))]
    if function is not jnp.linalg.slogdet:
        assert not all(np.isfinite(x[0]).all() and (x[0] >= 0).all() for x in found)
    for both, one in zip(found, alone, strict=True):
        np.testing.assert_allclose(both[1], one, atol=1e-14)


def test_failures_inside_of_jit() -> None:
    assert np.isnan(tj.jit(jnp.linalg.cholesky)(-ONE)).all()
    assert not np.isfinite(tj.jit(jnp.linalg.inv)(ZERO)).any()
    assert not np.isfinite(tj.jit(jnp.linalg.solve)(ZERO, np.ones(2))).any()
    found = tj.jit(jnp.linalg.inv)(np.stack([ZERO, 2 * ONE]))
    np.testing.assert_array_equal(found[1], ONE / 2)


def test_only_the_triangle_that_is_read_counts() -> None:
    below = np.array([[2.0, np.nan], [1.0, 2.0]])
    np.testing.assert_allclose(
        jnp.linalg.cholesky(below, symmetrize_input=False),
        np.linalg.cholesky([[2.0, 1.0], [1.0, 2.0]]),
    )
    np.testing.assert_allclose(jnp.linalg.eigh(below, "L", False)[0], [1.0, 3.0])
    np.testing.assert_allclose(jnp.linalg.eigvalsh(below.T, "U", symmetrize_input=False), [1, 3])
    with pytest.raises(errors.LinAlgError):
        jnp.linalg.cholesky(below)


#: the call, the error, and what it says
WRONG: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: jnp.linalg.inv(np.ones((2, 3))), errors.ShapeError, "takes square matrices"),
    (lambda: jnp.linalg.det(np.ones(3)), errors.ShapeError, "takes a matrix or a stack"),
    (lambda: jnp.linalg.inv(np.eye(2, dtype="float16")), errors.DTypeError, "no float16"),
    (lambda: jnp.linalg.eigh(jnp.eye(2, dtype="bfloat16")), errors.DTypeError, "no bfloat16"),
    (lambda: linalg.cholesky(np.eye(2, dtype=int)), errors.DTypeError, "not i64"),
    (lambda: linalg.lu(np.eye(2, dtype="float16")), errors.DTypeError, "not f16"),
    (lambda: linalg.qr(np.ones(2)), errors.ShapeError, "takes matrices"),
    (lambda: linalg.eigh(np.ones((2, 3))), errors.ShapeError, "takes square matrices"),
    (lambda: linalg.schur(ONE, sort_eig_vals=True), errors.ArgumentError, "not provided"),
    (lambda: linalg.svd(ONE, subset_by_index=(0, 3)), errors.ArgumentError, "does not lie"),
    (lambda: linalg.svd(ONE, subset_by_index=2), errors.ArgumentError, "is a pair"),
    (lambda: linalg.qdwh(np.ones((2, 3))), errors.ShapeError, "at least as many rows"),
    (lambda: linalg.triangular_solve(ONE, np.ones((2, 3))), errors.ShapeError, "do not fit"),
    (
        lambda: linalg.triangular_solve(ONE, np.ones((2, 2), "float32")),
        errors.DTypeError,
        "dtypes differ",
    ),
    (lambda: linalg.lu_solve(ONE, np.arange(2), np.ones(3)), errors.ShapeError, "do not fit"),
    (lambda: linalg.lu_solve(ONE, np.arange(2), np.ones(2), 3), errors.ArgumentError, "trans"),
    (lambda: linalg.householder_product(ONE, np.ones(3)), errors.ShapeError, "more factors"),
    (lambda: linalg.ormqr(ONE, np.ones(2), np.ones((3, 2))), errors.ShapeError, "do not fit"),
    (lambda: linalg.symmetric_product(ONE, np.ones(2)), errors.ShapeError, "do not fit"),
    (lambda: linalg.cholesky_update(ONE, np.ones(3)), errors.ShapeError, "do not fit"),
    (
        lambda: linalg.tridiagonal_solve(*[np.ones(2)] * 3, np.ones((3, 1))),
        errors.ShapeError,
        "do not fit",
    ),
    (lambda: linalg.tridiagonal_solve(*[np.ones(2)] * 3, np.ones(2)), errors.ShapeError, "stacks"),
    (lambda: jnp.linalg.solve(ONE, np.ones(3)), errors.ShapeError, "do not fit"),
    (lambda: jnp.linalg.solve(np.ones((2, 3)), np.ones(2)), errors.ShapeError, "square"),
    (
        lambda: jnp.linalg.solve(np.ones((2, 3, 3)), np.ones((4, 3, 3))),
        errors.ShapeError,
        "do not broadcast",
    ),
    (lambda: jnp.linalg.lstsq(ONE, np.ones(3)), errors.ShapeError, "do not fit"),
    (lambda: jnp.linalg.eigh(ONE, "X"), errors.ArgumentError, "UPLO"),
    (lambda: jnp.linalg.qr(ONE, "full"), errors.ArgumentError, "mode"),
    (lambda: jnp.linalg.slogdet(ONE, method="svd"), errors.ArgumentError, "method"),
    (lambda: jnp.linalg.norm(ONE, 3), errors.ArgumentError, "of matrices of the order 3"),
    (lambda: jnp.linalg.norm(ONE[0], "fro"), errors.ArgumentError, "of vectors of the order"),
    (lambda: jnp.linalg.norm(np.ones((2, 2, 2)), 1), errors.ShapeError, "one or two axes"),
    (lambda: jnp.linalg.norm(ONE, axis=2), errors.ShapeError, "no axis 2"),
    (lambda: jnp.linalg.norm(ONE, axis=(0, 0)), errors.ShapeError, "twice"),
    (lambda: jnp.linalg.matrix_norm(np.ones(2)), errors.ShapeError, "takes matrices"),
    (lambda: jnp.linalg.cond(np.ones((0, 0))), errors.LinAlgError, "empty"),
    (lambda: jnp.linalg.cond(ONE, 3), errors.ArgumentError, "order 3"),
    (lambda: jnp.linalg.cond(np.ones((2, 3)), 1), errors.ShapeError, "square"),
    (lambda: jnp.linalg.matrix_rank(ONE, 1.0, tol=1.0), errors.ArgumentError, "both"),
    (lambda: jnp.linalg.pinv(ONE, 1.0, rcond=1.0), errors.ArgumentError, "rcond"),
    (lambda: jnp.linalg.matrix_power(ONE, 1.5), errors.ArgumentError, "integer"),
    (lambda: jnp.linalg.matrix_power(np.ones((2, 3)), 2), errors.ShapeError, "square"),
    (lambda: jnp.linalg.multi_dot([ONE]), errors.ArgumentError, "at least two"),
    (lambda: jnp.linalg.multi_dot([ONE, ONE[0], ONE]), errors.ShapeError, "operand 2"),
    (lambda: jnp.linalg.multi_dot([ONE, np.ones((3, 2))]), errors.ShapeError, "do not fit"),
    (lambda: jnp.linalg.tensorinv(ONE, 0), errors.ArgumentError, "positive"),
    (lambda: jnp.linalg.tensorinv(np.ones((2, 3)), 1), errors.ShapeError, "have size 2"),
    (lambda: jnp.linalg.tensorsolve(np.ones((2, 3)), np.ones(2)), errors.ShapeError, "fit"),
    (lambda: jnp.linalg.cross(np.ones(2), np.ones(2)), errors.ShapeError, "3 components"),
    (lambda: jnp.linalg.outer(ONE, ONE), errors.ShapeError, "takes vectors"),
    (lambda: jnp.linalg.trace(np.ones(2)), errors.ShapeError, "takes matrices"),
    (lambda: jnp.linalg.diagonal(np.ones(2)), errors.ShapeError, "takes matrices"),
]


@pytest.mark.parametrize(("call", "error", "says"), WRONG)
def test_wrong_arguments(call: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says) as caught:
        call()
    at = caught.value.at  # type: ignore[attr-defined]
    assert at is not None and at.file == __file__
