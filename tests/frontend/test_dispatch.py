"""Calls of compiled programs: what is told apart, results made late, threads, settings."""

from __future__ import annotations

import gc
import pickle
import threading
import weakref
from typing import Any

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax
from tracejit.errors import ArgumentError, LeakedTracerError, OutOfBoundsError
from tracejit.frontend.array import Array

jit = tj.jit


def often(f: Any, *args: Any, **kwargs: Any) -> Any:
    """The result of the fourth call: by then the call goes by code written for its structure."""
    for _ in range(3):
        f(*args, **kwargs)
    return f(*args, **kwargs)


# ---- what is told apart --------------------------------------------------------------------------


def test_kinds_of_arguments_in_turn() -> None:
    f = jit(lambda x: x + 1)
    given = [
        (jnp.ones(3), np.float32),
        (np.ones(3), np.float64),
        (np.ones(3, np.float32), np.float32),
        (jnp.ones((3, 1)), np.float32),
        (1, np.int64),
        (1.0, np.float32),
        (True, np.int64),
        (1j, np.complex64),
        (np.float16(1), np.float16),
        (np.int32(1), np.int32),
        (jnp.arange(3), np.int64),
    ]
    for _ in range(4):
        for x, dtype in given:
            found = f(x)
            assert (found.dtype, found.shape) == (dtype, np.shape(x))
            np.testing.assert_array_equal(found, np.asarray(x) + 1)


def test_a_leaf_where_a_tree_was_and_the_other_way_round() -> None:
    f = jit(lambda tree: sum(tj.tree_util.tree_leaves(tree)) + 0.0)
    one = jnp.float32(1.0)
    trees = [one, [one], (one, one), {"a": one}, {"b": [one, None]}, None, [], [[one], one]]
    for _ in range(5):
        for tree in trees:
            assert float(f(tree)) == len(tj.tree_util.tree_leaves(tree))


def test_objects_that_become_arrays() -> None:
    class Thing:
        def __init__(self, n: int) -> None:
            self.n = n

        def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
            return np.arange(self.n, dtype=np.float32)

    f = jit(lambda x: x.sum())
    for _ in range(4):
        for n in (3, 1000, 5):
            assert float(f(Thing(n))) == n * (n - 1) / 2


def test_integers_of_a_subclass() -> None:
    import enum

    class Level(enum.IntEnum):
        LOW = 2

    assert int(often(jit(lambda x: x * 3), Level.LOW)) == 6


def test_weak_types_of_results_are_kept_apart() -> None:
    f = jit(lambda x: x * 2)
    weak = often(f, 1.0)
    strong = often(f, np.float32(1.0))
    half = jnp.ones(2, jnp.float16)
    assert (weak.weak_type, strong.weak_type) == (True, False)
    g = jit(lambda x, y: x * y)
    for _ in range(4):
        assert g(weak, half).dtype == np.float16
        assert g(strong, half).dtype == np.float32
    assert often(jit(lambda x: (x, x + 0)), weak)[1].weak_type


def test_settings_change_between_calls() -> None:
    f = jit(lambda x, y: x * y)
    x = np.arange(3, dtype=np.int32)
    for _ in range(3):
        assert f(x, 1.5).dtype == np.float32
        with tj.settings(default_float="float64"):
            assert f(x, 1.5).dtype == np.float64
        with tj.settings(backend="numpy"):
            np.testing.assert_array_equal(f(x, 1.5), [0, 1.5, 3])
        with tj.settings(backend="numba"):
            np.testing.assert_array_equal(f(x, 1.5), [0, 1.5, 3])
        with tj.settings(mode="debug"):
            np.testing.assert_array_equal(f(x, 1.5), [0, 1.5, 3])
    assert f.cache_size() == 5


