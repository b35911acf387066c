"""jit: which arguments make a new program, what a program captures, methods, threads, and state
after errors.
"""

from __future__ import annotations

import functools
import threading
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax
from tracejit.errors import ArgumentError, TracedValueError
from tracejit.frontend.trace import current_trace
from tracejit.tree_util import register_dataclass, register_pytree_node_class

jit = tj.jit


class Counted:
    """A function that counts how often it is traced."""

    def __init__(self, fun: Callable[..., Any]) -> None:
        functools.update_wrapper(self, fun)
        self.fun = fun
        self.calls = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        return self.fun(*args, **kwargs)


def close(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=1e-6)


# ---- arguments -----------------------------------------------------------------------------------


def test_defaults_and_keywords() -> None:
    @jit
    def f(x: Any, y: Any = 2.0, *, scale: Any = 1.0) -> Any:
        return x * y * scale

    assert [float(v) for v in (f(3.0), f(3.0, 4.0), f(3.0, y=5.0), f(x=1.0, scale=7.0, y=2.0))] == [
        6,
        12,
        15,
        14,
    ]


def test_positional_and_keyword_varargs() -> None:
    @jit
    def f(*args: Any, **kwargs: Any) -> Any:
        return sum(args) + kwargs.get("a", 0) - kwargs.get("b", 0)

    assert float(f(1.0, 2.0, 3.0)) == 6
    assert float(f(1.0, b=2.0, a=5.0)) == float(f(1.0, a=5.0, b=2.0)) == 4
    assert f.cache_size() == 2


@pytest.mark.parametrize(
    "options", [{"static_argnums": 1}, {"static_argnames": "n"}, {"static_argnums": (-1,)}]
)
def test_static_by_position_and_by_name(options: dict[str, Any]) -> None:
    body = Counted(lambda x, n: x)

    @functools.partial(jit, **options)
    def f(x: Any, n: int) -> Any:
        assert isinstance(n, int)
        return body(sum(x * k for k in range(n)), n)

    assert float(f(1.0, 4)) == float(f(1.0, n=4)) == 6
    assert float(f(1.0, 3)) == 3
    assert float(f(2.0, n=3)) == 6
    assert body.calls == f.cache_size()


def test_static_defaults() -> None:
    @functools.partial(jit, static_argnames=("mode", "power"))
    def f(x: Any, mode: str = "sum", power: int = 2) -> Any:
        return (x**power).sum() if mode == "sum" else (x**power).max()

    x = jnp.array([1.0, 2.0, 3.0])
    assert [float(v) for v in (f(x), f(x, "max"), f(x, mode="max", power=3), f(x, power=1))] == [
        14,
        9,
        27,
        6,
    ]


def test_static_values_of_equal_hash_are_kept_apart() -> None:
    @functools.partial(jit, static_argnums=0)
    def f(k: Any, x: Any) -> Any:
        return x * (10 if k is True else k)

    assert [float(f(k, 1.0)) for k in (1, True, 1.0, 1)] == [1, 10, 1, 1]


def test_static_functions_and_types() -> None:
    @functools.partial(jit, static_argnums=(0, 1))
    def f(activation: Any, dtype: Any, x: Any) -> Any:
        return activation(x).astype(dtype)

    assert f(jnp.sin, np.dtype("float16"), jnp.ones(2)).dtype == np.float16
    close(f(jnp.cos, jnp.float32, jnp.ones(2)), np.cos(np.ones(2)))


def test_static_arguments_must_be_hashable() -> None:
    @functools.partial(jit, static_argnums=1)
    def f(x: Any, sizes: Any) -> Any:
        return x

    with pytest.raises(ArgumentError, match="not hashable"):
        f(1.0, [1, 2])
    assert float(f(1.0, (1, 2))) == 1


def test_donated_arguments_are_accepted() -> None:
    f = jit(lambda x, y: x + y, donate_argnums=(0,))
    close(f(jnp.ones(3), jnp.ones(3)), np.full(3, 2.0))
    close(jit(lambda x: x * 2, donate_argnames="x")(jnp.ones(3)), np.full(3, 2.0))


def test_decorator_forms() -> None:
    @jit
    def bare(x: Any) -> Any:
        "Doc."
        return x + 1

    @jit(static_argnames="n")
    def called(x: Any, n: int) -> Any:
        return x + n

    assert (float(bare(1.0)), float(called(1.0, n=2))) == (2, 3)
    assert (bare.__name__, bare.__doc__, called.__name__) == ("bare", "Doc.", "called")


