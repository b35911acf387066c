"""NumPy's random numbers for programs that were NumPy's: drawn on the host from its own hidden
state, with the same numbers for the same seed, as Arrays.

>>> jnp.random.default_rng(0).integers(10, size=3)
Array([8, 6, 5])

A compiled program would draw once, when it is traced: there this is an error, and
``tracejit.random`` with keys is what to use.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from tracejit import errors as _errors
from tracejit.errors import ArgumentError
from tracejit.frontend.array import Array, as_array
from tracejit.frontend.trace import current_trace
from tracejit.source import here

_Function = Callable[..., Any]
#: attributes of NumPy's module, and of its generators, that draw nothing
_PLAIN = ("seed", "get_state", "set_state", "get_bit_generator", "set_bit_generator", "spawn")


def _given(x: Any) -> Any:
    return np.asarray(x) if isinstance(x, Array) else x


def _handed(x: Any) -> Any:
    return as_array(x) if isinstance(x, np.ndarray) and x.dtype.kind in "biufc" else x


def _drawing(function: _Function, name: str) -> _Function:
    """``function`` of NumPy, from Arrays to Arrays."""

    @functools.wraps(function)
    def draw(*args: Any, **kwargs: Any) -> Any:
        trace = current_trace()
        if trace is not None and not trace.eager:
            raise ArgumentError(
                f"numpy.random.{name}: {trace.what} of `{trace.function}` would draw once, when it "
                "is traced, and never again",
                at=here(),
                hint="draw before the call, or use tracejit.random with a key as an argument",
            )
        if name == "shuffle":
            return _shuffle(function, *args, **kwargs)
        return _handed(
            function(*map(_given, args), **{key: _given(x) for key, x in kwargs.items()})
        )

    return draw


def _shuffle(function: _Function, *args: Any, **kwargs: Any) -> None:
    """In place, as ``x[...] = v`` is."""
    *generator, x = args[:2] if args and not isinstance(args[0], Array) else args[:1]
    if not isinstance(x, Array):
        function(*args, **kwargs)
        return
    data = np.array(x)
    function(*generator, data, *args[len(generator) + 1 :], **kwargs)
    x[...] = data


def _class(base: type) -> type:
    """A class of generators whose draws are Arrays."""
    about = f"NumPy's ``{base.__name__}``, whose draws are Arrays."
    members: dict[str, Any] = {"__module__": __name__, "__doc__": about}
    for name in dir(base):
        member = getattr(base, name)
        if callable(member) and not name.startswith("_") and name not in _PLAIN:
            members[name] = _drawing(member, name)
    return type(base.__name__, (base,), members)


Generator = _class(np.random.Generator)
RandomState = _class(np.random.RandomState)


def default_rng(seed: Any = None) -> Any:
    """NumPy's ``default_rng``: a Generator, of the same numbers for the same seed."""
    return Generator(np.random.default_rng(_given(seed)).bit_generator)


def __getattr__(name: str) -> Any:
    found = getattr(np.random, name)
    if name.startswith("_") or isinstance(found, type) or not callable(found) or name in _PLAIN:
        return found
    globals()[name] = drawing = _errors.user_traceback(_drawing(found, name))
    return drawing


def __dir__() -> list[str]:
    return [*np.random.__all__]
