"""Loops outside of jit: long ones are compiled, and give what NumPy gives."""

from __future__ import annotations

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax
from tracejit.frontend import long_loops


@pytest.fixture
def compiled(monkeypatch):
    """How many loops were compiled."""
    found = []
    inner = long_loops._compiled
    monkeypatch.setattr(long_loops, "LIMIT", 40)
    monkeypatch.setattr(long_loops, "_compiled", lambda *a: found.append(1) or inner(*a))
    return found


def running(x, n):
    return lax.scan(lambda c, y: (c * 0.5 + y, c), x, jnp.arange(float(n)))


def counted(x, n):
    return lax.while_loop(lambda s: s[0] < n, lambda s: (s[0] + 1, s[1] * 0.5 + x), (0, x))


@pytest.mark.parametrize("loop", [running, counted])
def test_long_loops_are_compiled_and_short_ones_are_not(loop, compiled):
    x = jnp.array([1.0, 2.0])
    for n, times in ((3, 0), (100, 1)):
        expected = tj.jit(loop, static_argnums=1)(x, n)
        found = loop(x, n)
        assert len(compiled) == times
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)
            assert a.dtype == b.dtype


@pytest.mark.parametrize("loop", [running, counted])
def test_under_transforms(loop, compiled):
    def f(x):
        return jnp.sum(loop(x, 100)[1])

    x = jnp.array([1.0, 2.0])
    np.testing.assert_allclose(tj.grad(f)(x), tj.jit(tj.grad(f))(x), rtol=1e-5)
    np.testing.assert_allclose(tj.vmap(f)(x[None]), tj.jit(tj.vmap(f))(x[None]), rtol=1e-5)
    assert compiled


def test_single_operations_where_the_settings_ask_for_them(compiled):
    for asked in ({"debug_nans": True}, {"disable_jit": True}, {"backend": "numpy"}):
        with tj.settings(**asked):
            running(jnp.float32(1.0), 100)
    assert not compiled


def test_effects_and_errors_in_long_loops(compiled, capsys):
    def step(k, x):
        tj.debug.print("{}", k)
        return x + x[k * 0]

    lax.fori_loop(0, 60, step, jnp.ones(3))
    assert capsys.readouterr().out.split() == [str(k) for k in range(60)]
    with pytest.raises(tj.errors.OutOfBoundsError):
        lax.fori_loop(0, 60, lambda k, x: x + x[k], jnp.ones(3))
    assert len(compiled) == 2


def test_equal_loops_share_a_program(compiled):
    long_loops._program.cache_clear()
    for _ in range(3):
        running(jnp.float32(1.0), 100)
    assert len(compiled) == 3 and long_loops._program.cache_info().misses == 1
