"""jit(control_flow=True): what users write compiles, and does what it does in Python."""

from __future__ import annotations

import functools
import inspect
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax
from tracejit.frontend.rewrite.entry import fn

flow = functools.partial(tj.jit, control_flow=True)
X = np.array([3.0, -1.0, 2.0])


def agrees(function: Any, *calls: tuple[Any, ...]) -> None:
    """The compiled function gives what Python gives."""
    compiled = flow(function)
    for args in calls:
        wanted = function(*args)
        tj.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), compiled(*args), wanted
        )


# ---- if ------------------------------------------------------------------------------------------


def test_if_elif_else() -> None:
    def f(x):
        if x > 1:
            y = x * 2
        elif x > 0:
            y = x + 10
        else:
            y = -x
        return y

    agrees(f, (2.0,), (0.5,), (-3.0,))


def test_a_branch_that_is_not_taken_changes_nothing() -> None:
    def f(x):
        y = 1.0
        if x > 0:
            y = y + x
        return y

    agrees(f, (2.0,), (-2.0,))


def test_early_return() -> None:
    def f(x, y):
        if x > y:
            return x - y
        if x == y:
            return 0.0
        z = y * 2
        if z > 3:
            if x < -1:
                return z
            z = z + 1
        return z + x

    agrees(f, (2.0, 1.0), (1.0, 1.0), (-2.0, 2.0), (0.5, 2.0), (0.1, 0.2))


def test_python_values_run_one_side_only() -> None:
    calls = []

    def note(what):
        calls.append(what)
        return True

    @flow
    def f(x, *, verbose=None):
        if verbose:
            note("verbose")
        elif verbose is None and note("none"):
            x = x + 1
        else:
            note("else")
        return x if note("yes") or note("no") else 1 / 0

    assert f(1.0) == 2.0
    assert calls == ["none", "yes"]


def test_conditional_expressions_and_logic() -> None:
    def f(x, y):
        a = x if x > y else y
        b = 1.0 if x > 0 and y > 0 else (2.0 if not (x > 0 or y > 0) else 3.0)
        c = 0 < x < y <= 5
        return a, b, c, -1 <= y < x

    agrees(f, (1.0, 2.0), (2.0, 1.0), (-1.0, -1.0), (-1.0, 2.0))


def test_and_or_give_their_operands() -> None:
    def f(x, y):
        return (x and y), (x or y), (x and y or 7.0)

    agrees(f, (0.0, 2.0), (3.0, 0.0), (3.0, 2.0), (0.0, 0.0))


def test_the_right_side_is_looked_at_only_where_it_would_be() -> None:
    def f(x, n):
        i = 0
        while i < 3 and x[i] > n:
            i += 1
        return i

    agrees(lambda x: f(x, 0), (np.array([1.0, 2.0, 3.0]),), (np.array([1.0, -2.0, 3.0]),))
    traced = flow(f)
    assert traced(np.array([1.0, 2.0, 3.0]), 0.5) == 3


def test_max_min_any_all_and_in() -> None:
    def f(x, y):
        return (
            max(x, y, 1.0),
            min(x, y),
            any([x > 2, y > 2]),
            all(v > 0 for v in (x, y)),
            x in (1.0, 2.0),
        )

    agrees(f, (1.0, 2.0), (3.0, -1.0), (0.5, 0.1))


# ---- while ---------------------------------------------------------------------------------------


def test_while() -> None:
    def collatz(n):
        steps = 0
        while n != 1:
            n = n // 2 if n % 2 == 0 else 3 * n + 1
            steps += 1
        return steps

    agrees(collatz, (27,), (1,), (6,))


def test_the_state_is_promoted_until_it_stays() -> None:
    def f(x):
        s = 0
        p = 1
        while s < 10:
            s += x
            p = p * 2
        return s, p

    agrees(f, (3.5,), (100.0,))
    s, p = flow(f)(np.float64(3.5))
    assert s.dtype == np.float64 and p.dtype == np.int64


def test_break_continue_and_else() -> None:
    def f(x):
        total = 0.0
        k = 0
        while True:
            k += 1
            if k % 2 == 0:
                continue
            total += x * k
            if total > 20:
                break
        for j in range(k):
            if j > total:
                break
        else:
            total = -total
        return total, k

    agrees(f, (1.0,), (30.0,), (2.5,))


def test_break_and_return_in_the_else_block_of_a_loop_in_a_loop() -> None:
    def f(n):
        s = 0
        for i in range(3):
            while n > 5:
                n -= 1
            else:
                if n < 3:
                    break
                if n < 4:
                    continue
                if n < 5:
                    return s - 100
            s += 10 + i
        return s

    assert [fn(f)(n) for n in (1, 3, 4, 9)] == [f(n) for n in (1, 3, 4, 9)] == [0, 0, -100, 33]
    agrees(f, (1,), (3,), (4,), (9,))


