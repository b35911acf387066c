"""tracejit's own errors: what went wrong, the user's line underlined, the operands, one hint.

    ShapeError: mul: shapes differ: (2, 3) and (3, 2)
      model.py:4 in loss
        return mul(h, b)
               ^^^^^^^^^
      operand 1: f32[2,3]  from sin, model.py:3
      hint: the shapes would agree if operand 2 were transposed

Functions of the API carry ``user_traceback``, which takes tracejit's own frames out of the
traceback: of all frames only the user's remain.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from types import FunctionType, TracebackType
from typing import Any, TypeVar

import numpy as np

from tracejit import source

#: True: tracebacks keep tracejit's own frames (for those who work on tracejit)
show_internal_frames = False


class TracejitError(Exception):
    """Base of all errors raised by tracejit.

    ``at``: the user's position; ``notes``: lines below the excerpt; ``hint``: one remedy.
    """

    def __init__(
        self,
        what: str,
        *,
        at: source.Position | None = None,
        notes: tuple[str, ...] = (),
        hint: str = "",
    ):
        super().__init__(what)
        self.what = what
        self.at = at
        self.notes = notes
        self.hint = hint

    def __str__(self) -> str:
        lines = [
            self.what,
            *(f"  {line}" for line in self._place()),
            *(f"  {note}" for note in self.notes),
        ]
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        return "\n".join(lines)

    def _place(self) -> list[str]:
        if self.at is None:
            return []
        head = f"{self.at.short()} in {self.at.function}"
        return [head, *(f"  {line}" for line in self.at.excerpt_lines())]

    def __reduce__(self) -> Any:
        # a position holds code, which no other process can read: its text travels
        return (_unpickled, (type(self), self.what, (*self._place(), *self.notes), self.hint))


def _unpickled(
    cls: type[TracejitError], what: str, notes: tuple[str, ...], hint: str
) -> TracejitError:
    return cls(what, notes=notes, hint=hint)


class ShapeError(TracejitError, ValueError, TypeError):
    """Shapes of operands do not fit an operation."""


class AxisError(ShapeError, np.exceptions.AxisError):
    """An array has no such axis; NumPy's error too, so an IndexError."""


class CopyError(TracejitError, ValueError, BufferError):
    """A copy is needed where ``copy=False`` allows none."""


class DTypeError(TracejitError, TypeError):
    """Dtypes of operands do not fit an operation."""


class ArgumentError(TracejitError, TypeError):
    """A function of the API was called with something it does not take."""


class WrongValueError(ArgumentError, ValueError):
    """A function does not take an argument of this value."""


class TracedValueError(TracejitError, TypeError):
    """A traced value was used where a concrete one is needed (``if``, ``int()``, ``len()`` ...)."""


class NonConcreteBooleanIndexError(TracedValueError, IndexError):
    """A traced mask was used as an index: the shape of the result would depend on its values."""


class LeakedTracerError(TracejitError):
    """A traced value was used after the trace that made it had ended."""


class OutOfBoundsError(TracejitError, IndexError):
    """An index lies outside its axis."""


class LinAlgError(TracejitError, np.linalg.LinAlgError):
    """A matrix has no factorisation or inverse of the kind asked for; NumPy's error too."""


class NonFiniteError(TracejitError, FloatingPointError):
    """An operation computed nan or inf (checked under ``config.debug_nans`` and ``debug_infs``)."""


class FailedAssertion(TracejitError, AssertionError):
    """An ``assert`` of a compiled function does not hold for the values of a call."""


class KeyReuseError(TracejitError, RuntimeError):
    """A random key was used twice (checked under ``config.check_keys``)."""


class DeletedArrayError(TracejitError, RuntimeError):
    """An array was used after its memory had been donated."""


class TreeError(TracejitError, TypeError):
    """Pytrees differ in structure where they must agree."""


class GradError(TracejitError, TypeError):
    """A derivative was asked for that does not exist (integer input, non-scalar output ...)."""


class MissingRule(TracejitError, NotImplementedError):
    """A primitive lacks the rule that a transform or back end needs."""


class BackendError(TracejitError, RuntimeError):
    """A back end is not available or failed."""


class DeviceError(TracejitError, RuntimeError):
    """A GPU is missing, or failed: what it was asked for, and whether later work can go on."""


class OutOfMemoryError(DeviceError, MemoryError):
    """A device has no memory left for an allocation."""


class FileError(TracejitError, ValueError):
    """A file is truncated, or is not what its name or the call says it is."""


class MissingFileError(TracejitError, FileNotFoundError):
    """There is no such file; Python's FileNotFoundError too."""


class MissingPackageError(TracejitError, ImportError):
    """A package that only some functions need is not installed; the hint says how to get it."""


class InternalError(TracejitError):
    """A defect of tracejit itself; the message says what to report."""


#: the names of ``jax.errors``, for programs that catch them
ConcretizationTypeError = TracerBoolConversionError = TracedValueError
TracerArrayConversionError = TracerIntegerConversionError = TracedValueError
UnexpectedTracerError = LeakedTracerError
JAXIndexError = NonConcreteBooleanIndexError
JAXTypeError = JaxRuntimeError = TracejitError


def locate(
    error: TracejitError, inputs: tuple[Any, ...], at: source.Position | None, builder: Any
) -> None:
    """Give an error raised by a shape rule the user's line and the operands."""
    if error.at is None:
        error.at = at or source.here()
    if not error.notes:
        error.notes = tuple(operand_note(k, x, builder) for k, x in enumerate(inputs, 1))


