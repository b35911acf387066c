"""Convolutions between transposes: nothing moves."""

from __future__ import annotations

from typing import Any

import numpy as np

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax
from tracejit.ir.graph import Graph
from tracejit.passes.conv_plan import cycles, geometry

RANDOM = np.random.default_rng(2)


def array(*shape: int) -> Any:
    return jnp.asarray(RANDOM.standard_normal(shape).astype(np.float32))


def last(x: Any, w: Any, **given: Any) -> Any:
    """A convolution that takes and gives images channels first, and computes channels last."""
    y = lax.conv_general_dilated(
        x.transpose(0, 2, 3, 1),
        w,
        given.get("strides", (1, 1)),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    return y.transpose(0, 3, 1, 2)


def network(x: Any, weights: Any) -> Any:
    for w in weights[:-1]:
        x = tj.nn.relu(last(x, w))
    return last(x, weights[-1])


def loss(x: Any, weights: Any) -> Any:
    return jnp.sum(network(x, weights) ** 2)


def moved(graph: Graph) -> list[tuple[int, ...]]:
    """The shapes of transposed images; the weights' are small."""
    found = [n.outputs[0].type.shape for n in graph.nodes if n.prim.name == "transpose"]
    return [shape for shape in found if shape[0] == 2]


def test_nothing_moves_between_convolutions() -> None:
    x, weights = array(2, 16, 24, 24), [array(3, 3, 16, 16) for _ in range(3)]
    fast = tj.jit(network)
    assert moved(fast.stages(x, weights).graph) and not moved(fast.stages(x, weights).optimised)
    np.testing.assert_allclose(fast(x, weights), network(x, weights), 1e-4, 1e-3)


def test_nor_in_a_training_step() -> None:
    x, weights = array(2, 16, 24, 24), [array(3, 3, 16, 16) for _ in range(3)]
    step = tj.jit(tj.grad(loss, argnums=1))
    assert not moved(step.stages(x, weights).optimised)
    found, wanted = step(x, weights), tj.grad(loss, argnums=1)(x, weights)
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, 1e-3, 1e-3 * float(np.abs(np.asarray(b)).max()))


def test_strides_and_several_readers() -> None:
    def f(x: Any, w: Any) -> Any:
        y = last(x, w, strides=(2, 2))
        return y, y.transpose(0, 2, 3, 1) + 1.0, jnp.sum(tj.nn.relu(y), axis=(2, 3))

    x, w = array(2, 5, 9, 12), array(3, 3, 5, 7)
    for a, b in zip(tj.jit(f)(x, w), f(x, w), strict=True):
        np.testing.assert_allclose(a, b, 1e-4, 1e-4)


def test_transposed_weights_are_read_as_they_lie() -> None:
    def f(x: Any, w: Any) -> Any:
        w = w.transpose(3, 2, 0, 1)
        numbers = ("NCHW", "OIHW", "NCHW")
        return lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=numbers)

    x, w = array(2, 16, 14, 14), array(3, 3, 16, 32)
    optimised = tj.jit(f).stages(x, w).optimised
    (conv,) = (n for n in optimised.nodes if n.prim.name == "conv_general_dilated")
    assert moved(optimised) == []
    types = [v.type for v in conv.inputs]
    assert cycles(geometry(*types, dict(conv.params))) > 0
    np.testing.assert_allclose(tj.jit(f)(x, w), f(x, w), 1e-4, 1e-4)
