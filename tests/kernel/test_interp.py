"""Kernels run: some from text, some written with the builder, against NumPy."""

import numpy as np
import pytest

from tracejit.errors import InternalError
from tracejit.ir.types import DTYPES, TensorType, type_of
from tracejit.kernel.build import KernelBuilder, Operand, operand, output
from tracejit.kernel.interp import run
from tracejit.kernel.nodes import Const, Kernel, Load, Op, Param, Var
from tracejit.kernel.text import parse, show
from tracejit.kernel.verify import verify

RANDOM = np.random.default_rng(0)


def write_kernel(lower, ins, outs, **params):
    """A kernel of a lowering rule for arrays of these shapes; extents above 4 are sizes."""
    sizes = {}

    def param(name, array, role):
        shape = tuple(n if n <= 4 else f"n{n}" for n in array.shape)
        sizes.update({f"n{n}": n for n in array.shape if n > 4})
        return Param(name, {d: s for s, d in DTYPES.items()}[array.dtype], shape, role)

    inputs = [param(f"x{k}", array, "in") for k, array in enumerate(ins)]
    outputs = [param(f"y{k}", array, "inout") for k, array in enumerate(outs)]
    k = KernelBuilder([*sizes, *(p.name for p in inputs + outputs)], width=8)
    lower(
        k,
        [operand(p, type_of(a)) for p, a in zip(inputs, ins, strict=True)],
        [output(p, type_of(a)) for p, a in zip(outputs, outs, strict=True)],
        **params,
    )
    return Kernel(lower.__name__, tuple(sizes), (*inputs, *outputs), k.finish()), sizes


def run_rule(lower, ins, outs, **params):
    """Build, print, parse, verify and run; ``outs`` are written. Returns the flag."""
    kernel, sizes = write_kernel(lower, ins, outs, **params)
    again = parse(show(kernel))
    assert again == kernel
    verify(again)
    buffers = {f"x{k}": a for k, a in enumerate(ins)} | {f"y{k}": a for k, a in enumerate(outs)}
    return run(again, buffers, sizes)


# ---- rules written with the builder --------------------------------------------------------------


def cumsum(k, xs, outs, *, axis):
    (x,), (y,) = xs, outs
    with k.nest(x.shape[:axis] + x.shape[axis + 1 :]) as other:
        total = k.local(x.dtype, 0, "total")
        with k.loop("seq", x.shape[axis]) as i:
            index = (*other[:axis], i, *other[axis:])
            k.set(total, k.op("add", total, x(index)))
            k.store(y, index, total)


def matmul(k, xs, outs):
    (a, b), (c,) = xs, outs
    (rows, inner), cols = a.shape, b.shape[1]
    with k.loop("par", rows) as i, k.loop("vec", cols) as j:
        total = k.local(c.dtype, 0)
        with k.loop("seq", inner, name="r") as r:
            k.accumulate(total, "add", k.op("mul", a((i, r)), b((r, j))))
        k.store(c, (i, j), total)


def sort_rows(k, xs, outs):
    """Insertion sort, stable, nan last; the second output holds where each element stood."""
    (x,), (y, where) = xs, outs
    rows, n = x.shape
    with k.loop("par", rows) as i, k.loop("seq", n) as j:
        key = k.local(x.dtype, x((i, j)), "key")
        hole = k.local("i64", j, "hole")
        moving = k.local("bool", True, "moving")
        with k.repeat(k.op("and", moving, k.op("gt", hole, 0))):
            before = k.local(x.dtype, k.load(y, (i, k.op("sub", hole, 1))), "before")
            later = k.op("and", k.op("is_nan", before), k.op("not", k.op("is_nan", key)))
            with k.when(k.op("or", k.op("lt", key, before), later)):
                k.store(y, (i, hole), before)
                k.store(where, (i, hole), k.load(where, (i, k.op("sub", hole, 1))))
                k.set(hole, k.op("sub", hole, 1))
            with k.otherwise():
                k.set(moving, False)
        k.store(y, (i, hole), key)
        k.store(where, (i, hole), j)


