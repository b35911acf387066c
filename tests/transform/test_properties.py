"""Derivatives and batches of random small programs: laws that hold for every program.

A program is a list of steps; each step combines two earlier values (vectors of one length) by an
operation, the body of a scan or the branches of a cond.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax
from tracejit.frontend.remat import checkpoint

N = 3
Binary = Callable[[Any, Any], Any]


def smooth_where(a: Any, b: Any) -> Any:
    return jnp.where(a > b, a * b, jnp.sin(a) - b)


def scanned(a: Any, b: Any) -> Any:
    carry, ys = lax.scan(lambda c, x: (jnp.tanh(c * x) + b[0], c * b), a[0], b)
    return carry + ys.sum(0)


def reversed_scan(a: Any, b: Any) -> Any:
    return lax.scan(lambda c, x: (jnp.sin(c) * x, c.sum()), a, b, reverse=True)[0]


def branched(a: Any, b: Any) -> Any:
    return lax.cond(a[0] > b[1], lambda a, b: a * b, lambda a, b: jnp.cos(a) + b[2], a, b)


def switched(a: Any, b: Any) -> Any:
    branches = [lambda x: x * b, jnp.sin, lambda x: x - b * x[0]]
    return lax.switch((jnp.abs(a[0]) * 3).astype("int32"), branches, a)


def looped(a: Any, b: Any) -> Any:
    return lax.fori_loop(0, 2, lambda k, c: c * jnp.cos(b) + k * a, a)


#: smooth wherever a program is likely to go; values stay moderate
OPERATIONS: dict[str, Binary] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - 0.5 * b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / (1.5 + b * b),
    "tanh": lambda a, b: jnp.tanh(a),
    "sin": lambda a, b: jnp.sin(a),
    "exp": lambda a, b: jnp.exp(-a * a),
    "log": lambda a, b: jnp.log(1 + b * b),
    "sqrt": lambda a, b: jnp.sqrt(1 + a * a),
    "power": lambda a, b: (1.1 + jnp.tanh(a)) ** (b * 0.3),
    "sum": lambda a, b: b * a.sum(),
    "dot": lambda a, b: jnp.outer(a, b) @ a * 0.3,
    "roll": lambda a, b: jnp.concatenate([a[1:], b[:1]]),
    "gather": lambda a, b: a[jnp.array([2, 0, 0])] + b[::-1],
    "cumsum": lambda a, b: jnp.cumsum(a) - b,
    "where": smooth_where,
    "maximum": lambda a, b: jnp.maximum(a, b * 2) * b,
    "scan": scanned,
    "reversed_scan": reversed_scan,
    "cond": branched,
    "switch": switched,
    "fori": looped,
    "jit": lambda a, b: tj.jit(lambda a, b: jnp.sin(a) * b)(a, b),
    "checkpoint": lambda a, b: checkpoint(lambda a, b: jnp.sin(a * b) * a)(a, b),
}


@dataclass(frozen=True)
class Program:
    """Steps (operation, first operand, second operand); operands count from the newest."""

    steps: tuple[tuple[str, int, int], ...]

    def __call__(self, x: Any) -> Any:
        values = [x, x * 0.7 + 0.2]
        for name, i, j in self.steps:
            values.append(
                OPERATIONS[name](values[-1 - i % len(values)], values[-1 - j % len(values)])
            )
        return jnp.tanh(values[-1] * 0.5)

    def scalar(self, x: Any) -> Any:
        return jnp.sum(self(x) * jnp.array([1.0, -0.5, 2.0]))


steps = st.tuples(st.sampled_from(sorted(OPERATIONS)), st.integers(0, 3), st.integers(0, 3))
programs = st.lists(steps, min_size=1, max_size=5).map(tuple).map(Program)
# numbers with few digits that differ from element to element: no ties in comparisons
vectors = st.lists(st.integers(-90, 90), min_size=N, max_size=N, unique=True).map(
    lambda ks: np.array(ks) / 61 + 0.0071
)


def close(found: Any, expected: Any, rtol: float = 1e-8) -> None:
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=rtol, atol=rtol)


@given(programs, vectors, vectors)
def test_jvp_is_the_difference_quotient(f: Program, x: np.ndarray, dx: np.ndarray) -> None:
    y, dy = tj.jvp(f, (x,), (dx,))
    close(y, f(x))
    quotients = [
        (np.asarray(f(x + h * dx)) - np.asarray(f(x - h * dx))) / (2 * h) for h in (1e-5, 1e-6)
    ]
    if np.allclose(*quotients, rtol=1e-4, atol=1e-5):  # no kink or jump within the step
        close(dy, quotients[0], 1e-4)


@given(programs, vectors, vectors, vectors)
def test_vjp_is_adjoint_to_jvp(f: Program, x: np.ndarray, dx: np.ndarray, ct: np.ndarray) -> None:
    dy = tj.jvp(f, (x,), (dx,))[1]
    (pulled,) = tj.vjp(f, x)[1](ct)
    close(np.vdot(ct, dy), np.vdot(pulled, dx))


@given(programs, vectors, vectors)
def test_linearize_is_jvp(f: Program, x: np.ndarray, dx: np.ndarray) -> None:
    y, linear = tj.linearize(f, x)
    close(y, f(x))
    close(linear(dx), tj.jvp(f, (x,), (dx,))[1])
    close(linear(2 * dx), 2 * np.asarray(linear(dx)))


@given(programs, st.lists(vectors, min_size=1, max_size=3))
def test_vmap_is_a_stack_of_singles(f: Program, xs: list[np.ndarray]) -> None:
    close(tj.vmap(f)(np.stack(xs)), np.stack([f(x) for x in xs]))


@given(programs, st.lists(vectors, min_size=2, max_size=2))
def test_vmap_of_grad_is_a_stack_of_grads(f: Program, xs: list[np.ndarray]) -> None:
    singles = np.stack([tj.grad(f.scalar)(x) for x in xs])
    close(tj.vmap(tj.grad(f.scalar))(np.stack(xs)), singles)
    close(tj.grad(lambda xs: tj.vmap(f.scalar)(xs).sum())(np.stack(xs)), singles)


@given(programs, vectors)
def test_jacobians_agree_and_the_hessian_is_symmetric(f: Program, x: np.ndarray) -> None:
    close(tj.jacfwd(f)(x), tj.jacrev(f)(x))
    hessian = np.asarray(tj.hessian(f.scalar)(x))
    close(hessian, hessian.T)
    close(hessian, tj.jacrev(tj.jacrev(f.scalar))(x))
    close(hessian, tj.jacfwd(tj.jacfwd(f.scalar))(x))
    close(hessian, tj.jacrev(tj.jacfwd(f.scalar))(x))


@given(programs, vectors)
def test_checkpoint_changes_no_derivative(f: Program, x: np.ndarray) -> None:
    close(tj.grad(checkpoint(f.scalar))(x), tj.grad(f.scalar)(x))
    close(tj.hessian(checkpoint(f.scalar))(x), tj.hessian(f.scalar)(x))


@settings(max_examples=6)
@given(programs, vectors)
def test_jit_changes_no_derivative(f: Program, x: np.ndarray) -> None:
    expected = tj.grad(f.scalar)(x)
    close(tj.jit(tj.grad(f.scalar))(x), expected)
    close(tj.grad(tj.jit(f.scalar))(x), expected)
