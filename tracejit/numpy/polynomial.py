"""NumPy's own ``numpy.polynomial``: its functions and classes read Arrays as NumPy arrays, of
values that are known, and give NumPy arrays.

>>> jnp.polynomial.Polynomial([1, 2])(jnp.arange(2.0))
array([1., 3.])
"""

from typing import Any

import numpy as np


def __getattr__(name: str) -> Any:
    return getattr(np.polynomial, name)
