"""Numbers of fast Fourier transforms: factors of lengths and tables of roots of unity.

    roots(8, np.arange(3))       exp(-2 pi i k / 8): 1, (1 - i) / sqrt 2, -i, each part rounded once
    radices(1000)                (10, 10, 10)

Roots are computed for an eighth of the circle and mirrored, so that all that are equal, or each
other's negatives, are so in every bit.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

#: primes whose transforms are written out
PRIMES = (2, 3, 5, 7, 11, 13)
#: lengths of the transforms that are written out, those that move least data first
RADICES = (16, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2)


def smooth(n: int) -> bool:
    """Whether a length has no other prime factors than PRIMES."""
    for p in PRIMES:
        while n % p == 0:
            n //= p
    return n == 1


@lru_cache(maxsize=1024)
def radices(n: int) -> tuple[int, ...]:
    """Factors of ``n`` as transforms that are written out: the fewest, and of these the ones that
    differ least. The largest come last: they multiply by no table.
    """
    if n == 1:
        return ()
    best: tuple[int, ...] | None = None
    for r in RADICES:
        if n % r == 0:
            found = tuple(sorted((*radices(n // r), r)))
            if best is None or (len(found), sum(found)) < (len(best), sum(best)):
                best = found
    assert best is not None, n
    return best


def roots(n: int, k: Any) -> np.ndarray[Any, Any]:
    """exp(-2 pi i k / n) for an array ``k`` of integers: the parts, along a new last axis."""
    k = np.asarray(k, np.int64) % n
    turned, rest = np.divmod(8 * k, n)  # eighths of the circle
    mirrored = turned % 2 == 1
    rest = np.where(mirrored, n - rest, rest)
    angle = rest.astype(np.longdouble) * (np.arctan(np.longdouble(1)) / n)
    cosine, sine = np.cos(angle), np.sin(angle)
    # the angle from the nearest multiple of a quarter of the circle, and which one that is
    quarter = (turned + 1) // 2 % 4
    sine = np.where(mirrored, -sine, sine)
    re = np.choose(quarter, (cosine, -sine, -cosine, sine))
    im = np.choose(quarter, (-sine, -cosine, sine, cosine))
    return np.stack([re, im], -1) + 0.0


@lru_cache(maxsize=256)
def root(n: int, k: int) -> tuple[float, float]:
    """One of them."""
    re, im = roots(n, k).tolist()
    return float(re), float(im)


def pass_table(n: int, factors: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """What the passes of a transform multiply by, one after the other: ``[number, part]``."""
    found = [np.zeros((0, 2), np.longdouble)]
    left = n
    for r in factors:
        left //= r
        if left > 1:
            p, k = np.arange(left)[:, None], np.arange(1, r)
            found.append(roots(r * left, p * k).reshape(-1, 2))
    return np.concatenate(found)


def divisors(n: int) -> list[int]:
    """All of them, ascending."""
    low = [d for d in range(1, math.isqrt(n) + 1) if n % d == 0]
    return sorted({*low, *(n // d for d in low)})
