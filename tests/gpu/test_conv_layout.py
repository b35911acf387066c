"""Images keep the order in which convolutions want them, from one to the next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tracejit as tj
from tests.gpu.test_conv_spec import named, simplified, with_library
from tracejit import lax
from tracejit import numpy as jnp
from tracejit.ir.graph import Graph
from tracejit.ir.interp import run
from tracejit.ir.verify import verify
from tracejit.passes.conv_layout import keep_features_order

rng = np.random.default_rng(3)
X = rng.standard_normal((2, 3, 9, 8))
W = [rng.standard_normal(shape) for shape in ((4, 3, 3, 3), (4, 4, 3, 3), (5, 4, 3, 3))]
B = rng.standard_normal(4)


def conv(x: Any, w: Any, stride: int = 1) -> Any:
    return lax.conv(x, w, (stride, stride), "SAME")


def moved(function: Callable[..., Any], *arrays: np.ndarray) -> Graph:
    """The graph with its convolutions in order; the interpreter agrees with it."""
    graph = simplified(tj.make_graph(function, *arrays))
    made = keep_features_order(with_library(graph))
    verify(made)
    for wanted, found in zip(run(graph, arrays), run(made, arrays), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9)
    return made


def images_moved(graph: Graph) -> int:
    """Transposes of what is not an input of the graph."""
    inputs = set(graph.inputs)
    return sum(node.inputs[0] not in inputs for node in named(graph, "transpose"))


def biased(x: Any, w: Any, b: Any) -> Any:
    return jnp.maximum(conv(x, w) + b[:, None, None], 0)


def normalised(x: Any) -> Any:
    mean = x.mean((0, 2, 3), keepdims=True)
    return (x - mean) / jnp.sqrt(((x - mean) ** 2).mean((0, 2, 3), keepdims=True) + 1e-5)


def pooled(x: Any) -> Any:
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 1, 3, 2), (1, 1, 2, 2), "SAME")


def network(x: Any, w0: Any, w1: Any, w2: Any, b: Any) -> Any:
    """A small residual network, with all that lies between convolutions."""
    h = pooled(biased(x, w0, b))
    h = h + normalised(conv(h, w1))
    h = jnp.where(h > 0, h, 0.1 * h)
    h = jnp.concatenate([h, h[:, :, ::2]], 2)
    return conv(jnp.pad(h, ((0, 0), (0, 0), (1, 0), (0, 1))), w2, 2).mean((2, 3))


def test_between_convolutions_nothing_is_moved() -> None:
    made = moved(network, X, *W, B)
    assert len(named(made, "fused_conv")) == 3
    assert images_moved(made) == 0


def test_nor_in_a_step_of_training() -> None:
    def loss(ws: Any, b: Any, x: Any) -> Any:
        return (network(x, *ws, b) ** 2).sum()

    def step(x: Any, w0: Any, w1: Any, w2: Any, b: Any) -> Any:
        ws = (w0, w1, w2)
        found = tj.grad(loss)(ws, b, x)
        return tuple(w - 0.1 * dw for w, dw in zip(ws, found, strict=True))

    made = moved(step, X, *W, B)
    assert len(named(made, "fused_conv")) == 8
    # results, which are kernels in their own order
    outputs = set(made.outputs)
    for node in named(made, "transpose"):
        assert node.inputs[0] in made.inputs or node.outputs[0] in outputs, node


def test_a_result_that_leaves_is_as_it_was() -> None:
    made = moved(lambda x, w: conv(x, w) * 2, X, W[0])
    [last] = made.outputs
    assert made.producer[last].prim.name == "transpose"


def test_other_readers_get_their_order() -> None:
    def function(x: Any, w: Any, v: Any) -> Any:
        y = jnp.tanh(conv(x, w))
        return y.reshape(2, -1), conv(y, v)

    moved(function, X, W[0], W[1])


def test_both_operands_may_have_moved() -> None:
    def function(x: Any, w: Any, v: Any, u: Any) -> Any:
        left, right = conv(x, w), conv(x, v).transpose(0, 1, 3, 2)
        return conv(left + right, u)

    square = rng.standard_normal((2, 3, 8, 8))
    assert images_moved(moved(function, square, W[0], W[0] + 1, W[1])) == 2


def test_a_skip_connection_from_outside() -> None:
    z = rng.standard_normal((2, 4, 9, 8))
    made = moved(lambda x, w, v, z: conv(conv(x, w) + z, v), X, W[0], W[1], z)
    assert images_moved(made) == 1  # the result


@pytest.mark.parametrize("axes", [(1,), (0, 2), (3,), (0, 1, 2, 3), (1, 2)])
def test_reductions(axes: tuple[int, ...]) -> None:
    made = moved(lambda x, w: (conv(x, w) ** 2).sum(axes), X, W[0])
    assert len(named(made, "reduce_sum")) == 1


@pytest.mark.parametrize("order", [(0, 2, 3, 1), (1, 0, 3, 2), (3, 2, 1, 0)])
def test_transposes_of_the_user_meet_ours(order: tuple[int, ...]) -> None:
    made = moved(lambda x, w: jnp.exp(conv(x, w)).transpose(order) + 1, X, W[0])
    assert len(named(made, "transpose")) <= 3


def test_pooling_across_axes_that_change_places_stays() -> None:
    def function(x: Any, w: Any) -> Any:
        y = conv(x, w)
        return lax.reduce_window(y, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 1, 1, 1), "VALID")

    moved(function, X, W[0])


def test_a_graph_without_convolutions_is_left_alone() -> None:
    graph = tj.make_graph(lambda x: x.transpose(0, 2, 3, 1) + 1, X)
    assert keep_features_order(graph) is graph


def test_inside_loops() -> None:
    def function(x: Any, w: Any) -> Any:
        step = lambda _, h: conv(jnp.tanh(conv(h, w) + 1), w)  # noqa: E731
        return lax.fori_loop(0, 2, step, x)

    moved(function, X, rng.standard_normal((3, 3, 3, 3)))
