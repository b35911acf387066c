"""Special values of elementwise functions as the Python Array API standard has them: infinities,
nan, zeros of both signs, real and complex. At once, and compiled by both back ends for the CPU.

The standard's complex values are those of C's Annex G, which ``cmath`` has; what that raises for,
and where the standard differs, stands in tables here.
"""

from __future__ import annotations

import cmath
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tracejit.numpy as jnp
from tracejit import jit

INF, NAN, PI = np.inf, np.nan, np.pi
REAL = (INF, -INF, NAN, 0.0, -0.0, 1.0, -1.0, 0.5, 2.5, -2.5, 1000.0, -1000.0)
PARTS = (INF, -INF, NAN, 0.0, -0.0, 1.0, -1.0, 2.5, -2.5)
GRID = tuple(complex(a, b) for a in PARTS for b in PARTS)

WAYS: dict[str, Callable[..., Any]] = {
    "at once": lambda fun: fun,
    "llvm": lambda fun: jit(fun, backend="llvm"),
    "numba": lambda fun: jit(fun, backend="numba"),
}
DTYPES = ("float32", "float64")


def same(found: Any, wanted: Any, tol: float, sign: Any = True) -> Any:
    """Elementwise: equal or close, nan with nan, and of one sign where ``sign`` says so."""
    with np.errstate(all="ignore"):
        close = (found == wanted) | (abs(found - wanted) <= tol * np.maximum(abs(wanted), 1e-3))
    signs = (np.signbit(found) == np.signbit(wanted)) | ~np.asarray(sign)
    return (np.isnan(found) & np.isnan(wanted)) | (close & signs)


def assert_same(found: Any, wanted: Any, args: Any, tol: float, sign: Any = True) -> None:
    right = same(found, wanted, tol, sign)
    rows = [(*(a[k] for a in args), found[k], wanted[k]) for k in np.flatnonzero(~right)]
    assert right.all(), f"(operands, found, wanted): {rows[:5]}"


def tolerance(dtype: str) -> float:
    return 2e-6 if dtype in ("float32", "complex64") else 1e-13


# ---- real numbers --------------------------------------------------------------------------------

UNARY = (
    *("abs", "acos", "acosh", "asin", "asinh", "atan", "atanh", "ceil", "cos", "cosh", "exp"),
    *("expm1", "floor", "log", "log1p", "log2", "log10", "negative", "positive", "reciprocal"),
    *("round", "sign", "sin", "sinh", "square", "sqrt", "tan", "tanh", "trunc"),
)
BINARY = (
    *("add", "atan2", "copysign", "divide", "hypot", "logaddexp", "multiply", "nextafter", "pow"),
    *("remainder", "subtract"),
)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_unary_functions_of_real_numbers(way: str, dtype: str) -> None:
    x = np.array(REAL, dtype)
    found = WAYS[way](lambda x: [getattr(jnp, name)(x) for name in UNARY])(jnp.asarray(x))
    with np.errstate(all="ignore"):
        for name, result in zip(UNARY, found, strict=True):
            wanted = getattr(np, name)(x)
            assert_same(np.asarray(result), wanted, (x,), tolerance(dtype))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_binary_functions_of_real_numbers(way: str, dtype: str) -> None:
    x, y = (a.ravel() for a in np.meshgrid(np.array(REAL, dtype), np.array(REAL, dtype)))
    found = WAYS[way](lambda x, y: [getattr(jnp, name)(x, y) for name in BINARY])(x, y)
    with np.errstate(all="ignore"):
        for name, result in zip(BINARY, found, strict=True):
            wanted = getattr(np, name)(x, y)
            sign = ~((name == "logaddexp") & (wanted == 0))
            assert_same(np.asarray(result), wanted, (x, y), tolerance(dtype), sign)


