"""Shifts and counts of bits. ``and or xor not`` are in logic.py.

shift_left(x: u32[3], n: u32[3])  -> u32[3]     0 where n >= 32
population_count(x)               -> ones among the bits, in the dtype of x
clz(x)                            -> zeros above the highest one
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tracejit.ir.prim import Spell
from tracejit.ops.family import elementwise


def unsigned(x: Any) -> Any:
    """The same bits as an unsigned integer of the same width."""
    return np.asarray(x).astype(np.dtype(f"u{x.dtype.itemsize}"), copy=False)


def _amount(x: Any, n: Any) -> tuple[Any, Any]:
    """Where n, read as unsigned, is less than the width; and n with 0 elsewhere."""
    n = unsigned(n)
    fits = n < 8 * x.dtype.itemsize
    return fits, np.where(fits, n, np.zeros_like(n))


def _numpy_left(x: Any, n: Any) -> Any:
    fits, amount = _amount(x, n)
    return np.where(fits, np.left_shift(unsigned(x), amount), np.zeros_like(amount))


def _numpy_logical(x: Any, n: Any) -> Any:
    fits, amount = _amount(x, n)
    return np.where(fits, np.right_shift(unsigned(x), amount), np.zeros_like(amount))


def _numpy_arithmetic(x: Any, n: Any) -> Any:
    width = 8 * x.dtype.itemsize
    signed = np.asarray(x).astype(np.dtype(f"i{x.dtype.itemsize}"), copy=False)
    fits, amount = _amount(x, n)
    return np.right_shift(signed, np.where(fits, amount, width - 1).astype(signed.dtype))


SHIFTS = ((-300.0, 300.0), (-2.0, 40.0))

shift_left = elementwise(
    "shift_left",
    _numpy_left,
    arity=2,
    kinds="iu",
    spell=Spell(c={"u": "({1} < 8 * sizeof({0}) ? {0} << {1} : 0)"}),
    domain=SHIFTS,
    doc="x * 2**n, wrapping; 0 where n, read as unsigned, is not below the width.",
)

shift_right_logical = elementwise(
    "shift_right_logical",
    _numpy_logical,
    arity=2,
    kinds="iu",
    spell=Spell(c={"u": "({1} < 8 * sizeof({0}) ? {0} >> {1} : 0)"}),
    domain=SHIFTS,
    doc="The bits of x moved down, zeros from above; 0 where n is not below the width.",
)

shift_right_arithmetic = elementwise(
    "shift_right_arithmetic",
    _numpy_arithmetic,
    arity=2,
    kinds="iu",
    domain=SHIFTS,
    doc="The bits of x moved down, copies of the top bit from above; all copies from the width on.",
)

population_count = elementwise(
    "population_count",
    lambda x: np.bitwise_count(unsigned(x)),
    kinds="iu",
    spell=Spell(c={"u": "__popcll({0})"}),
    domain=(-300.0, 300.0),
    doc="How many bits are one.",
)


def _numpy_clz(x: Any) -> Any:
    x = unsigned(x)
    width = 8 * x.dtype.itemsize
    zeros = np.full(np.shape(x), width, x.dtype)
    step = width // 2
    while step:
        high = np.right_shift(x, x.dtype.type(step))
        zeros = np.where(high != 0, zeros - x.dtype.type(step), zeros)
        x = np.where(high != 0, high, x)
        step //= 2
    return zeros - x


clz = elementwise(
    "clz",
    _numpy_clz,
    kinds="iu",
    domain=(-300.0, 300.0),
    doc="How many zero bits stand above the highest one; the width for 0.",
)
