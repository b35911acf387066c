"""Shapes and dtypes in place of arrays: ``ShapeDtypeStruct`` and ``eval_shape``.

>>> tj.eval_shape(jnp.sum, tj.ShapeDtypeStruct((2, 3), "float32"))
ShapeDtypeStruct(shape=(), dtype=float32)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optree

from tracejit.errors import user_traceback
from tracejit.frontend.array import as_array
from tracejit.frontend.call import FlatCall, check_function, flatten, trace_call


class ShapeDtypeStruct:
    """A shape and a dtype standing for an array, where only its type matters: ``eval_shape``.

    >>> tj.ShapeDtypeStruct((2, 3), np.float32)
    ShapeDtypeStruct(shape=(2, 3), dtype=float32)
    """

    __slots__ = ("shape", "dtype")

    def __init__(
        self,
        shape: Sequence[int],
        dtype: Any,
        *,
        sharding: Any = None,
        weak_type: bool = False,
        vma: Any = None,
    ) -> None:
        self.shape = tuple(shape)
        self.dtype = np.dtype(dtype)

    @classmethod
    def like(cls, x: Any) -> ShapeDtypeStruct:
        """Those of an array.

        >>> tj.ShapeDtypeStruct.like(jnp.ones(2))
        ShapeDtypeStruct(shape=(2,), dtype=float32)
        """
        return cls(np.shape(x), as_array(x).dtype)

    def update(self, **changed: Any) -> ShapeDtypeStruct:
        """A copy with another ``shape=`` or ``dtype=``."""
        return ShapeDtypeStruct(**{"shape": self.shape, "dtype": self.dtype, **changed})

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ShapeDtypeStruct) and (self.shape, self.dtype) == (
            other.shape,
            other.dtype,
        )

    def __hash__(self) -> int:
        return hash((self.shape, self.dtype))

    def __repr__(self) -> str:
        return f"ShapeDtypeStruct(shape={self.shape}, dtype={self.dtype.name})"


@user_traceback
def typeof(x: Any) -> Any:
    """The type of an array, number or traced value: ``dtype``, ``shape``, ``ndim``, ``size``.

    >>> tj.typeof(jnp.ones((2, 3)))
    f32[2,3]
    """
    return getattr(x, "aval", None) or as_array(x).type


@user_traceback
def eval_shape(fun: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The result of ``fun`` with a ShapeDtypeStruct for each array; nothing is computed.

    Arguments may be arrays or ShapeDtypeStructs.

    >>> tj.eval_shape(jnp.matmul, jnp.ones((2, 3)), tj.ShapeDtypeStruct((3, 4), "float32"))
    ShapeDtypeStruct(shape=(2, 4), dtype=float32)
    """
    check_function("eval_shape", fun)
    traced = trace_call(FlatCall.of(fun, *stand_ins(args, kwargs)), "eval_shape")
    outs = [ShapeDtypeStruct(y.type.shape, y.type.dtype) for y in traced.graph.outputs]
    return optree.tree_unflatten(traced.outputs.treedef, outs)


def stand_ins(args: Any, kwargs: Any) -> Any:
    """``(args, kwargs)`` with an array, of one element in memory, for each ShapeDtypeStruct."""
    leaves, treedef = flatten((args, kwargs))
    arrays = [
        np.broadcast_to(np.zeros((), leaf.dtype), leaf.shape)
        if isinstance(leaf, ShapeDtypeStruct)
        else leaf
        for leaf in leaves
    ]
    return optree.tree_unflatten(treedef, arrays)
