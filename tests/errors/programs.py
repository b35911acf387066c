"""One wrong program per function; the message of each is in ``tests/golden/errors/test_messages``.

Every function here raises one of tracejit's errors. ``inner`` lines are what a user would write.
"""

# ruff: noqa: B018, E731
from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tests.gpu.fake_device import FakeDevice, fake_gpu
from tracejit import grad, jit, jvp, lax, linearize, value_and_grad, vjp, vmap
from tracejit.frontend.array import apply
from tracejit.frontend.custom import custom_vjp
from tracejit.ir.prim import Primitive
from tracejit.runtime.gpu import registry
from tracejit.runtime.gpu.host_device import HostDevice

x23 = np.ones((2, 3), np.float32)
x32 = np.ones((3, 2), np.float32)
x43 = np.ones((4, 3), np.float32)
v4 = np.ones(4, np.float32)
v6 = np.ones(6, np.float32)
i3 = np.arange(3)

# ---- shapes --------------------------------------------------------------------------------------


def operator_shapes() -> None:
    jnp.asarray(x23) * jnp.asarray(x32)


def operator_shapes_in_jit() -> None:
    @jit
    def loss(w: Any, b: Any) -> Any:
        h = jnp.sin(w)
        return (h * b.T).sum()

    loss(x23, x23)


def operator_missing_axis() -> None:
    @jit
    def scale(x: Any, factors: Any) -> Any:
        return x * factors

    scale(x43, v4)


def operator_same_size() -> None:
    jit(operator.add)(x23, v6)


def matmul_shapes() -> None:
    @jit
    def layer(x: Any, w: Any) -> Any:
        return jnp.tanh(x @ w)

    layer(x23, x43)


def matmul_scalar() -> None:
    jnp.asarray(x23) @ 2


def einsum_sizes() -> None:
    jnp.einsum("ij,jk->ik", x23, x23)


def einsum_subscripts() -> None:
    jnp.einsum("ij,jk->il", x23, x32)


def reshape_size() -> None:
    jit(lambda x: x.reshape(4, 2))(x23)


def concatenate_shapes() -> None:
    jit(lambda a, b: jnp.concatenate([a, b], axis=1))(x23, x43)


def reduce_axis() -> None:
    jit(lambda x: x.sum(axis=2))(x23)


def multi_line_expression() -> None:
    @jit
    def model(p: Any, x: Any) -> Any:
        return jnp.add(
            p["w"],
            x,
        )

    model({"w": x23}, x43)


# ---- dtypes --------------------------------------------------------------------------------------


def bitwise_of_floats() -> None:
    @jit
    def masked(x: Any) -> Any:
        return x & 1

    masked(x23)


def unknown_dtype() -> None:
    jnp.zeros(3, dtype="flaot32")


def object_dtype() -> None:
    jnp.asarray(np.array([object()]))


def integer_overflow() -> None:
    @jit
    def shift(x: Any) -> Any:
        return x + 300

    shift(np.ones(3, np.uint8))


def python_integer_too_large() -> None:
    jit(lambda x: x + 2**70)(i3)


# ---- concrete values of traced ones --------------------------------------------------------------


def if_of_traced() -> None:
    @jit
    def relu(x: Any, params: Any) -> Any:
        total = (x * params["scale"]).sum()
        if total > 0:
            return x
        return x * 0

    relu(x23, {"scale": 2.0})


def while_of_traced() -> None:
    @jit
    def halve(x: Any) -> Any:
        while x > 1:
            x = x / 2
        return x

    halve(8.0)


def and_of_traced() -> None:
    @jit
    def inside(x: Any) -> Any:
        return 0 < x < 1

    inside(0.5)


def in_traced() -> None:
    jit(lambda x: 3 in x)(i3)


def int_of_traced() -> None:
    jit(lambda n: jnp.ones(int(n)))(3)


def float_of_traced() -> None:
    jit(lambda x: float(x) + 1)(3.0)


def shape_of_traced() -> None:
    jit(lambda n: jnp.zeros((n, 2)))(3)


def range_of_traced() -> None:
    @jit
    def power(x: Any, n: Any) -> Any:
        for _ in range(n):
            x = x * x
        return x

    power(2.0, 3)


def len_of_scalar() -> None:
    jit(lambda x: len(x))(3.0)


def iteration_over_scalar() -> None:
    jit(lambda x: [y for y in x])(3.0)


def list_index() -> None:
    @jit
    def pick(k: Any) -> Any:
        return [1.0, 2.0, 3.0][k]

    pick(1)


