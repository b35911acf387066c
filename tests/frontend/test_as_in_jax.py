"""Promotion of dtypes and indices out of bounds as in JAX, where the settings say so."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp

#: what JAX's table gives where it differs from NumPy's
JAX_TABLE = [
    ("int64", "float32", "float32"),
    ("int32", "float16", "float16"),
    ("uint64", "bfloat16", "bfloat16"),
    ("int8", "complex64", "complex64"),
    ("bool", "float32", "float32"),
    ("int64", "uint64", "float32"),
    ("int32", "uint32", "int64"),
    ("float16", "bfloat16", "float32"),
    ("float32", "float64", "float64"),
]


@pytest.mark.parametrize("a, b, expected", JAX_TABLE)
def test_promotion_as_in_jax(a, b, expected):
    x, y = jnp.ones(3, a), jnp.ones(3, b)
    before = (x * y).dtype
    f = tj.jit(lambda x, y: x * y)
    assert f(x, y).dtype == before == np.promote_types(a, b) if "bfloat16" not in (a, b) else True
    with tj.settings(promotion="jax"):
        assert (x * y).dtype == (y * x).dtype == f(x, y).dtype == expected
        assert jnp.concatenate([x, y]).dtype == jnp.result_type(x, y) == expected
    assert f(x, y).dtype == before


def test_a_loop_whose_carry_meets_integers():
    def f(x):
        return tj.lax.scan(lambda c, k: (c * k, c), x, jnp.arange(3))[0]

    with pytest.raises(tj.TracejitError, match="carry"):
        f(jnp.ones((), "float32"))
    with tj.settings(promotion="jax"):
        assert f(jnp.ones((), "float32")).dtype == np.float32


X, M = np.arange(5, dtype=np.float32), np.arange(6, dtype=np.float32).reshape(2, 3)
#: what JAX gives for indices out of bounds
OUTSIDE = [
    (lambda x, m, i: x[i], [0, 4, 0, 4]),
    (lambda x, m, i: x[7], 4),
    (lambda x, m, i: x[-9], 0),
    (lambda x, m, i: m[5], [3, 4, 5]),
    (lambda x, m, i: x.at[i].set(9.0), [9, 1, 2, 3, 9]),
    (lambda x, m, i: x.at[7].add(1.0), X),
    (lambda x, m, i: jnp.take(x, i), [0, np.nan, np.nan, 4]),
    (lambda x, m, i: jnp.take_along_axis(m, i[1:3, None], 1), [[np.nan], [np.nan]]),
]


@pytest.mark.parametrize("f, expected", OUTSIDE)
def test_indices_out_of_bounds_as_in_jax(f, expected):
    operands = (jnp.array(X), jnp.array(M), jnp.array([0, 7, -9, -1]))
    for run in (f, tj.jit(f)):
        with tj.settings(out_of_bounds="jax"):
            np.testing.assert_array_equal(run(*operands), expected)
        with pytest.raises(tj.errors.OutOfBoundsError):
            run(*operands)


def test_device_get_leaves_traced_values() -> None:
    assert tj.grad(lambda x: tj.device_get(x) * 2.0)(1.0) == 2.0


def test_a_class_registered_twice_is_a_value_error() -> None:
    class Twice:
        def tree_flatten(self):
            return (), None

        @classmethod
        def tree_unflatten(cls, static, children):
            return cls()

    tj.tree_util.register_pytree_node_class(Twice)
    with pytest.raises(ValueError, match="already registered"):
        tj.tree_util.register_pytree_node_class(Twice)


def test_no_static_or_donated_arguments() -> None:
    none = dict.fromkeys(
        ["static_argnums", "static_argnames", "donate_argnums", "donate_argnames"], None
    )
    assert tj.jit(lambda x: x + 1, **none)(1) == 2


def test_one_number_for_all_segments() -> None:
    ids = jnp.array([0, 0, 2])
    assert tj.ops.segment_sum(jnp.float32(2.0), ids).tolist() == [4, 0, 2]


@pytest.mark.parametrize("name", ["float32", "complex64", "bfloat16"])
def test_whether_a_dtype_is_complex(name: str) -> None:
    for dtype in (getattr(jnp, name), np.dtype(getattr(jnp, name))):
        assert jnp.iscomplexobj(dtype) == (name == "complex64") != jnp.isrealobj(dtype)


def test_the_operands_of_each_branch() -> None:
    def f(flag, x):
        return tj.lax.cond(flag, x, lambda x: x + 1, {"y": x}, lambda tree: tree["y"] * 5)

    for run in (f, tj.jit(f)):
        assert (run(True, 2.0), run(False, 2.0)) == (3, 10)


def test_blocks_of_jax() -> None:
    with tj.numpy_rank_promotion("raise"), tj.numpy_dtype_promotion("standard"):
        assert (jnp.ones((1, 2)) + jnp.ones(2)).shape == (1, 2)
    with (
        pytest.raises(tj.errors.ArgumentError, match="strict"),
        tj.numpy_dtype_promotion("strict"),
    ):
        pass


def test_vmap_takes_the_name_of_an_axis_of_devices() -> None:
    assert tj.vmap(lambda x: x + 1, spmd_axis_name="data")(jnp.arange(2)).tolist() == [1, 2]


def test_objects_whose_name_is_no_text() -> None:
    class Model:
        def __getattribute__(self, name: str) -> Any:
            named = name in ("__name__", "__qualname__")
            return 3 if named else object.__getattribute__(self, name)

        def __call__(self, x: Any) -> Any:
            return x * x

    f, x = Model(), jnp.float32(3.0)
    assert tj.jit(f)(x) == 9 and tj.grad(f)(x) == 6 and tj.vmap(f)(x[None]) == [9]
    assert tj.checkpoint(f)(x) == 9 and tj.jacfwd(f)(x) == 6 and tj.custom_jvp(f).fun is f
    assert tj.value_and_grad(f)(x) == (9, 6) and tj.grad(tj.checkpoint(f))(x) == 6
