"""Kernels printed for Numba against ``kernel/interp.py``, NumPy and, for the texts, against what is
written here.
"""

from __future__ import annotations

import ast

import numpy as np
import pytest

from tracejit.codegen import numba as printer
from tracejit.codegen.numba import compile_numba, print_module, print_numba
from tracejit.errors import BackendError, MissingRule
from tracejit.ir.expr import Const, Op, Var
from tracejit.ir.types import DTYPES
from tracejit.kernel import interp
from tracejit.kernel.nodes import Kernel, Local, Param, Store
from tracejit.kernel.text import parse
from tracejit.kernel.verify import verify

INTEGERS = ("i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64")
RNG = np.random.default_rng(7)


def normal(*shape: int, dtype: str = "f32") -> np.ndarray:
    return RNG.standard_normal(shape).astype(DTYPES[dtype])


def empty(dtype: str, *shape: int) -> np.ndarray:
    """An output, filled with something that is not the answer."""
    return np.full(shape, 77, DTYPES[dtype])


def run_both(
    text: str, buffers: dict[str, np.ndarray], sizes: dict[str, int]
) -> tuple[Kernel, int]:
    """Run with Numba in place; the interpreter's buffers must come out the same to the last few
    bits.
    """
    kernel = parse(text)
    verify(kernel)
    expected = {name: array.copy() for name, array in buffers.items()}
    flag = interp.run(kernel, expected, sizes)
    arrays = [buffers[param.name] for param in kernel.params]
    assert compile_numba(kernel)(arrays, [sizes[name] for name in kernel.sizes]) == flag
    for param in kernel.params:
        assert_close(buffers[param.name], expected[param.name], param.name)
    return kernel, flag


def assert_close(found: np.ndarray, expected: np.ndarray, name: str) -> None:
    tolerance = {"f16": 2e-3, "bf16": 2e-2, "f32": 1e-6, "c64": 1e-5}
    short = next(short for short, dtype in DTYPES.items() if dtype == expected.dtype)
    if short[0] in "fc" or short == "bf16":
        wide = np.complex128 if short[0] == "c" else np.float64
        rtol = tolerance.get(short, 1e-13)
        np.testing.assert_allclose(
            found.astype(wide), expected.astype(wide), rtol, rtol, err_msg=name
        )
    else:
        np.testing.assert_array_equal(found, expected, err_msg=name)


# ---- whole kernels -------------------------------------------------------------------------------

SOFTMAX = """
kernel softmax_0[n0,n1](in x: f32[n0,n1], out y: f32[n0,n1])       # model.py:12
  par i in n0:
    m: f32 = -inf
    vec(16x4) j in n1:
      m max= x[i, j]
    s: f32 = 0.0
    vec(16x1) j in n1:
      e: f32 = exp(sub(x[i, j], m))
      y[i, j] = e
      s add= e
    vec(16x1) j in n1:
      y[i, j] = div(y[i, j], s)
"""


def test_softmax_rows_in_parallel() -> None:
    x, y = normal(5, 37), empty("f32", 5, 37)
    x[3, 4] = np.nan
    x.flags.writeable = False
    run_both(SOFTMAX, {"x": x, "y": y}, {"n0": 5, "n1": 37})
    assert np.isnan(y[3]).all()
    assert not np.isnan(y[:3]).any()
    run_both(SOFTMAX, {"x": normal(0, 3), "y": empty("f32", 0, 3)}, {"n0": 0, "n1": 3})


def test_softmax_text(golden) -> None:
    golden(print_numba(parse(SOFTMAX)))


def test_equal_kernels_are_compiled_once() -> None:
    assert compile_numba(parse(SOFTMAX)) is compile_numba(parse(SOFTMAX))


