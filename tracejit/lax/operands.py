"""What the functions of ``lax`` take: operands of one dtype and one shape, without promotion.

    operands("add", x, 2)     -> x and a 2 in its dtype, filled to its shape

Python scalars adopt the dtype of the others where that loses nothing (an int among floats, not a
float among ints). Scalars fill; axes of size 1 stretch between arrays of equal rank. All else is an
error: ``tracejit.numpy`` promotes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tracejit.errors import DTypeError, ShapeError
from tracejit.frontend import promotion
from tracejit.frontend.array import Array, apply, as_array
from tracejit.ir.prim import Primitive
from tracejit.ir.types import DTYPES, short
from tracejit.source import here

Function = Callable[..., Any]
BOOL = DTYPES["bool"]


def same_dtypes(name: str, *xs: Any) -> list[Array]:
    """Arrays of one dtype; DTypeError when two differ that are not Python scalars."""
    arrays = [as_array(x) for x in xs]
    strong = [a.dtype for a in arrays if not a._weak]
    if not strong:
        return promotion.promoted(name, *arrays)
    dtype = strong[0]
    found = []
    for a in arrays:
        fits = promotion.weak_dtype(dtype, a.dtype) == dtype if a._weak else a.dtype == dtype
        if not fits:
            other = next(s for s in (*(b.dtype for b in arrays),) if s != dtype)
            raise DTypeError(
                f"lax.{name}: dtypes differ: {short(dtype)} and {short(other)}",
                at=here(),
                notes=promotion.operand_notes(arrays),
                hint="convert one with .astype, or use the function of tracejit.numpy, "
                "which promotes",
            )
        found.append(promotion.convert(a, dtype))
    return found


def operands(name: str, *xs: Any) -> list[Array]:
    """Arrays of one dtype and one shape."""
    arrays = same_dtypes(name, *xs)
    return fill_out(name, arrays)


def fill_out(name: str, arrays: list[Array]) -> list[Array]:
    """Arrays brought to one shape: scalars fill, axes of size 1 stretch; ranks must otherwise
    agree.
    """
    ranks = {a.ndim for a in arrays if a.ndim}
    if len(ranks) > 1:
        shapes = " and ".join(str(a.shape) for a in arrays)
        raise ShapeError(
            f"lax.{name}: operands differ in rank: {shapes}",
            at=here(),
            notes=promotion.operand_notes(arrays),
            hint="expand one with lax.broadcast_in_dim, or use the function of tracejit.numpy, "
            "which broadcasts",
        )
    shape = promotion.broadcast_shapes(f"lax.{name}", arrays)
    return [promotion.broadcast_to(a, shape) for a in arrays]


def run(prim: Primitive, *arrays: Array, **params: Any) -> Any:
    """``prim`` on prepared operands; the result is weak where all of them are."""
    found = apply(prim, *arrays, **params)
    found._weak = all(a._weak for a in arrays) and found.dtype != BOOL
    return found


def canonical_or(dtype: Any, default: np.dtype | None) -> np.dtype | None:
    """A dtype argument as an np.dtype, ``default`` for None."""
    return default if dtype is None else promotion.canonical(dtype)


def ints(values: Any) -> tuple[int, ...]:
    """A sequence of static integers as a tuple of Python ints."""
    return tuple(int(v) for v in values)


def check_precision(name: str, precision: Any) -> None:
    """``precision`` is accepted: products are always computed in full precision."""
    given = precision if isinstance(precision, tuple | list) else (precision,)
    legal = ("default", "fastest", "bfloat16", "tensorfloat32", "float32", "high", "highest")
    for p in given:
        if p is not None and str(getattr(p, "name", p)).lower() not in legal:
            raise DTypeError(
                f"{name}: {p!r} is not a precision",
                at=here(),
                hint="use lax.Precision.HIGHEST or None",
            )
