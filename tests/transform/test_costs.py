"""What a derivative costs: products, residuals kept, values computed again, nodes per node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax
from tracejit.frontend.remat import checkpoint
from tracejit.ir.graph import Graph, Node, walk_nodes
from tracejit.transform.backward import transpose_graph
from tracejit.transform.forward import linearize_graph

LENGTH, WIDTH = 20, 16


def names(graph: Graph) -> Counter[str]:
    return Counter(node.prim.name for node in walk_nodes(graph))


def optimised(f: Callable[..., Any], *args: Any) -> Graph:
    return tj.jit(f).stages(*args).optimised


def mlp_loss(params: Any, x: Any, y: Any) -> Any:
    for weight, bias in params[:-1]:
        x = jnp.tanh(x @ weight + bias)
    weight, bias = params[-1]
    return jnp.mean((x @ weight + bias - y) ** 2)


def mlp(*widths: int) -> tuple[Any, Any, Any]:
    params = [(jnp.ones((a, b)), jnp.ones(b)) for a, b in zip(widths, widths[1:], strict=False)]
    return params, jnp.ones((64, widths[0])), jnp.ones((64, widths[-1]))


def test_three_products_per_layer_but_that_of_the_input() -> None:
    found = names(optimised(tj.grad(mlp_loss), *mlp(16, 32, 24, 8)))
    assert found["dot_general"] == 3 * 3 - 1
    assert found["transpose"] == found["reshape"] == found["select"] == 0
    assert found["tanh"] == 2


def test_value_and_gradient_share_the_forward_pass() -> None:
    found = names(optimised(tj.value_and_grad(mlp_loss), *mlp(16, 32, 24, 8)))
    assert (found["dot_general"], found["tanh"]) == (8, 2)


def test_relu_costs_no_guards() -> None:
    def loss(w: Any, x: Any) -> Any:
        return jnp.sum(jnp.maximum(jnp.maximum(x @ w, 0.0) @ w, 0.0))

    found = names(optimised(tj.grad(loss), jnp.ones((8, 8)), jnp.ones((4, 8))))
    assert found["reduce_or"] == found["or"] == found["and"] == 0


def rnn(weight: Any, xs: Any) -> Any:
    def step(h: Any, x: Any) -> Any:
        h = jnp.tanh(weight @ h + x)
        return h, None

    return jnp.sum(lax.scan(step, jnp.zeros(WIDTH), xs)[0])


def scans(graph: Graph) -> list[Node]:
    return [node for node in graph.nodes if node.prim.name == "scan"]


def stacked(node: Node) -> list[tuple[int, ...]]:
    """Shapes of a scan's results that have one entry per step."""
    return [out.type.shape for out in node.outputs[node.params["n_carry"] :]]


def test_scan_does_not_stack_what_stays_the_same() -> None:
    graph = optimised(tj.grad(rnn), jnp.ones((WIDTH, WIDTH)), jnp.ones((LENGTH, WIDTH)))
    forward, backward = scans(graph)
    assert sum(map(len, (stacked(forward),))) <= 2  # h and the derivative of tanh, not the weights
    assert all(shape == (LENGTH, WIDTH) for shape in stacked(forward))
    assert forward.inputs[0] in backward.inputs  # the weights themselves
    # what one product after the loop adds up for the gradient of the weights, and no weights
    assert stacked(backward) == [(LENGTH, WIDTH)]


def test_checkpoint_in_a_scan_keeps_the_carry_alone() -> None:
    def deep(use: Callable[..., Any]) -> Callable[..., Any]:
        @use
        def step(h: Any, x: Any) -> Any:
            return jnp.tanh(jnp.sin(jnp.exp(jnp.sin(h)) * x) + h), None

        return lambda xs: jnp.sum(lax.scan(step, jnp.ones(WIDTH), xs)[0])

    xs = jnp.ones((LENGTH, WIDTH))
    plain, kept = (scans(optimised(tj.grad(deep(use)), xs)) for use in (lambda f: f, checkpoint))
    assert len(stacked(plain[0])) >= 4
    assert stacked(kept[0]) == [(LENGTH, WIDTH)]
    assert names(kept[1].params["body"])["exp"] == 1
    np.testing.assert_allclose(
        tj.grad(deep(checkpoint))(xs), tj.grad(deep(lambda f: f))(xs), rtol=1e-5
    )


def test_checkpoint_computes_again_behind_a_barrier() -> None:
    def f(x: Any) -> Any:
        return jnp.sum(jnp.sin(jnp.sin(x)))

    plain = names(optimised(tj.grad(f), jnp.ones(8)))
    again = names(optimised(tj.value_and_grad(checkpoint(f)), jnp.ones(8)))
    assert plain["sin"] == 1
    assert again["barrier"] >= 1
    assert again["sin"] == 3  # two for the value, the inner one again


def test_residuals_of_a_checkpoint_are_its_arguments() -> None:
    def f(x: Any) -> Any:
        return jnp.exp(jnp.sin(jnp.cos(x) * x))

    for use, residuals in ((f, None), (checkpoint(f), 1)):
        split = linearize_graph(tj.make_graph(use, jnp.ones(4)), (True,))
        if residuals is None:
            assert split.residuals > 1
        else:
            assert split.sources == (0,)


def chain(length: int) -> Callable[[Any], Any]:
    def f(x: Any) -> Any:
        for _ in range(length):
            x = jnp.sin(x) * 1.01
        return x.sum()

    return f


def test_transforms_add_a_bounded_number_of_nodes_per_node() -> None:
    counts = []
    for length in (50, 100):
        graph = tj.make_graph(chain(length), jnp.ones(4))
        split = linearize_graph(graph, (True,))
        pulled, _ = transpose_graph(split.linear, (False,) * split.residuals + (True,), (True,))
        counts.append((len(split.forward.nodes), len(split.linear.nodes), len(pulled.nodes)))
    for short, long in zip(*counts, strict=True):
        assert long <= 2 * short + 4
    assert counts[0][0] <= 3 * 50 + 4


def sum_of_grad(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda x: tj.grad(f)(x).sum()


def test_higher_orders_grow_by_a_factor_per_order() -> None:
    def f(x: Any) -> Any:
        return jnp.tanh(x).sum()

    sizes, g = [], f
    for _ in range(3):
        sizes.append(len(optimised(g, jnp.ones(4)).nodes))
        g = sum_of_grad(g)
    assert sizes[2] <= 6 * sizes[1]


def test_linearised_function_holds_no_forward_work() -> None:
    graph = tj.make_graph(lambda x: jnp.exp(jnp.sin(x)) @ jnp.cos(x), jnp.ones(4))
    split = linearize_graph(graph, (True,))
    found = names(split.linear)
    assert not {"exp", "sin", "cos"} & set(found)
    assert names(split.forward)["exp"] == 1
