"""Loops as Python runs them, under the setting ``disable_jit``: prints and debuggers in the body
see values.

    >>> with tj.settings(disable_jit=True):
    ...     lax.scan(lambda c, x: (c + x, print(c)), 0, jnp.arange(2))[0]
    0
    0
    Array(1)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tracejit.config import config
from tracejit.frontend import shaping
from tracejit.frontend.array import Array, as_array
from tracejit.frontend.trace import current_trace
from tracejit.tree_util import tree_map

Function = Callable[..., Any]


def wanted() -> bool:
    """Whether loops run in Python."""
    return config.current().disable_jit and current_trace() is None


def scan(f: Function, init: Any, xs: Any, length: int, reverse: bool) -> tuple[Any, Any]:
    """``lax.scan`` over ``length`` steps."""
    carry, found = tree_map(as_array, init), []
    for k in reversed(range(length)) if reverse else range(length):
        carry, y = f(carry, tree_map(lambda x, k=k: as_array(x)[k], xs))
        found.append(y)
    if reverse:
        found.reverse()
    return carry, tree_map(lambda *ys: _stacked(ys), *found) if found else None


def _stacked(ys: Sequence[Any]) -> Array:
    return shaping.stack([as_array(y) for y in ys])


def while_loop(cond_fun: Function, body_fun: Function, init_val: Any) -> Any:
    """``lax.while_loop``."""
    value = tree_map(as_array, init_val)
    while cond_fun(value):
        value = body_fun(value)
    return value