def operand_note(number: int, x: Any, builder: Any) -> str:
    """``operand 1: f32[2,3]  from sin, model.py:3``."""
    nodes = () if builder is None else reversed(builder.nodes)
    made = next((node for node in nodes if x in node.outputs), None)
    if made is None:
        return f"operand {number}: {x.type}" + (
            f"  argument `{x.name}`" if getattr(x, "name", "") else ""
        )
    where = f", {made.at.short()}" if made.at is not None else ""
    return f"operand {number}: {x.type}  from {made.prim.name}{where}"


# ---- tracebacks ----------------------------------------------------------------------------------

Function = TypeVar("Function", bound=Callable[..., Any])


def user_traceback(function: Function) -> Function:
    """``function`` with the frames of this package kept out of tracebacks, its own too."""

    @functools.wraps(function)
    def boundary(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            hide_frames(error)
            raise

    return boundary  # type: ignore[return-value]


def public_function(function: Function) -> Function:
    """``user_traceback`` for a function of a public module, whose callers may pass anything: an
    exception of Python's that something here raises on the way becomes an error of ours.
    """

    @functools.wraps(function)
    def boundary(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            own = _own_error(error, function.__name__)
            if own is None:
                hide_frames(error)
                raise
        hide_frames(own)
        raise own

    return boundary  # type: ignore[return-value]


#: what an argument of a wrong kind leads to inside, and what the user gets
_OWN: dict[type[Exception], type[TracejitError]] = {
    TypeError: ArgumentError,
    KeyError: ArgumentError,
    IndexError: OutOfBoundsError,
    ValueError: WrongValueError,
    OverflowError: WrongValueError,
    ZeroDivisionError: WrongValueError,
}


def _own_error(error: Exception, name: str) -> TracejitError | None:
    """The error for an exception that was raised inside this package on the way from a public
    function, without a frame of the user's in between; None for any other.
    """
    kind = _OWN.get(type(error))
    if kind is None or show_internal_frames:
        return None
    files = [entry.tb_frame.f_code.co_filename for entry in _entries(error.__traceback__)]
    if not all(source.is_internal(file) or source.is_stdlib(file) for file in files):
        return None
    text = str(error)
    return kind(
        text if text.startswith(name) else f"{name}: {text}",
        at=source.here(),
        hint="an argument is of a wrong kind; if none is, this is a defect of tracejit, and with "
        "tracejit.errors.show_internal_frames = True the traceback says where",
    )


def user_methods(*names: str) -> Callable[[type], type]:
    """A class decorator: ``user_traceback`` for the methods named, or for all of the class."""

    def wrap(cls: type) -> type:
        for name, member in list(vars(cls).items()):
            if isinstance(member, FunctionType) and (name in names or not names):
                setattr(cls, name, user_traceback(member))
        return cls

    return wrap


def user_functions(namespace: dict[str, Any], wrap: Callable[[Any], Any] = public_function) -> None:
    """``wrap``, which does what ``public_function`` does, for the functions of a public module,
    called last with ``globals()``.

    They take the public module's name, under which pickle finds them.
    """
    wrapped: dict[int, Any] = {}
    for name, member in list(namespace.items()):
        if not isinstance(member, FunctionType) or name.startswith("_") or member is user_functions:
            continue
        if not member.__module__.startswith("tracejit."):
            continue  # NumPy's own, passed on as it is
        if id(member) not in wrapped:
            found = wrapped[id(member)] = wrap(member)
            public = member.__name__ if namespace.get(member.__name__) is member else name
            found.__name__ = found.__qualname__ = public
            found.__module__ = namespace["__name__"]
        namespace[name] = wrapped[id(member)]


def hide_frames(error: BaseException) -> None:
    """Take this package's frames out of a caught error's traceback; a bare ``raise`` adds none.

    Where the failure is one inside tracejit (InternalError, or another exception that did not come
    out of the user's code) the frames stay: they are what there is to report.
    """
    if show_internal_frames or isinstance(error, InternalError):
        return
    if not isinstance(error, TracejitError) and not _raised_by_user(error.__traceback__):
        return
    error.__traceback__ = _without_internal(error.__traceback__)
    if isinstance(error, TracejitError):
        _hide_cause(error)


def _hide_cause(error: TracejitError) -> None:
    """Drop what happened inside tracejit before the error; keep what came from the user's code."""
    cause = error.__cause__ if error.__suppress_context__ else error.__context__
    if cause is None:
        return
    if any(
        not source.is_internal(tb.tb_frame.f_code.co_filename)
        for tb in _entries(cause.__traceback__)
    ):
        cause.__traceback__ = _without_internal(cause.__traceback__)
    else:
        error.__cause__ = error.__context__ = None


def _entries(tb: TracebackType | None) -> Iterator[TracebackType]:
    while tb is not None:
        yield tb
        tb = tb.tb_next


def _raised_by_user(tb: TracebackType | None) -> bool:
    files = [entry.tb_frame.f_code.co_filename for entry in _entries(tb)]
    return bool(files) and not source.is_internal(files[-1])


def _without_internal(tb: TracebackType | None) -> TracebackType | None:
    kept = [t for t in _entries(tb) if not source.is_internal(t.tb_frame.f_code.co_filename)]
    for entry, following in zip(kept, [*kept[1:], None], strict=False):
        entry.tb_next = following
    return kept[0] if kept else None