def test_chain_of_float32_has_no_float64() -> None:
    kernel = parse("""
kernel chain[n](in x: f32[n], out y: f32[n])
  vec(16x1) i in n:
    a: f32 = mul(tanh(x[i]), 0.1)
    b: f32 = add(exp(neg(mul(a, a))), logistic(x[i]))
    y[i] = clamp(-1.5, select(gt(b, 0.5), rsqrt(b), log1p(square(sin(b)))), 2.0)
""")
    namespace: dict = {}
    exec(print_numba(kernel), namespace)
    x = normal(33)
    y = np.empty_like(x)
    namespace["chain"](x, y, 33)
    (compiled,) = namespace["chain"].overloads.values()
    assert "float64" not in set(map(str, compiled.type_annotation.typemap.values()))
    expected = np.empty_like(x)
    interp.run(kernel, {"x": x, "y": expected}, {"n": 33})
    np.testing.assert_allclose(y, expected, 1e-6)


def test_reductions_pad_transpose_cumsum_scratch_and_zero_dimensions() -> None:
    kernel, _ = run_both(
        """
kernel mixed[n,lambda](in x: f64[n,lambda], out sums: f64[n], out total: f64[], out any: bool[n],
 out padded: f64[4,5], out turned: f64[lambda,n], out running: f64[n,lambda],
 out low: i32[n], out in_range: i64[])
  t0: f64 = 0.0:f64
  seq i in n:
    s: f64 = -0.0:f64
    some: bool = false
    low_: i32 = 2147483647:i32
    acc: f64[3] scratch
    seq k in 3:
      acc[k] = 0.0:f64
    seq j in lambda:
      s add= x[i, j]
      t0 add= x[i, j]
      running[i, j] = s
      turned[j, i] = x[i, j]
      some or= gt(x[i, j], 1.0:f64)
      low_ min= convert[i32](mul(x[i, j], 100.0:f64))
      acc[irem(j, 3)] = add(acc[irem(j, 3)], x[i, j])
    sums[i] = add(add(acc[0], acc[1]), acc[2])
    any[i] = some
    low[i] = low_
  total[] = t0
  in_range[] = sub(add(n, -1), -9223372036854775808)
  seq i in 4:
    seq j in 5:
      inside: bool = and(and(ge(i, 1), lt(add(i, -1), n)), and(ge(j, 2), lt(add(j, -2), lambda)))
      padded[i, j] = add(x[add(i, -1), add(j, -2) if inside], 0.5:f64)
  if gt(n, 1):
    seq i in 1..n:
      sums[i] = neg(sums[i]) if gt(lambda, 2)
  else:
    pass
""".replace(",\n out", ", out"),
        {
            "x": normal(2, 3, dtype="f64"),
            "sums": empty("f64", 2),
            "total": empty("f64"),
            "any": empty("bool", 2),
            "padded": empty("f64", 4, 5),
            "turned": empty("f64", 3, 2),
            "running": empty("f64", 2, 3),
            "low": empty("i32", 2),
            "in_range": empty("i64"),
        },
        {"n": 2, "lambda": 3},
    )
    text = print_numba(kernel)
    assert "lambda_" in text and "any_" in text


def test_a_shared_loop_reads_buffers_without_axes() -> None:
    y = empty("f32", 5)
    text = """
kernel scale[n](in x: f32[n], in s: f32[], in h: bf16[], out y: f32[n])
  par i in n:
    y[i] = add(mul(x[i], s[]), convert[f32](h[]))
"""
    buffers = {"x": normal(5), "s": normal(), "h": normal(dtype="bf16"), "y": y}
    run_both(text, {name: np.asarray(array) for name, array in buffers.items()}, {"n": 5})


def test_mandelbrot_while_inside_vec() -> None:
    run_both(
        """
kernel mandelbrot[n](in c: c64[n], out count: i32[n])
  vec(16x1) i in n:
    z: c64 = (0+0j)
    k: i32 = 0:i32
    while and(lt(k, 30:i32), le(add(mul(real(z), real(z)), mul(imag(z), imag(z))), 4.0)):
      z = add(mul(z, z), c[i])
      k = add(k, 1:i32)
    count[i] = k
""",
        {"c": (normal(40) + 1j * normal(40)).astype("c8"), "count": empty("i32", 40)},
        {"n": 40},
    )


