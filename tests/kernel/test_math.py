"""``expand_math`` against mpmath over all bit patterns, its rewriting of statements, and
``widen_half``."""

from __future__ import annotations

import math

import numpy as np
import pytest

import tracejit as tj
from tests.kernel.math_reference import (
    ABSOLUTE,
    BASIC,
    FLOATS,
    REFERENCES,
    bit_patterns,
    evaluate,
    inputs,
    kernel_of,
    operations,
    precise,
    special_values,
    ulp_errors,
)
from tracejit import lax
from tracejit.codegen.llvm import print_llvm
from tracejit.ir.expr import Const, Expr, Load, Op, Var, children, walk
from tracejit.ir.types import bfloat16
from tracejit.kernel.math import EXPANSIONS, ULP, expand_math, widen_half
from tracejit.kernel.nodes import Accumulate, If, Kernel, Local, Loop, Param, Set, Store, While
from tracejit.runtime import native

i = Var("i", "i64")
FORMATS = ("f32", "f64")


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("fn", REFERENCES)
def test_within_the_stated_ulp(fn, dtype):
    x = inputs(fn, dtype, 120, seed=7)
    exact = [precise(REFERENCES[fn], v, dtype) for v in x.tolist()]
    errors = ulp_errors(evaluate(fn, x), exact, dtype, ABSOLUTE.get(fn, 0.0))
    if (
        fn in ABSOLUTE
    ):  # beside the poles of negative arguments the bound is on the terms, not on their difference
        errors = errors[(x > 0) | ~np.isfinite(errors)]
    assert errors.max() <= ULP[fn][dtype], (x[int(errors.argmax())], errors.max())


@pytest.mark.parametrize("dtype", FORMATS)
def test_a_compiled_logistic_keeps_its_digits(dtype):
    x = inputs("logistic", dtype, 300, seed=5)
    exact = [precise(REFERENCES["logistic"], v, dtype) for v in x.tolist()]
    found = np.asarray(tj.jit(lax.logistic)(x))
    assert ulp_errors(found, exact, dtype).max() <= ULP["logistic"][dtype]


def test_every_stated_bound_is_two_ulp_or_less():
    assert all(bound <= 2.0 for bounds in ULP.values() for bound in bounds.values())
    assert ULP.keys() <= EXPANSIONS.keys()


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize(
    "fn",
    [
        "sin",
        "tan",
        "asin",
        "atan",
        "sinh",
        "tanh",
        "asinh",
        "atanh",
        "erf",
        "erf_inv",
        "expm1",
        "log1p",
        "cbrt",
    ],
)
def test_odd_functions_keep_the_sign_of_zero(fn, dtype):
    zeros = np.array([0.0, -0.0], FLOATS[dtype])
    assert np.signbit(evaluate(fn, zeros)).tolist() == [False, True]
    assert (evaluate(fn, zeros) == 0).all()


@pytest.mark.parametrize("dtype", FORMATS)
def test_pow_follows_numpy_in_every_special_case(dtype):
    kind = FLOATS[dtype]
    special = np.concatenate(
        [special_values(dtype), np.array([-1, -3, 4, -4, 2.5, -2.5, 2.0**24 + 2], kind)]
    )
    x, y = (a.ravel() for a in np.meshgrid(special, special))
    found = evaluate("pow", x, y)
    with np.errstate(all="ignore"):
        exact = np.power(x.astype(np.longdouble), y.astype(np.longdouble)).astype(kind)
    assert_close(found, exact, 2)


@pytest.mark.parametrize("dtype", FORMATS)
def test_pow_of_random_arguments(dtype):
    draw = np.random.default_rng(3)
    top = math.log(float(np.finfo(FLOATS[dtype]).max))
    x = np.exp(draw.uniform(-top, top, 2000)).astype(FLOATS[dtype])
    y = (draw.uniform(-top, top, 2000) / np.log(x)).astype(FLOATS[dtype])
    exact = np.power(x.astype(np.longdouble), y.astype(np.longdouble)).astype(FLOATS[dtype])
    assert_close(evaluate("pow", x, y), exact, 2)


