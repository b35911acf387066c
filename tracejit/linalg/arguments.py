"""Operands of NumPy's functions of linear algebra: promoted, broadcast, and checked.

matrices("inv", [[1, 2], [3, 4]])          -> Array of the default float, [2, 2]
square("inv", a)                           -> the same; ShapeError unless square
"""

from __future__ import annotations

from typing import Any

from tracejit.errors import ArgumentError, DTypeError, ShapeError
from tracejit.frontend import elementwise
from tracejit.frontend.promotion import operand_notes
from tracejit.ops.linalg_parts import DOUBLE_KINDS
from tracejit.source import here


def floats(name: str, *xs: Any) -> list[Any]:
    """Operands in one floating dtype that LAPACK has; shapes as they are."""
    found = [elementwise.float_operands(name, x)[0] for x in xs]
    if len(found) > 1:
        dtype = elementwise.promotion.dtype_of(found)[0]
        found = [elementwise.promotion.convert(x, dtype) for x in found]
    for x in found:
        if x.dtype not in DOUBLE_KINDS:
            raise DTypeError(
                f"{name}: LAPACK has no {x.dtype}",
                at=here(),
                notes=operand_notes(found),
                hint="convert it to float32 first with .astype",
            )
    return found


def matrices(name: str, a: Any) -> Any:
    """A stack of matrices in a floating dtype; ShapeError for fewer than two axes."""
    (found,) = floats(name, a)
    if found.ndim < 2:
        raise ShapeError(
            f"{name}: takes a matrix or a stack of them, not {found.type}",
            at=here(),
            notes=operand_notes([found]),
        )
    return found


def square(name: str, a: Any) -> Any:
    """The same, square."""
    found = matrices(name, a)
    if found.shape[-1] != found.shape[-2]:
        raise ShapeError(
            f"{name}: takes square matrices, not {found.type}",
            at=here(),
            notes=operand_notes([found]),
        )
    return found


def one_of(name: str, what: str, given: Any, allowed: tuple[Any, ...]) -> None:
    """ArgumentError unless ``given`` is one of ``allowed``."""
    if not any(given == each for each in allowed):
        wanted = ", ".join(map(repr, allowed))
        raise ArgumentError(f"{name}: {what} is one of {wanted}, not {given!r}", at=here())