def slice_bound() -> None:
    jit(lambda x, n: x[:n])(v6, 3)


def boolean_mask() -> None:
    jit(lambda x: x[x > 0])(v6)


def numpy_asarray() -> None:
    @jit
    def stored(x: Any) -> Any:
        return np.asarray(x * 2)

    stored(x23)


def math_function() -> None:
    @jit
    def wave(t: Any) -> Any:
        return math.sin(t)

    wave(1.0)


def unsupported_numpy_function() -> None:
    @jit
    def quantised(x: Any) -> Any:
        return np.busday_count(x, x)

    quantised(x23)


def numpy_out() -> None:
    jit(lambda x: np.add(x, 1, out=np.empty_like(x23)))(x23)


def item_in_vmap() -> None:
    vmap(lambda x: x.item())(v4)


def in_place_method() -> None:
    jnp.zeros(3).partition(1)


# ---- leaks ---------------------------------------------------------------------------------------


def leaked_tracer() -> None:
    kept = []

    @jit
    def remember(x: Any) -> Any:
        kept.append(x * 2)
        return x

    remember(x23)
    kept[0] + 1


def leaked_into_jit() -> None:
    kept = []
    jit(lambda x: kept.append(jnp.sin(x)))(x23)
    jit(lambda x: x + kept[0])(x23)


# ---- arguments -----------------------------------------------------------------------------------


def unhashable_static() -> None:
    jit(lambda x, sizes: x.reshape(sizes), static_argnums=1)(x23, [3, 2])


def wrong_static_name() -> None:
    def scale(x: Any, factor: float) -> Any:
        return x * factor

    jit(scale, static_argnames="facto")


def wrong_static_number() -> None:
    jit(lambda x, n: x * n, static_argnums=5)


def string_argument() -> None:
    @jit
    def encode(options: Any) -> Any:
        return options["x"]

    encode({"x": x23, "mode": "fast"})


def returns_no_array() -> None:
    @jit
    def named(x: Any) -> Any:
        return x, "a name"

    named(x23)


def not_a_function() -> None:
    jit(x23)


def grad_not_a_function() -> None:
    grad(x23)


def called_too_early() -> None:
    vmap(jnp.sum(x23))


def config_value() -> None:
    tj.config.update("backend", "xla")


def config_name() -> None:
    with tj.settings(bakend="llvm"):
        pass


def ambiguous_truth() -> None:
    if jnp.ones(3):
        pass


# ---- pytrees -------------------------------------------------------------------------------------


def vjp_cotangent_tree() -> None:
    _, pull = vjp(lambda x: (x, x), x23)
    pull(x23)


def vjp_cotangent_shape() -> None:
    _, pull = vjp(lambda x: x * 2, x23)
    pull(x32)


def jvp_tangent_tree() -> None:
    jvp(lambda p: p["a"], ({"a": x23},), ({"b": x23},))


def jvp_tangent_dtype() -> None:
    jvp(lambda x: x, (x23,), (i3,))


def linearize_tangent_tree() -> None:
    _, push = linearize(lambda x: x, x23)
    push(x23, x23)


def scan_carry() -> None:
    def step(carry: Any, x: Any) -> Any:
        return (carry[0] + x,), x

    lax.scan(step, (0.0, 1.0), v4)


def scan_carry_type() -> None:
    lax.scan(lambda carry, x: (jnp.stack([carry, x]), x), 0.0, v4)


def cond_branches() -> None:
    jit(lambda p, x: lax.cond(p, lambda x: x, lambda x: x.sum(), x))(True, x23)


def while_condition() -> None:
    lax.while_loop(lambda x: x, lambda x: x, x23)


def fori_bound() -> None:
    lax.fori_loop(0.5, 3, lambda i, x: x, 0.0)


# ---- derivatives ---------------------------------------------------------------------------------


def grad_of_non_scalar() -> None:
    def loss(w: Any) -> Any:
        return w * 2

    grad(loss)(x23)


def grad_of_integer() -> None:
    grad(lambda n: n * 2.0)(3)


def grad_argnums() -> None:
    grad(lambda x: x, argnums=2)(1.0)


def grad_of_integer_output() -> None:
    grad(lambda x: x.astype(int))(1.0)


def grad_of_two_values() -> None:
    value_and_grad(lambda x: (x, x))(1.0)


def grad_without_aux() -> None:
    grad(lambda x: x, has_aux=True)(1.0)


