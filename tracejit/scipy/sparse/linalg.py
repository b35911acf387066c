"""``scipy.sparse.linalg``: solvers of linear equations that only multiply by the matrix.

>>> from tracejit.scipy.sparse.linalg import cg
>>> print(cg(jnp.array([[2.0, 0.0], [0.0, 4.0]]), jnp.array([1.0, 1.0]))[0])
[0.5  0.25]
"""

from __future__ import annotations

from tracejit import errors as _errors
from tracejit.scipy.sparse.krylov import bicgstab, cg, gmres

__all__ = ["bicgstab", "cg", "gmres"]

_errors.user_functions(globals())
