"""Factors and triangular solutions of many small matrices at once, column by column in NumPy.

    lu_of_many(a: [1000, 3, 3])          -> [1000, 3, 3], pivots [1000, 3]
    solve_of_many(a: [1000, 3, 3], b: [1000, 3, 2], lower=True, unit=False)    -> [1000, 3, 2]

One call of LAPACK a matrix costs more than its arithmetic where matrices are small.
"""

from __future__ import annotations

from typing import Any

import numpy as np

#: at least so many matrices, of at most so many rows and columns
MANY, SMALL = 8, 24


def are_many(a: Any) -> bool:
    """Whether a stack of matrices is better worked on as a whole."""
    count = int(np.prod(a.shape[:-2]))
    return count >= MANY and max(a.shape[-2:]) <= SMALL and count >= max(a.shape[-2:])


def lu_of_many(a: Any) -> tuple[Any, Any]:
    """LU factors with partial pivoting in LAPACK's form, and the pivots, of a[count, m, n]."""
    found = np.array(a)
    count, rows, columns = a.shape
    pivots = np.empty((count, min(rows, columns)), np.int32)
    lines = np.arange(count)
    with np.errstate(all="ignore"):
        for k in range(min(rows, columns)):
            size = found[:, k:, k]
            size = np.abs(size.real) + np.abs(size.imag) if a.dtype.kind == "c" else np.abs(size)
            row = pivots[:, k] = k + np.argmax(size, axis=1)
            top = found[lines, row].copy()
            found[lines, row] = found[:, k]
            found[:, k] = top
            pivot = np.where(top[:, k] == 0, 1, top[:, k])  # a column of zeros stays one
            found[:, k + 1 :, k] /= pivot[:, None]
            found[:, k + 1 :, k + 1 :] -= found[:, k + 1 :, k, None] * top[:, None, k + 1 :]
    return found, pivots


def solve_of_many(a: Any, b: Any, *, lower: bool, unit: bool) -> Any:
    """x of tri(a) x = b for a[count, n, n], b[count, n, k]."""
    n = a.shape[-1]
    x = np.array(b)
    with np.errstate(all="ignore"):
        for k in range(n) if lower else range(n - 1, -1, -1):
            if not unit:
                x[:, k] /= a[:, k, k, None]
            rest = slice(k + 1, n) if lower else slice(0, k)
            x[:, rest] -= a[:, rest, k, None] * x[:, k, None]
    return x
