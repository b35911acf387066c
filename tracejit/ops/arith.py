"""Arithmetic on elements: sums, products, quotients, extrema, rounding. Powers: powers.py.

mul(x: f32[3], y: f32[3])  -> f32[3]
mul(x, 2.0)                -> the scalar becomes a Literal of x's type
div(i: i32[3], j: i32[3])  -> i32[3], truncated toward zero
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tracejit.ir.build import full_like
from tracejit.ir.prim import Primitive, Spell, is_linear
from tracejit.ir.types import kind, real_dtype
from tracejit.ops.family import ADD, elementwise
from tracejit.ops.logic import eq, gt, lt, select
from tracejit.ops.parts import complex_, conj, real

add = ADD


def _product(cts: Any, xs: Any) -> Any:
    """Transpose of a product: it is linear in one operand at a time."""
    x, y = xs
    return (mul(cts[0], y) if is_linear(x) else None, mul(cts[0], x) if is_linear(y) else None)


sub = elementwise(
    "sub",
    np.subtract,
    arity=2,
    kinds="iufc",
    jvp="linear",
    transpose=lambda cts, xs: (
        cts[0] if is_linear(xs[0]) else None,
        neg(cts[0]) if is_linear(xs[1]) else None,
    ),
    spell=Spell(
        c="({0} - {1})",
        numba="({0} - {1})",
        llvm={"f": "fsub {t} {0}, {1}", "iu": "sub {t} {0}, {1}"},
    ),
    doc="x - y; integers wrap.",
)

mul = elementwise(
    "mul",
    np.multiply,
    arity=2,
    jvp=(lambda dx, z, x, y: mul(dx, y), lambda dy, z, x, y: mul(x, dy)),
    transpose=_product,
    spell=Spell(
        c={"iufc": "({0} * {1})", "b": "({0} && {1})"},
        numba={"iufc": "({0} * {1})", "b": "({0} and {1})"},
        llvm={"f": "fmul {t} {0}, {1}", "iu": "mul {t} {0}, {1}", "b": "and {t} {0}, {1}"},
    ),
    doc="x * y; integers wrap, booleans and.",
)

neg = elementwise(
    "neg",
    np.negative,
    kinds="iufc",
    jvp="linear",
    transpose=lambda cts, xs: (neg(cts[0]),),
    spell=Spell(
        c="(-{0})", numba="(-{0})", llvm={"f": "fneg {t} {0}", "iu": "sub {t} zeroinitializer, {0}"}
    ),
    doc="-x; integers wrap.",
)


def _numpy_div(x: Any, y: Any) -> Any:
    """True division; integers truncate toward zero, x / 0 = 0, and the lowest value / -1 wraps."""
    if kind(x.dtype) in "fc":
        return np.divide(x, y)
    safe = np.where(y == 0, np.ones_like(y), y)
    quotient = np.floor_divide(x, safe)
    inexact = (np.remainder(x, safe) != 0) & ((x < 0) != (safe < 0))
    return np.where(y == 0, np.zeros_like(x), quotient + inexact.astype(x.dtype))


div = elementwise(
    "div",
    _numpy_div,
    arity=2,
    kinds="iufc",
    jvp=(lambda dx, z, x, y: div(dx, y), lambda dy, z, x, y: mul(dy, neg(div(z, y)))),
    transpose=lambda cts, xs: (div(cts[0], xs[1]), None),
    domain=((-3.0, 3.0), (0.5, 3.0)),
    spell=Spell(
        c={"fc": "({0} / {1})"}, numba={"fc": "({0} / {1})"}, llvm={"f": "fdiv {t} {0}, {1}"}
    ),
    doc="x / y; integers truncate like C, x / 0 = 0.",
)


def _rem_dy(dy: Any, z: Any, x: Any, y: Any) -> Any:
    return mul(dy, neg(trunc(div(x, y))))


rem = elementwise(
    "rem",
    np.fmod,  # of integers it is 0 where y is
    arity=2,
    kinds="iuf",
    jvp=(lambda dx, z, x, y: dx, _rem_dy),
    domain=((-3.0, 3.0), (0.5, 3.0)),
    spell=Spell(c={"f": "fmod({0}, {1})"}, numba={"f": "np.fmod({0}, {1})"}),
    doc="Remainder with the sign of x (C's fmod and %); integer x rem 0 = 0.",
)


def _extremum(name: str, function: Any, prefers: Any, sign: str, spell: Spell) -> Any:
    """max and min: where the operands are equal each gets half of the tangent, as in JAX."""

    def share(d: Any, mine: Any, other: Any) -> Any:
        # choosing, not multiplying by 0, keeps nan and inf tangents of the loser out
        tie = select(eq(mine, other), mul(d, 0.5), full_like(d, 0))
        return select(prefers(mine, other), d, tie)

    return elementwise(
        name,
        function,
        arity=2,
        jvp=(lambda dx, z, x, y: share(dx, x, y), lambda dy, z, x, y: share(dy, y, x)),
        kinds="biuf",
        spell=spell,
        doc=f"The {sign} of x and y; nan if either is.",
    )


max_ = _extremum(
    "max",
    np.maximum,
    gt,
    "larger",
    Spell(
        c={"f": "({0} > {1} || {0} != {0} ? {0} : {1})", "biu": "({0} > {1} ? {0} : {1})"},
        numba={"f": "np.maximum({0}, {1})", "iu": "max({0}, {1})", "b": "({0} or {1})"},
    ),
)
min_ = _extremum(
    "min",
    np.minimum,
    lt,
    "smaller",
    Spell(
        c={"f": "({0} < {1} || {0} != {0} ? {0} : {1})", "biu": "({0} < {1} ? {0} : {1})"},
        numba={"f": "np.minimum({0}, {1})", "iu": "min({0}, {1})", "b": "({0} and {1})"},
    ),
)


sign = elementwise(
    "sign",
    np.sign,
    kinds="iufc",
    jvp=lambda dx, y, x: _sign_dx(dx, y, x),
    spell=Spell(numba={"iuf": "np.sign({0})"}),
    doc="-1, 0 or 1; nan for nan; x / |x| for complex.",
)


def _sign_dx(dx: Any, y: Any, x: Any) -> Any:
    if kind(x.type.dtype) != "c":
        return None
    # d(x/|x|) = (dx - y Re(conj(y) dx)) / |x|
    along = to_complex(real(mul(conj(y), dx)))
    return div(sub(dx, mul(y, along)), to_complex(abs_(x)))


def _abs_dx(dx: Any, y: Any, x: Any) -> Any:
    if kind(x.type.dtype) == "c":
        return real(mul(dx, conj(sign(x))))
    return mul(dx, sign(x))


def to_complex(x: Any) -> Any:
    """A real Value as a complex one with zero imaginary part."""
    return complex_(x, full_like(x, 0))


abs_ = elementwise(
    "abs",
    np.absolute,
    kinds="iufc",
    out=real_dtype,
    jvp=_abs_dx,
    spell=Spell(c={"f": "fabs({0})", "c": "abs({0})", "u": "{0}"}, numba="abs({0})"),
    doc="Absolute value; the modulus of a complex number. The derivative at 0 is 0.",
)


# ---- rounding ------------------------------------------------------------------------------------


def _rounding(name: str, function: Any, doc: str) -> Primitive:
    called = function.__name__
    return elementwise(
        name,
        function,
        kinds="f",
        jvp=(None,),
        spell=Spell(c=f"{called}({{0}})", numba=f"np.{called}({{0}})"),
        doc=doc,
    )


floor = _rounding("floor", np.floor, "The largest integer not above x.")
ceil = _rounding("ceil", np.ceil, "The smallest integer not below x.")
round_ = _rounding("round", np.rint, "The nearest integer; halves go to the even one.")
trunc = _rounding("trunc", np.trunc, "x without its fraction.")

nextafter = elementwise(
    "nextafter",
    np.nextafter,
    arity=2,
    kinds="f",
    jvp=(lambda dx, z, x, y: dx, None),
    spell=Spell(c="nextafter({0}, {1})", numba="np.nextafter({0}, {1})"),
    doc="The representable number after x in the direction of y.",
)

copysign = elementwise(
    "copysign",
    np.copysign,
    arity=2,
    kinds="f",
    jvp=(lambda dx, z, x, y: mul(dx, mul(sign(x), copysign(full_like(x, 1), y))), None),
    spell=Spell(c="copysign({0}, {1})", numba="math.copysign({0}, {1})"),
    doc="The magnitude of x with the sign of y.",
)
