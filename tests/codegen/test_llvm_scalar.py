"""Scalar operations in LLVM, in vectors and one at a time, against the interpreter."""

from __future__ import annotations

import numpy as np
import pytest

from tests.codegen.llvm_kernels import (
    check,
    data,
    f32,
    j,
    k,
    kernel,
    n1,
    op,
    run,
    seq,
    vec,
)
from tracejit.codegen.llvm import print_llvm
from tracejit.errors import MissingRule
from tracejit.ir.expr import Const, Load, Op, Var
from tracejit.ir.types import DTYPES, bfloat16
from tracejit.kernel.nodes import (
    Kernel,
    Store,
)
from tracejit.runtime import native

SPECIAL = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    1.5,
    2.5,
    -2.5,
    np.inf,
    -np.inf,
    np.nan,
    3.7,
    -3.2,
    1e-40,
    100.25,
    127.0,
    -128.0,
]


def samples(dtype: str, count: int = 50) -> np.ndarray:
    if dtype == "bool":
        return np.arange(count) % 3 == 0
    if dtype[0] in "iu":
        info = np.iinfo(DTYPES[dtype])
        some = [0, 1, 2, 3, 5, 7, 100, info.max, info.min, info.max - 1, info.min + 1]
        return np.resize(
            np.array([v % (int(info.max) + 1) if v > info.max else v for v in some], DTYPES[dtype]),
            count,
        )
    return np.resize(np.array(SPECIAL), count).astype(DTYPES[dtype])


def elementwise(fn: str, sources: tuple[str, ...], to: str) -> Kernel:
    """The operation in vectors into y and one at a time into z."""
    params = "; ".join(f"in x{a}: {dtype}[n1]" for a, dtype in enumerate(sources))

    def applied(index: Var) -> Op:
        return Op(fn, tuple(Load(f"x{a}", (index,), dtype) for a, dtype in enumerate(sources)), to)

    return kernel(
        f"{params}; out y: {to}[n1]; out z: {to}[n1]",
        vec(Store("y", (j,), applied(j)), unroll=1),
        seq(Store("z", (k,), applied(k)), stop=n1),
    )


def check_elementwise(fn: str, sources: tuple[str, ...], to: str, rtol: float = 0) -> None:
    xs = [samples(dtype) for dtype in sources]
    if len(xs) == 2:
        # all pairs of the first few
        few = [x[: 17 if x.dtype.kind == "f" else 11] for x in xs]
        xs = [np.repeat(few[0], len(few[1])), np.tile(few[1], len(few[0]))]
    arrays = {f"x{a}": x for a, x in enumerate(xs)}
    arrays["y"] = arrays["z"] = np.zeros(len(xs[0]), DTYPES[to])
    check(elementwise(fn, sources, to), arrays, (0, len(xs[0])), rtol=rtol)


@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_floating_operations(dtype):
    for fn in ("neg", "abs", "sqrt", "floor", "ceil", "round", "trunc"):
        check_elementwise(fn, (dtype,), dtype)
    for fn in ("add", "sub", "mul", "div", "max", "min", "rem", "copysign"):
        check_elementwise(fn, (dtype, dtype), dtype)
    for fn in ("is_nan", "is_finite"):
        check_elementwise(fn, (dtype,), "bool")
    for fn in ("eq", "ne", "lt", "le", "gt", "ge"):
        check_elementwise(fn, (dtype, dtype), "bool")


@pytest.mark.parametrize("dtype", ["i8", "u8", "i16", "i32", "u32", "i64", "u64"])
def test_integer_operations(dtype):
    for fn in ("neg", "abs", "not", "population_count", "clz"):
        check_elementwise(fn, (dtype,), dtype)
    for fn in ("add", "sub", "mul", "div", "rem", "max", "min", "and", "or", "xor"):
        check_elementwise(fn, (dtype, dtype), dtype)
    for fn in ("lt", "eq"):
        check_elementwise(fn, (dtype, dtype), "bool")


@pytest.mark.parametrize("dtype", ["i8", "u32", "i64"])
def test_shifts(dtype):
    bits = DTYPES[dtype].itemsize * 8
    for fn in ("shift_left", "shift_right_logical", "shift_right_arithmetic"):
        x = np.repeat(samples(dtype)[:11], 5)
        by = np.resize(np.array([0, 1, bits - 1, bits, bits + 3], x.dtype), len(x))
        arrays = {"x0": x, "x1": by, "y": x, "z": x}
        check(elementwise(fn, (dtype, dtype), dtype), arrays, (0, len(x)))


def test_bool_operations():
    for fn in ("and", "or", "xor", "max", "min", "eq", "ne", "lt"):
        check_elementwise(fn, ("bool", "bool"), "bool")
    check_elementwise("not", ("bool",), "bool")