def test_check_records_the_first_failure() -> None:
    text = """
kernel take[n](in x: f32[4], in at: i64[n], out y: f32[n])
  seq i in n:
    check lt(at[i], 4), code 2
    check ge(at[i], 0), code 3
    y[i] = x[clamp(0, at[i], 3)]
"""
    for at, code in (([0, 3, 1], 0), ([0, 4, -1], 2), ([-1, 4, 0], 3)):
        buffers = {"x": normal(4), "at": np.array(at), "y": empty("f32", 3)}
        assert run_both(text, buffers, {"n": 3})[1] == code


# ---- scalar operations, all in one kernel per group ----------------------------------------------


def rows(dtype: str, expressions: list[str], result: str, out: str) -> list[str]:
    return [f"    {out}_{dtype}[{row}, i] = {text}" for row, text in enumerate(expressions)]


BINARY = """add sub mul div rem max min and or xor shift_left shift_right_logical
 shift_right_arithmetic pow"""
FULLY = ("i8", "u64")
UNARY = "neg abs sign not square population_count clz"


def integer_expressions(d: str) -> list[str]:
    a, b = f"a_{d}[i]", f"b_{d}[i]"
    binary, unary = BINARY.split(), UNARY.split()
    if d not in FULLY:  # a sample: Numba takes 20 ms for each
        binary, unary = "add sub mul div shift_right_logical".split(), ["neg", "clz"]
    found = [f"{fn}({a}, {b})" for fn in binary] + [f"{fn}({a})" for fn in unary]
    found += [f"{fn}({a}, {n}:{d})" for fn in binary if fn.startswith("shift") for n in (3, 70)]
    # no cast between the operations, one at the end
    found += [f"xor(add(mul({a}, {b}), {a}), shift_left(sub({b}, 5:{d}), 2:{d}))"]
    found += [f"div(add({a}, {b}), add({b}, {b}))"]
    if d not in FULLY:
        return found
    found += [f"select(lt(neg({a}), {b}), {a}, clamp({a}, {b}, 9:{d}))"]
    signed = ("u" if d[0] == "i" else "i") + d[1:]
    return found + [
        f"bitcast[{d}](bitcast[{signed}](add({a}, {b})))",
        f"convert[{d}](add({a}, {b}))",
    ]


