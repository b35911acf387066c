"""The checks of derivatives find wrong derivatives, and pass right ones."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit.errors import ArgumentError
from tracejit.test_util import CheckFailed, check_grads, check_jvp, check_vjp

X = np.array([0.5, 1.5])


def wrong(factor: float) -> Any:
    """x**2 with a derivative that is ``factor`` times too large."""

    @tj.custom_jvp
    def square(x: Any) -> Any:
        return x * x

    square.defjvp(lambda xs, dxs: (xs[0] ** 2, factor * 2 * xs[0] * dxs[0]))
    return square


def test_right_derivatives_pass() -> None:
    def f(tree: dict[str, Any], count: Any) -> Any:
        return {"y": jnp.sin(tree["a"]) * tree["b"].sum() * count, "n": count}

    check_grads(f, ({"a": X, "b": X}, 3), 2)
    check_grads(wrong(1.0), (X,), 2)
    check_grads(lambda z: z * jnp.conj(z) * 1j, (X + 1j,), 2)
    check_grads(jnp.tanh, (X.astype(np.float32),), 2, rtol=1e-2)


@pytest.mark.parametrize("modes", [("fwd",), ("rev",)])
def test_a_wrong_derivative_fails(modes: tuple[str, ...]) -> None:
    with pytest.raises(CheckFailed, match="differences"):
        check_grads(wrong(1.001), (X,), 1, modes)


def test_a_wrong_second_derivative_fails() -> None:
    @tj.custom_jvp
    def cube(x: Any) -> Any:
        return x**3

    cube.defjvp(lambda xs, dxs: (xs[0] ** 3, 3 * tj.lax.stop_gradient(xs[0]) * xs[0] * dxs[0]))
    check_grads(cube, (X,), 1)
    with pytest.raises(CheckFailed, match="of its"):
        check_grads(cube, (X,), 2)


def test_functions_of_ones_own() -> None:
    check_jvp(jnp.sin, partial(tj.jvp, jnp.sin), (X,))
    check_vjp(jnp.sin, partial(tj.vjp, jnp.sin), (X,))
    with pytest.raises(AssertionError, match="my check: its jvp"):
        check_jvp(jnp.sin, partial(tj.jvp, jnp.cos), (X,), err_msg="my check: ")
    with pytest.raises(AssertionError, match="its vjp"):
        check_vjp(jnp.sin, partial(tj.vjp, jnp.cos), (X,))


def test_bad_arguments() -> None:
    with pytest.raises(ArgumentError, match="no mode 'lin'"):
        check_grads(jnp.sin, (X,), 1, ("lin",))
    with pytest.raises(ArgumentError, match="needs a floating argument"):
        check_grads(jnp.sin, (1,), 1)


def test_results_wider_than_the_arguments_are_held_to_the_arguments_precision() -> None:
    wide = np.array([1.0, 2.0, 3.0])
    check_grads(lambda x: jnp.sum(jnp.log(jnp.cosh(x * wide))), (np.float32([0.3, 1.2, -0.7]),), 2)