def test_return_from_nested_loops() -> None:
    def f(a, limit):
        for i in range(3):
            for j in range(3):
                if a[i, j] > limit:
                    return 10 * i + j
        return -1

    a = np.arange(9.0).reshape(3, 3)
    agrees(f, (a, 4.5), (a, -1.0), (a, 100.0))


def test_walrus_in_tests() -> None:
    def f(x):
        n = 0
        while (y := x / 2) > 1:
            x = y
            n += 1
        if (z := x + n) > 2:
            return z
        return y

    agrees(f, (37.0,), (0.5,))


def test_walrus_in_the_test_of_a_loop_with_else() -> None:
    def f(n, least):
        y = n * 0
        while (y := n) > 2:
            n -= 1
            if n == least:
                break
        else:
            n = n + 100
        return y, n

    assert fn(f)(9, 0) == (2, 102) and fn(f)(9, 4) == (5, 4) and fn(f)(1, 4) == (1, 101)
    agrees(f, (9, 0), (9, 4), (1, 4))


def test_walrus_in_defaults_decorators_and_bases() -> None:
    """They are evaluated where the function or class is defined."""

    def f(n):
        a = b = c = d = 0
        for i in range(2):
            shifted = (lambda u, v=(a := n + i) + 1: u + v)(1)

            @(b := lambda g: g)
            def inner(z=1, *, k=(c := a * 2)):
                return z + k

            class Part((d := i) and int or object):
                pass

        return a, callable(b), c, d, shifted + inner()

    assert fn(f)(3) == f(3) == (4, True, 8, 1, 15)


def test_a_loop_that_becomes_traced_on_its_way() -> None:
    def f(x):
        k = 0
        done = False
        while not done:
            x = x * 0.5
            k += 1
            if k > 2:
                done = x < 1
        return x, k

    agrees(f, (64.0,), (1.0,))


# ---- for -----------------------------------------------------------------------------------------


def test_ranges_with_traced_bounds() -> None:
    def f(n, m):
        total = 0
        for i in range(n):
            total += i
        for i in range(m, n, 2):
            total += 100 * i
        for i in range(n, m, -1):
            total -= i
        return total

    agrees(f, (5, 1), (0, 3), (1, 7))


def test_the_number_of_a_range_is_a_python_int() -> None:
    @flow
    def f(x, n):
        for i in range(n):
            x = x * i + 1
        return x

    assert f(np.float32(2), 3).dtype == np.float32


def test_rows_zip_enumerate_reversed() -> None:
    def f(xs, ys, n):
        total = jnp.zeros(2) if not isinstance(n, int) else np.zeros(2)
        for row in xs:
            total = total * 0.5 + row
        for k, row in enumerate(xs, 1):
            total = total + k * row
        for a, b in zip(xs, ys, strict=True):
            total = total + a * b
        for a, k in zip(reversed(xs), range(n), strict=False):
            total = total * k + a
        for k, (a, b) in enumerate(zip(ys, [1.0, 2.0, 3.0], strict=True)):
            total = total - k * a / b
        return total

    xs, ys = np.arange(6.0).reshape(3, 2), np.ones((3, 2)) * 0.5
    np.testing.assert_allclose(flow(f)(xs, ys, np.int64(2)), f(xs, ys, 2))


def test_rows_are_a_scan_and_ranges_of_traced_length_a_while() -> None:
    @flow
    def f(xs, n):
        s = 0.0
        for x in xs:
            s = s + x
        for _ in range(n):
            s = s * 2
        return s

    text = str(f.stages(X, 3).graph)
    assert "scan(" in text and "while(" in text
    assert f(X, 3) == 32.0


def test_python_iterables_are_unrolled() -> None:
    @flow
    def f(x, layers):
        for name, scale in {"a": 2.0, "b": 3.0}.items():
            x = x * scale if name == "a" else x + scale
        for layer in layers:
            if layer is not None:
                x = x + layer
        return x

    assert f(1.0, [1.0, None, 2.0]) == 8.0
    assert "while" not in str(f.stages(1.0, [1.0, None]).graph)


def test_lists_that_grow_are_unrolled() -> None:
    def f(xs):
        found = []
        for x in xs:
            found.append(x * 2)
        last = [y for y in found if y is not None]
        return last

    agrees(f, (X,))


def test_the_target_has_a_value_after_the_loop() -> None:
    def f(xs):
        for k, x in enumerate(xs):
            y = x * k
        return k, x, y

    agrees(f, (X,))


