"""jit(control_flow=True): what branches and loops change: variables, items, attributes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

import tracejit.numpy as jnp
from tests.frontend.control_flow import X, agrees, flow


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
