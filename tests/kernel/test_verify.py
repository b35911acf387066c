"""Kernels that are not well-formed, one statement each, and the message they get."""

import pytest

from tracejit.errors import DTypeError, InternalError
from tracejit.ir.types import DTYPES, TensorType, short
from tracejit.kernel.nodes import Const, Kernel, Local, Op, Param, Set, Store, Var
from tracejit.kernel.text import parse, result_dtype
from tracejit.kernel.verify import ARITY, has_check, verify
from tracejit.ops import PRIMS

HEAD = "kernel k[n](in x: f32[n,4], in c: i64[n], out y: f32[n,4])\n"


THREADS = "block b in n:\n  thread t in 64:\n    s: f32 = 0.0\n    "


def check(body: str, head: str = HEAD) -> None:
    verify(parse(head + "".join(f"  {line}\n" for line in body.strip("\n").splitlines())))


@pytest.mark.parametrize(
    "body",
    [
        "par i in n:\n  m: f32 = -inf\n  vec(8x2) j in 4:\n    m max= x[i, j]\n  y[i, 0] = m",
        "vec(8x2) i in n:\n  m: f32 = 0.0\n  seq j in 4:\n"
        "    m add= x[i, j]\n    m = mul(m, 0.5)\n  y[i, 0] = m",
        "vec i in n:\n  m: f32 = 0.0\n  while lt(m, x[i, 0]):\n    m = add(m, 1.0)\n  y[i, 0] = m",
        "par i in n:\n  t: f32[4] scratch\n  seq j in 4:\n"
        "    t[j] = x[c[i], j]\n  y[i, 1] = t[2] if gt(t[1], 0.0)",
        "block i in n:\n  s: f32 = 0.0\n  thread j in 4:\n"
        "    s add= x[i, j]\n    barrier\n  y[i, 0] = s",
        "block i in n:\n  thread t in 64:\n    s: f32 = x[i, 0]\n    combine(64) add s\n"
        "    prefix(8) max s\n    atomic(max) y[i, 0] = s if eq(t, 0) -> m\n    fence",
        "seq i in n:\n  a: i64 = 1\nseq i in n:\n  a: f32 = 1.0",
        "y[0, 0] = select(lt(idiv(n, 2), 3), abs(x[0, 0]), convert[f32](irem(n, 3)))",
    ],
)
def test_well_formed(body):
    check(body)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("x[0, 0] = 1.0", "stores to `x`, an `in` parameter"),
        ("y[0] = 1.0", "`y` has 2 axes, the index 1"),
        ("y[0, 0.0] = 1.0", "index `0.0` of `y` is f32, not i64"),
        ("y[0, 0] = x[0]", "`x` has 2 axes, the index 1"),
        ("y[0, 0] = 1", "`1` is i64, not f32"),
        ("y[0, 0] = x[0, 0 if 1]", "guard `1` is i64, not bool"),
        ("y[0, 0] = 1.0 if n", "`n` is i64, not bool"),
        ("m: f32 = 1.0:f64", "`1.0:f64` is f64, not f32"),
        ("m: f32 = 1.0\nm = 1", "`1` is i64, not f32"),
        ("m: f32 = 1.0\nm add= n", "`n` is i64, not f32"),
        ("m: f32 = 1.0\nm sub= m", "cannot accumulate with `sub`"),
        ("m: f32 = 1.0\nm: f32 = 2.0", "`m` is declared already"),
        ("x: f32 = 1.0", "`x` is declared already"),
        ("m = 1.0", "`m` is not declared here"),
        ("n = 1", "`n` is a size, not a local"),
        ("seq i in n:\n  i add= 1", "`i` is a loop, not a local"),
        ("seq i in n:\n  n: i64 = 1", "`n` is declared already"),
        ("seq i in n:\n  seq i in n:\n    pass", "`i` is declared already"),
        ("seq i in 1.0:\n  pass", "`1.0` is f32, not i64"),
        ("seq i in n:\n  par j in n:\n    pass", "a par loop is outermost"),
        ("vec(8x1) i in n:\n  vec(8x1) j in n:\n    pass", "a vec loop inside a vec loop"),
        ("seq i in n:\n  block j in n:\n    pass", "a block loop is outermost"),
        ("seq(8x2) i in n:\n  pass", "only a vec loop has a width"),
        ("par(unroll 2) i in n:\n  pass", "only vec and seq loops unroll"),
        ("if n:\n  pass", "`n` is i64, not bool"),
        ("while 1.0:\n  pass", "`1.0` is f32, not bool"),
        ("check n, code 1", "`n` is i64, not bool"),
        ("check true, code 0", "codes start at 1"),
        ("barrier", "a barrier stands inside a block or thread loop"),
        ("fence", "stands inside a thread loop"),
        ("atomic(add) y[0, 0] = 1.0", "stands inside a thread loop"),
        (f"{THREADS}combine(8) sub s", "cannot fold with `sub`"),
        (f"{THREADS}combine(24) add s", "the width is a power of two"),
        (f"{THREADS}combine(128) add s", "at most the threads"),
        (f"{THREADS}thread j in 4:\n      pass", "a thread loop inside"),
        (f"{THREADS}atomic(add) x[0, 0] = s", "stores to `x`"),
        (f"{THREADS}atomic(add) y[0, 0] = s -> s", "`s` is declared already"),
        ("m: f32 = 0.0\nvec i in n:\n  m = x[i, 0]", "sets `m` of outside the vec loop"),
        ("m: f32 = 0.0\npar i in n:\n  m add= x[i, 0]", "folds into `m` of outside a par loop"),
        (
            "m: f32 = 0.0\nvec i in n:\n  m add= x[i, 0]\n  y[i, 0] = m",
            "reads `m` inside the loop that folds it",
        ),
        (
            "m: f32 = 0.0\nvec i in n:\n  m add= 1.0\n  m max= 1.0",
            "folded with `add` and with `max`",
        ),
        ("m: f32 = add(1.0, 1)", "operands of `add` differ in dtype: f32, i64"),
        ("m: f32 = add(1.0)", "`add` takes 2 operands, not 1"),
        ("m: f32 = select(1.0, 1.0, 1.0)", "condition `1.0` of select is f32, not bool"),
        ("m: bool = lt(1.0, 1)", "operands of `lt` differ"),
        ("m: f32 = add[f32](1, 1)", "`add` of i64, i64 is declared f32"),
        ("m: f32 = idiv(1.0, 2.0)", "`idiv` takes two i64"),
        ("m: f64 = bitcast[f64](1.0)", "changes the width"),
        ("m: f32 = frobnicate(1.0)", "`frobnicate` is not a scalar operation"),
        ("m: u8 = 256:u8", "constant 256 does not fit u8"),
        ("m: i32 = 1.5:i32", "constant 1.5 does not fit i32"),
        ("m: bool = 1:bool", "constant 1 does not fit bool"),
        ("t: f32[0] scratch", "extents of scratch are positive"),
    ],
)
def test_ill_formed(body, message):
    with pytest.raises(InternalError) as caught:
        check(body)
    assert message in str(caught.value)
    assert str(caught.value).startswith("kernel k: `")


