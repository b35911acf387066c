"""gamma, ndtri, erfcx and the scaled Bessel functions as kernels compute them, against mpmath."""

from __future__ import annotations

import math
from collections.abc import Callable

import mpmath as mp
import numpy as np
import pytest

from tests.kernel.math_reference import (
    FLOATS,
    bit_patterns,
    evaluate,
    special_values,
    spread,
    ulp_errors,
)

#: the largest error met, in units in the last place
ULP = 6


def erfcx(x: mp.mpf) -> mp.mpf:
    if x < -30:
        return mp.inf
    if x > 1e4:
        return (1 - 1 / (2 * x * x)) / (x * mp.sqrt(mp.pi)) if mp.isfinite(x) else mp.mpf(0)
    return mp.exp(x * x) * mp.erfc(x)


def gamma(x: mp.mpf) -> mp.mpf:
    if x > 2000 or x == 0:
        return mp.inf
    if x < 0 and (mp.isinf(x) or x == mp.floor(x)):
        return mp.nan
    return mp.gamma(x) if x > -2000 else mp.mpf(0)


def ndtri(p: mp.mpf) -> mp.mpf:
    """Halley's iteration from a starting value good to three digits."""
    if not 0 <= p <= 1:
        return mp.nan
    if p in (0, 1):
        return mp.inf if p else -mp.inf
    if p >= 0.5:
        return mp.mpf(0) if p == 0.5 else -ndtri(1 - p)
    w = mp.sqrt(-2 * mp.log(p))
    x = (2.30753 + 0.27061 * w) / (1 + w * (0.99229 + w * 0.04481)) - w
    for _ in range(60):
        density = mp.exp(-x * x / 2) / mp.sqrt(2 * mp.pi)
        step = (mp.erfc(-x / mp.sqrt(2)) / 2 - p) / density
        step = step / (1 + x * step / 2)
        x -= step
        if abs(step) < mp.mpf(2) ** -150 * abs(x):
            break
    return x


def bessel(order: int) -> Callable[[mp.mpf], mp.mpf]:
    def scaled(x: mp.mpf) -> mp.mpf:
        size = abs(x)
        if size == 0 or mp.isinf(size):
            return mp.mpf(size == 0 and order == 0)
        if size > 1e5:  # DLMF 10.40.1
            m = mp.mpf(4 * order)
            series = 1 - (m - 1) / (8 * size) + (m - 1) * (m - 9) / (128 * size**2)
            found = series / mp.sqrt(2 * mp.pi * size)
        else:
            found = mp.exp(-size) * mp.besseli(order, size)
        return found * mp.sign(x) if order else found

    return scaled


REFERENCES = {
    "erfcx": (erfcx, -9.4, 60),
    "gamma": (gamma, -10, 34.9),
    "ndtri": (ndtri, 0, 1),
    "bessel_i0e": (bessel(0), -30, 30),
    "bessel_i1e": (bessel(1), -30, 30),
}


@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("fn", REFERENCES)
def test_within_the_stated_ulp(fn: str, dtype: str) -> None:
    reference, low, high = REFERENCES[fn]
    parts = [special_values(dtype), bit_patterns(dtype, 60), spread(dtype, low, high, 80)]
    parts.append(spread(dtype, max(low, -3), min(high, 3), 40))
    if fn == "ndtri":
        tail = spread("f64", -700 if dtype == "f64" else -85, 0, 60)
        parts.append(np.exp(tail).astype(FLOATS[dtype]))
    x = np.concatenate(parts)
    x = x[~((x == 0) & np.signbit(x))]  # mpmath has no negative zero
    with mp.workprec(200):
        exact = [mp.nan if math.isnan(v) else reference(mp.mpf(v)) for v in x.tolist()]
    errors = ulp_errors(evaluate(fn, x), exact, dtype)
    assert errors.max() <= ULP, (x[int(errors.argmax())], errors.max())


@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_zeros_keep_their_signs(dtype: str) -> None:
    zeros = np.array([0.0, -0.0], FLOATS[dtype])
    assert evaluate("gamma", zeros).tolist() == [math.inf, -math.inf]
    assert np.signbit(evaluate("bessel_i1e", zeros)).tolist() == [False, True]