@pytest.mark.parametrize("dtype", FORMATS)
def test_atan2_in_all_octants(dtype):
    special = special_values(dtype)
    some_y, some_x = (a.ravel() for a in np.meshgrid(special, special))
    random_y, random_x = (bit_patterns(dtype, 2000, seed) for seed in (1, 2))
    for y, x in ((some_y, some_x), (random_y, random_x)):
        with np.errstate(all="ignore"):
            exact = np.arctan2(y.astype(np.longdouble), x.astype(np.longdouble)).astype(
                FLOATS[dtype]
            )
        assert_close(evaluate("atan2", y, x), exact, 2)


@pytest.mark.parametrize("dtype", FORMATS)
def test_nextafter_sign_clamp_and_predicates_are_exact(dtype):
    special = special_values(dtype)
    x, y = (a.ravel() for a in np.meshgrid(special, special))
    with np.errstate(all="ignore"):
        assert_close(evaluate("nextafter", x, y), np.nextafter(x, y), 0)
        assert_close(evaluate("sign", x), np.sign(x), 0)
        assert_close(evaluate("square", x), np.square(x), 0)
        assert_close(evaluate("reciprocal", x), np.reciprocal(x), 0)
    low, high = np.full_like(x, -1.5), np.full_like(x, 2.0)
    assert_close(evaluate("clamp", low, x, high), np.clip(x, -1.5, 2.0).astype(x.dtype), 0)
    assert (evaluate("is_nan", x, result="bool") == np.isnan(x)).all()
    assert (evaluate("is_finite", x, result="bool") == np.isfinite(x)).all()


def assert_close(found: np.ndarray, exact: np.ndarray, ulp: float) -> None:
    """Equal in value and sign of zero, both nan, or within ``ulp`` units of the last place."""
    with np.errstate(all="ignore"):
        same = (found == exact) & (np.signbit(found) == np.signbit(exact)) | (
            np.isnan(found) & np.isnan(exact)
        )
        near = (np.abs(found - exact) <= ulp * np.spacing(np.abs(exact))) & (exact != 0) & (ulp > 0)
        # beyond the largest number one unit is as good as infinity
        edge = (
            np.isinf(found)
            & (np.abs(exact) >= np.nextafter(np.finfo(found.dtype).max, 0))
            & (ulp > 0)
        )
    wrong = ~(same | near | edge)
    assert not wrong.any(), (found[wrong][:5], exact[wrong][:5])


def test_exp2_of_integers_is_exact():
    for dtype, low, high in (("f32", -149, 128), ("f64", -1074, 1024)):
        x = np.arange(low, high).astype(FLOATS[dtype])
        assert (evaluate("exp2", x) == np.ldexp(FLOATS[dtype](1), np.arange(low, high))).all()
        assert (evaluate("log2", evaluate("exp2", x)) == x).all()


def test_integers():
    x = np.array([-3, -2, -1, 0, 1, 2, 3, 2**31 - 1, -(2**31)], np.int32)
    assert evaluate("sign", x).tolist() == np.sign(x).tolist()
    base, exponent = (
        a.ravel().astype(np.int32) for a in np.meshgrid(x, np.array([0, 1, 2, 3, 7, 30]))
    )
    assert evaluate("pow", base, exponent).tolist() == np.power(base, exponent).tolist()
    negative = np.full(x.shape, -3, np.int32)
    assert evaluate("pow", x, negative).tolist() == [0, 0, -1, 0, 1, 0, 0, 0, 0]


def test_f32_expansions_stay_cheap():
    limits = {
        "exp": 18,
        "log": 29,
        "tanh": 28,
        "sin": 24,
        "cos": 24,
        "logistic": 30,
        "erf": 36,
        "expm1": 21,
    }
    for fn, limit in limits.items():
        assert operations(fn, "f32")[0] <= limit, fn


# ---- statements ------------------------------------------------------------------------------


