"""Elementwise functions of tracejit.numpy, against NumPy's of the same names."""

from __future__ import annotations

import numpy as np

from tests.vocabulary.spec import Case, Draw, case, ints, of, positive, real

REAL = ("bool", "int8", "int32", "uint8", "uint64", "float16", "float32", "float64")
ALL = (*REAL, "complex64", "complex128")
FLOATING = ("float16", "float32", "float64")
INEXACT = (*FLOATING, "complex64", "complex128")
INTEGERS = ("int8", "int32", "uint8", "int64")
BITS = ("bool", *INTEGERS)
NUMERIC = tuple(d for d in ALL if d != "bool")


def np_name(name: str) -> str:
    return f"tracejit.numpy.{name}"


def extremes(*shape: int) -> Draw:
    """Infinities, nan, signed zeros, tiny and huge numbers among others."""
    values = [np.inf, -np.inf, np.nan, 0.0, -0.0, 1.0, -1.0, 1e-30, 1e30, 0.5, -2.5, 3.0]

    def make(rng: np.random.Generator, dtype: np.dtype) -> np.ndarray:
        with np.errstate(all="ignore"):
            return np.resize(np.asarray(values), shape).astype(dtype)

    return Draw(make)


def unary(
    name: str, draw: Draw, dtypes: tuple[str, ...], grad: bool | str = True, **options: object
) -> list[Case]:
    """A function of one array: 1 axis, 0-d, and empty."""
    path = np_name(name)
    more = {"dtypes": dtypes, "grad": grad, "tol32": 1e-4, **options}
    none = {**more, "dtypes": ("float32",), "grad": "nothing to move", "jit": "as elsewhere"}
    return [
        case(path, draw, **more),
        case(path, of(lambda x: x.reshape(-1)[0], draw), label="0-d", **more),
        case(path, real(0, 3), label="empty", **none),
    ]


def specials(name: str, dtypes: tuple[str, ...] = ("float32", "float64")) -> Case:
    return case(
        np_name(name),
        extremes(12),
        label="special",
        dtypes=dtypes,
        grad="not finite",
        tol32=1e-5,
        vmap="the same as elsewhere",
    )


def pair(
    name: str,
    one: Draw,
    two: Draw,
    dtypes: tuple[str, ...],
    grad: bool | str = True,
    **options: object,
) -> list[Case]:
    """A function of two arrays: broadcast against each other, an array with a scalar."""
    path = np_name(name)
    more = {"dtypes": dtypes, "grad": grad, "tol32": 1e-4, **options}
    row = of(lambda x: x.reshape(-1)[:3], two)
    scalar = of(lambda x: x.reshape(-1)[0], two)
    return [
        case(path, one, row, label="(2,3),(3,)", **more),
        case(path, one, scalar, label="(2,3),()", **more),
    ]


ANY = real(2, 3)
POSITIVE = positive(2, 3)
INSIDE = real(2, 3, low=-0.9, high=0.9)
NONZERO = of(lambda x: np.where(x == 0, np.asarray(1, x.dtype), x), ANY)
DIVISOR = of(lambda x: np.where(x < 0, x - x.dtype.type(1), x + x.dtype.type(1)), ANY)
NO = "no float result"
STEPS = "not smooth"

_EVERYWHERE = "sin cos tanh exp expm1 arctan arcsinh sinh cosh exp2".split()
SMOOTH = [
    *(c for name in _EVERYWHERE for c in unary(name, INSIDE, ALL)),
    *(c for name in ("arcsin", "arccos", "arctanh", "tan") for c in unary(name, INSIDE, ALL)),
    *(c for name in ("log", "log2", "log10", "log1p", "sqrt") for c in unary(name, POSITIVE, ALL)),
    *(c for name in ("cbrt",) for c in unary(name, POSITIVE, REAL)),
    *unary("arccosh", positive(2, 3, low=1.1), ALL),
    *(c for name in ("square", "negative", "positive") for c in unary(name, ANY, NUMERIC)),
    *unary("reciprocal", NONZERO, NUMERIC),
    *unary("sinc", ANY, INEXACT),
    *unary("i0", ANY, ("int32", "float32", "float64"), tol=1e-8),
    *(
        c
        for name in ("deg2rad", "rad2deg", "radians", "degrees")
        for c in unary(name, ANY, REAL, tol32=1e-3)
    ),
    *unary("absolute", ANY, ALL),
    *unary("fabs", ANY, REAL),
    *(c for name in ("real", "imag", "conj", "conjugate") for c in unary(name, ANY, NUMERIC)),
    *unary("angle", NONZERO, ("complex64", "complex128")),
    case(np_name("angle"), real(4), dtypes=REAL, grad=STEPS, label="real"),
    case(np_name("angle"), real(4), deg=True, dtypes=("complex64", "complex128"), tol32=1e-4),
    *(
        specials(name, ("float32", "float64"))
        for name in "exp log sqrt sin tanh arctan expm1 log1p sinc cbrt floor rint sign square "
        "reciprocal logical_not isfinite signbit absolute exp2 log2 log10 arcsinh trunc ceil "
        "nan_to_num isnan isinf isposinf isneginf iscomplex isreal spacing frexp modf".split()
    ),
]

