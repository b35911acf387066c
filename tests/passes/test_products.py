"""Products whose result is only read transposed are computed that way."""

from __future__ import annotations

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax
from tracejit.ir import interp
from tracejit.ir.verify import verify
from tracejit.passes.pipeline import OPTIMISE, run_passes
from tracejit.passes.products import swap_transposed

A, B = np.arange(6.0).reshape(2, 3), np.arange(12.0).reshape(3, 4)


def names(graph: tj.make_graph) -> list[str]:
    return [node.prim.name for node in graph.nodes]


@pytest.mark.parametrize("stack", [(), (5,)])
def test_a_transposed_product_swaps_its_operands(stack: tuple[int, ...]) -> None:
    a, b = np.broadcast_to(A, (*stack, 2, 3)), np.broadcast_to(B, (*stack, 3, 4))
    graph = tj.make_graph(lambda a, b: jnp.matrix_transpose(a @ b), a, b)
    found = swap_transposed(graph)
    verify(found)
    assert names(found) == ["dot_general"]
    np.testing.assert_array_equal(interp.run(found, [a, b])[0], interp.run(graph, [a, b])[0])
    assert swap_transposed(found) is found


def test_a_product_read_otherwise_too_stays() -> None:
    graph = tj.make_graph(lambda a, b: ((a @ b).T, (a @ b).sum()), A, B)
    assert names(run_passes(graph, OPTIMISE)).count("transpose") == 1


def test_other_permutations_stay() -> None:
    def f(a, b):
        return jnp.transpose(jnp.tensordot(a, b, 1), (0, 2, 1))

    graph = tj.make_graph(f, A, np.ones((3, 4, 5)))
    assert swap_transposed(graph) is graph


def test_gradient_of_weights_in_a_loop_needs_no_transposes() -> None:
    def f(w, xs):
        h, _ = lax.scan(lambda h, x: (jnp.tanh(x @ w.T + h), None), np.zeros((2, 4)), xs)
        return h.sum()

    w, xs = np.ones((4, 3)), np.ones((6, 2, 3))
    gradient = tj.jit(tj.grad(f))
    optimised = gradient.stages(w, xs).optimised
    scans = [node.params["body"] for node in optimised.nodes if node.prim.name == "scan"]
    assert "transpose" not in names(scans[-1])
    np.testing.assert_allclose(gradient(w, xs), tj.grad(f)(w, xs), rtol=1e-12)
