"""tracejit's own errors: what went wrong, the user's line underlined, the operands, one hint.

    ShapeError: mul: shapes differ: (2, 3) and (3, 2)
      model.py:4 in loss
        return mul(h, b)
               ^^^^^^^^^
      operand 1: f32[2,3]  from sin, model.py:3
      hint: the shapes would agree if operand 2 were transposed
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tracejit import source


class TracejitError(Exception):
    """Base of all errors raised by tracejit. ``at``: the user's position; ``notes``: lines below the excerpt."""

    def __init__(self, what: str, *, at: source.Position | None = None, notes: tuple[str, ...] = (), hint: str = ""):
        super().__init__(what)
        self.what = what
        self.at = at
        self.notes = notes
        self.hint = hint

    def __str__(self) -> str:
        lines = [self.what]
        if self.at is not None:
            lines.append(f"  {self.at.short()} in {self.at.function}")
            text, marks = self.at.excerpt()
            if text:
                lines += [f"    {text}", f"    {marks}"]
        lines += [f"  {note}" for note in self.notes]
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        return "\n".join(lines)


class ShapeError(TracejitError, ValueError):
    """Shapes of operands do not fit an operation."""


class DTypeError(TracejitError, TypeError):
    """Dtypes of operands do not fit an operation."""


class ArgumentError(TracejitError, TypeError):
    """A function of the API was called with something it does not take."""


class TracedValueError(TracejitError, TypeError):
    """A traced value was used where a concrete one is needed (``if``, ``int()``, ``len()`` ...)."""


class LeakedTracerError(TracejitError):
    """A traced value was used after the trace that made it had ended."""


class OutOfBoundsError(TracejitError, IndexError):
    """An index lies outside its axis."""


class TreeError(TracejitError, TypeError):
    """Pytrees differ in structure where they must agree."""


class GradError(TracejitError, TypeError):
    """A derivative was asked for that does not exist (integer input, non-scalar output ...)."""


class MissingRule(TracejitError, NotImplementedError):
    """A primitive lacks the rule that a transform or back end needs."""


class BackendError(TracejitError, RuntimeError):
    """A back end is not available or failed."""


class InternalError(TracejitError):
    """A defect of tracejit itself; the message says what to report."""


@contextmanager
def located(prim: Any, inputs: tuple[Any, ...], at: source.Position | None, builder: Any) -> Iterator[None]:
    """Give errors raised by a shape rule the primitive's name, the user's line and the operands."""
    try:
        yield
    except TracejitError as error:
        if error.at is None:
            error.at = at or source.here()
        if not error.notes:
            error.notes = tuple(operand_note(k, x, builder) for k, x in enumerate(inputs, 1))
        raise


def operand_note(number: int, x: Any, builder: Any) -> str:
    """``operand 1: f32[2,3]  from sin, model.py:3``."""
    nodes = () if builder is None else reversed(builder.nodes)
    made = next((node for node in nodes if x in node.outputs), None)
    if made is None:
        return f"operand {number}: {x.type}" + (f"  ({x.name})" if getattr(x, "name", "") else "")
    where = f", {made.at.short()}" if made.at is not None else ""
    return f"operand {number}: {x.type}  from {made.prim.name}{where}"
