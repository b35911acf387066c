"""Elementary functions: exponentials, logarithms, trigonometric and hyperbolic functions.

exp(x: f32[3])       -> f32[3]
atan2(y, x)          -> the angle of the point (x, y)
logistic(x)          -> 1 / (1 + exp(-x))
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tracejit.ir.build import full_like
from tracejit.ir.expr import Const, Expr, Op
from tracejit.ir.prim import Primitive, Spell
from tracejit.ir.types import kind
from tracejit.ops import powers
from tracejit.ops.arith import add, div, mul, neg, sub
from tracejit.ops.family import elementwise, in_float32

LN2 = math.log(2.0)
LN10 = math.log(10.0)


def _function(
    name: str,
    function: Any,
    jvp: Any,
    *,
    c: str | None = None,
    numba: str | Mapping[str, str] | None = None,
    **fields: Any,
) -> Primitive:
    """A heavy function of one floating or complex operand; ``c``: its name in C if another."""
    called = function.__name__
    return elementwise(
        name,
        function,
        kinds=fields.pop("kinds", "fc"),
        jvp=jvp,
        spell=Spell(
            c=f"{c or name}({{0}})",
            numba=numba or {"f": f"math.{name}({{0}})", "c": f"np.{called}({{0}})"},
        ),
        heavy=True,
        **fields,
    )


# ---- exponentials and logarithms -----------------------------------------------------------------

exp = _function("exp", np.exp, lambda dx, y, x: mul(dx, y), doc="e to the power x.")
exp2 = _function(
    "exp2",
    np.exp2,
    lambda dx, y, x: mul(dx, mul(y, LN2)),
    numba="np.exp2({0})",
    doc="2 to the power x.",
)


def _numpy_expm1(x: Any) -> Any:
    """np.expm1; infinite and undefined complex numbers are those of exp, less 1. NumPy's own are
    products of them with sines: nan for inf+0j, where the array API standard has inf+0j.
    """
    found = np.expm1(x)
    if x.dtype.kind != "c":
        return found
    plain = np.array(np.exp(x))
    plain.real -= 1
    found = np.where(np.isfinite(found), found, plain)
    found.real += 0  # of -0+0j it is +0
    return found


expm1 = _function(
    "expm1",
    _numpy_expm1,
    lambda dx, y, x: mul(dx, add(y, 1)),
    numba={"f": "math.expm1({0})", "c": "complex_expm1({0})"},
    doc="exp(x) - 1, precise near 0.",
)
log = _function(
    "log", np.log, lambda dx, y, x: div(dx, x), domain=(0.1, 4.0), doc="The natural logarithm."
)
log2 = _function(
    "log2",
    np.log2,
    lambda dx, y, x: div(dx, mul(x, LN2)),
    numba="np.log2({0})",
    domain=(0.1, 4.0),
    doc="The logarithm to base 2.",
)
log10 = _function(
    "log10",
    np.log10,
    lambda dx, y, x: div(dx, mul(x, LN10)),
    domain=(0.1, 4.0),
    doc="The logarithm to base 10.",
)
log1p = _function(
    "log1p",
    np.log1p,
    lambda dx, y, x: div(dx, add(x, 1)),
    domain=(-0.9, 3.0),
    doc="log(1 + x), precise near 0.",
)


def _numpy_logistic(x: Any) -> Any:
    if x.dtype.kind == "c":
        return 1 / (1 + np.exp(-x))
    small = np.exp(-np.abs(x))  # never overflows
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small))


def _scalar_logistic(x: Expr) -> Expr:
    if x.dtype[0] != "c":  # a function of its own: 1 / (1 + exp(-x)) loses up to 3 ulp on the left
        return Op("logistic", (x,), x.dtype)
    one = Const(1.0, x.dtype)
    denominator = Op("add", (one, Op("exp", (Op("neg", (x,), x.dtype),), x.dtype)), x.dtype)
    return Op("div", (one, denominator), x.dtype)


logistic = elementwise(
    "logistic",
    in_float32(_numpy_logistic),
    kinds="fc",
    jvp=lambda dx, y, x: mul(dx, mul(y, sub(1, y))),
    scalar=_scalar_logistic,
    heavy=True,
    doc="1 / (1 + exp(-x)).",
)


# ---- trigonometric -------------------------------------------------------------------------------

sin = _function("sin", np.sin, lambda dx, y, x: mul(dx, cos(x)), doc="The sine.")
cos = _function("cos", np.cos, lambda dx, y, x: mul(dx, neg(sin(x))), doc="The cosine.")


def _numpy_tan(x: Any) -> Any:
    """np.tan; where the imaginary part is infinite, the real one is a zero with the sign that it
    had: -1j tanh(1j x).
    """
    found = np.tan(x)
    if x.dtype.kind == "c":
        found = np.array(found)
        found.real = np.where(np.isinf(x.imag), np.copysign(0, x.real), found.real)
    return found


tan = _function(
    "tan",
    _numpy_tan,
    lambda dx, y, x: mul(dx, add(mul(y, y), 1)),
    numba={"f": "math.tan({0})", "c": "complex_tan({0})"},
    domain=(-1.2, 1.2),
    doc="The tangent.",
)


def _circle(x: Any) -> Any:
    """1 / sqrt(1 - x * x), the slope of asin."""
    return powers.rsqrt(sub(1, mul(x, x)))


asin = _function(
    "asin",
    np.arcsin,
    lambda dx, y, x: mul(dx, _circle(x)),
    domain=(-0.95, 0.95),
    doc="The inverse sine.",
)
acos = _function(
    "acos",
    np.arccos,
    lambda dx, y, x: mul(dx, neg(_circle(x))),
    domain=(-0.95, 0.95),
    doc="The inverse cosine.",
)
atan = _function(
    "atan", np.arctan, lambda dx, y, x: div(dx, add(mul(x, x), 1)), doc="The inverse tangent."
)


def _over_square(part: Any, y: Any, x: Any) -> Any:
    return div(part, add(mul(x, x), mul(y, y)))


atan2 = elementwise(
    "atan2",
    np.arctan2,
    arity=2,
    kinds="f",
    jvp=(
        lambda dy, z, y, x: mul(dy, _over_square(x, y, x)),
        lambda dx, z, y, x: mul(dx, _over_square(neg(y), y, x)),
    ),
    spell=Spell(c="atan2({0}, {1})", numba="math.atan2({0}, {1})"),
    heavy=True,
    doc="The angle of the point whose coordinates are operand 2 and operand 1.",
)


# ---- hyperbolic ----------------------------------------------------------------------------------

sinh = _function("sinh", np.sinh, lambda dx, y, x: mul(dx, cosh(x)), doc="The hyperbolic sine.")
cosh = _function("cosh", np.cosh, lambda dx, y, x: mul(dx, sinh(x)), doc="The hyperbolic cosine.")


def _numpy_tanh(x: Any) -> Any:
    """np.tanh; where the real part is infinite, the imaginary one is a zero with the sign that it
    had, as the array API standard has it (in C it is that of its sine).
    """
    found = np.tanh(x)
    if x.dtype.kind == "c":
        found = np.array(found)
        found.imag = np.where(np.isinf(x.real), np.copysign(0, x.imag), found.imag)
    return found


tanh = _function(
    "tanh",
    _numpy_tanh,
    lambda dx, y, x: mul(dx, sub(1, mul(y, y))),
    numba={"f": "math.tanh({0})", "c": "complex_tanh({0})"},
    doc="The hyperbolic tangent.",
)
asinh = _function(
    "asinh",
    np.arcsinh,
    lambda dx, y, x: mul(dx, powers.rsqrt(add(mul(x, x), 1))),
    doc="The inverse hyperbolic sine.",
)


def _acosh_dx(dx: Any, y: Any, x: Any) -> Any:
    below, above = sub(x, 1), add(x, 1)
    if kind(x.type.dtype) == "c":
        # one root of the product would leave the principal branch in the left half plane
        return mul(dx, mul(powers.rsqrt(below), powers.rsqrt(above)))
    return mul(dx, powers.rsqrt(mul(below, above)))


acosh = _function(
    "acosh", np.arccosh, _acosh_dx, domain=(1.1, 4.0), doc="The inverse hyperbolic cosine."
)
atanh = _function(
    "atanh",
    np.arctanh,
    lambda dx, y, x: div(dx, sub(full_like(x, 1), mul(x, x))),
    domain=(-0.95, 0.95),
    doc="The inverse hyperbolic tangent.",
)
