"""Blocks with JAX's names: debug_nans, disable_jit, named_scope and the others."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax
from tracejit.errors import (
    ArgumentError,
    BackendError,
    GradError,
    LeakedTracerError,
    MissingRule,
    NonFiniteError,
    TracejitError,
)

X = np.array([-1.0, 2.0], np.float32)


def logs(x: Any) -> Any:
    y = x + 1
    return jnp.sum(jnp.log(y - 1) * 2)


WRAPPED = {
    "at once": logs,
    "jit": tj.jit(logs),
    "grad": tj.grad(logs),
    "jit of grad": tj.jit(tj.value_and_grad(logs)),
    "grad of jit": tj.grad(tj.jit(logs)),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_debug_nans_names_the_operation(name: str) -> None:
    fun = WRAPPED[name]
    fun(X)
    with tj.debug_nans():
        fun(X + 3)
        with pytest.raises(NonFiniteError, match="log: computed nan") as caught:
            fun(X)
    assert "jnp.log(y - 1)" in str(caught.value)
    assert "from -1.0 to 2.0" in str(caught.value)
    assert isinstance(caught.value, FloatingPointError)


def test_debug_nans_inside_a_loop() -> None:
    def root(x: Any) -> Any:
        return lax.fori_loop(0, 3, lambda k, c: jnp.sqrt(c - 1), x)

    with tj.debug_nans(), pytest.raises(NonFiniteError, match="sqrt: computed nan") as caught:
        tj.jit(root)(2.0)
    assert "jnp.sqrt(c - 1)" in str(caught.value)


def test_debug_infs() -> None:
    inverse = tj.jit(lambda x: 1 / x)
    assert np.isinf(inverse(0.0))
    with tj.debug_infs():
        inverse(1.0)
        with pytest.raises(NonFiniteError, match="div: computed inf"):
            inverse(0.0)
    with tj.debug_nans():
        assert np.isinf(inverse(0.0))


def test_jax_names_of_settings() -> None:
    before = tj.config.default_float
    try:
        tj.config.update("jax_enable_x64", True)
        assert jnp.ones(2).dtype == np.float64
        tj.config.update("jax_debug_nans", True)
        with pytest.raises(NonFiniteError):
            jnp.log(jnp.array(-1.0))
    finally:
        tj.config.update("jax_debug_nans", False)
        tj.config.update("default_float", before)
    with pytest.raises(TracejitError, match="no setting 'jax_no_such'"):
        tj.config.update("jax_no_such", 1)


def test_disable_jit() -> None:
    seen = []

    @tj.jit
    def body(c: Any, x: Any) -> Any:
        seen.append(float(c))
        return c + x, c if x > 1 else -c

    with tj.disable_jit():
        total, ys = lax.scan(body, 0.0, jnp.arange(3.0))
        assert (float(total), ys.tolist(), seen) == (3.0, [-0.0, -0.0, 1.0], [0.0, 0.0, 1.0])
        _, back = lax.scan(lambda c, x: (c, x), 0, jnp.arange(3), reverse=True)
        assert back.tolist() == [0, 1, 2]
        seen.clear()
        assert (
            float(lax.while_loop(lambda c: c < 3, lambda c: seen.append(int(c)) or c + 1, 0)) == 3
        )
        assert seen == [0, 1, 2]
        assert int(lax.fori_loop(0, 4, lambda k, c: c + int(k), 0)) == 6
        assert float(tj.grad(tj.jit(lambda x: x**2 if x > 0 else x))(3.0)) == 6.0


def test_no_execution() -> None:
    double = tj.jit(lambda x: 2 * x)
    double(1.0)
    with tj.no_execution():
        double.stages(1.0)
        with pytest.raises(BackendError, match="programs do not run"):
            double(1.0)


def test_log_compiles(caplog: pytest.LogCaptureFixture) -> None:
    def double(x: Any) -> Any:
        return 2 * x

    compiled = tj.jit(double)
    with tj.log_compiles(), caplog.at_level(logging.WARNING, "tracejit"):
        compiled(X)
        compiled(X)
    (record,) = caplog.records
    assert "compiling double(x: f32[2]), called at test_contexts.py" in record.getMessage()


def test_leaks() -> None:
    kept: list[Any] = []

    def leak(x: Any) -> Any:
        kept.append(2 * x)
        return x

    tj.jit(leak)(1.0)
    kept.clear()
    with tj.checking_leaks(), pytest.raises(LeakedTracerError, match="still alive"):
        tj.jit(leak)(1.0)
    kept.clear()
    with pytest.raises(LeakedTracerError, match="from mul at test_contexts.py"):
        with tj.check_tracer_leaks():
            tj.vmap(leak)(X)
    kept.clear()
    with tj.check_tracer_leaks():
        tj.jit(tj.grad(lambda x: lax.scan(lambda c, _: (c * x, c), x, None, length=3)[0]))(1.0)


def test_named_scope_is_in_stages_and_errors() -> None:
    @tj.named_call
    def attention(x: Any) -> Any:
        with tj.named_scope("weights"):
            return jnp.exp(x)

    graph = str(tj.make_graph(lambda x: attention(x) + 1, X))
    assert "[attention/weights]" in graph and graph.count("[") < graph.count("#") * 3
    with pytest.raises(TracejitError, match=r"\[block\]"), tj.named_scope("block"):
        jnp.ones(2) + jnp.ones(3)
    assert "[" not in str(tj.make_graph(jnp.exp, 1.0)).partition("#")[2]


def test_compile_time_eval() -> None:
    @tj.jit
    def doubled_if_large(x: Any) -> Any:
        with tj.ensure_compile_time_eval():
            large = jnp.sum(jnp.arange(5)) > 3
        return 2 * x if large else x

    assert float(doubled_if_large(2.0)) == 4.0

    @tj.jit
    def mixes(x: Any) -> Any:
        with tj.ensure_compile_time_eval():
            return x + 1

    with pytest.raises(TracejitError):
        mixes(1.0)


def test_matmul_precision() -> None:
    for name, ours in (("highest", "f32"), ("bfloat16", "tf32"), ("tensorfloat32", "tf32")):
        with tj.default_matmul_precision(name):
            assert tj.config.precision == ours
    with pytest.raises(ArgumentError, match="no precision 'f33'"):
        tj.default_matmul_precision("f33")


def test_make_jaxpr() -> None:
    graph, shape = tj.make_jaxpr(lambda n, x: jnp.sum(x) * n, static_argnums=0, return_shape=True)(
        3, tj.ShapeDtypeStruct((2,), np.float32)
    )
    assert [str(node.prim) for node in graph.nodes] == ["reduce_sum", "mul"]
    assert shape == tj.ShapeDtypeStruct((), np.float32)
    named = tj.make_jaxpr(lambda x: lax.psum(x, "i"), axis_env=[("i", 4)])(X)
    assert "all_gather" in str(named)


def test_linear_transpose() -> None:
    matrix = np.arange(6.0).reshape(2, 3)
    shape = tj.ShapeDtypeStruct((3,), np.float64)
    (ct,) = tj.linear_transpose(lambda x: matrix @ x, shape)(np.array([1.0, 2.0]))
    np.testing.assert_array_equal(ct, matrix.T @ [1.0, 2.0])
    trees = tj.linear_transpose(lambda d: {"s": d["a"] + 2 * d["b"]}, {"a": 1.0, "b": 1.0})
    assert tj.tree.map(float, trees({"s": 3.0})) == ({"a": 3.0, "b": 6.0},)
    with pytest.raises(MissingRule, match="is not linear"):
        tj.linear_transpose(jnp.sin, 1.0)(1.0)
    with pytest.raises(GradError, match="floating"):
        tj.linear_transpose(lambda x: x, 1)


def test_vjp_functions_cross_jit() -> None:
    def loss(w: Any, x: Any) -> Any:
        return jnp.sum(jnp.tanh(x @ w))

    w, x = np.ones((3, 2)), np.arange(6.0).reshape(2, 3)
    expected = tj.grad(loss, argnums=(0, 1))(w, x)
    fwd, bwd = tj.fwd_and_bwd(loss, argnums=(0, 1))
    for scale in (1.0, 2.0):
        y, residuals = fwd(w, x)
        for found, want in zip(bwd(residuals, np.float64(scale)), expected, strict=True):
            np.testing.assert_allclose(found, scale * np.asarray(want), rtol=1e-12)
    assert fwd.cache_size() == bwd.cache_size() == 1
    value, aux, extra = tj.fwd_and_bwd(lambda w: (w**2, 2 * w), 0, has_aux=True)[0](3.0)
    assert (float(value), float(extra)) == (9.0, 6.0)
    out, pull = tj.jit(lambda x: tj.vjp(jnp.sin, x))(0.0)
    assert float(pull(2.0)[0]) == 2.0
    plain = tj.fwd_and_bwd(jnp.sin, 0, jitted=False)
    assert float(plain[1](plain[0](0.0)[1], 1.0)) == 1.0


def test_rest() -> None:
    tj.effects_barrier()
    assert tj.float0 == tj.grad(lambda n: 1.0 * n, allow_int=True)(2).dtype
    assert "processor" in (tj.print_environment_info(return_string=True) or "")
