"""Random bits: the published vectors of the cipher, and the bits JAX gives for the same keys."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tracejit.errors import ArgumentError, DTypeError, ShapeError
from tracejit.ir.types import DTYPES, TensorType
from tracejit.ops.random_bits import random_bits, threefry2x32

KEY = np.array([0, 42], np.uint32)
U32 = DTYPES["u32"]


def words(*values: int) -> list[Any]:
    return [np.array(v, np.uint32) for v in values]


@pytest.mark.parametrize(
    ("key", "counter", "wanted"),
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF,) * 2, (0xFFFFFFFF,) * 2, (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_published_vectors(key: Any, counter: Any, wanted: Any) -> None:
    found = threefry2x32.numpy(*words(*key, *counter))
    assert tuple(int(v) for v in found) == wanted


def bits(shape: Any, bit_width: int) -> Any:
    return random_bits.numpy(KEY, shape=shape, bit_width=bit_width).tolist()


def test_bits_are_those_of_jax() -> None:
    """jax.random.bits(PRNGKey(42), ...), jax 0.10."""
    assert bits((2, 3), 32) == [
        [2098992034, 2919706841, 2646866425],
        [2409546199, 1935504149, 2516274904],
    ]
    assert bits((3,), 8) == [162, 217, 249]
    assert bits((3,), 16) == [5026, 12505, 63993]
    assert bits((2,), 64) == [7871734211187709741, 276886910877598708]


def test_split_and_fold_in_are_those_of_jax() -> None:
    """jax.random.split(PRNGKey(42), 3) and fold_in(PRNGKey(42), 7)."""
    high, low = np.zeros(3, np.uint32), np.arange(3, dtype=np.uint32)
    k0, k1 = np.broadcast_to(KEY[0], 3), np.broadcast_to(KEY[1], 3)
    keys = np.stack(threefry2x32.numpy(k0, k1, high, low), -1)
    assert keys.tolist() == [
        [1832780943, 270669613],
        [64467757, 2916123636],
        [2465931498, 255383827],
    ]
    folded = threefry2x32.numpy(*words(*KEY, 0, 7))
    assert [int(v) for v in folded] == [2547012911, 1371500959]


def test_a_prefix_does_not_depend_on_the_shape() -> None:
    assert bits((5,), 32) == bits((9,), 32)[:5]


def test_several_keys_at_once() -> None:
    keys = np.array([[0, 42], [7, 1]], np.uint32)
    both = random_bits.numpy(keys, shape=(4,), bit_width=32)
    assert both[0].tolist() == bits((4,), 32) and both.shape == (2, 4)


def test_errors() -> None:
    key = TensorType(U32, (2,))
    with pytest.raises(ArgumentError, match="bit_width is 8, 16, 32 or 64, not 7"):
        random_bits.infer(key, shape=(), bit_width=7)
    with pytest.raises(DTypeError, match=r"a key is u32\[2\], not i64\[2\]"):
        random_bits.infer(TensorType(DTYPES["i64"], (2,)), shape=(), bit_width=32)
    with pytest.raises(ShapeError, match=r"a key is u32\[2\], not u32\[3\]"):
        random_bits.infer(TensorType(U32, (3,)), shape=(), bit_width=32)
    with pytest.raises(DTypeError, match="threefry2x32: takes u32 operands"):
        threefry2x32.infer(key, key, key, TensorType(DTYPES["i32"], (2,)))
