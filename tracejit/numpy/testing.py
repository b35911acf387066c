"""NumPy's assertions, for Arrays too: ``np.testing``.

>>> jnp.testing.assert_equal({"x": jnp.arange(2)}, {"x": [0, 1]})
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from tracejit.frontend.array import Array


def _plain(x: Any) -> Any:
    if isinstance(x, Array):
        return x.concrete("an assertion")
    if type(x) in (list, tuple):
        return type(x)(map(_plain, x))
    return {key: _plain(value) for key, value in x.items()} if type(x) is dict else x


def __getattr__(name: str) -> Any:
    found = getattr(np.testing, name)
    if not name.startswith("assert_") or "raises" in name or "warns" in name:
        return found

    @functools.wraps(found)
    def assertion(*args: Any, **kwargs: Any) -> None:
        __tracebackhide__ = True
        found(*map(_plain, args), **_plain(kwargs))

    return assertion
