"""Files for readers and writers: paths or open files, whole or not at all, errors that name them.

In: a path or a binary file object. Out: an open binary file; one that is written by path appears
under its name only when it is complete.

    with writing("picture.png", "io.write_image") as file:
        file.write(data)                   an error here leaves an older picture.png as it was
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from io import BytesIO, TextIOBase
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np

from tracejit.errors import (
    ArgumentError,
    DTypeError,
    FileError,
    MissingFileError,
    MissingPackageError,
    TracejitError,
    user_methods,
)
from tracejit.frontend.array import Array, as_array
from tracejit.ir.types import DTYPES
from tracejit.source import here

#: characters of another package's message
_LONGEST = 240


def is_path(path: Any) -> bool:
    return isinstance(path, str | os.PathLike)


def title(path: Any) -> str:
    """What messages call a file: its path, or ``a file object``."""
    if is_path(path):
        return repr(os.fspath(path))
    name = getattr(path, "name", None)
    return repr(name) if isinstance(name, str) else "a file object"


def suffix(path: Any) -> str:
    """``.png`` of ``Picture.PNG``; empty for file objects without a name."""
    name = os.fspath(path) if is_path(path) else getattr(path, "name", "")
    return Path(name).suffix.lower() if isinstance(name, str) else ""


def check_file(what: str, path: Any, method: str) -> None:
    """ArgumentError unless ``path`` is a path or has the method of a file object."""
    if not is_path(path) and (not hasattr(path, method) or isinstance(path, TextIOBase)):
        raise ArgumentError(
            f"{what}: a path or a binary file object is needed, not {type(path).__name__}",
            at=here(),
        )


def _seekable(file: Any) -> bool:
    return hasattr(file, "seekable") and bool(file.seekable())


def reading(path: Any, what: str) -> AbstractContextManager[IO[bytes]]:
    """The file opened for reading; a file object is read from its start and stays open."""
    check_file(what, path, "read")
    if not is_path(path):
        if not _seekable(path):  # a pipe: decoders go back and forth
            return BytesIO(path.read())
        path.seek(0)
        return nullcontext(path)
    try:
        return open(path, "rb")
    except FileNotFoundError:
        missing_file(what, path)
    except IsADirectoryError:
        raise FileError(f"{what}: {title(path)} is a folder", at=here()) from None


def missing_file(what: str, path: Any) -> NoReturn:
    """Raise the error that there is no such file."""
    folder = Path(path).parent
    hint = "" if folder.is_dir() else f"there is no folder {str(folder)!r} either"
    raise MissingFileError(f"{what}: there is no file {title(path)}", at=here(), hint=hint)


def _no_folder(what: str, path: Any) -> MissingFileError:
    folder = str(Path(path).parent)
    hint = "make it first: os.makedirs(folder)"
    return MissingFileError(f"{what}: there is no folder {folder!r}", at=here(), hint=hint)


def writing(path: Any, what: str) -> AbstractContextManager[IO[bytes]]:
    """A file to write to, which takes its name when the block has ended without an error. A file
    object gets new contents, and stays open at its start.
    """
    check_file(what, path, "write")
    # not a generator itself: its errors would show contextlib's frames
    return _writing(path, _target(path, what) if is_path(path) else None)


@contextmanager
def _writing(path: Any, target: Path | None) -> Iterator[IO[bytes]]:
    if target is None:
        # encoders go back to fill in lengths, and a failed one should leave nothing
        made = BytesIO()
        yield made
        if _seekable(path):
            path.seek(0)
            path.truncate()
        path.write(made.getbuffer())
        if _seekable(path):
            path.seek(0)
        return
    with _replacing(target) as temporary, open(temporary, "xb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def replacing(path: Any, what: str) -> AbstractContextManager[str]:
    """The name of a file beside ``path`` that takes its place after the block."""
    return _replacing(_target(path, what))


def _target(path: Any, what: str) -> Path:
    """The file that is to be replaced."""
    # a link stays a link: what it leads to is replaced
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise _no_folder(what, path)
    if target.is_dir():
        raise FileError(f"{what}: {title(path)} is a folder", at=here())
    return target


@contextmanager
def _replacing(target: Path) -> Iterator[str]:
    temporary = str(target.with_name(f".{target.stem}.{secrets.token_hex(6)}{target.suffix}"))
    try:
        yield temporary
        with suppress(FileNotFoundError):  # permissions of the file that is replaced stay
            os.chmod(temporary, target.stat().st_mode & 0o7777)
        os.replace(temporary, target)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)


def not_installed(what: str, package: str, install: str) -> MissingPackageError:
    """The error for an optional package that is missing."""
    return MissingPackageError(
        f"{what} needs {package}, which is not installed",
        at=here(),
        hint=f"pip install {install}",
    )


def unreadable(what: str, path: Any, why: Any) -> FileError:
    """The error for a file that cannot be decoded: what its reader said, on one line."""
    text = last_words(why)
    return FileError(f"{what}: cannot read {title(path)}", at=here(), notes=(text,))


def last_words(why: Any) -> str:
    """What a package said, on one line: of a long report the end, where the reason stands."""
    text = " ".join(str(why).split()) or type(why).__name__
    return text if len(text) <= _LONGEST else f"... {text[-_LONGEST:]}"


def held(what: str, x: Any) -> np.ndarray:
    """The values of anything array-like; TracedValueError for a traced one."""
    return array_like(what, x).concrete(what)


def array_like(what: str, x: Any) -> Array:
    """Anything array-like as an Array; ArgumentError for what is none."""
    try:
        return as_array(x)
    except TracejitError:
        raise
    except (TypeError, ValueError) as error:
        raise ArgumentError(
            f"{what}: an array is needed, not {type(x).__name__}", at=here(), notes=(str(error),)
        ) from None


def dtype_of(what: str, dtype: Any) -> np.dtype:
    """A dtype by anything that names one, "bfloat16" too."""
    try:
        return np.dtype(DTYPES["bf16"] if str(dtype) == "bfloat16" else dtype)
    except TypeError:
        raise DTypeError(f"{what}: {dtype!r} is no dtype", at=here()) from None


def whole(what: str, name: str, value: Any, least: int) -> int:
    """An integer argument that is at least ``least``."""
    try:
        number = value.__index__()
    except (AttributeError, TypeError):
        raise ArgumentError(f"{what}: {name} is an integer, not {value!r}", at=here()) from None
    if number < least:
        raise ArgumentError(f"{what}: {name} is at least {least}, not {number}", at=here())
    return int(number)


@user_methods("__next__", "__iter__")
class Stream:
    """An iterator whose errors show the user's lines only; ``make()`` starts it.

    A loop over one that has ended starts it again.
    """

    def __init__(self, make: Callable[[], Iterator[Any]], length: int | None = None) -> None:
        self._make = make
        self._length = length
        self._iterator: Iterator[Any] | None = None
        self._ended = False

    def __iter__(self) -> Iterator[Any]:
        if self._ended:
            self._iterator, self._ended = None, False
        return self

    def __next__(self) -> Any:
        if self._iterator is None:
            self._iterator = self._make()
        try:
            return next(self._iterator)
        except StopIteration:
            self._ended = True
            raise

    def __len__(self) -> int:
        if self._length is None:
            raise ArgumentError("the number of items is not known in advance", at=here())
        return self._length
