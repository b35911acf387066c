"""Derive the polynomial coefficients of ``kernel/math_*.py``: writes
``tracejit/kernel/math_coeffs.py``.

Minimax fits by the Remez exchange on a dense grid (Muller, "Elementary Functions", 3rd ed., ch.
3) in 40-digit arithmetic. Coefficients are rounded to the target format one after the other,
lowest
power first, refitting the rest each time, so that the rounding of one is made good by the others.

    $ python perf/fit_math.py            # all tables, some minutes
    $ python perf/fit_math.py log tan    # only these; the others are kept
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mpmath as mp
import numpy as np

mp.mp.dps = 50
TARGET = Path(__file__).resolve().parent.parent / "tracejit" / "kernel" / "math_coeffs.py"
LN2 = mp.log(2)
HALF_LN2 = LN2 / 2 * mp.mpf("1.01")


@dataclass(frozen=True)
class Fit:
    """``function(x)`` on ``[low, high]`` by ``count`` coefficients, the error multiplied by
    ``weight(x)``."""

    function: Callable[[mp.mpf], mp.mpf]
    weight: Callable[[mp.mpf], mp.mpf]
    low: mp.mpf
    high: mp.mpf
    f32: int
    f64: int
    high64: mp.mpf | None = None
    low64: mp.mpf | None = None


def series_safe(function: Callable[[mp.mpf], mp.mpf], limit: mp.mpf) -> Callable[[mp.mpf], mp.mpf]:
    """``function`` with more digits: quotients such as (sin r - r)/r^3 cancel near zero."""

    def safe(x: mp.mpf) -> mp.mpf:
        with mp.workdps(110):
            return function(x if abs(x) > mp.mpf("1e-12") else mp.mpf("1e-12"))

    return safe


def root(function: Callable[[mp.mpf], mp.mpf]) -> Callable[[mp.mpf], mp.mpf]:
    """``function(sqrt(u))``, kept away from zero."""
    return lambda u: function(mp.sqrt(u) if u > mp.mpf("1e-20") else mp.mpf("1e-10"))


def erfcx(a: mp.mpf) -> mp.mpf:
    return mp.exp(a * a) * mp.erfc(a)


def erfcx_scaled(centre: int) -> Callable[[mp.mpf], mp.mpf]:
    """erfcx(a) (1 + 2a) as a function of t = (a - centre) / (a + centre)."""

    def scaled(t: mp.mpf) -> mp.mpf:
        if t > 1 - mp.mpf("1e-30"):
            return 2 / mp.sqrt(mp.pi)
        a = centre * (1 + t) / (1 - t)
        return erfcx(a) * (1 + 2 * a)

    return scaled


def inverse_erf(w: mp.mpf) -> mp.mpf:
    """erf_inv(x) / x where w = -log(1 - x^2)."""
    if w < mp.mpf("1e-25"):
        return mp.sqrt(mp.pi) / 2
    with mp.workdps(70):
        x = mp.sqrt(-mp.expm1(-w))
        complement = mp.exp(-w) / (1 + x)  # 1 - x without cancellation
        guess = mp.sqrt(w) if w > 5 else x
        for _ in range(60):
            residual = mp.erfc(guess) - complement
            step = residual * mp.sqrt(mp.pi) / 2 * mp.exp(guess * guess)
            step = step / (1 + guess * step) if abs(guess * step) < 0.5 else step / 2
            guess += step
            if abs(step) < mp.mpf("1e-45"):
                break
        return guess / x


def inverse_erf_slope(w: mp.mpf) -> mp.mpf:
    """(erf_inv(x) / x - sqrt(pi) / 2) / w."""
    w = max(w, mp.mpf("1e-15"))
    return (inverse_erf(w) - mp.sqrt(mp.pi) / 2) / w


def stirling(v: mp.mpf) -> mp.mpf:
    """x (lgamma(x) - (x - 1/2) log x + x - log(2 pi) / 2) where v = 1 / x^2."""
    if v < mp.mpf("1e-8"):
        return mp.mpf(1) / 12 - v / 360 + v * v / 1260
    x = 1 / mp.sqrt(v)
    return x * (mp.loggamma(x) - (x - 0.5) * mp.log(x) + x - mp.log(2 * mp.pi) / 2)


def digamma_tail(v: mp.mpf) -> mp.mpf:
    """(log x - 1/(2x) - digamma(x)) x^2 where v = 1 / x^2."""
    if v < mp.mpf("1e-8"):
        return mp.mpf(1) / 12 - v / 120 + v * v / 252
    x = 1 / mp.sqrt(v)
    return (mp.log(x) - 1 / (2 * x) - mp.digamma(x)) / v


DIGAMMA_ROOT = mp.findroot(mp.digamma, mp.mpf("1.46163214496836234126"))


def digamma_quotient(t: mp.mpf) -> mp.mpf:
    """digamma(3/2 + t) / (3/2 + t - root)."""
    x = mp.mpf(1.5) + t
    return mp.digamma(x) / (x - DIGAMMA_ROOT)


def atanh_tail(s: mp.mpf) -> mp.mpf:
    """((log m - r) / r^3 - 1/12) / r^2 where r = 2 (m - 1) / (m + 1) and s = r^2."""
    r = mp.sqrt(s) if s > mp.mpf("1e-20") else mp.mpf("1e-10")
    return ((2 * mp.atanh(r / 2) - r) / r**3 - mp.mpf(1) / 12) / s


def scaled_bessel(order: int) -> Callable[[mp.mpf], mp.mpf]:
    """sqrt(x) e^-x I(x) for x = 16 / (1 + t)."""

    def scaled(t: mp.mpf) -> mp.mpf:
        x = 16 / (1 + t)
        return mp.sqrt(x) * mp.exp(-x) * mp.besseli(order, x)

    return scaled


def bessel_fit(order: int) -> Fit:
    """Modified Bessel functions from 8 on, by 1 / x mapped to [-1, 1]."""
    function = scaled_bessel(order)
    return Fit(function, lambda t: 1 / function(t), mp.mpf(-1), mp.mpf(1), 8, 24)


QUARTER_PI = mp.pi / 4 * mp.mpf("1.001")
ROOT2 = mp.sqrt(2)
FITS: dict[str, Fit] = {
    # e^r = 1 + r + r^2 q(r), |r| <= log 2
    "exp": Fit(
        lambda r: (mp.expm1(r) - r) / r**2,
        lambda r: r**2 / mp.exp(r),
        -LN2 * 1.001,
        LN2 * 1.001,
        6,
        12,
    ),
    # the same, |r| <= log(2) / 2
    "expm1": Fit(
        lambda r: (mp.expm1(r) - r) / r**2,
        lambda r: r**2 / abs(mp.expm1(r)),
        -HALF_LN2,
        HALF_LN2,
        5,
        11,
    ),
    "exp2": Fit(lambda r: (mp.mpf(2) ** r - 1) / r, lambda r: r, -mp.mpf(0.5), mp.mpf(0.5), 6, 12),
    "log": Fit(
        lambda f: (mp.log1p(f) - f + f * f / 2) / f**3,
        lambda f: f**3 / mp.log1p(f),
        1 / ROOT2 - 1,
        ROOT2 - 1,
        8,
        20,
    ),
    "atanh": Fit(atanh_tail, lambda s: s * s, mp.mpf(0), mp.mpf("0.1178"), 3, 8),
    "sin": Fit(
        root(lambda r: (mp.sin(r) - r) / r**3),
        root(lambda r: r**3 / mp.sin(r)),
        mp.mpf(0),
        QUARTER_PI**2,
        3,
        7,
    ),
    "cos": Fit(
        root(lambda r: (mp.cos(r) - 1 + r * r / 2) / r**4),
        root(lambda r: r**4 / mp.cos(r)),
        mp.mpf(0),
        QUARTER_PI**2,
        3,
        6,
    ),
    "tan": Fit(
        root(lambda r: (mp.tan(r) - r) / r**3),
        root(lambda r: r**3 / mp.tan(r)),
        mp.mpf(0),
        QUARTER_PI**2,
        6,
        14,
    ),
    "asin": Fit(
        root(lambda r: (mp.asin(r) - r) / r**3),
        root(lambda r: r**3 / mp.asin(r)),
        mp.mpf(0),
        mp.mpf(0.25),
        5,
        12,
    ),
    "atan": Fit(
        root(lambda r: (mp.atan(r) - r) / r**3),
        root(lambda r: r**3 / mp.atan(r)),
        mp.mpf(0),
        mp.mpf(1),
        8,
        20,
    ),
    "sinh": Fit(
        root(lambda r: (mp.sinh(r) - r) / r**3),
        root(lambda r: r**3 / mp.sinh(r)),
        mp.mpf(0),
        HALF_LN2**2,
        2,
        5,
    ),
    "tanh": Fit(
        root(lambda r: (mp.tanh(r) - r) / r**3),
        root(lambda r: r**3 / mp.tanh(r)),
        mp.mpf(0),
        mp.mpf("0.303"),
        4,
        10,
    ),
    "cosh": Fit(
        root(lambda r: (mp.cosh(r) - 1) / r**2), root(lambda r: r**2), mp.mpf(0), HALF_LN2**2, 3, 5
    ),
    # erf x = x + x p(x^2), |x| <= 1
    "erf": Fit(
        root(lambda r: mp.erf(r) / r - 1),
        root(lambda r: r / mp.erf(r)),
        mp.mpf(0),
        mp.mpf(1),
        7,
        13,
    ),
    # erfc x = exp(p(x - 1)) where erf x = 1 - erfc x wants it
    "log_erfc": Fit(
        lambda a: mp.log(mp.erfc(1 + a)),
        lambda a: mp.erfc(1 + a) / mp.erf(1 + a),
        mp.mpf(0),
        mp.mpf("2.95"),
        8,
        19,
        high64=mp.mpf("4.95"),
    ),
    "erfcx": Fit(
        lambda t: (erfcx_scaled(2)(t) - erfcx_scaled(2)(mp.mpf(0))) / t,
        lambda t: t / erfcx_scaled(2)(t),
        mp.mpf(-1),
        mp.mpf("0.67"),
        11,
        26,
        high64=mp.mpf("0.87"),
    ),
    "erf_inv": Fit(
        lambda t: inverse_erf_slope(t + mp.mpf(2.5)),
        lambda t: (t + mp.mpf(2.5)) / inverse_erf(t + mp.mpf(2.5)),
        mp.mpf(-2.5),
        mp.mpf(2.5),
        10,
        23,
    ),
    "erf_inv_tail": Fit(
        lambda s: inverse_erf((s + 3) ** 2),
        lambda s: 1 / inverse_erf((s + 3) ** 2),
        mp.sqrt(5) - 3,
        mp.mpf("1.01"),
        11,
        22,
    ),
    "erf_inv_far": Fit(
        lambda s: inverse_erf((s + 5) ** 2),
        lambda s: 1 / inverse_erf((s + 5) ** 2),
        mp.mpf(-1),
        mp.mpf("1.1"),
        6,
        18,
    ),
    # lgamma(2 + f) = f p(f)
    "lgamma": Fit(
        lambda f: mp.loggamma(2 + f) / f if f else 1 - mp.euler,
        lambda f: f / mp.loggamma(2 + f) if f else mp.mpf(2.5),
        mp.mpf(-0.5),
        mp.mpf(0.5),
        10,
        21,
    ),
    "stirling": Fit(stirling, lambda v: mp.mpf(1), mp.mpf(0), mp.mpf(1) / 49, 3, 8),
    # digamma above 3
    "digamma": Fit(digamma_tail, lambda v: v, mp.mpf(0), mp.mpf(1) / 9, 3, 11),
    # digamma(3/2 + t) = (3/2 + t - root) p(t)
    "digamma_root": Fit(
        digamma_quotient,
        lambda t: 1 / digamma_quotient(t),
        mp.mpf(-0.5),
        mp.mpf(0.5),
        10,
        22,
    ),
    "bessel_i0e": bessel_fit(0),
    "bessel_i1e": bessel_fit(1),
}


def remez(
    grid: list[mp.mpf], values: list[mp.mpf], weights: list[mp.mpf], powers: list[int]
) -> tuple[list, mp.mpf]:
    """Coefficients over ``powers`` with the least weighted maximal error on the grid, and that
    error."""
    n = len(powers)
    count = len(grid)
    chosen = [round((count - 1) * (1 - mp.cos(mp.pi * k / n)) / 2) for k in range(n + 1)]
    chosen = sorted(set(int(c) for c in chosen))
    table = [[x**p for p in powers] for x in grid]
    coefficients, error = [], mp.mpf(0)
    for _ in range(30):
        rows = [
            [table[i][j] * weights[i] for j in range(n)] + [mp.mpf((-1) ** k)]
            for k, i in enumerate(chosen)
        ]
        solved = mp.lu_solve(mp.matrix(rows), mp.matrix([values[i] * weights[i] for i in chosen]))
        coefficients, level = [solved[j] for j in range(n)], abs(solved[n])
        residual = [
            (values[i] - mp.fdot(coefficients, table[i])) * weights[i] for i in range(count)
        ]
        error = max(abs(r) for r in residual)
        if error <= level * mp.mpf("1.002"):
            break
        extremes = alternation(residual, n + 1)
        if len(extremes) < n + 1 or extremes == chosen:
            break
        chosen = extremes
    return coefficients, error


def alternation(residual: list[mp.mpf], wanted: int) -> list[int]:
    """Indices of the largest residuals of alternating sign, ``wanted`` of them."""
    picks: list[int] = []
    for i, value in enumerate(residual):
        if picks and (residual[picks[-1]] > 0) == (value > 0):
            if abs(value) > abs(residual[picks[-1]]):
                picks[-1] = i
        else:
            picks.append(i)
    while len(picks) > wanted:
        if len(picks) == wanted + 1:
            picks.pop(0 if abs(residual[picks[0]]) < abs(residual[picks[-1]]) else -1)
        else:
            k = min(
                range(len(picks) - 1),
                key=lambda k: max(abs(residual[picks[k]]), abs(residual[picks[k + 1]])),
            )
            del picks[k : k + 2]
    return picks


def fit(name: str, dtype: str) -> tuple[float, ...]:
    """Rounded coefficients, lowest power first."""
    spec = FITS[name]
    count = spec.f32 if dtype == "f32" else spec.f64
    high = spec.high64 if dtype == "f64" and spec.high64 is not None else spec.high
    size = 12 * count + 40
    middle, half = (spec.low + high) / 2, (high - spec.low) / 2
    grid = [middle - half * mp.cos(mp.pi * (2 * k + 1) / (2 * size)) for k in range(size)]
    safe = series_safe(spec.function, half)
    values = [safe(x) for x in grid]
    weights = [abs(series_safe(spec.weight, half)(x)) for x in grid]
    rounder = np.float32 if dtype == "f32" else np.float64
    done: list[float] = []
    best: mp.mpf | None = None
    sequential = count if dtype == "f32" else 12
    coefficients: list[mp.mpf] = []
    while len(done) < count:
        powers = list(range(len(done), count))
        try:
            found, error = remez(grid, values, weights, powers)
        except ZeroDivisionError:  # odd powers alone on a symmetric interval: not a Haar system
            found, error = [], mp.inf
        failed = not found or (best is not None and error > 3 * best)
        coefficients = coefficients[1:] if failed else found
        best = error if best is None else best
        take = 1 if len(done) < sequential and not failed else len(powers)
        for power, exact in list(zip(powers, coefficients, strict=True))[:take]:
            rounded = float(rounder(float(exact)))
            done.append(rounded)
            values = [v - mp.mpf(rounded) * x**power for v, x in zip(values, grid, strict=True)]
    final = max(abs(v * w) for v, w in zip(values, weights, strict=True))
    print(
        f"{name:14s} {dtype} {count:3d} coefficients, error 2^{float(mp.log(final, 2)):.1f}",
        flush=True,
    )
    return tuple(done)


HEADER = '''"""Coefficients of the polynomials in ``kernel/math_*.py``, lowest power first.

