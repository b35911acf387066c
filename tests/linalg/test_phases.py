"""Factorisations of one large matrix in phases that threads share, and triangular equations by
blocks: as accurate as LAPACK's, with its pivots, its zeros and its nan.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.linalg

from tests.linalg.test_native import definite, drawn, graph_for
from tracejit.ir.graph import Graph
from tracejit.ir.types import DTYPES
from tracejit.kernel import lapack_phases
from tracejit.kernel.lapack import LapackPlan
from tracejit.kernel.program import LapackCall
from tracejit.runtime.executable import compile_graph

DTYPE_NAMES = ("f32", "f64", "c64", "c128")
#: every dtype with some shapes
SQUARES_OF, RECTANGLES_OF = ("f64", "c64"), ("f32", "c128")
#: around the edges of panels, of those of half the width, and far from them
SIZES = (1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 40, 65, 129)
RECTANGLES = ((40, 17), (17, 40), (33, 32), (32, 33), (9, 100), (100, 9), (16, 70), (70, 16))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Phases and blocks for matrices of any size."""
    monkeypatch.setattr(lapack_phases, "LEAST", dict.fromkeys(lapack_phases.LEAST, 1))
    monkeypatch.setattr(lapack_phases, "SMALL_BLOCK", 8)
    monkeypatch.setattr(lapack_phases, "STRIP", 5)


def compiled(graph: Graph, threads: int = 2) -> tuple[Any, list[LapackPlan]]:
    program = compile_graph(graph, backend="llvm", mode="default", threads=threads)
    return program, [c.plan for c in program.program.calls if isinstance(c, LapackCall)]


def results(name: str, *arrays: np.ndarray, **params: Any) -> list[np.ndarray]:
    program, plans = compiled(graph_for(name, list(arrays), **params))
    assert all(plan.phases is not None for plan in plans)
    return program.run(list(arrays))


def epsilon(x: np.ndarray) -> float:
    return float(np.finfo(x.dtype).eps)


def error(found: np.ndarray, wanted: np.ndarray) -> float:
    """How far apart two matrices are, in units of the last place of the largest column."""
    size = float(np.linalg.norm(wanted)) or 1.0
    return float(np.linalg.norm(found - wanted)) / size / epsilon(found)


def check_lu(a: np.ndarray) -> None:
    factors, pivots, order = results("lu", a)
    own, wanted = scipy.linalg.lu_factor(a)
    k = min(a.shape)
    low = np.tril(factors[:, :k], -1) + np.eye(a.shape[0], k, dtype=a.dtype)
    np.testing.assert_array_equal(pivots, wanted)
    places = np.arange(a.shape[0])
    for i, j in enumerate(wanted):
        places[[i, j]] = places[[j, i]]
    np.testing.assert_array_equal(order, places)
    least = np.tril(own[:, :k], -1) + np.eye(a.shape[0], k, dtype=a.dtype)
    limit = 4 * error(least @ np.triu(own[:k]), a[order]) + 4
    assert error(low @ np.triu(factors[:k]), a[order]) < limit


@pytest.mark.parametrize("dtype", SQUARES_OF)
@pytest.mark.parametrize("n", SIZES)
def test_lu_has_the_pivots_of_getrf(dtype: str, n: int, small: None) -> None:
    check_lu(drawn(dtype, n, n, seed=n))


@pytest.mark.parametrize("dtype", RECTANGLES_OF)
@pytest.mark.parametrize("shape", RECTANGLES)
def test_lu_of_rectangles(dtype: str, shape: tuple[int, int], small: None) -> None:
    check_lu(drawn(dtype, *shape))


