"""Rules for sums, products, quotients, signs and powers.

    mul(mul(mul(t, 2), 2), 2)  ->  mul(t, 8)
    sub(x, neg(y))             ->  add(x, y)
    div(x, 4.0)                ->  mul(x, 0.25)

Why some familiar ones are missing: x + 0.0 turns -0.0 into 0.0, x * 0.0 and x - x may be nan, -(x
- y) and y - x differ in the sign of zero. ``FAST`` holds such rules; nothing uses them unless
asked to.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tracejit.ir.build import full_like
from tracejit.ir.graph import Literal
from tracejit.ir.types import kind
from tracejit.ops.arith import abs_, add, div, mul, neg, rem, sub
from tracejit.ops.bits import shift_right_logical
from tracejit.ops.logic import and_
from tracejit.ops.powers import integer_pow, pow_, sqrt, square
from tracejit.passes.rule import Const, Hole, P, Rule, case

x, y, t, p = Hole("x"), Hole("y"), Hole("t"), Hole("p")
whole_x, whole_y = Hole("x", "iu"), Hole("y", "iu")
signed_x, signed_y = Hole("x", "if"), Hole("y", "if")
float_x, float_y = Hole("x", "f"), Hole("y", "f")
#: multiplication of complex numbers by 1 is not exact: inf * 0 in the imaginary part
real_x = Hole("x", "biuf")
a, b, c = Const("a"), Const("b"), Const("c")


def scalar_of(function: Any, *literals: Literal) -> Literal:
    """A Literal computed from others by a NumPy function, in their dtype."""
    first = literals[0]
    with np.errstate(all="ignore"):
        value = function(*[n.value for n in literals])
    return Literal(np.asarray(value, first.type.dtype)[()], first.type)


def product_of(a: Literal, b: Literal) -> Literal:
    return scalar_of(np.multiply, a, b)


def negative(n: Literal) -> Literal:
    return scalar_of(np.negative, n)


def power_of_two(n: Literal) -> int | None:
    """k where the literal is 2**k or -2**k, a normal number; None for others."""
    if kind(n.type.dtype) not in "iuf" or n.value == 0 or not np.isfinite(n.value):
        return None
    fraction, exponent = np.frexp(np.float64(abs(float(n.value))))
    return int(exponent) - 1 if fraction == 0.5 else None


def products_merge(a: Literal, b: Literal, **_: Any) -> bool:
    """(t * a) * b = t * (a * b): integers wrap; for floats t * a must never round."""
    if kind(a.type.dtype) in "biu":
        return True
    if kind(a.type.dtype) != "f":
        return False
    k = power_of_two(a)
    merged = product_of(a, b).value
    return k is not None and k >= 0 and abs(float(b.value)) >= 1 and bool(np.isfinite(merged))


def exact_reciprocal(n: Literal) -> Literal | None:
    """1 / n where that is exact and a normal number; None elsewhere."""
    if power_of_two(n) is None:
        return None
    inverse = scalar_of(np.divide, full_like(n, 1), n)
    normal = abs(float(inverse.value)) >= smallest_normal(n)
    return inverse if normal and np.isfinite(inverse.value) else None


def smallest_normal(n: Literal) -> float:
    dtype = n.type.dtype
    # NumPy's finfo does not know bfloat16, which has the exponents of float32
    return float(np.finfo(dtype if dtype.kind == "f" else np.float32).tiny)


def shift_of(n: Literal) -> int | None:
    """k where an unsigned literal is 2**k, k > 0."""
    k = power_of_two(n) if n.type.dtype.itemsize < 8 else exact_log2(int(n.value))
    return k if k is not None and k > 0 else None


def exact_log2(value: int) -> int | None:
    return value.bit_length() - 1 if value > 0 and value & (value - 1) == 0 else None


def by_shift(x: Any, n: Literal) -> Any:
    k = shift_of(n)
    return None if k is None else shift_right_logical(x, k)


def by_mask(x: Any, n: Literal) -> Any:
    return None if shift_of(n) is None else and_(x, int(n.value) - 1)


def by_reciprocal(x: Any, n: Literal) -> Any:
    inverse = exact_reciprocal(n)
    return None if inverse is None else mul(x, inverse)


SUMS = (
    Rule("add_negative_zero", find=P(add, float_x, -0.0), put=x),
    Rule("add_zero_integer", find=P(add, Hole("x", "biu"), 0), put=x),
    Rule("sub_zero", find=P(sub, Hole("x", "iufc"), 0), put=x),
    Rule("sub_from_zero_integer", find=P(sub, 0, whole_x), put=P(neg, x)),
    Rule("sub_from_negative_zero", find=P(sub, -0.0, float_x), put=P(neg, x)),
    Rule("sub_self_integer", find=P(sub, whole_x, whole_x), put=lambda x: full_like(x, 0)),
    Rule("sub_neg", find=P(sub, x, P(neg, y)), put=P(add, x, y)),
    Rule("add_neg", find=P(add, x, P(neg, y)), put=P(sub, x, y)),
    Rule("neg_sub_integer", find=P(neg, P(sub, whole_x, whole_y)), put=P(sub, y, x)),
    Rule(
        "sub_literal_integer",
        find=P(sub, whole_x, Const("n", "iu")),
        put=lambda x, n: add(x, negative(n)),
    ),
    Rule(
        "add_add_integer",
        find=P(add, P(add, whole_x, a), b),
        put=lambda x, a, b: add(x, scalar_of(np.add, a, b)),
    ),
    Rule(
        "sub_literal_add_integer",
        find=P(sub, a, P(add, whole_x, b)),
        put=lambda x, a, b: sub(scalar_of(np.subtract, a, b), x),
    ),
)

PRODUCTS = (
    Rule("mul_one", find=P(mul, real_x, 1), put=x),
    Rule("mul_minus_one", find=P(mul, signed_x, -1), put=P(neg, x)),
    Rule("mul_zero_integer", find=P(mul, Hole("x", "biu"), 0), put=lambda x: full_like(x, 0)),
    Rule(
        "mul_mul",
        find=P(mul, P(mul, t, a), b),
        put=lambda t, a, b: mul(t, product_of(a, b)),
        when=products_merge,
    ),
    Rule("mul_self_bool", find=P(mul, Hole("x", "b"), Hole("x", "b")), put=x),
    Rule("add_self_bool", find=P(add, Hole("x", "b"), Hole("x", "b")), put=x),
    Rule("mul_neg_neg", find=P(mul, P(neg, signed_x), P(neg, signed_y)), put=P(mul, x, y)),
    Rule(
        "mul_neg_literal",
        find=P(mul, P(neg, signed_x), Const("n", "if")),
        put=lambda x, n: mul(x, negative(n)),
    ),
    Rule(
        "neg_mul_literal",
        find=P(neg, P(mul, signed_x, Const("n", "if"))),
        put=lambda x, n: mul(x, negative(n)),
    ),
)

QUOTIENTS = (
    Rule("div_one", find=P(div, Hole("x", "iuf"), 1), put=x),
    Rule("div_minus_one", find=P(div, signed_x, -1), put=P(neg, x)),
    Rule("div_neg_neg", find=P(div, P(neg, float_x), P(neg, float_y)), put=P(div, x, y)),
    Rule(
        "div_neg_literal",
        find=P(div, P(neg, float_x), Const("n", "f")),
        put=lambda x, n: div(x, negative(n)),
    ),
    Rule(
        "neg_div_literal",
        find=P(neg, P(div, float_x, Const("n", "f"))),
        put=lambda x, n: div(x, negative(n)),
    ),
    Rule(
        "literal_div_neg",
        find=P(div, Const("n", "f"), P(neg, float_x)),
        put=lambda x, n: div(negative(n), x),
    ),
    Rule("div_power_of_two", find=P(div, float_x, Const("n", "f")), put=by_reciprocal),
    Rule("div_to_shift", find=P(div, Hole("x", "u"), Const("n", "u")), put=by_shift),
    Rule("rem_to_mask", find=P(rem, Hole("x", "u"), Const("n", "u")), put=by_mask),
    Rule("rem_one", find=P(rem, whole_x, 1), put=lambda x: full_like(x, 0)),
)

SIGNS = (
    Rule("neg_neg", find=P(neg, P(neg, x)), put=x),
    Rule("abs_neg", find=P(abs_, P(neg, Hole("x", "ifc"))), put=P(abs_, x)),
    Rule("abs_abs", find=P(abs_, P(abs_, x)), put=P(abs_, x)),
    Rule("abs_unsigned", find=P(abs_, Hole("x", "u")), put=x),
    Rule("abs_square", find=P(abs_, P(mul, float_x, float_x)), put=P(mul, x, x)),
    Rule("square_neg", find=P(mul, P(neg, signed_x), P(neg, signed_x)), put=P(mul, x, x)),
    Rule("square_abs", find=P(mul, P(abs_, signed_x), P(abs_, signed_x)), put=P(mul, x, x)),
)

POWERS = (
    Rule("square", find=P(square, Hole("x", "iuf")), put=P(mul, x, x)),
    Rule("integer_pow_zero", find=P(integer_pow, x, y=0), put=lambda x: full_like(x, 1)),
    Rule("integer_pow_one", find=P(integer_pow, x, y=1), put=x),
    Rule("integer_pow_two", find=P(integer_pow, Hole("x", "iuf"), y=2), put=P(mul, x, x)),
    Rule(
        "integer_pow_minus_one",
        find=P(integer_pow, float_x, y=-1),
        put=lambda x: div(full_like(x, 1), x),
    ),
    Rule(
        "integer_pow_even_neg",
        find=P(integer_pow, P(neg, signed_x), y=p),
        put=P(integer_pow, x, y=p),
        when=lambda x, p: p % 2 == 0,
        cases=(
            case("f32[3,5]", lambda x: integer_pow(neg(x), y=4)),
            case("i32[3,5]", lambda x: integer_pow(neg(x), y=6)),
        ),
    ),
)

RULES = (*SIGNS, *SUMS, *PRODUCTS, *QUOTIENTS, *POWERS)

#: not exact: wrong for some of nan, inf, -0.0, or rounded otherwise
FAST = (
    Rule("fast_add_zero", find=P(add, x, 0.0), put=x, exact=False),
    Rule("fast_mul_zero", find=P(mul, float_x, 0), put=lambda x: full_like(x, 0), exact=False),
    Rule("fast_sub_self", find=P(sub, x, x), put=lambda x: full_like(x, 0), exact=False),
    Rule("fast_div_self", find=P(div, x, x), put=lambda x: full_like(x, 1), exact=False),
    Rule("fast_neg_sub", find=P(neg, P(sub, x, y)), put=P(sub, y, x), exact=False),
    Rule("fast_pow_two", find=P(pow_, float_x, 2), put=P(mul, x, x), exact=False),
    Rule("fast_pow_one", find=P(pow_, float_x, 1), put=x, exact=False),
    Rule("fast_pow_half", find=P(pow_, float_x, 0.5), put=P(sqrt, x), exact=False),
    Rule(
        "fast_mul_mul",
        find=P(mul, P(mul, float_x, a), b),
        put=lambda x, a, b: mul(x, product_of(a, b)),
        exact=False,
    ),
    Rule(
        "fast_div_literal",
        find=P(div, float_x, Const("n", "f")),
        put=lambda x, n: mul(x, scalar_of(np.divide, full_like(n, 1), n)),
        exact=False,
    ),
)
