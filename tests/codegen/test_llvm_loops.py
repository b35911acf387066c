"""Loops, branches and scratch arrays inside vec loops, printed as LLVM."""

from __future__ import annotations

import numpy as np
import pytest

from tests.codegen.llvm_kernels import (
    check,
    data,
    f32,
    i,
    j,
    k,
    kernel,
    local,
    n1,
    op,
    par,
    run,
    seq,
    vec,
)
from tracejit.codegen.llvm import print_llvm
from tracejit.ir.expr import Const, Load, Var, const, iadd, imod, imul, isub
from tracejit.kernel.nodes import (
    Accumulate,
    Check,
    If,
    Local,
    Loop,
    Scratch,
    Set,
    Stmt,
    Store,
    While,
)
from tracejit.runtime import native


def test_matmul():
    """A tile of rows in registers, the inner loop over k inside the vec loop."""
    tile = 4
    body: list[Stmt] = [Local(f"c{r}", "f32", f32(0.0)) for r in range(tile)]
    row = [iadd(imul(i, tile), r) for r in range(tile)]
    steps = [
        Set(
            f"c{r}",
            op("fma", Load("a", (row[r], k), "f32"), Load("b", (k, j), "f32"), local(f"c{r}")),
        )
        for r in range(tile)
    ]
    body += [seq(*steps), *(Store("c", (row[r], j), local(f"c{r}")) for r in range(tile))]
    source = kernel(
        "in a: f32[m,n2]; in b: f32[n2,n1]; out c: f32[m,n1]",
        par(vec(*body, unroll=2)),
        sizes=("n0", "n1", "n2", "m"),
    )
    for n in (1, 32, 45):
        a, b = data(8, 33), data(33, n)
        c = run(source, {"a": a, "b": b, "c": np.zeros((8, n), np.float32)}, (2, n, 33, 8))[0]["c"]
        np.testing.assert_allclose(c, a @ b, rtol=1e-4, atol=1e-5)


def test_scratch_in_registers():
    """With known indices an array is a set of locals: nothing is allocated, loops carry phis."""
    r = Var("r", "i64")
    tile = 3

    def rows(*body: Stmt) -> Loop:
        return seq(*body, var=r, stop=const(tile), unroll=tile)

    a, b, c = (
        Load("a", (r, k), "f32"),
        Load("b", (k, j), "f32"),
        Load("c", (isub(const(2), r),), "f32"),
    )
    source = kernel(
        "in a: f32[3,n2]; in b: f32[n2,n1]; out o: f32[3,n1]",
        vec(
            Scratch("c", "f32", (tile,)),
            rows(Store("c", (r,), f32(0.5))),
            seq(rows(Store("c", (isub(const(2), r),), op("fma", a, b, c)))),
            rows(Store("o", (r, j), c)),
            unroll=2,
        ),
        sizes=("n0", "n1", "n2"),
    )
    assert "alloca" not in print_llvm(source, native.host_target())
    for n in (1, 32, 50):
        check(source, {"a": data(3, 9), "b": data(9, n), "o": data(3, n)}, (0, n, 9), rtol=1e-5)


@pytest.mark.parametrize("unroll", [1, 3])
def test_scratch(unroll):
    """A private array in every lane, filled and read backwards, and one shared array outside."""
    index = isub(const(2), k)
    source = kernel(
        "in x: f32[n1]; out y: f32[n1]",
        Scratch("w", "f32", (3,)),
        seq(Store("w", (k,), op("convert", k, dtype="f32")), stop=const(3), unroll=unroll),
        vec(
            Scratch("t", "f32", (3,)),
            seq(
                Store("t", (k,), op("mul", Load("x", (j,), "f32"), op("convert", k, dtype="f32"))),
                stop=const(3),
                unroll=unroll,
            ),
            Local("s", "f32", f32(0.0)),
            seq(
                Set(
                    "s",
                    op(
                        "fma",
                        local("s"),
                        f32(2.0),
                        op("mul", Load("t", (index,), "f32"), Load("w", (k,), "f32")),
                    ),
                ),
                stop=const(3),
                unroll=unroll,
            ),
            Store("y", (j,), local("s")),
            unroll=2,
        ),
    )
    for n in (3, 40, 50):
        check(source, {"x": data(n), "y": data(n)}, (0, n))


