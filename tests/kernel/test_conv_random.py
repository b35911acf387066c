"""Random convolutions and their gradients, compiled, against the NumPy meaning of their graphs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax
from tracejit.errors import ShapeError
from tracejit.ir import interp
from tracejit.ir.types import DTYPES

#: relative to the largest element
TOLERANCE = {"f32": 3e-5, "f64": 1e-12, "bf16": 3e-2}
LAYOUTS = (("NCHW", "OIHW", "NCHW"), ("NHWC", "HWIO", "NHWC"), ("NHWC", "OIHW", "NCHW"))


def drawn(random: np.random.Generator) -> tuple[Any, ...]:
    """Shapes in the order of LAYOUTS[0], layout and params."""
    groups = int(random.choice([1, 1, 1, 2, 4]))
    features, outs = groups * int(random.integers(1, 6)), groups * int(random.integers(1, 20))
    if random.random() < 0.15:
        groups = outs = features  # depthwise
    kernel = random.integers(1, 6, 2)
    high = int(random.choice([8, 20, 40]))
    image = (int(random.integers(1, 4)), features, *map(int, random.integers(1, high, 2)))
    params = {
        "window_strides": tuple(map(int, random.choice([1, 1, 2, 3], 2))),
        "padding": tuple(tuple(map(int, random.integers(0, 4, 2))) for _ in range(2)),
        "lhs_dilation": tuple(map(int, random.choice([1, 1, 1, 1, 2], 2))),
        "rhs_dilation": tuple(map(int, random.choice([1, 1, 1, 2, 3], 2))),
        "feature_group_count": groups,
    }
    weights = (outs, features // groups, *map(int, kernel))
    return image, weights, LAYOUTS[int(random.integers(len(LAYOUTS)))], params


def arranged(shape: tuple[int, ...], order: str, model: str) -> tuple[int, ...]:
    return tuple(shape[model.index(letter)] for letter in order)


@pytest.mark.parametrize("dtype", sorted(TOLERANCE))
@pytest.mark.parametrize("seed", range(12))
def test_random_convolutions(seed: int, dtype: str) -> None:
    random = np.random.default_rng(1000 * seed + sorted(TOLERANCE).index(dtype))
    image, weights, layout, params = drawn(random)
    shapes = arranged(image, layout[0], "NCHW"), arranged(weights, layout[1], "OIHW")
    x, w = (random.standard_normal(shape).astype(DTYPES[dtype]) for shape in shapes)

    def conv(x: Any, w: Any) -> Any:
        return lax.conv_general_dilated(x, w, dimension_numbers=layout, **params)

    def all_three(x: Any, w: Any, g: Any) -> Any:
        y, back = tj.vjp(conv, x, w)
        return y, *back(g)

    try:
        shape = conv(jnp.asarray(x), jnp.asarray(w)).shape
    except ShapeError:
        pytest.skip("the kernel is larger than the image")
    g = random.standard_normal(shape).astype(DTYPES[dtype])
    graph = tj.make_graph(all_three, x, w, g)
    wanted = interp.run(graph, [x, w, g])
    for a, b in zip(tj.jit(all_three)(x, w, g), wanted, strict=True):
        a, b = np.asarray(a).astype(np.float64), np.asarray(b).astype(np.float64)
        scale = max(1.0, float(np.abs(b).max(initial=0.0)))
        np.testing.assert_allclose(a, b, rtol=0, atol=TOLERANCE[dtype] * scale)
