"""Elementwise operations: every dtype, special values, spellings, and values by hand."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numba
import numpy as np
import pytest

from tests.ops.evaluate import element_values, scalar_values
from tests.ops.op_checks import assert_same
from tracejit.codegen import numba_helpers
from tracejit.errors import DTypeError, ShapeError
from tracejit.ir import interp
from tracejit.ir.build import building
from tracejit.ir.prim import Linear
from tracejit.ir.types import DTYPES, TensorType, is_inexact, kind, short, type_of
from tracejit.ops import (
    PRIMS,
    arith,
    bits,
    family,
    logic,
    parts,
    powers,
    special,
)
from tracejit.ops import math as functions

F32, F64, I32 = DTYPES["f32"], DTYPES["f64"], DTYPES["i32"]

MODULES = (family, arith, logic, parts, powers, functions, special, bits)
#: Those whose operands all have one type and that have no params.
UNIFORM = sorted(
    {
        prim.name
        for module in MODULES
        for prim in vars(module).values()
        if prim in PRIMS.values()
        and not prim.params
        and prim.name not in ("select", "broadcast_in_dim")
    }
)

SPECIAL = (0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 1e30, math.inf, -math.inf, math.nan)


def arity(prim: Any) -> int:
    return len(prim.cases()[0][0])


def values_of(dtype: np.dtype) -> Any:
    """Values of a dtype worth a look: the ends, zeros of both signs, infinities, nan."""
    match kind(dtype):
        case "b":
            return np.array([False, True])
        case "i" | "u":
            info = np.iinfo(dtype)
            few = {
                0,
                1,
                2,
                3,
                7,
                31,
                32,
                33,
                info.max,
                info.max - 1,
                info.min,
                max(info.min, -1),
                max(info.min, -7),
            }
            return np.array(sorted(v for v in few if info.min <= v <= info.max), dtype)
        case "f":
            with np.errstate(over="ignore"):
                return np.array(SPECIAL).astype(dtype)
    return np.array(
        [0, 1j, -1, 1 - 2j, complex(math.inf, 0), complex(0, math.nan), complex(-0.0, -0.0)], dtype
    )


def combinations(dtype: np.dtype, count: int) -> list[Any]:
    """Operands that hold every combination of those values."""
    values = values_of(dtype)
    if count > 2:
        values = values[:5]
    rows = np.array(list(itertools.product(range(len(values)), repeat=count)))
    return [values[rows[:, k]] for k in range(count)]


def accepted(prim: Any) -> list[np.dtype]:
    found = []
    for dtype in DTYPES.values():
        try:
            prim.infer(*[TensorType(dtype, ())] * arity(prim))
        except DTypeError:
            continue
        found.append(dtype)
    return found


@pytest.mark.parametrize("name", UNIFORM)
def test_every_dtype_and_special_value(name: str) -> None:
    prim = PRIMS[name]
    for dtype in accepted(prim):
        xs = combinations(dtype, arity(prim))
        wanted = prim.numpy(*xs)
        assert type_of(wanted) == prim.infer(*[type_of(x) for x in xs]), short(dtype)
        with np.errstate(all="ignore"):
            (found,) = element_values(prim, [type_of(wanted)], xs, {})
        np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted))
        ok = np.isfinite(wanted)
        assert_same(found[ok], wanted[ok])


@pytest.mark.parametrize("name", [n for n in UNIFORM if PRIMS[n].scalar is not None])
def test_definitions_at_special_values(name: str) -> None:
    prim = PRIMS[name]
    for dtype in (d for d in accepted(prim) if kind(d) != "c"):
        xs = combinations(dtype, arity(prim))
        assert_same(scalar_values(prim, xs), prim.numpy(*xs))


@pytest.mark.parametrize("name", UNIFORM)
def test_rejects_other_dtypes_and_shapes(name: str) -> None:
    prim = PRIMS[name]
    refused = [d for d in DTYPES.values() if kind(d) not in prim.kinds]
    for dtype in refused:
        with pytest.raises(DTypeError):
            prim.infer(*[TensorType(dtype, ())] * arity(prim))
    if arity(prim) > 1:
        first, *others = prim.cases()[0][0]
        with pytest.raises(ShapeError):
            prim.infer(first.with_shape((2,)), *[t.with_shape((3,)) for t in others])
        if all(t.dtype == first.dtype for t in others) and F64 in accepted(prim):
            with pytest.raises(DTypeError):
                prim.infer(TensorType(F32, ()), *[TensorType(F64, ())] * len(others))


@pytest.mark.parametrize("name", [n for n in [*UNIFORM, "select"] if PRIMS[n].spell is not None])
def test_numba_spelling_is_the_meaning(name: str) -> None:
    """The template, read as plain Python on NumPy scalars."""
    prim = PRIMS[name]
    for types, _ in prim.cases():
        letter = kind(types[-1].dtype)
        template = prim.spell.get("numba", letter)
        if template is None or types[-1].shape != (37,):
            continue
        rng = np.random.default_rng(0)
        low, high = prim.domain[0] if isinstance(prim.domain[0], tuple) else prim.domain
        xs = [np.asarray(rng.uniform(max(low, 0.1), high, t.shape)).astype(t.dtype) for t in types]
        wanted = prim.numpy(*xs)
        for row, value in zip(zip(*xs, strict=True), wanted, strict=True):
            given = {f"a{k}": x for k, x in enumerate(row)}
            text = template.format(*given)
            helpers = {"math": math, "np": np, "numba": numba}
            exec(numba_helpers.definitions(numba_helpers.needed(text)), helpers)
            with np.errstate(all="ignore"):
                found = eval(text, helpers, given)
            np.testing.assert_allclose(
                np.asarray(found).astype(wanted.dtype), value, rtol=1e-5, atol=1e-6
            )


# ---- values by hand ------------------------------------------------------------------------------


def call(name: str, *xs: Any, dtype: Any = F32, **params: Any) -> list[Any]:
    return PRIMS[name].numpy(*[np.asarray(x, dtype) for x in xs], **params).tolist()


def test_integer_division_truncates() -> None:
    assert call("div", [7, -7, 7, -7, 5], [2, 2, -2, -2, 0], dtype=I32) == [3, -3, -3, 3, 0]
    assert call("rem", [7, -7, 7, -7, 5], [2, 2, -2, -2, 0], dtype=I32) == [1, -1, 1, -1, 0]
    lowest = np.iinfo(I32).min
    assert call("div", [lowest], [-1], dtype=I32) == [lowest]


def test_integer_powers_wrap_and_truncate() -> None:
    assert call("pow", [2, 3, -1, -1, 0, 5, 1], [10, 0, 3, -3, -2, -1, -9], dtype=I32) == [
        1024,
        1,
        -1,
        -1,
        0,
        0,
        1,
    ]


def test_extrema_propagate_nan() -> None:
    assert np.isnan(call("max", [math.nan, 1.0], [1.0, math.nan])).all()
    assert np.isnan(call("min", [math.nan, 1.0], [1.0, math.nan])).all()


def test_round_takes_halves_to_even() -> None:
    assert call("round", [0.5, 1.5, 2.5, -0.5]) == [0.0, 2.0, 2.0, -0.0]


def test_fma_rounds_once() -> None:
    x = 1.0 + 2.0**-30
    assert call("fma", x, x, -1.0 - 2.0**-29, dtype=F64) == 2.0**-60
    tiny = np.float32(1 + 2**-12)
    assert call("fma", tiny, tiny, -1 - 2**-11) == 2.0**-24


def test_shifts_beyond_the_width() -> None:
    assert call("shift_left", [1, 1, 1, 3], [31, 32, -1, 1], dtype=I32) == [-(2**31), 0, 0, 6]
    assert call("shift_right_logical", [-1, -1, -1], [28, 32, -1], dtype=I32) == [15, 0, 0]
    assert call("shift_right_arithmetic", [-8, -8, 8, 8], [1, 99, 99, -1], dtype=I32) == [
        -4,
        -1,
        0,
        0,
    ]


@pytest.mark.parametrize("name", ["i8", "u8", "i16", "u32", "i32", "i64", "u64"])
def test_counts_of_bits(name: str) -> None:
    dtype = DTYPES[name]
    width = 8 * dtype.itemsize
    xs = values_of(dtype)
    text = [format(int(x) % 2**width, f"0{width}b") for x in xs]
    assert PRIMS["population_count"].numpy(xs).tolist() == [t.count("1") for t in text]
    assert PRIMS["clz"].numpy(xs).tolist() == [width - len(t.lstrip("0")) for t in text]


@pytest.mark.parametrize("name", ["i8", "u8", "i32", "u32", "i64", "u64"])
def test_mulhi_is_the_high_half(name: str) -> None:
    dtype = DTYPES[name]
    x, y = combinations(dtype, 2)
    wanted = [int(a) * int(b) >> (8 * dtype.itemsize) for a, b in zip(x, y, strict=True)]
    assert PRIMS["mulhi"].numpy(x, y).tolist() == wanted


@pytest.mark.parametrize("target, exponent", [("f16", 5), ("bf16", 8)])
def test_reduce_precision_is_a_round_trip(target: str, exponent: int) -> None:
    dtype = DTYPES[target]
    x = np.concatenate([np.random.default_rng(0).normal(size=200).astype(F32), values_of(F32)])
    mantissa = 8 * dtype.itemsize - 1 - exponent
    found = PRIMS["reduce_precision"].numpy(x, exponent_bits=exponent, mantissa_bits=mantissa)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(found, x.astype(dtype).astype(F32))


def test_convert_saturates() -> None:
    xs = [1.9, -1.9, 3e9, -3e9, math.nan, math.inf, -math.inf, -0.5]
    top, bottom = 2**31 - 1, -(2**31)
    found = PRIMS["convert"].numpy(np.array(xs), dtype=I32)
    assert found.tolist() == [1, -1, top, bottom, 0, top, bottom, 0]
    found = PRIMS["convert"].numpy(np.array(xs), dtype=DTYPES["u8"])
    assert found.tolist() == [1, 0, 255, 0, 0, 255, 0, 0]
    found = PRIMS["convert"].numpy(np.array([2.0**63, 2.0**62, 1e300, -1e300]), dtype=DTYPES["i64"])
    assert found.tolist() == [2**63 - 1, 2**62, 2**63 - 1, -(2**63)]
    found = PRIMS["convert"].numpy(np.array([2.0**64, -1.0]), dtype=DTYPES["u64"])
    assert found.tolist() == [2**64 - 1, 0]


def test_convert_of_bool_and_complex() -> None:
    assert PRIMS["convert"].numpy(
        np.array([0.0, -0.0, 0.5, math.nan]), dtype=DTYPES["bool"]
    ).tolist() == [
        False,
        False,
        True,
        True,
    ]
    assert PRIMS["convert"].numpy(np.array([1.5 - 2j, 300j]), dtype=DTYPES["u8"]).tolist() == [1, 0]


@pytest.mark.parametrize("source", DTYPES)
@pytest.mark.parametrize("target", DTYPES)
def test_convert_between_all_dtypes(source: str, target: str) -> None:
    x = values_of(DTYPES[source])
    found = PRIMS["convert"].numpy(x, dtype=DTYPES[target])
    assert found.dtype == DTYPES[target] and found.shape == x.shape
    small = np.array([0, 1, 1, 0]).astype(DTYPES[source])
    np.testing.assert_array_equal(
        PRIMS["convert"].numpy(small, dtype=DTYPES[target]) == 1, small == 1
    )


def test_complex_keeps_infinite_parts() -> None:
    z = PRIMS["complex"].numpy(np.float64([1.0]), np.float64([math.inf]))[0]
    assert (z.real, z.imag) == (1.0, math.inf)


# ---- derivatives at special points ---------------------------------------------------------------


def tangent(name: str, xs: list[Any], dxs: list[Any], **params: Any) -> list[float]:
    """The tangent of an operation at f64 (or bool) operands; None: an operand without tangent."""
    arrays = [np.asarray(x, None if np.asarray(x).dtype == np.bool_ else F64) for x in xs]
    given = [None if dx is None else np.asarray(dx, F64) for dx in dxs]
    with building() as b:
        values = [b.input(type_of(a)) for a in arrays]
        moves = [None if d is None else b.input(type_of(d)) for d in given]
        ys = PRIMS[name](*values, **params)
        (dy,) = PRIMS[name].jvp(tuple(moves), (ys,), tuple(values), **params)
        if dy is None:
            return np.zeros(ys.type.shape).tolist()
        graph = b.graph([dy])
    with np.errstate(all="ignore"):
        return interp.run(graph, [*arrays, *[d for d in given if d is not None]])[0].tolist()


BAD = (math.nan, math.inf, -math.inf)


@pytest.mark.parametrize("bad", BAD)
def test_the_branch_not_taken_stays_out(bad: float) -> None:
    assert tangent(
        "select", [[True, False], [1.0, 1.0], [2.0, 2.0]], [None, [3.0, bad], [bad, 4.0]]
    ) == [3.0, 4.0]
    assert tangent("max", [[1.0, 5.0], [2.0, 3.0]], [[bad, 7.0], [8.0, bad]]) == [8.0, 7.0]
    assert tangent("min", [[1.0, 5.0], [2.0, 3.0]], [[7.0, bad], [bad, 8.0]]) == [7.0, 8.0]
    clamped = tangent(
        "clamp",
        [[0.0] * 3, [-1.0, 0.5, 2.0], [1.0] * 3],
        [[1.0, bad, bad], [bad, 2.0, bad], [bad, bad, 3.0]],
    )
    assert clamped == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("bad", BAD)
def test_the_branch_not_taken_gets_no_cotangent(bad: float) -> None:
    type = TensorType(F64, (2,))
    with building() as b:
        cond, ct = b.input(type.with_dtype(DTYPES["bool"])), b.input(type)
        _, yes, no = PRIMS["select"].transpose((ct,), (cond, Linear(type), Linear(type)))
        graph = b.graph([yes, no])
    found = interp.run(graph, [np.array([True, False]), np.array([1.0, bad])])
    assert found[0].tolist() == [1.0, 0.0] and found[1][0] == 0.0


def test_ties_are_shared() -> None:
    assert tangent("max", [[1.0], [1.0]], [[1.0], None]) == [0.5]
    assert tangent("min", [[1.0], [1.0]], [[1.0], [3.0]]) == [2.0]


def test_slopes_at_zero() -> None:
    assert tangent("abs", [[0.0, -2.0, 2.0]], [[1.0] * 3]) == [0.0, -1.0, 1.0]
    assert tangent("pow", [[0.0] * 3, [0.0, 1.0, 2.0]], [[1.0] * 3, None]) == [0.0, 1.0, 0.0]
    assert tangent("pow", [[0.0] * 2, [1.0, 2.0]], [None, [1.0] * 2]) == [0.0, 0.0]
    assert tangent("integer_pow", [[0.0]], [[1.0]], y=2) == [0.0]
    assert tangent("bessel_i1e", [[0.0]], [[1.0]]) == [0.5]


def test_steps_have_slope_zero() -> None:
    for name in ("floor", "ceil", "round", "trunc", "sign"):
        assert tangent(name, [[0.3]], [[1.0]]) == [0.0]


def test_logistic_and_its_slope_never_overflow() -> None:
    assert call("logistic", [-200.0, 200.0], dtype=F64) == [pytest.approx(math.exp(-200)), 1.0]
    assert tangent("logistic", [[-800.0, 800.0]], [[1.0, 1.0]]) == [0.0, 0.0]


def test_inexact_results_have_derivatives() -> None:
    for name in UNIFORM:
        prim = PRIMS[name]
        out = prim.infer(*prim.cases()[-1][0])
        assert prim.jvp is not None or not is_inexact(out.dtype), name