# NumPy takes no complex numbers in these
_STEPS = ("floor", "ceil", "trunc", "rint")
STEP_FUNCTIONS = [
    *(c for name in _STEPS for c in unary(name, ANY, ("int32", *FLOATING), STEPS)),
    *unary("sign", ANY, NUMERIC, STEPS),
    *unary("round", ANY, ("int32", *INEXACT), STEPS),
    case(np_name("round"), real(5), 2, dtypes=INEXACT, grad=STEPS),
    case(np_name("round"), ints(5, low=-999, below=999), -2, dtypes=("float32",)),
    case(np_name("around"), real(5), decimals=1, dtypes=FLOATING, grad=STEPS),
    *(c for name in ("isnan", "isinf", "isfinite") for c in unary(name, ANY, ALL, NO)),
    *(c for name in ("iscomplex", "isreal", "logical_not") for c in unary(name, ANY, ALL, NO)),
    *(c for name in ("isposinf", "isneginf") for c in unary(name, ANY, REAL, NO)),
    *unary("signbit", ANY, ("int32", *FLOATING), NO),
    *unary("spacing", POSITIVE, FLOATING, STEPS),
    *(
        c
        for name in ("invert", "bitwise_not", "bitwise_invert")
        for c in unary(name, ANY, BITS, NO)
        if c.label != "empty"
    ),
    case(np_name("bitwise_count"), real(5, low=0, high=99), dtypes=INTEGERS),
    case(np_name("bitwise_count"), real(5, low=-99), dtypes=("int8", "int32", "int64")),
    *(c for c in unary("frexp", ANY, FLOATING, STEPS)),
    *(c for c in unary("modf", real(4, low=0.1, high=0.9), FLOATING)),
    *unary("nan_to_num", ANY, ALL, True),
    case(np_name("nan_to_num"), extremes(12), nan=3.0, posinf=7.0, neginf=-7.0, grad=STEPS),
]

# binary functions
_ARITHMETIC = ("add", "multiply")
PAIRS = [
    *(c for name in _ARITHMETIC for c in pair(name, ANY, ANY, ALL)),
    *pair("subtract", ANY, ANY, NUMERIC),
    *(c for name in ("divide", "true_divide") for c in pair(name, ANY, NONZERO, ALL)),
    *pair("power", POSITIVE, POSITIVE, NUMERIC, tol32=1e-3),
    *pair("pow", POSITIVE, POSITIVE, ("int32", "float32", "float64"), tol32=1e-3),
    *pair("float_power", POSITIVE, ANY, ("int32", "float64", "complex128")),
    *pair("float_power", POSITIVE, ANY, ("float32",), check_dtype="stays float32, as JAX's"),
    *(
        c
        for name in ("floor_divide", "remainder", "mod", "fmod", "divmod")
        for c in pair(
            name, real(2, 3, low=-9.0, high=9.0), DIVISOR, ("int8", "int32", "uint8", *FLOATING)
        )
    ),
    *(c for name in ("hypot", "arctan2") for c in pair(name, NONZERO, NONZERO, REAL)),
    *(c for name in ("logaddexp", "logaddexp2") for c in pair(name, ANY, ANY, REAL)),
    *pair("copysign", ANY, NONZERO, REAL),
    *pair("nextafter", ANY, ANY, ("float32", "float64"), STEPS),
    *pair("heaviside", ANY, ANY, ("int32", *FLOATING), STEPS),
    *(
        c
        for name in ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")
        for c in pair(name, ANY, ANY, ALL, NO)
    ),
    *(
        c
        for name in ("logical_and", "logical_or", "logical_xor")
        for c in pair(name, ANY, ANY, ALL, NO)
    ),
    *(
        c
        for name in ("bitwise_and", "bitwise_or", "bitwise_xor")
        for c in pair(name, ANY, ANY, BITS, NO)
    ),
    *(c for name in ("gcd", "lcm") for c in pair(name, ANY, ANY, INTEGERS, NO)),
]
EXTREMES = [
    c
    for name in ("maximum", "minimum", "fmax", "fmin")
    for c in (
        *pair(name, ANY, real(2, 3, low=-1.3), ALL, STEPS),
        case(np_name(name), real(4), real(4, low=-1.3), label="smooth here"),
        case(np_name(name), extremes(12), real(12), label="nan", grad="not finite"),
    )
]
_SHIFTS = (
    *("left_shift", "right_shift"),
    *("bitwise_left_shift", "bitwise_right_shift"),
)
SHIFTS = [
    case(np_name(name), real(2, 3, low=-9.0, high=9.0), real(3, low=0, high=7), dtypes=INTEGERS)
    for name in _SHIFTS
]
LDEXP = [
    case(np_name("ldexp"), real(2, 3), ints(3, low=-3, below=4, dtype="int32"), dtypes=FLOATING),
]

