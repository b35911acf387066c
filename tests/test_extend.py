"""Operations made by users are as good as built-in ones."""

from __future__ import annotations

import numpy as np
import pytest

from tracejit import extend, grad, hessian, jit, vmap
from tracejit.extend import scalar
from tracejit.ops.arith import abs_, add, div, mul
from tracejit.ops.powers import square
from tracejit.testing import CheckFailed, check_grads, check_op

softsign = extend.elementwise(
    "user_softsign",
    lambda x: x / (1 + abs(x)),
    kinds="f",
    jvp=lambda dx, y, x: div(dx, square(add(abs_(x), 1.0))),
    scalar=lambda x: scalar("div", x, scalar("add", scalar("abs", x), 1.0)),
    domain=(0.1, 3.0),
)
apply_softsign = extend.function(softsign)


def test_record_passes_every_check() -> None:
    check_op(softsign)


def test_fuses_with_its_neighbours() -> None:
    x = np.linspace(-2, 2, 100, dtype=np.float32)
    f = jit(lambda x: apply_softsign(x * 2.0) + 1.0)
    np.testing.assert_allclose(f(x), 2 * x / (1 + abs(2 * x)) + 1, rtol=1e-6)
    assert len(f.stages(x).kernels) == 1


def test_derivatives_nest() -> None:
    x = np.float64(0.7)
    np.testing.assert_allclose(grad(apply_softsign)(x), 1 / 1.7**2, rtol=1e-12)
    np.testing.assert_allclose(jit(hessian(apply_softsign))(x), -2 / 1.7**3, rtol=1e-12)
    np.testing.assert_allclose(
        jit(vmap(grad(apply_softsign)))(np.full(3, x)), np.full(3, 1 / 1.7**2), rtol=1e-12
    )


def test_a_wrong_derivative_is_found() -> None:
    wrong = extend.elementwise(
        "user_wrong", lambda x: x * x, kinds="f", jvp=lambda dx, y, x: mul(dx, x), domain=(0.5, 2.0)
    )
    with pytest.raises(CheckFailed, match="jvp differs"):
        check_op(wrong)


def test_check_grads_to_second_order() -> None:
    check_grads(lambda x: apply_softsign(x) * x, (np.linspace(0.5, 2.0, 4),), order=2)
