"""Errors that leave a traced branch: a ``raise`` there would be for all values.

with Branch("if"):
    ...                             trace a branch or the body of a loop

While a branch is traced nobody knows whether it will run. What tracing itself finds wrong is an
error all the same; the user's own ``raise`` and ``assert`` become Reached, which an ``if`` turns
into a check of the running program (checks.py); elsewhere it is a TracedValueError.
"""

from __future__ import annotations

import opcode
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tracejit import source
from tracejit.errors import TracedValueError, TracejitError
from tracejit.frontend.rewrite.find import is_users

_RAISE = opcode.opmap["RAISE_VARARGS"]


class _Depth(threading.local):
    levels = 0
    #: ``try`` statements of the user's that are being run, and have handlers
    tries = 0


_depth = _Depth()


def levels() -> int:
    """How many traced statements are within each other."""
    return _depth.levels


@contextmanager
def trying() -> Iterator[None]:
    """Inside of it handlers of the user's would see an exception: it cannot wait for the run."""
    _depth.tries += 1
    try:
        yield
    finally:
        _depth.tries -= 1


class Reached(TracedValueError):
    """A ``raise`` or ``assert`` of the user's at the end of a branch that may not run."""

    def because(self, error: BaseException) -> Reached:
        self.error = error
        return self

    def plain(self) -> TracedValueError:
        """What the user sees of it."""
        return TracedValueError(self.what, at=self.at, notes=self.notes, hint=self.hint)


class Branch:
    """While one is traced; a ``raise`` of the user's that leaves it is an error of its own."""

    def __init__(self, what: str) -> None:
        self.what = what

    def __enter__(self) -> None:
        _depth.levels += 1

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        _depth.levels -= 1
        if not isinstance(error, Exception) or isinstance(error, TracejitError):
            return
        at = _raised_at(error)
        if at is None:
            return
        statement = "assert" if isinstance(error, AssertionError) else "raise"
        found = Reached(
            f"this `{statement}` depends on a traced value: whether it is reached is not known "
            "while tracing",
            at=at,
            notes=(f"it is inside of a traced `{self.what}`", _shown(error)),
            hint="check concrete values before the call, or return the condition and check it "
            "outside",
        ).because(error)
        raise found if self.what == "if" and not _depth.tries else found.plain() from None


def _shown(error: BaseException) -> str:
    text = str(error).partition("\n")[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _raised_at(error: BaseException) -> source.Position | None:
    """The user's ``raise`` or ``assert`` that an error comes from; None for errors of functions."""
    entry = error.__traceback__
    while entry is not None and entry.tb_next is not None:
        entry = entry.tb_next
    if entry is None:
        return None
    code = entry.tb_frame.f_code
    if not is_users(code.co_filename) or code.co_code[entry.tb_lasti] != _RAISE:
        return None
    return source.Position(code, entry.tb_lasti)
