"""Interpolation between given points, under SciPy's names.

>>> from tracejit.scipy.interpolate import RegularGridInterpolator
>>> f = RegularGridInterpolator((jnp.array([0.0, 1.0]),), jnp.array([10.0, 20.0]))
>>> f(jnp.array([0.25]))
Array([12.5], dtype=float32)
"""

from __future__ import annotations

from tracejit.scipy.interpolate.grid import RegularGridInterpolator

RegularGridInterpolator.__module__ = __name__  # where users find it, and pickle

__all__ = ["RegularGridInterpolator"]
