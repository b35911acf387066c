"""SciPy's names as JAX has them; each submodule is loaded when it is first used.

>>> import tracejit.scipy as jsp
>>> jsp.linalg.toeplitz(jnp.array([1, 2]))
Array([[1, 2],
       [2, 1]])
"""

from importlib import import_module as _import_module
from typing import Any as _Any

#: modules that ``tracejit.scipy.name`` loads
_MODULES = (
    *("cluster", "fft", "integrate", "interpolate", "linalg", "ndimage"),
    *("optimize", "signal", "sparse", "special", "stats"),
)


def __getattr__(name: str) -> _Any:
    if name in _MODULES:
        return _import_module(f"{__name__}.{name}")
    raise AttributeError(f"module 'tracejit.scipy' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
