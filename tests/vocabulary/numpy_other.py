"""Dtypes, predicates, files and other functions of tracejit.numpy that are not of arrays alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.vocabulary.spec import Case, case, ints, mask, positive, real

STATIC = {"jit": "no array", "vmap": "no array", "grad": "no array"}
NO = "no float result"


def plain(name: str, *args: Any, **options: Any) -> Case:
    """A function of things that are no arrays: both results compare as Python objects."""
    return case(f"tracejit.numpy.{name}", *args, **{**STATIC, "same": _equal, **options})


def _equal(ours: Any, theirs: Any) -> None:
    assert ours == theirs, f"{ours!r} is not {theirs!r}"


DTYPES = [
    plain("dtype", "float32"),
    plain("result_type", np.float32, np.int64),
    plain("result_type", np.int8, np.uint8),
    plain("result_type", np.complex64, np.float64),
    plain("promote_types", np.int32, np.float32),
    plain("promote_types", "u1", "i1"),
    plain("can_cast", np.int32, np.float64),
    plain("can_cast", np.float64, np.int32, casting="unsafe"),
    plain("issubdtype", np.float32, np.floating),
    plain("issubdtype", np.int8, np.inexact),
    plain("isdtype", np.dtype("float32"), "real floating"),
    plain("isdtype", np.dtype("int8"), ("integral", "bool")),
    plain("iinfo", np.int16, after=lambda info: (info.min, info.max, info.bits)),
    plain("finfo", np.float32, after=lambda info: (float(info.eps), float(info.max), info.bits)),
    plain("isscalar", 3.0),
    plain("isscalar", [1]),
    plain("iterable", [1]),
    plain("iterable", 1),
    case("tracejit.numpy.iscomplexobj", real(3), dtypes=("float32", "complex64"), **STATIC),
    case("tracejit.numpy.isrealobj", real(3), dtypes=("float32", "complex64"), **STATIC),
    *(
        case(f"tracejit.numpy.{name}", 3, check_dtype="float32 is the default", **STATIC)
        for name in ("float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16")
    ),
    *(
        case(f"tracejit.numpy.{name}", 3, **STATIC)
        for name in ("uint32", "uint64", "complex64", "bool_")
    ),
    *(
        case(f"tracejit.numpy.{ours}", 3, reference=getattr(np, theirs), **STATIC)
        for ours, theirs in (
            ("bool", "bool_"),
            ("float16", "float16"),
            ("complex128", "complex128"),
            ("double", "float64"),
            ("single", "float32"),
            ("csingle", "complex64"),
            ("cdouble", "complex128"),
            ("float_", "float64"),
            ("complex_", "complex128"),
            ("int_", "int64"),
            ("uint", "uint64"),
        )
    ),
    case("tracejit.numpy.bfloat16", 3, reference=np.float32, **STATIC),
]


FILES = [
    case(
        "tracejit.numpy.frombuffer",
        np.arange(4.0).tobytes(),
        np.float64,
        label="bytes",
        **STATIC,
    ),
]
TEXTS = [
    plain("array_repr", np.array([1.5, 2.5]), reference=lambda x: "Array([1.5, 2.5])"),
    plain("array_str", np.array([1.5, 2.0])),
]
OTHERS = [
    case(
        "tracejit.numpy.vectorize",
        lambda x: x * 2,
        label="made",
        **STATIC,
        after=lambda f: f(np.arange(3.0)),
        reference=np.vectorize,
    ),
    case(
        "tracejit.numpy.frompyfunc",
        lambda x, y: x * y,
        2,
        1,
        label="made",
        **STATIC,
        reference=lambda *_: np.multiply,
        after=lambda f: f.reduce(np.arange(1.0, 5.0)),
    ),
    *(
        case(
            f"tracejit.numpy.{name}.{method}",
            real(3, 4, low=0.5),
            *more,
            grad=grad,
            label=method,
            tol32=1e-4,
        )
        for name in ("add", "multiply", "maximum", "minimum", "subtract", "logaddexp")
        for method, more, grad in (
            ("reduce", (), True),
            ("reduce", (1,), True),
            ("accumulate", (1,), True),
            ("outer", (real(2),), True),
            ("reduceat", (np.array([0, 2, 1]),), True),
        )
    ),
    *(
        case(f"tracejit.numpy.{name}.{method}", mask(3, 4), *more, label=method)
        for name in ("logical_and", "logical_or", "logical_xor")
        for method, more in (
            ("reduce", ()),
            ("reduce", (1,)),
            ("accumulate", (1,)),
            ("outer", (mask(2),)),
        )
    ),
    *(
        case(f"tracejit.numpy.{name}.{method}", ints(3, 4, below=9), *more, label=method)
        for name in ("bitwise_and", "bitwise_or", "bitwise_xor")
        for method, more in (("reduce", ()), ("accumulate", (1,)), ("outer", (ints(2, below=9),)))
    ),
    *(
        case(
            f"tracejit.numpy.{name}.at",
            positive(5),
            np.array([0, 2, 0]),
            positive(3),
            inplace=False,
            reference=_changed,
            label="at",
            grad=True if name in ("add", "subtract") else "of places that meet",
        )
        for name in ("add", "subtract", "multiply", "maximum", "minimum")
        for _changed in [lambda a, k, b, inplace, name=name: _at(name, a, k, b)]
    ),
]


def _at(name: str, a: np.ndarray, places: np.ndarray, b: np.ndarray) -> np.ndarray:
    found = np.array(a)
    getattr(np, name).at(found, places, b)
    return found


CASES = [*DTYPES, *FILES, *TEXTS, *OTHERS]