def test_every_integer_operation_of_every_dtype_wraps() -> None:
    lines, params, buffers = [], [], {}
    for d in INTEGERS:
        info = np.iinfo(DTYPES[d])
        edges = [info.min, info.max, info.max, info.min, 0, 1, info.max // 3, 77]
        others = [
            info.max,
            info.max,
            2,
            info.min,
            0,
            info.max,
            5,
            70,
        ]  # -1 as unsigned, shifts beyond the width
        if d[0] == "i":
            edges, others = [*edges, info.min, -7, 7, -1], [*others, -1, 2, -3, -3]
        else:
            edges, others = [*edges, 1, 2, 3, 255], [*others, 31, 7, 3, 8]
        expressions = integer_expressions(d)
        buffers |= {
            f"a_{d}": np.array(edges, DTYPES[d]),
            f"b_{d}": np.array(others, DTYPES[d]),
            f"r_{d}": empty(d, len(expressions), 12),
        }
        params += [
            f"in a_{d}: {d}[n]",
            f"in b_{d}: {d}[n]",
            f"out r_{d}: {d}[{len(expressions)},n]",
        ]
        lines += rows(d, expressions, d, "r")
    text = f"kernel integers[n]({', '.join(params)})\n  seq i in n:\n" + "\n".join(lines)
    run_both(text, buffers, {"n": 12})


def test_threefry_like_mixing_is_exact() -> None:
    text = """
kernel mix[n](in key: u32[2], out bits: u32[n], out wide: u64[n])
  vec(16x1) i in n:
    x: u32 = add(convert[u32](i), key[0])
    y: u32 = add(mul(x, 2654435769:u32), key[1])
    seq r in 4:
      x = add(x, y)
      y = xor(or(shift_left(y, 13:u32), shift_right_logical(y, 19:u32)), x)
    bits[i] = y
    w: u64 = mul(convert[u64](y), 6364136223846793005:u64)
    wide[i] = xor(add(w, 18446744073709551615:u64), shift_right_logical(w, 33:u64))
"""
    key = np.array([0xDEADBEEF, 0xFFFFFFF0], np.uint32)
    kernel, _ = run_both(
        text, {"key": key, "bits": empty("u32", 20), "wide": empty("u64", 20)}, {"n": 20}
    )
    assert "((y << 13) | (y >> 19)) ^ x" in print_numba(kernel)


FLOAT_ONE = """neg abs sign sqrt rsqrt cbrt square reciprocal exp exp2 expm1 log log2 log10 log1p
 logistic sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh erf erfc erf_inv
 lgamma digamma floor ceil round trunc""".split()
FLOAT_TWO = "add sub mul div rem max min pow atan2 copysign nextafter".split()
HALF_ONE, HALF_TWO = "neg sqrt exp sin round erf_inv".split(), "add mul div max nextafter".split()


def test_float_operations() -> None:
    lines, params, buffers = [], [], {}
    values = [0.3, -1.75, 2.5, -0.0, 0.0, np.inf, -np.inf, np.nan, 0.875, 3e-4, 1.0, -1.0]
    for d in ("f32", "f64", "f16", "bf16"):
        a, b = f"a_{d}[i]", f"b_{d}[i]"
        one, two = (FLOAT_ONE, FLOAT_TWO) if d[0] == "f" and d != "f16" else (HALF_ONE, HALF_TWO)
        expressions = [f"{fn}({a})" for fn in one] + [f"{fn}({a}, {b})" for fn in two]
        expressions += [f"fma({a}, {b}, 0.1:{d})", f"select(is_finite({a}), {b}, -inf:{d})"]
        expressions += [f"clamp(-1.0:{d}, {a}, 0.7:{d})", f"select(is_nan({b}), nan:{d}, -0.0:{d})"]
        buffers[f"a_{d}"] = np.array(values, DTYPES[d])
        buffers[f"b_{d}"] = np.roll(buffers[f"a_{d}"], 5)
        buffers[f"r_{d}"] = empty(d, len(expressions), 12)
        params += [
            f"in a_{d}: {d}[n]",
            f"in b_{d}: {d}[n]",
            f"out r_{d}: {d}[{len(expressions)},n]",
        ]
        lines += rows(d, expressions, d, "r")
    run_both(
        f"kernel floats[n]({', '.join(params)})\n  seq i in n:\n" + "\n".join(lines),
        buffers,
        {"n": 12},
    )
    signs = np.signbit(buffers["r_f32"][0]) == np.signbit(-buffers["a_f32"])
    assert signs[~np.isnan(buffers["a_f32"])].all()


#: the targets of dtypes that are not tried with all
CONVERSIONS = {
    "b": ["i8", "u64", "f16", "f64", "c64"],
    "i": ["bool", "u8", "f32"],
    "u": ["bool", "i64", "f32", "c128"],
    "f": ["bool", "i16", "f16", "bf16", "f64"],
    "c": ["bool", "f32", "c64", "c128"],
}


def test_conversions_between_all_dtypes() -> None:
    lines, params, buffers = [], [], {}
    floats = [
        0.0,
        -0.0,
        1.5,
        -2.7,
        300.4,
        -1e6,
        3e9,
        -3e9,
        1e19,
        1e30,
        np.nan,
        np.inf,
        65519.9,
        6.1e-5,
        3.1e-8,
        1 / 3,
    ]
    for d, dtype in DTYPES.items():
        kind = "f" if d == "bf16" else d[0]
        if d == "bool":
            found = np.arange(16) % 3 == 0
        elif kind in "iu":
            found = np.array([2**k - (k % 5) for k in range(1, 64, 4)]).astype(dtype)
            found[1], found[2] = np.iinfo(dtype).min, np.iinfo(dtype).max
        else:
            with np.errstate(over="ignore"):
                found = np.array(floats).astype(dtype)
        buffers[f"a_{d}"] = found
        others = list(DTYPES) if d in ("f32", "f64", "i64") else CONVERSIONS[kind]
        params.append(f"in a_{d}: {d}[n]")
        for other in others:
            name = f"r_{d}_{other}"
            buffers[name] = empty(other, 16)
            params.append(f"out {name}: {other}[n]")
            lines.append(f"    {name}[i] = convert[{other}](a_{d}[i])")
    text = f"kernel conversions[n]({', '.join(params)})\n  seq i in n:\n" + "\n".join(lines)
    run_both(text, buffers, {"n": 16})


def test_bits_of_floats_and_16_bit_formats_exhaustively() -> None:
    every = np.arange(2**16, dtype=np.uint16)
    values = {"h": every.view(np.float16), "b": every.view(DTYPES["bf16"])}
    outputs = {
        "wide": "f32",
        "sums": "f16",
        "rounded": "f16",
        "bwide": "f32",
        "bsums": "bf16",
        "back": "f64",
    }
    kernel = parse(
        """
kernel bits[n](in h: f16[n], in b: bf16[n], in w: f64[n], out wide: f32[n], out sums: f16[n],
 out rounded: f16[n],
 out bwide: f32[n], out bsums: bf16[n], out back: f64[n])
  seq i in n:
    wide[i] = convert[f32](h[i])
    sums[i] = add(h[i], h[irem(mul(i, 7919), n)])
    rounded[i] = convert[f16](w[i])
    bwide[i] = convert[f32](b[i])
    bsums[i] = bitcast[bf16](add(bitcast[u16](mul(b[i], 0.3:bf16)), 1:u16))
    back[i] = bitcast[f64](xor(bitcast[i64](w[i]), bitcast[i64](-0.0:f64)))
""".replace(",\n out", ", out")
    )
    w = np.ldexp(RNG.standard_normal(2**16), RNG.integers(-30, 18, 2**16))
    w[:2048] = np.arange(2048) * 2.0**-25  # halfway between subnormals of f16
    out = {name: empty(d, 2**16) for name, d in outputs.items()}
    compile_numba(kernel)([values["h"], values["b"], w, *out.values()], [2**16])
    with np.errstate(all="ignore"):
        expected = {
            "wide": values["h"].astype(np.float32),
            "sums": values["h"] + values["h"][np.arange(2**16) * 7919 % 2**16],
            "rounded": w.astype(np.float16),
            "bwide": values["b"].astype(np.float32),
            "back": -w,
        }
        scaled = (values["b"] * DTYPES["bf16"].type(0.3)).view(np.uint16) + np.uint16(1)
    for name, array in expected.items():
        np.testing.assert_array_equal(out[name], array, err_msg=name)
    regular = ~np.isnan(out["bwide"])
    np.testing.assert_array_equal(out["bsums"].view(np.uint16)[regular], scaled[regular])


def test_complex_operations() -> None:
    every = """neg sign conj square sqrt reciprocal exp log sin cos tan sinh cosh tanh rsqrt
 logistic exp2""".split()
    lines, params, buffers = [], [], {}
    for d in ("c64", "c128"):
        a, b = f"a_{d}[i]", f"b_{d}[i]"
        expressions = [f"{fn}({a})" for fn in (every if d == "c64" else every[:6])]
        expressions += [f"{fn}({a}, {b})" for fn in ("add", "sub", "mul", "div", "pow")]
        expressions += [
            f"complex(imag({a}), abs({b}))",
            f"select(eq({a}, {b}), {a}, mul({b}, (1.5-2j):{d}))",
        ]
        buffers[f"a_{d}"] = np.array([1 + 2j, -0.5 - 0.25j, 3j, 0.7, 2 + 2j, -2 + 0.1j], DTYPES[d])
        buffers[f"b_{d}"] = np.array([0.5 - 1j, 1e-3j, -4, 1 + 1j, 2 + 2j, 0.3 - 0.3j], DTYPES[d])
        buffers[f"r_{d}"] = empty(d, len(expressions), 6)
        params += [
            f"in a_{d}: {d}[n]",
            f"in b_{d}: {d}[n]",
            f"out r_{d}: {d}[{len(expressions)},n]",
        ]
        lines += rows(d, expressions, d, "r")
    run_both(
        f"kernel whole[n]({', '.join(params)})\n  seq i in n:\n" + "\n".join(lines),
        buffers,
        {"n": 6},
    )


# ---- texts ---------------------------------------------------------------------------------------


def test_shared_and_long_expressions_become_statements() -> None:
    x = Var("x", "f64")
    total = x
    for _ in range(8):
        total = Op("add", (total, Op("mul", (total, Const(0.5, "f64")), "f64")), "f64")
    body = (Local("x", "f64", Const(1.0, "f64")), Store("y", (), total))
    text = print_numba(Kernel("deep", (), (Param("y", "f64", (), "out"),), body))
    assert max(map(len, text.split("\n    y[()]")[0].split("# ")[0].splitlines())) <= 120
    assert len(text.splitlines()) < 200


def test_threads_have_scratch_of_their_own_and_conditions_may_take_statements() -> None:
    text = print_numba(
        parse("""
kernel p[n](in x: f32[n,8], out y: f32[n])
  par i in n:
    seq k in 4:
      a: f32[4] scratch
      a[k] = mul(x[i, add(k, 4)], x[i, k])
      s: f32 = 0.0
      while lt(s, mul(add(add(x[i, 0], x[i, 1]), 5.0), add(add(x[i, 0], x[i, 1]), 5.0))):
        s = add(s, a[k])
      y[i] = s
""")
    )
    wanted = """
    for i in numba.prange(n):
        a = np.empty((4,), np.float32)
        for k in range(4):
            a[k] = x[i, k + 4] * x[i, k]
            s = F32_0
            while True:
                t0 = (x[i, 0] + x[i, 1]) + F32_5
                if not (s < (t0 * t0)):
                    break
                s = s + a[k]
            y[i] = s
"""
    assert text.endswith(wanted)


def test_module_runs_without_tracejit() -> None:
    half = parse(
        "kernel step[n](in x: f16[n], out y: f16[n])\n"
        "  seq i in n:\n    y[i] = mul(x[i], 0.5:f16)\n"
    )
    check = parse(
        "kernel step[n](in x: f16[n], out y: f16[n])\n  seq i in n:\n    check lt(n, 9), code 1\n"
    )
    matmul = parse(
        "kernel fill(out a: f32[3,3])\n  seq i in 3:\n    seq j in 3:\n      a[i, j] = 2.0\n"
    )

    def steps(sources: dict) -> list[str]:
        return [
            printer.allocate_step("y", "f16", ["n"]).replace("n,", "x.size,"),
            printer.call_step(half, sources[half], ["x", "y"], ["x.size"]),
            printer.call_step(check, sources[check], ["x", "y"], ["x.size"]),
            printer.allocate_step("a", "f32", [3, 3]),
            printer.call_step(matmul, sources[matmul], ["a"], []),
            printer.allocate_step("b", "f32", [3, 3]),
            printer.matmul_step("b", "a", "a"),
        ]

    text = print_module(
        "f", [half, check, half, matmul], ["x"], steps, ["y", "b"], doc="Two steps."
    )
    assert "tracejit" not in text and text.count("def step") == 2
    ast.parse(text)
    namespace: dict = {}
    exec(text, namespace)
    y, b = namespace["f"](np.arange(6, dtype=np.float16)[::2])
    np.testing.assert_array_equal(y, np.array([0, 1, 2], np.float16))
    np.testing.assert_array_equal(b, np.full((3, 3), 12, np.float32))
    with pytest.raises(IndexError, match="outside"):
        namespace["f"](np.arange(9, dtype=np.float16))


def test_what_cannot_be_printed_is_named() -> None:
    with pytest.raises(BackendError, match="barrier"):
        print_numba(
            parse("kernel k(out y: f32[4])\n  thread i in 4:\n    barrier\n    y[i] = 0.0\n")
        )
    unknown = Store("y", (), Op("no_such_operation", (Const(1.0, "f64"),), "f64"))
    with pytest.raises(MissingRule, match="no_such_operation"):
        print_numba(Kernel("k", (), (Param("y", "f64", (), "out"),), (unknown,)))
