"""Products taken out of loops: what is written, and that it computes the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax
from tracejit.ir import interp
from tracejit.ir.graph import Graph
from tracejit.ir.verify import verify
from tracejit.passes.hoist import hoist_products
from tracejit.passes.pipeline import OPTIMISE, run_passes

rng = np.random.default_rng(0)
W, V = rng.standard_normal((2, 6, 5))
XS = rng.standard_normal((7, 9, 5))
H = rng.standard_normal((9, 6))


def loops(graph: Graph) -> list[Any]:
    return [node for node in graph.nodes if node.prim.name in ("scan", "while")]


def body_names(graph: Graph, which: int = -1) -> list[str]:
    return [node.prim.name for node in loops(graph)[which].params["body"].nodes]


def checked(f: Any, *args: Any) -> Graph:
    """The hoisted graph of a function, which computes what the graph as traced does."""
    graph = tj.make_graph(f, *args)
    found = hoist_products(graph)
    verify(found)
    flat = [np.asarray(x) for x in args]
    for a, b in zip(interp.run(found, flat), interp.run(graph, flat), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
    assert hoist_products(found) is found
    return found


@pytest.mark.parametrize("reverse", [False, True])
def test_a_product_of_each_slice_is_made_before(reverse: bool) -> None:
    def f(w: Any, xs: Any, h: Any) -> Any:
        def step(h: Any, x: Any) -> Any:
            h = jnp.tanh(x @ w + h)
            return h, h

        return lax.scan(step, h, xs, reverse=reverse)

    assert "dot_general" not in body_names(checked(f, W.T.copy(), XS, H))


def test_a_product_of_the_carry_stays_on_a_transposed_matrix() -> None:
    def f(w: Any, h: Any) -> Any:
        return lax.fori_loop(
            0, 4, lambda _, h: jnp.tanh(lax.dot_general(h, w, (((1,), (1,)), ((), ())))), h
        )

    found = checked(f, rng.standard_normal((6, 6)), H)
    dots = [n for n in loops(found)[0].params["body"].nodes if n.prim.name == "dot_general"]
    assert dots[0].params["dimension_numbers"][0] == ((1,), (0,))
    assert [n.prim.name for n in found.nodes].count("transpose") == 1


def test_a_while_reads_a_matrix_transposed_before_it() -> None:
    def f(w: Any, h: Any) -> Any:
        step = lambda h: jnp.tanh(lax.dot_general(h, w, (((1,), (1,)), ((), ()))))  # noqa: E731
        return lax.while_loop(lambda h: h.sum() > 0.5, step, h)

    found = checked(f, 0.1 * rng.standard_normal((6, 6)), abs(H))
    assert [n.prim.name for n in found.nodes][0] == "transpose"


@pytest.mark.parametrize("reverse", [False, True])
def test_sums_of_products_are_one_product_after(reverse: bool) -> None:
    def f(xs: Any, total: Any, bias: Any) -> Any:
        def step(carry: Any, x: Any) -> Any:
            h, total, bias = carry
            h = jnp.tanh(h + x)
            contract = (((0,), (0,)), ((), ()))
            return (h, total + lax.dot_general(h, x, contract), bias + h.sum(0)), h

        return lax.scan(step, (xs[0], total, bias), xs, reverse=reverse)

    wide = rng.standard_normal((7, 2, 5))
    found = checked(f, wide, rng.standard_normal((5, 5)), np.ones(5))
    assert loops(found)[0].params["n_carry"] == 1
    assert not {"dot_general", "reduce_sum"} & set(body_names(found))


def test_batched_products_are_summed_too() -> None:
    def f(xs: Any, total: Any) -> Any:
        def step(carry: Any, x: Any) -> Any:
            h, total = carry
            h = jnp.sin(h + x)
            return (h, total + jnp.matmul(h, x)), None

        return lax.scan(step, (xs[0], total), xs)[0]

    found = checked(f, rng.standard_normal((4, 3, 2, 2)), np.zeros((3, 2, 2)))
    # what is stacked for it is as large as the total
    assert loops(found)[0].params["n_carry"] == 1


@pytest.mark.parametrize("read", ["carry", "term"])
def test_totals_that_steps_read_stay(read: str) -> None:
    def f(xs: Any) -> Any:
        def step(total: Any, x: Any) -> Any:
            term = x.T @ x
            new = total + term
            return new, (total if read == "carry" else term)

        return lax.scan(step, jnp.zeros((5, 5), "float64"), xs)

    assert loops(checked(f, XS))[0].params["n_carry"] == 1


def test_gradient_of_a_recurrent_net() -> None:
    def loss(w: Any, u: Any, xs: Any) -> Any:
        step = lambda h, x: (jnp.tanh(x @ u.T + h @ w.T), None)  # noqa: E731
        return (lax.scan(step, jnp.zeros((9, 6), "float64"), xs)[0] ** 2).sum()

    args = 0.3 * rng.standard_normal((6, 6)), W, XS
    gradient = tj.grad(loss, argnums=(0, 1))
    optimised = run_passes(tj.make_graph(gradient, *args), OPTIMISE)
    assert body_names(optimised).count("dot_general") == 1
    assert loops(optimised)[-1].params["n_carry"] == 1
    for a, b in zip(tj.jit(gradient)(*args), gradient(*args), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9)


@pytest.mark.parametrize("length", [0, 1])
def test_short_loops(length: int) -> None:
    def f(w: Any, xs: Any) -> Any:
        def step(total: Any, x: Any) -> Any:
            return total + jnp.outer(x, x), x @ w

        return lax.scan(step, jnp.ones((5, 5), "float64"), xs)

    checked(f, W.T.copy(), rng.standard_normal((length, 5)))
