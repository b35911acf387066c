"""Errors and stages of rewritten functions speak of the user's own lines."""

from __future__ import annotations

import functools
import inspect
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit.errors import ArgumentError, ShapeError, TracedValueError, TracejitError, TreeError

flow = functools.partial(tj.jit, control_flow=True)
X = np.array([3.0, -1.0, 2.0])
HERE = Path(__file__).name


def one_branch(x):
    if x > 0:
        y = x * 2
    return y + 1  # y + 1


def returned(x):
    if x > 0:
        y = x * 2
    return [x, y]  # [x, y]


def shapes(x):
    if x.sum() > 0:
        y = x
    else:
        y = x[:2]
    return jnp.sin(y)  # jnp.sin(y)


def texts(x):
    if x > 0:
        mode = "a"
    else:
        mode = "b"
    return len(mode)  # len(mode)


def structures(x):
    if x > 0:  # x > 0
        return x, x
    return x


def expression(x):
    return x if x > 0 else (x, x)  # x if x > 0 else (x, x)


def grows(x):
    s = x[:1]
    while s.sum() < 10:  # s.sum() < 10
        s = jnp.concatenate([s, x])
    return s


def appends(x):
    found = [x]
    while found[-1].sum() < 10:  # found[-1].sum() < 10
        found.append(x)
    return found


def only_in_loop(x):
    for k in range(x):
        y = k * 2
    return y  # y


def raises(x):
    try:
        if x < 0:
            raise ValueError("negative")  # raise ValueError("negative")
    except ValueError:
        x = -x
    return x


def always_raises(x):
    if x < 0:
        raise ValueError("negative")
    else:
        raise KeyError("other")  # raise KeyError("other")


def asserts(x):
    while x > 0:
        assert x is None, "text"  # x is None
    return x


def asserts_vector(x):
    assert x > 0, "text"  # assert x > 0, "text"
    return x


def filters(x):
    return list(filter(lambda y: y > 0, [x, -x]))  # filter(lambda y: y > 0, [x, -x])


def add(items, value):
    items.append(value)


def appends_elsewhere(x):
    found = [1.0]
    if x > 0:  # x > 0
        add(found, x)
    return len(found)


def appends_in_a_loop(x):
    found = [1.0]
    while x > 0:  # x > 0
        add(found, x)
        x = x - 1
    return len(found)


def put(items, key, value):
    items[key] = value


def one_key(x):
    table = {"a": 1.0}
    if x > 0:
        put(table, "b", x)
    return table["b"] + 1  # table["b"] + 1


def numpy_elsewhere(x):
    buffer = np.zeros(2)
    if x > 0:  # x > 0
        put(buffer, 0, 1.0)
    return buffer


def count_up():
    global _somewhere
    _somewhere = 2


def assigns_global_elsewhere(x):
    if x > 0:  # x > 0
        count_up()
    return x


def condition_changes(x):
    seen = [x]

    def more():
        seen[0] = seen[0] - 1
        return seen[0] > 0

    while more():  # more()
        x = x + 1
    return x


def takes_next(x):
    numbers = iter([1.0, 2.0])
    y = 0.0
    if x > 0:
        y = next(numbers)  # next(numbers)
    return x + y


def binds_in_and(x):
    if x > 0 and (y := x * 2) > 3:  # x > 0
        return y
    return x


def vector(x):
    if x > 0:  # x > 0
        return x
    return -x


def in_a_branch(x):
    k = 0
    while k < x.sum():
        if k > 1 and not k > 5:
            x = x @ jnp.ones((2, 2))  # x @ jnp.ones((2, 2))
        k += 1
    return x


def in_a_thunk(x):
    return 1.0 if x.sum() > 0 and (x @ jnp.ones((2, 2))).sum() else 2.0  # x @ jnp.ones((2, 2))


def converts(x):
    while x > 0:
        x = x - float(x)  # float(x)
    return x


def assigns_global(x):
    global _somewhere
    if x > 0:  # x > 0
        _somewhere = 1
    return x


def comprehension(x):
    return [k for k in (1, 2) if x > k]  # x > k


def recursive(x):
    return 1 if x < 1 else x * recursive(x - 1)  # x * recursive(x - 1)


def steps(x):
    for k in range(x, 5, 0):  # range(x, 5, 0)
        x += k
    return x


def float_range(x):
    for k in range(x * 0.5):  # range(x * 0.5)
        x += k
    return x


