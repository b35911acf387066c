"""Errors that leave a traced branch: a ``raise`` there would be for all values.

with Branch("if"):
    ...                             trace a branch or the body of a loop

While a branch is traced nobody knows whether it will run. What tracing itself finds wrong is an
error all the same; the user's own ``raise`` and ``assert`` become a TracedValueError.
"""

from __future__ import annotations

import opcode
import threading
from typing import Any

from tracejit import source
from tracejit.errors import TracedValueError, TracejitError
from tracejit.frontend.rewrite.find import is_users

_RAISE = opcode.opmap["RAISE_VARARGS"]


class _Depth(threading.local):
    levels = 0


_depth = _Depth()


def levels() -> int:
    """How many traced statements are within each other."""
    return _depth.levels


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
        raise TracedValueError(
            f"this `{statement}` depends on a traced value: whether it is reached is not known "
            "while tracing",
            at=at,
            notes=(f"it is inside of a traced `{self.what}`", _shown(error)),
            hint="check concrete values before the call, or return the condition and check it "
            "outside",
        ) from None


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
