"""Products, einsum, convolution, interpolation, polynomials against NumPy, also inside a trace."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tracejit.numpy as jnp
from tests.numpy.agree import agrees, check
from tracejit.errors import ArgumentError, ShapeError
from tracejit.frontend.derivatives import grad, make_graph

RNG = np.random.default_rng(3)


def random(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape)


F, G, V = random(3, 4), random(3, 4), random(7)
SHAPES = [
    ((3, 4), (4, 5)), ((4,), (4,)), ((3, 4), (4,)), ((4,), (4, 5)), ((2, 1, 3, 4), (5, 4, 2)),
    ((4,), (5, 4, 2)),
    ((5, 4, 2), (2,)), ((5, 4, 2), (2, 3)), ((3, 4), (5, 4, 2)), ((2, 5, 3, 4), (2, 1, 4, 2)),
    ((0, 3), (3, 2)),
    ((2, 0), (0, 3)),
]  # fmt: skip


@pytest.mark.parametrize(("a", "b"), SHAPES, ids=str)
def test_matmul(a: Any, b: Any) -> None:
    agrees("matmul", random(*a), random(*b))
    check(lambda x, y: x @ y, lambda x, y: x @ y, random(*a), random(*b), trace=False)


def test_products() -> None:
    cube = random(2, 3, 4)
    agrees("dot", cube, random(5, 4, 2))
    agrees("dot", F, 2.0)
    agrees("inner", F, G)
    agrees("outer", F, V)
    agrees("vdot", F + 1j * G, G + 2j)
    agrees("vecdot", F, G)
    agrees("matvec", F, V[:4].copy())
    agrees("vecmat", V[:3].copy(), F)
    agrees("tensordot", cube, random(4, 3, 5), axes=([1, 2], [1, 0]))
    agrees("tensordot", F, G, axes=0)
    agrees("kron", F, G)
    agrees("kron", F, V)
    agrees("cross", F[:, :3].copy(), G[:, :3].copy())
    check(
        lambda x, y: jnp.dot(x, y),
        lambda x, y: x @ y,
        (F * 9).astype(np.int32),
        (G.T * 9).astype(np.int32),
    )


EINSUMS: list[tuple[Any, ...]] = [
    ("ij,jk->ik", (2, 3), (3, 4)), ("ii->i", (3, 3)), ("ii", (3, 3)),
    ("...ij,...jk->...ik", (2, 1, 3, 4), (5, 4, 2)),
    ("ij,jk,kl->il", (2, 3), (3, 4), (4, 5)), ("i,j", (2,), (3,)), ("ijk->k", (2, 3, 4)),
    ("ij,ij->", (2, 3), (2, 3)),
    ("bhqd,bhkd->bhqk", (2, 3, 4, 5), (2, 3, 6, 5)), ("ba,", (2, 3), ()), ("ij,ij->ij", (2, 3),
    (2, 3)),
    ("iij,jk->k", (3, 3, 2), (2, 4)), ("ij->ji", (2, 3)), ("...->...", (2, 3)),
    ("i...->...", (2, 3)),
    ("ij,kj->ik", (2, 3), (4, 3)), ("abc,cd,de,ea->b", (2, 3, 4), (4, 5), (5, 6), (6, 2)),
    ("ij,j", (2, 3), (1,)),
]  # fmt: skip


@pytest.mark.parametrize("case", EINSUMS, ids=[c[0] for c in EINSUMS])
def test_einsum(case: tuple[Any, ...]) -> None:
    spec, *shapes = case
    check(
        lambda *xs: jnp.einsum(spec, *xs),
        lambda *xs: np.einsum(spec, *xs),
        *(random(*s) for s in shapes),
    )


def test_einsum_takes_lists_of_labels_and_contracts_cheaply() -> None:
    check(lambda x, y: jnp.einsum(x, [0, 1], y, [1, 2], [0, 2]), lambda x, y: x @ y, F, G.T.copy())
    graph = make_graph(
        lambda a, b, v: jnp.einsum("ij,jk,k->i", a, b, v),
        random(50, 50),
        random(50, 50),
        random(50),
    )
    products = [n.outputs[0].type.shape for n in graph.nodes if n.prim.name == "dot_general"]
    assert products == [(50,), (50,)]
    assert "kj" not in jnp.einsum_path("ij,jk,k->i", random(5, 5), random(5, 5), random(5))[1]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("ij,jk->ik", "names 2 operands, 1 are given"),
        ("ijk->i", "operand 1 has 2 axes"),
        ("ij->iz", "'z' is in no operand"),
        ("ij->ii", "twice in the result"),
        ("i;j", "letter"),
    ],
)
def test_einsum_errors(spec: str, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        jnp.einsum(spec, F)


def test_einsum_sizes() -> None:
    with pytest.raises(ShapeError, match="'j' has size 4 in operand 1 and 3 in operand 2"):
        jnp.einsum("ij,jk", F, F)


@pytest.mark.parametrize("mode", ["full", "same", "valid"])
def test_convolution(mode: str) -> None:
    for a, v in [
        (V, G[0]),
        (G[0], V),
        (V, G[0, :3].copy()),
        (G[0, :3].copy(), V),
        (V, np.array([1, 2, 3])),
    ]:
        agrees("convolve", a, v, mode=mode)
        agrees("correlate", a, v, mode=mode)
    agrees("correlate", F[0] + 1j * G[0], F[1] + 2j, mode=mode)


def test_differences_and_integrals() -> None:
    steps = np.sort(V)
    agrees("diff", V)
    agrees("diff", F, 2, axis=0)
    agrees("diff", V, prepend=0.0, append=[1.0, 2.0])
    agrees("diff", F > 0)
    agrees("ediff1d", V, to_end=[1.0, 2.0], to_begin=0.0)
    agrees("gradient", V)
    agrees("gradient", F)
    agrees("gradient", V, 2.0, edge_order=2)
    agrees("gradient", random(7), steps)
    agrees("gradient", random(7), steps, edge_order=2)
    agrees("trapezoid", F)
    agrees("trapezoid", F, dx=0.5, axis=0)
    agrees("trapezoid", V, steps)


def test_interpolation() -> None:
    agrees("interp", F, np.sort(V), random(7))
    agrees("interp", F, np.arange(7.0), V, left=0.0, right=1.0)
    agrees("interp", F * 10, np.arange(5.0), V[:5].copy(), period=5.0)
    agrees("interp", 0.3, np.array([0.0, 1.0]), np.array([2.0, 3.0]))
    slope = grad(lambda x: jnp.interp(x, jnp.array([0.0, 1.0, 3.0]), jnp.array([0.0, 2.0, 0.0])))
    assert [float(slope(x)) for x in (0.5, 2.0, 5.0)] == [2, -1, 0]


def test_polynomials() -> None:
    agrees("polyval", V, F)
    agrees("polyadd", V, G[0])
    agrees("polysub", V, G[0])
    agrees("polymul", V, G[0])
    agrees("polyder", V, 2)
    agrees("polyint", V, 2, k=[1.0, 2.0])
    agrees("polydiv", V, G[0])
    agrees("poly", V)
    agrees("trim_zeros", np.array([0, 0, 1, 2, 0]), trace=False)
