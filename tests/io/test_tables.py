"""CSV files: columns, what their fields become, errors that name the line."""

from __future__ import annotations

import io as python_io
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.extra.numpy as hnp
import numpy as np
import pytest

import tracejit.numpy as jnp
from tracejit import io
from tracejit.errors import ArgumentError, DTypeError, FileError, MissingFileError, ShapeError

FLOATS = hnp.arrays(np.float64, 4)


@hypothesis.given(FLOATS, hnp.arrays(np.int64, 4), hnp.arrays(np.float32, 4))
def test_columns_come_back(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> None:
    file = python_io.BytesIO()
    io.write_csv(file, {"x": x, "a, b": y, "z": z})
    back = io.read_csv(file)
    np.testing.assert_array_equal(back["x"], x)
    np.testing.assert_array_equal(back["a, b"], y)
    np.testing.assert_array_equal(np.asarray(back["z"]).astype(np.float32), z)
    assert back["a, b"].dtype == np.int64


def read(text: str, **options: Any) -> dict[str, Any]:
    return io.read_csv(python_io.BytesIO(text.encode()), **options)


def test_fields() -> None:
    table = read("\ufeffa; b\n1;\n\n2; 3.5\n", delimiter=";")
    assert table["a"].tolist() == [1, 2] and table["a"].dtype == np.int64
    np.testing.assert_array_equal(table["b"], [np.nan, 3.5])
    assert read("1,2\n3,4\n", header=False)["1"].tolist() == [2, 4]
    assert read('"x,y",z\n"1",2', dtype="int8")["x,y"].dtype == np.int8
    assert read("a,b\n1,x", columns=["a"], dtype="bfloat16")["a"].dtype == jnp.bfloat16
    assert read("a,b\n")["a"].shape == (0,)
    assert read("a\n1e300\n99999999999999999999\n")["a"].dtype == np.float64


def test_errors(tmp_path: Path) -> None:
    wrong: list[tuple[str, dict[str, Any], type[Exception], str]] = [
        ("", {}, FileError, "is empty"),
        ("a,b\n1,2\n3\n", {}, FileError, "line 3 of .* has 1 fields, not 2"),
        ("a,b\n1,2\n3,x\n", {}, DTypeError, "column 'b', line 3: 'x' is no number"),
        ("a\n1.5\n", {"dtype": "int32"}, DTypeError, "'1.5' is not int32"),
        ("a\n300\n", {"dtype": "uint8"}, DTypeError, "'300' is not uint8"),
        ("a\n\n1\n", {"columns": ["b"]}, ArgumentError, "no column 'b'"),
        ("a,a\n1,1\n", {}, FileError, "two columns"),
        ("a\n1\n", {"delimiter": "::"}, ArgumentError, "delimiter is one character"),
    ]
    for text, options, kind, message in wrong:
        with pytest.raises(kind, match=message):
            read(text, **options)
    path = tmp_path / "a.csv"
    path.write_bytes(b"a\n\xff\xfe\n")
    with pytest.raises(FileError, match="cannot read .*a.csv"):
        io.read_csv(path)
    with pytest.raises(MissingFileError):
        io.read_csv(tmp_path / "none.csv")
    with pytest.raises(ShapeError, match=r"column 'b' has shape \(3,\), not \(2,\)"):
        io.write_csv(path, {"a": [1, 2], "b": [1, 2, 3]})
    with pytest.raises(DTypeError, match="is complex"):
        io.write_csv(path, {"a": [1j]})
    with pytest.raises(ArgumentError, match="a dict of columns"):
        io.write_csv(path, {})
