"""Distributions as objects: ``norm(loc, scale)`` keeps its parameters, and what SciPy draws or
integrates on the host, with SciPy's numbers for the same seed.

>>> from tracejit.scipy import stats
>>> d = stats.norm(1.0, 2.0)
>>> d.cdf(1.0), d.std()
(Array(0.5, dtype=float32), Array(2.))
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from tracejit.errors import ArgumentError, user_methods
from tracejit.frontend import creation
from tracejit.frontend.array import Array, as_array
from tracejit.frontend.axes import by_numpy
from tracejit.frontend.trace import current_trace
from tracejit.source import here

#: what SciPy's distributions have and the formulas here do not: of parameters that are known
ON_HOST = (
    *("rvs", "mean", "var", "std", "median", "interval", "stats", "moment", "entropy"),
    *("support", "fit", "expect", "cov"),
)


def _given(x: Any) -> Any:
    """Arrays as NumPy arrays, and generators as NumPy's, which draw NumPy arrays."""
    if isinstance(x, Array):
        return x.concrete("a distribution's parameter")
    if isinstance(x, np.random.Generator):
        return np.random.Generator(x.bit_generator)
    return np.random.RandomState(x._bit_generator) if isinstance(x, np.random.RandomState) else x


def _handed(x: Any) -> Any:
    if isinstance(x, tuple):
        return tuple(map(_handed, x))
    if isinstance(x, float | int) and not isinstance(x, bool | np.generic):
        return creation.asarray(x)
    known = isinstance(x, np.ndarray | np.generic) and x.dtype.kind in "biufc"
    return as_array(x) if known else x


def _on_host(module: str, name: str) -> Callable[..., Any]:
    distribution = module.rpartition(".")[2]

    def on_host(*args: Any, **kwargs: Any) -> Any:
        trace = current_trace()
        if trace is not None and not trace.eager and name == "rvs":
            raise ArgumentError(
                f"{distribution}.rvs: {trace.what} of `{trace.function}` would draw once, when it "
                "is traced, and never again",
                at=here(),
                hint="draw before the call, or use tracejit.random with a key as an argument",
            )
        import scipy.stats

        function = getattr(getattr(scipy.stats, distribution), name)
        plain = {key: _given(x) for key, x in kwargs.items()}
        return _handed(by_numpy(f"{distribution}.{name}", function, *map(_given, args), **plain))

    on_host.__name__ = on_host.__qualname__ = name
    on_host.__module__ = module
    on_host.__doc__ = f"SciPy's ``{distribution}.{name}``, on the host, of values that are known."
    return on_host


@user_methods()
class Frozen:
    """A distribution with its parameters: every function of its module without them."""

    def __init__(self, module: Distribution, args: tuple[Any, ...], kwds: dict[str, Any]) -> None:
        self.dist, self.args, self.kwds = module, args, kwds

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_") or name in ("fit", "cov") and not hasattr(self.dist, name):
            raise AttributeError(name)
        function = getattr(self.dist, name)

        @functools.wraps(function)
        def frozen(*args: Any, **kwargs: Any) -> Any:
            if name in _AFTER:
                named = dict(zip(_AFTER[name], args, strict=False))
                return function(*self.args, **self.kwds, **named, **kwargs)
            return function(*args, *self.args, **self.kwds, **kwargs)

        return frozen

    def __repr__(self) -> str:
        parts = [*map(repr, self.args), *(f"{k}={v!r}" for k, v in self.kwds.items())]
        return f"{self.dist.__name__.rpartition('.')[2]}({', '.join(parts)})"


#: functions whose own arguments stand after the parameters, and what these are called
_AFTER = {"rvs": ("size", "random_state"), "stats": ("moments",)}


class Distribution(ModuleType):
    """A module of a distribution's functions, which may be called for a frozen one."""

    def __call__(self, *args: Any, **kwds: Any) -> Frozen:
        return Frozen(self, args, kwds)

    def __getattr__(self, name: str) -> Any:
        if name not in ON_HOST:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        found = _on_host(self.__name__, name)
        setattr(self, name, found)
        return found
