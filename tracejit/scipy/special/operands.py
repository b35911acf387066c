"""Operands of special functions: real, in one floating dtype, of one shape.

>>> [x.dtype.name for x in reals("beta", 1, jnp.ones(3))]
['float32', 'float32']
"""

from __future__ import annotations

from typing import Any

from tracejit.errors import ArgumentError, DTypeError
from tracejit.frontend import elementwise as ew
from tracejit.frontend import promotion
from tracejit.frontend.array import Array
from tracejit.ir.prim import Primitive
from tracejit.ir.types import kind
from tracejit.source import here


def reals(name: str, *xs: Any) -> list[Array]:
    """``xs`` as Arrays of one shape and one real floating dtype: the default one for integers.

    Raises DTypeError for complex numbers, ShapeError for shapes that do not broadcast.
    """
    found: list[Array] = ew.float_operands(name, *xs)
    check_real(name, found[0])
    return found


def check_real(name: str, x: Array) -> None:
    """DTypeError unless ``x`` is of a real floating dtype."""
    if kind(x.dtype) != "f":
        raise DTypeError(f"{name}: takes real numbers, not {x.dtype}", at=here())


def apart(name: str, *xs: Any) -> list[Array]:
    """Like ``reals``, but each in its own shape: scalars among them stay scalars."""
    found = promoted(name, *xs)
    promotion.broadcast_shapes(name, found)
    return found


def promoted(name: str, *xs: Any) -> list[Array]:
    """Like ``reals``, of any shapes."""
    dtype, weak = promotion.dtype_of([promotion.operand(x) for x in xs])
    found = promotion.promoted(name, *xs, to=promotion.inexact(dtype), weak=weak)
    check_real(name, found[0])
    return found


def special(prim: Primitive, name: str, *xs: Any) -> Array:
    """A record applied to a user's operands."""
    return ew.run(prim, *reals(name, *xs))  # type: ignore[no-any-return]


def whole(name: str, what: str, value: Any, least: int = 0) -> int:
    """A static whole number of at least ``least``; ArgumentError for anything else."""
    if isinstance(value, Array):
        value = value.concrete(f"{name}() with `{what}` that is traced")
    try:
        number = int(value)
        exact = bool(number == value)
    except (TypeError, ValueError, OverflowError):
        exact, number = False, 0
    if not exact or number < least:
        raise ArgumentError(
            f"{name}: `{what}` is a whole number of at least {least}, not {value!r}", at=here()
        )
    return number
