"""Whether functions that tracejit calls for the user are to be rewritten first, in this thread.

with rewriting(fn):
    converted(f)        fn(f); outside of it f
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class _Active(threading.local):
    rewrite: Callable[[Any], Any] | None = None


_active = _Active()


@contextmanager
def rewriting(rewrite: Callable[[Any], Any] | None) -> Iterator[None]:
    """Within it bodies of loops, functions under ``vmap`` and the like are rewritten."""
    before = _active.rewrite
    _active.rewrite = rewrite
    try:
        yield
    finally:
        _active.rewrite = before


def is_on() -> bool:
    """Whether functions are being rewritten."""
    return _active.rewrite is not None


def converted(function: Any) -> Any:
    """What to call in the place of a user's function."""
    rewrite = _active.rewrite
    return function if rewrite is None else rewrite(function)
