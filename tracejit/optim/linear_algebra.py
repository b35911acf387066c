"""Eigenvalues and roots by iteration, and least squares without negative parts.

power_iteration(matrix)                 the eigenvalue of largest size, and its vector
matrix_inverse_pth_root(matrix, 4)      matrix**(-1/4), as Shampoo needs it
nnls(A, b, iters=100)                   x >= 0 that minimises |A x - b|
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tracejit.numpy as jnp
from tracejit.errors import ArgumentError, ShapeError
from tracejit.frontend.array import Array, as_array
from tracejit.lax import scan, while_loop
from tracejit.optim import tree
from tracejit.optim.base import narrow
from tracejit.random import PRNGKey, uniform
from tracejit.source import here


def _unit(x: Any) -> Any:
    return tree.scale(1.0 / tree.norm(x), x)


def power_iteration(
    matrix: Any,
    *,
    v0: Any = None,
    num_iters: int = 100,
    error_tolerance: Any = 1e-6,
    precision: Any = "highest",
    key: Any = None,
) -> tuple[Array, Any]:
    """The eigenvalue of largest size of a matrix or a linear function, and its eigenvector, by
    power iteration (von Mises and Pollaczek-Geiringer, 1929).

    ``v0``: where to begin, a tree that the function takes; for a matrix drawn from ``key`` by
    default. ``precision`` is accepted for compatibility. Raises ArgumentError for a function
    without ``v0``.

    >>> from tracejit import optim
    >>> optim.power_iteration(jnp.diag(jnp.array([1.0, 4.0, 2.0])))[0].round(3)
    Array(4., dtype=float32)
    """
    if callable(matrix):
        if v0 is None:
            raise ArgumentError("power_iteration: a function needs v0", at=here())
        product: Callable[[Any], Any] = matrix
    else:
        m = as_array(matrix)
        product = lambda v: m @ v  # noqa: E731
        if v0 is None:
            drawn = PRNGKey(0) if key is None else key
            v0 = uniform(drawn, m.shape[-1:], m.dtype, -1.0, 1.0)
    start = _unit(v0)

    def more(now: Any) -> Any:
        vector, image, value, count = now
        rest = tree.norm(tree.sub(image, tree.scale(value, vector)))
        return ~(abs(rest / value) < error_tolerance) & (count < num_iters)

    def step(now: Any) -> Any:
        vector = _unit(now[1])
        image = product(vector)
        return vector, image, tree.vdot(vector, image), now[3] + 1

    image = product(start)
    zero = tree.vdot(start, image) * 0
    _, image, value, _ = while_loop(more, step, (start, image, zero, jnp.asarray(0)))
    return value, _unit(image)


def _power(m: Any, p: int) -> Any:
    """m**p for p a power of two."""
    while p > 1:
        m, p = m @ m, p // 2
    return m


def matrix_inverse_pth_root(
    matrix: Any,
    p: int,
    num_iters: int = 100,
    ridge_epsilon: Any = 1e-6,
    error_tolerance: Any = 1e-6,
    precision: Any = "highest",
) -> tuple[Array, Any]:
    """matrix**(-1 / p) of a symmetric positive matrix for p of 1, 2, 4 or 8, and how far its p-th
    power times the matrix is from the identity: the coupled Newton iteration (Guo and Higham,
    2006), as Shampoo uses it (Anil et al., 2020). ``ridge_epsilon`` times the largest eigenvalue is
    added to the diagonal.

    >>> from tracejit import optim
    >>> root, error = optim.matrix_inverse_pth_root(jnp.diag(jnp.array([1.0, 16.0])), 4)
    >>> root.round(2)
    Array([[1. , 0. ],
           [0. , 0.5]], dtype=float32)
    """
    m = as_array(matrix)
    if m.ndim != 2 or m.shape[0] != m.shape[1]:
        raise ShapeError(f"matrix_inverse_pth_root: {m.type} is no square matrix", at=here())
    if p not in (1, 2, 4, 8):
        raise ArgumentError(f"matrix_inverse_pth_root: p is 1, 2, 4 or 8, not {p!r}", at=here())
    n = m.shape[0]
    ridge = ridge_epsilon * jnp.maximum(power_iteration(m)[0], 1e-16)
    if n == 1:
        return (m + ridge) ** (-1.0 / p), 0
    one = jnp.eye(n, dtype=m.dtype)
    damped = m + ridge * one
    z = (1 + p) / (2 * jnp.linalg.norm(damped))

    def away(x: Any) -> Any:
        return abs(x - one).max()

    def more(now: Any) -> Any:
        return (now[0] < num_iters) & (now[4] > error_tolerance) & now[5]

    def step(now: Any) -> Any:
        count, a, root, _, error, _ = now
        factor = (1 + 1.0 / p) * one - a * (1.0 / p)
        new = _power(factor, p) @ a
        return count + 1, new, root @ factor, root, away(new), away(new) < error * 1.2

    first = damped * z
    root = one * z ** (1.0 / p)
    begin = (jnp.asarray(0), first, root, root, away(first), jnp.asarray(True))
    _, last, root, before, _, converges = while_loop(more, step, begin)
    return jnp.where(converges, root, before), away(last)


def nnls(A: Any, b: Any, iters: int, unroll: int | bool = 1, L: Any = None) -> Array:  # noqa: N803
    """x >= 0 that minimises |A x - b|, by accelerated projected gradients (Nesterov, 1983; Polyak,
    2015); each column of ``b`` is a problem of its own.

    ``L``: a bound of the largest eigenvalue of A.T A, found by default. Raises ShapeError for other
    than a matrix and as many rows.

    >>> from tracejit import optim
    >>> optim.nnls(jnp.eye(2), jnp.array([1.0, -1.0]), 50).round(3)
    Array([1., 0.], dtype=float32)
    """
    A, b = as_array(A), as_array(b)
    if A.ndim != 2 or b.ndim not in (1, 2) or A.shape[0] != b.shape[0]:
        raise ShapeError(f"nnls: A {A.type} and b {b.type} do not fit", at=here())
    square, image = A.T @ A, A.T @ b
    if L is None:
        columns = abs(square).sum(0).max() if square.size else 0
        L = jnp.minimum(jnp.linalg.norm(square), columns)
    bound = jnp.where(jnp.equal(L, 0), 1, L)

    def step(now: Any, _: Any) -> Any:
        x, ahead, c = now
        next_c = (1 + jnp.sqrt(1 + 4 * c**2)) / 2
        new = jnp.maximum(ahead - (square @ ahead - image) / narrow(bound, square), 0)
        return (new, new + (c - 1) / next_c * (new - x), next_c), None

    x = jnp.zeros((A.shape[1], *b.shape[1:]), dtype=b.dtype)
    zero = jnp.zeros((), dtype=b.dtype)
    return scan(step, (x, x, zero), None, length=iters, unroll=unroll)[0][0]  # type: ignore[no-any-return]
