"""Kernel IR as CUDA C: what is printed, and that it does what the interpreter does.

The CUDA C runs on the CPU (tracejit/runtime/gpu/host_device.py); test_nvrtc.py compiles it.
"""

from __future__ import annotations

import numpy as np
import pytest

from tests.gpu.cuda_kernels import check, check_all, host, launch
from tests.gpu.cuda_texts import KERNELS
from tests.passes.pass_checks import graph_of
from tracejit import ops
from tracejit.codegen.cuda import can_fuse, cuda_source
from tracejit.codegen.cuda_memory import whole_again
from tracejit.codegen.cuda_scalar import EXPANDED, KNOWN, spelled
from tracejit.errors import InternalError, MissingRule
from tracejit.ir.expr import Expr, Load, Op, Var, const, iadd, idiv, imod, imul
from tracejit.ir.prim import Spell
from tracejit.ir.types import DTYPES
from tracejit.kernel.nodes import If, Kernel, Loop, Param, Store
from tracejit.kernel.text import parse, result_dtype
from tracejit.kernel.verify import verify
from tracejit.ops.family import elementwise

# ---- texts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["map1", "softmax", "colsum", "flat", "atomics"])
def test_text(golden, name):
    golden(cuda_source(parse(KERNELS[name])).text)


def body(text: str) -> str:
    """The printed statements of a kernel with one block of 32 threads."""
    head, _, rest = text.partition("\n")
    lines = "\n".join("      " + line for line in rest.strip("\n").split("\n"))
    kernel = parse(f"{head}\n  block b in 4:\n    thread t in 32:\n{lines}\n")
    verify(kernel)
    text = cuda_source(kernel).text
    return text.split(" {\n", 1)[1].rsplit("}", 1)[0]


def test_names_of_c_are_avoided():
    text = body(
        "kernel double(in float: f32[4,32], out exp: f32[4,32]) narrow\n"
        "lane: f32 = float[b, t]\n"
        "exp[b, t] = lane"
    )
    assert "const float lane_ = float_[b * 32 + t];" in text
    assert "exp_[b * 32 + t] = lane_;" in text


def test_sizes_are_converted_once_in_a_narrow_kernel():
    text = cuda_source(parse(KERNELS["map1"])).text
    assert "long long n0_wide" in text and "const int n0 = (int)n0_wide;" in text
    wide = cuda_source(parse(KERNELS["map1"].replace(" narrow", ""))).text
    assert "const long long n0)" in wide and "const long long j = t * 4;" in wide


def test_pointers_that_may_share_memory_are_plain():
    text = cuda_source(
        parse(
            "kernel k[n0](in x: f32[n0,4], in i: i32[n0,4], in h: f16[n0,4], in w: f32[4],"
            " out y: f32[4,n0])\n  block b in n0:\n    thread t in 32:\n"
            "      y[0, 0] = x[0, 0]\n"
        )
    ).text
    assert "const float* x" in text and "const int* i" in text and "float* y" in text
    assert "const unsigned short* __restrict__ h" in text and "const float* __restrict__ w" in text


def test_divisions_are_unsigned_where_nothing_is_negative():
    text = body(
        "kernel k(out y: i64[128]) narrow\n"
        "y[idiv(t, 3)] = idiv(sub(t, 5), 3)\n"
        "y[irem(max(sub(t, 5), 0), 7)] = 1"
    )
    assert "y[(int)((unsigned)t / 3)] = (long long)((t - 5) / 3);" in text
    assert "(int)((unsigned)tj_max<int>(t - 5, 0) % 7)" in text


def test_a_flat_index_taken_apart_is_whole_again():
    j = Var("j", "i64")
    axes: Expr = iadd(imul(imod(idiv(j, 8), 5), 8), imod(j, 8))
    assert whole_again(axes) == imod(j, 40)
    assert whole_again(iadd(imul(idiv(j, 40), 40), axes)) == j
    assert whole_again(iadd(imul(idiv(j, 8), 9), imod(j, 8))) == iadd(
        imul(idiv(j, 8), 9), imod(j, 8)
    )