@pytest.mark.filterwarnings("ignore")  # SciPy's, that it is singular
@pytest.mark.parametrize("dtype", ("f32", "c128"))
@pytest.mark.parametrize("n", (16, 41))
def test_lu_of_singular_matrices(dtype: str, n: int, small: None) -> None:
    a = drawn(dtype, n, n)
    zero_column = a.copy()
    zero_column[:, n // 2] = 0
    equal_rows = np.tile(np.arange(n), (n, 1)).astype(a.dtype)
    for x in (np.zeros_like(a), zero_column, equal_rows):
        factors, pivots, order = results("lu", x)
        assert sorted(order) == list(range(n))
        own, wanted = scipy.linalg.lu_factor(x, check_finite=False)
        np.testing.assert_array_equal(pivots, wanted)
        np.testing.assert_allclose(factors, own, atol=200 * epsilon(x), rtol=1e-3)


@pytest.mark.parametrize("dtype", RECTANGLES_OF)
@pytest.mark.parametrize("place", [(0, 0), (3, 20), (39, 39), (39, 0)])
def test_lu_of_nan_has_rows_for_pivots(dtype: str, place: tuple[int, int], small: None) -> None:
    for bad in (np.nan, np.inf):
        a = drawn(dtype, 40, 40)
        a[place] = bad
        factors, pivots, order = results("lu", a)
        assert sorted(order) == list(range(40))
        assert (pivots >= np.arange(40)).all() and (pivots < 40).all()
        assert not np.isfinite(factors).all()


@pytest.mark.parametrize("dtype", SQUARES_OF)
@pytest.mark.parametrize("n", SIZES)
def test_cholesky(dtype: str, n: int, small: None) -> None:
    a = definite(dtype, n, n)
    (found,) = results("cholesky", a)
    assert error(found @ found.conj().T, a) < 10
    assert (np.triu(found, 1) == 0).all()
    np.testing.assert_allclose(found, np.linalg.cholesky(a), rtol=1e-3, atol=300 * epsilon(a))


@pytest.mark.parametrize("dtype", RECTANGLES_OF)
@pytest.mark.parametrize("row", (0, 9, 20, 40))
def test_cholesky_of_what_is_not_definite_is_nan(dtype: str, row: int, small: None) -> None:
    a = definite(dtype, 41, 41)
    a[row, row] = -1
    (found,) = results("cholesky", a)
    assert np.isnan(found).all()


@pytest.mark.parametrize(
    "dtype, shape, full",
    [
        *((d, (n, n), False) for d in SQUARES_OF for n in SIZES),
        *(
            (d, shape, full)
            for d in RECTANGLES_OF
            for shape in RECTANGLES
            for full in (False, True)
        ),
    ],
)
def test_qr(dtype: str, shape: tuple[int, int], full: bool, small: None) -> None:
    a = drawn(dtype, *shape)
    q, r = results("qr", a, full_matrices=full, pivoting=False)
    assert error(q @ r, a) < 20
    assert error(q.conj().T @ q, np.eye(q.shape[1], dtype=a.dtype)) < 40
    # R is LAPACK's, whose signs it has
    _, wanted = scipy.linalg.qr(a, mode="full" if full else "economic")
    np.testing.assert_allclose(r, wanted, rtol=1e-2, atol=1000 * epsilon(a))


@pytest.mark.parametrize("dtype", RECTANGLES_OF)
@pytest.mark.parametrize("shape", [(41, 41), (100, 9), (9, 100)])
def test_qr_is_nan_where_a_number_is_not_finite(
    dtype: str, shape: tuple[int, int], small: None
) -> None:
    for place in ((0, 0), (shape[0] - 1, shape[1] - 1), (4, 7)):
        for bad in (np.nan, -np.inf):
            a = drawn(dtype, *shape)
            a[place] = bad
            q, r = results("qr", a, full_matrices=False, pivoting=False)
            assert np.isnan(q).all() and np.isnan(r[np.triu_indices(*r.shape[:1])]).all()


SOLVES = [
    (left, lower, transposed, conjugate)
    for left in (True, False)
    for lower in (True, False)
    for transposed, conjugate in ((False, False), (True, False), (True, True))
]


@pytest.mark.parametrize("dtype", DTYPE_NAMES)
@pytest.mark.parametrize("left, lower, transposed, conjugate", SOLVES)
def test_triangular_equations_by_blocks(
    dtype: str, left: bool, lower: bool, transposed: bool, conjugate: bool
) -> None:
    for n, others, unit in ((65, 16, False), (96, 33, True), (300, 20, False), (130, 200, False)):
        a = drawn(dtype, n, n) / n + 2 * np.eye(n, dtype=DTYPES[dtype])
        a = a.astype(DTYPES[dtype])
        b = drawn(dtype, *((n, others) if left else (others, n)))
        params = {
            "left_side": left,
            "lower": lower,
            "transpose_a": transposed,
            "conjugate_a": conjugate,
            "unit_diagonal": unit,
        }
        program, plans = compiled(graph_for("triangular_solve", [a, b], **params))
        assert plans[0].blocks is not None
        (x,) = program.run([a, b])
        t = np.tril(a) if lower else np.triu(a)
        if unit:
            np.fill_diagonal(t, 1)
        t = t.T if transposed else t
        t = t.conj() if conjugate else t
        residual = (t @ x if left else x @ t) - b
        size = np.linalg.norm(t) * np.linalg.norm(x)
        assert np.linalg.norm(residual) / size < 2 * epsilon(x), (n, others)


def test_stacks_of_triangular_equations_by_blocks() -> None:
    params = {
        "left_side": True,
        "lower": True,
        "transpose_a": False,
        "conjugate_a": False,
        "unit_diagonal": False,
    }
    a = drawn("f64", 3, 70, 70) / 70 + 2 * np.eye(70)
    b = drawn("f64", 3, 70, 20)
    program, plans = compiled(graph_for("triangular_solve", [a, b], **params))
    assert plans[0].blocks is not None
    np.testing.assert_allclose(np.tril(a) @ program.run([a, b])[0], b, atol=1e-12)


@pytest.mark.parametrize("name", ("lu", "cholesky", "qr"))
@pytest.mark.parametrize("dtype", DTYPE_NAMES)
def test_as_large_as_they_are_in_phases(name: str, dtype: str) -> None:
    a = definite(dtype, 545, 545)
    params = {"full_matrices": True, "pivoting": False} if name == "qr" else {}
    program, plans = compiled(graph_for(name, [a], **params))
    assert all(p.phases is not None and len(p.phases.tasks) > 1 and not p.whole for p in plans)
    one, plain = compiled(graph_for(name, [a], **params), threads=1)
    assert all(p.phases is None for p in plain)
    for x, y in zip(program.run([a]), one.run([a]), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-2, atol=2000 * epsilon(a))


def test_more_threads_than_columns_in_strips(small: None) -> None:
    a = drawn("f64", 50, 50)
    for threads in (2, 3, 8):
        program, (plan,) = compiled(graph_for("lu", [a]), threads=threads)
        assert plan.phases is not None
        factors, _, order = program.run([a])
        low = np.tril(factors, -1) + np.eye(50)
        np.testing.assert_allclose(low @ np.triu(factors), a[order], atol=1e-12)


@pytest.mark.parametrize("columns", (1, 47, 48, 49, 500))
def test_every_column_belongs_to_a_strip(columns: int) -> None:
    for threads in (2, 8):
        count = lapack_phases.strips(columns, threads)
        assert 1 <= count <= max(1, 3 * threads - 1)
    assert lapack_phases.strips(0, 2) == 0
