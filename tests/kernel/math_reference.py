"""Measure expansions: a NumPy evaluator of expanded kernels, inputs over all bit patterns,
mpmath's answers.

>>> worst("exp", "f32", 1000)          # (ulp, argument) of the largest error
"""

from __future__ import annotations

import math
from collections.abc import Callable

import mpmath as mp
import numpy as np

from tracejit.kernel.math import expand_math
from tracejit.kernel.nodes import (
    Const,
    If,
    Kernel,
    Load,
    Local,
    Loop,
    Op,
    Param,
    Set,
    Store,
    Var,
    While,
)

FLOATS = {"f32": np.float32, "f64": np.float64}
TYPES = {
    **FLOATS,
    "i32": np.int32,
    "i64": np.int64,
    "u32": np.uint32,
    "u64": np.uint64,
    "bool": np.bool_,
}
BASIC = frozenset(
    {"sqrt", "floor", "ceil", "round", "trunc", "abs", "neg", "fma", "copysign", "max", "min"}
)


def kernel_of(fn: str, dtypes: tuple[str, ...], result: str) -> Kernel:
    """``vec i in n0: y[i] = fn(x0[i], ...)``."""
    i = Var("i", "i64")
    loads = tuple(Load(f"x{k}", (i,), dtype) for k, dtype in enumerate(dtypes))
    store = Store("y", (i,), Op(fn, loads, result))
    loop = Loop("vec", "i", Const(0, "i64"), Var("n0", "i64"), (store,), width=16)
    params = (
        *(Param(f"x{k}", d, ("n0",), "in") for k, d in enumerate(dtypes)),
        Param("y", result, ("n0",), "out"),
    )
    return Kernel(f"{fn}_0", ("n0",), params, (loop,))


def evaluate(fn: str, *arrays: np.ndarray, result: str | None = None) -> np.ndarray:
    """``fn`` of the arrays by way of its expansion."""
    dtypes = tuple(name for a in arrays for name, kind in TYPES.items() if a.dtype == kind)
    kernel = expand_math(kernel_of(fn, dtypes, result or dtypes[-1]), frozenset(BASIC))
    (loop,) = kernel.body
    scope: dict[str, np.ndarray] = {f"x{k}": a for k, a in enumerate(arrays)}
    with np.errstate(all="ignore"):
        run(loop.body, scope, np.ones(arrays[0].shape, bool))
    return scope["y"]


def run(statements, scope: dict[str, np.ndarray], mask: np.ndarray) -> None:
    values: dict = {}
    for statement in statements:
        match statement:
            case Local(name=name, value=value):
                scope[name] = np.broadcast_to(value_of(value, scope, {}), mask.shape)
            case Set(name=name, value=value):
                scope[name] = np.where(mask, value_of(value, scope, {}), scope[name])
            case Store(buffer=name, value=value):
                scope[name] = np.broadcast_to(value_of(value, scope, values), mask.shape)
            case If(cond=cond, then=then):
                inner = mask & value_of(cond, scope, {})
                if inner.any():
                    run(then, scope, inner)
            case While(cond=cond, body=body):
                while (inner := mask & value_of(cond, scope, {})).any():
                    run(body, scope, inner)


def value_of(expr, scope, values):
    match expr:
        case Const(value=value, dtype=dtype):
            return TYPES[dtype](value)
        case Var(name=name):
            return scope[name]
        case Load(buffer=name):
            return scope[name]
        case Op(fn=fn, args=args, dtype=dtype):
            kids = [value_of(a, scope, values) for a in args]
            if fn in ("convert", "bitcast"):
                return (
                    kids[0].astype(TYPES[dtype])
                    if fn == "convert"
                    else np.asarray(kids[0]).view(TYPES[dtype])
                )
            return np.asarray(MEANING[fn](*kids)).astype(TYPES[dtype], copy=False)
    raise AssertionError(expr)


