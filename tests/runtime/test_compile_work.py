"""Work of tracing and compiling grows with the size of a program, not with its square.

Work is counted in Python calls (generators count once for each item), so a busy machine changes
nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit.ir.expr import Const, Load, Op, Var, walk

WIDTH = 64


def layer(params: Any, x: Any) -> Any:
    scale, weight, bias = params
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    variance = jnp.mean(centred * centred, axis=-1, keepdims=True)
    return x + jnp.tanh(centred / jnp.sqrt(variance + 1e-5) * scale @ weight + bias)


def training_step(layers: Any, x: Any) -> Any:
    def loss(layers: Any) -> Any:
        y = x
        for params in layers:
            y = layer(params, y)
        return jnp.mean(y * y)

    value, slopes = tj.value_and_grad(loss)(layers)
    return value, tj.tree.map(lambda p, g: p - 0.1 * g, layers, slopes)


def forward(layers: Any, x: Any) -> Any:
    for params in layers:
        x = layer(params, x)
    return x


def arguments(depth: int) -> tuple[Any, Any]:
    made = [np.ones(WIDTH, "f4"), np.ones((WIDTH, WIDTH), "f4"), np.zeros(WIDTH, "f4")]
    return [list(made) for _ in range(depth)], np.ones((32, WIDTH), "f4")


def calls(function: Callable[..., Any], *args: Any) -> int:
    """How many calls of Python functions and of built-in ones ``function(*args)`` makes."""
    count = 0

    def note(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        function(*args)
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("function", [forward, training_step])
def test_twice_the_layers_are_twice_the_work(function: Callable[..., Any]) -> None:
    tj.jit(function).stages(*arguments(1))  # what is loaded and remembered at first use
    once, twice = (calls(tj.jit(function).stages, *arguments(depth)) for depth in (12, 24))
    assert twice < 2.3 * once


def test_equal_layers_are_lowered_once() -> None:
    few, many = (tj.jit(forward).stages(*arguments(depth)) for depth in (4, 8))
    assert len(many.kernels) == len(few.kernels)
    step = tj.jit(training_step).stages(*arguments(8))
    kernels = [call.kernel for call in step.program.kernel_calls]
    assert len({id(kernel) for kernel in kernels}) == len(step.kernels) < len(kernels)


def test_expressions_are_made_once() -> None:
    def make() -> Op:
        index = (Op("add", (Var("i", "i64"), Const(1, "i64")), "i64"),)
        return Op("mul", (Load("x", index, "f32"), Const(-0.0, "f32")), "f32")

    assert make() is make()
    assert Const(0.0, "f32") is not Const(-0.0, "f32")
    assert Const(1, "i64") is not Const(True, "bool")
    assert Const(float("nan"), "f32") is Const(float("nan"), "f32")
    assert Load("x", (), "f32") is not Load("x", (), "f32", Const(True, "bool"))
    with pytest.raises(AttributeError, match="cannot be changed"):
        make().fn = "add"


def test_walking_a_shared_expression_meets_each_part_once() -> None:
    expr: Any = Var("x", "f32")
    for _ in range(200):
        expr = Op("add", (expr, expr), "f32")
    assert len(list(walk(expr))) == 201


def test_expressions_nobody_holds_are_forgotten() -> None:
    before = len(Op._table)
    held = [Op("add", (Var("x", "f32"), Const(float(k), "f32")), "f32") for k in range(100)]
    assert len(Op._table) >= before + 100
    del held
    assert len(Op._table) <= before + 1
