"""jit(control_flow=True): branches and loops compile, and do what they do in Python."""

from __future__ import annotations

import numpy as np

import tracejit.numpy as jnp
from tests.frontend.control_flow import X, agrees, flow
from tracejit.frontend.rewrite.entry import fn

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


def test_folds_of_generators_with_conditions() -> None:
    def f(xs):
        return (
            sum(x * 2 for x in xs if x > 0),
            sum([x for x in xs if x > 0 if x < 2.5], 1.0),
            any(x > 1 for x in xs if x < 2.5),
            all(x > 1 for x in xs if x > 0),
            max((x for x in xs if x > 0), default=-5.0),
            min((x * 2 for x in xs if x < 0 and x > -2), default=9.0),
            max(x * x for x in xs),
            max(xs, key=lambda v: v if v > 0 else -3 * v),
            sum(x * y for x in xs for y in xs),
            sum(k for k in (1, 2, 3) if k > 1),
        )

    agrees(f, (X,), (-X,), (X * 0,), (X * 5,))


def test_match() -> None:
    def f(x, n):
        match n:
            case 0:
                y = x
            case 1 | 2 if x > 0:
                y = x * 2
            case m if m > 2 and x < 5:
                match x:
                    case 4.0:
                        return -1.0
                    case _:
                        y = x + m
            case None:
                y = 0.0
            case _:
                y = -x
        return y

    agrees(f, *((x, n) for x in (-1.0, 1.0, 4.0, 9.0) for n in (0, 1, 2, 3)))


def test_return_through_with_and_finally() -> None:
    def f(x):
        log = [0.0]
        try:
            with np.errstate(all="ignore"):
                if x > 0:
                    return x * 2
                y, name = -x, "text"
        finally:
            log[0] = 1.0
        return y + log[0] + len(name)

    agrees(f, (1.0,), (-1.0,))


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


def test_the_target_after_a_loop_with_break_and_else() -> None:
    def f(xs):
        for x in xs:
            if x < -2:
                break
        else:
            return 10.0
        return x

    agrees(f, (X,), (-X,))


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
