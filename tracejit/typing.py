"""What annotations of array programs name, as ``jax.typing`` does.

    def scale(x: ArrayLike, dtype: DTypeLike = None) -> tj.Array: ...

>>> from tracejit.typing import ArrayLike
>>> isinstance(jnp.ones(2), ArrayLike), isinstance([1.0], ArrayLike)
(True, False)
"""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

import numpy as np

from tracejit.frontend.array import Array


class SupportsDType(Protocol):
    """What has a dtype."""

    @property
    def dtype(self) -> np.dtype: ...


#: what functions take for an array; lists and tuples are for ``numpy.array`` and ``asarray``
ArrayLike: TypeAlias = Array | np.ndarray | np.bool_ | np.number | bool | int | float | complex
#: what names a dtype
DTypeLike: TypeAlias = str | type[Any] | np.dtype | SupportsDType

__all__ = ["ArrayLike", "DTypeLike", "SupportsDType"]
