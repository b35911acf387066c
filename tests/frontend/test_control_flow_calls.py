"""jit(control_flow=True): what functions that are called under traced conditions change."""

from __future__ import annotations

import functools
from collections import deque
from typing import Any

import numpy as np
import pytest

import tracejit as tj
from tests.frontend.control_flow import X, agrees, flow


def put(items: Any, key: Any, value: Any) -> None:
    items[key] = value


class Store:
    def __init__(self) -> None:
        self.items: dict[str, Any] = {"a": 0.0}
        self.count = 0
        self.inner: Any = None

    def put(self, key: str, value: Any) -> None:
        self.items[key] = value
        self.count += 1

    def __setitem__(self, key: str, value: Any) -> None:
        self.items[key] = value

    def reset(self) -> None:
        self.__dict__.update(count=100)

    def name(self, value: Any) -> None:
        setattr(self, "count", value)  # noqa: B010


TABLE = {"value": 0.0}


def put_in_table(value: Any) -> None:
    TABLE["value"] = value


def test_items_of_dicts_and_lists() -> None:
    def f(x):
        table, items, queue = {"a": 0.0}, [1.0, 2.0], deque([5.0, 6.0])
        if x > 0:
            put(table, "a", x * 2)
            put(items, 1, x)
        else:
            put(queue, 0, 7.0)
        y = put(items, 0, 9.0) if x > 2 else None
        assert y is None
        return table["a"], items, queue[0]

    agrees(f, (1.0,), (-1.0,), (3.0,))


def test_numbers_that_python_knows() -> None:
    """Each branch sees what was before, also where no traced value is stored."""

    def f(x):
        table = {"a": 0.0}
        if x > 0:
            put(table, "a", 5.0)
        return table["a"]

    agrees(f, (1.0,), (-1.0,))


def test_objects() -> None:
    def f(x):
        store, other, third = Store(), Store(), Store()
        store.inner = Store()
        if x > 0:
            store.put("a", x)
            put(store, "a", store.items["a"] + 1)
            other.reset()
            put(store.inner.items, "a", x * 3)
        else:
            third.name(7)
        alias = store.inner.items
        return store.items, store.count, other.count, third.count, alias["a"]

    agrees(f, (1.0,), (-1.0,))


def test_objects_in_containers_and_partials() -> None:
    def f(x):
        stores = [Store(), Store()]
        act = functools.partial(Store.put, stores[1], "a")
        if x > 0:
            act(x)
        bound = stores[0].put
        if x > 1:
            bound("a", 2.0)
        return [s.items["a"] for s in stores], [s.count for s in stores]

    agrees(f, (1.0,), (-1.0,), (3.0,))


def test_variables_of_functions_around() -> None:
    def f(xs):
        count, seen, steps = 0, [0.0], 0

        def note(x):
            nonlocal count
            count += 1
            seen[0] = x
            if x > 1:
                count = count + 10

        for x in xs:
            if x > 0:
                note(x)
        while count < 40:
            note(count * 0.5)
            steps += 1
        y = xs[0] > 0 and note(9.0) is None
        return count, seen[0], steps, y

    agrees(f, (X,), (-X,), (X * 0,))


def test_global_tables() -> None:
    def f(x):
        put_in_table(0.0)
        if x > 0:
            put_in_table(x)
        return TABLE["value"] * 2

    agrees(f, (1.0,), (-1.0,))


def test_loops() -> None:
    def f(n, x):
        table, store, items = {"sum": 0.0}, Store(), [0.0]
        for k in range(n):
            put(table, "sum", table["sum"] + k)
            store.put("a", store.items["a"] + 2)
            if k > 1:
                store.name(50)
        while x > 1:
            put(items, 0, items[0] + x)
            x = x / 2
        return table, store.items, store.count, items

    agrees(f, (3, 5.0), (0, 0.5), (1, 2.0))


def test_rows() -> None:
    def f(xs):
        table = {"best": -1.0, "at": 0}

        def better(k, x):
            if x > table["best"]:
                put(table, "best", x)
                table.update(at=k)

        for k, x in enumerate(xs):
            better(k, x)
        return table

    agrees(f, (X,), (-X,))
    assert "scan(" in str(flow(f).stages(X).graph)


def test_what_is_made_inside_is_its_own_affair() -> None:
    def f(x):
        y = 0.0
        if x > 0:
            made = [1.0]
            store = Store()
            store.put("b", x)
            put(made, 0, store.items["b"])
            made.append(2.0)
            y = made[0] + len(made)
        return y

    agrees(f, (1.0,), (-1.0,))


def test_tables_that_only_remember() -> None:
    """A key that only one branch adds is no error until somebody reads it."""
    known: dict[int, float] = {}

    def power(k):
        if k not in known:
            known[k] = 2.0**k
        return known[k]

    @flow
    def f(x):
        return x * power(3) if x > 0 else x * power(5)

    assert f(1.0) == 8 and f(-1.0) == -32


def test_large_programs_stay_quick_to_trace() -> None:
    rows = [{"k": k, "items": [k]} for k in range(3000)]

    @flow
    def f(x):
        if x > 0:
            put(rows[0], "k", 5)
        return x * rows[0]["k"]

    assert f(2.0) == 10


def test_large_numpy_arrays_cannot_be_written_to() -> None:
    large = np.zeros(1 << 20)

    @flow
    def f(x):
        if x > 0:
            put(large, 0, 5.0)
        return x * large[1]

    with pytest.raises(ValueError, match="read-only"):
        f(2.0)
    assert large.flags.writeable and large[0] == 0


def test_iterators_made_inside() -> None:
    def f(x):
        y = 0.0
        if x > 0:
            y = next(iter([1.0, 2.0])) + next(iter(()), 3.0)
        return y

    agrees(f, (1.0,), (-1.0,))


def test_under_transforms() -> None:
    def f(x):
        table = {"y": x}
        if x > 1:
            put(table, "y", x * x)
        return table["y"] * 2

    np.testing.assert_allclose(tj.grad(flow(f))(3.0), 12.0)
    np.testing.assert_allclose(tj.vmap(flow(f))(np.array([0.5, 3.0])), [1.0, 18.0])
    with pytest.raises(tj.errors.TracedValueError, match="grow"):
        flow(lambda xs: len(_positive(xs)))(X)


def _positive(xs: Any) -> Any:
    found: list[Any] = []
    for x in xs:
        if x > 0:
            found.append(x)
    return found
