"""jit(control_flow=True): functions that are called, transforms, and the function itself."""

from __future__ import annotations

import functools
import inspect
import sys
from pathlib import Path

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tests.frontend.control_flow import X, flow
from tracejit import lax
from tracejit.frontend.rewrite.entry import fn

# ---- functions -----------------------------------------------------------------------------------


def relu(x):
    if x > 0:
        return x
    return 0.0 * x


def test_functions_that_are_called_are_rewritten() -> None:
    class Model:
        slope = 0.1

        def __call__(self, x):
            return self.leaky(x)

        def leaky(self, x):
            return x if x > 0 else self.__scaled(x)

        def __scaled(self, x):
            while x < -2:
                x = x / 2
            return self.slope * x

    def f(x, scale=2.0, *rest, bias=1.0, **others):
        def inner(y, *, gain=scale):
            nonlocal bias
            if y > 1:
                bias = bias + 1
            return gain * y

        double = lambda y: y * 2 if y > 0 else y  # noqa: E731
        model = Model()
        partial = functools.partial(inner, gain=3.0)
        parts = [relu(x), inner(x), double(x), model(x), partial(x), bias, *map(relu, [x, -x])]
        return parts, len(rest), sorted(others)[0] == "key"

    compiled = flow(f, static_argnames=("key",))
    for x in (3.0, -8.0):
        for a, b in zip(compiled(x, 2.0, 1.0, key="v")[0], f(x, 2.0, 1.0, key="v")[0], strict=True):
            np.testing.assert_allclose(a, b)


def test_bodies_given_to_transforms_are_rewritten() -> None:
    def step(carry, x):
        if x > 0:
            carry = carry + x
        return carry, carry

    @flow
    def f(xs):
        total, _ = lax.scan(step, 0.0, xs)
        return total, tj.vmap(relu)(xs), tj.grad(relu)(xs[0])

    total, rows, slope = f(X.astype(np.float32))
    assert total == 5 and slope == 1
    np.testing.assert_allclose(rows, [3, 0, 2])
    np.testing.assert_allclose(flow(tj.vmap(relu))(X), [3, 0, 2])


def test_objects_that_can_be_called() -> None:
    class Scale:
        def __init__(self, by):
            self.by = by

        def __call__(self, x):
            return x * self.by if x > 0 else x

    assert flow(Scale(3.0))(2.0) == 6 and flow(functools.partial(relu))(-1.0) == 0
    assert "Scale" in repr(flow(Scale(3.0)))