@pytest.mark.parametrize(
    ("index", "access"),
    [
        ("j", "tj_load<4>"),
        ("add(mul(b, 100), j)", "tj_load<4>"),
        ("add(mul(b, 101), j)", "lane"),  # not at a multiple of the vector
        ("add(j, 1)", "lane"),
        ("mul(j, 2)", "lane"),
        ("idiv(j, 8)", "x_0 = x["),  # one element for all lanes
        ("idiv(j, 6)", "lane"),
        ("irem(j, 8)", "tj_load<4>"),
        ("irem(j, 6)", "lane"),
        ("b", "x_0 = x["),
    ],
)
def test_what_is_read_as_a_vector(index, access):
    text = body(
        "kernel k(in x: f32[1000], out y: f32[128]) narrow\n"
        "vec(4x1) j in mul(t, 4)..add(mul(t, 4), 4):\n"
        f"  y[j] = x[{index}]"
    )
    assert "tj_store(&y[j], y_0);" in text
    line = next(line for line in text.split("\n") if "= x" in line or "tj_load" in line)
    assert access in line


def test_a_vector_that_is_written_first_is_read_again():
    text = body(
        "kernel k(in x: f32[128], inout y: f32[128]) narrow\n"
        "vec(4x1) j in mul(t, 4)..add(mul(t, 4), 4):\n"
        "  y[j] = x[j]\n"
        "  y[j] = add(y[j], 1.0)"
    )
    assert "y[j + lane] = x_0[lane];\n      y[j + lane] = y[j + lane] + 1.0f;" in text


def test_barriers_of_combines():
    """One a Combine; another only where a loop comes back to the same cells."""
    alone = body(
        "kernel k(out y: f32[32])\n"
        "a: f32 = 1.0\n"
        "seq k in 3:\n"
        "  barrier\n"
        "  combine(32) add a\n"
        "y[t] = a"
    )
    assert alone.count("__syncthreads") == 1 and "cells" not in alone
    text = KERNELS["loopcomb"]
    assert cuda_source(parse(text)).text.count("__syncthreads") == 2
    other = text.replace("        acc = mul(acc, 0.01)", "        barrier")
    assert cuda_source(parse(other)).text.count("__syncthreads") == 2
    straight = text.replace("seq k in 3", "if lt(b, 2)")
    assert cuda_source(parse(straight)).text.count("__syncthreads") == 1


def test_only_expansions_need_exact_rounding():
    assert cuda_source(parse(KERNELS["map1"])).contract
    assert not cuda_source(parse(KERNELS["halves"])).contract


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("  seq i in 4:\n    y[i] = 1.0", "one block loop"),
        ("  block b in 4:\n    y[b] = 1.0", "ends in a thread loop"),
        ("  block b in 4:\n    thread t in 33:\n      y[t] = 1.0", "multiple of 32"),
        ("  block b in n0:\n    thread t in n0:\n      y[t] = 1.0", "constant"),
        (
            "  block b in 4:\n    y[b] = 1.0\n    thread t in 32:\n      y[t] = 1.0",
            "`y[b] = 1.0` stands before the thread loop",
        ),
    ],
)
def test_kernels_of_another_form_are_refused(lines, said):
    with pytest.raises(InternalError, match="kernel k: .*" + said.replace("[", r"\[")):
        cuda_source(parse(f"kernel k[n0](out y: f32[64])\n{lines}\n"))


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("s: f32[4] scratch\natomic(add) s[0] = 1.0", "atomic.add. s.0. = 1.0"),
        ("atomic(add) z[0] = (1+2j):c128", "atomic.add. z"),
    ],
)
def test_statements_that_no_gpu_has_are_refused(lines, said):
    with pytest.raises(InternalError, match=f"kernel k: `{said}.*cannot stand here"):
        body(f"kernel k(out y: f32[32], inout z: c128[1])\n{lines}")


