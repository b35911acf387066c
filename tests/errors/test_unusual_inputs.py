"""NumPy inputs that are no plain C arrays: jit computes what NumPy does and leaves them alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import tracejit.numpy as jnp
from tracejit import grad, jit, vmap

generator = np.random.default_rng(0)
plain = generator.standard_normal((6, 8)).astype(np.float32)


def read_only() -> np.ndarray:
    found = plain.copy()
    found.flags.writeable = False
    return found


def unaligned() -> np.ndarray:
    raw = np.zeros(plain.nbytes + 1, np.uint8)
    found = raw[1:].view(np.float32).reshape(plain.shape)
    found[...] = plain
    assert not found.flags.aligned
    return found


def of_a_record() -> np.ndarray:
    records = np.zeros((6, 8), [("flag", "u1"), ("value", "<f4")])
    records["value"] = plain
    assert not records["value"].flags.aligned
    return records["value"]


INPUTS: dict[str, np.ndarray] = {
    "plain": plain,
    "reversed": plain[::-1, ::-1],
    "one axis reversed": plain[:, ::-1],
    "strided": plain[::2, 1::3],
    "transposed": plain.T,
    "fortran": np.asfortranarray(plain),
    "a column": plain[:, 3:4],
    "repeated": np.broadcast_to(plain[0], (6, 8)),
    "read-only": read_only(),
    "unaligned": unaligned(),
    "a field of records": of_a_record(),
    "big-endian": plain.astype(">f4"),
    "zero rows": plain[:0],
    "zero columns": plain[:, 3:3],
    "no elements": np.zeros((0, 0), np.float32),
    "one element": plain[:1, :1],
}

FUNCTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "elementwise": lambda xp, x: xp.exp(x) * 2 + x,
    "sum": lambda xp, x: xp.sum(x),
    "rows": lambda xp, x: xp.sum(x, axis=1),
    "columns": lambda xp, x: xp.sum(x, axis=0),
    "transposed": lambda xp, x: x.T + 1,
    "matmul": lambda xp, x: x @ x.T,
    "slice": lambda xp, x: x[1:, ::-1],
    "same": lambda xp, x: x,
    "concatenate": lambda xp, x: xp.concatenate([x, x], axis=1),
    "sort": lambda xp, x: xp.sort(x, axis=-1),
    "softmax": lambda xp, x: xp.exp(x) / xp.sum(xp.exp(x), axis=0, keepdims=True),
}


def agree(found: Any, expected: Any) -> None:
    expected = np.asarray(expected)
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype.newbyteorder("=")
    np.testing.assert_allclose(np.asarray(found), expected, rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_jit_equals_numpy(function: str) -> None:
    program = FUNCTIONS[function]
    compiled = jit(lambda x: program(jnp, x))
    for name, x in INPUTS.items():
        before = x.copy()
        agree(compiled(x), program(np, x))
        assert np.array_equal(x, before), name


@pytest.mark.parametrize("name", INPUTS)
def test_at_once_and_gradient(name: str) -> None:
    x = INPUTS[name]
    agree(jnp.asarray(x) * 2, x.astype(np.float32) * 2)
    found = jit(grad(lambda x: (x * x).sum()))(x)
    agree(found, 2 * x.astype(np.float32))


def test_zero_dimensions() -> None:
    for x in (np.float32(3), np.array(3, np.float32), plain[2, 3], 3.0):
        agree(jit(lambda x: jnp.sin(x) + 1)(x), np.sin(np.float32(x)) + np.float32(1))
        assert jit(lambda x: x.reshape(1, 1))(x).shape == (1, 1)
    assert jit(lambda x: x.sum())(np.float32(3)) == 3


def test_empty_reductions_have_their_neutral_element() -> None:
    empty = np.zeros((0, 3), np.float32)
    assert np.array_equal(jit(lambda x: x.sum(axis=0))(empty), np.zeros(3))
    assert np.array_equal(jit(lambda x: x.prod(axis=0))(empty), np.ones(3))
    assert jit(lambda x: x.all())(empty) and not jit(lambda x: x.any())(empty)
    assert jit(lambda x: x @ np.ones((3, 0), np.float32))(np.ones((2, 3), np.float32)).shape == (
        2,
        0,
    )
    product = jit(lambda a, b: a @ b)(np.ones((2, 0), np.float32), np.ones((0, 3), np.float32))
    assert np.array_equal(product, np.zeros((2, 3)))
    assert vmap(lambda x: x + 1)(empty).shape == (0, 3)
    assert jit(jnp.sort)(empty).shape == (0, 3)
    assert jit(lambda x: x[np.zeros(0, int)])(plain).shape == (0, 8)


def test_views_of_one_array_as_two_arguments() -> None:
    found = jit(lambda a, b: a + b)(plain, plain[::-1])
    agree(found, plain + plain[::-1])


def test_results_do_not_share_memory_with_arguments() -> None:
    x = plain.copy()
    same = jit(lambda x: x)(x)
    x[...] = 0
    assert np.array_equal(same, plain)


@pytest.mark.parametrize(
    "dtype",
    [
        "bool",
        "int8",
        "uint16",
        "int64",
        "float16",
        "float64",
        "complex64",
        "complex128",
        "bfloat16",
    ],
)
def test_other_dtypes_unaligned_and_reversed(dtype: str) -> None:
    kind = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    x = np.arange(12).reshape(3, 4).astype(kind)
    raw = np.zeros(x.nbytes + 1, np.uint8)
    odd = raw[1:].view(kind).reshape(x.shape)
    odd[...] = x
    for view in (odd, odd[::-1], x[:, ::-2], x.T):
        found = jit(lambda x: x.T)(view)
        assert found.dtype == kind and np.array_equal(np.asarray(found), view.T)
        assert np.array_equal(np.asarray(jit(lambda x: x == x)(view)), np.ones(view.shape, bool))
