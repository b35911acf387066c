"""Kernel text: what it looks like, that it reads back to an equal kernel, what a bad line says."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracejit.errors import InternalError
from tracejit.ir.types import DTYPES
from tracejit.kernel.nodes import (
    Accumulate,
    Barrier,
    Check,
    Const,
    If,
    Kernel,
    Load,
    Local,
    Loop,
    Op,
    Param,
    Scratch,
    Set,
    Store,
    Var,
    While,
)
from tracejit.kernel.text import RESERVED, parse, show, show_expr

SOFTMAX = """\
kernel softmax_0[n0,n1](in x: f32[n0,n1], out y: f32[n0,n1])       # model.py:12
  par i in n0:
    m: f32 = -inf
    vec(16x4) j in n1:
      m max= x[i, j]
    s: f32 = 0.0
    vec(16x4) j in n1:
      e: f32 = exp(sub(x[i, j], m))
      y[i, j] = e
      s add= e
    vec(16x4) j in n1:
      y[i, j] = div(y[i, j], s)
"""

EVERYTHING = """\
kernel all_0[n](in x: f32[n,4], inout z: c64[], out y: f16[n,4], in b: bool[n])
  block i in n:
    t: f64[4,8] scratch
    thread j in 1..4:
      k: i32 = 0:i32
      while and(b[i], lt(k, 7:i32)):
        k = add(k, 1:i32)
        if is_nan(x[i, j if ge(sub(i, 1), 0)]):
          pass
        else:
          t[0, j] = convert[f64](x[i, j]) if b[i]
      check lt(k, 9:i32), code 3
      barrier
    seq(unroll 4) j in 4:
      y[i, j] = mul(1.5:f16, bitcast[f16](clz(7:u16)))
      vec(1x2) l in sub(n, 1)..n:
        z[] = mul(z[], (1+2j))
  seq i in n:
    t: bool = not(b[i])
    z[ if t] = complex(real(z[]), nan)
"""


GPU = """\
kernel rows[n](in x: f32[n,100], inout y: i64[1]) narrow       # model.py:3
  block b in n:
    part: f32[4] scratch
    thread t in 64:
      s: f32 = x[b, t]
      combine(64) add s
      prefix(8) max s
      part[0] = s if eq(t, 0)
      barrier
      fence
      atomic(add) y[0] = 1 if eq(t, 0) -> before
      atomic(exchange) y[0] = before
