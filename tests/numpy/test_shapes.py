"""Reshaping, joining, splitting, padding and ranges against NumPy, on arrays and inside a trace."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tracejit.numpy as jnp
from tests.numpy.agree import agrees, check
from tracejit.errors import ArgumentError, ShapeError

RNG = np.random.default_rng(2)
F, G, V = RNG.normal(size=(3, 4)), RNG.normal(size=(3, 4)), RNG.normal(size=7)
CUBE = RNG.normal(size=(2, 3, 4))

CASES: list[tuple[Any, ...]] = [
    ("reshape", F, (2, -1)),
    ("ravel", F),
    ("transpose", CUBE),
    ("transpose", CUBE, (1, 0, 2)),
    ("permute_dims", CUBE, (2, 0, 1)),
    ("matrix_transpose", CUBE),
    ("swapaxes", F, 0, 1),
    ("moveaxis", CUBE, 0, -1),
    ("moveaxis", CUBE, (0, 1), (-1, 0)),
    ("rollaxis", CUBE, 2),
    ("expand_dims", F, (0, 2)),
    ("squeeze", F[None, :, None]),
    ("broadcast_to", V, (2, 7)),
    ("atleast_1d", np.array(2.0)),
    ("atleast_2d", V),
    ("atleast_3d", F),
    ("flip", F),
    ("fliplr", F),
    ("flipud", F),
    ("rot90", F),
    ("rot90", F, 2),
    ("rot90", F, 3),
    ("roll", F, 2),
    ("roll", F, (1, -2), (0, 1)),
    ("tile", F, (2, 1, 3)),
    ("tile", V, 2),
    ("repeat", F, 2),
    ("repeat", F, 3, 1),
    ("diag", V, 1),
    ("diag", V, -2),
    ("diag", F),
    ("diagflat", F),
    ("diagonal", F, 1),
    ("diagonal", F, -1),
    ("diagonal", CUBE, 0, 1, 2),
    ("trace", F, 1),
    ("tril", F),
    ("triu", F, 1),
    ("split", V, [2, 5]),
    ("split", F, 2, 1),
    ("array_split", V, 3),
    ("hsplit", F, 2),
    ("vsplit", F, 3),
    ("unstack", F),
    ("append", F, G),
    ("delete", F, 1, 0),
    ("delete", V, [0, 2]),
    ("delete", V, slice(1, 4)),
    ("insert", V, 2, 9.0),
    ("insert", F, [0, 2], G[0], 0),
    ("insert", F, 1, G[:, 0].copy(), 1),
    ("resize", V, (3, 5)),
    ("meshgrid", V, F[0]),
    ("broadcast_arrays", F, F[0]),
    ("vander", V, 3),
]


@pytest.mark.parametrize("case", CASES, ids=[c[0] for c in CASES])
def test_moving(case: tuple[Any, ...]) -> None:
    agrees(*case)


def test_fortran_order() -> None:
    agrees("reshape", F, (4, 3), order="F")
    agrees("ravel", F, order="F")


@pytest.mark.parametrize(
    "name", "vstack hstack dstack column_stack concatenate stack concat".split()
)
def test_joining(name: str) -> None:
    for x, y in [(F, G), (V, V), (F, (F * 3).astype(int))]:
        ours, theirs = getattr(jnp, name), getattr(np, name)
        check(lambda a, b, f=ours: f([a, b]), lambda a, b, f=theirs: f([a, b]), x, y)
    check(lambda a, b: jnp.block([[a, b], [b, a]]), lambda a, b: np.block([[a, b], [b, a]]), F, G)
    check(lambda a, b: jnp.stack([a, b], -1), lambda a, b: np.stack([a, b], -1), F, G)
    check(lambda a: jnp.concatenate([a, a], None), lambda a: np.concatenate([a, a], None), F)
    check(lambda a: jnp.r_[a, 0, 1:3], lambda a: np.r_[a, 0, 1:3], V)
    check(lambda a: jnp.c_[a, a], lambda a: np.c_[a, a], V)


@pytest.mark.parametrize(
    "mode", "constant edge reflect symmetric wrap linear_ramp maximum minimum mean median".split()
)
def test_padding(mode: str) -> None:
    agrees("pad", F, ((1, 2), (3, 1)), mode=mode)
    agrees("pad", F, 1, mode=mode)
    agrees("pad", (F * 9).astype(int), 2, mode=mode)


def test_padding_options() -> None:
    agrees("pad", F, ((0, 1), (2, 0)), constant_values=((1, 2), (3, 4)))
    agrees("pad", F, 2, mode="reflect", reflect_type="odd")
    agrees("pad", V, 2, mode="mean", stat_length=3)
    with pytest.raises(ArgumentError, match="no mode"):
        jnp.pad(F, 1, mode="guess")
    with pytest.raises(ArgumentError, match="non-negative"):
        jnp.pad(F, -1)


RANGES: list[tuple[Any, ...]] = [
    ("linspace", 0, 1, 7), ("linspace", 2.0, 3.0, 4, False), ("logspace", 0, 2, 5),
    ("geomspace", 1, 8, 4),
    ("arange", 5), ("arange", 2, 9, 3), ("arange", 9, 2, -2), ("arange", 0, 1, 0.25),
    ("arange", 3, 1),
    ("tri", 3, 4, 1), ("eye", 3, 4, -1), ("identity", 3), ("indices", (2, 3)), ("hanning", 7),
    ("hamming", 7),
    ("blackman", 7), ("bartlett", 7), ("kaiser", 7, 3.0), ("tril_indices", 4),
    ("triu_indices", 4, 1),
    ("unravel_index", 7, (3, 4)), ("diag_indices", 3), ("zeros", (2, 3)), ("ones", 4),
    ("full", (2, 2), 7),
    ("full", 3, 0.5),
]  # fmt: skip


@pytest.mark.parametrize("case", RANGES, ids=[c[0] for c in RANGES])
def test_ranges(case: tuple[Any, ...]) -> None:
    agrees(*case, dtype=False)
    found = getattr(jnp, case[0])(*case[1:])
    if isinstance(found, jnp.Array):
        wanted = getattr(np, case[0])(*case[1:]).dtype
        assert found.dtype == (np.float32 if wanted == np.float64 else wanted)


def test_grids_and_likes() -> None:
    np.testing.assert_array_equal(np.asarray(jnp.mgrid[0:2, 0:3]), np.mgrid[0:2, 0:3])
    np.testing.assert_allclose(np.asarray(jnp.mgrid[0:1:3j]), np.mgrid[0:1:3j])
    for ours, theirs in zip(jnp.ogrid[0:2, 0:3], np.ogrid[0:2, 0:3], strict=True):
        np.testing.assert_array_equal(np.asarray(ours), theirs)
    for name in ("zeros_like", "ones_like"):
        agrees(name, (F * 3).astype(np.int16))
    agrees("full_like", F, 3)
    check(lambda a: a[jnp.ix_(np.array([0, 2]), np.array([1, 3]))],
          lambda a: a[np.ix_([0, 2], [1, 3])], F)  # fmt: skip
    agrees("ravel_multi_index", (np.array([1, 2]), np.array([3, 0])), (3, 4), trace=False)
    assert jnp.broadcast_shapes((2, 1), (3,)) == (2, 3)
    assert jnp.fromfunction(lambda i, j: i + j, (2, 2)).tolist() == [[0, 1], [1, 2]]


def test_errors_name_the_function() -> None:
    with pytest.raises(ShapeError, match="split: an axis of 7"):
        jnp.split(V, 2)
    with pytest.raises(ShapeError, match="squeeze: axis 0"):
        jnp.squeeze(F, 0)
    with pytest.raises(ArgumentError, match="at least one array"):
        jnp.concatenate([])
    with pytest.raises(ShapeError, match="negative size"):
        jnp.zeros((2, -1))
    with pytest.raises(ArgumentError, match="integer"):
        jnp.zeros(2.5)
