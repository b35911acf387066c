"""Python inside programs: pure_callback, debug.print, debug.callback."""

from __future__ import annotations

import signal
import sys
from typing import Any

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import debug

X = np.arange(4, dtype=np.float32)


def twice(x: np.ndarray) -> np.ndarray:
    assert isinstance(x, np.ndarray)
    return x * 2


def test_pure_callback_runs_un_jitted_jitted_and_batched() -> None:
    def f(x):
        return tj.pure_callback(twice, tj.ShapeDtypeStruct(x.shape, x.dtype), x) + 1

    np.testing.assert_array_equal(f(jnp.asarray(X)), X * 2 + 1)
    np.testing.assert_array_equal(tj.jit(f)(X), X * 2 + 1)
    np.testing.assert_array_equal(tj.jit(tj.vmap(f))(X), X * 2 + 1)


def test_pure_callback_takes_and_returns_trees() -> None:
    shape = {"a": tj.ShapeDtypeStruct((4,), np.float32), "b": tj.ShapeDtypeStruct((), np.float32)}

    def f(x):
        return tj.pure_callback(lambda t: {"a": t["x"] + 1, "b": t["x"].sum()}, shape, {"x": x})

    found = tj.jit(f)(X)
    np.testing.assert_array_equal(found["a"], X + 1)
    assert float(found["b"]) == 6.0


def test_a_broken_promise_is_an_error() -> None:
    f = tj.jit(lambda x: tj.pure_callback(twice, tj.ShapeDtypeStruct((3,), np.float32), x))
    with pytest.raises(tj.TracejitError, match="promised"):
        f(X)


def test_no_derivative_unless_given() -> None:
    f = tj.custom_jvp(lambda x: tj.pure_callback(twice, tj.ShapeDtypeStruct(x.shape, x.dtype), x))
    f.defjvp(lambda primals, tangents: (f(*primals), 2 * tangents[0]))
    np.testing.assert_array_equal(
        tj.jit(tj.grad(lambda x: f(x).sum()))(X), np.full(4, 2, np.float32)
    )
    with pytest.raises(tj.TracejitError, match="pure_callback"):
        tj.grad(lambda x: tj.pure_callback(twice, tj.ShapeDtypeStruct((), np.float32), x))(1.0)


def test_debug_print_shows_run_time_values_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    @tj.jit
    def f(x):
        debug.print("first {}", x.sum())
        y = x * 2
        debug.print("then {y}", y=y[0])
        return y

    f(X)
    f(X + 1)
    assert capsys.readouterr().out == "first 6.0\nthen 0.0\nfirst 10.0\nthen 2.0\n"


def test_debug_print_inside_a_loop(capsys: pytest.CaptureFixture[str]) -> None:
    from tracejit import lax

    def body(i, x):
        debug.print("{} {}", i, x)
        return x + 1

    tj.jit(lambda x: lax.fori_loop(0, 3, body, x))(np.float32(5))
    assert capsys.readouterr().out.splitlines() == ["0 5.0", "1 6.0", "2 7.0"]


def test_debug_callback_gets_arrays_and_may_raise() -> None:
    seen: list[float] = []

    @tj.jit
    def f(x):
        debug.callback(lambda total: seen.append(float(total)), x.sum())
        return x

    f(X)
    tj.vmap(f)(np.stack([X, X + 1]))
    assert seen == [6.0, 6.0, 10.0]

    @tj.jit
    def g(x):
        debug.callback(lambda _: 1 / 0, x)
        return x

    with pytest.raises(ZeroDivisionError):
        g(X)
    np.testing.assert_array_equal(f(X), X)


class Stop(BaseException):
    pass


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no such signals here")
@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_during_native_code_is_raised_before_a_callback() -> None:
    from tracejit import lax

    @tj.jit
    def f(x):
        x = lax.fori_loop(0, 2_000_000, lambda i, x: x * 0.5 + i, x)
        return tj.pure_callback(twice, tj.ShapeDtypeStruct(x.shape, x.dtype), x)

    def stop(*_: object) -> None:
        raise Stop

    wanted = np.array(f(X))
    before = signal.signal(signal.SIGALRM, stop)
    try:
        for delay in (0.0005, 0.001, 0.002):
            with pytest.raises(Stop):
                signal.setitimer(signal.ITIMER_REAL, delay)
                for _ in range(1000):
                    f(X)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    np.testing.assert_array_equal(f(X), wanted)


def test_a_callback_that_cannot_begin_for_lack_of_stack() -> None:
    f = tj.jit(lambda x: tj.pure_callback(twice, tj.ShapeDtypeStruct(x.shape, x.dtype), x))
    f(X)

    def deep(depth: int) -> Any:
        return deep(depth - 1) if depth else f(X)

    failed = 0
    for depth in range(sys.getrecursionlimit() - 150, sys.getrecursionlimit(), 3):
        try:
            np.testing.assert_array_equal(deep(depth), X * 2)
        except (RecursionError, tj.TracejitError):
            failed += 1
    assert failed


def test_clear_caches() -> None:
    f = tj.jit(lambda x: x + 1)
    f(X)
    assert f.cache_size() == 1
    tj.clear_caches()
    assert f.cache_size() == 0


@pytest.mark.parametrize(
    "wrap",
    [
        lambda f: f,
        tj.jit,
        lambda f: lambda x: tj.lax.cond(x > 0, f, lambda x: x, x),
        lambda f: lambda x: tj.lax.scan(lambda c, _: (f(c), None), x, None, 1)[0],
        lambda f: lambda x: jnp.sum(tj.vmap(f)(x[None])),
        lambda f: tj.grad(lambda x: f(x) ** 2),
    ],
    ids=["plain", "jit", "cond", "scan", "vmap", "grad"],
)
def test_effects_happen_once_under_a_transform_outside_of_jit(
    wrap: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    def f(x):
        debug.print("x={}", x)
        return x * x

    for transform in (tj.grad(wrap(f)), lambda x: tj.jvp(wrap(f), (x,), (x,))):
        transform(jnp.float32(3.0))
        assert capsys.readouterr().out == "x=3.0\n"