CASES: list[tuple[Callable[..., Any], Any, type[TracejitError], str]] = [
    (one_branch, 1.0, TracedValueError, "`y` is assigned in one branch only"),
    (returned, 1.0, TracedValueError, "`y` is assigned in one branch only"),
    (shapes, X, TracedValueError, "`y` differs between the branches: f64[3] and f64[2]"),
    (texts, 1.0, TracedValueError, "`mode` differs between the branches: 'a' and 'b'"),
    (structures, 1.0, TracedValueError, "the value returned differs between the branches"),
    (expression, 1.0, TracedValueError, "f32[] and (f32[], f32[])"),
    (grows, X, TreeError, "`s` changes its type in a traced `while` loop"),
    (appends, X, TreeError, "after a step: [f64[3], f64[3]]"),
    (only_in_loop, 3, TracedValueError, "`y` is assigned only inside of a loop that may not run"),
    (raises, 1.0, TracedValueError, "ValueError: negative"),
    (always_raises, 1.0, TracedValueError, "KeyError: 'other'"),
    (asserts, 1.0, TracedValueError, "this `assert` depends on a traced value"),
    (asserts_vector, X, ShapeError, "the condition of `assert` is bool[3], not a scalar"),
    (filters, 1.0, TracedValueError, "how many items this filter keeps"),
    (appends_elsewhere, 1.0, TracedValueError, "`found` differs between the branches: [1.0, "),
    (appends_in_a_loop, 2.0, TreeError, "`found` changes its type in a traced `while` loop"),
    (one_key, 1.0, TracedValueError, "`table['b']` is assigned in one branch only"),
    (numpy_elsewhere, 1.0, TracedValueError, "changes the NumPy array `buffer`"),
    (assigns_global_elsewhere, 1.0, TracedValueError, "global variable `_somewhere`"),
    (condition_changes, 3.0, TracedValueError, "of a traced loop changes `seen[0]`"),
    (takes_next, 1.0, TracedValueError, "next() takes an item of an iterator"),
    (binds_in_and, 1.0, TracedValueError, "`:=` in an operand of a traced `and`"),
    (vector, X, ShapeError, "the condition of `if` is bool[3], not a scalar"),
    (in_a_branch, X, ShapeError, "contracted sizes differ: 3 and 2"),
    (in_a_thunk, X, ShapeError, "contracted sizes differ: 3 and 2"),
    (converts, 1.0, TracedValueError, "x.astype(float)"),
    (assigns_global, 1.0, TracedValueError, "global variable `_somewhere`"),
    (comprehension, 1.0, TracedValueError, "how many items this comprehension keeps"),
    (recursive, 3.0, TracedValueError, "a function calls itself"),
    (steps, 3, ArgumentError, "the step must not be zero"),
    (float_range, 3, TracejitError, "a bound is f32[], not an integer scalar"),
]


@pytest.mark.parametrize(
    ("function", "x", "kind", "text"), CASES, ids=[case[0].__name__ for case in CASES]
)
def test_message_and_line(
    function: Callable[..., Any], x: Any, kind: type[TracejitError], text: str
) -> None:
    with pytest.raises(kind) as caught:
        flow(function)(x)
    error = caught.value
    assert text in str(error)
    assert "control_flow=True" not in error.hint
    # the underlined expression is the one that the comment on its line repeats
    assert error.at is not None
    line, expression = error.at.text()
    wanted = line.partition("#")[2].strip()
    assert wanted and wanted in expression
    assert f"{HERE}:{error.at.line} in " in str(error)
    frames = traceback.extract_tb(error.__traceback__)
    assert {Path(frame.filename).name for frame in frames} == {HERE}
    assert {frame.name for frame in frames} <= {
        "test_message_and_line",
        function.__name__,
        "<listcomp>",
    }


def test_shapes_of_a_loop_tell_where_the_new_one_was_made() -> None:
    with pytest.raises(TreeError) as caught:
        flow(grows)(X)
    line = inspect.getsourcelines(grows)[1] + 3
    assert "before a step: f64[1]" in str(caught.value)
    assert f"after a step: f64[4]  from concatenate, {HERE}:{line}" in str(caught.value)


def test_stages_show_the_users_lines() -> None:
    def f(x):
        if x > 1:
            y = jnp.sin(x)
        else:
            y = jnp.cos(x)
        while y < 5:
            y = y * 2
        return y if y > 6 else jnp.exp(y)

    first = inspect.getsourcelines(f)[1]
    lines = str(flow(f).stages(1.0).graph).splitlines()
    for name, offset in {"gt": 1, "sin": 2, "cos": 4, "lt": 5, "mul": 6, "exp": 7}.items():
        line = next(line for line in lines if f"= {name}(" in line)
        assert line.endswith(f"# {HERE}:{first + offset}"), line


def test_errors_of_the_users_own_keep_their_frames() -> None:
    def inner(x):
        return {}["key"] if x is not None else 1

    def outer(x):
        while True:
            return inner(x)

    with pytest.raises(KeyError) as caught:
        flow(outer)(1.0)
    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    # the body of the loop is a frame of its own
    assert list(dict.fromkeys(names[1:])) == ["outer", "inner"]


def test_functions_without_a_source() -> None:
    space: dict[str, Any] = {}
    exec("def typed(x):\n    return x if x > 0 else -x", space)
    with pytest.raises(
        ArgumentError, match="cannot rewrite `typed`: its source is not at hand"
    ) as e:
        flow(space["typed"])
    assert "write the function in a file" in str(e.value)
    with pytest.raises(ArgumentError, match="not written in Python"):
        flow(abs)

    def numbers(x):
        yield x

    with pytest.raises(ArgumentError, match="generator"):
        flow(numbers)

    def looks(x):
        return locals()

    with pytest.raises(ArgumentError, match=r"it calls locals\(\)"):
        flow(looks)
    with pytest.raises(ArgumentError, match="takes a function"):
        flow(3)


def test_a_source_that_has_changed_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "changing_module.py"
    file.write_text("def f(x):\n    return x if x > 0 else -x\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    module = __import__("changing_module")
    file.write_text("# one more line\ndef f(y):\n    return 2 * y\n")
    with pytest.raises(ArgumentError, match="its source is not at hand"):
        flow(module.f)
    file.write_text("def f(x):\n    return 2 * x + 1 - jnp.sin(2)\n")
    with pytest.raises(ArgumentError, match="its source is not at hand"):
        flow(module.f)
    file.write_text("def f(x):\n    return x if x > 0 else -x\n")


def test_lambdas_on_one_line() -> None:
    f, g = (lambda x: x if x > 0 else -x), (lambda x: x if x > 2 else 2 * x)
    assert flow(f)(-3.0) == 3 and flow(g)(1.0) == 2 and flow(g)(3.0) == 3