def test_scratch_at_an_index_of_its_lane():
    place = imod(j, const(4))
    source = kernel(
        "in x: f32[n1]; out y: f32[n1]",
        vec(
            Scratch("t", "f32", (4,)),
            seq(Store("t", (k,), f32(0.0)), stop=const(4)),
            Store("t", (place,), Load("x", (j,), "f32")),
            Store("y", (j,), op("add", Load("t", (const(1),), "f32"), Load("t", (place,), "f32"))),
            unroll=2,
        ),
    )
    check(source, {"x": data(50), "y": data(50)}, (0, 50))


def test_ragged_loop():
    """A loop whose bound differs between lanes."""
    source = kernel(
        "in x: f32[n1]; out y: f32[n1]",
        vec(
            Local("s", "f32", f32(0.0)),
            seq(Accumulate("s", "add", Load("x", (k,), "f32")), stop=iadd(j, 1)),
            Store("y", (j,), local("s")),
        ),
    )
    check(source, {"x": data(50), "y": data(50)}, (0, 50), rtol=1e-5)


def test_mandelbrot():
    x, y, n = local("x"), local("y"), local("n", "i32")
    inside = op("le", op("add", op("mul", x, x), op("mul", y, y)), f32(4.0))
    source = kernel(
        "in c: f32[n1]; in d: f32[n1]; out r: i32[n1]",
        vec(
            Local("x", "f32", f32(0.0)),
            Local("y", "f32", f32(0.0)),
            Local("n", "i32", Const(0, "i32")),
            While(
                op("and", inside, op("lt", n, Const(50, "i32"))),
                (
                    Local(
                        "z",
                        "f32",
                        op(
                            "add",
                            op("sub", op("mul", x, x), op("mul", y, y)),
                            Load("c", (j,), "f32"),
                        ),
                    ),
                    Set(
                        "y", op("add", op("mul", op("mul", x, y), f32(2.0)), Load("d", (j,), "f32"))
                    ),
                    Set("x", local("z")),
                    Accumulate("n", "add", Const(1, "i32")),
                ),
            ),
            Store("r", (j,), n),
            unroll=2,
        ),
    )
    check(source, {"c": data(100), "d": data(100, seed=1), "r": np.zeros(100, np.int32)}, (0, 100))


def test_scalar_while_and_if():
    """Collatz, without vectors."""
    n, steps = local("n", "i64"), local("steps", "i64")
    even = op("eq", op("and", n, const(1)), const(0))
    source = kernel(
        "out y: i64[n0]",
        par(
            Local("n", "i64", iadd(i, 1)),
            Local("steps", "i64", const(0)),
            While(
                op("ne", n, const(1)),
                (
                    If(even, (Set("n", op("div", n, const(2))),), (Set("n", iadd(imul(n, 3), 1)),)),
                    Set("steps", iadd(steps, 1)),
                ),
            ),
            Store("y", (i,), steps),
        ),
        sizes=("n0",),
    )
    check(source, {"y": np.zeros(40, np.int64)}, (40,))


def test_if_inside_vec():
    x = Load("x", (j,), "f32")
    source = kernel(
        "in x: f32[n1]; out y: f32[n1]; out s: f32[1]",
        Local("s", "f32", f32(0.0)),
        vec(
            Local("v", "f32", f32(1.0)),
            If(
                op("gt", x, f32(0.0)),
                (
                    Set("v", x),
                    Accumulate("s", "add", x),
                    If(op("gt", x, f32(1.0)), (Set("v", f32(5.0)),)),
                ),
                (Set("v", op("neg", x)), Store("y", (j,), f32(3.0))),
            ),
            If(
                op("gt", n1, const(40)),
                (Accumulate("v", "mul", f32(2.0)),),
                (Accumulate("v", "mul", f32(3.0)),),
            ),
            # nowhere true, at an index far outside
            If(op("gt", x, f32(1e9)), (Set("v", Load("x", (const(1 << 40),), "f32")),)),
            If(op("ge", x, f32(0.0)), (Store("y", (j,), local("v")),)),
        ),
        Store("s", (const(0),), local("s")),
    )
    for n in (1, 20, 100):
        check(source, {"x": data(n), "y": data(n), "s": data(1)}, (0, n), rtol=1e-5)


def test_long_branch_inside_vec_is_passed_over():
    """The same values where all, some and no lanes take it."""
    x, v = Load("x", (j,), "f32"), local("v")
    long = [Set("v", op("fma", v, f32(0.5), x)) for _ in range(40)]
    source = kernel(
        "in x: f32[n1]; out y: f32[n1]",
        vec(
            Local("v", "f32", x),
            If(op("gt", x, f32(0.0)), tuple(long), (Set("v", f32(2.0)),)),
            Store("y", (j,), v),
            unroll=2,
        ),
    )
    for values in (data(100), np.abs(data(100)), -np.abs(data(100))):
        check(source, {"x": values, "y": values}, (0, 100), rtol=1e-5)
    text = print_llvm(source, native.host_target())
    assert text.count("fma") == 3 * 40  # two vectors of the main loop and the masked one


