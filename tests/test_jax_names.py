"""Names of JAX that programs use around their arrays: devices, processes, types, errors."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import ad_checkpoint, dtypes, errors, typing


def test_one_process_with_its_devices() -> None:
    assert (tj.process_index(), tj.process_count(), tj.process_indices()) == (0, 1, [0])
    assert tj.local_device_count("cpu") == tj.device_count("cpu") == 1


def test_where_an_array_lies() -> None:
    x = jnp.ones(3)
    assert x.sharding == jnp.zeros(2).sharding and x.sharding.device_set == {x.device}
    assert x.sharding.num_devices == len({x.sharding, x.sharding}) == 1
    assert not x.committed and tj.device_put(x, x.sharding).committed
    assert x.is_fully_addressable and x.is_fully_replicated and x.is_ready()
    assert x.addressable_data(0) is x and x.platform() == "cpu"
    assert x.on_device_size_in_bytes() == 12 and x.tobytes() == np.ones(3, "f4").tobytes()
    x.copy_to_host_async()
    assert x.clone() is not x


def test_types() -> None:
    assert str(tj.typeof(jnp.ones((2, 3)))) == "f32[2,3]" == str(jnp.ones((2, 3)).aval)
    assert tj.typeof(1.0).shape == ()
    found = tj.ShapeDtypeStruct.like(jnp.ones(2))
    assert found == tj.ShapeDtypeStruct((2,), "float32", sharding=None, weak_type=False)
    assert found.update(shape=(3,)).shape == (3,)
    assert isinstance(jnp.ones(1), typing.ArrayLike) and isinstance(2.0, typing.ArrayLike)
    assert not isinstance("a", typing.ArrayLike)


def test_dtypes() -> None:
    key = tj.random.key(0)
    assert dtypes.issubdtype(key.dtype, dtypes.prng_key)
    assert jnp.issubdtype(key.dtype, dtypes.extended)
    assert not jnp.issubdtype(jnp.float32, dtypes.prng_key)
    assert not jnp.issubdtype(key.dtype, np.floating)
    assert dtypes.canonicalize_dtype(int) == np.int64
    assert dtypes.result_type(1, 2.0, return_weak_type_flag=True)[1]
    assert [dtypes.scalar_type_of(x) for x in (True, 1, np.float16(1), 1j)] == [
        bool,
        int,
        float,
        complex,
    ]
    assert dtypes.itemsize_bits("float64") == 64 and dtypes.float0 == tj.float0


def test_blocks() -> None:
    with tj.enable_x64(), tj.transfer_guard("disallow"):
        assert jnp.ones(1).dtype == np.float64
        with tj.enable_x64(False):
            assert jnp.ones(1).dtype == np.float32


def test_ahead_of_time() -> None:
    traced = tj.jit(jnp.sin).trace(tj.ShapeDtypeStruct((2,), "float32"))
    assert "sin" in str(traced.jaxpr) and traced.fun_name == "sin" and "f32[2]" in repr(traced)
    assert traced.out_info[0].shape == (2,) and traced.in_tree is not None
    assert np.allclose(traced.lower().compile()(np.ones(2, "f4")), np.sin(1))


@pytest.mark.parametrize(
    "policy",
    [
        tj.checkpoint_policies.save_only_these_names("a", "b"),
        tj.checkpoint_policies.save_any_names_but_these("a"),
        tj.checkpoint_policies.save_anything_except_these_names("a"),
        tj.checkpoint_policies.save_from_both_policies(
            tj.checkpoint_policies.dots_saveable, tj.checkpoint_policies.everything_saveable
        ),
        tj.checkpoint_policies.offload_dot_with_no_batch_dims("device", "pinned_host"),
        tj.checkpoint_policies.save_and_offload_only_these_names(
            names_which_can_be_saved=["a"],
            names_which_can_be_offloaded=[],
            offload_src="device",
            offload_dst="pinned_host",
        ),
    ],
    ids=lambda policy: policy.name.partition("(")[0],
)
def test_policies_by_name(policy: Any) -> None:
    def f(x: Any) -> Any:
        return ad_checkpoint.checkpoint_name(jnp.sin(x), "a") ** 2

    assert np.isclose(tj.grad(tj.checkpoint(f, policy=policy))(1.0), np.sin(2))


def test_errors_by_jaxs_names() -> None:
    @tj.jit
    def branches(x: Any) -> Any:
        return x if x > 0 else -x

    with pytest.raises(errors.TracerBoolConversionError):
        branches(1.0)
    with pytest.raises(errors.ConcretizationTypeError):
        branches(1.0)
    with pytest.raises(errors.TracerArrayConversionError):
        tj.jit(lambda x: np.asarray(x))(1.0)
    with pytest.raises(errors.NonConcreteBooleanIndexError) as caught:
        tj.jit(lambda x: x[x > 0])(jnp.ones(2))
    assert isinstance(caught.value, IndexError | TypeError)
    assert "boolean mask" in str(pickle.loads(pickle.dumps(caught.value)))
    with pytest.raises(ValueError):
        bool(jnp.ones(2) > 0)
    for kind in (ValueError, TypeError):  # NumPy raises the one, JAX now the one, now the other
        with pytest.raises(kind):
            jnp.ones(2) @ jnp.ones(3)
