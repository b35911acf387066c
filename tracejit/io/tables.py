r"""Tables of numbers: CSV files to arrays, one for each column, and back.

>>> import io
>>> file = io.BytesIO(b"x,y\n1,0.5\n2,1.5\n")
>>> read_csv(file)
{'x': Array([1, 2]), 'y': Array([0.5, 1.5])}
"""

from __future__ import annotations

import csv
import io as python_io
from collections.abc import Sequence
from typing import Any

import numpy as np

from tracejit.errors import ArgumentError, DTypeError, FileError, ShapeError
from tracejit.frontend.array import Array, from_numpy
from tracejit.hints import name as name_hint
from tracejit.io.files import dtype_of, held, reading, title, unreadable, writing
from tracejit.source import here


def read_csv(
    path: Any,
    columns: Sequence[str] | None = None,
    dtype: Any = None,
    *,
    delimiter: str = ",",
    header: bool = True,
) -> dict[str, Array]:
    r"""The columns of a CSV file as arrays (rows,) by name.

    ``columns``: which, by default all. ``dtype``: of all of them; by default int64 where all fields
    are whole numbers, else float64, with nan for empty fields. ``header``: the first row has the
    names; else they are "0", "1", ... ``jnp.stack(list(table.values()), 1)`` is a matrix of them.

    Raises MissingFileError, FileError for rows of different lengths, ArgumentError for an unknown
    column, DTypeError for a field that is no number, each with the line.

    >>> import io
    >>> read_csv(io.BytesIO(b"a b\n1 x\n2 y\n"), ["a"], "float32", delimiter=" ")
    {'a': Array([1., 2.], dtype=float32)}
    """
    what = "io.read_csv"
    with reading(path, what) as file:
        raw = file.read()
    try:
        text = raw.decode("utf-8-sig")
        read = csv.reader(python_io.StringIO(text, newline=""), delimiter=delimiter)
        rows = [(read.line_num, row) for row in read if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise unreadable(what, path, error) from None
    except TypeError:
        raise ArgumentError(
            f"{what}: delimiter is one character, not {delimiter!r}", at=here()
        ) from None
    if not rows:
        raise FileError(f"{what}: {title(path)} is empty", at=here())
    names = (
        [name.strip() for name in rows[0][1]] if header else list(map(str, range(len(rows[0][1]))))
    )
    rows = rows[1:] if header else rows
    for line, row in rows:
        if len(row) != len(names):
            raise FileError(
                f"{what}: line {line} of {title(path)} has {len(row)} fields, not {len(names)}",
                at=here(),
            )
    wanted = names if columns is None else list(columns)
    kind = None if dtype is None else dtype_of(what, dtype)
    return {name: _column(what, name, _place(what, name, names), rows, kind) for name in wanted}


def _place(what: str, name: str, names: list[str]) -> int:
    if names.count(name) == 1:
        return names.index(name)
    if name in names:
        raise FileError(f"{what}: two columns have the name {name!r}", at=here())
    raise ArgumentError(
        f"{what}: there is no column {name!r}", at=here(), hint=name_hint(str(name), names)
    )


def _column(
    what: str, name: str, place: int, rows: list[tuple[int, list[str]]], dtype: np.dtype | None
) -> Array:
    fields = [row[place].strip() for _, row in rows]
    if dtype is None or dtype.kind in "iu":
        try:
            return from_numpy(np.array([int(field) for field in fields], dtype or np.int64))
        except (ValueError, OverflowError):
            pass  # which field it is shows below
    values = np.empty(len(fields), np.float64)
    for number, field in enumerate(fields):
        try:
            values[number] = float(field) if field else np.nan
        except ValueError:
            raise DTypeError(
                f"{what}: column {name!r}, line {rows[number][0]}: {field!r} is no number",
                at=here(),
                hint="columns=[...] reads the other columns",
            ) from None
    if dtype is not None and dtype.kind not in "fcV":
        wrong = next(n for n, v in enumerate(values) if not _is_whole(v, dtype))
        raise DTypeError(
            f"{what}: column {name!r}, line {rows[wrong][0]}: {fields[wrong]!r} is not {dtype}",
            at=here(),
        )
    return from_numpy(values if dtype is None else values.astype(dtype))


def _is_whole(value: float, dtype: np.dtype) -> bool:
    limits = np.iinfo(dtype)
    return value == np.floor(value) and limits.min <= value <= limits.max


def write_csv(path: Any, table: dict[str, Any], *, delimiter: str = ",") -> None:
    r"""Write columns (rows,) by name as a CSV file with a row of names, numbers in full.

    Raises ShapeError for columns that differ in length or have other ranks, DTypeError for complex
    ones, ArgumentError for no columns.

    >>> import io
    >>> file = io.BytesIO()
    >>> write_csv(file, {"x": jnp.arange(2), "y": jnp.array([0.1, 0.2])})
    >>> file.getvalue()
    b'x,y\r\n0,0.1\r\n1,0.2\r\n'
    """
    what = "io.write_csv"
    if not isinstance(table, dict) or not table:
        raise ArgumentError(f"{what}: a dict of columns is needed", at=here())
    columns = {str(name): held(what, column) for name, column in table.items()}
    rows = len(next(iter(columns.values()))) if next(iter(columns.values())).ndim else 0
    for name, column in columns.items():
        if column.ndim != 1 or len(column) != rows:
            raise ShapeError(
                f"{what}: column {name!r} has shape {column.shape}, not ({rows},)", at=here()
            )
        if column.dtype.kind == "c":
            raise DTypeError(f"{what}: column {name!r} is complex", at=here())
    text = python_io.StringIO(newline="")
    out = csv.writer(text, delimiter=delimiter)
    out.writerow(columns)
    # the shortest text that reads back as the same number: str of NumPy's scalars
    out.writerows(zip(*([str(v) for v in column] for column in columns.values()), strict=True))
    with writing(path, what) as file:
        file.write(text.getvalue().encode())
