"""Arguments of the functions on matrices, checked, and right-hand sides in one form.

a = square("expm", a)                 a floating Array (..., n, n), else ShapeError
one_of("schur", "output", "real", "real", "complex")
x = with_columns("solve", a, b, run)  run(a, b) for matrices b, of one stack with a
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tracejit.errors import ArgumentError, ShapeError
from tracejit.frontend import elementwise, shaping
from tracejit.frontend.array import Array
from tracejit.frontend.promotion import broadcast_to, promoted, reshaped, to_inexact
from tracejit.source import here


def matrix(name: str, a: Any) -> Array:
    """``a`` as a floating or complex Array of at least two axes."""
    found = to_inexact(a)
    if found.ndim < 2:
        raise ShapeError(f"{name}: takes a matrix or a stack of them, not {found.type}", at=here())
    return found


def square(name: str, a: Any) -> Array:
    """``a`` as a floating or complex Array whose last two axes are equal."""
    found = matrix(name, a)
    if found.shape[-1] != found.shape[-2]:
        raise ShapeError(f"{name}: takes square matrices, not {found.type}", at=here())
    return found


def alike(name: str, *xs: Any) -> list[Array]:
    """All in one floating or complex dtype, shapes as they are."""
    return [to_inexact(x) for x in promoted(name, *xs)]


def one_of(name: str, what: str, value: Any, *legal: Any) -> None:
    """ArgumentError unless ``value`` is one of the legal ones."""
    if not any(type(value) is type(one) and value == one for one in legal):
        listed = " | ".join(map(repr, legal))
        raise ArgumentError(f"{name}: {what}={value!r}", at=here(), hint=f"legal: {listed}")


def adjoint(x: Array) -> Array:
    """The conjugate transpose of each matrix."""
    return elementwise.conjugate(shaping.matrix_transpose(x))  # type: ignore[no-any-return]


def on_one_stack(name: str, *xs: Array) -> list[Array]:
    """Matrices with their leading axes broadcast, else ShapeError."""
    try:
        lead = np.broadcast_shapes(*(x.shape[:-2] for x in xs))
    except ValueError:
        shown = " and ".join(str(x.type) for x in xs)
        raise ShapeError(f"{name}: stacks do not broadcast: {shown}", at=here()) from None
    return [broadcast_to(x, (*lead, *x.shape[-2:])) for x in xs]


def with_columns(name: str, a: Array, b: Array, run: Callable[[Array, Array], Array]) -> Array:
    """``run(a, b)`` for matrices ``a`` (..., n, n) and right-hand sides ``b`` (n,) or (..., n, m).

    ``run`` gets stacks of one shape; one matrix with many right-hand sides gets them side by side.
    """
    n = a.shape[-1]
    if b.ndim == 0 or b.shape[max(b.ndim - 2, 0)] != n:
        raise ShapeError(
            f"{name}: the matrix {a.type} and the right-hand side {b.type} do not fit", at=here()
        )
    if b.ndim == 1:
        column = broadcast_to(reshaped(b, (n, 1)), (*a.shape[:-2], n, 1))
        return shaping.squeeze(run(a, column), -1)  # type: ignore[no-any-return]
    if a.ndim == 2 and b.ndim > 2:
        wide = shaping.moveaxis(b, -2, 0)
        found = run(a, reshaped(wide, (n, int(np.prod(wide.shape[1:])))))
        return shaping.moveaxis(reshaped(found, wide.shape), 0, -2)  # type: ignore[no-any-return]
    a, b = on_one_stack(name, a, b)
    return run(a, b)


def from_triangle(a: Array, lower: bool, hermitian: bool = True) -> Array:
    """The Hermitian (symmetric) matrix that one triangle of ``a`` stands for."""
    n = a.shape[-1]
    mask = np.tri(n, n, 0, bool) if lower else np.tri(n, n, 0, bool).T
    strict = mask & ~np.eye(n, dtype=bool)
    other = adjoint(a) if hermitian else shaping.matrix_transpose(a)
    kept = elementwise.select(broadcast_to_mask(mask, a), a, other)
    if hermitian and a.dtype.kind == "c":
        real = elementwise.add(elementwise.real(kept), 0)
        flags = broadcast_to_mask(strict | strict.T, a)
        return elementwise.select(flags, kept, real.astype(a.dtype))  # type: ignore[no-any-return]
    return kept  # type: ignore[no-any-return]


def broadcast_to_mask(mask: np.ndarray, a: Array) -> Array:
    """A constant mask for each matrix of ``a``."""
    return shaping.broadcast_to(mask, a.shape)  # type: ignore[no-any-return]