# ---- when programs are made ----------------------------------------------------------------------


def test_one_program_per_type() -> None:
    body = Counted(lambda x: x * 2)
    f = jit(body)
    for x in (np.ones(3), np.zeros(3), jnp.array(np.ones(3))):
        f(x)
    assert (body.calls, f.cache_size()) == (1, 1)
    for x in (np.ones(4), np.ones(3, np.float32), np.ones((3, 1)), np.ones(3, np.int32)):
        f(x)
    assert body.calls == f.cache_size() == 5
    f.clear_cache()
    f(np.ones(3))
    assert (body.calls, f.cache_size()) == (6, 1)


def test_python_scalars_are_weak() -> None:
    body = Counted(lambda a, x: a * x)
    f = jit(body)
    x = jnp.ones(2, jnp.float16)
    assert f(2, x).dtype == np.float16
    assert f(2.5, x).dtype == np.float16
    close(f(2.5, x), [2.5, 2.5])
    assert f(2.5, jnp.ones(2, jnp.int32)).dtype == np.float32
    calls = body.calls
    f(3, x), f(-1, x), f(7.5, x)
    assert body.calls == calls == 3
    assert f(np.float32(2), x).dtype == np.float32  # a NumPy scalar has a dtype of its own
    assert f(True, jnp.ones(2, bool)).dtype == np.bool_


def test_integers_then_floats() -> None:
    f = jit(lambda x: x / 2)
    assert [float(f(v)) for v in (2, 2.5, True, np.int64(3), np.float64(5))] == [
        1,
        1.25,
        0.5,
        1.5,
        2.5,
    ]


def test_structure_is_part_of_the_key() -> None:
    body = Counted(lambda tree: sum(v for v in (tree.values() if isinstance(tree, dict) else tree)))
    f = jit(body)
    assert [
        float(f(t)) for t in ([1.0, 2.0], (1.0, 2.0), {"a": 1.0, "b": 2.0}, {"b": 2.0, "a": 1.0})
    ] == [3] * 4
    assert body.calls == 3


# ---- trees ---------------------------------------------------------------------------------------

Point = namedtuple("Point", "x y")


@register_dataclass
@dataclass
class Layer:
    weight: Any
    bias: Any


@register_pytree_node_class
class Model:
    def __init__(self, weight: Any, name: str) -> None:
        self.weight, self.name = weight, name

    def tree_flatten(self) -> Any:
        return (self.weight,), self.name

    @classmethod
    def tree_unflatten(cls, name: str, children: Any) -> Model:
        return cls(*children, name)

    @jit
    def apply(self, x: Any) -> Any:
        return x @ self.weight


def test_trees_in_and_out() -> None:
    @jit
    def f(layer: Layer, p: Point, rest: dict[str, Any]) -> Any:
        new = Layer(layer.weight * p.x, layer.bias + p.y)
        return new, Point(p.y, None), {"none": None, "list": [rest["a"], (rest["b"],)], "empty": ()}

    layer, point, rest = f(
        Layer(jnp.ones(2), 1.0), Point(2.0, 3.0), {"a": 5, "b": jnp.zeros(1), "n": None}
    )
    close(layer.weight, [2, 2])
    assert isinstance(layer, Layer)
    assert float(layer.bias) == 4
    assert float(point.x) == 3
    assert point.y is None
    assert rest["none"] is None
    assert int(rest["list"][0]) == 5
    assert rest["empty"] == ()


def test_results_that_are_constants_inputs_or_repeated() -> None:
    x = jnp.arange(3.0)
    a, b, c, d = jit(lambda x: (x, x, 1, x * 0 + jnp.ones(3)))(x)
    close(a, x)
    close(b, x)
    assert int(c) == 1
    close(d, np.ones(3))
    assert jit(lambda: ())() == ()
    assert jit(lambda x: None)(x) is None


# ---- methods -------------------------------------------------------------------------------------


class Plain:
    def __init__(self, scale: float) -> None:
        self.scale = scale

    @jit
    def method(self, x: Any) -> Any:
        return x * self.scale

    @functools.partial(jit, static_argnums=(0, 2))
    def static_self(self, x: Any, n: int) -> Any:
        return x * self.scale * n

    @staticmethod
    @jit
    def static(x: Any) -> Any:
        return x + 1

    @classmethod
    @functools.partial(jit, static_argnums=0)
    def made_by(cls, x: Any) -> Any:
        return x + len(cls.__name__)