def scatter_add(k, xs, outs):
    """Rows of ``updates`` added where ``index`` says; a flag for those that fall outside."""
    (index, updates), (y,) = xs, outs
    with k.loop("seq", index.shape[0]) as i:
        row = k.local("i64", k.op("convert", index((i,)), dtype="i64"), "row")
        inside = k.op("and", k.op("ge", row, 0), k.op("lt", row, y.shape[0]))
        k.check(inside, 7)
        with k.when(inside), k.loop("vec", y.shape[1]) as j:
            k.store(y, (row, j), k.op("add", k.load(y, (row, j)), updates((i, j))))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_cumsum(axis):
    x = RANDOM.standard_normal((3, 5, 6)).astype(np.float32)
    y = np.empty_like(x)
    assert run_rule(cumsum, [x], [y], axis=axis) == 0
    np.testing.assert_array_equal(y, np.cumsum(x, axis))


def test_cumsum_of_a_vector():
    x = np.arange(7, dtype=np.int32)
    y = np.empty_like(x)
    run_rule(cumsum, [x], [y], axis=0)
    np.testing.assert_array_equal(y, np.cumsum(x))


def test_cumsum_text():
    x = np.zeros((3, 5), np.float16)
    kernel, _ = write_kernel(cumsum, [x], [x], axis=1)
    assert show(kernel) == (
        "kernel cumsum[n5](in x0: f16[3,n5], inout y0: f16[3,n5])\n"
        "  par i in 3:\n"
        "    total: f16 = 0.0:f16\n"
        "    seq j in n5:\n"
        "      total = add(total, x0[i, j])\n"
        "      y0[i, j] = total\n"
    )


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "int16"])
def test_matmul(dtype):
    a = RANDOM.integers(-4, 5, (5, 6)).astype(dtype)
    b = RANDOM.integers(-4, 5, (6, 3)).astype(dtype)
    c = np.empty((5, 3), dtype)
    assert run_rule(matmul, [a, b], [c]) == 0
    np.testing.assert_array_equal(c, a @ b)


def test_sort_rows():
    x = RANDOM.integers(0, 5, (3, 9)).astype(np.float32)
    x[1, 2] = x[2, 0] = np.nan
    y, where = np.empty_like(x), np.empty(x.shape, np.int64)
    assert run_rule(sort_rows, [x], [y, where]) == 0
    np.testing.assert_array_equal(y, np.sort(x, axis=1))
    np.testing.assert_array_equal(where, np.argsort(x, axis=1, stable=True))


def test_scatter_add():
    index = np.array([2, 0, 2, 9, 1], np.int32)
    updates = RANDOM.standard_normal((5, 3)).astype(np.float64)
    y = np.zeros((4, 3))
    assert run_rule(scatter_add, [index, updates], [y]) == 7
    expected = np.zeros((4, 3))
    np.add.at(expected, index[index < 4], updates[index < 4])
    np.testing.assert_allclose(y, expected)


# ---- kernels from text ---------------------------------------------------------------------------


def run_text(body, sizes=None, **buffers):
    """Run statements over buffers: all are ``inout``, shapes as they come."""
    shown = {d: s for s, d in DTYPES.items()}
    params = ", ".join(
        f"inout {name}: {shown[a.dtype]}[{','.join(map(str, a.shape))}]"
        for name, a in buffers.items()
    )
    head = f"kernel k[{','.join(sizes)}]({params})\n" if sizes else f"kernel k({params})\n"
    kernel = parse(head + "".join(f"  {line}\n" for line in body.strip("\n").splitlines()))
    verify(kernel)
    return run(kernel, buffers, sizes or {})


def test_exact_dtypes():
    y = np.zeros(3, np.float32)
    run_text("y[0] = div(1.0, 3.0)\ny[1] = add(16777216.0, 1.0)\ny[2] = mul(1e30, 1e30)", y=y)
    np.testing.assert_array_equal(
        y, np.float32([np.float32(1) / np.float32(3), 16777216.0, np.inf])
    )


def test_integers_wrap():
    y = np.zeros(1, np.int8)
    run_text("y[0] = add(127:i8, 1:i8)", y=y)
    assert y[0] == -128


def test_bfloat16():
    y = np.zeros(1, DTYPES["bf16"])
    run_text("y[0] = add(256.0:bf16, 1.0:bf16)", y=y)
    assert y[0] == 256


def test_guarded_load_reads_zero_outside():
    x, y = np.array([1.0, 2.0]), np.zeros(4)
    run_text("seq i in 4:\n  y[i] = x[sub(i, 1) if and(ge(i, 1), lt(i, 3))]", x=x, y=y)
    np.testing.assert_array_equal(y, [0, 1, 2, 0])


