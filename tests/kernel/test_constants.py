"""Constants that follow from sizes, and what it is for: new sizes need no new kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit.kernel import interp
from tracejit.kernel.constants import of_sizes
from tracejit.kernel.text import parse, show
from tracejit.kernel.verify import verify

MEAN = """kernel mean_mul[n0](in x: f32[n0], out y: f32[], out z: f32[n0])
  s: f32 = 0.0
  vec(16x4) i in n0:
    s add= x[i]
  y[] = mul(s, {inverse})
  vec(16x4) j in n0:
    z[j] = mul(x[j], {inverse})
"""


def general(extent: int) -> Any:
    inverse = repr(float(np.float32(1) / np.float32(extent)))
    kernel = of_sizes(parse(MEAN.format(inverse=inverse)), {extent: "n0"})
    verify(kernel)
    assert parse(show(kernel)) == kernel
    return kernel


@pytest.mark.parametrize("extent", [48, 96, 1000])
def test_means_of_other_lengths_are_the_same_kernel(extent: int) -> None:
    assert general(extent) == general(77)
    assert "div(1.0, convert[f32](n0))" in show(general(extent))


@pytest.mark.parametrize("extent", [64, 77, 128])
def test_values_stay_the_same_bits(extent: int) -> None:
    x = np.random.default_rng(0).standard_normal(extent).astype(np.float32)
    found = {}
    inverse = repr(float(np.float32(1) / np.float32(extent)))
    for name, kernel in (("a", parse(MEAN.format(inverse=inverse))), ("b", general(extent))):
        y, z = np.zeros((), np.float32), np.zeros(extent, np.float32)
        interp.run(kernel, {"x": x, "y": y, "z": z}, {"n0": extent})
        found[name] = y, z
    np.testing.assert_array_equal(found["a"][0], found["b"][0])
    np.testing.assert_array_equal(found["a"][1], found["b"][1])


def test_other_constants_stay() -> None:
    kernel = parse(MEAN.format(inverse="0.3"))
    assert of_sizes(kernel, {128: "n0"}) is kernel


def test_a_new_batch_size_needs_no_new_kernel() -> None:
    def loss(w: Any, v: Any, x: Any, t: Any) -> Any:
        h = tj.nn.relu(x @ w)
        h = (h - h.mean(1, keepdims=True)) * 0.5
        return jnp.mean((h @ v - t) ** 2) + jnp.mean(tj.nn.log_softmax(h @ v))

    step = tj.jit(tj.value_and_grad(loss, argnums=(0, 1)))

    def kernels(batch: int) -> set[Any]:
        shapes = ((50, 48), (48, 10), (batch, 50), (batch, 10))
        given = (tj.ShapeDtypeStruct(shape, np.float32) for shape in shapes)
        return set(step.stages(*given).program.kernels)

    assert not kernels(96) - kernels(72)
    assert not kernels(33) - kernels(72)
    assert not kernels(81) - kernels(64)
