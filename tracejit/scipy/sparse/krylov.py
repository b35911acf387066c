"""Solvers of linear equations that only multiply by the matrix: cg, bicgstab, gmres.

>>> a = jnp.array([[4.0, 1.0], [1.0, 3.0]])
>>> x, _ = cg(lambda v: a @ v, jnp.array([1.0, 2.0]))
>>> print(x)
[0.09090909 0.6363636 ]

Operators are functions of pytrees, or matrices. Derivatives are those of the solution, by
``lax.custom_linear_solve``: another solve of the same kind, as exact as it is converged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tracejit.numpy as jnp
from tracejit import lax
from tracejit.errors import ArgumentError, ShapeError
from tracejit.frontend.array import Array, as_array
from tracejit.frontend.axes import integer
from tracejit.frontend.call import flatten
from tracejit.frontend.linear_call import custom_linear_solve
from tracejit.frontend.promotion import reshaped, to_inexact
from tracejit.ir.types import kind
from tracejit.source import here
from tracejit.tree_util import check_same_structure, tree_map, tree_unflatten

Function = Callable[..., Any]

# ---- operators and vectors -----------------------------------------------------------------------


def _operator(name: str, what: str, a: Any) -> Function:
    """``a``, a function or a matrix, as a function."""
    if a is None:
        return lambda x: x
    if callable(a):
        return a  # type: ignore[no-any-return]
    if getattr(a, "ndim", 2) != 2 or a.shape[0] != a.shape[1]:
        raise ShapeError(
            f"{name}: {what} is a function or a square matrix, not of shape {a.shape}", at=here()
        )
    return lambda x: a @ x


def _pack(tree: Any) -> Array:
    """The leaves one after the other, as a vector."""
    leaves = [jnp.ravel(as_array(leaf)) for leaf in flatten(tree)[0]]
    return leaves[0] if len(leaves) == 1 else jnp.concatenate(leaves)


def _unpacking(tree: Any) -> Callable[[Array], Any]:
    """The way back from a vector to what ``tree`` is."""
    leaves, treedef = flatten(tree)
    arrays = [as_array(leaf) for leaf in leaves]

    def unpack(x: Array) -> Any:
        found, start = [], 0
        for a in arrays:
            part = x if x.shape[0] == a.size else x[start : start + a.size]
            found.append(reshaped(part.astype(a.dtype), a.shape))
            start += a.size
        return tree_unflatten(treedef, found)

    return unpack


def _dot(x: Array, y: Array) -> Array:
    return jnp.vdot(x, y)


def _squared(x: Array) -> Array:
    return jnp.real(_dot(x, x))


def _solved(
    name: str,
    iterate: Callable[[Function, Array, Array, Any, Function], Array],
    a: Any,
    b: Any,
    x0: Any,
    tol: float,
    atol: float,
    m: Any,
    symmetric: bool,
) -> tuple[Any, None]:
    """The solution by ``iterate(product, rhs, start, least residual norm, preconditioner)``."""
    product, precondition = _operator(name, "A", a), _operator(name, "M", m)
    b = tree_map(to_inexact, b)
    leaves, treedef = flatten(b)
    if not leaves:
        raise ArgumentError(f"{name}: b has no arrays", at=here())
    if x0 is None:
        x0 = tree_map(jnp.zeros_like, b)
    else:
        check_same_structure(f"{name}: x0", treedef, flatten(x0)[1], ("b", "x0"))
        shapes = [(as_array(x).shape, y.shape) for x, y in zip(flatten(x0)[0], leaves, strict=True)]
        if any(one != other for one, other in shapes):
            raise ShapeError(f"{name}: x0 and b differ in shape: {shapes[0]}", at=here())
    start = _pack(x0)

    def solve(matvec: Function, rhs: Any) -> Any:
        unpack = _unpacking(rhs)
        packed = _pack(rhs)
        size = jnp.sqrt(_squared(packed))
        least = jnp.maximum(tol * size, atol)
        # a zero right-hand side (that of a zero tangent) is solved by zero, at once
        first = jnp.where(size > 0, start.astype(packed.dtype), jnp.zeros_like(packed))
        found = iterate(
            lambda v: _pack(matvec(unpack(v))).astype(packed.dtype),
            packed,
            first,
            least,
            lambda v: _pack(precondition(unpack(v))).astype(packed.dtype),
        )
        return unpack(found)

    real = all(kind(leaf.dtype) == "f" for leaf in leaves)
    x = custom_linear_solve(product, b, solve, transpose_solve=solve, symmetric=symmetric and real)
    return x, None


def _limit(name: str, maxiter: Any, b: Any) -> int:
    """``maxiter``, ten times the number of unknowns by default."""
    if maxiter is None:
        return 10 * sum(as_array(leaf).size for leaf in flatten(b)[0])
    return integer(maxiter, f"{name}: maxiter")


# ---- the solvers ---------------------------------------------------------------------------------


def cg(
    A: Any,
    b: Any,
    x0: Any = None,
    *,
    tol: float = 1e-5,
    atol: float = 0.0,
    maxiter: int | None = None,
    M: Any = None,
) -> tuple[Any, None]:
    """``(x, None)`` with A x = b for a symmetric (Hermitian) positive definite ``A``, by conjugate
    gradients.

    ``A`` and the preconditioner ``M`` (close to the inverse of A) are functions or matrices, ``b``
    and the first guess ``x0`` pytrees of arrays. Ends when the norm of the residual is at most
    max(tol |b|, atol), or after ``maxiter`` rounds. Hestenes and Stiefel (1952).

    Raises ShapeError for a matrix that is not square, or an ``x0`` that is not like ``b``.

    >>> x, _ = cg(jnp.array([[2.0, 0.0], [0.0, 4.0]]), jnp.array([1.0, 1.0]))
    >>> print(x)
    [0.5  0.25]
    """
    limit = _limit("cg", maxiter, b)

    def iterate(a: Function, rhs: Array, x: Array, least: Any, m: Function) -> Array:
        r = rhs - a(x)
        z = m(r)

        def going(state: Any) -> Any:
            _, r, _, _, k = state
            return (_squared(r) > least**2) & (k < limit)

        def body(state: Any) -> Any:
            x, r, p, gamma, k = state
            ap = a(p)
            step = gamma / _dot(p, ap)
            x, r = x + step * p, r - step * ap
            z = m(r)
            new = _dot(r, z)
            return x, r, z + (new / gamma) * p, new, k + 1

        return lax.while_loop(going, body, (x, r, z, _dot(r, z), jnp.zeros((), jnp.int32)))[0]

    return _solved("cg", iterate, A, b, x0, tol, atol, M, True)


def bicgstab(
    A: Any,
    b: Any,
    x0: Any = None,
    *,
    tol: float = 1e-5,
    atol: float = 0.0,
    maxiter: int | None = None,
    M: Any = None,
) -> tuple[Any, None]:
    """``(x, None)`` with A x = b for any square ``A``, by the stabilised biconjugate gradient
    method.

    Arguments and errors are those of ``cg``. It ends where the method breaks down, too. Van der
    Vorst, "Bi-CGSTAB" (1992).

    >>> x, _ = bicgstab(jnp.array([[2.0, 1.0], [0.0, 4.0]]), jnp.array([3.0, 4.0]))
    >>> print(jnp.round(x, 3))
    [1. 1.]
    """
    limit = _limit("bicgstab", maxiter, b)

    def iterate(a: Function, rhs: Array, x: Array, least: Any, m: Function) -> Array:
        r = rhs - a(x)
        shadow = r
        one = jnp.ones((), r.dtype)
        nothing = jnp.zeros_like(r)

        def going(state: Any) -> Any:
            r, broken, k = state[1], state[-2], state[-1]
            return (_squared(r) > least**2) & ~broken & (k < limit)

        def body(state: Any) -> Any:
            x, r, p, v, rho, alpha, omega, _, k = state
            new = _dot(shadow, r)
            beta = new / rho * alpha / omega
            p = r + beta * (p - omega * v)
            p_hat = m(p)
            v = a(p_hat)
            alpha = new / _dot(shadow, v)
            s = r - alpha * v
            s_hat = m(s)
            t = a(s_hat)
            tt = _squared(t)
            # where s is zero the half step is the solution
            done = _squared(s) <= least**2
            omega = jnp.where(done | (tt == 0), 0, _dot(t, s) / jnp.where(tt == 0, 1, tt))
            x = x + alpha * p_hat + omega * s_hat
            r = s - omega * t
            broken = (new == 0) | ((omega == 0) & ~done)
            return x, r, p, v, new, alpha, omega, broken, k + 1

        start = (x, r, nothing, nothing, one, one, one, jnp.zeros((), bool))
        return lax.while_loop(going, body, (*start, jnp.zeros((), jnp.int32)))[0]

    return _solved("bicgstab", iterate, A, b, x0, tol, atol, M, False)


def gmres(
    A: Any,
    b: Any,
    x0: Any = None,
    *,
    tol: float = 1e-5,
    atol: float = 0.0,
    restart: int = 20,
    maxiter: int | None = None,
    M: Any = None,
    solve_method: str = "batched",
) -> tuple[Any, None]:
    """``(x, None)`` with A x = b for any square ``A``, by the generalised minimal residual method.

    ``restart`` bounds the size of the Krylov space, ``maxiter`` how often one is built. Both values
    of ``solve_method``, "batched" and "incremental", mean the same here: the small least-squares
    problem is kept triangular by rotations, and a round ends early where it is solved. The other
    arguments and errors are those of ``cg``; the preconditioner stands on the right, so the
    residual that is tested is that of A x = b. Saad and Schultz (1986).

    >>> x, _ = gmres(jnp.array([[2.0, 1.0], [0.0, 4.0]]), jnp.array([3.0, 4.0]))
    >>> print(jnp.round(x, 3))
    [1. 1.]
    """
    if solve_method not in ("batched", "incremental"):
        raise ArgumentError(
            f"gmres: solve_method={solve_method!r}", at=here(), hint="legal: batched | incremental"
        )
    limit = _limit("gmres", maxiter, b)
    unknowns = sum(as_array(leaf).size for leaf in flatten(b)[0])
    size = max(1, min(integer(restart, "gmres: restart"), unknowns))

    def iterate(a: Function, rhs: Array, x: Array, least: Any, m: Function) -> Array:
        def going(state: Any) -> Any:
            _, r, gained, k = state
            return (_squared(r) > least**2) & gained & (k < limit)

        def body(state: Any) -> Any:
            x, r, _, k = state
            new = x + m(_correction(lambda v: a(m(v)), r, least, size))
            rest = rhs - a(new)
            return new, rest, _squared(rest) < _squared(r), k + 1

        start = (x, rhs - a(x), jnp.ones((), bool), jnp.zeros((), jnp.int32))
        return lax.while_loop(going, body, start)[0]

    return _solved("gmres", iterate, A, b, x0, tol, atol, M, False)


def _correction(a: Function, r: Array, least: Any, size: int) -> Array:
    """The y in the Krylov space of (a, r) of dimension ``size`` that makes |r - a(y)| least.

    Arnoldi's method; ``turn`` (unitary) makes the columns of the Hessenberg matrix the triangular
    ``upper``, and the residual is what it leaves of r.
    """
    dtype, tiny = r.dtype, jnp.finfo(r.dtype).eps
    length = jnp.sqrt(_squared(r))

    def going(state: Any) -> Any:
        _, turn, _, j, stuck = state
        left = jnp.abs(turn[j, 0]) * length
        return (j < size) & ~stuck & (left > least)

    def body(state: Any) -> Any:
        basis, turn, upper, j, _ = state
        w = a(basis[j])
        before = jnp.sqrt(_squared(w))
        h = jnp.zeros(size + 1, dtype)
        for _ in range(2):  # once more takes off what rounding left
            part = jnp.conj(basis) @ w
            w, h = w - part @ basis, h + part
        after = jnp.sqrt(_squared(w))
        stuck = after <= tiny * before
        basis = basis.at[j + 1].set(jnp.where(stuck, 0, w / jnp.where(stuck, 1, after)))
        h = turn @ h.at[j + 1].set(jnp.where(stuck, 0, after).astype(dtype))
        turn, column = _rotated(turn, h, j)
        return basis, turn, upper.at[:, j].set(column[:size]), j + 1, stuck

    basis = jnp.zeros((size + 1, r.shape[0]), dtype).at[0].set(r / jnp.where(length > 0, length, 1))
    start = (basis, jnp.eye(size + 1, dtype=dtype), jnp.zeros((size, size), dtype))
    no = (jnp.zeros((), jnp.int32), jnp.zeros((), bool))
    basis, turn, upper, count, _ = lax.while_loop(going, body, (*start, *no))
    right = jnp.where(jnp.arange(size) < count, turn[:size, 0] * length, 0)

    def back(k: Any, y: Array) -> Array:
        i = size - 1 - k
        pivot = upper[i, i]
        rest = right[i] - upper[i] @ y
        return y.at[i].set(jnp.where(pivot == 0, 0, rest / jnp.where(pivot == 0, 1, pivot)))

    y = lax.fori_loop(0, size, back, jnp.zeros(size, dtype))
    return y @ basis[:size]


def _rotated(turn: Array, h: Array, j: Any) -> tuple[Array, Array]:
    """``turn`` with a rotation of rows j and j + 1 that makes ``h[j + 1]`` zero, and ``h`` so."""
    a, b = h[j], h[j + 1]
    long = jnp.sqrt(jnp.abs(a) ** 2 + jnp.abs(b) ** 2)
    safe = jnp.where(long > 0, long, 1)
    c = jnp.where(long > 0, jnp.conj(a) / safe, 1)
    s = jnp.where(long > 0, jnp.conj(b) / safe, 0)
    upper, lower = turn[j], turn[j + 1]
    turn = turn.at[j].set(c * upper + s * lower)
    turn = turn.at[j + 1].set(jnp.conj(c) * lower - jnp.conj(s) * upper)
    return turn, h.at[j].set(long.astype(h.dtype)).at[j + 1].set(0)
