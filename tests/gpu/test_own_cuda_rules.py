"""Users' CUDA kernels as operations: values, derivatives, batches, by their meaning in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tests.gpu.own_kernels import FULL, SAXPY, X, lse, lse_gradient, saxpy
from tracejit import extend, grad, jit, vmap
from tracejit.errors import MissingRule, ShapeError
from tracejit.testing import CheckFailed, check_grads, check_op


def test_python_numbers_take_the_type_of_the_parameter() -> None:
    y = saxpy(2, np.float32([1, 2]), np.float32([1, 1]))
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, [3, 5])


def test_combines_with_generated_kernels() -> None:
    x = np.linspace(0, 1, 50, dtype=np.float32)
    found = jit(lambda x: jnp.sum(saxpy(2.0, jnp.sin(x), x * x) * 3))(x)
    np.testing.assert_allclose(found, 3 * np.sum(2 * np.sin(x) + x * x), rtol=1e-5)


def test_gradients_by_vjp() -> None:
    x, y = np.float32([1, 2, 3]), np.float32([0, 1, 0])
    for transform in (lambda f: f, jit):
        da, dx, dy = transform(grad(lambda *v: jnp.sum(saxpy(*v) ** 2), (0, 1, 2)))(2.0, x, y)
        ct = 2 * (2 * x + y)
        np.testing.assert_allclose(da, np.sum(ct * x))
        np.testing.assert_allclose(dx, 2 * ct)
        np.testing.assert_allclose(dy, ct)


def test_second_derivatives() -> None:
    x = np.linspace(-1, 1, 5, dtype=np.float32)
    check_grads(lambda x: jnp.sum(saxpy(2.0, x, x) ** 2), (x,), order=2, modes=("rev",))
    wrong = extend.cuda_kernel(
        SAXPY,
        out=lambda a, x, y: x,
        args=lambda a, x, y: x.size,
        numpy=lambda a, x, y: a * x + y,
        vjp=(lambda *v: (wrong(*v), ()), lambda kept, ct: (jnp.sum(ct), ct, ct)),
    )
    with pytest.raises(CheckFailed, match="vjp is not the adjoint of differences"):
        check_grads(lambda x: jnp.sum(wrong(2.0, x, x) ** 2), (x,), modes=("rev",))


def test_gradients_agree_with_differences() -> None:
    check_grads(lambda x: jnp.sum(lse(x, FULL) ** 2), (X,), modes=("rev",))
    check_grads(
        jit(lambda x: jnp.sum(vmap(lambda s: lse(s * x, FULL))(jnp.arange(1.0, 3.0)))),
        (X,),
        modes=("rev",),
    )


def test_gradients_by_jvp() -> None:
    text = "__global__ void scale(const double* x, double* y, double by) {}"
    scale = extend.cuda_kernel(
        text,
        static={"by": 3.0},
        out=lambda x, by: x,
        args=lambda x, by: by,
        numpy=lambda x, by: by * x,
        jvp=lambda primals, tangents, by: (scale(*primals, by=by), by * tangents[0]),
    )
    check_grads(lambda x: jnp.sum(scale(x) * x), (np.arange(3.0),))
    check_grads(lambda x: scale(x, by=-1.0), (np.arange(3.0),))


def test_without_a_rule_the_operation_is_named() -> None:
    with pytest.raises(MissingRule, match="`segment_logsumexp_grad` has no jvp rule"):
        grad(lambda ct: jnp.sum(lse_gradient(X, FULL, X[:4], ct)))(X[:4])


def test_the_record_passes_every_check() -> None:
    check_op(lse.primitive)


def test_vmap_launches_once_for_each_example() -> None:
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    found = vmap(saxpy, in_axes=(0, 0, None))(jnp.arange(3.0), x, x[0])
    np.testing.assert_array_equal(found, np.arange(3)[:, None] * x + x[0])
    graph = tj.make_graph(vmap(saxpy, in_axes=(None, 0, 0)), 1.0, x, x)
    assert "scan" in str(graph)


def test_vmap_in_one_launch() -> None:
    text = "__global__ void add(const float* x, const float* y, float* z, int n) {}"
    settings: dict[str, Any] = {
        "args": lambda x, y: x.size,
        "numpy": lambda x, y: x + y,
        "batch": "broadcast_all",
    }
    plus = extend.cuda_kernel(text, out=lambda x, y: x, **settings)
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    mapped = vmap(plus, in_axes=(0, None))
    np.testing.assert_array_equal(jit(mapped)(x, x[0]), x + x[0])
    assert "scan" not in str(tj.make_graph(mapped, x, x[0]))
    first = extend.cuda_kernel(
        text, out=lambda x, y: tj.ShapeDtypeStruct((4,), x.dtype), **settings
    )
    with pytest.raises(ShapeError, match=r"out= gives f32\[4\], not f32\[3,4\]"):
        vmap(first, in_axes=(0, None))(x, x[0])


def test_vmap_by_a_rule() -> None:
    seen: list[Any] = []
    table = jnp.arange(100.0)

    def rule(size: int, batched: Any, x: Any, y: Any) -> Any:
        seen.append((size, batched))
        return x + y[:, None] + table[0] if batched[0] else x[None] + y[:, None], True

    text = "__global__ void add(const float* x, const float* y, float* z) {}"
    plus = extend.cuda_kernel(text, out=lambda x, y: x, numpy=lambda x, y: x + y, batch=rule)
    x, y = np.arange(4, dtype=np.float32), np.arange(3, dtype=np.float32)
    np.testing.assert_array_equal(vmap(plus, (None, 0))(x, y), x + y[:, None])
    np.testing.assert_array_equal(jit(vmap(plus))(np.stack([x] * 3), y), x + y[:, None])
    assert seen == [(3, [False, True]), (3, [True, True])]
    wrong = extend.cuda_kernel(
        text, out=lambda x, y: x, numpy=lambda x, y: x + y, batch=lambda *given: (given[2], True)
    )
    with pytest.raises(ShapeError, match=r"batch rule returns f32\[4\]; .* f32\[3,4\]"):
        vmap(wrong, (None, 0))(x, y)


def test_a_name_of_a_built_in_operation() -> None:
    text = "__global__ void copy(const float* x, float* y) {}"
    own = extend.cuda_kernel(text, out=lambda x: x, numpy=lambda x: x + 1)
    assert own.primitive.name == "cuda.copy"
    np.testing.assert_array_equal(jit(own)(jnp.ones(3)), [2, 2, 2])


def test_what_it_is_given_stays_as_it_is() -> None:
    def spoils(x: Any) -> Any:
        x += 1
        return x

    text = "__global__ void f(const float* x, float* y) {}"
    with pytest.raises(ValueError, match="read-only"):
        extend.cuda_kernel(text, out=lambda x: x, numpy=spoils)(jnp.ones(3))