"""


@pytest.mark.parametrize("text", [SOFTMAX, EVERYTHING.replace("z[ if t]", "z[]"), GPU])
def test_text_reads_back_to_itself(text):
    assert show(parse(text)) == text


def test_parsed_softmax():
    kernel = parse(SOFTMAX)
    assert kernel.sizes == ("n0", "n1")
    assert kernel.params[0] == Param("x", "f32", ("n0", "n1"), "in")
    assert kernel.comment == "model.py:12"
    (par,) = kernel.body
    assert par.body[1] == Loop(
        "vec",
        "j",
        Const(0, "i64"),
        Var("n1", "i64"),
        (Accumulate("m", "max", Load("x", (Var("i", "i64"), Var("j", "i64")), "f32")),),
        16,
        4,
    )


@pytest.mark.parametrize(
    ("expr", "text"),
    [
        (Const(1.0, "f32"), "1.0"),
        (Const(1.0, "bf16"), "1.0:bf16"),
        (Const(1, "f32"), "1:f32"),
        (Const(-0.0, "f64"), "-0.0:f64"),
        (Const(-math.inf, "f32"), "-inf"),
        (Const(math.nan, "f16"), "nan:f16"),
        (Const(1e-45, "f32"), "1e-45"),
        (Const(2**63, "u64"), "9223372036854775808:u64"),
        (Const(True, "bool"), "true"),
        (Const(2j, "c64"), "2j"),
        (Const(complex(-0.0, math.nan), "c128"), "(-0+nanj):c128"),
        (Const(complex(0.0, -math.inf), "c64"), "-infj"),
        (Op("neg", (Const(1 + 2j, "c64"),), "c64"), "neg((1+2j))"),
        (Op("real", (Const(1e-7 + 2j, "c128"),), "f64"), "real((1e-07+2j):c128)"),
        (Op("convert", (Const(1, "i64"),), "bool"), "convert[bool](1)"),
        (Op("mystery", (Const(1, "i64"),), "f32"), "mystery[f32](1)"),
        (Op("noise", (), "f32"), "noise[f32]()"),
        (
            Load("z", (), "f32", Op("lt", (Const(1, "i64"), Const(2, "i64")), "bool")),
            "z[ if lt(1, 2)]",
        ),
    ],
)
def test_expressions(expr, text):
    assert show_expr(expr) == text
    kernel = Kernel("k", (), (Param("z", "f32", (), "in"),), (Local("a", expr.dtype, expr),))
    assert parse(show(kernel)) == kernel


def test_deep_expressions_need_no_recursion():
    expr = Const(1.0, "f32")
    for _ in range(5000):
        expr = Op("sin", (expr,), "f32")
    kernel = Kernel("k", (), (), (Local("a", "f32", expr),))
    assert show(parse(show(kernel))) == show(kernel)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("y[i] = 1.0", "`i` is not declared"),
        ("m = add(", "expression ends early"),
        ("m: f31 = 1.0", "`f31` is not a dtype"),
        ("y[0] = add(1, 2", r"expected `\)` before `the end`"),
        ("y[0] = 1 2", "unexpected `2`"),
        ("y[0] = $", r"cannot read `\$`"),
        ("y[0] = convert(1)", "needs its dtype"),
        ("nonsense", "not a statement"),
        ("check true, code x", "`x` is not declared"),
        ("    y[0] = 1", "indentation does not fit"),
    ],
)
def test_bad_lines_are_named(line, message):
    with pytest.raises(
        InternalError, match=f"line 2: .*{message}.*`{line.strip()[:4].replace('[', '.')}"
    ):
        parse(f"kernel k(out y: f32[1])\n  {line}\n")


def test_bad_header():
    with pytest.raises(InternalError, match="line 1: expected `kernel"):
        parse("kernal k()\n")
    with pytest.raises(InternalError, match="line 1: expected `role name"):
        parse("kernel k(x: f32[1])\n")


# ---- random kernels ------------------------------------------------------------------------------

names = st.from_regex(r"[a-z_][a-z0-9_]{0,5}", fullmatch=True).filter(
    lambda name: name not in RESERVED
)
dtypes = st.sampled_from(sorted(DTYPES))
values = st.one_of(
    st.booleans(),
    st.integers(),
    st.floats(),
    st.complex_numbers(allow_nan=True, allow_infinity=True),
)
constants = st.builds(Const, values, dtypes)


@st.composite
def expressions(draw, scope, depth=2):
    """An expression over the variables and buffers of ``scope`` (two dicts), of any dtypes."""
    variables, buffers = scope
    kinds = ["const", "op"] if depth else ["const"]
    kinds += ["var"] * bool(variables) + ["load"] * bool(buffers and depth)
    match draw(st.sampled_from(kinds)):
        case "var":
            return Var(*draw(st.sampled_from(sorted(variables.items()))))
        case "op":
            fn = draw(
                st.sampled_from(["add", "select", "convert", "eq", "real", "complex", "clamp"])
            )
            args = draw(st.lists(expressions(scope, depth - 1), max_size=3))
            return Op(fn, tuple(args), draw(dtypes))
        case "load":
            name, dtype = draw(st.sampled_from(sorted(buffers.items())))
            index = draw(st.lists(expressions(scope, depth - 1), max_size=2))
            guard = draw(st.none() | expressions(scope, depth - 1))
            return Load(name, tuple(index), dtype, guard)
    return draw(constants)


@st.composite
def blocks(draw, scope, depth=2):
    """Statements; what they declare is known to those after them."""
    scope = (dict(scope[0]), dict(scope[1]))
    return tuple(draw(statement(scope, depth)) for _ in range(draw(st.integers(0, 3))))


@st.composite
def statement(draw, scope, depth):
    kinds = ["local", "scratch", "barrier", "check", "store"] + ["set", "accumulate"] * bool(
        scope[0]
    )
    kinds += ["loop", "if", "while"] if depth else []
    kind = draw(st.sampled_from(kinds))
    expr = draw(expressions(scope))
    match kind:
        case "local":
            name, dtype = draw(names.filter(lambda n: n not in scope[1])), draw(dtypes)
            scope[0][name] = dtype
            return Local(name, dtype, expr)
        case "scratch":
            name, dtype = draw(names.filter(lambda n: n not in scope[0])), draw(dtypes)
            scope[1][name] = dtype
            return Scratch(name, dtype, tuple(draw(st.lists(st.integers(1, 9), max_size=2))))
        case "set":
            return Set(draw(st.sampled_from(sorted(scope[0]))), expr)
        case "accumulate":
            return Accumulate(draw(st.sampled_from(sorted(scope[0]))), "add", expr)
        case "check":
            return Check(expr, draw(st.integers(1, 9)))
        case "barrier":
            return Barrier()
        case "store":
            index = tuple(draw(st.lists(expressions(scope, 1), max_size=2)))
            guard = draw(st.none() | expressions(scope, 1))
            return Store(draw(st.sampled_from(sorted(scope[1]))), index, expr, guard)
        case "if":
            return If(expr, draw(blocks(scope, depth - 1)), draw(blocks(scope, depth - 1)))
        case "while":
            return While(expr, draw(blocks(scope, depth - 1)))
    return draw(loops(scope, depth))


@st.composite
def loops(draw, scope, depth):
    var = draw(names.filter(lambda n: n not in scope[1]))
    how = draw(st.sampled_from(["seq", "par", "vec", "block", "thread"]))
    start, stop = draw(expressions(scope, 1)), draw(expressions(scope, 1))
    width, unroll = draw(st.sampled_from([1, 8])), draw(st.sampled_from([1, 4]))
    body = draw(blocks(({**scope[0], var: "i64"}, scope[1]), depth - 1))
    return Loop(how, var, start, stop, body, width, unroll)


@st.composite
def kernels(draw):
    taken = draw(st.lists(names, min_size=3, max_size=5, unique=True))
    name, size, *buffers = taken
    params = tuple(
        Param(
            b,
            draw(dtypes),
            draw(st.sampled_from([(), (3,), (size, 4)])),
            draw(st.sampled_from(["in", "out"])),
        )
        for b in buffers
    )
    body = draw(blocks(({size: "i64"}, {p.name: p.dtype for p in params})))
    return Kernel(name, (size,), params, body)


@given(kernels())
def test_any_kernel_reads_back(kernel):
    text = show(kernel)
    assert parse(text) == kernel
    assert show(parse(text)) == text
