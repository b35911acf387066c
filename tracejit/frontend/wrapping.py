"""``functools.wraps`` for whatever users call: objects may have a ``__name__`` that is no text.

>>> wraps(jnp.sin)(lambda x: x).__name__
'sin'
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def wraps(fun: Any) -> Callable[[F], F]:
    """A decorator that gives a function the name and documentation of ``fun``."""
    return lambda wrapper: named_as(wrapper, fun)


def named_as(wrapper: Any, fun: Any) -> Any:
    """``wrapper``, with the name and documentation of ``fun``."""
    names = ("__name__", "__qualname__")
    assigned = [
        name
        for name in functools.WRAPPER_ASSIGNMENTS
        if name not in names or isinstance(getattr(fun, name, None), str)
    ]
    return functools.update_wrapper(wrapper, fun, assigned=assigned)
