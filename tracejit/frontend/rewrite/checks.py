"""assert and raise under traced conditions: errors of the running program, in place of tracing.

    assert x > 0, f"x is {x:.2f}"           holds(x > 0, lambda: text(...))
    if x < 0: raise ValueError("negative")  raised_in(then, x < 0, at)

The condition becomes part of the program, which calls back where it does not hold; values in the
message are those of the run. Under vmap each example is looked at, in the branches that it takes.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tracejit import source
from tracejit.errors import FailedAssertion, TracejitError
from tracejit.frontend import elementwise
from tracejit.frontend.array import Array, apply
from tracejit.frontend.rewrite.state import is_traced
from tracejit.ops.callback import host_effect
from tracejit.record import dataclass

# ---- where a check stands ------------------------------------------------------------------------


class Way:
    """A traced statement that tracing is inside of: it is run where ``condition`` is ``wanted``."""

    def __init__(self, condition: Array | None = None, wanted: bool = True) -> None:
        #: None for a loop, until a check asks for it
        self.condition = condition
        self.wanted = wanted
        self.asked = False


class _Ways(threading.local):
    def __init__(self) -> None:
        self.stack: list[Way] = []


_ways = _Ways()


@contextmanager
def under(way: Way) -> Iterator[None]:
    """What is traced inside is run where the condition of ``way`` holds."""
    _ways.stack.append(way)
    try:
        yield
    finally:
        _ways.stack.pop()


def check(ok: Array, error: BaseException, at: source.Position | None) -> None:
    """Have the program raise ``error`` where ``ok``, a traced bool[], is false."""
    for way in _ways.stack:
        if way.condition is None:
            way.asked = True
        else:
            other = elementwise.logical_not(way.condition) if way.wanted else way.condition
            ok = elementwise.logical_or(ok, other)
    values = [v for a in error.args if isinstance(a, Text) for v in a.values()]
    apply(host_effect, ok, *values, function=Failing(error, at))


@dataclass(frozen=True)
class Failing:
    """Raises an error where the first operand is false; the others belong into its message."""

    error: BaseException
    at: source.Position | None

    @property
    def __name__(self) -> str:
        return f"raise {type(self.error).__name__}"

    def __call__(self, ok: Any, *values: Any) -> None:
        if ok:
            return
        rest = iter(values)
        args = [a.filled(rest) if isinstance(a, Text) else a for a in self.error.args]
        if isinstance(self.error, TracejitError):
            raise type(self.error)(*args, at=self.at)
        found = _copied(self.error)
        found.args = tuple(args)
        if self.at is not None:
            note = f"  {self.at.short()} in {self.at.function}"
            if note not in getattr(found, "__notes__", ()):
                found.add_note(note)
        raise found


def _copied(error: BaseException) -> BaseException:
    try:
        found = copy.copy(error)
    except Exception:  # whatever a constructor of the user's raises
        found = error
    if notes := getattr(error, "__notes__", None):
        found.__notes__ = list(notes)
    return found.with_traceback(None)


# ---- messages ------------------------------------------------------------------------------------


class Text(str):
    """A text with values that only the run knows; as a ``str`` it has types in their places."""

    parts: tuple[Any, ...]

    def values(self) -> list[Array]:
        return [part[0] for part in self.parts if not isinstance(part, str)]

    def filled(self, values: Iterator[Any]) -> str:
        return "".join(
            part if isinstance(part, str) else _formatted(next(values)[()], *part[1:])
            for part in self.parts
        )


def _formatted(value: Any, conversion: int, spec: str) -> str:
    if conversion < 0 and not isinstance(value, np.ndarray):
        return format(value, spec)
    plain = isinstance(value, np.ndarray | np.generic)  # not np.float64(...)
    shown = str if plain else {ord("r"): repr, ord("a"): ascii}.get(conversion, str)
    return format(shown(value), spec if conversion >= 0 else "")


def text(*parts: Any) -> str:
    """An f-string in a message: texts, and (value, conversion, format) for the rest."""
    if not any(not isinstance(p, str) and is_traced(p[0]) for p in parts):
        return "".join(p if isinstance(p, str) else _formatted(*p) for p in parts)
    known = tuple(p if isinstance(p, str) or is_traced(p[0]) else _formatted(*p) for p in parts)
    found = Text("".join(p if isinstance(p, str) else f"<{p[0].type}>" for p in known))
    found.parts = known
    return found


# ---- assert --------------------------------------------------------------------------------------


def holds(test: Any, message: Callable[[], Any] | None, condition: Callable[..., Array]) -> Any:
    """The condition of an ``assert``: as it is, or true where only the run of the program tells."""
    if not is_traced(test):
        return test
    said = "" if message is None else message()
    said = said if isinstance(said, str) else str(said)
    check(condition(test, "assert"), FailedAssertion(said or "an `assert` fails"), source.here())
    return True


def raised_in(branch: Any, taken: Array, at: source.Position | None) -> None:
    """Run a branch that always raises, and have the program raise that where it is ``taken``."""
    try:
        branch()
    except Exception as error:
        check(elementwise.logical_not(taken), error, at)
