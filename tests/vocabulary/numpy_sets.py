"""Functions of tracejit.numpy whose shapes depend on data: at once against NumPy's, and with
``size=`` against the same filled up, as JAX fills.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.vocabulary.spec import Case, case, ints, mask, of, real

DEPENDS = {"jit": "shape depends on data", "vmap": "shape depends on data"}
NO = "no float result"


def at_once(name: str, *args: Any, **options: Any) -> Case:
    return case(f"tracejit.numpy.{name}", *args, **{**DEPENDS, "grad": NO, **options})


def sized(name: str, *args: Any, fill: Any = None, **options: Any) -> Case:
    """With ``size=``: NumPy's result cut or filled to it, under jit and vmap too."""
    size = options["size"]
    default = options.pop("default", 0)
    function = getattr(np, name)

    def reference(*arrays: Any, size: int, fill_value: Any = None, **more: Any) -> Any:
        found = function(*arrays, **more)
        value = default if fill_value is None else fill_value
        if isinstance(found, tuple):
            return tuple(fit(x, size, value) for x in found)
        return fit(found, size, value)

    if fill is not None:
        options["fill_value"] = fill
    label = f"size={size}" + ("" if fill is None else f",fill={fill}")
    more = {"grad": NO, "label": label, "reference": reference, **options}
    return case(f"tracejit.numpy.{name}", *args, **more)


def fit(x: Any, size: int, value: Any) -> np.ndarray:
    """The first ``size`` rows, filled up with ``value`` (or the smallest element)."""
    x = np.asarray(x)
    if value == "least":
        value = x.flat[0]
    filler = np.full((max(0, size - len(x)), *x.shape[1:]), value, x.dtype)
    return np.concatenate([x[:size], filler])


SMALL = ints(8, below=4)
PLACES = [
    c
    for name in ("nonzero", "argwhere", "flatnonzero", "where")
    for c in (
        at_once(name, mask(3, 4)),
        at_once(name, real(5), dtypes=("int32", "float64", "complex64")),
        at_once(name, of(np.zeros_like, mask(3), fixed=True), label="none"),
        sized(name, mask(3, 4), size=20),
        sized(name, mask(3, 4), size=2),
        sized(name, mask(3, 4), size=20, fill=7),
    )
]
UNIQUE = [
    at_once("unique", SMALL),
    at_once("unique", real(2, 4, low=-1.0, high=2.0), dtypes=("bool", "int8", "float64")),
    at_once("unique", SMALL, return_index=True, return_inverse=True, return_counts=True),
    at_once("unique", ints(4, 3, below=2), axis=0),
    at_once("unique", ints(3, 4, below=2), axis=1, return_inverse=True, return_counts=True),
    at_once("unique", np.array([1.0, np.nan, np.nan]), label="nan"),
    at_once("unique", np.array([1.0, np.nan, np.nan]), equal_nan=False, label="nans differ"),
    at_once("unique", real(0)),
    at_once("unique_values", SMALL, reference=np.unique),
    at_once("unique_counts", SMALL),
    at_once("unique_inverse", SMALL),
    at_once("unique_all", SMALL),
    sized("unique", SMALL, size=6, default="least"),
    sized("unique", SMALL, size=2, default="least"),
    sized("unique", SMALL, size=6, fill=-1),
    sized("unique_values", SMALL, size=6, fill=-1, after=np.sort),
]
SETS = [
    *(
        at_once(name, one, two)
        for name in ("union1d", "intersect1d", "setdiff1d", "setxor1d")
        for one, two in (
            (SMALL, ints(5, low=2, below=6)),
            (ints(2, 3, below=5), SMALL),
            (real(0), real(3)),
        )
    ),
    at_once("intersect1d", SMALL, ints(5, low=2, below=6), return_indices=True),
    at_once("intersect1d", np.array([3, 1]), np.array([1, 3, 7]), assume_unique=True),
    at_once("setdiff1d", np.array([3, 1, 2]), np.array([1]), assume_unique=True),
    sized("union1d", SMALL, ints(5, low=2, below=6), size=9, default="least"),
    sized("union1d", SMALL, ints(5, low=2, below=6), size=9, fill=-1),
    sized("setdiff1d", SMALL, ints(3, below=4), size=5, fill=-1),
    sized("intersect1d", SMALL, ints(5, low=1, below=6), size=5, fill=-1),
    sized("setxor1d", SMALL, ints(5, low=1, below=6), size=7, fill=-1),
    case("tracejit.numpy.isin", ints(2, 5, below=9), ints(4, below=9)),
    case("tracejit.numpy.isin", ints(5, below=9), ints(2, 2, below=9), invert=True),
    case("tracejit.numpy.isin", real(4), real(0), grad=NO),
]
PICKED = [
    at_once("extract", mask(2, 4), real(2, 4), grad=True),
    at_once("compress", mask(3), real(3, 4), axis=0, grad=True),
    at_once("compress", mask(6), real(3, 4), grad=True),
    case("tracejit.numpy.compress", np.array([True, False, True]), real(3, 4), axis=0),
    sized("extract", mask(2, 4), real(2, 4), size=6, grad=True),
    sized("extract", mask(2, 4), real(2, 4), size=6, fill=5, grad=True),
    case(
        "tracejit.numpy.compress",
        mask(5),
        real(5),
        size=4,
        fill_value=9.0,
        reference=lambda m, x, size, fill_value: fit(np.compress(m, x), size, fill_value),
    ),
    at_once("repeat", real(4), ints(4, below=3), grad=True),
    case(
        "tracejit.numpy.repeat",
        real(4),
        ints(4, below=3),
        total_repeat_length=6,
        reference=lambda x, n, total_repeat_length: (
            lambda y: np.concatenate([y, np.repeat(y[-1:] if len(y) else x[-1:], 9)])[:6]
        )(np.repeat(x, n)),
    ),
    at_once("trim_zeros", np.array([0, 0, 1, 2, 0, 3, 0])),
    at_once("trim_zeros", np.array([0, 0, 1, 2, 0, 3, 0]), "f"),
    at_once("trim_zeros", np.array([0.0, 0, 1, 0]), trim="b"),
    at_once("trim_zeros", np.array([[0, 0, 0], [0, 1, 0]]), label="2-d"),
    at_once("trim_zeros", np.array([[0, 0, 0], [0, 1, 0]]), axis=1),
    at_once("delete", real(6), ints(2, below=6), grad=True),
]


