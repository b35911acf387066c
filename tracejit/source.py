"""Where in the user's code something came from: a code object and an instruction offset.

Taking a position costs one frame walk; line, columns and text are looked up only when shown.

    at = here()          the innermost frame of the user
    at.short()           model.py:12
    at.expression()      "x @ w"
"""

from __future__ import annotations

import linecache
import os
import re
import sys
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from types import CodeType, FrameType

import numpy as np

from tracejit.record import dataclass

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_NUMPY = os.path.dirname(os.path.abspath(np.__file__)) + os.sep
_STDLIB = os.path.dirname(os.path.abspath(os.__file__)) + os.sep
_INSTALLED = tuple(f"{_STDLIB}{folder}{os.sep}" for folder in ("site-packages", "dist-packages"))

#: the test of a statement with a block: the position of a bare ``if x:`` is the whole statement
_HEADER = re.compile(r"\s*(?:if|elif|while|with|for|match)\b\s*(.*?)\s*:\s*(?:#.*)?$")

#: an expression over more lines than this is shown without its middle
MAX_LINES = 5


@dataclass(frozen=True, slots=True)
class Position:
    """An instruction in the user's code."""

    code: CodeType
    lasti: int
    #: the names of the ``named_scope`` blocks around it
    scope: str = ""

    @property
    def file(self) -> str:
        return self.code.co_filename

    @property
    def function(self) -> str:
        """``loss``, ``Model.step``, ``<lambda>``: the name, with the class of a method."""
        return self.code.co_qualname.rpartition("<locals>.")[2]

    @property
    def line(self) -> int:
        return span(self)[0]

    def short(self) -> str:
        """``model.py:12``; in a notebook ``cell In[3]:2``; ``model.py:12 [encoder/attention]``."""
        cell = _cell(self.file)
        text = f"{cell}:{self.line}" if cell else _name(self, self.file)
        return f"{text} [{self.scope}]" if self.scope else text

    def excerpt(self) -> tuple[str, str]:
        """The first source line and ``^`` under the expression; empty where there is no source."""
        lines = self.excerpt_lines()
        return (lines[0], lines[1]) if lines else ("", "")

    def excerpt_lines(self) -> list[str]:
        """The lines of the expression, each followed by ``^``; empty where there is no source."""
        parts = _parts(self)
        if not parts:
            return []
        indent = min(len(text) - len(text.lstrip()) for text, _, _ in parts)
        shown: list[str] = []
        for number, (text, start, stop) in enumerate(parts):
            if len(parts) > MAX_LINES and number == MAX_LINES - 2:
                shown.append("...")
            if len(parts) > MAX_LINES and MAX_LINES - 2 <= number < len(parts) - 1:
                continue
            lead = "".join(c if c == "\t" else " " * _width(c) for c in text[indent:start])
            shown += [text[indent:], lead + "^" * max(sum(map(_width, text[start:stop])), 1)]
        return shown

    def text(self) -> tuple[str, str]:
        """The whole line in which the expression begins, and the expression."""
        return linecache.getline(self.file, self.line), self.expression()

    def expression(self) -> str:
        """The text of the expression; empty where there is no source."""
        return "\n".join(text[start:stop] for text, start, stop in _parts(self))


def _parts(at: Position) -> list[tuple[str, int, int]]:
    """The non-blank lines of an expression and which of their characters belong to it."""
    first, last, col, end_col = span(at)
    linecache.checkcache(at.file)
    found: list[tuple[str, int, int]] = []
    for number in range(first, max(first, last) + 1):
        text = linecache.getline(at.file, number).rstrip()
        if not text:
            continue
        raw = text.encode()
        start, stop = len(text) - len(text.lstrip()), len(text)
        if number == first and col is not None:
            start = len(raw[:col].decode(errors="replace"))
        if number == last and end_col is not None:
            stop = len(raw[:end_col].decode(errors="replace"))
        found.append((text, start, stop))
    if len(found) > 1 and (header := _HEADER.match(found[0][0])):
        found = [(found[0][0], *header.span(1))]
    # a source that changed since it was compiled: no mark is better than one elsewhere
    return found if all(start < stop <= len(text) for text, start, stop in found) else []


def _width(character: str) -> int:
    """Columns that a character takes on a terminal."""
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


@lru_cache(maxsize=4096)
def _name(at: Position, file: str) -> str:
    """What messages and comments call a position, unless it is in a notebook. ``file``: code of two
    files is equal where the text is.
    """
    return f"{os.path.basename(file)}:{at.line}"


def _cell(file: str) -> str:
    """The name of a notebook cell or of an input of an interactive shell; empty for other code."""
    if "ipy" not in file:
        return ""
    if numbered := re.match(r"<ipython-input-(\d+)-", file):
        return f"cell In[{numbered[1]}]"
    if "ipykernel_" not in file:
        return ""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    cells = getattr(getattr(shell, "compile", None), "_filename_map", {})
    return f"cell In[{cells[file]}]" if file in cells else "cell"


@lru_cache(maxsize=4096)
def span(at: Position) -> tuple[int, int, int | None, int | None]:
    """Line, end line, column and end column of a position."""
    for number, (line, end_line, col, end_col) in enumerate(at.code.co_positions()):
        if number == at.lasti // 2:
            return line or at.code.co_firstlineno, end_line or line or 0, col, end_col
    return at.code.co_firstlineno, at.code.co_firstlineno, None, None


@lru_cache(maxsize=4096)
def is_internal(filename: str) -> bool:
    """True for files of this package and of those it calls, whose frames are hidden from users."""
    return filename.startswith((_PACKAGE, _NUMPY, "<frozen")) or "/optree/" in filename


@lru_cache(maxsize=4096)
def is_stdlib(filename: str) -> bool:
    return filename.startswith(_STDLIB) and not filename.startswith(_INSTALLED)


def here() -> Position | None:
    """The innermost frame outside this package, of the user rather than of Python's library."""
    frame: FrameType | None = sys._getframe(1)
    library: FrameType | None = None
    while frame is not None:
        file = frame.f_code.co_filename
        if not is_internal(file):
            if not is_stdlib(file):
                return Position(frame.f_code, frame.f_lasti, _scopes.name)
            library = library or frame
        frame = frame.f_back
    return None if library is None else Position(library.f_code, library.f_lasti, _scopes.name)


class _Scopes(threading.local):
    name = ""


_scopes = _Scopes()


@contextmanager
def scope(name: str) -> Iterator[None]:
    """A block whose positions carry ``name``, after the names of the blocks around it."""
    before = _scopes.name
    _scopes.name = f"{before}/{name}" if before else name
    try:
        yield
    finally:
        _scopes.name = before
