"""Sorting, searching, sets, picking, bits, dtypes and functions of functions against NumPy."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

import tracejit.numpy as jnp
from tests.numpy.agree import agrees, check, traced
from tracejit.errors import ArgumentError, DTypeError, TracedValueError
from tracejit.frontend.derivatives import make_graph

RNG = np.random.default_rng(4)
F, G, V = RNG.normal(size=(3, 4)), RNG.normal(size=(3, 4)), RNG.normal(size=7)
INTS, POSITIVE = RNG.integers(-5, 5, (3, 4)), RNG.integers(1, 9, (3, 4))


@pytest.mark.parametrize("x", [F, INTS, F > 0, F + 1j * G, F.astype(np.float32)], ids=str)
def test_sorting(x: np.ndarray) -> None:
    for axis in (-1, 0, None):
        agrees("sort", x, axis=axis)
        agrees("argsort", x, axis=axis, stable=True)


def test_sorting_special_values_and_descending() -> None:
    x = np.array([2.0, np.nan, -np.inf, 2.0, np.inf, -0.0])
    agrees("sort", x)
    assert jnp.argsort(x, descending=True).tolist() == [1, 4, 0, 3, 5, 2]
    check(lambda a, b: jnp.lexsort((a, b)), lambda a, b: np.lexsort((a, b)), F[0], POSITIVE[0] % 2)
    assert jnp.partition(V, 2)[2] == np.partition(V, 2)[2]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("count", [0, 1, 7, 33, 100])
def test_searching(count: int, side: str) -> None:
    agrees("searchsorted", np.sort(RNG.integers(0, 20, count)), POSITIVE, side=side)
    agrees(
        "searchsorted",
        np.sort(RNG.normal(size=count)),
        np.append(F[0], [np.nan, np.inf]),
        side=side,
    )


def test_nonzero() -> None:
    agrees("nonzero", INTS, trace=False)
    agrees("flatnonzero", INTS, trace=False)
    agrees("argwhere", INTS, trace=False)
    agrees("extract", F > 0, F, trace=False)
    agrees("compress", np.array([True, False, True]), F, axis=0, trace=False)
    x = np.array([[0, 3], [4, 0]])
    rows, columns = traced(lambda a: jnp.nonzero(a, size=3, fill_value=-1), x)
    assert rows.tolist() == [0, 1, -1] and columns.tolist() == [1, 0, -1]
    assert traced(lambda a: jnp.argwhere(a, size=1), x)[0].tolist() == [[0, 1]]
    with pytest.raises(TracedValueError, match="size="):
        make_graph(jnp.nonzero, x)


SETS = [
    ("unique", POSITIVE), ("unique", np.array([1, np.nan, np.nan, 0.0])),
    ("intersect1d", POSITIVE, INTS),
    ("union1d", POSITIVE, INTS), ("setdiff1d", POSITIVE, INTS), ("setxor1d", POSITIVE, INTS),
    ("unique", np.zeros(0)),
]  # fmt: skip


@pytest.mark.parametrize("case", SETS, ids=[c[0] for c in SETS])
def test_sets(case: tuple[Any, ...]) -> None:
    agrees(*case, trace=False)


def test_unique_extras() -> None:
    agrees(
        "unique", POSITIVE, return_index=True, return_inverse=True, return_counts=True, trace=False
    )
    agrees("unique", POSITIVE % 2, axis=0, trace=False)
    agrees("unique", POSITIVE % 2, axis=1, return_inverse=True, return_counts=True, trace=False)
    agrees("isin", POSITIVE, INTS)
    agrees("isin", POSITIVE, np.arange(50) * 2)
    agrees("isin", POSITIVE, INTS, invert=True)


def test_sets_of_known_size_trace() -> None:
    x, y = np.array([3, 1, 3, 2]), np.array([2, 7, 3])

    def run(f: Any) -> list[list[Any]]:
        return [a.tolist() for a in traced(f, x, y)]

    assert run(lambda a, b: jnp.unique(a, size=4, fill_value=9)) == [[1, 2, 3, 9]]
    assert run(lambda a, b: jnp.unique(a, size=4)) == [[1, 2, 3, 1]]
    assert run(lambda a, b: jnp.unique(a, return_counts=True, size=4)) == [
        [1, 2, 3, 1],
        [1, 1, 2, 0],
    ]
    assert run(lambda a, b: jnp.unique(a, return_inverse=True, size=3))[1] == [2, 0, 2, 1]
    assert run(lambda a, b: jnp.intersect1d(a, b, size=3)) == [[2, 3, 2]]  # the smallest fills
    assert run(lambda a, b: jnp.setdiff1d(a, b, size=2)) == [[1, 0]]
    assert run(lambda a, b: jnp.setxor1d(a, b, size=3)) == [[1, 7, 1]]
    assert run(lambda a, b: jnp.union1d(a, b, size=5)) == [[1, 2, 3, 7, 1]]


def test_picking_and_placing() -> None:
    agrees("take", F, np.array([0, 2]), axis=0)
    agrees("take", F, np.array([[0, 2], [1, 1]]))
    agrees("take_along_axis", F, np.argsort(F, 1), 1)
    agrees("repeat", F, np.array([1, 0, 2]), axis=0, trace=False)
    check(lambda x, n: jnp.repeat(x, n, axis=0, total_repeat_length=3),
          lambda x, n: np.repeat(x, n, axis=0), F, np.array([1, 0, 2]))  # fmt: skip

    def put(x: np.ndarray, k: np.ndarray) -> np.ndarray:
        x = x.copy()
        np.put_along_axis(x, k, 9.0, axis=1)
        return x

    check(
        lambda x, k: jnp.put_along_axis(x, k, 9.0, axis=1, inplace=False),
        put,
        F,
        np.array([[1], [2], [0]]),
    )
    assert jnp.put(jnp.zeros(4), [0, -1], [1, 2], inplace=False).tolist() == [1, 0, 0, 2]
    assert jnp.place(jnp.arange(4), np.arange(4) > 1, [7, 8], inplace=False).tolist() == [
        0,
        1,
        7,
        8,
    ]
    assert jnp.fill_diagonal(jnp.zeros((2, 2)), 5, inplace=False).tolist() == [[5, 0], [0, 5]]
    with pytest.raises(ArgumentError, match="writes into an array"):
        jnp.fill_diagonal([[0, 0], [0, 0]], 5)


def test_bits() -> None:
    agrees("packbits", F > 0, axis=1)
    agrees("packbits", F > 0, bitorder="little")
    agrees("unpackbits", POSITIVE.astype(np.uint8), axis=1)
    agrees("unpackbits", POSITIVE.astype(np.uint8), count=20, bitorder="little")


# ---- functions of functions, files, dtypes -------------------------------------------------------


def test_vectorize_and_along_axis() -> None:
    check(lambda x: jnp.apply_along_axis(lambda r: jnp.sum(r) * r, 0, x),
          lambda x: np.apply_along_axis(lambda r: np.sum(r) * r, 0, x), F)  # fmt: skip
    check(lambda x: jnp.apply_along_axis(jnp.sum, 1, x), lambda x: np.sum(x, 1), F)
    check(jnp.vectorize(lambda a, b: jnp.where(a > b, a, b)), np.maximum, F, G[:, :1].copy())
    dots = jnp.vectorize(lambda a, b: a @ b, signature="(n),(n)->()")
    check(dots, lambda x, y: np.sum(x * y, -1), F, G[0])
    check(dots, lambda x, y: np.sum(x * y, -1), F[:, None].copy(), G[None])
    check(
        lambda x: jnp.apply_over_axes(jnp.sum, x, [0, 1]),
        lambda x: np.apply_over_axes(np.sum, x, [0, 1]),
        F,
    )
    with pytest.raises(ArgumentError, match="signature"):
        jnp.vectorize(lambda a: a, signature="n->n")(F)


def test_save_and_load() -> None:
    file = io.BytesIO()
    jnp.save(file, jnp.arange(3))
    file.seek(0)
    assert jnp.load(file).tolist() == [0, 1, 2]


def test_dtype_objects() -> None:
    assert jnp.float32 == np.float32 and np.dtype("float32") == jnp.float32
    assert np.zeros(2, jnp.int8).dtype == np.int8
    assert jnp.float16(3).dtype == np.float16
    assert jnp.asarray([1, 2], jnp.bfloat16).dtype == jnp.bfloat16
    assert traced(lambda x: jnp.int32(x), V)[0].dtype == np.int32
    assert jnp.issubdtype(jnp.bfloat16, jnp.floating) and not jnp.issubdtype(jnp.int8, jnp.inexact)
    assert jnp.isdtype(jnp.int8, "integral") and not jnp.isdtype(jnp.int8, "unsigned integer")
    assert jnp.can_cast("int8", "float32") and not jnp.can_cast("float64", "int64")
    assert jnp.result_type(jnp.int8, 2.0) == np.float32 and jnp.result_type(F, 1) == np.float64
    assert jnp.finfo(jnp.bfloat16).bits == 16 and jnp.iinfo("int8").max == 127
    with pytest.raises(DTypeError, match="not supported"):
        jnp.zeros(2, "S3")
    with pytest.raises(DTypeError, match="not a dtype"):
        jnp.zeros(2, "no such")


def test_every_public_name_exists() -> None:
    for name in jnp.__all__:
        assert hasattr(jnp, name), name
