"""Questions about dtypes, gathered under JAX's name for the module.

>>> from tracejit import dtypes
>>> dtypes.canonicalize_dtype(float), dtypes.issubdtype(np.float32, np.floating)
(dtype('float32'), True)
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from tracejit import errors as _errors
from tracejit.frontend import promotion
from tracejit.frontend.array import as_array
from tracejit.frontend.derivatives import FLOAT0
from tracejit.frontend.promotion import canonical
from tracejit.ir.types import kind
from tracejit.numpy.dtypes import extended, finfo, iinfo, issubdtype, prng_key

#: the dtype of tangents of integers, which have no data
float0 = FLOAT0
bfloat16 = ml_dtypes.bfloat16


def canonicalize_dtype(dtype: Any, allow_extended_dtype: bool = False) -> np.dtype:
    """The dtype that arrays get where ``dtype`` is asked for: float and int name the defaults.

    >>> tj.dtypes.canonicalize_dtype("int16")
    dtype('int16')
    """
    return canonical(dtype)


def result_type(*args: Any, return_weak_type_flag: bool = False) -> Any:
    """The dtype of an operation on arrays, scalars and dtypes together; with
    ``return_weak_type_flag`` also whether all are Python scalars or as weak.

    >>> tj.dtypes.result_type(np.float32, 1, return_weak_type_flag=True)
    (dtype('float32'), False)
    """
    found = promotion.result_type(*args)
    if not return_weak_type_flag:
        return found
    weak = (bool, int, float, complex)
    return found, all(type(x) in weak or getattr(x, "weak_type", False) for x in args)


def scalar_type_of(x: Any) -> type:
    """Python's type of the numbers in ``x``: bool, int, float or complex.

    >>> tj.dtypes.scalar_type_of(np.float16(1))
    <class 'float'>
    """
    return {"b": bool, "f": float, "c": complex}.get(kind(as_array(x).dtype), int)


def itemsize_bits(dtype: Any) -> int:
    """How many bits an element has.

    >>> tj.dtypes.itemsize_bits(np.float32)
    32
    """
    return 8 * canonical(dtype).itemsize


__all__ = [
    "bfloat16",
    "canonicalize_dtype",
    "extended",
    "finfo",
    "float0",
    "iinfo",
    "issubdtype",
    "itemsize_bits",
    "prng_key",
    "result_type",
    "scalar_type_of",
]

_errors.user_functions(globals())