def test_a_break_in_a_python_range() -> None:
    def f(x):
        for i in range(10):
            if x > 20:
                break
            x = x * 2 + i * 0
        return x, i

    agrees(f, (1.0,), (30.0,))
    assert "while(" in str(flow(f).stages(1.0).graph)

    def g(x, weights=(1.0, 2.0, 3.0, 4.0)):
        for k in range(4):
            if x > 5:
                break
            x = x + weights[k]
        return x

    agrees(g, (1.0,), (30.0,))


# ---- state ---------------------------------------------------------------------------------------


def test_stores_into_arrays_are_assignments() -> None:
    @flow
    def f(x):
        y = jnp.zeros(3)
        alias = y
        for i in range(x.shape[0]):
            if x[i] > 0:
                y[i] = x[i]
        k = 0
        while y[0] < 10:
            y[0] += 4
            k += 1
        return y, alias, k

    y, alias, k = f(X)
    np.testing.assert_allclose(y, [11, 0, 2])
    np.testing.assert_allclose(alias, y)
    assert k == 2


def test_dicts_tuples_and_named_tuples() -> None:
    class State(NamedTuple):
        x: Any
        n: Any

    @flow
    def f(x):
        params = {"w": x, "b": [x * 0, 1.0]}
        same = params
        state = State(x, 0)
        while state.n < 3:
            params["w"] = params["w"] * 2
            params["b"][1] += 1
            state = state._replace(x=state.x + params["w"], n=state.n + 1)
            if state.x > 20:
                params["b"] = [state.x, 2.0]
        return params, state, same["w"]

    params, state, same = f(1.0)
    assert params["w"] == 8 and state.x == 15 and same == 8 and params["b"][1] == 4
    assert f(2.0)[0]["b"] == [30.0, 2.0]


def test_attributes() -> None:
    class Counter:
        def __init__(self):
            self.count = 0
            self.total = 0.0

        def add(self, x):
            if x > 0:
                self.count += 1
                self.total = self.total + x

    def f(xs):
        counter = Counter()
        for x in xs:
            counter.add(x)
        k = 0
        while counter.count < 5:
            counter.count = counter.count + 1
            k += 1
        return counter.count, counter.total, k

    @flow
    def unrolled(xs):
        counter = Counter()
        for k in range(3):
            counter.add(xs[k])
        k = 0
        while counter.count < 5:
            counter.count = counter.count + 1
            k += 1
        return counter.count, counter.total, k

    assert unrolled(X) == f(X) == (5, 5.0, 3)


class Meter:
    def __init__(self):
        self.count, self.total = 0, 0.0

    def add(self, x):
        self.count += 1
        self.total = self.total + x

    def try_add(self, x):
        if x > 1:
            self.add(x)
        return x > 0


def test_attributes_that_called_functions_change() -> None:
    def f(x):
        meter = Meter()
        if x > 0:
            meter.add(x)
        if meter.try_add(x) and x < 5:
            meter.add(1.0)
        y = meter.try_add(x) if x > 2 else (x < 0)
        k = 0
        while k < x:
            meter.add(k)
            k = k + 1
            if k > 2:
                other = Meter()
                other.add(x)
                meter.add(other.total)
        return meter.count, meter.total, y, x > 0 and meter.try_add(x + 1)

    agrees(f, (2.5,), (-1.0,), (0.5,), (7.0,))


def test_numpy_arrays_and_sets_that_are_changed_in_place() -> None:
    @flow
    def f(x):
        buffer, other, seen = np.zeros(2), np.ones(2), {1}
        if x > 0:
            buffer[0] = 1.0
            other[0] = 1.0
            seen.add(2)
        else:
            buffer[1] = 2.0
            seen.add(2)
        assert type(other) is np.ndarray and seen == {1, 2}
        return buffer * x

    np.testing.assert_allclose(f(2.0), [2, 0])
    np.testing.assert_allclose(f(-2.0), [0, -4])


def test_variables_of_only_one_branch_that_nobody_reads() -> None:
    def f(x):
        if x > 0:
            temporary = x * 2
            y = temporary + 1
        else:
            y = x
            other = "text"
            del other
        return y

    agrees(f, (1.0,), (-1.0,))


def test_what_does_not_depend_on_the_condition_stays_python() -> None:
    @flow
    def f(x):
        if x > 0:
            shape, mode, k = (2, 3), "fast", 2
        else:
            x = -x
            shape, mode, k = (2, 3), "fast", 2
        assert mode == "fast"
        return jnp.full(shape, x)[:k]

    assert f(-2.0).shape == (2, 3)


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