def test_an_operation_without_a_spelling_is_named():
    with pytest.raises(MissingRule, match="`zeta` of f32"):
        body("kernel k(out y: f32[32])\ny[t] = zeta[f32](2.0, 1.0)")


# ---- statements ----------------------------------------------------------------------------------


def test_statements_do_what_the_interpreter_does():
    """In three orders of threads, and with every access checked for races and bounds."""
    devices = [host(orders=(0, 1, 7)), host(checks=True)]
    check_all(devices, list(KERNELS.values()))


def test_a_failure_is_recorded_once():
    check(
        "kernel k(in x: i32[32], out y: i32[32])\n  block b in 1:\n    thread t in 32:\n"
        "      check lt(x[t], 3:i32), code 5\n      y[t] = x[t]\n"
    )


def test_a_grid_of_no_blocks():
    check(KERNELS["map1"], sizes={"n0": 0})


# ---- scalar operations ---------------------------------------------------------------------------

SPECIAL = [
    *(0.0, -0.0, 1.0, -1.0, 0.5, 1.5, 2.5, -2.5, np.inf, -np.inf, np.nan, 3.7, -3.2, 1e-40),
    *(100.25, 127.0, -128.0, 3e9, -3e9, 2.0**63, 1e-5, 65504.0, 70000.0),
]
INTEGERS = [0, 1, 2, 3, 5, 7, 8, 15, 16, 31, 32, 63, 64, 100, -1, -2, -7]
ONE = {
    "f": "neg abs sqrt floor ceil round trunc sign square reciprocal rsqrt cbrt exp exp2 expm1 log "
    "log2 log10 log1p logistic sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh erf "
    "erfc lgamma digamma erf_inv erfcx gamma ndtri bessel_i0e bessel_i1e is_finite is_nan",
    "i": "neg abs sign square not population_count clz",
    "u": "neg abs sign square not population_count clz",
    "b": "not",
    "c": "neg conj real imag abs square exp log sqrt reciprocal is_finite is_nan",
}
_INTEGER = (
    "add sub mul div rem pow max min mulhi and or xor shift_left shift_right_logical "
    "shift_right_arithmetic eq ne lt le gt ge"
)
TWO = {
    "f": "add sub mul div rem pow max min atan2 copysign nextafter eq ne lt le gt ge",
    "i": _INTEGER,
    "u": _INTEGER,
    "b": "add mul max min and or xor eq ne lt le gt ge",
    "c": "add sub mul div eq ne",
}
#: rounded once, so bit for bit the same
EXACT = frozenset(
    "neg abs sqrt floor ceil round trunc sign square reciprocal add sub mul div rem max min "
    "copysign nextafter select clamp convert bitcast".split()
)
REAL = [name for name in DTYPES if name[0] != "c"]
COMPLEX = ["c64", "c128"]


def kind(dtype: str) -> str:
    return "f" if dtype == "bf16" else dtype[0]