def test_debug_mode_knows_what_was_rounded() -> None:
    """A product of float32 that is read as float64 is no more exact for that, and what cancels no
    more than what it came from.
    """
    random = np.random.default_rng(0)
    a, b = random.standard_normal((2, 5, 64)).astype(np.float32)
    c = random.standard_normal((64, 5)) + 1j

    def f(a, b, c):
        rows = jnp.real(a) @ jnp.sum(b.T, axis=1, keepdims=True)
        total = jnp.sum(a * 1000) - jnp.sum(a * 1000, axis=0).sum()
        return (rows[:, 0] - c), total, (a @ b.T).astype("bfloat16")

    jit(f, mode="debug")(a, b, c)


def test_clear_cache_forgets_all() -> None:
    f = jit(lambda x: x + 1)
    assert float(often(f, 1.0)) == 2
    f.clear_cache()
    assert f.cache_size() == 0
    assert float(often(f, 1.0)) == 2
    assert f.cache_size() == 1


def test_a_bad_argument_after_good_ones() -> None:
    f = jit(lambda x: x + 1)
    often(f, 1.0)
    for bad in ("text", object(), np.array(["a"]), {"a": "b"}):
        with pytest.raises(ArgumentError, match="is not an array"):
            f(bad)
    with pytest.raises(ArgumentError, match="argument"):
        f(1.0, 2.0)
    assert float(f(1.0)) == 2


def test_a_leaked_value_is_refused_where_a_good_one_was_accepted() -> None:
    leaked: list[Any] = []
    f = jit(lambda x: x + 1)
    often(f, jnp.ones(3))

    @jit
    def leak(x: Any) -> Any:
        leaked.append(x * 2)
        return x

    leak(jnp.ones(3))
    with pytest.raises(LeakedTracerError):
        f(leaked[0])


def test_jit_within_other_transforms_after_calls() -> None:
    f = jit(lambda x: (x * x).sum())
    x = jnp.array([1.0, 2.0])
    assert float(often(f, x)) == 5
    np.testing.assert_array_equal(tj.grad(f)(x), [2, 4])
    np.testing.assert_array_equal(tj.vmap(f)(jnp.stack([x, x])), [5, 5])
    assert float(jit(lambda x: f(x) + 1)(x)) == 6
    assert float(f(x)) == 5


# ---- results -------------------------------------------------------------------------------------


def test_results_have_no_numpy_array_until_one_is_asked_for() -> None:
    y = often(jit(lambda x: x + 1), jnp.ones((2, 3)))
    assert (y.shape, y.dtype, y.ndim, y.size, y.nbytes) == ((2, 3), np.float32, 2, 6, 24)
    assert str(y.type) == "f32[2,3]"
    assert y._array is None
    first, second = np.asarray(y), np.asarray(y)
    np.testing.assert_array_equal(first, np.full((2, 3), 2))
    assert np.shares_memory(first, second)
    assert not first.flags.writeable
    assert y.tolist() == [[2.0] * 3] * 2
    assert pickle.loads(pickle.dumps(y)).tolist() == y.tolist()


@pytest.mark.parametrize("name", ("bool", "int8", "uint16", "float16", "bfloat16", "complex128"))
def test_results_of_other_dtypes(name: str) -> None:
    x = jnp.ones((2, 2), name)
    y = often(jit(lambda x: (x.T, x)), x)
    assert [a.dtype.name for a in y] == [name] * 2
    np.testing.assert_array_equal(np.asarray(y[0]), np.asarray(x))


def test_results_that_are_kept_stay_as_they_are() -> None:
    f = jit(lambda x: (x + 1, x * 2))
    kept = [f(jnp.full(5, float(k))) for k in range(50)]
    views = [np.asarray(f(jnp.full(5, float(k)))[0])[1:] for k in range(50)]
    for k, (a, b) in enumerate(kept):
        np.testing.assert_array_equal(a, np.full(5, k + 1))
        np.testing.assert_array_equal(b, np.full(5, 2 * k))
        np.testing.assert_array_equal(views[k], np.full(4, k + 1))


