"""Arguments of the functions on matrices, checked.

a = square("expm", a)                 a floating Array (..., n, n), else ShapeError
one_of("schur", "output", "real", "real", "complex")
"""

from __future__ import annotations

from typing import Any

from tracejit.errors import ArgumentError, ShapeError
from tracejit.frontend.array import Array
from tracejit.frontend.promotion import promoted, to_inexact
from tracejit.source import here


def matrix(name: str, a: Any) -> Array:
    """``a`` as a floating or complex Array of at least two axes."""
    found = to_inexact(a)
    if found.ndim < 2:
        raise ShapeError(
            f"{name}: takes a matrix or a stack of them, not {found.type}", at=here()
        )
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