def fused(x, y, z):
    if x.dtype == np.float32:
        wide = np.float64(x) * np.float64(y)
        total = wide + np.float64(z)
        # round to odd, so that rounding to f32 afterwards is the only rounding
        part = total - wide
        error = (wide - (total - part)) + (np.float64(z) - part)
        bits = np.asarray(total).view(np.int64)
        inexact = np.isfinite(total) & (error != 0) & (bits & 1 == 0)
        step = np.where((error > 0) == (total > 0), 1, -1)
        return (bits + np.where(inexact, step, 0)).view(np.float64).astype(np.float32)
    # products of halves are exact in a long double's 64 bits; sums keep their errors
    parts = []
    for v in (x, y):
        high = (np.asarray(v).view(np.int64) & ~np.int64((1 << 27) - 1)).view(np.float64)
        parts.append((high.astype(np.longdouble), (v - high).astype(np.longdouble)))
    (xh, xl), (yh, yl) = parts
    z = np.asarray(z, np.longdouble)
    first, first_error = two_sum(xh * yh, z)
    second, second_error = two_sum(first, xh * yl + xl * yh)
    result = second + (first_error + second_error + xl * yl)
    plain = np.asarray(x, np.longdouble) * y + z
    ordinary = np.isfinite(plain) & np.isfinite(result) & (result != 0)
    return np.where(ordinary, result, plain).astype(np.float64)


def shift_right_logical(x, n):
    unsigned = f"u{x.dtype.itemsize}"
    return (np.asarray(x).view(unsigned) >> n.astype(unsigned)).view(x.dtype)


def two_sum(x, y):
    total = x + y
    part = total - x
    return total, (x - (total - part)) + (y - part)


MEANING: dict[str, Callable] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "neg": np.negative,
    "abs": np.abs,
    "fma": fused,
    "sqrt": np.sqrt,
    "floor": np.floor,
    "ceil": np.ceil,
    "round": np.rint,
    "trunc": np.trunc,
    "max": np.maximum,
    "min": np.minimum,
    "copysign": np.copysign,
    "and": lambda x, y: x & y,
    "or": lambda x, y: x | y,
    "xor": lambda x, y: x ^ y,
    "not": lambda x: ~x,
    "shift_left": lambda x, n: x << n,
    "shift_right_logical": shift_right_logical,
    "shift_right_arithmetic": lambda x, n: x >> n,
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "select": lambda c, x, y: np.where(c, x, y),
}


def operations(fn: str, dtype: str, arity: int = 1) -> tuple[int, int]:
    """How many operations an expansion has on the usual path, and how many more on a rare one
    (bitcasts are free)."""
    (loop,) = expand_math(kernel_of(fn, (dtype,) * arity, dtype), frozenset(BASIC)).body

    def size(expr) -> int:
        own = isinstance(expr, Op) and expr.fn not in ("bitcast", "neg")
        return own + sum(map(size, getattr(expr, "args", ())))

    usual = sum(size(s.value) for s in loop.body if not isinstance(s, If)) + sum(
        size(s.cond) for s in loop.body if isinstance(s, If)
    )
    rare = sum(size(t.value) for s in loop.body if isinstance(s, If) for t in s.then)
    return usual, rare


# ---- inputs and references -------------------------------------------------------------------


def bit_patterns(dtype: str, count: int, seed: int = 0) -> np.ndarray:
    kind = FLOATS[dtype]
    bits = np.random.default_rng(seed).integers(0, 1 << (8 * kind(0).itemsize), count, np.uint64)
    return bits.astype(f"u{kind(0).itemsize}").view(kind)


def special_values(dtype: str) -> np.ndarray:
    info = np.finfo(FLOATS[dtype])
    ones = [
        0.5,
        1,
        1.5,
        2,
        3,
        7,
        8,
        10,
        100,
        1e5,
        math.pi,
        math.pi / 2,
        math.pi / 4,
        math.log(2),
        0.1,
    ]
    near = [
        np.nextafter(FLOATS[dtype](v), FLOATS[dtype](w)) for v in (0.5, 1, 2, 7) for w in (0, 100)
    ]
    values = [
        0.0,
        math.inf,
        float(info.max),
        float(info.tiny),
        float(info.smallest_subnormal),
        float(info.tiny) / 3,
    ]
    positive = np.array([*ones, *near, *values], FLOATS[dtype])
    return np.concatenate([positive, -positive, np.array([np.nan], FLOATS[dtype])])