#: (x1, x2, x1 // x2): the standard's floor(x1 / x2) where NumPy pairs // with %
FLOOR_DIVIDE = (
    (INF, 2.0, INF), (INF, -2.0, -INF), (-INF, 2.0, -INF), (-INF, -2.0, INF),
    (INF, INF, NAN), (-INF, INF, NAN), (3.0, INF, 0.0), (3.0, -INF, -0.0), (-3.0, INF, -0.0),
    (-3.0, -INF, 0.0), (0.0, 0.0, NAN), (-0.0, 0.0, NAN), (0.0, 2.0, 0.0), (-0.0, 2.0, -0.0),
    (0.0, -2.0, -0.0), (-0.0, -2.0, 0.0), (2.0, 0.0, INF), (2.0, -0.0, -INF), (-2.0, 0.0, -INF),
    (-2.0, -0.0, INF), (NAN, 1.0, NAN), (1.0, NAN, NAN), (7.0, 2.0, 3.0), (-7.0, 2.0, -4.0),
    (1.0, 1000.0, 0.0), (-1.0, 1000.0, -1.0),
)  # fmt: skip
#: (x1, x2, x1 % x2)
REMAINDER = (
    (INF, 2.0, NAN), (-INF, 2.0, NAN), (0.0, 2.0, 0.0), (-0.0, 2.0, 0.0), (0.0, -2.0, -0.0),
    (-0.0, -2.0, -0.0), (0.0, 0.0, NAN), (2.0, 0.0, NAN), (3.0, INF, 3.0), (3.0, -INF, -INF),
    (-3.0, INF, INF), (-3.0, -INF, -3.0), (4.0, 2.0, 0.0), (-4.0, 2.0, 0.0), (4.0, -2.0, -0.0),
    (7.0, 3.0, 1.0), (-7.0, 3.0, 2.0), (7.0, -3.0, -2.0), (NAN, 1.0, NAN),
)  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", (*DTYPES, "float16"))
@pytest.mark.parametrize(
    ("name", "table"), [("floor_divide", FLOOR_DIVIDE), ("remainder", REMAINDER)]
)
def test_quotients_and_remainders(way: str, dtype: str, name: str, table: Any) -> None:
    x, y, wanted = np.array(table, dtype).T
    found = np.asarray(WAYS[way](getattr(jnp, name))(x, y))
    assert found.dtype == dtype
    assert_same(found, wanted, (x, y), 0.0)


def test_divmod_pairs_quotient_and_remainder() -> None:
    x, y = (a.ravel() for a in np.meshgrid(np.array(REAL), np.array(REAL)))
    with np.errstate(all="ignore"):
        for found, wanted in zip(jnp.divmod(x, y), np.divmod(x, y), strict=True):
            assert_same(np.asarray(found), wanted, (x, y), 0.0)


def test_classes_of_numbers() -> None:
    x = np.array(REAL)
    z = np.array(GRID)
    for name in ("isnan", "isinf", "isfinite", "signbit"):
        np.testing.assert_array_equal(np.asarray(getattr(jnp, name)(x)), getattr(np, name)(x))
    for name in ("isnan", "isinf", "isfinite"):
        np.testing.assert_array_equal(np.asarray(getattr(jnp, name)(z)), getattr(np, name)(z))


# ---- complex numbers -----------------------------------------------------------------------------

COMPLEX = (
    *("acos", "acosh", "asin", "asinh", "atan", "atanh", "cos", "cosh", "exp", "log", "sin"),
    *("sinh", "sqrt", "tan", "tanh"),
)


def cosh_of(z: complex) -> complex:
    """cosh where ``cmath`` raises: an infinite imaginary part."""
    if abs(z.real) == INF:
        return complex(INF, NAN)
    return complex(NAN, 0.0) if z.real == 0 else complex(NAN, NAN)


def sinh_of(z: complex) -> complex:
    if abs(z.real) == INF:
        return complex(INF, NAN)
    return complex(z.real, NAN) if z.real == 0 else complex(NAN, NAN)


def tanh_of(z: complex) -> complex:
    """tanh where the standard and ``cmath`` differ, and where that raises."""
    if abs(z.real) == INF:
        return complex(np.copysign(1.0, z.real), np.copysign(0.0, z.imag))
    if not np.isfinite(z.imag) and not np.isnan(z.real):
        return complex(z.real, NAN) if z.real == 0 else complex(NAN, NAN)
    return cmath.tanh(z)


def exp_of(z: complex) -> complex:
    return complex(INF, NAN) if z.real == INF else complex(NAN, NAN)


def atanh_of(z: complex) -> complex:
    return complex(np.copysign(INF, z.real), z.imag)


def log_of(z: complex) -> complex:
    return complex(-INF, np.copysign(PI if np.signbit(z.real) else 0.0, z.imag))