def changed(name: str, *args: Any, **options: Any) -> Case:
    """NumPy changes the array in place; with ``inplace=False`` the changed one is returned."""

    def reference(a: np.ndarray, *rest: Any, inplace: bool, **more: Any) -> np.ndarray:
        found = np.array(a)
        getattr(np, name)(found, *rest, **more)
        return found

    more: dict[str, Any] = {"inplace": False, "reference": reference, **options}
    return case(f"tracejit.numpy.{name}", *args, **more)


CHANGED = [
    changed("place", real(2, 3), of(lambda m: np.ones_like(m), mask(2, 3), fixed=True), real(2)),
    changed("place", real(2, 3), mask(2, 3), real(4)),
    changed("put", real(2, 3), [0, 4], real(2)),
    changed("put", real(5), [0, 9], 1.0, mode="clip"),
    changed("put", real(5), [0, 9], 1.0, mode="wrap"),
    changed("put_along_axis", real(2, 3), of(lambda x: x, ints(2, 1, below=3), fixed=True), 9.0, 1),
    changed("put_along_axis", real(2, 3), ints(1, 3, below=2), real(1, 3), axis=0),
    changed("fill_diagonal", real(3, 4), 7.0),
    changed("fill_diagonal", real(6, 2), 7.0, wrap=True),
    changed("fill_diagonal", real(3, 3, 3), 2.0),
    changed("fill_diagonal", real(3, 3), real(3)),
]
BITS = [
    case("tracejit.numpy.packbits", mask(2, 11)),
    case("tracejit.numpy.packbits", mask(2, 11), axis=1),
    case("tracejit.numpy.packbits", mask(11, 2), axis=0, bitorder="little"),
    case("tracejit.numpy.unpackbits", ints(2, 2, below=256, dtype="uint8")),
    case("tracejit.numpy.unpackbits", ints(2, 2, below=256, dtype="uint8"), axis=1, count=11),
    case("tracejit.numpy.unpackbits", ints(3, below=256, dtype="uint8"), bitorder="little"),
    case("tracejit.numpy.unpackbits", ints(3, below=256, dtype="uint8"), count=-3),
]

CASES = [*PLACES, *UNIQUE, *SETS, *PICKED, *CHANGED, *BITS]
