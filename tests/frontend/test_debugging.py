"""debug.log and debug.breakpoint."""

from __future__ import annotations

import io
import logging
from typing import Any

import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import debug


def test_log(caplog: pytest.LogCaptureFixture) -> None:
    @tj.jit
    def double(x: Any) -> Any:
        debug.log("x {} of {name}", x, name=x.shape)
        debug.log("late {}", 2 * x, level=logging.WARNING)
        return 2 * x

    with caplog.at_level(logging.INFO, "tracejit"):
        double(jnp.ones(2))
    assert [(r.levelno, r.getMessage()) for r in caplog.records] == [
        (logging.INFO, "x [1. 1.] of [2]"),
        (logging.WARNING, "late [2. 2.]"),
    ]


@pytest.mark.parametrize("wrap", (lambda f: f, tj.jit, tj.grad))
def test_breakpoint(
    wrap: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("p y\np name, extra\np sorted(here)\nc\n"))

    def f(x: Any) -> Any:
        y, name = x * 3, "plain"
        debug.breakpoint(extra=y + 1)
        return y * 2 if name else x

    wrap(f)(jnp.array(1.0))
    shown = capsys.readouterr().out
    assert "breakpoint at" in shown and "test_debugging.py" in shown
    assert "array(3., dtype=float32)" in shown
    assert "('plain', array(4., dtype=float32))" in shown
    assert "['extra', 'name', 'x', 'y']" in shown
