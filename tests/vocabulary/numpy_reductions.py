"""Reductions, cumulative functions and statistics of tracejit.numpy, against NumPy's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tests.vocabulary.spec import Case, Draw, case, ints, mask, of, positive, real

REAL = ("bool", "int8", "int32", "uint8", "float16", "float32", "float64")
ALL = (*REAL, "complex64", "complex128")
ORDERED = tuple(d for d in REAL if d != "float16")
FLOATING = ("float32", "float64")
NO = "no float result"
STEPS = "not smooth"
EMPTY = "nothing to move"


def np_name(name: str) -> str:
    return f"tracejit.numpy.{name}"


def with_nan(*shape: int) -> Draw:
    """Numbers with a nan in every row."""

    def make(rng: np.random.Generator, dtype: np.dtype) -> np.ndarray:
        x = rng.uniform(-2, 2, shape).astype(dtype)
        x[..., 0] = np.nan
        return x

    return Draw(make)


def axes(
    name: str,
    draw: Draw,
    dtypes: tuple[str, ...] = FLOATING,
    tuples: bool = True,
    keep: bool = True,
    **options: object,
) -> list[Case]:
    """Over all axes, each kind of axis, with the axes kept, and of a 0-d array."""
    path, more = np_name(name), {"tol32": 1e-4, **options}
    scalar = of(lambda x: x.reshape(-1)[0], draw)
    found = [
        case(path, draw, dtypes=dtypes, **more),
        case(path, draw, axis=0, **more),
        case(path, draw, axis=-1, **more),
        case(path, scalar, label="0-d", **more),
    ]
    if keep:
        found.append(case(path, draw, axis=1, keepdims=True, **more))
    if tuples:
        found.append(case(path, draw, axis=(0, -1), keepdims=True, **more))
        found.append(case(path, draw, axis=(), **more))
    return found


STD = ("int32", "float16", *FLOATING, "complex64", "complex128")
CUBE = real(2, 3, 4)
SUMS = [
    *axes("sum", CUBE, ALL),
    *axes("prod", real(2, 2, 3, low=0.5, high=1.5), ALL),
    *axes("mean", CUBE, ALL),
    *axes("max", CUBE, ALL),
    *axes("min", CUBE, ALL),
    *axes("amax", CUBE, ORDERED),
    *axes("amin", CUBE, ORDERED),
    *axes("all", CUBE, ALL, grad=NO),
    *axes("any", CUBE, ALL, grad=NO),
    *axes("count_nonzero", CUBE, ALL, grad=NO),
    *axes("var", CUBE, ("int32", "float16", *FLOATING, "complex64", "complex128")),
    *(
        c
        if c.label != "0-d" and (c.kwargs or {}).get("axis") != ()
        else replace(c, grad="sqrt at 0")
        for c in axes("std", CUBE, STD)
    ),
    *axes("ptp", CUBE, ("int32", *FLOATING)),
    *axes("median", CUBE, ("int32", "float16", *FLOATING)),
    *axes("argmax", CUBE, ORDERED, tuples=False, grad=NO),
    *axes("argmin", CUBE, ORDERED, tuples=False, grad=NO),
    *axes("average", CUBE, ("int32", *FLOATING, "complex128"), keep=False),
]
OPTIONS = [
    case(np_name("sum"), CUBE, axis=1, where=mask(2, 3, 4), initial=2.0),
    case(np_name("sum"), CUBE, dtype=np.float64, dtypes=("float32", "int32")),
    case(np_name("sum"), real(0, 3), axis=0, grad=EMPTY),
    case(np_name("sum"), real(0, 3), axis=1, grad=EMPTY),
    case(np_name("prod"), CUBE, axis=1, where=mask(2, 3, 4), initial=2.0),
    case(np_name("prod"), of(lambda x: x * np.array([0, 1, 1]), real(2, 3)), axis=1, label="a 0"),
    case(np_name("prod"), real(0), grad=EMPTY),
    case(np_name("prod"), CUBE, dtype="int64", dtypes=("int8",)),
    case(np_name("mean"), CUBE, axis=2, where=of(lambda m: m | (np.arange(4) == 0), mask(2, 3, 4))),
    case(np_name("mean"), CUBE, axis=2, dtype=np.float64, dtypes=("float32",)),
    case(np_name("max"), CUBE, axis=1, initial=0.5, where=mask(2, 3, 4)),
    case(np_name("min"), CUBE, axis=1, initial=0.5, where=mask(2, 3, 4)),
    case(np_name("max"), with_nan(2, 3), axis=1, label="nan", grad="not finite"),
    case(np_name("max"), of(np.zeros_like, real(2, 3)), label="ties", grad=STEPS),
    case(np_name("max"), real(0, 3), axis=1, initial=1.0, grad=EMPTY),
    case(np_name("all"), CUBE, axis=1, where=mask(2, 3, 4), grad=NO),
    case(np_name("any"), CUBE, axis=1, where=mask(2, 3, 4), grad=NO),
    case(np_name("all"), real(0), grad=NO),
    case(np_name("any"), real(0), grad=NO),
    case(np_name("var"), CUBE, axis=1, ddof=1),
    case(np_name("var"), CUBE, axis=1, correction=1),
    case(np_name("std"), CUBE, axis=1, ddof=1, keepdims=True),
    case(np_name("std"), CUBE, axis=1, correction=0.5),
    case(np_name("var"), CUBE, axis=2, where=of(lambda m: m | (np.arange(4) < 2), mask(2, 3, 4))),
    case(np_name("std"), CUBE, axis=2, where=of(lambda m: m | (np.arange(4) < 2), mask(2, 3, 4))),
    case(np_name("var"), CUBE, axis=1, mean=real(2, 1, 4)),
    case(np_name("std"), CUBE, axis=1, mean=of(lambda m: m + 5, real(2, 1, 4))),
    case(np_name("average"), CUBE, axis=1, weights=positive(3)),
    case(np_name("average"), real(2, 3), weights=positive(2, 3)),
    case(np_name("average"), real(2, 3), axis=0, weights=positive(2), returned=True),
    case(np_name("average"), real(2, 3), axis=1, weights=positive(2, 3), keepdims=True),
    case(np_name("average"), CUBE, axis=(0, 2), weights=positive(2, 4)),
    case(np_name("argmax"), CUBE, axis=1, keepdims=True, grad=NO),
    case(np_name("argmax"), with_nan(2, 3), axis=1, grad=NO, label="nan"),
    case(np_name("argmin"), with_nan(2, 3), axis=1, grad=NO, label="nan"),
    case(np_name("argmax"), of(np.zeros_like, real(2, 3)), axis=1, grad=NO, label="ties"),
]
_NAN = {"dtypes": FLOATING, "grad": "not finite", "vmap": True}
NANS = [
    c
    for name in ("nansum", "nanprod", "nanmean", "nanvar", "nanstd", "nanmax", "nanmin")
    for c in (
        case(np_name(name), with_nan(3, 4), **_NAN),
        case(np_name(name), with_nan(3, 4), axis=1, **_NAN),
        case(np_name(name), with_nan(2, 3, 4), axis=(0, 2), keepdims=True, **_NAN),
        case(np_name(name), real(3, 4), axis=0, dtypes=("int32", "float64"), label="no nan"),
    )
] + [
    *(
        case(np_name(name), with_nan(3, 4), axis=axis, keepdims=axis == 1, **_NAN)
        for name in ("nanmedian", "nanargmax", "nanargmin")
        for axis in (1, None)
    ),
    *(
        case(np_name(name), real(3, 4), axis=0, label="no nan", grad=why)
        for name, why in (("nanmedian", True), ("nanargmax", NO), ("nanargmin", NO))
    ),
    *(
        case(np_name(name), with_nan(3, 4), axis=axis, **_NAN)
        for name in ("nancumsum", "nancumprod")
        for axis in (0, 1, None)
    ),
    *(case(np_name(name), real(3, 4), axis=1, label="no nan") for name in ("nancumsum",)),
    case(np_name("nancumprod"), real(3, 4), axis=1, label="no nan"),
    case(np_name("nanvar"), with_nan(3, 4), axis=1, ddof=1, **_NAN),
    case(np_name("nanstd"), with_nan(3, 4), axis=1, ddof=1, **_NAN),
    case(np_name("nansum"), with_nan(3, 4), axis=1, where=mask(3, 4), initial=1.0, **_NAN),
    case(np_name("nansum"), with_nan(3, 4), axis=1, dtype=np.float64, **_NAN),
    case(np_name("nanmax"), with_nan(3, 4), axis=1, where=mask(3, 4), initial=-9.0, **_NAN),
]

_METHODS = (
    *("linear", "lower", "higher", "nearest", "midpoint", "inverted_cdf"),
    *("averaged_inverted_cdf", "closest_observation", "interpolated_inverted_cdf", "hazen"),
    *("weibull", "median_unbiased", "normal_unbiased"),
)
QUANTILES = [
    *(
        case(np_name("quantile"), real(7), np.array([0.0, 0.2, 0.5, 1.0]), method=method)
        for method in _METHODS
    ),
    *(
        case(np_name(name), draw, q, axis=axis, keepdims=keep, grad=why)
        for name, draw, why in (
            ("quantile", real(3, 4), True),
            ("nanquantile", with_nan(3, 4), "not finite"),
        )
        for q, axis, keep in (
            (0.3, None, False),
            (0.3, 0, True),
            (np.array([0.1, 0.9]), 1, False),
            (np.array([[0.1, 0.9]]), (0, 1), True),
        )
    ),
    *(
        case(np_name(name), draw, q, axis=axis, grad=why)
        for name, draw, why in (
            ("percentile", real(3, 4), True),
            ("nanpercentile", with_nan(3, 4), "not finite"),
        )
        for q, axis in ((30, None), (np.array([0.0, 50.0, 100.0]), 1))
    ),
    case(np_name("quantile"), with_nan(3, 4), 0.5, axis=1, grad="not finite", label="nan"),
    case(np_name("nanquantile"), real(5), 0.4, label="no nan"),
    case(np_name("nanpercentile"), real(5), 40.0, label="no nan"),
    case(np_name("quantile"), real(6), 0.4, weights=positive(6), method="inverted_cdf", grad=STEPS),
    case(
        np_name("percentile"), real(6), 40, weights=positive(6), method="inverted_cdf", grad=STEPS
    ),
    case(np_name("median"), with_nan(3, 4), axis=1, grad="not finite", label="nan"),
    case(np_name("median"), real(4), label="even"),
    case(np_name("median"), real(5), label="odd"),
]

CUMULATIVE = [
    *(
        c
        for name in ("cumsum", "cumprod")
        for c in (
            case(np_name(name), real(3, 4), dtypes=ALL, tol32=1e-4),
            case(np_name(name), real(3, 4), axis=0),
            case(np_name(name), real(3, 4), axis=-1, dtypes=("int8", "uint8", "bool")),
            case(np_name(name), real(3), dtype=np.float64, dtypes=("float32",)),
            case(np_name(name), real(0, 3), axis=0, grad=EMPTY),
            case(np_name(name), real(), label="0-d"),
        )
    ),
    *(
        case(
            np_name(name), real(3, 4), axis=1, include_initial=initial, dtypes=("int32", "float64")
        )
        for name in ("cumulative_sum", "cumulative_prod")
        for initial in (False, True)
    ),
    case(np_name("cumulative_sum"), real(4), include_initial=True),
    case(np_name("cumulative_prod"), real(4), dtype=np.float64, dtypes=("int32",)),
]
DIFFERENCES = [
    case(np_name("diff"), real(3, 4), dtypes=("bool", "int32", *FLOATING, "complex128")),
    case(np_name("diff"), real(3, 4), axis=0),
    case(np_name("diff"), real(3, 4), n=2),
    case(np_name("diff"), real(3, 4), n=0),
    case(np_name("diff"), real(2, 3), n=5),
    case(np_name("diff"), real(3, 4), prepend=real(3, 1), append=real(3, 2)),
    case(np_name("ediff1d"), real(2, 3), dtypes=("int32", *FLOATING)),
    case(np_name("ediff1d"), real(4), to_end=real(2), to_begin=1.0),
    case(np_name("gradient"), real(5), dtypes=("int32", *FLOATING)),
    case(np_name("gradient"), real(4, 5)),
    case(np_name("gradient"), real(4, 5), 0.5, axis=1),
    case(np_name("gradient"), real(4, 5), 0.5, 2.0),
    case(np_name("gradient"), real(5), edge_order=2),
    case(np_name("gradient"), real(4), np.array([0.0, 1.0, 1.5, 3.5])),
    case(np_name("gradient"), real(5), np.array([0.0, 1.0, 1.5, 3.5, 4.0]), edge_order=2),
    case(np_name("gradient"), real(4, 4), np.array([0.0, 1.0, 1.5, 3.5]), 2.0, axis=(1, 0)),
    case(np_name("trapezoid"), real(3, 4), dtypes=("int32", *FLOATING, "complex128")),
    case(np_name("trapezoid"), real(3, 4), dx=0.5, axis=0),
    case(np_name("trapezoid"), real(3, 4), real(4)),
    case(np_name("trapezoid"), real(3, 4), x=real(3), axis=0),
    case(np_name("unwrap"), real(6, low=-9.0, high=9.0)),
    case(np_name("unwrap"), real(2, 6, low=-9.0, high=9.0), axis=0, period=3.0),
    case(np_name("unwrap"), real(6, low=-9.0, high=9.0), discont=4.0),
    case(np_name("unwrap"), real(6, low=-9, high=9), period=4, dtypes=("int32",)),
]
SINGLE = {"check_dtype": "float32 stays, as JAX's"}
MOMENTS = [
    case(np_name("cov"), real(3, 5), dtypes=("int32", "float64", "complex128")),
    case(np_name("cov"), real(5), **SINGLE),
    case(np_name("cov"), real(3, 5), real(2, 5), **SINGLE),
    case(np_name("cov"), real(5, 3), rowvar=False, bias=True, **SINGLE),
    case(np_name("cov"), real(3, 5), ddof=0, **SINGLE),
    case(
        np_name("cov"), real(3, 5), fweights=ints(5, low=1, below=4), aweights=positive(5), **SINGLE
    ),
    case(np_name("cov"), real(3, 5), dtype=np.float64, dtypes=("float32",)),
    case(np_name("corrcoef"), real(3, 5), dtypes=("int32", "float64", "complex128")),
    case(np_name("corrcoef"), real(5), real(5), **SINGLE),
    case(np_name("corrcoef"), real(5, 3), rowvar=False, **SINGLE),
    case(np_name("correlate"), real(5), real(3), dtypes=("int32", *FLOATING, "complex128")),
    *(
        case(np_name(name), real(5), real(3), mode=mode)
        for name in ("correlate", "convolve")
        for mode in ("full", "same", "valid")
    ),
    case(np_name("convolve"), real(3), real(5), dtypes=("int32", *FLOATING, "complex128")),
    case(np_name("convolve"), real(2), real(5), mode="same", label="longer second"),
]


def _histogram(name: str, *args: object, **options: object) -> Case:
    return case(np_name(name), *args, grad=STEPS, check_dtype="counts are as wide", **options)


HISTOGRAMS = [
    _histogram("histogram", real(20)),
    _histogram("histogram", real(20), bins=4, range=(-1.0, 1.0)),
    _histogram("histogram", real(20), bins=np.array([-2.0, -1.0, 0.5, 2.0])),
    _histogram("histogram", real(20), bins=3, weights=positive(20)),
    _histogram("histogram", real(20), bins=3, density=True),
    _histogram("histogram", real(20, low=0, high=9), dtypes=("int32",), bins=3),
    _histogram("histogram_bin_edges", real(20), bins=5),
    _histogram("histogram_bin_edges", real(20), bins=5, range=(0.0, 1.0)),
    _histogram("histogram2d", real(20), real(20), bins=3),
    _histogram("histogram2d", real(20), real(20), bins=(2, 3), density=True),
    _histogram(
        "histogram2d", real(20), real(20), bins=2, range=[[-1, 1], [0, 1]], weights=real(20)
    ),
    _histogram("histogramdd", real(20, 2), bins=3),
    _histogram("histogramdd", real(20, 3), bins=2, density=True),
    case(np_name("digitize"), real(6), np.array([-1.0, 0.0, 1.0]), grad=NO, dtypes=ORDERED[1:]),
    case(np_name("digitize"), real(6), np.array([-1.0, 0.0, 1.0]), right=True, grad=NO),
    case(np_name("digitize"), real(2, 3), np.array([1.0, 0.0, -1.0]), grad=NO),
    case(np_name("searchsorted"), of(np.sort, real(5)), real(2, 3), grad=NO),
    case(np_name("searchsorted"), of(np.sort, real(5)), real(3), side="right", grad=NO),
    case(np_name("searchsorted"), of(np.sort, real(5)), real(), grad=NO, dtypes=ORDERED[1:]),
    case(
        np_name("searchsorted"),
        np.array([3.0, 1.0, 2.0]),
        real(3),
        sorter=np.array([1, 2, 0]),
        grad=NO,
    ),
    case(np_name("bincount"), ints(9, below=5), jit="shape depends on data", vmap="likewise"),
    case(np_name("bincount"), ints(9, below=5), weights=real(9), jit="data", vmap="data", **SINGLE),
    case(np_name("bincount"), ints(9, below=5), minlength=8, jit="data", vmap="data"),
    case(
        np_name("bincount"),
        ints(9, below=5),
        length=4,
        reference=lambda x, length: np.bincount(x[x < length], minlength=length),
    ),
    case(np_name("interp"), real(2, 3), np.array([-1.0, 0.0, 1.5]), real(3), **SINGLE),
    case(np_name("interp"), real(4), of(np.sort, real(5)), real(5), left=-9.0, right=9.0, **SINGLE),
    case(np_name("interp"), real(4), of(np.sort, real(3, low=0.0)), real(3), period=2.0, **SINGLE),
    case(
        np_name("interp"),
        real(),
        np.array([-1.0, 0.0]),
        np.array([1.0, 2.0]),
        label="0-d",
        **SINGLE,
    ),
    case(np_name("interp"), real(0), np.array([-1.0, 0.0]), real(2), label="empty", **SINGLE),
]

CASES = [
    *SUMS,
    *OPTIONS,
    *NANS,
    *QUANTILES,
    *CUMULATIVE,
    *DIFFERENCES,
    *MOMENTS,
    *HISTOGRAMS,
]