def test_guarded_store():
    y = np.zeros(4)
    run_text("seq i in 9:\n  y[i] = 1.0:f64 if lt(i, 2)", y=y)
    np.testing.assert_array_equal(y, [1, 1, 0, 0])


def test_start_and_size():
    y = np.zeros(6, np.int64)
    run_text("seq i in 2..n:\n  y[i] = add(irem(i, 3), mul(10, idiv(i, 3)))", {"n": 5}, y=y)
    np.testing.assert_array_equal(y, [0, 0, 2, 10, 11, 0])


def test_reduction_in_a_vector_loop():
    x, y = RANDOM.standard_normal(11).astype(np.float32), np.zeros(1, np.float32)
    run_text("m: f32 = -inf\nvec(8x2) i in 11:\n  m max= x[i]\ny[0] = m", x=x, y=y)
    assert y[0] == x.max()


@pytest.mark.parametrize(("low", "flag"), [(0, 0), (1, 3), (5, 4)])
def test_first_failed_check_counts(low, flag):
    body = "seq i in low..8:\n  check lt(i, 5), code 4\n  check ge(i, 5), code 3"
    assert run_text(body if low else "pass", {"low": low}) == (4 if low == 5 else flag)


def test_threads_meet_at_barriers():
    x, y = RANDOM.integers(0, 100, (2, 8)), np.zeros(2, np.int64)
    body = """
block b in 2:
  t: i64[8] scratch
  thread i in 8:
    t[i] = x[b, i]
    barrier
    step: i64 = 4
    while gt(step, 0):
      other: i64 = t[add(i, step) if lt(i, step)]
      barrier
      t[i] = add(t[i], other)
      barrier
      step = idiv(step, 2)
    y[b] = t[0] if eq(i, 0)
"""
    run_text(body, x=x, y=y)
    np.testing.assert_array_equal(y, x.sum(1))


def test_barrier_that_some_threads_miss():
    with pytest.raises(InternalError, match="some threads wait for others that do not come"):
        run_text("thread i in 4:\n  if lt(i, 2):\n    barrier")


@pytest.mark.parametrize(("fn", "folded"), [("add", np.sum), ("max", np.max)])
@pytest.mark.parametrize("width", [8, 32, 64])
def test_threads_combine(fn, folded, width):
    x, y = RANDOM.integers(0, 100, (3, 64)), np.zeros((3, 64), np.int64)
    body = f"block b in 3:\n  thread t in 64:\n    s: i64 = x[b, t]\n    combine({width}) {fn} s"
    run_text(f"{body}\n    y[b, t] = s", x=x, y=y)
    groups = folded(x.reshape(3, -1, width), axis=2)
    np.testing.assert_array_equal(y.reshape(3, -1, width), groups[..., None].repeat(width, 2))


@pytest.mark.parametrize("width", [4, 32, 128])
def test_threads_fold_prefixes(width):
    x, y = RANDOM.integers(0, 100, (2, 128)), np.zeros((2, 128), np.int64)
    body = f"block b in 2:\n  thread t in 128:\n    s: i64 = x[b, t]\n    prefix({width}) add s"
    run_text(f"{body}\n    y[b, t] = s", x=x, y=y)
    np.testing.assert_array_equal(y.reshape(2, -1, width), x.reshape(2, -1, width).cumsum(2))


def test_warps_combine_while_others_wait():
    y = np.zeros(64, np.int64)
    body = """
block b in 1:
  thread t in 64:
    s: i64 = t
    if lt(t, 32):
      combine(32) max s
    barrier
    y[t] = s
"""
    run_text(body, y=y)
    np.testing.assert_array_equal(y, [31] * 32 + [*range(32, 64)])


def test_a_warp_that_is_not_whole():
    with pytest.raises(InternalError, match="some threads wait for others that do not come"):
        run_text(
            "block b in 1:\n  thread t in 32:\n    s: i64 = t\n    if lt(t, 5):\n"
            "      combine(32) add s"
        )