@pytest.mark.parametrize("fn", ["exp", "log", "tanh", "sin", "erfc", "lgamma"])
def test_machine_code_gives_the_same_bits(fn):
    pytest.importorskip("llvmlite")
    x = inputs(fn, "f32", 3000, seed=2)
    kernel = expand_math(kernel_of(fn, ("f32",), "f32"), BASIC)
    code = native.compile_llvm(print_llvm(kernel, native.host_target()), [kernel.name])
    found = np.empty_like(x)
    native.call_kernel(code.addresses[kernel.name], [x, found], [x.size], 0, x.size, threads=1)
    assert_close(found, evaluate(fn, x), 0)


def test_pow_with_an_integer_exponent():
    x = np.array([2.0, -3.0, 0.5], np.float32)
    assert evaluate("pow", x, np.array([-2, 3, 2], np.int32), result="f32").tolist() == [
        0.25,
        -27,
        0.25,
    ]


def fns(kernel: Kernel) -> set[str]:
    """Every function that a kernel's statements name."""
    return {
        node.fn for expr in expressions(kernel.body) for node in walk(expr) if isinstance(node, Op)
    }


def expressions(statements) -> list[Expr]:
    found: list[Expr] = []
    for statement in statements:
        match statement:
            case Loop(start=start, stop=stop, body=body):
                found += [start, stop, *expressions(body)]
            case While(cond=cond, body=body):
                found += [cond, *expressions(body)]
            case If(cond=cond, then=then, orelse=orelse):
                found += [cond, *expressions(then), *expressions(orelse)]
            case Local(value=value) | Set(value=value) | Accumulate(value=value):
                found.append(value)
            case Store(value=value, index=index):
                found += [value, *index]
    return found


def one_loop(*body, how: str = "vec") -> Kernel:
    params = (Param("x", "f32", ("n0",), "in"), Param("y", "f32", ("n0",), "out"))
    return Kernel(
        "k", ("n0",), params, (Loop(how, "i", Const(0, "i64"), Var("n0", "i64"), body, width=16),)
    )


X = Load("x", (i,), "f32")


def test_native_functions_stay():
    kernel = one_loop(Store("y", (i,), Op("exp", (Op("sin", (X,), "f32"),), "f32")))
    assert expand_math(kernel, frozenset({"exp", "sin"})) == kernel
    assert fns(expand_math(kernel, frozenset({"sin"}))) >= {"sin", "fma"}
    assert not fns(expand_math(kernel, frozenset())) & EXPANSIONS.keys()


def test_statements_without_functions_are_untouched():
    kernel = one_loop(Store("y", (i,), Op("add", (X, X), "f32")))
    assert expand_math(kernel, frozenset()) == kernel


def test_an_expression_used_twice_is_expanded_once():
    once = Op("exp", (X,), "f32")
    count = operations("exp", "f32")[0]
    (loop,) = expand_math(
        one_loop(Store("y", (i,), Op("mul", (once, once), "f32"))), frozenset()
    ).body
    total = sum(
        isinstance(node, Op) and node.fn != "bitcast"
        for expr in expressions(loop.body)
        for node in walk(expr)
    )
    assert total == count + 1


def test_names_of_locals_are_new():
    kernel = one_loop(
        Local("t0", "f32", X),
        Store("y", (i,), Op("tanh", (Op("add", (Var("t0", "f32"), X), "f32"),), "f32")),
    )
    names = [s.name for s in expand_math(kernel, frozenset()).body[0].body if isinstance(s, Local)]
    assert len(names) == len(set(names)) and "t0" in names


def test_slow_path_of_sin_is_behind_a_branch():
    (loop,) = expand_math(one_loop(Store("y", (i,), Op("sin", (X,), "f32"))), frozenset()).body
    assert sum(isinstance(s, If) for s in loop.body) == 1
    huge = np.array([1e30, 1e22, -3e38, 2.0**100], np.float32)
    exact = [precise(REFERENCES["sin"], v, "f32") for v in huge.tolist()]
    assert ulp_errors(evaluate("sin", huge), exact, "f32").max() < 2


