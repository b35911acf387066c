"""The named axes of the vmaps around a function that is being traced, and their sizes.

with bound("i", 8):
    size_of("i")        8
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from tracejit import hints
from tracejit.errors import ArgumentError
from tracejit.source import here


class _Axes(threading.local):
    def __init__(self) -> None:
        self.sizes: dict[Any, int] = {}


_axes = _Axes()


@contextmanager
def bound(axis_name: Any, size: int) -> Iterator[None]:
    """While a function is traced under a vmap over ``axis_name`` (None: it has no name)."""
    if axis_name is None:
        yield
        return
    before = _axes.sizes
    _axes.sizes = {**before, axis_name: size}
    try:
        yield
    finally:
        _axes.sizes = before


@contextmanager
def all_bound(axes: Iterable[tuple[Any, int]]) -> Iterator[None]:
    """``bound`` for several pairs of name and size."""
    with ExitStack() as stack:
        for axis_name, size in axes:
            stack.enter_context(bound(axis_name, size))
        yield


def in_scope() -> tuple[tuple[Any, int], ...]:
    """The names and sizes that a trace may depend on."""
    return tuple(_axes.sizes.items())


def size_of(axis_name: Any) -> int:
    """Raises ArgumentError where no vmap around has an axis of this name."""
    try:
        return _axes.sizes[axis_name]
    except (KeyError, TypeError):
        known = [name for name in _axes.sizes if isinstance(name, str)]
        raise ArgumentError(
            f"unbound axis name: {axis_name!r}",
            at=here(),
            hint=(isinstance(axis_name, str) and hints.name(axis_name, known))
            or f"call the function under vmap(..., axis_name={axis_name!r})",
        ) from None
