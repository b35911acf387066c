"""``scipy.optimize``: minimizers that take their gradients by ``grad``.

>>> from tracejit.scipy.optimize import minimize
>>> print(minimize(lambda x: jnp.sum((x - 1.0) ** 2), jnp.zeros(2), method="BFGS").x)
[1. 1.]
"""

from tracejit import errors as _errors
from tracejit.scipy.optimize.minimize import OptimizeResults, minimize

__all__ = ["OptimizeResults", "minimize"]

_errors.user_functions(globals())
