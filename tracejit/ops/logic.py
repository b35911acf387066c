"""Comparisons, bitwise logic and choice between elements.

lt(x, y)                       -> bool[...]
select(lt(x, y), x, y)         -> elements of x where x < y, of y elsewhere
clamp(lo, x, hi)               -> x limited to [lo, hi]
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tracejit.errors import DTypeError
from tracejit.ir.build import full_like
from tracejit.ir.expr import Op
from tracejit.ir.prim import Primitive, Spell, is_linear
from tracejit.ir.types import DTYPES, TensorType, short
from tracejit.ops.family import BOOL, elementwise, same_dtype, same_shape


def _compare(name: str, function: Any, sign: str, kinds: str = "biuf") -> Primitive:
    return elementwise(
        name,
        function,
        arity=2,
        kinds=kinds,
        out=lambda dtype: BOOL,
        spell=Spell(c=f"({{0}} {sign} {{1}})", numba=f"({{0}} {sign} {{1}})"),
        doc=f"x {sign} y, element by element; comparisons with nan are false except ne.",
    )


eq = _compare("eq", np.equal, "==", "biufc")
ne = _compare("ne", np.not_equal, "!=", "biufc")
lt = _compare("lt", np.less, "<")
le = _compare("le", np.less_equal, "<=")
gt = _compare("gt", np.greater, ">")
ge = _compare("ge", np.greater_equal, ">=")


def _bitwise(name: str, function: Any, sign: str) -> Primitive:
    return elementwise(
        name,
        function,
        arity=2,
        kinds="biu",
        spell=Spell(c=f"({{0}} {sign} {{1}})", numba=f"({{0}} {sign} {{1}})"),
        doc=f"x {sign} y, bit by bit; logical for booleans.",
    )


and_ = _bitwise("and", np.bitwise_and, "&")
or_ = _bitwise("or", np.bitwise_or, "|")
xor = _bitwise("xor", np.bitwise_xor, "^")

not_ = elementwise(
    "not",
    np.invert,
    kinds="biu",
    spell=Spell(
        c={"b": "(!{0})", "iu": "(~{0})"},
        numba={"b": "(not {0})", "iu": "(~{0})"},
    ),
    doc="Every bit flipped; logical not for booleans.",
)

is_finite = elementwise(
    "is_finite",
    np.isfinite,
    kinds="fc",
    out=lambda dtype: BOOL,
    spell=Spell(
        c={"f": "isfinite({0})"}, numba={"f": "math.isfinite({0})", "c": "np.isfinite({0})"}
    ),
    doc="True where x is neither infinite nor nan.",
)

is_nan = elementwise(
    "is_nan",
    np.isnan,
    kinds="fc",
    out=lambda dtype: BOOL,
    spell=Spell(c={"f": "isnan({0})"}, numba={"f": "math.isnan({0})", "c": "np.isnan({0})"}),
    doc="True where x is nan.",
)


# ---- choice --------------------------------------------------------------------------------------


def _infer_select(cond: TensorType, on_true: TensorType, on_false: TensorType) -> TensorType:
    if cond.dtype != BOOL:
        raise DTypeError(f"select: the condition must be bool, not {short(cond.dtype)}")
    same_shape("select", (cond, on_true, on_false))
    same_dtype("select", (on_true, on_false), "biufc")
    return on_true


def _jvp_select(dxs: Any, ys: Any, xs: Any) -> Any:
    _, on_true, on_false = (
        full_like(x, 0) if dx is None else dx for dx, x in zip(dxs, xs, strict=True)
    )
    return (select(xs[0], on_true, on_false),)


def _transpose_select(cts: Any, xs: Any) -> Any:
    """The branch not taken gets an exact zero, whatever the cotangent is."""
    (ct,), cond = cts, xs[0]
    zero = full_like(ct, 0)
    return (
        None,
        select(cond, ct, zero) if is_linear(xs[1]) else None,
        select(cond, zero, ct) if is_linear(xs[2]) else None,
    )


def _cases_select() -> list[Any]:
    return [
        (
            (
                TensorType(BOOL, shape),
                TensorType(DTYPES[name], shape),
                TensorType(DTYPES[name], shape),
            ),
            {},
        )
        for name in ("f32", "i32", "bool", "c64")
        for shape in ((3, 5), (), (0,), (37,))
    ]


select = elementwise(
    "select",
    np.where,
    arity=3,
    infer=_infer_select,
    rule=_jvp_select,
    transpose=_transpose_select,
    spell=Spell(c="({0} ? {1} : {2})", numba="({1} if {0} else {2})"),
    cases=_cases_select,
    doc="on_true where cond holds, on_false elsewhere.",
)


def _scalar_clamp(lo: Any, x: Any, hi: Any) -> Any:
    return Op("min", (Op("max", (x, lo), x.dtype), hi), x.dtype)


clamp = elementwise(
    "clamp",
    lambda lo, x, hi: np.minimum(np.maximum(x, lo), hi),
    arity=3,
    kinds="biuf",
    # as in JAX: on a bound itself every derivative is 0
    jvp=(
        lambda d, y, lo, x, hi: select(and_(gt(lo, x), lt(lo, hi)), d, full_like(d, 0)),
        lambda d, y, lo, x, hi: select(and_(gt(x, lo), lt(x, hi)), d, full_like(d, 0)),
        lambda d, y, lo, x, hi: select(lt(hi, x), d, full_like(d, 0)),
    ),
    scalar=_scalar_clamp,
    domain=((-2.0, -0.5), (-3.0, 3.0), (0.5, 2.0)),
    doc="min(max(x, lo), hi): x limited to [lo, hi]; nan where any operand is.",
)
