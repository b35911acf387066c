"""Makers of records for families of operations, which derive what the members have in common.

    sin = elementwise("sin", np.sin, jvp=lambda dx, y, x: mul(dx, cos(x)), kinds="fc")

An elementwise operation takes operands of one type (equal shape and dtype) and acts on each
element: infer, batch, element and the generated test cases follow.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tracejit.errors import DTypeError, ShapeError
from tracejit.hints import broadcasting as shape_hint
from tracejit.ir.build import full_like
from tracejit.ir.expr import Op
from tracejit.ir.prim import Primitive, Spell, is_linear
from tracejit.ir.types import DTYPES, TensorType, kind, short
from tracejit.ops.broadcast import with_batch_axis

BOOL = DTYPES["bool"]

KIND_NAMES = {
    "b": "bool",
    "i": "signed integer",
    "u": "unsigned integer",
    "f": "floating",
    "c": "complex",
}


def same_shape(name: str, types: Sequence[TensorType]) -> tuple[int, ...]:
    """The common shape; ShapeError naming those that differ, with a hint where one helps."""
    shape = types[0].shape
    for other in types[1:]:
        if other.shape != shape:
            raise ShapeError(
                f"{name}: shapes differ: {shape} and {other.shape}",
                hint=shape_hint(shape, other.shape),
            )
    return shape


def same_dtype(name: str, types: Sequence[TensorType], kinds: str) -> np.dtype:
    """The common dtype, of one of ``kinds``; DTypeError otherwise."""
    dtype = types[0].dtype
    for other in types[1:]:
        if other.dtype != dtype:
            raise DTypeError(
                f"{name}: dtypes differ: {short(dtype)} and {short(other.dtype)}",
                hint="convert one operand with .astype",
            )
    if kind(dtype) not in kinds:
        allowed = ", ".join(KIND_NAMES[k] for k in kinds)
        raise DTypeError(
            f"{name}: takes {allowed} operands, not {short(dtype)}",
            hint="convert the operands with .astype",
        )
    return dtype


def each(*rules: Callable[..., Any] | None) -> Callable[..., Any]:
    """A jvp rule from one rule ``(dx, y, *xs, **params) -> dy`` per operand (None: zero)."""

    def jvp(dxs: Any, ys: Any, xs: Any, **params: Any) -> Any:
        total = None
        for dx, rule in zip(dxs, rules, strict=True):
            if dx is None or rule is None:
                continue
            part = rule(dx, ys[0], *xs, **params)
            if part is not None:
                total = part if total is None else ADD(total, part)
        return (total,)

    return jvp


def linear_jvp(prim: Callable[[], Primitive]) -> Callable[..., Any]:
    """The jvp of an operation linear in all operands: itself, zeros for absent tangents."""

    def jvp(dxs: Any, ys: Any, xs: Any, **params: Any) -> Any:
        full = [full_like(x, 0) if dx is None else dx for dx, x in zip(dxs, xs, strict=True)]
        out = prim()(*full, **params)
        return out if isinstance(out, tuple) else (out,)

    return jvp


def lift(prim: Callable[[], Primitive]) -> Callable[..., Any]:
    """The batch rule of an elementwise operation: itself, all operands with the batch axis."""

    def batch(size: int, mask: Any, xs: Any, **params: Any) -> Any:
        return prim()(
            *[with_batch_axis(x, size, m) for x, m in zip(xs, mask, strict=True)], **params
        )

    return batch


def quiet(function: Callable[..., Any]) -> Callable[..., Any]:
    """A rule that ignores floating-point errors around ``function``, which stays its ``plain``: for
    those who ignore them around several rules.
    """

    @functools.wraps(function)
    def numpy(*xs: Any, **params: Any) -> Any:
        with np.errstate(all="ignore"):
            return function(*xs, **params)

    numpy.plain = function  # type: ignore[attr-defined]
    return numpy


def exact(function: Callable[..., Any]) -> Callable[..., Any]:
    """A NumPy function whose result keeps the dtype of its first operand and warns of nothing."""

    def numpy(*xs: Any, **params: Any) -> Any:
        return np.asarray(function(*xs, **params)).astype(xs[0].dtype, copy=False)

    return quiet(numpy)


def in_float32(function: Callable[..., Any]) -> Callable[..., Any]:
    """A NumPy function that lacks 16-bit loops: those are computed in float32."""

    def numpy(*xs: Any, **params: Any) -> Any:
        if xs[0].dtype.itemsize == 2:
            return function(*[x.astype(np.float32) for x in xs], **params)
        return function(*xs, **params)

    return numpy


def scipy_special(name: str) -> Callable[..., Any]:
    """A function of scipy.special, imported at its first call."""
    return in_float32(lambda *xs: getattr(importlib.import_module("scipy.special"), name)(*xs))


def elementwise(
    name: str,
    numpy: Callable[..., Any],
    *,
    arity: int = 1,
    jvp: Any = None,
    rule: Callable[..., Any] | None = None,
    kinds: str = "biufc",
    out: Callable[[np.dtype], np.dtype] = lambda dtype: dtype,
    infer: Callable[..., Any] | None = None,
    element: Callable[..., Any] | None = None,
    cases: Callable[[], list[Any]] | None = None,
    domain: Any = (-3.0, 3.0),
    **fields: Any,
) -> Primitive:
    """A record for an operation on single elements; ``fields`` go into it as they are.

    ``numpy`` is its meaning; ``jvp`` one rule per operand ``(dx, y, *xs) -> dy`` (a tuple when
    there are several operands), "linear" when the operation is linear in all operands together,
    None when it has no derivative (its tangent is then zero if the result is not inexact, and a
    missing rule otherwise); a None among the rules of several operands, or ``(None,)``, is a
    derivative that is zero everywhere. ``rule`` is a whole jvp rule instead. ``out`` maps the
    operands' dtype to the result's where they differ; ``infer`` says more where that is not enough.
    """

    def infer_uniform(*types: TensorType) -> TensorType:
        dtype = same_dtype(name, types, kinds)
        return TensorType(out(dtype), same_shape(name, types))

    def element_op(xs: Any, index: Any, **given: Any) -> Any:
        operands = tuple(x(index) for x in xs)
        if record.scalar is not None and record.spell is None:
            return record.scalar(*operands)  # what kernels hold then is the definition
        type = record.infer(*[x.type.with_shape(()) for x in xs], **given)
        return Op(name, operands, short(type.dtype))

    def meaning(*xs: Any, **given: Any) -> Any:
        with np.errstate(all="ignore"):
            return np.asarray(numpy(*xs, **given)).astype(out(xs[0].dtype), copy=False)

    meaning.plain = numpy  # type: ignore[attr-defined]  # as of ``quiet``
    if jvp == "linear":
        rule = linear_jvp(lambda: record)
    elif jvp is not None:
        rule = each(*(jvp if isinstance(jvp, tuple) else (jvp,)))
    record = Primitive(
        name,
        infer=infer or infer_uniform,
        numpy=meaning if infer is None else numpy,
        jvp=rule,
        batch=lift(lambda: record),
        element=element or element_op,
        kinds=kinds,
        cases=cases or (lambda: elementwise_cases(kinds, arity)),
        domain=domain,
        **fields,
    )
    return record


def elementwise_cases(kinds: str, arity: int) -> list[Any]:
    """Cases of an operation on ``arity`` operands of one type: typical, 0-d, empty, one, odd."""
    names = ("bool", "i32", "u8", "f32", "f64", "c64")
    dtypes = [DTYPES[name] for name in names if kind(DTYPES[name]) in kinds]
    shapes = ((3, 5), (), (0,), (1,), (37,))
    return [((TensorType(d, shape),) * arity, {}) for d in dtypes for shape in shapes]


# ---- addition: `each` needs it, so it stands here ------------------------------------------------

ADD = elementwise(
    "add",
    np.add,
    arity=2,
    jvp="linear",
    transpose=lambda cts, xs: tuple(cts[0] if is_linear(x) else None for x in xs),
    spell=Spell(
        c={"iufc": "({0} + {1})", "b": "({0} || {1})"},
        numba={"iufc": "({0} + {1})", "b": "({0} or {1})"},
        llvm={"f": "fadd {t} {0}, {1}", "iu": "add {t} {0}, {1}", "b": "or {t} {0}, {1}"},
    ),
    doc="x + y; integers wrap, booleans or.",
)
