"""Public functions whose calls are remembered: what a call depends on, what it must not keep."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
import pytest

import tracejit as tj
import tracejit.lax as lax
import tracejit.nn as nn
import tracejit.numpy as jnp
from tracejit import random
from tracejit.errors import (
    ArgumentError,
    DeletedArrayError,
    KeyReuseError,
    LinAlgError,
    NonFiniteError,
    OutOfBoundsError,
    ShapeError,
)
from tracejit.frontend import eager
from tracejit.frontend.array import Array

X = np.linspace(0.5, 2.0, 6, dtype=np.float32)


def array() -> Any:
    return jnp.array(X)


def tapes(function: Any) -> list[Any]:
    return list(function.memory.tapes.values())


@pytest.fixture(autouse=True)
def forgetful() -> None:
    eager.forget()


# ---- what is remembered --------------------------------------------------------------------------


def test_the_second_call_is_recorded_and_the_third_done_again() -> None:
    x = array()
    jnp.exp(x)
    assert not tapes(jnp.exp)
    jnp.exp(x)
    (tape,) = tapes(jnp.exp)
    assert isinstance(tape, eager.Tape)
    found = jnp.exp(x + 1)
    assert type(found) is Array
    np.testing.assert_array_equal(np.asarray(found), np.exp(X + 1))


def test_many_runs_become_one_function() -> None:
    for k in range(eager.RUNS + 5):
        x = jnp.array(X.reshape(2, 3) + k)
        with tj.settings(log_compiles=True):
            expected = np.asarray(nn.softmax(x))
        np.testing.assert_array_equal(np.asarray(nn.softmax(x)), expected)
    assert any(tape.written for tape in tapes(nn.softmax) if tape)


def test_several_results_and_trees() -> None:
    a = jnp.array([[2.0, 1.0], [1.0, 3.0]])
    for _ in range(eager.RUNS + 4):
        u, s, vh = found = jnp.linalg.svd(a)
        assert found.S is s
        np.testing.assert_allclose(np.asarray((u * s) @ vh), np.asarray(a), atol=1e-5)
        whole, part = jnp.divmod(a, 2.0)
        np.testing.assert_array_equal(np.asarray(whole * 2 + part), np.asarray(a))


@pytest.mark.parametrize("make", [random.key, random.PRNGKey])
def test_keys_of_both_kinds(make: Any) -> None:
    key = make(7)
    with tj.settings(log_compiles=True):
        expected = np.asarray(random.normal(key, (5,)))
        children = random.split(key, 3)
    for _ in range(4):
        np.testing.assert_array_equal(np.asarray(random.normal(key, (5,))), expected)
        assert type(random.split(key, 3)) is type(children)
        assert bool((random.split(key, 3) == children).all())
    other = random.normal(make(8), (5,))
    assert not np.array_equal(np.asarray(other), expected)


def test_other_scalars_are_other_calls() -> None:
    x = jnp.array([1.0, -1.0])
    for _ in range(4):
        assert jnp.add(jnp.array([1, 2]), 1).dtype == np.int64
        assert jnp.add(jnp.array([1, 2]), 1.0).dtype == np.float32
        assert jnp.add(jnp.array([True]), True).dtype == np.bool_
        np.testing.assert_array_equal(np.signbit(np.asarray(jnp.copysign(x, 0.0))), [False, False])
        np.testing.assert_array_equal(np.signbit(np.asarray(jnp.copysign(x, -0.0))), [True, True])
        assert np.isnan(np.asarray(jnp.add(x, float("nan")))).all()


def test_signs_of_zeros_and_nans_are_looked_at() -> None:
    nan = float("nan")
    for _ in range(3):
        for sign in (1.0, -1.0):
            fill = math.copysign(nan, sign)
            assert bool(jnp.signbit(jnp.full((), fill))) == (sign < 0)
            made = jnp.full((), complex(1.0, math.copysign(0.0, sign)))
            assert bool(np.signbit(np.asarray(made).imag)) == (sign < 0)


def test_weak_types_are_other_calls() -> None:
    weak, strong = jnp.asarray(2.0), jnp.float64(2.0)
    for _ in range(4):
        assert jnp.multiply(tj.lax.exp(weak), jnp.float32(1)).dtype == np.float32
        assert jnp.multiply(strong, jnp.float32(1)).dtype == np.float64


def test_settings_are_looked_at() -> None:
    for _ in range(3):
        assert jnp.zeros(2).dtype == np.float32
        assert jnp.mean(jnp.arange(3)).dtype == np.float32
        with tj.settings(default_float="float64"):
            assert jnp.zeros(2).dtype == np.float64
            assert jnp.mean(jnp.arange(3)).dtype == np.float64


def test_numpy_arrays_and_lists_are_taken() -> None:
    for _ in range(3):
        np.testing.assert_array_equal(np.asarray(jnp.add(X, X)), X + X)
        np.testing.assert_array_equal(np.asarray(jnp.array([1.0, 2.0])), [1.0, 2.0])
        assert float(jnp.sum(jnp.concatenate([array(), array()]))) == pytest.approx(2 * X.sum())


# ---- values --------------------------------------------------------------------------------------


def test_who_looks_at_values_is_called_as_ever() -> None:
    for data in ([0.0, 1.0], [1.0, 1.0], [0.0, 0.0], [1.0, 0.0]):
        (found,) = jnp.nonzero(jnp.array(data))
        np.testing.assert_array_equal(np.asarray(found), np.nonzero(data)[0])
    assert eager.NEVER in tapes(jnp.nonzero)


def test_a_singular_matrix_is_found_again() -> None:
    for _ in range(4):
        jnp.linalg.inv(jnp.array([[2.0, 0.0], [0.0, 4.0]]))
    assert all(tapes(jnp.linalg.inv))
    with pytest.raises(LinAlgError, match="singular") as caught:
        jnp.linalg.inv(jnp.zeros((2, 2)))
    assert caught.value.at is not None and caught.value.at.file == __file__
    np.testing.assert_array_equal(np.asarray(jnp.linalg.inv(jnp.eye(2))), np.eye(2))


def test_an_index_outside_is_an_error() -> None:
    x = array()
    for _ in range(4):
        assert float(jnp.take(x, jnp.array([1, -1]))[1]) == X[-1]
        assert float(x[jnp.array([1, -1])][1]) == X[-1]
    for call in (lambda i: jnp.take(x, i), lambda i: x[i]):
        with pytest.raises(OutOfBoundsError) as caught:
            call(jnp.array([1, 6]))
        assert caught.value.at is not None and caught.value.at.file == __file__


def test_errors_stay_as_they_are() -> None:
    texts = set()
    for _ in range(4):
        with pytest.raises(ShapeError) as caught:
            jnp.sum(array(), axis=3)
        texts.add(str(caught.value))
        with pytest.raises(ArgumentError):
            jnp.sum(array(), axes=0)
    assert len(texts) == 1 and "test_eager.py" in texts.pop()


def test_debugging_sees_remembered_calls() -> None:
    x = jnp.array([1.0, -1.0])
    for _ in range(4):
        jnp.log(x)
    with tj.settings(debug_nans=True), pytest.raises(NonFiniteError):
        jnp.log(x)
    key = random.key(3)
    for _ in range(4):
        random.normal(key)
    with tj.settings(check_keys=True):
        random.normal(key)
        with pytest.raises(KeyReuseError):
            random.normal(key)


def test_a_deleted_array_is_an_error() -> None:
    for _ in range(4):
        x = array()
        jnp.exp(x)
    x.delete()
    with pytest.raises(DeletedArrayError):
        jnp.exp(x)


# ---- traces --------------------------------------------------------------------------------------


def test_traces_record_as_ever() -> None:
    x = array()
    for _ in range(4):
        nn.softmax(x)
    np.testing.assert_allclose(np.asarray(tj.jit(nn.softmax)(x)), np.asarray(nn.softmax(x)), 1e-6)
    np.testing.assert_allclose(np.asarray(tj.grad(jnp.sum)(x)), 1.0)
    np.testing.assert_allclose(np.asarray(tj.vmap(jnp.exp)(x)), np.exp(X), 1e-6)
    np.testing.assert_allclose(np.asarray(lax.map(jnp.exp, x)), np.exp(X), 1e-6)


def test_functions_as_arguments_are_never_remembered() -> None:
    scale = 1.0

    def times(v: Any) -> Any:
        return v * scale

    for _ in range(4):
        assert float(jnp.vectorize(times)(array())[0]) == X[0] * scale
        assert float(jnp.apply_along_axis(times, 0, array())[0]) == X[0] * scale
        scale += 1.0


# ---- memory --------------------------------------------------------------------------------------


def test_results_are_nobody_elses() -> None:
    for _ in range(5):
        for made in (jnp.zeros(3), jnp.array([0.0, 0.0, 0.0]), jnp.zeros_like(jnp.ones(3))):
            np.testing.assert_array_equal(np.asarray(made), 0)
            made[1] = 5.0
            assert float(made[1]) == 5.0


def test_arguments_stay_as_they_are() -> None:
    for _ in range(5):
        x = array()
        views = [jnp.reshape(x, (2, 3)), jnp.asarray(x), jnp.copy(x), x[:6], jnp.expand_dims(x, 1)]
        assert all(view is not x for view in views)
        assert jnp.asarray(x, copy=False) is x
        for view in views:
            view[0, ...] = 9.0
        np.testing.assert_array_equal(np.asarray(x), X)
        x[0] = 7.0
        assert all(float(view.ravel()[0]) == 9.0 for view in views)


def test_donated_results() -> None:
    step = tj.jit(lambda v: v + 1, donate_argnums=0)
    for _ in range(5):
        ones = jnp.ones(4)
        other = jnp.ones(4)
        np.testing.assert_array_equal(np.asarray(step(ones)), 2.0)
        np.testing.assert_array_equal(np.asarray(other), 1.0)


def test_what_writes_into_an_argument_writes_into_the_callers() -> None:
    def clear(x: Any) -> Any:
        x[0] = 0.0
        return jnp.sum(x)

    door = eager.remembered(clear)
    for _ in range(4):
        x = array()
        assert float(door(x)) == pytest.approx(X[1:].sum())
        assert float(x[0]) == 0.0


def test_tables_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eager, "MOST_TAPES", 4)
    monkeypatch.setattr(eager, "MOST_SEEN", 3)
    x = array()
    for k in range(10):
        for _ in range(3):
            jnp.add(x, float(k))
        jnp.add(x, k + 0.5)
    memory = jnp.add.memory  # type: ignore[attr-defined]
    assert len(memory.tapes) <= 4 and len(memory.seen) <= 3


def test_large_constants_are_not_kept() -> None:
    for _ in range(4):
        assert jnp.zeros(100_000).shape == (100_000,)
    assert tapes(jnp.zeros) == [eager.NEVER]


def test_clear_caches_forgets() -> None:
    for _ in range(3):
        jnp.exp(array())
    assert tapes(jnp.exp)
    tj.clear_caches()
    assert not tapes(jnp.exp)


def test_threads() -> None:
    failures: list[Any] = []

    def work(seed: int) -> None:
        x = jnp.array(X + seed)
        expected = np.exp(X + seed)
        for _ in range(200):
            if not np.array_equal(np.asarray(jnp.exp(x)), expected):
                failures.append(seed)
            nn.softmax(x)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_constants_are_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eager, "MOST_TOTAL", 2000)
    for k in range(10):
        for _ in range(3):
            np.testing.assert_array_equal(np.asarray(jnp.arange(k, k + 100)), np.arange(k, k + 100))
    assert sum(tape.nbytes for tape in tapes(jnp.arange) if tape) <= 2000
