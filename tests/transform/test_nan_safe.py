"""The branch that ``where``, ``maximum`` ... do not take never turns a derivative into nan.

Each case is a function of a scalar, a point where the branch not taken has an infinite or undefined
derivative, and the first derivative there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax
from tracejit.frontend.remat import checkpoint

Function = Callable[[Any], Any]
where = jnp.where

#: a result that is masked is computed all the same: NumPy warns of it outside of jit
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def pair(x: Any) -> Any:
    return jnp.stack([x, x])


CASES: dict[str, tuple[Function, float, float]] = {
    "sqrt": (lambda x: where(x < 1, x, jnp.sqrt(x)), 0.0, 1.0),
    "constant": (lambda x: where(x > 0, jnp.sqrt(x), 0.0), 0.0, 0.0),
    "log": (lambda x: where(x > 0, jnp.log(x), x * 3), 0.0, 3.0),
    "sinc": (lambda x: where(x == 0, 1.0, jnp.sin(x) / x), 0.0, 0.0),
    "reciprocal": (lambda x: where(x == 0, 2 * x, 1 / x), 0.0, 2.0),
    "maximum": (lambda x: jnp.maximum(jnp.sqrt(x), x + 1), 0.0, 1.0),
    "minimum": (lambda x: jnp.minimum(-jnp.log(x), x), 0.0, 1.0),
    "clip_sqrt": (lambda x: jnp.clip(jnp.sqrt(x), 1.0, 2.0) + x, 0.0, 1.0),
    "clip_log": (lambda x: jnp.clip(jnp.log(x), -5.0, 2.0) + x, 0.0, 1.0),
    "nested_where": (
        lambda x: where(x < 1, where(x < 0.5, x, jnp.log(x)), jnp.sqrt(x) * 1 / x),
        0.0,
        1.0,
    ),
    "where_in_log": (lambda x: where(x < 1, x, jnp.log(where(x < 0.5, jnp.sqrt(x), x))), 0.0, 1.0),
    "composed": (lambda x: where(x < 1, x, jnp.exp(jnp.sqrt(jnp.abs(x)) * x) / x), 0.0, 1.0),
    "power_half": (lambda x: where(x < 1, x, x**0.5), 0.0, 1.0),
    "power_of_itself": (lambda x: where(x < 1, x, x**x), 0.0, 1.0),
    "power_1.5": (lambda x: where(x < 1, x, x**1.5), 0.0, 1.0),
    "arctan2": (lambda x: where(x == 0, x, jnp.arctan2(x, x * 2)), 0.0, 1.0),
    "hypot": (lambda x: where(x == 0, x, jnp.hypot(x, x)), 0.0, 1.0),
    "norm": (lambda x: where(x == 0, x, jnp.sqrt(jnp.sum(pair(x) ** 2))), 0.0, 1.0),
    "unit_vector": (
        lambda x: where(x == 0, pair(x), pair(x) / jnp.sqrt(jnp.sum(pair(x) ** 2))).sum(),
        0.0,
        2.0,
    ),
    "norm_by_dot": (lambda x: where(x == 0, x, jnp.sqrt(jnp.dot(pair(x), pair(x)))), 0.0, 1.0),
    "cumsum": (lambda x: where(x == 0, x, jnp.sum(jnp.cumsum(jnp.log(pair(x))))), 0.0, 1.0),
    "product": (lambda x: where(x < 1, x, jnp.prod(jnp.stack([x, jnp.log(x)]))), 0.0, 1.0),
    "std": (lambda x: where(x < 1, x, jnp.std(pair(x))), 0.0, 1.0),
    "max_of": (lambda x: where(x < 1, x, jnp.max(jnp.sqrt(jnp.stack([x, x * 2])))), 0.0, 1.0),
    "log_sum_exp": (lambda x: where(x < 1, x, jnp.log(jnp.sum(jnp.exp(pair(x) / x)))), 0.0, 1.0),
    "index": (lambda x: where(x < 1, x, jnp.sqrt(pair(x))[0]), 0.0, 1.0),
    "reshape": (lambda x: where(x < 1, x, jnp.sum(jnp.sqrt(x.reshape(1, 1)).T)), 0.0, 1.0),
    "concatenate": (
        lambda x: where(x < 1, x, jnp.concatenate([jnp.sqrt(x)[None], jnp.log(x)[None]]).sum()),
        0.0,
        1.0,
    ),
    "arcsin": (lambda x: where(x < 2, x, jnp.arcsin(x + 1)), 0.0, 1.0),
    "rsqrt": (lambda x: where(x < 1, x, lax.rsqrt(x)), 0.0, 1.0),
    "cbrt": (lambda x: where(x < 1, x, jnp.cbrt(x)), 0.0, 1.0),
    "select": (lambda x: jnp.select([x < 1, x < 2], [x, jnp.log(x)], jnp.sqrt(x)), 0.0, 1.0),
    "used_twice": (
        lambda x: where(x < 1, x, jnp.sqrt(x)) ** 2 + 3 * where(x < 1, x, jnp.sqrt(x)),
        0.0,
        3.0,
    ),
    "shared": (
        lambda x: (lambda s: where(x < 1, x, s) + where(x < 2, x, s * s))(jnp.sqrt(x)),
        0.0,
        2.0,
    ),
    "inner_jit": (lambda x: where(x < 1, x, tj.jit(lambda y: jnp.log(jnp.sqrt(y)))(x)), 0.0, 1.0),
    "around_inner_jit": (
        lambda x: where(x < 1, x, 1 / tj.jit(lambda y: y * 2)(jnp.sqrt(x))),
        0.0,
        1.0,
    ),
    "where_in_jit": (lambda x: tj.jit(lambda x: where(x < 1, x, jnp.sqrt(x)))(x), 0.0, 1.0),
    "checkpoint": (lambda x: where(x < 1, x, checkpoint(jnp.sqrt)(x)), 0.0, 1.0),
    "where_in_checkpoint": (
        lambda x: checkpoint(lambda x: where(x < 1, x, jnp.sqrt(x)))(x),
        0.0,
        1.0,
    ),
    "cond": (lambda x: where(x < 1, x, lax.cond(x < 5, jnp.sqrt, jnp.log, x)), 0.0, 1.0),
    "scan": (lambda x: where(x < 1, x, lax.fori_loop(0, 3, lambda _, c: jnp.sqrt(c), x)), 0.0, 1.0),
    "scan_results": (lambda x: where(x < 1, x, lax.map(jnp.sqrt, pair(x)).sum()), 0.0, 1.0),
    "where_in_scan": (
        lambda x: lax.fori_loop(0, 3, lambda _, c: where(c < 1, c, jnp.sqrt(c)), x),
        0.0,
        1.0,
    ),
}


def over_vector(f: Function, x: Any) -> Any:
    return tj.grad(lambda v: tj.vmap(f)(v).sum())(pair(x))[1]


def in_scan(f: Function, x: Any) -> Any:
    return tj.grad(lambda x: lax.map(f, pair(x)).mean())(x)


MODES: dict[str, Callable[[Function, Any], Any]] = {
    "grad": lambda f, x: tj.grad(f)(x),
    "jit_grad": lambda f, x: tj.jit(tj.grad(f))(x),
    "grad_jit": lambda f, x: tj.grad(tj.jit(f))(x),
    "vmap_grad": lambda f, x: tj.vmap(tj.grad(f))(pair(x))[0],
    "grad_vmap": over_vector,
    "grad_of_scan": in_scan,
    "grad_checkpoint": lambda f, x: tj.grad(checkpoint(f))(x),
    "jvp": lambda f, x: tj.jvp(f, (x,), (1.0,))[1],
    "jacfwd": lambda f, x: tj.jacfwd(f)(x),
    "jacrev": lambda f, x: tj.jacrev(f)(x),
}


@pytest.mark.parametrize("name", CASES)
def test_first_derivative(name: str) -> None:
    f, x, expected = CASES[name]
    for mode, derivative in MODES.items():
        if mode == "jit_grad" and name not in ("sqrt", "unit_vector", "inner_jit", "scan"):
            continue  # compiling each takes long
        found = float(derivative(f, jnp.asarray(x)))
        assert found == pytest.approx(expected, abs=1e-6), mode


@pytest.mark.parametrize("name", CASES)
def test_second_derivative_is_finite(name: str) -> None:
    f, x, _ = CASES[name]
    found = float(tj.hessian(f)(jnp.asarray(x)))
    assert found == pytest.approx(2.0 if name in ("used_twice",) else 0.0, abs=1e-5)
    if (
        name != "cond"
    ):  # reverse over reverse: what is masked within one cond, the other does not know
        assert float(tj.grad(tj.grad(f))(jnp.asarray(x))) == pytest.approx(found)


def test_a_cotangent_that_happens_to_be_zero_has_derivatives() -> None:
    # at 0 the derivative of the square is zero, though the branch is taken
    f = tj.hessian(lambda x: where(x > -1, jnp.sin(x), 0.0) ** 2)
    assert float(f(0.0)) == pytest.approx(2.0)
    least_squares = tj.hessian(lambda x: (where(x > 0, jnp.exp(x), 1.0) - jnp.exp(1.0)) ** 2 / 2)
    assert float(least_squares(jnp.asarray(1.0))) == pytest.approx(np.e**2, rel=1e-5)


def test_masks_hold_per_element() -> None:
    x = jnp.array([0.0, 4.0, 0.25, 9.0])
    found = tj.grad(lambda x: where(x < 1, x, jnp.log(jnp.sqrt(x))).sum())(x)
    np.testing.assert_allclose(found, [1.0, 1 / 8, 1.0, 1 / 18], rtol=1e-6)


def log_root(x: Any) -> Any:
    return jnp.log(jnp.sqrt(x))


HOLDERS: dict[str, Function] = {
    "jit": tj.jit(log_root),
    "checkpoint": checkpoint(log_root),
    "concrete_cond": lambda x: lax.cond(True, log_root, jnp.sin, x),
    "cond": lambda x: lax.cond(jnp.sum(x) > -1, log_root, jnp.sin, x),
    "scan": lambda x: lax.fori_loop(0, 1, lambda _, c: log_root(c), x),
    "scan_results": lambda x: lax.scan(lambda c, _: (c, log_root(c)), x, None, length=2)[1][1],
    "map": lambda x: lax.map(log_root, x),
}


@pytest.mark.parametrize("name", HOLDERS)
def test_masks_hold_per_element_through(name: str) -> None:
    def f(x: Any) -> Any:
        return jnp.sum(where(x < 1, x, HOLDERS[name](x)))

    x = np.array([0.0, 4.0, 0.25, 9.0])
    expected = [1.0, 1 / 8, 1.0, 1 / 18]
    for g in (tj.grad(f), tj.grad(checkpoint(f)), tj.jit(tj.grad(f)), tj.grad(tj.jit(f))):
        np.testing.assert_allclose(g(x), expected, rtol=1e-6)
    second = np.diag([0.0, -1 / 32, 0.0, -1 / 162])
    np.testing.assert_allclose(tj.hessian(f)(x), second, rtol=1e-6)
    if "cond" not in name:
        np.testing.assert_allclose(tj.jacrev(tj.grad(f))(x), second, rtol=1e-6)


def test_flags_that_nothing_needs_are_dropped() -> None:
    def layers(ws: Any, x: Any) -> Any:
        return lax.scan(lambda h, w: (jnp.maximum(h @ w, 0.0), None), x, ws)[0].sum()

    graph = tj.jit(tj.grad(layers)).stages(jnp.ones((3, 4, 4)), jnp.ones((2, 4))).optimised
    forward, backward = (n for n in graph.nodes if n.prim.name == "scan")
    assert all(out.type.dtype == np.float32 for out in backward.outputs)


def test_a_true_infinity_stays() -> None:
    assert float(tj.grad(jnp.sqrt)(0.0)) == np.inf
    assert float(tj.grad(lambda x: where(x < 1, jnp.sqrt(x), x))(0.0)) == np.inf


def test_long_chains_of_where() -> None:
    def f(x: Any) -> Any:
        for k in range(300):
            x = where(x < k, x, jnp.sqrt(x) * 2)
        return x

    assert np.isfinite(float(tj.grad(f)(0.5)))


def test_no_guard_where_nothing_can_go_wrong() -> None:
    graph = tj.make_graph(tj.grad(lambda x: jnp.sum(jnp.maximum(x, 0.0) * 2.0)), jnp.ones(100))
    assert [n.prim.name for n in graph.nodes].count("select") <= 3  # those of maximum itself