def test_checks():
    source = kernel(
        "in ids: i64[n1]; out y: i64[n1]",
        vec(
            Check(op("ge", Load("ids", (j,), "i64"), const(0)), 2),
            Check(op("lt", Load("ids", (j,), "i64"), const(10)), 3),
            Store("y", (j,), Load("ids", (j,), "i64")),
            width=8,
        ),
        Check(op("lt", n1, const(60)), 4),
    )
    for ids, flag in (
        (np.arange(5), 0),
        (np.arange(50) % 11, 3),
        (-np.arange(50), 2),
        (np.zeros(60), 4),
    ):
        ids = ids.astype(np.int64)
        y, got = run(source, {"ids": ids, "y": np.zeros_like(ids)}, (0, len(ids)))
        assert got == flag
        np.testing.assert_array_equal(y["y"], ids)


def test_load_after_a_store_in_line():
    first = Load("y", (const(0),), "f32")
    source = kernel(
        "inout y: f32[n1]; out z: f32[n1]",
        Local("a", "f32", first),
        Store("y", (const(0),), f32(5.0)),
        Local("b", "f32", first),
        vec(
            Store("z", (j,), op("add", Load("y", (j,), "f32"), local("b"))),
            Store("y", (j,), local("a")),
            Store("z", (j,), op("add", Load("z", (j,), "f32"), Load("y", (j,), "f32"))),
        ),
    )
    check(source, {"y": data(9), "z": data(9)}, (0, 9))


def test_loads_are_read_again_after_a_store():
    source = kernel(
        "inout y: f32[n1]; out z: f32[n1]",
        Local("a", "f32", Load("y", (const(0),), "f32")),
        seq(
            Store("y", (const(0),), op("add", Load("y", (const(0),), "f32"), f32(1.0))),
            stop=const(5),
        ),
        vec(Store("z", (j,), op("add", Load("y", (const(0),), "f32"), local("a")))),
    )
    check(source, {"y": np.zeros(9, np.float32), "z": np.zeros(9, np.float32)}, (0, 9))


def test_locals_that_are_the_same_in_all_lanes_are_scalars():
    """A counter and its limit inside a vec loop; the lanes' own counts are vectors."""
    i64 = lambda name: Var(name, "i64")  # noqa: E731
    source = kernel(
        "in x: f32[n1]; out y: f32[n1]; out z: i64[n1]",
        vec(
            Local("sum", "f32", f32(0.0)),
            Local("count", "i64", const(0)),
            Local("own", "i64", const(0)),
            While(
                op("lt", i64("count"), const(5), dtype="bool"),
                (
                    Set("sum", op("add", local("sum"), Load("x", (j,), "f32"))),
                    Set("count", iadd(i64("count"), 1)),
                    If(
                        op("lt", local("sum"), f32(1.0), dtype="bool"),
                        (Set("own", iadd(i64("own"), 1)),),
                    ),
                ),
            ),
            Store("y", (j,), local("sum")),
            Store("z", (j,), iadd(i64("own"), 0)),
            unroll=2,
        ),
    )
    text = print_llvm(source, native.host_target())
    assert "add <16 x i64>" in text  # own
    assert " = icmp slt i64" in text and "icmp slt <16 x i64>" not in text  # count
    for n in (1, 32, 75):
        check(source, {"x": data(n), "y": data(n), "z": np.zeros(n, np.int64)}, (0, n))


def test_any_lane():
    """A loop that ends when nothing grows in any lane; lanes outside of the buffer do not count."""
    grows = op("lt", local("a"), f32(100.0), dtype="bool")
    doubled = op("select", grows, op("add", local("a"), local("a")), local("a"), dtype="f32")
    source = kernel(
        "in x: f32[n1]; out y: f32[n1]",
        vec(
            Local("a", "f32", Load("x", (j,), "f32")),
            While(
                op("any_lane", grows, dtype="bool"),
                (Local("b", "f32", doubled), Set("a", local("b"))),
            ),
            Store("y", (j,), local("a")),
            unroll=2,
        ),
    )
    for n in (1, 32, 75):
        x = np.abs(data(n)) + np.float32(0.5)
        check(source, {"x": x, "y": data(n)}, (0, n))