def test_methods() -> None:
    two, three = Plain(2.0), Plain(3.0)
    assert [float(p.method(5.0)) for p in (two, three, two)] == [10, 15, 10]
    assert float(two.static_self(5.0, 2)) == 20
    assert float(three.static_self(5.0, n=2)) == 30
    assert float(Plain.static(1.0)) == float(two.static(1.0)) == 2
    assert float(Plain.made_by(1.0)) == float(two.made_by(1.0)) == 6
    assert float(tj.grad(two.method)(1.0)) == 2


def test_a_model_that_is_a_tree_has_methods() -> None:
    model = Model(jnp.ones((2, 2)), "m")
    close(model.apply(jnp.ones(2)), [2, 2])
    model.weight = model.weight * 2
    close(model.apply(jnp.ones(2)), [4, 4])  # the weight is an argument, not a constant
    assert Model.apply.cache_size() == 1


def test_partials_lambdas_and_callable_objects() -> None:
    class Affine:
        def __call__(self, x: Any, y: Any = 1.0) -> Any:
            return 2 * x + y

    assert float(jit(functools.partial(lambda a, x: a * x, 3.0))(2.0)) == 6
    assert float(jit(Affine())(2.0)) == 5
    assert float(jit(Affine())(2.0, y=3.0)) == 7
    assert float(jit(jnp.sin)(0.0)) == 0


# ---- what a program captures ---------------------------------------------------------------------


@pytest.mark.parametrize("size", [3, 1000])
def test_closures_over_arrays_are_snapshots(size: int) -> None:
    table = np.ones(size)
    f = jit(lambda x: (x * table).sum())
    assert float(f(2.0)) == 2 * size
    table[:] = 5
    assert float(f(2.0)) == 2 * size  # traced once: what the array held then
    assert float(jit(lambda x: (x * table).sum())(2.0)) == 10 * size


@pytest.mark.parametrize("size", [3, 1000])
def test_inner_functions_keep_their_snapshots_too(size: int) -> None:
    table = np.ones(size)
    inner = jit(lambda x: (x * table).sum())
    outer = jit(lambda x: inner(x) + 1)
    assert float(outer(2.0)) == 2 * size + 1
    assert float(tj.grad(inner)(2.0)) == size
    table[:] = 5
    assert float(outer(2.0)) == 2 * size + 1
    assert float(tj.grad(inner)(2.0)) == size


def test_closures_over_tracers() -> None:
    @jit
    def outer(x: Any) -> Any:
        inner = jit(lambda y: y * x + table)
        return inner(x) + jit(lambda: x * 2)() + inner(2.0)

    table = jnp.full((100,), 3.0)
    close(outer(4.0), np.full(100, 16 + 3 + 8 + 8 + 3.0))
    close(tj.grad(lambda x: outer(x).sum())(4.0), 100 * (8 + 2 + 2))


def test_one_inner_function_under_several_outer_traces() -> None:
    inner = jit(lambda y, z: jnp.sin(y) * z)

    def f(x: Any) -> Any:
        return inner(x, x) + inner(x, 2.0)

    x = 0.7
    expected = np.cos(x) * x + np.sin(x) + 2 * np.cos(x)
    for g in (tj.grad(f), jit(tj.grad(f)), tj.grad(jit(f)), tj.jacfwd(f)):
        close(g(x), expected)
    close(tj.vmap(f)(jnp.array([x, x])), [np.sin(x) * (x + 2)] * 2)


def test_nested_jits_trace_the_inner_one_once() -> None:
    body = Counted(lambda x: x * 2)
    inner = jit(body)

    @jit
    def outer(x: Any) -> Any:
        for _ in range(5):
            x = inner(x)
        return x

    assert float(outer(1.0)) == 32
    assert body.calls <= 2  # a Python scalar first, then what the function returns


# ---- shapes without values -----------------------------------------------------------------------