def spread(dtype: str, low: float, high: float, count: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).uniform(low, high, count).astype(FLOATS[dtype])


def ulp_errors(found: np.ndarray, exact: list, dtype: str, least: float = 0.0) -> np.ndarray:
    """|found - exact| in units in the last place of exact, or of ``least`` if that is larger."""
    info = np.finfo(FLOATS[dtype])
    errors = np.zeros(len(found))
    for k, (value, wanted) in enumerate(zip(found.tolist(), exact, strict=True)):
        if mp.isnan(wanted) or math.isnan(value):
            errors[k] = 0 if mp.isnan(wanted) and math.isnan(value) else math.inf
        elif mp.isinf(wanted):
            errors[k] = 0 if value == float(wanted) else math.inf
        else:
            size = max(abs(wanted), mp.mpf(least))
            if math.isinf(value):
                top = mp.mpf(float(info.max))
                errors[k] = 0 if size >= top * (1 + mp.mpf(float(info.eps)) / 4) else math.inf
                continue
            exponent = max(int(mp.floor(mp.log(size, 2))) if size else info.minexp, info.minexp)
            errors[k] = abs(mp.mpf(value) - wanted) / mp.mpf(2) ** (exponent - info.nmant)
    return errors


def real_or_nan(function: Callable) -> Callable:
    def safe(*args):
        try:
            value = function(*args)
        except (ValueError, ZeroDivisionError):
            return mp.nan
        return value if not isinstance(value, mp.mpc) else mp.nan

    return safe


def log_limit(function: Callable, at: float = 0.0) -> Callable:
    return lambda x: -mp.inf if x == at else mp.nan if x < at else function(x)


def bounded(function: Callable, end) -> Callable:
    """Odd functions whose limit for infinity is ``end``."""
    return lambda x: mp.sign(x) * end if mp.isinf(x) else function(x)


def logistic(x):
    return mp.mpf(0) if x < -5000 else mp.mpf(1) if x > 5000 else 1 / (1 + mp.exp(-x))


def exponential(function: Callable, low=0) -> Callable:
    return lambda x: mp.mpf(low) if x < -20000 else mp.inf if x > 20000 else function(x)


def even_growth(function: Callable, odd: bool) -> Callable:
    return lambda x: (mp.inf * (mp.sign(x) if odd else 1)) if abs(x) > 20000 else function(x)


def erfc(x):
    return mp.mpf(0) if x > 200 else mp.mpf(2) if x < -200 else mp.erfc(x)


def erf(x):
    return mp.sign(x) if abs(x) > 200 else mp.erf(x)


def erf_inv(x):
    if abs(x) > 1:
        return mp.nan
    return mp.sign(x) * mp.inf if abs(x) == 1 else mp.erfinv(x)


def lgamma(x):
    if mp.isinf(x) or (x <= 0 and x == mp.floor(x)):
        return mp.inf
    return (
        mp.re(mp.loggamma(x)) if x > 0 else mp.log(abs(mp.pi / (mp.sinpi(x) * x))) - mp.loggamma(-x)
    )


def digamma(x):
    if mp.isinf(x):
        return mp.inf if x > 0 else mp.nan
    return mp.nan if x < 0 and x == mp.floor(x) else (-mp.inf if x == 0 else mp.digamma(x))


def cbrt(x):
    return mp.sign(x) * mp.cbrt(abs(x)) if mp.isfinite(x) else x