def test_installed_packages_are_rewritten_where_they_ask_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "site-packages"
    text = "def relu(x):\n    return x if x > 0 else 0\n\ndef twice(x):\n    return 2 * relu(x)\n"
    for name in ("asking_package", "silent_package"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(text)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    asking, silent = (__import__(name) for name in ("asking_package", "silent_package"))
    assert flow(asking.twice)(3.0) == 6
    with pytest.raises(tj.errors.TracedValueError):
        flow(lambda x: silent.relu(x))(3.0)


def test_methods_and_super() -> None:
    class Base:
        def scale(self, x):
            return x * 3 if x > 0 else x

    class Derived(Base):
        @tj.jit(control_flow=True)
        def scale(self, x):
            if x > 10:
                return super().scale(x) + 1
            return __class__.__name__ == "Derived" and super().scale(x)

    derived = Derived()
    assert derived.scale(20.0) == 61 and derived.scale(1.0) == 3 and derived.scale(-1.0) == -1
    assert flow(Base().scale)(2.0) == 6


def test_what_cannot_be_rewritten_is_left_alone() -> None:
    def numbers(n):
        yield from range(n)

    @flow
    def f(x):
        global _counter
        _counter = 3
        total = 0.0
        for k in numbers(3):
            total += k
        try:
            if x is None:
                raise KeyError("none")
            value = {"a": 1}["b"]
        except KeyError as error:
            value = len(error.args)
        finally:
            total += 1
        match value:
            case 1 if total > 3:
                total += 10
            case _:
                total = 0
        with np.errstate(all="ignore"):
            if x > 0:
                return total * x
        import math

        y: float = math.pi
        del value
        return total - y * [q for q in range(3) if q > 1][0]

    assert f(2.0) == 28
    np.testing.assert_allclose(f(-2.0), 14 - 2 * np.pi, rtol=1e-6)
    assert _counter == 3


def test_exits_through_with_and_try() -> None:
    log = []

    class Block:
        def __enter__(self):
            log.append("in")

        def __exit__(self, *error):
            log.append("out")

    def f(x, how):
        for k in range(4):
            with Block():
                try:
                    if how == "break" and k == 1:
                        break
                    if how == "continue":
                        continue
                    if how == "return" and k == 2:
                        return x * k
                except ValueError:
                    x = 0
                else:
                    x = x + 1
                finally:
                    log.append(k)
        else:
            x = x * 10
        return x

    for how in ("break", "continue", "return", ""):
        wanted, expected = f(2.0, how), list(log)
        log.clear()
        assert fn(f)(2.0, how) == wanted and log == expected
        log.clear()


def test_unbound_variables_are_errors_as_in_python() -> None:
    def f(flag):
        if flag:
            y = 1
        return y

    assert fn(f)(True) == 1
    with pytest.raises(NameError, match="y"):
        fn(f)(False)


# ---- transforms ----------------------------------------------------------------------------------


def test_derivatives_through_loops() -> None:
    def f(x, n):
        y = x
        for _ in range(n):
            if y > 4:
                y = y * 0.5
            else:
                y = y * x
        while y < 100:
            y = y * x
        return y

    plain = tj.grad(f)(np.float64(1.7), 6)
    np.testing.assert_allclose(tj.grad(flow(f))(np.float64(1.7), np.int64(6)), plain)
    np.testing.assert_allclose(tj.jit(tj.grad(flow(f)))(np.float64(1.7), 6), plain)
    np.testing.assert_allclose(
        tj.jvp(flow(f), (np.float64(1.7), np.int64(6)), (1.0, np.zeros((), tj.float0)))[1], plain
    )


def test_scans_have_second_derivatives() -> None:
    def f(x):
        y = 1.0
        for _, k in zip(jnp.arange(3), [1.0, 2.0, 3.0], strict=True):
            y = y * x * k
        return y if y > 0 else -y

    np.testing.assert_allclose(tj.grad(tj.grad(flow(f)))(2.0), 36 * 2.0)


def test_vmap_of_loops_that_stop_at_different_times() -> None:
    def f(x):
        n = 0
        while x > 1:
            x = x / 2
            n += 1
            if n > 3:
                break
        return x, n

    x, n = tj.vmap(flow(f))(np.array([0.5, 3.0, 8.0, 1e9]))
    assert list(n) == [0, 2, 3, 4]
    np.testing.assert_allclose(x, [0.5, 0.75, 1.0, 1e9 / 16])


# ---- the function itself -------------------------------------------------------------------------


def test_what_tools_see() -> None:
    @flow
    def documented(x, scale: float = 2.0):
        """What it does."""
        return x * scale if x > 0 else x

    assert documented.__name__ == "documented" and documented.__doc__ == "What it does."
    assert str(inspect.signature(documented)) == "(x, scale: 'float' = 2.0)"
    assert inspect.getsource(documented).lstrip().startswith("@flow\n")
    assert documented.__wrapped__(3.0) == 6.0
    assert "documented" in repr(documented)


def test_static_arguments_keep_their_values() -> None:
    @tj.jit(control_flow=True, static_argnames="n")
    def f(x, n):
        if n > 2:
            return jnp.zeros(n) + x
        return x

    assert f(1.0, n=3).shape == (3,) and f(1.0, n=1).shape == ()


def test_without_it_a_condition_is_an_error() -> None:
    with pytest.raises(tj.errors.TracedValueError, match="control_flow=True"):
        tj.jit(relu)(1.0)
