"""The LLVM printer against ``kernel/interp.py`` and NumPy, on kernels written by hand."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest

from tests.codegen.llvm_kernels import (
    CODES,
    SIZES,
    check,
    compiled,
    data,
    exp,
    f32,
    i,
    j,
    k,
    kernel,
    local,
    n0,
    n1,
    op,
    par,
    run,
    seq,
    vec,
)
from tracejit.codegen.llvm import print_llvm, print_module
from tracejit.errors import BackendError
from tracejit.ir.expr import Const, Expr, Load, Var, const, iadd, idiv, imod, imul, isub
from tracejit.ir.types import DTYPES
from tracejit.kernel.nodes import (
    Accumulate,
    Kernel,
    Local,
    Loop,
    Stmt,
    Store,
)
from tracejit.runtime import native


def softmax(width: int = 16, unroll: int = 4) -> Kernel:
    x, e = Load("x", (i, j), "f32"), local("e")

    def row(*body: Stmt) -> Loop:
        return vec(*body, width=width, unroll=unroll)

    return kernel(
        "in x: f32[n0,n1]; out y: f32[n0,n1]",
        par(
            Local("m", "f32", f32(-np.inf)),
            row(Accumulate("m", "max", x)),
            Local("s", "f32", f32(0.0)),
            row(
                Local("e", "f32", exp(op("sub", x, local("m")))),
                Store("y", (i, j), e),
                Accumulate("s", "add", e),
            ),
            row(Store("y", (i, j), op("div", Load("y", (i, j), "f32"), local("s")))),
        ),
    )


# ---- maps and reductions -------------------------------------------------------------------------


@pytest.mark.parametrize("n", SIZES)
def test_softmax(n):
    x = data(5, n)
    y = run(softmax(), {"x": x, "y": np.zeros_like(x)}, (5, n))[0]["y"]
    if n:
        e = np.exp(x - x.max(1, keepdims=True))
        np.testing.assert_allclose(y, e / e.sum(1, keepdims=True), rtol=1e-5)


def test_softmax_on_threads():
    x = data(37, 100)
    one = run(softmax(), {"x": x, "y": np.zeros_like(x)}, x.shape)[0]["y"]
    many = run(softmax(), {"x": x, "y": np.zeros_like(x)}, x.shape, threads=2)[0]["y"]
    assert np.array_equal(one, many)


@pytest.mark.parametrize("bytes_", [16, 32])
def test_narrow_targets(bytes_):
    """The text for AVX2 and SSE: full vectors, then one masked tail."""
    host = native.host_target()
    narrow = native.Target(host.cpu, host.features, bytes_, host.triple, host.layout)
    source = softmax(bytes_ // 4, 2)
    for n in (1, 7, 8, 9, 100):
        x = data(3, n)
        y = run(source, {"x": x, "y": np.zeros_like(x)}, x.shape, target=narrow)[0]["y"]
        np.testing.assert_allclose(y.sum(1), 1.0, rtol=1e-5)


@pytest.mark.parametrize("n", SIZES)
def test_map_leaves_the_rest_alone(n):
    """Nothing is written past the end."""
    x = Load("x", (j,), "f32")
    source = kernel(
        "in x: f32[n1]; out y: f32[n1]", vec(Store("y", (j,), op("add", op("mul", x, x), f32(1.0))))
    )
    x_, y_ = data(n + 64), np.full(n + 64, 7, np.float32)
    y = run(source, {"x": x_, "y": y_}, (0, n))[0]["y"]
    np.testing.assert_array_equal(y[:n], x_[:n] * x_[:n] + 1)
    np.testing.assert_array_equal(y[n:], 7)


@pytest.mark.parametrize("n", [1, 16, 24, 64, 80, 200])
def test_constant_extent(n):
    x = Load("x", (j,), "f32")
    source = kernel(
        f"in x: f32[{n}]; out y: f32[{n}]; out s: f32[1]",
        Local("s", "f32", f32(1.0)),
        vec(Store("y", (j,), op("neg", x)), Accumulate("s", "add", x), stop=const(n)),
        Store("s", (const(0),), local("s")),
        sizes=(),
    )
    check(source, {"x": data(n), "y": data(n), "s": data(1)}, (), rtol=1e-5)


@pytest.mark.parametrize("dtype", ["f32", "f64", "i32", "u8", "i64"])
@pytest.mark.parametrize("fn", ["add", "mul", "max", "min"])
def test_reduction(fn, dtype):
    source = kernel(
        f"in x: {dtype}[n0,n1]; out y: {dtype}[n0]",
        par(
            Local("s", dtype, Const(3, dtype)),
            vec(Accumulate("s", fn, Load("x", (i, j), dtype)), width=8, unroll=3),
            Store("y", (i,), local("s", dtype)),
        ),
    )
    for n in (0, 5, 8, 100):
        x = np.round(data(3, n) * 3 + 4).astype(DTYPES[dtype])
        if dtype[0] == "f":
            x = (1 + x / 100).astype(DTYPES[dtype])
        check(source, {"x": x, "y": np.zeros(3, x.dtype)}, (3, n), rtol=1e-5)


@pytest.mark.parametrize("fn", ["and", "or", "xor"])
def test_reduction_of_bool(fn):
    source = kernel(
        "in x: bool[n1]; out y: bool[1]",
        Local("s", "bool", Const(fn == "and", "bool")),
        vec(Accumulate("s", fn, Load("x", (j,), "bool"))),
        Store("y", (const(0),), local("s", "bool")),
    )
    for n in (1, 40, 200):
        for value in (np.ones(n, bool), np.arange(n) == n // 2, np.zeros(n, bool)):
            check(source, {"x": value, "y": np.zeros(1, bool)}, (0, n))


def test_maximum_of_nan():
    source = kernel(
        "in x: f32[n1]; out y: f32[2]",
        Local("s", "f32", f32(-np.inf)),
        Local("t", "f32", f32(np.inf)),
        vec(
            Accumulate("s", "max", Load("x", (j,), "f32")),
            Accumulate("t", "min", Load("x", (j,), "f32")),
        ),
        Store("y", (const(0),), local("s")),
        Store("y", (const(1),), local("t")),
    )
    for place in (0, 3, 70, 99):
        x = data(100)
        x[place] = np.nan
        assert np.isnan(run(source, {"x": x, "y": np.zeros(2, np.float32)}, (0, 100))[0]["y"]).all()


def test_column_sums():
    """A sequential loop outside, vectors inside, the sums in the output."""
    row = Load("x", (k, j), "f32")
    source = kernel(
        "in x: f32[n2,n1]; inout y: f32[n1]",
        seq(vec(Store("y", (j,), op("add", Load("y", (j,), "f32"), row)))),
        sizes=("n0", "n1", "n2"),
    )
    check(source, {"x": data(20, 100), "y": data(100)}, (0, 100, 20), rtol=1e-5)


def test_column_sums_in_registers():
    """Vectors outside, a sequential loop inside, accumulators declared in the vec loop."""
    source = kernel(
        "in x: f32[n2,n1]; out y: f32[n1]",
        vec(
            Local("s", "f32", f32(0.5)),
            seq(Accumulate("s", "add", Load("x", (k, j), "f32"))),
            Store("y", (j,), local("s")),
        ),
        sizes=("n0", "n1", "n2"),
    )
    for n in (0, 1, 70, 100):
        check(source, {"x": data(20, n), "y": data(n)}, (0, n, 20), rtol=1e-5)


# ---- addresses -----------------------------------------------------------------------------------


def copy_kernel(index: tuple[Expr, ...], x: str, guard: Expr | None = None) -> Kernel:
    return kernel(
        f"in x: {x}; out y: f32[n0,n1]",
        par(vec(Store("y", (i, j), Load("x", index, "f32", guard)), unroll=2)),
    )


def test_padding():
    inside = op("and", op("ge", j, const(2)), op("lt", j, iadd(n1, -3)))
    source = copy_kernel((i, isub(j, 2)), "f32[n0,n1]", inside)
    for n in (1, 6, 50):
        check(source, {"x": data(3, n), "y": data(3, n)}, (3, n))


def test_padding_of_rows():
    """A guard that is the same in all lanes, and an index outside where it is false."""
    source = copy_kernel((isub(i, 1), j), "f32[n0,n1]", op("ge", i, const(1)))
    check(source, {"x": data(3, 50), "y": data(3, 50)}, (3, 50))
    source = copy_kernel((isub(i, 1), const(0)), "f32[n0,n1]", op("ge", i, const(1)))
    check(source, {"x": data(3, 50), "y": data(3, 50)}, (3, 50))
    source = copy_kernel(
        (imul(i, 1000000), const(0)),
        "f32[n0,n1]",
        op("and", op("lt", j, const(3)), op("lt", i, const(1))),
    )
    check(source, {"x": data(3, 50), "y": data(3, 50)}, (3, 50))


def test_strides():
    check(copy_kernel((j, i), "f32[n1,n0]"), {"x": data(50, 3), "y": data(3, 50)}, (3, 50))
    check(
        copy_kernel((isub(isub(n1, 1), j),), "f32[n1]"), {"x": data(50), "y": data(3, 50)}, (3, 50)
    )
    check(
        copy_kernel((const(0), imul(j, 2)), "f32[1,200]"),
        {"x": data(1, 200), "y": data(3, 50)},
        (3, 50),
    )
    check(copy_kernel((imul(j, j),), "f32[2500]"), {"x": data(2500), "y": data(3, 50)}, (3, 50))


def test_reversed():
    """Downward indices are vector loads and stores with the lanes turned around."""
    back = isub(isub(n1, 1), j)
    read = copy_kernel((i, back), "f32[n0,n1]")
    write = kernel(
        "in x: bool[n0,n1]; out y: bool[n0,n1]",
        par(vec(Store("y", (i, back), Load("x", (i, j), "bool")), unroll=2)),
    )
    for n in (3, 32, 50):
        check(read, {"x": data(3, n), "y": data(3, n)}, (3, n))
        check(write, {"x": data(3, n) > 0, "y": data(3, n) > 9}, (3, n))
    assert "gather" not in print_llvm(read, native.host_target())


def test_strided_stores():
    source = kernel(
        "in x: f32[n0,n1]; out y: f32[n1,n0]",
        par(vec(Store("y", (j, i), Load("x", (i, j), "f32")), unroll=2)),
    )
    check(source, {"x": data(3, 50), "y": data(50, 3)}, (3, 50))


def test_flattened_index_is_a_vector_load():
    """x[p / n, p % n] reads x in order."""
    p, n = iadd(imul(i, n1), j), Var("n2", "i64")
    index = (idiv(idiv(p, n), const(3)), imod(idiv(p, n), const(3)), imod(p, n))
    source = kernel(
        "in x: f32[n0,3,n2]; out y: f32[n0,n1]",
        par(vec(Store("y", (i, j), Load("x", index, "f32")))),
        sizes=("n0", "n1", "n2"),
    )
    text = print_llvm(source, native.host_target())
    assert "gather" not in text and "div" not in text
    check(source, {"x": data(4, 3, 7), "y": data(4, 21)}, (4, 21, 7))


@pytest.mark.parametrize("fn", ["add", "sub", "mul"])
def test_literals_of_64_bits_wrap(fn):
    """A chain of them has no more digits than one."""
    number = const(2**63 - 25, "i64")
    chain = [Local("a0", "i64", number)]
    for step in range(1, 20):
        last = local(f"a{step - 1}", "i64")
        chain.append(Local(f"a{step}", "i64", op(fn, last, last if fn == "mul" else number)))
    stored = par(*chain, Store("y", (i,), local("a19", "i64")))
    program = kernel("in x: f32[n0]; out y: i64[n0]", stored, sizes=("n0",))
    check(program, {"x": data(3), "y": np.zeros(3, np.int64)}, (3,))


def test_division_of_indices():
    for divisor in (const(8), const(7), n0):
        index = (imod(j, divisor), idiv(j, divisor))
        check(copy_kernel(index, "f32[8,50]"), {"x": data(8, 50), "y": data(7, 50)}, (7, 50))


def test_embedding():
    """Rows picked by an index: one scalar load and a vector load; lanes picked: gathers."""
    row = Load("ids", (i,), "i32")
    lane = Load("ids", (j,), "i32")
    for index in ((op("convert", row, dtype="i64"), j), (i, op("convert", lane, dtype="i64"))):
        source = kernel(
            "in x: f32[n0,n1]; in ids: i32[n1]; out y: f32[n0,n1]",
            par(vec(Store("y", (i, j), Load("x", index, "f32")))),
        )
        ids = np.random.default_rng(1).integers(0, 4, 100).astype(np.int32)
        check(source, {"x": data(4, 100), "ids": ids, "y": data(4, 100)}, (4, 100))


def test_guarded_stores():
    source = kernel(
        "in x: f32[n1]; inout y: f32[n1]",
        vec(Store("y", (j,), Load("x", (j,), "f32"), op("gt", Load("x", (j,), "f32"), f32(0.0)))),
        Store("y", (const(0),), f32(9.0), op("gt", n1, const(10))),
    )
    for n in (5, 100):
        check(source, {"x": data(n), "y": data(n, seed=1)}, (0, n))


# ---- the module ----------------------------------------------------------------------------------


def test_bad_text_is_an_error():
    with pytest.raises(BackendError, match="LLVM rejects"):
        native.compile_llvm("define void @k( {", ["k"])


def test_module_of_several_kernels():
    """One compilation, an address for each."""
    twice, half = (
        replace(
            kernel(
                "in x: f32[n1]; out y: f32[n1]",
                vec(Store("y", (j,), op("mul", Load("x", (j,), "f32"), f32(factor)))),
            ),
            name=name,
        )
        for name, factor in (("twice", 2.0), ("half", 0.5))
    )
    code = native.compile_llvm(print_module([twice, half], native.host_target()), ["twice", "half"])
    x, y = data(70), np.zeros(70, np.float32)
    for name, factor in (("twice", 2.0), ("half", 0.5)):
        native.call_kernel(code.addresses[name], [x, y], (0, 70))
        np.testing.assert_array_equal(y, x * np.float32(factor))


def test_in_place():
    """Element by element, a buffer may be both input and output."""
    x = Load("x", (i, j), "f32")
    source = kernel(
        "in x: f32[n0,n1]; out y: f32[n0,n1]",
        par(vec(Store("y", (i, j), op("add", x, op("mul", x, f32(3.0)))))),
    )
    a = data(3, 70)
    wanted = a + a * np.float32(3)
    native.call_kernel(compiled(source), [a, a], a.shape, 0, 3)
    np.testing.assert_array_equal(a, wanted)


def test_object_is_loaded_again():
    source = softmax()
    compiled(source)
    data_ = CODES[print_llvm(source, native.host_target())].object_bytes
    again = native.load_object(data_, ["k"])
    x = data(3, 20)
    y = np.zeros_like(x)
    native.call_kernel(again.addresses["k"], [x, y], x.shape, 0, 3)
    np.testing.assert_allclose(y.sum(1), 1.0, rtol=1e-5)


def test_whole_registers_are_used():
    if native.host_target().vector_bytes == 64:
        assert "zmm" in native.assembly(print_llvm(softmax(), native.host_target()))


def test_compiling_on_several_threads():
    text = print_llvm(softmax(16, 1), native.host_target())
    results: list[native.Code] = []
    threads = [
        threading.Thread(target=lambda: results.append(native.compile_llvm(text, ["k"])))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    x = data(3, 20)
    for code in results:
        y = np.zeros_like(x)
        native.call_kernel(code.addresses["k"], [x, y], x.shape, 0, 3)
        np.testing.assert_allclose(y.sum(1), 1.0, rtol=1e-5)
    assert len({code.addresses["k"] for code in results}) == 4