REFERENCES: dict[str, Callable] = {
    "exp": exponential(mp.exp),
    "exp2": exponential(lambda x: mp.mpf(2) ** x),
    "expm1": exponential(mp.expm1, -1),
    "logistic": logistic,
    "log": log_limit(mp.log),
    "log2": log_limit(lambda x: mp.log(x) / mp.log(2)),
    "log10": log_limit(mp.log10),
    "log1p": log_limit(mp.log1p, -1.0),
    "sin": mp.sin,
    "cos": mp.cos,
    "tan": mp.tan,
    "asin": lambda x: mp.asin(x) if abs(x) <= 1 else mp.nan,
    "acos": lambda x: mp.acos(x) if abs(x) <= 1 else mp.nan,
    "atan": bounded(mp.atan, mp.pi / 2),
    "sinh": even_growth(mp.sinh, True),
    "cosh": even_growth(mp.cosh, False),
    "tanh": bounded(lambda x: mp.sign(x) if abs(x) > 2000 else mp.tanh(x), 1),
    "asinh": bounded(lambda x: mp.sign(x) * mp.asinh(abs(x)), mp.inf),
    "acosh": lambda x: mp.acosh(x) if x >= 1 else mp.nan,
    "atanh": lambda x: (
        mp.nan if abs(x) > 1 else mp.sign(x) * mp.inf if abs(x) == 1 else mp.atanh(x)
    ),
    "erf": erf,
    "erfc": erfc,
    "erf_inv": erf_inv,
    "lgamma": lgamma,
    "digamma": digamma,
    "cbrt": cbrt,
    "rsqrt": lambda x: (
        mp.inf if x == 0 else mp.nan if x < 0 else 1 / mp.sqrt(x) if mp.isfinite(x) else mp.mpf(0)
    ),
}


def precise(function: Callable, x: float, dtype: str):
    if math.isnan(x):
        return mp.nan
    # large arguments of sin need their exponent's worth of digits, small ones of asinh too
    exponent = abs(math.frexp(x)[1]) if x and math.isfinite(x) else 0
    with mp.workprec(
        160 + (exponent if function in (mp.sin, mp.cos, mp.tan) or exponent < 400 else 2 * exponent)
    ):
        if math.isinf(x) and function in (mp.sin, mp.cos, mp.tan):
            return mp.nan
        return real_or_nan(function)(mp.mpf(x))


def inputs(fn: str, dtype: str, count: int, seed: int = 0) -> np.ndarray:
    """Random bit patterns, special values, and denser where the function changes."""
    ranges = {
        "exp": (-750, 715),
        "exp2": (-1080, 1030),
        "expm1": (-40, 3),
        "log": (0, 3),
        "log2": (0, 3),
        "log10": (0, 3),
        "log1p": (-1, 3),
        "logistic": (-110, 40),
        "sin": (-30, 30),
        "cos": (-30, 30),
        "tan": (-30, 30),
        "asin": (-1, 1),
        "acos": (-1, 1),
        "atan": (-4, 4),
        "sinh": (-3, 3),
        "cosh": (-3, 3),
        "tanh": (-3, 3),
        "asinh": (-4, 4),
        "acosh": (1, 3),
        "atanh": (-1, 1),
        "erf": (-6, 6),
        "erfc": (-3, 27.5),
        "erf_inv": (-1, 1),
        "lgamma": (0, 20),
        "digamma": (0, 20),
        "cbrt": (-9, 9),
        "rsqrt": (0, 9),
    }
    low, high = ranges[fn]
    if dtype == "f32":
        low, high = max(low, -106), min(high, 91)
    special = special_values(dtype)
    if fn in ("rsqrt", "digamma"):  # the sign of zero is lost on mpmath
        special = special[~((special == 0) & np.signbit(special))]
    return np.concatenate(
        [
            special,
            bit_patterns(dtype, count // 3, seed),
            spread(dtype, low, high, count // 3, seed + 1),
            spread(
                dtype, max(low, -1.5), min(high, 1.5) if high > 1 else high, count // 3, seed + 2
            ),
        ]
    )


ABSOLUTE = {"lgamma": 1.0, "digamma": 1.0}  # they have zeros in between


def worst(fn: str, dtype: str, count: int, seed: int = 0) -> tuple[float, float]:
    x = inputs(fn, dtype, count, seed)
    errors = ulp_errors(
        evaluate(fn, x),
        [precise(REFERENCES[fn], v, dtype) for v in x.tolist()],
        dtype,
        ABSOLUTE.get(fn, 0.0),
    )
    k = int(np.argmax(errors))
    return float(errors[k]), float(x[k])


if __name__ == "__main__":
    import sys

    names = sys.argv[2:] or list(REFERENCES)
    for name in names:
        for kind in ("f32", "f64"):
            error, at = worst(name, kind, int(sys.argv[1]))
            print(
                f"{name:10s} {kind}  {error:8.3f} ulp at {at!r:26}  {operations(name, kind)}",
                flush=True,
            )
