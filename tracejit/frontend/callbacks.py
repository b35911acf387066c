"""Python functions called from compiled programs, for their values.

y = pure_callback(scipy_function, ShapeDtypeStruct(x.shape, x.dtype), x)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import optree

from tracejit import source
from tracejit.errors import ArgumentError
from tracejit.frontend.array import apply, as_array
from tracejit.frontend.call import check_function, flatten
from tracejit.ir.types import TensorType
from tracejit.ops import callback as ops
from tracejit.record import dataclass

#: how a callback is called under vmap
METHODS = (None, "sequential", "sequential_unrolled", "expand_dims", "broadcast_all")


@dataclass(frozen=True)
class Flat:
    """A user's function over flat arrays; compared by the function and the structure of its
    arguments.
    """

    function: Callable[..., Any]
    treedef: Any
    vmap_method: str | None = None

    @property
    def __name__(self) -> str:
        return ops.name_of(self.function)

    def __call__(self, *arrays: np.ndarray) -> tuple[Any, ...]:
        args, kwargs = optree.tree_unflatten(self.treedef, arrays)
        return tuple(flatten(self.function(*args, **kwargs))[0])


def pure_callback(
    callback: Callable[..., Any],
    result_shape_dtypes: Any,
    *args: Any,
    sharding: None = None,
    vmap_method: str | None = None,
    **kwargs: Any,
) -> Any:
    """``callback(*args, **kwargs)`` on NumPy arrays, when the program runs.

    ``result_shape_dtypes``: a pytree of objects with ``shape`` and ``dtype``, as the results will
    have. The function must depend on its arguments only: it may run any number of times, or not at
    all. It has no derivative; wrap it in a custom_jvp or custom_vjp.

    ``vmap_method``: under vmap it is called for one example after the other ("sequential",
    "sequential_unrolled", None), or once with all: arguments that are not mapped get a leading axis
    of size 1 ("expand_dims") or of all examples ("broadcast_all"), and so do the results.

    Raises ArgumentError when a result has another shape than promised.

    >>> shape = tj.ShapeDtypeStruct((3,), np.float64)
    >>> print(jit(lambda x: tj.pure_callback(np.sort, shape, x))(np.array([3.0, 1.0, 2.0])))
    [1. 2. 3.]
    """
    check_function("pure_callback", callback)
    if vmap_method not in METHODS:
        raise ArgumentError(
            f"pure_callback: there is no vmap_method {vmap_method!r}",
            at=source.here(),
            hint=f"there are: {', '.join(map(str, METHODS))}",
        )
    promised, out_tree = flatten(result_shape_dtypes)
    types = tuple(TensorType(np.dtype(p.dtype), tuple(p.shape)) for p in promised)
    leaves, treedef = flatten((args, kwargs))
    arrays = [as_array(leaf) for leaf in leaves]
    outs = apply(
        ops.pure_callback, *arrays, function=Flat(callback, treedef, vmap_method), types=types
    )
    return optree.tree_unflatten(out_tree, outs)
