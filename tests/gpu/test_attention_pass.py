"""Attention is found however it is written, with its gradient; what is another thing stays."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import nn
from tracejit.ir import interp
from tracejit.ir.graph import Graph
from tracejit.ir.text import parse, show
from tracejit.ir.verify import verify
from tracejit.passes.attention import fuse_attention
from tracejit.passes.contract import canonicalise
from tracejit.passes.libraries import for_libraries
from tracejit.passes.pipeline import OPTIMISE, run_passes
from tracejit.transform import PRIMS

B, H, S, D = 2, 3, 8, 16
RANDOM = np.random.default_rng(3)
LOWER = np.tri(S, dtype=bool)


def einsum_heads_outside(q: Any, k: Any, v: Any) -> Any:
    p = nn.softmax(jnp.einsum("bhsd,bhtd->bhst", q, k) * 0.25, axis=-1)
    return jnp.einsum("bhst,bhtd->bhsd", p, v)


def einsum_heads_inside(q: Any, k: Any, v: Any) -> Any:
    p = nn.softmax(jnp.einsum("bshd,bthd->bhst", q, k) / math.sqrt(D))
    return jnp.einsum("bhst,bthd->bshd", p, v)


def by_hand(q: Any, k: Any, v: Any) -> Any:
    s = (q @ jnp.swapaxes(k, -1, -2)).astype(jnp.float32) * 0.3
    e = jnp.exp(s - s.max(-1, keepdims=True))
    return (e / e.sum(-1, keepdims=True)).astype(q.dtype) @ v


def by_logsumexp(q: Any, k: Any, v: Any) -> Any:
    s = jnp.einsum("bhsd,bhtd->bhst", q * 0.25, k).astype(jnp.float32)
    p = jnp.exp(nn.log_softmax(s, axis=-1)).astype(q.dtype)
    return jnp.einsum("bhst,bhtd->bhsd", p, v)


def causal_by_where(q: Any, k: Any, v: Any) -> Any:
    s = jnp.einsum("bhsd,bhtd->bhst", q, k).astype(jnp.float32) * 0.25
    p = nn.softmax(jnp.where(jnp.tril(jnp.ones((S, S), bool)), s, -1e10)).astype(q.dtype)
    return jnp.einsum("bhst,bhtd->bhsd", p, v)


def causal_by_inverse(q: Any, k: Any, v: Any) -> Any:
    s = jnp.einsum("bhsd,bhtd->bhst", q, k).astype(jnp.float32) * 0.25
    p = nn.softmax(jnp.where(jnp.asarray(~LOWER), -jnp.inf, s)).astype(q.dtype)
    return jnp.einsum("bhst,bhtd->bhsd", p, v)


def causal_by_addition(q: Any, k: Any, v: Any) -> Any:
    s = jnp.einsum("bhsd,bhtd->bhst", q, k).astype(jnp.float32) * 0.25
    p = nn.softmax(s + jnp.asarray(np.where(LOWER, 0, -1e30).astype("f4"))).astype(q.dtype)
    return jnp.einsum("bhst,bhtd->bhsd", p, v)


def one_head(q: Any, k: Any, v: Any) -> Any:
    q, k, v = q[:, 0], k[:, 0], v[:, 0]
    p = nn.softmax((q @ k.swapaxes(1, 2)).astype(jnp.float32) * 0.25).astype(q.dtype)
    return p @ v


def layer(q: Any, k: Any, v: Any) -> Any:
    return nn.dot_product_attention(q, k, v)


def causal_layer(q: Any, k: Any, v: Any) -> Any:
    return nn.dot_product_attention(q, k, v, is_causal=True)


FORMS = {
    f.__name__: f
    for f in (
        *(einsum_heads_outside, einsum_heads_inside, by_hand, by_logsumexp, causal_by_where),
        *(causal_by_inverse, causal_by_addition, one_head, layer, causal_layer),
    )
}


def optimised(function: Any, *arrays: Any) -> Graph:
    passes = [p for p in OPTIMISE if p is not canonicalise]
    return run_passes(tj.make_graph(function, *arrays), passes)


def arrays(heads_inside: bool = False, dtype: Any = ml_dtypes.bfloat16) -> list[np.ndarray]:
    shape = (B, S, H, D) if heads_inside else (B, H, S, D)
    return [RANDOM.normal(0, 1, shape).astype(dtype) for _ in range(3)]


def names(graph: Graph) -> list[str]:
    return [node.prim.name for node in graph.nodes]


def check(function: Any, *xs: Any, near: float = 0.06) -> Graph:
    """The graph with attention fused gives what it gave before."""
    graph = optimised(function, *xs)
    found = fuse_attention(graph, lambda node: True)
    verify(found)
    assert parse(show(found, full=True), PRIMS) == found
    wanted, got = interp.run(graph, list(xs)), interp.run(found, list(xs))
    for a, b in zip(got, wanted, strict=True):
        a, b = a.astype("f8"), b.astype("f8")
        assert np.abs(a - b).max() <= near * max(1, np.abs(b).max())
    return found


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16])
@pytest.mark.parametrize("name", FORMS)
def test_forward(name: str, dtype: Any) -> None:
    xs = arrays("inside" in name or "layer" in name, dtype)
    found = names(check(FORMS[name], *xs))
    assert "fused_attention" in found and "dot_general" not in found and "exp" not in found


@pytest.mark.parametrize("name", FORMS)
def test_gradient(name: str) -> None:
    xs = arrays("inside" in name or "layer" in name)

    def loss(q: Any, k: Any, v: Any) -> Any:
        out = FORMS[name](q, k, v).astype(jnp.float32)
        return jnp.sum(out * jnp.cos(jnp.arange(out.size).reshape(out.shape)))

    found = names(check(tj.grad(loss, argnums=(0, 1, 2)), *xs))
    assert "fused_attention_grad" in found and "dot_general" not in found


@pytest.mark.parametrize("which", [0, 1, 2])
def test_gradient_for_one_operand(which: int) -> None:
    def loss(q: Any, k: Any, v: Any) -> Any:
        return jnp.sum(einsum_heads_outside(q, k, v).astype(jnp.float32) ** 2)

    found = names(check(tj.grad(loss, argnums=which), *arrays()))
    assert "fused_attention_grad" in found and "dot_general" not in found


def test_a_bias_that_depends_on_data() -> None:
    def biased(q: Any, k: Any, v: Any, bias: Any) -> Any:
        s = jnp.einsum("bhsd,bhtd->bhst", q, k).astype(jnp.float32) * 0.25 + bias
        return jnp.einsum("bhst,bhtd->bhsd", nn.softmax(s).astype(q.dtype), v)

    bias = RANDOM.normal(0, 1, (B, H, S, S)).astype("f4")
    assert "fused_attention" in names(check(biased, *arrays(), bias))


def test_a_mask_that_depends_on_data() -> None:
    def masked(q: Any, k: Any, v: Any, keep: Any) -> Any:
        s = jnp.einsum("bhsd,bhtd->bhst", q, k).astype(jnp.float32) * 0.25
        p = nn.softmax(jnp.where(keep, s, -1e9)).astype(q.dtype)
        return jnp.einsum("bhst,bhtd->bhsd", p, v)

    keep = RANDOM.random((B, H, S, S)) < 0.7
    keep[..., 0] = True
    assert "fused_attention" in names(check(masked, *arrays(), keep))


def test_a_whole_block() -> None:
    """Projections of one input, as a transformer has them."""

    def block(x: Any, wq: Any, wk: Any, wv: Any) -> Any:
        q, k, v = ((x @ w).reshape(B, S, H, D) for w in (wq, wk, wv))
        out = nn.dot_product_attention(q, k, v, is_causal=True)
        return jnp.sum(out.reshape(B, S, H * D).astype(jnp.float32) ** 2)

    x = RANDOM.normal(0, 1, (B, S, H * D)).astype(ml_dtypes.bfloat16)
    ws = [RANDOM.normal(0, 0.1, (H * D, H * D)).astype(ml_dtypes.bfloat16) for _ in range(3)]
    found = check(tj.grad(block, argnums=(0, 1, 2, 3)), x, *ws, near=0.1)
    assert names(found).count("fused_attention_grad") == 1
    [node] = (n for n in found.nodes if n.prim.name == "fused_attention")
    assert node.params["axes"] == (0, 2, 1, 3) and node.params["mask"] == "causal"
    assert "transpose" not in names(run_passes(found, OPTIMISE[:8]))  # nothing is moved


def test_one_input_for_all() -> None:
    def alone(x: Any) -> Any:
        out = einsum_heads_outside(x, x, x).astype(jnp.float32)
        return jnp.sum(out**2)

    [x, *_] = arrays()
    assert "fused_attention" in names(check(alone, x))
    found = names(check(tj.grad(alone), x, near=0.1))
    assert "fused_attention_grad" in found and "dot_general" not in found


def test_queries_that_are_keys() -> None:
    def shared(x: Any, v: Any) -> Any:
        return jnp.sum(einsum_heads_outside(x, x, v).astype(jnp.float32) ** 2)

    x, v, _ = arrays()
    found = names(check(tj.grad(shared, argnums=(0, 1)), x, v, near=0.1))
    assert "fused_attention_grad" in found and "dot_general" not in found


def test_in_the_order_of_all_passes() -> None:
    """As the GPU back end runs them, transposes around it gone."""
    passes = for_libraries(lambda node: "attention" in node.prim.name, lambda dtype: None)
    xs = arrays(True)
    graph = tj.make_graph(tj.grad(lambda *a: jnp.sum(jnp.sin(causal_layer(*a)))), *xs)
    found = run_passes(graph, passes)
    assert {"fused_attention", "fused_attention_grad"} <= set(names(found))
    assert not {"transpose", "dot_general"} & set(names(found))
    wanted, got = interp.run(graph, xs), interp.run(found, xs)
    np.testing.assert_allclose(got[0].astype("f4"), wanted[0].astype("f4"), atol=0.05)


OTHERS = {
    "another function": lambda s: nn.sigmoid(s),
    "softmax over queries": lambda s: nn.softmax(s, axis=-2),
    "weights that do not sum to 1": lambda s: nn.softmax(s) * 2,
    "a temperature for each row": lambda s: nn.softmax(s * s.max(-1, keepdims=True)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_others_stay(name: str) -> None:
    def other(q: Any, k: Any, v: Any) -> Any:
        s = jnp.einsum("bhsd,bhtd->bhst", q, k).astype(jnp.float32)
        return jnp.einsum("bhst,bhtd->bhsd", OTHERS[name](s).astype(q.dtype), v)

    assert "fused_attention" not in names(check(other, *arrays()))


def test_weights_that_somebody_reads_stay() -> None:
    def both(q: Any, k: Any, v: Any) -> Any:
        p = nn.softmax(jnp.einsum("bhsd,bhtd->bhst", q, k) * 0.25)
        return jnp.einsum("bhst,bhtd->bhsd", p, v), p

    assert "fused_attention" not in names(check(both, *arrays()))


def test_float32_stays() -> None:
    found = check(einsum_heads_outside, *arrays(dtype=np.float32))
    assert "fused_attention" not in names(found)


def test_what_the_library_does_not_take_stays() -> None:
    graph = optimised(einsum_heads_outside, *arrays())
    assert fuse_attention(graph, lambda node: False) is graph
