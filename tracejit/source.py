"""Where in the user's code something came from: a code object and an instruction offset.

Taking a position costs one frame walk; the file, line, columns and text are looked up only when shown.
"""

from __future__ import annotations

import linecache
import os
import sys
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType, FrameType

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep


@dataclass(frozen=True, slots=True)
class Position:
    """An instruction in the user's code."""

    code: CodeType
    lasti: int

    @property
    def file(self) -> str:
        return self.code.co_filename

    @property
    def function(self) -> str:
        return self.code.co_name

    @property
    def line(self) -> int:
        return span(self)[0]

    def short(self) -> str:
        """``model.py:12``."""
        return f"{os.path.basename(self.file)}:{self.line}"

    def excerpt(self) -> tuple[str, str]:
        """The source line and a line of ``^`` under the expression; two empty strings where there is no source."""
        line, end_line, col, end_col = span(self)
        text = linecache.getline(self.file, line).rstrip("\n")
        if not text.strip():
            return "", ""
        raw = text.encode()
        start = len(raw[: col or 0].decode(errors="replace"))
        stop = len(raw[:end_col].decode(errors="replace")) if end_line == line and end_col else len(text)
        indent = len(text) - len(text.lstrip())
        return text[indent:], " " * (start - indent) + "^" * max(stop - start, 1)


@lru_cache(maxsize=4096)
def span(at: Position) -> tuple[int, int, int | None, int | None]:
    """Line, end line, column and end column of a position."""
    for number, (line, end_line, col, end_col) in enumerate(at.code.co_positions()):
        if number == at.lasti // 2:
            return line or at.code.co_firstlineno, end_line or line or 0, col, end_col
    return at.code.co_firstlineno, at.code.co_firstlineno, None, None


@lru_cache(maxsize=4096)
def is_internal(filename: str) -> bool:
    """True for files of this package, whose frames are hidden from users."""
    return filename.startswith(_PACKAGE) or filename.startswith("<frozen") or "/optree/" in filename


def here() -> Position | None:
    """The innermost frame outside this package."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and is_internal(frame.f_code.co_filename):
        frame = frame.f_back
    return None if frame is None else Position(frame.f_code, frame.f_lasti)
