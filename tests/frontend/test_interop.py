"""Other libraries' arrays in and out, pickling, annotations, and what is ahead of a call."""

from __future__ import annotations

import copy
import inspect
import pickle
import sys
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit.errors import ArgumentError, DeletedArrayError


def double(x: Any) -> Any:
    """Twice x."""
    return 2 * x


@tj.jit
def tripled(x: float, y: int = 2, *, z: str = "a") -> Any:
    """Three times x."""
    return 3 * x


class Host:
    """Holds functions for pickle to find by name."""

    doubled = tj.jit(double)

    @staticmethod
    @tj.jit
    def named(x: Any) -> Any:
        return x


# ---- without a copy ------------------------------------------------------------------------------


def test_numpy_arrays_share_memory() -> None:
    x = np.arange(6.0)
    y = jnp.asarray(x)
    assert np.shares_memory(np.asarray(y), x)
    assert np.shares_memory(np.asarray(jnp.from_dlpack(x)), x)
    assert np.shares_memory(np.from_dlpack(y), x)
    assert not np.shares_memory(np.asarray(jnp.array(x)), x)


def test_torch_shares_memory_both_ways() -> None:
    torch = pytest.importorskip("torch")
    x = torch.arange(6.0).reshape(2, 3)
    for y in (jnp.asarray(x), jnp.from_dlpack(x)):
        assert np.asarray(y).ctypes.data == x.data_ptr()
    z = torch.from_dlpack(y)
    assert z.data_ptr() == x.data_ptr()
    np.testing.assert_array_equal(tj.jit(double)(x), 2 * x.numpy())
    np.testing.assert_array_equal(tj.jit(double)(x.T), 2 * x.numpy().T)
    made = tj.jit(double)(x)
    assert torch.from_dlpack(made).data_ptr() == np.asarray(made).ctypes.data
    with pytest.raises(ArgumentError, match="`x` of `double` gives no data: .*requires grad"):
        tj.jit(double)(x.requires_grad_())


def test_bfloat16_goes_both_ways() -> None:
    torch = pytest.importorskip("torch")
    x = torch.arange(6, dtype=torch.bfloat16).reshape(2, 3)
    for y in (jnp.asarray(x), jnp.from_dlpack(x)):
        assert y.dtype == ml_dtypes.bfloat16 and np.asarray(y).ctypes.data == x.data_ptr()
    np.testing.assert_array_equal(np.asarray(tj.jit(double)(x.T), np.float32), 2 * x.T.float())
    back = torch.from_dlpack(y)
    assert back.dtype == torch.bfloat16 and back.data_ptr() == x.data_ptr()
    turned = torch.from_dlpack(jnp.asarray(x).T)
    assert torch.equal(turned, x.T)
    del x, back, turned
    np.testing.assert_array_equal(np.asarray(y, np.float32), [[0, 1, 2], [3, 4, 5]])


def test_a_capsule_of_bfloat16() -> None:
    x = jnp.asarray(np.arange(3, dtype=ml_dtypes.bfloat16))

    class Foreign:
        """What another library would show of the same memory."""

        dtype = "foreign.bfloat16"

        def __dlpack__(self, **options: Any) -> Any:
            return x.__dlpack__(**options)

        def __dlpack_device__(self) -> tuple[int, int]:
            return (1, 0)

    y = jnp.from_dlpack(Foreign())
    assert y.dtype == x.dtype and np.shares_memory(np.asarray(y), np.asarray(x))
    with pytest.raises(BufferError):
        x.__dlpack__(dl_device=(2, 0))


def test_jax_shares_memory_both_ways() -> None:
    jax = pytest.importorskip("jax")
    x = jax.numpy.arange(64.0)
    y = jnp.from_dlpack(x)
    assert np.asarray(y).ctypes.data == np.asarray(x).ctypes.data
    np.testing.assert_array_equal(tj.jit(double)(x), 2 * np.asarray(x))
    made = tj.jit(double)(x)
    back = jax.numpy.from_dlpack(made)
    assert back.unsafe_buffer_pointer() == np.asarray(made).ctypes.data


def test_columns_of_tables() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1.0, 2.0], "b": [3, 4]})
    np.testing.assert_array_equal(jnp.asarray(frame["a"]), [1.0, 2.0])
    np.testing.assert_array_equal(tj.jit(double)(frame["b"]), [6, 8])
    assert jnp.asarray(frame).shape == (2, 2)
    assert np.shares_memory(np.asarray(jnp.asarray(frame["a"])), frame["a"].to_numpy())


