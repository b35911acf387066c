"""tracejit.lax: elementwise functions and reductions against NumPy's or SciPy's, the others against
JAX's of the same names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.special

from tests.vocabulary.spec import Case, case, ints, mask, of, positive, real

FLOATS = ("float16", "float32", "float64")
WIDE = ("float32", "float64")
COMPLEX = ("complex64", "complex128")
INTS = ("int8", "int32", "uint8", "int64")
NO = "no float result"
STEPS = "not smooth"


def lax(name: str, *args: Any, **options: Any) -> Case:
    return case(f"tracejit.lax.{name}", *args, **{"tol32": 1e-4, **options})


def in_dtype(function: Callable[..., Any]) -> Callable[..., Any]:
    """A reference that computes in the dtype of its argument, as lax does."""
    return lambda x, *rest: np.asarray(function(x, *rest)).astype(np.asarray(x).dtype)


ANY, INSIDE = real(2, 3), real(2, 3, low=-0.9, high=0.9)
POSITIVE = positive(2, 3)
AWAY = of(lambda x: np.where(x < 0, x - x.dtype.type(1), x + x.dtype.type(1)), ANY)

ONE = [
    *(
        lax(ours, INSIDE, reference=in_dtype(getattr(np, theirs)), dtypes=(*FLOATS, *COMPLEX))
        for ours, theirs in (
            *((n, n) for n in "sin cos tan sinh cosh tanh exp exp2 expm1 square".split()),
            *((n, n) for n in "asin acos atan asinh atanh".split()),
            ("neg", "negative"),
        )
    ),
    *(
        lax(name, POSITIVE, reference=in_dtype(getattr(np, name)), dtypes=(*FLOATS, *COMPLEX))
        for name in ("log", "log1p", "sqrt", "reciprocal")
    ),
    lax("acosh", positive(2, 3, low=1.1), reference=in_dtype(np.acosh), dtypes=FLOATS),
    lax("cbrt", POSITIVE, reference=in_dtype(np.cbrt), dtypes=FLOATS),
    lax("rsqrt", POSITIVE, reference=lambda x: 1 / np.sqrt(x), dtypes=(*FLOATS, *COMPLEX)),
    lax("logistic", ANY, reference=lambda x: 1 / (1 + np.exp(-x)), dtypes=(*FLOATS, *COMPLEX)),
    *(
        lax(ours, draw, reference=in_dtype(theirs), dtypes=dtypes)
        for ours, theirs, draw, dtypes in (
            ("erf", scipy.special.erf, ANY, WIDE),
            ("erfc", scipy.special.erfc, ANY, WIDE),
            ("erf_inv", scipy.special.erfinv, INSIDE, WIDE),
            ("lgamma", scipy.special.gammaln, POSITIVE, WIDE),
            ("digamma", scipy.special.digamma, POSITIVE, WIDE),
            ("bessel_i0e", scipy.special.i0e, ANY, WIDE),
            ("bessel_i1e", scipy.special.i1e, ANY, WIDE),
        )
    ),
    lax("abs", AWAY, reference=np.abs, dtypes=("int32", *FLOATS, *COMPLEX)),
    lax("sign", ANY, reference=np.sign, dtypes=("int32", *FLOATS, *COMPLEX), grad=STEPS),
    lax("floor", ANY, reference=np.floor, dtypes=FLOATS, grad=STEPS),
    lax("ceil", ANY, reference=np.ceil, dtypes=FLOATS, grad=STEPS),
    lax("round", np.array([0.5, 1.5, -2.5, 0.3]), reference=lambda x: np.array([1.0, 2, -3, 0])),
    lax("is_finite", ANY, reference=np.isfinite, dtypes=FLOATS, grad=NO),
    lax("real", ANY, reference=np.real, dtypes=COMPLEX),
    lax("imag", ANY, reference=np.imag, dtypes=COMPLEX),
    lax("conj", ANY, reference=np.conj, dtypes=COMPLEX),
    lax("bitwise_not", ANY, reference=np.invert, dtypes=("bool", *INTS)),
    lax(
        "population_count",
        real(4, low=0.0, high=99.0),
        reference=lambda x: np.bitwise_count(x).astype(x.dtype),
        dtypes=("uint8", "int32", "int64"),
    ),
    lax("clz", np.array([0, 1, 255, -1], np.int32), reference=lambda x: np.array([32, 31, 24, 0])),
    lax("integer_pow", ANY, 3, reference=lambda x, y: x**y, dtypes=("int32", *FLOATS, *COMPLEX)),
    lax("integer_pow", POSITIVE, -2, reference=lambda x, y: x ** float(y), dtypes=WIDE),
    lax("reduce_precision", ANY, 8, 7, dtypes=("float32",), grad="rounded"),
    lax("stop_gradient", ANY, reference=lambda x: x, grad="by its meaning"),
    lax("optimization_barrier", ANY, reference=lambda x: x),
    lax("stage", ANY, reference=lambda x: x),
]
TWO = [
    *(
        lax(ours, ANY, AWAY, reference=theirs, dtypes=(*INTS, *FLOATS, *COMPLEX))
        for ours, theirs in (("add", np.add), ("sub", np.subtract), ("mul", np.multiply))
    ),
    lax("div", ANY, AWAY, reference=np.true_divide, dtypes=(*FLOATS, *COMPLEX)),
    lax(
        "div",
        real(6, low=-9.0, high=9.0),
        positive(6, low=1, high=4),
        reference=lambda x, y: np.trunc(x / y).astype(x.dtype),
        dtypes=("int32", "uint8"),
    ),
    lax("rem", real(2, 3, low=-9.0, high=9.0), AWAY, reference=np.fmod, dtypes=("int32", *FLOATS)),
    lax("pow", POSITIVE, ANY, reference=np.power, dtypes=(*WIDE, *COMPLEX)),
    lax(
        "pow",
        POSITIVE,
        ints(2, 3, low=-2, below=4),
        reference=lambda x, y: x ** y.astype(x.dtype),
        dtypes=WIDE,
        label="integer exponents",
    ),
    lax("atan2", ANY, AWAY, reference=np.arctan2, dtypes=FLOATS),
    lax("nextafter", ANY, AWAY, reference=np.nextafter, dtypes=WIDE, grad=STEPS),
    lax("max", ANY, AWAY, reference=np.maximum, dtypes=(*INTS, *FLOATS)),
    lax("min", ANY, AWAY, reference=np.minimum, dtypes=(*INTS, *FLOATS)),
    *(
        lax(ours, ANY, ANY, reference=theirs, dtypes=(*INTS, *FLOATS), grad=NO)
        for ours, theirs in (
            ("eq", np.equal),
            ("ne", np.not_equal),
            ("lt", np.less),
            ("le", np.less_equal),
            ("gt", np.greater),
            ("ge", np.greater_equal),
        )
    ),
    *(
        lax(f"bitwise_{name}", ANY, ANY, reference=getattr(np, f"bitwise_{name}"), dtypes=INTS)
        for name in ("and", "or", "xor")
    ),
    lax("shift_left", ANY, real(2, 3, low=0, high=6), reference=np.left_shift, dtypes=INTS),
    lax(
        "shift_right_arithmetic",
        real(2, 3, low=-99.0, high=99.0),
        real(2, 3, low=0, high=6),
        reference=np.right_shift,
        dtypes=("int8", "int32"),
    ),
    lax(
        "shift_right_logical",
        real(2, 3, low=0, high=99.0),
        real(2, 3, low=0, high=6),
        reference=np.right_shift,
        dtypes=("uint8", "int32"),
    ),
    lax(
        "mulhi",
        real(3, low=-99, high=99),
        real(3, low=-99, high=99),
        reference=lambda x, y: ((x.astype(np.int64) * y) >> 32).astype(x.dtype),
        dtypes=("int32",),
    ),
    lax("complex", ANY, AWAY, reference=lambda x, y: x + 1j * y, dtypes=WIDE),
    lax(
        "igamma", POSITIVE, positive(2, 3), reference=scipy.special.gammainc, dtypes=WIDE, tol=1e-8
    ),
    lax(
        "igammac",
        POSITIVE,
        positive(2, 3),
        reference=scipy.special.gammaincc,
        dtypes=WIDE,
        tol=1e-8,
    ),
    lax(
        "igamma_grad_a", POSITIVE, positive(2, 3), dtypes=WIDE, grad="a second derivative", tol=1e-6
    ),
    lax(
        "polygamma",
        ints(2, 3, low=1, below=4, dtype="float64"),
        POSITIVE,
        reference=scipy.special.polygamma,
        dtypes=("float64",),
        tol=1e-8,
    ),
    lax(
        "zeta",
        positive(2, 3, low=1.5),
        positive(2, 3, low=0.5),
        reference=scipy.special.zeta,
        dtypes=WIDE,
        grad="by the second argument only",
        tol=1e-8,
    ),
    lax(
        "betainc",
        positive(3),
        positive(3),
        real(3, low=0.1, high=0.9),
        reference=scipy.special.betainc,
        dtypes=WIDE,
        tol=1e-8,
    ),
    lax("clamp", -1.0, ANY, 1.0, reference=lambda low, x, high: np.clip(x, low, high)),
    lax(
        "clamp",
        real(2, 3, low=-1, high=0),
        ANY,
        positive(2, 3),
        reference=lambda low, x, high: np.clip(x, low, high),
    ),
    lax("select", mask(2, 3), ANY, ANY, reference=np.where, dtypes=("int32", *WIDE)),
    lax(
        "select_n",
        ints(2, 3, below=3, dtype="int32"),
        ANY,
        ANY,
        ANY,
        reference=lambda k, *xs: np.choose(k, xs),
    ),
    lax("select_n", mask(2, 3), ANY, ANY, reference=lambda k, x, y: np.where(k, y, x)),
]
REDUCTIONS = [
    *(
        lax(f"reduce_{name}", real(2, 3, 4), (0, 2), reference=function, dtypes=dtypes, grad=grad)
        for name, function, dtypes, grad in (
            ("sum", lambda x, axes: np.sum(x, axes, x.dtype), ("int8", *FLOATS, *COMPLEX), True),
            ("prod", lambda x, axes: np.prod(x, axes, x.dtype), ("int32", *WIDE), True),
            ("max", np.max, ("int8", *FLOATS), True),
            ("min", np.min, ("int8", *FLOATS), True),
        )
    ),
    *(
        lax(f"reduce_{name}", mask(3, 4), (1,), reference=lambda x, axes, f=f: f.reduce(x, axes[0]))
        for name, f in (("and", np.logical_and), ("or", np.logical_or), ("xor", np.logical_xor))
    ),
    *(
        lax(
            f"reduce_{name}",
            ints(3, 4, below=99, dtype="int32"),
            (0,),
            reference=lambda x, axes, f=f: f.reduce(x, axes[0]),
        )
        for name, f in (("and", np.bitwise_and), ("or", np.bitwise_or), ("xor", np.bitwise_xor))
    ),
    *(
        lax(
            f"arg{name}",
            real(3, 4),
            1,
            np.int32,
            reference=lambda x, axis, d, f=f: f(x, axis).astype(d),
            grad=NO,
        )
        for name, f in (("max", np.argmax), ("min", np.argmin))
    ),
    *(
        lax(f"cum{name}", real(3, 4), axis=1, reverse=reverse, reference=_f)
        for name, f in (
            ("sum", np.cumsum),
            ("prod", np.cumprod),
            ("max", np.maximum.accumulate),
            ("min", np.minimum.accumulate),
            ("logsumexp", np.logaddexp.accumulate),
        )
        for reverse in (False, True)
        for _f in [
            lambda x, axis, reverse, f=f: (
                np.flip(f(np.flip(x, axis), axis), axis) if reverse else f(x, axis)
            )
        ]
    ),
    lax(
        "reduce",
        real(2, 3),
        np.float64(0),
        lambda x, y: x + y,
        (1,),
        reference=lambda x, i, f, d: x.sum(1),
        dtypes=("float64",),
    ),
    lax(
        "reduce",
        [real(4), real(4)],
        [np.float64(0), np.float64(1)],
        lambda x, y: (x[0] + y[0], x[1] * y[1]),
        (0,),
        reference=lambda x, i, f, d: (x[0].sum(), x[1].prod()),
        dtypes=("float64",),
        label="two",
        grad="a reduction of pairs has no jvp rule",
    ),
    lax(
        "reduce_window",
        real(5, 6),
        np.float64(0),
        lambda x, y: x + y,
        (2, 3),
        (1, 2),
        "VALID",
        dtypes=("float64",),
    ),
    lax("broadcast_shapes", (2, 1), (3,)),
    lax("reduce_window_shape_tuple", (5, 6), (2, 3), (1, 2), [(0, 0), (1, 1)]),
]
SORTS = [
    lax("sort", real(3, 5), reference=np.sort, dtypes=("int32", *FLOATS)),
    lax("sort", real(3, 5), dimension=0, reference=lambda x, dimension: np.sort(x, dimension)),
    lax(
        "sort",
        (ints(6, below=3), real(6)),
        num_keys=1,
        reference=lambda xs, num_keys: tuple(x[np.argsort(xs[0], kind="stable")] for x in xs),
    ),
    lax(
        "sort_key_val",
        real(6),
        ints(6, below=9),
        reference=lambda k, v: (np.sort(k), v[np.argsort(k)]),
    ),
    lax(
        "top_k",
        real(3, 6),
        2,
        reference=lambda x, k: (-np.sort(-x)[:, :k], np.argsort(-x)[:, :k].astype(np.int32)),
    ),
    lax(
        "approx_max_k",
        real(3, 6),
        2,
        reference=lambda x, k: (-np.sort(-x)[:, :k], np.argsort(-x)[:, :k].astype(np.int32)),
    ),
    lax(
        "approx_min_k",
        real(3, 6),
        2,
        reference=lambda x, k: (np.sort(x)[:, :k], np.argsort(x)[:, :k].astype(np.int32)),
    ),
]
CASES = [*ONE, *TWO, *REDUCTIONS, *SORTS]
