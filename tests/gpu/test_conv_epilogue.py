"""Biases and relus go into convolutions where nothing else needs what would not be stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tracejit as tj
from tests.gpu.test_conv_layout import B, W, X, biased, conv
from tests.gpu.test_conv_spec import named, simplified, with_library
from tracejit import nn
from tracejit import numpy as jnp
from tracejit.ir.graph import Graph, Node
from tracejit.ir.interp import run
from tracejit.ir.verify import verify
from tracejit.passes.conv_epilogue import fuse_conv_epilogues
from tracejit.passes.conv_layout import keep_features_order


def fused(
    function: Callable[..., Any],
    *arrays: np.ndarray,
    last: bool = True,
    takes: Callable[[Node], bool] = lambda node: True,
) -> Graph:
    """The graph with its epilogues; the interpreter agrees with it."""
    graph = simplified(tj.make_graph(function, *arrays))
    made = fuse_conv_epilogues(keep_features_order(with_library(graph, last)), takes)
    verify(made)
    for wanted, found in zip(run(graph, arrays), run(made, arrays), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9)
    return made


def epilogues(graph: Graph) -> list[str]:
    return [node.params["epilogue"] for node in named(graph, "fused_conv")]


def with_relu(x: Any, w: Any, b: Any) -> Any:
    return nn.relu(conv(x, w) + b[:, None, None])


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("function", [biased, with_relu])
def test_bias_and_relu(function: Callable[..., Any], last: bool) -> None:
    made = fused(function, X, W[0], B, last=last)
    assert epilogues(made) == ["bias_relu"]
    assert not {"add", "max", "select", "le"} & {node.prim.name for node in made.nodes}


def test_relu_alone() -> None:
    assert epilogues(fused(lambda x, w: nn.relu(conv(x, w)), X, W[0])) == ["relu"]


def test_a_bias_that_no_kernel_adds() -> None:
    made = fused(lambda x, w, b, v: conv(conv(x, w) + b[:, None, None], v), X, W[0], B, W[1])
    assert epilogues(made) == ["bias", ""]


def test_a_bias_that_a_kernel_adds() -> None:
    made = fused(lambda x, w, b: jnp.tanh(conv(x, w) + b[:, None, None]), X, W[0], B)
    assert epilogues(made) == [""]


def test_gradients_ask_the_result_for_signs() -> None:
    def loss(w: Any, x: Any, b: Any, v: Any) -> Any:
        return jnp.sin(conv(with_relu(x, w, b), v)).sum()

    made = fused(tj.grad(loss), W[0], X, B, W[1])
    assert epilogues(made)[0] == "bias_relu"


@pytest.mark.parametrize(
    "function",
    [
        lambda x, w, b: (nn.relu(conv(x, w) + b[:, None, None]), conv(x, w) * 2),
        lambda x, w, b: (lambda z: (nn.relu(z), z))(conv(x, w) + b[:, None, None]),
        lambda x, w, b: (lambda z: nn.relu(z) + jnp.exp(z))(conv(x, w) + b[:, None, None]),
        lambda x, w, b: nn.relu(conv(x, w) + b[:, None]),  # along rows, not features
        lambda x, w, b: jnp.maximum(conv(x, w), 1),
    ],
)
def test_what_is_read_elsewhere_stays(function: Callable[..., Any]) -> None:
    square = X[:, :, :4]
    assert set(epilogues(fused(function, square, W[0], B))) == {""}


def test_a_library_may_have_less() -> None:
    made = fused(biased, X, W[0], B, takes=lambda node: node.params["epilogue"] != "bias_relu")
    assert epilogues(made) == [""]


def test_inside_loops() -> None:
    def function(x: Any, w: Any) -> Any:
        return tj.lax.fori_loop(0, 2, lambda _, h: nn.relu(conv(h, w)), x)

    made = fused(function, X, W[1][:3, :3])
    assert "epilogue='relu'" in str(made)
