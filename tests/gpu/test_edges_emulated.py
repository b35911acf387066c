"""Programs with an edge each, on the device that plays a GPU, every access checked."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import debug, lax

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not there")


@pytest.fixture(scope="module")
def device() -> Iterator[Any]:
    with debug.cuda_on_cpu(orders=(0,)) as found:
        yield found


def test_a_scalar_in_the_memory_of_an_operand(device: Any) -> None:
    f = tj.jit(lambda x: x * 2 + 1, device=device, donate_argnums=0)
    x = tj.device_put(np.float32(3), device)
    assert f(x) == 7.0 and x.is_deleted()


def test_a_convolution_with_a_constant_kernel(device: Any) -> None:
    kernel = np.array([1.0, 2.0, -1.0], "f4")
    x = np.arange(8.0, dtype="f4")
    f = tj.jit(lambda x: jnp.convolve(x, jnp.asarray(kernel)), device=device)
    np.testing.assert_allclose(f(x), np.convolve(x, kernel), rtol=1e-6)
    image = x.reshape(1, 1, 8)
    g = tj.jit(
        lambda x: lax.conv_general_dilated(x, jnp.ones((1, 1, 3), "f4"), (1,), "VALID"),
        device=device,
    )
    np.testing.assert_allclose(g(image)[0, 0], np.convolve(x, np.ones(3), "valid"), rtol=1e-6)


def test_a_carry_without_elements(device: Any) -> None:
    def f(c: Any, x: Any) -> Any:
        return lax.scan(lambda c, v: (c * 2, v * v), c, x)

    c, x = np.zeros((0, 4), "i4"), np.arange(5.0, dtype="f4")
    for where in (None, device):
        last, squares = tj.jit(f, device=where)(c, x)
        assert last.shape == (0, 4)
        np.testing.assert_array_equal(squares, x * x)
