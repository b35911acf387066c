"""Calls on a device: failures that come late, outside of jit, transformed; donation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tests.gpu.fake_device import FakeDevice, put
from tracejit import lax
from tracejit.errors import DeletedArrayError, DeviceError, OutOfBoundsError
from tracejit.frontend.placement import Held

jit = tj.jit


# ---- waiting, and failures that come late --------------------------------------------------------


def test_calls_do_not_wait(gpu: FakeDevice) -> None:
    y = jit(lambda x: x + 1)(put(3))
    assert gpu.stream_of_work and not gpu.waits
    assert y.block_until_ready() is y
    assert not gpu.stream_of_work and gpu.waits == 1
    tj.block_until_ready([y, {"x": y}])
    assert gpu.waits == 3


def taken(x: Any, i: Any) -> Any:
    return x.at[i].get(mode="error")


def test_an_index_out_of_bounds_is_reported_where_somebody_waits(gpu: FakeDevice) -> None:
    f = jit(taken)
    x = put(3)
    for wait in (
        lambda y: y.block_until_ready(),
        np.asarray,
        float,
        repr,
        lambda y: tj.block_until_ready([y]),
        lambda y: y.to_device("cpu"),
        lambda y: tj.devices("gpu")[0].synchronize(),
        lambda y: put(2).block_until_ready(),
    ):
        y = f(x, 7)
        with pytest.raises(OutOfBoundsError) as caught:
            wait(y)
        assert "test_device_calls.py" in str(caught.value)
        assert "x.at[i].get" in str(caught.value)
        assert float(f(x, 1)) == 1  # it is reported once


def test_several_failures_are_one_error(gpu: FakeDevice) -> None:
    f, g = jit(taken), jit(lambda x, i: taken(x * 2, i))
    x = put(3)
    y = [f(x, 7), g(x, -9)]
    with pytest.raises(OutOfBoundsError, match="also: "):
        tj.block_until_ready(y)


def test_outside_of_jit_it_is_reported_at_once(gpu: FakeDevice) -> None:
    x, i = put(3), tj.device_put(np.array([7]), "gpu")
    with pytest.raises((OutOfBoundsError, IndexError)) as caught:
        taken(x, i)
    assert "test_device_calls.py" in str(caught.value)


# ---- outside of jit ------------------------------------------------------------------------------


def test_operations_outside_of_jit_run_there(gpu: FakeDevice) -> None:
    x = put(2, 3, value=4.0)
    before = gpu.uploads
    found = jnp.sqrt(x) @ x.T + 1
    assert found.device is x.device
    assert gpu.downloads == 0
    np.testing.assert_array_equal(found, np.full((2, 2), 25))
    assert gpu.uploads <= before + 1  # the number
    for y in (x * 2, 2 / x, x.astype(int), x.reshape(3, 2), x[0], x.at[0].set(1.0), np.sin(x)):
        assert y.device is x.device
    np.testing.assert_array_equal(x.at[0].set(1.0), [[1, 1, 1], [4, 4, 4]])
    np.testing.assert_array_equal(jnp.where(x > 3, x, 0), np.full((2, 3), 4))
    assert bool((x == 4).all())


def test_other_numbers_compile_nothing_new(gpu: FakeDevice) -> None:
    from tracejit.frontend import on_device

    x = put(3)
    (x * 2.0).block_until_ready()
    count = len(on_device._programs)
    for k in range(5):
        np.testing.assert_array_equal(x * float(k), np.full(3, k))
    assert len(on_device._programs) == count


def test_operands_from_the_host(gpu: FakeDevice) -> None:
    x = put(3)
    for other in (np.arange(3, dtype=np.float32), jnp.arange(3.0), jnp.float32(2), 2, [0, 1, 2]):
        found = x + other if not isinstance(other, list) else x + jnp.array(other)
        assert found.device is x.device
        np.testing.assert_array_equal(found, 1 + np.asarray(other))
    bound = tj.device_put(jnp.ones(3), "cpu")
    with pytest.raises(DeviceError, match="mul: operands are on two devices") as caught:
        x * bound
    assert "operand 2, f32[3], is on cpu" in str(caught.value)
    y = bound + jnp.ones(3)
    with pytest.raises(DeviceError):
        x * y


def test_eager_operations_by_default(gpu: FakeDevice) -> None:
    with tj.default_device("gpu"):
        x = jnp.arange(4.0) + 1
        assert x.device.platform == "gpu"
        assert gpu.launched
    np.testing.assert_array_equal(x + 1, [2, 3, 4, 5])
    assert (x + 1).device.platform == "cpu"


# ---- transformations -----------------------------------------------------------------------------


def loss(w: Any, x: Any) -> Any:
    return jnp.mean(jnp.tanh(x @ w) ** 2)


@pytest.mark.parametrize("jitted", [False, True])
def test_gradients(gpu: FakeDevice, jitted: bool) -> None:
    w, x = np.linspace(-1, 1, 3, dtype=np.float32), np.ones((4, 3), np.float32)
    expected = tj.grad(loss)(w, x)
    g = jit(tj.grad(loss)) if jitted else tj.grad(loss)
    there = g(tj.device_put(w, "gpu"), x)
    assert there.device.platform == "gpu"
    np.testing.assert_allclose(there, expected, rtol=1e-6)
    value, found = tj.value_and_grad(loss)(tj.device_put(w, "gpu"), tj.device_put(x, "gpu"))
    assert value.device.platform == found.device.platform == "gpu"


def test_python_branches_under_grad(gpu: FakeDevice) -> None:
    def f(x: Any) -> Any:
        return x**2 if x > 0 else -x

    assert float(tj.grad(f)(tj.device_put(3.0, "gpu"))) == 6
    assert float(tj.grad(f)(tj.device_put(-3.0, "gpu"))) == -1


def test_other_transformations(gpu: FakeDevice) -> None:
    x = tj.device_put(np.arange(6, dtype=np.float32).reshape(2, 3), "gpu")
    here = np.asarray(x)

    def f(row: Any) -> Any:
        return jnp.sin(row).sum() * row[0]

    for g in (tj.vmap(f), jit(tj.vmap(f)), tj.vmap(jit(f)), tj.vmap(tj.grad(f))):
        found = g(x)
        assert found.device is x.device
        np.testing.assert_allclose(found, g(here), rtol=1e-5)
    row = x[1]
    y, tangent = tj.jvp(f, (row,), (row,))
    assert y.device is tangent.device is x.device
    _, pull = tj.vjp(f, row)
    assert pull(1.0)[0].device is x.device
    np.testing.assert_allclose(tj.hessian(f)(row), tj.hessian(f)(here[1]), rtol=1e-5)


def test_loops_and_branches(gpu: FakeDevice) -> None:
    x = put(3, value=2.0)

    def f(x: Any) -> Any:
        y, ys = lax.scan(lambda c, _: (c * x, c.sum()), x, None, length=3)
        return lax.cond(y[0] > 0, lambda: y, lambda: -y), ys

    for g in (f, jit(f)):
        y, ys = g(x)
        assert y.device is ys.device is x.device
        np.testing.assert_array_equal(y, [16, 16, 16])
        np.testing.assert_array_equal(ys, [6, 12, 24])
    assert lax.fori_loop(0, 3, lambda i, c: c + x, x).device is x.device


def test_device_put_inside_a_traced_function(gpu: FakeDevice) -> None:
    f = jit(lambda x: tj.device_put(x * 2, "gpu") + jnp.zeros(3, device=x.device))
    assert f(jnp.ones(3)).device.platform == "cpu"
    assert f(put(3)).device.platform == "gpu"
    assert float(tj.grad(lambda x: tj.device_put(x, "gpu") ** 2)(3.0)) == 6


def test_callbacks_outside_of_jit(gpu: FakeDevice) -> None:
    shape = tj.ShapeDtypeStruct((3,), np.float32)
    y = tj.pure_callback(lambda x: x + 1, shape, put(3))
    assert y.device.platform == "gpu"
    np.testing.assert_array_equal(y, [2, 2, 2])


# ---- donation ------------------------------------------------------------------------------------


def address(x: Any) -> int:
    return x._place.memories[x._place.home].address  # type: ignore[no-any-return]


def test_a_result_takes_the_memory_of_a_donated_argument(gpu: FakeDevice) -> None:
    f = jit(lambda x: x + 1, donate_argnums=0)
    x = put(1000)
    first = address(x)
    for _ in range(4):
        y = f(x)
        assert x.is_deleted() and address(y) == first
        x = y
    np.testing.assert_array_equal(x, np.full(1000, 5))
    with pytest.raises(DeletedArrayError):
        f(y) + np.asarray(y)


def test_memory_that_others_hold_is_left_alone(gpu: FakeDevice) -> None:
    f = jit(lambda x: x * 3, donate_argnums=0)
    x = put(4)
    alias = jnp.asarray(x)
    y = f(x)
    assert x.is_deleted() and not alias.is_deleted()
    np.testing.assert_array_equal(alias, np.ones(4))
    np.testing.assert_array_equal(y, np.full(4, 3))
    x = jnp.ones(4)
    with tj.default_device("gpu"):
        y = f(x)
    assert x.is_deleted()
    np.testing.assert_array_equal(y, np.full(4, 3))
    w = put(4)
    held = jit(lambda x: x + w)
    held(1.0)
    f(w)
    np.testing.assert_array_equal(held(1.0), np.full(4, 2))


def test_deleted_arrays(gpu: FakeDevice) -> None:
    x = put(3)
    jit(lambda x: x + 1, donate_argnums=0)(x)
    assert repr(x) == "Array<f32[3], deleted>"
    for use in (np.asarray, lambda x: x + 1, jit(lambda x: x), tj.grad(jnp.sum), jnp.asarray):
        with pytest.raises(DeletedArrayError):
            np.asarray(use(x))
    assert not isinstance(x._place, Held)


def test_operators_run_on_the_default_device(gpu: FakeDevice) -> None:
    x = jnp.asarray(np.ones((2, 2), np.float32))
    with tj.default_device("gpu"):
        for found in (x + x, x * 2.0, x < x, x[0], x[1, 1]):
            assert found.device.platform == "gpu"
    assert (x + x).device.platform == "cpu"
