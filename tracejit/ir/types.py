"""Tensor types: a dtype and a static shape, and the short dtype names used in every text form.

>>> TensorType(np.dtype("float32"), (2, 3))
f32[2,3]
>>> parse_type("c64[]").dtype
dtype('complex64')
"""

from __future__ import annotations

import math
from functools import cached_property

import ml_dtypes
import numpy as np

from tracejit.record import dataclass

bfloat16 = np.dtype(ml_dtypes.bfloat16)

#: short name -> NumPy dtype; the order is the order of documentation tables
DTYPES: dict[str, np.dtype] = {
    "bool": np.dtype(np.bool_),
    "i8": np.dtype(np.int8),
    "i16": np.dtype(np.int16),
    "i32": np.dtype(np.int32),
    "i64": np.dtype(np.int64),
    "u8": np.dtype(np.uint8),
    "u16": np.dtype(np.uint16),
    "u32": np.dtype(np.uint32),
    "u64": np.dtype(np.uint64),
    "f16": np.dtype(np.float16),
    "bf16": bfloat16,
    "f32": np.dtype(np.float32),
    "f64": np.dtype(np.float64),
    "c64": np.dtype(np.complex64),
    "c128": np.dtype(np.complex128),
}
_SHORT = {dtype: name for name, dtype in DTYPES.items()}


def short(dtype: np.dtype) -> str:
    """The short name of a dtype: ``short(np.dtype("int32")) == "i32"``.

    Raises KeyError for dtypes the compiler does not have (strings, objects, longdouble).
    """
    return _SHORT[dtype]


def kind(dtype: np.dtype) -> str:
    """One letter: ``b`` bool, ``i`` signed, ``u`` unsigned, ``f`` floating (bfloat16 too), ``c``
    complex.
    """
    return "f" if dtype == bfloat16 else dtype.kind


def is_inexact(dtype: np.dtype) -> bool:
    """True for floating and complex dtypes: those that carry derivatives."""
    return kind(dtype) in "fc"


def real_dtype(dtype: np.dtype) -> np.dtype:
    """The dtype of the real part: c64 -> f32, c128 -> f64, others unchanged."""
    if dtype.kind == "c":
        return DTYPES["f32"] if dtype == DTYPES["c64"] else DTYPES["f64"]
    return dtype


def complex_dtype(dtype: np.dtype) -> np.dtype:
    """The complex dtype whose parts hold ``dtype``: f64 -> c128, everything else -> c64."""
    if dtype.kind == "c":
        return dtype
    return DTYPES["c128"] if dtype == DTYPES["f64"] else DTYPES["c64"]


@dataclass(frozen=True)
class TensorType:
    """The type of every value in a graph: ``dtype`` and a tuple of non-negative ints."""

    dtype: np.dtype
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash((self.dtype.num, self.shape)))

    def __hash__(self) -> int:
        return self._hash  # type: ignore[attr-defined, no-any-return]

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, TensorType)
            and self.shape == other.shape
            and self.dtype == other.dtype
        )

    def __repr__(self) -> str:
        return f"{short(self.dtype)}[{','.join(map(str, self.shape))}]"

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @cached_property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    def with_shape(self, shape: tuple[int, ...]) -> TensorType:
        return TensorType(self.dtype, tuple(shape))

    def with_dtype(self, dtype: np.dtype) -> TensorType:
        return TensorType(dtype, self.shape)


def type_of(array: np.ndarray) -> TensorType:
    """The TensorType of a NumPy array or scalar."""
    return TensorType(array.dtype, array.shape)


def parse_type(text: str) -> TensorType:
    """Read ``f32[2,3]`` back."""
    name, _, dims = text.strip().partition("[")
    dims = dims.rstrip("]")
    return TensorType(DTYPES[name], tuple(int(d) for d in dims.split(",") if d))