def test_a_result_goes_with_its_last_reference() -> None:
    f = jit(lambda x: x + 1)
    y = often(f, jnp.ones(4))
    gone = weakref.ref(y)
    del y
    gc.collect()
    assert gone() is None


def test_assignment_to_an_argument_and_to_a_result() -> None:
    f = jit(lambda x: x + 1)
    x = jnp.zeros(3)
    y = often(f, x)
    x[0] = 5.0
    y[1] = 7.0
    np.testing.assert_array_equal(f(x), [6, 1, 1])
    np.testing.assert_array_equal(f(y), [2, 8, 2])
    np.testing.assert_array_equal(y, [1, 7, 1])


def test_trees_of_results() -> None:
    f = jit(lambda x: {"b": [x, None], "a": (x + 1, {"c": x * 2, 3: ()})})
    found = often(f, jnp.float32(1.0))
    assert list(found) == ["b", "a"]
    assert found["b"][1] is None and found["a"][1][3] == ()
    assert [float(v) for v in (found["b"][0], found["a"][0], found["a"][1]["c"])] == [1, 2, 2]
    found["b"].append(1)  # each call builds a new one
    assert len(f(jnp.float32(1.0))["b"]) == 2


def test_arguments_in_any_memory_layout() -> None:
    f = jit(lambda x: x * 2)
    base = np.arange(12, dtype=np.float32).reshape(3, 4)
    read_only = base.copy()
    read_only.flags.writeable = False
    for _ in range(3):
        for x in (base, base.T, base[:, ::2], base[::-1], base.astype(">f4"), read_only):
            np.testing.assert_array_equal(f(x), x * 2)
            np.testing.assert_array_equal(f(jnp.asarray(x)), x * 2)


def test_a_captured_array_keeps_its_value() -> None:
    table = jnp.arange(1000.0)
    f = jit(lambda x: table[:3] + x)
    np.testing.assert_array_equal(often(f, 1.0), [1, 2, 3])
    table[0] = 100.0
    np.testing.assert_array_equal(f(1.0), [1, 2, 3])


# ---- methods and static arguments ----------------------------------------------------------------


class Scaler:
    def __init__(self, by: float) -> None:
        self.by = by

    @jit
    def __call__(self, x: Any) -> Any:
        return x * self.by

    @jit(static_argnames="power")
    def raised(self, x: Any, power: int = 1) -> Any:
        return (x * self.by) ** power


def test_methods_of_several_objects() -> None:
    two, three = Scaler(2.0), Scaler(3.0)
    for _ in range(4):
        assert [float(s(jnp.float32(1.0))) for s in (two, three)] == [2, 3]
        assert [float(s.raised(1.0, power=2)) for s in (two, three)] == [4, 9]
        assert float(two.raised(jnp.float32(1.0), 3)) == 8


# ---- threads and callbacks -----------------------------------------------------------------------


