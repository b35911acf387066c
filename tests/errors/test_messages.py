"""Every wrong program of ``programs.py``: its message, and the traceback that a user sees."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable
from types import FunctionType

import pytest

from tests.errors import programs
from tracejit import source
from tracejit.errors import InternalError, TracejitError

PROGRAMS = {
    name: member
    for name, member in vars(programs).items()
    if isinstance(member, FunctionType) and member.__module__ == programs.__name__
}

#: errors for which there is no mechanical remedy beyond what the message says
WITHOUT_HINT = {
    *("einsum_sizes", "einsum_subscripts", "concatenate_shapes", "multi_line_expression"),
    *("vjp_cotangent_tree", "jvp_tangent_tree", "linearize_tangent_tree", "scan_carry"),
    *("while_condition", "fori_bound"),
}


def failure(program: Callable[[], None]) -> TracejitError:
    with pytest.raises(TracejitError) as caught:
        program()
    return caught.value


def relative(text: str, first: int) -> str:
    """``text`` with lines counted from the ``def``: a program may be added anywhere."""
    return re.sub(r"programs\.py:(\d+)", lambda m: f"programs.py:{int(m[1]) - first + 1}", text)


@pytest.mark.parametrize("name", PROGRAMS)
def test_message(name: str, golden: Callable[..., None]) -> None:
    error = failure(PROGRAMS[name])
    golden(relative(f"{type(error).__name__}: {error}", PROGRAMS[name].__code__.co_firstlineno))


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_error_is_at_the_users_line(name: str) -> None:
    error = failure(PROGRAMS[name])
    assert not isinstance(error, InternalError)
    assert error.at is not None and error.at.file == programs.__file__
    first = PROGRAMS[name].__code__.co_firstlineno
    last = max(line for *_, line in PROGRAMS[name].__code__.co_lines() if line)
    assert first < error.at.line <= last + 8  # functions inside may end later
    assert "tracejit/" not in str(error)
    assert str(error).count("hint:") == (name not in WITHOUT_HINT)
    assert not re.search(r"0x[0-9a-f]{6}", str(error))


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_traceback_shows_the_users_frames_only(name: str) -> None:
    error = failure(PROGRAMS[name])
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    assert files and not any(source.is_internal(file) for file in files)
    assert files.count(programs.__file__) >= 1
    shown = "".join(traceback.format_exception(error))
    assert shown.count("Traceback") == 1  # no chain of causes
