"""Blocks transposed by native code against the interpreter."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.codegen.llvm_kernels import check, kernel, n0, n1, par, run
from tracejit.codegen.llvm import print_llvm
from tracejit.ir.expr import Const, Expr, Load, Op, Var, const, iadd, imul
from tracejit.ir.types import DTYPES
from tracejit.kernel import interp
from tracejit.kernel.nodes import Kernel, Loop, Scratch, Store, Transpose
from tracejit.runtime import native


def numbers(*shape: int, dtype: str) -> np.ndarray:
    count = int(np.prod(shape))
    return (np.arange(1, count + 1) % 113).reshape(shape).astype(DTYPES[dtype])


def block(dtype: str, side: int, rows: Expr, columns: Expr) -> Kernel:
    """Block (1, 2) of a matrix into the middle of another one."""
    at = const(1), const(2)
    move = Transpose("y", (const(3), const(1)), "x", at, side, rows, columns)
    source = kernel(f"in x: {dtype}[n0,n1]; out y: {dtype}[{side + 5},{side + 3}]", move)
    return dataclasses.replace(source, name=f"k_{dtype}_{side}")


@pytest.mark.parametrize(
    ("dtype", "side"),
    [("f32", 16), ("f32", 8), ("f32", 4), ("f32", 2), ("f64", 8), ("f64", 4), ("f64", 2)]
    + [("i8", 16), ("u16", 16), ("bf16", 16), ("f16", 8), ("i64", 8), ("bool", 16)],
)
def test_blocks(dtype: str, side: int) -> None:
    arrays = {
        "x": numbers(side + 2, side + 9, dtype=dtype),
        "y": numbers(side + 5, side + 3, dtype=dtype),
    }
    shape = arrays["x"].shape
    whole: Expr = Const(side, "i64")
    check(block(dtype, side, whole, whole), arrays, shape)
    limits = Op("sub", (n0, const(4)), "i64"), Op("sub", (n1, const(9)), "i64")
    check(block(dtype, side, *limits), arrays, shape)
    for rows in (0, 1, side - 1, side + 7):
        for columns in (1, side):
            check(block(dtype, side, const(rows), const(columns)), arrays, shape)


@pytest.mark.parametrize("bytes_", (32, 16))
def test_narrow_targets(bytes_: int) -> None:
    narrow = dataclasses.replace(native.host_target(), vector_bytes=bytes_)
    x = numbers(11, 17, dtype="f32")
    for side in (bytes_ // 4, 8):
        source = block("f32", side, Op("sub", (n0, const(7)), "i64"), n1)
        arrays = {"x": x, "y": numbers(side + 5, side + 3, dtype="f32")}
        wanted = {name: array.copy() for name, array in arrays.items()}
        interp.run(source, wanted, {"n0": 11, "n1": 17})
        got, _ = run(source, arrays, (11, 17), target=narrow)
        np.testing.assert_array_equal(got["y"], wanted["y"])


def test_a_copy_of_a_part_is_not_read_before_it_is_made() -> None:
    """A part of one matrix, then of another, in a loop that moves neither."""
    q = Var("q", "i64")
    once = [
        Transpose("t", (const(0), const(0)), name, (const(0), const(0)), 8, n0, const(5))
        for name in ("x", "x2")
    ]
    places = (iadd(imul(Var("i", "i64"), 8), q), Var("c", "i64"))
    value = Op("add", (Load("y", places, "f32"), Load("t", (q, Var("c", "i64")), "f32")), "f32")
    add = Loop("seq", "q", const(0), const(8), (Store("y", places, value),))
    add = Loop("seq", "c", const(0), const(8), (add,))
    source = kernel(
        "in x: f32[n0,n1]; in x2: f32[n0,n1]; out y: f32[24,8]",
        par(Scratch("t", "f32", (8, 8)), once[0], add, once[1], add),
    )
    x = numbers(3, 7, dtype="f32")
    check(source, {"x": x, "x2": x + 1, "y": np.zeros((24, 8), np.float32)}, x.shape)


def test_rows_along_another_axis() -> None:
    at = (const(1), const(2), const(0))
    rows = Op("sub", (n0, const(1)), "i64")
    move = Transpose("y", (const(0), const(0)), "x", at, 8, rows, const(6), -3)
    source = kernel("in x: f32[n0,n1,6]; out y: f32[8,8]", move)
    arrays = {"x": numbers(7, 3, 6, dtype="f32"), "y": np.ones((8, 8), np.float32)}
    check(source, arrays, (7, 3))


def test_text_stays_short() -> None:
    """LLVM's time grows with it: a block of 256 elements is no 600 lines."""
    text = print_llvm(block("f32", 16, n0, n1), native.host_target())
    assert text.count("\n") < 160
