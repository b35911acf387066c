"""Static arguments of jitted functions: which they are, and the function of the others alone.

static_names(f, {1}, set())      frozenset({1, "n"}): both ways of passing it
Bound(f, args, (1,), {})(x)      f(x, args[1])
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from tracejit import hints, source
from tracejit.errors import ArgumentError
from tracejit.frontend.call import call_user, function_name
from tracejit.record import dataclass


@dataclass(frozen=True)
class Split:
    """Which arguments of a call are static, by position and by name, and which are not."""

    positions: tuple[int, ...]
    others: tuple[int, ...]
    names: tuple[str, ...]
    other_names: tuple[str, ...]

    @cached_property
    def fixed(self) -> bool:
        """Whether there are any."""
        return bool(self.positions or self.names)


def exact(value: Any) -> tuple[Any, ...]:
    """A static argument as a key: 2, 2.0 and True are equal, and so are 0.0 and -0.0, but programs
    for them differ.
    """
    kind = type(value)
    if isinstance(value, tuple):
        return kind, tuple(map(exact, value))
    if isinstance(value, float | complex | np.inexact):
        return kind, repr(value)
    return kind, value


@dataclass(frozen=True)
class Bound:
    """``fun`` with its static arguments put back in place."""

    fun: Callable[..., Any]
    args: tuple[Any, ...]
    static: tuple[int, ...]
    named: dict[str, Any]

    def __call__(self, *dynamic: Any, **kwargs: Any) -> Any:
        rest = iter(dynamic)
        full = [a if k in self.static else next(rest) for k, a in enumerate(self.args)]
        return call_user(self.fun, full, {**kwargs, **self.named})

    @property
    def __name__(self) -> str:
        return function_name(self.fun)

    @property
    def __signature__(self) -> inspect.Signature:
        parameters = list(inspect.signature(self.fun).parameters.values())
        kept = [
            p for k, p in enumerate(parameters) if k not in self.static and p.name not in self.named
        ]
        return inspect.Signature(kept)


def positions_and_names(
    fun: Callable[..., Any],
    what: str,
    numbers: int | Sequence[int] | None,
    names: str | Iterable[str] | None,
) -> frozenset[int | str]:
    """Arguments of ``fun`` as a set of positions and names, each both ways; None is none."""
    numbers = () if numbers is None else numbers
    names = () if names is None else names
    try:
        positions = {numbers} if isinstance(numbers, int) else set(map(operator.index, numbers))
    except TypeError as error:
        raise ArgumentError(
            f"jit: {what}_argnums is an integer or a sequence of them, not {numbers!r}",
            at=source.here(),
            hint=f"names go into {what}_argnames",
        ) from error
    words = {names} if isinstance(names, str) else names
    if not isinstance(words, Iterable) or any(not isinstance(word, str) for word in words):
        raise ArgumentError(
            f"jit: {what}_argnames is a name or a sequence of them, not {names!r}",
            at=source.here(),
            hint=f"positions go into {what}_argnums",
        )
    return static_names(fun, positions, set(words), what)


def static_names(
    fun: Callable[..., Any], numbers: set[int], names: set[str], what: str = "static"
) -> frozenset[int | str]:
    """Positions and names of static arguments, each given both ways where the signature tells."""
    try:
        parameters = list(inspect.signature(fun).parameters.values())
    except (TypeError, ValueError):
        return frozenset(numbers | names)
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    variadic = any(p.kind is p.VAR_KEYWORD for p in parameters)
    for name in names:
        if not variadic and all(p.name != name for p in parameters):
            raise ArgumentError(
                f"jit: `{function_name(fun)}` has no argument `{name}` to be {what}",
                at=source.here(),
                hint=hints.name(name, [p.name for p in parameters]),
            )
    most = len(positional)
    for number in numbers:
        if not any(p.kind is p.VAR_POSITIONAL for p in parameters) and not -most <= number < most:
            raise ArgumentError(
                f"jit: `{function_name(fun)}` has no argument {number} to be {what}",
                at=source.here(),
                hint=f"it takes {most} positional arguments, counted from 0",
            )
    found: set[int | str] = {*numbers, *names}
    found |= {k for k, p in enumerate(positional) if p.name in names}
    found |= {
        p.name for k, p in enumerate(positional) if k in numbers or k - len(positional) in numbers
    }
    return frozenset(found)