# mixed dtypes: NumPy's promotion
_KINDS = ("bool", "uint8", "int8", "int32", "uint32", "int64", "uint64", "float16", "float32")
_KINDS += ("float64", "complex64", "complex128")
PROMOTION = [
    case(
        np_name(name),
        real(3),
        of(lambda x, d=second: (np.abs(x) + 1).astype(d), real(3), fixed=True),
        label=f"with {second}",
        dtypes=_KINDS,
        grad="checked elsewhere",
        jit="checked elsewhere",
        vmap="checked elsewhere",
    )
    for name in ("add", "divide", "maximum", "less")
    for second in ("bool", "uint8", "uint32", "float16", "float32", "complex64")
]
SCALARS = [
    case(np_name(name), real(3), scalar, dtypes=_KINDS[1:], label=repr(scalar))
    for name in ("add", "multiply", "true_divide", "power")
    for scalar in (2, 2.5, True, 1j)
]

CLIP = [
    case(np_name("clip"), real(2, 3), -1, 1, dtypes=("int32", "float16", "float32", "float64")),
    case(np_name("clip"), real(2, 3), real(3, low=-1.0, high=0.0), 1.0),
    case(np_name("clip"), real(2, 3), min=-0.5),
    case(np_name("clip"), real(2, 3), max=0.5),
    case(np_name("clip"), real(0), 0, 1, grad="nothing to move"),
    case(np_name("clip"), real(3), None, None, label="no bounds"),
]
CLOSE = [
    case(np_name("isclose"), extremes(12), extremes(12), equal_nan=True, grad=NO),
    case(np_name("isclose"), extremes(12), extremes(12), grad=NO),
    case(np_name("isclose"), real(2, 3), real(3), rtol=0.5, atol=0.5, dtypes=NUMERIC, grad=NO),
    case(np_name("allclose"), real(2, 3), real(3), rtol=9.0, dtypes=NUMERIC, grad=NO),
    case(np_name("allclose"), extremes(12), extremes(12), equal_nan=True, grad=NO),
    case(np_name("allclose"), real(0), real(0), grad=NO, label="empty"),
    case(np_name("array_equal"), real(3), real(3), grad=NO),
    case(np_name("array_equal"), extremes(12), extremes(12), equal_nan=True, grad=NO),
    case(np_name("array_equal"), real(3), real(2), grad=NO, label="shapes"),
    case(np_name("array_equiv"), real(1, 3), real(3), grad=NO),
    case(np_name("array_equiv"), real(2, 3), real(4), grad=NO, label="shapes"),
]
COMPLEX = [
    case(np_name("sqrt"), real(5), dtypes=("complex64", "complex128"), label="plane"),
    case(np_name("log"), real(5), dtypes=("complex64", "complex128"), label="plane"),
    case(np_name("power"), real(5), real(5), dtypes=("complex64", "complex128"), label="plane"),
    case(np_name("power"), real(5), 3, dtypes=NUMERIC, label="cube", tol32=1e-4),
    case(np_name("power"), NONZERO, -2.0, dtypes=("float32", "float64"), label="-2"),
    case(np_name("power"), real(5, low=-2), 0, dtypes=("int32", "float64"), label="0"),
    case(np_name("sort_complex"), real(5), dtypes=("int32", *INEXACT[1:]), check_dtype="as wide"),
]

CASES = [
    *SMOOTH,
    *STEP_FUNCTIONS,
    *PAIRS,
    *EXTREMES,
    *SHIFTS,
    *LDEXP,
    *PROMOTION,
    *SCALARS,
    *CLIP,
    *CLOSE,
    *COMPLEX,
]
