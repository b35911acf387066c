"""What a namespace of the Python Array API standard says about itself.

>>> info = jnp.__array_namespace_info__()
>>> info.default_dtypes()["real floating"], info.dtypes(kind="complex floating")
(dtype('float32'), {'complex64': dtype('complex64'), 'complex128': dtype('complex128')})
>>> jnp.__array_api_version__
'2025.12'

https://data-apis.org/array-api/2025.12/API_specification/inspection.html
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tracejit.config import config
from tracejit.errors import ArgumentError, user_methods
from tracejit.frontend.devices import CPU, Device, default, find, gpus
from tracejit.frontend.interop import ARRAY_API_VERSIONS
from tracejit.frontend.promotion import default_complex
from tracejit.ir.types import DTYPES, kind
from tracejit.numpy.dtypes import KINDS
from tracejit.source import here

#: the newest version of the standard that the namespace follows
__array_api_version__ = ARRAY_API_VERSIONS[-1]

#: NumPy arrays, which hold the data, have at most this many axes
MAX_DIMENSIONS = 64

#: the standard's dtypes. float16 and bfloat16 are not in it
_STANDARD = {dtype.name: dtype for name, dtype in DTYPES.items() if name not in ("f16", "bf16")}


@user_methods("default_dtypes", "dtypes")
class ArrayNamespaceInfo:
    """The answer of ``__array_namespace_info__()``: capabilities, devices and dtypes."""

    __slots__ = ()

    def capabilities(self) -> dict[str, Any]:
        """What a library may rely on. Inside of jit, shapes do not depend on data.

        >>> jnp.__array_namespace_info__().capabilities()["boolean indexing"]
        True
        """
        return {
            "boolean indexing": True,
            "data-dependent shapes": True,
            "max dimensions": MAX_DIMENSIONS,
        }

    def default_device(self) -> Device:
        """The device that new arrays lie on.

        >>> jnp.__array_namespace_info__().default_device()
        CpuDevice(id=0)
        """
        return default()

    def devices(self) -> tuple[Device, ...]:
        """All devices of this machine, the CPU first."""
        return (CPU, *gpus())

    def default_dtypes(self, *, device: Any = None) -> dict[str, np.dtype]:
        """The dtypes of arrays made from nothing, as set by ``config.default_float`` and
        ``config.default_int`` at this moment. They are the same on every device.

        Raises ArgumentError for what names no device.

        >>> jnp.__array_namespace_info__().default_dtypes()["integral"]
        dtype('int64')
        """
        _check_device(device)
        return {
            "real floating": config.default_float,
            "complex floating": default_complex(),
            "integral": config.default_int,
            "indexing": DTYPES["i64"],
        }

    def dtypes(self, *, device: Any = None, kind: Any = None) -> dict[str, np.dtype]:
        """The standard's dtypes by name, of one kind ("integral", "real floating" ...), of several
        in a tuple, or all.

        Raises ArgumentError for an unknown kind or device.

        >>> list(jnp.__array_namespace_info__().dtypes(kind=("bool", "real floating")))
        ['bool', 'float32', 'float64']
        """
        _check_device(device)
        letters = "biufc" if kind is None else "".join(map(letters_of, _tuple(kind)))
        return {name: dtype for name, dtype in _STANDARD.items() if _letter(dtype) in letters}


_letter = kind


def _tuple(x: Any) -> tuple[Any, ...]:
    return x if isinstance(x, tuple) else (x,)


def _check_device(device: Any) -> None:
    if device is not None:
        find(device)


def letters_of(name: Any) -> str:
    """The letters of a kind of dtypes; ArgumentError where there is none of that name."""
    if not isinstance(name, str) or name not in KINDS:
        raise ArgumentError(
            f"there is no kind of dtypes {name!r}",
            at=here(),
            hint=f"there are: {', '.join(KINDS)}",
        )
    return KINDS[name]


def __array_namespace_info__() -> ArrayNamespaceInfo:
    """The namespace's account of itself, as the Array API standard wants it."""
    return ArrayNamespaceInfo()
