"""Donated arguments: whose memory results take, what is deleted, what stays."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax
from tracejit.errors import DeletedArrayError

jit = tj.jit


def made(*shape: int, value: float = 1.0) -> Any:
    """An Array in memory of the pool."""
    return jit(lambda x: jnp.broadcast_to(x, shape) * 1.0)(jnp.float32(value))


def address(array: Any) -> int:
    return int(array._place)


def test_a_result_takes_the_memory() -> None:
    f = jit(lambda x, y: x * 2 + y, donate_argnums=0)
    x = made(100)
    for k in range(5):
        before = address(x)
        y = f(x, float(k))
        assert address(y) == before
        assert x.is_deleted() and not y.is_deleted()
        x = y
    np.testing.assert_array_equal(x, np.full(100, 2**5 + 26.0))


@pytest.mark.parametrize("options", ({"donate_argnums": (0, 2)}, {"donate_argnames": ("p", "s")}))
def test_trees(options: dict[str, Any]) -> None:
    @jit(**options)
    def step(p: Any, g: Any, s: Any) -> Any:
        s = tj.tree_util.tree_map(lambda a, b: 0.5 * a + b, s, g)
        return tj.tree_util.tree_map(lambda a, b: a - b, p, s), s

    p, g, s = ({"w": made(8, 9, value=v), "b": made(9, value=v)} for v in (1.0, 2.0, 3.0))
    before = {address(a) for tree in (p, s) for a in tree.values()}
    for by_name in (False, True):
        old = (*p.values(), *s.values())
        new_p, new_s = step(p, s=s, g=g) if by_name else step(p, g, s)
        assert {address(a) for tree in (new_p, new_s) for a in tree.values()} == before
        assert all(a.is_deleted() for a in old)
        assert not any(a.is_deleted() for a in g.values())
        p, s = new_p, new_s
    # 3 -> 3.5 -> 3.75 and 1 -> -2.5 -> -6.25
    np.testing.assert_array_equal(s["w"], np.full((8, 9), 3.75))
    np.testing.assert_array_equal(p["b"], np.full(9, -6.25))


def test_an_update_in_place() -> None:
    f = jit(lambda x, i: x.at[i].set(9.0), donate_argnums=0)
    x = made(1000)
    before = address(x)
    for i in range(4):
        x = f(x, i)
    assert address(x) == before
    np.testing.assert_array_equal(x, [9.0] * 4 + [1.0] * 996)


def test_a_loop_s_carry() -> None:
    f = jit(lambda x: lax.fori_loop(0, 3, lambda i, c: jnp.cumsum(c) + i, x), donate_argnums=0)
    x = made(50)
    wanted = jit(lambda x: lax.fori_loop(0, 3, lambda i, c: jnp.cumsum(c) + i, x))(x)
    np.testing.assert_array_equal(f(x), np.asarray(wanted))


PROGRAMS: dict[str, Callable[..., Any]] = {
    "map": lambda x, y: x + y,
    "both": lambda x, y: (x + y, x - y),
    "crossed": lambda x, y: (y, x),
    "itself": lambda x, y: (x, x),
    "transposed": lambda x, y: x.T + y,
    "reversed": lambda x, y: x[::-1] * y,
    "product": lambda x, y: x @ y,
    "late": lambda x, y: ((x @ y) + y, jnp.sum(x)),
    "read again": lambda x, y: (jnp.tanh(x) @ y, x * 2),
    "normalised": lambda x, y: (x - x.mean(axis=1, keepdims=True)) * y,
    "running": lambda x, y: (jnp.cumsum(x, axis=0), jnp.sort(y)),
    "scan": lambda x, y: lax.scan(lambda c, row: (c * 0.5 + row, c + row), x, jnp.stack([y, x, y])),
    "while": lambda x, y: lax.while_loop(
        lambda c: jnp.sum(c[0]) < 1e3, lambda c: (c[0] * 2 + c[1].T, c[1]), (x * x, y)
    ),
    "cond": lambda x, y: lax.cond(jnp.sum(x) > 0, lambda: (x.T, y), lambda: (y, x * 2)),
    "scattered": lambda x, y: x.at[jnp.array([2, 0])].add(y[:2]) + x.at[1].set(y[0]),
    "bits": lambda x, y: (lax.bitcast_convert_type(x, jnp.int32), y.reshape(-1)),
}


@pytest.mark.parametrize("donated", ((0,), (1,), (0, 1)))
@pytest.mark.parametrize("name", PROGRAMS)
def test_results_are_those_without_donation(name: str, donated: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    given = [rng.normal(size=(6, 6)).astype(np.float32) for _ in range(2)]
    wanted = jit(PROGRAMS[name])(*given)
    f = jit(PROGRAMS[name], donate_argnums=donated)
    for _ in range(4):
        x, y = (jit(lambda a: a * 1.0)(a) for a in given)
        found = f(x, y)
        leaves = tj.tree_util.tree_leaves(found)
        for a, b in zip(leaves, tj.tree_util.tree_leaves(wanted), strict=True):
            np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
        for k, (argument, data) in enumerate(zip((x, y), given, strict=True)):
            if k not in donated or not argument.is_deleted():
                np.testing.assert_array_equal(np.asarray(argument), data)
        places = [address(a) for a in leaves]
        assert len(set(places)) == len(places)


def test_what_cannot_be_reused_stays_as_it_is() -> None:
    x = made(10)
    assert float(jit(lambda x: x.sum(), donate_argnums=0)(x)) == 10
    assert not x.is_deleted()
    assert jit(lambda x: x.astype(jnp.float16), donate_argnums=0)(x).dtype == np.float16
    assert not x.is_deleted()


def test_numpy_s_memory_is_left_alone() -> None:
    f = jit(lambda x: x + 1, donate_argnums=0)
    x = np.ones(16, np.float32)
    for _ in range(4):
        np.testing.assert_array_equal(f(x), np.full(16, 2))
        np.testing.assert_array_equal(f(jnp.asarray(x)), np.full(16, 2))
    np.testing.assert_array_equal(x, np.ones(16))
    assert float(f(1.0)) == 2


def test_memory_that_others_see_is_left_alone() -> None:
    f = jit(lambda x: x + 1, donate_argnums=0)
    for _ in range(4):
        x = made(16)
        view = np.asarray(x)[3:]
        before = address(x)
        y = f(x)
        assert x.is_deleted()
        assert address(y) != before
        np.testing.assert_array_equal(view, np.ones(13))
        np.testing.assert_array_equal(y, np.full(16, 2))


def test_memory_that_was_seen_before_is_free_again() -> None:
    f = jit(lambda x: x + 1, donate_argnums=0)
    x = made(16)
    before = address(x)
    assert float(np.asarray(x).sum()) == 16
    assert address(f(x)) == before


def test_an_array_given_twice() -> None:
    f = jit(lambda x, y: x - 2 * y, donate_argnums=0)
    for _ in range(4):
        x = made(16, value=3.0)
        np.testing.assert_array_equal(f(x, x), np.full(16, -3))
        assert x.is_deleted()


def test_captured_arrays_stay() -> None:
    table = made(100)
    f = jit(lambda x: x + table, donate_argnums=0)
    for _ in range(3):
        np.testing.assert_array_equal(f(made(100)), np.full(100, 2))
    assert not table.is_deleted()


def test_methods_and_static_arguments_count() -> None:
    class Model:
        @jit(donate_argnums=2, static_argnums=1)
        def step(self, n: int, x: Any, y: Any) -> Any:
            return x * n + y

    model = Model()
    for _ in range(4):
        x, y = made(8), made(8)
        np.testing.assert_array_equal(model.step(3, x, y), np.full(8, 4))
        assert (x.is_deleted(), y.is_deleted()) == (True, False)


def test_the_last_argument_by_a_negative_number() -> None:
    f = jit(lambda x, y: x + y, donate_argnums=-1)
    x, y = made(8), made(8)
    f(x, y)
    assert (x.is_deleted(), y.is_deleted()) == (False, True)


def test_nothing_is_deleted_within_another_trace() -> None:
    f = jit(lambda x: x + 1, donate_argnums=0)
    x = made(4)
    np.testing.assert_array_equal(jit(lambda x: f(x) + x)(x), np.full(4, 3))
    np.testing.assert_array_equal(tj.grad(lambda x: f(x).sum())(x), np.ones(4))
    assert not x.is_deleted()


@pytest.mark.parametrize("options", ({"backend": "numpy"}, {"backend": "numba"}, {"mode": "debug"}))
def test_other_back_ends(options: dict[str, Any]) -> None:
    f = jit(lambda x: x + 1, donate_argnums=0, **options)
    for _ in range(3):
        np.testing.assert_array_equal(f(made(4)), np.full(4, 2))


def test_a_host_call_that_fails() -> None:
    def host(x: Any) -> Any:
        if x[0] > 1:
            raise ZeroDivisionError("of the user's own")
        return x

    shape = tj.ShapeDtypeStruct((4,), np.float32)
    f = jit(lambda x: tj.pure_callback(host, shape, x) + x, donate_argnums=0)
    for value, fails in ((1.0, False), (2.0, True), (1.0, False)):
        if fails:
            with pytest.raises(ZeroDivisionError, match="own"):
                f(made(4, value=value))
        else:
            np.testing.assert_array_equal(f(made(4, value=value)), np.full(4, 2))


# ---- deleted arrays ------------------------------------------------------------------------------


def deleted() -> Any:
    def step(x: Any) -> Any:
        return x * 2

    x = made(2, 3)
    jit(step, donate_argnums=0)(x)
    return x


USES: dict[str, Callable[[Any], Any]] = {
    "np.asarray": np.asarray,
    "operator": lambda x: x + 1,
    "function": jnp.sin,
    "jit": jit(lambda x: x + 1),
    "jit of a tree": lambda x: jit(lambda t: t[0] + 1)([x]),
    "grad": tj.grad(lambda x: x.sum()),
    "index": lambda x: x[0],
    "closed over": lambda x: jit(lambda y: x + y)(1.0),
    "item": lambda x: x.item(0),
    "tolist": lambda x: x.tolist(),
    "bool": lambda x: bool(x.any()),
    "pickle": pickle.dumps,
    "assignment": lambda x: x.__setitem__(0, 1.0),
}


@pytest.mark.parametrize("name", USES)
def test_use_of_a_deleted_array_is_an_error(name: str) -> None:
    x = deleted()
    with pytest.raises(DeletedArrayError, match=r"f32\[2,3\], has been deleted.*`step`"):
        USES[name](x)
    with pytest.raises(RuntimeError):
        USES[name](x)


def test_a_deleted_array_still_has_a_type_and_prints() -> None:
    x = deleted()
    assert (x.shape, x.dtype, x.ndim, len(x)) == ((2, 3), np.float32, 2, 2)
    assert repr(x) == str(x) == f"{x}" == "Array<f32[2,3], deleted>"
    assert copy.copy(x).is_deleted()
    assert x.block_until_ready() is x
