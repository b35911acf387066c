"""scipy.linalg: what the cases of the vocabulary do not show: errors, nan inside jit, order 2."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.linalg

import tracejit as tj
import tracejit.numpy as jnp
import tracejit.scipy.linalg as jsl
from tracejit.errors import ArgumentError, LinAlgError, ShapeError, TracedValueError
from tracejit.test_util import check_grads

RNG = np.random.default_rng(5)
SQUARE = RNG.uniform(-1, 1, (3, 3))
WELL = SQUARE + 4 * np.eye(3)
WIDE = RNG.uniform(-1, 1, (2, 3))


def test_every_name_is_there() -> None:
    assert len(jsl.__all__) == 40
    assert set(jsl.__all__) <= set(dir(tj.scipy.linalg))


@pytest.mark.parametrize(
    "name", ("cholesky", "inv", "det", "expm", "sqrtm", "schur", "hessenberg", "eigh")
)
def test_square_matrices_only(name: str) -> None:
    with pytest.raises(ShapeError, match=f"{name}: takes square matrices"):
        getattr(jsl, name)(WIDE)
    with pytest.raises(ShapeError, match=f"{name}: takes a matrix"):
        getattr(jsl, name)(np.ones(3))


WRONG = {
    "solve shapes": (ShapeError, lambda: jsl.solve(WELL, np.ones(4))),
    "solve stacks": (ShapeError, lambda: jsl.solve(np.ones((2, 3, 3)), np.ones((4, 3, 1)))),
    "solve scalar": (ShapeError, lambda: jsl.solve(WELL, 1.0)),
    "solve structure": (ArgumentError, lambda: jsl.solve(WELL, np.ones(3), assume_a="tall")),
    "triangular trans": (ArgumentError, lambda: jsl.solve_triangular(WELL, np.ones(3), trans=3)),
    "lu_solve trans": (ArgumentError, lambda: jsl.lu_solve(jsl.lu_factor(WELL), np.ones(3), 5)),
    "lu_solve pivots": (ShapeError, lambda: jsl.lu_solve((WELL, [0, 1]), np.ones(3))),
    "qr mode": (ArgumentError, lambda: jsl.qr(WELL, mode="thin")),
    "qr raw": (ArgumentError, lambda: jsl.qr(WELL, mode="raw", pivoting=True)),
    "qr_multiply": (ShapeError, lambda: jsl.qr_multiply(WELL, np.ones((2, 2)))),
    "eigh type": (ArgumentError, lambda: jsl.eigh(WELL, WELL, type=4)),
    "eigh eigvals": (ArgumentError, lambda: jsl.eigh(WELL, eigvals=(0, 1))),
    "tridiagonal": (ShapeError, lambda: jsl.eigh_tridiagonal(np.ones(3), np.ones(3))),
    "tridiagonal select": (
        ArgumentError,
        lambda: jsl.eigh_tridiagonal(np.ones(3), np.ones(2), select="i", select_range=(0, 3)),
    ),
    "schur output": (ArgumentError, lambda: jsl.schur(WELL, "whole")),
    "polar side": (ArgumentError, lambda: jsl.polar(WELL, "top")),
    "sylvester": (ShapeError, lambda: jsl.solve_sylvester(WELL, WELL, np.ones((2, 3)))),
    "funm stack": (ShapeError, lambda: jsl.funm(np.ones((2, 3, 3)), jnp.sin)),
    "funm func": (ArgumentError, lambda: jsl.funm(WELL, "sin")),
    "frechet": (ShapeError, lambda: jsl.expm_frechet(WELL, np.eye(2))),
    "rsf2csf": (ShapeError, lambda: jsl.rsf2csf(WELL, np.eye(2))),
    "toeplitz stacks": (ShapeError, lambda: jsl.toeplitz(np.ones((2, 3)), np.ones((4, 3)))),
    "hankel": (ShapeError, lambda: jsl.hankel(1.0)),
    "companion": (ShapeError, lambda: jsl.companion([1.0])),
    "companion zero": (ArgumentError, lambda: jsl.companion([0.0, 1.0])),
    "fiedler zero": (ArgumentError, lambda: jsl.fiedler_companion([0.0, 1.0])),
    "leslie": (ShapeError, lambda: jsl.leslie(np.ones(3), np.ones(3))),
    "convolution mode": (ArgumentError, lambda: jsl.convolution_matrix(np.ones(3), 2, "big")),
    "convolution size": (ArgumentError, lambda: jsl.convolution_matrix(np.ones(3), 0)),
    "hadamard": (ArgumentError, lambda: jsl.hadamard(3)),
    "helmert": (ArgumentError, lambda: jsl.helmert(0)),
    "hilbert": (ArgumentError, lambda: jsl.hilbert(2.5)),
    "pascal": (ArgumentError, lambda: jsl.pascal(3, "diagonal")),
    "dft": (ArgumentError, lambda: jsl.dft(3, "m")),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_arguments(what: str) -> None:
    error, call = WRONG[what]
    with pytest.raises(error) as caught:
        call()
    assert "test_linalg.py" in str(caught.value)


SINGULAR = {
    "solve": lambda a: jsl.solve(a, jnp.ones(2)),
    "diagonal": lambda a: jsl.solve(a, jnp.ones(2), assume_a="diagonal"),
    "inv": jsl.inv,
    "triangular": lambda a: jsl.solve_triangular(a, jnp.ones(2)),
    "cholesky": jsl.cholesky,
    "sqrtm": jsl.sqrtm,
    "sylvester": lambda a: jsl.solve_sylvester(a, -a, jnp.ones((2, 2))),
}


@pytest.mark.parametrize("name", SINGULAR)
def test_no_result_is_an_error_outside_of_jit_and_not_finite_inside(name: str) -> None:
    a = np.array([[0.0, 1.0], [0.0, 0.0]])
    with pytest.raises(LinAlgError):
        SINGULAR[name](a)
    assert not np.isfinite(np.asarray(tj.jit(SINGULAR[name])(a))).all()


def test_a_selection_by_value_is_for_known_values() -> None:
    d, e = np.arange(4.0), np.ones(3)

    def chosen(d: Any, e: Any) -> Any:
        return jsl.eigh_tridiagonal(d, e, eigvals_only=True, select="v", select_range=(0.0, 2.0))

    with pytest.raises(TracedValueError, match="select='i'"):
        tj.jit(chosen)(d, e)


def test_expm_of_too_large_a_matrix_is_nan() -> None:
    assert np.isnan(np.asarray(jsl.expm(np.eye(2) * 1e9))).all()
    large = jsl.expm(np.array([[-300.0, 1.0], [0.0, -300.0]]), max_squarings=2)
    assert np.isnan(np.asarray(large)).all()


def test_expm_is_not_scaled_too_much() -> None:
    """The example of Al-Mohy and Higham (2009), which plain scaling by the norm gets wrong."""
    a = np.array([[1.0, 1e6], [0.0, -1.0]])
    want = scipy.linalg.expm(a)
    np.testing.assert_allclose(jsl.expm(a), want, rtol=1e-13, atol=1e-10)


@pytest.mark.parametrize("kind", ("float32", "complex64"))
def test_expm_in_single_precision(kind: str) -> None:
    a = (RNG.uniform(-3, 3, (4, 4))).astype(kind)
    found = jsl.expm(a)
    assert found.dtype == kind
    want = scipy.linalg.expm(a.astype(complex))
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5 * abs(want).max())


@pytest.mark.parametrize(
    "function",
    (
        jsl.expm,
        jsl.sqrtm,
        jsl.inv,
        lambda a: jsl.polar(a)[0],
        lambda a: jsl.solve_sylvester(a, a.T, a),
        lambda a: jsl.solve(a @ a.T, a, assume_a="pos"),
    ),
    ids=("expm", "sqrtm", "inv", "polar", "sylvester", "solve"),
)
@pytest.mark.parametrize("wrap", (lambda f: f, tj.jit), ids=("eager", "jit"))
def test_second_derivatives(function: Any, wrap: Any) -> None:
    check_grads(wrap(function), (WELL,), order=2, rtol=1e-5, atol=1e-5)


def test_polar_is_smooth_where_singular_values_agree() -> None:
    turn = np.linalg.qr(SQUARE)[0]
    check_grads(jsl.polar, (2 * turn,), order=1)


def test_roots_of_negative_numbers_lie_above_the_cut() -> None:
    turn = np.linalg.qr(SQUARE)[0]
    a = turn @ np.diag([-1.0, -4.0, 9.0]) @ turn.T
    np.testing.assert_allclose(jsl.sqrtm(a), turn @ np.diag([1j, 2j, 3]) @ turn.T, atol=1e-12)


def test_sqrtm_of_singular_matrices_that_have_a_root() -> None:
    for a in (np.zeros((3, 3)), np.diag([0.0, 1.0, 0.0])):
        np.testing.assert_allclose(jsl.sqrtm(a), a)


def test_funm_tells_how_exact_it_is() -> None:
    close = np.array([[1.0, 1.0], [0.0, 1.0 + 1e-9]])
    assert jsl.funm(close, jnp.exp, disp=False)[1] > 1e-8
    assert jsl.funm(np.diag([1.0, 2.0]), jnp.exp, disp=False)[1] < 1e-14


def test_solving_many_right_hand_sides_factors_once() -> None:
    graph = tj.make_graph(jsl.solve, jnp.asarray(WELL), jnp.ones((5, 3, 2)))
    factored = [node for node in graph.nodes if node.prim.name == "lu"]
    assert [node.inputs[0].type.shape for node in factored] == [(3, 3)]