@pytest.mark.parametrize("source", [d for d in DTYPES if d[0] != "c"])
def test_conversions(source):
    for to in DTYPES:
        if to[0] != "c":
            check_elementwise("convert", (source,), to)


def test_rounding_to_half():
    """Every half, its neighbours in f32 and f64, and the middles between them."""
    for to, bits in (("f16", np.arange(0x7C01)), ("bf16", np.arange(0x7F81))):
        halves = bits.astype(np.uint16).view(DTYPES[to])
        wide = halves.astype(np.float32)
        with np.errstate(all="ignore"):
            middle = ((wide[1:].astype(np.float64) + wide[:-1]) / 2).astype(np.float32)
            x = np.concatenate(
                [
                    wide,
                    middle,
                    np.nextafter(middle, np.float32(0)),
                    np.nextafter(middle, np.float32(np.inf)),
                ]
            )
            for values in (x, x.astype(np.float64), np.nextafter(x.astype(np.float64), np.inf)):
                dtype = "f32" if values.dtype == np.float32 else "f64"
                source = kernel(
                    f"in x: {dtype}[n1]; out y: {to}[n1]",
                    vec(
                        Store("y", (j,), op("convert", Load("x", (j,), dtype), dtype=to)), unroll=1
                    ),
                )
                y = run(
                    source, {"x": values, "y": np.zeros(len(values), DTYPES[to])}, (0, len(values))
                )[0]["y"]
                np.testing.assert_array_equal(
                    y.view(np.uint16), values.astype(DTYPES[to]).view(np.uint16)
                )


def test_rounding_of_nan_to_bfloat():
    """All mantissa bits set: a rounding carry must not reach the sign."""
    x = np.full(20, 0x7FFFFFFF, np.uint32).view(np.float32)
    source = elementwise("convert", ("f32",), "bf16")
    zeros = np.zeros(20, bfloat16)
    got = run(source, {"x0": x, "y": zeros, "z": zeros}, (0, 20))[0]
    assert (
        np.isnan(got["y"].astype(np.float32)).all() and np.isnan(got["z"].astype(np.float32)).all()
    )


def test_fma_rounds_once():
    source = elementwise("fma", ("f32", "f32", "f32"), "f32")
    a = np.float32(1 + 2**-12)
    x = {
        name: np.full(20, v, np.float32)
        for name, v in (("x0", a), ("x1", a), ("x2", -1.0), ("y", 0), ("z", 0))
    }
    got = run(source, x, (0, 20))[0]
    assert (got["y"] == np.float32(2**-11 + 2**-24)).all() and (got["z"] == got["y"]).all()


def test_no_contraction():
    """A product and a sum stay two roundings."""
    x = Load("x", (j,), "f32")
    source = kernel(
        "in x: f32[n1]; out y: f32[n1]",
        vec(Store("y", (j,), op("add", op("mul", x, x), f32(-1.0)))),
    )
    a = np.full(20, 1 + 2**-12, np.float32)
    assert (run(source, {"x": a, "y": a}, (0, 20))[0]["y"] == a * a - np.float32(1)).all()


def test_bitcast():
    check_elementwise("bitcast", ("f32",), "i32")
    check_elementwise("bitcast", ("u64",), "f64")
    check_elementwise("bitcast", ("bf16",), "u16")


def test_select_and_bool_buffers():
    source = kernel(
        "in c: bool[n1]; in x: f64[n1]; out y: f64[n1]; out z: bool[n1]",
        vec(
            Store(
                "y",
                (j,),
                Op(
                    "select",
                    (Load("c", (j,), "bool"), Load("x", (j,), "f64"), Const(2.0, "f64")),
                    "f64",
                ),
            ),
            Store(
                "z",
                (j,),
                op(
                    "xor",
                    Load("c", (j,), "bool"),
                    op("gt", Load("x", (j,), "f64"), Const(0.0, "f64")),
                ),
            ),
            width=8,
        ),
    )
    arrays = {
        "c": samples("bool"),
        "x": data(50, dtype="f64"),
        "y": data(50, dtype="f64"),
        "z": samples("bool"),
    }
    check(source, arrays, (0, 50))


def test_half_precision_in_memory():
    for dtype in ("f16", "bf16"):
        x = op("convert", Load("x", (j,), dtype), dtype="f32")
        twice = op("convert", op("mul", x, f32(2.0)), dtype=dtype)
        source = kernel(f"in x: {dtype}[n1]; out y: {dtype}[n1]", vec(Store("y", (j,), twice)))
        check(source, {"x": data(70, dtype=dtype), "y": data(70, dtype=dtype)}, (0, 70))
    assert DTYPES["bf16"] == bfloat16


def test_unknown_operation_is_named():
    source = elementwise("digamma", ("f32",), "f32")
    with pytest.raises(MissingRule, match="digamma"):
        print_llvm(source, native.host_target())