def test_atomics_and_what_was_there_before():
    x, y, z = np.array([2, 0, 2, 7]), np.zeros(3, np.int64), np.zeros(4, np.int64)
    body = """
block b in 1:
  thread t in 4:
    atomic(add) y[x[t]] = add(t, 1) if lt(x[t], 3) -> old
    fence
    z[t] = old
"""
    run_text(body, x=x, y=y, z=z)
    np.testing.assert_array_equal(y, [2, 0, 4])
    np.testing.assert_array_equal(z, [0, 0, 1, 0])


def test_scratch_starts_as_garbage():
    y = np.zeros(1)
    run_text("t: f64[3] scratch\ny[0] = t[1]", y=y)
    assert np.isnan(y[0])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "seq i in 5:\n  y[i] = 1.0:f64",
            r"`y\[i\] = 1.0:f64`: index \[4\] lies outside `y` of shape \[4\]",
        ),
        ("seq i in 5:\n  y[0] = y[sub(i, 1)]", r"index \[-1\] lies outside `y`"),
        ("y[idiv(1, 0)] = 1.0:f64", "`idiv` by 0"),
    ],
)
def test_accesses_are_checked(body, message):
    with pytest.raises(InternalError, match=message):
        run_text(body, y=np.zeros(4))


def test_buffers_must_fit():
    kernel = parse("kernel k[n](in x: f32[n])\n  pass\n")
    with pytest.raises(InternalError, match=r"`x` is f32\[3\], got float64\[3\]"):
        run(kernel, {"x": np.zeros(3)}, {"n": 3})
    with pytest.raises(InternalError, match="no value for size n"):
        run(kernel, {"x": np.zeros(3)}, {})
    with pytest.raises(InternalError, match="no buffer for `x`"):
        run(kernel, {}, {"n": 3})


# ---- the builder itself --------------------------------------------------------------------------


def test_index_arithmetic_folds():
    k, i = KernelBuilder(), Var("i", "i64")
    assert k.op("add", 2, 3) == Const(5, "i64")
    assert k.op("add", k.op("sub", i, 1), 1) == i
    assert k.op("mul", i, 1) == i
    assert k.op("idiv", 7, 2) == Const(3, "i64")
    assert k.op("add", i, 2**62).fn == "add"


def test_numbers_take_the_dtype_beside_them():
    k, x, c = KernelBuilder(), Var("x", "f16"), Var("c", "bool")
    assert k.op("mul", x, 2) == Op("mul", (x, Const(2.0, "f16")), "f16")
    assert k.op("select", c, 0, x) == Op("select", (c, Const(0.0, "f16"), x), "f16")
    assert k.op("lt", x, 1).dtype == "bool"
    assert k.op("convert", x, dtype=np.dtype("int8")) == Op("convert", (x,), "i8")
    assert k.op("convert", x, dtype="f16") == x
    with pytest.raises(InternalError, match="not an integer"):
        k.op("add", Var("i", "i64"), 0.5)
    with pytest.raises(InternalError, match="needs a dtype"):
        k.op("convert", x)


def test_names_are_unique():
    k = KernelBuilder(["x", "i"])
    assert [k.local("f32", 0, "x").name, k.local("f32", 0, "x").name] == ["x1", "x2"]
    with k.loop("seq", 3) as i, k.loop("seq", 3, name="in") as j:
        assert (i.name, j.name) == ("i1", "in1")


def test_par_loops_inside_others_are_sequential():
    k = KernelBuilder()
    with k.loop("par", 2), k.loop("par", 3):
        pass
    (outer,) = k.finish()
    assert (outer.how, outer.body[0].how) == ("par", "seq")


def test_guard_reaches_the_loads_of_a_fused_operand():
    one = Op("add", (Load("x", (Const(0, "i64"),), "f32"), Const(1.0, "f32")), "f32")
    x = Operand(TensorType(np.dtype("float32"), (1,)), (1,), lambda index: one)
    inside = Var("inside", "bool")
    guarded = x((0,), inside)
    assert str(guarded) == "select(inside, add(x[0 if inside], 1.0), 0.0)"


def test_open_blocks_and_stray_otherwise():
    k = KernelBuilder()
    with pytest.raises(InternalError, match="follows a `when`"), k.otherwise():
        pass
    with k.when(k.const(True, "bool")), pytest.raises(InternalError, match="still open"):
        k.finish()
    with pytest.raises(InternalError, match="index of 1 entries into 2 axes"):
        Operand(TensorType(np.dtype("float32"), (1, 1)), (1, 1), lambda index: index[0])((0,))
