"""Conversions between dtypes, parts of complex numbers, identities that transforms respect.

convert(x: f32[3], dtype=i32)  -> i32[3]     truncates, saturates, nan becomes 0
complex_(re: f32[3], im)       -> c64[3]
stop_gradient(x)               -> x, a constant for derivatives
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tracejit.errors import DTypeError
from tracejit.ir.prim import Primitive, Spell, is_linear
from tracejit.ir.types import DTYPES, TensorType, complex_dtype, is_inexact, kind, real_dtype, short
from tracejit.ops import arith
from tracejit.ops.family import elementwise, quiet, same_dtype, same_shape


@quiet
def _numpy_convert(x: Any, *, dtype: np.dtype) -> Any:
    if dtype == np.bool_:
        return np.asarray(x != 0).astype(np.bool_, copy=False)
    if x.dtype.kind == "c" and dtype.kind != "c":
        x = x.real
    if kind(x.dtype) == "f" and kind(dtype) in "iu":
        return _saturated(np.asarray(x, np.float64), dtype)
    return np.asarray(x).astype(dtype)


def _saturated(x: Any, dtype: np.dtype) -> Any:
    """float64 to an integer dtype: toward zero, the ends beyond them, 0 for nan."""
    info = np.iinfo(dtype)
    whole = np.trunc(x)
    # float(info.max) rounds up to 2**63 for 64 bits: everything from there on saturates
    over, under = whole >= float(info.max), whole <= float(info.min)
    inside = np.where(over | under | np.isnan(whole), 0.0, whole).astype(dtype)
    ends = np.where(over, dtype.type(info.max), np.where(under, dtype.type(info.min), inside))
    return np.asarray(ends, dtype)


def _cases_convert() -> list[Any]:
    pairs = [
        ("f32", "i32"),
        ("f32", "u8"),
        ("f64", "i64"),
        ("i32", "f32"),
        ("f32", "f64"),
        ("f32", "bool"),
    ]
    pairs += [
        ("c64", "f32"),
        ("f32", "c64"),
        ("bool", "f32"),
        ("f32", "f16"),
        ("f32", "bf16"),
        ("i64", "i8"),
    ]
    found = [((TensorType(DTYPES[a], (3, 5)),), {"dtype": DTYPES[b]}) for a, b in pairs]
    return found + [
        ((TensorType(DTYPES["f32"], s),), {"dtype": DTYPES["i32"]}) for s in ((), (0,), (37,))
    ]


convert = elementwise(
    "convert",
    _numpy_convert,
    params=("dtype",),
    infer=lambda x, *, dtype: TensorType(dtype, x.shape),
    jvp=lambda dx, y, x, *, dtype: convert(dx, dtype=dtype) if is_inexact(dtype) else None,
    transpose=lambda cts, xs, *, dtype: (convert(cts[0], dtype=xs[0].type.dtype),),
    cases=_cases_convert,
    doc="x as dtype. To integers: truncated, saturated, nan is 0. To bool: x != 0. Real parts.",
)


def _infer_bitcast(x: TensorType, *, dtype: np.dtype) -> TensorType:
    if kind(x.dtype) in "bc" or kind(dtype) in "bc" or x.dtype.itemsize != dtype.itemsize:
        raise DTypeError(f"bitcast: {short(x.dtype)} and {short(dtype)} do not have the same width")
    return TensorType(dtype, x.shape)


def _cases_bitcast() -> list[Any]:
    pairs = [
        ("f32", "u32"),
        ("i32", "f32"),
        ("f64", "i64"),
        ("u64", "f64"),
        ("f16", "u16"),
        ("u16", "bf16"),
    ]
    return [
        ((TensorType(DTYPES[a], s),), {"dtype": DTYPES[b]})
        for a, b in pairs
        for s in ((3, 5), (), (0,))
    ]


bitcast = elementwise(
    "bitcast",
    lambda x, *, dtype: np.ascontiguousarray(x).reshape(x.shape).view(dtype),
    params=("dtype",),
    infer=_infer_bitcast,
    jvp=(None,),
    cases=_cases_bitcast,
    doc="The bits of x read as another dtype of the same width.",
)


# ---- complex numbers -----------------------------------------------------------------------------
# Cotangents pair with tangents by Re(sum(ct * dx)), without conjugation, as in JAX.

real = elementwise(
    "real",
    np.real,
    kinds="c",
    out=real_dtype,
    jvp="linear",
    transpose=lambda cts, xs: (arith.to_complex(cts[0]),),
    spell=Spell(c="{0}.real()", numba="{0}.real"),
    doc="The real part.",
)

imag = elementwise(
    "imag",
    np.imag,
    kinds="c",
    out=real_dtype,
    jvp="linear",
    transpose=lambda cts, xs: (complex_(arith.full_like(cts[0], 0), arith.neg(cts[0])),),
    spell=Spell(c="{0}.imag()", numba="{0}.imag"),
    doc="The imaginary part.",
)

conj = elementwise(
    "conj",
    np.conjugate,
    kinds="c",
    jvp="linear",
    transpose=lambda cts, xs: (conj(cts[0]),),
    spell=Spell(c="conj({0})", numba="np.conj({0})"),
    doc="The complex conjugate.",
)


def _numpy_complex(re: Any, im: Any) -> Any:
    # written part by part: re + 1j * im would turn an infinite im into a nan real part
    out = np.empty(np.shape(re), complex_dtype(re.dtype))
    out.real, out.imag = re, im
    return out


def _infer_complex(re: TensorType, im: TensorType) -> TensorType:
    dtype = same_dtype("complex", (re, im), "f")
    if dtype.itemsize == 2:
        raise DTypeError(f"complex: takes f32 or f64 parts, not {short(dtype)}")
    return TensorType(complex_dtype(dtype), same_shape("complex", (re, im)))


def _cases_complex() -> list[Any]:
    types = [TensorType(DTYPES[n], s) for n in ("f32", "f64") for s in ((3, 5), (), (0,), (37,))]
    return [((t, t), {}) for t in types]


complex_ = elementwise(
    "complex",
    _numpy_complex,
    arity=2,
    kinds="f",
    infer=_infer_complex,
    jvp="linear",
    transpose=lambda cts, xs: (
        real(cts[0]) if is_linear(xs[0]) else None,
        arith.neg(imag(cts[0])) if is_linear(xs[1]) else None,
    ),
    spell=Spell(numba="complex({0}, {1})"),
    cases=_cases_complex,
    doc="A complex number from its real and imaginary parts.",
)


# ---- identities ----------------------------------------------------------------------------------


def _identity(name: str, jvp: Any, transpose: Any, doc: str) -> Primitive:
    return elementwise(
        name,
        lambda x: x,
        jvp=jvp,
        transpose=transpose,
        element=lambda xs, index: xs[0](index),
        doc=doc,
    )


stop_gradient = _identity("stop_gradient", (None,), None, "x, taken as a constant by derivatives.")

barrier = _identity(
    "barrier",
    "linear",
    lambda cts, xs: (barrier(cts[0]),),
    "x; passes neither merge barriers with one another nor look through them.",
)
