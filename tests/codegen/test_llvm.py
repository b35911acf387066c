"""The LLVM printer against ``kernel/interp.py`` and NumPy, on kernels written by hand."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from tracejit.codegen.llvm import print_llvm
from tracejit.errors import BackendError, MissingRule
from tracejit.ir.expr import Const, Expr, Load, Op, Var, const, iadd, idiv, imod, imul, isub
from tracejit.ir.types import DTYPES, bfloat16
from tracejit.kernel import interp
from tracejit.kernel.nodes import (
    Accumulate,
    Check,
    If,
    Kernel,
    Local,
    Loop,
    Param,
    Scratch,
    Set,
    Stmt,
    Store,
    While,
)
from tracejit.runtime import native

SIZES = [0, 1, 15, 16, 17, 63, 64, 65, 1000]
i, j, k = (Var(name, "i64") for name in "ijk")
n0, n1, n2 = (Var(name, "i64") for name in ("n0", "n1", "n2"))
_codes: dict[str, native.Code] = {}


def op(fn: str, *args: Expr, dtype: str = "") -> Op:
    result = (
        "bool"
        if fn in ("eq", "ne", "lt", "le", "gt", "ge", "is_nan", "is_finite")
        else args[0].dtype
    )
    return Op(fn, args, dtype or result)


def f32(value: float) -> Const:
    return Const(value, "f32")


def local(name: str, dtype: str = "f32") -> Var:
    return Var(name, dtype)


def vec(*body: Stmt, var: Var = j, stop: Expr = n1, width: int = 16, unroll: int = 4) -> Loop:
    return Loop("vec", var.name, const(0), stop, body, width, unroll)


def seq(*body: Stmt, var: Var = k, stop: Expr = n2, unroll: int = 1) -> Loop:
    return Loop("seq", var.name, const(0), stop, body, 1, unroll)


def par(*body: Stmt) -> Loop:
    return Loop("par", "i", const(0), n0, body)


def kernel(params: str, *body: Stmt, sizes: tuple[str, ...] = ("n0", "n1")) -> Kernel:
    """``params`` as in "in x: f32[n0,n1]; out y: f32[n0]"."""
    made = []
    for text in params.split(";"):
        role, name, type = text.replace(":", " ").split()
        dtype, dims = type.rstrip("]").split("[")
        shape = tuple(int(d) if d.isdigit() else d for d in dims.split(",") if d)
        made.append(Param(name, dtype, shape, role))
    return Kernel("k", sizes, tuple(made), tuple(body))


def compiled(source: Kernel, target: native.Target | None = None) -> int:
    text = print_llvm(source, target or native.host_target())
    if text not in _codes:
        _codes[text] = native.compile_llvm(text, [source.name])
    return _codes[text].addresses[source.name]


def run(
    source: Kernel,
    arrays: dict[str, np.ndarray],
    sizes: tuple[int, ...],
    threads: int = 1,
    target: native.Target | None = None,
) -> tuple[dict[str, np.ndarray], int]:
    """Run on copies; returns them and the flag."""
    copies = {name: array.copy() for name, array in arrays.items()}
    ordered = [copies[param.name] for param in source.params]
    flag = native.call_kernel(
        compiled(source, target), ordered, sizes, 0, sizes[0] if sizes else 0, threads
    )
    return copies, flag


def check(
    source: Kernel,
    arrays: dict[str, np.ndarray],
    sizes: tuple[int, ...],
    threads: int = 1,
    rtol: float = 2e-6,
) -> dict[str, np.ndarray]:
    """The kernel gives what the interpreter gives."""
    wanted = {name: array.copy() for name, array in arrays.items()}
    wanted_flag = interp.run(source, wanted, dict(zip(source.sizes, sizes, strict=True)))
    got, flag = run(source, arrays, sizes, threads)
    assert flag == wanted_flag
    for name, array in wanted.items():
        exact = array.dtype.kind in "biu"
        np.testing.assert_allclose(
            got[name].astype(array.dtype if exact else np.float64),
            array if exact else array.astype(np.float64),
            rtol=0 if exact else rtol,
            atol=0 if exact else rtol,
            err_msg=name,
        )
    return got


def data(*shape: int, seed: int = 0, dtype: str = "f32") -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(DTYPES[dtype])


def exp(x: Expr) -> Expr:
    """A quick one: range reduction by magic numbers and a polynomial."""
    x = op("max", op("min", x, f32(88.0)), f32(-87.0))
    magic = f32(12582912.0 + 127)
    shifted = op("fma", x, f32(1.442695041), magic)
    n = op("sub", shifted, magic)
    r = op("fma", n, f32(2.12194440e-4), op("fma", n, f32(-0.693359375), x))
    p: Expr = f32(1.9875691500e-4)
    for c in (1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1):
        p = op("fma", p, r, f32(c))
    y = op("add", op("fma", p, op("mul", r, r), r), f32(1.0))
    bits = op("shift_left", op("bitcast", shifted, dtype="i32"), Const(23, "i32"))
    return op("mul", y, op("bitcast", bits, dtype="f32"))


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


# ---- maps and reductions ---------------------------------------------------------------------------------


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


# ---- addresses -------------------------------------------------------------------------------------------


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


# ---- loops in loops --------------------------------------------------------------------------------------


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
            If(op("ge", x, f32(0.0)), (Store("y", (j,), local("v")),)),
            # nowhere true, at an index far outside
            If(op("gt", x, f32(1e9)), (Set("v", Load("x", (const(1 << 40),), "f32")),)),
        ),
        Store("s", (const(0),), local("s")),
    )
    for n in (1, 20, 100):
        check(source, {"x": data(n), "y": data(n), "s": data(1)}, (0, n), rtol=1e-5)


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


# ---- scalar operations -----------------------------------------------------------------------------------

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


# ---- the module ------------------------------------------------------------------------------------------


def test_unknown_operation_is_named():
    source = elementwise("digamma", ("f32",), "f32")
    with pytest.raises(MissingRule, match="digamma"):
        print_llvm(source, native.host_target())


def test_bad_text_is_an_error():
    with pytest.raises(BackendError, match="LLVM rejects"):
        native.compile_llvm("define void @k( {", ["k"])


def test_object_is_loaded_again():
    source = softmax()
    compiled(source)
    data_ = _codes[print_llvm(source, native.host_target())].object_bytes
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
