"""LinAlgError for matrices that have no factorisation or inverse, where the values are known.

    LinAlgError: inv: matrix 1 of the stack is singular
      model.py:7 in step
        return x @ jnp.linalg.inv(h)
                   ^^^^^^^^^^^^^^^^^

Inside ``jit`` nothing is known yet: results there are nan or inf, as the records say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tracejit.errors import LinAlgError
from tracejit.frontend import recording
from tracejit.source import here

#: what happened, for the functions that share it
SINGULAR = "is singular"
NOT_POSITIVE = "is not positive definite"
NOT_CONVERGED = "has no result: the iteration did not converge"
HINT_SINGULAR = "pinv and lstsq take singular matrices; det(a) == 0 tells them apart"
HINT_POSITIVE = "a + eps * eye(n) with a small eps often is; only one triangle of a is read"
HINT_FINITE = "it holds nan or inf: is_finite(a) tells where"


def raise_where(
    name: str, bad: Callable[[np.ndarray], Any], result: Any, what: str, hint: str = ""
) -> None:
    """Raise LinAlgError where ``bad(result's data)`` holds for a matrix of the stack.

    ``bad`` gives one truth value for each matrix. Does nothing for values that are only traced.
    """
    if not result._has_value or not recording.holds(lambda x: _any(bad(x)), result):
        return
    found = np.asarray(bad(np.asarray(result._data)))
    where = tuple(int(k) for k in np.argwhere(found)[0])
    which = (
        f"matrix {where[0] if len(where) == 1 else where} of the stack" if where else "the matrix"
    )
    count = int(found.sum())
    notes = (f"so are {count - 1} more of {found.size} matrices",) if count > 1 else ()
    raise LinAlgError(f"{name}: {which} {what}", at=here(), notes=notes, hint=hint)


def _any(found: Any) -> bool:
    return bool(found if isinstance(found, np.bool_) else np.asarray(found).any())


def has_nan(data: np.ndarray) -> Any:
    """Which vectors (eigenvalues, diagonals) of a stack have a nan."""
    return np.isnan(data).any(axis=-1)


def nan_matrix(data: np.ndarray) -> Any:
    """Which matrices of a stack have a nan on their diagonal."""
    return np.isnan(data.diagonal(0, -2, -1)).any(axis=-1)


def zero_pivot(data: np.ndarray) -> Any:
    """Which lu factors of a stack have a zero on their diagonal: their matrices are singular."""
    return (data.diagonal(0, -2, -1) == 0).any(axis=-1)


def not_converged(name: str, values: Any, a: Any) -> None:
    """Raise LinAlgError where ``values`` of a decomposition of ``a`` are nan; say why."""
    if not values._has_value or not recording.holds(lambda x: np.isnan(x).any(), values):
        return
    if a._has_value and not np.isfinite(a._data).all():
        raise_where(name, has_nan, values, "has no decomposition", HINT_FINITE)
    raise_where(name, has_nan, values, NOT_CONVERGED)