@pytest.mark.parametrize("size", (4, 3000))
def test_many_threads_call_one_function(size: int) -> None:
    f = jit(lambda tree, k: ({"s": tree["x"] * k + jnp.sum(tree["y"])}, jnp.cumsum(tree["x"])))
    wrong: list[int] = []

    def work(me: int) -> None:
        tree = {"x": jnp.full(size, float(me)), "y": jnp.ones(3)}
        kept = []
        for k in range(150):
            found, running = f(tree, float(k))
            kept.append((k, found["s"], running))
            kept = kept[-5:]
            for j, s, c in kept:
                if float(s[0]) != me * j + 3 or float(s[size - 1]) != me * j + 3:
                    wrong.append(j)
                if float(c[size - 1]) != me * size:
                    wrong.append(j)

    threads = [threading.Thread(target=work, args=(me,)) for me in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert f.cache_size() == 1


def test_threads_with_settings_of_their_own() -> None:
    f = jit(lambda x, y: x * y)
    x = np.arange(3, dtype=np.int32)
    wrong: list[Any] = []

    def work(name: str) -> None:
        for _ in range(50):
            with tj.settings(default_float=name):
                found = f(x, 1.5).dtype.name
                wrong.extend([] if found == name else [found])

    threads = [threading.Thread(target=work, args=(n,)) for n in ("float32", "float64")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_callback_that_calls_compiled_functions_from_many_threads() -> None:
    inner = jit(lambda x: x + 1)

    def host(x: Any) -> Any:
        return np.asarray(inner(inner(x)))

    shape = tj.ShapeDtypeStruct((3,), np.float32)
    outer = jit(lambda x: tj.pure_callback(host, shape, x * 2) * 10)
    wrong: list[int] = []

    def work(me: int) -> None:
        for _ in range(30):
            if float(outer(jnp.full(3, float(me)))[0]) != (2 * me + 2) * 10:
                wrong.append(me)

    threads = [threading.Thread(target=work, args=(me,)) for me in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_an_index_that_fails_names_the_line_each_time() -> None:
    x = jnp.arange(5.0)
    f = jit(
        lambda x, i: (
            x.at[i].get(mode="promise_in_bounds") if i is None else jnp.take(x, i, mode="raise")
        )
    )
    assert float(often(f, x, 3)) == 3
    for _ in range(3):
        with pytest.raises(OutOfBoundsError, match="test_dispatch"):
            f(x, 7)
        assert float(f(x, 2)) == 2


def test_a_small_program_with_a_loop() -> None:
    f = jit(lambda x: lax.fori_loop(0, 5, lambda i, c: c + x * i, x))
    for k in range(5):
        np.testing.assert_array_equal(f(jnp.full(3, float(k))), np.full(3, k * 11.0))


def test_an_array_is_made_in_one_way_only() -> None:
    # Compiled.__call__ fills the slots itself
    assert set(Array.__slots__) == {
        *("_array", "_value", "_trace", "_is_weak", "_kind", "_place", "__weakref__")
    }


def test_what_converts_to_other_arrays_each_time_is_converted_once_a_call() -> None:
    class Growing:
        size = 0

        def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
            self.size += 1
            return np.full(1 if self.size % 2 else 1_000_000, self.size, np.float32)

    f = tj.jit(lambda x: x * 2)
    x = Growing()
    for call in range(1, 7):
        found = f(x)
        assert x.size == call
        assert found.shape == ((1,) if call % 2 else (1_000_000,))
        assert found[-1] == 2 * call


def test_static_arguments_that_are_equal_but_not_the_same() -> None:
    f = jit(lambda x, s: x * s[0], static_argnums=1)
    x = np.arange(3, dtype=np.int32)
    for _ in range(2):
        assert f(x, (2,)).dtype == np.int32
        assert f(x, (2.0,)).dtype == np.float32
    g = jit(lambda x, s: jnp.arctan2(x, jnp.float32(s)), static_argnames="s")
    zero = np.float32(0)
    for s in (0.0, -0.0, 0.0, np.float32(0.0), np.float32(-0.0)):
        assert float(g(zero, s)) == (0 if np.copysign(1, s) > 0 else pytest.approx(np.pi))
    h = jit(lambda x, s: x + s, static_argnums=1)
    for _ in range(3):
        h(x, float("nan"))
    assert h.cache_size() == 1
    with pytest.raises(ArgumentError, match="static argument 1 of .* is not hashable: tuple"):
        h(x, (1, [2]))


def test_too_many_arguments_beside_static_ones() -> None:
    f = jit(lambda x, s: x * s, static_argnums=1)
    with pytest.raises(ArgumentError, match="takes 2 positional arguments but 3"):
        f(1.0, 2, 3)
    with pytest.raises(ArgumentError, match="unexpected keyword argument 'z'"):
        f(1.0, 2, z=3)