def test_eval_shape() -> None:
    def f(tree: Any, y: Any, flag: bool = False) -> Any:
        return {"out": tree["a"] @ y, "n": jnp.argmax(y)}

    spec = tj.ShapeDtypeStruct((4, 3), jnp.float32)
    out = tj.eval_shape(f, {"a": spec}, jnp.ones(3, jnp.float32))
    assert out["out"] == tj.ShapeDtypeStruct((4,), jnp.float32)
    assert out["n"].shape == ()
    assert jit(lambda x: x.T).eval_shape(spec).shape == (3, 4)
    tiled = jit(lambda x, n: jnp.tile(x, n), static_argnames="n")
    assert tiled.eval_shape(spec, 2).shape == (4, 6)
    assert tiled.stages(spec, n=2).graph.output_types[0].shape == (4, 6)
    huge = tj.ShapeDtypeStruct((10**6, 10**6), jnp.float32)
    assert tj.eval_shape(lambda x: (x + 1).sum(0), huge).shape == (10**6,)
    assert tj.eval_shape(tj.grad(lambda x: x.sum()), spec) == spec


# ---- state ---------------------------------------------------------------------------------------


def test_errors_while_tracing_leave_no_trace() -> None:
    armed = True

    def body(c: Any, x: Any) -> Any:
        if armed:
            raise KeyError("boom")
        return c + x, c

    def f(x: Any) -> Any:
        return tj.vmap(lambda x: tj.grad(jit(lambda x: lax.scan(body, x, jnp.ones(3))[0]))(x))(x)

    g = jit(f)
    for call in (f, g, tj.jacfwd(f), lambda x: tj.vjp(f, x), lambda x: tj.linearize(f, x)):
        with pytest.raises(KeyError, match="boom"):
            call(jnp.ones(2))
        assert current_trace() is None
    armed = False
    close(g(jnp.ones(2)), np.ones(2))
    close(f(jnp.ones(2)), np.ones(2))


def test_a_failed_control_flow_error_leaves_no_trace() -> None:
    @jit
    def f(x: Any) -> Any:
        return 1.0 if x > 0 else 2.0

    for _ in range(2):
        with pytest.raises(TracedValueError):
            f(1.0)
        assert current_trace() is None
    assert float(jit(lambda x: x + 1)(1.0)) == 2


def test_errors_caught_by_the_user_within_a_trace() -> None:
    @jit
    def f(x: Any) -> Any:
        try:
            return tj.grad(lambda z: z * x * jnp.ones(3))(x)
        except tj.errors.GradError:
            return x * 10

    assert float(f(2.0)) == 20


def test_recursion() -> None:
    @functools.partial(jit, static_argnums=1)
    def power(x: Any, n: int) -> Any:
        return jnp.ones_like(x) if n == 0 else x * power(x, n - 1)

    assert float(power(2.0, 5)) == 32
    assert float(tj.grad(lambda x: power(x, 4))(2.0)) == 32


def test_a_jitted_function_called_while_it_is_traced_elsewhere() -> None:
    results = []

    @jit
    def f(x: Any) -> Any:
        if x.ndim:
            results.append(f(x[0]))  # another type: its own trace, while this one is open
        return x * 2

    close(f(jnp.ones(2)), [2, 2])
    close(f(3.0), 6)
    assert f.cache_size() == 2


def test_many_threads_call_one_function() -> None:
    @jit
    def f(x: Any, y: Any) -> Any:
        return jnp.tanh(x) @ y + tj.grad(lambda z: jnp.sum(z**3))(x).sum()

    errors: list[BaseException] = []
    barrier = threading.Barrier(8)

    def work(seed: int) -> None:
        try:
            barrier.wait()
            for k in range(12):
                n = 2 + (seed + k) % 3
                x = np.random.default_rng(seed * 100 + k).normal(size=(n, n))
                found = f(x, x)
                np.testing.assert_allclose(found, np.tanh(x) @ x + (3 * x**2).sum(), rtol=1e-9)
                close(tj.grad(lambda x: jnp.sum(x**2))(x), 2 * x)
                assert current_trace() is None
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors[0]
    assert f.cache_size() == 3


def test_a_trace_in_one_thread_is_none_in_another() -> None:
    seen: list[Any] = []

    @jit
    def f(x: Any) -> Any:
        def other() -> None:
            seen.append(current_trace())
            seen.append(float(jnp.sum(jnp.ones(3))))

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        return x + 1

    assert float(f(1.0)) == 2
    assert seen == [None, 3.0]


def test_numpy_sees_results_read_only() -> None:
    y = jit(lambda x: x + 1)(np.arange(3.0))
    seen = np.asarray(y)
    with pytest.raises(ValueError, match="read-only"):
        seen[0] = 5.0
    assert np.array(y).flags.writeable
    np.testing.assert_array_equal(y, [1.0, 2.0, 3.0])
