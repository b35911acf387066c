"""Pytrees of arrays as one vector, for optimisers and samplers that know vectors.

>>> flat, unravel = ravel_pytree({"w": jnp.ones((2, 2)), "b": jnp.zeros(2)})
>>> flat
Array([0., 0., 1., 1., 1., 1.], dtype=float32)
>>> unravel(2 * flat)["w"]
Array([[2., 2.],
       [2., 2.]], dtype=float32)
"""

from __future__ import annotations

import math
from typing import Any

import optree

from tracejit import errors as _errors
from tracejit import source
from tracejit.config import config
from tracejit.errors import ArgumentError
from tracejit.frontend import promotion, shaping
from tracejit.frontend.array import Array, as_array
from tracejit.frontend.call import flatten
from tracejit.ir.types import TensorType
from tracejit.record import dataclass
from tracejit.tree_util import Partial

__all__ = ["ravel_pytree"]


@dataclass(frozen=True)
class _Unravel:
    """The way back from a vector: of the same types for equal trees."""

    treedef: Any
    types: tuple[TensorType, ...]
    dtype: Any

    def __call__(self, vector: Any) -> Any:
        flat = as_array(vector)
        size = sum(math.prod(t.shape) for t in self.types)
        if flat.shape != (size,):
            raise ArgumentError(
                f"unravel: takes a vector of {size} elements, not {flat.type}", at=source.here()
            )
        if flat.dtype != self.dtype:
            raise ArgumentError(
                f"unravel: takes a vector of {self.dtype}, not {flat.type}",
                at=source.here(),
                hint="convert it with .astype",
            )
        leaves, start = [], 0
        for type in self.types:
            stop = start + math.prod(type.shape)
            part = promotion.reshaped(shaping.cut(flat, 0, start, stop), type.shape)
            leaves.append(promotion.convert(part, type.dtype))
            start = stop
        return optree.tree_unflatten(self.treedef, leaves)


def ravel_pytree(pytree: Any) -> tuple[Array, Partial]:
    """``(vector, unravel)``: all leaves of ``pytree`` one after the other, in their common dtype,
    and the function from such a vector to a tree of the leaves' shapes and dtypes.

    ``unravel`` raises ArgumentError for another size or dtype. Of no leaves the vector is empty.
    """
    leaves, treedef = flatten(pytree)
    arrays = [as_array(leaf) for leaf in leaves]
    types = tuple(a.type for a in arrays)
    dtype = promotion.dtype_of(arrays)[0] if arrays else config.default_float
    parts = [promotion.reshaped(promotion.convert(a, dtype), (a.size,)) for a in arrays]
    empty = promotion.filled(0, TensorType(dtype, (0,)))
    vector = shaping.concatenate(parts) if parts else empty
    return vector, Partial(_Unravel(treedef, types, vector.dtype))


_errors.user_functions(globals())