def test_while_condition_is_computed_again_each_trip():
    v = Var("v", "f32")
    loop = While(
        Op("gt", (Op("exp", (v,), "f32"), Const(1.5, "f32")), "bool"),
        (Set("v", Op("sub", (v, Const(1.0, "f32")), "f32")),),
    )
    body = (
        expand_math(
            one_loop(Local("v", "f32", X), loop, Store("y", (i,), v), how="seq"), frozenset()
        )
        .body[0]
        .body
    )
    (again,) = [s for s in body if isinstance(s, While)]
    assert isinstance(again.cond, Var) and again.cond.dtype == "bool"
    last = again.body[-1]
    assert isinstance(last, Set) and last.name == again.cond.name
    assert sum(isinstance(s, Local) for s in again.body) >= 1


def test_indices_keep_their_form():
    index = Op("add", (Op("mul", (i, Const(2, "i64")), "i64"), Const(1, "i64")), "i64")
    load = Load("x", (index,), "f32")
    value = Op("mul", (Op("exp", (load,), "f32"), load), "f32")
    (loop,) = expand_math(one_loop(Store("y", (index,), value)), frozenset()).body
    loads = {
        node for expr in expressions(loop.body) for node in walk(expr) if isinstance(node, Load)
    }
    assert loads == {load}
    assert loop.body[-1].index == (index,)


# ---- half precision --------------------------------------------------------------------------


def half_fns(kernel: Kernel) -> set[str]:
    """Functions with an operand or result in half precision."""
    return {
        node.fn
        for expr in expressions(kernel.body)
        for node in walk(expr)
        if isinstance(node, Op)
        and {node.dtype, *(kid.dtype for kid in children(node))} & {"f16", "bf16"}
    }


@pytest.mark.parametrize("dtype", ["f16", "bf16"])
def test_half_arithmetic_becomes_f32(dtype):
    kernel = kernel_of("mul", (dtype, dtype), dtype)
    (loop,) = kernel.body
    store = loop.body[0]
    chain = Op("add", (store.value, Const(0.1, dtype)), dtype)
    body = (Store("y", store.index, Op("exp", (chain,), dtype)),)
    wide = widen_half(
        Kernel("k", kernel.sizes, kernel.params, (Loop("vec", "i", loop.start, loop.stop, body),))
    )
    assert half_fns(wide) == {"convert"}
    tenth = np.float16(0.1) if dtype == "f16" else np.float32(0.1).astype(bfloat16)
    assert Const(float(tenth), "f32") in set(walk(wide.body[0].body[0].value))
    # every operation rounds: three conversions to half
    value = wide.body[0].body[0].value
    assert (
        sum(isinstance(n, Op) and n.fn == "convert" and n.dtype == dtype for n in walk(value)) == 3
    )


def test_half_select_and_bits_stay():
    x = Load("x0", (i,), "f16")
    value = Op(
        "select",
        (
            Op("lt", (x, Const(0.0, "f16")), "bool"),
            x,
            Op("nextafter", (x, Const(1.0, "f16")), "f16"),
        ),
        "f16",
    )
    kernel = kernel_of("neg", ("f16",), "f16")
    loop = kernel.body[0]
    wide = widen_half(
        Kernel(
            "k",
            ("n0",),
            kernel.params,
            (Loop("vec", "i", loop.start, loop.stop, (Store("y", (i,), value),)),),
        )
    )
    assert half_fns(wide) == {"convert", "select", "bitcast"}


def test_half_accumulators_are_f32():
    x, total = Load("x0", (i,), "f16"), Var("s", "f16")
    loop = Loop("vec", "i", Const(0, "i64"), Var("n0", "i64"), (Accumulate("s", "add", x),))
    params = (Param("x0", "f16", ("n0",), "in"), Param("y", "f16", (1,), "out"))
    zero = Const(0, "i64")
    kernel = Kernel(
        "k",
        ("n0",),
        params,
        (Local("s", "f16", Const(0.0, "f16")), loop, Store("y", (zero,), total)),
    )
    local, loop, store = widen_half(kernel).body
    assert local == Local("s", "f32", Const(0.0, "f32"))
    assert loop.body == (Accumulate("s", "add", Op("convert", (x,), "f32")),)
    assert store.value == Op("convert", (Var("s", "f32"),), "f16")
