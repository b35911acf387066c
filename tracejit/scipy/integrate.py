"""Integration of samples, under SciPy's name.

>>> from tracejit.scipy import integrate
>>> integrate.trapezoid(jnp.array([1.0, 2.0, 3.0]))
Array(4., dtype=float32)
"""

from __future__ import annotations

from tracejit import errors as _errors
from tracejit.numpy.series import trapezoid

__all__ = ["trapezoid"]

_errors.user_functions(globals())