def test_arrow_columns() -> None:
    arrow = pytest.importorskip("pyarrow")
    column = arrow.array([1.0, 2.0])
    np.testing.assert_array_equal(jnp.asarray(column), [1.0, 2.0])
    np.testing.assert_array_equal(tj.jit(lambda d: d["x"] * 2)({"x": column}), [2.0, 4.0])
    np.testing.assert_array_equal(jnp.asarray(arrow.chunked_array([[1], [2]])), [1, 2])


# ---- pickling ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ("float32", "int8", "bool", "complex64", ml_dtypes.bfloat16))
def test_arrays_are_pickled(dtype: Any) -> None:
    x = jnp.ones((2, 3), dtype)
    for y in (pickle.loads(pickle.dumps(x)), copy.deepcopy(x)):
        assert y.dtype == x.dtype and y.shape == x.shape and bool((y == x).all())
    key = pickle.loads(pickle.dumps(tj.random.key(3)))
    assert tj.random.key_data(key).tolist() == [0, 3]


def test_jitted_functions_are_pickled_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, __name__, sys.modules[double.__module__])
    assert pickle.loads(pickle.dumps(tripled)) is tripled
    assert pickle.loads(pickle.dumps(Host.named)) is Host.named
    of_plain = pickle.loads(pickle.dumps(tj.jit(double, threads=1)))
    assert isinstance(of_plain, type(tripled)) and float(of_plain(2.0)) == 4.0
    with pytest.raises(ArgumentError, match="cannot be pickled"):
        pickle.dumps(tj.jit(lambda x: x))


# ---- annotations ---------------------------------------------------------------------------------


def test_signatures() -> None:
    text = "(x: 'float', y: 'int' = 2, *, z: 'str' = 'a') -> 'Any'"
    assert str(inspect.signature(tripled)) == text
    assert tripled.__doc__ == "Three times x." and tripled.__name__ == "tripled"
    for wrap in (tj.grad, tj.vmap, tj.checkpoint, tj.value_and_grad, tj.jacrev):
        wrapped = wrap(double)
        assert list(inspect.signature(wrapped).parameters) == ["x"]
        assert wrapped.__doc__ == "Twice x." and wrapped.__name__ == "double"
    assert inspect.unwrap(tripled).__name__ == "tripled"


def test_jaxtyping() -> None:
    jaxtyping = pytest.importorskip("jaxtyping")
    x = jnp.ones((2, 3))
    assert isinstance(x, jaxtyping.Float[tj.Array, "2 3"])
    assert not isinstance(x, jaxtyping.Float[tj.Array, "2 4"])
    assert not isinstance(x, jaxtyping.Int[tj.Array, "2 3"])
    assert isinstance(jnp.ones(2, jnp.bfloat16), jaxtyping.BFloat16[tj.Array, "n"])
    pytest.importorskip("beartype")
    from tests.data.annotated import product

    assert tj.jit(product)(x, jnp.ones(3)).shape == (2,)
    with pytest.raises(jaxtyping.TypeCheckError):
        tj.jit(product)(x, jnp.ones(2))


# ---- ahead of a call -----------------------------------------------------------------------------


def test_lower_and_compile() -> None:
    lowered = tj.jit(double).lower(tj.ShapeDtypeStruct((2,), np.float32))
    assert "mul" in lowered.as_text() and "f32[2]" in repr(lowered)
    program = lowered.compile()
    np.testing.assert_array_equal(program(np.ones(2, np.float32)), [2.0, 2.0])
    assert program.out_info == [tj.ShapeDtypeStruct((2,), np.float32)]
    assert "kernel" in program.as_text() and program.memory_analysis().arena == 0
    with pytest.raises(ArgumentError, match=r"`x` of `double` is f32\[3\]; .* f32\[2\]"):
        program(np.ones(3, np.float32))
    with pytest.raises(ArgumentError, match="another structure"):
        program({"x": np.ones(2, np.float32)})
    static = tj.jit(lambda x, n: x * n, static_argnums=1).lower(1.0, 3).compile()
    assert float(static(2.0)) == 6.0


def test_delete() -> None:
    x = jnp.ones(3)
    assert not x.is_deleted()
    x.delete()
    assert x.is_deleted() and "deleted" in repr(x)
    for use in (lambda: x + 1, lambda: tj.jit(double)(x), lambda: np.asarray(x)):
        with pytest.raises(DeletedArrayError, match="deleted by its delete()"):
            use()
