"""Functions that say something to the compiler and leave values as they are.

>>> optimization_barrier({"w": jnp.ones(2)})  # not merged with other computations, nor moved
{'w': Array([1., 1.], dtype=float32)}
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from tracejit.frontend.array import Array, apply, as_array
from tracejit.frontend.trace import current_trace
from tracejit.ops import parts
from tracejit.tree_util import tree_map


def optimization_barrier(operand: Any, /) -> Any:
    """``operand``, a pytree, as values that passes neither merge nor look through."""
    return tree_map(_barrier, operand)


def _barrier(leaf: Any) -> Array:
    array = as_array(leaf)
    return array if current_trace() is None else apply(parts.barrier, array)


def stage(x: Any, /) -> Array:
    """``x`` as an array."""
    return as_array(x)


def dce_sink(val: Any, *, prevent_mlir_dce: bool = False) -> None:
    """Counts as a use of ``val`` for tools that look for unused values; nothing here does."""


def composite(decomposition: Callable[..., Any], name: str, version: int = 0) -> Callable[..., Any]:
    """``decomposition`` under a name: the compiler has no operation of its own in its place."""

    @functools.wraps(decomposition)
    def named(*args: Any, **attributes: Any) -> Any:
        return decomposition(*args, **attributes)

    return named