def rotated(function: Callable[[complex], complex]) -> Callable[[complex], complex]:
    """-1j function(1j z)."""

    def found(z: complex) -> complex:
        turned = function(complex(-z.imag, z.real))
        return complex(turned.imag, -turned.real)

    return found


def wanted_complex(name: str, z: complex) -> complex:
    """The standard's value."""
    if name == "tanh":
        return tanh_of(z)
    if name == "tan":
        return rotated(tanh_of)(z)
    if name == "acosh" and z.real == 0 and np.isnan(z.imag):
        return complex(NAN, PI / 2)
    try:
        return getattr(cmath, name)(z)  # type: ignore[no-any-return]
    except (ValueError, OverflowError):
        other = {
            "cosh": cosh_of,
            "sinh": sinh_of,
            "exp": exp_of,
            "log": log_of,
            "atanh": atanh_of,
            "atan": rotated(atanh_of),
            "sin": rotated(sinh_of),
            "cos": lambda z: cosh_of(complex(-z.imag, z.real)),
        }
        return other[name](z)


def expm1_of(z: complex) -> complex:
    """The standard's list."""
    a, b = z.real, z.imag
    if a == -INF:
        whole = np.isfinite(b)
        return complex(-1.0, 0.0 * np.sin(b) if whole else 0.0)
    if a == INF:
        if b == 0:
            return complex(INF, b)
        return complex(INF * np.cos(b), INF * np.sin(b)) if np.isfinite(b) else complex(INF, NAN)
    if np.isnan(a):
        return complex(NAN, b) if b == 0 else complex(NAN, NAN)
    if not np.isfinite(b):
        return complex(NAN, NAN)
    half = np.sin(b / 2)
    return complex(np.expm1(a) * np.cos(b) - 2 * half * half + 0.0, np.exp(a) * np.sin(b))


def assert_complex(found: Any, wanted: Any, z: Any, tol: float) -> None:
    """Parts agree. The standard leaves their signs open next to nan and for operands with nan or
    two infinities.
    """
    undefined = np.isnan(z) | (np.isinf(z.real) & np.isinf(z.imag)) | np.isnan(wanted)
    for part in ("real", "imag"):
        one, two = getattr(found, part), getattr(wanted, part)
        free = undefined & ((two == 0) | np.isinf(two) | (abs(two) == PI / 2))
        assert_same(np.where(free, abs(one), one), np.where(free, abs(two), two), (z,), tol)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", ("complex64", "complex128"))
def test_functions_of_complex_numbers(way: str, dtype: str) -> None:
    z = np.array(GRID, dtype)
    found = WAYS[way](lambda z: [getattr(jnp, name)(z) for name in COMPLEX])(z)
    for name, result in zip(COMPLEX, found, strict=True):
        wanted = np.array([wanted_complex(name, complex(x)) for x in GRID])
        try:
            assert_complex(np.asarray(result), wanted, z, tolerance(dtype))
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from None


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", ("complex64", "complex128"))
def test_expm1_of_complex_numbers(way: str, dtype: str) -> None:
    z = np.array(GRID, dtype)
    with np.errstate(all="ignore"):
        wanted = np.array([expm1_of(complex(x)) for x in GRID])
    found = np.asarray(WAYS[way](jnp.expm1)(z))
    assert_complex(found, wanted, z, tolerance(dtype))


@pytest.mark.parametrize("way", WAYS)
def test_arithmetic_of_complex_numbers(way: str) -> None:
    """Sums and products by parts, as NumPy's; quotients by zero and of infinities too."""
    few = [complex(a, b) for a, b in itertools.product((INF, NAN, 0.0, -0.0, 1.0, -2.5), repeat=2)]
    x, y = (a.ravel() for a in np.meshgrid(np.array(few), np.array(few)))
    names = ("add", "subtract", "multiply", "divide", "abs", "conj", "square", "sign")
    found = WAYS[way](
        lambda x, y: [
            getattr(jnp, name)(*((x, y) if k < 4 else (x,))) for k, name in enumerate(names)
        ]
    )(x, y)
    with np.errstate(all="ignore"):
        for k, (name, result) in enumerate(zip(names, found, strict=True)):
            wanted = getattr(np, name)(*((x, y) if k < 4 else (x,)))
            found_parts = np.asarray(result)
            for part in ("real", "imag"):
                one, two = getattr(found_parts, part), getattr(wanted, part)
                assert_same(one, two, (x, y), 1e-13, name != "sign")