mystery = Primitive("mystery", params=(), infer=lambda x: x, numpy=lambda x: x * 2)
half_known = Primitive(
    "half_known", params=(), infer=lambda x: x, numpy=lambda x: x * 2,
    jvp=lambda dxs, ys, xs: (half_known(dxs[0]),),
)  # fmt: skip


def missing_derivative() -> None:
    def f(x: Any) -> Any:
        return apply(mystery, jnp.asarray(x)).sum()

    grad(f)(x23)


def missing_transpose() -> None:
    def f(x: Any) -> Any:
        return apply(half_known, jnp.asarray(x)).sum()

    grad(f)(x23)


def missing_batch() -> None:
    vmap(lambda x: apply(mystery, x))(x23)


def custom_vjp_under_jvp() -> None:
    @custom_vjp
    def f(x: Any) -> Any:
        return x * x

    f.defvjp(lambda x: (x * x, x), lambda x, ct: (2 * x * ct,))
    jvp(f, (2.0,), (1.0,))


def custom_vjp_without_rules() -> None:
    @custom_vjp
    def f(x: Any) -> Any:
        return x * x

    grad(f)(2.0)


# ---- vmap ----------------------------------------------------------------------------------------


def vmap_sizes() -> None:
    vmap(lambda x, y: x * y)(x23, x32)


def vmap_in_axes_count() -> None:
    vmap(lambda x, y: x * y, in_axes=(0,))(x23, x23)


def vmap_in_axes_tree() -> None:
    vmap(lambda p: p["a"], in_axes=({"b": 0},))({"a": x23})


def vmap_axis() -> None:
    vmap(lambda x: x, in_axes=2)(x23)


def vmap_of_nothing() -> None:
    vmap(lambda x: x, in_axes=None)(x23)


def vmap_out_axes() -> None:
    vmap(lambda x: x, out_axes=None)(x23)


def vmap_out_axes_range() -> None:
    vmap(lambda x: x, out_axes=3)(x23)


# ---- indices -------------------------------------------------------------------------------------


def static_index() -> None:
    jit(lambda x: x[0, 5])(x23)


def too_many_indices() -> None:
    jnp.asarray(x23)[0, 0, 0]


def index_type() -> None:
    jnp.asarray(x23)["a"]


def float_index() -> None:
    jnp.asarray(x23)[0.5]


def eager_array_index() -> None:
    jnp.asarray(v4)[jnp.asarray([1, 7])]


def dynamic_index() -> None:
    @jit
    def rows(table: Any, which: Any) -> Any:
        return table[which] * 2

    rows(x43, np.array([0, 9]))


def dynamic_update() -> None:
    @jit
    def put(x: Any, k: Any) -> Any:
        return x.at[k].set(0.0)

    put(v4, 4)


def assignment_to_concrete() -> None:
    x = jnp.zeros(3)
    x[5] = 1.0


def donated_array() -> None:
    @jit(donate_argnums=0)
    def step(params: Any, gradient: Any) -> Any:
        return params - gradient

    params = jnp.ones((2, 3))
    step(params, x23)
    params.sum()


def update_shape() -> None:
    jit(lambda x: x.at[0].set(v6))(x43)


# ---- devices -------------------------------------------------------------------------------------


def device_name() -> None:
    tj.device_put(x23, "tpu")


def device_number() -> None:
    with fake_gpu():
        tj.device_put(x23, "cuda:1")


def gpu_missing() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "gpus", lambda: ())
        patch.setattr(registry, "problem", lambda: "no NVIDIA driver (libcuda.so.1 is not found)")
        jit(lambda x: x + 1, device="gpu")(x23)


def two_devices() -> None:
    with fake_gpu() as first, pytest.MonkeyPatch.context() as patch:
        devices = (first, FakeDevice(1))
        patch.setattr(registry, "gpus", lambda: devices)

        @jit
        def layer(x: Any, w: Any) -> Any:
            return x @ w

        layer(tj.device_put(x23, "cuda:0"), tj.device_put(x32, "cuda:1"))


def array_too_large_for_a_gpu() -> None:
    device = HostDevice(memory=1 << 20)
    device.id = 0
    with registry.emulated(device):
        jnp.zeros((1024, 1024), device="gpu")


def program_too_large_for_a_gpu() -> None:
    device = HostDevice(memory=1 << 20)
    device.id = 0
    with registry.emulated(device), pytest.MonkeyPatch.context() as patch:
        patch.setattr(device, "load", lambda sources: dict.fromkeys(s.name for s in sources))

        @jit(device="gpu")
        def covariance(x: Any) -> Any:
            y = x @ x.T
            return jnp.tanh(y) @ y

        covariance(np.ones((400, 3), np.float32))
