"""jit(control_flow=True): assert and raise under traced conditions are looked at as it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tests.frontend.control_flow import X, flow
from tests.gpu.host_kernels import needs_compiler
from tracejit import debug
from tracejit.errors import FailedAssertion

HERE = Path(__file__).name


def limited(x: Any) -> Any:
    if x > 0:
        assert x < 5, f"too large: {x:.1f} of {5}"
        y = x * 2
    elif x < -5:
        raise ValueError(f"too small: {x!r}")
    else:
        y = -x
    return y


def test_assert_with_a_message_of_the_run() -> None:
    compiled = flow(limited)
    assert compiled(1.0) == 2 and compiled(-2.0) == 2
    with pytest.raises(FailedAssertion, match=r"^too large: 6\.0 of 5\n") as caught:
        compiled(6.0)
    assert isinstance(caught.value, AssertionError)
    assert f"{HERE}:" in str(caught.value) and "assert x < 5" in str(caught.value)
    with pytest.raises(ValueError, match="too small: -7") as error:
        compiled(-7.0)
    assert f"{HERE}:" in error.value.__notes__[0] and "limited" in error.value.__notes__[0]
    assert compiled(1.0) == 2  # it goes on


def test_the_program_holds_the_check() -> None:
    graph = str(flow(limited).stages(1.0).graph)
    assert "raise FailedAssertion" in graph and "raise ValueError" in graph


def test_known_conditions_are_pythons_own() -> None:
    @flow
    def f(x):
        assert x.shape == (3,), f"shape {x.shape}"
        assert (x > -10).all()
        return x.sum()

    assert f(X) == 4
    with pytest.raises(AssertionError, match=r"shape \(2,\)") as caught:
        f(X[:2])
    assert type(caught.value) is AssertionError
    with pytest.raises(FailedAssertion, match="an `assert` fails"):
        f(X * 100)


def test_loops() -> None:
    @flow
    def halve(x):
        while x > 1:
            assert x > 1, "never"
            assert x < 100, f"{x}"
            x = x / 2
        return x

    @flow
    def total(xs):
        s = 0.0
        for k, x in enumerate(xs):
            if x < 0:
                raise ValueError(f"row {k} is {x}")
            s = s + x
        return s

    assert halve(8.0) == 1
    with pytest.raises(FailedAssertion, match="128"):
        halve(128.0)
    assert total(abs(X)) == 6
    with pytest.raises(ValueError, match=r"row 1 is -1\.0"):
        total(X)


def test_a_guard_before_a_loop_that_would_not_end() -> None:
    @flow
    def f(n):
        if n < 0:
            raise ValueError("negative")
        count = 0
        while n != 0:
            n = n - 1
            count = count + 1
        return count

    assert f(3) == 3
    with pytest.raises(ValueError, match="negative"):
        f(-1)


def test_vmap_looks_where_each_example_goes() -> None:
    @flow
    def halve(x):
        while x > 1:
            assert x > 1, "an example that has stopped"
            x = x / 2
        return x

    np.testing.assert_allclose(tj.vmap(halve)(np.array([0.5, 8.0, 3.0])), [0.5, 1, 0.75])
    np.testing.assert_allclose(tj.vmap(flow(limited))(np.array([1.0, -2.0])), [2, 2])
    with pytest.raises(ValueError, match="too small: -7"):
        tj.vmap(flow(limited))(np.array([1.0, -7.0]))
    with pytest.raises(FailedAssertion, match="too large: 6"):
        tj.vmap(flow(limited))(np.array([6.0, -2.0]))


def test_derivatives() -> None:
    for slope in (tj.grad(flow(limited)), tj.jit(tj.grad(flow(limited)))):
        assert slope(1.0) == 2 and slope(-2.0) == -1
        with pytest.raises(FailedAssertion, match="too large"):
            slope(6.0)


class Refused(Exception):
    def __init__(self, code: int, name: str) -> None:
        super().__init__(f"{name}: {code}")
        self.code = code


def refuse(x: Any) -> Any:
    raise Refused(3, "refused")


def test_errors_of_the_users_own_in_called_functions() -> None:
    @flow
    def f(x):
        return x if x > 0 else refuse(x)

    @flow
    def g(x):
        return x > 0 or refuse(x)

    for function in (f, g):
        assert function(2.0)
        for _ in range(2):
            with pytest.raises(Refused, match="refused: 3") as caught:
                function(-2.0)
            assert caught.value.code == 3 and len(caught.value.__notes__) == 1


def test_what_is_done_before_a_raise_does_not_matter() -> None:
    @flow
    def f(x):
        log, count = [0.0], 0
        if x < 0:
            log.append(x)
            count += 1
            raise ValueError(f"{x} after {count} and {len(log)}")
        return x + count + len(log)

    assert f(1.0) == 2
    with pytest.raises(ValueError, match=r"-2\.0 after 1 and 2"):
        f(-2.0)


def test_handlers_inside_of_the_branch() -> None:
    @flow
    def f(x):
        if x > 0:
            try:
                raise ValueError("known")
            except ValueError:
                y = x * 2
        else:
            y = x
        return y

    assert f(1.0) == 2 and f(-1.0) == -1


def test_max_of_nothing() -> None:
    @flow
    def f(xs):
        return max(x for x in xs if x > 0)

    assert f(X) == 3
    with pytest.raises(ValueError, match=r"max\(\) arg is an empty sequence"):
        f(-abs(X))


def test_effects_in_an_inner_branch_stay() -> None:
    seen: list[Any] = []

    @flow
    def f(x):
        if x > 0:
            if x > 1:
                debug.callback(seen.append, x)
        return jnp.sin(x)

    f(0.5), f(2.0), f(-1.0)
    assert seen == [2.0]


@needs_compiler
def test_on_an_emulated_gpu() -> None:
    with debug.cuda_on_cpu():
        on_gpu = flow(limited, device="cuda")
        assert on_gpu(1.0) == 2
        with pytest.raises(FailedAssertion, match="too large: 6"):
            on_gpu(6.0).block_until_ready()