Written by ``perf/fit_math.py``, which states what each table approximates and on which interval.

    >>> len(COEFFICIENTS["sin"]["f32"])
    3
"""

from __future__ import annotations

# fmt: off
COEFFICIENTS: dict[str, dict[str, tuple[float, ...]]] = {
'''


def main(names: list[str]) -> None:
    tables: dict[str, dict[str, tuple[float, ...]]] = {}
    if TARGET.exists():
        space: dict = {}
        exec(TARGET.read_text(), space)  # noqa: S102 - our own file
        tables = dict(space["COEFFICIENTS"])
    write(tables)
    for name in names or list(FITS):
        tables[name] = {dtype: fit(name, dtype) for dtype in ("f32", "f64")}
        write(tables)


def write(tables: dict[str, dict[str, tuple[float, ...]]]) -> None:
    """The module of all tables, in the order of ``FITS``."""
    text = HEADER
    for name in FITS:
        if name not in tables:
            continue
        text += f'    "{name}": {{\n'
        for dtype, values in tables[name].items():
            rows = [", ".join(map(repr, values[k : k + 3])) for k in range(0, len(values), 3)]
            text += f'        "{dtype}": (\n' + "".join(f"            {row},\n" for row in rows)
            text += "        ),\n"
        text += "    },\n"
    TARGET.write_text(text + "}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
