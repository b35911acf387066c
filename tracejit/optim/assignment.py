"""Which rows go with which columns at the least cost.

>>> from tracejit import optim
>>> optim.assignment.hungarian_algorithm(jnp.array([[4.0, 1.0], [2.0, 3.0]]))
(Array([0, 1], dtype=int32), Array([1, 0], dtype=int32))

The names are those of ``optax.assignment``. It can be compiled and mapped.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

import tracejit.numpy as jnp
from tracejit import errors as _errors
from tracejit.errors import DTypeError, ShapeError
from tracejit.frontend.array import Array, as_array
from tracejit.ir.types import kind
from tracejit.lax import fori_loop, while_loop
from tracejit.source import here

__all__ = ["base_hungarian_algorithm", "hungarian_algorithm"]

I32 = np.int32


class _Path(NamedTuple):
    """A shortest path from a row to a column that is free: the row reached and the length so far,
    for each column its distance and the row before it, which rows and columns were reached, and
    the free column.
    """

    row: Any
    length: Any
    distance: Any
    before: Any
    rows: Any
    columns: Any
    end: Any


def _shortest(cost: Any, prices: Any, row_of: Any, start: Any) -> _Path:
    n, m = cost.shape
    of_rows, of_columns = prices

    def step(p: _Path) -> _Path:
        reached = p.rows.at[p.row].set(True)
        through = p.length + cost[p.row] - of_rows[p.row] - of_columns
        better = (through < p.distance) & ~p.columns
        distance = jnp.where(better, through, p.distance)
        before = jnp.where(better, p.row, p.before)
        k = jnp.argmin(jnp.where(p.columns, jnp.inf, distance)).astype(I32)
        free = row_of[k] < 0
        return _Path(
            jnp.where(free, p.row, row_of[k]), distance[k], distance, before, reached,
            p.columns.at[k].set(True), jnp.where(free, k, -1),
        )  # fmt: skip

    first = _Path(
        start, jnp.zeros((), dtype=cost.dtype), jnp.full((m,), jnp.inf, dtype=cost.dtype),
        jnp.full((m,), -1, dtype=I32), jnp.zeros((n,), dtype=bool), jnp.zeros((m,), dtype=bool),
        jnp.asarray(I32(-1)),
    )  # fmt: skip
    return while_loop(lambda p: p.end < 0, step, first)  # type: ignore[no-any-return]


def _assigned(cost: Any) -> Any:
    """The column of each row; there are at least as many columns."""
    n, m = cost.shape

    def add_row(k: Any, state: Any) -> Any:
        of_rows, of_columns, row_of, column_of = state
        k = k.astype(I32)
        p = _shortest(cost, (of_rows, of_columns), row_of, k)
        others = p.rows & (column_of >= 0)
        rise = jnp.where(others, p.length - p.distance[column_of], 0)
        of_rows = (of_rows + rise).at[k].add(p.length)
        of_columns = jnp.where(p.columns, of_columns - (p.length - p.distance), of_columns)

        def turn(now: Any) -> Any:
            j, row_of, column_of, _ = now
            i = p.before[j]
            return column_of[i], row_of.at[j].set(i), column_of.at[i].set(j), jnp.equal(i, k)

        begin = (p.end, row_of, column_of, jnp.asarray(False))
        _, row_of, column_of, _ = while_loop(lambda now: ~now[3], turn, begin)
        return of_rows, of_columns, row_of, column_of

    begin = (
        jnp.zeros((n,), dtype=cost.dtype), jnp.zeros((m,), dtype=cost.dtype),
        jnp.full((m,), -1, dtype=I32), jnp.full((n,), -1, dtype=I32),
    )  # fmt: skip
    return fori_loop(0, n, add_row, begin)[3]


def hungarian_algorithm(cost_matrix: Any) -> tuple[Array, Array]:
    """Row and column numbers of the assignment of least cost, min(n, m) of each, for a cost matrix
    (n, m) of finite numbers (Kuhn, 1955), by shortest augmenting paths (Crouse, "On implementing 2D
    rectangular assignment algorithms", 2016).

    Raises ShapeError for other than a matrix, DTypeError for complex numbers.
    """
    cost = as_array(cost_matrix)
    if cost.ndim != 2:
        raise ShapeError(f"hungarian_algorithm: {cost.type} is no matrix", at=here())
    if kind(cost.dtype) == "c":
        raise DTypeError(f"hungarian_algorithm: costs are {cost.type}", at=here())
    cost = cost if kind(cost.dtype) == "f" else cost.astype("float64")
    n, m = cost.shape
    if not n or not m:
        none = jnp.zeros((0,), dtype=I32)
        return none, none
    if n <= m:
        return jnp.arange(n, dtype=I32), _assigned(cost)
    rows = _assigned(cost.T)
    order = jnp.argsort(rows)
    return rows[order], order.astype(I32)


def base_hungarian_algorithm(cost_matrix: Any) -> tuple[Array, Array]:
    """``hungarian_algorithm``, under the name of optax's slower one."""
    return hungarian_algorithm(cost_matrix)


_errors.user_functions(globals())
