"""Derivatives that the generated cases do not reach: of second order, of functions of vectors that
are known up to a phase, of degenerate and singular matrices, and under other transforms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import linalg
from tracejit.errors import TracejitError
from tracejit.test_util import check_grads

la = jnp.linalg


def draw(*shape: int, complex: bool) -> np.ndarray:
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape)
    return x + 1j * rng.normal(size=shape) if complex else x


def matrix(complex: bool) -> np.ndarray:
    return draw(3, 3, complex=complex) + 2 * np.eye(3)


def tall(complex: bool) -> np.ndarray:
    return draw(4, 3, complex=complex)


def adjoint(x: Any) -> Any:
    return jnp.conj(jnp.swapaxes(x, -1, -2))


def projector(v: Any) -> Any:
    return v @ adjoint(v)


def rebuilt(usv: Any) -> Any:
    """A function of the singular vectors and values that no phase changes."""
    u, s, vh = usv
    return (u[:, : len(s)] * jnp.sqrt(s)) @ vh[: len(s)]


def spectral(wv: Any) -> Any:
    return (wv[1] * jnp.exp(wv[0])) @ adjoint(wv[1])


#: name, function, and what makes its operand: with "wide", the transpose of a tall matrix
FUNCTIONS: list[tuple[str, Any, Any]] = [
    ("cholesky", lambda x: la.cholesky(x @ adjoint(x) + jnp.eye(3)), matrix),
    ("lower triangle", lambda x: la.cholesky(x, symmetrize_input=False), "definite"),
    ("upper triangle", lambda x: la.cholesky(x, upper=True, symmetrize_input=False), "definite"),
    ("inv", la.inv, matrix),
    ("solve", lambda x: la.solve(x, jnp.sin(x)), matrix),
    ("det", la.det, matrix),
    ("slogdet", la.slogdet, matrix),
    ("lu", lambda x: linalg.lu(x)[0], matrix),
    ("lu tall", lambda x: linalg.lu(x)[0], tall),
    ("lu wide", lambda x: linalg.lu(x)[0], "wide"),
    ("qr", la.qr, matrix),
    ("qr tall", la.qr, tall),
    ("qr wide", la.qr, "wide"),
    ("qr complete", lambda x: projector(la.qr(x, "complete")[0][:, 3:]), tall),
    ("qr pivoting", lambda x: linalg.qr(x, pivoting=True, full_matrices=False)[:2], tall),
    ("svdvals", la.svdvals, tall),
    ("svd", lambda x: rebuilt(la.svd(x, full_matrices=False)), matrix),
    ("svd tall", lambda x: rebuilt(la.svd(x, full_matrices=False)), tall),
    ("svd wide", lambda x: rebuilt(la.svd(x, full_matrices=False)), "wide"),
    ("svd U", lambda x: projector(la.svd(x, full_matrices=False)[0][:, :2]), tall),
    ("svd V", lambda x: projector(adjoint(la.svd(x, full_matrices=False)[2])[:, :2]), "wide"),
    ("svd full U", lambda x: projector(la.svd(x)[0][:, 3:]), tall),
    ("svd full V", lambda x: projector(adjoint(la.svd(x)[2])[:, 3:]), "wide"),
    ("svd hermitian", lambda x: rebuilt(la.svd(x + adjoint(x), hermitian=True)), matrix),
    ("eigh", lambda x: spectral(la.eigh(x)), matrix),
    ("eigh upper", lambda x: projector(la.eigh(x, "U", False)[1][:, :1]), matrix),
    ("eigvalsh", la.eigvalsh, matrix),
    ("eig", la.eig, matrix),
    ("eig left", linalg.eig, matrix),
    ("eigvals", la.eigvals, matrix),
    ("pinv", la.pinv, tall),
    ("pinv wide", la.pinv, "wide"),
    ("lstsq", lambda x: la.lstsq(x, jnp.cos(x))[:2], tall),
    ("matrix_power", lambda x: la.matrix_power(x, -2), matrix),
    ("householder_product", lambda x: linalg.householder_product(x, x[0]), tall),
    ("lu_solve", lambda x: linalg.lu_solve(x, jnp.array([2, 0, 1]), x, 2), matrix),
    ("tridiagonal_solve", lambda x: linalg.tridiagonal_solve(x[0], x[1] + 9, x[2], x), matrix),
    ("nuclear norm", lambda x: la.norm(x, "nuc"), tall),
    ("cond", lambda x: la.cond(x, 1), matrix),
]


@pytest.mark.parametrize("complex", [False, True])
@pytest.mark.parametrize(("name", "function", "make"), FUNCTIONS, ids=[f[0] for f in FUNCTIONS])
def test_second_order(name: str, function: Any, make: Any, complex: bool) -> None:
    if make == "definite":
        a = matrix(complex)
        x = a @ a.conj().T + np.eye(3)
    else:
        x = tall(complex).T if make == "wide" else make(complex)
    check_grads(function, (x,), 2)


def test_under_transforms() -> None:
    a = np.stack([matrix(False) + k * np.eye(3) for k in range(2)])

    def loss(x: Any) -> Any:
        return jnp.sum(tj.vmap(tj.jit(lambda m: jnp.sin(la.inv(m))))(x))

    wanted = np.stack([tj.grad(lambda m: jnp.sum(jnp.sin(la.inv(m))))(m) for m in a])
    np.testing.assert_allclose(tj.grad(loss)(a), wanted, rtol=1e-12)
    np.testing.assert_allclose(tj.jit(tj.grad(loss))(a), wanted, rtol=1e-12)
    each = tj.jit(tj.vmap(tj.grad(lambda m: jnp.sum(jnp.sin(la.inv(m))))))(a)
    np.testing.assert_allclose(each, wanted, rtol=1e-12)
    hessian = tj.hessian(lambda m: la.slogdet(m).logabsdet)(a[0])
    inverse = np.linalg.inv(a[0])
    np.testing.assert_allclose(hessian, -np.einsum("li,jk->ijkl", inverse, inverse), rtol=1e-10)


def test_results_are_trees() -> None:
    found = tj.jit(lambda a: (la.svd(a), la.qr(a), la.eigh(a), la.eig(a), la.slogdet(a)))(np.eye(2))
    assert [type(x).__name__ for x in found] == [
        *("SVDResult", "QRResult", "EighResult", "EigResult", "SlogdetResult")
    ]
    np.testing.assert_array_equal(found[0].S, [1, 1])


@pytest.mark.parametrize("rank", [0, 1, 2, 3])
def test_gradient_of_det_is_the_cofactors(rank: int) -> None:
    x = draw(3, rank, complex=False) @ draw(rank, 3, complex=False)
    minors = [
        [(-1) ** (i + j) * np.linalg.det(np.delete(np.delete(x, i, 0), j, 1)) for j in range(3)]
        for i in range(3)
    ]
    np.testing.assert_allclose(tj.grad(la.det)(x), minors, atol=1e-12)


def test_coinciding_eigenvalues_keep_what_their_space_determines() -> None:
    x, turn = np.diag([1.0, 1.0, 3.0]), draw(3, 3, complex=False)

    def along(function: Any) -> Any:
        def at(t: Any) -> Any:
            return function(x + t * (turn + turn.T))

        step = 1e-6
        slope = (np.asarray(at(step)) - np.asarray(at(-step))) / (2 * step)
        return tj.jvp(at, (0.0,), (1.0,))[1], slope

    for function in (
        lambda a: projector(la.eigh(a)[1][:, :2]),
        lambda a: jnp.sum(la.eigvalsh(a)[:2] ** 2),
        lambda a: projector(la.svd(a)[0][:, 1:]),
        lambda a: jnp.sum(la.svdvals(a)[1:]),
    ):
        np.testing.assert_allclose(*along(function), atol=1e-7)
    assert np.isfinite(tj.grad(lambda x: jnp.sum(spectral(la.eigh(x))))(np.zeros((3, 3)))).all()
    assert np.isfinite(tj.grad(lambda x: jnp.sum(la.svd(x)[0]))(np.eye(3))).all()


def test_pseudo_inverse_of_a_singular_matrix() -> None:
    """Along a direction that keeps the rank."""
    left, right, turn = draw(3, 1, complex=True), draw(1, 3, complex=True), draw(3, 3, complex=True)

    def along(t: Any) -> Any:
        return la.pinv((left + t * turn @ left) @ right, 1e-9)

    found = tj.jvp(along, (0.0j,), (1.0 + 0j,))[1]
    step = 1e-6
    np.testing.assert_allclose(found, (along(step) - along(-step)) / (2 * step), rtol=1e-6)


def test_solve_keeps_one_factorisation_for_its_derivatives() -> None:
    a, b = matrix(False), np.ones(3)
    text = str(tj.make_jaxpr(tj.grad(lambda x: jnp.sum(la.solve(x, b) ** 2)))(a))
    assert text.count("= lu") == 1


def test_solve_is_linear_in_the_right_hand_side_only() -> None:
    a = matrix(True)
    turned = tj.linear_transpose(lambda b: la.solve(a, b), np.ones(3, a.dtype))
    np.testing.assert_allclose(turned(np.arange(3) + 0j)[0], np.linalg.solve(a.T, np.arange(3)))
    with pytest.raises(TracejitError):
        tj.linear_transpose(lambda x: la.solve(x, np.ones(3)), np.eye(3))(np.ones(3))


def test_shared_matrix_is_solved_once_for_a_batch() -> None:
    a, b = matrix(False), draw(5, 3, complex=False)
    found = tj.vmap(la.solve, (None, 0))(a, b)
    np.testing.assert_allclose(found, np.linalg.solve(a, b.T).T, rtol=1e-12)
    lower = tj.vmap(lambda y: linalg.triangular_solve(a, y[None], lower=True))(b)[:, 0]
    np.testing.assert_allclose(lower @ np.tril(a), b, rtol=1e-10)


def test_in_loops_and_branches() -> None:
    a = matrix(False)

    def steps(x: Any) -> Any:
        def step(y: Any, _: Any) -> Any:
            y = la.solve(a, jnp.cos(y))
            return y, tj.lax.cond(
                y[0] > 0, lambda: la.det(a * y[0]), lambda: jnp.sum(la.svdvals(a))
            )

        return tj.lax.scan(step, x, None, length=3)

    x, wanted = np.ones(3), []
    for _ in range(3):
        x = np.linalg.solve(a, np.cos(x))
        wanted.append(np.linalg.det(a * x[0]) if x[0] > 0 else np.linalg.svd(a)[1].sum())
    for function in (steps, tj.jit(steps)):
        found = function(np.ones(3))
        np.testing.assert_allclose(found[0], x, rtol=1e-12)
        np.testing.assert_allclose(found[1], wanted, rtol=1e-12)
    check_grads(lambda x: steps(x)[0], (np.ones(3),), 1)