def test_messages_name_the_statement():
    with pytest.raises(InternalError, match=r"kernel k: `y\[i, 0\] = 1`: `1` is i64, not f32"):
        check("par i in n:\n  if true:\n    y[i, 0] = 1")


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("kernel k(in x: f32[m])\n", "extent `m` of `x` is not a size"),
        ("kernel k(in x: f33[1])\n", "`f33` is not a dtype"),
        ("kernel k(on x: f32[1])\n", "role of `x` is `on`"),
        ("kernel k[n](in n: f32[1])\n", "`n` is declared already"),
        ("kernel k(in seq: f32[1])\n", "`seq` is not a name"),
    ],
)
def test_headers(head, message):
    with pytest.raises(InternalError, match=message):
        check("pass", head)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ((Store("z", (), Const(1.0, "f32")),), "buffer `z` is not declared here"),
        ((Local("a", "f32", Var("b", "f32")),), "`b` is not declared here"),
        ((Local("a", "f32", Var("n", "f32")),), "`n` is i64, read as f32"),
        ((Set("a", Const(1.0, "f32")),), "`a` is not declared here"),
        ((Local("a", "f32", Op("exp", (), "f32")),), "`exp` takes 1 operands, not 0"),
        ((Local("a", "f33", Const(1.0, "f32")),), "`f33` is not a dtype"),
    ],
)
def test_trees_that_no_text_has(body, message):
    with pytest.raises(InternalError, match=message):
        verify(Kernel("k", ("n",), (Param("x", "f32", ("n",), "in"),), body))


def test_has_check():
    assert has_check(parse("kernel k()\n  seq i in 4:\n    check lt(i, 3), code 1\n"))
    assert not has_check(parse("kernel k()\n  pass\n"))


@pytest.mark.parametrize("fn", sorted(set(ARITY) & set(PRIMS) - {"convert", "bitcast"}))
def test_result_dtypes_are_those_of_the_records(fn):
    for name, dtype in DTYPES.items():
        dtypes = [dtype] * ARITY[fn]
        if fn == "select":
            dtypes[0] = DTYPES["bool"]
        try:
            inferred = PRIMS[fn].infer(*[TensorType(d, ()) for d in dtypes])
        except DTypeError:
            continue
        assert result_dtype(fn, [short(d) for d in dtypes]) == short(inferred.dtype), name