def values(dtype: str) -> np.ndarray:
    if dtype == "bool":
        return np.array([False, True])
    if dtype[0] in "iu":
        info = np.iinfo(DTYPES[dtype])
        ends = [int(info.max), int(info.min), info.max - 1, info.min + 1, info.max // 3]
        fits = {v for v in (*INTEGERS, *ends) if info.min <= v <= info.max}
        return np.array(sorted(fits), DTYPES[dtype])
    if dtype[0] == "c":
        parts = [0.0, -0.0, 1.0, -1.0, 0.5, -3.2, 100.25, np.inf, -np.inf, np.nan]
        return np.array([complex(a, b) for a in parts for b in parts]).astype(DTYPES[dtype])
    with np.errstate(all="ignore"):
        return np.array(SPECIAL).astype(DTYPES[dtype])


def expressions(dtype: str, xs: list[Load], flag: Load) -> list[Op]:
    """Every operation on operands of a dtype."""
    found = [Op(fn, (xs[0],), dtype) for fn in ONE[kind(dtype)].split()]
    found += [Op(fn, (xs[0], xs[1]), dtype) for fn in TWO[kind(dtype)].split()]
    found.append(Op("select", (flag, *xs[:2]), dtype))
    if kind(dtype) != "c":
        found.append(Op("clamp", tuple(xs), dtype))
    if kind(dtype) == "f":
        found.append(Op("fma", tuple(xs), dtype))
    if dtype in ("f32", "f64"):
        found.append(Op("complex", tuple(xs[:2]), "c64" if dtype == "f32" else "c128"))
    if kind(dtype) in "iu":  # by numbers that are known
        by = [Op(fn, (xs[0], const(7, dtype)), dtype) for fn in ("div", "rem", "shift_left")]
        found += [*by, Op("shift_right_arithmetic", (xs[0], const(70, dtype)), dtype)]
    found = [
        Op(op.fn, op.args, result_dtype(op.fn, [a.dtype for a in op.args]) or dtype) for op in found
    ]
    alike = [to for to in REAL if DTYPES[to].itemsize == DTYPES[dtype].itemsize]
    found += [Op("convert", (xs[0],), to) for to in (*REAL, *COMPLEX)]
    if kind(dtype) not in "bc":
        found += [Op("bitcast", (xs[0],), to) for to in alike if to != "bool"]
    return found


def kernel_of(dtype: str, count: int) -> tuple[Kernel, list[Op]]:
    """A map that applies every operation, each into a result of its own."""
    i = iadd(imul(Var("b", "i64"), 32), Var("t", "i64"))
    xs = [Load(f"x{k}", (i,), dtype) for k in range(3)]
    found = expressions(dtype, xs, Load("flags", (i,), "bool"))
    body = If(
        Op("lt", (i, const(count)), "bool"),
        tuple(Store(f"out{k}", (i,), op) for k, op in enumerate(found)),
    )
    params = [Param(x.buffer, dtype, (count,), "in") for x in xs]
    params.append(Param("flags", "bool", (count,), "in"))
    params += [Param(f"out{k}", op.dtype, (count,), "out") for k, op in enumerate(found)]
    threads = Loop("thread", "t", const(0), const(32), (body,))
    block = Loop("block", "b", const(0), const(-(-count // 32)), (threads,))
    kernel = Kernel(f"every_{dtype}", (), tuple(params), (block,), narrow=True)
    verify(kernel)
    return kernel, found


def operands(dtype: str) -> dict[str, np.ndarray]:
    """All pairs of values, and a third operand."""
    some = values(dtype)
    if kind(dtype) == "c":
        x, y = np.tile(some, 3), np.concatenate([np.roll(some, k) for k in (1, 17, 46)])
    else:
        x, y = np.repeat(some, len(some)), np.tile(some, len(some))
    return {"x0": x, "x1": y, "x2": np.roll(y, 5), "flags": np.arange(len(x)) % 3 == 0}


def evaluate(op: Op, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """What the records say, for all elements at once."""
    if isinstance(op, Load):
        return arrays[op.buffer]
    if not isinstance(op, Op):
        return np.full(len(arrays["x0"]), op.value, DTYPES[op.dtype])
    params = {"dtype": DTYPES[op.dtype]} if op.fn in ("convert", "bitcast") else {}
    with np.errstate(all="ignore"):
        args = [evaluate(arg, arrays) for arg in op.args]
        return np.asarray(ops.PRIMS[op.fn].rule("numpy")(*args, **params))


def close(op: Op, got: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Where a result is right: within 4 units in the last place for functions."""
    if kind(op.dtype) == "c":
        return _close_complex(op, got, wanted)
    if kind(op.dtype) != "f":
        return got == wanted
    x, y = got.astype(np.float64), wanted.astype(np.float64)
    found = (x == y) | (np.isnan(x) & np.isnan(y))
    if op.fn in EXACT and kind(op.args[0].dtype) != "c":
        return found
    unit = {"f16": 2.0**-10, "bf16": 2.0**-7, "f32": 2.0**-23, "f64": 2.0**-52}[op.dtype]
    least = 1.0 if op.fn in ("lgamma", "digamma") else 1e-7 if op.dtype == "f16" else 2.0**-126
    with np.errstate(invalid="ignore"):
        return found | (np.abs(x - y) <= 4 * unit * np.maximum(np.abs(y), least))


def _close_complex(op: Op, got: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """NumPy may fuse products and sums, so parts that cancel differ by units of the whole; where
    an operand is infinite, so that parts are nan in one order of operations only, all is right.
    """
    parts = [(got.real, wanted.real), (got.imag, wanted.imag)]
    with np.errstate(all="ignore"):
        size, unit = np.abs(wanted), 4 * np.finfo(got.dtype).eps
        alike = [
            (x == y) | (np.isnan(x) & np.isnan(y)) | (np.abs(x - y) <= unit * size)
            for x, y in parts
        ]
        rounded = ~np.isfinite(wanted) & (op.fn in ("mul", "square", "div", "reciprocal"))
    return (alike[0] & alike[1]) | rounded


def test_every_operation_of_every_dtype():
    device = host()
    dtypes = (*REAL, *COMPLEX)
    made = [(*kernel_of(dtype, len(operands(dtype)["x0"])), operands(dtype)) for dtype in dtypes]
    sources = [cuda_source(kernel) for kernel, _, _ in made]
    functions = device.load(sources)
    wrong = []
    for (kernel, found, arrays), source in zip(made, sources, strict=True):
        count = len(arrays["x0"])
        arrays |= {f"out{k}": np.zeros(count, DTYPES[op.dtype]) for k, op in enumerate(found)}
        launch(device, functions[source.name], kernel, source, arrays, {})
        for k, op in enumerate(found):
            wanted = evaluate(op, arrays)
            bad = np.flatnonzero(~close(op, arrays[f"out{k}"], wanted))
            if len(bad):
                at = bad[0]
                xs = [arrays[f"x{n}"][at] for n in range(3)]
                wrong.append(f"{op.fn} {xs} -> {arrays[f'out{k}'][at]}, not {wanted[at]}")
    assert not wrong, "\n".join(wrong)


def test_every_known_operation_is_spelled_or_expanded():
    x = {d: Load("x", (), d) for d in ("f32", "i32", "bool", "i64")}
    for fn in KNOWN - EXPANDED - {"check_index", "probe"}:
        assert any(spelled(Op(fn, (x[d],) * 3, d)) for d in x), fn
    assert not KNOWN & {"zeta", "hyp2f1"}


def test_what_can_be_fused():
    def fused(fn: str, *types: str) -> bool:
        (node,) = graph_of(*types, ops.PRIMS[fn]).nodes
        return can_fuse(node)

    for fn, types in {
        "exp": ("f32[4]",),
        "erf_inv": ("f16[4]",),
        "mulhi": ("u64[4]", "u64[4]"),
        "mul": ("c64[4]", "c64[4]"),
        "select": ("bool[4]", "c128[4]", "c128[4]"),
        "real": ("c64[4]",),
    }.items():
        assert fused(fn, *types), fn
    assert not fused("zeta", "f32[4]", "f32[4]")
    assert not fused("sin", "c64[4]")


def test_an_operation_of_users_is_written_as_its_record_says(monkeypatch):
    triple = elementwise("triple", lambda x: 3 * x, spell=Spell(c="3 * {0}"))
    shift = elementwise("shift", lambda x: x + 1, scalar=lambda x: Op("add", (x, x), x.dtype))
    for record in (triple, shift):
        monkeypatch.setitem(ops.PRIMS, record.name, record)
    text = body("kernel k(in x: f32[32], out y: f32[32])\ny[t] = triple(shift(neg(x[t])))")
    assert "y[t] = (3 * (-x[t] + -x[t]));" in text
