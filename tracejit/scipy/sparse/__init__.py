"""``scipy.sparse``'s namespace: ``linalg`` has the solvers that only need products.

>>> from tracejit.scipy.sparse.linalg import cg
>>> x, _ = cg(lambda v: 2.0 * v, jnp.ones(2))
>>> print(x)
[0.5 0.5]
"""

from tracejit.scipy.sparse import linalg

__all__ = ["linalg"]
