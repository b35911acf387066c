"""Rules for comparisons, bitwise logic, extrema and choice.

not(eq(x, y))            ->  ne(x, y)
select(True, x, y)       ->  x
max(max(x, 1), 3)        ->  max(x, 3)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tracejit.ir.build import full_like
from tracejit.ir.graph import Literal
from tracejit.ir.types import DTYPES, kind
from tracejit.ops.arith import max_, min_
from tracejit.ops.bits import shift_left, shift_right_arithmetic, shift_right_logical
from tracejit.ops.logic import (
    and_,
    clamp,
    eq,
    ge,
    gt,
    is_nan,
    le,
    lt,
    ne,
    not_,
    or_,
    select,
    xor,
)
from tracejit.ops.reduce import highest, lowest
from tracejit.passes.rule import Const, Hole, P, Rule
from tracejit.passes.rules_arith import scalar_of

x, y, z, c, d = Hole("x"), Hole("y"), Hole("z"), Hole("c"), Hole("d")
flag, flag_y = Hole("x", "b"), Hole("y", "b")
whole_x, whole_y = Hole("x", "biu"), Hole("y", "biu")
inexact_x = Hole("x", "fc")
a, b, n = Const("a"), Const("b"), Const("n")


def flags(x: Any, value: bool) -> Literal:
    """A bool Literal shaped as ``x``."""
    return full_like(x, value, DTYPES["bool"])


def has_all_bits(n: Literal) -> bool:
    return bool(np.invert(n.value) == 0)


def is_lowest(n: Literal, **_: Any) -> bool:
    return bool(n.value == lowest(n.type.dtype))


def is_highest(n: Literal, **_: Any) -> bool:
    return bool(n.value == highest(n.type.dtype))


def not_zero(a: Literal, b: Literal, **_: Any) -> bool:
    """Which zero max(0.0, -0.0) is depends on the order: such literals do not merge."""
    return kind(a.type.dtype) != "f" or bool(a.value != 0 and b.value != 0)


BITS = (
    Rule("not_not", find=P(not_, P(not_, x)), put=x),
    Rule("and_self", find=P(and_, x, x), put=x),
    Rule("or_self", find=P(or_, x, x), put=x),
    Rule("xor_self", find=P(xor, x, x), put=lambda x: full_like(x, 0)),
    Rule("and_zero", find=P(and_, x, 0), put=lambda x: full_like(x, 0)),
    Rule("or_zero", find=P(or_, x, 0), put=x),
    Rule("xor_zero", find=P(xor, x, 0), put=x),
    Rule("and_ones", find=P(and_, x, n), put=x, when=lambda x, n: has_all_bits(n)),
    Rule("or_ones", find=P(or_, x, n), put=n, when=lambda x, n: has_all_bits(n)),
    Rule("xor_ones", find=P(xor, x, n), put=P(not_, x), when=lambda x, n: has_all_bits(n)),
    Rule("and_not", find=P(and_, x, P(not_, x)), put=lambda x: full_like(x, 0)),
    Rule("or_not", find=P(or_, flag, P(not_, flag)), put=lambda x: flags(x, True)),
    Rule("and_and_self", find=P(and_, x, P(and_, x, y)), put=P(and_, x, y)),
    Rule("or_or_self", find=P(or_, x, P(or_, x, y)), put=P(or_, x, y)),
    Rule(
        "and_and_literal",
        find=P(and_, P(and_, x, a), b),
        put=lambda x, a, b: and_(x, scalar_of(np.bitwise_and, a, b)),
    ),
    Rule(
        "or_or_literal",
        find=P(or_, P(or_, x, a), b),
        put=lambda x, a, b: or_(x, scalar_of(np.bitwise_or, a, b)),
    ),
    Rule(
        "xor_xor_literal",
        find=P(xor, P(xor, x, a), b),
        put=lambda x, a, b: xor(x, scalar_of(np.bitwise_xor, a, b)),
    ),
    Rule("shift_left_zero", find=P(shift_left, x, 0), put=x),
    Rule("shift_right_logical_zero", find=P(shift_right_logical, x, 0), put=x),
    Rule("shift_right_arithmetic_zero", find=P(shift_right_arithmetic, x, 0), put=x),
)

#: the negations of < <= > >= hold for integers only: with nan both sides are false
COMPARISONS = (
    Rule("not_eq", find=P(not_, P(eq, x, y)), put=P(ne, x, y)),
    Rule("not_ne", find=P(not_, P(ne, x, y)), put=P(eq, x, y)),
    Rule("not_lt_integer", find=P(not_, P(lt, whole_x, whole_y)), put=P(ge, x, y)),
    Rule("not_le_integer", find=P(not_, P(le, whole_x, whole_y)), put=P(gt, x, y)),
    Rule("not_gt_integer", find=P(not_, P(gt, whole_x, whole_y)), put=P(le, x, y)),
    Rule("not_ge_integer", find=P(not_, P(ge, whole_x, whole_y)), put=P(lt, x, y)),
    Rule("eq_self_integer", find=P(eq, whole_x, whole_x), put=lambda x: flags(x, True)),
    Rule("ne_self_integer", find=P(ne, whole_x, whole_x), put=lambda x: flags(x, False)),
    Rule("ne_self", find=P(ne, inexact_x, inexact_x), put=P(is_nan, x)),
    Rule("le_self_integer", find=P(le, whole_x, whole_x), put=lambda x: flags(x, True)),
    Rule("ge_self_integer", find=P(ge, whole_x, whole_x), put=lambda x: flags(x, True)),
    Rule("lt_self", find=P(lt, x, x), put=lambda x: flags(x, False)),
    Rule("gt_self", find=P(gt, x, x), put=lambda x: flags(x, False)),
    Rule("lt_zero_unsigned", find=P(lt, Hole("x", "bu"), 0), put=lambda x: flags(x, False)),
    Rule("ge_zero_unsigned", find=P(ge, Hole("x", "bu"), 0), put=lambda x: flags(x, True)),
    Rule("eq_true", find=P(eq, flag, True), put=x),
    Rule("eq_false", find=P(eq, flag, False), put=P(not_, x)),
    Rule("ne_true", find=P(ne, flag, True), put=P(not_, x)),
    Rule("ne_false", find=P(ne, flag, False), put=x),
)

EXTREMA = (
    Rule("max_self", find=P(max_, x, x), put=x),
    Rule("min_self", find=P(min_, x, x), put=x),
    Rule("max_lowest", find=P(max_, x, n), put=x, when=is_lowest),
    Rule("min_highest", find=P(min_, x, n), put=x, when=is_highest),
    Rule("lowest_max", find=P(max_, n, x), put=x, when=is_lowest),
    Rule("highest_min", find=P(min_, n, x), put=x, when=is_highest),
    Rule("max_again", find=P(max_, P(max_, x, n), n), put=P(max_, x, n)),
    Rule("min_again", find=P(min_, P(min_, x, n), n), put=P(min_, x, n)),
    Rule(
        "max_max_literal",
        find=P(max_, P(max_, x, a), b),
        put=lambda x, a, b: max_(x, scalar_of(np.maximum, a, b)),
        when=not_zero,
    ),
    Rule(
        "min_min_literal",
        find=P(min_, P(min_, x, a), b),
        put=lambda x, a, b: min_(x, scalar_of(np.minimum, a, b)),
        when=not_zero,
    ),
    Rule("clamp_no_low", find=P(clamp, n, x, y), put=P(min_, x, y), when=is_lowest),
    Rule("clamp_no_high", find=P(clamp, y, x, n), put=P(max_, x, y), when=is_highest),
)

CHOICE = (
    Rule("select_true", find=P(select, True, x, y), put=x),
    Rule("select_false", find=P(select, False, x, y), put=y),
    Rule("select_same", find=P(select, c, x, x), put=x),
    Rule("select_not", find=P(select, P(not_, c), x, y), put=P(select, c, y, x)),
    Rule("select_true_false", find=P(select, c, True, False), put=c),
    Rule("select_false_true", find=P(select, c, False, True), put=P(not_, c)),
    Rule("select_or_false", find=P(select, c, flag, False), put=P(and_, c, x)),
    Rule("select_true_or", find=P(select, c, True, flag), put=P(or_, c, x)),
    Rule("select_select_true", find=P(select, c, P(select, c, x, y), z), put=P(select, c, x, z)),
    Rule("select_select_false", find=P(select, c, x, P(select, c, y, z)), put=P(select, c, x, z)),
)

RULES = (*BITS, *COMPARISONS, *EXTREMA, *CHOICE)
